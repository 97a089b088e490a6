/* The definition of rms_norm: the mean of squares in float64, the products in float32. */
#include "kernels/ops/rms_norm.h"

#include <math.h>

const char *rms_norm_ref_refuse(const struct rms_norm_request *r)
{
	return rms_norm_refuse_any(r);
}

static void normalise(const struct rms_norm_args *a, float *x, const float *delta, int64_t out_at)
{
	double sum = 0;
	if (delta)
		for (int64_t i = 0; i < a->d; i++)
			x[i] += delta[i];
	for (int64_t i = 0; i < a->d; i++)
		sum += (double)x[i] * (double)x[i];
	float inverse = (float)(1.0 / sqrt(sum / (double)a->d + (double)a->eps));
	for (int64_t i = 0; i < a->d; i++)
		dtype_store(a->out_type, a->out, (size_t)(out_at + i),
			    x[i] * inverse * (a->weight_offset + a->weight[i]));
}

void rms_norm_ref(const struct rms_norm_args *a, int64_t t_begin, int64_t t_end)
{
	for (int64_t t = t_begin; t < t_end; t++)
		for (int64_t g = 0; g < a->groups; g++)
			normalise(a, a->x + t * a->x_stride + g * a->d,
				  a->delta ? a->delta + t * a->delta_stride + g * a->d : NULL,
				  t * a->out_stride + g * a->d);
}
