/* The machine as it is, and with the tile instructions that amx_emulated.h stands for. Linked with --wrap=hw_facts_probe. */
#include "hw/hw.h"

int __real_hw_facts_probe(struct hw_facts *out);
int __wrap_hw_facts_probe(struct hw_facts *out);

int __wrap_hw_facts_probe(struct hw_facts *out)
{
	int rc = __real_hw_facts_probe(out);
	if (out->isa & ISA_AVX512)
		out->isa |= ISA_AMX_BF16 | ISA_AMX_INT8;
	return rc;
}
