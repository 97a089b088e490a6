/* log_softmax on 8 lanes.
 *
 * Order of summation: four vectors of 8 float32 lanes, vector v's lane j takes exp(x[i] - max) of
 * i = 32 c + 8 v + j for c ascending; beyond D zeros are added. Then (0 + 1) + (2 + 3), then the fixed tree of
 * avx2_sum_lanes. The logarithm is taken in float64 and rounded once.
 */
#include "avx2.h"
#include "kernels/ops/log_softmax.h"
#include "math_avx2.h"

#include <math.h>

#define VECTORS 4

static float max_lanes(__m256 v)
{
	__m128 a = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
	a = _mm_max_ps(a, _mm_movehl_ps(a, a));
	return _mm_cvtss_f32(_mm_max_ss(a, _mm_movehdup_ps(a)));
}

static float row_max(const float *x, int64_t d)
{
	__m256 max[VECTORS], lowest = _mm256_set1_ps(-INFINITY);
	for (int v = 0; v < VECTORS; v++)
		max[v] = lowest;
	for (int64_t i = 0; i < d; i += 8 * VECTORS) {
#pragma GCC unroll 4
		for (int v = 0; v < VECTORS; v++) {
			int64_t left = d - i - 8 * v;
			__m256 live = _mm256_castsi256_ps(avx2_mask8(left));
			__m256 value = _mm256_blendv_ps(lowest, avx2_load(x + i + 8 * v, left), live);
			/* max gives its second operand where one is NaN: NaN stays out. */
			max[v] = _mm256_max_ps(value, max[v]);
		}
	}
	return max_lanes(_mm256_max_ps(_mm256_max_ps(max[0], max[1]), _mm256_max_ps(max[2], max[3])));
}

static float row_sum(const float *x, int64_t d, float max)
{
	__m256 sum[VECTORS], shift = _mm256_set1_ps(max);
	for (int v = 0; v < VECTORS; v++)
		sum[v] = _mm256_setzero_ps();
	for (int64_t i = 0; i < d; i += 8 * VECTORS) {
#pragma GCC unroll 4
		for (int v = 0; v < VECTORS; v++) {
			int64_t left = d - i - 8 * v;
			__m256 e = avx2_exp(_mm256_sub_ps(avx2_load(x + i + 8 * v, left), shift));
			sum[v] = _mm256_add_ps(sum[v], _mm256_and_ps(_mm256_castsi256_ps(avx2_mask8(left)), e));
		}
	}
	return avx2_sum_lanes(_mm256_add_ps(_mm256_add_ps(sum[0], sum[1]), _mm256_add_ps(sum[2], sum[3])));
}

const char *log_softmax_avx2_refuse(const struct log_softmax_request *r)
{
	return r->d < 1 ? "takes rows of 1 value and more" : NULL;
}

void log_softmax_avx2(const struct log_softmax_args *a, int64_t t_begin, int64_t t_end)
{
	for (int64_t t = t_begin; t < t_end; t++) {
		const float *x = a->x + t * a->x_stride;
		a->max[t] = row_max(x, a->d);
		a->log_sum[t] = (float)log((double)row_sum(x, a->d, a->max[t]));
	}
}
