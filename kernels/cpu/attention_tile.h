/* attention_tile.h - attention over lanes: the body of attention_avx2.c and attention_avx512.c, each of which includes
 * its attention_lanes_*.h first. Everything is static; there is no other includer.
 *
 * DESIGN. attention_walk.h walks; a tile is
 *   keys    the tile's keys are transposed into `keys` [d][TILE], so that a lane is a key
 *   scores  s[row][key]: one chain of fused multiply-adds over d, ascending, for each score
 *   softmax row by row: new maximum, p = exp(s - max), sum in one tree over the tile's positions
 *   values  o[row][dim]: one chain over the keys that the row sees, ascending; a lane is a dimension
 * Each number of a row's result is thus a fixed sequence of operations on that row's own operands, whatever rows are
 * computed beside it (BLOCK_ROWS at a time, or fewer) and however wide the vectors are. Keys that a row does not see
 * are not multiplied by zero but left out of its chains, so that not even a NaN in them is noticed.
 *
 * bf16 comes in pairs of 32 bits that one shift and one mask take apart: for keys, a pair is two successive d; for
 * values, two successive dimensions, so that o is kept as runs of LANES even and LANES odd dimensions until it is
 * written.
 */
#ifndef KERNELS_ATTENTION_TILE_H
#define KERNELS_ATTENTION_TILE_H

#include "attention_walk.h"

#define TILE_VECTORS (TILE / LANES)
/* Dimensions that a load of values covers. */
#define UNIT (2 * LANES)
/* Keys and values of the next tile are asked into L2. Measured 2026-11-22 on an AMD EPYC (Zen 4), bench_attention's
 * decode case of 32/8 heads of 64 on one thread: 15.4 GB/s; into L1 8.6 (too few lines may be on their way to L1 at
 * once), into L3 12.6, not asked for at all 6.1. */
#define PREFETCH(p) _mm_prefetch((const char *)(p), _MM_HINT_T1)

static float exp_one(float x)
{
	float lanes[LANES];
	vf_store(lanes, vf_exp(vf_set1(x)));
	return lanes[0];
}

/* ---- Keys ---- */

/* 4 values of LANES rows of f16, as f32, transposed. */
static void transpose_f16(const unsigned char *const *rows, int64_t offset, vi out[4])
{
	float wide[LANES][4];
	const unsigned char *wide_rows[LANES];
	for (int i = 0; i < LANES; i++) {
		_mm_storeu_ps(wide[i], _mm_cvtph_ps(_mm_loadl_epi64((const void *)(rows[i] + offset))));
		wide_rows[i] = (const unsigned char *)wide[i];
	}
	vi_transpose(wide_rows, 0, out);
}

/* The same of int8. */
static void transpose_i8(const unsigned char *const *rows, int64_t offset, vi out[4])
{
	__m128i wide[LANES];
	const unsigned char *wide_rows[LANES];
	for (int i = 0; i < LANES; i++) {
		int32_t four;
		memcpy(&four, rows[i] + offset, sizeof four);
		wide[i] = _mm_castps_si128(_mm_cvtepi32_ps(_mm_cvtepi8_epi32(_mm_cvtsi32_si128(four))));
		wide_rows[i] = (const unsigned char *)&wide[i];
	}
	vi_transpose(wide_rows, 0, out);
}

/* Transposes vectors v_begin..v_end of the tile's keys, and asks for the next tile's meanwhile: decoding is as fast as
 * memory only if loads are under way while the previous tile is computed (values_block does the same). */
