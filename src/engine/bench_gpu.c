/* bench_gpu.c - a GPU's limits, and one kernel against them.
 *
 * Runs are captured as a graph over so many copies of weights or keys that no cache holds them between two uses, and the
 * graph is timed by the GPU's own events: what the host does is not in the figures. Medians.
 */
#include "bench_gpu.h"

#include "base/mem.h"
#include "base/status.h"
#include "ops/attention_cuda.h"
#include "ops/cuda_ops.h"

#include <string.h>

#define COPY_BYTES ((size_t)1 << 30)
/* More than twice the second-level cache of any GPU so far. */
#define WORKING_SET ((size_t)256 << 20)
#define MAX_COPIES 512
#define LIMIT_REPEAT 9
#define PATTERN_BYTES ((size_t)1 << 20)

int gpu_bench_create(struct gpu_bench *b, int index)
{
	*b = (struct gpu_bench){ 0 };
	TRY(gpu_open(&b->gpu, index));
	TRY(gpu_event_create(b->gpu, &b->begin));
	return gpu_event_create(b->gpu, &b->end);
}

void gpu_bench_destroy(struct gpu_bench *b)
{
	if (!b->gpu)
		return;
	for (int i = 0; i < b->n_memory; i++)
		gpu_free(b->gpu, b->memory[i]);
	gpu_event_destroy(b->gpu, &b->begin);
	gpu_event_destroy(b->gpu, &b->end);
	gpu_close(&b->gpu);
}

static int take(struct gpu_bench *b, void **out, size_t bytes)
{
	CHECK(b->n_memory < GPU_BENCH_MEMORY);
	TRY(gpu_alloc(b->gpu, out, bytes, "a benchmark"));
	b->memory[b->n_memory++] = *out;
	return VB_OK;
}

/* Small numbers of both signs all over: products of random bits could overflow, and zeros run faster than real data. */
static int fill(struct gpu_bench *b, void *data, size_t bytes, enum dtype type, float scale)
{
	char *pattern = mem_alloc(PATTERN_BYTES);
	if (!pattern)
		return VB_ENOMEM;
	for (size_t i = 0; i < PATTERN_BYTES / dtype_bytes(type); i++)
		dtype_store(type, pattern, i, ((float)((i * 2654435761u >> 16) & 1023) - 511.5f) / 512.0f * scale);
	for (size_t done = 0; done < bytes; done += PATTERN_BYTES)
		gpu_upload(b->gpu, (char *)data + done, pattern, bytes - done < PATTERN_BYTES ? bytes - done : PATTERN_BYTES);
	int rc = gpu_sync(b->gpu);
	mem_free(pattern);
	return rc;
}

/* Median seconds of one of `runs` runs, of which the graph is made. */
static int time_graph(struct gpu_bench *b, struct gpu_graph *graph, int runs, int repeat, double *seconds)
{
	double *figures = mem_calloc((size_t)repeat, sizeof *figures);
	if (!figures)
		return VB_ENOMEM;
	int rc;
	for (int i = -2; i < repeat; i++) { /* two to warm up */
		gpu_event_record(b->gpu, b->begin);
		gpu_graph_launch(b->gpu, graph);
		gpu_event_record(b->gpu, b->end);
		TRY_TO(out, gpu_sync(b->gpu));
		if (i >= 0)
			figures[i] = gpu_event_ms(b->gpu, b->begin, b->end) / 1e3 / runs;
	}
	*seconds = spread_of(figures, repeat).median;
	rc = VB_OK;
out:
	mem_free(figures);
	return rc;
}

/* Enqueues run `i`, on the copy that is its turn. */
typedef void enqueue_fn(struct gpu_bench *b, void *context, int i);

static int time_runs(struct gpu_bench *b, enqueue_fn *enqueue, void *context, int runs, int repeat, double *seconds)
{
	struct gpu_graph *graph = NULL;
	enqueue(b, context, 0); /* once outside, so that what a kernel meets first is no part of the figure */
	TRY(gpu_sync(b->gpu));
	TRY(gpu_capture_begin(b->gpu));
	for (int i = 0; i < runs; i++)
		enqueue(b, context, i);
	TRY(gpu_capture_end(b->gpu, &graph));
	int rc = time_graph(b, graph, runs, repeat, seconds);
	gpu_graph_destroy(b->gpu, &graph);
	return rc;
}

