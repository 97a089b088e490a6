/* fake_early.c - the call that drivers before 11.8 do not have. */
#include "fake_internal.h"

cu_result cuLaunchKernelEx(const struct cu_launch_config *config, struct cu_function *function, void **parameters, void **extra)
{
	ENTER_CONTEXT(cuLaunchKernelEx);
	if (extra || config->n_attributes != 1 || config->attributes[0].id != CU_LAUNCH_EARLY ||
	    config->attributes[0].value.early != 1)
		return leave(misuse(INVALID_VALUE));
	fake.n_early++;
	return leave(launch(config->stream, function, config->grid, config->block, config->shared_memory, parameters));
}
