// sample.cu - chooses a token from each row of logits (kernels/ops/sample.h), in three launches.
//
//   scan   several blocks a row: penalties, bans, temperature; the largest logit; where nothing is filtered, the race. The last
//          block of a row to be done finishes a greedy or unfiltered row. For a filtered one it finds a bound which most of the row
//          is below, and nothing that is kept, as a rule.
//   list   several blocks a row: lists what reaches the bound; the last block filters the list and runs the race in it. Where
//          the bound was too high for top_p, or the list too long, the row is left to
//   whole  one block a row, which does the same with the row itself: for flat rows. The others are done by then.
//
// The filters are exact in both. top_k: radix select over the logits' bits, reordered so that they compare as unsigned numbers, 11 bits
// at a time, until the bin that holds the limit is kept whole. top_p: the same with sums of probabilities, then among ids of equal
// logits. Counts and sums are integers, and maxima take the lowest id on ties: who comes first changes nothing. In `whole`, bins
// of equal width come first: what lies above the limits' bins is kept, what lies below is not, and only what lies in them is selected from.
//
// A row takes microseconds, and code comes from memory too: loops are rolled unless it pays, and a block's logits lie in
// shared memory, where rolled loops reach them.
#include "kernels/ops/sample_rows.h"

#include "base/rng.h"
#include "log_softmax.cuh"

#define THREADS 256 // of scan and list
#define WARPS (THREADS / 32)
#define WHOLE_THREADS 1024
#define FOURS (SAMPLE_PART / THREADS / 4) // of logits that a thread holds
#define VALUES (4 * FOURS)
#define BINS 2048
#define ID_BITS 22
#define GROUPS 256 // of the row's pieces, for the bound

static_assert(FOURS == SOFTMAX_FOURS && WARPS == SAMPLE_PIECES, "a warp holds a piece");
static_assert(SAMPLE_MAX_PARTS <= THREADS && SAMPLE_MAX_PARTS * SAMPLE_PART <= 1 << ID_BITS, "a thread takes a part");

// Marks of a token id in the row's lists.
#define IN_PROMPT 0x80000000u
#define BANNED 0x40000000u
#define OCCURRENCES 0x3fffffffu

// ---- Noise: Philox4x32-10, as src/base/rng.c ----

static __device__ __forceinline__ uint4 philox(uint4 c, uint2 k)
{
#pragma unroll
	for (int round = 0; round < 10; round++) {
		uint32_t high0 = __umulhi(0xD2511F53u, c.x), low0 = 0xD2511F53u * c.x;
		uint32_t high1 = __umulhi(0xCD9E8D57u, c.z), low1 = 0xCD9E8D57u * c.z;
		c = make_uint4(high1 ^ c.y ^ k.x, low1, high0 ^ c.w ^ k.y, low0);
		k.x += 0x9E3779B9u;
		k.y += 0xBB67AE85u;
	}
	return c;
}

// The words of ids 4 block .. 4 block + 3.
static __device__ __forceinline__ uint4 noise_words(const struct sample_row &row, uint32_t block)
{
	uint64_t position = (uint64_t)row.position;
	uint32_t high = (uint32_t)(position >> 32 & 0xffff) | (uint32_t)RNG_SAMPLE << 16;
	return philox(make_uint4(block, (uint32_t)position, high, 0),
		      make_uint2((uint32_t)row.params.seed, (uint32_t)(row.params.seed >> 32)));
}

// The same, where registers are short.
static __device__ __noinline__ uint4 noise_words_apart(const struct sample_row &row, uint32_t block)
{
	return noise_words(row, block);
}

static __device__ __forceinline__ uint32_t word_of(uint4 four, uint32_t id)
{
	return id % 4 == 0 ? four.x : id % 4 == 1 ? four.y : id % 4 == 2 ? four.z : four.w;
}

// logit + G, as a number that orders like it; never 0.
static __device__ __noinline__ uint64_t exact_score(const struct sample_row &row, float logit, uint32_t id)
{
	double u = ((double)word_of(noise_words_apart(row, id / 4), id) + 0.5) * 0x1p-32;
	uint64_t bits = (uint64_t)__double_as_longlong((double)logit - log(-log(u)) + 0.0);
	return bits >> 63 ? ~bits : bits | 1ull << 63;
}

// The same within SCORE_ERROR + 1e-6 of its size, in a few instructions: with d = 1 - u, -ln(u) is a series for small d.
#define SCORE_ERROR 1e-3f
static __device__ __forceinline__ float rough_score(float logit, uint32_t word)
{
	float d = ((float)~word + 0.5f) * 0x1p-32f;
	float e = d < 0.015625f ? d * fmaf(d, fmaf(d, 1.0f / 3, 0.5f), 1.0f) : -__logf(((float)word + 0.5f) * 0x1p-32f);
	return logit - __logf(e);
}

// Rough scores below this have not the largest exact one, where `best` is the largest rough one.
static __device__ __forceinline__ float least_rough(float best)
{
	return best - (SCORE_ERROR + 2e-6f * fabsf(best)) * 2;
}

// ---- Keys, and the best of several threads ----

