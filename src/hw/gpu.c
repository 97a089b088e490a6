/* gpu.c - one GPU: opening, memory, the queue. Its events and graphs are in gpu_graph.c. */
#include "hw/gpu_internal.h"

#include "base/mem.h"
#include "base/status.h"
#include "hw/images.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ALIGNMENT 256

/* ---- Errors ---- */

bool gpu_enter(struct gpu *g)
{
	cu_result rc = g->d.cuCtxPushCurrent(g->context);
	gpu_note(g, rc, "cuCtxPushCurrent");
	return rc == CU_OK;
}

void gpu_leave(struct gpu *g)
{
	struct cu_context *popped;
	gpu_note(g, g->d.cuCtxPopCurrent(&popped), "cuCtxPopCurrent");
}

void gpu_note(struct gpu *g, cu_result code, const char *what, ...)
{
	if (code == CU_OK || g->error[0])
		return;
	char call[192], text[128];
	va_list ap;
	va_start(ap, what);
	vsnprintf(call, sizeof call, what, ap);
	va_end(ap);
	snprintf(g->error, sizeof g->error, "GPU %d (%.64s) failed: %s: %s: restart the program", g->index, g->facts.name,
		 call, cuda_error_text(&g->d, code, text));
}

int gpu_first_error(const struct gpu *g)
{
	if (g->error[0])
		FAIL(VB_EDEVICE, "%s", g->error);
	return VB_OK;
}

int gpu_failure(const struct gpu *g, int status, cu_result code, const char *call)
{
	char text[128];
	if (code != CU_OK)
		FAIL(status, "GPU %d (%.64s): %s: %s", g->index, g->facts.name, call, cuda_error_text(&g->d, code, text));
	return VB_OK;
}

/* ---- Opening ---- */

static int load_image(struct gpu *g, const struct image_file *file, struct cu_module **out)
{
	char log[512] = "", text[128];
	unsigned options[] = { CU_JIT_LOG, CU_JIT_LOG_SIZE };
	void *values[] = { log, (void *)(uintptr_t)(sizeof log - 1) };
	cu_result rc = g->d.cuModuleLoadDataEx(out, file->begin, 2, options, values);
	log[strcspn(log, "\n")] = 0;
	if (rc != CU_OK)
		FAIL(rc == CU_OUT_OF_MEMORY ? VB_ENOMEM : VB_EUNSUPPORTED,
		     "GPU %d (%.64s) does not load the program's kernels: %s: cuModuleLoadDataEx: %s%s%s: update the driver or "
		     "use --device cpu", g->index, g->facts.name, file->name, cuda_error_text(&g->d, rc, text),
		     log[0] ? ": " : "", log);
	return VB_OK;
}

static int load_images(struct gpu *g)
{
	int n = 0;
	while (image_files[n].name)
		n++;
	g->modules = mem_calloc((size_t)n, sizeof *g->modules);
	if (!g->modules)
		return VB_ENOMEM;
	for (int i = 0; i < n; i++) {
		TRY(load_image(g, &image_files[i], &g->modules[i]));
		g->n_modules++;
	}
	return VB_OK;
}

/* Whether kernels wait for what came before them (griddepcontrol): machine code for 9.0 and later does. What the driver compiles from
 * the PTX for 8.0 does not, and would begin too soon. */
static bool kernels_wait(const struct hw_gpu *gpu)
{
	const struct hw_version hopper = { 9, 0 };
	for (int i = 0; i < gpu->image.n_sass; i++) {
		struct hw_version s = gpu->image.sass[i];
		if (hw_version_compare(s, hopper) >= 0 && s.major == gpu->capability.major && s.minor <= gpu->capability.minor)
			return true;
	}
	return false;
}

