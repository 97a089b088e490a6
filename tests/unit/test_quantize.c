#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/dtype.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"
#include "hw/hw.h"
#include "kernels/ops/weight_matrix.h"
#include "quant/quantize.h"
#include "quant/quantize_matrix.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define K_MAX 1100

struct row {
	int64_t k;
	float x[K_MAX];
	uint8_t data[K_MAX + 8], zero[K_MAX];
	uint16_t scale[K_MAX];
	bool good;
	struct weight_matrix m;
};

/* Normal deviates, near enough: sums of four uniform numbers. */
static void draw(struct row *r, int64_t k, float size, uint64_t seed)
{
	r->k = k;
	for (int64_t i = 0; i < k; i++) {
		uint32_t w[4];
		rng_block(seed, RNG_WEIGHTS, 0, (uint32_t)i, w);
		r->x[i] = 0;
		for (int j = 0; j < 4; j++)
			r->x[i] += size * ((float)w[j] * 0x1p-32f - 0.5f);
	}
}

static void quantise_by(uint32_t isa, struct row *r, enum weight_format format)
{
	memset(r->data, 0xa5, sizeof r->data);
	memset(r->scale, 0xa5, sizeof r->scale);
	memset(r->zero, 0xa5, sizeof r->zero);
	r->m = (struct weight_matrix){ .format = format, .n = 1, .k = r->k, .group = 32, .data = r->data, .scale = r->scale,
				       .zero = format == WEIGHT_Q4 ? r->zero : NULL };
	const struct quantizer *by = quantizer_for(isa);
	if (format == WEIGHT_Q8)
		r->good = by->q8(r->x, r->k, (int8_t *)r->data, r->scale);
	else if (format == WEIGHT_Q6)
		r->good = by->q6(r->x, r->k, r->data, r->scale);
	else
		r->good = by->q4(r->x, r->k, r->data, r->scale, r->zero);
	assert_int_equal(r->data[weight_row_bytes(&r->m)], 0xa5);
	assert_int_equal(r->scale[weight_groups(&r->m)], 0xa5a5);
	assert_int_equal(r->zero[weight_groups(&r->m)], 0xa5);
}

static void quantise(struct row *r, enum weight_format format)
{
	quantise_by(0, r, format);
}

static const enum weight_format formats[] = { WEIGHT_Q8, WEIGHT_Q6, WEIGHT_Q4 };
enum { N_FORMATS = sizeof formats / sizeof *formats };

/* No weight is off by more than half a step (and what rounding the scale costs at the ends). */
static void test_errors(void **state)
{
	(void)state;
	static const int64_t sizes[] = { 1, 2, 7, 31, 32, 33, 64, 95, 1024, 1055, 1100 };
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		for (int f = 0; f < N_FORMATS; f++)
			for (uint64_t seed = 0; seed < 20; seed++) {
				struct row r;
				draw(&r, sizes[i], 0.05f, seed);
				quantise(&r, formats[f]);
				assert_true(r.good);
				for (int64_t g = 0; g < weight_groups(&r.m); g++) {
					float low = 0, high = 0;
					for (int64_t k = 32 * g; k < 32 * g + 32 && k < r.k; k++) {
						low = fminf(low, r.x[k]);
						high = fmaxf(high, r.x[k]);
					}
					float largest = fmaxf(-low, high);
					float steps[] = { largest / 127, largest / 31, (high - low) / 15 };
					/* Steps of 8 bits may be 127/120 of the plain ones; of 6 and 4 bits the ends may be cut,
					 * for the sake of the others. */
					static const float mosts[] = { 0.54f, 1.2f, 1.6f };
					float step = steps[f], most = mosts[f];
					for (int64_t k = 32 * g; k < 32 * g + 32 && k < r.k; k++)
						if (fabsf(weight_value(&r.m, 0, k) - r.x[k]) > most * step)
							fail_msg("%s, %lld columns, seed %llu: column %lld: %g became %g, a step is %g",
								 weight_format_name(formats[f]), (long long)r.k,
								 (unsigned long long)seed, (long long)k, (double)r.x[k],
								 (double)weight_value(&r.m, 0, k), (double)step);
				}
			}
}

static double squares_of(const struct row *r)
{
	double all = 0;
	for (int64_t k = 0; k < r->k; k++) {
		double d = (double)weight_value(&r->m, 0, k) - r->x[k];
		all += d * d;
	}
	return all;
}

