#include "scan.h"

#include "base/status.h"
#include "base/utf8.h"

#include <string.h>

#define MAX_DEPTH 128

/* What stands at s->at, in words, as the end of a message. */
static int unexpected(const struct scan *s, const char *expected)
{
	size_t byte = (size_t)(s->at - s->begin);
	if (s->at == s->end)
		FAIL(VB_EFORMAT, "not valid JSON: %s, byte %zu: expected %s, found the end", s->where, byte,
		     expected);
	unsigned char c = (unsigned char)*s->at;
	if (c < 0x20 || c >= 0x7f)
		FAIL(VB_EFORMAT, "not valid JSON: %s, byte %zu: expected %s, found byte 0x%02x", s->where,
		     byte, expected, c);
	FAIL(VB_EFORMAT, "not valid JSON: %s, byte %zu: expected %s, found '%c'", s->where, byte, expected,
	     c);
}

static void skip_space(struct scan *s)
{
	while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\t' || *s->at == '\r'))
		s->at++;
}

void scan_init(struct scan *s, const char *text, size_t len, const char *where)
{
	*s = (struct scan){ .begin = text, .at = text, .end = text + len, .where = where };
}

bool scan_take(struct scan *s, char c)
{
	skip_space(s);
	if (s->at == s->end || *s->at != c)
		return false;
	s->at++;
	return true;
}

int scan_expect(struct scan *s, char c)
{
	if (!scan_take(s, c))
		return unexpected(s, (char[]){ '\'', c, '\'', '\0' });
	return VB_OK;
}

int scan_end(struct scan *s)
{
	skip_space(s);
	return s->at == s->end ? VB_OK : unexpected(s, "the end");
}

static int hex4(struct scan *s, uint32_t *out)
{
	uint32_t v = 0;
	for (int i = 0; i < 4; i++, s->at++) {
		char c = s->at < s->end ? *s->at : '\0';
		if (c >= '0' && c <= '9')
			v = v * 16 + (uint32_t)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			v = v * 16 + (uint32_t)((c | 0x20) - 'a') + 10;
		else
			return unexpected(s, "four hexadecimal digits");
	}
	*out = v;
	return VB_OK;
}

/* Behind "\u". A pair of surrogates is one code point; half a pair, or NUL, is refused. */
static int unicode_escape(struct scan *s, uint32_t *out)
{
	uint32_t high = 0, low = 0;
	TRY(hex4(s, &high));
	if (high >= 0xd800 && high < 0xdc00) {
		if (s->end - s->at < 2 || s->at[0] != '\\' || s->at[1] != 'u')
			return unexpected(s, "the second half of a surrogate pair");
		s->at += 2;
		TRY(hex4(s, &low));
		if (low < 0xdc00 || low > 0xdfff)
			return unexpected(s, "the second half of a surrogate pair before this");
		high = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
	} else if (high >= 0xdc00 && high < 0xe000) {
		return unexpected(s, "no lone surrogate before this");
	} else if (high == 0) {
		return unexpected(s, "no NUL before this");
	}
	*out = high;
	return VB_OK;
}

/* Behind a backslash. Writes to dst where it is not NULL. */
static int escape(struct scan *s, char **dst)
{
	static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
	char c = s->at < s->end ? *s->at : '\0';
	const char *hit = c ? strchr(names, c) : NULL;
	if (hit) {
		s->at++;
		if (dst)
			*(*dst)++ = values[hit - names];
		return VB_OK;
	}
	if (c != 'u')
		return unexpected(s, "an escape such as \\n");
	s->at++;
	uint32_t code_point = 0;
	TRY(unicode_escape(s, &code_point));
	if (dst)
		*dst += utf8_write(code_point, *dst);
	return VB_OK;
}

