/* regex_translate.c - Oniguruma's Ruby syntax, in which tokenizer.json files are written, turned
 * into PCRE2's.
 *
 * DESIGN. One pass over the pattern, copying what means the same and rewriting what does not:
 *   \s \w \b \h and [:names:]   their sets differ, so they are spelled out
 *   X{n,m}+                     repeats the group; in PCRE2 it would be possessive
 *   [a[b]] and [a&&b]           PCRE2 has neither: a class becomes alternatives and look-aheads
 *   \p{Han}                     PCRE2 would take the script's extensions
 *   $ and ^                     match at every line (PCRE2_MULTILINE)
 * What is neither known to mean the same nor rewritten is refused, with the pattern in the message:
 * a wrong cut would not be noticed. Groups are counted, not recursed into; only nested classes
 * recurse, to a bounded depth.
 */
#include "text_internal.h"

#include "base/status.h"
#include "base/utf8.h"

#include <stdio.h>

#define MAX_GROUPS 200
#define MAX_CLASS_DEPTH 16

/* The sets below are items of a PCRE2 class. */
#define SPACE_ITEMS                                                                                \
	"\\t-\\r\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}"                                   \
	"\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NOT_SPACE_ITEMS                                                                            \
	"\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}"               \
	"\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}"             \
	"\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"
/* Oniguruma's word characters: circled letters are, and outside of classes so are some numbers of
 * Latin-1. */
#define CLASS_WORD_ITEMS                                                                           \
	"\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}"                \
	"\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"
#define WORD_ITEMS CLASS_WORD_ITEMS "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"
#define HEX_ITEMS "0-9a-fA-F"
#define ANY_CHAR "(?s:.)"

struct translation {
	const char *src;
	size_t n, i;
	struct buf *out;
	const char *where;
	size_t group[MAX_GROUPS]; /* where in `out` each open group begins */
	int depth;
	size_t atom;     /* where in `out` the last repeatable item begins; SIZE_MAX: none */
	int class_depth; /* classes open around t->i */
	bool fresh; /* nothing of the current group's current alternative has been seen */
};

/* Fails with the pattern in the message. */
#define REFUSE(t, ...) return refuse((t), __VA_ARGS__)

static int refuse(const struct translation *t, const char *what)
{
	FAIL(VB_EUNSUPPORTED, "unsupported regular expression: %s: \"%.*s\": at byte %zu: %s",
	     t->where, (int)(t->n > 500 ? 500 : t->n), t->src, t->i, what);
}

static bool peek(const struct translation *t, const char *s)
{
	size_t n = strlen(s);
	return t->n - t->i >= n && memcmp(t->src + t->i, s, n) == 0;
}

static char peek_char(const struct translation *t)
{
	return t->i < t->n ? t->src[t->i] : '\0';
}

/* Inserts `text` into out before position `at`. */
static int insert(struct buf *out, size_t at, const char *text)
{
	size_t n = strlen(text);
	TRY(buf_append(out, text, n));
	memmove(out->data + at + n, out->data + at, out->len - n - at);
	memcpy(out->data + at, text, n);
	return VB_OK;
}

/* ---- properties ---- */

/* Names in lower case, without spaces, '_' and '-', each with PCRE2's name of the property. The
 * general categories go by their short names, too: those are a letter or two, and PCRE2's own. */
struct name_map {
	const char *name, *to;
};

static const char *const categories[] = {
	"C",  "Cc", "Cf", "Cn", "Co", "Cs", "L",  "Ll", "Lm", "Lo", "Lt", "Lu", "M",
	"Mc", "Me", "Mn", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Pe", "Pf", "Pi",
	"Po", "Ps", "S",  "Sc", "Sk", "Sm", "So", "Z",  "Zl", "Zp", "Zs", "Any",
};

