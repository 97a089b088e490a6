#include "ops/sampling.h"

static const struct {
	sample_fn *fn;
	uint32_t needs;
} rows[] = {
#define KERNEL(op, name, needs, properties) { sample_##name, (needs) },
#define KERNEL_CUDA(op, name, needs, properties)
#include "kernels/ops/sample.def"
#undef KERNEL
#undef KERNEL_CUDA
};

sample_fn *sample_kernel_for(uint32_t isa)
{
	size_t i = sizeof rows / sizeof rows[0];
	while (rows[i - 1].needs & ~isa)
		i--;
	return rows[i - 1].fn;
}
