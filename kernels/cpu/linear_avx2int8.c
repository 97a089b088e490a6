/* linear for quantised weights by AVX2.
 *
 * Order of summation: that of the contract, which every kernel has (kernels/ops/linear.h). Weights are signed bytes (linear_groups.h): sizes
 * of weights, up to 128, times activations with the weights' signs, up to 127, so that vpmaddubsw's pairs stay below 2^15.
 */
#include "avx2.h"
#include "linear_groups.h"
#include "linear_panels.h"

/* Registers: 8 sums, 2 of weights and 2 of their sizes, 2 for a product, 1 of ones; float32 sums wait in memory. */
#define TOKENS 4

static const struct linear_form form = { .rows = GROUP_ROWS, .tokens = TOKENS };

/* Adds a step of 16 rows: their 4 k by the tokens'. */
static inline __attribute__((always_inline)) void step(__m256i w0, __m256i w1, const int *word, __m256i sum[2][TOKENS],
							const int tokens)
{
	const __m256i ones = _mm256_set1_epi16(1);
	const __m256i size0 = _mm256_abs_epi8(w0), size1 = _mm256_abs_epi8(w1);
#pragma GCC unroll 4
	for (int c = 0; c < tokens; c++) {
		__m256i x = _mm256_set1_epi32(word[c]);
		__m256i a = _mm256_maddubs_epi16(size0, _mm256_sign_epi8(x, w0));
		__m256i b = _mm256_maddubs_epi16(size1, _mm256_sign_epi8(x, w1));
		sum[0][c] = _mm256_add_epi32(sum[0][c], _mm256_madd_epi16(a, ones));
		sum[1][c] = _mm256_add_epi32(sum[1][c], _mm256_madd_epi16(b, ones));
	}
}

static inline __m256i load(const char *at)
{
	return _mm256_loadu_si256((const __m256i *)(const void *)at);
}

/* 8 rows' offsets, each in the 4 bytes of its row, for signed bytes. */
static inline __m256i offset_of(const char *at)
{
	__m256i offset = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)at));
	offset = _mm256_mullo_epi32(offset, _mm256_set1_epi32(0x01010101));
	return _mm256_sub_epi8(offset, _mm256_set1_epi8((char)128));
}

/* 8 rows' bytes of the 4 steps that lie in the place of 3. */
static inline __attribute__((always_inline)) void expand_q6(const char *set, __m256i step[4])
{
	const __m256i own = _mm256_set1_epi8((char)0xfc), high = _mm256_set1_epi8((char)0xc0);
	const __m256i middle = _mm256_set1_epi8(0x30), low = _mm256_set1_epi8(0x0c);
	__m256i a = load(set), b = load(set + 128), c = load(set + 256);
	step[3] = _mm256_and_si256(_mm256_slli_epi16(a, 6), high);
	step[3] = _mm256_or_si256(step[3], _mm256_and_si256(_mm256_slli_epi16(b, 4), middle));
	step[3] = _mm256_or_si256(step[3], _mm256_and_si256(_mm256_slli_epi16(c, 2), low));
	step[0] = _mm256_and_si256(a, own);
	step[1] = _mm256_and_si256(b, own);
	step[2] = _mm256_and_si256(c, own);
}

/* Rows [16 half, 16 half + 16) of a group: `w` its bytes, sets or nibbles; `units` and, of q4, `offsets` all rows'. */
static inline __attribute__((always_inline)) void group_of(const char *w, const char *units, const char *offsets, int half, const int *word,
							    float *total, const int tokens, const enum weight_format format)
{
	const __m256i mask = _mm256_set1_epi8(0x78); /* 8 times a nibble */
	__m256i sum[2][TOKENS];
#pragma GCC unroll 4
	for (int c = 0; c < tokens; c++)
		sum[0][c] = sum[1][c] = _mm256_set1_epi32(word[GROUP_MAGIC * tokens + c]);
	if (format == WEIGHT_Q4) {
		const __m256i offset0 = offset_of(offsets + 16 * half), offset1 = offset_of(offsets + 16 * half + 8);
		for (int j = 0; j < 4; j++) {
			__m256i v0 = load(w + 128 * j + 64 * half), v1 = load(w + 128 * j + 64 * half + 32);
			step(_mm256_add_epi8(_mm256_and_si256(_mm256_slli_epi16(v0, 3), mask), offset0),
			     _mm256_add_epi8(_mm256_and_si256(_mm256_slli_epi16(v1, 3), mask), offset1), word + 2 * j * tokens, sum,
			     tokens);
			step(_mm256_add_epi8(_mm256_and_si256(_mm256_srli_epi16(v0, 1), mask), offset0),
			     _mm256_add_epi8(_mm256_and_si256(_mm256_srli_epi16(v1, 1), mask), offset1), word + (2 * j + 1) * tokens,
			     sum, tokens);
		}
	} else if (format == WEIGHT_Q6) {
		for (int i = 0; i < 2; i++) {
			__m256i w0[4], w1[4];
			expand_q6(w + GROUP_Q6_SET * i + 64 * half, w0);
			expand_q6(w + GROUP_Q6_SET * i + 64 * half + 32, w1);
#pragma GCC unroll 4
			for (int s = 0; s < 4; s++)
				step(w0[s], w1[s], word + (4 * i + s) * tokens, sum, tokens);
		}
	} else {
		for (int s = 0; s < 8; s++)
			step(load(w + 128 * s + 64 * half), load(w + 128 * s + 64 * half + 32), word + s * tokens, sum, tokens);
	}
	for (int h = 0; h < 2; h++) {
		__m256 unit = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(units + 32 * half + 16 * h)));
		unit = _mm256_mul_ps(unit, _mm256_set1_ps(groups_unit_part(format)));
