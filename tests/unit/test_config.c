/* config.json: every family's defaults, windows and rope forms; and what is refused, with its reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "load/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHERE "DIR/config.json"
#define COUNT(a) (sizeof(a) / sizeof *(a))

/* A small file of the family with `changes` (a JSON object's inside) made; "<absent>" removes a key. */
static char *config_text(const char *model_type, const char *changes)
{
	char text[4096];
	const char *key;
	json_t *value;
	void *next;
	snprintf(text, sizeof text, "{%s}", changes);
	json_t *change = json_loads(text, 0, NULL);
	if (!change)
		fail_msg("test's own JSON: %s", text);
	json_t *o = json_pack("{s:s,s:i,s:i,s:i,s:i,s:i}", "model_type", model_type, "hidden_size", 512,
			      "intermediate_size", 48, "num_hidden_layers", 6, "num_attention_heads", 32,
			      "vocab_size", 300);
	json_object_update(o, change);
	json_object_foreach_safe(o, next, key, value)
		if (json_is_string(value) && strcmp(json_string_value(value), "<absent>") == 0)
			json_object_del(o, key);
	char *result = json_dumps(o, 0);
	json_decref(change);
	json_decref(o);
	return result;
}

static int parse(struct model_config **c, const char *model_type, const char *changes)
{
	char *text = config_text(model_type, changes);
	int rc = model_config_parse(c, text, strlen(text), WHERE);
	free(text);
	return rc;
}

static struct model_config *must_parse(const char *model_type, const char *changes)
{
	struct model_config *c = NULL;
	if (parse(&c, model_type, changes) != VB_OK)
		fail_msg("%s {%s}: %s", model_type, changes, vb_errmsg());
	return c;
}

static void test_defaults(void **state)
{
	(void)state;
	static const struct {
		const char *model_type;
		int64_t n_kv_heads, head_dim, max_position, window[2];
		double eps, theta;
		enum activation_kind activation;
		bool tied, qkv_bias, out_bias;
		double scalar, attn_softcap, final_softcap;
		int bos, eos;
	} rows[] = {
		{ "llama", 32, 16, 2048, { 0, 0 }, 1e-6, 1e4, ACTIVATION_SILU, false, false, false, 0, 0, 0, 1, 2 },
		{ "mistral", 8, 16, 131072, { 4096, 4096 }, 1e-6, 1e4, ACTIVATION_SILU, false, false, false, 0, 0,
		  0, 1, 2 },
		{ "qwen2", 32, 16, 32768, { 0, 0 }, 1e-6, 1e4, ACTIVATION_SILU, false, true, false, 0, 0, 0, -1,
		  -1 },
		{ "qwen3", 32, 128, 32768, { 0, 0 }, 1e-6, 1e4, ACTIVATION_SILU, false, false, false, 0, 0, 0, -1,
		  -1 },
		/* Its end token is 32000, which this vocabulary does not have. */
		{ "phi3", 32, 16, 4096, { 0, 0 }, 1e-5, 1e4, ACTIVATION_SILU, false, false, false, 0, 0, 0, 1, -1 },
		{ "gemma2", 4, 256, 8192, { 4096, 0 }, 1e-6, 1e4, ACTIVATION_GELU_TANH, true, false, false, 256,
		  50, 30, 2, 1 },
		{ "gemma3_text", 4, 256, 131072, { 4096, 4096 }, 1e-6, 1e6, ACTIVATION_GELU_TANH, true, false,
		  false, 256, 0, 0, 2, 1 },
		{ "internlm2", 32, 16, 2048, { 0, 0 }, 1e-6, 1e4, ACTIVATION_SILU, false, true, true, 0, 0, 0, 1,
		  2 },
		{ "internlm3", 32, 16, 32768, { 0, 0 }, 1e-6, 1e4, ACTIVATION_SILU, false, false, false, 0, 0, 0, 1,
		  2 },
		{ "something_new", 32, 16, 2048, { 0, 0 }, 1e-6, 1e4, ACTIVATION_SILU, false, false, false, 0, 0, 0,
		  -1, -1 },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct model_config *c = must_parse(rows[i].model_type, "");
		print_message("%s\n", rows[i].model_type);
		assert_string_equal(c->model_type, rows[i].model_type);
		assert_string_equal(c->architecture, "");
		assert_int_equal(c->dtype, DTYPE_F32);
		assert_int_equal(c->hidden_size, 512);
		assert_int_equal(c->intermediate_size, 48);
		assert_int_equal(c->n_layers, 6);
		assert_int_equal(c->n_heads, 32);
		assert_int_equal(c->vocab_size, 300);
		assert_int_equal(c->n_kv_heads, rows[i].n_kv_heads);
		assert_int_equal(c->head_dim, rows[i].head_dim);
		assert_int_equal(c->max_position, rows[i].max_position);
		assert_int_equal(c->window[0], rows[i].window[0]);
		assert_int_equal(c->window[1], rows[i].window[1]);
		assert_true(c->rms_norm_eps == rows[i].eps);
		assert_int_equal(c->rope[0].kind, ROPE_DEFAULT);
		assert_true(c->rope[0].theta == rows[i].theta);
		assert_true(c->rope[0].partial_rotary_factor == 1);
		assert_int_equal(c->activation, rows[i].activation);
		assert_int_equal(c->tie_word_embeddings, rows[i].tied);
		assert_int_equal(c->attention_bias, rows[i].qkv_bias);
		assert_int_equal(c->attention_out_bias, rows[i].out_bias);
		assert_false(c->mlp_bias);
		assert_true(c->query_pre_attn_scalar == rows[i].scalar);
		assert_true(c->attn_logit_softcap == rows[i].attn_softcap);
		assert_true(c->final_logit_softcap == rows[i].final_softcap);
		assert_int_equal(c->bos, rows[i].bos);
		assert_int_equal(c->n_eos, rows[i].eos >= 0 ? 1 : 0);
		if (rows[i].eos >= 0)
			assert_int_equal(c->eos[0], rows[i].eos);
		assert_string_equal(c->where, WHERE);
		assert_ptr_equal(c->text, c->json);
		model_config_destroy(&c);
		assert_null(c);
	}
}

