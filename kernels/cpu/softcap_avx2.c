/* softcap on 8 lanes; element by element, so no order of summation. */
#include "avx2.h"
#include "kernels/ops/softcap.h"
#include "math_avx2.h"

const char *softcap_avx2_refuse(const struct softcap_request *r)
{
	return r->d < 1 ? "takes rows of 1 value and more" : NULL;
}

void softcap_avx2(const struct softcap_args *a, int64_t d_begin, int64_t d_end)
{
	__m256 cap = _mm256_set1_ps(a->cap);
	for (int64_t t = 0; t < a->t; t++) {
		float *x = a->x + t * a->x_stride;
		for (int64_t i = d_begin; i < d_end; i += 8) {
			int64_t live = d_end - i;
			__m256 v = avx2_tanh(_mm256_div_ps(avx2_load(x + i, live), cap));
			avx2_store(DTYPE_F32, x + i, 0, live, _mm256_mul_ps(v, cap));
		}
	}
}
