/* linear.h - y[t][n] = sum over k of x[t][k] * w[n][k] (+ bias[n]).
 *
 * Properties: each output element is one sum over k in one order that depends on k alone, accumulated in float32
 * or wider; the bias is added last, in float32 or wider. K is never split by T. Products of 16-bit types are exact in float32.
 * x and w may not overlap y.
 *
 * Quantised weights. Activations are quantised too, a token and a group of 32 at a time (linear_quantise.h), so that a group's sum
 * is an integer and exact: y = sum over groups g, ascending, by fused multiply-add in float32 from 0, of
 *     dot(q_w, q_x) * (unit of w * scale of x)
 * where the product in brackets is exact. Every kernel gives these bits: no CPU differs from another there.
 *
 * A CPU kernel may have a layout of its own for weights (packed once, when a model is loaded) and for a step's activations (prepared
 * once a step for all workers): struct linear_kernel. Kernels without one read the canonical matrix.
 */
#ifndef KERNELS_LINEAR_H
#define KERNELS_LINEAR_H

#include "weight_matrix.h"

struct linear_request {
	enum dtype x_type; /* F32, BF16, F16 */
	enum dtype w_type; /* of dense weights: x_type; or, where x is F32, BF16 or F16 too (widened exactly) */
	int64_t n, k;      /* >= 1 */
	enum weight_format format;
	int64_t group; /* of quantised weights */
};

struct linear_args {
	const void *x;     /* [T, K] x_type, rows x_stride elements apart */
	const void *w;     /* [N, K] w_type, dense */
	const float *bias; /* [N] f32 or NULL */
	float *y;          /* [T, N] f32, rows y_stride elements apart */
	int64_t t, n, k;   /* t >= 0 */
	int64_t x_stride, y_stride;
	enum dtype x_type, w_type;

	/* On a CPU alone. */
	const struct weight_matrix *matrix; /* quantised: the canonical matrix. Its data may be gone where `packed` is used */
	const void *packed;                 /* what the kernel's pack() made of the weights */
	void *scratch;                      /* what its prepare() makes of x; aligned to 64 bytes */
};

/* Computes y[all t][n_begin..n_end). */
typedef void linear_fn(const struct linear_args *a, int64_t n_begin, int64_t n_end);
/* NULL where the kernel serves the request; else the reason in words, static storage. */
typedef const char *linear_refuse_fn(const struct linear_request *r);

struct linear_kernel {
	linear_fn *run;
	linear_refuse_fn *refuse;
	/* Rows of a panel: slices that begin at multiples of it cost least. Any slice is right. */
	int64_t panel;
	/* Rows that slices of many tokens should have where there are many times as many; 0: a panel's. */
	int64_t slice;
	/* Weights in the kernel's own layout: packed_bytes in all, aligned to 64; panels [begin, end) of rows, written side by side
	 * by as many threads as like. NULL: the canonical matrix is read. */
	int64_t (*packed_bytes)(const struct linear_request *r);
	void (*pack)(const struct weight_matrix *w, void *packed, int64_t panel_begin, int64_t panel_end);
	/* Activations in the kernel's own layout: bytes for up to t tokens; tokens [begin, end) of a->x into a->scratch. Borders of
	 * slices are multiples of LINEAR_PREPARE_GRAIN (but the last). What it makes depends on x_type, k, order and the kernel
	 * alone: linears that share these may share it. NULL: x is read as it is. */
	int64_t (*scratch_bytes)(const struct linear_request *r, int64_t t);
	void (*prepare)(const struct linear_args *a, int64_t t_begin, int64_t t_end);
};

#define LINEAR_PREPARE_GRAIN 48

static inline const char *linear_refuse_sizes(const struct linear_request *r)
{
	return r->n < 1 || r->k < 1 ? "takes n and k from 1 up" : NULL;
}

/* What no kernel of dense weights takes. */
static inline const char *linear_refuse_any(const struct linear_request *r)
{
	if (r->format != WEIGHT_DENSE)
		return "multiplies dense weights only";
	if (!kernel_takes_type(r->x_type) || (r->w_type != r->x_type && r->x_type != DTYPE_F32) ||
	    !kernel_takes_type(r->w_type))
		return "takes f32 activations with f32, bf16 or f16 weights, or both in bf16 or in f16";
	return linear_refuse_sizes(r);
}

/* What no kernel of quantised weights takes. */
static inline const char *linear_refuse_quantised(const struct linear_request *r)
{
	if (r->format == WEIGHT_DENSE)
		return "multiplies quantised weights only";
	if (!kernel_takes_type(r->x_type))
		return "takes f32, bf16 or f16 activations";
	if (!weight_group_fits(r->format, r->group))
		return "takes q8 and q6 in groups of 32, and q4 in groups of 32, 64 or 128";
	return linear_refuse_sizes(r);
}

#define KERNEL(op, name, needs, properties) extern const struct linear_kernel linear_##name;
#define KERNEL_CUDA(op, name, needs, properties) linear_refuse_fn linear_##name##_refuse;
#include "linear.def"
#undef KERNEL
#undef KERNEL_CUDA

#endif
