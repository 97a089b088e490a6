/* attention over int8 caches by vpdpbusd.
 *
 * Both products of a tile (attention_walk.h) are sums of integers, exact in any order:
 *   queries integers of 16 bits, q / unit to nearest with unit = max |q| / 32639 of the row, kept as two signed bytes:
 *           q = 256 * high + low
 *   keys    transposed into `keys` [D / 4][TILE], each byte 128 more: a lane is a key, its 4 bytes successive dimensions
 *   scores  s[row][key] = 256 * sum of high * key + sum of low * key - 128 * sum of q, int32
 *   softmax row by row in units of log2, in float32: p = 2^(x - max), summed as it is
 *   weights integers of 16 bits, two unsigned bytes: w = p * (value's scale) over the row's largest w in the tile, times 65535, to
 *           nearest. They are weighed against the tile, not against all keys: thousands of weak keys weigh what they are; and with
 *           their scales: beside a key with a large p and small values, which many models have, the others stay as exact
 *   values  interleaved into `values` [TILE / 4][Dv]: a lane is a dimension, its 4 bytes successive keys
 *   o[row][dim] = o * rescale + ((256 * sum of high * value + sum of low * value) / 65535) * largest w, where the sum is int32
 * A sum of 512 dimensions, and of a tile's keys, is below 2^31; what exceeds it on the way wraps round and comes back. A key that
 * a row does not see has weight 0, and its scale is not looked at. A query with an infinity or a NaN makes the row's result a NaN,
 * and so do a scale that is a NaN and a value's infinite one; a key's infinite scale makes its score infinite.
 */
#include "attention_log2_avx512.h"

/* Rows of the micro-kernels' register blocks: with two vectors of keys (or dimensions), 16 sums. Up to so many rows take keys and values
 * as they are: storing them would cost more than the products. */
#define BLOCK_ROWS 4
/* Dimensions of a run of values: four vectors, of which the first holds dimensions 0 to 3 of each 16, the second 4 to 7. */
#define UNIT 64

#define QUERY_MOST 32639.0f /* 127 * 256 + 127 */
#define WEIGHT_MOST 65535.0f
/* What is smaller has no inverse to make integers with. A query that small counts as zero: its scores would hardly differ from 0. */
#define SMALLEST 0x1p-100f

/* Where a row's state keeps its largest weight in the tile, which 65535 stands for. */
#define STATE_WEIGHT 3

/* ---- Memory ---- */

/* Whatever a loop takes of a tile it asks into L2 of the tile that comes next, keys beside keys and values beside values, so that
 * memory does not rest while a core computes; in the order of addresses, which memory likes best. Rows of 16 keys lie behind
 * each other (or, in pages of fewer, what is asked for is not what is read). */
struct asking {
	uintptr_t at;
	const unsigned char *const *run, *const *end; /* the run's first row */
	int64_t left, bytes;
};

static struct asking ask_for(const unsigned char *const *rows, int64_t row_bytes)
{
	return (struct asking){ (uintptr_t)rows[0], rows, rows + TILE, LANES * row_bytes, LANES * row_bytes };
}

INLINE void ask(struct asking *s, const int lines)
{
	if (s->left <= 0) {
		if (s->end - s->run <= LANES)
			return;
		s->run += LANES;
		s->at = (uintptr_t)*s->run;
		s->left = s->bytes;
	}
	for (int i = 0; i < lines; i++)
		_mm_prefetch((const void *)(s->at + 64 * (uintptr_t)i), _MM_HINT_T1);
	s->at += 64 * (uintptr_t)lines;
	s->left -= 64 * lines;
}

/* ---- Scratch ---- */

/* Of a row's query: what its integers are multiplied by, and 128 times their sum. */
struct query {
	float unit;
	int32_t offset;
};

static int64_t padded(int64_t d)
{
	return (d + UNIT - 1) / UNIT * UNIT;
}

/* struct query, and two bytes a dimension: what float32 would take is enough (attention_scratch_bytes). */
static int64_t query_bytes(const struct attention_args *a)
{
	return (int64_t)sizeof(struct query) + 2 * a->head_dim;
}

