/* decoder.c - from tokens back to text.
 *
 * DESIGN. Each stage is a transducer. It is given a token in chunks of whole characters, then that
 * token's end, and in the end the end of all; it gives chunks and ends to the next stage, the last
 * of which writes the text. Whole decoding is one run of that, streaming is the same run in steps,
 * so they cannot differ. A stage holds back only what the rest of the text might still change:
 *   ByteLevel       an incomplete UTF-8 sequence
 *   ByteFallback    a run of byte tokens that is valid so far
 *   Strip           characters that it may have to cut
 *   Replace         a token; nothing, where one character is replaced
 *   BPEDecoder      the last token
 *   CTC, WordPiece  a token
 */
#include "text_internal.h"

#include "base/mem.h"
#include "base/status.h"
#include "base/utf8.h"

#define MAX_STAGES 32
#define REPLACEMENT "\xef\xbf\xbd"
#define TOKEN_ROOM 200 /* bytes: most tokens are shorter */

enum stage_kind {
	STAGE_JOIN, /* no decoder: spaces between tokens */
	STAGE_BYTE_LEVEL,
	STAGE_METASPACE,
	STAGE_BYTE_FALLBACK,
	STAGE_FUSE,
	STAGE_STRIP,
	STAGE_REPLACE,
	STAGE_BPE,
	STAGE_WORDPIECE,
	STAGE_CTC,
};

struct stage {
	enum stage_kind kind;
	struct pattern pattern; /* Replace */
	char *content; /* owned; of Replace; BPE's suffix, WordPiece's prefix, CTC's padding */
	size_t content_len;
	char *delimiter; /* owned; CTC */
	size_t delimiter_len;
	uint32_t mark;    /* Metaspace's, Strip's */
	bool keeps_first; /* Metaspace */
	bool cleanup;
	size_t start, stop;
};

struct decoder {
	struct stage *stage; /* owned */
	size_t n, capacity;
};

/* Where one stage stands. */
struct stage_state {
	struct buf held;   /* the token so far, or what is held back */
	struct buf before; /* CTC: the token before */
	struct buf work;   /* cleaning up */
	size_t n_tokens;   /* tokens seen to their end */
	size_t n_cut;      /* Strip: characters cut from this token */
	bool body;         /* Strip: something was kept of this token */
	bool has_before;
	size_t n_valid; /* ByteFallback: bytes of the run that are whole characters */
	bool invalid;   /* ByteFallback: the run cannot become valid any more */
	bool in_token;
};

struct decode_state {
	const struct decoder *decoder;
	struct scratch scratch;
	struct stage_state *state; /* owned; [decoder->n] */
};

static int chunk(struct decode_state *d, size_t i, const char *s, size_t n, struct buf *out);
static int token_end(struct decode_state *d, size_t i, struct buf *out);

/* ---- ByteLevel ---- */

/* Passes on held bytes that no later byte can change. `last`: all of them. */
static int flush_bytes(struct decode_state *d, size_t i, bool last, struct buf *out)
{
	struct stage_state *st = &d->state[i];
	size_t n = last ? st->held.len
			: utf8_complete_prefix(st->held.data ? st->held.data : "", st->held.len);
	if (n == 0)
		return VB_OK;
	buf_clear(&st->work);
	TRY(utf8_append_lossy(&st->work, st->held.data, n));
	memmove(st->held.data, st->held.data + n, st->held.len - n);
	st->held.len -= n;
	return chunk(d, i + 1, st->work.data, st->work.len, out);
}

static int byte_level_token(struct decode_state *d, size_t i, struct buf *out)
{
	struct stage_state *st = &d->state[i];
	int rc;
	const char *token = st->before.data ? st->before.data : "";
	if (!byte_level_undo(token, st->before.len, &st->held, &rc)) {
		TRY(rc);
		TRY(buf_append(&st->held, token, st->before.len));
	}
	buf_clear(&st->before);
	return flush_bytes(d, i, false, out);
}

