/* linear_panels.h - packed weights, prepared activations, and the walk over them that the CPU's dense linears share.
 *
 * A panel is so many rows of weights (as many as two vectors have lanes), stored step by step: all rows' values at k, then all
 * rows' at the next k, so that a lane of a vector is a row of weights, and a sum over k never leaves its lane. A step is one k, or
 * two for instructions that add pairs. Panels follow one another: a worker's weights are one stream.
 *
 * Activations are prepared in units of 4 bytes, a unit a step (one float32, or a pair of bf16), which kernels broadcast. A step's
 * tokens are cut into blocks of at most `tokens` as equal as can be; a block is [steps][tokens of the block].
 *
 * Order of summation, whatever the tile: k is cut into chunks of LINEAR_CHUNK. Within a chunk one chain of multiply-adds over ascending
 * k, from zero; chunks are added up in ascending order; the bias last. So a walk may stop at any chunk's end and go on from y.
 */
#ifndef CPU_LINEAR_PANELS_H
#define CPU_LINEAR_PANELS_H

#include "kernels/ops/linear.h"

#define LINEAR_CHUNK 1024
/* A panel is walked in parts of so many bytes, which stay in the second-level cache, beside the next one, while all blocks of tokens meet
 * them. bf16, k = 8192, two Zen 4 cores: parts of 256 KiB are 8 % slower with 16 tokens and 2 % with 512. */
#define LINEAR_PART_BYTES (128 << 10)
/* How far ahead of their use weights are asked for where nothing else hides memory, a single block of tokens: few tokens wait for memory
 * anyway; more take so long for a step that 1 KiB ahead is too late. bf16, 65,536 x 2048, one thread of a Zen 4: 12 tokens 26.5 ms with
 * 1 KiB and 15.0 with 4 or more, 8 tokens 12.7 and 11.4, 4 tokens 10.2 and 12.9. */
#define LINEAR_AHEAD_FEW 1024
#define LINEAR_AHEAD 8192
#define LINEAR_FEW 5

/* A kernel's layout. */
struct linear_form {
	int rows, tokens;    /* of a panel, of the largest block */
	int k_per_step;
	int step_bytes;      /* of a panel's step: rows * k_per_step elements */
	int steps_grain;     /* steps are filled up to a multiple of this; 0: not at all */
};

/* One register tile: a part of a panel and a block of tokens. */
struct linear_tile {
	const char *w, *x;
	const char *ahead;    /* asked for while the tile is worked on: so many bytes a step, 0 or up to step_bytes */
	int fetch;
	int64_t chunk, steps; /* steps of a chunk, of the part */
	float *y;             /* y[first token][first row of the panel] */
	const float *bias;    /* of the panel's first row; NULL: none, or not yet */
	int64_t y_stride;
	uint32_t live;        /* rows to be written */
	int tokens;
	bool goes_on;         /* from what y holds */
};

/* At every step of a tile, with `fetch` a constant. Returns where to ask next. */
static inline __attribute__((always_inline)) const char *linear_ask(const char *ahead, const int fetch)
{
	if (fetch)
		__builtin_prefetch(ahead, 0, 2);
	if (fetch > 64)
		__builtin_prefetch(ahead + 64, 0, 2);
	return ahead + fetch;
}

typedef void linear_tile_fn(const struct linear_tile *t);

static inline int64_t linear_min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static inline int64_t linear_steps(const struct linear_form *f, int64_t k)
{
	int64_t steps = (k + f->k_per_step - 1) / f->k_per_step, grain = f->steps_grain ? f->steps_grain : 1;
	return (steps + grain - 1) / grain * grain;
}

static inline int64_t linear_blocks(const struct linear_form *f, int64_t t)
{
	return (t + f->tokens - 1) / f->tokens;
}

/* The first token of block i. */
static inline int64_t linear_block_begin(int64_t t, int64_t blocks, int64_t i)
{
	return t * i / blocks;
}

/* The block of token `at`. */
static inline int64_t linear_block_of(int64_t t, int64_t blocks, int64_t at)
{
	int64_t i = at * blocks / t;
	while (linear_block_begin(t, blocks, i + 1) <= at)
		i++;
	return i;
}

static inline int64_t linear_panels_bytes(const struct linear_form *f, const struct linear_request *r)
{
	return (r->n + f->rows - 1) / f->rows * linear_steps(f, r->k) * f->step_bytes;
}

static inline int64_t linear_units_bytes(const struct linear_form *f, const struct linear_request *r, int64_t t)
{
	return t * linear_steps(f, r->k) * 4;
}

/* Rows of the panel at n that lie in [n_begin, n_end), a bit each. */
static inline uint32_t linear_live(int64_t n, int rows, int64_t n_begin, int64_t n_end)
{
	int64_t lo = n_begin > n ? n_begin - n : 0, hi = linear_min(rows, n_end - n);
	return (uint32_t)((((uint64_t)1 << hi) - 1) & ~(((uint64_t)1 << lo) - 1));
}

