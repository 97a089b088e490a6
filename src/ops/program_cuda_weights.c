/* program_cuda_weights.c - bringing a program's weights to the GPU.
 *
 * Weights are made in pieces in pinned memory (converted from the file, or drawn) by the whole team, and copied while the
 * next piece is made. The parts of a linear are laid side by side, so that one launch computes them all; a matrix that
 * an operation uses as it stands (and an embedding that is the head too) is there once.
 */
#include "program_cuda_internal.h"

#include "base/mem.h"
#include "base/status.h"

#include <string.h>

#define STAGE_BYTES ((size_t)32 << 20)

/* Two pieces of pinned memory that take turns. */
struct stage {
	struct gpu *gpu;
	char *data[2];
	struct gpu_event *copied[2];
	bool used[2];
	int turn;
};

static int stage_open(struct stage *s, struct gpu *gpu)
{
	*s = (struct stage){ .gpu = gpu };
	for (int i = 0; i < 2; i++) {
		TRY(gpu_host_alloc(gpu, (void **)&s->data[i], STAGE_BYTES, "loading weights"));
		TRY(gpu_event_create(gpu, &s->copied[i]));
	}
	return VB_OK;
}

static void stage_close(struct stage *s)
{
	(void)gpu_sync(s->gpu);
	for (int i = 0; i < 2; i++) {
		gpu_host_free(s->gpu, s->data[i]);
		gpu_event_destroy(s->gpu, &s->copied[i]);
	}
}

/* Elements [first, first + n) of a weight, in its own type, to the GPU. */
static int put(struct stage *s, struct team *team, const struct weight_source *source, int64_t first, int64_t n,
	       void *device)
{
	size_t size = dtype_bytes(source->to);
	int64_t most = (int64_t)(STAGE_BYTES / size);
	for (int64_t done = 0; done < n;) {
		int64_t count = n - done < most ? n - done : most;
		int turn = s->turn;
		if (s->used[turn])
			TRY(gpu_event_wait(s->gpu, s->copied[turn]));
		weight_make(source, team, first + done, count, s->data[turn]);
		gpu_upload(s->gpu, (char *)device + (size_t)done * size, s->data[turn], (size_t)count * size);
		gpu_event_record(s->gpu, s->copied[turn]);
		s->used[turn] = true;
		s->turn = !turn;
		done += count;
	}
	return VB_OK;
}

/* ---- Where weights go ---- */

/* Whether the operation uses its weights as they stand. */
static bool stands_alone(const struct program *p, const struct op *op)
{
	const struct linear_part *part = &op->u.linear.op.parts[0];
	return op->u.linear.op.n_parts == 1 && part->row_begin == 0 && part->n_rows == p->weights[part->weight].spec.rows;
}

/* The row of the packed matrix at which a part stands: parts go by their columns. */
static int64_t row_of(const struct op *op, int part)
{
	const struct linear_op *l = &op->u.linear.op;
	int64_t row = 0;
	for (int i = 0; i < l->n_parts; i++)
		if (l->parts[i].out.col < l->parts[part].out.col)
			row += l->parts[i].n_rows;
	return row;
}

/* One launch writes one run of columns. */
static int check_columns(const struct op *op)
{
	const struct linear_op *l = &op->u.linear.op;
	int64_t first = l->parts[0].out.col;
	for (int i = 1; i < l->n_parts; i++)
		first = l->parts[i].out.col < first ? l->parts[i].out.col : first;
	for (int i = 0; i < l->n_parts; i++)
		if (l->parts[i].out.buffer != l->parts[0].out.buffer || l->parts[i].out.col != first + row_of(op, i))
			FAIL(VB_EUNSUPPORTED, "cannot run on a GPU: the linear of layer %d writes columns that do not follow "
					      "each other", op->layer);
	return VB_OK;
}

static struct slice first_column(const struct op *op)
{
	struct slice s = op->u.linear.op.parts[0].out;
	for (int i = 1; i < op->u.linear.op.n_parts; i++)
		if (op->u.linear.op.parts[i].out.col < s.col)
			s.col = op->u.linear.op.parts[i].out.col;
	return s;
}

static bool has_bias(const struct op *op)
{
	return op->u.linear.op.parts[0].bias != NO_ID;
}

static int place_linear(struct program *p, const struct op *op, struct op_cuda *o, bool *needed)
{
	const struct linear_op *l = &op->u.linear.op;
	TRY(check_columns(op));
	o->out = first_column(op);
	for (int i = 0; i < l->n_parts; i++)
		if ((l->parts[i].bias != NO_ID) != has_bias(op))
			FAIL(VB_EUNSUPPORTED, "cannot run on a GPU: only some parts of the linear of layer %d have a bias",
			     op->layer);
	if (has_bias(op))
		TRY(gpu_alloc(p->gpu, &o->packed_bias, (size_t)op->u.linear.n_rows * sizeof(float), "biases"));
	o->bias = o->packed_bias;
	if (stands_alone(p, op)) {
		needed[l->parts[0].weight] = true;
		return VB_OK;
	}
	size_t bytes = (size_t)(op->u.linear.n_rows * l->k) * dtype_bytes(p->config.compute);
	TRY(gpu_alloc(p->gpu, &o->packed, bytes, "weights"));
	o->w = o->packed;
	return VB_OK;
}

