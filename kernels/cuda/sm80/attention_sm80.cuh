// attention_sm80.cuh - paged attention by mma.sync and cp.async, for compute capability 8.0 and later.
//
// DESIGN. Persistent thread blocks of 4 warps (8 for the largest heads); block i does workers[i] of the list (kernels/ops/attention_list.h). Tiles of 64 keys
// and values stream through a ring in shared memory, n_stages deep, that does not stop between pieces or tickets: while a
// ticket's result is written, keys of the next one are under way. One barrier a tile.
//
// The warps of a block are arranged as ROW_WARPS x (4 or 8 / ROW_WARPS): a warp has M times 16 rows and a share of the values'
// columns. It computes the scores of its rows with all 64 keys, so that warps exchange nothing: few rows cost the same
// multiplications several times over, which is free where memory is what one waits for. How many row warps there are
// follows from a ticket's rows, and changes no bit: a row's sums are made by the same instructions in the same order.
//
// There are two kernels a head size. One has blocks of up to 64 rows, for steps that decode and verify. The wide one has blocks of
// 128 rows for prompts, 32 a warp, so that a matrix of keys or values loaded from shared memory is used twice; its
// registers hold one state only, and what earlier pieces gave waits in memory meanwhile (attention_sm80_wide.cuh).
//
// THE ORDER. A score: s, mma.sync m16n8k16 over the head's dimensions, ascending, in float32; x = s * scale, or cap * tanh, is in
// units of log2. A state is (m, l, o), m a row's reference: for a tile of 64 keys, t = the largest x of the tile; where t > m + 8,
// o and l are multiplied by 2^(m - t), and m = t. (Most tiles change nothing: p stays below 256, which costs no precision.) Then
// p = 2^(x - m), with x - m as one fused multiply-add where there is no cap, rounded to the cache's type, and o = o + p v
// by mma.sync over 4 times 16 keys, ascending; l likewise, as a column of values that are all 1: what is summed is
// what is multiplied. Pieces begin with an empty state, and are folded in ascending order by fold().
// A key that a row does not see has x = -inf, so p = 0; values that nobody sees are zeros in shared memory, never read.
#ifndef CUDA_ATTENTION_SM80_CUH
#define CUDA_ATTENTION_SM80_CUH

#include "kernels/ops/attention_list.h"

namespace {

constexpr int TILE = ATTENTION_TILE;
// Smallest page, and the keys that one entry of the page table is looked up for.
constexpr int PAGE_MIN = 8;
constexpr float LOG2E = 1.4426950408889634f, LN2 = 0.6931471805599453f;
// How far, in units of log2, a tile's largest score may be above the reference before the reference is raised.
constexpr float HEADROOM = 8.0f;

// ---- Instructions ----

__device__ __forceinline__ uint32_t shared_address(const void *p)
{
	return (uint32_t)__cvta_generic_to_shared(p);
}

// 16 bytes, or zeros.
__device__ __forceinline__ void copy_async(uint32_t to, const void *from, bool wanted)
{
	asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(wanted ? 16 : 0));
}

__device__ __forceinline__ void copy_commit()
{
	asm volatile("cp.async.commit_group;");
}

// 16 bytes.
__device__ __forceinline__ void copy_async(uint32_t to, const void *from)
{
	asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(to), "l"(from));
}

// Waits until at most n groups of this thread's copies are under way.
__device__ __forceinline__ void copy_wait(int n)
{
	switch (n) {
	case 0:
		asm volatile("cp.async.wait_group 0;" ::: "memory");
		break;
	case 1:
		asm volatile("cp.async.wait_group 1;" ::: "memory");
		break;
	case 2:
		asm volatile("cp.async.wait_group 2;" ::: "memory");
		break;
	case 3:
		asm volatile("cp.async.wait_group 3;" ::: "memory");
		break;
	default:
		asm volatile("cp.async.wait_group 4;" ::: "memory");
		break;
	}
}

__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], uint32_t from)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
		     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
		     : "r"(from));
}

__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], uint32_t from)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
		     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
		     : "r"(from));
}

template <bool F16>
__device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
	if (F16)
		asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
			     "{%8, %9}, {%0, %1, %2, %3};"
			     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
			     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
	else
		asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
			     "{%8, %9}, {%0, %1, %2, %3};"
			     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
			     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The same, added to zeros.
template <bool F16>
__device__ __forceinline__ void multiply_first(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
	const float z = 0.0f;
	if (F16)
		asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
			     "{%8, %9}, {%10, %10, %10, %10};"
			     : "=f"(c[0]), "=f"(c[1]), "=f"(c[2]), "=f"(c[3])
			     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(z));
	else
		asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
			     "{%8, %9}, {%10, %10, %10, %10};"
			     : "=f"(c[0]), "=f"(c[1]), "=f"(c[2]), "=f"(c[3])
			     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(z));
}

// Two values, rounded to nearest even; the first one in the low half.
template <bool F16>
__device__ __forceinline__ uint32_t pack(float low, float high)
{
	uint32_t r;
	if (F16)
		asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
	else
		asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
	return r;
}

__device__ __forceinline__ float exp2_fast(float x)
{
	float y;
	asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}

__device__ __forceinline__ float reciprocal_fast(float x)
{
	float y;
	asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}

