/* text_internal.h - what the files of the tokeniser share. Not included outside src/text.
 *
 * DESIGN. A text goes through five steps, each in a file of its own:
 *   added_tokens.c   cuts added tokens out of the raw text, and again out of the normalised text
 *   normalizer.c     rewrites what is between them
 *   pretokenizer.c   cuts that into pieces; the model never merges across a cut
 *   bpe.c, unigram.c, wordpiece.c   turn one piece into ids
 *   postprocess.c    puts BOS, EOS and the like around the ids
 * and back through decoder.c, whose stages are transducers: whole decoding and streaming are one
 * code.
 *
 * INVARIANTS. 1. All text between the steps is valid UTF-8. 2. A tokenizer does not change after
 * its creation; what an encoding needs besides is in its struct scratch. 3. Positions fit 32 bits:
 * texts are shorter than 2 GiB.
 */
#ifndef TEXT_TEXT_INTERNAL_H
#define TEXT_TEXT_INTERNAL_H

#include "text/text.h"

#include "base/buf.h"
#include "base/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TEXT_MAX_BYTES ((size_t)INT32_MAX)

/* ---- strings and ids (vocab.c) ---- */

struct span32 {
	uint32_t off, len;
};

struct vocab_slot {
	uint32_t hash;
	int32_t id; /* -1: empty */
};

/* A two-way map between strings and ids. Strings are unique, ids too; both may be sparse. */
struct vocab {
	char *pool; /* owned; every string is followed by a NUL */
	size_t pool_len, pool_capacity;
	struct span32 *span; /* owned; [n_ids]; off == UINT32_MAX where the id has no string */
	size_t n_ids;
	struct vocab_slot *slot; /* owned; open addressing, at most half full */
	uint32_t mask;
	size_t count;
};

/* Room for ids 0..n_ids-1, n_strings strings, pool_bytes bytes of them without NULs. */
int vocab_init(struct vocab *v, size_t n_ids, size_t n_strings, size_t pool_bytes);
void vocab_fini(struct vocab *v);
/* VB_EFORMAT where the id or the string is there already. Within the room given to vocab_init. */
int vocab_add(struct vocab *v, int32_t id, const char *s, size_t n, const char *where);
/* -1 where there is none. */
int32_t vocab_find(const struct vocab *v, const char *s, size_t n);

static inline bool vocab_has(const struct vocab *v, int32_t id)
{
	return id >= 0 && (size_t)id < v->n_ids && v->span[id].off != UINT32_MAX;
}

static inline const char *vocab_text(const struct vocab *v, int32_t id, size_t *n)
{
	*n = v->span[id].len;
	return v->pool + v->span[id].off;
}

uint32_t hash_bytes(const char *s, size_t n);

/* An id from a JSON value: VB_EFORMAT unless it is an integer in 0..limit-1. */
int json_id(const json_t *value, size_t limit, const char *what, const char *where, int32_t *out);
/* Reads the object "vocab" of `model` (token -> id). */
int vocab_from_object(struct vocab *v, const json_t *model, const char *where);

/* The name in "type"; VB_EFORMAT where it is missing. Borrowed from o. */
int json_component(const json_t *o, const char *what, const char *where, const char **out);
/* A string that must be there, with its length. */
int json_need_text(const json_t *o, const char *key, const char *where, const char **s, size_t *n);

/* ---- a byte trie (trie.c) ---- */

struct trie_entry {
	const char *s; /* borrowed during the build */
	uint32_t n;
	int32_t value; /* >= 0 */
};

/* Children of a node stand side by side, in ascending order of their byte. */
struct trie {
	uint32_t *first; /* owned; [n_nodes] first child */
	uint16_t *n_children;
	uint8_t *byte;  /* the byte that leads to the node */
	int32_t *value; /* -1: no entry ends here */
	uint32_t n_nodes;
	uint32_t root[256]; /* children of the root by byte; 0: none */
};

/* Sorts `entries`. Of entries with equal strings one is kept if all have the same value, else
 * VB_EFORMAT. */
int trie_build(struct trie *t, struct trie_entry *entries, size_t n, const char *where);
void trie_fini(struct trie *t);

/* The child of `node` (0: the root) by `byte`; 0 where there is none. */
static inline uint32_t trie_step(const struct trie *t, uint32_t node, uint8_t byte)
{
	if (node == 0)
		return t->root[byte];
	uint32_t lo = t->first[node], hi = lo + t->n_children[node];
	while (hi - lo > 8) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (t->byte[mid] <= byte)
			lo = mid;
		else
			hi = mid;
	}
	for (; lo < hi; lo++)
		if (t->byte[lo] == byte)
			return lo;
	return 0;
}

