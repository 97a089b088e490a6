#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char variables_json[] =
	"{\"messages\": [{\"role\": \"user\", \"content\": \"Hi <|end|>\"}, {\"role\": \"odd\", \"content\": \"b\"}],"
	" \"tools\": [{\"name\": \"f\\\"\", \"n\": 1.5}], \"bos_token\": \"<s>\", \"n\": 5, \"word\": \"h\xc3\xa9llo\"}";

static int render_with(const char *source, size_t len, const char *json, struct buf *out, struct text_spans *spans)
{
	struct chat_template *t;
	json_t *v;
	TRY(chat_template_compile(&t, source, len, "test.jinja"));
	int rc = json_parse(&v, json, strlen(json), "variables");
	if (rc == VB_OK) {
		rc = chat_template_render(t, v, 1750000000, out, spans);
		json_decref(v);
	}
	chat_template_destroy(&t);
	return rc;
}

static void check(const char *source, const char *want)
{
	struct buf out;
	buf_init(&out, (size_t)1 << 26);
	if (render_with(source, strlen(source), variables_json, &out, NULL) != VB_OK)
		fail_msg("%s: %s", source, vb_errmsg());
	assert_string_equal(out.data, want);
	buf_fini(&out);
}

/* The source fails with this status and these words in the message. */
static void check_fails_n(const char *source, size_t len, int status, const char *words)
{
	struct buf out;
	struct text_spans spans = { 0 };
	buf_init(&out, (size_t)1 << 26);
	int rc = render_with(source, len, variables_json, &out, &spans);
	if (rc != status || !strstr(vb_errmsg(), words))
		fail_msg("%.200s: %s: %s", source, vb_status_name(rc), rc ? vb_errmsg() : out.data);
	assert_int_equal(out.len, 0);
	assert_int_equal(spans.n, 0);
	text_spans_fini(&spans);
	buf_fini(&out);
}

static void check_fails(const char *source, int status, const char *words)
{
	check_fails_n(source, strlen(source), status, words);
}

/* A text of `n` copies of `part` between `head` and `tail`, freed with mem_free. */
static char *repeated(const char *head, const char *part, size_t n, const char *tail)
{
	struct buf b;
	buf_init(&b, (size_t)1 << 26);
	assert_int_equal(buf_puts(&b, head), VB_OK);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(buf_puts(&b, part), VB_OK);
	assert_int_equal(buf_puts(&b, tail), VB_OK);
	return buf_detach(&b);
}

static void test_white_space(void **state)
{
	(void)state;
	check("a\n", "a");
	check("a\n\n", "a\n");
	check("a\r\nb\rc", "a\nb\nc");
	check("{{ 1 }}\n", "1");
	check("{{ 1 }}\nx", "1\nx");
	check("{% if true %}\nyes\n{% endif %}\nend", "yes\nend");
	check("x  {% if true %} y{% endif %}", "x   y");        /* not at a line's start */
	check("x\n  {% if true %}\n y{% endif %}", "x\n y");    /* lstrip_blocks */
	check("  {%+ if true %}\n y{% endif %}", "   y");
	check("{% set a = 1 +%}\n y", "\n y");
	check("  {{ 1 }}", "  1");
	check("a \n {%- if true -%} \n b {%- endif %} c", "ab c");
	check("a {{- 1 -}} b", "a1b");
	check("  {# c #}\nb", "b");
	check("a {#- c -#} b", "ab");
	check("{% raw %}{{ x }}{% endraw %}", "{{ x }}");
	check(" {%- raw -%} {{ {%- endraw %}", "{{");
}

