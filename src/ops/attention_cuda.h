/* attention_cuda.h - attention on a GPU: the step's work list, made on the host, and the launch that works it off.
 *
 * DESIGN. A `struct attention_cuda` serves all layers with an equal request, one after another in the queue of its gpu (its
 * workspace is theirs in turn). It is sized from capacities; nothing in it but the list's contents depends on a step's
 * lengths. A step: attention_cuda_plan writes the list into the host's memory, the caller uploads it with the step's other
 * arrays (eager and graph alike), and each layer's attention_cuda_run is the same one launch, whatever the lengths.
 */
#ifndef OPS_ATTENTION_CUDA_H
#define OPS_ATTENTION_CUDA_H

#include "hw/gpu.h"
#include "kernels/ops/attention.h"
#include "ops/attention_plan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct attention_cuda;

/* `row` is an index of attention_cuda_set; it must serve the request. Of the limits, n_workers is not looked at: the GPU
 * decides. Finds the kernels and takes workspace from the gpu. */
int attention_cuda_create(struct gpu *g, int row, const struct attention_request *r, const struct attention_limits *l,
			  struct attention_cuda **out);
/* Before the gpu is closed. NULL is allowed. */
void attention_cuda_destroy(struct gpu *g, struct attention_cuda **a);
/* Bytes of the GPU's memory that attention_cuda_create takes: the workspace, without the list. */
uint64_t attention_cuda_bytes_for(const struct hw_gpu *gpu, int row, const struct attention_request *r,
				  const struct attention_limits *l);

/* Bytes of the list, aligned to 16 in both memories: its capacity; all of it is uploaded. */
size_t attention_cuda_plan_bytes(const struct attention_cuda *a);
/* Whether a step is better run wide, in blocks of twice as many rows: where a sequence has as many query tokens as prompts
 * have. It changes no bit; what has no wide kernel runs as ever. */
bool attention_cuda_wide(int64_t n_seqs, const int32_t *q_begin);

/* Writes the list of a step with n_seqs sequences: sequence s has the query tokens q_begin[s]..q_begin[s+1] and kv_len[s]
 * keys, those of its query tokens included. VB_ELIMIT or VB_EINVAL with a message where that does not fit the limits.
 * `wide` must be what attention_cuda_run is told. Allocates nothing. */
int attention_cuda_plan(const struct attention_cuda *a, bool wide, void *host_list, int64_t n_seqs, const int32_t *q_begin,
			const int32_t *kv_len);

/* Enqueues one layer, which may begin before the kernel in front of it has ended: list and page table must have been
 * copied to the GPU, not written by kernels that are still in the queue. `device_list` is the uploaded list of the step;
 * pointers of `args` are to the GPU's memory, q and the caches aligned to 16 bytes, q_stride a multiple of 8. args->n_seqs
 * may be the capacity: sequences beyond the step's must have no query tokens (q_begin goes on with the same value). kv_len
 * and q_begin are those of the list. */
void attention_cuda_run(struct gpu *g, const struct attention_cuda *a, bool wide, const void *device_list,
			const struct attention_args *args);

#endif
