/* program_cuda.c - a program on a GPU: its memory, and its steps. */
#include "program_cuda_internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"

#include <string.h>

/* Known tokens, of rows with penalties, that one call of the sampler may have; a context's where that is more. */
#define MIN_TOKENS ((int64_t)1 << 20)
#define FILL_BYTES ((size_t)1 << 20)
/* Rows of logits that the host may look at at once; one where that is more. */
#define MOST_LOGITS_BYTES ((int64_t)4 << 20)

/* ---- Buckets ---- */

int64_t cuda_bucket_of(int64_t i)
{
	if (i < 8)
		return i + 1;
	/* 8 * 2^n and 12 * 2^n: no step is more than one and a half times what it has to be. */
	return (int64_t)(i % 2 ? 16 : 12) << (i - 8) / 2;
}

static int64_t index_of_bucket(int64_t n)
{
	int64_t i = 0;
	while (cuda_bucket_of(i) < n)
		i++;
	return i;
}

int64_t cuda_bucket(int64_t n)
{
	return cuda_bucket_of(index_of_bucket(n));
}

/* Steps of up to so many tokens are rounded up, and captured where graphs are wanted. */
static int64_t most_rounded(const struct program *p)
{
	int64_t most = p->config.max_decode < p->config.max_rows ? p->config.max_decode : p->config.max_rows;
	/* A bucket that does not fit into the buffers is none. */
	while (most > 0 && (cuda_bucket(most) > p->config.max_rows || cuda_bucket(most) > p->config.max_tokens))
		most--;
	return most;
}

static int64_t launched_for(const struct program *p, int64_t n)
{
	return n <= most_rounded(p) ? cuda_bucket(n) : n;
}

/* ---- Sizes ---- */

static size_t place(size_t *used, int64_t n, size_t size)
{
	size_t at = *used;
	*used += ((size_t)n * size + 255) / 256 * 256;
	return at;
}

/* Everything but the plans, whose sizes are known once they are made. */
static void lay_out(const struct program *p, struct block_layout *l)
{
	const struct program_config *c = &p->config;
	l->bytes = 0;
	l->ids = place(&l->bytes, c->max_tokens, sizeof(int32_t));
	l->from = place(&l->bytes, c->max_tokens, sizeof(int32_t));
	l->position = place(&l->bytes, c->max_tokens, sizeof(int32_t));
	l->rope_len = place(&l->bytes, c->max_tokens, sizeof(int32_t));
	for (int g = 0; g < p->n_groups; g++)
		l->slot[g] = place(&l->bytes, c->max_tokens, sizeof(int64_t));
	l->q_begin = place(&l->bytes, c->max_seqs + 1, sizeof(int32_t));
	l->kv_len = place(&l->bytes, c->max_seqs, sizeof(int32_t));
	l->rows = place(&l->bytes, c->max_rows, sizeof(int32_t));
	l->sample_rows = place(&l->bytes, c->max_rows, sizeof(struct sample_row));
	l->banned = place(&l->bytes, MAX_BANNED, sizeof(int32_t));
}

static int64_t most_tokens(const struct program *p)
{
	return p->config.context > MIN_TOKENS ? p->config.context : MIN_TOKENS;
}

uint64_t program_cuda_workspace(const struct program *p)
{
	struct block_layout l;
	lay_out(p, &l);
	struct attention_limits limits = program_plan_limits(p);
	uint64_t bytes = l.bytes + (uint64_t)most_tokens(p) * sizeof(int32_t) +
			 sample_cuda_bytes(p->config.max_rows, p->n_vocab) +
			 (uint64_t)(p->n_groups * p->config.max_seqs * limits.table_width) * sizeof(int32_t);
	for (int64_t i = 0; i < p->n_plans; i++)
		bytes += attention_cuda_bytes_for(p->config.gpu_facts, p->plans[i].row, &p->plans[i].request, &limits);
	return bytes;
}

/* ---- Memory ---- */

static int find_rope_table(struct program *p, const struct op *op, struct op_cuda *o)
{
	const struct rope_params *r = &op->u.rope_table.params;
	struct rope_table_request request = { r->kind };
	TRY(rope_table_cuda_find(p->gpu, op->pick.row, &request, &o->u.rope_table));
	/* The struct and its arrays in one piece. */
	size_t one = (size_t)r->rotary_dim / 2 * sizeof(float), head = (sizeof *r + 15) / 16 * 16;
	char *device;
	TRY(gpu_alloc(p->gpu, (void **)&device, head + 2 * one, "rotary frequencies"));
	o->params = (struct rope_params *)device;
	struct rope_params copy = *r;
	copy.inv_freq = (const float *)(device + head);
	copy.inv_freq_long = r->inv_freq_long ? (const float *)(device + head + one) : NULL;
	gpu_upload(p->gpu, device, &copy, sizeof copy);
	gpu_upload(p->gpu, device + head, r->inv_freq, one);
	if (r->inv_freq_long)
		gpu_upload(p->gpu, device + head + one, r->inv_freq_long, one);
	return VB_OK;
}

