/* internlm3.c - InternLM3: Llama's weights with optional biases. */
#include "model/decoder.h"

const struct decoder_family family_internlm3 = {
	.model_type = "internlm3",
	LLAMA_NAMES,
	.mlp_norm = "post_attention_layernorm",
	LLAMA_QKV_NAMES,
	LLAMA_MLP_NAMES,
};