static __device__ __forceinline__ uint32_t key_of(float x)
{
	uint32_t bits = __float_as_uint(x + 0.0f); // -0 and 0 are equal
	return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static __device__ __forceinline__ float of_key(uint32_t key)
{
	return __uint_as_float(key & 0x80000000u ? key ^ 0x80000000u : ~key);
}

// Of an id, so that the lowest comes first.
static __device__ __forceinline__ uint32_t id_key(uint32_t id)
{
	return (1u << ID_BITS) - 1 - id;
}

struct winner {
	uint64_t key; // 0: none
	uint32_t id;
};

static __device__ __forceinline__ struct winner nobody()
{
	struct winner w = { 0, ~0u };
	return w;
}

// The larger key, the lower id on ties.
static __device__ __forceinline__ struct winner better(struct winner a, struct winner b)
{
	return b.key > a.key || (b.key == a.key && b.id < a.id) ? b : a;
}

// The warp's best, in every lane.
static __device__ __forceinline__ struct winner warp_best(struct winner w)
{
	uint32_t high = __reduce_max_sync(~0u, (uint32_t)(w.key >> 32));
	uint32_t low = __reduce_max_sync(~0u, w.key >> 32 == high ? (uint32_t)w.key : 0);
	struct winner best = { (uint64_t)high << 32 | low, 0 };
	best.id = __reduce_min_sync(~0u, w.key == best.key ? w.id : ~0u);
	return best;
}

// The block's best, in every thread. `warps` must not have been used since the last barrier.
template <int N>
static __device__ __forceinline__ struct winner block_best(struct winner (&warps)[N], struct winner w)
{
	w = warp_best(w);
	if (threadIdx.x % 32 == 0)
		warps[threadIdx.x / 32] = w;
	__syncthreads();
	return warp_best(threadIdx.x % 32 < N ? warps[threadIdx.x % 32] : nobody());
}

static __device__ __forceinline__ float warp_largest(float x)
{
	return of_key(__reduce_max_sync(~0u, key_of(x)));
}

// A thread's part in the race: its two largest rough scores, and whose the largest is.
struct runner {
	float first, second, x;
	uint32_t id;
};

static __device__ __forceinline__ struct runner at_start()
{
	struct runner r = { -INFINITY, -INFINITY, 0, 0 };
	return r;
}

static __device__ __forceinline__ void offer(struct runner &r, float x, uint32_t id, float rough)
{
	if (rough > r.first) {
		r.second = r.first;
		r.first = rough;
		r.x = x;
		r.id = id;
	} else {
		r.second = fmaxf(r.second, rough);
	}
}

// ---- A block's part of a row ----

// Where the fours of a thread's share lie among the block's: piece, four, lane.
static __device__ __forceinline__ int slot_of(int i)
{
	return (threadIdx.x / 32 * FOURS + i) * 32 + threadIdx.x % 32;
}

// The id of the first value of slot i of the thread.
static __device__ __forceinline__ uint32_t id_of(int32_t part, int i)
{
	return (uint32_t)part * SAMPLE_PART + 4 * (uint32_t)slot_of(i);
}

static __device__ __forceinline__ bool is_filtered(const struct sample_row &row, int64_t n_vocab)
{
	const struct sample_params &p = row.params;
	return !row.no_choice && p.temperature > 0 &&
	       ((p.top_k > 0 && p.top_k < n_vocab) || p.top_p < 1 || p.min_p > 0);
}

static __device__ __forceinline__ bool is_listed(const struct sample_row &row)
{
	return (row.tokens_at >= 0 && row.n_known > 0) || row.ban_begin < row.ban_end;
}

// True in the last of the row's blocks, which then sees what all of them wrote.
static __device__ __forceinline__ bool arrive_last(struct sample_state *s, int32_t n_parts)
{
	__shared__ bool last;
	__syncthreads();
	if (threadIdx.x == 0) {
		uint32_t before;
		asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], 1;" : "=r"(before) : "l"(&s->arrived) : "memory");
		last = before == (uint32_t)n_parts - 1;
		if (last)
			s->arrived = 0;
	}
	__syncthreads();
	return last;
}

static __device__ __forceinline__ void copy_row(struct sample_row *to, const struct sample_row *from)
{
	if (threadIdx.x < sizeof *to / 4)
		((uint32_t *)to)[threadIdx.x] = ((const uint32_t *)from)[threadIdx.x];
	__syncthreads();
}

// Writes the result. Called by the first warp at least.
static __device__ __forceinline__ void finish(const struct sample_rows_args &a, const struct sample_row &row, int32_t r, int32_t id)
{
	struct sample_result result = { id, 0, 0, 0 };
	if (threadIdx.x >= 32)
		return;
	if (row.want_logprob) {
		const float *pieces = a.scratch.pieces + 2 * (int64_t)r * a.n_parts * SAMPLE_PIECES;
		struct softmax_state s = softmax_nothing();
		// The last part may reach beyond the row's last piece.
		int64_t n = (a.n_vocab + SOFTMAX_PIECE - 1) / SOFTMAX_PIECE;
#pragma unroll 1
		for (int64_t i = threadIdx.x; i < n; i += SOFTMAX_STRANDS) {
			struct softmax_state piece = { __ldcg(pieces + 2 * i), __ldcg(pieces + 2 * i + 1) };
			s = softmax_fold(s, piece);
		}
		s = softmax_strands(s);
		result.max = s.max;
		result.log_sum = softmax_log(s);
		if (id >= 0)
			result.logprob = (a.logits[row.logits_row * a.n_vocab + id] - result.max) - result.log_sum;
	}
	if (threadIdx.x == 0) {
		a.out[r] = result;
		a.scratch.state[r].mode = SAMPLE_DONE;
	}
}

// ---- scan ----

struct scan_block {
	struct sample_row row;
	float4 x[SAMPLE_PART / 4];
	uint32_t marks[SAMPLE_PART];
	struct winner tops[WARPS], scores[WARPS];
	float groups[GROUPS];
	float bound;
};

static __device__ __forceinline__ void mark(uint32_t *marks, int32_t id, int32_t first, bool in_prompt)
{
	uint32_t at = (uint32_t)(id - first);
	if (at >= SAMPLE_PART)
		return;
	if (in_prompt)
		atomicOr(&marks[at], IN_PROMPT);
	else
		atomicAdd(&marks[at], 1u);
}