__device__ __forceinline__ float minus_infinity()
{
	return __int_as_float(0xff800000);
}

// threadIdx.x, found anew: what is computed from it is not kept in registers over all tickets.
__device__ __forceinline__ int thread_index()
{
	int i;
	asm volatile("mov.u32 %0, %%tid.x;" : "=r"(i));
	return i;
}

// ---- States ----

// What 2^(m - result) may be taken of: an empty state's maximum would give NaN.
__device__ __forceinline__ float finite_max(float m)
{
	return m == minus_infinity() ? 0.0f : m;
}

// The weights of two states in the state of both; m and l become that of both. Values: fold_value.
__device__ __forceinline__ void fold(float &m, float &l, float m2, float l2, float &weight, float &weight2)
{
	float both = fmaxf(m, m2), base = finite_max(both);
	weight = exp2_fast(m - base);
	weight2 = exp2_fast(m2 - base);
	m = both;
	l = fmaf(l2, weight2, l * weight);
}

__device__ __forceinline__ float fold_value(float o, float o2, float weight, float weight2)
{
	return fmaf(o2, weight2, o * weight);
}

// What a row's values are multiplied by in the end, and its log-sum-exp.
__device__ __forceinline__ float finish(const struct attention_args &a, int head, float m, float l, float &lse)
{
	float scale = m == minus_infinity() ? 0.0f : 1.0f / l;
	if (a.sinks) {
		float sink = a.sinks[head], x = sink * LOG2E;
		float both = fmaxf(m, x), base = finite_max(both);
		float weight = exp2_fast(m - base);
		float sum = fmaf(l, weight, exp2_fast(x - base));
		scale = m == minus_infinity() ? 0.0f : weight / sum;
		lse = m == minus_infinity() ? sink : fmaf(both, LN2, logf(sum));
	} else {
		lse = m == minus_infinity() ? m : fmaf(m, LN2, logf(l));
	}
	return scale;
}

// Values i.. of a row of the result; i is a multiple of N.
template <int N>
__device__ __forceinline__ void write_values(const struct attention_args &a, int64_t first, const float (&v)[N])
{
	if (a.out_type == DTYPE_F32) {
#pragma unroll
		for (int j = 0; j < N; j += 2)
			*(float2 *)((float *)a.out + first + j) = make_float2(v[j], v[j + 1]);
		return;
	}
	uint32_t *out = (uint32_t *)((uint16_t *)a.out + first);
#pragma unroll
	for (int j = 0; j < N; j += 2)
		out[j / 2] = a.out_type == DTYPE_F16 ? pack<true>(v[j], v[j + 1]) : pack<false>(v[j], v[j + 1]);
}

// ---- Tickets ----

struct ticket {
	struct attention_block b;
	int kv_head;
	int first_token, first_head; // of its first row: in the sequence's query tokens, in the KV head's group
	int piece_begin, piece_end; // of this worker's part
	int first_piece, last_piece; // of all its parts
	int tile_begin, tile_end;
	int split;
	struct attention_split shared; // where there is a split
};

// The list is read past the first cache: it may be looked at before earlier kernels have ended.
__device__ __forceinline__ struct attention_block load_block(const struct attention_block *b)
{
	const int4 *from = (const int4 *)b;
	int4 lo = __ldcg(from), hi = __ldcg(from + 1);
	struct attention_block block = { lo.x, lo.y, lo.z, lo.w, hi.x, hi.y, hi.z };
	return block;
}

__device__ __forceinline__ struct attention_split load_split(const struct attention_split *from)
{
	int4 v = __ldcg((const int4 *)from);
	return { v.x, v.y, v.z, v.w };
}

// Which of the sequence's query tokens a row of the ticket is of. Divided by way of the reciprocal, exact for as many rows as a block
// has: the division of integers is a long way where few keys are all there is to do.
__device__ __forceinline__ int token_of(const struct ticket &k, int row, int group)
{
	return k.first_token + (int)(((float)(k.first_head + row) + 0.5f) * reciprocal_fast((float)group));
}

// The row's query head; `token` is token_of the row.
__device__ __forceinline__ int head_of(const struct ticket &k, int row, int token, int group)
{
	return k.kv_head * group + k.first_head + row - (token - k.first_token) * group;
}

// The worker's range: attention_worker without the block.
struct range {
	int first, last, first_piece, last_piece, first_split, last_split;
};

__device__ __forceinline__ const struct attention_block *block_of(const struct attention_sm80_args &s, int ticket)
{
	return &s.blocks[ticket / (int)s.a.n_kv_heads];
}

__device__ __forceinline__ void get_ticket(const struct attention_sm80_args &s, const struct range &w, int t, int ticket,
					   const struct attention_block &b, struct ticket *out)
{
	out->b = b;
	out->kv_head = ticket % (int)s.a.n_kv_heads;
	int group = (int)s.a.n_heads / (int)s.a.n_kv_heads;
	out->first_token = b.row_begin / group;
	out->first_head = b.row_begin - out->first_token * group;
	bool any = out->b.key_begin < out->b.key_end;
	out->first_piece = any ? (int)attention_piece_of(out->b.key_begin) : 0;
	out->last_piece = any ? (int)attention_piece_of(out->b.key_end - 1) + 1 : 0;
	out->piece_begin = t == w.first ? max(w.first_piece, out->first_piece) : out->first_piece;
	out->piece_end = t == w.last ? min(w.last_piece, out->last_piece) : out->last_piece;
	out->split = t == w.last ? w.last_split : t == w.first ? w.first_split : -1;
	int begin = max((int)attention_piece_begin(out->piece_begin), out->b.key_begin);
	int end = min((int)attention_piece_begin(out->piece_end), out->b.key_end);
	out->tile_begin = begin / TILE;
	out->tile_end = begin < end ? (end + TILE - 1) / TILE : out->tile_begin;
}

