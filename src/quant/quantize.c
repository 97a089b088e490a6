/* quantize.c - see quantize.h for what is computed; here is how the search goes.
 *
 * 32 groups are done at once, side by side: lane l of every array is group l's, and a loop over lanes is the innermost. Lanes
 * never meet, sums go over a group's weights in ascending order, and nothing is fused: compilers make vector code of any
 * width from it, all with the same bits. For that no loop over lanes compares floats (which may trap, so that a branch is
 * made of it): floats that are not negative are in the order of their bits taken as integers. (With 8 or 16 lanes the inner
 * loop is unrolled before it is made vector code, and little of it is.)
 *
 * Q8: a scale of max|w| / 127 is one of several that are about as good, and what is left to rounding differs by chance: the best
 * of 12, improved by the least-squares scale for its q's, leaves 20 % less squared error (demo model: 8 candidates 17 % and with
 * the last step 19 %; 16 candidates 21 %).
 *
 * Q6: the same search. Of 6 bits it pays to cut the largest a little off for the sake of the others, and -32 is there to be used: of
 * plain rounding's squared error 15 % goes, 10 % where nothing is cut off (demo model's head and down projections). Weighted as
 * q4's candidates are, it comes to the same divergence.
 *
 * Q4: a candidate begins with a step of (max - min) / (15 + d) for some d, which gives every weight its q. For those q's
 * the best scale and offset are a weighted least-squares line, solved in closed form. Both are rounded to what is stored, the
 * q's are taken again under the rounded pair, and the candidate with the least error of what will really be stored wins; the
 * first of equals. The range always holds 0, for a zero is one of 0 to 16. 2026-11-22, weights alone quantised, divergence of the
 * demo model from bf16 in 1e-4 nats: no search 9.7; 6 candidates 7.19, 9 7.19, 13 7.08, 25 7.02. 2026-11-23, on other text, the weighted
 * error of the demo model's weights and its divergence: no search 14.4 and 10.2; 6 candidates 11.97 and 7.8; 8 from 13.0 on 11.86 and 8.4; 12
 * of 0.3 from there 11.83 and 8.2; 18 of 0.25 from 12.0 on 11.71 and 7.3: less error, but in what it does to the model chance is larger.
 */
#include "quantize.h"

#include "base/dtype.h"

#include <math.h>
#include <string.h>

#ifndef QUANTIZER /* this file is compiled once for each instruction set */
#define QUANTIZER quantizer_any
#endif

#define N QUANT_GROUP
#define LANES 32
#define F16_MAX 65504.0f

typedef float lanes[LANES];

static inline int32_t bits_of(float f)
{
	int32_t i;
	memcpy(&i, &f, sizeof i);
	return i;
}

static inline float of_bits(int32_t i)
{
	float f;
	memcpy(&f, &i, sizeof f);
	return f;
}

static inline int32_t larger(int32_t a, int32_t b)
{
	return a > b ? a : b;
}

static inline int32_t smaller(int32_t a, int32_t b)
{
	return a < b ? a : b;
}

/* All ones where it holds. A choice by `? :` is made a branch again where one side is computed and not used otherwise. */
static inline int32_t mask(bool condition)
{
	return -(int32_t)condition;
}

/* v where it is from 0 to most; below 0, and -NaN, it is 0; above, and NaN, it is most. */
static inline float within(float v, float most)
{
	return of_bits(smaller(larger(bits_of(v), 0), bits_of(most)));
}

#define MAGIC 12582912.0f /* 1.5 * 2^23: floats from 2^22 below it to 2^22 above it are the integers */

/* To the nearest integer, ties to even, for |x| < 2^22; compilers vectorise this and not rintf. */
static inline float nearest(float x)
{
	return (x + MAGIC) - MAGIC;
}

/* The nearest integer from low to high, for any x. */
static inline float nearest_within(float x, float low, float high)
{
	int32_t sum = bits_of(x + MAGIC);
	return of_bits(smaller(larger(sum, bits_of(MAGIC + low)), bits_of(MAGIC + high))) - MAGIC;
}

