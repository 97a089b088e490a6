#define _GNU_SOURCE
#include "hw/hw.h"

#include "base/status.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

static uint32_t probe_isa(void)
{
	uint32_t isa = 0;
#if defined(__x86_64__)
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
#endif
	return isa;
}

int hw_facts_probe(struct hw_facts *out)
{
	*out = (struct hw_facts){ .isa = probe_isa(), .n_threads = 1 };
	cpu_set_t set;
	if (sched_getaffinity(0, sizeof set, &set) == 0)
		out->n_threads = CPU_COUNT(&set);
	FILE *f = fopen("/proc/meminfo", "r");
	if (f) {
		char line[256];
		unsigned long long kib;
		while (fgets(line, sizeof line, f))
			if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
				out->memory = (uint64_t)kib * 1024;
		fclose(f);
	}
	return VB_OK;
}
