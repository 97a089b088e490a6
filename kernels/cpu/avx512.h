/* avx512.h - loads, stores and sums that the AVX-512 kernels share.
 *
 * Tails are masked: a masked lane is neither read nor written, so nothing beyond an array is ever touched.
 */
#ifndef CPU_AVX512_H
#define CPU_AVX512_H

#include "base/dtype.h"

#include <immintrin.h>
#include <stdbool.h>

/* The first min(n, 16) lanes; n >= 1. */
static inline __mmask16 avx512_mask16(int64_t n)
{
	return n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1);
}

static inline __mmask32 avx512_mask32(int64_t n)
{
	return n >= 32 ? 0xffffffffu : (1u << n) - 1;
}

/* 16 values from element i on, as f32; zeros where `live` is clear. */
static inline __attribute__((always_inline)) __m512 avx512_load(enum dtype type, const void *p, int64_t i,
								 __mmask16 live)
{
	if (type == DTYPE_F32)
		return _mm512_maskz_loadu_ps(live, (const float *)p + i);
	__m256i bits = _mm256_maskz_loadu_epi16(live, (const uint16_t *)p + i);
	if (type == DTYPE_F16)
		return _mm512_cvtph_ps(bits);
	return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

/* The 16 lower halves, rounded to nearest even as base/dtype.h does (vcvtneps2bf16 would flush denormals). */
static inline __m256i avx512_to_bf16(__m512 v)
{
	__m512i bits = _mm512_castps_si512(v);
	__m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
	__m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
	__m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
	__mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
	rounded = _mm512_mask_mov_epi32(rounded, nan, quiet);
	return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
}

/* Rounds the live lanes once and writes them from element i on. */
static inline __attribute__((always_inline)) void avx512_store(enum dtype type, void *p, int64_t i, __mmask16 live,
								__m512 v)
{
	if (type == DTYPE_F32)
		_mm512_mask_storeu_ps((float *)p + i, live, v);
	else if (type == DTYPE_F16)
		_mm256_mask_storeu_epi16((uint16_t *)p + i, live,
					 _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
	else
		_mm256_mask_storeu_epi16((uint16_t *)p + i, live, avx512_to_bf16(v));
}

static inline __attribute__((always_inline)) __m128i avx512_load_bytes(const unsigned char *p, const bool whole)
{
	return whole ? _mm_loadu_si128((const void *)p) : _mm_loadl_epi64((const void *)p);
}

/* Takes 16 bytes (8 where not `whole`, and zeros) at `offset` of 16 rows; gives 4 vectors: the first 32 bits of all rows, the
 * second, ... */
static inline __attribute__((always_inline)) void avx512_transpose(const unsigned char *const *rows, int64_t offset, const bool whole,
								   __m512i out[4])
{
	__m512i r[4];
	for (int i = 0; i < 4; i++) { /* row i + 4 * j in part j */
		r[i] = _mm512_castsi128_si512(avx512_load_bytes(rows[i] + offset, whole));
		r[i] = _mm512_mask_broadcast_i32x4(r[i], 0x00f0, avx512_load_bytes(rows[i + 4] + offset, whole));
		r[i] = _mm512_mask_broadcast_i32x4(r[i], 0x0f00, avx512_load_bytes(rows[i + 8] + offset, whole));
		r[i] = _mm512_mask_broadcast_i32x4(r[i], 0xf000, avx512_load_bytes(rows[i + 12] + offset, whole));
	}
	__m512i a = _mm512_unpacklo_epi32(r[0], r[1]), b = _mm512_unpackhi_epi32(r[0], r[1]);
	__m512i c = _mm512_unpacklo_epi32(r[2], r[3]), d = _mm512_unpackhi_epi32(r[2], r[3]);
	out[0] = _mm512_unpacklo_epi64(a, c);
	out[1] = _mm512_unpackhi_epi64(a, c);
	out[2] = _mm512_unpacklo_epi64(b, d);
	out[3] = _mm512_unpackhi_epi64(b, d);
}

/* The sum of 16 lanes in one fixed tree: (i, i + 8), then (i, i + 4), (i, i + 2), (0, 1). */
static inline float avx512_sum_lanes(__m512 v)
{
	__m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
	__m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
	b = _mm_add_ps(b, _mm_movehl_ps(b, b));
	return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

#endif
