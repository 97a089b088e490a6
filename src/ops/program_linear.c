/* program_linear.c - the linears of a program: their kernels' choice, their packed weights, and running them. */
#include "ops/ops.h"

#include "base/mem.h"
#include "base/status.h"
#include "linear_rows.h"
#include "program_internal.h"

#include <stdio.h>

/* Below so many elements, of activations or of weights, waking the team costs more than it saves. */
#define INLINE_ELEMENTS 16384
/* Scratch of different parts begins at multiples of a cache line. */
#define SCRATCH_ALIGN 64

static struct linear_request request_of(const struct program *p, const struct linear_op *l, int part)
{
	const struct weight *w = &p->weights[l->parts[part].weight];
	return (struct linear_request){
		.x_type = p->config.compute, .w_type = w->type, .n = l->parts[part].n_rows, .k = l->k,
		.format = w->matrix.format, .group = w->matrix.group,
	};
}

/* ---- Choosing ---- */

static void describe(struct op *op, const struct linear_request *r)
{
	const char *type = r->format == WEIGHT_DENSE ? dtype_name(r->w_type) : weight_format_name(r->format);
	snprintf(op->what, sizeof op->what, "%s x %s, %lld x %lld", dtype_name(r->x_type), type,
		 (long long)op->u.linear.n_rows, (long long)r->k);
}