/* Of 8 and 6 bits: what the plain scale leaves, as one would write it down. */
static double plain_squares(const struct row *r, double high)
{
	double all = 0, most = 0;
	for (int64_t k = 0; k < r->k; k++)
		most = fmax(most, fabs((double)r->x[k]));
	double scale = (double)f16_to_f32(f32_to_f16((float)(most / high)));
	for (int64_t k = 0; k < r->k; k++) {
		double d = fmin(fmax(rint((double)r->x[k] / scale), -high), high) * scale - (double)r->x[k];
		all += d * d;
	}
	return all;
}

/* One group at a time: never above the plain scale, and by far below it in all. Of 8 bits no weight is cut off. */
static void search_scales(enum weight_format format, double high, double left)
{
	double searched = 0, plain = 0;
	for (uint64_t seed = 0; seed < 400; seed++) {
		struct row r;
		draw(&r, seed % 4 == 0 ? 19 : 32, seed % 3 == 0 ? 3e4f : 0.05f, seed);
		quantise(&r, format);
		double found = squares_of(&r), simple = plain_squares(&r, high), size = 0;
		assert_true(found <= simple * 1.00001);
		for (int64_t k = 0; k < r.k; k++)
			size = fmax(size, fabs((double)r.x[k]));
		assert_true(format == WEIGHT_Q6 || size <= 127.5 * (double)f16_to_f32(r.scale[0]));
		searched += found / (size * size);
		plain += simple / (size * size);
	}
	assert_true(searched < left * plain);
}

static void test_search_scales(void **state)
{
	(void)state;
	search_scales(WEIGHT_Q8, 127, 0.82);
	search_scales(WEIGHT_Q6, 31, 0.87);
}

/* Four weights in three bytes, from the low bits up, and nothing behind the row's end. */
static void test_bytes_q6(void **state)
{
	(void)state;
	static const float x[] = { 31, -32, 5, -1, 0, 17 };
	struct row r = { .k = 6 };
	memcpy(r.x, x, sizeof x);
	quantise(&r, WEIGHT_Q6);
	assert_int_equal(f16_to_f32(r.scale[0]), 1);
	static const uint8_t want[] = { 63 | (0 & 3) << 6, 0 | (37 & 15) << 4, 37 >> 4 | 31 << 2, 32 | (49 & 3) << 6, 49 >> 2, 0 };
	assert_memory_equal(r.data, want, sizeof want);
}

/* The weighted squared error that the search is for: never above that of the plain choice, and below it by far in all. */
static double error_of(const struct row *r)
{
	double all = 0;
	for (int64_t g = 0; g < r->k / 32; g++) {
		double squares = 0;
		for (int64_t k = 32 * g; k < 32 * g + 32; k++)
			squares += (double)r->x[k] * r->x[k];
		for (int64_t k = 32 * g; k < 32 * g + 32; k++) {
			double d = (double)weight_value(&r->m, 0, k) - r->x[k];
			all += (fabs(r->x[k]) + sqrt(squares / 32)) * d * d;
		}
	}
	return all;
}

static void plain_q4(struct row *r)
{
	quantise(r, WEIGHT_Q4);
	for (int64_t g = 0; g < r->k / 32; g++) {
		float low = 0, high = 0;
		for (int64_t k = 32 * g; k < 32 * g + 32; k++) {
			low = fminf(low, r->x[k]);
			high = fmaxf(high, r->x[k]);
		}
		float scale = f16_to_f32(r->scale[g] = f32_to_f16((high - low) / 15));
		float zero = rintf(-low / ((high - low) / 15) * 8);
		r->zero[g] = (uint8_t)zero;
		for (int64_t k = 32 * g; k < 32 * g + 32; k++) {
			float q = fminf(fmaxf(rintf(r->x[k] / scale + zero / 8), 0), 15);
			unsigned shift = k % 2 ? 4 : 0;
			r->data[k / 2] = (uint8_t)((r->data[k / 2] & (0xf0u >> shift)) | (unsigned)q << shift);
		}
	}
}

static void test_search(void **state)
{
	(void)state;
	double searched = 0, plain = 0;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct row r;
		draw(&r, 32, 0.05f, seed);
		quantise(&r, WEIGHT_Q4);
		double found = error_of(&r);
		plain_q4(&r);
		double simple = error_of(&r);
		assert_true(found <= simple * 1.00001);
		searched += found;
		plain += simple;
	}
	assert_true(searched < 0.85 * plain);
}

