/* take_ids_cuda.c - a step's tokens from the choices of the step before. */
#include "ops/cuda_ops.h"

#define THREADS 128

int take_ids_cuda_find(struct gpu *g, struct take_ids_cuda *out)
{
	return gpu_find_kernel(g, "take_ids_cuda", 0, &out->kernel);
}

void take_ids_cuda_run(struct gpu *g, const struct take_ids_cuda *k, const struct take_ids_args *a)
{
	struct gpu_grid grid = { .blocks = { cuda_blocks(a->t, THREADS), 1, 1 }, .threads = THREADS, .early = true };
	gpu_launch(g, &k->kernel, &grid, a);
}
