/* sample_loops.h - the loops of sample (kernels/ops/sample_steps.h) on vectors of LANES, for any width.
 *
 * The includer defines LANES, the types vf (float32 lanes), vi (32-bit lanes) and vm (of each lane, whether) and their words:
 * vf_load, vf_store and vi_load (and _n: the first n lanes alone, 0 < n < LANES; what is not loaded is -inf, or 0), vi_load_bytes_n
 * (n <= LANES), vi_store, vf_set1, vf_add, vf_sub, vf_mul, vf_div, vf_max, vf_keep (0 in other lanes), vi_set1,
 * vi_add, vi_sub, vi_and, vi_or, vi_xor, vi_shl, vi_shr, vi_sign (all bits of a lane its highest), vi_multiply (the upper and lower halves
 * of lanes' products with a factor), vi_transpose, vi_bits and vf_bits (the same bits as the other type), vf_of_int; comparisons:
 * vf_above, vf_at_least, vf_equal, vf_not_below (true where one is NaN), vi_equal; vm_and, vm_or, vm_bits (bit i is lane i), vm_first (the
 * first n lanes, n <= 0: none).
 *
 * What is rare or cannot be done in lanes is done one by one, in the order of ids: additions to a table, logarithms.
 */
#ifndef KERNELS_SAMPLE_LOOPS_H
#define KERNELS_SAMPLE_LOOPS_H

#include "base/rng.h"
#include "kernels/ops/sample_steps.h"

#define FOUR (4 * LANES) /* ids whose words are drawn at once: whole blocks of 4 */
#define BATCH 256

/* The lanes from i on; -inf beyond n. */
static inline vf load(const float *x, int64_t i, int64_t n)
{
	return i + LANES <= n ? vf_load(x + i) : i < n ? vf_load_n(x + i, (int)(n - i)) : vf_set1(-INFINITY);
}

#define VECTORS (SAMPLE_SETS / LANES)

static bool largest(const float *x, int64_t n, float top[SAMPLE_SETS])
{
	vf most[VECTORS], limit = vf_set1(INFINITY);
	vm bad = vm_first(0);
	int64_t i = 0;
	for (int v = 0; v < VECTORS; v++)
		most[v] = vf_set1(-INFINITY);
	for (; i + SAMPLE_SETS <= n; i += SAMPLE_SETS) {
#pragma GCC unroll 8
		for (int v = 0; v < VECTORS; v++) {
			vf y = vf_load(x + i + v * LANES);
			bad = vm_or(bad, vf_not_below(y, limit));
			most[v] = vf_max(y, most[v]); /* the second where one is NaN */
		}
	}
	for (; i < n; i += LANES) {
		vf y = load(x, i, n);
		bad = vm_or(bad, vf_not_below(y, limit));
		most[0] = vf_max(y, most[0]);
	}
	for (int v = 0; v < VECTORS; v++)
		vf_store(top + v * LANES, most[v]);
	return !vm_bits(bad);
}

static int64_t nth_equal(const float *x, int64_t n, float value, uint64_t nth)
{
	vf wanted = vf_set1(value);
	for (int64_t i = 0; i < n; i += LANES) {
		unsigned equal = vm_bits(vf_equal(load(x, i, n), wanted)); /* `value` is finite: none beyond n */
		unsigned found = (unsigned)__builtin_popcount(equal);
		if (found < nth) {
			nth -= found;
			continue;
		}
		while (--nth)
			equal &= equal - 1;
		return i + __builtin_ctz(equal);
	}
	return n;
}

static void penalise(const struct sample_args *a, float *x)
{
	for (int64_t i = 0; i < a->n_vocab; i += LANES) {
		int n = a->n_vocab - i < LANES ? (int)(a->n_vocab - i) : LANES;
		vi known = vi_set1(0);
		if (a->count)
			known = n < LANES ? vi_load_n(a->count + i, n) : vi_load(a->count + i);
		if (a->in_prompt)
			known = vi_or(known, vi_load_bytes_n(a->in_prompt + i, n));
		for (unsigned in = vm_bits(vi_equal(known, vi_set1(0))) ^ vm_bits(vm_first(LANES)); in; in &= in - 1) {
			int64_t id = i + __builtin_ctz(in);
			x[id] = sample_penalised(a->params, x[id], a->count ? a->count[id] : 0);
		}
	}
}

