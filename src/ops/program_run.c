/* program_run.c - running a program. Nothing here allocates, fails, or decides anything that changes a bit. */
#include "ops/ops.h"

#include "base/status.h"
#include "program_cuda.h"

#include <string.h>

/* Below so many elements an operation runs on the caller: waking the team costs more than it saves. */
#define INLINE_ELEMENTS 16384

struct call {
	struct program *p;
	const struct op *op;
	const struct step *step;
	int64_t t; /* rows of this operation */
	const int32_t *rows; /* OP_GATHER */
};

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

/* ---- One function an operation: the share of worker `index` ---- */

static void run_embed(const struct call *c, int64_t begin, int64_t end)
{
	const struct weight *w = &c->p->weights[c->op->u.embed.weight];
	struct embed_args a = {
		.ids = c->step->ids, .table = w->data, .out = start(c->p, c->op->u.embed.out), .t = c->t,
		.d = w->spec.cols, .out_stride = width_of(c->p, c->op->u.embed.out),
		.scale = c->op->u.embed.scale, .w_type = w->type,
	};
	c->op->u.embed.fn(&a, begin, end);
}

static void run_rope_table(const struct call *c, int64_t begin, int64_t end)
{
	struct rope_table_args a = {
		.position = c->step->position, .rope_len = c->step->rope_len,
		.params = &c->op->u.rope_table.params, .out = start(c->p, c->op->u.rope_table.out), .t = c->t,
	};
	c->op->u.rope_table.fn(&a, begin, end);
}

static void run_norm(const struct call *c, int64_t begin, int64_t end)
{
	const struct program *p = c->p;
	const struct norm_op *n = &c->op->u.norm.op;
	struct rms_norm_args a = {
		.x = at(p, n->x), .delta = at(p, n->delta), .weight = p->weights[n->weight].data,
		.out = at(p, n->out), .t = c->t, .groups = n->groups, .d = n->d,
		.x_stride = width_of(p, n->x.buffer),
		.delta_stride = n->delta.buffer == NO_ID ? 0 : width_of(p, n->delta.buffer),
		.out_stride = width_of(p, n->out.buffer), .eps = n->eps, .weight_offset = n->weight_offset,
		.out_type = p->buffers[n->out.buffer].type,
	};
	c->op->u.norm.fn(&a, begin, end);
}

static void run_rope_cache(const struct call *c, int64_t begin, int64_t end)
{
	const struct program *p = c->p;
	const struct rope_cache_op *o = &c->op->u.rope_cache.op;
	const struct cache *cache = &p->caches[o->cache];
	struct rope_cache_args a = {
		.q = at(p, o->q), .k = at(p, o->k), .v = at(p, o->v), .table = start(p, o->table),
		.slot = c->step->groups[cache->group].slot, .q_out = start(p, o->q_out), .k_cache = cache->k, .v_cache = cache->v,
		.k_scale = cache->k_scale, .v_scale = cache->v_scale,
		.t = c->t, .n_heads = o->n_heads, .n_kv_heads = cache->spec.n_kv_heads,
		.head_dim = cache->spec.head_dim, .v_head_dim = cache->spec.v_head_dim,
		.page_size = p->config.page_size, .q_stride = width_of(p, o->q.buffer),
		.k_stride = width_of(p, o->k.buffer), .v_stride = width_of(p, o->v.buffer),
		.rotary_dim = o->rotary_dim, .q_type = p->config.compute, .kv_type = program_kv_type(p),
	};
	c->op->u.rope_cache.fn(&a, begin, end);
}

static void run_glu(const struct call *c, int64_t begin, int64_t end)
{
	const struct program *p = c->p;
	struct glu_args a = {
		.gate = at(p, c->op->u.glu.gate), .up = at(p, c->op->u.glu.up), .out = start(p, c->op->u.glu.out),
		.t = c->t, .d = c->op->u.glu.d, .gate_stride = width_of(p, c->op->u.glu.gate.buffer),
		.up_stride = width_of(p, c->op->u.glu.up.buffer), .out_stride = width_of(p, c->op->u.glu.out),
		.activation = c->op->u.glu.activation, .out_type = p->buffers[c->op->u.glu.out].type,
	};
	c->op->u.glu.fn(&a, begin, end);
}

static void run_gather(const struct call *c, int64_t begin, int64_t end)
{
	const struct program *p = c->p;
	const struct buffer *from = &p->buffers[c->op->u.gather.from], *out = &p->buffers[c->op->u.gather.out];
	const int64_t bytes = program_row_bytes(from);
	for (int64_t r = begin; r < end; r++)
		memcpy((char *)out->data + r * bytes, (const char *)from->data + c->rows[r] * bytes, (size_t)bytes);
}

