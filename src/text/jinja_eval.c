/* Walking the tree. */
#include "jinja.h"

#include <string.h>

static int enter(struct render *r)
{
	if (++r->depth > JINJA_MAX_DEPTH)
		JLIMIT(r, "expressions and calls nested too deep");
	return jinja_charge(r, 1);
}

/* ---- scopes ---- */

static int new_scope(struct render *r, struct scope *up, struct scope **out)
{
	JALLOC(r, *out, sizeof **out);
	(*out)->up = up;
	return VB_OK;
}

static int bind_name(struct render *r, struct scope *s, uint32_t id, struct value v)
{
	if (!s) {
		r->top[id] = v;
		return VB_OK;
	}
	for (uint32_t i = 0; i < s->n; i++) {
		if (s->var[i].id == id) {
			s->var[i].value = v;
			return VB_OK;
		}
	}
	if (s->n == s->cap) {
		uint32_t cap = s->cap ? s->cap * 2 : 4;
		struct var *grown = jinja_grow(&r->arena, s->var, s->cap * sizeof *grown, cap * sizeof *grown);
		if (!grown)
			return jinja_no_memory(r);
		s->var = grown;
		s->cap = cap;
	}
	s->var[s->n++] = (struct var){ id, v };
	return VB_OK;
}

static struct value look_up(const struct render *r, uint32_t id)
{
	for (const struct scope *s = r->scope; s; s = s->up)
		for (uint32_t i = 0; i < s->n; i++)
			if (s->var[i].id == id)
				return s->var[i].value;
	if (r->top[id].type != J_MISSING)
		return r->top[id];
	struct value name = r->tmpl->symbol[id];
	return (struct value){ .type = J_UNDEFINED, .off = HINT_NAME, .len = name.len, .hint = js_data(name) };
}

static void capture_scopes(struct scope *s)
{
	for (; s && !s->captured; s = s->up)
		s->captured = true;
}

static int assign(struct render *r, const struct node *target, struct value v)
{
	if (target->kind == N_NAME)
		return bind_name(r, r->scope, target->id, v);
	if (target->kind == N_NSREF) {
		struct value ns = look_up(r, target->id);
		if (ns.type != J_NAMESPACE)
			JFAIL(r, "cannot assign attribute on non-namespace object");
		return jd_set(r, ns.dict, target->value, v);
	}
	struct value items;
	TRY(jv_list_of(r, v, J_LIST, &items));
	if (items.list->n != target->n)
		JFAIL(r, "cannot unpack %zu values into %u names", items.list->n, target->n);
	for (uint32_t i = 0; i < target->n; i++)
		TRY(assign(r, target->kid[i], items.list->v[i]));
	return VB_OK;
}

/* ---- arguments ---- */

static int push_argument(struct render *r, struct call *c, struct value v)
{
	if (r->n_stack == JINJA_MAX_ARGS)
		JLIMIT(r, "too many arguments");
	r->stack[r->n_stack++] = v;
	c->n++;
	return VB_OK;
}

static int eval_keywords(struct render *r, const struct args *a, struct call *c)
{
	struct value more = { .type = J_MISSING };
	if (a->star_star) {
		TRY(jinja_eval(r, a->star_star, &more));
		if (more.type != J_DICT)
			JFAIL(r, "argument after ** must be a mapping, not %s", jv_type_name(more));
	}
	struct kwarg *kw;
	size_t n = a->n_kw + (more.type == J_DICT ? more.dict->n : 0);
	if (n == 0)
		return VB_OK;
	JALLOC(r, kw, n * sizeof *kw);
	c->kw = kw;
	for (size_t i = 0; i < a->n_kw; i++) {
		kw[i].key = a->kw[i].key;
		TRY(jinja_eval(r, a->kw[i].value, &kw[i].value));
	}
	for (size_t i = a->n_kw; i < n; i++) {
		const struct jentry *e = &more.dict->e[i - a->n_kw];
		if (e->key.type != J_STRING)
			JFAIL(r, "keywords must be strings");
		kw[i] = (struct kwarg){ e->key, e->value };
	}
	c->n_kw = n;
	return VB_OK;
}

