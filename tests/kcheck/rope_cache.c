/* rope_cache.c - kcheck of rope_cache: exact. */
#include "kcheck.h"

#include "base/mem.h"
#include "base/status.h"
#include "ops/cuda_ops.h"
#include "ops/kernels.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { HEADS, KV_HEADS, D, V_D, ROTARY, PAGE, Q_TYPE, KV_TYPE };

static void describe(const struct kc_shape *s, char *text, size_t size)
{
	const int64_t *d = s->dim;
	snprintf(text, size, "%lldx%lld/%lldx%lld/%lld rotary %lld page %lld -> %s, %s", (long long)s->t,
		 (long long)d[HEADS], (long long)d[KV_HEADS], (long long)d[D], (long long)d[V_D],
		 (long long)d[ROTARY], (long long)d[PAGE], dtype_name((enum dtype)d[Q_TYPE]),
		 dtype_name((enum dtype)d[KV_TYPE]));
}

static void request(const struct kc_shape *s, void *r)
{
	const int64_t *d = s->dim;
	*(struct rope_cache_request *)r = (struct rope_cache_request){ (enum dtype)d[Q_TYPE], (enum dtype)d[KV_TYPE],
								       d[D], d[V_D], (int32_t)d[ROTARY] };
}

/* Token t's slot: scattered over more pages than are needed; every fifth token has none. */
static int64_t n_pages(const struct kc_case *c)
{
	return c->t / c->shape->dim[PAGE] * 2 + 3;
}

static int64_t slot_of(const struct kc_case *c, int64_t t)
{
	int64_t n = n_pages(c) * c->shape->dim[PAGE];
	int64_t step = n % 7 ? 7 : 11; /* has no factor in common with n, so that slots differ */
	while (n % step == 0)
		step += 2;
	return c->ids[t] % 5 == 4 ? -1 : (t * step + 2) % n;
}

static void add_cache(struct kc_case *c, const char *name, enum dtype type, int64_t cols)
{
	const int64_t *d = c->shape->dim;
	int64_t n = c->t * d[KV_HEADS];
	int64_t *at = mem_alloc((size_t)n * sizeof *at), *key = mem_alloc((size_t)n * sizeof *key);
	CHECK(at && key);
	for (int64_t i = 0; i < n; i++) {
		int64_t t = i / d[KV_HEADS], h = i % d[KV_HEADS], slot = slot_of(c, t);
		int64_t token = (slot / d[PAGE] * d[KV_HEADS] + h) * d[PAGE] + slot % d[PAGE];
		at[i] = slot < 0 ? -1 : token * cols;
		key[i] = c->ids[t] * d[KV_HEADS] + h;
	}
	kc_scattered(c, name, KC_OUT, type, n_pages(c) * d[KV_HEADS] * d[PAGE] * cols, n, cols, at,
		     key);
	mem_free(at);
	mem_free(key);
}

static void build(struct kc_case *c)
{
	const int64_t *d = c->shape->dim;
	kc_tokens(c, "q", KC_IN, DTYPE_F32, d[HEADS] * d[D], d[HEADS] * d[D] + c->pad);
	kc_tokens(c, "k", KC_IN, DTYPE_F32, d[KV_HEADS] * d[D], d[KV_HEADS] * d[D] + 2 * c->pad);
	kc_tokens(c, "v", KC_IN, DTYPE_F32, d[KV_HEADS] * d[V_D], d[KV_HEADS] * d[V_D] + 3 * c->pad);
	if (d[ROTARY])
		kc_tokens(c, "table", KC_IN, DTYPE_F32, d[ROTARY], d[ROTARY]);
	struct kc_buf *slot = kc_tokens(c, "slot", KC_IN, DTYPE_I64, 1, 1);
	for (int64_t t = 0; t < c->t; t++) {
		int64_t v = slot_of(c, t);
		memcpy(slot->master + t * 8, &v, sizeof v);
	}
	kc_tokens(c, "q_out", KC_OUT, (enum dtype)d[Q_TYPE], d[HEADS] * d[D], d[HEADS] * d[D]);
	add_cache(c, "k_cache", (enum dtype)d[KV_TYPE], d[D]);
	add_cache(c, "v_cache", (enum dtype)d[KV_TYPE], d[V_D]);
	if (d[KV_TYPE] == DTYPE_I8) {
		add_cache(c, "k_scale", DTYPE_F32, 1);
		add_cache(c, "v_scale", DTYPE_F32, 1);
	}
}

