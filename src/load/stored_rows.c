/* stored_rows.c - reading matrices that stored.c has found: to the canonical form, or to float32.
 *
 * DESIGN. Every packing of integers is first spread out, some rows at a time, into one plain form: q [rows, k] int16, and
 * scale and zero [rows, groups] float32, in the model's order of columns; w = scale * (q - zero). From there on there is
 * one way to the canonical form and one to float32. Rows are read by the whole team, each by one worker, and nothing is added
 * up: the result is the same for any number of threads.
 */
#include "stored_parts.h"

#include "base/mem.h"
#include "base/status.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

/* The plain form of some rows, in somebody's scratch memory. */
struct spread {
	int64_t rows, k, n_groups;
	float *scale, *zero;
	int16_t *q;
};

static uint64_t align64(uint64_t bytes)
{
	return (bytes + 63) / 64 * 64;
}

uint64_t stored_scratch_bytes(const struct stored_matrix *s, int64_t n)
{
	if (s->kind == STORED_PLAIN || s->kind == STORED_FP8 || s->kind == STORED_VERBATIM)
		return 0;
	uint64_t rows = (uint64_t)n;
	return 2 * align64(rows * (uint64_t)s->n_groups * sizeof(float)) + align64(rows * (uint64_t)s->form.k * sizeof(int16_t));
}

static struct spread carve(const struct stored_matrix *s, int64_t n, void *scratch)
{
	uint64_t each = align64((uint64_t)n * (uint64_t)s->n_groups * sizeof(float));
	char *at = scratch;
	return (struct spread){ .rows = n, .k = s->form.k, .n_groups = s->n_groups, .scale = (float *)at,
				.zero = (float *)(at + each), .q = (int16_t *)(at + 2 * each) };
}

/* ---- Spreading ---- */

static inline float element(const struct tensor *t, int64_t i)
{
	return dtype_load(t->type, t->data, (size_t)i);
}

static inline uint32_t word(const struct tensor *t, int64_t i)
{
	return ((const uint32_t *)t->data)[i];
}

/* Element i of words that hold `bits` bits each, from the low bits up. */
static inline int bits_at(const struct tensor *t, int64_t row, int64_t words, int64_t i, int bits)
{
	int per = 32 / bits;
	return (int)(word(t, row * words + i / per) >> (i % per * bits)) & ((1 << bits) - 1);
}

static void spread_awq(const struct stored_matrix *s, int64_t begin, const struct spread *o)
{
	/* Where in a word the row of each place stands. */
	static const int place[8] = { 0, 4, 1, 5, 2, 6, 3, 7 };
	int64_t n = s->form.n, words = n / 8;
	for (int64_t k = 0; k < o->k; k++)
		for (int64_t r = 0; r < o->rows; r++)
			o->q[r * o->k + k] = (int16_t)(word(s->data, k * words + (begin + r) / 8) >>
						       (4 * place[(begin + r) % 8]) & 15);
	for (int64_t g = 0; g < o->n_groups; g++)
		for (int64_t r = 0; r < o->rows; r++) {
			uint32_t w = word(s->zero, g * words + (begin + r) / 8);
			o->scale[r * o->n_groups + g] = element(s->scale, g * n + begin + r);
			o->zero[r * o->n_groups + g] = (float)(w >> (4 * place[(begin + r) % 8]) & 15);
		}
}

static void spread_gptq(const struct stored_matrix *s, int64_t begin, const struct spread *o)
{
	int64_t n = s->form.n, per = 32 / s->bits, mask = (1 << s->bits) - 1;
	for (int64_t k = 0; k < o->k; k++)
		for (int64_t r = 0; r < o->rows; r++)
			o->q[r * o->k + k] = (int16_t)(word(s->data, k / per * n + begin + r) >> (k % per * s->bits) & mask);
	for (int64_t g = 0; g < o->n_groups; g++)
		for (int64_t r = 0; r < o->rows; r++) {
			/* The first format stored zeros less one, and so 0 as all ones. */
			int64_t zero = bits_at(s->zero, g, n / per, begin + r, s->bits) + s->zero_less_one;
			o->scale[r * o->n_groups + g] = element(s->scale, g * n + begin + r);
			o->zero[r * o->n_groups + g] = (float)(zero & mask);
		}
}

