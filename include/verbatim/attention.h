/* verbatim/attention.h - the attention runtime alone: softmax(scale * q k^T) v over a paged cache, without a model.
 *
 *     struct vb_attention_request request;
 *     vb_attention_request_default(&request);
 *     request.n_heads = 32; request.n_kv_heads = 8; request.head_dim = request.v_head_dim = 64;
 *     struct vb_attention_limits limits;
 *     vb_attention_limits_default(&limits);
 *     struct vb_attention *attention;
 *     if (vb_attention_create(&attention, NULL, &request, &limits) != VB_OK)
 *         ... vb_errmsg() ...
 *     each step: vb_attention_update(attention, n_seqs, q_begin, kv_len);
 *     each layer: vb_attention_write(attention, &new_keys); vb_attention_run(attention, &io);
 *     vb_attention_destroy(&attention);
 *
 * In this order: facts (what the machine offers), request (what is asked), pick (which kernel, and why not others), a
 * handle sized from capacities, and then any number of steps. Neither update nor write nor run allocates, and a run's
 * results do not depend, in any bit, on what else is in the batch, on how a prompt was cut into steps, on which pages
 * hold the keys, or on the number of threads.
 *
 * What is computed. Sequence s has query tokens q_begin[s] .. q_begin[s+1] - 1 of the step's T tokens, and kv_len[s] keys,
 * of which its query tokens are the last: query i of q_len stands at position p = kv_len - q_len + i and sees keys
 * max(0, p - window + 1) .. p (the window counts the query's own key; 0: all keys up to p). KV head h serves query heads
 * h * g .. h * g + g - 1 with g = n_heads / n_kv_heads. score = scale * dot(q, k), then softcap * tanh(score / softcap)
 * where softcap > 0. A sink adds exp(sink) to the denominator and nothing to the numerator. Sums are float32, the result
 * is rounded once. A query that sees no key gives 0, and lse -inf (with a sink: the sink).
 *
 * The cache. A page holds page_size tokens of all KV heads: k_cache is [n_pages][n_kv_heads][page_size][head_dim], v_cache
 * [n_pages][n_kv_heads][page_size][v_head_dim], both dense and of kv_type. page_table[s * table_stride + i] is the page
 * of tokens i * page_size .. of sequence s. Pages that hold no key which a query of the step sees are neither looked up nor
 * read, nor is anything in a page beyond the sequence's last key.
 *
 * Sources: the running softmax is Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018; tiles over
 * it, Dao et al., "FlashAttention", 2022; pages, Kwon et al., "PagedAttention", 2023.
 *
 * Threads: a handle is used by one thread at a time; different handles are independent. Pointers that a call takes
 * are borrowed until it returns, unless it says otherwise.
 */
#ifndef VERBATIM_ATTENTION_H
#define VERBATIM_ATTENTION_H

#include "verbatim/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum vb_type { VB_TYPE_F32 = 0, VB_TYPE_BF16, VB_TYPE_F16 };

/* Instruction sets, as bits. */
enum vb_isa {
	VB_ISA_AVX2 = 1,        /* with FMA and F16C */
	VB_ISA_AVX512 = 2,      /* F, BW, VL and DQ */
	VB_ISA_AVX512_BF16 = 4,
	VB_ISA_AVX512_VNNI = 8,
	VB_ISA_AMX_BF16 = 16,
	VB_ISA_AMX_INT8 = 32
};

/* ---- Facts ---- */

struct vb_attention_facts {
	size_t size;        /* sizeof(struct vb_attention_facts), set by vb_attention_facts_probe */
	char cpu[128];      /* its name */
	uint64_t isa;       /* enum vb_isa bits that kernels may use: bits may be cleared, not added */
	int threads;        /* one for each core that the affinity mask and the CPU quota allow */
	void *reserved[4];  /* zero */
};

/* Looks at this machine. */
VB_API int vb_attention_facts_probe(struct vb_attention_facts *out);

/* ---- Request and choice ---- */

struct vb_attention_request {
	size_t size; /* sizeof(struct vb_attention_request), set by vb_attention_request_default */
	int64_t n_heads, n_kv_heads; /* the first a multiple of the second; default 1 */
	int64_t head_dim;            /* values of a query or key; default 64 */
	int64_t v_head_dim;          /* values of a value and of the result; default 64 */
	enum vb_type q_type, kv_type, out_type; /* default VB_TYPE_F32 */
	int64_t page_size; /* tokens a page, a power of two; default 64 */
	int64_t window;    /* keys that a query sees, its own included; default 0: all */
	float scale;       /* default 0: 1 / sqrt(head_dim) */
	float softcap;     /* default 0: none */
	bool sinks;        /* a learnable sink a query head; default false */
	int64_t max_q_len; /* query tokens a sequence may have in a step; default 512 */
	const char *kernel; /* name of the kernel that must be used; default NULL: the best that serves */
	void *reserved[4]; /* zero */
};

VB_API void vb_attention_request_default(struct vb_attention_request *request);

