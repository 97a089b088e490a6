/* inspect.c - what a model folder holds, without judging whether it can be served. */
#include "engine_internal.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/status.h"

#include <stdio.h>
#include <string.h>

static json_t *tensor_json(const struct tensor_set *set, const struct tensor *t)
{
	json_t *shape = json_array();
	for (int i = 0; i < t->rank; i++)
		json_array_append_new(shape, json_integer(t->shape[i]));
	const char *file = tensor_set_file(set, t);
	const char *slash = file ? strrchr(file, '/') : NULL;
	return json_pack("{s:s, s:s, s:o, s:I, s:s}", "name", t->name, "dtype", dtype_name(t->type), "shape", shape,
			 "bytes", (json_int_t)t->bytes, "file", slash ? slash + 1 : file ? file : "");
}

static bool ends_with(const char *name, const char *suffix)
{
	size_t n = strlen(name), m = strlen(suffix);
	return n > m && strcmp(name + n - m, suffix) == 0;
}

/* How many weights the tensor stands for: of quantised ones those of its words, and none for scales and the like. */
static json_int_t weights_of(const struct quantization *q, const struct tensor_set *set, const struct tensor *t)
{
	static const char *const beside[] = { ".scales", ".qzeros", ".g_idx", ".weight_scale", ".weight_scale_inv",
					      ".weight_zero_point", ".weight_shape", ".weight_g_idx", ".input_scale",
					      ".weight.scale", ".weight.zero" };
	json_int_t n = (json_int_t)(t->bytes / dtype_bytes(t->type));
	char plain[512];
	for (size_t i = 0; q->method != QUANT_NONE && i < sizeof beside / sizeof *beside; i++)
		if (ends_with(t->name, beside[i]))
			return 0;
	if (ends_with(t->name, ".qweight") || ends_with(t->name, ".weight_packed"))
		return q->bits ? n * (32 / q->bits) : n;
	if (q->method != QUANT_VERBATIM)
		return n;
	if (ends_with(t->name, ".q6"))
		n = n / 3 * 4;
	else if (ends_with(t->name, ".q4"))
		n *= 2;
	else if (!ends_with(t->name, ".q8"))
		return n;
	/* The head that is the embedding too is there twice. */
	snprintf(plain, sizeof plain, "%.*s", (int)strlen(t->name) - 3, t->name);
	return tensor_set_find(set, plain) ? 0 : n;
}

/* Adds "tensors", "parameters" and "bytes". A folder with config.json alone has none of them. */
static int add_tensors(json_t *answer, const char *model_dir, const struct quantization *q)
{
	struct tensor_set *set = NULL;
	int rc = tensor_set_open(&set, model_dir);
	if (rc != VB_OK && rc != VB_ENOTFOUND)
		return rc;
	json_t *list = json_array();
	json_int_t parameters = 0, n = set ? tensor_set_count(set) : 0;
	for (json_int_t i = 0; i < n; i++) {
		const struct tensor *t = tensor_set_at(set, i);
		json_array_append_new(list, tensor_json(set, t));
		parameters += weights_of(q, set, t);
	}
	json_int_t bytes = set ? (json_int_t)tensor_set_bytes(set) : 0;
	tensor_set_close(&set);
	bool bad = json_object_set_new(answer, "parameters", json_integer(parameters)) != 0;
	bad |= json_object_set_new(answer, "bytes", json_integer(bytes)) != 0;
	bad |= json_object_set_new(answer, "tensors", list) != 0;
	if (bad || (json_int_t)json_array_size(list) != n)
		FAIL(VB_ENOMEM, "out of memory: vb_inspect");
	return VB_OK;
}

/* Adds "weight_format" where the configuration is one that is served; *q is then what it says, else nothing. */
static int add_format(json_t *answer, const char *model_dir, struct quantization *q)
{
	struct model_config *config = NULL;
	*q = (struct quantization){ 0 };
	if (model_config_read(&config, model_dir) != VB_OK)
		return VB_OK;
	char words[64];
	*q = config->quantization;
	weights_stored_words(q, words);
	int bad = json_object_set_new(answer, "weight_format", json_string(words[0] ? words : dtype_name(config->dtype)));
	model_config_destroy(&config);
	if (bad)
		FAIL(VB_ENOMEM, "out of memory: vb_inspect");
	return VB_OK;
}

int vb_inspect(const char *model_dir, char **json)
{
	if (!model_dir || !json)
		FAIL(VB_EINVAL, "invalid call: vb_inspect: no argument may be NULL");
	*json = NULL;
	json_t *config = NULL, *answer = NULL;
	int rc;
	TRY_TO(out, model_config_json(&config, model_dir));
	answer = json_pack("{s:o, s:O}", "model", path_json(model_dir), "config", config);
	if (!answer)
		FAIL_TO(out, VB_ENOMEM, "out of memory: vb_inspect");
	struct quantization q;
	TRY_TO(out, add_format(answer, model_dir, &q));
	TRY_TO(out, add_tensors(answer, model_dir, &q));
	*json = json_text(answer);
	if (!*json)
		FAIL_TO(out, VB_ENOMEM, "out of memory: vb_inspect");
out:
	json_decref(config);
	json_decref(answer);
	return rc;
}