/* Where the scale of a row's group stands: one for all, one a row, or [n, groups]. */
static int64_t scale_at(const struct stored_matrix *s, int64_t row, int64_t group)
{
	return row / s->block_rows * s->n_groups + group;
}

static void spread_packed(const struct stored_matrix *s, int64_t begin, const struct spread *o)
{
	int64_t words = s->data->shape[1];
	for (int64_t r = 0; r < o->rows; r++) {
		for (int64_t k = 0; k < o->k; k++)
			o->q[r * o->k + k] = (int16_t)bits_at(s->data, begin + r, words, k, s->bits);
		for (int64_t g = 0; g < o->n_groups; g++) {
			int64_t row = begin + r, per = 32 / s->bits;
			o->scale[r * o->n_groups + g] = element(s->scale, scale_at(s, row, g));
			int zero = 1 << (s->bits - 1);
			if (s->zero)
				zero = (int)(word(s->zero, row / per * o->n_groups + g) >> (row % per * s->bits)) &
				       ((1 << s->bits) - 1);
			o->zero[r * o->n_groups + g] = (float)zero;
		}
	}
}

static void spread_int8(const struct stored_matrix *s, int64_t begin, const struct spread *o)
{
	const int8_t *q = (const int8_t *)s->data->data + begin * o->k;
	for (int64_t i = 0; i < o->rows * o->k; i++)
		o->q[i] = q[i];
	for (int64_t r = 0; r < o->rows; r++)
		for (int64_t g = 0; g < o->n_groups; g++) {
			int64_t at = scale_at(s, begin + r, g);
			o->scale[r * o->n_groups + g] = element(s->scale, at);
			o->zero[r * o->n_groups + g] = s->zero ? (float)((const int8_t *)s->zero->data)[at] : 0;
		}
}

static void spread_rows(const struct stored_matrix *s, int64_t begin, const struct spread *o)
{
	switch (s->kind) {
	case STORED_AWQ:
		spread_awq(s, begin, o);
		break;
	case STORED_GPTQ:
		spread_gptq(s, begin, o);
		break;
	case STORED_PACKED:
		spread_packed(s, begin, o);
		break;
	default:
		spread_int8(s, begin, o);
	}
}

/* ---- To float32 ---- */

/* 1 sign, 4 exponent bits of bias 7, 3 bits of fraction; no infinities. */
static float e4m3_to_f32(unsigned v)
{
	int exponent = (int)(v >> 3 & 15), fraction = (int)(v & 7);
	float size = exponent ? ldexpf((float)(8 + fraction), exponent - 10) : ldexpf((float)fraction, -9);
	if ((v & 127) == 127)
		return NAN;
	return v & 128 ? -size : size;
}

static void fp8_rows(const struct stored_matrix *s, int64_t begin, int64_t n, float *out)
{
	float value[256];
	for (unsigned v = 0; v < 256; v++)
		value[v] = e4m3_to_f32(v);
	const uint8_t *q = (const uint8_t *)s->data->data + begin * s->form.k;
	for (int64_t r = 0; r < n; r++)
		for (int64_t g = 0; g < s->n_groups; g++) {
			float scale = element(s->scale, scale_at(s, begin + r, g));
			int64_t end = (g + 1) * s->group < s->form.k ? (g + 1) * s->group : s->form.k;
			for (int64_t k = g * s->group; k < end; k++)
				out[r * s->form.k + k] = value[q[r * s->form.k + k]] * scale;
		}
}

