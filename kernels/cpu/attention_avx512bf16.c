/* attention over bf16 and int8 caches by vdpbf16ps.
 *
 * Each of the two products of a tile (attention_walk.h) takes operands in pairs:
 *   keys    transposed into `keys` [D / 2][TILE]: a lane is a key, a pair two successive dimensions
 *   scores  s[row][key]: one chain of vdpbf16ps over the pairs of dimensions, ascending, q as it is
 *   softmax row by row in units of log2: new maximum, p = 2^(x - max), rounded to bf16; the sum, in one tree over the tile's
 *           positions, is of the rounded p, so that what is summed is what is multiplied
 *   values  interleaved into `values` [TILE / 2][Dv]: a lane is a dimension, a pair two successive keys
 *   o[row][dim]: one chain of vdpbf16ps over the pairs of keys that the row sees, ascending
 * A pair of keys begins at an even position, so that where a key falls depends on its position alone. Of a pair whose
 * one key a row does not see, that half is zeros on both sides: not even a NaN in it is noticed. The tile's pairs are
 * packed once for all rows; rows go in groups whose scores stay in the first cache between the three steps. Few rows, as
 * decoding has them, multiply pairs as they are made, in the same chains: storing them would cost more than the products.
 *
 * int8 becomes bf16 exactly when it is packed. A key's scale multiplies its scores; a value's scale multiplies its weights before
 * they are rounded, and the sum is of the weights without it, in float32.
 *
 * vdpbf16ps takes denormal inputs as zero, flushes denormal results and rounds to nearest even, whatever MXCSR says.
 */
#include "avx512.h"
#include "attention_walk.h"
#include "math_avx512.h"

#define LANES 16
#define TILE_VECTORS (TILE / LANES)
#define TILE_PAIRS (TILE / 2)
/* The micro-kernels' register blocks: rows times vectors of keys (or dimensions). */
#define BLOCK_ROWS 6
#define BLOCK_VECTORS 4
/* Up to so many rows multiply pairs as they are made. */
#define FEW_ROWS 8
/* Vectors of keys at a time then: one's products hide the other's latency. */
#define FEW_VECTORS 2
/* Rows whose scores are computed before their values: [ROWS, TILE] scores beside a tile's keys and values. */
#define GROUP_ROWS 32
/* Rows whose softmax is computed together, where all see the whole tile. */
#define SOFTMAX_ROWS 16
/* Dimensions of a run of values: of bf16, its two vectors hold the lower and the upper half of each 128 bits; of int8, the
 * first and the last 16. */
#define UNIT 32

#define LOG2E 0x1.715476p+0f
#define LN2 0x1.62e43p-1f

/* Keys and values that will be read next, asked into L2 a few rows a turn. Where few rows are computed, every loop of a tile
 * asks, keys beside keys and values beside values: memory must not rest while a core computes. */
struct asking {
	const unsigned char *const *row, *const *end; /* of keys, then of values */
	const unsigned char *const *values, *const *values_end;
	int64_t bytes, values_bytes, a_turn;
};

INLINE void ask(struct asking *s)
{
	for (int64_t asked = 0; asked < s->a_turn; asked += s->bytes) {
		if (s->row == s->end) {
			s->row = s->values;
			s->end = s->values = s->values_end;
			s->bytes = s->values_bytes;
			if (s->row == s->end)
				return;
		}
		for (int64_t at = 0; at < s->bytes; at += 64)
			_mm_prefetch((const char *)*s->row + at, _MM_HINT_T1);
		s->row++;
	}
}

/* Where rows are few, as many bytes a turn as the turn takes of the tile at hand. */
static struct asking ask_for(const struct job *j, const struct tile *next)
{
	return (struct asking){ next->k + next->begin, next->k + next->end, next->v + next->begin, next->v + next->end,
				j->a->head_dim * (int64_t)j->type_bytes, j->a->v_head_dim * (int64_t)j->type_bytes,
				j->n_rows <= FEW_ROWS ? 16 * LANES : 1 };
}

/* ---- Scratch ---- */

static int64_t padded(int64_t d)
{
	return (d + UNIT - 1) / UNIT * UNIT;
}

static int64_t query_bytes(const struct attention_args *a)
{
	return padded(a->head_dim) * (int64_t)sizeof(uint16_t);
}

/* [n_rows][D]; of few rows the same pair of all of them side by side: [D / 2][n_rows] pairs. */
static void take_queries(const struct job *j)
{
	const struct attention_args *a = j->a;
	int64_t d = a->head_dim, row = j->g * d;
	for (int64_t i = 0; i < j->n_tokens; i++) {
		const uint16_t *from = (const uint16_t *)a->q + (j->first_token + i) * a->q_stride + j->kv_head * row;
		if (j->n_rows > FEW_ROWS) {
			memcpy((uint16_t *)j->q + i * row, from, (size_t)row * sizeof *from);
			continue;
		}
		for (int64_t r = 0; r < j->g; r++)
			for (int64_t pair = 0; pair < d / 2; pair++)
				memcpy((uint32_t *)j->q + pair * j->n_rows + i * j->g + r, from + r * d + 2 * pair, sizeof(uint32_t));
	}
}

