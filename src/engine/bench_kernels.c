/* bench_kernels.c - the machine's limits, and one kernel against them. */
#include "bench_gpu.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "ops/kernels.h"
#include "ops/limits_measure.h"

#include <string.h>

/* What weights are read from in one repeat: more than caches hold, as in a model, where each is read once a step. */
#define WORKING_SET ((uint64_t)512 << 20)

/* The machine, its team and its limits: what every benchmark of a kernel starts from. */
struct bench {
	struct setup setup;
	struct team *team;
	struct limits limits;
};

static int bench_create(struct bench *b, const struct vb_options *options)
{
	*b = (struct bench){ 0 };
	TRY(setup_machine(&b->setup, options, NULL));
	TRY(team_create(&b->team, b->setup.n_threads));
	const struct limits_setup on = { .team = b->team, .isa = b->setup.isa, .memory = b->setup.facts.memory };
	int rc = limits_measure(&on, &b->limits);
	if (rc != VB_OK)
		team_destroy(&b->team);
	return rc;
}

static int give_json(json_t *o, char **json)
{
	*json = o ? json_text(o) : NULL;
	json_decref(o);
	if (!*json)
		FAIL(VB_ENOMEM, "out of memory: JSON");
	return VB_OK;
}

/* The GPU that the options name, with its limits measured: *gpu is false where they name the CPU. */
static int open_gpu(const struct vb_options *options, struct gpu_bench *b, bool *gpu)
{
	struct setup s = { 0 };
	*b = (struct gpu_bench){ 0 };
	TRY(setup_machine(&s, options, NULL));
	*gpu = s.gpu >= 0;
	if (!*gpu)
		return VB_OK;
	int rc = gpu_bench_create(b, s.gpu);
	if (rc == VB_OK)
		rc = gpu_bench_limits(b);
	if (rc != VB_OK)
		gpu_bench_destroy(b);
	return rc;
}

int vb_bench_limits(const struct vb_options *options, char **json)
{
	if (!json)
		FAIL(VB_EINVAL, "invalid call: vb_bench_limits: json must not be NULL");
	*json = NULL;
	struct gpu_bench g;
	bool gpu;
	TRY(open_gpu(options, &g, &gpu));
	if (gpu) {
		json_t *answer = gpu_bench_limits_json(&g);
		gpu_bench_destroy(&g);
		return give_json(answer, json);
	}
	struct bench b;
	TRY(bench_create(&b, options));
	json_t *o = json_pack("{s:s, s:i, s:f, s:{s:f, s:f, s:f}}", "device", "cpu", "threads", team_size(b.team),
			      "memory_read_tb_s", b.limits.read_bytes_s / 1e12, "matrix_tflop_s", "f32",
			      b.limits.f32_flops_s / 1e12, "bf16", b.limits.bf16_flops_s / 1e12, "f16",
			      limits_flops_s(&b.limits, DTYPE_F16) / 1e12);
	team_destroy(&b.team);
	return give_json(o, json);
}

/* ---- linear ---- */

struct linear_bench {
	linear_fn *fn;
	struct linear_args args;
	char *weights; /* n_copies matrices, one after another */
	int64_t n_copies, next, matrix_bytes;
};

/* As a program runs it: a worker takes a run of outputs. */
static void run_linear(void *context, int index, int n_workers)
{
	const struct linear_args *a = &((struct linear_bench *)context)->args;
	int64_t begin, end;
	team_share(a->n, 16, index, n_workers, &begin, &end);
	((struct linear_bench *)context)->fn(a, begin, end);
}

/* Small numbers, the same on every run: products of random bits could overflow, and some kernels are slow at that. */
static void fill(void *context, int index, int n_workers)
{
	struct linear_bench *l = context;
	int64_t begin, end;
	team_share(l->n_copies * l->args.n * l->args.k, 4096, index, n_workers, &begin, &end);
	for (int64_t i = begin; i < end; i++)
		dtype_store(l->args.w_type, l->weights, (size_t)i, (float)(i % 251 - 125) / 1024.0f);
}

/* One product, on the next copy of the weights. */
static void run_next(struct team *team, struct linear_bench *l)
{
	l->args.w = l->weights + l->next * l->matrix_bytes;
	l->next = (l->next + 1) % l->n_copies;
	team_run(team, run_linear, l);
}

/* Median seconds of one product. A repeat takes at least a millisecond, or the clock would be measured too. */
static double time_linear(struct team *team, struct linear_bench *l, double *seconds, int repeat)
{
	double start = clock_s();
	run_next(team, l);
	run_next(team, l);
	double estimate = (clock_s() - start) / 2;
	int64_t runs = 1 + (int64_t)(1e-3 / (estimate > 1e-8 ? estimate : 1e-8));
	for (int i = 0; i < repeat; i++) {
		start = clock_s();
		for (int64_t k = 0; k < runs; k++)
			run_next(team, l);
		seconds[i] = (clock_s() - start) / (double)runs;
	}
	return spread_of(seconds, repeat).median;
}

static int parse_type(const char *name, enum dtype *out)
{
	static const enum dtype types[] = { DTYPE_F32, DTYPE_BF16, DTYPE_F16 };
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (strcmp(name, dtype_name(types[i])) == 0) {
			*out = types[i];
			return VB_OK;
		}
	FAIL(VB_EINVAL, "unknown --dtype: %s: use bf16, f16 or f32", name);
}

