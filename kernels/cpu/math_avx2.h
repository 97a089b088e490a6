/* math_avx2.h - exp, tanh and the activations on 8 lanes.
 *
 * Errors against the exact value of the float32 argument, measured over the arguments' range: exp 1.02 ulp, tanh 1.4
 * ulp; the activations 6 ulp times one plus the exponent that they go through, plus 2^-149 |x| where the exponential is
 * denormal. NaN gives NaN; denormal results are given, not flushed. Both vector widths give the same bits.
 */
#ifndef CPU_MATH_AVX2_H
#define CPU_MATH_AVX2_H

#include "kernels/ops/glu.h"
#include "math_poly.h"

#include <immintrin.h>

/* v * 2^n for -160 < n < 160, in two steps: the first is exact, so that denormal results are rounded once. */
static inline __m256 avx2_scale(__m256 v, __m256i n)
{
	__m256i bias = _mm256_set1_epi32(127);
	__m256i first = _mm256_srai_epi32(n, 1), second = _mm256_sub_epi32(n, first);
	v = _mm256_mul_ps(v, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(first, bias), 23)));
	return _mm256_mul_ps(v, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(second, bias), 23)));
}

static inline __m256 avx2_exp(__m256 x)
{
	/* min and max give their second operand where one is NaN. */
	x = _mm256_max_ps(_mm256_set1_ps(EXP_LOW), _mm256_min_ps(_mm256_set1_ps(EXP_HIGH), x));
	__m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(EXP_LOG2E)),
				   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
	__m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(EXP_LN2_HIGH), x);
	r = _mm256_fnmadd_ps(n, _mm256_set1_ps(EXP_LN2_LOW), r);
	__m256 p = _mm256_fmadd_ps(_mm256_set1_ps(EXP_4), r, _mm256_set1_ps(EXP_3));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_2));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_1));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_0));
	p = _mm256_fmadd_ps(_mm256_mul_ps(r, r), p, r);
	return avx2_scale(_mm256_add_ps(p, _mm256_set1_ps(1.0f)), _mm256_cvtps_epi32(n));
}

static inline __m256 avx2_tanh(__m256 x)
{
	__m256 one = _mm256_set1_ps(1.0f), two = _mm256_set1_ps(2.0f);
	__m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x), square = _mm256_mul_ps(x, x);
	__m256 p = _mm256_fmadd_ps(_mm256_set1_ps(TANH_5), square, _mm256_set1_ps(TANH_4));
	p = _mm256_fmadd_ps(p, square, _mm256_set1_ps(TANH_3));
	p = _mm256_fmadd_ps(p, square, _mm256_set1_ps(TANH_2));
	p = _mm256_fmadd_ps(p, square, _mm256_set1_ps(TANH_1));
	p = _mm256_fmadd_ps(p, square, _mm256_set1_ps(TANH_0));
	__m256 small = _mm256_fmadd_ps(_mm256_mul_ps(square, p), size, size);
	__m256 e = avx2_exp(_mm256_add_ps(size, size));
	__m256 large = _mm256_sub_ps(one, _mm256_div_ps(two, _mm256_add_ps(e, one)));
	__m256 is_small = _mm256_cmp_ps(size, _mm256_set1_ps(TANH_SMALL), _CMP_LT_OQ);
	__m256 sign = _mm256_and_ps(x, _mm256_set1_ps(-0.0f));
	return _mm256_or_ps(_mm256_blendv_ps(large, small, is_small), sign);
}

/* erfc(sqrt(x^2 / 2)) / 2, the tail of the normal distribution beyond |x|. */
static inline __m256 avx2_normal_tail(__m256 x)
{
	__m256 size = _mm256_min_ps(_mm256_set1_ps(14.8f), _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x));
	__m256 z = _mm256_mul_ps(size, _mm256_set1_ps(SQRT_HALF));
	__m256 two = _mm256_set1_ps(2.0f);
	__m256 t = _mm256_div_ps(_mm256_sub_ps(z, two), _mm256_add_ps(z, two));
	__m256 p = _mm256_fmadd_ps(_mm256_set1_ps(ERFC_11), t, _mm256_set1_ps(ERFC_10));
	p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(ERFC_9));
	p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(ERFC_8));
	p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(ERFC_7));
	p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(ERFC_6));
	p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(ERFC_5));
	p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(ERFC_4));
	p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(ERFC_3));
	p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(ERFC_2));
	p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(ERFC_1));
	p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(ERFC_0));
	/* exp(-x^2 / 2): the rounding of the square is known exactly and made good to first order. */
	__m256 square = _mm256_mul_ps(size, size);
	__m256 lost = _mm256_fmsub_ps(size, size, square);
	__m256 half = _mm256_set1_ps(0.5f);
	__m256 e = avx2_exp(_mm256_mul_ps(square, _mm256_set1_ps(-0.5f)));
	e = _mm256_fnmadd_ps(_mm256_mul_ps(lost, half), e, e);
	p = _mm256_div_ps(p, _mm256_fmadd_ps(two, z, _mm256_set1_ps(1.0f)));
	return _mm256_mul_ps(_mm256_mul_ps(p, half), e);
}

/* x / (1 + exp(-u)), by an exponential that cannot overflow. */
static inline __m256 avx2_gate(__m256 x, __m256 u)
{
	__m256 e = avx2_exp(_mm256_or_ps(u, _mm256_set1_ps(-0.0f)));
	__m256 negative = _mm256_cmp_ps(u, _mm256_setzero_ps(), _CMP_LT_OQ);
	__m256 one = _mm256_set1_ps(1.0f), factor = _mm256_blendv_ps(one, e, negative);
	return _mm256_div_ps(_mm256_mul_ps(x, factor), _mm256_add_ps(e, one));
}

static inline __attribute__((always_inline)) __m256 avx2_activate(enum glu_activation activation, __m256 x)
{
	if (activation == GLU_GELU_TANH) {
		/* (1 + tanh(v)) / 2 = 1 / (1 + exp(-2 v)), which does not cancel for negative v. */
		__m256 cube = _mm256_mul_ps(_mm256_mul_ps(x, x), _mm256_set1_ps(GELU_CUBE));
		__m256 v = _mm256_mul_ps(_mm256_fmadd_ps(cube, x, x), _mm256_set1_ps(GELU_SLOPE));
		return avx2_gate(x, _mm256_add_ps(v, v));
	}
	if (activation == GLU_GELU) {
		__m256 tail = avx2_normal_tail(x);
		__m256 negative = _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_LT_OQ);
		__m256 share = _mm256_blendv_ps(_mm256_sub_ps(_mm256_set1_ps(1.0f), tail), tail, negative);
		return _mm256_mul_ps(x, share);
	}
	return avx2_gate(x, x);
}

#endif
