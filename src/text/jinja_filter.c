/* Filters of texts, numbers and any value; those of sequences are in jinja_sequence.c. */
#include "jinja.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

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
	if (!jv_absent(v) && v.type != J_STRING)
		JFAIL(r, "trim: chars must be str or None, not %s", jv_type_name(v));
	if (!jv_absent(v))
		TRY(jinja_charge(r, (size_t)s.len / 64 * (1 + v.len / 8)));
	*out = js_strip(s, jv_absent(v) ? NULL : &v, 3);
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
	TRY(jinja_int_argument(r, "replace", v[2].type == J_NONE ? (struct value){ .type = J_MISSING } : v[2], -1, &count));
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
		TRY(jinja_int_argument(r, "indent", v[0], 4, &width));
		TRY(js_make(r, " ", 1, false, &space));
		TRY(jv_math(r, T_MUL, space, jv_int(width), &pad));
	}
	struct jinja_text *t = js_new(r, in.len + 64);
	if (!t)
		return jinja_no_memory(r);
	TRY(js_split_lines(r, in, false, &lines));
	/* The filter adds a newline before it splits: a text that ends its last line gets an empty one, but after a
	 * lone \r the two are one line end. */
	size_t n = lines.list->n;
	bool ends = n == 0 || lines.list->v[n - 1].off + lines.list->v[n - 1].len < in.off + in.len;
	if (ends && !(in.len && js_data(in)[in.len - 1] == '\r'))
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
	TRY(jinja_int_argument(r, "truncate", v[0], 255, &length));
	TRY(jinja_int_argument(r, "truncate", v[3].type == J_NONE ? (struct value){ .type = J_MISSING } : v[3], 5, &leeway));
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
	TRY(jinja_int_argument(r, "int", v[1], 10, &base));
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
	TRY(jinja_int_argument(r, "round", v[0], 0, &precision));
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
	} else if (!jv_absent(v[1]) && v[1].type != J_STRING) {
		JFAIL(r, "tojson: indent must be an integer or a string");
	}
	if (!jv_absent(v[2])) {
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
		return status_prefix(VB_EINVAL, "cannot render the chat template: %s, line %d", r->tmpl->where, r->line);
	r->kept[r->n_kept++] = j;
	return jv_from_json(r, j, js_marked(in), 0, out);
}

static const struct jinja_builtin filters[] = {
	{ "abs", f_abs, 0 },
	{ "attr", f_attr, 0 },
	{ "capitalize", f_capitalize, 0 },
	{ "center", f_center, 0 },
	{ "d", f_default, 0 },
	{ "default", f_default, 0 },
	{ "e", f_escape, 0 },
	{ "escape", f_escape, 0 },
	{ "float", f_float, 0 },
	{ "forceescape", f_forceescape, 0 },
	{ "format", f_format, 0 },
	{ "from_json", f_from_json, 0 },
	{ "indent", f_indent, 0 },
	{ "int", f_int, 0 },
	{ "lower", f_lower, 0 },
	{ "replace", f_replace, 0 },
	{ "round", f_round, 0 },
	{ "safe", f_safe, 0 },
	{ "string", f_string, 0 },
	{ "title", f_title, 0 },
	{ "tojson", f_tojson, 0 },
	{ "trim", f_trim, 0 },
	{ "truncate", f_truncate, 0 },
	{ "upper", f_upper, 0 },
	{ "urlencode", f_urlencode, 0 },
	{ "wordcount", f_wordcount, 0 },
	{ NULL, NULL, 0 },
};

const struct jinja_builtin *jinja_find_filter(const char *name, size_t n)
{
	const struct jinja_builtin *tables[] = { filters, jinja_sequence_filters };
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
		for (const struct jinja_builtin *f = tables[i]; f->name; f++)
			if (strlen(f->name) == n && memcmp(f->name, name, n) == 0)
				return f;
	return NULL;
}
