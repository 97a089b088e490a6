/* A linear that adds in another order where it is given more than one token. Linked with --wrap=linear_kernel. */
#include "base/dtype.h"
#include "ops/kernels.h"

static float product(const struct linear_args *a, int64_t t, int64_t n, int64_t k)
{
	return dtype_load(a->x_type, a->x, (size_t)(t * a->x_stride + k)) *
	       dtype_load(a->w_type, a->w, (size_t)(n * a->k + k));
}

static void linear_by_company(const struct linear_args *a, int64_t n_begin, int64_t n_end)
{
	for (int64_t t = 0; t < a->t; t++) {
		for (int64_t n = n_begin; n < n_end; n++) {
			float sum = 0;
			for (int64_t k = 0; k < a->k; k++)
				sum += product(a, t, n, a->t > 1 ? a->k - 1 - k : k);
			a->y[t * a->y_stride + n] = sum + (a->bias ? a->bias[n] : 0);
		}
	}
}

const struct linear_kernel *__wrap_linear_kernel(int row);

const struct linear_kernel *__wrap_linear_kernel(int row)
{
	static const struct linear_kernel sabotaged = { .run = linear_by_company, .panel = 16 };
	(void)row;
	return &sabotaged;
}
