/* rms_norm on 8 lanes.
 *
 * Order of summation: four vectors of 8 float32 lanes; vector v's lane j takes x[i]^2 of i = 32 c + 8 v + j for c
 * ascending, by fused multiply-add; beyond D zeros are added. Then (0 + 1) + (2 + 3), then the fixed tree of
 * avx2_sum_lanes.
 */
#include "avx2.h"
#include "kernels/ops/rms_norm.h"

#include <math.h>

#define VECTORS 4

/* Adds delta (or nothing) to x and returns the sum of squares. */
static float sum_squares(float *x, const float *delta, int64_t d)
{
	__m256 sum[VECTORS];
	for (int v = 0; v < VECTORS; v++)
		sum[v] = _mm256_setzero_ps();
	for (int64_t i = 0; i < d; i += 8 * VECTORS) {
#pragma GCC unroll 4
		for (int v = 0; v < VECTORS; v++) {
			int64_t live = d - i - 8 * v;
			__m256 value = avx2_load(x + i + 8 * v, live);
			if (delta) {
				value = _mm256_add_ps(value, avx2_load(delta + i + 8 * v, live));
				avx2_store(DTYPE_F32, x + i + 8 * v, 0, live, value);
			}
			sum[v] = _mm256_fmadd_ps(value, value, sum[v]);
		}
	}
	return avx2_sum_lanes(_mm256_add_ps(_mm256_add_ps(sum[0], sum[1]), _mm256_add_ps(sum[2], sum[3])));
}

static void normalise(const struct rms_norm_args *a, float *x, const float *delta, int64_t out_at)
{
	float mean = sum_squares(x, delta, a->d) / (float)a->d;
	__m256 inverse = _mm256_set1_ps(1.0f / sqrtf(mean + a->eps)), offset = _mm256_set1_ps(a->weight_offset);
	for (int64_t i = 0; i < a->d; i += 8) {
		int64_t live = a->d - i;
		__m256 weight = _mm256_add_ps(offset, avx2_load(a->weight + i, live));
		__m256 v = _mm256_mul_ps(avx2_load(x + i, live), inverse);
		avx2_store(a->out_type, a->out, out_at + i, live, _mm256_mul_ps(v, weight));
	}
}

const char *rms_norm_avx2_refuse(const struct rms_norm_request *r)
{
	return rms_norm_refuse_any(r);
}

void rms_norm_avx2(const struct rms_norm_args *a, int64_t t_begin, int64_t t_end)
{
	for (int64_t t = t_begin; t < t_end; t++)
		for (int64_t g = 0; g < a->groups; g++)
			normalise(a, a->x + t * a->x_stride + g * a->d,
				  a->delta ? a->delta + t * a->delta_stride + g * a->d : NULL,
				  t * a->out_stride + g * a->d);
}
