/* cmd_explain.c - what the machine offers, what would serve a model, and why the rest would not. */
#include "input.h"
#include "output.h"
#include "program.h"

#include "base/status.h"

#include <string.h>

/* A value in words: sizes as sizes, lists with blanks between. */
static void print_value(const char *key, const json_t *v)
{
	char text[32];
	size_t i;
	json_t *item;
	static const char *const of_bytes[] = { "memory", "shared_memory", "weights", "weights_per_token", "kv_per_token",
						"kv", "activations", "workspace", "available", "driver", "reserve" };
	bool bytes = false;
	for (i = 0; i < sizeof of_bytes / sizeof *of_bytes; i++)
		bytes |= strcmp(key, of_bytes[i]) == 0;
	if (json_is_array(v)) {
		fputs(json_array_size(v) ? "" : "none", stdout);
		json_array_foreach(v, i, item) {
			if (i)
				putchar(' ');
			print_value("", item);
		}
	} else if (json_is_string(v)) {
		fputs(json_string_value(v), stdout);
	} else if (json_is_number(v) && bytes) {
		fputs(human_bytes(text, json_number_value(v)), stdout);
	} else if (json_is_integer(v)) {
		printf("%lld", (long long)json_integer_value(v));
	} else if (json_is_real(v)) {
		printf("%.6g", json_real_value(v));
	} else {
		fputs(json_is_true(v) ? "yes" : json_is_false(v) ? "no" : "-", stdout);
	}
}

/* "key  value" lines; objects and lists of objects as sections of their own, named after their key. */
static void print_fields(const json_t *o, int indent)
{
	const char *key;
	json_t *v, *item;
	size_t i;
	int widest = 0;
	json_object_foreach((json_t *)o, key, v)
		if ((int)strlen(key) > widest)
			widest = (int)strlen(key);
	json_object_foreach((json_t *)o, key, v) {
		if (json_is_object(v)) {
			printf("%*s%s\n", indent, "", key);
			print_fields(v, indent + 2);
		} else if (json_is_object(json_array_get(v, 0))) {
			json_array_foreach(v, i, item) {
				printf("%*s%s %zu\n", indent, "", key, i);
				print_fields(item, indent + 2);
			}
		} else {
			printf("%*s%-*s  ", indent, "", widest, key);
			print_value(key, v);
			putchar('\n');
		}
	}
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));
	return text ? text : "-";
}

/* "bf16, 8/2 heads of 64, window 128" or whatever shape the row gives. */
static const char *request_words(const json_t *request, char out[256])
{
	const char *shape = json_string_value(json_object_get(request, "shape"));
	if (shape || !json_object_get(request, "heads")) {
		snprintf(out, 256, "%s", shape ? shape : "-");
		return out;
	}
	long long heads = json_integer_value(json_object_get(request, "heads"));
	long long kv_heads = json_integer_value(json_object_get(request, "kv_heads"));
	long long dim = json_integer_value(json_object_get(request, "head_dim"));
	long long v_dim = json_integer_value(json_object_get(request, "v_head_dim"));
	long long window = json_integer_value(json_object_get(request, "window"));
	int n = snprintf(out, 256, "%s, %lld/%lld heads of %lld", text_of(request, "dtype"), heads, kv_heads, dim);
	if (v_dim != dim)
		n += snprintf(out + n, (size_t)(256 - n), "/%lld", v_dim);
	if (window)
		n += snprintf(out + n, (size_t)(256 - n), ", window %lld", window);
	snprintf(out + n, (size_t)(256 - n), "%s%s", json_is_true(json_object_get(request, "softcap")) ? ", softcap" : "",
		 json_is_true(json_object_get(request, "sink")) ? ", sinks" : "");
	return out;
}

static void print_layers(const json_t *layers)
{
	struct table *t = table_create("lllll");
	table_row(t, "layers", "kind", "use", "kernel", "for");
	size_t i, k;
	json_t *row, *refused;
	json_array_foreach(layers, i, row) {
		char words[256];
		const char *backend = json_string_value(json_object_get(row, "backend"));
		char use[64];
		const char *run = json_string_value(json_object_get(row, "run"));
		snprintf(use, sizeof use, "%s%s%s", text_of(row, "use"), run ? ", " : "", run ? run : "");
		table_row(t, text_of(row, "layers"), text_of(row, "kind"), use,
			  backend ? backend : "NOTHING SERVES", request_words(json_object_get(row, "request"), words));
		json_array_foreach(json_object_get(row, "refused"), k, refused) {
			table_row(t, "", "", "");
			table_cell(t, "not %s:", text_of(refused, "backend"));
			table_row(t, text_of(refused, "reason"));
		}
	}
	table_print(t);
}

static void print_explanation(const json_t *answer)
{
	printf("%smachine%s\n", bold(stdout), plain(stdout));
	print_fields(json_object_get(answer, "facts"), 2);
	const char *why = json_string_value(json_object_get(answer, "device_why"));
	printf("\ndevice %s%s%s%s\n", text_of(answer, "device"), why && why[0] ? " (" : "", why ? why : "",
	       why && why[0] ? ")" : "");
	if (json_object_get(answer, "family"))
		printf("model  %s: %s, %s, weights %s\n", text_of(answer, "model"), text_of(answer, "family"),
		       text_of(answer, "dtype"), text_of(answer, "weight_format"));
	const json_t *layers = json_object_get(answer, "layers");
	if (json_array_size(layers)) {
		putchar('\n');
		print_layers(layers);
	}
	const json_t *memory = json_object_get(answer, "memory");
	if (json_object_size(memory)) {
		printf("\n%smemory%s\n", bold(stdout), plain(stdout));
		print_fields(memory, 2);
	}
}

static int explain(const struct settings *s, struct buf *model, struct buf *facts)
{
	char *text = NULL;
	int rc = VB_OK;
	if (s->n_arguments)
		rc = find_model(s->argument[0], model);
	if (rc == VB_OK && s->facts)
		rc = read_text(s->facts, facts);
	if (rc == VB_OK)
		rc = vb_explain(s->n_arguments ? model->data : NULL, &s->engine, s->facts ? facts->data : NULL, &text);
	if (!text)
		return exit_for(rc);
	/* The answer is whole also where nothing serves: it holds the reasons. */
	int status = rc == VB_OK ? EXIT_DONE : exit_for(rc);
	json_t *answer = take_json(text, "vb_explain");
	if (!answer)
		return EXIT_FAILED;
	int written;
	if (s->json) {
		written = print_json(answer);
	} else {
		print_explanation(answer);
		json_decref(answer);
		written = finish_output();
	}
	return status != EXIT_DONE ? status : written;
}

int cmd_explain(struct settings *s)
{
	struct buf model, facts;
	buf_init(&model, 8192);
	buf_init(&facts, 16u << 20);
	int status = explain(s, &model, &facts);
	buf_fini(&facts);
	buf_fini(&model);
	return status;
}
