/* linear for bf16 by AMX.
 *
 * A tile of sums is 16 tokens x 16 rows of weights. Weights are packed as for avx512bf16 (linear_panels.h), whose panels are what the tile
 * instruction wants, with k filled up to 32; activations are blocks of tokens, tile by tile.
 *
 * Order of summation: one chain of tdpbf16ps over ascending k from zero, within a step of 32 in the instruction's own order; the bias last.
 * A chain may rest in y and go on from there. An element does not depend on the others of its tile, nor on the tile's shape.
 * tdpbf16ps takes denormals as zero, inputs and results, and rounds to nearest even.
 */
#include "amx.h"
#include "avx512.h"
#include "linear_panels.h"

/* Tokens of a tile. */
#define TOKENS 16
#define STEP_K 32
/* A step of a panel: 16 pairs of k for 32 rows. */
#define STEP_BYTES 2048
/* Many tokens: so many steps of a panel stay in the first-level cache while all tokens meet them, and so many panels' sums, resting in
 * y, in the second-level cache beside that part of the activations. */
#define PART_STEPS 16
#define PART_PANELS 8

/* How many tokens a block has: as few as fill equal blocks. The last one is filled up with zeros. */
static inline int64_t block_tokens(int64_t t)
{
	int64_t blocks = (t + TOKENS - 1) / TOKENS;
	return blocks ? (t + blocks - 1) / blocks : 0;
}

static inline int64_t steps_of(int64_t k)
{
	return (k + STEP_K - 1) / STEP_K;
}

/* Two halves of a panel by one or two blocks of tokens: adds steps to the sums in tiles 0 to 3. */
static inline __attribute__((always_inline)) void multiply(const char *w, const char *x, const char *x2, int64_t steps, int rows)
{
	for (int64_t s = 0; s < steps; s++, w += STEP_BYTES, x += 64 * rows) {
		if (!x2)
			for (int i = 0; i < STEP_BYTES; i += 64)
				__builtin_prefetch(w + 4 * STEP_BYTES + i, 0, 2);
		_tile_loadd(4, x, 64);
		_tile_loadd(6, w, 128);
		_tile_loadd(7, w + 64, 128);
		_tile_dpbf16ps(0, 4, 6);
		_tile_dpbf16ps(1, 4, 7);
		if (x2) {
			_tile_loadd(5, x2, 64);
			_tile_dpbf16ps(2, 5, 6);
			_tile_dpbf16ps(3, 5, 7);
			x2 += 64 * rows;
		}
	}
}

static inline void zero(void)
{
	_tile_zero(0);
	_tile_zero(1);
	_tile_zero(2);
	_tile_zero(3);
}

/* Sums, [2 blocks][2 halves][tokens][16]. */
struct sums {
	_Alignas(64) float of[2][2][TOKENS][16];
};

static inline void store(struct sums *s)
{
	_tile_stored(0, s->of[0][0], 64);
	_tile_stored(1, s->of[0][1], 64);
	_tile_stored(2, s->of[1][0], 64);
	_tile_stored(3, s->of[1][1], 64);
}

/* What the step of a call has in common. */
struct shape {
	const struct linear_args *a;
	int64_t steps, each; /* each: tokens of a block */
};

static const char *units_of(const struct shape *p, int64_t t, int64_t step)
{
	return t < p->a->t ? (const char *)p->a->scratch + (t * p->steps + step * p->each) * 64 : NULL;
}

static void finish(const struct linear_args *a, int64_t n, uint32_t live, int64_t t, int64_t count, const float of[2][TOKENS][16])
{
	const __mmask16 mask[2] = { (__mmask16)live, (__mmask16)(live >> 16) };
	for (int64_t c = 0; c < count; c++)
		for (int h = 0; h < 2; h++) {
			__m512 v = _mm512_load_ps(of[h][c]);
			if (a->bias)
				v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask[h], a->bias + n + 16 * h));
			_mm512_mask_storeu_ps(a->y + (t + c) * a->y_stride + n + 16 * h, mask[h], v);
		}
}

static void finish_pair(const struct shape *p, int64_t n, uint32_t live, int64_t t, const struct sums *s)
{
	finish(p->a, n, live, t, linear_min(p->each, p->a->t - t), s->of[0]);
	if (t + p->each < p->a->t)
		finish(p->a, n, live, t + p->each, linear_min(p->each, p->a->t - t - p->each), s->of[1]);
}

