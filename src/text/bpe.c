/* bpe.c - byte-pair encoding: of the pairs of neighbours in a word, the one of lowest rank is
 * merged, the leftmost of equals first, until none is left.
 *
 * DESIGN. Three things make that fast without changing a result.
 * 1. A word that is a token is that token, if merging its characters would give it back: computed
 * at load for every token (`whole`). In English text nine words of ten end here.
 * 2. Short words rescan their ranks after each merge; long ones keep a heap of pairs, so that a
 * text of one word is O(n log n). An entry of the heap is stale where the rank at its place has
 * changed since.
 * 3. Models without a pre-tokenizer see the whole text as one word. Where no token of the
 * vocabulary holds two characters side by side, no merge can cross between them, and the text is
 * cut there (`adjacent`, a set of pairs that may have strangers in it: they only cost speed). Both
 * characters must be in the vocabulary: runs of unknown ones are fused.
 *
 * Every merge makes a longer token (checked at load), so that a place never sees the same rank
 * twice for two pairs.
 */
#include "text_internal.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdio.h>

#define NO_RANK UINT32_MAX
/* Words up to this many symbols are merged by scanning. */
#define SCAN_MAX 24
#define ADJACENT_BITS 20

struct pair_slot {
	uint64_t key;  /* left << 32 | right */
	uint32_t rank; /* NO_RANK: empty */
};

struct bpe {
	const struct vocab *vocab;
	struct pair_slot *pair; /* owned */
	uint64_t pair_mask;
	uint32_t *merged;      /* owned; [n_merges] the token that the merge of that rank makes */
	uint8_t *whole;        /* owned; [n_ids] the token's text encodes to the token */
	uint8_t *adjacent;     /* owned; NULL: the text may not be cut */
	char *prefix, *suffix; /* owned; NULL: none */
	size_t prefix_len, suffix_len;
	char *unk_token; /* owned; NULL: none */
	int32_t unk_id;  /* -1: not in the vocabulary */
	bool fuse_unk, byte_fallback, ignore_merges;
	int32_t byte_token[256]; /* <0xNN> */
	int32_t ascii[128];      /* tokens of one ASCII character */
	/* Where the pieces are ByteLevel's and the vocabulary has all 256 bytes: */
	bool raw;
	struct vocab raw_vocab; /* the same ids by raw bytes */
	int32_t raw_byte[256];
};

static inline uint64_t pair_hash(uint64_t key)
{
	key *= UINT64_C(0x9e3779b97f4a7c15);
	return key ^ key >> 29;
}

/* The rank of merging two neighbours; NO_RANK: they do not merge. */
static inline uint32_t pair_rank(const struct bpe *b, uint32_t left, uint32_t right)
{
	uint64_t key = (uint64_t)left << 32 | right;
	for (uint64_t i = pair_hash(key) & b->pair_mask;; i = (i + 1) & b->pair_mask) {
		const struct pair_slot *s = &b->pair[i];
		if (s->key == key || s->rank == NO_RANK)
			return s->rank;
	}
}

/* ---- merging ---- */

/* Merges sym[0..n), in place; returns how many are left. */
static size_t merge_scan(const struct bpe *b, uint32_t *sym, size_t n)
{
	uint32_t rank[SCAN_MAX];
	for (size_t i = 0; i + 1 < n; i++)
		rank[i] = pair_rank(b, sym[i], sym[i + 1]);
	while (n > 1) {
		size_t best = 0;
		for (size_t i = 1; i + 1 < n; i++)
			if (rank[i] < rank[best])
				best = i;
		if (rank[best] == NO_RANK)
			break;
		sym[best] = b->merged[rank[best]];
		n--;
		for (size_t i = best + 1; i < n; i++) {
			sym[i] = sym[i + 1];
			rank[i - 1] = rank[i];
		}
		if (best)
			rank[best - 1] = pair_rank(b, sym[best - 1], sym[best]);
		if (best + 1 < n)
			rank[best] = pair_rank(b, sym[best], sym[best + 1]);
	}
	return n;
}

