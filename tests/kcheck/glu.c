/* glu.c - kcheck of glu. */
#include "kcheck.h"

#include "ops/cuda_ops.h"
#include "ops/kernels.h"

#include <math.h>
#include <stdio.h>

enum { D, TYPE, ACTIVATION };

static void describe(const struct kc_shape *s, char *text, size_t size)
{
	static const char *const names[] = { "silu", "gelu_tanh", "gelu", "none" };
	snprintf(text, size, "%lldx%lld %s -> %s", (long long)s->t, (long long)s->dim[D], names[s->dim[ACTIVATION]],
		 dtype_name((enum dtype)s->dim[TYPE]));
}

static void request(const struct kc_shape *s, void *r)
{
	*(struct glu_request *)r = (struct glu_request){ (enum dtype)s->dim[TYPE],
							 (enum glu_activation)s->dim[ACTIVATION] };
}

static void build(struct kc_case *c)
{
	int64_t d = c->shape->dim[D];
	/* Far enough for the exponentials to underflow, near enough for cubes to stay finite. */
	kc_stretch(kc_tokens(c, "gate", KC_IN, DTYPE_F32, d, d + c->pad), 8);
	kc_tokens(c, "up", KC_IN, DTYPE_F32, d, d + 2 * c->pad);
	kc_tokens(c, "out", KC_OUT, (enum dtype)c->shape->dim[TYPE], d, d + 3 * c->pad);
}

/* The activation, and the size of the exponent that it goes through: the exponent's own rounding counts that often. */
static double activate(enum glu_activation activation, double x, double *exponent)
{
	double u = activation == GLU_GELU_TANH ? 2 * 0.7978845608028654 * (x + 0.044715 * x * x * x) : x;
	if (activation == GLU_GELU) {
		*exponent = x < 0 ? x * x / 2 : 0;
		return 0.5 * x * erfc(-x * 0.7071067811865476);
	}
	*exponent = u < 0 ? -u : 0;
	return x / (1 + exp(-u));
}

static void oracle(struct kc_case *c)
{
	const struct kc_buf *gate = kc_find(c, "gate"), *up = kc_find(c, "up");
	for (int64_t t = 0; t < c->t; t++)
		for (int64_t i = 0; i < gate->cols; i++) {
			double x = kc_in(gate, t, i), exponent;
			double v = activate((enum glu_activation)c->shape->dim[ACTIVATION], x, &exponent);
			v *= kc_in(up, t, i);
			/* Exponentials below 2^-126 are denormal: their spacing times the factors is lost. */
			kc_expect(kc_find(c, "out"), t, i, v, fabs(v) * (1 + exponent),
				  (2 + fabs(x) * (1 + fabs(kc_in(up, t, i)))) * 0x1p-148);
		}
}

static double budget(const struct kc_case *c, const struct kc_buf *b)
{
	(void)c;
	(void)b;
	return 5;
}

static int64_t extent(const struct kc_case *c)
{
	return c->t;
}

static struct glu_args args_of(const struct kc_case *c)
{
	return (struct glu_args){
		.gate = kc_ptr(c, "gate"),
		.up = kc_ptr(c, "up"),
		.out = kc_ptr(c, "out"),
		.t = c->t,
		.d = c->shape->dim[D],
		.gate_stride = kc_find(c, "gate")->stride,
		.up_stride = kc_find(c, "up")->stride,
		.out_stride = kc_find(c, "out")->stride,
		.activation = (enum glu_activation)c->shape->dim[ACTIVATION],
		.out_type = (enum dtype)c->shape->dim[TYPE],
	};
}

static void call(const struct kc_case *c, int row, int64_t begin, int64_t end)
{
	struct glu_args a = args_of(c);
	glu_kernel(row)(&a, begin, end);
}

static int gpu_find(struct kc_case *c, struct gpu *g, int row, const void *request)
{
	return glu_cuda_find(g, row, request, (struct glu_cuda *)(void *)c->kernel);
}

static void gpu_run(const struct kc_case *c, struct gpu *g)
{
	struct glu_args a = args_of(c);
	glu_cuda_run(g, (const struct glu_cuda *)(const void *)c->kernel, &a);
}

static struct kc_cost cost(const struct kc_case *c)
{
	double n = (double)(c->t * c->shape->dim[D]);
	return (struct kc_cost){ .bytes = n * (8 + (double)dtype_bytes((enum dtype)c->shape->dim[TYPE])) };
}

#define EDGES(type, activation)                                                                     \
	{ .t = 0, .dim = { 8, type, activation } }, { .t = 1, .dim = { 1, type, activation } },     \
		{ .t = 3, .dim = { 7, type, activation } }, { .t = 2, .dim = { 16, type, activation } }, \
		{ .t = 5, .dim = { 131, type, activation } }, { .t = 4, .dim = { 1536, type, activation } }

static const struct kc_shape shapes[] = {
	EDGES(DTYPE_F32, GLU_SILU),       EDGES(DTYPE_BF16, GLU_SILU),       EDGES(DTYPE_F16, GLU_SILU),
	EDGES(DTYPE_F32, GLU_GELU_TANH),  EDGES(DTYPE_BF16, GLU_GELU_TANH),  EDGES(DTYPE_F16, GLU_GELU_TANH),
	EDGES(DTYPE_F32, GLU_GELU),       EDGES(DTYPE_BF16, GLU_GELU),       EDGES(DTYPE_F16, GLU_GELU),
	{ .t = 1, .dim = { 8, DTYPE_I8, GLU_SILU }, .unsupported = true },
	{ .t = 1, .dim = { 8, DTYPE_F32, GLU_GELU + 1 }, .unsupported = true },
	{ .t = 1, .dim = { 8192, DTYPE_BF16, GLU_SILU }, .bench = true },
	{ .t = 512, .dim = { 8192, DTYPE_BF16, GLU_SILU }, .bench = true },
	{ .t = 512, .dim = { 8192, DTYPE_BF16, GLU_GELU_TANH }, .bench = true },
	{ .t = 1, .dim = { 14336, DTYPE_BF16, GLU_SILU }, .bench = true, .gpu = true },
	{ .t = 64, .dim = { 14336, DTYPE_BF16, GLU_SILU }, .bench = true, .gpu = true },
	{ .t = 8192, .dim = { 14336, DTYPE_BF16, GLU_SILU }, .bench = true, .gpu = true },
	{ .t = 8192, .dim = { 14336, DTYPE_BF16, GLU_GELU_TANH }, .bench = true, .gpu = true },
	{ .t = 8192, .dim = { 14336, DTYPE_BF16, GLU_GELU }, .bench = true, .gpu = true },
};

const struct kc_op kc_glu_op = {
	.name = "glu",
	.set = &glu_set,
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
	.gpu_set = &glu_cuda_set,
	.gpu_find = gpu_find,
	.gpu_run = gpu_run,
};
