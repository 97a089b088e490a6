/* attention_gpu.c - attention on a GPU against float64, and bit for bit against itself: alone, in a batch, as one token of
 * many, through a graph, in narrow and in wide blocks. What no query sees is poisoned with NaN.
 *
 *     attention_gpu [ROW]     all rows of attention.def that serve a case, or one
 *
 * Ends with 77 (skipped) where there is no GPU. */
#include "base/mem.h"
#include "base/status.h"
#include "hw/gpu.h"
#include "ops/attention_cuda.h"
#include "ops/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SEQS 320
#define MAX_TOKENS 2048

struct shape {
	int64_t heads, kv_heads, d;
	enum dtype type;
	int64_t page, window;
	float cap;
	bool sinks;
	int n_seqs;
	int32_t q_len[8], kv_len[8]; /* of the first sequences; the others: 1 token, 1 to 300 keys */
};

static const struct shape shapes[] = {
	{ 32, 8, 128, DTYPE_BF16, 64, 0, 0, false, 8, { 1, 1, 5, 1, 4, 0, 17, 9 }, { 1, 63, 64, 4097, 257, 99, 300, 5 } },
	{ 32, 8, 128, DTYPE_BF16, 16, 0, 0, false, 300, { 1, 2, 3, 8, 16, 1, 1, 40 },
	  { 9001, 5120, 5121, 4096, 1000, 0, 20000, 39 } },
	{ 32, 8, 128, DTYPE_F16, 8, 100, 0, true, 6, { 1, 7, 1, 130, 16, 3 }, { 300, 4500, 99, 1100, 101, 2 } },
	{ 16, 8, 256, DTYPE_BF16, 32, 1000, 50, false, 5, { 1, 9, 60, 2, 5 }, { 5000, 1500, 700, 64, 3000 } },
	{ 16, 1, 256, DTYPE_F16, 64, 0, 0, true, 3, { 1, 5, 33 }, { 9000, 600, 1400 } },
	{ 64, 8, 64, DTYPE_BF16, 16, 128, 0, true, 40, { 1, 6, 1, 100 }, { 3000, 900, 5, 500 } },
	{ 8, 8, 64, DTYPE_F16, 128, 0, 30, false, 4, { 1, 17, 200, 64 }, { 700, 17, 1200, 4200 } },
	{ 32, 8, 128, DTYPE_BF16, 64, 0, 0, false, 3, { 250, 1, 129 }, { 5600, 4100, 1300 } },
	{ 8, 2, 64, DTYPE_BF16, 64, 0, 0, true, 2, { 700, 66 }, { 1200, 2300 } },
	{ 4, 4, 128, DTYPE_F16, 32, 300, 0, false, 12, { 513, 64, 300 }, { 513, 1000, 4600 } },
	{ 28, 4, 128, DTYPE_BF16, 256, 0, 0, false, 4, { 1, 3, 10, 77 }, { 1500, 4099, 6000, 500 } },
	{ 71, 1, 64, DTYPE_BF16, 16, 0, 0, false, 3, { 1, 2, 13 }, { 900, 30, 1300 } },
	{ 4, 2, 80, DTYPE_BF16, 16, 0, 0, false, 3, { 1, 20, 3 }, { 4200, 40, 1111 } },
	{ 12, 12, 96, DTYPE_F16, 32, 64, 0, false, 2, { 3, 70 }, { 640, 320 } },
	{ 8, 1, 112, DTYPE_BF16, 16, 0, 20, true, 2, { 4, 12 }, { 640, 2000 } },
	{ 6, 3, 40, DTYPE_F32, 2, 17, 0, true, 3, { 1, 4, 19 }, { 70, 300, 19 } },
	{ 4, 4, 500, DTYPE_F16, 1, 0, 10, false, 2, { 1, 3 }, { 90, 200 } },
};

static uint64_t seed;

static uint32_t next(void)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33);
}

/* About normal. */
static float normal(void)
{
	float sum = 0;
	for (int i = 0; i < 4; i++)
		sum += (float)(next() & 0xffff) / 65536.0f - 0.5f;
	return sum * 1.7f;
}

/* ---- A case ---- */

