/* program.c - declaring a program and choosing its kernels. program_weights.c binds, program_linear.c has what is linears' own,
 * program_run.c runs. */
#include "ops/ops.h"

#include "base/mem.h"
#include "base/status.h"
#include "hw/hw.h"
#include "program_cuda.h"
#include "program_internal.h"

#include <stdio.h>
#include <string.h>

/* Arrays grow by doubling when their length is a power of two: no capacity to keep. Declaring only. */
static void *grow(struct program *p, void *array, int64_t n, size_t size)
{
	if (n & (n - 1) || p->rc != VB_OK)
		return array;
	void *bigger = mem_realloc(array, n ? (size_t)n * 2 : 1, size);
	if (!bigger) {
		p->rc = VB_ENOMEM;
		snprintf(p->message, sizeof p->message, "%s", vb_errmsg());
		return array;
	}
	return bigger;
}

static void fail(struct program *p, int rc)
{
	if (p->rc == VB_OK) {
		p->rc = rc;
		snprintf(p->message, sizeof p->message, "%s", vb_errmsg());
	}
}

int program_create(struct program **out, const struct program_config *config)
{
	*out = NULL;
	CHECK(config->max_tokens > 0 && config->max_seqs > 0 && config->max_rows > 0 && config->context > 0);
	CHECK(config->page_size > 0 && (config->page_size & (config->page_size - 1)) == 0);
	struct program *p = mem_calloc(1, sizeof *p);
	if (!p)
		return VB_ENOMEM;
	p->config = *config;
	p->logits = NO_ID;
	*out = p;
	return VB_OK;
}

void program_destroy(struct program **pp)
{
	struct program *p = *pp;
	if (!p)
		return;
	program_cuda_destroy(p);
	program_linear_destroy(p);
	for (int64_t i = 0; i < p->n_weights; i++) {
		mem_free((char *)p->weights[i].spec.name);
		mem_free_pages(p->weights[i].owned, p->weights[i].bytes);
	}
	for (int64_t i = 0; i < p->n_buffers; i++)
		mem_free_pages(p->buffers[i].data, p->buffers[i].bytes);
	for (int64_t i = 0; i < p->n_caches; i++) {
		mem_free_pages(p->caches[i].k, p->caches[i].k_bytes);
		mem_free_pages(p->caches[i].v, p->caches[i].v_bytes);
		mem_free_pages(p->caches[i].k_scale, p->caches[i].scale_bytes);
		mem_free_pages(p->caches[i].v_scale, p->caches[i].scale_bytes);
	}
	for (int64_t i = 0; i < p->n_plans; i++)
		attention_plan_destroy(&p->plans[i].plan);
	chooser_destroy(p);
	while (p->kept) {
		struct kept *next = p->kept->next;
		mem_free(p->kept);
		p->kept = next;
	}
	mem_free(p->weights);
	mem_free(p->buffers);
	mem_free(p->caches);
	mem_free(p->ops);
	mem_free(p->plans);
	mem_free(p);
	*pp = NULL;
}

const struct program_config *program_get_config(const struct program *p)
{
	return &p->config;
}

void *program_keep(struct program *p, size_t bytes)
{
	/* Two pointers of header keep the memory behind it aligned for any type. */
	struct kept *k = mem_calloc(1, 2 * sizeof(void *) + bytes);
	if (!k) {
		fail(p, VB_ENOMEM);
		return NULL;
	}
	k->next = p->kept;
	p->kept = k;
	return (char *)k + 2 * sizeof(void *);
}

/* ---- Declaring ---- */

int32_t program_weight(struct program *p, const struct weight_spec *spec)
{
	for (int64_t i = 0; i < p->n_weights; i++) {
		struct weight_spec *known = &p->weights[i].spec;
		if (strcmp(known->name, spec->name) != 0)
			continue;
		known->least_bits = spec->least_bits > known->least_bits ? spec->least_bits : known->least_bits;
		CHECK(known->use == spec->use && known->rows == spec->rows && known->cols == spec->cols);
		return (int32_t)i;
	}
	p->weights = grow(p, p->weights, p->n_weights, sizeof *p->weights);
	char *name = mem_strdup(spec->name);
	if (p->rc != VB_OK || !name) {
		mem_free(name);
		fail(p, VB_ENOMEM);
		return NO_ID;
	}
	struct weight *w = &p->weights[p->n_weights];
	*w = (struct weight){ .spec = *spec };
	w->spec.name = name;
	w->type = spec->use == WEIGHT_VECTOR ? DTYPE_F32 : p->config.compute;
	w->matrix.n = spec->rows;
	w->matrix.k = spec->cols;
	return (int32_t)p->n_weights++;
}

