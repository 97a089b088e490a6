/* linear for all types, widened to float32 in registers.
 *
 * Order of summation: an element has 8 float32 lanes. Lane j takes k = 8 i + j for i ascending, by fused
 * multiply-add; beyond K zeros are added. The lanes are added in a fixed tree (avx2_sum_lanes), the bias last.
 */
#include "avx2.h"
#include "linear_tiles.h"

/* Registers: 12 accumulators, 3 activations, 1 weight: all sixteen. */
#define ROWS 4
#define TOKENS 3

static inline __attribute__((always_inline)) __m256 load(enum dtype type, const void *p, int64_t i, int64_t live)
{
	return live >= 8 ? avx2_load8(type, p, i) : avx2_load_tail(type, p, i, live);
}

static inline __attribute__((always_inline)) void step(const struct linear_args *a, int64_t w_at, int64_t x_at,
						       int64_t live, __m256 sum[ROWS][TOKENS], enum dtype x_type,
						       enum dtype w_type, const int rows, const int tokens)
{
	__m256 x[TOKENS];
#pragma GCC unroll 8
	for (int c = 0; c < tokens; c++)
		x[c] = load(x_type, a->x, x_at + c * a->x_stride, live);
#pragma GCC unroll 8
	for (int r = 0; r < rows; r++) {
		__m256 w = load(w_type, a->w, w_at + r * a->k, live);
#pragma GCC unroll 8
		for (int c = 0; c < tokens; c++)
			sum[r][c] = _mm256_fmadd_ps(w, x[c], sum[r][c]);
	}
}

static inline __attribute__((always_inline)) void tile(const struct linear_args *a, int64_t n, int64_t t,
						       enum dtype x_type, enum dtype w_type, const int rows,
						       const int tokens, const enum linear_fetch fetch)
{
	int64_t w = n * a->k, x = t * a->x_stride, k = 0;
	const char *ahead = a->w;
	const int shift = w_type == DTYPE_F32 ? 2 : 1;
	__m256 sum[ROWS][TOKENS];
#pragma GCC unroll 8
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
		for (int c = 0; c < tokens; c++)
			sum[r][c] = _mm256_setzero_ps();
	for (; k + 8 <= a->k; k += 8) {
		if (fetch)
#pragma GCC unroll 8
			for (int r = 0; r < rows; r++)
				linear_ask(ahead + ((w + (rows + r) * a->k + k) << shift), fetch, 8 << shift);
		step(a, w + k, x + k, 8, sum, x_type, w_type, rows, tokens);
	}
	if (k < a->k)
		step(a, w + k, x + k, a->k - k, sum, x_type, w_type, rows, tokens);
#pragma GCC unroll 8
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
		for (int c = 0; c < tokens; c++)
			linear_store(a, t + c, n + r, avx2_sum_lanes(sum[r][c]));
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
	default:
		tile(a, n, t, x_type, w_type, rows, 3, fetch);
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

const struct linear_kernel linear_avx2 = { .run = run, .refuse = refuse, .panel = 16 };