static json_t *linear_json(const struct bench *b, const struct linear_bench *l, const struct pick *pick, double took)
{
	const struct linear_args *a = &l->args;
	double bytes = (double)l->matrix_bytes + (double)(a->t * a->k) * (double)dtype_bytes(a->x_type) +
		       (double)(a->t * a->n) * sizeof(float);
	double flops = 2.0 * (double)a->t * (double)a->n * (double)a->k;
	double read_s = bytes / b->limits.read_bytes_s, multiply_s = flops / limits_flops_s(&b->limits, a->x_type);
	return json_pack("{s:s, s:s, s:s, s:i, s:I, s:I, s:I, s:f, s:I, s:I, s:f, s:f, s:f, s:s}", "backend",
			 pick->kernel, "device", "cpu", "dtype", dtype_name(a->x_type), "threads", b->setup.n_threads,
			 "m", (json_int_t)a->t, "n", (json_int_t)a->n, "k", (json_int_t)a->k, "time_us", took * 1e6,
			 "bytes", (json_int_t)bytes, "flops", (json_int_t)flops, "tb_s", bytes / took / 1e12, "tflop_s", flops / took / 1e12,
			 "limit_fraction", (read_s > multiply_s ? read_s : multiply_s) / took, "limit",
			 read_s > multiply_s ? "memory" : "matrix");
}

static int bench_linear(struct bench *b, struct linear_bench *l, int repeat, char **json)
{
	struct linear_args *a = &l->args;
	const struct linear_request request = { .x_type = a->x_type, .w_type = a->w_type, .n = a->n, .k = a->k };
	struct pick pick;
	TRY(linear_pick(b->setup.isa, &request, NULL, &pick));
	l->fn = linear_kernel(pick.row)->run;
	l->matrix_bytes = a->n * a->k * (int64_t)dtype_bytes(a->w_type);
	uint64_t room = b->setup.facts.memory / 4 < WORKING_SET ? b->setup.facts.memory / 4 : WORKING_SET;
	l->n_copies = 1 + (int64_t)(room / (uint64_t)l->matrix_bytes);
	size_t weight_bytes = (size_t)(l->n_copies * l->matrix_bytes), x_bytes = (size_t)(a->t * a->k) * dtype_bytes(a->x_type);
	size_t y_bytes = (size_t)(a->t * a->n) * sizeof(float);
	if (weight_bytes + x_bytes + y_bytes > b->setup.facts.memory)
		FAIL(VB_ELIMIT, "not enough memory: bench linear needs %.1f MiB: choose a smaller --m, --n or --k",
		     (double)(weight_bytes + x_bytes + y_bytes) / 0x1p20);
	l->weights = mem_pages(weight_bytes);
	void *x = mem_pages(x_bytes);
	float *y = mem_pages(y_bytes);
	double *seconds = mem_calloc((size_t)repeat, sizeof *seconds);
	int rc = l->weights && x && y && seconds ? VB_OK : VB_ENOMEM;
	if (rc == VB_OK) {
		team_run(b->team, fill, l);
		for (int64_t i = 0; i < a->t * a->k; i++)
			dtype_store(a->x_type, x, (size_t)i, (float)(i % 127 - 63) / 256.0f);
		a->x = x;
		a->y = y;
		rc = give_json(linear_json(b, l, &pick, time_linear(b->team, l, seconds, repeat)), json);
	}
	mem_free(seconds);
	mem_free_pages(y, y_bytes);
	mem_free_pages(x, x_bytes);
	mem_free_pages(l->weights, weight_bytes);
	return rc;
}

int vb_bench_linear(const struct vb_options *options, int64_t m, int64_t n, int64_t k, const char *dtype, int repeat,
		    char **json)
{
	if (!json || !dtype)
		FAIL(VB_EINVAL, "invalid call: vb_bench_linear: dtype and json must not be NULL");
	*json = NULL;
	const int64_t most = (int64_t)1 << 24;
	if (m < 1 || n < 1 || k < 1 || m > most || n > most || k > most || repeat < 1 || repeat > 100000)
		FAIL(VB_EINVAL, "out of range: bench linear: use 1 to %lld for m, n and k, 1 to 100000 for repeat",
		     (long long)most);
	enum dtype type = DTYPE_F32; /* as gcc 12 does not see that parse_type sets it */
	TRY(parse_type(dtype, &type));
	struct gpu_bench g;
	bool gpu;
	TRY(open_gpu(options, &g, &gpu));
	if (gpu) {
		json_t *answer = NULL;
		int failed = gpu_bench_linear(&g, m, n, k, type, repeat, &answer);
		gpu_bench_destroy(&g);
		return failed ? failed : give_json(answer, json);
	}
	struct linear_bench l = {
		.args = { .t = m, .n = n, .k = k, .x_stride = k, .y_stride = n, .x_type = type, .w_type = type },
	};
	struct bench b;
	TRY(bench_create(&b, options));
	int rc = bench_linear(&b, &l, repeat, json);
	team_destroy(&b.team);
	return rc;
}

/* ---- attention ---- */

int vb_bench_attention(const struct vb_options *options, const struct vb_bench_attention_spec *s, char **json)
{
	if (!json || !s || s->size != sizeof *s || !s->dtype)
		FAIL(VB_EINVAL, "invalid call: vb_bench_attention: spec.size or an argument that is NULL");
	*json = NULL;
	enum dtype type = DTYPE_BF16;
	TRY(parse_type(s->dtype, &type));
	if (s->batch < 1 || s->q_len < 1 || s->kv_len < s->q_len || s->repeat < 1)
		FAIL(VB_EINVAL, "out of range: bench attention: batch, q_len and repeat must be positive, kv_len at least q_len");
	struct gpu_bench g;
	bool gpu;
	TRY(open_gpu(options, &g, &gpu));
	if (!gpu)
		FAIL(VB_EUNSUPPORTED, "no GPU to measure: vb_bench_attention: on a CPU use verbatim/attention.h");
	json_t *answer = NULL;
	int failed = gpu_bench_attention(&g, s, type, &answer);
	gpu_bench_destroy(&g);
	return failed ? failed : give_json(answer, json);
}
