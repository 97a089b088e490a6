/* config.c - config.json of a model folder into one struct, every value checked.
 *
 * DESIGN. A table (config_family.c) says what each family's keys mean and what holds where they are absent; the
 * reader here is the same for all. Rope (config_rope.c) and windows (config_window.c) have files of their own.
 * A value outside its range is an error that names file and key: nothing is clamped, nothing is guessed.
 */
#include "config_parts.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/status.h"

#include <stdio.h>
#include <string.h>

#define MAX_FILE_BYTES ((size_t)4 << 20)
#define MAX_HIDDEN (1 << 20)
#define MAX_INTERMEDIATE (1 << 22)
#define MAX_HEADS 4096
#define MAX_HEAD_DIM 1024
#define MAX_VOCAB (1 << 24)

static int copy_string(const json_t *o, const char *key, const char *where, const char *dflt, char out[64])
{
	const char *s;
	TRY(json_get_str(o, key, where, dflt, &s));
	if (strlen(s) >= 64)
		FAIL(VB_EFORMAT, "value too long: %s: key \"%s\": %zu bytes, expected at most 63", where, key,
		     strlen(s));
	strcpy(out, s);
	return VB_OK;
}

static int read_architecture(struct model_config *c)
{
	const json_t *list = json_get(c->json, "architectures");
	const json_t *first = json_array_get(list, 0);
	if (!list || (json_is_array(list) && json_array_size(list) == 0))
		return VB_OK;
	if (!json_is_string(first) || json_string_length(first) >= sizeof c->architecture)
		FAIL(VB_EFORMAT, "wrong type: %s: key \"architectures\": expected a list of class names of at "
		     "most 63 bytes", c->where);
	strcpy(c->architecture, json_string_value(first));
	return VB_OK;
}

/* Finds the text model's part of the file and its type. */
static int read_type(struct model_config *c)
{
	const json_t *nested = json_get(c->json, "text_config");
	TRY(copy_string(c->json, "model_type", c->where, "", c->model_type));
	c->text = c->json;
	if (nested) {
		if (!json_is_object(nested))
			FAIL(VB_EFORMAT, "wrong type: %s: key \"text_config\": expected an object, found %s",
			     c->where, json_kind(nested));
		c->text = nested;
		if (strcmp(c->model_type, "gemma3") == 0)
			strcpy(c->model_type, "gemma3_text");
		char outer[64];
		strcpy(outer, c->model_type);
		TRY(copy_string(nested, "model_type", c->where, outer, c->model_type));
	}
	if (!*c->model_type)
		FAIL(VB_EFORMAT, "missing key: %s: \"model_type\": add it (such as \"llama\")", c->where);
	return VB_OK;
}

static int read_dtype(struct model_config *c)
{
	static const struct {
		const char *name;
		enum dtype type;
	} known[] = { { "float32", DTYPE_F32 }, { "bfloat16", DTYPE_BF16 }, { "float16", DTYPE_F16 } };
	const char *name = NULL;
	/* Later keys win: `dtype` over `torch_dtype`, the outer part over the nested one. */
	TRY(json_get_str(c->text, "torch_dtype", c->where, "float32", &name));
	TRY(json_get_str(c->text, "dtype", c->where, name, &name));
	TRY(json_get_str(c->json, "torch_dtype", c->where, name, &name));
	TRY(json_get_str(c->json, "dtype", c->where, name, &name));
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strcmp(name, known[i].name) == 0) {
			c->dtype = known[i].type;
			return VB_OK;
		}
	FAIL(VB_EUNSUPPORTED, "type of weights is not supported: %s: key \"dtype\" or \"torch_dtype\": \"%.64s\": "
	     "expected float32, bfloat16 or float16", c->where, name);
}

/* A size that must be there unless the family has a default for it. */
static int read_size(const struct model_config *c, const char *key, int64_t max, int64_t dflt, int64_t *out)
{
	if (dflt == 0)
		return json_need_i64(c->text, key, c->where, 1, max, out);
	return json_get_i64(c->text, key, c->where, 1, max, dflt, out);
}

