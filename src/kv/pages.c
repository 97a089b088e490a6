#include "kv/pages.h"

#include "base/mem.h"
#include "base/status.h"

struct page_pool {
	int64_t n_pages, page_size, n_free;
	int32_t *free_page; /* a stack: the page given back last is taken first, while it is warm */
};

int page_pool_create(struct page_pool **out, int64_t n_pages, int64_t page_size)
{
	*out = NULL;
	if (n_pages < 1 || n_pages > INT32_MAX)
		FAIL(VB_EINVAL, "invalid number of pages: %lld: use a larger --page-size", (long long)n_pages);
	struct page_pool *pool = mem_calloc(1, sizeof *pool);
	if (!pool)
		return VB_ENOMEM;
	pool->free_page = mem_calloc((size_t)n_pages, sizeof *pool->free_page);
	if (!pool->free_page) {
		mem_free(pool);
		return VB_ENOMEM;
	}
	pool->n_pages = pool->n_free = n_pages;
	pool->page_size = page_size;
	for (int64_t i = 0; i < n_pages; i++)
		pool->free_page[i] = (int32_t)(n_pages - 1 - i);
	*out = pool;
	return VB_OK;
}

void page_pool_destroy(struct page_pool **pool)
{
	if (!*pool)
		return;
	mem_free((*pool)->free_page);
	mem_free(*pool);
	*pool = NULL;
}

int64_t page_pool_free_pages(const struct page_pool *pool)
{
	return pool->n_free;
}

int64_t page_pool_page_size(const struct page_pool *pool)
{
	return pool->page_size;
}

int block_table_init(struct block_table *table, int64_t capacity)
{
	*table = (struct block_table){ .capacity = capacity };
	table->page = mem_calloc((size_t)capacity, sizeof *table->page);
	return table->page ? VB_OK : VB_ENOMEM;
}

void block_table_fini(struct block_table *table, struct page_pool *pool)
{
	if (pool)
		block_table_truncate(table, pool, 0);
	mem_free(table->page);
	*table = (struct block_table){ 0 };
}

static int64_t pages_for(const struct page_pool *pool, int64_t n_tokens)
{
	return (n_tokens + pool->page_size - 1) / pool->page_size;
}

int block_table_reserve(struct block_table *table, struct page_pool *pool, int64_t n_tokens)
{
	int64_t wanted = pages_for(pool, n_tokens);
	if (wanted > table->capacity)
		FAIL(VB_ELIMIT, "sequence too long: %lld tokens: at most %lld: raise --context",
		     (long long)n_tokens, (long long)(table->capacity * pool->page_size));
	if (wanted - table->n_pages > pool->n_free)
		FAIL(VB_ELIMIT, "KV cache full: %lld pages wanted, %lld free: raise --kv-memory",
		     (long long)(wanted - table->n_pages), (long long)pool->n_free);
	while (table->n_pages < wanted)
		table->page[table->n_pages++] = pool->free_page[--pool->n_free];
	return VB_OK;
}

void block_table_truncate(struct block_table *table, struct page_pool *pool, int64_t n_tokens)
{
	int64_t kept = pages_for(pool, n_tokens);
	while (table->n_pages > kept)
		pool->free_page[pool->n_free++] = table->page[--table->n_pages];
}

int64_t block_table_slot(const struct block_table *table, const struct page_pool *pool, int64_t position)
{
	return table->page[position / pool->page_size] * pool->page_size + position % pool->page_size;
}
