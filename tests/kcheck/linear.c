/* linear.c - kcheck of linear. */
#include "kcheck.h"

#include "base/mem.h"
#include "base/status.h"
#include "ops/cuda_ops.h"
#include "ops/kernels.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N, K, X_TYPE, W_TYPE, BIAS };

static void describe(const struct kc_shape *s, char *text, size_t size)
{
	snprintf(text, size, "%lldx%lldx%lld %s x %s%s", (long long)s->t, (long long)s->dim[N], (long long)s->dim[K],
		 dtype_name((enum dtype)s->dim[X_TYPE]), dtype_name((enum dtype)s->dim[W_TYPE]),
		 s->dim[BIAS] ? " bias" : "");
}

static void request(const struct kc_shape *s, void *r)
{
	*(struct linear_request *)r = (struct linear_request){ (enum dtype)s->dim[X_TYPE],
							       (enum dtype)s->dim[W_TYPE], s->dim[N], s->dim[K] };
}

static void build(struct kc_case *c)
{
	const int64_t *d = c->shape->dim;
	kc_tokens(c, "x", KC_IN, (enum dtype)d[X_TYPE], d[K], d[K] + c->pad);
	kc_shared(c, "w", (enum dtype)d[W_TYPE], d[N], d[K]);
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

static void oracle(struct kc_case *c)
{
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

/* A random walk over the K / 8 additions of the shortest vector's lanes. An addition errs by up to half an eps of the
 * partial sum, 0.29 in standard deviation. One outlier is the partial sum from where it stands: five deviations of
 * the whole scale. Otherwise terms of both signs, spread over the lanes, keep partial sums far below the scale. */
static double budget(const struct kc_case *c, const struct kc_buf *b)
{
	double k = (double)c->shape->dim[K], walk = sqrt(k / 8);
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

static void call(const struct kc_case *c, int row, int64_t begin, int64_t end)
{
	struct linear_args a = args_of(c);
	linear_kernel(row)(&a, begin, end);
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
	return (struct kc_cost){ .bytes = n * k * (double)dtype_bytes((enum dtype)d[W_TYPE]) +
					  t * k * (double)dtype_bytes((enum dtype)d[X_TYPE]) + t * n * 4,
				 .flops = 2 * t * n * k,
				 .bf16 = d[X_TYPE] == DTYPE_BF16 && d[W_TYPE] == DTYPE_BF16 };
}

#define SHAPE(tokens, n, k, x, w, ...) { .t = (tokens), .dim = { (n), (k), DTYPE_##x, DTYPE_##w }, __VA_ARGS__ }
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

static const struct kc_shape shapes[] = {
	EDGES(F32, F32),
	EDGES(F32, BF16),
	EDGES(F32, F16),
	EDGES(BF16, BF16),
	EDGES(F16, F16),
	SHAPE(1, 2048, 2048, BF16, BF16, .one_class = true),
	SHAPE(17, 64, 2048, BF16, BF16, .one_class = true),
	SHAPE(130, 24, 4096, BF16, BF16, .one_class = true),
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
