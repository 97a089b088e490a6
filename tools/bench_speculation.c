/* bench_speculation.c - what guessing wins: the same requests without and with it, in turns. */
#include "bench_speculation.h"
#include "input.h"
#include "output.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"

#include <string.h>
#include <unistd.h>

#define TEXT_MAX (16u << 20)
/* Beside the model's files: a beginning a line. */
#define PROMPTS_FILE "bench_prompts.txt"

/* ---- Prompts ---- */

enum source { SOURCE_TEXT, SOURCE_FOLDER, SOURCE_RANDOM };

static const char *const source_names[] = { "text", PROMPTS_FILE, "random tokens" };

/* The prompts of a benchmark: request i takes prompt i % n. */
struct prompts {
	enum source source;
	int n;
	int32_t **ids;
	size_t *len;
	size_t longest;
};

static void prompts_fini(struct prompts *p)
{
	for (int i = 0; i < p->n; i++)
		vb_free(p->ids[i]);
	mem_free(p->ids);
	mem_free(p->len);
}

static int add_text(struct prompts *p, const struct vb_tokenizer *tokenizer, const char *text, size_t len)
{
	int32_t **ids = mem_realloc(p->ids, (size_t)p->n + 1, sizeof *ids);
	if (!ids)
		return VB_ENOMEM;
	p->ids = ids;
	size_t *lens = mem_realloc(p->len, (size_t)p->n + 1, sizeof *lens);
	if (!lens)
		return VB_ENOMEM;
	p->len = lens;
	TRY(vb_tokenize(tokenizer, text, len, true, true, &ids[p->n], &lens[p->n]));
	if (lens[p->n] > p->longest)
		p->longest = lens[p->n];
	p->n++;
	return VB_OK;
}

static int add_lines(struct prompts *p, const struct vb_tokenizer *tokenizer, const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "\n");
		if (len)
			TRY(add_text(p, tokenizer, text, len));
		text += len + (text[len] == '\n');
	}
	return VB_OK;
}

/* What --prompt or --prompt-file say, else the folder's own prompts, else random tokens (drawn when the vocabulary is
 * known); random ones too where their number is given. */
static int read_prompts(struct prompts *p, const struct settings *s, const char *model)
{
	struct vb_tokenizer *tokenizer = NULL;
	struct buf text, path;
	int rc;
	*p = (struct prompts){ .source = SOURCE_TEXT, .longest = (size_t)s->prompt_tokens };
	buf_init(&text, TEXT_MAX);
	buf_init(&path, 8192);
	TRY_TO(out, buf_printf(&path, "%s/%s", model, PROMPTS_FILE));
	if (!s->prompt && !s->prompt_file) {
		bool random = options_given("prompt-tokens") || access(path.data, R_OK) != 0;
		p->source = random ? SOURCE_RANDOM : SOURCE_FOLDER;
	}
	if (p->source == SOURCE_RANDOM)
		goto out;
	p->longest = 0;
	TRY_TO(out, vb_tokenizer_open(&tokenizer, model));
	if (s->prompt)
		TRY_TO(out, buf_puts(&text, s->prompt));
	else
		TRY_TO(out, read_text(s->prompt_file ? s->prompt_file : path.data, &text));
	if (p->source == SOURCE_FOLDER)
		TRY_TO(out, add_lines(p, tokenizer, text.data));
	else
		TRY_TO(out, add_text(p, tokenizer, text.data, text.len));
	if (p->longest == 0)
		FAIL_TO(out, VB_EINVAL, "empty prompt: %s: give some text",
			s->prompt ? "--prompt" : s->prompt_file ? s->prompt_file : path.data);
out:
	vb_tokenizer_close(&tokenizer);
	buf_fini(&text);
	buf_fini(&path);
	return rc;
}

/* As many random prompts as the largest batch. */
static int draw_prompts(struct prompts *p, int n, int64_t n_vocab)
{
	p->ids = mem_calloc((size_t)n, sizeof *p->ids);
	p->len = mem_calloc((size_t)n, sizeof *p->len);
	if (!p->ids || !p->len)
		return VB_ENOMEM;
	for (; p->n < n; p->n++) {
		int32_t *ids = mem_alloc(p->longest * sizeof *ids);
		if (!ids)
			return VB_ENOMEM;
		for (size_t i = 0; i < p->longest; i++)
			ids[i] = (int32_t)(rng_u32((uint64_t)p->n + 1, RNG_TEST, 0, (uint32_t)i) % (uint32_t)n_vocab);
		p->ids[p->n] = ids;
		p->len[p->n] = p->longest;
	}
	return VB_OK;
}

/* ---- Measuring ---- */

