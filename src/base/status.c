#include "status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Per thread, because a status belongs to the call that returned it and calls run concurrently. */
static _Thread_local char message[2048];

int status_fail(int code, const char *file, int line, const char *fmt, ...)
{
	(void)file;
	(void)line;
	/* Formatted aside first: an argument may be vb_errmsg() itself. */
	char text[sizeof message];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	memcpy(message, text, sizeof message);
	return code;
}

int status_prefix(int code, const char *fmt, ...)
{
	char text[sizeof message];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n + 3 > sizeof text)
		return code;
	char *end = text + n;
	*end++ = ':';
	*end++ = ' ';
	size_t room = (size_t)(text + sizeof text - end) - 1;
	size_t len = strlen(message);
	if (len > room)
		len = room;
	memcpy(end, message, len);
	end[len] = '\0';
	memcpy(message, text, sizeof message);
	return code;
}

_Noreturn void status_check_failed(const char *file, int line, const char *expr)
{
	fprintf(stderr, "verbatim: broken invariant: %s:%d: %s: please report it\n", file, line, expr);
	abort();
}

const char *vb_errmsg(void)
{
	return message;
}

const char *vb_status_name(int status)
{
	switch (status) {
#define NAME_CASE(name, number, meaning) \
	case number:                     \
		return #name;
		VB_STATUS_MAP(NAME_CASE)
#undef NAME_CASE
	default:
		return "VB_E?";
	}
}

const char *vb_status_meaning(int status)
{
	switch (status) {
#define MEANING_CASE(name, number, meaning) \
	case number:                        \
		return meaning;
		VB_STATUS_MAP(MEANING_CASE)
#undef MEANING_CASE
	default:
		return "unknown status";
	}
}
