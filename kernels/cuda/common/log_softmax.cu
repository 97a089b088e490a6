// log_softmax.cu - a block a row, a warp a strand of pieces.
#include "kernels/ops/log_softmax.h"
#include "log_softmax.cuh"

extern "C" __global__ void __launch_bounds__(1024) log_softmax_cuda(const __grid_constant__ struct log_softmax_args a)
{
	__shared__ struct softmax_state strands[SOFTMAX_STRANDS];
	kernel_begin();
	int64_t t = blockIdx.x, n_pieces = (a.d + SOFTMAX_PIECE - 1) / SOFTMAX_PIECE;
	const float *x = a.x + t * a.x_stride;
	bool vector = a.d % 4 == 0 && by_four(a.x, 4, a.x_stride);
	struct softmax_state s = softmax_nothing();
	for (int64_t p = threadIdx.x / 32; p < n_pieces; p += SOFTMAX_STRANDS) {
		float4 v[SOFTMAX_FOURS];
		softmax_load(v, x, a.d, p, vector);
		s = softmax_fold(s, softmax_piece(v));
	}
	if (threadIdx.x % 32 == 0)
		strands[threadIdx.x / 32] = s;
	__syncthreads();
	if (threadIdx.x >= 32)
		return;
	s = softmax_strands(strands[threadIdx.x]);
	if (threadIdx.x == 0) {
		a.max[t] = s.max;
		a.log_sum[t] = softmax_log(s);
	}
}