#pragma GCC unroll 4
		for (int c = 0; c < tokens; c++) {
			__m256 magic = _mm256_castsi256_ps(_mm256_set1_epi32(word[GROUP_MAGIC * tokens + c]));
			__m256 m = _mm256_castsi256_ps(_mm256_set1_epi32(word[GROUP_M * tokens + c]));
			__m256 dot = _mm256_sub_ps(_mm256_castsi256_ps(sum[h][c]), magic);
			float *to = total + 32 * c + 16 * half + 8 * h;
			_mm256_store_ps(to, _mm256_fmadd_ps(dot, _mm256_mul_ps(unit, m), _mm256_load_ps(to)));
		}
	}
}

/* A panel and a block of tokens. */
static inline __attribute__((always_inline)) void tile(const char *w, int64_t groups, int64_t per_head, const char *x, float *total,
							const int tokens, const enum weight_format format)
{
	const int lines = (int)((groups_stride(format) + 63) / 64);
	const char *head = w;
	memset(total, 0, (size_t)tokens * 32 * sizeof *total);
	for (int64_t g = 0; g < groups; g++, x += 4 * GROUP_WORDS * tokens) {
		const int *word = (const int *)(const void *)x;
		if (format == WEIGHT_Q4 && g % per_head == 0) {
			head = w;
			w += GROUP_Q4_HEAD;
		}
		const char *units = format == WEIGHT_Q4 ? head : w + groups_stride(format) - 64;
		for (int half = 0; half < 2; half++) {
			for (int i = half; i < lines + (format == WEIGHT_Q4); i += 2)
				__builtin_prefetch(w + GROUP_AHEAD + 64 * i, 0, 2);
			group_of(w, units, head + 64, half, word, total, tokens, format);
		}
		w += groups_stride(format);
	}
}

static inline __attribute__((always_inline)) void tile_any(const char *w, int64_t groups, int64_t per_head, const char *x,
							    float *total, int tokens, const enum weight_format format)
{
	switch (tokens) {
	case 1:
		tile(w, groups, per_head, x, total, 1, format);
		break;
	case 2:
		tile(w, groups, per_head, x, total, 2, format);
		break;
	case 3:
		tile(w, groups, per_head, x, total, 3, format);
		break;
	default:
		tile(w, groups, per_head, x, total, 4, format);
	}
}

static void tile_q8(const char *w, int64_t groups, int64_t per_head, const char *x, float *total, int tokens)
{
	tile_any(w, groups, per_head, x, total, tokens, WEIGHT_Q8);
}

static void tile_q6(const char *w, int64_t groups, int64_t per_head, const char *x, float *total, int tokens)
{
	tile_any(w, groups, per_head, x, total, tokens, WEIGHT_Q6);
}

static void tile_q4(const char *w, int64_t groups, int64_t per_head, const char *x, float *total, int tokens)
{
	tile_any(w, groups, per_head, x, total, tokens, WEIGHT_Q4);
}

static void finish(const struct linear_args *a, int64_t n, uint32_t live, int64_t t, int64_t count, const float *total)
{
	const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
	for (int h = 0; h < 4; h++) {
		__m256i mask = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)(live >> (8 * h))), bit), bit);
		for (int64_t c = 0; c < count; c++) {
			__m256 v = _mm256_load_ps(total + 32 * c + 8 * h);
			if (a->bias)
				v = _mm256_add_ps(v, _mm256_maskload_ps(a->bias + n + 8 * h, mask));
			_mm256_maskstore_ps(a->y + (t + c) * a->y_stride + n + 8 * h, mask, v);
		}
	}
}