// Marks the ids of this part that the row's tokens and bans name. Ids of other parts, and such as do not exist, are passed over.
static __device__ __forceinline__ void mark_lists(uint32_t *marks, const struct sample_rows_args &a,
						  const struct sample_row &row, int32_t part)
{
	int32_t first = part * SAMPLE_PART;
	for (int i = threadIdx.x; i < SAMPLE_PART; i += THREADS)
		marks[i] = 0;
	__syncthreads();
	if (row.tokens_at >= 0) {
		const int32_t *tokens = a.tokens + row.tokens_at;
		// Four at a time from the first aligned one on, and several fours on their way at once.
		int32_t odd = (int32_t)((4 - ((size_t)tokens / 4 & 3)) & 3);
		odd = odd < row.n_known ? odd : row.n_known;
		int32_t fours = (row.n_known - odd) / 4, rest = odd + 4 * fours;
		if (threadIdx.x < odd)
			mark(marks, tokens[threadIdx.x], first, (int32_t)threadIdx.x < row.n_prompt);
		if (threadIdx.x < row.n_known - rest)
			mark(marks, tokens[rest + threadIdx.x], first, rest + (int32_t)threadIdx.x < row.n_prompt);
#pragma unroll 1
		for (int32_t i = threadIdx.x; i < fours; i += 8 * THREADS) {
			int4 four[8];
#pragma unroll
			for (int j = 0; j < 8; j++)
				four[j] = i + j * THREADS < fours ? ((const int4 *)(tokens + odd))[i + j * THREADS]
								  : make_int4(-1, -1, -1, -1);
#pragma unroll
			for (int j = 0; j < 8; j++) {
				int32_t at = odd + 4 * (i + j * THREADS);
				mark(marks, four[j].x, first, at < row.n_prompt);
				mark(marks, four[j].y, first, at + 1 < row.n_prompt);
				mark(marks, four[j].z, first, at + 2 < row.n_prompt);
				mark(marks, four[j].w, first, at + 3 < row.n_prompt);
			}
		}
	}
	for (int32_t i = row.ban_begin + (int32_t)threadIdx.x; i < row.ban_end; i += THREADS) {
		uint32_t at = (uint32_t)(a.banned[i] - first);
		if (at < SAMPLE_PART)
			atomicOr(&marks[at], BANNED);
	}
	__syncthreads();
}

static __device__ __forceinline__ float penalised(const struct sample_params &p, float x, uint32_t marks)
{
	if (!marks)
		return x;
	uint32_t count = marks & OCCURRENCES;
	float repetition = (float)p.repetition_penalty;
	if (count || marks & IN_PROMPT)
		x = x > 0 ? x / repetition : x * repetition;
	if (count)
		x -= (float)(p.frequency_penalty * (double)count + p.presence_penalty);
	return marks & BANNED || isnan(x) ? -INFINITY : x; // NaN: penalties that overflowed
}

static __device__ __forceinline__ float4 cooled(float4 v, float temperature)
{
	return make_float4(v.x / temperature, v.y / temperature, v.z / temperature, v.w / temperature);
}

static __device__ __forceinline__ void take_top(struct winner &top, float x, uint32_t id)
{
	uint32_t key = x > -INFINITY ? key_of(x) : 0;
	if (key > (uint32_t)(top.key >> 32)) { // ids ascend: the first of equals stays
		top.key = (uint64_t)key << 32;
		top.id = id;
	}
}

// The winner among the block's logits. Only scores that may be a warp's largest are computed exactly.
static __device__ __forceinline__ struct winner race(struct scan_block &b, int32_t part)
{
	struct runner runner = at_start();
	struct winner w = nobody();
#pragma unroll 1
	for (int i = 0; i < FOURS; i++) {
		float4 v = b.x[slot_of(i)];
		uint32_t id = id_of(part, i);
		uint4 word = noise_words(b.row, id / 4);
		offer(runner, v.x, id, rough_score(v.x, word.x));
		offer(runner, v.y, id + 1, rough_score(v.y, word.y));
		offer(runner, v.z, id + 2, rough_score(v.z, word.z));
		offer(runner, v.w, id + 3, rough_score(v.w, word.w));
	}
	float least = least_rough(warp_largest(runner.first));
	if (runner.first > -INFINITY && runner.first >= least) {
		w.key = exact_score(b.row, runner.x, runner.id);
		w.id = runner.id;
	}
	if (runner.second > -INFINITY && runner.second >= least) // rare: look at all of them
#pragma unroll 1
		for (int i = 0; i < VALUES; i++) {
			float x = ((const float *)&b.x[slot_of(i / 4)])[i % 4];
			struct winner other = { 0, id_of(part, i / 4) + i % 4 };
			if (x > -INFINITY)
				other.key = exact_score(b.row, x, other.id);
			w = better(w, other);
		}
	return w;
}

// The part's best by one of the two keys; where the parts are done.
static __device__ __forceinline__ struct winner part_best(const struct sample_part *parts, int32_t n, bool by_score)
{
	struct winner w = nobody();
	if (threadIdx.x < n) {
		const struct sample_part *p = &parts[threadIdx.x];
		w.key = by_score ? __ldcg(&p->score) : (uint64_t)__ldcg(&p->top) << 32;
		w.id = by_score ? __ldcg(&p->score_id) : __ldcg(&p->top_id);
	}
	return w;
}

// A bound for the list: of the pieces' largest logits (of groups of pieces, where there are many) the one of that rank. At least
// so many logits reach it; if logits do not depend on ids, few more than groups * ln(groups / (groups - rank)).
static __device__ __forceinline__ float find_bound(struct scan_block &b, const struct sample_rows_args &a, int32_t r, float max)
{
	const struct sample_params &p = b.row.params;
	const float *tops = a.scratch.tops + (int64_t)r * a.n_parts * SAMPLE_PIECES;
	int32_t n_pieces = (int32_t)((a.n_vocab + SOFTMAX_PIECE - 1) / SOFTMAX_PIECE);
	int32_t each = (n_pieces + GROUPS - 1) / GROUPS, n = (n_pieces + each - 1) / each;
	bool by_k = p.top_k > 0 && p.top_k < a.n_vocab;
	if (!by_k && p.top_p >= 1)
		return (float)((double)max + log(p.min_p));
	if (a.n_vocab <= SAMPLE_LIST || (by_k && p.top_k > n))
		return -INFINITY;
	float own = -INFINITY;
#pragma unroll 1
	for (int32_t i = 0; i < each && threadIdx.x < n; i++)
		if (threadIdx.x * each + i < n_pieces)
			own = fmaxf(own, __ldcg(&tops[threadIdx.x * each + i]));
	b.groups[threadIdx.x] = threadIdx.x < n ? own : -INFINITY;
	__syncthreads();
	int32_t rank = by_k ? (int32_t)p.top_k - 1 : n - 1 - n / 16, above = 0;
#pragma unroll 4
	for (int32_t i = 0; i < GROUPS; i += 4) { // those that do not exist come last
		float4 v = *(const float4 *)&b.groups[i];
		above += (v.x > own || (v.x == own && i < threadIdx.x)) + (v.y > own || (v.y == own && i + 1 < threadIdx.x)) +
			 (v.z > own || (v.z == own && i + 2 < threadIdx.x)) + (v.w > own || (v.w == own && i + 3 < threadIdx.x));
	}
	if (threadIdx.x < n && above == rank)
		b.bound = own;
	__syncthreads();
	return b.bound;
}

