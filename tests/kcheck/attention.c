/* attention.c - kcheck of attention.
 *
 * A token's identity says which sequence it is of and where it stands: query tokens come q_len a sequence, at the end of
 * its keys. Neighbours of one sequence in the list of tokens run as one chunk, everything else as a sequence of its own
 * over the same pages: so a token alone is a decode step, the tokens reversed are decode steps, and the base case
 * is chunks of a prompt. Further ways of running cut chunks, change the page size, move pages and split blocks.
 */
#include "kcheck.h"

#include "base/mem.h"
#include "base/status.h"
#include "ops/attention_cuda.h"
#include "ops/attention_plan.h"
#include "ops/kernels.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { HEADS, KV_HEADS, D, V_D, PAGE, WINDOW, KV_LEN, Q_LEN, TYPES, FLAGS };
enum { SOFTCAP = 1, SINKS = 2, SPIKES = 4 };
#define TYPES3(q, kv, out) ((q) + 16 * (kv) + 256 * (out))
#define ALL(type) TYPES3(type, type, type)

enum { WAY_PLAIN, WAY_SHORT_CHUNKS, WAY_PAGE_1, WAY_PAGE_128, WAY_OTHER_PAGES, WAY_SPLIT, WAY_HEADS_ALONE, N_WAYS = WAY_HEADS_ALONE };

/* A unit of the extent is this many, so that benchmarks hand single units to threads. */
#define GRAIN 16
#define CAP 5.0f

/* Keys of one sequence that tokens of the case see: begin <= position < end. */
struct keys {
	int64_t seq, begin, end;
	int64_t first_row;  /* in the cache buffers: (position - begin) * n_kv_heads + head from here */
	int64_t first_page; /* among the pages of the case, before they are moved */
};

/* What runs as one sequence. */
struct entry {
	int64_t keys; /* index */
	int32_t q_begin, kv_len;
};

/* A block of the plan: one item, or several that are merged. */
struct block {
	int64_t first_item, n_items;
	int64_t states; /* floats from the beginning of the work buffer */
};

struct own {
	int64_t page_size, n_pages, n_keys, n_entries, n_items, n_blocks, table_stride, scratch_floats, state_floats;
	struct keys *keys;
	struct entry *entries;
	struct attention_item *items;
	struct block *blocks;
	int32_t *q_begin, *kv_len;
};

static enum dtype q_type(const struct kc_shape *s)
{
	return (enum dtype)(s->dim[TYPES] % 16);
}

static enum dtype kv_type(const struct kc_shape *s)
{
	return (enum dtype)(s->dim[TYPES] / 16 % 16);
}

static enum dtype out_type(const struct kc_shape *s)
{
	return (enum dtype)(s->dim[TYPES] / 256);
}

static void describe(const struct kc_shape *s, char *text, size_t size)
{
	const int64_t *d = s->dim;
	snprintf(text, size, "%lldx%lld of %lld, %lld/%lldx%lld/%lld page %lld window %lld%s%s%s %s %s->%s", (long long)s->t,
		 (long long)d[Q_LEN], (long long)d[KV_LEN], (long long)d[HEADS], (long long)d[KV_HEADS],
		 (long long)d[D], (long long)d[V_D], (long long)d[PAGE], (long long)d[WINDOW],
		 d[FLAGS] & SOFTCAP ? " cap" : "", d[FLAGS] & SINKS ? " sinks" : "", d[FLAGS] & SPIKES ? " spikes" : "", dtype_name(q_type(s)),
		 dtype_name(kv_type(s)), dtype_name(out_type(s)));
}

static void fill_request(const struct kc_shape *s, struct attention_request *r)
{
	const int64_t *d = s->dim;
	*r = (struct attention_request){ .n_heads = d[HEADS],
					 .n_kv_heads = d[KV_HEADS],
					 .head_dim = d[D],
					 .v_head_dim = d[V_D],
					 .q_type = q_type(s),
					 .kv_type = kv_type(s),
					 .out_type = out_type(s),
					 .page_size = d[PAGE],
					 .window = d[WINDOW],
					 .max_q_len = d[Q_LEN],
					 .softcap = d[FLAGS] & SOFTCAP,
					 .sink = d[FLAGS] & SINKS };
}

static void request(const struct kc_shape *s, void *r)
{
	fill_request(s, r);
}

/* ---- Identities ---- */

static int64_t seq_of(const struct kc_case *c, int64_t t)
{
	return c->ids[t] / c->shape->dim[Q_LEN];
}

/* Sequences end at KV_LEN and a few positions before it: so a shape stands for the lengths around a border. */
static int64_t position_of(const struct kc_case *c, int64_t t)
{
	int64_t kv_len = c->shape->dim[KV_LEN], q_len = c->shape->dim[Q_LEN];
	int64_t shorter = c->shape->bench ? 0 : seq_of(c, t) % 8;
	return (kv_len > shorter ? kv_len - shorter : 0) - q_len + c->ids[t] % q_len;
}

static float scale_of(const struct kc_case *c)
{
	/* Outliers of 1e4 meet in some dot products: scores should stay in the range where softmax is not a switch. */
	return c->class == KC_OUTLIER ? 1e-7f : (float)(1 / sqrt((double)c->shape->dim[D]));
}

/* ---- Building ---- */

static void *take(int64_t n, size_t size)
{
	void *p = mem_calloc((size_t)n, size);
	CHECK(p);
	return p;
}

