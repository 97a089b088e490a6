/* kernels.h - the operations' candidates, the choice among them, and the functions behind the rows.
 *
 * For each operation: its set of rows; OP_pick(), which is registry_pick() with the request typed; and OP_kernel(), the
 * function of a row (of pick.row, in 0..n_rows-1).
 * OP_set holds the rows for CPUs, OP_cuda_set those for GPUs: OP_pick looks among the latter where the capabilities have
 * ISA_CUDA. What runs a GPU's row stands in cuda_ops.h.
 */
#ifndef OPS_KERNELS_H
#define OPS_KERNELS_H

#include "kernels/ops/attention.h"
#include "kernels/ops/embed.h"
#include "kernels/ops/glu.h"
#include "kernels/ops/limits.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/log_softmax.h"
#include "kernels/ops/rms_norm.h"
#include "kernels/ops/rope_cache.h"
#include "kernels/ops/rope_table.h"
#include "kernels/ops/softcap.h"
#include "registry.h"

/* The last of its_rows ends the list and does not count. */
#define KERNEL_SET(op_name, its_rows, its_refuse)                                          \
	{                                                                                  \
		.op = (op_name), .rows = (its_rows),                                       \
		.n_rows = (int)(sizeof(its_rows) / sizeof *(its_rows)) - 1, .refuse = (its_refuse) \
	}

/* Attention's rows run through plans (attention_plan.h). */
struct attention_kernel {
	attention_fn *run;
	attention_merge_fn *merge;
};
extern const struct kernel_set attention_set, attention_cuda_set;
int attention_pick(uint32_t isa, const struct attention_request *r, const char *forced, struct pick *out);
const struct attention_kernel *attention_kernel(int row);
/* What is wrong with a request whatever the kernel (sizes, heads that do not divide, page size), or NULL. Static
 * storage. Rows' refuse functions are asked only where it is NULL. */
const char *attention_request_error(const struct attention_request *r);

extern const struct kernel_set embed_set, embed_cuda_set;
int embed_pick(uint32_t isa, const struct embed_request *r, const char *forced, struct pick *out);
embed_fn *embed_kernel(int row);

extern const struct kernel_set glu_set, glu_cuda_set;
int glu_pick(uint32_t isa, const struct glu_request *r, const char *forced, struct pick *out);
glu_fn *glu_kernel(int row);

extern const struct kernel_set limits_set, limits_cuda_set;
int limits_pick(uint32_t isa, const struct limits_request *r, const char *forced, struct pick *out);
limits_fn *limits_kernel(int row);

extern const struct kernel_set linear_set, linear_cuda_set;
int linear_pick(uint32_t isa, const struct linear_request *r, const char *forced, struct pick *out);
const struct linear_kernel *linear_kernel(int row);

extern const struct kernel_set log_softmax_set, log_softmax_cuda_set;
int log_softmax_pick(uint32_t isa, const struct log_softmax_request *r, const char *forced, struct pick *out);
log_softmax_fn *log_softmax_kernel(int row);

extern const struct kernel_set rms_norm_set, rms_norm_cuda_set;
int rms_norm_pick(uint32_t isa, const struct rms_norm_request *r, const char *forced, struct pick *out);
rms_norm_fn *rms_norm_kernel(int row);

extern const struct kernel_set rope_cache_set, rope_cache_cuda_set;
int rope_cache_pick(uint32_t isa, const struct rope_cache_request *r, const char *forced, struct pick *out);
rope_cache_fn *rope_cache_kernel(int row);

extern const struct kernel_set rope_table_set, rope_table_cuda_set;
int rope_table_pick(uint32_t isa, const struct rope_table_request *r, const char *forced, struct pick *out);
rope_table_fn *rope_table_kernel(int row);

extern const struct kernel_set softcap_set, softcap_cuda_set;
int softcap_pick(uint32_t isa, const struct softcap_request *r, const char *forced, struct pick *out);
softcap_fn *softcap_kernel(int row);

#endif
