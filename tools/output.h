/* output.h - what the program says: errors, tables, JSON. Answers go to stdout, all else to stderr. */
#ifndef TOOLS_OUTPUT_H
#define TOOLS_OUTPUT_H

#include "base/json.h"
#include "verbatim/options.h"

#include <stdio.h>

enum exit_status {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_DEVICE = 70,
	EXIT_INTERRUPTED = 130,
};

/* One line "verbatim: error: ...". The text reads "<what>: <where>: <what to do>". */
void print_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void print_warning(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Prints the library's message for a failed call and returns the exit status that goes with it. */
int exit_for(int rc);

/* Terminal sequences, or "" where the stream is no terminal, NO_COLOR is set or TERM is dumb. */
const char *bold(FILE *f);
const char *dim(FILE *f);
const char *plain(FILE *f);

/* Writes one line of JSON to stdout, reals with 9 significant digits (float32 bits survive). Takes the reference. */
int print_json(json_t *v);
/* A number, null where it is not finite. */
json_t *json_number(double v);

/* Flushes stdout. EXIT_DONE, or EXIT_FAILED: quietly where the reader went away, else with an error. */
int finish_output(void);

/* For vb_options.log. */
void print_log(void *user, enum vb_log_level level, const char *line);

/* ---- Tables: cells are collected, then printed in columns as wide as they need ---- */

struct table;

/* `align`: a character a column: 'l' or 'r'. NULL on ENOMEM; the other functions then do nothing. */
struct table *table_create(const char *align);
/* Adds strings (copied) as the next cells; usually a row. The first row is the heading. */
#define table_row(t, ...)                                                        \
	table_cells(t, (const char *const[]){ __VA_ARGS__ },                     \
		    (int)(sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *)))
void table_cells(struct table *t, const char *const *cells, int n);
/* One cell, printf-like. */
void table_cell(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints to stdout and frees. */
void table_print(struct table *t);

/* "1.5 GiB" in a buffer of the caller's (>= 32 bytes), which is returned. */
char *human_bytes(char *buffer, double bytes);

#endif