static void divide(const float *x, int64_t n, float temperature, float *out)
{
	vf by = vf_set1(temperature);
	int64_t i = 0;
	for (; i + LANES <= n; i += LANES)
		vf_store(out + i, vf_div(vf_load(x + i), by));
	if (i < n)
		vf_store_n(out + i, vf_div(load(x, i, n), by), (int)(n - i));
}

/* ---- Selection ---- */

static inline vi keys(vf x)
{
	vi bits = vi_bits(vf_add(x, vf_set1(0.0f)));
	return vi_xor(bits, vi_or(vi_sign(bits), vi_set1((int32_t)0x80000000u)));
}

/* sample_weight */
static inline vf weights(vf y)
{
	const vf round = vf_set1(SAMPLE_ROUND);
	vf t = vf_mul(y, vf_set1(SAMPLE_LOG2E)), shifted = vf_add(t, round), f = vf_sub(t, vf_sub(shifted, round));
	vf p = vf_add(vf_mul(vf_set1(SAMPLE_2F_4), f), vf_set1(SAMPLE_2F_3));
	p = vf_add(vf_mul(p, f), vf_set1(SAMPLE_2F_2));
	p = vf_add(vf_mul(p, f), vf_set1(SAMPLE_2F_1));
	p = vf_add(vf_mul(p, f), vf_set1(SAMPLE_2F_0));
	p = vf_add(vf_mul(p, f), vf_set1(1.0f));
	vi exponent = vi_sub(vi_bits(shifted), vi_set1((int32_t)(SAMPLE_ROUND_BITS - SAMPLE_MASS_BITS)));
	return vf_keep(vf_bits(vi_add(vi_bits(p), vi_shl(exponent, 23))), vf_above(t, vf_set1(SAMPLE_LEAST_LOG2)));
}

/* Digits and masses of some ids, collected before they are added to the table: what is stored as vectors is not read
 * one by one at once. */
struct batch {
	_Alignas(64) uint32_t digit[BATCH];
	_Alignas(64) float mass[BATCH];
	int n;
};

static void add_batch(struct sample_search *s, struct batch *b)
{
	for (int i = 0; i < b->n; i += 2) {
		s->mass[0][b->digit[i]] += sample_mass(b->mass[i]);
		s->mass[1][b->digit[i + 1]] += sample_mass(b->mass[i + 1]);
	}
	b->n = 0;
}

static inline __attribute__((always_inline)) void add_all(const float *x, int64_t n, float least, float max, bool count,
							   struct sample_search *s)
{
	struct batch b;
	b.n = 0;
	for (int64_t i = 0; i < n; i += LANES) {
		vf y = load(x, i, n);
		vi digit = vi_shr(keys(y), s->shift);
		vm in = vm_and(vf_at_least(y, vf_set1(least)), vi_equal(vi_shr(digit, s->bits), vi_set1((int32_t)s->prefix)));
		if (count && i + LANES > n)
			in = vm_and(in, vm_first(n - i));
		if (!vm_bits(in))
			continue;
		vi_store(b.digit + b.n, vi_and(digit, vi_set1((1 << s->bits) - 1)));
		vf_store(b.mass + b.n, vf_keep(count ? vf_set1(1) : weights(vf_sub(y, vf_set1(max))), in));
		b.n += LANES;
		if (b.n == BATCH)
			add_batch(s, &b);
	}
	add_batch(s, &b);
}

static void add_counts(const float *x, int64_t n, float least, struct sample_search *s)
{
	add_all(x, n, least, 0, true, s);
}

static void add_masses(const float *x, int64_t n, float least, float max, struct sample_search *s)
{
	add_all(x, n, least, max, false, s);
}

