/* linear_cuda.c - linear on a GPU: which of a row's kernels computes how many tokens.
 *
 * Within a row all kernels give the same bits (kernels/cuda/sm80/linear_tile.cuh, kernels/cuda/common/linear_simt.cu), so that the
 * choice may look at the number of tokens.
 */
#include "ops/cuda_ops.h"

#include "base/status.h"

#include <assert.h>

enum { SIMT, SM80 }; /* the rows of kernels/ops/linear.def */

/* ---- simt: any types, sizes and strides ---- */

#define SIMT_THREADS 256

static const struct {
	const char *name;
	int rows, tokens; /* of a block */
} simt_tiles[] = { { "linear_simt_few", 32, 8 }, { "linear_simt_many", 64, 64 } };

const char *linear_simt_refuse(const struct linear_request *r)
{
	return linear_refuse_any(r);
}

static int simt_find(struct gpu *g, struct linear_cuda *out)
{
	for (int i = 0; i < 2; i++)
		TRY(gpu_find_kernel(g, simt_tiles[i].name, 0, &out->kernel[i]));
	return VB_OK;
}

static void simt_run(struct gpu *g, const struct linear_cuda *k, const struct linear_args *a)
{
	int i = a->t > 16;
	struct gpu_grid grid = { .blocks = { cuda_blocks(a->n, simt_tiles[i].rows), cuda_blocks(a->t, simt_tiles[i].tokens), 1 },
				 .threads = SIMT_THREADS,
				 .early = true };
	gpu_launch(g, &k->kernel[i], &grid, a);
}

/* ---- sm80: tensor cores ---- */

struct tile {
	const char *bf16, *f16;
	int rows, tokens, threads;
	uint32_t shared_memory;
};

#define TILE(suffix, tile_rows, tile_tokens, warp_rows, warp_tokens, depth, stages)                                     \
	{                                                                                                               \
		.bf16 = "linear_sm80_bf16_" #tile_rows "x" #tile_tokens suffix,                                         \
		.f16 = "linear_sm80_f16_" #tile_rows "x" #tile_tokens suffix, .rows = (tile_rows), .tokens = (tile_tokens), \
		.threads = (tile_rows) / (warp_rows) * ((tile_tokens) / (warp_tokens)) * 32,                            \
		.shared_memory = ((tile_rows) + (tile_tokens)) * (depth) * 2 * (stages)                                 \
	}

static const struct tile tiles[] = {
#define LINEAR_TILE(rows, tokens, warp_rows, warp_tokens, depth, stages) \
	TILE("", rows, tokens, warp_rows, warp_tokens, depth, stages),
#include "kernels/ops/linear_tiles.def"
#undef LINEAR_TILE
	/* Where something is not aligned to 16 bytes. */
	TILE("_any", 64, 64, 32, 32, 64, 3),
};
#define N_TILES (int)(sizeof tiles / sizeof *tiles)
#define UNALIGNED (N_TILES - 1)
static_assert(N_TILES <= (int)(sizeof((struct linear_cuda *)0)->kernel / sizeof(struct gpu_kernel)), "a kernel a tile");

const char *linear_sm80_refuse(const struct linear_request *r)
{
	const char *why = linear_refuse_any(r);
	if (why)
		return why;
	if (r->x_type != r->w_type || r->x_type == DTYPE_F32)
		return "takes activations and weights both in bf16 or both in f16";
	if (r->k % 16 != 0)
		return "takes multiples of 16 as k";
	return r->k >= 1 << 23 ? "takes k below 8388608" : NULL;
}

static int sm80_find(struct gpu *g, const struct linear_request *r, struct linear_cuda *out)
{
	int64_t limit = gpu_facts(g)->shared_memory;
	for (int i = 0; i < N_TILES; i++) {
		const struct tile *tile = &tiles[i];
		if (tile->shared_memory > limit)
			continue;
		TRY(gpu_find_kernel(g, r->x_type == DTYPE_F16 ? tile->f16 : tile->bf16, tile->shared_memory,
				    &out->kernel[i]));
		/* A block that begins early goes where there is room. Where two fit, some multiprocessors get two and others
		 * none: harmless while memory is what they wait for, slower by half where it is not. Many tokens take so long
		 * that nothing is gained. */
		out->early[i] = tile->tokens <= 32 ||
				(tile->tokens == 64 && gpu_blocks_per_sm(g, &out->kernel[i], tile->threads) == 1);
	}
	out->sms = gpu_facts(g)->sms;
	return VB_OK;
}

/* What a multiprocessor reads for its share of the tiles, in rows of k values: that orders the tiles as measurements do, from 1
 * token to thousands (bench/cuda/linear_bench.cu). */
static int64_t sm80_cost(const struct linear_cuda *k, const struct tile *tile, int64_t n, int64_t t)
{
	int64_t blocks = (int64_t)cuda_blocks(n, tile->rows) * cuda_blocks(t, tile->tokens);
	return (blocks + k->sms - 1) / k->sms * (tile->rows + tile->tokens);
}

static int sm80_choose(const struct linear_cuda *k, const struct linear_args *a)
{
	if (((uintptr_t)a->x | (uintptr_t)a->w | (uintptr_t)a->x_stride * 2) % 16 != 0)
		return UNALIGNED;
	int best = UNALIGNED;
	int64_t least = INT64_MAX;
	for (int i = 0; i < UNALIGNED; i++) {
		/* More than half empty: not worth a look. */
		if (!k->kernel[i].function || (tiles[i].tokens > 8 && tiles[i].tokens >= 2 * a->t))
			continue;
		int64_t cost = sm80_cost(k, &tiles[i], a->n, a->t);
		if (cost < least) {
			least = cost;
			best = i;
		}
	}
	return best;
}

static void sm80_run(struct gpu *g, const struct linear_cuda *k, const struct linear_args *a)
{
	/* Offsets in a tile are 32 bits wide; the weights' rows were looked at when the row was chosen. */
	assert(a->x_stride < 1 << 23);
	int i = sm80_choose(k, a);
	uint32_t blocks = cuda_blocks(a->n, tiles[i].rows) * cuda_blocks(a->t, tiles[i].tokens);
	struct gpu_grid grid = { .blocks = { blocks, 1, 1 }, .threads = (uint32_t)tiles[i].threads, .early = k->early[i] };
	gpu_launch(g, &k->kernel[i], &grid, a);
}

/* ---- Both ---- */

int linear_cuda_find(struct gpu *g, int row, const struct linear_request *r, struct linear_cuda *out)
{
	*out = (struct linear_cuda){ .row = row };
	return row == SIMT ? simt_find(g, out) : sm80_find(g, r, out);
}

void linear_cuda_run(struct gpu *g, const struct linear_cuda *k, const struct linear_args *a)
{
	if (k->row == SIMT)
		simt_run(g, k, a);
	else
		sm80_run(g, k, a);
}