/* Appends one batch size's answer to `results`. */
static int bench_batch(struct vb_engine *engine, const struct settings *s, const struct prompts *p, int64_t batch,
		       json_t *results)
{
	struct vb_request *requests = mem_calloc((size_t)batch, sizeof *requests);
	if (!requests)
		return VB_ENOMEM;
	size_t n_tokens = 0;
	for (int64_t i = 0; i < batch; i++) {
		struct vb_request *r = &requests[i];
		*r = s->request;
		r->prompt_ids = p->ids[i % p->n];
		r->n_prompt_ids = p->len[i % p->n];
		r->max_tokens = s->decode_tokens;
		r->ignore_eos = true;
		r->sampling.seed += (uint64_t)i << 32; /* turns take the seeds between */
		n_tokens += r->n_prompt_ids;
	}
	const struct vb_bench_speculation_spec spec = { .size = sizeof spec, .requests = requests,
							.n_requests = (size_t)batch, .repeat = (int)s->repeat };
	char *text = NULL;
	int rc = vb_bench_speculation(engine, &spec, &text);
	mem_free(requests);
	TRY(rc);
	json_t *answer = take_json(text, "vb_bench_speculation");
	json_t *row = json_pack("{s:I, s:f, s:I, s:f}", "batch", (json_int_t)batch, "prompt_tokens",
				(double)n_tokens / (double)batch, "decode_tokens", (json_int_t)s->decode_tokens,
				"temperature", s->request.sampling.temperature);
	json_object_update(row, answer);
	json_decref(answer);
	json_array_append_new(results, row);
	return VB_OK;
}

/* ---- Showing ---- */

static double at(const json_t *o, const char *key, const char *inner)
{
	json_t *v = json_object_get(o, key);
	return json_number_value(inner ? json_object_get(v, inner) : v);
}

static void print_results(const json_t *results)
{
	size_t i, k;
	json_t *row, *position;
	struct table *t = table_create("rrrrrrr");
	table_row(t, "batch", "tok/s without", "with guesses", "ratio", "first", "right", "tokens a step");
	json_array_foreach(results, i, row) {
		table_cell(t, "%lld", (long long)json_integer_value(json_object_get(row, "batch")));
		table_cell(t, "%.1f", at(row, "plain_tok_s", "median"));
		table_cell(t, "%.1f", at(row, "guessing_tok_s", "median"));
		table_cell(t, "%.3f", at(row, "ratio", "median"));
		table_cell(t, "%.3f", at(row, "first_ratio", NULL));
		table_cell(t, "%lld of %lld", (long long)json_integer_value(json_object_get(row, "accepted")),
			   (long long)json_integer_value(json_object_get(row, "proposed")));
		table_cell(t, "%.2f", at(row, "tokens_per_step", NULL));
	}
	table_print(t);
	printf("\n");
	t = table_create("rrrr");
	table_row(t, "batch", "guess", "proposed", "right");
	json_array_foreach(results, i, row) {
		json_array_foreach(json_object_get(row, "positions"), k, position) {
			double proposed = at(position, "proposed", NULL);
			if (proposed == 0)
				continue;
			table_cell(t, "%lld", (long long)json_integer_value(json_object_get(row, "batch")));
			table_cell(t, "%zu", k + 1);
			table_cell(t, "%.0f", proposed);
			table_cell(t, "%.1f %%", 100 * at(position, "accepted", NULL) / proposed);
		}
	}
	table_print(t);
}

static json_t *method_json(const struct settings *s, const struct prompts *p)
{
	json_t *o = json_pack("{s:s, s:s}", "method", s->engine.speculate, "prompts", source_names[p->source]);
	if (s->engine.draft_model)
		json_object_set_new(o, "draft_model", json_string(s->engine.draft_model));
	json_object_set_new(o, "draft_tokens",
			    s->engine.draft_tokens < 0 ? json_string("auto") : json_integer(s->engine.draft_tokens));
	return o;
}

static int bench_all(struct settings *s, struct vb_engine *engine, struct prompts *p, int most)
{
	json_t *info = engine_info(engine), *results = json_array(), *answer = json_object();
	char engine_line[512];
	int rc = VB_OK;
	for (int i = 0; i < 4; i++)
		copy_key(answer, info, (const char *const[]){ "model", "device", "dtype", "threads" }[i]);
	json_object_set_new(answer, "speculation", method_json(s, p));
	json_object_set_new(answer, "results", results);
	describe_engine(info, engine_line);
	if (p->source == SOURCE_RANDOM)
		rc = draw_prompts(p, most, json_integer_value(json_object_get(info, "vocabulary")));
	json_decref(info);
	for (int i = 0; i < s->batches.n && rc == VB_OK; i++)
		rc = bench_batch(engine, s, p, s->batches.at[i], results);
	if (rc != VB_OK) {
		json_decref(answer);
		return exit_for(rc);
	}
	if (s->json)
		return print_json(answer);
	printf("%s\n%s, %s; %lld tokens made, %lld repeats\n\n", engine_line, s->engine.speculate,
	       source_names[p->source], (long long)s->decode_tokens, (long long)s->repeat);
	print_results(results);
	json_decref(answer);
	return finish_output();
}

int bench_speculation(struct settings *s, const char *model)
{
	struct prompts p;
	struct vb_engine *engine = NULL;
	int64_t most = 1;
	for (int i = 0; i < s->batches.n; i++)
		most = s->batches.at[i] > most ? s->batches.at[i] : most;
	int rc = read_prompts(&p, s, model);
	if (!options_given("max-batch"))
		s->engine.max_batch = most;
	if (!options_given("context"))
		s->engine.context = (int64_t)p.longest + s->decode_tokens + 1;
	if (rc == VB_OK)
		rc = vb_engine_open(&engine, model, &s->engine);
	int status = rc == VB_OK ? bench_all(s, engine, &p, (int)most) : exit_for(rc);
	vb_engine_close(&engine);
	prompts_fini(&p);
	return status;
}
