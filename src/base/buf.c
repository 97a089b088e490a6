#include "buf.h"

#include "mem.h"
#include "status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){ .max = max };
}

void buf_fini(struct buf *b)
{
	mem_free(b->data);
	*b = (struct buf){ .max = b->max };
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	if (b->data)
		b->data[0] = '\0';
}

int buf_reserve(struct buf *b, size_t len)
{
	if (len > b->max)
		FAIL(VB_ELIMIT, "text too long: %zu bytes: the limit here is %zu", len, b->max);
	if (len < b->capacity)
		return VB_OK;
	size_t capacity = b->capacity ? b->capacity : 64;
	while (capacity <= len)
		capacity *= 2;
	char *data = mem_realloc(b->data, capacity, 1);
	if (!data)
		return VB_ENOMEM;
	b->data = data;
	b->capacity = capacity;
	return VB_OK;
}

int buf_append(struct buf *b, const void *bytes, size_t n)
{
	if (n > b->max - b->len)
		FAIL(VB_ELIMIT, "text too long: over %zu bytes: the limit here", b->max);
	TRY(buf_reserve(b, b->len + n));
	if (n)
		memcpy(b->data + b->len, bytes, n);
	b->len += n;
	b->data[b->len] = '\0';
	return VB_OK;
}

int buf_puts(struct buf *b, const char *s)
{
	return buf_append(b, s, strlen(s));
}

int buf_putc(struct buf *b, char c)
{
	return buf_append(b, &c, 1);
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	CHECK(n >= 0);
	if ((size_t)n > b->max - b->len)
		FAIL(VB_ELIMIT, "text too long: over %zu bytes: the limit here", b->max);
	TRY(buf_reserve(b, b->len + (size_t)n));
	va_start(ap, fmt);
	vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
	return VB_OK;
}

char *buf_detach(struct buf *b)
{
	if (!b->data && buf_append(b, "", 0) != VB_OK)
		return NULL;
	char *data = b->data;
	*b = (struct buf){ .max = b->max };
	return data;
}
