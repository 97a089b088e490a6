/* tokenizer_config.c - what tokenizer_config.json says besides tokenizer.json: more added tokens or
 * other flags of them, which tokens begin and end a text, and the chat template. */
#include "text_internal.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdlib.h>

#define MAX_ADDED_GAP ((size_t)1 << 20)

/* {"128000": {"content": ..., ...}, ...} */
static int added_tokens_decoder(struct tokenizer *t, const json_t *o, const char *where)
{
	size_t limit = t->vocab->n_ids + t->added.n + json_object_size(o) + MAX_ADDED_GAP;
	const char *key;
	json_t *v;
	json_object_foreach ((json_t *)o, key, v) {
		struct added_token token;
		char *end;
		unsigned long long id = strtoull(key, &end, 10);
		if (key[0] < '0' || key[0] > '9' || *end || id >= limit)
			FAIL(VB_EFORMAT, "bad id: %s: added_tokens_decoder: \"%.40s\"", where, key);
		TRY(added_token_parse(v, where, &token));
		token.id = (int32_t)id;
		TRY(added_tokens_put(&t->added, t->vocab, &token, where));
	}
	return VB_OK;
}

/* A token is a string or an object with "content". NULL: neither. */
static const char *token_text(const json_t *v)
{
	if (json_is_object(v))
		v = json_get(v, "content");
	return json_string_value(v);
}

/* The tokens with a role are special, also where no list of added tokens has them. Those that the
 * vocabulary lacks (a padding token that was never trained) cannot occur and are passed over. */
static int special_by_role(struct tokenizer *t, const json_t *v, const char *where)
{
	const char *s = token_text(v);
	if (!s || !*s)
		return VB_OK;
	size_t n = strlen(s);
	if (added_tokens_find(&t->added, s, n) || vocab_find(t->vocab, s, n) < 0)
		return VB_OK;
	struct added_token token = { .content = (char *)s, .len = n, .id = -1 };
	if (json_is_object(v)) /* with flags of its own */
		TRY(added_token_parse(v, where, &token));
	token.special = true;
	return added_tokens_put(&t->added, t->vocab, &token, where);
}

/* A list of tokens, or an object of named ones. */
static int special_by_list(struct tokenizer *t, const json_t *list, const char *where)
{
	const json_t *v;
	json_t *named;
	const char *name;
	size_t i;
	json_array_foreach (list, i, v)
		TRY(special_by_role(t, v, where));
	json_object_foreach ((json_t *)list, name, named)
		TRY(special_by_role(t, named, where));
	return VB_OK;
}

int config_added_tokens(struct tokenizer *t, const json_t *config, const char *where)
{
	static const char *const roles[] = { "bos_token", "eos_token", "unk_token", "pad_token",
					     "sep_token", "cls_token", "mask_token" };
	if (!json_is_object(config))
		FAIL(VB_EFORMAT, "wrong type: %s: expected an object, found %s", where,
		     json_kind(config));
	const json_t *more = json_get(config, "added_tokens_decoder");
	if (more && !json_is_object(more))
		FAIL(VB_EFORMAT,
		     "wrong type: %s: key \"added_tokens_decoder\": expected an object, found %s",
		     where, json_kind(more));
	if (more)
		TRY(added_tokens_decoder(t, more, where));
	for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
		TRY(special_by_role(t, json_get(config, roles[i]), where));
	TRY(special_by_list(t, json_get(config, "additional_special_tokens"), where));
	return special_by_list(t, json_get(config, "extra_special_tokens"), where);
}

static int32_t id_by_role(const struct tokenizer *t, const json_t *config, const char *role)
{
	const char *s = token_text(json_get(config, role));
	return s ? tokenizer_token_id(t, s) : -1;
}

static int insert_first(int32_t **ids, size_t *n, int32_t id)
{
	int32_t *grown = mem_realloc(*ids, *n + 1, sizeof *grown);
	if (!grown)
		return VB_ENOMEM;
	*ids = grown;
	memmove(grown + 1, grown, *n * sizeof *grown);
	grown[0] = id;
	(*n)++;
	return VB_OK;
}

/* add_bos_token and add_eos_token overrule the post-processor where they are given. */
static int add_bos_eos(struct tokenizer *t, const json_t *config, const char *where)
{
	struct postprocess *p = &t->post;
	bool bos, eos;
	TRY(json_get_bool(config, "add_bos_token", where, false, &bos));
	TRY(json_get_bool(config, "add_eos_token", where, false, &eos));
	bool has_bos = t->bos >= 0 && p->n_before && p->before[0] == t->bos;
	bool has_eos = t->eos >= 0 && p->n_after && p->after[p->n_after - 1] == t->eos;
	if (bos && t->bos < 0)
		FAIL(VB_EFORMAT, "add_bos_token without a bos_token of the vocabulary: %s", where);
	if (eos && t->eos < 0)
		FAIL(VB_EFORMAT, "add_eos_token without an eos_token of the vocabulary: %s", where);
	if (bos && !has_bos)
		TRY(insert_first(&p->before, &p->n_before, t->bos));
	if (json_get(config, "add_bos_token") && !bos && has_bos)
		memmove(p->before, p->before + 1, --p->n_before * sizeof *p->before);
	if (eos && !has_eos) {
		TRY(insert_first(&p->after, &p->n_after, t->eos));
		memmove(p->after, p->after + 1, (p->n_after - 1) * sizeof *p->after);
		p->after[p->n_after - 1] = t->eos;
	}
	if (json_get(config, "add_eos_token") && !eos && has_eos)
		p->n_after--;
	return VB_OK;
}

/* A string, or a list of {"name", "template"}, of which "default" is meant. */
static int chat_template(struct tokenizer *t, const json_t *v, const char *where)
{
	const json_t *entry, *chosen = v;
	size_t i;
	if (json_is_array(v)) {
		chosen = NULL;
		json_array_foreach (v, i, entry) {
			const char *name = json_string_value(json_get(entry, "name"));
			if (name && strcmp(name, "default") == 0)
				chosen = json_get(entry, "template");
		}
		if (!chosen)
			return VB_OK;
	}
	if (!json_is_string(chosen))
		FAIL(VB_EFORMAT,
		     "wrong type: %s: key \"chat_template\": expected a string or a list, found %s",
		     where, json_kind(chosen));
	t->chat_template = mem_strndup(json_string_value(chosen), json_string_length(chosen));
	return t->chat_template ? VB_OK : VB_ENOMEM;
}

int config_specials(struct tokenizer *t, const json_t *config, const char *where)
{
	t->bos = id_by_role(t, config, "bos_token");
	t->eos = id_by_role(t, config, "eos_token");
	TRY(add_bos_eos(t, config, where));
	const json_t *v = json_get(config, "chat_template");
	return v ? chat_template(t, v, where) : VB_OK;
}