/* Leaves the arguments on the stack; the caller puts r->n_stack back. */
static int eval_args(struct render *r, const struct args *a, struct call *c)
{
	*c = (struct call){ .pos = r->stack + r->n_stack };
	for (size_t i = 0; i < a->n_pos; i++) {
		struct value v;
		TRY(jinja_eval(r, a->pos[i], &v));
		TRY(push_argument(r, c, v));
	}
	if (a->star) {
		struct value v;
		struct iter it;
		TRY(jinja_eval(r, a->star, &v));
		TRY(jv_iter(r, v, &it));
		for (;;) {
			TRY(jv_next(r, &it, &v));
			if (v.type == J_MISSING)
				break;
			TRY(push_argument(r, c, v));
		}
	}
	return eval_keywords(r, a, c);
}

int jinja_bind(struct render *r, const char *who, const struct call *c, const char *const *params,
	       struct value *v)
{
	size_t n = 0;
	for (; params[n]; n++)
		v[n] = n < c->n ? c->pos[n] : (struct value){ .type = J_MISSING };
	if (c->n > n)
		JFAIL(r, "%s() takes at most %zu arguments, %zu given", who, n, c->n);
	for (size_t k = 0; k < c->n_kw; k++) {
		size_t i = 0;
		while (i < n && !js_eq(c->kw[k].key, params[i]))
			i++;
		if (i == n)
			JFAIL(r, "%s() got an unexpected keyword argument '%.*s'", who, (int)c->kw[k].key.len,
			      js_data(c->kw[k].key));
		if (v[i].type != J_MISSING)
			JFAIL(r, "%s() got multiple values for argument '%s'", who, params[i]);
		v[i] = c->kw[k].value;
	}
	return VB_OK;
}

int jinja_positional(struct render *r, const char *who, const struct call *c, size_t min, size_t max)
{
	if (c->n_kw)
		JFAIL(r, "%s() takes no keyword arguments", who);
	if (c->n < min || c->n > max)
		JFAIL(r, "%s() takes %zu to %zu arguments, %zu given", who, min, max, c->n);
	return VB_OK;
}

int jinja_need_int(struct render *r, const char *who, struct value v, int64_t *out)
{
	if (v.type == J_UNDEFINED)
		return jv_use_undefined(r, v);
	if (!jv_is_int(v))
		JFAIL(r, "%s() argument must be int, not %s", who, jv_type_name(v));
	*out = jv_as_int(v);
	return VB_OK;
}

int jinja_int_argument(struct render *r, const char *who, struct value v, int64_t dflt, int64_t *out)
{
	*out = dflt;
	if (v.type == J_MISSING)
		return VB_OK;
	if (!jv_is_int(v))
		JFAIL(r, "%s: expected an integer, found %s", who, jv_type_name(v));
	*out = jv_as_int(v);
	return VB_OK;
}

/* ---- calls ---- */

/* The text that a body prints. What a `break` inside cut short is still returned; r->flow tells. */
static int capture(struct render *r, const struct node *body, struct value *out)
{
	struct jinja_text *outer = r->out;
	r->out = js_new(r, 64);
	if (!r->out)
		return jinja_no_memory(r);
	TRY(jinja_render_body(r, body));
	*out = js_value(r->out);
	r->out = outer;
	return VB_OK;
}

static const char *macro_name(struct render *r, const struct node *n)
{
	if (n->kind == N_CALL_BLOCK)
		return "caller";
	struct value s = r->tmpl->symbol[n->id];
	return jv_undefinedf(r, "%.*s", (int)(s.len < 80 ? s.len : 80), js_data(s)).hint;
}

static bool is_parameter(const struct params *p, uint32_t id)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->id[i] == id)
			return true;
	return false;
}

