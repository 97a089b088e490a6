/* avx2.h - loads, stores and sums that the AVX2 kernels share.
 *
 * Tails are masked or go through a small copy: nothing beyond an array is ever touched.
 */
#ifndef CPU_AVX2_H
#define CPU_AVX2_H

#include "base/dtype.h"

#include <immintrin.h>

/* All bits set in the first min(n, 8) lanes; in none where n <= 0. */
static inline __m256i avx2_mask8(int64_t n)
{
	__m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
	return _mm256_cmpgt_epi32(_mm256_set1_epi32(n >= 8 ? 8 : n < 0 ? 0 : (int)n), lane);
}

static inline __attribute__((always_inline)) __m256 avx2_widen(enum dtype type, __m128i bits)
{
	if (type == DTYPE_F16)
		return _mm256_cvtph_ps(bits);
	return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

/* 8 values from element i on, as f32. */
static inline __attribute__((always_inline)) __m256 avx2_load8(enum dtype type, const void *p, int64_t i)
{
	if (type == DTYPE_F32)
		return _mm256_loadu_ps((const float *)p + i);
	return avx2_widen(type, _mm_loadu_si128((const __m128i *)(const void *)((const uint16_t *)p + i)));
}

/* The first min(n, 8) values from p on; then zeros. */
static inline __m256 avx2_load(const float *p, int64_t n)
{
	return n >= 8 ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, avx2_mask8(n));
}

/* n < 8 values from element i on, as f32; then zeros. */
static inline __attribute__((always_inline)) __m256 avx2_load_tail(enum dtype type, const void *p, int64_t i,
								    int64_t n)
{
	uint16_t bits[8] = { 0 };
	if (type == DTYPE_F32)
		return _mm256_maskload_ps((const float *)p + i, avx2_mask8(n));
	for (int64_t j = 0; j < n; j++)
		bits[j] = ((const uint16_t *)p)[i + j];
	return avx2_widen(type, _mm_loadu_si128((const __m128i *)(const void *)bits));
}

/* The lower halves, rounded to nearest even as base/dtype.h does. */
static inline __m128i avx2_to_bf16(__m256 v)
{
	__m256i bits = _mm256_castps_si256(v);
	__m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
	__m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
	__m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
	__m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
	rounded = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
	return _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
}

/* Rounds the first min(n, 8) lanes once and writes them from element i on. */
static inline __attribute__((always_inline)) void avx2_store(enum dtype type, void *p, int64_t i, int64_t n, __m256 v)
{
	if (type == DTYPE_F32 && n >= 8) {
		_mm256_storeu_ps((float *)p + i, v);
		return;
	}
	if (type == DTYPE_F32) {
		_mm256_maskstore_ps((float *)p + i, avx2_mask8(n), v);
		return;
	}
	__m128i bits = type == DTYPE_F16 ? _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT) : avx2_to_bf16(v);
	uint16_t *out = (uint16_t *)p + i;
	if (n >= 8) {
		_mm_storeu_si128((__m128i *)(void *)out, bits);
		return;
	}
	uint16_t lanes[8];
	_mm_storeu_si128((__m128i *)(void *)lanes, bits);
	for (int64_t j = 0; j < n; j++)
		out[j] = lanes[j];
}

/* The sum of 8 lanes in one fixed tree: (i, i + 4), then (i, i + 2), (0, 1). */
static inline float avx2_sum_lanes(__m256 v)
{
	__m128 a = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
	a = _mm_add_ps(a, _mm_movehl_ps(a, a));
	return _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)));
}

#endif
