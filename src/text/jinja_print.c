/* How Python prints values: str(), repr(), json.dumps, %-formatting, str.format, strftime. */
#include "jinja.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utf8proc.h>

/* ---- numbers, in the C locale whatever the process has set ---- */

static char decimal_point(void)
{
	char text[8];
	snprintf(text, sizeof text, "%.1f", 0.5);
	return text[1];
}

static void to_point(char *s)
{
	char point = decimal_point();
	for (; point != '.' && *s; s++)
		if (*s == point)
			*s = '.';
}

bool jinja_parse_float(const char *s, size_t n, double *out)
{
	char text[400], *end;
	size_t len = 0;
	for (size_t i = 0; i < n; i++) {
		bool between = s[i] == '_' && i > 0 && i + 1 < n && s[i - 1] >= '0' && s[i - 1] <= '9' &&
			       s[i + 1] >= '0' && s[i + 1] <= '9';
		if (between)
			continue;
		/* Hexadecimal floats are C's alone. */
		if (!strchr("0123456789.eE+-infatyINFATY", s[i]) || s[i] == '\0' || len + 1 == sizeof text)
			return false;
		text[len++] = s[i] == '.' ? decimal_point() : s[i];
	}
	text[len] = '\0';
	if (len == 0 || memchr(text, '(', len))
		return false;
	*out = strtod(text, &end);
	return end == text + len;
}