/* The nearest f16, as a float; 0 where that is no positive finite number. */
static inline float f16_near(float x)
{
	int32_t b = bits_of(x), normal = (int32_t)(((uint32_t)b + 0xfffu + ((uint32_t)b >> 13 & 1)) & ~0x1fffu);
	/* Subnormal numbers are multiples of 2^-24, which is the distance of floats from 0.5 to 1. */
	int32_t subnormal = bits_of((x + 0.5f) - 0.5f), small = mask(b < bits_of(0x1p-14f));
	int32_t r = (subnormal & small) | (normal & ~small);
	return of_bits(r & mask(b > 0) & mask(r <= bits_of(F16_MAX)));
}

/* Groups of a row: x[i][l] is weight i of group l, 0 behind the row's end. */
struct block {
	float x[N][LANES];
	int32_t n[LANES]; /* weights of each group */
	int n_groups;
};

static void load_block(struct block *b, const float *x, int64_t k)
{
	if (k >= N * LANES) { /* constant lengths make better code */
		for (int l = 0; l < LANES; l++) {
			b->n[l] = N;
			for (int i = 0; i < N; i++)
				b->x[i][l] = x[l * N + i];
		}
		b->n_groups = LANES;
		return;
	}
	memset(b->x, 0, sizeof b->x);
	b->n_groups = (int)((k + N - 1) / N);
	for (int l = 0; l < LANES; l++) {
		int64_t n = k - l * N;
		b->n[l] = n > N ? N : n > 0 ? (int32_t)n : 0;
		for (int i = 0; i < b->n[l]; i++)
			b->x[i][l] = x[l * N + i];
	}
}

/* The largest |x| of each group; false where one is beyond `most`, or NaN. */
static bool sizes(const struct block *b, float most, lanes size)
{
	int32_t largest[LANES] = { 0 }, all = 0;
	for (int i = 0; i < N; i++)
		for (int l = 0; l < LANES; l++)
			largest[l] = larger(largest[l], bits_of(b->x[i][l]) & INT32_MAX);
	for (int l = 0; l < LANES; l++) {
		all = larger(all, largest[l]);
		size[l] = of_bits(largest[l]);
	}
	return all <= bits_of(most);
}

/* ---- 8 and 6 bits ---- */

#define CANDIDATES 12

/* What is computed for a form is compiled for it, with these numbers as constants. */
#define FOR_FORM static inline __attribute__((always_inline))

struct form {
	float low, high;   /* of q */
	float first, step; /* candidates are max|w| over first, first + step, ... */
	bool cuts;         /* weights beyond low or high are cut off; or else such a scale is not taken */
	int bits;
};

static const struct form q8 = { .low = -127, .high = 127, .first = 120, .step = 7.4f / (CANDIDATES - 1), .bits = 8 };
static const struct form q6 = { .low = -32, .high = 31, .first = 27, .step = 6.0f / (CANDIDATES - 1), .cuts = true, .bits = 6 };

/* x / scale: what surely is no more than `high` when it is rounded. */
FOR_FORM float reach(const struct form *f)
{
	return f->high + 0.49f;
}

FOR_FORM float integer(const struct form *f, float v)
{
	return f->cuts ? nearest_within(v, f->low, f->high) : nearest(v);
}

/* The f16 nearest to most / high; the next above where rounding, among the subnormal, would cut the largest off. */
FOR_FORM float plain_scale(const struct form *f, float most)
{
	uint16_t h = f32_to_f16(most / f->high);
	return f16_to_f32(most > reach(f) * f16_to_f32(h) ? (uint16_t)(h + 1) : h);
}

struct fit {
	lanes scale, error;
};

/* 1 / scale for a scale that f16 holds; 2^24 for 0. */
static inline float inverse_of(float scale)
{
	return 1.0f / of_bits(larger(bits_of(scale), bits_of(0x1p-24f)));
}

/* Takes these scales where they err less, and reach all weights or may cut them off. */
FOR_FORM void consider(const struct form *f, const struct block *b, const lanes size, const lanes scale, struct fit *best)
{
	lanes inverse, error = { 0 };
	for (int l = 0; l < LANES; l++)
		inverse[l] = inverse_of(scale[l]);
	for (int i = 0; i < N; i++)
		for (int l = 0; l < LANES; l++) {
			float d = integer(f, b->x[i][l] * inverse[l]) * scale[l] - b->x[i][l];
			error[l] += d * d;
		}
	for (int l = 0; l < LANES; l++) {
		bool reaches = f->cuts || bits_of(size[l]) <= bits_of(reach(f) * scale[l]);
		bool take = reaches && bits_of(error[l]) < bits_of(best->error[l]);
		best->scale[l] = take ? scale[l] : best->scale[l];
		best->error[l] = take ? error[l] : best->error[l];
	}
}

