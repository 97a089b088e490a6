/* cuda_ops.h - running operations on a GPU. For each operation OP:
 *   OP_cuda_find   finds the device code of a chosen row, once, before anything runs (program_prepare)
 *   OP_cuda_run    enqueues it: launches alone, so that it may be captured in a graph. Allocates nothing, waits for nothing.
 *
 * Arguments are the operation's struct OP_args with pointers to the GPU's memory. Counts in it (t, n_seqs) are what the launch
 * is sized for; in a graph they are its capacity: tokens beyond the step's are computed from whatever stands in the
 * buffers and looked at by nobody, with slots of -1 and query lengths of 0, so that nothing of a sequence is touched.
 * Where the result of a row would depend on t, the row is wrong: see docs/NUMERICS.md.
 */
#ifndef OPS_CUDA_OPS_H
#define OPS_CUDA_OPS_H

#include "hw/gpu.h"
#include "kernels/ops/gather.h"
#include "kernels/ops/take_ids.h"
#include "ops/kernels.h"

/* Blocks that threads make for n elements. */
static inline uint32_t cuda_blocks(int64_t n, int64_t threads)
{
	return (uint32_t)((n + threads - 1) / threads);
}

struct embed_cuda {
	struct gpu_kernel kernel;
};
int embed_cuda_find(struct gpu *g, int row, const struct embed_request *r, struct embed_cuda *out);
void embed_cuda_run(struct gpu *g, const struct embed_cuda *k, const struct embed_args *a);

/* kernels/ops/gather.h */
struct gather_cuda {
	struct gpu_kernel kernel;
};
int gather_cuda_find(struct gpu *g, struct gather_cuda *out);
void gather_cuda_run(struct gpu *g, const struct gather_cuda *k, const struct gather_args *a);

struct glu_cuda {
	struct gpu_kernel kernel;
};
int glu_cuda_find(struct gpu *g, int row, const struct glu_request *r, struct glu_cuda *out);
void glu_cuda_run(struct gpu *g, const struct glu_cuda *k, const struct glu_args *a);

/* Kernels for few tokens and for many: within a row the same bits (kernels/ops/linear.h). */
struct linear_cuda {
	int row;
	int64_t sms;
	struct gpu_kernel kernel[12]; /* function NULL: the GPU does not have the shared memory that it takes */
	bool early[12];               /* as of struct gpu_grid */
};
int linear_cuda_find(struct gpu *g, int row, const struct linear_request *r, struct linear_cuda *out);
void linear_cuda_run(struct gpu *g, const struct linear_cuda *k, const struct linear_args *a);

/* The matrix units at their limit, for benchmarks: a run makes `flops` operations and writes `out`, of out_floats. */
struct limits_cuda {
	struct gpu_kernel kernel;
	uint32_t blocks, factor;
	int64_t out_floats;
	double flops;
};
int limits_cuda_find(struct gpu *g, enum dtype type, struct limits_cuda *out);
void limits_cuda_run(struct gpu *g, const struct limits_cuda *k, float *out);

struct log_softmax_cuda {
	struct gpu_kernel kernel;
};
int log_softmax_cuda_find(struct gpu *g, int row, const struct log_softmax_request *r, struct log_softmax_cuda *out);
void log_softmax_cuda_run(struct gpu *g, const struct log_softmax_cuda *k, const struct log_softmax_args *a);

struct rms_norm_cuda {
	struct gpu_kernel kernel;
};
int rms_norm_cuda_find(struct gpu *g, int row, const struct rms_norm_request *r, struct rms_norm_cuda *out);
void rms_norm_cuda_run(struct gpu *g, const struct rms_norm_cuda *k, const struct rms_norm_args *a);

struct rope_cache_cuda {
	struct gpu_kernel kernel;
};
int rope_cache_cuda_find(struct gpu *g, int row, const struct rope_cache_request *r, struct rope_cache_cuda *out);
void rope_cache_cuda_run(struct gpu *g, const struct rope_cache_cuda *k, const struct rope_cache_args *a);

/* The frequencies' arrays and the params themselves are in the GPU's memory: a->params is a pointer to it. */
struct rope_table_cuda {
	struct gpu_kernel kernel;
};
int rope_table_cuda_find(struct gpu *g, int row, const struct rope_table_request *r, struct rope_table_cuda *out);
/* rotary_dim is that of a->params, which the host does not look at. */
void rope_table_cuda_run(struct gpu *g, const struct rope_table_cuda *k, const struct rope_table_args *a,
			 int32_t rotary_dim);

struct take_ids_cuda {
	struct gpu_kernel kernel;
};
int take_ids_cuda_find(struct gpu *g, struct take_ids_cuda *out);
void take_ids_cuda_run(struct gpu *g, const struct take_ids_cuda *k, const struct take_ids_args *a);

struct softcap_cuda {
	struct gpu_kernel kernel;
};
int softcap_cuda_find(struct gpu *g, int row, const struct softcap_request *r, struct softcap_cuda *out);
void softcap_cuda_run(struct gpu *g, const struct softcap_cuda *k, const struct softcap_args *a);

#endif
