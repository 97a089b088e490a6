#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "base/threads.h"

#include <sched.h>
#include <unistd.h>

struct sum {
	int64_t n;
	int64_t partial[64];
};

static void add_share(void *context, int index, int n_workers)
{
	struct sum *s = context;
	int64_t begin, end, total = 0;
	team_share(s->n, 8, index, n_workers, &begin, &end);
	for (int64_t i = begin; i < end; i++)
		total += i;
	s->partial[index] = total;
}

static void check_sum(struct team *t, int64_t n)
{
	struct sum s = { .n = n };
	team_run(t, add_share, &s);
	int64_t total = 0;
	for (int i = 0; i < team_size(t); i++)
		total += s.partial[i];
	assert_int_equal(total, n * (n - 1) / 2);
}

static void test_every_item_once(void **state)
{
	(void)state;
	for (int n_threads = 1; n_threads <= 5; n_threads++) {
		struct team *t;
		assert_int_equal(team_create(&t, n_threads), VB_OK);
		assert_int_equal(team_size(t), n_threads);
		for (int64_t n = 0; n < 200; n++)
			check_sum(t, n);
		usleep(2000); /* everybody falls asleep, and must wake again */
		for (int64_t n = 0; n < 50; n++)
			check_sum(t, 1000 + n);
		team_destroy(&t);
		assert_null(t);
	}
	check_sum(NULL, 100);
}

struct calls {
	_Atomic int of[32], under_way[32];
};

static void count_call(void *context, int index, int n_workers)
{
	struct calls *c = context;
	assert_int_equal(n_workers, 32);
	assert_int_equal(c->under_way[index]++, 0);
	for (volatile int i = 0; i < index * 20; i++)
		;
	c->under_way[index]--;
	c->of[index]++;
}

/* More threads than may run at once: some come late, and find that their shares were done by the caller. */
static void test_late_workers(void **state)
{
	(void)state;
	enum { RUNS = 3000 };
	struct team *t;
	struct calls c = { 0 };
	assert_int_equal(team_create(&t, 32), VB_OK);
	for (int run = 1; run <= RUNS; run++) {
		team_run(t, count_call, &c);
		for (int i = 0; i < 32; i++)
			assert_int_equal(c.of[i], run);
		if (run % 100 == 0)
			usleep(200); /* everybody falls asleep */
	}
	team_destroy(&t);
}

/* More threads than CPUs: nobody keeps the CPU from the one that is waited for. */
static void test_one_cpu(void **state)
{
	(void)state;
	enum { RUNS = 2000 };
	cpu_set_t before, one;
	int cpu = sched_getcpu();
	struct team *t;
	struct calls c = { 0 };
	CPU_ZERO(&one);
	assert_true(cpu >= 0 && cpu < CPU_SETSIZE);
	CPU_SET(cpu, &one);
	assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
	assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
	assert_int_equal(team_create(&t, 32), VB_OK);
	for (int run = 1; run <= RUNS; run++) {
		team_run(t, count_call, &c);
		for (int i = 0; i < 32; i++)
			assert_int_equal(c.of[i], run);
		if (run % 500 == 0)
			usleep(200);
	}
	team_destroy(&t);
	assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

static void sleep_by_index(void *context, int index, int n_workers)
{
	(void)context, (void)n_workers;
	usleep(index ? 20000 : 1000);
}

static void test_times_of_a_run(void **state)
{
	(void)state;
	struct team *t;
	struct team_time times[2] = { 0 };
	assert_int_equal(team_create(&t, 2), VB_OK);
	team_watch(t, times);
	team_run(t, sleep_by_index, NULL);
	assert_true(times[0].ended - times[0].began >= 0.001);
	assert_true(times[1].ended - times[1].began >= 0.020);
	assert_true(times[1].ended > times[0].began && times[0].began > 0);
	struct team_time before = times[1];
	team_watch(t, NULL);
	team_run(t, sleep_by_index, NULL);
	assert_memory_equal(&before, &times[1], sizeof before);
	team_destroy(&t);
	team_watch(NULL, times);
}

static void test_refusals(void **state)
{
	(void)state;
	struct team *t;
	assert_int_equal(team_create(&t, 0), VB_EINVAL);
	for (uint64_t n = 1; n <= 2; n++) {
		mem_fail_at(n, false);
		assert_int_equal(team_create(&t, 2), VB_ENOMEM);
		assert_null(t);
	}
	mem_fail_at(0, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_item_once),
		cmocka_unit_test(test_late_workers),
		cmocka_unit_test(test_one_cpu),
		cmocka_unit_test(test_times_of_a_run),
		cmocka_unit_test(test_refusals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