/* ---- ByteFallback ---- */

/* The run of byte tokens is over: one token of text where it is valid, else one U+FFFD for each
 * byte. */
static int end_run(struct decode_state *d, size_t i, struct buf *out)
{
	struct stage_state *st = &d->state[i];
	size_t n = st->before.len;
	bool valid = n && st->n_valid == n;
	if (valid) {
		TRY(chunk(d, i + 1, st->before.data, n, out));
		TRY(token_end(d, i + 1, out));
	}
	for (size_t k = 0; !valid && k < n; k++) {
		TRY(chunk(d, i + 1, REPLACEMENT, 3, out));
		TRY(token_end(d, i + 1, out));
	}
	buf_clear(&st->before);
	st->n_valid = 0;
	st->invalid = false;
	return VB_OK;
}

static int byte_fallback_token(struct decode_state *d, size_t i, struct buf *out)
{
	struct stage_state *st = &d->state[i];
	const char *token = st->held.data ? st->held.data : "";
	int byte = byte_token_value(token, st->held.len);
	if (byte < 0) {
		TRY(end_run(d, i, out));
		TRY(chunk(d, i + 1, token, st->held.len, out));
		buf_clear(&st->held);
		return token_end(d, i + 1, out);
	}
	buf_clear(&st->held);
	if (!st->invalid) {
		TRY(buf_putc(&st->before, (char)byte));
		uint32_t cp;
		int len = utf8_decode(st->before.data + st->n_valid, st->before.len - st->n_valid,
				      &cp);
		if (len > 0)
			st->n_valid += (size_t)len;
		if (len != 0)
			return VB_OK;
		/* A bad byte spoils the whole run: nothing of it need wait. */
		TRY(end_run(d, i, out));
		st->invalid = true;
		return VB_OK;
	}
	TRY(chunk(d, i + 1, REPLACEMENT, 3, out));
	return token_end(d, i + 1, out);
}

/* ---- stages that work by character ---- */

static int metaspace_chunk(struct decode_state *d, size_t i, const char *s, size_t n,
			   struct buf *out)
{
	const struct stage *st = &d->decoder->stage[i];
	bool drops = d->state[i].n_tokens == 0 && !st->keeps_first;
	size_t last = 0, k = 0;
	while (k < n) {
		uint32_t cp;
		size_t at = k;
		k += utf8_at(s + k, &cp);
		if (cp != st->mark)
			continue;
		TRY(chunk(d, i + 1, s + last, at - last, out));
		if (!drops)
			TRY(chunk(d, i + 1, " ", 1, out));
		last = k;
	}
	return chunk(d, i + 1, s + last, n - last, out);
}

/* Leading characters are cut as they come. Trailing ones are held back, at most `stop` of them. */
static int strip_chunk(struct decode_state *d, size_t i, const char *s, size_t n, struct buf *out)
{
	const struct stage *st = &d->decoder->stage[i];
	struct stage_state *state = &d->state[i];
	size_t mark_len = st->mark < 0x80 ? 1 : st->mark < 0x800 ? 2 : st->mark < 0x10000 ? 3 : 4;
	for (size_t k = 0; k < n;) {
		uint32_t cp;
		unsigned len = utf8_at(s + k, &cp);
		bool is_mark_char = cp == st->mark;
		if (is_mark_char && !state->body && state->n_cut < st->start) {
			state->n_cut++;
		} else if (is_mark_char && st->stop) {
			state->body = true;
			TRY(buf_append(&state->held, s + k, len));
			if (state->held.len > st->stop * mark_len) {
				TRY(chunk(d, i + 1, state->held.data, mark_len, out));
				state->held.len -= mark_len;
			}
		} else {
			state->body = true;
			TRY(chunk(d, i + 1, state->held.data ? state->held.data : "",
				  state->held.len, out));
			buf_clear(&state->held);
			TRY(chunk(d, i + 1, s + k, len, out));
		}
		k += len;
	}
	return VB_OK;
}

