/* sample.c - kcheck of sample: exact. The oracle sorts every id and runs the race with all of the kept. */
#include "kcheck.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"
#include "kernels/ops/sample_steps.h"
#include "ops/kernels.h"
#include "ops/sampling.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { V, HOW, SPREAD };
enum { GREEDY, WARM, TOP_K, TOP_P, MIN_P, ALL, PENALTIES, BANNED, N_HOW };
/* What N(0, 1) is multiplied with: logits as models give them, nearly equal ones, ones that differ much. */
enum { USUAL, FLAT, STEEP };

static const char *const how_names[N_HOW] = { "greedy", "warm", "top-k", "top-p", "min-p", "all", "penalties", "banned" };
static const char *const spread_names[] = { "", " flat", " steep" };
static const float spreads[] = { 3, 1e-3f, 40 };

static void describe(const struct kc_shape *s, char *text, size_t size)
{
	snprintf(text, size, "%lldx%lld %s%s", (long long)s->t, (long long)s->dim[V], how_names[s->dim[HOW]],
		 spread_names[s->dim[SPREAD]]);
}

static void request(const struct kc_shape *s, void *r)
{
	(void)s;
	(void)r;
}

static struct sample_params params_of(const struct kc_case *c, int64_t token)
{
	int64_t how = c->shape->dim[HOW], v = c->shape->dim[V];
	struct sample_params p = { .temperature = how == GREEDY ? 0 : 0.8, .top_p = 1, .repetition_penalty = 1,
				   .seed = c->seed + (uint64_t)token };
	if (how == TOP_K)
		p.top_k = c->shape->bench || token % 3 == 0 ? 50 : 1 + (int64_t)(kc_random(c, "k", token, 0) % (uint32_t)v);
	if (how == TOP_P)
		p.top_p = c->shape->bench || token % 3 == 0 ? 0.95 : (double)kc_random(c, "p", token, 0) * 0x1p-32;
	if (how == MIN_P || how == ALL)
		p.min_p = 0.01;
	if (how == ALL || how == PENALTIES || how == BANNED) {
		p.top_k = v / 2;
		p.top_p = 0.9;
	}
	if (how == PENALTIES) {
		p.temperature = token % 2 ? 1.5 : 0;
		p.repetition_penalty = 1.3;
		p.presence_penalty = 0.25;
		p.frequency_penalty = -0.125;
	}
	return p;
}

#define N_BANNED 3

static void ban(const struct kc_case *c, int64_t token, int32_t id[N_BANNED])
{
	for (int i = 0; i < N_BANNED; i++)
		id[i] = (int32_t)(kc_random(c, "banned", token, i) % (uint32_t)c->shape->dim[V]);
}

static void build(struct kc_case *c)
{
	int64_t v = c->shape->dim[V];
	kc_stretch(kc_tokens(c, "x", KC_IN, DTYPE_F32, v, v + c->pad), spreads[c->shape->dim[SPREAD]]);
	kc_scattered(c, "work", KC_WORK, DTYPE_F32, c->t * v, 0, 1, NULL, NULL);
	if (c->shape->dim[HOW] == PENALTIES) {
		struct kc_buf *prompt = kc_tokens(c, "prompt", KC_IN, DTYPE_U8, v, v);
		struct kc_buf *count = kc_tokens(c, "count", KC_IN, DTYPE_I32, v, v);
		for (int64_t i = 0; i < c->t * v; i++) {
			uint32_t r = kc_random(c, "known", c->ids[i / v], i % v) % (c->shape->bench ? 512 : 16);
			int32_t times = r < 4 ? (int32_t)r : 0;
			prompt->master[i] = r > 3 && r < 8;
			memcpy(count->master + i * 4, &times, sizeof times);
		}
	}
	kc_tokens(c, "id", KC_OUT, DTYPE_F32, 1, 1);
}

/* ---- The oracle ---- */

struct candidate {
	float logit;
	int32_t id;
};

static int by_probability(const void *pa, const void *pb)
{
	const struct candidate *a = pa, *b = pb;
	return a->logit != b->logit ? (a->logit > b->logit ? -1 : 1) : a->id < b->id ? -1 : 1;
}

/* How many of n sorted ids are kept. */
static int64_t filter(const struct candidate *c, int64_t n, const struct sample_params *p, int64_t v)
{
	int64_t kept = n, left = 0;
	if (p->top_k > 0 && p->top_k < v && p->top_k < n)
		for (kept = p->top_k; kept < n && c[kept].logit == c[p->top_k - 1].logit;)
			kept++;
	if (p->top_p < 1) {
		uint64_t all = 0, sum = 0;
		for (int64_t i = 0; i < kept; i++)
			all += sample_mass(sample_weight(c[i].logit - c[0].logit));
		while (left < kept && (left == 0 || (double)sum < p->top_p * (double)all))
			sum += sample_mass(sample_weight(c[left++].logit - c[0].logit));
		kept = left;
	}
	float least = p->min_p > 0 ? (float)((double)c[0].logit + log(p->min_p)) : -INFINITY;
	while (kept > 0 && c[kept - 1].logit < least)
		kept--;
	return kept;
}

