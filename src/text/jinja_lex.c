#include "jinja.h"

#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int jinja_syntax(const struct chat_template *t, int code, int line, const char *fmt, ...)
{
	char text[600];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : utf8_complete_prefix(text, sizeof text - 1);
	text[len] = '\0';
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			text[i] = '?';
	return status_fail(code, __FILE__, __LINE__, "bad chat template: %s, line %d: %s", t->where, line, text);
}

void jinja_lex_init(struct lexer *lx, const struct chat_template *t)
{
	*lx = (struct lexer){ .tmpl = t, .s = t->source, .n = t->source_len, .line = 1 };
}

/* Lines are counted as tokens are given out, each newline once. */
static int line_at(struct lexer *lx, size_t pos)
{
	for (; lx->line_pos < pos; lx->line_pos++)
		lx->line += lx->s[lx->line_pos] == '\n';
	return lx->line;
}

static bool at(const struct lexer *lx, size_t pos, const char *word)
{
	size_t n = strlen(word);
	return n <= lx->n - pos && memcmp(lx->s + pos, word, n) == 0;
}

static size_t skip_space(const struct lexer *lx, size_t pos)
{
	while (pos < lx->n) {
		uint32_t cp;
		size_t n = js_decode(lx->s + pos, lx->n - pos, &cp);
		if (!js_is_space(cp))
			break;
		pos += n;
	}
	return pos;
}

static size_t trim_end(const struct lexer *lx, size_t from, size_t to)
{
	while (to > from) {
		size_t p = to - 1;
		uint32_t cp;
		while (p > from && ((unsigned char)lx->s[p] & 0xc0) == 0x80)
			p--;
		(void)js_decode(lx->s + p, to - p, &cp);
		if (!js_is_space(cp))
			break;
		to = p;
	}
	return to;
}

/* Where the text before a tag ends: `-` eats all white space; otherwise a tag that stands first on its line eats
 * the indentation (lstrip_blocks), unless it prints or says `+`. */
static size_t text_end(const struct lexer *lx, size_t from, size_t to, char sign, bool prints)
{
	if (sign == '-')
		return trim_end(lx, from, to);
	if (sign == '+' || prints)
		return to;
	size_t line = to;
	while (line > from && lx->s[line - 1] != '\n')
		line--;
	bool starts = line > from || from == 0 || lx->s[from - 1] == '\n';
	return starts && trim_end(lx, line, to) == line ? line : to;
}

static char sign_at(const struct lexer *lx, size_t pos)
{
	return pos < lx->n && (lx->s[pos] == '-' || lx->s[pos] == '+') ? lx->s[pos] : 0;
}

/* The end of a block tag at pos, 0 if there is none: `-` eats the white space after it, otherwise one newline. */
static size_t block_end(const struct lexer *lx, size_t pos, const char *close)
{
	char sign = sign_at(lx, pos);
	size_t p = pos + (sign != 0);
	if (!at(lx, p, close))
		return 0;
	p += 2;
	if (sign == '-')
		return skip_space(lx, p);
	return !sign && p < lx->n && lx->s[p] == '\n' ? p + 1 : p;
}

/* {%[-+] word: the position behind the word, or 0. */
static size_t tag_word(const struct lexer *lx, size_t pos, const char *word)
{
	size_t p = pos + 2;
	p = skip_space(lx, p + (sign_at(lx, p) != 0));
	if (!at(lx, p, word))
		return 0;
	return skip_space(lx, p + strlen(word));
}

/* The text of a raw block, whose opening tag ends at `from`. */
static int lex_raw(struct lexer *lx, size_t from, struct token *out)
{
	for (size_t p = from; p + 1 < lx->n; p++) {
		if (!at(lx, p, "{%"))
			continue;
		size_t word = tag_word(lx, p, "endraw");
		size_t end = word ? block_end(lx, word, "%}") : 0;
		if (!end)
			continue;
		size_t stop = text_end(lx, from, p, sign_at(lx, p + 2), false);
		*out = (struct token){ T_DATA, line_at(lx, from), lx->s + from, stop - from };
		lx->pos = end;
		return VB_OK;
	}
	return jinja_syntax(lx->tmpl, VB_EFORMAT, line_at(lx, from), "{%% raw %%} without {%% endraw %%}");
}

static int lex_comment(struct lexer *lx, size_t from)
{
	size_t p = from;
	while (p + 1 < lx->n && !at(lx, p, "#}"))
		p++;
	if (p + 1 >= lx->n)
		return jinja_syntax(lx->tmpl, VB_EFORMAT, line_at(lx, from), "{# without #}");
	lx->pos = block_end(lx, p - (p > from && sign_at(lx, p - 1)), "#}");
	return VB_OK;
}