static int string(struct scan *s, char **dst)
{
	TRY(scan_expect(s, '"'));
	for (;;) {
		const char *run = s->at;
		while (s->at < s->end && *s->at != '"' && *s->at != '\\' && (unsigned char)*s->at >= 0x20)
			s->at++;
		size_t n = (size_t)(s->at - run);
		if (!utf8_valid(run, n)) {
			s->at = run;
			return unexpected(s, "valid UTF-8 from here to the end of the string");
		}
		if (dst) {
			memcpy(*dst, run, n);
			*dst += n;
		}
		if (s->at == s->end || (unsigned char)*s->at < 0x20)
			return unexpected(s, "the rest of a string");
		if (*s->at++ == '"')
			break;
		TRY(escape(s, dst));
	}
	if (dst)
		*(*dst)++ = '\0';
	return VB_OK;
}

int scan_string(struct scan *s, char **dst, const char **out)
{
	*out = *dst;
	return string(s, dst);
}

static bool digit(const struct scan *s)
{
	return s->at < s->end && *s->at >= '0' && *s->at <= '9';
}

int scan_u64(struct scan *s, uint64_t *out)
{
	skip_space(s);
	if (!digit(s))
		return unexpected(s, "a non-negative integer");
	const char *first = s->at;
	uint64_t v = 0;
	for (; digit(s); s->at++)
		if (__builtin_mul_overflow(v, 10u, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*s->at - '0'), &v))
			return unexpected(s, "an integer below 2^64");
	if (*first == '0' && s->at - first > 1) {
		s->at = first;
		return unexpected(s, "an integer without leading zeros");
	}
	if (s->at < s->end && (*s->at == '.' || *s->at == 'e' || *s->at == 'E'))
		return unexpected(s, "an integer without fraction or exponent");
	*out = v;
	return VB_OK;
}

static int skip_digits(struct scan *s)
{
	if (!digit(s))
		return unexpected(s, "a digit");
	while (digit(s))
		s->at++;
	return VB_OK;
}

static int skip_number(struct scan *s)
{
	if (*s->at == '-')
		s->at++;
	if (s->at < s->end && *s->at == '0')
		s->at++;
	else
		TRY(skip_digits(s));
	if (s->at < s->end && *s->at == '.') {
		s->at++;
		TRY(skip_digits(s));
	}
	if (s->at < s->end && (*s->at == 'e' || *s->at == 'E')) {
		s->at++;
		if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
			s->at++;
		TRY(skip_digits(s));
	}
	return VB_OK;
}

/* A string, number or word: a value that holds no others. */
static int skip_leaf(struct scan *s)
{
	static const char *const words[] = { "true", "false", "null" };
	if (s->at < s->end && *s->at == '"')
		return string(s, NULL);
	if (s->at < s->end && (*s->at == '-' || digit(s)))
		return skip_number(s);
	for (int i = 0; i < 3; i++) {
		size_t n = strlen(words[i]);
		if ((size_t)(s->end - s->at) >= n && memcmp(s->at, words[i], n) == 0) {
			s->at += n;
			return VB_OK;
		}
	}
	return unexpected(s, "a value");
}

static int skip_key(struct scan *s)
{
	TRY(string(s, NULL));
	return scan_expect(s, ':');
}

int scan_skip(struct scan *s)
{
	char closer[MAX_DEPTH];
	int depth = 0;
	do {
		bool opened = scan_take(s, '{');
		if (opened || scan_take(s, '[')) {
			if (depth == MAX_DEPTH)
				return unexpected(s, "JSON nested at most 128 deep");
			closer[depth++] = opened ? '}' : ']';
			if (!scan_take(s, closer[depth - 1])) {
				if (opened)
					TRY(skip_key(s));
				continue;
			}
			depth--;
		} else {
			TRY(skip_leaf(s));
		}
		/* A value has ended: close what ends with it, or go on to the next one. */
		while (depth > 0 && scan_take(s, closer[depth - 1]))
			depth--;
		if (depth > 0) {
			TRY(scan_expect(s, ','));
			if (closer[depth - 1] == '}')
				TRY(skip_key(s));
		}
	} while (depth > 0);
	return VB_OK;
}
