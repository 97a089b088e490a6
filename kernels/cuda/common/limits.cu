// limits.cu - what the GPU's matrix units can do at most through mma.sync: products of 16-bit pairs, sums in f32, everything in
// registers. For benchmarks alone.
#include "kernels/ops/limits_cuda.h"

// Independent sums a warp has under way: enough to hide an instruction behind others.
#define CHAINS 8

template <bool is_bf16> static __device__ void multiply(const struct limits_cuda_args &a)
{
	float sum[CHAINS][4] = {};
	// Factors that no compiler knows: 1 in bf16 or f16.
	unsigned one = a.factor;
	for (int64_t i = 0; i < a.rounds; i++) {
#pragma unroll
		for (int c = 0; c < CHAINS; c++) {
			if (is_bf16)
				asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%4,%4,%4}, "
					     "{%4,%4}, {%0,%1,%2,%3};"
					     : "+f"(sum[c][0]), "+f"(sum[c][1]), "+f"(sum[c][2]), "+f"(sum[c][3])
					     : "r"(one));
			else
				asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%4,%4,%4}, "
					     "{%4,%4}, {%0,%1,%2,%3};"
					     : "+f"(sum[c][0]), "+f"(sum[c][1]), "+f"(sum[c][2]), "+f"(sum[c][3])
					     : "r"(one));
		}
	}
	float total = 0;
	for (int c = 0; c < CHAINS; c++)
		total += sum[c][0] + sum[c][1] + sum[c][2] + sum[c][3];
	a.out[(int64_t)blockIdx.x * blockDim.x + threadIdx.x] = total;
}

extern "C" __global__ void limits_cuda_bf16(const __grid_constant__ struct limits_cuda_args a)
{
	multiply<true>(a);
}

extern "C" __global__ void limits_cuda_f16(const __grid_constant__ struct limits_cuda_args a)
{
	multiply<false>(a);
}
