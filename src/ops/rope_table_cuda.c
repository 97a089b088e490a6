/* rope_table_cuda.c - tables of cosines and sines on a GPU. */
#include "ops/cuda_ops.h"

#define THREADS 64

const char *rope_table_cuda_refuse(const struct rope_table_request *r)
{
	return r->kind == ROPE_TABLE_FIXED || r->kind == ROPE_TABLE_LONG || r->kind == ROPE_TABLE_NTK
		       ? NULL
		       : "takes fixed, long and NTK frequencies";
}

int rope_table_cuda_find(struct gpu *g, int row, const struct rope_table_request *r, struct rope_table_cuda *out)
{
	(void)row, (void)r;
	return gpu_find_kernel(g, "rope_table_cuda", 0, &out->kernel);
}

void rope_table_cuda_run(struct gpu *g, const struct rope_table_cuda *k, const struct rope_table_args *a,
			 int32_t rotary_dim)
{
	struct gpu_grid grid = { .blocks = { cuda_blocks(a->t * (rotary_dim / 2), THREADS), 1, 1 },
				 .threads = THREADS,
				 .early = true };
	gpu_launch(g, &k->kernel, &grid, a);
}