static void pack_keys(const struct job *j, const struct tile *t, const struct tile *next, int v_begin, int v_end)
{
	enum dtype type = j->a->kv_type;
	int64_t step = type == DTYPE_I8 ? 4 : type == DTYPE_F16 ? 8 : 16, row_bytes = j->a->head_dim * (int64_t)j->type_bytes;
	for (int v = v_begin; v < v_end; v++) {
		float *out = (float *)j->keys + v * LANES;
		for (int64_t b = 0; b < row_bytes; b += step, out += 4 * TILE) {
			vi x[4];
			if (type == DTYPE_I8)
				transpose_i8(t->k + v * LANES, b, x);
			else if (type == DTYPE_F16)
				transpose_f16(t->k + v * LANES, b, x);
			else
				vi_transpose(t->k + v * LANES, b, x);
			/* A quarter of the rows' next lines with each 16 bytes of every row. */
			for (int i = 0; i < LANES / 4; i++)
				PREFETCH(next->k[v * LANES + b / 16 % 4 * (LANES / 4) + i] + b / 64 * 64);
			for (int i = 0; i < 4; i++)
				memcpy(out + i * TILE, &x[i], sizeof x[i]);
		}
	}
}

/* ---- Scores ---- */

INLINE void scores_block(const int rows, const int nv, const bool pairs, const struct job *j, const float *q, int v,
			 float *s)
{
	const float *keys = (const float *)j->keys + v * LANES;
	int64_t d = j->a->head_dim;
	vf acc[BLOCK_ROWS][BLOCK_VECTORS];
	for (int r = 0; r < rows; r++)
		for (int i = 0; i < nv; i++)
			acc[r][i] = vf_zero();
	for (int64_t n = 0; n < d; keys += TILE) {
		if (pairs) {
			vf k[BLOCK_VECTORS];
			for (int i = 0; i < nv; i++)
				k[i] = vf_bf16_lower(vi_load(keys + i * LANES));
			for (int r = 0; r < rows; r++)
				for (int i = 0; i < nv; i++)
					acc[r][i] = vf_fma(vf_set1(q[r * d + n]), k[i], acc[r][i]);
			for (int i = 0; i < nv; i++)
				k[i] = vf_bf16_upper(vi_load(keys + i * LANES));
			for (int r = 0; r < rows; r++)
				for (int i = 0; i < nv; i++)
					acc[r][i] = vf_fma(vf_set1(q[r * d + n + 1]), k[i], acc[r][i]);
			n += 2;
		} else {
			vf k[BLOCK_VECTORS];
			for (int i = 0; i < nv; i++)
				k[i] = vf_load(keys + i * LANES);
			for (int r = 0; r < rows; r++)
				for (int i = 0; i < nv; i++)
					acc[r][i] = vf_fma(vf_set1(q[r * d + n]), k[i], acc[r][i]);
			n += 1;
		}
	}
	for (int r = 0; r < rows; r++)
		for (int i = 0; i < nv; i++)
			vf_store(s + r * TILE + (v + i) * LANES, acc[r][i]);
}

/* Scores of `rows` rows against vectors v_begin..v_end of the tile. */
INLINE void scores_rows(const int rows, const bool pairs, const struct job *j, const float *q, int v_begin, int v_end,
			float *s)
{
	int v = v_begin;
	for (; v + BLOCK_VECTORS <= v_end; v += BLOCK_VECTORS)
		scores_block(rows, BLOCK_VECTORS, pairs, j, q, v, s);
	for (; v < v_end; v++)
		scores_block(rows, 1, pairs, j, q, v, s);
}

INLINE void scores_any(int rows, const bool pairs, const struct job *j, const float *q, int v_begin, int v_end,
		       float *s)
{
	switch (rows) {
	case 1:
		scores_rows(1, pairs, j, q, v_begin, v_end, s);
		break;
	case 2:
		scores_rows(2, pairs, j, q, v_begin, v_end, s);
		break;
	case 3:
		scores_rows(3, pairs, j, q, v_begin, v_end, s);
		break;
	case 4:
		scores_rows(4, pairs, j, q, v_begin, v_end, s);
		break;
	case 5:
		scores_rows(5, pairs, j, q, v_begin, v_end, s);
		break;
	default:
		scores_rows(6, pairs, j, q, v_begin, v_end, s);
	}
}

/* The size of the next group of at most BLOCK_ROWS when `left` rows are cut into nearly equal groups: 8 gives 4 and 4,
 * which wastes less than 6 and 2. */
