/* Stop strings: whatever pieces the text comes in, what is given out is the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/status.h"
#include "base/utf8.h"
#include "engine/engine_internal.h"

#include <string.h>

/* What a text becomes, told by the definition: the first prefix that ends with a stop string ends the answer before
 * the longest stop string that it ends with. */
static size_t naive(const char *text, const char *const *stop, size_t n_stop, bool *stopped)
{
	size_t n = strlen(text);
	for (size_t end = 1; end <= n; end++) {
		size_t longest = 0;
		for (size_t i = 0; i < n_stop; i++) {
			size_t len = strlen(stop[i]);
			if (len <= end && len > longest && memcmp(text + end - len, stop[i], len) == 0)
				longest = len;
		}
		*stopped = longest > 0;
		if (longest)
			return end - longest;
	}
	*stopped = false;
	return n;
}

/* Feeds the text in pieces, cut where bit i of `cuts` says so after byte i. */
static void feed(const char *text, uint64_t cuts, const char *const *stop, size_t n_stop, bool whole_utf8)
{
	struct stopper s;
	struct buf out;
	bool expect_stop;
	size_t n = strlen(text), expected = naive(text, stop, n_stop, &expect_stop), begin = 0;
	buf_init(&out, 1000);
	stopper_init(&s, stop, n_stop, 1000);
	for (size_t i = 0; i < n && !s.stopped; i++) {
		if (!(cuts >> i & 1) && i + 1 < n)
			continue;
		assert_int_equal(buf_append(&s.pending, text + begin, i + 1 - begin), VB_OK);
		begin = i + 1;
		size_t ready = stopper_ready(&s);
		assert_true(ready <= s.pending.len);
		assert_int_equal(buf_append(&out, s.pending.data, ready), VB_OK);
		if (whole_utf8)
			assert_true(utf8_valid(out.data ? out.data : "", out.len));
		stopper_drop(&s, ready);
		assert_int_equal(s.pending.data[s.pending.len], 0); /* a string as ever */
		/* Asking again changes nothing: all that was ready is gone. */
		bool stopped = s.stopped;
		assert_int_equal(stopper_ready(&s), 0);
		assert_int_equal(s.stopped, stopped);
	}
	if (!s.stopped) /* the text ends here: what was held back is no stop string */
		assert_int_equal(buf_append(&out, s.pending.data ? s.pending.data : "", s.pending.len), VB_OK);
	assert_int_equal(s.stopped, expect_stop);
	assert_int_equal(out.len, expected);
	assert_memory_equal(out.data ? out.data : "", text, expected);
	stopper_fini(&s);
	buf_fini(&out);
}

static void test_every_split(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		const char *stop[4];
	} cases[] = {
		{ "hello STOP you", { "STOP" } },
		{ "hello STO you", { "STOP" } },
		{ "aaab aab", { "aab" } },
		{ "ababac", { "abac" } },
		{ "xabcd", { "abcx", "bcd", "cd" } },
		{ "xabcd", { "abc", "b" } }, /* b is complete before abc is */
		{ "xabcd", { "bc", "abc", "c" } }, /* all end together: the longest */
		{ "STOP", { "STOP" } },
		{ "xxxS", { "STOP" } },
		{ "xxxSTO", { "STOP", "O" } },
		{ "\n\nUser:", { "\nUser:", "\n\n" } },
		{ "abcabcabd", { "abcabd", "abd" } },
		{ "nothing", { "absent", "thingy" } },
	};
	for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
		size_t n_stop = 0, n = strlen(cases[c].text);
		while (n_stop < 4 && cases[c].stop[n_stop])
			n_stop++;
		for (uint64_t cuts = 0; cuts < (uint64_t)1 << (n - 1); cuts++)
			feed(cases[c].text, cuts, cases[c].stop, n_stop, false);
	}
}

/* Random texts and stop strings over two letters: overlaps of every kind. */
static void test_random(void **state)
{
	(void)state;
	for (uint32_t r = 0; r < 4000; r++) {
		char text[25] = "", stops[3][6] = { "" };
		const char *stop[3];
		uint32_t i = 0;
		size_t n = 1 + rng_u32(31, RNG_TEST, r, i++) % 24;
		for (size_t k = 0; k < n; k++)
			text[k] = "aab"[rng_u32(31, RNG_TEST, r, i++) % 3];
		size_t n_stop = rng_u32(31, RNG_TEST, r, i++) % 4;
		for (size_t k = 0; k < n_stop; k++) {
			size_t len = 1 + rng_u32(31, RNG_TEST, r, i++) % 5;
			for (size_t j = 0; j < len; j++)
				stops[k][j] = "ab"[rng_u32(31, RNG_TEST, r, i++) % 2];
			stop[k] = stops[k];
		}
		for (int k = 0; k < 20; k++)
			feed(text, rng_u32(31, RNG_TEST, r, i++), stop, n_stop, false);
	}
}

/* Pieces of whole characters stay pieces of whole characters, also where stop strings share bytes with the text. */
static void test_utf8(void **state)
{
	(void)state;
	/* e with acute and with grave differ in the last byte alone; the emoji in the last of four. */
	static const char text[] = "\xc3\xa9\xc3\xa8 \xf0\x9f\x98\x80\xf0\x9f\x98\x81x";
	static const char *const stops[][2] = {
		{ "\xc3\xa8\xc3\xa9", "\xf0\x9f\x98\x80!" },
		{ "\xf0\x9f\x98\x81x", "zz" },
		{ "\xf0\x9f\x98\x81y", "\xc3\xa8 \xf0\x9f\x98\x82" },
	};
	/* Ends of characters in the text. */
	static const int ends[] = { 1, 3, 4, 8, 12, 13 };
	for (size_t c = 0; c < 3; c++) {
		for (uint64_t bits = 0; bits < 64; bits++) {
			uint64_t cuts = 0;
			for (int i = 0; i < 6; i++)
				cuts |= (bits >> i & 1) << ends[i];
			feed(text, cuts, stops[c], 2, true);
		}
	}
}

static void test_none(void **state)
{
	(void)state;
	for (uint64_t cuts = 0; cuts < 64; cuts++)
		feed("abcdefg", cuts, NULL, 0, false);
	struct stopper s;
	stopper_init(&s, (const char *const[]){ "x" }, 1, 10);
	assert_int_equal(stopper_ready(&s), 0);
	assert_false(s.stopped);
	stopper_drop(&s, 0);
	stopper_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_split),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
