/* gather.c - kcheck of gather, which GPUs alone have: exact. */
#include "kcheck.h"

#include "ops/cuda_ops.h"

#include <stdio.h>
#include <string.h>

enum { SOURCES, D, HALF };

struct request {
	int64_t d;
};

static const char *refuse_none(const void *r, int row)
{
	(void)r;
	(void)row;
	return NULL;
}

static const struct kernel_row no_rows[] = { { NULL, 0, 0 } };
static const struct kernel_row cuda_rows[] = {
	{ "cuda", ISA_CUDA, ROW_INVARIANT | CAPTURABLE },
	{ NULL, 0, 0 },
};
static const struct kernel_set gather_set = KERNEL_SET("gather", no_rows, refuse_none);
static const struct kernel_set gather_cuda_set = KERNEL_SET("gather", cuda_rows, refuse_none);

static enum dtype type_of(const struct kc_shape *s)
{
	return s->dim[HALF] ? DTYPE_BF16 : DTYPE_F32;
}

static void describe(const struct kc_shape *s, char *text, size_t size)
{
	snprintf(text, size, "%lldx%lld of %lld, %s", (long long)s->t, (long long)s->dim[D], (long long)s->dim[SOURCES],
		 dtype_name(type_of(s)));
}

static void request(const struct kc_shape *s, void *r)
{
	*(struct request *)r = (struct request){ s->dim[D] };
}

static int32_t row_of(const struct kc_case *c, int64_t token)
{
	int64_t n = c->shape->dim[SOURCES];
	return token < 2 ? (int32_t)(token * (n - 1)) : (int32_t)(kc_random(c, "rows", token, 0) % n);
}

static void build(struct kc_case *c)
{
	const int64_t *d = c->shape->dim;
	struct kc_buf *rows = kc_tokens(c, "rows", KC_IN, DTYPE_I32, 1, 1);
	for (int64_t t = 0; t < c->t; t++) {
		int32_t row = row_of(c, c->ids[t]);
		memcpy(rows->master + t * 4, &row, sizeof row);
	}
	kc_shared(c, "x", type_of(c->shape), d[SOURCES], d[D]);
	kc_tokens(c, "out", KC_OUT, type_of(c->shape), d[D], d[D]);
}

static void oracle(struct kc_case *c)
{
	for (int64_t t = 0; t < c->t; t++)
		for (int64_t i = 0; i < c->shape->dim[D]; i++)
			kc_expect_exact(kc_find(c, "out"), t, i, (float)kc_in(kc_find(c, "x"), row_of(c, c->ids[t]), i));
}

static double budget(const struct kc_case *c, const struct kc_buf *b)
{
	(void)c;
	(void)b;
	return 0;
}

static int64_t extent(const struct kc_case *c)
{
	return c->t;
}

static int gpu_find(struct kc_case *c, struct gpu *g, int row, const void *unused)
{
	(void)row;
	(void)unused;
	return gather_cuda_find(g, (struct gather_cuda *)(void *)c->kernel);
}

static void gpu_run(const struct kc_case *c, struct gpu *g)
{
	struct gather_args a = {
		.rows = kc_ptr(c, "rows"),
		.x = kc_ptr(c, "x"),
		.out = kc_ptr(c, "out"),
		.t = c->t,
		.bytes = c->shape->dim[D] * (int64_t)dtype_bytes(type_of(c->shape)),
	};
	gather_cuda_run(g, (const struct gather_cuda *)(const void *)c->kernel, &a);
}

static struct kc_cost cost(const struct kc_case *c)
{
	return (struct kc_cost){ .bytes = 2.0 * (double)dtype_bytes(type_of(c->shape)) * (double)(c->t * c->shape->dim[D]) };
}

static const struct kc_shape shapes[] = {
	{ .t = 0, .dim = { 3, 8 } },
	{ .t = 1, .dim = { 1, 1 } },
	{ .t = 3, .dim = { 7, 17, 1 } },
	{ .t = 5, .dim = { 33, 576, 1 } },
	{ .t = 9, .dim = { 9, 2048 } },
	{ .t = 4, .dim = { 12, 5003, 1 } },
	{ .t = 1, .dim = { 8, 4096, 1 }, .bench = true, .gpu = true },
	{ .t = 64, .dim = { 512, 4096, 1 }, .bench = true, .gpu = true },
};

const struct kc_op kc_gather_op = {
	.name = "gather",
	.set = &gather_set,
	.shapes = shapes,
	.n_shapes = KC_COUNT(shapes),
	.describe = describe,
	.request = request,
	.build = build,
	.oracle = oracle,
	.budget = budget,
	.extent = extent,
	.cost = cost,
	.gpu_set = &gather_cuda_set,
	.gpu_find = gpu_find,
	.gpu_run = gpu_run,
};
