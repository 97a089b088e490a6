/* mistral.c - Mistral 7B and its kin (Jiang et al., 2023): Llama's weights; windows come from the configuration. */
#include "model/decoder.h"

const struct decoder_family family_mistral = {
	.model_type = "mistral",
	LLAMA_NAMES,
	.mlp_norm = "post_attention_layernorm",
	LLAMA_QKV_NAMES,
	LLAMA_MLP_NAMES,
};