/* Finds what runs an operation. The requests are those of program_pick. */
static int find_op(struct program *p, const struct op *op, struct op_cuda *o)
{
	struct gpu *g = p->gpu;
	enum dtype compute = p->config.compute;
	int row = op->pick.row;
	switch (op->kind) {
	case OP_EMBED:
		return embed_cuda_find(g, row, &(struct embed_request){ p->weights[op->u.embed.weight].type }, &o->u.embed);
	case OP_ROPE_TABLE:
		return find_rope_table(p, op, o);
	case OP_RMS_NORM: {
		const struct norm_op *n = &op->u.norm.op;
		struct rms_norm_request r = { p->buffers[n->out.buffer].type, n->d };
		return rms_norm_cuda_find(g, row, &r, &o->u.norm);
	}
	case OP_LINEAR: {
		struct linear_request r = { .x_type = compute, .w_type = compute, .n = op->u.linear.n_rows, .k = op->u.linear.op.k };
		return linear_cuda_find(g, row, &r, &o->u.linear);
	}
	case OP_ROPE_CACHE: {
		const struct rope_cache_op *rope = &op->u.rope_cache.op;
		const struct cache_spec *c = &p->caches[rope->cache].spec;
		struct rope_cache_request r = { compute, compute, c->head_dim, c->v_head_dim, rope->rotary_dim };
		return rope_cache_cuda_find(g, row, &r, &o->u.rope_cache);
	}
	case OP_GLU: {
		struct glu_request r = { p->buffers[op->u.glu.out].type, op->u.glu.activation };
		return glu_cuda_find(g, row, &r, &o->u.glu);
	}
	case OP_GATHER:
		return gather_cuda_find(g, &o->u.gather);
	case OP_SOFTCAP:
		return softcap_cuda_find(g, row, &(struct softcap_request){ op->u.softcap.width }, &o->u.softcap);
	case OP_ATTENTION:
		return VB_OK; /* through its plan */
	}
	return VB_OK;
}

/* Addresses for most_pages pages of each cache: graphs are captured with them before it is known how many there will be. */
static int allocate_buffers(struct program *p, const int64_t *most_pages)
{
	for (int64_t i = 0; i < p->n_buffers; i++) {
		struct buffer *b = &p->buffers[i];
		TRY(gpu_alloc(p->gpu, &b->data, program_buffer_bytes(p, b), "buffers"));
	}
	for (int64_t i = 0; i < p->n_caches; i++) {
		struct cache *c = &p->caches[i];
		uint64_t page = (uint64_t)(p->config.page_size * c->spec.n_kv_heads) * dtype_bytes(p->config.compute);
		c->k_bytes = (uint64_t)most_pages[c->group] * page * (uint64_t)c->spec.head_dim;
		c->v_bytes = (uint64_t)most_pages[c->group] * page * (uint64_t)c->spec.v_head_dim;
		TRY(gpu_reserve(p->gpu, &c->k, c->k_bytes, "the KV cache"));
		TRY(gpu_reserve(p->gpu, &c->v, c->v_bytes, "the KV cache"));
	}
	return VB_OK;
}

static int make_plans(struct program *p, struct program_cuda *c)
{
	struct attention_limits limits = program_plan_limits(p);
	c->plans = mem_calloc((size_t)p->n_plans, sizeof(struct attention_cuda *));
	c->at.plan = mem_calloc((size_t)p->n_plans, sizeof *c->at.plan);
	if ((!c->plans || !c->at.plan) && p->n_plans)
		return VB_ENOMEM;
	for (int64_t i = 0; i < p->n_plans; i++) {
		const struct shared_plan *s = &p->plans[i];
		TRY(attention_cuda_create(p->gpu, s->row, &s->request, &limits, &c->plans[i]));
		c->at.plan[i] = place(&c->at.bytes, (int64_t)attention_cuda_plan_bytes(c->plans[i]), 1);
	}
	return VB_OK;
}

static int make_tables(struct program *p, struct program_cuda *c)
{
	c->table_width = program_plan_limits(p).table_width;
	size_t bytes = (size_t)(p->config.max_seqs * c->table_width) * sizeof(int32_t);
	for (int g = 0; g < p->n_groups; g++) {
		TRY(gpu_alloc(p->gpu, (void **)&c->table[g], bytes, "page tables"));
		TRY(gpu_host_alloc(p->gpu, (void **)&c->host_table[g], bytes, "page tables"));
		gpu_fill(p->gpu, c->table[g], 0, bytes);
		c->n_pages[g] = mem_calloc((size_t)p->config.max_seqs, sizeof *c->n_pages[g]);
		if (!c->n_pages[g])
			return VB_ENOMEM;
	}
	return VB_OK;
}

static int capture(struct program *p);