/* ---- stages that need the whole token ---- */

/* Replaces every `from` in b by `to`, through `work`. */
static int replace_all(struct buf *b, struct buf *work, const char *from, size_t n_from,
		       const char *to, size_t n_to)
{
	buf_clear(work);
	size_t last = 0;
	for (size_t i = 0; i + n_from <= b->len;) {
		if (memcmp(b->data + i, from, n_from) != 0) {
			i++;
			continue;
		}
		TRY(buf_append(work, b->data + last, i - last));
		TRY(buf_append(work, to, n_to));
		i += n_from;
		last = i;
	}
	if (last == 0)
		return VB_OK;
	TRY(buf_append(work, b->data + last, b->len - last));
	struct buf swap = *b;
	*b = *work;
	*work = swap;
	return VB_OK;
}

/* English artefacts of word-piece vocabularies, in the reference's order. */
static int clean_up(struct buf *b, struct buf *work)
{
	static const char *const pairs[][2] = {
		{ " .", "." },   { " ?", "?" },     { " !", "!" },     { " ,", "," },
		{ " ' ", "'" },  { " n't", "n't" }, { " 'm", "'m" },   { " do not", " don't" },
		{ " 's", "'s" }, { " 've", "'ve" }, { " 're", "'re" },
	};
	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
		TRY(replace_all(b, work, pairs[i][0], strlen(pairs[i][0]), pairs[i][1],
				strlen(pairs[i][1])));
	return VB_OK;
}

static int wordpiece_text(const struct stage *st, bool first, struct buf *token, struct buf *work)
{
	if (!first) {
		bool inner = token->len >= st->content_len &&
			     (st->content_len == 0 ||
			      memcmp(token->data, st->content, st->content_len) == 0);
		buf_clear(work);
		if (!inner)
			TRY(buf_putc(work, ' '));
		size_t skip = inner ? st->content_len : 0;
		TRY(buf_append(work, token->data ? token->data + skip : "", token->len - skip));
		struct buf swap = *token;
		*token = *work;
		*work = swap;
	}
	return st->cleanup ? clean_up(token, work) : VB_OK;
}

static int replace_text(const struct stage *st, struct scratch *s, struct buf *token,
			struct buf *work)
{
	struct regex_iter it = { 0, SIZE_MAX };
	size_t last = 0, begin, end;
	const char *text = token->data ? token->data : "";
	bool found = false;
	regex_grant(s, token->len);
	buf_clear(work);
	for (; token->len;) {
		TRY(pattern_next(&st->pattern, s, text, token->len, &it, &found, &begin, &end));
		if (!found)
			break;
		TRY(buf_append(work, text + last, begin - last));
		TRY(buf_append(work, st->content, st->content_len));
		last = end;
	}
	TRY(buf_append(work, text + last, token->len - last));
	struct buf swap = *token;
	*token = *work;
	*work = swap;
	return VB_OK;
}

static int ctc_text(const struct stage *st, struct buf *token, struct buf *work)
{
	TRY(replace_all(token, work, st->content, st->content_len, "", 0));
	if (!st->cleanup)
		return VB_OK;
	TRY(clean_up(token, work));
	return replace_all(token, work, st->delimiter, st->delimiter_len, " ", 1);
}

static int pass_held(struct decode_state *d, size_t i, struct buf *out)
{
	struct buf *held = &d->state[i].held;
	TRY(chunk(d, i + 1, held->data ? held->data : "", held->len, out));
	buf_clear(held);
	return token_end(d, i + 1, out);
}

static int ctc_token(struct decode_state *d, size_t i, struct buf *out)
{
	struct stage_state *st = &d->state[i];
	bool same =
		st->has_before && st->before.len == st->held.len &&
		(st->held.len == 0 || memcmp(st->before.data, st->held.data, st->held.len) == 0);
	if (same) {
		buf_clear(&st->held);
		return VB_OK;
	}
	buf_clear(&st->before);
	TRY(buf_append(&st->before, st->held.data ? st->held.data : "", st->held.len));
	st->has_before = true;
	TRY(ctc_text(&d->decoder->stage[i], &st->held, &st->work));
	return st->held.len ? pass_held(d, i, out) : VB_OK;
}

