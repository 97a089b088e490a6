/* The golden models' folders, as published checkpoints are: the reader's configuration agrees with the weights beside
 * it, and with what transformers computes its expected values from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/status.h"
#include "load/load.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const char *folder_path(const char *name)
{
	static char path[1024];
	const char *root = getenv("VERBATIM_TEST_ROOT");
	snprintf(path, sizeof path, "%s/tests/golden/%s", root ? root : ".", name);
	return path;
}

/* Families name one tensor in several ways: the first of these names, with layer `i` for %d, that exists. */
static const struct tensor *find(const struct tensor_set *set, const char *const *names, int64_t i)
{
	for (; *names; names++) {
		char name[128];
		const char *at = strchr(*names, '%');
		if (at)
			snprintf(name, sizeof name, "%.*s%d%s", (int)(at - *names), *names, (int)i, at + 2);
		else
			snprintf(name, sizeof name, "%s", *names);
		const struct tensor *t = tensor_set_find(set, name);
		if (t)
			return t;
	}
	return NULL;
}

#define NAMES(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void check_shape(const char *folder, const struct tensor *t, int64_t rows, int64_t columns)
{
	if (!t)
		fail_msg("%s: a tensor of %lld by %lld is missing", folder, (long long)rows, (long long)columns);
	if (t->rank != 2 || t->shape[0] != rows || t->shape[1] != columns)
		fail_msg("%s: %s: the configuration says %lld by %lld", folder, t->name, (long long)rows,
			 (long long)columns);
}

static void check_bias(const char *folder, const char *what, const struct tensor *t, bool expected)
{
	if ((t != NULL) != expected)
		fail_msg("%s: %s: bias is %s", folder, what, t ? "there" : "missing");
}

static void check_layer(const char *folder, const struct model_config *c, const struct tensor_set *set, int64_t i)
{
	const int64_t q = c->n_heads * c->head_dim, kv = c->n_kv_heads * c->head_dim;
	const struct tensor *packed = find(set, NAMES("model.layers.%d.self_attn.qkv_proj.weight",
						      "model.layers.%d.attention.wqkv.weight"), i);
	if (packed) {
		check_shape(folder, packed, q + 2 * kv, c->hidden_size);
	} else {
		check_shape(folder, find(set, NAMES("model.layers.%d.self_attn.q_proj.weight"), i), q,
			    c->hidden_size);
		check_shape(folder, find(set, NAMES("model.layers.%d.self_attn.v_proj.weight"), i), kv,
			    c->hidden_size);
	}
	check_shape(folder, find(set, NAMES("model.layers.%d.self_attn.o_proj.weight",
					    "model.layers.%d.attention.wo.weight"), i), c->hidden_size, q);
	check_shape(folder, find(set, NAMES("model.layers.%d.mlp.down_proj.weight",
					    "model.layers.%d.feed_forward.w2.weight"), i), c->hidden_size,
		    c->intermediate_size);
	check_bias(folder, "q, k, v", find(set, NAMES("model.layers.%d.self_attn.q_proj.bias",
						      "model.layers.%d.attention.wqkv.bias"), i),
		   c->attention_bias);
	check_bias(folder, "output", find(set, NAMES("model.layers.%d.self_attn.o_proj.bias",
						     "model.layers.%d.attention.wo.bias"), i),
		   c->attention_out_bias);
	check_bias(folder, "MLP", find(set, NAMES("model.layers.%d.mlp.down_proj.bias"), i), c->mlp_bias);
}

static void check_folder(const char *folder)
{
	struct model_config *c = NULL;
	struct tensor_set *set = NULL;
	struct generation_config g;
	const char *path = folder_path(folder);
	if (model_config_read(&c, path) != VB_OK || tensor_set_open(&set, path) != VB_OK ||
	    generation_config_read(&g, path) != VB_OK)
		fail_msg("%s: %s", folder, vb_errmsg());
	if (strncmp(folder, c->model_type, strcspn(folder, "-")) != 0)
		fail_msg("%s: model type is %s", folder, c->model_type);
	const struct tensor *embed = find(set, NAMES("model.embed_tokens.weight", "model.tok_embeddings.weight"), 0);
	check_shape(folder, embed, c->vocab_size, c->hidden_size);
	assert_int_equal(embed->type, c->dtype);
	if (!c->tie_word_embeddings)
		check_shape(folder, find(set, NAMES("lm_head.weight", "output.weight"), 0), c->vocab_size,
			    c->hidden_size);
	for (int64_t i = 0; i < c->n_layers; i++)
		check_layer(folder, c, set, i);
	if (find(set, NAMES("model.layers.%d.mlp.down_proj.weight", "model.layers.%d.feed_forward.w2.weight"),
		 c->n_layers))
		fail_msg("%s: more than %lld layers", folder, (long long)c->n_layers);
	assert_true(c->n_eos > 0);
	assert_int_equal(g.n_eos, c->n_eos);
	assert_memory_equal(g.eos, c->eos, (size_t)c->n_eos * sizeof *c->eos);
	tensor_set_close(&set);
	model_config_destroy(&c);
}

