/* bench_attention.c - what the attention runtime reaches on this machine, beside what memory gives in the same run.
 *
 *     bench_attention [--threads N] [--kernel NAME] [--repeat N] >bench/results/attention-cpu.json
 *
 * Decode: one query token a sequence at depth 4096, 32 query heads over 8 KV heads, bf16. As in a model, each run reads
 * another layer's cache; all layers together are larger than any cache of the processor. Bytes are those of the keys and
 * values. Prefill: one prompt of 2048 tokens, causal; flops are 4 * head_dim for each query head and visible key.
 */
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/threads.h"
#include "verbatim/attention.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADS 32
#define KV_HEADS 8
#define PAGE 64
#define DEPTH 4096
#define PROMPT 2048
#define MAX_REPEAT 101
#define WORKING_SET ((int64_t)512 << 20)

struct options {
	int threads, repeat;
	const char *kernel;
};

struct spread {
	double median, min, max;
};

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static struct spread spread_of(double *samples, int n)
{
	qsort(samples, (size_t)n, sizeof *samples, compare);
	return (struct spread){ samples[n / 2], samples[0], samples[n - 1] };
}

static void die(const char *what)
{
	fprintf(stderr, "bench_attention: %s: %s\n", what, vb_errmsg());
	exit(1);
}

/* ---- Plain reading ---- */

struct reading {
	const uint64_t *data;
	int64_t n;
	uint64_t sums[256];
};

static void read_share(void *context, int index, int n_workers)
{
	struct reading *r = context;
	int64_t begin, end;
	uint64_t sum = 0;
	team_share(r->n, 8, index, n_workers, &begin, &end);
	for (int64_t i = begin; i < end; i++)
		sum += r->data[i];
	r->sums[index] = sum;
}

/* Bytes a second. */
static struct spread measure_reading(const struct options *o)
{
	double samples[MAX_REPEAT];
	struct team *team;
	uint64_t *data = mem_pages((size_t)WORKING_SET);
	struct reading r = { data, WORKING_SET / 8, { 0 } };
	if (!data || team_create(&team, o->threads) != VB_OK)
		die("reading");
	memset(data, 1, (size_t)WORKING_SET);
	for (int i = 0; i < o->repeat; i++) {
		double t = clock_s();
		team_run(team, read_share, &r);
		samples[i] = (double)WORKING_SET / (clock_s() - t);
	}
	team_destroy(&team);
	mem_free_pages(data, (size_t)WORKING_SET);
	return spread_of(samples, o->repeat);
}

/* ---- Attention ---- */

struct bench_case {
	const char *name;
	int64_t head_dim, n_seqs, q_len, kv_len, n_layers;
};

struct buffers {
	int64_t cache_bytes; /* of one layer's keys; the values have as many */
	unsigned char *k, *v, *q, *out;
	int32_t *table, q_begin[65], kv_len[64];
};

static struct vb_attention *open_attention(const struct options *o, const struct bench_case *c)
{
	struct vb_attention_request request;
	struct vb_attention_limits limits;
	struct vb_attention *a;
	vb_attention_request_default(&request);
	vb_attention_limits_default(&limits);
	request.n_heads = HEADS;
	request.n_kv_heads = KV_HEADS;
	request.head_dim = request.v_head_dim = c->head_dim;
	request.q_type = request.kv_type = request.out_type = VB_TYPE_BF16;
	request.page_size = PAGE;
	request.max_q_len = c->q_len;
	request.kernel = o->kernel;
	limits.max_seqs = c->n_seqs;
	limits.max_tokens = c->n_seqs * c->q_len;
	limits.table_width = c->kv_len / PAGE;
	limits.threads = o->threads;
	if (vb_attention_create(&a, NULL, &request, &limits) != VB_OK)
		die(c->name);
	return a;
}

/* Values around 1 in bf16, from a plain generator. */
static void fill(unsigned char *p, int64_t bytes)
{
	uint64_t state = 1;
	uint16_t *x = (uint16_t *)p;
	for (int64_t i = 0; i < bytes / 2; i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		x[i] = (uint16_t)(0x3e80 | (state >> 40 & 0x80ff));
	}
}

static void take_buffers(struct buffers *b, const struct bench_case *c)
{
	int64_t n_pages = c->n_seqs * c->kv_len / PAGE, row = HEADS * c->head_dim * 2;
	b->cache_bytes = n_pages * PAGE * KV_HEADS * c->head_dim * 2;
	b->k = mem_pages((size_t)(b->cache_bytes * c->n_layers));
	b->v = mem_pages((size_t)(b->cache_bytes * c->n_layers));
	b->q = mem_pages((size_t)(c->n_seqs * c->q_len * row));
	b->out = mem_pages((size_t)(c->n_seqs * c->q_len * row));
	b->table = mem_alloc((size_t)n_pages * sizeof *b->table);
	if (!b->k || !b->v || !b->q || !b->out || !b->table)
		die(c->name);
	fill(b->k, b->cache_bytes * c->n_layers);
	fill(b->v, b->cache_bytes * c->n_layers);
	fill(b->q, c->n_seqs * c->q_len * row);
	for (int32_t i = 0; i < n_pages; i++)
		b->table[i] = i;
	for (int32_t s = 0; s < c->n_seqs; s++) {
		b->q_begin[s] = s * (int32_t)c->q_len;
		b->kv_len[s] = (int32_t)c->kv_len;
	}
	b->q_begin[c->n_seqs] = (int32_t)(c->n_seqs * c->q_len);
}

