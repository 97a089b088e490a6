/* mem.h - the one allocator.
 *
 * All heap memory of the library comes from here, so that tests can count allocations (a step must
 * make none) and make the n-th one fail. Failing calls set the thread's message and return NULL.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As malloc/calloc/realloc, with size 0 giving a unique pointer and n * size checked. */
void *mem_alloc(size_t size) __attribute__((malloc, alloc_size(1)));
void *mem_calloc(size_t n, size_t size) __attribute__((malloc, alloc_size(1, 2)));
/* On failure the old block is untouched and still owned by the caller. */
void *mem_realloc(void *p, size_t n, size_t size);
char *mem_strdup(const char *s) __attribute__((malloc));
char *mem_strndup(const char *s, size_t n) __attribute__((malloc));
void mem_free(void *p);

/* Zeroed memory aligned to 64 bytes or more, from the page allocator where it is large (so that it
 * is first touched by whoever uses it). Freed by mem_free_pages with the same size. */
void *mem_pages(size_t size);
void mem_free_pages(void *p, size_t size);

/* Allocation calls made by this process so far (all threads). */
uint64_t mem_count(void);

/* Makes the n-th allocation from now on fail (1 = the next), once or from then on; 0 = none. For tests. */
void mem_fail_at(uint64_t n, bool persistent);

#endif
