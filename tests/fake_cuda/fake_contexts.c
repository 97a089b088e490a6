/* fake_contexts.c - contexts, a stack of them a thread, and the objects that each has. */
#include "fake_internal.h"

#include <stdlib.h>
#include <sys/mman.h>

#define MAX_DEPTH 8

struct cu_context *contexts;
static _Thread_local struct cu_context *stack[MAX_DEPTH];
static _Thread_local int depth;

bool is_alive(const struct cu_context *context)
{
	for (struct cu_context *c = contexts; c; c = c->next)
		if (c == context)
			return true;
	return false;
}

struct cu_context *current(void)
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

void *make(enum kind kind, size_t size)
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

void dispose(struct object *o)
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
struct object **link_to(const void *object, enum kind kind)
{
	for (struct object **o = &current()->objects; *o; o = &(*o)->next)
		if (*o == object && (*o)->kind == kind)
			return o;
	return NULL;
}

cu_result destroy(const void *object, enum kind kind)
{
	struct object **at = link_to(object, kind), *o;
	if (!at)
		return misuse(INVALID_HANDLE);
	o = *at;
	*at = o->next;
	dispose(o);
	return CU_OK;
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

void destroy_contexts(void)
{
	while (contexts)
		destroy_context(contexts);
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
