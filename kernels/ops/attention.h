/* attention.h - softmax(scale * q k^T) v over a paged cache, causal, for 1..N query tokens a sequence.
 *
 * Sequence s has q_len = q_begin[s+1] - q_begin[s] query tokens, the last of its kv_len[s] keys' positions: query i
 * stands at absolute position p = kv_len[s] - q_len + i and sees keys j with max(0, p - W + 1) <= j <= p (W = window,
 * its own key included; 0: all). KV head h serves query heads h*g .. h*g + g - 1 (GQA, g = Hq / Hk).
 * score = scale * dot(q, k_j); with softcap c: c * tanh(score / c), before masking; a learnable sink adds
 * exp(sink - max) to the row's denominator once, with no value.
 *
 * THE ORDER OF SUMMATION (the law). Keys are cut into pieces at the fixed absolute positions of attention_piece_begin().
 * Within a piece keys ascend in tiles whose borders are absolute positions too. A row's pieces give partials
 * (m: maximum, l: sum of exp(score - m), o: sum of exp(score - m) * v), merged in ascending order by one function of
 * two states. Nothing depends on what else is computed: neither on other rows or sequences, nor on q_len, nor on
 * which worker took the piece. A key that is masked for a row contributes an exact nothing. float32 throughout; out is
 * rounded once. A row that sees no key gives out = 0 and lse = -inf (with a sink: lse = sink).
 */
#ifndef KERNELS_ATTENTION_H
#define KERNELS_ATTENTION_H

#include "kernel.h"

struct attention_request {
	int64_t n_heads, n_kv_heads, head_dim, v_head_dim;
	enum dtype q_type, kv_type, out_type;
	int64_t page_size; /* tokens, a power of two >= 1 */
	int64_t window;    /* 0: none */
	int64_t max_q_len; /* query tokens a sequence may have in one run */
	bool softcap, sink;
};

struct attention_args {
	const void *q; /* [T, Hq, D] q_type, tokens q_stride elements apart */
	const void *k_cache, *v_cache; /* [page][Hk][page_size][D], [..][Dv] kv_type, dense */
	const int32_t *page_table;     /* [n_seqs, table_stride]: page of tokens i*page_size.. */
	const int32_t *q_begin;        /* [n_seqs + 1] */
	const int32_t *kv_len;         /* [n_seqs] */
	const float *sinks;            /* [Hq] or NULL */
	void *out;                     /* [T, Hq, Dv] out_type, tokens out_stride apart */
	float *lse;                    /* [T, Hq] natural log, or NULL */
	int64_t n_seqs, table_stride, q_stride, out_stride;
	int64_t n_heads, n_kv_heads, head_dim, v_head_dim, page_size, window;
	float scale, softcap; /* softcap 0: none */
	enum dtype q_type, kv_type, out_type;
};

/* First position of piece i: every 256 up to 4096, then every 1024: short contexts keep many workers busy, long ones
 * do not pay for merging. The one definition, for every device. */
static inline int64_t attention_piece_begin(int64_t i)
{
	return i <= 16 ? i * 256 : 4096 + (i - 16) * 1024;
}

/* The piece that holds position p. */
static inline int64_t attention_piece_of(int64_t p)
{
	return p < 4096 ? p / 256 : 16 + (p - 4096) / 1024;
}

typedef const char *attention_refuse_fn(const struct attention_request *r);

#endif
