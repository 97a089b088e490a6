// linear_tile.cuh - one block's tile of linear on tensor cores, from compute capability 8.0 up.
//
// DESIGN. Weights are the rows of mma.sync's m16n8k16 (its A), tokens its columns (its B): an output element is one chain of such
// steps over ascending k, 16 at a time, from a zero accumulator, whatever the shape of the tile and wherever in a tile its token
// and its weight row stand. So tiles of any shape give the same bits, and their choice (src/ops/linear_cuda.c) is about speed
// alone. A column's sums do not depend on other columns: what lies in a tile beyond the tokens or beyond the rows is a copy of the
// last one, or zeros, and never stored.
//
// Weights and tokens come through a ring of STAGES slots in shared memory, DEPTH values of k each, filled by cp.async. In few-token
// tiles the ring is what keeps the memory busy: it is as deep as bytes in flight are wanted. In many-token tiles fragments
// are read one step ahead of the multiplications, over the border of a slot too.
//
// In a slot a row is DEPTH values, in chunks of 16 bytes; chunk c of a row stands at place c ^ key, so that eight rows that
// ldmatrix reads at once lie in different banks. The rows of an A fragment are spread over the warp's rows so that a thread
// gets V neighbours: they leave in one store, and eight threads fill whole sectors or lines of y.
#ifndef CUDA_SM80_LINEAR_TILE_CUH
#define CUDA_SM80_LINEAR_TILE_CUH

#include "kernels/ops/linear.h"

// The driver lets a kernel that is launched early (gpu.h) begin before its predecessor ends. What the predecessor wrote is
// there after wait_for_predecessor; weights are written by no kernel and may be read before.
static __device__ __forceinline__ void wait_for_predecessor()
{
#if __CUDA_ARCH__ >= 900
	asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

static __device__ __forceinline__ void let_successor_begin()
{
#if __CUDA_ARCH__ >= 900
	asm volatile("griddepcontrol.launch_dependents;");
#endif
}

static __device__ __forceinline__ void copy_async(uint32_t shared, const void *global)
{
	asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(shared), "l"(global));
}

// The same, or zeros where nothing is there, which reads nothing.
static __device__ __forceinline__ void copy_async_or_zeros(uint32_t shared, const void *global, bool there)
{
	asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared), "l"(global), "r"(there ? 16 : 0));
}

static __device__ __forceinline__ void copy_async_commit()
{
	asm volatile("cp.async.commit_group;");
}

template <int PENDING> static __device__ __forceinline__ void copy_async_wait()
{
	asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

static __device__ __forceinline__ void store_shared(uint32_t shared, uint4 v)
{
	asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(shared), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
		     : "memory");
}

static __device__ __forceinline__ void load_matrices_4(uint32_t (&r)[4], uint32_t shared)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
		     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
		     : "r"(shared));
}

static __device__ __forceinline__ void load_matrices_2(uint32_t &r0, uint32_t &r1, uint32_t shared)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(r0), "=r"(r1) : "r"(shared));
}

template <bool F16>
static __device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
	if constexpr (F16)
		asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
		    "{%0, %1, %2, %3};"
		    : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
		    : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
	else
		asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
		    "{%0, %1, %2, %3};"
		    : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
		    : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Eight values that need not be aligned to more than themselves.
static __device__ __forceinline__ uint4 load_eight(const void *global)
{
	const uint16_t *p = (const uint16_t *)global;
	uint4 v;
	v.x = p[0] | (uint32_t)p[1] << 16;
	v.y = p[2] | (uint32_t)p[3] << 16;
	v.z = p[4] | (uint32_t)p[5] << 16;
	v.w = p[6] | (uint32_t)p[7] << 16;
	return v;
}

