// linear_simt.cu - linear for any types, sizes and strides, on the ordinary cores.
//
// An output element is the sum over segments of 32 values of k, ascending; a segment is one chain of fmaf over ascending k from
// zero. Beyond k zeros are multiplied. A block makes ROWS x TOKENS elements and a thread every 16th row or so of it: which, and
// of which size, is about speed alone.
#include "device.cuh"
#include "kernels/ops/linear.h"

#define SEGMENT 32
#define THREADS 256

static __device__ __forceinline__ float load_value(enum dtype type, const void *p, int64_t i)
{
	switch (type) {
	case DTYPE_BF16:
		return from_bf16(((const uint16_t *)p)[i]);
	case DTYPE_F16:
		return from_f16(((const uint16_t *)p)[i]);
	default:
		return ((const float *)p)[i];
	}
}

// One segment of some rows, on its way to shared memory: a thread takes one place of every (THREADS / SEGMENT)th row.
template <int ROWS> struct segment {
	static constexpr int N = ROWS * SEGMENT / THREADS;
	float v[N];

	__device__ __forceinline__ void load(enum dtype type, const void *p, int64_t first, int64_t end, int64_t stride,
					     int64_t k0, int64_t k)
	{
		int64_t row = first + threadIdx.x / SEGMENT, at = k0 + threadIdx.x % SEGMENT;
#pragma unroll
		for (int i = 0; i < N; i++, row += THREADS / SEGMENT)
			v[i] = row < end && at < k ? load_value(type, p, row * stride + at) : 0.0f;
	}

	__device__ __forceinline__ void store(float (*to)[SEGMENT + 1]) const
	{
#pragma unroll
		for (int i = 0; i < N; i++)
			to[threadIdx.x / SEGMENT + i * (THREADS / SEGMENT)][threadIdx.x % SEGMENT] = v[i];
	}
};

template <int ROWS, int TOKENS, int THREAD_ROWS, int THREAD_TOKENS>
static __device__ __forceinline__ void linear_simt(const struct linear_args &a)
{
	constexpr int DOWN = ROWS / THREAD_ROWS; // threads
	static_assert(DOWN * (TOKENS / THREAD_TOKENS) == THREADS, "a thread an element of the smaller tile");
	__shared__ float ws[ROWS][SEGMENT + 1], xs[TOKENS][SEGMENT + 1];
	int64_t n0 = (int64_t)blockIdx.x * ROWS, t0 = (int64_t)blockIdx.y * TOKENS;
	int row = threadIdx.x % DOWN, token = threadIdx.x / DOWN;
	segment<ROWS> w;
	segment<TOKENS> x;
	float sum[THREAD_ROWS][THREAD_TOKENS] = {};

	w.load(a.w_type, a.w, n0, a.n, a.k, 0, a.k); // weights are written by no kernel
	kernel_begin();
	x.load(a.x_type, a.x, t0, a.t, a.x_stride, 0, a.k);
	for (int64_t k0 = 0; k0 < a.k; k0 += SEGMENT) {
		w.store(ws);
		x.store(xs);
		__syncthreads();
		w.load(a.w_type, a.w, n0, a.n, a.k, k0 + SEGMENT, a.k);
		x.load(a.x_type, a.x, t0, a.t, a.x_stride, k0 + SEGMENT, a.k);
		float part[THREAD_ROWS][THREAD_TOKENS] = {};
#pragma unroll 8
		for (int k = 0; k < SEGMENT; k++) {
			float wk[THREAD_ROWS], xk[THREAD_TOKENS];
#pragma unroll
			for (int i = 0; i < THREAD_ROWS; i++)
				wk[i] = ws[row + i * DOWN][k];
#pragma unroll
			for (int j = 0; j < THREAD_TOKENS; j++)
				xk[j] = xs[token + j * (TOKENS / THREAD_TOKENS)][k];
#pragma unroll
			for (int i = 0; i < THREAD_ROWS; i++)
#pragma unroll
				for (int j = 0; j < THREAD_TOKENS; j++)
					part[i][j] = fmaf(xk[j], wk[i], part[i][j]);
		}
#pragma unroll
		for (int i = 0; i < THREAD_ROWS; i++)
#pragma unroll
			for (int j = 0; j < THREAD_TOKENS; j++)
				sum[i][j] += part[i][j];
		__syncthreads();
	}
#pragma unroll
	for (int i = 0; i < THREAD_ROWS; i++) {
		int64_t n = n0 + row + i * DOWN;
#pragma unroll
		for (int j = 0; j < THREAD_TOKENS; j++) {
			int64_t t = t0 + token + j * (TOKENS / THREAD_TOKENS);
			if (n < a.n && t < a.t)
				a.y[t * a.y_stride + n] = a.bias ? sum[i][j] + a.bias[n] : sum[i][j];
		}
	}
}

extern "C" __global__ void __launch_bounds__(THREADS) linear_simt_few(const __grid_constant__ struct linear_args a)
{
	linear_simt<32, 8, 1, 1>(a);
}

extern "C" __global__ void __launch_bounds__(THREADS) linear_simt_many(const __grid_constant__ struct linear_args a)
{
	linear_simt<64, 64, 4, 4>(a);
}