int32_t program_buffer(struct program *p, enum dtype type, int64_t width)
{
	p->buffers = grow(p, p->buffers, p->n_buffers, sizeof *p->buffers);
	if (p->rc != VB_OK)
		return NO_ID;
	p->buffers[p->n_buffers] = (struct buffer){ .type = type, .width = width, .head = p->in_head };
	return (int32_t)p->n_buffers++;
}

int32_t program_cache(struct program *p, const struct cache_spec *spec)
{
	p->caches = grow(p, p->caches, p->n_caches, sizeof *p->caches);
	if (p->rc != VB_OK)
		return NO_ID;
	int group = 0;
	while (group < p->n_groups && p->group_window[group] != spec->window)
		group++;
	if (group == PROGRAM_MAX_GROUPS) {
		fail(p, status_fail(VB_EUNSUPPORTED, __FILE__, __LINE__,
				    "too many different windows: %d: the layers of a model may have that many at most",
				    PROGRAM_MAX_GROUPS));
		return NO_ID;
	}
	if (group == p->n_groups)
		p->group_window[p->n_groups++] = spec->window;
	p->caches[p->n_caches] = (struct cache){ .spec = *spec, .group = group };
	return (int32_t)p->n_caches++;
}

/* The new operation, or NULL after a failure. */
static struct op *append(struct program *p, enum op_kind kind, int layer)
{
	p->ops = grow(p, p->ops, p->n_ops, sizeof *p->ops);
	if (p->rc != VB_OK)
		return NULL;
	struct op *op = &p->ops[p->n_ops++];
	memset(op, 0, sizeof *op);
	op->kind = kind;
	op->layer = layer;
	op->pick.row = -1;
	if (!p->in_head)
		p->n_body = p->n_ops;
	return op;
}

void program_embed(struct program *p, int32_t weight, float scale, int32_t out)
{
	struct op *op = append(p, OP_EMBED, -1);
	if (!op)
		return;
	op->u.embed.weight = weight;
	op->u.embed.scale = scale;
	op->u.embed.out = out;
}

void program_rope_table(struct program *p, const struct rope_params *params, int32_t out)
{
	struct op *op = append(p, OP_ROPE_TABLE, -1);
	if (!op)
		return;
	op->u.rope_table.params = *params;
	op->u.rope_table.out = out;
}

void program_rms_norm(struct program *p, const struct norm_op *norm)
{
	struct op *op = append(p, OP_RMS_NORM, norm->layer);
	if (op)
		op->u.norm.op = *norm;
}

void program_linear(struct program *p, const struct linear_op *linear)
{
	CHECK(linear->n_parts >= 1 && linear->n_parts <= LINEAR_MAX_PARTS);
	size_t bytes = (size_t)linear->n_parts * sizeof *linear->parts;
	struct linear_part *parts = program_keep(p, bytes);
	struct linear_state *state = program_keep(p, (size_t)linear->n_parts * sizeof *state);
	struct op *op = append(p, OP_LINEAR, linear->layer);
	if (!op || !parts || !state)
		return;
	memcpy(parts, linear->parts, bytes);
	op->u.linear.op = *linear;
	op->u.linear.op.parts = parts;
	op->u.linear.state = state;
	for (int i = 0; i < linear->n_parts; i++)
		op->u.linear.n_rows += parts[i].n_rows;
}

void program_rope_cache(struct program *p, const struct rope_cache_op *rope)
{
	struct op *op = append(p, OP_ROPE_CACHE, rope->layer);
	if (op)
		op->u.rope_cache.op = *rope;
}

void program_attention(struct program *p, const struct attention_op *attention)
{
	struct op *op = append(p, OP_ATTENTION, attention->layer);
	if (!op)
		return;
	op->u.attention.op = *attention;
	op->u.attention.plan = -1;
}