/* ---- The race ---- */

static const int32_t lane_of[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };

/* The words of ids i .. i + FOUR - 1 (i a multiple of FOUR), as rng_block gives them. */
static inline void draw(const struct sample_args *a, int64_t i, vi word[4])
{
	uint64_t position = (uint64_t)a->position, seed = a->params->seed;
	uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
	vi c0 = vi_add(vi_set1((int32_t)(i / 4)), vi_load(lane_of)), c1 = vi_set1((int32_t)(uint32_t)position);
	vi c2 = vi_set1((int32_t)((uint32_t)(position >> 32 & 0xffff) | (uint32_t)RNG_SAMPLE << 16)), c3 = vi_set1(0);
#pragma GCC unroll 10
	for (int round = 0; round < 10; round++) {
		vi h0, l0, h1, l1;
		vi_multiply(c0, 0xD2511F53u, &h0, &l0);
		vi_multiply(c2, 0xCD9E8D57u, &h1, &l1);
		c0 = vi_xor(vi_xor(h1, c1), vi_set1((int32_t)k0));
		c2 = vi_xor(vi_xor(h0, c3), vi_set1((int32_t)k1));
		c1 = l1;
		c3 = l0;
		k0 += 0x9E3779B9u;
		k1 += 0xBB67AE85u;
	}
	vi_transpose(c0, c1, c2, c3, word);
}

/* No less than the noise that a word gives: ln 2 * (leading ones + 1), as in sample_ref.c, or more. Of the leading ones 24 are
 * counted, by the exponent of the number that their complement is. */
static inline vf most_noise(vi word)
{
	vi exponent = vi_shr(vi_bits(vf_of_int(vi_shr(vi_xor(word, vi_set1(-1)), 8))), 23);
	return vf_mul(vf_of_int(vi_sub(vi_set1(127 + 24), exponent)), vf_set1(0.69314724f));
}

/* Lanes of x, from id i on, that are kept. */
static inline vm in_kept(const struct sample_kept *k, vf x, int64_t i)
{
	vm at = vm_and(vf_equal(x, vf_set1(k->logit)), vm_first(k->last + 1 - i));
	return vm_and(vm_or(at, vf_above(x, vf_set1(k->logit))), vf_above(x, vf_set1(-INFINITY)));
}

static int32_t run_race(const struct sample_args *a, const float *x, const struct sample_kept *kept)
{
	struct sample_race race = { -INFINITY, -1 };
	float mark = -INFINITY; /* a little below the best: sums in float32 are a little off */
	for (int64_t i = 0; i < a->n_vocab; i += FOUR) {
		vf y[4];
		vi word[4];
		vm in[4], any = vm_first(0);
#pragma GCC unroll 4
		for (int v = 0; v < 4; v++) {
			y[v] = load(x, i + v * LANES, a->n_vocab);
			in[v] = vm_and(in_kept(kept, y[v], i + v * LANES),
				       vf_at_least(vf_add(y[v], vf_set1(SAMPLE_MOST_NOISE)), vf_set1(mark)));
			any = vm_or(any, in[v]);
		}
		if (!vm_bits(any))
			continue;
		draw(a, i, word);
		for (int v = 0; v < 4; v++) {
			unsigned may = vm_bits(vm_and(in[v], vf_at_least(vf_add(y[v], most_noise(word[v])), vf_set1(mark))));
			if (!may)
				continue;
			uint32_t words[LANES];
			vi_store(words, word[v]);
			for (; may; may &= may - 1) {
				int lane = __builtin_ctz(may);
				int64_t id = i + v * LANES + lane;
				sample_compete(&race, x[id], (int32_t)id, words[lane]);
			}
			mark = (float)race.best - 1e-5f * (fabsf((float)race.best) + 64);
		}
	}
	return race.id;
}

static const struct sample_loops loops = { largest, nth_equal, penalise, divide, add_counts, add_masses, run_race };

#endif
