// rope_table.cu - cosines and sines of a step's positions. A thread an angle; in float64, since they are few and once a step.
#include "device.cuh"
#include "kernels/ops/rope_table.h"

// The frequency i of a token whose prompt has `len` tokens.
static __device__ float frequency(const struct rope_params *p, int64_t len, int32_t i)
{
	if (p->kind == ROPE_TABLE_FIXED || len <= p->switch_len)
		return p->inv_freq[i];
	if (p->kind == ROPE_TABLE_LONG)
		return p->inv_freq_long[i];
	double stretch = p->factor * (double)len / (double)p->switch_len - (p->factor - 1.0);
	double power = (double)p->rotary_dim / (double)(p->rotary_dim - 2);
	float theta = (float)(p->theta * pow(stretch, power));
	float exponent = (float)(2 * i) / (float)p->rotary_dim;
	return 1.0f / (float)pow((double)theta, (double)exponent);
}

extern "C" __global__ void rope_table_cuda(const __grid_constant__ struct rope_table_args a)
{
	kernel_begin();
	const struct rope_params *p = a.params;
	int32_t half = p->rotary_dim / 2;
	int64_t at = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
	if (at >= a.t * half)
		return;
	int64_t t = at / half;
	int32_t i = (int32_t)(at % half);
	float angle = (float)a.position[t] * frequency(p, a.rope_len[t], i);
	double sine, cosine;
	sincos((double)angle, &sine, &cosine);
	float *out = a.out + t * p->rotary_dim;
	out[i] = (float)cosine * p->attention_factor;
	out[half + i] = (float)sine * p->attention_factor;
}
