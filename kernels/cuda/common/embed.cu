// embed.cu - out[t] = table[ids[t]] * scale. A block takes 8 values a thread of one token.
#include "device.cuh"
#include "kernels/ops/embed.h"

extern "C" __global__ void embed_cuda(const __grid_constant__ struct embed_args a)
{
	kernel_begin();
	int64_t t = blockIdx.x;
	size_t bytes = type_bytes(a.w_type);
	const char *row = (const char *)a.table + (size_t)a.ids[t] * (size_t)a.d * bytes;
	float *out = a.out + t * a.out_stride;
	bool vector = a.d % 4 == 0 && by_four(a.table, bytes, a.d) && by_four(a.out, 4, a.out_stride);
	int64_t first = (int64_t)blockIdx.y * 8 * blockDim.x + 4 * threadIdx.x;
	float4 v[2];
#pragma unroll
	for (int j = 0; j < 2; j++)
		v[j] = load4_as(a.w_type, row, first + 4 * j * blockDim.x, a.d, vector);
#pragma unroll
	for (int j = 0; j < 2; j++) {
		float4 scaled = make_float4(v[j].x * a.scale, v[j].y * a.scale, v[j].z * a.scale, v[j].w * a.scale);
		store4(out, first + 4 * j * blockDim.x, a.d, vector, scaled);
	}
}
