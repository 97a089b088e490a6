#include "kernels/ops/limits.h"

#include <immintrin.h>

/* vdpbf16ps takes 6 cycles and one or two may start in each. */
#define CHAINS 16

const char *limits_avx512bf16_refuse(const struct limits_request *r)
{
	return r->work != LIMITS_MULTIPLY || r->type != DTYPE_BF16 ? "multiplies bf16 only" : NULL;
}

void limits_avx512bf16(const struct limits_args *a, struct limits_result *out)
{
	*out = (struct limits_result){ 0 };
	const __m512bh x = (__m512bh)_mm512_set1_epi16((short)f32_to_bf16(a->x));
	const __m512bh w = (__m512bh)_mm512_set1_epi16((short)f32_to_bf16(a->w));
	__m512 sum[CHAINS];
	for (int c = 0; c < CHAINS; c++)
		sum[c] = _mm512_setzero_ps();
	for (int64_t i = 0; i < a->rounds; i++)
#pragma GCC unroll 16
		for (int c = 0; c < CHAINS; c++)
			sum[c] = _mm512_dpbf16_ps(sum[c], x, w);
	for (int c = 0; c < CHAINS; c++) {
		float lane[16];
		_mm512_storeu_ps(lane, sum[c]);
		for (int j = 0; j < 16; j++)
			out->total += (double)lane[j];
	}
	out->flops = 2.0 * 2 * 16 * CHAINS * (double)a->rounds;
}
