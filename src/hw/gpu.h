/* gpu.h - one NVIDIA GPU: its memory, the program's kernels on it, and one queue of work.
 *
 * DESIGN. The driver library, libcuda.so.1, is opened at run time, with declarations of our own: the program is built
 * without a CUDA toolkit and starts without a driver. A `struct gpu` owns a context, the kernels of the program's
 * images (images.h), and one stream, its queue: what is enqueued runs in order.
 *
 * Errors. What waits or allocates returns a status. What only enqueues returns nothing: the first error is kept with the
 * name of the call that met it, later work is dropped, and gpu_sync (or gpu_capture_end) reports it. An error inside a
 * kernel (an illegal address) spoils the GPU for the whole process: every later call fails with the same message, and
 * gpu_open fails too.
 *
 * A gpu is used by one thread at a time, and by any; a capture is ended by the thread that began it. Nothing here is called
 * on the step path but what enqueues, and gpu_sync.
 */
#ifndef HW_GPU_H
#define HW_GPU_H

#include "hw/hw.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gpu;

/* ---- Finding ---- */

/* Which GPUs there are and what the driver says of each: f->cuda_driver, n_gpus, gpu[], and gpu_why where there are none.
 * An error of one GPU is kept with that GPU (HW_NOT_LOADED and why). Nothing is loaded, and no context made. A machine
 * without a driver pays for a library that is not found. Called once, by who would run on a GPU or tell of it. */
void gpu_probe(struct hw_facts *f);
/* Loads the program's images on each GPU that was found, where the rules let it hope (hw_gpu_runs), and drops them again:
 * f->gpu[].loaded and why. Takes a context a GPU: for who tells of a machine; who uses a GPU opens it. */
void gpu_probe_images(struct hw_facts *f);

/* ---- Opening ---- */

/* Opens GPU `index` and loads the program's kernels. VB_EUNSUPPORTED where there is no driver, no such GPU, or no image
 * that runs there, with the reason. */
int gpu_open(struct gpu **out, int index);
/* Waits for the queue, frees everything allocated from this gpu. NULL is allowed. */
void gpu_close(struct gpu **g);
/* What is known of it. Borrowed. */
const struct hw_gpu *gpu_facts(const struct gpu *g);

/* ---- Memory ---- */

/* Memory of the GPU, aligned to 256, not cleared. `what` names its purpose in the message of VB_ENOMEM, which says too
 * how much was asked for and how much is free. 0 bytes give NULL and VB_OK. */
int gpu_alloc(struct gpu *g, void **out, size_t bytes, const char *what);
void gpu_free(struct gpu *g, void *p);
/* Addresses for up to `bytes`, aligned as gpu_alloc's, without memory behind them: what is captured may name them before it is
 * known how much memory is left. gpu_back puts memory behind the first `bytes` of them, once, rounded up to the GPU's pages
 * (2 MiB); gpu_free gives back both. */
int gpu_reserve(struct gpu *g, void **out, size_t bytes, const char *what);
int gpu_back(struct gpu *g, void *p, size_t bytes, const char *what);
/* The host's memory, pinned: what gpu_upload and gpu_download need to be asynchronous. Cleared. */
int gpu_host_alloc(struct gpu *g, void **out, size_t bytes, const char *what);
void gpu_host_free(struct gpu *g, void *p);
int gpu_memory(struct gpu *g, uint64_t *available, uint64_t *total);

/* ---- Enqueueing ---- */

/* From and to pinned memory these are asynchronous: the host's side must stay as it is until gpu_sync (or an event behind
 * it). From and to other memory they wait. */
void gpu_upload(struct gpu *g, void *device, const void *host, size_t bytes);
void gpu_download(struct gpu *g, void *host, const void *device, size_t bytes);
void gpu_copy(struct gpu *g, void *to, const void *from, size_t bytes);
void gpu_fill(struct gpu *g, void *device, unsigned char byte, size_t bytes);

/* A kernel of the images: extern "C" __global__, of one parameter, a struct passed by value. */
struct gpu_kernel {
	void *function;
	const char *name; /* static storage */
	uint32_t shared_memory; /* dynamic, bytes a block */
	int max_threads;  /* a block may have */
	int registers;    /* a thread has */
};

/* Finds a kernel and lets its blocks have `shared_memory` bytes. VB_EUNSUPPORTED where no image has it, or the GPU does not
 * have that much. `name` must be of static storage. */
int gpu_find_kernel(struct gpu *g, const char *name, uint32_t shared_memory, struct gpu_kernel *out);
/* How many blocks of so many threads one multiprocessor holds at once; 0 where none. */
int gpu_blocks_per_sm(struct gpu *g, const struct gpu_kernel *k, int threads);

struct gpu_grid {
	uint32_t blocks[3]; /* 0 anywhere: nothing is launched */
	uint32_t threads;   /* a block */
	/* The kernel calls griddepcontrol.wait before it touches what earlier kernels wrote: its blocks may start before those
	 * end (programmatic dependent launch, compute capability 9.0; ignored elsewhere). */
	bool early;
};

/* `args` is copied. */
void gpu_launch(struct gpu *g, const struct gpu_kernel *k, const struct gpu_grid *grid, const void *args);

/* Waits until the queue is empty: VB_OK, or the first error since the gpu was opened (VB_EDEVICE), with its message. */
int gpu_sync(struct gpu *g);
/* The same without waiting: what is known by now. */
int gpu_status(struct gpu *g);

/* ---- Time ---- */

struct gpu_event;
int gpu_event_create(struct gpu *g, struct gpu_event **out);
void gpu_event_destroy(struct gpu *g, struct gpu_event **e);
void gpu_event_record(struct gpu *g, struct gpu_event *e);
/* Waits until the queue has passed the event's last record. */
int gpu_event_wait(struct gpu *g, struct gpu_event *e);
/* Milliseconds between two events that were passed. */
double gpu_event_ms(struct gpu *g, struct gpu_event *from, struct gpu_event *to);

/* ---- Graphs ---- */

struct gpu_graph;
/* Between begin and end nothing runs: what is enqueued becomes the graph. Uploads and downloads in it must be of pinned
 * memory; their addresses and sizes are part of it. */
int gpu_capture_begin(struct gpu *g);
int gpu_capture_end(struct gpu *g, struct gpu_graph **out);
void gpu_graph_launch(struct gpu *g, struct gpu_graph *graph);
void gpu_graph_destroy(struct gpu *g, struct gpu_graph **graph);

#endif
