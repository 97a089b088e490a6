/* linear for quantised weights by AMX.
 *
 * Order of summation: that of the contract, which every kernel has (kernels/ops/linear.h). A tile instruction multiplies a group of 32 k of
 * 16 tokens by 16 rows of weights; its sums are stored, and added to the tokens' float32 sums with their scales. Weights are
 * packed as for avx512vnni (linear_groups.h) and become signed bytes here, so that nothing has to be taken off. Few tokens are left to
 * that kernel, whose bits are the same: tiles are wasted on them.
 */
#include "linear_quantise_avx512.h"

#include "linear_amx.h"

/* Groups of a part, whose weights stay in the first-level cache as signed bytes while all blocks of tokens meet them. */
#define PART_GROUPS 8
#define PART_PANELS 4
/* Few blocks: panels one by one, each a stream. */
#define FEW_BLOCKS 4
/* 2026-11-23, 16 CPUs of a Xeon with AMX, 14336 x 4096 in 8 bits, medians of 10 turns, TOP/s: 8 tokens 2.22 against 2.63 of avx512vnni, 16
 * tokens 3.96 against 3.92, 24 tokens 4.41 against 4.18. */
#define FEW_TOKENS 16
/* A block's group: 32 bytes a token, then a scale each. */
#define X_BYTES (LINEAR_GROUP + 4)
/* Products whose sums wait in the ring to be added, and places there. 2026-11-23, one thread, 512 x 3584 x 4096 in 8 bits: 0.49
 * TOP/s as before (stored and taken at once), with one waiting 0.54, with two 0.58. */
#define WAITING 2
#define RING 4

/* Weights as signed bytes, 8 steps a group, and their units. */
struct part {
	const char *w;
	int64_t stride, groups;
};

struct room {
	_Alignas(64) float acc[PART_PANELS * AMX_SPAN * AMX_SUMS];
	_Alignas(64) float unit[PART_GROUPS][32];
	_Alignas(64) char expanded[PART_GROUPS * GROUP_BYTES];
	_Alignas(64) int32_t ring[RING][AMX_TOKENS][16];
};

/* ---- A part of a panel and a span of tokens ---- */

/* The tile products of a turn, one after another: block by block, of each the two halves of the panel, of each the groups. */
struct products {
	const struct part *part;
	const char *x;        /* of the block */
	int64_t x_stride;     /* from group to group */
	int64_t group, half;
	int64_t nth, all;
	struct room *room;
};

/* The next product, and the store of the one before it: tiles wait for nothing then. */
static inline __attribute__((always_inline)) void step(struct products *p)
{
	char *before = (char *)p->room->ring[(p->nth + RING - 1) % RING];
	if (p->nth < p->all) {
		const char *x = p->x + p->group * p->x_stride, *w = p->part->w + p->group * p->part->stride + 64 * p->half;
		if (p->nth % 2) {
			_tile_zero(1);
			_tile_loadd(5, x, LINEAR_GROUP);
			_tile_loadd(7, w, 128);
			_tile_dpbssd(1, 5, 7);
			_tile_stored(0, before, 64);
		} else {
			_tile_zero(0);
			_tile_loadd(4, x, LINEAR_GROUP);
			_tile_loadd(6, w, 128);
			_tile_dpbssd(0, 4, 6);
			if (p->nth)
				_tile_stored(1, before, 64);
		}
		if (++p->group == p->part->groups) {
			p->group = 0;
			p->x += p->half ? p->part->groups * p->x_stride : 0;
			p->half ^= 1;
		}
	} else if (p->nth == p->all) { /* an even number: halves */
		_tile_stored(1, before, 64);
	}
	p->nth++;
}

/* Half a panel and a block, whose sums the products have stored or are about to. */
static inline __attribute__((always_inline)) void add(struct products *p, const float *scale, int rows, int half, float *acc, bool begins)
{
	struct room *room = p->room;
	__m512 total[AMX_TOKENS];
#pragma GCC unroll 16
	for (int c = 0; c < AMX_TOKENS; c++)
		total[c] = begins ? _mm512_setzero_ps() : _mm512_load_ps(acc + 32 * c);
	for (int64_t g = 0; g < p->part->groups; g++, scale += p->x_stride / 4) {
		step(p);
		int32_t (*sum)[16] = room->ring[(p->nth - WAITING - 1) % RING];
		__m512 unit = _mm512_load_ps(room->unit[g] + 16 * half);
#pragma GCC unroll 16
		for (int c = 0; c < AMX_TOKENS; c++)
			if (c < rows)
				total[c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sum[c])),
							   _mm512_mul_ps(unit, _mm512_set1_ps(scale[c])), total[c]);
	}
#pragma GCC unroll 16
	for (int c = 0; c < AMX_TOKENS; c++)
		_mm512_store_ps(acc + 32 * c, total[c]);
}

/* ---- A part in the form of the tiles ---- */