static int64_t find_keys(struct own *o, int64_t seq)
{
	for (int64_t i = 0; i < o->n_keys; i++)
		if (o->keys[i].seq == seq)
			return i;
	o->keys[o->n_keys] = (struct keys){ .seq = seq, .begin = INT64_MAX };
	return o->n_keys++;
}

static void group_tokens(struct kc_case *c, struct own *o)
{
	int64_t longest = c->way == WAY_SHORT_CHUNKS ? 3 : INT64_MAX;
	for (int64_t t = 0; t < c->t; t++) {
		int64_t p = position_of(c, t), k = find_keys(o, seq_of(c, t)), begin, end;
		attention_visible(p, c->shape->dim[WINDOW], &begin, &end);
		struct keys *keys = &o->keys[k];
		if (begin < end) {
			keys->begin = begin < keys->begin ? begin : keys->begin;
			keys->end = end > keys->end ? end : keys->end;
		}
		struct entry *last = o->n_entries ? &o->entries[o->n_entries - 1] : NULL;
		if (!last || c->ids[t] != c->ids[t - 1] + 1 || last->keys != k || t - last->q_begin >= longest)
			o->entries[o->n_entries++] = (struct entry){ .keys = k, .q_begin = (int32_t)t };
		/* Tokens below position 0 see nothing wherever there they stand. */
		o->entries[o->n_entries - 1].kv_len = p < 0 ? 0 : (int32_t)(p + 1);
	}
	int64_t row = 0, page = 0;
	for (int64_t i = 0; i < o->n_keys; i++) {
		struct keys *k = &o->keys[i];
		k->begin = k->begin < k->end ? k->begin : k->end;
		k->first_row = row;
		k->first_page = page;
		row += (k->end - k->begin) * c->shape->dim[KV_HEADS];
		page += k->end / o->page_size - k->begin / o->page_size + 1;
	}
	o->n_pages = 2 * page + 3;
}

static bool have_common_factor(int64_t a, int64_t b)
{
	while (b) {
		int64_t rest = a % b;
		a = b;
		b = rest;
	}
	return a > 1;
}

/* Where page i of the case lies: anywhere, and no two at one place. */
static int64_t place_of(const struct kc_case *c, const struct own *o, int64_t i)
{
	int64_t step = c->way == WAY_OTHER_PAGES ? 11 : 7;
	while (have_common_factor(o->n_pages, step))
		step++;
	return (i * step + c->way) % o->n_pages;
}

/* -128..127: nothing, the same for all keys, or anything. */
static void fill_int8(const struct kc_case *c, struct kc_buf *b)
{
	for (int64_t r = 0; r < b->n_rows; r++)
		for (int64_t i = 0; i < b->cols; i++) {
			int64_t key = c->class == KC_TIES ? 0 : b->row_key[r];
			int v = (int)(kc_random(c, b->name, key, i) % 256) - 128;
			((int8_t *)b->master)[r * b->cols + i] = (int8_t)(c->class == KC_ZEROS ? 0 : v);
		}
}

/* Scales of integers up to 127, none negative. Among spikes one key of 512 is far larger and its value far smaller than others:
 * what looks at it hardly hears anything, and other tiles weigh little. */
static void to_scales(const struct kc_case *c, struct kc_buf *b)
{
	bool keys = b->name[0] == 'k';
	kc_stretch(b, 1.0f / 127);
	for (int64_t i = 0; i < b->n_rows; i++) {
		float *scale = (float *)b->master + i;
		bool spike = c->shape->dim[FLAGS] & SPIKES && b->row_key[i] / c->shape->dim[KV_HEADS] % 65536 % 512 == 0;
		*scale = fabsf(*scale) * (spike ? keys ? 20.0f : 1.0f / 64 : 1.0f);
	}
}

static void add_cache(struct kc_case *c, const struct own *o, const char *name, enum dtype type, int64_t cols)
{
	const int64_t *d = c->shape->dim;
	int64_t n = 0;
	for (int64_t i = 0; i < o->n_keys; i++)
		n += (o->keys[i].end - o->keys[i].begin) * d[KV_HEADS];
	int64_t *at = take(n, sizeof *at), *key = take(n, sizeof *key), r = 0;
	for (int64_t i = 0; i < o->n_keys; i++) {
		const struct keys *k = &o->keys[i];
		for (int64_t p = k->begin; p < k->end; p++) {
			int64_t page = place_of(c, o, k->first_page + p / o->page_size - k->begin / o->page_size);
			for (int64_t h = 0; h < d[KV_HEADS]; h++, r++) {
				at[r] = ((page * d[KV_HEADS] + h) * o->page_size + p % o->page_size) * cols;
				key[r] = (k->seq * 65536 + p) * d[KV_HEADS] + h;
			}
		}
	}
	struct kc_buf *b = kc_scattered(c, name, KC_IN, type, o->n_pages * d[KV_HEADS] * o->page_size * cols, n, cols, at, key);
	if (type == DTYPE_I8)
		fill_int8(c, b);
	else if (kv_type(c->shape) == DTYPE_I8)
		to_scales(c, b);
	mem_free(at);
	mem_free(key);
}

/* The first key that the entry's first token sees. */
static int64_t first_seen(const struct kc_case *c, const struct own *o, int64_t e)
{
	int64_t end = e + 1 < o->n_entries ? o->entries[e + 1].q_begin : c->t, begin, unused;
	attention_visible(o->entries[e].kv_len - (end - o->entries[e].q_begin), c->shape->dim[WINDOW], &begin, &unused);
	return begin;
}

