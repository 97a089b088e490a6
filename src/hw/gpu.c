#include "hw/gpu.h"

#include "base/status.h"

int gpu_find_kernel(struct gpu *g, const char *name, uint32_t shared_memory, struct gpu_kernel *out)
{
	(void)g, (void)shared_memory, (void)out;
	FAIL(VB_EUNSUPPORTED, "cannot find GPU kernel %s: no GPU is open", name);
}

void gpu_launch(struct gpu *g, const struct gpu_kernel *k, const struct gpu_grid *grid, const void *args)
{
	(void)g, (void)k, (void)grid, (void)args;
}
