/* facts_file.c - facts as JSON, in and out. */
#include "hw/hw.h"

#include "base/status.h"
#include "base/utf8.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *name; /* as Linux calls it */
	uint32_t bit;
} isa_names[] = {
	{ "avx2", ISA_AVX2 },
	{ "avx512f", ISA_AVX512 },
	{ "avx512_bf16", ISA_AVX512_BF16 },
	{ "avx512_vnni", ISA_AVX512_VNNI },
	{ "amx_bf16", ISA_AMX_BF16 },
	{ "amx_int8", ISA_AMX_INT8 },
};

#define N_ISA (sizeof isa_names / sizeof isa_names[0])

/* ---- In ---- */

static void copy_text(char *out, size_t size, const char *text)
{
	size_t n = strlen(text);
	snprintf(out, size, "%.*s", (int)utf8_complete_prefix(text, n < size - 1 ? n : size - 1), text);
}

static int need_kind(const json_t *v, bool right, const char *where, const char *key, const char *wanted)
{
	if (!right)
		FAIL(VB_EFORMAT, "%s has the wrong type: %s: %s, expected %s", key, where, v ? json_kind(v) : "absent",
		     wanted);
	return VB_OK;
}

static int parse_version(const json_t *v, const char *where, const char *key, struct hw_version *out)
{
	/* As a number 12.10 would be 12.1. */
	TRY(need_kind(v, !v || json_is_string(v), where, key, "a string such as \"12.3\""));
	if (v && strlen(json_string_value(v)) != json_string_length(v))
		FAIL(VB_EFORMAT, "not a version: %s, %s: \"%.60s\" and more behind a NUL", where, key,
		     json_string_value(v));
	if (!hw_version_parse(json_string_value(v), out))
		FAIL(VB_EFORMAT, "not a version: %s, %s: \"%.60s\": write MAJOR.MINOR, as in \"12.3\"", where, key,
		     json_string_value(v));
	return VB_OK;
}

static int parse_isa(const json_t *list, const char *where, uint32_t *isa)
{
	*isa = 0;
	if (!list)
		return VB_OK;
	TRY(need_kind(list, json_is_array(list), where, "isa", "an array of names"));
	size_t i;
	json_t *v;
	json_array_foreach(list, i, v) {
		TRY(need_kind(v, json_is_string(v), where, "isa[]", "a name such as \"avx2\""));
		/* A CPU has many features that no kernel asks for. */
		for (size_t k = 0; k < N_ISA; k++)
			if (strcmp(isa_names[k].name, json_string_value(v)) == 0)
				*isa |= isa_names[k].bit;
	}
	return VB_OK;
}

static int parse_cpu(struct hw_facts *f, const json_t *cpu, const char *where)
{
	if (!cpu)
		return VB_OK;
	TRY(need_kind(cpu, json_is_object(cpu), where, "cpu", "an object"));
	const char *name, *why;
	int64_t threads, memory;
	TRY(json_get_str(cpu, "name", where, "", &name));
	TRY(json_get_i64(cpu, "threads", where, 1, 65536, f->n_threads, &threads));
	TRY(json_get_i64(cpu, "memory", where, 0, INT64_MAX, (int64_t)f->memory, &memory));
	TRY(json_get_str(cpu, "threads_why", where, json_get(cpu, "threads") ? "" : f->threads_why, &why));
	TRY(parse_isa(json_get(cpu, "isa"), where, &f->isa));
	copy_text(f->cpu_name, sizeof f->cpu_name, name);
	if (why != f->threads_why)
		copy_text(f->threads_why, sizeof f->threads_why, why);
	f->n_threads = (int)threads;
	f->memory = (uint64_t)memory;
	return VB_OK;
}

static int parse_image(struct hw_image *image, const json_t *v, const char *where)
{
	if (!v || json_is_false(v))
		return VB_OK;
	TRY(need_kind(v, json_is_object(v), where, "image", "an object or false"));
	const json_t *sass = json_get(v, "sass"), *ptx = json_get(v, "ptx");
	TRY(parse_version(json_get(v, "cuda"), where, "image.cuda", &image->cuda));
	if (sass)
		TRY(need_kind(sass, json_is_array(sass), where, "image.sass", "an array of compute capabilities"));
	if (json_array_size(sass) > HW_MAX_SASS)
		FAIL(VB_ELIMIT, "too many entries: %s, image.sass: at most %d", where, HW_MAX_SASS);
	for (size_t i = 0; i < json_array_size(sass); i++)
		TRY(parse_version(json_array_get(sass, i), where, "image.sass[]", &image->sass[image->n_sass++]));
	TRY(parse_version(ptx, where, "image.ptx", &image->ptx));
	image->has_ptx = ptx != NULL;
	bool hopper;
	TRY(json_get_bool(v, "hopper", where, true, &hopper));
	image->only_portable = !hopper;
	image->present = true;
	return VB_OK;
}

static int parse_loaded(struct hw_gpu *gpu, const json_t *v, const char *where)
{
	if (!v || json_is_null(v))
		return VB_OK;
	TRY(need_kind(v, json_is_boolean(v), where, "loaded", "true, false or null"));
	gpu->loaded = json_is_true(v) ? HW_LOADED : HW_NOT_LOADED;
	return VB_OK;
}

