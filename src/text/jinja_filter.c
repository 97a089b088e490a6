/* Filters and tests. */
#include "jinja.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static bool absent(struct value v)
{
	return v.type == J_MISSING || v.type == J_NONE;
}

static int int_argument(struct render *r, const char *who, struct value v, int64_t dflt, int64_t *out)
{
	*out = dflt;
	if (v.type == J_MISSING)
		return VB_OK;
	if (!jv_is_int(v))
		JFAIL(r, "%s: expected an integer, found %s", who, jv_type_name(v));
	*out = jv_as_int(v);
	return VB_OK;
}

static int new_iter(struct render *r, const char *name, struct value *out)
{
	TRY(jv_new_list(r, J_ITER, 0, out));
	out->list->name = name;
	return VB_OK;
}

/* ---- attributes of items: "a.b.0", or an integer ---- */

static int attribute_of(struct render *r, struct value item, struct value path, struct value *out)
{
	*out = item;
	if (path.type != J_STRING)
		return jv_item(r, item, path, out);
	for (size_t from = 0; from <= path.len;) {
		const char *dot = memchr(js_data(path) + from, '.', path.len - from);
		size_t end = dot ? (size_t)(dot - js_data(path)) : path.len;
		struct value key = js_sub(path, from, end);
		int64_t i;
		if (key.len && strspn(js_data(key), "0123456789") >= key.len &&
		    jinja_parse_int(js_data(key), key.len, 10, &i))
			key = jv_int(i);
		TRY(jv_item(r, *out, key, out));
		from = end + 1;
	}
	return VB_OK;
}

static int fold_case(struct render *r, struct value v, bool fold, struct value *out)
{
	*out = v;
	return fold && v.type == J_STRING ? js_map_case(r, v, CASE_LOWER, out) : VB_OK;
}

/* The key to sort by: the item, its attribute, or a tuple of attributes given as "a,b". */
static int sort_key(struct render *r, struct value item, struct value attribute, bool fold, struct value *out)
{
	if (absent(attribute))
		return fold_case(r, item, fold, out);
	if (attribute.type != J_STRING || !memchr(js_data(attribute), ',', attribute.len)) {
		TRY(attribute_of(r, item, attribute, out));
		return fold_case(r, *out, fold, out);
	}
	TRY(jv_new_list(r, J_TUPLE, 2, out));
	for (size_t from = 0; from <= attribute.len;) {
		const char *comma = memchr(js_data(attribute) + from, ',', attribute.len - from);
		size_t end = comma ? (size_t)(comma - js_data(attribute)) : attribute.len;
		struct value v;
		TRY(attribute_of(r, item, js_sub(attribute, from, end), &v));
		TRY(fold_case(r, v, fold, &v));
		TRY(jv_push(r, out->list, v));
		from = end + 1;
	}
	return VB_OK;
}

struct keyed {
	struct value key, item;
};

struct sorting {
	bool fold, reverse;
	bool wrapped; /* keys are compared as lists of one: equal ones need no order */
};

static int comes_first(struct render *r, const struct sorting *how, struct value a, struct value b, bool *out)
{
	if (how->wrapped) {
		TRY(jv_equal(r, a, b, out));
		if (*out) {
			*out = false;
			return VB_OK;
		}
	}
	return how->reverse ? jv_order(r, b, a, T_LT, out) : jv_order(r, a, b, T_LT, out);
}

/* A stable merge sort; in reverse, equal items still keep their order. */
static int merge_sort(struct render *r, struct keyed *v, struct keyed *spare, size_t n, const struct sorting *how)
{
	for (size_t width = 1; width < n; width *= 2) {
		for (size_t from = 0; from < n; from += 2 * width) {
			size_t mid = from + width < n ? from + width : n, end = mid + width < n ? mid + width : n;
			size_t a = from, b = mid;
			for (size_t k = from; k < end; k++) {
				bool second = a == mid;
				if (a < mid && b < end)
					TRY(comes_first(r, how, v[b].key, v[a].key, &second));
				spare[k] = second ? v[b++] : v[a++];
			}
		}
		memcpy(v, spare, n * sizeof *v);
	}
	return VB_OK;
}

static int sorted(struct render *r, struct value in, struct value attribute, struct sorting how,
		  struct keyed **out, size_t *n)
{
	struct value items;
	struct keyed *spare;
	TRY(jv_list_of(r, in, J_LIST, &items));
	*n = items.list->n;
	JALLOC(r, *out, (*n + 1) * sizeof **out);
	JALLOC(r, spare, (*n + 1) * sizeof *spare);
	for (size_t i = 0; i < *n; i++) {
		(*out)[i].item = items.list->v[i];
		TRY(sort_key(r, items.list->v[i], attribute, how.fold, &(*out)[i].key));
	}
	return merge_sort(r, *out, spare, *n, &how);
}