void program_glu(struct program *p, int layer, struct slice gate, struct slice up, int64_t d,
		 enum glu_activation activation, int32_t out)
{
	struct op *op = append(p, OP_GLU, layer);
	if (!op)
		return;
	op->u.glu.gate = gate;
	op->u.glu.up = up;
	op->u.glu.d = d;
	op->u.glu.activation = activation;
	op->u.glu.out = out;
}

void program_begin_head(struct program *p)
{
	CHECK(!p->in_head);
	p->in_head = true;
}

int32_t program_gather(struct program *p, int layer, int32_t from)
{
	CHECK(p->in_head);
	if (p->rc != VB_OK)
		return NO_ID;
	CHECK(!p->buffers[from].head);
	int32_t out = program_buffer(p, p->buffers[from].type, p->buffers[from].width);
	struct op *op = append(p, OP_GATHER, layer);
	if (!op)
		return NO_ID;
	op->u.gather.from = from;
	op->u.gather.out = out;
	return out;
}

void program_softcap(struct program *p, int32_t x, int64_t width, float cap)
{
	struct op *op = append(p, OP_SOFTCAP, -1);
	if (!op)
		return;
	op->u.softcap.x = x;
	op->u.softcap.width = width;
	op->u.softcap.cap = cap;
}

void program_set_logits(struct program *p, int32_t buffer, int64_t n_vocab)
{
	p->logits = buffer;
	p->n_vocab = n_vocab;
}

/* ---- Choosing ---- */

static bool same_request(const struct attention_request *a, const struct attention_request *b)
{
	return a->n_heads == b->n_heads && a->n_kv_heads == b->n_kv_heads && a->head_dim == b->head_dim &&
	       a->v_head_dim == b->v_head_dim && a->q_type == b->q_type && a->kv_type == b->kv_type &&
	       a->out_type == b->out_type && a->page_size == b->page_size && a->window == b->window &&
	       a->max_q_len == b->max_q_len && a->softcap == b->softcap && a->sink == b->sink;
}

static int pick_attention(struct program *p, struct op *op)
{
	const struct attention_op *a = &op->u.attention.op;
	const struct cache_spec *c = &p->caches[a->cache].spec;
	enum dtype type = p->config.compute;
	struct attention_request *request = &op->u.attention.request, r = {
		.n_heads = a->n_heads, .n_kv_heads = c->n_kv_heads, .head_dim = c->head_dim,
		.v_head_dim = c->v_head_dim, .q_type = type, .kv_type = program_kv_type(p), .out_type = type,
		.page_size = p->config.page_size, .window = c->window, .max_q_len = p->config.max_tokens,
		.softcap = a->softcap != 0, .sink = a->sinks != NO_ID,
	};
	*request = r;
	int n = snprintf(op->what, sizeof op->what, "%s, %lld/%lld heads of %lld", dtype_name(type),
			 (long long)r.n_heads, (long long)r.n_kv_heads, (long long)r.head_dim);
	if (r.kv_type != type)
		n += snprintf(op->what + n, sizeof op->what - (size_t)n, ", %s cache",
			      r.kv_type == DTYPE_I8 ? "int8" : dtype_name(r.kv_type));
	if (r.window)
		n += snprintf(op->what + n, sizeof op->what - (size_t)n, ", window %lld", (long long)r.window);
	if (r.softcap)
		n += snprintf(op->what + n, sizeof op->what - (size_t)n, ", softcap");
	if (r.sink)
		snprintf(op->what + n, sizeof op->what - (size_t)n, ", sink");
	TRY(attention_pick(p->config.isa, &r, p->config.attention, &op->pick));
	for (int64_t i = 0; i < p->n_plans; i++) {
		if (p->plans[i].row == op->pick.row && same_request(&p->plans[i].request, &r)) {
			op->u.attention.plan = (int)i;
			return VB_OK;
		}
	}
	p->plans = grow(p, p->plans, p->n_plans, sizeof *p->plans);
	TRY(p->rc);
	p->plans[p->n_plans] = (struct shared_plan){ .request = r, .row = op->pick.row };
	op->u.attention.plan = (int)p->n_plans++;
	return VB_OK;
}