static const struct name_map properties[] = {
	{ "lc", "L&" },
	{ "letter", "L" },
	{ "casedletter", "L&" },
	{ "lowercaseletter", "Ll" },
	{ "modifierletter", "Lm" },
	{ "otherletter", "Lo" },
	{ "titlecaseletter", "Lt" },
	{ "uppercaseletter", "Lu" },
	{ "mark", "M" },
	{ "combiningmark", "M" },
	{ "spacingmark", "Mc" },
	{ "enclosingmark", "Me" },
	{ "nonspacingmark", "Mn" },
	{ "number", "N" },
	{ "decimalnumber", "Nd" },
	{ "letternumber", "Nl" },
	{ "othernumber", "No" },
	{ "punctuation", "P" },
	{ "connectorpunctuation", "Pc" },
	{ "dashpunctuation", "Pd" },
	{ "closepunctuation", "Pe" },
	{ "finalpunctuation", "Pf" },
	{ "initialpunctuation", "Pi" },
	{ "otherpunctuation", "Po" },
	{ "openpunctuation", "Ps" },
	{ "symbol", "S" },
	{ "currencysymbol", "Sc" },
	{ "modifiersymbol", "Sk" },
	{ "mathsymbol", "Sm" },
	{ "othersymbol", "So" },
	{ "separator", "Z" },
	{ "lineseparator", "Zl" },
	{ "paragraphseparator", "Zp" },
	{ "spaceseparator", "Zs" },
	{ "other", "C" },
	{ "control", "Cc" },
	{ "format", "Cf" },
	{ "unassigned", "Cn" },
	{ "privateuse", "Co" },
	{ "surrogate", "Cs" },
	{ "digit", "Nd" },
	{ "cntrl", "Cc" },
	{ "alphabetic", "Alphabetic" },
	{ "alpha", "Alphabetic" },
	{ "lowercase", "Lowercase" },
	{ "lower", "Lowercase" },
	{ "uppercase", "Uppercase" },
	{ "upper", "Uppercase" },
	{ "ideographic", "Ideographic" },
	{ "emoji", "Emoji" },
	{ "emojipresentation", "Emoji_Presentation" },
	{ "emojimodifier", "Emoji_Modifier" },
	{ "extendedpictographic", "Extended_Pictographic" },
};

/* The same, with the items of a class. */
static const struct name_map named_items[] = {
	{ "space", SPACE_ITEMS },
	{ "whitespace", SPACE_ITEMS },
	{ "word", CLASS_WORD_ITEMS },
	{ "alnum", "\\p{Alphabetic}\\p{Nd}" },
	{ "ascii", "\\x{0}-\\x{7f}" },
	{ "xdigit", HEX_ITEMS },
	{ "blank", "\\t\\p{Zs}" },
	{ "punct", "\\p{P}\\p{S}" },
};

/* Scripts are passed on by name, but only these: PCRE2 would read other names as it likes. */
static const char *const scripts[] = {
	"Arabic",   "Armenian", "Bengali",    "Bopomofo", "Braille",  "Cherokee",  "Common",
	"Coptic",   "Cyrillic", "Devanagari", "Ethiopic", "Georgian", "Gothic",    "Greek",
	"Gujarati", "Gurmukhi", "Han",        "Hangul",   "Hebrew",   "Hiragana",  "Inherited",
	"Kannada",  "Katakana", "Khmer",      "Lao",      "Latin",    "Malayalam", "Mongolian",
	"Myanmar",  "Ogham",    "Oriya",      "Runic",    "Sinhala",  "Syriac",    "Tamil",
	"Telugu",   "Thaana",   "Thai",       "Tibetan",  "Yi",
};

static bool same_name(const char *loose, const char *name)
{
	for (; *name; name++, loose++) {
		char c = *name >= 'A' && *name <= 'Z' ? (char)(*name + 32) : *name;
		if (*loose != c)
			return false;
	}
	return *loose == '\0';
}

/* Turns a set into PCRE2: as items of a class where it has such, else (`alternative`) as an
 * expression. */
struct set {
	char items[400];
	char alternative[400]; /* "" where items suffice */
};