static int f_sort(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { "reverse", "case_sensitive", "attribute", NULL };
	struct value v[3];
	struct keyed *k;
	size_t n;
	TRY(jinja_bind(r, "sort", c, params, v));
	TRY(sorted(r, in, v[2], (struct sorting){ !jv_truth(v[1]), jv_truth(v[0]), true }, &k, &n));
	TRY(jv_new_list(r, J_LIST, n, out));
	for (size_t i = 0; i < n; i++)
		TRY(jv_push(r, out->list, k[i].item));
	return VB_OK;
}

static int f_dictsort(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { "case_sensitive", "by", "reverse", NULL };
	struct value v[3], pairs;
	struct keyed *k;
	size_t n;
	TRY(jinja_bind(r, "dictsort", c, params, v));
	if (in.type == J_UNDEFINED)
		return jv_use_undefined(r, in);
	if (in.type != J_DICT)
		JFAIL(r, "dictsort: expected a mapping, found %s", jv_type_name(in));
	if (v[1].type != J_MISSING && !js_eq(v[1], "key") && !js_eq(v[1], "value"))
		JFAIL(r, "You can only sort by either \"key\" or \"value\"");
	pairs = (struct value){ .type = J_VIEW, .off = VIEW_ITEMS, .dict = in.dict };
	struct sorting how = { .fold = !jv_truth(v[0]), .reverse = jv_truth(v[2]) };
	TRY(sorted(r, pairs, jv_int(js_eq(v[1], "value")), how, &k, &n));
	TRY(jv_new_list(r, J_LIST, n, out));
	for (size_t i = 0; i < n; i++)
		TRY(jv_push(r, out->list, k[i].item));
	return VB_OK;
}

static int f_groupby(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { "attribute", "default", "case_sensitive", NULL };
	struct value v[3], items, mapped;
	TRY(jinja_bind(r, "groupby", c, params, v));
	if (v[0].type == J_MISSING)
		JFAIL(r, "groupby: an attribute is needed");
	/* Sorted pairs (value of the attribute, item): the default is filled in before sorting. */
	TRY(jv_list_of(r, in, J_LIST, &items));
	TRY(jv_new_list(r, J_LIST, items.list->n, &mapped));
	for (size_t i = 0; i < items.list->n; i++) {
		struct value key, pair;
		TRY(attribute_of(r, items.list->v[i], v[0], &key));
		if (key.type == J_UNDEFINED && !absent(v[1]))
			key = v[1];
		TRY(jv_pair(r, key, items.list->v[i], &pair));
		TRY(jv_push(r, mapped.list, pair));
	}
	struct keyed *k;
	size_t n;
	TRY(sorted(r, mapped, jv_int(0), (struct sorting){ .fold = !jv_truth(v[2]) }, &k, &n));
	TRY(jv_new_list(r, J_LIST, 0, out));
	struct value group = { .type = J_MISSING };
	for (size_t i = 0; i < n; i++) {
		bool same = false;
		struct value pair;
		if (i)
			TRY(jv_equal(r, k[i - 1].key, k[i].key, &same));
		if (!same) {
			TRY(jv_new_list(r, J_LIST, 0, &group));
			TRY(jv_pair(r, k[i].item.list->v[0], group, &pair));
			pair.list->name = "_GroupTuple";
			TRY(jv_push(r, out->list, pair));
		}
		TRY(jv_push(r, group.list, k[i].item.list->v[1]));
	}
	return VB_OK;
}

static int f_unique(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { "case_sensitive", "attribute", NULL };
	struct value v[2], seen, item, key, found;
	struct iter it;
	TRY(jinja_bind(r, "unique", c, params, v));
	TRY(jv_iter(r, in, &it));
	TRY(jv_new_dict(r, J_DICT, &seen));
	TRY(new_iter(r, "generator", out));
	for (;;) {
		TRY(jv_next(r, &it, &item));
		if (item.type == J_MISSING)
			return VB_OK;
		if (absent(v[1]))
			TRY(fold_case(r, item, !jv_truth(v[0]), &key));
		else {
			TRY(attribute_of(r, item, v[1], &key));
			TRY(fold_case(r, key, !jv_truth(v[0]), &key));
		}
		TRY(jd_get(r, seen.dict, key, &found));
		if (found.type != J_MISSING)
			continue;
		TRY(jd_set(r, seen.dict, key, jv_none()));
		TRY(jv_push(r, out->list, item));
	}
}

static int extreme(struct render *r, struct value in, const struct call *c, enum token_kind op, struct value *out)
{
	static const char *const params[] = { "case_sensitive", "attribute", NULL };
	struct value v[2], item, key, best = { .type = J_MISSING };
	struct iter it;
	TRY(jinja_bind(r, op == T_LT ? "min" : "max", c, params, v));
	TRY(jv_iter(r, in, &it));
	*out = jv_undefined("No aggregated item, sequence was empty.");
	for (;;) {
		bool better = true;
		TRY(jv_next(r, &it, &item));
		if (item.type == J_MISSING)
			return VB_OK;
		TRY(absent(v[1]) ? VB_OK : attribute_of(r, item, v[1], &key));
		TRY(fold_case(r, absent(v[1]) ? item : key, !jv_truth(v[0]), &key));
		if (best.type != J_MISSING)
			TRY(jv_order(r, key, best, op, &better));
		if (better) {
			best = key;
			*out = item;
		}
	}
}

