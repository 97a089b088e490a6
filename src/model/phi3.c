/* phi3.c - Phi-3, Phi-3.5 and Phi-4-mini (Abdin et al., 2024): packed projections, longrope. */
#include "model/decoder.h"

const struct decoder_family family_phi3 = {
	.model_type = "phi3",
	LLAMA_NAMES,
	.mlp_norm = "post_attention_layernorm",
	.layout = QKV_PACKED,
	.qkv = "self_attn.qkv_proj", .gate_up = "mlp.gate_up_proj",
};
