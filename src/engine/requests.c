#include "requests.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/utf8.h"

#include <math.h>
#include <string.h>

/* Text that one token is expected to add at most, on average: room is taken for so much. */
#define BYTES_PER_TOKEN 16

/* ---- Checking ---- */

static int check_number(const char *name, double v, double min, double max)
{
	if (!(v >= min && v <= max))
		FAIL(VB_EINVAL, "%s out of range: %g: use %g to %g", name, v, min, max);
	return VB_OK;
}

static int check_request(const struct vb_request *r)
{
	if (r->size != sizeof *r)
		FAIL(VB_EINVAL, "invalid request: size %zu: call vb_request_default first", r->size);
	int forms = (r->prompt_ids != NULL) + (r->prompt != NULL) + (r->chat != NULL);
	if (forms != 1)
		FAIL(VB_EINVAL, "invalid request: %d prompts: give exactly one of prompt_ids, prompt and chat", forms);
	const struct vb_sampling *s = &r->sampling;
	TRY(check_number("temperature", s->temperature, 0, 1e4));
	TRY(check_number("top_p", s->top_p, 0, 1));
	TRY(check_number("min_p", s->min_p, 0, 1));
	TRY(check_number("repetition_penalty", s->repetition_penalty, 1e-3, 1e3));
	TRY(check_number("presence_penalty", s->presence_penalty, -100, 100));
	TRY(check_number("frequency_penalty", s->frequency_penalty, -100, 100));
	if (s->top_k < 0)
		FAIL(VB_EINVAL, "top_k out of range: %lld: use 0 (all) or more", (long long)s->top_k);
	if (r->max_tokens < 0 || r->min_tokens < 0)
		FAIL(VB_EINVAL, "max_tokens and min_tokens must not be negative: %lld, %lld",
		     (long long)r->max_tokens, (long long)r->min_tokens);
	if (r->logprobs < -1 || r->logprobs > LOGPROBS_MAX || r->prompt_logprobs < -1 ||
	    r->prompt_logprobs > LOGPROBS_MAX)
		FAIL(VB_EINVAL, "logprobs out of range: %d, prompt_logprobs %d: use -1 (none) to %d", r->logprobs,
		     r->prompt_logprobs, LOGPROBS_MAX);
	if (r->n_stop && !r->stop)
		FAIL(VB_EINVAL, "invalid request: stop is NULL, but n_stop is %zu", r->n_stop);
	for (size_t i = 0; i < r->n_stop; i++) {
		if (!r->stop[i] || !r->stop[i][0])
			FAIL(VB_EINVAL, "empty stop string: number %zu: leave it out", i + 1);
		if (!utf8_valid(r->stop[i], strlen(r->stop[i])))
			FAIL(VB_EINVAL, "invalid stop string: number %zu: it is not UTF-8", i + 1);
	}
	return VB_OK;
}

static int encode_prompt(struct vb_engine *e, const struct vb_request *asked, struct ids *prompt)
{
	if (asked->prompt_ids) {
		for (size_t i = 0; i < asked->n_prompt_ids; i++)
			TRY(ids_push(prompt, asked->prompt_ids[i]));
	} else if (!e->tokenizer) {
		FAIL(VB_ENOTFOUND, "no tokeniser: %s has no tokenizer.json: give the prompt as token ids, or add that file",
		     e->model_dir);
	} else if (asked->prompt) {
		TRY(tokenizer_encode(e->tokenizer->t, asked->prompt, asked->prompt_len,
				     TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL, prompt));
	} else {
		TRY(chat_ids(e->tokenizer, asked->chat, true, prompt));
	}
	int64_t n_vocab = program_n_vocab(e->setup.program);
	for (size_t i = 0; i < prompt->n; i++)
		if (prompt->id[i] < 0 || prompt->id[i] >= n_vocab)
			FAIL(VB_EINVAL, "token id out of range: prompt[%zu] = %d: the model's are 0 to %lld", i,
			     prompt->id[i], (long long)n_vocab - 1);
	if (prompt->n == 0)
		FAIL(VB_EINVAL, "empty prompt: the model needs at least one token to start from");
	return VB_OK;
}

/* ---- Creating ---- */

