/* pretokenizer.c - cutting text into pieces: a list of steps, each from one list of pieces into the
 * next. Most steps only cut; Metaspace and ByteLevel also rewrite, piece by piece, into a fresh
 * text.
 */
#include "text_internal.h"

#include "base/mem.h"
#include "base/status.h"
#include "base/utf8.h"

#define MAX_STEPS 64

/* The pattern of GPT-2, as the reference writes it. */
#define GPT2_PATTERN                                                                               \
	"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
/* The \w of the Rust regex crate is not Oniguruma's. */
#define RUST_WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}"
#define RUST_SPACE                                                                                 \
	"\\t-\\r\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{"    \
	"205f}\\x{3000}"
#define WHITESPACE_PATTERN "[" RUST_WORD "]+|[^" RUST_WORD RUST_SPACE "]+"

enum cut_kind {
	CUT_PATTERN,    /* Split, Whitespace, ByteLevel's pattern */
	CUT_CHARS,      /* at characters that a predicate takes */
	CUT_DELIMITER,  /* at one character */
	CUT_METASPACE,  /* rewrites spaces; the cutting is a CUT_DELIMITER step after it */
	CUT_ADD_SPACE,  /* a space before a piece that does not begin with one */
	CUT_BYTE_LEVEL, /* bytes into characters */
	CUT_FIXED,      /* every so many characters */
};

enum behavior { REMOVED, ISOLATED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS };
enum prepend { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };

struct cut_step {
	enum cut_kind kind;
	enum behavior behavior;
	bool invert;
	struct pattern pattern;
	bool (*takes)(uint32_t cp);
	uint32_t delimiter; /* CUT_DELIMITER, and what Metaspace puts for a space */
	enum prepend prepend;
	size_t length;
};

struct pretokenizer {
	struct cut_step *step; /* owned */
	size_t n, capacity;
};

/* ---- cutting ---- */

static int add_match(struct scratch *s, size_t begin, size_t end, bool is_match)
{
	TRY(scratch_grow(&s->match, &s->match_capacity, s->n_match + 1, sizeof *s->match));
	s->match[s->n_match++] = (struct match){ (uint32_t)begin, (uint32_t)end, is_match };
	return VB_OK;
}

/* The matches of a step in text[0..n), and the runs between them, in order. */
static int find_matches(const struct cut_step *st, struct scratch *s, const char *text, size_t n)
{
	size_t last = 0, begin, end;
	s->n_match = 0;
	if (st->kind == CUT_PATTERN) {
		struct regex_iter it = { 0, SIZE_MAX };
		bool found;
		for (;;) {
			TRY(pattern_next(&st->pattern, s, text, n, &it, &found, &begin, &end));
			if (!found)
				break;
			if (last != begin)
				TRY(add_match(s, last, begin, st->invert));
			TRY(add_match(s, begin, end, !st->invert));
			last = end;
		}
	} else {
		for (begin = 0; begin < n; begin = end) {
			uint32_t cp;
			end = begin + utf8_at(text + begin, &cp);
			if (st->kind == CUT_DELIMITER ? cp != st->delimiter : !st->takes(cp))
				continue;
			if (last < begin)
				TRY(add_match(s, last, begin, false));
			TRY(add_match(s, begin, end, true));
			last = end;
		}
	}
	return last < n ? add_match(s, last, n, st->invert) : VB_OK;
}

/* Joins s->match[0..n_match) as the behaviour says; returns how many are left. The flags of the
 * joined are of no use. */
static size_t join_matches(struct match *m, size_t n, enum behavior behavior)
{
	size_t left = 0;
	bool before = false;
	for (size_t i = 0; i < n; i++) {
		bool is_match = m[i].is_match;
		bool joins =
			left && (behavior == CONTIGUOUS ? is_match == before : is_match && !before);
		if (joins)
			m[left - 1].end = m[i].end;
		else
			m[left++] = m[i];
		before = is_match;
	}
	return left;
}

