/* embed.h - out[t] = table[ids[t]] * scale, in float32. Exact for scale 1. */
#ifndef KERNELS_EMBED_H
#define KERNELS_EMBED_H

#include "kernel.h"

struct embed_request {
	enum dtype w_type; /* F32, BF16, F16 */
};

struct embed_args {
	const int32_t *ids; /* [T], each in 0..vocab-1 (checked by the caller) */
	const void *table;  /* [vocab, D] w_type, dense */
	float *out;         /* [T, D] f32, rows out_stride apart */
	int64_t t, d, out_stride;
	float scale;
	enum dtype w_type;
};

typedef void embed_fn(const struct embed_args *a, int64_t t_begin, int64_t t_end);
typedef const char *embed_refuse_fn(const struct embed_request *r);

#define KERNEL(op, name, needs, properties) \
	embed_fn embed_##name;              \
	embed_refuse_fn embed_##name##_refuse;
#define KERNEL_CUDA(op, name, needs, properties) embed_refuse_fn embed_##name##_refuse;
#include "embed.def"
#undef KERNEL
#undef KERNEL_CUDA

#endif
