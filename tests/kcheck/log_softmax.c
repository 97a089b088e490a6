/* log_softmax.c - kcheck of log_softmax. */
#include "kcheck.h"

#include "ops/cuda_ops.h"
#include "ops/kernels.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { D, SPECIAL };
/* What is put among a row's values. */
enum { PLAIN, BANNED, A_NAN, AN_INFINITY, ALL_BANNED };

static void describe(const struct kc_shape *s, char *text, size_t size)
{
	static const char *const names[] = { "", " banned", " nan", " infinity", " all banned" };
	snprintf(text, size, "%lldx%lld%s", (long long)s->t, (long long)s->dim[D], names[s->dim[SPECIAL]]);
}

static void request(const struct kc_shape *s, void *r)
{
	*(struct log_softmax_request *)r = (struct log_softmax_request){ s->dim[D] };
}

static void put(struct kc_buf *x, int64_t t, int64_t i, float v)
{
	memcpy(x->master + (size_t)(t * x->cols + i) * 4, &v, sizeof v);
}

static void build(struct kc_case *c)
{
	int64_t d = c->shape->dim[D], special = c->shape->dim[SPECIAL];
	struct kc_buf *x = kc_tokens(c, "x", KC_IN, DTYPE_F32, d, d + c->pad);
	kc_stretch(x, 6);
	for (int64_t t = 0; t < c->t && special; t++) {
		for (int64_t i = 0; i < d; i++)
			if (special == ALL_BANNED || (special == BANNED && i % 3))
				put(x, t, i, -INFINITY);
		if (special == A_NAN || special == AN_INFINITY)
			put(x, t, c->ids[t] * 5 % d, special == A_NAN ? NAN : INFINITY);
	}
	kc_tokens(c, "max", KC_OUT, DTYPE_F32, 1, 1);
	kc_tokens(c, "log_sum", KC_OUT, DTYPE_F32, 1, 1);
}

static void expect_row(struct kc_case *c, int64_t t)
{
	struct kc_buf *x = kc_find(c, "x");
	double max = -INFINITY, sum = 0, spread = 0;
	for (int64_t i = 0; i < x->cols; i++)
		max = fmax(max, kc_in(x, t, i));
	for (int64_t i = 0; i < x->cols; i++) {
		double term = exp(kc_in(x, t, i) - max);
		sum += term;
		spread += term > 0 ? term * (1 + max - kc_in(x, t, i)) : 0;
	}
	/* Each exponential is as wrong as its exponent was rounded; the logarithm of the sum as its relative error. */
	kc_expect(kc_find(c, "log_sum"), t, 0, log(sum), fabs(log(sum)) + spread / sum, 0);
	if (c->shape->dim[SPECIAL] != A_NAN)
		kc_expect_exact(kc_find(c, "max"), t, 0, (float)max);
}

static void oracle(struct kc_case *c)
{
	for (int64_t t = 0; t < c->t; t++)
		expect_row(c, t);
}

/* Two for the exponentials, and a random walk over the D / 32 additions of a lane. */
static double budget(const struct kc_case *c, const struct kc_buf *b)
{
	(void)b;
	return 2 + sqrt((double)c->shape->dim[D] / 32) / 4;
}

static int64_t extent(const struct kc_case *c)
{
	return c->t;
}

static struct log_softmax_args args_of(const struct kc_case *c)
{
	return (struct log_softmax_args){
		.x = kc_ptr(c, "x"),
		.max = kc_ptr(c, "max"),
		.log_sum = kc_ptr(c, "log_sum"),
		.t = c->t,
		.d = c->shape->dim[D],
		.x_stride = kc_find(c, "x")->stride,
	};
}

static void call(const struct kc_case *c, int row, int64_t begin, int64_t end)
{
	struct log_softmax_args a = args_of(c);
	log_softmax_kernel(row)(&a, begin, end);
}

static int gpu_find(struct kc_case *c, struct gpu *g, int row, const void *request)
{
	return log_softmax_cuda_find(g, row, request, (struct log_softmax_cuda *)(void *)c->kernel);
}

static void gpu_run(const struct kc_case *c, struct gpu *g)
{
	struct log_softmax_args a = args_of(c);
	log_softmax_cuda_run(g, (const struct log_softmax_cuda *)(const void *)c->kernel, &a);
}

static struct kc_cost cost(const struct kc_case *c)
{
	return (struct kc_cost){ .bytes = 4.0 * (double)(c->t * c->shape->dim[D]) };
}

static const struct kc_shape shapes[] = {
	{ .t = 0, .dim = { 8 } },
	{ .t = 1, .dim = { 1 } },
	{ .t = 2, .dim = { 7 } },
	{ .t = 3, .dim = { 63 } },
	{ .t = 3, .dim = { 64 } },
	{ .t = 5, .dim = { 65 } },
	{ .t = 5, .dim = { 131 } },
	{ .t = 2, .dim = { 4099 } },
	{ .t = 2, .dim = { 32000 }, .one_class = true },
	{ .t = 2, .dim = { 131, BANNED } },
	{ .t = 2, .dim = { 131, A_NAN }, .one_class = true },
	{ .t = 2, .dim = { 131, AN_INFINITY }, .one_class = true },
	{ .t = 2, .dim = { 131, ALL_BANNED }, .one_class = true },
	{ .t = 1, .dim = { 0 }, .unsupported = true },
	{ .t = 1, .dim = { 128256 }, .bench = true },
	{ .t = 2, .dim = { 128256 }, .bench = true, .gpu = true },
	{ .t = 512, .dim = { 128256 }, .bench = true, .gpu = true },
};

const struct kc_op kc_log_softmax_op = {
	.name = "log_softmax",
	.set = &log_softmax_set,
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
	.gpu_set = &log_softmax_cuda_set,
	.gpu_find = gpu_find,
	.gpu_run = gpu_run,
};
