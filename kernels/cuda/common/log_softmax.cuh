// log_softmax.cuh - the maximum and the sum of exponentials of a row of logits, in pieces, so that one block or many may
// share a row and get the same bits.
//
// THE ORDER. A row is cut into pieces of SOFTMAX_PIECE values, a warp a piece. Lane j takes the values 4c .. 4c + 3 of
// c = j, j + 32, ..; the piece's maximum first; then each lane adds exp(x - maximum), ascending; then lanes 16, 8, 4, 2, 1 apart.
// Piece p belongs to strand p % 32; a strand's pieces are folded in ascending order; then strands 16, 8, 4, 2, 1 apart.
// A state of nothing but -inf is { -inf, 0 }; a NaN makes the sum NaN.
#ifndef CUDA_LOG_SOFTMAX_CUH
#define CUDA_LOG_SOFTMAX_CUH

#include "device.cuh"

#define SOFTMAX_PIECE 512
#define SOFTMAX_STRANDS 32

struct softmax_state {
	float max, sum;
};

// What exponentials are taken relative to: exp(-inf - 0) is the 0 that exp(-inf - -inf) is not.
static __device__ __forceinline__ float softmax_reference(float max)
{
	return max == -INFINITY ? 0.0f : max;
}

static __device__ __forceinline__ struct softmax_state softmax_nothing()
{
	struct softmax_state s = { -INFINITY, 0.0f };
	return s;
}

static __device__ __forceinline__ struct softmax_state softmax_fold(struct softmax_state a, struct softmax_state b)
{
	struct softmax_state s;
	s.max = fmaxf(a.max, b.max);
	float reference = softmax_reference(s.max);
	s.sum = a.sum * expf(a.max - reference) + b.sum * expf(b.max - reference);
	return s;
}

#define SOFTMAX_FOURS (SOFTMAX_PIECE / 128) // that a lane takes of a piece

// A lane's share of piece `p` of a row of n values; -inf beyond the row, whose exponential is 0.
static __device__ __forceinline__ void softmax_load(float4 v[SOFTMAX_FOURS], const float *x, int64_t n, int64_t p, bool vector)
{
	int64_t first = p * SOFTMAX_PIECE + 4 * (threadIdx.x % 32);
#pragma unroll
	for (int i = 0; i < SOFTMAX_FOURS; i++) {
		v[i] = load4(x, first + 128 * i, n, vector);
		int64_t left = n - (first + 128 * i);
		if (left < 4) {
			v[i].x = left > 0 ? v[i].x : -INFINITY;
			v[i].y = left > 1 ? v[i].y : -INFINITY;
			v[i].z = left > 2 ? v[i].z : -INFINITY;
			v[i].w = -INFINITY;
		}
	}
}

// The state of a piece, the same in every lane. Called by whole warps.
static __device__ __forceinline__ struct softmax_state softmax_piece(const float4 v[SOFTMAX_FOURS])
{
	float max = -INFINITY, sum = 0;
#pragma unroll
	for (int i = 0; i < SOFTMAX_FOURS; i++)
		max = fmaxf(max, fmaxf(fmaxf(v[i].x, v[i].y), fmaxf(v[i].z, v[i].w)));
	max = warp_max(max);
	float reference = softmax_reference(max);
#pragma unroll
	for (int i = 0; i < SOFTMAX_FOURS; i++) {
		sum += expf(v[i].x - reference);
		sum += expf(v[i].y - reference);
		sum += expf(v[i].z - reference);
		sum += expf(v[i].w - reference);
	}
	struct softmax_state s = { max, warp_sum(sum) };
	return s;
}

// The state of all strands, lane s holding strand s's; the same in every lane.
static __device__ __forceinline__ struct softmax_state softmax_strands(struct softmax_state s)
{
#pragma unroll
	for (int apart = 16; apart; apart /= 2) {
		struct softmax_state other = { __shfl_xor_sync(~0u, s.max, apart), __shfl_xor_sync(~0u, s.sum, apart) };
		s = softmax_fold(s, other);
	}
	return s;
}

// log_sum of the contract: NaN where the maximum is infinite.
static __device__ __forceinline__ float softmax_log(struct softmax_state s)
{
	return isinf(s.max) ? NAN : (float)log((double)s.sum);
}

#endif