/* Rows lie in blocks of BLOCK_ROWS: for each 4 dimensions the rows' high bytes beside each other, then their low ones. */
static uint32_t *query_block(const struct job *j, int64_t r)
{
	return (uint32_t *)((struct query *)j->q + j->n_rows) + r * (j->a->head_dim / 2);
}

/* Rows of the block that begins at row r. */
static int64_t rows_from(int64_t r, int64_t n_rows)
{
	return n_rows - r < BLOCK_ROWS ? n_rows - r : BLOCK_ROWS;
}

/* Row r, whose query begins at element `first`. */
static void take_query(const struct job *j, int64_t r, int64_t first)
{
	const struct attention_args *a = j->a;
	const int64_t d = a->head_dim, in_block = r % BLOCK_ROWS, n = rows_from(r - in_block, j->n_rows);
	uint32_t *words = query_block(j, r - in_block) + in_block;
	__m512i largest = _mm512_setzero_si512(), sum = _mm512_setzero_si512();
	for (int64_t i = 0; i < d; i += LANES) {
		__m512 x = avx512_load(a->q_type, a->q, first + i, avx512_mask16(d - i));
		largest = _mm512_max_epi32(largest, _mm512_castps_si512(_mm512_abs_ps(x))); /* a NaN is the largest */
	}
	float most = _mm512_cvtss_f32(_mm512_castsi512_ps(_mm512_set1_epi32(_mm512_reduce_max_epi32(largest))));
	bool number = most < INFINITY;
	float inverse = number && most >= SMALLEST ? QUERY_MOST / most : 0;
	for (int64_t i = 0; i < d; i += LANES) {
		uint32_t each[2][LANES / 4];
		__m512 x = avx512_load(a->q_type, a->q, first + i, avx512_mask16(d - i));
		__m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(x, _mm512_set1_ps(inverse)));
		q = number ? q : _mm512_setzero_si512();
		sum = _mm512_add_epi32(sum, q);
		__m512i high = _mm512_srai_epi32(_mm512_add_epi32(q, _mm512_set1_epi32(128)), 8);
		_mm_storeu_si128((__m128i *)each[0], _mm512_cvtepi32_epi8(high));
		_mm_storeu_si128((__m128i *)each[1], _mm512_cvtepi32_epi8(q));
		for (int64_t w = 0; w < LANES / 4 && i + 4 * w < d; w++)
			for (int part = 0; part < 2; part++)
				words[((i / 4 + w) * 2 + part) * n] = each[part][w];
	}
	((struct query *)j->q)[r] = (struct query){ number ? most / QUERY_MOST : NAN, 128 * _mm512_reduce_add_epi32(sum) };
}

static void take_queries(const struct job *j)
{
	const struct attention_args *a = j->a;
	for (int64_t r = 0; r < j->n_rows; r++)
		take_query(j, r, (j->first_token + r / j->g) * a->q_stride + (j->kv_head * j->g + r % j->g) * a->head_dim);
}

static void lay_out(struct job *j, float *scratch)
{
	j->s = scratch;
	j->keys = j->s + (j->n_rows < GROUP_ROWS ? j->n_rows : GROUP_ROWS) * TILE;
	j->values = (uint32_t *)j->keys + j->a->head_dim / 4 * TILE;
}

/* ---- Packing ---- */

/* 16 bytes (8 where not `whole`) of a vector of keys, each 128 more: words of 4. */
INLINE void key_words(const unsigned char *const *keys, int64_t at, const bool whole, __m512i words[4])
{
	avx512_transpose(keys, at, whole, words);
	for (int i = 0; i < (whole ? 4 : 2); i++)
		words[i] = _mm512_xor_si512(words[i], _mm512_set1_epi8((char)0x80));
}

/* Vectors v_begin..v_end of the tile's keys. */
static void pack_keys(const struct job *j, const struct tile *t, struct asking *next, int v_begin, int v_end)
{
	int64_t d = j->a->head_dim;
	for (int v = v_begin; v < v_end; v++) {
		uint32_t *out = (uint32_t *)j->keys + v * LANES;
		for (int64_t at = 0; at < d; at += 16) {
			__m512i words[4];
			bool whole = d - at >= 16;
			if (whole)
				key_words(t->k + v * LANES, at, true, words);
			else
				key_words(t->k + v * LANES, at, false, words);
			ask(next, 4);
			for (int i = 0; i < (whole ? 4 : 2); i++, out += TILE)
				_mm512_storeu_si512(out, words[i]);
		}
	}
}