/* ---- Limits ---- */

struct copying {
	char *from, *to;
};

static void enqueue_copy(struct gpu_bench *b, void *context, int i)
{
	const struct copying *c = context;
	(void)i;
	gpu_copy(b->gpu, c->to, c->from, COPY_BYTES);
}

struct multiplying {
	struct limits_cuda kernel;
	float *out;
};

static void enqueue_multiply(struct gpu_bench *b, void *context, int i)
{
	const struct multiplying *m = context;
	(void)i;
	limits_cuda_run(b->gpu, &m->kernel, m->out);
}

static int measure_matrix(struct gpu_bench *b, enum dtype type, double *flops_s)
{
	struct multiplying m;
	double seconds;
	TRY(limits_cuda_find(b->gpu, type, &m.kernel));
	TRY(take(b, (void **)&m.out, (size_t)m.kernel.out_floats * sizeof *m.out));
	TRY(time_runs(b, enqueue_multiply, &m, 1, LIMIT_REPEAT, &seconds));
	*flops_s = m.kernel.flops / seconds;
	return VB_OK;
}

int gpu_bench_limits(struct gpu_bench *b)
{
	struct copying c;
	double seconds;
	TRY(take(b, (void **)&c.from, COPY_BYTES));
	TRY(take(b, (void **)&c.to, COPY_BYTES));
	TRY(fill(b, c.from, COPY_BYTES, DTYPE_F32, 1));
	TRY(time_runs(b, enqueue_copy, &c, 1, LIMIT_REPEAT, &seconds));
	b->copy_bytes_s = 2.0 * (double)COPY_BYTES / seconds;
	gpu_free(b->gpu, b->memory[--b->n_memory]);
	gpu_free(b->gpu, b->memory[--b->n_memory]);
	TRY(measure_matrix(b, DTYPE_BF16, &b->bf16_flops_s));
	return measure_matrix(b, DTYPE_F16, &b->f16_flops_s);
}

static double matrix_rate(const struct gpu_bench *b, enum dtype type)
{
	return type == DTYPE_F16 ? b->f16_flops_s : b->bf16_flops_s;
}

/* What a kernel did, beside the roofline's time for it. */
static json_t *kernel_json(const struct gpu_bench *b, const char *kernel, enum dtype type, double bytes, double flops,
			   double took)
{
	double move_s = bytes / b->copy_bytes_s, multiply_s = flops / matrix_rate(b, type);
	return json_pack("{s:s, s:s, s:s, s:f, s:I, s:I, s:f, s:f, s:f, s:s}", "backend", kernel, "device",
			 gpu_facts(b->gpu)->name, "dtype", dtype_name(type), "time_us", took * 1e6, "bytes",
			 (json_int_t)bytes, "flops", (json_int_t)flops, "tb_s", bytes / took / 1e12, "tflop_s",
			 flops / took / 1e12, "limit_fraction", (move_s > multiply_s ? move_s : multiply_s) / took, "limit",
			 move_s > multiply_s ? "memory" : "matrix");
}

json_t *gpu_bench_limits_json(const struct gpu_bench *b)
{
	return json_pack("{s:s, s:f, s:{s:f, s:f}}", "device", gpu_facts(b->gpu)->name, "memory_copy_tb_s",
			 b->copy_bytes_s / 1e12, "matrix_tflop_s", "bf16", b->bf16_flops_s / 1e12, "f16",
			 b->f16_flops_s / 1e12);
}

/* How often the same work is done in one graph: over all copies, and long enough for the events. */
static int runs_for(int64_t n_copies)
{
	return (int)(n_copies < 8 ? 8 : n_copies);
}

static int64_t copies_for(size_t bytes)
{
	size_t n = 1 + WORKING_SET / (bytes ? bytes : 1);
	return n > MAX_COPIES ? MAX_COPIES : (int64_t)n;
}

/* ---- linear ---- */

struct linear_runs {
	struct linear_cuda kernel;
	struct linear_args args;
	char *weights;
	size_t matrix_bytes;
	int64_t n_copies;
};

