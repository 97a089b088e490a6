#include "answer.h"

#include "output.h"
#include "program.h"

static json_t *top_json(const struct vb_token *t)
{
	json_t *top = json_array();
	for (int i = 0; i < t->n_top; i++)
		json_array_append_new(top, json_pack("{s:i, s:o}", "id", (int)t->top[i].id, "logprob",
						     json_number((double)t->top[i].logprob)));
	return top;
}

/* The first token of a prompt has no log-probability: null. */
static json_t *tokens_json(const struct vb_token *tokens, size_t n, size_t n_without)
{
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, i < n_without ? json_null() :
				      json_pack("{s:i, s:o, s:o}", "id", (int)tokens[i].id, "logprob",
						json_number((double)tokens[i].logprob), "top", top_json(&tokens[i])));
	return list;
}

static json_t *ids_json(const int32_t *ids, size_t n)
{
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_integer(ids[i]));
	return list;
}

json_t *answer_json(const struct vb_result *a, const json_t *info)
{
	json_t *o = json_object();
	copy_key(o, info, "model");
	copy_key(o, info, "device");
	copy_key(o, info, "dtype");
	copy_key(o, info, "weight_format");
	json_object_set_new(o, "prompt_ids", ids_json(a->prompt_ids, a->n_prompt_ids));
	json_object_set_new(o, "ids", ids_json(a->ids, a->n_ids));
	json_object_set_new(o, "text", json_stringn(a->text ? a->text : "", a->text_len));
	json_object_set_new(o, "finish_reason", json_string(vb_finish_name(a->finish)));
	if (a->tokens)
		json_object_set_new(o, "logprobs", tokens_json(a->tokens, a->n_ids, 0));
	if (a->prompt_tokens)
		json_object_set_new(o, "prompt_logprobs", tokens_json(a->prompt_tokens, a->n_prompt_ids, 1));
	copy_key(o, info, "attention");
	const char *method = json_string_value(json_object_get(info, "speculation"));
	json_object_set_new(o, "speculation", json_pack("{s:s, s:I, s:I, s:I}", "method", method ? method : "none", "steps",
							(json_int_t)a->draft_steps, "proposed",
							(json_int_t)a->proposed_tokens, "accepted",
							(json_int_t)a->accepted_tokens));
	json_object_set_new(o, "usage", json_pack("{s:I, s:I, s:I}", "prompt_tokens", (json_int_t)a->n_prompt_ids,
						  "completion_tokens", (json_int_t)a->n_ids, "cached_tokens",
						  (json_int_t)a->cached_tokens));
	json_object_set_new(o, "timing", json_pack("{s:o, s:o, s:o, s:o}",
						   "load_s", json_number(json_number_value(json_object_get(info, "load_s"))),
						   "first_token_s", json_number(a->first_token_s),
						   "prefill_tok_s", json_number(a->prefill_tok_s),
						   "decode_tok_s", json_number(a->decode_tok_s)));
	return o;
}