// The copies of one operand into a slot: `ROWS` rows of DEPTH values, by all threads. ZEROS: rows that are not there are not read
// from the last one, which with few tokens would be most of what comes from the L2 cache.
template <int ROWS, int DEPTH, int THREADS, int NEIGHBOURS, bool ALIGNED, bool ZEROS> struct tile_copy {
	static constexpr int CHUNKS = DEPTH / 8, STEP = THREADS / CHUNKS, N = (ROWS + STEP - 1) / STEP;
	static_assert(THREADS % CHUNKS == 0 && (ROWS % STEP == 0 || N == 1), "a copy fills whole rows");

	const char *global; // the tile's first row, of the next slot to fill
	uint32_t row[N];    // bytes from there, with this thread's chunk: below 4 GiB for strides below 2^23 and 256 rows
	uint32_t place[N];  // in a slot
	bool takes_part;    // where STEP is more than ROWS
	uint32_t there;     // ZEROS: bit i says that row i of this thread's is there

	__device__ __forceinline__ void init(const void *base, int64_t first, int64_t end, int64_t stride, uint32_t shared)
	{
		int chunk = threadIdx.x % CHUNKS, r = threadIdx.x / CHUNKS;
		int64_t last = end - 1 - first;
		global = (const char *)base + first * stride * 2;
		takes_part = ROWS % STEP == 0 || r < ROWS;
		there = 0;
#pragma unroll
		for (int i = 0; i < N; i++, r += STEP) {
			there |= (uint32_t)(r <= last) << i;
			row[i] = ((uint32_t)(r < last ? r : last) * (uint32_t)stride + chunk * 8) * 2;
			place[i] = shared + r * DEPTH * 2 + ((chunk ^ (r / NEIGHBOURS & 7)) << 4);
		}
	}

	__device__ __forceinline__ void one(int i, uint32_t slot, bool inside) const
	{
		if (!inside || !takes_part)
			return;
		if constexpr (ALIGNED && ZEROS)
			copy_async_or_zeros(place[i] + slot, global + row[i], there >> i & 1);
		else if constexpr (ALIGNED)
			copy_async(place[i] + slot, global + row[i]);
		else
			store_shared(place[i] + slot, load_eight(global + row[i]));
	}
};

