/* load.h - the face of src/load: what a Hugging Face model folder says, checked.
 *
 * Everything read here is untrusted. Sizes are proved against the file before anything is allocated; every
 * refusal names the file and the key or tensor. Nothing here knows a model family: src/model interprets.
 */
#ifndef LOAD_LOAD_H
#define LOAD_LOAD_H

#include "base/json.h"
#include "base/tensor.h"
#include "base/threads.h"
#include "kernels/ops/weight_matrix.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- Tensors: *.safetensors, one file or several named by model.safetensors.index.json ---- */

struct tensor_set;

/* Maps MODEL_DIR/model.safetensors, or the shards that model.safetensors.index.json names, read-only and checks
 * every header. Copies no tensor data. Pickle files (*.bin, *.pt) alone are VB_EUNSUPPORTED with a sentence; no
 * weights at all is VB_ENOTFOUND. A link that leads out of the folder is refused, except into the blobs/ of a
 * Hugging Face cache. The files must not be cut short while the set is open: whoever reads beyond the new end
 * gets SIGBUS. tensor_set_unchanged tells, after the weights were read, whether to trust what was read. */
int tensor_set_open(struct tensor_set **out, const char *model_dir);
/* One .safetensors file (tests' golden outputs, for instance). */
int tensor_set_open_file(struct tensor_set **out, const char *path);
void tensor_set_close(struct tensor_set **set);

int64_t tensor_set_count(const struct tensor_set *set);
/* In order of name; borrowed, valid as long as the set. */
const struct tensor *tensor_set_at(const struct tensor_set *set, int64_t i);
/* NULL where there is none of that name. O(log n). */
const struct tensor *tensor_set_find(const struct tensor_set *set, const char *name);
/* Sum of all tensors' bytes. */
uint64_t tensor_set_bytes(const struct tensor_set *set);
/* The file that holds the tensor, for messages. */
const char *tensor_set_file(const struct tensor_set *set, const struct tensor *t);
/* VB_EIO, naming the file, where one was changed or replaced since it was opened. */
int tensor_set_unchanged(const struct tensor_set *set);
/* Asks the kernel to read ahead everything, or to drop one tensor's pages again (after it was copied). */
void tensor_set_prefetch(const struct tensor_set *set);
void tensor_set_release(const struct tensor_set *set, const struct tensor *t);
/* The same of some bytes of a tensor. */
void tensor_set_release_bytes(const struct tensor_set *set, const void *data, uint64_t bytes);

/* ---- config.json ---- */

enum rope_kind {
	ROPE_DEFAULT = 0,
	ROPE_LINEAR,
	ROPE_DYNAMIC, /* dynamic NTK */
	ROPE_LLAMA3,
	ROPE_YARN,
	ROPE_LONGROPE,
	ROPE_NONE, /* no positional rotation */
};

#define ROPE_MAX_FACTORS 512

/* Parameters as config.json has them, or as Hugging Face derives them where they are absent (the factor of yarn
 * and longrope, original_max_position); 0 where the kind has no such parameter or nothing gives it. */
struct rope_config {
	enum rope_kind kind;
	double theta;
	double factor;
	double partial_rotary_factor; /* 1 where all of the head is rotated */
	int64_t original_max_position; /* llama3, yarn, longrope */
	double low_freq_factor, high_freq_factor;                 /* llama3 */
	double beta_fast, beta_slow, mscale, mscale_all_dim;      /* yarn; defaults 32, 1, 0, 0 */
	double attention_factor;                                  /* yarn, longrope; <= 0: absent */
	bool truncate;                                            /* yarn; default true */
	int n_factors;                                            /* longrope: entries of each list */
	float short_factor[ROPE_MAX_FACTORS], long_factor[ROPE_MAX_FACTORS];
};

enum activation_kind { ACTIVATION_SILU = 0, ACTIVATION_GELU_TANH, ACTIVATION_GELU };

/* How matrices are stored, where not as plain numbers. docs/QUANTIZATION.md has the formats. */
enum quant_method { QUANT_NONE = 0, QUANT_AWQ, QUANT_GPTQ, QUANT_COMPRESSED, QUANT_FP8, QUANT_VERBATIM };

/* What quantization_config says of them. The shapes of the tensors say the rest, and are believed. */
struct quantization {
	enum quant_method method;
	const char *name; /* "awq", static; NULL where there is none */
	int bits;         /* of AWQ, GPTQ and verbatim; of the last scheme of compressed-tensors */
	int64_t group;    /* weights a scale; 0: a whole row */
	int64_t block[2]; /* FP8: rows and columns of a scale's block; 0: none */
	bool symmetric, act_order, zero_less_one; /* GPTQ; the last: stored zeros are one too small */
};

#define CONFIG_MAX_LAYERS 1024
#define CONFIG_MAX_EOS 16

