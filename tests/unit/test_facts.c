/* The machine that runs this test, and the CPU's instruction sets of machines that do not. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/status.h"
#include "hw/hw.h"

#include <sched.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void test_probe(void **state)
{
	(void)state;
	struct hw_facts f;
	assert_int_equal(hw_facts_probe(&f), VB_OK);
	assert_true(f.n_threads >= 1);
	assert_true(f.memory > 1 << 20);
	assert_int_equal(f.n_gpus, 0);
#if defined(__x86_64__)
	/* The compiler's own probe agrees. */
	__builtin_cpu_init();
	assert_int_equal(!!(f.isa & ISA_AVX2), __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
	assert_int_equal(!!(f.isa & ISA_AVX512), __builtin_cpu_supports("avx512f") &&
			 __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
			 __builtin_cpu_supports("avx512dq"));
	assert_int_equal(!!(f.isa & ISA_AVX512_VNNI), !!__builtin_cpu_supports("avx512vnni"));
#endif
}

/* A process that may use one CPU starts one thread. */
static void test_affinity(void **state)
{
	(void)state;
	cpu_set_t before, one;
	int cpu = sched_getcpu();
	struct hw_facts f;
	assert_true(cpu >= 0 && cpu < CPU_SETSIZE);
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
	assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
	assert_int_equal(hw_facts_probe(&f), VB_OK);
	assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
	assert_int_equal(f.n_threads, 1);
	assert_true(strcmp(f.threads_why, "affinity: 1 CPU") == 0 || strncmp(f.threads_why, "quota: ", 7) == 0);
}

static void test_isa(void **state)
{
	(void)state;
	/* A Sapphire Rapids server: everything is there. */
	static const struct hw_cpuid full = {
		.leaf1_ecx = 1u << 12 | 1u << 29, .leaf7_ebx = 1u << 5 | 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31,
		.leaf7_ecx = 1u << 11, .leaf7_edx = 1u << 22 | 1u << 24 | 1u << 25, .leaf7_1_eax = 1u << 5,
		.xcr0 = 0x600e7, .amx_granted = true,
	};
	const uint32_t wide = ISA_AVX2 | ISA_AVX512 | ISA_AVX512_BF16 | ISA_AVX512_VNNI;
	struct hw_cpuid id = full;
	assert_int_equal(hw_isa_decode(&id), wide | ISA_AMX_BF16 | ISA_AMX_INT8);
	id.amx_granted = false;
	assert_int_equal(hw_isa_decode(&id), wide);
	id = full, id.xcr0 = 0xe7; /* the system does not save tiles */
	assert_int_equal(hw_isa_decode(&id), wide);
	id = full, id.leaf7_edx &= ~(1u << 22);
	assert_int_equal(hw_isa_decode(&id), wide | ISA_AMX_INT8);
	id = full, id.leaf7_edx &= ~(1u << 24);
	assert_int_equal(hw_isa_decode(&id), wide);
	id = full, id.xcr0 = 0x7; /* nor ZMM */
	assert_int_equal(hw_isa_decode(&id), ISA_AVX2);
	id = full, id.xcr0 = 0x3; /* nor YMM */
	assert_int_equal(hw_isa_decode(&id), 0);
	id = full, id.xcr0 = 0;
	assert_int_equal(hw_isa_decode(&id), 0);
	id = full, id.leaf1_ecx &= ~(1u << 12); /* no FMA */
	assert_int_equal(hw_isa_decode(&id), 0);
	id = full, id.leaf1_ecx &= ~(1u << 29); /* no F16C */
	assert_int_equal(hw_isa_decode(&id), 0);
	id = full, id.leaf7_ebx &= ~(1u << 31); /* no AVX-512 VL: Knights Landing */
	assert_int_equal(hw_isa_decode(&id), ISA_AVX2);
	id = full, id.leaf7_1_eax = 0;
	assert_int_equal(hw_isa_decode(&id) & wide, wide & ~(uint32_t)ISA_AVX512_BF16);
	assert_int_equal(hw_isa_decode(&(struct hw_cpuid){ 0 }), 0);
}

static void test_levels(void **state)
{
	(void)state;
	const uint32_t a2 = ISA_AVX2, a5 = a2 | ISA_AVX512 | ISA_AVX512_BF16 | ISA_AVX512_VNNI;
	const uint32_t all = a5 | ISA_AMX_BF16 | ISA_AMX_INT8;
	const struct {
		const char *level;
		uint32_t isa;
		int status;
		uint32_t out;
	} rows[] = {
		{ "auto", all, VB_OK, all },
		{ "auto", 0, VB_OK, 0 },
		{ "scalar", all, VB_OK, 0 },
		{ "scalar", 0, VB_OK, 0 },
		{ "avx2", all, VB_OK, a2 },
		{ "avx2", 0, VB_EUNSUPPORTED, 0 },
		{ "avx512", all, VB_OK, a5 },
		{ "avx512", a2 | ISA_AVX512, VB_OK, a2 | ISA_AVX512 },
		{ "avx512", a2, VB_EUNSUPPORTED, 0 },
		{ "amx", all, VB_OK, all },
		{ "amx", a5, VB_EUNSUPPORTED, 0 },
		{ "AVX2", all, VB_EINVAL, 0 },
		{ "", all, VB_EINVAL, 0 },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint32_t out = 0;
		if (hw_isa_level(rows[i].level, rows[i].isa, &out) != rows[i].status || out != rows[i].out)
			fail_msg("%s of %#x: %#x, %s", rows[i].level, rows[i].isa, out, vb_errmsg());
	}
	uint32_t out;
	assert_int_equal(hw_isa_level("amx", a5, &out), VB_EUNSUPPORTED);
	assert_string_equal(vb_errmsg(), "cannot use --cpu-isa amx: this CPU offers scalar, avx2 and avx512: use one of "
					 "these or auto");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_affinity),
		cmocka_unit_test(test_isa),
		cmocka_unit_test(test_levels),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
