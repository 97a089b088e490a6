/* linear for bf16 by AMX.
 *
 * A tile of sums is 16 tokens x 16 rows of weights. Weights are packed as for avx512bf16 (linear_panels.h), whose panels are what the tile
 * instruction wants, with k filled up to 32; activations and the walk are those of linear_amx.h. Two blocks of tokens and both halves of
 * a panel are multiplied together: four tiles of sums, and as many loads as products.
 *
 * Order of summation: one chain of tdpbf16ps over ascending k from zero, within a step of 32 in the instruction's own order; the bias last.
 * A chain may rest in memory and go on from there. An element does not depend on the others of its tile, nor on the tile's shape.
 * tdpbf16ps takes denormals as zero, inputs and results, and rounds to nearest even.
 */
#include "avx512.h"
#include "linear_amx.h"

#define STEP_K 32
/* A step of a panel: 16 pairs of k for 32 rows. */
#define STEP_BYTES 2048
/* Many tokens: so many steps of a panel stay in the first-level cache, which the activations pass by, and so many panels' sums in the
 * second-level cache. 2026-11-23, 16 CPUs of a Xeon with AMX, 512 x 14336 x 4096, medians of 10 and 12 turns: 16 steps and 4 panels 9.4
 * TFLOP/s beside 9.7 of 8 and 4, 8.9 of 8 and 8, 9.2 of 16 and 2; 8 CPUs 7.5 beside 6.6, 6.4 and 6.3. 32 steps and 8 panels 6.1 where
 * 16 and 8 reached 6.8. */
#define PART_STEPS 16
#define PART_PANELS 4
/* Tokens that need no parts: a lone pair of blocks meets a panel from its first step to its last. */
#define FEW_BLOCKS 2
/* How far ahead such a panel is asked for. */
#define AHEAD (4 * STEP_BYTES)

static inline int64_t steps_of(int64_t k)
{
	return (k + STEP_K - 1) / STEP_K;
}

static struct amx_walk walk_of(const struct linear_args *a)
{
	const int64_t steps = steps_of(a->k);
	return amx_walk_of(a, steps, a->t <= FEW_BLOCKS * AMX_TOKENS ? steps : PART_STEPS);
}

/* What is asked for at each step: so many lines of the activations and weights that come, and two lines of so many rows of y. */
struct soon {
	const char *x, *w, *y;
	int64_t y_stride;
	int x_lines, w_lines, rows;
};

static inline __attribute__((always_inline)) void ask(struct soon *s)
{
	for (int i = 0; i < s->x_lines; i++, s->x += 64)
		__builtin_prefetch(s->x, 0, 2);
	for (int i = 0; i < s->w_lines; i++, s->w += 64)
		__builtin_prefetch(s->w, 0, 2);
	for (int i = 0; i < s->rows; i++, s->y += s->y_stride) {
		__builtin_prefetch(s->y, 1, 3);
		__builtin_prefetch(s->y + 64, 1, 3);
	}
}

/* Two halves of a panel by two blocks of tokens, or one: adds steps to the sums in tiles 0 to 3. Tiles 4 and 5 are of x, 6 and 7 of w. A
 * tile is loaded for the next step as soon as this one's last product has it. x is read from the second-level cache, past the first. */
static inline __attribute__((always_inline)) void multiply(const char *w, const char *x, const char *x2, int64_t steps, int rows,
							    struct soon *soon, const bool two)
{
	_tile_loadd(6, w, 128);
	_tile_stream_loadd(4, x, 64);
	if (two)
		_tile_stream_loadd(5, x2, 64);
	_tile_loadd(7, w + 64, 128);
	for (int64_t s = 1; s < steps; s++) {
		w += STEP_BYTES;
		x += 64 * rows;
		x2 += 64 * rows;
		_tile_dpbf16ps(0, 4, 6);
		if (two)
			_tile_dpbf16ps(2, 5, 6);
		_tile_loadd(6, w, 128);
		ask(soon);
		_tile_dpbf16ps(1, 4, 7);
		_tile_stream_loadd(4, x, 64);
		if (two) {
			_tile_dpbf16ps(3, 5, 7);
			_tile_stream_loadd(5, x2, 64);
		}
		_tile_loadd(7, w + 64, 128);
	}
	ask(soon);
	_tile_dpbf16ps(0, 4, 6);
	_tile_dpbf16ps(1, 4, 7);
	if (two) {
		_tile_dpbf16ps(2, 5, 6);
		_tile_dpbf16ps(3, 5, 7);
	}
}

/* What a chain begins with: a load of this, since a product right behind tilezero waits three times as long. */
static const _Alignas(64) char zeros[64];

static inline __attribute__((always_inline)) void pair(const struct amx_walk *p, const char *w, const char *x, int64_t steps, bool first,
							struct soon *soon, float *sums, const bool two)
{
	char *sum = (char *)sums, *sum2 = (char *)(sums + AMX_SUMS);
	const char *from = first ? zeros : sum, *from2 = first ? zeros : sum2;
	const int64_t half = first ? 0 : 64, stride = first ? 0 : 128;
	_tile_loadd(0, from, stride);
	_tile_loadd(1, from + half, stride);
	if (two) {
		_tile_loadd(2, from2, stride);
		_tile_loadd(3, from2 + half, stride);
	}
	multiply(w, x, x + steps * p->each * 64, steps, (int)p->each, soon, two);
	_tile_stored(0, sum, 128);
	_tile_stored(1, sum + 64, 128);
	if (two) {
		_tile_stored(2, sum2, 128);
		_tile_stored(3, sum2 + 64, 128);
	}
}

