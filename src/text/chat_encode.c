/* chat_encode.c - from a conversation to ids.
 *
 * DESIGN. The rendered text is encoded as a whole, so that its ids are those of the plain text: cutting it at every
 * border between the template's words and the caller's would keep pieces of both from being merged. What must not
 * happen is that a special token is recognised where some of its bytes came from the caller. Such places are found
 * first; there are none in honest conversations. Each of them is encoded by itself without special tokens, and what
 * is between them with. A control token of the template is never given up for it: where such a place runs into one,
 * it ends before it.
 */
#include "text_internal.h"

#include "base/mem.h"
#include "base/status.h"

/* The render's own limit; the tokeniser's is above it. */
#define MAX_TEXT_BYTES ((size_t)64 << 20)

static bool overlaps(const struct text_spans *spans, size_t begin, size_t end)
{
	size_t lo = 0, hi = spans->n;
	while (lo < hi) { /* the first span that ends behind `begin` */
		size_t mid = lo + (hi - lo) / 2;
		if (spans->span[mid].end > begin)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo < spans->n && spans->span[lo].begin < end;
}

/* The longest special tokens that begin at a place: their ends, or 0. */
struct control {
	size_t forged; /* one that holds bytes of the caller */
	size_t own;    /* one that is the template's alone */
};

static void match_at(const struct added_tokens *a, const struct trie *t, const struct buf *text, size_t at,
		     const struct text_spans *spans, struct control *m)
{
	uint32_t node = 0;
	for (size_t i = at; i < text->len && (node = trie_step(t, node, (uint8_t)text->data[i])) != 0; i++) {
		if (t->value[node] < 0 || !a->token[t->value[node]].special)
			continue;
		size_t *end = overlaps(spans, at, i + 1) ? &m->forged : &m->own;
		*end = i + 1 > *end ? i + 1 : *end;
	}
}

/* Appends to *out the places that must be encoded as plain text. */
static int find_forged(const struct added_tokens *a, const struct buf *text, const struct text_spans *spans,
		       struct text_spans *out)
{
	size_t begin = 0, end = 0; /* the place being gathered */
	for (size_t i = 0; i <= text->len; i++) {
		struct control m = { 0 };
		bool last = i == text->len;
		uint8_t c = last ? 0 : (uint8_t)text->data[i];
		if (!last && a->n_raw && a->raw_first[c])
			match_at(a, &a->raw, text, i, spans, &m);
		if (!last && a->n_normal && a->normal_first[c])
			match_at(a, &a->normal, text, i, spans, &m);
		if (m.own && end > i)
			end = i;
		if (end > begin && (i >= end || last)) {
			TRY(scratch_grow(&out->span, &out->capacity, out->n + 1, sizeof *out->span));
			out->span[out->n++] = (struct text_span){ begin, end };
			begin = end = 0;
		}
		if (m.forged > m.own) {
			begin = end > begin ? begin : m.own ? m.own : i;
			end = m.forged > end ? m.forged : end;
		}
	}
	return VB_OK;
}

static int encode(const struct tokenizer *t, const struct buf *text, const struct text_spans *spans, struct ids *out)
{
	struct text_spans forged = { 0 };
	size_t done = 0;
	int rc;
	TRY_TO(out, find_forged(&t->added, text, spans, &forged));
	for (size_t i = 0; i < forged.n; i++) {
		size_t begin = forged.span[i].begin, end = forged.span[i].end;
		TRY_TO(out, tokenizer_encode(t, text->data + done, begin - done, TOKENIZE_PARSE_SPECIAL, out));
		TRY_TO(out, tokenizer_encode(t, text->data + begin, end - begin, 0, out));
		done = end;
	}
	if (done < text->len)
		TRY_TO(out, tokenizer_encode(t, text->data + done, text->len - done, TOKENIZE_PARSE_SPECIAL, out));
out:
	text_spans_fini(&forged);
	return rc;
}

int chat_encode(const struct tokenizer *t, const struct chat_template *tmpl, const json_t *variables, int64_t now,
		struct ids *out)
{
	struct buf text;
	struct text_spans spans = { 0 };
	buf_init(&text, MAX_TEXT_BYTES + 1);
	int rc = chat_template_render(tmpl, variables, now, &text, &spans);
	if (rc == VB_OK)
		rc = encode(t, &text, &spans, out);
	text_spans_fini(&spans);
	buf_fini(&text);
	return rc;
}
