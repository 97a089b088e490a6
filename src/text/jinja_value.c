#include "jinja.h"

#include "base/mem.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SMALL_DICT 8

const char *jv_type_name(struct value v)
{
	switch ((enum jtype)v.type) {
	case J_MISSING:
	case J_UNDEFINED:
		return "Undefined";
	case J_NONE:
		return "NoneType";
	case J_BOOL:
		return "bool";
	case J_INT:
		return "int";
	case J_FLOAT:
		return "float";
	case J_STRING:
		return v.safe ? "Markup" : "str";
	case J_LIST:
		return "list";
	case J_TUPLE:
		return "tuple";
	case J_DICT:
		return "dict";
	case J_VIEW:
		return v.off == VIEW_KEYS ? "dict_keys" : v.off == VIEW_VALUES ? "dict_values" : "dict_items";
	case J_RANGE:
		return "range";
	case J_ITER:
		return v.list->name;
	case J_NAMESPACE:
		return "Namespace";
	case J_MACRO:
		return "Macro";
	case J_LOOP:
		return "LoopContext";
	case J_JOINER:
		return "Joiner";
	case J_CYCLER:
		return "Cycler";
	case J_FUNCTION:
	case J_METHOD:
		return "function";
	}
	return "object";
}

struct value jv_undefined(const char *hint)
{
	return (struct value){ .type = J_UNDEFINED, .hint = hint };
}

struct value jv_undefinedf(struct render *r, const char *fmt, ...)
{
	char text[160];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
	char *copy = jinja_alloc(&r->arena, len + 1);
	if (copy)
		memcpy(copy, text, len);
	return jv_undefined(copy ? copy : "value is undefined");
}

struct value jv_no_attribute(struct render *r, struct value of, struct value name)
{
	if (name.text->cap) /* its bytes may move */
		return jv_undefinedf(r, "'%s object' has no attribute '%.*s'", jv_type_name(of),
				     (int)(name.len < 80 ? name.len : 80), js_data(name));
	return (struct value){ .type = J_UNDEFINED, .off = HINT_ATTRIBUTE + of.type, .len = name.len,
			       .hint = js_data(name) };
}

int jv_use_undefined(struct render *r, struct value v)
{
	int n = (int)(v.len < 80 ? v.len : 80);
	if (v.type == J_UNDEFINED && v.off == HINT_NAME)
		JFAIL(r, "'%.*s' is undefined", n, v.hint);
	if (v.type == J_UNDEFINED && v.off >= HINT_ATTRIBUTE) {
		struct value of = { .type = (uint8_t)(v.off - HINT_ATTRIBUTE) };
		JFAIL(r, "'%s object' has no attribute '%.*s'",
		      of.type == J_ITER ? "generator" : jv_type_name(of), n, v.hint);
	}
	JFAIL(r, "%s", v.type == J_UNDEFINED && v.hint ? v.hint : "value is undefined");
}

bool jv_truth(struct value v)
{
	switch ((enum jtype)v.type) {
	case J_MISSING:
	case J_UNDEFINED:
	case J_NONE:
		return false;
	case J_BOOL:
		return v.b;
	case J_INT:
		return v.i != 0;
	case J_FLOAT:
		return v.f != 0;
	case J_STRING:
		return v.len != 0;
	case J_LIST:
	case J_TUPLE:
		return v.list->n != 0;
	case J_DICT:
	case J_VIEW:
		return v.dict->n != 0;
	case J_RANGE:
		return v.range->n != 0;
	default:
		return true;
	}
}

/* ---- lists ---- */

int jv_new_list(struct render *r, enum jtype type, size_t capacity, struct value *out)
{
	struct jlist *l;
	JALLOC(r, l, sizeof *l);
	if (capacity) {
		TRY(jinja_charge(r, capacity / 8));
		JALLOC(r, l->v, capacity * sizeof *l->v);
		l->cap = capacity;
	}
	l->writable = type == J_LIST;
	l->name = "generator";
	*out = (struct value){ .type = (uint8_t)type, .list = l };
	return VB_OK;
}

int jv_push(struct render *r, struct jlist *l, struct value v)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 4;
		struct value *grown = jinja_grow(&r->arena, l->v, l->cap * sizeof *l->v, cap * sizeof *l->v);
		if (!grown)
			return jinja_no_memory(r);
		l->v = grown;
		l->cap = cap;
	}
	l->v[l->n++] = v;
	return VB_OK;
}

