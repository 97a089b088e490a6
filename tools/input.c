#include "input.h"

#include "base/mem.h"
#include "base/status.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Models ---- */

static bool is_folder(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int no_such_folder(const char *name)
{
	FAIL(VB_ENOTFOUND, "no such model folder: %.200s: give a Hugging Face model folder, or demo%s", name,
	     strchr(name, ' ') ? "; a prompt comes behind it" : "");
}

int find_model(const char *name, struct buf *out)
{
	const char *model = name ? name : "demo";
	if (name && is_folder(name))
		return buf_puts(out, name);
	if (name && strchr(name, '/'))
		return no_such_folder(name);

	/* In a build tree models/ is beside the program's folder; installed, it is among the prefix's data. */
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	if (n > 0 && memchr(self, '/', (size_t)n)) {
		self[n] = 0;
		*strrchr(self, '/') = 0;
		static const char *const beside[] = { "/../models/", "/../share/verbatim/models/" };
		for (size_t i = 0; i < sizeof beside / sizeof beside[0]; i++) {
			buf_clear(out);
			TRY(buf_printf(out, "%s%s%s", self, beside[i], model));
			char *whole = is_folder(out->data) ? realpath(out->data, NULL) : NULL;
			if (whole) {
				buf_clear(out);
				int rc = buf_puts(out, whole);
				free(whole);
				return rc;
			}
		}
	}
	buf_clear(out);
	TRY(buf_printf(out, "%s/models/%s", VERBATIM_DATA_DIR, model));
	if (is_folder(out->data))
		return VB_OK;
	buf_clear(out);
	if (name)
		return no_such_folder(name);
	FAIL(VB_ENOTFOUND, "the demo model is not installed: %s/models/demo: give a model folder", VERBATIM_DATA_DIR);
}

/* ---- Input ---- */

#define TEXT_MAX (256u << 20)

int read_text(const char *path, struct buf *out)
{
	bool is_stdin = strcmp(path, "-") == 0;
	FILE *f = is_stdin ? stdin : fopen(path, "re");
	if (!f)
		FAIL(errno == ENOENT ? VB_ENOTFOUND : VB_EIO, "cannot open: %s: %s", path, strerror(errno));
	int rc = VB_OK;
	char block[65536];
	size_t n;
	while ((n = fread(block, 1, sizeof block, f)) > 0) {
		rc = buf_append(out, block, n);
		if (rc == VB_ELIMIT)
			FAIL_TO(out, VB_ELIMIT, "input too long: %s: more than %zu bytes: give less at once",
				is_stdin ? "standard input" : path, out->max);
		TRY_TO(out, rc);
	}
	if (ferror(f))
		FAIL_TO(out, VB_EIO, "cannot read: %s: %s", is_stdin ? "standard input" : path, strerror(errno));
	rc = buf_append(out, "", 0); /* so that data is a string also where there was nothing */
out:
	if (!is_stdin)
		fclose(f);
	return rc;
}

static int parse_id_list(const char *text, const char *where, int32_t **ids, size_t *n)
{
	size_t capacity = 0;
	*ids = NULL;
	*n = 0;
	for (const char *p = text;;) {
		while (*p && (isspace((unsigned char)*p) || strchr(",[]", *p)))
			p++;
		if (!*p)
			break;
		char *end;
		errno = 0;
		long id = strtol(p, &end, 10);
		if (end == p || errno || id < 0 || id > INT32_MAX || (*end && !isspace((unsigned char)*end) && !strchr(",]", *end))) {
			mem_free(*ids);
			*ids = NULL;
			FAIL(VB_EINVAL, "not a token id: %s, '%.20s': give whole numbers with commas between", where, p);
		}
		if (*n == capacity) {
			capacity = capacity ? 2 * capacity : 256;
			int32_t *grown = mem_realloc(*ids, capacity, sizeof *grown);
			if (!grown) {
				mem_free(*ids);
				*ids = NULL;
				return VB_ENOMEM;
			}
			*ids = grown;
		}
		(*ids)[(*n)++] = (int32_t)id;
		p = end;
	}
	if (*n == 0)
		FAIL(VB_EINVAL, "no token ids: %s: give whole numbers with commas between", where);
	return VB_OK;
}

int parse_ids(const char *text, const char *where, int32_t **ids, size_t *n)
{
	if (text[0] != '@')
		return parse_id_list(text, where, ids, n);
	struct buf b;
	buf_init(&b, TEXT_MAX);
	int rc = read_text(text + 1, &b);
	if (rc == VB_OK)
		rc = parse_id_list(b.data, text + 1, ids, n);
	buf_fini(&b);
	return rc;
}