INLINE __mmask64 live_from(int64_t dim, int64_t dv)
{
	return dv - dim >= UNIT ? ~(__mmask64)0 : ((__mmask64)1 << (dv - dim)) - 1;
}

/* Half h of dimensions dim..dim + UNIT of the four keys from 4 * p on: two vectors. */
INLINE void value_words(const struct tile *t, int p, int64_t dim, __mmask64 live, const int h, __m512i words[2])
{
	__m512i x[4];
	for (int i = 0; i < 4; i++)
		x[i] = _mm512_maskz_loadu_epi8(live, t->v[4 * p + i] + dim);
	__m512i a = h ? _mm512_unpackhi_epi8(x[0], x[1]) : _mm512_unpacklo_epi8(x[0], x[1]);
	__m512i b = h ? _mm512_unpackhi_epi8(x[2], x[3]) : _mm512_unpacklo_epi8(x[2], x[3]);
	words[0] = _mm512_unpacklo_epi16(a, b);
	words[1] = _mm512_unpackhi_epi16(a, b);
}

/* Fours of keys begin..end. */
static void pack_values(const struct job *j, const struct tile *t, struct asking *next, int begin, int end)
{
	int64_t dv = j->a->v_head_dim;
	uint32_t *out = (uint32_t *)j->values + begin * padded(dv);
	for (int p = begin; p < end; p++) {
		for (int64_t dim = 0; dim < dv; dim += UNIT) {
			__m512i words[4];
			value_words(t, p, dim, live_from(dim, dv), 0, words);
			value_words(t, p, dim, live_from(dim, dv), 1, words + 2);
			ask(next, 4);
			for (int i = 0; i < 4; i++, out += LANES)
				_mm512_storeu_si512(out, words[i]);
		}
	}
}

/* ---- Scores ---- */

/* Four bytes, as they lie in memory. */
INLINE __m512i four_at(const void *p)
{
	int32_t four;
	memcpy(&four, p, sizeof four);
	return _mm512_set1_epi32(four);
}

/* Sums of the high bytes, and of the low ones. */
struct pair {
	__m512i high, low;
};

INLINE __m512i whole_of(struct pair sum)
{
	return _mm512_add_epi32(_mm512_slli_epi32(sum.high, 8), sum.low);
}

/* Adds 4 dimensions of nv vectors of keys to the scores of `rows` rows. */
INLINE void add_word(const int rows, const int nv, const __m512i keys[2], const uint32_t *q, struct pair sum[BLOCK_ROWS][2])
{
	for (int r = 0; r < rows; r++) {
		__m512i high = four_at(q + r), low = four_at(q + rows + r);
		for (int i = 0; i < nv; i++) {
			sum[r][i].high = _mm512_dpbusd_epi32(sum[r][i].high, keys[i], high);
			sum[r][i].low = _mm512_dpbusd_epi32(sum[r][i].low, keys[i], low);
		}
	}
}

/* Adds 16 dimensions (8 where not `whole`), which are taken from where the keys are. */
INLINE void add_words(const int rows, const int nv, const unsigned char *const *keys, int64_t at, const bool whole,
		      const uint32_t *q, struct pair sum[BLOCK_ROWS][2])
{
	__m512i words[2][4];
	for (int i = 0; i < nv; i++)
		key_words(keys + i * LANES, at, whole, words[i]);
	for (int w = 0; w < (whole ? 4 : 2); w++, q += 2 * rows) {
		const __m512i of_word[2] = { words[0][w], words[nv - 1][w] };
		add_word(rows, nv, of_word, q, sum);
	}
}

/* nv vectors of keys from v on, and `rows` rows from r on, which are one block. Keys are taken from where they are, if they are not
 * packed. */
