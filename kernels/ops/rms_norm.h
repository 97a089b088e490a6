/* rms_norm.h - out = x * rsqrt(mean(x^2) + eps) * (weight_offset + weight), after x += delta where delta is given.
 *
 * Shapes: T tokens, each of G groups of D values; a group is normalised on its own (G = 1: RMSNorm of a hidden state;
 * G = heads: the q/k norm of Qwen3 and Gemma 3, one weight of D for all heads). Source: Zhang & Sennrich, "Root Mean
 * Square Layer Normalization", 2019. float32 throughout; out is rounded once.
 * x is written only where delta is given (the residual stream). out may be x (type F32, same stride).
 */
#ifndef KERNELS_RMS_NORM_H
#define KERNELS_RMS_NORM_H

#include "kernel.h"

struct rms_norm_request {
	enum dtype out_type; /* F32, BF16, F16 */
	int64_t d;
};

struct rms_norm_args {
	float *x;            /* [T, G, D] f32, tokens x_stride elements apart */
	const float *delta;  /* [T, G, D] f32, tokens delta_stride apart, or NULL */
	const float *weight; /* [D] f32 */
	void *out;           /* [T, G, D] out_type, tokens out_stride apart */
	int64_t t, groups, d;
	int64_t x_stride, delta_stride, out_stride;
	float eps, weight_offset; /* offset 1 for Gemma's (1 + w), else 0 */
	enum dtype out_type;
};

typedef void rms_norm_fn(const struct rms_norm_args *a, int64_t t_begin, int64_t t_end);
typedef const char *rms_norm_refuse_fn(const struct rms_norm_request *r);

/* What no kernel takes. */
static inline const char *rms_norm_refuse_any(const struct rms_norm_request *r)
{
	if (!kernel_takes_type(r->out_type))
		return "gives f32, bf16 or f16";
	return r->d < 1 ? "takes groups of 1 value and more" : NULL;
}

#define KERNEL(op, name, needs, properties) \
	rms_norm_fn rms_norm_##name;        \
	rms_norm_refuse_fn rms_norm_##name##_refuse;
#define KERNEL_CUDA(op, name, needs, properties) rms_norm_refuse_fn rms_norm_##name##_refuse;
#include "rms_norm.def"
#undef KERNEL
#undef KERNEL_CUDA

#endif