/* The shortest digits that read back as f, laid out as Python's repr does. */
size_t jinja_float_text(double f, char out[32])
{
	if (isnan(f))
		return (size_t)sprintf(out, "nan");
	if (isinf(f))
		return (size_t)sprintf(out, f < 0 ? "-inf" : "inf");
	char text[40], digits[24];
	int p = 0;
	for (; p <= 16; p++) {
		snprintf(text, sizeof text, "%.*e", p, f);
		if (strtod(text, NULL) == f)
			break;
	}
	size_t n = 0;
	const char *s = text;
	bool negative = *s == '-';
	for (s += negative; *s && *s != 'e'; s++)
		if (*s >= '0' && *s <= '9')
			digits[n++] = *s;
	int exponent = *s == 'e' ? atoi(s + 1) : 0;
	char *o = out;
	if (negative)
		*o++ = '-';
	if (exponent < -4 || exponent >= 16) {
		*o++ = digits[0];
		if (n > 1) {
			*o++ = '.';
			memcpy(o, digits + 1, n - 1);
			o += n - 1;
		}
		o += sprintf(o, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
		return (size_t)(o - out);
	}
	if (exponent < 0) {
		o += sprintf(o, "0.");
		for (int i = -1; i > exponent; i--)
			*o++ = '0';
		memcpy(o, digits, n);
		return (size_t)(o + n - out);
	}
	for (int i = 0; i <= exponent; i++)
		*o++ = i < (int)n ? digits[i] : '0';
	*o++ = '.';
	if ((int)n > exponent + 1) {
		memcpy(o, digits + exponent + 1, n - (size_t)exponent - 1);
		o += n - (size_t)exponent - 1;
	} else {
		*o++ = '0';
	}
	return (size_t)(o - out);
}

/* ---- str and repr ---- */

static bool is_printable(uint32_t cp)
{
	if (cp < 0x7f)
		return cp >= 0x20;
	switch (utf8proc_category((utf8proc_int32_t)cp)) {
	case UTF8PROC_CATEGORY_CN:
	case UTF8PROC_CATEGORY_CC:
	case UTF8PROC_CATEGORY_CF:
	case UTF8PROC_CATEGORY_CS:
	case UTF8PROC_CATEGORY_CO:
	case UTF8PROC_CATEGORY_ZL:
	case UTF8PROC_CATEGORY_ZP:
	case UTF8PROC_CATEGORY_ZS:
		return false;
	default:
		return true;
	}
}

/* The quotes are marked as their neighbour is: the whole literal is the caller's. */
static int repr_string(struct render *r, struct jinja_text *t, struct value s)
{
	const char *p = js_data(s);
	bool single = memchr(p, '\'', s.len) != NULL, dbl = memchr(p, '"', s.len) != NULL;
	char quote = single && !dbl ? '"' : '\'';
	bool any = js_marked(s), marked;
	if (s.safe)
		TRY(js_puts(r, t, "Markup("));
	TRY(js_append(r, t, &quote, 1, any));
	for (size_t i = 0; i < s.len;) {
		size_t end = i + js_run(s, i, &marked);
		while (i < end) {
			uint32_t cp;
			char esc[16];
			size_t n = js_decode(js_data(s) + i, s.len - i, &cp);
			if (cp == '\n' || cp == '\r' || cp == '\t')
				snprintf(esc, sizeof esc, "\\%c", cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't');
			else if (cp == '\\' || cp == (uint32_t)quote)
				snprintf(esc, sizeof esc, "\\%c", (char)cp);
			else if (is_printable(cp))
				esc[0] = '\0';
			else
				snprintf(esc, sizeof esc, cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x",
					 cp);
			TRY(*esc ? js_append(r, t, esc, strlen(esc), marked)
				 : js_append_value(r, t, js_sub(s, i, i + n)));
			i += n;
		}
	}
	TRY(js_append(r, t, &quote, 1, any));
	return s.safe ? js_puts(r, t, ")") : VB_OK;
}

static int repr_dict(struct render *r, struct jinja_text *t, const struct jdict *d)
{
	TRY(js_puts(r, t, "{"));
	for (size_t i = 0; i < d->n; i++) {
		if (i)
			TRY(js_puts(r, t, ", "));
		TRY(jv_repr(r, t, d->e[i].key));
		TRY(js_puts(r, t, ": "));
		TRY(jv_repr(r, t, d->e[i].value));
	}
	return js_puts(r, t, "}");
}

static int repr_items(struct render *r, struct jinja_text *t, struct value v, const char *open, const char *close)
{
	struct iter it;
	struct value item;
	bool first = true;
	TRY(jv_iter(r, v, &it));
	TRY(js_puts(r, t, open));
	for (;;) {
		TRY(jv_next(r, &it, &item));
		if (item.type == J_MISSING)
			break;
		if (!first)
			TRY(js_puts(r, t, ", "));
		first = false;
		TRY(jv_repr(r, t, item));
	}
	return js_puts(r, t, close);
}

static int print_loop(struct render *r, struct jinja_text *t, struct value v)
{
	struct value length, name;
	char text[80];
	TRY(js_make(r, "length", 6, false, &name));
	TRY(jv_attr(r, v, name, &length));
	snprintf(text, sizeof text, "<LoopContext %" PRId64 "/%" PRId64 ">", v.loop->index0 + 1, length.i);
	return js_puts(r, t, text);
}

static int repr_value(struct render *r, struct jinja_text *t, struct value v)
{
	char text[96];
	switch ((enum jtype)v.type) {
	case J_MISSING:
		return VB_OK;
	case J_UNDEFINED:
		return js_puts(r, t, "Undefined");
	case J_NONE:
		return js_puts(r, t, "None");
	case J_BOOL:
		return js_puts(r, t, v.b ? "True" : "False");
	case J_INT:
		snprintf(text, sizeof text, "%" PRId64, v.i);
		return js_puts(r, t, text);
	case J_FLOAT:
		return js_append(r, t, text, jinja_float_text(v.f, text), false);
	case J_STRING:
		return repr_string(r, t, v);
	case J_LIST:
		return repr_items(r, t, v, "[", "]");
	case J_TUPLE:
		return repr_items(r, t, v, "(", v.list->n == 1 ? ",)" : ")");
	case J_DICT:
		return repr_dict(r, t, v.dict);
	case J_VIEW:
		snprintf(text, sizeof text, "%s([", jv_type_name(v));
		return repr_items(r, t, v, text, "])");
	case J_RANGE:
		snprintf(text, sizeof text, v.range->step == 1 ? "range(%" PRId64 ", %" PRId64 ")"
							       : "range(%" PRId64 ", %" PRId64 ", %" PRId64 ")",
			 v.range->start, v.range->stop, v.range->step);
		return js_puts(r, t, text);
	case J_NAMESPACE:
		TRY(js_puts(r, t, "<Namespace "));
		TRY(repr_dict(r, t, v.dict));
		return js_puts(r, t, ">");
	case J_LOOP:
		return print_loop(r, t, v);
	default:
		snprintf(text, sizeof text, "<%s object>", jv_type_name(v));
		return js_puts(r, t, text);
	}
}

int jv_repr(struct render *r, struct jinja_text *t, struct value v)
{
	TRY(jinja_charge(r, 1));
	if (++r->depth > JINJA_MAX_DEPTH)
		JLIMIT(r, "values nested too deep");
	TRY(repr_value(r, t, v));
	r->depth--;
	return VB_OK;
}

int jv_print(struct render *r, struct jinja_text *t, struct value v)
{
	if (v.type == J_STRING)
		return js_append_value(r, t, v);
	if (v.type == J_UNDEFINED)
		return VB_OK;
	return jv_repr(r, t, v);
}

int jv_to_str(struct render *r, struct value v, struct value *out)
{
	if (v.type == J_STRING) {
		*out = v;
		return VB_OK;
	}
	struct jinja_text *t = js_new(r, 16);
	if (!t)
		return jinja_no_memory(r);
	TRY(jv_print(r, t, v));
	*out = js_value(t);
	return VB_OK;
}

/* ---- json.dumps ---- */

static int json_string_text(struct render *r, struct jinja_text *t, struct value s, bool ascii)
{
	bool any = js_marked(s), marked;
	TRY(js_append(r, t, "\"", 1, any));
	for (size_t i = 0; i < s.len;) {
		size_t end = i + js_run(s, i, &marked);
		while (i < end) {
			uint32_t cp;
			char esc[16] = "";
			size_t n = js_decode(js_data(s) + i, s.len - i, &cp);
			static const char names[] = "\"\"\\\\\nn\rr\tt\bb\ff";
			const char *name = NULL;
			for (const char *p = names; *p && !name; p += 2)
				if ((uint32_t)*p == cp)
					name = p + 1;
			if (name)
				snprintf(esc, sizeof esc, "\\%c", *name);
			else if (cp < 0x20 || (ascii && cp >= 0x80 && cp < 0x10000))
				snprintf(esc, sizeof esc, "\\u%04x", cp);
			else if (ascii && cp >= 0x10000)
				snprintf(esc, sizeof esc, "\\u%04x\\u%04x", 0xd7c0 + (cp >> 10), 0xdc00 + (cp & 0x3ff));
			TRY(*esc ? js_append(r, t, esc, strlen(esc), marked)
				 : js_append_value(r, t, js_sub(s, i, i + n)));
			i += n;
		}
	}
	return js_append(r, t, "\"", 1, any);
}

static int json_newline(struct render *r, struct jinja_text *t, const struct json_style *style, int level)
{
	if (style->indent.type <= J_NONE)
		return VB_OK;
	TRY(js_puts(r, t, "\n"));
	for (int i = 0; i < level; i++)
		TRY(js_append_value(r, t, style->indent));
	return VB_OK;
}

static int json_comma(struct render *r, struct jinja_text *t, const struct json_style *style)
{
	if (style->item.type == J_STRING)
		return js_append_value(r, t, style->item);
	return js_puts(r, t, style->indent.type <= J_NONE ? ", " : ",");
}

static int json_value(struct render *r, struct jinja_text *t, struct value v, const struct json_style *style,
		      int level);

static int json_list(struct render *r, struct jinja_text *t, const struct jlist *l,
		     const struct json_style *style, int level)
{
	if (l->n == 0)
		return js_puts(r, t, "[]");
	TRY(js_puts(r, t, "["));
	for (size_t i = 0; i < l->n; i++) {
		if (i)
			TRY(json_comma(r, t, style));
		TRY(json_newline(r, t, style, level + 1));
		TRY(json_value(r, t, l->v[i], style, level + 1));
	}
	TRY(json_newline(r, t, style, level));
	return js_puts(r, t, "]");
}

static int json_key(struct render *r, struct jinja_text *t, struct value k, const struct json_style *style)
{
	if (k.type == J_STRING)
		return json_string_text(r, t, k, style->ascii);
	if (k.type != J_NONE && !jv_is_number(k))
		JFAIL(r, "keys must be str, int, float, bool or None, not %s", jv_type_name(k));
	TRY(js_puts(r, t, "\""));
	TRY(json_value(r, t, k, style, 0));
	return js_puts(r, t, "\"");
}

/* Insertion sort by key on a copy: dictionaries are small, and the steps are counted. */
static int sort_entries(struct render *r, const struct jdict *d, struct jentry **out)
{
	struct jentry *e;
	JALLOC(r, e, (d->n + 1) * sizeof *e);
	for (size_t i = 0; i < d->n; i++) {
		size_t at = i;
		for (; at > 0; at--) {
			bool less;
			TRY(jv_order(r, d->e[i].key, e[at - 1].key, T_LT, &less));
			if (!less)
				break;
			e[at] = e[at - 1];
		}
		e[at] = d->e[i];
	}
	*out = e;
	return VB_OK;
}

static int json_dict(struct render *r, struct jinja_text *t, const struct jdict *d,
		     const struct json_style *style, int level)
{
	struct jentry *e = d->e;
	if (d->n == 0)
		return js_puts(r, t, "{}");
	if (style->sort)
		TRY(sort_entries(r, d, &e));
	TRY(js_puts(r, t, "{"));
	for (size_t i = 0; i < d->n; i++) {
		if (i)
			TRY(json_comma(r, t, style));
		TRY(json_newline(r, t, style, level + 1));
		TRY(json_key(r, t, e[i].key, style));
		TRY(style->key.type == J_STRING ? js_append_value(r, t, style->key) : js_puts(r, t, ": "));
		TRY(json_value(r, t, e[i].value, style, level + 1));
	}
	TRY(json_newline(r, t, style, level));
	return js_puts(r, t, "}");
}

static int json_value(struct render *r, struct jinja_text *t, struct value v, const struct json_style *style,
		      int level)
{
	TRY(jinja_charge(r, 1));
	if (level > JINJA_MAX_NESTING)
		JLIMIT(r, "tojson: values nested deeper than 200");
	switch ((enum jtype)v.type) {
	case J_NONE:
		return js_puts(r, t, "null");
	case J_BOOL:
		return js_puts(r, t, v.b ? "true" : "false");
	case J_FLOAT:
		if (!isfinite(v.f))
			return js_puts(r, t, isnan(v.f) ? "NaN" : v.f < 0 ? "-Infinity" : "Infinity");
		return jv_repr(r, t, v);
	case J_INT:
		return jv_repr(r, t, v);
	case J_STRING:
		return json_string_text(r, t, v, style->ascii);
	case J_LIST:
	case J_TUPLE:
		return json_list(r, t, v.list, style, level);
	case J_DICT:
		return json_dict(r, t, v.dict, style, level);
	default:
		JFAIL(r, "Object of type %s is not JSON serializable", jv_type_name(v));
	}
}

int jv_to_json(struct render *r, struct jinja_text *t, struct value v, const struct json_style *style)
{
	return json_value(r, t, v, style, 0);
}

/* ---- "%s" % x ---- */

struct directive {
	bool minus, zero, plus, space, alt;
	int64_t width, precision; /* precision < 0: not given */
	char conversion;
};

static int pad(struct render *r, struct jinja_text *t, struct value s, const struct directive *d, bool number)
{
	size_t have = js_length(s);
	size_t fill = d->width > 0 && (size_t)d->width > have ? (size_t)d->width - have : 0;
	if (d->minus)
		TRY(js_append_value(r, t, s));
	size_t sign = number && d->zero && !d->minus && s.len && strchr("+- ", *js_data(s)) ? 1 : 0;
	TRY(js_append_value(r, t, js_sub(s, 0, d->minus ? 0 : sign)));
	TRY(jinja_charge(r, fill));
	for (size_t i = 0; i < fill; i++)
		TRY(js_append(r, t, number && d->zero && !d->minus ? "0" : " ", 1, false));
	return d->minus ? VB_OK : js_append_value(r, t, js_sub(s, sign, s.len));
}

static int percent_number(struct render *r, struct value v, const struct directive *d, struct value *out)
{
	char text[400];
	int n = 0;
	char c = d->conversion;
	if (!jv_is_number(v))
		JFAIL(r, "%%%c format: a real number is required, not %s", c, jv_type_name(v));
	const char *sign = d->plus ? "+" : d->space ? " " : "";
	if (strchr("diuxXo", c)) {
		if (strchr("xXo", c) && !jv_is_int(v))
			JFAIL(r, "%%%c format: an integer is required, not %s", c, jv_type_name(v));
		double f = v.type == J_FLOAT ? trunc(v.f) : 0;
		if (v.type == J_FLOAT && !(fabs(f) < 0x1p63))
			JFAIL(r, "cannot convert float to an integer of 64 bits");
		int64_t i = v.type == J_FLOAT ? (int64_t)f : jv_as_int(v);
		uint64_t m = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
		const char *prefix = !d->alt ? "" : c == 'x' ? "0x" : c == 'X' ? "0X" : c == 'o' ? "0o" : "";
		int digits = d->precision > 300 ? 300 : d->precision < 1 ? 1 : (int)d->precision;
		const char *fmt = c == 'x' ? "%s%s%.*" PRIx64 : c == 'X' ? "%s%s%.*" PRIX64
							      : c == 'o' ? "%s%s%.*" PRIo64
									 : "%s%s%.*" PRIu64;
		n = snprintf(text, sizeof text, fmt, i < 0 ? "-" : sign, prefix, digits, m);
	} else {
		double f = jv_as_float(v);
		int precision = d->precision < 0 ? 6 : d->precision > 60 ? 60 : (int)d->precision;
		if (signbit(f))
			sign = "";
		const char *fmt = c == 'e' ? "%s%.*e" : c == 'E' ? "%s%.*E" : c == 'g' ? "%s%.*g"
					 : c == 'G'	? "%s%.*G"
							: "%s%.*f";
		n = snprintf(text, sizeof text, fmt, sign, precision, f);
		to_point(text);
	}
	if (n < 0 || (size_t)n >= sizeof text)
		JFAIL(r, "%%%c format: too many digits", c);
	return js_make(r, text, (size_t)n, false, out);
}

static int percent_one(struct render *r, struct jinja_text *t, struct value v, const struct directive *d)
{
	struct value s;
	char c = d->conversion;
	if (c == 's' || c == 'r' || c == 'a') {
		if (c == 's') {
			TRY(jv_to_str(r, v, &s));
		} else {
			struct jinja_text *u = js_new(r, 16);
			if (!u)
				return jinja_no_memory(r);
			TRY(jv_repr(r, u, v));
			s = js_value(u);
		}
		if (d->precision >= 0)
			s = js_sub(s, 0, js_offset(s, (size_t)d->precision));
		return pad(r, t, s, d, false);
	}
	if (c == 'c') {
		if (v.type != J_STRING || js_length(v) != 1)
			JFAIL(r, "%%c requires a character");
		return pad(r, t, v, d, false);
	}
	if (!strchr("diuxXoeEfFgG", c))
		JFAIL(r, "unsupported format character '%c'", c);
	TRY(percent_number(r, v, d, &s));
	return pad(r, t, s, d, true);
}

static int percent_width(struct render *r, struct value f, size_t *i, int64_t *out)
{
	int64_t n = 0;
	while (*i < f.len && js_data(f)[*i] >= '0' && js_data(f)[*i] <= '9') {
		n = n * 10 + (js_data(f)[(*i)++] - '0');
		if (n > 1000000)
			JFAIL(r, "width or precision too big in a format");
	}
	*out = n;
	return VB_OK;
}

int jinja_percent(struct render *r, struct value f, struct value args, struct value *out)
{
	struct jinja_text *t = js_new(r, f.len);
	if (!t)
		return jinja_no_memory(r);
	size_t used = 0, n = args.type == J_TUPLE ? args.list->n : 1;
	bool named = false;
	for (size_t i = 0; i < f.len;) {
		const char *p = memchr(js_data(f) + i, '%', f.len - i);
		size_t at = p ? (size_t)(p - js_data(f)) : f.len;
		TRY(js_append_value(r, t, js_sub(f, i, at)));
		i = at + 1;
		if (!p)
			break;
		struct directive d = { .precision = -1 };
		struct value v = { .type = J_MISSING };
		if (i < f.len && js_data(f)[i] == '(') {
			const char *end = memchr(js_data(f) + i, ')', f.len - i);
			if (!end || args.type != J_DICT)
				JFAIL(r, "format requires a mapping");
			size_t close = (size_t)(end - js_data(f));
			jd_get_str(args.dict, js_data(f) + i + 1, close - i - 1, &v);
			if (v.type == J_MISSING)
				JFAIL(r, "format key not found");
			i = close + 1;
			named = true;
		}
		for (; i < f.len && js_data(f)[i] && strchr("-+ 0#", js_data(f)[i]); i++) {
			d.minus |= js_data(f)[i] == '-';
			d.plus |= js_data(f)[i] == '+';
			d.space |= js_data(f)[i] == ' ';
			d.zero |= js_data(f)[i] == '0';
			d.alt |= js_data(f)[i] == '#';
		}
		TRY(percent_width(r, f, &i, &d.width));
		if (i < f.len && js_data(f)[i] == '.') {
			i++;
			TRY(percent_width(r, f, &i, &d.precision));
		}
		if (i >= f.len)
			JFAIL(r, "incomplete format");
		d.conversion = js_data(f)[i++];
		if (d.conversion == '%') {
			TRY(js_puts(r, t, "%"));
			continue;
		}
		if (v.type == J_MISSING) {
			if (used >= n)
				JFAIL(r, "not enough arguments for format string");
			v = args.type == J_TUPLE ? args.list->v[used] : args;
			used++;
		}
		TRY(percent_one(r, t, v, &d));
	}
	if (!named && used < n && args.type != J_DICT && args.type != J_LIST)
		JFAIL(r, "not all arguments converted during string formatting");
	*out = js_value(t);
	return VB_OK;
}

/* ---- "{}".format(x): fields by order, number or name, with attributes and items but no format spec ---- */

static int format_field(struct render *r, struct value name, const struct call *c, size_t *next, struct value *out)
{
	size_t end = 0;
	const char *p = js_data(name);
	while (end < name.len && p[end] != '.' && p[end] != '[')
		end++;
	int64_t index;
	*out = (struct value){ .type = J_MISSING };
	if (end == 0 || jinja_parse_int(p, end, 10, &index)) {
		index = end == 0 ? (int64_t)(*next)++ : index;
		if (index < 0 || (size_t)index >= c->n)
			JFAIL(r, "format: no argument %lld", (long long)index);
		*out = c->pos[index];
	}
	for (size_t k = 0; out->type == J_MISSING && k < c->n_kw; k++)
		if (c->kw[k].key.len == end && memcmp(js_data(c->kw[k].key), p, end) == 0)
			*out = c->kw[k].value;
	if (out->type == J_MISSING)
		JFAIL(r, "format: no argument '%.*s'", (int)end, p);
	while (end < name.len) {
		bool item = p[end] == '[';
		size_t from = ++end;
		while (end < name.len && (item ? p[end] != ']' : p[end] != '.' && p[end] != '['))
			end++;
		struct value key = js_sub(name, from, end);
		if (item && end++ == name.len)
			JFAIL(r, "format: expected ']'");
		if (item && jinja_parse_int(js_data(key), key.len, 10, &index))
			key = jv_int(index);
		TRY(item ? jv_item(r, *out, key, out) : jv_attr(r, *out, key, out));
	}
	return VB_OK;
}

int jinja_format(struct render *r, struct value f, const struct call *c, struct value *out)
{
	struct jinja_text *t = js_new(r, f.len);
	if (!t)
		return jinja_no_memory(r);
	size_t next = 0;
	for (size_t i = 0; i < f.len;) {
		size_t at = i;
		while (at < f.len && js_data(f)[at] != '{' && js_data(f)[at] != '}')
			at++;
		TRY(js_append_value(r, t, js_sub(f, i, at)));
		if (at == f.len)
			break;
		char brace = js_data(f)[at];
		i = at + 1;
		if (i < f.len && js_data(f)[i] == brace) {
			TRY(js_append_value(r, t, js_sub(f, at, i)));
			i++;
			continue;
		}
		const char *end = memchr(js_data(f) + i, '}', f.len - i);
		if (brace == '}' || !end)
			JFAIL(r, "format: single '%c'", brace);
		size_t close = (size_t)(end - js_data(f));
		if (memchr(js_data(f) + i, ':', close - i) || memchr(js_data(f) + i, '!', close - i))
			JFAIL(r, "format: specifications after ':' and '!' are not supported");
		struct value v;
		TRY(format_field(r, js_sub(f, i, close), c, &next, &v));
		TRY(jv_print(r, t, v));
		i = close + 1;
	}
	*out = js_value(t);
	return VB_OK;
}

/* ---- strftime, in English and UTC ---- */

static const char *const days[] = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday" };
static const char *const months[] = { "January", "February", "March",     "April",   "May",	 "June",
				      "July",	 "August",   "September", "October", "November", "December" };

/* ISO 8601: the week belongs to the year that its Thursday is in. */
static void iso_week(const struct tm *tm, int *year, int *week)
{
	int weekday = (tm->tm_wday + 6) % 7;
	*year = tm->tm_year + 1900;
	*week = (tm->tm_yday - weekday + 10) / 7;
	for (int step = 0; step < 2; step++) {
		int y = *week < 1 ? *year - 1 : *year;
		bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
		int first = (weekday - (tm->tm_yday - (y < *year ? -(365 + leap) : 0)) % 7 + 14) % 7;
		int weeks = first == 3 || (first == 2 && leap) ? 53 : 52;
		if (*week < 1) {
			*year = y;
			*week = weeks;
			return;
		}
		if (*week > weeks) {
			*year += 1;
			*week = 1;
			return;
		}
	}
}

static int number_field(struct render *r, struct jinja_text *t, char flag, int width, char fill, int64_t v)
{
	char text[40];
	if (flag == '-')
		width = 0;
	else if (flag == '_' || flag == '0')
		fill = flag == '_' ? ' ' : '0';
	snprintf(text, sizeof text, fill == '0' ? "%0*" PRId64 : "%*" PRId64, width, v);
	return js_puts(r, t, text);
}

static int time_field(struct render *r, struct jinja_text *t, const struct tm *tm, char flag, char c);

static int time_fields(struct render *r, struct jinja_text *t, const struct tm *tm, const char *f, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (f[i] != '%' || i + 1 == n) {
			TRY(js_append(r, t, f + i, 1, false));
			continue;
		}
		char flag = 0;
		i++;
		if (strchr("-_0^#", f[i]) && f[i] && i + 1 < n)
			flag = f[i++];
		TRY(time_field(r, t, tm, flag, f[i]));
	}
	return VB_OK;
}

