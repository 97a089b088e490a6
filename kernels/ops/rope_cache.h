/* rope_cache.h - rotates q and k, and writes k and v into their pages.
 *
 * For each head of D values with R = rotary_dim, and i < R/2 (the "rotate half" layout of Hugging Face checkpoints):
 *   out[i]       = x[i] * cos_i - x[i + R/2] * sin_i
 *   out[i + R/2] = x[i + R/2] * cos_i + x[i] * sin_i       out[R..D) = x[R..D)
 * in float32 (two products, one sum, each rounded), then rounded once to the target type. v is only rounded.
 *
 * An int8 cache holds, for each token and head, x / scale rounded to the nearest even integer, with the scale beside it:
 * scale = max |x| / 127 in float32. 0 gives zeros. A row with a NaN or an infinity gives zeros and the scale NaN, so that
 * whoever reads it knows.
 *
 * Cache layout: [page][kv head][token in page][D] (V: [Dv]), dense. slot[t] = page * page_size + token in page;
 * a negative slot skips the write (q is still rotated). Scales: [page][kv head][token in page].
 */
#ifndef KERNELS_ROPE_CACHE_H
#define KERNELS_ROPE_CACHE_H

#include "kernel.h"

/* Largest head of an int8 cache. */
#define ROPE_CACHE_INT8_DIM 512

struct rope_cache_request {
	enum dtype q_type, kv_type; /* F32, BF16, F16; kv_type also I8 */
	int64_t head_dim, v_head_dim;
	int32_t rotary_dim; /* 0: nothing is rotated */
};

struct rope_cache_args {
	const float *q; /* [T, Hq, D] f32, tokens q_stride apart */
	const float *k; /* [T, Hk, D] f32, tokens k_stride apart */
	const float *v; /* [T, Hk, Dv] f32, tokens v_stride apart */
	const float *table;  /* [T, R] f32, from rope_table; NULL where R is 0 */
	const int64_t *slot; /* [T] */
	void *q_out;         /* [T, Hq, D] q_type, dense */
	void *k_cache, *v_cache; /* kv_type */
	float *k_scale, *v_scale; /* where kv_type is I8 */
	int64_t t, n_heads, n_kv_heads, head_dim, v_head_dim, page_size;
	int64_t q_stride, k_stride, v_stride;
	int32_t rotary_dim;
	enum dtype q_type, kv_type;
};

typedef void rope_cache_fn(const struct rope_cache_args *a, int64_t t_begin, int64_t t_end);
typedef const char *rope_cache_refuse_fn(const struct rope_cache_request *r);

/* What no kernel takes. */
static inline const char *rope_cache_refuse_any(const struct rope_cache_request *r)
{
	if (!kernel_takes_type(r->q_type) || (!kernel_takes_type(r->kv_type) && r->kv_type != DTYPE_I8))
		return "gives queries in f32, bf16 or f16, and caches in these or int8";
	if (r->kv_type == DTYPE_I8 && (r->head_dim > ROPE_CACHE_INT8_DIM || r->v_head_dim > ROPE_CACHE_INT8_DIM))
		return "gives int8 caches for heads of up to 512 values";
	if (r->rotary_dim < 0 || r->rotary_dim % 2 || r->rotary_dim > r->head_dim)
		return "takes an even rotary dimension of 0 up to the head's size";
	return r->head_dim < 1 || r->v_head_dim < 1 ? "takes heads of 1 value and more" : NULL;
}

#define KERNEL(op, name, needs, properties) \
	rope_cache_fn rope_cache_##name;    \
	rope_cache_refuse_fn rope_cache_##name##_refuse;
#define KERNEL_CUDA(op, name, needs, properties) rope_cache_refuse_fn rope_cache_##name##_refuse;
#include "rope_cache.def"
#undef KERNEL
#undef KERNEL_CUDA

#endif
