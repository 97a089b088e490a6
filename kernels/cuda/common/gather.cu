// gather.cu - out[r] = x[rows[r]]. A block takes 32 bytes a thread of one row.
#include "device.cuh"
#include "kernels/ops/gather.h"

// Whole vectors, two a thread; both are read before one is written.
static __device__ __forceinline__ void copy_vectors(const uint4 *x, uint4 *out, int64_t n)
{
	int64_t first = (int64_t)blockIdx.y * 2 * blockDim.x + threadIdx.x, second = first + blockDim.x;
	uint4 v = first < n ? x[first] : make_uint4(0, 0, 0, 0), w = second < n ? x[second] : make_uint4(0, 0, 0, 0);
	if (first < n)
		out[first] = v;
	if (second < n)
		out[second] = w;
}

extern "C" __global__ void gather_cuda(const __grid_constant__ struct gather_args a)
{
	kernel_begin();
	const char *x = (const char *)a.x + a.rows[blockIdx.x] * a.bytes;
	char *out = (char *)a.out + blockIdx.x * a.bytes;
	if (((size_t)a.x | (size_t)a.out | (size_t)a.bytes) % sizeof(uint4) == 0) {
		copy_vectors((const uint4 *)x, (uint4 *)out, a.bytes / (int64_t)sizeof(uint4));
		return;
	}
	int64_t begin = (int64_t)blockIdx.y * 16 * blockDim.x, end = begin + 16 * (int64_t)blockDim.x, n = a.bytes / 2;
	for (int64_t i = begin + threadIdx.x; i < (end < n ? end : n); i += blockDim.x)
		((uint16_t *)out)[i] = ((const uint16_t *)x)[i];
}
