/* config_quantization.c - what config.json says of weights that are stored quantised.
 *
 * A key that changes what the numbers mean is read or refused, by name and value; keys that only tell how the weights were
 * found, or how somebody's kernels should run, are left alone. Which modules are quantised is not read from lists of
 * names: the tensors in the files show it.
 *
 * Sources: the configuration classes of transformers 5.17.0 (utils/quantization_config.py), compressed-tensors 0.12.2,
 * AutoAWQ 0.2.9 and GPTQModel 5.0.
 */
#include "config_parts.h"

#include "base/status.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define MAX_BLOCK 65536

struct reader {
	const json_t *o;
	const char *where; /* "DIR/config.json: quantization_config" */
	struct quantization *q;
};

/* One of `words`, in either case; the first of them is what an absent key means. */
static int read_word(const struct reader *r, const json_t *o, const char *key, const char *const *words, int *out)
{
	const char *s;
	char served[128] = "";
	TRY(json_get_str(o, key, r->where, words[0], &s));
	for (*out = 0; words[*out]; (*out)++) {
		if (strcasecmp(s, words[*out]) == 0)
			return VB_OK;
		size_t n = strlen(served);
		snprintf(served + n, sizeof served - n, "%s%s", n ? ", " : "", words[*out]);
	}
	FAIL(VB_EUNSUPPORTED, "quantised weights of this kind are not served: %s: key \"%s\": \"%.64s\": served: %s", r->where,
	     key, s, served);
}

static int refuse(const struct reader *r, const char *key, const char *value, const char *served)
{
	FAIL(VB_EUNSUPPORTED, "quantised weights of this kind are not served: %s: key \"%s\": %.64s: served: %s", r->where, key,
	     value, served);
}

/* A key whose presence means something that is not served. */
static int refuse_given(const struct reader *r, const char *key)
{
	const json_t *v = json_get(r->o, key);
	if (!v || (json_is_object(v) && json_object_size(v) == 0) || (json_is_array(v) && json_array_size(v) == 0) ||
	    json_is_false(v))
		return VB_OK;
	return refuse(r, key, json_kind(v), "files without it");
}

static int read_bits(const struct reader *r, const char *key, bool eight)
{
	int64_t bits;
	char value[32];
	TRY(json_need_i64(r->o, key, r->where, 1, 64, &bits));
	r->q->bits = (int)bits;
	if (bits == 4 || (bits == 8 && eight))
		return VB_OK;
	snprintf(value, sizeof value, "%lld", (long long)bits);
	return refuse(r, key, value, eight ? "4 and 8" : "4");
}

/* -1, and null where it is one group a row, is 0. */
static int read_group(const struct reader *r, const json_t *o, const char *key, int64_t absent, int64_t *out)
{
	TRY(json_get_i64(o, key, r->where, -1, MAX_BLOCK, absent, out));
	if (*out == 0)
		FAIL(VB_EFORMAT, "value out of range: %s: key \"%s\": 0, expected -1 or above 0", r->where, key);
	if (*out < 0)
		*out = 0;
	return VB_OK;
}

static int read_awq(const struct reader *r)
{
	static const char *const versions[] = { "gemm", NULL };
	int version;
	bool zeros;
	/* AutoAWQ's own file has other names for the same. */
	TRY(read_bits(r, json_get(r->o, "w_bit") ? "w_bit" : "bits", false));
	TRY(read_group(r, r->o, json_get(r->o, "q_group_size") ? "q_group_size" : "group_size", 128, &r->q->group));
	TRY(read_word(r, r->o, json_get(r->o, "format") ? "format" : "version", versions, &version));
	TRY(json_get_bool(r->o, "zero_point", r->where, true, &zeros));
	return zeros ? VB_OK : refuse(r, "zero_point", "false", "true");
}

/* Rules for single modules: those that leave modules alone are plain to see in the files. */
static int check_dynamic(const struct reader *r)
{
	const char *key;
	json_t *v, *rules = json_get(r->o, "dynamic");
	if (rules && !json_is_object(rules))
		return refuse(r, "dynamic", json_kind(rules), "an object");
	json_object_foreach(rules, key, v)
		if (strncmp(key, "-:", 2) != 0)
			return refuse(r, "dynamic", key, "rules that begin with -:");
	return VB_OK;
}

static int read_gptq(const struct reader *r)
{
	static const char *const formats[] = { "gptq", "gptq_v2", NULL }, *const packs[] = { "int32", NULL };
	int format, pack;
	TRY(read_bits(r, "bits", true));
	TRY(read_group(r, r->o, "group_size", 128, &r->q->group));
	TRY(read_word(r, r->o, json_get(r->o, "checkpoint_format") ? "checkpoint_format" : "format", formats, &format));
	TRY(read_word(r, r->o, "pack_dtype", packs, &pack));
	TRY(json_get_bool(r->o, "desc_act", r->where, false, &r->q->act_order));
	TRY(json_get_bool(r->o, "sym", r->where, true, &r->q->symmetric));
	TRY(refuse_given(r, "is_marlin_format"));
	r->q->zero_less_one = format == 0;
	return check_dynamic(r);
}

/* Rows and columns of a block. */
static int read_block(const struct reader *r, const char *key)
{
	const json_t *block = json_get(r->o, key);
	for (size_t i = 0; i < 2; i++) {
		const json_t *v = json_array_get(block, i);
		if (json_array_size(block) != 2 || !json_is_integer(v) || json_integer_value(v) < 1 ||
		    json_integer_value(v) > MAX_BLOCK)
			FAIL(VB_EFORMAT, "value out of range: %s: key \"%s\": expected two sizes from 1 to %d", r->where, key,
			     MAX_BLOCK);
		r->q->block[i] = json_integer_value(v);
	}
	return VB_OK;
}