// ---- The ring ----

template <int D>
struct shape {
	static constexpr int CHUNKS = D / 8;         // 16 bytes each, of a row
	static constexpr int ROW_BYTES = D * 2;
	static constexpr int STAGE_BYTES = 2 * TILE * ROW_BYTES; // keys, then values
	// Two blocks a multiprocessor of 4 warps each, or one of 8 for heads so large that two would not fit. On an H100
	// (bench_attention_gpu, 2026-11-22) three blocks lose for heads of 64: 2.05 against 2.40 TB/s at 64x4096.
	static constexpr int WARPS = D > 128 ? 8 : 4, THREADS = 32 * WARPS, BLOCKS = D > 128 ? 1 : 2;
};

// Where chunk c of row r stands: the eight rows of a matrix in different banks.
template <int D>
__device__ __forceinline__ uint32_t chunk_at(int row, int chunk)
{
	return (uint32_t)(row * shape<D>::ROW_BYTES + ((chunk ^ (row & 7)) << 4));
}

// Pages of so many keys are looked up at once, by the lanes of a warp.
constexpr int WINDOW = 32 * PAGE_MIN;

// Runs ahead of the arithmetic: which tile is copied next, from where.
template <int D>
struct fetch {
	int t;              // ticket; beyond the last one when all is fetched
	int tile, tile_end; // the next tile
	int key_begin, key_end;
	int old_end; // keys below it are of earlier steps
	int seq, kv_head;
	int32_t page, next_page; // lane i: the page of keys 8i.. of the tile's window, and of the window behind it
	int slot;                // of the ring, next to be written

	__device__ __forceinline__ int32_t look_up(const struct attention_sm80_args &s, int window) const
	{
		int key = window * WINDOW + (threadIdx.x & 31) * PAGE_MIN;
		if (key >= key_end || key + PAGE_MIN <= key_begin)
			return 0;
		return __ldcg(s.a.page_table + seq * s.a.table_stride + (key >> (31 - __clz((int)s.a.page_size))));
	}

	// Goes to the first ticket from t on that has keys; b is the block of t.
	__device__ __forceinline__ void enter(const struct attention_sm80_args &s, const struct range &w, struct attention_block b)
	{
		for (;;) {
			struct ticket k;
			get_ticket(s, w, t, t, b, &k);
			if (k.tile_begin == k.tile_end) {
				if (++t > w.last)
					return;
				b = load_block(block_of(s, t));
				continue;
			}
			tile = k.tile_begin, tile_end = k.tile_end;
			key_begin = k.b.key_begin, key_end = k.b.key_end, old_end = k.b.position;
			seq = k.b.seq, kv_head = k.kv_head;
			page = look_up(s, tile / (WINDOW / TILE));
			next_page = look_up(s, tile / (WINDOW / TILE) + 1);
			return;
		}
	}

	// Whether earlier steps wrote all that the next tile has.
	__device__ __forceinline__ bool is_old(const struct range &w) const
	{
		return t <= w.last && min(tile * TILE + TILE, key_end) <= old_end;
	}

	// Starts to copy the next tile; where there is none, an empty group keeps the count.
	__device__ __forceinline__ void issue(const struct attention_sm80_args &s, const struct range &w,
					      uint32_t ring)
	{
		constexpr int C = shape<D>::CHUNKS, ROWS = shape<D>::THREADS / C;
		if (t <= w.last) {
			uint32_t to = ring + slot * shape<D>::STAGE_BYTES;
			int row0 = threadIdx.x / C, chunk = threadIdx.x % C, group0 = tile % (WINDOW / TILE) * (TILE / PAGE_MIN);
			int page_size = (int)s.a.page_size, d = (int)s.a.head_dim;
			int heads = (int)s.a.n_kv_heads, first = tile * TILE;
			if (page_size >= TILE && d == D && first >= key_begin && first + TILE <= key_end) {
				// All of it is wanted and stands in one piece: one address, and constants.
				int64_t at = (int64_t)__shfl_sync(~0u, page, group0) * heads + kv_head;
				at = (at * page_size + (first & (page_size - 1)) + row0) * D + chunk * 8;
				const uint16_t *k = (const uint16_t *)s.a.k_cache + at, *v = (const uint16_t *)s.a.v_cache + at;
				to += chunk_at<D>(row0, chunk);
#pragma unroll
				for (int j = 0; j < TILE / ROWS; j++)
					copy_async(to + j * ROWS * shape<D>::ROW_BYTES, k + j * ROWS * D);
#pragma unroll
				for (int j = 0; j < TILE / ROWS; j++)
					copy_async(to + (TILE + j * ROWS) * shape<D>::ROW_BYTES, v + j * ROWS * D);
			} else {
				bool inside = chunk * 8 < d;
#pragma unroll
				for (int j = 0; j < TILE / ROWS; j++) {
					int row = row0 + j * ROWS, key = first + row;
					int in_page = kv_head * page_size + (key & (page_size - 1));
					int64_t at = (int64_t)__shfl_sync(~0u, page, group0 + row / PAGE_MIN) * (heads * page_size);
					bool wanted = inside && key >= key_begin && key < key_end;
					at = wanted ? (at + in_page) * d + chunk * 8 : 0;
					copy_async(to + chunk_at<D>(row, chunk), (const uint16_t *)s.a.k_cache + at, wanted);
					copy_async(to + TILE * shape<D>::ROW_BYTES + chunk_at<D>(row, chunk),
						   (const uint16_t *)s.a.v_cache + at, wanted);
				}
			}
			slot = slot + 1 == s.n_stages ? 0 : slot + 1;
			if (++tile == tile_end) {
				if (++t <= w.last)
					enter(s, w, load_block(block_of(s, t)));
			} else if (tile % (WINDOW / TILE) == 0) {
				page = next_page;
				next_page = look_up(s, tile / (WINDOW / TILE) + 1);
			}
		}
		copy_commit();
	}
};