static void enqueue_linear(struct gpu_bench *b, void *context, int i)
{
	struct linear_runs *l = context;
	l->args.w = l->weights + (size_t)(i % l->n_copies) * l->matrix_bytes;
	linear_cuda_run(b->gpu, &l->kernel, &l->args);
}

int gpu_bench_linear(struct gpu_bench *b, int64_t m, int64_t n, int64_t k, enum dtype type, int repeat, json_t **out)
{
	struct linear_request r = { .x_type = type, .w_type = type, .n = n, .k = k };
	struct linear_runs l = { .args = { .t = m, .n = n, .k = k, .x_stride = k, .y_stride = n, .x_type = type,
					   .w_type = type } };
	struct pick pick;
	void *x;
	double took;
	TRY(linear_pick(hw_gpu_isa(gpu_facts(b->gpu)), &r, NULL, &pick));
	TRY(linear_cuda_find(b->gpu, pick.row, &r, &l.kernel));
	size_t element = dtype_bytes(type);
	l.matrix_bytes = (size_t)(n * k) * element;
	l.n_copies = copies_for(l.matrix_bytes);
	TRY(take(b, (void **)&l.weights, l.matrix_bytes * (size_t)l.n_copies));
	TRY(take(b, &x, (size_t)(m * k) * element));
	TRY(take(b, (void **)&l.args.y, (size_t)(m * n) * sizeof(float)));
	TRY(fill(b, l.weights, l.matrix_bytes * (size_t)l.n_copies, type, 0.05f));
	TRY(fill(b, x, (size_t)(m * k) * element, type, 1));
	l.args.x = x;
	TRY(time_runs(b, enqueue_linear, &l, runs_for(l.n_copies), repeat, &took));
	double bytes = (double)l.matrix_bytes + (double)(m * k) * (double)element + (double)(m * n) * sizeof(float);
	json_t *o = kernel_json(b, pick.kernel, type, bytes, 2.0 * (double)m * (double)n * (double)k, took);
	if (o)
		json_object_update_new(o, json_pack("{s:I, s:I, s:I}", "m", (json_int_t)m, "n", (json_int_t)n, "k",
						    (json_int_t)k));
	*out = o;
	return o ? VB_OK : VB_ENOMEM;
}

/* ---- attention ---- */

struct attention_runs {
	struct attention_cuda *kernel;
	struct attention_args args;
	bool wide;
	void *block;
	char *k, *v;
	size_t k_bytes, v_bytes;
	int64_t n_copies;
};

static void enqueue_attention(struct gpu_bench *b, void *context, int i)
{
	struct attention_runs *r = context;
	size_t copy = (size_t)(i % r->n_copies);
	r->args.k_cache = r->k + copy * r->k_bytes;
	r->args.v_cache = r->v + copy * r->v_bytes;
	attention_cuda_run(b->gpu, r->kernel, r->wide, r->block, &r->args);
}

/* The step's arrays: sequences of one length, pages anywhere. */
static int put_step(struct gpu_bench *b, const struct vb_bench_attention_spec *s, struct attention_runs *r,
		    const struct attention_limits *limits)
{
	int64_t n_pages = s->batch * limits->table_width;
	size_t block_bytes = attention_cuda_plan_bytes(r->kernel);
	int32_t *table = mem_calloc((size_t)n_pages, sizeof *table);
	int32_t *lengths = mem_calloc((size_t)s->batch * 2 + 1, sizeof *lengths);
	void *block = mem_calloc(1, block_bytes);
	void *device_table, *device_lengths;
	int rc;
	if (!table || !lengths || !block)
		FAIL_TO(out, VB_ENOMEM, "out of memory: bench attention");
	for (int64_t i = 0; i < n_pages; i++) {
		int64_t j = (int64_t)((uint64_t)i * 2654435761u % (uint64_t)(i + 1));
		table[i] = table[j];
		table[j] = (int32_t)i;
	}
	int32_t *q_begin = lengths, *kv_len = lengths + s->batch + 1;
	for (int64_t i = 0; i < s->batch; i++) {
		q_begin[i + 1] = (int32_t)((i + 1) * s->q_len);
		kv_len[i] = (int32_t)s->kv_len;
	}
	TRY_TO(out, take(b, &device_table, (size_t)n_pages * sizeof *table));
	TRY_TO(out, take(b, &device_lengths, ((size_t)s->batch * 2 + 1) * sizeof *lengths));
	TRY_TO(out, take(b, &r->block, block_bytes));
	r->wide = attention_cuda_wide(s->batch, q_begin);
	TRY_TO(out, attention_cuda_plan(r->kernel, r->wide, block, s->batch, q_begin, kv_len));
	gpu_upload(b->gpu, device_table, table, (size_t)n_pages * sizeof *table);
	gpu_upload(b->gpu, device_lengths, lengths, ((size_t)s->batch * 2 + 1) * sizeof *lengths);
	gpu_upload(b->gpu, r->block, block, block_bytes);
	rc = gpu_sync(b->gpu);
	r->args.page_table = device_table;
	r->args.q_begin = device_lengths;
	r->args.kv_len = (int32_t *)device_lengths + s->batch + 1;
out:
	mem_free(table);
	mem_free(lengths);
	mem_free(block);
	return rc;
}