int jv_pair(struct render *r, struct value a, struct value b, struct value *out)
{
	TRY(jv_new_list(r, J_TUPLE, 2, out));
	out->list->v[0] = a;
	out->list->v[1] = b;
	out->list->n = 2;
	return VB_OK;
}

/* ---- dictionaries ---- */

static uint64_t mix(uint64_t h)
{
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdu;
	h ^= h >> 33;
	h *= 0xc4ceb9fe1a85ec53u;
	return h ^ (h >> 33);
}

static uint64_t hash_bytes(const char *s, size_t n)
{
	uint64_t h = 0xcbf29ce484222325u;
	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)s[i]) * 0x100000001b3u;
	return mix(h ^ n);
}

/* Equal values hash alike: 1, 1.0 and true are one key. */
static int hash_of(struct render *r, struct value v, uint64_t *out)
{
	switch ((enum jtype)v.type) {
	case J_NONE:
		*out = 11;
		return VB_OK;
	case J_UNDEFINED:
		*out = 12;
		return VB_OK;
	case J_BOOL:
	case J_INT:
		*out = mix((uint64_t)jv_as_int(v));
		return VB_OK;
	case J_FLOAT:
		if (v.f == rint(v.f) && fabs(v.f) < 0x1p63) {
			*out = mix((uint64_t)(int64_t)v.f);
		} else {
			memcpy(out, &v.f, sizeof *out);
			*out = mix(*out);
		}
		return VB_OK;
	case J_STRING:
		TRY(jinja_charge(r, v.len / 64));
		*out = hash_bytes(js_data(v), v.len);
		return VB_OK;
	case J_TUPLE: {
		uint64_t h = 13, part;
		if (++r->depth > JINJA_MAX_DEPTH)
			JLIMIT(r, "values nested too deep");
		for (size_t i = 0; i < v.list->n; i++) {
			TRY(jinja_charge(r, 1));
			TRY(hash_of(r, v.list->v[i], &part));
			h = mix(h * 31 + part);
		}
		r->depth--;
		*out = h;
		return VB_OK;
	}
	case J_LIST:
	case J_DICT:
	case J_NAMESPACE:
		JFAIL(r, "unhashable type: '%s'", jv_type_name(v));
	default:
		*out = mix((uint64_t)(uintptr_t)v.list);
		return VB_OK;
	}
}

int jv_new_dict(struct render *r, enum jtype type, struct value *out)
{
	struct jdict *d;
	JALLOC(r, d, sizeof *d);
	*out = (struct value){ .type = (uint8_t)type, .dict = d };
	return VB_OK;
}

static int index_dict(struct render *r, struct jdict *d)
{
	size_t slots = d->cap * 2;
	JALLOC(r, d->slot, slots * sizeof *d->slot);
	d->n_slots = slots; /* a power of two, as cap is */
	for (size_t i = 0; i < d->n; i++) {
		size_t s = d->e[i].hash & (slots - 1);
		while (d->slot[s])
			s = (s + 1) & (slots - 1);
		d->slot[s] = (uint32_t)i + 1;
	}
	return VB_OK;
}

/* *at is the entry's index, or d->n. */
static int find(struct render *r, const struct jdict *d, struct value key, uint64_t hash, size_t *at)
{
	bool same;
	if (!d->slot) {
		for (size_t i = 0; i < d->n; i++) {
			if (d->e[i].hash != hash)
				continue;
			TRY(jv_equal(r, d->e[i].key, key, &same));
			if (same) {
				*at = i;
				return VB_OK;
			}
		}
		*at = d->n;
		return VB_OK;
	}
	for (size_t s = hash & (d->n_slots - 1); d->slot[s]; s = (s + 1) & (d->n_slots - 1)) {
		const struct jentry *e = &d->e[d->slot[s] - 1];
		TRY(jinja_charge(r, 1));
		if (e->hash != hash)
			continue;
		TRY(jv_equal(r, e->key, key, &same));
		if (same) {
			*at = d->slot[s] - 1;
			return VB_OK;
		}
	}
	*at = d->n;
	return VB_OK;
}

