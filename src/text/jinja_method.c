/* Attributes, the methods of all but texts, and the global functions. */
#include "jinja.h"

#include <string.h>

#define LIST (1u << J_LIST)
#define TUPLE (1u << J_TUPLE)
#define DICT (1u << J_DICT)
#define LOOP (1u << J_LOOP)
#define CYCLER (1u << J_CYCLER)

/* ---- dictionaries and lists ---- */

static int m_get(struct render *r, struct value d, const struct call *c, struct value *out)
{
	TRY(jinja_positional(r, "get", c, 1, 2));
	TRY(jd_get(r, d.dict, c->pos[0], out));
	if (out->type == J_MISSING)
		*out = c->n == 2 ? c->pos[1] : jv_none();
	return VB_OK;
}

static int view(struct render *r, struct value d, const struct call *c, uint32_t kind, struct value *out)
{
	TRY(jinja_positional(r, "items", c, 0, 0));
	*out = (struct value){ .type = J_VIEW, .off = kind, .dict = d.dict };
	return VB_OK;
}

static int m_keys(struct render *r, struct value d, const struct call *c, struct value *out)
{
	return view(r, d, c, VIEW_KEYS, out);
}

static int m_values(struct render *r, struct value d, const struct call *c, struct value *out)
{
	return view(r, d, c, VIEW_VALUES, out);
}

static int m_items(struct render *r, struct value d, const struct call *c, struct value *out)
{
	return view(r, d, c, VIEW_ITEMS, out);
}

static int m_dict_copy(struct render *r, struct value d, const struct call *c, struct value *out)
{
	TRY(jinja_positional(r, "copy", c, 0, 0));
	TRY(jv_new_dict(r, J_DICT, out));
	for (size_t i = 0; i < d.dict->n; i++)
		TRY(jd_set(r, out->dict, d.dict->e[i].key, d.dict->e[i].value));
	return VB_OK;
}

static int need_writable(struct render *r, struct value l)
{
	if (!l.list->writable)
		JFAIL(r, "only lists that the template made can be changed");
	return VB_OK;
}

static int m_append(struct render *r, struct value l, const struct call *c, struct value *out)
{
	TRY(jinja_positional(r, "append", c, 1, 1));
	TRY(need_writable(r, l));
	*out = jv_none();
	return jv_push(r, l.list, c->pos[0]);
}

static int m_pop(struct render *r, struct value l, const struct call *c, struct value *out)
{
	int64_t at = -1, n = (int64_t)l.list->n;
	TRY(jinja_positional(r, "pop", c, 0, 1));
	TRY(need_writable(r, l));
	if (c->n)
		TRY(jinja_need_int(r, "pop", c->pos[0], &at));
	at += at < 0 ? n : 0;
	if (at < 0 || at >= n)
		JFAIL(r, n ? "pop index out of range" : "pop from empty list");
	*out = l.list->v[at];
	TRY(jinja_charge(r, (size_t)(n - at) / 8));
	memmove(l.list->v + at, l.list->v + at + 1, (size_t)(n - at - 1) * sizeof *l.list->v);
	l.list->n--;
	return VB_OK;
}

static int m_list_count(struct render *r, struct value l, const struct call *c, struct value *out)
{
	int64_t n = 0;
	TRY(jinja_positional(r, "count", c, 1, 1));
	for (size_t i = 0; i < l.list->n; i++) {
		bool same;
		TRY(jv_equal(r, l.list->v[i], c->pos[0], &same));
		n += same;
	}
	*out = jv_int(n);
	return VB_OK;
}

static int m_list_index(struct render *r, struct value l, const struct call *c, struct value *out)
{
	TRY(jinja_positional(r, "index", c, 1, 1));
	for (size_t i = 0; i < l.list->n; i++) {
		bool same;
		TRY(jv_equal(r, l.list->v[i], c->pos[0], &same));
		if (same) {
			*out = jv_int((int64_t)i);
			return VB_OK;
		}
	}
	JFAIL(r, "the value is not in the list");
}

static int m_list_copy(struct render *r, struct value l, const struct call *c, struct value *out)
{
	TRY(jinja_positional(r, "copy", c, 0, 0));
	return jv_list_of(r, l, J_LIST, out);
}

/* ---- loop and cycler ---- */

static int m_loop_cycle(struct render *r, struct value l, const struct call *c, struct value *out)
{
	if (c->n == 0 || c->n_kw)
		JFAIL(r, "no items for cycling given");
	*out = c->pos[(size_t)l.loop->index0 % c->n];
	return VB_OK;
}

