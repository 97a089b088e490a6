#include "weights.h"

#include "base/mem.h"
#include "base/status.h"
#include "quant/quantize_matrix.h"

#include <stdio.h>
#include <string.h>

/* Rows that a worker turns to the compute type at once. */
#define ROWS 32

/* Memory of a quantised matrix up to this is used for the next one: new pages cost more than what is written into them. */
#define SPARE_BYTES ((uint64_t)64 << 20)

/* Memory that was made for a matrix and is somebody's until it is released. */
struct made {
	struct made *next;
	void *memory;
	uint64_t bytes;
	struct tensor tensor; /* where it stands for a tensor */
	bool order;           /* of columns: kept as long as the weights, and shared */
};

/* A matrix of the program that is not stored plain. */
struct known {
	char *name; /* owned */
	struct stored_matrix stored;
};

struct model_weights {
	char *dir; /* owned; NULL: drawn */
	const struct model_config *config;
	enum weights_to to;
	enum dtype compute;
	struct tensor_set *set; /* NULL until it is needed */
	struct known *known;    /* owned; sorted by name */
	int64_t n_known;
	struct made *made;
	struct made *spare; /* quantised, given back; not zeroed. Freed at the end of weights_bind */
	uint32_t isa;       /* the program's */
	bool provides;     /* the program asks for quantised matrices */
	bool quantised;    /* some matrix has a canonical form that is */
	struct team *team; /* of weights_bind, for its length */
	int rc;            /* what went wrong in a call that can only say that nothing is there */
	char message[512];
};

enum weight_format weights_format_of(enum weights_to to, const struct weight_spec *spec)
{
	if (to == WEIGHTS_AS_STORED)
		return WEIGHT_DENSE;
	if (to == WEIGHTS_TO_Q8 || spec->least_bits > 6)
		return WEIGHT_Q8;
	return spec->least_bits > 4 ? WEIGHT_Q6 : WEIGHT_Q4;
}

static bool is_quantised(const struct model_weights *w)
{
	return w->dir && w->config->quantization.method != QUANT_NONE;
}

int weights_create(struct model_weights **out, const struct weights_wish *wish)
{
	struct model_weights *w = mem_calloc(1, sizeof *w);
	int rc = VB_OK;
	*out = NULL;
	if (!w)
		return VB_ENOMEM;
	w->config = wish->config;
	w->to = wish->to;
	w->compute = wish->compute;
	if (wish->dir) {
		w->dir = mem_strdup(wish->dir);
		if (!w->dir) {
			rc = VB_ENOMEM;
			goto out;
		}
	}
	const struct quantization *q = &w->config->quantization;
	if (is_quantised(w) && w->to != WEIGHTS_AS_STORED && q->method != QUANT_FP8)
		FAIL_TO(out, VB_EINVAL, "cannot quantise again: %s: the weights are stored quantised (%s): use them as they are",
			w->config->where, q->name);
	if (is_quantised(w))
		TRY_TO(out, tensor_set_open(&w->set, w->dir));
	*out = w;
	w = NULL;
out:
	weights_destroy(&w);
	return rc;
}

static void forget_known(struct model_weights *w)
{
	for (int64_t i = 0; i < w->n_known; i++)
		mem_free(w->known[i].name);
	mem_free(w->known);
	w->known = NULL;
	w->n_known = 0;
}

static void forget(struct made *m)
{
	if (!m)
		return;
	mem_free_pages(m->memory, m->bytes);
	mem_free(m);
}

void weights_destroy(struct model_weights **wp)
{
	struct model_weights *w = *wp;
	if (!w)
		return;
	while (w->made) {
		struct made *m = w->made;
		w->made = m->next;
		forget(m);
	}
	forget(w->spare);
	forget_known(w);
	tensor_set_close(&w->set);
	mem_free(w->dir);
	mem_free(w);
	*wp = NULL;
}

/* ---- Memory that is lent ---- */

static struct made *make(struct model_weights *w, uint64_t bytes)
{
	struct made *m = mem_calloc(1, sizeof *m);
	if (!m)
		return NULL;
	m->bytes = bytes;
	m->memory = mem_pages(bytes);
	if (!m->memory) {
		mem_free(m);
		return NULL;
	}
	m->next = w->made;
	w->made = m;
	return m;
}

/* For a quantised matrix, which is written whole. */
static struct made *make_quantised(struct model_weights *w, uint64_t bytes)
{
	struct made *m = w->spare;
	w->spare = NULL;
	if (!m || m->bytes < bytes) {
		forget(m); /* or it would be in the way of a large one */
		return make(w, bytes);
	}
	m->next = w->made;
	w->made = m;
	return m;
}

