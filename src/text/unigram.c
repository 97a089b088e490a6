/* unigram.c - the likeliest cut of a piece into tokens, by Viterbi's algorithm over a trie of the
 * vocabulary.
 *
 * A character that no token covers alone costs the lowest score less 10; runs of such are one
 * unknown token, or bytes where the model has byte fallback. Sums run from the left, as the
 * reference's do, so that ties and roundings agree.
 */
#include "text_internal.h"

#include "base/mem.h"
#include "base/status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define UNKNOWN_PENALTY 10.0
/* The work is the text's length times the longest token's. SentencePiece's own tokens have 16
 * characters at most unless it is told otherwise. */
#define MAX_TOKEN_BYTES 1024

struct unigram {
	const struct vocab *vocab;
	struct trie trie;
	double *score; /* owned; [n_ids] */
	double unk_score;
	int32_t unk_id; /* -1: none */
	bool byte_fallback;
	int32_t byte_token[256];
};

/* The best way to a place. */
struct cell {
	double score;
	uint32_t from; /* UINT32_MAX: not reached */
	int32_t id;
};

/* The score as the reference reads it. Its JSON parser makes an integer of the digits and scales
 * that by a power of ten, which rounds twice where there are 17 digits; ties between cuts of a text
 * can hang on that last bit. The digits are those of the shortest decimal that stands for the
 * number, which is what files of this kind hold. */
static double read_score(const json_t *v)
{
	double exact = json_number_value(v);
	char text[40];
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof text, "%.*e", digits - 1, exact);
		if (strtod(text, NULL) == exact)
			break;
	}
	uint64_t number = 0;
	int after_point = -1; /* the first digit stands before the point */
	const char *c = text;
	for (; *c && *c != 'e'; c++) {
		if (*c >= '0' && *c <= '9') {
			number = number * 10 + (uint64_t)(*c - '0');
			after_point++;
		}
	}
	if (number < (uint64_t)1 << 53 || *c != 'e')
		return exact;
	int exponent = atoi(c + 1) - after_point;
	if (exponent < -22 || exponent > 0)
		return exact;
	double scale = 1;
	for (int i = 0; i < -exponent; i++)
		scale *= 10; /* exact up to 10^22 */
	return copysign((double)number / scale, exact);
}

static int read_vocab(struct unigram *u, struct vocab *v, const json_t *list, const char *where)
{
	size_t n = json_array_size(list), bytes = 0, i;
	const json_t *entry;
	json_array_foreach (list, i, entry) {
		const json_t *token = json_array_get(entry, 0), *score = json_array_get(entry, 1);
		if (json_array_size(entry) != 2 || !json_is_string(token) ||
		    !json_is_number(score) || !isfinite(json_number_value(score)))
			FAIL(VB_EFORMAT,
			     "bad vocabulary: %s: entry %zu: expected [\"token\", score]", where,
			     i);
		if (json_string_length(token) > MAX_TOKEN_BYTES)
			FAIL(VB_EUNSUPPORTED,
			     "token too long: %s: entry %zu: %zu bytes, at most %d are taken",
			     where, i, json_string_length(token), MAX_TOKEN_BYTES);
		bytes += json_string_length(token);
	}
	TRY(vocab_init(v, n, n, bytes));
	u->score = mem_alloc(n * sizeof *u->score);
	struct trie_entry *sorted = mem_alloc(n * sizeof *sorted);
	if (!u->score || !sorted) {
		mem_free(sorted);
		return VB_ENOMEM;
	}
	int rc = VB_OK;
	double min = INFINITY;
	size_t n_sorted = 0;
	json_array_foreach (list, i, entry) {
		const json_t *token = json_array_get(entry, 0);
		u->score[i] = read_score(json_array_get(entry, 1));
		min = u->score[i] < min ? u->score[i] : min;
		rc = vocab_add(v, (int32_t)i, json_string_value(token), json_string_length(token),
			       where);
		if (rc)
			break;
		if (json_string_length(token))
			sorted[n_sorted++] =
				(struct trie_entry){ json_string_value(token),
						     (uint32_t)json_string_length(token),
						     (int32_t)i };
	}
	u->unk_score = min - UNKNOWN_PENALTY;
	if (rc == VB_OK)
		rc = trie_build(&u->trie, sorted, n_sorted, where);
	mem_free(sorted);
	return rc;
}

