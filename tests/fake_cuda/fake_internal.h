/* fake_internal.h - what the files of fake_cuda share; its users know fake_cuda.h alone. */
#ifndef FAKE_INTERNAL_H
#define FAKE_INTERNAL_H

#include "fake_cuda.h"

#include "hw/cuda_driver.h"

#include <pthread.h>

/* Numbers of cuda.h that only a driver returns. */
enum {
	INVALID_VALUE = 1,
	NOT_INITIALIZED = 3,
	INVALID_DEVICE = 101,
	INVALID_IMAGE = 200,
	INVALID_CONTEXT = 201,
	NO_BINARY_FOR_GPU = 209,
	INVALID_HANDLE = 400,
	NOT_FOUND = 500,
	CAPTURE_UNSUPPORTED = 900,
	CAPTURE_INVALIDATED = 901,
};

#define MAX_THREADS 1024
#define MAX_FUNCTIONS 128  /* of a module */

/* Everything that belongs to a context, in one list of its own; destroyed with it. */
enum kind { MODULE, STREAM, EVENT, MEMORY, PINNED, RANGE, CREATED, KINDS };

struct object {
	enum kind kind;
	struct object *next;
	struct cu_context *context;
};

struct cu_context {
	struct cu_context *next;
	struct fake_gpu *gpu;
	struct object *objects;
	size_t used;
};

struct cu_function {
	const struct fake_kernel *kernel; /* NULL: does nothing */
	int dynamic_shared;
};

struct cu_module {
	struct object object;
	const char *image;
	size_t size;
	struct cu_function function[MAX_FUNCTIONS];
	char *name[MAX_FUNCTIONS];
	int n_functions;
};

struct cu_event {
	struct object object;
	int pending; /* records that the queue has not come to */
	double at;
};

/* Of a device or pinned; addresses without memory (RANGE); memory without addresses (CREATED, begin is NULL). */
struct memory {
	struct object object;
	char *begin;
	size_t bytes;
	bool in_range;   /* its addresses are a range's */
	bool accessible; /* in a range: cuMemSetAccess was called */
	bool mapped;     /* CREATED: something in a range has it */
};

/* One thing to do. */
struct task {
	enum { COPY, FILL, KERNEL, EVENT_RECORD } what;
	void *to;
	const void *from;
	size_t bytes;
	unsigned char byte;
	const struct fake_kernel *kernel;
	struct cu_event *event;
	void *own; /* a copy of a kernel's arguments, or of what is copied; NULL: none */
	size_t own_bytes;
};

struct tasks {
	struct task *task;
	int n;
};

/* Graphs belong to no context. */
struct cu_graph {
	struct cu_graph *next;
	int *count; /* fake.graphs or fake.execs */
	struct tasks tasks;
};

struct cu_graph_exec {
	struct cu_graph graph;
	struct cu_context *context; /* whose memory it takes */
	size_t bytes;
};

struct cu_stream {
	struct object object;
	struct tasks queue;
	int n_done; /* of the queue */
	struct cu_graph *capturing;
	bool invalidated;
	pthread_t thread; /* that began the capture */
};

extern struct fake_cuda fake;
extern struct cu_context *contexts;

/* The symbols that src/hw asks for. */
#define EXPORT __attribute__((visibility("default")))
#define CALL(name, symbol, parameters) EXPORT cu_result name parameters __asm__(symbol);
CUDA_CALLS(CALL)
CUDA_CALLS_OPTIONAL(CALL)
#undef CALL

/* ---- A call: fake_cuda.c ---- */

/* What a call returns before it does anything. Takes the lock; every call ends with leave(). */
cu_result enter(const char *name);
cu_result leave(cu_result rc);
/* Counts a call that a driver might let pass, or crash on; returns rc. */
cu_result misuse(cu_result rc);

#define ENTER(name)                                 \
	do {                                        \
		cu_result entered_ = enter(#name);  \
		if (entered_ != CU_OK)              \
			return leave(entered_);     \
	} while (0)

/* The same for calls that need a context. */
#define ENTER_CONTEXT(name)                         \
	ENTER(name);                                \
	if (!current())                             \
		return leave(misuse(INVALID_CONTEXT))

/* ---- Contexts and what belongs to them: fake_contexts.c. All but is_alive and dispose need a current context ---- */

bool is_alive(const struct cu_context *context);
struct cu_context *current(void); /* this thread's; NULL: none */
void *make(enum kind kind, size_t size);
/* The link to an object that is alive in the current context; NULL where it is not. */
struct object **link_to(const void *object, enum kind kind);
cu_result destroy(const void *object, enum kind kind);
/* Of an object that is in no list any more. */
void dispose(struct object *o);
void destroy_contexts(void);

/* ---- Kernels: fake_kernels.c ---- */

bool is_function(const struct cu_function *f);

/* ---- Memory: fake_memory.c ---- */

/* Whether all these bytes lie in one piece of memory of that kind. */
bool is_within(const void *p, size_t bytes, enum kind kind);

/* ---- Work: fake_work.c ---- */

/* A task of which t->own is copied. */
void append(struct tasks *list, const struct task *t);
void drop_tasks(struct tasks *t);
bool is_idle(const struct cu_stream *s);
void perform_one(struct cu_stream *s);
void perform_all(struct cu_stream *s);
/* What waits for the whole context: freeing memory. */
void perform_everything(void);
cu_result launch(struct cu_stream *s, struct cu_function *f, const unsigned grid[3], const unsigned block[3],
		 unsigned shared_memory, void **parameters);

/* ---- Graphs: fake_graphs.c ---- */

void *make_graph(size_t size, int *count);
void destroy_graphs(void);
void drop_capture(struct cu_stream *s);
/* Whether this thread captures: what may not happen meanwhile spoils the capture. */
bool spoils_capture(void);

#endif
