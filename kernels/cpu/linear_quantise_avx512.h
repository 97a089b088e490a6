/* linear_quantise_avx512.h - activations to integers, a group of 32 at a time (kernels/ops/linear_quantise.h). */
#ifndef CPU_LINEAR_QUANTISE_AVX512_H
#define CPU_LINEAR_QUANTISE_AVX512_H

#include "avx512.h"
#include "linear_groups.h"

struct quantised_group {
	__m256i q;
	float scale;
	int32_t sum;
};

static inline __attribute__((always_inline)) struct quantised_group avx512_quantise(__m512 a, __m512 b)
{
	struct quantised_group out;
	const __m512i sign = _mm512_set1_epi32((int)0x80000000u);
	__m512i size = _mm512_max_epu32(_mm512_andnot_si512(sign, _mm512_castps_si512(a)),
					_mm512_andnot_si512(sign, _mm512_castps_si512(b)));
	out.scale = linear_scale_of(_mm512_reduce_max_epu32(size));
	__m512 inverse = _mm512_set1_ps(out.scale > 0 ? 1.0f / out.scale : 0);
	__m512i qa = _mm512_cvtps_epi32(_mm512_mul_ps(a, inverse)), qb = _mm512_cvtps_epi32(_mm512_mul_ps(b, inverse));
	if (out.scale != out.scale) /* what NaN and infinities became does not matter; the sum must not overflow */
		qa = qb = _mm512_setzero_si512();
	out.sum = _mm512_reduce_add_epi32(_mm512_add_epi32(qa, qb));
	out.q = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm512_cvtepi32_epi8(qa)), _mm512_cvtepi32_epi8(qb), 1);
	return out;
}

/* Group g of token t. */
static inline __attribute__((always_inline)) struct quantised_group avx512_quantise_of(const struct linear_args *a, enum dtype type,
										       int64_t t, int64_t g)
{
	const int64_t k = g * LINEAR_GROUP, at = t * a->x_stride + k;
	const int32_t *order = a->matrix->order;
	if (order) {
		float v[LINEAR_GROUP] = { 0 };
		for (int64_t i = 0; i < LINEAR_GROUP && k + i < a->k; i++)
			v[i] = dtype_load(type, a->x, (size_t)(t * a->x_stride + order[k + i]));
		return avx512_quantise(_mm512_loadu_ps(v), _mm512_loadu_ps(v + 16));
	}
	const __mmask32 live = avx512_mask32(a->k - k);
	return avx512_quantise(avx512_load(type, a->x, at, (__mmask16)live), avx512_load(type, a->x, at + 16, (__mmask16)(live >> 16)));
}

#endif