/* The suffix is a space, but nothing at the end of the last token: each waits for the next. */
static int bpe_pass(struct decode_state *d, size_t i, bool last, struct buf *out)
{
	const struct stage *st = &d->decoder->stage[i];
	struct stage_state *state = &d->state[i];
	if (!state->has_before)
		return VB_OK;
	state->has_before = false;
	TRY(replace_all(&state->before, &state->work, st->content, st->content_len, " ",
			last ? 0 : 1));
	TRY(chunk(d, i + 1, state->before.data ? state->before.data : "", state->before.len, out));
	buf_clear(&state->before);
	return token_end(d, i + 1, out);
}

/* ---- the chain ---- */

/* Replacing one character by a text needs no look ahead. */
static bool replaces_char(const struct stage *st)
{
	return st->pattern.literal && utf8_len(st->pattern.literal[0]) == st->pattern.literal_len;
}

static int replace_chunk(struct decode_state *d, size_t i, const char *s, size_t n, struct buf *out)
{
	const struct stage *st = &d->decoder->stage[i];
	struct regex_iter it = { 0, SIZE_MAX };
	size_t last = 0, begin, end;
	for (;;) {
		bool found;
		TRY(pattern_next(&st->pattern, &d->scratch, s, n, &it, &found, &begin, &end));
		if (!found)
			return chunk(d, i + 1, s + last, n - last, out);
		TRY(chunk(d, i + 1, s + last, begin - last, out));
		TRY(chunk(d, i + 1, st->content, st->content_len, out));
		last = end;
	}
}

/* A part of a token comes into stage i. Recurses through the stages only. */
static int chunk(struct decode_state *d, size_t i, const char *s, size_t n, struct buf *out)
{
	if (n == 0)
		return VB_OK;
	if (i == d->decoder->n)
		return buf_append(out, s, n);
	struct stage_state *state = &d->state[i];
	const struct stage *st = &d->decoder->stage[i];
	switch (st->kind) {
	case STAGE_FUSE:
		return chunk(d, i + 1, s, n, out);
	case STAGE_METASPACE:
		return metaspace_chunk(d, i, s, n, out);
	case STAGE_STRIP:
		return strip_chunk(d, i, s, n, out);
	case STAGE_REPLACE:
		return replaces_char(st) ? replace_chunk(d, i, s, n, out)
					 : buf_append(&state->held, s, n);
	case STAGE_BYTE_LEVEL:
		return buf_append(&state->before, s, n);
	case STAGE_JOIN:
		if (!state->in_token && state->n_tokens)
			TRY(chunk(d, i + 1, " ", 1, out));
		state->in_token = true;
		return chunk(d, i + 1, s, n, out);
	default:
		return buf_append(&state->held, s, n);
	}
}

/* A token ends at stage i. */
static int token_end(struct decode_state *d, size_t i, struct buf *out)
{
	if (i == d->decoder->n)
		return VB_OK;
	struct stage_state *state = &d->state[i];
	const struct stage *st = &d->decoder->stage[i];
	bool first = state->n_tokens++ == 0;
	struct buf swap;
	switch (st->kind) {
	case STAGE_FUSE:
		return VB_OK;
	case STAGE_METASPACE:
		return token_end(d, i + 1, out);
	case STAGE_STRIP: /* what is held back is cut */
		buf_clear(&state->held);
		state->n_cut = 0;
		state->body = false;
		return token_end(d, i + 1, out);
	case STAGE_REPLACE:
		if (!replaces_char(st))
			TRY(replace_text(st, &d->scratch, &state->held, &state->work));
		return pass_held(d, i, out);
	case STAGE_BYTE_LEVEL:
		return byte_level_token(d, i, out);
	case STAGE_BYTE_FALLBACK:
		return byte_fallback_token(d, i, out);
	case STAGE_BPE:
		TRY(bpe_pass(d, i, false, out));
		swap = state->before;
		state->before = state->held;
		state->held = swap;
		state->has_before = true;
		return VB_OK;
	case STAGE_WORDPIECE:
		TRY(wordpiece_text(st, first, &state->held, &state->work));
		return pass_held(d, i, out);
	case STAGE_CTC:
		return ctc_token(d, i, out);
	case STAGE_JOIN:
		if (!state->in_token && !first) /* an empty token is joined too */
			TRY(chunk(d, i + 1, " ", 1, out));
		state->in_token = false;
		return token_end(d, i + 1, out);
	}
	return VB_OK;
}

