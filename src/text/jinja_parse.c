/* From tokens to the tree, by recursive descent with jinja2's own precedences. */
#include "jinja.h"

#include "base/utf8.h"

#include <string.h>

struct parser {
	struct lexer lx;
	struct chat_template *t;
	struct jinja_arena *arena;
	struct token tok, next;
	bool has_next;
	int depth;      /* nesting of the source */
	int loops;      /* for bodies around, within this macro */
	int soft;       /* branches around: what they lack fails only when it is reached */
	unsigned macro; /* MACRO_ bits of the names that the innermost macro reads */
	const struct node *missing; /* the first filter or test that does not exist and is always reached */
};

#define SYNTAX(p, ...) return jinja_syntax((p)->t, VB_EFORMAT, (p)->tok.line, __VA_ARGS__)

static int advance(struct parser *p)
{
	if (p->has_next) {
		p->tok = p->next;
		p->has_next = false;
		return VB_OK;
	}
	return jinja_lex(&p->lx, &p->tok);
}

static int look(struct parser *p)
{
	if (!p->has_next) {
		TRY(jinja_lex(&p->lx, &p->next));
		p->has_next = true;
	}
	return VB_OK;
}

static bool is_word(const struct token *t, const char *word)
{
	return t->kind == T_NAME && t->n == strlen(word) && memcmp(t->text, word, t->n) == 0;
}

static bool here(const struct parser *p, const char *word)
{
	return is_word(&p->tok, word);
}

static int skip_word(struct parser *p, const char *word, bool *found)
{
	*found = here(p, word);
	return *found ? advance(p) : VB_OK;
}

static int unexpected(struct parser *p, const char *wanted)
{
	if (p->tok.kind == T_NAME)
		SYNTAX(p, "expected %s, found '%.*s'", wanted, (int)(p->tok.n < 80 ? p->tok.n : 80), p->tok.text);
	SYNTAX(p, "expected %s, found %s", wanted, jinja_token_name(p->tok.kind));
}

static int expect(struct parser *p, enum token_kind kind)
{
	if (p->tok.kind != kind)
		return unexpected(p, jinja_token_name(kind));
	return advance(p);
}

/* The arena leaves the message; only the place is missing. */
static int no_memory(struct parser *p, size_t n)
{
	return status_prefix(p->arena->max - p->arena->used < n + (64 << 10) ? VB_ELIMIT : VB_ENOMEM,
			     "bad chat template: %s, line %d", p->t->where, p->tok.line);
}

#define ALLOC(p, block, n)                                \
	do {                                              \
		(block) = jinja_alloc((p)->arena, (n));   \
		if (!(block))                             \
			return no_memory((p), (n));       \
	} while (0)

static int new_node(struct parser *p, enum node_kind kind, struct node **out)
{
	ALLOC(p, *out, sizeof **out);
	(*out)->kind = (uint8_t)kind;
	(*out)->line = p->tok.line;
	return VB_OK;
}

/* Every descent passes through here, so that the C stack is bounded. */
static int enter(struct parser *p)
{
	if (++p->depth > JINJA_MAX_NESTING)
		return jinja_syntax(p->t, VB_ELIMIT, p->tok.line, "nested deeper than %d", JINJA_MAX_NESTING);
	return VB_OK;
}

/* Arrays that grow while they are read. */
static int push_node(struct parser *p, struct node *n, struct node *kid)
{
	if ((n->n & (n->n - 1)) == 0) { /* 0 or a power of two: full */
		size_t cap = n->n ? (size_t)n->n * 2 : 1;
		struct node **grown;
		ALLOC(p, grown, cap * sizeof *grown);
		if (n->n)
			memcpy(grown, n->kid, n->n * sizeof *grown);
		n->kid = grown;
	}
	n->kid[n->n++] = kid;
	return VB_OK;
}

/* The operator before kid[n->n]: ops[n->n - 1]. */
static int push_op(struct parser *p, struct node *n, enum token_kind op)
{
	size_t at = n->n - 1;
	if ((at & (at - 1)) == 0 || at == 0) {
		uint8_t *grown;
		ALLOC(p, grown, at ? at * 2 : 1);
		if (at)
			memcpy(grown, n->ops, at);
		n->ops = grown;
	}
	n->ops[at] = (uint8_t)op;
	return VB_OK;
}

static int string_value(struct parser *p, const char *s, size_t n, struct value *out)
{
	struct jinja_text *t = js_borrow(p->arena, s, n, false);
	if (!t)
		return no_memory(p, n);
	*out = js_value(t);
	return VB_OK;
}

/* ---- symbols ---- */

static int grow_symbols(struct parser *p)
{
	struct chat_template *t = p->t;
	uint32_t cap = t->cap_symbols ? t->cap_symbols * 2 : 32;
	struct value *symbol;
	ALLOC(p, symbol, cap * sizeof *symbol);
	if (t->n_symbols)
		memcpy(symbol, t->symbol, t->n_symbols * sizeof *symbol);
	t->symbol = symbol;
	t->cap_symbols = cap;
	ALLOC(p, t->symbol_slot, (size_t)cap * 2 * sizeof *t->symbol_slot);
	t->n_symbol_slots = (size_t)cap * 2;
	return VB_OK;
}

