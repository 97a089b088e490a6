/* input.h - what commands read: model folders, texts, token ids. VB_* statuses, messages as the library's. */
#ifndef TOOLS_INPUT_H
#define TOOLS_INPUT_H

#include "base/buf.h"

#include <stddef.h>
#include <stdint.h>

/* The folder that `name` means: itself where it is a folder, else the model of that name that ships with verbatim.
 * NULL means "demo". Appends the path to *out; VB_ENOTFOUND says where it was looked for. */
int find_model(const char *name, struct buf *out);

/* Reads a file, or stdin for "-", to its end. */
int read_text(const char *path, struct buf *out);

/* "1,2,3" with optional blanks and brackets; or "@FILE" with the same (or "[1, 2]") in it. *ids is freed with mem_free;
 * `where` is the option or argument that has the text, for messages. */
int parse_ids(const char *text, const char *where, int32_t **ids, size_t *n);

#endif
