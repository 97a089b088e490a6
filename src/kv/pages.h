/* pages.h - one pool of pages and a table a sequence: which page of the cache belongs to whom, without sharing.
 * Bookkeeping on the host; no memory of keys or values is touched here.
 *
 * Invariant: every page is either free or in exactly one block table; free + used = all.
 */
#ifndef KV_PAGES_H
#define KV_PAGES_H

#include <stdint.h>

struct page_pool;

int page_pool_create(struct page_pool **out, int64_t n_pages, int64_t page_size);
void page_pool_destroy(struct page_pool **pool);
int64_t page_pool_free_pages(const struct page_pool *pool);
int64_t page_pool_page_size(const struct page_pool *pool);

/* The pages of one sequence: page[i] holds its tokens i * page_size .. */
struct block_table {
	int32_t *page;    /* owned; capacity entries, taken once */
	int64_t n_pages, capacity;
};

int block_table_init(struct block_table *table, int64_t capacity);
/* Gives its pages back first. */
void block_table_fini(struct block_table *table, struct page_pool *pool);

/* Takes pages until `n_tokens` tokens have room. VB_ELIMIT where the pool or the table is too small; the table then
 * keeps what it had. Allocates nothing. */
int block_table_reserve(struct block_table *table, struct page_pool *pool, int64_t n_tokens);
/* Gives back the pages behind the first `n_tokens` tokens. */
void block_table_truncate(struct block_table *table, struct page_pool *pool, int64_t n_tokens);

/* page * page_size + token in page, for the token at `position`, which has room. */
int64_t block_table_slot(const struct block_table *table, const struct page_pool *pool, int64_t position);

#endif
