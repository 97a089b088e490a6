/* The variables of a chat template: any JSON, through a template that looks at all of it. */
#include "template_checks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Each line meets the data in another way; those that may refuse it come last. */
static const char *const sources[] = {
	"{{ messages }}{{ tools | tojson if tools }}{{ messages | string | length }}",
	"{% for m in messages %}{{ loop.index }}{{ m }}{% if m is mapping %}{{ m | items | list }}{{ m | tojson(indent=2) }}"
	"{% endif %}{% if m is string %}{{ m[::-1] | upper }}{{ m.split() | join('-') }}{{ m | indent(2) }}{{ m | title }}"
	"{% endif %}{% endfor %}",
	"{% for m in messages %}{{ '<|' + m.role + '|>' + m['content'] | trim + eos_token }}{% endfor %}",
	"{{ messages | map(attribute='content') | join(' ') }}{{ messages | selectattr('role', 'eq', 'user') | list }}",
	"{{ messages | sort }}{{ messages | unique | list }}{{ messages | first }}{{ messages | last }}",
	"{% macro m(x, d=0) %}{% if x is mapping %}{% for k, v in x.items() %}{{ k }}:{{ m(v, d + 1) }}{% endfor %}"
	"{% elif x is iterable and x is not string %}{% for v in x %}{{ m(v, d + 1) }},{% endfor %}{% else %}{{ x }}{% endif %}"
	"{% endmacro %}{{ m(messages) }}{{ m(tools) }}",
	"{{ n // d }}{{ n % d }}{{ n ** d }}{{ 'x' * n }}{{ range(n, d) | list }}{{ messages[n:d] }}{{ s[n:d:-1] }}",
	"{{ s % n }}{{ '%5.2f|%d|%s|%r|%x' % (n, n, s, s, n) }}{{ s | int }}{{ s | float }}{{ s | from_json }}",
	"{{ s.replace(t, u) }}{{ s.split(t) }}{{ s.rsplit(t, n) }}{{ s.find(t, n, d) }}{{ s.strip(t) }}{{ s.format(n, t) }}",
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *v;
	if (json_parse(&v, (const char *)data, size, "fuzz") != VB_OK)
		return 0;
	for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
		struct chat_template *t;
		check(chat_template_compile(&t, sources[i], strlen(sources[i]), "own") == VB_OK);
		render_checked(t, v);
		chat_template_destroy(&t);
	}
	json_decref(v);
	return 0;
}