static void count(const struct vb_bench_attention_spec *s, size_t element, double *bytes, double *flops)
{
	double pairs = 0, first = 0, width = (double)(s->head_dim + s->v_head_dim);
	for (int64_t i = 0; i < s->q_len; i++) {
		double sees = (double)(s->kv_len - s->q_len + i + 1);
		if (s->window && sees > (double)s->window)
			sees = (double)s->window;
		first = i ? first : sees;
		pairs += sees;
	}
	double keys = first + (double)(s->q_len - 1);
	*bytes = (double)s->batch * width * (double)element *
		 (keys * (double)s->n_kv_heads + (double)s->q_len * (double)s->n_heads);
	*flops = 2 * (double)s->batch * pairs * (double)s->n_heads * width;
}

static int run_attention(struct gpu_bench *b, const struct vb_bench_attention_spec *s, enum dtype type,
			 struct attention_runs *r, json_t **out)
{
	struct attention_request request = {
		.n_heads = s->n_heads, .n_kv_heads = s->n_kv_heads, .head_dim = s->head_dim, .v_head_dim = s->v_head_dim,
		.q_type = type, .kv_type = type, .out_type = type, .page_size = s->page_size, .window = s->window,
		.max_q_len = s->q_len,
	};
	struct attention_limits limits = { .max_seqs = s->batch, .max_tokens = s->batch * s->q_len,
					   .table_width = (s->kv_len + s->page_size - 1) / s->page_size, .n_workers = 1 };
	struct pick pick;
	size_t element = dtype_bytes(type);
	TRY(attention_pick(hw_gpu_isa(gpu_facts(b->gpu)), &request, s->kernel, &pick));
	TRY(attention_cuda_create(b->gpu, pick.row, &request, &limits, &r->kernel));
	size_t tokens = (size_t)(s->batch * limits.table_width * s->page_size) * (size_t)s->n_kv_heads * element;
	size_t rows = (size_t)(s->batch * s->q_len * s->n_heads) * element;
	r->k_bytes = tokens * (size_t)s->head_dim;
	r->v_bytes = tokens * (size_t)s->v_head_dim;
	r->n_copies = copies_for(r->k_bytes + r->v_bytes);
	void *q, *result;
	TRY(take(b, (void **)&r->k, r->k_bytes * (size_t)r->n_copies));
	TRY(take(b, (void **)&r->v, r->v_bytes * (size_t)r->n_copies));
	TRY(take(b, &q, rows * (size_t)s->head_dim));
	TRY(take(b, &result, rows * (size_t)s->v_head_dim));
	TRY(fill(b, r->k, r->k_bytes * (size_t)r->n_copies, type, 1));
	TRY(fill(b, r->v, r->v_bytes * (size_t)r->n_copies, type, 1));
	TRY(fill(b, q, rows * (size_t)s->head_dim, type, 1));
	r->args = (struct attention_args){
		.q = q, .out = result, .n_seqs = s->batch, .table_stride = limits.table_width,
		.q_stride = s->n_heads * s->head_dim, .out_stride = s->n_heads * s->v_head_dim, .n_heads = s->n_heads,
		.n_kv_heads = s->n_kv_heads, .head_dim = s->head_dim, .v_head_dim = s->v_head_dim,
		.page_size = s->page_size, .window = s->window, .scale = 0.08838835f, .q_type = type, .kv_type = type,
		.out_type = type,
	};
	TRY(put_step(b, s, r, &limits));
	double took, bytes, flops;
	TRY(time_runs(b, enqueue_attention, r, runs_for(r->n_copies), s->repeat, &took));
	count(s, element, &bytes, &flops);
	*out = kernel_json(b, pick.kernel, type, bytes, flops, took);
	return *out ? VB_OK : VB_ENOMEM;
}