/* Whether `memory` was made here; it is freed, or kept for the next quantised matrix. */
static bool unmake(struct model_weights *w, const void *memory)
{
	for (struct made **at = &w->made; *at; at = &(*at)->next) {
		struct made *m = *at;
		if (m->memory != memory)
			continue;
		*at = m->next;
		if (w->to != WEIGHTS_AS_STORED && m->bytes <= SPARE_BYTES && (!w->spare || w->spare->bytes < m->bytes)) {
			struct made *smaller = w->spare;
			w->spare = m;
			m = smaller;
		}
		forget(m);
		return true;
	}
	return false;
}

/* ---- How matrices are stored ---- */

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct known *)a)->name, ((const struct known *)b)->name);
}

static const struct known *find_known(const struct model_weights *w, const char *name)
{
	int64_t low = 0, high = w->n_known;
	while (low < high) {
		int64_t middle = low + (high - low) / 2;
		int order = strcmp(w->known[middle].name, name);
		if (order == 0)
			return &w->known[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static int look_at(struct model_weights *w, struct program *p)
{
	struct program_weight_info info;
	forget_known(w);
	w->known = mem_calloc((size_t)program_n_weights(p), sizeof *w->known);
	if (!w->known)
		return VB_ENOMEM;
	for (int64_t i = 0; i < program_n_weights(p); i++) {
		struct known *k = &w->known[w->n_known];
		program_weight_info(p, i, &info);
		if (info.spec->use != WEIGHT_MATRIX || !info.multiplied)
			continue;
		int rc = stored_find(&k->stored, &w->config->quantization, w->set, info.spec->name, info.spec->rows,
				     info.spec->cols);
		if (rc != VB_OK)
			return status_prefix(rc, "%s", w->dir);
		if (k->stored.kind == STORED_PLAIN)
			continue;
		k->name = mem_strdup(info.spec->name);
		if (!k->name)
			return VB_ENOMEM;
		w->n_known++;
	}
	if (w->n_known > 1)
		qsort(w->known, (size_t)w->n_known, sizeof *w->known, by_name);
	return VB_OK;
}

/* ---- What the program asks for ---- */

static void form_of(void *user, const struct weight_spec *spec, enum weight_format *format, int64_t *group)
{
	const struct model_weights *w = user;
	if (w->to != WEIGHTS_AS_STORED) {
		*format = weights_format_of(w->to, spec);
		*group = WEIGHT_GROUP;
		return;
	}
	const struct known *k = find_known(w, spec->name);
	if (k) {
		*format = k->stored.form.format;
		*group = k->stored.form.group;
	}
}

struct dropping {
	const struct model_weights *w;
	const struct weight_matrix *from;
};

/* Pages of the file that were read: what is quantised is not wanted again. */
static void drop_rows(void *user, int64_t begin, int64_t end)
{
	const struct dropping *d = user;
	int64_t row = weight_row_bytes(d->from);
	tensor_set_release_bytes(d->w->set, (const char *)d->from->data + begin * row, (uint64_t)((end - begin) * row));
}

static bool is_made(const struct model_weights *w, const void *memory)
{
	for (const struct made *m = w->made; m; m = m->next)
		if (m->memory == memory)
			return true;
	return false;
}

static int quantise(struct model_weights *w, struct team *team, const struct weight_spec *spec,
		    const struct weight_matrix *dense, struct weight_matrix *out)
{
	enum weight_format to = weights_format_of(w->to, spec);
	if (!dense)
		FAIL(VB_ENOTFOUND, "missing tensor: \"%s\": the model folder is incomplete, or its config.json describes another "
				   "model", spec->name);
	struct made *m = make_quantised(w, quantize_bytes(to, spec->rows, spec->cols));
	if (!m)
		return VB_ENOMEM;
	*out = quantize_place(to, spec->rows, spec->cols, m->memory);
	struct dropping d = { w, dense };
	bool mapped = w->set && !is_made(w, dense->data);
	return quantize_matrix(dense, out, team, w->isa, spec->name, mapped ? drop_rows : NULL, &d);
}

/* An order outlives its matrix: it is that of activations too. Matrices that share activations share it, so that they are put in
 * order once. */
static int keep_order(struct model_weights *w, struct weight_matrix *m)
{
	uint64_t bytes = (uint64_t)m->k * sizeof *m->order;
	for (const struct made *at = w->made; at; at = at->next)
		if (at->order && at->bytes == bytes && memcmp(at->memory, m->order, bytes) == 0) {
			m->order = at->memory;
			return VB_OK;
		}
	struct made *kept = make(w, bytes);
	if (!kept)
		return VB_ENOMEM;
	kept->order = true;
	memcpy(kept->memory, m->order, bytes);
	m->order = kept->memory;
	return VB_OK;
}

static int give(void *user, struct team *team, const struct weight_spec *spec, const struct weight_matrix *dense,
		struct weight_matrix *out)
{
	struct model_weights *w = user;
	if (w->to != WEIGHTS_AS_STORED)
		return quantise(w, team, spec, dense, out);
	const struct stored_matrix *s = &find_known(w, spec->name)->stored;
	uint64_t bytes = stored_bytes(s);
	struct made *m = NULL;
	if (bytes > 0) {
		m = make(w, bytes);
		if (!m)
			return VB_ENOMEM;
	}
	TRY(stored_read(s, w->set, team, m ? m->memory : NULL, out));
	return out->order ? keep_order(w, out) : VB_OK;
}

static void done(void *user, const struct weight_spec *spec, struct weight_matrix *m)
{
	struct model_weights *w = user;
	if (unmake(w, m->data))
		return;
	const struct known *k = find_known(w, spec->name);
	const struct tensor *parts[] = { k->stored.data, k->stored.scale, k->stored.zero };
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		if (parts[i])
			tensor_set_release(w->set, parts[i]);
}

/* ---- Matrices turned to the compute type ---- */

struct turning {
	const struct stored_matrix *s;
	enum dtype to;
	char *out;
	char **scratch; /* one a worker: what reading needs, then rows of float32 */
	uint64_t reading;
};

static void turn_share(void *context, int index, int n_workers)
{
	const struct turning *t = context;
	const struct weight_matrix *m = &t->s->form;
	int64_t begin, end;
	team_share(m->n, ROWS, index, n_workers, &begin, &end);
	for (int64_t row = begin; row < end; row += ROWS) {
		int64_t n = end - row < ROWS ? end - row : ROWS;
		float *rows = (float *)(t->scratch[index] + t->reading);
		stored_rows(t->s, row, n, t->scratch[index], rows);
		dtype_convert(t->to, t->out + (size_t)(row * m->k) * dtype_bytes(t->to), DTYPE_F32, rows, (size_t)(n * m->k));
	}
}

static int turn(struct model_weights *w, const struct known *k, const struct tensor **out)
{
	const struct weight_matrix *m = &k->stored.form;
	int n_workers = w->team ? team_size(w->team) : 1, rc = VB_OK;
	struct turning t = { .s = &k->stored, .to = w->compute, .reading = stored_scratch_bytes(&k->stored, ROWS) };
	uint64_t each = t.reading + (uint64_t)m->k * ROWS * sizeof(float);
	struct made *made = make(w, (uint64_t)(m->n * m->k) * dtype_bytes(w->compute));
	t.scratch = mem_calloc((size_t)n_workers, sizeof *t.scratch);
	if (!made || !t.scratch) {
		rc = VB_ENOMEM;
		goto out;
	}
	for (int i = 0; i < n_workers; i++) {
		t.scratch[i] = mem_pages(each);
		if (!t.scratch[i]) {
			rc = VB_ENOMEM;
			goto out;
		}
	}
	t.out = made->memory;
	team_run(w->team, turn_share, &t);
	made->tensor = (struct tensor){ .name = k->name, .type = w->compute, .rank = 2, .shape = { m->n, m->k },
					.data = made->memory, .bytes = made->bytes };
	*out = &made->tensor;
	const struct tensor *parts[] = { k->stored.data, k->stored.scale, k->stored.zero };
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		if (parts[i])
			tensor_set_release(w->set, parts[i]);
out:
	for (int i = 0; t.scratch && i < n_workers; i++)
		mem_free_pages(t.scratch[i], each);
	mem_free(t.scratch);
	return rc;
}

static const struct tensor *find(void *user, const char *name)
{
	struct model_weights *w = user;
	const struct tensor *t = tensor_set_find(w->set, name);
	const struct known *k = find_known(w, name);
	/* An embedding stands beside its quantised form, where the head is the same matrix. */
	bool plain = t && (t->type == DTYPE_F32 || t->type == DTYPE_BF16 || t->type == DTYPE_F16);
	if (!k || plain || w->rc != VB_OK)
		return t;
	if (w->provides && k->stored.form.format != WEIGHT_DENSE)
		return NULL;
	w->rc = turn(w, k, &t);
	if (w->rc == VB_OK)
		return t;
	snprintf(w->message, sizeof w->message, "%s", vb_errmsg());
	return NULL;
}

static void release(void *user, const struct tensor *t)
{
	struct model_weights *w = user;
	if (!unmake(w, t->data))
		tensor_set_release(w->set, t);
}

/* ---- Quantising for others ---- */

int weights_tensors(struct model_weights *w, const struct tensor_set **out)
{
	if (!w->set)
		TRY(tensor_set_open(&w->set, w->dir));
	*out = w->set;
	return VB_OK;
}

/* Why `find` has nothing, where it has a reason of its own. */
static int nothing_found(const struct model_weights *w)
{
	if (w->rc != VB_OK)
		FAIL(w->rc, "%s", w->message);
	return VB_OK;
}

int weights_quantised(struct model_weights *w, struct team *team, const struct weight_spec *spec, struct weight_matrix *out)
{
	const struct tensor_set *set;
	CHECK(w->to != WEIGHTS_AS_STORED);
	TRY(weights_tensors(w, &set));
	w->team = team;
	const struct tensor *t = find(w, spec->name);
	w->team = NULL;
	TRY(nothing_found(w));
	struct weight_matrix dense = { .n = spec->rows, .k = spec->cols };
	if (t) {
		TRY(program_check_tensor(spec, t));
		dense.type = t->type;
		dense.data = t->data;
	}
	int rc = quantise(w, team, spec, t ? &dense : NULL, out);
	if (t)
		release(w, t);
	return rc;
}

void weights_done(struct model_weights *w, const struct weight_spec *spec, struct weight_matrix *m)
{
	done(w, spec, m);
}

/* ---- Binding ---- */

int weights_attach(struct model_weights *w, struct program *p)
{
	bool on_gpu = program_get_config(p)->isa & ISA_CUDA;
	if (on_gpu && w->to != WEIGHTS_AS_STORED)
		FAIL(VB_EUNSUPPORTED, "cannot use --quantize on a GPU: GPU kernels multiply bf16, f16 and f32: leave it out, or use "
				      "--device cpu");
	w->isa = program_get_config(p)->isa;
	if (is_quantised(w))
		TRY(look_at(w, p));
	w->quantised = false;
	for (int64_t i = 0; i < w->n_known; i++)
		w->quantised |= w->known[i].stored.form.format != WEIGHT_DENSE;
	w->provides = !on_gpu && (w->to != WEIGHTS_AS_STORED || w->n_known > 0);
	if (w->provides)
		program_provide(p, &(struct weight_provider){ .form = form_of, .give = give, .done = done, .user = w });
	return VB_OK;
}

int weights_bind(struct model_weights *w, struct program *p, struct team *team)
{
	const struct tensor_set *set;
	TRY(weights_tensors(w, &set));
	tensor_set_prefetch(set);
	w->team = team;
	int rc = program_bind(p, team, find, release, w);
	w->team = NULL;
	forget(w->spare);
	w->spare = NULL;
	if (rc == VB_OK)
		return tensor_set_unchanged(set);
	int reason = nothing_found(w);
	return status_prefix(reason != VB_OK ? reason : rc, "%s", w->dir);
}

void weights_stored_words(const struct quantization *q, char out[64])
{
	out[0] = '\0';
	if (q->method == QUANT_FP8)
		snprintf(out, 64, "fp8");
	else if (q->method == QUANT_VERBATIM)
		snprintf(out, 64, "q%d", q->bits);
	else if (q->method != QUANT_NONE)
		snprintf(out, 64, "%s, %d bits", q->name, q->bits);
}

void weights_words(const struct model_weights *w, char out[64])
{
	static const char *const names[] = { [WEIGHTS_TO_Q8] = "q8", [WEIGHTS_TO_Q4] = "q4" };
	if (w->to != WEIGHTS_AS_STORED) {
		snprintf(out, 64, "%s", names[w->to]);
		return;
	}
	weights_stored_words(&w->config->quantization, out);
	size_t n = strlen(out);
	if (!is_quantised(w))
		snprintf(out, 64, "%s", dtype_name(w->config->dtype));
	else if (!w->provides || !w->quantised)
		snprintf(out + n, 64 - n, ", as %s", dtype_name(w->compute));
}
