/* limits.h - what a core can do at most: bytes read a second, multiplications a second. For benchmarks alone.
 *
 * Work is sized so that nothing but the limit itself counts: reading touches each byte once and adds 64-bit words;
 * multiplying stays in registers. Both give a number that depends on all of the work, so that none of it can be left
 * out, and that is known beforehand, so that it can be checked.
 */
#ifndef KERNELS_LIMITS_H
#define KERNELS_LIMITS_H

#include "kernel.h"

#define LIMITS_GRAIN 4096

/* Data is read as one stream, and asked for this many bytes ahead of its use. Where huge pages are to be had, that is the fastest way
 * (two threads of a Zen 4, 64 MiB in turns with other ways, means over 150 turns, GB/s): 32 with requests 1 to 4 KiB ahead, 28.6 without,
 * 25 to 28 as two to eight streams side by side. */
#define LIMITS_AHEAD 2048

enum limits_work { LIMITS_READ, LIMITS_MULTIPLY };

struct limits_request {
	enum limits_work work;
	enum dtype type; /* of the factors, LIMITS_MULTIPLY: F32, BF16 or I8. Sums are f32, those of bytes int32 */
};

struct limits_args {
	enum limits_work work;
	const void *data; /* 64-byte aligned */
	size_t bytes;     /* a multiple of LIMITS_GRAIN */
	float x, w;       /* the factors: the same in every lane, exact in `type` */
	int64_t rounds;
};

struct limits_result {
	uint64_t sum; /* of the words read, modulo 2^64 */
	double total; /* sum of all accumulators, each x * w * products added to zero one by one */
	double flops; /* 2 a product */
};

typedef void limits_fn(const struct limits_args *a, struct limits_result *out);
typedef const char *limits_refuse_fn(const struct limits_request *r);

#define KERNEL(op, name, needs, properties) \
	limits_fn limits_##name;            \
	limits_refuse_fn limits_##name##_refuse;
#define KERNEL_CUDA(op, name, needs, properties) limits_refuse_fn limits_##name##_refuse;
#include "limits.def"
#undef KERNEL
#undef KERNEL_CUDA

#endif
