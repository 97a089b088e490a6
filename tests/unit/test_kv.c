/* Pages and block tables against a naive model, by random operations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"
#include "kv/pages.h"

#include <stdbool.h>
#include <string.h>

enum { TABLES = 7, PAGES = 40, CAPACITY = 12 };

/* What is true after every operation: every page has one owner, and tables hold what the model says. */
static void check(const struct page_pool *pool, const struct block_table *tables, const int64_t *tokens)
{
	bool owned[PAGES] = { 0 };
	int64_t used = 0, size = page_pool_page_size(pool);
	for (int t = 0; t < TABLES; t++) {
		assert_int_equal(tables[t].n_pages, (tokens[t] + size - 1) / size);
		for (int64_t i = 0; i < tables[t].n_pages; i++) {
			int32_t page = tables[t].page[i];
			assert_in_range(page, 0, PAGES - 1);
			assert_false(owned[page]);
			owned[page] = true;
			used++;
		}
		for (int64_t p = 0; p < tokens[t]; p++)
			assert_int_equal(block_table_slot(&tables[t], pool, p),
					 tables[t].page[p / size] * size + p % size);
	}
	assert_int_equal(used + page_pool_free_pages(pool), PAGES);
}

static int64_t draw(uint32_t i, uint32_t what, int64_t n)
{
	return (int64_t)(rng_uniform(21, RNG_TEST, i, what) * (double)n);
}

static void run_random(int64_t page_size)
{
	struct page_pool *pool;
	struct block_table tables[TABLES];
	int64_t tokens[TABLES] = { 0 };
	int refused_table = 0, refused_pool = 0, given = 0;
	assert_int_equal(page_pool_create(&pool, PAGES, page_size), VB_OK);
	assert_int_equal(page_pool_page_size(pool), page_size);
	for (int t = 0; t < TABLES; t++)
		assert_int_equal(block_table_init(&tables[t], CAPACITY), VB_OK);
	uint64_t allocations = mem_count();
	for (uint32_t i = 0; i < 5000; i++) {
		int t = (int)draw(i, 0, TABLES);
		int64_t n = draw(i, 1, (CAPACITY + 3) * page_size);
		if (draw(i, 2, 3) == 0) {
			block_table_truncate(&tables[t], pool, n);
			tokens[t] = n < tokens[t] ? n : tokens[t];
			given++;
			check(pool, tables, tokens);
			continue;
		}
		struct block_table before = tables[t];
		int32_t pages[CAPACITY];
		memcpy(pages, before.page, (size_t)before.n_pages * sizeof *pages);
		int64_t free = page_pool_free_pages(pool), wanted = (n + page_size - 1) / page_size;
		int rc = block_table_reserve(&tables[t], pool, n);
		if (wanted > CAPACITY || wanted - before.n_pages > free) {
			assert_int_equal(rc, VB_ELIMIT);
			assert_non_null(strstr(vb_errmsg(), wanted > CAPACITY ? "--context" : "--kv-memory"));
			assert_int_equal(tables[t].n_pages, before.n_pages);
			assert_int_equal(page_pool_free_pages(pool), free);
			*(wanted > CAPACITY ? &refused_table : &refused_pool) += 1;
		} else {
			assert_int_equal(rc, VB_OK);
			tokens[t] = n > tokens[t] ? n : tokens[t];
		}
		/* What it had stays where it was. */
		assert_memory_equal(tables[t].page, pages, (size_t)before.n_pages * sizeof *pages);
		check(pool, tables, tokens);
	}
	assert_int_equal(mem_count(), allocations);
	assert_true(refused_table > 100 && refused_pool > 100 && given > 100);
	for (int t = 0; t < TABLES; t++) {
		block_table_fini(&tables[t], pool);
		assert_null(tables[t].page);
	}
	assert_int_equal(page_pool_free_pages(pool), PAGES);
	page_pool_destroy(&pool);
	assert_null(pool);
}

static void test_random_operations(void **state)
{
	(void)state;
	run_random(1);
	run_random(16);
}

/* Every page is handed out before there is none left. */
static void test_whole_pool(void **state)
{
	(void)state;
	struct page_pool *pool;
	struct block_table a, b;
	assert_int_equal(page_pool_create(&pool, 5, 4), VB_OK);
	assert_int_equal(block_table_init(&a, 5), VB_OK);
	assert_int_equal(block_table_init(&b, 5), VB_OK);
	assert_int_equal(block_table_reserve(&a, pool, 20), VB_OK);
	assert_int_equal(page_pool_free_pages(pool), 0);
	assert_int_equal(block_table_reserve(&b, pool, 1), VB_ELIMIT);
	assert_int_equal(block_table_reserve(&b, pool, 0), VB_OK);
	assert_int_equal(block_table_reserve(&a, pool, 20), VB_OK);
	assert_int_equal(block_table_reserve(&a, pool, 21), VB_ELIMIT);
	block_table_truncate(&a, pool, 17); /* within the last page */
	assert_int_equal(page_pool_free_pages(pool), 0);
	block_table_truncate(&a, pool, 16);
	assert_int_equal(block_table_reserve(&b, pool, 4), VB_OK);
	block_table_fini(&a, pool);
	block_table_fini(&b, pool);
	page_pool_destroy(&pool);
}

static void test_failures(void **state)
{
	(void)state;
	struct page_pool *pool;
	struct block_table table;
	assert_int_equal(page_pool_create(&pool, 0, 4), VB_EINVAL);
	assert_null(pool);
	assert_int_equal(page_pool_create(&pool, (int64_t)1 << 40, 4), VB_EINVAL);
	for (uint64_t n = 1; n <= 2; n++) {
		mem_fail_at(n, false);
		assert_int_equal(page_pool_create(&pool, 8, 4), VB_ENOMEM);
		assert_null(pool);
	}
	mem_fail_at(1, false);
	assert_int_equal(block_table_init(&table, 3), VB_ENOMEM);
	mem_fail_at(0, false);
	block_table_fini(&table, NULL);
	page_pool_destroy(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_operations),
		cmocka_unit_test(test_whole_pool),
		cmocka_unit_test(test_failures),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
