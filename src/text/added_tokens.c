/* added_tokens.c - tokens that are cut out of the text before anything else sees it.
 *
 * Of the tokens that begin at a place the longest wins; tokens that are to be found in normalised
 * text are sought after normalisation, by their normalised content. The search walks a trie from
 * every place where some token's first byte stands.
 */
#include "text_internal.h"

#include "base/mem.h"
#include "base/status.h"

#define MAX_ADDED ((size_t)1 << 20)
/* Bounds the work of the search, which is the text's length times this at worst. Published ones
 * have 40. */
#define MAX_CONTENT_BYTES 1024

#define RUST_WORD_CHAR "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}]"

int added_token_parse(const json_t *o, const char *where, struct added_token *out)
{
	const char *s;
	*out = (struct added_token){ .id = -1 };
	if (!json_is_object(o))
		FAIL(VB_EFORMAT, "wrong type: %s: an added token: expected an object, found %s",
		     where, json_kind(o));
	TRY(json_need_text(o, "content", where, &s, &out->len));
	if (out->len > MAX_CONTENT_BYTES)
		FAIL(VB_EUNSUPPORTED, "added token too long: %s: %zu bytes, at most %d are taken",
		     where, out->len, MAX_CONTENT_BYTES);
	out->content = (char *)s; /* borrowed; added_tokens_put copies it */
	TRY(json_get_bool(o, "special", where, false, &out->special));
	TRY(json_get_bool(o, "single_word", where, false, &out->single_word));
	TRY(json_get_bool(o, "lstrip", where, false, &out->lstrip));
	TRY(json_get_bool(o, "rstrip", where, false, &out->rstrip));
	return json_get_bool(o, "normalized", where, !out->special, &out->normalized);
}

/* The id of a token that is not there yet: the vocabulary's where it has the content, else the
 * declared one. */
static int choose_id(const struct added_tokens *a, const struct vocab *v, struct added_token *token,
		     const char *where)
{
	int32_t known = vocab_find(v, token->content, token->len);
	if (known >= 0) {
		token->id = known;
		return VB_OK;
	}
	if (token->id < 0)
		FAIL(VB_EFORMAT,
		     "added token without an id: %s: \"%.80s\" is not in the vocabulary", where,
		     token->content);
	if (vocab_has(v, token->id) || ((size_t)token->id < a->n_taken && a->taken[token->id]))
		FAIL(VB_EFORMAT, "two tokens have one id: %s: added token \"%.80s\" has id %d",
		     where, token->content, token->id);
	return VB_OK;
}

/* The slot of a content: that which holds it, else the empty one where it would go. */
static size_t find_slot(const struct added_tokens *a, const char *s, size_t n)
{
	size_t i = hash_bytes(s, n) & (a->n_slots - 1);
	for (; a->slot[i] >= 0; i = (i + 1) & (a->n_slots - 1)) {
		const struct added_token *t = &a->token[a->slot[i]];
		if (t->len == n && memcmp(t->content, s, n) == 0)
			break;
	}
	return i;
}

/* Room for one more: the table stays at most half full. */
static int grow(struct added_tokens *a)
{
	TRY(scratch_grow(&a->token, &a->capacity, a->n + 1, sizeof *a->token));
	if (2 * (a->n + 1) <= a->n_slots)
		return VB_OK;
	size_t n_slots = a->n_slots ? 2 * a->n_slots : 64;
	int32_t *slot = mem_alloc(n_slots * sizeof *slot);
	if (!slot)
		return VB_ENOMEM;
	memset(slot, 0xff, n_slots * sizeof *slot);
	mem_free(a->slot);
	a->slot = slot;
	a->n_slots = n_slots;
	for (size_t i = 0; i < a->n; i++)
		a->slot[find_slot(a, a->token[i].content, a->token[i].len)] = (int32_t)i;
	return VB_OK;
}

static int take_id(struct added_tokens *a, int32_t id)
{
	size_t old = a->n_taken;
	TRY(scratch_grow(&a->taken, &a->n_taken, (size_t)id + 1, sizeof *a->taken));
	memset(a->taken + old, 0, (a->n_taken - old) * sizeof *a->taken);
	a->taken[id] = true;
	return VB_OK;
}

int added_tokens_put(struct added_tokens *a, const struct vocab *v, const struct added_token *given,
		     const char *where)
{
	struct added_token token = *given;
	if (token.len == 0)
		return VB_OK; /* as the reference */
	TRY(grow(a));
	size_t slot = find_slot(a, token.content, token.len);
	if (a->slot[slot] >= 0) {
		struct added_token *old = &a->token[a->slot[slot]];
		token.id = old->id;
		token.content = old->content;
		*old = token;
		return VB_OK;
	}
	if (a->n == MAX_ADDED)
		FAIL(VB_ELIMIT, "too many added tokens: %s: over %zu", where, MAX_ADDED);
	TRY(choose_id(a, v, &token, where));
	TRY(take_id(a, token.id));
	token.content = mem_strndup(token.content, token.len);
	if (!token.content)
		return VB_ENOMEM;
	a->slot[slot] = (int32_t)a->n;
	a->token[a->n++] = token;
	return VB_OK;
}

const struct added_token *added_tokens_find(const struct added_tokens *a, const char *s, size_t n)
{
	if (!a->n_slots)
		return NULL;
	int32_t i = a->slot[find_slot(a, s, n)];
	return i < 0 ? NULL : &a->token[i];
}

