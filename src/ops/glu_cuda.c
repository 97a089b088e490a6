/* glu_cuda.c - gated activations on a GPU. */
#include "ops/cuda_ops.h"

#define THREADS 256
#define VALUES (8 * THREADS) /* of a block */

const char *glu_cuda_refuse(const struct glu_request *r)
{
	return glu_refuse_any(r);
}

int glu_cuda_find(struct gpu *g, int row, const struct glu_request *r, struct glu_cuda *out)
{
	(void)row, (void)r;
	return gpu_find_kernel(g, "glu_cuda", 0, &out->kernel);
}

void glu_cuda_run(struct gpu *g, const struct glu_cuda *k, const struct glu_args *a)
{
	struct gpu_grid grid = { .blocks = { (uint32_t)a->t, cuda_blocks(a->d, VALUES), 1 },
				 .threads = THREADS,
				 .early = true };
	gpu_launch(g, &k->kernel, &grid, a);
}
