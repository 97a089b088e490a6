#include "registry.h"

#include "base/buf.h"
#include "base/isa.h"
#include "base/status.h"

#include <stdbool.h>
#include <string.h>

/* Names and reasons of an operation's rows, in one message. */
#define MESSAGE_MAX 1024

static const struct {
	uint32_t bit;
	const char *reason;
} isa_reasons[] = {
	{ ISA_AVX2, "needs AVX2, FMA and F16C, which this CPU does not have or --cpu-isa leaves out" },
	{ ISA_AVX512, "needs AVX-512 F, BW, VL and DQ, which this CPU does not have or --cpu-isa leaves out" },
	{ ISA_AVX512_BF16, "needs AVX-512 BF16, which this CPU does not have or --cpu-isa leaves out" },
	{ ISA_AVX512_VNNI, "needs AVX-512 VNNI, which this CPU does not have or --cpu-isa leaves out" },
	{ ISA_AMX_BF16, "needs AMX BF16, which this CPU does not have or --cpu-isa leaves out" },
	{ ISA_AMX_INT8, "needs AMX INT8, which this CPU does not have or --cpu-isa leaves out" },
	{ ISA_CUDA, "needs a GPU of compute capability 8.0 or later that loads the program's kernels" },
	{ ISA_CUDA_HOPPER, "needs a GPU of compute capability 9.0 and a driver of CUDA 12.3 or later" },
};

const char *registry_missing_isa(uint32_t needs, uint32_t isa)
{
	uint32_t missing = needs & ~isa;
	if (!missing)
		return NULL;
	for (size_t i = 0; i < sizeof isa_reasons / sizeof *isa_reasons; i++)
		if (missing & isa_reasons[i].bit)
			return isa_reasons[i].reason;
	return "needs an instruction set that this program does not know";
}

static int find_row(const struct kernel_set *set, const char *name)
{
	for (int i = 0; i < set->n_rows; i++)
		if (strcmp(set->rows[i].name, name) == 0)
			return i;
	return -1;
}

static const char *reason_against(const struct kernel_set *set, uint32_t isa, const void *request, int row)
{
	const char *reason = registry_missing_isa(set->rows[row].needs, isa);
	return reason ? reason : set->refuse(request, row);
}

/* Text is cut where the message would be too long: it is for people. */
static int fail_unknown(const struct kernel_set *set, const char *forced)
{
	struct buf names;
	buf_init(&names, MESSAGE_MAX);
	for (int i = 0; i < set->n_rows; i++)
		(void)buf_printf(&names, "%s%s", i ? ", " : "", set->rows[i].name);
	int rc = status_fail(VB_EINVAL, __FILE__, __LINE__, "unknown kernel: %s: '%s': use one of %s", set->op,
			     forced, names.data ? names.data : "");
	buf_fini(&names);
	return rc;
}

static int fail_none(const struct kernel_set *set, const struct pick *p)
{
	struct buf reasons;
	buf_init(&reasons, MESSAGE_MAX);
	for (int i = 0; i < p->n_refused; i++)
		(void)buf_printf(&reasons, "%s%s %s", i ? "; " : "", p->refused[i].kernel, p->refused[i].reason);
	int rc = status_fail(VB_EUNSUPPORTED, __FILE__, __LINE__, "no kernel serves this: %s: %s", set->op,
			     reasons.data ? reasons.data : "");
	buf_fini(&reasons);
	return rc;
}

int registry_pick(const struct kernel_set *set, uint32_t isa, const void *request, const char *forced,
		  struct pick *out)
{
	*out = (struct pick){ .row = -1 };
	CHECK(set->n_rows <= PICK_MAX_ROWS);
	const char *against_forced = NULL;
	int wanted = forced ? find_row(set, forced) : -1;
	for (int i = 0; i < set->n_rows; i++) {
		const char *reason = reason_against(set, isa, request, i);
		if (reason)
			out->refused[out->n_refused++] = (struct refusal){ set->rows[i].name, reason };
		else if (!forced || i == wanted)
			out->row = i;
		if (i == wanted)
			against_forced = reason;
	}
	if (forced && wanted < 0)
		return fail_unknown(set, forced);
	if (against_forced)
		FAIL(VB_EUNSUPPORTED, "the kernel asked for cannot serve: %s: %s %s: choose another", set->op, forced,
		     against_forced);
	if (out->row < 0)
		return fail_none(set, out);
	out->kernel = set->rows[out->row].name;
	return VB_OK;
}
