#include "ops/sampling.h"

#include "ops/kernels.h"

static const struct kernel_row rows[] = {
#define KERNEL(op, name, needs, properties) { #name, (needs), (properties) },
#define KERNEL_CUDA(op, name, needs, properties)
#include "kernels/ops/sample.def"
#undef KERNEL
#undef KERNEL_CUDA
	{ NULL, 0, 0 },
};

static sample_fn *const functions[] = {
#define KERNEL(op, name, needs, properties) sample_##name,
#define KERNEL_CUDA(op, name, needs, properties)
#include "kernels/ops/sample.def"
#undef KERNEL
#undef KERNEL_CUDA
};

static const char *refuse_none(const void *request, int row)
{
	(void)request;
	(void)row;
	return NULL;
}

const struct kernel_set sample_set = KERNEL_SET("sample", rows, refuse_none);

sample_fn *sample_kernel(int row)
{
	return functions[row];
}

sample_fn *sample_kernel_for(uint32_t isa)
{
	int row = sample_set.n_rows - 1;
	while (rows[row].needs & ~isa)
		row--;
	return functions[row];
}