static int read_heads(struct model_config *c, const struct family *f)
{
	TRY(read_size(c, "num_attention_heads", MAX_HEADS, f->n_heads, &c->n_heads));
	/* Absent is the family's number, null is as many as heads: so Hugging Face has it. */
	bool null = json_is_null(json_object_get(c->text, "num_key_value_heads"));
	int64_t n_kv = f->n_kv_heads > 0 && !null ? f->n_kv_heads : c->n_heads;
	TRY(json_get_i64(c->text, "num_key_value_heads", c->where, 1, MAX_HEADS, n_kv, &c->n_kv_heads));
	if (c->n_heads % c->n_kv_heads != 0)
		FAIL(VB_EFORMAT, "value out of range: %s: key \"num_key_value_heads\": %lld does not divide "
		     "num_attention_heads, %lld", c->where, (long long)c->n_kv_heads, (long long)c->n_heads);
	int64_t head_dim = f->head_dim > 0 ? f->head_dim : c->hidden_size / c->n_heads;
	if (f->head_dim == 0 && !json_get(c->text, "head_dim") && c->hidden_size % c->n_heads != 0)
		FAIL(VB_EFORMAT, "value out of range: %s: key \"hidden_size\": %lld is no multiple of "
		     "num_attention_heads, %lld, and there is no head_dim", c->where,
		     (long long)c->hidden_size, (long long)c->n_heads);
	TRY(json_get_i64(c->text, "head_dim", c->where, 1, MAX_HEAD_DIM, head_dim, &c->head_dim));
	if (c->head_dim < 2 || c->head_dim > MAX_HEAD_DIM || c->head_dim % 2 != 0)
		FAIL(VB_EFORMAT, "value out of range: %s: key \"head_dim\": %lld, expected an even number from "
		     "2 to %d (where it is absent it is hidden_size / num_attention_heads)", c->where,
		     (long long)c->head_dim, MAX_HEAD_DIM);
	return VB_OK;
}

static int read_sizes(struct model_config *c, const struct family *f)
{
	TRY(read_size(c, "hidden_size", MAX_HIDDEN, f->hidden_size, &c->hidden_size));
	TRY(read_size(c, "intermediate_size", MAX_INTERMEDIATE, f->intermediate_size, &c->intermediate_size));
	TRY(read_size(c, "num_hidden_layers", CONFIG_MAX_LAYERS, f->n_layers, &c->n_layers));
	TRY(read_size(c, "vocab_size", MAX_VOCAB, f->vocab_size, &c->vocab_size));
	TRY(read_heads(c, f));
	TRY(json_get_i64(c->text, "max_position_embeddings", c->where, 1, INT32_MAX, f->max_position,
			 &c->max_position));
	TRY(json_get_f64(c->text, "rms_norm_eps", c->where, 0, 1, f->rms_norm_eps, &c->rms_norm_eps));
	if (c->rms_norm_eps == 0)
		FAIL(VB_EFORMAT, "value out of range: %s: key \"rms_norm_eps\": 0, expected above 0 to 1",
		     c->where);
	return VB_OK;
}

static int read_activation(struct model_config *c, const struct family *f)
{
	static const struct {
		const char *name;
		enum activation_kind kind;
	} known[] = {
		{ "silu", ACTIVATION_SILU }, { "swish", ACTIVATION_SILU },
		{ "gelu", ACTIVATION_GELU }, { "gelu_python", ACTIVATION_GELU },
		/* One formula, written in five ways. */
		{ "gelu_pytorch_tanh", ACTIVATION_GELU_TANH }, { "gelu_python_tanh", ACTIVATION_GELU_TANH },
		{ "gelu_new", ACTIVATION_GELU_TANH }, { "gelu_fast", ACTIVATION_GELU_TANH },
		{ "gelu_accurate", ACTIVATION_GELU_TANH },
	};
	const char *name;
	TRY(json_get_str(c->text, f->activation_key, c->where, f->activation, &name));
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strcmp(name, known[i].name) == 0) {
			c->activation = known[i].kind;
			return VB_OK;
		}
	FAIL(VB_EUNSUPPORTED, "activation is not supported: %s: key \"%s\": \"%.64s\": known are silu, gelu, "
	     "gelu_new and gelu_pytorch_tanh", c->where, f->activation_key, name);
}

static int read_biases(struct model_config *c, const struct family *f)
{
	const char *qkv = f->bias == BIAS_INTERNLM2 ? "bias" :
			  f->bias == BIAS_INTERNLM3 ? "qkv_bias" : "attention_bias";
	if (f->bias == BIAS_NONE || f->bias == BIAS_QKV) {
		c->attention_bias = f->bias == BIAS_QKV;
		return VB_OK;
	}
	TRY(json_get_bool(c->text, qkv, c->where, f->bias == BIAS_INTERNLM2, &c->attention_bias));
	c->attention_out_bias = c->attention_bias;
	if (f->bias == BIAS_LLAMA)
		TRY(json_get_bool(c->text, "mlp_bias", c->where, false, &c->mlp_bias));
	if (f->bias == BIAS_INTERNLM3) {
		TRY(json_get_bool(c->text, "bias", c->where, false, &c->mlp_bias));
		c->attention_out_bias = c->mlp_bias;
	}
	return VB_OK;
}

