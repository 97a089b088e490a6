/* softcap on 16 lanes; element by element, so no order of summation. */
#include "avx512.h"
#include "kernels/ops/softcap.h"
#include "math_avx512.h"

const char *softcap_avx512_refuse(const struct softcap_request *r)
{
	return r->d < 1 ? "takes rows of 1 value and more" : NULL;
}

void softcap_avx512(const struct softcap_args *a, int64_t d_begin, int64_t d_end)
{
	__m512 cap = _mm512_set1_ps(a->cap);
	for (int64_t t = 0; t < a->t; t++) {
		float *x = a->x + t * a->x_stride;
		for (int64_t i = d_begin; i < d_end; i += 16) {
			__mmask16 live = avx512_mask16(d_end - i);
			__m512 v = avx512_tanh(_mm512_div_ps(_mm512_maskz_loadu_ps(live, x + i), cap));
			_mm512_mask_storeu_ps(x + i, live, _mm512_mul_ps(v, cap));
		}
	}
}