/* The scale of least squares for the q's that a scale gives. */
FOR_FORM void refine(const struct form *f, const struct block *b, const lanes scale, lanes refined)
{
	lanes inverse, qx = { 0 }, qq = { 0 };
	for (int l = 0; l < LANES; l++)
		inverse[l] = inverse_of(scale[l]);
	for (int i = 0; i < N; i++)
		for (int l = 0; l < LANES; l++) {
			float q = integer(f, b->x[i][l] * inverse[l]);
			qx[l] += q * b->x[i][l];
			qq[l] += q * q;
		}
	for (int l = 0; l < LANES; l++)
		refined[l] = f16_near(qx[l] / qq[l]);
}

/* The scales of up to 32 groups; false where a weight is too large for one, or no number. */
FOR_FORM bool search(const struct form *f, const struct block *b, struct fit *best)
{
	lanes size, candidate;
	if (!sizes(b, f->high * F16_MAX, size))
		return false;
	for (int l = 0; l < LANES; l++) {
		candidate[l] = plain_scale(f, size[l]);
		best->scale[l] = 0;
		best->error[l] = INFINITY;
	}
	consider(f, b, size, candidate, best);
	for (int c = 0; c < CANDIDATES; c++) {
		const float part = 1.0f / (f->first + f->step * (float)c);
		for (int l = 0; l < LANES; l++)
			candidate[l] = f16_near(size[l] * part);
		consider(f, b, size, candidate, best);
	}
	refine(f, b, best->scale, candidate);
	consider(f, b, size, candidate, best);
	return true;
}

static inline void write_q8(const int8_t each[N], int n, uint8_t *q)
{
	if (n == N) /* no call */
		memcpy(q, each, N);
	else
		memcpy(q, each, (size_t)n);
}

/* Four in three bytes; what is left behind the row's end is 0. */
static inline void write_q6(const int8_t each[N], int n, uint8_t *q)
{
	uint8_t packed[N / 4 * 3 + 1];
	for (int i = 0; i < N / 4; i++) {
		uint32_t v;
		memcpy(&v, each + 4 * i, sizeof v);
		v ^= 0x20202020; /* of their low 6 bits, which is 32 more */
		v = (v & 0x3f) | (v >> 2 & 0xfc0) | (v >> 4 & 0x3f000) | (v >> 6 & 0xfc0000);
		memcpy(packed + 3 * i, &v, sizeof v); /* the fourth byte is the next one's first */
	}
	if (n == N)
		memcpy(q, packed, N / 4 * 3);
	else
		memcpy(q, packed, (size_t)(n + 3) / 4 * 3);
}

FOR_FORM void write_group(const struct form *f, const float *x, int n, float scale, uint8_t *q)
{
	float inverse = inverse_of(scale), tail[N] = { 0 };
	int8_t each[N];
	if (n < N)
		x = memcpy(tail, x, (size_t)n * sizeof *x);
	for (int i = 0; i < N; i++)
		each[i] = (int8_t)(int32_t)integer(f, x[i] * inverse);
	for (int i = n; i < N; i++)
		each[i] = (int8_t)(int32_t)f->low; /* q6: stored as 0 */
	(f->bits == 8 ? write_q8 : write_q6)(each, n, q);
}

FOR_FORM bool row_of(const struct form *f, const float *x, int64_t k, uint8_t *q, uint16_t *scale)
{
	struct block b;
	struct fit best;
	for (int64_t i = 0; i < k; i += N * LANES) {
		load_block(&b, x + i, k - i);
		if (!search(f, &b, &best))
			return false;
		for (int l = 0; l < b.n_groups; l++) {
			int64_t at = i + l * N;
			scale[at / N] = f32_to_f16(best.scale[l]);
			write_group(f, x + at, b.n[l], best.scale[l], q + at * f->bits / 8);
		}
	}
	return true;
}