/* Only entries of pages with keys in sight are there; the others are poison. */
static void add_page_table(struct kc_case *c, struct own *o)
{
	for (int64_t e = 0; e < o->n_entries; e++) {
		int64_t width = o->entries[e].kv_len / o->page_size + 1;
		o->table_stride = width > o->table_stride ? width : o->table_stride;
	}
	o->table_stride += c->pad;
	int64_t size = o->n_entries * o->table_stride, n = 0;
	int64_t *at = take(size, sizeof *at), *key = take(size, sizeof *key);
	int32_t *page = take(size, sizeof *page);
	for (int64_t e = 0; e < o->n_entries; e++) {
		const struct keys *k = &o->keys[o->entries[e].keys];
		int64_t i = first_seen(c, o, e) / o->page_size;
		for (; i * o->page_size < o->entries[e].kv_len; i++, n++) {
			at[n] = e * o->table_stride + i;
			key[n] = -1;
			page[n] = (int32_t)place_of(c, o, k->first_page + i - k->begin / o->page_size);
		}
	}
	struct kc_buf *b = kc_scattered(c, "page_table", KC_IN, DTYPE_I32, size, n, 1, at, key);
	memcpy(b->master, page, (size_t)n * sizeof *page);
	mem_free(at);
	mem_free(key);
	mem_free(page);
}

/* Items and blocks as the plan makes them. */
static void add_plan(struct kc_case *c, struct own *o)
{
	struct attention_request r;
	struct attention_plan *plan;
	fill_request(c->shape, &r);
	r.page_size = o->page_size;
	/* With many workers, work that cannot be cut at its pieces is cut at its KV heads. */
	int n_workers = c->way == WAY_HEADS_ALONE ? 999 : c->way == WAY_SPLIT ? 7 : 1;
	struct attention_limits limits = { o->n_entries, c->t, o->table_stride, n_workers };
	for (int64_t e = 0; e < o->n_entries; e++) {
		o->q_begin[e] = o->entries[e].q_begin;
		o->kv_len[e] = o->entries[e].kv_len;
	}
	o->q_begin[o->n_entries] = (int32_t)c->t;
	CHECK(attention_plan_create(&plan, &r, 0, &limits) == VB_OK);
	CHECK(attention_plan_update(plan, o->n_entries, o->q_begin, o->kv_len) == VB_OK);
	o->n_items = attention_plan_n_items(plan);
	o->items = take(o->n_items, sizeof *o->items);
	o->blocks = take(o->n_items, sizeof *o->blocks);
	for (int64_t i = 0; i < o->n_items; i++) {
		struct attention_item *it = &o->items[i];
		attention_plan_item(plan, i, it);
		if (i && it->seq == it[-1].seq && it->token_begin == it[-1].token_begin && it->kv_head_begin == it[-1].kv_head_begin)
			o->blocks[o->n_blocks - 1].n_items++;
		else
			o->blocks[o->n_blocks++] = (struct block){ .first_item = i, .n_items = 1 };
	}
	attention_plan_destroy(&plan);
	for (int64_t b = 0; b < o->n_blocks; b++) {
		const struct attention_item *it = &o->items[o->blocks[b].first_item];
		int64_t pieces = it[o->blocks[b].n_items - 1].piece_end - it->piece_begin;
		o->blocks[b].states = o->state_floats;
		if (o->blocks[b].n_items > 1)
			o->state_floats += pieces * attention_item_rows(it, r.n_heads / r.n_kv_heads) *
					   attention_state_floats(r.v_head_dim);
	}
}

static void build(struct kc_case *c)
{
	const int64_t *d = c->shape->dim;
	struct own *o = take(1, sizeof *o);
	c->own = o;
	o->page_size = c->way == WAY_PAGE_1 ? 1 : c->way == WAY_PAGE_128 ? 128 : d[PAGE];
	o->keys = take(c->t, sizeof *o->keys);
	o->entries = take(c->t, sizeof *o->entries);
	o->q_begin = take(c->t + 1, sizeof *o->q_begin);
	o->kv_len = take(c->t, sizeof *o->kv_len);
	group_tokens(c, o);
	kc_tokens(c, "q", KC_IN, q_type(c->shape), d[HEADS] * d[D], d[HEADS] * d[D] + c->pad);
	add_cache(c, o, "k_cache", kv_type(c->shape), d[D]);
	add_cache(c, o, "v_cache", kv_type(c->shape), d[V_D]);
	if (kv_type(c->shape) == DTYPE_I8) {
		add_cache(c, o, "k_scale", DTYPE_F32, 1);
		add_cache(c, o, "v_scale", DTYPE_F32, 1);
	}
	add_page_table(c, o);
	if (d[FLAGS] & SINKS)
		kc_shared(c, "sinks", DTYPE_F32, 1, d[HEADS]);
	if (c->t)
		add_plan(c, o);
	int64_t n_scratch = c->shape->bench ? o->n_blocks : 1;
	int64_t rows = 1;
	for (int64_t i = 0; i < o->n_items; i++) {
		int64_t n = attention_item_rows(&o->items[i], d[HEADS] / d[KV_HEADS]);
		rows = n > rows ? n : rows;
	}
	o->scratch_floats = attention_scratch_bytes(rows, d[D], d[V_D]) / 4;
	kc_scattered(c, "scratch", KC_WORK, DTYPE_F32, n_scratch * o->scratch_floats, 0, 1, NULL, NULL);
	kc_scattered(c, "states", KC_WORK, DTYPE_F32, o->state_floats, 0, 1, NULL, NULL);
	kc_tokens(c, "lse", KC_OUT, DTYPE_F32, d[HEADS], d[HEADS]);
	kc_tokens(c, "out", KC_OUT, out_type(c->shape), d[HEADS] * d[V_D], d[HEADS] * d[V_D] + 3 * c->pad);
}

