/* program_weights.c - giving every weight of a program its memory. */
#include "ops/ops.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"
#include "program_internal.h"

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

static int check_tensor(const struct weight *w, const struct tensor *t)
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

struct conversion {
	enum dtype to, from;
	char *dst;
	const char *src;
	int64_t n;
};

static void convert_share(void *context, int index, int n_workers)
{
	const struct conversion *c = context;
	int64_t begin, end;
	team_share(c->n, 64, index, n_workers, &begin, &end);
	dtype_convert(c->to, c->dst + (size_t)begin * dtype_bytes(c->to), c->from,
		      c->src + (size_t)begin * dtype_bytes(c->from), (size_t)(end - begin));
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
	for (int64_t i = 0; i < p->n_weights; i++) {
		struct weight *w = &p->weights[i];
		const struct tensor *t = find(user, w->spec.name);
		TRY(check_tensor(w, t));
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
			struct conversion c = { w->type, t->type, w->owned, t->data, count_of(w) };
			team_run(team, convert_share, &c);
		}
		if (release)
			release(user, t);
	}
	/* A checkpoint may store another type than its config promises; kernels are chosen for what is there. */
	TRY(program_pick(p));
	p->bound = true;
	return VB_OK;
}

/* FNV-1a: weights are drawn by name, so that their order does not matter. */
static uint64_t hash_name(const char *name)
{
	uint64_t h = 0xcbf29ce484222325u;
	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 0x100000001b3u;
	return h & 0xffffffffffffu; /* a position has 48 bits */
}

struct drawing {
	const struct weight *w;
	uint64_t seed, position;
	float low, step; /* value = low + step * u for u of 16 bits */
};

static void draw_share(void *context, int index, int n_workers)
{
	const struct drawing *d = context;
	int64_t n = count_of(d->w), begin, end;
	team_share(n, 8, index, n_workers, &begin, &end);
	for (int64_t i = begin; i < end; i += 8) {
		uint32_t word[4];
		float value[8];
		rng_block(d->seed, RNG_WEIGHTS, d->position, (uint32_t)(i / 8), word);
		for (int j = 0; j < 8; j++)
			value[j] = d->low + d->step * (float)(word[j / 2] >> (16 * (j & 1)) & 0xffff);
		size_t count = end - i < 8 ? (size_t)(end - i) : 8;
		dtype_convert(d->w->type, (char *)d->w->owned + (size_t)i * dtype_bytes(d->w->type), DTYPE_F32,
			      value, count);
	}
}

int program_bind_random(struct program *p, struct team *team, uint64_t seed)
{
	CHECK(p->picked && !p->bound);
	for (int64_t i = 0; i < p->n_weights; i++) {
		struct weight *w = &p->weights[i];
		TRY(own(w));
		/* Uniform with the wanted deviation: half its width is sqrt(3) deviations. */
		float half = w->spec.random_std * 1.7320508f;
		struct drawing d = { .w = w, .seed = seed, .position = hash_name(w->spec.name),
				     .low = w->spec.random_mean - half, .step = 2 * half / 65535.0f };
		team_run(team, draw_share, &d);
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
