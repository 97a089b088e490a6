#include "kernels/ops/limits.h"

#include <immintrin.h>

/* A fused multiply-add takes 4 cycles and two may start in each: 8 chains are enough, 12 are to spare. */
#define CHAINS 12

const char *limits_avx512_refuse(const struct limits_request *r)
{
	return r->work == LIMITS_MULTIPLY && r->type != DTYPE_F32 ? "multiplies f32 only" : NULL;
}

static uint64_t read_words(const __m512i *word, size_t n)
{
	__m512i sum[8];
	for (int c = 0; c < 8; c++)
		sum[c] = _mm512_setzero_si512();
	for (size_t i = 0; i < n; i += 8)
#pragma GCC unroll 8
		for (size_t c = 0; c < 8; c++) {
			__builtin_prefetch((const char *)(word + i + c) + LIMITS_AHEAD, 0, 2);
			sum[c] = _mm512_add_epi64(sum[c], _mm512_load_si512(word + i + c));
		}
	/* _mm512_reduce_add_epi64 would add signed lanes, which may overflow. */
	uint64_t total = 0, lane[8];
	for (int c = 0; c < 8; c++) {
		_mm512_storeu_si512(lane, sum[c]);
		for (int j = 0; j < 8; j++)
			total += lane[j];
	}
	return total;
}

void limits_avx512(const struct limits_args *a, struct limits_result *out)
{
	*out = (struct limits_result){ 0 };
	if (a->work == LIMITS_READ) {
		out->sum = read_words(a->data, a->bytes / sizeof(__m512i));
		return;
	}
	const __m512 x = _mm512_set1_ps(a->x), w = _mm512_set1_ps(a->w);
	__m512 sum[CHAINS];
	for (int c = 0; c < CHAINS; c++)
		sum[c] = _mm512_setzero_ps();
	for (int64_t i = 0; i < a->rounds; i++)
#pragma GCC unroll 12
		for (int c = 0; c < CHAINS; c++)
			sum[c] = _mm512_fmadd_ps(x, w, sum[c]);
	for (int c = 0; c < CHAINS; c++) {
		float lane[16];
		_mm512_storeu_ps(lane, sum[c]);
		for (int j = 0; j < 16; j++)
			out->total += (double)lane[j];
	}
	out->flops = 2.0 * 16 * CHAINS * (double)a->rounds;
}