/* Absent is the family's value, null is none; 0 would divide by zero where the value is used. */
static int read_softcap(const struct model_config *c, const char *key, double dflt, double *out)
{
	if (json_is_null(json_object_get(c->text, key)))
		dflt = 0;
	TRY(json_get_f64(c->text, key, c->where, 0, 1e6, dflt, out));
	if (json_get(c->text, key) && *out == 0)
		FAIL(VB_EFORMAT, "value out of range: %s: key \"%s\": 0, expected above 0, or null for none",
		     c->where, key);
	return VB_OK;
}

static int read_attention_extras(struct model_config *c, const struct family *f)
{
	bool bidirectional;
	TRY(json_get_bool(c->text, "use_bidirectional_attention", c->where, false, &bidirectional));
	if (bidirectional)
		FAIL(VB_EUNSUPPORTED, "not a causal model: %s: key \"use_bidirectional_attention\": true: only "
		     "models that generate text are supported", c->where);
	if (f->softcaps) {
		TRY(read_softcap(c, "attn_logit_softcapping", f->attn_softcap, &c->attn_logit_softcap));
		TRY(read_softcap(c, "final_logit_softcapping", f->final_softcap, &c->final_logit_softcap));
	}
	if (f->query_pre_attn_scalar > 0) {
		TRY(json_get_f64(c->text, "query_pre_attn_scalar", c->where, 0, 1e6, f->query_pre_attn_scalar,
				 &c->query_pre_attn_scalar));
		if (c->query_pre_attn_scalar == 0)
			FAIL(VB_EFORMAT, "value out of range: %s: key \"query_pre_attn_scalar\": 0, expected "
			     "above 0", c->where);
	}
	return VB_OK;
}

/* layer_types, checked; NULL where it is absent or the family has no use for it. */
static int layer_types(const struct model_config *c, const struct family *f, const json_t **out)
{
	const json_t *list = json_get(c->text, "layer_types");
	*out = NULL;
	if (!list || f->window_rule < WINDOW_TYPED)
		return VB_OK;
	if (!json_is_array(list))
		FAIL(VB_EFORMAT, "wrong type: %s: key \"layer_types\": expected a list, found %s", c->where,
		     json_kind(list));
	if ((int64_t)json_array_size(list) != c->n_layers)
		FAIL(VB_EFORMAT, "wrong length: %s: key \"layer_types\": %zu entries, but num_hidden_layers is "
		     "%lld", c->where, json_array_size(list), (long long)c->n_layers);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *v = json_array_get(list, i);
		if (!json_is_string(v))
			FAIL(VB_EFORMAT, "wrong type: %s: key \"layer_types\": entry %zu: expected a string, "
			     "found %s", c->where, i, json_kind(v));
		if (strcmp(json_string_value(v), "full_attention") != 0 &&
		    strcmp(json_string_value(v), "sliding_attention") != 0)
			FAIL(VB_EUNSUPPORTED, "layer type is not supported: %s: key \"layer_types\": entry %zu: "
			     "\"%.64s\": known are full_attention and sliding_attention", c->where, i,
			     json_string_value(v));
	}
	*out = list;
	return VB_OK;
}

static int read_windows(struct model_config *c, const struct family *f)
{
	const json_t *types;
	TRY(layer_types(c, f, &types));
	for (int64_t i = 0; i < c->n_layers; i++) {
		const char *type = json_string_value(json_array_get(types, (size_t)i));
		TRY(model_config_window(c->text, c->model_type, i, type, c->where, &c->window[i]));
		if (f->theta_local == 0 || c->window[i] > 0)
			continue;
		/* Which rope such a layer uses is told by its window. Hugging Face refuses it as well. */
		bool slides = false;
		TRY(config_layer_slides(c->text, f, i, type, c->where, &slides));
		if (slides)
			FAIL(VB_EFORMAT, "missing window: %s: key \"sliding_window\": layer %lld is of type "
			     "sliding_attention, so it must be above 0", c->where, (long long)i);
	}
	return VB_OK;
}