// ---- A tile ----

// Scores of M times 16 rows with 64 keys: c[m][n] has keys 8n.. .
template <int D, bool F16, int M>
__device__ __forceinline__ void scores(float (&c)[M][8][4], uint32_t q, uint32_t keys, int lane)
{
	uint32_t q_at = q + (lane & 15) * shape<D>::ROW_BYTES + ((((lane >> 4)) ^ (lane & 7)) << 4);
	uint32_t k_at = keys + ((lane & 7) + ((lane >> 4) << 3)) * shape<D>::ROW_BYTES +
			((((lane >> 3) & 1) ^ (lane & 7)) << 4);
#pragma unroll
	for (int d = 0; d < D / 16; d++) {
		uint32_t a[M][4];
#pragma unroll
		for (int m = 0; m < M; m++)
			load_matrices(a[m], (q_at ^ (d << 5)) + m * 16 * shape<D>::ROW_BYTES);
#pragma unroll
		for (int n = 0; n < 8; n += 2) {
			uint32_t b[4];
			load_matrices(b, (k_at ^ (d << 5)) + n * 8 * shape<D>::ROW_BYTES);
#pragma unroll
			for (int m = 0; m < M; m++) {
				if (d == 0) {
					multiply_first<F16>(c[m][n], a[m], b[0], b[1]);
					multiply_first<F16>(c[m][n + 1], a[m], b[2], b[3]);
				} else {
					multiply<F16>(c[m][n], a[m], b[0], b[1]);
					multiply<F16>(c[m][n + 1], a[m], b[2], b[3]);
				}
			}
		}
	}
}

// Takes out what rows at the two positions do not see; this thread's first key is `key`.
__device__ __forceinline__ void mask(float (&c)[8][4], int64_t window, const int (&position)[2], int key)
{
#pragma unroll
	for (int i = 0; i < 2; i++) {
		int64_t begin, end;
		attention_visible(position[i], window, &begin, &end);
		int from = (int)begin - key, to = (int)end - key;
#pragma unroll
		for (int n = 0; n < 8; n++) {
#pragma unroll
			for (int j = 0; j < 2; j++) {
				if (n * 8 + j < from || n * 8 + j >= to)
					c[n][2 * i + j] = minus_infinity();
			}
		}
	}
}

// A warp's rows: two for each thread in each of M times 16, row and row + 8, and N times 8 columns of their values.
template <int M, int N>
struct rows {
	float m[M][2], l[M][4], o[M][N][4]; // of l, 0 and 2 count; o and l as mma.sync has them

	__device__ __forceinline__ void clear()
	{
#pragma unroll
		for (int m = 0; m < M; m++) {
			this->m[m][0] = this->m[m][1] = minus_infinity();
			l[m][0] = l[m][1] = l[m][2] = l[m][3] = 0;
#pragma unroll
			for (int n = 0; n < N; n++)
				o[m][n][0] = o[m][n][1] = o[m][n][2] = o[m][n][3] = 0;
		}
	}
};

// Raises the references of rows for a tile's scores c, of which `scale` times is in units of log2. Without `upper` rows there is
// nothing to be known of the upper 8 of the 16; `fresh` states are empty.
template <bool CAP, int M, int N>
__device__ __forceinline__ void raise(struct rows<M, N> &r, const float (&c)[M][8][4], float scale, bool upper, bool fresh)
{
	float top[M][2];
	bool above = false;
#pragma unroll
	for (int m = 0; m < M; m++) {
#pragma unroll
		for (int i = 0; i < 2; i++) {
			if (M == 1 && i == 1 && !upper)
				break;
			float x = fmaxf(c[m][0][2 * i], c[m][0][2 * i + 1]);
#pragma unroll
			for (int n = 1; n < 8; n++)
				x = fmaxf(x, fmaxf(c[m][n][2 * i], c[m][n][2 * i + 1]));
			top[m][i] = CAP ? x : x * scale;
			above |= top[m][i] > r.m[m][i] + HEADROOM;
		}
	}
	if (__any_sync(~0u, above)) {
#pragma unroll
		for (int m = 0; m < M; m++) {
#pragma unroll
			for (int i = 0; i < 2; i++) {
				if (M == 1 && i == 1 && !upper)
					break;
				float x = top[m][i];
				x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
				x = fmaxf(x, __shfl_xor_sync(~0u, x, 2));
				x = x > r.m[m][i] + HEADROOM ? x : r.m[m][i];
				float weight = exp2_fast(r.m[m][i] - finite_max(x));
				r.m[m][i] = x;
				if (fresh)
					continue;
				r.l[m][2 * i] *= weight;
				r.l[m][2 * i + 1] *= weight;
#pragma unroll
				for (int n = 0; n < N; n++) {
					r.o[m][n][2 * i] *= weight;
					r.o[m][n][2 * i + 1] *= weight;
				}
			}
		}
	}
}