/* Value i of a head that begins at column `first`, rotated: two products and a sum, each rounded to float32. */
static float rotated(const struct kc_case *c, const struct kc_buf *x, int64_t t, int64_t first, int64_t i)
{
	const struct kc_buf *table = kc_find(c, "table");
	int64_t half = c->shape->dim[ROTARY] / 2;
	float own = (float)kc_in(x, t, first + i);
	if (i >= 2 * half)
		return own;
	float other = (float)kc_in(x, t, first + (i < half ? i + half : i - half));
	float cosine = (float)kc_in(table, t, i % half), sine = (float)kc_in(table, t, half + i % half);
	float a = own * cosine, b = other * sine;
	return i < half ? a - b : a + b;
}

/* Expects n values in a row of a cache: themselves, or integers and their scale. */
static void expect_row(struct kc_case *c, bool keys, int64_t row, const float *x, int64_t n)
{
	struct kc_buf *cache = kc_find(c, keys ? "k_cache" : "v_cache"), *scales = kc_find(c, keys ? "k_scale" : "v_scale");
	float most = 0;
	for (int64_t i = 0; i < n; i++)
		most = fmaxf(most, fabsf(x[i]));
	float scale = most / 127;
	for (int64_t i = 0; i < n; i++) {
		float integer = scale > 0 ? fmaxf(-127, fminf(127, rintf(x[i] / scale))) : 0;
		kc_expect_exact(cache, row, i, scales ? integer : x[i]);
	}
	if (scales)
		kc_expect_exact(scales, row, 0, scale);
}

