/* attention.c - the choice of attention kernels. */
#include "kernels.h"

static const struct kernel_row rows[] = {
#define KERNEL(op, name, needs, properties) { #name, (needs), (properties) },
#define KERNEL_CUDA(op, name, needs, properties)
#include "kernels/ops/attention.def"
#undef KERNEL
#undef KERNEL_CUDA
	{ NULL, 0, 0 },
};

static const struct kernel_row cuda_rows[] = {
#define KERNEL(op, name, needs, properties)
#define KERNEL_CUDA(op, name, needs, properties) { #name, (needs), (properties) },
#include "kernels/ops/attention.def"
#undef KERNEL
#undef KERNEL_CUDA
	{ NULL, 0, 0 },
};

static const struct {
	struct attention_kernel kernel;
	attention_refuse_fn *refuse;
} functions[] = {
#define KERNEL(op, name, needs, properties) \
	{ { attention_##name, attention_##name##_merge }, attention_##name##_refuse },
#define KERNEL_CUDA(op, name, needs, properties)
#include "kernels/ops/attention.def"
#undef KERNEL
#undef KERNEL_CUDA
};

static attention_refuse_fn *const cuda_refuses[] = {
#define KERNEL(op, name, needs, properties)
#define KERNEL_CUDA(op, name, needs, properties) attention_##name##_refuse,
#include "kernels/ops/attention.def"
#undef KERNEL
#undef KERNEL_CUDA
	NULL,
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

const struct kernel_set attention_set = KERNEL_SET("attention", rows, refuse);
const struct kernel_set attention_cuda_set = KERNEL_SET("attention", cuda_rows, cuda_refuse);

int attention_pick(uint32_t isa, const struct attention_request *r, const char *forced, struct pick *out)
{
	return registry_pick(isa & ISA_CUDA ? &attention_cuda_set : &attention_set, isa, r, forced, out);
}

const struct attention_kernel *attention_kernel(int row)
{
	return &functions[row].kernel;
}
