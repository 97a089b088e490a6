/* gpu_internal.h - what the files of src/hw that make gpu.h share. */
#ifndef HW_GPU_INTERNAL_H
#define HW_GPU_INTERNAL_H

#include "hw/cuda_driver.h"
#include "hw/gpu.h"

/* Pinned memory of the host. */
struct gpu_pinned {
	char *begin;
	size_t bytes;
};

/* Addresses that were reserved, and how many of them have memory. */
struct gpu_range {
	cu_address begin;
	size_t bytes, backed;
};

struct gpu {
	struct cuda_driver d;
	struct hw_gpu facts;
	int index;
	/* Our own, not the device's primary one: destroying it frees all that was allocated in it, and nothing else. */
	struct cu_context *context;
	struct cu_stream *stream;
	struct cu_module **modules; /* [n_modules], as image_files */
	int n_modules;
	struct gpu_pinned *pinned;
	int n_pinned;
	struct gpu_range *ranges;
	int n_ranges;
	cu_device device;
	bool capturing;
	bool starts_early;       /* kernels may (struct gpu_grid) */
	const char *last_kernel; /* launched; NULL: none */
	char error[512];         /* the queue's first; "": none */
};

/* Every function of gpu.h works in between these: threads may use a gpu one after another, and a program's own context on
 * this thread is the same afterwards. The pair takes 0.06 us where a launch takes 3.9 (2026-11-22, H100, driver 580.159);
 * setting the context alone would take 0.03. False, with the error kept, where the context could not be entered. */
bool gpu_enter(struct gpu *g);
void gpu_leave(struct gpu *g);

/* Whether work may be enqueued: no error yet. */
static inline bool gpu_queue_open(const struct gpu *g)
{
	return g->error[0] == 0;
}

/* Keeps the queue's first error; CU_OK is none. `what` and what follows name the call. */
void gpu_note(struct gpu *g, cu_result code, const char *what, ...) __attribute__((format(printf, 3, 4)));
/* VB_OK, or VB_EDEVICE with the queue's first error. */
int gpu_first_error(const struct gpu *g);
/* VB_OK for CU_OK, else `status` with a message of the same form. */
int gpu_failure(const struct gpu *g, int status, cu_result code, const char *call);

/* Before what must not happen while the queue is captured, and is in vain once it has failed. */
int gpu_check_idle(const struct gpu *g, const char *what);
/* VB_OK for CU_OK; VB_ENOMEM with what is free, or VB_EDEVICE. */
int gpu_memory_failure(struct gpu *g, cu_result code, const char *call, size_t bytes, const char *what);
/* gpu_range.c: gives back the range that begins there; false where none does. In the context. */
bool gpu_range_free(struct gpu *g, cu_address begin);
void gpu_ranges_free_all(struct gpu *g);

/* What the driver says of GPU `index`. */
int gpu_describe(const struct cuda_driver *d, int index, struct hw_gpu *out, cu_device *device);

#endif