static int f_min(struct render *r, struct value in, const struct call *c, struct value *out)
{
	return extreme(r, in, c, T_LT, out);
}

static int f_max(struct render *r, struct value in, const struct call *c, struct value *out)
{
	return extreme(r, in, c, T_GT, out);
}

static int f_sum(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { "attribute", "start", NULL };
	struct value v[2], item;
	struct iter it;
	TRY(jinja_bind(r, "sum", c, params, v));
	*out = v[1].type == J_MISSING ? jv_int(0) : v[1];
	if (out->type == J_STRING)
		JFAIL(r, "sum() can't sum strings [use ''.join(seq) instead]");
	TRY(jv_iter(r, in, &it));
	for (;;) {
		TRY(jv_next(r, &it, &item));
		if (item.type == J_MISSING)
			return VB_OK;
		if (!absent(v[0]))
			TRY(attribute_of(r, item, v[0], &item));
		TRY(jv_math(r, T_ADD, *out, item, out));
	}
}

/* ---- map, select, reject ---- */

/* The rest of the arguments, after the name of the filter or test that comes first. */
static struct call rest_of(const struct call *c, size_t skip)
{
	struct call rest = *c;
	rest.pos += skip;
	rest.n -= skip;
	return rest;
}

static int named(struct render *r, struct value name, bool test, const struct jinja_builtin **out)
{
	if (name.type != J_STRING)
		JFAIL(r, "the name of a %s is needed, found %s", test ? "test" : "filter", jv_type_name(name));
	*out = test ? jinja_find_test(js_data(name), name.len) : jinja_find_filter(js_data(name), name.len);
	if (!*out)
		JFAIL(r, "no %s named '%.*s'", test ? "test" : "filter", (int)(name.len < 80 ? name.len : 80),
		      js_data(name));
	return VB_OK;
}

static int f_map(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { "attribute", "default", NULL };
	struct value v[2], item;
	struct iter it;
	const struct jinja_builtin *filter = NULL;
	struct call rest = { 0 };
	if (c->n) {
		TRY(named(r, c->pos[0], false, &filter));
		rest = rest_of(c, 1);
	} else {
		TRY(jinja_bind(r, "map", c, params, v));
		if (v[0].type == J_MISSING)
			JFAIL(r, "map requires a filter argument");
	}
	TRY(new_iter(r, "generator", out));
	if (!jv_truth(in)) /* anything empty, even none */
		return VB_OK;
	TRY(jv_iter(r, in, &it));
	for (;;) {
		struct value mapped;
		TRY(jv_next(r, &it, &item));
		if (item.type == J_MISSING)
			return VB_OK;
		if (filter) {
			TRY(filter->fn(r, item, &rest, &mapped));
		} else {
			TRY(attribute_of(r, item, v[0], &mapped));
			if (mapped.type == J_UNDEFINED && !absent(v[1]))
				mapped = v[1];
		}
		TRY(jv_push(r, out->list, mapped));
	}
}

static int filtered(struct render *r, struct value in, const struct call *c, bool attribute, bool keep,
		    struct value *out)
{
	struct value item;
	struct iter it;
	const struct jinja_builtin *test = NULL;
	size_t skip = attribute;
	struct call rest = { 0 };
	if (attribute && c->n == 0)
		JFAIL(r, "Missing parameter for attribute name");
	if (c->n > skip) {
		TRY(named(r, c->pos[skip], true, &test));
		rest = rest_of(c, skip + 1);
	}
	TRY(new_iter(r, "generator", out));
	if (!jv_truth(in)) /* as map */
		return VB_OK;
	TRY(jv_iter(r, in, &it));
	for (;;) {
		struct value subject, result;
		TRY(jv_next(r, &it, &item));
		if (item.type == J_MISSING)
			return VB_OK;
		subject = item;
		if (attribute)
			TRY(attribute_of(r, item, c->pos[0], &subject));
		result = subject;
		if (test)
			TRY(test->fn(r, subject, &rest, &result));
		if (jv_truth(result) == keep)
			TRY(jv_push(r, out->list, item));
	}
}

static int f_select(struct render *r, struct value in, const struct call *c, struct value *out)
{
	return filtered(r, in, c, false, true, out);
}

static int f_reject(struct render *r, struct value in, const struct call *c, struct value *out)
{
	return filtered(r, in, c, false, false, out);
}

static int f_selectattr(struct render *r, struct value in, const struct call *c, struct value *out)
{
	return filtered(r, in, c, true, true, out);
}

static int f_rejectattr(struct render *r, struct value in, const struct call *c, struct value *out)
{
	return filtered(r, in, c, true, false, out);
}

/* ---- sequences ---- */

static int f_first(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { NULL };
	struct iter it;
	TRY(jinja_bind(r, "first", c, params, NULL));
	TRY(jv_iter(r, in, &it));
	TRY(jv_next(r, &it, out));
	if (out->type == J_MISSING)
		*out = jv_undefined("No first item, sequence was empty.");
	return VB_OK;
}

