/* facts.c - the machine as it is. */
#define _GNU_SOURCE
#include "hw/hw.h"

#include "base/status.h"
#include "hw/cgroup.h"
#include "hw/cpus.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define XCR0_AVX 0x6u       /* SSE and AVX registers */
#define XCR0_AVX512 0xe6u   /* these, mask registers and both halves of ZMM */
#define XCR0_AMX 0x60000u   /* tile configuration and tile data */

/* CPUID bits: Intel Architecture Software Developer's Manual, volume 2A, CPUID. */
uint32_t hw_isa_decode(const struct hw_cpuid *id)
{
	const uint32_t fma = 1u << 12, f16c = 1u << 29, avx2 = 1u << 5;
	const uint32_t avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F, DQ, BW, VL */
	const uint32_t vnni = 1u << 11, bf16 = 1u << 5, amx_bf16 = 1u << 22, amx_tile = 1u << 24, amx_int8 = 1u << 25;
	uint32_t isa = 0;
	if ((id->xcr0 & XCR0_AVX) == XCR0_AVX && (id->leaf1_ecx & (fma | f16c)) == (fma | f16c) &&
	    (id->leaf7_ebx & avx2))
		isa |= ISA_AVX2;
	if ((isa & ISA_AVX2) && (id->xcr0 & XCR0_AVX512) == XCR0_AVX512 && (id->leaf7_ebx & avx512) == avx512) {
		isa |= ISA_AVX512;
		if (id->leaf7_1_eax & bf16)
			isa |= ISA_AVX512_BF16;
		if (id->leaf7_ecx & vnni)
			isa |= ISA_AVX512_VNNI;
	}
	if ((isa & ISA_AVX512) && (id->xcr0 & XCR0_AMX) == XCR0_AMX && id->amx_granted && (id->leaf7_edx & amx_tile)) {
		if (id->leaf7_edx & amx_bf16)
			isa |= ISA_AMX_BF16;
		if (id->leaf7_edx & amx_int8)
			isa |= ISA_AMX_INT8;
	}
	return isa;
}

#if defined(__x86_64__)
static uint64_t read_xcr0(void)
{
	uint32_t low, high;
	__asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}

/* Tile data is 8 KiB of state a thread: Linux gives it on request only (5.16 and later). Granted for the process. */
static bool ask_for_tiles(void)
{
	enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
	return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

static uint32_t probe_isa(void)
{
	struct hw_cpuid id = { 0 };
	uint32_t eax, ebx, ecx, edx;
	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx))
		return 0;
	id.leaf1_ecx = ecx;
	if (ecx & 1u << 27)
		id.xcr0 = read_xcr0();
	if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
		id.leaf7_ebx = ebx;
		id.leaf7_ecx = ecx;
		id.leaf7_edx = edx;
		if (eax >= 1 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx))
			id.leaf7_1_eax = eax;
	}
	if ((id.xcr0 & XCR0_AMX) == XCR0_AMX)
		id.amx_granted = ask_for_tiles();
	return hw_isa_decode(&id);
}
static void probe_name(char name[128])
{
	unsigned word[12];
	for (unsigned i = 0; i < 3; i++)
		if (!__get_cpuid(0x80000002 + i, &word[4 * i], &word[4 * i + 1], &word[4 * i + 2], &word[4 * i + 3]))
			return;
	char brand[sizeof word + 1] = "";
	memcpy(brand, word, sizeof word);
	size_t n = strnlen(brand, sizeof word), first = strspn(brand, " ");
	while (n > first && brand[n - 1] == ' ')
		n--;
	snprintf(name, 128, "%.*s", (int)(n - first), brand + first);
}
#else
static uint32_t probe_isa(void)
{
	return 0;
}

static void probe_name(char name[128])
{
	name[0] = 0;
}
#endif

static uint64_t available_memory(void)
{
	uint64_t bytes = UINT64_MAX;
	FILE *f = fopen("/proc/meminfo", "re");
	if (!f)
		return bytes;
	char line[256];
	unsigned long long kib;
	while (fgets(line, sizeof line, f))
		if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
			bytes = (uint64_t)kib * 1024;
	fclose(f);
	return bytes;
}

static void probe_threads(struct hw_facts *out, double quota)
{
	bool allowed[CPUS_MAX] = { false };
	struct cpus c = { .quota = quota };
	cpu_set_t sets[CPUS_MAX / CPU_SETSIZE]; /* Linux refuses a mask that is smaller than its own */
	/* CPUs that are offline are not in the mask. */
	if (sched_getaffinity(0, sizeof sets, sets) == 0)
		for (size_t i = 0; i < CPUS_MAX; i++) {
			allowed[i] = CPU_ISSET_S(i, sizeof sets, sets);
			c.n_cpus += allowed[i];
		}
	if (!c.n_cpus) { /* forbidden, as in some sandboxes: one is running this */
		allowed[0] = true;
		c.n_cpus = 1;
	}
	c.n_cores = cpus_cores("", allowed);
	out->n_threads = cpus_threads(&c, out->threads_why, sizeof out->threads_why);
}

int hw_facts_probe(struct hw_facts *out)
{
	*out = (struct hw_facts){ .isa = probe_isa() };
	probe_name(out->cpu_name);
	struct cgroup_limits l;
	cgroup_read("", &l);
	probe_threads(out, l.cpus);
	uint64_t free_now = available_memory();
	out->memory = l.memory < free_now ? l.memory : free_now;
	if (out->memory == UINT64_MAX)
		FAIL(VB_EIO, "cannot tell how much memory there is: /proc/meminfo: mount /proc");
	return VB_OK;
}

/* Names of the levels that `isa` offers, for a message. */
static const char *levels_of(uint32_t isa)
{
	return isa & ISA_AMX_BF16 ? "scalar, avx2, avx512 and amx" :
	       isa & ISA_AVX512 ? "scalar, avx2 and avx512" :
	       isa & ISA_AVX2 ? "scalar and avx2" : "scalar alone";
}

int hw_isa_level(const char *level, uint32_t isa, uint32_t *out)
{
	static const struct {
		const char *name;
		uint32_t needs, allows;
	} levels[] = {
		{ "auto", 0, ~0u },
		{ "scalar", 0, 0 },
		{ "avx2", ISA_AVX2, ISA_AVX2 },
		{ "avx512", ISA_AVX512, ISA_AVX2 | ISA_AVX512 | ISA_AVX512_BF16 | ISA_AVX512_VNNI },
		{ "amx", ISA_AMX_BF16, ~0u },
	};
	for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
		if (strcmp(levels[i].name, level) != 0)
			continue;
		if ((isa & levels[i].needs) != levels[i].needs)
			FAIL(VB_EUNSUPPORTED, "cannot use --cpu-isa %s: this CPU offers %s: use one of these or auto",
			     level, levels_of(isa));
		*out = isa & levels[i].allows;
		return VB_OK;
	}
	FAIL(VB_EINVAL, "unknown --cpu-isa: \"%.64s\": use auto, scalar, avx2, avx512 or amx", level);
}