/* All ends: each stage in turn gives what it holds. */
static int all_end(struct decode_state *d, struct buf *out)
{
	for (size_t i = 0; i < d->decoder->n; i++) {
		struct stage_state *state = &d->state[i];
		switch (d->decoder->stage[i].kind) {
		case STAGE_BYTE_LEVEL:
			TRY(flush_bytes(d, i, true, out));
			TRY(token_end(d, i + 1, out));
			break;
		case STAGE_FUSE:
			TRY(token_end(d, i + 1, out));
			break;
		case STAGE_BYTE_FALLBACK:
			if (!state->invalid)
				TRY(end_run(d, i, out));
			break;
		case STAGE_BPE:
			TRY(bpe_pass(d, i, true, out));
			break;
		default:
			break;
		}
	}
	return VB_OK;
}

int decode_token(struct decode_state *d, const char *token, size_t n, struct buf *out)
{
	TRY(chunk(d, 0, token, n, out));
	return token_end(d, 0, out);
}

int decode_end(struct decode_state *d, struct buf *out)
{
	int rc = all_end(d, out);
	decode_state_reset(d);
	return rc;
}

/* Room for any usual token, so that decoding takes no memory. */
static int take_room(struct stage_state *s)
{
	struct buf *bufs[] = { &s->held, &s->before, &s->work };
	for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) {
		TRY(buf_reserve(bufs[i], TOKEN_ROOM));
		buf_clear(bufs[i]);
	}
	return VB_OK;
}

int decode_state_create(struct decode_state **out, const struct decoder *decoder)
{
	struct decode_state *d = mem_calloc(1, sizeof *d);
	struct stage_state *state = mem_calloc(decoder->n, sizeof *state);
	if (!d || !state) {
		mem_free(d);
		mem_free(state);
		return VB_ENOMEM;
	}
	d->decoder = decoder;
	d->state = state;
	scratch_init(&d->scratch);
	for (size_t i = 0; i < decoder->n; i++) {
		buf_init(&state[i].held, TEXT_MAX_BYTES);
		buf_init(&state[i].before, TEXT_MAX_BYTES);
		buf_init(&state[i].work, TEXT_MAX_BYTES);
	}
	int rc = VB_OK;
	for (size_t i = 0; i < decoder->n && rc == VB_OK; i++)
		rc = take_room(&state[i]);
	if (rc != VB_OK) {
		decode_state_destroy(&d);
		return rc;
	}
	*out = d;
	return VB_OK;
}

void decode_state_destroy(struct decode_state **d)
{
	if (!*d)
		return;
	for (size_t i = 0; i < (*d)->decoder->n; i++) {
		buf_fini(&(*d)->state[i].held);
		buf_fini(&(*d)->state[i].before);
		buf_fini(&(*d)->state[i].work);
	}
	scratch_fini(&(*d)->scratch);
	mem_free((*d)->state);
	mem_free(*d);
	*d = NULL;
}

void decode_state_reset(struct decode_state *d)
{
	for (size_t i = 0; i < d->decoder->n; i++) {
		struct stage_state *s = &d->state[i];
		buf_clear(&s->held);
		buf_clear(&s->before);
		buf_clear(&s->work);
		*s = (struct stage_state){ .held = s->held, .before = s->before, .work = s->work };
	}
}

