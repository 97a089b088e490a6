/* attention_log2_avx512.h - what attention_avx512bf16.c and attention_avx512vnni.c share: the softmax, the fold of states and the
 * results. attention_walk.h walks; each of the two defines the three functions that are declared below, and what
 * that header asks for but merge_states and write_row. Everything is static.
 *
 * Scores count in units of log2, so that p = 2^(x - max), and so do states.
 */
#ifndef KERNELS_ATTENTION_LOG2_AVX512_H
#define KERNELS_ATTENTION_LOG2_AVX512_H

#include "avx512.h"
#include "attention_walk.h"
#include "math_avx512.h"

#define LANES 16
#define TILE_VECTORS (TILE / LANES)
/* Rows whose scores are computed before their values: [ROWS, TILE] scores beside a tile's keys and values. */
#define GROUP_ROWS 32
/* Rows whose softmax is computed together, where all see the whole tile. */
#define SOFTMAX_ROWS 16

#define LOG2E 0x1.715476p+0f
#define LN2 0x1.62e43p-1f

/* Vector i of the products q k^T of row r of the job, whose scores are at s, times the keys' scales where there are any. */
INLINE __m512 products(const struct job *j, const struct tile *t, int64_t r, const float *s, int i);
/* Writes the row's weights to s, in the kernel's own form, from p; gives in p what their sum is taken of. Keys that are not `seen` (NULL:
 * all are) weigh nothing. */
INLINE void put_weights(const struct tile *t, const __mmask16 *seen, __m512 p[TILE_VECTORS], float *s, float *state);
/* Writes o, times `rescale`, divided by l, to element `first` of the results, in the order of dimensions. */
static void store_row(const struct attention_args *a, const float *o, float rescale, float l, int64_t first);

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

