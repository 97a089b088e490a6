#include "kernels/ops/limits.h"

#include <immintrin.h>

/* A fused multiply-add takes 4 cycles and two may start in each: 8 chains are enough, 12 are to spare. */
#define CHAINS 12

const char *limits_avx2_refuse(const struct limits_request *r)
{
	return r->work == LIMITS_MULTIPLY && r->type != DTYPE_F32 ? "multiplies f32 only" : NULL;
}

static uint64_t read_words(const __m256i *word, size_t n)
{
	__m256i sum[8];
	for (int c = 0; c < 8; c++)
		sum[c] = _mm256_setzero_si256();
	for (size_t i = 0; i < n; i += 8)
#pragma GCC unroll 8
		for (size_t c = 0; c < 8; c++) {
			if (c % 2 == 0) /* two vectors a cache line */
				__builtin_prefetch((const char *)(word + i + c) + LIMITS_AHEAD, 0, 2);
			sum[c] = _mm256_add_epi64(sum[c], _mm256_load_si256(word + i + c));
		}
	uint64_t total = 0, lane[4];
	for (int c = 0; c < 8; c++) {
		_mm256_storeu_si256((__m256i *)lane, sum[c]);
		total += lane[0] + lane[1] + lane[2] + lane[3];
	}
	return total;
}

void limits_avx2(const struct limits_args *a, struct limits_result *out)
{
	*out = (struct limits_result){ 0 };
	if (a->work == LIMITS_READ) {
		out->sum = read_words(a->data, a->bytes / sizeof(__m256i));
		return;
	}
	const __m256 x = _mm256_set1_ps(a->x), w = _mm256_set1_ps(a->w);
	__m256 sum[CHAINS];
	for (int c = 0; c < CHAINS; c++)
		sum[c] = _mm256_setzero_ps();
	for (int64_t i = 0; i < a->rounds; i++)
#pragma GCC unroll 12
		for (int c = 0; c < CHAINS; c++)
			sum[c] = _mm256_fmadd_ps(x, w, sum[c]);
	for (int c = 0; c < CHAINS; c++) {
		float lane[8];
		_mm256_storeu_ps(lane, sum[c]);
		for (int j = 0; j < 8; j++)
			out->total += (double)lane[j];
	}
	out->flops = 2.0 * 8 * CHAINS * (double)a->rounds;
}