static bool row_q8(const float *x, int64_t k, int8_t *q, uint16_t *scale)
{
	return row_of(&q8, x, k, (uint8_t *)q, scale);
}

static bool row_q6(const float *x, int64_t k, uint8_t *q, uint16_t *scale)
{
	return row_of(&q6, x, k, q, scale);
}

/* ---- 4 bits ---- */

#define Q4_CANDIDATES 6
#define Q4_FIRST 14.0f
#define Q4_STEP 0.4f
#define ONE 8.0f /* zeros count in eighths */

struct groups_q4 {
	struct block b;
	float importance[N][LANES]; /* 0 behind the row's end */
	lanes min, width;           /* of the weights and 0 */
	lanes sum_e, sum_ex;        /* of the importances, and with x */
};

struct fit_q4 {
	lanes scale, zero, error;
};

static void weigh(struct groups_q4 *g)
{
	const struct block *b = &g->b;
	int32_t low[LANES] = { 0 }, high[LANES] = { 0 }; /* floats above 0 in the order of their bits */
	lanes mean = { 0 };
	for (int i = 0; i < N; i++)
		for (int l = 0; l < LANES; l++) {
			float x = b->x[i][l];
			low[l] = larger(low[l], bits_of(-x));
			high[l] = larger(high[l], bits_of(x));
			mean[l] += x * x;
		}
	for (int l = 0; l < LANES; l++) {
		g->min[l] = -of_bits(low[l]);
		g->width[l] = of_bits(high[l]) + of_bits(low[l]);
		mean[l] = sqrtf(mean[l] / (float)(b->n[l] > 0 ? b->n[l] : 1));
		g->sum_e[l] = g->sum_ex[l] = 0;
	}
	for (int i = 0; i < N; i++)
		for (int l = 0; l < LANES; l++) {
			float e = of_bits(bits_of(fabsf(b->x[i][l]) + mean[l]) & mask(i < b->n[l]));
			g->importance[i][l] = e;
			g->sum_e[l] += e;
			g->sum_ex[l] += e * b->x[i][l];
		}
}

/* The nearest of 0 to 15. */
static inline float place(float v)
{
	return nearest(within(v, 15.0f));
}

/* Takes these scales and zeros, which are what is stored, where they err less. */
static void consider_q4(const struct groups_q4 *g, const lanes scale, const lanes zero, struct fit_q4 *best)
{
	lanes inverse, error = { 0 };
	for (int l = 0; l < LANES; l++)
		inverse[l] = inverse_of(scale[l]);
	for (int i = 0; i < N; i++)
		for (int l = 0; l < LANES; l++) {
			float x = g->b.x[i][l], d = scale[l] * (place(x * inverse[l] + zero[l]) - zero[l]) - x;
			error[l] += g->importance[i][l] * d * d;
		}
	for (int l = 0; l < LANES; l++) {
		bool take = bits_of(error[l]) < bits_of(best->error[l]);
		best->scale[l] = take ? scale[l] : best->scale[l];
		best->zero[l] = take ? zero[l] : best->zero[l];
		best->error[l] = take ? error[l] : best->error[l];
	}
}

/* The same for a line through the weights: rounds it to what is stored. */
static void consider_line(const struct groups_q4 *g, const lanes scale, const lanes offset, struct fit_q4 *best)
{
	lanes stored, zero;
	for (int l = 0; l < LANES; l++) {
		stored[l] = f16_near(scale[l]);
		zero[l] = nearest(within(-offset[l] / scale[l] * ONE, 16 * ONE)) / ONE;
	}
	consider_q4(g, stored, zero, best);
}

/* Scale and offset of the least-squares line through the q's that steps of `step` from the minimum give. */
static void solve(const struct groups_q4 *g, const lanes step, lanes scale, lanes offset)
{
	lanes inverse, sq = { 0 }, sqq = { 0 }, sqx = { 0 };
	for (int l = 0; l < LANES; l++)
		inverse[l] = 1.0f / step[l];
	for (int i = 0; i < N; i++)
		for (int l = 0; l < LANES; l++) {
			float x = g->b.x[i][l], q = place((x - g->min[l]) * inverse[l]), eq = g->importance[i][l] * q;
			sq[l] += eq;
			sqq[l] += eq * q;
			sqx[l] += eq * x;
		}
	for (int l = 0; l < LANES; l++) {
		float d = g->sum_e[l] * sqq[l] - sq[l] * sq[l];
		scale[l] = (g->sum_e[l] * sqx[l] - g->sum_ex[l] * sq[l]) / d;
		offset[l] = (sqq[l] * g->sum_ex[l] - sq[l] * sqx[l]) / d;
	}
}

