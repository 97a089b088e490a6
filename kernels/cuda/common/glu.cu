// glu.cu - out = act(gate) * up. A block takes 8 values a thread of one token.
#include "device.cuh"
#include "kernels/ops/glu.h"

#define GELU_SLOPE 0x1.988454p-1f // sqrt(2 / pi)
#define GELU_CUBE 0.044715f
#define SQRT_HALF 0x1.6a09e6p-1f

// x / (1 + exp(-u)). The exponential is of -|u|, so that it never overflows.
static __device__ __forceinline__ float gated(float x, float u)
{
	float e = expf(-fabsf(u));
	return x * (u < 0 ? e : 1.0f) / (1.0f + e);
}

static __device__ __forceinline__ float activate(enum glu_activation activation, float x)
{
	switch (activation) {
	case GLU_GELU_TANH: // (1 + tanh(v)) / 2 = 1 / (1 + exp(-2 v)), which does not cancel for negative v
		return gated(x, 2.0f * GELU_SLOPE * fmaf(GELU_CUBE * x * x, x, x));
	case GLU_GELU: // (1 + erf(v)) / 2 = erfc(-v) / 2: likewise
		return 0.5f * x * erfcf(-x * SQRT_HALF);
	default:
		return gated(x, x);
	}
}

extern "C" __global__ void glu_cuda(const __grid_constant__ struct glu_args a)
{
	int64_t t = blockIdx.x;
	const float *gate = a.gate + t * a.gate_stride, *up = a.up + t * a.up_stride;
	size_t bytes = type_bytes(a.out_type);
	void *out = (char *)a.out + (size_t)(t * a.out_stride) * bytes;
	bool vector = a.d % 4 == 0 && by_four(a.gate, 4, a.gate_stride) && by_four(a.up, 4, a.up_stride) &&
		      by_four(a.out, bytes, a.out_stride);
	int64_t first = (int64_t)blockIdx.y * 8 * blockDim.x + 4 * threadIdx.x;
	float4 x[2], y[2];
	kernel_begin();
	// One test of `vector` for all loads: they are on their way together.
	if (vector) {
#pragma unroll
		for (int j = 0; j < 2; j++) {
			int64_t at = first + 4 * j * blockDim.x;
			x[j] = at < a.d ? *(const float4 *)(gate + at) : make_float4(0, 0, 0, 0);
			y[j] = at < a.d ? *(const float4 *)(up + at) : make_float4(0, 0, 0, 0);
		}
	} else {
#pragma unroll
		for (int j = 0; j < 2; j++) {
			x[j] = load4(gate, first + 4 * j * blockDim.x, a.d, false);
			y[j] = load4(up, first + 4 * j * blockDim.x, a.d, false);
		}
	}
#pragma unroll
	for (int j = 0; j < 2; j++) {
		float4 v = make_float4(activate(a.activation, x[j].x) * y[j].x, activate(a.activation, x[j].y) * y[j].y,
				       activate(a.activation, x[j].z) * y[j].z, activate(a.activation, x[j].w) * y[j].w);
		store4_as(a.out_type, out, first + 4 * j * blockDim.x, a.d, vector, v);
	}
}
