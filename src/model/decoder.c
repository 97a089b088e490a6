#include "model/decoder.h"

#include "base/mem.h"
#include "base/status.h"

#include <math.h>
#include <stdio.h>

struct builder {
	struct program *p;
	const struct model_config *c;
	const struct decoder_family *f;
	int64_t q_width, k_width; /* columns of all query heads, of all KV heads */
	int32_t h, normed, delta, delta_normed; /* f32, C, f32, f32 (post norms) */
	int32_t qkv, q, attended, gate_up, activated;
	int32_t table[2];
	int32_t rotary_dim[2];
};

static void weight_name(char *out, size_t size, const struct decoder_family *f, int layer, const char *name,
			const char *suffix)
{
	int n = 0;
	if (layer >= 0) {
		/* The prefix is one of this room's constants with its one %d. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		n = snprintf(out, size, f->layer_prefix, layer);
#pragma GCC diagnostic pop
	}
	snprintf(out + n, size - (size_t)n, "%s%s", name, suffix);
}

static int32_t matrix_of(const struct builder *b, int layer, const char *name, int64_t rows, int64_t cols, int least_bits)
{
	char full[160];
	weight_name(full, sizeof full, b->f, layer, name, ".weight");
	return program_weight(b->p, &(struct weight_spec){ .name = full, .use = WEIGHT_MATRIX, .rows = rows,
							   .cols = cols, .least_bits = least_bits,
							   .random_std = 1.0f / sqrtf((float)cols) });
}

static int32_t matrix(const struct builder *b, int layer, const char *name, int64_t rows, int64_t cols)
{
	return matrix_of(b, layer, name, rows, cols, 0);
}

/* Under q4. Values are few weights and cost most: a third to a half of what 6 bits in place of 8 cost for all of these
 * (docs/QUANTIZATION.md). */
#define VALUE_BITS 8
#define HEAD_BITS 6

/* Layers whose errors weigh most, as llama.cpp has found them: the first eighth, the last, and every third between. */
static int layer_bits(const struct builder *b, int layer)
{
	int n = (int)b->c->n_layers;
	return layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2 ? 6 : 0;
}

static int32_t vector(const struct builder *b, int layer, const char *name, const char *suffix, int64_t n, float mean,
		      float std)
{
	char full[160];
	weight_name(full, sizeof full, b->f, layer, name, suffix);
	return program_weight(b->p, &(struct weight_spec){ .name = full, .use = WEIGHT_VECTOR, .rows = 1, .cols = n,
							   .random_mean = mean, .random_std = std });
}

static int32_t bias(const struct builder *b, int layer, const char *name, int64_t n, bool has)
{
	return has ? vector(b, layer, name, ".bias", n, 0, 0.02f) : NO_ID;
}

/* out = norm(x += delta). */
static void norm(const struct builder *b, int layer, const char *name, int32_t x, int32_t delta, int32_t out)
{
	int64_t d = b->c->hidden_size;
	program_rms_norm(b->p, &(struct norm_op){
		.layer = layer, .x = { x, 0 }, .delta = { delta, 0 },
		.weight = vector(b, layer, name, ".weight", d, b->f->norm_one_plus ? 0 : 1, 0.02f),
		.eps = (float)b->c->rms_norm_eps, .weight_offset = b->f->norm_one_plus ? 1 : 0,
		.groups = 1, .d = d, .out = { out, 0 } });
}

/* Normalises each head of q or k in place, in the buffer of qkv. */
static void head_norm(const struct builder *b, int layer, const char *name, int64_t col, int64_t heads)
{
	int64_t d = b->c->head_dim;
	program_rms_norm(b->p, &(struct norm_op){
		.layer = layer, .x = { b->qkv, col }, .delta = { NO_ID, 0 },
		.weight = vector(b, layer, name, ".weight", d, b->f->norm_one_plus ? 0 : 1, 0.02f),
		.eps = (float)b->c->rms_norm_eps, .weight_offset = b->f->norm_one_plus ? 1 : 0,
		.groups = heads, .d = d, .out = { b->qkv, col } });
}

/* The buffer of qkv holds q, then k, then v, whatever the layout of the checkpoint. */
static int qkv_parts(const struct builder *b, int layer, struct linear_part *parts)
{
	const struct model_config *c = b->c;
	const struct decoder_family *f = b->f;
	int64_t hidden = c->hidden_size, q = b->q_width, k = b->k_width, d = c->head_dim;
	bool has_bias = c->attention_bias;
	if (f->layout == QKV_SEPARATE) {
		const char *names[3] = { f->q, f->k, f->v };
		int64_t rows[3] = { q, k, k }, col = 0;
		for (int i = 0; i < 3; i++) {
			/* Values go into every later sum as they are; k's rows are as few, but softmax forgives them more. */
			parts[i] = (struct linear_part){ .weight = matrix_of(b, layer, names[i], rows[i], hidden, i == 2 ? VALUE_BITS : 0),
							 .n_rows = rows[i],
							 .bias = bias(b, layer, names[i], rows[i], has_bias),
							 .out = { b->qkv, col } };
			col += rows[i];
		}
		return 3;
	}
	int32_t w = matrix_of(b, layer, f->qkv, q + 2 * k, hidden, layer_bits(b, layer));
	int32_t bias_id = bias(b, layer, f->qkv, q + 2 * k, has_bias);
	if (f->layout == QKV_PACKED) {
		parts[0] = (struct linear_part){ .weight = w, .n_rows = q + 2 * k, .bias = bias_id,
						 .out = { b->qkv, 0 } };
		return 1;
	}
	int64_t group = c->n_heads / c->n_kv_heads;
	int n = 0;
	for (int64_t h = 0; h < c->n_kv_heads; h++) {
		int64_t first = h * (group + 2) * d;
		int64_t begin[3] = { first, first + group * d, first + (group + 1) * d };
		int64_t rows[3] = { group * d, d, d };
		int64_t col[3] = { h * group * d, q + h * d, q + k + h * d };
		for (int i = 0; i < 3; i++)
			parts[n++] = (struct linear_part){ .weight = w, .row_begin = begin[i], .n_rows = rows[i],
							   .bias = bias_id, .bias_begin = begin[i],
							   .out = { b->qkv, col[i] } };
	}
	return n;
}

static void attend(const struct builder *b, int layer)
{
	const struct model_config *c = b->c;
	const struct decoder_family *f = b->f;
	struct linear_part parts[LINEAR_MAX_PARTS];
	int n = qkv_parts(b, layer, parts);
	program_linear(b->p, &(struct linear_op){ .layer = layer, .in = { b->normed, 0 }, .k = c->hidden_size,
						  .n_parts = n, .parts = parts });
	if (f->q_norm)
		head_norm(b, layer, f->q_norm, 0, c->n_heads);
	if (f->k_norm)
		head_norm(b, layer, f->k_norm, b->q_width, c->n_kv_heads);
	int which = c->rope_local && c->window[layer] ? 1 : 0;
	int32_t cache = program_cache(b->p, &(struct cache_spec){ c->n_kv_heads, c->head_dim, c->head_dim,
									 c->window[layer] });
	program_rope_cache(b->p, &(struct rope_cache_op){
		.layer = layer, .q = { b->qkv, 0 }, .k = { b->qkv, b->q_width },
		.v = { b->qkv, b->q_width + b->k_width }, .n_heads = c->n_heads,
		.table = b->rotary_dim[which] ? b->table[which] : NO_ID, .rotary_dim = b->rotary_dim[which],
		.q_out = b->q, .cache = cache });
	double scalar = c->query_pre_attn_scalar > 0 ? c->query_pre_attn_scalar : (double)c->head_dim;
	program_attention(b->p, &(struct attention_op){
		.layer = layer, .q = b->q, .out = b->attended, .cache = cache, .n_heads = c->n_heads,
		.scale = (float)(1.0 / sqrt(scalar)),
		.softcap = (float)c->attn_logit_softcap, .sinks = NO_ID });
}

static void project_out(const struct builder *b, int layer)
{
	const struct model_config *c = b->c;
	const struct decoder_family *f = b->f;
	struct linear_part o = { .weight = matrix(b, layer, f->o, c->hidden_size, b->q_width),
				 .n_rows = c->hidden_size,
				 .bias = bias(b, layer, f->o, c->hidden_size, c->attention_out_bias),
				 .out = { b->delta, 0 } };
	program_linear(b->p, &(struct linear_op){ .layer = layer, .in = { b->attended, 0 }, .k = b->q_width,
						  .n_parts = 1, .parts = &o });
}

static enum glu_activation activation_of(const struct model_config *c)
{
	switch (c->activation) {
	case ACTIVATION_GELU_TANH:
		return GLU_GELU_TANH;
	case ACTIVATION_GELU:
		return GLU_GELU;
	default:
		return GLU_SILU;
	}
}

static void mlp(const struct builder *b, int layer)
{
	const struct model_config *c = b->c;
	const struct decoder_family *f = b->f;
	int64_t hidden = c->hidden_size, d = c->intermediate_size;
	struct linear_part in[2];
	int n = 0;
	if (f->gate_up) {
		in[n++] = (struct linear_part){ .weight = matrix(b, layer, f->gate_up, 2 * d, hidden),
						.n_rows = 2 * d,
						.bias = bias(b, layer, f->gate_up, 2 * d, c->mlp_bias),
						.out = { b->gate_up, 0 } };
	} else {
		in[n++] = (struct linear_part){ .weight = matrix(b, layer, f->gate, d, hidden), .n_rows = d,
						.bias = bias(b, layer, f->gate, d, c->mlp_bias),
						.out = { b->gate_up, 0 } };
		in[n++] = (struct linear_part){ .weight = matrix(b, layer, f->up, d, hidden), .n_rows = d,
						.bias = bias(b, layer, f->up, d, c->mlp_bias),
						.out = { b->gate_up, d } };
	}
	program_linear(b->p, &(struct linear_op){ .layer = layer, .in = { b->normed, 0 }, .k = hidden,
						  .n_parts = n, .parts = in });
	program_glu(b->p, layer, (struct slice){ b->gate_up, 0 }, (struct slice){ b->gate_up, d }, d,
		    activation_of(c), b->activated);
	struct linear_part down = { .weight = matrix_of(b, layer, f->down, hidden, d, layer_bits(b, layer)),
				    .n_rows = hidden,
				    .bias = bias(b, layer, f->down, hidden, c->mlp_bias), .out = { b->delta, 0 } };
	program_linear(b->p, &(struct linear_op){ .layer = layer, .in = { b->activated, 0 }, .k = d, .n_parts = 1,
						  .parts = &down });
}

/* What is added to the residual stream: the delta, normalised first where the family does so. */
static int32_t finish(const struct builder *b, int layer, const char *post_norm)
{
	if (!post_norm)
		return b->delta;
	norm(b, layer, post_norm, b->delta, NO_ID, b->delta_normed);
	return b->delta_normed;
}

/* What stands between attention and the residual stream. */
static void declare_inner_buffers(struct builder *b)
{
	const struct model_config *c = b->c;
	enum dtype compute = program_get_config(b->p)->compute;
	b->normed = program_buffer(b->p, compute, c->hidden_size);
	b->delta = program_buffer(b->p, DTYPE_F32, c->hidden_size);
	b->delta_normed = NO_ID;
	if (b->f->post_attention_norm || b->f->post_mlp_norm)
		b->delta_normed = program_buffer(b->p, DTYPE_F32, c->hidden_size);
	b->gate_up = program_buffer(b->p, DTYPE_F32, 2 * c->intermediate_size);
	b->activated = program_buffer(b->p, compute, c->intermediate_size);
}

static int declare_buffers(struct builder *b)
{
	const struct model_config *c = b->c;
	struct program *p = b->p;
	enum dtype compute = program_get_config(p)->compute;
	b->h = program_buffer(p, DTYPE_F32, c->hidden_size);
	b->qkv = program_buffer(p, DTYPE_F32, b->q_width + 2 * b->k_width);
	b->q = program_buffer(p, compute, b->q_width);
	b->attended = program_buffer(p, compute, b->q_width);
	declare_inner_buffers(b);
	for (int i = 0; i < (c->rope_local ? 2 : 1); i++) {
		struct rope_params params;
		TRY(rope_build(p, c, &c->rope[i], &params));
		b->rotary_dim[i] = params.rotary_dim;
		if (params.rotary_dim == 0)
			continue;
		b->table[i] = program_buffer(p, DTYPE_F32, params.rotary_dim);
		program_rope_table(p, &params, b->table[i]);
	}
	return VB_OK;
}

/* Behind the last layer's keys and values a token is needed only where logits are wanted of it: of a prompt, of the last one. */
static void keep_wanted_rows(struct builder *b, int layer)
{
	program_begin_head(b->p);
	b->h = program_gather(b->p, layer, b->h);
	b->attended = program_gather(b->p, layer, b->attended);
	declare_inner_buffers(b);
}

static void head(const struct builder *b, int32_t delta)
{
	const struct model_config *c = b->c;
	struct program *p = b->p;
	int32_t logits = program_buffer(p, DTYPE_F32, c->vocab_size);
	norm(b, -1, b->f->final_norm, b->h, delta, b->normed);
	const char *name = c->tie_word_embeddings ? b->f->embed : b->f->head;
	struct linear_part part = { .weight = matrix_of(b, -1, name, c->vocab_size, c->hidden_size, HEAD_BITS),
				    .n_rows = c->vocab_size, .bias = NO_ID, .out = { logits, 0 } };
	program_linear(p, &(struct linear_op){ .layer = -1, .in = { b->normed, 0 }, .k = c->hidden_size,
					       .n_parts = 1, .parts = &part });
	if (c->final_logit_softcap > 0)
		program_softcap(p, logits, c->vocab_size, (float)c->final_logit_softcap);
	program_set_logits(p, logits, c->vocab_size);
}

/* Gemma multiplies embeddings by sqrt(hidden) rounded to the compute type, as it was trained. */
static float embedding_scale(const struct builder *b)
{
	if (!b->f->scaled_embedding)
		return 1.0f;
	float scale = sqrtf((float)b->c->hidden_size);
	float rounded;
	char stored[4];
	enum dtype compute = program_get_config(b->p)->compute;
	dtype_store(compute, stored, 0, scale);
	rounded = dtype_load(compute, stored, 0);
	return rounded;
}

int decoder_build(struct program *p, const struct model_config *config, const struct decoder_family *family)
{
	struct builder b = { .p = p, .c = config, .f = family,
			     .q_width = config->n_heads * config->head_dim,
			     .k_width = config->n_kv_heads * config->head_dim };
	if (family->layout == QKV_GROUPED && 3 * config->n_kv_heads > LINEAR_MAX_PARTS)
		FAIL(VB_EUNSUPPORTED, "too many KV heads: %s: %lld: at most %d with this family's packed weights",
		     config->where, (long long)config->n_kv_heads, LINEAR_MAX_PARTS / 3);
	TRY(declare_buffers(&b));
	program_embed(p, matrix(&b, -1, family->embed, config->vocab_size, config->hidden_size), embedding_scale(&b),
		      b.h);
	int32_t delta = NO_ID;
	for (int layer = 0; layer < config->n_layers; layer++) {
		norm(&b, layer, family->attention_norm, b.h, delta, b.normed);
		attend(&b, layer);
		if (layer == config->n_layers - 1)
			keep_wanted_rows(&b, layer);
		project_out(&b, layer);
		delta = finish(&b, layer, family->post_attention_norm);
		norm(&b, layer, family->mlp_norm, b.h, delta, b.normed);
		mlp(&b, layer);
		delta = finish(&b, layer, family->post_mlp_norm);
	}
	head(&b, delta);
	return VB_OK;
}
