#include "kernels.h"

static const struct kernel_row rows[] = {
#define KERNEL(op, name, needs, properties) { #name, (needs), (properties) },
#include "kernels/ops/softcap.def"
#undef KERNEL
};

static const struct {
	softcap_fn *run;
	softcap_refuse_fn *refuse;
} functions[] = {
#define KERNEL(op, name, needs, properties) { softcap_##name, softcap_##name##_refuse },
#include "kernels/ops/softcap.def"
#undef KERNEL
};

static const char *refuse(const void *request, int row)
{
	return functions[row].refuse(request);
}

const struct kernel_set softcap_set = KERNEL_SET("softcap", rows, refuse);

int softcap_pick(uint32_t isa, const struct softcap_request *r, const char *forced, struct pick *out)
{
	return registry_pick(&softcap_set, isa, r, forced, out);
}

softcap_fn *softcap_kernel(int row)
{
	return functions[row].run;
}
