/* linear for bf16 by vdpbf16ps.
 *
 * Order of summation: an element has 16 float32 lanes. Lane j takes k = 32 i + 2 j and k = 32 i + 2 j + 1, for i
 * ascending, in the instruction's own order; beyond K zeros are added. The lanes are added in a fixed tree
 * (avx512_sum_lanes), the bias last. vdpbf16ps takes denormal inputs as zero, flushes denormal results to zero and
 * rounds to nearest even, whatever MXCSR says.
 */
#include "avx512.h"
#include "linear_tiles.h"

/* Registers: 16 accumulators, 4 activations, 1 weight. */
#define ROWS 4
#define TOKENS 4

static inline __attribute__((always_inline)) void step(const uint16_t *w, int64_t w_stride, const uint16_t *x,
						       int64_t x_stride, __mmask32 live, __m512 sum[ROWS][TOKENS],
						       const int rows, const int tokens)
{
	__m512bh xv[TOKENS];
#pragma GCC unroll 8
	for (int c = 0; c < tokens; c++)
		xv[c] = (__m512bh)_mm512_maskz_loadu_epi16(live, x + c * x_stride);
#pragma GCC unroll 8
	for (int r = 0; r < rows; r++) {
		__m512bh wv = (__m512bh)_mm512_maskz_loadu_epi16(live, w + r * w_stride);
#pragma GCC unroll 8
		for (int c = 0; c < tokens; c++)
			sum[r][c] = _mm512_dpbf16_ps(sum[r][c], wv, xv[c]);
	}
}

static inline __attribute__((always_inline)) void tile(const struct linear_args *a, int64_t n, int64_t t,
						       const int rows, const int tokens, const enum linear_fetch fetch)
{
	const uint16_t *w = (const uint16_t *)a->w + n * a->k;
	const uint16_t *x = (const uint16_t *)a->x + t * a->x_stride;
	int64_t k = 0;
	__m512 sum[ROWS][TOKENS];
#pragma GCC unroll 8
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
		for (int c = 0; c < tokens; c++)
			sum[r][c] = _mm512_setzero_ps();
	for (; k + 32 <= a->k; k += 32) {
		if (fetch)
#pragma GCC unroll 8
			for (int r = 0; r < rows; r++)
				linear_ask((const char *)(w + (rows + r) * a->k + k), fetch, 64);
		step(w + k, a->k, x + k, a->x_stride, 0xffffffffu, sum, rows, tokens);
	}
	if (k < a->k)
		step(w + k, a->k, x + k, a->x_stride, avx512_mask32(a->k - k), sum, rows, tokens);
#pragma GCC unroll 8
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
		for (int c = 0; c < tokens; c++)
			linear_store(a, t + c, n + r, avx512_sum_lanes(sum[r][c]));
}

static inline __attribute__((always_inline)) void tile_rows(const struct linear_args *a, int64_t n, int64_t t,
							    const int rows, int tokens, const enum linear_fetch fetch)
{
	switch (tokens) {
	case 1:
		tile(a, n, t, rows, 1, fetch);
		break;
	case 2:
		tile(a, n, t, rows, 2, fetch);
		break;
	case 3:
		tile(a, n, t, rows, 3, fetch);
		break;
	default:
		tile(a, n, t, rows, 4, fetch);
	}
}

static void tile_any(const struct linear_args *a, int64_t n, int64_t t, int rows, int tokens, enum linear_fetch fetch)
{
	if (rows < ROWS)
		for (int r = 0; r < rows; r++)
			tile_rows(a, n + r, t, 1, tokens, FETCH_NONE);
	else if (fetch == FETCH_EAGERLY)
		tile_rows(a, n, t, ROWS, tokens, FETCH_EAGERLY);
	else if (fetch == FETCH_ONCE)
		tile_rows(a, n, t, ROWS, tokens, FETCH_ONCE);
	else
		tile_rows(a, n, t, ROWS, tokens, FETCH_NONE);
}

static const char *refuse(const struct linear_request *r)
{
	if (r->x_type != DTYPE_BF16 || r->w_type != DTYPE_BF16)
		return "multiplies bf16 by bf16 only";
	return linear_refuse_any(r);
}

static void run(const struct linear_args *a, int64_t n_begin, int64_t n_end)
{
	linear_walk(a, n_begin, n_end, ROWS, TOKENS, tile_any);
}

const struct linear_kernel linear_avx512bf16 = { .run = run, .refuse = refuse, .panel = 16 };
