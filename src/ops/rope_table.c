#include "kernels.h"

static const struct kernel_row rows[] = {
#define KERNEL(op, name, needs, properties) { #name, (needs), (properties) },
#include "kernels/ops/rope_table.def"
#undef KERNEL
};

static const struct {
	rope_table_fn *run;
	rope_table_refuse_fn *refuse;
} functions[] = {
#define KERNEL(op, name, needs, properties) { rope_table_##name, rope_table_##name##_refuse },
#include "kernels/ops/rope_table.def"
#undef KERNEL
};

static const char *refuse(const void *request, int row)
{
	return functions[row].refuse(request);
}

const struct kernel_set rope_table_set = KERNEL_SET("rope_table", rows, refuse);

int rope_table_pick(uint32_t isa, const struct rope_table_request *r, const char *forced, struct pick *out)
{
	return registry_pick(&rope_table_set, isa, r, forced, out);
}

rope_table_fn *rope_table_kernel(int row)
{
	return functions[row].run;
}
