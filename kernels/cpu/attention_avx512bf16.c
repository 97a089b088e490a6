/* attention over bf16 caches by vdpbf16ps.
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
 * vdpbf16ps takes denormal inputs as zero, flushes denormal results and rounds to nearest even, whatever MXCSR says.
 */
#include "attention_log2_avx512.h"

/* The micro-kernels' register blocks: rows times vectors of keys (or dimensions). */
#define BLOCK_ROWS 6
#define BLOCK_VECTORS 4
/* Up to so many rows multiply pairs as they are made. */
#define FEW_ROWS 8
/* Vectors of keys at a time then: one's products hide the other's latency. */
#define FEW_VECTORS 2
/* Dimensions of a run of values: its two vectors hold the lower and the upper half of each 128 bits. */
#define UNIT 32

/* ---- Memory ---- */

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

/* At least `a_turn` bytes a turn. */
static struct asking ask_for(const struct job *j, const struct tile *next, int64_t a_turn)
{
	return (struct asking){ next->k + next->begin, next->k + next->end, next->v + next->begin, next->v + next->end,
				j->a->head_dim * (int64_t)j->type_bytes, j->a->v_head_dim * (int64_t)j->type_bytes, a_turn };
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

/* Vectors v_begin..v_end of the tile's keys. */
static void pack_keys(const struct job *j, const struct tile *t, struct asking *next, int v_begin, int v_end)
{
	int64_t bytes = j->a->head_dim * (int64_t)sizeof(uint16_t);
	for (int v = v_begin; v < v_end; v++) {
		uint32_t *out = (uint32_t *)j->keys + v * LANES;
		for (int64_t at = 0; at < bytes; at += 16) {
			__m512i x[4];
			avx512_transpose(t->k + v * LANES, at, true, x);
			ask(next);
			for (int i = 0; i < 4; i++, out += TILE)
				_mm512_storeu_si512(out, x[i]);
		}
	}
}

/* Pair p of the tile's values, dimensions dim..dim + UNIT: two vectors. */
INLINE void values_pairs(const struct tile *t, int p, int64_t dim, int64_t dv, __m512i out[2])
{
	__mmask32 live = avx512_mask32(dv - dim);
	__m512i a = _mm512_maskz_loadu_epi16(live, (const uint16_t *)t->v[2 * p] + dim);
	__m512i b = _mm512_maskz_loadu_epi16(live, (const uint16_t *)t->v[2 * p + 1] + dim);
	out[0] = _mm512_unpacklo_epi16(a, b);
	out[1] = _mm512_unpackhi_epi16(a, b);
}

/* Pairs of keys begin..end. */
static void pack_values(const struct job *j, const struct tile *t, struct asking *next, int begin, int end)
{
	int64_t dv = j->a->v_head_dim;
	uint32_t *out = (uint32_t *)j->values + begin * padded(dv);
	for (int p = begin; p < end; p++) {
		for (int64_t dim = 0; dim < dv; dim += UNIT, out += UNIT) {
			__m512i pairs[2];
			values_pairs(t, p, dim, dv, pairs);
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

INLINE __m512 products(const struct job *j, const struct tile *t, int64_t r, const float *s, int i)
{
	(void)j;
	(void)t;
	(void)r;
	return _mm512_loadu_ps(s + i * LANES);
}

/* bf16, in the same place. */
INLINE void put_weights(const struct tile *t, const __mmask16 *seen, __m512 p[TILE_VECTORS], float *s, float *state)
{
	(void)t;
	(void)state;
	for (int i = 0; i < TILE_VECTORS; i++) {
		__m256i rounded = (__m256i)_mm512_cvtneps_pbh(p[i]);
		rounded = seen ? _mm256_maskz_mov_epi16(seen[i], rounded) : rounded;
		_mm256_storeu_si256((__m256i *)((uint16_t *)s + i * LANES), rounded);
		p[i] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(rounded), 16));
	}
}

/* ---- Values ---- */

/* nv vectors of dimensions from `dim` on, for `rows` rows and keys begin..end; t: the values are taken from there, not packed. */
INLINE void values_block(const int rows, const int nv, const struct job *j, const struct tile *t, struct asking *next, int64_t dim,
			 int begin, int end, const float *s, float *states)
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
				values_pairs(t, p, dim + i * LANES, j->a->v_head_dim, v + i);
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
		values_block(rows, BLOCK_VECTORS, j, NULL, NULL, dim, begin, end, s, states);
	for (; dim < dv; dim += UNIT)
		values_block(rows, 2, j, NULL, NULL, dim, begin, end, s, states);
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

/* Adds 16 bytes of a vector of keys to the scores of `rows` rows, whose queries lie pair by pair (take_queries). */
INLINE void add_scores(const int rows, const unsigned char *const *keys, int64_t at, const uint32_t *q, __m512 sum[FEW_ROWS])
{
	__m512i x[4];
	avx512_transpose(keys, at, true, x);
	for (int i = 0; i < 4; i++, q += rows)
		for (int r = 0; r < rows; r++)
			sum[r] = multiply(sum[r], x[i], q[r]);
}

/* Scores of all `rows` rows and nv vectors of keys from v on. */
INLINE void few_scores_block(const int rows, const int nv, const struct job *j, const struct tile *t, struct asking *next, int v)
{
	const unsigned char *const *keys = t->k + v * LANES;
	const int64_t bytes = j->a->head_dim * (int64_t)sizeof(uint16_t);
	const uint32_t *q = j->q;
	__m512 sum[FEW_VECTORS][FEW_ROWS];
	for (int i = 0; i < nv; i++)
		for (int r = 0; r < rows; r++)
			sum[i][r] = _mm512_setzero_ps();
	for (int64_t at = 0; at < bytes; at += 16, q += 4 * rows) {
#pragma GCC unroll 2
		for (int i = 0; i < nv; i++) {
			add_scores(rows, keys + i * LANES, at, q, sum[i]);
			ask(next);
		}
	}
	for (int i = 0; i < nv; i++)
		for (int r = 0; r < rows; r++)
			_mm512_storeu_ps(j->s + r * TILE + (v + i) * LANES, sum[i][r]);
}

INLINE void few_scores(const int rows, const struct job *j, const struct tile *t, struct asking *next)
{
	const int nv = FEW_VECTORS;
	int v = t->begin / LANES, end = (t->end + LANES - 1) / LANES;
	for (; v + nv <= end; v += nv)
		few_scores_block(rows, nv, j, t, next, v);
	for (; v < end; v++)
		few_scores_block(rows, 1, j, t, next, v);
}

INLINE void few_values(const int rows, const struct job *j, const struct tile *t, struct asking *next, int begin, int end,
		       const float *s, float *states)
{
	const int nv = rows <= BLOCK_ROWS ? BLOCK_VECTORS : 2;
	int64_t dim = 0, dv = padded(j->a->v_head_dim);
	for (; dim + nv * LANES <= dv; dim += nv * LANES)
		values_block(rows, nv, j, t, next, dim, begin, end, s, states);
	for (; dim < dv; dim += UNIT)
		values_block(rows, 2, j, t, next, dim, begin, end, s, states);
}

/* One function for each number of rows. */
#define FEW(rows)                                                                                                               \
	static void few_scores_##rows(const struct job *j, const struct tile *t, struct asking *next)                           \
	{                                                                                                                       \
		few_scores(rows, j, t, next);                                                                                   \
	}                                                                                                                       \
	static void few_values_##rows(const struct job *j, const struct tile *t, struct asking *next, int begin, int end,       \
				      const float *s, float *states)                                                            \
	{                                                                                                                       \
		few_values(rows, j, t, next, begin, end, s, states);                                                            \
	}
FEW(1)
FEW(2)
FEW(3)
FEW(4)
FEW(5)
FEW(6)
FEW(7)
FEW(8)

static const struct {
	void (*scores)(const struct job *j, const struct tile *t, struct asking *next);
	void (*values)(const struct job *j, const struct tile *t, struct asking *next, int begin, int end, const float *s,
		       float *states);
} few[FEW_ROWS] = {
#define FEW_ENTRY(rows) { few_scores_##rows, few_values_##rows }
	FEW_ENTRY(1), FEW_ENTRY(2), FEW_ENTRY(3), FEW_ENTRY(4), FEW_ENTRY(5), FEW_ENTRY(6), FEW_ENTRY(7), FEW_ENTRY(8),
#undef FEW_ENTRY
#undef FEW
};

/* ---- Tiles, rows ---- */

static void add_tile_to_few(const struct job *j, const struct tile *t, const struct tile *next)
{
	struct asking asking = ask_for(j, next, 16 * LANES); /* as much as a turn takes of the tile at hand */
	bool whole = all_see_all(j, t);
	int begin = 0, end = TILE;
	few[j->n_rows - 1].scores(j, t, &asking);
	for (int64_t r = 0, n; r < j->n_rows; r += n) {
		n = whole ? j->n_rows : rows_of_token(j, t, r, j->n_rows - r, &begin, &end);
		float *s = j->s + r * TILE;
		if (begin >= end)
			continue;
		softmax(j, t, r, n, s, begin, end);
		few[n - 1].values(j, t, &asking, begin, end, s, j->part + r * j->state_floats);
	}
}

static void add_tile_to_many(const struct job *j, const struct tile *t, const struct tile *next)
{
	int v_begin = t->begin / LANES, v_end = (t->end + LANES - 1) / LANES, p_begin = t->begin / 2, p_end = (t->end + 1) / 2;
	struct asking asking = ask_for(j, next, 1);
	pack_keys(j, t, &asking, v_begin, v_end);
	pack_values(j, t, &asking, p_begin, p_end);
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

static void store_row(const struct attention_args *a, const float *o, float rescale, float l, int64_t first)
{
	const __m512i lower = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
	const __m512i upper = _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
	for (int64_t i = 0; i < a->v_head_dim; i += UNIT) {
		__m512 x = _mm512_loadu_ps(o + i), y = _mm512_loadu_ps(o + i + LANES);
		x = _mm512_div_ps(_mm512_mul_ps(x, _mm512_set1_ps(rescale)), _mm512_set1_ps(l));
		y = _mm512_div_ps(_mm512_mul_ps(y, _mm512_set1_ps(rescale)), _mm512_set1_ps(l));
		int64_t left = a->v_head_dim - i;
		__m512 halves = x;
		x = _mm512_permutex2var_ps(halves, lower, y);
		y = _mm512_permutex2var_ps(halves, upper, y);
		avx512_store(a->out_type, a->out, first + i, avx512_mask16(left), x);
		if (left > LANES)
			avx512_store(a->out_type, a->out, first + i + LANES, avx512_mask16(left - LANES), y);
	}
}

const char *attention_avx512bf16_refuse(const struct attention_request *r)
{
	if (r->q_type != DTYPE_BF16 || r->kv_type != DTYPE_BF16)
		return "takes queries and caches in bf16";
	return attention_refuse_vectors(r);
}

void attention_avx512bf16(const struct attention_args *a, const struct attention_item *it, void *scratch)
{
	run_item(a, it, scratch);
}

void attention_avx512bf16_merge(const struct attention_args *a, const struct attention_item *it, void *scratch)
{
	merge_item(a, it, scratch);
}
