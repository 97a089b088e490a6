/* embed.c - kcheck of embed: exact. */
#include "kcheck.h"

#include "ops/cuda_ops.h"
#include "ops/kernels.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { VOCAB, D, TYPE, SCALED };

static void describe(const struct kc_shape *s, char *text, size_t size)
{
	snprintf(text, size, "%lldx%lld of %lld %s%s", (long long)s->t, (long long)s->dim[D], (long long)s->dim[VOCAB],
		 dtype_name((enum dtype)s->dim[TYPE]), s->dim[SCALED] ? " scaled" : "");
}

static void request(const struct kc_shape *s, void *r)
{
	*(struct embed_request *)r = (struct embed_request){ (enum dtype)s->dim[TYPE] };
}

static float scale_of(const struct kc_case *c)
{
	return c->shape->dim[SCALED] ? sqrtf((float)c->shape->dim[D]) : 1.0f;
}

static int32_t id_of(const struct kc_case *c, int64_t token)
{
	/* The first and the last row of the table are among the ids. */
	int64_t vocab = c->shape->dim[VOCAB];
	return token < 2 ? (int32_t)(token * (vocab - 1)) : (int32_t)(kc_random(c, "ids", token, 0) % vocab);
}

static void build(struct kc_case *c)
{
	const int64_t *d = c->shape->dim;
	struct kc_buf *ids = kc_tokens(c, "ids", KC_IN, DTYPE_I32, 1, 1);
	for (int64_t t = 0; t < c->t; t++) {
		int32_t id = id_of(c, c->ids[t]);
		memcpy(ids->master + t * 4, &id, sizeof id);
	}
	kc_shared(c, "table", (enum dtype)d[TYPE], d[VOCAB], d[D]);
	kc_tokens(c, "out", KC_OUT, DTYPE_F32, d[D], d[D] + c->pad);
}

static void oracle(struct kc_case *c)
{
	for (int64_t t = 0; t < c->t; t++)
		for (int64_t i = 0; i < c->shape->dim[D]; i++)
			kc_expect_exact(kc_find(c, "out"), t, i,
					(float)kc_in(kc_find(c, "table"), id_of(c, c->ids[t]), i) * scale_of(c));
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

static struct embed_args args_of(const struct kc_case *c)
{
	return (struct embed_args){
		.ids = kc_ptr(c, "ids"),
		.table = kc_ptr(c, "table"),
		.out = kc_ptr(c, "out"),
		.t = c->t,
		.d = c->shape->dim[D],
		.out_stride = kc_find(c, "out")->stride,
		.scale = scale_of(c),
		.w_type = (enum dtype)c->shape->dim[TYPE],
	};
}

static void call(const struct kc_case *c, int row, int64_t begin, int64_t end)
{
	struct embed_args a = args_of(c);
	embed_kernel(row)(&a, begin, end);
}

static int gpu_find(struct kc_case *c, struct gpu *g, int row, const void *request)
{
	return embed_cuda_find(g, row, request, (struct embed_cuda *)(void *)c->kernel);
}

static void gpu_run(const struct kc_case *c, struct gpu *g)
{
	struct embed_args a = args_of(c);
	embed_cuda_run(g, (const struct embed_cuda *)(const void *)c->kernel, &a);
}

static struct kc_cost cost(const struct kc_case *c)
{
	double n = (double)(c->t * c->shape->dim[D]);
	return (struct kc_cost){ .bytes = n * (4 + (double)dtype_bytes((enum dtype)c->shape->dim[TYPE])) };
}

static const struct kc_shape shapes[] = {
	{ .t = 0, .dim = { 5, 8, DTYPE_F32 } },
	{ .t = 1, .dim = { 1, 1, DTYPE_F32 } },
	{ .t = 3, .dim = { 7, 17, DTYPE_F32, 1 } },
	{ .t = 5, .dim = { 101, 64, DTYPE_BF16 } },
	{ .t = 33, .dim = { 997, 576, DTYPE_BF16, 1 } },
	{ .t = 7, .dim = { 31, 33, DTYPE_F16, 1 } },
	{ .t = 4, .dim = { 512, 2048, DTYPE_F16 } },
	{ .t = 1, .dim = { 8, 8, DTYPE_I8 }, .unsupported = true },
	{ .t = 512, .dim = { 4096, 2048, DTYPE_BF16 }, .bench = true },
	{ .t = 1, .dim = { 32000, 4096, DTYPE_BF16 }, .bench = true, .gpu = true },
	{ .t = 8192, .dim = { 32000, 4096, DTYPE_BF16 }, .bench = true, .gpu = true },
};

const struct kc_op kc_embed_op = {
	.name = "embed",
	.set = &embed_set,
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
	.gpu_set = &embed_cuda_set,
	.gpu_find = gpu_find,
	.gpu_run = gpu_run,
};
