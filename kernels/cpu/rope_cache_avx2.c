/* rope_cache on 8 lanes: the same two products and one sum an element as the reference, hence the same bits. */
#include "avx2.h"
#include "kernels/ops/rope_cache.h"

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

static void cache_token(const struct rope_cache_args *a, int64_t t, const float *table)
{
	int64_t page = a->slot[t] / a->page_size, at = a->slot[t] % a->page_size;
	for (int64_t h = 0; h < a->n_kv_heads; h++) {
		int64_t token = (page * a->n_kv_heads + h) * a->page_size + at;
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
