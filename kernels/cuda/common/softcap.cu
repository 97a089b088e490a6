// softcap.cu - x = cap * tanh(x / cap), in place. A thread a value.
#include "kernels/ops/softcap.h"

extern "C" __global__ void softcap_cuda(const __grid_constant__ struct softcap_args a)
{
	int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
	if (i >= a.t * a.d)
		return;
	float *x = a.x + i / a.d * a.x_stride + i % a.d;
	*x = a.cap * tanhf(*x / a.cap);
}
