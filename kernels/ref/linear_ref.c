/* The definition of linear: one sum over ascending k in float64, rounded once after the bias; with quantised weights, sums of
 * integers a group, and fused multiply-adds over the groups. */
#include "kernels/ops/linear.h"
#include "kernels/ops/linear_quantise.h"

#include <math.h>

static const char *refuse(const struct linear_request *r)
{
	return r->format == WEIGHT_DENSE ? linear_refuse_any(r) : linear_refuse_quantised(r);
}

static void run_dense(const struct linear_args *a, int64_t n_begin, int64_t n_end)
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

/* Group g of token t: its integers, and their scale. */
static float quantise(const struct linear_args *a, int64_t t, int64_t g, int64_t live, int q[LINEAR_GROUP])
{
	float x[LINEAR_GROUP];
	uint32_t largest = 0;
	for (int64_t i = 0; i < live; i++) {
		int64_t k = g * LINEAR_GROUP + i;
		x[i] = dtype_load(a->x_type, a->x, (size_t)(t * a->x_stride + (a->matrix->order ? a->matrix->order[k] : k)));
		uint32_t size = linear_bits(x[i]) & 0x7fffffffu;
		largest = size > largest ? size : largest;
	}
	float scale = linear_scale_of(largest);
	float inverse = scale > 0 ? 1.0f / scale : 0; /* a NaN's integers do not matter */
	for (int64_t i = 0; i < live; i++)
		q[i] = inverse > 0 ? (int)rintf(x[i] * inverse) : 0;
	return scale;
}

static void run_quantised(const struct linear_args *a, int64_t n_begin, int64_t n_end)
{
	const struct weight_matrix *m = a->matrix;
	for (int64_t t = 0; t < a->t; t++) {
		float *y = a->y + t * a->y_stride;
		for (int64_t n = n_begin; n < n_end; n++)
			y[n] = 0;
		for (int64_t k = 0; k < a->k; k += LINEAR_GROUP) {
			int64_t live = a->k - k < LINEAR_GROUP ? a->k - k : LINEAR_GROUP;
			int q[LINEAR_GROUP];
			float scale = quantise(a, t, k / LINEAR_GROUP, live, q);
			for (int64_t n = n_begin; n < n_end; n++) {
				int dot = 0;
				for (int64_t i = 0; i < live; i++)
					dot += weight_integer(m, n, k + i) * q[i];
				y[n] = fmaf((float)dot, weight_unit(m, n, k / m->group) * scale, y[n]);
			}
		}
		for (int64_t n = n_begin; a->bias && n < n_end; n++)
			y[n] += a->bias[n];
	}
}

static void run(const struct linear_args *a, int64_t n_begin, int64_t n_end)
{
	if (a->matrix && a->matrix->format != WEIGHT_DENSE)
		run_quantised(a, n_begin, n_end);
	else
		run_dense(a, n_begin, n_end);
}

const struct linear_kernel linear_ref = { .run = run, .refuse = refuse, .panel = 16 };
