#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "hw/hw.h"

#include <stdio.h>
#include <string.h>

static int parse(const char *json, struct hw_facts *f)
{
	return hw_facts_parse(f, json, strlen(json), "FILE");
}

static void refused(const char *json, const char *says)
{
	struct hw_facts f;
	assert_int_equal(parse(json, &f), VB_EFORMAT);
	if (!strstr(vb_errmsg(), says))
		fail_msg("\"%s\" does not say \"%s\"", vb_errmsg(), says);
}

#define A100                                                                                                   \
	"{\"cpu\": {\"isa\": [\"avx2\", \"fma\", \"avx512_bf16\"]}, \"gpus\": [{\"name\": \"A100\", "          \
	"\"compute_capability\": \"8.0\", \"driver_cuda\": \"12.10\", \"sms\": 108, \"shared_memory\": 166912, " \
	"\"memory\": 85899345920, \"image\": {\"cuda\": \"12.3\", \"sass\": [\"8.0\", \"9.0\"], \"ptx\": \"8.0\"}}]}"

static void test_whole(void **state)
{
	(void)state;
	struct hw_facts f;
	assert_int_equal(parse(A100, &f), VB_OK);
	assert_int_equal(f.isa, ISA_AVX2 | ISA_AVX512_BF16);
	assert_int_equal(f.n_gpus, 1);
	assert_string_equal(f.gpu[0].name, "A100");
	assert_int_equal(f.gpu[0].driver_cuda.minor, 10);
	assert_int_equal(f.gpu[0].memory, 85899345920);
	assert_int_equal(f.gpu[0].image.n_sass, 2);
}

/* What was read and written is read again to the same. */
static void test_round_trip(void **state)
{
	(void)state;
	struct hw_facts f, again;
	assert_int_equal(parse(A100, &f), VB_OK);
	json_t *o = hw_facts_json(&f);
	char *text = json_text(o);
	assert_int_equal(parse(text, &again), VB_OK);
	assert_memory_equal(&f, &again, sizeof f);
	mem_free(text);
	json_decref(o);
}

static void test_what_is_not_said(void **state)
{
	(void)state;
	struct hw_facts here, f;
	assert_int_equal(hw_facts_probe(&here), VB_OK);
	assert_int_equal(parse("{}", &f), VB_OK);
	assert_int_equal(f.isa, here.isa);
	assert_int_equal(f.n_gpus, 0);
	assert_int_equal(parse("{\"cpu\": {\"threads\": 7, \"memory\": 1000}}", &f), VB_OK);
	assert_int_equal(f.isa, 0);
	assert_int_equal(f.n_threads, 7);
	assert_string_equal(f.threads_why, ""); /* given, not found */
	assert_int_equal(f.memory, 1000);
	assert_int_equal(parse("{\"gpus\": [{\"compute_capability\": \"9.0\", \"driver_cuda\": \"12.3\", \"image\": false}]}",
			       &f), VB_OK);
	assert_false(f.gpu[0].image.present);
}

/* null is no version, and no error: it is kept as unknown. */
static void test_unknown_versions(void **state)
{
	(void)state;
	struct hw_facts f;
	assert_int_equal(parse("{\"gpus\": [{\"compute_capability\": \"9.0\", \"driver_cuda\": null, \"image\": {}}]}", &f),
			 VB_OK);
	assert_true(hw_version_known(f.gpu[0].capability));
	assert_false(hw_version_known(f.gpu[0].driver_cuda));
	assert_true(f.gpu[0].image.present);
	assert_false(f.gpu[0].image.has_ptx);
	json_t *o = hw_facts_json(&f);
	assert_true(json_is_null(json_object_get(json_array_get(json_object_get(o, "gpus"), 0), "driver_cuda")));
	json_decref(o);
}