static int f_last(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { NULL };
	struct value items;
	TRY(jinja_bind(r, "last", c, params, NULL));
	if (in.type == J_ITER || !jv_iterable(in))
		JFAIL(r, "'%s' object is not reversible", jv_type_name(in));
	if (in.type == J_STRING || in.type == J_LIST || in.type == J_TUPLE) {
		TRY(jv_item(r, in, jv_int(-1), out));
	} else {
		TRY(jv_list_of(r, in, J_LIST, &items));
		TRY(jv_item(r, items, jv_int(-1), out));
	}
	if (out->type == J_UNDEFINED && !jv_truth(in))
		*out = jv_undefined("No last item, sequence was empty.");
	return VB_OK;
}

static int f_length(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { NULL };
	int64_t n;
	TRY(jinja_bind(r, "length", c, params, NULL));
	TRY(jv_length(r, in, &n));
	*out = jv_int(n);
	return VB_OK;
}

static int f_list(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { NULL };
	TRY(jinja_bind(r, "list", c, params, NULL));
	return jv_list_of(r, in, J_LIST, out);
}

static int f_reverse(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { NULL };
	struct value items;
	TRY(jinja_bind(r, "reverse", c, params, NULL));
	if (in.type == J_STRING) {
		struct value bound[3] = { { .type = J_MISSING }, { .type = J_MISSING }, jv_int(-1) };
		return jv_slice(r, in, bound, out);
	}
	TRY(jv_list_of(r, in, J_LIST, &items));
	TRY(in.type == J_ITER ? jv_new_list(r, J_LIST, items.list->n, out)
			      : new_iter(r, in.type == J_LIST ? "list_reverseiterator" : "reversed", out));
	for (size_t i = items.list->n; i-- > 0;)
		TRY(jv_push(r, out->list, items.list->v[i]));
	return VB_OK;
}

static int f_items(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { NULL };
	TRY(jinja_bind(r, "items", c, params, NULL));
	TRY(new_iter(r, "generator", out));
	if (in.type == J_UNDEFINED)
		return VB_OK;
	if (in.type != J_DICT)
		JFAIL(r, "Can only get item pairs from a mapping.");
	for (size_t i = 0; i < in.dict->n; i++) {
		struct value pair;
		TRY(jv_pair(r, in.dict->e[i].key, in.dict->e[i].value, &pair));
		TRY(jv_push(r, out->list, pair));
	}
	return VB_OK;
}

static int f_batch(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { "linecount", "fill_with", NULL };
	struct value v[2], item, part = { .type = J_MISSING };
	struct iter it;
	int64_t n;
	TRY(jinja_bind(r, "batch", c, params, v));
	TRY(int_argument(r, "batch", v[0], 0, &n));
	if (n < 1 || n > JINJA_MAX_RANGE)
		JFAIL(r, "batch: the number of items must be 1 to %d", JINJA_MAX_RANGE);
	TRY(jv_iter(r, in, &it));
	TRY(new_iter(r, "generator", out));
	for (;;) {
		TRY(jv_next(r, &it, &item));
		if (item.type == J_MISSING)
			break;
		if (part.type == J_MISSING || (int64_t)part.list->n == n) {
			TRY(jv_new_list(r, J_LIST, 0, &part));
			TRY(jv_push(r, out->list, part));
		}
		TRY(jv_push(r, part.list, item));
	}
	while (part.type != J_MISSING && !absent(v[1]) && (int64_t)part.list->n < n)
		TRY(jv_push(r, part.list, v[1]));
	return VB_OK;
}

static int f_slice(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { "slices", "fill_with", NULL };
	struct value v[2], items;
	int64_t n;
	TRY(jinja_bind(r, "slice", c, params, v));
	TRY(int_argument(r, "slice", v[0], 0, &n));
	if (n < 1 || n > JINJA_MAX_RANGE)
		JFAIL(r, "slice: the number of slices must be 1 to %d", JINJA_MAX_RANGE);
	TRY(jv_list_of(r, in, J_LIST, &items));
	TRY(new_iter(r, "generator", out));
	size_t each = items.list->n / (size_t)n, longer = items.list->n % (size_t)n, at = 0;
	for (size_t i = 0; i < (size_t)n; i++) {
		struct value part;
		TRY(jv_new_list(r, J_LIST, 0, &part));
		for (size_t end = at + each + (i < longer); at < end; at++)
			TRY(jv_push(r, part.list, items.list->v[at]));
		if (i >= longer && !absent(v[1]))
			TRY(jv_push(r, part.list, v[1]));
		TRY(jv_push(r, out->list, part));
	}
	return VB_OK;
}

static int f_join(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { "d", "attribute", NULL };
	struct value v[2], sep;
	TRY(jinja_bind(r, "join", c, params, v));
	if (!absent(v[1])) {
		struct kwarg kw;
		TRY(js_make(r, "attribute", 9, false, &kw.key));
		kw.value = v[1];
		TRY(f_map(r, in, &(struct call){ .kw = &kw, .n_kw = 1 }, &in));
	}
	TRY(js_make(r, "", 0, false, &sep));
	if (v[0].type != J_MISSING)
		TRY(jv_to_str(r, v[0], &sep));
	return js_join(r, sep, in, false, out);
}

