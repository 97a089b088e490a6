/* sample_steps.h - how the rows of sample for CPUs choose: one algorithm, and the loops over a row that each has of its own.
 *
 * Nothing is sorted. A filter is a bound (struct sample_kept): ids above a logit, and of those that have it the first few. It
 * is found by radix selection: logits as unsigned numbers that order like them, 11, 11 and 10 bits at a time, the mass of each
 * value of these bits summed up, and the value in which the mass that is wanted is reached looked into further. Three
 * passes find the k-th largest of a row (each id of mass 1) and the border of top_p, whatever the row holds.
 *
 * A row of the list gives its loops (struct sample_loops) and calls sample_by, in kernels/ref/sample_ref.c. All loops give the
 * same for the same arguments, bit for bit: sums are of integers, and floating operations are each rounded, with no
 * fused one among them.
 */
#ifndef KERNELS_SAMPLE_STEPS_H
#define KERNELS_SAMPLE_STEPS_H

#include "sample.h"

#include <math.h>

/* ---- Mass ---- */

/* exp(y) = 2^n 2^f with |f| <= 1 / 2: 2^f = 1 + f * polynomial, lowest power first; error 9.1e-8 before rounding
 * (tools/fit_math.py). y * log2(e) is rounded to float32, which far from the most probable id is the larger error:
 * 1.2e-6 of the mass at y = -20. */
#define SAMPLE_LOG2E 0x1.715476p+0f
#define SAMPLE_2F_0 0x1.62e42ap-1f
#define SAMPLE_2F_1 0x1.ebf9bcp-3f
#define SAMPLE_2F_2 0x1.c6b752p-5f
#define SAMPLE_2F_3 0x1.3cea88p-7f
#define SAMPLE_2F_4 0x1.5bba0ep-10f
/* The sum with it is rounded to an integer, which its lower bits hold. */
#define SAMPLE_ROUND 0x1.8p23f
#define SAMPLE_ROUND_BITS 0x4b400000u
#define SAMPLE_MASS_BITS 40
/* The mass of less is below 1. */
#define SAMPLE_LEAST_LOG2 (-(SAMPLE_MASS_BITS + 1.0f))

static inline uint32_t sample_bits(float x)
{
	uint32_t bits;
	memcpy(&bits, &x, sizeof bits);
	return bits;
}

static inline float sample_of_bits(uint32_t bits)
{
	float x;
	memcpy(&x, &bits, sizeof x);
	return x;
}

/* 2^40 exp(y) for y <= 0; 0 where that is well below 1. */
static inline float sample_weight(float y)
{
	float t = y * SAMPLE_LOG2E, shifted = t + SAMPLE_ROUND, f = t - (shifted - SAMPLE_ROUND);
	float p = SAMPLE_2F_4 * f + SAMPLE_2F_3;
	p = p * f + SAMPLE_2F_2;
	p = p * f + SAMPLE_2F_1;
	p = p * f + SAMPLE_2F_0;
	p = p * f + 1.0f;
	uint32_t exponent = sample_bits(shifted) - SAMPLE_ROUND_BITS + SAMPLE_MASS_BITS;
	return t > SAMPLE_LEAST_LOG2 ? sample_of_bits(sample_bits(p) + (exponent << 23)) : 0.0f;
}

/* The mass of an id: what lies behind the point is cut off. */
static inline uint64_t sample_mass(float weight)
{
	return (uint64_t)(int64_t)weight;
}

/* ---- Selection ---- */

#define SAMPLE_DIGITS 2048

/* Orders like the number. */
static inline uint32_t sample_key(float x)
{
	uint32_t bits = sample_bits(x + 0.0f); /* -0 and 0 are equal */
	return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static inline float sample_of_key(uint32_t key)
{
	return sample_of_bits(key & 0x80000000u ? key ^ 0x80000000u : ~key);
}

struct sample_search {
	uint32_t prefix; /* the leading bits of the key that is looked for */
	int shift, bits; /* the digit behind them: its place and size; a key belongs to the search where key >> shift >> bits is the prefix */
	uint64_t above;  /* the mass of keys with a larger prefix */
	uint64_t mass[2][SAMPLE_DIGITS]; /* by digit, of keys that belong; to be added up: a sum of its own for every other id */
};

/* ---- The race ---- */

/* Ids with a larger logit than `logit`, and of those with that logit the ones up to `last`; -inf never. */
struct sample_kept {
	float logit;
	int64_t last;
};

struct sample_race {
	double best;
	int32_t id; /* -1: nobody has run */
};

/* The most that noise can come to: 33 ln 2, rounded up. */
#define SAMPLE_MOST_NOISE 23.0f

static inline void sample_compete(struct sample_race *race, float logit, int32_t id, uint32_t word)
{
	double u = ((double)word + 0.5) * 0x1p-32;
	double score = (double)logit - log(-log(u));
	if (race->id < 0 || score > race->best || (score == race->best && id < race->id))
		*race = (struct sample_race){ score, id };
}

/* ---- Loops over a row x of n ---- */

/* Ids are dealt to so many sets. */
#define SAMPLE_SETS 64

struct sample_loops {
	/* The largest of each set of ids, whichever they are; -inf of an empty one. False where there is a NaN or +inf. */
	bool (*largest)(const float *x, int64_t n, float top[SAMPLE_SETS]);
	/* The id of the nth (from 1) x equal to `value`, which is there. */
	int64_t (*nth_equal)(const float *x, int64_t n, float value, uint64_t nth);
	/* sample_penalised for the ids that the prompt or the answer holds. */
	void (*penalise)(const struct sample_args *a, float *x);
	void (*divide)(const float *x, int64_t n, float temperature, float *out);
	/* Adds to s->mass, for all ids of x >= least that belong to the search, 1 each. */
	void (*add_counts)(const float *x, int64_t n, float least, struct sample_search *s);
	/* The same with the mass of sample_weight(x - max) each. */
	void (*add_masses)(const float *x, int64_t n, float least, float max, struct sample_search *s);
	/* The winner among the kept. */
	int32_t (*run_race)(const struct sample_args *a, const float *x, const struct sample_kept *kept);
};

static inline float sample_penalised(const struct sample_params *p, float logit, int32_t count)
{
	float repetition = (float)p->repetition_penalty;
	logit = logit > 0 ? logit / repetition : logit * repetition;
	return count ? logit - (float)(p->frequency_penalty * count + p->presence_penalty) : logit;
}

/* Chooses by these loops. */
int32_t sample_by(const struct sample_loops *loops, const struct sample_args *a);

#endif
