#include "kernels.h"

static const struct kernel_row rows[] = {
#define KERNEL(op, name, needs, properties) { #name, (needs), (properties) },
#include "kernels/ops/rope_cache.def"
#undef KERNEL
};

static const struct {
	rope_cache_fn *run;
	rope_cache_refuse_fn *refuse;
} functions[] = {
#define KERNEL(op, name, needs, properties) { rope_cache_##name, rope_cache_##name##_refuse },
#include "kernels/ops/rope_cache.def"
#undef KERNEL
};

static const char *refuse(const void *request, int row)
{
	return functions[row].refuse(request);
}

const struct kernel_set rope_cache_set = KERNEL_SET("rope_cache", rows, refuse);

int rope_cache_pick(uint32_t isa, const struct rope_cache_request *r, const char *forced, struct pick *out)
{
	return registry_pick(&rope_cache_set, isa, r, forced, out);
}

rope_cache_fn *rope_cache_kernel(int row)
{
	return functions[row].run;
}
