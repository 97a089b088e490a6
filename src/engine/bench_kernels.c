/* bench_kernels.c - the machine's limits, and one kernel against them. */
#include "bench_gpu.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "ops/kernels.h"
#include "ops/limits_measure.h"
#include "ops/linear_rows.h"

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
	json_t *o = json_pack("{s:s, s:i, s:f, s:{s:f, s:f, s:f, s:f}}", "device", "cpu", "threads", team_size(b.team),
			      "memory_read_tb_s", b.limits.read_bytes_s / 1e12, "matrix_tflop_s", "f32",
			      b.limits.f32_flops_s / 1e12, "bf16", b.limits.bf16_flops_s / 1e12, "f16",
			      limits_flops_s(&b.limits, DTYPE_F16) / 1e12, "int8", b.limits.int8_ops_s / 1e12);
	team_destroy(&b.team);
	return give_json(o, json);
}

/* ---- linear ---- */

struct linear_bench {
	const struct linear_kernel *kernel;
	struct linear_request request;
	struct linear_args args;
	struct weight_matrix matrix; /* canonical; of a kernel without a layout of its own, n_copies of them, one after another */
	char *canonical, *packed, *scratch; /* packed: n_copies matrices, one after another, or NULL */
	size_t canonical_bytes, packed_bytes, scratch_bytes;
	int64_t n_copies, next, matrix_bytes;
	struct linear_rows rows;
};

static void run_rows(const void *context, int64_t begin, int64_t end)
{
	const struct linear_bench *l = context;
	l->kernel->run(&l->args, begin, end);
}

/* As a program runs it. */
static void run_linear(void *context, int index, int n_workers)
{
	const struct linear_bench *l = context;
	linear_rows_run(&l->rows, index, n_workers, run_rows, l);
}

static void prepare_linear(void *context, int index, int n_workers)
{
	const struct linear_bench *l = context;
	int64_t begin, end;
	team_share(l->args.t, LINEAR_PREPARE_GRAIN, index, n_workers, &begin, &end);
	if (begin < end)
		l->kernel->prepare(&l->args, begin, end);
}

/* Small numbers, the same on every run: products of random bits could overflow, and some kernels are slow at that. */
static void fill(void *context, int index, int n_workers)
{
	struct linear_bench *l = context;
	int64_t begin, end, each = l->matrix.format == WEIGHT_DENSE ? l->args.n * l->args.k : (int64_t)l->canonical_bytes;
	team_share(l->kernel->pack ? each : l->n_copies * each, 4096, index, n_workers, &begin, &end);
	for (int64_t i = begin; i < end; i++)
		if (l->matrix.format == WEIGHT_DENSE)
			dtype_store(l->args.w_type, l->canonical, (size_t)i, (float)(i % 251 - 125) / 1024.0f);
		else
			l->canonical[i] = (char)(i % 101 + 4); /* scales too: 4 to 104 and the like are small f16 */
}

/* Each worker packs what it will read, of every copy. */
static void pack_linear(void *context, int index, int n_workers)
{
	const struct linear_bench *l = context;
	int64_t begin, end, panel = l->kernel->panel;
	linear_rows_share(&l->rows, index, n_workers, &begin, &end);
	for (int64_t i = 0; i < l->n_copies; i++)
		l->kernel->pack(&l->matrix, l->packed + i * l->matrix_bytes, (begin + panel - 1) / panel, (end + panel - 1) / panel);
}

/* One product, on the next copy of the weights. */
static void run_next(struct team *team, struct linear_bench *l)
{
	if (l->packed)
		l->args.packed = l->packed + l->next * l->matrix_bytes;
	else
		l->args.w = l->canonical + l->next * l->matrix_bytes;
	l->next = (l->next + 1) % l->n_copies;
	if (l->kernel->prepare)
		team_run(l->args.t <= LINEAR_PREPARE_GRAIN ? NULL : team, prepare_linear, l);
	linear_rows_begin(&l->rows, team_size(team));
	team_run(team, run_linear, l);
}

/* Median seconds of one product. A repeat takes at least a millisecond, or the clock would be measured too. Memory is measured in turns
 * with them: neighbours on the machine come and go. */
