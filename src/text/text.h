/* text.h - the face of src/text: tokeniser, streaming detokeniser, chat template.
 *
 * Everything read here is untrusted: malformed files are VB_EFORMAT, well-formed ones that use what is not
 * supported are VB_EUNSUPPORTED, both naming file and component. Objects are immutable after creation and may be
 * used from several threads; a detokenizer belongs to one.
 */
#ifndef TEXT_TEXT_H
#define TEXT_TEXT_H

#include "base/buf.h"
#include "base/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tokenizer;

/* Opens MODEL_DIR/tokenizer.json, with tokenizer_config.json where it is there (added_tokens_decoder,
 * add_bos_token, bos_token, eos_token, chat_template; chat_template.jinja beside it wins). */
int tokenizer_open(struct tokenizer **out, const char *model_dir);
/* The same from texts; config_json may be NULL. `where` names the text in messages. */
int tokenizer_from_json(struct tokenizer **out, const char *json, size_t json_len,
			const char *config_json, size_t config_len, const char *where);
void tokenizer_destroy(struct tokenizer **t);

/* One more than the largest id. */
int32_t tokenizer_vocab_size(const struct tokenizer *t);

enum tokenize_flags {
	TOKENIZE_ADD_SPECIAL = 1, /* BOS and EOS as the post-processor says */
	/* Special tokens written in the text become their ids. Without it their text is encoded as text:
	 * what user content must use. (Added tokens that are not special are always recognised.) */
	TOKENIZE_PARSE_SPECIAL = 2,
};

struct ids {
	int32_t *id; /* owned; grown as needed */
	size_t n, capacity;
};

void ids_fini(struct ids *ids);
int ids_push(struct ids *ids, int32_t id);

/* Appends the ids of text[0..n) to *out, which is unchanged on failure. Text need not be valid UTF-8: what is not is
 * taken as U+FFFD, one for each maximal part of a sequence, as Python's errors="replace" does. O(n log n) in the worst
 * case. VB_ELIMIT from 2 GiB, and where the pre-tokeniser's pattern backtracks without end. */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, unsigned flags, struct ids *out);

/* Appends the text of the ids. Ids outside the vocabulary are VB_EINVAL. */
int tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip_special, struct buf *out);

/* The token as it stands in the vocabulary (NUL-terminated, borrowed); NULL for an id that has none. */
const char *tokenizer_token(const struct tokenizer *t, int32_t id);
/* The bytes that the token alone stands for (byte-level and byte-fallback tokens undone), appended to *out: for
 * the `bytes` arrays of log-probabilities. May be an incomplete UTF-8 sequence. */
int tokenizer_token_bytes(const struct tokenizer *t, int32_t id, struct buf *out);
/* -1 where there is none. */
int32_t tokenizer_token_id(const struct tokenizer *t, const char *token);
bool tokenizer_is_special(const struct tokenizer *t, int32_t id);
int32_t tokenizer_bos(const struct tokenizer *t);
int32_t tokenizer_eos(const struct tokenizer *t);
/* NULL where the model has none; borrowed. */
const char *tokenizer_chat_template(const struct tokenizer *t);

/* Streaming decode: the concatenation of all that push and flush append equals tokenizer_decode of all ids, and no
 * piece ends inside a UTF-8 sequence. */
struct detokenizer;
int detokenizer_create(struct detokenizer **out, const struct tokenizer *t, bool skip_special);
void detokenizer_destroy(struct detokenizer **d);
/* Appends what became certain by this id (perhaps nothing). Allocation-free once warm. */
int detokenizer_push(struct detokenizer *d, int32_t id, struct buf *out);
/* Appends what is held back, incomplete sequences as U+FFFD. */
int detokenizer_flush(struct detokenizer *d, struct buf *out);
void detokenizer_reset(struct detokenizer *d);

/* Chat templates: the subset of Jinja that published templates use, with the meaning that transformers gives it
 * (ImmutableSandboxedEnvironment, trim_blocks, lstrip_blocks, loop controls). Compiled once, rendered with fuel. */
struct chat_template;
int chat_template_compile(struct chat_template **out, const char *source, size_t len, const char *where);
void chat_template_destroy(struct chat_template **t);

/* A run of rendered text that came from the caller's data (message contents, names, tool texts), not from the
 * template: no special token may be recognised in it. The roles that every template knows (system, developer, user,
 * assistant, tool, function) count as the template's, for some build control tokens from them. */
struct text_span {
	size_t begin, end; /* bytes of the rendered text; ascending, not overlapping */
};
struct text_spans {
	struct text_span *span; /* owned */
	size_t n, capacity;
};
void text_spans_fini(struct text_spans *s);

/* `variables`: an object with messages, tools, add_generation_prompt, bos_token, ... Strings inside "messages",
 * "tools" and "documents" are the caller's data; all others count as the template's. `now` is the time that
 * strftime_now shows (seconds since 1970, UTC). raise_exception and every other failure is VB_EINVAL with the
 * template's own words; a template that takes too many steps, too much memory or nests too deep is VB_ELIMIT. On
 * failure *out and *spans are as before. `spans` may be NULL. */
int chat_template_render(const struct chat_template *t, const json_t *variables, int64_t now, struct buf *out,
			 struct text_spans *spans);

/* Renders and encodes, as one text: its ids are those of the text with special tokens parsed, but for special tokens
 * that hold bytes of a span, which are encoded as the plain text that they are. */
int chat_encode(const struct tokenizer *t, const struct chat_template *tmpl, const json_t *variables, int64_t now,
		struct ids *out);

#endif