/* Binds the arguments given by name; what fits no parameter is gathered or refused. */
static int bind_keywords(struct render *r, const struct node *n, const struct call *c, struct scope *s)
{
	const struct params *p = n->params;
	struct value rest, caller = { .type = J_MISSING };
	bool wants_caller = (n->op & MACRO_CALLER) && !is_parameter(p, SYM_CALLER);
	if (n->op & MACRO_KWARGS)
		TRY(jv_new_dict(r, J_DICT, &rest));
	for (size_t k = 0; k < c->n_kw; k++) {
		struct value key = c->kw[k].key;
		size_t i = c->n < p->n ? c->n : p->n;
		for (; i < p->n; i++) {
			struct value name = r->tmpl->symbol[p->id[i]];
			if (name.len == key.len && memcmp(js_data(name), js_data(key), key.len) == 0)
				break;
		}
		if (i < p->n)
			TRY(bind_name(r, s, p->id[i], c->kw[k].value));
		else if (wants_caller && js_eq(key, "caller"))
			caller = c->kw[k].value;
		else if (n->op & MACRO_KWARGS)
			TRY(jd_set(r, rest.dict, key, c->kw[k].value));
		else
			JFAIL(r, "macro '%s' takes no keyword argument '%.*s'", macro_name(r, n),
			      (int)(key.len < 80 ? key.len : 80), js_data(key));
	}
	if (wants_caller)
		TRY(bind_name(r, s, SYM_CALLER,
			      caller.type == J_MISSING ? jv_undefined("No caller defined") : caller));
	return n->op & MACRO_KWARGS ? bind_name(r, s, SYM_KWARGS, rest) : VB_OK;
}

static int bind_positional(struct render *r, const struct node *n, const struct call *c, struct scope *s)
{
	const struct params *p = n->params;
	if (c->n > p->n && !(n->op & MACRO_VARARGS))
		JFAIL(r, "macro '%s' takes not more than %zu argument(s)", macro_name(r, n), p->n);
	for (size_t i = 0; i < p->n && i < c->n; i++)
		TRY(bind_name(r, s, p->id[i], c->pos[i]));
	if (n->op & MACRO_VARARGS) {
		struct value rest;
		TRY(jv_new_list(r, J_TUPLE, 0, &rest));
		for (size_t i = p->n; i < c->n; i++)
			TRY(jv_push(r, rest.list, c->pos[i]));
		TRY(bind_name(r, s, SYM_VARARGS, rest));
	}
	return VB_OK;
}

/* Defaults are worked out inside the macro, from the left, and see the parameters before them. */
static int bind_defaults(struct render *r, const struct params *p, struct scope *s)
{
	for (size_t i = 0; i < p->n; i++) {
		bool given = false;
		for (uint32_t k = 0; k < s->n && !given; k++)
			given = s->var[k].id == p->id[i];
		if (given)
			continue;
		struct value v, name = r->tmpl->symbol[p->id[i]];
		if (p->dflt[i])
			TRY(jinja_eval(r, p->dflt[i], &v));
		else
			v = jv_undefinedf(r, "parameter '%.*s' was not provided", (int)name.len, js_data(name));
		TRY(bind_name(r, s, p->id[i], v));
	}
	return VB_OK;
}

static int call_macro(struct render *r, const struct jmacro *m, const struct call *c, struct value *out)
{
	struct scope *outer = r->scope, *s;
	int line = r->line;
	if (++r->calls > JINJA_MAX_NESTING)
		JLIMIT(r, "calls nested deeper than 200");
	TRY(new_scope(r, m->env, &s));
	TRY(bind_positional(r, m->node, c, s));
	TRY(bind_keywords(r, m->node, c, s));
	r->scope = s;
	TRY(bind_defaults(r, m->node->params, s));
	TRY(capture(r, m->node->c, out));
	r->scope = outer;
	r->line = line;
	r->calls--;
	return VB_OK;
}

static int run_loop(struct render *r, const struct node *n, struct value seq, int depth0);

/* loop(items) of a recursive loop: the same loop again over other items, as text. */
static int call_loop(struct render *r, struct jloop *l, const struct call *c, struct value *out)
{
	if (!l->node->op)
		JFAIL(r, "The loop must have the 'recursive' marker to be called recursively.");
	if (c->n != 1 || c->n_kw)
		JFAIL(r, "loop() takes one argument");
	if (++r->calls > JINJA_MAX_NESTING)
		JLIMIT(r, "calls nested deeper than 200");
	struct scope *outer = r->scope;
	struct jinja_text *text = r->out;
	r->out = js_new(r, 64);
	if (!r->out)
		return jinja_no_memory(r);
	r->scope = l->env;
	TRY(run_loop(r, l->node, c->pos[0], l->depth0 + 1));
	*out = js_value(r->out);
	r->out = text;
	r->scope = outer;
	r->calls--;
	return VB_OK;
}