struct lengths {
	int64_t n_seqs;
	int32_t q_begin[MAX_SEQS + 1], kv_len[MAX_SEQS];
	int32_t seq[MAX_SEQS]; /* of the case, whose pages it has */
};

struct test {
	struct gpu *g;
	const struct shape *s;
	struct attention_request request;
	struct attention_limits limits;
	struct attention_cuda *attention;
	bool wide; /* how it is run */
	struct lengths all;
	int64_t n_pages, width, n_tokens, n_values;
	unsigned char *k, *v, *q; /* the host's; values of the type */
	int32_t *table;
	float *sinks;
	/* Pinned, and the GPU's. */
	unsigned char *host_list;
	int32_t *host_table, *host_q_begin, *host_kv_len;
	void *d_k, *d_v, *d_q, *d_table, *d_sinks, *d_out, *d_lse, *d_list, *d_q_begin, *d_kv_len;
	uint16_t *base, *out; /* results: of the whole batch, of a run */
	float *base_lse, *lse;
};

#define GO(expr)                                                                          \
	do {                                                                              \
		if ((expr) != VB_OK) {                                                    \
			printf("%s:%d: %s\n", __FILE__, __LINE__, vb_errmsg());       \
			exit(1);                                                          \
		}                                                                         \
	} while (0)

static void *make(int64_t n, size_t size)
{
	void *p = calloc((size_t)n, size);
	if (!p)
		exit(1);
	return p;
}

static void *on_gpu(struct test *t, const void *from, size_t bytes)
{
	void *p;
	GO(gpu_alloc(t->g, &p, bytes, "a test"));
	if (from)
		gpu_upload(t->g, p, from, bytes);
	return p;
}

static int64_t key_row(const struct test *t, int64_t seq, int64_t head, int64_t key)
{
	const struct shape *s = t->s;
	int64_t page = t->table[seq * t->width + key / s->page];
	return (page * s->kv_heads + head) * s->page + key % s->page;
}

static void make_lengths(struct test *t)
{
	const struct shape *s = t->s;
	struct lengths *l = &t->all;
	l->n_seqs = s->n_seqs;
	for (int i = 0; i < s->n_seqs; i++) {
		l->seq[i] = i;
		l->q_begin[i + 1] = l->q_begin[i] + (i < 8 ? s->q_len[i] : 1);
		l->kv_len[i] = i < 8 ? s->kv_len[i] : (int32_t)(1 + next() % 300);
		int64_t pages = (l->kv_len[i] + s->page - 1) / s->page;
		t->width = pages > t->width ? pages : t->width;
		t->n_pages += pages;
	}
	t->n_pages = t->n_pages * 5 / 4 + 3;
	t->n_tokens = l->q_begin[l->n_seqs];
}

/* Pages in random order; all slots NaN but those of keys in use. */
static void make_cache(struct test *t)
{
	const struct shape *s = t->s;
	size_t size = dtype_bytes(s->type), bytes = (size_t)(t->n_pages * s->kv_heads * s->page * s->d) * size;
	t->table = make(t->width * s->n_seqs, sizeof *t->table);
	int32_t *places = make(t->n_pages, sizeof *places);
	for (int64_t i = 0; i < t->n_pages; i++) {
		int64_t j = next() % (uint32_t)(i + 1);
		places[i] = places[j];
		places[j] = (int32_t)i;
	}
	t->k = make((int64_t)bytes, 1);
	t->v = make((int64_t)bytes, 1);
	memset(t->k, 0xff, bytes);
	memset(t->v, 0xff, bytes);
	int64_t used = 0;
	for (int64_t i = 0; i < s->n_seqs; i++) {
		for (int64_t p = 0; p < t->width; p++)
			t->table[i * t->width + p] = p * s->page < t->all.kv_len[i] ? places[used++] : INT32_MAX;
		for (int64_t j = 0; j < t->all.kv_len[i]; j++) {
			for (int64_t n = 0; n < s->kv_heads * s->d; n++) {
				size_t at = (size_t)(key_row(t, i, n / s->d, j) * s->d + n % s->d);
				dtype_store(s->type, t->k, at, normal());
				dtype_store(s->type, t->v, at, normal());
			}
		}
	}
	free(places);
	t->d_k = on_gpu(t, t->k, bytes);
	t->d_v = on_gpu(t, t->v, bytes);
}

