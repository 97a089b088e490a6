/* The definition of rope_cache. */
#include "kernels/ops/rope_cache.h"

#include <math.h>

const char *rope_cache_ref_refuse(const struct rope_cache_request *r)
{
	return rope_cache_refuse_any(r);
}

/* Rotates one head of d values (rotary_dim 0: copies it) into element out_at of `out`. */
static void rotate(const float *x, int64_t d, const float *table, int32_t rotary_dim, enum dtype type, void *out,
		   int64_t out_at)
{
	int64_t half = rotary_dim / 2;
	for (int64_t i = 0; i < half; i++) {
		float c = table[i], s = table[half + i];
		float first = x[i] * c - x[i + half] * s;
		float second = x[i + half] * c + x[i] * s;
		dtype_store(type, out, (size_t)(out_at + i), first);
		dtype_store(type, out, (size_t)(out_at + i + half), second);
	}
	for (int64_t i = rotary_dim; i < d; i++)
		dtype_store(type, out, (size_t)(out_at + i), x[i]);
}

/* n values as int8, at element `at` of `out`; returns their scale. */
static float quantise(const float *x, int64_t n, int8_t *out)
{
	float most = 0;
	bool finite = true;
	for (int64_t i = 0; i < n; i++) {
		finite = finite && isfinite(x[i]);
		most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
	}
	float scale = finite ? most / 127 : NAN;
	for (int64_t i = 0; i < n; i++) {
		/* A denormal scale is coarse: a quotient may exceed 127. */
		float q = scale > 0 ? rintf(x[i] / scale) : 0;
		out[i] = (int8_t)(q > 127 ? 127 : q < -127 ? -127 : q);
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
		rotate(a->v + t * a->v_stride + h * a->v_head_dim, a->v_head_dim, NULL, 0, a->kv_type, a->v_cache,
		       token * a->v_head_dim);
	}
}

void rope_cache_ref(const struct rope_cache_args *a, int64_t t_begin, int64_t t_end)
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
