// gather.cu - out[r] = x[rows[r]] + delta[rows[r]]. A block takes 8 values a thread of one row.
#include "device.cuh"
#include "kernels/ops/gather.h"

extern "C" __global__ void gather_cuda(const __grid_constant__ struct gather_args a)
{
	kernel_begin();
	int64_t r = blockIdx.x, from = a.rows[r];
	const float *x = a.x + from * a.d, *delta = a.delta ? a.delta + from * a.d : NULL;
	float *out = a.out + r * a.d;
	bool vector = by_four(a.x, 4, a.d) && by_four(a.delta, 4, a.d) && by_four(a.out, 4, a.d);
	int64_t first = (int64_t)blockIdx.y * 8 * blockDim.x + 4 * threadIdx.x;
	float4 v[2], w[2];
#pragma unroll
	for (int j = 0; j < 2; j++) {
		v[j] = load4(x, first + 4 * j * blockDim.x, a.d, vector);
		if (delta)
			w[j] = load4(delta, first + 4 * j * blockDim.x, a.d, vector);
	}
#pragma unroll
	for (int j = 0; j < 2; j++) {
		if (delta)
			v[j] = make_float4(v[j].x + w[j].x, v[j].y + w[j].y, v[j].z + w[j].z, v[j].w + w[j].w);
		store4(out, first + 4 * j * blockDim.x, a.d, vector, v[j]);
	}
}
