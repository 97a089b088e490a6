/* hw.h - the face of src/hw: what the machine offers, probed once, and facts from a file in its place. */
#ifndef HW_HW_H
#define HW_HW_H

#include "base/isa.h"

#include <stdbool.h>
#include <stdint.h>

struct hw_facts {
	char cpu_name[128];
	uint32_t isa;         /* enum isa bits */
	int n_threads;        /* that this process may use: affinity mask and CPU quota */
	uint64_t memory;      /* bytes available to this process: MemAvailable or the cgroup's limit, the smaller */
};

int hw_facts_probe(struct hw_facts *out);

#endif