static int pick_op(struct program *p, struct op *op)
{
	uint32_t isa = p->config.isa;
	bool on_gpu = isa & ISA_CUDA;
	enum dtype compute = p->config.compute;
	switch (op->kind) {
	case OP_EMBED: {
		struct embed_request r = { p->weights[op->u.embed.weight].type };
		snprintf(op->what, sizeof op->what, "%s", dtype_name(r.w_type));
		TRY(embed_pick(isa, &r, NULL, &op->pick));
		op->u.embed.fn = on_gpu ? NULL : embed_kernel(op->pick.row);
		return VB_OK;
	}
	case OP_ROPE_TABLE: {
		struct rope_table_request r = { op->u.rope_table.params.kind };
		snprintf(op->what, sizeof op->what, "%d dimensions", op->u.rope_table.params.rotary_dim);
		TRY(rope_table_pick(isa, &r, NULL, &op->pick));
		op->u.rope_table.fn = on_gpu ? NULL : rope_table_kernel(op->pick.row);
		return VB_OK;
	}
	case OP_RMS_NORM: {
		const struct norm_op *n = &op->u.norm.op;
		struct rms_norm_request r = { p->buffers[n->out.buffer].type, n->d };
		snprintf(op->what, sizeof op->what, "%lld to %s", (long long)r.d, dtype_name(r.out_type));
		TRY(rms_norm_pick(isa, &r, NULL, &op->pick));
		op->u.norm.fn = on_gpu ? NULL : rms_norm_kernel(op->pick.row);
		return VB_OK;
	}
	case OP_LINEAR:
		return program_linear_pick(p, op);
	case OP_ROPE_CACHE: {
		const struct rope_cache_op *o = &op->u.rope_cache.op;
		const struct cache_spec *c = &p->caches[o->cache].spec;
		struct rope_cache_request r = { compute, program_kv_type(p), c->head_dim, c->v_head_dim, o->rotary_dim };
		snprintf(op->what, sizeof op->what, "%s, heads of %lld", dtype_name(compute),
			 (long long)c->head_dim);
		TRY(rope_cache_pick(isa, &r, NULL, &op->pick));
		op->u.rope_cache.fn = on_gpu ? NULL : rope_cache_kernel(op->pick.row);
		return VB_OK;
	}
	case OP_ATTENTION:
		return pick_attention(p, op);
	case OP_GLU: {
		struct glu_request r = { p->buffers[op->u.glu.out].type, op->u.glu.activation };
		snprintf(op->what, sizeof op->what, "%lld to %s", (long long)op->u.glu.d, dtype_name(r.out_type));
		TRY(glu_pick(isa, &r, NULL, &op->pick));
		op->u.glu.fn = on_gpu ? NULL : glu_kernel(op->pick.row);
		return VB_OK;
	}
	case OP_GATHER:
		snprintf(op->what, sizeof op->what, "%lld of %s", (long long)p->buffers[op->u.gather.from].width,
			 dtype_name(p->buffers[op->u.gather.from].type));
		op->pick.row = 0;
		op->pick.kernel = "copy";
		return VB_OK;
	case OP_SOFTCAP: {
		struct softcap_request r = { op->u.softcap.width };
		snprintf(op->what, sizeof op->what, "%lld", (long long)r.d);
		TRY(softcap_pick(isa, &r, NULL, &op->pick));
		op->u.softcap.fn = on_gpu ? NULL : softcap_kernel(op->pick.row);
		return VB_OK;
	}
	}
	return VB_OK;
}

static const char *const op_names[] = {
	[OP_EMBED] = "embed",           [OP_ROPE_TABLE] = "rope_table", [OP_RMS_NORM] = "rms_norm",
	[OP_LINEAR] = "linear",         [OP_ROPE_CACHE] = "rope_cache", [OP_ATTENTION] = "attention",
	[OP_GLU] = "glu",               [OP_GATHER] = "gather",         [OP_SOFTCAP] = "softcap",
};

void program_provide(struct program *p, const struct weight_provider *from)
{
	CHECK(!p->picked && !(p->config.isa & ISA_CUDA));
	p->provider = *from;
}

/* What to change where nothing serves a layer's attention. */
static void say_what_helps(const struct program *p, char *out, size_t size)
{
	const struct program_config *c = &p->config;
	snprintf(out, size, "%s%s%s%s", c->attention ? "--attention auto, " : "",
		 c->isa & ISA_CUDA && c->compute == DTYPE_F32 ? "--dtype bf16, " : "",
		 c->isa & ISA_CUDA && c->page_size < 8 ? "--page-size 64, " : "", c->isa & ISA_CUDA ? "--device cpu, " : "");
	if (out[0])
		out[strlen(out) - 2] = '\0';
}

