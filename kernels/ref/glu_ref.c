/* The definition of glu: the activation in float64, rounded to float32 before the product with `up`. */
#include "kernels/ops/glu.h"

#include <math.h>

static double activate(enum glu_activation activation, double x)
{
	switch (activation) {
	case GLU_GELU_TANH: /* (1 + tanh(v)) / 2 = 1 / (1 + exp(-2 v)), which does not cancel for negative v */
		return x / (1.0 + exp(-2.0 * 0.7978845608028654 * (x + 0.044715 * x * x * x)));
	case GLU_GELU: /* (1 + erf(v)) / 2 = erfc(-v) / 2: likewise */
		return 0.5 * x * erfc(-x * 0.7071067811865476);
	default:
		return x / (1.0 + exp(-x));
	}
}

const char *glu_ref_refuse(const struct glu_request *r)
{
	return glu_refuse_any(r);
}

void glu_ref(const struct glu_args *a, int64_t t_begin, int64_t t_end)
{
	for (int64_t t = t_begin; t < t_end; t++) {
		const float *gate = a->gate + t * a->gate_stride, *up = a->up + t * a->up_stride;
		for (int64_t i = 0; i < a->d; i++)
			dtype_store(a->out_type, a->out, (size_t)(t * a->out_stride + i),
				    (float)activate(a->activation, (double)gate[i]) * up[i]);
	}
}
