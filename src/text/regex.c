/* regex.c - matching, by PCRE2 with its JIT. What the patterns mean is regex_translate.c's matter.
 */
#include "text_internal.h"

#include "base/mem.h"
#include "base/status.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* Steps of backtracking (some 2.3 ns each). Nearly every match needs less than the first limit. One
 * that needs more is tried again with a limit that grows, and pays for that from what the text has
 * been granted: so a megabyte of spaces, over which published patterns backtrack once, passes, and
 * a pattern that explodes or is quadratic over a long text fails that text within about a second,
 * on every machine at the same place. */
#define FIRST_LIMIT 1000u
#define LIMIT_GROWTH 32u
#define BUDGET_BASE UINT64_C(200000000)
#define BUDGET_PER_BYTE 400u
#define JIT_STACK_START ((size_t)64 << 10)
#define JIT_STACK_MAX ((size_t)8 << 20)
#define PATTERN_MAX_BYTES ((size_t)64 << 10)

struct regex {
	pcre2_code *code;
	bool jit;
};

static void *regex_alloc(size_t size, void *user)
{
	(void)user;
	return mem_alloc(size);
}

static void regex_free(void *p, void *user)
{
	(void)user;
	mem_free(p);
}

static int compile(struct regex **out, const char *pcre, size_t n, const char *shown,
		   size_t shown_len, const char *where)
{
	int rc = VB_OK;
	pcre2_general_context *general =
		pcre2_general_context_create(regex_alloc, regex_free, NULL);
	pcre2_compile_context *context = general ? pcre2_compile_context_create(general) : NULL;
	struct regex *r = mem_calloc(1, sizeof *r);
	if (!context || !r)
		FAIL_TO(out, VB_ENOMEM, "out of memory: regular expression");
	pcre2_set_newline(context, PCRE2_NEWLINE_LF);
	int error;
	PCRE2_SIZE at;
	r->code = pcre2_compile((PCRE2_SPTR)pcre, n,
				PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
				&error, &at, context);
	if (!r->code) {
		char why[128] = "?";
		pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof why);
		FAIL_TO(out, error == PCRE2_ERROR_HEAP_FAILED ? VB_ENOMEM : VB_EUNSUPPORTED,
			"unsupported regular expression: %s: \"%.*s\": %s", where,
			(int)(shown_len > 500 ? 500 : shown_len), shown, why);
	}
	r->jit = pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE) == 0;
	*out = r;
	r = NULL;
out:
	mem_free(r);
	pcre2_compile_context_free(context);
	pcre2_general_context_free(general);
	return rc;
}

int regex_compile(struct regex **out, const char *pattern, size_t n, const char *where)
{
	if (n > PATTERN_MAX_BYTES)
		FAIL(VB_EUNSUPPORTED,
		     "regular expression too long: %s: %zu bytes, at most %zu are taken", where, n,
		     PATTERN_MAX_BYTES);
	struct buf pcre;
	buf_init(&pcre, 64 * PATTERN_MAX_BYTES);
	int rc = regex_translate(pattern, n, where, &pcre);
	if (rc == VB_OK)
		rc = compile(out, pcre.data, pcre.len, pattern, n, where);
	buf_fini(&pcre);
	return rc;
}

int regex_compile_own(struct regex **out, const char *pattern)
{
	return compile(out, pattern, strlen(pattern), pattern, strlen(pattern), "built in");
}

void regex_destroy(struct regex **r)
{
	if (!*r)
		return;
	pcre2_code_free((*r)->code);
	mem_free(*r);
	*r = NULL;
}

static int scratch_prepare(struct scratch *s)
{
	pcre2_general_context *general =
		pcre2_general_context_create(regex_alloc, regex_free, NULL);
	if (!general)
		return VB_ENOMEM;
	s->match_data = pcre2_match_data_create(1, general);
	s->match_context = pcre2_match_context_create(general);
	pcre2_general_context_free(general);
	if (!s->match_data || !s->match_context)
		return VB_ENOMEM;
	pcre2_set_match_limit(s->match_context, FIRST_LIMIT);
	return VB_OK;
}

void regex_grant(struct scratch *s, size_t n)
{
	s->match_budget = BUDGET_BASE + (uint64_t)BUDGET_PER_BYTE * n;
}

static int match_once(const struct regex *r, struct scratch *s, const char *text, size_t n,
		      size_t start)
{
	PCRE2_SPTR subject = (PCRE2_SPTR)text;
	if (!r->jit)
		return pcre2_match(r->code, subject, n, start, PCRE2_NO_UTF_CHECK, s->match_data,
				   s->match_context);
	int found = pcre2_jit_match(r->code, subject, n, start, PCRE2_NO_UTF_CHECK, s->match_data,
				    s->match_context);
	if (found != PCRE2_ERROR_JIT_STACKLIMIT || s->jit_stack)
		return found;
	/* The 32 KiB of the machine's stack that matching uses by default do not suffice. */
	pcre2_general_context *general =
		pcre2_general_context_create(regex_alloc, regex_free, NULL);
	if (!general)
		return PCRE2_ERROR_NOMEMORY;
	s->jit_stack = pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_MAX, general);
	pcre2_general_context_free(general);
	if (!s->jit_stack)
		return PCRE2_ERROR_NOMEMORY;
	pcre2_jit_stack_assign(s->match_context, NULL, s->jit_stack);
	return pcre2_jit_match(r->code, subject, n, start, PCRE2_NO_UTF_CHECK, s->match_data,
			       s->match_context);
}