/* The layer, what was asked of it and how it would be run, every kernel's reason, and what helps. */
static void say_no_attention(const struct program *p, const struct op *op, char *out, size_t size)
{
	const struct program_config *c = &p->config;
	char helps[128];
	say_what_helps(p, helps, sizeof helps);
	snprintf(out, size, "no kernel for attention (%s, pages of %lld, steps of 1 to %lld tokens a sequence %s, prompts "
			    "eagerly) of layer %d on %s: %s%s%s",
		 op->what, (long long)c->page_size, (long long)(c->max_decode > c->max_seqs ? c->max_decode / c->max_seqs : 1),
		 c->graph && c->gpu_facts ? "as graphs" : "eagerly", op->layer, c->gpu_facts ? c->gpu_facts->name : "the CPU",
		 vb_errmsg(), helps[0] ? ": what may help: " : "", helps);
}

int program_pick(struct program *p)
{
	if (p->rc != VB_OK)
		FAIL(p->rc, "%s", p->message);
	CHECK(p->logits != NO_ID);
	int first = VB_OK;
	char message[2048];
	for (int64_t i = 0; i < p->n_ops; i++) {
		struct op *op = &p->ops[i];
		int rc = pick_op(p, op);
		if (rc == VB_OK || first != VB_OK)
			continue;
		first = rc;
		if (rc == VB_ENOMEM)
			snprintf(message, sizeof message, "%s", vb_errmsg());
		else if (op->kind == OP_ATTENTION && rc == VB_EUNSUPPORTED)
			say_no_attention(p, op, message, sizeof message);
		else if (op->layer >= 0)
			snprintf(message, sizeof message, "no kernel for %s (%s) of layer %d: %s",
				 op_names[op->kind], op->what, op->layer, vb_errmsg());
		else
			snprintf(message, sizeof message, "no kernel for %s (%s): %s", op_names[op->kind],
				 op->what, vb_errmsg());
	}
	if (first != VB_OK)
		FAIL(first, "%s", message);
	p->picked = true;
	return VB_OK;
}

int64_t program_n_choices(const struct program *p)
{
	return p->n_ops;
}

void program_choice(const struct program *p, int64_t i, struct program_choice *out)
{
	const struct op *op = &p->ops[i];
	*out = (struct program_choice){
		op->layer, op_names[op->kind], op->what, &op->pick,
		op->kind == OP_ATTENTION ? &op->u.attention.request : NULL,
	};
}

void program_set_gpu(struct program *p, struct gpu *gpu)
{
	CHECK(p->picked && !p->bound && (p->config.isa & ISA_CUDA));
	p->gpu = gpu;
}

/* ---- Memory ---- */

struct attention_limits program_plan_limits(const struct program *p)
{
	return (struct attention_limits){
		.max_seqs = p->config.max_seqs, .max_tokens = p->config.max_tokens,
		.table_width = (p->config.context + p->config.page_size - 1) / p->config.page_size,
		.n_workers = p->config.n_threads,
	};
}

int64_t program_row_bytes(const struct buffer *b)
{
	return b->width * (int64_t)dtype_bytes(b->type);
}

uint64_t program_buffer_bytes(const struct program *p, const struct buffer *b)
{
	int64_t rows = b->head ? p->config.max_rows : p->config.max_tokens;
	return (uint64_t)rows * (uint64_t)program_row_bytes(b);
}

enum dtype program_kv_type(const struct program *p)
{
	static const enum dtype types[] = { [KV_F32] = DTYPE_F32, [KV_BF16] = DTYPE_BF16, [KV_F16] = DTYPE_F16,
					    [KV_INT8] = DTYPE_I8 };
	return p->config.kv == KV_AS_COMPUTED ? p->config.compute : types[p->config.kv];
}

uint64_t program_token_bytes(const struct program *p, const struct cache_spec *c)
{
	enum dtype type = program_kv_type(p);
	uint64_t scales = type == DTYPE_I8 ? 2 * sizeof(float) : 0;
	return (uint64_t)c->n_kv_heads * ((uint64_t)(c->head_dim + c->v_head_dim) * dtype_bytes(type) + scales);
}