static void test_printing(void **state)
{
	(void)state;
	check("{{ none }} {{ true }} {{ false }} {{ 1.0 }} {{ 1e16 }} {{ 1e-5 }} {{ 0.1 + 0.2 }}",
	      "None True False 1.0 1e+16 1e-05 0.30000000000000004");
	check("{{ missing }}|{{ messages[9] }}|{{ 'x' in missing }}", "||False");
	check("{{ ['a', \"it's\", none, 1.5, (1,), {'k': true}] }}",
	      "['a', \"it's\", None, 1.5, (1,), {'k': True}]");
	check("{{ 1|string ~ none }}", "1None");
	check("{{ word[1] }}{{ word[::-1] }}{{ word|length }}", "\xc3\xa9oll\xc3\xa9h5");
	check("{{ {'b': [1, 'x'], 'a': {}}|tojson }}", "{\"b\": [1, \"x\"], \"a\": {}}");
	check("{{ {'b': [1], 'a': {}}|tojson(indent=2) }}",
	      "{\n  \"b\": [\n    1\n  ],\n  \"a\": {}\n}");
	check("{{ '\\u00e9\\n<'|tojson }}{{ '\\u00e9\\U0001f600'|tojson(ensure_ascii=true) }}",
	      "\"\xc3\xa9\\n<\"\"\\u00e9\\ud83d\\ude00\"");
	check("{{ ('<' | safe) + '<' }}", "<&lt;");
	check("{{ strftime_now('%d %b %Y, %H:%M:%S %A %-d %j') }}", "15 Jun 2025, 15:06:40 Sunday 15 166");
}

static void test_arithmetic(void **state)
{
	(void)state;
	check("{{ 7 / 2 }} {{ 4 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ -7.5 // 2 }}",
	      "3.5 2.0 3 -4 2 -2 -4.0");
	check("{{ 2 ** 10 }} {{ 2 ** -1 }} {{ -2 ** 2 }} {{ 1 + 2 * 3 }} {{ 'a' ~ 1 * 2 }}", "1024 0.5 4 7 a2");
	check("{{ 1 < 2 < 3 }} {{ 1 == 1.0 }} {{ true + 1 }} {{ [1] < [1, 2] }}", "True True 2 True");
	check_fails("{{ 9223372036854775807 + 1 }}", VB_EINVAL, "overflow");
	check_fails("{{ -9223372036854775807 - 2 }}", VB_EINVAL, "overflow");
	check_fails("{{ 2 ** 64 }}", VB_EINVAL, "overflow");
	check_fails("{{ 9223372036854775808 }}", VB_EFORMAT, "beyond 64 bits");
	check_fails("{{ (-9223372036854775807 - 1) // -1 }}", VB_EINVAL, "overflow");
	check("{{ (-9223372036854775807 - 1) % -1 }}", "0");
	check_fails("{{ 1 / 0 }}", VB_EINVAL, "division by zero");
	check_fails("{{ 1 // 0 }}", VB_EINVAL, "by zero");
	check_fails("{{ 1.5 % 0 }}", VB_EINVAL, "by zero");
	check_fails("{{ 'a' + 1 }}", VB_EINVAL, "unsupported operand");
}

