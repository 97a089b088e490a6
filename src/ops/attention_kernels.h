/* attention_kernels.h - the attention kernels of this build, and which requests are requests at all. */
#ifndef OPS_ATTENTION_KERNELS_H
#define OPS_ATTENTION_KERNELS_H

#include "kernels/ops/attention.h"

struct attention_kernel {
	const char *name;
	uint32_t needs;      /* enum isa */
	uint32_t properties; /* enum kernel_properties */
	attention_fn *run;
	attention_merge_fn *merge;
	attention_refuse_fn *refuse;
};

/* Rows of attention.def, in its order. */
extern const struct attention_kernel attention_kernels[];
extern const int n_attention_kernels;

/* NULL where the request makes sense for any kernel (positive sizes, heads that divide, a page size that is a power of
 * two); else what is wrong with it, static storage. Kernels' refuse functions may rely on it. */
const char *attention_request_error(const struct attention_request *r);

#endif