INLINE int64_t group_size(int64_t left)
{
	int64_t n_groups = (left + BLOCK_ROWS - 1) / BLOCK_ROWS;
	return (left + n_groups - 1) / n_groups;
}

static void scores(const struct job *j, int v_begin, int v_end)
{
	for (int64_t r = 0, n; r < j->n_rows; r += n) {
		n = group_size(j->n_rows - r);
		const float *q = (const float *)j->q + r * j->a->head_dim;
		float *s = j->s + r * TILE;
		if (j->a->kv_type == DTYPE_BF16)
			scores_any((int)n, true, j, q, v_begin, v_end, s);
		else
			scores_any((int)n, false, j, q, v_begin, v_end, s);
	}
}

/* ---- Softmax ---- */

/* Turns a row's scores into probabilities relative to its new maximum; only keys begin..end of the tile count. */
static void softmax_row(const struct job *j, const struct tile *t, float *s, float *state, int begin, int end)
{
	float softcap = j->a->softcap;
	bool scaled = j->a->kv_type == DTYPE_I8;
	vf x[TILE_VECTORS];
	for (int i = 0; i < TILE_VECTORS; i++) {
		x[i] = vf_load(s + i * LANES);
		if (scaled)
			x[i] = vf_mul(x[i], vf_load(t->k_scale + i * LANES));
		x[i] = vf_mul(x[i], vf_set1(j->a->scale));
		if (softcap > 0)
			x[i] = vf_mul(vf_tanh(vf_div(x[i], vf_set1(softcap))), vf_set1(softcap));
		if (begin > 0 || end < TILE)
			x[i] = vf_keep(x[i], begin - i * LANES, end - i * LANES);
	}
	float m = tile_max(x);
	m = m > state[0] ? m : state[0];
	if (m == -INFINITY) {
		/* Nothing but -inf, or a NaN that the maximum has passed over and that must not be lost. */
		float sum = tile_sum(x);
		memset(s, 0, TILE * sizeof *s);
		state[STATE_RESCALE] = 1;
		if (isnan(sum))
			state[0] = state[1] = state[STATE_RESCALE] = sum;
		return;
	}
	float rescale = state[0] == m ? 1 : exp_one(state[0] - m);
	for (int i = 0; i < TILE_VECTORS; i++) {
		x[i] = vf_exp(vf_sub(x[i], vf_set1(m)));
		vf_store(s + i * LANES, scaled ? vf_mul(x[i], vf_load(t->v_scale + i * LANES)) : x[i]);
	}
	state[0] = m;
	state[1] = state[1] * rescale + tile_sum(x);
	state[STATE_RESCALE] = rescale;
}

/* ---- Values ---- */

/* One load of values: UNIT dimensions from `row` on, of which `left` exist where `whole` is false. */
INLINE void load_values(const enum dtype type, const bool whole, const unsigned char *row, int left, vf *a, vf *b)
{
	int n = left < LANES ? left : LANES, m = left - n;
	if (type == DTYPE_BF16) {
		vi w = whole ? vi_load(row) : vi_load_n(row, left / 2);
		*a = vf_bf16_lower(w);
		*b = vf_bf16_upper(w);
	} else if (type == DTYPE_I8) {
		*a = vf_i8(row, n);
		*b = vf_i8(row + LANES, m);
	} else {
		*a = vf_widen(type, row, 0, whole ? LANES : n);
		*b = vf_widen(type, row, LANES, whole ? LANES : m);
	}
}

