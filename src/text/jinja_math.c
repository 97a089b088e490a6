/* Python's operators on values. */
#include "jinja.h"

#include <math.h>
#include <string.h>

static const char *op_name(enum token_kind op)
{
	return jinja_token_name(op);
}

static int bad_operands(struct render *r, enum token_kind op, struct value a, struct value b)
{
	if (a.type == J_UNDEFINED)
		return jv_use_undefined(r, a);
	if (b.type == J_UNDEFINED)
		return jv_use_undefined(r, b);
	JFAIL(r, "unsupported operand types for %s: '%s' and '%s'", op_name(op), jv_type_name(a), jv_type_name(b));
}

static int overflow(struct render *r, enum token_kind op)
{
	JFAIL(r, "integer overflow in %s: the result does not fit 64 bits", op_name(op));
}

static int power(struct render *r, int64_t base, int64_t exponent, struct value *out)
{
	int64_t result = 1;
	if (exponent < 0) {
		if (base == 0)
			JFAIL(r, "0 cannot be raised to a negative power");
		*out = jv_float(pow((double)base, (double)exponent));
		return VB_OK;
	}
	for (;;) {
		if (exponent & 1 && __builtin_mul_overflow(result, base, &result))
			return overflow(r, T_POW);
		exponent >>= 1;
		if (!exponent)
			break;
		if (__builtin_mul_overflow(base, base, &base))
			return overflow(r, T_POW);
	}
	*out = jv_int(result);
	return VB_OK;
}

static int int_math(struct render *r, enum token_kind op, int64_t a, int64_t b, struct value *out)
{
	int64_t i = 0;
	bool bad = false;
	if ((op == T_DIV || op == T_FLOORDIV || op == T_MOD) && b == 0)
		JFAIL(r, op == T_DIV ? "division by zero" : "integer division or modulo by zero");
	switch (op) {
	case T_ADD:
		bad = __builtin_add_overflow(a, b, &i);
		break;
	case T_SUB:
		bad = __builtin_sub_overflow(a, b, &i);
		break;
	case T_MUL:
		bad = __builtin_mul_overflow(a, b, &i);
		break;
	case T_DIV:
		*out = jv_float((double)((long double)a / (long double)b));
		return VB_OK;
	case T_FLOORDIV:
		bad = a == INT64_MIN && b == -1;
		i = bad ? 0 : a / b - (a % b != 0 && (a < 0) != (b < 0));
		break;
	case T_MOD:
		i = b == -1 ? 0 : a % b;
		if (i != 0 && (i < 0) != (b < 0))
			i += b;
		break;
	default:
		return power(r, a, b, out);
	}
	if (bad)
		return overflow(r, op);
	*out = jv_int(i);
	return VB_OK;
}

static int float_math(struct render *r, enum token_kind op, double a, double b, struct value *out)
{
	double f = 0, mod;
	if ((op == T_DIV || op == T_FLOORDIV || op == T_MOD) && b == 0)
		JFAIL(r, op == T_DIV ? "float division by zero" : "float floor division or modulo by zero");
	switch (op) {
	case T_ADD:
		f = a + b;
		break;
	case T_SUB:
		f = a - b;
		break;
	case T_MUL:
		f = a * b;
		break;
	case T_DIV:
		f = a / b;
		break;
	case T_FLOORDIV:
	case T_MOD:
		/* Python's float.__divmod__: the remainder has the divisor's sign, the quotient is its floor. */
		mod = fmod(a, b);
		f = (a - mod) / b;
		if (mod != 0 && (b < 0) != (mod < 0)) {
			mod += b;
			f -= 1;
		} else if (mod == 0) {
			mod = copysign(0, b);
		}
		if (f != 0) {
			double floored = floor(f);
			f = f - floored > 0.5 ? floored + 1 : floored;
		} else {
			f = copysign(0, a / b);
		}
		if (op == T_MOD)
			f = mod;
		break;
	default:
		if (a == 0 && b < 0)
			JFAIL(r, "0.0 cannot be raised to a negative power");
		f = pow(a, b);
		if (isnan(f) && !isnan(a) && !isnan(b))
			JFAIL(r, "a negative number cannot be raised to a fraction");
		if (isinf(f) && !isinf(a) && !isinf(b))
			JFAIL(r, "a number too large in **");
	}
	*out = jv_float(f);
	return VB_OK;
}

