/* linear.c - kcheck of linear. */
#include "kcheck.h"

#include "base/mem.h"
#include "base/status.h"
#include "ops/cuda_ops.h"
#include "ops/kernels.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { N, K, X_TYPE, W_TYPE, BIAS, FORMAT, GROUP, ORDER };

/* What a row made of the weights, and where it prepares activations: between fences, to the byte. */
struct packed {
	void *weights, *scratch;
	size_t weight_bytes, scratch_bytes;
	struct weight_matrix matrix;
};

static void describe(const struct kc_shape *s, char *text, size_t size)
{
	enum weight_format format = (enum weight_format)s->dim[FORMAT];
	char group[24] = "";
	if (format == WEIGHT_Q4)
		snprintf(group, sizeof group, " by %lld", (long long)s->dim[GROUP]);
	snprintf(text, size, "%lldx%lldx%lld %s x %s%s%s%s", (long long)s->t, (long long)s->dim[N], (long long)s->dim[K],
		 dtype_name((enum dtype)s->dim[X_TYPE]),
		 format == WEIGHT_DENSE ? dtype_name((enum dtype)s->dim[W_TYPE]) : weight_format_name(format), group,
		 s->dim[BIAS] ? " bias" : "", s->dim[ORDER] ? " ordered" : "");
}

static struct linear_request request_of(const struct kc_shape *s)
{
	const int64_t *d = s->dim;
	return (struct linear_request){ .x_type = (enum dtype)d[X_TYPE], .w_type = (enum dtype)d[W_TYPE], .n = d[N],
					.k = d[K], .format = (enum weight_format)d[FORMAT], .group = d[GROUP] };
}

static void request(const struct kc_shape *s, void *r)
{
	*(struct linear_request *)r = request_of(s);
}

/* Any bits are weights: integers of all sizes, scales round 1 / 1024, some of them zero or denormal. */
static void build_quantised(struct kc_case *c)
{
	const int64_t *d = c->shape->dim;
	int64_t groups = (d[K] + d[GROUP] - 1) / d[GROUP];
	bool q4 = d[FORMAT] == WEIGHT_Q4;
	struct weight_matrix m = { .format = (enum weight_format)d[FORMAT], .k = d[K], .group = d[GROUP] };
	struct kc_buf *q = kc_shared(c, "w", DTYPE_U8, d[N], weight_row_bytes(&m));
	struct kc_buf *scale = kc_shared(c, "scale", DTYPE_U16, d[N], groups);
	struct kc_buf *zero = q4 ? kc_shared(c, "zero", DTYPE_U8, d[N], groups) : NULL;
	struct kc_buf *order = d[ORDER] ? kc_shared(c, "order", DTYPE_I32, 1, d[K]) : NULL;
	if (q->borrows)
		return;
	for (int64_t i = 0; i < q->n_rows * q->cols; i++)
		q->master[i] = (unsigned char)kc_random(c, "w", i / q->cols, i % q->cols);
	for (int64_t i = 0; i < d[N] * groups; i++) {
		uint32_t r = kc_random(c, "scale", i / groups, i % groups);
		uint16_t bits = r % 16 == 0 ? 0 : r % 16 == 1 ? (uint16_t)(r >> 22) : (uint16_t)(0x1400 + (r >> 20 & 0x7ff));
		((uint16_t *)(void *)scale->master)[i] = bits;
		if (zero)
			zero->master[i] = (unsigned char)(kc_random(c, "zero", i / groups, i % groups) % 129);
	}
	/* A step that no factor of K divides visits every position once. */
	for (int64_t i = 0, at = 0; order && i < d[K]; i++, at = (at + 7919) % d[K])
		((int32_t *)(void *)order->master)[i] = (int32_t)at;
}