/* nv vectors of dimensions from `dim` on, for `rows` rows and keys begin..end. */
INLINE void values_block(const int rows, const int nv, const bool whole, const enum dtype type, const struct job *j,
			 const struct tile *t, const struct tile *next, int64_t dim, int begin, int end, const float *s, float *states)
{
	vf acc[BLOCK_ROWS][BLOCK_VECTORS];
	float *o = states + ATTENTION_STATE_O + dim;
	const int size = type == DTYPE_F32 ? 4 : type == DTYPE_I8 ? 1 : 2;
	int64_t stride = j->state_floats, offset = dim * size;
	int64_t left = j->a->v_head_dim - dim;
	for (int r = 0; r < rows; r++)
		for (int i = 0; i < nv; i++)
			acc[r][i] = vf_mul(vf_load(o + r * stride + i * LANES),
					   vf_set1(states[r * stride + STATE_RESCALE]));
	for (int n = begin; n < end; n++) {
		vf v[BLOCK_VECTORS];
		for (int i = 0; i < nv * LANES * size; i += 64)
			PREFETCH(next->v[n] + offset + i);
		for (int i = 0; i < nv; i += 2)
			load_values(type, whole, t->v[n] + offset + i * LANES * size,
				    left > UNIT ? UNIT : (int)left, &v[i], &v[i + 1]);
		for (int r = 0; r < rows; r++)
			for (int i = 0; i < nv; i++)
				acc[r][i] = vf_fma(vf_set1(s[r * TILE + n]), v[i], acc[r][i]);
	}
	for (int r = 0; r < rows; r++)
		for (int i = 0; i < nv; i++)
			vf_store(o + r * stride + i * LANES, acc[r][i]);
}

INLINE void values_rows(const int rows, const enum dtype type, const struct job *j, const struct tile *t,
			const struct tile *next, int begin, int end, const float *s, float *states)
{
	int64_t dim = 0, dv = j->a->v_head_dim;
	for (; dim + BLOCK_VECTORS * LANES <= dv; dim += BLOCK_VECTORS * LANES)
		values_block(rows, BLOCK_VECTORS, true, type, j, t, next, dim, begin, end, s, states);
	for (; dim < dv; dim += UNIT)
		values_block(rows, 2, false, type, j, t, next, dim, begin, end, s, states);
}

INLINE void values_any(int rows, const enum dtype type, const struct job *j, const struct tile *t,
		       const struct tile *next, int begin, int end, const float *s, float *states)
{
	switch (rows) {
	case 1:
		values_rows(1, type, j, t, next, begin, end, s, states);
		break;
	case 2:
		values_rows(2, type, j, t, next, begin, end, s, states);
		break;
	case 3:
		values_rows(3, type, j, t, next, begin, end, s, states);
		break;
	case 4:
		values_rows(4, type, j, t, next, begin, end, s, states);
		break;
	case 5:
		values_rows(5, type, j, t, next, begin, end, s, states);
		break;
	default:
		values_rows(6, type, j, t, next, begin, end, s, states);
	}
}

/* Adds keys begin..end, which all of rows r..r + n see, to their states. */
static void values(const struct job *j, const struct tile *t, const struct tile *next, int64_t r, int64_t n, int begin,
		   int end)
{
	int64_t last = r + n;
	for (; r < last; r += n) {
		n = group_size(last - r);
		const float *s = j->s + r * TILE;
		float *states = j->part + r * j->state_floats;
		if (j->a->kv_type == DTYPE_BF16)
			values_any((int)n, DTYPE_BF16, j, t, next, begin, end, s, states);
		else if (j->a->kv_type == DTYPE_F16)
			values_any((int)n, DTYPE_F16, j, t, next, begin, end, s, states);
		else if (j->a->kv_type == DTYPE_I8)
			values_any((int)n, DTYPE_I8, j, t, next, begin, end, s, states);
		else
			values_any((int)n, DTYPE_F32, j, t, next, begin, end, s, states);
	}
}

/* ---- Tiles, rows ---- */