int config_token_ids(const json_t *o, const char *key, const char *where, int64_t n_vocab, int32_t *ids,
		     int64_t *n)
{
	const json_t *v = json_get(o, key);
	size_t count = json_is_array(v) ? json_array_size(v) : v ? 1 : 0;
	if (count > CONFIG_MAX_EOS)
		FAIL(VB_ELIMIT, "too many tokens: %s: key \"%s\": %zu, at most %d are taken", where, key, count,
		     CONFIG_MAX_EOS);
	for (size_t i = 0; i < count; i++) {
		const json_t *id = json_is_array(v) ? json_array_get(v, i) : v;
		if (!json_is_integer(id))
			FAIL(VB_EFORMAT, "wrong type: %s: key \"%s\": expected a token id, found %s", where, key,
			     json_kind(id));
		if (json_integer_value(id) < 0 || json_integer_value(id) >= n_vocab)
			FAIL(VB_EFORMAT, "value out of range: %s: key \"%s\": token %lld, but the vocabulary "
			     "has ids from 0 to %lld", where, key, (long long)json_integer_value(id),
			     (long long)n_vocab - 1);
		ids[i] = (int32_t)json_integer_value(id);
	}
	*n = (int64_t)count;
	return VB_OK;
}

/* The family's token where the key is absent, unless the vocabulary is too small for it. */
static int read_tokens(struct model_config *c, const struct family *f)
{
	int64_t n_bos;
	int32_t bos[CONFIG_MAX_EOS];
	const json_t *at = json_object_get(c->json, "eos_token_id") ? c->json : c->text;
	TRY(config_token_ids(at, "eos_token_id", c->where, c->vocab_size, c->eos, &c->n_eos));
	if (!json_object_get(at, "eos_token_id") && f->eos >= 0 && f->eos < c->vocab_size) {
		c->eos[0] = f->eos;
		c->n_eos = 1;
	}
	at = json_object_get(c->json, "bos_token_id") ? c->json : c->text;
	TRY(config_token_ids(at, "bos_token_id", c->where, c->vocab_size, bos, &n_bos));
	c->bos = n_bos > 0 ? bos[0] : -1;
	if (!json_object_get(at, "bos_token_id") && f->bos < c->vocab_size)
		c->bos = f->bos;
	return VB_OK;
}

static int read_all(struct model_config *c)
{
	if (!json_is_object(c->json))
		FAIL(VB_EFORMAT, "wrong type: %s: expected an object, found %s", c->where, json_kind(c->json));
	TRY(read_type(c));
	TRY(read_architecture(c));
	TRY(config_read_quantization(c));
	const struct family *f = family_find(c->model_type);
	TRY(read_dtype(c));
	TRY(read_sizes(c, f));
	TRY(read_activation(c, f));
	TRY(read_biases(c, f));
	TRY(read_attention_extras(c, f));
	TRY(json_get_bool(c->text, "tie_word_embeddings", c->where, f->tied, &c->tie_word_embeddings));
	TRY(json_get_bool(c->json, "tie_word_embeddings", c->where, c->tie_word_embeddings,
			  &c->tie_word_embeddings));
	TRY(read_windows(c, f));
	TRY(config_read_rope(c, f, c->text));
	return read_tokens(c, f);
}

/* Takes `where` and `json`, also where it fails. */
static int create(struct model_config **out, char *where, json_t *json)
{
	struct model_config *c = mem_calloc(1, sizeof *c);
	*out = NULL;
	if (!c || !where) {
		mem_free(c);
		mem_free(where);
		json_decref(json);
		return VB_ENOMEM;
	}
	c->where = where;
	c->json = json;
	int rc = read_all(c);
	if (rc != VB_OK)
		model_config_destroy(&c);
	*out = c;
	return rc;
}

int model_config_parse(struct model_config **out, const char *json, size_t len, const char *where)
{
	json_t *v = NULL;
	*out = NULL;
	TRY(json_parse(&v, json, len, where));
	return create(out, mem_strdup(where), v);
}

/* Reads the file, and says where it is. */
static int read_file(const char *model_dir, struct buf *path, json_t **out)
{
	TRY(buf_printf(path, "%s/config.json", model_dir));
	int rc = json_read_file(out, path->data, MAX_FILE_BYTES);
	if (rc == VB_ENOTFOUND)
		FAIL(rc, "no config.json: %s: give a Hugging Face model folder", model_dir);
	return rc;
}

int model_config_json(json_t **out, const char *model_dir)
{
	struct buf path;
	*out = NULL;
	buf_init(&path, 1 << 16);
	int rc = read_file(model_dir, &path, out);
	buf_fini(&path);
	return rc;
}

int model_config_read(struct model_config **out, const char *model_dir)
{
	json_t *v = NULL;
	struct buf path;
	*out = NULL;
	buf_init(&path, 1 << 16);
	int rc = read_file(model_dir, &path, &v);
	if (rc == VB_OK)
		rc = create(out, buf_detach(&path), v);
	buf_fini(&path);
	return rc;
}

void model_config_destroy(struct model_config **config)
{
	if (!config || !*config)
		return;
	mem_free((char *)(uintptr_t)(*config)->where);
	json_decref((*config)->json);
	mem_free(*config);
	*config = NULL;
}