int jd_set(struct render *r, struct jdict *d, struct value key, struct value v)
{
	uint64_t hash;
	size_t at;
	TRY(hash_of(r, key, &hash));
	TRY(find(r, d, key, hash, &at));
	if (at < d->n) {
		d->e[at].value = v;
		return VB_OK;
	}
	if (d->n == d->cap) {
		size_t cap = d->cap ? d->cap * 2 : 4;
		struct jentry *e = jinja_grow(&r->arena, d->e, d->cap * sizeof *e, cap * sizeof *e);
		if (!e)
			return jinja_no_memory(r);
		d->e = e;
		d->cap = cap;
		if (cap > SMALL_DICT)
			TRY(index_dict(r, d));
	}
	d->e[d->n++] = (struct jentry){ key, v, hash };
	if (d->slot) {
		size_t s = hash & (d->n_slots - 1);
		while (d->slot[s])
			s = (s + 1) & (d->n_slots - 1);
		d->slot[s] = (uint32_t)d->n;
	}
	return VB_OK;
}

int jd_get(struct render *r, const struct jdict *d, struct value key, struct value *out)
{
	uint64_t hash;
	size_t at;
	TRY(hash_of(r, key, &hash));
	TRY(find(r, d, key, hash, &at));
	*out = at < d->n ? d->e[at].value : (struct value){ .type = J_MISSING };
	return VB_OK;
}

void jd_get_str(const struct jdict *d, const char *key, size_t n, struct value *out)
{
	*out = (struct value){ .type = J_MISSING };
	uint64_t hash = hash_bytes(key, n);
	size_t s = d->slot ? hash & (d->n_slots - 1) : 0;
	for (size_t i = 0; d->slot ? d->slot[s] != 0 : i < d->n; i++) {
		const struct jentry *e = &d->e[d->slot ? d->slot[s] - 1 : i];
		if (e->hash == hash && e->key.type == J_STRING && e->key.len == n &&
		    memcmp(js_data(e->key), key, n) == 0) {
			*out = e->value;
			return;
		}
		if (d->slot)
			s = (s + 1) & (d->n_slots - 1);
	}
}

/* ---- equality and order ---- */

static int equal_lists(struct render *r, const struct jlist *a, const struct jlist *b, bool *out)
{
	*out = a->n == b->n;
	for (size_t i = 0; *out && i < a->n && i < b->n; i++)
		TRY(jv_equal(r, a->v[i], b->v[i], out));
	return VB_OK;
}

static int equal_dicts(struct render *r, const struct jdict *a, const struct jdict *b, bool *out)
{
	*out = a->n == b->n;
	for (size_t i = 0; *out && i < a->n; i++) {
		struct value other;
		TRY(jd_get(r, b, a->e[i].key, &other));
		if (other.type == J_MISSING)
			*out = false;
		else
			TRY(jv_equal(r, a->e[i].value, other, out));
	}
	return VB_OK;
}

static int compare_numbers(struct value a, struct value b)
{
	if (jv_is_int(a) && jv_is_int(b))
		return (jv_as_int(a) > jv_as_int(b)) - (jv_as_int(a) < jv_as_int(b));
	/* 64 bits of mantissa: exact for either side. NaN is dealt with by the callers. */
	long double x = a.type == J_FLOAT ? (long double)a.f : (long double)jv_as_int(a);
	long double y = b.type == J_FLOAT ? (long double)b.f : (long double)jv_as_int(b);
	return (x > y) - (x < y);
}

static bool is_nan(struct value v)
{
	return v.type == J_FLOAT && isnan(v.f);
}

int jv_equal(struct render *r, struct value a, struct value b, bool *out)
{
	TRY(jinja_charge(r, 1));
	if (jv_is_number(a) && jv_is_number(b)) {
		*out = !is_nan(a) && !is_nan(b) && compare_numbers(a, b) == 0;
		return VB_OK;
	}
	if (a.type == J_STRING && b.type == J_STRING) {
		*out = a.len == b.len && memcmp(js_data(a), js_data(b), a.len) == 0;
		return jinja_charge(r, a.len / 64);
	}
	if (a.type != b.type) {
		*out = false;
		return VB_OK;
	}
	if (++r->depth > JINJA_MAX_DEPTH)
		JLIMIT(r, "values nested too deep");
	switch ((enum jtype)a.type) {
	case J_NONE:
	case J_UNDEFINED:
		*out = true;
		break;
	case J_LIST:
	case J_TUPLE:
		TRY(equal_lists(r, a.list, b.list, out));
		break;
	case J_DICT:
		TRY(equal_dicts(r, a.dict, b.dict, out));
		break;
	case J_RANGE:
		*out = a.range->n == b.range->n &&
		       (a.range->n == 0 || (a.range->start == b.range->start &&
					    (a.range->n == 1 || a.range->step == b.range->step)));
		break;
	default:
		*out = a.list == b.list;
	}
	r->depth--;
	return VB_OK;
}

