/* linear.c - the choice of linear's kernels. */
#include "kernels.h"

static const struct kernel_row rows[] = {
#define KERNEL(op, name, needs, properties) { #name, (needs), (properties) },
#define KERNEL_CUDA(op, name, needs, properties)
#include "kernels/ops/linear.def"
#undef KERNEL
#undef KERNEL_CUDA
	{ NULL, 0, 0 },
};

static const struct kernel_row cuda_rows[] = {
#define KERNEL(op, name, needs, properties)
#define KERNEL_CUDA(op, name, needs, properties) { #name, (needs), (properties) },
#include "kernels/ops/linear.def"
#undef KERNEL
#undef KERNEL_CUDA
	{ NULL, 0, 0 },
};

static const struct linear_kernel *const kernels[] = {
#define KERNEL(op, name, needs, properties) &linear_##name,
#define KERNEL_CUDA(op, name, needs, properties)
#include "kernels/ops/linear.def"
#undef KERNEL
#undef KERNEL_CUDA
};

static linear_refuse_fn *const cuda_refuses[] = {
#define KERNEL(op, name, needs, properties)
#define KERNEL_CUDA(op, name, needs, properties) linear_##name##_refuse,
#include "kernels/ops/linear.def"
#undef KERNEL
#undef KERNEL_CUDA
	NULL,
};

static const char *refuse(const void *request, int row)
{
	return kernels[row]->refuse(request);
}

static const char *cuda_refuse(const void *request, int row)
{
	return cuda_refuses[row](request);
}

const struct kernel_set linear_set = KERNEL_SET("linear", rows, refuse);
const struct kernel_set linear_cuda_set = KERNEL_SET("linear", cuda_rows, cuda_refuse);

int linear_pick(uint32_t isa, const struct linear_request *r, const char *forced, struct pick *out)
{
	return registry_pick(isa & ISA_CUDA ? &linear_cuda_set : &linear_set, isa, r, forced, out);
}

const struct linear_kernel *linear_kernel(int row)
{
	return kernels[row];
}