static int match(const struct regex *r, struct scratch *s, const char *text, size_t n, size_t start)
{
	int found = match_once(r, s, text, n, start);
	if (found != PCRE2_ERROR_MATCHLIMIT)
		return found;
	for (uint64_t limit = FIRST_LIMIT; found == PCRE2_ERROR_MATCHLIMIT && s->match_budget;) {
		limit = limit * LIMIT_GROWTH < UINT32_MAX ? limit * LIMIT_GROWTH : UINT32_MAX;
		limit = limit < s->match_budget ? limit : s->match_budget;
		s->match_budget -= limit;
		pcre2_set_match_limit(s->match_context, (uint32_t)limit);
		found = match_once(r, s, text, n, start);
	}
	pcre2_set_match_limit(s->match_context, FIRST_LIMIT);
	return found;
}

int regex_search(const struct regex *r, struct scratch *s, const char *text, size_t n, size_t start,
		 bool *found, size_t *begin, size_t *end)
{
	if (!s->match_data || !s->match_context)
		TRY(scratch_prepare(s));
	int got = match(r, s, text, n, start);
	if (got == PCRE2_ERROR_NOMATCH) {
		*found = false;
		return VB_OK;
	}
	if (got < 0) {
		char why[128] = "?";
		pcre2_get_error_message(got, (PCRE2_UCHAR *)why, sizeof why);
		FAIL(got == PCRE2_ERROR_NOMEMORY ? VB_ENOMEM : VB_ELIMIT,
		     "the tokeniser's regular expression gave up: text of %zu bytes, at byte %zu: "
		     "%s",
		     n, start, why);
	}
	const PCRE2_SIZE *o = pcre2_get_ovector_pointer(s->match_data);
	*found = true;
	*begin = o[0];
	*end = o[1];
	return VB_OK;
}

int regex_next(const struct regex *r, struct scratch *s, const char *text, size_t n,
	       struct regex_iter *it, bool *found, size_t *begin, size_t *end)
{
	*found = false;
	while (it->at <= n) {
		TRY(regex_search(r, s, text, n, it->at, found, begin, end));
		if (!*found)
			return VB_OK;
		if (*begin != *end || *end != it->last_end) {
			it->at = it->last_end = *end;
			return VB_OK;
		}
		*found = false;
		it->at += it->at < n ? utf8_len(text[it->at]) : 1;
	}
	return VB_OK;
}

int pattern_parse(struct pattern *p, const json_t *o, const char *what, const char *where)
{
	memset(p, 0, sizeof *p);
	const json_t *v = json_get(o, "pattern");
	bool literal = json_get(v, "String") != NULL;
	const char *s;
	size_t n;
	if (!json_is_object(v) || (!literal && !json_get(v, "Regex")))
		FAIL(VB_EFORMAT,
		     "unsupported pattern: %s: %s: expected {\"String\": ...} or {\"Regex\": ...}",
		     where, what);
	TRY(json_need_text(v, literal ? "String" : "Regex", where, &s, &n));
	if (n == 0)
		FAIL(VB_EUNSUPPORTED, "empty pattern: %s: %s: it would match everywhere", where,
		     what);
	if (!literal)
		return regex_compile(&p->regex, s, n, where);
	p->literal = mem_strndup(s, n);
	p->literal_len = n;
	return p->literal ? VB_OK : VB_ENOMEM;
}

void pattern_fini(struct pattern *p)
{
	mem_free(p->literal);
	regex_destroy(&p->regex);
	memset(p, 0, sizeof *p);
}

static const char *find_literal(const char *text, size_t n, const char *s, size_t len)
{
	const char *end = text + n;
	while (n >= len) {
		const char *hit = memchr(text, s[0], n - len + 1);
		if (!hit || memcmp(hit, s, len) == 0)
			return hit;
		text = hit + 1;
		n = (size_t)(end - text);
	}
	return NULL;
}

int pattern_next(const struct pattern *p, struct scratch *s, const char *text, size_t n,
		 struct regex_iter *it, bool *found, size_t *begin, size_t *end)
{
	if (p->regex)
		return regex_next(p->regex, s, text, n, it, found, begin, end);
	const char *hit = find_literal(text + it->at, n - it->at, p->literal, p->literal_len);
	*found = hit != NULL;
	if (hit) {
		*begin = (size_t)(hit - text);
		*end = it->at = *begin + p->literal_len;
	}
	return VB_OK;
}
