#include "kernels.h"

static const struct kernel_row rows[] = {
#define KERNEL(op, name, needs, properties) { #name, (needs), (properties) },
#include "kernels/ops/glu.def"
#undef KERNEL
};

static const struct {
	glu_fn *run;
	glu_refuse_fn *refuse;
} functions[] = {
#define KERNEL(op, name, needs, properties) { glu_##name, glu_##name##_refuse },
#include "kernels/ops/glu.def"
#undef KERNEL
};

static const char *refuse(const void *request, int row)
{
	return functions[row].refuse(request);
}

const struct kernel_set glu_set = KERNEL_SET("glu", rows, refuse);

int glu_pick(uint32_t isa, const struct glu_request *r, const char *forced, struct pick *out)
{
	return registry_pick(&glu_set, isa, r, forced, out);
}

glu_fn *glu_kernel(int row)
{
	return functions[row].run;
}
