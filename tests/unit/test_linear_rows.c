/* test_linear_rows.c - every row is computed once, whoever computes it, and shares are whole grains. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/status.h"
#include "base/threads.h"
#include "ops/linear_rows.h"

#include <stdatomic.h>
#include <string.h>

#define MOST_ROWS 5000
#define MOST_WORKERS 5

struct work {
	struct linear_rows rows;
	_Atomic int times[MOST_ROWS];
};

static void count(const void *context, int64_t begin, int64_t end)
{
	struct work *w = (struct work *)(uintptr_t)context;
	assert_true(begin < end);
	for (int64_t i = begin; i < end; i++)
		atomic_fetch_add(&w->times[i], 1);
}

static void work_on(void *context, int index, int n_workers)
{
	struct work *w = context;
	linear_rows_run(&w->rows, index, n_workers, count, w);
}

/* Shares follow one another to the end, and begin at lines of results, or at panels where there are enough. */
static void check_shares(const struct linear_rows *r, int n_workers)
{
	int64_t next = 0, grain = r->n < r->panel * n_workers ? 16 : r->panel;
	for (int i = 0; i < n_workers; i++) {
		int64_t begin, end;
		linear_rows_share(r, i, n_workers, &begin, &end);
		assert_int_equal(begin, next);
		assert_true(begin == r->n || begin % grain == 0);
		next = end;
	}
	assert_int_equal(next, r->n);
}

static void test_every_row_once(void **state)
{
	static const int64_t n[] = { 1, 15, 17, 96, 1000, MOST_ROWS }, t[] = { 1, 7, 8, 31, 32, 512 }, slice[] = { 0, 128, 4096 };
	static struct linear_queue queues[MOST_WORKERS];
	static struct work w;
	(void)state;
	for (int workers = 1; workers <= MOST_WORKERS; workers += 2) {
		struct team *team;
		assert_int_equal(team_create(&team, workers), VB_OK);
		for (int i = 0; i < 6 * 6 * 3; i++) {
			w.rows = (struct linear_rows){ .n = n[i % 6], .panel = i % 2 ? 16 : 32, .slice = slice[i / 36], .t = t[i / 6 % 6],
						       .queues = queues };
			memset((void *)w.times, 0, sizeof w.times);
			check_shares(&w.rows, workers);
			linear_rows_begin(&w.rows, workers);
			team_run(team, work_on, &w);
			for (int64_t row = 0; row < MOST_ROWS; row++)
				assert_int_equal(w.times[row], row < w.rows.n);
		}
		team_destroy(&team);
	}
}

/* A worker that comes alone takes the others' shares too. */
static void test_alone(void **state)
{
	static struct linear_queue queues[3];
	static struct work w;
	(void)state;
	w.rows = (struct linear_rows){ .n = 700, .panel = 32, .t = 4, .queues = queues };
	linear_rows_begin(&w.rows, 3);
	work_on(&w, 1, 3);
	for (int64_t row = 0; row < 700; row++)
		assert_int_equal(w.times[row], 1);
	work_on(&w, 0, 3);
	for (int64_t row = 0; row < 700; row++)
		assert_int_equal(w.times[row], 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_row_once),
		cmocka_unit_test(test_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