static uint32_t hash(const char *s, size_t n)
{
	uint32_t h = 2166136261u;
	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)s[i]) * 16777619u;
	return h ^ h >> 15;
}

static uint32_t *find_symbol(const struct chat_template *t, const char *s, size_t n)
{
	size_t mask = t->n_symbol_slots - 1, at = hash(s, n) & mask;
	for (; t->symbol_slot[at]; at = (at + 1) & mask) {
		struct value v = t->symbol[t->symbol_slot[at] - 1];
		if (v.len == n && memcmp(js_data(v), s, n) == 0)
			break;
	}
	return &t->symbol_slot[at];
}

static int intern(struct parser *p, const char *s, size_t n, uint32_t *id)
{
	struct chat_template *t = p->t;
	if (t->n_symbols == t->cap_symbols) {
		TRY(grow_symbols(p));
		for (uint32_t i = 0; i < t->n_symbols; i++)
			*find_symbol(t, js_data(t->symbol[i]), t->symbol[i].len) = i + 1;
	}
	uint32_t *slot = find_symbol(t, s, n);
	if (!*slot) {
		TRY(string_value(p, s, n, &t->symbol[t->n_symbols]));
		*slot = ++t->n_symbols;
	}
	*id = *slot - 1;
	return VB_OK;
}

/* ---- literals ---- */

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

/* One escape at s (behind the backslash): its length, its bytes in out. An unknown one keeps its backslash. */
static int unescape_one(struct parser *p, const char *s, size_t n, size_t *used, char out[4], size_t *len)
{
	static const char names[] = "\\\\''\"\"a\ab\bf\fn\nr\rt\tv\v";
	*used = 1;
	*len = 0;
	if (*s == '\n')
		return VB_OK;
	for (const char *q = names; *q; q += 2) {
		if (*q == *s) {
			out[(*len)++] = q[1];
			return VB_OK;
		}
	}
	uint32_t cp = 0;
	size_t want = *s == 'x' ? 2 : *s == 'u' ? 4 : *s == 'U' ? 8 : 0;
	if (want) {
		for (size_t i = 1; i <= want; i++) {
			if (i >= n || hex_digit(s[i]) < 0 || cp > 0x10ffff)
				SYNTAX(p, "a \\%c escape wants %zu hexadecimal digits", *s, want);
			cp = cp << 4 | (uint32_t)hex_digit(s[i]);
		}
		*used = want + 1;
	} else if (*s >= '0' && *s <= '7') {
		size_t i = 0;
		for (; i < 3 && i < n && s[i] >= '0' && s[i] <= '7'; i++)
			cp = cp << 3 | (uint32_t)(s[i] - '0');
		*used = i;
	} else if (*s == 'N') {
		return jinja_syntax(p->t, VB_EUNSUPPORTED, p->tok.line, "\\N escapes are not supported");
	} else {
		out[(*len)++] = '\\';
		*used = 0;
		return VB_OK;
	}
	int k = utf8_write(cp, out);
	if (k <= 0)
		SYNTAX(p, "an escape that is no Unicode character (U+%04X)", cp);
	*len = (size_t)k;
	return VB_OK;
}

static int unescape(struct parser *p, const char *s, size_t n, char *to, size_t *len)
{
	size_t o = 0;
	for (size_t i = 0; i < n;) {
		if (s[i] != '\\' || i + 1 == n) {
			to[o++] = s[i++];
			continue;
		}
		size_t used, k;
		char bytes[4];
		TRY(unescape_one(p, s + i + 1, n - i - 1, &used, bytes, &k));
		memcpy(to + o, bytes, k);
		o += k;
		i += 1 + used;
	}
	*len = o;
	return VB_OK;
}

/* Neighbouring literals are one string. */
static int parse_string(struct parser *p, struct node **out)
{
	TRY(new_node(p, N_CONST, out));
	char *text = NULL;
	const char *whole = p->tok.text;
	size_t n = 0, cap = 0;
	bool plain = !memchr(p->tok.text, '\\', p->tok.n);
	if (plain) {
		n = p->tok.n;
		TRY(advance(p));
		if (p->tok.kind != T_STRING)
			return string_value(p, whole, n, &(*out)->value);
		cap = n * 2 + 16;
		ALLOC(p, text, cap);
		memcpy(text, whole, n);
	}
	while (p->tok.kind == T_STRING) {
		if (n + p->tok.n > cap) {
			char *grown;
			cap = (n + p->tok.n) * 2;
			ALLOC(p, grown, cap);
			if (n)
				memcpy(grown, text, n);
			text = grown;
		}
		size_t len = 0;
		if (p->tok.n)
			TRY(unescape(p, p->tok.text, p->tok.n, text + n, &len));
		n += len;
		TRY(advance(p));
	}
	return string_value(p, text ? text : "", n, &(*out)->value);
}

static int parse_number(struct parser *p, struct node **out)
{
	TRY(new_node(p, N_CONST, out));
	const char *s = p->tok.text;
	size_t n = p->tok.n;
	if (p->tok.kind == T_FLOAT) {
		double f;
		if (!jinja_parse_float(s, n, &f))
			SYNTAX(p, "a number of over 400 digits");
		(*out)->value = jv_float(f);
	} else {
		int64_t i;
		if (!jinja_parse_int(s, n, 0, &i))
			SYNTAX(p, "an integer beyond 64 bits: %.*s", (int)(n < 80 ? n : 80), s);
		(*out)->value = jv_int(i);
	}
	return advance(p);
}