int jinja_call(struct render *r, struct value f, const struct call *c, struct value *out)
{
	switch ((enum jtype)f.type) {
	case J_MACRO:
		return call_macro(r, f.macro, c, out);
	case J_FUNCTION:
		return f.fn->fn(r, f, c, out);
	case J_METHOD:
		return f.method->fn->fn(r, f.method->self, c, out);
	case J_LOOP:
		return call_loop(r, f.loop, c, out);
	case J_JOINER:
		*out = f.list->v[0];
		return f.list->pos++ == 0 ? js_make(r, "", 0, false, out) : VB_OK;
	case J_UNDEFINED:
		return jv_use_undefined(r, f);
	default:
		JFAIL(r, "'%s' object is not callable", jv_type_name(f));
	}
}

/* ---- expressions ---- */

static int eval_sequence(struct render *r, const struct node *n, struct value *out)
{
	TRY(jv_new_list(r, n->kind == N_LIST ? J_LIST : J_TUPLE, n->n, out));
	for (uint32_t i = 0; i < n->n; i++) {
		struct value v;
		TRY(jinja_eval(r, n->kid[i], &v));
		TRY(jv_push(r, out->list, v));
	}
	return VB_OK;
}

static int eval_dict(struct render *r, const struct node *n, struct value *out)
{
	TRY(jv_new_dict(r, J_DICT, out));
	for (uint32_t i = 0; i < n->n; i += 2) {
		struct value key, v;
		TRY(jinja_eval(r, n->kid[i], &key));
		TRY(jinja_eval(r, n->kid[i + 1], &v));
		TRY(jd_set(r, out->dict, key, v));
	}
	return VB_OK;
}

static int eval_slice(struct render *r, const struct node *n, struct value *out)
{
	struct value v, bound[3] = { { .type = J_MISSING }, { .type = J_MISSING }, { .type = J_MISSING } };
	TRY(jinja_eval(r, n->a, &v));
	for (int i = 0; i < 3; i++)
		if (n->kid[i])
			TRY(jinja_eval(r, n->kid[i], &bound[i]));
	r->line = n->line;
	if (v.type == J_UNDEFINED)
		return jv_use_undefined(r, v);
	if (v.type != J_STRING && v.type != J_LIST && v.type != J_TUPLE && v.type != J_RANGE)
		JFAIL(r, "'%s' object cannot be sliced", jv_type_name(v));
	return jv_slice(r, v, bound, out);
}

static int eval_call(struct render *r, const struct node *n, struct value *out)
{
	struct value f;
	struct call c;
	size_t base = r->n_stack;
	TRY(jinja_eval(r, n->a, &f));
	TRY(eval_args(r, n->args, &c));
	r->line = n->line;
	TRY(jinja_call(r, f, &c, out));
	r->n_stack = base;
	return VB_OK;
}

static int apply(struct render *r, const struct node *n, struct value in, struct value *out)
{
	struct call c;
	size_t base = r->n_stack;
	TRY(eval_args(r, n->args, &c));
	r->line = n->line;
	if (!n->fn)
		JFAIL(r, "no %s named '%.*s'", n->kind == N_TEST ? "test" : "filter",
		      (int)(n->value.len < 80 ? n->value.len : 80), js_data(n->value));
	TRY(n->fn->fn(r, in, &c, out));
	r->n_stack = base;
	return VB_OK;
}

static int eval_apply(struct render *r, const struct node *n, struct value *out)
{
	struct value in;
	TRY(jinja_eval(r, n->a, &in));
	return apply(r, n, in, out);
}

/* The filters of a block, from the inside. */
static int apply_chain(struct render *r, const struct node *n, struct value in, struct value *out)
{
	if (n->a) {
		struct value inner;
		TRY(apply_chain(r, n->a, in, &inner));
		in = inner;
	}
	return apply(r, n, in, out);
}

