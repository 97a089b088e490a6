/* A pattern, a NUL, a text: what compiles must find matches in order, at borders of characters,
 * within the text. */
#include "base/status.h"
#include "base/utf8.h"
#include "text/text_internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool promise)
{
	if (!promise)
		abort();
}

static bool at_border(const char *text, size_t n, size_t at)
{
	return at == n || ((unsigned char)text[at] & 0xc0) != 0x80;
}

static void search(const struct regex *r, const char *text, size_t n)
{
	struct scratch s;
	struct regex_iter it = { 0, SIZE_MAX };
	size_t last = 0, begin, end;
	bool found;
	scratch_init(&s);
	for (size_t count = 0;; count++) {
		check(count <= 2 * n + 2);
		int rc = regex_next(r, &s, text, n, &it, &found, &begin, &end);
		check(rc == VB_OK || rc == VB_ELIMIT);
		if (rc || !found)
			break;
		check(last <= begin && begin <= end && end <= n);
		check(at_border(text, n, begin) && at_border(text, n, end));
		last = end;
	}
	scratch_fini(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *pattern = (const char *)data;
	const char *nul = memchr(data, 0, size);
	size_t n = nul ? (size_t)(nul - pattern) : size;
	const char *text = nul ? nul + 1 : "a1 \n\xc3\xa9";
	size_t n_text = nul ? size - n - 1 : 6;
	struct regex *r = NULL;
	if (size > 2048 || !utf8_valid(text, n_text))
		return 0;
	if (regex_compile(&r, pattern, n, "fuzz") != VB_OK) {
		check(r == NULL && *vb_errmsg());
		return 0;
	}
	search(r, text, n_text);
	regex_destroy(&r);
	return 0;
}
