/* linear.c - the choice of linear's kernels, each of which is several functions. */
#include "kernels.h"

#define OP linear
#define OP_DEF "kernels/ops/linear.def"
#include "operation_rows.h"

static const struct linear_kernel *const kernels[] = {
#define KERNEL(op, name, needs, properties) &linear_##name,
#define KERNEL_CUDA(op, name, needs, properties)
#include OP_DEF
#undef KERNEL
#undef KERNEL_CUDA
};

static const char *refuse(const void *request, int row)
{
	return kernels[row]->refuse(request);
}

static const char *cuda_refuse(const void *request, int row)
{
	return cuda_refuses[row](request);
}

const struct linear_kernel *linear_kernel(int row)
{
	return kernels[row];
}