static void fini(struct kc_case *c)
{
	struct own *o = c->own;
	if (!o)
		return;
	mem_free(o->keys);
	mem_free(o->entries);
	mem_free(o->q_begin);
	mem_free(o->kv_len);
	mem_free(o->items);
	mem_free(o->blocks);
	mem_free(o);
	c->own = NULL;
}

/* ---- Judging ---- */

struct row_oracle {
	const struct kc_case *c;
	const struct keys *keys;
	int64_t t, head, begin, end;
	double *p;     /* [end - begin] probabilities */
	double *slope; /* [end - begin] of the softcap */
	double *key;   /* [end - begin][D] */
	double *error; /* [end - begin] sum of the sizes of the terms of a score: its error in units of eps */
	double unit;   /* of a query that is integers (SHARES_UNITS) */
	double mean_error, lse;
};

/* Five standard deviations of a sum of n terms, each rounded to the nearest multiple of a unit, whose factors' squares add up to
 * `squares`. */
static double of_rounding(double unit, double squares)
{
	return 5 * unit * sqrt(squares / 12);
}

static int64_t cache_row(const struct row_oracle *r, int64_t position)
{
	const int64_t *d = r->c->shape->dim;
	return r->keys->first_row + (position - r->keys->begin) * d[KV_HEADS] + r->head / (d[HEADS] / d[KV_HEADS]);
}

/* Value i of the key or value in a row of a cache. */
static double cached(const struct row_oracle *r, const struct kc_buf *cache, int64_t row, int64_t i)
{
	const struct kc_buf *scale = cache->type != DTYPE_I8 ? NULL : kc_find(r->c, cache->name[0] == 'k' ? "k_scale" : "v_scale");
	return kc_in(cache, row, i) * (scale ? kc_in(scale, row, 0) : 1);
}

static void oracle_scores(struct row_oracle *r, const struct kc_buf *q, const struct kc_buf *k, const struct kc_buf *sinks)
{
	const int64_t *d = r->c->shape->dim;
	double scale = (double)scale_of(r->c), m = sinks ? kc_in(sinks, 0, r->head) : -INFINITY, l = 0, most = 0;
	for (int64_t i = 0; i < d[D]; i++)
		most = fmax(most, fabs(kc_in(q, r->t, r->head * d[D] + i)));
	r->unit = most / 32639;
	for (int64_t j = r->begin; j < r->end; j++) {
		double dot = 0, size = 0;
		for (int64_t i = 0; i < d[D]; i++) {
			double key = cached(r, k, cache_row(r, j), i), x = kc_in(q, r->t, r->head * d[D] + i) * key;
			r->key[(j - r->begin) * d[D] + i] = key;
			dot += x;
			size += fabs(x);
		}
		double capped = tanh(dot * scale / (double)CAP);
		r->p[j - r->begin] = d[FLAGS] & SOFTCAP ? (double)CAP * capped : dot * scale;
		r->slope[j - r->begin] = d[FLAGS] & SOFTCAP ? 1 - capped * capped : 1;
		r->error[j - r->begin] = size * scale;
		m = fmax(m, r->p[j - r->begin]);
	}
	if (sinks)
		l = exp(kc_in(sinks, 0, r->head) - m);
	for (int64_t j = 0; j < r->end - r->begin; j++)
		l += r->p[j] = exp(r->p[j] - m);
	r->mean_error = 0;
	for (int64_t j = 0; j < r->end - r->begin; j++) {
		r->p[j] /= l;
		r->mean_error += r->p[j] * r->error[j];
	}
	r->lse = l > 0 ? m + log(l) : -INFINITY;
}

/* What an integer query makes dimension i of the result (-1: the lse) err by: it is another query for all keys alike, so that the error
 * is, to first order, that of the query times the sum of p * slope * (value - result) * key. */
static double query_units(const struct row_oracle *r, const struct kc_buf *v, int64_t i, double result)
{
	const int64_t *d = r->c->shape->dim;
	double squares = 0, by[ATTENTION_MAX_HEAD_DIM] = { 0 };
	if (kv_type(r->c->shape) != DTYPE_I8)
		return 0;
	CHECK(d[D] <= ATTENTION_MAX_HEAD_DIM);
	for (int64_t j = r->begin; j < r->end; j++) {
		double part = r->p[j - r->begin] * r->slope[j - r->begin] * (i < 0 ? 1 : cached(r, v, cache_row(r, j), i) - result);
		for (int64_t n = 0; n < d[D]; n++)
			by[n] += part * r->key[(j - r->begin) * d[D] + n];
	}
	for (int64_t n = 0; n < d[D]; n++)
		squares += by[n] * by[n];
	return of_rounding(r->unit, squares) * (double)scale_of(r->c);
}

/* What integer weights err by in dimension i, with a unit for each tile. */
static double weights_units(const struct row_oracle *r, const struct kc_buf *v, int64_t i)
{
	const struct kc_buf *scale = kc_find(r->c, "v_scale");
	double sum = 0;
	for (int64_t j = r->begin, end; scale && j < r->end; j = end) {
		double most = 0, squares = 0;
		end = j / ATTENTION_TILE * ATTENTION_TILE + ATTENTION_TILE;
		end = end < r->end ? end : r->end;
		for (int64_t k = j; k < end; k++) {
			double value = kc_in(v, cache_row(r, k), i);
			most = fmax(most, r->p[k - r->begin] * kc_in(scale, cache_row(r, k), 0));
			squares += value * value;
		}
		sum += of_rounding(most / 65535, squares);
	}
	return sum;
}

