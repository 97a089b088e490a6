#include "jinja.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- the arena ---- */

/* Blocks from here on have a chunk to themselves and can grow where they are. */
#define LARGE ((size_t)16 << 10)
#define CHUNK ((size_t)64 << 10)

struct jinja_chunk {
	struct jinja_chunk *next, *prev;
	size_t used, size; /* bytes after the header */
	alignas(16) char bytes[];
};

void jinja_arena_init(struct jinja_arena *a, size_t max)
{
	*a = (struct jinja_arena){ .max = max };
}

void jinja_arena_fini(struct jinja_arena *a)
{
	while (a->chunks) {
		struct jinja_chunk *next = a->chunks->next;
		mem_free(a->chunks);
		a->chunks = next;
	}
	a->used = 0;
}

static bool over(const struct jinja_arena *a, size_t n)
{
	if (n <= a->max - a->used)
		return false;
	(void)status_fail(VB_ELIMIT, __FILE__, __LINE__, "chat template needs over %zu MiB of memory",
			  a->max >> 20);
	return true;
}

static void *alloc_raw(struct jinja_arena *a, size_t n)
{
	n = (n + 15) & ~(size_t)15;
	struct jinja_chunk *top = a->chunks;
	if (n < LARGE && top && top->size - top->used >= n) {
		void *p = top->bytes + top->used;
		top->used += n;
		return p;
	}
	size_t size = n < LARGE ? CHUNK : n;
	if (over(a, size))
		return NULL;
	struct jinja_chunk *c = mem_alloc(sizeof *c + size);
	if (!c)
		return NULL;
	*c = (struct jinja_chunk){ .size = size, .used = n };
	a->used += size;
	if (n >= LARGE && top) { /* behind the one being filled */
		c->prev = top;
		c->next = top->next;
		if (c->next)
			c->next->prev = c;
		top->next = c;
	} else {
		c->next = top;
		if (top)
			top->prev = c;
		a->chunks = c;
	}
	return c->bytes;
}

void *jinja_alloc(struct jinja_arena *a, size_t n)
{
	void *p = alloc_raw(a, n);
	return p ? memset(p, 0, n) : NULL;
}

void *jinja_grow(struct jinja_arena *a, void *p, size_t old, size_t n)
{
	old = (old + 15) & ~(size_t)15;
	n = (n + 15) & ~(size_t)15;
	if (!p || old < LARGE) {
		void *q = alloc_raw(a, n);
		if (q && p)
			memcpy(q, p, old < n ? old : n);
		return q;
	}
	struct jinja_chunk *c = (struct jinja_chunk *)((char *)p - offsetof(struct jinja_chunk, bytes));
	if (n <= old)
		return p;
	if (over(a, n - old))
		return NULL;
	struct jinja_chunk *moved = mem_realloc(c, 1, sizeof *c + n);
	if (!moved)
		return NULL;
	moved->size = moved->used = n;
	a->used += n - old;
	if (moved->prev)
		moved->prev->next = moved;
	else
		a->chunks = moved;
	if (moved->next)
		moved->next->prev = moved;
	return moved->bytes;
}

/* ---- failing ---- */

int jinja_fail(struct render *r, const char *fmt, ...)
{
	char text[1600];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	size_t len = n < 0 ? 0 : (size_t)n;
	if (len >= sizeof text)
		len = utf8_complete_prefix(text, sizeof text - 1);
	text[len] = '\0';
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			text[i] = text[i] == '\n' ? ' ' : '?';
	return status_fail(VB_EINVAL, __FILE__, __LINE__, "cannot render the chat template: %s, line %d: %s", r->tmpl->where,
			   r->line, text);
}

int jinja_fail_limit(struct render *r, const char *what)
{
	return status_fail(VB_ELIMIT, __FILE__, __LINE__, "cannot render the chat template: %s, line %d: %s", r->tmpl->where,
			   r->line, what);
}

int jinja_no_memory(struct render *r)
{
	/* The arena or the allocator has left its message; only the place is missing. */
	bool limit = strncmp(vb_errmsg(), "chat template needs", 19) == 0;
	return status_prefix(limit ? VB_ELIMIT : VB_ENOMEM, "cannot render the chat template: %s, line %d", r->tmpl->where,
			     r->line);
}

int jinja_charge(struct render *r, size_t steps)
{
	if (steps > (size_t)r->steps) {
		r->steps = 0;
		JLIMIT(r, "the template takes over 10 million steps");
	}
	r->steps -= (int64_t)steps;
	return VB_OK;
}

/* ---- texts ---- */

static bool is_ascii(const char *s, size_t n)
{
	size_t i = 0;
	for (; i + 8 <= n; i += 8) {
		uint64_t word;
		memcpy(&word, s + i, sizeof word);
		if (word & 0x8080808080808080u)
			return false;
	}
	for (; i < n; i++)
		if ((unsigned char)s[i] >= 0x80)
			return false;
	return true;
}

