/* config_parts.h - what the files that read config.json share. Inside src/load only; the face is load.h. */
#ifndef LOAD_CONFIG_PARTS_H
#define LOAD_CONFIG_PARTS_H

#include "load.h"

/* Which layers see a window, where layer_types does not say it layer by layer. */
enum window_rule {
	WINDOW_NEVER,   /* the family has none, whatever keys its file holds */
	WINDOW_ALL,     /* every layer; layer_types is ignored, as Hugging Face ignores it */
	WINDOW_TYPED,   /* layer_types, else every layer */
	WINDOW_LATE,    /* layer_types, else layers from max_window_layers on; only if use_sliding_window */
	WINDOW_PATTERN, /* layer_types, else all but every n-th layer */
};

enum bias_rule {
	BIAS_NONE,
	BIAS_QKV,        /* q, k and v always have biases, nothing else has */
	BIAS_ATTENTION,  /* attention_bias: q, k, v and the output */
	BIAS_LLAMA,      /* attention_bias as above, and mlp_bias */
	BIAS_INTERNLM2,  /* bias (true where absent): q, k, v and the output */
	BIAS_INTERNLM3,  /* qkv_bias: q, k, v; bias: the output and the MLP */
};

/* What a family's keys mean, and their values where they are absent. Sizes of 0 have no default: the key must
 * be there. A key that is null is not absent where Hugging Face tells the two apart. */
struct family {
	const char *model_type;
	int64_t hidden_size, intermediate_size, n_layers, n_heads, vocab_size;
	int64_t n_kv_heads; /* 0: as many as heads */
	int64_t head_dim;   /* 0: hidden_size / heads */
	int64_t max_position;
	int64_t original_max_position; /* > 0: the top-level key's default; it then always overrides rope's own */
	double rms_norm_eps;
	double theta;
	double theta_local; /* > 0: layers with a window have their own rope, with this theta where none is given */
	const char *activation_key, *activation;
	bool tied;
	enum bias_rule bias;
	enum window_rule window_rule;
	int64_t window; /* of sliding_window; 0: none */
	int64_t window_pattern; /* WINDOW_PATTERN: n */
	const char *window_pattern_key; /* NULL where the pattern is not for the file to say */
	bool softcaps;  /* the family has attn_logit_softcapping and final_logit_softcapping */
	double attn_softcap, final_softcap;
	double query_pre_attn_scalar; /* 0: the family has no such key */
	int32_t bos, eos; /* -1: none */
};

/* The family's row, or that of families without one. Never NULL. */
const struct family *family_find(const char *model_type);

/* Whether the layer is one of those that may have a window (and, in Gemma 3, the local rope). `layer_type` as for
 * model_config_window. */
int config_layer_slides(const json_t *config, const struct family *f, int64_t layer, const char *layer_type,
			const char *where, bool *out);

/* Fills rope, rope_local of `c`, whose sizes, windows and max_position are known, from the keys of `text`. */
int config_read_rope(struct model_config *c, const struct family *f, const json_t *text);

/* Fills quantization of `c`, whose json and text are known. */
int config_read_quantization(struct model_config *c);

/* Token id or list of at most CONFIG_MAX_EOS at `key` of o: 0 <= id < n_vocab. Absent, null and []: *n is 0. */
int config_token_ids(const json_t *o, const char *key, const char *where, int64_t n_vocab, int32_t *ids,
		     int64_t *n);

#endif
