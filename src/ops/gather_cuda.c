/* gather_cuda.c - rows out of a GPU's buffers. */
#include "ops/cuda_ops.h"

#define THREADS 128
#define BYTES (32 * THREADS) /* of a block */

int gather_cuda_find(struct gpu *g, struct gather_cuda *out)
{
	return gpu_find_kernel(g, "gather_cuda", 0, &out->kernel);
}

void gather_cuda_run(struct gpu *g, const struct gather_cuda *k, const struct gather_args *a)
{
	struct gpu_grid grid = { .blocks = { (uint32_t)a->t, cuda_blocks(a->bytes, BYTES), 1 },
				 .threads = THREADS,
				 .early = true };
	gpu_launch(g, &k->kernel, &grid, a);
}