static void test_zeros(void **state)
{
	(void)state;
	for (int f = 0; f < N_FORMATS; f++) {
		struct row r = { .k = 70 };
		quantise(&r, formats[f]);
		assert_true(r.good);
		for (int64_t k = 0; k < r.k; k++)
			assert_true(weight_value(&r.m, 0, k) == 0);
		for (int64_t g = 0; g < weight_groups(&r.m); g++)
			assert_int_equal(r.scale[g], 0);
		/* Zeros among others stay exact. */
		draw(&r, 64, 1, 3);
		for (int64_t k = 0; k < 64; k += 5)
			r.x[k] = -0.0f;
		for (int i = 0; i < 2; i++) { /* q4's zero is a multiple of an eighth */
			quantise(&r, formats[i]);
			for (int64_t k = 0; k < 64; k += 5)
				assert_true(weight_value(&r.m, 0, k) == 0);
		}
	}
}

static void test_constants(void **state)
{
	(void)state;
	static const float values[] = { 1, -1, 0.25f, -0.0078125f, 65504, -65504, 6e-8f, -6e-8f, 3.0f, 250000 };
	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		struct row r = { .k = 45 };
		for (int64_t k = 0; k < r.k; k++)
			r.x[k] = values[i];
		quantise(&r, WEIGHT_Q4);
		assert_true(r.good);
		for (int64_t k = 0; k < r.k; k++)
			assert_true(fabsf(weight_value(&r.m, 0, k) - values[i]) <= fabsf(values[i]) * 0.01f);
		if (fabsf(values[i]) <= 65504 && fabsf(values[i]) > 1e-6f)
			for (int64_t k = 0; k < r.k; k++)
				assert_true(weight_value(&r.m, 0, k) == values[i]);
		for (int j = 0; j < 2; j++) {
			quantise(&r, formats[j]);
			for (int64_t k = 0; k < r.k; k++)
				assert_true(fabsf(weight_value(&r.m, 0, k) - values[i]) <= fabsf(values[i]) * 0.005f + 6e-8f);
		}
	}
	/* Far from zero and narrow, or all of one sign: still no worse than a fifteenth of the range with 0. */
	struct row r = { .k = 32 };
	for (int64_t k = 0; k < 32; k++)
		r.x[k] = 100 + 0.01f * (float)k;
	quantise(&r, WEIGHT_Q4);
	for (int64_t k = 0; k < 32; k++)
		assert_true(fabsf(weight_value(&r.m, 0, k) - r.x[k]) < 0.5f);
	for (int64_t k = 0; k < 32; k++)
		r.x[k] = -(float)(k + 1);
	quantise(&r, WEIGHT_Q4);
	for (int64_t k = 0; k < 32; k++)
		assert_true(fabsf(weight_value(&r.m, 0, k) - r.x[k]) < 1.6f * 32 / 15);
}

static void test_smallest(void **state)
{
	(void)state;
	for (int f = 0; f < N_FORMATS; f++) {
		struct row r = { .k = 32 };
		for (int64_t k = 0; k < 32; k++)
			r.x[k] = k % 2 ? FLT_MIN : FLT_TRUE_MIN;
		quantise(&r, formats[f]);
		assert_true(r.good);
		for (int64_t k = 0; k < 32; k++)
			assert_true(fabsf(weight_value(&r.m, 0, k)) <= 6e-8f);
	}
}

static void test_refused(void **state)
{
	(void)state;
	static const float bad[] = { INFINITY, -INFINITY, NAN, 1e7f, -FLT_MAX };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		for (int64_t at = 0; at < 100; at += 33)
			for (int f = 0; f < N_FORMATS; f++) {
				struct row r;
				draw(&r, 100, 1, 1);
				r.x[at] = bad[i];
				quantise(&r, formats[f]);
				assert_false(r.good);
			}
}

/* Groups do not look at each other. */
static void test_groups_apart(void **state)
{
	(void)state;
	struct row whole, part;
	for (int f = 0; f < N_FORMATS; f++) {
		draw(&whole, 1088, 0.1f, 9);
		for (int64_t k = 64; k < 96; k++)
			whole.x[k] = 0.3f;
		quantise(&whole, formats[f]);
		for (int64_t g = 0; g < 34; g++) {
			part.k = 32;
			memcpy(part.x, whole.x + 32 * g, 32 * sizeof *part.x);
			quantise(&part, formats[f]);
			for (int64_t k = 0; k < 32; k++)
				assert_true(weight_value(&part.m, 0, k) == weight_value(&whole.m, 0, 32 * g + k));
		}
	}
}