/* The same from the right. */
static size_t join_to_next(struct match *m, size_t n)
{
	size_t left = n;
	bool before = false;
	for (size_t i = n; i-- > 0;) {
		bool is_match = m[i].is_match;
		if (left < n && is_match && !before)
			m[left].begin = m[i].begin;
		else
			m[--left] = m[i];
		before = is_match;
	}
	memmove(m, m + left, (n - left) * sizeof *m);
	return n - left;
}

static inline uint32_t zero_of(const struct piece *p, uint32_t begin, uint32_t end)
{
	uint32_t zero_end = p->begin + p->zero;
	return zero_end <= begin ? 0 : zero_end < end ? zero_end - begin : end - begin;
}

static int push_part(struct pieces *to, const struct piece *p, size_t begin, size_t end)
{
	if (begin >= end)
		return VB_OK;
	uint32_t b = p->begin + (uint32_t)begin, e = p->begin + (uint32_t)end;
	return pieces_push(to, b, e, p->zero ? zero_of(p, b, e) : 0);
}

/* Isolated regular expressions, which is what nearly all models have, need no list of matches. */
static int isolate(const struct cut_step *st, struct scratch *s, const char *text,
		   const struct piece *p, struct pieces *to)
{
	struct regex_iter it = { 0, SIZE_MAX };
	size_t last = 0, begin, end, n = p->end - p->begin;
	bool found;
	for (;;) {
		TRY(pattern_next(&st->pattern, s, text + p->begin, n, &it, &found, &begin, &end));
		if (!found)
			break;
		TRY(push_part(to, p, last, begin));
		TRY(push_part(to, p, begin, end));
		last = end;
	}
	return push_part(to, p, last, n);
}

static int cut(const struct cut_step *st, struct scratch *s, const char *text,
	       const struct piece *p, struct pieces *to)
{
	if (st->kind == CUT_PATTERN && st->behavior == ISOLATED)
		return isolate(st, s, text, p, to);
	TRY(find_matches(st, s, text + p->begin, p->end - p->begin));
	size_t n = s->n_match;
	if (st->behavior == CONTIGUOUS || st->behavior == MERGED_WITH_PREVIOUS)
		n = join_matches(s->match, n, st->behavior);
	else if (st->behavior == MERGED_WITH_NEXT)
		n = join_to_next(s->match, n);
	for (size_t i = 0; i < n; i++)
		if (st->behavior != REMOVED || !s->match[i].is_match)
			TRY(push_part(to, p, s->match[i].begin, s->match[i].end));
	return VB_OK;
}

static int cut_fixed(const struct cut_step *st, const char *text, const struct piece *p,
		     struct pieces *to)
{
	size_t last = 0, n = p->end - p->begin, chars = 0;
	for (size_t i = 0; i < n; i += utf8_len(text[p->begin + i])) {
		if (chars && chars % st->length == 0) {
			TRY(push_part(to, p, last, i));
			last = i;
		}
		chars++;
	}
	return push_part(to, p, last, n);
}

/* ---- rewriting ---- */

static int metaspace(const struct cut_step *st, const char *text, const struct piece *p,
		     struct buf *out, struct pieces *to)
{
	char mark[4];
	size_t len = (size_t)utf8_write(st->delimiter, mark), start = out->len,
	       n = p->end - p->begin;
	const char *s = text + p->begin;
	uint32_t zero = 0;
	bool marked = s[0] == ' ' || (n >= len && memcmp(s, mark, len) == 0);
	if (!marked && (st->prepend == PREPEND_ALWAYS || (st->prepend == PREPEND_FIRST && p->zero)))
		TRY(buf_append(out, mark, len));
	for (size_t i = 0; i < n;) {
		const char *space = memchr(s + i, ' ', n - i);
		size_t run = space ? (size_t)(space - s) - i : n - i;
		TRY(buf_append(out, s + i, run));
		if (space)
			TRY(buf_append(out, mark, len));
		i += run + (space != NULL);
	}
	if (p->zero)
		zero = (uint32_t)(out->len - start) < p->zero + len ? (uint32_t)(out->len - start)
								    : p->zero + (uint32_t)len;
	return pieces_push(to, (uint32_t)start, (uint32_t)out->len, p->zero ? zero : 0);
}