static int parse_gpu(struct hw_gpu *gpu, const json_t *v, const char *where)
{
	TRY(need_kind(v, json_is_object(v), where, "the entry", "an object"));
	const char *name;
	int64_t memory;
	TRY(json_get_str(v, "name", where, "", &name));
	copy_text(gpu->name, sizeof gpu->name, name);
	TRY(parse_version(json_get(v, "compute_capability"), where, "compute_capability", &gpu->capability));
	TRY(parse_version(json_get(v, "driver_cuda"), where, "driver_cuda", &gpu->driver_cuda));
	TRY(json_get_i64(v, "sms", where, 0, INT_MAX, 0, &gpu->sms));
	TRY(json_get_i64(v, "shared_memory", where, 0, INT_MAX, 0, &gpu->shared_memory));
	TRY(json_get_i64(v, "memory", where, 0, INT64_MAX, 0, &memory));
	gpu->memory = (uint64_t)memory;
	TRY(parse_loaded(gpu, json_get(v, "loaded"), where));
	TRY(json_get_str(v, "why", where, "", &name));
	copy_text(gpu->why, sizeof gpu->why, name);
	return parse_image(&gpu->image, json_get(v, "image"), where);
}

static int parse_gpus(struct hw_facts *f, const json_t *list, const char *where)
{
	if (!list)
		return VB_OK;
	TRY(need_kind(list, json_is_array(list), where, "gpus", "an array"));
	if (json_array_size(list) > HW_MAX_GPUS)
		FAIL(VB_ELIMIT, "too many GPUs: %s: at most %d", where, HW_MAX_GPUS);
	size_t i;
	json_t *v;
	json_array_foreach(list, i, v) {
		char entry[300];
		snprintf(entry, sizeof entry, "%.250s, gpus[%zu]", where, i);
		TRY(parse_gpu(&f->gpu[f->n_gpus++], v, entry));
	}
	return VB_OK;
}

int hw_facts_parse(struct hw_facts *out, const char *json, size_t len, const char *where)
{
	json_t *facts = NULL;
	TRY(hw_facts_probe(out));
	out->n_gpus = 0;
	TRY(json_parse(&facts, json, len, where));
	int rc;
	TRY_TO(out, need_kind(facts, json_is_object(facts), where, "the text", "an object"));
	TRY_TO(out, parse_cpu(out, json_get(facts, "cpu"), where));
	TRY_TO(out, parse_gpus(out, json_get(facts, "gpus"), where));
	TRY_TO(out, json_get_bool(facts, "cuda_driver", where, out->n_gpus > 0, &out->cuda_driver));
	const char *why;
	TRY_TO(out, json_get_str(facts, "gpu_why", where, "", &why));
	copy_text(out->gpu_why, sizeof out->gpu_why, why);
out:
	json_decref(facts);
	return rc;
}

/* ---- Out ---- */

static json_t *version_json(struct hw_version v)
{
	return hw_version_known(v) ? json_sprintf("%d.%d", v.major, v.minor) : json_null();
}

static json_t *image_json(const struct hw_image *image)
{
	if (!image->present)
		return json_false();
	json_t *sass = json_array();
	for (int i = 0; i < image->n_sass; i++)
		json_array_append_new(sass, version_json(image->sass[i]));
	json_t *o = json_pack("{s:o, s:o}", "cuda", version_json(image->cuda), "sass", sass);
	if (image->has_ptx)
		json_object_set_new(o, "ptx", version_json(image->ptx));
	if (image->only_portable)
		json_object_set_new(o, "hopper", json_false());
	return o;
}

static json_t *runs_json(const struct hw_gpu *gpu, enum hw_family family)
{
	char reason[HW_REASON_MAX];
	bool runs = hw_gpu_runs(gpu, family, reason);
	return json_pack("{s:b, s:s}", "runs", runs, "reason", reason);
}

/* Reasons are there where there is something to say. */
static json_t *with_reason(json_t *o, const char *key, const char *reason)
{
	if (reason[0])
		json_object_set_new(o, key, json_string(reason));
	return o;
}

static json_t *gpu_json(const struct hw_gpu *gpu)
{
	json_t *loaded = gpu->loaded == HW_LOAD_UNTRIED ? json_null() : json_boolean(gpu->loaded == HW_LOADED);
	json_t *o = json_pack("{s:s, s:o, s:o, s:I, s:I, s:I, s:o, s:o, s:{s:o, s:o}}", "name", gpu->name,
			      "compute_capability", version_json(gpu->capability), "driver_cuda",
			      version_json(gpu->driver_cuda), "sms", (json_int_t)gpu->sms, "shared_memory",
			      (json_int_t)gpu->shared_memory, "memory", (json_int_t)gpu->memory, "image",
			      image_json(&gpu->image), "loaded", loaded, "kernels", "portable",
			      runs_json(gpu, HW_PORTABLE), "hopper", runs_json(gpu, HW_HOPPER));
	return with_reason(o, "why", gpu->why);
}

json_t *hw_facts_json(const struct hw_facts *facts)
{
	json_t *isa = json_array(), *gpus = json_array();
	for (size_t i = 0; i < N_ISA; i++)
		if (facts->isa & isa_names[i].bit)
			json_array_append_new(isa, json_string(isa_names[i].name));
	for (int i = 0; i < facts->n_gpus; i++)
		json_array_append_new(gpus, gpu_json(&facts->gpu[i]));
	json_t *o = json_pack("{s:{s:s, s:o, s:i, s:I}, s:b, s:o}", "cpu", "name", facts->cpu_name, "isa", isa, "threads",
			      facts->n_threads, "memory", (json_int_t)facts->memory, "cuda_driver", facts->cuda_driver,
			      "gpus", gpus);
	with_reason(json_object_get(o, "cpu"), "threads_why", facts->threads_why);
	return with_reason(o, "gpu_why", facts->gpu_why);
}
