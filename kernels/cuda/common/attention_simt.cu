// attention_simt.cu - paged attention for all types and sizes: simple, and the fallback where no tensor core kernel serves.
//
// A thread block of 4 warps takes one query token in one head after another. Keys ascend from the first one that the row sees,
// in tiles of 64 at absolute positions, without cuts: a score is summed by a warp (lane i takes dimensions i, i + 32, .., then
// a butterfly), the rest by one thread a column: m' = max(m, x), p = 2^(x - m'), o = o * 2^(m - m'), then o = o + p v, key
// after key; l likewise. All in float32. What a row does not see is left out.
#include "kernels/ops/attention_list.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace {

constexpr int THREADS = 128, TILE = ATTENTION_TILE, COLUMNS = ATTENTION_MAX_HEAD_DIM / THREADS;
constexpr float LOG2E = 1.4426950408889634f, LN2 = 0.6931471805599453f;

__device__ float load(enum dtype type, const void *p, int64_t i)
{
	if (type == DTYPE_F32)
		return ((const float *)p)[i];
	if (type == DTYPE_F16)
		return __half2float(((const __half *)p)[i]);
	return __bfloat162float(((const __nv_bfloat16 *)p)[i]);
}

__device__ void store(enum dtype type, void *p, int64_t i, float v)
{
	if (type == DTYPE_F32)
		((float *)p)[i] = v;
	else if (type == DTYPE_F16)
		((__half *)p)[i] = __float2half_rn(v);
	else
		((__nv_bfloat16 *)p)[i] = __float2bfloat16_rn(v);
}

// The sequence that has the step's query token `token`.
__device__ int sequence_of(const struct attention_args &a, int64_t token)
{
	int low = 0, high = (int)a.n_seqs; // q_begin[low] <= token < q_begin[high]
	while (high - low > 1) {
		int middle = (low + high) / 2;
		if (a.q_begin[middle] <= token)
			low = middle;
		else
			high = middle;
	}
	return low;
}

struct shared {
	float q[ATTENTION_MAX_HEAD_DIM];
	float x[TILE];
	int64_t row[TILE]; // of the cache, in rows of one head
};

// Scores of a tile; -inf for keys outside begin..end.
__device__ void scores(const struct attention_simt_args &s, struct shared &h, const int32_t *pages, int kv_head,
		       int64_t tile, int64_t begin, int64_t end)
{
	const struct attention_args &a = s.a;
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
	for (int i = warp; i < TILE; i += THREADS / 32) {
		int64_t key = tile * TILE + i;
		float x = -INFINITY;
		if (key >= begin && key < end) {
			int64_t row = ((int64_t)pages[key / a.page_size] * a.n_kv_heads + kv_head) * a.page_size +
				      key % a.page_size;
			float dot = 0;
			for (int64_t d = lane; d < a.head_dim; d += 32)
				dot = fmaf(h.q[d], load(a.kv_type, a.k_cache, row * a.head_dim + d), dot);
			for (int n = 16; n; n /= 2)
				dot += __shfl_xor_sync(~0u, dot, n);
			x = dot * s.score_scale;
			if (a.softcap > 0)
				x = fmaf(-2.0f * s.score_cap, 1.0f / (1.0f + exp2f(x)), s.score_cap);
			if (lane == 0)
				h.row[i] = row;
		}
		if (lane == 0)
			h.x[i] = x;
	}
}

__device__ void run_row(const struct attention_simt_args &s, struct shared &h, int64_t token, int head)
{
	const struct attention_args &a = s.a;
	int kv_head = head / (int)(a.n_heads / a.n_kv_heads), seq = sequence_of(a, token);
	const int32_t *pages = a.page_table + seq * a.table_stride;
	int64_t begin, end;
	attention_visible(a.kv_len[seq] - a.q_begin[seq + 1] + token, a.window, &begin, &end);
	for (int64_t d = threadIdx.x; d < a.head_dim; d += THREADS)
		h.q[d] = load(a.q_type, a.q, token * a.q_stride + head * a.head_dim + d);

	float m = -INFINITY, l = 0, o[COLUMNS] = { 0 };
	for (int64_t tile = begin / TILE; tile * TILE < end; tile++) {
		__syncthreads();
		scores(s, h, pages, kv_head, tile, begin, end);
		__syncthreads();
		float top = m, sum = 0;
		for (int i = 0; i < TILE; i++)
			top = fmaxf(top, h.x[i]);
		float base = top == -INFINITY ? 0.0f : top, weight = exp2f(m - base);
		for (int c = 0; c < COLUMNS; c++)
			o[c] *= weight;
		for (int i = 0; i < TILE; i++) {
			int64_t key = tile * TILE + i;
			if (key < begin || key >= end)
				continue;
			float p = exp2f(h.x[i] - base);
			sum += p;
			for (int c = 0; c < COLUMNS; c++) {
				int64_t d = threadIdx.x + c * THREADS;
				if (d < a.v_head_dim)
					o[c] = fmaf(p, load(a.kv_type, a.v_cache, h.row[i] * a.v_head_dim + d), o[c]);
			}
		}
		m = top;
		l = fmaf(l, weight, sum);
	}
	__syncthreads(); // q is read no more

	float scale = m == -INFINITY ? 0.0f : 1.0f / l, lse = m == -INFINITY ? m : fmaf(m, LN2, logf(l));
	if (a.sinks) {
		float sink = a.sinks[head], x = sink * LOG2E, both = fmaxf(m, x), base = both == -INFINITY ? 0.0f : both;
		float weight = exp2f(m - base), sum = fmaf(l, weight, exp2f(x - base));
		scale = m == -INFINITY ? 0.0f : weight / sum;
		lse = m == -INFINITY ? sink : fmaf(both, LN2, logf(sum));
	}
	for (int c = 0; c < COLUMNS; c++) {
		int64_t d = threadIdx.x + c * THREADS;
		if (d < a.v_head_dim)
			store(a.out_type, a.out, token * a.out_stride + head * a.v_head_dim + d, o[c] * scale);
	}
	if (a.lse && threadIdx.x == 0)
		a.lse[token * a.n_heads + head] = lse;
}

} // namespace

extern "C" __global__ void __launch_bounds__(128) attention_simt(const __grid_constant__ struct attention_simt_args s)
{
	__shared__ struct shared h;
	const struct attention_args &a = s.a;
	int64_t first = a.q_begin[0], n = (a.q_begin[a.n_seqs] - first) * a.n_heads;
	for (int64_t i = blockIdx.x; i < n; i += gridDim.x)
		run_row(s, h, first + i / a.n_heads, (int)(i % a.n_heads));
}