int program_cuda_take_pages(struct program *p, const int64_t *n_pages)
{
	for (int64_t i = 0; i < p->n_caches; i++) {
		struct cache *c = &p->caches[i];
		uint64_t page = (uint64_t)(p->config.page_size * c->spec.n_kv_heads) * dtype_bytes(p->config.compute);
		c->k_bytes = (uint64_t)n_pages[c->group] * page * (uint64_t)c->spec.head_dim;
		c->v_bytes = (uint64_t)n_pages[c->group] * page * (uint64_t)c->spec.v_head_dim;
		TRY(gpu_back(p->gpu, c->k, c->k_bytes, "the KV cache"));
		TRY(gpu_back(p->gpu, c->v, c->v_bytes, "the KV cache"));
	}
	return VB_OK;
}

int program_cuda_prepare(struct program *p, const int64_t *most_pages)
{
	struct program_cuda *c = p->cuda;
	CHECK(c && p->bound);
	for (int64_t i = 0; i < p->n_ops; i++)
		TRY(find_op(p, &p->ops[i], &c->ops[i]));
	TRY(allocate_buffers(p, most_pages));
	lay_out(p, &c->at);
	TRY(make_plans(p, c));
	TRY(make_tables(p, c));
	TRY(gpu_alloc(p->gpu, (void **)&c->device, c->at.bytes, "a step's arrays"));
	for (int i = 0; i < 2; i++) {
		size_t results = (size_t)p->config.max_rows * sizeof *c->results;
		TRY(gpu_host_alloc(p->gpu, (void **)&c->host[i], c->at.bytes, "a step's arrays"));
		TRY(gpu_host_alloc(p->gpu, (void **)&c->host_results[i], results, "chosen tokens"));
		TRY(gpu_event_create(p->gpu, &c->started[i]));
		TRY(gpu_event_create(p->gpu, &c->chosen[i]));
	}
	TRY(take_ids_cuda_find(p->gpu, &c->take_ids));
	c->max_tokens = most_tokens(p);
	TRY(gpu_alloc(p->gpu, (void **)&c->tokens, (size_t)c->max_tokens * sizeof *c->tokens, "known tokens"));
	TRY(gpu_host_alloc(p->gpu, (void **)&c->host_tokens, (size_t)c->max_tokens * sizeof *c->tokens, "known tokens"));
	TRY(gpu_alloc(p->gpu, (void **)&c->results, (size_t)p->config.max_rows * sizeof *c->results, "chosen tokens"));
	c->max_logits = MOST_LOGITS_BYTES / ((int64_t)sizeof(float) * p->n_vocab);
	if (c->max_logits > p->config.max_rows)
		c->max_logits = p->config.max_rows;
	if (c->max_logits < 1)
		c->max_logits = 1;
	TRY(gpu_host_alloc(p->gpu, (void **)&c->host_logits, (size_t)(c->max_logits * p->n_vocab) * sizeof(float), "logits"));
	TRY(sample_cuda_create(p->gpu, p->config.max_rows, p->n_vocab, &c->sample));
	gpu_fill(p->gpu, c->device, 0, c->at.bytes);
	TRY(gpu_sync(p->gpu));
	return p->config.graph ? capture(p) : VB_OK;
}

void program_cuda_destroy(struct program *p)
{
	struct program_cuda *c = p->cuda;
	if (!c)
		return;
	for (int64_t i = 0; i < c->n_graphs; i++)
		gpu_graph_destroy(p->gpu, &c->graphs[i]);
	for (int64_t i = 0; c->plans && i < p->n_plans; i++)
		attention_cuda_destroy(p->gpu, &c->plans[i]);
	for (int64_t i = 0; i < p->n_ops; i++)
		gpu_free(p->gpu, c->ops[i].params);
	sample_cuda_destroy(p->gpu, &c->sample);
	for (int g = 0; g < p->n_groups; g++) {
		gpu_free(p->gpu, c->table[g]);
		gpu_host_free(p->gpu, c->host_table[g]);
		mem_free(c->n_pages[g]);
	}
	gpu_free(p->gpu, c->device);
	for (int i = 0; i < 2; i++) {
		gpu_host_free(p->gpu, c->host[i]);
		gpu_host_free(p->gpu, c->host_results[i]);
		gpu_event_destroy(p->gpu, &c->started[i]);
		gpu_event_destroy(p->gpu, &c->chosen[i]);
	}
	gpu_free(p->gpu, c->tokens);
	gpu_host_free(p->gpu, c->host_tokens);
	gpu_free(p->gpu, c->results);
	gpu_host_free(p->gpu, c->host_logits);
	for (int64_t i = 0; i < p->n_buffers; i++) {
		gpu_free(p->gpu, p->buffers[i].data);
		p->buffers[i].data = NULL;
	}
	for (int64_t i = 0; i < p->n_caches; i++) {
		gpu_free(p->gpu, p->caches[i].k);
		gpu_free(p->gpu, p->caches[i].v);
		p->caches[i].k = p->caches[i].v = NULL;
	}
	program_cuda_free_weights(p);
	mem_free(c->graphs);
	mem_free(c->plans);
	mem_free(c->at.plan);
	mem_free(c->ops);
	mem_free(c);
	p->cuda = NULL;
}

