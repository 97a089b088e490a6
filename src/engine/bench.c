/* bench.c - how fast the model runs on this machine, and how fast its memory and its arithmetic would let it run. */
#include "bench_gpu.h"
#include "bench_profile.h"
#include "step.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"
#include "ops/limits_measure.h"

#include <stdlib.h>
#include <string.h>

#define MAX_REPEAT 100
/* Limits are the best of so many runs. */
#define LIMIT_RUNS 3

/* ---- Figures ---- */

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

struct spread spread_of(double *figures, int n)
{
	qsort(figures, (size_t)n, sizeof *figures, by_size);
	double median = n % 2 ? figures[n / 2] : (figures[n / 2 - 1] + figures[n / 2]) / 2;
	return (struct spread){ median, figures[0], figures[n - 1] };
}

json_t *spread_json(struct spread s)
{
	return json_pack("{s:f, s:f, s:f}", "median", s.median, "min", s.min, "max", s.max);
}

/* ---- The model ---- */

struct bench {
	struct vb_engine *e;
	const struct vb_bench_spec *s;
	int32_t seqs[ENGINE_MAX_BATCH];
	int64_t n_seqs;
	int32_t ids[ENGINE_MAX_BATCH];
	struct sample_params params;
};

/* Adds tokens of a sequence, the first n_prompt of which are a prompt, to the step; its pages are reserved. */
static int64_t add(struct vb_engine *e, int32_t seq, const int32_t *ids, int64_t n, int64_t first, int64_t n_prompt)
{
	const int32_t *tables[KV_MAX_GROUPS];
	for (int g = 0; g < e->limits.n_groups; g++)
		tables[g] = kv_seq_table(e->kv, seq, g);
	return batch_add(e->batch, ids, n, first, n_prompt, tables);
}

static int check_spec(const struct vb_engine *e, const struct vb_bench_spec *s)
{
	if (s->size != sizeof *s)
		FAIL(VB_EINVAL, "invalid call: vb_bench_model: spec.size %zu", s->size);
	if (s->repeat < 1 || s->repeat > MAX_REPEAT)
		FAIL(VB_EINVAL, "invalid --repeat: %d: use 1 to %d", s->repeat, MAX_REPEAT);
	if (s->prompt_tokens < 1 || s->decode_tokens < 1 || s->depth < 0 || s->batch < 1)
		FAIL(VB_EINVAL, "invalid benchmark: tokens and batch must be positive, depth not negative");
	if (s->batch > e->setup.max_batch)
		FAIL(VB_EINVAL, "invalid --batch: %lld: the engine was opened with --max-batch %lld",
		     (long long)s->batch, (long long)e->setup.max_batch);
	/* Subtracted, not added: any number may have been asked for. */
	int64_t context = e->setup.context;
	if (s->prompt_tokens > context || s->depth > context || s->decode_tokens > context - s->depth)
		FAIL(VB_ELIMIT, "benchmark too long: a prompt of %lld, %lld after a depth of %lld: the context holds "
				"%lld tokens: raise --context", (long long)s->prompt_tokens,
		     (long long)s->decode_tokens, (long long)s->depth, (long long)context);
	return VB_OK;
}

static int32_t random_id(const struct vb_engine *e, int64_t i)
{
	return (int32_t)(rng_u32(1, RNG_TEST, 0, (uint32_t)i) % (uint32_t)program_n_vocab(e->setup.program));
}

static struct sample_params params_of(const struct vb_bench_spec *spec)
{
	const struct vb_sampling *s = spec->sampling;
	if (!s)
		return (struct sample_params){ .top_p = 1, .repetition_penalty = 1 };
	return (struct sample_params){ .temperature = s->temperature, .top_p = s->top_p, .min_p = s->min_p, .top_k = s->top_k,
				       .repetition_penalty = 1, .seed = s->seed };
}

/* The row behind token `row` of the step, and where the chosen token goes. */
static struct sample_wish wish_of(const struct bench *b, int64_t row, int32_t *id)
{
	return (struct sample_wish){ .row = (int32_t)row, .params = &b->params, .position = b->s->depth + row,
				     .want_logprob = b->s->logprobs, .owner = id };
}

static void keep_id(void *user, const struct sample_wish *wish, const struct sample_choice *choice)
{
	(void)user;
	/* Random weights may overflow; speed does not depend on it. */
	*(int32_t *)wish->owner = choice->id < 0 ? 0 : choice->id;
}

