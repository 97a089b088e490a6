/* qwen3.c - Qwen3 (Yang et al., 2025): Llama's weights, with q and k normalised per head before they are rotated. */
#include "model/decoder.h"

const struct decoder_family family_qwen3 = {
	.model_type = "qwen3",
	LLAMA_NAMES,
	.mlp_norm = "post_attention_layernorm",
	LLAMA_QKV_NAMES,
	.q_norm = "self_attn.q_norm", .k_norm = "self_attn.k_norm",
	LLAMA_MLP_NAMES,
};