/* ---- texts ---- */

static int to_text(struct render *r, struct value in, const struct call *c, const char *who, struct value *out)
{
	static const char *const params[] = { NULL };
	TRY(jinja_bind(r, who, c, params, NULL));
	return jv_to_str(r, in, out);
}

static int f_string(struct render *r, struct value in, const struct call *c, struct value *out)
{
	return to_text(r, in, c, "string", out);
}

static int f_safe(struct render *r, struct value in, const struct call *c, struct value *out)
{
	TRY(to_text(r, in, c, "safe", out));
	out->safe = true;
	return VB_OK;
}

static int f_escape(struct render *r, struct value in, const struct call *c, struct value *out)
{
	TRY(to_text(r, in, c, "escape", out));
	return js_escape_html(r, *out, out);
}

static int f_forceescape(struct render *r, struct value in, const struct call *c, struct value *out)
{
	TRY(to_text(r, in, c, "forceescape", out));
	out->safe = false;
	return js_escape_html(r, *out, out);
}

static int f_upper(struct render *r, struct value in, const struct call *c, struct value *out)
{
	TRY(to_text(r, in, c, "upper", out));
	return js_map_case(r, *out, CASE_UPPER, out);
}

static int f_lower(struct render *r, struct value in, const struct call *c, struct value *out)
{
	TRY(to_text(r, in, c, "lower", out));
	return js_map_case(r, *out, CASE_LOWER, out);
}

static int f_capitalize(struct render *r, struct value in, const struct call *c, struct value *out)
{
	TRY(to_text(r, in, c, "capitalize", out));
	return js_map_case(r, *out, CASE_CAPITAL, out);
}

/* Not str.title: words begin after white space and - ( { [ < alone. */
static int f_title(struct render *r, struct value in, const struct call *c, struct value *out)
{
	struct value s, part;
	TRY(to_text(r, in, c, "title", &s));
	TRY(js_make(r, "", 0, false, out));
	for (size_t i = 0; i < s.len;) {
		size_t begin = i;
		uint32_t cp;
		bool gap = false;
		for (size_t n; i < s.len; i += n) {
			n = js_decode(js_data(s) + i, s.len - i, &cp);
			bool splits = js_is_space(cp) || (cp < 0x80 && cp && strchr("-({[<", (int)cp));
			if (i == begin)
				gap = splits;
			else if (splits != gap)
				break;
		}
		part = js_sub(s, begin, i);
		if (!gap)
			TRY(js_map_case(r, part, CASE_CAPITAL, &part));
		TRY(js_concat(r, *out, part, out));
	}
	return VB_OK;
}

static int f_trim(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { "chars", NULL };
	struct value v, s;
	TRY(jinja_bind(r, "trim", c, params, &v));
	TRY(jv_to_str(r, in, &s));
	if (!absent(v) && v.type != J_STRING)
		JFAIL(r, "trim: chars must be str or None, not %s", jv_type_name(v));
	if (!absent(v))
		TRY(jinja_charge(r, (size_t)s.len / 64 * (1 + v.len / 8)));
	*out = js_strip(s, absent(v) ? NULL : &v, 3);
	return VB_OK;
}

static int f_replace(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { "old", "new", "count", NULL };
	struct value v[3], s;
	int64_t count;
	TRY(jinja_bind(r, "replace", c, params, v));
	if (v[0].type == J_MISSING || v[1].type == J_MISSING)
		JFAIL(r, "replace: two arguments are needed");
	TRY(int_argument(r, "replace", v[2].type == J_NONE ? (struct value){ .type = J_MISSING } : v[2], -1, &count));
	TRY(jv_to_str(r, in, &s));
	TRY(jv_to_str(r, v[0], &v[0]));
	TRY(jv_to_str(r, v[1], &v[1]));
	TRY(js_replace(r, s, v[0], v[1], count, out));
	return VB_OK;
}

