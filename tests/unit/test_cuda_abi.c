/* The driver API as src/hw declares it, against cuda.h: the same symbols, types, numbers and layouts. Built where cuda.h is
 * found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* First, so that its macros (cuMemAlloc is cuMemAlloc_v2) hold for our declarations too. */
#include <cuda.h>

/* Their names for our types, so that pointers to them are the same pointers. */
#define cu_context CUctx_st
#define cu_module CUmod_st
#define cu_function CUfunc_st
#define cu_stream CUstream_st
#define cu_event CUevent_st
#define cu_graph CUgraph_st
#define cu_graph_exec CUgraphExec_st
#include "hw/cuda_driver.h"

#include <stdbool.h>
#include <string.h>

#define SAME(a, b) __builtin_types_compatible_p(__typeof__(a), __typeof__(b))
#define EQUAL(ours, theirs) _Static_assert((unsigned)(ours) == (unsigned)(theirs), #ours " is " #theirs)

EQUAL(CU_OK, CUDA_SUCCESS);
EQUAL(CU_OUT_OF_MEMORY, CUDA_ERROR_OUT_OF_MEMORY);
EQUAL(CU_NO_DEVICE, CUDA_ERROR_NO_DEVICE);
EQUAL(CU_NOT_READY, CUDA_ERROR_NOT_READY);
EQUAL(CU_DEVICE_SMS, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
EQUAL(CU_DEVICE_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
EQUAL(CU_DEVICE_MINOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
EQUAL(CU_DEVICE_SHARED_MEMORY, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
EQUAL(CU_FUNCTION_MAX_THREADS, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
EQUAL(CU_FUNCTION_STATIC_SHARED, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES);
EQUAL(CU_FUNCTION_REGISTERS, CU_FUNC_ATTRIBUTE_NUM_REGS);
EQUAL(CU_FUNCTION_DYNAMIC_SHARED, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
EQUAL(CU_STREAM_ALONE, CU_STREAM_NON_BLOCKING);
EQUAL(CU_HOST_PORTABLE, CU_MEMHOSTALLOC_PORTABLE);
EQUAL(CU_CAPTURE_THREAD_LOCAL, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
EQUAL(CU_JIT_LOG, CU_JIT_ERROR_LOG_BUFFER);
EQUAL(CU_JIT_LOG_SIZE, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
EQUAL(CU_LAUNCH_EARLY, CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION);
EQUAL(CU_MEMORY_PINNED, CU_MEM_ALLOCATION_TYPE_PINNED);
EQUAL(CU_MEMORY_ON_DEVICE, CU_MEM_LOCATION_TYPE_DEVICE);
EQUAL(CU_MEMORY_READ_WRITE, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
EQUAL(CU_GRANULARITY_MINIMUM, CU_MEM_ALLOC_GRANULARITY_MINIMUM);

_Static_assert(SAME(cu_device, CUdevice) && SAME(cu_address, CUdeviceptr), "handles");
EQUAL(sizeof(struct cu_launch_attribute), sizeof(CUlaunchAttribute));
EQUAL(offsetof(struct cu_launch_attribute, value), offsetof(CUlaunchAttribute, value));
EQUAL(sizeof((struct cu_launch_attribute *)0)->value, sizeof((CUlaunchAttribute *)0)->value);
EQUAL(offsetof(struct cu_launch_attribute, value.early),
      offsetof(CUlaunchAttribute, value.programmaticStreamSerializationAllowed));
EQUAL(_Alignof(struct cu_launch_attribute), _Alignof(CUlaunchAttribute));
#define OURS struct cu_launch_config
EQUAL(sizeof(OURS), sizeof(CUlaunchConfig));
EQUAL(offsetof(OURS, grid), offsetof(CUlaunchConfig, gridDimX));
EQUAL(offsetof(OURS, block), offsetof(CUlaunchConfig, blockDimX));
EQUAL(offsetof(OURS, shared_memory), offsetof(CUlaunchConfig, sharedMemBytes));
EQUAL(offsetof(OURS, stream), offsetof(CUlaunchConfig, hStream));
EQUAL(offsetof(OURS, attributes), offsetof(CUlaunchConfig, attrs));
EQUAL(offsetof(OURS, n_attributes), offsetof(CUlaunchConfig, numAttrs));
EQUAL(sizeof(struct cu_place), sizeof(CUmemLocation));
EQUAL(offsetof(struct cu_place, id), offsetof(CUmemLocation, id));
EQUAL(sizeof(struct cu_memory_kind), sizeof(CUmemAllocationProp));
EQUAL(offsetof(struct cu_memory_kind, handle_types), offsetof(CUmemAllocationProp, requestedHandleTypes));
EQUAL(offsetof(struct cu_memory_kind, place), offsetof(CUmemAllocationProp, location));
EQUAL(offsetof(struct cu_memory_kind, flags), offsetof(CUmemAllocationProp, allocFlags));
EQUAL(sizeof(struct cu_access), sizeof(CUmemAccessDesc));
EQUAL(offsetof(struct cu_access, flags), offsetof(CUmemAccessDesc, flags));


#define TEXT_(name) #name
#define TEXT(name) TEXT_(name)

static const struct {
	const char *name, *symbol, *theirs;
	bool same;
} calls[] = {
#define CALL(name, symbol, parameters) { #name, symbol, TEXT(name), SAME(*((struct cuda_driver *)0)->name, name) },
	CUDA_CALLS(CALL)
	CUDA_CALLS_OPTIONAL(CALL)
#undef CALL
};

static bool is_one_of(const char *name, const char *const *list)
{
	for (; *list; list++)
		if (strcmp(name, *list) == 0)
			return true;
	return false;
}

static void test_calls(void **state)
{
	(void)state;
	/* CUDA 13 has newer ones; those that we ask for are there as long as programs of CUDA 3.2 run. */
	static const char *const older[] = { "cuCtxCreate", "cuEventElapsedTime", NULL };
	/* Pointers to structs or enumerations of our own, which are compared above. */
	static const char *const own_types[] = { "cuCtxCreate", "cuModuleLoadDataEx", "cuLaunchKernelEx", "cuMemCreate", "cuMemSetAccess",
						 "cuMemGetAllocationGranularity", NULL };
	for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
		if (strcmp(calls[i].symbol, calls[i].theirs) != 0 && !is_one_of(calls[i].name, older))
			fail_msg("%s: we ask for %s, cuda.h for %s", calls[i].name, calls[i].symbol, calls[i].theirs);
		if (!calls[i].same && !is_one_of(calls[i].name, own_types))
			fail_msg("%s: declared with another type than in cuda.h", calls[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_calls) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