/* Which parts prepare activations, and where. Parts share what the same kernel made of the same order. */
static void plan_scratch(struct program *p, struct op *op, int64_t *bytes)
{
	const struct linear_op *l = &op->u.linear.op;
	struct linear_state *state = op->u.linear.state;
	int64_t tokens = op - p->ops < p->n_body ? p->config.max_tokens : p->config.max_rows;
	*bytes = 0;
	for (int i = 0; i < l->n_parts; i++) {
		struct linear_state *s = &state[i];
		s->prepares = s->kernel && s->kernel->prepare;
		for (int j = 0; j < i && s->prepares; j++)
			if (state[j].prepares && state[j].kernel == s->kernel && state[j].matrix.order == s->matrix.order) {
				s->prepares = false;
				s->scratch_at = state[j].scratch_at;
			}
		if (!s->prepares)
			continue;
		struct linear_request r = request_of(p, l, i);
		s->scratch_at = *bytes;
		*bytes += (s->kernel->scratch_bytes(&r, tokens) + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
	}
}

static void ask_form(struct program *p, struct weight *w)
{
	if (!p->provider.give || w->matrix.data)
		return;
	w->matrix.format = WEIGHT_DENSE;
	w->matrix.group = 0;
	p->provider.form(p->provider.user, &w->spec, &w->matrix.format, &w->matrix.group);
}

int program_linear_pick(struct program *p, struct op *op)
{
	const struct linear_op *l = &op->u.linear.op;
	bool on_gpu = p->config.isa & ISA_CUDA;
	/* From the last part to the first, so that the first part's choice is the one that is shown. */
	for (int i = l->n_parts - 1; i >= 0; i--) {
		struct linear_state *s = &op->u.linear.state[i];
		ask_form(p, &p->weights[l->parts[i].weight]);
		struct linear_request r = request_of(p, l, i);
		describe(op, &r);
		TRY(linear_pick(p->config.isa, &r, NULL, &op->pick));
		s->kernel = on_gpu ? NULL : linear_kernel(op->pick.row);
		struct weight_matrix m = p->weights[l->parts[i].weight].matrix;
		m.type = r.w_type;
		m.n = r.n;
		s->bytes = !on_gpu && s->kernel->pack ? (uint64_t)s->kernel->packed_bytes(&r) : (uint64_t)weight_bytes(&m);
	}
	return VB_OK;
}

uint64_t program_linear_scratch(const struct program *p)
{
	int64_t most = 0;
	for (int64_t i = 0; i < p->n_ops; i++) {
		int64_t bytes = 0;
		if (p->ops[i].kind == OP_LINEAR)
			plan_scratch((struct program *)p, &p->ops[i], &bytes);
		most = bytes > most ? bytes : most;
	}
	return (uint64_t)most;
}

/* ---- Sharing rows ---- */

/* Rows of all parts, one after another, are shared as if they were one matrix. */
static struct linear_rows rows_of(const struct op *op, int64_t t, struct linear_queue *queues)
{
	struct linear_rows r = { .n = op->u.linear.n_rows, .slice = op->u.linear.state[0].kernel->slice, .t = t, .queues = queues };
	for (int i = 0; i < op->u.linear.op.n_parts; i++)
		if (op->u.linear.state[i].kernel->panel > r.panel)
			r.panel = op->u.linear.state[i].kernel->panel;
	return r;
}

/* Some of an operation's rows, part by part. */
struct share {
	const struct op *op;
	int64_t begin, end, first;
	int part;
};

/* The next part that has rows [*lo, *hi) of the share; false: no more. */
static bool next_part(struct share *s, int64_t *lo, int64_t *hi)
{
	const struct linear_op *l = &s->op->u.linear.op;
	while (++s->part < l->n_parts && s->first < s->end) {
		int64_t first = s->first, n = l->parts[s->part].n_rows;
		s->first += n;
		*lo = s->begin > first ? s->begin - first : 0;
		*hi = s->end - first < n ? s->end - first : n;
		if (*lo < *hi)
			return true;
	}
	return false;
}

/* ---- Packing ---- */

/* A panel belongs to the worker that has its first row: it is written by who will read it. */
static void pack_share(void *context, int index, int n_workers)
{
	const struct op *op = context;
	struct linear_rows rows = rows_of(op, 0, NULL);
	struct share s = { .op = op, .part = -1 };
	int64_t lo, hi;
	linear_rows_share(&rows, index, n_workers, &s.begin, &s.end);
	while (next_part(&s, &lo, &hi)) {
		const struct linear_state *state = &op->u.linear.state[s.part];
		const struct linear_kernel *k = state->kernel;
		if (k->pack)
			k->pack(&state->matrix, state->packed, (lo + k->panel - 1) / k->panel, (hi + k->panel - 1) / k->panel);
	}
}

int program_linear_pack(struct program *p, struct team *team, struct op *op)
{
	const struct linear_op *l = &op->u.linear.op;
	bool any = false;
	for (int i = 0; i < l->n_parts; i++) {
		const struct linear_part *part = &l->parts[i];
		const struct weight *w = &p->weights[part->weight];
		struct linear_state *s = &op->u.linear.state[i];
		s->matrix = weight_rows(&w->matrix, part->row_begin, part->n_rows);
		if (!s->kernel->pack)
			continue;
		s->packed = mem_pages(s->bytes);
		if (!s->packed)
			FAIL(VB_ENOMEM, "out of memory: weight \"%s\": %llu bytes: use --quantize or a smaller model",
			     w->spec.name, (unsigned long long)s->bytes);
		any = true;
	}
	if (any)
		team_run(team, pack_share, op);
	return VB_OK;
}

static void free_packed(struct op *op)
{
	for (int i = 0; op->u.linear.state && i < op->u.linear.op.n_parts; i++) {
		struct linear_state *s = &op->u.linear.state[i];
		mem_free_pages(s->packed, s->bytes);
		s->packed = NULL;
	}
}

/* ---- Running ---- */

struct linear_call {
	const struct program *p;
	const struct op *op;
	int64_t t;
	struct linear_rows rows;
};

static void *at(const struct program *p, struct slice s)
{
	const struct buffer *b = &p->buffers[s.buffer];
	return (char *)b->data + (size_t)s.col * dtype_bytes(b->type);
}

static struct linear_args args_of(const struct linear_call *c, int i)
{
	const struct program *p = c->p;
	const struct linear_op *l = &c->op->u.linear.op;
	const struct linear_part *part = &l->parts[i];
	const struct linear_state *s = &c->op->u.linear.state[i];
	const float *bias = part->bias == NO_ID ? NULL : p->weights[part->bias].data;
	return (struct linear_args){
		.x = at(p, l->in), .w = s->matrix.data, .bias = bias ? bias + part->bias_begin : NULL, .y = at(p, part->out),
		.t = c->t, .n = part->n_rows, .k = l->k, .x_stride = p->buffers[l->in.buffer].width,
		.y_stride = p->buffers[part->out.buffer].width, .x_type = p->buffers[l->in.buffer].type,
		.w_type = p->weights[part->weight].type, .matrix = &s->matrix, .packed = s->packed,
		.scratch = (char *)p->scratch + s->scratch_at,
	};
}

static void run_rows(const void *context, int64_t begin, int64_t end)
{
	const struct linear_call *c = context;
	struct share s = { .op = c->op, .begin = begin, .end = end, .part = -1 };
	int64_t lo, hi;
	while (next_part(&s, &lo, &hi)) {
		struct linear_args a = args_of(c, s.part);
		c->op->u.linear.state[s.part].kernel->run(&a, lo, hi);
	}
}

static void run_share(void *context, int index, int n_workers)
{
	const struct linear_call *c = context;
	linear_rows_run(&c->rows, index, n_workers, run_rows, c);
}

static void prepare_share(void *context, int index, int n_workers)
{
	const struct linear_call *c = context;
	int64_t begin, end;
	team_share(c->t, LINEAR_PREPARE_GRAIN, index, n_workers, &begin, &end);
	for (int i = 0; i < c->op->u.linear.op.n_parts && begin < end; i++) {
		if (!c->op->u.linear.state[i].prepares)
			continue;
		struct linear_args a = args_of(c, i);
		c->op->u.linear.state[i].kernel->prepare(&a, begin, end);
	}
}

int program_linear_allocate(struct program *p)
{
	p->scratch_bytes = program_linear_scratch(p);
	p->scratch = mem_pages(p->scratch_bytes);
	p->queues = mem_pages((size_t)p->config.n_threads * sizeof *p->queues);
	return p->scratch && p->queues ? VB_OK : VB_ENOMEM;
}

void program_linear_destroy(struct program *p)
{
	for (int64_t i = 0; i < p->n_ops; i++)
		if (p->ops[i].kind == OP_LINEAR)
			free_packed(&p->ops[i]);
	mem_free_pages(p->scratch, p->scratch_bytes);
	mem_free_pages(p->queues, (size_t)p->config.n_threads * sizeof *p->queues);
}

void program_linear_run(struct program *p, struct team *team, const struct op *op, int64_t t)
{
	struct linear_call c = { p, op, t, rows_of(op, t, p->queues) };
	bool prepares = false;
	for (int i = 0; i < op->u.linear.op.n_parts; i++)
		prepares |= op->u.linear.state[i].prepares;
	if (prepares)
		team_run(t * op->u.linear.op.k <= INLINE_ELEMENTS ? NULL : team, prepare_share, &c);
	CHECK(team_size(team) <= p->config.n_threads);
	linear_rows_begin(&c.rows, team_size(team));
	team_run(op->u.linear.n_rows * op->u.linear.op.k < INLINE_ELEMENTS ? NULL : team, run_share, &c);
}