// Adds a tile, with references that its scores were shown to: the values' chunks of 8 columns from `chunk` (a multiple of N) on.
template <int D, bool F16, bool CAP, int M, int N>
__device__ __forceinline__ void add_tile(struct rows<M, N> &r, float (&c)[M][8][4], float scale, uint32_t values, int chunk,
					 int lane, bool upper)
{
	constexpr uint32_t ONES = F16 ? 0x3c003c00 : 0x3f803f80;
#pragma unroll
	for (int m = 0; m < M; m++) {
#pragma unroll
		for (int i = 0; i < 2; i++) {
			if (M == 1 && i == 1 && !upper) {
#pragma unroll
				for (int n = 0; n < 8; n++)
					c[m][n][2] = c[m][n][3] = 0;
				break;
			}
			float base = finite_max(r.m[m][i]);
#pragma unroll
			for (int n = 0; n < 8; n++) {
#pragma unroll
				for (int j = 2 * i; j < 2 * i + 2; j++)
					c[m][n][j] = exp2_fast(CAP ? c[m][n][j] - base : fmaf(c[m][n][j], scale, -base));
			}
		}
	}
	uint32_t v_at = values + (lane & 15) * shape<D>::ROW_BYTES + (((chunk | (lane >> 4)) ^ (lane & 7)) << 4);
#pragma unroll
	for (int k = 0; k < 4; k++) {
		uint32_t p[M][4];
#pragma unroll
		for (int m = 0; m < M; m++) {
			p[m][0] = pack<F16>(c[m][2 * k][0], c[m][2 * k][1]);
			p[m][1] = pack<F16>(c[m][2 * k][2], c[m][2 * k][3]);
			p[m][2] = pack<F16>(c[m][2 * k + 1][0], c[m][2 * k + 1][1]);
			p[m][3] = pack<F16>(c[m][2 * k + 1][2], c[m][2 * k + 1][3]);
			multiply<F16>(r.l[m], p[m], ONES, ONES);
		}
#pragma unroll
		for (int n = 0; n < N; n += 2) {
			uint32_t b[4];
			load_matrices_transposed(b, (v_at ^ (n << 4)) + k * 16 * shape<D>::ROW_BYTES);
#pragma unroll
			for (int m = 0; m < M; m++) {
				multiply<F16>(r.o[m][n], p[m], b[0], b[1]);
				multiply<F16>(r.o[m][n + 1], p[m], b[2], b[3]);
			}
		}
	}
}

// ---- A ticket ----

// What is the same for all tickets.
template <int D>
struct worker {
	struct range range;
	struct fetch<D> ahead;
	uint32_t ring, queries; // in shared memory
	unsigned char *query_rows;
	int slot; // of the ring, next to be read
	int group;

	// The next tile, when it has arrived; copying goes on behind it.
	__device__ __forceinline__ uint32_t next_tile(const struct attention_sm80_args &s)
	{
		if (s.n_stages > 1)
			copy_wait(s.n_stages - 2);
		__syncthreads(); // all copies are visible, and nobody reads the slot that is written next
		ahead.issue(s, range, ring);
		if (s.n_stages == 1) {
			copy_wait(0);
			__syncthreads();
		}
		uint32_t at = ring + slot * shape<D>::STAGE_BYTES;
		slot = slot + 1 == s.n_stages ? 0 : slot + 1;
		return at;
	}

	// The ticket's queries, and zeros up to n rows.
	__device__ __forceinline__ void load_queries(const struct attention_sm80_args &s, const struct ticket &k, int n,
						     int thread)
	{
		constexpr int C = shape<D>::CHUNKS;
		int n_rows = k.b.row_end - k.b.row_begin;
		for (int i = thread; i < n * C; i += shape<D>::THREADS) {
			int row = i / C, chunk = i % C;
			int4 v = make_int4(0, 0, 0, 0);
			if (row < n_rows && chunk * 8 < s.a.head_dim) {
				int token = token_of(k, row, group), head = head_of(k, row, token, group);
				v = *(const int4 *)((const uint16_t *)s.a.q + (k.b.token + token) * s.a.q_stride +
						    head * s.a.head_dim + chunk * 8);
			}
			*(int4 *)(query_rows + chunk_at<D>(row, chunk)) = v;
		}
		__syncthreads();
	}
};

// Where state i of a split stands.
template <int D>
__device__ __forceinline__ float *state_at(const struct attention_sm80_args &s, const struct ticket &k, int i)
{
	int n_rows = k.b.row_end - k.b.row_begin;
	return s.states + k.shared.states_begin + i * attention_gpu_state_floats(n_rows, D);
}

