#include "kernels/ops/limits.h"

#include <immintrin.h>

/* vpdpbusd takes 4 or 5 cycles and one or two may start in each. */
#define CHAINS 16

const char *limits_avx512vnni_refuse(const struct limits_request *r)
{
	return r->work != LIMITS_MULTIPLY || r->type != DTYPE_I8 ? "multiplies bytes only" : NULL;
}

void limits_avx512vnni(const struct limits_args *a, struct limits_result *out)
{
	*out = (struct limits_result){ 0 };
	const __m512i x = _mm512_set1_epi8((char)a->x), w = _mm512_set1_epi8((char)a->w);
	__m512i sum[CHAINS];
	for (int c = 0; c < CHAINS; c++)
		sum[c] = _mm512_setzero_si512();
	for (int64_t i = 0; i < a->rounds; i++)
#pragma GCC unroll 16
		for (int c = 0; c < CHAINS; c++)
			sum[c] = _mm512_dpbusd_epi32(sum[c], x, w);
	for (int c = 0; c < CHAINS; c++) {
		int32_t lane[16];
		_mm512_storeu_si512(lane, sum[c]);
		for (int j = 0; j < 16; j++)
			out->total += (double)lane[j];
	}
	out->flops = 2.0 * 4 * 16 * CHAINS * (double)a->rounds;
}
