/* linear for bf16 by AMX.
 *
 * A tile of sums is 16 tokens x 16 rows of weights. Weights are packed as for avx512bf16 (linear_panels.h), whose panels are what the tile
 * instruction wants, with k filled up to 32; activations are blocks of tokens, tile by tile.
 *
 * Order of summation: k in chunks of 4096; in a chunk one chain of tdpbf16ps over ascending k from zero, within a step of 32 in the
 * instruction's own order; chunks added in ascending order; the bias last. An element does not depend on the others of its tile, nor
 * on the tile's shape. tdpbf16ps takes denormals as zero, inputs and results, and rounds to nearest even.
 */
#include "amx.h"
#include "avx512.h"
#include "linear_panels.h"

/* Tokens of a tile. */
#define TOKENS 16
#define STEP_K 32
/* A step of a panel: 16 pairs of k for 32 rows. */
#define STEP_BYTES 2048
#define CHUNK_STEPS (4096 / STEP_K)

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

/* Two halves of a panel by one or two blocks of tokens: steps [begin, end), sums left in tiles 0 to 3. */
static inline __attribute__((always_inline)) void multiply(const char *w, const char *x, const char *x2, int64_t steps, int rows)
{
	_tile_zero(0);
	_tile_zero(1);
	_tile_zero(2);
	_tile_zero(3);
	for (int64_t s = 0; s < steps; s++, w += STEP_BYTES, x += 64 * rows) {
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

/* Sums of a chunk, [2 blocks][2 halves][tokens][16]. */
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

/* Adds a chunk to what came before it. */
static void add(struct sums *total, const struct sums *s)
{
	float *to = &total->of[0][0][0][0];
	const float *from = &s->of[0][0][0][0];
	for (int i = 0; i < 4 * TOKENS * 16; i += 16)
		_mm512_store_ps(to + i, _mm512_add_ps(_mm512_load_ps(to + i), _mm512_load_ps(from + i)));
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

static void run(const struct linear_args *a, int64_t n_begin, int64_t n_end)
{
	const int64_t steps = steps_of(a->k), each = block_tokens(a->t);
	struct amx_config config = { 0 };
	struct sums total, sums;
	if (a->t == 0)
		return;
	for (int i = 0; i < 6; i++)
		amx_shape(&config, i, (int)each, 64);
	amx_shape(&config, 6, 16, 64);
	amx_shape(&config, 7, 16, 64);
	amx_begin(&config);
	for (int64_t n = n_begin / 32 * 32; n < n_end; n += 32) {
		const char *panel = (const char *)a->packed + n / 32 * steps * STEP_BYTES;
		const uint32_t live = linear_live(n, 32, n_begin, n_end);
		for (int64_t t = 0; t < a->t; t += 2 * each) {
			const char *x = (const char *)a->scratch + t * steps * 64;
			const char *x2 = t + each < a->t ? x + each * steps * 64 : NULL;
			for (int64_t s = 0; s < steps; s += CHUNK_STEPS) {
				multiply(panel + s * STEP_BYTES, x + s * 64 * each, x2 ? x2 + s * 64 * each : NULL,
					 linear_min(CHUNK_STEPS, steps - s), (int)each);
				store(s ? &sums : &total);
				if (s)
					add(&total, &sums);
			}
			finish(a, n, live, t, linear_min(each, a->t - t), total.of[0]);
			if (x2)
				finish(a, n, live, t + each, linear_min(each, a->t - t - each), total.of[1]);
		}
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
	.run = run, .refuse = refuse, .panel = 32, .packed_bytes = packed_bytes, .pack = pack,
	.scratch_bytes = scratch_bytes, .prepare = prepare,
};
