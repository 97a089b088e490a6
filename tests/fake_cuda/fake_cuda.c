/* fake_cuda.c - see fake_cuda.h. Here: what there is, how a call begins and ends, the driver and its devices. */
#include "fake_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fake_cuda fake;
static bool initialised, set_up;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- What there is ---- */

static void set_defaults(void)
{
	fake = (struct fake_cuda){
		.n_gpus = 1, .gpu = { { "Fake H100", 9, 0, 132, 232448, (size_t)64 << 20 } }, .driver_version = 13000,
		.fail_code = 999,
	};
	set_up = true;
}

static void read_environment(void)
{
	const char *gpus = getenv("FAKE_CUDA_GPUS"), *driver = getenv("FAKE_CUDA_DRIVER"), *fail = getenv("FAKE_CUDA_FAIL");
	const char *graph_bytes = getenv("FAKE_CUDA_GRAPH_BYTES");
	if (gpus) {
		fake.n_gpus = 0;
		for (; *gpus && fake.n_gpus < FAKE_GPUS; gpus += *gpus == ';') {
			struct fake_gpu *g = &fake.gpu[fake.n_gpus++];
			if (sscanf(gpus, " %63[^,],%d.%d,%d,%d,%zu", g->name, &g->major, &g->minor, &g->sms,
				   &g->shared_memory, &g->memory) != 6) {
				fprintf(stderr, "fake_cuda: cannot read FAKE_CUDA_GPUS: %s\n", gpus);
				abort();
			}
			gpus += strcspn(gpus, ";");
		}
	}
	if (driver)
		fake.driver_version = atoi(driver);
	if (graph_bytes)
		fake.graph_bytes = (size_t)atoll(graph_bytes);
	if (fail) {
		static char name[64];
		if (sscanf(fail, "%63s %u", name, &fake.fail_code) != 2)
			abort();
		fake.fail_name = name;
	}
}

EXPORT struct fake_cuda *fake_cuda(void)
{
	if (!set_up) {
		set_defaults();
		read_environment();
	}
	return &fake;
}

EXPORT void fake_cuda_kernel(const char *name, size_t args_bytes, void (*run)(const void *args))
{
	for (struct fake_kernel *k = fake_cuda()->kernel; k < fake.kernel + FAKE_KERNELS; k++) {
		if (k->name && strcmp(k->name, name) != 0)
			continue;
		*k = (struct fake_kernel){ name, args_bytes, run, MAX_THREADS, 32, 0 };
		return;
	}
	abort();
}

EXPORT int fake_cuda_alive(void)
{
	return fake.contexts + fake.modules + fake.streams + fake.events + fake.graphs + fake.execs + fake.allocations +
	       fake.pinned + fake.ranges + fake.created;
}

EXPORT void fake_cuda_reset(void)
{
	destroy_contexts();
	destroy_graphs();
	set_defaults();
}

/* ---- A call ---- */

cu_result enter(const char *name)
{
	pthread_mutex_lock(&lock);
	fake_cuda();
	fake.n_calls++;
	bool now = fake.fail_in == 1, fails = now || (fake.fail_name && strcmp(fake.fail_name, name) == 0);
	if (fake.fail_in > 1 || (now && !fake.fail_on))
		fake.fail_in--;
	if (fails)
		fake.failed = name;
	return fails ? fake.fail_code : strcmp(name, "cuInit") != 0 && !initialised ? NOT_INITIALIZED : CU_OK;
}

cu_result leave(cu_result rc)
{
	pthread_mutex_unlock(&lock);
	return rc;
}

cu_result misuse(cu_result rc)
{
	fake.misuses++;
	return rc;
}

/* ---- The driver and its devices ---- */

cu_result cuInit(unsigned flags)
{
	ENTER(cuInit);
	if (flags)
		return leave(misuse(INVALID_VALUE));
	initialised = true;
	return leave(fake.n_gpus ? CU_OK : CU_NO_DEVICE);
}

/* Codes are named for those that tests look for; the others have no name, as those of a newer driver. */
cu_result cuGetErrorName(cu_result code, const char **out)
{
	*out = code == CU_OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : code == CU_NO_DEVICE ? "CUDA_ERROR_NO_DEVICE" :
	       code == INVALID_VALUE ? "CUDA_ERROR_INVALID_VALUE" : code == INVALID_CONTEXT ? "CUDA_ERROR_INVALID_CONTEXT" :
	       code == INVALID_IMAGE ? "CUDA_ERROR_INVALID_IMAGE" :
	       code == NO_BINARY_FOR_GPU ? "CUDA_ERROR_NO_BINARY_FOR_GPU" :
	       code == INVALID_HANDLE ? "CUDA_ERROR_INVALID_HANDLE" :
	       code == CAPTURE_UNSUPPORTED ? "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED" :
	       code == CAPTURE_INVALIDATED ? "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED" :
	       code == 999 ? "CUDA_ERROR_UNKNOWN" : NULL;
	return *out ? CU_OK : INVALID_VALUE;
}

cu_result cuGetErrorString(cu_result code, const char **out)
{
	*out = code == CU_NO_DEVICE ? "no CUDA-capable device is detected" : code == 999 ? "unknown error" : NULL;
	return *out ? CU_OK : INVALID_VALUE;
}

cu_result cuDriverGetVersion(int *version)
{
	ENTER(cuDriverGetVersion);
	*version = fake.driver_version;
	return leave(CU_OK);
}

cu_result cuDeviceGetCount(int *count)
{
	ENTER(cuDeviceGetCount);
	*count = fake.n_gpus;
	return leave(CU_OK);
}

cu_result cuDeviceGet(cu_device *out, int ordinal)
{
	ENTER(cuDeviceGet);
	if (ordinal < 0 || ordinal >= fake.n_gpus)
		return leave(misuse(INVALID_DEVICE));
	*out = ordinal;
	return leave(CU_OK);
}

cu_result cuDeviceGetName(char *name, int size, cu_device device)
{
	ENTER(cuDeviceGetName);
	snprintf(name, (size_t)size, "%s", fake.gpu[device].name);
	return leave(CU_OK);
}

cu_result cuDeviceGetAttribute(int *out, unsigned attribute, cu_device device)
{
	ENTER(cuDeviceGetAttribute);
	const struct fake_gpu *g = &fake.gpu[device];
	switch (attribute) {
	case CU_DEVICE_SMS: *out = g->sms; break;
	case CU_DEVICE_MAJOR: *out = g->major; break;
	case CU_DEVICE_MINOR: *out = g->minor; break;
	case CU_DEVICE_SHARED_MEMORY: *out = g->shared_memory; break;
	default: return leave(misuse(INVALID_VALUE));
	}
	return leave(CU_OK);
}

cu_result cuDeviceTotalMem(size_t *bytes, cu_device device)
{
	ENTER(cuDeviceTotalMem);
	*bytes = fake.gpu[device].memory;
	return leave(CU_OK);
}
