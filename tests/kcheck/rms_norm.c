/* rms_norm.c - kcheck of rms_norm. */
#include "kcheck.h"

#include "ops/cuda_ops.h"
#include "ops/kernels.h"

#include <math.h>
#include <stdio.h>

enum { GROUPS, D, TYPE, DELTA, IN_PLACE, OFFSET };

static const float eps = 1e-6f;

static void describe(const struct kc_shape *s, char *text, size_t size)
{
	snprintf(text, size, "%lldx%lldx%lld -> %s%s%s%s", (long long)s->t, (long long)s->dim[GROUPS],
		 (long long)s->dim[D], dtype_name((enum dtype)s->dim[TYPE]), s->dim[DELTA] ? " delta" : "",
		 s->dim[IN_PLACE] ? " in place" : "", s->dim[OFFSET] ? " offset" : "");
}

static void request(const struct kc_shape *s, void *r)
{
	*(struct rms_norm_request *)r = (struct rms_norm_request){ (enum dtype)s->dim[TYPE], s->dim[D] };
}

static void build(struct kc_case *c)
{
	const int64_t *d = c->shape->dim;
	int64_t cols = d[GROUPS] * d[D];
	kc_tokens(c, "x", d[DELTA] || d[IN_PLACE] ? KC_INOUT : KC_IN, DTYPE_F32, cols, cols + c->pad);
	if (d[DELTA])
		kc_tokens(c, "delta", KC_IN, DTYPE_F32, cols, cols + 2 * c->pad);
	kc_shared(c, "weight", DTYPE_F32, 1, d[D]);
	if (!d[IN_PLACE])
		kc_tokens(c, "out", KC_OUT, (enum dtype)d[TYPE], cols, cols + 3 * c->pad);
}

/* The residual sum is float32 by contract. */
static float summed(const struct kc_case *c, int64_t t, int64_t at)
{
	const struct kc_buf *delta = kc_find(c, "delta");
	float x = (float)kc_in(kc_find(c, "x"), t, at);
	return delta ? x + (float)kc_in(delta, t, at) : x;
}

static void expect_group(struct kc_case *c, int64_t t, int64_t g)
{
	const int64_t *d = c->shape->dim;
	struct kc_buf *x = kc_find(c, "x"), *out = kc_find(c, "out"), *weight = kc_find(c, "weight");
	double sum = 0;
	for (int64_t i = 0; i < d[D]; i++) {
		double v = (double)summed(c, t, g * d[D] + i);
		sum += v * v;
	}
	double inverse = 1 / sqrt(sum / (double)d[D] + (double)eps);
	for (int64_t i = 0; i < d[D]; i++) {
		int64_t at = g * d[D] + i;
		double w = (d[OFFSET] ? 1.0 : 0.0) + kc_in(weight, 0, i);
		double v = (double)summed(c, t, at) * inverse * w;
		kc_expect(out ? out : x, t, at, v, fabs(v), (1 + fabs(w)) * 0x1p-149);
		if (out && d[DELTA])
			kc_expect_exact(x, t, at, summed(c, t, at));
	}
}

static void oracle(struct kc_case *c)
{
	for (int64_t t = 0; t < c->t; t++)
		for (int64_t g = 0; g < c->shape->dim[GROUPS]; g++)
			expect_group(c, t, g);
}

/* Five roundings, and half of what the sum of the squares lost: a lane of the shortest vector adds D / 32 of them, a
 * random walk of half an eps a step; equal squares may err in one direction, a quarter of an eps a step on average. */
static double budget(const struct kc_case *c, const struct kc_buf *b)
{
	double steps = (double)c->shape->dim[D] / 32;
	(void)b;
	return 3 + (c->class == KC_TIES ? steps / 8 : sqrt(steps) / 4);
}

static int64_t extent(const struct kc_case *c)
{
	return c->t;
}

static struct rms_norm_args args_of(const struct kc_case *c)
{
	const int64_t *d = c->shape->dim;
	const struct kc_buf *x = kc_find(c, "x"), *delta = kc_find(c, "delta"), *out = kc_find(c, "out");
	if (!out)
		out = x;
	return (struct rms_norm_args){
		.x = x->ptr,
		.delta = delta ? delta->ptr : NULL,
		.weight = kc_ptr(c, "weight"),
		.out = out->ptr,
		.t = c->t,
		.groups = d[GROUPS],
		.d = d[D],
		.x_stride = x->stride,
		.delta_stride = delta ? delta->stride : 0,
		.out_stride = out->stride,
		.eps = eps,
		.weight_offset = d[OFFSET] ? 1.0f : 0.0f,
		.out_type = (enum dtype)d[TYPE],
	};
}