// The row's end, or what the next launch needs to know.
static __device__ void conclude_scan(struct scan_block &b, const struct sample_rows_args &a, int32_t r)
{
	const struct sample_row &row = b.row;
	const struct sample_part *parts = a.scratch.parts + (int64_t)r * a.n_parts;
	struct sample_state *s = &a.scratch.state[r];
	bool filtered = is_filtered(row, a.n_vocab);
	int bad = __syncthreads_or(threadIdx.x < a.n_parts ? __ldcg(&parts[threadIdx.x].bad) : 0);
	struct winner top = block_best(b.tops, part_best(parts, a.n_parts, false));
	struct winner score = block_best(b.scores, part_best(parts, a.n_parts, true));
	float largest = of_key((uint32_t)(top.key >> 32)), max = largest / (float)row.params.temperature;
	int32_t id = (int32_t)score.id;
	if (row.no_choice || bad || !top.key || isinf(largest))
		id = -1;
	else if (row.params.temperature <= 0 || !isfinite(max)) // a temperature so small that logits overflow is greedy
		id = (int32_t)top.id;
	else if (filtered) {
		float bound = find_bound(b, a, r, max);
		if (threadIdx.x == 0) {
			s->mode = bound == -INFINITY && a.n_vocab > SAMPLE_LIST ? SAMPLE_WHOLE : SAMPLE_LISTED;
			s->max = max;
			s->least = key_of(bound);
			s->n_listed = 0;
			s->mass = 0;
		}
		return;
	}
	finish(a, row, r, id);
}

extern "C" __global__ void __launch_bounds__(THREADS) sample_cuda_scan(const __grid_constant__ struct sample_rows_args a)
{
	__shared__ struct scan_block b;
	kernel_begin();
	int32_t r = (int32_t)(blockIdx.x / (uint32_t)a.n_parts), part = (int32_t)(blockIdx.x % (uint32_t)a.n_parts);
	copy_row(&b.row, &a.rows[r]);
	const struct sample_row &row = b.row;
	if (row.logits_row < 0)
		return;
	int warp = threadIdx.x / 32, bad = 0;
	int64_t piece = ((int64_t)r * a.n_parts + part) * SAMPLE_PIECES + warp;
	const float *logits = a.logits + row.logits_row * a.n_vocab;
	bool listed = is_listed(row), filtered = is_filtered(row, a.n_vocab), hot = row.params.temperature > 0;
	float temperature = (float)row.params.temperature;
	float *work = listed && filtered ? a.scratch.work + r * a.n_vocab : NULL;
	struct winner top = nobody(), score = nobody();
	float4 v[FOURS];
	softmax_load(v, logits, a.n_vocab, part * WARPS + warp, by_four(logits, 4, a.n_vocab));
	if (row.want_logprob) {
		struct softmax_state s = softmax_piece(v);
		if (threadIdx.x % 32 == 0) {
			a.scratch.pieces[2 * piece] = s.max;
			a.scratch.pieces[2 * piece + 1] = s.sum;
		}
	}
	if (!row.no_choice) {
#pragma unroll
		for (int i = 0; i < FOURS; i++) {
			bad |= !(v[i].x < INFINITY) | !(v[i].y < INFINITY) | !(v[i].z < INFINITY) | !(v[i].w < INFINITY);
			if (hot || listed)
				b.x[slot_of(i)] = v[i];
		}
		if (listed) {
			mark_lists(b.marks, a, row, part);
#pragma unroll 1
			for (int i = 0; i < VALUES; i++) {
				float *x = (float *)&b.x[slot_of(i / 4)] + i % 4;
				*x = penalised(row.params, *x, b.marks[4 * slot_of(i / 4) + i % 4]);
			}
#pragma unroll
			for (int i = 0; i < FOURS; i++)
				v[i] = b.x[slot_of(i)];
		}
#pragma unroll
		for (int i = 0; i < FOURS; i++) {
			uint32_t id = id_of(part, i);
			take_top(top, v[i].x, id);
			take_top(top, v[i].y, id + 1);
			take_top(top, v[i].z, id + 2);
			take_top(top, v[i].w, id + 3);
		}
	}
	if (hot && !row.no_choice) {
#pragma unroll 1
		for (int i = 0; i < FOURS && (work || !filtered); i++) {
			float4 x = cooled(b.x[slot_of(i)], temperature);
			b.x[slot_of(i)] = x;
			if (work)
				store4(work, id_of(part, i), a.n_vocab, by_four(work, 4, a.n_vocab), x);
		}
		if (filtered) {
			uint32_t key = __reduce_max_sync(~0u, (uint32_t)(top.key >> 32));
			if (threadIdx.x % 32 == 0)
				a.scratch.tops[piece] = key ? of_key(key) / temperature : -INFINITY;
		} else {
			score = race(b, part);
		}
	}
	bad = __syncthreads_or(bad);
	top = block_best(b.tops, top);
	score = block_best(b.scores, score);
	if (threadIdx.x == 0) {
		struct sample_part found = { score.key, score.id, (uint32_t)(top.key >> 32), top.id, (uint32_t)bad };
		a.scratch.parts[(int64_t)r * a.n_parts + part] = found;
	}
	if (arrive_last(&a.scratch.state[r], a.n_parts))
		conclude_scan(b, a, r);
}

// ---- Filters and the race in them, by one block ----

// Probabilities relative to the largest, in units of 2^-40. Shared memory adds 32 bits at once: two halves of 20 bits are summed
// apart, which is enough for SAMPLE_LIST of them; for more, what passes 2^31 moves up to the next number, the third being
// for that alone.
#define MASS_ONE 0x1p40f
#define MASS_BITS 20
#define MASS_MASK ((1u << MASS_BITS) - 1)
#define MASS_PASSED 0x80000000u

// exp(x - max) in units of 2^-40; the largest one less, so that it too has 40 bits.
static __device__ __forceinline__ uint64_t mass_of(float x, float max)
{
	uint64_t mass = __float2ull_rn(expf(x - max) * MASS_ONE);
	return mass < (1ull << (2 * MASS_BITS)) ? mass : (1ull << (2 * MASS_BITS)) - 1;
}

