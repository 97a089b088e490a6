#include "kernels.h"

static const struct kernel_row rows[] = {
#define KERNEL(op, name, needs, properties) { #name, (needs), (properties) },
#include "kernels/ops/embed.def"
#undef KERNEL
};

static const struct {
	embed_fn *run;
	embed_refuse_fn *refuse;
} functions[] = {
#define KERNEL(op, name, needs, properties) { embed_##name, embed_##name##_refuse },
#include "kernels/ops/embed.def"
#undef KERNEL
};

static const char *refuse(const void *request, int row)
{
	return functions[row].refuse(request);
}

const struct kernel_set embed_set = KERNEL_SET("embed", rows, refuse);

int embed_pick(uint32_t isa, const struct embed_request *r, const char *forced, struct pick *out)
{
	return registry_pick(&embed_set, isa, r, forced, out);
}

embed_fn *embed_kernel(int row)
{
	return functions[row].run;
}
