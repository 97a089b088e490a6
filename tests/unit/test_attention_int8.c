/* Attention over int8 caches on numbers that kcheck does not draw: the largest sums, and what is no number. Every row of the machine. */
#include "base/status.h"
#include "hw/hw.h"
#include "kernels/ops/attention.h"
#include "ops/kernels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HEADS = 5, TOKENS = 20, KEYS = 150, D = 512, PAGE = 256 };

struct data {
	float q[TOKENS * HEADS * D], out[TOKENS * HEADS * D];
	int8_t k[PAGE * D], v[PAGE * D];
	float k_scale[PAGE], v_scale[PAGE];
};

static void fill(struct data *x)
{
	for (int i = 0; i < TOKENS * HEADS * D; i++)
		x->q[i] = (float)(i * 29 % 101 - 50) / 64;
	for (int i = 0; i < PAGE * D; i++) {
		x->k[i] = (int8_t)(i * 37 % 255 - 127);
		x->v[i] = (int8_t)(i * 41 % 255 - 127);
	}
	for (int i = 0; i < PAGE; i++) {
		x->k_scale[i] = 0.001f + 0.0001f * (float)(i % 5);
		x->v_scale[i] = 0.002f + 0.0001f * (float)(i % 7);
	}
}

/* Query tokens first..first + n of the sequence's TOKENS last ones. */
static void run_row(int row, struct data *x, int first, int n)
{
	const int64_t position = KEYS - TOKENS + first;
	const int32_t table = 0, q_begin[2] = { 0, n }, kv_len = (int32_t)position + n;
	struct attention_args a = { .q = x->q + first * HEADS * D, .k_cache = x->k, .v_cache = x->v, .k_scale = x->k_scale,
				    .v_scale = x->v_scale, .page_table = &table, .q_begin = q_begin, .kv_len = &kv_len,
				    .out = x->out + first * HEADS * D, .n_seqs = 1, .table_stride = 1, .q_stride = HEADS * D,
				    .out_stride = HEADS * D, .n_heads = HEADS, .n_kv_heads = 1, .head_dim = D, .v_head_dim = D,
				    .page_size = PAGE, .scale = 1, .q_type = DTYPE_F32, .kv_type = DTYPE_I8, .out_type = DTYPE_F32 };
	struct attention_item it = { .kv_head_end = 1, .token_end = n, .piece_end = 1 };
	void *scratch = aligned_alloc(64, (size_t)(attention_scratch_bytes(n * HEADS, D, D) + 63) / 64 * 64);
	assert_non_null(scratch);
	attention_kernel(row)->run(&a, &it, scratch);
	free(scratch);
}

static bool runs(int row)
{
	const struct attention_request r = { .n_heads = HEADS, .n_kv_heads = 1, .head_dim = D, .v_head_dim = D, .q_type = DTYPE_F32,
					     .kv_type = DTYPE_I8, .out_type = DTYPE_F32, .page_size = PAGE, .max_q_len = TOKENS };
	struct hw_facts facts;
	assert_int_equal(hw_facts_probe(&facts), VB_OK);
	return (attention_set.rows[row].needs & ~facts.isa) == 0 && !attention_set.refuse(&r, row);
}

static struct data *new_data(void)
{
	struct data *x = malloc(sizeof *x);
	assert_non_null(x);
	fill(x);
	return x;
}

/* All tokens at once give the bits that each gives alone. */
static void check_alone(int row, struct data *x)
{
	struct data *alone = malloc(sizeof *alone);
	assert_non_null(alone);
	memcpy(alone, x, sizeof *x);
	run_row(row, x, 0, TOKENS);
	for (int t = 0; t < TOKENS; t++)
		run_row(row, alone, t, 1);
	assert_memory_equal(x->out, alone->out, sizeof x->out);
	free(alone);
}

/* Every product as large as it may be, of either sign: the sum of a query's 512 is next to 2^31. */
static void test_largest_sums(void **state)
{
	(void)state;
	for (int row = 0; row < attention_set.n_rows; row++) {
		if (!runs(row))
			continue;
		struct data *x = new_data();
		for (int i = 0; i < TOKENS * HEADS * D; i++)
			x->q[i] = i / D % 2 ? -1.0f : 1.0f;
		/* Of the keys in sight one weighs all: that which agrees with the head. */
		for (int j = 0; j < PAGE; j++) {
			memset(x->k + j * D, j == 3 ? 127 : j == 9 ? -128 : 0, D);
			x->k_scale[j] = 0.01f;
		}
		check_alone(row, x);
		for (int r = 0; r < TOKENS * HEADS; r++)
			for (int i = 0; i < D; i++) {
				int key = r % 2 ? 9 : 3;
				float want = x->v_scale[key] * (float)x->v[key * D + i];
				assert_true(fabsf(x->out[r * D + i] - want) <= 1e-5f);
			}
		free(x);
	}
}

static int count_nan(const float *x, int n)
{
	int nan = 0;
	for (int i = 0; i < n; i++)
		nan += isnan(x[i]) != 0;
	return nan;
}

static void test_no_numbers(void **state)
{
	(void)state;
	for (int row = 0; row < attention_set.n_rows; row++) {
		if (!runs(row))
			continue;
		/* One row's query: the others are what they are. */
		for (int what = 0; what < 2; what++) {
			struct data *x = new_data(), *clean = new_data();
			enum { ROW = 7 * HEADS + 2 };
			run_row(row, clean, 0, TOKENS);
			x->q[ROW * D + 77] = what ? INFINITY : NAN;
			check_alone(row, x);
			assert_int_equal(count_nan(x->out + ROW * D, D), D);
			memcpy(x->out + ROW * D, clean->out + ROW * D, D * sizeof *x->out);
			assert_memory_equal(x->out, clean->out, sizeof x->out);
			free(x);
			free(clean);
		}
		/* A scale: all that see it. Key 140 is seen by the last ten tokens. */
		for (int what = 0; what < 3; what++) {
			struct data *x = new_data();
			enum { SEEN = 10 * HEADS * D };
			if (what < 2)
				(what ? x->k_scale : x->v_scale)[140] = NAN;
			else
				x->v_scale[140] = INFINITY;
			check_alone(row, x);
			assert_int_equal(count_nan(x->out, SEEN), 0);
			for (int i = SEEN; i < 2 * SEEN; i++)
				assert_false(isfinite(x->out[i]) && x->v[140 * D + i % D] != 0);
			free(x);
		}
	}
}

/* Scales so small that their inverse is no number. */
static void test_small_scales(void **state)
{
	(void)state;
	for (int row = 0; row < attention_set.n_rows; row++) {
		if (!runs(row))
			continue;
		struct data *x = new_data(), *ordinary = new_data();
		for (int j = 0; j < PAGE; j++)
			x->v_scale[j] = ordinary->v_scale[j] * 0x1p-110f;
		check_alone(row, x);
		run_row(row, ordinary, 0, TOKENS);
		for (int i = 0; i < TOKENS * HEADS * D; i++)
			assert_true(fabsf(x->out[i] * 0x1p110f - ordinary->out[i]) <= 1e-5f);
		free(x);
		free(ordinary);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_largest_sums),
		cmocka_unit_test(test_no_numbers),
		cmocka_unit_test(test_small_scales),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