static void run_softcap(const struct call *c, int64_t begin, int64_t end)
{
	struct softcap_args a = {
		.x = start(c->p, c->op->u.softcap.x), .t = c->t, .d = c->op->u.softcap.width,
		.x_stride = width_of(c->p, c->op->u.softcap.x), .cap = c->op->u.softcap.cap,
	};
	c->op->u.softcap.fn(&a, begin, end);
}

/* ---- Sharing ---- */

static void worker(void *context, int index, int n_workers)
{
	const struct call *c = context;
	int64_t begin, end;
	if (c->op->kind == OP_SOFTCAP) {
		/* 16 results fill a cache line: two workers never write to one. */
		team_share(c->op->u.softcap.width, 16, index, n_workers, &begin, &end);
		run_softcap(c, begin, end);
		return;
	}
	team_share(c->t, 1, index, n_workers, &begin, &end);
	switch (c->op->kind) {
	case OP_EMBED:
		run_embed(c, begin, end);
		break;
	case OP_ROPE_TABLE:
		run_rope_table(c, begin, end);
		break;
	case OP_RMS_NORM:
		run_norm(c, begin, end);
		break;
	case OP_ROPE_CACHE:
		run_rope_cache(c, begin, end);
		break;
	case OP_GLU:
		run_glu(c, begin, end);
		break;
	default:
		run_gather(c, begin, end);
	}
}

/* Elements that an operation touches, for deciding whether the team is worth waking. */
static int64_t work_of(const struct call *c)
{
	const struct op *op = c->op;
	switch (op->kind) {
	case OP_RMS_NORM:
		return c->t * op->u.norm.op.groups * op->u.norm.op.d;
	case OP_GLU:
		return c->t * op->u.glu.d * 4; /* an exponential each */
	case OP_SOFTCAP:
		return c->t * op->u.softcap.width * 4;
	case OP_ROPE_CACHE:
		return c->t * width_of(c->p, op->u.rope_cache.op.q_out);
	case OP_ROPE_TABLE:
		return c->t * op->u.rope_table.params.rotary_dim * 16; /* sines and cosines */
	case OP_GATHER:
		return c->t * width_of(c->p, op->u.gather.from);
	default:
		return c->t * 1024;
	}
}

static void run_attention(const struct call *c, struct team *team)
{
	struct program *p = c->p;
	const struct attention_op *o = &c->op->u.attention.op;
	const struct cache *cache = &p->caches[o->cache];
	const struct step *s = c->step;
	const struct step_group *g = &s->groups[cache->group];
	struct attention_args a = {
		.q = start(p, o->q), .k_cache = cache->k, .v_cache = cache->v, .k_scale = cache->k_scale,
		.v_scale = cache->v_scale, .page_table = g->page_table,
		.q_begin = s->q_begin, .kv_len = s->kv_len,
		.sinks = o->sinks == NO_ID ? NULL : p->weights[o->sinks].data, .out = start(p, o->out),
		.n_seqs = s->n_seqs, .table_stride = g->table_width, .q_stride = width_of(p, o->q),
		.out_stride = width_of(p, o->out), .n_heads = o->n_heads, .n_kv_heads = cache->spec.n_kv_heads,
		.head_dim = cache->spec.head_dim, .v_head_dim = cache->spec.v_head_dim,
		.page_size = p->config.page_size, .window = cache->spec.window, .scale = o->scale, .softcap = o->softcap,
		.q_type = p->config.compute, .kv_type = program_kv_type(p), .out_type = p->config.compute,
	};
	attention_plan_run(p->plans[c->op->u.attention.plan].plan, team, &a);
}

/* ---- Measuring ---- */

static double attention_flops(const struct call *c)
{
	const struct attention_op *o = &c->op->u.attention.op;
	const struct cache_spec *s = &c->p->caches[o->cache].spec;
	double keys = 0;
	for (int64_t i = 0; i < c->step->n_seqs; i++) {
		int64_t n = c->step->q_begin[i + 1] - c->step->q_begin[i];
		for (int64_t q = 0; q < n; q++) {
			int64_t begin, end;
			attention_visible(c->step->kv_len[i] - n + q, s->window, &begin, &end);
			keys += (double)(end - begin);
		}
	}
	return 2 * keys * (double)(o->n_heads * (s->head_dim + s->v_head_dim));
}