static int open_on(struct gpu *g, cu_device device)
{
	char reason[HW_REASON_MAX];
	if (!hw_gpu_runs(&g->facts, HW_PORTABLE, reason))
		FAIL(VB_EUNSUPPORTED, "cannot use GPU %d (%.64s): %s", g->index, g->facts.name, reason);
	cu_result rc = g->d.cuCtxCreate(&g->context, 0, device);
	TRY(gpu_failure(g, rc == CU_OUT_OF_MEMORY ? VB_ENOMEM : VB_EDEVICE, rc, "cuCtxCreate"));
	/* Alone: what else the process does on this GPU does not wait for this queue. */
	TRY(gpu_failure(g, VB_EDEVICE, g->d.cuStreamCreate(&g->stream, CU_STREAM_ALONE), "cuStreamCreate"));
	/* Capturing such launches into graphs needs CUDA 12.3. */
	g->starts_early = g->d.cuLaunchKernelEx && kernels_wait(&g->facts) &&
			  hw_version_compare(g->facts.driver_cuda, (struct hw_version){ 12, 3 }) >= 0;
	return load_images(g);
}

int gpu_open(struct gpu **out, int index)
{
	*out = NULL;
	struct gpu *g = mem_calloc(1, sizeof *g);
	if (!g)
		return VB_ENOMEM;
	int rc;
	cu_device device;
	g->index = index;
	TRY_TO(out, cuda_driver_open(&g->d));
	TRY_TO(out, cuda_driver_start(&g->d));
	TRY_TO(out, gpu_describe(&g->d, index, &g->facts, &device));
	g->device = device;
	rc = open_on(g, device);
	if (g->context) {
		/* A new context is the thread's current one. */
		struct cu_context *popped;
		cu_result pop = g->d.cuCtxPopCurrent(&popped);
		if (rc == VB_OK)
			rc = gpu_failure(g, VB_EDEVICE, pop, "cuCtxPopCurrent");
	}
out:
	if (rc != VB_OK)
		gpu_close(&g);
	*out = g;
	return rc;
}

/* Errors are not looked at: what cannot be given back goes with the context. */
void gpu_close(struct gpu **g_)
{
	struct gpu *g = *g_;
	*g_ = NULL;
	if (!g)
		return;
	if (g->context) {
		struct cu_context *popped;
		bool entered = g->d.cuCtxPushCurrent(g->context) == CU_OK;
		if (g->stream) {
			g->d.cuStreamSynchronize(g->stream);
			g->d.cuStreamDestroy(g->stream);
		}
		for (int i = 0; i < g->n_pinned; i++)
			g->d.cuMemFreeHost(g->pinned[i].begin);
		gpu_ranges_free_all(g);
		for (int i = 0; i < g->n_modules; i++)
			g->d.cuModuleUnload(g->modules[i]);
		if (entered)
			g->d.cuCtxPopCurrent(&popped);
		g->d.cuCtxDestroy(g->context);
	}
	mem_free(g->pinned);
	mem_free(g->ranges);
	mem_free(g->modules);
	mem_free(g);
}

const struct hw_gpu *gpu_facts(const struct gpu *g)
{
	return &g->facts;
}

/* ---- Memory ---- */

int gpu_check_idle(const struct gpu *g, const char *what)
{
	TRY(gpu_first_error(g));
	if (g->capturing)
		FAIL(VB_ESTATE, "cannot %s on GPU %d: its queue is being captured", what, g->index);
	return VB_OK;
}

int gpu_memory(struct gpu *g, uint64_t *available, uint64_t *total)
{
	TRY(gpu_check_idle(g, "ask for memory"));
	size_t free_now = 0, all = 0;
	if (!gpu_enter(g))
		return gpu_first_error(g);
	cu_result rc = g->d.cuMemGetInfo(&free_now, &all);
	gpu_leave(g);
	*available = free_now;
	*total = all;
	return gpu_failure(g, VB_EDEVICE, rc, "cuMemGetInfo");
}

