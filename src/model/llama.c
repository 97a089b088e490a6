/* llama.c - Llama 2 and 3.x (Touvron et al., 2023; "The Llama 3 Herd of Models", 2024). */
#include "model/decoder.h"

const struct decoder_family family_llama = {
	.model_type = "llama",
	LLAMA_NAMES,
	.mlp_norm = "post_attention_layernorm",
	LLAMA_QKV_NAMES,
	LLAMA_MLP_NAMES,
};
