#include "json.h"

#include "buf.h"
#include "mem.h"
#include "status.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_DEPTH 128

/* jansson recurses on nesting up to 2048; a text is measured before it is given to it. */
static int check_depth(const char *text, size_t len, const char *where, int64_t line)
{
	int depth = 0;
	bool in_string = false;
	size_t line_begin = 0;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		if (c == '\n') {
			line++;
			line_begin = i + 1;
		} else if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '[' || c == '{') {
			if (++depth > MAX_DEPTH)
				FAIL(VB_EFORMAT, "JSON nested deeper than %d: %s, line %lld column %zu: flatten it", MAX_DEPTH,
				     where, (long long)line, i - line_begin + 1);
		} else if (c == ']' || c == '}') {
			depth--;
		}
	}
	return VB_OK;
}

static bool is_blank(const char *text, size_t len)
{
	size_t i = 0;
	while (i < len && memchr(" \t\r\n", text[i], 4))
		i++;
	return i == len;
}

int json_parse_at(json_t **out, const char *text, size_t len, const char *where, int64_t line)
{
	TRY(check_depth(text, len, where, line));
	json_error_t error;
	json_t *v = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
	/* Out of memory is no fault of the text, and the only failure that leaves no words. */
	if (!v && !error.text[0])
		FAIL(VB_ENOMEM, "out of memory: %s: %zu bytes of JSON", where, len);
	if (!v && is_blank(text, len))
		FAIL(VB_EFORMAT, "not valid JSON: %s: it is empty", where);
	if (!v)
		FAIL(VB_EFORMAT, "not valid JSON: %s, line %lld column %d: %s%s", where, (long long)(line - 1 + error.line),
		     error.column, error.text,
		     json_error_code(&error) == json_error_premature_end_of_input ? ": it is cut short" : "");
	*out = v;
	return VB_OK;
}

int json_parse(json_t **out, const char *text, size_t len, const char *where)
{
	return json_parse_at(out, text, len, where, 1);
}

int json_read_file(json_t **out, const char *path, size_t max)
{
	int rc = VB_OK;
	char *text = NULL;
	FILE *f = fopen(path, "rb");
	if (!f)
		FAIL(errno == ENOENT ? VB_ENOTFOUND : VB_EIO, "cannot open: %s: %s", path, strerror(errno));
	struct stat st;
	if (fstat(fileno(f), &st) != 0)
		FAIL_TO(out, VB_EIO, "cannot read: %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		FAIL_TO(out, VB_EIO, "cannot read: %s: not a regular file", path);
	size_t size = (size_t)st.st_size;
	if (size > max)
		FAIL_TO(out, VB_ELIMIT, "file too large: %s: %zu bytes, at most %zu are taken", path, size, max);
	text = mem_alloc(size);
	if (!text)
		FAIL_TO(out, VB_ENOMEM, "out of memory: %s: %zu bytes", path, size);
	if (fread(text, 1, size, f) != size)
		FAIL_TO(out, VB_EIO, "cannot read: %s: %s", path, ferror(f) ? strerror(errno) : "the file became shorter");
	TRY_TO(out, json_parse(out, text, size, path));
out:
	mem_free(text);
	fclose(f);
	return rc;
}

const char *json_kind(const json_t *v)
{
	if (!v)
		return "nothing";
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		return "object";
	case JSON_ARRAY:
		return "array";
	case JSON_STRING:
		return "string";
	case JSON_INTEGER:
		return "integer";
	case JSON_REAL:
		return "number";
	case JSON_TRUE:
	case JSON_FALSE:
		return "boolean";
	default:
		return "null";
	}
}

json_t *json_get(const json_t *o, const char *key)
{
	json_t *v = json_object_get(o, key);
	return json_is_null(v) ? NULL : v;
}

static int integer_of(const json_t *v, const char *key, const char *where, int64_t min, int64_t max,
		      int64_t *out)
{
	int64_t i;
	if (json_is_integer(v)) {
		i = json_integer_value(v);
	} else if (json_is_real(v) && rint(json_real_value(v)) == json_real_value(v) &&
		   fabs(json_real_value(v)) < 0x1p53) {
		i = (int64_t)json_real_value(v); /* 32000.0: some exporters write counts so */
	} else {
		FAIL(VB_EFORMAT, "wrong type: %s: key \"%s\": expected an integer, found %s", where, key,
		     json_kind(v));
	}
	if (i < min || i > max)
		FAIL(VB_EFORMAT, "value out of range: %s: key \"%s\": %lld, expected %lld to %lld", where,
		     key, (long long)i, (long long)min, (long long)max);
	*out = i;
	return VB_OK;
}

int json_get_i64(const json_t *o, const char *key, const char *where, int64_t min, int64_t max,
		 int64_t dflt, int64_t *out)
{
	const json_t *v = json_get(o, key);
	if (!v) {
		*out = dflt;
		return VB_OK;
	}
	return integer_of(v, key, where, min, max, out);
}

int json_need_i64(const json_t *o, const char *key, const char *where, int64_t min, int64_t max,
		  int64_t *out)
{
	const json_t *v = json_get(o, key);
	if (!v)
		FAIL(VB_EFORMAT, "missing key: %s: \"%s\": add it (an integer)", where, key);
	return integer_of(v, key, where, min, max, out);
}

int json_get_f64(const json_t *o, const char *key, const char *where, double min, double max,
		 double dflt, double *out)
{
	const json_t *v = json_get(o, key);
	if (!v) {
		*out = dflt;
		return VB_OK;
	}
	if (!json_is_number(v))
		FAIL(VB_EFORMAT, "wrong type: %s: key \"%s\": expected a number, found %s", where, key,
		     json_kind(v));
	double d = json_number_value(v);
	if (!isfinite(d) || d < min || d > max)
		FAIL(VB_EFORMAT, "value out of range: %s: key \"%s\": %g, expected %g to %g", where, key, d,
		     min, max);
	*out = d;
	return VB_OK;
}

int json_get_bool(const json_t *o, const char *key, const char *where, bool dflt, bool *out)
{
	const json_t *v = json_get(o, key);
	if (!v) {
		*out = dflt;
		return VB_OK;
	}
	if (!json_is_boolean(v))
		FAIL(VB_EFORMAT, "wrong type: %s: key \"%s\": expected true or false, found %s", where, key,
		     json_kind(v));
	*out = json_is_true(v);
	return VB_OK;
}

int json_get_str(const json_t *o, const char *key, const char *where, const char *dflt,
		 const char **out)
{
	const json_t *v = json_get(o, key);
	if (!v) {
		*out = dflt;
		return VB_OK;
	}
	if (!json_is_string(v))
		FAIL(VB_EFORMAT, "wrong type: %s: key \"%s\": expected a string, found %s", where, key,
		     json_kind(v));
	*out = json_string_value(v);
	return VB_OK;
}

struct text {
	struct buf b;
	bool failed;
};

/* jansson does not look at what some of its calls return: a failure is remembered here. */
static int append_text(const char *bytes, size_t n, void *text)
{
	struct text *t = text;
	t->failed |= buf_append(&t->b, bytes, n) != VB_OK;
	return t->failed ? -1 : 0;
}

char *json_text(const json_t *v)
{
	struct text t = { .failed = false };
	buf_init(&t.b, SIZE_MAX / 2);
	if (json_dump_callback(v, append_text, &t, JSON_COMPACT | JSON_ENCODE_ANY) != 0 || t.failed) {
		buf_fini(&t.b);
		return NULL;
	}
	return buf_detach(&t.b);
}
