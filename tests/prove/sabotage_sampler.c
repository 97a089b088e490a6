/* A sampler whose noise depends on how many tokens were sampled before, by whomever. Linked with
 * --wrap=sample_kernel_for. */
#include "ops/sampling.h"

#include <stddef.h>

sample_fn *__real_sample_kernel_for(uint32_t isa);
sample_fn *__wrap_sample_kernel_for(uint32_t isa);

static sample_fn *real;
static uint64_t n_calls;

static int32_t sample_by_turn(const struct sample_args *a)
{
	struct sample_params params = *a->params;
	struct sample_args other = *a;
	params.seed += n_calls++;
	other.params = &params;
	return real(&other);
}

sample_fn *__wrap_sample_kernel_for(uint32_t isa)
{
	real = __real_sample_kernel_for(isa);
	return sample_by_turn;
}