static void free_buffers(struct buffers *b, const struct bench_case *c)
{
	int64_t row = HEADS * c->head_dim * 2;
	mem_free_pages(b->k, (size_t)(b->cache_bytes * c->n_layers));
	mem_free_pages(b->v, (size_t)(b->cache_bytes * c->n_layers));
	mem_free_pages(b->q, (size_t)(c->n_seqs * c->q_len * row));
	mem_free_pages(b->out, (size_t)(c->n_seqs * c->q_len * row));
	mem_free(b->table);
}

/* Seconds for one layer. */
static struct spread measure_case(const struct options *o, const struct bench_case *c, const char **kernel)
{
	double samples[MAX_REPEAT];
	struct buffers b;
	struct vb_attention *a = open_attention(o, c);
	take_buffers(&b, c);
	if (vb_attention_update(a, c->n_seqs, b.q_begin, b.kv_len) != VB_OK)
		die(c->name);
	for (int i = -1; i < o->repeat; i++) { /* the first round warms up */
		double t = clock_s();
		for (int64_t l = 0; l < c->n_layers; l++) {
			struct vb_attention_cache cache = { b.k + l * b.cache_bytes, b.v + l * b.cache_bytes,
							    c->n_seqs * c->kv_len / PAGE, b.table, c->kv_len / PAGE };
			struct vb_attention_io io = { sizeof io, b.q, b.out, NULL, NULL, 0, 0, cache };
			if (vb_attention_run(a, &io) != VB_OK)
				die(c->name);
		}
		if (i >= 0)
			samples[i] = (clock_s() - t) / (double)c->n_layers;
	}
	*kernel = vb_attention_kernel(a);
	vb_attention_destroy(&a);
	free_buffers(&b, c);
	return spread_of(samples, o->repeat);
}

static json_t *rate(double work, const struct spread *time)
{
	return json_pack("{s:f, s:f, s:f}", "median", work / time->median, "min", work / time->max, "max",
			 work / time->min);
}

static json_t *bench_decode(const struct options *o, int64_t head_dim, int64_t n_seqs, double read_rate)
{
	struct bench_case c = { "decode", head_dim, n_seqs, 1, DEPTH, 1 };
	double bytes = (double)(n_seqs * DEPTH * KV_HEADS * head_dim * 2 * 2);
	const char *kernel;
	c.n_layers = (int64_t)((double)WORKING_SET / bytes) + 1;
	struct spread s = measure_case(o, &c, &kernel);
	return json_pack("{s:s, s:s, s:i, s:i, s:i, s:f, s:o, s:f}", "case", "decode", "kernel", kernel, "head_dim",
			 (int)head_dim, "batch", (int)n_seqs, "depth", DEPTH, "time_us", s.median * 1e6, "gb_s",
			 rate(bytes / 1e9, &s), "of_memory_read", bytes / s.median / read_rate);
}

static json_t *bench_prefill(const struct options *o, int64_t head_dim)
{
	struct bench_case c = { "prefill", head_dim, 1, PROMPT, PROMPT, 1 };
	double flops = 4.0 * (double)head_dim * HEADS * ((double)PROMPT * (PROMPT + 1) / 2);
	const char *kernel;
	struct spread s = measure_case(o, &c, &kernel);
	return json_pack("{s:s, s:s, s:i, s:i, s:f, s:o}", "case", "prefill", "kernel", kernel, "head_dim", (int)head_dim,
			 "tokens", PROMPT, "time_us", s.median * 1e6, "gflop_s", rate(flops / 1e9, &s));
}

int main(int argc, char **argv)
{
	struct options o = { .repeat = 11 };
	struct vb_attention_facts facts;
	if (vb_attention_facts_probe(&facts) != VB_OK)
		die("facts");
	o.threads = facts.threads;
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--threads") == 0)
			o.threads = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--repeat") == 0)
			o.repeat = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--kernel") == 0)
			o.kernel = argv[i + 1];
	}
	if (argc % 2 == 0 || o.repeat < 1 || o.repeat > MAX_REPEAT || o.threads < 1 || o.threads > 256) {
		fprintf(stderr, "usage: bench_attention [--threads N] [--kernel NAME] [--repeat 1..%d]\n", MAX_REPEAT);
		return 2;
	}
	struct spread reading = measure_reading(&o);
	json_t *cases = json_array();
	static const int64_t dims[] = { 64, 128 }, batches[] = { 1, 8 };
	for (int d = 0; d < 2; d++) {
		for (int b = 0; b < 2; b++)
			json_array_append_new(cases, bench_decode(&o, dims[d], batches[b], reading.median));
		json_array_append_new(cases, bench_prefill(&o, dims[d]));
	}
	json_t *all = json_pack("{s:s, s:i, s:s, s:f, s:o}", "cpu", facts.cpu, "threads", o.threads, "command",
				"bench_attention", "memory_read_gb_s", reading.median / 1e9, "cases", cases);
	char *text = all ? json_dumps(all, JSON_INDENT(1) | JSON_REAL_PRECISION(4)) : NULL;
	if (!text)
		die("JSON");
	printf("%s\n", text);
	free(text);
	json_decref(all);
	return 0;
}