int gpu_memory_failure(struct gpu *g, cu_result code, const char *call, size_t bytes, const char *what)
{
	if (code == CU_OUT_OF_MEMORY) {
		uint64_t available, total;
		TRY(gpu_memory(g, &available, &total));
		FAIL(VB_ENOMEM, "out of GPU memory: %s: %zu bytes, but of %" PRIu64 " on GPU %d (%.64s) %" PRIu64
		     " are free: lower --context, --max-batch or --kv-memory", what, bytes, total, g->index,
		     g->facts.name, available);
	}
	if (code == CU_OK)
		return VB_OK;
	char text[128];
	snprintf(text, sizeof text, "%.40s of %zu bytes for %.48s", call, bytes, what);
	return gpu_failure(g, VB_EDEVICE, code, text);
}

int gpu_alloc(struct gpu *g, void **out, size_t bytes, const char *what)
{
	*out = NULL;
	TRY(gpu_check_idle(g, "allocate"));
	if (!bytes)
		return VB_OK;
	cu_address p = 0;
	if (!gpu_enter(g))
		return gpu_first_error(g);
	cu_result rc = g->d.cuMemAlloc(&p, bytes);
	gpu_leave(g);
	TRY(gpu_memory_failure(g, rc, "cuMemAlloc", bytes, what));
	CHECK(p % ALIGNMENT == 0);
	*out = (void *)(uintptr_t)p;
	return VB_OK;
}

void gpu_free(struct gpu *g, void *p)
{
	if (!p || !gpu_enter(g))
		return;
	if (!gpu_range_free(g, (uintptr_t)p))
		gpu_note(g, g->d.cuMemFree((uintptr_t)p), "cuMemFree");
	gpu_leave(g);
}

int gpu_host_alloc(struct gpu *g, void **out, size_t bytes, const char *what)
{
	*out = NULL;
	TRY(gpu_check_idle(g, "allocate"));
	if (!bytes)
		return VB_OK;
	struct gpu_pinned *pinned = mem_realloc(g->pinned, (size_t)g->n_pinned + 1, sizeof *pinned);
	if (!pinned)
		return VB_ENOMEM;
	g->pinned = pinned;
	void *p = NULL;
	if (!gpu_enter(g))
		return gpu_first_error(g);
	cu_result rc = g->d.cuMemHostAlloc(&p, bytes, CU_HOST_PORTABLE);
	gpu_leave(g);
	if (rc != CU_OK) {
		char call[128];
		snprintf(call, sizeof call, "cuMemHostAlloc of %zu bytes for %.48s", bytes, what);
		return gpu_failure(g, rc == CU_OUT_OF_MEMORY ? VB_ENOMEM : VB_EDEVICE, rc, call);
	}
	memset(p, 0, bytes);
	pinned[g->n_pinned++] = (struct gpu_pinned){ p, bytes };
	*out = p;
	return VB_OK;
}

void gpu_host_free(struct gpu *g, void *p)
{
	for (int i = 0; i < g->n_pinned; i++) {
		if (g->pinned[i].begin != p)
			continue;
		if (gpu_enter(g)) {
			gpu_note(g, g->d.cuMemFreeHost(p), "cuMemFreeHost");
			gpu_leave(g);
		}
		g->pinned[i] = g->pinned[--g->n_pinned];
		return;
	}
	CHECK(!p);
}

/* There are few: a step's inputs, its outputs, a buffer for weights. */
static bool is_pinned(const struct gpu *g, const void *host, size_t bytes)
{
	const char *p = host;
	for (int i = 0; i < g->n_pinned; i++)
		if (p >= g->pinned[i].begin && p + bytes <= g->pinned[i].begin + g->pinned[i].bytes)
			return true;
	return false;
}

/* ---- The queue ---- */

/* A copy between the GPU and memory that is not pinned would be captured without a word, with an address that may be
 * anybody's when the graph runs. */
static bool may_copy(struct gpu *g, bool pinned, const char *what)
{
	if (!gpu_queue_open(g))
		return false;
	if (g->capturing && !pinned) {
		snprintf(g->error, sizeof g->error, "cannot capture %s of memory that is not pinned: GPU %d: use gpu_host_alloc",
			 what, g->index);
		return false;
	}
	return true;
}