/* ---- Launching ---- */

static int64_t width_of(const struct program *p, int32_t buffer)
{
	return p->buffers[buffer].width;
}

static void *at(const struct program *p, struct slice s)
{
	if (s.buffer == NO_ID)
		return NULL;
	const struct buffer *b = &p->buffers[s.buffer];
	return (char *)b->data + (size_t)s.col * dtype_bytes(b->type);
}

static void *start(const struct program *p, int32_t buffer)
{
	return buffer == NO_ID ? NULL : p->buffers[buffer].data;
}

static void *block(const struct program *p, size_t offset)
{
	return p->cuda->device + offset;
}

static void launch_norm(const struct program *p, const struct op *op, const struct op_cuda *o, int64_t t)
{
	const struct norm_op *n = &op->u.norm.op;
	struct rms_norm_args a = {
		.x = at(p, n->x), .delta = at(p, n->delta), .weight = p->weights[n->weight].data,
		.out = at(p, n->out), .t = t, .groups = n->groups, .d = n->d, .x_stride = width_of(p, n->x.buffer),
		.delta_stride = n->delta.buffer == NO_ID ? 0 : width_of(p, n->delta.buffer),
		.out_stride = width_of(p, n->out.buffer), .eps = n->eps, .weight_offset = n->weight_offset,
		.out_type = p->buffers[n->out.buffer].type,
	};
	rms_norm_cuda_run(p->gpu, &o->u.norm, &a);
}

static void launch_linear(const struct program *p, const struct op *op, const struct op_cuda *o, int64_t t)
{
	const struct linear_op *l = &op->u.linear.op;
	struct linear_args a = {
		.x = at(p, l->in), .w = o->w, .bias = o->bias, .y = at(p, o->out), .t = t, .n = op->u.linear.n_rows,
		.k = l->k, .x_stride = width_of(p, l->in.buffer), .y_stride = width_of(p, o->out.buffer),
		.x_type = p->buffers[l->in.buffer].type, .w_type = p->config.compute,
	};
	linear_cuda_run(p->gpu, &o->u.linear, &a);
}

static void launch_rope_cache(const struct program *p, const struct op *op, const struct op_cuda *o, int64_t t)
{
	const struct rope_cache_op *r = &op->u.rope_cache.op;
	const struct cache *cache = &p->caches[r->cache];
	struct rope_cache_args a = {
		.q = at(p, r->q), .k = at(p, r->k), .v = at(p, r->v), .table = start(p, r->table),
		.slot = block(p, p->cuda->at.slot[cache->group]), .q_out = start(p, r->q_out), .k_cache = cache->k,
		.v_cache = cache->v, .t = t, .n_heads = r->n_heads, .n_kv_heads = cache->spec.n_kv_heads,
		.head_dim = cache->spec.head_dim, .v_head_dim = cache->spec.v_head_dim,
		.page_size = p->config.page_size, .q_stride = width_of(p, r->q.buffer),
		.k_stride = width_of(p, r->k.buffer), .v_stride = width_of(p, r->v.buffer),
		.rotary_dim = r->rotary_dim, .q_type = p->config.compute, .kv_type = p->config.compute,
	};
	rope_cache_cuda_run(p->gpu, &o->u.rope_cache, &a);
}

static void launch_attention(const struct program *p, const struct op *op)
{
	const struct attention_op *o = &op->u.attention.op;
	const struct cache *cache = &p->caches[o->cache];
	const struct program_cuda *c = p->cuda;
	int plan = op->u.attention.plan;
	struct attention_args a = {
		.q = start(p, o->q), .k_cache = cache->k, .v_cache = cache->v, .page_table = c->table[cache->group],
		.q_begin = block(p, c->at.q_begin), .kv_len = block(p, c->at.kv_len),
		.sinks = o->sinks == NO_ID ? NULL : p->weights[o->sinks].data, .out = start(p, o->out),
		.n_seqs = p->config.max_seqs, .table_stride = c->table_width, .q_stride = width_of(p, o->q),
		.out_stride = width_of(p, o->out), .n_heads = o->n_heads, .n_kv_heads = cache->spec.n_kv_heads,
		.head_dim = cache->spec.head_dim, .v_head_dim = cache->spec.v_head_dim,
		.page_size = p->config.page_size, .window = cache->spec.window, .scale = o->scale, .softcap = o->softcap,
		.q_type = p->config.compute, .kv_type = p->config.compute, .out_type = p->config.compute,
	};
	attention_cuda_run(p->gpu, c->plans[plan], c->wide, block(p, c->at.plan[plan]), &a);
}

