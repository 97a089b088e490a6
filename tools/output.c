#include "output.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Colour ---- */

static bool coloured(FILE *f)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	return !(no_color && no_color[0]) && !(term && strcmp(term, "dumb") == 0) && isatty(fileno(f));
}

const char *bold(FILE *f)
{
	return coloured(f) ? "\033[1m" : "";
}

const char *dim(FILE *f)
{
	return coloured(f) ? "\033[2m" : "";
}

const char *plain(FILE *f)
{
	return coloured(f) ? "\033[0m" : "";
}

/* ---- Messages ---- */

/* A message is one line whatever it quotes. */
static void print_line(const char *kind, const char *colour, const char *fmt, va_list args)
{
	char text[4096];
	vsnprintf(text, sizeof text, fmt, args);
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' ';
	bool colour_on = coloured(stderr);
	fprintf(stderr, "verbatim: %s%s:%s %s\n", colour_on ? colour : "", kind, plain(stderr), text);
}

void print_error(const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	print_line("error", "\033[1;31m", fmt, args);
	va_end(args);
}

void print_warning(const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	print_line("warning", "\033[1;33m", fmt, args);
	va_end(args);
}

int exit_for(int rc)
{
	if (rc == VB_OK)
		return EXIT_DONE;
	if (rc == VB_ECANCELLED)
		return EXIT_INTERRUPTED;
	const char *message = vb_errmsg();
	print_error("%s", message[0] ? message : vb_status_meaning(rc));
	return rc == VB_EINVAL ? EXIT_USAGE : rc == VB_EDEVICE ? EXIT_DEVICE : EXIT_FAILED;
}

void print_log(void *user, enum vb_log_level level, const char *line)
{
	(void)user;
	if (level == VB_LOG_ERROR)
		print_error("%s", line);
	else if (level == VB_LOG_WARN)
		print_warning("%s", line);
	else
		fprintf(stderr, "%sverbatim: %s%s\n", dim(stderr), line, plain(stderr));
}

/* Whether the other end of standard output was closed. */
static bool reader_left(void)
{
	struct pollfd p = { .fd = STDOUT_FILENO, .events = POLLOUT };
	return poll(&p, 1, 0) == 1 && (p.revents & (POLLERR | POLLHUP));
}

int finish_output(void)
{
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return EXIT_DONE;
	/* An earlier write may have failed, and its errno be lost. */
	if (errno != EPIPE && !reader_left())
		print_error("cannot write: standard output: %s", errno ? strerror(errno) :
			    fcntl(STDOUT_FILENO, F_GETFD) < 0 ? "it is closed" : "is the disk full?");
	return EXIT_FAILED;
}

/* ---- JSON ---- */

json_t *json_number(double v)
{
	return isfinite(v) ? json_real(v) : json_null();
}

int print_json(json_t *v)
{
	if (!v) {
		print_error("out of memory: --json: free some memory");
		return EXIT_FAILED;
	}
	if (json_dumpf(v, stdout, JSON_REAL_PRECISION(9)) == 0)
		putchar('\n');
	json_decref(v);
	return finish_output();
}

/* ---- Tables ---- */

struct table {
	int n_columns;
	const char *align;
	char **cell; /* row-major, owned */
	size_t n_cells, capacity;
};

struct table *table_create(const char *align)
{
	struct table *t = mem_calloc(1, sizeof *t);
	if (!t)
		return NULL;
	t->align = align;
	t->n_columns = (int)strlen(align);
	return t;
}

static void add_cell(struct table *t, char *text)
{
	if (t->n_cells == t->capacity) {
		size_t capacity = t->capacity ? 2 * t->capacity : 64;
		char **cell = mem_realloc(t->cell, capacity, sizeof *cell);
		if (!cell) {
			mem_free(text);
			return;
		}
		t->cell = cell;
		t->capacity = capacity;
	}
	t->cell[t->n_cells++] = text;
}

void table_cells(struct table *t, const char *const *cells, int n)
{
	for (int i = 0; t && i < n; i++)
		add_cell(t, mem_strdup(cells[i] ? cells[i] : "?"));
}

void table_cell(struct table *t, const char *fmt, ...)
{
	if (!t)
		return;
	char text[2048];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	add_cell(t, mem_strdup(text));
}

/* Characters, not bytes: good enough for names, token texts and numbers. */
static int width(const char *s)
{
	int n = 0;
	for (; s && *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static void print_cell(const char *s, int columns, char align, bool last)
{
	int pad = columns - width(s);
	printf("%*s%s%*s", align == 'r' ? pad : 0, "", s ? s : "?", align == 'l' && !last ? pad : 0, "");
	if (!last)
		fputs("  ", stdout);
}

void table_print(struct table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i + (size_t)t->n_columns <= t->n_cells; i += (size_t)t->n_columns) {
		if (i == 0)
			fputs(bold(stdout), stdout);
		for (int c = 0; c < t->n_columns; c++) {
			int widest = 0;
			for (size_t j = (size_t)c; j < t->n_cells; j += (size_t)t->n_columns)
				if (width(t->cell[j]) > widest)
					widest = width(t->cell[j]);
			print_cell(t->cell[i + (size_t)c], widest, t->align[c], c == t->n_columns - 1);
		}
		if (i == 0)
			fputs(plain(stdout), stdout);
		putchar('\n');
	}
	for (size_t i = 0; i < t->n_cells; i++)
		mem_free(t->cell[i]);
	mem_free(t->cell);
	mem_free(t);
}

char *human_bytes(char *buffer, double bytes)
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	int u = 0;
	while (bytes >= 1024 && u < 4) {
		bytes /= 1024;
		u++;
	}
	snprintf(buffer, 32, u && bytes < 100 ? "%.2f %s" : "%.0f %s", bytes, unit[u]);
	return buffer;
}
