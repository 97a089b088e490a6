/* hw.h - the face of src/hw: what the machine offers, probed once, and facts from a file in its place. */
#ifndef HW_HW_H
#define HW_HW_H

#include "base/isa.h"
#include "base/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Versions and compute capabilities are two numbers and are compared as such: 12.10 is newer than 12.3. */
struct hw_version {
	int major, minor; /* major < 0: unknown, which is refused wherever it matters */
};

/* < 0, 0, > 0: a is older than, the same as, newer than b. Both must be known. */
int hw_version_compare(struct hw_version a, struct hw_version b);
bool hw_version_known(struct hw_version v);
/* "MAJOR", "MAJOR.MINOR" or "MAJOR.MINOR.PATCH", each of at most 6 digits and without leading zeros: an absent minor is
 * 0, the patch is ignored. NULL is unknown. False where `text` is anything else. */
bool hw_version_parse(const char *text, struct hw_version *out);

#define HW_REASON_MAX 192

#define HW_MAX_GPUS 16
#define HW_MAX_SASS 32

/* GPU code that the program carries. */
struct hw_image {
	bool present;
	struct hw_version cuda; /* that built it */
	int n_sass;
	struct hw_version sass[HW_MAX_SASS]; /* machine code for these compute capabilities */
	bool has_ptx;
	struct hw_version ptx; /* portable code from this compute capability up */
	bool only_portable;    /* nothing of it is of the Hopper family */
};

/* Whether the image was loaded on a GPU. */
enum hw_loaded {
	HW_LOAD_UNTRIED, /* the rules alone say whether it would be */
	HW_LOADED,
	HW_NOT_LOADED,
};

struct hw_gpu {
	char name[128];
	struct hw_version capability, driver_cuda;
	int64_t sms, shared_memory; /* shared memory a block may have, in bytes */
	uint64_t memory;
	struct hw_image image;
	enum hw_loaded loaded;
	char why[HW_REASON_MAX]; /* HW_NOT_LOADED: what the driver said of it */
};

/* Families of GPU kernels. */
enum hw_family {
	HW_PORTABLE, /* runs wherever the image has machine code or PTX for */
	HW_HOPPER,   /* compute capability 9.0 exactly, driver CUDA 12.3 or later */
};

/* Whether the image's code of that family runs on the GPU; `reason` says by what, or why not. Pure. */
bool hw_gpu_runs(const struct hw_gpu *gpu, enum hw_family family, char reason[HW_REASON_MAX]);

/* ISA_CUDA where the portable family runs on the GPU, and ISA_CUDA_HOPPER where that one does too; else 0. Pure. */
uint32_t hw_gpu_isa(const struct hw_gpu *gpu);

struct hw_facts {
	char cpu_name[128];
	uint32_t isa;         /* enum isa bits */
	int n_threads;        /* that this process may use: cores of the affinity mask, CPU quota (hw/cpus.h) */
	char threads_why[HW_REASON_MAX]; /* which of these; "" where facts give a number without saying */
	uint64_t memory;      /* bytes available to this process: MemAvailable or the cgroup's limit, the smaller */
	/* What gpu_probe found (hw/gpu.h). */
	bool cuda_driver;     /* libcuda.so.1 can be opened */
	int n_gpus;
	char gpu_why[HW_REASON_MAX]; /* why there are none; "" where nobody looked */
	struct hw_gpu gpu[HW_MAX_GPUS];
};

/* The CPU's side. No GPU is looked for: starting the driver takes a good part of a second, and a process that forks
 * afterwards cannot use a GPU in its children. Who would run on a GPU calls gpu_probe besides. */
int hw_facts_probe(struct hw_facts *out);

/* Facts from JSON that stands for a machine (docs/API.md has its shape). `where` names the text in messages. What the
 * text does not say of the CPU is this machine's, but instruction sets: those are the text's alone. A version that is
 * absent or null is unknown; a malformed one is VB_EFORMAT and quoted. */
int hw_facts_parse(struct hw_facts *out, const char *json, size_t len, const char *where);

/* The same shape back, with what runs on each GPU; NULL on ENOMEM. */
json_t *hw_facts_json(const struct hw_facts *facts);

/* The instruction sets of `isa` that a level allows: "auto" (all), "scalar", "avx2", "avx512", "amx". VB_EINVAL for
 * another name, VB_EUNSUPPORTED for a level above what `isa` offers. */
int hw_isa_level(const char *level, uint32_t isa, uint32_t *out);

/* What the CPUID and XGETBV instructions and Linux say of instruction sets. */
struct hw_cpuid {
	uint32_t leaf1_ecx, leaf7_ebx, leaf7_ecx, leaf7_edx, leaf7_1_eax;
	uint64_t xcr0;    /* registers that the operating system saves; 0 where it saves none by XSAVE */
	bool amx_granted; /* Linux lets this process use tile data */
};
/* enum isa bits: what is there, and whose registers are saved. Pure; for hw_facts_probe and tests. */
uint32_t hw_isa_decode(const struct hw_cpuid *id);

#endif