static const char *op_text(enum token_kind op)
{
	return op == T_LT ? "<" : op == T_LE ? "<=" : op == T_GT ? ">" : ">=";
}

static bool holds(int c, enum token_kind op)
{
	return op == T_LT ? c < 0 : op == T_LE ? c <= 0 : op == T_GT ? c > 0 : c >= 0;
}

int jv_order(struct render *r, struct value a, struct value b, enum token_kind op, bool *out)
{
	TRY(jinja_charge(r, 1));
	if (jv_is_number(a) && jv_is_number(b)) {
		*out = !is_nan(a) && !is_nan(b) && holds(compare_numbers(a, b), op);
		return VB_OK;
	}
	if (a.type == J_STRING && b.type == J_STRING) {
		size_t n = a.len < b.len ? a.len : b.len;
		TRY(jinja_charge(r, n / 64));
		int c = memcmp(js_data(a), js_data(b), n);
		*out = holds(c ? c : (a.len > b.len) - (a.len < b.len), op);
		return VB_OK;
	}
	if (a.type == J_UNDEFINED)
		return jv_use_undefined(r, a);
	if (b.type == J_UNDEFINED)
		return jv_use_undefined(r, b);
	if (a.type != b.type || (a.type != J_LIST && a.type != J_TUPLE))
		JFAIL(r, "'%s' is not supported between '%s' and '%s'", op_text(op), jv_type_name(a),
		      jv_type_name(b));
	if (++r->depth > JINJA_MAX_DEPTH)
		JLIMIT(r, "values nested too deep");
	for (size_t i = 0; i < a.list->n && i < b.list->n; i++) {
		bool same;
		TRY(jv_equal(r, a.list->v[i], b.list->v[i], &same));
		if (!same) {
			TRY(jv_order(r, a.list->v[i], b.list->v[i], op, out));
			r->depth--;
			return VB_OK;
		}
	}
	r->depth--;
	*out = holds((a.list->n > b.list->n) - (a.list->n < b.list->n), op);
	return VB_OK;
}

int jv_contains(struct render *r, struct value item, struct value in, bool *out)
{
	if (in.type == J_STRING) {
		if (item.type == J_UNDEFINED)
			return jv_use_undefined(r, item);
		if (item.type != J_STRING)
			JFAIL(r, "'in <string>' requires string as left operand, not %s", jv_type_name(item));
		/* The worst case of the search is quadratic; it is paid for in full. */
		TRY(jinja_charge(r, in.len / 64 + (size_t)in.len / 64 * (item.len / 64)));
		*out = js_find(in, item, 0) >= 0;
		return VB_OK;
	}
	if (in.type == J_DICT || (in.type == J_VIEW && in.off == VIEW_KEYS)) {
		struct value found;
		TRY(jd_get(r, in.dict, item, &found));
		*out = found.type != J_MISSING;
		return VB_OK;
	}
	if (!jv_iterable(in))
		JFAIL(r, "argument of type '%s' is not iterable", jv_type_name(in));
	struct iter it;
	TRY(jv_iter(r, in, &it));
	*out = false;
	for (;;) {
		struct value v;
		TRY(jv_next(r, &it, &v));
		if (v.type == J_MISSING)
			return VB_OK;
		TRY(jv_equal(r, v, item, out));
		if (*out)
			return VB_OK;
	}
}

/* ---- sequences ---- */

bool jv_has_length(struct value v)
{
	return v.type == J_UNDEFINED || (v.type >= J_STRING && v.type <= J_RANGE);
}

int jv_length(struct render *r, struct value v, int64_t *out)
{
	switch ((enum jtype)v.type) {
	case J_UNDEFINED:
		*out = 0;
		return VB_OK;
	case J_STRING:
		TRY(jinja_charge(r, v.len / 64));
		*out = (int64_t)js_length(v);
		return VB_OK;
	case J_LIST:
	case J_TUPLE:
		*out = (int64_t)v.list->n;
		return VB_OK;
	case J_DICT:
	case J_VIEW:
		*out = (int64_t)v.dict->n;
		return VB_OK;
	case J_RANGE:
		*out = v.range->n;
		return VB_OK;
	default:
		JFAIL(r, "object of type '%s' has no len()", jv_type_name(v));
	}
}

bool jv_iterable(struct value v)
{
	return jv_has_length(v) || v.type == J_ITER;
}