struct model_config {
	char architecture[64]; /* architectures[0], "" where absent */
	char model_type[64];   /* of the text model, where text_config is nested: gemma3_text for gemma3 */
	enum dtype dtype; /* torch_dtype or dtype: F32, BF16 or F16; F32 where absent */
	int64_t hidden_size, intermediate_size, n_layers, n_heads, n_kv_heads, head_dim, vocab_size;
	int64_t max_position;
	double rms_norm_eps;
	enum activation_kind activation;
	bool tie_word_embeddings;
	bool attention_bias; /* attention_bias, or qkv_bias / bias as InternLM has them */
	bool attention_out_bias; /* bias of the output projection, where the family has such a key */
	bool mlp_bias;
	/* Keys that a query of each layer sees, its own included, as Hugging Face means it; 0: all. */
	int64_t window[CONFIG_MAX_LAYERS];
	/* rope[0] for all layers; where rope_local is true, layers with a window use rope[1] (Gemma 3). */
	struct rope_config rope[2];
	bool rope_local;
	double query_pre_attn_scalar;  /* 0: absent */
	double attn_logit_softcap, final_logit_softcap; /* 0: none */
	int64_t n_eos;
	int32_t eos[CONFIG_MAX_EOS];
	int32_t bos; /* -1: none */
	struct quantization quantization;
	const char *where; /* "DIR/config.json": names the file in messages; owned by the config */
	json_t *json;      /* the whole file; owned by the config */
	const json_t *text; /* its text_config, else the whole file: for keys that one family alone has */
};

/* Reads MODEL_DIR/config.json (both the `rope_scaling`/`torch_dtype` form and transformers 5's
 * `rope_parameters`/`dtype`), a nested text_config included. Families differ in their defaults, so those are
 * applied by model_type here, in one table. A quantization_config that is not served is VB_EUNSUPPORTED, naming key
 * and value; auto_map is ignored (no remote code is ever run) and mentioned where the model_type is unknown. */
int model_config_read(struct model_config **out, const char *model_dir);
int model_config_parse(struct model_config **out, const char *json, size_t len, const char *where);
/* The file as it stands; the caller releases it. */
int model_config_json(json_t **out, const char *model_dir);
void model_config_destroy(struct model_config **config);

/* The one place that turns configuration into windows: W keys including the query's own; None, null, 0 and
 * negative mean no window (0). Called by model_config_read for every layer; here for tests. `config` is the text
 * model's part; `layer_type` is NULL or the layer's entry of layer_types; `where` names the file in messages. */
int model_config_window(const json_t *config, const char *model_type, int64_t layer, const char *layer_type,
			const char *where, int64_t *out);

/* ---- Matrices, however they are stored ---- */

enum stored_kind { STORED_PLAIN, STORED_FP8, STORED_VERBATIM, STORED_AWQ, STORED_GPTQ, STORED_PACKED, STORED_INT8 };

/* One matrix [n, k] of a folder. The tensors are borrowed from the set. */
struct stored_matrix {
	enum stored_kind kind;
	/* What it is without loss: format, n, k, group; of a dense one the type (FP8, and integers that have no canonical
	 * form, are F32 here: whoever reads rows gets them so). Pointers are set where the file holds just that. */
	struct weight_matrix form;
	const struct tensor *data, *scale, *zero, *index; /* NULL where there is none */
	int bits;
	int64_t group, n_groups; /* as stored; scales are [n or block rows, n_groups] */
	int64_t block_rows;      /* FP8: rows that share a scale */
	bool zero_less_one;
	bool ordered; /* groups are not of neighbours: `form` needs an order */
};

/* Finds the matrix "X.weight" in whatever tensors the set has for it and checks their types and shapes. VB_ENOTFOUND
 * where there is none. No element is read. */
int stored_find(struct stored_matrix *out, const struct quantization *q, const struct tensor_set *set, const char *name,
		int64_t n, int64_t k);

/* Bytes for stored_read: 64-byte aligned parts. 0: `form` is dense, or is mapped as it stands. */
uint64_t stored_bytes(const struct stored_matrix *s);

/* Writes the canonical matrix into memory of stored_bytes(), 64-byte aligned, by the team (NULL: one thread) and tells in
 * *out where what lies. Pages of the file are dropped as they were read. VB_EFORMAT where an element means nothing. */
int stored_read(const struct stored_matrix *s, const struct tensor_set *set, struct team *team, void *memory,
		struct weight_matrix *out);

/* Rows [begin, begin + n) as float32 [n, k], columns in the model's order: by any thread. What stored_read would refuse
 * comes out as it is. `scratch` has stored_scratch_bytes(s, n). */
uint64_t stored_scratch_bytes(const struct stored_matrix *s, int64_t n);
void stored_rows(const struct stored_matrix *s, int64_t begin, int64_t n, void *scratch, float *out);

/* ---- generation_config.json ---- */

struct generation_config {
	int64_t n_eos;
	int32_t eos[CONFIG_MAX_EOS];
	bool do_sample;
	double temperature, top_p, min_p, repetition_penalty; /* 1, 1, 0, 1 where the file is silent: neutral */
	int64_t top_k; /* 0: all (where the file is silent too; Hugging Face would take 50 there) */
};

/* Defaults where the file does not exist. */
int generation_config_read(struct generation_config *out, const char *model_dir);

#endif
