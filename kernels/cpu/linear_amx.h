/* linear_amx.h - the walk that linear's kernels of tiles share.
 *
 * Tokens are cut into blocks of at most 16, as equal as can be; a block's tokens are the rows of a tile of sums, 16 rows of weights its
 * columns. A worker takes a few panels of 32 rows together, and of many tokens a span of blocks; it walks k in parts, in each part
 * the panels, and with each panel the blocks: a panel's part stays in the first-level cache while all blocks meet it, a part of the
 * activations in the second-level cache while all panels meet it, and memory is read once. Sums rest in a room of the
 * worker's own between the parts, since rows of y lie as far apart as to fall into few sets of a cache, and go to y at the end.
 *
 * Activations are prepared part by part: [parts of k][blocks][steps of the part][tokens of a block], so that what is read
 * together lies together.
 *
 * A part's length changes no bit: a chain rests in the room as it is and goes on from there.
 */
#ifndef CPU_LINEAR_AMX_H
#define CPU_LINEAR_AMX_H

#include "amx.h"
#include "linear_panels.h"

#define AMX_TOKENS 16
/* Floats of a block's sums: [16 tokens][32 rows]. */
#define AMX_SUMS (AMX_TOKENS * 32)
/* Blocks of a span. */
#define AMX_SPAN 32

struct amx_walk {
	const struct linear_args *a;
	int64_t each, blocks; /* tokens of a block; blocks */
	int64_t steps, part;  /* of k: in all, of a part */
};

/* A part of a panel and a span of blocks, and the part of a panel that comes next. */
struct amx_turn {
	int64_t n, step, block, n_blocks;
	int64_t nth, panels; /* of the panels that are worked on together */
	int64_t next_n, next_step;
	bool last;           /* of k */
};

/* Adds a turn to the sums, [n_blocks] of AMX_SUMS; the first part of k begins with zeros. */
typedef void amx_turn_fn(const struct amx_walk *w, const struct amx_turn *turn, float *sums, void *context);

/* How many tokens a block has: as few as fill equal blocks. The last one is filled up with zeros. */
static inline int64_t amx_block_tokens(int64_t t)
{
	int64_t blocks = (t + AMX_TOKENS - 1) / AMX_TOKENS;
	return blocks ? (t + blocks - 1) / blocks : 0;
}

static inline struct amx_walk amx_walk_of(const struct linear_args *a, int64_t steps, int64_t part)
{
	return (struct amx_walk){ a, amx_block_tokens(a->t), (a->t + AMX_TOKENS - 1) / AMX_TOKENS, steps, part };
}

/* Steps of the part that begins at `step`. */
static inline int64_t amx_part_steps(const struct amx_walk *w, int64_t step)
{
	return linear_min(w->part, w->steps - step);
}

/* Where the activations of a block begin in the part that begins at `step`; a token has `bytes` a step. */
static inline char *amx_units(const struct amx_walk *w, int64_t step, int64_t block, int64_t bytes)
{
	return (char *)w->a->scratch + (step * w->blocks + block * amx_part_steps(w, step)) * w->each * bytes;
}

/* Sums of a span to y, with the bias: a token's neighbouring rows together. */
static inline void amx_finish(const struct amx_walk *w, const struct amx_turn *u, int64_t n_begin, int64_t n_end, const float *sums)
{
	const struct linear_args *a = w->a;
	const int64_t end = linear_min((u->block + u->n_blocks) * w->each, a->t);
	for (int64_t t = u->block * w->each; t < end; t++) {
		const float *from = sums + (t / w->each - u->block) * AMX_SUMS + t % w->each * 32;
		for (int64_t p = 0; p < u->panels; p++, from += u->n_blocks * AMX_SUMS) {
			const int64_t n = u->n + 32 * p;
			const uint32_t live = linear_live(n, 32, n_begin, n_end);
			const __mmask16 mask[2] = { (__mmask16)live, (__mmask16)(live >> 16) };
			for (int h = 0; h < 2; h++) {
				__m512 v = _mm512_load_ps(from + 16 * h);
				if (a->bias)
					v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask[h], a->bias + n + 16 * h));
				_mm512_mask_storeu_ps(a->y + t * a->y_stride + n + 16 * h, mask[h], v);
			}
		}
	}
}

/* Rows [n_begin, n_end), `panels` panels together, whose sums fit into the room: panels * min(AMX_SPAN, blocks) of AMX_SUMS. */
static inline __attribute__((always_inline)) void amx_walk(const struct amx_walk *w, int64_t n_begin, int64_t n_end, int64_t panels,
							    amx_turn_fn *turn, float *room, void *context)
{
	const int64_t spans = (w->blocks + AMX_SPAN - 1) / AMX_SPAN;
	const int64_t span = (w->blocks + 2 * spans - 1) / (2 * spans) * 2; /* blocks are taken in pairs */
	struct amx_turn u = { 0 };
	for (int64_t first = n_begin / 32 * 32; first < n_end; first += 32 * panels) {
		u.panels = linear_min(panels, (n_end - first + 31) / 32);
		for (u.block = 0; u.block < w->blocks; u.block += span) {
			u.n_blocks = linear_min(span, w->blocks - u.block);
			for (u.step = 0; u.step < w->steps; u.step += w->part) {
				u.last = u.step + w->part >= w->steps;
				for (u.nth = 0; u.nth < u.panels; u.nth++) {
					const bool next_part = u.nth + 1 == u.panels, ends = next_part && u.last;
					u.n = first + 32 * u.nth;
					u.next_step = ends ? 0 : next_part ? u.step + w->part : u.step;
					u.next_n = !next_part ? u.n + 32 : ends && u.block + span >= w->blocks ? u.n + 32 : first;
					turn(w, &u, room + u.nth * u.n_blocks * AMX_SUMS, context);
				}
			}
			u.n = first;
			amx_finish(w, &u, n_begin, n_end, room);
		}
	}
}

#endif
