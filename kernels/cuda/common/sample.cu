// sample.cu - chooses a token from each row of logits (kernels/ops/sample.h): one launch, several blocks a row.
//
// DESIGN. A block holds SAMPLE_PART logits of one row in registers from beginning to end: 8 warps, a piece of log_softmax each.
// The blocks of a row go through phases together. In each phase a block leaves what it found in memory and arrives; the last
// one to arrive sums up, decides on the next phase and gives the command for it; the others wait for it. So each phase costs
// one exchange through memory, and nobody looks twice at the same thing.
//
//   SCAN   penalties, bans, temperature; the largest logit; where nothing is filtered, the race too. A greedy or unfiltered row
//          ends here.
//   COUNT  radix select for top_k: how many keys have each value of the next 11 bits
//   WEIGH  the same for top_p, with the keys' probabilities
//   TIES   the same over the ids of keys that are equal to the last one that top_p keeps
//   RACE   the largest logit + noise among what is kept
//
// A radix select ends as soon as its limit is known: where the bin that holds it is kept whole, or has one key.
// Keys are the logits' bits, reordered so that they compare as unsigned numbers. Counts and masses are integers: sums do not
// depend on who comes first. The last block's sums, maxima with ids and states are all independent of which block it is.
//
// Blocks that wait need those they wait for to run. All blocks of a launch that fits the GPU run at once; in a larger launch each
// block takes its place in the order in which blocks start (take_tickets), so that what it waits for has started too.
#include "kernels/ops/sample_rows.h"

#include "base/rng.h"
#include "log_softmax.cuh"

#define THREADS 256
#define WARPS (THREADS / 32)
#define FOURS (SAMPLE_PART / THREADS / 4) // of logits that a thread holds
#define VALUES (4 * FOURS)
#define BLOCKS_A_PROCESSOR 3 // at least: what a phase needs of registers alone is not inlined
#define BINS_A_THREAD (SAMPLE_BINS / THREADS)
#define ID_BITS 22

static_assert(FOURS == SOFTMAX_FOURS, "a warp holds a piece");
static_assert(SAMPLE_MAX_PARTS <= THREADS && SAMPLE_MAX_PARTS * SAMPLE_PART <= 1 << ID_BITS, "one thread a part");
static_assert(SOFTMAX_STRANDS % WARPS == 0, "pieces are kept in order");

enum phase { SCAN, COUNT, WEIGH, TIES, RACE };

// Marks of a token id in the row's list.
#define IN_PROMPT 0x80000000u
#define BANNED 0x40000000u
#define OCCURRENCES 0x3fffffffu

// Probabilities relative to the largest, in units of 2^-40. In two halves of 20 bits, so that a block's sums of each
// stay in 32 bits, which shared memory adds at once.
#define MASS_ONE 0x1p40
#define MASS_BITS 20
#define MASS_MASK ((1u << MASS_BITS) - 1)
// Below it a probability rounds to 0.
#define MASS_NOTHING -28.5f

struct bins {
	uint32_t count[SAMPLE_BINS], low[SAMPLE_BINS], high[SAMPLE_BINS];
};

struct winner {
	double score;
	int32_t id; // -1: none
};

// What a block shares.
struct block {
	union {
		struct bins bins;
		uint32_t marks[SAMPLE_PART];
	};
	struct winner winners[WARPS];
	struct sample_row row;
	struct sample_command command;
	unsigned long long warp_mass[WARPS];
	uint32_t warp_count[WARPS];
	unsigned long long found_above_mass, found_mass, total_mass;
	uint32_t found_bin, found_above_count, found_count;
	uint32_t place;
	bool last;
};

// A thread's logits and whose they are.
struct mine {
	float4 x[FOURS];
	int32_t first; // id of x[0].x; x[i].x is id first + 128 i
};

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

