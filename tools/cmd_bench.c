/* cmd_bench.c - speed of a model, of one kernel, and of the machine that limits both. */
#include "bench_speculation.h"
#include "input.h"
#include "output.h"
#include "program.h"

#include "base/status.h"

#include <string.h>

static double at(const json_t *o, const char *key, const char *inner)
{
	json_t *v = json_object_get(o, key);
	return json_number_value(inner ? json_object_get(v, inner) : v);
}

/* ---- A model ---- */

static void print_model(const json_t *answer)
{
	struct table *t = table_create("rlrrrr");
	table_row(t, "batch", "", "median", "minimum", "maximum", "of limit");
	static const struct {
		const char *key, *title, *unit, *fraction;
		double scale;
	} line[] = {
		{ "prefill_tok_s", "prefill tok/s", "", "prefill_fraction", 1 },
		{ "decode_tok_s", "decode tok/s", "", "decode_fraction", 1 },
		{ "first_token_s", "first token, ms", "", NULL, 1e3 },
		{ "gpu_idle", "GPU idle in decoding, %", "", NULL, 100 },
	};
	size_t i;
	json_t *row;
	json_array_foreach(json_object_get(answer, "results"), i, row) {
		for (size_t k = 0; k < sizeof line / sizeof line[0]; k++) {
			if (!json_object_get(row, line[k].key))
				continue;
			if (k == 0)
				table_cell(t, "%lld", (long long)json_integer_value(json_object_get(row, "batch")));
			else
				table_cell(t, "%s", "");
			table_cell(t, "%s", line[k].title);
			table_cell(t, "%.2f", at(row, line[k].key, "median") * line[k].scale);
			table_cell(t, "%.2f", at(row, line[k].key, "min") * line[k].scale);
			table_cell(t, "%.2f", at(row, line[k].key, "max") * line[k].scale);
			double fraction = line[k].fraction ? at(row, "limit", line[k].fraction) : 0;
			if (fraction > 0)
				table_cell(t, "%.1f %%", 100 * fraction);
			else
				table_cell(t, "-");
		}
	}
	table_print(t);
}

/* What a step's time went to: a table for the prompt's steps, one for those that decode. */
static void print_profile(const json_t *profile, const char *which, const char *title)
{
	const json_t *steps = json_object_get(profile, which);
	printf("\n%s: %lld steps of %.2f ms\n\n", title, (long long)json_integer_value(json_object_get(steps, "steps")),
	       at(steps, "step_ms", NULL));
	struct table *t = table_create("lrrrrrr");
	table_row(t, "a step's", "ms", "share", "runs", "GB/s", "GFLOP/s", "of limit");
	size_t i;
	json_t *row;
	json_array_foreach(json_object_get(steps, "kinds"), i, row) {
		table_cell(t, "%s", json_string_value(json_object_get(row, "kind")));
		table_cell(t, "%.3f", at(row, "ms", NULL));
		table_cell(t, "%.1f %%", 100 * at(row, "share", NULL));
		table_cell(t, "%.0f", at(row, "runs", NULL));
		static const char *const rate[] = { "gb_s", "gflop_s" };
		for (size_t k = 0; k < sizeof rate / sizeof rate[0]; k++) {
			if (json_object_get(row, rate[k]))
				table_cell(t, "%.1f", at(row, rate[k], NULL));
			else
				table_cell(t, "-");
		}
		if (json_object_get(row, "of_limit"))
			table_cell(t, "%.1f %%", 100 * at(row, "of_limit", NULL));
		else
			table_cell(t, "-");
	}
	table_print(t);
}

