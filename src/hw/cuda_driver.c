/* cuda_driver.c - libcuda.so.1, opened at run time. */
#include "hw/cuda_driver.h"

#include "base/status.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *symbol;
	size_t offset;
	int optional;
} calls[] = {
#define CALL(name, symbol, parameters) { symbol, offsetof(struct cuda_driver, name), 0 },
	CUDA_CALLS(CALL)
#undef CALL
#define CALL(name, symbol, parameters) { symbol, offsetof(struct cuda_driver, name), 1 },
	CUDA_CALLS_OPTIONAL(CALL)
#undef CALL
};

const char *cuda_error_text(const struct cuda_driver *d, cu_result code, char out[128])
{
	const char *name = NULL, *text = NULL;
	/* Codes that are newer than this driver have neither. */
	if (d->cuGetErrorName(code, &name) != CU_OK || !name)
		snprintf(out, 128, "CUDA error %u", code);
	else if (d->cuGetErrorString(code, &text) != CU_OK || !text)
		snprintf(out, 128, "%s", name);
	else
		snprintf(out, 128, "%s: %s", name, text);
	return out;
}

int cuda_driver_open(struct cuda_driver *out)
{
	void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (!library)
		FAIL(VB_EUNSUPPORTED, "no NVIDIA driver: %s", dlerror());
	for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
		void *f = dlsym(library, calls[i].symbol);
		if (!f && !calls[i].optional) {
			dlclose(library);
			FAIL(VB_EUNSUPPORTED, "the NVIDIA driver is too old: libcuda.so.1 lacks %s: update the driver",
			     calls[i].symbol);
		}
		/* POSIX lets an object's address become a function's; C has no cast for it. */
		memcpy((char *)out + calls[i].offset, &f, sizeof f);
	}
	dlclose(library); /* its mapping stays */
	return VB_OK;
}

int cuda_driver_start(const struct cuda_driver *d)
{
	cu_result rc = d->cuInit(0);
	char text[128];
	if (rc != CU_OK)
		FAIL(VB_EUNSUPPORTED, "the NVIDIA driver offers no GPU: cuInit: %s", cuda_error_text(d, rc, text));
	return VB_OK;
}
