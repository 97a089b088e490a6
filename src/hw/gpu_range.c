/* gpu_range.c - addresses of a GPU, and the memory that is put behind them later. */
#include "hw/gpu_internal.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdint.h>

static struct cu_memory_kind kind_of(const struct gpu *g)
{
	return (struct cu_memory_kind){ .type = CU_MEMORY_PINNED, .place = { CU_MEMORY_ON_DEVICE, g->device } };
}

/* Rounds up to whole pages of the GPU. In the context. */
static int whole_pages(struct gpu *g, size_t *bytes)
{
	size_t page = 0;
	const struct cu_memory_kind kind = kind_of(g);
	TRY(gpu_failure(g, VB_EDEVICE, g->d.cuMemGetAllocationGranularity(&page, &kind, CU_GRANULARITY_MINIMUM),
			"cuMemGetAllocationGranularity"));
	if (!page || *bytes > SIZE_MAX - page)
		FAIL(VB_ENOMEM, "out of GPU addresses: %zu bytes on GPU %d", *bytes, g->index);
	*bytes = (*bytes + page - 1) / page * page;
	return VB_OK;
}

static int reserve(struct gpu *g, struct gpu_range *r, size_t bytes, const char *what)
{
	r->bytes = bytes;
	TRY(whole_pages(g, &r->bytes));
	return gpu_memory_failure(g, g->d.cuMemAddressReserve(&r->begin, r->bytes, 0, 0, 0), "cuMemAddressReserve", r->bytes,
				  what);
}

int gpu_reserve(struct gpu *g, void **out, size_t bytes, const char *what)
{
	*out = NULL;
	TRY(gpu_check_idle(g, "reserve addresses"));
	if (!bytes)
		return VB_OK;
	struct gpu_range *ranges = mem_realloc(g->ranges, (size_t)g->n_ranges + 1, sizeof *ranges);
	if (!ranges)
		return VB_ENOMEM;
	g->ranges = ranges;
	struct gpu_range r = { 0 };
	if (!gpu_enter(g))
		return gpu_first_error(g);
	int rc = reserve(g, &r, bytes, what);
	gpu_leave(g);
	TRY(rc);
	ranges[g->n_ranges++] = r;
	*out = (void *)(uintptr_t)r.begin;
	return VB_OK;
}

static struct gpu_range *range_at(const struct gpu *g, cu_address begin)
{
	for (int i = 0; i < g->n_ranges; i++)
		if (g->ranges[i].begin == begin)
			return &g->ranges[i];
	return NULL;
}

static int back(struct gpu *g, struct gpu_range *r, size_t bytes, const char *what)
{
	const struct cu_memory_kind kind = kind_of(g);
	const struct cu_access access = { kind.place, CU_MEMORY_READ_WRITE };
	cu_memory memory;
	TRY(whole_pages(g, &bytes));
	CHECK(bytes <= r->bytes && !r->backed);
	TRY(gpu_memory_failure(g, g->d.cuMemCreate(&memory, bytes, &kind, 0), "cuMemCreate", bytes, what));
	cu_result mapped = g->d.cuMemMap(r->begin, bytes, 0, memory, 0);
	if (mapped == CU_OK)
		r->backed = bytes;
	/* What is mapped keeps it; where mapping failed, it is gone now. */
	cu_result released = g->d.cuMemRelease(memory);
	TRY(gpu_memory_failure(g, mapped, "cuMemMap", bytes, what));
	TRY(gpu_failure(g, VB_EDEVICE, released, "cuMemRelease"));
	return gpu_failure(g, VB_EDEVICE, g->d.cuMemSetAccess(r->begin, bytes, &access, 1), "cuMemSetAccess");
}

int gpu_back(struct gpu *g, void *p, size_t bytes, const char *what)
{
	TRY(gpu_check_idle(g, "allocate"));
	if (!bytes)
		return VB_OK;
	struct gpu_range *r = range_at(g, (uintptr_t)p);
	CHECK(r);
	if (!gpu_enter(g))
		return gpu_first_error(g);
	int rc = back(g, r, bytes, what);
	gpu_leave(g);
	return rc;
}

/* Both calls are made, whatever the first says. */
static void free_range(struct gpu *g, const struct gpu_range *r)
{
	if (r->backed)
		gpu_note(g, g->d.cuMemUnmap(r->begin, r->backed), "cuMemUnmap");
	gpu_note(g, g->d.cuMemAddressFree(r->begin, r->bytes), "cuMemAddressFree");
}

bool gpu_range_free(struct gpu *g, cu_address begin)
{
	struct gpu_range *r = range_at(g, begin);
	if (!r)
		return false;
	/* Unlike freeing memory, this waits for nothing. */
	if (gpu_queue_open(g))
		gpu_note(g, g->d.cuStreamSynchronize(g->stream), "cuStreamSynchronize before cuMemUnmap");
	free_range(g, r);
	*r = g->ranges[--g->n_ranges];
	return true;
}

void gpu_ranges_free_all(struct gpu *g)
{
	for (int i = 0; i < g->n_ranges; i++)
		free_range(g, &g->ranges[i]);
	g->n_ranges = 0;
}