static void oracle(struct kc_case *c)
{
	const int64_t *d = c->shape->dim;
	float x[512];
	for (int64_t t = 0; t < c->t; t++) {
		for (int64_t i = 0; i < d[HEADS] * d[D]; i++)
			kc_expect_exact(kc_find(c, "q_out"), t, i,
					rotated(c, kc_find(c, "q"), t, i / d[D] * d[D], i % d[D]));
		for (int64_t h = 0; h < d[KV_HEADS]; h++) {
			for (int64_t i = 0; i < d[D]; i++)
				x[i] = rotated(c, kc_find(c, "k"), t, h * d[D], i);
			expect_row(c, true, t * d[KV_HEADS] + h, x, d[D]);
			for (int64_t i = 0; i < d[V_D]; i++)
				x[i] = (float)kc_in(kc_find(c, "v"), t, h * d[V_D] + i);
			expect_row(c, false, t * d[KV_HEADS] + h, x, d[V_D]);
		}
	}
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

static struct rope_cache_args args_of(const struct kc_case *c)
{
	const int64_t *d = c->shape->dim;
	return (struct rope_cache_args){
		.q = kc_ptr(c, "q"),
		.k = kc_ptr(c, "k"),
		.v = kc_ptr(c, "v"),
		.table = kc_ptr(c, "table"),
		.slot = kc_ptr(c, "slot"),
		.q_out = kc_ptr(c, "q_out"),
		.k_cache = kc_ptr(c, "k_cache"),
		.v_cache = kc_ptr(c, "v_cache"),
		.k_scale = kc_ptr(c, "k_scale"),
		.v_scale = kc_ptr(c, "v_scale"),
		.t = c->t,
		.n_heads = d[HEADS],
		.n_kv_heads = d[KV_HEADS],
		.head_dim = d[D],
		.v_head_dim = d[V_D],
		.page_size = d[PAGE],
		.q_stride = kc_find(c, "q")->stride,
		.k_stride = kc_find(c, "k")->stride,
		.v_stride = kc_find(c, "v")->stride,
		.rotary_dim = (int32_t)d[ROTARY],
		.q_type = (enum dtype)d[Q_TYPE],
		.kv_type = (enum dtype)d[KV_TYPE],
	};
}

static void call(const struct kc_case *c, int row, int64_t begin, int64_t end)
{
	struct rope_cache_args a = args_of(c);
	rope_cache_kernel(row)(&a, begin, end);
}

static int gpu_find(struct kc_case *c, struct gpu *g, int row, const void *request)
{
	return rope_cache_cuda_find(g, row, request, (struct rope_cache_cuda *)(void *)c->kernel);
}

static void gpu_run(const struct kc_case *c, struct gpu *g)
{
	struct rope_cache_args a = args_of(c);
	rope_cache_cuda_run(g, (const struct rope_cache_cuda *)(const void *)c->kernel, &a);
}

static struct kc_cost cost(const struct kc_case *c)
{
	const int64_t *d = c->shape->dim;
	double q = (double)(c->t * d[HEADS] * d[D]), kv = (double)(c->t * d[KV_HEADS] * (d[D] + d[V_D]));
	return (struct kc_cost){ .bytes = q * (4 + (double)dtype_bytes((enum dtype)d[Q_TYPE])) +
					  kv * (4 + (double)dtype_bytes((enum dtype)d[KV_TYPE])),
				 .flops = 3 * (q + kv) };
}

static const struct kc_shape shapes[] = {
	{ .t = 0, .dim = { 2, 1, 8, 8, 8, 16, DTYPE_F32, DTYPE_F32 } },
	{ .t = 1, .dim = { 1, 1, 1, 1, 0, 1, DTYPE_F32, DTYPE_F32 } },
	{ .t = 3, .dim = { 2, 1, 7, 5, 4, 1, DTYPE_F32, DTYPE_BF16 } },
	{ .t = 7, .dim = { 4, 2, 32, 32, 32, 16, DTYPE_BF16, DTYPE_BF16 } },
	{ .t = 5, .dim = { 3, 3, 34, 33, 34, 4, DTYPE_F16, DTYPE_F16 } },
	{ .t = 6, .dim = { 4, 2, 80, 64, 20, 8, DTYPE_F32, DTYPE_F16 } },
	{ .t = 17, .dim = { 9, 3, 64, 64, 64, 16, DTYPE_BF16, DTYPE_BF16 } },
	{ .t = 18, .dim = { 8, 2, 128, 128, 128, 16, DTYPE_F32, DTYPE_BF16 } },
	{ .t = 3, .dim = { 8, 4, 256, 256, 64, 32, DTYPE_F16, DTYPE_F32 } },
	{ .t = 7, .dim = { 4, 2, 32, 32, 32, 16, DTYPE_BF16, DTYPE_I8 }, .cpu = true },
	{ .t = 9, .dim = { 3, 3, 34, 33, 20, 4, DTYPE_F32, DTYPE_I8 }, .cpu = true },
	{ .t = 5, .dim = { 2, 1, 512, 128, 64, 16, DTYPE_F16, DTYPE_I8 }, .cpu = true },
	{ .t = 1, .dim = { 2, 1, 520, 8, 8, 16, DTYPE_BF16, DTYPE_I8 }, .unsupported = true },
	{ .t = 1, .dim = { 2, 1, 8, 8, 7, 16, DTYPE_F32, DTYPE_F32 }, .unsupported = true },
	{ .t = 1, .dim = { 2, 1, 8, 8, 10, 16, DTYPE_F32, DTYPE_F32 }, .unsupported = true },
	{ .t = 1, .dim = { 2, 1, 8, 8, 8, 16, DTYPE_I8, DTYPE_F32 }, .unsupported = true },
	{ .t = 1, .dim = { 2, 1, 8, 8, 8, 16, DTYPE_F32, DTYPE_F8_E4M3 }, .unsupported = true },
	{ .t = 1, .dim = { 2, 1, 8, 0, 8, 16, DTYPE_F32, DTYPE_F32 }, .unsupported = true },
	{ .t = 512, .dim = { 32, 8, 128, 128, 128, 16, DTYPE_BF16, DTYPE_BF16 }, .bench = true },
	{ .t = 1, .dim = { 32, 8, 128, 128, 128, 64, DTYPE_BF16, DTYPE_BF16 }, .bench = true, .gpu = true },
	{ .t = 64, .dim = { 32, 8, 128, 128, 128, 64, DTYPE_BF16, DTYPE_BF16 }, .bench = true, .gpu = true },
	{ .t = 8192, .dim = { 32, 8, 128, 128, 128, 64, DTYPE_BF16, DTYPE_BF16 }, .bench = true, .gpu = true },
};

const struct kc_op kc_rope_cache_op = {
	.name = "rope_cache",
	.set = &rope_cache_set,
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
	.gpu_set = &rope_cache_cuda_set,
	.gpu_find = gpu_find,
	.gpu_run = gpu_run,
};
