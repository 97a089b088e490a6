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

int program_bind(struct program *p, struct team *team, weight_find_fn *find, weight_release_fn *release,
		 void *user)
{
	CHECK(p->picked && !p->bound);
	if (p->gpu)
		return program_cuda_bind(p, team, find, release, user);
	for (int64_t i = 0; i < p->n_weights; i++) {
		struct weight *w = &p->weights[i];
		const struct tensor *t = find(user, w->spec.name);
		TRY(weight_check(w, t));
		w->type = used_type(p, w, t->type);
		/* Kernels read whole elements: data that lies askew in its file is copied straight. */
		bool aligned = (uintptr_t)t->data % dtype_bytes(t->type) == 0;
		if (w->type == t->type && aligned) {
			w->data = t->data;
			continue;
		}
		TRY(own(w));
		if (w->type == t->type) {
			memcpy(w->owned, t->data, w->bytes);
		} else {
			/* Askew and of another type is not worth a path of its own. */
			if (!aligned)
				FAIL(VB_EUNSUPPORTED, "misaligned data: tensor \"%s\": re-save the checkpoint",
				     w->spec.name);
			struct weight_source source = { .to = w->type, .from = t->type, .data = t->data };
			weight_make(&source, team, 0, count_of(w), w->owned);
		}
		if (release)
			release(user, t);
	}
	/* A checkpoint may store another type than its config promises; kernels are chosen for what is there. */
	TRY(program_pick(p));
	p->bound = true;
	return VB_OK;
}

int program_bind_random(struct program *p, struct team *team, uint64_t seed)
{
	CHECK(p->picked && !p->bound);
	if (p->gpu)
		return program_cuda_bind_random(p, team, seed);
	for (int64_t i = 0; i < p->n_weights; i++) {
		struct weight *w = &p->weights[i];
		TRY(own(w));
		struct weight_source source = weight_drawn(w, seed);
		weight_make(&source, team, 0, count_of(w), w->owned);
	}
	p->bound = true;
	return VB_OK;
}

bool program_uses_weight(const struct program *p, const char *name)
{
	for (int64_t i = 0; i < p->n_weights; i++)
		if (strcmp(p->weights[i].spec.name, name) == 0)
			return true;
	return false;
}