static void lay_out(struct job *j, float *scratch)
{
	j->s = scratch;
	j->keys = j->s + (j->n_rows < GROUP_ROWS ? j->n_rows : GROUP_ROWS) * TILE;
	j->values = (uint32_t *)j->keys + padded(j->a->head_dim) / 2 * TILE;
}

/* ---- Packing ---- */

INLINE __m128i load_bytes(const unsigned char *p, const bool whole)
{
	return whole ? _mm_loadu_si128((const void *)p) : _mm_loadl_epi64((const void *)p);
}

/* Takes 16 bytes (8 where not `whole`, and zeros) at `offset` of 16 rows; gives 4 vectors: the first 32 bits of all rows, the
 * second, ... */
INLINE void transpose(const unsigned char *const *rows, int64_t offset, const bool whole, __m512i out[4])
{
	__m512i r[4];
	for (int i = 0; i < 4; i++) { /* row i + 4 * j in part j */
		r[i] = _mm512_castsi128_si512(load_bytes(rows[i] + offset, whole));
		r[i] = _mm512_mask_broadcast_i32x4(r[i], 0x00f0, load_bytes(rows[i + 4] + offset, whole));
		r[i] = _mm512_mask_broadcast_i32x4(r[i], 0x0f00, load_bytes(rows[i + 8] + offset, whole));
		r[i] = _mm512_mask_broadcast_i32x4(r[i], 0xf000, load_bytes(rows[i + 12] + offset, whole));
	}
	__m512i a = _mm512_unpacklo_epi32(r[0], r[1]), b = _mm512_unpackhi_epi32(r[0], r[1]);
	__m512i c = _mm512_unpacklo_epi32(r[2], r[3]), d = _mm512_unpackhi_epi32(r[2], r[3]);
	out[0] = _mm512_unpacklo_epi64(a, c);
	out[1] = _mm512_unpackhi_epi64(a, c);
	out[2] = _mm512_unpacklo_epi64(b, d);
	out[3] = _mm512_unpackhi_epi64(b, d);
}

/* Pairs of bf16 from 32-bit integers that bf16 holds exactly. */
INLINE __m512i to_pairs(__m512i even, __m512i odd)
{
	__m512i low = _mm512_srli_epi32(_mm512_castps_si512(_mm512_cvtepi32_ps(even)), 16);
	__m512i high = _mm512_castps_si512(_mm512_cvtepi32_ps(odd));
	return _mm512_or_si512(low, _mm512_and_si512(high, _mm512_set1_epi32((int)0xffff0000u)));
}

/* The dimensions of an int8 cache that lie in a byte of every 32 bits. */
INLINE __m512i byte_of(__m512i x, const int byte)
{
	return _mm512_srai_epi32(_mm512_slli_epi32(x, (unsigned)(24 - 8 * byte)), 24);
}

/* The pairs of dimensions in 32 bits of an int8 cache: the first and the second. */
INLINE void pairs_of_bytes(__m512i x, __m512i pairs[2])
{
	pairs[0] = to_pairs(byte_of(x, 0), byte_of(x, 1));
	pairs[1] = to_pairs(byte_of(x, 2), byte_of(x, 3));
}

/* Vectors v_begin..v_end of the tile's keys. */
INLINE void pack_keys(const bool int8, const struct job *j, const struct tile *t, struct asking *next, int v_begin, int v_end)
{
	int64_t bytes = j->a->head_dim * (int8 ? 1 : 2);
	for (int v = v_begin; v < v_end; v++) {
		uint32_t *out = (uint32_t *)j->keys + v * LANES;
		for (int64_t at = 0; at < bytes; at += 16) {
			__m512i x[4];
			bool whole = !int8 || bytes - at >= 16;
			if (whole)
				transpose(t->k + v * LANES, at, true, x);
			else
				transpose(t->k + v * LANES, at, false, x);
			ask(next);
			for (int i = 0; i < (whole ? 4 : 2); i++) {
				__m512i pairs[2] = { x[i] };
				if (int8)
					pairs_of_bytes(x[i], pairs);
				for (int p = 0; p < (int8 ? 2 : 1); p++, out += TILE)
					_mm512_storeu_si512(out, pairs[p]);
			}
		}
	}
}

/* Pair p of the tile's values, dimensions dim..dim + UNIT: two vectors. */
INLINE void values_pairs(const bool int8, const struct tile *t, int p, int64_t dim, int64_t dv, __m512i out[2])
{
	if (int8) {
		for (int i = 0; i < 2; i++, dim += LANES) {
			__mmask16 live = dim < dv ? avx512_mask16(dv - dim) : 0;
			__m128i a = _mm_maskz_loadu_epi8(live, t->v[2 * p] + dim), b = _mm_maskz_loadu_epi8(live, t->v[2 * p + 1] + dim);
			out[i] = to_pairs(_mm512_cvtepi8_epi32(a), _mm512_cvtepi8_epi32(b));
		}
	} else {
		__mmask32 live = avx512_mask32(dv - dim);
		__m512i a = _mm512_maskz_loadu_epi16(live, (const uint16_t *)t->v[2 * p] + dim);
		__m512i b = _mm512_maskz_loadu_epi16(live, (const uint16_t *)t->v[2 * p + 1] + dim);
		out[0] = _mm512_unpacklo_epi16(a, b);
		out[1] = _mm512_unpackhi_epi16(a, b);
	}
}

