/* qwen2.c - Qwen2 and Qwen2.5 (Yang et al., 2024): Llama's weights with biases on q, k and v. */
#include "model/decoder.h"

const struct decoder_family family_qwen2 = {
	.model_type = "qwen2",
	LLAMA_NAMES,
	.mlp_norm = "post_attention_layernorm",
	LLAMA_QKV_NAMES,
	LLAMA_MLP_NAMES,
};