static void launch_op(const struct program *p, int64_t i, int64_t t)
{
	const struct op *op = &p->ops[i];
	const struct op_cuda *o = &p->cuda->ops[i];
	const struct block_layout *l = &p->cuda->at;
	switch (op->kind) {
	case OP_EMBED: {
		const struct weight *w = &p->weights[op->u.embed.weight];
		struct embed_args a = { .ids = block(p, l->ids), .table = w->data, .out = start(p, op->u.embed.out), .t = t,
					.d = w->spec.cols, .out_stride = width_of(p, op->u.embed.out),
					.scale = op->u.embed.scale, .w_type = w->type };
		embed_cuda_run(p->gpu, &o->u.embed, &a);
		return;
	}
	case OP_ROPE_TABLE: {
		struct rope_table_args a = { .position = block(p, l->position), .rope_len = block(p, l->rope_len),
					     .params = o->params, .out = start(p, op->u.rope_table.out), .t = t };
		rope_table_cuda_run(p->gpu, &o->u.rope_table, &a, op->u.rope_table.params.rotary_dim);
		return;
	}
	case OP_RMS_NORM:
		launch_norm(p, op, o, t);
		return;
	case OP_LINEAR:
		launch_linear(p, op, o, t);
		return;
	case OP_ROPE_CACHE:
		launch_rope_cache(p, op, o, t);
		return;
	case OP_ATTENTION:
		launch_attention(p, op);
		return;
	case OP_GLU: {
		struct glu_args a = { .gate = at(p, op->u.glu.gate), .up = at(p, op->u.glu.up),
				      .out = start(p, op->u.glu.out), .t = t, .d = op->u.glu.d,
				      .gate_stride = width_of(p, op->u.glu.gate.buffer),
				      .up_stride = width_of(p, op->u.glu.up.buffer),
				      .out_stride = width_of(p, op->u.glu.out), .activation = op->u.glu.activation,
				      .out_type = p->buffers[op->u.glu.out].type };
		glu_cuda_run(p->gpu, &o->u.glu, &a);
		return;
	}
	case OP_GATHER: {
		struct gather_args a = { .rows = block(p, l->rows), .x = start(p, op->u.gather.from),
					 .out = start(p, op->u.gather.out), .t = t,
					 .bytes = program_row_bytes(&p->buffers[op->u.gather.from]) };
		gather_cuda_run(p->gpu, &o->u.gather, &a);
		return;
	}
	case OP_SOFTCAP: {
		struct softcap_args a = { .x = start(p, op->u.softcap.x), .t = t, .d = op->u.softcap.width,
					  .x_stride = width_of(p, op->u.softcap.x), .cap = op->u.softcap.cap };
		softcap_cuda_run(p->gpu, &o->u.softcap, &a);
		return;
	}
	}
}

static void launch_layers(const struct program *p, int64_t t)
{
	struct take_ids_args a = { .from = block(p, p->cuda->at.from), .results = p->cuda->results,
				   .ids = block(p, p->cuda->at.ids), .t = t };
	take_ids_cuda_run(p->gpu, &p->cuda->take_ids, &a);
	for (int64_t i = 0; i < p->n_body; i++)
		launch_op(p, i, t);
}

static void launch_head(const struct program *p, int64_t n_rows)
{
	for (int64_t i = p->n_body; i < p->n_ops; i++)
		launch_op(p, i, n_rows);
}

static void launch_sampling(const struct program *p, int64_t n_rows)
{
	const struct program_cuda *c = p->cuda;
	sample_cuda_run(p->gpu, c->sample, start(p, p->logits), block(p, c->at.sample_rows), c->tokens,
			block(p, c->at.banned), n_rows, c->results);
}

/* A graph for every bucket, of steps that want as many rows of logits as they have tokens: decoding and verifying. */
static int capture(struct program *p)
{
	struct program_cuda *c = p->cuda;
	int64_t most = most_rounded(p), n = most > 0 ? index_of_bucket(most) + 1 : 0;
	c->graphs = mem_calloc((size_t)n, sizeof(struct gpu_graph *));
	if (n && !c->graphs)
		return VB_ENOMEM;
	uint64_t before, after, total;
	double begin = clock_s();
	TRY(gpu_memory(p->gpu, &before, &total));
	for (c->n_graphs = 0; c->n_graphs < n; c->n_graphs++) {
		int64_t t = cuda_bucket_of(c->n_graphs);
		TRY(gpu_capture_begin(p->gpu));
		launch_layers(p, t);
		launch_head(p, t);
		launch_sampling(p, t);
		TRY(gpu_capture_end(p->gpu, &c->graphs[c->n_graphs]));
	}
	TRY(gpu_memory(p->gpu, &after, &total));
	c->told = (struct program_graphs){ n, n ? cuda_bucket_of(n - 1) : 0, before > after ? before - after : 0,
					   clock_s() - begin };
	return VB_OK;
}

/* ---- A step's arrays ---- */

static void *host(const struct program *p, size_t offset)
{
	return p->cuda->host[p->cuda->turn] + offset;
}

static int64_t pages_of(const struct program *p, const struct step *s, int64_t seq)
{
	return (s->kv_len[seq] + p->config.page_size - 1) / p->config.page_size;
}

