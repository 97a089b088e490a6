#include "ops/sampling.h"

/* One implementation so far: filtering and noise are far from what limits a step. */
sample_fn *sample_kernel_for(uint32_t isa)
{
	(void)isa;
	return sample_ref;
}
