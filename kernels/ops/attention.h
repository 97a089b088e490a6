/* attention.h - softmax(scale * q k^T) v over a paged cache, causal, for 1..N query tokens a sequence.
 *
 * Sequence s has q_len = q_begin[s+1] - q_begin[s] query tokens, the last of its kv_len[s] keys' positions: query i
 * stands at absolute position p = kv_len[s] - q_len + i and sees keys j with max(0, p - W + 1) <= j <= p (W = window,
 * its own key included; 0: all). KV head h serves query heads h*g .. h*g + g - 1 (GQA, g = Hq / Hk).
 * score = scale * dot(q, k_j); with softcap c: c * tanh(score / c), before masking; a learnable sink adds
 * exp(sink - max) to the row's denominator once, with no value. An int8 cache holds, for each key and head, integers and a
 * scale: score = scale * (k_scale_j * dot(q, k_j)), and a value is v_scale_j * v_j.
 *
 * THE ORDER OF SUMMATION (the law). Keys are cut into pieces at the fixed absolute positions of attention_piece_begin().
 * Within a piece keys ascend in tiles whose borders are absolute positions too. A row's pieces give partials
 * (m: maximum, l: sum of exp(score - m), o: sum of exp(score - m) * v), merged in ascending order by one function of
 * two states. Nothing depends on what else is computed: neither on other rows or sequences, nor on q_len, nor on
 * which worker took the piece. A key that is masked for a row contributes an exact nothing. float32 throughout, but for operands of
 * products, which a kernel may round (docs/NUMERICS.md says how); out is rounded once. A row that sees no key gives out = 0 and lse = -inf (with a sink: lse = sink).
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
	const float *k_scale, *v_scale; /* [page][Hk][page_size] where kv_type is I8: what its values are multiplied by; not negative */
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
KERNEL_INLINE int64_t attention_piece_begin(int64_t i)
{
	return i <= 16 ? i * 256 : 4096 + (i - 16) * 1024;
}

/* The piece that holds position p. */
KERNEL_INLINE int64_t attention_piece_of(int64_t p)
{
	return p < 4096 ? p / 256 : 16 + (p - 4096) / 1024;
}

/* Within a piece keys ascend in tiles of this many, at absolute multiples of it; a tile is what rescales a row once.
 * Piece borders are tile borders. */
#define ATTENTION_TILE 64
/* Largest head that CPU kernels serve. */
#define ATTENTION_MAX_HEAD_DIM 512

/* The state of a row over a range of keys: floats { m, l, 14 of the kernel's own, o[v_head_dim rounded up to 64] }. m is -inf and l
 * is 0 where no key was seen; o is then undefined, else it is in the kernel's own order of dimensions. States of one
 * kernel row are read by the merge of the same row only. */
#define ATTENTION_STATE_O 16
KERNEL_INLINE int64_t attention_state_floats(int64_t v_head_dim)
{
	return ATTENTION_STATE_O + (v_head_dim + 63) / 64 * 64;
}

/* Keys that the query at position p (< 0: before the first key, sees none) sees: *begin <= j < *end. */
KERNEL_INLINE void attention_visible(int64_t p, int64_t window, int64_t *begin, int64_t *end)
{
	*end = p < 0 ? 0 : p + 1;
	*begin = window > 0 && *end > window ? *end - window : 0;
}

/* What one call computes: the rows of a range of KV heads (all their g query heads) for a range of a sequence's query tokens,
 * over a range of pieces. KV heads lie behind each other in a page, so that few rows of many heads read memory in long runs.
 * Row r is KV head kv_head_begin + r / (n_tokens * g), query token token_begin + r / g % n_tokens, and of the KV head's
 * query heads r % g.
 *   states NULL: piece_begin..piece_end covers every key that the rows see; the result goes to out (and lse).
 *   else: the state of each piece i and row r goes to states[((i - piece_begin) * n_rows + r) * state_floats], to be
 *   merged later. Folding states inside a call and merging them are the same function: equal bits.
 * Pages of keys that no row of the call sees are not touched, nor is memory beyond a page's last key in use. */