static int named_set(const struct translation *t, const char *name, size_t n, bool negated,
		     struct set *out)
{
	char loose[64];
	size_t len = 0;
	for (size_t i = 0; i < n; i++) {
		char c = name[i];
		if (c == ' ' || c == '_' || c == '-')
			continue;
		if (len + 1 == sizeof loose)
			REFUSE(t, "unknown property");
		loose[len++] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
	}
	loose[len] = '\0';
	out->items[0] = out->alternative[0] = '\0';
	if (!t->class_depth && strcmp(loose, "word") == 0) {
		snprintf(out->alternative, sizeof out->alternative, "[%s%s]", negated ? "^" : "",
			 WORD_ITEMS);
		return VB_OK;
	}
	char sign = negated ? 'P' : 'p';
	for (size_t i = 0; i < sizeof categories / sizeof *categories; i++) {
		if (same_name(loose, categories[i])) {
			snprintf(out->items, sizeof out->items, "\\%c{%s}", sign, categories[i]);
			return VB_OK;
		}
	}
	for (size_t i = 0; i < sizeof properties / sizeof *properties; i++) {
		if (strcmp(loose, properties[i].name) == 0) {
			snprintf(out->items, sizeof out->items, "\\%c{%s}", sign, properties[i].to);
			return VB_OK;
		}
	}
	for (size_t i = 0; i < sizeof named_items / sizeof *named_items; i++) {
		if (strcmp(loose, named_items[i].name) != 0)
			continue;
		if (negated)
			snprintf(out->alternative, sizeof out->alternative, "[^%s]",
				 named_items[i].to);
		else
			snprintf(out->items, sizeof out->items, "%s", named_items[i].to);
		return VB_OK;
	}
	for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
		if (same_name(loose, scripts[i])) {
			snprintf(out->items, sizeof out->items, "\\%c{sc:%s}", sign, scripts[i]);
			return VB_OK;
		}
	}
	REFUSE(t, "unknown property");
}

/* At the letter of \p{...} or \P{...}. */
static int property(struct translation *t, struct set *out)
{
	bool negated = t->src[t->i++] == 'P';
	if (peek_char(t) != '{')
		REFUSE(t, "\\p without braces");
	t->i++;
	if (peek_char(t) == '^') {
		negated = !negated;
		t->i++;
	}
	const char *name = t->src + t->i;
	const char *end = memchr(name, '}', t->n - t->i);
	if (!end)
		REFUSE(t, "\\p{ without }");
	TRY(named_set(t, name, (size_t)(end - name), negated, out));
	t->i += (size_t)(end - name) + 1;
	return VB_OK;
}

/* ---- escapes ---- */

/* A set written as a backslash and a letter; *is_set tells whether there is one at t->i (the
 * letter). */
static int escaped_set(struct translation *t, bool *is_set, struct set *out)
{
	const char *items = NULL, *alternative = "";
	*is_set = true;
	switch (peek_char(t)) {
	case 'p':
	case 'P':
		return property(t, out);
	case 's':
		items = SPACE_ITEMS;
		break;
	case 'S':
		items = NOT_SPACE_ITEMS;
		break;
	case 'd':
		items = "\\p{Nd}";
		break;
	case 'D':
		items = "\\P{Nd}";
		break;
	case 'w':
		items = t->class_depth ? CLASS_WORD_ITEMS : WORD_ITEMS;
		break;
	case 'W':
		alternative = t->class_depth ? "[^" CLASS_WORD_ITEMS "]" : "[^" WORD_ITEMS "]";
		break;
	case 'h':
		items = HEX_ITEMS;
		break;
	case 'H':
		alternative = "[^" HEX_ITEMS "]";
		break;
	default:
		*is_set = false;
		return VB_OK;
	}
	t->i++;
	snprintf(out->items, sizeof out->items, "%s", items ? items : "");
	snprintf(out->alternative, sizeof out->alternative, "%s", alternative);
	return VB_OK;
}

static int hex_number(struct translation *t, size_t max_digits, uint32_t *cp)
{
	size_t digits = 0;
	*cp = 0;
	for (; digits < max_digits && t->i < t->n; digits++, t->i++) {
		char c = t->src[t->i];
		int v = c >= '0' && c <= '9'   ? c - '0'
			: c >= 'a' && c <= 'f' ? c - 'a' + 10
			: c >= 'A' && c <= 'F' ? c - 'A' + 10
					       : -1;
		if (v < 0)
			break;
		*cp = *cp << 4 | (uint32_t)v;
	}
	if (digits == 0)
		REFUSE(t, "a hexadecimal escape without digits");
	return VB_OK;
}