INLINE void scores_block(const int rows, const int nv, const bool packed, const struct job *j, const struct tile *t,
			 struct asking *next, int64_t r, int v, float *s)
{
	const uint32_t *q = query_block(j, r), *in_tile = (const uint32_t *)j->keys + v * LANES;
	const struct query *query = (const struct query *)j->q + r;
	int64_t d = j->a->head_dim;
	struct pair sum[BLOCK_ROWS][2];
	for (int c = 0; c < rows; c++)
		for (int i = 0; i < nv; i++)
			sum[c][i] = (struct pair){ _mm512_setzero_si512(), _mm512_setzero_si512() };
	const unsigned char *const *keys = t->k + v * LANES;
	for (int64_t at = 0; at < d && !packed; at += 16, q += 8 * rows) {
		__asm__("" : "+r"(keys)); /* or the pointers are kept in registers, of which there are too few */
		if (d - at >= 16)
			add_words(rows, nv, keys, at, true, q, sum);
		else
			add_words(rows, nv, keys, at, false, q, sum);
		for (int i = 0; i < nv; i++)
			ask(next, 4);
	}
	for (int64_t w = 0; w < d / 4 && packed; w++, in_tile += TILE, q += 2 * rows) {
		const __m512i of_word[2] = { _mm512_loadu_si512(in_tile), _mm512_loadu_si512(in_tile + (nv - 1) * LANES) };
		add_word(rows, nv, of_word, q, sum);
	}
	for (int c = 0; c < rows; c++)
		for (int i = 0; i < nv; i++)
			_mm512_storeu_si512(s + c * TILE + (v + i) * LANES,
					    _mm512_sub_epi32(whole_of(sum[c][i]), _mm512_set1_epi32(query[c].offset)));
}

INLINE void scores_rows(const int rows, const bool packed, const struct job *j, const struct tile *t, struct asking *next,
			int64_t r, int v_begin, int v_end, float *s)
{
	int v = v_begin;
	for (; v + 2 <= v_end; v += 2)
		scores_block(rows, 2, packed, j, t, next, r, v, s);
	for (; v < v_end; v++)
		scores_block(rows, 1, packed, j, t, next, r, v, s);
}

/* Of rows r..r + n, the first of them a block's first. */
INLINE void scores(const bool packed, const struct job *j, const struct tile *t, struct asking *next, int64_t r, int64_t n,
		   int v_begin, int v_end)
{
	for (int64_t done = 0; done < n; done += BLOCK_ROWS) {
		float *s = j->s + done * TILE;
		switch (rows_from(done, n)) {
		case 1:
			scores_rows(1, packed, j, t, next, r + done, v_begin, v_end, s);
			break;
		case 2:
			scores_rows(2, packed, j, t, next, r + done, v_begin, v_end, s);
			break;
		case 3:
			scores_rows(3, packed, j, t, next, r + done, v_begin, v_end, s);
			break;
		default:
			scores_rows(4, packed, j, t, next, r + done, v_begin, v_end, s);
		}
	}
}

INLINE __m512 products(const struct job *j, const struct tile *t, int64_t r, const float *s, int i)
{
	__m512 unit = _mm512_mul_ps(_mm512_loadu_ps(t->k_scale + i * LANES), _mm512_set1_ps(((const struct query *)j->q)[r].unit));
	return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(s + i * LANES)), unit);
}

/* ---- Weights ---- */

/* 64 bytes, of which the vectors' 32-bit lanes hold one each, in the order of the tile. */
INLINE __m512i bytes_of(__m512i low, __m512i high)
{
	const __m512i place = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
	return _mm512_permutexvar_epi32(place, _mm512_packus_epi16(low, high));
}

