/* attention_lanes_avx512.h - what attention_tile.h asks of a vector unit, in AVX-512 F, BW, VL and DQ.
 *
 * The reductions combine lanes in an order (i with i + 8 first) that attention_lanes_avx2.h follows
 * too, so that both give equal bits.
 */
#ifndef KERNELS_ATTENTION_LANES_AVX512_H
#define KERNELS_ATTENTION_LANES_AVX512_H

#include <immintrin.h>
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
/* NaN where b is NaN. */
static inline vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
static inline vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
/* a * b + c, rounded once. */
static inline vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static inline vf vf_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline vf vf_abs(vf a) { return _mm512_abs_ps(a); }
static inline vf vf_copysign(vf a, vf sign)
{
	const __m512 mask = _mm512_castsi512_ps(_mm512_set1_epi32(INT32_MIN));
	return _mm512_or_ps(a, _mm512_and_ps(sign, mask));
}
/* 2^n for integers n in -126..127 held as floats. */
static inline vf vf_pow2(vf n)
{
	return _mm512_castsi512_ps(
		_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}
/* v, but 0 in lanes where x < limit. */
static inline vf vf_zero_below(vf v, vf x, vf limit)
{
	return _mm512_mask_mov_ps(v, _mm512_cmp_ps_mask(x, limit, _CMP_LT_OQ), _mm512_setzero_ps());
}
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
static inline vf vf_load_n(const void *p, int n) { return _mm512_castsi512_ps(vi_load_n(p, n)); }
/* n (8 or 16) values of type f16 as f32, zeros after them. */
static inline vf vf_load_f16_n(const void *p, int n)
{
	return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), p));
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
static inline void vf_store_f16(void *p, vf v)
{
	_mm256_storeu_si256(p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
/* Rounds to nearest, ties to even; NaN stays NaN. */
static inline void vf_store_bf16(void *p, vf v)
{
	__m512i bits = _mm512_castps_si512(v);
	__m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
	__m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
	__mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
	rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
	_mm256_storeu_si256(p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}

/* Takes 16 bytes at `offset` of 16 rows; gives 4 vectors: the first 32 bits of all rows, the second, ... */
static inline void vi_transpose(const unsigned char *const *rows, int64_t offset, vi out[4])
{
	__m512i r[4];
	for (int i = 0; i < 4; i++) { /* row i + 4 * j in part j */
		r[i] = _mm512_castsi128_si512(_mm_loadu_si128((const void *)(rows[i] + offset)));
		r[i] = _mm512_mask_broadcast_i32x4(r[i], 0x00f0, _mm_loadu_si128((const void *)(rows[i + 4] + offset)));
		r[i] = _mm512_mask_broadcast_i32x4(r[i], 0x0f00, _mm_loadu_si128((const void *)(rows[i + 8] + offset)));
		r[i] = _mm512_mask_broadcast_i32x4(r[i], 0xf000, _mm_loadu_si128((const void *)(rows[i + 12] + offset)));
	}
	__m512i a = _mm512_unpacklo_epi32(r[0], r[1]), b = _mm512_unpackhi_epi32(r[0], r[1]);
	__m512i c = _mm512_unpacklo_epi32(r[2], r[3]), d = _mm512_unpackhi_epi32(r[2], r[3]);
	out[0] = _mm512_unpacklo_epi64(a, c);
	out[1] = _mm512_unpackhi_epi64(a, c);
	out[2] = _mm512_unpacklo_epi64(b, d);
	out[3] = _mm512_unpackhi_epi64(b, d);
}

/* The largest and the sum of a tile's 64 values, down to 8 lanes. */
static inline __m256 tile_max(const vf *s)
{
	vf m = vf_max(vf_max(s[0], s[1]), vf_max(s[2], s[3]));
	return _mm256_max_ps(_mm512_castps512_ps256(m), _mm512_extractf32x8_ps(m, 1));
}

static inline __m256 tile_sum(const vf *p)
{
	vf v = vf_add(vf_add(p[0], p[1]), vf_add(p[2], p[3]));
	return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
}

#endif
