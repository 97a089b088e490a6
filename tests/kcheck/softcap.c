/* softcap.c - kcheck of softcap. */
#include "kcheck.h"

#include "ops/cuda_ops.h"
#include "ops/kernels.h"

#include <math.h>
#include <stdio.h>

enum { D, CAP };

static void describe(const struct kc_shape *s, char *text, size_t size)
{
	snprintf(text, size, "%lldx%lld cap %lld", (long long)s->t, (long long)s->dim[D], (long long)s->dim[CAP]);
}

static void request(const struct kc_shape *s, void *r)
{
	*(struct softcap_request *)r = (struct softcap_request){ s->dim[D] };
}

static void build(struct kc_case *c)
{
	int64_t d = c->shape->dim[D];
	kc_stretch(kc_tokens(c, "x", KC_INOUT, DTYPE_F32, d, d + c->pad), (float)c->shape->dim[CAP] * 1.5f);
}

static void oracle(struct kc_case *c)
{
	struct kc_buf *x = kc_find(c, "x");
	double cap = (double)c->shape->dim[CAP];
	for (int64_t t = 0; t < c->t; t++)
		for (int64_t i = 0; i < x->cols; i++) {
			double v = cap * tanh(kc_in(x, t, i) / cap);
			kc_expect(x, t, i, v, fabs(v), (1 + cap) * 0x1p-149);
		}
}

static double budget(const struct kc_case *c, const struct kc_buf *b)
{
	(void)c;
	(void)b;
	return 3;
}

static int64_t extent(const struct kc_case *c)
{
	return c->shape->dim[D];
}

static struct softcap_args args_of(const struct kc_case *c)
{
	return (struct softcap_args){
		.x = kc_ptr(c, "x"),
		.t = c->t,
		.d = c->shape->dim[D],
		.x_stride = kc_find(c, "x")->stride,
		.cap = (float)c->shape->dim[CAP],
	};
}

static void call(const struct kc_case *c, int row, int64_t begin, int64_t end)
{
	struct softcap_args a = args_of(c);
	softcap_kernel(row)(&a, begin, end);
}

static int gpu_find(struct kc_case *c, struct gpu *g, int row, const void *request)
{
	return softcap_cuda_find(g, row, request, (struct softcap_cuda *)(void *)c->kernel);
}

static void gpu_run(const struct kc_case *c, struct gpu *g)
{
	struct softcap_args a = args_of(c);
	softcap_cuda_run(g, (const struct softcap_cuda *)(const void *)c->kernel, &a);
}

static struct kc_cost cost(const struct kc_case *c)
{
	return (struct kc_cost){ .bytes = 8.0 * (double)(c->t * c->shape->dim[D]) };
}

static const struct kc_shape shapes[] = {
	{ .t = 0, .dim = { 8, 30 } },    { .t = 1, .dim = { 1, 30 } },     { .t = 2, .dim = { 15, 50 } },
	{ .t = 3, .dim = { 16, 30 } },   { .t = 3, .dim = { 17, 1 } },     { .t = 5, .dim = { 131, 30 } },
	{ .t = 2, .dim = { 4099, 30 } }, { .t = 1, .dim = { 0, 30 }, .unsupported = true },
	{ .t = 1, .dim = { 256000, 30 }, .bench = true },
	{ .t = 2, .dim = { 256000, 30 }, .bench = true, .gpu = true },
	{ .t = 64, .dim = { 256000, 30 }, .bench = true, .gpu = true },
};

const struct kc_op kc_softcap_op = {
	.name = "softcap",
	.set = &softcap_set,
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
	.gpu_set = &softcap_cuda_set,
	.gpu_find = gpu_find,
	.gpu_run = gpu_run,
};
