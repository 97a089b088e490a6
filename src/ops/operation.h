/* operation.h - the whole choice of an operation's kernels, for operations whose CPU kernels are one function each.
 *
 * The includer defines OP (the operation's name) and OP_DEF (its list), after including kernels.h; this file then defines
 * OP_set, OP_cuda_set, OP_pick and OP_kernel.
 */
#include "operation_rows.h"

static const struct {
	PASTE(OP, _fn) *run;
	PASTE(OP, _refuse_fn) *refuse;
} functions[] = {
#define KERNEL(op, name, needs, properties) { NAMED(name, ), NAMED(name, _refuse) },
#define KERNEL_CUDA(op, name, needs, properties)
#include OP_DEF
#undef KERNEL
#undef KERNEL_CUDA
};

static const char *refuse(const void *request, int row)
{
	return functions[row].refuse(request);
}

static const char *cuda_refuse(const void *request, int row)
{
	return cuda_refuses[row](request);
}

PASTE(OP, _fn) *PASTE(OP, _kernel)(int row)
{
	return functions[row].run;
}