int jv_iter(struct render *r, struct value v, struct iter *it)
{
	if (!jv_iterable(v))
		JFAIL(r, "'%s' object is not iterable", jv_type_name(v));
	*it = (struct iter){ .seq = v };
	return VB_OK;
}

int jv_next(struct render *r, struct iter *it, struct value *out)
{
	struct value s = it->seq;
	*out = (struct value){ .type = J_MISSING };
	TRY(jinja_charge(r, 1));
	switch ((enum jtype)s.type) {
	case J_STRING:
		if (it->pos < s.len) {
			uint32_t cp;
			size_t n = js_decode(js_data(s) + it->pos, s.len - it->pos, &cp);
			*out = js_sub(s, it->pos, it->pos + n);
			out->safe = false;
			it->pos += n;
		}
		break;
	case J_LIST:
	case J_TUPLE:
		if (it->pos < s.list->n)
			*out = s.list->v[it->pos++];
		break;
	case J_ITER:
		if (s.list->pos < s.list->n)
			*out = s.list->v[s.list->pos++];
		break;
	case J_DICT:
	case J_VIEW:
		if (it->pos < s.dict->n) {
			const struct jentry *e = &s.dict->e[it->pos++];
			if (s.type == J_DICT || s.off == VIEW_KEYS)
				*out = e->key;
			else if (s.off == VIEW_VALUES)
				*out = e->value;
			else
				TRY(jv_pair(r, e->key, e->value, out));
		}
		break;
	case J_RANGE:
		if ((int64_t)it->pos < s.range->n)
			*out = jv_int(s.range->start + (int64_t)it->pos++ * s.range->step);
		break;
	default:
		break;
	}
	return VB_OK;
}

int jv_list_of(struct render *r, struct value v, enum jtype type, struct value *out)
{
	struct iter it;
	struct value item;
	TRY(jv_iter(r, v, &it));
	TRY(jv_new_list(r, type, 0, out));
	for (;;) {
		TRY(jv_next(r, &it, &item));
		if (item.type == J_MISSING)
			return VB_OK;
		TRY(jv_push(r, out->list, item));
	}
}

static int slice_bound(struct render *r, struct value v, int64_t dflt, int64_t *out)
{
	if (v.type == J_MISSING || v.type == J_NONE)
		*out = dflt;
	else if (jv_is_int(v))
		*out = jv_as_int(v);
	else if (v.type == J_UNDEFINED)
		JFAIL(r, "slice index is undefined");
	else
		JFAIL(r, "slice indices must be integers or None, not %s", jv_type_name(v));
	return VB_OK;
}

static int64_t clamp(int64_t i, int64_t n, int64_t low, int64_t high)
{
	if (i < 0)
		i += n; /* n >= 0: cannot overflow */
	return i < low ? low : i > high ? high : i;
}

/* Bytes of a string backwards or in steps, by code point. */
static int slice_string(struct render *r, struct value v, int64_t start, int64_t step, int64_t count,
			struct value *out)
{
	int64_t n = (int64_t)js_length(v);
	if (step == 1 || count <= 1) {
		size_t from = js_offset(v, (size_t)start);
		*out = js_sub(v, from, from + js_offset(js_sub(v, from, v.len), (size_t)count));
		return VB_OK;
	}
	TRY(jinja_charge(r, (size_t)count));
	uint32_t *at = NULL;
	if (!v.text->ascii) {
		TRY(jinja_charge(r, (size_t)n / 8));
		JALLOC(r, at, ((size_t)n + 1) * sizeof *at);
		size_t k = 0;
		for (uint32_t i = 0; i < v.len; i++)
			if (((unsigned char)js_data(v)[i] & 0xc0) != 0x80)
				at[k++] = i;
		at[n] = v.len;
	}
	struct jinja_text *t = js_new(r, (size_t)count);
	if (!t)
		return jinja_no_memory(r);
	for (int64_t k = 0; k < count; k++) {
		int64_t i = start + k * step;
		size_t from = at ? at[i] : (size_t)i, to = at ? at[i + 1] : (size_t)i + 1;
		TRY(js_append_value(r, t, js_sub(v, from, to)));
	}
	*out = js_value(t);
	out->safe = v.safe;
	return VB_OK;
}