/* ---- expressions ---- */

static int parse_expression(struct parser *p, struct node **out);
static int parse_or(struct parser *p, struct node **out);
static int parse_unary(struct parser *p, bool filters, struct node **out);
static int parse_primary(struct parser *p, struct node **out);

enum { TUPLE_PARENS = 1, TUPLE_NO_COND = 2, TUPLE_END_IN = 4, TUPLE_END_RECURSIVE = 8, TUPLE_TARGET = 16,
       TUPLE_NAMESPACE = 32 };

static int parse_target_item(struct parser *p, unsigned flags, struct node **out);

static bool tuple_ends(const struct parser *p, unsigned flags)
{
	return p->tok.kind == T_VARIABLE_END || p->tok.kind == T_BLOCK_END || p->tok.kind == T_RPAREN ||
	       ((flags & TUPLE_END_IN) && here(p, "in")) ||
	       ((flags & TUPLE_END_RECURSIVE) && here(p, "recursive"));
}

static int parse_tuple(struct parser *p, unsigned flags, struct node **out)
{
	struct node *tuple, *item;
	bool is_tuple = false;
	TRY(new_node(p, N_TUPLE, &tuple));
	for (;;) {
		if (tuple->n)
			TRY(expect(p, T_COMMA));
		if (tuple_ends(p, flags))
			break;
		TRY(flags & TUPLE_TARGET    ? parse_target_item(p, flags, &item)
		    : flags & TUPLE_NO_COND ? parse_or(p, &item)
					    : parse_expression(p, &item));
		TRY(push_node(p, tuple, item));
		if (p->tok.kind != T_COMMA)
			break;
		is_tuple = true;
	}
	if (!is_tuple && tuple->n) {
		*out = tuple->kid[0];
		return VB_OK;
	}
	if (!is_tuple && !(flags & TUPLE_PARENS))
		return unexpected(p, "an expression");
	*out = tuple;
	return VB_OK;
}

static int parse_list(struct parser *p, struct node **out)
{
	TRY(new_node(p, N_LIST, out));
	TRY(advance(p));
	while (p->tok.kind != T_RBRACKET) {
		struct node *item;
		if ((*out)->n)
			TRY(expect(p, T_COMMA));
		if (p->tok.kind == T_RBRACKET)
			break;
		TRY(parse_expression(p, &item));
		TRY(push_node(p, *out, item));
	}
	return advance(p);
}

static int parse_dict(struct parser *p, struct node **out)
{
	TRY(new_node(p, N_DICT, out));
	TRY(advance(p));
	while (p->tok.kind != T_RBRACE) {
		struct node *item;
		if ((*out)->n)
			TRY(expect(p, T_COMMA));
		if (p->tok.kind == T_RBRACE)
			break;
		TRY(parse_expression(p, &item));
		TRY(push_node(p, *out, item));
		TRY(expect(p, T_COLON));
		TRY(parse_expression(p, &item));
		TRY(push_node(p, *out, item));
	}
	return advance(p);
}

static int parse_name(struct parser *p, struct node **out)
{
	static const struct {
		const char *word;
		int type, b;
	} constants[] = { { "true", J_BOOL, 1 }, { "True", J_BOOL, 1 }, { "false", J_BOOL, 0 },
			  { "False", J_BOOL, 0 }, { "none", J_NONE, 0 }, { "None", J_NONE, 0 } };
	TRY(new_node(p, N_NAME, out));
	for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
		if (!here(p, constants[i].word))
			continue;
		(*out)->kind = N_CONST;
		(*out)->value = constants[i].type == J_NONE ? jv_none() : jv_bool(constants[i].b);
		return advance(p);
	}
	TRY(intern(p, p->tok.text, p->tok.n, &(*out)->id));
	uint32_t id = (*out)->id;
	p->macro |= id == SYM_CALLER ? MACRO_CALLER : id == SYM_VARARGS ? MACRO_VARARGS
		    : id == SYM_KWARGS		    ? MACRO_KWARGS
						    : 0;
	return advance(p);
}

static int parse_primary(struct parser *p, struct node **out)
{
	TRY(enter(p));
	switch (p->tok.kind) {
	case T_NAME:
		TRY(parse_name(p, out));
		break;
	case T_STRING:
		TRY(parse_string(p, out));
		break;
	case T_INTEGER:
	case T_FLOAT:
		TRY(parse_number(p, out));
		break;
	case T_LPAREN:
		TRY(advance(p));
		TRY(parse_tuple(p, TUPLE_PARENS, out));
		TRY(expect(p, T_RPAREN));
		break;
	case T_LBRACKET:
		TRY(parse_list(p, out));
		break;
	case T_LBRACE:
		TRY(parse_dict(p, out));
		break;
	default:
		return unexpected(p, "an expression");
	}
	p->depth--;
	return VB_OK;
}