static int rewrite(const struct cut_step *st, const char *text, const struct piece *p,
		   struct buf *out, struct pieces *to)
{
	size_t start = out->len;
	if (st->kind == CUT_METASPACE)
		return metaspace(st, text, p, out, to);
	if (st->kind == CUT_ADD_SPACE) {
		bool adds = text[p->begin] != ' ';
		if (adds)
			TRY(buf_putc(out, ' '));
		TRY(buf_append(out, text + p->begin, p->end - p->begin));
		return pieces_push(to, (uint32_t)start, (uint32_t)out->len,
				   p->zero ? p->zero + adds : 0);
	}
	for (size_t i = p->begin; i < p->end; i++)
		TRY(buf_put_cp(out, byte_level_char((uint8_t)text[i])));
	return pieces_push(to, (uint32_t)start, (uint32_t)out->len,
			   p->zero ? (uint32_t)(out->len - start) : 0);
}

/* ---- the list ---- */

bool pretokenizer_ends_in_byte_level(const struct pretokenizer *pt)
{
	return pt->step[pt->n - 1].kind == CUT_BYTE_LEVEL;
}

int pretokenizer_apply(const struct pretokenizer *pt, struct scratch *s, const char *text, size_t n,
		       uint32_t zero, bool defer_bytes, const char **result)
{
	size_t n_steps = pt->n - (defer_bytes ? 1 : 0);
	int from = (int)(n_steps & 1); /* so that the last step writes to pieces[0] */
	s->pieces[from].n = 0;
	if (n)
		TRY(pieces_push(&s->pieces[from], 0, (uint32_t)n, zero));
	int buffer = 0;
	for (size_t i = 0; i < n_steps; i++, from = !from) {
		const struct cut_step *st = &pt->step[i];
		bool rewrites = st->kind == CUT_METASPACE || st->kind == CUT_ADD_SPACE ||
				st->kind == CUT_BYTE_LEVEL;
		struct buf *out = &s->cut[buffer];
		struct pieces *to = &s->pieces[!from];
		to->n = 0;
		buf_clear(out);
		for (size_t k = 0; k < s->pieces[from].n; k++) {
			const struct piece *p = &s->pieces[from].p[k];
			if (rewrites)
				TRY(rewrite(st, text, p, out, to));
			else if (st->kind == CUT_FIXED)
				TRY(cut_fixed(st, text, p, to));
			else
				TRY(cut(st, s, text, p, to));
		}
		if (rewrites && out->data) {
			text = out->data;
			buffer = !buffer;
		}
	}
	*result = text;
	return VB_OK;
}

/* ---- loading ---- */

static int add_step(struct pretokenizer *pt, enum cut_kind kind, const char *where,
		    struct cut_step **out)
{
	if (pt->n == MAX_STEPS)
		FAIL(VB_EUNSUPPORTED, "unsupported pre-tokenizer: %s: more than %d steps", where,
		     MAX_STEPS);
	TRY(scratch_grow(&pt->step, &pt->capacity, pt->n + 1, sizeof *pt->step));
	*out = &pt->step[pt->n++];
	**out = (struct cut_step){ .kind = kind, .behavior = ISOLATED };
	return VB_OK;
}