static void call(const struct kc_case *c, int row, int64_t begin, int64_t end)
{
	struct rms_norm_args a = args_of(c);
	rms_norm_kernel(row)(&a, begin, end);
}

static int gpu_find(struct kc_case *c, struct gpu *g, int row, const void *request)
{
	return rms_norm_cuda_find(g, row, request, (struct rms_norm_cuda *)(void *)c->kernel);
}

static void gpu_run(const struct kc_case *c, struct gpu *g)
{
	struct rms_norm_args a = args_of(c);
	rms_norm_cuda_run(g, (const struct rms_norm_cuda *)(const void *)c->kernel, &a);
}

static struct kc_cost cost(const struct kc_case *c)
{
	const int64_t *d = c->shape->dim;
	double n = (double)(c->t * d[GROUPS] * d[D]);
	return (struct kc_cost){ .bytes = n * ((d[DELTA] ? 12 : 4) + (double)dtype_bytes((enum dtype)d[TYPE])),
				 .flops = 5 * n };
}

static const struct kc_shape shapes[] = {
	{ .t = 0, .dim = { 1, 8, DTYPE_F32 } },
	{ .t = 1, .dim = { 1, 1, DTYPE_F32 } },
	{ .t = 2, .dim = { 3, 7, DTYPE_F32, 1 } },
	{ .t = 3, .dim = { 1, 15, DTYPE_BF16 } },
	{ .t = 4, .dim = { 1, 16, DTYPE_F16, 1 } },
	{ .t = 5, .dim = { 1, 17, DTYPE_BF16, 1, 0, 1 } },
	{ .t = 3, .dim = { 2, 63, DTYPE_F32, 0, 1 } },
	{ .t = 3, .dim = { 1, 64, DTYPE_F32, 1, 1, 1 } },
	{ .t = 3, .dim = { 1, 65, DTYPE_F16 } },
	{ .t = 7, .dim = { 1, 131, DTYPE_F32, 0, 0, 1 } },
	{ .t = 5, .dim = { 9, 64, DTYPE_BF16 } },
	{ .t = 5, .dim = { 8, 128, DTYPE_F32, 0, 1, 1 } },
	{ .t = 9, .dim = { 1, 576, DTYPE_BF16, 1 } },
	{ .t = 4, .dim = { 1, 2048, DTYPE_F16, 1 } },
	{ .t = 2, .dim = { 1, 3584, DTYPE_F32, 1, 0, 1 } },
	{ .t = 2, .dim = { 1, 8192, DTYPE_BF16, 1 } },
	{ .t = 2, .dim = { 1, 8200, DTYPE_F16, 1 }, .one_class = true },
	{ .t = 2, .dim = { 1, 16391, DTYPE_BF16, 1 }, .one_class = true },
	{ .t = 1, .dim = { 1, 8, DTYPE_I8 }, .unsupported = true },
	{ .t = 1, .dim = { 1, 0, DTYPE_F32 }, .unsupported = true },
	{ .t = 1, .dim = { 1, 4096, DTYPE_BF16, 1 }, .bench = true },
	{ .t = 512, .dim = { 1, 4096, DTYPE_BF16, 1 }, .bench = true },
	{ .t = 1, .dim = { 1, 4096, DTYPE_BF16, 1, 0, 1 }, .bench = true, .gpu = true },
	{ .t = 64, .dim = { 1, 4096, DTYPE_BF16, 1 }, .bench = true, .gpu = true },
	{ .t = 8192, .dim = { 1, 4096, DTYPE_BF16, 1 }, .bench = true, .gpu = true },
	{ .t = 8192, .dim = { 1, 8192, DTYPE_BF16, 1 }, .bench = true, .gpu = true },
	{ .t = 1, .dim = { 32, 128, DTYPE_F32, 0, 1 }, .bench = true, .gpu = true },
	{ .t = 8192, .dim = { 32, 128, DTYPE_F32, 0, 1 }, .bench = true, .gpu = true },
};

const struct kc_op kc_rms_norm_op = {
	.name = "rms_norm",
	.set = &rms_norm_set,
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
	.gpu_set = &rms_norm_cuda_set,
	.gpu_find = gpu_find,
	.gpu_run = gpu_run,
};