static void begin_test(struct test *t, int row)
{
	const struct shape *s = t->s;
	seed = 7;
	make_lengths(t);
	make_cache(t);
	int64_t n = t->n_tokens * s->heads * s->d;
	t->n_values = n;
	t->q = make(n, dtype_bytes(s->type));
	for (int64_t i = 0; i < n; i++)
		dtype_store(s->type, t->q, (size_t)i, 2 * normal());
	t->d_q = on_gpu(t, t->q, (size_t)n * dtype_bytes(s->type));
	if (s->sinks) {
		t->sinks = make(s->heads, sizeof *t->sinks);
		for (int64_t i = 0; i < s->heads; i++)
			t->sinks[i] = 2 * normal();
		t->d_sinks = on_gpu(t, t->sinks, (size_t)s->heads * sizeof *t->sinks);
	}
	t->request = (struct attention_request){ .n_heads = s->heads, .n_kv_heads = s->kv_heads, .head_dim = s->d,
						 .v_head_dim = s->d, .q_type = s->type, .kv_type = s->type,
						 .out_type = DTYPE_BF16, .page_size = s->page, .window = s->window,
						 .max_q_len = MAX_TOKENS, .softcap = s->cap > 0, .sink = s->sinks };
	t->limits = (struct attention_limits){ MAX_SEQS, MAX_TOKENS, t->width, 1 };
	GO(attention_cuda_create(t->g, row, &t->request, &t->limits, &t->attention));
	size_t list = attention_cuda_plan_bytes(t->attention), table = MAX_SEQS * (size_t)t->width * sizeof(int32_t);
	GO(gpu_host_alloc(t->g, (void **)&t->host_list, list + 16, "a list"));
	GO(gpu_host_alloc(t->g, (void **)&t->host_table, table, "a table"));
	GO(gpu_host_alloc(t->g, (void **)&t->host_q_begin, (MAX_SEQS + 1) * sizeof(int32_t), "lengths"));
	GO(gpu_host_alloc(t->g, (void **)&t->host_kv_len, MAX_SEQS * sizeof(int32_t), "lengths"));
	t->d_list = on_gpu(t, NULL, list + 16);
	t->d_table = on_gpu(t, NULL, table);
	t->d_q_begin = on_gpu(t, NULL, (MAX_SEQS + 1) * sizeof(int32_t));
	t->d_kv_len = on_gpu(t, NULL, MAX_SEQS * sizeof(int32_t));
	t->d_out = on_gpu(t, NULL, (size_t)n * 2);
	t->d_lse = on_gpu(t, NULL, (size_t)(t->n_tokens * s->heads) * sizeof(float));
	t->base = make(n, 2);
	t->out = make(n, 2);
	t->base_lse = make(t->n_tokens * s->heads, sizeof(float));
	t->lse = make(t->n_tokens * s->heads, sizeof(float));
}

static void end_test(struct test *t)
{
	void *const of_gpu[] = { t->d_k, t->d_v, t->d_q, t->d_table, t->d_sinks, t->d_out, t->d_lse, t->d_list, t->d_q_begin,
				 t->d_kv_len };
	void *const pinned[] = { t->host_list, t->host_table, t->host_q_begin, t->host_kv_len };
	void *const plain[] = { t->k, t->v, t->q, t->table, t->sinks, t->base, t->out, t->base_lse, t->lse };
	attention_cuda_destroy(t->g, &t->attention);
	for (size_t i = 0; i < sizeof of_gpu / sizeof *of_gpu; i++)
		gpu_free(t->g, of_gpu[i]);
	for (size_t i = 0; i < sizeof pinned / sizeof *pinned; i++)
		gpu_host_free(t->g, pinned[i]);
	for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
		free(plain[i]);
}

/* ---- Running ---- */