static inline void linear_walk(const struct linear_form *f, const struct linear_args *a, int64_t n_begin, int64_t n_end,
			       linear_tile_fn *tile)
{
	const int64_t steps = linear_steps(f, a->k), blocks = linear_blocks(f, a->t), chunk = LINEAR_CHUNK / f->k_per_step;
	const int64_t part = LINEAR_PART_BYTES / f->step_bytes / chunk * chunk;
	const int64_t alone = a->t > LINEAR_FEW ? LINEAR_AHEAD : LINEAR_AHEAD_FEW;
	struct linear_tile t = { .chunk = chunk, .y_stride = a->y_stride };
	if (a->t == 0)
		return;
	for (int64_t n = n_begin / f->rows * f->rows; n < n_end; n += f->rows) {
		t.live = linear_live(n, f->rows, n_begin, n_end);
		for (int64_t s = 0; s < steps; s += part) {
			bool last = s + part >= steps;
			t.steps = last ? steps - s : part;
			t.w = (const char *)a->packed + (n / f->rows * steps + s) * f->step_bytes;
			t.goes_on = s > 0;
			t.bias = last && a->bias ? a->bias + n : NULL;
			for (int64_t i = 0; i < blocks; i++) {
				int64_t begin = linear_block_begin(a->t, blocks, i);
				t.tokens = (int)(linear_block_begin(a->t, blocks, i + 1) - begin);
				t.x = (const char *)a->scratch + (begin * steps + s * t.tokens) * 4;
				t.y = a->y + begin * a->y_stride + n;
				/* Several blocks: the last ones ask for what follows the part, a line a step. */
				int64_t asks = blocks == 1 ? 1 : f->step_bytes > 64 ? f->step_bytes / 64 : 1, nth = i - blocks + asks;
				t.fetch = nth < 0 ? 0 : f->step_bytes / (int)asks;
				t.ahead = t.w + (blocks == 1 ? alone : t.steps * (f->step_bytes + nth * t.fetch));
				tile(&t);
			}
		}
	}
}

/* ---- Packing and preparing ---- */

/* Steps [begin, end) of a row, `unit` bytes each, into a panel's place for it. Zeros beyond the row's end. */
static inline __attribute__((always_inline)) void linear_pack_row(const char *row, int64_t row_bytes, int64_t begin, int64_t end, const int unit, int step_bytes,
				   char *to)
{
	int64_t whole = linear_min(end, row_bytes / unit), s = begin;
	for (; s < whole; s++)
		memcpy(to + s * step_bytes, row + s * unit, (size_t)unit);
	for (; s < end; s++) {
		memset(to + s * step_bytes, 0, (size_t)unit);
		if (s * unit < row_bytes)
			memcpy(to + s * step_bytes, row + s * unit, (size_t)(row_bytes - s * unit));
	}
}

/* Packs dense rows, whose steps are one element, or a pair of two bytes each. */
static inline void linear_pack_panels(const struct linear_form *f, const struct weight_matrix *w, void *packed, int64_t begin,
				      int64_t end)
{
	/* So many steps of a panel stay in the first-level cache while all rows are written. */
	enum { STEPS = 128 };
	const int64_t steps = linear_steps(f, w->k), row_bytes = weight_row_bytes(w);
	const int unit = f->step_bytes / f->rows;
	for (int64_t p = begin; p < end; p++) {
		for (int64_t s = 0; s < steps; s += STEPS) {
			int64_t stop = linear_min(s + STEPS, steps);
			for (int r = 0; r < f->rows; r++) {
				int64_t n = p * f->rows + r;
				const char *row = n < w->n ? (const char *)w->data + n * row_bytes : NULL;
				char *to = (char *)packed + p * steps * f->step_bytes + r * unit;
				if (unit == 4)
					linear_pack_row(row, row ? row_bytes : 0, s, stop, 4, f->step_bytes, to);
				else
					linear_pack_row(row, row ? row_bytes : 0, s, stop, 2, f->step_bytes, to);
			}
		}
	}
}

/* A token's units, of the types that dense kernels take: float32, whatever x is; or pairs of 16 bits as they are. */
static inline void linear_prepare_units(const struct linear_form *f, const struct linear_args *a, int64_t t_begin, int64_t t_end)
{
	const int64_t steps = linear_steps(f, a->k), blocks = linear_blocks(f, a->t);
	for (int64_t t = t_begin; t < t_end; t++) {
		int64_t i = linear_block_of(a->t, blocks, t), first = linear_block_begin(a->t, blocks, i);
		int64_t width = linear_block_begin(a->t, blocks, i + 1) - first;
		uint32_t *to = (uint32_t *)a->scratch + first * steps + (t - first);
		if (f->k_per_step == 2) {
			const uint16_t *x = (const uint16_t *)a->x + t * a->x_stride;
			for (int64_t s = 0; s < a->k / 2; s++)
				to[s * width] = (uint32_t)x[2 * s] | (uint32_t)x[2 * s + 1] << 16;
			if (a->k % 2)
				to[a->k / 2 * width] = x[a->k - 1];
		} else {
			for (int64_t k = 0; k < a->k; k++) {
				float v = dtype_load(a->x_type, a->x, (size_t)(t * a->x_stride + k));
				memcpy(&to[k * width], &v, sizeof v);
			}
		}
	}
}

#endif
