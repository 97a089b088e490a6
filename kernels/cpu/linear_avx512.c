/* linear for all types, widened to float32 in registers.
 *
 * Order of summation: an element has 16 float32 lanes. Lane j takes k = 16 i + j for i ascending, by fused
 * multiply-add; beyond K zeros are added. The lanes are added in a fixed tree (avx512_sum_lanes), the bias last.
 */
#include "avx512.h"
#include "linear_tiles.h"

/* Registers: 16 accumulators, 4 activations, 1 weight. */
#define ROWS 4
#define TOKENS 4

static inline __attribute__((always_inline)) void step(const struct linear_args *a, int64_t w_at, int64_t x_at,
						       __mmask16 live, __m512 sum[ROWS][TOKENS], enum dtype x_type,
						       enum dtype w_type, const int rows, const int tokens)
{
	__m512 x[TOKENS];
#pragma GCC unroll 8
	for (int c = 0; c < tokens; c++)
		x[c] = avx512_load(x_type, a->x, x_at + c * a->x_stride, live);
#pragma GCC unroll 8
	for (int r = 0; r < rows; r++) {
		__m512 w = avx512_load(w_type, a->w, w_at + r * a->k, live);
#pragma GCC unroll 8
		for (int c = 0; c < tokens; c++)
			sum[r][c] = _mm512_fmadd_ps(w, x[c], sum[r][c]);
	}
}

static inline __attribute__((always_inline)) void tile(const struct linear_args *a, int64_t n, int64_t t,
						       enum dtype x_type, enum dtype w_type, const int rows,
						       const int tokens, const enum linear_fetch fetch)
{
	int64_t w = n * a->k, x = t * a->x_stride, k = 0;
	const char *ahead = a->w;
	const int shift = w_type == DTYPE_F32 ? 2 : 1;
	__m512 sum[ROWS][TOKENS];
#pragma GCC unroll 8
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
		for (int c = 0; c < tokens; c++)
			sum[r][c] = _mm512_setzero_ps();
	for (; k + 16 <= a->k; k += 16) {
		if (fetch)
#pragma GCC unroll 8
			for (int r = 0; r < rows; r++)
				linear_ask(ahead + ((w + (rows + r) * a->k + k) << shift), fetch, 16 << shift);
		step(a, w + k, x + k, 0xffff, sum, x_type, w_type, rows, tokens);
	}
	if (k < a->k)
		step(a, w + k, x + k, avx512_mask16(a->k - k), sum, x_type, w_type, rows, tokens);
#pragma GCC unroll 8
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
		for (int c = 0; c < tokens; c++)
			linear_store(a, t + c, n + r, avx512_sum_lanes(sum[r][c]));
}

static inline __attribute__((always_inline)) void tile_rows(const struct linear_args *a, int64_t n, int64_t t,
							    enum dtype x_type, enum dtype w_type, const int rows,
							    int tokens, const enum linear_fetch fetch)
{
	switch (tokens) {
	case 1:
		tile(a, n, t, x_type, w_type, rows, 1, fetch);
		break;
	case 2:
		tile(a, n, t, x_type, w_type, rows, 2, fetch);
		break;
	case 3:
		tile(a, n, t, x_type, w_type, rows, 3, fetch);
		break;
	default:
		tile(a, n, t, x_type, w_type, rows, 4, fetch);
	}
}

static inline __attribute__((always_inline)) void tile_any(const struct linear_args *a, int64_t n, int64_t t, int rows,
							   int tokens, enum dtype x_type, enum dtype w_type, enum linear_fetch fetch)
{
	if (rows < ROWS)
		for (int r = 0; r < rows; r++)
			tile_rows(a, n + r, t, x_type, w_type, 1, tokens, FETCH_NONE);
	else if (fetch == FETCH_EAGERLY)
		tile_rows(a, n, t, x_type, w_type, ROWS, tokens, FETCH_EAGERLY);
	else if (fetch == FETCH_ONCE)
		tile_rows(a, n, t, x_type, w_type, ROWS, tokens, FETCH_ONCE);
	else
		tile_rows(a, n, t, x_type, w_type, ROWS, tokens, FETCH_NONE);
}

static void tile_f32(const struct linear_args *a, int64_t n, int64_t t, int rows, int tokens, enum linear_fetch fetch)
{
	tile_any(a, n, t, rows, tokens, DTYPE_F32, DTYPE_F32, fetch);
}

static void tile_f32_bf16(const struct linear_args *a, int64_t n, int64_t t, int rows, int tokens, enum linear_fetch fetch)
{
	tile_any(a, n, t, rows, tokens, DTYPE_F32, DTYPE_BF16, fetch);
}

static void tile_f32_f16(const struct linear_args *a, int64_t n, int64_t t, int rows, int tokens, enum linear_fetch fetch)
{
	tile_any(a, n, t, rows, tokens, DTYPE_F32, DTYPE_F16, fetch);
}

static void tile_bf16(const struct linear_args *a, int64_t n, int64_t t, int rows, int tokens, enum linear_fetch fetch)
{
	tile_any(a, n, t, rows, tokens, DTYPE_BF16, DTYPE_BF16, fetch);
}

static void tile_f16(const struct linear_args *a, int64_t n, int64_t t, int rows, int tokens, enum linear_fetch fetch)
{
	tile_any(a, n, t, rows, tokens, DTYPE_F16, DTYPE_F16, fetch);
}

static const char *refuse(const struct linear_request *r)
{
	return linear_refuse_any(r);
}

static void run(const struct linear_args *a, int64_t n_begin, int64_t n_end)
{
	linear_tile_fn *widening = a->w_type == DTYPE_BF16 ? tile_f32_bf16
				 : a->w_type == DTYPE_F16  ? tile_f32_f16
							   : tile_f32;
	linear_tile_fn *tile_fn = a->x_type == DTYPE_BF16 ? tile_bf16 : a->x_type == DTYPE_F16 ? tile_f16 : widening;
	linear_walk(a, n_begin, n_end, ROWS, TOKENS, tile_fn);
}

const struct linear_kernel linear_avx512 = { .run = run, .refuse = refuse, .panel = 16 };