void gpu_upload(struct gpu *g, void *device, const void *host, size_t bytes)
{
	bool pinned = is_pinned(g, host, bytes);
	if (!bytes || !may_copy(g, pinned, "an upload") || !gpu_enter(g))
		return;
	gpu_note(g, g->d.cuMemcpyHtoDAsync((uintptr_t)device, host, bytes, g->stream), "cuMemcpyHtoDAsync of %zu bytes", bytes);
	if (!pinned)
		gpu_note(g, g->d.cuStreamSynchronize(g->stream), "cuStreamSynchronize behind cuMemcpyHtoDAsync");
	gpu_leave(g);
}

void gpu_download(struct gpu *g, void *host, const void *device, size_t bytes)
{
	bool pinned = is_pinned(g, host, bytes);
	if (!bytes || !may_copy(g, pinned, "a download") || !gpu_enter(g))
		return;
	gpu_note(g, g->d.cuMemcpyDtoHAsync(host, (uintptr_t)device, bytes, g->stream), "cuMemcpyDtoHAsync of %zu bytes", bytes);
	if (!pinned)
		gpu_note(g, g->d.cuStreamSynchronize(g->stream), "cuStreamSynchronize behind cuMemcpyDtoHAsync");
	gpu_leave(g);
}

void gpu_copy(struct gpu *g, void *to, const void *from, size_t bytes)
{
	if (!bytes || !gpu_queue_open(g) || !gpu_enter(g))
		return;
	gpu_note(g, g->d.cuMemcpyDtoDAsync((uintptr_t)to, (uintptr_t)from, bytes, g->stream),
		 "cuMemcpyDtoDAsync of %zu bytes", bytes);
	gpu_leave(g);
}

void gpu_fill(struct gpu *g, void *device, unsigned char byte, size_t bytes)
{
	if (!bytes || !gpu_queue_open(g) || !gpu_enter(g))
		return;
	gpu_note(g, g->d.cuMemsetD8Async((uintptr_t)device, byte, bytes, g->stream), "cuMemsetD8Async of %zu bytes", bytes);
	gpu_leave(g);
}

/* ---- Kernels ---- */

static int find_function(struct gpu *g, const char *name, struct cu_function **out)
{
	const struct image_kernel *k = image_kernels;
	while (k->name && strcmp(k->name, name) != 0)
		k++;
	if (!k->name)
		FAIL(VB_EUNSUPPORTED, "no GPU kernel %s: GPU %d (%.64s): the program does not carry it", name, g->index,
		     g->facts.name);
	char call[128];
	snprintf(call, sizeof call, "cuModuleGetFunction of %.80s", name);
	return gpu_failure(g, VB_EDEVICE, g->d.cuModuleGetFunction(out, g->modules[k->file], name), call);
}

static int size_function(struct gpu *g, struct cu_function *f, const char *name, uint32_t shared_memory,
			 struct gpu_kernel *out)
{
	int fixed = 0, allowed = 0;
	const struct {
		unsigned attribute;
		int *value;
	} ask[] = {
		{ CU_FUNCTION_MAX_THREADS, &out->max_threads },
		{ CU_FUNCTION_REGISTERS, &out->registers },
		{ CU_FUNCTION_STATIC_SHARED, &fixed },
		{ CU_FUNCTION_DYNAMIC_SHARED, &allowed },
	};
	for (size_t i = 0; i < sizeof ask / sizeof ask[0]; i++)
		TRY(gpu_failure(g, VB_EDEVICE, g->d.cuFuncGetAttribute(ask[i].value, ask[i].attribute, f),
				"cuFuncGetAttribute"));
	if ((int64_t)shared_memory + fixed > g->facts.shared_memory)
		FAIL(VB_EUNSUPPORTED, "kernel %s needs %" PRId64 " bytes of shared memory a block: GPU %d (%.64s) has %" PRId64,
		     name, (int64_t)shared_memory + fixed, g->index, g->facts.name, g->facts.shared_memory);
	/* Never lowered: the same kernel may have been found with more. */
	if ((int64_t)shared_memory > allowed)
		TRY(gpu_failure(g, VB_EDEVICE,
				g->d.cuFuncSetAttribute(f, CU_FUNCTION_DYNAMIC_SHARED, (int)shared_memory),
				"cuFuncSetAttribute"));
	return VB_OK;
}