/* A bound of a slice: nothing before ':' , ']' . */
static int parse_bound(struct parser *p, struct node **out)
{
	*out = NULL;
	if (p->tok.kind == T_COLON || p->tok.kind == T_RBRACKET || p->tok.kind == T_COMMA)
		return VB_OK;
	return parse_expression(p, out);
}

static int parse_subscript(struct parser *p, struct node *of, struct node **out)
{
	TRY(new_node(p, N_ITEM, out));
	(*out)->a = of;
	if (p->tok.kind == T_DOT) {
		TRY(advance(p));
		if (p->tok.kind == T_NAME) {
			(*out)->kind = N_ATTR;
			TRY(string_value(p, p->tok.text, p->tok.n, &(*out)->value));
			return advance(p);
		}
		if (p->tok.kind != T_INTEGER)
			return unexpected(p, "a name or an integer after '.'");
		return parse_number(p, &(*out)->b);
	}
	TRY(advance(p));
	struct node *bound[3] = { NULL };
	TRY(parse_bound(p, &bound[0]));
	if (p->tok.kind != T_COLON) {
		if (!bound[0] || p->tok.kind == T_COMMA)
			return unexpected(p, "one subscript");
		(*out)->b = bound[0];
		return expect(p, T_RBRACKET);
	}
	(*out)->kind = N_SLICE;
	for (int i = 1; i < 3 && p->tok.kind == T_COLON; i++) {
		TRY(advance(p));
		TRY(parse_bound(p, &bound[i]));
	}
	ALLOC(p, (*out)->kid, sizeof bound);
	memcpy((*out)->kid, bound, sizeof bound);
	return expect(p, T_RBRACKET);
}

static int push_keyword(struct parser *p, struct args *a, struct value key, struct node *value)
{
	if ((a->n_kw & (a->n_kw - 1)) == 0) {
		struct kwnode *grown;
		ALLOC(p, grown, (a->n_kw ? a->n_kw * 2 : 1) * sizeof *grown);
		if (a->n_kw)
			memcpy(grown, a->kw, a->n_kw * sizeof *grown);
		a->kw = grown;
	}
	a->kw[a->n_kw++] = (struct kwnode){ key, value };
	return VB_OK;
}

static int parse_argument(struct parser *p, struct args *a, struct node *pos)
{
	struct node *value;
	if (p->tok.kind == T_MUL) {
		if (a->star || a->star_star)
			SYNTAX(p, "'*' given twice in a call");
		TRY(advance(p));
		return parse_expression(p, &a->star);
	}
	if (p->tok.kind == T_POW) {
		if (a->star_star)
			SYNTAX(p, "'**' given twice in a call");
		TRY(advance(p));
		return parse_expression(p, &a->star_star);
	}
	bool keyword = false;
	if (p->tok.kind == T_NAME) {
		TRY(look(p));
		keyword = p->next.kind == T_ASSIGN;
	}
	if (!keyword) {
		if (a->star || a->star_star || a->n_kw)
			SYNTAX(p, "a positional argument after a keyword argument");
		TRY(parse_expression(p, &value));
		return push_node(p, pos, value);
	}
	struct value key;
	if (a->star_star)
		SYNTAX(p, "a keyword argument after '**'");
	TRY(string_value(p, p->tok.text, p->tok.n, &key));
	TRY(advance(p));
	TRY(advance(p));
	TRY(parse_expression(p, &value));
	for (size_t i = 0; i < a->n_kw && i < 64; i++)
		if (a->kw[i].key.len == key.len && memcmp(js_data(a->kw[i].key), js_data(key), key.len) == 0)
			SYNTAX(p, "keyword argument '%.*s' given twice", (int)key.len, js_data(key));
	return push_keyword(p, a, key, value);
}

static int parse_args(struct parser *p, struct args **out)
{
	struct args *a;
	struct node pos = { 0 };
	ALLOC(p, a, sizeof *a);
	*out = a;
	TRY(expect(p, T_LPAREN));
	for (bool first = true; p->tok.kind != T_RPAREN; first = false) {
		if (!first) {
			TRY(expect(p, T_COMMA));
			if (p->tok.kind == T_RPAREN)
				break;
		}
		TRY(parse_argument(p, a, &pos));
	}
	a->pos = pos.kid;
	a->n_pos = pos.n;
	return advance(p);
}

static int parse_call(struct parser *p, struct node *of, struct node **out)
{
	TRY(new_node(p, N_CALL, out));
	(*out)->a = of;
	return parse_args(p, &(*out)->args);
}

static int parse_postfix(struct parser *p, struct node **n)
{
	for (int links = 0;; links++) {
		if (links > JINJA_MAX_NESTING)
			return jinja_syntax(p->t, VB_ELIMIT, p->tok.line, "a chain of over %d subscripts",
					    JINJA_MAX_NESTING);
		if (p->tok.kind == T_DOT || p->tok.kind == T_LBRACKET)
			TRY(parse_subscript(p, *n, n));
		else if (p->tok.kind == T_LPAREN)
			TRY(parse_call(p, *n, n));
		else
			return VB_OK;
	}
}

static int dotted_name(struct parser *p, const char **name, size_t *n)
{
	*name = p->tok.text;
	*n = p->tok.n;
	TRY(expect(p, T_NAME));
	if (p->tok.kind == T_DOT)
		SYNTAX(p, "dotted names of filters and tests are not supported");
	return VB_OK;
}