void stored_rows(const struct stored_matrix *s, int64_t begin, int64_t n, void *scratch, float *out)
{
	const struct weight_matrix *m = &s->form;
	if (s->kind == STORED_PLAIN) {
		dtype_convert(DTYPE_F32, out, m->type, (const char *)m->data + begin * weight_row_bytes(m), (size_t)(n * m->k));
		return;
	}
	if (s->kind == STORED_FP8) {
		fp8_rows(s, begin, n, out);
		return;
	}
	if (s->kind == STORED_VERBATIM) {
		for (int64_t r = 0; r < n; r++)
			for (int64_t k = 0; k < m->k; k++)
				out[r * m->k + k] = weight_value(m, begin + r, k);
		return;
	}
	struct spread o = carve(s, n, scratch);
	const int32_t *index = s->index ? s->index->data : NULL;
	spread_rows(s, begin, &o);
	for (int64_t r = 0; r < n; r++)
		for (int64_t k = 0; k < m->k; k++) {
			int64_t g = r * o.n_groups + (index ? index[k] : k / s->group);
			out[r * m->k + k] = o.scale[g] * ((float)o.q[r * m->k + k] - o.zero[g]);
		}
}

/* ---- To the canonical form ---- */

struct parts {
	uint64_t data, scale, zero, order; /* bytes of each, whole cache lines */
};

static struct parts parts_of(const struct stored_matrix *s)
{
	const struct weight_matrix *m = &s->form;
	struct parts p = { 0 };
	if (m->format == WEIGHT_DENSE || m->data)
		return p;
	p.data = align64((uint64_t)(m->n * weight_row_bytes(m)));
	p.scale = align64((uint64_t)(m->n * weight_groups(m)) * sizeof *m->scale);
	p.zero = m->format == WEIGHT_Q4 ? align64((uint64_t)(m->n * weight_groups(m))) : 0;
	p.order = s->ordered ? align64((uint64_t)m->k * sizeof *m->order) : 0;
	return p;
}

uint64_t stored_bytes(const struct stored_matrix *s)
{
	struct parts p = parts_of(s);
	return p.data + p.scale + p.zero + p.order;
}

struct reading {
	const struct stored_matrix *s;
	struct weight_matrix m;
	uint8_t *data, *zero;
	uint16_t *scale;
	const int32_t *order;
	int64_t begin, end;
	void **scratch;       /* one a worker */
	_Atomic int64_t bad;  /* the first row that has a meaningless number */
};

/* Whether row `row`, spread out as row r of o, could be written. */
static bool write_row(const struct reading *w, const struct spread *o, int64_t r, int64_t row)
{
	const struct stored_matrix *s = w->s;
	const struct weight_matrix *m = &w->m;
	const int16_t *q = o->q + r * o->k;
	int64_t n_groups = weight_groups(m);
	bool good = true;
	for (int64_t c = 0; c < n_groups; c++) {
		int64_t g = r * o->n_groups + c * m->group / s->group;
		uint16_t scale = f32_to_f16(o->scale[g]);
		good &= isfinite(f16_to_f32(scale));
		w->scale[row * n_groups + c] = scale;
		if (m->format == WEIGHT_Q4)
			w->zero[row * n_groups + c] = (uint8_t)(o->zero[g] * WEIGHT_ZERO_ONE);
		else /* int8 has zero 0, unsigned bytes 128: whatever else would be lost */
			good &= o->zero[g] == (s->kind == STORED_INT8 ? 0 : 128);
	}
	uint8_t *out = w->data + row * weight_row_bytes(m);
	int minus = s->kind == STORED_INT8 || m->format == WEIGHT_Q4 ? 0 : 128;
	for (int64_t k = 0; k < m->k; k++) {
		int v = q[w->order ? w->order[k] : k] - minus;
		if (m->format == WEIGHT_Q8)
			out[k] = (uint8_t)(int8_t)v;
		else if (k % 2 == 0)
			out[k / 2] = (uint8_t)v;
		else
			out[k / 2] |= (uint8_t)(v << 4);
	}
	return good;
}

static void note_bad(struct reading *w, int64_t row)
{
	int64_t known = atomic_load(&w->bad);
	while (row < known && !atomic_compare_exchange_weak(&w->bad, &known, row))
		;
}

