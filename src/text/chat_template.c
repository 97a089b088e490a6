#include "text.h"

#include "jinja.h"

#include "base/mem.h"
#include "base/status.h"
#include "base/utf8.h"

#include <string.h>

/* Newlines become \n, and one at the very end is dropped. */
static int normalise(struct chat_template *t, const char *source, size_t len)
{
	char *to = jinja_alloc(&t->arena, len + 1);
	size_t n = 0;
	if (!to)
		return VB_ENOMEM;
	for (size_t i = 0; i < len; i++) {
		if (source[i] == '\r' && i + 1 < len && source[i + 1] == '\n')
			continue;
		to[n++] = source[i] == '\r' ? '\n' : source[i];
	}
	t->source = to;
	t->source_len = n - (n > 0 && to[n - 1] == '\n');
	return VB_OK;
}

static int compile(struct chat_template *t, const char *source, size_t len)
{
	if (len > JINJA_MAX_SOURCE)
		FAIL(VB_ELIMIT, "chat template too long: %s: %zu bytes, at most %d are taken", t->where, len,
		     JINJA_MAX_SOURCE);
	if (!utf8_valid(source, len))
		FAIL(VB_EFORMAT, "bad chat template: %s: not valid UTF-8", t->where);
	TRY(normalise(t, source, len));
	return jinja_parse(t);
}

int chat_template_compile(struct chat_template **out, const char *source, size_t len, const char *where)
{
	struct chat_template *t = mem_calloc(1, sizeof *t);
	if (!t)
		return VB_ENOMEM;
	jinja_arena_init(&t->arena, JINJA_MAX_TREE);
	t->where = mem_strdup(where);
	int rc = t->where ? compile(t, source, len) : VB_ENOMEM;
	if (rc != VB_OK) {
		chat_template_destroy(&t);
		return rc;
	}
	*out = t;
	return VB_OK;
}

void chat_template_destroy(struct chat_template **t)
{
	if (!t || !*t)
		return;
	jinja_arena_fini(&(*t)->arena);
	mem_free((*t)->where);
	mem_free(*t);
	*t = NULL;
}

void text_spans_fini(struct text_spans *s)
{
	mem_free(s->span);
	*s = (struct text_spans){ 0 };
}

/* Each symbol's value at the start: the variable of that name, else the function. */
static int bind_symbols(struct render *r, const json_t *variables)
{
	static const char *const data[] = { "messages", "tools", "documents" };
	const struct chat_template *t = r->tmpl;
	JALLOC(r, r->top, t->n_symbols * sizeof *r->top);
	for (uint32_t i = 0; i < t->n_symbols; i++) {
		struct value name = t->symbol[i];
		char key[256];
		if (name.len >= sizeof key || memchr(js_data(name), '\0', name.len))
			continue; /* no variable or function has such a name */
		memcpy(key, js_data(name), name.len);
		key[name.len] = '\0';
		const json_t *v = json_object_get(variables, key);
		if (!v) {
			TRY(jinja_make_function(r, key, &r->top[i]));
			continue;
		}
		bool marked = false;
		for (size_t k = 0; k < sizeof data / sizeof *data; k++)
			marked |= strcmp(key, data[k]) == 0;
		TRY(jv_from_json(r, v, marked, 0, &r->top[i]));
	}
	return VB_OK;
}

static int copy_spans(struct text_spans *to, const struct jinja_text *t, size_t base)
{
	if (to->n + t->n_marks > to->capacity) {
		struct text_span *span = mem_realloc(to->span, to->n + t->n_marks, sizeof *span);
		if (!span)
			return VB_ENOMEM;
		to->span = span;
		to->capacity = to->n + t->n_marks;
	}
	for (uint32_t i = 0; i < t->n_marks; i++)
		to->span[to->n++] = (struct text_span){ base + t->marks[i].begin, base + t->marks[i].end };
	return VB_OK;
}

static int render(struct render *r, const json_t *variables, struct buf *out, struct text_spans *spans)
{
	if (!json_is_object(variables))
		JFAIL(r, "the variables must be a JSON object, found %s", json_kind(variables));
	TRY(bind_symbols(r, variables));
	JALLOC(r, r->stack, JINJA_MAX_ARGS * sizeof *r->stack);
	r->out = js_new(r, 4096);
	if (!r->out)
		return jinja_no_memory(r);
	TRY(jinja_render_body(r, r->tmpl->body));
	TRY(buf_reserve(out, out->len + r->out->used));
	if (spans)
		TRY(copy_spans(spans, r->out, out->len));
	return buf_append(out, r->out->data, r->out->used);
}

int chat_template_render(const struct chat_template *t, const json_t *variables, int64_t now, struct buf *out,
			 struct text_spans *spans)
{
	struct render r = { .tmpl = t, .line = 1, .steps = JINJA_MAX_STEPS, .now = now };
	jinja_arena_init(&r.arena, JINJA_MAX_MEMORY);
	int rc = render(&r, variables, out, spans);
	for (size_t i = 0; i < r.n_kept; i++)
		json_decref(r.kept[i]);
	mem_free(r.kept);
	jinja_arena_fini(&r.arena);
	return rc;
}