/* Pairs of keys begin..end. */
INLINE void pack_values(const bool int8, const struct job *j, const struct tile *t, struct asking *next, int begin, int end)
{
	int64_t dv = j->a->v_head_dim;
	uint32_t *out = (uint32_t *)j->values + begin * padded(dv);
	for (int p = begin; p < end; p++) {
		for (int64_t dim = 0; dim < dv; dim += UNIT, out += UNIT) {
			__m512i pairs[2];
			values_pairs(int8, t, p, dim, dv, pairs);
			_mm512_storeu_si512(out, pairs[0]);
			_mm512_storeu_si512(out + LANES, pairs[1]);
		}
		ask(next);
	}
}

/* ---- Scores ---- */

INLINE __m512 multiply(__m512 sum, __m512i pairs, uint32_t pair)
{
	return _mm512_dpbf16_ps(sum, (__m512bh)pairs, (__m512bh)_mm512_set1_epi32((int)pair));
}

/* A pair of a row's values, as they lie in memory. */
INLINE uint32_t pair_at(const uint16_t *p)
{
	uint32_t pair;
	memcpy(&pair, p, sizeof pair);
	return pair;
}

INLINE void scores_block(const int rows, const int nv, const struct job *j, const uint16_t *q, int v, float *s)
{
	const uint32_t *keys = (const uint32_t *)j->keys + v * LANES;
	int64_t d = j->a->head_dim;
	__m512 sum[BLOCK_ROWS][BLOCK_VECTORS];
	for (int r = 0; r < rows; r++)
		for (int i = 0; i < nv; i++)
			sum[r][i] = _mm512_setzero_ps();
	for (int64_t n = 0; n < d; n += 2, keys += TILE) {
		__m512i k[BLOCK_VECTORS];
		for (int i = 0; i < nv; i++)
			k[i] = _mm512_loadu_si512(keys + i * LANES);
		for (int r = 0; r < rows; r++)
			for (int i = 0; i < nv; i++)
				sum[r][i] = multiply(sum[r][i], k[i], pair_at(q + r * d + n));
	}
	for (int r = 0; r < rows; r++)
		for (int i = 0; i < nv; i++)
			_mm512_storeu_ps(s + r * TILE + (v + i) * LANES, sum[r][i]);
}

/* Scores of `rows` rows against vectors v_begin..v_end of the tile. */
INLINE void scores_rows(const int rows, const struct job *j, const uint16_t *q, int v_begin, int v_end, float *s)
{
	int v = v_begin;
	for (; v + BLOCK_VECTORS <= v_end; v += BLOCK_VECTORS)
		scores_block(rows, BLOCK_VECTORS, j, q, v, s);
	for (; v < v_end; v++)
		scores_block(rows, 1, j, q, v, s);
}

static void scores_any(int rows, const struct job *j, const uint16_t *q, int v_begin, int v_end, float *s)
{
	switch (rows) {
	case 1:
		scores_rows(1, j, q, v_begin, v_end, s);
		break;
	case 2:
		scores_rows(2, j, q, v_begin, v_end, s);
		break;
	case 3:
		scores_rows(3, j, q, v_begin, v_end, s);
		break;
	case 4:
		scores_rows(4, j, q, v_begin, v_end, s);
		break;
	case 5:
		scores_rows(5, j, q, v_begin, v_end, s);
		break;
	default:
		scores_rows(6, j, q, v_begin, v_end, s);
	}
}

/* The size of the next block of at most BLOCK_ROWS when `left` rows are cut into nearly equal blocks: 8 gives 4 and 4,
 * which wastes less than 6 and 2. */
INLINE int64_t block_size(int64_t left)
{
	int64_t n_blocks = (left + BLOCK_ROWS - 1) / BLOCK_ROWS;
	return (left + n_blocks - 1) / n_blocks;
}

/* Of rows r..r + n. */
static void scores(const struct job *j, int64_t r, int64_t n, int v_begin, int v_end)
{
	const uint16_t *q = (const uint16_t *)j->q + r * j->a->head_dim;
	for (int64_t done = 0, rows; done < n; done += rows) {
		rows = block_size(n - done);
		scores_any((int)rows, j, q + done * j->a->head_dim, v_begin, v_end, j->s + done * TILE);
	}
}

/* ---- Softmax ---- */

/* 2^x for x <= 0, within 1.2 ulp; 0 below -160. */
INLINE __m512 exp2_of(__m512 x)
{
	/* max gives its second operand where one is NaN. */
	x = _mm512_max_ps(_mm512_set1_ps(-160.0f), x);
	__m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
	__m512 r = _mm512_sub_ps(x, n);
	__m512 p = _mm512_fmadd_ps(_mm512_set1_ps(EXP2_4), r, _mm512_set1_ps(EXP2_3));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP2_2));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP2_1));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP2_0));
	return _mm512_scalef_ps(_mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f)), n);
}