static void test_scopes(void **state)
{
	(void)state;
	check("{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = 5 %}{{ x }}{% endfor %}{{ x }}", "15151");
	check("{% set ns = namespace(n=0) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "3");
	check("{% macro m(a, b=2) %}{{ a }}{{ b }}{{ i }}{% endmacro %}{% for i in [7] %}{{ m(1) }}{% endfor %}", "12");
	check("{% set t = 'x' %}{% macro m() %}{{ t }}{% endmacro %}{{ m() }}{% set t = 'y' %}{{ m() }}", "xy");
	check("{% if true %}{% set x = 1 %}{% endif %}{{ x }}", "1");
	check("{% set a, b = 1, [2] %}{{ a }}{{ b }}{% set c %}<{{ a }}>{% endset %}{{ c }}", "1[2]<1>");
	check("{% with a = 1 %}{{ a }}{% endwith %}{{ a }}", "1");
	check("{% macro m() %}[{{ caller(3) }}]{% endmacro %}{% call(x) m() %}{{ x }}{% endcall %}", "[3]");
	check("{% generation %}{% set y = 1 %}{{ y }}{% endgeneration %}{{ y }}", "1");
}

static void test_loops(void **state)
{
	(void)state;
	check("{% for m in messages %}{{ loop.index }}{{ loop.first }}{{ loop.last }}{{ loop.previtem is defined }};{% endfor %}",
	      "1TrueFalseFalse;2FalseTrueTrue;");
	check("{% for i in range(9) if i % 2 %}{% if i == 7 %}{% break %}{% endif %}{% if i == 3 %}{% continue %}"
	      "{% endif %}{{ i }}/{{ loop.length }} {% endfor %}", "1/4 5/4 ");
	check("{% for i in [] %}x{% else %}none{% endfor %}", "none");
	check("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}", "a1");
	check("{% for x in [[1, [2]], 3] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}{% endif %}"
	      "{% endfor %}", "(1(2))3");
	check_fails("{% break %}", VB_EFORMAT, "outside of a loop");
	check_fails("{% for i in [1] %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}", VB_EFORMAT, "outside");
	check_fails("{% for i in 5 %}{% endfor %}", VB_EINVAL, "not iterable");
}

static void test_undefined(void **state)
{
	(void)state;
	check_fails("line\n{{ missing.x }}", VB_EINVAL, "test.jinja, line 2: 'missing' is undefined");
	check_fails("{{ messages[0].nothing.x }}", VB_EINVAL, "'dict object' has no attribute 'nothing'");
	check_fails("{{ missing() }}", VB_EINVAL, "'missing' is undefined");
	check_fails("{{ missing + 1 }}", VB_EINVAL, "'missing' is undefined");
	check_fails("{{ missing | tojson }}", VB_EINVAL, "not JSON serializable");
	check("{{ missing | default('d') }}{{ '' | default('e', true) }}{{ missing is defined }}", "deFalse");
}

static void test_data_is_not_changed(void **state)
{
	(void)state;
	check("{% set l = [1] %}{% set _ = l.append(2) %}{{ l }}{{ l.pop() }}{{ l }}", "[1, 2]2[1]");
	check_fails("{{ messages.append(1) }}", VB_EINVAL, "only lists that the template made");
	check_fails("{{ messages[0].update({}) }}", VB_EINVAL, "not available");
}

static void test_errors_of_the_source(void **state)
{
	(void)state;
	check_fails("a\n{% if true %}", VB_EFORMAT, "test.jinja, line 2");
	check_fails("{% endif %}", VB_EFORMAT, "unexpected tag 'endif'");
	check_fails("{% for x in y %}{% endif %}{% endfor %}", VB_EFORMAT, "unexpected tag");
	check_fails("{{ 1", VB_EFORMAT, "expected '}}'");
	check_fails("{{ (1 }}", VB_EFORMAT, "unexpected '}'");
	check_fails("{{ 1 2 }}", VB_EFORMAT, "expected '}}'");
	check_fails("{{ }}", VB_EFORMAT, "expected an expression");
	check_fails("{{ 'abc }}", VB_EFORMAT, "does not end");
	check_fails("{# abc", VB_EFORMAT, "without #}");
	check_fails("{% raw %} x", VB_EFORMAT, "endraw");
	check_fails("{% set 1 = 2 %}", VB_EFORMAT, "name to assign");
	check_fails("{% set true = 2 %}", VB_EFORMAT, "constant");
	check_fails("{{ a ! b }}", VB_EFORMAT, "unexpected character");
	check_fails("{{ x | nonsense }}", VB_EUNSUPPORTED, "no filter named 'nonsense'");
	check_fails("{{ x is nonsense }}", VB_EUNSUPPORTED, "no test named");
	check_fails("{% include 'x' %}", VB_EUNSUPPORTED, "include");
	check_fails("{{ '\\ud83d' }}", VB_EFORMAT, "no Unicode character");
	check_fails("\xff", VB_EFORMAT, "UTF-8");
	check("{% if false %}{{ x | nonsense }}{% endif %}ok", "ok");
	check_fails("{% if true %}{{ n | nonsense }}{% endif %}", VB_EINVAL, "no filter named");
}

static void test_raise(void **state)
{
	(void)state;
	check_fails("{{ raise_exception('roles must alternate') }}", VB_EINVAL, "roles must alternate");
	check_fails("{{ raise_exception('a\\x1b[31m\\nb\\x00c') }}", VB_EINVAL, "a?[31m b");
	check_fails("{{ raise_exception('x' * 100000) }}", VB_EINVAL, "xxxx");
}

static void expect_spans(const char *source, const char *want)
{
	struct buf out, shown;
	struct text_spans spans = { 0 };
	buf_init(&out, 1 << 20);
	buf_init(&shown, 1 << 20);
	/* Spans are added to what is there, at the text's own offsets. */
	assert_int_equal(buf_puts(&out, "before"), VB_OK);
	if (render_with(source, strlen(source), variables_json, &out, &spans) != VB_OK)
		fail_msg("%s: %s", source, vb_errmsg());
	size_t done = 6;
	for (size_t i = 0; i < spans.n; i++) {
		assert_true(spans.span[i].begin >= done && spans.span[i].begin < spans.span[i].end);
		assert_true(spans.span[i].end <= out.len);
		assert_int_equal(buf_append(&shown, out.data + done, spans.span[i].begin - done), VB_OK);
		assert_int_equal(buf_puts(&shown, "["), VB_OK);
		assert_int_equal(buf_append(&shown, out.data + spans.span[i].begin,
					    spans.span[i].end - spans.span[i].begin), VB_OK);
		assert_int_equal(buf_puts(&shown, "]"), VB_OK);
		done = spans.span[i].end;
	}
	assert_int_equal(buf_append(&shown, out.data + done, out.len - done), VB_OK);
	assert_string_equal(shown.data, want);
	text_spans_fini(&spans);
	buf_fini(&shown);
	buf_fini(&out);
}

#define C "messages[0].content"

static void test_marks(void **state)
{
	(void)state;
	expect_spans("{{ bos_token }}{{ " C " }}.", "<s>[Hi <|end|>].");
	expect_spans("{{ 'a' + " C " ~ 'b' }}", "a[Hi <|end|>]b");
	expect_spans("{{ ('x' + " C ")[0:3] }}", "x[Hi]");
	expect_spans("{{ (' ' + " C " + ' ') | trim | upper }}", "[HI <|END|>]");
	expect_spans("{{ " C ".split(' ') | join('-') }}", "[Hi]-[<|end|>]");
	expect_spans("{{ 'aXb' | replace('X', messages[1].content) }}", "a[b]b");
	expect_spans("{{ " C " | replace('Hi', 'Ho') }}", "Ho[ <|end|>]");
	expect_spans("{{ tools | tojson }}", "[{[\"name\"]: [\"f\\\"\"], [\"n\"]: 1.5}]");
	expect_spans("{{ messages[1] }}", "{['role']: ['odd'], ['content']: ['b']}");
	expect_spans("{{ '%s=%s' % ('k', messages[1].content) }}{{ '{}'.format(messages[1].content) }}", "k=[bb]");
	expect_spans("{% set x %}<{{ messages[1].content }}>{% endset %}{{ x }}{{ x | length }}", "<[b]>3");
	expect_spans("{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m(messages[1].content) }}", "<[b]>");
	expect_spans("{{ messages[1].content * 2 }}{{ " C "[::-1] }}{{ 'a\\nb' | indent(2) }}", "[bb>|dne|< iH]a\n  b");
	expect_spans("{{ messages[0].role }} {{ messages[1].role }}", "user [odd]");
	expect_spans("{% for k in tools[0] %}{{ k }}{% endfor %}{{ tools[0].keys() | list | first }}", "[namenname]");
	expect_spans("{{ ('{\"a\": \"' + messages[1].content + '\"}') | from_json }}", "{['a']: ['b']}");
	expect_spans("{% filter upper %}a{{ messages[1].content }}{% endfilter %}", "A[B]");
	expect_spans("{% set ns = namespace(s='') %}{% for i in range(3) %}{% set ns.s = ns.s + 'x' + messages[1].content %}"
		     "{% endfor %}{{ ns.s }}{{ ns.s[2:4] }}", "x[b]x[b]x[b]x[b]");
}

/* Appending in place must not change what older values show. */
static void test_appending_is_unseen(void **state)
{
	(void)state;
	check("{% set a = 'x' ~ n %}{% set b = a + 'b' %}{% set c = a + 'c' %}{% set d = b + b %}{{ a }} {{ b }} {{ c }} {{ d }}",
	      "x5 x5b x5c x5bx5b");
	expect_spans("{% set a = 'x' ~ n %}{% set b = a + messages[1].content %}{% set c = a + 'c' %}{{ a }}{{ b }}{{ c }}",
		     "x5x5[b]x5c");
	expect_spans("{% set a = 'x' ~ messages[1].content %}{% set b = a + messages[1].content %}{{ a }}.{{ b }}",
		     "x[b].x[bb]");
}

static void test_limits(void **state)
{
	(void)state;
	check_fails("{% for i in range(1000000000) %}{% endfor %}", VB_EINVAL, "Range too big");
	check_fails("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", VB_ELIMIT,
		    "10 million steps");
	check_fails("{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
		    VB_ELIMIT, "64 MiB");
	check_fails("{% for i in range(100000) %}{{ 'x' * 10000 }}{% endfor %}", VB_ELIMIT, "");
	check_fails("{{ 'x' * 1000000000000 }}", VB_ELIMIT, "64 MiB");
	check_fails("{{ [0] * 1000000000000 }}", VB_ELIMIT, "");
	check_fails("{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}", VB_ELIMIT, "deeper than 200");
	check_fails("{% set l = [1] %}{% for i in l %}{% set _ = l.append(1) %}{% endfor %}", VB_ELIMIT, "");
	check_fails("{% set l = [] %}{% set _ = l.append(l) %}{{ l }}", VB_ELIMIT, "too deep");
	check_fails("{% set l = [] %}{% set _ = l.append(l) %}{{ l | tojson }}", VB_ELIMIT, "deeper");
	check_fails("{% set l = [] %}{% set _ = l.append(l) %}{% set k = [] %}{% set _ = k.append(k) %}{{ l == k }}",
		    VB_ELIMIT, "too deep");
	check_fails("{{ '%1000000000d' % 1 }}", VB_EINVAL, "too big");
	check_fails("{{ 'a'.center(100000000000) }}", VB_ELIMIT, "64 MiB");
	check_fails("{{ strftime_now('%F' * 5000) }}", VB_EINVAL, "4096");
	check("{{ strftime_now('%n%t%%%q%') }}", "\n\t%%q%");
	check("{{ messages[999999999999:][-9223372036854775807:] }}{{ word[-9223372036854775807:9223372036854775807:9223372036854775807] }}",
	      "[]h");
	check("{{ range(0, -9223372036854775807, -9223372036854775807) | list }}", "[0]");
}

static void test_deep_sources(void **state)
{
	(void)state;
	static const struct {
		const char *head, *part, *tail;
	} forms[] = {
		{ "{{ ", "(", "" },		{ "{{ ", "[", "" },
		{ "{{ ", "{1:", "" },		{ "{{ ", "not ", "1 }}" },
		{ "{{ ", "-", "1 }}" },		{ "{{ x", ".a", " }}" },
		{ "{{ x", "|trim", " }}" },	{ "{{ x", "()", " }}" },
		{ "{{ 1", " if 1", " }}" },	{ "{{ 1", " if 1 else 1", " }}" },
		{ "", "{% if 1 %}", "" },	{ "", "{% for i in x %}", "" },
		{ "", "{% set x %}", "" },	{ "{{ x", "[x", "" },
		{ "{{ x", "(x", "" },		{ "{% set ", "(", "" },
		{ "{{ x ", "is defined() ", "}}" },
	};
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		char *source = repeated(forms[i].head, forms[i].part, 50000, forms[i].tail);
		check_fails(source, VB_ELIMIT, "");
		mem_free(source);
	}
	/* Length alone is no depth. */
	char *sum = repeated("{{ 0", "+1", 20000, " }}");
	check(sum, "20000");
	mem_free(sum);
	char *text = repeated("{{ ''", "~''", 20000, " }}.");
	check(text, ".");
	mem_free(text);
	char *logic = repeated("{{ 0", " or 0", 20000, " }}");
	check(logic, "0");
	mem_free(logic);
	char *order = repeated("{{ 1", " == 1", 20000, " }}");
	check(order, "True");
	mem_free(order);
}