static int bench_prefill(struct bench *b, double *tok_s, double *first_s)
{
	struct vb_engine *e = b->e;
	const struct vb_bench_spec *s = b->s;
	int64_t chunk = e->setup.chunk < s->prompt_tokens ? e->setup.chunk : s->prompt_tokens;
	int32_t *prompt = mem_alloc((size_t)chunk * sizeof *prompt);
	if (!prompt)
		return VB_ENOMEM;
	int32_t seq = kv_seq_open(e->kv, 0);
	CHECK(seq >= 0);
	double start = clock_s();
	int64_t size;
	int rc = VB_OK;
	for (int64_t first = 0; first < s->prompt_tokens; first += size) {
		size = s->prompt_tokens - first < chunk ? s->prompt_tokens - first : chunk;
		for (int64_t i = 0; i < size; i++)
			prompt[i] = random_id(e, first + i);
		TRY_TO(out, kv_seq_reserve(e->kv, seq, first + size));
		batch_clear(e->batch);
		add(e, seq, prompt, size, first, s->prompt_tokens);
		int32_t id;
		struct sample_wish last = wish_of(b, size - 1, &id);
		TRY_TO(out, batch_run(e->batch, e->team, &last, first + size == s->prompt_tokens, keep_id, NULL));
	}
	*first_s = clock_s() - start;
	*tok_s = (double)s->prompt_tokens / *first_s;
out:
	kv_seq_close(e->kv, seq);
	mem_free(prompt);
	return rc;
}

static int prepare_decode(struct bench *b)
{
	struct vb_engine *e = b->e;
	for (; b->n_seqs < b->s->batch; b->n_seqs++) {
		int32_t seq = b->seqs[b->n_seqs] = kv_seq_open(e->kv, 0);
		CHECK(seq >= 0);
		int rc = kv_seq_reserve(e->kv, seq, b->s->depth + b->s->decode_tokens);
		if (rc != VB_OK) {
			kv_seq_close(e->kv, seq);
			return rc;
		}
	}
	if (b->s->depth)
		program_fill_caches(e->setup.program);
	return VB_OK;
}

static void release_decode(struct bench *b)
{
	while (b->n_seqs > 0)
		kv_seq_close(b->e->kv, b->seqs[--b->n_seqs]);
}

static void fill_step(struct bench *b, int64_t n)
{
	struct vb_engine *e = b->e;
	batch_clear(e->batch);
	for (int64_t i = 0; i < b->s->batch; i++)
		e->wishes[i] = wish_of(b, add(e, b->seqs[i], &b->ids[i], 1, b->s->depth + n, 1), &b->ids[i]);
}

/* As the engine decodes on a GPU: each step is begun before the one before has ended. */
static int decode_ahead(struct bench *b)
{
	struct vb_engine *e = b->e;
	int64_t batch = b->s->batch, n_steps = b->s->decode_tokens;
	for (int64_t i = 0; i < batch; i++)
		e->from[i] = (int32_t)i;
	fill_step(b, 0);
	TRY(batch_begin(e->batch, NULL, e->wishes, batch));
	for (int64_t n = 1; n <= n_steps; n++) {
		if (n < n_steps) {
			fill_step(b, n);
			TRY(batch_begin(e->batch, e->from, e->wishes, batch));
		}
		TRY(program_end(e->setup.program, e->wishes, batch, keep_id, NULL));
	}
	return VB_OK;
}

/* What one step of all sequences must read: every weight once, and the keys and values that are in sight. */
static double bytes_per_step(const struct vb_engine *e, const struct vb_bench_spec *s)
{
	const struct model_config *c = e->setup.config;
	double depth = (double)s->depth + (double)s->decode_tokens / 2, tokens = 0;
	for (int64_t i = 0; i < c->n_layers; i++)
		tokens += c->window[i] && (double)c->window[i] < depth ? (double)c->window[i] : depth;
	double per_layer = (double)e->setup.memory.kv_per_token / (double)c->n_layers;
	return (double)e->setup.memory.weights_per_token + (double)s->batch * per_layer * tokens;
}

/* Reads as many bytes as the next steps will, before every step or so many of a small model as read what the reader has. */
static void read_between(struct bench *b, struct limits_reader *reader, int64_t n, double *read_bytes, double *read_s)
{
	double step_bytes = bytes_per_step(b->e, b->s);
	int64_t steps = 1 + (int64_t)((double)limits_reader_turn(reader) / step_bytes), left = b->s->decode_tokens - n;
	if (n % steps == 0)
		limits_reader_run(reader, (uint64_t)(step_bytes * (double)(steps < left ? steps : left)), read_bytes, read_s);
}

/* Step by step, on a CPU. In turns with the reader, if there is one. */
static int decode(struct bench *b, struct limits_reader *reader, double *read_bytes, double *read_s)
{
	struct vb_engine *e = b->e;
	for (int64_t n = 0; n < b->s->decode_tokens; n++) {
		if (reader)
			read_between(b, reader, n, read_bytes, read_s);
		fill_step(b, n);
		TRY(batch_run(e->batch, e->team, e->wishes, b->s->batch, keep_id, NULL));
	}
	return VB_OK;
}

