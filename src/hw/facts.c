#define _GNU_SOURCE
#include "hw/hw.h"

#include "base/json.h"
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

static const struct {
	const char *name;
	uint32_t bit;
} isa_names[] = {
	{ "avx2", ISA_AVX2 },           { "avx512f", ISA_AVX512 },     { "avx512_bf16", ISA_AVX512_BF16 },
	{ "avx512_vnni", ISA_AVX512_VNNI }, { "amx_bf16", ISA_AMX_BF16 }, { "amx_int8", ISA_AMX_INT8 },
};

int hw_facts_parse(struct hw_facts *out, const char *json, size_t len, const char *where)
{
	TRY(hw_facts_probe(out));
	out->isa = 0;
	json_t *facts;
	TRY(json_parse(&facts, json, len, where));
	json_t *list = json_object_get(json_object_get(facts, "cpu"), "isa");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *name = json_string_value(json_array_get(list, i));
		for (size_t j = 0; name && j < sizeof isa_names / sizeof isa_names[0]; j++)
			if (strcmp(isa_names[j].name, name) == 0)
				out->isa |= isa_names[j].bit;
	}
	json_decref(facts);
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

json_t *hw_facts_json(const struct hw_facts *facts)
{
	json_t *isa = json_array();
	for (size_t i = 0; i < sizeof isa_names / sizeof isa_names[0]; i++)
		if (facts->isa & isa_names[i].bit)
			json_array_append_new(isa, json_string(isa_names[i].name));
	return json_pack("{s:{s:s, s:o, s:i, s:I}, s:[]}", "cpu", "name", facts->cpu_name, "isa", isa, "threads",
			 facts->n_threads, "memory", (json_int_t)facts->memory, "gpus");
}
