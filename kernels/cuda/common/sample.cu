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
// logits. Counts and sums are integers, and maxima take the lowest id on ties: who comes first changes nothing.
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

static __device__ __forceinline__ uint32_t noise_word(const struct sample_row &row, uint32_t id)
{
	uint4 four = noise_words(row, id / 4);
	return id % 4 == 0 ? four.x : id % 4 == 1 ? four.y : id % 4 == 2 ? four.z : four.w;
}

// logit + G, as a number that orders like it; never 0.
static __device__ __noinline__ uint64_t exact_score(float logit, uint32_t word)
{
	double u = ((double)word + 0.5) * 0x1p-32;
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

// ---- A thread's share of a part ----

struct mine {
	float4 x[FOURS];
	uint32_t first; // id of x[0].x; x[i].x is id first + 128 i
};

static __device__ __forceinline__ float value(const struct mine &m, int i)
{
	float4 v = m.x[i / 4];
	return i % 4 == 0 ? v.x : i % 4 == 1 ? v.y : i % 4 == 2 ? v.z : v.w;
}

static __device__ __forceinline__ uint32_t id_of(const struct mine &m, int i)
{
	return m.first + 128 * (i / 4) + i % 4;
}

static __device__ __forceinline__ struct mine load_mine(const float *row, int64_t n_vocab, int32_t part)
{
	struct mine m;
	int piece = threadIdx.x / 32;
	softmax_load(m.x, row, n_vocab, part * WARPS + piece, by_four(row, 4, n_vocab));
	m.first = part * SAMPLE_PART + piece * SOFTMAX_PIECE + 4 * (threadIdx.x % 32);
	return m;
}

static __device__ __forceinline__ void cool(struct mine &m, float temperature)
{
#pragma unroll
	for (int i = 0; i < FOURS; i++)
		m.x[i] = make_float4(m.x[i].x / temperature, m.x[i].y / temperature, m.x[i].z / temperature,
				     m.x[i].w / temperature);
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
static __device__ void finish(const struct sample_rows_args &a, const struct sample_row &row, int32_t r, int32_t id)
{
	struct sample_result result = { id, 0, 0, 0 };
	if (threadIdx.x >= 32)
		return;
	if (row.want_logprob) {
		const float *pieces = a.scratch.pieces + 2 * (int64_t)r * a.n_parts * SAMPLE_PIECES;
		struct softmax_state s = softmax_nothing();
		// The last part may reach beyond the row's last piece.
		int64_t n = (a.n_vocab + SOFTMAX_PIECE - 1) / SOFTMAX_PIECE;
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
static __device__ void mark_lists(uint32_t *marks, const struct sample_rows_args &a, const struct sample_row &row, int32_t part)
{
	int32_t first = part * SAMPLE_PART;
	for (int i = threadIdx.x; i < SAMPLE_PART; i += THREADS)
		marks[i] = 0;
	__syncthreads();
	if (row.tokens_at >= 0) {
		const int32_t *tokens = a.tokens + row.tokens_at;
		// Four at a time from the first aligned one on.
		int32_t odd = (int32_t)((4 - ((size_t)tokens / 4 & 3)) & 3);
		odd = odd < row.n_known ? odd : row.n_known;
		int32_t fours = (row.n_known - odd) / 4, rest = odd + 4 * fours;
		if (threadIdx.x < odd)
			mark(marks, tokens[threadIdx.x], first, (int32_t)threadIdx.x < row.n_prompt);
		if (threadIdx.x < row.n_known - rest)
			mark(marks, tokens[rest + threadIdx.x], first, rest + (int32_t)threadIdx.x < row.n_prompt);
#pragma unroll 8
		for (int32_t i = threadIdx.x; i < fours; i += THREADS) {
			int4 four = *(const int4 *)(tokens + odd + 4 * i);
			int32_t at = odd + 4 * i;
			mark(marks, four.x, first, at < row.n_prompt);
			mark(marks, four.y, first, at + 1 < row.n_prompt);
			mark(marks, four.z, first, at + 2 < row.n_prompt);
			mark(marks, four.w, first, at + 3 < row.n_prompt);
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

static __device__ __forceinline__ void penalise(struct mine &m, const struct sample_params &p, const uint32_t *marks)
{
	marks += threadIdx.x / 32 * SOFTMAX_PIECE + 4 * (threadIdx.x % 32);
#pragma unroll
	for (int i = 0; i < FOURS; i++) {
		m.x[i].x = penalised(p, m.x[i].x, marks[128 * i]);
		m.x[i].y = penalised(p, m.x[i].y, marks[128 * i + 1]);
		m.x[i].z = penalised(p, m.x[i].z, marks[128 * i + 2]);
		m.x[i].w = penalised(p, m.x[i].w, marks[128 * i + 3]);
	}
}

// The winner among the thread's logits. Only scores that may be a warp's largest are computed exactly.
static __device__ __forceinline__ struct winner race(const struct sample_row &row, const struct mine &m)
{
	float rough[VALUES], best = -INFINITY;
	struct winner w = nobody();
#pragma unroll
	for (int i = 0; i < VALUES; i += 4) {
		uint4 word = noise_words(row, id_of(m, i) / 4);
		rough[i] = rough_score(value(m, i), word.x);
		rough[i + 1] = rough_score(value(m, i + 1), word.y);
		rough[i + 2] = rough_score(value(m, i + 2), word.z);
		rough[i + 3] = rough_score(value(m, i + 3), word.w);
		best = fmaxf(best, fmaxf(fmaxf(rough[i], rough[i + 1]), fmaxf(rough[i + 2], rough[i + 3])));
	}
	float least = least_rough(of_key(__reduce_max_sync(~0u, key_of(best))));
#pragma unroll
	for (int i = 0; i < VALUES; i++)
		if (value(m, i) > -INFINITY && rough[i] >= least) {
			struct winner other = { exact_score(value(m, i), noise_word(row, id_of(m, i))), id_of(m, i) };
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
static __device__ float find_bound(struct scan_block &b, const struct sample_rows_args &a, int32_t r)
{
	const struct sample_params &p = b.row.params;
	const float *tops = a.scratch.tops + (int64_t)r * a.n_parts * SAMPLE_PIECES;
	int32_t n_pieces = (int32_t)((a.n_vocab + SOFTMAX_PIECE - 1) / SOFTMAX_PIECE);
	int32_t each = (n_pieces + GROUPS - 1) / GROUPS, n = (n_pieces + each - 1) / each;
	bool by_k = p.top_k > 0 && p.top_k < a.n_vocab;
	if (!by_k && p.top_p >= 1)
		return (float)((double)a.scratch.state[r].max + log(p.min_p));
	if (a.n_vocab <= SAMPLE_LIST || (by_k && p.top_k > n))
		return -INFINITY;
	float own = -INFINITY;
	for (int32_t i = 0; i < each && threadIdx.x < n; i++)
		if (threadIdx.x * each + i < n_pieces)
			own = fmaxf(own, __ldcg(&tops[threadIdx.x * each + i]));
	b.groups[threadIdx.x] = own;
	__syncthreads();
	int32_t rank = by_k ? (int32_t)p.top_k - 1 : n - 1 - n / 16, above = 0;
	for (int32_t i = 0; i < n; i++)
		above += b.groups[i] > own || (b.groups[i] == own && i < threadIdx.x);
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
	int bad = __syncthreads_or(threadIdx.x < a.n_parts ? __ldcg(&parts[threadIdx.x].bad) : 0);
	struct winner top = block_best(b.tops, part_best(parts, a.n_parts, false));
	struct winner score = block_best(b.scores, part_best(parts, a.n_parts, true));
	float largest = of_key((uint32_t)(top.key >> 32)), max = largest / (float)row.params.temperature;
	if (row.no_choice || bad || !top.key || isinf(largest)) {
		finish(a, row, r, -1);
	} else if (row.params.temperature <= 0 || !isfinite(max)) { // a temperature so small that logits overflow is greedy
		finish(a, row, r, (int32_t)top.id);
	} else if (!is_filtered(row, a.n_vocab)) {
		finish(a, row, r, (int32_t)score.id);
	} else {
		if (threadIdx.x == 0)
			s->max = max;
		__syncthreads();
		float bound = find_bound(b, a, r);
		if (threadIdx.x == 0) {
			s->mode = bound == -INFINITY && a.n_vocab > SAMPLE_LIST ? SAMPLE_WHOLE : SAMPLE_LISTED;
			s->least = key_of(bound);
			s->n_listed = 0;
			s->mass = 0;
		}
	}
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
	int warp = threadIdx.x / 32;
	int64_t piece = ((int64_t)r * a.n_parts + part) * SAMPLE_PIECES + warp;
	struct mine m = load_mine(a.logits + row.logits_row * a.n_vocab, a.n_vocab, part);
	if (row.want_logprob) {
		struct softmax_state s = softmax_piece(m.x);
		if (threadIdx.x % 32 == 0) {
			a.scratch.pieces[2 * piece] = s.max;
			a.scratch.pieces[2 * piece + 1] = s.sum;
		}
	}
	struct winner top = nobody(), score = nobody();
	int bad = 0;
	if (!row.no_choice) {
#pragma unroll
		for (int i = 0; i < VALUES; i++)
			bad |= !(value(m, i) < INFINITY);
		if (is_listed(row)) {
			mark_lists(b.marks, a, row, part);
			penalise(m, row.params, b.marks);
		}
#pragma unroll
		for (int i = 0; i < VALUES; i++) { // ids ascend: the first of equals stays
			float x = value(m, i);
			uint32_t key = x > -INFINITY ? key_of(x) : 0;
			if (key > (uint32_t)(top.key >> 32)) {
				top.key = (uint64_t)key << 32;
				top.id = id_of(m, i);
			}
		}
		if (row.params.temperature > 0) {
			cool(m, (float)row.params.temperature);
			if (!is_filtered(row, a.n_vocab)) {
				score = race(row, m);
			} else {
				uint32_t key = __reduce_max_sync(~0u, (uint32_t)(top.key >> 32));
				if (threadIdx.x % 32 == 0)
					a.scratch.tops[piece] = key ? of_key(key) / (float)row.params.temperature : -INFINITY;
				if (is_listed(row)) {
					float *work = a.scratch.work + r * a.n_vocab;
					bool vector = by_four(work, 4, a.n_vocab);
#pragma unroll
					for (int i = 0; i < FOURS; i++)
						store4(work, id_of(m, 4 * i), a.n_vocab, vector, m.x[i]);
				}
			}
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
	// How many keys, and how much mass, lie above the prefix; what is wanted.
	int64_t above_count, wanted_count;
	uint64_t above_mass;
	double wanted_mass;         // < 0: not known yet
	bool found;                 // false: what is wanted lies outside of the list
};

// N threads; LIMBS numbers a mass.
template <int N, int LIMBS>
struct filter_block {
	struct sample_row row;
	struct search search;
	uint32_t count[BINS], mass[LIMBS][BINS];
	struct winner scores[N / 32];
	float roughs[N / 32];
	uint64_t warp_mass[N / 32], found_mass, found_above_mass, total_mass;
	uint32_t warp_count[N / 32], found_bin, found_count, found_above_count;
};

static __device__ __forceinline__ bool is_kept(const struct search &c, float x, uint32_t id)
{
	uint32_t key = key_of(x);
	return x > -INFINITY && key >= c.floor && key >= c.min_floor && !(key == c.tie && id > c.last_id);
}

static __device__ void select_digit(struct search &c, int32_t phase, int32_t shift, int32_t bits, uint32_t prefix)
{
	c.phase = phase;
	c.shift = shift;
	c.bits = bits;
	c.prefix = prefix;
}

static __device__ void begin_top_p(const struct sample_params &p, struct search &c)
{
	c.phase = RACE;
	if (p.top_p >= 1)
		return;
	select_digit(c, WEIGH, 21, 11, 0);
	c.above_mass = 0;
	c.above_count = 0;
}

// wanted_mass: top_p of all that there is, where the candidates are not all; else -1.
static __device__ void begin_search(const struct sample_params &p, int64_t n_vocab, float max, double wanted_mass,
				    struct search &c)
{
	c.floor = 0;
	c.min_floor = p.min_p > 0 ? key_of((float)((double)max + log(p.min_p))) : 0;
	c.tie = 0; // the key of no number
	c.last_id = 0;
	c.found = true;
	c.wanted_mass = wanted_mass;
	c.above_count = 0;
	c.wanted_count = p.top_k;
	if (p.top_k > 0 && p.top_k < n_vocab)
		select_digit(c, COUNT, 21, 11, 0);
	else
		begin_top_p(p, c);
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
	if (add_passes(&b.mass[1][bin], high))
		atomicAdd(&b.mass[LIMBS - 1][bin], 1u);
}

template <int N, int LIMBS>
static __device__ __forceinline__ uint64_t bin_mass(const struct filter_block<N, LIMBS> &b, int bin)
{
	uint64_t mass = ((uint64_t)b.mass[1][bin] << MASS_BITS) + b.mass[0][bin];
	return LIMBS == 2 ? mass : mass + (uint64_t)b.mass[LIMBS - 1][bin] * ((uint64_t)MASS_PASSED << MASS_BITS);
}

// Adds the candidates' keys to the bins.
template <int N, int LIMBS, class Candidates>
static __device__ __forceinline__ void fill_bins(struct filter_block<N, LIMBS> &b, const Candidates &candidates, float max)
{
	const struct search c = b.search;
	for (int i = threadIdx.x; i < BINS; i += N) {
		b.count[i] = 0;
#pragma unroll
		for (int limb = 0; limb < LIMBS; limb++)
			b.mass[limb][i] = 0;
	}
	__syncthreads();
	candidates.each([&](float x, uint32_t id) {
		uint32_t key = key_of(x);
		bool counts = c.phase == COUNT || (x > -INFINITY && key >= c.floor);
		if (c.phase == TIES) {
			counts = x > -INFINITY && key == c.tie;
			key = id_key(id);
		}
		// The digits above the first one are none: a shift by 32.
		if (!counts || (uint32_t)((uint64_t)key >> (c.shift + c.bits)) != c.prefix)
			return;
		uint32_t bin = key >> c.shift & ((1u << c.bits) - 1);
		atomicAdd(&b.count[bin], 1u);
		if (c.phase == WEIGH)
			add_mass(b, bin, mass_of(x, max));
	});
	__syncthreads();
}

// Finds the bin, from the highest down, at which the count or the mass that is wanted is reached.
template <int N, int LIMBS>
static __device__ __forceinline__ void find_bin(struct filter_block<N, LIMBS> &b)
{
	constexpr int each = BINS / N;
	const struct search &c = b.search;
	int lane = threadIdx.x % 32, warp = threadIdx.x / 32, highest = BINS - 1 - (int)threadIdx.x * each;
	uint32_t count = 0;
	uint64_t mass = 0;
#pragma unroll
	for (int i = 0; i < each; i++) {
		count += b.count[highest - i];
		mass += bin_mass(b, highest - i);
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
	if (threadIdx.x == 0)
		b.found_count = 0;
	__syncthreads();
	uint64_t total = c.above_mass, above_mass = c.above_mass + up_to_mass - mass;
	int64_t above_count = c.above_count + up_to_count - count;
	for (int i = 0; i < N / 32; i++) {
		total += b.warp_mass[i];
		above_count += i < warp ? b.warp_count[i] : 0;
		above_mass += i < warp ? b.warp_mass[i] : 0;
	}
	// All that top_k left, where this is the first digit.
	double wanted_mass = c.wanted_mass < 0 ? b.row.params.top_p * (double)total : c.wanted_mass;
#pragma unroll
	for (int i = 0; i < each; i++) {
		uint32_t n = b.count[highest - i];
		uint64_t m = bin_mass(b, highest - i);
		bool before, reached;
		if (c.phase == WEIGH) {
			before = above_count > 0 && (double)above_mass >= wanted_mass;
			reached = n && (double)(above_mass + m) >= wanted_mass;
		} else {
			before = above_count >= c.wanted_count;
			reached = above_count + n >= c.wanted_count;
		}
		if (reached && !before) {
			b.found_bin = (uint32_t)(highest - i);
			b.found_count = n;
			b.found_mass = m;
			b.found_above_count = (uint32_t)above_count;
			b.found_above_mass = above_mass;
		}
		above_count += n;
		above_mass += m;
	}
	b.total_mass = total;
	__syncthreads();
}

// What comes after the digit whose bin find_bin found. One thread runs this.
template <int N, int LIMBS>
static __device__ void next_digit(struct filter_block<N, LIMBS> &b)
{
	const struct sample_params &p = b.row.params;
	struct search &c = b.search;
	uint32_t prefix = c.prefix << c.bits | b.found_bin, limit = prefix << c.shift;
	if (!b.found_count) {
		c.found = false;
		c.phase = RACE;
		return;
	}
	if (c.phase == WEIGH && c.wanted_mass < 0)
		c.wanted_mass = p.top_p * (double)b.total_mass;
	bool whole = c.phase == WEIGH ? b.found_count == 1 : b.found_above_count + b.found_count == c.wanted_count;
	if (!whole && c.shift > 0) {
		c.above_count = b.found_above_count;
		c.above_mass = b.found_above_mass;
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
	double each = (double)(b.found_mass / b.found_count), above = (double)b.found_above_mass;
	int64_t n = (int64_t)ceil((c.wanted_mass - above) / each);
	n = n < 1 ? 1 : n;
	while (n > 1 && above + (double)(n - 1) * each >= c.wanted_mass)
		n--;
	while (n < b.found_count && above + (double)n * each < c.wanted_mass)
		n++;
	if (n >= b.found_count)
		return;
	c.tie = limit;
	select_digit(c, TIES, ID_BITS - 11, 11, 0);
	c.above_count = 0;
	c.wanted_count = n;
}

// Filters the candidates and runs the race among those that are kept; nobody where they are too few for top_p.
template <int N, int LIMBS, class Candidates>
static __device__ __forceinline__ struct winner choose(struct filter_block<N, LIMBS> &b, const Candidates &candidates,
						       int64_t n_vocab, float max, double wanted_mass)
{
	if (threadIdx.x == 0)
		begin_search(b.row.params, n_vocab, max, wanted_mass, b.search);
	__syncthreads();
	while (b.search.phase != RACE) {
		fill_bins(b, candidates, max);
		find_bin(b);
		if (threadIdx.x == 0)
			next_digit(b);
		__syncthreads();
	}
	if (!b.search.found)
		return nobody();
	const struct search c = b.search;
	float best = -INFINITY;
	struct winner w = nobody();
	candidates.each([&](float x, uint32_t id) {
		if (is_kept(c, x, id))
			best = fmaxf(best, rough_score(x, noise_word(b.row, id)));
	});
	best = of_key(__reduce_max_sync(~0u, key_of(best)));
	if (threadIdx.x % 32 == 0)
		b.roughs[threadIdx.x / 32] = best;
	__syncthreads();
	for (int i = 0; i < N / 32; i++)
		best = fmaxf(best, b.roughs[i]);
	float least = least_rough(best);
	candidates.each([&](float x, uint32_t id) {
		if (!is_kept(c, x, id))
			return;
		uint32_t word = noise_word(b.row, id);
		if (rough_score(x, word) < least)
			return;
		struct winner other = { exact_score(x, word), id };
		w = better(w, other);
	});
	return block_best(b.scores, w);
}

// ---- list ----

struct list_block {
	struct filter_block<THREADS, 2> filter;
	float x[SAMPLE_LIST];
	uint32_t id[SAMPLE_LIST];
	uint64_t mass[WARPS];
	uint32_t n, at;
};

struct listed {
	const struct list_block &b;
	uint32_t n;

	template <class F>
	__device__ __forceinline__ void each(F f) const
	{
		for (uint32_t i = threadIdx.x; i < n; i += THREADS)
			f(b.x[i], b.id[i]);
	}
};

// Whether top_p alone decides what is kept: then its sum is of all.
static __device__ __forceinline__ bool weighs_all(const struct sample_row &row, int64_t n_vocab)
{
	return row.params.top_p < 1 && !(row.params.top_k > 0 && row.params.top_k < n_vocab);
}

static __device__ __forceinline__ struct mine load_cooled(const struct sample_rows_args &a, const struct sample_row &row, int32_t r,
							 int32_t part)
{
	if (is_listed(row))
		return load_mine(a.scratch.work + r * a.n_vocab, a.n_vocab, part);
	struct mine m = load_mine(a.logits + row.logits_row * a.n_vocab, a.n_vocab, part);
	cool(m, (float)row.params.temperature);
	return m;
}

static __device__ void conclude_list(struct list_block &b, const struct sample_rows_args &a, int32_t r)
{
	struct sample_state *s = &a.scratch.state[r];
	const struct sample_candidate *candidates = a.scratch.candidate + (int64_t)r * SAMPLE_LIST;
	uint32_t n = __ldcg(&s->n_listed);
	if (n <= SAMPLE_LIST) {
		for (uint32_t i = threadIdx.x; i < n; i += THREADS) {
			b.x[i] = __ldcg(&candidates[i].logit);
			b.id[i] = (uint32_t)__ldcg(&candidates[i].id);
		}
		double wanted = weighs_all(b.filter.row, a.n_vocab) ? b.filter.row.params.top_p * (double)__ldcg(&s->mass) : -1;
		__syncthreads();
		struct listed list = { b, n };
		struct winner w = choose(b.filter, list, a.n_vocab, s->max, wanted);
		if (w.key) {
			finish(a, b.filter.row, r, (int32_t)w.id);
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
	struct mine m = load_cooled(a, row, r, part);
	uint32_t least = s->least, own = 0;
	uint64_t mass = 0;
	bool weighs = weighs_all(row, a.n_vocab);
	if (threadIdx.x == 0)
		b.n = 0;
#pragma unroll
	for (int i = 0; i < VALUES; i++) {
		float x = value(m, i);
		if (x > -INFINITY && key_of(x) >= least)
			own++;
		if (weighs)
			mass += mass_of(x, s->max);
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
	struct sample_candidate *candidates = a.scratch.candidate + (int64_t)r * SAMPLE_LIST;
#pragma unroll
	for (int i = 0; i < VALUES; i++) {
		float x = value(m, i);
		if (!(x > -INFINITY && key_of(x) >= least))
			continue;
		if (at < SAMPLE_LIST) {
			candidates[at].logit = x;
			candidates[at].id = (int32_t)id_of(m, i);
		}
		at++;
	}
	if (arrive_last(s, a.n_parts))
		conclude_list(b, a, r);
}

// ---- whole ----

struct whole_row {
	const float *x;
	float temperature; // 1 where x is cooled already
	int64_t n;

	template <class F>
	__device__ __forceinline__ void each(F f) const
	{
#pragma unroll 4
		for (int64_t i = threadIdx.x; i < n; i += WHOLE_THREADS)
			f(x[i] / temperature, (uint32_t)i);
	}
};

extern "C" __global__ void __launch_bounds__(WHOLE_THREADS)
	sample_cuda_whole(const __grid_constant__ struct sample_rows_args a)
{
	__shared__ struct filter_block<WHOLE_THREADS, 3> b;
	kernel_begin();
	int32_t r = (int32_t)blockIdx.x;
	struct sample_state *s = &a.scratch.state[r];
	if (s->mode != SAMPLE_WHOLE)
		return;
	copy_row(&b.row, &a.rows[r]);
	if (b.row.logits_row < 0)
		return;
	bool cooled = is_listed(b.row);
	struct whole_row row = { cooled ? a.scratch.work + r * a.n_vocab : a.logits + b.row.logits_row * a.n_vocab,
				 cooled ? 1.0f : (float)b.row.params.temperature, a.n_vocab };
	struct winner w = choose(b, row, a.n_vocab, s->max, -1);
	finish(a, b.row, r, (int32_t)w.id);
}
