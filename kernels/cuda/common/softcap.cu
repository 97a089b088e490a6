// softcap.cu - x = cap * tanh(x / cap), in place. A block takes a value a thread of one row.
#include "device.cuh"
#include "kernels/ops/softcap.h"

extern "C" __global__ void softcap_cuda(const __grid_constant__ struct softcap_args a)
{
	kernel_begin();
	int64_t i = (int64_t)blockIdx.y * blockDim.x + threadIdx.x;
	if (i >= a.d)
		return;
	float *x = a.x + blockIdx.x * a.x_stride + i;
	*x = a.cap * tanhf(*x / a.cap);
}
