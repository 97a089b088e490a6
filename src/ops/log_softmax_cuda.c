/* log_softmax_cuda.c - maxima and log-sums of rows of logits on a GPU. */
#include "ops/cuda_ops.h"

const char *log_softmax_cuda_refuse(const struct log_softmax_request *r)
{
	return r->d < 1 ? "takes rows of 1 value and more" : NULL;
}

int log_softmax_cuda_find(struct gpu *g, int row, const struct log_softmax_request *r, struct log_softmax_cuda *out)
{
	(void)row, (void)r;
	return gpu_find_kernel(g, "log_softmax_cuda", 0, &out->kernel);
}

void log_softmax_cuda_run(struct gpu *g, const struct log_softmax_cuda *k, const struct log_softmax_args *a)
{
	struct gpu_grid grid = { .blocks = { (uint32_t)a->t, 1, 1 }, .threads = 1024, .early = true };
	gpu_launch(g, &k->kernel, &grid, a);
}