/* What does not exist fails when the source has been read, or when it is reached if a branch may avoid it. */
static int find_builtin(struct parser *p, struct node *n,
			const struct jinja_builtin *(*lookup)(const char *, size_t), const char *name, size_t len)
{
	n->fn = lookup(name, len);
	if (!n->fn && !p->soft && !p->missing)
		p->missing = n;
	return n->fn ? VB_OK : string_value(p, name, len, &n->value);
}

static int parse_filter(struct parser *p, struct node **n)
{
	const char *name;
	size_t len;
	struct node *of = *n;
	TRY(new_node(p, N_FILTER, n));
	(*n)->a = of;
	TRY(dotted_name(p, &name, &len));
	TRY(find_builtin(p, *n, jinja_find_filter, name, len));
	if (p->tok.kind == T_LPAREN)
		return parse_args(p, &(*n)->args);
	ALLOC(p, (*n)->args, sizeof *(*n)->args);
	return VB_OK;
}

static int parse_test(struct parser *p, struct node **n)
{
	bool negated;
	const char *name;
	size_t len;
	struct node *of = *n, *arg;
	TRY(advance(p));
	TRY(skip_word(p, "not", &negated));
	TRY(new_node(p, N_TEST, n));
	(*n)->a = of;
	TRY(dotted_name(p, &name, &len));
	TRY(find_builtin(p, *n, jinja_find_test, name, len));
	enum token_kind k = p->tok.kind;
	bool follows = k == T_NAME || k == T_STRING || k == T_INTEGER || k == T_FLOAT || k == T_LBRACKET ||
		       k == T_LBRACE;
	if (k == T_LPAREN) {
		TRY(parse_args(p, &(*n)->args));
	} else {
		struct node pos = { 0 };
		ALLOC(p, (*n)->args, sizeof *(*n)->args);
		if (follows && !here(p, "else") && !here(p, "or") && !here(p, "and")) {
			if (here(p, "is"))
				SYNTAX(p, "tests cannot be chained with 'is'");
			TRY(parse_primary(p, &arg));
			TRY(parse_postfix(p, &arg));
			TRY(push_node(p, &pos, arg));
			(*n)->args->pos = pos.kid;
			(*n)->args->n_pos = 1;
		}
	}
	if (negated) {
		struct node *test = *n;
		TRY(new_node(p, N_NOT, n));
		(*n)->a = test;
	}
	return VB_OK;
}

static int parse_filters(struct parser *p, struct node **n)
{
	for (int links = 0;; links++) {
		if (links > JINJA_MAX_NESTING)
			return jinja_syntax(p->t, VB_ELIMIT, p->tok.line, "a chain of over %d filters",
					    JINJA_MAX_NESTING);
		if (p->tok.kind == T_PIPE) {
			TRY(advance(p));
			TRY(parse_filter(p, n));
		} else if (here(p, "is")) {
			TRY(parse_test(p, n));
		} else if (p->tok.kind == T_LPAREN) {
			TRY(parse_call(p, *n, n));
		} else {
			return VB_OK;
		}
	}
}

static int parse_unary(struct parser *p, bool filters, struct node **out)
{
	TRY(enter(p));
	if (p->tok.kind == T_SUB || p->tok.kind == T_ADD) {
		struct node *n;
		TRY(new_node(p, p->tok.kind == T_SUB ? N_NEG : N_POS, &n));
		TRY(advance(p));
		TRY(parse_unary(p, false, &n->a));
		*out = n;
	} else {
		TRY(parse_primary(p, out));
	}
	TRY(parse_postfix(p, out));
	if (filters)
		TRY(parse_filters(p, out));
	p->depth--;
	return VB_OK;
}

static bool is_operator(enum token_kind k, int level)
{
	if (level == 0)
		return k == T_ADD || k == T_SUB;
	if (level == 1)
		return k == T_MUL || k == T_DIV || k == T_FLOORDIV || k == T_MOD;
	return k == T_POW;
}

static int parse_concat(struct parser *p, struct node **out);

/* Level 0: + -, 1: * / // %, 2: **. Chains become one node, so that their length is no depth. */
static int parse_math(struct parser *p, int level, struct node **out)
{
	struct node *chain = NULL, *item;
	for (;;) {
		TRY(level == 0 ? parse_concat(p, &item)
		    : level == 1 ? parse_math(p, 2, &item)
				 : parse_unary(p, true, &item));
		if (chain)
			TRY(push_node(p, chain, item));
		if (!is_operator(p->tok.kind, level)) {
			*out = chain ? chain : item;
			return VB_OK;
		}
		if (!chain) {
			TRY(new_node(p, N_MATH, &chain));
			TRY(push_node(p, chain, item));
		}
		TRY(push_op(p, chain, p->tok.kind));
		TRY(advance(p));
	}
}

static int parse_concat(struct parser *p, struct node **out)
{
	struct node *chain = NULL, *item;
	for (;;) {
		TRY(parse_math(p, 1, &item));
		if (!chain && p->tok.kind != T_TILDE) {
			*out = item;
			return VB_OK;
		}
		if (!chain)
			TRY(new_node(p, N_CONCAT, &chain));
		TRY(push_node(p, chain, item));
		if (p->tok.kind != T_TILDE) {
			*out = chain;
			return VB_OK;
		}
		TRY(advance(p));
	}
}