static __device__ __noinline__ double exact_score(const struct sample_row &row, float logit, int32_t id)
{
	uint4 four = noise_words(row, (uint32_t)id / 4);
	uint32_t word = id % 4 == 0 ? four.x : id % 4 == 1 ? four.y : id % 4 == 2 ? four.z : four.w;
	double u = ((double)word + 0.5) * 0x1p-32;
	return (double)logit - log(-log(u));
}

// The score within SCORE_ERROR + 1e-6 of its size, in a few instructions: with d = 1 - u, -ln(u) is a series for small d.
#define SCORE_ERROR 1e-3f
static __device__ __forceinline__ float rough_score(float logit, uint32_t word)
{
	float d = ((float)~word + 0.5f) * 0x1p-32f;
	float e = d < 0.015625f ? d * fmaf(d, fmaf(d, 1.0f / 3, 0.5f), 1.0f) : -__logf(((float)word + 0.5f) * 0x1p-32f);
	return logit - __logf(e);
}

// ---- Reductions over a block ----

// The better of two: the larger score, the lower id on ties; -1 never wins.
static __device__ __forceinline__ struct winner better(struct winner a, struct winner b)
{
	bool second = b.id >= 0 && (a.id < 0 || b.score > a.score || (b.score == a.score && b.id < a.id));
	return second ? b : a;
}

static __device__ __forceinline__ struct winner warp_best(struct winner w)
{
#pragma unroll
	for (int apart = 16; apart; apart /= 2) {
		struct winner other = { __shfl_xor_sync(~0u, w.score, apart), __shfl_xor_sync(~0u, w.id, apart) };
		w = better(w, other);
	}
	return w;
}

// The block's best, in every thread.
static __device__ __forceinline__ struct winner block_best(struct block &b, struct winner w)
{
	w = warp_best(w);
	if (threadIdx.x % 32 == 0)
		b.winners[threadIdx.x / 32] = w;
	__syncthreads();
	w = b.winners[0];
	for (int i = 1; i < WARPS; i++)
		w = better(w, b.winners[i]);
	__syncthreads();
	return w;
}

// ---- Keys ----

