/* Configurations to programs: what is refused, in which words; that each family's weights are those of its checkpoints;
 * that the largest configurations overflow nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/status.h"
#include "load/load.h"
#include "model/model.h"
#include "ops/program_internal.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct model_config *parse(const char *type, const char *more)
{
	char text[2048];
	struct model_config *c;
	int n = snprintf(text, sizeof text,
			 "{\"model_type\":\"%s\",\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":2,"
			 "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"vocab_size\":128,"
			 "\"max_position_embeddings\":256,\"torch_dtype\":\"bfloat16\"%s%s}", type,
			 more[0] ? "," : "", more);
	if (model_config_parse(&c, text, (size_t)n, "DIR/config.json") != VB_OK)
		fail_msg("%s", vb_errmsg());
	return c;
}

static int build(const struct model_config *c, struct program **p)
{
	struct program_config pc = { .compute = DTYPE_BF16, .n_threads = 2, .max_tokens = 32, .max_seqs = 2,
				     .max_rows = 4, .context = 256, .page_size = 16 };
	assert_int_equal(program_create(p, &pc), VB_OK);
	TRY(model_build(*p, c));
	return program_pick(*p);
}

/* Building fails with `rc`, and the message holds all of the words. Takes the config. */
static void assert_refused(struct model_config *c, int rc, const char *const *words)
{
	struct program *p;
	assert_int_equal(build(c, &p), rc);
	for (; *words; words++)
		if (!strstr(vb_errmsg(), *words))
			fail_msg("no \"%s\" in: %s", *words, vb_errmsg());
	program_destroy(&p);
	model_config_destroy(&c);
}

#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void test_unknown_family(void **state)
{
	(void)state;
	struct model_config *c = parse("mixtral", "\"architectures\":[\"MixtralForCausalLM\"]");
	assert_null(model_family_name(c));
	assert_refused(c, VB_EUNSUPPORTED, WORDS("unsupported model", "DIR/config.json", "\"mixtral\"",
						 "MixtralForCausalLM", "llama", "qwen3", "internlm3"));
	assert_refused(parse("mixtral", ""), VB_EUNSUPPORTED, WORDS("no architecture named"));
}

static void test_too_many_kv_heads(void **state)
{
	(void)state;
	struct model_config *c = parse("llama", "\"head_dim\":2");
	struct program *p;
	c->n_heads = c->n_kv_heads = 86;
	assert_int_equal(build(c, &p), VB_OK);
	program_destroy(&p);
	model_config_destroy(&c);
	c = parse("internlm2", "\"head_dim\":2");
	c->n_heads = c->n_kv_heads = 85; /* 255 parts */
	assert_int_equal(build(c, &p), VB_OK);
	program_destroy(&p);
	c->n_heads = c->n_kv_heads = 86;
	assert_refused(c, VB_EUNSUPPORTED, WORDS("too many KV heads", "DIR/config.json", "86", "85"));
}

/* What the reader of configurations would not let through is refused again where it would do harm. */
static void test_rope(void **state)
{
	(void)state;
	struct model_config *c = parse("llama", "");
	c->rope[0].partial_rotary_factor = 5.0 / 16;
	assert_refused(c, VB_EFORMAT, WORDS("odd number of rotated dimensions", "DIR/config.json", "head_dim 16", "5"));
	c = parse("llama", "");
	c->rope[0].kind = ROPE_LONGROPE;
	c->rope[0].n_factors = 7;
	assert_refused(c, VB_EFORMAT, WORDS("wrong length", "DIR/config.json", "7 entries", "need 8"));
	c = parse("llama", "\"head_dim\":2");
	c->rope[0].kind = ROPE_DYNAMIC;
	c->rope[0].factor = 2;
	assert_refused(c, VB_EFORMAT, WORDS("too few rotated dimensions", "DIR/config.json", "2"));
	/* Nothing rotated is served, without tables. */
	c = parse("llama", "");
	c->rope[0].partial_rotary_factor = 0;
	struct program *p;
	assert_int_equal(build(c, &p), VB_OK);
	for (int64_t i = 0; i < program_n_choices(p); i++) {
		struct program_choice choice;
		program_choice(p, i, &choice);
		assert_string_not_equal(choice.op, "rope_table");
	}
	program_destroy(&p);
	model_config_destroy(&c);
}

/* ---- Weights ---- */

/* Tensors that checkpoints carry and nobody needs. */
static bool ignorable(const char *name, const struct model_config *c)
{
	return strstr(name, "rotary_emb.inv_freq") || (c->tie_word_embeddings && strcmp(name, "lm_head.weight") == 0);
}

static const struct tensor *find(void *user, const char *name)
{
	return tensor_set_find(user, name);
}

