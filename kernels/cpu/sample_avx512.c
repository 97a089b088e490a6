/* sample on 16 lanes: the token that sample_ref chooses, found in a few passes over the row.
 *
 * A filter is a bound (struct kept): ids above a logit, and of those that have it the first few; nothing is sorted but the
 * neighbourhood of top-p's border. The race for logit + noise draws 64 words at once, and takes logarithms only of
 * ids that the bound of compete() in sample_ref.c lets through.
 *
 * Order of top-p's sums: exp in float32 (avx512_exp); 16 float32 lanes over 1024 ids, ascending; avx512_sum_lanes; these in float64,
 * ascending. Up to the border that is the mass of each of several logits; in its neighbourhood, single weights are
 * added in float64 in the order of (logit, id).
 */
#include "avx512.h"
#include "base/rng.h"
#include "kernels/ops/sample.h"
#include "math_avx512.h"

#include <math.h>
#include <stdbool.h>

#define SPAN 1024 /* ids whose weights are added in float32 */
#define CUTS 8    /* logits whose mass one pass finds */
#define PASSES 5  /* 104 / 9^5: a neighbourhood of 0.002 */
#define LOWEST -104.0f /* exp of less is 0 */

struct row {
	const struct sample_args *a;
	const float *x; /* logits after penalties and temperature */
	int64_t n;
	float *weight; /* [n] for top-p */
};

/* Ids with a larger logit than `logit`, and of those with that logit the ones up to `last`. */
struct kept {
	float logit;
	int64_t last;
};

static inline __m512 load(const float *x, int64_t i, int64_t n)
{
	return _mm512_mask_loadu_ps(_mm512_set1_ps(-INFINITY), avx512_mask16(n - i), x + i);
}

/* The row's maximum; false where it has a NaN or +inf. */
static bool find_max(const float *x, int64_t n, float *max)
{
	__m512 most[4];
	__mmask16 bad = 0;
	for (int v = 0; v < 4; v++)
		most[v] = _mm512_set1_ps(-INFINITY);
	for (int64_t i = 0; i < n; i += 64)
		for (int v = 0; v < 4 && i + 16 * v < n; v++) {
			__m512 y = load(x, i + 16 * v, n);
			bad |= _mm512_cmp_ps_mask(y, _mm512_set1_ps(INFINITY), _CMP_NLT_UQ);
			most[v] = _mm512_max_ps(y, most[v]); /* the second operand where one is NaN */
		}
	*max = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_max_ps(most[0], most[1]), _mm512_max_ps(most[2], most[3])));
	return !bad;
}

static int32_t first_of(const float *x, int64_t n, float value)
{
	for (int64_t i = 0; i < n; i += 16) {
		__mmask16 equal = _mm512_cmp_ps_mask(load(x, i, n), _mm512_set1_ps(value), _CMP_EQ_OQ);
		if (equal)
			return (int32_t)(i + __builtin_ctz(equal));
	}
	return -1;
}

/* ---- Penalties, temperature ---- */

static void penalise(const struct sample_args *a, float *x)
{
	const struct sample_params *p = a->params;
	float repetition = (float)p->repetition_penalty;
	for (int64_t i = 0; i < a->n_vocab && (a->count || a->in_prompt); i += 16) {
		__mmask16 live = avx512_mask16(a->n_vocab - i), known = 0;
		if (a->count)
			known |= _mm512_test_epi32_mask(_mm512_maskz_loadu_epi32(live, a->count + i), _mm512_set1_epi32(-1));
		if (a->in_prompt)
			known |= _mm_test_epi8_mask(_mm_maskz_loadu_epi8(live, a->in_prompt + i), _mm_set1_epi8(-1));
		for (; known; known &= (__mmask16)(known - 1)) {
			int64_t id = i + __builtin_ctz(known);
			int32_t count = a->count ? a->count[id] : 0;
			float l = x[id];
			l = l > 0 ? l / repetition : l * repetition;
			if (count)
				l -= (float)(p->frequency_penalty * count + p->presence_penalty);
			x[id] = l;
		}
	}
	for (int64_t i = 0; i < a->n_banned; i++)
		x[a->banned[i]] = -INFINITY;
}

static void divide(const float *x, int64_t n, float temperature, float *out)
{
	for (int64_t i = 0; i < n; i += 16)
		_mm512_mask_storeu_ps(out + i, avx512_mask16(n - i),
				      _mm512_div_ps(load(x, i, n), _mm512_set1_ps(temperature)));
}

/* ---- Filters ---- */

