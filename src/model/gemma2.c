/* gemma2.c - Gemma 2 (Gemma Team, 2024): norms by 1 + w before and after each block, scaled embeddings; softcaps,
 * windows and the query scale come from the configuration. */
#include "model/decoder.h"

const struct decoder_family family_gemma2 = {
	.model_type = "gemma2",
	LLAMA_NAMES,
	.post_attention_norm = "post_attention_layernorm",
	.mlp_norm = "pre_feedforward_layernorm", .post_mlp_norm = "post_feedforward_layernorm",
	LLAMA_QKV_NAMES,
	LLAMA_MLP_NAMES,
	.norm_one_plus = true, .scaled_embedding = true,
};
