/* jinja.h - the inside of the chat templates: values, syntax tree, rendering. Seen by src/text/jinja_*.c and
 * chat_template.c alone; text.h is the face.
 *
 * DESIGN. A source is parsed once into a tree of nodes that is never written again, so that threads may share it.
 * A rendering walks the tree. All that a rendering makes lives in one arena that is dropped as a whole at its end,
 * and every step, byte and level of nesting is counted: a template can fail, but neither crash nor run on.
 * Any failure ends the rendering; nothing is cleaned up on the way out but by the arena.
 *
 * Strings are views into append-only buffers. A buffer knows which of its bytes came from the caller's data
 * (its marks), so that slicing, stripping and joining keep that knowledge without a word about it.
 *
 * Meaning is that of jinja2's ImmutableSandboxedEnvironment as transformers sets it up, which is Python's: `int`
 * is 64 bits here (overflow is an error), and everything printed is printed as Python prints it.
 *
 * Prefixes: js_ strings, jv_ values, jd_ dictionaries, jinja_ the rest.
 */
#ifndef TEXT_JINJA_H
#define TEXT_JINJA_H

#include "base/json.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	JINJA_MAX_SOURCE = 1 << 20,
	JINJA_MAX_TREE = 192 << 20,   /* bytes of the syntax tree */
	JINJA_MAX_NESTING = 200,      /* of the source, of calls, and of printed values */
	JINJA_MAX_DEPTH = 1000,       /* nested steps of a rendering: keeps the C stack under 1 MiB */
	JINJA_MAX_STEPS = 10000000,   /* 64 bytes copied count as a step */
	JINJA_MAX_STRING = 64 << 20,  /* bytes of any string, the result included */
	JINJA_MAX_MEMORY = 384 << 20, /* bytes of a rendering */
	JINJA_MAX_RANGE = 100000,     /* the sandbox's own bound */
	JINJA_MAX_ARGS = 1 << 12,     /* arguments alive at one time */
};

/* Memory that is given back all at once. */
struct jinja_arena {
	struct jinja_chunk *chunks; /* owned; the first one is being filled */
	size_t used, max;
};
void jinja_arena_init(struct jinja_arena *a, size_t max);
void jinja_arena_fini(struct jinja_arena *a);
/* Zeroed, aligned to 16. NULL with a message beyond max (VB_ELIMIT) or without memory. */
void *jinja_alloc(struct jinja_arena *a, size_t n);
/* A block of `n` bytes that begins as the old one; the rest is not set. */
void *jinja_grow(struct jinja_arena *a, void *p, size_t old, size_t n);

/* ---- values ---- */

struct jinja_mark {
	uint32_t begin, end;
};

/* Bytes are only ever appended: views of what was there stay valid, and a mark that grew is cut by the view. */
struct jinja_text {
	char *data;
	uint32_t used, cap; /* cap == 0: borrowed, never appended to */
	uint32_t n_marks, cap_marks;
	struct jinja_mark *marks; /* ascending, neither overlapping nor touching */
	bool ascii;
};

enum jtype {
	J_MISSING, /* no value at all: an argument not given, a name not found */
	J_UNDEFINED,
	J_NONE,
	J_BOOL,
	J_INT,
	J_FLOAT,
	J_STRING,
	J_LIST,
	J_TUPLE,
	J_DICT,
	J_VIEW,  /* d.keys(), d.values(), d.items() */
	J_RANGE,
	J_ITER,  /* what generators are in Python: read once, without length */
	J_NAMESPACE,
	J_MACRO,
	J_LOOP,
	J_FUNCTION,
	J_METHOD,
	J_JOINER,
	J_CYCLER,
};

enum { VIEW_KEYS, VIEW_VALUES, VIEW_ITEMS };
/* Undefined values are made at each look at what is not there, and mostly not shown: their message is put
 * together late. off: 0 hint is the message, 1 hint is a name of `len` bytes, 2 + type: hint is an attribute. */
enum { HINT_TEXT, HINT_NAME, HINT_ATTRIBUTE };

