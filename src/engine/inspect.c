/* inspect.c - what a model folder holds, without judging whether it can be served. */
#include "engine_internal.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/status.h"

#include <string.h>

#define CONFIG_MAX ((size_t)16 << 20)

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

/* Adds "tensors", "parameters" and "bytes". A folder with config.json alone has none of them. */
static int add_tensors(json_t *answer, const char *model_dir)
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
		parameters += (json_int_t)(t->bytes / dtype_bytes(t->type));
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

int vb_inspect(const char *model_dir, char **json)
{
	if (!model_dir || !json)
		FAIL(VB_EINVAL, "invalid call: vb_inspect: no argument may be NULL");
	*json = NULL;
	struct buf path;
	json_t *config = NULL, *answer = NULL;
	buf_init(&path, 8192);
	int rc;
	TRY_TO(out, buf_printf(&path, "%s/config.json", model_dir));
	TRY_TO(out, json_read_file(&config, path.data, CONFIG_MAX));
	answer = json_pack("{s:o, s:O}", "model", path_json(model_dir), "config", config);
	if (!answer)
		FAIL_TO(out, VB_ENOMEM, "out of memory: vb_inspect");
	TRY_TO(out, add_tensors(answer, model_dir));
	*json = json_text(answer);
	if (!*json)
		FAIL_TO(out, VB_ENOMEM, "out of memory: vb_inspect");
out:
	json_decref(config);
	json_decref(answer);
	buf_fini(&path);
	return rc;
}
