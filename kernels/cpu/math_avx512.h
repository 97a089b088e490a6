/* math_avx512.h - exp, tanh and the activations on 16 lanes.
 *
 * Errors against the exact value of the float32 argument, measured over the arguments' range: exp 1.02 ulp, tanh 1.4
 * ulp; the activations 6 ulp times one plus the exponent that they go through, plus 2^-149 |x| where the exponential is
 * denormal. NaN gives NaN; denormal results are given, not flushed. Both vector widths give the same bits.
 */
#ifndef CPU_MATH_AVX512_H
#define CPU_MATH_AVX512_H

#include "kernels/ops/glu.h"
#include "math_poly.h"

#include <immintrin.h>

static inline __m512 avx512_exp(__m512 x)
{
	/* min and max give their second operand where one is NaN. */
	x = _mm512_max_ps(_mm512_set1_ps(EXP_LOW), _mm512_min_ps(_mm512_set1_ps(EXP_HIGH), x));
	__m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(EXP_LOG2E)),
					_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
	__m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(EXP_LN2_HIGH), x);
	r = _mm512_fnmadd_ps(n, _mm512_set1_ps(EXP_LN2_LOW), r);
	__m512 p = _mm512_fmadd_ps(_mm512_set1_ps(EXP_4), r, _mm512_set1_ps(EXP_3));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP_2));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP_1));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP_0));
	p = _mm512_fmadd_ps(_mm512_mul_ps(r, r), p, r);
	return _mm512_scalef_ps(_mm512_add_ps(p, _mm512_set1_ps(1.0f)), n);
}

static inline __m512 avx512_tanh(__m512 x)
{
	__m512 one = _mm512_set1_ps(1.0f), two = _mm512_set1_ps(2.0f);
	__m512 size = _mm512_abs_ps(x), square = _mm512_mul_ps(x, x);
	__m512 p = _mm512_fmadd_ps(_mm512_set1_ps(TANH_5), square, _mm512_set1_ps(TANH_4));
	p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(TANH_3));
	p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(TANH_2));
	p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(TANH_1));
	p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(TANH_0));
	__m512 small = _mm512_fmadd_ps(_mm512_mul_ps(square, p), size, size);
	__m512 e = avx512_exp(_mm512_add_ps(size, size));
	__m512 large = _mm512_sub_ps(one, _mm512_div_ps(two, _mm512_add_ps(e, one)));
	__mmask16 is_small = _mm512_cmp_ps_mask(size, _mm512_set1_ps(TANH_SMALL), _CMP_LT_OQ);
	__m512 sign = _mm512_and_ps(x, _mm512_set1_ps(-0.0f));
	return _mm512_or_ps(_mm512_mask_mov_ps(large, is_small, small), sign);
}

/* erfc(sqrt(x^2 / 2)) / 2, the tail of the normal distribution beyond |x|. */
static inline __m512 avx512_normal_tail(__m512 x)
{
	__m512 size = _mm512_min_ps(_mm512_set1_ps(14.8f), _mm512_abs_ps(x));
	__m512 z = _mm512_mul_ps(size, _mm512_set1_ps(SQRT_HALF));
	__m512 two = _mm512_set1_ps(2.0f);
	__m512 t = _mm512_div_ps(_mm512_sub_ps(z, two), _mm512_add_ps(z, two));
	__m512 p = _mm512_fmadd_ps(_mm512_set1_ps(ERFC_11), t, _mm512_set1_ps(ERFC_10));
	p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(ERFC_9));
	p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(ERFC_8));
	p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(ERFC_7));
	p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(ERFC_6));
	p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(ERFC_5));
	p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(ERFC_4));
	p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(ERFC_3));
	p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(ERFC_2));
	p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(ERFC_1));
	p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(ERFC_0));
	/* exp(-x^2 / 2): the rounding of the square is known exactly and made good to first order. */
	__m512 square = _mm512_mul_ps(size, size);
	__m512 lost = _mm512_fmsub_ps(size, size, square);
	__m512 half = _mm512_set1_ps(0.5f);
	__m512 e = avx512_exp(_mm512_mul_ps(square, _mm512_set1_ps(-0.5f)));
	e = _mm512_fnmadd_ps(_mm512_mul_ps(lost, half), e, e);
	p = _mm512_div_ps(p, _mm512_fmadd_ps(two, z, _mm512_set1_ps(1.0f)));
	return _mm512_mul_ps(_mm512_mul_ps(p, half), e);
}

/* x / (1 + exp(-u)), by an exponential that cannot overflow. */
static inline __m512 avx512_gate(__m512 x, __m512 u)
{
	__m512 e = avx512_exp(_mm512_or_ps(u, _mm512_set1_ps(-0.0f)));
	__mmask16 negative = _mm512_cmp_ps_mask(u, _mm512_setzero_ps(), _CMP_LT_OQ);
	return _mm512_div_ps(_mm512_mask_mul_ps(x, negative, x, e), _mm512_add_ps(e, _mm512_set1_ps(1.0f)));
}

static inline __attribute__((always_inline)) __m512 avx512_activate(enum glu_activation activation, __m512 x)
{
	if (activation == GLU_GELU_TANH) {
		/* (1 + tanh(v)) / 2 = 1 / (1 + exp(-2 v)), which does not cancel for negative v. */
		__m512 cube = _mm512_mul_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(GELU_CUBE));
		__m512 v = _mm512_mul_ps(_mm512_fmadd_ps(cube, x, x), _mm512_set1_ps(GELU_SLOPE));
		return avx512_gate(x, _mm512_add_ps(v, v));
	}
	if (activation == GLU_GELU) {
		__m512 tail = avx512_normal_tail(x);
		__mmask16 negative = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
		__m512 share = _mm512_mask_mov_ps(_mm512_sub_ps(_mm512_set1_ps(1.0f), tail), negative, tail);
		return _mm512_mul_ps(x, share);
	}
	return avx512_gate(x, x);
}

#endif