static void heap_sift_down(uint64_t *heap, size_t n, size_t i)
{
	uint64_t v = heap[i];
	for (size_t child; (child = 2 * i + 1) < n; i = child) {
		if (child + 1 < n && heap[child + 1] < heap[child])
			child++;
		if (heap[child] >= v)
			break;
		heap[i] = heap[child];
	}
	heap[i] = v;
}

static void heap_push(uint64_t *heap, size_t *n, uint64_t v)
{
	size_t i = (*n)++;
	for (; i && heap[(i - 1) / 2] > v; i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = v;
}

/* As merge_scan, with a heap of rank << 32 | place. word[] holds four arrays of n: symbols, next
 * and previous place, rank of the pair that begins at the place. */
static size_t merge_heap(const struct bpe *b, struct scratch *s, uint32_t *word, size_t n)
{
	uint32_t *sym = word, *next = word + n, *prev = word + 2 * n, *rank = word + 3 * n;
	uint64_t *heap = s->heap;
	size_t n_heap = 0;
	for (size_t i = 0; i < n; i++) {
		next[i] = (uint32_t)(i + 1);
		prev[i] = (uint32_t)(i - 1);
		rank[i] = i + 1 < n ? pair_rank(b, sym[i], sym[i + 1]) : NO_RANK;
		if (rank[i] != NO_RANK)
			heap[n_heap++] = (uint64_t)rank[i] << 32 | i;
	}
	for (size_t i = n_heap / 2; i-- > 0;)
		heap_sift_down(heap, n_heap, i);
	while (n_heap) {
		uint32_t at = (uint32_t)heap[0];
		uint32_t r = (uint32_t)(heap[0] >> 32);
		heap[0] = heap[--n_heap];
		if (n_heap)
			heap_sift_down(heap, n_heap, 0);
		if (rank[at] != r)
			continue; /* stale */
		uint32_t gone = next[at], after = next[gone];
		sym[at] = b->merged[r];
		rank[gone] = NO_RANK;
		next[at] = after;
		rank[at] = NO_RANK;
		if (after < n) {
			prev[after] = at;
			rank[at] = pair_rank(b, sym[at], sym[after]);
			if (rank[at] != NO_RANK)
				heap_push(heap, &n_heap, (uint64_t)rank[at] << 32 | at);
		}
		if (at) {
			uint32_t before = prev[at];
			rank[before] = pair_rank(b, sym[before], sym[at]);
			if (rank[before] != NO_RANK)
				heap_push(heap, &n_heap, (uint64_t)rank[before] << 32 | before);
		}
	}
	size_t left = 0;
	for (size_t i = 0; i < n; i = next[i])
		sym[left++] = sym[i];
	return left;
}

/* Merges the n symbols at the front of s->word and appends the ids. */
static int merge_word(const struct bpe *b, struct scratch *s, size_t n, struct ids *out)
{
	if (n <= SCAN_MAX) {
		n = merge_scan(b, s->word, n);
	} else {
		/* Each merge takes one entry from the heap and adds two at most: never more than
		 * 2n. */
		TRY(scratch_grow(&s->word, &s->word_capacity, 4 * n, sizeof *s->word));
		TRY(scratch_grow(&s->heap, &s->heap_capacity, 2 * n, sizeof *s->heap));
		n = merge_heap(b, s, s->word, n);
	}
	for (size_t i = 0; i < n; i++)
		TRY(ids_push(out, (int32_t)s->word[i]));
	return VB_OK;
}

/* ---- words into symbols ---- */

/* The token of one character with what the model puts around it at this place; -1: none. */
static int char_token(const struct bpe *b, const char *c, unsigned len, bool first, bool last,
		      int32_t *id)
{
	bool prefixed = b->prefix && !first, suffixed = b->suffix && last;
	if (!prefixed && !suffixed) {
		*id = len == 1 ? b->ascii[(uint8_t)*c] : vocab_find(b->vocab, c, len);
		return VB_OK;
	}
	struct buf full;
	buf_init(&full, TEXT_MAX_BYTES);
	int rc = prefixed ? buf_append(&full, b->prefix, b->prefix_len) : VB_OK;
	if (rc == VB_OK)
		rc = buf_append(&full, c, len);
	if (rc == VB_OK && suffixed)
		rc = buf_append(&full, b->suffix, b->suffix_len);
	if (rc == VB_OK)
		*id = vocab_find(b->vocab, full.data, full.len);
	buf_fini(&full);
	return rc;
}

/* Byte fallback works on the character as it is looked up: with prefix and suffix. */
static bool fallback(const struct bpe *b, const char *c, unsigned len, uint32_t *sym, size_t *n)
{
	for (unsigned i = 0; i < len; i++)
		if (b->byte_token[(uint8_t)c[i]] < 0)
			return false;
	for (unsigned i = 0; i < len; i++)
		sym[(*n)++] = (uint32_t)b->byte_token[(uint8_t)c[i]];
	return true;
}

static inline uint32_t adjacent_hash(uint32_t a, uint32_t b)
{
	uint64_t h = ((uint64_t)a << 32 | b) * UINT64_C(0x9e3779b97f4a7c15);
	return (uint32_t)(h >> (64 - ADJACENT_BITS));
}

static inline bool may_be_adjacent(const struct bpe *b, uint32_t left, uint32_t right)
{
	uint32_t h = adjacent_hash(left, right);
	return b->adjacent[h >> 3] >> (h & 7) & 1;
}

/* The part text[0..n), whose n_sym symbols are at the front of s->word. */
static int encode_part(const struct bpe *b, struct scratch *s, const char *text, size_t n,
		       size_t n_sym, struct ids *out)
{
	if (n_sym > 1 && b->whole) {
		int32_t id = vocab_find(b->vocab, text, n);
		if (id >= 0 && b->whole[id])
			return ids_push(out, id);
	}
	return merge_word(b, s, n_sym, out);
}

static int unknown(const struct bpe *b, bool *pending, uint32_t *sym, size_t *n)
{
	if (!b->unk_token)
		return VB_OK; /* such characters vanish, in the reference too */
	if (b->unk_id < 0)
		FAIL(VB_EFORMAT,
		     "unknown character, and the unknown token \"%s\" is not in the vocabulary",
		     b->unk_token);
	if (*pending && !b->fuse_unk)
		sym[(*n)++] = (uint32_t)b->unk_id;
	*pending = true;
	return VB_OK;
}

static int encode_chars(const struct bpe *b, struct scratch *s, const char *text, size_t n,
			struct ids *out)
{
	size_t part = 0, n_sym = 0;
	bool pending = false; /* an unknown token waits for the next known character */
	bool known_before = false;
	uint32_t cp_before = 0;
	for (size_t i = 0; i < n;) {
		uint32_t cp;
		unsigned len = utf8_at(text + i, &cp);
		int32_t id;
		TRY(char_token(b, text + i, len, i == 0, i + len == n, &id));
		if (id >= 0 && known_before && b->adjacent && !may_be_adjacent(b, cp_before, cp)) {
			TRY(encode_part(b, s, text + part, i - part, n_sym, out));
			part = i;
			n_sym = 0;
		}
		TRY(scratch_grow(&s->word, &s->word_capacity,
				 n_sym + 8 + b->prefix_len + b->suffix_len, sizeof *s->word));
		if (id >= 0) {
			if (pending)
				s->word[n_sym++] = (uint32_t)b->unk_id;
			pending = false;
			s->word[n_sym++] = (uint32_t)id;
		} else if (!b->byte_fallback || !fallback(b, text + i, len, s->word, &n_sym)) {
			TRY(unknown(b, &pending, s->word, &n_sym));
		}
		known_before = id >= 0;
		cp_before = cp;
		i += len;
	}
	TRY(scratch_grow(&s->word, &s->word_capacity, n_sym + 1, sizeof *s->word));
	if (pending)
		s->word[n_sym++] = (uint32_t)b->unk_id;
	return encode_part(b, s, text + part, n - part, n_sym, out);
}

static int encode_raw(const struct bpe *b, struct scratch *s, const char *text, size_t n,
		      struct ids *out)
{
	int32_t id = vocab_find(&b->raw_vocab, text, n);
	if (id >= 0 && (b->ignore_merges || (b->whole && b->whole[id])))
		return ids_push(out, id);
	TRY(scratch_grow(&s->word, &s->word_capacity, n, sizeof *s->word));
	for (size_t i = 0; i < n; i++)
		s->word[i] = (uint32_t)b->raw_byte[(uint8_t)text[i]];
	return merge_word(b, s, n, out);
}

int bpe_encode(const struct bpe *b, struct scratch *s, const char *text, size_t n, struct ids *out)
{
	if (b->raw)
		return encode_raw(b, s, text, n, out);
	if (b->ignore_merges) {
		int32_t id = vocab_find(b->vocab, text, n);
		if (id >= 0)
			return ids_push(out, id);
	}
	return encode_chars(b, s, text, n, out);
}

/* ---- loading ---- */

static void pair_put(struct bpe *b, uint32_t left, uint32_t right, uint32_t rank, int32_t id)
{
	uint64_t key = (uint64_t)left << 32 | right;
	uint64_t i = pair_hash(key) & b->pair_mask;
	while (b->pair[i].rank != NO_RANK && b->pair[i].key != key)
		i = (i + 1) & b->pair_mask;
	b->pair[i] = (struct pair_slot){ key, rank }; /* of equal merges the last counts */
	b->merged[rank] = (uint32_t)id;
}

/* A merge is "left right" or ["left", "right"]. */
static int merge_parts(const json_t *m, size_t rank, const char *where, const char **left,
		       size_t *n_left, const char **right, size_t *n_right)
{
	if (json_is_array(m) && json_array_size(m) == 2 && json_is_string(json_array_get(m, 0)) &&
	    json_is_string(json_array_get(m, 1))) {
		*left = json_string_value(json_array_get(m, 0));
		*n_left = json_string_length(json_array_get(m, 0));
		*right = json_string_value(json_array_get(m, 1));
		*n_right = json_string_length(json_array_get(m, 1));
		return VB_OK;
	}
	const char *text = json_string_value(m);
	const char *space = text ? memchr(text, ' ', json_string_length(m)) : NULL;
	if (!space || memchr(space + 1, ' ', json_string_length(m) - (size_t)(space + 1 - text)))
		FAIL(VB_EFORMAT,
		     "bad merge: %s: number %zu: expected \"left right\" or [\"left\", \"right\"]",
		     where, rank);
	*left = text;
	*n_left = (size_t)(space - text);
	*right = space + 1;
	*n_right = json_string_length(m) - *n_left - 1;
	return VB_OK;
}

static int put_merge(struct bpe *b, const json_t *m, uint32_t rank, struct buf *joined,
		     const char *where)
{
	const char *left = NULL, *right = NULL;
	size_t n_left = 0, n_right = 0;
	TRY(merge_parts(m, rank, where, &left, &n_left, &right, &n_right));
	if (n_left == 0 || n_right <= b->prefix_len)
		FAIL(VB_EFORMAT, "bad merge: %s: number %u: a part is empty", where, rank);
	int32_t l = vocab_find(b->vocab, left, n_left), r = vocab_find(b->vocab, right, n_right);
	if (l < 0 || r < 0)
		FAIL(VB_EFORMAT,
		     "merge of a token that is not in the vocabulary: %s: number %u: \"%.80s\"",
		     where, rank, l < 0 ? left : right);
	buf_clear(joined);
	TRY(buf_append(joined, left, n_left));
	TRY(buf_append(joined, right + b->prefix_len, n_right - b->prefix_len));
	int32_t id = vocab_find(b->vocab, joined->data, joined->len);
	if (id < 0)
		FAIL(VB_EFORMAT,
		     "merge makes a token that is not in the vocabulary: %s: number %u: \"%.80s\"",
		     where, rank, joined->data);
	pair_put(b, (uint32_t)l, (uint32_t)r, rank, id);
	return VB_OK;
}

static int read_merges(struct bpe *b, const json_t *o, const char *where)
{
	const json_t *merges = json_get(o, "merges");
	if (!json_is_array(merges))
		FAIL(VB_EFORMAT, "wrong type: %s: key \"merges\": expected an array, found %s",
		     where, json_kind(merges));
	size_t n = json_array_size(merges), slots = 16;
	if (n > UINT32_MAX / 4)
		FAIL(VB_ELIMIT, "too many merges: %s: %zu", where, n);
	while (slots < 2 * n)
		slots *= 2;
	b->pair_mask = slots - 1;
	b->pair = mem_alloc(slots * sizeof *b->pair);
	b->merged = mem_alloc((n + 1) * sizeof *b->merged);
	if (!b->pair || !b->merged)
		return VB_ENOMEM;
	for (size_t i = 0; i < slots; i++)
		b->pair[i] = (struct pair_slot){ UINT64_MAX, NO_RANK };
	struct buf joined;
	buf_init(&joined, TEXT_MAX_BYTES);
	int rc = VB_OK;
	size_t i, rank = 0;
	const json_t *m;
	json_array_foreach (merges, i, m) {
		/* A heading of the merges.txt of old. */
		if (json_is_string(m) && strncmp(json_string_value(m), "#version", 8) == 0)
			continue;
		rc = put_merge(b, m, (uint32_t)rank++, &joined, where);
		if (rc)
			break;
	}
	buf_fini(&joined);
	return rc;
}

static int optional_text(const json_t *o, const char *key, const char *where, char **out, size_t *n)
{
	const char *s;
	*out = NULL;
	*n = 0;
	TRY(json_get_str(o, key, where, NULL, &s));
	if (!s || !*s)
		return VB_OK;
	*n = strlen(s);
	*out = mem_strdup(s);
	return *out ? VB_OK : VB_ENOMEM;
}

static int read_options(struct bpe *b, const json_t *o, const char *where)
{
	double dropout;
	size_t n;
	TRY(json_get_f64(o, "dropout", where, 0, 1, 0, &dropout));
	if (dropout > 0)
		FAIL(VB_EUNSUPPORTED, "unsupported model: %s: BPE with dropout %g: set it to null",
		     where, dropout);
	TRY(optional_text(o, "continuing_subword_prefix", where, &b->prefix, &b->prefix_len));
	TRY(optional_text(o, "end_of_word_suffix", where, &b->suffix, &b->suffix_len));
	TRY(optional_text(o, "unk_token", where, &b->unk_token, &n));
	b->unk_id = b->unk_token ? vocab_find(b->vocab, b->unk_token, n) : -1;
	TRY(json_get_bool(o, "fuse_unk", where, false, &b->fuse_unk));
	TRY(json_get_bool(o, "byte_fallback", where, false, &b->byte_fallback));
	TRY(json_get_bool(o, "ignore_merges", where, false, &b->ignore_merges));
	if (b->byte_fallback && (b->prefix || b->suffix))
		FAIL(VB_EUNSUPPORTED,
		     "unsupported model: %s: BPE with byte_fallback and a subword prefix or suffix",
		     where);
	for (int i = 0; i < 256; i++) {
		char token[8];
		snprintf(token, sizeof token, "<0x%02X>", i);
		b->byte_token[i] = vocab_find(b->vocab, token, 6);
		if (i < 128) {
			char c = (char)i;
			b->ascii[i] = vocab_find(b->vocab, &c, 1);
		}
	}
	return VB_OK;
}

int bpe_parse(struct bpe **out, const struct vocab *v, const json_t *o, const char *where)
{
	struct bpe *b = mem_calloc(1, sizeof *b);
	if (!b)
		return VB_ENOMEM;
	b->vocab = v;
	int rc = read_options(b, o, where);
	if (rc == VB_OK)
		rc = read_merges(b, o, where);
	if (rc)
		bpe_destroy(&b);
	*out = b;
	return rc;
}

void bpe_destroy(struct bpe **pb)
{
	struct bpe *b = *pb;
	if (!b)
		return;
	mem_free(b->pair);
	mem_free(b->merged);
	mem_free(b->whole);
	mem_free(b->adjacent);
	mem_free(b->prefix);
	mem_free(b->suffix);
	mem_free(b->unk_token);
	vocab_fini(&b->raw_vocab);
	mem_free(b);
	*pb = NULL;
}

/* Whether a symbol that does not stand for its own text takes part in merges. Then nothing may be
 * cut. */
static bool merges_strangers(const struct bpe *b)
{
	for (uint64_t i = 0; i <= b->pair_mask; i++) {
		if (b->pair[i].rank == NO_RANK)
			continue;
		int32_t part[2] = { (int32_t)(b->pair[i].key >> 32), (int32_t)b->pair[i].key };
		for (int k = 0; k < 2; k++) {
			size_t n;
			const char *s = vocab_text(b->vocab, part[k], &n);
			if (part[k] == b->unk_id ||
			    (b->byte_fallback && byte_token_value(s, n) >= 0))
				return true;
		}
	}
	return false;
}

static int find_adjacent(struct bpe *b)
{
	b->adjacent = mem_calloc((size_t)1 << (ADJACENT_BITS - 3), 1);
	if (!b->adjacent)
		return VB_ENOMEM;
	for (int32_t id = 0; (size_t)id < b->vocab->n_ids; id++) {
		if (!vocab_has(b->vocab, id))
			continue;
		size_t n;
		const char *s = vocab_text(b->vocab, id, &n);
		uint32_t before = 0, cp;
		for (size_t i = 0; i < n; before = cp) {
			bool first = i == 0;
			i += utf8_at(s + i, &cp);
			uint32_t h = adjacent_hash(before, cp);
			if (!first)
				b->adjacent[h >> 3] |= (uint8_t)(1u << (h & 7));
		}
	}
	return VB_OK;
}

/* The vocabulary by raw bytes; raw stays false where it lacks a byte. */
static int make_raw(struct bpe *b)
{
	for (int i = 0; i < 256; i++) {
		struct buf c;
		buf_init(&c, 8);
		TRY(buf_put_cp(&c, byte_level_char((uint8_t)i)));
		b->raw_byte[i] = vocab_find(b->vocab, c.data, c.len);
		buf_fini(&c);
		if (b->raw_byte[i] < 0)
			return VB_OK;
	}
	TRY(vocab_init(&b->raw_vocab, b->vocab->n_ids, b->vocab->count, b->vocab->pool_len));
	struct buf bytes;
	buf_init(&bytes, TEXT_MAX_BYTES);
	int rc = VB_OK;
	for (int32_t id = 0; rc == VB_OK && (size_t)id < b->vocab->n_ids; id++) {
		size_t n;
		if (!vocab_has(b->vocab, id))
			continue;
		const char *s = vocab_text(b->vocab, id, &n);
		buf_clear(&bytes);
		if (byte_level_undo(s, n, &bytes, &rc) && bytes.len)
			rc = vocab_add(&b->raw_vocab, id, bytes.data, bytes.len,
				       "byte-level vocabulary");
	}
	buf_fini(&bytes);
	b->raw = rc == VB_OK;
	return rc;
}

static int find_whole(struct bpe *b)
{
	int rc = VB_OK;
	struct scratch s;
	struct ids got = { 0 };
	const struct vocab *v = b->raw ? &b->raw_vocab : b->vocab;
	uint8_t *whole = mem_calloc(b->vocab->n_ids, 1);
	bool ignore_merges = b->ignore_merges;
	scratch_init(&s);
	if (!whole)
		FAIL_TO(out, VB_ENOMEM, "out of memory: tokens of the vocabulary");
	b->ignore_merges = false;
	for (int32_t id = 0; (size_t)id < v->n_ids; id++) {
		size_t n;
		if (!vocab_has(v, id))
			continue;
		const char *text = vocab_text(v, id, &n);
		if (n == 0)
			continue;
		got.n = 0;
		int status = bpe_encode(b, &s, text, n, &got);
		if (status == VB_ENOMEM)
			TRY_TO(out, status);
		whole[id] = status == VB_OK && got.n == 1 && got.id[0] == id;
	}
	b->whole = whole;
	whole = NULL;
out:
	b->ignore_merges = ignore_merges;
	mem_free(whole);
	scratch_fini(&s);
	ids_fini(&got);
	return rc;
}

int bpe_prepare(struct bpe *b, bool byte_level, bool *takes_bytes)
{
	if (byte_level && !b->prefix && !b->suffix)
		TRY(make_raw(b));
	*takes_bytes = b->raw;
	if (!b->raw && !b->prefix && !b->suffix && !merges_strangers(b))
		TRY(find_adjacent(b));
	return find_whole(b);
}