enum phase { COUNT, WEIGH, TIES, RACE };

// What is looked for, and the limits found so far.
struct search {
	int32_t phase, shift, bits; // the digit of the keys that is looked at ..
	uint32_t prefix;            // .. among keys whose digits above it are these
	uint32_t floor;             // keys below are not kept: top_k, then top_p
	uint32_t min_floor;         // likewise: min_p
	uint32_t tie, last_id;      // of keys that are equal to `tie`, ids above last_id are not kept
	// How many keys, and how much mass, lie above all candidates, and above the prefix; what is wanted.
	int64_t base_count, above_count, wanted_count;
	uint64_t base_mass, above_mass;
	double wanted_mass; // < 0: top_p of all that top_k leaves
	float max;
	bool found; // false: what is wanted lies outside of the candidates
};

// N threads; LIMBS numbers a mass.
template <int N, int LIMBS>
struct filter_block {
	struct sample_row row;
	struct search search;
	uint32_t count[BINS];
	union {
		uint32_t mass[LIMBS][BINS];
		uint64_t mass_up_to[BINS];
	};
	struct winner scores[N / 32];
	float roughs[N / 32];
	uint64_t warp_mass[N / 32];
	uint32_t warp_count[N / 32];
};

static __device__ __forceinline__ bool is_kept(const struct search &c, float x, uint32_t id)
{
	uint32_t key = key_of(x);
	return x > -INFINITY && key >= c.floor && key >= c.min_floor && !(key == c.tie && id > c.last_id);
}

static __device__ __forceinline__ void select_digit(struct search &c, int32_t phase, int32_t shift, int32_t bits, uint32_t prefix)
{
	c.phase = phase;
	c.shift = shift;
	c.bits = bits;
	c.prefix = prefix;
}

static __device__ __forceinline__ bool has_top_k(const struct sample_params &p, int64_t n_vocab)
{
	return p.top_k > 0 && p.top_k < n_vocab;
}

static __device__ __forceinline__ void begin_top_p(const struct sample_params &p, struct search &c)
{
	c.phase = RACE;
	if (p.top_p >= 1)
		return;
	select_digit(c, WEIGH, 21, 11, 0);
	c.above_mass = c.base_mass;
	c.above_count = c.base_count;
}

// Candidates are all that may be kept, beside base_count with base_mass that are kept for sure. One thread runs this.
static __device__ __noinline__ void begin_search(const struct sample_params &p, bool by_k, float max, double wanted_mass,
						 struct search &c)
{
	c.floor = 0;
	c.min_floor = p.min_p > 0 ? key_of((float)((double)max + log(p.min_p))) : 0;
	c.tie = 0; // the key of no number
	c.last_id = 0;
	c.max = max;
	c.found = true;
	c.wanted_mass = wanted_mass;
	c.above_count = c.base_count;
	c.wanted_count = p.top_k;
	if (by_k)
		select_digit(c, COUNT, 21, 11, 0);
	else
		begin_top_p(p, c);
}

template <int N, int LIMBS>
static __device__ __forceinline__ void clear_bins(struct filter_block<N, LIMBS> &b)
{
	for (int i = threadIdx.x; i < BINS; i += N) {
		b.count[i] = 0;
#pragma unroll
		for (int limb = 0; limb < LIMBS; limb++)
			b.mass[limb][i] = 0;
	}
	__syncthreads();
}

// Adds to a sum that may pass 2^31; true where this is the one that must move that up. Others may come before it has done so, but no
// thread twice: the sum stays below 2^32.
static __device__ __forceinline__ bool add_passes(uint32_t *sum, uint32_t term)
{
	uint32_t before = atomicAdd(sum, term);
	if (before >= MASS_PASSED || before + term < MASS_PASSED)
		return false;
	atomicSub(sum, MASS_PASSED);
	return true;
}

template <int N, int LIMBS>
static __device__ __forceinline__ void add_mass(struct filter_block<N, LIMBS> &b, uint32_t bin, uint64_t mass)
{
	uint32_t low = (uint32_t)mass & MASS_MASK, high = (uint32_t)(mass >> MASS_BITS);
	if (LIMBS == 2) {
		atomicAdd(&b.mass[0][bin], low);
		atomicAdd(&b.mass[1][bin], high);
		return;
	}
	if (add_passes(&b.mass[0][bin], low))
		high += MASS_PASSED >> MASS_BITS;
	if (high && add_passes(&b.mass[1][bin], high))
		atomicAdd(&b.mass[LIMBS - 1][bin], 1u);
}

// Turns counts and masses into those of all bins from the highest down to one: index 0 is the highest bin's.
template <int N, int LIMBS>
static __device__ __forceinline__ void sum_bins(struct filter_block<N, LIMBS> &b)
{
	constexpr int each = BINS / N;
	int lane = threadIdx.x % 32, warp = threadIdx.x / 32, first = (int)threadIdx.x * each;
	uint32_t counts[each], count = 0;
	uint64_t masses[each], mass = 0;
#pragma unroll
	for (int i = 0; i < each; i++) {
		int bin = BINS - 1 - first - i;
		count += counts[i] = b.count[bin];
		masses[i] = ((uint64_t)b.mass[1][bin] << MASS_BITS) + b.mass[0][bin];
		if (LIMBS > 2)
			masses[i] += (uint64_t)b.mass[LIMBS - 1][bin] * ((uint64_t)MASS_PASSED << MASS_BITS);
		mass += masses[i];
	}
	uint32_t up_to_count = count;
	uint64_t up_to_mass = mass;
#pragma unroll
	for (int apart = 1; apart < 32; apart *= 2) {
		uint32_t other_count = __shfl_up_sync(~0u, up_to_count, apart);
		uint64_t other_mass = __shfl_up_sync(~0u, up_to_mass, apart);
		up_to_count += lane >= apart ? other_count : 0;
		up_to_mass += lane >= apart ? other_mass : 0;
	}
	if (lane == 31) {
		b.warp_count[warp] = up_to_count;
		b.warp_mass[warp] = up_to_mass;
	}
	__syncthreads(); // behind it nobody reads a bin any more
	count = up_to_count - count;
	mass = up_to_mass - mass;
#pragma unroll 4
	for (int i = 0; i < warp; i++) {
		count += b.warp_count[i];
		mass += b.warp_mass[i];
	}
#pragma unroll
	for (int i = 0; i < each; i++) {
		b.count[first + i] = count += counts[i];
		b.mass_up_to[first + i] = mass += masses[i];
	}
	__syncthreads();
}