/* Takes memory for everything; needed[i] says of which weights a copy as they stand is wanted. */
static int place_all(struct program *p, bool *needed)
{
	for (int64_t i = 0; i < p->n_ops; i++) {
		const struct op *op = &p->ops[i];
		if (op->kind == OP_LINEAR)
			TRY(place_linear(p, op, &p->cuda->ops[i], needed));
		else if (op->kind == OP_EMBED)
			needed[op->u.embed.weight] = true;
		else if (op->kind == OP_RMS_NORM)
			needed[op->u.norm.op.weight] = true;
		else if (op->kind == OP_ATTENTION && op->u.attention.op.sinks != NO_ID)
			needed[op->u.attention.op.sinks] = true;
	}
	for (int64_t i = 0; i < p->n_weights; i++) {
		struct weight *w = &p->weights[i];
		w->type = w->spec.use == WEIGHT_VECTOR ? DTYPE_F32 : p->config.compute;
		w->bytes = (uint64_t)(w->spec.rows * w->spec.cols) * dtype_bytes(w->type);
		void *device = NULL;
		if (needed[i])
			TRY(gpu_alloc(p->gpu, &device, w->bytes, "weights"));
		w->data = device;
	}
	for (int64_t i = 0; i < p->n_ops; i++) {
		const struct op *op = &p->ops[i];
		if (op->kind == OP_LINEAR && !p->cuda->ops[i].packed)
			p->cuda->ops[i].w = p->weights[op->u.linear.op.parts[0].weight].data;
	}
	return VB_OK;
}

/* Brings one weight to all places where it is wanted. */
static int put_weight(struct program *p, struct stage *s, struct team *team, int32_t id, const struct weight_source *source)
{
	const struct weight *w = &p->weights[id];
	if (w->data)
		TRY(put(s, team, source, 0, w->spec.rows * w->spec.cols, (void *)w->data));
	size_t size = dtype_bytes(w->type);
	for (int64_t i = 0; i < p->n_ops; i++) {
		const struct op *op = &p->ops[i];
		const struct op_cuda *o = &p->cuda->ops[i];
		if (op->kind != OP_LINEAR)
			continue;
		const struct linear_op *l = &op->u.linear.op;
		for (int j = 0; j < l->n_parts; j++) {
			const struct linear_part *part = &l->parts[j];
			int64_t row = row_of(op, j);
			if (part->weight == id && o->packed)
				TRY(put(s, team, source, part->row_begin * l->k, part->n_rows * l->k,
					(char *)o->packed + (size_t)(row * l->k) * size));
			if (part->bias == id)
				TRY(put(s, team, source, part->bias_begin, part->n_rows,
					(char *)o->packed_bias + (size_t)row * size));
		}
	}
	return VB_OK;
}

/* ---- Binding ---- */

static int begin(struct program *p)
{
	CHECK(p->picked && !p->bound && p->gpu && !p->cuda);
	p->cuda = mem_calloc(1, sizeof *p->cuda);
	if (!p->cuda)
		return VB_ENOMEM;
	p->cuda->ops = mem_calloc((size_t)p->n_ops, sizeof *p->cuda->ops);
	bool *needed = mem_calloc((size_t)p->n_weights, sizeof *needed);
	int rc = p->cuda->ops && needed ? place_all(p, needed) : VB_ENOMEM;
	mem_free(needed);
	return rc;
}

int program_cuda_bind(struct program *p, struct team *team, weight_find_fn *find, weight_release_fn *release, void *user)
{
	TRY(begin(p));
	struct stage s;
	int rc;
	TRY_TO(out, stage_open(&s, p->gpu));
	for (int64_t i = 0; i < p->n_weights; i++) {
		struct weight *w = &p->weights[i];
		const struct tensor *t = find(user, w->spec.name);
		TRY_TO(out, weight_check(w, t));
		struct weight_source source = { .to = w->type, .from = t->type, .data = t->data };
		TRY_TO(out, put_weight(p, &s, team, (int32_t)i, &source));
		if (release)
			release(user, t);
	}
	p->bound = true;
out:
	stage_close(&s);
	return rc;
}

int program_cuda_bind_random(struct program *p, struct team *team, uint64_t seed)
{
	TRY(begin(p));
	struct stage s;
	int rc;
	TRY_TO(out, stage_open(&s, p->gpu));
	for (int64_t i = 0; i < p->n_weights; i++) {
		struct weight_source source = weight_drawn(&p->weights[i], seed);
		TRY_TO(out, put_weight(p, &s, team, (int32_t)i, &source));
	}
	p->bound = true;
out:
	stage_close(&s);
	return rc;
}

void program_cuda_free_weights(struct program *p)
{
	for (int64_t i = 0; i < p->n_ops; i++) {
		gpu_free(p->gpu, p->cuda->ops[i].packed);
		gpu_free(p->gpu, p->cuda->ops[i].packed_bias);
	}
	for (int64_t i = 0; i < p->n_weights; i++) {
		gpu_free(p->gpu, (void *)p->weights[i].data);
		p->weights[i].data = NULL;
	}
}
