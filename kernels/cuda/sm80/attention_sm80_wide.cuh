// attention_sm80_wide.cuh - paged attention for prompts: the arithmetic of attention_sm80.cuh, bit for bit, for blocks of 128 rows.
//
// DESIGN. Two thread blocks of 4 warps on a multiprocessor, whose phases overlap: one's tensor cores work while the other waits. A
// warp has 32 rows, so that a matrix of keys or values that it loads from shared memory is used twice. A tile's keys and its values
// have one place each: values arrive while scores are computed, the next keys while values are added.
//
// A thread's registers hold one state, 128 values for heads of 128. What earlier pieces came to is parked meanwhile: as much of it
// as shared memory leaves room for (s.n_parked parts of 16 bytes a thread) there, the rest in global memory.
//
// Which tiles follow is found by the first warp, up to four at a time and ahead of all, and stands in shared memory: what all
// threads would know alike costs registers, and there are none left.
#ifndef CUDA_ATTENTION_SM80_WIDE_CUH
#define CUDA_ATTENTION_SM80_WIDE_CUH

#include "attention_sm80.cuh"

namespace {

constexpr int WIDE_ROWS = ATTENTION_WIDE_ROWS, WIDE_THREADS = ATTENTION_WIDE_THREADS, WIDE_WARPS = WIDE_THREADS / 32, PAGES = TILE / PAGE_MIN;

// A tile of keys to be copied.
enum tile_kind { TILE_NONE, TILE_WHOLE, TILE_PARTS };
struct __align__(16) wide_tile {
	int64_t whole_at;  // at[0], read together with
	int32_t kind;      // whole: all of it is wanted, and stands in one piece
	int16_t begin, end; // keys that are wanted of it
	int64_t at[PAGES]; // where each PAGE_MIN of its keys stand in a cache, in bytes
};

// Tiles of a ticket in a row, as many as a warp can look pages up for.
constexpr int GROUP = 32 / PAGES;
struct wide_group {
	int n;     // 1 to GROUP
	int first; // key of the first one
	int key_begin, key_end; // keys that are wanted; none beyond the last tile
	int kv_head;
};

// The tiles that are looked up next; beyond the last one t is, too.
struct wide_cursor {
	int t;          // place in the line of their ticket
	int first, end; // the next tile's first key, and where the tiles of the ticket end
	int key_begin, key_end;
	int kv_head;
	const int32_t *pages; // the sequence's
};

struct wide_ticket {
	int t; // place in the line; beyond the last one there is none
	struct ticket ticket;
	int full_begin, full_end; // tiles that all rows of the ticket see in full
};

// What a block's threads have in common.
struct wide_shared {
	struct range range;
	struct wide_ticket tickets[2]; // the one at work, and the next
	struct wide_cursor cursor;
	struct wide_group looked_up; // whose pages are on their way
	unsigned known;              // tiles that stand in `tiles`, of all so far
	struct wide_tile tiles[2 * GROUP]; // by their count
};
static_assert(sizeof(struct wide_shared) < ATTENTION_WIDE_STATIC, "two blocks must fit a multiprocessor");

// Goes to the first tile from place t on.
__device__ __forceinline__ void find_tile(const struct attention_sm80_args &s, const struct range &w, int t,
					  struct wide_cursor *out)
{
	for (; t <= w.last; t++) {
		struct ticket k;
		int ticket = __ldcg(s.line + t);
		get_ticket(s, w, t, ticket, load_block(block_of(s, ticket)), &k);
		if (k.tile_begin == k.tile_end)
			continue;
		out->first = k.tile_begin * TILE, out->end = k.tile_end * TILE;
		out->key_begin = k.b.key_begin, out->key_end = k.b.key_end;
		out->kv_head = k.kv_head;
		out->pages = s.a.page_table + k.b.seq * s.a.table_stride;
		break;
	}
	out->t = t;
}

// Starts to copy a tile's part of a cache to `to`. Scores are kept in registers meanwhile: few are left.
template <int D>
__device__ __forceinline__ void copy_tile(const struct attention_sm80_args &s, const struct wide_tile &tile, const void *cache,
					  uint32_t to)
{
	constexpr int C = shape<D>::CHUNKS, ROWS = WIDE_THREADS / C;
	int4 head = *(const int4 *)&tile;
	int kind = head.z;
	if (kind != TILE_NONE) {
		int thread = thread_index(), row0 = thread / C, chunk = thread % C;
		to += chunk_at<D>(row0, chunk);
		if (kind == TILE_WHOLE) {
			int64_t at = (int64_t)head.y << 32 | (uint32_t)head.x;
			const char *from = (const char *)cache + at + (row0 * D + chunk * 8) * 2;
#pragma unroll
			for (int j = 0; j < TILE; j += ROWS)
				copy_async(to + j * shape<D>::ROW_BYTES, from + j * D * 2);
		} else {
			const char *from = (const char *)cache + ((row0 % PAGE_MIN) * (int)s.a.head_dim + chunk * 8) * 2;
			int begin = tile.begin - row0, end = chunk * 8 < s.a.head_dim ? tile.end - row0 : begin;
#pragma unroll
			for (int j = 0; j < TILE; j += ROWS)
				copy_async(to + j * shape<D>::ROW_BYTES, from + tile.at[(j + row0) / PAGE_MIN],
					   j >= begin && j < end);
		}
	}
	copy_commit();
}

template <int D>
struct wide {
	uint32_t queries;  // in shared memory; keys, values and what is parked stand behind them
	unsigned count;    // of tiles done
	int group;
	int32_t page;      // the first warp's: of keys 8 times the lane of the group that was looked up

