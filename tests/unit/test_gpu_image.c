#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hw/hw.h"

#include <string.h>

static struct hw_version version(const char *text)
{
	struct hw_version v;
	assert_true(hw_version_parse(text, &v));
	return v;
}

static void test_versions_are_numbers(void **state)
{
	(void)state;
	assert_true(hw_version_compare(version("12.10"), version("12.3")) > 0);
	assert_true(hw_version_compare(version("9.10"), version("12.0")) < 0);
}

static void test_version_texts(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int major, minor;
	} good[] = {
		{ "12.2", 12, 2 },  { "12.3", 12, 3 },  { "12.10", 12, 10 }, { "13", 13, 0 },
		{ "13.0", 13, 0 },  { "12", 12, 0 },    { "12.3.1", 12, 3 }, { "0.5", 0, 5 },
		{ NULL, -1, 0 },
	};
	static const char *const bad[] = { "", ".", "12.", ".3", "12.x", "012.3", "12.03", "00.1", "12..3", "12.3.",
					   "12.3.x", "12.3.1.0", " 12.3", "12.3 ", "-1.0", "+12", "12,3", "9.0a",
					   "0x12", "1234567.0", "99999999999999999999.1" };
	struct hw_version v;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		assert_true(hw_version_parse(good[i].text, &v));
		assert_int_equal(v.major, good[i].major);
		assert_int_equal(v.minor, good[i].minor);
		assert_int_equal(hw_version_known(v), good[i].text != NULL);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (hw_version_parse(bad[i], &v) || hw_version_known(v))
			fail_msg("\"%s\" was taken for a version", bad[i]);
}

/* What is built: machine code for 8.0, 8.6 and 9.0, PTX for 8.0, by CUDA 12.3. */
static bool runs(const char *capability, const char *driver, enum hw_family family, const char *says)
{
	const struct hw_gpu gpu = {
		.capability = version(capability),
		.driver_cuda = version(driver),
		.image = { .present = true, .cuda = { 12, 3 }, .n_sass = 3, .sass = { { 8, 0 }, { 8, 6 }, { 9, 0 } },
			   .has_ptx = true, .ptx = { 8, 0 } },
	};
	char reason[HW_REASON_MAX] = "";
	bool yes = hw_gpu_runs(&gpu, family, reason);
	if (!strstr(reason, says))
		fail_msg("%s on driver %s: \"%s\" does not say \"%s\"", capability, driver, reason, says);
	return yes;
}

static void test_portable(void **state)
{
	(void)state;
	assert_true(runs("8.0", "12.3", HW_PORTABLE, "machine code for 8.0"));
	assert_true(runs("8.9", "12.3", HW_PORTABLE, "machine code for 8.6"));
	assert_true(runs("8.0", "12.10", HW_PORTABLE, "machine code for 8.0"));
	assert_true(runs("8.0", "12.0", HW_PORTABLE, "machine code for 8.0")); /* same major is enough */
	assert_true(runs("9.0", "13.0", HW_PORTABLE, "machine code for 9.0"));
	assert_true(runs("12.0", "12.10", HW_PORTABLE, "PTX for 8.0"));
	assert_false(runs("12.0", "12.2", HW_PORTABLE, "CUDA 12.2 is older than the image's 12.3"));
	assert_false(runs("8.0", "11.8", HW_PORTABLE, "older"));
	assert_false(runs("8.0", "9.9", HW_PORTABLE, "older")); /* "9.9" is behind "12.3" as a string */
	assert_false(runs("7.5", "12.3", HW_PORTABLE, "no code for compute capability 7.5"));
	assert_false(runs("8.0", NULL, HW_PORTABLE, "driver's CUDA version is unknown"));
	assert_false(runs(NULL, "12.3", HW_PORTABLE, "compute capability is unknown"));
}

static void test_hopper(void **state)
{
	(void)state;
	assert_true(runs("9.0", "12.3", HW_HOPPER, "9.0"));
	assert_true(runs("9.0", "12.10", HW_HOPPER, "9.0"));
	assert_false(runs("9.0", "12.2", HW_HOPPER, "12.3 or later"));
	assert_true(runs("9.0", "13", HW_HOPPER, "9.0"));
	assert_false(runs("9.0", "12", HW_HOPPER, "12.3 or later"));
	assert_false(runs("9.0", NULL, HW_HOPPER, "driver's CUDA version is unknown"));
	assert_false(runs("8.9", "12.3", HW_HOPPER, "9.0 exactly"));
	assert_false(runs("9.1", "12.3", HW_HOPPER, "9.0 exactly"));
	assert_false(runs("10.0", "13.0", HW_HOPPER, "9.0 exactly"));
}

static void test_no_image(void **state)
{
	(void)state;
	const struct hw_gpu gpu = { .capability = { 9, 0 }, .driver_cuda = { 13, 0 } };
	char reason[HW_REASON_MAX];
	assert_false(hw_gpu_runs(&gpu, HW_PORTABLE, reason));
	assert_non_null(strstr(reason, "carries no GPU kernels"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_versions_are_numbers),
		cmocka_unit_test(test_version_texts),
		cmocka_unit_test(test_portable),
		cmocka_unit_test(test_hopper),
		cmocka_unit_test(test_no_image),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
