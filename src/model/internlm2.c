/* internlm2.c - InternLM2 (Cai et al., 2024): Llama's computation under other names, with q, k and v packed per KV
 * head. */
#include "model/decoder.h"

const struct decoder_family family_internlm2 = {
	.model_type = "internlm2",
	.embed = "model.tok_embeddings", .final_norm = "model.norm", .head = "output",
	.layer_prefix = "model.layers.%d.",
	.attention_norm = "attention_norm", .mlp_norm = "ffn_norm",
	.layout = QKV_GROUPED,
	.qkv = "attention.wqkv", .o = "attention.wo",
	.gate = "feed_forward.w1", .up = "feed_forward.w3", .down = "feed_forward.w2",
};