#define S "\"sliding_attention\""
#define F "\"full_attention\""
#define TYPES "\"layer_types\":[" S "," F "," F "," S "," F "," F "]"

/* Keys that each of six layers sees; 0: all. */
static void test_windows(void **state)
{
	(void)state;
	static const struct {
		const char *model_type, *keys;
		int64_t window[6];
	} rows[] = {
		/* Families that have no window, whatever their file says. */
		{ "llama", "\"sliding_window\":5", { 0 } },
		{ "llama", "\"sliding_window\":5," TYPES, { 0 } },
		{ "internlm2", "\"sliding_window\":5", { 0 } },
		{ "internlm3", "\"sliding_window\":5", { 0 } },
		/* All layers. */
		{ "mistral", "", { 4096, 4096, 4096, 4096, 4096, 4096 } },
		{ "mistral", "\"sliding_window\":null", { 0 } },
		{ "mistral", "\"sliding_window\":0", { 0 } },
		{ "mistral", "\"sliding_window\":-1", { 0 } },
		{ "mistral", "\"sliding_window\":1", { 1, 1, 1, 1, 1, 1 } },
		{ "mistral", "\"sliding_window\":7", { 7, 7, 7, 7, 7, 7 } },
		{ "mistral", "\"sliding_window\":7,\"use_sliding_window\":false", { 7, 7, 7, 7, 7, 7 } },
		{ "phi3", "", { 0 } },
		{ "phi3", "\"sliding_window\":null", { 0 } },
		{ "phi3", "\"sliding_window\":0", { 0 } },
		{ "phi3", "\"sliding_window\":-1", { 0 } },
		{ "phi3", "\"sliding_window\":2047", { 2047, 2047, 2047, 2047, 2047, 2047 } },
		/* From max_window_layers on, where use_sliding_window says so. */
		{ "qwen2", "\"sliding_window\":5,\"max_window_layers\":0", { 0 } },
		{ "qwen2", "\"sliding_window\":5,\"use_sliding_window\":false,\"max_window_layers\":0", { 0 } },
		{ "qwen2", "\"sliding_window\":5,\"use_sliding_window\":true", { 0 } },
		{ "qwen2", "\"sliding_window\":5,\"use_sliding_window\":true,\"max_window_layers\":4",
		  { 0, 0, 0, 0, 5, 5 } },
		{ "qwen2", "\"use_sliding_window\":true,\"max_window_layers\":5", { 0, 0, 0, 0, 0, 4096 } },
		{ "qwen2", "\"sliding_window\":null,\"use_sliding_window\":true,\"max_window_layers\":0", { 0 } },
		{ "qwen2", "\"sliding_window\":0,\"use_sliding_window\":true,\"max_window_layers\":0", { 0 } },
		{ "qwen2", "\"sliding_window\":-1,\"use_sliding_window\":true,\"max_window_layers\":0", { 0 } },
		{ "qwen2", "\"sliding_window\":5,\"use_sliding_window\":true,\"max_window_layers\":0," TYPES,
		  { 5, 0, 0, 5, 0, 0 } },
		{ "qwen2", "\"sliding_window\":5," TYPES, { 0 } },
		{ "qwen3", "\"sliding_window\":5,\"use_sliding_window\":true,\"max_window_layers\":4",
		  { 0, 0, 0, 0, 5, 5 } },
		{ "qwen3", "\"sliding_window\":5,\"use_sliding_window\":true," TYPES, { 5, 0, 0, 5, 0, 0 } },
		{ "qwen3", "\"sliding_window\":null,\"use_sliding_window\":true," TYPES, { 0 } },
		/* Every other layer, the first included. */
		{ "gemma2", "", { 4096, 0, 4096, 0, 4096, 0 } },
		{ "gemma2", "\"sliding_window\":9", { 9, 0, 9, 0, 9, 0 } },
		{ "gemma2", "\"sliding_window\":9,\"sliding_window_pattern\":3", { 9, 0, 9, 0, 9, 0 } },
		{ "gemma2", "\"sliding_window\":null", { 0 } },
		{ "gemma2", "\"sliding_window\":0", { 0 } },
		{ "gemma2", "\"sliding_window\":-5", { 0 } },
		{ "gemma2", "\"sliding_window\":9," TYPES, { 9, 0, 0, 9, 0, 0 } },
		/* All but every n-th. */
		{ "gemma3_text", "\"sliding_window\":8", { 8, 8, 8, 8, 8, 0 } },
		{ "gemma3_text", "\"sliding_window\":8,\"sliding_window_pattern\":2", { 8, 0, 8, 0, 8, 0 } },
		{ "gemma3_text", "\"sliding_window\":8,\"sliding_window_pattern\":1", { 0 } },
		{ "gemma3_text", "\"sliding_window\":null,\"sliding_window_pattern\":1", { 0 } },
		{ "gemma3_text", "\"sliding_window\":8," TYPES, { 8, 0, 0, 8, 0, 0 } },
		{ "gemma3_text", "\"sliding_window\":8,\"layer_types\":null", { 8, 8, 8, 8, 8, 0 } },
		/* Families without a row. */
		{ "something_new", "\"sliding_window\":5", { 5, 5, 5, 5, 5, 5 } },
		{ "something_new", "\"sliding_window\":5,\"use_sliding_window\":false", { 0 } },
		{ "something_new", "\"sliding_window\":5," TYPES, { 5, 0, 0, 5, 0, 0 } },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct model_config *c = must_parse(rows[i].model_type, rows[i].keys);
		for (int layer = 0; layer < 6; layer++)
			if (c->window[layer] != rows[i].window[layer])
				fail_msg("%s {%s}: layer %d: window %lld, expected %lld", rows[i].model_type,
					 rows[i].keys, layer, (long long)c->window[layer],
					 (long long)rows[i].window[layer]);
		model_config_destroy(&c);
	}
	/* Where max_window_layers is absent transformers takes 28. */
	struct model_config *c = must_parse("qwen2", "\"num_hidden_layers\":30,\"sliding_window\":5,\"use_sliding_window\":true");
	assert_int_equal(c->window[27], 0);
	assert_int_equal(c->window[28], 5);
	model_config_destroy(&c);
}