static int parse_behavior(const json_t *o, const char *what, const char *where, const char *dflt,
			  enum behavior *out)
{
	/* Upper camel case in Split and Punctuation; snake case in old files. */
	static const struct {
		const char *name, *snake;
		enum behavior behavior;
	} names[] = {
		{ "Removed", "removed", REMOVED },
		{ "Isolated", "isolated", ISOLATED },
		{ "MergedWithPrevious", "merged_with_previous", MERGED_WITH_PREVIOUS },
		{ "MergedWithNext", "merged_with_next", MERGED_WITH_NEXT },
		{ "Contiguous", "contiguous", CONTIGUOUS },
	};
	const char *name;
	TRY(json_get_str(o, "behavior", where, dflt, &name));
	for (size_t i = 0; name && i < sizeof names / sizeof *names; i++) {
		if (strcmp(name, names[i].name) == 0 || strcmp(name, names[i].snake) == 0) {
			*out = names[i].behavior;
			return VB_OK;
		}
	}
	FAIL(VB_EUNSUPPORTED, "unsupported behavior: %s: %s: \"%s\"", where, what,
	     name ? name : "(none)");
}

static int parse_char(const json_t *o, const char *key, const char *where, uint32_t *out)
{
	const char *s;
	size_t n;
	TRY(json_need_text(o, key, where, &s, &n));
	if (n == 0 || utf8_at(s, out) != n)
		FAIL(VB_EFORMAT, "not one character: %s: key \"%s\": \"%.40s\"", where, key, s);
	return VB_OK;
}

static int parse_byte_level(struct pretokenizer *pt, const json_t *o, const char *where)
{
	struct cut_step *st = NULL;
	bool add_space, use_regex;
	TRY(json_get_bool(o, "add_prefix_space", where, true, &add_space));
	TRY(json_get_bool(o, "use_regex", where, true, &use_regex));
	if (add_space)
		TRY(add_step(pt, CUT_ADD_SPACE, where, &st));
	if (use_regex) {
		TRY(add_step(pt, CUT_PATTERN, where, &st));
		TRY(regex_compile(&st->pattern.regex, GPT2_PATTERN, strlen(GPT2_PATTERN), where));
	}
	return add_step(pt, CUT_BYTE_LEVEL, where, &st);
}

static int parse_metaspace(struct pretokenizer *pt, const json_t *o, const char *where)
{
	struct cut_step *st = NULL;
	const char *scheme;
	bool add_space, split;
	uint32_t mark;
	TRY(parse_char(o, "replacement", where, &mark));
	TRY(json_get_str(o, "prepend_scheme", where, "always", &scheme));
	/* Old files say add_prefix_space: false for "never", without a scheme. */
	TRY(json_get_bool(o, "add_prefix_space", where, true, &add_space));
	TRY(json_get_bool(o, "split", where, true, &split));
	if (!add_space && json_get(o, "prepend_scheme") && strcmp(scheme, "never") != 0)
		FAIL(VB_EFORMAT,
		     "contradiction: %s: Metaspace: add_prefix_space is false, prepend_scheme "
		     "\"%s\"",
		     where, scheme);
	TRY(add_step(pt, CUT_METASPACE, where, &st));
	st->delimiter = mark;
	if (!add_space || strcmp(scheme, "never") == 0)
		st->prepend = PREPEND_NEVER;
	else if (strcmp(scheme, "first") == 0)
		st->prepend = PREPEND_FIRST;
	else if (strcmp(scheme, "always") == 0)
		st->prepend = PREPEND_ALWAYS;
	else
		FAIL(VB_EUNSUPPORTED, "unsupported prepend_scheme: %s: Metaspace: \"%s\"", where,
		     scheme);
	if (!split)
		return VB_OK;
	TRY(add_step(pt, CUT_DELIMITER, where, &st));
	st->delimiter = mark;
	st->behavior = MERGED_WITH_NEXT;
	return VB_OK;
}

static int parse_split(struct pretokenizer *pt, const json_t *o, const char *where)
{
	struct cut_step *st = NULL;
	TRY(add_step(pt, CUT_PATTERN, where, &st));
	TRY(pattern_parse(&st->pattern, o, "Split", where));
	TRY(parse_behavior(o, "Split", where, NULL, &st->behavior));
	return json_get_bool(o, "invert", where, false, &st->invert);
}