/* Appends one batch size's answer to `results`. */
static int bench_batch(struct vb_engine *engine, const struct settings *s, int64_t batch, json_t *results)
{
	const struct vb_bench_spec spec = {
		.size = sizeof spec,
		.prompt_tokens = s->prompt_tokens,
		.decode_tokens = s->decode_tokens,
		.batch = batch,
		.depth = s->depth,
		.repeat = (int)s->repeat,
		.sampling = &s->request.sampling,
		.logprobs = s->request.logprobs >= 0,
		.profile = s->profile,
	};
	char *text = NULL;
	int rc = vb_bench_model(engine, &spec, &text);
	if (rc != VB_OK)
		return exit_for(rc);
	json_t *answer = take_json(text, "vb_bench_model");
	if (!answer)
		return EXIT_FAILED;
	json_t *row = json_pack("{s:I, s:I, s:I, s:I, s:I}", "batch", (json_int_t)batch, "prompt_tokens",
				(json_int_t)s->prompt_tokens, "decode_tokens", (json_int_t)s->decode_tokens, "depth",
				(json_int_t)s->depth, "repeat", (json_int_t)s->repeat);
	json_object_update(row, answer);
	json_array_append_new(results, row);
	json_decref(answer);
	return EXIT_DONE;
}

static int bench_model(struct settings *s, struct vb_engine *engine)
{
	json_t *info = engine_info(engine), *results = json_array(), *answer = json_object();
	copy_key(answer, info, "model");
	copy_key(answer, info, "device");
	copy_key(answer, info, "dtype");
	copy_key(answer, info, "weight_format");
	copy_key(answer, info, "threads");
	char engine_line[512], memory_line[512];
	describe_engine(info, engine_line);
	describe_gpu_memory(info, memory_line);
	json_t *memory = json_object_get(json_object_get(info, "memory"), "gpu");
	if (memory)
		json_object_set(answer, "gpu_memory", memory);
	json_decref(info);
	json_object_set_new(answer, "results", results);
	for (int i = 0; i < s->batches.n; i++) {
		int status = bench_batch(engine, s, s->batches.at[i], results);
		if (status != EXIT_DONE) {
			json_decref(answer);
			return status;
		}
	}
	if (s->json)
		return print_json(answer);
	printf("%s\n%s%lld tokens of prompt, %lld decoded behind %lld, %lld repeat%s\n\n", engine_line, memory_line,
	       (long long)s->prompt_tokens, (long long)s->decode_tokens, (long long)s->depth, (long long)s->repeat,
	       s->repeat == 1 ? "" : "s");
	print_model(answer);
	size_t i;
	json_t *row, *profile;
	json_array_foreach(json_object_get(answer, "results"), i, row) {
		if (!(profile = json_object_get(row, "profile")))
			continue;
		char title[64];
		print_profile(profile, "prefill", "prefill");
		snprintf(title, sizeof title, "decode, batch %lld", (long long)json_integer_value(json_object_get(row, "batch")));
		print_profile(profile, "decode", title);
	}
	json_decref(answer);
	return finish_output();
}

/* What belongs to one way of measuring is refused in the other. */
static int check_usage(const struct settings *s, bool speculates)
{
	if (!speculates && (s->prompt || s->prompt_file))
		print_error("%s is for guessing: %s: give --speculate too", s->prompt ? "--prompt" : "--prompt-file",
			    s->prompt ? "--prompt" : s->prompt_file);
	else if (s->prompt && s->prompt_file)
		print_error("two prompts: --prompt and --prompt-file: give one of them");
	else if ((s->prompt || s->prompt_file) && options_given("prompt-tokens"))
		print_error("two prompts: --prompt-tokens and text: give one of them");
	else if (speculates && s->profile)
		print_error("--profile is for plain decoding: --profile: leave it out, or --speculate");
	else if (speculates && s->depth)
		print_error("--depth is for plain decoding: --depth: leave it out, or --speculate");
	else
		return EXIT_DONE;
	return EXIT_USAGE;
}

