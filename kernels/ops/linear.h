/* linear.h - y[t][n] = sum over k of x[t][k] * w[n][k] (+ bias[n]).
 *
 * Properties: each output element is one sum over k in one order that depends on k alone, accumulated in float32
 * or wider; the bias is added last, in float32 or wider. K is never split by T. Products of 16-bit types are exact in float32.
 * x and w may not overlap y.
 */
#ifndef KERNELS_LINEAR_H
#define KERNELS_LINEAR_H

#include "kernel.h"

struct linear_request {
	enum dtype x_type; /* F32, BF16, F16 */
	enum dtype w_type; /* x_type; or, where x is F32, BF16 or F16 too (widened exactly) */
	int64_t n, k;      /* >= 1 */
};

struct linear_args {
	const void *x;     /* [T, K] x_type, rows x_stride elements apart */
	const void *w;     /* [N, K] w_type, dense */
	const float *bias; /* [N] f32 or NULL */
	float *y;          /* [T, N] f32, rows y_stride elements apart */
	int64_t t, n, k;   /* t >= 0 */
	int64_t x_stride, y_stride;
	enum dtype x_type, w_type;
};

/* Computes y[all t][n_begin..n_end). */
typedef void linear_fn(const struct linear_args *a, int64_t n_begin, int64_t n_end);
/* NULL where the kernel serves the request; else the reason in words, static storage. */
typedef const char *linear_refuse_fn(const struct linear_request *r);

/* What no kernel takes. */
static inline const char *linear_refuse_any(const struct linear_request *r)
{
	if (!kernel_takes_type(r->x_type) || (r->w_type != r->x_type && r->x_type != DTYPE_F32) ||
	    !kernel_takes_type(r->w_type))
		return "takes f32 activations with f32, bf16 or f16 weights, or both in bf16 or in f16";
	return r->n < 1 || r->k < 1 ? "takes n and k from 1 up" : NULL;
}

#define KERNEL(op, name, needs, properties) \
	linear_fn linear_##name;            \
	linear_refuse_fn linear_##name##_refuse;
#define KERNEL_CUDA(op, name, needs, properties) linear_refuse_fn linear_##name##_refuse;
#include "linear.def"
#undef KERNEL
#undef KERNEL_CUDA

#endif
