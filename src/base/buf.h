/* buf.h - a growable byte string with a ceiling. Always NUL-terminated once written. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>

struct buf {
	char *data;      /* owned; NULL while empty */
	size_t len;      /* bytes without the NUL */
	size_t capacity; /* bytes allocated */
	size_t max;      /* len never exceeds it */
};

/* `max` bounds the length: there is no unbounded buffer. Allocates nothing. */
void buf_init(struct buf *b, size_t max);
void buf_fini(struct buf *b);
/* Empties it, keeping the memory. */
void buf_clear(struct buf *b);
/* Room for `len` bytes in all, so that appends up to there cannot fail. */
int buf_reserve(struct buf *b, size_t len);
/* VB_ELIMIT beyond max, VB_ENOMEM; the buffer is unchanged on failure. */
int buf_append(struct buf *b, const void *bytes, size_t n);
int buf_puts(struct buf *b, const char *s);
int buf_putc(struct buf *b, char c);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Hands the string (never NULL) over to the caller, who frees it with mem_free; NULL on ENOMEM. */
char *buf_detach(struct buf *b);

#endif