#define LLAMA3 "\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4," \
	       "\"original_max_position_embeddings\":64"

static void test_rope_forms(void **state)
{
	(void)state;
	static const struct {
		const char *keys;
		enum rope_kind kind;
		double theta, factor;
		int64_t original;
	} rows[] = {
		{ "\"rope_theta\":500", ROPE_DEFAULT, 500, 0, 0 },
		{ "\"rope_theta\":500,\"rope_scaling\":null", ROPE_DEFAULT, 500, 0, 0 },
		{ "\"rope_theta\":500,\"rope_scaling\":{}", ROPE_DEFAULT, 500, 0, 0 },
		{ "\"rope_theta\":500,\"rope_scaling\":{" LLAMA3 "}", ROPE_LLAMA3, 500, 8, 64 },
		{ "\"rope_parameters\":{\"rope_theta\":500," LLAMA3 "}", ROPE_LLAMA3, 500, 8, 64 },
		{ "\"rope_parameters\":{\"rope_type\":\"default\"},\"rope_theta\":500", ROPE_DEFAULT, 500, 0, 0 },
		{ "\"rope_parameters\":{\"rope_theta\":500},\"rope_theta\":600", ROPE_DEFAULT, 500, 0, 0 },
		{ "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}", ROPE_LINEAR, 1e4, 2.5, 0 },
		{ "\"rope_scaling\":{\"type\":\"linear\",\"rope_type\":\"dynamic\",\"factor\":3}", ROPE_DYNAMIC,
		  1e4, 3, 0 },
		{ "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2},\"rope_parameters\":{\"rope_theta\":500}",
		  ROPE_LINEAR, 1e4, 2, 0 },
		{ "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4}", ROPE_YARN, 1e4, 4, 2048 },
		{ "\"rope_scaling\":{\"type\":\"yarn\",\"original_max_position_embeddings\":512}", ROPE_YARN, 1e4,
		  4, 512 },
		{ "\"original_max_position_embeddings\":256,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":null,"
		  "\"original_max_position_embeddings\":512}", ROPE_YARN, 1e4, 8, 256 },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct model_config *c = must_parse("llama", rows[i].keys);
		const struct rope_config *r = &c->rope[0];
		if (r->kind != rows[i].kind || r->theta != rows[i].theta || r->factor != rows[i].factor ||
		    r->original_max_position != rows[i].original)
			fail_msg("{%s}: kind %d theta %g factor %g original %lld", rows[i].keys, r->kind, r->theta,
				 r->factor, (long long)r->original_max_position);
		assert_false(c->rope_local);
		model_config_destroy(&c);
	}
}

static void test_rope_parameters(void **state)
{
	(void)state;
	struct model_config *c = must_parse("llama", "\"rope_scaling\":{" LLAMA3 "}");
	assert_true(c->rope[0].low_freq_factor == 1 && c->rope[0].high_freq_factor == 4);
	model_config_destroy(&c);

	c = must_parse("qwen3", "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"beta_slow\":0}");
	assert_true(c->rope[0].beta_fast == 32 && c->rope[0].beta_slow == 1);
	assert_true(c->rope[0].mscale == 0 && c->rope[0].mscale_all_dim == 0);
	assert_true(c->rope[0].attention_factor == 0);
	assert_true(c->rope[0].truncate);
	model_config_destroy(&c);

	c = must_parse("llama", "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"beta_fast\":8,"
		       "\"beta_slow\":0.5,\"mscale\":1,\"mscale_all_dim\":0.4,\"attention_factor\":1.3,"
		       "\"truncate\":false}");
	assert_true(c->rope[0].beta_fast == 8 && c->rope[0].beta_slow == 0.5);
	assert_true(c->rope[0].mscale == 1 && c->rope[0].mscale_all_dim == 0.4);
	assert_true(c->rope[0].attention_factor == 1.3);
	assert_false(c->rope[0].truncate);
	model_config_destroy(&c);
}

#define EIGHT(x) "[" x "," x "," x "," x "," x "," x "," x "," x "]"
#define LISTS "\"short_factor\":" EIGHT("1.5") ",\"long_factor\":" EIGHT("2")

static void test_longrope(void **state)
{
	(void)state;
	static const char *const kinds[] = { "longrope", "su", "yarn" };
	for (size_t i = 0; i < COUNT(kinds); i++) {
		char keys[512];
		snprintf(keys, sizeof keys, "\"max_position_embeddings\":16384,\"rope_scaling\":{\"type\":\"%s\","
			 LISTS "}", kinds[i]);
		struct model_config *c = must_parse("phi3", keys);
		assert_int_equal(c->rope[0].kind, ROPE_LONGROPE);
		assert_int_equal(c->rope[0].n_factors, 8);
		assert_true(c->rope[0].short_factor[7] == 1.5f && c->rope[0].long_factor[7] == 2);
		/* The key beside the dictionary counts, and it is 4096 where it is absent. */
		assert_int_equal(c->rope[0].original_max_position, 4096);
		assert_true(c->rope[0].factor == 4);
		model_config_destroy(&c);
	}
	struct model_config *c = must_parse(
		"phi3", "\"partial_rotary_factor\":0.5,\"original_max_position_embeddings\":100,"
		"\"rope_scaling\":{\"type\":\"longrope\",\"factor\":3,\"attention_factor\":1.25,"
		"\"original_max_position_embeddings\":7,\"short_factor\":[1,1,1,1],\"long_factor\":[2,2,2,2]}");
	assert_true(c->rope[0].partial_rotary_factor == 0.5);
	assert_int_equal(c->rope[0].n_factors, 4);
	assert_int_equal(c->rope[0].original_max_position, 100);
	assert_true(c->rope[0].factor == 3 && c->rope[0].attention_factor == 1.25);
	model_config_destroy(&c);
}