static int f_indent(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { "width", "first", "blank", NULL };
	struct value v[3], lines, pad, space;
	int64_t width = 4;
	TRY(jinja_bind(r, "indent", c, params, v));
	if (in.type == J_UNDEFINED)
		return jv_use_undefined(r, in);
	if (in.type != J_STRING)
		JFAIL(r, "indent: expected str, found %s", jv_type_name(in));
	pad = v[0];
	if (v[0].type != J_STRING) {
		TRY(int_argument(r, "indent", v[0], 4, &width));
		TRY(js_make(r, " ", 1, false, &space));
		TRY(jv_math(r, T_MUL, space, jv_int(width), &pad));
	}
	struct jinja_text *t = js_new(r, in.len + 64);
	if (!t)
		return jinja_no_memory(r);
	TRY(js_split_lines(r, in, false, &lines));
	/* The filter adds a newline before it splits, so that a last line that ends stays as an empty one. */
	struct value end = in.len ? js_sub(in, in.len - 1, in.len) : in;
	struct value closed;
	TRY(js_split_lines(r, end, false, &closed));
	bool ends = in.len == 0 || (closed.list->n == 1 && closed.list->v[0].len == 0);
	if (in.len >= 2 && !ends) { /* the line ends of two and three bytes */
		TRY(js_split_lines(r, js_strip(in, NULL, 2).len < in.len ? js_sub(in, js_strip(in, NULL, 2).len, in.len) : end,
				   true, &closed));
		if (closed.list->n) {
			struct value last = closed.list->v[closed.list->n - 1], bare;
			TRY(js_split_lines(r, last, false, &bare));
			ends = bare.list->v[0].len < last.len;
		}
	}
	if (ends)
		TRY(jv_push(r, lines.list, js_sub(in, in.len, in.len)));
	if (jv_truth(v[1]))
		TRY(js_append_value(r, t, pad));
	for (size_t i = 0; i < lines.list->n; i++) {
		if (i) {
			TRY(js_puts(r, t, "\n"));
			if (lines.list->v[i].len || jv_truth(v[2]))
				TRY(js_append_value(r, t, pad));
		}
		TRY(js_append_value(r, t, lines.list->v[i]));
	}
	*out = js_value(t);
	out->safe = in.safe;
	return VB_OK;
}

static int f_center(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { "width", NULL };
	struct value v, s, method, name;
	TRY(jinja_bind(r, "center", c, params, &v));
	TRY(jv_to_str(r, in, &s));
	TRY(js_make(r, "center", 6, false, &name));
	TRY(jv_attr(r, s, name, &method));
	if (v.type == J_MISSING)
		v = jv_int(80);
	return jinja_call(r, method, &(struct call){ .pos = &v, .n = 1 }, out);
}

static int f_truncate(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { "length", "killwords", "end", "leeway", NULL };
	struct value v[4];
	int64_t length, leeway, n;
	TRY(jinja_bind(r, "truncate", c, params, v));
	TRY(int_argument(r, "truncate", v[0], 255, &length));
	TRY(int_argument(r, "truncate", v[3].type == J_NONE ? (struct value){ .type = J_MISSING } : v[3], 5, &leeway));
	if (v[2].type == J_MISSING)
		TRY(js_make(r, "...", 3, false, &v[2]));
	if (v[2].type != J_STRING)
		JFAIL(r, "truncate: end must be str");
	int64_t tail = (int64_t)js_length(v[2]);
	if (length < tail || leeway < 0)
		JFAIL(r, "truncate: length must be at least that of the end, leeway not negative");
	TRY(jv_length(r, in, &n));
	if (n <= length || n - length <= leeway) {
		*out = in;
		return VB_OK;
	}
	if (in.type != J_STRING)
		JFAIL(r, "truncate: expected str, found %s", jv_type_name(in));
	struct value cut = js_sub(in, 0, js_offset(in, (size_t)(length - tail)));
	if (!jv_truth(v[1])) {
		size_t at = cut.len;
		while (at > 0 && js_data(cut)[at - 1] != ' ')
			at--;
		cut = at ? js_sub(cut, 0, at - 1) : cut;
	}
	return js_concat(r, cut, v[2], out);
}

static int f_wordcount(struct render *r, struct value in, const struct call *c, struct value *out)
{
	struct value s;
	int64_t n = 0;
	bool inside = false;
	TRY(to_text(r, in, c, "wordcount", &s));
	TRY(jinja_charge(r, s.len / 16));
	for (size_t i = 0; i < s.len;) {
		uint32_t cp;
		i += js_decode(js_data(s) + i, s.len - i, &cp);
		utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
		bool word = cp == '_' || (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) ||
			    (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO);
		n += word && !inside;
		inside = word;
	}
	*out = jv_int(n);
	return VB_OK;
}

static int f_urlencode(struct render *r, struct value in, const struct call *c, struct value *out)
{
	struct value s;
	if (in.type != J_STRING && jv_iterable(in) && in.type != J_UNDEFINED)
		JFAIL(r, "urlencode of mappings and sequences is not supported");
	TRY(to_text(r, in, c, "urlencode", &s));
	struct jinja_text *t = js_new(r, s.len);
	if (!t)
		return jinja_no_memory(r);
	bool marked;
	for (size_t i = 0; i < s.len;) {
		size_t end = i + js_run(s, i, &marked);
		for (; i < end; i++) {
			unsigned char b = (unsigned char)js_data(s)[i];
			char hex[4];
			bool plain = (b >= '0' && b <= '9') || ((b | 0x20) >= 'a' && (b | 0x20) <= 'z') ||
				     (b && strchr("_.-~/", b));
			snprintf(hex, sizeof hex, plain ? "%c" : "%%%02X", b);
			TRY(js_append(r, t, hex, plain ? 1 : 3, marked));
		}
	}
	*out = js_value(t);
	return VB_OK;
}