/* A heap of the k largest, the smallest on top: the k-th largest logit. */
static float kth_largest(const struct row *r, int64_t k, float *heap)
{
	for (int64_t i = 0; i < k; i++)
		heap[i] = -INFINITY;
	for (int64_t i = 0; i < r->n; i += 16) {
		__m512 y = load(r->x, i, r->n);
		__mmask16 more = _mm512_cmp_ps_mask(y, _mm512_set1_ps(heap[0]), _CMP_GT_OQ);
		for (; more; more &= (__mmask16)(more - 1)) {
			float x = r->x[i + __builtin_ctz(more)];
			if (!(x > heap[0]))
				continue;
			int64_t at = 0;
			for (int64_t child; (child = 2 * at + 1) < k; at = child) {
				if (child + 1 < k && heap[child + 1] < heap[child])
					child++;
				if (!(heap[child] < x))
					break;
				heap[at] = heap[child];
			}
			heap[at] = x;
		}
	}
	return heap[0];
}

/* Weights relative to max of all that are not below `least`, else 0; their sum. */
static double weigh(const struct row *r, float max, float least)
{
	double total = 0;
	for (int64_t s = 0; s < r->n; s += SPAN) {
		__m512 sum = _mm512_setzero_ps();
		for (int64_t i = s; i < s + SPAN && i < r->n; i += 16) {
			__m512 x = load(r->x, i, r->n);
			__mmask16 in = _mm512_cmp_ps_mask(x, _mm512_set1_ps(least), _CMP_GE_OQ);
			__m512 e = _mm512_maskz_mov_ps(in, avx512_exp(_mm512_sub_ps(x, _mm512_set1_ps(max))));
			_mm512_mask_storeu_ps(r->weight + i, avx512_mask16(r->n - i), e);
			sum = _mm512_add_ps(sum, e);
		}
		total += (double)avx512_sum_lanes(sum);
	}
	return total;
}

/* The mass of all that are not below each of some logits. */
static void masses(const struct row *r, const float cut[CUTS], double mass[CUTS])
{
	for (int c = 0; c < CUTS; c++)
		mass[c] = 0;
	for (int64_t s = 0; s < r->n; s += SPAN) {
		__m512 sum[CUTS];
		for (int c = 0; c < CUTS; c++)
			sum[c] = _mm512_setzero_ps();
		for (int64_t i = s; i < s + SPAN && i < r->n; i += 16) {
			__m512 x = load(r->x, i, r->n), e = _mm512_maskz_loadu_ps(avx512_mask16(r->n - i), r->weight + i);
#pragma GCC unroll 8
			for (int c = 0; c < CUTS; c++) {
				__mmask16 in = _mm512_cmp_ps_mask(x, _mm512_set1_ps(cut[c]), _CMP_GE_OQ);
				sum[c] = _mm512_mask_add_ps(sum[c], in, sum[c], e);
			}
		}
		for (int c = 0; c < CUTS; c++)
			mass[c] += (double)avx512_sum_lanes(sum[c]);
	}
}

/* Ids of low <= logit < high into c, at most `room`; how many there are. */
static int64_t collect(const struct row *r, float low, float high, struct sample_candidate *c, int64_t room)
{
	int64_t n = 0;
	for (int64_t i = 0; i < r->n; i += 16) {
		__m512 x = load(r->x, i, r->n);
		__mmask16 in = _mm512_cmp_ps_mask(x, _mm512_set1_ps(low), _CMP_GE_OQ) &
			       _mm512_cmp_ps_mask(x, _mm512_set1_ps(high), _CMP_LT_OQ);
		for (; in; in &= (__mmask16)(in - 1), n++)
			if (n < room)
				c[n] = (struct sample_candidate){ r->x[i + __builtin_ctz(in)], (int32_t)(i + __builtin_ctz(in)) };
	}
	return n;
}

/* The most probable of what is not below `least`, until their mass is top_p of all. False where so many have nearly one
 * logit that there is no room to sort them. */
