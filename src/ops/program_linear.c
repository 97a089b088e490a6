/* program_linear.c - the linears of a program: their kernels' choice, their packed weights, and running them. */
#include "ops/ops.h"

#include "base/mem.h"
#include "base/status.h"
#include "program_internal.h"

#include <stdatomic.h>
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

/* What a worker does of an operation: rows of all parts, one after another, are shared as if they were one matrix. */
struct share {
	const struct op *op;
	int64_t begin, end, first, grain;
	int part;
};

static struct share share_of(const struct op *op, int index, int n_workers)
{
	int64_t grain = 16;
	for (int i = 0; i < op->u.linear.op.n_parts; i++)
		if (op->u.linear.state[i].kernel->panel > grain)
			grain = op->u.linear.state[i].kernel->panel;
	/* Few rows are shared by 16, which fill a cache line of results: two workers never write to one. */
	if (op->u.linear.n_rows < grain * n_workers)
		grain = 16;
	struct share s = { .op = op, .part = -1, .grain = grain };
	team_share(op->u.linear.n_rows, grain, index, n_workers, &s.begin, &s.end);
	return s;
}

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
	struct share s = share_of(op, index, n_workers);
	int64_t lo, hi;
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

/* How far a worker's share has been taken, in pieces: by the worker itself, and at the end by others that have nothing left of their own.
 * A CPU that is slowed down, by a neighbour or by its clock, then costs what it does less and no more. Who computes a row
 * changes no bit of it. */
struct linear_queue {
	_Alignas(64) _Atomic int64_t taken;
};
/* Pieces of a share, small enough that the last ones end together: of few tokens, for which a worker alone reads as fast as all, and
 * of more, which wait for nothing but products. */
#define PIECES 16
#define FEW_TOKENS 7
#define MANY_PIECES 128
/* From here on a piece is a kernel's slice at least, or a half or less of it where a share has not so many. */
#define MANY_TOKENS 32
#define SLICES 4

struct linear_call {
	const struct program *p;
	const struct op *op;
	int64_t t;
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

/* Takes pieces of a share until none is left. */
static void run_pieces(const struct linear_call *c, const struct share *whole, struct linear_queue *q)
{
	int64_t rows = whole->end - whole->begin, pieces = c->t <= FEW_TOKENS ? PIECES : MANY_PIECES;
	int64_t piece = (rows + pieces - 1) / pieces, slice = c->t >= MANY_TOKENS ? c->op->u.linear.state[0].kernel->slice : 0;
	while (slice * SLICES > rows)
		slice /= 2;
	piece = piece < slice ? slice : piece;
	piece = (piece + whole->grain - 1) / whole->grain * whole->grain;
	for (;;) {
		int64_t lo, hi, at = piece * atomic_fetch_add_explicit(&q->taken, 1, memory_order_relaxed);
		if (at >= rows)
			return;
		struct share s = *whole;
		s.begin += at;
		s.end = s.end - s.begin < piece ? s.end : s.begin + piece;
		while (next_part(&s, &lo, &hi)) {
			struct linear_args a = args_of(c, s.part);
			c->op->u.linear.state[s.part].kernel->run(&a, lo, hi);
		}
	}
}

static void run_share(void *context, int index, int n_workers)
{
	const struct linear_call *c = context;
	for (int i = 0; i < n_workers; i++) {
		int whose = (index + i) % n_workers;
		struct share s = share_of(c->op, whose, n_workers);
		if (s.begin < s.end)
			run_pieces(c, &s, &c->p->queues[whose]);
	}
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
	struct linear_call c = { p, op, t };
	bool prepares = false;
	for (int i = 0; i < op->u.linear.op.n_parts; i++)
		prepares |= op->u.linear.state[i].prepares;
	if (prepares)
		team_run(t * op->u.linear.op.k <= INLINE_ELEMENTS ? NULL : team, prepare_share, &c);
	CHECK(team_size(team) <= p->config.n_threads);
	for (int i = 0; i < team_size(team); i++)
		atomic_store_explicit(&p->queues[i].taken, 0, memory_order_relaxed);
	team_run(op->u.linear.n_rows * op->u.linear.op.k < INLINE_ELEMENTS ? NULL : team, run_share, &c);
}