/* Whether only entries differ that no step under way looks at: what it looks at may still be on its way to the GPU. */
static bool tables_only_grow(const struct program *p, const struct step *s)
{
	const struct program_cuda *c = p->cuda;
	for (int g = 0; g < p->n_groups; g++) {
		const struct step_group *group = &s->groups[g];
		for (int64_t i = 0; i < s->n_seqs; i++) {
			const int32_t *now = group->page_table + i * group->table_width;
			int64_t n = c->n_pages[g][i];
			if (pages_of(p, s, i) < n ||
			    memcmp(now, c->host_table[g] + i * c->table_width, (size_t)n * sizeof *now) != 0)
				return false;
		}
	}
	return true;
}

/* Brings the GPU's page tables up to date: most entries are what they were. */
static void put_tables(struct program *p, const struct step *s)
{
	struct program_cuda *c = p->cuda;
	for (int g = 0; g < p->n_groups; g++) {
		const struct step_group *group = &s->groups[g];
		for (int64_t i = 0; i < s->n_seqs; i++) {
			const int32_t *now = group->page_table + i * group->table_width;
			int32_t *known = c->host_table[g] + i * c->table_width;
			int64_t n = pages_of(p, s, i), first = 0;
			c->n_pages[g][i] = n;
			while (first < n && known[first] == now[first])
				first++;
			while (n > first && known[n - 1] == now[n - 1])
				n--;
			if (first == n)
				continue;
			memcpy(known + first, now + first, (size_t)(n - first) * sizeof *now);
			gpu_upload(p->gpu, c->table[g] + i * c->table_width + first, known + first,
				   (size_t)(n - first) * sizeof *now);
		}
	}
}

/* The step's arrays, for a launch of t tokens, into the host's side of the block. */
static int put_step(struct program *p, const struct step *s, int64_t t)
{
	const struct block_layout *l = &p->cuda->at;
	size_t n = (size_t)s->n_tokens, rest = (size_t)(t - s->n_tokens);
	int32_t *from = host(p, l->from);
	if (s->from)
		memcpy(from, s->from, n * sizeof *from);
	for (int64_t i = s->from ? s->n_tokens : 0; i < t; i++)
		from[i] = -1;
	int32_t *ids = host(p, l->ids), *position = host(p, l->position), *rope_len = host(p, l->rope_len);
	memcpy(ids, s->ids, n * sizeof *ids);
	memcpy(position, s->position, n * sizeof *position);
	memcpy(rope_len, s->rope_len, n * sizeof *rope_len);
	memset(ids + n, 0, rest * sizeof *ids);
	memset(position + n, 0, rest * sizeof *position);
	memset(rope_len + n, 0, rest * sizeof *rope_len);
	for (int g = 0; g < p->n_groups; g++) {
		int64_t *slot = host(p, l->slot[g]);
		memcpy(slot, s->groups[g].slot, n * sizeof *slot);
		for (size_t i = n; i < n + rest; i++)
			slot[i] = -1;
	}
	int32_t *q_begin = host(p, l->q_begin);
	memcpy(q_begin, s->q_begin, (size_t)(s->n_seqs + 1) * sizeof *q_begin);
	for (int64_t i = s->n_seqs + 1; i <= p->config.max_seqs; i++)
		q_begin[i] = q_begin[s->n_seqs];
	memcpy(host(p, l->kv_len), s->kv_len, (size_t)s->n_seqs * sizeof *s->kv_len);
	for (int64_t i = 0; i < p->n_plans; i++)
		TRY(attention_cuda_plan(p->cuda->plans[i], p->cuda->wide, host(p, l->plan[i]), s->n_seqs, s->q_begin, s->kv_len));
	return VB_OK;
}

/* Where a wish's known tokens and bans stand, beside those of the wishes before it. */
struct lists {
	const int32_t *tokens, *banned; /* the last ones put */
	int64_t tokens_at, n_tokens, n_known, banned_at, n_banned, n_ban;
};

/* False where the lists are full. A sequence's rows follow each other, and share what they have in common. */
static bool put_lists(struct program *p, const struct sample_wish *w, struct lists *l, struct sample_row *row)
{
	struct program_cuda *c = p->cuda;
	row->tokens_at = -1;
	if (w->tokens) {
		bool same = l->tokens == w->tokens;
		int64_t begin = same ? l->tokens_at : l->n_tokens, had = same ? l->n_known : 0;
		if (begin + w->n_known > c->max_tokens)
			return false;
		if (w->n_known > had)
			memcpy(c->host_tokens + begin + had, w->tokens + had, (size_t)(w->n_known - had) * sizeof *w->tokens);
		l->tokens = w->tokens;
		l->tokens_at = begin;
		l->n_known = w->n_known > had ? w->n_known : had;
		l->n_tokens = begin + l->n_known;
		row->tokens_at = begin;
	}
	if (w->n_banned) {
		bool same = l->banned == w->banned && l->n_ban == w->n_banned;
		if (!same) {
			if (l->n_banned + w->n_banned > MAX_BANNED)
				return false;
			l->banned_at = l->n_banned;
			memcpy((int32_t *)host(p, c->at.banned) + l->banned_at, w->banned,
			       (size_t)w->n_banned * sizeof *w->banned);
			l->n_banned += w->n_banned;
			l->banned = w->banned;
			l->n_ban = w->n_banned;
		}
		row->ban_begin = (int32_t)l->banned_at;
		row->ban_end = (int32_t)(l->banned_at + w->n_banned);
	}
	return true;
}