static int f_format(struct render *r, struct value in, const struct call *c, struct value *out)
{
	struct value s, args;
	TRY(jv_to_str(r, in, &s));
	if (c->n && c->n_kw)
		JFAIL(r, "format: positional and keyword arguments cannot be mixed");
	if (c->n_kw) {
		TRY(jv_new_dict(r, J_DICT, &args));
		for (size_t k = 0; k < c->n_kw; k++)
			TRY(jd_set(r, args.dict, c->kw[k].key, c->kw[k].value));
	} else {
		TRY(jv_new_list(r, J_TUPLE, c->n, &args));
		for (size_t i = 0; i < c->n; i++)
			TRY(jv_push(r, args.list, c->pos[i]));
	}
	return jinja_percent(r, s, args, out);
}

/* ---- numbers ---- */

static int f_abs(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { NULL };
	TRY(jinja_bind(r, "abs", c, params, NULL));
	if (!jv_is_number(in))
		JFAIL(r, "bad operand type for abs(): '%s'", jv_type_name(in));
	if (in.type == J_FLOAT)
		*out = jv_float(fabs(in.f));
	else if (jv_as_int(in) < 0)
		return jv_negate(r, in, out);
	else
		*out = jv_int(jv_as_int(in));
	return VB_OK;
}

/* The text without the white space and with no more than the digits that a number may have. */
static bool float_of(struct value s, double *out)
{
	s = js_strip(s, NULL, 3);
	return jinja_parse_float(js_data(s), s.len, out);
}

static int f_int(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { "default", "base", NULL };
	struct value v[2];
	int64_t base, i;
	double f;
	TRY(jinja_bind(r, "int", c, params, v));
	TRY(int_argument(r, "int", v[1], 10, &base));
	*out = v[0].type == J_MISSING ? jv_int(0) : v[0];
	if (in.type == J_UNDEFINED)
		return jv_use_undefined(r, in);
	if (base != 0 && (base < 2 || base > 36))
		JFAIL(r, "int: base must be 0 or 2 to 36");
	bool real = in.type == J_FLOAT;
	f = real ? in.f : 0;
	if (jv_is_int(in)) {
		*out = jv_int(jv_as_int(in));
	} else if (in.type == J_STRING) {
		struct value s = js_strip(in, NULL, 3);
		if (jinja_parse_int(js_data(s), s.len, (int)base, &i))
			*out = jv_int(i);
		else
			real = float_of(s, &f);
	}
	if (!real || isnan(f) || isinf(f))
		return VB_OK;
	if (fabs(f) >= 0x1p63)
		JFAIL(r, "int: the number does not fit 64 bits");
	*out = jv_int((int64_t)f);
	return VB_OK;
}

static int f_float(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { "default", NULL };
	struct value v;
	double f;
	TRY(jinja_bind(r, "float", c, params, &v));
	if (in.type == J_UNDEFINED)
		return jv_use_undefined(r, in);
	*out = v.type == J_MISSING ? jv_float(0) : v;
	if (jv_is_number(in))
		*out = jv_float(jv_as_float(in));
	else if (in.type == J_STRING && float_of(in, &f))
		*out = jv_float(f);
	return VB_OK;
}

static int f_round(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { "precision", "method", NULL };
	struct value v[2];
	int64_t precision;
	TRY(jinja_bind(r, "round", c, params, v));
	TRY(int_argument(r, "round", v[0], 0, &precision));
	bool common = v[1].type == J_MISSING || js_eq(v[1], "common");
	if (!common && !js_eq(v[1], "ceil") && !js_eq(v[1], "floor"))
		JFAIL(r, "method must be common, ceil or floor");
	if (!jv_is_number(in))
		JFAIL(r, "round: a number is needed, not %s", jv_type_name(in));
	if (precision < -300 || precision > 300)
		JFAIL(r, "round: precision out of range");
	if (common && jv_is_int(in) && precision >= 0) {
		*out = jv_int(jv_as_int(in));
		return VB_OK;
	}
	double f = jv_as_float(in), scale = pow(10, (double)precision);
	if (!common) {
		/* With 0 digits Python gives an integer divided by 1: a float all the same. */
		f = (js_eq(v[1], "ceil") ? ceil(f * scale) : floor(f * scale)) / scale;
	} else if (precision >= 0) {
		char text[700];
		snprintf(text, sizeof text, "%.*f", (int)precision, f);
		f = isfinite(f) ? strtod(text, NULL) : f;
	} else {
		f = rint(f * scale) / scale;
	}
	*out = jv_is_int(in) && common ? jv_int((int64_t)f) : jv_float(f);
	return VB_OK;
}

/* ---- the rest ---- */

static int f_default(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { "default_value", "boolean", NULL };
	struct value v[2];
	TRY(jinja_bind(r, "default", c, params, v));
	*out = in;
	if (in.type != J_UNDEFINED && (!jv_truth(v[1]) || jv_truth(in)))
		return VB_OK;
	*out = v[0];
	return v[0].type == J_MISSING ? js_make(r, "", 0, false, out) : VB_OK;
}

