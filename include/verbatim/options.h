/* verbatim/options.h - how an engine is to be set up. One struct, one place for defaults. */
#ifndef VERBATIM_OPTIONS_H
#define VERBATIM_OPTIONS_H

#include "verbatim/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum vb_log_level { VB_LOG_ERROR = 0, VB_LOG_WARN, VB_LOG_INFO, VB_LOG_DEBUG };

struct vb_options {
	size_t size; /* sizeof(struct vb_options), set by vb_options_default: lets the struct grow */

	const char *device;    /* "auto", "cpu", "cuda", "cuda:N". auto: GPU 0 where its kernels load, else the CPU */
	const char *dtype;     /* compute type: "auto" (the checkpoint's), "bf16", "f16", "f32" */
	const char *kv_dtype;  /* of keys and values in the cache: "auto" (dtype), "f32", "bf16", "f16"; on the CPU also "int8" */
	const char *quantize;  /* weights of linears as they are loaded: "none" (as stored), "q8", "q4". On the CPU alone */
	const char *cpu_isa;   /* highest level that kernels may use: "auto", "scalar", "avx2", "avx512", "amx" */
	const char *attention; /* "auto", or the name of one attention kernel that must serve every layer */
	int threads;           /* 0: a core each, as the affinity mask and the CPU quota allow */
	bool graph;            /* CUDA graphs; has no meaning on the CPU */

	int64_t page_size;     /* tokens a page, a power of two; 0: 64 */
	uint64_t kv_memory;    /* bytes for the KV cache; 0: what `context` needs, within free memory */
	int64_t context;       /* longest sequence in tokens; 0: the model's, lowered to what fits (and said so) */
	int64_t max_batch;     /* sequences at once; 0: 1 */
	int64_t prefill_chunk; /* prompt tokens a step; 0: 512 */

	const char *speculate;   /* "none", "ngram", "draft", "mtp", "eagle3" */
	const char *draft_model; /* folder; NULL: none */
	int draft_tokens;        /* guesses a step; -1: auto */
	bool prefix_cache;

	bool random_weights;     /* draw weights from random_seed; the folder needs config.json only */
	uint64_t random_seed;

	/* Progress and warnings, one line each; NULL: silent. */
	void (*log)(void *user, enum vb_log_level level, const char *line);
	void *log_user;
	enum vb_log_level log_level;

	void *reserved[8]; /* zero */
};

/* Fills in every default. Call it first, then change what you want. */
VB_API void vb_options_default(struct vb_options *options);

/* Frees what the library returned with "freed by vb_free". NULL is allowed. */
VB_API void vb_free(void *p);

/* "0.1.0". Static storage. */
VB_API const char *vb_version(void);

#ifdef __cplusplus
}
#endif
#endif