static void prepare(struct test *t, const struct lengths *l)
{
	struct gpu *g = t->g;
	/* Sequences beyond the step's have no query tokens, and pages that are none. */
	for (int64_t i = 0; i < MAX_SEQS; i++) {
		bool used = i < l->n_seqs;
		t->host_q_begin[i] = used ? l->q_begin[i] : l->q_begin[l->n_seqs];
		t->host_kv_len[i] = used ? l->kv_len[i] : 0;
		for (int64_t p = 0; p < t->width; p++)
			t->host_table[i * t->width + p] = used ? t->table[l->seq[i] * t->width + p] : INT32_MAX;
	}
	t->host_q_begin[MAX_SEQS] = l->q_begin[l->n_seqs];
	GO(attention_cuda_plan(t->attention, t->wide, t->host_list, l->n_seqs, l->q_begin, l->kv_len));
	gpu_upload(g, t->d_list, t->host_list, attention_cuda_plan_bytes(t->attention));
	gpu_upload(g, t->d_table, t->host_table, MAX_SEQS * (size_t)t->width * sizeof(int32_t));
	gpu_upload(g, t->d_q_begin, t->host_q_begin, (MAX_SEQS + 1) * sizeof(int32_t));
	gpu_upload(g, t->d_kv_len, t->host_kv_len, MAX_SEQS * sizeof(int32_t));
	gpu_fill(g, t->d_out, 0xff, (size_t)t->n_values * 2);
}

static void launch(struct test *t, int64_t first_token)
{
	const struct shape *s = t->s;
	int64_t row = s->heads * s->d;
	struct attention_args a = { .q = (unsigned char *)t->d_q + (size_t)(first_token * row) * dtype_bytes(s->type),
				    .k_cache = t->d_k, .v_cache = t->d_v, .page_table = t->d_table,
				    .q_begin = t->d_q_begin, .kv_len = t->d_kv_len, .sinks = t->d_sinks, .out = t->d_out,
				    .lse = t->d_lse, .n_seqs = MAX_SEQS, .table_stride = t->width, .q_stride = row,
				    .out_stride = row, .n_heads = s->heads, .n_kv_heads = s->kv_heads, .head_dim = s->d,
				    .v_head_dim = s->d, .page_size = s->page, .window = s->window,
				    .scale = (float)(1 / sqrt((double)s->d)), .softcap = s->cap, .q_type = s->type,
				    .kv_type = s->type, .out_type = DTYPE_BF16 };
	attention_cuda_run(t->g, t->attention, t->wide, t->d_list, &a);
}

/* Runs the sequences of l, whose tokens are the case's from first_token on. Their results are at the beginning of out. */
static void run(struct test *t, const struct lengths *l, int64_t first_token, struct gpu_graph *graph)
{
	prepare(t, l);
	if (graph)
		gpu_graph_launch(t->g, graph);
	else
		launch(t, first_token);
	int64_t n = l->q_begin[l->n_seqs];
	gpu_download(t->g, t->out, t->d_out, (size_t)(n * t->s->heads * t->s->d) * 2);
	gpu_download(t->g, t->lse, t->d_lse, (size_t)(n * t->s->heads) * sizeof(float));
	GO(gpu_sync(t->g));
}

/* Whether the last run's n tokens have the bits that the batch's have from `token` on. */
static bool same(const struct test *t, int64_t token, int64_t n)
{
	int64_t values = t->s->heads * t->s->d;
	return !memcmp(t->out, t->base + token * values, (size_t)(n * values) * 2) &&
	       !memcmp(t->lse, t->base_lse + token * t->s->heads, (size_t)(n * t->s->heads) * sizeof(float));
}

/* ---- Float64 ---- */

struct worst {
	double out, lse; /* the largest error as a part of what is allowed */
};

