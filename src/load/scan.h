/* scan.h - pulls values out of a JSON text without building a tree.
 *
 * DESIGN. The header of a weight file may be 100 MB, and a tree of it costs up to forty times that: memory
 * that nothing in the file proves to be needed. So the two big JSON texts (safetensors headers and the shard
 * index) are read as a stream, into memory that is bounded by the text itself. Everything small goes through
 * base/json.h.
 *
 * Strict as RFC 8259 is: no comments, no trailing commas, valid UTF-8. Stricter: strings hold no NUL.
 * A failing function leaves the scanner where it failed; the text is then given up.
 */
#ifndef LOAD_SCAN_H
#define LOAD_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct scan {
	const char *begin, *at, *end; /* borrowed; need not be NUL-terminated */
	const char *where;            /* borrowed; names the text in messages */
};

void scan_init(struct scan *s, const char *text, size_t len, const char *where);

/* Skips white space; takes `c` where it is next. */
bool scan_take(struct scan *s, char c);
/* As scan_take, but VB_EFORMAT where something else is next. */
int scan_expect(struct scan *s, char c);
/* VB_EFORMAT where more than white space follows. */
int scan_end(struct scan *s);

/* Decodes a string to *dst, NUL-terminated, and moves *dst behind it. What is written is shorter than what
 * is read, so memory as large as the text is enough for all strings in it. *out is the string. */
int scan_string(struct scan *s, char **dst, const char **out);
/* A non-negative integer without sign, fraction or exponent. */
int scan_u64(struct scan *s, uint64_t *out);
/* Any value, nested at most 128 deep, checked and dropped. */
int scan_skip(struct scan *s);

#endif