// The first of the summed bins with which `count` is reached, or `mass` and one key at least; BINS where none is. `base`: what is
// above the highest.
template <int N, int LIMBS>
static __device__ __forceinline__ int reach(const struct filter_block<N, LIMBS> &b, bool weigh, int64_t count, double mass,
					    int64_t base_count, uint64_t base_mass)
{
	int low = 0, high = BINS;
#pragma unroll 1
	while (low < high) {
		int middle = (low + high) / 2;
		int64_t n = base_count + b.count[middle];
		if (weigh ? n > 0 && (double)(base_mass + b.mass_up_to[middle]) >= mass : n >= count)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

// What comes after the digit whose bins were summed. One thread runs this.
template <int N, int LIMBS>
static __device__ __noinline__ void next_digit(struct filter_block<N, LIMBS> &b)
{
	const struct sample_params &p = b.row.params;
	struct search &c = b.search;
	// All that top_k left, where this is the first digit.
	if (c.phase == WEIGH && c.wanted_mass < 0)
		c.wanted_mass = p.top_p * (double)(c.above_mass + b.mass_up_to[BINS - 1]);
	int at = reach(b, c.phase == WEIGH, c.wanted_count, c.wanted_mass, c.above_count, c.above_mass);
	if (at == BINS) {
		c.found = false;
		c.phase = RACE;
		return;
	}
	uint32_t above = at ? b.count[at - 1] : 0, n_found = b.count[at] - above;
	uint64_t above_mass = at ? b.mass_up_to[at - 1] : 0, mass = b.mass_up_to[at] - above_mass;
	uint32_t prefix = c.prefix << c.bits | (uint32_t)(BINS - 1 - at), limit = prefix << c.shift;
	above_mass += c.above_mass;
	bool whole = c.phase == WEIGH ? n_found == 1 : c.above_count + above + n_found == c.wanted_count;
	if (!whole && c.shift > 0) {
		c.above_count += above;
		c.above_mass = above_mass;
		int32_t bits = c.shift < 11 ? c.shift : 11;
		select_digit(c, c.phase, c.shift - bits, bits, prefix);
		return;
	}
	if (c.phase == COUNT) {
		c.floor = limit;
		begin_top_p(p, c);
		return;
	}
	if (c.phase == TIES) {
		c.last_id = id_key(limit);
		c.phase = RACE;
		return;
	}
	c.floor = limit;
	c.phase = RACE;
	if (whole)
		return;
	// Several ids have the very logit at which the mass is reached. The lowest of them are kept, as many as it takes.
	double each = (double)(mass / n_found);
	int64_t n = (int64_t)ceil((c.wanted_mass - (double)above_mass) / each);
	n = n < 1 ? 1 : n;
	while (n > 1 && (double)above_mass + (double)(n - 1) * each >= c.wanted_mass)
		n--;
	while (n < n_found && (double)above_mass + (double)n * each < c.wanted_mass)
		n++;
	if (n >= n_found)
		return;
	c.tie = limit;
	select_digit(c, TIES, ID_BITS - 11, 11, 0);
	c.above_count = 0;
	c.wanted_count = n;
}

// Finds the limits that begin_search asks for. `candidates.each` gives a thread its share of them.
template <int N, int LIMBS, class Candidates>
static __device__ __forceinline__ void select(struct filter_block<N, LIMBS> &b, const Candidates &candidates)
{
	while (b.search.phase != RACE) {
		const struct search &c = b.search;
		clear_bins(b);
		candidates.each([&](float x, uint32_t id) {
			uint32_t key = key_of(x);
			bool counts = c.phase == COUNT || (x > -INFINITY && key >= c.floor);
			if (c.phase == TIES) {
				counts = x > -INFINITY && key == c.tie;
				key = id_key(id);
			}
			// Digits above the first one are none: a shift by 32. Where a digit has fewer than 11 bits, so has the bin.
			if (!counts || (uint32_t)((uint64_t)key >> (c.shift + c.bits)) != c.prefix)
				return;
			uint32_t bin = key >> c.shift & ((1u << c.bits) - 1);
			atomicAdd(&b.count[bin], 1u);
			if (c.phase == WEIGH)
				add_mass(b, bin, mass_of(x, c.max));
		});
		__syncthreads();
		sum_bins(b);
		if (threadIdx.x == 0)
			next_digit(b);
		__syncthreads();
	}
}

// The winner of the race among all that are kept: `kept` calls back with a thread's share of them, the same each time.
template <int N, int LIMBS, class Kept>
static __device__ __forceinline__ struct winner race_kept(struct filter_block<N, LIMBS> &b, Kept kept)
{
	struct runner runner = at_start();
	struct winner w = nobody();
	kept([&](float x, uint32_t id, uint32_t word) { offer(runner, x, id, rough_score(x, word)); });
	float best = warp_largest(runner.first);
	if (threadIdx.x % 32 == 0)
		b.roughs[threadIdx.x / 32] = best;
	__syncthreads();
	float least = least_rough(warp_largest(threadIdx.x % 32 < N / 32 ? b.roughs[threadIdx.x % 32] : -INFINITY));
	if (runner.first > -INFINITY && runner.first >= least) {
		w.key = exact_score(b.row, runner.x, runner.id);
		w.id = runner.id;
	}
	if (runner.second > -INFINITY && runner.second >= least) // rare: look at all of them
		kept([&](float x, uint32_t id, uint32_t word) {
			if (!(rough_score(x, word) >= least))
				return;
			struct winner other = { exact_score(b.row, x, id), id };
			w = better(w, other);
		});
	return block_best(b.scores, w);
}

// ---- list ----

template <int N>
struct candidates {
	const struct sample_candidate *list;
	uint32_t n;

	template <class F>
	__device__ __forceinline__ void each(F f) const
	{
#pragma unroll 1
		for (uint32_t i = threadIdx.x; i < n; i += N)
			f(list[i].logit, (uint32_t)list[i].id);
	}

	template <class F>
	__device__ __forceinline__ void each_kept(const struct sample_row &row, const struct search &c, F f) const
	{
		each([&](float v, uint32_t i) {
			if (is_kept(c, v, i))
				f(v, i, word_of(noise_words(row, i / 4), i));
		});
	}
};

struct list_block {
	union {
		struct filter_block<THREADS, 2> filter;
		struct {
			struct sample_row same_row; // as in filter
			float4 x_of_part[SAMPLE_PART / 4];
		};
	};
	struct sample_candidate listed[SAMPLE_LIST];
	uint64_t mass[WARPS];
	uint32_t n, at;
};

// Whether top_p alone decides what is kept: then its sum is of all.
static __device__ __forceinline__ bool weighs_all(const struct sample_row &row, int64_t n_vocab)
{
	return row.params.top_p < 1 && !has_top_k(row.params, n_vocab);
}

static __device__ void conclude_list(struct list_block &b, const struct sample_rows_args &a, int32_t r)
{
	struct sample_state *s = &a.scratch.state[r];
	struct filter_block<THREADS, 2> &f = b.filter;
	const struct sample_candidate *listed = a.scratch.candidate + (int64_t)r * SAMPLE_LIST;
	uint32_t n = __ldcg(&s->n_listed);
	if (n <= SAMPLE_LIST) {
		for (uint32_t i = threadIdx.x; i < n; i += THREADS) {
			b.listed[i].logit = __ldcg(&listed[i].logit);
			b.listed[i].id = __ldcg(&listed[i].id);
		}
		if (threadIdx.x == 0) {
			f.search.base_count = 0;
			f.search.base_mass = 0;
			begin_search(f.row.params, has_top_k(f.row.params, a.n_vocab), s->max,
				     weighs_all(f.row, a.n_vocab) ? f.row.params.top_p * (double)__ldcg(&s->mass) : -1, f.search);
		}
		__syncthreads();
		struct candidates<THREADS> list = { b.listed, n };
		select(f, list);
		if (f.search.found) {
			struct winner w = race_kept(f, [&](auto take) { list.each_kept(f.row, f.search, take); });
			finish(a, f.row, r, (int32_t)w.id);
			return;
		}
	}
	if (threadIdx.x == 0)
		s->mode = SAMPLE_WHOLE;
}

extern "C" __global__ void __launch_bounds__(THREADS) sample_cuda_list(const __grid_constant__ struct sample_rows_args a)
{
	__shared__ struct list_block b;
	kernel_begin();
	int32_t r = (int32_t)(blockIdx.x / (uint32_t)a.n_parts), part = (int32_t)(blockIdx.x % (uint32_t)a.n_parts);
	struct sample_state *s = &a.scratch.state[r];
	if (s->mode != SAMPLE_LISTED)
		return;
	const struct sample_row &row = b.filter.row;
	copy_row(&b.filter.row, &a.rows[r]);
	if (row.logits_row < 0)
		return;
	bool is_cool = is_listed(row), weighs = weighs_all(row, a.n_vocab);
	float temperature = is_cool ? 1.0f : (float)row.params.temperature, max = s->max;
	const float *from = is_cool ? a.scratch.work + r * a.n_vocab : a.logits + row.logits_row * a.n_vocab;
	uint32_t least = s->least, own = 0;
	uint64_t mass = 0;
	float4 v[FOURS];
	softmax_load(v, from, a.n_vocab, part * WARPS + threadIdx.x / 32, by_four(from, 4, a.n_vocab));
#pragma unroll
	for (int i = 0; i < FOURS; i++)
		b.x_of_part[slot_of(i)] = v[i];
	if (threadIdx.x == 0)
		b.n = 0;
#pragma unroll 1
	for (int i = 0; i < FOURS; i++) {
		float4 x = cooled(b.x_of_part[slot_of(i)], temperature);
		b.x_of_part[slot_of(i)] = x;
		own += (x.x > -INFINITY && key_of(x.x) >= least) + (x.y > -INFINITY && key_of(x.y) >= least) +
		       (x.z > -INFINITY && key_of(x.z) >= least) + (x.w > -INFINITY && key_of(x.w) >= least);
		if (weighs)
			mass += mass_of(x.x, max) + mass_of(x.y, max) + mass_of(x.z, max) + mass_of(x.w, max);
	}
	__syncthreads();
	uint32_t at = own ? atomicAdd(&b.n, own) : 0;
	if (weighs) {
#pragma unroll
		for (int apart = 16; apart; apart /= 2)
			mass += __shfl_xor_sync(~0u, mass, apart);
		if (threadIdx.x % 32 == 0)
			b.mass[threadIdx.x / 32] = mass;
	}
	__syncthreads();
	if (threadIdx.x == 0) {
		b.at = b.n ? atomicAdd(&s->n_listed, b.n) : 0;
		mass = 0;
		for (int i = 0; i < WARPS && weighs; i++)
			mass += b.mass[i];
		if (mass)
			atomicAdd((unsigned long long *)&s->mass, (unsigned long long)mass);
	}
	__syncthreads();
	at += b.at;
	struct sample_candidate *listed = a.scratch.candidate + (int64_t)r * SAMPLE_LIST;
#pragma unroll 1
	for (int i = 0; i < VALUES && own; i++) {
		float x = ((const float *)&b.x_of_part[slot_of(i / 4)])[i % 4];
		if (!(x > -INFINITY && key_of(x) >= least))
			continue;
		if (at < SAMPLE_LIST) {
			listed[at].logit = x;
			listed[at].id = (int32_t)(id_of(part, i / 4) + i % 4);
		}
		at++;
	}
	if (arrive_last(s, a.n_parts))
		conclude_list(b, a, r);
}

// ---- whole ----

// Bins of 1/64 from the largest logit down; the last one holds all that is farther than 32.
#define BIN_SCALE 64.0f

struct whole_block {
	struct filter_block<WHOLE_THREADS, 3> filter;
	int lo, hi;      // bins above lo are kept but for min_p, those below hi are not; 0 is the highest
	uint32_t n, at;  // values in the bins from lo to hi; how many are listed
};

// The row, 4 values a thread at a time, the next ones on their way meanwhile.
struct whole_row {
	const float *x;
	float temperature; // 1 where x is cooled already
	int64_t n;
	bool vector;

	template <class F>
	__device__ __forceinline__ void each_four(F f) const
	{
		int64_t i = 4 * (int64_t)threadIdx.x;
		float4 v = load4(x, i, n, vector);
#pragma unroll 1
		for (; i < n; i += 4 * WHOLE_THREADS) {
			float4 next = load4(x, i + 4 * WHOLE_THREADS, n, vector);
			v = cooled(v, temperature);
			// Beyond the row.
			v.y = i + 1 < n ? v.y : -INFINITY;
			v.z = i + 2 < n ? v.z : -INFINITY;
			v.w = i + 3 < n ? v.w : -INFINITY;
			f(v, (uint32_t)i);
			v = next;
		}
	}

	template <class F>
	__device__ __forceinline__ void each(F f) const
	{
		each_four([&](float4 v, uint32_t id) {
#pragma unroll 1
			for (int j = 0; j < 4; j++)
				if (id + j < n)
					f(j == 0 ? v.x : j == 1 ? v.y : j == 2 ? v.z : v.w, id + j);
		});
	}
};

static __device__ __forceinline__ int far_bin(float x, float max)
{
	return (int)fminf((max - x) * BIN_SCALE, BINS - 1.0f);
}

// From the summed bins: which hold the limits. One thread runs this.
static __device__ __noinline__ void find_limits(struct whole_block &b, bool by_k, float max)
{
	struct filter_block<WHOLE_THREADS, 3> &f = b.filter;
	const struct sample_params &p = f.row.params;
	double wanted = -1;
	b.lo = BINS;
	b.hi = BINS - 1;
	b.at = 0;
	if (by_k)
		b.lo = b.hi = reach(f, false, p.top_k, 0, 0, 0);
	if (b.hi == BINS) { // fewer than k are finite
		by_k = false;
		b.hi = BINS - 1;
	}
	if (p.top_p < 1) {
		// Of all that top_k leaves at least.
		uint64_t all = !by_k ? f.mass_up_to[BINS - 1] : b.hi ? f.mass_up_to[b.hi - 1] : 0;
		b.lo = reach(f, true, 0, p.top_p * (double)all, 0, 0);
		if (!by_k) {
			wanted = p.top_p * (double)all;
			b.hi = b.lo;
		}
	}
	uint32_t above = b.lo == BINS ? f.count[BINS - 1] : b.lo ? f.count[b.lo - 1] : 0;
	f.search.base_count = above;
	f.search.base_mass = b.lo < BINS && b.lo ? f.mass_up_to[b.lo - 1] : 0;
	b.n = b.lo <= b.hi ? f.count[b.hi] - above : 0;
	begin_search(p, by_k, max, wanted, f.search);
}

extern "C" __global__ void __launch_bounds__(WHOLE_THREADS)
	sample_cuda_whole(const __grid_constant__ struct sample_rows_args a)
{
	__shared__ struct whole_block b;
	kernel_begin();
	int32_t r = (int32_t)blockIdx.x;
	struct sample_state *s = &a.scratch.state[r];
	struct filter_block<WHOLE_THREADS, 3> &f = b.filter;
	if (s->mode != SAMPLE_WHOLE)
		return;
	copy_row(&f.row, &a.rows[r]);
	if (f.row.logits_row < 0)
		return;
	bool is_cool = is_listed(f.row), by_k = has_top_k(f.row.params, a.n_vocab), weighs = f.row.params.top_p < 1;
	const float *from = is_cool ? a.scratch.work + r * a.n_vocab : a.logits + f.row.logits_row * a.n_vocab;
	struct whole_row row = { from, is_cool ? 1.0f : (float)f.row.params.temperature, a.n_vocab, by_four(from, 4, a.n_vocab) };
	float max = s->max;
	clear_bins(f);
	row.each([&](float x, uint32_t id) {
		if (!(x > -INFINITY))
			return;
		int bin = BINS - 1 - far_bin(x, max);
		atomicAdd(&f.count[bin], 1u);
		if (weighs)
			add_mass(f, bin, mass_of(x, max));
	});
	__syncthreads();
	sum_bins(f);
	if (threadIdx.x == 0)
		find_limits(b, by_k, max);
	__syncthreads();
	struct sample_candidate *listed = a.scratch.candidate + (int64_t)r * SAMPLE_LIST;
	struct candidates<WHOLE_THREADS> list = { listed, b.n };
	const struct search &c = f.search;
	int lo = b.lo, hi = b.hi;
	bool by_list = b.n <= SAMPLE_LIST;
	if (by_list) {
		row.each([&](float x, uint32_t id) {
			int bin = far_bin(x, max);
			if (!(x > -INFINITY) || bin < lo || bin > hi)
				return;
			uint32_t at = atomicAdd(&b.at, 1u);
			listed[at].logit = x;
			listed[at].id = (int32_t)id;
		});
		__syncthreads();
		select(f, list);
	} else { // a crowd in the limits' bins
		if (threadIdx.x == 0) {
			f.search.base_count = 0;
			f.search.base_mass = 0;
			begin_search(f.row.params, by_k, max, -1, f.search);
		}
		__syncthreads();
		select(f, row);
	}
	struct winner w = race_kept(f, [&](auto take) {
		row.each_four([&](float4 v, uint32_t id) {
			float x[4] = { v.x, v.y, v.z, v.w };
			bool kept[4], any = false;
#pragma unroll
			for (int j = 0; j < 4; j++) {
				bool sure = x[j] > -INFINITY && far_bin(x[j], max) < lo && key_of(x[j]) >= c.min_floor;
				kept[j] = by_list ? sure : is_kept(c, x[j], id + j);
				any |= kept[j];
			}
			if (!any)
				return;
			uint4 words = noise_words_apart(f.row, id / 4);
#pragma unroll
			for (int j = 0; j < 4; j++)
				if (kept[j])
					take(x[j], id + j, word_of(words, j));
		});
		if (by_list)
			list.each_kept(f.row, c, take);
	});
	finish(a, f.row, r, (int32_t)w.id);
}
