/* rope_cache on 8 lanes: the same two products and one sum an element as the reference, hence the same bits. */
#include "avx2.h"
#include "kernels/ops/rope_cache.h"

#include <math.h>
#include <string.h>

static void copy(const float *x, int64_t n, enum dtype type, void *out, int64_t out_at)
{
	for (int64_t i = 0; i < n; i += 8) {
		int64_t live = n - i;
		avx2_store(type, out, out_at + i, live, avx2_load(x + i, live));
	}
}

static void rotate(const float *x, int64_t d, const float *table, int64_t rotary_dim, enum dtype type, void *out,
		   int64_t out_at)
{
	int64_t half = rotary_dim / 2;
	for (int64_t i = 0; i < half; i += 8) {
		int64_t live = half - i;
		__m256 a = avx2_load(x + i, live), b = avx2_load(x + half + i, live);
		__m256 c = avx2_load(table + i, live), s = avx2_load(table + half + i, live);
		__m256 first = _mm256_sub_ps(_mm256_mul_ps(a, c), _mm256_mul_ps(b, s));
		__m256 second = _mm256_add_ps(_mm256_mul_ps(b, c), _mm256_mul_ps(a, s));
		avx2_store(type, out, out_at + i, live, first);
		avx2_store(type, out, out_at + half + i, live, second);
	}
	copy(x + rotary_dim, d - rotary_dim, type, out, out_at + rotary_dim);
}

/* n values as int8; returns their scale. The same operations as the reference's, hence the same bits. */
static float quantise(const float *x, int64_t n, int8_t *out)
{
	const __m256 no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff)), infinite = _mm256_set1_ps(INFINITY);
	__m256 most = _mm256_setzero_ps(), strange = _mm256_setzero_ps();
	for (int64_t i = 0; i < n; i += 8) {
		__m256 size = _mm256_and_ps(avx2_load(x + i, n - i), no_sign);
		strange = _mm256_or_ps(strange, _mm256_cmp_ps(size, infinite, _CMP_NLT_UQ)); /* NaN, infinities */
		most = _mm256_max_ps(most, size);
	}
	__m128 m = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
	m = _mm_max_ps(m, _mm_movehl_ps(m, m));
	m = _mm_max_ss(m, _mm_movehdup_ps(m));
	float scale = _mm256_movemask_ps(strange) ? NAN : _mm_cvtss_f32(m) / 127;
	const __m256 limit = _mm256_set1_ps(127), low = _mm256_set1_ps(-127);
	for (int64_t i = 0; i < n; i += 8) {
		__m256 v = _mm256_div_ps(avx2_load(x + i, n - i), _mm256_set1_ps(scale));
		v = scale > 0 ? _mm256_max_ps(_mm256_min_ps(v, limit), low) : _mm256_setzero_ps();
		__m256i q = _mm256_cvtps_epi32(v);
		__m128i words = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
		int64_t bytes = _mm_cvtsi128_si64(_mm_packs_epi16(words, words));
		memcpy(out + i, &bytes, n - i < 8 ? (size_t)(n - i) : 8);
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

const char *rope_cache_avx2_refuse(const struct rope_cache_request *r)
{
	return rope_cache_refuse_any(r);
}

void rope_cache_avx2(const struct rope_cache_args *a, int64_t t_begin, int64_t t_end)
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