static int f_attr(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { "name", NULL };
	struct value v;
	TRY(jinja_bind(r, "attr", c, params, &v));
	if (v.type != J_STRING)
		JFAIL(r, "attr: a name is needed");
	if (in.type == J_DICT) { /* methods, not keys */
		struct value empty;
		TRY(jv_new_dict(r, J_DICT, &empty));
		TRY(jv_attr(r, empty, v, out));
		if (out->type == J_METHOD)
			out->method->self = in;
		return VB_OK;
	}
	return jv_attr(r, in, v, out);
}

static int f_tojson(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { "ensure_ascii", "indent", "separators", "sort_keys", NULL };
	struct value v[4], space;
	TRY(jinja_bind(r, "tojson", c, params, v));
	struct json_style style = { .ascii = jv_truth(v[0]), .sort = jv_truth(v[3]), .indent = v[1] };
	if (jv_is_int(v[1])) {
		TRY(js_make(r, " ", 1, false, &space));
		TRY(jv_math(r, T_MUL, space, v[1], &style.indent));
	} else if (!absent(v[1]) && v[1].type != J_STRING) {
		JFAIL(r, "tojson: indent must be an integer or a string");
	}
	if (!absent(v[2])) {
		struct value pair;
		TRY(jv_list_of(r, v[2], J_LIST, &pair));
		if (pair.list->n != 2 || pair.list->v[0].type != J_STRING || pair.list->v[1].type != J_STRING)
			JFAIL(r, "tojson: separators must be two strings");
		style.item = pair.list->v[0];
		style.key = pair.list->v[1];
	}
	struct jinja_text *t = js_new(r, 64);
	if (!t)
		return jinja_no_memory(r);
	TRY(jv_to_json(r, t, in, &style));
	*out = js_value(t);
	return VB_OK;
}

/* Not jinja2's: published templates that parse tool arguments given as text need it. */
static int f_from_json(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { NULL };
	json_t *j;
	TRY(jinja_bind(r, "from_json", c, params, NULL));
	if (in.type != J_STRING)
		JFAIL(r, "from_json: expected str, found %s", jv_type_name(in));
	TRY(jinja_charge(r, in.len));
	if (r->n_kept == r->cap_kept) {
		size_t cap = r->cap_kept ? r->cap_kept * 2 : 8;
		json_t **grown = mem_realloc(r->kept, cap, sizeof(json_t *));
		if (!grown)
			return VB_ENOMEM;
		r->kept = grown;
		r->cap_kept = cap;
	}
	int rc = json_parse(&j, js_data(in), in.len, "from_json");
	if (rc != VB_OK)
		return status_prefix(VB_EINVAL, "cannot render: %s, line %d", r->tmpl->where, r->line);
	r->kept[r->n_kept++] = j;
	return jv_from_json(r, j, js_marked(in), 0, out);
}

static const struct jinja_builtin filters[] = {
	{ "abs", f_abs, 0 },
	{ "attr", f_attr, 0 },
	{ "batch", f_batch, 0 },
	{ "capitalize", f_capitalize, 0 },
	{ "center", f_center, 0 },
	{ "count", f_length, 0 },
	{ "d", f_default, 0 },
	{ "default", f_default, 0 },
	{ "dictsort", f_dictsort, 0 },
	{ "e", f_escape, 0 },
	{ "escape", f_escape, 0 },
	{ "first", f_first, 0 },
	{ "float", f_float, 0 },
	{ "forceescape", f_forceescape, 0 },
	{ "format", f_format, 0 },
	{ "from_json", f_from_json, 0 },
	{ "groupby", f_groupby, 0 },
	{ "indent", f_indent, 0 },
	{ "int", f_int, 0 },
	{ "items", f_items, 0 },
	{ "join", f_join, 0 },
	{ "last", f_last, 0 },
	{ "length", f_length, 0 },
	{ "list", f_list, 0 },
	{ "lower", f_lower, 0 },
	{ "map", f_map, 0 },
	{ "max", f_max, 0 },
	{ "min", f_min, 0 },
	{ "reject", f_reject, 0 },
	{ "rejectattr", f_rejectattr, 0 },
	{ "replace", f_replace, 0 },
	{ "reverse", f_reverse, 0 },
	{ "round", f_round, 0 },
	{ "safe", f_safe, 0 },
	{ "select", f_select, 0 },
	{ "selectattr", f_selectattr, 0 },
	{ "slice", f_slice, 0 },
	{ "sort", f_sort, 0 },
	{ "string", f_string, 0 },
	{ "sum", f_sum, 0 },
	{ "title", f_title, 0 },
	{ "tojson", f_tojson, 0 },
	{ "trim", f_trim, 0 },
	{ "truncate", f_truncate, 0 },
	{ "unique", f_unique, 0 },
	{ "upper", f_upper, 0 },
	{ "urlencode", f_urlencode, 0 },
	{ "wordcount", f_wordcount, 0 },
};

const struct jinja_builtin *jinja_find_filter(const char *name, size_t n)
{
	for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
		if (strlen(filters[i].name) == n && memcmp(filters[i].name, name, n) == 0)
			return &filters[i];
	return NULL;
}
