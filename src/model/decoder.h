/* decoder.h - the decoder-only transformer that all families here are variants of. Inside src/model only.
 *
 *     h = embed(ids) * scale
 *     for each layer:   h += [post_attention_norm] o(attention(rope(qkv([attention_norm] h))))
 *                       h += [post_mlp_norm] down(act(gate(x)) * up(x)),  x = [mlp_norm] h
 *     logits = [softcap] head([final_norm] h)
 */
#ifndef MODEL_DECODER_H
#define MODEL_DECODER_H

#include "model/model.h"

/* How the projections of queries, keys and values lie in the checkpoint. */
enum qkv_layout {
	QKV_SEPARATE, /* three matrices q, k, v */
	QKV_PACKED,   /* one: all of q, then all of k, then all of v */
	QKV_GROUPED,  /* one: for each KV head, its query heads, its k, its v (InternLM2) */
};

/* Names are of one layer, after layer_prefix with its number; NULL where the family has no such weight. ".weight" and
 * ".bias" are added. */
struct decoder_family {
	const char *model_type;
	const char *embed, *final_norm, *head; /* whole names without ".weight" */
	const char *layer_prefix;              /* printf format with one %d */
	const char *attention_norm, *post_attention_norm, *mlp_norm, *post_mlp_norm;
	const char *q, *k, *v; /* QKV_SEPARATE */
	const char *qkv;       /* QKV_PACKED, QKV_GROUPED */
	const char *o, *q_norm, *k_norm;
	const char *gate, *up; /* or */
	const char *gate_up;   /* one matrix: all of gate, then all of up */
	const char *down;
	enum qkv_layout layout;
	bool norm_one_plus;    /* norms multiply by 1 + w (Gemma) */
	bool scaled_embedding; /* h = embed * sqrt(hidden) (Gemma) */
};

/* The names that Llama's checkpoints use and most families kept. */
#define LLAMA_NAMES                                                                        \
	.embed = "model.embed_tokens", .final_norm = "model.norm", .head = "lm_head",      \
	.layer_prefix = "model.layers.%d.", .attention_norm = "input_layernorm",           \
	.o = "self_attn.o_proj", .down = "mlp.down_proj"
#define LLAMA_QKV_NAMES                                                                    \
	.layout = QKV_SEPARATE, .q = "self_attn.q_proj", .k = "self_attn.k_proj", .v = "self_attn.v_proj"
#define LLAMA_MLP_NAMES .gate = "mlp.gate_proj", .up = "mlp.up_proj"

int decoder_build(struct program *p, const struct model_config *config, const struct decoder_family *family);

/* Rotary parameters of one configuration; arrays are kept by the program. rotary_dim 0 where nothing is rotated. */
int rope_build(struct program *p, const struct model_config *config, const struct rope_config *rope,
	       struct rope_params *out);

extern const struct decoder_family family_llama, family_mistral, family_qwen2, family_qwen3, family_phi3,
	family_gemma2, family_gemma3, family_internlm2, family_internlm3;

#endif