static int repeat(struct render *r, struct value s, int64_t times, struct value *out)
{
	if (times < 0)
		times = 0;
	if (s.type == J_STRING) {
		if (s.len && times > JINJA_MAX_STRING / (int64_t)s.len)
			JLIMIT(r, "a text of over 64 MiB");
		struct jinja_text *t = js_new(r, (size_t)times * s.len);
		if (!t)
			return jinja_no_memory(r);
		TRY(jinja_charge(r, s.len ? (size_t)times : 0));
		for (int64_t i = 0; i < times && s.len; i++)
			TRY(js_append_value(r, t, s));
		*out = js_value(t);
		out->safe = s.safe;
		return VB_OK;
	}
	TRY(jv_new_list(r, s.type, 0, out));
	if (s.list->n == 0)
		return VB_OK;
	for (int64_t i = 0; i < times; i++) {
		TRY(jinja_charge(r, s.list->n));
		for (size_t k = 0; k < s.list->n; k++)
			TRY(jv_push(r, out->list, s.list->v[k]));
	}
	return VB_OK;
}

static int add_lists(struct render *r, struct value a, struct value b, struct value *out)
{
	TRY(jinja_charge(r, (a.list->n + b.list->n) / 8));
	TRY(jv_new_list(r, a.type, a.list->n + b.list->n, out));
	if (a.list->n)
		memcpy(out->list->v, a.list->v, a.list->n * sizeof(struct value));
	if (b.list->n)
		memcpy(out->list->v + a.list->n, b.list->v, b.list->n * sizeof(struct value));
	out->list->n = a.list->n + b.list->n;
	return VB_OK;
}

static bool is_series(struct value v)
{
	return v.type == J_STRING || v.type == J_LIST || v.type == J_TUPLE;
}

int jv_math(struct render *r, enum token_kind op, struct value a, struct value b, struct value *out)
{
	if (jv_is_int(a) && jv_is_int(b))
		return int_math(r, op, jv_as_int(a), jv_as_int(b), out);
	if (jv_is_number(a) && jv_is_number(b))
		return float_math(r, op, jv_as_float(a), jv_as_float(b), out);
	if (op == T_MUL && is_series(a) && jv_is_int(b))
		return repeat(r, a, jv_as_int(b), out);
	if (op == T_MUL && is_series(b) && jv_is_int(a))
		return repeat(r, b, jv_as_int(a), out);
	if (op == T_MOD && a.type == J_STRING)
		return jinja_percent(r, a, b, out);
	if (op == T_ADD && a.type == b.type && (a.type == J_LIST || a.type == J_TUPLE))
		return add_lists(r, a, b, out);
	if (op != T_ADD || a.type != J_STRING || b.type != J_STRING)
		return bad_operands(r, op, a, b);
	/* Markup escapes what is added to it. */
	if (a.safe != b.safe)
		TRY(js_escape_html(r, a.safe ? b : a, a.safe ? &b : &a));
	return js_concat(r, a, b, out);
}

int jv_negate(struct render *r, struct value v, struct value *out)
{
	if (v.type == J_UNDEFINED)
		return jv_use_undefined(r, v);
	if (!jv_is_number(v))
		JFAIL(r, "bad operand type for unary -: '%s'", jv_type_name(v));
	if (v.type == J_FLOAT) {
		*out = jv_float(-v.f);
		return VB_OK;
	}
	return int_math(r, T_SUB, 0, jv_as_int(v), out);
}

static int digit_of(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'z' ? (c | 0x20) - 'a' + 10 : 99;
}

/* Base 0 takes the base from the prefix, as in a source. Underscores may stand between digits. */
bool jinja_parse_int(const char *s, size_t n, int base, int64_t *out)
{
	size_t i = 0;
	bool negative = false;
	uint64_t v = 0;
	if (i < n && (s[i] == '-' || s[i] == '+'))
		negative = s[i++] == '-';
	int prefix = i + 1 < n && s[i] == '0' ? digit_of(s[i + 1]) : 99;
	int named = prefix == 11 ? 2 : prefix == 24 ? 8 : prefix == 33 ? 16 : 0; /* b o x */
	if (named && (base == 0 || base == named)) {
		base = named;
		i += 2;
		i += i < n && s[i] == '_';
	} else if (base == 0) {
		base = 10;
	}
	if (i == n)
		return false;
	for (size_t start = i; i < n; i++) {
		if (s[i] == '_' && i > start && i + 1 < n && s[i + 1] != '_')
			continue;
		int d = digit_of(s[i]);
		if (d >= base || __builtin_mul_overflow(v, (uint64_t)base, &v) ||
		    __builtin_add_overflow(v, (uint64_t)d, &v))
			return false;
	}
	if (v > (uint64_t)INT64_MAX + negative)
		return false;
	*out = negative ? (int64_t)(0 - v) : (int64_t)v;
	return true;
}