static int take_result(struct request *r, const struct vb_request *asked)
{
	size_t n = (size_t)r->n_prompt, m = (size_t)r->max_tokens;
	size_t n_vocab = (size_t)program_n_vocab(r->e->setup.program);
	r->n_top = asked->logprobs > 0 ? (size_t)asked->logprobs : 0;
	r->n_top = r->n_top < n_vocab ? r->n_top : n_vocab;
	r->n_prompt_top = asked->prompt_logprobs > 0 ? (size_t)asked->prompt_logprobs : 0;
	r->n_prompt_top = r->n_prompt_top < n_vocab ? r->n_prompt_top : n_vocab;
	struct vb_result *res = &r->result;
	res->finish = VB_FINISH_ERROR;
	res->prompt_ids = mem_alloc(n * sizeof *res->prompt_ids);
	res->ids = mem_alloc(m * sizeof *res->ids);
	r->top = mem_calloc(m * r->n_top + n * r->n_prompt_top, sizeof *r->top);
	res->memory = r->top;
	if (!res->prompt_ids || !res->ids || !r->top)
		return VB_ENOMEM;
	r->prompt_top = r->top + m * r->n_top;
	memcpy(res->prompt_ids, r->tokens, n * sizeof *res->prompt_ids);
	res->n_prompt_ids = n;
	if (asked->logprobs >= 0 && !(res->tokens = mem_calloc(m, sizeof *res->tokens)))
		return VB_ENOMEM;
	if (asked->prompt_logprobs >= 0) {
		res->prompt_tokens = mem_calloc(n, sizeof *res->prompt_tokens);
		if (!res->prompt_tokens)
			return VB_ENOMEM;
		res->prompt_tokens[0] = (struct vb_token){ .id = r->tokens[0], .logprob = NAN };
	}
	return VB_OK;
}

static int copy_stops(struct request *r, const struct vb_request *asked)
{
	r->stop = mem_calloc(asked->n_stop, sizeof *r->stop);
	if (!r->stop)
		return VB_ENOMEM;
	for (size_t i = 0; i < asked->n_stop; i++) {
		r->stop[i] = mem_strdup(asked->stop[i]);
		if (!r->stop[i])
			return VB_ENOMEM;
		r->n_stop++;
	}
	return VB_OK;
}

static bool has_penalties(const struct sample_params *p)
{
	return p->repetition_penalty != 1 || p->presence_penalty != 0 || p->frequency_penalty != 0;
}

static int fill(struct request *r, const struct vb_request *asked, struct ids *prompt)
{
	struct vb_engine *e = r->e;
	TRY(encode_prompt(e, asked, prompt));
	/* What the context holds, an empty cache holds (make_cache): nothing else can be too long. */
	int64_t n = (int64_t)prompt->n, room = e->setup.context - n;
	if (room < 0 || (room == 0 && asked->max_tokens > 0))
		FAIL(VB_ELIMIT, "prompt too long: %lld tokens, the context holds %lld: shorten it or raise %s",
		     (long long)n, (long long)e->setup.context,
		     e->setup.context_why[0] ? "--kv-memory" : "--context");
	r->max_tokens = asked->max_tokens < room ? asked->max_tokens : room;
	r->result.clipped = r->max_tokens < asked->max_tokens;
	r->n_prompt = r->n_known = n;
	r->tokens = mem_alloc((size_t)(n + r->max_tokens + MAX_DRAFT) * sizeof *r->tokens);
	if (!r->tokens)
		return VB_ENOMEM;
	memcpy(r->tokens, prompt->id, (size_t)n * sizeof *r->tokens);
	const struct vb_sampling *s = &asked->sampling;
	r->params = (struct sample_params){
		.temperature = s->temperature, .top_p = s->top_p, .min_p = s->min_p, .top_k = s->top_k,
		.repetition_penalty = s->repetition_penalty, .presence_penalty = s->presence_penalty,
		.frequency_penalty = s->frequency_penalty, .seed = s->seed,
	};
	/* Side by side, not mixed: different tenants and different rotations can never meet. */
	r->salt = (uint64_t)asked->cache_salt << 32 | model_rope_key(e->setup.config, n);
	TRY(take_result(r, asked));
	r->penalised = has_penalties(&r->params);
	TRY(copy_stops(r, asked));
	stopper_init(&r->stopper, (const char *const *)r->stop, r->n_stop, SIZE_MAX / 4);
	buf_init(&r->text, SIZE_MAX / 4);
	TRY(buf_reserve(&r->text, (size_t)r->max_tokens * BYTES_PER_TOKEN));
	TRY(buf_reserve(&r->stopper.pending, 4096));
	if (e->tokenizer)
		TRY(detokenizer_create(&r->detokenizer, e->tokenizer->t, true));
	return spec_open(e->spec, &r->spec, n + r->max_tokens);
}