static void test_gemma3_rope(void **state)
{
	(void)state;
	static const struct {
		const char *keys;
		enum rope_kind kind;
		double theta, local_theta;
	} rows[] = {
		{ "", ROPE_DEFAULT, 1e6, 1e4 },
		{ "\"rope_theta\":500,\"rope_local_base_freq\":70", ROPE_DEFAULT, 500, 70 },
		{ "\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8}", ROPE_LINEAR, 1e6, 1e4 },
		{ "\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"linear\",\"factor\":8,"
		  "\"rope_theta\":500},\"sliding_attention\":{\"rope_type\":\"default\",\"rope_theta\":70}}",
		  ROPE_LINEAR, 500, 70 },
		{ "\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"default\"}}", ROPE_DEFAULT, 1e6, 1e4 },
		{ "\"rope_parameters\":{\"full_attention\":null,\"sliding_attention\":{\"rope_theta\":70}}",
		  ROPE_NONE, 0, 70 },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct model_config *c = must_parse("gemma3_text", rows[i].keys);
		assert_true(c->rope_local);
		if (c->rope[0].kind != rows[i].kind || c->rope[0].theta != rows[i].theta ||
		    c->rope[1].kind != ROPE_DEFAULT || c->rope[1].theta != rows[i].local_theta)
			fail_msg("{%s}: kind %d theta %g, local kind %d theta %g", rows[i].keys, c->rope[0].kind,
				 c->rope[0].theta, c->rope[1].kind, c->rope[1].theta);
		model_config_destroy(&c);
	}
}

/* As the larger Gemma 3 models are published: what equals a default is left out. */
static void test_nested(void **state)
{
	(void)state;
	static const char text[] =
		"{\"architectures\":[\"Gemma3ForConditionalGeneration\"],\"eos_token_id\":[1,106],"
		"\"model_type\":\"gemma3\",\"torch_dtype\":\"bfloat16\",\"vision_config\":{\"hidden_size\":1152},"
		"\"text_config\":{\"hidden_size\":2560,\"intermediate_size\":10240,\"model_type\":\"gemma3_text\","
		"\"num_hidden_layers\":34,\"rope_scaling\":{\"factor\":8.0,\"rope_type\":\"linear\"},"
		"\"sliding_window\":1024}}";
	struct model_config *c = NULL;
	assert_int_equal(model_config_parse(&c, text, sizeof text - 1, WHERE), VB_OK);
	assert_string_equal(c->architecture, "Gemma3ForConditionalGeneration");
	assert_string_equal(c->model_type, "gemma3_text");
	assert_int_equal(c->dtype, DTYPE_BF16);
	assert_int_equal(c->hidden_size, 2560);
	assert_int_equal(c->intermediate_size, 10240);
	assert_int_equal(c->n_layers, 34);
	assert_int_equal(c->n_heads, 8);
	assert_int_equal(c->n_kv_heads, 4);
	assert_int_equal(c->head_dim, 256);
	assert_int_equal(c->vocab_size, 262208);
	assert_int_equal(c->window[4], 1024);
	assert_int_equal(c->window[5], 0);
	assert_int_equal(c->rope[0].kind, ROPE_LINEAR);
	assert_int_equal(c->rope[1].kind, ROPE_DEFAULT);
	assert_int_equal(c->n_eos, 2);
	assert_int_equal(c->eos[1], 106);
	assert_int_equal(c->bos, 2);
	assert_true(c->tie_word_embeddings);
	assert_ptr_equal(c->text, json_object_get(c->json, "text_config"));
	model_config_destroy(&c);

	static const char untyped[] = "{\"model_type\":\"gemma3\",\"text_config\":{\"hidden_size\":64},"
				      "\"tie_word_embeddings\":false}";
	assert_int_equal(model_config_parse(&c, untyped, sizeof untyped - 1, WHERE), VB_OK);
	assert_string_equal(c->model_type, "gemma3_text");
	assert_int_equal(c->n_layers, 26);
	assert_false(c->tie_word_embeddings);
	model_config_destroy(&c);
}

static void test_keys(void **state)
{
	(void)state;
	struct model_config *c = must_parse("llama", "\"architectures\":[\"LlamaForCausalLM\"],"
		"\"torch_dtype\":\"bfloat16\",\"num_key_value_heads\":8,\"head_dim\":80,\"attention_bias\":true,"
		"\"mlp_bias\":true,\"tie_word_embeddings\":true,\"eos_token_id\":[7,299],\"bos_token_id\":null,"
		"\"hidden_act\":\"gelu\",\"rms_norm_eps\":0.1,\"max_position_embeddings\":77,"
		"\"sliding_window\":3,\"auto_map\":{\"AutoConfig\":\"x.Y\"},\"vocab_size\":300.0");
	assert_string_equal(c->architecture, "LlamaForCausalLM");
	assert_int_equal(c->dtype, DTYPE_BF16);
	assert_int_equal(c->n_kv_heads, 8);
	assert_int_equal(c->head_dim, 80);
	assert_true(c->attention_bias && c->attention_out_bias && c->mlp_bias && c->tie_word_embeddings);
	assert_int_equal(c->n_eos, 2);
	assert_int_equal(c->eos[0], 7);
	assert_int_equal(c->eos[1], 299);
	assert_int_equal(c->bos, -1);
	assert_int_equal(c->activation, ACTIVATION_GELU);
	assert_true(c->rms_norm_eps == 0.1);
	assert_int_equal(c->max_position, 77);
	assert_int_equal(c->window[0], 0);
	model_config_destroy(&c);

	static const struct {
		const char *model_type, *keys;
		bool qkv, out, mlp;
	} biases[] = {
		{ "mistral", "\"attention_bias\":true", false, false, false },
		{ "qwen2", "\"attention_bias\":false", true, false, false },
		{ "qwen3", "\"attention_bias\":true,\"mlp_bias\":true", true, true, false },
		{ "phi3", "\"attention_bias\":true", false, false, false },
		{ "gemma2", "\"attention_bias\":true", true, true, false },
		{ "internlm2", "\"bias\":true", true, true, false },
		{ "internlm2", "\"bias\":false", false, false, false },
		{ "internlm3", "\"qkv_bias\":true", true, false, false },
		{ "internlm3", "\"bias\":true", false, true, true },
	};
	for (size_t i = 0; i < COUNT(biases); i++) {
		c = must_parse(biases[i].model_type, biases[i].keys);
		if (c->attention_bias != biases[i].qkv || c->attention_out_bias != biases[i].out ||
		    c->mlp_bias != biases[i].mlp)
			fail_msg("%s {%s}: biases", biases[i].model_type, biases[i].keys);
		model_config_destroy(&c);
	}

	static const struct {
		const char *name;
		enum activation_kind kind;
	} activations[] = {
		{ "silu", ACTIVATION_SILU }, { "swish", ACTIVATION_SILU }, { "gelu", ACTIVATION_GELU },
		{ "gelu_new", ACTIVATION_GELU_TANH }, { "gelu_fast", ACTIVATION_GELU_TANH },
		{ "gelu_pytorch_tanh", ACTIVATION_GELU_TANH },
	};
	for (size_t i = 0; i < COUNT(activations); i++) {
		char keys[128];
		snprintf(keys, sizeof keys, "\"hidden_activation\":\"%s\",\"hidden_act\":\"none\"",
			 activations[i].name);
		c = must_parse("gemma2", keys);
		assert_int_equal(c->activation, activations[i].kind);
		model_config_destroy(&c);
	}

	c = must_parse("gemma2", "\"attn_logit_softcapping\":null,\"final_logit_softcapping\":7.5,"
		       "\"query_pre_attn_scalar\":144");
	assert_true(c->attn_logit_softcap == 0 && c->final_logit_softcap == 7.5);
	assert_true(c->query_pre_attn_scalar == 144);
	model_config_destroy(&c);
	c = must_parse("mistral", "\"num_key_value_heads\":null,\"dtype\":\"float16\",\"torch_dtype\":\"bfloat16\"");
	assert_int_equal(c->n_kv_heads, 32);
	assert_int_equal(c->dtype, DTYPE_F16);
	model_config_destroy(&c);
	c = must_parse("llama", "\"eos_token_id\":[]");
	assert_int_equal(c->n_eos, 0);
	model_config_destroy(&c);
}