static void build(struct kc_case *c)
{
	const int64_t *d = c->shape->dim;
	kc_tokens(c, "x", KC_IN, (enum dtype)d[X_TYPE], d[K], d[K] + c->pad);
	if (d[FORMAT] == WEIGHT_DENSE)
		kc_shared(c, "w", (enum dtype)d[W_TYPE], d[N], d[K]);
	else
		build_quantised(c);
	if (d[BIAS])
		kc_shared(c, "bias", DTYPE_F32, 1, d[N]);
	kc_tokens(c, "y", KC_OUT, DTYPE_F32, d[N], d[N] + 3 * c->pad);
}

static double *widened(const struct kc_buf *b)
{
	double *v = mem_alloc((size_t)(b->n_rows * b->cols) * sizeof *v);
	CHECK(v);
	for (int64_t i = 0; i < b->n_rows * b->cols; i++)
		v[i] = kc_in(b, 0, i);
	return v;
}

static void expect(const struct kc_case *c, int64_t t, int64_t n, const double *x, const double *w)
{
	struct kc_buf *bias = kc_find(c, "bias"), *y = kc_find(c, "y");
	int64_t k = c->shape->dim[K];
	double start = bias ? kc_in(bias, 0, n) : 0, sum = 0, scale = 0, sizes = 0;
	for (int64_t i = 0; i < k; i++) {
		double term = x[t * k + i] * w[n * k + i];
		sum += term;
		scale += fabs(term);
		sizes += fabs(x[t * k + i]) + fabs(w[n * k + i]);
	}
	kc_expect(y, t, n, sum + start, scale + fabs(start), (double)k * 0x1p-149);
	/* Each factor and each partial sum below 2^-126 may have counted as zero. */
	kc_expect_flush(y, t, n, (sizes + (double)k) * 0x1p-126);
}

static struct weight_matrix matrix_of(const struct kc_case *c)
{
	const int64_t *d = c->shape->dim;
	return (struct weight_matrix){ .format = (enum weight_format)d[FORMAT], .type = (enum dtype)d[W_TYPE], .n = d[N],
				       .k = d[K], .group = d[GROUP], .data = kc_ptr(c, "w"), .scale = kc_ptr(c, "scale"),
				       .zero = kc_ptr(c, "zero"), .order = kc_ptr(c, "order") };
}

/* Scale of a group of activations, in float64 and by another way than the definition's: up to 4 significant bits. */
static double scale_of(double largest)
{
	int exponent;
	double m = frexp((double)((float)largest / 127.0f), &exponent);
	return largest < 0x1p-90 ? 0 : ldexp(ceil(m * 16) / 16, exponent);
}

/* Bits are known: integers, and the fused multiply-adds of the contract. */
static void oracle_quantised(struct kc_case *c)
{
	const int64_t *d = c->shape->dim;
	const struct kc_buf *bias = kc_find(c, "bias"), *x = kc_find(c, "x"), *order = kc_find(c, "order");
	struct weight_matrix m = matrix_of(c);
	m.data = kc_find(c, "w")->master;
	m.scale = (const uint16_t *)(const void *)kc_find(c, "scale")->master;
	m.zero = kc_find(c, "zero") ? kc_find(c, "zero")->master : NULL;
	for (int64_t t = 0; t < c->t; t++) {
		for (int64_t n = 0; n < d[N]; n++) {
			float sum = 0;
			for (int64_t k = 0; k < d[K]; k += 32) {
				double largest = 0, values[32] = { 0 }, dot = 0;
				for (int64_t i = 0; i < 32 && k + i < d[K]; i++) {
					int64_t from = order ? ((const int32_t *)(const void *)order->master)[k + i] : k + i;
					values[i] = kc_in(x, t, from);
					largest = fmax(largest, fabs(values[i]));
				}
				double scale = scale_of(largest), unit = (double)weight_unit(&m, n, k / d[GROUP]);
				for (int64_t i = 0; i < 32 && k + i < d[K] && scale > 0; i++)
					dot += (double)weight_integer(&m, n, k + i) *
					       (double)rintf((float)values[i] * (1.0f / (float)scale));
				sum = fmaf((float)dot, (float)(unit * scale), sum);
			}
			kc_expect_exact(kc_find(c, "y"), t, n, bias ? sum + (float)kc_in(bias, 0, n) : sum);
		}
	}
}

