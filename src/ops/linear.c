#include "kernels.h"

static const struct kernel_row rows[] = {
#define KERNEL(op, name, needs, properties) { #name, (needs), (properties) },
#include "kernels/ops/linear.def"
#undef KERNEL
};

static const struct {
	linear_fn *run;
	linear_refuse_fn *refuse;
} functions[] = {
#define KERNEL(op, name, needs, properties) { linear_##name, linear_##name##_refuse },
#include "kernels/ops/linear.def"
#undef KERNEL
};

static const char *refuse(const void *request, int row)
{
	return functions[row].refuse(request);
}

const struct kernel_set linear_set = KERNEL_SET("linear", rows, refuse);

int linear_pick(uint32_t isa, const struct linear_request *r, const char *forced, struct pick *out)
{
	return registry_pick(&linear_set, isa, r, forced, out);
}

linear_fn *linear_kernel(int row)
{
	return functions[row].run;
}
