/* program_weights.c - giving every weight of a program its memory. */
#include "ops/ops.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"
#include "program_cuda.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int64_t count_of(const struct weight *w)
{
	return w->spec.rows * w->spec.cols;
}

static bool has_shape(const struct weight *w, const struct tensor *t)
{
	if (w->spec.use == WEIGHT_MATRIX)
		return t->rank == 2 && t->shape[0] == w->spec.rows && t->shape[1] == w->spec.cols;
	return t->rank == 1 && t->shape[0] == w->spec.cols;
}

static void shape_text(char *out, size_t size, int rank, const int64_t *shape)
{
	size_t n = 0;
	out[0] = '\0';
	for (int i = 0; i < rank && n < size; i++)
		n += (size_t)snprintf(out + n, size - n, "%s%lld", i ? ", " : "", (long long)shape[i]);
}

int weight_check(const struct weight *w, const struct tensor *t)
{
	if (!t)
		FAIL(VB_ENOTFOUND, "missing tensor: \"%s\": the model folder is incomplete, or its config.json "
				   "describes another model", w->spec.name);
	if (!has_shape(w, t)) {
		char found[128], wanted[64];
		shape_text(found, sizeof found, t->rank, t->shape);
		if (w->spec.use == WEIGHT_MATRIX)
			snprintf(wanted, sizeof wanted, "%lld, %lld", (long long)w->spec.rows,
				 (long long)w->spec.cols);
		else
			snprintf(wanted, sizeof wanted, "%lld", (long long)w->spec.cols);
		FAIL(VB_EFORMAT, "wrong shape: tensor \"%s\": [%s], but config.json asks for [%s]", w->spec.name,
		     found, wanted);
	}
	if (t->type != DTYPE_F32 && t->type != DTYPE_BF16 && t->type != DTYPE_F16)
		FAIL(VB_EUNSUPPORTED, "unsupported type: tensor \"%s\" is %s: convert the checkpoint to bf16, f16 "
				      "or f32", w->spec.name, dtype_name(t->type));
	return VB_OK;
}

int program_check_tensor(const struct weight_spec *spec, const struct tensor *t)
{
	const struct weight w = { .spec = *spec };
	TRY(weight_check(&w, t));
	if ((uintptr_t)t->data % dtype_bytes(t->type) != 0)
		FAIL(VB_EUNSUPPORTED, "misaligned data: tensor \"%s\": re-save the checkpoint", spec->name);
	return VB_OK;
}

/* ---- Making a weight's elements ---- */

/* FNV-1a: weights are drawn by name, so that their order does not matter. */
static uint64_t hash_name(const char *name)
{
	uint64_t h = 0xcbf29ce484222325u;
	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 0x100000001b3u;
	return h & 0xffffffffffffu; /* a position has 48 bits */
}

struct weight_source weight_drawn(const struct weight *w, uint64_t seed)
{
	/* Uniform with the wanted deviation: half its width is sqrt(3) deviations. */
	float half = w->spec.random_std * 1.7320508f;
	return (struct weight_source){ .to = w->type, .seed = seed, .position = hash_name(w->spec.name),
				       .low = w->spec.random_mean - half, .step = 2 * half / 65535.0f };
}

/* Element i is 16 bits of the generator's block i / 8. */
static void draw(const struct weight_source *s, int64_t begin, int64_t end, char *out)
{
	size_t size = dtype_bytes(s->to);
	for (int64_t i = begin; i < end;) {
		uint32_t word[4];
		float value[8];
		rng_block(s->seed, RNG_WEIGHTS, s->position, (uint32_t)(i / 8), word);
		for (int j = 0; j < 8; j++)
			value[j] = s->low + s->step * (float)(word[j / 2] >> (16 * (j & 1)) & 0xffff);
		int64_t first = i % 8, count = end - i < 8 - first ? end - i : 8 - first;
		dtype_convert(s->to, out, DTYPE_F32, value + first, (size_t)count);
		out += (size_t)count * size;
		i += count;
	}
}

struct making {
	const struct weight_source *source;
	int64_t first, n;
	char *out;
};

static void make_share(void *context, int index, int n_workers)
{
	const struct making *m = context;
	const struct weight_source *s = m->source;
	int64_t begin, end;
	team_share(m->n, 64, index, n_workers, &begin, &end);
	char *out = m->out + (size_t)begin * dtype_bytes(s->to);
	if (s->data)
		dtype_convert(s->to, out, s->from, (const char *)s->data + (size_t)(m->first + begin) * dtype_bytes(s->from),
			      (size_t)(end - begin));
	else
		draw(s, m->first + begin, m->first + end, out);
}

void weight_make(const struct weight_source *s, struct team *team, int64_t first, int64_t n, void *out)
{
	struct making m = { s, first, n, out };
	team_run(team, make_share, &m);
}

/* The type in which weight w is used when its tensor has type `stored`. */
static enum dtype used_type(const struct program *p, const struct weight *w, enum dtype stored)
{
	if (w->spec.use == WEIGHT_VECTOR)
		return DTYPE_F32;
	/* float32 computing widens 16-bit weights exactly as it reads them: no copy is needed. */
	return p->config.compute == DTYPE_F32 ? stored : p->config.compute;
}