static double time_linear(struct team *team, struct linear_bench *l, struct limits_reader *reader, double *seconds, double *bytes_s,
			  int repeat)
{
	double start = clock_s();
	run_next(team, l);
	run_next(team, l);
	double estimate = (clock_s() - start) / 2;
	int64_t runs = 1 + (int64_t)(1e-3 / (estimate > 1e-8 ? estimate : 1e-8));
	for (int i = 0; i < repeat; i++) {
		double read_bytes = 0, read_s = 0;
		start = clock_s();
		for (int64_t k = 0; k < runs; k++)
			run_next(team, l);
		seconds[i] = (clock_s() - start) / (double)runs;
		limits_reader_run(reader, (uint64_t)(runs * l->matrix_bytes), &read_bytes, &read_s);
		bytes_s[i] = read_bytes / read_s;
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
	bool dense = l->matrix.format == WEIGHT_DENSE;
	double bytes = (double)l->matrix_bytes + (double)(a->t * a->k) * (double)dtype_bytes(a->x_type) +
		       (double)(a->t * a->n) * sizeof(float);
	double flops = 2.0 * (double)a->t * (double)a->n * (double)a->k;
	double read_s = bytes / b->limits.read_bytes_s, multiply_s = flops / limits_flops_s(&b->limits, dense ? a->x_type : DTYPE_I8);
	return json_pack("{s:s, s:s, s:s, s:i, s:I, s:I, s:I, s:f, s:I, s:I, s:f, s:f, s:f, s:s, s:f, s:s}", "backend",
			 pick->kernel, "device", "cpu", "dtype", dtype_name(a->x_type),
			 "threads", b->setup.n_threads, "m", (json_int_t)a->t, "n", (json_int_t)a->n, "k", (json_int_t)a->k,
			 "time_us", took * 1e6, "bytes", (json_int_t)bytes, "flops", (json_int_t)flops, "tb_s",
			 bytes / took / 1e12, "tflop_s", flops / took / 1e12, "limit_fraction",
			 (read_s > multiply_s ? read_s : multiply_s) / took, "limit", read_s > multiply_s ? "memory" : "matrix",
			 "memory_read_tb_s", b->limits.read_bytes_s / 1e12, "weights",
			 dense ? dtype_name(a->w_type) : weight_format_name(l->matrix.format));
}

/* The canonical matrix's arrays, one behind another in one block. */
static void place_matrix(struct linear_bench *l)
{
	struct weight_matrix *m = &l->matrix;
	int64_t data = m->n * weight_row_bytes(m);
	m->data = l->canonical;
	if (m->format == WEIGHT_DENSE)
		return;
	int64_t scales = m->n * weight_groups(m) * 2;
	data += data & 1;
	m->scale = (const uint16_t *)(const void *)(l->canonical + data);
	m->zero = (const uint8_t *)l->canonical + data + scales;
}

static int size_linear(struct bench *b, struct linear_bench *l)
{
	struct linear_args *a = &l->args;
	struct weight_matrix *m = &l->matrix;
	*m = (struct weight_matrix){ .format = l->request.format, .type = a->w_type, .n = a->n, .k = a->k, .group = l->request.group };
	l->matrix_bytes = l->kernel->pack ? l->kernel->packed_bytes(&l->request) : weight_bytes(m);
	uint64_t room = b->setup.facts.memory / 4 < WORKING_SET ? b->setup.facts.memory / 4 : WORKING_SET;
	l->n_copies = 1 + (int64_t)(room / (uint64_t)l->matrix_bytes);
	if (!l->kernel->pack && m->format != WEIGHT_DENSE)
		l->n_copies = 1; /* the definition alone: it is slower than any memory */
	l->canonical_bytes = (size_t)(weight_bytes(m) + 1) * (size_t)(l->kernel->pack ? 1 : l->n_copies);
	l->packed_bytes = l->kernel->pack ? (size_t)(l->n_copies * l->matrix_bytes) : 0;
	l->scratch_bytes = l->kernel->scratch_bytes ? (size_t)l->kernel->scratch_bytes(&l->request, a->t) : 0;
	size_t x_bytes = (size_t)(a->t * a->k) * dtype_bytes(a->x_type), y_bytes = (size_t)(a->t * a->n) * sizeof(float);
	size_t all = l->canonical_bytes + l->packed_bytes + l->scratch_bytes + x_bytes + y_bytes;
	if (all > b->setup.facts.memory)
		FAIL(VB_ELIMIT, "not enough memory: bench linear needs %.1f MiB: choose a smaller --m, --n or --k",
		     (double)all / 0x1p20);
	return VB_OK;
}

static int bench_linear(struct bench *b, struct linear_bench *l, int repeat, char **json)
{
	struct linear_args *a = &l->args;
	struct pick pick;
	TRY(linear_pick(b->setup.isa, &l->request, NULL, &pick));
	l->kernel = linear_kernel(pick.row);
	TRY(size_linear(b, l));
	size_t queues_bytes = (size_t)team_size(b->team) * sizeof *l->rows.queues;
	l->rows = (struct linear_rows){ .n = a->n, .panel = l->kernel->panel, .slice = l->kernel->slice, .t = a->t,
					.queues = mem_pages(queues_bytes) };
	size_t x_bytes = (size_t)(a->t * a->k) * dtype_bytes(a->x_type), y_bytes = (size_t)(a->t * a->n) * sizeof(float);
	l->canonical = mem_pages(l->canonical_bytes);
	l->packed = l->packed_bytes ? mem_pages(l->packed_bytes) : NULL;
	l->scratch = mem_pages(l->scratch_bytes);
	void *x = mem_pages(x_bytes);
	float *y = mem_pages(y_bytes);
	double *seconds = mem_calloc((size_t)repeat, sizeof *seconds), *bytes_s = mem_calloc((size_t)repeat, sizeof *bytes_s);
	const struct limits_setup on = { .team = b->team, .isa = b->setup.isa, .memory = b->setup.facts.memory };
	struct limits_reader *reader = NULL;
	bool all = l->rows.queues && l->canonical && (l->packed || !l->packed_bytes) && l->scratch && x && y && seconds && bytes_s;
	int rc = all ? VB_OK : VB_ENOMEM;
	if (rc == VB_OK)
		rc = limits_reader_create(&on, &reader);
	if (rc == VB_OK) {
		team_run(b->team, fill, l);
		place_matrix(l);
		if (l->packed)
			team_run(b->team, pack_linear, l);
		for (int64_t i = 0; i < a->t * a->k; i++)
			dtype_store(a->x_type, x, (size_t)i, (float)(i % 127 - 63) / 256.0f);
		a->x = x;
		a->y = y;
		a->matrix = &l->matrix;
		a->scratch = l->scratch;
		double took = time_linear(b->team, l, reader, seconds, bytes_s, repeat);
		b->limits.read_bytes_s = spread_of(bytes_s, repeat).median;
		rc = give_json(linear_json(b, l, &pick, took), json);
	}
	limits_reader_destroy(&reader);
	mem_free(bytes_s);
	mem_free(seconds);
	mem_free_pages(y, y_bytes);
	mem_free_pages(x, x_bytes);
	mem_free_pages(l->scratch, l->scratch_bytes);
	mem_free_pages(l->packed, l->packed_bytes);
	mem_free_pages(l->canonical, l->canonical_bytes);
	mem_free_pages(l->rows.queues, queues_bytes);
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
	enum dtype type = DTYPE_BF16;
	const char *to = options ? options->quantize : "none";
	enum weight_format format = WEIGHT_Q4;
	while (format != WEIGHT_DENSE && strcmp(to, weight_format_name(format)) != 0)
		format--;
	TRY(parse_type(dtype, &type));
	struct gpu_bench g;
	bool gpu;
	TRY(open_gpu(options, &g, &gpu));
	if (gpu) {
		json_t *answer = NULL;
		if (format != WEIGHT_DENSE) {
			gpu_bench_destroy(&g);
			FAIL(VB_EUNSUPPORTED, "cannot measure %s on a GPU: quantised weights are multiplied on CPUs: use --device cpu", to);
		}
		int failed = gpu_bench_linear(&g, m, n, k, type, repeat, &answer);
		gpu_bench_destroy(&g);
		return failed ? failed : give_json(answer, json);
	}
	struct linear_bench l = {
		.request = { .x_type = type, .w_type = type, .n = n, .k = k, .format = format,
			     .group = format == WEIGHT_DENSE ? 0 : WEIGHT_GROUP },
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