/* ---- regular expressions (regex.c) ---- */

struct scratch;
struct regex;

/* `pattern` as Oniguruma's Ruby syntax means it, which is what a tokenizer.json holds.
 * VB_EUNSUPPORTED names the pattern and what in it is not supported. */
int regex_compile(struct regex **out, const char *pattern, size_t n, const char *where);
/* The PCRE2 pattern that stands for an Oniguruma pattern. */
int regex_translate(const char *pattern, size_t n, const char *where, struct buf *out);
/* A pattern of our own, in PCRE2's syntax. */
int regex_compile_own(struct regex **out, const char *pattern);
void regex_destroy(struct regex **r);
/* Grants s the work of matching over a text of n bytes. */
void regex_grant(struct scratch *s, size_t n);
/* The first match at or after `start`: *found, *begin, *end. Fails with VB_ELIMIT where the match
 * takes too long. */
int regex_search(const struct regex *r, struct scratch *s, const char *text, size_t n, size_t start,
		 bool *found, size_t *begin, size_t *end);

/* Iterates over all matches as Oniguruma's users do: an empty match directly after a match is
 * skipped. */
struct regex_iter {
	size_t at;       /* where the next search starts */
	size_t last_end; /* end of the match before; SIZE_MAX: none yet */
};
int regex_next(const struct regex *r, struct scratch *s, const char *text, size_t n,
	       struct regex_iter *it, bool *found, size_t *begin, size_t *end);

/* ---- patterns: a literal string or a regular expression ---- */

struct pattern {
	char *literal; /* owned; NULL: regex */
	size_t literal_len;
	struct regex *regex;
};

/* From {"String": s} or {"Regex": s} under `key`. */
int pattern_parse(struct pattern *p, const json_t *o, const char *what, const char *where);
void pattern_fini(struct pattern *p);
int pattern_next(const struct pattern *p, struct scratch *s, const char *text, size_t n,
		 struct regex_iter *it, bool *found, size_t *begin, size_t *end);

/* ---- scratch memory of one encoding (scratch.c) ---- */

/* A run of the text under work. */
struct piece {
	uint32_t begin, end;
	uint32_t zero; /* its first bytes that come from the whole text's first character */
};

struct pieces {
	struct piece *p; /* owned */
	size_t n, capacity;
};

struct match {
	uint32_t begin, end;
	bool is_match;
};

struct scratch {
	struct buf text[2]; /* normalised text and its next version */
	struct buf cut[2];  /* the same of the pre-tokeniser */
	struct pieces pieces[2];
	struct match *match; /* owned */
	size_t n_match, match_capacity;
	uint32_t *word; /* owned; symbols of the piece under work and what merging needs */
	size_t word_capacity;
	uint64_t *heap; /* owned */
	size_t heap_capacity;
	void *path; /* owned; Viterbi cells */
	size_t path_capacity;
	int32_t *code_point; /* owned; normalisation */
	size_t code_point_capacity;
	void *match_data; /* PCRE2's */
	void *match_context;
	void *jit_stack;
	uint64_t match_budget; /* see regex.c */
};

void scratch_init(struct scratch *s);
void scratch_fini(struct scratch *s);
/* Grows an array of `size`-byte elements to at least n; keeps its contents. */
int scratch_grow(void *array, size_t *capacity, size_t n, size_t size);

static inline int pieces_push(struct pieces *list, uint32_t begin, uint32_t end, uint32_t zero)
{
	if (list->n == list->capacity) {
		int rc = scratch_grow(&list->p, &list->capacity, list->n + 1, sizeof *list->p);
		if (rc)
			return rc;
	}
	list->p[list->n++] = (struct piece){ begin, end, zero };
	return 0;
}

/* ---- characters (unicode.c) ---- */