/* The next token outside of tags; *done says that *out was set (comments give nothing). */
static int lex_data(struct lexer *lx, struct token *out, bool *done)
{
	size_t from = lx->pos, p = from;
	*done = true;
	while (p + 1 < lx->n && !(lx->s[p] == '{' && strchr("{%#", lx->s[p + 1]) && lx->s[p + 1]))
		p++;
	if (p + 1 >= lx->n) {
		lx->pos = lx->n;
		*out = (struct token){ from < lx->n ? T_DATA : T_EOF, line_at(lx, from), lx->s + from,
				       lx->n - from };
		return VB_OK;
	}
	char sign = sign_at(lx, p + 2), kind = lx->s[p + 1];
	size_t stop = text_end(lx, from, p, sign, kind == '{'), after = p + 2 + (sign != 0);
	size_t raw = kind == '%' ? tag_word(lx, p, "raw") : 0;
	if (raw) {
		bool dash = at(lx, raw, "-%}");
		raw = dash ? skip_space(lx, raw + 3) : at(lx, raw, "%}") ? raw + 2 : 0;
	}
	*out = (struct token){ T_DATA, line_at(lx, from), lx->s + from, stop - from };
	if (stop > from && (kind == '#' || raw)) {
		/* Given out alone; the tag is met again with no text before it. */
		lx->pos = p;
		return VB_OK;
	}
	if (raw)
		return lex_raw(lx, raw, out);
	if (kind == '#') {
		*done = false;
		return lex_comment(lx, after);
	}
	lx->pos = after;
	lx->state = kind == '%' ? LEX_BLOCK : LEX_VARIABLE;
	lx->pending = kind == '%' ? T_BLOCK_BEGIN : T_VARIABLE_BEGIN;
	*done = stop > from;
	return VB_OK;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_name(char c, bool first)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80 ||
	       (!first && is_digit(c));
}

/* (_?digit)* */
static size_t digits(const struct lexer *lx, size_t p, const char *set)
{
	for (;;) {
		size_t q = p + (p < lx->n && lx->s[p] == '_');
		if (q >= lx->n || !lx->s[q] || !strchr(set, lx->s[q]))
			return p;
		p = q + 1;
	}
}

static const char decimal[] = "0123456789";

/* A float at p: its end, or 0. */
static size_t float_end(const struct lexer *lx, size_t p)
{
	if (p > 0 && lx->s[p - 1] == '.')
		return 0;
	size_t q = digits(lx, p, decimal), end = 0;
	if (q + 1 < lx->n && lx->s[q] == '.' && is_digit(lx->s[q + 1]))
		q = end = digits(lx, q + 1, decimal);
	if (q < lx->n && (lx->s[q] == 'e' || lx->s[q] == 'E')) {
		size_t e = q + 1;
		e += e < lx->n && (lx->s[e] == '+' || lx->s[e] == '-');
		if (e < lx->n && is_digit(lx->s[e]))
			end = digits(lx, e, decimal);
	}
	return end;
}

static size_t integer_end(const struct lexer *lx, size_t p)
{
	char x = p + 1 < lx->n ? (char)(lx->s[p + 1] | 0x20) : 0;
	const char *set = x == 'b' ? "01" : x == 'o' ? "01234567" : x == 'x' ? "0123456789abcdefABCDEF" : NULL;
	if (lx->s[p] == '0' && set) {
		size_t end = digits(lx, p + 2, set);
		if (end > p + 2)
			return end;
	}
	return lx->s[p] == '0' ? digits(lx, p + 1, "0") : digits(lx, p + 1, decimal);
}

static int lex_string(struct lexer *lx, struct token *out)
{
	char quote = lx->s[lx->pos];
	size_t p = lx->pos + 1;
	while (p < lx->n && lx->s[p] != quote)
		p += lx->s[p] == '\\' ? 2 : 1;
	if (p >= lx->n)
		return jinja_syntax(lx->tmpl, VB_EFORMAT, line_at(lx, lx->pos), "a string that does not end");
	*out = (struct token){ T_STRING, line_at(lx, lx->pos), lx->s + lx->pos + 1, p - lx->pos - 1 };
	lx->pos = p + 1;
	return VB_OK;
}

static const struct {
	const char *text;
	enum token_kind kind;
} operators[] = {
	{ "//", T_FLOORDIV }, { "**", T_POW }, { "==", T_EQ }, { "!=", T_NE },	   { ">=", T_GE },
	{ "<=", T_LE },	      { "+", T_ADD },  { "-", T_SUB }, { "/", T_DIV },	   { "*", T_MUL },
	{ "%", T_MOD },	      { "~", T_TILDE }, { "[", T_LBRACKET }, { "]", T_RBRACKET }, { "(", T_LPAREN },
	{ ")", T_RPAREN },    { "{", T_LBRACE }, { "}", T_RBRACE }, { ">", T_GT }, { "<", T_LT },
	{ "=", T_ASSIGN },    { ".", T_DOT },  { ":", T_COLON }, { "|", T_PIPE },  { ",", T_COMMA },
	{ ";", T_SEMICOLON },
};