int request_create(struct request **out, struct vb_engine *e, const struct vb_request *asked, vb_token_fn *on_token,
		   vb_done_fn *on_done, void *user)
{
	*out = NULL;
	TRY(check_request(asked));
	struct request *r = mem_calloc(1, sizeof *r);
	if (!r)
		return VB_ENOMEM;
	*r = (struct request){ .e = e, .on_token = on_token, .on_done = on_done, .user = user, .seq = -1,
			       .min_tokens = asked->min_tokens, .ignore_eos = asked->ignore_eos,
			       .start = clock_s() };
	struct ids prompt = { 0 };
	int rc = fill(r, asked, &prompt);
	ids_fini(&prompt);
	if (rc != VB_OK)
		request_destroy(&r);
	*out = r;
	return rc;
}

void request_destroy(struct request **rp)
{
	struct request *r = *rp;
	if (!r)
		return;
	spec_close(r->e->spec, &r->spec);
	detokenizer_destroy(&r->detokenizer);
	stopper_fini(&r->stopper);
	buf_fini(&r->text);
	vb_result_free(&r->result);
	for (size_t i = 0; i < r->n_stop; i++)
		mem_free(r->stop[i]);
	mem_free(r->stop);
	mem_free(r->tokens);
	mem_free(r);
	*rp = NULL;
}

/* ---- Tokens ---- */

static int not_finite(int64_t position)
{
	FAIL(VB_ENUMERIC, "logits are not finite: position %lld: the weights or the compute type do not suit (f16 "
			  "overflows where bf16 does not): try --dtype f32", (long long)position);
}

/* The log-probabilities of a row, and its n_top most probable tokens where there are any. */
static int record(struct vb_token *token, const struct sample_choice *choice, int64_t n_vocab, int32_t id,
		  struct vb_top *top, size_t n_top, int64_t position)
{
	if (!isfinite(choice->log_sum) || !isfinite(choice->max))
		return not_finite(position);
	struct log_row row = { choice->logits, n_vocab, choice->max, choice->log_sum };
	*token = (struct vb_token){ .id = id, .top = top, .n_top = (int)n_top };
	token->logprob = choice->id == id ? choice->logprob : log_row_prob(&row, id);
	if (n_top > 0)
		log_row_top(&row, (int)n_top, top);
	return VB_OK;
}

void request_wish(struct request *r, int64_t token, int64_t row, bool score, struct sample_wish *out)
{
	struct vb_engine *e = r->e;
	int64_t n_known = token + 1;
	*out = (struct sample_wish){ .row = (int32_t)row, .position = n_known, .owner = r };
	if (score) {
		out->want_logprob = out->want_logits = true;
		return;
	}
	out->params = &r->params;
	out->want_logprob = r->result.tokens != NULL;
	out->want_logits = r->n_top > 0;
	if (r->penalised) {
		out->tokens = r->tokens;
		out->n_prompt = r->n_prompt;
		out->n_known = n_known;
	}
	if (n_known - r->n_prompt < r->min_tokens) {
		out->banned = e->eos;
		out->n_banned = e->n_eos;
	}
}

int request_score(struct request *r, const struct sample_choice *choice)
{
	int64_t next = ++r->n_scored;
	return record(&r->result.prompt_tokens[next], choice, program_n_vocab(r->e->setup.program), r->tokens[next],
		      r->prompt_top + (size_t)next * r->n_prompt_top, r->n_prompt_top, next);
}

static bool is_end_token(const struct vb_engine *e, int32_t id)
{
	for (int64_t i = 0; i < e->n_eos; i++)
		if (e->eos[i] == id)
			return true;
	return false;
}