template <int D, int M, int N>
__device__ __forceinline__ void write_state(float *state, const struct rows<M, N> &r, int n_rows, int row, int chunk,
					    int lane)
{
#pragma unroll
	for (int m = 0; m < M; m++) {
#pragma unroll
		for (int i = 0; i < 2; i++) {
			int at = row + 16 * m + 8 * i;
			if (at >= n_rows)
				continue;
			float *o = state + at * D + chunk * 8 + (lane & 3) * 2;
#pragma unroll
			for (int n = 0; n < N; n++)
				*(float2 *)(o + n * 8) = make_float2(r.o[m][n][2 * i], r.o[m][n][2 * i + 1]);
			if (chunk == 0 && (lane & 3) == 0)
				*(float2 *)(state + n_rows * D + at * 2) = make_float2(r.m[m][i], r.l[m][2 * i]);
		}
	}
}

// Folds r and what comes after it, into r.
template <int M, int N>
__device__ __forceinline__ void fold_rows(struct rows<M, N> &r, const struct rows<M, N> &later)
{
#pragma unroll
	for (int m = 0; m < M; m++) {
#pragma unroll
		for (int i = 0; i < 2; i++) {
			float weight, weight2;
			fold(r.m[m][i], r.l[m][2 * i], later.m[m][i], later.l[m][2 * i], weight, weight2);
#pragma unroll
			for (int n = 0; n < N; n++) {
#pragma unroll
				for (int j = 2 * i; j < 2 * i + 2; j++)
					r.o[m][n][j] = fold_value(r.o[m][n][j], later.o[m][n][j], weight, weight2);
			}
		}
	}
}

// Adds 1; what the block wrote before is seen by whoever sees that, and the other way round.
__device__ __forceinline__ int count_up(int32_t *p)
{
	int before;
	asm volatile("atom.acq_rel.gpu.global.add.s32 %0, [%1], 1;" : "=r"(before) : "l"(p) : "memory");
	return before;
}

// Says that this part is done. True for the last one, in all threads.
__device__ __forceinline__ bool arrive(const struct attention_sm80_args &s, const struct ticket &k)
{
	__shared__ bool is_last;
	__syncthreads();
	if (threadIdx.x == 0) {
		is_last = count_up(&s.arrived[k.split]) == k.shared.n_parts - 1;
		if (is_last)
			s.arrived[k.split] = 0;
	}
	__syncthreads();
	return is_last;
}

// Folds the states of all parts in ascending order and writes the result. A thread has E times 4 columns of a row at a time,
// and loads U states at once: what counts here is how much is under way.
template <int D, int E, int U>
__device__ __forceinline__ void merge(const struct attention_sm80_args &s, const struct ticket &k, int group)
{
	constexpr int THREADS = shape<D>::THREADS;
	int n_rows = k.b.row_end - k.b.row_begin, n_states = 1 + k.last_piece - k.shared.first_end;
	int n_elements = n_rows * (D / 4), floats = (int)attention_gpu_state_floats(n_rows, D);
	const float *states = state_at<D>(s, k, 0);
	for (int first = threadIdx.x; first < n_elements; first += E * THREADS) {
		float m[E], l[E], o[E][4];
		int row[E], column[E];
#pragma unroll
		for (int e = 0; e < E; e++) {
			int element = min(first + e * THREADS, n_elements - 1);
			row[e] = element / (D / 4);
			column[e] = element % (D / 4) * 4;
			m[e] = minus_infinity();
			l[e] = o[e][0] = o[e][1] = o[e][2] = o[e][3] = 0;
		}
		for (int begin = 0; begin < n_states; begin += U) {
			float2 ml[E][U];
			float4 v[E][U];
#pragma unroll
			for (int i = 0; i < U; i++) {
				const float *state = states + (int64_t)min(begin + i, n_states - 1) * floats;
#pragma unroll
				for (int e = 0; e < E; e++) {
					ml[e][i] = __ldcg((const float2 *)(state + n_rows * D + row[e] * 2));
					v[e][i] = __ldcg((const float4 *)(state + row[e] * D + column[e]));
				}
			}
#pragma unroll
			for (int i = 0; i < U; i++) {
				bool real = begin + i < n_states; // else an empty state, which changes nothing
#pragma unroll
				for (int e = 0; e < E; e++) {
					float weight, weight2;
					fold(m[e], l[e], real ? ml[e][i].x : minus_infinity(), real ? ml[e][i].y : 0.0f,
					     weight, weight2);
					o[e][0] = fold_value(o[e][0], real ? v[e][i].x : 0.0f, weight, weight2);
					o[e][1] = fold_value(o[e][1], real ? v[e][i].y : 0.0f, weight, weight2);
					o[e][2] = fold_value(o[e][2], real ? v[e][i].z : 0.0f, weight, weight2);
					o[e][3] = fold_value(o[e][3], real ? v[e][i].w : 0.0f, weight, weight2);
				}
			}
		}
#pragma unroll
		for (int e = 0; e < E; e++) {
			if (first + e * THREADS >= n_elements)
				continue;
			int of_sequence = token_of(k, row[e], group), head = head_of(k, row[e], of_sequence, group);
			int64_t token = k.b.token + of_sequence;
			float lse, scale = finish(s.a, head, m[e], l[e], lse);
			if (column[e] < s.a.head_dim) {
				float out[4] = { o[e][0] * scale, o[e][1] * scale, o[e][2] * scale, o[e][3] * scale };
				write_values<4>(s.a, token * s.a.out_stride + head * s.a.head_dim + column[e], out);
			}
			if (s.a.lse && column[e] == 0)
				s.a.lse[token * s.a.n_heads + head] = lse;
		}
	}
}