	static constexpr uint32_t KEYS = WIDE_ROWS * shape<D>::ROW_BYTES, VALUES = KEYS + TILE * shape<D>::ROW_BYTES,
				  PARKED = VALUES + TILE * shape<D>::ROW_BYTES;

	// Starts to look the next group up, and moves the cursor on. By one warp.
	__device__ __forceinline__ void look_up(const struct attention_sm80_args &s, struct wide_shared &w, int lane)
	{
		struct wide_cursor &c = w.cursor;
		int first = c.first, t = c.t, key = first + lane * PAGE_MIN, n = min((c.end - first) / TILE, GROUP);
		int begin = c.key_begin, end = c.key_end, kv_head = c.kv_head;
		if (t > w.range.last)
			n = GROUP, begin = end = first;
		if (key < min(end, first + n * TILE) && key + PAGE_MIN > begin)
			page = __ldcg(c.pages + (key >> (31 - __clz((int)s.a.page_size))));
		__syncwarp();
		if (lane == 0) {
			struct wide_group &g = w.looked_up;
			g.n = n, g.first = first, g.key_begin = begin, g.key_end = end, g.kv_head = kv_head;
			c.first = first + n * TILE;
			if (t <= w.range.last && c.first == c.end)
				find_tile(s, w.range, t + 1, &c);
		}
		__syncwarp();
	}

	// The group that was looked up becomes known.
	__device__ __forceinline__ void put(const struct attention_sm80_args &s, struct wide_shared &w, int lane)
	{
		const struct wide_group &g = w.looked_up;
		int i = lane / PAGES, n = g.n, page_size = (int)s.a.page_size;
		unsigned known = w.known;
		struct wide_tile &tile = w.tiles[(known + i) % (2 * GROUP)];
		if (i < n) {
			int first = g.first + i * TILE, begin = g.key_begin - first, end = g.key_end - first;
			int in_page = g.kv_head * page_size + ((g.first + lane * PAGE_MIN) & (page_size - 1));
			int64_t row = (int64_t)page * ((int)s.a.n_kv_heads * page_size) + in_page;
			tile.at[lane % PAGES] = row * ((int)s.a.head_dim * 2);
			if (lane % PAGES == 0) {
				bool whole = begin <= 0 && end >= TILE && page_size >= TILE && s.a.head_dim == D;
				tile.kind = end <= begin ? TILE_NONE : whole ? TILE_WHOLE : TILE_PARTS;
				tile.begin = (int16_t)max(begin, 0), tile.end = (int16_t)min(max(end, 0), TILE);
				tile.whole_at = row * ((int)s.a.head_dim * 2);
			}
		}
		__syncwarp();
		if (lane == 0)
			w.known = known + n;
	}