/* A repeat of decode_tokens steps of all sequences, each token chosen greedily. */
struct decoded {
	double tok_s;   /* of all sequences together */
	double bytes_s; /* that the memory of the weights gives */
	double idle;    /* the share of the time in which a GPU had nothing to do */
};

/* What a CPU's memory gives swings from one millisecond to the next with the neighbours: steps and measurements take turns. */
static int bench_decode(struct bench *b, struct limits_reader *reader, struct decoded *out)
{
	struct vb_engine *e = b->e;
	int64_t batch = b->s->batch;
	double read_bytes = 0, read_s = 0;
	for (int64_t i = 0; i < batch; i++)
		b->ids[i] = random_id(e, i);
	if (e->gpu)
		TRY(gpu_copy_speed(e->gpu, &out->bytes_s));
	double start = clock_s(), busy = program_gpu_busy_s(e->setup.program);
	bool ahead = e->gpu && batch <= program_get_config(e->setup.program)->max_rows;
	TRY(ahead ? decode_ahead(b) : decode(b, reader, &read_bytes, &read_s));
	double took = clock_s() - start - read_s;
	out->tok_s = (double)(batch * b->s->decode_tokens) / took;
	out->idle = 1 - (program_gpu_busy_s(e->setup.program) - busy) / took;
	if (reader)
		out->bytes_s = read_bytes / read_s;
	return VB_OK;
}

/* Additions and multiplications of a prompt: by weights, and of each token with the keys and values in its sight. */
static double prompt_flops(const struct vb_engine *e, const struct vb_bench_spec *s)
{
	const struct model_config *c = e->setup.config;
	const struct program_memory *m = &e->setup.memory;
	double n = (double)s->prompt_tokens, seen = 0;
	for (int64_t i = 0; i < c->n_layers; i++) {
		double w = c->window[i] && (double)c->window[i] < n ? (double)c->window[i] : n;
		seen += w * (w + 1) / 2 + (n - w) * w;
	}
	double attention = seen * (double)(c->n_heads * 2 * c->head_dim);
	return 2 * (n * (double)m->body_products + (double)m->head_products + attention);
}

/* What most products are of: bytes, where the weights of a step take less than two bytes each. */
static enum dtype multiplied_type(const struct vb_engine *e)
{
	const struct program_memory *m = &e->setup.memory;
	return (double)m->weights_per_token < 1.5 * (double)(m->body_products + m->head_products) ? DTYPE_I8 : e->setup.compute;
}

/* Operations a second on a type (of a GPU: the compute type); 0 where that is not measured (f32 on a GPU). */
static int measure_multiply(struct vb_engine *e, enum dtype type, double *flops_s)
{
	const struct limits_setup on = { .team = e->team, .isa = e->setup.isa };
	*flops_s = 0;
	return e->gpu ? gpu_matrix_speed(e->gpu, e->setup.compute, flops_s) : limits_measure_multiply(&on, type, LIMIT_RUNS, flops_s);
}

/* What arithmetic would allow a prompt, to the other limits. */
static void add_prefill_limit(json_t *o, const struct vb_bench_spec *s, double flops_s, double flops, double tok_s)
{
	double limit = flops_s / flops * (double)s->prompt_tokens;
	if (flops_s > 0)
		json_object_update_new(json_object_get(o, "limit"),
				       json_pack("{s:f, s:f, s:f, s:f}", "matrix_gflop_s", flops_s / 1e9,
						 "flops_per_prompt", flops, "prefill_tok_s", limit, "prefill_fraction",
						 tok_s / limit));
}

/* A prompt, and as many steps as a repeat has, measured by kind of operation. Sequences to decode are prepared. */
static int profile_runs(struct bench *b, struct machine_speed *speed, json_t **out)
{
	struct vb_engine *e = b->e;
	struct profile *f;
	json_t *prefill = NULL, *steps;
	double unused, first_s, start;
	int64_t chunk = e->setup.chunk, n_chunks = (b->s->prompt_tokens + chunk - 1) / chunk;
	TRY(measure_multiply(e, e->setup.compute, &speed->attention_flops_s));
	TRY(profile_create(&f, e->team));
	program_profile(e->setup.program, f);
	/* The prompt takes a sequence of its own: the cache holds as many as are decoded. */
	int rc;
	release_decode(b);
	TRY_TO(out, bench_prefill(b, &unused, &first_s));
	prefill = profile_json(f, first_s, n_chunks, speed);
	TRY_TO(out, prepare_decode(b));
	profile_clear(f);
	start = clock_s();
	TRY_TO(out, decode(b, NULL, NULL, NULL));
	steps = profile_json(f, clock_s() - start, b->s->decode_tokens, speed);
	*out = json_pack("{s:o, s:o}", "prefill", prefill, "decode", steps);
	prefill = NULL; /* taken, in every case */
	if (!*out)
		FAIL_TO(out, VB_ENOMEM, "out of memory: JSON");
out:
	json_decref(prefill);
	program_profile(e->setup.program, NULL);
	profile_destroy(&f);
	return rc;
}