static int m_loop_changed(struct render *r, struct value l, const struct call *c, struct value *out)
{
	struct value now;
	bool same = false;
	if (c->n_kw)
		JFAIL(r, "changed() takes no keyword arguments");
	TRY(jv_new_list(r, J_TUPLE, c->n, &now));
	for (size_t i = 0; i < c->n; i++)
		TRY(jv_push(r, now.list, c->pos[i]));
	if (l.loop->changed.type != J_MISSING)
		TRY(jv_equal(r, l.loop->changed, now, &same));
	l.loop->changed = now;
	*out = jv_bool(!same);
	return VB_OK;
}

static int m_cycler_next(struct render *r, struct value l, const struct call *c, struct value *out)
{
	TRY(jinja_positional(r, "next", c, 0, 0));
	*out = l.list->v[l.list->pos];
	l.list->pos = (l.list->pos + 1) % l.list->n;
	return VB_OK;
}

static int m_cycler_reset(struct render *r, struct value l, const struct call *c, struct value *out)
{
	TRY(jinja_positional(r, "reset", c, 0, 0));
	l.list->pos = 0;
	*out = jv_none();
	return VB_OK;
}

static const struct jinja_builtin methods[] = {
	{ "append", m_append, LIST },
	{ "changed", m_loop_changed, LOOP },
	{ "copy", m_dict_copy, DICT },
	{ "copy", m_list_copy, LIST },
	{ "count", m_list_count, LIST | TUPLE },
	{ "cycle", m_loop_cycle, LOOP },
	{ "get", m_get, DICT },
	{ "index", m_list_index, LIST | TUPLE },
	{ "items", m_items, DICT },
	{ "keys", m_keys, DICT },
	{ "next", m_cycler_next, CYCLER },
	{ "pop", m_pop, LIST },
	{ "reset", m_cycler_reset, CYCLER },
	{ "values", m_values, DICT },
	{ NULL, NULL, 0 },
};

/* ---- attributes and items ---- */

static int loop_attribute(struct render *r, struct jloop *l, struct value name, struct value *out)
{
	static const char *const with_length[] = { "length", "revindex", "revindex0" };
	for (size_t i = 0; i < 3; i++)
		if (js_eq(name, with_length[i]))
			TRY(jinja_loop_length(r, l));
	if (js_eq(name, "index"))
		*out = jv_int(l->index0 + 1);
	else if (js_eq(name, "index0"))
		*out = jv_int(l->index0);
	else if (js_eq(name, "first"))
		*out = jv_bool(l->index0 == 0);
	else if (js_eq(name, "length"))
		*out = jv_int(l->length);
	else if (js_eq(name, "revindex"))
		*out = jv_int(l->length - l->index0);
	else if (js_eq(name, "revindex0"))
		*out = jv_int(l->length - l->index0 - 1);
	else if (js_eq(name, "depth"))
		*out = jv_int(l->depth0 + 1);
	else if (js_eq(name, "depth0"))
		*out = jv_int(l->depth0);
	else if (js_eq(name, "previtem"))
		*out = l->before.type == J_MISSING ? jv_undefined("there is no previous item") : l->before;
	else if (js_eq(name, "nextitem") || js_eq(name, "last")) {
		TRY(jinja_loop_peek(r, l, out));
		if (js_eq(name, "last"))
			*out = jv_bool(out->type == J_MISSING);
		else if (out->type == J_MISSING)
			*out = jv_undefined("there is no next item");
	}
	return VB_OK;
}

