#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/dtype.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"
#include "base/utf8.h"

#include <math.h>
#include <string.h>

static int fails_with(int n)
{
	FAIL(VB_EFORMAT, "bad thing: place %d: mend it", n);
}

static int forwards(int n)
{
	TRY(fails_with(n));
	return VB_OK;
}

static void test_status(void **state)
{
	(void)state;
	assert_int_equal(forwards(7), VB_EFORMAT);
	assert_string_equal(vb_errmsg(), "bad thing: place 7: mend it");
	assert_int_equal(status_prefix(VB_EFORMAT, "file %s", "x.json"), VB_EFORMAT);
	assert_string_equal(vb_errmsg(), "file x.json: bad thing: place 7: mend it");
	assert_string_equal(vb_status_name(VB_ELIMIT), "VB_ELIMIT");
	assert_string_equal(vb_status_name(12345), "VB_E?");
}

/* Known answers of Random123's philox4x32 with 10 rounds. */
static void test_philox(void **state)
{
	(void)state;
	uint32_t out[4];
	rng_philox((uint32_t[4]){ 0, 0, 0, 0 }, (uint32_t[2]){ 0, 0 }, out);
	const uint32_t zeros[4] = { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 };
	assert_memory_equal(out, zeros, sizeof zeros);
	rng_philox((uint32_t[4]){ ~0u, ~0u, ~0u, ~0u }, (uint32_t[2]){ ~0u, ~0u }, out);
	const uint32_t ones[4] = { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd };
	assert_memory_equal(out, ones, sizeof ones);
	rng_philox((uint32_t[4]){ 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
		   (uint32_t[2]){ 0xa4093822, 0x299f31d0 }, out);
	const uint32_t pi[4] = { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 };
	assert_memory_equal(out, pi, sizeof pi);
}

static void test_rng_moments(void **state)
{
	(void)state;
	double sum = 0, squares = 0;
	enum { N = 100000 };
	for (uint32_t i = 0; i < N; i++) {
		double x = rng_normal(1, RNG_TEST, 0, i);
		sum += x;
		squares += x * x;
	}
	assert_true(fabs(sum / N) < 0.02);
	assert_true(fabs(squares / N - 1) < 0.02);
	assert_int_not_equal(rng_u32(1, RNG_TEST, 0, 0), rng_u32(1, RNG_SAMPLE, 0, 0));
	assert_int_not_equal(rng_u32(1, RNG_TEST, 0, 0), rng_u32(1, RNG_TEST, 1, 0));
	assert_int_not_equal(rng_u32(1, RNG_TEST, 0, 0), rng_u32(2, RNG_TEST, 0, 0));
}

static void test_dtype(void **state)
{
	(void)state;
	for (uint32_t v = 0; v < 0x10000; v++) {
		float f = f16_to_f32((uint16_t)v);
		if (isnan(f)) {
			assert_true(isnan(f16_to_f32(f32_to_f16(f))));
			continue;
		}
		assert_int_equal(f32_to_f16(f), v);
		float b = bf16_to_f32((uint16_t)v);
		if (!isnan(b))
			assert_int_equal(f32_to_bf16(b), v);
		/* Halfway between neighbours goes to the even one, as does everything by nearness. */
		float next = f16_to_f32((uint16_t)(v + 1));
		if ((v & 0x7fff) < 0x7bff)
			assert_int_equal(f32_to_f16((f + next) / 2), v & 1 ? v + 1 : v);
	}
	assert_int_equal(f32_to_f16(65520.0f), 0x7c00);
	assert_int_equal(f32_to_f16(65519.0f), 0x7bff);
	assert_true(isnan(bf16_to_f32(f32_to_bf16(NAN))));
	assert_int_equal(f32_to_bf16(1.0f + 0x1p-8f), f32_to_bf16(1.0f));
}

static void test_utf8(void **state)
{
	(void)state;
	for (uint32_t cp = 0; cp < 0x110000; cp++) {
		char s[4];
		int n = utf8_write(cp, s);
		if (cp >= 0xd800 && cp <= 0xdfff) {
			assert_int_equal(n, 0);
			continue;
		}
		uint32_t back;
		assert_int_equal(utf8_decode(s, (size_t)n, &back), n);
		assert_int_equal(back, cp);
		for (int cut = 1; cut < n; cut++) {
			assert_int_equal(utf8_decode(s, (size_t)cut, &back), -1);
			assert_int_equal(utf8_complete_prefix(s, (size_t)cut), 0);
		}
		assert_int_equal(utf8_complete_prefix(s, (size_t)n), n);
	}
	assert_false(utf8_valid("\xed\xa0\x80", 3));
	assert_false(utf8_valid("\xc0\x80", 2));
	assert_false(utf8_valid("\xf4\x90\x80\x80", 4));
	assert_int_equal(utf8_complete_prefix("a\xff", 2), 2);
}

static void test_buf(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 10);
	assert_int_equal(buf_printf(&b, "%d-%s", 12, "ab"), VB_OK);
	assert_string_equal(b.data, "12-ab");
	assert_int_equal(buf_puts(&b, "123456"), VB_ELIMIT);
	assert_string_equal(b.data, "12-ab");
	assert_int_equal(buf_puts(&b, "12345"), VB_OK);
	char *s = buf_detach(&b);
	assert_string_equal(s, "12-ab12345");
	mem_free(s);
	mem_fail_at(1, false);
	assert_int_equal(buf_putc(&b, 'x'), VB_ENOMEM);
	assert_int_equal(buf_putc(&b, 'x'), VB_OK);
	buf_fini(&b);
}