static int compare(struct render *r, enum token_kind op, struct value a, struct value b, bool *out)
{
	switch (op) {
	case T_EQ:
		return jv_equal(r, a, b, out);
	case T_NE:
		TRY(jv_equal(r, a, b, out));
		*out = !*out;
		return VB_OK;
	case T_IN:
		return jv_contains(r, a, b, out);
	case T_NOT_IN:
		TRY(jv_contains(r, a, b, out));
		*out = !*out;
		return VB_OK;
	default:
		return jv_order(r, a, b, op, out);
	}
}

static int eval_compare(struct render *r, const struct node *n, struct value *out)
{
	struct value left, right;
	bool holds = true;
	TRY(jinja_eval(r, n->kid[0], &left));
	for (uint32_t i = 1; i < n->n && holds; i++) {
		TRY(jinja_eval(r, n->kid[i], &right));
		r->line = n->line;
		TRY(compare(r, n->ops[i - 1], left, right, &holds));
		left = right;
	}
	*out = jv_bool(holds);
	return VB_OK;
}

static int eval_math(struct render *r, const struct node *n, struct value *out)
{
	struct value right;
	TRY(jinja_eval(r, n->kid[0], out));
	for (uint32_t i = 1; i < n->n; i++) {
		TRY(jinja_eval(r, n->kid[i], &right));
		r->line = n->line;
		TRY(jv_math(r, n->ops[i - 1], *out, right, out));
	}
	return VB_OK;
}

static int eval_concat(struct render *r, const struct node *n, struct value *out)
{
	struct value v, s;
	TRY(js_make(r, "", 0, false, out));
	for (uint32_t i = 0; i < n->n; i++) {
		TRY(jinja_eval(r, n->kid[i], &v));
		TRY(jv_to_str(r, v, &s));
		TRY(js_concat(r, *out, s, out));
	}
	out->safe = false;
	return VB_OK;
}

static int eval_logic(struct render *r, const struct node *n, struct value *out)
{
	for (uint32_t i = 0; i < n->n; i++) {
		TRY(jinja_eval(r, n->kid[i], out));
		if (jv_truth(*out) == (n->kind == N_OR))
			break;
	}
	return VB_OK;
}

static int eval_cond(struct render *r, const struct node *n, struct value *out)
{
	TRY(jinja_eval(r, n->a, out));
	if (jv_truth(*out))
		return jinja_eval(r, n->b, out);
	if (n->c)
		return jinja_eval(r, n->c, out);
	*out = jv_undefined("the inline if-expression evaluated to false and no else section was defined.");
	return VB_OK;
}

static int eval_of_one(struct render *r, const struct node *n, struct value *out)
{
	struct value v, key;
	TRY(jinja_eval(r, n->a, &v));
	r->line = n->line;
	switch ((enum node_kind)n->kind) {
	case N_ATTR:
		return jv_attr(r, v, n->value, out);
	case N_ITEM:
		TRY(jinja_eval(r, n->b, &key));
		return jv_item(r, v, key, out);
	case N_NOT:
		*out = jv_bool(!jv_truth(v));
		return VB_OK;
	case N_NEG:
		return jv_negate(r, v, out);
	default: /* N_POS */
		if (!jv_is_number(v))
			JFAIL(r, "bad operand type for unary +: '%s'", jv_type_name(v));
		*out = jv_is_int(v) ? jv_int(jv_as_int(v)) : v;
		return VB_OK;
	}
}

static int eval_node(struct render *r, const struct node *n, struct value *out)
{
	switch ((enum node_kind)n->kind) {
	case N_CONST:
		*out = n->value;
		return VB_OK;
	case N_NAME:
		*out = look_up(r, n->id);
		return VB_OK;
	case N_LIST:
	case N_TUPLE:
		return eval_sequence(r, n, out);
	case N_DICT:
		return eval_dict(r, n, out);
	case N_SLICE:
		return eval_slice(r, n, out);
	case N_CALL:
		return eval_call(r, n, out);
	case N_FILTER:
	case N_TEST:
		return eval_apply(r, n, out);
	case N_AND:
	case N_OR:
		return eval_logic(r, n, out);
	case N_COMPARE:
		return eval_compare(r, n, out);
	case N_MATH:
		return eval_math(r, n, out);
	case N_CONCAT:
		return eval_concat(r, n, out);
	case N_COND:
		return eval_cond(r, n, out);
	default:
		return eval_of_one(r, n, out);
	}
}