struct attention_item {
	int32_t seq;
	int32_t kv_head_begin, kv_head_end;
	int32_t token_begin, token_end; /* within the sequence's query tokens */
	int32_t piece_begin, piece_end;
	float *states;
};

/* Most rows an item has, unless one token of one KV head has more: so that a tile of keys is unpacked once for many rows
 * while all that a worker touches stays in its L2 cache. */
#define ATTENTION_ROWS 128

/* Most query tokens of one KV head. */
static inline int64_t attention_max_tokens(int64_t n_heads, int64_t n_kv_heads)
{
	int64_t g = n_heads / n_kv_heads;
	return g < ATTENTION_ROWS ? ATTENTION_ROWS / g : 1;
}

static inline int64_t attention_max_rows(int64_t n_heads, int64_t n_kv_heads)
{
	int64_t g = n_heads / n_kv_heads;
	return g < ATTENTION_ROWS ? ATTENTION_ROWS : g;
}

/* Rows of an item. */
static inline int64_t attention_item_rows(const struct attention_item *it, int64_t g)
{
	return (int64_t)(it->kv_head_end - it->kv_head_begin) * (it->token_end - it->token_begin) * g;
}

/* Bytes of scratch, aligned to 64, that a call with up to max_rows rows needs: the rows' q as f32, the scores of a tile,
 * a tile of keys and one of values, and two states a row. The same for every CPU kernel. */
static inline int64_t attention_scratch_bytes(int64_t max_rows, int64_t head_dim, int64_t v_head_dim)
{
	int64_t d = (head_dim + 31) / 32 * 32, v_d = (v_head_dim + 31) / 32 * 32;
	int64_t floats = max_rows * (d + ATTENTION_TILE + 2 * attention_state_floats(v_head_dim)) + (d + v_d) * ATTENTION_TILE;
	return floats * (int64_t)sizeof(float);
}

/* Types that no CPU kernel takes. Queries, results and keys may each have their own. */
static inline const char *attention_refuse_types(const struct attention_request *r)
{
	if (!kernel_takes_type(r->q_type) || !kernel_takes_type(r->out_type))
		return "types are limited to f32, bf16 and f16";
	return kernel_takes_type(r->kv_type) || r->kv_type == DTYPE_I8 ? NULL : "caches are limited to f32, bf16, f16 and int8";
}

/* Types and head sizes that no CPU kernel of vectors takes. */
static inline const char *attention_refuse_vectors(const struct attention_request *r)
{
	const char *types = attention_refuse_types(r);
	if (types)
		return types;
	if (r->head_dim % 8 || r->v_head_dim % 8)
		return "head sizes must be multiples of 8";
	if (r->head_dim > ATTENTION_MAX_HEAD_DIM || r->v_head_dim > ATTENTION_MAX_HEAD_DIM)
		return "head sizes are limited to 512";
	return NULL;
}

/* `scratch` is the calling worker's own. */
typedef void attention_fn(const struct attention_args *a, const struct attention_item *it, void *scratch);
/* Merges the states of `it` (made by calls for adjacent ranges of pieces that cover it->piece_begin..piece_end, laid
 * out one behind the other at it->states) in ascending order and writes out and lse. */
typedef void attention_merge_fn(const struct attention_args *a, const struct attention_item *it, void *scratch);
typedef const char *attention_refuse_fn(const struct attention_request *r);

#define KERNEL(op, name, needs, properties)   \
	attention_fn attention_##name;        \
	attention_merge_fn attention_##name##_merge; \
	attention_refuse_fn attention_##name##_refuse;
#define KERNEL_CUDA(op, name, needs, properties) attention_refuse_fn attention_##name##_refuse;
#include "attention.def"
#undef KERNEL
#undef KERNEL_CUDA

#endif