static void read_share(void *context, int index, int n_workers)
{
	struct reading *w = context;
	int64_t begin, end;
	team_share(w->end - w->begin, STORED_GRAIN, index, n_workers, &begin, &end);
	for (int64_t row = w->begin + begin; row < w->begin + end; row += STORED_GRAIN) {
		int64_t n = w->begin + end - row < STORED_GRAIN ? w->begin + end - row : STORED_GRAIN;
		struct spread o = carve(w->s, n, w->scratch[index]);
		spread_rows(w->s, row, &o);
		for (int64_t r = 0; r < n; r++)
			if (!write_row(w, &o, r, row + r))
				note_bad(w, row + r);
	}
}

/* Columns by group, in their order within each. */
static void fill_order(const struct stored_matrix *s, int32_t *order)
{
	const int32_t *index = s->index->data;
	int64_t at = 0;
	for (int64_t g = 0; g < s->n_groups; g++)
		for (int64_t k = 0; k < s->form.k; k++)
			if (index[k] == g)
				order[at++] = (int32_t)k;
}

/* Zeros of a file of our own: from 0 to 16, or sums of products would not fit. */
static int check_zeros(const struct stored_matrix *s)
{
	if (!s->form.zero)
		return VB_OK;
	uint8_t most = 0;
	for (uint64_t i = 0; i < s->zero->bytes; i++)
		most = s->form.zero[i] > most ? s->form.zero[i] : most;
	if (most > 16 * WEIGHT_ZERO_ONE)
		FAIL(VB_EFORMAT, "value out of range: tensor \"%s\": a zero of %d eighths, at most %d have a meaning",
		     s->zero->name, most, 16 * WEIGHT_ZERO_ONE);
	return VB_OK;
}

static int take_scratch(struct reading *w, int n)
{
	for (int i = 0; i < n; i++) {
		w->scratch[i] = mem_alloc(stored_scratch_bytes(w->s, STORED_GRAIN));
		if (!w->scratch[i])
			return VB_ENOMEM;
	}
	return VB_OK;
}

int stored_read(const struct stored_matrix *s, const struct tensor_set *set, struct team *team, void *memory,
		struct weight_matrix *out)
{
	*out = s->form;
	if (stored_bytes(s) == 0)
		return check_zeros(s);
	struct parts p = parts_of(s);
	char *at = memory;
	struct reading w = { .s = s, .m = s->form, .data = (uint8_t *)at, .scale = (uint16_t *)(at + p.data),
			     .zero = (uint8_t *)(at + p.data + p.scale), .bad = INT64_MAX };
	int n_workers = team ? team_size(team) : 1, rc = VB_OK;
	w.scratch = mem_calloc((size_t)n_workers, sizeof *w.scratch);
	if (!w.scratch)
		return VB_ENOMEM;
	TRY_TO(out, take_scratch(&w, n_workers));
	if (s->ordered) {
		int32_t *order = (int32_t *)(at + p.data + p.scale + p.zero);
		fill_order(s, order);
		w.order = order;
	}
	w.end = s->form.n;
	team_run(team, read_share, &w);
	if (w.bad != INT64_MAX)
		FAIL_TO(out, VB_EFORMAT, "value out of range: tensor \"%s\": row %lld: scales must be finite and fit f16%s",
			s->scale->name, (long long)w.bad, s->zero ? ", and zeros be those of a symmetric form" : "");
	*out = w.m;
	out->data = w.data;
	out->scale = w.scale;
	out->zero = s->form.format == WEIGHT_Q4 ? w.zero : NULL;
	out->order = w.order;
	const struct tensor *parts[] = { s->data, s->scale, s->zero, s->index };
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		if (parts[i])
			tensor_set_release(set, parts[i]);
out:
	for (int i = 0; i < n_workers; i++)
		mem_free(w.scratch[i]);
	mem_free(w.scratch);
	return rc;
}