	__device__ __forceinline__ void begin(const struct attention_sm80_args &s, struct wide_shared &w)
	{
		count = 0;
		page = 0;
		if (threadIdx.x < 32) {
			if (threadIdx.x == 0) {
				w.known = 0;
				w.cursor.first = w.cursor.end = 0;
				find_tile(s, w.range, w.range.first, &w.cursor);
			}
			__syncwarp();
			look_up(s, w, threadIdx.x);
			put(s, w, threadIdx.x);
			__syncwarp();
			look_up(s, w, threadIdx.x);
		}
		__syncthreads();
	}

	__device__ __forceinline__ void copy_keys(const struct attention_sm80_args &s, const struct wide_shared &w)
	{
		copy_tile<D>(s, w.tiles[count % (2 * GROUP)], s.a.k_cache, queries + KEYS);
	}

	// Waits for the tile's keys, and lets its values come.
	__device__ __forceinline__ void await_keys(const struct attention_sm80_args &s, struct wide_shared &w)
	{
		copy_wait(0);
		__syncthreads(); // the keys are there for all, and nobody reads the values before any more
		copy_tile<D>(s, w.tiles[count % (2 * GROUP)], s.a.v_cache, queries + VALUES);
		int thread = thread_index();
		if (thread < 32 && w.known <= count + 1) {
			put(s, w, thread);
			__syncwarp();
			look_up(s, w, thread);
		}
	}

	// Waits for the tile's values, and lets the next tile's keys come.
	__device__ __forceinline__ void await_values(const struct attention_sm80_args &s, const struct wide_shared &w)
	{
		copy_wait(0);
		__syncthreads();
		count++;
		copy_keys(s, w);
	}

	// Starts to copy the ticket's queries, and zeros up to n rows.
	__device__ __forceinline__ void copy_queries(const struct attention_sm80_args &s, const struct ticket &k, int n)
	{
		constexpr int C = shape<D>::CHUNKS, ROWS = WIDE_THREADS / C;
		int n_rows = k.b.row_end - k.b.row_begin, thread = thread_index(), chunk = thread % C;
#pragma unroll 4
		for (int row = thread / C; row < n; row += ROWS) {
			int token = token_of(k, row, group), head = head_of(k, row, token, group);
			bool wanted = row < n_rows && chunk * 8 < s.a.head_dim;
			int64_t from = (k.b.token + token) * s.a.q_stride + head * s.a.head_dim + chunk * 8;
			copy_async(queries + chunk_at<D>(row, chunk), (const uint16_t *)s.a.q + (wanted ? from : 0), wanted);
		}
		copy_commit();
	}
};

// A thread's parked state: parts of 16 bytes, the block's threads side by side. First m and l, then o.
template <int D, int M, int N>
struct parked {
	float4 *in_shared, *in_global;
	int n_shared;

	__device__ __forceinline__ parked(const struct attention_sm80_args &s, unsigned char *shared)
		: in_shared((float4 *)(shared + wide<D>::PARKED) + thread_index()),
		  in_global((float4 *)s.parked + (int64_t)blockIdx.x * (M * (N + 1) * WIDE_THREADS) + thread_index()),
		  n_shared(s.n_parked)
	{
	}

	__device__ __forceinline__ float4 *at(int part)
	{
		return (part < n_shared ? in_shared : in_global) + part * WIDE_THREADS;
	}

	// Parts of the values of m from n on.
	template <int COUNT>
	__device__ __forceinline__ void get(float4 (&v)[COUNT], int m, int n, bool first)
	{
#pragma unroll
		for (int i = 0; i < COUNT; i++) {
			v[i] = make_float4(0, 0, 0, 0);
			if (!first)
				v[i] = *at(M + m * N + n + i);
		}
	}