static float exp2_one(float x)
{
	return _mm512_cvtss_f32(exp2_of(_mm512_set1_ps(x)));
}

INLINE float sum_of(const __m512 *x)
{
	return avx512_sum_lanes(_mm512_add_ps(_mm512_add_ps(x[0], x[1]), _mm512_add_ps(x[2], x[3])));
}

/* Lanes of vector i of a tile that lie in begin..end. */
INLINE __mmask16 in_sight(int i, int begin, int end)
{
	int b = begin - i * LANES, e = end - i * LANES;
	uint32_t below_end = e <= 0 ? 0 : e >= LANES ? 0xffff : (1u << e) - 1;
	uint32_t below_begin = b <= 0 ? 0 : b >= LANES ? 0xffff : (1u << b) - 1;
	return (__mmask16)(below_end & ~below_begin);
}

/* Turns a row's scores into weights relative to its new maximum, as bf16 in the same place; only keys begin..end of the tile
 * count, the others' weights are 0. */
static void softmax_row(const struct job *j, const struct tile *t, float *s, float *state, int begin, int end)
{
	float softcap = j->a->softcap;
	bool scaled = j->a->kv_type == DTYPE_I8;
	uint16_t *weight = (uint16_t *)s;
	__m512 x[TILE_VECTORS], low = _mm512_set1_ps(-INFINITY);
	__mmask16 seen[TILE_VECTORS];
	for (int i = 0; i < TILE_VECTORS; i++) {
		seen[i] = in_sight(i, begin, end);
		x[i] = _mm512_loadu_ps(s + i * LANES);
		if (scaled)
			x[i] = _mm512_mul_ps(x[i], _mm512_loadu_ps(t->k_scale + i * LANES));
		if (softcap > 0) {
			x[i] = _mm512_div_ps(_mm512_mul_ps(x[i], _mm512_set1_ps(j->a->scale)), _mm512_set1_ps(softcap));
			x[i] = _mm512_mul_ps(avx512_tanh(x[i]), _mm512_set1_ps(softcap * LOG2E));
		} else {
			x[i] = _mm512_mul_ps(x[i], _mm512_set1_ps(j->a->scale * LOG2E));
		}
		x[i] = _mm512_mask_mov_ps(low, seen[i], x[i]);
	}
	float m = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_max_ps(x[0], x[1]), _mm512_max_ps(x[2], x[3])));
	m = m > state[0] ? m : state[0];
	if (m == -INFINITY) {
		/* Nothing but -inf, or a NaN that the maximum has passed over and that must not be lost. */
		float sum = sum_of(x);
		memset(s, 0, TILE * sizeof *weight);
		state[STATE_RESCALE] = 1;
		if (isnan(sum))
			state[0] = state[1] = state[STATE_RESCALE] = sum;
		return;
	}
	float rescale = state[0] == m ? 1 : exp2_one(state[0] - m);
	for (int i = 0; i < TILE_VECTORS; i++) {
		x[i] = exp2_of(_mm512_sub_ps(x[i], _mm512_set1_ps(m)));
		__m512 weighed = scaled ? _mm512_mul_ps(x[i], _mm512_loadu_ps(t->v_scale + i * LANES)) : x[i];
		__m256i p = _mm256_maskz_mov_epi16(seen[i], (__m256i)_mm512_cvtneps_pbh(weighed));
		_mm256_storeu_si256((__m256i *)(weight + i * LANES), p);
		if (!scaled)
			x[i] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(p), 16));
	}
	state[0] = m;
	state[1] = state[1] * rescale + sum_of(x);
	state[STATE_RESCALE] = rescale;
}

/* From 16 vectors, one a row, the 16 rows' sums, each by the tree of avx512_sum_lanes, or their maxima. */
INLINE __m512 fold(const bool sums, __m512 a, __m512 b)
{
	return sums ? _mm512_add_ps(a, b) : _mm512_max_ps(a, b);
}