static void oracle(struct kc_case *c)
{
	if (c->shape->dim[FORMAT] != WEIGHT_DENSE) {
		oracle_quantised(c);
		return;
	}
	double *x = widened(kc_find(c, "x")), *w = widened(kc_find(c, "w"));
	for (int64_t t = 0; t < c->t; t++)
		for (int64_t n = 0; n < c->shape->dim[N]; n++)
			expect(c, t, n, x, w);
	mem_free(x);
	mem_free(w);
}

/* Tensor cores add 16 products to a sum at once and drop what is below its last bit (Fasi, Higham, Mikaitis, Pranesh, "Numerical
 * behavior of NVIDIA tensor cores", 2021): up to an eps of the partial sum, always towards zero, so that over K / 16 steps the
 * loss does not walk but adds up. Of an outlier it is K / 16 eps. Otherwise half an eps a step on average, of partial sums
 * that walk: within three deviations, 3 sqrt(k) after k terms whose sizes add up to 0.64 k, that is sqrt(K) / 10 of the scale. */
static bool adds_by_truncation(const struct kc_case *c)
{
	return c->op->on_gpu && strcmp(c->op->set->rows[c->row].name, "sm80") == 0;
}

/* A random walk over the additions of one chain: every k of a chunk, then the chunks (kernels/cpu/linear_panels.h). An addition errs by up
 * to half an eps of the partial sum, 0.29 in standard deviation. One outlier is the partial sum from where it stands: five
 * deviations of the whole scale. Otherwise terms of both signs keep partial sums far below the scale. */
static double budget(const struct kc_case *c, const struct kc_buf *b)
{
	double k = (double)c->shape->dim[K], walk = sqrt(k < 1024 ? k : 1024 + k / 1024);
	(void)b;
	if (adds_by_truncation(c))
		return c->class == KC_OUTLIER ? 1 + k / 16 : 1 + sqrt(k) / 10;
	return c->class == KC_OUTLIER ? 1 + 1.5 * walk : 1 + walk / 16;
}

static int64_t extent(const struct kc_case *c)
{
	return c->shape->dim[N];
}

static struct linear_args args_of(const struct kc_case *c)
{
	const int64_t *d = c->shape->dim;
	return (struct linear_args){
		.x = kc_ptr(c, "x"),
		.w = kc_ptr(c, "w"),
		.bias = kc_ptr(c, "bias"),
		.y = kc_ptr(c, "y"),
		.t = c->t,
		.n = d[N],
		.k = d[K],
		.x_stride = kc_find(c, "x")->stride,
		.y_stride = kc_find(c, "y")->stride,
		.x_type = (enum dtype)d[X_TYPE],
		.w_type = (enum dtype)d[W_TYPE],
	};
}

/* Memory that ends at a page which may not be touched. */
static void *fenced(size_t bytes)
{
	size_t page = 4096, whole = (bytes + page - 1) / page * page;
	unsigned char *p = mmap(NULL, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED && mprotect(p + whole, page, PROT_NONE) == 0);
	memset(p, 0xff, whole);
	return p + whole - bytes;
}

static void unfence(void *p, size_t bytes)
{
	size_t page = 4096, whole = (bytes + page - 1) / page * page;
	if (p)
		munmap((char *)p + bytes - whole, whole + page);
}

static void drop(struct kc_case *c)
{
	struct packed *p = c->own;
	if (!p)
		return;
	unfence(p->weights, p->weight_bytes);
	unfence(p->scratch, p->scratch_bytes);
	mem_free(p);
	c->own = NULL;
}

