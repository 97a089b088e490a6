/* log_softmax on 16 lanes.
 *
 * Order of summation: four vectors of 16 float32 lanes, vector v's lane j takes exp(x[i] - max) of
 * i = 64 c + 16 v + j for c ascending; beyond D zeros are added. Then (0 + 1) + (2 + 3), then the fixed tree of
 * avx512_sum_lanes. The logarithm is taken in float64 and rounded once.
 */
#include "avx512.h"
#include "kernels/ops/log_softmax.h"
#include "math_avx512.h"

#include <math.h>

#define VECTORS 4

/* Lanes of vector v of the chunk at i that lie below d. */
static inline __mmask16 live_lanes(int64_t d, int64_t i, int v)
{
	int64_t left = d - i - 16 * v;
	return left <= 0 ? 0 : avx512_mask16(left);
}

static float row_max(const float *x, int64_t d)
{
	__m512 max[VECTORS];
	for (int v = 0; v < VECTORS; v++)
		max[v] = _mm512_set1_ps(-INFINITY);
	for (int64_t i = 0; i < d; i += 16 * VECTORS) {
#pragma GCC unroll 4
		for (int v = 0; v < VECTORS; v++) {
			__mmask16 live = live_lanes(d, i, v);
			/* max gives its second operand where one is NaN: NaN stays out. */
			max[v] = _mm512_mask_max_ps(max[v], live, _mm512_maskz_loadu_ps(live, x + i + 16 * v), max[v]);
		}
	}
	return _mm512_reduce_max_ps(_mm512_max_ps(_mm512_max_ps(max[0], max[1]), _mm512_max_ps(max[2], max[3])));
}

static float row_sum(const float *x, int64_t d, float max)
{
	__m512 sum[VECTORS], shift = _mm512_set1_ps(max);
	for (int v = 0; v < VECTORS; v++)
		sum[v] = _mm512_setzero_ps();
	for (int64_t i = 0; i < d; i += 16 * VECTORS) {
#pragma GCC unroll 4
		for (int v = 0; v < VECTORS; v++) {
			__mmask16 live = live_lanes(d, i, v);
			__m512 e = avx512_exp(_mm512_sub_ps(_mm512_maskz_loadu_ps(live, x + i + 16 * v), shift));
			sum[v] = _mm512_add_ps(sum[v], _mm512_maskz_mov_ps(live, e));
		}
	}
	return avx512_sum_lanes(_mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3])));
}

const char *log_softmax_avx512_refuse(const struct log_softmax_request *r)
{
	return r->d < 1 ? "takes rows of 1 value and more" : NULL;
}

void log_softmax_avx512(const struct log_softmax_args *a, int64_t t_begin, int64_t t_end)
{
	for (int64_t t = t_begin; t < t_end; t++) {
		const float *x = a->x + t * a->x_stride;
		a->max[t] = row_max(x, a->d);
		a->log_sum[t] = (float)log((double)row_sum(x, a->d, a->max[t]));
	}
}
