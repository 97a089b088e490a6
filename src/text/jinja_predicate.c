/* What follows `is`. */
#include "jinja.h"

#include <math.h>
#include <string.h>

static int arguments(struct render *r, const struct call *c, size_t n)
{
	if (c->n != n || c->n_kw)
		JFAIL(r, "the test takes %zu arguments, %zu given", n, c->n + c->n_kw);
	return VB_OK;
}

#define PLAIN_TEST(name, expression)                                                                  \
	static int name(struct render *r, struct value v, const struct call *c, struct value *out)    \
	{                                                                                             \
		TRY(arguments(r, c, 0));                                                              \
		*out = jv_bool(expression);                                                           \
		return VB_OK;                                                                         \
	}

PLAIN_TEST(t_defined, v.type != J_UNDEFINED)
PLAIN_TEST(t_undefined, v.type == J_UNDEFINED)
PLAIN_TEST(t_none, v.type == J_NONE)
PLAIN_TEST(t_boolean, v.type == J_BOOL)
PLAIN_TEST(t_true, v.type == J_BOOL && v.b)
PLAIN_TEST(t_false, v.type == J_BOOL && !v.b)
PLAIN_TEST(t_integer, v.type == J_INT)
PLAIN_TEST(t_float, v.type == J_FLOAT)
PLAIN_TEST(t_number, jv_is_number(v))
PLAIN_TEST(t_string, v.type == J_STRING)
PLAIN_TEST(t_mapping, v.type == J_DICT)
PLAIN_TEST(t_iterable, jv_iterable(v))
PLAIN_TEST(t_sequence, jv_has_length(v) && v.type != J_VIEW)
PLAIN_TEST(t_callable, v.type == J_MACRO || v.type == J_FUNCTION || v.type == J_METHOD || v.type == J_JOINER ||
			   v.type == J_LOOP || v.type == J_UNDEFINED)
PLAIN_TEST(t_escaped, v.type == J_STRING && v.safe)
PLAIN_TEST(t_filter, v.type == J_STRING && jinja_find_filter(js_data(v), v.len) != NULL)
PLAIN_TEST(t_test, v.type == J_STRING && jinja_find_test(js_data(v), v.len) != NULL)

static int cased(struct render *r, struct value v, const struct call *c, bool upper, struct value *out)
{
	struct value s;
	TRY(arguments(r, c, 0));
	TRY(jv_to_str(r, v, &s));
	TRY(jinja_charge(r, s.len / 16));
	*out = jv_bool(js_is_cased(s, upper));
	return VB_OK;
}

static int t_lower(struct render *r, struct value v, const struct call *c, struct value *out)
{
	return cased(r, v, c, false, out);
}

static int t_upper(struct render *r, struct value v, const struct call *c, struct value *out)
{
	return cased(r, v, c, true, out);
}

/* v % by == rest */
static int remainder_is(struct render *r, struct value v, struct value by, int64_t rest, struct value *out)
{
	bool same;
	struct value m;
	TRY(jv_math(r, T_MOD, v, by, &m));
	TRY(jv_equal(r, m, jv_int(rest), &same));
	*out = jv_bool(same);
	return VB_OK;
}

static int t_odd(struct render *r, struct value v, const struct call *c, struct value *out)
{
	TRY(arguments(r, c, 0));
	return remainder_is(r, v, jv_int(2), 1, out);
}

static int t_even(struct render *r, struct value v, const struct call *c, struct value *out)
{
	TRY(arguments(r, c, 0));
	return remainder_is(r, v, jv_int(2), 0, out);
}

static int t_divisibleby(struct render *r, struct value v, const struct call *c, struct value *out)
{
	static const char *const params[] = { "num", NULL };
	struct value by;
	TRY(jinja_bind(r, "divisibleby", c, params, &by));
	if (by.type == J_MISSING)
		JFAIL(r, "divisibleby: a number is needed");
	return remainder_is(r, v, by, 0, out);
}

static int t_in(struct render *r, struct value v, const struct call *c, struct value *out)
{
	bool in;
	TRY(arguments(r, c, 1));
	TRY(jv_contains(r, v, c->pos[0], &in));
	*out = jv_bool(in);
	return VB_OK;
}

static int t_sameas(struct render *r, struct value v, const struct call *c, struct value *out)
{
	bool same = false;
	TRY(arguments(r, c, 1));
	struct value w = c->pos[0];
	if (v.type == w.type && v.type <= J_STRING) /* texts have no identity here: equal ones count as the same */
		TRY(jv_equal(r, v, w, &same));
	else if (v.type == w.type)
		same = v.list == w.list;
	*out = jv_bool(same);
	return VB_OK;
}

static int order(struct render *r, struct value v, const struct call *c, enum token_kind op, struct value *out)
{
	bool holds;
	TRY(arguments(r, c, 1));
	if (op == T_EQ || op == T_NE) {
		TRY(jv_equal(r, v, c->pos[0], &holds));
		holds = holds == (op == T_EQ);
	} else {
		TRY(jv_order(r, v, c->pos[0], op, &holds));
	}
	*out = jv_bool(holds);
	return VB_OK;
}

#define ORDER_TEST(name, op)                                                                       \
	static int name(struct render *r, struct value v, const struct call *c, struct value *out) \
	{                                                                                          \
		return order(r, v, c, op, out);                                                    \
	}

ORDER_TEST(t_eq, T_EQ)
ORDER_TEST(t_ne, T_NE)
ORDER_TEST(t_lt, T_LT)
ORDER_TEST(t_le, T_LE)
ORDER_TEST(t_gt, T_GT)
ORDER_TEST(t_ge, T_GE)

static const struct jinja_builtin tests[] = {
	{ "boolean", t_boolean, 0 },
	{ "callable", t_callable, 0 },
	{ "defined", t_defined, 0 },
	{ "divisibleby", t_divisibleby, 0 },
	{ "eq", t_eq, 0 },
	{ "equalto", t_eq, 0 },
	{ "escaped", t_escaped, 0 },
	{ "even", t_even, 0 },
	{ "false", t_false, 0 },
	{ "filter", t_filter, 0 },
	{ "float", t_float, 0 },
	{ "ge", t_ge, 0 },
	{ "greaterthan", t_gt, 0 },
	{ "gt", t_gt, 0 },
	{ "in", t_in, 0 },
	{ "integer", t_integer, 0 },
	{ "iterable", t_iterable, 0 },
	{ "le", t_le, 0 },
	{ "lessthan", t_lt, 0 },
	{ "lower", t_lower, 0 },
	{ "lt", t_lt, 0 },
	{ "mapping", t_mapping, 0 },
	{ "ne", t_ne, 0 },
	{ "none", t_none, 0 },
	{ "number", t_number, 0 },
	{ "odd", t_odd, 0 },
	{ "sameas", t_sameas, 0 },
	{ "sequence", t_sequence, 0 },
	{ "string", t_string, 0 },
	{ "test", t_test, 0 },
	{ "true", t_true, 0 },
	{ "undefined", t_undefined, 0 },
	{ "upper", t_upper, 0 },
	/* operators, for select and reject by name */
	{ "==", t_eq, 0 },
	{ "!=", t_ne, 0 },
	{ "<", t_lt, 0 },
	{ "<=", t_le, 0 },
	{ ">", t_gt, 0 },
	{ ">=", t_ge, 0 },
};

const struct jinja_builtin *jinja_find_test(const char *name, size_t n)
{
	for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
		if (strlen(tests[i].name) == n && memcmp(tests[i].name, name, n) == 0)
			return &tests[i];
	return NULL;
}
