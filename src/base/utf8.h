/* utf8.h - decoding and checking UTF-8 (RFC 3629: no surrogates, no overlong forms, up to U+10FFFF). */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes the code point at s (n bytes available). Returns its length 1..4; 0 where n is 0 or the bytes
 * are not valid UTF-8; -1 where they are a valid beginning that is cut off by n. */
int utf8_decode(const char *s, size_t n, uint32_t *code_point);

/* Writes 1..4 bytes; 0 where code_point is not encodable. */
int utf8_write(uint32_t code_point, char out[4]);

bool utf8_valid(const char *s, size_t n);

/* Length of the longest prefix of s that does not end inside a code point (bytes that can never become
 * valid count as complete). What follows, at most 3 bytes, may be completed by bytes to come. */
size_t utf8_complete_prefix(const char *s, size_t n);

#endif