INLINE __m512 fold_rows(const bool sums, const __m512 v[SOFTMAX_ROWS])
{
	const __m512i place = _mm512_setr_epi32(0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15);
	__m512 w[8], u[4], y[2];
	for (int r = 0; r < 8; r++)
		w[r] = fold(sums, _mm512_shuffle_f32x4(v[r], v[r + 8], 0x44), _mm512_shuffle_f32x4(v[r], v[r + 8], 0xee));
	for (int r = 0; r < 4; r++)
		u[r] = fold(sums, _mm512_shuffle_f32x4(w[r], w[r + 4], 0x88), _mm512_shuffle_f32x4(w[r], w[r + 4], 0xdd));
	for (int r = 0; r < 2; r++) {
		__m512d a = _mm512_castps_pd(u[r]), b = _mm512_castps_pd(u[r + 2]);
		y[r] = fold(sums, _mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
	}
	__m512 z = fold(sums, _mm512_shuffle_ps(y[0], y[1], 0x88), _mm512_shuffle_ps(y[0], y[1], 0xdd));
	return _mm512_permutexvar_ps(place, z);
}

/* softmax_row of up to 16 rows that see the whole tile, without a softcap: the same operations on each, with the folds over lanes
 * and the rescaling done for all at once. */
INLINE void softmax_rows(const int rows, const struct job *j, const struct tile *t, float *s, float *states)
{
	const int64_t stride = j->state_floats;
	const __m512 factor = _mm512_set1_ps(j->a->scale * LOG2E);
	bool scaled = j->a->kv_type == DTYPE_I8;
	__m512 row[SOFTMAX_ROWS];
	float old_max[SOFTMAX_ROWS] = { 0 }, new_max[SOFTMAX_ROWS], old_sum[SOFTMAX_ROWS] = { 0 }, sum[SOFTMAX_ROWS];
	float rescale[SOFTMAX_ROWS];
	for (int r = rows; r < SOFTMAX_ROWS; r++)
		row[r] = _mm512_setzero_ps();
	for (int r = 0; r < rows; r++) {
		__m512 x[TILE_VECTORS];
		for (int i = 0; i < TILE_VECTORS; i++) {
			x[i] = _mm512_loadu_ps(s + r * TILE + i * LANES);
			x[i] = _mm512_mul_ps(scaled ? _mm512_mul_ps(x[i], _mm512_loadu_ps(t->k_scale + i * LANES)) : x[i], factor);
		}
		row[r] = _mm512_max_ps(_mm512_max_ps(x[0], x[1]), _mm512_max_ps(x[2], x[3]));
		old_max[r] = states[r * stride];
		old_sum[r] = states[r * stride + 1];
	}
	__m512 before = _mm512_loadu_ps(old_max), m = _mm512_max_ps(fold_rows(false, row), before);
	if (_mm512_cmp_ps_mask(m, _mm512_set1_ps(-INFINITY), _CMP_NGT_UQ)) {
		for (int r = 0; r < rows; r++)
			softmax_row(j, t, s + r * TILE, states + r * stride, 0, TILE);
		return;
	}
	_mm512_storeu_ps(new_max, m);
	for (int r = 0; r < rows; r++) {
		uint16_t *weight = (uint16_t *)(s + r * TILE);
		__m512 x[TILE_VECTORS];
		for (int i = 0; i < TILE_VECTORS; i++) {
			x[i] = _mm512_loadu_ps(s + r * TILE + i * LANES);
			x[i] = _mm512_mul_ps(scaled ? _mm512_mul_ps(x[i], _mm512_loadu_ps(t->k_scale + i * LANES)) : x[i], factor);
			x[i] = exp2_of(_mm512_sub_ps(x[i], _mm512_set1_ps(new_max[r])));
		}
		for (int i = 0; i < TILE_VECTORS; i++) {
			__m512 weighed = scaled ? _mm512_mul_ps(x[i], _mm512_loadu_ps(t->v_scale + i * LANES)) : x[i];
			__m256i p = (__m256i)_mm512_cvtneps_pbh(weighed);
			_mm256_storeu_si256((__m256i *)(weight + i * LANES), p);
			if (!scaled)
				x[i] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(p), 16));
		}
		row[r] = _mm512_add_ps(_mm512_add_ps(x[0], x[1]), _mm512_add_ps(x[2], x[3]));
	}
	__m512 by = exp2_of(_mm512_sub_ps(before, m));
	_mm512_storeu_ps(rescale, by);
	_mm512_storeu_ps(sum, _mm512_add_ps(_mm512_mul_ps(_mm512_loadu_ps(old_sum), by), fold_rows(true, row)));
	for (int r = 0; r < rows; r++) {
		states[r * stride] = new_max[r];
		states[r * stride + 1] = sum[r];
		states[r * stride + STATE_RESCALE] = rescale[r];
	}
}

/* ---- Values ---- */

/* nv vectors of dimensions from `dim` on, for `rows` rows and keys begin..end; t: the values are taken from there, not packed. */
INLINE void values_block(const int rows, const int nv, const bool int8, const struct job *j, const struct tile *t,
			 struct asking *next, int64_t dim, int begin, int end, const float *s, float *states)
{
	__m512 sum[FEW_ROWS][BLOCK_VECTORS];
	float *o = states + ATTENTION_STATE_O + dim;
	int64_t stride = j->state_floats, width = padded(j->a->v_head_dim);
	const uint32_t *values = (const uint32_t *)j->values + dim;
	for (int r = 0; r < rows; r++)
		for (int i = 0; i < nv; i++)
			sum[r][i] = _mm512_mul_ps(_mm512_loadu_ps(o + r * stride + i * LANES),
						  _mm512_set1_ps(states[r * stride + STATE_RESCALE]));
	/* At most the first and the last pair are seen in half. */
	for (int p = begin / 2; p < (end + 1) / 2; p++) {
		uint32_t half = (2 * p >= begin ? 0xffffu : 0) | (2 * p + 1 < end ? 0xffff0000u : 0);
		__m512i v[BLOCK_VECTORS];
		for (int i = 0; i < nv; i += 2) {
			if (t) {
				values_pairs(int8, t, p, dim + i * LANES, j->a->v_head_dim, v + i);
			} else {
				v[i] = _mm512_loadu_si512(values + p * width + i * LANES);
				v[i + 1] = _mm512_loadu_si512(values + p * width + (i + 1) * LANES);
			}
		}
		if (t)
			ask(next);
		if (half != 0xffffffffu)
			for (int i = 0; i < nv; i++)
				v[i] = _mm512_and_si512(v[i], _mm512_set1_epi32((int)half));
		for (int r = 0; r < rows; r++)
			for (int i = 0; i < nv; i++)
				sum[r][i] = multiply(sum[r][i], v[i], pair_at((const uint16_t *)(s + r * TILE) + 2 * p));
	}
	for (int r = 0; r < rows; r++)
		for (int i = 0; i < nv; i++)
			_mm512_storeu_ps(o + r * stride + i * LANES, sum[r][i]);
}

