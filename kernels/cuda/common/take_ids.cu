// take_ids.cu - ids[i] = results[from[i]].id. A thread a token.
#include "device.cuh"
#include "kernels/ops/take_ids.h"

extern "C" __global__ void take_ids_cuda(const __grid_constant__ struct take_ids_args a)
{
	kernel_begin();
	int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
	if (i >= a.t || a.from[i] < 0)
		return;
	// A row that was not finite has no token: its sequence ends, and what comes of this one is looked at by nobody.
	int32_t id = a.results[a.from[i]].id;
	a.ids[i] = id < 0 ? 0 : id;
}
