/* status.h - the one error convention: int status, a message written once at the origin.
 *
 * FAIL(code, fmt, ...) at the origin formats the thread's message and returns the code.
 * TRY(expr) forwards a failing status. A message reads "<what>: <where>: <what to do>" and names
 * the option, file, key, tensor or layer. Broken invariants are CHECKs: they abort, also in release
 * builds, and are for cold code; hot code uses assert.
 */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include "verbatim/status.h"

#include <stddef.h>

/* Formats the thread's message (cut at 2047 bytes) and returns `code`. `file` and `line` are kept
 * for debug logs only; they are not part of the message. */
int status_fail(int code, const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Puts "prefix: " before the thread's message (e.g. a file name that a parser does not know) and
 * returns `code` unchanged. */
int status_prefix(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

_Noreturn void status_check_failed(const char *file, int line, const char *expr);

#define FAIL(code, ...) return status_fail((code), __FILE__, __LINE__, __VA_ARGS__)

/* For functions with an `out:` label: sets `rc` and jumps. */
#define FAIL_TO(label, code, ...)                                              \
	do {                                                                   \
		rc = status_fail((code), __FILE__, __LINE__, __VA_ARGS__);     \
		goto label;                                                    \
	} while (0)

#define TRY(expr)                           \
	do {                                \
		int try_rc_ = (expr);       \
		if (try_rc_ != VB_OK)       \
			return try_rc_;     \
	} while (0)

/* As TRY, in functions with an `out:` label and a local `int rc`. */
#define TRY_TO(label, expr)         \
	do {                        \
		rc = (expr);        \
		if (rc != VB_OK)    \
			goto label; \
	} while (0)

#define CHECK(expr)                                                      \
	do {                                                             \
		if (!(expr))                                             \
			status_check_failed(__FILE__, __LINE__, #expr); \
	} while (0)

#endif
