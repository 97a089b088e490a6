/* attention.c - the choice of attention kernels. */
#include "attention_kernels.h"
#include "kernels.h"

static const struct kernel_row rows[] = {
#define KERNEL(op, kernel, needs, properties) { #kernel, needs, properties },
#include "kernels/ops/attention.def"
#undef KERNEL
};

static const char *refuse(const void *request, int row)
{
	const struct attention_request *r = request;
	const char *why = attention_request_error(r);
	return why ? why : attention_kernels[row].refuse(r);
}

const struct kernel_set attention_set = KERNEL_SET("attention", rows, refuse);

int attention_pick(uint32_t isa, const struct attention_request *r, const char *forced, struct pick *out)
{
	return registry_pick(&attention_set, isa, r, forced, out);
}
