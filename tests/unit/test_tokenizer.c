/* The tokeniser against published vocabularies: every case of VERBATIM_TEST_DATA/tokenizers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_ids(const struct ids *got, const json_t *want, const char *text)
{
	bool same = got->n == json_array_size(want);
	for (size_t i = 0; same && i < got->n; i++)
		same = got->id[i] == json_integer_value(json_array_get(want, i));
	if (!same) {
		print_error("text: %s\ngot:", text);
		for (size_t i = 0; i < got->n; i++)
			print_error(" %d", got->id[i]);
		print_error("\n");
		fail();
	}
}

static void check_case(const struct tokenizer *t, struct detokenizer *d, const json_t *c)
{
	const json_t *text = json_get(c, "text"), *decoded = json_get(c, "decoded");
	struct ids ids = { 0 };
	struct buf whole, steps;
	buf_init(&whole, 1 << 24);
	buf_init(&steps, 1 << 24);
	assert_int_equal(tokenizer_encode(t, json_string_value(text), json_string_length(text),
					  TOKENIZE_PARSE_SPECIAL, &ids), VB_OK);
	check_ids(&ids, json_get(c, "ids"), json_string_value(text));
	assert_int_equal(tokenizer_decode(t, ids.id, ids.n, false, &whole), VB_OK);
	for (size_t i = 0; i < ids.n; i++)
		assert_int_equal(detokenizer_push(d, ids.id[i], &steps), VB_OK);
	assert_int_equal(detokenizer_flush(d, &steps), VB_OK);
	assert_int_equal(whole.len, steps.len);
	if (whole.len)
		assert_memory_equal(whole.data, steps.data, whole.len);
	if (decoded) {
		assert_int_equal(whole.len, json_string_length(decoded));
		if (whole.len)
			assert_memory_equal(whole.data, json_string_value(decoded), whole.len);
	}
	ids_fini(&ids);
	buf_fini(&whole);
	buf_fini(&steps);
}

static void check_model(const char *data, const char *name)
{
	char path[4096], line[1 << 16];
	struct tokenizer *t;
	struct detokenizer *d;
	size_t n = 0;
	snprintf(path, sizeof path, "%s/tokenizers/%s", data, name);
	if (tokenizer_open(&t, path) != VB_OK)
		fail_msg("%s", vb_errmsg());
	assert_int_equal(detokenizer_create(&d, t, false), VB_OK);
	snprintf(path, sizeof path, "%s/tokenizers/%s/cases.jsonl", data, name);
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	for (; fgets(line, sizeof line, f); n++) {
		json_t *c;
		assert_int_equal(json_parse(&c, line, strlen(line), path), VB_OK);
		check_case(t, d, c);
		json_decref(c);
	}
	fclose(f);
	print_message("%s: %zu cases\n", name, n);
	assert_true(n > 0);
	detokenizer_destroy(&d);
	tokenizer_destroy(&t);
}

static void test_published(void **state)
{
	(void)state;
	static const char *const names[] = { "gpt-2", "deepseek-llm", "llama-spm" };
	const char *data = getenv("VERBATIM_TEST_DATA");
	if (!data) {
		print_message("skipped: VERBATIM_TEST_DATA does not name a folder with tokenizers/\n");
		skip();
	}
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		check_model(data, names[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