// Where a warp's rows stand, and which tiles all rows of the ticket see in full.
template <int M>
struct sight {
	int position[M][2], full_begin, full_end;

	__device__ __forceinline__ sight(const struct attention_sm80_args &s, const struct ticket &k, int row, int group)
	{
		int n_rows = k.b.row_end - k.b.row_begin;
		int64_t begin, end;
#pragma unroll
		for (int m = 0; m < M; m++)
#pragma unroll
			for (int i = 0; i < 2; i++)
				position[m][i] = k.b.position + token_of(k, min(row + 16 * m + 8 * i, n_rows - 1), group);
		attention_visible(k.b.position + token_of(k, n_rows - 1, group), s.a.window, &begin, &end);
		full_begin = ((int)begin + TILE - 1) / TILE;
		attention_visible(k.b.position + k.first_token, s.a.window, &begin, &end);
		full_end = (int)end / TILE;
	}

	// Bends a tile's scores, where they are capped, and takes out what is not seen.
	template <bool CAP>
	__device__ __forceinline__ void look(const struct attention_sm80_args &s, float (&c)[M][8][4], int tile, int lane) const
	{
		if (CAP) {
#pragma unroll
			for (int m = 0; m < M; m++) {
#pragma unroll
				for (int n = 0; n < 8; n++) {
#pragma unroll
					for (int i = 0; i < 4; i++) {
						float x = c[m][n][i] * s.score_scale;
						c[m][n][i] = fmaf(-2.0f * s.score_cap, reciprocal_fast(1.0f + exp2_fast(x)),
								  s.score_cap);
					}
				}
			}
		}
		if (tile < full_begin || tile >= full_end) {
#pragma unroll
			for (int m = 0; m < M; m++)
				mask(c[m], s.a.window, position[m], tile * TILE + (lane & 3) * 2);
		}
	}
};

// Writes what a warp's rows have come to, of which `row` is the thread's first.
template <int M, int N>
__device__ __forceinline__ void write_rows(const struct attention_sm80_args &s, const struct ticket &k, const struct rows<M, N> &r,
					   int row, int chunk, int group, int lane)
{
	int n_rows = k.b.row_end - k.b.row_begin;
#pragma unroll
	for (int m = 0; m < M; m++) {
#pragma unroll
		for (int i = 0; i < 2; i++) {
			int at = row + 16 * m + 8 * i;
			if (at >= n_rows)
				continue;
			int of_sequence = token_of(k, at, group), head = head_of(k, at, of_sequence, group);
			int64_t token = k.b.token + of_sequence;
			float lse, scale = finish(s.a, head, r.m[m][i], r.l[m][2 * i], lse);
			int64_t first = token * s.a.out_stride + head * s.a.head_dim;
#pragma unroll
			for (int n = 0; n < N; n++) {
				if ((chunk + n) * 8 >= s.a.head_dim)
					continue;
				float out[2] = { r.o[m][n][2 * i] * scale, r.o[m][n][2 * i + 1] * scale };
				write_values<2>(s.a, first + (chunk + n) * 8 + (lane & 3) * 2, out);
			}
			if (s.a.lse && chunk == 0 && (lane & 3) == 0)
				s.a.lse[token * s.a.n_heads + head] = lse;
		}
	}
}

template <int D, bool F16, bool CAP, int ROW_WARPS>
__device__ __forceinline__ void run_ticket(const struct attention_sm80_args &s, struct worker<D> &w, const struct ticket &k)
{
	constexpr int COLUMN_WARPS = shape<D>::WARPS / ROW_WARPS, N = D / 8 / COLUMN_WARPS;
	int thread = thread_index(), warp = thread / 32, lane = thread & 31;
	int first_row = warp / COLUMN_WARPS * 16, chunk = warp % COLUMN_WARPS * N;
	int n_rows = k.b.row_end - k.b.row_begin, row = first_row + (lane >> 2);
	uint32_t q = w.queries + first_row * shape<D>::ROW_BYTES;
	struct sight<1> sight(s, k, row, w.group);

	w.load_queries(s, k, ROW_WARPS * 16, thread);
	struct rows<1, N> total;
	total.clear();
	int tile = k.tile_begin;
	for (int piece = k.piece_begin; piece < k.piece_end; piece++) {
		struct rows<1, N> part;
		part.clear();
		int end = min(k.tile_end, (int)attention_piece_begin(piece + 1) / TILE);
		for (; tile < end; tile++) {
			uint32_t keys = w.next_tile(s);
			if (first_row >= n_rows)
				continue;
			float c[1][8][4];
			bool upper = first_row + 8 < n_rows;
			scores<D, F16, 1>(c, q, keys, lane);
			sight.template look<CAP>(s, c, tile, lane);
			raise<CAP>(part, c, s.score_scale, upper, false);
			add_tile<D, F16, CAP>(part, c, s.score_scale, keys + TILE * shape<D>::ROW_BYTES, chunk, lane, upper);
		}
		if (k.split >= 0 && k.piece_begin != k.first_piece) {
			int i = 1 + piece - k.shared.first_end;
			write_state<D>(state_at<D>(s, k, i), part, n_rows, row, chunk, lane);
			continue;
		}
		fold_rows(total, part);
	}
	if (k.split < 0)
		write_rows(s, k, total, row, chunk, w.group, lane);
	else if (k.piece_begin == k.first_piece)
		write_state<D>(state_at<D>(s, k, 0), total, n_rows, row, chunk, lane);
}

