/* json.h - strict JSON in, errors that name the key. A thin layer over jansson.
 *
 * Values are jansson's `json_t`, seen through this header alone. Files and texts are refused where
 * they are not valid JSON, hold a key twice, nest deeper than 128, or are larger than `max`.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ownership: *out is a new reference, dropped with json_decref. `where` names the text in messages. */
int json_parse(json_t **out, const char *text, size_t len, const char *where);
/* The same of a text that begins at line `line` of `where`: messages name the line there. */
int json_parse_at(json_t **out, const char *text, size_t len, const char *where, int64_t line);
/* VB_ENOTFOUND where the file does not exist, VB_ELIMIT beyond max bytes. */
int json_read_file(json_t **out, const char *path, size_t max);

/* Typed look-ups in object `o`. `where` names the file in messages. A key that is absent or null gives
 * the default; the wrong type or a value out of range is VB_EFORMAT naming file, key and value. */
int json_get_i64(const json_t *o, const char *key, const char *where, int64_t min, int64_t max,
		 int64_t dflt, int64_t *out);
/* As above, but absent is an error. */
int json_need_i64(const json_t *o, const char *key, const char *where, int64_t min, int64_t max,
		  int64_t *out);
/* Numbers must be finite. Integers are taken as numbers. */
int json_get_f64(const json_t *o, const char *key, const char *where, double min, double max,
		 double dflt, double *out);
int json_get_bool(const json_t *o, const char *key, const char *where, bool dflt, bool *out);
/* *out is borrowed from o (valid as long as o); dflt may be NULL. */
int json_get_str(const json_t *o, const char *key, const char *where, const char *dflt,
		 const char **out);
/* The value of `key`, NULL where absent or null. Borrowed. */
json_t *json_get(const json_t *o, const char *key);

/* "string", "integer", ...: for messages. */
const char *json_kind(const json_t *v);

/* Compact text of v, freed with mem_free; NULL on ENOMEM. */
char *json_text(const json_t *v);

#endif