static int comparison(struct parser *p, enum token_kind *op)
{
	*op = p->tok.kind;
	if (*op >= T_EQ && *op <= T_LE)
		return VB_OK;
	*op = T_EOF;
	if (here(p, "in"))
		*op = T_IN;
	if (here(p, "not")) {
		TRY(look(p));
		if (is_word(&p->next, "in")) {
			*op = T_NOT_IN;
			return advance(p);
		}
	}
	return VB_OK;
}

static int parse_compare(struct parser *p, struct node **out)
{
	struct node *chain = NULL, *item;
	for (;;) {
		enum token_kind op;
		TRY(parse_math(p, 0, &item));
		if (chain)
			TRY(push_node(p, chain, item));
		TRY(comparison(p, &op));
		if (op == T_EOF) {
			*out = chain ? chain : item;
			return VB_OK;
		}
		if (!chain) {
			TRY(new_node(p, N_COMPARE, &chain));
			TRY(push_node(p, chain, item));
		}
		TRY(push_op(p, chain, op));
		TRY(advance(p));
	}
}

static int parse_not(struct parser *p, struct node **out)
{
	if (!here(p, "not"))
		return parse_compare(p, out);
	struct node *n;
	TRY(enter(p));
	TRY(new_node(p, N_NOT, &n));
	TRY(advance(p));
	TRY(parse_not(p, &n->a));
	p->depth--;
	*out = n;
	return VB_OK;
}

static int parse_logic(struct parser *p, bool is_or, struct node **out)
{
	struct node *chain = NULL, *item;
	for (;;) {
		bool more;
		TRY(is_or ? parse_logic(p, false, &item) : parse_not(p, &item));
		if (chain)
			TRY(push_node(p, chain, item));
		TRY(skip_word(p, is_or ? "or" : "and", &more));
		if (!more) {
			*out = chain ? chain : item;
			return VB_OK;
		}
		if (!chain) {
			TRY(new_node(p, is_or ? N_OR : N_AND, &chain));
			TRY(push_node(p, chain, item));
		}
	}
}

static int parse_or(struct parser *p, struct node **out)
{
	return parse_logic(p, true, out);
}

static int parse_expression(struct parser *p, struct node **out)
{
	bool more;
	const struct node *missing = p->missing;
	TRY(enter(p));
	TRY(parse_or(p, out));
	for (int links = 0;; links++) {
		TRY(skip_word(p, "if", &more));
		if (!more)
			break;
		if (links > JINJA_MAX_NESTING)
			return jinja_syntax(p->t, VB_ELIMIT, p->tok.line, "a chain of over %d conditions",
					    JINJA_MAX_NESTING);
		struct node *n;
		TRY(new_node(p, N_COND, &n));
		n->b = *out;
		p->missing = missing; /* what was read so far is a branch */
		p->soft++;
		TRY(parse_or(p, &n->a));
		TRY(skip_word(p, "else", &more));
		if (more)
			TRY(parse_expression(p, &n->c));
		p->soft--;
		*out = n;
	}
	p->depth--;
	return VB_OK;
}

/* ---- targets of assignments ---- */

static int parse_target_item(struct parser *p, unsigned flags, struct node **out)
{
	if (p->tok.kind == T_LPAREN) {
		TRY(enter(p));
		TRY(advance(p));
		TRY(parse_tuple(p, TUPLE_TARGET | TUPLE_PARENS, out));
		p->depth--;
		return expect(p, T_RPAREN);
	}
	if (p->tok.kind != T_NAME)
		return unexpected(p, "a name to assign to");
	TRY(parse_name(p, out));
	if ((*out)->kind != N_NAME)
		SYNTAX(p, "cannot assign to a constant");
	if (!(flags & TUPLE_NAMESPACE) || p->tok.kind != T_DOT)
		return VB_OK;
	(*out)->kind = N_NSREF;
	TRY(advance(p));
	if (p->tok.kind != T_NAME)
		return unexpected(p, "a name after '.'");
	TRY(string_value(p, p->tok.text, p->tok.n, &(*out)->value));
	return advance(p);
}

/* ---- statements ---- */

static int parse_body(struct parser *p, const char *const *ends, struct node **out);

/* `%}` body `{% end`: the parser then stands on the end word. */
static int parse_block(struct parser *p, const char *const *ends, struct node **out)
{
	if (p->tok.kind == T_COLON)
		TRY(advance(p));
	TRY(expect(p, T_BLOCK_END));
	TRY(enter(p));
	TRY(parse_body(p, ends, out));
	p->depth--;
	if (p->tok.kind == T_EOF)
		SYNTAX(p, "the template ends where '%s' was expected", ends[0]);
	return VB_OK;
}

