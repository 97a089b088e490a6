/* The methods of texts, and what filters share with them. */
#include "jinja.h"

#include <string.h>
#include <utf8proc.h>

static int need_string(struct render *r, const char *who, struct value v)
{
	if (v.type == J_UNDEFINED)
		return jv_use_undefined(r, v);
	if (v.type != J_STRING)
		JFAIL(r, "%s() argument must be str, not %s", who, jv_type_name(v));
	return VB_OK;
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
	TRY(jinja_positional(r, "upper", c, 0, 0));
	return js_map_case(r, s, CASE_UPPER, out);
}

static int m_lower(struct render *r, struct value s, const struct call *c, struct value *out)
{
	TRY(jinja_positional(r, "lower", c, 0, 0));
	return js_map_case(r, s, CASE_LOWER, out);
}

static int m_title(struct render *r, struct value s, const struct call *c, struct value *out)
{
	TRY(jinja_positional(r, "title", c, 0, 0));
	return js_map_case(r, s, CASE_TITLE, out);
}

static int m_capitalize(struct render *r, struct value s, const struct call *c, struct value *out)
{
	TRY(jinja_positional(r, "capitalize", c, 0, 0));
	return js_map_case(r, s, CASE_CAPITAL, out);
}

static int m_swapcase(struct render *r, struct value s, const struct call *c, struct value *out)
{
	TRY(jinja_positional(r, "swapcase", c, 0, 0));
	return js_map_case(r, s, CASE_SWAP, out);
}

/* ---- stripping, finding, replacing ---- */

static int strip(struct render *r, struct value s, const struct call *c, int which, struct value *out)
{
	TRY(jinja_positional(r, "strip", c, 0, 1));
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
		if (jv_absent(c->pos[i]))
			continue;
		TRY(jinja_need_int(r, "start or end", c->pos[i], &at[i - 1]));
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
	TRY(jinja_positional(r, "find", c, 1, 3));
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
	TRY(jinja_positional(r, "count", c, 1, 3));
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
	TRY(jinja_positional(r, end ? "endswith" : "startswith", c, 1, 3));
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
	TRY(jinja_positional(r, "removeprefix", c, 1, 1));
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
	TRY(jinja_positional(r, "replace", c, 2, 3));
	TRY(need_string(r, "replace", c->pos[0]));
	TRY(need_string(r, "replace", c->pos[1]));
	if (c->n == 3)
		TRY(jinja_need_int(r, "replace", c->pos[2], &count));
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
		TRY(jinja_need_int(r, "split", v[1], &max));
	if (max < 0)
		max = INT64_MAX; /* all */
	TRY(jv_new_list(r, J_LIST, 0, out));
	if (jv_absent(v[0])) {
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
	TRY(jinja_positional(r, "partition", c, 1, 1));
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
	TRY(jinja_positional(r, "join", c, 1, 1));
	return js_join(r, s, c->pos[0], true, out);
}

/* ---- padding ---- */

static int pad(struct render *r, struct value s, const struct call *c, int where, struct value *out)
{
	int64_t width = 0;
	TRY(jinja_positional(r, "center", c, 1, 2));
	TRY(jinja_need_int(r, "center", c->pos[0], &width));
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
	TRY(jinja_positional(r, "zfill", c, 1, 1));
	TRY(js_make(r, "0", 1, false, &zero));
	size_t sign = s.len && strchr("+-", *js_data(s)) && *js_data(s) ? 1 : 0;
	body = js_sub(s, sign, s.len);
	int64_t width = 0;
	TRY(jinja_need_int(r, "zfill", c->pos[0], &width));
	struct value args[2] = { jv_int(width > (int64_t)sign ? width - (int64_t)sign : 0), zero };
	TRY(pad(r, body, &(struct call){ .pos = args, .n = 2 }, 1, &body));
	return js_concat(r, js_sub(s, 0, sign), body, out);
}

/* ---- what a text is made of ---- */

enum { IS_DIGIT, IS_ALPHA, IS_ALNUM, IS_SPACE, IS_ASCII };

static int made_of(struct render *r, struct value s, const struct call *c, int what, struct value *out)
{
	TRY(jinja_positional(r, "isalnum", c, 0, 0));
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
	TRY(jinja_positional(r, "isupper", c, 0, 0));
	TRY(jinja_charge(r, s.len / 16));
	*out = jv_bool(js_is_cased(s, true));
	return VB_OK;
}

static int m_islower(struct render *r, struct value s, const struct call *c, struct value *out)
{
	TRY(jinja_positional(r, "islower", c, 0, 0));
	TRY(jinja_charge(r, s.len / 16));
	*out = jv_bool(js_is_cased(s, false));
	return VB_OK;
}

static int m_format(struct render *r, struct value s, const struct call *c, struct value *out)
{
	return jinja_format(r, s, c, out);
}

const struct jinja_builtin jinja_str_methods[] = {
	{ "capitalize", m_capitalize, 1u << J_STRING },
	{ "center", m_center, 1u << J_STRING },
	{ "count", m_str_count, 1u << J_STRING },
	{ "endswith", m_endswith, 1u << J_STRING },
	{ "find", m_find, 1u << J_STRING },
	{ "format", m_format, 1u << J_STRING },
	{ "index", m_str_index, 1u << J_STRING },
	{ "isalnum", m_isalnum, 1u << J_STRING },
	{ "isalpha", m_isalpha, 1u << J_STRING },
	{ "isascii", m_isascii, 1u << J_STRING },
	{ "isdecimal", m_isdigit, 1u << J_STRING },
	{ "isdigit", m_isdigit, 1u << J_STRING },
	{ "islower", m_islower, 1u << J_STRING },
	{ "isspace", m_isspace, 1u << J_STRING },
	{ "isupper", m_isupper, 1u << J_STRING },
	{ "join", m_join, 1u << J_STRING },
	{ "ljust", m_ljust, 1u << J_STRING },
	{ "lower", m_lower, 1u << J_STRING },
	{ "lstrip", m_lstrip, 1u << J_STRING },
	{ "partition", m_partition, 1u << J_STRING },
	{ "removeprefix", m_removeprefix, 1u << J_STRING },
	{ "removesuffix", m_removesuffix, 1u << J_STRING },
	{ "replace", m_replace, 1u << J_STRING },
	{ "rfind", m_rfind, 1u << J_STRING },
	{ "rindex", m_str_rindex, 1u << J_STRING },
	{ "rjust", m_rjust, 1u << J_STRING },
	{ "rpartition", m_rpartition, 1u << J_STRING },
	{ "rsplit", m_rsplit, 1u << J_STRING },
	{ "rstrip", m_rstrip, 1u << J_STRING },
	{ "split", m_split, 1u << J_STRING },
	{ "splitlines", m_splitlines, 1u << J_STRING },
	{ "startswith", m_startswith, 1u << J_STRING },
	{ "strip", m_strip, 1u << J_STRING },
	{ "swapcase", m_swapcase, 1u << J_STRING },
	{ "title", m_title, 1u << J_STRING },
	{ "upper", m_upper, 1u << J_STRING },
	{ "zfill", m_zfill, 1u << J_STRING },
	{ NULL, NULL, 0 },
};
