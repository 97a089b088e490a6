/* glu on 16 lanes; element by element, so no order of summation. */
#include "avx512.h"
#include "math_avx512.h"

static inline __attribute__((always_inline)) void rows(const struct glu_args *a, int64_t t_begin, int64_t t_end,
						       enum glu_activation activation)
{
	for (int64_t t = t_begin; t < t_end; t++) {
		const float *gate = a->gate + t * a->gate_stride, *up = a->up + t * a->up_stride;
		for (int64_t i = 0; i < a->d; i += 16) {
			__mmask16 live = avx512_mask16(a->d - i);
			__m512 v = avx512_activate(activation, _mm512_maskz_loadu_ps(live, gate + i));
			v = _mm512_mul_ps(v, _mm512_maskz_loadu_ps(live, up + i));
			avx512_store(a->out_type, a->out, t * a->out_stride + i, live, v);
		}
	}
}

const char *glu_avx512_refuse(const struct glu_request *r)
{
	return glu_refuse_any(r);
}

void glu_avx512(const struct glu_args *a, int64_t t_begin, int64_t t_end)
{
	switch (a->activation) {
	case GLU_GELU_TANH:
		rows(a, t_begin, t_end, GLU_GELU_TANH);
		break;
	case GLU_GELU:
		rows(a, t_begin, t_end, GLU_GELU);
		break;
	default:
		rows(a, t_begin, t_end, GLU_SILU);
	}
}
