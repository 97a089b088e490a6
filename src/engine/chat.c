/* chat.c - conversations as JSON to text and token ids. */
#include "engine_internal.h"

#include "base/mem.h"
#include "base/status.h"

#include <string.h>
#include <time.h>

/* The template's variables: the caller's object, or an array as its "messages", with the tokeniser's own. */
static int chat_variables(const struct vb_tokenizer *t, const char *chat, bool add_generation_prompt, json_t **out)
{
	json_t *given;
	TRY(json_parse(&given, chat, strlen(chat), "chat"));
	json_t *variables = json_is_array(given) ? json_object() : json_incref(given);
	int bad = !variables;
	if (json_is_array(given))
		bad |= json_object_set(variables, "messages", given);
	json_decref(given);
	if (bad || !json_is_object(variables) || !json_is_array(json_object_get(variables, "messages"))) {
		json_decref(variables);
		FAIL(VB_EINVAL, "invalid chat: expected a JSON array of messages, or an object with \"messages\"");
	}
	if (!json_object_get(variables, "add_generation_prompt"))
		bad |= json_object_set_new(variables, "add_generation_prompt", json_boolean(add_generation_prompt));
	const char *names[2] = { "bos_token", "eos_token" };
	int32_t ids[2] = { tokenizer_bos(t->t), tokenizer_eos(t->t) };
	for (int i = 0; i < 2; i++) {
		const char *text = ids[i] >= 0 ? tokenizer_token(t->t, ids[i]) : NULL;
		if (text)
			bad |= json_object_set_new(variables, names[i], json_string(text));
	}
	if (bad) {
		json_decref(variables);
		FAIL(VB_ENOMEM, "out of memory: chat");
	}
	*out = variables;
	return VB_OK;
}

static int need_template(const struct vb_tokenizer *t)
{
	if (t->chat_error)
		FAIL(VB_EUNSUPPORTED, "unusable chat template: %s: use a raw prompt", t->chat_error);
	if (!t->chat)
		FAIL(VB_ENOTFOUND, "no chat template: tokenizer_config.json has none and there is no "
				   "chat_template.jinja: use a raw prompt");
	return VB_OK;
}

int chat_ids(const struct vb_tokenizer *t, const char *chat, bool add_generation_prompt, struct ids *out)
{
	TRY(need_template(t));
	json_t *variables;
	TRY(chat_variables(t, chat, add_generation_prompt, &variables));
	int rc = chat_encode(t->t, t->chat, variables, (int64_t)time(NULL), out);
	json_decref(variables);
	return rc;
}

int vb_render_chat(const struct vb_tokenizer *t, const char *chat, bool add_generation_prompt, char **text,
		   size_t *len)
{
	if (!t || !chat || !text || !len)
		FAIL(VB_EINVAL, "invalid call: vb_render_chat: no argument may be NULL");
	TRY(need_template(t));
	json_t *variables;
	TRY(chat_variables(t, chat, add_generation_prompt, &variables));
	struct buf out;
	buf_init(&out, (size_t)64 << 20);
	int rc = chat_template_render(t->chat, variables, (int64_t)time(NULL), &out, NULL);
	json_decref(variables);
	if (rc == VB_OK) {
		*len = out.len;
		*text = buf_detach(&out);
		rc = *text ? VB_OK : VB_ENOMEM;
	}
	buf_fini(&out);
	return rc;
}