static void add_tile(const struct job *j, const struct tile *t, const struct tile *next)
{
	int v_begin = t->begin / LANES, v_end = (t->end + LANES - 1) / LANES;
	pack_keys(j, t, next, v_begin, v_end);
	scores(j, v_begin, v_end);
	if (all_see_all(j, t)) {
		for (int64_t r = 0; r < j->n_rows; r++)
			softmax_row(j, t, j->s + r * TILE, j->part + r * j->state_floats, 0, TILE);
		values(j, t, next, 0, j->n_rows, 0, TILE);
		return;
	}
	for (int64_t i = 0; i < j->n_tokens; i++) {
		int begin, end;
		visible_in_tile(j, t, i, &begin, &end);
		if (begin >= end)
			continue;
		for (int64_t r = i * j->g; r < (i + 1) * j->g; r++)
			softmax_row(j, t, j->s + r * TILE, j->part + r * j->state_floats, begin, end);
		values(j, t, next, i * j->g, j->g, begin, end);
	}
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
	float fa = a[0] == m ? 1 : exp_one(a[0] - m);
	float fb = b[0] == m ? 1 : exp_one(b[0] - m);
	a[0] = m;
	a[1] = a[1] * fa + b[1] * fb;
	for (int64_t i = ATTENTION_STATE_O; i < n_floats; i += LANES)
		vf_store(a + i, vf_fma(vf_load(a + i), vf_set1(fa), vf_mul(vf_load(b + i), vf_set1(fb))));
}

/* Writes o in the order of dimensions, times `rescale`, divided by l, to `p`. */
static void store_row(const struct attention_args *a, const float *o, float rescale, float l, void *p)
{
	float ordered[ATTENTION_MAX_HEAD_DIM];
	if (a->kv_type == DTYPE_BF16) {
		for (int64_t i = 0; i < a->v_head_dim; i += UNIT)
			vf_interleave(vf_load(o + i), vf_load(o + i + LANES), ordered + i);
		o = ordered;
	}
	for (int64_t i = 0; i < a->v_head_dim; i += LANES) {
		int64_t left = a->v_head_dim - i;
		vf v = vf_div(vf_mul(vf_load(o + i), vf_set1(rescale)), vf_set1(l));
		vf_narrow(a->out_type, p, i, left < LANES ? (int)left : LANES, v);
	}
}

static void write_row(const struct job *j, int64_t r, const float *state)
{
	const struct attention_args *a = j->a;
	int64_t token = j->first_token + r / j->g, head = j->kv_head * j->g + r % j->g;
	size_t bytes = dtype_bytes(a->out_type);
	unsigned char *p = (unsigned char *)a->out + (size_t)(token * a->out_stride + head * a->v_head_dim) * bytes;
	float m = state[0], l = state[1], rescale = 1;
	if (a->sinks) {
		float sink = a->sinks[head];
		m = sink > m ? sink : m;
		rescale = exp_one(state[0] - m);
		l = l * rescale + exp_one(sink - m);
	}
	if (state[0] == -INFINITY)
		memset(p, 0, (size_t)a->v_head_dim * bytes);
	else
		store_row(a, state + ATTENTION_STATE_O, rescale, l, p);
	if (a->lse)
		a->lse[token * a->n_heads + head] = m == -INFINITY ? m : m + logf(l);
}

/* n values of type `type`, from element `first` of `p`, as f32. */
static void widen(enum dtype type, const void *p, int64_t first, int64_t n, float *out)
{
	for (int64_t i = 0; i < n; i += LANES) {
		int left = n - i < LANES ? (int)(n - i) : LANES;
		vf_narrow(DTYPE_F32, out, i, left, vf_widen(type, p, first + i, left));
	}
}

static int64_t query_bytes(const struct attention_args *a)
{
	return (a->head_dim + 31) / 32 * 32 * (int64_t)sizeof(float);
}

static void take_queries(const struct job *j)
{
	const struct attention_args *a = j->a;
	for (int64_t i = 0; i < j->n_tokens; i++)
		widen(a->q_type, a->q, (j->first_token + i) * a->q_stride + j->kv_head * j->g * a->head_dim,
		      j->g * a->head_dim, (float *)j->q + i * j->g * a->head_dim);
}

static void lay_out(struct job *j, float *scratch)
{
	j->s = scratch;
	j->keys = j->s + j->n_rows * TILE;
}

#endif