/* Every golden model: each declared weight is in the file, each tensor of the file is declared. */
static void test_weights_of_families(void **state)
{
	(void)state;
	char path[4200], root[4096];
	const char *top = getenv("VERBATIM_TEST_ROOT");
	snprintf(root, sizeof root, "%s/tests/golden", top ? top : ".");
	snprintf(path, sizeof path, "%s/cases.json", root);
	json_t *list, *item;
	assert_int_equal(json_read_file(&list, path, (size_t)1 << 24), VB_OK);
	size_t i, n = 0;
	json_array_foreach(json_object_get(list, "cases"), i, item) {
		struct model_config *c;
		struct tensor_set *set;
		struct program *p;
		snprintf(path, sizeof path, "%s/%s", root, json_string_value(json_object_get(item, "folder")));
		assert_int_equal(model_config_read(&c, path), VB_OK);
		assert_string_equal(model_family_name(c), c->model_type);
		assert_int_equal(tensor_set_open(&set, path), VB_OK);
		assert_int_equal(build(c, &p), VB_OK);
		if (program_bind(p, NULL, find, NULL, set) != VB_OK)
			fail_msg("%s: %s", path, vb_errmsg());
		for (int64_t t = 0; t < tensor_set_count(set); t++) {
			const char *name = tensor_set_at(set, t)->name;
			if (!program_uses_weight(p, name) && !ignorable(name, c))
				fail_msg("%s: tensor %s is not used", path, name);
		}
		program_destroy(&p);
		tensor_set_close(&set);
		model_config_destroy(&c);
		n++;
	}
	json_decref(list);
	assert_true(n > 40);
}

/* ---- Sizes ---- */

/* The largest of everything that the reader lets through: sums are right to the last byte, in 64 bits. */
static void test_largest(void **state)
{
	(void)state;
	static const char largest[] =
		"{\"model_type\":\"%s\",\"hidden_size\":1048576,\"intermediate_size\":4194304,\"num_hidden_layers\":1024,"
		"\"num_attention_heads\":4096,\"num_key_value_heads\":4096,\"head_dim\":1024,\"vocab_size\":16777216,"
		"\"max_position_embeddings\":2147483647,\"torch_dtype\":\"float32\",\"attention_bias\":true,"
		"\"mlp_bias\":true}";
	char text[1024];
	struct model_config *c;
	struct program *p;
	int n = snprintf(text, sizeof text, largest, "llama");
	assert_int_equal(model_config_parse(&c, text, (size_t)n, "largest"), VB_OK);
	struct program_config pc = { .compute = DTYPE_F32, .n_threads = 4096, .max_tokens = 65536, .max_seqs = 65536,
				     .max_rows = 65536, .context = INT32_MAX, .page_size = 65536 };
	assert_int_equal(program_create(&p, &pc), VB_OK);
	assert_int_equal(model_build(p, c), VB_OK);
	/* No kernel serves such heads; sizes are told all the same. */
	assert_int_equal(program_pick(p), VB_EUNSUPPORTED);
	struct program_memory m;
	program_memory(p, &m);
	uint64_t hidden = 1 << 20, inter = 1 << 22, heads = 1 << 22, vocab = 1 << 24, layers = 1024;
	uint64_t layer = 4 * hidden * heads + 3 * hidden * inter;
	uint64_t vectors = layers * (3 * heads + hidden + 2 * inter + hidden + 2 * hidden) + hidden;
	assert_true(m.weights == 4 * (layers * layer + 2 * vocab * hidden + vectors));
	assert_true(m.weights_per_token == 4 * (layers * layer + vocab * hidden));
	assert_true(m.kv_per_token == layers * 2 * heads * 4);
	uint64_t body = 4 * (3 * hidden + 3 * heads + 2 * heads + 3 * inter + 1024);
	uint64_t head = 4 * (3 * hidden + heads + 3 * inter + vocab);
	assert_true(m.activations == 65536 * (body + head));
	program_destroy(&p);
	model_config_destroy(&c);
}

/* The n-th allocation fails while a model with lists of its own is declared. */
static void test_failing_allocations(void **state)
{
	(void)state;
	struct model_config *configs[2] = {
		parse("internlm2", "\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2.0}"),
		parse("gemma3_text", "\"head_dim\":16"),
	};
	for (int i = 0; i < 2; i++) {
		struct program *p = NULL;
		uint64_t n = 0;
		int rc;
		do {
			struct program_config pc = { .compute = DTYPE_F32, .n_threads = 1, .max_tokens = 8,
						     .max_seqs = 1, .max_rows = 1, .context = 64, .page_size = 16 };
			mem_fail_at(++n, false);
			rc = program_create(&p, &pc);
			if (rc == VB_OK)
				rc = model_build(p, configs[i]);
			if (rc == VB_OK)
				rc = program_pick(p);
			if (rc != VB_OK)
				assert_int_equal(rc, VB_ENOMEM);
			program_destroy(&p);
		} while (rc != VB_OK && n < 1000);
		mem_fail_at(0, false);
		assert_int_equal(rc, VB_OK);
		assert_true(n > 50);
		model_config_destroy(&configs[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unknown_family),
		cmocka_unit_test(test_too_many_kv_heads),
		cmocka_unit_test(test_rope),
		cmocka_unit_test(test_weights_of_families),
		cmocka_unit_test(test_largest),
		cmocka_unit_test(test_failing_allocations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
