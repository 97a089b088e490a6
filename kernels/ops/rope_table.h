/* rope_table.h - the cosines and sines of a step's positions, shared by all layers with the same rotary parameters.
 *
 * out[t] = { cos(a_0) .. cos(a_{R/2-1}), sin(a_0) .. sin(a_{R/2-1}) } * attention_factor, with R = rotary_dim and
 * a_i = float32(position[t]) * inv_freq_i, the product rounded to float32 (as Hugging Face computes it), its cosine
 * correctly rounded or nearly so. Source: Su et al., "RoFormer", 2021; the variants in src/model/rope.c.
 *
 * inv_freq may depend on the length of the request's prompt (never on the sequence so far, so that a token's
 * rotation depends on the request alone, not on chunking or on when it was computed):
 *   ROPE_TABLE_FIXED  inv_freq
 *   ROPE_TABLE_LONG   inv_freq_long where rope_len[t] > switch_len, else inv_freq          (longrope)
 *   ROPE_TABLE_NTK    where rope_len[t] > switch_len, 1 / theta'^(2i/R), theta' = theta * (factor * len /
 *                     switch_len - (factor - 1))^(R / (R - 2)), in float32; else inv_freq   (dynamic NTK)
 */
#ifndef KERNELS_ROPE_TABLE_H
#define KERNELS_ROPE_TABLE_H

#include "kernel.h"

enum rope_table_kind { ROPE_TABLE_FIXED = 0, ROPE_TABLE_LONG, ROPE_TABLE_NTK };

struct rope_params {
	enum rope_table_kind kind;
	int32_t rotary_dim;         /* R, even; dimensions R..head_dim-1 are not rotated */
	float attention_factor;
	const float *inv_freq;      /* [R/2] */
	const float *inv_freq_long; /* [R/2]; LONG only */
	int64_t switch_len;         /* LONG, NTK */
	double theta, factor;       /* NTK */
};

struct rope_table_request {
	enum rope_table_kind kind;
};

struct rope_table_args {
	const int32_t *position, *rope_len; /* [T] */
	const struct rope_params *params;
	float *out; /* [T, R] f32, dense */
	int64_t t;
};

typedef void rope_table_fn(const struct rope_table_args *a, int64_t t_begin, int64_t t_end);
typedef const char *rope_table_refuse_fn(const struct rope_table_request *r);

#define KERNEL(op, name, needs, properties) \
	rope_table_fn rope_table_##name;    \
	rope_table_refuse_fn rope_table_##name##_refuse;
#define KERNEL_CUDA(op, name, needs, properties) rope_table_refuse_fn rope_table_##name##_refuse;
#include "rope_table.def"
#undef KERNEL
#undef KERNEL_CUDA

#endif