/* Each key and value that is in sight, once. */
static double attention_bytes(const struct call *c)
{
	const struct cache_spec *s = &c->p->caches[c->op->u.attention.op.cache].spec;
	double keys = 0;
	for (int64_t i = 0; i < c->step->n_seqs; i++) {
		int64_t first = c->step->kv_len[i] - (c->step->q_begin[i + 1] - c->step->q_begin[i]), begin, unused;
		attention_visible(first, s->window, &begin, &unused);
		keys += (double)(c->step->kv_len[i] - begin);
	}
	return keys * (double)program_token_bytes(c->p, s);
}

static double linear_bytes(const struct call *c)
{
	double bytes = 0;
	for (int i = 0; i < c->op->u.linear.op.n_parts; i++)
		bytes += (double)c->op->u.linear.state[i].bytes;
	return bytes;
}

/* Tells the profile of an operation that is done: bytes that it read and wrote. */
static void measured(const struct call *c)
{
	struct profile *f = c->p->profile;
	const struct op *op = c->op;
	double t = (double)c->t, element = (double)dtype_bytes(c->p->config.compute);
	switch (op->kind) {
	case OP_LINEAR:
		profile_end(f, PROFILE_LINEAR, linear_bytes(c), 2 * t * (double)(op->u.linear.n_rows * op->u.linear.op.k));
		break;
	case OP_ATTENTION:
		profile_end(f, PROFILE_ATTENTION, attention_bytes(c), attention_flops(c));
		break;
	case OP_RMS_NORM: {
		double values = t * (double)(op->u.norm.op.groups * op->u.norm.op.d);
		double sum = op->u.norm.op.delta.buffer == NO_ID ? 0 : 8; /* delta read, x written */
		profile_end(f, PROFILE_NORM, values * (4 + sum + (double)dtype_bytes(c->p->buffers[op->u.norm.op.out.buffer].type)), 0);
		break;
	}
	case OP_ROPE_CACHE: {
		const struct cache_spec *s = &c->p->caches[op->u.rope_cache.op.cache].spec;
		double q = (double)width_of(c->p, op->u.rope_cache.op.q_out) * (4 + element);
		double kv = (double)(s->n_kv_heads * (s->head_dim + s->v_head_dim)) * 4 + (double)program_token_bytes(c->p, s);
		profile_end(f, PROFILE_ROPE, t * (q + kv), 0);
		break;
	}
	case OP_ROPE_TABLE:
		profile_end(f, PROFILE_ROPE, t * 4 * (double)op->u.rope_table.params.rotary_dim, 0);
		break;
	case OP_GLU:
		profile_end(f, PROFILE_GLU, t * (double)op->u.glu.d * (8 + (double)dtype_bytes(c->p->buffers[op->u.glu.out].type)), 0);
		break;
	case OP_EMBED: {
		const struct weight *w = &c->p->weights[op->u.embed.weight];
		profile_end(f, PROFILE_EMBED, t * (double)w->spec.cols * ((double)dtype_bytes(w->type) + 4), 0);
		break;
	}
	case OP_GATHER:
		profile_end(f, PROFILE_EMBED, t * 2 * (double)program_row_bytes(&c->p->buffers[op->u.gather.from]), 0);
		break;
	case OP_SOFTCAP:
		profile_end(f, PROFILE_SOFTCAP, t * (double)op->u.softcap.width * 8, 0);
		break;
	}
}

static void run_ops(struct program *p, struct team *team, int64_t begin, int64_t end, const struct step *step,
		    int64_t t, const int32_t *rows)
{
	for (int64_t i = begin; i < end; i++) {
		struct call c = { p, &p->ops[i], step, t, rows };
		profile_begin(p->profile);
		if (c.op->kind == OP_ATTENTION)
			run_attention(&c, team);
		else if (c.op->kind == OP_LINEAR)
			program_linear_run(p, team, c.op, t);
		else
			team_run(work_of(&c) < INLINE_ELEMENTS ? NULL : team, worker, &c);
		if (p->profile)
			measured(&c);
	}
}

void program_run(struct program *p, struct team *team, const struct step *step)
{
	CHECK(p->bound && p->allocated);
	CHECK(step->n_tokens >= 1 && step->n_tokens <= p->config.max_tokens && step->n_seqs <= p->config.max_seqs);
	if (p->gpu) {
		CHECK(program_cuda_layers(p, step) == VB_OK);
		return;
	}
	profile_begin(p->profile);
	for (int64_t i = 0; i < p->n_plans; i++)
		CHECK(attention_plan_update(p->plans[i].plan, step->n_seqs, step->q_begin, step->kv_len) == VB_OK);
	profile_end(p->profile, PROFILE_PLAN, 0, 0);
	run_ops(p, team, 0, p->n_body, step, step->n_tokens, NULL);
}