static int parse_if(struct parser *p, struct node **out)
{
	static const char *const ends[] = { "endif", "elif", "else", NULL }, *const last[] = { "endif", NULL };
	struct node *part;
	bool more;
	TRY(new_node(p, N_IF, out));
	p->soft++;
	do {
		TRY(advance(p));
		TRY(parse_tuple(p, TUPLE_NO_COND, &part));
		TRY(push_node(p, *out, part));
		TRY(parse_block(p, ends, &part));
		TRY(push_node(p, *out, part));
	} while (here(p, "elif"));
	TRY(skip_word(p, "else", &more));
	if (more)
		TRY(parse_block(p, last, &(*out)->b));
	p->soft--;
	return advance(p);
}

static int parse_for(struct parser *p, struct node **out)
{
	static const char *const ends[] = { "endfor", "else", NULL }, *const last[] = { "endfor", NULL };
	struct node *body, *other = NULL;
	bool more;
	TRY(new_node(p, N_FOR, out));
	TRY(advance(p));
	TRY(parse_tuple(p, TUPLE_TARGET | TUPLE_END_IN, &(*out)->a));
	TRY(skip_word(p, "in", &more));
	if (!more)
		return unexpected(p, "'in'");
	TRY(parse_tuple(p, TUPLE_NO_COND | TUPLE_END_RECURSIVE, &(*out)->b));
	TRY(skip_word(p, "if", &more));
	if (more)
		TRY(parse_expression(p, &(*out)->c));
	TRY(skip_word(p, "recursive", &more));
	(*out)->op = more;
	p->loops++;
	TRY(parse_block(p, ends, &body));
	p->loops--;
	TRY(skip_word(p, "else", &more));
	if (more)
		TRY(parse_block(p, last, &other));
	TRY(push_node(p, *out, body));
	TRY(push_node(p, *out, other));
	return advance(p);
}

/* The filters of a block: the innermost one has nothing on its left. */
static int parse_block_filters(struct parser *p, struct node **n)
{
	for (int links = 0; p->tok.kind == T_PIPE; links++) {
		if (links > JINJA_MAX_NESTING)
			return jinja_syntax(p->t, VB_ELIMIT, p->tok.line, "a chain of over %d filters",
					    JINJA_MAX_NESTING);
		TRY(advance(p));
		TRY(parse_filter(p, n));
	}
	return VB_OK;
}

static int parse_set(struct parser *p, struct node **out)
{
	static const char *const ends[] = { "endset", NULL };
	TRY(new_node(p, N_SET, out));
	TRY(advance(p));
	TRY(parse_tuple(p, TUPLE_TARGET | TUPLE_NAMESPACE, &(*out)->a));
	if (p->tok.kind == T_ASSIGN) {
		TRY(advance(p));
		return parse_tuple(p, 0, &(*out)->b);
	}
	(*out)->kind = N_SET_BLOCK;
	TRY(parse_block_filters(p, &(*out)->b));
	TRY(parse_block(p, ends, &(*out)->c));
	return advance(p);
}

static int parse_params(struct parser *p, struct params **out)
{
	struct params *q;
	ALLOC(p, q, sizeof *q);
	*out = q;
	TRY(expect(p, T_LPAREN));
	while (p->tok.kind != T_RPAREN) {
		if (q->n)
			TRY(expect(p, T_COMMA));
		if (p->tok.kind != T_NAME)
			return unexpected(p, "the name of a parameter");
		if ((q->n & (q->n - 1)) == 0) {
			size_t cap = q->n ? q->n * 2 : 1;
			uint32_t *id;
			struct node **dflt;
			ALLOC(p, id, cap * sizeof *id);
			ALLOC(p, dflt, cap * sizeof *dflt);
			if (q->n) {
				memcpy(id, q->id, q->n * sizeof *id);
				memcpy(dflt, q->dflt, q->n * sizeof(struct node *));
			}
			q->id = id;
			q->dflt = dflt;
		}
		TRY(intern(p, p->tok.text, p->tok.n, &q->id[q->n]));
		TRY(advance(p));
		if (p->tok.kind == T_ASSIGN) {
			TRY(advance(p));
			TRY(parse_expression(p, &q->dflt[q->n]));
		} else if (q->n && q->dflt[q->n - 1]) {
			SYNTAX(p, "a parameter without default after one with a default");
		}
		q->n++;
	}
	return advance(p);
}

/* The body of a macro or a call block: no loop of its surroundings can be left from inside. */
static int parse_macro_body(struct parser *p, const char *end, struct node *n)
{
	const char *const ends[] = { end, NULL };
	int loops = p->loops;
	unsigned outer = p->macro;
	p->loops = 0;
	p->macro = 0;
	TRY(parse_block(p, ends, &n->c));
	n->op = (uint8_t)p->macro;
	p->macro = outer;
	p->loops = loops;
	return advance(p);
}

static int parse_macro(struct parser *p, struct node **out)
{
	TRY(new_node(p, N_MACRO, out));
	TRY(advance(p));
	if (p->tok.kind != T_NAME)
		return unexpected(p, "the name of a macro");
	TRY(intern(p, p->tok.text, p->tok.n, &(*out)->id));
	TRY(advance(p));
	TRY(parse_params(p, &(*out)->params));
	return parse_macro_body(p, "endmacro", *out);
}

