/* linear for quantised weights by vpdpbusd.
 *
 * Order of summation: that of the contract, which every kernel has (kernels/ops/linear.h). A lane is a row of weights. Of the 9
 * instructions on the multipliers' ports that 32 k of 16 rows and a token take, 8 are vpdpbusd and one is the multiply-add of the group:
 * the conversion to float32 is a subtraction (linear_groups.h), which other ports do, and unit * m comes from a table.
 */
#include "linear_quantise_avx512.h"

#include "linear_panels.h"

/* Tokens of a tile: 12 sums of int32, 12 of float32, 2 registers of weights, 1 of activations. */
#define TOKENS 6
/* Tokens whose sums wait in the first-level cache while a part of the panel meets them all. */
#define BLOCKS 16
/* Groups of the parts in which blocks beside each other walk a panel, so that it stays in the first-level cache with its tables.
 * Two are enough for that to pay: 2026-11-23, 16 tokens in 8 bits, two Zen 4 cores: 7.4 ms; each block with the whole panel 10.1. */
#define PART_GROUPS 8

static const struct linear_form form = { .rows = GROUP_ROWS, .tokens = TOKENS };

/* Weights as bytes, 8 steps a group, `stride` bytes from group to group; with the products of units and m beside them. */
struct part {
	const char *w;
	int64_t stride, groups;
	const float *table; /* [groups][2][8][16] */
};

/* What to fetch while a wide tile is worked on: the next block's activations (as many bytes as this one's) and sums, and a few cache
 * lines a group of the weights that come next. */
struct soon {
	const char *x, *acc, *weights;
	int lines;
};

/* The wide tile: a part and a block of tokens. */
static inline __attribute__((always_inline)) void tile_wide(const struct part *p, const char *x, float *acc, struct soon soon,
							     const int tokens)
{
	const char *w = p->w, *table = (const char *)p->table;
	__m512 total[2][TOKENS];
#pragma GCC unroll 6
	for (int c = 0; c < tokens; c++) {
		total[0][c] = _mm512_load_ps(acc + 32 * c);
		total[1][c] = _mm512_load_ps(acc + 32 * c + 16);
	}
	for (int64_t g = 0; g < p->groups; g++, w += p->stride, table += 1024, x += 4 * GROUP_WORDS * tokens) {
		const int *word = (const int *)(const void *)x;
		__m512i sum[2][TOKENS];
#pragma GCC unroll 6
		for (int c = 0; c < tokens; c++)
			sum[0][c] = sum[1][c] = _mm512_set1_epi32(word[GROUP_BEGIN * tokens + c]);
#pragma GCC unroll 8
		for (int s = 0; s < 8; s++) {
			__m512i w0 = _mm512_loadu_si512(w + 128 * s), w1 = _mm512_loadu_si512(w + 128 * s + 64);
#pragma GCC unroll 6
			for (int c = 0; c < tokens; c++) {
				__m512i v = _mm512_set1_epi32(word[s * tokens + c]);
				sum[0][c] = _mm512_dpbusd_epi32(sum[0][c], w0, v);
				sum[1][c] = _mm512_dpbusd_epi32(sum[1][c], w1, v);
			}
		}
		for (int i = 0; i < soon.lines; i++)
			__builtin_prefetch(soon.weights + 64 * i, 0, 2);
		soon.weights += 64 * soon.lines;
#pragma GCC unroll 5
		for (int i = 0; i < (4 * GROUP_WORDS * tokens + 63) / 64; i++)
			__builtin_prefetch(soon.x + 64 * i, 0, 3);
		soon.x += 4 * GROUP_WORDS * tokens;
		__builtin_prefetch(soon.acc, 1, 3);
		__builtin_prefetch(soon.acc + 64, 1, 3);
		soon.acc += 128;
#pragma GCC unroll 6
		for (int c = 0; c < tokens; c++) {
			__m512 magic = _mm512_castsi512_ps(_mm512_set1_epi32(word[GROUP_MAGIC * tokens + c]));
			const char *unit = table + word[GROUP_PLACE * tokens + c];
			__m512 f0 = _mm512_sub_ps(_mm512_castsi512_ps(sum[0][c]), magic);
			__m512 f1 = _mm512_sub_ps(_mm512_castsi512_ps(sum[1][c]), magic);
			total[0][c] = _mm512_fmadd_ps(f0, _mm512_load_ps(unit), total[0][c]);
			total[1][c] = _mm512_fmadd_ps(f1, _mm512_load_ps(unit + 512), total[1][c]);
		}
	}
#pragma GCC unroll 6
	for (int c = 0; c < tokens; c++) {
		_mm512_store_ps(acc + 32 * c, total[0][c]);
		_mm512_store_ps(acc + 32 * c + 16, total[1][c]);
	}
}