struct value {
	uint8_t type;
	bool safe;         /* strings: Python's Markup */
	uint32_t off, len; /* strings: bytes of text; views: off is the kind */
	union {
		bool b;
		int64_t i;
		double f;
		struct jinja_text *text;
		struct jlist *list; /* lists, tuples, iterators */
		struct jdict *dict; /* dictionaries, views, namespaces */
		struct jrange *range;
		struct jmacro *macro;
		struct jloop *loop;
		const struct jinja_builtin *fn;
		struct jmethod *method;
		const char *hint; /* undefined: its message, or a name as `off` says */
	};
};

struct jlist {
	struct value *v;
	size_t n, cap;
	size_t pos;    /* iterators: the next; cyclers: the current */
	bool writable; /* made by the template: append and pop are allowed */
	const char *name; /* iterators: how Python prints their type */
};

struct jentry {
	struct value key, value;
	uint64_t hash;
};

struct jdict {
	struct jentry *e; /* in order of insertion */
	size_t n, cap;
	uint32_t *slot; /* open addressing, 1 + index into e; NULL while small */
	size_t n_slots;
};

struct jrange {
	int64_t start, stop, step, n;
};

struct jmacro {
	const struct node *node; /* N_MACRO, or N_CALL_BLOCK for a caller */
	struct scope *env;       /* where it was defined */
};

struct jmethod {
	struct value self;
	const struct jinja_builtin *fn;
};

struct iter {
	struct value seq;
	size_t pos;
};

struct jloop {
	struct iter it;
	struct value source;             /* what is iterated, for its length */
	const struct node *node;         /* N_FOR */
	struct scope *env;
	struct value before, now, after; /* J_MISSING where there is none */
	struct value changed;            /* the last arguments of loop.changed */
	int64_t index0, length;          /* length < 0: not known yet */
	int depth0;
	bool filtered; /* the loop's `if` has been applied to all that is left in `it` */
};

struct kwarg {
	struct value key, value;
};

struct call {
	const struct value *pos;
	size_t n;
	const struct kwarg *kw;
	size_t n_kw;
};

struct render;
typedef int jinja_fn(struct render *r, struct value self, const struct call *c, struct value *out);

struct jinja_builtin {
	const char *name;
	jinja_fn *fn;
	unsigned types; /* methods: bits 1 << jtype */
};

/* ---- the syntax tree ---- */

enum node_kind {
	/* expressions */
	N_CONST,
	N_NAME,
	N_LIST,
	N_TUPLE,
	N_DICT,   /* kid: key, value, key, value, ... */
	N_ATTR,   /* a.value */
	N_ITEM,   /* a[b] */
	N_SLICE,  /* a[kid[0]:kid[1]:kid[2]], each may be NULL */
	N_CALL,   /* a(args) */
	N_FILTER, /* a | fn(args); a is NULL in {% filter %} and {% set %} blocks */
	N_TEST,
	N_NOT,
	N_NEG,
	N_POS,
	N_AND,
	N_OR,
	N_COMPARE, /* kid[0] ops[0] kid[1] ops[1] ... */
	N_MATH,    /* the same, from the left */
	N_CONCAT,
	N_COND, /* b if a else c; c may be NULL */
	N_NSREF, /* a target: id.value */
	/* statements */
	N_BODY,
	N_TEXT,
	N_PRINT,
	N_IF,  /* kid: test, body, test, body, ...; b: else or NULL */
	N_FOR, /* a: target, b: iterable, c: filter or NULL, kid[0]: body, kid[1]: else or NULL; op: recursive */
	N_SET,
	N_SET_BLOCK, /* a: target, b: filters or NULL, c: body */
	N_MACRO,     /* params, c: body; op: MACRO_ bits */
	N_CALL_BLOCK, /* as N_MACRO, a: the call */
	N_FILTER_BLOCK, /* b: filters, c: body */
	N_WITH,         /* kid: target, value, target, value, ...; c: body */
	N_SCOPE,        /* c: body, in a scope of its own */
	N_BREAK,
	N_CONTINUE,
};

enum { MACRO_CALLER = 1, MACRO_VARARGS = 2, MACRO_KWARGS = 4 };