static int read_fp8(const struct reader *r)
{
	static const char *const formats[] = { "e4m3", "float8_e4m3fn", NULL };
	int format;
	TRY(read_word(r, r->o, "fmt", formats, &format));
	return json_get(r->o, "weight_block_size") ? read_block(r, "weight_block_size") : VB_OK;
}

/* ---- compressed-tensors ---- */

enum { PACK_QUANTIZED, INT_QUANTIZED, FLOAT_QUANTIZED, NAIVE_QUANTIZED, MIXED };
static const char *const compressed_formats[] = { "pack-quantized", "int-quantized", "float-quantized", "naive-quantized",
						  "mixed-precision", NULL };

static int read_scheme(const struct reader *r, const char *name, const json_t *group)
{
	static const char *const types[] = { "int", "float", NULL };
	static const char *const strategies[] = { "tensor", "channel", "group", "block", NULL };
	char where[512];
	const json_t *weights = json_get(group, "weights");
	if (!json_is_object(group) || (weights && !json_is_object(weights)))
		FAIL(VB_EFORMAT, "wrong type: %s: config_groups: \"%.64s\": expected an object with \"weights\"", r->where, name);
	if (!weights) /* of activations alone */
		return VB_OK;
	snprintf(where, sizeof where, "%.300s: config_groups.%.64s.weights", r->where, name);
	struct reader in = { weights, where, r->q };
	int64_t bits, group_size;
	int type, strategy;
	bool dynamic;
	char value[32];
	TRY(json_get_i64(weights, "num_bits", where, 1, 64, 8, &bits));
	TRY(read_word(&in, weights, "type", types, &type));
	TRY(read_word(&in, weights, "strategy", strategies, &strategy));
	TRY(read_group(&in, weights, "group_size", -1, &group_size));
	TRY(json_get_bool(weights, "dynamic", where, false, &dynamic));
	if (dynamic)
		return refuse(&in, "dynamic", "true", "false");
	snprintf(value, sizeof value, "%lld", (long long)bits);
	if (bits != 8 && (bits != 4 || type == 1))
		return refuse(&in, "num_bits", value, type == 1 ? "8 for type float" : "4 and 8");
	if (strategy == 3 && type == 0)
		return refuse(&in, "strategy", "block", "tensor, channel, group for type int");
	if (strategy == 3)
		TRY(read_block(&in, "block_structure"));
	r->q->bits = (int)bits;
	r->q->group = group_size;
	return VB_OK;
}

static int read_compressed(const struct reader *r)
{
	static const char *const statuses[] = { "compressed", NULL }, *const sparsities[] = { "dense", NULL };
	int which;
	TRY(read_word(r, r->o, "format", compressed_formats, &which));
	TRY(read_word(r, r->o, "quantization_status", statuses, &which));
	TRY(refuse_given(r, "transform_config"));
	const json_t *sparsity = json_get(r->o, "sparsity_config");
	if (json_object_size(sparsity) > 0)
		TRY(read_word(r, sparsity, "format", sparsities, &which));
	const json_t *groups = json_get(r->o, "config_groups");
	if (!json_is_object(groups) || json_object_size(groups) == 0)
		FAIL(VB_EFORMAT, "missing key: %s: \"config_groups\": expected an object of schemes", r->where);
	const char *name;
	json_t *group;
	json_object_foreach((json_t *)groups, name, group)
		TRY(read_scheme(r, name, group));
	return VB_OK;
}

static int read_verbatim(const struct reader *r)
{
	static const char *const to[] = { "q8", "q4", NULL };
	int64_t version;
	int which;
	TRY(json_need_i64(r->o, "version", r->where, 1, INT32_MAX, &version));
	if (version > 2) /* 1 knows no q6 */
		return refuse(r, "version", "above 2", "1 and 2: use a newer verbatim");
	TRY(read_word(r, r->o, "to", to, &which));
	r->q->bits = which == 0 ? 8 : 4;
	r->q->group = 32;
	return VB_OK;
}

int config_read_quantization(struct model_config *c)
{
	static const struct {
		const char *name;
		enum quant_method method;
		int (*read)(const struct reader *r);
	} methods[] = {
		{ "awq", QUANT_AWQ, read_awq },
		{ "gptq", QUANT_GPTQ, read_gptq },
		{ "compressed-tensors", QUANT_COMPRESSED, read_compressed },
		{ "fp8", QUANT_FP8, read_fp8 },
		{ "verbatim", QUANT_VERBATIM, read_verbatim },
	};
	static const char *const keys[] = { "quantization_config", "compression_config" };
	const json_t *o = NULL;
	const char *key = NULL, *name;
	for (int i = 0; i < 4 && !o; i++) {
		key = keys[i % 2];
		o = json_get(i < 2 ? c->json : c->text, key);
	}
	if (!o)
		return VB_OK;
	char where[4400];
	snprintf(where, sizeof where, "%.4200s: %s", c->where, key);
	if (!json_is_object(o))
		FAIL(VB_EFORMAT, "wrong type: %s: expected an object, found %s", where, json_kind(o));
	TRY(json_get_str(o, "quant_method", where, "", &name));
	for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
		if (strcmp(name, methods[i].name) == 0) {
			struct reader r = { o, where, &c->quantization };
			c->quantization.method = methods[i].method;
			c->quantization.name = methods[i].name;
			return methods[i].read(&r);
		}
	FAIL(VB_EUNSUPPORTED, "quantised weights of this kind are not served: %s: key \"quant_method\": \"%.64s\": served: awq, "
	     "gptq, compressed-tensors, fp8, verbatim; or use the bf16, f16 or f32 checkpoint", where, name);
}
