/* bench.c - how fast the model runs on this machine, and how fast its memory would let it run. */
#include "engine_internal.h"

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
	struct block_table *tables; /* [batch] */
	int32_t *page_table;        /* [batch, width] */
	int32_t *q_begin, *kv_len;
	int64_t width;
};

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

static int bench_prefill(struct vb_engine *e, const struct vb_bench_spec *s, double *tok_s, double *first_s)
{
	int32_t ids[256];
	int64_t chunk = e->setup.chunk < 256 ? e->setup.chunk : 256;
	if (s->prompt_tokens >= e->setup.chunk)
		chunk = e->setup.chunk;
	int32_t *prompt = chunk > 256 ? mem_alloc((size_t)chunk * sizeof *prompt) : ids;
	if (!prompt)
		return VB_ENOMEM;
	int rc;
	TRY_TO(out, block_table_reserve(&e->table, e->pool, s->prompt_tokens));
	double start = clock_s();
	int64_t size = 0;
	for (int64_t first = 0; first < s->prompt_tokens; first += size) {
		size = s->prompt_tokens - first < chunk ? s->prompt_tokens - first : chunk;
		for (int64_t i = 0; i < size; i++)
			prompt[i] = random_id(e, first + i);
		engine_step(e, prompt, size, first, s->prompt_tokens);
	}
	int32_t row = (int32_t)(size - 1);
	const float *logits = program_head(e->setup.program, e->team, &row, 1);
	struct sample_params greedy = { .top_p = 1, .repetition_penalty = 1 };
	struct sample_args a = { .logits = logits, .n_vocab = program_n_vocab(e->setup.program), .params = &greedy,
				 .work = e->work, .candidate = e->candidate };
	(void)e->sample(&a);
	*first_s = clock_s() - start;
	*tok_s = (double)s->prompt_tokens / *first_s;
	block_table_truncate(&e->table, e->pool, 0);
out:
	if (prompt != ids)
		mem_free(prompt);
	return rc;
}

static int prepare_decode(struct bench *b)
{
	struct vb_engine *e = b->e;
	const struct vb_bench_spec *s = b->s;
	b->width = e->table.capacity;
	b->tables = mem_calloc((size_t)s->batch, sizeof *b->tables);
	b->page_table = mem_calloc((size_t)(s->batch * b->width), sizeof *b->page_table);
	b->q_begin = mem_calloc((size_t)s->batch + 1, sizeof *b->q_begin);
	b->kv_len = mem_calloc((size_t)s->batch, sizeof *b->kv_len);
	if (!b->tables || !b->page_table || !b->q_begin || !b->kv_len)
		return VB_ENOMEM;
	for (int64_t i = 0; i < s->batch; i++) {
		struct block_table *t = &b->tables[i];
		TRY(block_table_init(t, b->width));
		TRY(block_table_reserve(t, e->pool, s->depth + s->decode_tokens));
		memcpy(b->page_table + i * b->width, t->page, (size_t)t->n_pages * sizeof *t->page);
		b->q_begin[i + 1] = (int32_t)(i + 1);
	}
	if (s->depth)
		program_fill_caches(e->setup.program);
	return VB_OK;
}

static void release_decode(struct bench *b)
{
	for (int64_t i = 0; b->tables && i < b->s->batch; i++)
		block_table_fini(&b->tables[i], b->e->pool);
	mem_free(b->tables);
	mem_free(b->page_table);
	mem_free(b->q_begin);
	mem_free(b->kv_len);
}

/* decode_tokens steps of all sequences, each token sampled greedily: tokens a second of all together. */
static double bench_decode(struct bench *b)
{
	struct vb_engine *e = b->e;
	int64_t batch = b->s->batch, vocab = program_n_vocab(e->setup.program);
	struct sample_params greedy = { .top_p = 1, .repetition_penalty = 1 };
	for (int64_t i = 0; i < batch; i++)
		e->ids[i] = random_id(e, i);
	double start = clock_s();
	for (int64_t n = 0; n < b->s->decode_tokens; n++) {
		int64_t position = b->s->depth + n;
		for (int64_t i = 0; i < batch; i++) {
			e->position[i] = (int32_t)position;
			e->rope_len[i] = 1;
			e->slot[i] = block_table_slot(&b->tables[i], e->pool, position);
			e->rows[i] = (int32_t)i;
			b->kv_len[i] = (int32_t)position + 1;
		}
		struct step_group groups[PROGRAM_MAX_GROUPS];
		for (int g = 0; g < PROGRAM_MAX_GROUPS; g++)
			groups[g] = (struct step_group){ e->slot, b->page_table, b->width };
		struct step step = { .n_tokens = batch, .n_seqs = batch, .ids = e->ids, .position = e->position,
				     .rope_len = e->rope_len, .q_begin = b->q_begin,
				     .kv_len = b->kv_len, .groups = groups };
		program_run(e->setup.program, e->team, &step);
		const float *logits = program_head(e->setup.program, e->team, e->rows, batch);
		for (int64_t i = 0; i < batch; i++) {
			struct sample_args a = { .logits = logits + i * vocab, .n_vocab = vocab, .params = &greedy,
						 .work = e->work, .candidate = e->candidate };
			e->ids[i] = e->sample(&a);
			if (e->ids[i] < 0)
				e->ids[i] = 0; /* random weights may overflow; speed does not depend on it */
		}
	}
	return (double)(batch * b->s->decode_tokens) / (clock_s() - start);
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
	if (atomic_exchange(&e->busy, true))
		FAIL(VB_ESTATE, "engine busy: vb_bench_model: wait for the generation to end");
	struct bench b = { .e = e, .s = s };
	double prefill[MAX_REPEAT], first[MAX_REPEAT], decode[MAX_REPEAT], bandwidth[MAX_REPEAT];
	double step_bytes = bytes_per_step(e, s);
	int rc;
	block_table_truncate(&e->table, e->pool, 0);
	/* A first pass, not counted, reads the weights from the file and warms everything. */
	TRY_TO(out, bench_prefill(e, s, &prefill[0], &first[0]));
	for (int i = 0; i < s->repeat; i++)
		TRY_TO(out, bench_prefill(e, s, &prefill[i], &first[i]));
	TRY_TO(out, prepare_decode(&b));
	/* The memory's speed swings with the neighbours: it is measured between the runs that it is compared with. */
	for (int i = 0; i < s->repeat; i++) {
		bandwidth[i] = bench_read_bandwidth(e->team, 3);
		decode[i] = bench_decode(&b);
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
	block_table_truncate(&e->table, e->pool, 0);
	atomic_store(&e->busy, false);
	return rc;
}
