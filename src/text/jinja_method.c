/* Attributes, methods and the global functions. */
#include "jinja.h"

#include <string.h>
#include <utf8proc.h>

#define STR (1u << J_STRING)
#define LIST (1u << J_LIST)
#define TUPLE (1u << J_TUPLE)
#define DICT (1u << J_DICT)
#define LOOP (1u << J_LOOP)
#define CYCLER (1u << J_CYCLER)

static int no_keywords(struct render *r, const char *who, const struct call *c, size_t min, size_t max)
{
	if (c->n_kw)
		JFAIL(r, "%s() takes no keyword arguments", who);
	if (c->n < min || c->n > max)
		JFAIL(r, "%s() takes %zu to %zu arguments, %zu given", who, min, max, c->n);
	return VB_OK;
}

static int need_string(struct render *r, const char *who, struct value v)
{
	if (v.type == J_UNDEFINED)
		return jv_use_undefined(r, v);
	if (v.type != J_STRING)
		JFAIL(r, "%s() argument must be str, not %s", who, jv_type_name(v));
	return VB_OK;
}

static int need_int(struct render *r, const char *who, struct value v, int64_t *out)
{
	if (v.type == J_UNDEFINED)
		return jv_use_undefined(r, v);
	if (!jv_is_int(v))
		JFAIL(r, "%s() argument must be int, not %s", who, jv_type_name(v));
	*out = jv_as_int(v);
	return VB_OK;
}

static bool absent(struct value v)
{
	return v.type == J_MISSING || v.type == J_NONE;
}

/* ---- case ---- */

static uint32_t cased(uint32_t cp, int how)
{
	if (cp < 0x80) {
		bool lower = cp >= 'a' && cp <= 'z', upper = cp >= 'A' && cp <= 'Z';
		if (how == CASE_SWAP)
			return lower || upper ? cp ^ 0x20 : cp;
		return how == CASE_LOWER ? upper ? cp | 0x20 : cp : lower ? cp & ~0x20u : cp;
	}
	utf8proc_int32_t c = (utf8proc_int32_t)cp;
	if (how == CASE_SWAP)
		return (uint32_t)(utf8proc_tolower(c) != c ? utf8proc_tolower(c) : utf8proc_toupper(c));
	return (uint32_t)(how == CASE_UPPER ? utf8proc_toupper(c)
			  : how == CASE_LOWER ? utf8proc_tolower(c)
					      : utf8proc_totitle(c));
}