static void check_row(struct test *t, int64_t seq, int64_t i, int64_t head, struct worst *worst)
{
	const struct shape *s = t->s;
	const struct lengths *l = &t->all;
	int64_t token = l->q_begin[seq] + i, kv_head = head / (s->heads / s->kv_heads), begin, end;
	int64_t position = l->kv_len[seq] - (l->q_begin[seq + 1] - l->q_begin[seq]) + i;
	attention_visible(position, s->window, &begin, &end);
	static double x[32768], sum[512], size[512];
	double m = s->sinks ? t->sinks[head] : -INFINITY, all = 0;
	for (int64_t j = begin; j < end; j++) {
		size_t k = (size_t)(key_row(t, seq, kv_head, j) * s->d);
		double dot = 0;
		for (int64_t n = 0; n < s->d; n++)
			dot += (double)dtype_load(s->type, t->q, (size_t)((token * s->heads + head) * s->d + n)) *
			       (double)dtype_load(s->type, t->k, k + (size_t)n);
		x[j] = dot / sqrt((double)s->d);
		if (s->cap > 0)
			x[j] = s->cap * tanh(x[j] / s->cap);
		m = x[j] > m ? x[j] : m;
	}
	if (s->sinks)
		all = exp(t->sinks[head] - m);
	memset(sum, 0, sizeof sum);
	memset(size, 0, sizeof size);
	for (int64_t j = begin; j < end; j++) {
		size_t v = (size_t)(key_row(t, seq, kv_head, j) * s->d);
		double p = exp(x[j] - m);
		all += p;
		for (int64_t n = 0; n < s->d; n++) {
			double term = p * (double)dtype_load(s->type, t->v, v + (size_t)n);
			sum[n] += term;
			size[n] += fabs(term);
		}
	}
	for (int64_t n = 0; n < s->d; n++) {
		double right = all > 0 ? sum[n] / all : 0, scale = all > 0 ? size[n] / all : 0;
		double got = bf16_to_f32(t->base[(token * s->heads + head) * s->d + n]);
		/* Rounded to bf16 once, and each p to the cache's type before. */
		double part = fabs(got - right) / (fabs(right) / 256 + scale / 256 + 1e-9);
		worst->out = part > worst->out || isnan(part) ? part : worst->out;
	}
	double lse = all > 0 ? m + log(all) : -INFINITY, got = t->base_lse[token * s->heads + head];
	/* What is summed is what values are multiplied by: each p rounded to the cache's type. */
	double unit = s->type == DTYPE_BF16 ? 1.0 / 256 : s->type == DTYPE_F16 ? 1.0 / 2048 : 0;
	double part = lse == got ? 0 : fabs(got - lse) / (unit + 1e-4 + 1e-5 * fabs(lse));
	worst->lse = part > worst->lse || isnan(part) ? part : worst->lse;
}

static bool check_values(struct test *t)
{
	struct worst worst = { 0, 0 };
	for (int64_t seq = 0; seq < t->all.n_seqs; seq++) {
		int64_t q_len = t->all.q_begin[seq + 1] - t->all.q_begin[seq];
		for (int64_t i = 0; i < q_len; i++)
			for (int64_t head = 0; head < t->s->heads; head++)
				/* Of long sequences a few rows; every head of a few tokens. */
				if (t->all.kv_len[seq] < 200 || (head + i) % 5 == 0)
					check_row(t, seq, i, head, &worst);
	}
	printf("  error %.2f, lse %.2f of what is allowed;", worst.out, worst.lse);
	return worst.out < 1 && worst.lse < 1;
}

/* ---- Verdicts ---- */

static bool check_alone(struct test *t)
{
	bool good = true;
	for (int64_t s = 0; s < t->all.n_seqs; s += s < 10 ? 1 : 37) {
		int32_t q_len = t->all.q_begin[s + 1] - t->all.q_begin[s];
		struct lengths l = { .n_seqs = 1, .q_begin = { 0, q_len }, .kv_len = { t->all.kv_len[s] }, .seq = { (int32_t)s } };
		run(t, &l, t->all.q_begin[s], NULL);
		if (!same(t, t->all.q_begin[s], q_len)) {
			printf(" sequence %lld alone differs;", (long long)s);
			good = false;
		}
	}
	return good;
}