/* ---- one token alone ---- */

static int stage_token_bytes(const struct stage *st, struct scratch *s, struct buf *token,
			     struct buf *work, bool *done)
{
	int rc = VB_OK, byte;
	char mark[4];
	size_t mark_len;
	switch (st->kind) {
	case STAGE_BYTE_LEVEL:
		buf_clear(work);
		if (byte_level_undo(token->data, token->len, work, &rc)) {
			struct buf swap = *token;
			*token = *work;
			*work = swap;
			*done = true; /* bytes, no characters any more */
		}
		return rc;
	case STAGE_BYTE_FALLBACK:
		byte = byte_token_value(token->data, token->len);
		if (byte < 0)
			return VB_OK;
		buf_clear(token);
		*done = true;
		return buf_putc(token, (char)byte);
	case STAGE_METASPACE:
		mark_len = (size_t)utf8_write(st->mark, mark);
		return replace_all(token, work, mark, mark_len, " ", 1);
	case STAGE_REPLACE:
		return replace_text(st, s, token, work);
	case STAGE_BPE:
		return replace_all(token, work, st->content, st->content_len, " ", 1);
	case STAGE_WORDPIECE:
		return wordpiece_text(st, false, token, work);
	case STAGE_CTC:
		return ctc_text(st, token, work);
	default: /* Fuse and Strip: of the text's ends, not of tokens */
		return VB_OK;
	}
}

int decoder_token_bytes(const struct decoder *d, const char *token, size_t n, struct buf *out)
{
	struct scratch s;
	struct buf text, work;
	scratch_init(&s);
	buf_init(&text, TEXT_MAX_BYTES);
	buf_init(&work, TEXT_MAX_BYTES);
	bool done = false;
	int rc = buf_append(&text, token, n);
	for (size_t i = 0; i < d->n && rc == VB_OK && !done; i++)
		rc = stage_token_bytes(&d->stage[i], &s, &text, &work, &done);
	if (rc == VB_OK)
		rc = buf_append(out, text.data, text.len);
	buf_fini(&text);
	buf_fini(&work);
	scratch_fini(&s);
	return rc;
}

/* ---- loading ---- */

static int add_stage(struct decoder *d, enum stage_kind kind, const char *where, struct stage **out)
{
	if (d->n == MAX_STAGES)
		FAIL(VB_EUNSUPPORTED, "unsupported decoder: %s: more than %d stages", where,
		     MAX_STAGES);
	TRY(scratch_grow(&d->stage, &d->capacity, d->n + 1, sizeof *d->stage));
	*out = &d->stage[d->n++];
	**out = (struct stage){ .kind = kind };
	return VB_OK;
}

static int copy_text(const json_t *o, const char *key, const char *where, bool may_be_empty,
		     char **out, size_t *len)
{
	const char *s;
	TRY(json_need_text(o, key, where, &s, len));
	if (*len == 0 && !may_be_empty)
		FAIL(VB_EUNSUPPORTED, "empty text: %s: decoder: key \"%s\"", where, key);
	*out = mem_strndup(s, *len);
	return *out ? VB_OK : VB_ENOMEM;
}

static int parse_mark(const json_t *o, const char *key, const char *where, uint32_t *out)
{
	const char *s;
	size_t n;
	TRY(json_need_text(o, key, where, &s, &n));
	if (n == 0 || utf8_at(s, out) != n)
		FAIL(VB_EFORMAT, "not one character: %s: decoder: key \"%s\": \"%.40s\"", where,
		     key, s);
	return VB_OK;
}

