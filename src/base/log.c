#include "log.h"

#include <stdarg.h>
#include <stdio.h>

void log_line(const struct logger *l, enum log_level level, const char *fmt, ...)
{
	if (!l || !l->line || level > l->level)
		return;
	char text[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	l->line(l->user, level, text);
}