/* As many of n wishes as fit, with rows that ask nothing behind them up to the bucket; returns how many. */
static int64_t put_wishes(struct program *p, const struct sample_wish *wishes, int64_t n)
{
	struct program_cuda *c = p->cuda;
	int32_t *rows = host(p, c->at.rows);
	struct sample_row *out = host(p, c->at.sample_rows);
	struct lists lists = { 0 };
	int64_t most = n < p->config.max_rows ? n : p->config.max_rows, count = 0;
	for (; count < most; count++) {
		const struct sample_wish *w = &wishes[count];
		struct sample_row row = { .position = w->position, .logits_row = (int32_t)count,
					  .want_logprob = w->want_logprob, .no_choice = !w->params,
					  .n_prompt = (int32_t)w->n_prompt, .n_known = (int32_t)w->n_known };
		if (w->params)
			row.params = *w->params;
		if (!put_lists(p, w, &lists, &row)) {
			CHECK(count > 0);
			break;
		}
		rows[count] = w->row;
		out[count] = row;
	}
	int64_t launched = launched_for(p, count);
	for (int64_t i = count; i < launched; i++) {
		rows[i] = 0;
		out[i] = (struct sample_row){ .logits_row = -1 };
	}
	if (lists.n_tokens)
		gpu_upload(p->gpu, c->tokens, c->host_tokens, (size_t)lists.n_tokens * sizeof *c->tokens);
	return count;
}

/* In front of a step's launches. As a copy it waits for all that was enqueued before, so that this step's kernels may read what earlier
 * steps wrote before their own predecessors have ended (kernels/ops/attention_list.h). */
static void upload_block(struct program *p)
{
	gpu_upload(p->gpu, p->cuda->device, p->cuda->host[p->cuda->turn], p->cuda->at.bytes);
	gpu_event_record(p->gpu, p->cuda->started[p->cuda->turn]);
}

/* ---- Running ---- */

/* The results of `count` rows on their way to the host. */
static void enqueue_results(struct program *p, int64_t count)
{
	struct program_cuda *c = p->cuda;
	gpu_download(p->gpu, c->host_results[c->turn], c->results, (size_t)count * sizeof *c->results);
	gpu_event_record(p->gpu, c->chosen[c->turn]);
	c->turn = !c->turn;
	c->n_under_way++;
}

/* Waits for the results that were enqueued first, and gives them out. */
static int give(struct program *p, const struct sample_wish *wishes, int64_t count, sample_take_fn *take, void *user)
{
	struct program_cuda *c = p->cuda;
	int turn = c->n_under_way == 2 ? c->turn : !c->turn;
	c->n_under_way--;
	TRY(gpu_event_wait(p->gpu, c->chosen[turn]));
	c->busy_ms += gpu_event_ms(p->gpu, c->started[turn], c->chosen[turn]);
	for (int64_t i = 0; i < count; i++) {
		const struct sample_result *r = &c->host_results[turn][i];
		struct sample_choice choice = { .id = r->id, .max = r->max, .log_sum = r->log_sum, .logprob = r->logprob };
		if (wishes[i].want_logits) {
			const float *logits = (const float *)start(p, p->logits) + i * p->n_vocab;
			gpu_download(p->gpu, c->host_logits, logits, (size_t)p->n_vocab * sizeof *logits);
			TRY(gpu_sync(p->gpu));
			choice.logits = c->host_logits;
		}
		take(user, &wishes[i], &choice);
	}
	return VB_OK;
}

/* Enqueues a step and the choices for as many of its wishes as fit; *count says for how many. */
static int enqueue_step(struct program *p, const struct step *s, const struct sample_wish *wishes, int64_t n, int64_t *count)
{
	struct program_cuda *c = p->cuda;
	int64_t t = launched_for(p, s->n_tokens);
	*count = put_wishes(p, wishes, n);
	int64_t rows = *count ? launched_for(p, *count) : 0;
	int64_t graph = t == rows && t <= most_rounded(p) ? index_of_bucket(t) : c->n_graphs;
	c->wide = graph >= c->n_graphs && attention_cuda_wide(s->n_seqs, s->q_begin);
	TRY(put_step(p, s, t));
	put_tables(p, s);
	upload_block(p);
	if (graph < c->n_graphs) {
		gpu_graph_launch(p->gpu, c->graphs[graph]);
	} else {
		launch_layers(p, t);
		if (rows) {
			launch_head(p, rows);
			launch_sampling(p, rows);
		}
	}
	enqueue_results(p, *count);
	return VB_OK;
}

