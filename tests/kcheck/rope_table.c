/* rope_table.c - kcheck of rope_table. */
#include "kcheck.h"

#include "base/status.h"
#include "ops/cuda_ops.h"
#include "ops/kernels.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { KIND, ROTARY, LONGEST };

#define SWITCH_LEN 4096
#define THETA 10000.0
#define FACTOR 4.0
#define ATTENTION_FACTOR 1.1902380f

static void describe(const struct kc_shape *s, char *text, size_t size)
{
	static const char *const names[] = { "fixed", "long", "ntk", "none" };
	snprintf(text, size, "%lldx%lld %s up to %lld", (long long)s->t, (long long)s->dim[ROTARY],
		 names[s->dim[KIND]], (long long)s->dim[LONGEST]);
}

static void request(const struct kc_shape *s, void *r)
{
	*(struct rope_table_request *)r = (struct rope_table_request){ (enum rope_table_kind)s->dim[KIND] };
}

static void put_int(struct kc_buf *b, int64_t at, int64_t v)
{
	int32_t word = (int32_t)v;
	memcpy(b->master + at * 4, &word, sizeof word);
}

static void put_frequencies(struct kc_buf *b, double theta)
{
	for (int64_t i = 0; i < b->cols; i++) {
		float v = (float)pow(theta, -(double)i / (double)b->cols);
		memcpy(b->master + i * 4, &v, sizeof v);
	}
}

static void build(struct kc_case *c)
{
	const int64_t *d = c->shape->dim;
	struct kc_buf *position = kc_tokens(c, "position", KC_IN, DTYPE_I32, 1, 1);
	struct kc_buf *rope_len = kc_tokens(c, "rope_len", KC_IN, DTYPE_I32, 1, 1);
	for (int64_t t = 0; t < c->t; t++) {
		/* Position 0, the last one, and others; prompts short and long, at the switch and beyond it. */
		int64_t id = c->ids[t], random = kc_random(c, "position", id, 0) % d[LONGEST];
		int64_t lengths[] = { 1, SWITCH_LEN, SWITCH_LEN + 1, d[LONGEST] };
		put_int(position, t, id == 0 ? 0 : id == 1 ? d[LONGEST] - 1 : random);
		put_int(rope_len, t, lengths[id % 4]);
	}
	put_frequencies(kc_shared(c, "inv_freq", DTYPE_F32, 1, d[ROTARY] / 2), THETA);
	if (d[KIND] == ROPE_TABLE_LONG)
		put_frequencies(kc_shared(c, "inv_freq_long", DTYPE_F32, 1, d[ROTARY] / 2), 8 * THETA);
	kc_tokens(c, "out", KC_OUT, DTYPE_F32, d[ROTARY], d[ROTARY]);
}

static int32_t int_of(const struct kc_case *c, const char *name, int64_t t)
{
	int32_t v;
	memcpy(&v, kc_find(c, name)->master + t * 4, sizeof v);
	return v;
}

/* The frequency, and how many eps of it are uncertain. */
static double frequency(const struct kc_case *c, int64_t t, int64_t i, double *doubt)
{
	const int64_t *d = c->shape->dim;
	int32_t len = int_of(c, "rope_len", t);
	*doubt = 0;
	if (d[KIND] == ROPE_TABLE_LONG && len > SWITCH_LEN)
		return kc_in(kc_find(c, "inv_freq_long"), 0, i);
	if (d[KIND] != ROPE_TABLE_NTK || len <= SWITCH_LEN)
		return kc_in(kc_find(c, "inv_freq"), 0, i);
	double r = (double)d[ROTARY], stretch = FACTOR * len / SWITCH_LEN - (FACTOR - 1);
	*doubt = 3; /* theta', the power and its inverse are float32 */
	return pow(THETA * pow(stretch, r / (r - 2)), -2.0 * (double)i / r);
}

static void oracle(struct kc_case *c)
{
	struct kc_buf *out = kc_find(c, "out");
	int64_t half = c->shape->dim[ROTARY] / 2;
	for (int64_t t = 0; t < c->t; t++)
		for (int64_t i = 0; i < half; i++) {
			double doubt, f = frequency(c, t, i, &doubt), factor = (double)ATTENTION_FACTOR;
			double angle = (double)((float)int_of(c, "position", t) * (float)f);
			double slack = doubt * 0x1p-23 * fabs(angle) * factor;
			kc_expect(out, t, i, cos(angle) * factor, fabs(cos(angle) * factor), slack);
			kc_expect(out, t, half + i, sin(angle) * factor, fabs(sin(angle) * factor), slack);
		}
}