enum token_kind {
	T_EOF,
	T_DATA,
	T_VARIABLE_BEGIN,
	T_VARIABLE_END,
	T_BLOCK_BEGIN,
	T_BLOCK_END,
	T_NAME,
	T_STRING,
	T_INTEGER,
	T_FLOAT,
	T_ADD,
	T_SUB,
	T_MUL,
	T_DIV,
	T_FLOORDIV,
	T_MOD,
	T_POW,
	T_TILDE,
	T_LBRACKET,
	T_RBRACKET,
	T_LPAREN,
	T_RPAREN,
	T_LBRACE,
	T_RBRACE,
	T_EQ,
	T_NE,
	T_GT,
	T_GE,
	T_LT,
	T_LE,
	T_ASSIGN,
	T_DOT,
	T_COLON,
	T_PIPE,
	T_COMMA,
	T_SEMICOLON,
	T_IN,     /* only as operators of N_COMPARE */
	T_NOT_IN,
};

struct node {
	uint8_t kind, op;
	int line;
	uint32_t id; /* a symbol */
	uint32_t n;  /* kids */
	struct node **kid;
	uint8_t *ops;
	struct node *a, *b, *c;
	struct args *args;     /* calls, filters, tests */
	struct params *params; /* macros */
	const struct jinja_builtin *fn;
	struct value value; /* constants, attribute names, text */
};

struct args {
	struct node **pos;
	size_t n_pos;
	struct kwnode {
		struct value key;
		struct node *value;
	} *kw;
	size_t n_kw;
	struct node *star, *star_star;
};

struct params {
	uint32_t *id;
	struct node **dflt; /* NULL where there is none */
	size_t n;
};

/* Symbols that the language itself binds have fixed numbers. */
enum { SYM_LOOP, SYM_CALLER, SYM_VARARGS, SYM_KWARGS };

struct chat_template {
	struct jinja_arena arena; /* all below */
	char *where;
	const char *source; /* newlines made \n */
	size_t source_len;
	struct node *body;
	struct value *symbol; /* names by number */
	uint32_t n_symbols, cap_symbols;
	uint32_t *symbol_slot;
	size_t n_symbol_slots;
};

/* ---- jinja_lex.c ---- */

struct token {
	enum token_kind kind;
	int line;
	const char *text; /* names, data and literals, as in the source */
	size_t n;
};

struct lexer {
	const struct chat_template *tmpl;
	const char *s;
	size_t n, pos, line_pos;
	int line;
	enum { LEX_DATA, LEX_BLOCK, LEX_VARIABLE } state;
	enum token_kind pending; /* a begin token that follows the data just given */
	char open[JINJA_MAX_NESTING];
	size_t n_open;
};

void jinja_lex_init(struct lexer *lx, const struct chat_template *t);
int jinja_lex(struct lexer *lx, struct token *out);
const char *jinja_token_name(enum token_kind kind);
/* A compile error: "<what>: <where>, line <line>". */
int jinja_syntax(const struct chat_template *t, int code, int line, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* ---- jinja_parse.c ---- */

int jinja_parse(struct chat_template *t);

/* ---- rendering ---- */

struct scope {
	struct scope *up; /* NULL: the template's own level, r->top */
	struct var {
		uint32_t id;
		struct value value;
	} *var;
	uint32_t n, cap;
	bool captured; /* a macro may outlive it */
};

enum flow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE };

struct render {
	struct jinja_arena arena;
	const struct chat_template *tmpl;
	int line;
	int64_t steps; /* left */
	int depth, calls;
	int64_t now;
	struct value *top; /* by symbol */
	struct scope *scope;
	struct jinja_text *out;
	enum flow flow;
	struct value *stack; /* arguments of the calls under way */
	size_t n_stack;
	json_t **kept; /* parsed by from_json; strings borrow from it */
	size_t n_kept, cap_kept;
};