static int own(struct weight *w)
{
	w->bytes = (uint64_t)count_of(w) * dtype_bytes(w->type);
	w->owned = mem_pages(w->bytes);
	if (!w->owned)
		FAIL(VB_ENOMEM, "out of memory: weight \"%s\": %llu bytes: use a smaller --dtype or model",
		     w->spec.name, (unsigned long long)w->bytes);
	w->data = w->owned;
	return VB_OK;
}

/* ---- Who needs what ---- */

static bool is_part_of(const struct op *op, int64_t weight)
{
	for (int i = 0; op->kind == OP_LINEAR && i < op->u.linear.op.n_parts; i++)
		if (op->u.linear.op.parts[i].weight == weight)
			return true;
	return false;
}

static bool embeds(const struct program *p, int64_t weight)
{
	for (int64_t i = 0; i < p->n_ops; i++)
		if (p->ops[i].kind == OP_EMBED && p->ops[i].u.embed.weight == weight)
			return true;
	return false;
}

/* A linear's kernel has no layout of its own for it, or no linear has it at all. */
static bool read_unpacked(const struct program *p, int64_t weight)
{
	bool packed = false;
	for (int64_t i = 0; i < p->n_ops; i++) {
		const struct op *op = &p->ops[i];
		for (int j = 0; op->kind == OP_LINEAR && j < op->u.linear.op.n_parts; j++) {
			const struct linear_state *s = &op->u.linear.state[j];
			if (op->u.linear.op.parts[j].weight != weight)
				continue;
			if (!s->kernel || !s->kernel->pack)
				return true;
			packed = true;
		}
	}
	return !packed;
}

uint64_t program_canonical_bytes(const struct program *p, int64_t weight)
{
	const struct weight *w = &p->weights[weight];
	uint64_t dense = (uint64_t)count_of(w) * dtype_bytes(w->type);
	bool embedded = embeds(p, weight);
	if (p->config.isa & ISA_CUDA || w->spec.use == WEIGHT_VECTOR)
		return dense;
	if (w->matrix.format == WEIGHT_DENSE)
		return embedded || read_unpacked(p, weight) ? dense : 0;
	/* An embedding stays dense beside the head that is quantised. */
	return (embedded ? dense : 0) + (read_unpacked(p, weight) ? (uint64_t)weight_bytes(&w->matrix) : 0);
}

/* ---- Binding ---- */

/* What a program's weights are bound to. */
struct binding {
	struct program *p;
	struct team *team;
	weight_find_fn *find; /* NULL: drawn from the seed */
	weight_release_fn *release;
	void *user;
	uint64_t seed;
};

static void give_back(const struct binding *b, struct weight *w)
{
	if (w->tensor && b->release)
		b->release(b->user, w->tensor);
	w->tensor = NULL;
}

static int draw_whole(const struct binding *b, struct weight *w)
{
	TRY(own(w));
	struct weight_source source = weight_drawn(w, b->seed);
	weight_make(&source, b->team, 0, count_of(w), w->owned);
	return VB_OK;
}

/* The dense face: data in the type in which it is used. */
static int bind_dense(const struct binding *b, struct weight *w)
{
	if (w->data)
		return VB_OK;
	if (!b->find)
		return draw_whole(b, w);
	const struct tensor *t = b->find(b->user, w->spec.name);
	TRY(weight_check(w, t));
	w->type = used_type(b->p, w, t->type);
	w->tensor = t;
	/* Kernels read whole elements: data that lies askew in its file is copied straight. */
	bool aligned = (uintptr_t)t->data % dtype_bytes(t->type) == 0;
	if (w->type == t->type && aligned) {
		w->data = t->data;
		return VB_OK;
	}
	TRY(own(w));
	if (w->type == t->type) {
		memcpy(w->owned, t->data, w->bytes);
	} else {
		/* Askew and of another type is not worth a path of its own. */
		if (!aligned)
			FAIL(VB_EUNSUPPORTED, "misaligned data: tensor \"%s\": re-save the checkpoint", w->spec.name);
		struct weight_source source = { .to = w->type, .from = t->type, .data = t->data };
		weight_make(&source, b->team, 0, count_of(w), w->owned);
	}
	give_back(b, w);
	return VB_OK;
}

static void drop_dense(struct weight *w)
{
	mem_free_pages(w->owned, w->bytes);
	w->owned = NULL;
	w->data = NULL;
}