int vb_bench_model(struct vb_engine *e, const struct vb_bench_spec *s, char **json)
{
	if (!e || !s || !json)
		FAIL(VB_EINVAL, "invalid call: vb_bench_model: no argument may be NULL");
	*json = NULL;
	TRY(check_spec(e, s));
	if (s->profile && e->gpu)
		FAIL(VB_EUNSUPPORTED, "unsupported --profile: %s: operations of a GPU are not timed one by one: use --device cpu, or "
				      "the driver's own tools", e->setup.device);
	if (!engine_try_drive(e))
		FAIL(VB_ESTATE, "engine busy: vb_bench_model: wait for the requests to end");
	struct bench b = { .e = e, .s = s, .params = params_of(s) };
	double prefill[MAX_REPEAT], first[MAX_REPEAT], decode[MAX_REPEAT], bandwidth[MAX_REPEAT], rate[MAX_REPEAT];
	double idle[MAX_REPEAT], fraction[MAX_REPEAT], step_bytes = bytes_per_step(e, s), flops = prompt_flops(e, s);
	const struct limits_setup on = { .team = e->team, .isa = e->setup.isa, .memory = e->setup.facts.memory };
	struct limits_reader *reader = NULL;
	int rc;
	/* A first pass, not counted, reads the weights from the file and warms everything. */
	TRY_TO(out, bench_prefill(&b, &prefill[0], &first[0]));
	/* What the machine gives swings with the neighbours: it is measured between the runs that it is compared with. */
	for (int i = 0; i < s->repeat; i++) {
		TRY_TO(out, measure_multiply(e, multiplied_type(e), &rate[i]));
		TRY_TO(out, bench_prefill(&b, &prefill[i], &first[i]));
	}
	TRY_TO(out, prepare_decode(&b));
	if (!e->gpu)
		TRY_TO(out, limits_reader_create(&on, &reader));
	for (int i = 0; i < s->repeat; i++) {
		struct decoded d;
		TRY_TO(out, bench_decode(&b, reader, &d));
		decode[i] = d.tok_s;
		bandwidth[i] = d.bytes_s;
		idle[i] = d.idle;
		fraction[i] = d.tok_s / (d.bytes_s / step_bytes * (double)s->batch);
	}
	struct spread d = spread_of(decode, s->repeat);
	double read = spread_of(bandwidth, s->repeat).median;
	double limit = read / step_bytes * (double)s->batch;
	json_t *o = json_pack("{s:I, s:I, s:I, s:I, s:i, s:o, s:o, s:o, s:{s:f, s:f, s:f, s:f}}", "prompt_tokens",
			      (json_int_t)s->prompt_tokens, "decode_tokens", (json_int_t)s->decode_tokens, "batch",
			      (json_int_t)s->batch, "depth", (json_int_t)s->depth, "repeat", s->repeat,
			      "prefill_tok_s", spread_json(spread_of(prefill, s->repeat)), "first_token_s",
			      spread_json(spread_of(first, s->repeat)), "decode_tok_s", spread_json(d), "limit",
			      "memory_read_gb_s", read / 1e9, "bytes_per_step", step_bytes, "decode_tok_s", limit,
			      "decode_fraction", spread_of(fraction, s->repeat).median);
	struct machine_speed speed = { .read_bytes_s = read, .flops_s = spread_of(rate, s->repeat).median };
	add_prefill_limit(o, s, speed.flops_s, flops, spread_of(prefill, s->repeat).median);
	if (o && s->profile) {
		json_t *profile = NULL;
		rc = profile_runs(&b, &speed, &profile);
		if (rc == VB_OK && json_object_set_new(o, "profile", profile) != 0)
			rc = status_fail(VB_ENOMEM, __FILE__, __LINE__, "out of memory: JSON");
		if (rc != VB_OK) {
			json_decref(o);
			goto out;
		}
	}
	if (o && e->gpu && json_object_set_new(o, "gpu_idle", spread_json(spread_of(idle, s->repeat))) != 0)
		FAIL_TO(out, VB_ENOMEM, "out of memory: JSON");
	*json = o ? json_text(o) : NULL;
	json_decref(o);
	if (!*json)
		FAIL_TO(out, VB_ENOMEM, "out of memory: JSON");
out:
	limits_reader_destroy(&reader);
	release_decode(&b);
	engine_show(e);
	engine_stop_driving(e);
	return rc;
}