INLINE void values_rows(const int rows, const struct job *j, int begin, int end, const float *s, float *states)
{
	int64_t dim = 0, dv = padded(j->a->v_head_dim);
	for (; dim + BLOCK_VECTORS * LANES <= dv; dim += BLOCK_VECTORS * LANES)
		values_block(rows, BLOCK_VECTORS, false, j, NULL, NULL, dim, begin, end, s, states);
	for (; dim < dv; dim += UNIT)
		values_block(rows, 2, false, j, NULL, NULL, dim, begin, end, s, states);
}

static void values_any(int rows, const struct job *j, int begin, int end, const float *s, float *states)
{
	switch (rows) {
	case 1:
		values_rows(1, j, begin, end, s, states);
		break;
	case 2:
		values_rows(2, j, begin, end, s, states);
		break;
	case 3:
		values_rows(3, j, begin, end, s, states);
		break;
	case 4:
		values_rows(4, j, begin, end, s, states);
		break;
	case 5:
		values_rows(5, j, begin, end, s, states);
		break;
	default:
		values_rows(6, j, begin, end, s, states);
	}
}

/* Adds keys begin..end, which all of rows r..r + n see, to their states; s: of row r. */
static void values(const struct job *j, int64_t r, int64_t n, const float *s, int begin, int end)
{
	for (int64_t done = 0, rows; done < n; done += rows) {
		rows = block_size(n - done);
		values_any((int)rows, j, begin, end, s + done * TILE, j->part + (r + done) * j->state_floats);
	}
}

/* ---- Few rows ---- */

/* Adds 16 bytes of a vector of keys (8 where not `whole`) to the scores of `rows` rows, whose queries lie pair by pair
 * (take_queries). */
INLINE void add_scores(const int rows, const bool int8, const bool whole, const unsigned char *const *keys, int64_t at,
		       const uint32_t *q, __m512 sum[FEW_ROWS])
{
	__m512i x[4];
	transpose(keys, at, whole, x);
	for (int i = 0; i < (whole ? 4 : 2); i++) {
		__m512i pairs[2] = { x[i] };
		if (int8)
			pairs_of_bytes(x[i], pairs);
		for (int p = 0; p < (int8 ? 2 : 1); p++, q += rows)
			for (int r = 0; r < rows; r++)
				sum[r] = multiply(sum[r], pairs[p], q[r]);
	}
}

/* Scores of all `rows` rows and nv vectors of keys from v on. */
INLINE void few_scores_block(const int rows, const int nv, const bool int8, const struct job *j, const struct tile *t,
			     struct asking *next, int v)
{
	const unsigned char *const *keys = t->k + v * LANES;
	const int64_t bytes = j->a->head_dim * (int8 ? 1 : 2), pairs = int8 ? 8 : 4; /* of 16 bytes */
	const uint32_t *q = j->q;
	__m512 sum[FEW_VECTORS][FEW_ROWS];
	for (int i = 0; i < nv; i++)
		for (int r = 0; r < rows; r++)
			sum[i][r] = _mm512_setzero_ps();
	for (int64_t at = 0; at < bytes; at += 16, q += pairs * rows) {
		bool whole = !int8 || bytes - at >= 16;
#pragma GCC unroll 2
		for (int i = 0; i < nv; i++) {
			if (whole)
				add_scores(rows, int8, true, keys + i * LANES, at, q, sum[i]);
			else
				add_scores(rows, int8, false, keys + i * LANES, at, q, sum[i]);
			ask(next);
		}
	}
	for (int i = 0; i < nv; i++)
		for (int r = 0; r < rows; r++)
			_mm512_storeu_ps(j->s + r * TILE + (v + i) * LANES, sum[i][r]);
}

INLINE void few_scores(const int rows, const bool int8, const struct job *j, const struct tile *t, struct asking *next)
{
	const int nv = FEW_VECTORS;
	int v = t->begin / LANES, end = (t->end + LANES - 1) / LANES;
	for (; v + nv <= end; v += nv)
		few_scores_block(rows, nv, int8, j, t, next, v);
	for (; v < end; v++)
		few_scores_block(rows, 1, int8, j, t, next, v);
}