static void expand(const char *head, const char *pairs, int half, char *to)
{
	const __m512i mask = _mm512_set1_epi8(0x78), sign = _mm512_set1_epi8((char)0x80);
	const __m128i offsets = _mm_loadu_si128((const __m128i *)(const void *)(head + 64 + 16 * half));
	const __m512i offset = _mm512_mullo_epi32(_mm512_cvtepu8_epi32(offsets), _mm512_set1_epi32(0x01010101));
	for (int j = 0; j < 4; j++) {
		__m512i v = _mm512_loadu_si512(pairs + 128 * j + 64 * half);
		__m512i even = _mm512_add_epi8(_mm512_and_si512(_mm512_slli_epi16(v, 3), mask), offset);
		__m512i odd = _mm512_add_epi8(_mm512_and_si512(_mm512_srli_epi16(v, 1), mask), offset);
		_mm512_store_si512(to + 256 * j + 64 * half, _mm512_xor_si512(even, sign));
		_mm512_store_si512(to + 256 * j + 128 + 64 * half, _mm512_xor_si512(odd, sign));
	}
}

/* 4 steps of 16 rows in the place of 3. */
static void expand_q6(const char *set, char *to)
{
	const __m512i own = _mm512_set1_epi8((char)0xfc), sign = _mm512_set1_epi8((char)0x80);
	__m512i last = sign;
	for (int s = 0; s < 3; s++) {
		const __m512i two = _mm512_set1_epi8((char)(0xc0 >> (2 * s)));
		__m512i v = _mm512_loadu_si512(set + 128 * s), shifted = _mm512_sll_epi16(v, _mm_cvtsi32_si128(6 - 2 * s));
		last = _mm512_xor_si512(last, _mm512_and_si512(shifted, two));
		_mm512_store_si512(to + 128 * s, _mm512_xor_si512(_mm512_and_si512(v, own), sign));
	}
	_mm512_store_si512(to + 384, last);
}

static inline void put_units(float unit[32], const char *at, float factor)
{
	for (int h = 0; h < 2; h++) {
		__m256i bits = _mm256_loadu_si256((const __m256i *)(const void *)(at + 32 * h));
		_mm512_store_ps(unit + 16 * h, _mm512_mul_ps(_mm512_cvtph_ps(bits), _mm512_set1_ps(factor)));
	}
}

/* Groups [first, first + n) of a panel. */
static struct part make_part(const struct weight_matrix *m, const char *panel, int64_t first, int64_t n, struct room *room)
{
	if (m->format == WEIGHT_Q8) {
		const __m512i sign = _mm512_set1_epi8((char)0x80);
		const char *w = panel + first * GROUP_Q8_BYTES;
		for (int64_t g = 0; g < n; g++, w += GROUP_Q8_BYTES) {
			put_units(room->unit[g], w + GROUP_BYTES, 1);
			for (int i = 0; i < GROUP_BYTES; i += 64)
				_mm512_store_si512(room->expanded + g * GROUP_BYTES + i, _mm512_xor_si512(_mm512_loadu_si512(w + i), sign));
		}
		return (struct part){ room->expanded, GROUP_BYTES, n };
	}
	if (m->format == WEIGHT_Q6) {
		const char *w = panel + first * GROUP_Q6_BYTES;
		for (int64_t g = 0; g < n; g++, w += GROUP_Q6_BYTES) {
			char *to = room->expanded + g * GROUP_BYTES;
			put_units(room->unit[g], w + 2 * GROUP_Q6_SET, groups_unit_part(WEIGHT_Q6));
			for (int i = 0; i < 4; i++) /* 2 sets of 2 halves */
				expand_q6(w + i / 2 * GROUP_Q6_SET + i % 2 * 64, to + i / 2 * (GROUP_BYTES / 2) + i % 2 * 64);
		}
		return (struct part){ room->expanded, GROUP_BYTES, n };
	}
	const int64_t per_head = m->group / LINEAR_GROUP;
	for (int64_t g = 0; g < n; g++) {
		const char *head = panel + (first + g) / per_head * (GROUP_Q4_HEAD + per_head * (GROUP_BYTES / 2));
		const char *pairs = head + GROUP_Q4_HEAD + (first + g) % per_head * (GROUP_BYTES / 2);
		put_units(room->unit[g], head, 1.0f / WEIGHT_ZERO_ONE);
		expand(head, pairs, 0, room->expanded + g * GROUP_BYTES);
		expand(head, pairs, 1, room->expanded + g * GROUP_BYTES);
	}
	return (struct part){ room->expanded, GROUP_BYTES, n };
}

/* ---- The walk ---- */

static struct amx_walk walk_of(const struct linear_args *a)
{
	return amx_walk_of(a, groups_of(a->k), PART_GROUPS);
}