/* Turns a row's scores into weights relative to its new maximum; only keys begin..end of the tile count. */
static void softmax_row(const struct job *j, const struct tile *t, int64_t r, float *s, float *state, int begin, int end)
{
	float softcap = j->a->softcap;
	__m512 x[TILE_VECTORS], low = _mm512_set1_ps(-INFINITY);
	__mmask16 seen[TILE_VECTORS];
	for (int i = 0; i < TILE_VECTORS; i++) {
		seen[i] = in_sight(i, begin, end);
		x[i] = products(j, t, r, s, i);
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
		memset(s, 0, TILE * sizeof *s);
		state[STATE_RESCALE] = 1;
		if (isnan(sum))
			state[0] = state[1] = state[STATE_RESCALE] = sum;
		return;
	}
	float rescale = exp2_one(state[0] - m);
	for (int i = 0; i < TILE_VECTORS; i++)
		x[i] = exp2_of(_mm512_sub_ps(x[i], _mm512_set1_ps(m)));
	put_weights(t, seen, x, s, state);
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

/* softmax_row of 16 rows from r0 on that see the whole tile, without a softcap: the same operations on each, with the folds
 * over lanes and the rescaling done for all at once. */
static void softmax_rows(const struct job *j, const struct tile *t, int64_t r0, float *s, float *states)
{
	const int64_t stride = j->state_floats;
	const __m512 factor = _mm512_set1_ps(j->a->scale * LOG2E);
	__m512 row[SOFTMAX_ROWS];
	float old_max[SOFTMAX_ROWS], new_max[SOFTMAX_ROWS], old_sum[SOFTMAX_ROWS], sum[SOFTMAX_ROWS], rescale[SOFTMAX_ROWS];
	for (int r = 0; r < SOFTMAX_ROWS; r++) {
		__m512 x[TILE_VECTORS];
		for (int i = 0; i < TILE_VECTORS; i++)
			x[i] = _mm512_mul_ps(products(j, t, r0 + r, s + r * TILE, i), factor);
		row[r] = _mm512_max_ps(_mm512_max_ps(x[0], x[1]), _mm512_max_ps(x[2], x[3]));
		old_max[r] = states[r * stride];
		old_sum[r] = states[r * stride + 1];
	}
	__m512 before = _mm512_loadu_ps(old_max), m = _mm512_max_ps(fold_rows(false, row), before);
	if (_mm512_cmp_ps_mask(m, _mm512_set1_ps(-INFINITY), _CMP_NGT_UQ)) {
		for (int r = 0; r < SOFTMAX_ROWS; r++)
			softmax_row(j, t, r0 + r, s + r * TILE, states + r * stride, 0, TILE);
		return;
	}
	_mm512_storeu_ps(new_max, m);
	for (int r = 0; r < SOFTMAX_ROWS; r++) {
		__m512 x[TILE_VECTORS];
		for (int i = 0; i < TILE_VECTORS; i++) {
			x[i] = _mm512_mul_ps(products(j, t, r0 + r, s + r * TILE, i), factor);
			x[i] = exp2_of(_mm512_sub_ps(x[i], _mm512_set1_ps(new_max[r])));
		}
		put_weights(t, NULL, x, s + r * TILE, states + r * stride);
		row[r] = _mm512_add_ps(_mm512_add_ps(x[0], x[1]), _mm512_add_ps(x[2], x[3]));
	}
	__m512 by = exp2_of(_mm512_sub_ps(before, m));
	_mm512_storeu_ps(rescale, by);
	_mm512_storeu_ps(sum, _mm512_add_ps(_mm512_mul_ps(_mm512_loadu_ps(old_sum), by), fold_rows(true, row)));
	for (int r = 0; r < SOFTMAX_ROWS; r++) {
		states[r * stride] = new_max[r];
		states[r * stride + 1] = sum[r];
		states[r * stride + STATE_RESCALE] = rescale[r];
	}
}

/* fold_rows of 4: lane r of 128 bits is row r's, in each of its places. */
INLINE __m512 fold_four(const bool sums, const __m512 v[4])
{
	__m512 a = fold(sums, _mm512_shuffle_f32x4(v[0], v[1], 0x44), _mm512_shuffle_f32x4(v[0], v[1], 0xee));
	__m512 b = fold(sums, _mm512_shuffle_f32x4(v[2], v[3], 0x44), _mm512_shuffle_f32x4(v[2], v[3], 0xee));
	a = fold(sums, _mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
	a = fold(sums, a, _mm512_permute_ps(a, 0x4e));
	return fold(sums, a, _mm512_permute_ps(a, 0xb1));
}

/* softmax_rows of 4, whose scores stay in registers: decoding often has no more. */
INLINE void softmax_four(const struct job *j, const struct tile *t, int64_t r0, float *s, float *states)
{
	const int64_t stride = j->state_floats;
	const __m512 factor = _mm512_set1_ps(j->a->scale * LOG2E);
	__m512 x[4][TILE_VECTORS], row[4];
	float new_max[LANES], sum[LANES], rescale[LANES];
	for (int r = 0; r < 4; r++) {
		for (int i = 0; i < TILE_VECTORS; i++)
			x[r][i] = _mm512_mul_ps(products(j, t, r0 + r, s + r * TILE, i), factor);
		row[r] = _mm512_max_ps(_mm512_max_ps(x[r][0], x[r][1]), _mm512_max_ps(x[r][2], x[r][3]));
	}
	__m512 state = _mm512_castps128_ps512(_mm_loadu_ps(states));
	state = _mm512_insertf32x4(state, _mm_loadu_ps(states + stride), 1);
	state = _mm512_insertf32x4(state, _mm_loadu_ps(states + 2 * stride), 2);
	state = _mm512_insertf32x4(state, _mm_loadu_ps(states + 3 * stride), 3);
	__m512 before = _mm512_permute_ps(state, 0x00), old_sum = _mm512_permute_ps(state, 0x55);
	__m512 m = _mm512_max_ps(fold_four(false, row), before);
	if (_mm512_cmp_ps_mask(m, _mm512_set1_ps(-INFINITY), _CMP_NGT_UQ)) {
		for (int r = 0; r < 4; r++)
			softmax_row(j, t, r0 + r, s + r * TILE, states + r * stride, 0, TILE);
		return;
	}
	_mm512_storeu_ps(new_max, m);
	for (int r = 0; r < 4; r++) {
		for (int i = 0; i < TILE_VECTORS; i++)
			x[r][i] = exp2_of(_mm512_sub_ps(x[r][i], _mm512_set1_ps(new_max[4 * r])));
		put_weights(t, NULL, x[r], s + r * TILE, states + r * stride);
		row[r] = _mm512_add_ps(_mm512_add_ps(x[r][0], x[r][1]), _mm512_add_ps(x[r][2], x[r][3]));
	}
	__m512 by = exp2_of(_mm512_sub_ps(before, m));
	_mm512_storeu_ps(rescale, by);
	_mm512_storeu_ps(sum, _mm512_add_ps(_mm512_mul_ps(old_sum, by), fold_four(true, row)));
	for (int r = 0; r < 4; r++) {
		states[r * stride] = new_max[4 * r];
		states[r * stride + 1] = sum[4 * r];
		states[r * stride + STATE_RESCALE] = rescale[4 * r];
	}
}

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
		for (; n >= SOFTMAX_ROWS; n -= SOFTMAX_ROWS, r += SOFTMAX_ROWS, s += SOFTMAX_ROWS * TILE, states += SOFTMAX_ROWS * stride)
			softmax_rows(j, t, r, s, states);
		for (; n >= 4; n -= 4, r += 4, s += 4 * TILE, states += 4 * stride)
			softmax_four(j, t, r, s, states);
	}
	for (int64_t i = 0; i < n; i++)
		softmax_row(j, t, r + i, s + i * TILE, states + i * stride, begin, end);
}

/* ---- States and results ---- */

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

#endif
