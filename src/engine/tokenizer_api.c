/* tokenizer_api.c - include/verbatim/tokenizer.h over src/text. */
#include "engine_internal.h"

#include "base/mem.h"
#include "base/status.h"

#include <string.h>

int vb_tokenizer_open(struct vb_tokenizer **out, const char *model_dir)
{
	if (!out || !model_dir)
		FAIL(VB_EINVAL, "invalid call: vb_tokenizer_open: out and model_dir must not be NULL");
	*out = NULL;
	struct vb_tokenizer *t = mem_calloc(1, sizeof *t);
	if (!t)
		return VB_ENOMEM;
	int rc;
	TRY_TO(out, tokenizer_open(&t->t, model_dir));
	const char *source = tokenizer_chat_template(t->t);
	/* A template that cannot be used takes chats away, not the model. */
	int chat_rc = source ? chat_template_compile(&t->chat, source, strlen(source), model_dir) : VB_OK;
	if (chat_rc == VB_ENOMEM)
		TRY_TO(out, chat_rc);
	if (chat_rc != VB_OK) {
		t->chat_error = mem_strdup(vb_errmsg());
		if (!t->chat_error)
			FAIL_TO(out, VB_ENOMEM, "out of memory: vb_tokenizer_open");
	}
out:
	if (rc == VB_OK)
		*out = t;
	else
		vb_tokenizer_close(&t);
	return rc;
}

void vb_tokenizer_close(struct vb_tokenizer **tp)
{
	if (!tp || !*tp)
		return;
	chat_template_destroy(&(*tp)->chat);
	tokenizer_destroy(&(*tp)->t);
	mem_free((*tp)->chat_error);
	mem_free(*tp);
	*tp = NULL;
}

int32_t vb_tokenizer_vocab_size(const struct vb_tokenizer *t)
{
	return t ? tokenizer_vocab_size(t->t) : 0;
}

int vb_tokenize(const struct vb_tokenizer *t, const char *text, size_t len, bool add_special, bool parse_special,
		int32_t **ids, size_t *n)
{
	if (!t || (!text && len) || !ids || !n)
		FAIL(VB_EINVAL, "invalid call: vb_tokenize: no argument may be NULL");
	struct ids list = { 0 };
	unsigned flags = (add_special ? TOKENIZE_ADD_SPECIAL : 0) | (parse_special ? TOKENIZE_PARSE_SPECIAL : 0);
	int rc = tokenizer_encode(t->t, text, len, flags, &list);
	if (rc != VB_OK) {
		ids_fini(&list);
		return rc;
	}
	*ids = list.id;
	*n = list.n;
	return VB_OK;
}

int vb_detokenize(const struct vb_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, char **text,
		  size_t *len)
{
	if (!t || (!ids && n) || !text || !len)
		FAIL(VB_EINVAL, "invalid call: vb_detokenize: no argument may be NULL");
	struct buf out;
	buf_init(&out, SIZE_MAX / 4);
	int rc = tokenizer_decode(t->t, ids, n, skip_special, &out);
	if (rc == VB_OK) {
		*len = out.len;
		*text = buf_detach(&out);
		rc = *text ? VB_OK : VB_ENOMEM;
	}
	buf_fini(&out);
	return rc;
}