/* The cosine's rounding; the product's is the result's own. */
static double budget(const struct kc_case *c, const struct kc_buf *b)
{
	(void)c;
	(void)b;
	return 0.75;
}

static int64_t extent(const struct kc_case *c)
{
	return c->t;
}

static struct rope_params params_of(const struct kc_case *c)
{
	return (struct rope_params){
		.kind = (enum rope_table_kind)c->shape->dim[KIND],
		.rotary_dim = (int32_t)c->shape->dim[ROTARY],
		.attention_factor = ATTENTION_FACTOR,
		.inv_freq = kc_ptr(c, "inv_freq"),
		.inv_freq_long = kc_ptr(c, "inv_freq_long"),
		.switch_len = SWITCH_LEN,
		.theta = THETA,
		.factor = FACTOR,
	};
}

static struct rope_table_args args_of(const struct kc_case *c, const struct rope_params *params)
{
	return (struct rope_table_args){
		.position = kc_ptr(c, "position"),
		.rope_len = kc_ptr(c, "rope_len"),
		.params = params,
		.out = kc_ptr(c, "out"),
		.t = c->t,
	};
}

static void call(const struct kc_case *c, int row, int64_t begin, int64_t end)
{
	struct rope_params params = params_of(c);
	struct rope_table_args a = args_of(c, &params);
	rope_table_kernel(row)(&a, begin, end);
}

/* The params are in the GPU's memory. */
static int gpu_find(struct kc_case *c, struct gpu *g, int row, const void *request)
{
	struct rope_params params = params_of(c);
	TRY(gpu_alloc(g, &c->gpu_own, sizeof params, "kcheck"));
	gpu_upload(g, c->gpu_own, &params, sizeof params);
	return rope_table_cuda_find(g, row, request, (struct rope_table_cuda *)(void *)c->kernel);
}

static void gpu_run(const struct kc_case *c, struct gpu *g)
{
	struct rope_table_args a = args_of(c, c->gpu_own);
	rope_table_cuda_run(g, (const struct rope_table_cuda *)(const void *)c->kernel, &a,
			    (int32_t)c->shape->dim[ROTARY]);
}

static void gpu_done(struct kc_case *c, struct gpu *g)
{
	gpu_free(g, c->gpu_own);
	c->gpu_own = NULL;
}

static struct kc_cost cost(const struct kc_case *c)
{
	return (struct kc_cost){ .bytes = 4.0 * (double)(c->t * c->shape->dim[ROTARY]) };
}

static const struct kc_shape shapes[] = {
	{ .t = 0, .dim = { ROPE_TABLE_FIXED, 64, 8192 } },
	{ .t = 1, .dim = { ROPE_TABLE_FIXED, 2, 8192 }, .one_class = true },
	{ .t = 9, .dim = { ROPE_TABLE_FIXED, 128, 131072 }, .one_class = true },
	{ .t = 9, .dim = { ROPE_TABLE_LONG, 96, 131072 }, .one_class = true },
	{ .t = 9, .dim = { ROPE_TABLE_NTK, 128, 32768 }, .one_class = true },
	{ .t = 1, .dim = { ROPE_TABLE_NTK + 1, 128, 32768 }, .unsupported = true },
	{ .t = 512, .dim = { ROPE_TABLE_FIXED, 128, 8192 }, .bench = true },
	{ .t = 1, .dim = { ROPE_TABLE_FIXED, 128, 8193 }, .bench = true, .gpu = true },
	{ .t = 8192, .dim = { ROPE_TABLE_FIXED, 128, 8193 }, .bench = true, .gpu = true },
};

const struct kc_op kc_rope_table_op = {
	.name = "rope_table",
	.set = &rope_table_set,
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
	.gpu_set = &rope_table_cuda_set,
	.gpu_find = gpu_find,
	.gpu_run = gpu_run,
	.gpu_done = gpu_done,
};
