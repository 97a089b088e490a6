/* softcap.h - x = cap * tanh(x / cap), in place, float32 (Gemma 2's final logits). */
#ifndef KERNELS_SOFTCAP_H
#define KERNELS_SOFTCAP_H

#include "kernel.h"

struct softcap_request {
	int64_t d;
};

struct softcap_args {
	float *x; /* [T, D] f32, rows x_stride apart */
	int64_t t, d, x_stride;
	float cap; /* > 0 */
};

/* Computes columns d_begin..d_end of all rows (rows are few and long: logits). */
typedef void softcap_fn(const struct softcap_args *a, int64_t d_begin, int64_t d_end);
typedef const char *softcap_refuse_fn(const struct softcap_request *r);

#define KERNEL(op, name, needs, properties) \
	softcap_fn softcap_##name;          \
	softcap_refuse_fn softcap_##name##_refuse;
#define KERNEL_CUDA(op, name, needs, properties) softcap_refuse_fn softcap_##name##_refuse;
#include "softcap.def"
#undef KERNEL
#undef KERNEL_CUDA

#endif
