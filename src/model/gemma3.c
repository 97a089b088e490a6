/* gemma3.c - Gemma 3, text (Gemma Team, 2025): as Gemma 2, with q and k normalised per head instead of softcaps, and
 * rotary parameters of their own for layers with a window. */
#include "model/decoder.h"

const struct decoder_family family_gemma3 = {
	.model_type = "gemma3_text",
	LLAMA_NAMES,
	.post_attention_norm = "post_attention_layernorm",
	.mlp_norm = "pre_feedforward_layernorm", .post_mlp_norm = "post_feedforward_layernorm",
	LLAMA_QKV_NAMES,
	.q_norm = "self_attn.q_norm", .k_norm = "self_attn.k_norm",
	LLAMA_MLP_NAMES,
	.norm_one_plus = true, .scaled_embedding = true,
};
