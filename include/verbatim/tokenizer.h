/* verbatim/tokenizer.h - text to token ids and back, as tokenizer.json says. */
#ifndef VERBATIM_TOKENIZER_H
#define VERBATIM_TOKENIZER_H

#include "verbatim/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vb_tokenizer;

VB_API int vb_tokenizer_open(struct vb_tokenizer **out, const char *model_dir);
VB_API void vb_tokenizer_close(struct vb_tokenizer **tokenizer);

VB_API int32_t vb_tokenizer_vocab_size(const struct vb_tokenizer *tokenizer);

/* add_special: BOS and EOS as the model's post-processor says; parse_special: special tokens written in the text
 * become their ids. *ids is freed by vb_free. */
VB_API int vb_tokenize(const struct vb_tokenizer *tokenizer, const char *text, size_t len, bool add_special,
		       bool parse_special, int32_t **ids, size_t *n);

/* *text is NUL-terminated and freed by vb_free. */
VB_API int vb_detokenize(const struct vb_tokenizer *tokenizer, const int32_t *ids, size_t n, bool skip_special,
			 char **text, size_t *len);

/* The chat template rendered over `chat` (JSON: an array of messages, or an object with "messages" and more).
 * *text is freed by vb_free. VB_ENOTFOUND where the model has no template. */
VB_API int vb_render_chat(const struct vb_tokenizer *tokenizer, const char *chat, bool add_generation_prompt,
			  char **text, size_t *len);

#ifdef __cplusplus
}
#endif
#endif