/* The quantised face, made by the provider of the dense one where there is such. */
static int bind_quantised(const struct binding *b, struct weight *w, bool keeps_dense)
{
	const struct weight_provider *from = &b->p->provider;
	struct weight_matrix dense = { .type = w->type, .n = w->spec.rows, .k = w->spec.cols, .data = w->data };
	const struct tensor *t = NULL;
	if (!w->data && !b->find)
		TRY(bind_dense(b, w));
	dense.data = w->data;
	if (!dense.data && (t = b->find(b->user, w->spec.name)) != NULL) {
		TRY(weight_check(w, t));
		if ((uintptr_t)t->data % dtype_bytes(t->type))
			FAIL(VB_EUNSUPPORTED, "misaligned data: tensor \"%s\": re-save the checkpoint", w->spec.name);
		dense.type = t->type;
		dense.data = t->data;
	}
	struct weight_matrix promised = w->matrix;
	TRY(from->give(from->user, b->team, &w->spec, dense.data ? &dense : NULL, &w->matrix));
	CHECK(w->matrix.data && w->matrix.format == promised.format && w->matrix.group == promised.group &&
	      w->matrix.n == w->spec.rows && w->matrix.k == w->spec.cols);
	w->given = true;
	if (t && b->release)
		b->release(b->user, t);
	if (!keeps_dense)
		drop_dense(w);
	return VB_OK;
}

static int bind_matrix(const struct binding *b, int64_t index)
{
	struct weight *w = &b->p->weights[index];
	if (w->matrix.data)
		return VB_OK;
	if (w->matrix.format != WEIGHT_DENSE)
		return bind_quantised(b, w, embeds(b->p, index));
	TRY(bind_dense(b, w));
	w->matrix.type = w->type;
	w->matrix.data = w->data;
	return VB_OK;
}

/* Linears from operation `next` on may still want it. */
static bool wanted_later(const struct program *p, int64_t weight, int64_t next)
{
	for (int64_t i = next; i < p->n_ops; i++)
		if (is_part_of(&p->ops[i], weight))
			return true;
	return false;
}

/* All linears that use the weight are packed: gives back what nobody reads any more. */
static void settle(const struct binding *b, int64_t index)
{
	struct weight *w = &b->p->weights[index];
	const struct weight_provider *from = &b->p->provider;
	bool packed = true;
	for (int64_t i = 0; i < b->p->n_ops; i++)
		for (int j = 0; b->p->ops[i].kind == OP_LINEAR && j < b->p->ops[i].u.linear.op.n_parts; j++)
			if (b->p->ops[i].u.linear.op.parts[j].weight == index && !b->p->ops[i].u.linear.state[j].kernel->pack)
				packed = false;
	if (!packed)
		return;
	if (w->given && from->done)
		from->done(from->user, &w->spec, &w->matrix);
	w->matrix.data = NULL;
	if (w->given || embeds(b->p, index))
		return;
	drop_dense(w);
	give_back(b, w);
}

static int bind_linear(const struct binding *b, int64_t index)
{
	struct program *p = b->p;
	struct op *op = &p->ops[index];
	const struct linear_op *l = &op->u.linear.op;
	for (int i = 0; i < l->n_parts; i++) {
		TRY(bind_matrix(b, l->parts[i].weight));
		if (l->parts[i].bias != NO_ID)
			TRY(bind_dense(b, &p->weights[l->parts[i].bias]));
	}
	/* A checkpoint may store another type than its config promises; kernels are chosen for what is there. */
	TRY(program_linear_pick(p, op));
	TRY(program_linear_pack(p, b->team, op));
	for (int i = 0; i < l->n_parts; i++)
		if (p->weights[l->parts[i].weight].matrix.data && !wanted_later(p, l->parts[i].weight, index + 1))
			settle(b, l->parts[i].weight);
	return VB_OK;
}

static int bind_all(const struct binding *b)
{
	struct program *p = b->p;
	for (int64_t i = 0; i < p->n_weights; i++)
		if (p->weights[i].spec.use == WEIGHT_VECTOR || embeds(p, i))
			TRY(bind_dense(b, &p->weights[i]));
	for (int64_t i = 0; i < p->n_ops; i++)
		if (p->ops[i].kind == OP_LINEAR)
			TRY(bind_linear(b, i));
	/* Types may be others than promised: choices of all operations follow. */
	TRY(program_pick(p));
	p->bound = true;
	return VB_OK;
}

int program_bind(struct program *p, struct team *team, weight_find_fn *find, weight_release_fn *release,
		 void *user)
{
	CHECK(p->picked && !p->bound);
	if (p->gpu)
		return program_cuda_bind(p, team, find, release, user);
	struct binding b = { .p = p, .team = team, .find = find, .release = release, .user = user };
	return bind_all(&b);
}

int program_bind_random(struct program *p, struct team *team, uint64_t seed)
{
	CHECK(p->picked && !p->bound);
	if (p->gpu)
		return program_cuda_bind_random(p, team, seed);
	struct binding b = { .p = p, .team = team, .seed = seed };
	return bind_all(&b);
}

int64_t program_n_weights(const struct program *p)
{
	return p->n_weights;
}

void program_weight_info(const struct program *p, int64_t i, struct program_weight_info *out)
{
	*out = (struct program_weight_info){ .spec = &p->weights[i].spec, .embedded = embeds(p, i) };
	for (int64_t j = 0; j < p->n_ops && !out->multiplied; j++)
		out->multiplied = is_part_of(&p->ops[j], i);
}

bool program_uses_weight(const struct program *p, const char *name)
{
	for (int64_t i = 0; i < p->n_weights; i++)
		if (strcmp(p->weights[i].spec.name, name) == 0)
			return true;
	return false;
}
