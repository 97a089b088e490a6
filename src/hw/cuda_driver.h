/* cuda_driver.h - the part of the CUDA driver API that src/hw uses: declarations of our own, and libcuda.so.1 opened at run
 * time. Names, numbers and layouts are those of the public CUDA headers, version 12 and 13; tests/unit/test_cuda_abi.c
 * compares them with cuda.h where that file is there.
 */
#ifndef HW_CUDA_DRIVER_H
#define HW_CUDA_DRIVER_H

#include <stddef.h>

/* CUresult. Its enumeration has no negative value: unsigned, as every enumeration of cuda.h below. */
typedef unsigned cu_result;
typedef int cu_device;
typedef unsigned long long cu_address; /* CUdeviceptr */
struct cu_context;
struct cu_module;
struct cu_function;
struct cu_stream;
struct cu_event;
struct cu_graph;
struct cu_graph_exec;

enum {
	CU_OK = 0,
	CU_OUT_OF_MEMORY = 2,
	CU_NO_DEVICE = 100,
	CU_NOT_READY = 600,
};

enum {
	CU_DEVICE_SMS = 16,             /* MULTIPROCESSOR_COUNT */
	CU_DEVICE_MAJOR = 75,           /* COMPUTE_CAPABILITY_MAJOR */
	CU_DEVICE_MINOR = 76,           /* COMPUTE_CAPABILITY_MINOR */
	CU_DEVICE_SHARED_MEMORY = 97,   /* MAX_SHARED_MEMORY_PER_BLOCK_OPTIN */
	CU_FUNCTION_MAX_THREADS = 0,    /* MAX_THREADS_PER_BLOCK */
	CU_FUNCTION_STATIC_SHARED = 1,  /* SHARED_SIZE_BYTES */
	CU_FUNCTION_REGISTERS = 4,      /* NUM_REGS */
	CU_FUNCTION_DYNAMIC_SHARED = 8, /* MAX_DYNAMIC_SHARED_SIZE_BYTES */
	CU_STREAM_ALONE = 1,            /* STREAM_NON_BLOCKING */
	CU_HOST_PORTABLE = 1,           /* MEMHOSTALLOC_PORTABLE */
	CU_CAPTURE_THREAD_LOCAL = 1,    /* STREAM_CAPTURE_MODE_THREAD_LOCAL */
	CU_JIT_LOG = 5,                 /* JIT_ERROR_LOG_BUFFER */
	CU_JIT_LOG_SIZE = 6,            /* JIT_ERROR_LOG_BUFFER_SIZE_BYTES */
	CU_LAUNCH_EARLY = 6,            /* LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION */
	CU_MEMORY_PINNED = 1,           /* MEM_ALLOCATION_TYPE_PINNED */
	CU_MEMORY_ON_DEVICE = 1,        /* MEM_LOCATION_TYPE_DEVICE */
	CU_MEMORY_READ_WRITE = 3,       /* MEM_ACCESS_FLAGS_PROT_READWRITE */
	CU_GRANULARITY_MINIMUM = 0,     /* MEM_ALLOC_GRANULARITY_MINIMUM */
};

/* CUlaunchAttribute: an attribute and its value, a union of 64 bytes. */
struct cu_launch_attribute {
	unsigned id;
	char pad[4];
	union {
		char bytes[64];
		int early; /* programmaticStreamSerializationAllowed */
		void *align;
	} value;
};

/* CUlaunchConfig */
struct cu_launch_config {
	unsigned grid[3], block[3];
	unsigned shared_memory;
	struct cu_stream *stream;
	struct cu_launch_attribute *attributes;
	unsigned n_attributes;
};

/* CUmemLocation, CUmemAllocationProp, CUmemAccessDesc, CUmemGenericAllocationHandle */
struct cu_place {
	unsigned type;
	int id;
};
struct cu_memory_kind {
	unsigned type, handle_types;
	struct cu_place place;
	void *win32;
	unsigned char flags[8];
};
struct cu_access {
	struct cu_place place;
	unsigned flags;
};
typedef unsigned long long cu_memory;