/* The code point of an escape or a plain character at t->i. `in_class`: \b is a backspace. */
static int one_char(struct translation *t, bool in_class, uint32_t *cp)
{
	if (t->src[t->i] != '\\') {
		t->i += utf8_at(t->src + t->i, cp);
		return VB_OK;
	}
	if (++t->i == t->n)
		REFUSE(t, "a backslash at the end");
	char c = t->src[t->i];
	const char *letters = "tnrfvae", *meaning = "\t\n\r\f\v\a\x1b";
	const char *letter = c ? strchr(letters, c) : NULL;
	if (letter) {
		*cp = (uint8_t)meaning[letter - letters];
		t->i++;
		return VB_OK;
	}
	if (c == 'b' && in_class) {
		*cp = '\b';
		t->i++;
		return VB_OK;
	}
	if (c == '0') { /* up to two octal digits more */
		*cp = 0;
		for (int k = 0; k < 3 && t->i < t->n && t->src[t->i] >= '0' && t->src[t->i] <= '7';
		     k++)
			*cp = *cp << 3 | (uint32_t)(t->src[t->i++] - '0');
		return VB_OK;
	}
	if (c == 'x' || c == 'u') {
		t->i++;
		if (c == 'x' && peek_char(t) == '{') {
			t->i++;
			TRY(hex_number(t, 6, cp));
			if (peek_char(t) != '}')
				REFUSE(t, "\\x{ without }");
			t->i++;
		} else {
			size_t start = t->i;
			TRY(hex_number(t, c == 'x' ? 2 : 4, cp));
			if (c == 'u' && t->i - start != 4)
				REFUSE(t, "\\u without four digits");
			if (c == 'x' && *cp > 0x7f)
				REFUSE(t, "\\x of a single byte above 7f");
		}
		char utf8[4];
		if (utf8_write(*cp, utf8) == 0)
			REFUSE(t, "not a Unicode character");
		return VB_OK;
	}
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '1' && c <= '9'))
		REFUSE(t, "unsupported escape");
	t->i += utf8_at(t->src + t->i, cp);
	return VB_OK;
}