INLINE void few_values(const int rows, const bool int8, const struct job *j, const struct tile *t, struct asking *next,
		       int begin, int end, const float *s, float *states)
{
	const int nv = rows <= BLOCK_ROWS ? BLOCK_VECTORS : 2;
	int64_t dim = 0, dv = padded(j->a->v_head_dim);
	for (; dim + nv * LANES <= dv; dim += nv * LANES)
		values_block(rows, nv, int8, j, t, next, dim, begin, end, s, states);
	for (; dim < dv; dim += UNIT)
		values_block(rows, 2, int8, j, t, next, dim, begin, end, s, states);
}

/* One function for each number of rows and each type. */
#define FEW(rows, type, int8)                                                                                                   \
	static void few_scores_##rows##_##type(const struct job *j, const struct tile *t, struct asking *next)                  \
	{                                                                                                                       \
		few_scores(rows, int8, j, t, next);                                                                             \
	}                                                                                                                       \
	static void few_values_##rows##_##type(const struct job *j, const struct tile *t, struct asking *next, int begin,       \
					       int end, const float *s, float *states)                                          \
	{                                                                                                                       \
		few_values(rows, int8, j, t, next, begin, end, s, states);                                                      \
	}
#define FEW_BOTH(rows) FEW(rows, bf16, false) FEW(rows, int8, true)
FEW_BOTH(1)
FEW_BOTH(2)
FEW_BOTH(3)
FEW_BOTH(4)
FEW_BOTH(5)
FEW_BOTH(6)
FEW_BOTH(7)
FEW_BOTH(8)

static const struct {
	void (*scores)(const struct job *j, const struct tile *t, struct asking *next);
	void (*values)(const struct job *j, const struct tile *t, struct asking *next, int begin, int end, const float *s,
		       float *states);
} few[FEW_ROWS][2] = {
#define FEW_ENTRY(rows)                                                                                                         \
	{ { few_scores_##rows##_bf16, few_values_##rows##_bf16 }, { few_scores_##rows##_int8, few_values_##rows##_int8 } }
	FEW_ENTRY(1), FEW_ENTRY(2), FEW_ENTRY(3), FEW_ENTRY(4), FEW_ENTRY(5), FEW_ENTRY(6), FEW_ENTRY(7), FEW_ENTRY(8),
#undef FEW_ENTRY
#undef FEW_BOTH
#undef FEW
};

/* ---- Tiles, rows ---- */

/* Where some keys are hidden from some rows: of rows r..r + n, the first rows of one token; gives their number, and the keys
 * of the tile that they see. */
static int64_t rows_of_token(const struct job *j, const struct tile *t, int64_t r, int64_t n, int *begin, int *end)
{
	int64_t token = r / j->g, last = (token + 1) * j->g;
	visible_in_tile(j, t, token, begin, end);
	return (last < r + n ? last : r + n) - r;
}

/* Softmax of rows r..r + n, whose scores are at s and which all see keys begin..end. */
static void softmax(const struct job *j, const struct tile *t, int64_t r, int64_t n, float *s, int begin, int end)
{
	const int64_t stride = j->state_floats;
	float *states = j->part + r * stride;
	if (end - begin == TILE && !(j->a->softcap > 0)) {
		for (; n >= SOFTMAX_ROWS; n -= SOFTMAX_ROWS, s += SOFTMAX_ROWS * TILE, states += SOFTMAX_ROWS * stride)
			softmax_rows(SOFTMAX_ROWS, j, t, s, states);
		for (; n >= 4; n -= 4, s += 4 * TILE, states += 4 * stride)
			softmax_rows(4, j, t, s, states);
	}
	for (int64_t i = 0; i < n; i++)
		softmax_row(j, t, s + i * TILE, states + i * stride, begin, end);
}

static void add_tile_to_few(const struct job *j, const struct tile *t, const struct tile *next)
{
	struct asking asking = ask_for(j, next);
	bool int8 = j->a->kv_type == DTYPE_I8, whole = all_see_all(j, t);
	int begin = 0, end = TILE;
	few[j->n_rows - 1][int8].scores(j, t, &asking);
	for (int64_t r = 0, n; r < j->n_rows; r += n) {
		n = whole ? j->n_rows : rows_of_token(j, t, r, j->n_rows - r, &begin, &end);
		float *s = j->s + r * TILE;
		if (begin >= end)
			continue;
		softmax(j, t, r, n, s, begin, end);
		few[n - 1][int8].values(j, t, &asking, begin, end, s, j->part + r * j->state_floats);
	}
}

static void add_tile_to_many(const struct job *j, const struct tile *t, const struct tile *next)
{
	int v_begin = t->begin / LANES, v_end = (t->end + LANES - 1) / LANES, p_begin = t->begin / 2, p_end = (t->end + 1) / 2;
	struct asking asking = ask_for(j, next);
	if (j->a->kv_type == DTYPE_I8) {
		pack_keys(true, j, t, &asking, v_begin, v_end);
		pack_values(true, j, t, &asking, p_begin, p_end);
	} else {
		pack_keys(false, j, t, &asking, v_begin, v_end);
		pack_values(false, j, t, &asking, p_begin, p_end);
	}
	bool whole = all_see_all(j, t);
	int begin = 0, end = TILE;
	for (int64_t first = 0, n; first < j->n_rows; first += n) {
		n = j->n_rows - first < GROUP_ROWS ? j->n_rows - first : GROUP_ROWS;
		scores(j, first, n, v_begin, v_end);
		for (int64_t r = first, rows; r < first + n; r += rows) {
			rows = whole ? n : rows_of_token(j, t, r, first + n - r, &begin, &end);
			float *s = j->s + (r - first) * TILE;
			if (begin >= end)
				continue;
			softmax(j, t, r, rows, s, begin, end);
			values(j, r, rows, s, begin, end);
		}
	}
}

static void add_tile(const struct job *j, const struct tile *t, const struct tile *next)
{
	if (j->n_rows <= FEW_ROWS)
		add_tile_to_few(j, t, next);
	else
		add_tile_to_many(j, t, next);
}

static void merge_states(float *a, const float *b, int64_t n_floats)
{
	if (b[0] == -INFINITY)
		return;
	if (a[0] == -INFINITY) {
		memcpy(a, b, (size_t)n_floats * sizeof *a);
		return;
	}
	float m = a[0] > b[0] ? a[0] : b[0];
	float fa = a[0] == m ? 1 : exp2_one(a[0] - m);
	float fb = b[0] == m ? 1 : exp2_one(b[0] - m);
	a[0] = m;
	a[1] = a[1] * fa + b[1] * fb;
	for (int64_t i = ATTENTION_STATE_O; i < n_floats; i += LANES) {
		__m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(b + i), _mm512_set1_ps(fb));
		_mm512_storeu_ps(a + i, _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_set1_ps(fa), scaled));
	}
}