static void test_long_sources(void **state)
{
	(void)state;
	char *longest = repeated("", "0123456789abcdef", 65536, "");
	struct buf out;
	buf_init(&out, (size_t)1 << 26);
	assert_int_equal(render_with(longest, strlen(longest), "{}", &out, NULL), VB_OK);
	assert_int_equal(out.len, 1 << 20);
	mem_free(longest);
	buf_fini(&out);
	char *over = repeated("x", "0123456789abcdef", 65536, "");
	check_fails(over, VB_ELIMIT, "too long");
	mem_free(over);
	/* Full of tags: either it fits, or the tree's memory is refused. */
	static const char *const parts[] = { "{{a}}", "{%if a%}{%endif%}", "{#", "{{", "{%", "{{'a'}}", "{%raw%}", "\n {% " };
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		char *source = repeated("", parts[i], ((size_t)1 << 20) / strlen(parts[i]), "");
		int rc = render_with(source, strlen(source), "{}", &out, NULL);
		assert_true(rc == VB_OK || rc == VB_EFORMAT || rc == VB_ELIMIT);
		buf_fini(&out);
		mem_free(source);
	}
}

static void test_odd_variables(void **state)
{
	(void)state;
	struct chat_template *t;
	struct buf out;
	static const char source[] = "{{ messages }}";
	buf_init(&out, 1 << 20);
	assert_int_equal(chat_template_compile(&t, source, strlen(source), "x"), VB_OK);
	json_t *list = json_array();
	assert_int_equal(chat_template_render(t, list, 0, &out, NULL), VB_EINVAL);
	json_decref(list);
	/* Deeper than any parsed JSON can be. */
	json_t *deep = json_array();
	for (int i = 0; i < 5000; i++) {
		json_t *outer = json_array();
		json_array_append_new(outer, deep);
		deep = outer;
	}
	json_t *v = json_pack("{s:o}", "messages", deep);
	assert_int_equal(chat_template_render(t, v, 0, &out, NULL), VB_ELIMIT);
	json_decref(v);
	chat_template_destroy(&t);
	chat_template_destroy(&t);
	buf_fini(&out);
}