static const char *panel_at(const struct amx_walk *p, int64_t n, int64_t step)
{
	return (const char *)p->a->packed + (n / 32 * p->steps + step) * STEP_BYTES;
}

static void turn(const struct amx_walk *p, const struct amx_turn *u, float *sums, void *context)
{
	const int64_t steps = amx_part_steps(p, u->step), pairs = (u->n_blocks + 1) / 2;
	const char *w = panel_at(p, u->n, u->step);
	struct soon soon = { .w = panel_at(p, u->next_n, u->next_step), .w_lines = (int)((STEP_BYTES / 64 + pairs - 1) / pairs) };
	(void)context;
	if (p->part == p->steps) {
		soon.w = w + AHEAD;
	} else {
		/* This panel's share of the span's activations in the next part. */
		const int64_t next = u->last ? 0 : u->step + p->part, bytes = u->n_blocks * amx_part_steps(p, next) * p->each * 64;
		soon.x = amx_units(p, next, u->block, 64) + bytes / u->panels * u->nth;
		soon.x_lines = (int)((bytes / 64 + u->panels * pairs * steps - 1) / (u->panels * pairs * steps));
		soon.y_stride = p->a->y_stride * 4;
		soon.rows = u->last ? (int)((2 * p->each + steps - 1) / steps) : 0;
	}
	for (int64_t b = 0; b < u->n_blocks; b += 2, sums += 2 * AMX_SUMS) {
		const char *x = amx_units(p, u->step, u->block + b, 64);
		soon.y = (const char *)(p->a->y + (u->block + b) * p->each * p->a->y_stride + u->n);
		if (b + 1 < u->n_blocks)
			pair(p, w, x, steps, u->step == 0, &soon, sums, true);
		else
			pair(p, w, x, steps, u->step == 0, &soon, sums, false);
	}
}

static void run(const struct linear_args *a, int64_t n_begin, int64_t n_end)
{
	const struct amx_walk p = walk_of(a);
	struct amx_config config = { 0 };
	_Alignas(64) float few[FEW_BLOCKS * AMX_SUMS], many[PART_PANELS * AMX_SPAN * AMX_SUMS];
	if (a->t == 0)
		return;
	for (int i = 0; i < 6; i++)
		amx_shape(&config, i, (int)p.each, 64);
	amx_shape(&config, 6, 16, 64);
	amx_shape(&config, 7, 16, 64);
	amx_begin(&config);
	if (p.blocks <= FEW_BLOCKS)
		amx_walk(&p, n_begin, n_end, 1, turn, few, NULL);
	else
		amx_walk(&p, n_begin, n_end, PART_PANELS, turn, many, NULL);
	_tile_release();
}

/* ---- Layouts ---- */

static const struct linear_form form = { .rows = 32, .tokens = AMX_TOKENS, .k_per_step = 2, .step_bytes = 128, .steps_grain = 16 };

static const char *refuse(const struct linear_request *r)
{
	if (r->format == WEIGHT_DENSE && (r->x_type != DTYPE_BF16 || r->w_type != DTYPE_BF16))
		return "multiplies bf16 by bf16 only";
	return linear_refuse_any(r);
}

static int64_t packed_bytes(const struct linear_request *r)
{
	return linear_panels_bytes(&form, r);
}

static void pack(const struct weight_matrix *w, void *packed, int64_t panel_begin, int64_t panel_end)
{
	linear_pack_panels(&form, w, packed, panel_begin, panel_end);
}

/* Tokens in whole blocks, whatever their number up to t: a step more than t itself may need fewer blocks, but never more tokens. */
static int64_t scratch_bytes(const struct linear_request *r, int64_t t)
{
	return (t + AMX_TOKENS - 1) / AMX_TOKENS * AMX_TOKENS * steps_of(r->k) * 64;
}

static void prepare(const struct linear_args *a, int64_t t_begin, int64_t t_end)
{
	const struct amx_walk p = walk_of(a);
	/* The last token's worker fills the last block up. */
	for (int64_t t = t_begin; t < (t_end == a->t ? p.blocks * p.each : t_end); t++) {
		const uint16_t *x = (const uint16_t *)a->x + t * a->x_stride;
		for (int64_t begin = 0; begin < p.steps; begin += p.part) {
			char *to = amx_units(&p, begin, t / p.each, 64) + t % p.each * 64;
			for (int64_t s = begin; s < begin + amx_part_steps(&p, begin); s++, to += 64 * p.each) {
				__mmask32 live = t < a->t ? avx512_mask32(a->k - s * STEP_K) : 0;
				_mm512_storeu_si512(to, _mm512_maskz_loadu_epi16(live, t < a->t ? x + s * STEP_K : a->x));
			}
		}
	}
}

const struct linear_kernel linear_amxbf16 = {
	.run = run, .refuse = refuse, .panel = 32, .slice = 32 * PART_PANELS, .packed_bytes = packed_bytes, .pack = pack,
	.scratch_bytes = scratch_bytes, .prepare = prepare,
};
