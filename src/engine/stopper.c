#define _GNU_SOURCE
#include "engine_internal.h"

#include <string.h>

void stopper_init(struct stopper *s, const char *const *stop, size_t n_stop, size_t max_text)
{
	*s = (struct stopper){ .stop = stop, .n_stop = n_stop };
	buf_init(&s->pending, max_text);
}

void stopper_fini(struct stopper *s)
{
	buf_fini(&s->pending);
}

/* Length of the longest end of text[0..n) that begins `stop`, shorter than stop itself. */
static size_t overlap(const char *text, size_t n, const char *stop)
{
	size_t len = strlen(stop);
	size_t longest = n < len - 1 ? n : len - 1;
	for (size_t k = longest; k > 0; k--)
		if (memcmp(text + n - k, stop, k) == 0)
			return k;
	return 0;
}

/* The stop string that is complete first wins, the longest of those that end together: text that comes in other pieces
 * is then cut at the same place. */
size_t stopper_ready(struct stopper *s)
{
	const char *text = s->pending.data;
	size_t n = s->pending.len, begin = n, end = SIZE_MAX, held = 0;
	if (!n)
		return 0;
	for (size_t i = 0; i < s->n_stop; i++) {
		size_t len = strlen(s->stop[i]);
		const char *found = memmem(text, n, s->stop[i], len);
		if (found) {
			size_t at = (size_t)(found - text);
			if (at + len < end || (at + len == end && at < begin)) {
				begin = at;
				end = at + len;
			}
		} else {
			size_t k = overlap(text, n, s->stop[i]);
			if (k > held)
				held = k;
		}
	}
	s->stopped = end != SIZE_MAX;
	return s->stopped ? begin : n - held;
}

void stopper_drop(struct stopper *s, size_t n)
{
	if (!n)
		return;
	memmove(s->pending.data, s->pending.data + n, s->pending.len - n + 1);
	s->pending.len -= n;
}