static void load(struct kc_case *c, int row)
{
	const struct linear_kernel *k = linear_kernel(row);
	struct linear_request r = request_of(c->shape);
	drop(c);
	struct packed *p = mem_calloc(1, sizeof *p);
	CHECK(p);
	c->own = p;
	p->matrix = matrix_of(c);
	if (k->scratch_bytes) {
		p->scratch_bytes = (size_t)k->scratch_bytes(&r, c->t);
		p->scratch = fenced(p->scratch_bytes);
	}
	if (!k->pack)
		return;
	p->weight_bytes = (size_t)k->packed_bytes(&r);
	p->weights = fenced(p->weight_bytes);
	int64_t panels = (r.n + k->panel - 1) / k->panel;
	k->pack(&p->matrix, p->weights, panels / 2, panels);
	k->pack(&p->matrix, p->weights, 0, panels / 2);
}

static struct linear_args packed_args(const struct kc_case *c)
{
	const struct packed *p = c->own;
	struct linear_args a = args_of(c);
	a.matrix = &p->matrix;
	a.packed = p->weights;
	a.scratch = p->scratch;
	return a;
}

static void first(const struct kc_case *c, int row, int64_t begin, int64_t end)
{
	struct linear_args a = packed_args(c);
	if (linear_kernel(row)->prepare)
		linear_kernel(row)->prepare(&a, begin, end);
}

static void call(const struct kc_case *c, int row, int64_t begin, int64_t end)
{
	struct linear_args a = packed_args(c);
	linear_kernel(row)->run(&a, begin, end);
}

static int gpu_find(struct kc_case *c, struct gpu *g, int row, const void *request)
{
	return linear_cuda_find(g, row, request, (struct linear_cuda *)(void *)c->kernel);
}

static void gpu_run(const struct kc_case *c, struct gpu *g)
{
	struct linear_args a = args_of(c);
	linear_cuda_run(g, (const struct linear_cuda *)(const void *)c->kernel, &a);
}

static struct kc_cost cost(const struct kc_case *c)
{
	const int64_t *d = c->shape->dim;
	double t = (double)c->t, n = (double)d[N], k = (double)d[K];
	struct weight_matrix m = matrix_of(c);
	return (struct kc_cost){ .bytes = (double)weight_bytes(&m) + t * k * (double)dtype_bytes((enum dtype)d[X_TYPE]) + t * n * 4,
				 .flops = 2 * t * n * k,
				 .bf16 = d[FORMAT] == WEIGHT_DENSE && d[X_TYPE] == DTYPE_BF16 && d[W_TYPE] == DTYPE_BF16,
				 .int8 = d[FORMAT] != WEIGHT_DENSE };
}

