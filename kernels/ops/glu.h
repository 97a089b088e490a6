/* glu.h - out[t][i] = act(gate[t][i]) * up[t][i]. Element-wise, float32, rounded once.
 * act: SiLU x / (1 + exp(-x)); GELU with tanh: x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))); GELU with erf.
 */
#ifndef KERNELS_GLU_H
#define KERNELS_GLU_H

#include "kernel.h"

enum glu_activation { GLU_SILU = 0, GLU_GELU_TANH, GLU_GELU };

struct glu_request {
	enum dtype out_type; /* F32, BF16, F16 */
	enum glu_activation activation;
};

struct glu_args {
	const float *gate, *up; /* [T, D] f32, rows gate_stride, up_stride apart */
	void *out;              /* [T, D] out_type, rows out_stride apart; overlaps neither */
	int64_t t, d;
	int64_t gate_stride, up_stride, out_stride;
	enum glu_activation activation;
	enum dtype out_type;
};

typedef void glu_fn(const struct glu_args *a, int64_t t_begin, int64_t t_end);
typedef const char *glu_refuse_fn(const struct glu_request *r);

/* What no kernel takes. */
static inline const char *glu_refuse_any(const struct glu_request *r)
{
	if (!kernel_takes_type(r->out_type))
		return "gives f32, bf16 or f16";
	return r->activation > GLU_GELU ? "takes SiLU and GELU, exact or with tanh" : NULL;
}

#define KERNEL(op, name, needs, properties) \
	glu_fn glu_##name;                  \
	glu_refuse_fn glu_##name##_refuse;
#define KERNEL_CUDA(op, name, needs, properties) glu_refuse_fn glu_##name##_refuse;
#include "glu.def"
#undef KERNEL
#undef KERNEL_CUDA

#endif