/* Writes o, times `rescale`, divided by l, to element `first` of the results, in the order of dimensions. */
static void store_row(const struct attention_args *a, const float *o, float rescale, float l, int64_t first)
{
	const __m512i lower = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
	const __m512i upper = _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
	for (int64_t i = 0; i < a->v_head_dim; i += UNIT) {
		__m512 x = _mm512_loadu_ps(o + i), y = _mm512_loadu_ps(o + i + LANES);
		x = _mm512_div_ps(_mm512_mul_ps(x, _mm512_set1_ps(rescale)), _mm512_set1_ps(l));
		y = _mm512_div_ps(_mm512_mul_ps(y, _mm512_set1_ps(rescale)), _mm512_set1_ps(l));
		int64_t left = a->v_head_dim - i;
		if (a->kv_type == DTYPE_BF16) {
			__m512 halves = x;
			x = _mm512_permutex2var_ps(halves, lower, y);
			y = _mm512_permutex2var_ps(halves, upper, y);
		}
		avx512_store(a->out_type, a->out, first + i, avx512_mask16(left), x);
		if (left > LANES)
			avx512_store(a->out_type, a->out, first + i + LANES, avx512_mask16(left - LANES), y);
	}
}

static void write_row(const struct job *j, int64_t r, const float *state)
{
	const struct attention_args *a = j->a;
	int64_t token = j->first_token + r / j->g, head = j->kv_head * j->g + r % j->g;
	int64_t first = token * a->out_stride + head * a->v_head_dim;
	float m = state[0], l = state[1], rescale = 1;
	if (a->sinks) {
		float sink = a->sinks[head] * LOG2E;
		m = sink > m ? sink : m;
		rescale = exp2_one(state[0] - m);
		l = l * rescale + exp2_one(sink - m);
	}
	if (state[0] == -INFINITY)
		memset((unsigned char *)a->out + (size_t)first * dtype_bytes(a->out_type), 0,
		       (size_t)a->v_head_dim * dtype_bytes(a->out_type));
	else
		store_row(a, state + ATTENTION_STATE_O, rescale, l, first);
	if (a->lse)
		a->lse[token * a->n_heads + head] = m == -INFINITY ? m : m * LN2 + logf(l);
}

const char *attention_avx512bf16_refuse(const struct attention_request *r)
{
	if (r->q_type != DTYPE_BF16 || (r->kv_type != DTYPE_BF16 && r->kv_type != DTYPE_I8))
		return "takes queries in bf16, and caches in bf16 or int8";
	if (r->out_type > DTYPE_F16)
		return "types are limited to f32, bf16 and f16";
	if (r->head_dim % 8 || r->v_head_dim % 8)
		return "head sizes must be multiples of 8";
	if (r->head_dim > ATTENTION_MAX_HEAD_DIM || r->v_head_dim > ATTENTION_MAX_HEAD_DIM)
		return "head sizes are limited to 512";
	return NULL;
}

void attention_avx512bf16(const struct attention_args *a, const struct attention_item *it, void *scratch)
{
	run_item(a, it, scratch);
}

void attention_avx512bf16_merge(const struct attention_args *a, const struct attention_item *it, void *scratch)
{
	merge_item(a, it, scratch);
}