struct refusal {
	const char *model_type, *keys;
	int status;
	const char *reason;
};

static const struct refusal refusals[] = {
	{ "", "", VB_EFORMAT, "missing key: " WHERE ": \"model_type\"" },
	{ "llama", "\"model_type\":7", VB_EFORMAT, "\"model_type\"" },
	{ "llama", "\"hidden_size\":\"<absent>\"", VB_EFORMAT, "missing key: " WHERE ": \"hidden_size\"" },
	{ "llama", "\"hidden_size\":\"64\"", VB_EFORMAT, "key \"hidden_size\": expected an integer" },
	{ "llama", "\"hidden_size\":64.5", VB_EFORMAT, "\"hidden_size\"" },
	{ "llama", "\"hidden_size\":0", VB_EFORMAT, "key \"hidden_size\": 0" },
	{ "llama", "\"hidden_size\":-4096", VB_EFORMAT, "key \"hidden_size\": -4096" },
	{ "llama", "\"hidden_size\":9223372036854775807", VB_EFORMAT, "\"hidden_size\"" },
	{ "llama", "\"hidden_size\":1e300", VB_EFORMAT, "\"hidden_size\"" },
	{ "llama", "\"hidden_size\":513", VB_EFORMAT, "no multiple of num_attention_heads" },
	{ "llama", "\"intermediate_size\":0", VB_EFORMAT, "\"intermediate_size\"" },
	{ "llama", "\"num_hidden_layers\":0", VB_EFORMAT, "\"num_hidden_layers\"" },
	{ "llama", "\"num_hidden_layers\":1025", VB_EFORMAT, "\"num_hidden_layers\"" },
	{ "llama", "\"num_hidden_layers\":\"<absent>\"", VB_EFORMAT, "\"num_hidden_layers\"" },
	{ "llama", "\"num_attention_heads\":0", VB_EFORMAT, "\"num_attention_heads\"" },
	{ "llama", "\"num_attention_heads\":[32]", VB_EFORMAT, "found array" },
	{ "llama", "\"num_key_value_heads\":0", VB_EFORMAT, "\"num_key_value_heads\"" },
	{ "llama", "\"num_key_value_heads\":3", VB_EFORMAT, "3 does not divide num_attention_heads, 32" },
	{ "llama", "\"num_key_value_heads\":64", VB_EFORMAT, "64 does not divide" },
	{ "llama", "\"head_dim\":0", VB_EFORMAT, "\"head_dim\"" },
	{ "llama", "\"head_dim\":33", VB_EFORMAT, "key \"head_dim\": 33, expected an even number" },
	{ "llama", "\"head_dim\":1026", VB_EFORMAT, "\"head_dim\"" },
	{ "llama", "\"hidden_size\":32", VB_EFORMAT, "key \"head_dim\": 1, expected" },
	{ "llama", "\"hidden_size\":65536", VB_EFORMAT, "key \"head_dim\": 2048, expected" },
	{ "llama", "\"vocab_size\":0", VB_EFORMAT, "\"vocab_size\"" },
	{ "llama", "\"vocab_size\":4294967296", VB_EFORMAT, "\"vocab_size\"" },
	{ "llama", "\"max_position_embeddings\":2147483648", VB_EFORMAT, "\"max_position_embeddings\"" },
	{ "llama", "\"max_position_embeddings\":0", VB_EFORMAT, "\"max_position_embeddings\"" },
	{ "llama", "\"rms_norm_eps\":0", VB_EFORMAT, "\"rms_norm_eps\"" },
	{ "llama", "\"rms_norm_eps\":-1e-6", VB_EFORMAT, "\"rms_norm_eps\"" },
	{ "llama", "\"rms_norm_eps\":\"1e-6\"", VB_EFORMAT, "expected a number, found string" },
	{ "llama", "\"hidden_act\":\"relu\"", VB_EUNSUPPORTED, "key \"hidden_act\": \"relu\"" },
	{ "llama", "\"hidden_act\":\"quick_gelu\"", VB_EUNSUPPORTED, "quick_gelu" },
	{ "gemma2", "\"hidden_activation\":\"relu\"", VB_EUNSUPPORTED, "key \"hidden_activation\": \"relu\"" },
	{ "llama", "\"tie_word_embeddings\":1", VB_EFORMAT, "\"tie_word_embeddings\"" },
	{ "llama", "\"attention_bias\":\"no\"", VB_EFORMAT, "\"attention_bias\"" },
	{ "llama", "\"torch_dtype\":\"float8_e4m3fn\"", VB_EUNSUPPORTED, "\"float8_e4m3fn\"" },
	{ "llama", "\"dtype\":\"float64\"", VB_EUNSUPPORTED, "\"float64\"" },
	{ "llama", "\"dtype\":16", VB_EFORMAT, "\"dtype\"" },
	{ "llama", "\"architectures\":\"LlamaForCausalLM\"", VB_EFORMAT, "\"architectures\"" },
	{ "llama", "\"architectures\":[1]", VB_EFORMAT, "\"architectures\"" },
	{ "llama", "\"architectures\":[\"a234567890123456789012345678901234567890123456789012345678901234\"]",
	  VB_EFORMAT, "\"architectures\"" },
	{ "a234567890123456789012345678901234567890123456789012345678901234", "", VB_EFORMAT, "too long" },
	{ "llama", "\"text_config\":[]", VB_EFORMAT, "\"text_config\"" },
	{ "llama", "\"quantization_config\":[]", VB_EFORMAT, "quantization_config: expected an object" },
	{ "llama", "\"quantization_config\":{}", VB_EUNSUPPORTED, "key \"quant_method\": \"\"" },
	{ "llama", "\"quantization_config\":{\"quant_method\":3}", VB_EFORMAT, "\"quant_method\"" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"bitsandbytes\"}", VB_EUNSUPPORTED, "\"bitsandbytes\": served: awq, gptq" },
	{ "llama", "\"compression_config\":{\"quant_method\":\"hqq\"}", VB_EUNSUPPORTED, "compression_config: key \"quant_method\": \"hqq\"" },
	{ "gemma3", "\"text_config\":{\"quantization_config\":{\"quant_method\":\"mxfp4\"}}", VB_EUNSUPPORTED, "\"mxfp4\"" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":0}", VB_EFORMAT, "key \"group_size\": 0" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":-2}", VB_EFORMAT, "\"group_size\"" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"gptq\"}", VB_EFORMAT, "\"bits\"" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":3}", VB_EUNSUPPORTED, "key \"bits\": 3: served: 4 and 8" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,\"checkpoint_format\":\"marlin\"}", VB_EUNSUPPORTED, "\"checkpoint_format\": \"marlin\": served: gptq, gptq_v2" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,\"is_marlin_format\":true}", VB_EUNSUPPORTED, "\"is_marlin_format\"" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,\"pack_dtype\":\"int16\"}", VB_EUNSUPPORTED, "\"pack_dtype\": \"int16\"" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,\"dynamic\":{\"+:layers.0\":{\"bits\":8}}}", VB_EUNSUPPORTED, "\"dynamic\": +:layers.0" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,\"desc_act\":1}", VB_EFORMAT, "\"desc_act\"" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":8}", VB_EUNSUPPORTED, "key \"bits\": 8: served: 4" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4,\"version\":\"gemv\"}", VB_EUNSUPPORTED, "\"version\": \"gemv\": served: gemm" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"awq\",\"w_bit\":4,\"zero_point\":false}", VB_EUNSUPPORTED, "\"zero_point\": false" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"fp8\",\"fmt\":\"e5m2\"}", VB_EUNSUPPORTED, "\"fmt\": \"e5m2\"" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"fp8\",\"weight_block_size\":[128]}", VB_EFORMAT, "\"weight_block_size\"" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"fp8\",\"weight_block_size\":[128,0]}", VB_EFORMAT, "\"weight_block_size\"" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"fp8\",\"weight_block_size\":128}", VB_EFORMAT, "\"weight_block_size\"" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"marlin-24\"}", VB_EUNSUPPORTED, "\"format\": \"marlin-24\"" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\"}", VB_EFORMAT, "\"config_groups\"" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"config_groups\":{\"a\":3}}", VB_EFORMAT, "config_groups" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"config_groups\":{\"a\":{\"weights\":{\"num_bits\":2}}}}", VB_EUNSUPPORTED, "config_groups.a.weights: key \"num_bits\": 2" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"config_groups\":{\"a\":{\"weights\":{\"num_bits\":4,\"type\":\"float\"}}}}", VB_EUNSUPPORTED, "\"num_bits\": 4: served: 8 for type float" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"config_groups\":{\"a\":{\"weights\":{\"num_bits\":8,\"strategy\":\"token\"}}}}", VB_EUNSUPPORTED, "\"strategy\": \"token\"" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"config_groups\":{\"a\":{\"weights\":{\"dynamic\":true}}}}", VB_EUNSUPPORTED, "\"dynamic\": true" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"quantization_status\":\"frozen\"}", VB_EUNSUPPORTED, "\"quantization_status\": \"frozen\"" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"transform_config\":{\"a\":1}}", VB_EUNSUPPORTED, "\"transform_config\"" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"sparsity_config\":{\"format\":\"sparse-24-bitmask\"}}", VB_EUNSUPPORTED, "\"sparse-24-bitmask\"" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"verbatim\"}", VB_EFORMAT, "\"version\"" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"verbatim\",\"version\":3}", VB_EUNSUPPORTED, "\"version\"" },
	{ "llama", "\"quantization_config\":{\"quant_method\":\"verbatim\",\"version\":1,\"to\":\"q2\"}", VB_EUNSUPPORTED, "\"to\": \"q2\"" },
	{ "llama", "\"eos_token_id\":-1", VB_EFORMAT, "token -1" },
	{ "llama", "\"eos_token_id\":300", VB_EFORMAT, "token 300, but the vocabulary has ids from 0 to 299" },
	{ "llama", "\"eos_token_id\":\"2\"", VB_EFORMAT, "\"eos_token_id\"" },
	{ "llama", "\"eos_token_id\":[[2]]", VB_EFORMAT, "\"eos_token_id\"" },
	{ "llama", "\"eos_token_id\":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]", VB_ELIMIT, "\"eos_token_id\": 17" },
	{ "llama", "\"bos_token_id\":300", VB_EFORMAT, "\"bos_token_id\"" },
	/* Windows. */
	{ "mistral", "\"sliding_window\":\"4096\"", VB_EFORMAT, "\"sliding_window\"" },
	{ "mistral", "\"sliding_window\":4294967296", VB_EFORMAT, "\"sliding_window\"" },
	{ "mistral", "\"sliding_window\":4.5", VB_EFORMAT, "\"sliding_window\"" },
	{ "qwen2", "\"max_window_layers\":-1", VB_EFORMAT, "\"max_window_layers\"" },
	{ "qwen2", "\"use_sliding_window\":\"yes\",\"max_window_layers\":0", VB_EFORMAT, "\"use_sliding_window\"" },
	{ "qwen2", "\"layer_types\":\"full_attention\"", VB_EFORMAT, "\"layer_types\"" },
	{ "qwen2", "\"layer_types\":[" F "]", VB_EFORMAT, "1 entries, but num_hidden_layers is 6" },
	{ "qwen2", "\"layer_types\":[" F "," F "," F "," F "," F ",3]", VB_EFORMAT, "entry 5" },
	{ "qwen2", "\"layer_types\":[" F "," F "," F "," F "," F ",\"linear_attention\"]", VB_EUNSUPPORTED,
	  "\"linear_attention\"" },
	{ "gemma3_text", "\"sliding_window_pattern\":0", VB_EFORMAT, "\"sliding_window_pattern\"" },
	{ "gemma3_text", "\"sliding_window\":null", VB_EFORMAT, "layer 0 is of type sliding_attention" },
	{ "gemma3_text", "\"sliding_window\":0," TYPES, VB_EFORMAT, "layer 0 is of type sliding_attention" },
	{ "gemma3_text", "\"use_bidirectional_attention\":true", VB_EUNSUPPORTED, "not a causal model" },
	{ "gemma2", "\"attn_logit_softcapping\":0", VB_EFORMAT, "\"attn_logit_softcapping\"" },
	{ "gemma2", "\"final_logit_softcapping\":-1", VB_EFORMAT, "\"final_logit_softcapping\"" },
	{ "gemma2", "\"query_pre_attn_scalar\":0", VB_EFORMAT, "\"query_pre_attn_scalar\"" },
	/* Rope. */
	{ "llama", "\"rope_theta\":0", VB_EFORMAT, "\"rope_theta\"" },
	{ "llama", "\"rope_theta\":-1", VB_EFORMAT, "\"rope_theta\"" },
	{ "llama", "\"rope_theta\":1e300", VB_EFORMAT, "\"rope_theta\"" },
	{ "llama", "\"rope_theta\":\"10000\"", VB_EFORMAT, "\"rope_theta\"" },
	{ "llama", "\"rope_scaling\":\"linear\"", VB_EFORMAT, "\"rope_scaling\": expected an object" },
	{ "llama", "\"rope_scaling\":{\"type\":\"mrope\"}", VB_EUNSUPPORTED, "rope_scaling: key \"rope_type\": \"mrope\"" },
	{ "llama", "\"rope_scaling\":{\"rope_type\":3}", VB_EFORMAT, "\"rope_type\"" },
	{ "llama", "\"rope_scaling\":{\"type\":\"linear\"}", VB_EFORMAT, "rope_scaling: \"factor\"" },
	{ "llama", "\"rope_scaling\":{\"type\":\"linear\",\"factor\":0}", VB_EFORMAT, "\"factor\": 0" },
	{ "llama", "\"rope_scaling\":{\"type\":\"linear\",\"factor\":-2}", VB_EFORMAT, "\"factor\": -2" },
	{ "llama", "\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":\"2\"}", VB_EFORMAT, "\"factor\"" },
	{ "llama", "\"head_dim\":2,\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}", VB_EFORMAT, "more than 2" },
	{ "llama", "\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8}", VB_EFORMAT, "\"low_freq_factor\"" },
	{ "llama", "\"rope_scaling\":{" LLAMA3 ",\"low_freq_factor\":0}", VB_EFORMAT, "low_freq_factor" },
	{ "llama", "\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,"
	  "\"high_freq_factor\":4}", VB_EFORMAT, "expected above low_freq_factor" },
	{ "llama", "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"beta_fast\":1,\"beta_slow\":2}", VB_EFORMAT,
	  "\"beta_fast\"" },
	{ "llama", "\"rope_scaling\":{\"type\":\"yarn\",\"original_max_position_embeddings\":0}", VB_EFORMAT,
	  "\"original_max_position_embeddings\"" },
	{ "llama", "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"truncate\":1}", VB_EFORMAT, "\"truncate\"" },
	{ "phi3", "\"rope_scaling\":{\"type\":\"longrope\",\"long_factor\":" EIGHT("1") "}", VB_EFORMAT,
	  "\"short_factor\"" },
	{ "phi3", "\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1],\"long_factor\":[1]}", VB_EFORMAT,
	  "1 numbers, but half the rotated head is 8" },
	{ "phi3", "\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":" EIGHT("0") ",\"long_factor\":"
	  EIGHT("1") "}", VB_EFORMAT, "\"short_factor\": entry 0" },
	{ "phi3", "\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":" EIGHT("\"1\"") "}", VB_EFORMAT,
	  "entry 0" },
	{ "phi3", "\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":8}", VB_EFORMAT, "expected a list" },
	{ "phi3", "\"partial_rotary_factor\":0", VB_EFORMAT, "\"partial_rotary_factor\"" },
	{ "phi3", "\"partial_rotary_factor\":0.2", VB_EFORMAT, "rotates 3 elements" },
	{ "phi3", "\"partial_rotary_factor\":1.5", VB_EFORMAT, "\"partial_rotary_factor\"" },
	{ "gemma3_text", "\"rope_local_base_freq\":0", VB_EFORMAT, "\"rope_local_base_freq\"" },
	{ "gemma3_text", "\"rope_parameters\":{\"rope_theta\":7}", VB_EFORMAT, "\"full_attention\"" },
	{ "gemma3_text", "\"rope_parameters\":{\"full_attention\":{\"rope_theta\":0}}", VB_EFORMAT,
	  "rope_parameters: full_attention: key \"rope_theta\"" },
	{ "gemma3_text", "\"rope_parameters\":{\"full_attention\":7}", VB_EFORMAT, "\"full_attention\"" },
};
#undef S
#undef F

