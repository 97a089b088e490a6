/* Filters of sequences. */
#include "jinja.h"

#include <string.h>

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
	if (jv_absent(attribute))
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
		if (key.type == J_UNDEFINED && !jv_absent(v[1]))
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
		if (jv_absent(v[1]))
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
		TRY(jv_absent(v[1]) ? VB_OK : attribute_of(r, item, v[1], &key));
		TRY(fold_case(r, jv_absent(v[1]) ? item : key, !jv_truth(v[0]), &key));
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
		if (!jv_absent(v[0]))
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
			if (mapped.type == J_UNDEFINED && !jv_absent(v[1]))
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
	TRY(jinja_int_argument(r, "batch", v[0], 0, &n));
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
	while (part.type != J_MISSING && !jv_absent(v[1]) && (int64_t)part.list->n < n)
		TRY(jv_push(r, part.list, v[1]));
	return VB_OK;
}

static int f_slice(struct render *r, struct value in, const struct call *c, struct value *out)
{
	static const char *const params[] = { "slices", "fill_with", NULL };
	struct value v[2], items;
	int64_t n;
	TRY(jinja_bind(r, "slice", c, params, v));
	TRY(jinja_int_argument(r, "slice", v[0], 0, &n));
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
		if (i >= longer && !jv_absent(v[1]))
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
	if (!jv_absent(v[1])) {
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

const struct jinja_builtin jinja_sequence_filters[] = {
	{ "batch", f_batch, 0 },
	{ "count", f_length, 0 },
	{ "dictsort", f_dictsort, 0 },
	{ "first", f_first, 0 },
	{ "groupby", f_groupby, 0 },
	{ "items", f_items, 0 },
	{ "join", f_join, 0 },
	{ "last", f_last, 0 },
	{ "length", f_length, 0 },
	{ "list", f_list, 0 },
	{ "map", f_map, 0 },
	{ "max", f_max, 0 },
	{ "min", f_min, 0 },
	{ "reject", f_reject, 0 },
	{ "rejectattr", f_rejectattr, 0 },
	{ "reverse", f_reverse, 0 },
	{ "select", f_select, 0 },
	{ "selectattr", f_selectattr, 0 },
	{ "slice", f_slice, 0 },
	{ "sort", f_sort, 0 },
	{ "sum", f_sum, 0 },
	{ "unique", f_unique, 0 },
	{ NULL, NULL, 0 },
};