/* A panel from its first step to its last, tokens from t on in pairs of blocks. */
static void panel_whole(const struct shape *p, int64_t n, uint32_t live, int64_t t)
{
	const char *w = (const char *)p->a->packed + n / 32 * p->steps * STEP_BYTES;
	struct sums sums;
	for (; t < p->a->t; t += 2 * p->each) {
		zero();
		multiply(w, units_of(p, t, 0), units_of(p, t + p->each, 0), p->steps, (int)p->each);
		store(&sums);
		finish_pair(p, n, live, t, &sums);
	}
}

/* Whole panels and whole pairs of blocks, whose sums fit into y: a part of k after the other, tokens up to t_end. */
static void panels_in_parts(const struct shape *p, int64_t n_begin, int64_t n_end, int64_t t_end)
{
	const int64_t stride = p->a->y_stride * 4;
	for (int64_t s = 0; s < p->steps; s += PART_STEPS) {
		const int64_t steps = linear_min(PART_STEPS, p->steps - s);
		for (int64_t n = n_begin; n < n_end; n += 32) {
			const char *w = (const char *)p->a->packed + (n / 32 * p->steps + s) * STEP_BYTES;
			for (int64_t t = 0; t < t_end; t += 2 * p->each) {
				float *y = p->a->y + t * p->a->y_stride + n, *y2 = y + p->each * p->a->y_stride;
				if (s) {
					_tile_loadd(0, y, stride);
					_tile_loadd(1, y + 16, stride);
					_tile_loadd(2, y2, stride);
					_tile_loadd(3, y2 + 16, stride);
				} else {
					zero();
				}
				multiply(w, units_of(p, t, s), units_of(p, t + p->each, s), steps, (int)p->each);
				if (s + steps == p->steps && p->a->bias) {
					struct sums sums;
					store(&sums);
					finish_pair(p, n, 0xffffffffu, t, &sums);
				} else {
					_tile_stored(0, y, stride);
					_tile_stored(1, y + 16, stride);
					_tile_stored(2, y2, stride);
					_tile_stored(3, y2 + 16, stride);
				}
			}
		}
	}
}

static void run(const struct linear_args *a, int64_t n_begin, int64_t n_end)
{
	const struct shape p = { a, steps_of(a->k), block_tokens(a->t) };
	struct amx_config config = { 0 };
	if (a->t == 0)
		return;
	for (int i = 0; i < 6; i++)
		amx_shape(&config, i, (int)p.each, 64);
	amx_shape(&config, 6, 16, 64);
	amx_shape(&config, 7, 16, 64);
	amx_begin(&config);
	const int64_t t_parts = a->t > 2 * p.each ? a->t / (2 * p.each) * (2 * p.each) : 0;
	for (int64_t n = n_begin / 32 * 32; n < n_end;) {
		int64_t end = n + 32 * linear_min(PART_PANELS, (n_end - n) / 32), t = 0;
		if (t_parts && n >= n_begin && end > n) {
			panels_in_parts(&p, n, end, t_parts);
			t = t_parts;
		} else {
			end = n + 32;
		}
		for (; n < end; n += 32)
			panel_whole(&p, n, linear_live(n, 32, n_begin, n_end), t);
	}
	_tile_release();
}

/* ---- Layouts ---- */

static const struct linear_form form = { .rows = 32, .tokens = TOKENS, .k_per_step = 2, .step_bytes = 128, .steps_grain = 16 };

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
	return (t + TOKENS - 1) / TOKENS * TOKENS * steps_of(r->k) * 64;
}

static void prepare(const struct linear_args *a, int64_t t_begin, int64_t t_end)
{
	const int64_t steps = steps_of(a->k), each = block_tokens(a->t), blocks = (a->t + TOKENS - 1) / TOKENS;
	/* The last token's worker fills the last block up. */
	for (int64_t t = t_begin; t < (t_end == a->t ? blocks * each : t_end); t++) {
		const uint16_t *x = (const uint16_t *)a->x + t * a->x_stride;
		char *to = (char *)a->scratch + t / each * each * steps * 64 + t % each * 64;
		for (int64_t s = 0; s < steps; s++) {
			__mmask32 live = t < a->t ? avx512_mask32(a->k - s * STEP_K) : 0;
			_mm512_storeu_si512(to + s * 64 * each, _mm512_maskz_loadu_epi16(live, t < a->t ? x + s * STEP_K : a->x));
		}
	}
}

const struct linear_kernel linear_amxbf16 = {
	.run = run, .refuse = refuse, .panel = 32, .slice = 32 * PART_PANELS, .packed_bytes = packed_bytes, .pack = pack,
	.scratch_bytes = scratch_bytes, .prepare = prepare,
};
