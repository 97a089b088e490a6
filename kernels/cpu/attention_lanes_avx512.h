/* attention_lanes_avx512.h - what attention_tile.h asks of a vector unit, in AVX-512 F, BW, VL and DQ.
 *
 * attention_lanes_avx2.h gives the same words in AVX2. Both combine the 16 positions of a vector in the same order, and
 * exp and tanh give the same bits on both, so that the two kernels agree bit for bit.
 */
#ifndef KERNELS_ATTENTION_LANES_AVX512_H
#define KERNELS_ATTENTION_LANES_AVX512_H

#include "avx512.h"
#include "math_avx512.h"

#include <stdint.h>

#define LANES 16
/* The micro-kernels' register blocks: rows times vectors of keys (or dimensions). */
#define BLOCK_ROWS 6
#define BLOCK_VECTORS 4

typedef __m512 vf;
typedef __m512i vi;

static inline vf vf_load(const void *p) { return _mm512_loadu_ps(p); }
static inline void vf_store(void *p, vf v) { _mm512_storeu_ps(p, v); }
static inline vf vf_set1(float f) { return _mm512_set1_ps(f); }
static inline vf vf_zero(void) { return _mm512_setzero_ps(); }
static inline vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static inline vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
/* a * b + c, rounded once. */
static inline vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static inline vf vf_exp(vf x) { return avx512_exp(x); }
static inline vf vf_tanh(vf x) { return avx512_tanh(x); }
/* v, but -inf in lanes outside begin..end. */
static inline vf vf_keep(vf v, int begin, int end)
{
	const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
	__mmask16 in = _mm512_cmpge_epi32_mask(lane, _mm512_set1_epi32(begin)) &
		       _mm512_cmplt_epi32_mask(lane, _mm512_set1_epi32(end));
	return _mm512_mask_mov_ps(_mm512_set1_ps(-__builtin_inff()), in, v);
}

static inline vi vi_load(const void *p) { return _mm512_loadu_si512(p); }
/* The first n of 16 32-bit lanes, zeros after them. */
static inline vi vi_load_n(const void *p, int n) { return _mm512_maskz_loadu_epi32((__mmask16)((1u << n) - 1), p); }
/* The first n values from element i on, as f32; then zeros. */
static inline __attribute__((always_inline)) vf vf_widen(enum dtype type, const void *p, int64_t i, int n)
{
	return avx512_load(type, p, i, n > 0 ? avx512_mask16(n) : 0);
}
/* The first n values of int8, as f32; then zeros. */
static inline vf vf_i8(const void *p, int n)
{
	return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(n > 0 ? avx512_mask16(n) : 0, p)));
}
/* Rounds the first n lanes and writes them from element i on. */
static inline __attribute__((always_inline)) void vf_narrow(enum dtype type, void *p, int64_t i, int n, vf v)
{
	avx512_store(type, p, i, avx512_mask16(n), v);
}
/* Lanes hold two bf16 each: the lower (first in memory) and the upper as f32. */
static inline vf vf_bf16_lower(vi v) { return _mm512_castsi512_ps(_mm512_slli_epi32(v, 16)); }
static inline vf vf_bf16_upper(vi v)
{
	return _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32((int)0xffff0000u)));
}
/* The inverse of taking a run of values apart into even and odd ones. */
static inline void vf_interleave(vf even, vf odd, float *out)
{
	const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
	const __m512i second = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
	_mm512_storeu_ps(out, _mm512_permutex2var_ps(even, first, odd));
	_mm512_storeu_ps(out + 16, _mm512_permutex2var_ps(even, second, odd));
}
/* Takes 16 bytes at `offset` of 16 rows; gives 4 vectors: the first 32 bits of all rows, the second, ... */
static inline void vi_transpose(const unsigned char *const *rows, int64_t offset, vi out[4])
{
	avx512_transpose(rows, offset, true, out);
}

/* The largest and the sum of a tile's 64 values. */
static inline float tile_max(const vf *s)
{
	return _mm512_reduce_max_ps(vf_max(vf_max(s[0], s[1]), vf_max(s[2], s[3])));
}

static inline float tile_sum(const vf *p)
{
	return avx512_sum_lanes(vf_add(vf_add(p[0], p[1]), vf_add(p[2], p[3])));
}

#endif
