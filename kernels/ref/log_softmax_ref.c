/* The definition of log_softmax: the sum in float64. */
#include "kernels/ops/log_softmax.h"

#include <math.h>

const char *log_softmax_ref_refuse(const struct log_softmax_request *r)
{
	return r->d < 1 ? "takes rows of 1 value and more" : NULL;
}

void log_softmax_ref(const struct log_softmax_args *a, int64_t t_begin, int64_t t_end)
{
	for (int64_t t = t_begin; t < t_end; t++) {
		const float *x = a->x + t * a->x_stride;
		float max = x[0];
		double sum = 0;
		/* NaN is never greater: it stays out of the maximum and makes the sum NaN. */
		for (int64_t i = 1; i < a->d; i++)
			max = x[i] > max ? x[i] : max;
		for (int64_t i = 0; i < a->d; i++)
			sum += exp((double)(x[i] - max));
		a->max[t] = max;
		a->log_sum[t] = (float)log(sum);
	}
}