int gpu_bench_attention(struct gpu_bench *b, const struct vb_bench_attention_spec *s, enum dtype type, json_t **out)
{
	struct attention_runs r = { 0 };
	int rc = run_attention(b, s, type, &r, out);
	attention_cuda_destroy(b->gpu, &r.kernel);
	return rc;
}

/* ---- The memory's speed, beside a model ---- */

/* Half of what is free, at most. */
static int copy_bytes(struct gpu *g, size_t *bytes)
{
	uint64_t available, total;
	TRY(gpu_memory(g, &available, &total));
	*bytes = available / 4 < COPY_BYTES ? (size_t)(available / 4) : COPY_BYTES;
	return VB_OK;
}

int gpu_copy_speed(struct gpu *g, double *bytes_s)
{
	struct gpu_event *begin = NULL, *end = NULL;
	void *from = NULL, *to = NULL;
	double figures[LIMIT_REPEAT];
	size_t bytes = 0;
	int rc;
	TRY_TO(out, copy_bytes(g, &bytes));
	TRY_TO(out, gpu_alloc(g, &from, bytes, "measuring the memory"));
	TRY_TO(out, gpu_alloc(g, &to, bytes, "measuring the memory"));
	TRY_TO(out, gpu_event_create(g, &begin));
	TRY_TO(out, gpu_event_create(g, &end));
	gpu_fill(g, from, 0x3c, bytes);
	gpu_copy(g, to, from, bytes);
	for (int i = 0; i < LIMIT_REPEAT; i++) {
		gpu_event_record(g, begin);
		gpu_copy(g, to, from, bytes);
		gpu_event_record(g, end);
		TRY_TO(out, gpu_sync(g));
		figures[i] = 2.0 * (double)bytes / (gpu_event_ms(g, begin, end) / 1e3);
	}
	*bytes_s = spread_of(figures, LIMIT_REPEAT).median;
	rc = VB_OK;
out:
	gpu_event_destroy(g, &begin);
	gpu_event_destroy(g, &end);
	gpu_free(g, from);
	gpu_free(g, to);
	return rc;
}

int gpu_matrix_speed(struct gpu *g, enum dtype type, double *flops_s)
{
	struct gpu_event *begin = NULL, *end = NULL;
	struct limits_cuda k;
	void *out = NULL;
	double figures[LIMIT_REPEAT];
	int rc;
	*flops_s = 0;
	if (type == DTYPE_F32)
		return VB_OK;
	TRY(limits_cuda_find(g, type, &k));
	TRY_TO(done, gpu_alloc(g, &out, (size_t)k.out_floats * sizeof(float), "measuring the matrix units"));
	TRY_TO(done, gpu_event_create(g, &begin));
	TRY_TO(done, gpu_event_create(g, &end));
	limits_cuda_run(g, &k, out);
	for (int i = 0; i < LIMIT_REPEAT; i++) {
		gpu_event_record(g, begin);
		limits_cuda_run(g, &k, out);
		gpu_event_record(g, end);
		TRY_TO(done, gpu_sync(g));
		figures[i] = k.flops / (gpu_event_ms(g, begin, end) / 1e3);
	}
	*flops_s = spread_of(figures, LIMIT_REPEAT).median;
	rc = VB_OK;
done:
	gpu_event_destroy(g, &begin);
	gpu_event_destroy(g, &end);
	gpu_free(g, out);
	return rc;
}