template <bool F16, bool ALIGNED, int ROWS, int TOKENS, int WARP_ROWS, int WARP_TOKENS, int DEPTH, int STAGES>
static __device__ __forceinline__ void linear_tile(const struct linear_args &a)
{
	constexpr int WARPS_DOWN = ROWS / WARP_ROWS, WARPS_ACROSS = TOKENS / WARP_TOKENS;
	constexpr int THREADS = WARPS_DOWN * WARPS_ACROSS * 32;
	constexpr int ROW_BYTES = DEPTH * 2, SLOT_BYTES = (ROWS + TOKENS) * ROW_BYTES, STEPS = DEPTH / 16;
	constexpr int MI = WARP_ROWS / 16, NI = WARP_TOKENS / 8;
	constexpr int V = MI == 1 ? 2 : 4; // neighbouring rows that a thread has
	static_assert(DEPTH % 64 == 0 && STAGES >= 3 && (MI == 1 || MI % 2 == 0) && (NI == 1 || NI % 2 == 0), "tile");
	// In tiles of few tokens the ring is filled with weights before what the predecessor wrote is waited for. The first slot
	// is then ready when all are, which costs a little where kernels do not begin early: there it is not done.
#if __CUDA_ARCH__ >= 900
	constexpr bool WEIGHTS_FIRST = TOKENS <= 64;
#else
	constexpr bool WEIGHTS_FIRST = false;
#endif

	extern __shared__ __align__(128) unsigned char ring[];
	uint32_t shared = (uint32_t)__cvta_generic_to_shared(ring);

	// Blocks go through the tiles of a few rows of tiles, column by column, so that blocks that run at once share what they
	// read of weights and tokens in the L2 cache.
	constexpr uint32_t BAND = 8;
	uint32_t row_tiles = (uint32_t)((a.n + ROWS - 1) / ROWS), token_tiles = (uint32_t)((a.t + TOKENS - 1) / TOKENS);
	uint32_t band = blockIdx.x / (BAND * token_tiles), in_band = blockIdx.x % (BAND * token_tiles);
	uint32_t height = min(row_tiles - band * BAND, BAND);
	int64_t n0 = (int64_t)(band * BAND + in_band % height) * ROWS, t0 = (int64_t)(in_band / height) * TOKENS;

	int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
	int warp_row = warp % WARPS_DOWN * WARP_ROWS, warp_token = warp / WARPS_DOWN * WARP_TOKENS;
	int chunk_k = (int)threadIdx.x % (DEPTH / 8) * 8; // the first k that this thread copies of a slot

	tile_copy<ROWS, DEPTH, THREADS, V, ALIGNED, false> w;
	tile_copy<TOKENS, DEPTH, THREADS, 1, ALIGNED, TOKENS == 8> x;
	w.init(a.w, n0, a.n, a.k, shared);
	x.init(a.x, t0, a.t, a.x_stride, shared + ROWS * ROW_BYTES);

	let_successor_begin();
	if constexpr (!WEIGHTS_FIRST)
		wait_for_predecessor();
#pragma unroll
	for (int s = 0; s < STAGES - 1; s++, w.global += ROW_BYTES, x.global += ROW_BYTES) {
#pragma unroll
		for (int i = 0; i < w.N; i++)
			w.one(i, s * SLOT_BYTES, s * DEPTH + chunk_k < a.k);
		if constexpr (!WEIGHTS_FIRST) {
#pragma unroll
			for (int i = 0; i < x.N; i++)
				x.one(i, s * SLOT_BYTES, s * DEPTH + chunk_k < a.k);
			copy_async_commit();
		}
	}
	if constexpr (WEIGHTS_FIRST) {
		wait_for_predecessor();
		x.global -= (STAGES - 1) * ROW_BYTES;
#pragma unroll
		for (int s = 0; s < STAGES - 1; s++, x.global += ROW_BYTES) {
#pragma unroll
			for (int i = 0; i < x.N; i++)
				x.one(i, s * SLOT_BYTES, s * DEPTH + chunk_k < a.k);
			copy_async_commit(); // the first group with all the weights
		}
	}

	// Where this lane's rows for ldmatrix begin, and the place of their first chunk. The four matrices of an A fragment: rows
	// g and g + 8 of the fragment, then the same 8 values of k further; those of B: 8 values of k further, then 8 tokens.
	int g = lane % 8;
	uint32_t w_at = shared + (warp_row + g * V + lane / 8 % 2) * ROW_BYTES, w_chunk = (uint32_t)(lane / 16 ^ g) << 4;
	uint32_t x_at = shared + (ROWS + warp_token + (NI == 1 ? 0 : lane / 16) * 8 + g) * ROW_BYTES;
	uint32_t x_chunk = (uint32_t)(lane / 8 % 2 ^ g) << 4;

	uint32_t wf[2][MI][4], xf[2][NI][2];
	float acc[MI][NI][4] = {};
	auto load = [&](uint32_t (&wr)[MI][4], uint32_t (&xr)[NI][2], uint32_t slot, uint32_t step) {
#pragma unroll
		for (int i = 0; i < MI; i++)
			load_matrices_4(wr[i], w_at + slot + (2 * i / V * 8 * V + 2 * i % V) * ROW_BYTES +
						       (w_chunk ^ step << 5));
		if constexpr (NI == 1) {
			load_matrices_2(xr[0][0], xr[0][1], x_at + slot + (x_chunk ^ step << 5));
		} else {
#pragma unroll
			for (int j = 0; j < NI; j += 2) {
				uint32_t r[4];
				load_matrices_4(r, x_at + slot + j * 8 * ROW_BYTES + (x_chunk ^ step << 5));
				xr[j][0] = r[0], xr[j][1] = r[1], xr[j + 1][0] = r[2], xr[j + 1][1] = r[3];
			}
		}
	};
	auto multiply_all = [&](const uint32_t (&wr)[MI][4], const uint32_t (&xr)[NI][2]) {
#pragma unroll
		for (int i = 0; i < MI; i++)
#pragma unroll
			for (int j = 0; j < NI; j++)
				multiply<F16>(acc[i][j], wr[i], xr[j]);
	};

	uint32_t read = 0, fill = (STAGES - 1) * SLOT_BYTES;
	int64_t k_fill = (STAGES - 1) * DEPTH + chunk_k;
	copy_async_wait<STAGES - 2>();
	__syncthreads();
	load(wf[0], xf[0], 0, 0);
	for (int64_t left = a.k / DEPTH; left > 0; left--) {
#pragma unroll
		for (int s = 0; s < STEPS; s++) {
			if (s < STEPS - 1) {
				// The slot read before this one is free: all have passed the barrier behind their last loads of
				// it. It is filled in pieces, between the steps.
				constexpr int ALL = decltype(w)::N + decltype(x)::N;
#pragma unroll
				for (int i = s * ALL / (STEPS - 1); i < (s + 1) * ALL / (STEPS - 1); i++) {
					if (i < w.N)
						w.one(i, fill, k_fill < a.k);
					else
						x.one(i - w.N, fill, k_fill < a.k);
				}
				load(wf[(s + 1) % 2], xf[(s + 1) % 2], read, s + 1);
				if (s == STEPS - 2) {
					copy_async_commit();
					w.global += ROW_BYTES, x.global += ROW_BYTES, k_fill += DEPTH;
					fill = read;
				}
			} else {
				copy_async_wait<STAGES - 2>();
				__syncthreads();
				read = read == (STAGES - 1) * SLOT_BYTES ? 0 : read + SLOT_BYTES;
				load(wf[0], xf[0], read, 0);
			}
			multiply_all(wf[s % 2], xf[s % 2]);
		}
	}
	// What is left where k is no multiple of DEPTH.
#pragma unroll 1
	for (uint32_t s = 0; s < (uint32_t)(a.k % DEPTH / 16); s++) {
		load(wf[0], xf[0], read, s);
		multiply_all(wf[0], xf[0]);
	}

	// Accumulator 2h + c of fragment (i, j): row g + 8h of the fragment, column 2 (lane % 4) + c.
	int row = (int)(lane / 4) * V;
	bool whole = ((uintptr_t)a.y | (uintptr_t)a.y_stride * 4) % (V * 4) == 0;
#pragma unroll
	for (int q = 0; q < 2 * MI / V; q++) {
		int64_t n = n0 + warp_row + q * 8 * V + row;
		float bias[V];
#pragma unroll
		for (int v = 0; v < V; v++)
			bias[v] = a.bias && n + v < a.n ? a.bias[n + v] : 0.0f;
#pragma unroll
		for (int j = 0; j < NI; j++)
#pragma unroll
			for (int c = 0; c < 2; c++) {
				int64_t t = t0 + warp_token + j * 8 + lane % 4 * 2 + c;
				if (t >= a.t)
					continue;
				float out[V], *y = a.y + t * a.y_stride + n;
#pragma unroll
				for (int v = 0; v < V; v++) {
					int at = q * V + v;
					out[v] = acc[at / 2][j][at % 2 * 2 + c];
					if (a.bias)
						out[v] += bias[v];
				}
				if (whole && n + V <= a.n) {
					if constexpr (V == 4)
						*(float4 *)y = make_float4(out[0], out[1], out[2], out[3]);
					else
						*(float2 *)y = make_float2(out[0], out[1]);
				} else {
#pragma unroll
					for (int v = 0; v < V; v++)
						if (n + v < a.n)
							y[v] = out[v];
				}
			}
	}
}

#endif