static int normalize_content(struct added_token *t, const struct normalizer *nz, struct scratch *s,
			     const char *where)
{
	const char *normal;
	size_t n;
	uint32_t zero = 0;
	TRY(normalizer_apply(nz, s, t->content, t->len, &normal, &n, &zero));
	if (n == 0)
		FAIL(VB_EFORMAT, "added token vanishes in normalisation: %s: \"%.80s\"", where,
		     t->content);
	if (n == t->len && memcmp(normal, t->content, n) == 0)
		return VB_OK;
	t->normal = mem_strndup(normal, n);
	t->normal_len = n;
	return t->normal ? VB_OK : VB_ENOMEM;
}

static int build(struct added_tokens *a, struct scratch *s, struct trie_entry *e,
		 const struct normalizer *nz, const char *where)
{
	for (size_t i = 0; i < a->n; i++)
		if (a->token[i].normalized && nz)
			TRY(normalize_content(&a->token[i], nz, s, where));
	for (int pass = 0; pass < 2; pass++) {
		bool normalized = pass == 1, *first = normalized ? a->normal_first : a->raw_first;
		size_t n = 0;
		for (size_t i = 0; i < a->n; i++) {
			const struct added_token *t = &a->token[i];
			if (t->normalized != normalized)
				continue;
			e[n] = (struct trie_entry){ t->content, (uint32_t)t->len, (int32_t)i };
			if (t->normal)
				e[n] = (struct trie_entry){ t->normal, (uint32_t)t->normal_len,
							    (int32_t)i };
			first[(uint8_t)e[n++].s[0]] = true;
		}
		*(normalized ? &a->n_normal : &a->n_raw) = n;
		TRY(trie_build(normalized ? &a->normal : &a->raw, e, n, where));
	}
	return regex_compile_own(&a->word, RUST_WORD_CHAR);
}

int added_tokens_build(struct added_tokens *a, const struct normalizer *nz, const char *where)
{
	struct scratch s;
	scratch_init(&s);
	struct trie_entry *e = mem_alloc((a->n + 1) * sizeof *e);
	int rc = e ? build(a, &s, e, nz, where) : VB_ENOMEM;
	mem_free(e);
	scratch_fini(&s);
	return rc;
}

void added_tokens_fini(struct added_tokens *a)
{
	for (size_t i = 0; i < a->n; i++) {
		mem_free(a->token[i].content);
		mem_free(a->token[i].normal);
	}
	mem_free(a->token);
	mem_free(a->slot);
	mem_free(a->taken);
	trie_fini(&a->raw);
	trie_fini(&a->normal);
	regex_destroy(&a->word);
	memset(a, 0, sizeof *a);
}

/* ---- search ---- */

/* The longest token at text[at..n): *end; NULL: none. */
static const struct added_token *longest(const struct added_tokens *a, const struct trie *t,
					 const char *text, size_t n, size_t at, size_t *end)
{
	int32_t best = -1;
	uint32_t node = 0;
	for (size_t i = at; i < n && (node = trie_step(t, node, (uint8_t)text[i])) != 0; i++) {
		if (t->value[node] >= 0) {
			best = t->value[node];
			*end = i + 1;
		}
	}
	return best < 0 ? NULL : &a->token[best];
}

/* Whether a word goes on across one of the borders of text[begin..end). */
static int inside_word(const struct added_tokens *a, struct scratch *s, const char *text, size_t n,
		       size_t begin, size_t end, bool *inside)
{
	size_t b, e;
	*inside = false;
	if (begin) {
		size_t last = utf8_last(text, begin);
		TRY(regex_search(a->word, s, text + last, begin - last, 0, inside, &b, &e));
	}
	if (!*inside && end < n)
		TRY(regex_search(a->word, s, text + end, utf8_len(text[end]), 0, inside, &b, &e));
	return VB_OK;
}

static size_t space_before(const char *text, size_t at)
{
	while (at) {
		uint32_t cp;
		size_t last = utf8_last(text, at);
		utf8_at(text + last, &cp);
		if (!is_space(cp))
			break;
		at = last;
	}
	return at;
}

static size_t space_after(const char *text, size_t n, size_t at)
{
	while (at < n) {
		uint32_t cp;
		unsigned len = utf8_at(text + at, &cp);
		if (!is_space(cp))
			break;
		at += len;
	}
	return at;
}

int added_tokens_split(const struct added_tokens *a, struct scratch *s, bool normalized,
		       bool parse_special, const char *text, size_t n, added_part_fn *fn,
		       void *context)
{
	const struct trie *t = normalized ? &a->normal : &a->raw;
	const bool *first = normalized ? a->normal_first : a->raw_first;
	if ((normalized ? a->n_normal : a->n_raw) == 0)
		return n ? fn(context, NULL, text, 0, n) : VB_OK;
	size_t done = 0, next = 0; /* text given out; where the search goes on */
	while (next < n) {
		if (!first[(uint8_t)text[next]]) {
			next++;
			continue;
		}
		size_t begin = next, end = next;
		const struct added_token *token = longest(a, t, text, n, begin, &end);
		if (!token) {
			next++;
			continue;
		}
		/* Also where the token is passed over: what is inside it is not sought. */
		next = end;
		bool inside = false;
		if (token->special && !parse_special)
			continue;
		if (token->single_word)
			TRY(inside_word(a, s, text, n, begin, end, &inside));
		if (inside)
			continue;
		if (token->lstrip) {
			begin = space_before(text, begin);
			begin = begin > done ? begin : done;
		}
		if (token->rstrip)
			end = space_after(text, n, end);
		if (done < begin)
			TRY(fn(context, NULL, text, done, begin));
		if (begin < end)
			TRY(fn(context, token, text, begin, end));
		done = end;
	}
	return done < n ? fn(context, NULL, text, done, n) : VB_OK;
}