/* Each token by itself, all of them as sequences of one step; and a sequence in chunks. */
static bool check_tokens(struct test *t)
{
	bool good = true;
	for (int64_t s = 0; s < t->all.n_seqs && s < 8; s++) {
		int32_t first = t->all.q_begin[s], q_len = t->all.q_begin[s + 1] - first;
		for (int32_t chunk = 1; chunk < q_len && chunk < 40; chunk = chunk * 3 + 1) {
			struct lengths l = { .n_seqs = 0 };
			for (int32_t i = 0; i < q_len && l.n_seqs < MAX_SEQS; i += chunk) {
				int32_t n = q_len - i < chunk ? q_len - i : chunk;
				int32_t end = t->all.kv_len[s] - q_len + i + n;
				l.seq[l.n_seqs] = (int32_t)s;
				l.kv_len[l.n_seqs] = end > 0 ? end : 0;
				l.q_begin[l.n_seqs + 1] = l.q_begin[l.n_seqs] + n;
				/* Tokens before the first key: their place cannot be said by a length. */
				if (end < 0)
					l.q_begin[l.n_seqs + 1] = l.q_begin[l.n_seqs];
				l.n_seqs++;
			}
			if (t->all.kv_len[s] < q_len)
				continue;
			run(t, &l, first, NULL);
			if (!same(t, first, l.q_begin[l.n_seqs])) {
				printf(" sequence %lld in chunks of %d differs;", (long long)s, chunk);
				good = false;
			}
		}
	}
	return good;
}

/* One graph, captured with other lengths, replayed with those of the batch. */
static bool check_graph(struct test *t)
{
	struct gpu_graph *graph;
	struct lengths none = { .n_seqs = 0 };
	prepare(t, &none);
	GO(gpu_capture_begin(t->g));
	launch(t, 0);
	GO(gpu_capture_end(t->g, &graph));
	bool good = true;
	for (int i = 0; i < 3; i++) {
		run(t, i == 1 ? &none : &t->all, 0, graph);
		good = good && (i == 1 || same(t, 0, t->n_tokens));
	}
	gpu_graph_destroy(t->g, &graph);
	if (!good)
		printf(" a graph differs;");
	return good;
}

static bool check(struct gpu *g, const struct shape *s, int row)
{
	struct test t = { .g = g, .s = s };
	begin_test(&t, row);
	printf("%s: %lld/%lld x %lld %s page %lld window %lld%s%s, %d sequences\n", attention_cuda_set.rows[row].name,
	       (long long)s->heads, (long long)s->kv_heads, (long long)s->d, dtype_name(s->type), (long long)s->page,
	       (long long)s->window, s->cap > 0 ? " cap" : "", s->sinks ? " sinks" : "", s->n_seqs);
	run(&t, &t.all, 0, NULL);
	memcpy(t.base, t.out, (size_t)t.n_values * 2);
	memcpy(t.base_lse, t.lse, (size_t)(t.n_tokens * s->heads) * sizeof(float));
	bool good = check_values(&t);
	for (int wide = 0; wide < 2; wide++) {
		t.wide = wide;
		run(&t, &t.all, 0, NULL);
		if (!same(&t, 0, t.n_tokens)) {
			printf(wide ? " the wide one differs;" : " a second run differs;");
			good = false;
		}
		good &= check_alone(&t);
		good &= check_tokens(&t);
		good &= check_graph(&t);
	}
	printf(good ? " good\n" : " FAILED\n");
	fflush(stdout);
	end_test(&t);
	return good;
}

int main(int argc, char **argv)
{
	struct gpu *g;
	if (gpu_open(&g, 0) != VB_OK) {
		printf("skipped: %s\n", vb_errmsg());
		return 77;
	}
	int failed = 0, n = 0;
	for (int row = 0; row < attention_cuda_set.n_rows; row++) {
		if (argc > 1 && strcmp(argv[1], attention_cuda_set.rows[row].name) != 0)
			continue;
		for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
			struct attention_request r = { .n_heads = shapes[i].heads, .n_kv_heads = shapes[i].kv_heads,
						       .head_dim = shapes[i].d, .v_head_dim = shapes[i].d,
						       .q_type = shapes[i].type, .kv_type = shapes[i].type,
						       .out_type = DTYPE_BF16, .page_size = shapes[i].page, .max_q_len = 1 };
			if (attention_cuda_set.refuse(&r, row))
				continue;
			failed += !check(g, &shapes[i], row);
			n++;
		}
	}
	gpu_close(&g);
	printf("%d of %d cases failed\n", failed, n);
	return failed > 0;
}