/* What each text for a driver's version comes to, on an H100 with an image that CUDA 12.3 built. */
static void test_driver_versions(void **state)
{
	(void)state;
	static const struct {
		const char *text;           /* JSON */
		const char *malformed;      /* what the message quotes; NULL: a version, or none */
		bool portable, hopper;
		const char *portable_says, *hopper_says;
	} rows[] = {
		{ "\"12.2\"", NULL, true, false, "machine code for 9.0", "CUDA 12.3 or later, this one's is 12.2" },
		{ "\"12.3\"", NULL, true, true, "machine code for 9.0", "machine code for 9.0" },
		{ "\"12.10\"", NULL, true, true, "machine code for 9.0", "machine code for 9.0" },
		{ "\"13\"", NULL, true, true, "machine code for 9.0", "machine code for 9.0" },
		{ "\"13.0\"", NULL, true, true, "machine code for 9.0", "machine code for 9.0" },
		{ "\"12\"", NULL, true, false, "machine code for 9.0", "CUDA 12.3 or later, this one's is 12.0" },
		{ "\"\"", "driver_cuda: \"\"", false, false, NULL, NULL },
		{ "null", NULL, false, false, "driver's CUDA version is unknown", "driver's CUDA version is unknown" },
		{ "\"12.x\"", "driver_cuda: \"12.x\"", false, false, NULL, NULL },
		{ "\"012.3\"", "driver_cuda: \"012.3\"", false, false, NULL, NULL },
		{ "\"12.3.1\"", NULL, true, true, "machine code for 9.0", "machine code for 9.0" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char json[256], reason[HW_REASON_MAX];
		struct hw_facts f;
		snprintf(json, sizeof json, "{\"gpus\": [{\"compute_capability\": \"9.0\", \"driver_cuda\": %s, \"image\": "
			 "{\"cuda\": \"12.3\", \"sass\": [\"8.0\", \"9.0\"], \"ptx\": \"8.0\"}}]}", rows[i].text);
		if (rows[i].malformed) {
			refused(json, rows[i].malformed);
			continue;
		}
		assert_int_equal(parse(json, &f), VB_OK);
		if (hw_gpu_runs(&f.gpu[0], HW_PORTABLE, reason) != rows[i].portable || !strstr(reason, rows[i].portable_says))
			fail_msg("%s, portable: \"%s\"", rows[i].text, reason);
		if (hw_gpu_runs(&f.gpu[0], HW_HOPPER, reason) != rows[i].hopper || !strstr(reason, rows[i].hopper_says))
			fail_msg("%s, Hopper: \"%s\"", rows[i].text, reason);
		assert_int_equal(hw_gpu_isa(&f.gpu[0]), (rows[i].portable ? ISA_CUDA : 0) |
						       (rows[i].hopper ? ISA_CUDA_HOPPER : 0));
	}
}

/* An image that was not loaded does not run, whatever the rules hope. */
static void test_loaded(void **state)
{
	(void)state;
	static const char format[] = "{\"gpus\": [{\"compute_capability\": \"9.0\", \"driver_cuda\": \"13.0\", \"image\": "
				     "{\"cuda\": \"12.3\", \"sass\": [\"9.0\"], \"hopper\": false}, \"loaded\": %s, \"why\": \"broken\"}]}";
	static const struct {
		const char *text;
		enum hw_loaded loaded;
	} rows[] = { { "null", HW_LOAD_UNTRIED }, { "true", HW_LOADED }, { "false", HW_NOT_LOADED } };
	char json[256], reason[HW_REASON_MAX];
	struct hw_facts f, again;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		snprintf(json, sizeof json, format, rows[i].text);
		assert_int_equal(parse(json, &f), VB_OK);
		assert_int_equal(f.gpu[0].loaded, rows[i].loaded);
		assert_false(hw_gpu_runs(&f.gpu[0], HW_HOPPER, reason));
		assert_int_equal(hw_gpu_runs(&f.gpu[0], HW_PORTABLE, reason), rows[i].loaded != HW_NOT_LOADED);
		assert_int_equal(hw_gpu_isa(&f.gpu[0]), rows[i].loaded != HW_NOT_LOADED ? ISA_CUDA : 0);
		json_t *o = hw_facts_json(&f);
		char *text = json_text(o);
		assert_int_equal(parse(text, &again), VB_OK);
		assert_memory_equal(&f, &again, sizeof f);
		mem_free(text);
		json_decref(o);
	}
	assert_string_equal(reason, "broken");
	snprintf(json, sizeof json, format, "\"yes\"");
	refused(json, "loaded");
}

static void test_cuda_driver(void **state)
{
	(void)state;
	struct hw_facts f;
	assert_int_equal(parse("{}", &f), VB_OK);
	assert_false(f.cuda_driver);
	assert_int_equal(parse("{\"cuda_driver\": true}", &f), VB_OK);
	assert_true(f.cuda_driver);
	assert_int_equal(parse(A100, &f), VB_OK);
	assert_true(f.cuda_driver);
	refused("{\"cuda_driver\": 1}", "cuda_driver");
	assert_int_equal(parse("{\"gpu_why\": \"asleep\"}", &f), VB_OK);
	assert_string_equal(f.gpu_why, "asleep");
}

static void test_malformed(void **state)
{
	(void)state;
	refused("[]", "expected an object");
	refused("{", "FILE");
	refused("{\"cpu\": {\"isa\": \"avx2\"}}", "isa");
	refused("{\"cpu\": {\"isa\": [3]}}", "isa");
	refused("{\"cpu\": {\"threads\": 0}}", "threads");
	refused("{\"gpus\": {}}", "gpus");
	refused("{\"gpus\": [{\"compute_capability\": \"8.x\", \"driver_cuda\": \"12.3\"}]}",
		"FILE, gpus[0], compute_capability: \"8.x\"");
	refused("{\"gpus\": [{\"compute_capability\": \"8.0\", \"driver_cuda\": \"twelve\"}]}", "\"twelve\"");
	/* As a number 12.10 would be 12.1. */
	refused("{\"gpus\": [{\"compute_capability\": \"8.0\", \"driver_cuda\": 12.10}]}", "driver_cuda");
	refused("{\"gpus\": [{\"compute_capability\": \"8.0\", \"driver_cuda\": \"12.3\", \"image\": true}]}", "image");
	refused("{\"gpus\": [{\"compute_capability\": \"8.0\", \"driver_cuda\": \"12.3\", \"image\": {\"cuda\": \"12.3\", "
		"\"sass\": [\"8.0\", \"9.\"]}}]}", "image.sass[]: \"9.\"");
	refused("{\"gpus\": [{\"driver_cuda\": \"\"}]}", "FILE, gpus[0], driver_cuda: \"\"");
	refused("{\"gpus\": [{\"driver_cuda\": \"012.3\"}]}", "\"012.3\"");
	refused("{\"gpus\": [{\"driver_cuda\": \"12.3\\u0000\"}]}", "NUL");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_what_is_not_said),
		cmocka_unit_test(test_unknown_versions),
		cmocka_unit_test(test_driver_versions),
		cmocka_unit_test(test_loaded),
		cmocka_unit_test(test_cuda_driver),
		cmocka_unit_test(test_malformed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
