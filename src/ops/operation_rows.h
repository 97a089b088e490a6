/* operation_rows.h - what the .def list of an operation says, written once: the rows for CPUs and those for GPUs, which GPU rows
 * refuse what, the two sets and the pick.
 *
 * The includer defines OP (the operation's name) and OP_DEF (its list), after including kernels.h, and the two functions declared
 * here. A list may be empty: each array ends with a row that is not counted.
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

static PASTE(OP, _refuse_fn) *const cuda_refuses[] = {
#define KERNEL(op, name, needs, properties)
#define KERNEL_CUDA(op, name, needs, properties) NAMED(name, _refuse),
#include OP_DEF
#undef KERNEL
#undef KERNEL_CUDA
	NULL,
};

/* Why a row of `rows`, or of `cuda_rows`, does not serve a request; NULL where it does. */
static const char *refuse(const void *request, int row);
static const char *cuda_refuse(const void *request, int row);

const struct kernel_set PASTE(OP, _set) = KERNEL_SET(QUOTE(OP), rows, refuse);
const struct kernel_set PASTE(OP, _cuda_set) = KERNEL_SET(QUOTE(OP), cuda_rows, cuda_refuse);

int PASTE(OP, _pick)(uint32_t isa, const struct PASTE(OP, _request) *r, const char *forced, struct pick *out)
{
	const struct kernel_set *set = isa & ISA_CUDA ? &PASTE(OP, _cuda_set) : &PASTE(OP, _set);
	return registry_pick(set, isa, r, forced, out);
}