/* 16 rows' bytes of the even and the odd step of a pair. */
static inline __attribute__((always_inline)) void expand(const char *pair, __m512i offset, __m512i *even, __m512i *odd)
{
	const __m512i mask = _mm512_set1_epi8(0x78); /* 8 times a nibble */
	__m512i v = _mm512_loadu_si512(pair);
	*even = _mm512_add_epi8(_mm512_and_si512(_mm512_slli_epi16(v, 3), mask), offset);
	*odd = _mm512_add_epi8(_mm512_and_si512(_mm512_srli_epi16(v, 1), mask), offset);
}

/* 16 offsets, each in the 4 bytes of its row. */
static inline __attribute__((always_inline)) __m512i offsets(const char *at)
{
	return _mm512_mullo_epi32(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)at)),
				  _mm512_set1_epi32(0x01010101));
}

/* 16 rows' bytes of the 4 steps that lie in the place of 3. */
static inline __attribute__((always_inline)) void expand_q6(const char *set, __m512i step[4])
{
	const __m512i own = _mm512_set1_epi8((char)0xfc), high = _mm512_set1_epi8((char)0xc0);
	const __m512i middle = _mm512_set1_epi8(0x30), low = _mm512_set1_epi8(0x0c);
	__m512i a = _mm512_loadu_si512(set), b = _mm512_loadu_si512(set + 128), c = _mm512_loadu_si512(set + 256);
	__m512i last = _mm512_and_si512(_mm512_slli_epi16(a, 6), high);
	last = _mm512_ternarylogic_epi64(last, _mm512_slli_epi16(b, 4), middle, 0xf8); /* 1st | (2nd & 3rd) */
	step[3] = _mm512_ternarylogic_epi64(last, _mm512_slli_epi16(c, 2), low, 0xf8);
	step[0] = _mm512_and_si512(a, own);
	step[1] = _mm512_and_si512(b, own);
	step[2] = _mm512_and_si512(c, own);
}

static inline __attribute__((always_inline)) __m512 units(const char *at, const enum weight_format format)
{
	__m512 unit = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)at));
	return format == WEIGHT_Q8 ? unit : _mm512_mul_ps(unit, _mm512_set1_ps(groups_unit_part(format)));
}

static inline __attribute__((always_inline)) void ask(const char *ahead, const int lines)
{
#pragma GCC unroll 4
	for (int i = 0; i < lines; i++)
		__builtin_prefetch(ahead + 64 * i, 0, 2);
}

/* A step of 32 rows by the tokens' integers. */
static inline __attribute__((always_inline)) void add_step(__m512i sum[2][TOKENS], __m512i w0, __m512i w1, const int *word,
							    const int tokens)
{
#pragma GCC unroll 6
	for (int c = 0; c < tokens; c++) {
		__m512i v = _mm512_set1_epi32(word[c]);
		sum[0][c] = _mm512_dpbusd_epi32(sum[0][c], w0, v);
		sum[1][c] = _mm512_dpbusd_epi32(sum[1][c], w1, v);
	}
}

