/* limits_avx2.c - the rate of fused multiply-adds on registers. */
#include "limits.h"

#include <immintrin.h>

/* More chains than the instruction's latency times what a cycle starts. */
#define CHAINS 12

double limit_loop_avx2(int64_t rounds)
{
	volatile float seed = 1;
	__m256 sum[CHAINS], factor = _mm256_set1_ps(seed);
#pragma GCC unroll 16
	for (int i = 0; i < CHAINS; i++)
		sum[i] = _mm256_set1_ps((float)i * seed); /* equal chains would be computed once */
	for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 16
		for (int i = 0; i < CHAINS; i++)
			sum[i] = _mm256_fmadd_ps(factor, factor, sum[i]);
	}
	for (int i = 1; i < CHAINS; i++)
		sum[0] = _mm256_add_ps(sum[0], sum[i]);
	seed = _mm_cvtss_f32(_mm256_castps256_ps128(sum[0]));
	return 2.0 * 8 * CHAINS * (double)rounds;
}