static void check_refused(const char *what, int rc, const struct model_config *c, int status, const char *reason)
{
	if (rc != status || !strstr(vb_errmsg(), reason) || !strstr(vb_errmsg(), WHERE) || c)
		fail_msg("%s: expected %s \"%s\", got %s \"%s\"", what, vb_status_name(status), reason,
			 vb_status_name(rc), vb_errmsg());
}

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(refusals); i++) {
		struct model_config *c = NULL;
		int rc = parse(&c, refusals[i].model_type, refusals[i].keys);
		check_refused(refusals[i].keys, rc, c, refusals[i].status, refusals[i].reason);
	}
}

static void test_not_json(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"", "[]", "7", "null", "{", "{\"a\":1}x", "{\"hidden_size\":NaN}", "{\"rope_theta\":1e400}",
		"{\"hidden_size\":64,\"hidden_size\":32}", "{\"model_type\":\"\xff\"}", "{'a':1}", "{\"a\":1,}",
	};
	for (size_t i = 0; i < COUNT(texts); i++) {
		struct model_config *c = NULL;
		int rc = model_config_parse(&c, texts[i], strlen(texts[i]), WHERE);
		check_refused(texts[i], rc, c, VB_EFORMAT, "");
	}
	struct model_config *c = NULL;
	assert_int_equal(model_config_read(&c, "/nonexistent"), VB_ENOTFOUND);
	assert_non_null(strstr(vb_errmsg(), "no config.json: /nonexistent: "));
	assert_null(c);
}

