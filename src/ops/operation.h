/* operation.h - the choice of an operation's kernels, written once: rows, refusals and functions from its .def list.
 *
 * The includer defines OP (the operation's name) and OP_DEF (its list), after including kernels.h; this file then defines
 * OP_set, OP_cuda_set, OP_pick and OP_kernel. A list may be empty: each array ends with a row that is not counted.
 */
#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define QUOTE_(a) #a
#define QUOTE(a) QUOTE_(a)
#define NAMED(name, suffix) PASTE(PASTE(PASTE(OP, _), name), suffix)

static const struct kernel_row rows[] = {
#define KERNEL(op, name, needs, properties) { #name, (needs), (properties) },
#define KERNEL_CUDA(op, name, needs, properties)
#include OP_DEF
#undef KERNEL
#undef KERNEL_CUDA
	{ NULL, 0, 0 },
};

static const struct kernel_row cuda_rows[] = {
#define KERNEL(op, name, needs, properties)
#define KERNEL_CUDA(op, name, needs, properties) { #name, (needs), (properties) },
#include OP_DEF
#undef KERNEL
#undef KERNEL_CUDA
	{ NULL, 0, 0 },
};

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

static PASTE(OP, _refuse_fn) *const cuda_refuses[] = {
#define KERNEL(op, name, needs, properties)
#define KERNEL_CUDA(op, name, needs, properties) NAMED(name, _refuse),
#include OP_DEF
#undef KERNEL
#undef KERNEL_CUDA
	NULL,
};

static const char *refuse(const void *request, int row)
{
	return functions[row].refuse(request);
}

static const char *cuda_refuse(const void *request, int row)
{
	return cuda_refuses[row](request);
}

const struct kernel_set PASTE(OP, _set) = KERNEL_SET(QUOTE(OP), rows, refuse);
const struct kernel_set PASTE(OP, _cuda_set) = KERNEL_SET(QUOTE(OP), cuda_rows, cuda_refuse);

int PASTE(OP, _pick)(uint32_t isa, const struct PASTE(OP, _request) *r, const char *forced, struct pick *out)
{
	const struct kernel_set *set = isa & ISA_CUDA ? &PASTE(OP, _cuda_set) : &PASTE(OP, _set);
	return registry_pick(set, isa, r, forced, out);
}

PASTE(OP, _fn) *PASTE(OP, _kernel)(int row)
{
	return functions[row].run;
}