struct jinja_text *js_borrow(struct jinja_arena *a, const char *bytes, size_t n, bool marked)
{
	struct jinja_text *t = jinja_alloc(a, sizeof *t + (marked ? sizeof *t->marks : 0));
	if (!t)
		return NULL;
	*t = (struct jinja_text){ .data = (char *)bytes, .used = (uint32_t)n, .ascii = is_ascii(bytes, n) };
	if (marked && n) {
		t->marks = (struct jinja_mark *)(t + 1);
		t->marks[0] = (struct jinja_mark){ 0, (uint32_t)n };
		t->n_marks = t->cap_marks = 1;
	}
	return t;
}

struct jinja_text *js_new(struct render *r, size_t capacity)
{
	struct jinja_text *t = jinja_alloc(&r->arena, sizeof *t);
	if (!t)
		return NULL;
	t->cap = (uint32_t)(capacity < 16 ? 16 : capacity > JINJA_MAX_STRING ? JINJA_MAX_STRING : capacity);
	t->data = alloc_raw(&r->arena, t->cap);
	t->ascii = true;
	return t->data ? t : NULL;
}

static int reserve(struct render *r, struct jinja_text *t, size_t n)
{
	if (n > JINJA_MAX_STRING - (size_t)t->used)
		JLIMIT(r, "a text of over 64 MiB");
	TRY(jinja_charge(r, n / 64));
	size_t need = t->used + n;
	if (need <= t->cap)
		return VB_OK;
	size_t cap = (size_t)t->cap * 2 > need ? (size_t)t->cap * 2 : need;
	char *data = jinja_grow(&r->arena, t->data, t->cap, cap);
	if (!data)
		return jinja_no_memory(r);
	t->data = data;
	t->cap = (uint32_t)cap;
	return VB_OK;
}

static int add_mark(struct render *r, struct jinja_text *t, uint32_t begin, uint32_t end)
{
	if (begin == end)
		return VB_OK;
	if (t->n_marks && t->marks[t->n_marks - 1].end == begin) {
		t->marks[t->n_marks - 1].end = end;
		return VB_OK;
	}
	if (t->n_marks == t->cap_marks) {
		uint32_t cap = t->cap_marks ? t->cap_marks * 2 : 4;
		struct jinja_mark *m = jinja_grow(&r->arena, t->marks, t->cap_marks * sizeof *m,
						  cap * sizeof *m);
		if (!m)
			return jinja_no_memory(r);
		t->marks = m;
		t->cap_marks = cap;
	}
	t->marks[t->n_marks++] = (struct jinja_mark){ begin, end };
	return VB_OK;
}

int js_append(struct render *r, struct jinja_text *t, const char *bytes, size_t n, bool marked)
{
	if (n == 0)
		return VB_OK;
	TRY(reserve(r, t, n));
	memcpy(t->data + t->used, bytes, n);
	if (t->ascii && !is_ascii(bytes, n))
		t->ascii = false;
	if (marked)
		TRY(add_mark(r, t, t->used, t->used + (uint32_t)n));
	t->used += (uint32_t)n;
	return VB_OK;
}

int js_puts(struct render *r, struct jinja_text *t, const char *s)
{
	return js_append(r, t, s, strlen(s), false);
}