static void test_memory_runs_out(void **state)
{
	(void)state;
	char *text = config_text("gemma3_text", "\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8}");
	int rc = VB_ENOMEM;
	for (uint64_t n = 1; rc != VB_OK; n++) {
		struct model_config *c = NULL;
		assert_true(n < 100);
		mem_fail_at(n, false);
		rc = model_config_parse(&c, text, strlen(text), WHERE);
		mem_fail_at(0, false);
		if (rc != VB_OK)
			assert_int_equal(rc, VB_ENOMEM);
		model_config_destroy(&c);
	}
	free(text);
}

/* ---- Quantised weights ---- */

static const struct {
	const char *config;
	struct quantization q;
} quantised[] = {
	{ "\"quant_method\":\"awq\",\"bits\":4,\"group_size\":64,\"version\":\"GEMM\",\"zero_point\":true",
	  { .method = QUANT_AWQ, .name = "awq", .bits = 4, .group = 64 } },
	{ "\"quant_method\":\"awq\",\"w_bit\":4,\"q_group_size\":-1", { .method = QUANT_AWQ, .name = "awq", .bits = 4 } },
	{ "\"quant_method\":\"gptq\",\"bits\":4", { .method = QUANT_GPTQ, .name = "gptq", .bits = 4, .group = 128,
	  .symmetric = true, .zero_less_one = true } },
	{ "\"quant_method\":\"gptq\",\"bits\":8,\"group_size\":32,\"sym\":false,\"desc_act\":true,\"dynamic\":{\"-:.*down.*\":{}},"
	  "\"checkpoint_format\":\"gptq_v2\"", { .method = QUANT_GPTQ, .name = "gptq", .bits = 8, .group = 32, .act_order = true } },
	{ "\"quant_method\":\"fp8\",\"weight_block_size\":[128,64],\"fmt\":\"e4m3\"",
	  { .method = QUANT_FP8, .name = "fp8", .block = { 128, 64 } } },
	{ "\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"sparsity_config\":{},\"transform_config\":{},"
	  "\"config_groups\":{\"group_0\":{\"weights\":{\"num_bits\":4,\"group_size\":128,\"strategy\":\"group\"}}}",
	  { .method = QUANT_COMPRESSED, .name = "compressed-tensors", .bits = 4, .group = 128 } },
	{ "\"quant_method\":\"verbatim\",\"version\":2,\"to\":\"q4\"",
	  { .method = QUANT_VERBATIM, .name = "verbatim", .bits = 4, .group = 32 } },
	{ "\"quant_method\":\"verbatim\",\"version\":1,\"to\":\"q4\"",
	  { .method = QUANT_VERBATIM, .name = "verbatim", .bits = 4, .group = 32 } },
};