	template <int COUNT>
	__device__ __forceinline__ void fold_values(struct rows<M, N> &r, const float4 (&v)[COUNT], int m, int n,
						    const float (&weight)[2], const float (&weight2)[2], bool more)
	{
#pragma unroll
		for (int i = 0; i < COUNT; i++) {
			float(&o)[4] = r.o[m][n + i];
			o[0] = fold_value(v[i].x, o[0], weight[0], weight2[0]);
			o[1] = fold_value(v[i].y, o[1], weight[0], weight2[0]);
			o[2] = fold_value(v[i].z, o[2], weight[1], weight2[1]);
			o[3] = fold_value(v[i].w, o[3], weight[1], weight2[1]);
			if (more)
				*at(M + m * N + n + i) = make_float4(o[0], o[1], o[2], o[3]);
		}
	}

	// Folds what is parked (an empty state for the first piece) and r, into r; parks it where `more` pieces follow.
	__device__ __forceinline__ void fold_in(struct rows<M, N> &r, bool first, bool more)
	{
		constexpr int STEP = 4;
		float weight[M][2], weight2[M][2];
		float4 last[N];
		get(last, M - 1, 0, first); // what comes from global memory, while the rest is worked on
#pragma unroll
		for (int m = 0; m < M; m++) {
			float4 state = make_float4(minus_infinity(), minus_infinity(), 0, 0);
			if (!first)
				state = *at(m);
			fold(state.x, state.z, r.m[m][0], r.l[m][0], weight[m][0], weight2[m][0]);
			fold(state.y, state.w, r.m[m][1], r.l[m][2], weight[m][1], weight2[m][1]);
			r.m[m][0] = state.x, r.m[m][1] = state.y, r.l[m][0] = state.z, r.l[m][2] = state.w;
			if (more)
				*at(m) = state;
		}
#pragma unroll
		for (int m = 0; m < M - 1; m++) {
#pragma unroll
			for (int n = 0; n < N; n += STEP) {
				float4 v[STEP];
				get(v, m, n, first);
				fold_values(r, v, m, n, weight[m], weight2[m], more);
			}
		}
		fold_values(r, last, M - 1, 0, weight[M - 1], weight2[M - 1], more);
	}
};

// Finds out about the ticket at place t. By one thread.
__device__ __forceinline__ void look_at_ticket(const struct attention_sm80_args &s, const struct wide_shared &shared, int t,
					       int group, struct wide_ticket *out)
{
	out->t = t;
	if (t > shared.range.last)
		return;
	struct ticket k;
	int ticket = __ldcg(s.line + t);
	get_ticket(s, shared.range, t, ticket, load_block(block_of(s, ticket)), &k);
	if (k.split >= 0)
		k.shared = load_split(&s.splits[k.split]);
	struct sight<1> sight(s, k, 0, group);
	out->ticket = k;
	out->full_begin = sight.full_begin, out->full_end = sight.full_end;
}

template <int D, bool F16, int ROW_WARPS, int M, bool PARK>
__device__ __forceinline__ void run_wide(const struct attention_sm80_args &s, struct wide<D> &w, struct wide_shared &shared,
					 const struct wide_ticket &now, struct wide_ticket *next, unsigned char *memory)
{
	constexpr int COLUMN_WARPS = WIDE_WARPS / ROW_WARPS, N = D / 8 / COLUMN_WARPS;
	static_assert(!PARK || M * (N + 1) == ATTENTION_WIDE_PARTS(D), "there is room for so many parts");
	const struct ticket &k = now.ticket;
	int thread = thread_index(), warp = thread / 32, lane = thread & 31;
	int first_row = warp / COLUMN_WARPS * 16 * M, chunk = warp % COLUMN_WARPS * N, row = first_row + (lane >> 2);
	uint32_t q = w.queries + first_row * shape<D>::ROW_BYTES;
	int n_rows = k.b.row_end - k.b.row_begin;

	if (k.tile_begin < k.tile_end)
		w.copy_queries(s, k, ROW_WARPS * 16 * M);
	// While they come. Not the first warp: it has tiles to look up.
	if (thread == WIDE_THREADS - 32)
		look_at_ticket(s, shared, now.t + 1, w.group, next);
	struct rows<M, N> total, part; // total: without PARK
	total.clear();
	if (PARK)
		part.clear();
	int tile = k.tile_begin;
	for (int piece = k.piece_begin; piece < k.piece_end; piece++) {
		bool fresh = true;
		part.clear();
		int end = min(k.tile_end, (int)attention_piece_begin(piece + 1) / TILE);
		for (; tile < end; tile++) {
			float c[M][8][4];
			w.await_keys(s, shared);
			scores<D, F16, M>(c, q, w.queries + w.KEYS, lane);
			if (tile < now.full_begin || tile >= now.full_end) {
				struct sight<M> sight(s, k, row, w.group);
				sight.template look<false>(s, c, tile, lane);
			}
			w.await_values(s, shared);
			raise<false>(part, c, s.score_scale, true, fresh);
			fresh = false;
			add_tile<D, F16, false>(part, c, s.score_scale, w.queries + w.VALUES, chunk, lane, true);
		}
		if (k.split >= 0 && k.piece_begin != k.first_piece) {
			int i = 1 + piece - k.shared.first_end;
			write_state<D>(state_at<D>(s, k, i), part, n_rows, row, chunk, lane);
			continue;
		}
		if (PARK) {
			struct parked<D, M, N> parked(s, memory);
			parked.fold_in(part, piece == k.piece_begin, piece + 1 < k.piece_end);
		} else {
			fold_rows(total, part);
		}
	}
	const struct rows<M, N> &all = PARK ? part : total;
	if (k.split < 0)
		write_rows(s, k, all, row, chunk, w.group, lane);
	else if (k.piece_begin == k.first_piece)
		write_state<D>(state_at<D>(s, k, 0), all, n_rows, row, chunk, lane);
}

template <int D, bool F16>
__device__ __forceinline__ void attention_sm80_wide(const struct attention_sm80_args &s)
{
	extern __shared__ __align__(512) unsigned char memory[];
	__shared__ struct wide_shared shared;
#if __CUDA_ARCH__ >= 900
	asm volatile("griddepcontrol.launch_dependents;");
#endif
	if (threadIdx.x == 0) {
		const int4 *from = (const int4 *)&s.workers[blockIdx.x];
		int4 lo = __ldcg(from), hi = __ldcg(from + 1);
		shared.range.first = lo.x, shared.range.last = lo.y, shared.range.first_piece = lo.z;
		shared.range.last_piece = lo.w, shared.range.first_split = hi.x, shared.range.last_split = hi.y;
	}
	__syncthreads();
	struct wide<D> w;
	w.queries = shared_address(memory);
	w.group = (int)(s.a.n_heads / s.a.n_kv_heads);
	w.begin(s, shared);
#if __CUDA_ARCH__ >= 900
	// List and page table were there before the kernel that this one may overlap with began; nothing else was.
	asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
	w.copy_keys(s, shared);
	if (threadIdx.x == 0)
		look_at_ticket(s, shared, shared.range.first, w.group, &shared.tickets[0]);
	for (int turn = 0;; turn = !turn) {
		const struct wide_ticket &now = shared.tickets[turn];
		__syncthreads(); // the ticket is there, and nobody reads the queries before any more
		if (now.t > shared.range.last)
			return;
		if (now.ticket.b.row_end - now.ticket.b.row_begin <= 16)
			run_wide<D, F16, 1, 1, false>(s, w, shared, now, &shared.tickets[!turn], memory);
		else
			run_wide<D, F16, 4, 2, (D > 64)>(s, w, shared, now, &shared.tickets[!turn], memory);
		end_ticket<D>(s, now.ticket, w.group);
	}
}

} // namespace

#define ATTENTION_SM80_WIDE_KERNEL(D, NAME, F16)                                                \
	extern "C" __global__ void __launch_bounds__(WIDE_THREADS, 2)                           \
	attention_sm80_d##D##_##NAME##_wide(const __grid_constant__ struct attention_sm80_args s) \
	{                                                                                       \
		attention_sm80_wide<D, F16>(s);                                                 \
	}
#define ATTENTION_SM80_WIDE(D)                     \
	ATTENTION_SM80_WIDE_KERNEL(D, bf16, false) \
	ATTENTION_SM80_WIDE_KERNEL(D, f16, true)

#endif
