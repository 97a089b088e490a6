// softcap.cu - x = cap * tanh(x / cap), in place. A block takes 4 values a thread of one row.
#include "device.cuh"
#include "kernels/ops/softcap.h"

static __device__ __forceinline__ float capped(float x, float cap)
{
	return cap * tanhf(x / cap);
}

extern "C" __global__ void softcap_cuda(const __grid_constant__ struct softcap_args a)
{
	kernel_begin();
	float *x = a.x + blockIdx.x * a.x_stride;
	int64_t i = 4 * ((int64_t)blockIdx.y * blockDim.x + threadIdx.x);
	bool vector = a.d % 4 == 0 && by_four(a.x, 4, a.x_stride);
	float4 v = load4(x, i, a.d, vector);
	store4(x, i, a.d, vector, make_float4(capped(v.x, a.cap), capped(v.y, a.cap), capped(v.z, a.cap), capped(v.w, a.cap)));
}