int cmd_bench(struct settings *s)
{
	bool speculates = strcmp(s->engine.speculate, "none") != 0;
	if (check_usage(s, speculates) != EXIT_DONE)
		return EXIT_USAGE;
	struct buf model;
	struct vb_engine *engine = NULL;
	buf_init(&model, 8192);
	int rc = find_model(s->n_arguments ? s->argument[0] : NULL, &model);
	if (rc == VB_OK && speculates) {
		int status = bench_speculation(s, model.data);
		buf_fini(&model);
		return status;
	}
	/* The engine must hold what is measured; what the user asked for stays, and is refused where it cannot. */
	int64_t longest = s->prompt_tokens > s->depth ? s->prompt_tokens : s->depth;
	for (int i = 0; i < s->batches.n; i++)
		if (!options_given("max-batch") && s->batches.at[i] > s->engine.max_batch)
			s->engine.max_batch = s->batches.at[i];
	if (!options_given("context"))
		s->engine.context = longest + s->decode_tokens + 1;
	if (rc == VB_OK)
		rc = vb_engine_open(&engine, model.data, &s->engine);
	int status = rc == VB_OK ? bench_model(s, engine) : exit_for(rc);
	vb_engine_close(&engine);
	buf_fini(&model);
	return status;
}

/* ---- One kernel ---- */

int show_kernel(const struct settings *s, json_t *a)
{
	if (!a)
		return EXIT_FAILED;
	if (s->json)
		return print_json(a);
	struct table *t = table_create("lrrrrr");
	table_row(t, "kernel", "time", "moved", "GB/s", "GFLOP/s", "of limit");
	char bytes[32];
	const char *backend = json_string_value(json_object_get(a, "backend"));
	table_cell(t, "%s", backend ? backend : "?");
	table_cell(t, "%.1f us", at(a, "time_us", NULL));
	table_cell(t, "%s", human_bytes(bytes, at(a, "bytes", NULL)));
	table_cell(t, "%.1f", 1e3 * at(a, "tb_s", NULL));
	table_cell(t, "%.1f", 1e3 * at(a, "tflop_s", NULL));
	const char *limit = json_string_value(json_object_get(a, "limit"));
	table_cell(t, "%.1f %% (%s)", 100 * at(a, "limit_fraction", NULL), limit ? limit : "?");
	table_print(t);
	json_decref(a);
	return finish_output();
}

int cmd_bench_linear(struct settings *s)
{
	const char *dtype = strcmp(s->engine.dtype, "auto") == 0 ? "bf16" : s->engine.dtype;
	char *text = NULL;
	int rc = vb_bench_linear(&s->engine, s->linear.m, s->linear.n, s->linear.k, dtype, (int)s->repeat, &text);
	return rc == VB_OK ? show_kernel(s, take_json(text, "vb_bench_linear")) : exit_for(rc);
}

int cmd_bench_limits(struct settings *s)
{
	char *text = NULL;
	int rc = vb_bench_limits(&s->engine, &text);
	if (rc != VB_OK)
		return exit_for(rc);
	json_t *a = take_json(text, "vb_bench_limits");
	if (!a)
		return EXIT_FAILED;
	if (s->json)
		return print_json(a);
	/* A GPU's memory is measured by copying: bytes read and bytes written. */
	bool gpu = json_object_get(a, "memory_copy_tb_s") != NULL;
	printf("device        %s", json_string_value(json_object_get(a, "device")));
	if (!gpu)
		printf(", %lld threads", (long long)json_integer_value(json_object_get(a, "threads")));
	printf("\nmemory %-5s  %.1f GB/s\n", gpu ? "copy" : "read",
	       1e3 * at(a, gpu ? "memory_copy_tb_s" : "memory_read_tb_s", NULL));
	const char *type;
	json_t *rate;
	json_object_foreach(json_object_get(a, "matrix_tflop_s"), type, rate)
		printf("matrix %-5s  %.1f GFLOP/s\n", type, 1e3 * json_number_value(rate));
	json_decref(a);
	return finish_output();
}
