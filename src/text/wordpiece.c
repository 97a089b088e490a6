/* wordpiece.c - WordPiece, the longest token first, and WordLevel, where a piece is a token or
 * unknown. */
#include "text_internal.h"

#include "base/mem.h"
#include "base/status.h"

struct wordpiece {
	const struct vocab *vocab;
	bool whole_words;
	struct trie first, rest; /* tokens at a word's start; tokens behind the prefix */
	size_t max_chars;
	char *unk_token; /* owned */
	int32_t unk_id;
};

static int build(struct trie *t, const struct vocab *v, const char *prefix, size_t prefix_len,
		 const char *where)
{
	struct trie_entry *e = mem_alloc(v->count * sizeof *e);
	if (!e)
		return VB_ENOMEM;
	size_t n_entries = 0;
	for (int32_t id = 0; (size_t)id < v->n_ids; id++) {
		size_t n;
		if (!vocab_has(v, id))
			continue;
		const char *s = vocab_text(v, id, &n);
		if (n > prefix_len && memcmp(s, prefix, prefix_len) == 0)
			e[n_entries++] = (struct trie_entry){ s + prefix_len,
							      (uint32_t)(n - prefix_len), id };
	}
	int rc = trie_build(t, e, n_entries, where);
	mem_free(e);
	return rc;
}

static int read_wordpiece(struct wordpiece *w, const json_t *o, const char *where)
{
	const char *s;
	size_t n;
	TRY(json_need_text(o, "unk_token", where, &s, &n));
	w->unk_token = mem_strndup(s, n);
	if (!w->unk_token)
		return VB_ENOMEM;
	w->unk_id = vocab_find(w->vocab, s, n);
	if (w->whole_words)
		return VB_OK;
	int64_t max;
	TRY(json_need_i64(o, "max_input_chars_per_word", where, 0, INT32_MAX, &max));
	w->max_chars = (size_t)max;
	TRY(json_need_text(o, "continuing_subword_prefix", where, &s, &n));
	TRY(build(&w->first, w->vocab, "", 0, where));
	return build(&w->rest, w->vocab, s, n, where);
}

int wordpiece_parse(struct wordpiece **out, const struct vocab *v, bool whole_words,
		    const json_t *o, const char *where)
{
	struct wordpiece *w = mem_calloc(1, sizeof *w);
	*out = w;
	if (!w)
		return VB_ENOMEM;
	w->vocab = v;
	w->whole_words = whole_words;
	int rc = read_wordpiece(w, o, where);
	if (rc)
		wordpiece_destroy(out);
	return rc;
}

void wordpiece_destroy(struct wordpiece **w)
{
	if (!*w)
		return;
	trie_fini(&(*w)->first);
	trie_fini(&(*w)->rest);
	mem_free((*w)->unk_token);
	mem_free(*w);
	*w = NULL;
}

static int push_unknown(const struct wordpiece *w, struct ids *out)
{
	if (w->unk_id < 0)
		FAIL(VB_EFORMAT,
		     "unknown word, and the unknown token \"%s\" is not in the vocabulary",
		     w->unk_token);
	return ids_push(out, w->unk_id);
}

/* The longest token at text[at..n) that ends with a character; -1: none. */
static int32_t longest(const struct trie *t, const char *text, size_t n, size_t *at)
{
	int32_t best = -1;
	uint32_t node = 0;
	size_t end = *at;
	for (size_t i = *at; i < n && (node = trie_step(t, node, (uint8_t)text[i])) != 0; i++) {
		if (t->value[node] >= 0) {
			best = t->value[node];
			end = i + 1;
		}
	}
	*at = end;
	return best;
}

int wordpiece_encode(const struct wordpiece *w, const char *text, size_t n, struct ids *out)
{
	if (w->whole_words) {
		int32_t id = vocab_find(w->vocab, text, n);
		return id >= 0 ? ids_push(out, id) : push_unknown(w, out);
	}
	size_t chars = 0;
	for (size_t i = 0; i < n; i += utf8_len(text[i]))
		chars++;
	if (chars > w->max_chars)
		return push_unknown(w, out);
	size_t before = out->n;
	for (size_t at = 0; at < n;) {
		int32_t id = longest(at ? &w->rest : &w->first, text, n, &at);
		if (id < 0) {
			out->n = before; /* one unknown part makes the whole word unknown */
			return push_unknown(w, out);
		}
		TRY(ids_push(out, id));
	}
	return VB_OK;
}
