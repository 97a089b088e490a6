/* bench.c - how fast the model runs on this machine, and how fast its memory would let it run. */
#include "bench_gpu.h"
#include "step.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"

#include <stdlib.h>
#include <string.h>

#define MAX_REPEAT 100
#define MAX_THREADS 4096 /* as --threads allows */

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

/* ---- Memory's limit ---- */

#define READ_BYTES ((size_t)512 << 20)

struct reading {
	const uint64_t *data;
	uint64_t sum[MAX_THREADS]; /* so that the compiler may not leave the reading out */
};

static void read_share(void *context, int index, int n_workers)
{
	struct reading *r = context;
	int64_t begin, end;
	team_share(READ_BYTES / sizeof *r->data, 64, index, n_workers, &begin, &end);
	uint64_t a = 0, b = 0, c = 0, d = 0;
	for (int64_t i = begin; i < end; i += 4) {
		a += r->data[i];
		b += r->data[i + 1];
		c += r->data[i + 2];
		d += r->data[i + 3];
	}
	r->sum[index] += a + b + c + d;
}

static void touch_share(void *context, int index, int n_workers)
{
	char *data = context;
	int64_t begin, end;
	team_share(READ_BYTES, 4096, index, n_workers, &begin, &end);
	memset(data + begin, 1, (size_t)(end - begin));
}

double bench_read_bandwidth(struct team *team, int repeat)
{
	double figures[MAX_REPEAT];
	if (repeat > MAX_REPEAT)
		repeat = MAX_REPEAT;
	void *data = mem_pages(READ_BYTES);
	if (!data)
		return 0;
	team_run(team, touch_share, data);
	struct reading r = { .data = data };
	for (int i = 0; i < repeat; i++) {
		double start = clock_s();
		team_run(team, read_share, &r);
		figures[i] = (double)READ_BYTES / (clock_s() - start);
	}
	/* The sum is of known bytes: a wrong one would mean that memory was not read. */
	uint64_t sum = 0;
	for (int i = 0; i < MAX_THREADS; i++)
		sum += r.sum[i];
	CHECK(sum == (uint64_t)repeat * (READ_BYTES / 8) * 0x0101010101010101u);
	mem_free_pages(data, READ_BYTES);
	return spread_of(figures, repeat).median;
}

/* ---- The model ---- */

struct bench {
	struct vb_engine *e;
	const struct vb_bench_spec *s;
	int32_t seqs[ENGINE_MAX_BATCH];
	int64_t n_seqs;
	int32_t ids[ENGINE_MAX_BATCH];
};

/* Adds tokens of a sequence to the step; its pages are reserved. */
static int64_t add(struct vb_engine *e, int32_t seq, const int32_t *ids, int64_t n, int64_t first)
{
	const int32_t *tables[KV_MAX_GROUPS];
	for (int g = 0; g < e->limits.n_groups; g++)
		tables[g] = kv_seq_table(e->kv, seq, g);
	return batch_add(e->batch, ids, n, first, 1, tables);
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

static const struct sample_params greedy = { .top_p = 1, .repetition_penalty = 1 };

/* The row behind token `row` of the step, and where the chosen token goes. */
static struct sample_wish wish_of(int64_t row, int32_t *id)
{
	return (struct sample_wish){ .row = (int32_t)row, .params = &greedy, .owner = id };
}

static void keep_id(void *user, const struct sample_wish *wish, const struct sample_choice *choice)
{
	(void)user;
	/* Random weights may overflow; speed does not depend on it. */
	*(int32_t *)wish->owner = choice->id < 0 ? 0 : choice->id;
}

static int bench_prefill(struct vb_engine *e, const struct vb_bench_spec *s, double *tok_s, double *first_s)
{
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
		add(e, seq, prompt, size, first);
		int32_t id;
		struct sample_wish last = wish_of(size - 1, &id);
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
		e->wishes[i] = wish_of(add(e, b->seqs[i], &b->ids[i], 1, b->s->depth + n), &b->ids[i]);
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

static int decode(struct bench *b)
{
	struct vb_engine *e = b->e;
	for (int64_t n = 0; n < b->s->decode_tokens; n++) {
		fill_step(b, n);
		TRY(batch_run(e->batch, e->team, e->wishes, b->s->batch, keep_id, NULL));
	}
	return VB_OK;
}

/* decode_tokens steps of all sequences, each token chosen greedily: tokens a second of all together. */
static int bench_decode(struct bench *b, double *tok_s)
{
	struct vb_engine *e = b->e;
	int64_t batch = b->s->batch;
	for (int64_t i = 0; i < batch; i++)
		b->ids[i] = random_id(e, i);
	double start = clock_s();
	bool ahead = e->gpu && batch <= program_get_config(e->setup.program)->max_rows;
	TRY(ahead ? decode_ahead(b) : decode(b));
	*tok_s = (double)(batch * b->s->decode_tokens) / (clock_s() - start);
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

int vb_bench_model(struct vb_engine *e, const struct vb_bench_spec *s, char **json)
{
	if (!e || !s || !json)
		FAIL(VB_EINVAL, "invalid call: vb_bench_model: no argument may be NULL");
	*json = NULL;
	TRY(check_spec(e, s));
	if (!engine_try_drive(e))
		FAIL(VB_ESTATE, "engine busy: vb_bench_model: wait for the requests to end");
	struct bench b = { .e = e, .s = s };
	double prefill[MAX_REPEAT], first[MAX_REPEAT], decode[MAX_REPEAT], bandwidth[MAX_REPEAT];
	double step_bytes = bytes_per_step(e, s);
	int rc;
	/* A first pass, not counted, reads the weights from the file and warms everything. */
	TRY_TO(out, bench_prefill(e, s, &prefill[0], &first[0]));
	for (int i = 0; i < s->repeat; i++)
		TRY_TO(out, bench_prefill(e, s, &prefill[i], &first[i]));
	TRY_TO(out, prepare_decode(&b));
	/* The memory's speed swings with the neighbours: it is measured between the runs that it is compared with. */
	for (int i = 0; i < s->repeat; i++) {
		if (e->gpu)
			TRY_TO(out, gpu_copy_speed(e->gpu, &bandwidth[i]));
		else
			bandwidth[i] = bench_read_bandwidth(e->team, 3);
		TRY_TO(out, bench_decode(&b, &decode[i]));
	}
	struct spread d = spread_of(decode, s->repeat), w = spread_of(bandwidth, s->repeat);
	double limit = w.median / step_bytes * (double)s->batch;
	json_t *o = json_pack("{s:I, s:I, s:I, s:I, s:i, s:o, s:o, s:o, s:{s:f, s:f, s:f, s:f}}", "prompt_tokens",
			      (json_int_t)s->prompt_tokens, "decode_tokens", (json_int_t)s->decode_tokens, "batch",
			      (json_int_t)s->batch, "depth", (json_int_t)s->depth, "repeat", s->repeat,
			      "prefill_tok_s", spread_json(spread_of(prefill, s->repeat)), "first_token_s",
			      spread_json(spread_of(first, s->repeat)), "decode_tok_s", spread_json(d), "limit",
			      "memory_read_gb_s", w.median / 1e9, "bytes_per_step", step_bytes, "decode_tok_s", limit,
			      "decode_fraction", d.median / limit);
	*json = o ? json_text(o) : NULL;
	json_decref(o);
	if (!*json)
		FAIL_TO(out, VB_ENOMEM, "out of memory: JSON");
out:
	release_decode(&b);
	engine_show(e);
	engine_stop_driving(e);
	return rc;
}