static int parse_by_chars(struct pretokenizer *pt, const char *type, const json_t *o,
			  const char *where)
{
	struct cut_step *st = NULL;
	TRY(add_step(pt, CUT_CHARS, where, &st));
	if (strcmp(type, "Digits") == 0) {
		bool individual;
		TRY(json_get_bool(o, "individual_digits", where, false, &individual));
		st->takes = is_numeric;
		st->behavior = individual ? ISOLATED : CONTIGUOUS;
	} else if (strcmp(type, "Punctuation") == 0) {
		st->takes = is_punctuation;
		return parse_behavior(o, "Punctuation", where, "Isolated", &st->behavior);
	} else { /* WhitespaceSplit, and the first half of BertPreTokenizer */
		st->takes = is_space;
		st->behavior = REMOVED;
		if (strcmp(type, "BertPreTokenizer") == 0) {
			TRY(add_step(pt, CUT_CHARS, where, &st));
			st->takes = is_punctuation;
		}
	}
	return VB_OK;
}

static int parse_other(struct pretokenizer *pt, const char *type, const json_t *o,
		       const char *where)
{
	struct cut_step *st = NULL;
	if (strcmp(type, "Whitespace") == 0) {
		TRY(add_step(pt, CUT_PATTERN, where, &st));
		st->invert = true;
		st->behavior = REMOVED;
		return regex_compile_own(&st->pattern.regex, WHITESPACE_PATTERN);
	}
	if (strcmp(type, "CharDelimiterSplit") == 0) {
		TRY(add_step(pt, CUT_DELIMITER, where, &st));
		st->behavior = REMOVED;
		return parse_char(o, "delimiter", where, &st->delimiter);
	}
	if (strcmp(type, "FixedLength") == 0) {
		int64_t length;
		TRY(add_step(pt, CUT_FIXED, where, &st));
		TRY(json_get_i64(o, "length", where, 1, INT32_MAX, 5, &length));
		st->length = (size_t)length;
		return VB_OK;
	}
	FAIL(VB_EUNSUPPORTED, "unsupported pre-tokenizer: %s: \"%s\"", where, type);
}

static int parse_into(struct pretokenizer *pt, const json_t *o, const char *where)
{
	const char *type;
	TRY(json_component(o, "pre_tokenizer", where, &type));
	if (strcmp(type, "Sequence") == 0) {
		const json_t *list = json_get(o, "pretokenizers"), *v;
		size_t i;
		if (!json_is_array(list))
			FAIL(VB_EFORMAT,
			     "wrong type: %s: key \"pretokenizers\": expected an array, found %s",
			     where, json_kind(list));
		json_array_foreach (list, i, v)
			TRY(parse_into(pt, v, where)); /* as deep as JSON may nest */
		return VB_OK;
	}
	if (strcmp(type, "ByteLevel") == 0)
		return parse_byte_level(pt, o, where);
	if (strcmp(type, "Metaspace") == 0)
		return parse_metaspace(pt, o, where);
	if (strcmp(type, "Split") == 0)
		return parse_split(pt, o, where);
	static const char *const by_chars[] = { "Digits", "Punctuation", "WhitespaceSplit",
						"BertPreTokenizer" };
	for (size_t i = 0; i < sizeof by_chars / sizeof *by_chars; i++)
		if (strcmp(type, by_chars[i]) == 0)
			return parse_by_chars(pt, type, o, where);
	return parse_other(pt, type, o, where);
}

int pretokenizer_parse(struct pretokenizer **out, const json_t *o, const char *where)
{
	struct pretokenizer *pt = mem_calloc(1, sizeof *pt);
	*out = pt;
	if (!pt)
		return VB_ENOMEM;
	int rc = parse_into(pt, o, where);
	if (rc || pt->n == 0)
		pretokenizer_destroy(out);
	return rc;
}

void pretokenizer_destroy(struct pretokenizer **pt)
{
	if (!*pt)
		return;
	for (size_t i = 0; i < (*pt)->n; i++)
		pattern_fini(&(*pt)->step[i].pattern);
	mem_free((*pt)->step);
	mem_free(*pt);
	*pt = NULL;
}