static void test_json(void **state)
{
	(void)state;
	json_t *o;
	const char *text = "{\"a\": 3, \"b\": 2.5, \"c\": \"x\", \"d\": null, \"e\": true, \"f\": 4.0}";
	assert_int_equal(json_parse(&o, text, strlen(text), "t"), VB_OK);
	int64_t i;
	double d;
	bool e;
	const char *s;
	assert_int_equal(json_need_i64(o, "a", "t", 0, 9, &i), VB_OK);
	assert_int_equal(i, 3);
	assert_int_equal(json_need_i64(o, "f", "t", 0, 9, &i), VB_OK);
	assert_int_equal(i, 4);
	assert_int_equal(json_need_i64(o, "b", "t", 0, 9, &i), VB_EFORMAT);
	assert_int_equal(json_need_i64(o, "a", "t", 4, 9, &i), VB_EFORMAT);
	assert_non_null(strstr(vb_errmsg(), "\"a\""));
	assert_int_equal(json_need_i64(o, "d", "t", 0, 9, &i), VB_EFORMAT);
	assert_int_equal(json_get_i64(o, "d", "t", 0, 9, 5, &i), VB_OK);
	assert_int_equal(i, 5);
	assert_int_equal(json_get_f64(o, "a", "t", 0, 9, 0, &d), VB_OK);
	assert_true(d == 3);
	assert_int_equal(json_get_bool(o, "e", "t", false, &e), VB_OK);
	assert_true(e);
	assert_int_equal(json_get_bool(o, "a", "t", false, &e), VB_EFORMAT);
	assert_int_equal(json_get_str(o, "c", "t", NULL, &s), VB_OK);
	assert_string_equal(s, "x");
	json_decref(o);
	assert_int_equal(json_parse(&o, "{\"a\":1,\"a\":2}", 13, "t"), VB_EFORMAT);
	assert_int_equal(json_parse(&o, "[1,]", 4, "t"), VB_EFORMAT);
	char deep[400];
	memset(deep, '[', sizeof deep);
	assert_int_equal(json_parse(&o, deep, sizeof deep, "t"), VB_EFORMAT);
	assert_non_null(strstr(vb_errmsg(), "deeper"));
	assert_int_equal(json_read_file(&o, "/nonexistent.json", 100), VB_ENOTFOUND);
	assert_int_equal(json_read_file(&o, "/tmp", 100), VB_EIO);
	assert_string_equal(vb_errmsg(), "cannot read: /tmp: not a regular file");
}

/* One position, counted from where the text stands in what messages name; what was cut short is said to be. */
static void test_json_positions(void **state)
{
	(void)state;
	char deep[200];
	memset(deep, '[', sizeof deep);
	memcpy(deep, "[\"\n\",\n", 6);
	const struct {
		const char *text;
		size_t len;
		int64_t line;
		const char *says;
	} rows[] = {
		{ "{\"a\": 1,}", 9, 1, "not valid JSON: FILE, line 1 column 9: string or '}' expected near '}'" },
		{ "{\"a\": 1,}", 9, 3, "not valid JSON: FILE, line 3 column 9: string or '}' expected near '}'" },
		{ "{\n\"a\"\n: x}", 10, 7, "not valid JSON: FILE, line 9 column 3: invalid token near 'x'" },
		{ "[1, 2", 5, 4, "not valid JSON: FILE, line 4 column 5: ']' expected near end of file: it is cut short" },
		{ "", 0, 1, "not valid JSON: FILE: it is empty" },
		{ " \r\n\t", 4, 1, "not valid JSON: FILE: it is empty" },
		{ deep, sizeof deep, 5, "JSON nested deeper than 128: FILE, line 7 column 128: flatten it" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		json_t *o;
		assert_int_equal(json_parse_at(&o, rows[i].text, rows[i].len, "FILE", rows[i].line), VB_EFORMAT);
		assert_string_equal(vb_errmsg(), rows[i].says);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_status), cmocka_unit_test(test_philox),
		cmocka_unit_test(test_rng_moments), cmocka_unit_test(test_dtype),
		cmocka_unit_test(test_utf8), cmocka_unit_test(test_buf),
		cmocka_unit_test(test_json), cmocka_unit_test(test_json_positions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
