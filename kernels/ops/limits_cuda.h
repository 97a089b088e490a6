/* limits_cuda.h - arguments of limits.cu: every warp makes rounds * LIMITS_CUDA_FLOPS operations. */
#ifndef KERNELS_LIMITS_CUDA_H
#define KERNELS_LIMITS_CUDA_H

#include <stdint.h>

/* 8 products of 16 x 16 and 16 x 8, two operations each. */
#define LIMITS_CUDA_FLOPS (8 * 2 * 16 * 16 * 8)

struct limits_cuda_args {
	float *out; /* [threads of the grid]: rounds * 16 * 32 each, so that nothing can be left out */
	int64_t rounds;
	unsigned factor; /* a pair of ones */
};

#endif