static bool is_letter(uint32_t cp)
{
	utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
	return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

static bool has_case(uint32_t cp)
{
	utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
	return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LT;
}

/* Code point by code point; of the few mappings to several, the German sharp s alone is known. */
int js_map_case(struct render *r, struct value s, int how, struct value *out)
{
	struct jinja_text *t = js_new(r, s.len);
	if (!t)
		return jinja_no_memory(r);
	bool word = false, marked;
	TRY(jinja_charge(r, s.len / 16));
	for (size_t i = 0; i < s.len;) {
		size_t end = i + js_run(s, i, &marked);
		while (i < end) {
			uint32_t cp;
			size_t n = js_decode(js_data(s) + i, s.len - i, &cp);
			int now = how == CASE_TITLE || how == CASE_CAPITAL ? word ? CASE_LOWER : CASE_TITLE : how;
			uint32_t to = cased(cp, now);
			char bytes[4];
			if (cp == 0xdf && (now == CASE_UPPER || now == CASE_TITLE || now == CASE_SWAP))
				TRY(js_append(r, t, now == CASE_TITLE ? "Ss" : "SS", 2, marked));
			else if (to == cp)
				TRY(js_append(r, t, js_data(s) + i, n, marked));
			else
				TRY(js_append(r, t, bytes,
					      (size_t)utf8proc_encode_char((utf8proc_int32_t)to, (utf8proc_uint8_t *)bytes),
					      marked));
			word = how == CASE_CAPITAL || has_case(cp);
			i += n;
		}
	}
	*out = js_value(t);
	out->safe = s.safe;
	return VB_OK;
}

bool js_is_cased(struct value s, bool upper)
{
	bool any = false;
	for (size_t i = 0; i < s.len;) {
		uint32_t cp;
		i += js_decode(js_data(s) + i, s.len - i, &cp);
		if (!has_case(cp))
			continue;
		utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
		if (k != (upper ? UTF8PROC_CATEGORY_LU : UTF8PROC_CATEGORY_LL))
			return false;
		any = true;
	}
	return any;
}

static int m_upper(struct render *r, struct value s, const struct call *c, struct value *out)
{
	TRY(no_keywords(r, "upper", c, 0, 0));
	return js_map_case(r, s, CASE_UPPER, out);
}

static int m_lower(struct render *r, struct value s, const struct call *c, struct value *out)
{
	TRY(no_keywords(r, "lower", c, 0, 0));
	return js_map_case(r, s, CASE_LOWER, out);
}

static int m_title(struct render *r, struct value s, const struct call *c, struct value *out)
{
	TRY(no_keywords(r, "title", c, 0, 0));
	return js_map_case(r, s, CASE_TITLE, out);
}

static int m_capitalize(struct render *r, struct value s, const struct call *c, struct value *out)
{
	TRY(no_keywords(r, "capitalize", c, 0, 0));
	return js_map_case(r, s, CASE_CAPITAL, out);
}

static int m_swapcase(struct render *r, struct value s, const struct call *c, struct value *out)
{
	TRY(no_keywords(r, "swapcase", c, 0, 0));
	return js_map_case(r, s, CASE_SWAP, out);
}

/* ---- stripping, finding, replacing ---- */

static int strip(struct render *r, struct value s, const struct call *c, int which, struct value *out)
{
	TRY(no_keywords(r, "strip", c, 0, 1));
	if (c->n == 0 || c->pos[0].type == J_NONE) {
		*out = js_strip(s, NULL, which);
		return VB_OK;
	}
	TRY(need_string(r, "strip", c->pos[0]));
	TRY(jinja_charge(r, (size_t)s.len / 64 * (1 + c->pos[0].len / 8)));
	*out = js_strip(s, &c->pos[0], which);
	return VB_OK;
}

static int m_strip(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return strip(r, s, c, 3, out);
}

static int m_lstrip(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return strip(r, s, c, 1, out);
}

static int m_rstrip(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return strip(r, s, c, 2, out);
}

/* What searching costs at worst. */
static int charge_search(struct render *r, struct value s, struct value part)
{
	return jinja_charge(r, s.len / 64 + (size_t)s.len / 64 * (part.len / 64));
}

static int64_t find_last(struct value s, struct value part)
{
	for (int64_t i = (int64_t)s.len - (int64_t)part.len; i >= 0; i--)
		if (memcmp(js_data(s) + i, js_data(part), part.len) == 0)
			return i;
	return -1;
}

/* s[start:end] of the optional arguments from c->pos[1] on. *skipped is start in code points, -1 where the start
 * lies behind the end or the text: there not even the empty text is found. */
static int window(struct render *r, struct value s, const struct call *c, struct value *out, int64_t *skipped)
{
	struct value bound[3] = { { .type = J_MISSING }, { .type = J_MISSING }, { .type = J_MISSING } };
	int64_t n = (int64_t)js_length(s), at[2] = { 0, n };
	for (size_t i = 1; i < c->n && i < 3; i++) {
		bound[i - 1] = c->pos[i];
		if (absent(c->pos[i]))
			continue;
		TRY(need_int(r, "start or end", c->pos[i], &at[i - 1]));
		if (at[i - 1] < 0)
			at[i - 1] = at[i - 1] + n < 0 ? 0 : at[i - 1] + n;
	}
	*skipped = at[0] > n || at[0] > at[1] ? -1 : at[0];
	return jv_slice(r, s, bound, out);
}

static int find(struct render *r, struct value s, const struct call *c, bool last, struct value *out)
{
	struct value in;
	int64_t skipped;
	TRY(no_keywords(r, "find", c, 1, 3));
	TRY(need_string(r, "find", c->pos[0]));
	TRY(charge_search(r, s, c->pos[0]));
	TRY(window(r, s, c, &in, &skipped));
	int64_t at = last ? find_last(in, c->pos[0]) : js_find(in, c->pos[0], 0);
	*out = jv_int(at < 0 || skipped < 0 ? -1 : skipped + (int64_t)js_length(js_sub(in, 0, (size_t)at)));
	return VB_OK;
}

static int m_find(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return find(r, s, c, false, out);
}

static int m_rfind(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return find(r, s, c, true, out);
}

static int m_str_index(struct render *r, struct value s, const struct call *c, struct value *out)
{
	TRY(find(r, s, c, false, out));
	if (out->i < 0)
		JFAIL(r, "substring not found");
	return VB_OK;
}

static int m_str_rindex(struct render *r, struct value s, const struct call *c, struct value *out)
{
	TRY(find(r, s, c, true, out));
	if (out->i < 0)
		JFAIL(r, "substring not found");
	return VB_OK;
}

static int m_str_count(struct render *r, struct value s, const struct call *c, struct value *out)
{
	struct value in;
	int64_t skipped, n = 0, at = 0;
	TRY(no_keywords(r, "count", c, 1, 3));
	TRY(need_string(r, "count", c->pos[0]));
	TRY(charge_search(r, s, c->pos[0]));
	TRY(window(r, s, c, &in, &skipped));
	size_t len = c->pos[0].len;
	if (len == 0)
		n = skipped < 0 ? 0 : (int64_t)js_length(in) + 1;
	else
		for (; (at = js_find(in, c->pos[0], (size_t)at)) >= 0; at += (int64_t)len)
			n++;
	*out = jv_int(n);
	return VB_OK;
}

static int affix(struct render *r, struct value s, const struct call *c, bool end, struct value *out)
{
	struct value one, *parts = &one, in;
	size_t n = 1;
	int64_t skipped;
	TRY(no_keywords(r, end ? "endswith" : "startswith", c, 1, 3));
	TRY(window(r, s, c, &in, &skipped));
	one = c->pos[0];
	if (one.type == J_TUPLE) {
		parts = one.list->v;
		n = one.list->n;
	}
	*out = jv_bool(false);
	for (size_t i = 0; i < n && !out->b; i++) {
		TRY(need_string(r, end ? "endswith" : "startswith", parts[i]));
		size_t len = parts[i].len;
		out->b = len <= in.len && skipped >= 0 &&
			 memcmp(js_data(in) + (end ? in.len - len : 0), js_data(parts[i]), len) == 0;
	}
	return VB_OK;
}

static int m_startswith(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return affix(r, s, c, false, out);
}

static int m_endswith(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return affix(r, s, c, true, out);
}

static int remove_affix(struct render *r, struct value s, const struct call *c, bool end, struct value *out)
{
	struct value has;
	TRY(no_keywords(r, "removeprefix", c, 1, 1));
	TRY(need_string(r, "removeprefix", c->pos[0]));
	TRY(affix(r, s, c, end, &has));
	size_t len = c->pos[0].len;
	*out = !has.b ? s : end ? js_sub(s, 0, s.len - len) : js_sub(s, len, s.len);
	return VB_OK;
}

static int m_removeprefix(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return remove_affix(r, s, c, false, out);
}

static int m_removesuffix(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return remove_affix(r, s, c, true, out);
}

int js_replace(struct render *r, struct value s, struct value old, struct value new_, int64_t count,
	       struct value *out)
{
	struct jinja_text *t = js_new(r, s.len);
	if (!t)
		return jinja_no_memory(r);
	TRY(charge_search(r, s, old));
	size_t from = 0;
	for (int64_t done = 0; count < 0 || done < count; done++) {
		int64_t at;
		TRY(jinja_charge(r, 1));
		if (old.len) {
			at = js_find(s, old, from);
		} else { /* between all characters, and at both ends */
			uint32_t cp;
			at = done == 0 ? 0 : from < s.len ? (int64_t)(from + js_decode(js_data(s) + from, s.len - from, &cp)) : -1;
		}
		if (at < 0)
			break;
		TRY(js_append_value(r, t, js_sub(s, from, (size_t)at)));
		TRY(js_append_value(r, t, new_));
		from = (size_t)at + old.len;
	}
	TRY(js_append_value(r, t, js_sub(s, from, s.len)));
	*out = js_value(t);
	return VB_OK;
}

static int m_replace(struct render *r, struct value s, const struct call *c, struct value *out)
{
	int64_t count = -1;
	TRY(no_keywords(r, "replace", c, 2, 3));
	TRY(need_string(r, "replace", c->pos[0]));
	TRY(need_string(r, "replace", c->pos[1]));
	if (c->n == 3)
		TRY(need_int(r, "replace", c->pos[2], &count));
	TRY(js_replace(r, s, c->pos[0], c->pos[1], count, out));
	out->safe = s.safe;
	return VB_OK;
}

/* ---- splitting and joining ---- */

static int split_space(struct render *r, struct value s, int64_t max, struct value *out)
{
	TRY(jinja_charge(r, s.len / 16));
	s = js_strip(s, NULL, 1);
	while (s.len) {
		size_t end = 0;
		uint32_t cp;
		if (max-- == 0)
			return jv_push(r, out->list, s);
		while (end < s.len) {
			size_t n = js_decode(js_data(s) + end, s.len - end, &cp);
			if (js_is_space(cp))
				break;
			end += n;
		}
		TRY(jinja_charge(r, 1));
		TRY(jv_push(r, out->list, js_sub(s, 0, end)));
		s = js_strip(js_sub(s, end, s.len), NULL, 1);
	}
	return VB_OK;
}

static int rsplit_space(struct render *r, struct value s, int64_t max, struct value *out)
{
	TRY(jinja_charge(r, s.len / 16));
	s = js_strip(s, NULL, 2);
	while (s.len) {
		if (max-- == 0)
			return jv_push(r, out->list, s);
		size_t at = s.len;
		while (at > 0) {
			size_t p = at - 1;
			uint32_t cp;
			while (p > 0 && ((unsigned char)js_data(s)[p] & 0xc0) == 0x80)
				p--;
			(void)js_decode(js_data(s) + p, at - p, &cp);
			if (js_is_space(cp))
				break;
			at = p;
		}
		TRY(jinja_charge(r, 1));
		TRY(jv_push(r, out->list, js_sub(s, at, s.len)));
		s = js_strip(js_sub(s, 0, at), NULL, 2);
	}
	return VB_OK;
}

static void reverse(struct jlist *l)
{
	for (size_t i = 0, k = l->n; i + 1 < k; i++) {
		struct value v = l->v[--k];
		l->v[k] = l->v[i];
		l->v[i] = v;
	}
}

static int split_by(struct render *r, struct value s, struct value sep, int64_t max, bool last, struct value *out)
{
	for (;;) {
		int64_t at = -1;
		TRY(jinja_charge(r, 1));
		if (max != 0)
			at = last ? find_last(s, sep) : js_find(s, sep, 0);
		if (at < 0)
			return jv_push(r, out->list, s);
		max--;
		size_t end = (size_t)at + sep.len;
		TRY(jv_push(r, out->list, last ? js_sub(s, end, s.len) : js_sub(s, 0, (size_t)at)));
		s = last ? js_sub(s, 0, (size_t)at) : js_sub(s, end, s.len);
	}
}

static int split(struct render *r, struct value s, const struct call *c, bool last, struct value *out)
{
	static const char *const params[] = { "sep", "maxsplit", NULL };
	struct value v[2];
	int64_t max = -1;
	TRY(jinja_bind(r, "split", c, params, v));
	if (v[1].type != J_MISSING)
		TRY(need_int(r, "split", v[1], &max));
	TRY(jv_new_list(r, J_LIST, 0, out));
	if (absent(v[0])) {
		TRY(last ? rsplit_space(r, s, max, out) : split_space(r, s, max, out));
	} else {
		TRY(need_string(r, "split", v[0]));
		if (v[0].len == 0)
			JFAIL(r, "empty separator");
		TRY(charge_search(r, s, v[0]));
		TRY(split_by(r, s, v[0], max, last, out));
	}
	if (last)
		reverse(out->list);
	return VB_OK;
}

static int m_split(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return split(r, s, c, false, out);
}

static int m_rsplit(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return split(r, s, c, true, out);
}

static int partition(struct render *r, struct value s, const struct call *c, bool last, struct value *out)
{
	TRY(no_keywords(r, "partition", c, 1, 1));
	TRY(need_string(r, "partition", c->pos[0]));
	if (c->pos[0].len == 0)
		JFAIL(r, "empty separator");
	TRY(charge_search(r, s, c->pos[0]));
	int64_t at = last ? find_last(s, c->pos[0]) : js_find(s, c->pos[0], 0);
	size_t end = at < 0 ? s.len : (size_t)at + c->pos[0].len;
	struct value none = js_sub(s, 0, 0), sep = c->pos[0];
	sep.safe = s.safe;
	TRY(jv_new_list(r, J_TUPLE, 3, out));
	TRY(jv_push(r, out->list, at >= 0 ? js_sub(s, 0, (size_t)at) : last ? none : s));
	TRY(jv_push(r, out->list, at >= 0 ? sep : none));
	return jv_push(r, out->list, at >= 0 ? js_sub(s, end, s.len) : last ? s : none);
}

static int m_partition(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return partition(r, s, c, false, out);
}

static int m_rpartition(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return partition(r, s, c, true, out);
}

static bool ends_line(uint32_t cp)
{
	return (cp >= 10 && cp <= 13) || (cp >= 0x1c && cp <= 0x1e) || cp == 0x85 || cp == 0x2028 || cp == 0x2029;
}

int js_split_lines(struct render *r, struct value s, bool keep_ends, struct value *out)
{
	TRY(jv_new_list(r, J_LIST, 0, out));
	TRY(jinja_charge(r, s.len / 16));
	for (size_t from = 0, i = 0; from < s.len;) {
		uint32_t cp = 0;
		size_t n = 0, stop;
		for (; i < s.len; i += n) {
			n = js_decode(js_data(s) + i, s.len - i, &cp);
			if (ends_line(cp))
				break;
		}
		stop = i;
		if (i < s.len)
			i += cp == '\r' && i + 1 < s.len && js_data(s)[i + 1] == '\n' ? 2 : n;
		TRY(jinja_charge(r, 1));
		TRY(jv_push(r, out->list, js_sub(s, from, keep_ends ? i : stop)));
		from = i;
	}
	return VB_OK;
}

static int m_splitlines(struct render *r, struct value s, const struct call *c, struct value *out)
{
	static const char *const params[] = { "keepends", NULL };
	struct value v;
	TRY(jinja_bind(r, "splitlines", c, params, &v));
	return js_split_lines(r, s, jv_truth(v), out);
}

int js_join(struct render *r, struct value sep, struct value seq, bool strict, struct value *out)
{
	struct iter it;
	struct value v, s;
	struct jinja_text *t = js_new(r, 32);
	if (!t)
		return jinja_no_memory(r);
	TRY(jv_iter(r, seq, &it));
	for (bool first = true;; first = false) {
		TRY(jv_next(r, &it, &v));
		if (v.type == J_MISSING)
			break;
		if (strict && v.type != J_STRING)
			JFAIL(r, "join: expected str instance, %s found", jv_type_name(v));
		if (!first)
			TRY(js_append_value(r, t, sep));
		TRY(jv_to_str(r, v, &s));
		TRY(js_append_value(r, t, s));
	}
	*out = js_value(t);
	return VB_OK;
}

static int m_join(struct render *r, struct value s, const struct call *c, struct value *out)
{
	TRY(no_keywords(r, "join", c, 1, 1));
	return js_join(r, s, c->pos[0], true, out);
}

/* ---- padding ---- */

static int pad(struct render *r, struct value s, const struct call *c, int where, struct value *out)
{
	int64_t width = 0;
	TRY(no_keywords(r, "center", c, 1, 2));
	TRY(need_int(r, "center", c->pos[0], &width));
	struct value fill;
	TRY(js_make(r, " ", 1, false, &fill));
	if (c->n == 2) {
		TRY(need_string(r, "center", c->pos[1]));
		fill = c->pos[1];
		if (js_length(fill) != 1)
			JFAIL(r, "The fill character must be exactly one character long");
	}
	int64_t n = width - (int64_t)js_length(s), left;
	if (width <= (int64_t)js_length(s)) {
		*out = s;
		return VB_OK;
	}
	if (n > JINJA_MAX_STRING)
		JLIMIT(r, "a text of over 64 MiB");
	left = where == 0 ? n / 2 + (n & width & 1) : where < 0 ? 0 : n;
	struct jinja_text *t = js_new(r, s.len + 16);
	if (!t)
		return jinja_no_memory(r);
	TRY(jinja_charge(r, (size_t)n));
	for (int64_t i = 0; i < left; i++)
		TRY(js_append_value(r, t, fill));
	TRY(js_append_value(r, t, s));
	for (int64_t i = left; i < n; i++)
		TRY(js_append_value(r, t, fill));
	*out = js_value(t);
	return VB_OK;
}

static int m_center(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return pad(r, s, c, 0, out);
}

static int m_ljust(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return pad(r, s, c, -1, out);
}

static int m_rjust(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return pad(r, s, c, 1, out);
}

static int m_zfill(struct render *r, struct value s, const struct call *c, struct value *out)
{
	struct value zero, body = s;
	TRY(no_keywords(r, "zfill", c, 1, 1));
	TRY(js_make(r, "0", 1, false, &zero));
	size_t sign = s.len && strchr("+-", *js_data(s)) && *js_data(s) ? 1 : 0;
	body = js_sub(s, sign, s.len);
	int64_t width = 0;
	TRY(need_int(r, "zfill", c->pos[0], &width));
	struct value args[2] = { jv_int(width > (int64_t)sign ? width - (int64_t)sign : 0), zero };
	TRY(pad(r, body, &(struct call){ .pos = args, .n = 2 }, 1, &body));
	return js_concat(r, js_sub(s, 0, sign), body, out);
}

/* ---- what a text is made of ---- */

enum { IS_DIGIT, IS_ALPHA, IS_ALNUM, IS_SPACE, IS_ASCII };

static int made_of(struct render *r, struct value s, const struct call *c, int what, struct value *out)
{
	TRY(no_keywords(r, "isalnum", c, 0, 0));
	TRY(jinja_charge(r, s.len / 16));
	bool all = s.len > 0 || what == IS_ASCII;
	for (size_t i = 0; i < s.len && all;) {
		uint32_t cp;
		i += js_decode(js_data(s) + i, s.len - i, &cp);
		utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
		bool digit = k == UTF8PROC_CATEGORY_ND;
		bool number = digit || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
		all = what == IS_DIGIT	 ? digit
		      : what == IS_ALPHA ? is_letter(cp)
		      : what == IS_ALNUM ? is_letter(cp) || number
		      : what == IS_ASCII ? cp < 0x80
					 : js_is_space(cp);
	}
	*out = jv_bool(all);
	return VB_OK;
}

static int m_isdigit(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return made_of(r, s, c, IS_DIGIT, out);
}

static int m_isalpha(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return made_of(r, s, c, IS_ALPHA, out);
}

static int m_isalnum(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return made_of(r, s, c, IS_ALNUM, out);
}

static int m_isspace(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return made_of(r, s, c, IS_SPACE, out);
}

static int m_isascii(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return made_of(r, s, c, IS_ASCII, out);
}

static int m_isupper(struct render *r, struct value s, const struct call *c, struct value *out)
{
	TRY(no_keywords(r, "isupper", c, 0, 0));
	TRY(jinja_charge(r, s.len / 16));
	*out = jv_bool(js_is_cased(s, true));
	return VB_OK;
}

static int m_islower(struct render *r, struct value s, const struct call *c, struct value *out)
{
	TRY(no_keywords(r, "islower", c, 0, 0));
	TRY(jinja_charge(r, s.len / 16));
	*out = jv_bool(js_is_cased(s, false));
	return VB_OK;
}

static int m_format(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return jinja_format(r, s, c, out);
}

/* ---- dictionaries and lists ---- */

static int m_get(struct render *r, struct value d, const struct call *c, struct value *out)
{
	TRY(no_keywords(r, "get", c, 1, 2));
	TRY(jd_get(r, d.dict, c->pos[0], out));
	if (out->type == J_MISSING)
		*out = c->n == 2 ? c->pos[1] : jv_none();
	return VB_OK;
}

static int view(struct render *r, struct value d, const struct call *c, uint32_t kind, struct value *out)
{
	TRY(no_keywords(r, "items", c, 0, 0));
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
	TRY(no_keywords(r, "copy", c, 0, 0));
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
	TRY(no_keywords(r, "append", c, 1, 1));
	TRY(need_writable(r, l));
	*out = jv_none();
	return jv_push(r, l.list, c->pos[0]);
}

static int m_pop(struct render *r, struct value l, const struct call *c, struct value *out)
{
	int64_t at = -1, n = (int64_t)l.list->n;
	TRY(no_keywords(r, "pop", c, 0, 1));
	TRY(need_writable(r, l));
	if (c->n)
		TRY(need_int(r, "pop", c->pos[0], &at));
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
	TRY(no_keywords(r, "count", c, 1, 1));
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
	TRY(no_keywords(r, "index", c, 1, 1));
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
	TRY(no_keywords(r, "copy", c, 0, 0));
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
	TRY(no_keywords(r, "next", c, 0, 0));
	*out = l.list->v[l.list->pos];
	l.list->pos = (l.list->pos + 1) % l.list->n;
	return VB_OK;
}

static int m_cycler_reset(struct render *r, struct value l, const struct call *c, struct value *out)
{
	TRY(no_keywords(r, "reset", c, 0, 0));
	l.list->pos = 0;
	*out = jv_none();
	return VB_OK;
}

static const struct jinja_builtin methods[] = {
	{ "append", m_append, LIST },
	{ "capitalize", m_capitalize, STR },
	{ "center", m_center, STR },
	{ "changed", m_loop_changed, LOOP },
	{ "copy", m_dict_copy, DICT },
	{ "copy", m_list_copy, LIST },
	{ "count", m_str_count, STR },
	{ "count", m_list_count, LIST | TUPLE },
	{ "cycle", m_loop_cycle, LOOP },
	{ "endswith", m_endswith, STR },
	{ "find", m_find, STR },
	{ "format", m_format, STR },
	{ "get", m_get, DICT },
	{ "index", m_str_index, STR },
	{ "index", m_list_index, LIST | TUPLE },
	{ "isalnum", m_isalnum, STR },
	{ "isalpha", m_isalpha, STR },
	{ "isascii", m_isascii, STR },
	{ "isdecimal", m_isdigit, STR },
	{ "isdigit", m_isdigit, STR },
	{ "islower", m_islower, STR },
	{ "isspace", m_isspace, STR },
	{ "isupper", m_isupper, STR },
	{ "items", m_items, DICT },
	{ "join", m_join, STR },
	{ "keys", m_keys, DICT },
	{ "ljust", m_ljust, STR },
	{ "lower", m_lower, STR },
	{ "lstrip", m_lstrip, STR },
	{ "next", m_cycler_next, CYCLER },
	{ "partition", m_partition, STR },
	{ "pop", m_pop, LIST },
	{ "removeprefix", m_removeprefix, STR },
	{ "removesuffix", m_removesuffix, STR },
	{ "replace", m_replace, STR },
	{ "reset", m_cycler_reset, CYCLER },
	{ "rfind", m_rfind, STR },
	{ "rindex", m_str_rindex, STR },
	{ "rjust", m_rjust, STR },
	{ "rpartition", m_rpartition, STR },
	{ "rsplit", m_rsplit, STR },
	{ "rstrip", m_rstrip, STR },
	{ "split", m_split, STR },
	{ "splitlines", m_splitlines, STR },
	{ "startswith", m_startswith, STR },
	{ "strip", m_strip, STR },
	{ "swapcase", m_swapcase, STR },
	{ "title", m_title, STR },
	{ "upper", m_upper, STR },
	{ "values", m_values, DICT },
	{ "zfill", m_zfill, STR },
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
	for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
		if (!(methods[i].types >> v.type & 1) || !js_eq(name, methods[i].name))
			continue;
		struct jmethod *m;
		JALLOC(r, m, sizeof *m);
		*m = (struct jmethod){ v, &methods[i] };
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
	TRY(no_keywords(r, "range", c, 1, 3));
	for (size_t i = 0; i < c->n; i++)
		TRY(need_int(r, "range", c->pos[i], &a[i]));
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
	TRY(need_string(r, "strftime_now", v));
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
