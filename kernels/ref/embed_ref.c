/* The definition of embed. */
#include "kernels/ops/embed.h"

const char *embed_ref_refuse(const struct embed_request *r)
{
	return kernel_takes_type(r->w_type) ? NULL : "takes f32, bf16 and f16 tables";
}

void embed_ref(const struct embed_args *a, int64_t t_begin, int64_t t_end)
{
	for (int64_t t = t_begin; t < t_end; t++)
		for (int64_t i = 0; i < a->d; i++)
			a->out[t * a->out_stride + i] =
				dtype_load(a->w_type, a->table, (size_t)(a->ids[t] * a->d + i)) * a->scale;
}
