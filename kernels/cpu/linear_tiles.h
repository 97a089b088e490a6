/* linear_tiles.h - the walk over linear's output that the CPU kernels share.
 *
 * A tile function computes y[t..t+tokens)[n..n+rows) for any rows and tokens up to its register tile. Each of its
 * elements must come from the same instructions whatever the tile's shape: then the walk decides about speed alone.
 * Weights are read once per block of tokens, and a block's activations stay in the second-level cache meanwhile.
 */
#ifndef CPU_LINEAR_TILES_H
#define CPU_LINEAR_TILES_H

#include "kernels/ops/linear.h"

/* How often a tile asks for each line of the next max_rows rows of weights, which will be wanted soon. */
enum linear_fetch { FETCH_NONE = 0, FETCH_ONCE = 1, FETCH_EAGERLY = 4 };

typedef void linear_tile_fn(const struct linear_args *a, int64_t n, int64_t t, int rows, int tokens,
			    enum linear_fetch fetch);

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

/* Asks for the line at p, and again for the lines asked for before: requests are dropped while the queue of misses is
 * full. Where a block is one tile of tokens, memory is all that counts, and asking four times pays: same machine, 4 KiB
 * pages, 2048x8192, GB/s for 1 and 4 tokens: once 21.5, 19; four times 27, 26. With more tokens it costs: 8 tokens 21
 * against 17. A step shorter than a line asks for its line in every step anyhow. */
static inline __attribute__((always_inline)) void linear_ask(const char *p, enum linear_fetch fetch, int step_bytes)
{
	const int asks = fetch * step_bytes < 64 ? fetch != FETCH_NONE : fetch * step_bytes / 64;
#pragma GCC unroll 4
	for (int i = 0; i < asks; i++)
		__builtin_prefetch(p - 64 * i, 0, 2);
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
		enum linear_fetch first = t1 - t0 <= max_tokens ? FETCH_EAGERLY : FETCH_ONCE;
		for (int64_t n = n_begin; n < n_end; n += max_rows)
			for (int64_t t = t0; t < t1; t += max_tokens) {
				bool ahead = n + 2 * max_rows <= n_end && t - t0 < LINEAR_FETCH_TOKENS;
				tile(a, n, t, (int)linear_min(max_rows, n_end - n),
				     (int)linear_min(max_tokens, t1 - t), ahead ? first : FETCH_NONE);
			}
	}
}

static inline void linear_store(const struct linear_args *a, int64_t t, int64_t n, float sum)
{
	a->y[t * a->y_stride + n] = a->bias ? sum + a->bias[n] : sum;
}

#endif
