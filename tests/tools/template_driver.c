/* Renders chat templates for the system tests. Each line of stdin is a JSON object {"source", "variables", "now"};
 * each line of stdout is {"text", "spans": [[begin, end], ...]} or {"status", "error"}. */
#include "base/buf.h"
#include "base/mem.h"
#include "base/status.h"
#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int render(const json_t *request, struct buf *text, struct text_spans *spans)
{
	const json_t *source = json_object_get(request, "source");
	struct chat_template *t;
	TRY(chat_template_compile(&t, json_string_value(source), json_string_length(source), "template"));
	int rc = chat_template_render(t, json_object_get(request, "variables"),
				      json_integer_value(json_object_get(request, "now")), text, spans);
	chat_template_destroy(&t);
	return rc;
}

static json_t *answer(const json_t *request)
{
	struct buf text;
	struct text_spans spans = { 0 };
	json_t *out = json_object();
	buf_init(&text, (size_t)128 << 20);
	int rc = render(request, &text, &spans);
	if (rc == VB_OK) {
		json_t *list = json_array();
		for (size_t i = 0; i < spans.n; i++)
			json_array_append_new(list, json_pack("[I,I]", (json_int_t)spans.span[i].begin,
							      (json_int_t)spans.span[i].end));
		json_object_set_new(out, "text", json_stringn(text.data ? text.data : "", text.len));
		json_object_set_new(out, "spans", list);
	} else {
		json_object_set_new(out, "status", json_string(vb_status_name(rc)));
		json_object_set_new(out, "error", json_string(vb_errmsg()));
	}
	text_spans_fini(&spans);
	buf_fini(&text);
	return out;
}

int main(void)
{
	char *line = NULL;
	size_t capacity = 0;
	ssize_t n;
	while ((n = getline(&line, &capacity, stdin)) > 0) {
		json_t *request;
		if (json_parse(&request, line, (size_t)n, "stdin") != VB_OK) {
			fprintf(stderr, "%s\n", vb_errmsg());
			return 2;
		}
		json_t *out = answer(request);
		char *text = json_text(out);
		puts(text);
		fflush(stdout);
		mem_free(text);
		json_decref(out);
		json_decref(request);
	}
	free(line);
	return 0;
}