int jinja_eval(struct render *r, const struct node *n, struct value *out)
{
	TRY(enter(r));
	r->line = n->line;
	TRY(eval_node(r, n, out));
	r->depth--;
	return VB_OK;
}

/* ---- loops ---- */

/* The next item that the loop's `if` lets pass. The condition sees the target, not the loop. */
static int pull(struct render *r, struct jloop *l, struct value *out)
{
	for (;;) {
		TRY(jv_next(r, &l->it, out));
		if (out->type == J_MISSING || l->filtered)
			return VB_OK;
		struct scope *outer = r->scope, *s;
		struct value holds;
		TRY(new_scope(r, l->env, &s));
		r->scope = s;
		TRY(assign(r, l->node->a, *out));
		TRY(jinja_eval(r, l->node->c, &holds));
		r->scope = outer;
		if (jv_truth(holds))
			return VB_OK;
	}
}

int jinja_loop_peek(struct render *r, struct jloop *l, struct value *out)
{
	if (l->after.type == J_MISSING)
		TRY(pull(r, l, &l->after));
	*out = l->after;
	return VB_OK;
}

int jinja_loop_length(struct render *r, struct jloop *l)
{
	if (l->length >= 0)
		return VB_OK;
	if (l->filtered && jv_has_length(l->source))
		return jv_length(r, l->source, &l->length);
	struct value rest, v;
	TRY(jv_new_list(r, J_LIST, 0, &rest));
	for (;;) {
		TRY(pull(r, l, &v));
		if (v.type == J_MISSING)
			break;
		TRY(jv_push(r, rest.list, v));
	}
	l->filtered = true;
	l->it = (struct iter){ .seq = rest };
	l->length = (int64_t)rest.list->n + l->index0 + 1 + (l->after.type != J_MISSING);
	return VB_OK;
}

static int run_loop(struct render *r, const struct node *n, struct value seq, int depth0)
{
	struct scope *env = r->scope, *s;
	struct jloop *l;
	JALLOC(r, l, sizeof *l);
	*l = (struct jloop){ .source = seq, .node = n, .env = env, .index0 = -1, .length = -1, .depth0 = depth0,
			     .filtered = n->c == NULL };
	TRY(jv_iter(r, seq, &l->it));
	TRY(new_scope(r, env, &s));
	for (;;) {
		struct value v = l->after;
		l->after.type = J_MISSING;
		if (v.type == J_MISSING)
			TRY(pull(r, l, &v));
		if (v.type == J_MISSING)
			break;
		l->index0++;
		l->before = l->now;
		l->now = v;
		if (s->captured)
			TRY(new_scope(r, env, &s));
		s->n = 0; /* what an iteration sets ends with it */
		r->scope = s;
		TRY(assign(r, n->a, v));
		TRY(bind_name(r, s, SYM_LOOP, (struct value){ .type = J_LOOP, .loop = l }));
		TRY(jinja_render_body(r, n->kid[0]));
		r->scope = env;
		enum flow flow = r->flow;
		r->flow = FLOW_NEXT;
		if (flow == FLOW_BREAK)
			break;
	}
	if (l->index0 < 0 && n->kid[1]) {
		TRY(new_scope(r, env, &r->scope));
		TRY(jinja_render_body(r, n->kid[1]));
		r->scope = env;
	}
	return VB_OK;
}

/* ---- statements ---- */

static int render_if(struct render *r, const struct node *n)
{
	for (uint32_t i = 0; i < n->n; i += 2) {
		struct value v;
		TRY(jinja_eval(r, n->kid[i], &v));
		if (jv_truth(v))
			return jinja_render_body(r, n->kid[i + 1]);
	}
	return n->b ? jinja_render_body(r, n->b) : VB_OK;
}

static int render_print(struct render *r, const struct node *n)
{
	struct value v;
	TRY(jinja_eval(r, n->a, &v));
	r->line = n->line;
	return jv_print(r, r->out, v);
}

/* A body in a scope of its own, as text, through the block's filters. */
static int capture_block(struct render *r, const struct node *n, struct value *out)
{
	struct scope *outer = r->scope;
	struct value text;
	TRY(new_scope(r, outer, &r->scope));
	TRY(capture(r, n->c, &text));
	r->scope = outer;
	if (r->flow != FLOW_NEXT || !n->b) {
		*out = text;
		return VB_OK;
	}
	return apply_chain(r, n->b, text, out);
}

