#include "kernels.h"

static const struct kernel_row rows[] = {
#define KERNEL(op, name, needs, properties) { #name, (needs), (properties) },
#include "kernels/ops/log_softmax.def"
#undef KERNEL
};

static const struct {
	log_softmax_fn *run;
	log_softmax_refuse_fn *refuse;
} functions[] = {
#define KERNEL(op, name, needs, properties) { log_softmax_##name, log_softmax_##name##_refuse },
#include "kernels/ops/log_softmax.def"
#undef KERNEL
};

static const char *refuse(const void *request, int row)
{
	return functions[row].refuse(request);
}

const struct kernel_set log_softmax_set = KERNEL_SET("log_softmax", rows, refuse);

int log_softmax_pick(uint32_t isa, const struct log_softmax_request *r, const char *forced, struct pick *out)
{
	return registry_pick(&log_softmax_set, isa, r, forced, out);
}

log_softmax_fn *log_softmax_kernel(int row)
{
	return functions[row].run;
}
