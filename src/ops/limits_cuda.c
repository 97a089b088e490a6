#include "ops/cuda_ops.h"

#include "base/status.h"
#include "kernels/ops/limits_cuda.h"

enum { THREADS = 256, BLOCKS_PER_SM = 4, ROUNDS = 4096 };

int limits_cuda_find(struct gpu *g, enum dtype type, struct limits_cuda *out)
{
	bool bf16 = type == DTYPE_BF16;
	TRY(gpu_find_kernel(g, bf16 ? "limits_cuda_bf16" : "limits_cuda_f16", 0, &out->kernel));
	out->blocks = (uint32_t)gpu_facts(g)->sms * BLOCKS_PER_SM;
	out->factor = bf16 ? 0x3f803f80 : 0x3c003c00;
	out->out_floats = (int64_t)out->blocks * THREADS;
	out->flops = (double)out->blocks * THREADS / 32 * ROUNDS * LIMITS_CUDA_FLOPS;
	return VB_OK;
}

void limits_cuda_run(struct gpu *g, const struct limits_cuda *k, float *out)
{
	struct limits_cuda_args a = { .out = out, .rounds = ROUNDS, .factor = k->factor };
	struct gpu_grid grid = { .blocks = { k->blocks, 1, 1 }, .threads = THREADS };
	gpu_launch(g, &k->kernel, &grid, &a);
}
