/* bench_attention_gpu.c - times attention on a GPU.
 *
 *     bench_attention_gpu [ROW [WHAT]]     WHAT: "decode", "prefill", ...: those shapes alone
 *
 * Each time is the median of graphs of several launches, over caches that together are larger than twice the GPU's L2 cache,
 * with 64-token pages in random order. TB/s are of keys and values that the queries see, each counted once. */
#include "base/status.h"
#include "hw/gpu.h"
#include "ops/attention_cuda.h"
#include "ops/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GRAPHS 15
#define CACHES_BYTES ((int64_t)256 << 20)

struct shape {
	const char *what;
	int64_t n_seqs, q_len, keys, heads, kv_heads, d, window, page;
};

static const struct shape shapes[] = {
	{ "decode", 64, 1, 4096, 32, 8, 128, 0, 64 },
	{ "decode", 256, 1, 1024, 32, 8, 128, 0, 64 },
	{ "decode", 1, 1, 32768, 32, 8, 128, 0, 64 },
	{ "decode", 1, 1, 4096, 32, 8, 128, 0, 64 },
	{ "decode", 1, 1, 1024, 32, 8, 128, 0, 64 },
	{ "decode", 16, 1, 16384, 64, 8, 128, 0, 64 },
	{ "decode", 256, 1, 512, 32, 8, 128, 0, 64 },
	{ "decode", 8, 1, 8192, 32, 8, 128, 0, 64 },
	{ "page 16", 64, 1, 4096, 32, 8, 128, 0, 16 },
	{ "page 8", 64, 1, 4096, 32, 8, 128, 0, 8 },
	{ "verify", 64, 5, 4096, 32, 8, 128, 0, 64 },
	{ "verify", 64, 9, 4096, 32, 8, 128, 0, 64 },
	{ "verify", 1, 5, 4096, 32, 8, 128, 0, 64 },
	{ "no window", 64, 1, 1024, 32, 8, 128, 0, 64 },
	{ "window", 64, 1, 32768, 32, 8, 128, 1024, 64 },
	{ "D 64", 64, 1, 4096, 64, 8, 64, 0, 64 },
	{ "D 256", 64, 1, 4096, 16, 8, 256, 0, 64 },
	{ "no groups", 64, 1, 4096, 8, 8, 128, 0, 64 },
	{ "prefill", 1, 2048, 2048, 32, 8, 128, 0, 64 },
	{ "prefill", 1, 8192, 8192, 32, 8, 128, 0, 64 },
	{ "chunk", 1, 512, 32768, 32, 8, 128, 0, 64 },
	{ "prefill", 1, 4096, 4096, 64, 8, 64, 0, 64 },
	{ "prefill", 1, 4096, 4096, 16, 8, 256, 0, 64 },
};

#define GO(expr)                                                                          \
	do {                                                                              \
		if ((expr) != VB_OK) {                                                    \
			printf("%s:%d: %s\n", __FILE__, __LINE__, vb_errmsg());           \
			exit(1);                                                          \
		}                                                                         \
	} while (0)

static uint32_t next(void)
{
	static uint64_t seed = 1;
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33);
}

static void *on_gpu(struct gpu *g, size_t bytes)
{
	void *p;
	GO(gpu_alloc(g, &p, bytes, "a benchmark"));
	return p;
}

