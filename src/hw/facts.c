/* facts.c - the machine as it is. */
#define _GNU_SOURCE
#include "hw/hw.h"

#include "base/status.h"
#include "hw/cgroup.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* arch_prctl(2): tiles need room in the thread's saved state, which Linux gives on demand. */
#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18

static uint32_t probe_amx(void)
{
	unsigned a, b, c, d;
	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & (1u << 24)))
		return 0;
	if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) != 0)
		return 0;
	return (d & (1u << 22) ? ISA_AMX_BF16 : 0) | (d & (1u << 25) ? ISA_AMX_INT8 : 0);
}

/* The compiler's own probe asks the operating system too whether registers are saved. */
static uint32_t probe_isa(void)
{
	uint32_t isa = 0;
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		isa |= ISA_AVX2;
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	    __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
		isa |= ISA_AVX512;
	if ((isa & ISA_AVX512) && __builtin_cpu_supports("avx512bf16"))
		isa |= ISA_AVX512_BF16;
	if ((isa & ISA_AVX512) && __builtin_cpu_supports("avx512vnni"))
		isa |= ISA_AVX512_VNNI;
	return isa | (isa & ISA_AVX512 ? probe_amx() : 0);
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

int hw_facts_probe(struct hw_facts *out)
{
	*out = (struct hw_facts){ .isa = probe_isa(), .n_threads = 1 };
	probe_name(out->cpu_name);
	cpu_set_t set;
	if (sched_getaffinity(0, sizeof set, &set) == 0)
		out->n_threads = CPU_COUNT(&set);
	struct cgroup_limits l;
	cgroup_read("/proc/self/cgroup", "/sys/fs/cgroup", &l);
	/* A part of a CPU still needs a thread. */
	if (l.cpus > 0 && l.cpus < out->n_threads)
		out->n_threads = l.cpus > 1 ? (int)l.cpus : 1;
	uint64_t free_now = available_memory();
	out->memory = l.memory < free_now ? l.memory : free_now;
	if (out->memory == UINT64_MAX)
		FAIL(VB_EIO, "cannot tell how much memory there is: /proc/meminfo: mount /proc");
	return VB_OK;
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
			FAIL(VB_EUNSUPPORTED, "cannot use --cpu-isa %s: this CPU does not have it: use auto", level);
		*out = isa & levels[i].allows;
		return VB_OK;
	}
	FAIL(VB_EINVAL, "unknown --cpu-isa: %s: use auto, scalar, avx2, avx512 or amx", level);
}