// What is left of a ticket that is shared: the last of its workers merges.
template <int D>
__device__ __forceinline__ void end_ticket(const struct attention_sm80_args &s, const struct ticket &k, int group)
{
	if (k.split < 0 || !arrive(s, k))
		return;
	if ((k.b.row_end - k.b.row_begin) * (D / 4) <= shape<D>::THREADS)
		merge<D, 1, 16>(s, k, group);
	else
		merge<D, 2, 12>(s, k, group);
}

template <int D, bool F16, bool CAP>
__device__ __forceinline__ void attention_sm80(const struct attention_sm80_args &s)
{
	extern __shared__ __align__(512) unsigned char shared[]; // rows' chunks are found by flipping bits of addresses
#if __CUDA_ARCH__ >= 900
	asm volatile("griddepcontrol.launch_dependents;");
#endif
	struct worker<D> w;
	const int4 *from = (const int4 *)&s.workers[blockIdx.x];
	int4 lo = __ldcg(from), hi = __ldcg(from + 1);
	struct attention_block first = load_block(&s.workers[blockIdx.x].block);
	w.range.first = lo.x, w.range.last = lo.y, w.range.first_piece = lo.z, w.range.last_piece = lo.w;
	w.range.first_split = hi.x, w.range.last_split = hi.y;
	// One block at least waits below, so that this kernel does not end before its predecessor.
	if (w.range.first > w.range.last && blockIdx.x > 0)
		return;
	w.query_rows = shared + s.n_stages * shape<D>::STAGE_BYTES;
	w.ring = shared_address(shared);
	w.queries = shared_address(w.query_rows);
	w.slot = 0;
	w.group = (int)s.a.n_heads / (int)s.a.n_kv_heads;
	w.ahead.t = w.range.first;
	w.ahead.slot = 0;
	__shared__ struct ticket k; // registers are dear where there are many rows
	int n_under_way = 1;
	if (w.range.first <= w.range.last) {
		w.ahead.enter(s, w.range, first);
		for (; n_under_way < s.n_stages && w.ahead.is_old(w.range); n_under_way++)
			w.ahead.issue(s, w.range, w.ring);
		if (threadIdx.x == 0) {
			get_ticket(s, w.range, w.range.first, w.range.first, first, &k);
			if (k.split >= 0)
				k.shared = load_split(&s.splits[k.split]);
		}
	}
#if __CUDA_ARCH__ >= 900
	// List, page table and the keys of earlier steps were there before the kernel that this one may overlap with began; nothing
	// else was.
	asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
	for (; n_under_way < s.n_stages; n_under_way++)
		w.ahead.issue(s, w.range, w.ring);
	for (int t = w.range.first; t <= w.range.last; t++) {
		if (t > w.range.first) {
			__syncthreads();
			if (threadIdx.x == 0) {
#if __CUDA_ARCH__ == 860 || __CUDA_ARCH__ == 890
				// As compiled for these, two registers too many would be taken all the while.
				w.range.first_split = __ldcg(&s.workers[blockIdx.x].first_split);
				w.range.last_split = __ldcg(&s.workers[blockIdx.x].last_split);
#endif
				get_ticket(s, w.range, t, t, load_block(block_of(s, t)), &k);
				if (k.split >= 0)
					k.shared = load_split(&s.splits[k.split]);
			}
		}
		__syncthreads();
		int n_rows = k.b.row_end - k.b.row_begin;
		if (n_rows <= 16)
			run_ticket<D, F16, CAP, 1>(s, w, k);
		else if (n_rows <= 32)
			run_ticket<D, F16, CAP, 2>(s, w, k);
		else
			run_ticket<D, F16, CAP, 4>(s, w, k);
		end_ticket<D>(s, k, w.group);
	}
}

} // namespace

// The kernels of one head size.
#define ATTENTION_SM80_KERNEL(D, NAME, F16, CAP)                                                \
	extern "C" __global__ void __launch_bounds__(shape<D>::THREADS, shape<D>::BLOCKS)       \
	attention_sm80_d##D##_##NAME(const __grid_constant__ struct attention_sm80_args s)      \
	{                                                                                       \
		attention_sm80<D, F16, CAP>(s);                                                 \
	}
#define ATTENTION_SM80(D)                                   \
	ATTENTION_SM80_KERNEL(D, bf16, false, false)        \
	ATTENTION_SM80_KERNEL(D, bf16_softcap, false, true) \
	ATTENTION_SM80_KERNEL(D, f16, true, false)          \
	ATTENTION_SM80_KERNEL(D, f16_softcap, true, true)

#endif
