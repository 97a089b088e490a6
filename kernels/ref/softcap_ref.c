/* The definition of softcap: in float64, rounded once. */
#include "kernels/ops/softcap.h"

#include <math.h>

const char *softcap_ref_refuse(const struct softcap_request *r)
{
	return r->d < 1 ? "takes rows of 1 value and more" : NULL;
}

void softcap_ref(const struct softcap_args *a, int64_t d_begin, int64_t d_end)
{
	double cap = (double)a->cap;
	for (int64_t t = 0; t < a->t; t++)
		for (int64_t i = d_begin; i < d_end; i++)
			a->x[t * a->x_stride + i] = (float)(cap * tanh((double)a->x[t * a->x_stride + i] / cap));
}