static void test_quantised(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof quantised / sizeof *quantised; i++) {
		char text[1024];
		struct model_config *c;
		int n = snprintf(text, sizeof text, "{\"model_type\":\"llama\",\"hidden_size\":64,\"intermediate_size\":48,"
				 "\"num_hidden_layers\":6,\"num_attention_heads\":4,\"vocab_size\":300,"
				 "\"quantization_config\":{%s}}", quantised[i].config);
		if (model_config_parse(&c, text, (size_t)n, "config.json") != VB_OK)
			fail_msg("row %zu: %s", i, vb_errmsg());
		const struct quantization *q = &c->quantization, *w = &quantised[i].q;
		assert_int_equal(q->method, w->method);
		assert_string_equal(q->name, w->name);
		assert_int_equal(q->bits, w->bits);
		assert_int_equal(q->group, w->group);
		assert_memory_equal(q->block, w->block, sizeof w->block);
		assert_int_equal(q->symmetric, w->symmetric);
		assert_int_equal(q->act_order, w->act_order);
		assert_int_equal(q->zero_less_one, w->zero_less_one);
		model_config_destroy(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_quantised),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_windows),
		cmocka_unit_test(test_rope_forms),
		cmocka_unit_test(test_rope_parameters),
		cmocka_unit_test(test_longrope),
		cmocka_unit_test(test_gemma3_rope),
		cmocka_unit_test(test_nested),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_not_json),
		cmocka_unit_test(test_memory_runs_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
