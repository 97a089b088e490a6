/* rms_norm_cuda.c - normalisation on a GPU: how many threads share a row is chosen by its length alone. */
#include "ops/cuda_ops.h"

/* Up to `longest` values a row stays in its threads' registers; the last line takes any. */
static const struct {
	int64_t longest;
	const char *name;
	uint32_t threads, rows; /* of a block */
} widths[] = {
	{ 128, "rms_norm_cuda_head", 128, 4 },
	{ 512, "rms_norm_cuda_32", 128, 4 },
	{ 2048, "rms_norm_cuda_128", 128, 1 },
	{ 8192, "rms_norm_cuda_512", 512, 1 },
	{ INT64_MAX, "rms_norm_cuda_1024", 1024, 1 },
};

static int width_for(int64_t d)
{
	int i = 0;
	while (d > widths[i].longest)
		i++;
	return i;
}

const char *rms_norm_cuda_refuse(const struct rms_norm_request *r)
{
	return rms_norm_refuse_any(r);
}

int rms_norm_cuda_find(struct gpu *g, int row, const struct rms_norm_request *r, struct rms_norm_cuda *out)
{
	(void)row;
	return gpu_find_kernel(g, widths[width_for(r->d)].name, 0, &out->kernel);
}

void rms_norm_cuda_run(struct gpu *g, const struct rms_norm_cuda *k, const struct rms_norm_args *a)
{
	int width = width_for(a->d);
	struct gpu_grid grid = { .blocks = { cuda_blocks(a->t * a->groups, widths[width].rows), 1, 1 },
				 .threads = widths[width].threads,
				 .early = true };
	gpu_launch(g, &k->kernel, &grid, a);
}