/* Unicode's White_Space. */
bool is_space(uint32_t cp);
/* General category N. */
bool is_numeric(uint32_t cp);
/* General category M; Mn alone. */
bool is_mark(uint32_t cp);
bool is_nonspacing_mark(uint32_t cp);
/* ASCII punctuation or general category P. */
bool is_punctuation(uint32_t cp);
/* Decodes at s[i]; the text is valid UTF-8. Returns the length. */
static inline unsigned utf8_at(const char *s, uint32_t *cp)
{
	const unsigned char *p = (const unsigned char *)s;
	if (p[0] < 0x80) {
		*cp = p[0];
		return 1;
	}
	if (p[0] < 0xe0) {
		*cp = (uint32_t)(p[0] & 0x1f) << 6 | (p[1] & 0x3f);
		return 2;
	}
	if (p[0] < 0xf0) {
		*cp = (uint32_t)(p[0] & 0x0f) << 12 | (uint32_t)(p[1] & 0x3f) << 6 | (p[2] & 0x3f);
		return 3;
	}
	*cp = (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3f) << 12 |
	      (uint32_t)(p[2] & 0x3f) << 6 | (p[3] & 0x3f);
	return 4;
}

static inline unsigned utf8_len(char lead)
{
	unsigned char c = (unsigned char)lead;
	return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* The start of the last character of s[0..n), n > 0. */
static inline size_t utf8_last(const char *s, size_t n)
{
	do
		n--;
	while (n && ((unsigned char)s[n] & 0xc0) == 0x80);
	return n;
}

int buf_put_cp(struct buf *b, uint32_t cp);
/* Appends s[0..n) with every maximal bad sequence replaced by U+FFFD. */
int utf8_append_lossy(struct buf *b, const char *s, size_t n);
/* What stands for the byte in byte-level vocabularies, as a code point below 0x180. */
uint32_t byte_level_char(uint8_t byte);
/* The byte that the code point stands for, -1 where none. */
int byte_level_byte(uint32_t cp);
/* Undoes byte-level characters: appends the bytes and returns true, or false (nothing appended, *rc
 * set where memory failed) where a character stands for no byte. */
bool byte_level_undo(const char *s, size_t n, struct buf *out, int *rc);
/* The byte of a token like <0x0A>; -1 where it is none. */
int byte_token_value(const char *s, size_t n);

/* ---- the steps ---- */

struct normalizer;
int normalizer_parse(struct normalizer **out, const json_t *o, const char *where);
void normalizer_destroy(struct normalizer **n);
/* Normalises text[0..n). *result (in `s`, or the text itself where nothing changes) holds until the
 * next call. *zero is, in and out, as in struct piece. */
int normalizer_apply(const struct normalizer *nz, struct scratch *s, const char *text, size_t n,
		     const char **result, size_t *result_len, uint32_t *zero);

struct pretokenizer;
int pretokenizer_parse(struct pretokenizer **out, const json_t *o, const char *where);
void pretokenizer_destroy(struct pretokenizer **p);
/* True where the last step is ByteLevel. Such a step may be left to the model. */
bool pretokenizer_ends_in_byte_level(const struct pretokenizer *p);
/* Cuts text[0..n). With `defer_bytes` the pieces' text keeps its bytes where the last step would
 * have turned them into byte-level characters. *result is the text that s->pieces[0] cuts. */
int pretokenizer_apply(const struct pretokenizer *p, struct scratch *s, const char *text, size_t n,
		       uint32_t zero, bool defer_bytes, const char **result);

struct model;
int model_parse(struct model **out, const json_t *o, const char *where);
void model_destroy(struct model **m);
const struct vocab *model_vocab(const struct model *m);
/* Tells the model that its pieces are ByteLevel's; returns whether it takes them as raw bytes.
 * Called once, at load. */
int model_prepare(struct model *m, bool byte_level, bool *takes_bytes);
/* Appends the ids of one piece, which is not empty. */
int model_encode(const struct model *m, struct scratch *s, const char *text, size_t n,
		 struct ids *out);

struct bpe;
int bpe_parse(struct bpe **out, const struct vocab *v, const json_t *o, const char *where);
void bpe_destroy(struct bpe **b);
int bpe_prepare(struct bpe *b, bool byte_level, bool *takes_bytes);
int bpe_encode(const struct bpe *b, struct scratch *s, const char *text, size_t n, struct ids *out);

struct unigram;
/* Fills *v, which model.c owns. */
int unigram_parse(struct unigram **out, struct vocab *v, const json_t *o, const char *where);
void unigram_destroy(struct unigram **u);
int unigram_encode(const struct unigram *u, struct scratch *s, const char *text, size_t n,
		   struct ids *out);

struct wordpiece;
/* WordLevel, too: `whole_words`. */
int wordpiece_parse(struct wordpiece **out, const struct vocab *v, bool whole_words,
		    const json_t *o, const char *where);
void wordpiece_destroy(struct wordpiece **w);
int wordpiece_encode(const struct wordpiece *w, const char *text, size_t n, struct ids *out);

/* ---- added tokens (added_tokens.c) ---- */

struct added_token {
	char *content; /* owned */
	size_t len;
	char *normal; /* owned; the normalised content where it differs, else NULL */
	size_t normal_len;
	int32_t id;
	bool single_word, lstrip, rstrip, normalized, special;
};

struct added_tokens {
	struct added_token *token; /* owned */
	size_t n, capacity;
	struct trie raw, normal; /* matched in raw and in normalised text; values index `token` */
	size_t n_raw, n_normal;
	bool raw_first[256], normal_first[256]; /* bytes that some token begins with */
	struct regex *word; /* one word character, as the Rust regex crate's \w */
	int32_t *slot;      /* owned; indices of `token` by the hash of their content; -1: empty */
	size_t n_slots;
	bool *taken; /* owned; [n_taken] ids that added tokens have */
	size_t n_taken;
};

/* Collects; later entries with the same content replace earlier ones. An id of -1 takes the
 * vocabulary's. */
int added_tokens_put(struct added_tokens *a, const struct vocab *v, const struct added_token *token,
		     const char *where);
/* The flags and content of a JSON object, borrowed from it. */
int added_token_parse(const json_t *o, const char *where, struct added_token *out);
/* Builds the automata. */
int added_tokens_build(struct added_tokens *a, const struct normalizer *nz, const char *where);
void added_tokens_fini(struct added_tokens *a);
/* NULL where no added token has that content. */
const struct added_token *added_tokens_find(const struct added_tokens *a, const char *s, size_t n);

/* A part of the text: a token (token != NULL), or text between tokens. */
typedef int added_part_fn(void *context, const struct added_token *token, const char *text,
			  size_t begin, size_t end);
/* Calls fn for every part in order. */
int added_tokens_split(const struct added_tokens *a, struct scratch *s, bool normalized,
		       bool parse_special, const char *text, size_t n, added_part_fn *fn,
		       void *context);

/* ---- post-processing (postprocess.c) ---- */

struct postprocess {
	int32_t *before, *after; /* owned; ids put around a sequence */
	size_t n_before, n_after;
};
int postprocess_parse(struct postprocess *p, const json_t *o, size_t n_ids, const char *where);
void postprocess_fini(struct postprocess *p);

/* ---- decoding (decoder.c) ---- */

struct decoder;
int decoder_parse(struct decoder **out, const json_t *o, const char *where);
void decoder_destroy(struct decoder **d);

/* Where a decoding stands. */
struct decode_state;
int decode_state_create(struct decode_state **out, const struct decoder *d);
void decode_state_destroy(struct decode_state **s);
void decode_state_reset(struct decode_state *s);
int decode_token(struct decode_state *s, const char *token, size_t n, struct buf *out);
int decode_end(struct decode_state *s, struct buf *out);
/* What a token in the midst of a text stands for, taken alone, as bytes. */
int decoder_token_bytes(const struct decoder *d, const char *token, size_t n, struct buf *out);

/* ---- the tokenizer (tokenizer.c) ---- */

struct token_info {
	const char *text; /* borrowed from the vocabulary or the added token; NULL: no such token */
	uint32_t len;
	bool special; /* declared special */
	bool skip;    /* left out where special tokens are skipped */
	bool added;
	const char *shown; /* what decoding sees: of normalised added tokens, the normal form */
	uint32_t shown_len;
};

struct tokenizer {
	struct normalizer *normalizer;     /* NULL: none */
	struct pretokenizer *pretokenizer; /* NULL: none */
	struct model *model;
	struct decoder *decoder;
	struct postprocess post;
	struct added_tokens added;
	const struct vocab *vocab; /* the model's */
	struct token_info *info;   /* owned; [n_ids] */
	size_t n_ids;
	bool takes_bytes; /* the model takes ByteLevel's pieces as raw bytes */
	int32_t bos, eos;
	char *chat_template; /* owned; NULL: none */
};

/* What tokenizer_config.json adds, after the tokens of tokenizer.json are in. */
int config_added_tokens(struct tokenizer *t, const json_t *config, const char *where);
/* What it says about BOS, EOS and the chat template, after all else is in. */
int config_specials(struct tokenizer *t, const json_t *config, const char *where);

#endif