/* What Python's getattr finds: methods and fields. J_MISSING where there is none. */
static int own_attribute(struct render *r, struct value v, struct value name, struct value *out)
{
	*out = (struct value){ .type = J_MISSING };
	if (v.type == J_NAMESPACE) {
		jd_get_str(v.dict, js_data(name), name.len, out);
		return VB_OK;
	}
	const struct jinja_builtin *method = v.type == J_STRING ? jinja_str_methods : methods;
	for (; method->name; method++) {
		if (!(method->types >> v.type & 1) || !js_eq(name, method->name))
			continue;
		struct jmethod *m;
		JALLOC(r, m, sizeof *m);
		*m = (struct jmethod){ v, method };
		*out = (struct value){ .type = J_METHOD, .method = m };
		return VB_OK;
	}
	if (v.type == J_LOOP)
		return loop_attribute(r, v.loop, name, out);
	if (v.type == J_CYCLER && js_eq(name, "current"))
		*out = v.list->v[v.list->pos];
	if (v.type == J_MACRO && js_eq(name, "name"))
		*out = r->tmpl->symbol[v.macro->node->id];
	if (v.type == J_TUPLE && v.list->name[0] == '_' && v.list->n == 2) { /* of groupby */
		if (js_eq(name, "grouper"))
			*out = v.list->v[0];
		else if (js_eq(name, "list"))
			*out = v.list->v[1];
	}
	/* The sandbox does not give out what changes a dictionary, and so hides keys of these names from v.name. */
	static const char *const unsafe[] = { "clear", "pop", "popitem", "setdefault", "update", "fromkeys" };
	for (size_t i = 0; v.type == J_DICT && i < sizeof unsafe / sizeof *unsafe; i++)
		if (js_eq(name, unsafe[i]))
			*out = jv_undefined("methods that change a dictionary are not available");
	return VB_OK;
}

static int own_item(struct render *r, struct value v, struct value key, struct value *out)
{
	*out = (struct value){ .type = J_MISSING };
	if (v.type == J_DICT) {
		bool unhashable = key.type == J_LIST || key.type == J_DICT || key.type == J_NAMESPACE;
		return unhashable ? VB_OK : jd_get(r, v.dict, key, out);
	}
	bool series = v.type == J_STRING || v.type == J_LIST || v.type == J_TUPLE || v.type == J_RANGE;
	if (!series || !jv_is_int(key))
		return VB_OK;
	int64_t i = jv_as_int(key), n;
	TRY(jv_length(r, v, &n));
	i += i < 0 ? n : 0;
	if (i < 0 || i >= n)
		return VB_OK;
	if (v.type == J_RANGE) {
		*out = jv_int(v.range->start + i * v.range->step);
	} else if (v.type == J_STRING) {
		size_t from = js_offset(v, (size_t)i);
		*out = js_sub(v, from, from + js_offset(js_sub(v, from, v.len), 1));
	} else {
		*out = v.list->v[i];
	}
	return VB_OK;
}

int jv_attr(struct render *r, struct value v, struct value name, struct value *out)
{
	if (v.type == J_UNDEFINED)
		return jv_use_undefined(r, v);
	TRY(own_attribute(r, v, name, out));
	if (out->type == J_MISSING && v.type == J_DICT)
		TRY(own_item(r, v, name, out));
	if (out->type == J_MISSING)
		*out = jv_no_attribute(r, v, name);
	return VB_OK;
}

int jv_item(struct render *r, struct value v, struct value key, struct value *out)
{
	if (v.type == J_UNDEFINED)
		return jv_use_undefined(r, v);
	TRY(own_item(r, v, key, out));
	if (out->type == J_MISSING && key.type == J_STRING)
		TRY(own_attribute(r, v, key, out));
	if (out->type != J_MISSING)
		return VB_OK;
	if (key.type == J_STRING)
		*out = jv_no_attribute(r, v, key);
	else if (jv_is_int(key))
		*out = jv_undefinedf(r, "%s object has no element %lld", jv_type_name(v), (long long)jv_as_int(key));
	else
		*out = jv_undefinedf(r, "%s object has no such element", jv_type_name(v));
	return VB_OK;
}

/* ---- global functions ---- */

static int g_range(struct render *r, struct value self, const struct call *c, struct value *out)
{
	(void)self;
	int64_t a[3] = { 0, 0, 1 };
	struct jrange *g;
	TRY(jinja_positional(r, "range", c, 1, 3));
	for (size_t i = 0; i < c->n; i++)
		TRY(jinja_need_int(r, "range", c->pos[i], &a[i]));
	if (c->n == 1) {
		a[1] = a[0];
		a[0] = 0;
	}
	if (a[2] == 0)
		JFAIL(r, "range() arg 3 must not be zero");
	uint64_t span = a[2] > 0 ? (a[1] > a[0] ? (uint64_t)a[1] - (uint64_t)a[0] : 0)
				 : (a[0] > a[1] ? (uint64_t)a[0] - (uint64_t)a[1] : 0);
	uint64_t step = a[2] > 0 ? (uint64_t)a[2] : 0 - (uint64_t)a[2];
	uint64_t n = span ? (span - 1) / step + 1 : 0;
	if (n > JINJA_MAX_RANGE)
		JFAIL(r, "Range too big. At most %d items are allowed.", JINJA_MAX_RANGE);
	JALLOC(r, g, sizeof *g);
	*g = (struct jrange){ a[0], a[1], a[2], (int64_t)n };
	*out = (struct value){ .type = J_RANGE, .range = g };
	return VB_OK;
}

