/* fake_memory.c - memory of a GPU and pinned memory; addresses first, memory later. */
#include "fake_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define POISONED ((size_t)1 << 20) /* bytes of an allocation, at most: more would take long */

/* Memory of the current context that begins there. */
static struct memory *memory_at(const void *begin, enum kind kind)
{
	for (struct object *o = current()->objects; o; o = o->next)
		if (o->kind == kind && ((struct memory *)o)->begin == begin)
			return (struct memory *)o;
	return NULL;
}

bool is_within(const void *p, size_t bytes, enum kind kind)
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