/* Fails with "cannot render the chat template: <where>, line <n>: <text>", control bytes made visible. Returns VB_EINVAL. */
int jinja_fail(struct render *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int jinja_fail_limit(struct render *r, const char *what);
/* The status that goes with a NULL from jinja_alloc. */
int jinja_no_memory(struct render *r);
int jinja_charge(struct render *r, size_t steps);

/* The codes are spelt out so that compilers see that these paths fail. */
#define JFAIL(...)                         \
	do {                               \
		(void)jinja_fail(__VA_ARGS__); \
		return VB_EINVAL;          \
	} while (0)
#define JLIMIT(r, what)                            \
	do {                                       \
		(void)jinja_fail_limit((r), (what)); \
		return VB_ELIMIT;                  \
	} while (0)
#define JALLOC(r, p, size)                                     \
	do {                                                   \
		(p) = jinja_alloc(&(r)->arena, (size));        \
		if (!(p))                                      \
			return jinja_no_memory(r);             \
	} while (0)

int jinja_render_body(struct render *r, const struct node *body);
int jinja_eval(struct render *r, const struct node *n, struct value *out);
int jinja_loop_peek(struct render *r, struct jloop *l, struct value *out); /* J_MISSING at the end */
int jinja_loop_length(struct render *r, struct jloop *l);
int jinja_call(struct render *r, struct value f, const struct call *c, struct value *out);
int jinja_make_function(struct render *r, const char *name, struct value *out); /* J_MISSING: no such global */

/* Names the parameters: v[i] is the argument for params[i] or J_MISSING. params ends with NULL. */
int jinja_bind(struct render *r, const char *who, const struct call *c, const char *const *params,
	       struct value *v);
/* Positional arguments alone, `min` to `max` of them. */
int jinja_positional(struct render *r, const char *who, const struct call *c, size_t min, size_t max);
int jinja_need_int(struct render *r, const char *who, struct value v, int64_t *out);
/* An argument of a filter; dflt where it was not given. */
int jinja_int_argument(struct render *r, const char *who, struct value v, int64_t dflt, int64_t *out);

/* ---- jinja_value.c ---- */

struct jinja_text *js_borrow(struct jinja_arena *a, const char *bytes, size_t n, bool marked);
struct jinja_text *js_new(struct render *r, size_t capacity); /* NULL: jinja_no_memory */
int js_append(struct render *r, struct jinja_text *t, const char *bytes, size_t n, bool marked);
int js_puts(struct render *r, struct jinja_text *t, const char *s);
int js_append_value(struct render *r, struct jinja_text *t, struct value s);
struct value js_value(struct jinja_text *t); /* all of it */
int js_make(struct render *r, const char *bytes, size_t n, bool marked, struct value *out);
static inline const char *js_data(struct value s)
{
	return s.text->data + s.off;
}
bool js_eq(struct value s, const char *c);
/* The part of s from byte `from` to byte `to`. */
struct value js_sub(struct value s, size_t from, size_t to);
int js_concat(struct render *r, struct value a, struct value b, struct value *out);
/* Longest run of bytes from `from` whose bytes are all marked or all not. */
size_t js_run(struct value s, size_t from, bool *marked);
bool js_marked(struct value s); /* any byte */
size_t js_length(struct value s); /* code points */
size_t js_offset(struct value s, size_t index); /* byte of the index-th code point, len at the end */
size_t js_decode(const char *s, size_t n, uint32_t *cp); /* 1 where n is 0 or bad */
bool js_is_space(uint32_t cp);
/* Trims by the code points of `chars` (NULL: white space); which: 1 left, 2 right. */
struct value js_strip(struct value s, const struct value *chars, int which);
/* Byte position of the first `part` at or after `from`; -1: none. */
int64_t js_find(struct value s, struct value part, size_t from);
int js_escape_html(struct render *r, struct value s, struct value *out);

static inline struct value jv_none(void)
{
	return (struct value){ .type = J_NONE };
}
static inline struct value jv_bool(bool b)
{
	return (struct value){ .type = J_BOOL, .b = b };
}
static inline struct value jv_int(int64_t i)
{
	return (struct value){ .type = J_INT, .i = i };
}
static inline struct value jv_float(double f)
{
	return (struct value){ .type = J_FLOAT, .f = f };
}
static inline bool jv_is_int(struct value v) /* Python: bool is an int */
{
	return v.type == J_INT || v.type == J_BOOL;
}
static inline int64_t jv_as_int(struct value v)
{
	return v.type == J_BOOL ? v.b : v.i;
}
static inline bool jv_is_number(struct value v)
{
	return jv_is_int(v) || v.type == J_FLOAT;
}
static inline double jv_as_float(struct value v)
{
	return v.type == J_FLOAT ? v.f : (double)jv_as_int(v);
}
static inline bool jv_absent(struct value v) /* as an argument */
{
	return v.type == J_MISSING || v.type == J_NONE;
}
const char *jv_type_name(struct value v);
/* The text stays where it is: a literal or from the arena. */
struct value jv_undefined(const char *hint);
struct value jv_undefinedf(struct render *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct value jv_no_attribute(struct render *r, struct value of, struct value name);
int jv_use_undefined(struct render *r, struct value v); /* the error of touching it */
bool jv_truth(struct value v);
int jv_new_list(struct render *r, enum jtype type, size_t capacity, struct value *out);
int jv_push(struct render *r, struct jlist *l, struct value v);
int jv_pair(struct render *r, struct value a, struct value b, struct value *out); /* a tuple */
int jv_new_dict(struct render *r, enum jtype type, struct value *out);
int jd_set(struct render *r, struct jdict *d, struct value key, struct value v);
int jd_get(struct render *r, const struct jdict *d, struct value key, struct value *out); /* J_MISSING */
void jd_get_str(const struct jdict *d, const char *key, size_t n, struct value *out);
int jv_equal(struct render *r, struct value a, struct value b, bool *out);
int jv_order(struct render *r, struct value a, struct value b, enum token_kind op, bool *out);
int jv_contains(struct render *r, struct value item, struct value in, bool *out);
int jv_length(struct render *r, struct value v, int64_t *out);
bool jv_has_length(struct value v);
bool jv_iterable(struct value v);
int jv_iter(struct render *r, struct value v, struct iter *it);
int jv_next(struct render *r, struct iter *it, struct value *out); /* J_MISSING at the end */
int jv_list_of(struct render *r, struct value v, enum jtype type, struct value *out);
int jv_slice(struct render *r, struct value v, const struct value bound[3], struct value *out);
int jv_from_json(struct render *r, const json_t *j, bool marked, int depth, struct value *out);

/* ---- jinja_print.c ---- */

int jv_print(struct render *r, struct jinja_text *t, struct value v); /* str(v) */
int jv_repr(struct render *r, struct jinja_text *t, struct value v);
int jv_to_str(struct render *r, struct value v, struct value *out);
size_t jinja_float_text(double f, char out[32]);
bool jinja_parse_float(const char *s, size_t n, double *out); /* the whole of s */
int jinja_percent(struct render *r, struct value format, struct value args, struct value *out);
int jinja_format(struct render *r, struct value format, const struct call *c, struct value *out);
struct json_style {
	bool ascii, sort;
	struct value indent; /* J_MISSING or J_NONE: on one line */
	struct value item, key; /* separators; J_MISSING: Python's */
};
int jv_to_json(struct render *r, struct jinja_text *t, struct value v, const struct json_style *style);
int jinja_strftime(struct render *r, struct value format, struct value *out);

/* ---- jinja_filter.c, jinja_sequence.c, jinja_predicate.c, jinja_method.c, jinja_str.c, jinja_math.c ---- */

/* Tables end with a NULL name. */
extern const struct jinja_builtin jinja_sequence_filters[];
extern const struct jinja_builtin jinja_str_methods[];
const struct jinja_builtin *jinja_find_filter(const char *name, size_t n);
const struct jinja_builtin *jinja_find_test(const char *name, size_t n);
int jv_attr(struct render *r, struct value v, struct value name, struct value *out); /* v.name */
int jv_item(struct render *r, struct value v, struct value key, struct value *out);  /* v[key] */
int jv_math(struct render *r, enum token_kind op, struct value a, struct value b, struct value *out);
int jv_negate(struct render *r, struct value v, struct value *out);
int js_map_case(struct render *r, struct value s, int how, struct value *out);
enum { CASE_UPPER, CASE_LOWER, CASE_TITLE, CASE_CAPITAL, CASE_SWAP };
int js_replace(struct render *r, struct value s, struct value old, struct value new_, int64_t count,
	       struct value *out);
int js_join(struct render *r, struct value sep, struct value seq, bool strict, struct value *out);
int js_split_lines(struct render *r, struct value s, bool keep_ends, struct value *out);
bool js_is_cased(struct value s, bool upper);
/* int(text, base): false where it is no number. */
bool jinja_parse_int(const char *s, size_t n, int base, int64_t *out);

#endif