int program_cuda_begin(struct program *p, const struct step *s, const struct sample_wish *wishes, int64_t n)
{
	int64_t count;
	CHECK(p->cuda->n_under_way < 2 && n <= p->config.max_rows);
	TRY(enqueue_step(p, s, wishes, n, &count));
	CHECK(count == n);
	return VB_OK;
}

int program_cuda_end(struct program *p, const struct sample_wish *wishes, int64_t n, sample_take_fn *take, void *user)
{
	CHECK(p->cuda->n_under_way > 0);
	return give(p, wishes, n, take, user);
}

bool program_cuda_can_run_ahead(const struct program *p, const struct step *s)
{
	return p->cuda->n_under_way == 1 && s->n_tokens <= p->config.max_rows && tables_only_grow(p, s);
}

int program_cuda_step(struct program *p, const struct step *s, const struct sample_wish *wishes, int64_t n,
		      sample_take_fn *take, void *user)
{
	int64_t count;
	CHECK(p->cuda->n_under_way == 0);
	TRY(enqueue_step(p, s, wishes, n, &count));
	TRY(give(p, wishes, count, take, user));
	for (int64_t done = count; done < n; done += count) {
		count = put_wishes(p, wishes + done, n - done);
		upload_block(p);
		launch_head(p, launched_for(p, count));
		launch_sampling(p, launched_for(p, count));
		enqueue_results(p, count);
		TRY(give(p, wishes + done, count, take, user));
	}
	return VB_OK;
}

int program_cuda_layers(struct program *p, const struct step *s)
{
	int64_t t = launched_for(p, s->n_tokens);
	p->cuda->wide = attention_cuda_wide(s->n_seqs, s->q_begin);
	TRY(put_step(p, s, t));
	put_tables(p, s);
	upload_block(p);
	launch_layers(p, t);
	return gpu_sync(p->gpu);
}

const float *program_cuda_logits(struct program *p, const int32_t *rows, int64_t n_rows)
{
	struct program_cuda *c = p->cuda;
	CHECK(n_rows <= c->max_logits);
	memcpy(host(p, c->at.rows), rows, (size_t)n_rows * sizeof *rows);
	int64_t launched = launched_for(p, n_rows);
	for (int64_t i = n_rows; i < launched; i++)
		((int32_t *)host(p, c->at.rows))[i] = 0;
	upload_block(p);
	launch_head(p, launched);
	gpu_download(p->gpu, c->host_logits, start(p, p->logits), (size_t)(n_rows * p->n_vocab) * sizeof(float));
	CHECK(gpu_sync(p->gpu) == VB_OK);
	return c->host_logits;
}

void program_cuda_graphs(const struct program *p, struct program_graphs *out)
{
	*out = p->cuda->told;
}

double program_cuda_busy_s(const struct program *p)
{
	return p->cuda->busy_ms / 1e3;
}

/* ---- Pages ---- */

static void copy_page(struct program *p, void *cache, uint64_t bytes_per_page, int32_t from, int32_t to)
{
	char *pages = cache;
	gpu_copy(p->gpu, pages + (uint64_t)to * bytes_per_page, pages + (uint64_t)from * bytes_per_page, bytes_per_page);
}

void program_cuda_copy_page(struct program *p, int group, int32_t from, int32_t to)
{
	uint64_t heads = (uint64_t)p->config.page_size * dtype_bytes(p->config.compute);
	for (int64_t i = 0; i < p->n_caches; i++) {
		const struct cache *c = &p->caches[i];
		if (c->group != group)
			continue;
		copy_page(p, c->k, heads * (uint64_t)(c->spec.n_kv_heads * c->spec.head_dim), from, to);
		copy_page(p, c->v, heads * (uint64_t)(c->spec.n_kv_heads * c->spec.v_head_dim), from, to);
	}
}

static void fill(struct program *p, void *cache, uint64_t bytes, const void *pattern)
{
	for (uint64_t done = 0; done < bytes; done += FILL_BYTES)
		gpu_upload(p->gpu, (char *)cache + done, pattern, bytes - done < FILL_BYTES ? bytes - done : FILL_BYTES);
}

void program_cuda_fill_caches(struct program *p)
{
	enum dtype type = p->config.compute;
	char *pattern = mem_alloc(FILL_BYTES);
	if (!pattern)
		return;
	/* Small values of both signs that differ from token to token. */
	for (size_t j = 0; j < FILL_BYTES / dtype_bytes(type); j++)
		dtype_store(type, pattern, j, (float)((j * 2654435761u >> 16 & 255) - 127.5) / 128);
	for (int64_t i = 0; i < p->n_caches; i++) {
		fill(p, p->caches[i].k, p->caches[i].k_bytes, pattern);
		fill(p, p->caches[i].v, p->caches[i].v_bytes, pattern);
	}
	mem_free(pattern);
}
