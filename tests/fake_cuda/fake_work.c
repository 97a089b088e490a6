/* fake_work.c - streams: what is asked of them, and when it happens; events. */
#include "fake_internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- Tasks ---- */

void drop_tasks(struct tasks *t)
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

void append(struct tasks *list, const struct task *t)
{
	/* Room for 1, 2, 4 .. */
	if ((list->n & (list->n - 1)) == 0)
		list->task = realloc(list->task, sizeof *t * (size_t)(list->n ? 2 * list->n : 1));
	if (!list->task)
		abort();
	list->task[list->n] = *t;
	list->task[list->n++].own = copy_of(t->own, t->own_bytes);
}

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

bool is_idle(const struct cu_stream *s)
{
	return s->n_done == s->queue.n;
}

void perform_one(struct cu_stream *s)
{
	perform(&s->queue.task[s->n_done++]);
	if (!is_idle(s))
		return;
	drop_tasks(&s->queue);
	s->n_done = 0;
}

void perform_all(struct cu_stream *s)
{
	while (!is_idle(s))
		perform_one(s);
}

void perform_everything(void)
{
	for (struct object *o = current()->objects; o; o = o->next)
		if (o->kind == STREAM)
			perform_all((struct cu_stream *)o);
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

cu_result launch(struct cu_stream *s, struct cu_function *f, const unsigned grid[3], const unsigned block[3],
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
