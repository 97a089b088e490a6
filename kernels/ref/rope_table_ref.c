/* The definition of rope_table: angles in float32, cosines and sines in float64, rounded to float32. */
#include "kernels/ops/rope_table.h"

#include <math.h>

const char *rope_table_ref_refuse(const struct rope_table_request *r)
{
	return r->kind == ROPE_TABLE_FIXED || r->kind == ROPE_TABLE_LONG || r->kind == ROPE_TABLE_NTK
		       ? NULL
		       : "takes fixed, long and NTK frequencies";
}

/* The base of the dynamic NTK scaling for a prompt of `len` tokens. */
static double ntk_theta(const struct rope_params *p, int64_t len)
{
	double stretch = p->factor * (double)len / (double)p->switch_len - (p->factor - 1.0);
	return p->theta * pow(stretch, (double)p->rotary_dim / (double)(p->rotary_dim - 2));
}

static float frequency(const struct rope_params *p, bool switched, float theta, int32_t i)
{
	if (!switched || p->kind == ROPE_TABLE_FIXED)
		return p->inv_freq[i];
	if (p->kind == ROPE_TABLE_LONG)
		return p->inv_freq_long[i];
	float exponent = (float)(2 * i) / (float)p->rotary_dim;
	return 1.0f / (float)pow((double)theta, (double)exponent);
}

void rope_table_ref(const struct rope_table_args *a, int64_t t_begin, int64_t t_end)
{
	const struct rope_params *p = a->params;
	int32_t half = p->rotary_dim / 2;
	for (int64_t t = t_begin; t < t_end; t++) {
		bool switched = p->kind != ROPE_TABLE_FIXED && a->rope_len[t] > p->switch_len;
		float theta = switched && p->kind == ROPE_TABLE_NTK ? (float)ntk_theta(p, a->rope_len[t]) : 0.0f;
		float *out = a->out + t * p->rotary_dim;
		for (int32_t i = 0; i < half; i++) {
			float angle = (float)a->position[t] * frequency(p, switched, theta, i);
			out[i] = (float)cos((double)angle) * p->attention_factor;
			out[half + i] = (float)sin((double)angle) * p->attention_factor;
		}
	}
}
