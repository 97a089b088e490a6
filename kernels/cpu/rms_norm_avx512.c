/* rms_norm on 16 lanes.
 *
 * Order of summation: four vectors of 16 float32 lanes; vector v's lane j takes x[i]^2 of i = 64 c + 16 v + j for c
 * ascending, by fused multiply-add; beyond D zeros are added. Then (0 + 1) + (2 + 3), then the fixed tree of
 * avx512_sum_lanes.
 */
#include "avx512.h"
#include "kernels/ops/rms_norm.h"

#include <math.h>

#define VECTORS 4

static inline __mmask16 live_lanes(int64_t d, int64_t i, int v)
{
	int64_t left = d - i - 16 * v;
	return left <= 0 ? 0 : avx512_mask16(left);
}

/* Adds delta (or nothing) to x and returns the sum of squares. */
static float sum_squares(float *x, const float *delta, int64_t d)
{
	__m512 sum[VECTORS];
	for (int v = 0; v < VECTORS; v++)
		sum[v] = _mm512_setzero_ps();
	for (int64_t i = 0; i < d; i += 16 * VECTORS) {
#pragma GCC unroll 4
		for (int v = 0; v < VECTORS; v++) {
			__mmask16 live = live_lanes(d, i, v);
			__m512 value = _mm512_maskz_loadu_ps(live, x + i + 16 * v);
			if (delta) {
				value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(live, delta + i + 16 * v));
				_mm512_mask_storeu_ps(x + i + 16 * v, live, value);
			}
			sum[v] = _mm512_fmadd_ps(value, value, sum[v]);
		}
	}
	return avx512_sum_lanes(_mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3])));
}

static void normalise(const struct rms_norm_args *a, float *x, const float *delta, int64_t out_at)
{
	float mean = sum_squares(x, delta, a->d) / (float)a->d;
	__m512 inverse = _mm512_set1_ps(1.0f / sqrtf(mean + a->eps)), offset = _mm512_set1_ps(a->weight_offset);
	for (int64_t i = 0; i < a->d; i += 16) {
		__mmask16 live = avx512_mask16(a->d - i);
		__m512 weight = _mm512_add_ps(offset, _mm512_maskz_loadu_ps(live, a->weight + i));
		__m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(live, x + i), inverse);
		avx512_store(a->out_type, a->out, out_at + i, live, _mm512_mul_ps(v, weight));
	}
}

const char *rms_norm_avx512_refuse(const struct rms_norm_request *r)
{
	return rms_norm_refuse_any(r);
}

void rms_norm_avx512(const struct rms_norm_args *a, int64_t t_begin, int64_t t_end)
{
	for (int64_t t = t_begin; t < t_end; t++)
		for (int64_t g = 0; g < a->groups; g++)
			normalise(a, a->x + t * a->x_stride + g * a->d,
				  a->delta ? a->delta + t * a->delta_stride + g * a->d : NULL,
				  t * a->out_stride + g * a->d);
}