static int fill_dict(struct render *r, const char *who, const struct call *c, struct value *out)
{
	if (c->n > 1)
		JFAIL(r, "%s() takes at most 1 positional argument, %zu given", who, c->n);
	if (c->n && c->pos[0].type == J_DICT) {
		for (size_t i = 0; i < c->pos[0].dict->n; i++)
			TRY(jd_set(r, out->dict, c->pos[0].dict->e[i].key, c->pos[0].dict->e[i].value));
	} else if (c->n) {
		struct iter it;
		struct value pair, two;
		TRY(jv_iter(r, c->pos[0], &it));
		for (;;) {
			TRY(jv_next(r, &it, &pair));
			if (pair.type == J_MISSING)
				break;
			TRY(jv_list_of(r, pair, J_TUPLE, &two));
			if (two.list->n != 2)
				JFAIL(r, "%s(): elements must be pairs", who);
			TRY(jd_set(r, out->dict, two.list->v[0], two.list->v[1]));
		}
	}
	for (size_t k = 0; k < c->n_kw; k++)
		TRY(jd_set(r, out->dict, c->kw[k].key, c->kw[k].value));
	return VB_OK;
}

static int g_dict(struct render *r, struct value self, const struct call *c, struct value *out)
{
	(void)self;
	TRY(jv_new_dict(r, J_DICT, out));
	return fill_dict(r, "dict", c, out);
}

static int g_namespace(struct render *r, struct value self, const struct call *c, struct value *out)
{
	(void)self;
	TRY(jv_new_dict(r, J_NAMESPACE, out));
	return fill_dict(r, "namespace", c, out);
}

static int g_raise_exception(struct render *r, struct value self, const struct call *c, struct value *out)
{
	(void)self;
	static const char *const params[] = { "message", NULL };
	struct value v, text;
	(void)out;
	TRY(jinja_bind(r, "raise_exception", c, params, &v));
	TRY(jv_to_str(r, v, &text));
	JFAIL(r, "%.*s", (int)(text.len < 1500 ? text.len : 1500), js_data(text));
}

static int g_strftime_now(struct render *r, struct value self, const struct call *c, struct value *out)
{
	(void)self;
	static const char *const params[] = { "format", NULL };
	struct value v;
	TRY(jinja_bind(r, "strftime_now", c, params, &v));
	if (v.type != J_STRING)
		JFAIL(r, "strftime_now: the format must be str, not %s", jv_type_name(v));
	return jinja_strftime(r, v, out);
}

static int g_joiner(struct render *r, struct value self, const struct call *c, struct value *out)
{
	(void)self;
	static const char *const params[] = { "sep", NULL };
	struct value v;
	TRY(jinja_bind(r, "joiner", c, params, &v));
	if (v.type == J_MISSING)
		TRY(js_make(r, ", ", 2, false, &v));
	TRY(jv_new_list(r, J_JOINER, 1, out));
	return jv_push(r, out->list, v);
}

static int g_cycler(struct render *r, struct value self, const struct call *c, struct value *out)
{
	(void)self;
	if (c->n == 0 || c->n_kw)
		JFAIL(r, "at least one item has to be provided");
	TRY(jv_new_list(r, J_CYCLER, c->n, out));
	for (size_t i = 0; i < c->n; i++)
		TRY(jv_push(r, out->list, c->pos[i]));
	return VB_OK;
}

static const struct jinja_builtin functions[] = {
	{ "cycler", g_cycler, 0 },
	{ "dict", g_dict, 0 },
	{ "joiner", g_joiner, 0 },
	{ "namespace", g_namespace, 0 },
	{ "raise_exception", g_raise_exception, 0 },
	{ "range", g_range, 0 },
	{ "strftime_now", g_strftime_now, 0 },
};

int jinja_make_function(struct render *r, const char *name, struct value *out)
{
	(void)r;
	*out = (struct value){ .type = J_MISSING };
	for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
		if (strcmp(functions[i].name, name) == 0)
			*out = (struct value){ .type = J_FUNCTION, .fn = &functions[i] };
	return VB_OK;
}