static void run(const struct linear_args *a, int64_t n_begin, int64_t n_end)
{
	const int64_t blocks = linear_blocks(&form, a->t), groups = groups_of(a->k);
	const int64_t bytes = groups_panel_bytes(a->matrix->format, a->k, a->matrix->group);
	const enum weight_format format = a->matrix->format;
	_Alignas(32) float total[TOKENS * 32];
	for (int64_t n = n_begin / GROUP_ROWS * GROUP_ROWS; n < n_end; n += GROUP_ROWS) {
		const uint32_t live = linear_live(n, GROUP_ROWS, n_begin, n_end);
		for (int64_t i = 0; i < blocks; i++) {
			int64_t t = linear_block_begin(a->t, blocks, i), count = linear_block_begin(a->t, blocks, i + 1) - t;
			(format == WEIGHT_Q4 ? tile_q4 : format == WEIGHT_Q6 ? tile_q6 : tile_q8)(
				(const char *)a->packed + n / GROUP_ROWS * bytes, groups, a->matrix->group / LINEAR_GROUP,
				(const char *)a->scratch + t * groups * GROUP_WORDS * 4, total, (int)count);
			finish(a, n, live, t, count, total);
		}
	}
}

/* ---- Layouts ---- */

/* 32 values as integers, 8 words of 4; their scale and sum. */
static inline void quantise(const float v[LINEAR_GROUP], uint32_t word[8], float *scale, int32_t *sum)
{
	__m256 x[4];
	__m256i q[4], size = _mm256_setzero_si256();
	uint32_t sizes[8], largest = 0;
	for (int i = 0; i < 4; i++) {
		x[i] = _mm256_loadu_ps(v + 8 * i);
		size = _mm256_max_epu32(size, _mm256_and_si256(_mm256_castps_si256(x[i]), _mm256_set1_epi32(0x7fffffff)));
	}
	_mm256_storeu_si256((__m256i *)(void *)sizes, size);
	for (int i = 0; i < 8; i++)
		largest = sizes[i] > largest ? sizes[i] : largest;
	*scale = linear_scale_of(largest);
	__m256 inverse = _mm256_set1_ps(*scale > 0 ? 1.0f / *scale : 0);
	for (int i = 0; i < 4; i++)
		q[i] = *scale != *scale ? _mm256_setzero_si256() : _mm256_cvtps_epi32(_mm256_mul_ps(x[i], inverse));
	/* Packing takes 16-byte halves in turn: words come out as 0, 2, 4, 6, 1, 3, 5, 7. */
	__m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
	bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
	_mm256_storeu_si256((__m256i *)(void *)word, bytes);
	_mm256_storeu_si256((__m256i *)(void *)sizes, _mm256_add_epi32(_mm256_add_epi32(q[0], q[1]), _mm256_add_epi32(q[2], q[3])));
	*sum = 0;
	for (int i = 0; i < 8; i++)
		*sum += (int32_t)sizes[i];
}

static void prepare(const struct linear_args *a, int64_t t_begin, int64_t t_end)
{
	const int64_t blocks = linear_blocks(&form, a->t), groups = groups_of(a->k);
	const int32_t *order = a->matrix->order;
	for (int64_t t = t_begin; t < t_end; t++) {
		int64_t i = linear_block_of(a->t, blocks, t), first = linear_block_begin(a->t, blocks, i);
		int64_t width = linear_block_begin(a->t, blocks, i + 1) - first;
		uint32_t *column = (uint32_t *)a->scratch + first * groups * GROUP_WORDS + (t - first);
		for (int64_t g = 0; g < groups; g++, column += GROUP_WORDS * width) {
			float v[LINEAR_GROUP] = { 0 }, scale;
			uint32_t word[8];
			int32_t sum;
			int64_t k = g * LINEAR_GROUP, live = linear_min(LINEAR_GROUP, a->k - k);
			for (int64_t j = 0; order && j < live; j++)
				v[j] = dtype_load(a->x_type, a->x, (size_t)(t * a->x_stride + order[k + j]));
			if (!order)
				dtype_convert(DTYPE_F32, v, a->x_type,
					      (const char *)a->x + (size_t)(t * a->x_stride + k) * dtype_bytes(a->x_type), (size_t)live);
			quantise(v, word, &scale, &sum);
			for (int s = 0; s < 8; s++)
				column[s * width] = word[s];
			groups_put_scale(scale, sum, column, width);
		}
	}
}

static void pack(const struct weight_matrix *w, void *packed, int64_t panel_begin, int64_t panel_end)
{
	groups_pack(w, packed, panel_begin, panel_end, true);
}

static int64_t scratch_bytes(const struct linear_request *r, int64_t t)
{
	return groups_scratch_bytes(r->k, t);
}

const struct linear_kernel linear_avx2int8 = {
	.run = run, .refuse = linear_refuse_quantised, .panel = GROUP_ROWS, .packed_bytes = groups_packed_bytes, .pack = pack,
	.scratch_bytes = scratch_bytes, .prepare = prepare,
};
