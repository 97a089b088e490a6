/* generation_config.c - how the model's makers would sample from it. Every key is optional, and so is the file. */
#include "config_parts.h"

#include "base/buf.h"
#include "base/status.h"

#define MAX_FILE_BYTES ((size_t)1 << 20)

static int read_keys(struct generation_config *out, const json_t *o, const char *where)
{
	if (!json_is_object(o))
		FAIL(VB_EFORMAT, "wrong type: %s: expected an object, found %s", where, json_kind(o));
	/* The vocabulary is not known here: whoever knows it compares. */
	TRY(config_token_ids(o, "eos_token_id", where, INT32_MAX, out->eos, &out->n_eos));
	TRY(json_get_bool(o, "do_sample", where, false, &out->do_sample));
	TRY(json_get_f64(o, "temperature", where, 0, 1e3, out->temperature, &out->temperature));
	TRY(json_get_f64(o, "top_p", where, 0, 1, out->top_p, &out->top_p));
	TRY(json_get_f64(o, "min_p", where, 0, 1, out->min_p, &out->min_p));
	TRY(json_get_f64(o, "repetition_penalty", where, 0, 1e3, out->repetition_penalty,
			 &out->repetition_penalty));
	if (out->repetition_penalty == 0)
		FAIL(VB_EFORMAT, "value out of range: %s: key \"repetition_penalty\": 0, expected above 0", where);
	/* -1 is how some files write "all"; 0 is how Hugging Face does. */
	TRY(json_get_i64(o, "top_k", where, -1, INT32_MAX, 0, &out->top_k));
	out->top_k = out->top_k > 0 ? out->top_k : 0;
	return VB_OK;
}

int generation_config_read(struct generation_config *out, const char *model_dir)
{
	int rc = VB_OK;
	json_t *o = NULL;
	struct buf path;
	*out = (struct generation_config){ .temperature = 1, .top_p = 1, .repetition_penalty = 1 };
	buf_init(&path, 1 << 16);
	TRY_TO(out, buf_printf(&path, "%s/generation_config.json", model_dir));
	rc = json_read_file(&o, path.data, MAX_FILE_BYTES);
	if (rc == VB_OK)
		rc = read_keys(out, o, path.data);
	else if (rc == VB_ENOTFOUND)
		rc = VB_OK;
out:
	json_decref(o);
	buf_fini(&path);
	return rc;
}
