#include "utf8.h"

int utf8_decode(const char *s, size_t n, uint32_t *code_point)
{
	if (n == 0)
		return 0;
	const unsigned char *p = (const unsigned char *)s;
	unsigned char lead = p[0];
	if (lead < 0x80) {
		*code_point = lead;
		return 1;
	}
	int len;
	uint32_t cp;
	unsigned char low = 0x80, high = 0xbf; /* bounds of the second byte: Unicode table 3-7 */
	if (lead >= 0xc2 && lead <= 0xdf) {
		len = 2;
		cp = lead & 0x1f;
	} else if (lead >= 0xe0 && lead <= 0xef) {
		len = 3;
		cp = lead & 0x0f;
		if (lead == 0xe0)
			low = 0xa0;
		else if (lead == 0xed)
			high = 0x9f;
	} else if (lead >= 0xf0 && lead <= 0xf4) {
		len = 4;
		cp = lead & 0x07;
		if (lead == 0xf0)
			low = 0x90;
		else if (lead == 0xf4)
			high = 0x8f;
	} else {
		return 0;
	}
	for (int i = 1; i < len; i++) {
		if ((size_t)i >= n)
			return -1;
		if (p[i] < low || p[i] > high)
			return 0;
		cp = cp << 6 | (p[i] & 0x3f);
		low = 0x80;
		high = 0xbf;
	}
	*code_point = cp;
	return len;
}

int utf8_write(uint32_t cp, char out[4])
{
	if (cp < 0x80) {
		out[0] = (char)cp;
		return 1;
	}
	if (cp < 0x800) {
		out[0] = (char)(0xc0 | cp >> 6);
		out[1] = (char)(0x80 | (cp & 0x3f));
		return 2;
	}
	if (cp < 0x10000) {
		if (cp >= 0xd800 && cp <= 0xdfff)
			return 0;
		out[0] = (char)(0xe0 | cp >> 12);
		out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
		out[2] = (char)(0x80 | (cp & 0x3f));
		return 3;
	}
	if (cp > 0x10ffff)
		return 0;
	out[0] = (char)(0xf0 | cp >> 18);
	out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
	out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
	out[3] = (char)(0x80 | (cp & 0x3f));
	return 4;
}

bool utf8_valid(const char *s, size_t n)
{
	while (n) {
		uint32_t cp;
		int len = utf8_decode(s, n, &cp);
		if (len <= 0)
			return false;
		s += len;
		n -= (size_t)len;
	}
	return true;
}

size_t utf8_complete_prefix(const char *s, size_t n)
{
	/* Only the last three bytes can begin a code point that is cut off. */
	for (size_t back = 1; back <= 3 && back <= n; back++) {
		uint32_t cp;
		if (utf8_decode(s + n - back, back, &cp) == -1)
			return n - back;
	}
	return n;
}
