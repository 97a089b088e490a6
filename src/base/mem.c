#include "mem.h"

#include "status.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Below this a zeroed block comes from the heap; above, from mmap, untouched until used. */
#define PAGES_MIN_BYTES ((size_t)1 << 20)
/* The smallest page of any machine, and the huge page of those that have it. */
#define PAGE ((size_t)4096)
#define HUGE_PAGE ((size_t)2 << 20)

/* The two process-wide counters of the allocator; everything else in verbatim is passed around. */
static _Atomic uint64_t n_calls;
static _Atomic uint64_t fail_from; /* call number that fails; 0: none */
static _Atomic bool fail_persistent;

static bool refused(size_t size)
{
	uint64_t call = atomic_fetch_add_explicit(&n_calls, 1, memory_order_relaxed) + 1;
	uint64_t from = atomic_load_explicit(&fail_from, memory_order_relaxed);
	bool fails = from && (call == from || (call > from && atomic_load(&fail_persistent)));
	if (fails)
		status_fail(VB_ENOMEM, __FILE__, __LINE__,
			    "out of memory: %zu bytes (failed on request of a test)", size);
	return fails;
}

static void *or_fail(void *p, size_t size)
{
	if (!p)
		status_fail(VB_ENOMEM, __FILE__, __LINE__,
			    "out of memory: %zu bytes: free memory or lower --context, --max-batch or "
			    "--kv-memory", size);
	return p;
}

void *mem_alloc(size_t size)
{
	if (refused(size))
		return NULL;
	return or_fail(malloc(size ? size : 1), size);
}

void *mem_calloc(size_t n, size_t size)
{
	if (refused(size))
		return NULL;
	return or_fail(calloc(n ? n : 1, size ? size : 1), size);
}

void *mem_realloc(void *p, size_t n, size_t size)
{
	size_t total;
	if (refused(size))
		return NULL;
	if (__builtin_mul_overflow(n, size, &total))
		return or_fail(NULL, SIZE_MAX);
	return or_fail(realloc(p, total ? total : 1), total);
}

char *mem_strndup(const char *s, size_t n)
{
	char *copy = mem_alloc(n + 1);
	if (!copy)
		return NULL;
	memcpy(copy, s, n);
	copy[n] = '\0';
	return copy;
}

char *mem_strdup(const char *s)
{
	return mem_strndup(s, strlen(s));
}

void mem_free(void *p)
{
	free(p);
}

void *mem_pages(size_t size)
{
	if (refused(size))
		return NULL;
	if (size < PAGES_MIN_BYTES) {
		size_t rounded = (size + 63) & ~(size_t)63;
		void *p = aligned_alloc(64, rounded ? rounded : 64);
		if (p)
			memset(p, 0, rounded ? rounded : 64);
		return or_fail(p, size);
	}
	if (size > SIZE_MAX - HUGE_PAGE - PAGE)
		return or_fail(NULL, size);
	/* Huge pages begin at multiples of their size, and so does what is to lie in them: what is mapped too much goes back. */
	const size_t spare = size < HUGE_PAGE ? 0 : HUGE_PAGE, whole = (size + PAGE - 1) / PAGE * PAGE;
	char *mapped = mmap(NULL, whole + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mapped == MAP_FAILED)
		return or_fail(NULL, size);
	const size_t before = spare ? (HUGE_PAGE - (uintptr_t)mapped % HUGE_PAGE) % HUGE_PAGE : 0;
	if (before > 0)
		munmap(mapped, before);
	if (spare > before)
		munmap(mapped + before + whole, spare - before);
	/* Advice only: 4 KiB pages cost TLB misses on weights and caches; refusal changes nothing. */
	(void)madvise(mapped + before, whole, MADV_HUGEPAGE);
	return mapped + before;
}

void mem_free_pages(void *p, size_t size)
{
	if (!p)
		return;
	if (size < PAGES_MIN_BYTES)
		free(p);
	else
		munmap(p, size);
}

uint64_t mem_count(void)
{
	return atomic_load_explicit(&n_calls, memory_order_relaxed);
}

void mem_fail_at(uint64_t n, bool persistent)
{
	atomic_store(&fail_persistent, persistent);
	atomic_store(&fail_from, n ? mem_count() + n : 0);
}