/* Each allocation in turn fails: no leak, no other status, nothing written. */
static void test_allocations(void **state)
{
	(void)state;
	static const char source[] =
		"{% macro m(a, b={}) %}{{ a | tojson }}{% endmacro %}{% for m2 in messages %}{{ m(m2) ~ loop.index }}{% endfor %}"
		"{{ '{}' | from_json }}{{ [3, 1] | sort | join(',') }}";
	for (uint64_t nth = 1;; nth++) {
		struct buf out;
		struct text_spans spans = { 0 };
		buf_init(&out, 1 << 20);
		struct chat_template *t = NULL;
		json_t *v;
		assert_int_equal(json_parse(&v, variables_json, strlen(variables_json), "v"), VB_OK);
		mem_fail_at(nth, true);
		int rc = chat_template_compile(&t, source, strlen(source), "x");
		if (rc == VB_OK)
			rc = chat_template_render(t, v, 0, &out, &spans);
		mem_fail_at(0, false);
		json_decref(v);
		chat_template_destroy(&t);
		assert_int_equal(rc == VB_OK, out.len > 0);
		assert_true(rc == VB_OK || rc == VB_ENOMEM);
		text_spans_fini(&spans);
		buf_fini(&out);
		if (rc == VB_OK)
			break;
		assert_true(nth < 200);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_white_space),
		cmocka_unit_test(test_printing),
		cmocka_unit_test(test_arithmetic),
		cmocka_unit_test(test_scopes),
		cmocka_unit_test(test_loops),
		cmocka_unit_test(test_undefined),
		cmocka_unit_test(test_data_is_not_changed),
		cmocka_unit_test(test_errors_of_the_source),
		cmocka_unit_test(test_raise),
		cmocka_unit_test(test_marks),
		cmocka_unit_test(test_appending_is_unseen),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_deep_sources),
		cmocka_unit_test(test_long_sources),
		cmocka_unit_test(test_odd_variables),
		cmocka_unit_test(test_allocations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
