// rms_norm.cu - x += delta; out = x / rms(x) * (offset + weight). One warp or one block a row, by the length of the row alone.
//
// Order of the sum of squares, for W threads a row: thread j takes the values 4c .. 4c + 3 of c = j, j + W, .., each of the
// four in a sum of its own, by fused multiply-add; (0 + 1) + (2 + 3); lanes of a warp 16, 8, 4, 2, 1 apart; warps likewise.
#include "device.cuh"
#include "kernels/ops/rms_norm.h"

template <int WIDTH>
static __device__ __forceinline__ float row_sum(float v)
{
	v = warp_sum(v);
	if (WIDTH > 32) {
		__shared__ float warps[32];
		if (threadIdx.x % 32 == 0)
			warps[threadIdx.x / 32] = v;
		__syncthreads();
		v = warp_sum(threadIdx.x % 32 < WIDTH / 32 ? warps[threadIdx.x % 32] : 0.0f);
	}
	return v;
}

struct row {
	float *x;
	const float *delta;
	const float *weight;
	void *out;
	int64_t d;
	bool vector;
};

// Values 4c .. 4c + 3 of the residual stream, which is brought up to date.
static __device__ __forceinline__ float4 summed(const struct row &r, int64_t at)
{
	float4 v = load4(r.x, at, r.d, r.vector);
	if (!r.delta)
		return v;
	float4 w = load4(r.delta, at, r.d, r.vector);
	return make_float4(v.x + w.x, v.y + w.y, v.z + w.z, v.w + w.w);
}

// The values that a thread keeps: all loads are on their way before the first is waited for, which a test of `vector` or `delta`
// between them would prevent.
template <int WIDTH, int KEPT>
static __device__ __forceinline__ void load_kept(float4 (&kept)[KEPT], const struct row &r, int lane)
{
	float4 delta[KEPT];
	if (!r.vector || !r.delta) {
#pragma unroll
		for (int i = 0; i < KEPT; i++)
			kept[i] = summed(r, 4 * (int64_t)(lane + i * WIDTH));
		return;
	}
#pragma unroll
	for (int i = 0; i < KEPT; i++) {
		int64_t at = 4 * (int64_t)(lane + i * WIDTH);
		bool inside = at < r.d;
		kept[i] = inside ? *(const float4 *)(r.x + at) : make_float4(0, 0, 0, 0);
		delta[i] = inside ? *(const float4 *)(r.delta + at) : make_float4(0, 0, 0, 0);
	}
#pragma unroll
	for (int i = 0; i < KEPT; i++)
		kept[i] = make_float4(kept[i].x + delta[i].x, kept[i].y + delta[i].y, kept[i].z + delta[i].z,
				      kept[i].w + delta[i].w);
}

static __device__ __forceinline__ void add_squares(float4 &s, float4 v)
{
	s.x = fmaf(v.x, v.x, s.x);
	s.y = fmaf(v.y, v.y, s.y);
	s.z = fmaf(v.z, v.z, s.z);
	s.w = fmaf(v.w, v.w, s.w);
}

static __device__ __forceinline__ float4 normal(float4 v, float inverse, float offset, float4 w)
{
	return make_float4(v.x * inverse * (offset + w.x), v.y * inverse * (offset + w.y), v.z * inverse * (offset + w.z),
			   v.w * inverse * (offset + w.w));
}

// WIDTH threads a row, each of which keeps KEPT fours in registers between the two passes; further ones are read again. KEPT does
// not touch the order.
template <int WIDTH, int KEPT>
static __device__ __forceinline__ void normalise(const struct rms_norm_args &a)
{
	int lane = threadIdx.x % WIDTH;
	int64_t at = (int64_t)blockIdx.x * (blockDim.x / WIDTH) + threadIdx.x / WIDTH;
	size_t bytes = type_bytes(a.out_type);
	bool weights_vector = a.d % 4 == 0 && by_four(a.weight, 4, a.d);
	float4 weight[KEPT], kept[KEPT], square = make_float4(0, 0, 0, 0);
	// Weights do not come from an earlier kernel: they are on their way before that has ended.
#pragma unroll
	for (int i = 0; i < KEPT; i++)
		weight[i] = load4(a.weight, 4 * (int64_t)(lane + i * WIDTH), a.d, weights_vector);
	int64_t t = (uint32_t)at / (uint32_t)a.groups, first = (int64_t)((uint32_t)at % (uint32_t)a.groups) * a.d;
	struct row r = { a.x + t * a.x_stride + first, a.delta ? a.delta + t * a.delta_stride + first : NULL, a.weight,
			 (char *)a.out + (size_t)(t * a.out_stride + first) * bytes, a.d,
			 weights_vector && by_four(a.x, 4, a.x_stride) && by_four(a.delta, 4, a.delta_stride) &&
				 by_four(a.out, bytes, a.out_stride) };
	// Nor does where things are.
	kernel_begin();
	if (at >= a.t * a.groups)
		return;
	load_kept<WIDTH, KEPT>(kept, r, lane);
#pragma unroll
	for (int i = 0; i < KEPT; i++) {
		add_squares(square, kept[i]);
		if (r.delta)
			store4(r.x, 4 * (int64_t)(lane + i * WIDTH), r.d, r.vector, kept[i]);
	}
	for (int64_t i = 4 * (int64_t)(lane + KEPT * WIDTH); i < r.d; i += 4 * WIDTH) {
		float4 v = summed(r, i);
		add_squares(square, v);
		if (r.delta)
			store4(r.x, i, r.d, r.vector, v);
	}
	float sum = row_sum<WIDTH>((square.x + square.y) + (square.z + square.w));
	float inverse = 1.0f / sqrtf(sum / (float)a.d + a.eps);
#pragma unroll
	for (int i = 0; i < KEPT; i++)
		store4_as(a.out_type, r.out, 4 * (int64_t)(lane + i * WIDTH), r.d, r.vector,
			  normal(kept[i], inverse, a.weight_offset, weight[i]));
	for (int64_t i = 4 * (int64_t)(lane + KEPT * WIDTH); i < r.d; i += 4 * WIDTH)
		store4_as(a.out_type, r.out, i, r.d, r.vector,
			  normal(load4(r.x, i, r.d, r.vector), inverse, a.weight_offset,
				 load4(r.weight, i, r.d, r.vector)));
}

#define ENTRY(name, width, kept, threads)                                                                             \
	extern "C" __global__ void __launch_bounds__(threads) rms_norm_cuda_##name(                                   \
		const __grid_constant__ struct rms_norm_args a)                                                       \
	{                                                                                                             \
		normalise<width, kept>(a);                                                                            \
	}
ENTRY(head, 32, 1, 128)
ENTRY(32, 32, 4, 128)
ENTRY(128, 128, 4, 128)
ENTRY(512, 512, 4, 512)
ENTRY(1024, 1024, 4, 1024)
