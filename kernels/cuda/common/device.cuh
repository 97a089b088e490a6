// device.cuh - what the portable kernels share: how a kernel begins, values four at a time, sums over threads.
#ifndef CUDA_DEVICE_CUH
#define CUDA_DEVICE_CUH

#include "kernels/ops/kernel.h"

// Every kernel calls this before it touches what earlier kernels wrote. On 9.0 its blocks may then start while the kernel before
// is still running (gpu_grid.early), and those of the next one while this one is: each waits here until all of the one before is
// done and can be seen. Elsewhere kernels follow each other anyway. The next kernel is let begin first: it waits for this one as
// this one does for its predecessor, and may fetch meanwhile what no kernel writes, as linear does its weights.
static __device__ __forceinline__ void kernel_begin()
{
#if __CUDA_ARCH__ >= 900
	asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
	asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Whether four values from p on, and from every row of `stride` on, may be read or written at once.
static __device__ __forceinline__ bool by_four(const void *p, size_t value_bytes, int64_t stride)
{
	return (size_t)p % (4 * value_bytes) == 0 && stride % 4 == 0;
}

static __device__ __forceinline__ size_t type_bytes(enum dtype type)
{
	return type == DTYPE_F32 ? 4 : 2;
}

// Values i .. i + 3 of a row of n; 0 beyond it. `vector` says that by_four holds and n is a multiple of 4: the same values.
static __device__ __forceinline__ float4 load4(const float *row, int64_t i, int64_t n, bool vector)
{
	float4 v = make_float4(0, 0, 0, 0);
	if (i >= n)
		return v;
	if (vector)
		return *(const float4 *)(row + i);
	v.x = row[i];
	v.y = i + 1 < n ? row[i + 1] : 0;
	v.z = i + 2 < n ? row[i + 2] : 0;
	v.w = i + 3 < n ? row[i + 3] : 0;
	return v;
}

static __device__ __forceinline__ void store4(float *row, int64_t i, int64_t n, bool vector, float4 v)
{
	if (i >= n)
		return;
	if (vector) {
		*(float4 *)(row + i) = v;
		return;
	}
	row[i] = v.x;
	if (i + 1 < n)
		row[i + 1] = v.y;
	if (i + 2 < n)
		row[i + 2] = v.z;
	if (i + 3 < n)
		row[i + 3] = v.w;
}

// Two values rounded to nearest even, the first in the low half.
static __device__ __forceinline__ uint32_t to_bf16x2(float low, float high)
{
	uint32_t bits;
	asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
	return bits;
}

static __device__ __forceinline__ uint32_t to_f16x2(float low, float high)
{
	uint32_t bits;
	asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
	return bits;
}

static __device__ __forceinline__ float from_bf16(uint32_t bits)
{
	return __uint_as_float(bits << 16);
}

static __device__ __forceinline__ float from_f16(uint32_t bits)
{
	float v;
	asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"((unsigned short)bits));
	return v;
}

// As load4 and store4, of a row of any of the three types.
static __device__ __forceinline__ float4 load4_as(enum dtype type, const void *row, int64_t i, int64_t n, bool vector)
{
	if (type == DTYPE_F32)
		return load4((const float *)row, i, n, vector);
	const uint16_t *p = (const uint16_t *)row + i;
	uint32_t bits[4] = { 0, 0, 0, 0 };
	if (i < n && vector) {
		uint2 pair = *(const uint2 *)p;
		bits[0] = pair.x & 0xffff;
		bits[1] = pair.x >> 16;
		bits[2] = pair.y & 0xffff;
		bits[3] = pair.y >> 16;
	} else {
#pragma unroll
		for (int j = 0; j < 4; j++)
			bits[j] = i + j < n ? p[j] : 0;
	}
	if (type == DTYPE_BF16)
		return make_float4(from_bf16(bits[0]), from_bf16(bits[1]), from_bf16(bits[2]), from_bf16(bits[3]));
	return make_float4(from_f16(bits[0]), from_f16(bits[1]), from_f16(bits[2]), from_f16(bits[3]));
}

static __device__ __forceinline__ void store4_as(enum dtype type, void *row, int64_t i, int64_t n, bool vector, float4 v)
{
	if (type == DTYPE_F32) {
		store4((float *)row, i, n, vector, v);
		return;
	}
	if (i >= n)
		return;
	uint2 pair = type == DTYPE_BF16 ? make_uint2(to_bf16x2(v.x, v.y), to_bf16x2(v.z, v.w))
					: make_uint2(to_f16x2(v.x, v.y), to_f16x2(v.z, v.w));
	uint16_t *p = (uint16_t *)row + i;
	if (vector) {
		*(uint2 *)p = pair;
		return;
	}
	p[0] = (uint16_t)pair.x;
	if (i + 1 < n)
		p[1] = (uint16_t)(pair.x >> 16);
	if (i + 2 < n)
		p[2] = (uint16_t)pair.y;
	if (i + 3 < n)
		p[3] = (uint16_t)(pair.y >> 16);
}

// The sum over a warp's lanes, the same bits in each: lanes 16 apart first, neighbours last.
static __device__ __forceinline__ float warp_sum(float v)
{
#pragma unroll
	for (int apart = 16; apart; apart /= 2)
		v += __shfl_xor_sync(~0u, v, apart);
	return v;
}

static __device__ __forceinline__ float warp_max(float v)
{
#pragma unroll
	for (int apart = 16; apart; apart /= 2)
		v = fmaxf(v, __shfl_xor_sync(~0u, v, apart));
	return v;
}

#endif