static bool nucleus(const struct row *r, float max, float least, struct kept *out)
{
	struct sample_candidate *c = r->a->candidate;
	double wanted = r->a->params->top_p * weigh(r, max, least), above = 0;
	float low = fmaxf(least, max + LOWEST), high = nextafterf(max, INFINITY);
	for (int pass = 0; pass < PASSES; pass++) {
		float cut[CUTS];
		double mass[CUTS];
		for (int i = 0; i < CUTS; i++)
			cut[i] = low + (high - low) * (float)(CUTS - i) / (CUTS + 1); /* descending */
		masses(r, cut, mass);
		int i = 0;
		while (i < CUTS && (mass[i] < wanted || mass[i] <= 0)) /* one at least is kept */
			i++;
		float new_low = i < CUTS ? cut[i] : low;
		if (i > 0) {
			high = cut[i - 1];
			above = mass[i - 1];
		}
		low = new_low;
	}
	int64_t room = r->n / 2, n = collect(r, low, high, c, room);
	if (n > room)
		return false;
	for (int64_t i = n / 2; i-- > 0;)
		sample_sink(c, n, i);
	*out = (struct kept){ high, r->n }; /* none of the neighbourhood */
	while (n > 0) {
		*out = (struct kept){ c[0].logit, c[0].id };
		above += (double)r->weight[c[0].id];
		if (above >= wanted)
			break;
		c[0] = c[--n];
		sample_sink(c, n, 0);
	}
	return true;
}

/* ---- The race ---- */

struct race {
	double best;
	int32_t id;
};

static void compete(struct race *race, float logit, int32_t id, uint32_t word)
{
	double u = ((double)word + 0.5) * 0x1p-32;
	double score = (double)logit - log(-log(u));
	if (race->id < 0 || score > race->best || (score == race->best && id < race->id))
		*race = (struct race){ score, id };
}

static inline void multiply(__m512i x, uint32_t factor, __m512i *high, __m512i *low)
{
	const __m512i f = _mm512_set1_epi32((int)factor);
	__m512i even = _mm512_mul_epu32(x, f), odd = _mm512_mul_epu32(_mm512_srli_epi64(x, 32), f);
	*high = _mm512_mask_mov_epi32(_mm512_srli_epi64(even, 32), 0xaaaa, odd);
	*low = _mm512_mask_mov_epi32(even, 0xaaaa, _mm512_slli_epi64(odd, 32));
}

/* The words of ids i .. i + 63 (i a multiple of 64), as rng_block gives them. */
static void draw(const struct sample_args *a, int64_t i, __m512i word[4])
{
	const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
	uint64_t position = (uint64_t)a->position, seed = a->params->seed;
	uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
	__m512i c0 = _mm512_add_epi32(_mm512_set1_epi32((int)(i / 4)), lane), c1 = _mm512_set1_epi32((int)(uint32_t)position);
	__m512i c2 = _mm512_set1_epi32((int)((uint32_t)(position >> 32 & 0xffff) | (uint32_t)RNG_SAMPLE << 16));
	__m512i c3 = _mm512_setzero_si512();
	for (int round = 0; round < 10; round++) {
		__m512i h0, l0, h1, l1;
		multiply(c0, 0xD2511F53u, &h0, &l0);
		multiply(c2, 0xCD9E8D57u, &h1, &l1);
		c0 = _mm512_xor_si512(_mm512_xor_si512(h1, c1), _mm512_set1_epi32((int)k0));
		c2 = _mm512_xor_si512(_mm512_xor_si512(h0, c3), _mm512_set1_epi32((int)k1));
		c1 = l1;
		c3 = l0;
		k0 += 0x9E3779B9u;
		k1 += 0xBB67AE85u;
	}
	/* From one word of 16 blocks a vector to 4 words of 4 blocks. */
	__m512i p = _mm512_unpacklo_epi32(c0, c1), q = _mm512_unpackhi_epi32(c0, c1);
	__m512i s = _mm512_unpacklo_epi32(c2, c3), t = _mm512_unpackhi_epi32(c2, c3);
	__m512i b0 = _mm512_unpacklo_epi64(p, s), b1 = _mm512_unpackhi_epi64(p, s); /* blocks 0, 4, 8, 12; 1, 5, .. */
	__m512i b2 = _mm512_unpacklo_epi64(q, t), b3 = _mm512_unpackhi_epi64(q, t);
	p = _mm512_shuffle_i32x4(b0, b1, 0x44); /* blocks 0, 4, 1, 5 */
	q = _mm512_shuffle_i32x4(b0, b1, 0xee); /* 8, 12, 9, 13 */
	s = _mm512_shuffle_i32x4(b2, b3, 0x44);
	t = _mm512_shuffle_i32x4(b2, b3, 0xee);
	word[0] = _mm512_shuffle_i32x4(p, s, 0x88);
	word[1] = _mm512_shuffle_i32x4(p, s, 0xdd);
	word[2] = _mm512_shuffle_i32x4(q, t, 0x88);
	word[3] = _mm512_shuffle_i32x4(q, t, 0xdd);
}