/* A relative error e of a score's terms changes the weight p by about p * e, and all weights by the mean of that. */
static void oracle_row(struct row_oracle *r, const struct kc_buf *v, struct kc_buf *out, struct kc_buf *lse)
{
	int64_t v_d = r->c->shape->dim[V_D];
	double n_keys = (double)(r->end - r->begin);
	for (int64_t i = 0; i < v_d; i++) {
		double value = 0, scale = 0, flush = 0;
		for (int64_t j = r->begin; j < r->end; j++) {
			double of_key = cached(r, v, cache_row(r, j), i), x = r->p[j - r->begin] * of_key;
			value += x;
			/* The value, the weight (times a scale), and the partial sum may each have counted as zero below 2^-126. */
			flush += (v->type == DTYPE_I8 ? 129 : 2) + fabs(of_key);
			scale += fabs(x) * (1 + r->error[j - r->begin] + r->mean_error);
		}
		kc_expect(out, r->t, r->head * v_d + i, value, scale, (n_keys + 4) * 0x1p-149);
		kc_expect_flush(out, r->t, r->head * v_d + i, flush * 0x1p-126);
		kc_expect_units(out, r->t, r->head * v_d + i, weights_units(r, v, i) + query_units(r, v, i, value));
	}
	kc_expect(lse, r->t, r->head, r->lse, isinf(r->lse) ? 0 : 1 + fabs(r->lse) + r->mean_error, 0);
	kc_expect_units(lse, r->t, r->head, query_units(r, v, -1, 0));
}

static void oracle(struct kc_case *c)
{
	const int64_t *d = c->shape->dim;
	struct own *o = c->own;
	double *p = take(d[KV_LEN] + 1, sizeof *p), *error = take(d[KV_LEN] + 1, sizeof *error);
	double *slope = take(d[KV_LEN] + 1, sizeof *slope), *key = take((d[KV_LEN] + 1) * (d[D] + 1), sizeof *key);
	for (int64_t t = 0; t < c->t; t++) {
		struct row_oracle r = { .c = c, .t = t, .p = p, .error = error, .slope = slope, .key = key };
		attention_visible(position_of(c, t), d[WINDOW], &r.begin, &r.end);
		r.keys = &o->keys[find_keys(o, seq_of(c, t))];
		for (r.head = 0; r.head < d[HEADS]; r.head++) {
			oracle_scores(&r, kc_find(c, "q"), kc_find(c, "k_cache"), kc_find(c, "sinks"));
			oracle_row(&r, kc_find(c, "v_cache"), kc_find(c, "out"), kc_find(c, "lse"));
		}
	}
	mem_free(p);
	mem_free(error);
	mem_free(slope);
	mem_free(key);
}

/* Tensor cores and bf16 dot products take each weight rounded to the values' type, half an eps of which it loses at most:
 * once in the sum of the values, and once in the sum of the weights, which is all that the lse has. */
static double rounded_weights(const struct kc_case *c, const struct kc_buf *b)
{
	const char *row = c->op->set->rows[c->row].name;
	if (strcmp(row, "sm80") != 0 && strcmp(row, "avx512bf16") != 0)
		return 0;
	double half_eps = kv_type(c->shape) == DTYPE_F16 ? 0x1p-12 : 0x1p-9;
	return (strcmp(b->name, "lse") == 0 ? 1 : 2) * half_eps / 0x1p-23;
}

/* A chain of n roundings of half a unit or less goes astray by 0.29 * sqrt(n) units (standard deviation). Three and a
 * half of these for the two chains there are: a dot product's D, and a piece's keys, up to 1024; and 3 for the rest. */
static double budget(const struct kc_case *c, const struct kc_buf *b)
{
	double n_keys = (double)(c->shape->dim[KV_LEN] < 1024 ? c->shape->dim[KV_LEN] : 1024);
	return 3 + sqrt((double)c->shape->dim[D]) + sqrt(n_keys) + rounded_weights(c, b);
}

/* ---- Running ---- */

static int64_t extent(const struct kc_case *c)
{
	return ((const struct own *)c->own)->n_blocks * GRAIN;
}

static void call_unit(const struct kc_case *c, const struct attention_args *a, int row, int64_t unit)
{
	const struct own *o = c->own;
	const struct block *b = &o->blocks[unit];
	struct attention_item it = o->items[b->first_item];
	int64_t slot = c->shape->bench ? unit : 0;
	float *scratch = (float *)kc_ptr(c, "scratch") + slot * o->scratch_floats;
	if (b->n_items == 1) {
		attention_kernel(row)->run(a, &it, scratch);
		return;
	}
	int32_t first = it.piece_begin, last = o->items[b->first_item + b->n_items - 1].piece_end;
	int64_t floats = attention_item_rows(&it, a->n_heads / a->n_kv_heads) * attention_state_floats(a->v_head_dim);
	float *states = (float *)kc_ptr(c, "states") + b->states;
	for (int64_t i = b->n_items; i-- > 0;) { /* the last first: workers may finish in any order */
		it.piece_begin = o->items[b->first_item + i].piece_begin;
		it.piece_end = o->items[b->first_item + i].piece_end;
		it.states = states + (it.piece_begin - first) * floats;
		attention_kernel(row)->run(a, &it, scratch);
	}
	it.piece_begin = first;
	it.piece_end = last;
	it.states = states;
	attention_kernel(row)->merge(a, &it, scratch);
}