static void turn(const struct amx_walk *w, const struct amx_turn *u, float *sums, void *context)
{
	const struct linear_args *a = w->a;
	const int64_t bytes = groups_panel_bytes(a->matrix->format, a->k, a->matrix->group), each = w->each;
	struct room *room = context;
	struct part part = make_part(a->matrix, (const char *)a->packed + u->n / 32 * bytes, u->step, amx_part_steps(w, u->step), room);
	/* What comes next is asked for, some lines with each block. */
	const int64_t lines = (bytes * PART_GROUPS / w->steps / 64 + u->n_blocks) / u->n_blocks;
	const char *ahead = (const char *)a->packed + u->next_n / 32 * bytes + bytes * u->next_step / w->steps;
	amx_settle(room);
	const char *x = amx_units(w, u->step, u->block, X_BYTES);
	struct products p = { .part = &part, .x = x, .x_stride = each * X_BYTES, .all = u->n_blocks * 2 * part.groups, .room = room };
	for (int i = 0; i < WAITING; i++)
		step(&p);
	for (int64_t b = 0; b < u->n_blocks; b++, sums += AMX_SUMS, x += part.groups * p.x_stride) {
		const float *scale = (const float *)(const void *)(x + each * LINEAR_GROUP);
		for (int64_t i = 0; i < lines; i++, ahead += 64)
			__builtin_prefetch(ahead, 0, 2);
		add(&p, scale, (int)each, 0, sums, u->step == 0);
		add(&p, scale, (int)each, 1, sums + 16, u->step == 0);
	}
}

static void run(const struct linear_args *a, int64_t n_begin, int64_t n_end)
{
	const struct amx_walk w = walk_of(a);
	struct amx_config config = { 0 };
	struct room room;
	if (a->t < FEW_TOKENS) {
		linear_avx512vnni.run(a, n_begin, n_end);
		return;
	}
	for (int i = 0; i < 4; i++)
		amx_shape(&config, i, (int)w.each, 64);
	amx_shape(&config, 4, (int)w.each, LINEAR_GROUP);
	amx_shape(&config, 5, (int)w.each, LINEAR_GROUP);
	amx_shape(&config, 6, LINEAR_GROUP / 4, 64);
	amx_shape(&config, 7, LINEAR_GROUP / 4, 64);
	amx_begin(&config);
	amx_walk(&w, n_begin, n_end, w.blocks <= FEW_BLOCKS ? 1 : PART_PANELS, turn, room.acc, &room);
	_tile_release();
}

/* ---- Layouts ---- */

static int64_t packed_bytes(const struct linear_request *r)
{
	return linear_avx512vnni.packed_bytes(r);
}

static void pack(const struct weight_matrix *w, void *packed, int64_t panel_begin, int64_t panel_end)
{
	linear_avx512vnni.pack(w, packed, panel_begin, panel_end);
}

static int64_t scratch_bytes(const struct linear_request *r, int64_t t)
{
	int64_t own = ((t + AMX_TOKENS - 1) / AMX_TOKENS * AMX_TOKENS * groups_of(r->k) * X_BYTES + 63) / 64 * 64;
	int64_t few = linear_avx512vnni.scratch_bytes(r, t < FEW_TOKENS ? t : FEW_TOKENS);
	return own > few ? own : few;
}

static inline __attribute__((always_inline)) void prepare_of(const struct linear_args *a, int64_t t_begin, int64_t t_end,
							      const enum dtype type)
{
	const struct amx_walk w = walk_of(a);
	/* The last token's worker fills the last block up. */
	for (int64_t t = t_begin; t < (t_end == a->t ? w.blocks * w.each : t_end); t++)
		for (int64_t g = 0; g < w.steps; g++) {
			const int64_t part = g / PART_GROUPS * PART_GROUPS, at = t % w.each;
			char *block = amx_units(&w, part, t / w.each, X_BYTES) + (g - part) * w.each * X_BYTES;
			struct quantised_group q = { 0 };
			if (t < a->t)
				q = avx512_quantise_of(a, type, t, g);
			_mm256_storeu_si256((__m256i *)(void *)(block + at * LINEAR_GROUP), q.q);
			memcpy(block + w.each * LINEAR_GROUP + at * 4, &q.scale, 4);
		}
}

static void prepare(const struct linear_args *a, int64_t t_begin, int64_t t_end)
{
	if (a->t < FEW_TOKENS)
		linear_avx512vnni.prepare(a, t_begin, t_end);
	else if (a->x_type == DTYPE_BF16)
		prepare_of(a, t_begin, t_end, DTYPE_BF16);
	else if (a->x_type == DTYPE_F16)
		prepare_of(a, t_begin, t_end, DTYPE_F16);
	else
		prepare_of(a, t_begin, t_end, DTYPE_F32);
}

const struct linear_kernel linear_amxint8 = {
	.run = run, .refuse = linear_refuse_quantised, .panel = GROUP_ROWS, .slice = GROUP_ROWS * PART_PANELS,
	.packed_bytes = packed_bytes, .pack = pack, .scratch_bytes = scratch_bytes, .prepare = prepare,
};
