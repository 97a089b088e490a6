/* cmd_inspect.c - a model folder's configuration, tensors and sizes. */
#include "input.h"
#include "output.h"
#include "program.h"

#include "base/status.h"

#include <string.h>

static void print_config(const json_t *config)
{
	struct table *t = table_create("ll");
	table_row(t, "config.json", "");
	const char *key;
	json_t *v;
	json_object_foreach((json_t *)config, key, v) {
		char *text = json_text(v);
		table_row(t, key, json_is_string(v) ? json_string_value(v) : text ? text : "?");
		vb_free(text);
	}
	table_print(t);
}

static void print_tensors(const json_t *tensors)
{
	struct table *t = table_create("llrl");
	table_row(t, "tensor", "type", "size", "shape");
	size_t i, k;
	json_t *row, *d;
	json_array_foreach(tensors, i, row) {
		char shape[200] = "", size[32];
		size_t used = 0;
		json_array_foreach(json_object_get(row, "shape"), k, d)
			used += (size_t)snprintf(shape + used, sizeof shape - used, "%s%lld", k ? " x " : "",
						 (long long)json_integer_value(d));
		table_row(t, json_string_value(json_object_get(row, "name")),
			  json_string_value(json_object_get(row, "dtype")),
			  human_bytes(size, json_number_value(json_object_get(row, "bytes"))), shape);
	}
	table_print(t);
}

int cmd_inspect(struct settings *s)
{
	struct buf model;
	char *text = NULL;
	buf_init(&model, 8192);
	int rc = find_model(s->argument[0], &model);
	if (rc == VB_OK)
		rc = vb_inspect(model.data, &text);
	buf_fini(&model);
	if (rc != VB_OK)
		return exit_for(rc);
	json_t *answer = take_json(text, "vb_inspect");
	if (!answer)
		return EXIT_FAILED;
	if (s->json)
		return print_json(answer);
	print_config(json_object_get(answer, "config"));
	putchar('\n');
	print_tensors(json_object_get(answer, "tensors"));
	char size[32];
	const char *format = json_string_value(json_object_get(answer, "weight_format"));
	printf("\n%zu tensors, %lld parameters, %s%s%s\n", json_array_size(json_object_get(answer, "tensors")),
	       (long long)json_integer_value(json_object_get(answer, "parameters")),
	       human_bytes(size, json_number_value(json_object_get(answer, "bytes"))), format ? ", weights " : "", format ? format : "");
	json_decref(answer);
	return finish_output();
}
