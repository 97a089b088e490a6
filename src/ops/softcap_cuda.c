/* softcap_cuda.c - the logits' soft cap on a GPU. */
#include "ops/cuda_ops.h"

#define THREADS 128
#define VALUES (4 * THREADS) /* of a block */
#define MOST_BLOCKS 65535 /* in a grid's second dimension */

const char *softcap_cuda_refuse(const struct softcap_request *r)
{
	return r->d < 1 || r->d > (int64_t)VALUES * MOST_BLOCKS ? "takes rows of 1 to 33553920 values" : NULL;
}

int softcap_cuda_find(struct gpu *g, int row, const struct softcap_request *r, struct softcap_cuda *out)
{
	(void)row, (void)r;
	return gpu_find_kernel(g, "softcap_cuda", 0, &out->kernel);
}

void softcap_cuda_run(struct gpu *g, const struct softcap_cuda *k, const struct softcap_args *a)
{
	struct gpu_grid grid = { .blocks = { (uint32_t)a->t, cuda_blocks(a->d, VALUES), 1 },
				 .threads = THREADS,
				 .early = true };
	gpu_launch(g, &k->kernel, &grid, a);
}
