/* rope_cache_cuda.c - rotation and the writing of the cache on a GPU. */
#include "ops/cuda_ops.h"

#define THREADS 128

const char *rope_cache_cuda_refuse(const struct rope_cache_request *r)
{
	return r->kv_type == DTYPE_I8 ? "int8 caches are for the CPU" : rope_cache_refuse_any(r);
}

int rope_cache_cuda_find(struct gpu *g, int row, const struct rope_cache_request *r, struct rope_cache_cuda *out)
{
	(void)row, (void)r;
	return gpu_find_kernel(g, "rope_cache_cuda", 0, &out->kernel);
}

/* Threads that a head takes: four pairs each, and four values that are not rotated (kernels/cuda/common/rope_cache.cu). */
static int64_t units_of(int64_t d, int64_t rotary_dim)
{
	return (rotary_dim / 2 + 3) / 4 + (d - rotary_dim + 3) / 4;
}

void rope_cache_cuda_run(struct gpu *g, const struct rope_cache_cuda *k, const struct rope_cache_args *a)
{
	int64_t units = (a->n_heads + a->n_kv_heads) * units_of(a->head_dim, a->rotary_dim) +
			a->n_kv_heads * units_of(a->v_head_dim, 0);
	struct gpu_grid grid = { .blocks = { (uint32_t)a->t, cuda_blocks(units, THREADS), 1 },
				 .threads = THREADS,
				 .early = true };
	gpu_launch(g, &k->kernel, &grid, a);
}