static struct attention_args args_of(const struct kc_case *c, const int32_t *q_begin, const int32_t *kv_len)
{
	const int64_t *d = c->shape->dim;
	const struct own *o = c->own;
	return (struct attention_args){
		.q = kc_ptr(c, "q"),
		.k_cache = kc_ptr(c, "k_cache"),
		.v_cache = kc_ptr(c, "v_cache"),
		.k_scale = kc_ptr(c, "k_scale"),
		.v_scale = kc_ptr(c, "v_scale"),
		.page_table = kc_ptr(c, "page_table"),
		.q_begin = q_begin,
		.kv_len = kv_len,
		.sinks = kc_ptr(c, "sinks"),
		.out = kc_ptr(c, "out"),
		.lse = kc_ptr(c, "lse"),
		.n_seqs = o->n_entries,
		.table_stride = o->table_stride,
		.q_stride = kc_find(c, "q")->stride,
		.out_stride = kc_find(c, "out")->stride,
		.n_heads = d[HEADS],
		.n_kv_heads = d[KV_HEADS],
		.head_dim = d[D],
		.v_head_dim = d[V_D],
		.page_size = o->page_size,
		.window = d[WINDOW],
		.scale = scale_of(c),
		.softcap = d[FLAGS] & SOFTCAP ? CAP : 0,
		.q_type = q_type(c->shape),
		.kv_type = kv_type(c->shape),
		.out_type = out_type(c->shape),
	};
}

static void call(const struct kc_case *c, int row, int64_t begin, int64_t end)
{
	const struct own *o = c->own;
	struct attention_args a = args_of(c, o->q_begin, o->kv_len);
	for (int64_t unit = (begin + GRAIN - 1) / GRAIN; unit * GRAIN < end; unit++)
		call_unit(c, &a, row, unit);
}

/* ---- On a GPU ---- */

struct on_gpu {
	struct attention_cuda *attention;
	bool wide;
	void *list;
	int32_t *q_begin, *kv_len;
};

static int upload(struct gpu *g, void **out, const void *from, size_t bytes)
{
	TRY(gpu_alloc(g, out, bytes, "kcheck"));
	gpu_upload(g, *out, from, bytes);
	return gpu_status(g);
}

static void gpu_done(struct kc_case *c, struct gpu *g)
{
	struct on_gpu *x = c->gpu_own;
	if (!x)
		return;
	gpu_free(g, x->list);
	gpu_free(g, x->q_begin);
	gpu_free(g, x->kv_len);
	attention_cuda_destroy(g, &x->attention);
	mem_free(x);
	c->gpu_own = NULL;
}

/* A way's page size may be one that the row does not serve: VB_EUNSUPPORTED. */
static int gpu_find(struct kc_case *c, struct gpu *g, int row, const void *request_of_way_0)
{
	const struct own *o = c->own;
	struct attention_request r = *(const struct attention_request *)request_of_way_0;
	struct attention_limits limits = { o->n_entries ? o->n_entries : 1, c->t ? c->t : 1,
					   o->table_stride ? o->table_stride : 1, 1 };
	struct on_gpu *x = take(1, sizeof *x);
	void *list = NULL, *q_begin = NULL, *kv_len = NULL;
	int rc;
	c->gpu_own = x;
	r.page_size = o->page_size;
	TRY(attention_cuda_create(g, row, &r, &limits, &x->attention));
	size_t bytes = attention_cuda_plan_bytes(x->attention);
	void *host = mem_pages(bytes + 1);
	CHECK(host);
	x->wide = attention_cuda_wide(o->n_entries, o->q_begin);
	rc = attention_cuda_plan(x->attention, x->wide, host, o->n_entries, o->q_begin, o->kv_len);
	if (rc == VB_OK)
		rc = upload(g, &list, host, bytes);
	mem_free_pages(host, bytes + 1);
	x->list = list;
	TRY(rc);
	TRY(upload(g, &q_begin, o->q_begin, (size_t)(o->n_entries + 1) * sizeof *o->q_begin));
	x->q_begin = q_begin;
	TRY(upload(g, &kv_len, o->kv_len, (size_t)o->n_entries * sizeof *o->kv_len));
	x->kv_len = kv_len;
	return VB_OK;
}

static void gpu_run(const struct kc_case *c, struct gpu *g)
{
	const struct on_gpu *x = c->gpu_own;
	struct attention_args a = args_of(c, x->q_begin, x->kv_len);
	attention_cuda_run(g, x->attention, x->wide, x->list, &a);
}

static struct kc_cost cost(const struct kc_case *c)
{
	const int64_t *d = c->shape->dim;
	const struct own *o = c->own;
	double keys = 0, pairs = 0;
	for (int64_t i = 0; i < o->n_keys; i++)
		keys += (double)(o->keys[i].end - o->keys[i].begin);
	for (int64_t t = 0; t < c->t; t++) {
		int64_t begin, end;
		attention_visible(position_of(c, t), d[WINDOW], &begin, &end);
		pairs += (double)(end - begin);
	}
	double width = (double)(d[D] + d[V_D]);
	double scales = kv_type(c->shape) == DTYPE_I8 ? 2 * sizeof(float) : 0;
	return (struct kc_cost){ .bytes = keys * (double)d[KV_HEADS] * (width * (double)dtype_bytes(kv_type(c->shape)) + scales),
				 .flops = 2 * pairs * (double)d[HEADS] * width };
}