/* The narrow tile: a whole panel as it is packed, and a lone block of tokens. */
static inline __attribute__((always_inline)) void tile_narrow(const char *w, int64_t groups, int64_t per_head, const char *x,
							       float *acc, const int tokens, const enum weight_format format)
{
	__m512 total[2][TOKENS], unit0 = _mm512_setzero_ps(), unit1 = unit0;
	__m512i offset0 = _mm512_setzero_si512(), offset1 = offset0;
	int64_t left = 0; /* groups of 32 until the next head */
#pragma GCC unroll 6
	for (int c = 0; c < tokens; c++)
		total[0][c] = total[1][c] = _mm512_setzero_ps();
	for (int64_t g = 0; g < groups; g++, x += 4 * GROUP_WORDS * tokens) {
		const int *word = (const int *)(const void *)x;
		__m512i sum[2][TOKENS];
		ask(w + GROUP_AHEAD, 1);
		if (format == WEIGHT_Q4 && left-- == 0) {
			unit0 = units(w, format);
			unit1 = units(w + 32, format);
			offset0 = offsets(w + 64);
			offset1 = offsets(w + 80);
			w += GROUP_Q4_HEAD;
			left = per_head - 1;
		}
#pragma GCC unroll 6
		for (int c = 0; c < tokens; c++)
			sum[0][c] = sum[1][c] = _mm512_set1_epi32(word[GROUP_BEGIN * tokens + c]);
#pragma GCC unroll 2
		for (int i = 0; format == WEIGHT_Q6 && i < 2; i++) {
			__m512i w0[4], w1[4];
			expand_q6(w + GROUP_Q6_SET * i, w0);
			expand_q6(w + GROUP_Q6_SET * i + 64, w1);
#pragma GCC unroll 4
			for (int s = 0; s < 4; s++) {
				if (s % 2 == 0)
					ask(w + GROUP_AHEAD + 64 + GROUP_Q6_SET * i + 96 * s, 3);
				add_step(sum, w0[s], w1[s], word + (4 * i + s) * tokens, tokens);
			}
		}
#pragma GCC unroll 4
		for (int j = 0; format != WEIGHT_Q6 && j < 4; j++) {
			__m512i w0, w1, w2, w3;
			ask(w + GROUP_AHEAD + 64 + (format == WEIGHT_Q4 ? 128 : 256) * j, format == WEIGHT_Q4 ? 2 : 4);
			if (format == WEIGHT_Q4) {
				expand(w + 128 * j, offset0, &w0, &w2);
				expand(w + 128 * j + 64, offset1, &w1, &w3);
			} else {
				w0 = _mm512_loadu_si512(w + 256 * j);
				w1 = _mm512_loadu_si512(w + 256 * j + 64);
				w2 = _mm512_loadu_si512(w + 256 * j + 128);
				w3 = _mm512_loadu_si512(w + 256 * j + 192);
			}
			add_step(sum, w0, w1, word + 2 * j * tokens, tokens);
			add_step(sum, w2, w3, word + (2 * j + 1) * tokens, tokens);
		}
		if (format != WEIGHT_Q4) {
			const char *at = w + (format == WEIGHT_Q6 ? 2 * GROUP_Q6_SET : GROUP_BYTES);
			unit0 = units(at, format);
			unit1 = units(at + 32, format);
		}
		w += groups_stride(format);
#pragma GCC unroll 6
		for (int c = 0; c < tokens; c++) {
			__m512 magic = _mm512_castsi512_ps(_mm512_set1_epi32(word[GROUP_MAGIC * tokens + c]));
			__m512 m = _mm512_castsi512_ps(_mm512_set1_epi32(word[GROUP_M * tokens + c]));
			__m512 f0 = _mm512_sub_ps(_mm512_castsi512_ps(sum[0][c]), magic);
			__m512 f1 = _mm512_sub_ps(_mm512_castsi512_ps(sum[1][c]), magic);
			total[0][c] = _mm512_fmadd_ps(f0, _mm512_mul_ps(unit0, m), total[0][c]);
			total[1][c] = _mm512_fmadd_ps(f1, _mm512_mul_ps(unit1, m), total[1][c]);
		}
	}
#pragma GCC unroll 6
	for (int c = 0; c < tokens; c++) {
		_mm512_store_ps(acc + 32 * c, total[0][c]);
		_mm512_store_ps(acc + 32 * c + 16, total[1][c]);
	}
}

