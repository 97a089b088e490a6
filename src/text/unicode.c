#include "text_internal.h"

#include "base/status.h"
#include "base/utf8.h"

#include <utf8proc.h>

bool is_space(uint32_t cp)
{
	if (cp < 0x80)
		return cp == ' ' || (cp >= '\t' && cp <= '\r');
	return cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) ||
	       cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

bool is_numeric(uint32_t cp)
{
	if (cp < 0x80)
		return cp >= '0' && cp <= '9';
	utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
	return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}

bool is_mark(uint32_t cp)
{
	if (cp < 0x300)
		return false;
	utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
	return c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_MC || c == UTF8PROC_CATEGORY_ME;
}

bool is_nonspacing_mark(uint32_t cp)
{
	return cp >= 0x300 && utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_MN;
}

bool is_punctuation(uint32_t cp)
{
	if (cp < 0x80)
		return (cp >= '!' && cp <= '/') || (cp >= ':' && cp <= '@') ||
		       (cp >= '[' && cp <= '`') || (cp >= '{' && cp <= '~');
	utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
	return c >= UTF8PROC_CATEGORY_PC && c <= UTF8PROC_CATEGORY_PO;
}

int buf_put_cp(struct buf *b, uint32_t cp)
{
	char s[4];
	return buf_append(b, s, (size_t)utf8_write(cp, s));
}

/* Length of the longest prefix of s that begins some valid sequence, at least 1: what one U+FFFD
 * stands for. */
static size_t bad_length(const char *s, size_t n)
{
	size_t len = 1;
	uint32_t cp;
	while (len < n && len < 3 && utf8_decode(s, len + 1, &cp) == -1)
		len++;
	return utf8_decode(s, 1, &cp) == -1 ? len : 1;
}

int utf8_append_lossy(struct buf *b, const char *s, size_t n)
{
	size_t from = 0, i = 0;
	while (i < n) {
		uint32_t cp;
		int len = utf8_decode(s + i, n - i, &cp);
		if (len > 0) {
			i += (size_t)len;
			continue;
		}
		TRY(buf_append(b, s + from, i - from));
		TRY(buf_append(b, "\xef\xbf\xbd", 3));
		i += bad_length(s + i, n - i);
		from = i;
	}
	return buf_append(b, s + from, i - from);
}

/* GPT-2's alphabet: printable Latin-1 bytes stand for themselves, the 68 others for U+0100.. in
 * order. */
static inline bool stands_for_itself(unsigned byte)
{
	return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
}

uint32_t byte_level_char(uint8_t byte)
{
	if (stands_for_itself(byte))
		return byte;
	if (byte <= 0x20)
		return 0x100u + byte;
	if (byte <= 0xa0)
		return 0x121u + byte - 0x7f;
	return 0x143; /* 0xad */
}

int byte_level_byte(uint32_t cp)
{
	if (cp < 0x100)
		return stands_for_itself(cp) ? (int)cp : -1;
	if (cp <= 0x120)
		return (int)(cp - 0x100);
	if (cp <= 0x142)
		return (int)(cp - 0x121 + 0x7f);
	return cp == 0x143 ? 0xad : -1;
}

bool byte_level_undo(const char *s, size_t n, struct buf *out, int *rc)
{
	size_t old = out->len;
	*rc = buf_reserve(out, out->len + n);
	if (*rc)
		return false;
	for (size_t i = 0; i < n;) {
		uint32_t cp;
		i += utf8_at(s + i, &cp);
		int byte = byte_level_byte(cp);
		if (byte < 0) {
			out->len = old;
			out->data[old] = '\0';
			return false;
		}
		out->data[out->len++] = (char)byte;
	}
	out->data[out->len] = '\0';
	return true;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int byte_token_value(const char *s, size_t n)
{
	if (n != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>')
		return -1;
	int high = hex(s[3]), low = hex(s[4]);
	/* "+5" is a number to the reference's parser, too. */
	if (s[3] == '+')
		high = 0;
	return high < 0 || low < 0 ? -1 : high << 4 | low;
}