static int render_set(struct render *r, const struct node *n)
{
	struct value v;
	if (n->kind == N_SET)
		TRY(jinja_eval(r, n->b, &v));
	else
		TRY(capture_block(r, n, &v));
	r->line = n->line;
	return r->flow == FLOW_NEXT ? assign(r, n->a, v) : VB_OK;
}

static int render_filter(struct render *r, const struct node *n)
{
	struct value v;
	TRY(capture_block(r, n, &v));
	return r->flow == FLOW_NEXT ? jv_print(r, r->out, v) : VB_OK;
}

static int make_macro(struct render *r, const struct node *n, struct value *out)
{
	struct jmacro *m;
	JALLOC(r, m, sizeof *m);
	*m = (struct jmacro){ n, r->scope };
	capture_scopes(r->scope);
	*out = (struct value){ .type = J_MACRO, .macro = m };
	return VB_OK;
}

static int render_macro(struct render *r, const struct node *n)
{
	struct value v;
	TRY(make_macro(r, n, &v));
	return bind_name(r, r->scope, n->id, v);
}

static int render_call_block(struct render *r, const struct node *n)
{
	struct value f, out;
	struct call c;
	size_t base = r->n_stack;
	struct kwarg *kw;
	TRY(jinja_eval(r, n->a->a, &f));
	TRY(eval_args(r, n->a->args, &c));
	JALLOC(r, kw, (c.n_kw + 1) * sizeof *kw);
	if (c.n_kw)
		memcpy(kw, c.kw, c.n_kw * sizeof *kw);
	kw[c.n_kw].key = r->tmpl->symbol[SYM_CALLER];
	TRY(make_macro(r, n, &kw[c.n_kw].value));
	c.kw = kw;
	c.n_kw++;
	r->line = n->line;
	TRY(jinja_call(r, f, &c, &out));
	r->n_stack = base;
	return jv_print(r, r->out, out);
}

static int render_with(struct render *r, const struct node *n)
{
	struct scope *outer = r->scope, *s;
	TRY(new_scope(r, outer, &s));
	for (uint32_t i = 0; i < n->n; i += 2) {
		struct value v;
		TRY(jinja_eval(r, n->kid[i + 1], &v));
		r->scope = s;
		TRY(assign(r, n->kid[i], v));
		r->scope = outer;
	}
	r->scope = s;
	TRY(jinja_render_body(r, n->c));
	r->scope = outer;
	return VB_OK;
}

static int render_for(struct render *r, const struct node *n)
{
	struct value seq;
	TRY(jinja_eval(r, n->b, &seq));
	r->line = n->line;
	return run_loop(r, n, seq, 0);
}

static int render_statement(struct render *r, const struct node *n)
{
	switch ((enum node_kind)n->kind) {
	case N_TEXT:
		return js_append(r, r->out, js_data(n->value), n->value.len, false);
	case N_PRINT:
		return render_print(r, n);
	case N_IF:
		return render_if(r, n);
	case N_FOR:
		return render_for(r, n);
	case N_SET:
	case N_SET_BLOCK:
		return render_set(r, n);
	case N_MACRO:
		return render_macro(r, n);
	case N_CALL_BLOCK:
		return render_call_block(r, n);
	case N_FILTER_BLOCK:
		return render_filter(r, n);
	case N_WITH:
	case N_SCOPE:
		return render_with(r, n);
	case N_BREAK:
	case N_CONTINUE:
		r->flow = n->kind == N_BREAK ? FLOW_BREAK : FLOW_CONTINUE;
		return VB_OK;
	default:
		CHECK(!"a statement");
	}
}

int jinja_render_body(struct render *r, const struct node *body)
{
	TRY(enter(r));
	for (uint32_t i = 0; i < body->n && r->flow == FLOW_NEXT; i++) {
		TRY(jinja_charge(r, 1));
		r->line = body->kid[i]->line;
		TRY(render_statement(r, body->kid[i]));
	}
	r->depth--;
	return VB_OK;
}