/* CALL(name, symbol, parameters): the names of cuda.h, the symbols that its macros make of them. */
#define CUDA_CALLS(CALL)                                                                                              \
	CALL(cuInit, "cuInit", (unsigned flags))                                                                      \
	CALL(cuGetErrorName, "cuGetErrorName", (cu_result code, const char **out))                                    \
	CALL(cuGetErrorString, "cuGetErrorString", (cu_result code, const char **out))                                \
	CALL(cuDriverGetVersion, "cuDriverGetVersion", (int *version))                                                \
	CALL(cuDeviceGetCount, "cuDeviceGetCount", (int *count))                                                      \
	CALL(cuDeviceGet, "cuDeviceGet", (cu_device *out, int ordinal))                                               \
	CALL(cuDeviceGetName, "cuDeviceGetName", (char *name, int size, cu_device device))                            \
	CALL(cuDeviceGetAttribute, "cuDeviceGetAttribute", (int *out, unsigned attribute, cu_device device))          \
	CALL(cuDeviceTotalMem, "cuDeviceTotalMem_v2", (size_t *bytes, cu_device device))                              \
	CALL(cuCtxCreate, "cuCtxCreate_v2", (struct cu_context **out, unsigned flags, cu_device device))              \
	CALL(cuCtxDestroy, "cuCtxDestroy_v2", (struct cu_context *context))                                           \
	CALL(cuCtxPushCurrent, "cuCtxPushCurrent_v2", (struct cu_context *context))                                   \
	CALL(cuCtxPopCurrent, "cuCtxPopCurrent_v2", (struct cu_context **out))                                        \
	CALL(cuModuleLoadDataEx, "cuModuleLoadDataEx", (struct cu_module **out, const void *image,                    \
		unsigned n_options, unsigned *options, void **values))                                                \
	CALL(cuModuleUnload, "cuModuleUnload", (struct cu_module *module))                                            \
	CALL(cuModuleGetFunction, "cuModuleGetFunction", (struct cu_function **out, struct cu_module *module,         \
		const char *name))                                                                                    \
	CALL(cuFuncGetAttribute, "cuFuncGetAttribute", (int *out, unsigned attribute, struct cu_function *function))  \
	CALL(cuFuncSetAttribute, "cuFuncSetAttribute", (struct cu_function *function, unsigned attribute, int value)) \
	CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor, "cuOccupancyMaxActiveBlocksPerMultiprocessor",              \
		(int *out, struct cu_function *function, int threads, size_t shared_memory))                          \
	CALL(cuMemAlloc, "cuMemAlloc_v2", (cu_address *out, size_t bytes))                                            \
	CALL(cuMemFree, "cuMemFree_v2", (cu_address p))                                                               \
	CALL(cuMemHostAlloc, "cuMemHostAlloc", (void **out, size_t bytes, unsigned flags))                            \
	CALL(cuMemFreeHost, "cuMemFreeHost", (void *p))                                                               \
	CALL(cuMemGetInfo, "cuMemGetInfo_v2", (size_t *available, size_t *total))                                     \
	CALL(cuMemGetAllocationGranularity, "cuMemGetAllocationGranularity", (size_t *out,                            \
		const struct cu_memory_kind *kind, unsigned option))                                                  \
	CALL(cuMemAddressReserve, "cuMemAddressReserve", (cu_address *out, size_t bytes, size_t alignment,            \
		cu_address wish, unsigned long long flags))                                                           \
	CALL(cuMemAddressFree, "cuMemAddressFree", (cu_address p, size_t bytes))                                      \
	CALL(cuMemCreate, "cuMemCreate", (cu_memory *out, size_t bytes, const struct cu_memory_kind *kind,            \
		unsigned long long flags))                                                                            \
	CALL(cuMemRelease, "cuMemRelease", (cu_memory memory))                                                        \
	CALL(cuMemMap, "cuMemMap", (cu_address p, size_t bytes, size_t offset, cu_memory memory,                      \
		unsigned long long flags))                                                                            \
	CALL(cuMemUnmap, "cuMemUnmap", (cu_address p, size_t bytes))                                                  \
	CALL(cuMemSetAccess, "cuMemSetAccess", (cu_address p, size_t bytes, const struct cu_access *access,           \
		size_t n))                                                                                            \
	CALL(cuMemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2", (cu_address to, const void *from, size_t bytes,               \
		struct cu_stream *stream))                                                                            \
	CALL(cuMemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2", (void *to, cu_address from, size_t bytes,                     \
		struct cu_stream *stream))                                                                            \
	CALL(cuMemcpyDtoDAsync, "cuMemcpyDtoDAsync_v2", (cu_address to, cu_address from, size_t bytes,                \
		struct cu_stream *stream))                                                                            \
	CALL(cuMemsetD8Async, "cuMemsetD8Async", (cu_address p, unsigned char byte, size_t bytes,                     \
		struct cu_stream *stream))                                                                            \
	CALL(cuStreamCreate, "cuStreamCreate", (struct cu_stream **out, unsigned flags))                              \
	CALL(cuStreamDestroy, "cuStreamDestroy_v2", (struct cu_stream *stream))                                       \
	CALL(cuStreamSynchronize, "cuStreamSynchronize", (struct cu_stream *stream))                                  \
	CALL(cuStreamQuery, "cuStreamQuery", (struct cu_stream *stream))                                              \
	CALL(cuStreamBeginCapture, "cuStreamBeginCapture_v2", (struct cu_stream *stream, unsigned mode))              \
	CALL(cuStreamEndCapture, "cuStreamEndCapture", (struct cu_stream *stream, struct cu_graph **out))             \
	CALL(cuGraphInstantiateWithFlags, "cuGraphInstantiateWithFlags", (struct cu_graph_exec **out,                 \
		struct cu_graph *graph, unsigned long long flags))                                                    \
	CALL(cuGraphDestroy, "cuGraphDestroy", (struct cu_graph *graph))                                              \
	CALL(cuGraphUpload, "cuGraphUpload", (struct cu_graph_exec *exec, struct cu_stream *stream))                  \
	CALL(cuGraphLaunch, "cuGraphLaunch", (struct cu_graph_exec *exec, struct cu_stream *stream))                  \
	CALL(cuGraphExecDestroy, "cuGraphExecDestroy", (struct cu_graph_exec *exec))                                  \
	CALL(cuEventCreate, "cuEventCreate", (struct cu_event **out, unsigned flags))                                 \
	CALL(cuEventDestroy, "cuEventDestroy_v2", (struct cu_event *event))                                           \
	CALL(cuEventRecord, "cuEventRecord", (struct cu_event *event, struct cu_stream *stream))                      \
	CALL(cuEventSynchronize, "cuEventSynchronize", (struct cu_event *event))                                      \
	CALL(cuEventElapsedTime, "cuEventElapsedTime", (float *ms, struct cu_event *from, struct cu_event *to))       \
	CALL(cuLaunchKernel, "cuLaunchKernel", (struct cu_function *function, unsigned grid_x, unsigned grid_y,       \
		unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_memory,        \
		struct cu_stream *stream, void **parameters, void **extra))

/* Calls that drivers before CUDA 11.8 do not have: NULL there. */
#define CUDA_CALLS_OPTIONAL(CALL)                                                                                     \
	CALL(cuLaunchKernelEx, "cuLaunchKernelEx", (const struct cu_launch_config *config,                            \
		struct cu_function *function, void **parameters, void **extra))

struct cuda_driver {
#define CALL(name, symbol, parameters) cu_result (*name) parameters;
	CUDA_CALLS(CALL)
	CUDA_CALLS_OPTIONAL(CALL)
#undef CALL
};

/* Opens the driver's library. VB_EUNSUPPORTED where there is none, or it lacks a call, with the reason. It stays open until
 * the process ends: threads of its own may run in it. */
int cuda_driver_open(struct cuda_driver *out);
/* Initialises it. VB_EUNSUPPORTED where it offers no GPU, with its reason. A process that forks after this cannot use a GPU
 * in its children. */
int cuda_driver_start(const struct cuda_driver *d);

/* "CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected", for a message. */
const char *cuda_error_text(const struct cuda_driver *d, cu_result code, char out[128]);

#endif