static int32_t choose(struct kc_case *c, int64_t t, struct candidate *all)
{
	struct sample_params p = params_of(c, c->ids[t]);
	int64_t v = c->shape->dim[V], n = 0;
	struct kc_buf *prompt = kc_find(c, "prompt");
	int32_t banned[N_BANNED], best = -1;
	ban(c, c->ids[t], banned);
	for (int64_t i = 0; i < v; i++) {
		struct candidate x = { (float)kc_in(kc_find(c, "x"), t, i), (int32_t)i };
		int32_t count = 0;
		if (prompt)
			memcpy(&count, kc_find(c, "count")->master + (t * v + i) * 4, sizeof count);
		if (prompt && (count || prompt->master[t * v + i]))
			x.logit = sample_penalised(&p, x.logit, count);
		bool out = false;
		for (int b = 0; b < N_BANNED && c->shape->dim[HOW] == BANNED; b++)
			out |= banned[b] == x.id;
		if (p.temperature > 0)
			x.logit /= (float)p.temperature;
		if (!out)
			all[n++] = x;
	}
	if (!n)
		return -1;
	qsort(all, (size_t)n, sizeof *all, by_probability);
	if (p.temperature <= 0)
		return all[0].id;
	n = filter(all, n, &p, v);
	double top = 0;
	for (int64_t i = 0; i < n; i++) {
		double u = rng_uniform(p.seed, RNG_SAMPLE, (uint64_t)c->ids[t] * 7, (uint32_t)all[i].id);
		double score = (double)all[i].logit - log(-log(u));
		if (best < 0 || score > top || (score == top && all[i].id < best)) {
			top = score;
			best = all[i].id;
		}
	}
	return best;
}

static void oracle(struct kc_case *c)
{
	struct candidate *all = mem_alloc((size_t)c->shape->dim[V] * sizeof *all);
	CHECK(all);
	for (int64_t t = 0; t < c->t; t++)
		kc_expect_exact(kc_find(c, "id"), t, 0, (float)choose(c, t, all));
	mem_free(all);
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

/* Scratch that nobody has written is not there yet: making it there would be what is timed. */
static void load(struct kc_case *c, int row)
{
	(void)row;
	memset(kc_ptr(c, "work"), 0, (size_t)(c->t * c->shape->dim[V]) * sizeof(float));
}

static void call(const struct kc_case *c, int row, int64_t begin, int64_t end)
{
	int64_t v = c->shape->dim[V];
	const float *x = kc_ptr(c, "x");
	float *work = kc_ptr(c, "work"), *id = kc_ptr(c, "id");
	const uint8_t *prompt = kc_ptr(c, "prompt");
	const int32_t *count = kc_ptr(c, "count");
	for (int64_t t = begin; t < end; t++) {
		struct sample_params p = params_of(c, c->ids[t]);
		int32_t banned[N_BANNED];
		ban(c, c->ids[t], banned);
		struct sample_args a = {
			.logits = x + t * kc_find(c, "x")->stride, .n_vocab = v, .params = &p, .position = c->ids[t] * 7,
			.in_prompt = prompt ? prompt + t * v : NULL, .count = count ? count + t * v : NULL,
			.banned = banned, .n_banned = c->shape->dim[HOW] == BANNED ? N_BANNED : 0, .work = work + t * v,
		};
		id[t] = (float)sample_kernel(row)(&a);
	}
}

static struct kc_cost cost(const struct kc_case *c)
{
	return (struct kc_cost){ .bytes = 4.0 * (double)(c->t * c->shape->dim[V]) };
}

static const struct kc_shape shapes[] = {
	{ .t = 0, .dim = { 8, WARM } },
	{ .t = 2, .dim = { 1, ALL } },
	{ .t = 3, .dim = { 7, GREEDY } },
	{ .t = 5, .dim = { 31, GREEDY, STEEP } },
	{ .t = 3, .dim = { 8, WARM } },
	{ .t = 5, .dim = { 65, WARM, FLAT } },
	{ .t = 5, .dim = { 131, TOP_K } },
	{ .t = 5, .dim = { 67, TOP_K, FLAT } },
	{ .t = 5, .dim = { 131, TOP_P } },
	{ .t = 5, .dim = { 333, TOP_P, FLAT } },
	{ .t = 4, .dim = { 63, TOP_P, STEEP } },
	{ .t = 4, .dim = { 129, MIN_P } },
	{ .t = 4, .dim = { 257, ALL } },
	{ .t = 5, .dim = { 131, PENALTIES } },
	{ .t = 4, .dim = { 15, PENALTIES, STEEP } },
	{ .t = 3, .dim = { 3, BANNED } },
	{ .t = 4, .dim = { 130, BANNED } },
	{ .t = 2, .dim = { 4099, ALL }, .one_class = true },
	{ .t = 3, .dim = { 32000, TOP_P, FLAT }, .one_class = true },
	{ .t = 3, .dim = { 32000, TOP_K }, .one_class = true },
	{ .t = 16, .dim = { 128256, GREEDY }, .bench = true },
	{ .t = 16, .dim = { 128256, WARM }, .bench = true },
	{ .t = 16, .dim = { 128256, TOP_K }, .bench = true },
	{ .t = 16, .dim = { 128256, TOP_P }, .bench = true },
	{ .t = 16, .dim = { 128256, TOP_P, FLAT }, .bench = true },
	{ .t = 16, .dim = { 128256, MIN_P }, .bench = true },
	{ .t = 16, .dim = { 128256, PENALTIES }, .bench = true },
};

const struct kc_op kc_sample_op = {
	.name = "sample",
	.set = &sample_set,
	.shapes = shapes,
	.n_shapes = KC_COUNT(shapes),
	.describe = describe,
	.request = request,
	.build = build,
	.oracle = oracle,
	.budget = budget,
	.extent = extent,
	.load = load,
	.call = call,
	.cost = cost,
};