/* bf16 values of about 1, the same block again and again. */
static void *random_values(struct gpu *g, int64_t n)
{
	static uint16_t block[1 << 20];
	if (!block[0])
		for (int i = 0; i < 1 << 20; i++)
			block[i] = (uint16_t)(0x3f80 + (next() & 0x807f) - (next() & 0x180));
	unsigned char *p = on_gpu(g, (size_t)n * 2);
	int64_t have = n < 1 << 20 ? n : 1 << 20;
	gpu_upload(g, p, block, (size_t)have * 2);
	for (; have < n; have *= 2)
		gpu_copy(g, p + have * 2, p, (size_t)(n - have < have ? n - have : have) * 2);
	return p;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void time_shape(struct gpu *g, const struct shape *s, int row)
{
	struct attention_request r = { .n_heads = s->heads, .n_kv_heads = s->kv_heads, .head_dim = s->d,
				       .v_head_dim = s->d, .q_type = DTYPE_BF16, .kv_type = DTYPE_BF16,
				       .out_type = DTYPE_BF16, .page_size = s->page, .window = s->window,
				       .max_q_len = s->q_len };
	int64_t width = (s->keys + s->page - 1) / s->page, n_pages = width * s->n_seqs, tokens = s->n_seqs * s->q_len;
	struct attention_limits l = { s->n_seqs, tokens, width, 1 };
	struct attention_cuda *a;
	GO(attention_cuda_create(g, row, &r, &l, &a));

	int64_t values = n_pages * s->kv_heads * s->page * s->d, seen = s->window && s->window < s->keys ? s->window : s->keys;
	int64_t bytes = s->n_seqs * seen * s->kv_heads * s->d * 4;
	int64_t n_caches = 1 + CACHES_BYTES / bytes;
	if (n_caches > 32)
		n_caches = 32;
	int64_t n_launches = n_caches < 6 ? 6 : n_caches;
	unsigned char *k = random_values(g, values * n_caches), *v = random_values(g, values * n_caches);
	void *q = random_values(g, tokens * s->heads * s->d), *out = on_gpu(g, (size_t)(tokens * s->heads * s->d) * 2);

	int32_t *table = malloc((size_t)n_pages * 4), *q_begin = calloc((size_t)s->n_seqs + 1, 4);
	int32_t *kv_len = malloc((size_t)s->n_seqs * 4);
	void *list = malloc(attention_cuda_plan_bytes(a) + 16);
	if (!table || !q_begin || !kv_len || !list)
		exit(1);
	for (int64_t i = 0; i < n_pages; i++) {
		int64_t j = next() % (uint32_t)(i + 1);
		table[i] = table[j];
		table[j] = (int32_t)i;
	}
	for (int64_t i = 0; i < s->n_seqs; i++) {
		q_begin[i + 1] = q_begin[i] + (int32_t)s->q_len;
		kv_len[i] = (int32_t)s->keys;
	}
	bool wide = attention_cuda_wide(s->n_seqs, q_begin);
	GO(attention_cuda_plan(a, wide, list, s->n_seqs, q_begin, kv_len));
	void *d_list = on_gpu(g, attention_cuda_plan_bytes(a) + 16), *d_table = on_gpu(g, (size_t)n_pages * 4);
	void *d_q_begin = on_gpu(g, (size_t)(s->n_seqs + 1) * 4), *d_kv_len = on_gpu(g, (size_t)s->n_seqs * 4);
	gpu_upload(g, d_list, list, attention_cuda_plan_bytes(a));
	gpu_upload(g, d_table, table, (size_t)n_pages * 4);
	gpu_upload(g, d_q_begin, q_begin, (size_t)(s->n_seqs + 1) * 4);
	gpu_upload(g, d_kv_len, kv_len, (size_t)s->n_seqs * 4);
	GO(gpu_sync(g));

	struct gpu_graph *graph;
	struct gpu_event *from, *to;
	GO(gpu_event_create(g, &from));
	GO(gpu_event_create(g, &to));
	GO(gpu_capture_begin(g));
	for (int64_t i = 0; i < n_launches; i++) {
		struct attention_args args = { .q = q, .k_cache = k + i % n_caches * values * 2,
					       .v_cache = v + i % n_caches * values * 2, .page_table = d_table,
					       .q_begin = d_q_begin, .kv_len = d_kv_len, .out = out, .n_seqs = s->n_seqs,
					       .table_stride = width, .q_stride = s->heads * s->d,
					       .out_stride = s->heads * s->d, .n_heads = s->heads,
					       .n_kv_heads = s->kv_heads, .head_dim = s->d, .v_head_dim = s->d,
					       .page_size = s->page, .window = s->window,
					       .scale = (float)(1 / sqrt((double)s->d)), .q_type = DTYPE_BF16,
					       .kv_type = DTYPE_BF16, .out_type = DTYPE_BF16 };
		attention_cuda_run(g, a, wide, d_list, &args);
	}
	GO(gpu_capture_end(g, &graph));
	double us[GRAPHS];
	for (int i = -2; i < GRAPHS; i++) {
		gpu_event_record(g, from);
		gpu_graph_launch(g, graph);
		gpu_event_record(g, to);
		GO(gpu_event_wait(g, to));
		if (i >= 0)
			us[i] = gpu_event_ms(g, from, to) * 1000 / (double)n_launches;
	}
	qsort(us, GRAPHS, sizeof *us, compare);

	double pairs = 0;
	for (int64_t i = 0; i < s->q_len; i++) {
		int64_t begin, end;
		attention_visible(s->keys - s->q_len + i, s->window, &begin, &end);
		pairs += (double)(end - begin);
	}
	double flops = pairs * (double)(4 * s->d * s->heads * s->n_seqs);
	printf("%-10s %4lldx%-6lld q %-5lld %3lld/%-2lld x %-3lld window %-5lld page %-3lld %9.1f us  %6.3f TB/s  %6.1f TFLOP/s\n",
	       s->what, (long long)s->n_seqs, (long long)s->keys, (long long)s->q_len, (long long)s->heads,
	       (long long)s->kv_heads, (long long)s->d, (long long)s->window, (long long)s->page, us[GRAPHS / 2],
	       (double)bytes / us[GRAPHS / 2] / 1e6, flops / us[GRAPHS / 2] / 1e6);
	fflush(stdout);
	gpu_graph_destroy(g, &graph);
	gpu_event_destroy(g, &from);
	gpu_event_destroy(g, &to);
	attention_cuda_destroy(g, &a);
	void *const of_gpu[] = { k, v, q, out, d_list, d_table, d_q_begin, d_kv_len };
	for (size_t i = 0; i < sizeof of_gpu / sizeof *of_gpu; i++)
		gpu_free(g, of_gpu[i]);
	free(table), free(q_begin), free(kv_len), free(list);
}

int main(int argc, char **argv)
{
	struct gpu *g;
	if (gpu_open(&g, 0) != VB_OK) {
		printf("%s\n", vb_errmsg());
		return 1;
	}
	int row = attention_cuda_set.n_rows - 1;
	while (argc > 1 && row > 0 && strcmp(argv[1], attention_cuda_set.rows[row].name) != 0)
		row--;
	printf("%s: %s\n", gpu_facts(g)->name, attention_cuda_set.rows[row].name);
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		if (argc < 3 || strcmp(argv[2], shapes[i].what) == 0)
			time_shape(g, &shapes[i], row);
	gpu_close(&g);
	return 0;
}