/* Gives out the text that became certain. */
static int emit(struct request *r, const struct vb_token *token, bool last)
{
	struct stopper *s = &r->stopper;
	bool too_early = (int64_t)r->result.n_ids < r->min_tokens;
	size_t n = too_early ? s->pending.len : stopper_ready(s);
	if (last && !s->stopped)
		n = s->pending.len;
	TRY(buf_append(&r->text, s->pending.data ? s->pending.data : "", n));
	stopper_drop(s, n);
	if (r->on_token && (token || n)) {
		struct vb_event event = { .token = token, .text = r->text.data + r->text.len - n, .text_len = n };
		if (r->on_token(r->user, &event) != 0)
			return VB_ECANCELLED;
	}
	return VB_OK;
}

/* Ends the text: what was held back is no part of a stop string, unless its last bytes make it one. */
static int emit_rest(struct request *r)
{
	if (r->detokenizer && !r->stopper.stopped)
		TRY(detokenizer_flush(r->detokenizer, &r->stopper.pending));
	TRY(emit(r, NULL, true));
	if (r->stopper.stopped)
		r->result.finish = VB_FINISH_STOP;
	return VB_OK;
}

int request_take(struct request *r, const struct sample_choice *choice, bool *ended)
{
	struct vb_result *res = &r->result;
	if (r->prefill_end == 0)
		r->prefill_end = clock_s();
	*ended = true;
	res->finish = VB_FINISH_LENGTH;
	if ((int64_t)res->n_ids >= r->max_tokens)
		return VB_OK;
	int32_t id = choice->id;
	if (id < 0)
		return not_finite(r->n_known);
	if (!r->ignore_eos && is_end_token(r->e, id)) {
		res->finish = VB_FINISH_STOP;
		return VB_OK;
	}
	size_t i = res->n_ids++;
	res->ids[i] = r->tokens[r->n_known++] = id;
	struct vb_token token = { .id = id };
	if (res->tokens) {
		TRY(record(&res->tokens[i], choice, program_n_vocab(r->e->setup.program), id, r->top + i * r->n_top,
			   r->n_top, r->n_known - 1));
		token = res->tokens[i];
	}
	/* Embeddings are often padded: an id behind the tokeniser's last has no text. */
	if (r->detokenizer && id < tokenizer_vocab_size(r->e->tokenizer->t))
		TRY(detokenizer_push(r->detokenizer, id, &r->stopper.pending));
	r->last_token = clock_s();
	if (i == 0)
		r->first_token = r->last_token;
	TRY(emit(r, &token, false));
	if (r->stopper.stopped)
		res->finish = VB_FINISH_STOP;
	else
		*ended = (int64_t)res->n_ids >= r->max_tokens;
	return VB_OK;
}

/* ---- Ending ---- */

static void fill_times(struct request *r)
{
	struct vb_result *res = &r->result;
	if (r->prefill_end > r->start)
		res->prefill_tok_s = (double)(r->n_prompt - res->cached_tokens) / (r->prefill_end - r->start);
	if (res->n_ids)
		res->first_token_s = r->first_token - r->start;
	if (res->n_ids > 1 && r->last_token > r->first_token)
		res->decode_tok_s = (double)(res->n_ids - 1) / (r->last_token - r->first_token);
	res->draft_steps = r->n_draft_steps;
	res->proposed_tokens = r->spec.proposed;
	res->accepted_tokens = r->spec.accepted;
}

void request_end(struct request *r, int rc)
{
	if (rc == VB_OK)
		rc = emit_rest(r);
	if (rc == VB_ECANCELLED) {
		/* The caller wants no more calls, but what was held back belongs to what was made. */
		r->on_token = NULL;
		int rest = emit_rest(r);
		rc = rest == VB_OK ? rc : rest;
	}
	if (rc == VB_ECANCELLED) {
		r->result.finish = VB_FINISH_CANCELLED;
		status_fail(rc, __FILE__, __LINE__, "cancelled: after %zu tokens", r->result.n_ids);
	}
	if (rc == VB_OK || rc == VB_ECANCELLED) {
		fill_times(r);
		r->result.text_len = r->text.len;
		r->result.text = buf_detach(&r->text);
		if (!r->result.text)
			rc = VB_ENOMEM;
	}
	if (rc != VB_OK && rc != VB_ECANCELLED)
		vb_result_free(&r->result);
	/* Other requests may have failed since: the message is this one's again. */
	if (r->message[0])
		status_fail(rc, __FILE__, __LINE__, "%s", r->message);
	r->state = REQUEST_ENDED;
	if (r->on_done)
		r->on_done(r->user, rc, &r->result);
}
