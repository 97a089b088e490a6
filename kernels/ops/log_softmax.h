/* log_softmax.h - for a row of logits: its maximum and the natural log of the sum of exp(x - max).
 *
 * logprob(i) = (x[i] - max) - log_sum, in float32. One row, one reduction tree that depends on D alone. A row that
 * holds NaN gives log_sum NaN (and max any of the row's values); a row whose maximum is infinite gives log_sum NaN too.
 */
#ifndef KERNELS_LOG_SOFTMAX_H
#define KERNELS_LOG_SOFTMAX_H

#include "kernel.h"

struct log_softmax_request {
	int64_t d;
};

struct log_softmax_args {
	const float *x; /* [T, D] f32, rows x_stride apart */
	float *max;     /* [T] */
	float *log_sum; /* [T] */
	int64_t t, d, x_stride;
};

typedef void log_softmax_fn(const struct log_softmax_args *a, int64_t t_begin, int64_t t_end);
typedef const char *log_softmax_refuse_fn(const struct log_softmax_request *r);

#define KERNEL(op, name, needs, properties) \
	log_softmax_fn log_softmax_##name;  \
	log_softmax_refuse_fn log_softmax_##name##_refuse;
#define KERNEL_CUDA(op, name, needs, properties) log_softmax_refuse_fn log_softmax_##name##_refuse;
#include "log_softmax.def"
#undef KERNEL
#undef KERNEL_CUDA

#endif