/* A literal outside a class. Everything that might mean something is written as a number. */
static int put_literal(struct buf *out, uint32_t cp)
{
	if ((cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z') || (cp >= '0' && cp <= '9'))
		return buf_putc(out, (char)cp);
	return buf_printf(out, "\\x{%x}", cp);
}

/* ---- character classes ---- */

/* A union of items and of alternatives that cannot be items. */
struct members {
	struct buf items, alternatives;
};

static void members_init(struct members *m)
{
	buf_init(&m->items, TEXT_MAX_BYTES);
	buf_init(&m->alternatives, TEXT_MAX_BYTES);
}

static void members_fini(struct members *m)
{
	buf_fini(&m->items);
	buf_fini(&m->alternatives);
}

static int add_alternative(struct members *m, const char *text)
{
	if (m->alternatives.len)
		TRY(buf_putc(&m->alternatives, '|'));
	return buf_puts(&m->alternatives, text);
}

static int add_set(struct members *m, const struct set *s)
{
	if (s->alternative[0])
		return add_alternative(m, s->alternative);
	return buf_puts(&m->items, s->items);
}

/* The expression that matches one member (or, negated, one non-member). */
static int put_members(const struct translation *t, const struct members *m, bool negated,
		       struct buf *out)
{
	if (!m->alternatives.len) {
		if (!m->items.len)
			REFUSE(t, "an empty character class");
		return buf_printf(out, "[%s%s]", negated ? "^" : "", m->items.data);
	}
	TRY(buf_puts(out, negated ? "(?:(?!" : "(?:"));
	if (m->items.len)
		TRY(buf_printf(out, "[%s]|", m->items.data));
	TRY(buf_puts(out, m->alternatives.data));
	return buf_puts(out, negated ? ")" ANY_CHAR ")" : ")");
}

static int class_body(struct translation *t, int depth, struct members *flat, struct buf *out);

/* [:name:] at t->i; *is_name tells whether there is one. */
static int posix_name(struct translation *t, struct members *m, bool *is_name)
{
	*is_name = false;
	size_t i = t->i + 2;
	bool negated = i < t->n && t->src[i] == '^';
	i += negated;
	size_t start = i;
	while (i < t->n && t->src[i] >= 'a' && t->src[i] <= 'z')
		i++;
	if (i + 1 >= t->n || t->src[i] != ':' || t->src[i + 1] != ']')
		return VB_OK;
	struct set s;
	TRY(named_set(t, t->src + start, i - start, negated, &s));
	*is_name = true;
	t->i = i + 2;
	return add_set(m, &s);
}

/* One member: a set, a character or a range. */
static int class_member(struct translation *t, struct members *m)
{
	if (t->src[t->i] == '\\') {
		struct set s;
		bool is_set;
		t->i++;
		TRY(escaped_set(t, &is_set, &s));
		if (is_set) {
			if (peek_char(t) == '-' && t->i + 1 < t->n && t->src[t->i + 1] != ']')
				REFUSE(t, "a range that begins with a set");
			return add_set(m, &s);
		}
		t->i--;
	}
	uint32_t first, last;
	TRY(one_char(t, true, &first));
	last = first;
	if (peek_char(t) == '-' && t->i + 1 < t->n && t->src[t->i + 1] != ']') {
		t->i++;
		if (peek_char(t) == '[' || peek(t, "&&"))
			REFUSE(t, "a range that ends in a class");
		if (peek_char(t) == '\\' && t->i + 1 < t->n &&
		    strchr("pPsSdDwWhH", t->src[t->i + 1]))
			REFUSE(t, "a range that ends in a set");
		TRY(one_char(t, true, &last));
	}
	if (last < first)
		REFUSE(t, "a range from high to low");
	if (first == last)
		return buf_printf(&m->items, "\\x{%x}", first);
	return buf_printf(&m->items, "\\x{%x}-\\x{%x}", first, last);
}

/* Members up to "&&" or the closing bracket. */
static int class_union(struct translation *t, int depth, struct members *m, bool first)
{
	for (;; first = false) {
		if (t->i >= t->n)
			REFUSE(t, "a character class without ]");
		if (peek(t, "&&") || (t->src[t->i] == ']' && !first))
			return VB_OK;
		if (t->src[t->i] == ']')
			REFUSE(t, "a character class that begins with ]");
		if (t->src[t->i] != '[') {
			TRY(class_member(t, m));
			continue;
		}
		bool is_name = false;
		if (peek(t, "[:"))
			TRY(posix_name(t, m, &is_name));
		if (!is_name) {
			struct buf nested;
			buf_init(&nested, TEXT_MAX_BYTES);
			t->i++;
			int rc = class_body(t, depth + 1, m, &nested);
			if (rc == VB_OK && nested.len)
				rc = add_alternative(m, nested.data);
			buf_fini(&nested);
			TRY(rc);
		}
	}
}

/* After '[', through ']'. A plain union goes into `flat` where that is given, all else as an
 * expression to *out. */
static int class_body(struct translation *t, int depth, struct members *flat, struct buf *out)
{
	if (depth > MAX_CLASS_DEPTH)
		REFUSE(t, "classes nested too deeply");
	bool negated = peek_char(t) == '^';
	t->i += negated;
	int rc = VB_OK;
	struct members m;
	struct buf others; /* (?=...) for every operand of && but the first */
	members_init(&m);
	buf_init(&others, TEXT_MAX_BYTES);
	t->class_depth++;
	TRY_TO(out, class_union(t, depth, &m, true));
	while (peek(t, "&&")) {
		t->i += 2;
		struct members more;
		members_init(&more);
		rc = class_union(t, depth, &more, false);
		if (rc == VB_OK)
			rc = buf_puts(&others, "(?=");
		if (rc == VB_OK)
			rc = put_members(t, &more, false, &others);
		if (rc == VB_OK)
			rc = buf_puts(&others, ")");
		members_fini(&more);
		TRY_TO(out, rc);
	}
	t->i++;
	t->class_depth--;
	if (!others.len && !negated && flat && !m.alternatives.len) {
		TRY_TO(out, buf_append(&flat->items, m.items.data, m.items.len));
	} else if (!others.len) {
		TRY_TO(out, put_members(t, &m, negated, out));
	} else {
		TRY_TO(out, buf_puts(out, negated ? "(?:(?!" : "(?:"));
		TRY_TO(out, buf_puts(out, others.data));
		TRY_TO(out, put_members(t, &m, false, out));
		TRY_TO(out, buf_puts(out, negated ? ")" ANY_CHAR ")" : ")"));
	}
out:
	members_fini(&m);
	buf_fini(&others);
	return rc;
}

/* ---- groups and repetition ---- */

/* (?imx-imx) or (?imx-imx: at t->i, after "(?". Ruby's m is PCRE2's s. */
static int options(struct translation *t)
{
	bool was_fresh = t->fresh;
	TRY(buf_puts(t->out, "(?"));
	for (;; t->i++) {
		switch (peek_char(t)) {
		case 'i':
		case '-':
			TRY(buf_putc(t->out, t->src[t->i]));
			break;
		case 'm':
			TRY(buf_putc(t->out, 's'));
			break;
		case ':':
			t->i++;
			t->fresh = true;
			return buf_putc(t->out, ':');
		case ')':
			/* To Oniguruma the rest of the group, its alternatives included, is one
			 * operand of the option. That is PCRE2's meaning, too, where nothing stands
			 * before it. */
			if (!was_fresh)
				REFUSE(t, "an option in the middle of a group");
			t->i++;
			t->depth--;
			t->atom = SIZE_MAX;
			t->fresh = true;
			return buf_putc(t->out, ')');
		default:
			REFUSE(t, "unsupported group or option");
		}
	}
}

static int open_group(struct translation *t)
{
	if (t->depth == MAX_GROUPS)
		REFUSE(t, "groups nested too deeply");
	t->group[t->depth++] = t->out->len;
	t->i++;
	if (peek_char(t) == '*')
		REFUSE(t, "a PCRE2 verb");
	if (peek_char(t) != '?') {
		t->fresh = true;
		t->atom = SIZE_MAX;
		return buf_puts(t->out, "(?:"); /* nothing refers back to what a group captured */
	}
	t->i++;
	static const char *const same[] = { ":", "=", "!", ">", "<=", "<!" };
	for (size_t k = 0; k < sizeof same / sizeof *same; k++) {
		if (peek(t, same[k])) {
			t->i += strlen(same[k]);
			t->fresh = true;
			t->atom = SIZE_MAX;
			return buf_printf(t->out, "(?%s", same[k]);
		}
	}
	if (peek_char(t) == '#') {
		const char *end = memchr(t->src + t->i, ')', t->n - t->i);
		if (!end)
			REFUSE(t, "a comment without )");
		t->i = (size_t)(end - t->src) + 1;
		t->depth--;
		return VB_OK;
	}
	return options(t);
}

/* {n}, {n,}, {,m} or {n,m} at t->i; *is_interval is false where the brace is a literal. */
static int interval(struct translation *t, bool *is_interval, char text[48], bool *fixed)
{
	size_t i = t->i + 1;
	long n[2] = { -1, -1 };
	bool comma = false;
	for (int k = 0; k < 2; k++) {
		while (i < t->n && t->src[i] >= '0' && t->src[i] <= '9') {
			n[k] = (n[k] < 0 ? 0 : n[k]) * 10 + (t->src[i++] - '0');
			if (n[k] > 65535)
				REFUSE(t, "a repetition above 65535");
		}
		if (k == 0 && i < t->n && t->src[i] == ',') {
			comma = true;
			i++;
		} else {
			break;
		}
	}
	*is_interval = i < t->n && t->src[i] == '}' && (n[0] >= 0 || n[1] >= 0);
	if (!*is_interval)
		return VB_OK;
	if (n[0] < 0)
		n[0] = 0;
	if (comma && n[1] >= 0 && n[1] < n[0])
		REFUSE(t, "a repetition from high to low");
	*fixed = !comma;
	if (!comma)
		snprintf(text, 48, "{%ld}", n[0]);
	else if (n[1] < 0)
		snprintf(text, 48, "{%ld,}", n[0]);
	else
		snprintf(text, 48, "{%ld,%ld}", n[0], n[1]);
	t->i = i + 1;
	return VB_OK;
}

/* A quantifier at t->i and those stacked on it. */
static int quantifier(struct translation *t)
{
	for (bool first = true;; first = false) {
		char text[48] = "";
		bool is_interval = false, fixed = false;
		char c = peek_char(t);
		if (c == '{') {
			TRY(interval(t, &is_interval, text, &fixed));
			if (!is_interval && !first)
				return VB_OK;
			if (!is_interval) {
				t->i++;
				t->atom = t->out->len;
				return put_literal(t->out, '{');
			}
		} else if (t->i < t->n && (c == '*' || c == '+' || c == '?')) {
			text[0] = c;
			t->i++;
		} else {
			return VB_OK;
		}
		if (t->atom == SIZE_MAX)
			REFUSE(t, "nothing to repeat");
		if (!first) {
			TRY(insert(t->out, t->atom, "(?:"));
			TRY(buf_putc(t->out, ')'));
		}
		TRY(buf_puts(t->out, text));
		c = peek_char(t);
		/* After {n,m} a + repeats again, and so does a ? after {n}: the next round does
		 * that. */
		if ((c == '?' && !fixed) || (c == '+' && !is_interval)) {
			TRY(buf_putc(t->out, c));
			t->i++;
		}
	}
}

static int escape(struct translation *t)
{
	struct set s;
	bool is_set;
	size_t start = t->out->len;
	t->i++;
	TRY(escaped_set(t, &is_set, &s));
	if (is_set) {
		t->atom = start;
		return s.alternative[0] ? buf_puts(t->out, s.alternative)
					: buf_printf(t->out, "[%s]", s.items);
	}
	t->atom = SIZE_MAX;
	switch (peek_char(t)) {
	case 'b':
		t->i++;
		return buf_puts(t->out, "(?:(?<=[" WORD_ITEMS "])(?![" WORD_ITEMS
					"])|(?<![" WORD_ITEMS "])(?=[" WORD_ITEMS "]))");
	case 'B':
		t->i++;
		return buf_puts(t->out, "(?:(?<=[" WORD_ITEMS "])(?=[" WORD_ITEMS
					"])|(?<![" WORD_ITEMS "])(?![" WORD_ITEMS "]))");
	case 'A':
	case 'Z':
	case 'z':
		TRY(buf_printf(t->out, "\\%c", t->src[t->i]));
		t->i++;
		return VB_OK;
	case 'R':
		t->i++;
		t->atom = start;
		return buf_puts(t->out, "(?>\\x0d\\x0a|[\\x0a-\\x0d\\x{85}\\x{2028}\\x{2029}])");
	default:
		break;
	}
	uint32_t cp;
	t->i--;
	TRY(one_char(t, false, &cp));
	t->atom = start;
	return put_literal(t->out, cp);
}

/* One item of the pattern. */
static int item(struct translation *t)
{
	size_t start = t->out->len;
	uint32_t cp;
	switch (t->src[t->i]) {
	case '(':
		return open_group(t);
	case ')':
		if (t->depth == 0)
			REFUSE(t, "an unmatched )");
		t->i++;
		t->atom = t->group[--t->depth];
		t->fresh = false;
		return buf_putc(t->out, ')');
	case '|':
	case '^':
	case '$':
		t->atom = SIZE_MAX;
		t->fresh = false;
		return buf_putc(t->out, t->src[t->i++]);
	case '*':
	case '+':
	case '?':
	case '{':
		t->fresh = false;
		return quantifier(t);
	case '[':
		t->i++;
		t->atom = start;
		t->fresh = false;
		return class_body(t, 0, NULL, t->out);
	case '\\':
		t->fresh = false;
		return escape(t);
	case '.':
		t->i++;
		t->atom = start;
		t->fresh = false;
		return buf_putc(t->out, '.');
	default:
		TRY(one_char(t, false, &cp));
		t->atom = start;
		t->fresh = false;
		return put_literal(t->out, cp);
	}
}

int regex_translate(const char *pattern, size_t n, const char *where, struct buf *out)
{
	struct translation t = {
		.src = pattern, .n = n, .out = out, .where = where, .atom = SIZE_MAX, .fresh = true
	};
	if (!utf8_valid(pattern, n) || memchr(pattern, '\0', n))
		REFUSE(&t, "not UTF-8 text without NUL");
	while (t.i < t.n)
		TRY(item(&t));
	if (t.depth)
		REFUSE(&t, "a group without )");
	return buf_append(out, "", 0);
}