#define SHAPE(tokens, n, k, x, w, ...) { .t = (tokens), .dim = { (n), (k), DTYPE_##x, DTYPE_##w }, __VA_ARGS__ }
#define QUANTISED(tokens, n, k, x, form, by, ...) \
	{ .t = (tokens), .dim = { (n), (k), DTYPE_##x, DTYPE_##x, [FORMAT] = WEIGHT_##form, [GROUP] = (by) }, .cpu = true, \
	  __VA_ARGS__ }
#define ORDERED(tokens, n, k, x, form, by) \
	{ .t = (tokens), .dim = { (n), (k), DTYPE_##x, DTYPE_##x, 1, WEIGHT_##form, (by), 1 }, .cpu = true }
#define BIASED(tokens, n, k, x, w) { .t = (tokens), .dim = { (n), (k), DTYPE_##x, DTYPE_##w, 1 } }

/* Round the tiles (1 to 4 rows, 1 to 4 tokens, 8, 16 and 32 of k), primes, and layers of small models. */
#define EDGES(x, w)                                                                               \
	SHAPE(0, 5, 32, x, w, .bench = false), SHAPE(1, 1, 1, x, w, .bench = false),              \
		BIASED(1, 3, 31, x, w), SHAPE(1, 4, 32, x, w, .bench = false),                    \
		SHAPE(1, 5, 33, x, w, .bench = false), SHAPE(2, 8, 7, x, w, .bench = false),      \
		SHAPE(3, 7, 17, x, w, .bench = false), BIASED(4, 4, 8, x, w),                     \
		SHAPE(5, 9, 127, x, w, .bench = false), SHAPE(7, 37, 131, x, w, .bench = false),  \
		BIASED(9, 192, 576, x, w), SHAPE(2, 96, 1536, x, w, .one_class = true),           \
		SHAPE(1, 896, 4864, x, w, .one_class = true), SHAPE(67, 13, 4096, x, w, .one_class = true)

/* Round the groups, the tiles (up to 12 tokens, 32 rows), and what a group of weights spans. */
#define QUANTISED_EDGES(x, form, by)                                                                                     \
	QUANTISED(0, 5, 32, x, form, by, .bench = false), QUANTISED(1, 1, 1, x, form, by, .bench = false),               \
		QUANTISED(1, 3, 31, x, form, by, .bench = false), QUANTISED(1, 17, 32, x, form, by, .bench = false),    \
		QUANTISED(2, 32, 33, x, form, by, .bench = false), QUANTISED(3, 31, 64, x, form, by, .bench = false),   \
		QUANTISED(5, 33, 127, x, form, by, .bench = false), QUANTISED(13, 65, 160, x, form, by, .bench = false), \
		ORDERED(7, 37, 131, x, form, by), ORDERED(2, 96, 1536, x, form, by),                                     \
		QUANTISED(67, 45, 1111, x, form, by, .one_class = true)

static const struct kc_shape shapes[] = {
	EDGES(F32, F32),
	EDGES(F32, BF16),
	EDGES(F32, F16),
	EDGES(BF16, BF16),
	EDGES(F16, F16),
	SHAPE(1, 2048, 2048, BF16, BF16, .one_class = true),
	SHAPE(17, 64, 2048, BF16, BF16, .one_class = true),
	SHAPE(130, 24, 4096, BF16, BF16, .one_class = true),
	SHAPE(64, 300, 1100, BF16, BF16, .one_class = true),
	{ .t = 101, .dim = { 77, 1030, DTYPE_BF16, DTYPE_BF16, 1 }, .one_class = true },
	/* More tokens than are added up in one go (linear_amx.h), an odd number of blocks, and a part of k left over. */
	{ .t = 531, .dim = { 150, 550, DTYPE_BF16, DTYPE_BF16, 1 }, .one_class = true },
	QUANTISED_EDGES(F32, Q8, 32),
	QUANTISED_EDGES(BF16, Q8, 32),
	QUANTISED_EDGES(F16, Q8, 32),
	QUANTISED_EDGES(F32, Q6, 32),
	QUANTISED_EDGES(BF16, Q6, 32),
	QUANTISED_EDGES(F16, Q6, 32),
	QUANTISED_EDGES(BF16, Q4, 32),
	QUANTISED_EDGES(BF16, Q4, 64),
	QUANTISED_EDGES(F32, Q4, 128),
	QUANTISED(1, 1024, 2048, BF16, Q8, 32, .one_class = true),
	QUANTISED(130, 40, 4096, BF16, Q8, 32, .one_class = true),
	QUANTISED(1, 1024, 2048, BF16, Q6, 32, .one_class = true),
	QUANTISED(130, 40, 4096, BF16, Q6, 32, .one_class = true),
	QUANTISED(130, 40, 4096, BF16, Q4, 32, .one_class = true),
	QUANTISED(531, 150, 550, BF16, Q8, 32, .one_class = true),
	QUANTISED(130, 40, 4096, F16, Q4, 128, .one_class = true),
	QUANTISED(1, 8, 8, BF16, Q8, 64, .unsupported = true),
	QUANTISED(1, 8, 8, BF16, Q6, 64, .unsupported = true),
	QUANTISED(1, 8, 8, BF16, Q4, 16, .unsupported = true),
	QUANTISED(1, 8, 8, I8, Q8, 32, .unsupported = true),
	QUANTISED(1, 0, 8, BF16, Q4, 32, .unsupported = true),
	SHAPE(1, 8, 8, BF16, F32, .unsupported = true),
	SHAPE(1, 8, 8, BF16, F16, .unsupported = true),
	SHAPE(1, 8, 8, F16, BF16, .unsupported = true),
	SHAPE(1, 8, 8, F32, I8, .unsupported = true),
	SHAPE(1, 8, 8, F64, F64, .unsupported = true),
	SHAPE(1, 0, 8, F32, F32, .unsupported = true),
	SHAPE(1, 8, 0, BF16, BF16, .unsupported = true),
	SHAPE(1, 8192, 2048, BF16, BF16, .bench = true),
	SHAPE(1, 2048, 8192, BF16, BF16, .bench = true),
	SHAPE(8, 8192, 2048, BF16, BF16, .bench = true),
	SHAPE(512, 4096, 4096, BF16, BF16, .bench = true),
	QUANTISED(1, 8192, 2048, BF16, Q8, 32, .bench = true),
	QUANTISED(8, 8192, 2048, BF16, Q8, 32, .bench = true),
	QUANTISED(512, 4096, 4096, BF16, Q8, 32, .bench = true),
	QUANTISED(1, 8192, 2048, BF16, Q6, 32, .bench = true),
	QUANTISED(8, 8192, 2048, BF16, Q6, 32, .bench = true),
	QUANTISED(512, 4096, 4096, BF16, Q6, 32, .bench = true),
	QUANTISED(1, 8192, 2048, BF16, Q4, 32, .bench = true),
	QUANTISED(8, 8192, 2048, BF16, Q4, 32, .bench = true),
	QUANTISED(512, 4096, 4096, BF16, Q4, 32, .bench = true),
	SHAPE(1, 4096, 4096, F32, BF16, .bench = true),
	SHAPE(1, 4096, 4096, F16, F16, .bench = true),
	SHAPE(1, 4096, 4096, F32, F32, .bench = true),
	SHAPE(256, 2048, 2048, F32, F32, .bench = true),
	SHAPE(1, 4096, 4096, BF16, BF16, .bench = true, .gpu = true),
	SHAPE(1, 28672, 4096, BF16, BF16, .bench = true, .gpu = true),
	SHAPE(1, 4096, 14336, BF16, BF16, .bench = true, .gpu = true),
	SHAPE(8, 28672, 4096, BF16, BF16, .bench = true, .gpu = true),
	SHAPE(64, 28672, 4096, BF16, BF16, .bench = true, .gpu = true),
	SHAPE(512, 4096, 4096, BF16, BF16, .bench = true, .gpu = true),
	SHAPE(8192, 4096, 4096, BF16, BF16, .bench = true, .gpu = true),
	SHAPE(1, 4096, 4096, F32, F32, .bench = true, .gpu = true),
	SHAPE(512, 4096, 4096, F32, F32, .bench = true, .gpu = true),
};

const struct kc_op kc_linear_op = {
	.name = "linear",
	.set = &linear_set,
	.shapes = shapes,
	.n_shapes = KC_COUNT(shapes),
	.describe = describe,
	.request = request,
	.build = build,
	.fini = drop,
	.load = load,
	.first = first,
	.first_grain = LINEAR_PREPARE_GRAIN,
	.oracle = oracle,
	.budget = budget,
	.extent = extent,
	.call = call,
	.cost = cost,
	.gpu_set = &linear_cuda_set,
	.gpu_find = gpu_find,
	.gpu_run = gpu_run,
	.libs = kc_linear_libs,
	.n_libs = &kc_n_linear_libs,
};