static int time_name(struct render *r, struct jinja_text *t, const char *name, size_t n, char flag)
{
	for (size_t i = 0; name[i] && i < n; i++) {
		char c = name[i];
		if (flag == '^' && c >= 'a' && c <= 'z')
			c = (char)(c - 'a' + 'A');
		TRY(js_append(r, t, &c, 1, false));
	}
	return VB_OK;
}

static int time_field(struct render *r, struct jinja_text *t, const struct tm *tm, char flag, char c)
{
	int hour12 = tm->tm_hour % 12 ? tm->tm_hour % 12 : 12, iso_year, week;
	iso_week(tm, &iso_year, &week);
	switch (c) {
	case 'a':
		return time_name(r, t, days[tm->tm_wday], 3, flag);
	case 'A':
		return time_name(r, t, days[tm->tm_wday], 99, flag);
	case 'b':
	case 'h':
		return time_name(r, t, months[tm->tm_mon], 3, flag);
	case 'B':
		return time_name(r, t, months[tm->tm_mon], 99, flag);
	case 'c':
		return time_fields(r, t, tm, "%a %b %e %H:%M:%S %Y", 20);
	case 'C':
		return number_field(r, t, flag, 2, '0', (tm->tm_year + 1900) / 100);
	case 'd':
		return number_field(r, t, flag, 2, '0', tm->tm_mday);
	case 'D':
	case 'x':
		return time_fields(r, t, tm, "%m/%d/%y", 8);
	case 'e':
		return number_field(r, t, flag, 2, ' ', tm->tm_mday);
	case 'f':
		return js_puts(r, t, "000000");
	case 'F':
		return time_fields(r, t, tm, "%Y-%m-%d", 8);
	case 'g':
		return number_field(r, t, flag, 2, '0', iso_year % 100);
	case 'G':
		return number_field(r, t, flag, 4, '0', iso_year);
	case 'H':
		return number_field(r, t, flag, 2, '0', tm->tm_hour);
	case 'I':
		return number_field(r, t, flag, 2, '0', hour12);
	case 'j':
		return number_field(r, t, flag, 3, '0', tm->tm_yday + 1);
	case 'k':
		return number_field(r, t, flag, 2, ' ', tm->tm_hour);
	case 'l':
		return number_field(r, t, flag, 2, ' ', hour12);
	case 'm':
		return number_field(r, t, flag, 2, '0', tm->tm_mon + 1);
	case 'M':
		return number_field(r, t, flag, 2, '0', tm->tm_min);
	case 'n':
		return js_puts(r, t, "\n");
	case 'p':
		return js_puts(r, t, tm->tm_hour < 12 ? flag == '#' ? "am" : "AM" : flag == '#' ? "pm" : "PM");
	case 'P':
		return js_puts(r, t, tm->tm_hour < 12 ? "am" : "pm");
	case 'r':
		return time_fields(r, t, tm, "%I:%M:%S %p", 11);
	case 'R':
		return time_fields(r, t, tm, "%H:%M", 5);
	case 's':
		return number_field(r, t, flag, 0, '0', r->now);
	case 'S':
		return number_field(r, t, flag, 2, '0', tm->tm_sec);
	case 't':
		return js_puts(r, t, "\t");
	case 'T':
	case 'X':
		return time_fields(r, t, tm, "%H:%M:%S", 8);
	case 'u':
		return number_field(r, t, flag, 1, '0', tm->tm_wday ? tm->tm_wday : 7);
	case 'U':
		return number_field(r, t, flag, 2, '0', (tm->tm_yday + 7 - tm->tm_wday) / 7);
	case 'V':
		return number_field(r, t, flag, 2, '0', week);
	case 'w':
		return number_field(r, t, flag, 1, '0', tm->tm_wday);
	case 'W':
		return number_field(r, t, flag, 2, '0', (tm->tm_yday + 7 - (tm->tm_wday + 6) % 7) / 7);
	case 'y':
		return number_field(r, t, flag, 2, '0', tm->tm_year % 100);
	case 'Y':
		return number_field(r, t, flag, 4, '0', tm->tm_year + 1900);
	case 'z':
	case 'Z':
		return VB_OK; /* a time without a zone has neither name nor offset */
	case '%':
		return js_puts(r, t, "%");
	default:
		TRY(js_puts(r, t, "%"));
		if (flag)
			TRY(js_append(r, t, &flag, 1, false));
		return js_append(r, t, &c, 1, false);
	}
}

int jinja_strftime(struct render *r, struct value format, struct value *out)
{
	struct tm tm;
	time_t now = (time_t)r->now;
	if (r->now < 0 || r->now > 253402300799 || !gmtime_r(&now, &tm))
		JFAIL(r, "strftime_now: the time is not within the years 1970 to 9999");
	if (format.len > 4096)
		JFAIL(r, "strftime_now: a format of over 4096 bytes");
	struct jinja_text *t = js_new(r, 32);
	if (!t)
		return jinja_no_memory(r);
	TRY(time_fields(r, t, &tm, js_data(format), format.len));
	*out = js_value(t);
	return VB_OK;
}