/* No less than the noise that a word gives: ln 2 * (leading ones + 1), as in sample_ref.c, or more. */
static inline __m512 most_noise(__m512i word)
{
	__m512i ones = _mm512_set1_epi32(-1);
	__m512 size = _mm512_cvt_roundepu32_ps(_mm512_xor_si512(word, ones), _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
	__m512i exponent = _mm512_srli_epi32(_mm512_castps_si512(size), 23);
	return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_set1_epi32(159), exponent)), _mm512_set1_ps(0.69314724f));
}

/* Ids of vector v of the block at i that are kept. */
static inline __mmask16 in_kept(const struct kept *k, __m512 x, int64_t i)
{
	__mmask16 at = _mm512_cmp_ps_mask(x, _mm512_set1_ps(k->logit), _CMP_EQ_OQ);
	if (at && i + 15 > k->last)
		at &= k->last < i ? 0 : avx512_mask16(k->last + 1 - i);
	__mmask16 finite = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-INFINITY), _CMP_GT_OQ);
	return finite & (at | _mm512_cmp_ps_mask(x, _mm512_set1_ps(k->logit), _CMP_GT_OQ));
}

/* The winner among the kept. */
static int32_t run_race(const struct row *r, const struct kept *k)
{
	struct race race = { 0, -1 };
	float mark = -INFINITY; /* a little below the best */
	for (int64_t i = 0; i < r->n; i += 64) {
		__m512 x[4];
		__mmask16 in[4], any = 0;
		for (int v = 0; v < 4; v++) {
			x[v] = i + 16 * v < r->n ? load(r->x, i + 16 * v, r->n) : _mm512_set1_ps(-INFINITY);
			in[v] = in_kept(k, x[v], i + 16 * v);
			/* 33 ln 2 is the most that noise comes to. */
			in[v] &= _mm512_cmp_ps_mask(_mm512_add_ps(x[v], _mm512_set1_ps(23.0f)), _mm512_set1_ps(mark), _CMP_GE_OQ);
			any |= in[v];
		}
		if (!any)
			continue;
		__m512i word[4];
		draw(r->a, i, word);
		for (int v = 0; v < 4; v++) {
			__mmask16 may = in[v] & _mm512_cmp_ps_mask(_mm512_add_ps(x[v], most_noise(word[v])), _mm512_set1_ps(mark),
								   _CMP_GE_OQ);
			if (!may)
				continue;
			uint32_t words[16];
			_mm512_storeu_si512(words, word[v]);
			for (; may; may &= (__mmask16)(may - 1)) {
				int lane = __builtin_ctz(may);
				int64_t id = i + 16 * v + lane;
				compete(&race, r->x[id], (int32_t)id, words[lane]);
			}
			mark = (float)race.best - 1e-5f * (fabsf((float)race.best) + 64);
		}
	}
	return race.id;
}

/* ---- All of it ---- */

int32_t sample_avx512(const struct sample_args *a)
{
	const struct sample_params *p = a->params;
	struct row r = { a, a->logits, a->n_vocab, (float *)a->candidate + a->n_vocab };
	float max;
	if (!find_max(a->logits, r.n, &max))
		return -1;
	if (a->count || a->in_prompt || a->n_banned) {
		memcpy(a->work, a->logits, (size_t)r.n * sizeof *a->work);
		penalise(a, a->work);
		r.x = a->work;
		find_max(r.x, r.n, &max);
	}
	if (!isfinite(max))
		return -1;
	int32_t top = first_of(r.x, r.n, max);
	if (p->temperature <= 0)
		return top;
	float temperature = (float)p->temperature;
	max = max / temperature;
	if (!isfinite(max))
		return top; /* a temperature so small that logits overflow is greedy */
	if (p->top_k > r.n / 2)
		return sample_ref(a);
	divide(r.x, r.n, temperature, a->work);
	r.x = a->work;
	/* Everything that is finite is kept, then less and less. */
	struct kept kept = { -INFINITY, -1 };
	if (p->top_k > 0)
		kept = (struct kept){ kth_largest(&r, p->top_k, (float *)a->candidate), r.n };
	float min_logit = p->min_p > 0 ? (float)((double)max + log(p->min_p)) : -INFINITY;
	if (p->top_p < 1) {
		if (!nucleus(&r, max, fmaxf(kept.logit, -3.4e38f), &kept))
			return sample_ref(a);
	}
	if (kept.logit < min_logit)
		kept = (struct kept){ min_logit, r.n };
	return run_race(&r, &kept);
}