/* Of groups whose weights are all equal, that weight: exact where f16 holds it. Of others nothing is changed. */
static void consider_equal(const struct groups_q4 *g, struct fit_q4 *best)
{
	int32_t other[LANES] = { 0 }, equal = 0;
	lanes scale, zero;
	for (int i = 0; i < N; i++)
		for (int l = 0; l < LANES; l++)
			other[l] |= (bits_of(g->b.x[i][l]) ^ bits_of(g->b.x[0][l])) & mask(i < g->b.n[l]);
	for (int l = 0; l < LANES; l++)
		equal += other[l] == 0;
	if (!equal)
		return;
	for (int l = 0; l < LANES; l++) {
		float value = g->b.x[0][l], size = fabsf(value), q = size > F16_MAX ? 15.0f : 1.0f;
		scale[l] = other[l] ? 0 : f16_near(size / q);
		zero[l] = !other[l] && value < 0 ? q : 0;
	}
	consider_q4(g, scale, zero, best);
}

/* One group's q's, two a byte; a byte's other half behind the row's end is 0. */
static void write_q4(const float *x, int n, float scale, float zero, uint8_t *q)
{
	float inverse = inverse_of(scale), tail[N] = { 0 };
	uint8_t each[N], packed[N / 2];
	if (n < N)
		x = memcpy(tail, x, (size_t)n * sizeof *x);
	for (int i = 0; i < N; i++)
		each[i] = (uint8_t)(int32_t)place(x[i] * inverse + zero);
	for (int i = n; i < N; i++)
		each[i] = 0;
	for (int i = 0; i < N / 2; i++)
		packed[i] = (uint8_t)(each[2 * i] | each[2 * i + 1] << 4);
	if (n == N)
		memcpy(q, packed, N / 2);
	else
		memcpy(q, packed, (size_t)(n + 1) / 2);
}

static bool block_q4(const float *x, int64_t k, uint8_t *q, uint16_t *scale, uint8_t *zero)
{
	struct groups_q4 g;
	struct fit_q4 best;
	lanes size, step, offset;
	load_block(&g.b, x, k);
	/* Half of what a group of one sign could have, so that a group's width has its scale too. */
	if (!sizes(&g.b, 7.0f * F16_MAX, size))
		return false;
	weigh(&g);
	for (int l = 0; l < LANES; l++) {
		best.scale[l] = best.zero[l] = 0;
		best.error[l] = INFINITY;
		step[l] = g.width[l] / 15.0f;
	}
	consider_q4(&g, best.scale, best.zero, &best);
	consider_equal(&g, &best);
	consider_line(&g, step, g.min, &best);
	for (int c = 0; c < Q4_CANDIDATES; c++) {
		lanes fitted;
		for (int l = 0; l < LANES; l++)
			step[l] = g.width[l] * (1.0f / (Q4_FIRST + Q4_STEP * (float)c));
		solve(&g, step, fitted, offset);
		consider_line(&g, fitted, offset, &best);
	}
	for (int l = 0; l < g.b.n_groups; l++) {
		scale[l] = f32_to_f16(best.scale[l]);
		zero[l] = (uint8_t)(best.zero[l] * ONE);
		write_q4(x + l * N, g.b.n[l], best.scale[l], best.zero[l], q + l * (N / 2));
	}
	return true;
}

static bool row_q4(const float *x, int64_t k, uint8_t *q, uint16_t *scale, uint8_t *zero)
{
	for (int64_t i = 0; i < k; i += N * LANES)
		if (!block_q4(x + i, k - i, q + i / 2, scale + i / N, zero + i / N))
			return false;
	return true;
}

const struct quantizer QUANTIZER = { row_q8, row_q6, row_q4 };