const float *program_head(struct program *p, struct team *team, const int32_t *rows, int64_t n_rows)
{
	CHECK(n_rows >= 1 && n_rows <= p->config.max_rows);
	if (p->gpu)
		return program_cuda_logits(p, rows, n_rows);
	run_ops(p, team, p->n_body, p->n_ops, NULL, n_rows, rows);
	return start(p, p->logits);
}

int program_begin(struct program *p, const struct step *step, const struct sample_wish *wishes, int64_t n)
{
	CHECK(p->gpu && step->n_tokens > 0);
	return program_cuda_begin(p, step, wishes, n);
}

int program_end(struct program *p, const struct sample_wish *wishes, int64_t n, sample_take_fn *take, void *user)
{
	return program_cuda_end(p, wishes, n, take, user);
}

void program_graphs(const struct program *p, struct program_graphs *out)
{
	*out = (struct program_graphs){ 0 };
	if (p->gpu)
		program_cuda_graphs(p, out);
}

double program_gpu_busy_s(const struct program *p)
{
	return p->gpu ? program_cuda_busy_s(p) : 0;
}

bool program_can_run_ahead(const struct program *p, const struct step *step)
{
	return p->gpu && program_cuda_can_run_ahead(p, step);
}

int program_step(struct program *p, struct team *team, const struct step *step, const struct sample_wish *wishes,
		 int64_t n, sample_take_fn *take, void *user)
{
	if (step->n_tokens == 0)
		return VB_OK;
	if (p->gpu)
		return program_cuda_step(p, step, wishes, n, take, user);
	program_run(p, team, step);
	for (int64_t done = 0; done < n;) {
		int32_t *rows = p->chooser.rows;
		int64_t count = n - done < p->config.max_rows ? n - done : p->config.max_rows;
		for (int64_t i = 0; i < count; i++)
			rows[i] = wishes[done + i].row;
		const float *logits = program_head(p, team, rows, count);
		profile_begin(p->profile);
		choose_rows(p, team, wishes + done, count, logits);
		profile_end(p->profile, PROFILE_SAMPLE, (double)(count * p->n_vocab) * sizeof *logits, 0);
		for (int64_t i = 0; i < count; i++, done++)
			take(user, &wishes[done], &p->chooser.choices[i]);
	}
	return VB_OK;
}

void program_profile(struct program *p, struct profile *f)
{
	CHECK(!p->gpu);
	p->profile = f;
}

/* Small values of both signs that differ from token to token. */
static void fill_cache(enum dtype type, void *cache, uint64_t bytes, uint32_t factor)
{
	for (uint64_t i = 0; i < bytes / dtype_bytes(type); i++) {
		int value = (int)(i * factor >> 16 & 255) - 128;
		if (type == DTYPE_I8)
			((int8_t *)cache)[i] = (int8_t)value;
		else
			dtype_store(type, cache, (size_t)i, ((float)value + 0.5f) / 128);
	}
}

void program_fill_caches(struct program *p)
{
	if (p->gpu) {
		program_cuda_fill_caches(p);
		return;
	}
	for (int64_t i = 0; i < p->n_caches; i++) {
		struct cache *c = &p->caches[i];
		fill_cache(program_kv_type(p), c->k, c->k_bytes, 2654435761u);
		fill_cache(program_kv_type(p), c->v, c->v_bytes, 2246822519u);
		for (uint64_t j = 0; j < c->scale_bytes / sizeof(float); j++)
			c->k_scale[j] = c->v_scale[j] = 1.0f / 128;
	}
}

static void copy_page(void *cache, uint64_t bytes_per_page, int32_t from, int32_t to)
{
	char *pages = cache;
	memcpy(pages + (uint64_t)to * bytes_per_page, pages + (uint64_t)from * bytes_per_page, bytes_per_page);
}

void program_copy_page(struct program *p, int group, int32_t from, int32_t to)
{
	if (p->gpu) {
		program_cuda_copy_page(p, group, from, to);
		return;
	}
	uint64_t heads = (uint64_t)p->config.page_size * dtype_bytes(program_kv_type(p));
	uint64_t scales = (uint64_t)p->config.page_size * sizeof(float);
	for (int64_t i = 0; i < p->n_caches; i++) {
		const struct cache *c = &p->caches[i];
		if (c->group != group)
			continue;
		copy_page(c->k, heads * (uint64_t)(c->spec.n_kv_heads * c->spec.head_dim), from, to);
		copy_page(c->v, heads * (uint64_t)(c->spec.n_kv_heads * c->spec.v_head_dim), from, to);
		if (!c->k_scale)
			continue;
		copy_page(c->k_scale, scales * (uint64_t)c->spec.n_kv_heads, from, to);
		copy_page(c->v_scale, scales * (uint64_t)c->spec.n_kv_heads, from, to);
	}
}