static int parse_call_block(struct parser *p, struct node **out)
{
	TRY(new_node(p, N_CALL_BLOCK, out));
	(*out)->id = SYM_CALLER;
	TRY(advance(p));
	if (p->tok.kind == T_LPAREN)
		TRY(parse_params(p, &(*out)->params));
	else
		ALLOC(p, (*out)->params, sizeof *(*out)->params);
	TRY(parse_expression(p, &(*out)->a));
	if ((*out)->a->kind != N_CALL)
		SYNTAX(p, "{%% call %%} wants a call");
	return parse_macro_body(p, "endcall", *out);
}

static int parse_filter_block(struct parser *p, struct node **out)
{
	static const char *const ends[] = { "endfilter", NULL };
	TRY(new_node(p, N_FILTER_BLOCK, out));
	TRY(advance(p));
	TRY(parse_filter(p, &(*out)->b));
	TRY(parse_block_filters(p, &(*out)->b));
	TRY(parse_block(p, ends, &(*out)->c));
	return advance(p);
}

static int parse_with(struct parser *p, struct node **out)
{
	static const char *const ends[] = { "endwith", NULL };
	TRY(new_node(p, N_WITH, out));
	TRY(advance(p));
	while (p->tok.kind != T_BLOCK_END) {
		struct node *part;
		if ((*out)->n)
			TRY(expect(p, T_COMMA));
		TRY(parse_target_item(p, 0, &part));
		TRY(push_node(p, *out, part));
		TRY(expect(p, T_ASSIGN));
		TRY(parse_expression(p, &part));
		TRY(push_node(p, *out, part));
	}
	TRY(parse_block(p, ends, &(*out)->c));
	return advance(p);
}

static int parse_generation(struct parser *p, struct node **out)
{
	TRY(new_node(p, N_SCOPE, out));
	TRY(advance(p));
	return parse_macro_body(p, "endgeneration", *out);
}

static int parse_jump(struct parser *p, struct node **out)
{
	TRY(new_node(p, here(p, "break") ? N_BREAK : N_CONTINUE, out));
	if (!p->loops)
		SYNTAX(p, "'%.*s' outside of a loop", (int)p->tok.n, p->tok.text);
	return advance(p);
}

static int parse_statement(struct parser *p, struct node **out)
{
	static const struct {
		const char *word;
		int (*parse)(struct parser *, struct node **);
	} statements[] = {
		{ "if", parse_if },
		{ "for", parse_for },
		{ "set", parse_set },
		{ "macro", parse_macro },
		{ "call", parse_call_block },
		{ "filter", parse_filter_block },
		{ "with", parse_with },
		{ "generation", parse_generation },
		{ "break", parse_jump },
		{ "continue", parse_jump },
	};
	static const char *const unsupported[] = { "block", "extends", "include", "import", "from", "autoescape",
						   "do", "trans", "debug" };
	if (p->tok.kind != T_NAME)
		return unexpected(p, "the name of a tag");
	for (size_t i = 0; i < sizeof statements / sizeof *statements; i++)
		if (here(p, statements[i].word))
			return statements[i].parse(p, out);
	for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
		if (here(p, unsupported[i]))
			return jinja_syntax(p->t, VB_EUNSUPPORTED, p->tok.line, "{%% %s %%} is not supported",
					    unsupported[i]);
	SYNTAX(p, "unexpected tag '%.*s'", (int)(p->tok.n < 80 ? p->tok.n : 80), p->tok.text);
}

/* Until one of the words of `ends` opens a tag (the parser stands on it), or the end of the source. */
static int parse_body(struct parser *p, const char *const *ends, struct node **out)
{
	struct node *part;
	TRY(new_node(p, N_BODY, out));
	for (;;) {
		switch (p->tok.kind) {
		case T_EOF:
			return VB_OK;
		case T_DATA:
			TRY(new_node(p, N_TEXT, &part));
			TRY(string_value(p, p->tok.text, p->tok.n, &part->value));
			TRY(advance(p));
			break;
		case T_VARIABLE_BEGIN:
			TRY(new_node(p, N_PRINT, &part));
			TRY(advance(p));
			TRY(parse_tuple(p, 0, &part->a));
			TRY(expect(p, T_VARIABLE_END));
			break;
		default:
			TRY(expect(p, T_BLOCK_BEGIN));
			for (size_t i = 0; ends && ends[i]; i++)
				if (here(p, ends[i]))
					return VB_OK;
			TRY(parse_statement(p, &part));
			TRY(expect(p, T_BLOCK_END));
		}
		TRY(push_node(p, *out, part));
	}
}

int jinja_parse(struct chat_template *t)
{
	static const char *const fixed[] = { "loop", "caller", "varargs", "kwargs" }; /* as SYM_ */
	struct parser p = { .t = t, .arena = &t->arena };
	for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
		uint32_t id;
		TRY(intern(&p, fixed[i], strlen(fixed[i]), &id));
	}
	jinja_lex_init(&p.lx, t);
	TRY(advance(&p));
	TRY(parse_body(&p, NULL, &t->body));
	const struct node *n = p.missing;
	if (n)
		return jinja_syntax(t, VB_EUNSUPPORTED, n->line, "no %s named '%.*s'",
				    n->kind == N_TEST ? "test" : "filter",
				    (int)(n->value.len < 80 ? n->value.len : 80), js_data(n->value));
	return VB_OK;
}
