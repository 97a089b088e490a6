/* The definition of linear: one sum over ascending k in float64, rounded once after the bias. */
#include "kernels/ops/linear.h"

const char *linear_ref_refuse(const struct linear_request *r)
{
	return linear_refuse_any(r);
}

void linear_ref(const struct linear_args *a, int64_t n_begin, int64_t n_end)
{
	for (int64_t t = 0; t < a->t; t++) {
		for (int64_t n = n_begin; n < n_end; n++) {
			double sum = 0;
			for (int64_t k = 0; k < a->k; k++)
				sum += (double)dtype_load(a->x_type, a->x, (size_t)(t * a->x_stride + k)) *
				       (double)dtype_load(a->w_type, a->w, (size_t)(n * a->k + k));
			a->y[t * a->y_stride + n] = (float)(sum + (a->bias ? (double)a->bias[n] : 0.0));
		}
	}
}