int jv_slice(struct render *r, struct value v, const struct value bound[3], struct value *out)
{
	int64_t step, start, stop, n;
	TRY(slice_bound(r, bound[2], 1, &step));
	if (step == 0)
		JFAIL(r, "slice step cannot be zero");
	if (step == INT64_MIN)
		step = -INT64_MAX;
	TRY(jv_length(r, v, &n));
	TRY(slice_bound(r, bound[0], step > 0 ? 0 : INT64_MAX, &start));
	TRY(slice_bound(r, bound[1], step > 0 ? INT64_MAX : INT64_MIN, &stop));
	bool open = bound[1].type == J_MISSING || bound[1].type == J_NONE;
	start = clamp(start, n, step > 0 ? 0 : -1, step > 0 ? n : n - 1);
	stop = open && step < 0 ? -1 : clamp(stop, n, step > 0 ? 0 : -1, step > 0 ? n : n - 1);
	int64_t count = 0;
	if (step > 0 && stop > start)
		count = (stop - start - 1) / step + 1;
	else if (step < 0 && stop < start)
		count = (start - stop - 1) / -step + 1;
	if (v.type == J_STRING) {
		if (count == 0)
			start = 0;
		return slice_string(r, v, start, step, count, out);
	}
	if (v.type == J_RANGE) {
		struct jrange *cut;
		JALLOC(r, cut, sizeof *cut);
		/* Elements do not overflow; the ends may, where nothing is between them, and wrap unseen. */
		uint64_t origin = (uint64_t)v.range->start, stride = (uint64_t)v.range->step;
		cut->start = (int64_t)(origin + (uint64_t)start * stride);
		cut->stop = (int64_t)(origin + (uint64_t)stop * stride);
		cut->step = (int64_t)((uint64_t)step * stride);
		cut->n = count;
		*out = (struct value){ .type = J_RANGE, .range = cut };
		return VB_OK;
	}
	TRY(jinja_charge(r, (size_t)count));
	TRY(jv_new_list(r, v.type, (size_t)count, out));
	for (int64_t k = 0; k < count; k++)
		out->list->v[k] = v.list->v[start + k * step];
	out->list->n = (size_t)count;
	return VB_OK;
}

/* ---- from JSON ---- */

/* Roles that every template knows are the template's own words: some build control tokens from them. */
static bool is_known_role(const char *key, const json_t *v)
{
	static const char *const roles[] = { "system", "developer", "user", "assistant", "tool", "function" };
	if (strcmp(key, "role") != 0 || !json_is_string(v))
		return false;
	for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
		if (strcmp(json_string_value(v), roles[i]) == 0 &&
		    json_string_length(v) == strlen(roles[i]))
			return true;
	return false;
}

static int string_from(struct render *r, const char *s, size_t n, bool marked, struct value *out)
{
	if (n > JINJA_MAX_STRING)
		JLIMIT(r, "a text of over 64 MiB");
	struct jinja_text *t = js_borrow(&r->arena, s, n, marked);
	if (!t)
		return jinja_no_memory(r);
	*out = js_value(t);
	return VB_OK;
}

int jv_from_json(struct render *r, const json_t *j, bool marked, int depth, struct value *out)
{
	if (depth > JINJA_MAX_NESTING)
		JLIMIT(r, "variables nested deeper than 200");
	switch (json_typeof(j)) {
	case JSON_NULL:
		*out = jv_none();
		return VB_OK;
	case JSON_TRUE:
	case JSON_FALSE:
		*out = jv_bool(json_is_true(j));
		return VB_OK;
	case JSON_INTEGER:
		*out = jv_int(json_integer_value(j));
		return VB_OK;
	case JSON_REAL:
		*out = jv_float(json_real_value(j));
		return VB_OK;
	case JSON_STRING:
		return string_from(r, json_string_value(j), json_string_length(j), marked, out);
	case JSON_ARRAY: {
		TRY(jv_new_list(r, J_LIST, json_array_size(j), out));
		out->list->writable = false;
		for (size_t i = 0; i < json_array_size(j); i++) {
			struct value v;
			TRY(jv_from_json(r, json_array_get(j, i), marked, depth + 1, &v));
			TRY(jv_push(r, out->list, v));
		}
		return VB_OK;
	}
	case JSON_OBJECT: {
		const char *key;
		json_t *item;
		TRY(jv_new_dict(r, J_DICT, out));
		json_object_foreach((json_t *)j, key, item)
		{
			struct value k, v;
			TRY(string_from(r, key, strlen(key), marked, &k));
			TRY(jv_from_json(r, item, marked && !is_known_role(key, item), depth + 1, &v));
			TRY(jd_set(r, out->dict, k, v));
		}
		return VB_OK;
	}
	}
	JFAIL(r, "a variable of unknown type");
}
