/* softcap_cuda.c - the logits' soft cap on a GPU. */
#include "ops/cuda_ops.h"

#include "base/status.h"

#define THREADS 256

const char *softcap_cuda_refuse(const struct softcap_request *r)
{
	return r->d < 1 ? "takes rows of 1 value and more" : NULL;
}

int softcap_cuda_find(struct gpu *g, int row, const struct softcap_request *r, struct softcap_cuda *out)
{
	(void)row, (void)r;
	return gpu_find_kernel(g, "softcap_cuda", 0, &out->kernel);
}

void softcap_cuda_run(struct gpu *g, const struct softcap_cuda *k, const struct softcap_args *a)
{
	struct gpu_grid grid = { .blocks = { cuda_blocks(a->t * a->d, THREADS), 1, 1 }, .threads = THREADS };
	gpu_launch(g, &k->kernel, &grid, a);
}
