/* embed_cuda.c - the embedding table on a GPU. */
#include "ops/cuda_ops.h"

#define THREADS 128
#define VALUES (8 * THREADS) /* of a block */

const char *embed_cuda_refuse(const struct embed_request *r)
{
	return kernel_takes_type(r->w_type) ? NULL : "takes f32, bf16 and f16 tables";
}

int embed_cuda_find(struct gpu *g, int row, const struct embed_request *r, struct embed_cuda *out)
{
	(void)row, (void)r;
	return gpu_find_kernel(g, "embed_cuda", 0, &out->kernel);
}

void embed_cuda_run(struct gpu *g, const struct embed_cuda *k, const struct embed_args *a)
{
	struct gpu_grid grid = { .blocks = { (uint32_t)a->t, cuda_blocks(a->d, VALUES), 1 },
				 .threads = THREADS,
				 .early = true };
	gpu_launch(g, &k->kernel, &grid, a);
}
