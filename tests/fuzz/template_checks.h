/* What every rendering promises; for the two fuzz targets of chat templates. */
#ifndef FUZZ_TEMPLATE_CHECKS_H
#define FUZZ_TEMPLATE_CHECKS_H

#include "base/status.h"
#include "base/utf8.h"
#include "text/text.h"

#include <stdlib.h>
#include <string.h>

static void check(bool promise)
{
	if (!promise)
		abort();
}

/* A failed rendering leaves its outputs alone and says why; a text is UTF-8, with spans in order and within it. */
static void render_checked(const struct chat_template *t, const json_t *variables)
{
	struct buf out;
	struct text_spans spans = { 0 };
	buf_init(&out, (size_t)65 << 20);
	check(buf_puts(&out, "before") == VB_OK);
	int rc = chat_template_render(t, variables, 1750000000, &out, &spans);
	check(rc == VB_OK || rc == VB_EINVAL || rc == VB_ELIMIT || rc == VB_ENOMEM);
	check(memcmp(out.data, "before", 6) == 0);
	if (rc != VB_OK)
		check(out.len == 6 && spans.n == 0 && utf8_valid(vb_errmsg(), strlen(vb_errmsg())) && *vb_errmsg());
	check(utf8_valid(out.data, out.len));
	size_t done = 6;
	for (size_t i = 0; i < spans.n; i++) {
		check(spans.span[i].begin >= done && spans.span[i].begin < spans.span[i].end);
		check(i == 0 || spans.span[i].begin > done); /* neighbours are one span */
		done = spans.span[i].end;
	}
	check(done <= out.len);
	text_spans_fini(&spans);
	buf_fini(&out);
}

#endif
