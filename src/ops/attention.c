/* attention.c - the choice of attention kernels, each of which runs and merges; requests are checked first. */
#include "kernels.h"

#define OP attention
#define OP_DEF "kernels/ops/attention.def"
#include "operation_rows.h"

static const struct {
	struct attention_kernel kernel;
	attention_refuse_fn *refuse;
} functions[] = {
#define KERNEL(op, name, needs, properties) \
	{ { attention_##name, attention_##name##_merge }, attention_##name##_refuse },
#define KERNEL_CUDA(op, name, needs, properties)
#include OP_DEF
#undef KERNEL
#undef KERNEL_CUDA
};

const char *attention_request_error(const struct attention_request *r)
{
	if (r->n_heads < 1 || r->n_heads > 65536 || r->n_kv_heads < 1)
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

static const char *refuse(const void *request, int row)
{
	const char *error = attention_request_error(request);
	return error ? error : functions[row].refuse(request);
}

static const char *cuda_refuse(const void *request, int row)
{
	const char *error = attention_request_error(request);
	return error ? error : cuda_refuses[row](request);
}

const struct attention_kernel *attention_kernel(int row)
{
	return &functions[row].kernel;
}