static void wide(const struct part *p, const char *x, float *acc, struct soon soon, int tokens)
{
	switch (tokens) {
	case 3:
		tile_wide(p, x, acc, soon, 3);
		break;
	case 4:
		tile_wide(p, x, acc, soon, 4);
		break;
	case 5:
		tile_wide(p, x, acc, soon, 5);
		break;
	default:
		tile_wide(p, x, acc, soon, 6);
	}
}

static inline __attribute__((always_inline)) void narrow_of(const char *w, int64_t groups, int64_t per_head, const char *x, float *acc,
							     int tokens, const enum weight_format format)
{
	switch (tokens) {
	case 1:
		tile_narrow(w, groups, per_head, x, acc, 1, format);
		break;
	case 2:
		tile_narrow(w, groups, per_head, x, acc, 2, format);
		break;
	case 3:
		tile_narrow(w, groups, per_head, x, acc, 3, format);
		break;
	case 4:
		tile_narrow(w, groups, per_head, x, acc, 4, format);
		break;
	case 5:
		tile_narrow(w, groups, per_head, x, acc, 5, format);
		break;
	default:
		tile_narrow(w, groups, per_head, x, acc, 6, format);
	}
}

static void narrow_q8(const char *w, int64_t groups, int64_t per_head, const char *x, float *acc, int tokens)
{
	narrow_of(w, groups, per_head, x, acc, tokens, WEIGHT_Q8);
}

static void narrow_q6(const char *w, int64_t groups, int64_t per_head, const char *x, float *acc, int tokens)
{
	narrow_of(w, groups, per_head, x, acc, tokens, WEIGHT_Q6);
}

static void narrow_q4(const char *w, int64_t groups, int64_t per_head, const char *x, float *acc, int tokens)
{
	narrow_of(w, groups, per_head, x, acc, tokens, WEIGHT_Q4);
}

/* ---- A part in the form of the wide tile ---- */

/* Rooms that a worker works in. */
struct room {
	_Alignas(64) float acc[BLOCKS * TOKENS * 32];
	_Alignas(64) float table[PART_GROUPS * 2 * 8 * 16];
	_Alignas(64) char expanded[PART_GROUPS * GROUP_BYTES];
};

static inline void put_units(float *table, __m512 unit)
{
	for (int i = 0; i < 8; i++)
		_mm512_store_ps(table + 16 * i, _mm512_mul_ps(unit, _mm512_set1_ps((float)(8 + i) / 8)));
}

