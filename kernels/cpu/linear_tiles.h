/* linear_tiles.h - the walk over linear's output that the CPU kernels share.
 *
 * A tile function computes y[t..t+tokens)[n..n+rows) for any rows and tokens up to its register tile. Each of its
 * elements must come from the same instructions whatever the tile's shape: then the walk decides about speed alone.
 * Weights are read once per block of tokens, and a block's activations stay in the second-level cache meanwhile.
 */
#ifndef CPU_LINEAR_TILES_H
#define CPU_LINEAR_TILES_H

#include "kernels/ops/linear.h"

/* `fetch`: the next max_rows rows of weights will be wanted soon, and may be brought into the second-level cache. */
typedef void linear_tile_fn(const struct linear_args *a, int64_t n, int64_t t, int rows, int tokens, bool fetch);

/* What a block's activations may take of the second-level cache. 2026-11-22, EPYC (Zen 4, 1 MiB), one thread,
 * avx512bf16, GFLOP/s for 512x2048x4096 and 512x1024x14336: 256 KiB 177, 140; 512 KiB 182, 159; 768 KiB 183, 164;
 * 1536 KiB 174, 159. 512 rather than 768, since other cores and smaller caches are to be served too. */
#define LINEAR_BLOCK_BYTES (512 << 10)

/* While a block's first 8 tokens are worked on, the next rows of weights are fetched. 2026-11-22, EPYC (Zen 4), one
 * thread, avx512bf16, 8192x2048, GB/s of weights for 1, 4, 8, 16, 64 tokens: never 20, 16, 13, 8.7, 2.9; during the
 * first 4 tokens 26, 22, 15, 9.6, 2.9; 8 tokens 26, 22, 21, 10.8, 3.1; 32 tokens 26, 21, 21, 11.2, 3.0. */
#define LINEAR_FETCH_TOKENS 8

static inline int64_t linear_min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static inline void linear_walk(const struct linear_args *a, int64_t n_begin, int64_t n_end, int max_rows,
			       int max_tokens, linear_tile_fn *tile)
{
	int64_t row_bytes = a->k * (a->x_type == DTYPE_F32 ? 4 : 2);
	int64_t block = LINEAR_BLOCK_BYTES / row_bytes / max_tokens * max_tokens;
	if (block < max_tokens)
		block = max_tokens;
	for (int64_t t0 = 0; t0 < a->t; t0 += block) {
		int64_t t1 = linear_min(t0 + block, a->t);
		for (int64_t n = n_begin; n < n_end; n += max_rows)
			for (int64_t t = t0; t < t1; t += max_tokens)
				tile(a, n, t, (int)linear_min(max_rows, n_end - n),
				     (int)linear_min(max_tokens, t1 - t),
				     n + 2 * max_rows <= n_end && t - t0 < LINEAR_FETCH_TOKENS);
	}
}

static inline void linear_store(const struct linear_args *a, int64_t t, int64_t n, float sum)
{
	a->y[t * a->y_stride + n] = a->bias ? sum + a->bias[n] : sum;
}

#endif