static int read_model(struct unigram *u, struct vocab *v, const json_t *o, const char *where)
{
	const json_t *list = json_get(o, "vocab");
	if (!json_is_array(list) || json_array_size(list) == 0)
		FAIL(VB_EFORMAT,
		     "wrong type: %s: key \"vocab\": expected an array of tokens, found %s", where,
		     json_is_array(list) ? "an empty one" : json_kind(list));
	int64_t unk;
	TRY(json_get_i64(o, "unk_id", where, 0, (int64_t)json_array_size(list) - 1, -1, &unk));
	u->unk_id = (int32_t)unk;
	TRY(json_get_bool(o, "byte_fallback", where, false, &u->byte_fallback));
	TRY(read_vocab(u, v, list, where));
	for (int i = 0; i < 256; i++) {
		char token[8];
		snprintf(token, sizeof token, "<0x%02X>", i);
		u->byte_token[i] = vocab_find(v, token, 6);
	}
	return VB_OK;
}

int unigram_parse(struct unigram **out, struct vocab *v, const json_t *o, const char *where)
{
	struct unigram *u = mem_calloc(1, sizeof *u);
	*out = u;
	if (!u)
		return VB_ENOMEM;
	u->vocab = v;
	int rc = read_model(u, v, o, where);
	if (rc)
		unigram_destroy(out);
	return rc;
}

void unigram_destroy(struct unigram **u)
{
	if (!*u)
		return;
	trie_fini(&(*u)->trie);
	mem_free((*u)->score);
	mem_free(*u);
	*u = NULL;
}

static inline void offer(struct cell *c, double score, uint32_t from, int32_t id)
{
	if (c->from == UINT32_MAX || score > c->score)
		*c = (struct cell){ score, from, id };
}

static int best_path(const struct unigram *u, struct cell *cell, const char *text, size_t n)
{
	for (size_t i = 0; i <= n; i++)
		cell[i] = (struct cell){ 0.0, UINT32_MAX, -1 };
	for (size_t at = 0; at < n;) {
		unsigned len = utf8_len(text[at]);
		double here = cell[at].score;
		bool covered = false;
		uint32_t node = 0;
		for (size_t end = at; end < n; end++) {
			node = trie_step(&u->trie, node, (uint8_t)text[end]);
			if (!node)
				break;
			int32_t id = u->trie.value[node];
			if (id < 0)
				continue;
			offer(&cell[end + 1], u->score[id] + here, (uint32_t)at, id);
			covered |= end + 1 == at + len;
		}
		if (!covered) {
			if (u->unk_id < 0)
				FAIL(VB_EFORMAT,
				     "unknown character, and the vocabulary has no unknown token: "
				     "byte %zu",
				     at);
			offer(&cell[at + len], u->unk_score + here, (uint32_t)at, u->unk_id);
		}
		at += len;
	}
	return VB_OK;
}

/* A run of unknown characters: a token of that text by chance, or bytes, or one unknown token. */
static int push_unknown(const struct unigram *u, const char *text, size_t n, struct ids *out)
{
	int32_t id = vocab_find(u->vocab, text, n);
	if (id >= 0)
		return ids_push(out, id);
	bool bytes = u->byte_fallback;
	for (size_t i = 0; bytes && i < n; i++)
		bytes = u->byte_token[(uint8_t)text[i]] >= 0;
	if (!bytes)
		return ids_push(out, u->unk_id);
	for (size_t i = 0; i < n; i++)
		TRY(ids_push(out, u->byte_token[(uint8_t)text[i]]));
	return VB_OK;
}

int unigram_encode(const struct unigram *u, struct scratch *s, const char *text, size_t n,
		   struct ids *out)
{
	struct cell *cell = s->path;
	TRY(scratch_grow(&cell, &s->path_capacity, n + 1, sizeof *cell));
	s->path = cell;
	TRY(best_path(u, cell, text, n));
	/* The path is known from its end; turned round, `from` leads from each token's beginning to
	 * its end. */
	uint32_t end = (uint32_t)n;
	for (uint32_t at = cell[n].from, before;; at = before) {
		before = cell[at].from;
		cell[at].from = end;
		end = at;
		if (at == 0)
			break;
	}
	for (uint32_t at = 0; at < n;) {
		end = cell[at].from;
		if (cell[end].id != u->unk_id || u->unk_id < 0) {
			TRY(ids_push(out, cell[end].id));
			at = end;
			continue;
		}
		while (end < n && cell[cell[end].from].id == u->unk_id)
			end = cell[end].from;
		TRY(push_unknown(u, text + at, end - at, out));
		at = end;
	}
	return VB_OK;
}
