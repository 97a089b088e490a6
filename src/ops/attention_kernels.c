#include "ops/attention_kernels.h"

#define KERNEL(op, name, needs, properties) \
	{ #name, needs, properties, op##_##name, op##_##name##_merge, op##_##name##_refuse },
const struct attention_kernel attention_kernels[] = {
#include "kernels/ops/attention.def"
};
#undef KERNEL

const int n_attention_kernels = (int)(sizeof attention_kernels / sizeof attention_kernels[0]);

const char *attention_request_error(const struct attention_request *r)
{
	if (r->n_heads < 1 || r->n_kv_heads < 1 || r->n_heads > 65536)
		return "heads must be 1 to 65536";
	if (r->n_heads % r->n_kv_heads)
		return "the number of heads must be a multiple of the number of KV heads";
	if (r->head_dim < 1 || r->v_head_dim < 1 || r->head_dim > 65536 || r->v_head_dim > 65536)
		return "head sizes must be 1 to 65536";
	if (r->page_size < 1 || r->page_size > (1 << 20) || (r->page_size & (r->page_size - 1)))
		return "the page size must be a power of two up to 1048576";
	if (r->window < 0)
		return "the window must not be negative";
	if (r->max_q_len < 1)
		return "a sequence must be allowed at least one query token";
	return NULL;
}
