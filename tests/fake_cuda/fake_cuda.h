/* fake_cuda.h - a libcuda.so.1 without a GPU, for tests: the calls of src/hw/cuda_driver.h, with "device memory" in the
 * process, and a say in what there is and what fails.
 *
 * A test that is linked with it gets it where src/hw opens libcuda.so.1, and holds its strings here. Other programs get it
 * through LD_LIBRARY_PATH, and its settings from the environment:
 *   FAKE_CUDA_GPUS    "NAME,9.0,132,232448,85899345920; ..." (name, compute capability, SMs, shared memory, memory); "" is none
 *   FAKE_CUDA_DRIVER  cuDriverGetVersion's number, 13000 for 13.0
 *   FAKE_CUDA_GRAPH_BYTES  graph_bytes below
 *   FAKE_CUDA_FAIL    "cuInit 100": calls of that name return that code
 *
 * Work happens as late as a driver might let it: when somebody waits. Who does not wait long enough, or changes too early what a
 * copy will read, gets another result than he wants. It is stricter than a driver where it can be: addresses must lie in what
 * was allocated, and a call without a current context fails. Kernels do what a test says (fake_cuda_kernel); others do nothing.
 */
#ifndef FAKE_CUDA_H
#define FAKE_CUDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_GPUS 20
#define FAKE_KERNELS 64 /* that are told apart */

struct fake_gpu {
	char name[64];
	int major, minor, sms, shared_memory;
	size_t memory;
};

struct fake_kernel {
	const char *name; /* NULL: the list's end; "x_*": all that begin with x_ */
	size_t args_bytes;
	void (*run)(const void *args); /* NULL: does nothing */
	int max_threads, registers, static_shared;
};

struct fake_cuda {
	/* What there is: set by a test. */
	int n_gpus;
	struct fake_gpu gpu[FAKE_GPUS];
	int driver_version;
	struct fake_kernel kernel[FAKE_KERNELS];
	size_t graph_bytes; /* of GPU memory that each launch of a graph takes; 0 */
	bool only_known; /* kernels that are not in this list are not found, whatever an image holds */

	/* What fails: the n-th call from now (1 is the next; 0: none), or from it on; or all calls of a name. */
	int fail_in;
	bool fail_on;
	const char *fail_name;
	unsigned fail_code;
	const char *failed; /* name of the last call that was made to fail; NULL: none */

	/* What happened. */
	int n_calls;
	int n_launches, n_early; /* kernels that ran; those that were launched with leave to start early */
	int misuses;             /* calls that a driver might let pass, or crash on */

	/* What is alive now. */
	int contexts, modules, streams, events, graphs, execs, allocations, pinned, ranges, created;
	size_t bytes; /* of all allocations */
};

/* The one there is. */
struct fake_cuda *fake_cuda(void);
/* One H100 with driver 13.0; nothing fails, no kernels, nothing alive, counts at 0. */
void fake_cuda_reset(void);
/* Gives a kernel something to do: where its image holds its name. */
void fake_cuda_kernel(const char *name, size_t args_bytes, void (*run)(const void *args));
/* Objects that are alive: 0 where everything was given back. */
int fake_cuda_alive(void);
/* Contexts on this thread's stack. */
int fake_cuda_depth(void);

#endif
