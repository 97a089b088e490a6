/* gpu_probe.c - which GPUs there are. */
#include "hw/gpu_internal.h"

#include "base/status.h"
#include "hw/images.h"

#include <stdio.h>

static int call_failed(const struct cuda_driver *d, int index, const char *call, cu_result code)
{
	char text[128];
	if (code != CU_OK)
		FAIL(VB_EDEVICE, "cannot ask the NVIDIA driver of GPU %d: %s: %s", index, call,
		     cuda_error_text(d, code, text));
	return VB_OK;
}

int gpu_describe(const struct cuda_driver *d, int index, struct hw_gpu *out, cu_device *device)
{
	*out = (struct hw_gpu){ .capability = { -1, 0 }, .driver_cuda = { -1, 0 }, .image = image_built };
	int count = 0, version = 0, major = 0, minor = 0, sms = 0, shared_memory = 0;
	size_t memory = 0;
	TRY(call_failed(d, index, "cuDriverGetVersion", d->cuDriverGetVersion(&version)));
	out->driver_cuda = (struct hw_version){ version / 1000, version % 1000 / 10 };
	TRY(call_failed(d, index, "cuDeviceGetCount", d->cuDeviceGetCount(&count)));
	if (index < 0 || index >= count)
		FAIL(VB_EUNSUPPORTED, "no GPU %d: the NVIDIA driver offers %d, counted from 0 (CUDA_VISIBLE_DEVICES hides some)",
		     index, count);
	TRY(call_failed(d, index, "cuDeviceGet", d->cuDeviceGet(device, index)));
	TRY(call_failed(d, index, "cuDeviceGetName", d->cuDeviceGetName(out->name, sizeof out->name, *device)));
	const struct {
		unsigned attribute;
		int *value;
	} ask[] = {
		{ CU_DEVICE_MAJOR, &major },
		{ CU_DEVICE_MINOR, &minor },
		{ CU_DEVICE_SMS, &sms },
		{ CU_DEVICE_SHARED_MEMORY, &shared_memory },
	};
	for (size_t i = 0; i < sizeof ask / sizeof ask[0]; i++)
		TRY(call_failed(d, index, "cuDeviceGetAttribute",
				d->cuDeviceGetAttribute(ask[i].value, ask[i].attribute, *device)));
	TRY(call_failed(d, index, "cuDeviceTotalMem", d->cuDeviceTotalMem(&memory, *device)));
	out->capability = (struct hw_version){ major, minor };
	out->sms = sms;
	out->shared_memory = shared_memory;
	out->memory = memory;
	return VB_OK;
}