static __device__ __forceinline__ uint32_t key_of(float x)
{
	uint32_t bits = __float_as_uint(x + 0.0f); // -0 and 0 are equal
	return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// Of an id, so that the lowest comes first.
static __device__ __forceinline__ uint32_t id_key(int32_t id)
{
	return (1u << ID_BITS) - 1 - (uint32_t)id;
}

static __device__ __forceinline__ bool is_kept(const struct sample_command &c, float x, int32_t id)
{
	uint32_t key = key_of(x);
	return x > -INFINITY && key >= c.floor && key >= c.min_floor && !(key == c.tie && id > c.last_id);
}

// ---- Phases ----

static __device__ __forceinline__ float value(const struct mine &m, int i)
{
	float4 v = m.x[i / 4];
	return i % 4 == 0 ? v.x : i % 4 == 1 ? v.y : i % 4 == 2 ? v.z : v.w;
}

static __device__ __forceinline__ int32_t id_of(const struct mine &m, int i)
{
	return m.first + 128 * (i / 4) + i % 4;
}

// Marks the ids of this part that the row's tokens and bans name. Ids of other parts, and such as do not exist, are passed over.
static __device__ void mark(struct block &b, const struct sample_rows_args &a, const struct sample_row &row, int32_t part)
{
	for (int i = threadIdx.x; i < SAMPLE_PART; i += THREADS)
		b.marks[i] = 0;
	__syncthreads();
	int32_t first = part * SAMPLE_PART;
	if (row.tokens_at >= 0) {
		const int32_t *tokens = a.tokens + row.tokens_at;
#pragma unroll 8
		for (int32_t i = threadIdx.x; i < row.n_known; i += THREADS) {
			uint32_t at = (uint32_t)(tokens[i] - first);
			if (at >= SAMPLE_PART)
				continue;
			if (i < row.n_prompt)
				atomicOr(&b.marks[at], IN_PROMPT);
			else
				atomicAdd(&b.marks[at], 1u);
		}
	}
	for (int32_t i = row.ban_begin + threadIdx.x; i < row.ban_end; i += THREADS) {
		uint32_t at = (uint32_t)(a.banned[i] - first);
		if (at < SAMPLE_PART)
			atomicOr(&b.marks[at], BANNED);
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
	return marks & BANNED ? -INFINITY : x;
}

// The winner among the thread's kept logits. Only scores that may be a warp's largest are computed exactly.
static __device__ __noinline__ struct winner race(const struct sample_row &row, const struct mine &m,
						     const struct sample_command *kept)
{
	float rough[VALUES], best = -INFINITY;
	struct winner w = { 0, -1 };
#pragma unroll
	for (int i = 0; i < VALUES; i += 4) {
		bool any = false;
#pragma unroll
		for (int j = i; j < i + 4; j++) {
			float x = value(m, j);
			rough[j] = (kept ? is_kept(*kept, x, id_of(m, j)) : x > -INFINITY) ? x : -INFINITY;
			any |= rough[j] > -INFINITY;
		}
		if (!any)
			continue;
		uint4 word = noise_words(row, (uint32_t)id_of(m, i) / 4);
		rough[i] = rough_score(rough[i], word.x);
		rough[i + 1] = rough_score(rough[i + 1], word.y);
		rough[i + 2] = rough_score(rough[i + 2], word.z);
		rough[i + 3] = rough_score(rough[i + 3], word.w);
		best = fmaxf(best, fmaxf(fmaxf(rough[i], rough[i + 1]), fmaxf(rough[i + 2], rough[i + 3])));
	}
	best = warp_max(best);
	float least = best - (SCORE_ERROR + 2e-6f * fabsf(best)) * 2;
#pragma unroll
	for (int i = 0; i < VALUES; i++)
		if (rough[i] > -INFINITY && rough[i] >= least) {
			struct winner other = { exact_score(row, value(m, i), id_of(m, i)), id_of(m, i) };
			w = better(w, other);
		}
	return w;
}

static __device__ __forceinline__ bool is_filtered(const struct sample_row &row, int64_t n_vocab)
{
	const struct sample_params &p = row.params;
	return !row.no_choice && p.temperature > 0 &&
	       ((p.top_k > 0 && p.top_k < n_vocab) || p.top_p < 1 || p.min_p > 0);
}

// Fills m.x with the logits after penalties, bans and temperature, and leaves the part's findings.
static __device__ __forceinline__ void scan(struct block &b, const struct sample_rows_args &a, const struct sample_row &row,
					    int32_t r, int32_t part, struct mine &m)
{
	const float *logits = a.logits + row.logits_row * a.n_vocab;
	int warp = threadIdx.x / 32;
	bool vector = a.n_vocab % 4 == 0 && by_four(a.logits, 4, a.n_vocab), bad = false;
	softmax_load(m.x, logits, a.n_vocab, part * WARPS + warp, vector);
	m.first = part * SAMPLE_PART + warp * SOFTMAX_PIECE + 4 * (threadIdx.x % 32);
	if (row.want_logprob) {
		struct softmax_state s = softmax_piece(m.x);
		float *piece = a.scratch.pieces + 2 * (((int64_t)r * a.n_parts + part) * WARPS + warp);
		if (threadIdx.x % 32 == 0) {
			piece[0] = s.max;
			piece[1] = s.sum;
		}
	}
	struct sample_part found = { -INFINITY, -1, -1, -INFINITY, 0 };
	if (!row.no_choice) {
#pragma unroll
		for (int i = 0; i < VALUES; i++)
			bad |= !(value(m, i) < INFINITY);
		found.bad = __syncthreads_or(bad);
		if ((row.tokens_at >= 0 && row.n_known > 0) || row.ban_begin < row.ban_end) {
			mark(b, a, row, part);
			const uint32_t *marks = b.marks + warp * SOFTMAX_PIECE + 4 * (threadIdx.x % 32);
#pragma unroll
			for (int i = 0; i < FOURS; i++) {
				m.x[i].x = penalised(row.params, m.x[i].x, marks[128 * i]);
				m.x[i].y = penalised(row.params, m.x[i].y, marks[128 * i + 1]);
				m.x[i].z = penalised(row.params, m.x[i].z, marks[128 * i + 2]);
				m.x[i].w = penalised(row.params, m.x[i].w, marks[128 * i + 3]);
			}
			__syncthreads(); // marks and bins share their place
		}
		struct winner top = { 0, -1 };
#pragma unroll
		for (int i = 0; i < VALUES; i++)
			if (value(m, i) > (top.id < 0 ? -INFINITY : (float)top.score)) {
				top.score = (double)value(m, i);
				top.id = id_of(m, i);
			}
		top = block_best(b, top);
		found.top = (float)top.score;
		found.top_id = top.id;
		if (row.params.temperature > 0) {
			float temperature = (float)row.params.temperature;
#pragma unroll
			for (int i = 0; i < FOURS; i++)
				m.x[i] = make_float4(m.x[i].x / temperature, m.x[i].y / temperature, m.x[i].z / temperature,
						     m.x[i].w / temperature);
			if (!is_filtered(row, a.n_vocab)) {
				struct winner w = block_best(b, race(row, m, NULL));
				found.score = w.score;
				found.score_id = w.id;
			}
		}
	}
	if (threadIdx.x == 0)
		a.scratch.parts[(int64_t)r * a.n_parts + part] = found;
}

static __device__ __forceinline__ uint32_t mass_low(uint64_t mass)
{
	return (uint32_t)mass & MASS_MASK;
}

// exp(x - max) in units of 2^-40; the largest one less, so that it too has 40 bits.
static __device__ __noinline__ uint64_t mass_of(float x, float max)
{
	if (!(x - max >= MASS_NOTHING))
		return 0;
	uint64_t mass = (uint64_t)__double2ull_rn(exp((double)x - (double)max) * MASS_ONE);
	return mass < (1ull << (2 * MASS_BITS)) ? mass : (1ull << (2 * MASS_BITS)) - 1;
}

// Adds this part's keys to the row's bins.
static __device__ __noinline__ void fill_bins(struct block &b, const struct sample_rows_args &a, int32_t r,
						 const struct sample_command &c, const struct mine &m)
{
	for (int i = threadIdx.x; i < SAMPLE_BINS; i += THREADS) {
		b.bins.count[i] = 0;
		b.bins.low[i] = 0;
		b.bins.high[i] = 0;
	}
	__syncthreads();
#pragma unroll
	for (int i = 0; i < VALUES; i++) {
		float x = value(m, i);
		int32_t id = id_of(m, i);
		uint32_t key = key_of(x);
		bool counts = c.phase == COUNT || (x > -INFINITY && key >= c.floor);
		if (c.phase == TIES) {
			counts = x > -INFINITY && key == c.tie;
			key = id_key(id);
		}
		// A shift by 32 is none: digits above the first are empty.
		if (id >= a.n_vocab || !counts || (uint32_t)((uint64_t)key >> (c.shift + c.bits)) != c.prefix)
			continue;
		uint32_t bin = key >> c.shift & ((1u << c.bits) - 1);
		atomicAdd(&b.bins.count[bin], 1u);
		uint64_t mass = c.phase == WEIGH ? mass_of(x, c.max) : 0;
		if (mass) {
			atomicAdd(&b.bins.low[bin], mass_low(mass));
			atomicAdd(&b.bins.high[bin], (uint32_t)(mass >> MASS_BITS));
		}
	}
	__syncthreads();
	for (int i = threadIdx.x; i < SAMPLE_BINS; i += THREADS) {
		if (!b.bins.count[i])
			continue;
		unsigned long long mass = ((unsigned long long)b.bins.high[i] << MASS_BITS) + b.bins.low[i];
		atomicAdd(&a.scratch.count[(int64_t)r * SAMPLE_BINS + i], b.bins.count[i]);
		if (mass)
			atomicAdd(&a.scratch.mass[(int64_t)r * SAMPLE_BINS + i], mass);
	}
}

// ---- What the last block of a phase does ----

// The row's findings in SCAN, or the winners of RACE.
static __device__ __forceinline__ struct winner best_part(struct block &b, const struct sample_part *parts, int32_t n,
							  bool of_race, bool *bad)
{
	struct winner w = { 0, -1 };
	int wrong = 0;
	if (threadIdx.x < n) {
		const struct sample_part *p = &parts[threadIdx.x];
		w.score = of_race ? __ldcg(&p->score) : (double)__ldcg(&p->top);
		w.id = of_race ? __ldcg(&p->score_id) : __ldcg(&p->top_id);
		wrong = __ldcg(&p->bad);
	}
	*bad = __syncthreads_or(wrong);
	return block_best(b, w);
}

// Writes the result and leaves the row's state as it was before.
static __device__ void finish(const struct sample_rows_args &a, const struct sample_row &row, int32_t r, int32_t id)
{
	struct sample_result result = { id, 0, 0, 0 };
	if (threadIdx.x >= 32)
		return;
	if (row.want_logprob) {
		const float *pieces = a.scratch.pieces + 2 * (int64_t)r * a.n_parts * WARPS;
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
		a.scratch.state[r].arrived = 0;
		a.scratch.state[r].stage = 0;
	}
}

static __device__ __forceinline__ void select_digit(struct sample_command &c, int32_t phase, int32_t shift, int32_t bits,
						    uint32_t prefix)
{
	c.phase = phase;
	c.shift = shift;
	c.bits = bits;
	c.prefix = prefix;
}

// From here on c is the block's copy of the command, and one thread runs what has no other parameters.
static __device__ void after_top_k(const struct sample_params &p, struct sample_command &c)
{
	c.phase = RACE;
	if (p.top_p >= 1)
		return;
	select_digit(c, WEIGH, 21, 11, 0);
	c.above_mass = 0;
	c.above_count = 0;
	c.wanted_mass = -1;
}

static __device__ void begin_filters(const struct sample_params &p, int64_t n_vocab, struct sample_command &c)
{
	c.floor = 0;
	c.min_floor = p.min_p > 0 ? key_of((float)((double)c.max + log(p.min_p))) : 0;
	c.tie = 0; // the key of no number
	c.last_id = 0;
	if (!(p.top_k > 0 && p.top_k < n_vocab)) {
		after_top_k(p, c);
		return;
	}
	select_digit(c, COUNT, 21, 11, 0);
	c.above_count = 0;
	c.wanted_count = p.top_k;
}

// Finds the bin, from the highest down, at which the count or the mass that is wanted is reached; clears the bins.
static __device__ void find_bin(struct block &b, const struct sample_rows_args &a, int32_t r)
{
	const struct sample_command &c = b.command;
	uint32_t *count = a.scratch.count + (int64_t)r * SAMPLE_BINS;
	unsigned long long *mass = a.scratch.mass + (int64_t)r * SAMPLE_BINS;
	int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
	uint32_t counts[BINS_A_THREAD], n = 0;
	unsigned long long masses[BINS_A_THREAD], sum = 0;
	int highest = SAMPLE_BINS - 1 - (int)threadIdx.x * BINS_A_THREAD;
#pragma unroll
	for (int i = 0; i < BINS_A_THREAD; i++) {
		counts[i] = __ldcg(&count[highest - i]);
		masses[i] = c.phase == WEIGH ? __ldcg(&mass[highest - i]) : 0;
	}
#pragma unroll
	for (int i = 0; i < BINS_A_THREAD; i++) {
		n += counts[i];
		sum += masses[i];
		if (counts[i])
			count[highest - i] = 0;
		if (masses[i])
			mass[highest - i] = 0;
	}
	uint32_t up_to_count = n;
	unsigned long long up_to_mass = sum;
#pragma unroll
	for (int apart = 1; apart < 32; apart *= 2) {
		uint32_t other_count = __shfl_up_sync(~0u, up_to_count, apart);
		unsigned long long other_mass = __shfl_up_sync(~0u, up_to_mass, apart);
		up_to_count += lane >= apart ? other_count : 0;
		up_to_mass += lane >= apart ? other_mass : 0;
	}
	if (lane == 31) {
		b.warp_count[warp] = up_to_count;
		b.warp_mass[warp] = up_to_mass;
	}
	__syncthreads();
	unsigned long long total = 0, above_mass = c.above_mass + up_to_mass - sum;
	int64_t above_count = c.above_count + up_to_count - n;
	for (int i = 0; i < WARPS; i++) {
		total += b.warp_mass[i];
		above_count += i < warp ? b.warp_count[i] : 0;
		above_mass += i < warp ? b.warp_mass[i] : 0;
	}
	// The first digit's total is that of everything that top_k left.
	double wanted_mass = c.wanted_mass < 0 ? b.row.params.top_p * (double)total : c.wanted_mass;
#pragma unroll
	for (int i = 0; i < BINS_A_THREAD; i++) {
		bool before, reached;
		if (c.phase == WEIGH) {
			before = above_count > 0 && (double)above_mass >= wanted_mass;
			reached = counts[i] && (double)(above_mass + masses[i]) >= wanted_mass;
		} else {
			before = above_count >= c.wanted_count;
			reached = above_count + counts[i] >= c.wanted_count;
		}
		if (reached && !before) {
			b.found_bin = highest - i;
			b.found_count = counts[i];
			b.found_mass = masses[i];
			b.found_above_count = (uint32_t)above_count;
			b.found_above_mass = above_mass;
		}
		above_count += counts[i];
		above_mass += masses[i];
	}
	b.total_mass = total;
	__syncthreads();
}

// The next command after COUNT, WEIGH or TIES, from the bin that find_bin found.
static __device__ void next_digit(const struct block &b, struct sample_command &c)
{
	const struct sample_params &p = b.row.params;
	uint32_t prefix = c.prefix << c.bits | b.found_bin;
	uint32_t limit = prefix << c.shift;
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
		after_top_k(p, c);
		return;
	}
	if (c.phase == TIES) {
		c.last_id = (int32_t)id_key((int32_t)limit);
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

// Takes the row a phase further. True where it is done.
static __device__ __noinline__ bool lead(struct block &b, const struct sample_rows_args &a, int32_t r)
{
	const struct sample_row &row = b.row;
	const struct sample_part *parts = a.scratch.parts + (int64_t)r * a.n_parts;
	struct sample_command &c = b.command;
	bool bad;
	if (c.phase == RACE) {
		int32_t id = best_part(b, parts, a.n_parts, true, &bad).id;
		finish(a, row, r, c.decided == SAMPLE_OPEN ? id : c.decided);
		return true;
	}
	if (c.phase != SCAN) {
		find_bin(b, a, r);
		if (threadIdx.x == 0)
			next_digit(b, c);
		return false;
	}
	struct winner top = best_part(b, parts, a.n_parts, false, &bad);
	float max = (float)top.score / (float)row.params.temperature;
	int32_t decided = SAMPLE_OPEN;
	if (row.no_choice || bad || top.id < 0 || isinf(top.score))
		decided = -1;
	else if (row.params.temperature <= 0 || !isfinite(max)) // a temperature so small that logits overflow is greedy
		decided = top.id;
	if (!is_filtered(row, a.n_vocab)) {
		int32_t id = best_part(b, parts, a.n_parts, true, &bad).id;
		finish(a, row, r, decided == SAMPLE_OPEN ? id : decided);
		return true;
	}
	if (threadIdx.x == 0) {
		c.decided = decided;
		c.max = max;
		c.phase = RACE; // where the row is decided, so that all blocks come to an end in one way
		if (decided == SAMPLE_OPEN)
			begin_filters(row.params, a.n_vocab, c);
	}
	return false;
}

// ---- The exchange ----

#define COMMAND_WORDS (sizeof(struct sample_command) / 4)
static_assert(COMMAND_WORDS <= THREADS && sizeof(struct sample_row) / 4 <= THREADS, "one thread a word");

// True in the last block to arrive, which then sees what all others wrote.
static __device__ __forceinline__ bool arrive(struct block &b, struct sample_state *s, int32_t n_parts)
{
	__syncthreads();
	if (threadIdx.x == 0) {
		__threadfence();
		b.last = atomicAdd(&s->arrived, 1u) == (uint32_t)n_parts - 1;
		__threadfence();
	}
	__syncthreads();
	return b.last;
}

static __device__ __forceinline__ void give(struct block &b, struct sample_state *s, uint32_t stage)
{
	__syncthreads();
	if (threadIdx.x < COMMAND_WORDS)
		((uint32_t *)&s->command)[threadIdx.x] = ((const uint32_t *)&b.command)[threadIdx.x];
	__syncthreads();
	if (threadIdx.x == 0) {
		s->arrived = 0;
		__threadfence();
		asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(&s->stage), "r"(stage) : "memory");
	}
}

static __device__ __forceinline__ void await(struct block &b, struct sample_state *s, uint32_t stage)
{
	if (threadIdx.x == 0) {
		uint32_t now;
		do
			asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(&s->stage) : "memory");
		while (now != stage);
	}
	__syncthreads();
	if (threadIdx.x < COMMAND_WORDS)
		((uint32_t *)&b.command)[threadIdx.x] = __ldcg(&((const uint32_t *)&s->command)[threadIdx.x]);
	__syncthreads();
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS_A_PROCESSOR) sample_cuda(const __grid_constant__ struct sample_rows_args a)
{
	__shared__ struct block b;
	struct mine m;
	kernel_begin();
	uint32_t place = blockIdx.x;
	if (a.take_tickets) {
		if (threadIdx.x == 0) {
			b.place = atomicAdd(a.scratch.ticket, 1u);
			if (b.place == gridDim.x - 1) // the last of this launch: the next one begins anew
				*a.scratch.ticket = 0;
		}
		__syncthreads();
		place = b.place;
	}
	int32_t r = (int32_t)(place / (uint32_t)a.n_parts), part = (int32_t)(place % (uint32_t)a.n_parts);
	if (threadIdx.x < sizeof(struct sample_row) / 4)
		((uint32_t *)&b.row)[threadIdx.x] = ((const uint32_t *)&a.rows[r])[threadIdx.x];
	if (threadIdx.x == 0)
		b.command.phase = SCAN;
	__syncthreads();
	if (b.row.logits_row < 0)
		return;
	bool filtered = is_filtered(b.row, a.n_vocab);
	struct sample_state *s = &a.scratch.state[r];
	for (uint32_t stage = 1;; stage++) {
		int32_t phase = b.command.phase;
		if (phase == SCAN) {
			scan(b, a, b.row, r, part, m);
		} else if (phase == RACE) {
			struct winner w = { 0, -1 };
			if (b.command.decided == SAMPLE_OPEN)
				w = block_best(b, race(b.row, m, &b.command));
			if (threadIdx.x == 0) {
				a.scratch.parts[(int64_t)r * a.n_parts + part].score = w.score;
				a.scratch.parts[(int64_t)r * a.n_parts + part].score_id = w.id;
			}
		} else {
			fill_bins(b, a, r, b.command, m);
		}
		if (arrive(b, s, a.n_parts)) {
			if (lead(b, a, r))
				return;
			give(b, s, stage);
		} else {
			if (phase == RACE || !filtered)
				return;
			await(b, s, stage);
		}
	}
}
