/* fake_cuda.c - see fake_cuda.h. */
#define _GNU_SOURCE /* memmem */
#include "fake_cuda.h"

#include "hw/cuda_driver.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

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

#define FATBIN_MAGIC 0xba55ed50u
#define MAX_THREADS 1024
#define MAX_DEPTH 8
#define MAX_FUNCTIONS 128  /* of a module */
#define POISONED ((size_t)1 << 20) /* bytes of an allocation, at most: more would take long */

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

static struct fake_cuda fake;
static struct cu_context *contexts;
static struct cu_graph *graphs;
static bool initialised, set_up;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local struct cu_context *stack[MAX_DEPTH];
static _Thread_local int depth;

/* The symbols that src/hw asks for. */
#define EXPORT __attribute__((visibility("default")))
#define CALL(name, symbol, parameters) EXPORT cu_result name parameters __asm__(symbol);
CUDA_CALLS(CALL)
CUDA_CALLS_OPTIONAL(CALL)
#undef CALL

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

/* ---- A call ---- */

/* What a call returns before it does anything. Takes the lock; every call ends with leave(). */
static cu_result enter(const char *name)
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

static cu_result leave(cu_result rc)
{
	pthread_mutex_unlock(&lock);
	return rc;
}

#define ENTER(name)                                 \
	do {                                        \
		cu_result entered_ = enter(#name);  \
		if (entered_ != CU_OK)              \
			return leave(entered_);     \
	} while (0)

/* The same of calls that need a context. */
#define ENTER_CONTEXT(name)                         \
	ENTER(name);                                \
	if (!current())                             \
		return leave(misuse(INVALID_CONTEXT))

static cu_result misuse(cu_result rc)
{
	fake.misuses++;
	return rc;
}

static bool is_alive(const struct cu_context *context)
{
	for (struct cu_context *c = contexts; c; c = c->next)
		if (c == context)
			return true;
	return false;
}

static struct cu_context *current(void)
{
	struct cu_context *c = depth ? stack[depth - 1] : NULL;
	return c && is_alive(c) ? c : NULL;
}

/* ---- Objects of a context ---- */

static int *count_of(enum kind kind)
{
	int *const counts[KINDS] = { &fake.modules, &fake.streams, &fake.events, &fake.allocations, &fake.pinned,
				       &fake.ranges, &fake.created };
	return counts[kind];
}

static void *make(enum kind kind, size_t size)
{
	struct object *o = calloc(1, size);
	if (!o)
		abort();
	o->kind = kind;
	o->context = current();
	o->next = o->context->objects;
	o->context->objects = o;
	++*count_of(kind);
	return o;
}

static void drop_tasks(struct tasks *t)
{
	for (int i = 0; i < t->n; i++)
		free(t->task[i].own);
	free(t->task);
	*t = (struct tasks){ NULL, 0 };
}

static void *copy_of(const void *p, size_t bytes)
{
	void *copy = bytes ? malloc(bytes) : NULL;
	if (bytes && !copy)
		abort();
	return bytes ? memcpy(copy, p, bytes) : NULL;
}

/* A task of which t->own is copied. */
static void append(struct tasks *list, const struct task *t)
{
	/* Room for 1, 2, 4 .. */
	if ((list->n & (list->n - 1)) == 0)
		list->task = realloc(list->task, sizeof *t * (size_t)(list->n ? 2 * list->n : 1));
	if (!list->task)
		abort();
	list->task[list->n] = *t;
	list->task[list->n++].own = copy_of(t->own, t->own_bytes);
}

static void *make_graph(size_t size, int *count)
{
	struct cu_graph *g = calloc(1, size);
	if (!g)
		abort();
	g->next = graphs;
	g->count = count;
	++*count;
	return graphs = g;
}

static cu_result destroy_graph(const struct cu_graph *graph)
{
	struct cu_graph **g = &graphs, *found;
	while (*g && *g != graph)
		g = &(*g)->next;
	found = *g;
	if (!found)
		return misuse(INVALID_HANDLE);
	*g = found->next;
	--*found->count;
	drop_tasks(&found->tasks);
	free(found);
	return CU_OK;
}

static void drop_capture(struct cu_stream *s)
{
	if (s->capturing)
		destroy_graph(s->capturing);
	s->capturing = NULL;
}

static void dispose(struct object *o)
{
	--*count_of(o->kind);
	if (o->kind == MODULE) {
		struct cu_module *m = (struct cu_module *)o;
		for (int i = 0; i < m->n_functions; i++)
			free(m->name[i]);
	} else if (o->kind == STREAM) {
		drop_capture((struct cu_stream *)o);
		drop_tasks(&((struct cu_stream *)o)->queue);
	} else if (o->kind == RANGE) {
		struct memory *m = (struct memory *)o;
		munmap(m->begin, m->bytes);
	} else if (o->kind != EVENT) {
		struct memory *m = (struct memory *)o;
		fake.bytes -= m->mapped ? 0 : m->bytes;
		if (o->kind != PINNED && !m->mapped)
			o->context->used -= m->bytes;
		if (m->in_range)
			mprotect(m->begin, m->bytes, PROT_NONE);
		else
			free(m->begin);
	}
	free(o);
}

/* The link to an object that is alive in the current context; NULL where it is not. */
static struct object **link_to(const void *object, enum kind kind)
{
	for (struct object **o = &current()->objects; *o; o = &(*o)->next)
		if (*o == object && (*o)->kind == kind)
			return o;
	return NULL;
}

static cu_result destroy(const void *object, enum kind kind)
{
	struct object **at = link_to(object, kind), *o;
	if (!at)
		return misuse(INVALID_HANDLE);
	o = *at;
	*at = o->next;
	dispose(o);
	return CU_OK;
}

/* Memory of the current context that begins there. */
static struct memory *memory_at(const void *begin, enum kind kind)
{
	for (struct object *o = current()->objects; o; o = o->next)
		if (o->kind == kind && ((struct memory *)o)->begin == begin)
			return (struct memory *)o;
	return NULL;
}

static bool is_within(const void *p, size_t bytes, enum kind kind)
{
	for (struct object *o = current()->objects; o; o = o->next) {
		const struct memory *m = (const struct memory *)o;
		if (o->kind == kind && (!m->in_range || m->accessible) && (const char *)p >= m->begin && (const char *)p + bytes <= m->begin + m->bytes)
			return true;
	}
	return false;
}

static struct memory *make_memory(enum kind kind, size_t bytes)
{
	struct memory *m = make(kind, sizeof *m);
	m->begin = aligned_alloc(256, (bytes + 255) / 256 * 256);
	if (!m->begin)
		abort();
	memset(m->begin, 0xa5, bytes < POISONED ? bytes : POISONED); /* not cleared */
	m->bytes = bytes;
	fake.bytes += bytes;
	if (kind == MEMORY)
		m->object.context->used += bytes;
	return m;
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

/* ---- Contexts ---- */

cu_result cuCtxCreate(struct cu_context **out, unsigned flags, cu_device device)
{
	ENTER(cuCtxCreate);
	struct cu_context *c = calloc(1, sizeof *c);
	if (!c || flags || depth == MAX_DEPTH)
		abort();
	c->gpu = &fake.gpu[device];
	c->next = contexts;
	contexts = c;
	fake.contexts++;
	stack[depth++] = c;
	*out = c;
	return leave(CU_OK);
}

static cu_result destroy_context(struct cu_context *context)
{
	struct cu_context **c = &contexts;
	while (*c && *c != context)
		c = &(*c)->next;
	if (!*c)
		return misuse(INVALID_CONTEXT);
	while (depth && stack[depth - 1] == context)
		depth--;
	*c = context->next;
	while (context->objects) {
		struct object *o = context->objects;
		context->objects = o->next;
		dispose(o);
	}
	free(context);
	fake.contexts--;
	return CU_OK;
}

cu_result cuCtxDestroy(struct cu_context *context)
{
	ENTER(cuCtxDestroy);
	/* These outlive a context: a driver would keep them. */
	for (struct object *o = is_alive(context) ? context->objects : NULL; o; o = o->next)
		if (o->kind == RANGE || o->kind == CREATED || (o->kind == MEMORY && ((struct memory *)o)->in_range))
			fake.misuses++;
	return leave(destroy_context(context));
}

EXPORT void fake_cuda_reset(void)
{
	while (contexts)
		destroy_context(contexts);
	while (graphs)
		destroy_graph(graphs);
	set_defaults();
}

EXPORT int fake_cuda_depth(void)
{
	return depth;
}

cu_result cuCtxPushCurrent(struct cu_context *context)
{
	ENTER(cuCtxPushCurrent);
	if (!is_alive(context) || depth == MAX_DEPTH)
		return leave(misuse(INVALID_CONTEXT));
	stack[depth++] = context;
	return leave(CU_OK);
}

cu_result cuCtxPopCurrent(struct cu_context **out)
{
	ENTER(cuCtxPopCurrent);
	if (!depth)
		return leave(misuse(INVALID_CONTEXT));
	*out = stack[--depth];
	return leave(CU_OK);
}

/* ---- Kernels ---- */

/* An image is a fat binary, or a text for tests: "fake: NAME NAME", "broken: ..." or "foreign: ...". */
cu_result cuModuleLoadDataEx(struct cu_module **out, const void *image, unsigned n_options, unsigned *options, void **values)
{
	ENTER_CONTEXT(cuModuleLoadDataEx);
	unsigned magic;
	unsigned long long size;
	memcpy(&magic, image, sizeof magic);
	if (magic == FATBIN_MAGIC) {
		memcpy(&size, (const char *)image + 8, sizeof size);
		size += 16;
	} else {
		size = strlen(image);
		if (n_options == 2 && options[0] == CU_JIT_LOG && options[1] == CU_JIT_LOG_SIZE)
			snprintf(values[0], (size_t)values[1], "log of %s", (const char *)image);
		if (strncmp(image, "broken", 6) == 0)
			return leave(INVALID_IMAGE);
		if (strncmp(image, "foreign", 7) == 0)
			return leave(NO_BINARY_FOR_GPU);
		if (n_options == 2)
			*(char *)values[0] = 0;
	}
	struct cu_module *m = make(MODULE, sizeof *m);
	m->image = image;
	m->size = size;
	*out = m;
	return leave(CU_OK);
}

cu_result cuModuleUnload(struct cu_module *module)
{
	ENTER_CONTEXT(cuModuleUnload);
	return leave(destroy(module, MODULE));
}

static bool matches(const char *pattern, const char *name)
{
	size_t n = strlen(pattern);
	return pattern[n - 1] == '*' ? strncmp(pattern, name, n - 1) == 0 : strcmp(pattern, name) == 0;
}

cu_result cuModuleGetFunction(struct cu_function **out, struct cu_module *module, const char *name)
{
	ENTER_CONTEXT(cuModuleGetFunction);
	if (!link_to(module, MODULE))
		return leave(misuse(INVALID_HANDLE));
	const struct fake_kernel *kernel = NULL;
	for (const struct fake_kernel *k = fake.kernel; k < fake.kernel + FAKE_KERNELS && k->name; k++)
		if (matches(k->name, name))
			kernel = k;
	if (!memmem(module->image, module->size, name, strlen(name)) || (fake.only_known && !kernel))
		return leave(misuse(NOT_FOUND)); /* a tool that watches every call would report it */
	int i = 0;
	while (i < module->n_functions && strcmp(module->name[i], name) != 0)
		i++;
	if (i == MAX_FUNCTIONS)
		abort();
	if (i == module->n_functions) {
		module->name[module->n_functions++] = strdup(name);
		module->function[i] = (struct cu_function){ kernel, 0 };
	}
	*out = &module->function[i];
	return leave(CU_OK);
}

static bool is_function(const struct cu_function *f)
{
	for (const struct object *o = current()->objects; o; o = o->next) {
		const struct cu_module *m = (const struct cu_module *)o;
		if (o->kind == MODULE && f >= m->function && f < m->function + m->n_functions)
			return true;
	}
	return false;
}

cu_result cuFuncGetAttribute(int *out, unsigned attribute, struct cu_function *f)
{
	ENTER_CONTEXT(cuFuncGetAttribute);
	if (!is_function(f))
		return leave(misuse(INVALID_HANDLE));
	switch (attribute) {
	case CU_FUNCTION_MAX_THREADS: *out = f->kernel ? f->kernel->max_threads : MAX_THREADS; break;
	case CU_FUNCTION_REGISTERS: *out = f->kernel ? f->kernel->registers : 32; break;
	case CU_FUNCTION_STATIC_SHARED: *out = f->kernel ? f->kernel->static_shared : 0; break;
	case CU_FUNCTION_DYNAMIC_SHARED: *out = f->dynamic_shared; break;
	default: return leave(misuse(INVALID_VALUE));
	}
	return leave(CU_OK);
}

cu_result cuFuncSetAttribute(struct cu_function *f, unsigned attribute, int value)
{
	ENTER_CONTEXT(cuFuncSetAttribute);
	if (!is_function(f) || attribute != CU_FUNCTION_DYNAMIC_SHARED)
		return leave(misuse(INVALID_VALUE));
	if (value < 0 || value + (f->kernel ? f->kernel->static_shared : 0) > current()->gpu->shared_memory)
		return leave(INVALID_VALUE);
	f->dynamic_shared = value;
	return leave(CU_OK);
}

cu_result cuOccupancyMaxActiveBlocksPerMultiprocessor(int *out, struct cu_function *f, int threads, size_t shared_memory)
{
	ENTER_CONTEXT(cuOccupancyMaxActiveBlocksPerMultiprocessor);
	if (!is_function(f) || threads < 1)
		return leave(misuse(INVALID_VALUE));
	*out = threads > MAX_THREADS ? 0 : 2048 / threads;
	int by_memory = shared_memory ? (int)((size_t)current()->gpu->shared_memory / shared_memory) : *out;
	if (by_memory < *out)
		*out = by_memory;
	return leave(CU_OK);
}

/* ---- Work ---- */

static double now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void perform(const struct task *t)
{
	switch (t->what) {
	case COPY:
		memmove(t->to, t->own ? t->own : t->from, t->bytes);
		break;
	case FILL:
		memset(t->to, t->byte, t->bytes);
		break;
	case EVENT_RECORD:
		t->event->at = now_ms();
		t->event->pending--;
		break;
	case KERNEL:
		fake.n_launches++;
		if (t->kernel && t->kernel->run)
			t->kernel->run(t->own);
		break;
	}
}

static bool is_idle(const struct cu_stream *s)
{
	return s->n_done == s->queue.n;
}

static void perform_one(struct cu_stream *s)
{
	perform(&s->queue.task[s->n_done++]);
	if (!is_idle(s))
		return;
	drop_tasks(&s->queue);
	s->n_done = 0;
}

static void perform_all(struct cu_stream *s)
{
	while (!is_idle(s))
		perform_one(s);
}

/* What waits for the whole context: freeing memory. */
static void perform_everything(void)
{
	for (struct object *o = current()->objects; o; o = o->next)
		if (o->kind == STREAM)
			perform_all((struct cu_stream *)o);
}

/* ---- Memory ---- */

/* Whether this thread captures: what may not happen meanwhile spoils the capture. */
static bool spoils_capture(void)
{
	bool captures = false;
	for (struct object *o = current()->objects; o; o = o->next) {
		struct cu_stream *s = (struct cu_stream *)o;
		if (o->kind == STREAM && s->capturing && pthread_equal(s->thread, pthread_self()))
			captures = s->invalidated = true;
	}
	return captures;
}

cu_result cuMemAlloc(cu_address *out, size_t bytes)
{
	ENTER_CONTEXT(cuMemAlloc);
	if (spoils_capture())
		return leave(misuse(CAPTURE_UNSUPPORTED));
	if (!bytes)
		return leave(misuse(INVALID_VALUE));
	if (bytes > current()->gpu->memory - current()->used)
		return leave(CU_OUT_OF_MEMORY);
	*out = (uintptr_t)make_memory(MEMORY, bytes)->begin;
	return leave(CU_OK);
}

cu_result cuMemFree(cu_address p)
{
	ENTER_CONTEXT(cuMemFree);
	if (spoils_capture())
		return leave(misuse(CAPTURE_UNSUPPORTED));
	perform_everything();
	struct memory *m = memory_at((void *)(uintptr_t)p, MEMORY);
	return leave(m ? destroy(m, MEMORY) : misuse(INVALID_VALUE));
}

cu_result cuMemHostAlloc(void **out, size_t bytes, unsigned flags)
{
	ENTER_CONTEXT(cuMemHostAlloc);
	if (!bytes || flags != CU_HOST_PORTABLE)
		return leave(misuse(INVALID_VALUE));
	*out = make_memory(PINNED, bytes)->begin;
	return leave(CU_OK);
}

cu_result cuMemFreeHost(void *p)
{
	ENTER_CONTEXT(cuMemFreeHost);
	perform_everything();
	struct memory *m = memory_at(p, PINNED);
	return leave(m ? destroy(m, PINNED) : misuse(INVALID_VALUE));
}

cu_result cuMemGetInfo(size_t *available, size_t *total)
{
	ENTER_CONTEXT(cuMemGetInfo);
	*total = current()->gpu->memory;
	*available = *total - current()->used;
	return leave(CU_OK);
}

/* ---- Addresses first, memory later. None of this belongs to a context, though it is kept with one here ---- */

#define GRANULE ((size_t)1 << 16) /* not a GPU's 2 MiB: who does not ask is found out */

/* The object of that kind that begins there, or is at that address itself, in any context. */
static struct memory *find_anywhere(const void *p, enum kind kind)
{
	for (struct cu_context *c = contexts; c; c = c->next)
		for (struct object *o = c->objects; o; o = o->next)
			if (o->kind == kind && (p == o || ((struct memory *)o)->begin == p))
				return (struct memory *)o;
	return NULL;
}

static void destroy_anywhere(struct memory *m)
{
	struct object **at = &m->object.context->objects;
	while (*at != &m->object)
		at = &(*at)->next;
	*at = m->object.next;
	dispose(&m->object);
}

static bool is_good_kind(const struct cu_memory_kind *kind)
{
	static const struct cu_memory_kind none;
	return kind->type == CU_MEMORY_PINNED && kind->place.type == CU_MEMORY_ON_DEVICE && kind->place.id >= 0 &&
	       kind->place.id < fake.n_gpus && !kind->handle_types && !kind->win32 &&
	       memcmp(kind->flags, none.flags, sizeof none.flags) == 0;
}

cu_result cuMemGetAllocationGranularity(size_t *out, const struct cu_memory_kind *kind, unsigned option)
{
	ENTER(cuMemGetAllocationGranularity);
	*out = GRANULE;
	return leave(is_good_kind(kind) && option == CU_GRANULARITY_MINIMUM ? CU_OK : misuse(INVALID_VALUE));
}

cu_result cuMemAddressReserve(cu_address *out, size_t bytes, size_t alignment, cu_address wish, unsigned long long flags)
{
	ENTER_CONTEXT(cuMemAddressReserve);
	if (!bytes || bytes % GRANULE || alignment || wish || flags)
		return leave(misuse(INVALID_VALUE));
	void *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return leave(CU_OUT_OF_MEMORY);
	struct memory *m = make(RANGE, sizeof *m);
	m->begin = p;
	m->bytes = bytes;
	*out = (uintptr_t)p;
	return leave(CU_OK);
}

cu_result cuMemAddressFree(cu_address p, size_t bytes)
{
	ENTER(cuMemAddressFree);
	struct memory *m = find_anywhere((void *)(uintptr_t)p, RANGE);
	if (!m || m->bytes != bytes || find_anywhere(m->begin, MEMORY))
		return leave(misuse(INVALID_VALUE));
	destroy_anywhere(m);
	return leave(CU_OK);
}

cu_result cuMemCreate(cu_memory *out, size_t bytes, const struct cu_memory_kind *kind, unsigned long long flags)
{
	ENTER_CONTEXT(cuMemCreate);
	if (!bytes || bytes % GRANULE || !is_good_kind(kind) || flags || spoils_capture())
		return leave(misuse(INVALID_VALUE));
	if (bytes > current()->gpu->memory - current()->used)
		return leave(CU_OUT_OF_MEMORY);
	struct memory *m = make(CREATED, sizeof *m);
	m->bytes = bytes;
	m->object.context->used += bytes;
	fake.bytes += bytes;
	*out = (uintptr_t)m;
	return leave(CU_OK);
}

cu_result cuMemRelease(cu_memory memory)
{
	ENTER(cuMemRelease);
	struct memory *m = find_anywhere((void *)(uintptr_t)memory, CREATED);
	if (!m)
		return leave(misuse(INVALID_VALUE));
	destroy_anywhere(m);
	return leave(CU_OK);
}

cu_result cuMemMap(cu_address p, size_t bytes, size_t offset, cu_memory memory, unsigned long long flags)
{
	ENTER_CONTEXT(cuMemMap);
	void *begin = (void *)(uintptr_t)p;
	struct memory *range = find_anywhere(begin, RANGE), *from = find_anywhere((void *)(uintptr_t)memory, CREATED);
	if (!range || !from || bytes > range->bytes || from->bytes != bytes || from->mapped || offset || flags ||
	    find_anywhere(begin, MEMORY))
		return leave(misuse(INVALID_VALUE));
	struct memory *m = make(MEMORY, sizeof *m);
	m->begin = begin;
	m->bytes = bytes;
	m->in_range = true;
	from->mapped = true;
	return leave(CU_OK);
}

cu_result cuMemSetAccess(cu_address p, size_t bytes, const struct cu_access *access, size_t n)
{
	ENTER(cuMemSetAccess);
	struct memory *m = find_anywhere((void *)(uintptr_t)p, MEMORY);
	if (!m || !m->in_range || m->bytes != bytes || n != 1 || access->place.type != CU_MEMORY_ON_DEVICE ||
	    access->flags != CU_MEMORY_READ_WRITE)
		return leave(misuse(INVALID_VALUE));
	if (mprotect(m->begin, bytes, PROT_READ | PROT_WRITE) != 0)
		abort();
	m->accessible = true;
	memset(m->begin, 0xa5, bytes < POISONED ? bytes : POISONED); /* not cleared */
	return leave(CU_OK);
}

cu_result cuMemUnmap(cu_address p, size_t bytes)
{
	ENTER(cuMemUnmap);
	struct memory *m = find_anywhere((void *)(uintptr_t)p, MEMORY);
	if (!m || !m->in_range || m->bytes != bytes)
		return leave(misuse(INVALID_VALUE));
	destroy_anywhere(m);
	return leave(CU_OK);
}

/* ---- Streams ---- */

cu_result cuStreamCreate(struct cu_stream **out, unsigned flags)
{
	ENTER_CONTEXT(cuStreamCreate);
	if (flags != CU_STREAM_ALONE)
		return leave(misuse(INVALID_VALUE));
	*out = make(STREAM, sizeof **out);
	return leave(CU_OK);
}

cu_result cuStreamDestroy(struct cu_stream *stream)
{
	ENTER_CONTEXT(cuStreamDestroy);
	if (link_to(stream, STREAM))
		perform_all(stream);
	return leave(destroy(stream, STREAM));
}

/* Of a stream that waits or is asked: never while it captures. */
static cu_result wait_for(struct cu_stream *s)
{
	if (!link_to(s, STREAM))
		return misuse(INVALID_HANDLE);
	if (!s->capturing)
		return CU_OK;
	s->invalidated = true;
	return misuse(CAPTURE_UNSUPPORTED);
}

cu_result cuStreamSynchronize(struct cu_stream *stream)
{
	ENTER_CONTEXT(cuStreamSynchronize);
	cu_result rc = wait_for(stream);
	if (rc == CU_OK)
		perform_all(stream);
	return leave(rc);
}

cu_result cuStreamQuery(struct cu_stream *stream)
{
	ENTER_CONTEXT(cuStreamQuery);
	cu_result rc = wait_for(stream);
	/* Something goes on between two questions. */
	if (rc == CU_OK && !is_idle(stream))
		perform_one(stream);
	return leave(rc == CU_OK && !is_idle(stream) ? CU_NOT_READY : rc);
}

static cu_result enqueue(struct cu_stream *s, const struct task *t)
{
	if (!link_to(s, STREAM))
		return misuse(INVALID_HANDLE);
	if (s->invalidated)
		return CAPTURE_INVALIDATED;
	append(s->capturing ? &s->capturing->tasks : &s->queue, t);
	return CU_OK;
}

cu_result cuMemcpyHtoDAsync(cu_address to, const void *from, size_t bytes, struct cu_stream *stream)
{
	ENTER_CONTEXT(cuMemcpyHtoDAsync);
	struct task t = { .what = COPY, .to = (void *)(uintptr_t)to, .from = from, .bytes = bytes };
	if (!is_within(t.to, bytes, MEMORY))
		return leave(misuse(INVALID_VALUE));
	/* Of memory that is not pinned a driver takes a copy before it returns. */
	if (!is_within(from, bytes, PINNED)) {
		t.own = (void *)(uintptr_t)from;
		t.own_bytes = bytes;
	}
	return leave(enqueue(stream, &t));
}

cu_result cuMemcpyDtoHAsync(void *to, cu_address from, size_t bytes, struct cu_stream *stream)
{
	ENTER_CONTEXT(cuMemcpyDtoHAsync);
	const struct task t = { .what = COPY, .to = to, .from = (void *)(uintptr_t)from, .bytes = bytes };
	if (!is_within(t.from, bytes, MEMORY))
		return leave(misuse(INVALID_VALUE));
	cu_result rc = enqueue(stream, &t);
	/* Into such memory it copies before it returns. */
	if (rc == CU_OK && !stream->capturing && !is_within(to, bytes, PINNED))
		perform_all(stream);
	return leave(rc);
}

cu_result cuMemcpyDtoDAsync(cu_address to, cu_address from, size_t bytes, struct cu_stream *stream)
{
	ENTER_CONTEXT(cuMemcpyDtoDAsync);
	const struct task t = {
		.what = COPY, .to = (void *)(uintptr_t)to, .from = (void *)(uintptr_t)from, .bytes = bytes,
	};
	if (!is_within(t.to, bytes, MEMORY) || !is_within(t.from, bytes, MEMORY))
		return leave(misuse(INVALID_VALUE));
	return leave(enqueue(stream, &t));
}

cu_result cuMemsetD8Async(cu_address p, unsigned char byte, size_t bytes, struct cu_stream *stream)
{
	ENTER_CONTEXT(cuMemsetD8Async);
	void *to = (void *)(uintptr_t)p;
	if (!is_within(to, bytes, MEMORY))
		return leave(misuse(INVALID_VALUE));
	return leave(enqueue(stream, &(struct task){ .what = FILL, .to = to, .byte = byte, .bytes = bytes }));
}

static cu_result launch(struct cu_stream *s, struct cu_function *f, const unsigned grid[3], const unsigned block[3],
			unsigned shared_memory, void **parameters)
{
	if (!is_function(f))
		return misuse(INVALID_HANDLE);
	unsigned allowed = f->dynamic_shared > 48 << 10 ? (unsigned)f->dynamic_shared : 48 << 10;
	if (!grid[0] || !grid[1] || !grid[2] || grid[1] > 65535 || grid[2] > 65535 || !block[0] || block[0] > MAX_THREADS ||
	    block[1] != 1 || block[2] != 1 || shared_memory > allowed)
		return INVALID_VALUE;
	return enqueue(s, &(struct task){ .what = KERNEL, .kernel = f->kernel, .own = parameters[0],
					  .own_bytes = f->kernel ? f->kernel->args_bytes : 0 });
}

cu_result cuLaunchKernel(struct cu_function *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
			 unsigned block_y, unsigned block_z, unsigned shared_memory, struct cu_stream *stream,
			 void **parameters, void **extra)
{
	ENTER_CONTEXT(cuLaunchKernel);
	const unsigned grid[3] = { grid_x, grid_y, grid_z }, block[3] = { block_x, block_y, block_z };
	return leave(extra ? misuse(INVALID_VALUE) : launch(stream, function, grid, block, shared_memory, parameters));
}

#ifndef FAKE_PLAIN
cu_result cuLaunchKernelEx(const struct cu_launch_config *config, struct cu_function *function, void **parameters, void **extra)
{
	ENTER_CONTEXT(cuLaunchKernelEx);
	if (extra || config->n_attributes != 1 || config->attributes[0].id != CU_LAUNCH_EARLY ||
	    config->attributes[0].value.early != 1)
		return leave(misuse(INVALID_VALUE));
	fake.n_early++;
	return leave(launch(config->stream, function, config->grid, config->block, config->shared_memory, parameters));
}
#endif

/* ---- Graphs ---- */

cu_result cuStreamBeginCapture(struct cu_stream *stream, unsigned mode)
{
	ENTER_CONTEXT(cuStreamBeginCapture);
	if (!link_to(stream, STREAM) || stream->capturing || mode != CU_CAPTURE_THREAD_LOCAL)
		return leave(misuse(INVALID_VALUE));
	stream->capturing = make_graph(sizeof *stream->capturing, &fake.graphs);
	stream->invalidated = false;
	stream->thread = pthread_self();
	return leave(CU_OK);
}

cu_result cuStreamEndCapture(struct cu_stream *stream, struct cu_graph **out)
{
	*out = NULL;
	ENTER_CONTEXT(cuStreamEndCapture);
	if (!link_to(stream, STREAM) || !stream->capturing || !pthread_equal(stream->thread, pthread_self()))
		return leave(misuse(INVALID_VALUE));
	if (stream->invalidated) {
		drop_capture(stream);
		stream->invalidated = false;
		return leave(CAPTURE_INVALIDATED);
	}
	*out = stream->capturing;
	stream->capturing = NULL;
	return leave(CU_OK);
}

cu_result cuGraphDestroy(struct cu_graph *graph)
{
	ENTER(cuGraphDestroy);
	return leave(destroy_graph(graph));
}

#ifndef FAKE_LACKING
cu_result cuGraphInstantiateWithFlags(struct cu_graph_exec **out, struct cu_graph *graph, unsigned long long flags)
{
	ENTER_CONTEXT(cuGraphInstantiateWithFlags);
	if (flags)
		return leave(misuse(INVALID_VALUE));
	struct cu_graph_exec *e = make_graph(sizeof *e, &fake.execs);
	for (int i = 0; i < graph->tasks.n; i++)
		append(&e->graph.tasks, &graph->tasks.task[i]);
	e->context = current();
	*out = e;
	return leave(CU_OK);
}
#endif

/* What a graph needs of the GPU's memory it has from here on: a driver would take it with the first launch at the latest. */
cu_result cuGraphUpload(struct cu_graph_exec *exec, struct cu_stream *stream)
{
	ENTER_CONTEXT(cuGraphUpload);
	if (!link_to(stream, STREAM) || stream->capturing)
		return leave(misuse(INVALID_HANDLE));
	size_t bytes = fake.graph_bytes * (size_t)exec->graph.tasks.n;
	if (bytes > current()->gpu->memory - current()->used)
		return leave(CU_OUT_OF_MEMORY);
	exec->bytes += bytes;
	exec->context->used += bytes;
	return leave(CU_OK);
}

cu_result cuGraphLaunch(struct cu_graph_exec *exec, struct cu_stream *stream)
{
	ENTER_CONTEXT(cuGraphLaunch);
	if (!link_to(stream, STREAM) || stream->capturing)
		return leave(misuse(INVALID_HANDLE));
	for (int i = 0; i < exec->graph.tasks.n; i++)
		append(&stream->queue, &exec->graph.tasks.task[i]);
	return leave(CU_OK);
}

cu_result cuGraphExecDestroy(struct cu_graph_exec *exec)
{
	ENTER(cuGraphExecDestroy);
	if (is_alive(exec->context))
		exec->context->used -= exec->bytes;
	return leave(destroy_graph(&exec->graph));
}

/* ---- Time ---- */

cu_result cuEventCreate(struct cu_event **out, unsigned flags)
{
	ENTER_CONTEXT(cuEventCreate);
	if (flags)
		return leave(misuse(INVALID_VALUE));
	*out = make(EVENT, sizeof **out);
	return leave(CU_OK);
}

cu_result cuEventDestroy(struct cu_event *event)
{
	ENTER_CONTEXT(cuEventDestroy);
	perform_everything();
	return leave(destroy(event, EVENT));
}

cu_result cuEventRecord(struct cu_event *event, struct cu_stream *stream)
{
	ENTER_CONTEXT(cuEventRecord);
	if (!link_to(event, EVENT))
		return leave(misuse(INVALID_HANDLE));
	cu_result rc = enqueue(stream, &(struct task){ .what = EVENT_RECORD, .event = event });
	event->pending += rc == CU_OK && !stream->capturing;
	return leave(rc);
}

cu_result cuEventSynchronize(struct cu_event *event)
{
	ENTER_CONTEXT(cuEventSynchronize);
	if (!link_to(event, EVENT))
		return leave(misuse(INVALID_HANDLE));
	/* Not further than to its last record. */
	for (struct object *o = current()->objects; o; o = o->next)
		while (o->kind == STREAM && event->pending && !is_idle((struct cu_stream *)o))
			perform_one((struct cu_stream *)o);
	return leave(CU_OK);
}

cu_result cuEventElapsedTime(float *ms, struct cu_event *from, struct cu_event *to)
{
	ENTER_CONTEXT(cuEventElapsedTime);
	if (!link_to(from, EVENT) || !link_to(to, EVENT) || from->pending || to->pending)
		return leave(misuse(INVALID_HANDLE));
	*ms = (float)(to->at - from->at);
	return leave(CU_OK);
}
