#include "kernels.h"

static const struct kernel_row rows[] = {
#define KERNEL(op, name, needs, properties) { #name, (needs), (properties) },
#include "kernels/ops/rms_norm.def"
#undef KERNEL
};

static const struct {
	rms_norm_fn *run;
	rms_norm_refuse_fn *refuse;
} functions[] = {
#define KERNEL(op, name, needs, properties) { rms_norm_##name, rms_norm_##name##_refuse },
#include "kernels/ops/rms_norm.def"
#undef KERNEL
};

static const char *refuse(const void *request, int row)
{
	return functions[row].refuse(request);
}

const struct kernel_set rms_norm_set = KERNEL_SET("rms_norm", rows, refuse);

int rms_norm_pick(uint32_t isa, const struct rms_norm_request *r, const char *forced, struct pick *out)
{
	return registry_pick(&rms_norm_set, isa, r, forced, out);
}

rms_norm_fn *rms_norm_kernel(int row)
{
	return functions[row].run;
}
