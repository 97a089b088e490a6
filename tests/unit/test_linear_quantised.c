/* Quantised linears on numbers that kcheck does not draw: not finite, too large, too small. Every row of the machine. */
#include "hw/hw.h"
#include "kernels/ops/linear.h"
#include "ops/kernels.h"
#include "base/mem.h"
#include "base/status.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { T = 40, N = 33, K = 70 };

static void fill(struct weight_matrix *m, enum weight_format format, int8_t *q, uint16_t *scale, uint8_t *zero)
{
	for (int i = 0; i < N * K; i++) /* no byte is -128, which q8 never has */
		q[i] = (int8_t)(i * 37 % 255 - 127);
	for (int i = 0; i < N * 3; i++)
		scale[i] = f32_to_f16(0.01f + 0.001f * (float)(i % 7));
	for (int i = 0; i < N * 3; i++)
		zero[i] = (uint8_t)(i * 29 % 129);
	*m = (struct weight_matrix){ .format = format, .n = N, .k = K, .group = 32, .data = q, .scale = scale, .zero = zero };
}

/* What is put into one value of each token. */
static float strange(int t)
{
	static const float values[] = { NAN, INFINITY, -INFINITY, 0x1p100f, -0x1p120f, 0x1p99f, 0x1p-89f, 0x1p-91f, 0x1p-140f };
	return values[t % (int)(sizeof values / sizeof *values)];
}

static void run_row(int row, const struct weight_matrix *m, const float *x, int64_t t, float *y)
{
	const struct linear_request r = { .x_type = DTYPE_F32, .n = N, .k = K, .format = m->format, .group = 32 };
	const struct linear_kernel *k = linear_kernel(row);
	size_t packed_bytes = k->pack ? (size_t)k->packed_bytes(&r) : 0, scratch_bytes = k->prepare ? (size_t)k->scratch_bytes(&r, t) : 0;
	void *packed = mem_pages(packed_bytes), *scratch = mem_pages(scratch_bytes);
	struct linear_args a = { .x = x, .y = y, .t = t, .n = N, .k = K, .x_stride = K, .y_stride = N, .x_type = DTYPE_F32,
				 .matrix = m, .packed = packed, .scratch = scratch };
	if (k->pack)
		k->pack(m, packed, 0, (N + k->panel - 1) / k->panel);
	if (k->prepare)
		k->prepare(&a, 0, t);
	k->run(&a, 0, N);
	mem_free_pages(packed, packed_bytes);
	mem_free_pages(scratch, scratch_bytes);
}

static void check_strange_numbers(enum weight_format format)
{
	static int8_t q[N * K];
	static uint16_t scale[N * 3];
	static uint8_t zero[N * 3];
	static float x[T * K], y[T * N], alone[N], expected[T * N];
	const struct linear_request r = { .x_type = DTYPE_F32, .n = N, .k = K, .format = format, .group = 32 };
	struct weight_matrix m;
	struct hw_facts facts;
	int n_run = 0;
	fill(&m, format, q, scale, zero);
	/* Every other token is ordinary; of the rest the first group, or all, is strange. */
	for (int i = 0; i < T * K; i++)
		x[i] = (float)(i % 19 - 9) / 4;
	for (int t = 0; t < T; t += 2)
		for (int k = 0; k < (t % 4 ? 1 : K); k++)
			x[t * K + k] = strange(t / 2);
	assert_int_equal(hw_facts_probe(&facts), VB_OK);
	run_row(0, &m, x, T, expected);
	for (int t = 0; t < T; t++)
		for (int n = 0; n < N; n++) {
			float largest = t % 2 ? 1 : fabsf(strange(t / 2));
			bool numbers = largest < 0x1p100f; /* not so where it is NaN */
			assert_true(isnan(expected[t * N + n]) != numbers);
			if (t % 4 == 0 && largest < 0x1p-90f)
				assert_true(expected[t * N + n] == 0);
		}
	for (int row = 1; row < linear_set.n_rows; row++) {
		if (registry_missing_isa(linear_set.rows[row].needs, facts.isa) || linear_set.refuse(&r, row))
			continue;
		run_row(row, &m, x, T, y);
		for (int i = 0; i < T * N; i++)
			assert_true(isnan(y[i]) ? isnan(expected[i]) : memcmp(&y[i], &expected[i], sizeof *y) == 0);
		for (int t = 0; t < T; t += 7) {
			run_row(row, &m, x + t * K, 1, alone);
			assert_memory_equal(alone, y + t * N, sizeof alone);
		}
		n_run++;
	}
	assert_true(n_run > 0 || !(facts.isa & ISA_AVX2));
}

static void test_strange_numbers(void **state)
{
	(void)state;
	check_strange_numbers(WEIGHT_Q8);
	check_strange_numbers(WEIGHT_Q6);
	check_strange_numbers(WEIGHT_Q4);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_strange_numbers) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