#define BF16 ALL(DTYPE_BF16)
#define F16 ALL(DTYPE_F16)
#define F32 ALL(DTYPE_F32)
#define INT8 TYPES3(DTYPE_BF16, DTYPE_I8, DTYPE_BF16)
#define BF16_TO_F32 TYPES3(DTYPE_BF16, DTYPE_BF16, DTYPE_F32)

static const struct kc_shape shapes[] = {
	/* heads, KV heads, D, Dv, page, window, kv_len, q_len, types, flags */
	{ .t = 0, .dim = { 1, 1, 8, 8, 1, 0, 0, 1, F32 } },
	{ .t = 1, .dim = { 1, 1, 8, 8, 1, 0, 1, 1, F32 } },
	/* Around a page, a vector, a tile, the borders of pieces; decode. */
	{ .t = 4, .dim = { 4, 1, 64, 64, 16, 0, 18, 1, BF16 } },
	{ .t = 4, .dim = { 9, 3, 64, 64, 64, 0, 66, 1, BF16 } },
	{ .t = 5, .dim = { 2, 1, 128, 128, 16, 0, 258, 1, BF16_TO_F32 } },
	{ .t = 4, .dim = { 2, 1, 32, 32, 128, 0, 4098, 1, BF16 }, .one_class = true },
	{ .t = 3, .dim = { 3, 1, 32, 32, 16, 0, 5122, 1, F32 }, .one_class = true },
	/* The query tokens of speculation: K + 1. */
	{ .t = 10, .dim = { 14, 2, 64, 64, 16, 0, 70, 5, BF16 } },
	{ .t = 4, .dim = { 10, 2, 64, 64, 16, 0, 150, 2, BF16 } },
	{ .t = 4, .dim = { 6, 1, 128, 128, 16, 0, 130, 1, BF16 } },
	{ .t = 4, .dim = { 16, 2, 72, 64, 64, 0, 140, 2, BF16 } },
	{ .t = 8, .dim = { 8, 1, 80, 80, 2, 0, 131, 4, F16 } },
	{ .t = 10, .dim = { 1, 1, 32, 32, 64, 0, 5123, 5, BF16 }, .one_class = true },
	{ .t = 4, .dim = { 2, 2, 96, 96, 64, 0, 67, 2, BF16 } },
	/* Windows: one less, exactly, one and two more keys than it. */
	{ .t = 4, .dim = { 2, 2, 80, 80, 2, 20, 22, 1, F32 } },
	{ .t = 12, .dim = { 8, 4, 64, 64, 16, 64, 67, 3, BF16, SOFTCAP } },
	{ .t = 6, .dim = { 4, 2, 256, 256, 16, 100, 330, 3, BF16, SOFTCAP }, .one_class = true },
	{ .t = 3, .dim = { 8, 1, 64, 64, 16, 128, 600, 1, BF16, SINKS } },
	{ .t = 2, .dim = { 2, 1, 64, 64, 16, 1, 300, 2, F32 } },
	/* Chunks of prompts. */
	{ .t = 130, .dim = { 4, 2, 32, 32, 16, 0, 130, 130, BF16 } },
	{ .t = 66, .dim = { 3, 1, 112, 64, 64, 0, 330, 66, BF16, SINKS }, .one_class = true },
	{ .t = 90, .dim = { 2, 2, 64, 80, 16, 40, 300, 90, F16 }, .one_class = true },
	{ .t = 40, .dim = { 4, 1, 128, 128, 16, 0, 300, 40, BF16 } },
	{ .t = 70, .dim = { 8, 2, 120, 120, 64, 0, 600, 70, F16 }, .one_class = true },
	/* No keys, and more query tokens than keys. */
	{ .t = 2, .dim = { 2, 1, 16, 24, 16, 0, 0, 1, F32, SINKS } },
	{ .t = 8, .dim = { 2, 1, 16, 24, 16, 0, 2, 4, F32 } },
	/* Many heads over one; the largest; one that only the reference serves. */
	{ .t = 3, .dim = { 71, 1, 16, 16, 16, 0, 100, 1, BF16 } },
	{ .t = 2, .dim = { 2, 1, 512, 512, 16, 0, 70, 1, BF16 }, .one_class = true },
	{ .t = 2, .dim = { 2, 1, 24, 72, 4, 0, 70, 1, TYPES3(DTYPE_F32, DTYPE_F32, DTYPE_F16) } },
	{ .t = 2, .dim = { 2, 1, 12, 20, 4, 0, 70, 1, BF16 } },
	/* Caches of a type of their own. */
	{ .t = 4, .dim = { 4, 1, 64, 64, 16, 0, 66, 1, INT8 }, .cpu = true },
	{ .t = 10, .dim = { 14, 2, 64, 64, 16, 0, 70, 5, INT8, SOFTCAP }, .cpu = true },
	{ .t = 4, .dim = { 16, 2, 64, 64, 16, 0, 140, 1, INT8 }, .cpu = true },
	{ .t = 4, .dim = { 5, 1, 72, 40, 16, 0, 140, 1, INT8 }, .cpu = true },
	{ .t = 66, .dim = { 3, 1, 40, 72, 64, 0, 330, 66, INT8, SINKS }, .one_class = true, .cpu = true },
	{ .t = 40, .dim = { 4, 4, 128, 96, 16, 20, 300, 40, INT8 }, .one_class = true, .cpu = true },
	{ .t = 5, .dim = { 2, 2, 24, 16, 1, 0, 258, 1, TYPES3(DTYPE_F32, DTYPE_I8, DTYPE_F32) }, .cpu = true },
	{ .t = 4, .dim = { 8, 2, 80, 80, 16, 0, 67, 2, TYPES3(DTYPE_F16, DTYPE_I8, DTYPE_F16) }, .cpu = true },
	{ .t = 2, .dim = { 2, 1, 12, 20, 4, 0, 70, 1, INT8 }, .cpu = true },
	{ .t = 3, .dim = { 3, 1, 32, 32, 16, 0, 4098, 1, INT8 }, .one_class = true, .cpu = true },
	{ .t = 4, .dim = { 4, 1, 64, 64, 16, 0, 1300, 1, TYPES3(DTYPE_F32, DTYPE_I8, DTYPE_F32), SPIKES }, .one_class = true, .cpu = true },
	{ .t = 20, .dim = { 2, 1, 32, 32, 64, 0, 600, 20, TYPES3(DTYPE_F32, DTYPE_I8, DTYPE_F32), SPIKES }, .cpu = true },
	{ .t = 4, .dim = { 5, 1, 8, 8, 16, 0, 70, 2, INT8 }, .cpu = true },
	{ .t = 6, .dim = { 7, 1, 64, 128, 16, 64, 67, 3, INT8 }, .cpu = true },
	{ .t = 2, .dim = { 2, 1, 512, 512, 16, 0, 70, 1, INT8 }, .cpu = true },
	{ .t = 70, .dim = { 8, 2, 64, 64, 64, 0, 600, 70, INT8, SOFTCAP }, .one_class = true, .cpu = true },
	{ .t = 5, .dim = { 4, 2, 64, 64, 16, 0, 130, 5, TYPES3(DTYPE_F32, DTYPE_BF16, DTYPE_F32) }, .cpu = true },
	{ .t = 5, .dim = { 4, 2, 64, 64, 16, 0, 130, 1, TYPES3(DTYPE_BF16, DTYPE_F16, DTYPE_BF16) }, .cpu = true },
	{ .t = 5, .dim = { 4, 2, 64, 64, 16, 0, 70, 1, TYPES3(DTYPE_BF16, DTYPE_F32, DTYPE_BF16) }, .cpu = true },
	/* Outside the contract. */
	{ .t = 1, .dim = { 3, 2, 64, 64, 16, 0, 9, 1, F32 }, .unsupported = true },
	{ .t = 1, .dim = { 1, 1, 64, 64, 12, 0, 9, 1, F32 }, .unsupported = true },
	{ .t = 1, .dim = { 1, 1, 0, 64, 16, 0, 9, 1, F32 }, .unsupported = true },
	{ .t = 1, .dim = { 1, 1, 64, 1024, 16, 0, 9, 1, F32 }, .unsupported = true },
	{ .t = 1, .dim = { 1, 1, 64, 64, 16, -1, 9, 1, F32 }, .unsupported = true },
	{ .t = 1, .dim = { 1, 1, 64, 64, 16, 0, 9, 1, TYPES3(DTYPE_I8, DTYPE_BF16, DTYPE_F32) }, .unsupported = true },
	{ .t = 1, .dim = { 1, 1, 64, 64, 16, 0, 9, 1, ALL(DTYPE_I8) }, .unsupported = true },
	{ .t = 1, .dim = { 32, 8, 64, 64, 64, 0, 4096, 1, BF16 }, .bench = true },
	{ .t = 8, .dim = { 32, 8, 64, 64, 64, 0, 4096, 1, BF16 }, .bench = true },
	{ .t = 8, .dim = { 32, 8, 64, 64, 64, 0, 4096, 1, INT8 }, .bench = true },
	{ .t = 1, .dim = { 32, 8, 128, 128, 64, 0, 4096, 1, BF16 }, .bench = true },
	{ .t = 8, .dim = { 32, 8, 128, 128, 64, 0, 4096, 1, BF16 }, .bench = true },
	{ .t = 2048, .dim = { 32, 8, 64, 64, 64, 0, 2048, 2048, BF16 }, .bench = true },
	{ .t = 2048, .dim = { 32, 8, 128, 128, 64, 0, 2048, 2048, BF16 }, .bench = true },
	{ .t = 2048, .dim = { 32, 8, 64, 64, 64, 0, 2048, 2048, INT8 }, .bench = true },
	{ .t = 1, .dim = { 32, 8, 128, 128, 64, 0, 4096, 1, BF16 }, .bench = true, .gpu = true },
	{ .t = 64, .dim = { 32, 8, 128, 128, 64, 0, 1024, 1, BF16 }, .bench = true, .gpu = true },
	{ .t = 4096, .dim = { 32, 8, 128, 128, 64, 0, 4096, 4096, BF16 }, .bench = true, .gpu = true },
};

const struct kc_op kc_attention_op = {
	.name = "attention",
	.set = &attention_set,
	.shapes = shapes,
	.n_shapes = KC_COUNT(shapes),
	.n_ways = N_WAYS,
	.describe = describe,
	.request = request,
	.build = build,
	.fini = fini,
	.oracle = oracle,
	.budget = budget,
	.extent = extent,
	.call = call,
	.cost = cost,
	.gpu_set = &attention_cuda_set,
	.gpu_find = gpu_find,
	.gpu_run = gpu_run,
	.gpu_done = gpu_done,
	.gpu_align = 16,
	.gpu_stride = 8,
};