/* Index of the first mark that ends after `from`. */
static uint32_t first_mark(const struct jinja_text *t, uint32_t from)
{
	uint32_t lo = 0, hi = t->n_marks;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (t->marks[mid].end > from)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

size_t js_run(struct value s, size_t from, bool *marked)
{
	const struct jinja_text *t = s.text;
	uint32_t at = s.off + (uint32_t)from, end = s.off + s.len;
	uint32_t m = first_mark(t, at);
	uint32_t stop;
	if (m == t->n_marks || t->marks[m].begin >= end) {
		*marked = false;
		stop = end;
	} else if (t->marks[m].begin > at) {
		*marked = false;
		stop = t->marks[m].begin;
	} else {
		*marked = true;
		stop = t->marks[m].end < end ? t->marks[m].end : end;
	}
	return stop - at;
}

bool js_marked(struct value s)
{
	uint32_t m = first_mark(s.text, s.off);
	return m < s.text->n_marks && s.text->marks[m].begin < s.off + s.len;
}

/* The source may be the very text that is appended to. */
int js_append_value(struct render *r, struct jinja_text *t, struct value s)
{
	if (s.len == 0)
		return VB_OK;
	TRY(reserve(r, t, s.len));
	uint32_t at = t->used;
	memcpy(t->data + at, js_data(s), s.len);
	t->ascii = t->ascii && (s.text->ascii || is_ascii(t->data + at, s.len));
	uint32_t last = s.text->n_marks, end = s.off + s.len;
	for (uint32_t m = first_mark(s.text, s.off); m < last; m++) {
		struct jinja_mark k = s.text->marks[m];
		if (k.begin >= end)
			break;
		uint32_t b = k.begin > s.off ? k.begin : s.off, e = k.end < end ? k.end : end;
		TRY(add_mark(r, t, at + (b - s.off), at + (e - s.off)));
	}
	t->used += s.len;
	return VB_OK;
}

struct value js_value(struct jinja_text *t)
{
	return (struct value){ .type = J_STRING, .text = t, .len = t->used };
}

int js_make(struct render *r, const char *bytes, size_t n, bool marked, struct value *out)
{
	struct jinja_text *t = js_new(r, n);
	if (!t)
		return jinja_no_memory(r);
	TRY(js_append(r, t, bytes, n, marked));
	*out = js_value(t);
	return VB_OK;
}

bool js_eq(struct value s, const char *c)
{
	return s.type == J_STRING && strlen(c) == s.len && memcmp(js_data(s), c, s.len) == 0;
}

struct value js_sub(struct value s, size_t from, size_t to)
{
	s.off += (uint32_t)from;
	s.len = (uint32_t)(to - from);
	return s;
}

/* A text that ends where its buffer ends is extended where it is: a loop of `s = s + x` stays linear. */
int js_concat(struct render *r, struct value a, struct value b, struct value *out)
{
	bool safe = a.safe || b.safe;
	if (a.len == 0 || b.len == 0) {
		*out = a.len ? a : b;
		out->safe = safe;
		return VB_OK;
	}
	struct jinja_text *t = a.text;
	if (!t->cap || a.off + a.len != t->used) {
		t = js_new(r, (size_t)a.len + b.len);
		if (!t)
			return jinja_no_memory(r);
		TRY(js_append_value(r, t, a));
		a = js_value(t);
	}
	/* The whole must fit its limit even where the buffer began before it. */
	TRY(js_append_value(r, t, b));
	*out = a;
	out->len += b.len;
	out->safe = safe;
	return VB_OK;
}

size_t js_decode(const char *s, size_t n, uint32_t *cp)
{
	int len = utf8_decode(s, n, cp);
	if (len > 0)
		return (size_t)len;
	*cp = 0xfffd;
	return 1;
}

size_t js_length(struct value s)
{
	if (s.text->ascii)
		return s.len;
	size_t n = 0;
	const char *p = js_data(s);
	for (size_t i = 0; i < s.len; i++)
		n += ((unsigned char)p[i] & 0xc0) != 0x80;
	return n;
}

size_t js_offset(struct value s, size_t index)
{
	if (s.text->ascii)
		return index < s.len ? index : s.len;
	const char *p = js_data(s);
	size_t i = 0;
	for (; i < s.len; i++)
		if (((unsigned char)p[i] & 0xc0) != 0x80 && index-- == 0)
			break;
	return i;
}

bool js_is_space(uint32_t cp)
{
	return (cp >= 9 && cp <= 13) || (cp >= 0x1c && cp <= 0x20) || cp == 0x85 || cp == 0xa0 || cp == 0x1680 ||
	       (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f ||
	       cp == 0x3000;
}

static bool in_set(uint32_t cp, const struct value *chars)
{
	if (!chars)
		return js_is_space(cp);
	for (size_t i = 0; i < chars->len;) {
		uint32_t c;
		i += js_decode(js_data(*chars) + i, chars->len - i, &c);
		if (c == cp)
			return true;
	}
	return false;
}

struct value js_strip(struct value s, const struct value *chars, int which)
{
	const char *p = js_data(s);
	size_t from = 0, to = s.len;
	uint32_t cp;
	while ((which & 1) && from < to) {
		size_t n = js_decode(p + from, to - from, &cp);
		if (!in_set(cp, chars))
			break;
		from += n;
	}
	while ((which & 2) && from < to) {
		size_t at = to - 1;
		while (at > from && ((unsigned char)p[at] & 0xc0) == 0x80)
			at--;
		(void)js_decode(p + at, to - at, &cp);
		if (!in_set(cp, chars))
			break;
		to = at;
	}
	return js_sub(s, from, to);
}

int64_t js_find(struct value s, struct value part, size_t from)
{
	if (from > s.len || part.len > s.len - from)
		return -1;
	if (part.len == 0)
		return (int64_t)from;
	const char *p = js_data(s), *q = js_data(part), *at = p + from, *last = p + s.len - part.len;
	while (at <= last && (at = memchr(at, q[0], (size_t)(last - at) + 1)) != NULL) {
		if (memcmp(at, q, part.len) == 0)
			return at - p;
		at++;
	}
	return -1;
}

int js_escape_html(struct render *r, struct value s, struct value *out)
{
	if (s.safe) {
		*out = s;
		return VB_OK;
	}
	struct jinja_text *t = js_new(r, s.len);
	if (!t)
		return jinja_no_memory(r);
	bool marked;
	for (size_t i = 0; i < s.len;) {
		size_t end = i + js_run(s, i, &marked);
		for (; i < end; i++) {
			const char *c = js_data(s) + i;
			const char *e = *c == '&'    ? "&amp;"
					: *c == '<'  ? "&lt;"
					: *c == '>'  ? "&gt;"
					: *c == '"'  ? "&#34;"
					: *c == '\'' ? "&#39;"
						     : NULL;
			TRY(e ? js_append(r, t, e, strlen(e), marked) : js_append(r, t, c, 1, marked));
		}
	}
	*out = js_value(t);
	out->safe = true;
	return VB_OK;
}
