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

/* For JSON: paths in it may be in any encoding. */
static void keep_message(char why[HW_REASON_MAX])
{
	snprintf(why, HW_REASON_MAX, "%s", vb_errmsg());
	for (char *c = why; *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
}

static int list(struct hw_facts *f)
{
	struct cuda_driver d;
	int count = 0;
	cu_device device;
	f->cuda_driver = false;
	f->n_gpus = 0;
	f->gpu_why[0] = 0;
	TRY(cuda_driver_open(&d));
	f->cuda_driver = true;
	TRY(cuda_driver_start(&d));
	char text[128];
	cu_result rc = d.cuDeviceGetCount(&count);
	if (rc != CU_OK)
		FAIL(VB_EDEVICE, "the NVIDIA driver does not count its GPUs: cuDeviceGetCount: %s",
		     cuda_error_text(&d, rc, text));
	if (count < 1)
		FAIL(VB_EUNSUPPORTED, "the NVIDIA driver offers no GPU");
	for (int i = 0; i < count && i < HW_MAX_GPUS; i++) {
		struct hw_gpu *gpu = &f->gpu[f->n_gpus++];
		if (gpu_describe(&d, i, gpu, &device) == VB_OK)
			continue;
		gpu->loaded = HW_NOT_LOADED;
		keep_message(gpu->why);
	}
	return VB_OK;
}

void gpu_probe(struct hw_facts *f)
{
	if (list(f) != VB_OK)
		keep_message(f->gpu_why);
}

void gpu_probe_images(struct hw_facts *f)
{
	char reason[HW_REASON_MAX];
	for (int i = 0; i < f->n_gpus; i++) {
		if (!hw_gpu_runs(&f->gpu[i], HW_PORTABLE, reason))
			continue;
		struct gpu *g;
		f->gpu[i].loaded = gpu_open(&g, i) == VB_OK ? HW_LOADED : HW_NOT_LOADED;
		if (!g)
			keep_message(f->gpu[i].why);
		gpu_close(&g);
	}
}
