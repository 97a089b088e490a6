/* rope_cache on 16 lanes: the same two products and one sum an element as the reference, hence the same bits. */
#include "avx512.h"
#include "kernels/ops/rope_cache.h"

#include <math.h>

static void copy(const float *x, int64_t n, enum dtype type, void *out, int64_t out_at)
{
	for (int64_t i = 0; i < n; i += 16) {
		__mmask16 live = avx512_mask16(n - i);
		avx512_store(type, out, out_at + i, live, _mm512_maskz_loadu_ps(live, x + i));
	}
}

static void rotate(const float *x, int64_t d, const float *table, int64_t rotary_dim, enum dtype type, void *out,
		   int64_t out_at)
{
	int64_t half = rotary_dim / 2;
	for (int64_t i = 0; i < half; i += 16) {
		__mmask16 live = avx512_mask16(half - i);
		__m512 a = _mm512_maskz_loadu_ps(live, x + i), b = _mm512_maskz_loadu_ps(live, x + half + i);
		__m512 c = _mm512_maskz_loadu_ps(live, table + i), s = _mm512_maskz_loadu_ps(live, table + half + i);
		__m512 first = _mm512_sub_ps(_mm512_mul_ps(a, c), _mm512_mul_ps(b, s));
		__m512 second = _mm512_add_ps(_mm512_mul_ps(b, c), _mm512_mul_ps(a, s));
		avx512_store(type, out, out_at + i, live, first);
		avx512_store(type, out, out_at + half + i, live, second);
	}
	copy(x + rotary_dim, d - rotary_dim, type, out, out_at + rotary_dim);
}

/* n values as int8; returns their scale. The same operations as the reference's, hence the same bits. */
static float quantise(const float *x, int64_t n, int8_t *out)
{
	__m512 most = _mm512_setzero_ps();
	__mmask16 strange = 0;
	for (int64_t i = 0; i < n; i += 16) {
		__m512 v = _mm512_maskz_loadu_ps(avx512_mask16(n - i), x + i);
		strange |= _mm512_fpclass_ps_mask(v, 0x99); /* NaN, infinities */
		most = _mm512_max_ps(most, _mm512_abs_ps(v));
	}
	float scale = strange ? NAN : _mm512_reduce_max_ps(most) / 127;
	const __m512 limit = _mm512_set1_ps(127);
	for (int64_t i = 0; i < n; i += 16) {
		__mmask16 live = avx512_mask16(n - i);
		__m512 v = _mm512_div_ps(_mm512_maskz_loadu_ps(live, x + i), _mm512_set1_ps(scale));
		v = _mm512_maskz_mov_ps(scale > 0 ? 0xffff : 0, v);
		v = _mm512_max_ps(_mm512_min_ps(v, limit), _mm512_sub_ps(_mm512_setzero_ps(), limit));
		_mm_mask_storeu_epi8(out + i, live, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
	}
	return scale;
}

static void cache_int8(const struct rope_cache_args *a, int64_t t, int64_t h, int64_t token, const float *table)
{
	float k[ROPE_CACHE_INT8_DIM];
	rotate(a->k + t * a->k_stride + h * a->head_dim, a->head_dim, table, a->rotary_dim, DTYPE_F32, k, 0);
	a->k_scale[token] = quantise(k, a->head_dim, (int8_t *)a->k_cache + token * a->head_dim);
	a->v_scale[token] = quantise(a->v + t * a->v_stride + h * a->v_head_dim, a->v_head_dim,
				     (int8_t *)a->v_cache + token * a->v_head_dim);
}

static void cache_token(const struct rope_cache_args *a, int64_t t, const float *table)
{
	int64_t page = a->slot[t] / a->page_size, at = a->slot[t] % a->page_size;
	for (int64_t h = 0; h < a->n_kv_heads; h++) {
		int64_t token = (page * a->n_kv_heads + h) * a->page_size + at;
		if (a->kv_type == DTYPE_I8) {
			cache_int8(a, t, h, token, table);
			continue;
		}
		rotate(a->k + t * a->k_stride + h * a->head_dim, a->head_dim, table, a->rotary_dim, a->kv_type,
		       a->k_cache, token * a->head_dim);
		copy(a->v + t * a->v_stride + h * a->v_head_dim, a->v_head_dim, a->kv_type, a->v_cache,
		     token * a->v_head_dim);
	}
}

const char *rope_cache_avx512_refuse(const struct rope_cache_request *r)
{
	return rope_cache_refuse_any(r);
}

void rope_cache_avx512(const struct rope_cache_args *a, int64_t t_begin, int64_t t_end)
{
	for (int64_t t = t_begin; t < t_end; t++) {
		const float *table = a->rotary_dim ? a->table + t * a->rotary_dim : NULL;
		for (int64_t h = 0; h < a->n_heads; h++)
			rotate(a->q + t * a->q_stride + h * a->head_dim, a->head_dim, table, a->rotary_dim, a->q_type,
			       a->q_out, (t * a->n_heads + h) * a->head_dim);
		if (a->slot[t] >= 0)
			cache_token(a, t, table);
	}
}