/* Groups [first, first + n) of a panel; returns where in it they begin. */
static struct part make_part(const struct linear_args *a, const char *panel, int64_t first, int64_t n, struct room *room)
{
	const struct weight_matrix *m = a->matrix;
	if (m->format == WEIGHT_Q8) {
		const char *w = panel + first * GROUP_Q8_BYTES;
		for (int64_t g = 0; g < n; g++)
			for (int h = 0; h < 2; h++)
				put_units(room->table + (2 * g + h) * 128, units(w + g * GROUP_Q8_BYTES + GROUP_BYTES + 32 * h, WEIGHT_Q8));
		return (struct part){ w, GROUP_Q8_BYTES, n, room->table };
	}
	if (m->format == WEIGHT_Q6) {
		const char *w = panel + first * GROUP_Q6_BYTES;
		for (int64_t g = 0; g < n; g++, w += GROUP_Q6_BYTES)
			for (int h = 0; h < 2; h++) {
				char *to = room->expanded + g * GROUP_BYTES + 64 * h;
				put_units(room->table + (2 * g + h) * 128, units(w + 2 * GROUP_Q6_SET + 32 * h, WEIGHT_Q6));
				for (int i = 0; i < 2; i++, to += GROUP_BYTES / 2) {
					__m512i step[4];
					expand_q6(w + GROUP_Q6_SET * i + 64 * h, step);
					for (int s = 0; s < 4; s++)
						_mm512_store_si512(to + 128 * s, step[s]);
				}
			}
		return (struct part){ room->expanded, GROUP_BYTES, n, room->table };
	}
	const int64_t per_head = m->group / LINEAR_GROUP;
	for (int64_t g = 0; g < n; g++) {
		int64_t nth = (first + g) / per_head; /* heads before this one */
		const char *head = panel + nth * (GROUP_Q4_HEAD + per_head * (GROUP_BYTES / 2));
		const char *pairs = head + GROUP_Q4_HEAD + (first + g) % per_head * (GROUP_BYTES / 2);
		char *to = room->expanded + g * GROUP_BYTES;
		for (int h = 0; h < 2; h++) {
			__m512i offset = offsets(head + 64 + 16 * h), even, odd;
			put_units(room->table + (2 * g + h) * 128, units(head + 32 * h, WEIGHT_Q4));
			for (int j = 0; j < 4; j++) {
				expand(pairs + 128 * j + 64 * h, offset, &even, &odd);
				_mm512_store_si512(to + 256 * j + 64 * h, even);
				_mm512_store_si512(to + 256 * j + 128 + 64 * h, odd);
			}
		}
	}
	return (struct part){ room->expanded, GROUP_BYTES, n, room->table };
}

/* ---- The walk ---- */

/* Sums of `count` tokens to y, with the bias. */
static void finish(const struct linear_args *a, int64_t n, uint32_t live, int64_t t, int64_t count, const float *acc)
{
	const __mmask16 mask[2] = { (__mmask16)live, (__mmask16)(live >> 16) };
	for (int64_t c = 0; c < count; c++)
		for (int h = 0; h < 2; h++) {
			__m512 v = _mm512_load_ps(acc + 32 * c + 16 * h);
			if (a->bias)
				v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask[h], a->bias + n + 16 * h));
			_mm512_mask_storeu_ps(a->y + (t + c) * a->y_stride + n + 16 * h, mask[h], v);
		}
}

/* A panel for blocks [begin, end) of tokens. */
static void panel_of(const struct linear_args *a, const char *panel, int64_t begin, int64_t end, int64_t blocks,
		     struct room *room)
{
	const int64_t groups = groups_of(a->k), first = linear_block_begin(a->t, blocks, begin);
	const int64_t bytes = groups_panel_bytes(a->matrix->format, a->k, a->matrix->group);
	const int64_t all_lines = (bytes / groups + 63) / 64; /* of a group's weights */
	/* All of them: with 12 of q6's 13 by 3 blocks, 16 tokens take a fifth longer on two Zen 4 cores, with 9 of q4's 10 likewise. */
	const int lines = (int)((all_lines + (end - begin) - 1) / (end - begin));
	for (int64_t g = 0; g < groups; g += PART_GROUPS) {
		struct part part = make_part(a, panel, g, linear_min(PART_GROUPS, groups - g), room);
		/* While a panel's first tokens are worked on, the next panel is fetched, a little with each block. */
		const char *ahead = panel + bytes + bytes * g / groups;
		for (int64_t i = begin; i < end; i++) {
			int64_t t = linear_block_begin(a->t, blocks, i), count = linear_block_begin(a->t, blocks, i + 1) - t;
			float *acc = room->acc + (t - first) * 32;
			if (g == 0)
				memset(acc, 0, (size_t)count * 32 * sizeof *acc);
			const char *x = (const char *)a->scratch + (t * groups + g * count) * GROUP_WORDS * 4;
			/* The next block's, or the first one's of the next part. */
			int64_t next = i + 1 < end ? t + count : first, next_g = i + 1 < end ? g : g + PART_GROUPS;
			struct soon soon = {
				.x = (const char *)a->scratch + (next * groups + next_g * count) * GROUP_WORDS * 4,
				.acc = (const char *)(room->acc + (next - first) * 32),
				.weights = ahead + (begin == 0 ? (i - begin) * 64 * lines * part.groups : 0),
				.lines = lines,
			};
			wide(&part, x, acc, soon, (int)count);
		}
	}
}