static void test_every_folder(void **state)
{
	(void)state;
	int n = 0;
	DIR *d = opendir(folder_path(""));
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		if (e->d_name[0] == '.' || strchr(e->d_name, '-') == NULL)
			continue;
		check_folder(e->d_name);
		n++;
	}
	closedir(d);
	assert_true(n >= 50);
}

/* What no weight shows. */
static void test_windows_and_ropes(void **state)
{
	(void)state;
	static const struct {
		const char *folder;
		int64_t window[4];
		enum rope_kind kind;
		double theta, factor;
		int64_t original;
	} rows[] = {
		{ "gemma2-27b-style-v5", { 32, 0 }, ROPE_DEFAULT, 1e4, 0, 0 },
		{ "gemma2-window7", { 7, 0, 7, 0 }, ROPE_DEFAULT, 1e4, 0, 0 },
		{ "gemma3-5to1", { 7, 7, 7, 7 }, ROPE_LINEAR, 1e6, 8, 0 },
		{ "gemma3-pattern3", { 9, 9, 0, 9 }, ROPE_LINEAR, 1e5, 8, 0 },
		{ "gemma3-v5", { 5, 0, 5 }, ROPE_LINEAR, 1e6, 4, 0 },
		{ "internlm2-dynamic-long", { 0, 0 }, ROPE_DYNAMIC, 1e4, 3, 0 },
		{ "internlm3-plain", { 0, 0 }, ROPE_DYNAMIC, 1e6, 6, 0 },
		{ "llama-3-gqa3", { 0, 0 }, ROPE_DEFAULT, 5e5, 0, 0 },
		{ "llama-3.1-rope", { 0, 0 }, ROPE_LLAMA3, 5e5, 8, 64 },
		{ "llama-3.1-v5", { 0, 0 }, ROPE_LLAMA3, 5e5, 8, 64 },
		{ "llama-linear", { 0, 0 }, ROPE_LINEAR, 1e4, 4, 0 },
		{ "llama-yarn-mscale", { 0, 0 }, ROPE_YARN, 1e4, 16, 32 },
		{ "mistral-null-window", { 0, 0 }, ROPE_DEFAULT, 1e6, 0, 0 },
		{ "mistral-v5", { 9, 9 }, ROPE_DEFAULT, 5000, 0, 0 },
		{ "mistral-window1", { 1, 1 }, ROPE_DEFAULT, 1e4, 0, 0 },
		{ "phi3-4-mini", { 262144, 262144 }, ROPE_LONGROPE, 1e4, 4, 128 },
		{ "phi3-4k", { 11, 11 }, ROPE_DEFAULT, 1e4, 0, 0 },
		{ "phi3-longrope-long", { 0, 0 }, ROPE_LONGROPE, 1e4, 16, 32 },
		{ "phi3-su", { 0, 0 }, ROPE_LONGROPE, 1e4, 4, 128 },
		{ "qwen2-layer-types-v5", { 5, 0, 5 }, ROPE_DEFAULT, 1e6, 0, 0 },
		{ "qwen2-max-window-layers", { 0, 9, 9 }, ROPE_DEFAULT, 1e6, 0, 0 },
		{ "qwen2-tied", { 0, 0 }, ROPE_DEFAULT, 1e6, 0, 0 },
		{ "qwen2-yarn", { 0, 0 }, ROPE_YARN, 1e4, 4, 32 },
		{ "qwen3-sliding-v5", { 7, 7, 0 }, ROPE_DEFAULT, 1e6, 0, 0 },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct model_config *c = NULL;
		if (model_config_read(&c, folder_path(rows[i].folder)) != VB_OK)
			fail_msg("%s: %s", rows[i].folder, vb_errmsg());
		const struct rope_config *r = &c->rope[0];
		bool windows = true;
		for (int64_t layer = 0; layer < 4 && layer < c->n_layers; layer++)
			windows = windows && c->window[layer] == rows[i].window[layer];
		if (!windows || r->kind != rows[i].kind || r->theta != rows[i].theta ||
		    r->factor != rows[i].factor || r->original_max_position != rows[i].original)
			fail_msg("%s: windows %s, kind %d, theta %g, factor %g, original %lld", rows[i].folder,
				 windows ? "right" : "wrong", r->kind, r->theta, r->factor,
				 (long long)r->original_max_position);
		model_config_destroy(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_folder),
		cmocka_unit_test(test_windows_and_ropes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