/* Compiled for any CPU and for this one: the same bits, whatever the weights. */
static void test_instruction_sets(void **state)
{
	(void)state;
	struct hw_facts facts;
	assert_int_equal(hw_facts_probe(&facts), VB_OK);
	if (quantizer_for(facts.isa) == quantizer_for(0))
		skip();
	static const float sizes[] = { 0.05f, 1e-5f, 3e-7f, 1e-38f, 4e5f, 1 };
	for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
		for (uint64_t seed = 0; seed < 60; seed++)
			for (int f = 0; f < N_FORMATS; f++) {
				static struct row a, b;
				draw(&a, 1 + (int64_t)(seed * 373) % K_MAX, sizes[s], seed);
				for (int64_t k = 0; seed % 5 == 0 && k < a.k; k++)
					a.x[k] = k / 32 % 3 == 0 ? 0 : k / 32 % 3 == 1 ? sizes[s] : (float)(k % 7) * a.x[k];
				b = a;
				quantise_by(0, &a, formats[f]);
				quantise_by(facts.isa, &b, formats[f]);
				assert_true(a.good == b.good);
				if (!a.good)
					continue;
				assert_memory_equal(a.data, b.data, sizeof a.data);
				assert_memory_equal(a.scale, b.scale, sizeof a.scale);
				assert_memory_equal(a.zero, b.zero, sizeof a.zero);
			}
}

/* A whole matrix: by any number of threads, from any type, the rows that one row at a time gives. */
static void test_matrix(void **state)
{
	(void)state;
	enum { ROWS = 37, COLS = 75 };
	uint16_t dense[ROWS * COLS];
	struct row r;
	for (int64_t i = 0; i < ROWS; i++) {
		draw(&r, COLS, 0.1f, (uint64_t)i);
		dtype_convert(DTYPE_BF16, dense + i * COLS, DTYPE_F32, r.x, COLS);
	}
	const struct weight_matrix from = { .type = DTYPE_BF16, .n = ROWS, .k = COLS, .data = dense };
	for (int f = 0; f < N_FORMATS; f++) {
		uint64_t bytes = quantize_bytes(formats[f], ROWS, COLS);
		char *first = mem_pages(bytes), *other = mem_pages(bytes);
		for (int n = 1; n <= 5; n++) {
			struct team *team;
			assert_int_equal(team_create(&team, n), VB_OK);
			struct weight_matrix m = quantize_place(formats[f], ROWS, COLS, n == 1 ? first : other);
			assert_int_equal(quantize_matrix(&from, &m, team, 0, "x", NULL, NULL), VB_OK);
			assert_memory_equal(first, n == 1 ? first : other, bytes);
			for (int64_t i = 0; i < ROWS; i++) {
				dtype_convert(DTYPE_F32, r.x, DTYPE_BF16, dense + i * COLS, COLS);
				r.k = COLS;
				quantise(&r, formats[f]);
				for (int64_t k = 0; k < COLS; k++)
					assert_true(weight_value(&r.m, 0, k) == weight_value(&m, i, k));
			}
			team_destroy(&team);
		}
		dense[20 * COLS + 3] = dense[30 * COLS] = 0x7f80; /* infinity: the first row that has one is named */
		struct weight_matrix m = quantize_place(formats[f], ROWS, COLS, other);
		assert_int_equal(quantize_matrix(&from, &m, NULL, 0, "x.weight", NULL, NULL), VB_EFORMAT);
		assert_non_null(strstr(vb_errmsg(), "\"x.weight\": row 20"));
		dense[20 * COLS + 3] = dense[30 * COLS] = 0;
		mem_free_pages(first, bytes);
		mem_free_pages(other, bytes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors),       cmocka_unit_test(test_search),  cmocka_unit_test(test_zeros),
		cmocka_unit_test(test_constants),    cmocka_unit_test(test_smallest), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_groups_apart), cmocka_unit_test(test_matrix),
		cmocka_unit_test(test_search_scales), cmocka_unit_test(test_instruction_sets), cmocka_unit_test(test_bytes_q6),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