static int lex_operator(struct lexer *lx, struct token *out)
{
	int line = line_at(lx, lx->pos);
	for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
		if (!at(lx, lx->pos, operators[i].text))
			continue;
		enum token_kind k = operators[i].kind;
		*out = (struct token){ k, line, lx->s + lx->pos, strlen(operators[i].text) };
		if (k == T_LBRACE || k == T_LPAREN || k == T_LBRACKET) {
			if (lx->n_open == sizeof lx->open)
				return jinja_syntax(lx->tmpl, VB_ELIMIT, line, "brackets nested deeper than %zu",
						    sizeof lx->open);
			lx->open[lx->n_open++] = k == T_LBRACE ? '}' : k == T_LPAREN ? ')' : ']';
		} else if (k == T_RBRACE || k == T_RPAREN || k == T_RBRACKET) {
			if (lx->n_open == 0 || lx->open[lx->n_open - 1] != lx->s[lx->pos])
				return jinja_syntax(lx->tmpl, VB_EFORMAT, line, "unexpected '%c'", lx->s[lx->pos]);
			lx->n_open--;
		}
		lx->pos += out->n;
		return VB_OK;
	}
	return jinja_syntax(lx->tmpl, VB_EFORMAT, line, "unexpected character '%c'", lx->s[lx->pos]);
}

static int lex_tag(struct lexer *lx, struct token *out)
{
	const char *close = lx->state == LEX_BLOCK ? "%}" : "}}";
	for (;;) {
		size_t end = 0;
		if (lx->n_open == 0 && lx->state == LEX_BLOCK)
			end = block_end(lx, lx->pos, close);
		else if (lx->n_open == 0 && at(lx, lx->pos, "-}}"))
			end = skip_space(lx, lx->pos + 3);
		else if (lx->n_open == 0 && at(lx, lx->pos, close))
			end = lx->pos + 2;
		if (end) {
			*out = (struct token){ lx->state == LEX_BLOCK ? T_BLOCK_END : T_VARIABLE_END,
					       line_at(lx, lx->pos), close, 2 };
			lx->pos = end;
			lx->state = LEX_DATA;
			return VB_OK;
		}
		size_t p = skip_space(lx, lx->pos);
		if (p == lx->pos)
			break;
		lx->pos = p;
	}
	size_t p = lx->pos, end;
	int line = line_at(lx, p);
	if (p >= lx->n) {
		*out = (struct token){ T_EOF, line, "", 0 };
		return VB_OK;
	}
	char c = lx->s[p];
	if (is_digit(c)) {
		end = float_end(lx, p);
		enum token_kind kind = end ? T_FLOAT : T_INTEGER;
		end = end ? end : integer_end(lx, p);
		*out = (struct token){ kind, line, lx->s + p, end - p };
	} else if (is_name(c, true)) {
		for (end = p; end < lx->n && is_name(lx->s[end], false);)
			end++;
		*out = (struct token){ T_NAME, line, lx->s + p, end - p };
	} else if (c == '\'' || c == '"') {
		return lex_string(lx, out);
	} else {
		return lex_operator(lx, out);
	}
	lx->pos = end;
	return VB_OK;
}

int jinja_lex(struct lexer *lx, struct token *out)
{
	for (;;) {
		if (lx->pending != T_EOF) {
			*out = (struct token){ lx->pending, line_at(lx, lx->pos), "", 0 };
			lx->pending = T_EOF;
			return VB_OK;
		}
		if (lx->state != LEX_DATA)
			return lex_tag(lx, out);
		bool done;
		TRY(lex_data(lx, out, &done));
		if (done)
			return VB_OK;
	}
}

const char *jinja_token_name(enum token_kind kind)
{
	switch (kind) {
	case T_EOF:
		return "the end of the template";
	case T_DATA:
		return "text";
	case T_VARIABLE_BEGIN:
		return "'{{'";
	case T_VARIABLE_END:
		return "'}}'";
	case T_BLOCK_BEGIN:
		return "'{%'";
	case T_BLOCK_END:
		return "'%}'";
	case T_NAME:
		return "a name";
	case T_STRING:
		return "a string";
	case T_INTEGER:
	case T_FLOAT:
		return "a number";
	default:
		break;
	}
	for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
		if (operators[i].kind == kind)
			return operators[i].text;
	return "a token";
}