/* The row's high bytes, then its low ones. */
INLINE void put_weights(const struct tile *t, const __mmask16 *seen, __m512 p[TILE_VECTORS], float *s, float *state)
{
	__m512 w[TILE_VECTORS];
	__m512i n[TILE_VECTORS], largest = _mm512_setzero_si512();
	for (int i = 0; i < TILE_VECTORS; i++) {
		w[i] = _mm512_mul_ps(p[i], _mm512_loadu_ps(t->v_scale + i * LANES));
		w[i] = seen ? _mm512_maskz_mov_ps(seen[i], w[i]) : w[i];
		largest = _mm512_max_epi32(largest, _mm512_castps_si512(w[i])); /* none is negative; a NaN is the largest */
	}
	float most = _mm512_cvtss_f32(_mm512_castsi512_ps(_mm512_set1_epi32(_mm512_reduce_max_epi32(largest)))), bigger = most;
	if (most < SMALLEST) {
		bigger *= 0x1p64f;
		for (int i = 0; i < TILE_VECTORS; i++)
			w[i] = _mm512_mul_ps(w[i], _mm512_set1_ps(0x1p64f));
	}
	__m512 inverse = _mm512_set1_ps(bigger > 0 && bigger < INFINITY ? WEIGHT_MOST / bigger : 0);
	for (int i = 0; i < TILE_VECTORS; i++)
		n[i] = _mm512_cvtps_epi32(_mm512_mul_ps(w[i], inverse));
	state[STATE_WEIGHT] = most < INFINITY ? most : NAN;
	__m512i a = _mm512_packus_epi32(n[0], n[1]), b = _mm512_packus_epi32(n[2], n[3]), low = _mm512_set1_epi16(0xff);
	_mm512_storeu_si512(s, bytes_of(_mm512_srli_epi16(a, 8), _mm512_srli_epi16(b, 8)));
	_mm512_storeu_si512(s + LANES, bytes_of(_mm512_and_si512(a, low), _mm512_and_si512(b, low)));
}

/* ---- Values ---- */

/* Half h of dimensions dim..dim + UNIT of `rows` rows, and fours of keys begin..end. */
INLINE void values_block(const int rows, const int h, const bool packed, const struct job *j, const struct tile *t,
			 struct asking *next, int64_t dim, int begin, int end, const float *s, float *states)
{
	const int64_t stride = j->state_floats, width = padded(j->a->v_head_dim);
	const uint32_t *values = (const uint32_t *)j->values + begin * width + dim + h * 2 * LANES;
	const __mmask64 live = live_from(dim, j->a->v_head_dim);
	struct pair sum[BLOCK_ROWS][2];
	for (int r = 0; r < rows; r++)
		for (int i = 0; i < 2; i++)
			sum[r][i] = (struct pair){ _mm512_setzero_si512(), _mm512_setzero_si512() };
	for (int p = begin; p < end; p++, values += width) {
		__m512i v[2];
		if (!packed) {
			value_words(t, p, dim, live, h, v);
			ask(next, 2);
		} else {
			v[0] = _mm512_loadu_si512(values);
			v[1] = _mm512_loadu_si512(values + LANES);
		}
		for (int r = 0; r < rows; r++) {
			const unsigned char *weights = (const unsigned char *)(s + r * TILE) + 4 * p;
			__m512i high = four_at(weights), low = four_at(weights + TILE);
			for (int i = 0; i < 2; i++) {
				sum[r][i].high = _mm512_dpbusd_epi32(sum[r][i].high, high, v[i]);
				sum[r][i].low = _mm512_dpbusd_epi32(sum[r][i].low, low, v[i]);
			}
		}
	}
	for (int r = 0; r < rows; r++) {
		float *state = states + r * stride, *o = state + ATTENTION_STATE_O + dim + h * 2 * LANES;
		__m512 rescale = _mm512_set1_ps(state[STATE_RESCALE]), weight = _mm512_set1_ps(state[STATE_WEIGHT]);
		for (int i = 0; i < 2; i++, o += LANES) {
			__m512 x = _mm512_mul_ps(_mm512_cvtepi32_ps(whole_of(sum[r][i])), _mm512_set1_ps(1 / WEIGHT_MOST));
			_mm512_storeu_ps(o, _mm512_fmadd_ps(x, weight, _mm512_mul_ps(_mm512_loadu_ps(o), rescale)));
		}
	}
}

INLINE void values_rows(const int rows, const bool packed, const struct job *j, const struct tile *t, struct asking *next,
			int begin, int end, const float *s, float *states)
{
	for (int64_t dim = 0; dim < j->a->v_head_dim; dim += UNIT) {
		values_block(rows, 0, packed, j, t, next, dim, begin, end, s, states);
		values_block(rows, 1, packed, j, t, next, dim, begin, end, s, states);
	}
}

