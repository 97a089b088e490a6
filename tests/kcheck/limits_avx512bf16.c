/* limits_avx512bf16.c - the rate of vdpbf16ps on registers. */
#include "limits.h"

#include <immintrin.h>

/* More chains than the instruction's latency times what a cycle starts. */
#define CHAINS 12

double limit_loop_avx512bf16(int64_t rounds)
{
	volatile float seed = 1;
	__m512 sum[CHAINS], one = _mm512_set1_ps(seed);
	__m512bh factor = _mm512_cvtne2ps_pbh(one, one);
#pragma GCC unroll 16
	for (int i = 0; i < CHAINS; i++)
		sum[i] = _mm512_set1_ps((float)i * seed); /* equal chains would be computed once */
	for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 16
		for (int i = 0; i < CHAINS; i++)
			sum[i] = _mm512_dpbf16_ps(sum[i], factor, factor);
	}
	for (int i = 1; i < CHAINS; i++)
		sum[0] = _mm512_add_ps(sum[0], sum[i]);
	seed = _mm_cvtss_f32(_mm512_castps512_ps128(sum[0]));
	return 2.0 * 32 * CHAINS * (double)rounds;
}