static int parse_options(struct stage *st, const json_t *o, const char *where)
{
	const char *scheme;
	bool add_space;
	int64_t start, stop;
	switch (st->kind) {
	case STAGE_METASPACE:
		TRY(json_get_str(o, "prepend_scheme", where, "always", &scheme));
		TRY(json_get_bool(o, "add_prefix_space", where, true, &add_space));
		st->keeps_first = !add_space || strcmp(scheme, "never") == 0;
		return parse_mark(o, "replacement", where, &st->mark);
	case STAGE_STRIP:
		TRY(json_get_i64(o, "start", where, 0, INT32_MAX, 0, &start));
		TRY(json_get_i64(o, "stop", where, 0, INT32_MAX, 0, &stop));
		st->start = (size_t)start;
		st->stop = (size_t)stop;
		return parse_mark(o, "content", where, &st->mark);
	case STAGE_REPLACE:
		TRY(pattern_parse(&st->pattern, o, "decoder Replace", where));
		return copy_text(o, "content", where, true, &st->content, &st->content_len);
	case STAGE_BPE:
		return copy_text(o, "suffix", where, false, &st->content, &st->content_len);
	case STAGE_WORDPIECE:
		TRY(json_get_bool(o, "cleanup", where, true, &st->cleanup));
		return copy_text(o, "prefix", where, true, &st->content, &st->content_len);
	case STAGE_CTC:
		TRY(json_get_bool(o, "cleanup", where, true, &st->cleanup));
		TRY(copy_text(o, "pad_token", where, false, &st->content, &st->content_len));
		return copy_text(o, "word_delimiter_token", where, false, &st->delimiter,
				 &st->delimiter_len);
	default:
		return VB_OK;
	}
}

static int parse_into(struct decoder *d, const json_t *o, const char *where)
{
	static const struct {
		const char *name;
		enum stage_kind kind;
	} kinds[] = {
		{ "ByteLevel", STAGE_BYTE_LEVEL },
		{ "Metaspace", STAGE_METASPACE },
		{ "ByteFallback", STAGE_BYTE_FALLBACK },
		{ "Fuse", STAGE_FUSE },
		{ "Strip", STAGE_STRIP },
		{ "Replace", STAGE_REPLACE },
		{ "BPEDecoder", STAGE_BPE },
		{ "WordPiece", STAGE_WORDPIECE },
		{ "CTC", STAGE_CTC },
	};
	const char *type;
	TRY(json_component(o, "decoder", where, &type));
	if (strcmp(type, "Sequence") == 0) {
		const json_t *list = json_get(o, "decoders"), *v;
		size_t i;
		if (!json_is_array(list))
			FAIL(VB_EFORMAT,
			     "wrong type: %s: key \"decoders\": expected an array, found %s", where,
			     json_kind(list));
		json_array_foreach (list, i, v)
			TRY(parse_into(d, v, where)); /* as deep as JSON may nest */
		return VB_OK;
	}
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		struct stage *st = NULL;
		if (strcmp(type, kinds[i].name) != 0)
			continue;
		TRY(add_stage(d, kinds[i].kind, where, &st));
		return parse_options(st, o, where);
	}
	FAIL(VB_EUNSUPPORTED, "unsupported decoder: %s: \"%s\"", where, type);
}

int decoder_parse(struct decoder **out, const json_t *o, const char *where)
{
	struct stage *st = NULL;
	struct decoder *d = mem_calloc(1, sizeof *d);
	*out = d;
	if (!d)
		return VB_ENOMEM;
	int rc = o ? parse_into(d, o, where) : add_stage(d, STAGE_JOIN, where, &st);
	if (rc == VB_OK && d->n == 0) /* an empty sequence: tokens side by side */
		rc = add_stage(d, STAGE_FUSE, where, &st);
	if (rc)
		decoder_destroy(out);
	return rc;
}

void decoder_destroy(struct decoder **d)
{
	if (!*d)
		return;
	for (size_t i = 0; i < (*d)->n; i++) {
		struct stage *st = &(*d)->stage[i];
		pattern_fini(&st->pattern);
		mem_free(st->content);
		mem_free(st->delimiter);
	}
	mem_free((*d)->stage);
	mem_free(*d);
	*d = NULL;
}