static void run(const struct linear_args *a, int64_t n_begin, int64_t n_end)
{
	const int64_t blocks = linear_blocks(&form, a->t), groups = groups_of(a->k);
	const int64_t bytes = groups_panel_bytes(a->matrix->format, a->k, a->matrix->group);
	const int64_t per_head = a->matrix->group / LINEAR_GROUP;
	const enum weight_format format = a->matrix->format;
	struct room room;
	for (int64_t n = n_begin / GROUP_ROWS * GROUP_ROWS; n < n_end; n += GROUP_ROWS) {
		const char *panel = (const char *)a->packed + n / GROUP_ROWS * bytes;
		const uint32_t live = linear_live(n, GROUP_ROWS, n_begin, n_end);
		for (int64_t b = 0; b < blocks; b += BLOCKS) {
			int64_t end = linear_min(b + BLOCKS, blocks), t = linear_block_begin(a->t, blocks, b);
			if (blocks > 1)
				panel_of(a, panel, b, end, blocks, &room);
			else
				(format == WEIGHT_Q4 ? narrow_q4 : format == WEIGHT_Q6 ? narrow_q6 : narrow_q8)(
					panel, groups, per_head, a->scratch, room.acc, (int)a->t);
			finish(a, n, live, t, linear_block_begin(a->t, blocks, end) - t, room.acc);
		}
	}
}

/* ---- Layouts ---- */

static inline __attribute__((always_inline)) void prepare_of(const struct linear_args *a, int64_t t_begin, int64_t t_end,
							      const enum dtype type)
{
	const int64_t blocks = linear_blocks(&form, a->t), groups = groups_of(a->k);
	for (int64_t t = t_begin; t < t_end; t++) {
		int64_t i = linear_block_of(a->t, blocks, t), first = linear_block_begin(a->t, blocks, i);
		int64_t width = linear_block_begin(a->t, blocks, i + 1) - first;
		uint32_t *column = (uint32_t *)a->scratch + first * groups * GROUP_WORDS + (t - first);
		for (int64_t g = 0; g < groups; g++, column += GROUP_WORDS * width) {
			struct quantised_group q = avx512_quantise_of(a, type, t, g);
			uint32_t word[8];
			_mm256_storeu_si256((__m256i *)(void *)word, q.q);
			for (int s = 0; s < 8; s++)
				column[s * width] = word[s];
			groups_put_scale(q.scale, q.sum, column, width);
		}
	}
}

static void prepare(const struct linear_args *a, int64_t t_begin, int64_t t_end)
{
	if (a->x_type == DTYPE_BF16)
		prepare_of(a, t_begin, t_end, DTYPE_BF16);
	else if (a->x_type == DTYPE_F16)
		prepare_of(a, t_begin, t_end, DTYPE_F16);
	else
		prepare_of(a, t_begin, t_end, DTYPE_F32);
}

static void pack(const struct weight_matrix *w, void *packed, int64_t panel_begin, int64_t panel_end)
{
	groups_pack(w, packed, panel_begin, panel_end, false);
}

static int64_t scratch_bytes(const struct linear_request *r, int64_t t)
{
	return groups_scratch_bytes(r->k, t);
}

const struct linear_kernel linear_avx512vnni = {
	.run = run, .refuse = linear_refuse_quantised, .panel = GROUP_ROWS, .packed_bytes = groups_packed_bytes, .pack = pack,
	.scratch_bytes = scratch_bytes, .prepare = prepare,
};