int gpu_find_kernel(struct gpu *g, const char *name, uint32_t shared_memory, struct gpu_kernel *out)
{
	*out = (struct gpu_kernel){ .name = name, .shared_memory = shared_memory };
	TRY(gpu_check_idle(g, "find a kernel"));
	struct cu_function *f = NULL;
	if (!gpu_enter(g))
		return gpu_first_error(g);
	int rc = find_function(g, name, &f);
	if (rc == VB_OK)
		rc = size_function(g, f, name, shared_memory, out);
	gpu_leave(g);
	if (rc == VB_OK)
		out->function = f;
	return rc;
}

int gpu_blocks_per_sm(struct gpu *g, const struct gpu_kernel *k, int threads)
{
	int blocks = 0;
	if (!gpu_queue_open(g) || !gpu_enter(g))
		return 0;
	gpu_note(g, g->d.cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, k->function, threads, k->shared_memory),
		 "cuOccupancyMaxActiveBlocksPerMultiprocessor of %s", k->name);
	gpu_leave(g);
	return blocks;
}

static cu_result launch_early(struct gpu *g, const struct gpu_kernel *k, const struct gpu_grid *grid, void **parameters)
{
	struct cu_launch_attribute early = { .id = CU_LAUNCH_EARLY, .value.early = 1 };
	const struct cu_launch_config config = {
		.grid = { grid->blocks[0], grid->blocks[1], grid->blocks[2] }, .block = { grid->threads, 1, 1 },
		.shared_memory = k->shared_memory, .stream = g->stream, .attributes = &early, .n_attributes = 1,
	};
	return g->d.cuLaunchKernelEx(&config, k->function, parameters, NULL);
}

void gpu_launch(struct gpu *g, const struct gpu_kernel *k, const struct gpu_grid *grid, const void *args)
{
	const uint32_t *n = grid->blocks;
	if (!n[0] || !n[1] || !n[2] || !gpu_queue_open(g) || !gpu_enter(g))
		return;
	bool early = grid->early && g->starts_early;
	void *parameters[] = { (void *)(uintptr_t)args };
	cu_result rc = early ? launch_early(g, k, grid, parameters) :
			       g->d.cuLaunchKernel(k->function, n[0], n[1], n[2], grid->threads, 1, 1, k->shared_memory,
						   g->stream, parameters, NULL);
	gpu_note(g, rc, "%s of %s, %u x %u x %u blocks of %u threads, %u bytes of shared memory",
		 early ? "cuLaunchKernelEx" : "cuLaunchKernel", k->name, n[0], n[1], n[2], grid->threads, k->shared_memory);
	gpu_leave(g);
	g->last_kernel = k->name;
}

/* What a kernel did wrong is told by a later call: the kernel that was launched last is a hint. */
static void note_behind(struct gpu *g, cu_result rc, const char *call)
{
	gpu_note(g, rc, "%s%s%s", call, g->last_kernel ? ", the last kernel launched being " : "",
		 g->last_kernel ? g->last_kernel : "");
}

int gpu_sync(struct gpu *g)
{
	TRY(gpu_check_idle(g, "wait"));
	if (!gpu_enter(g))
		return gpu_first_error(g);
	note_behind(g, g->d.cuStreamSynchronize(g->stream), "cuStreamSynchronize");
	gpu_leave(g);
	return gpu_first_error(g);
}

int gpu_status(struct gpu *g)
{
	/* Asking would end a capture. */
	if (gpu_queue_open(g) && !g->capturing && gpu_enter(g)) {
		cu_result rc = g->d.cuStreamQuery(g->stream);
		note_behind(g, rc == CU_NOT_READY ? CU_OK : rc, "cuStreamQuery");
		gpu_leave(g);
	}
	return gpu_first_error(g);
}
