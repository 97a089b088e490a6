/* hw.h - the face of src/hw: what the machine offers, probed once, and facts from a file in its place. */
#ifndef HW_HW_H
#define HW_HW_H

#include "base/isa.h"
#include "base/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hw_facts {
	char cpu_name[128];
	uint32_t isa;         /* enum isa bits */
	int n_threads;        /* that this process may use: affinity mask and CPU quota */
	uint64_t memory;      /* bytes available to this process: MemAvailable or the cgroup's limit, the smaller */
};

int hw_facts_probe(struct hw_facts *out);

/* Facts from JSON that stands for a machine (docs/API.md has its shape). `where` names the text in messages. */
int hw_facts_parse(struct hw_facts *out, const char *json, size_t len, const char *where);

/* The same shape back; NULL on ENOMEM. */
json_t *hw_facts_json(const struct hw_facts *facts);

/* The instruction sets of `isa` that a level allows: "auto" (all), "scalar", "avx2", "avx512", "amx". VB_EINVAL for
 * another name, VB_EUNSUPPORTED for a level above what `isa` offers. */
int hw_isa_level(const char *level, uint32_t isa, uint32_t *out);

#endif
