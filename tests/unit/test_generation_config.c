#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/status.h"
#include "load/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64], path[128];

static int make_folder(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/verbatim-test-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof path, "%s/generation_config.json", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	(void)unlink(path);
	return rmdir(folder);
}

static int read_text(struct generation_config *g, const char *text)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	return generation_config_read(g, folder);
}

static void assert_defaults(const struct generation_config *g)
{
	assert_int_equal(g->n_eos, 0);
	assert_false(g->do_sample);
	assert_true(g->temperature == 1 && g->top_p == 1 && g->min_p == 0 && g->repetition_penalty == 1);
	assert_int_equal(g->top_k, 0);
}

static void test_defaults(void **state)
{
	(void)state;
	struct generation_config g;
	assert_int_equal(generation_config_read(&g, folder), VB_OK);
	assert_defaults(&g);
	assert_int_equal(read_text(&g, "{}"), VB_OK);
	assert_defaults(&g);
	assert_int_equal(read_text(&g, "{\"eos_token_id\":null,\"top_k\":null,\"temperature\":null}"), VB_OK);
	assert_defaults(&g);
}

static void test_values(void **state)
{
	(void)state;
	struct generation_config g;
	assert_int_equal(read_text(&g, "{\"eos_token_id\":[128001,128009],\"do_sample\":true,\"temperature\":0.6,"
				       "\"top_p\":0.9,\"top_k\":20,\"min_p\":0.05,\"repetition_penalty\":1.1,"
				       "\"transformers_version\":\"4.42.3\"}"), VB_OK);
	assert_int_equal(g.n_eos, 2);
	assert_int_equal(g.eos[0], 128001);
	assert_int_equal(g.eos[1], 128009);
	assert_true(g.do_sample);
	assert_true(g.temperature == 0.6 && g.top_p == 0.9 && g.min_p == 0.05 && g.repetition_penalty == 1.1);
	assert_int_equal(g.top_k, 20);
	assert_int_equal(read_text(&g, "{\"eos_token_id\":7,\"top_k\":-1,\"temperature\":0}"), VB_OK);
	assert_int_equal(g.n_eos, 1);
	assert_int_equal(g.eos[0], 7);
	assert_int_equal(g.top_k, 0);
	assert_true(g.temperature == 0);
}

static void test_refused(void **state)
{
	(void)state;
	static const struct {
		const char *text, *reason;
	} rows[] = {
		{ "", "not valid JSON" },
		{ "[]", "expected an object, found array" },
		{ "{\"eos_token_id\":-1}", "\"eos_token_id\": token -1" },
		{ "{\"eos_token_id\":2147483647}", "\"eos_token_id\"" },
		{ "{\"eos_token_id\":1.5}", "\"eos_token_id\"" },
		{ "{\"do_sample\":1}", "\"do_sample\"" },
		{ "{\"temperature\":-1}", "\"temperature\"" },
		{ "{\"temperature\":\"0.6\"}", "\"temperature\"" },
		{ "{\"temperature\":NaN}", "not valid JSON" },
		{ "{\"top_p\":2}", "\"top_p\"" },
		{ "{\"min_p\":-0.1}", "\"min_p\"" },
		{ "{\"repetition_penalty\":0}", "\"repetition_penalty\"" },
		{ "{\"top_k\":-5}", "\"top_k\"" },
		{ "{\"top_k\":0.5}", "\"top_k\"" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct generation_config g;
		int rc = read_text(&g, rows[i].text);
		if (rc != VB_EFORMAT || !strstr(vb_errmsg(), rows[i].reason) || !strstr(vb_errmsg(), path))
			fail_msg("%s: expected \"%s\", got %s \"%s\"", rows[i].text, rows[i].reason,
				 vb_status_name(rc), vb_errmsg());
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
	const struct CMUnitTest tests[] = { TEST(test_defaults), TEST(test_values), TEST(test_refused) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