/* Adds keys begin..end to rows r..r + n, of which all see all of them; s: of row r. */
INLINE void values(const bool packed, const struct job *j, const struct tile *t, struct asking *next, int64_t r, int64_t n,
		   const float *s, int begin, int end)
{
	begin /= 4;
	end = (end + 3) / 4;
	for (int64_t done = 0; done < n; done += BLOCK_ROWS) {
		const float *weights = s + done * TILE;
		float *states = j->part + (r + done) * j->state_floats;
		switch (rows_from(done, n)) {
		case 1:
			values_rows(1, packed, j, t, next, begin, end, weights, states);
			break;
		case 2:
			values_rows(2, packed, j, t, next, begin, end, weights, states);
			break;
		case 3:
			values_rows(3, packed, j, t, next, begin, end, weights, states);
			break;
		default:
			values_rows(4, packed, j, t, next, begin, end, weights, states);
		}
	}
}

/* ---- Tiles, rows ---- */

/* Adds the tile's keys to all rows. */
INLINE void add_keys(const bool packed, const struct job *j, const struct tile *t, struct asking *next_keys,
		     struct asking *next_values)
{
	int v_begin = t->begin / LANES, v_end = (t->end + LANES - 1) / LANES, begin = 0, end = TILE;
	bool whole = all_see_all(j, t);
	for (int64_t first = 0, n; first < j->n_rows; first += n) {
		n = j->n_rows - first < GROUP_ROWS ? j->n_rows - first : GROUP_ROWS;
		scores(packed, j, t, next_keys, first, n, v_begin, v_end);
		for (int64_t r = first, rows; r < first + n; r += rows) {
			rows = whole ? n : rows_of_token(j, t, r, first + n - r, &begin, &end);
			float *s = j->s + (r - first) * TILE;
			if (begin >= end)
				continue;
			softmax(j, t, r, rows, s, begin, end);
			values(packed, j, t, next_values, r, rows, s, begin, end);
		}
	}
}

static void add_tile(const struct job *j, const struct tile *t, const struct tile *next)
{
	struct asking keys = ask_for(next->k, j->a->head_dim), values = ask_for(next->v, j->a->v_head_dim);
	bool few = j->n_rows <= BLOCK_ROWS;
	if (few) {
		add_keys(false, j, t, &keys, &values);
	} else {
		pack_keys(j, t, &keys, t->begin / LANES, (t->end + LANES - 1) / LANES);
		pack_values(j, t, &values, t->begin / 4, (t->end + 3) / 4);
		add_keys(true, j, t, &keys, &values);
	}
}

static void store_row(const struct attention_args *a, const float *o, float rescale, float l, int64_t first)
{
	for (int64_t dim = 0; dim < a->v_head_dim; dim += UNIT) {
		__m512 x[4], y[4];
		for (int i = 0; i < 4; i++) {
			x[i] = _mm512_mul_ps(_mm512_loadu_ps(o + dim + i * LANES), _mm512_set1_ps(rescale));
			x[i] = _mm512_div_ps(x[i], _mm512_set1_ps(l));
		}
		/* Four dimensions of each 16 are in each vector: 128 bits of each belong together. */
		__m512 a01 = _mm512_shuffle_f32x4(x[0], x[1], 0x44), b01 = _mm512_shuffle_f32x4(x[0], x[1], 0xee);
		__m512 a23 = _mm512_shuffle_f32x4(x[2], x[3], 0x44), b23 = _mm512_shuffle_f32x4(x[2], x[3], 0xee);
		y[0] = _mm512_shuffle_f32x4(a01, a23, 0x88);
		y[1] = _mm512_shuffle_f32x4(a01, a23, 0xdd);
		y[2] = _mm512_shuffle_f32x4(b01, b23, 0x88);
		y[3] = _mm512_shuffle_f32x4(b01, b23, 0xdd);
		for (int i = 0; i < 4 && dim + i * LANES < a->v_head_dim; i++)
			avx512_store(a->out_type, a->out, first + dim + i * LANES, avx512_mask16(a->v_head_dim - dim - i * LANES), y[i]);
	}
}

const char *attention_avx512vnni_refuse(const struct attention_request *r)
{
	if (r->kv_type != DTYPE_I8)
		return "takes int8 caches only";
	return attention_refuse_vectors(r);
}

void attention_avx512vnni(const struct attention_args *a, const struct attention_item *it, void *scratch)
{
	run_item(a, it, scratch);
}

void attention_avx512vnni_merge(const struct attention_args *a, const struct attention_item *it, void *scratch)
{
	merge_item(a, it, scratch);
}