struct vb_attention_refusal {
	const char *kernel, *reason; /* static storage */
};

struct vb_attention_choice {
	const char *kernel; /* static storage; NULL where nothing serves */
	int n_refused;
	struct vb_attention_refusal refused[16]; /* the kernels that cannot serve, with the reasons */
};

/* Which kernel serves the request on a machine with these facts: a pure function of both. VB_EUNSUPPORTED where none
 * does, or not the one asked for by name; VB_EINVAL where the request makes no sense or the name is unknown. *out holds
 * the refusals in the first case too. */
VB_API int vb_attention_pick(const struct vb_attention_facts *facts, const struct vb_attention_request *request,
			     struct vb_attention_choice *out);

/* ---- The handle ---- */

struct vb_attention_limits {
	size_t size; /* sizeof(struct vb_attention_limits), set by vb_attention_limits_default */
	int64_t max_seqs;    /* sequences a step; default 1 */
	int64_t max_tokens;  /* query tokens a step; default 512 */
	int64_t table_width; /* pages a sequence; default 64 */
	int threads;         /* default 0: facts->threads */
	void *reserved[4];   /* zero */
};

VB_API void vb_attention_limits_default(struct vb_attention_limits *limits);

struct vb_attention;

/* Takes all memory and starts the threads that running needs, from capacities alone. facts NULL: probed. Fails as
 * vb_attention_pick does, and with VB_EINVAL or VB_ENOMEM for limits that are absurd or too large; *out is then NULL. */
VB_API int vb_attention_create(struct vb_attention **out, const struct vb_attention_facts *facts,
			       const struct vb_attention_request *request, const struct vb_attention_limits *limits);

/* Frees the handle and sets *attention to NULL. NULL, or a pointer to NULL, is allowed. */
VB_API void vb_attention_destroy(struct vb_attention **attention);

/* The kernel that was chosen. Static storage. "" for NULL. */
VB_API const char *vb_attention_kernel(const struct vb_attention *attention);

/* Bytes that the handle holds. 0 for NULL. */
VB_API uint64_t vb_attention_bytes(const struct vb_attention *attention);

/* ---- Steps ---- */

/* Says what the next step is; valid for any number of writes and runs (one a layer) until the next update.
 *   q_begin  [n_seqs + 1], ascending, q_begin[0] >= 0; equal neighbours: no query token
 *   kv_len   [n_seqs], >= 0: keys, those of this step's tokens included
 * VB_EINVAL or VB_ELIMIT where they are malformed or beyond the limits; the handle then has no step. */
VB_API int vb_attention_update(struct vb_attention *attention, int64_t n_seqs, const int32_t *q_begin,
			       const int32_t *kv_len);

/* Where keys and values are. */
struct vb_attention_cache {
	void *k, *v;               /* see "The cache"; run does not write to them */
	int64_t n_pages;           /* pages that k and v hold: page numbers are checked against it */
	const int32_t *page_table; /* [n_seqs, table_stride] */
	int64_t table_stride;      /* entries a sequence; at least what the longest sequence of the step needs */
};

/* Copies keys and values of the step's tokens to their places in the cache. Tokens at positions below 0 (where kv_len is
 * less than the number of query tokens) have no place and are skipped.
 *   k  [T, n_kv_heads, head_dim]   of kv_type, tokens k_stride elements apart (0: dense)
 *   v  [T, n_kv_heads, v_head_dim] of kv_type, tokens v_stride elements apart (0: dense)
 * VB_ESTATE without a step; VB_EINVAL for a page number outside the cache, and nothing is written then. */
struct vb_attention_new_keys {
	size_t size; /* sizeof(struct vb_attention_new_keys), set by the caller */
	const void *k, *v;
	int64_t k_stride, v_stride;
	struct vb_attention_cache cache;
};
VB_API int vb_attention_write(struct vb_attention *attention, const struct vb_attention_new_keys *keys);

/* Attends.
 *   q      [T, n_heads, head_dim]   of q_type, tokens q_stride elements apart (0: dense)
 *   out    [T, n_heads, v_head_dim] of out_type, tokens out_stride elements apart (0: dense); overlaps nothing else
 *   lse    [T, n_heads] natural logarithm of each softmax's denominator, or NULL
 *   sinks  [n_heads] where the request has sinks, else NULL
 * VB_ESTATE without a step; VB_EINVAL for a NULL, a stride too small, or a page number outside the cache; then nothing is
 * written. Tokens outside q_begin[0] .. q_begin[n_seqs] - 1 are not touched. */
struct vb_attention_io {
	size_t size; /* sizeof(struct vb_attention_io), set by the caller */
	const void *q;
	void *out;
	float *lse;
	const float *sinks;
	int64_t q_stride, out_stride;
	struct vb_attention_cache cache;
};
VB_API int vb_attention_run(struct vb_attention *attention, const struct vb_attention_io *io);

#ifdef __cplusplus
}
#endif
#endif