void program_memory(const struct program *p, struct program_memory *out)
{
	*out = (struct program_memory){ 0 };
	for (int64_t i = 0; i < p->n_weights; i++)
		out->weights += program_canonical_bytes(p, i);
	for (int64_t i = 0; i < p->n_ops; i++) {
		const struct op *op = &p->ops[i];
		if (op->kind != OP_LINEAR)
			continue;
		for (int j = 0; j < op->u.linear.op.n_parts; j++) {
			const struct linear_part *part = &op->u.linear.op.parts[j];
			const struct linear_state *s = &op->u.linear.state[j];
			out->weights_per_token += s->bytes;
			if (s->kernel && s->kernel->pack)
				out->weights += s->bytes;
			*(i < p->n_body ? &out->body_products : &out->head_products) += (uint64_t)(part->n_rows * op->u.linear.op.k);
		}
	}
	for (int64_t i = 0; i < p->n_buffers; i++)
		out->activations += program_buffer_bytes(p, &p->buffers[i]);
	for (int64_t i = 0; i < p->n_caches; i++) {
		const struct cache_spec *c = &p->caches[i].spec;
		uint64_t bytes = program_token_bytes(p, c);
		out->kv_per_token += bytes;
		out->group_kv_per_token[p->caches[i].group] += bytes;
	}
	if (p->config.isa & ISA_CUDA) {
		out->workspace = program_cuda_workspace(p);
		out->kv_rounding = (uint64_t)p->n_caches * 2 * ((uint64_t)2 << 20);
		return;
	}
	struct attention_limits limits = program_plan_limits(p);
	for (int64_t i = 0; i < p->n_plans; i++)
		out->workspace += (uint64_t)attention_plan_bytes_for(&p->plans[i].request, &limits);
	out->workspace += chooser_bytes(p) + program_linear_scratch(p);
}

int program_n_groups(const struct program *p)
{
	return p->n_groups;
}

int64_t program_group_window(const struct program *p, int group)
{
	return p->group_window[group];
}

int program_prepare(struct program *p, const int64_t *most_pages)
{
	CHECK(p->picked && !p->prepared);
	p->prepared = true;
	if (p->gpu)
		return program_cuda_prepare(p, most_pages);
	for (int64_t i = 0; i < p->n_buffers; i++) {
		struct buffer *b = &p->buffers[i];
		b->bytes = program_buffer_bytes(p, b);
		b->data = mem_pages(b->bytes);
		if (!b->data)
			return VB_ENOMEM;
	}
	struct attention_limits limits = program_plan_limits(p);
	for (int64_t i = 0; i < p->n_plans; i++) {
		struct shared_plan *s = &p->plans[i];
		TRY(attention_plan_create(&s->plan, &s->request, s->row, &limits));
	}
	TRY(program_linear_allocate(p));
	return chooser_create(p);
}

int program_take_pages(struct program *p, const int64_t *n_pages)
{
	CHECK(p->prepared && !p->allocated);
	if (p->gpu) {
		TRY(program_cuda_take_pages(p, n_pages));
		p->allocated = true;
		return VB_OK;
	}
	for (int64_t i = 0; i < p->n_caches; i++) {
		struct cache *c = &p->caches[i];
		uint64_t tokens = (uint64_t)n_pages[c->group] * (uint64_t)p->config.page_size;
		uint64_t heads = (uint64_t)c->spec.n_kv_heads * dtype_bytes(program_kv_type(p));
		c->k_bytes = tokens * heads * (uint64_t)c->spec.head_dim;
		c->v_bytes = tokens * heads * (uint64_t)c->spec.v_head_dim;
		c->k = mem_pages(c->k_bytes);
		c->v = mem_pages(c->v_bytes);
		if (!c->k || !c->v)
			return VB_ENOMEM;
		if (program_kv_type(p) != DTYPE_I8)
			continue;
		c->scale_bytes = tokens * (uint64_t)c->spec.n_kv_heads * sizeof(float);
		c->k_scale = mem_pages(c->scale_bytes);
		c->v_scale = mem_pages(c->scale_bytes);
		if (!c->k_scale || !c->v_scale)
			return VB_ENOMEM;
	}
	p->allocated = true;
	return VB_OK;
}

int program_allocate(struct program *p, const int64_t *n_pages)
{
	TRY(program_prepare(p, n_pages));
	return program_take_pages(p, n_pages);
}

int64_t program_n_vocab(const struct program *p)
{
	return p->n_vocab;
}
