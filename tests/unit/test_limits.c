#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/status.h"
#include "hw/hw.h"
#include "ops/kernels.h"
#include "ops/limits_measure.h"

#include <string.h>

static uint32_t machine_isa(void)
{
	struct hw_facts facts;
	assert_int_equal(hw_facts_probe(&facts), VB_OK);
	return facts.isa;
}

/* Every row that this machine runs reads every word: changing any one changes the sum by as much. */
static void test_reads_every_word(void **state)
{
	(void)state;
	static _Alignas(64) uint64_t word[4096 / 8];
	const struct limits_request r = { LIMITS_READ, DTYPE_F32 };
	const size_t n = sizeof word / sizeof *word;
	for (int row = 0; row < limits_set.n_rows; row++) {
		if (registry_missing_isa(limits_set.rows[row].needs, machine_isa()) || limits_set.refuse(&r, row))
			continue;
		struct limits_args a = { .work = LIMITS_READ, .data = word, .bytes = sizeof word };
		struct limits_result result;
		uint64_t sum = 0;
		for (size_t i = 0; i < n; i++)
			sum += word[i] = i * 0x9e3779b97f4a7c15u;
		limits_kernel(row)(&a, &result);
		assert_int_equal(result.sum, sum);
		for (size_t i = 0; i < n; i++) {
			word[i] += i + 1;
			limits_kernel(row)(&a, &result);
			assert_int_equal(result.sum, sum + i + 1);
			word[i] -= i + 1;
		}
	}
}

/* The accumulators hold as many products as the row says that it did. */
static void test_multiplies_as_often_as_it_says(void **state)
{
	(void)state;
	int n_run = 0;
	static const enum dtype types[] = { DTYPE_F32, DTYPE_BF16, DTYPE_I8 };
	for (size_t type = 0; type < sizeof types / sizeof *types; type++) {
		const struct limits_request r = { LIMITS_MULTIPLY, types[type] };
		bool bytes = types[type] == DTYPE_I8;
		for (int row = 0; row < limits_set.n_rows; row++) {
			if (registry_missing_isa(limits_set.rows[row].needs, machine_isa()) || limits_set.refuse(&r, row))
				continue;
			for (int64_t rounds = 0; rounds < 100; rounds += 33) {
				struct limits_args a = { .work = LIMITS_MULTIPLY, .x = bytes ? 3 : 1.5f, .w = bytes ? 2 : 0.5f,
							 .rounds = rounds };
				struct limits_result result;
				limits_kernel(row)(&a, &result);
				assert_true(result.total == result.flops / 2 * (bytes ? 6 : 0.75));
				assert_true((result.flops > 0) == (rounds > 0));
			}
			n_run++;
		}
	}
	assert_true(n_run >= 1);
}

static void test_measures_something(void **state)
{
	(void)state;
	struct team *team;
	struct limits l;
	assert_int_equal(team_create(&team, 2), VB_OK);
	const struct limits_setup on = { .team = team, .isa = machine_isa(), .memory = (uint64_t)16 << 20 };
	assert_int_equal(limits_measure(&on, &l), VB_OK);
	double f16;
	assert_int_equal(limits_measure_multiply(&on, DTYPE_F16, 1, &f16), VB_OK);
	team_destroy(&team);
	/* Of any machine, however busy: rates measured one after the other say nothing of each other. */
	const double rates[] = { l.read_bytes_s, l.f32_flops_s, l.bf16_flops_s, l.int8_ops_s, f16 };
	for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
		assert_true(rates[i] > 1e4 && rates[i] < 1e16);
	assert_true(limits_flops_s(&l, DTYPE_F16) == l.f32_flops_s);
}

/* A clock that ticks a second at each look: rates are sizes, and exact. Each run takes two looks. */
static double ticks;

static double ticking(void)
{
	return ticks++;
}

static void test_rates_are_work_by_time(void **state)
{
	(void)state;
	struct team *team;
	assert_int_equal(team_create(&team, 2), VB_OK);
	const struct limits_setup on = { .team = team, .isa = machine_isa(), .memory = (uint64_t)16 << 20, .now = ticking };
	double bytes_s, f16, f32;
	assert_int_equal(limits_measure_read(&on, 2, &bytes_s), VB_OK);
	assert_true(bytes_s == (double)(on.memory / 4)); /* a quarter of the memory a turn */
	assert_int_equal(limits_measure_multiply(&on, DTYPE_F32, 1, &f32), VB_OK);
	assert_int_equal(limits_measure_multiply(&on, DTYPE_F16, 1, &f16), VB_OK);
	team_destroy(&team);
	assert_true(f32 > 0 && f16 == f32); /* widened: the same work */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_every_word),
		cmocka_unit_test(test_multiplies_as_often_as_it_says),
		cmocka_unit_test(test_measures_something),
		cmocka_unit_test(test_rates_are_work_by_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
