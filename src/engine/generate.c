/* generate.c - one request from prompt to answer.
 *
 * Everything that the loop needs is taken before it starts; a step allocates nothing, unless a token's text is longer
 * than any buffer foresaw.
 */
#include "engine_internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/utf8.h"

#include <math.h>
#include <string.h>
#include <time.h>

/* Text that one token is expected to add at most, on average: room is taken for so much. */
#define BYTES_PER_TOKEN 16

struct generation {
	struct vb_engine *e;
	const struct vb_request *r;
	vb_token_fn *on_token;
	void *user;
	struct vb_result *result;
	struct sample_params params;
	struct ids prompt;
	int64_t max_tokens;
	size_t n_top, n_prompt_top; /* asked for, at most the vocabulary */
	struct vb_top *top, *prompt_top; /* [n][n_top]; owned by `memory` of the result */
	struct stopper stopper;
	struct buf text;
	struct detokenizer *detokenizer; /* NULL without a tokeniser */
	double start, first_token, prefill_end, last_token;
};

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

static int encode_prompt(struct generation *g)
{
	struct vb_engine *e = g->e;
	const struct vb_request *r = g->r;
	if (r->prompt_ids) {
		for (size_t i = 0; i < r->n_prompt_ids; i++)
			TRY(ids_push(&g->prompt, r->prompt_ids[i]));
	} else if (!e->tokenizer) {
		FAIL(VB_ENOTFOUND, "no tokeniser: %s has no tokenizer.json: give the prompt as token ids",
		     e->model_dir);
	} else if (r->prompt) {
		TRY(tokenizer_encode(e->tokenizer->t, r->prompt, r->prompt_len,
				     TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL, &g->prompt));
	} else {
		TRY(chat_ids(e->tokenizer, r->chat, true, &g->prompt));
	}
	int64_t n_vocab = program_n_vocab(e->setup.program);
	for (size_t i = 0; i < g->prompt.n; i++)
		if (g->prompt.id[i] < 0 || g->prompt.id[i] >= n_vocab)
			FAIL(VB_EINVAL, "token id out of range: prompt[%zu] = %d: the model's are 0 to %lld", i,
			     g->prompt.id[i], (long long)n_vocab - 1);
	if (g->prompt.n == 0)
		FAIL(VB_EINVAL, "empty prompt: the model needs at least one token to start from");
	int64_t n = (int64_t)g->prompt.n, room = e->setup.context - n;
	if (room < 0 || (room == 0 && r->max_tokens > 0))
		FAIL(VB_ELIMIT, "prompt too long: %lld tokens, the context holds %lld: shorten it or raise --context",
		     (long long)n, (long long)e->setup.context);
	g->max_tokens = r->max_tokens < room ? r->max_tokens : room;
	g->result->clipped = g->max_tokens < r->max_tokens;
	return VB_OK;
}

/* ---- Taking memory ---- */

static int prepare(struct generation *g)
{
	struct vb_engine *e = g->e;
	const struct vb_request *r = g->r;
	struct vb_result *res = g->result;
	size_t n = g->prompt.n, m = (size_t)g->max_tokens;
	size_t n_vocab = (size_t)program_n_vocab(e->setup.program);
	g->n_top = r->logprobs > 0 ? (size_t)r->logprobs : 0;
	g->n_top = g->n_top < n_vocab ? g->n_top : n_vocab;
	g->n_prompt_top = r->prompt_logprobs > 0 ? (size_t)r->prompt_logprobs : 0;
	g->n_prompt_top = g->n_prompt_top < n_vocab ? g->n_prompt_top : n_vocab;
	res->prompt_ids = mem_alloc(n * sizeof *res->prompt_ids);
	res->ids = mem_alloc(m * sizeof *res->ids);
	if (!res->prompt_ids || !res->ids)
		return VB_ENOMEM;
	memcpy(res->prompt_ids, g->prompt.id, n * sizeof *res->prompt_ids);
	res->n_prompt_ids = n;
	if (r->logprobs >= 0 && !(res->tokens = mem_calloc(m, sizeof *res->tokens)))
		return VB_ENOMEM;
	if (r->prompt_logprobs >= 0 && !(res->prompt_tokens = mem_calloc(n, sizeof *res->prompt_tokens)))
		return VB_ENOMEM;
	struct vb_top *top = mem_calloc(m * g->n_top + n * g->n_prompt_top, sizeof *top);
	if (!top)
		return VB_ENOMEM;
	res->memory = top;
	g->top = top;
	g->prompt_top = top + m * g->n_top;
	size_t max_text = SIZE_MAX / 4;
	stopper_init(&g->stopper, r->stop, r->n_stop, max_text);
	buf_init(&g->text, max_text);
	TRY(buf_reserve(&g->text, m * BYTES_PER_TOKEN));
	TRY(buf_reserve(&g->stopper.pending, 4096));
	if (e->tokenizer)
		TRY(detokenizer_create(&g->detokenizer, e->tokenizer->t, true));
	block_table_truncate(&e->table, e->pool, 0);
	TRY(block_table_reserve(&e->table, e->pool, (int64_t)(n + m)));
	const struct vb_sampling *s = &r->sampling;
	g->params = (struct sample_params){
		.temperature = s->temperature, .top_p = s->top_p, .min_p = s->min_p, .top_k = s->top_k,
		.repetition_penalty = s->repetition_penalty, .presence_penalty = s->presence_penalty,
		.frequency_penalty = s->frequency_penalty, .seed = s->seed,
	};
	memset(e->in_prompt, 0, n_vocab);
	memset(e->count, 0, n_vocab * sizeof *e->count);
	for (size_t i = 0; i < n; i++)
		e->in_prompt[g->prompt.id[i]] = 1;
	return VB_OK;
}

static void release(struct generation *g)
{
	detokenizer_destroy(&g->detokenizer);
	stopper_fini(&g->stopper);
	buf_fini(&g->text);
	ids_fini(&g->prompt);
	block_table_truncate(&g->e->table, g->e->pool, 0);
}

/* ---- Steps ---- */

void engine_step(struct vb_engine *e, const int32_t *ids, int64_t n, int64_t first, int64_t prompt_len)
{
	for (int64_t i = 0; i < n; i++) {
		e->ids[i] = ids[i];
		e->position[i] = (int32_t)(first + i);
		e->rope_len[i] = (int32_t)prompt_len;
		e->slot[i] = block_table_slot(&e->table, e->pool, first + i);
	}
	int32_t q_begin[2] = { 0, (int32_t)n };
	int32_t kv_len = (int32_t)(first + n);
	/* One table serves all window groups: a lone sequence has no use for the pages that a window leaves behind. */
	struct step_group groups[PROGRAM_MAX_GROUPS];
	for (int g = 0; g < PROGRAM_MAX_GROUPS; g++)
		groups[g] = (struct step_group){ e->slot, e->table.page, e->table.capacity };
	struct step step = {
		.n_tokens = n, .n_seqs = 1, .ids = e->ids, .position = e->position, .rope_len = e->rope_len,
		.q_begin = q_begin, .kv_len = &kv_len, .groups = groups,
	};
	program_run(e->setup.program, e->team, &step);
}

static void record(struct vb_token *token, const struct log_row *row, int32_t id, struct vb_top *top, size_t n_top)
{
	*token = (struct vb_token){ .id = id, .logprob = log_row_prob(row, id), .top = top, .n_top = (int)n_top };
	if (n_top > 0)
		log_row_top(row, (int)n_top, top);
}

static int check_finite(const struct log_row *row, int64_t position)
{
	if (!isfinite(row->log_sum) || !isfinite(row->max))
		FAIL(VB_ENUMERIC, "logits are not finite: position %lld: the weights or the compute type do not suit "
				  "(f16 overflows where bf16 does not): try --dtype f32", (long long)position);
	return VB_OK;
}

/* Log-probabilities of the prompt tokens that follow the chunk's: rows of the head in groups. */
static int score_chunk(struct generation *g, int64_t first, int64_t n)
{
	struct vb_engine *e = g->e;
	int64_t n_vocab = program_n_vocab(e->setup.program);
	int64_t max_rows = program_get_config(e->setup.program)->max_rows;
	int64_t last = (int64_t)g->prompt.n - 1; /* the last token's logits belong to the answer */
	if (first + n > last)
		n = last - first;
	for (int64_t done = 0; done < n; done += max_rows) {
		int64_t rows = n - done < max_rows ? n - done : max_rows;
		for (int64_t i = 0; i < rows; i++)
			e->rows[i] = (int32_t)(done + i);
		const float *logits = program_head(e->setup.program, e->team, e->rows, rows);
		for (int64_t i = 0; i < rows; i++) {
			size_t next = (size_t)(first + done + i + 1);
			struct log_row row;
			log_row_of(&row, e->log_softmax, logits + i * n_vocab, n_vocab);
			TRY(check_finite(&row, (int64_t)next));
			record(&g->result->prompt_tokens[next], &row, g->prompt.id[next],
			       g->prompt_top + next * g->n_prompt_top, g->n_prompt_top);
		}
	}
	return VB_OK;
}

static bool cancelled(struct generation *g)
{
	return atomic_load_explicit(&g->e->cancel, memory_order_relaxed);
}

/* Runs the prompt in chunks. *logits are those after its last token. */
static int prefill(struct generation *g, const float **logits)
{
	struct vb_engine *e = g->e;
	int64_t n = (int64_t)g->prompt.n, size = 0;
	if (g->result->prompt_tokens)
		g->result->prompt_tokens[0] = (struct vb_token){ .id = g->prompt.id[0], .logprob = NAN };
	for (int64_t first = 0; first < n; first += size) {
		if (cancelled(g))
			return VB_ECANCELLED;
		size = n - first < e->setup.chunk ? n - first : e->setup.chunk;
		engine_step(e, g->prompt.id + first, size, first, n);
		if (g->result->prompt_tokens)
			TRY(score_chunk(g, first, size));
	}
	int32_t row = (int32_t)(size - 1);
	*logits = program_head(e->setup.program, e->team, &row, 1);
	g->prefill_end = clock_s();
	return VB_OK;
}

static bool ends(const struct vb_engine *e, int32_t id)
{
	for (int64_t i = 0; i < e->n_eos; i++)
		if (e->eos[i] == id)
			return true;
	return false;
}

static int32_t sample(struct generation *g, const float *logits)
{
	struct vb_engine *e = g->e;
	const struct sample_params *p = &g->params;
	bool penalties = p->repetition_penalty != 1 || p->presence_penalty != 0 || p->frequency_penalty != 0;
	bool too_early = (int64_t)g->result->n_ids < g->r->min_tokens;
	struct sample_args a = {
		.logits = logits, .n_vocab = program_n_vocab(e->setup.program), .params = p,
		.position = (int64_t)(g->prompt.n + g->result->n_ids), .in_prompt = penalties ? e->in_prompt : NULL,
		.count = penalties ? e->count : NULL, .banned = e->eos, .n_banned = too_early ? e->n_eos : 0,
		.work = e->work, .candidate = e->candidate,
	};
	return e->sample(&a);
}

/* Gives out the text that became certain. */
static int emit(struct generation *g, const struct vb_token *token, bool last)
{
	struct stopper *s = &g->stopper;
	bool too_early = (int64_t)g->result->n_ids < g->r->min_tokens;
	size_t n = too_early ? s->pending.len : stopper_ready(s);
	if (last && !s->stopped)
		n = s->pending.len;
	TRY(buf_append(&g->text, s->pending.data ? s->pending.data : "", n));
	stopper_drop(s, n);
	if (g->on_token && (token || n)) {
		struct vb_event event = { .token = token, .text = g->text.data + g->text.len - n, .text_len = n };
		if (g->on_token(g->user, &event) != 0)
			return VB_ECANCELLED;
	}
	return VB_OK;
}

/* Ends the text: what was held back is no part of a stop string, unless its last bytes make it one. */
static int emit_rest(struct generation *g)
{
	if (g->detokenizer && !g->stopper.stopped)
		TRY(detokenizer_flush(g->detokenizer, &g->stopper.pending));
	TRY(emit(g, NULL, true));
	if (g->stopper.stopped)
		g->result->finish = VB_FINISH_STOP;
	return VB_OK;
}

/* Takes the sampled id into the answer. */
static int accept(struct generation *g, int32_t id, const float *logits)
{
	struct vb_engine *e = g->e;
	struct vb_result *res = g->result;
	size_t i = res->n_ids++;
	res->ids[i] = id;
	e->count[id]++;
	struct vb_token token = { .id = id };
	if (res->tokens) {
		struct log_row row;
		log_row_of(&row, e->log_softmax, logits, program_n_vocab(e->setup.program));
		TRY(check_finite(&row, (int64_t)(g->prompt.n + i)));
		record(&res->tokens[i], &row, id, g->top + i * g->n_top, g->n_top);
		token = res->tokens[i];
	}
	/* Embeddings are often padded: an id behind the tokeniser's last has no text. */
	if (g->detokenizer && id < tokenizer_vocab_size(e->tokenizer->t))
		TRY(detokenizer_push(g->detokenizer, id, &g->stopper.pending));
	g->last_token = clock_s();
	if (i == 0)
		g->first_token = g->last_token;
	return emit(g, &token, false);
}

static int decode(struct generation *g, const float *logits)
{
	struct vb_engine *e = g->e;
	struct vb_result *res = g->result;
	res->finish = VB_FINISH_LENGTH;
	while ((int64_t)res->n_ids < g->max_tokens) {
		int32_t id = sample(g, logits);
		if (id < 0)
			FAIL(VB_ENUMERIC, "logits are not finite: position %zu: the weights or the compute type do "
					  "not suit (f16 overflows where bf16 does not): try --dtype f32",
			     g->prompt.n + res->n_ids);
		if (!g->r->ignore_eos && ends(e, id)) {
			res->finish = VB_FINISH_STOP;
			break;
		}
		TRY(accept(g, id, logits));
		if (g->stopper.stopped) {
			res->finish = VB_FINISH_STOP;
			break;
		}
		if (cancelled(g))
			return VB_ECANCELLED;
		if ((int64_t)res->n_ids == g->max_tokens)
			break;
		engine_step(e, &id, 1, (int64_t)(g->prompt.n + res->n_ids) - 1, (int64_t)g->prompt.n);
		int32_t row = 0;
		logits = program_head(e->setup.program, e->team, &row, 1);
	}
	return emit_rest(g);
}

static void finish(struct generation *g)
{
	struct vb_result *res = g->result;
	res->text_len = g->text.len;
	res->text = buf_detach(&g->text);
	if (g->prefill_end > g->start)
		res->prefill_tok_s = (double)g->prompt.n / (g->prefill_end - g->start);
	if (res->n_ids)
		res->first_token_s = g->first_token - g->start;
	if (res->n_ids > 1 && g->last_token > g->first_token)
		res->decode_tok_s = (double)(res->n_ids - 1) / (g->last_token - g->first_token);
}

int vb_generate(struct vb_engine *e, const struct vb_request *r, vb_token_fn *on_token, void *user,
		struct vb_result *result)
{
	if (!e || !r || !result)
		FAIL(VB_EINVAL, "invalid call: vb_generate: engine, request and result must not be NULL");
	*result = (struct vb_result){ 0 };
	TRY(check_request(r));
	if (atomic_exchange(&e->busy, true))
		FAIL(VB_ESTATE, "engine busy: vb_generate: one generation at a time: wait for it, or open another "
				"engine");
	atomic_store(&e->cancel, false);
	struct generation g = { .e = e, .r = r, .on_token = on_token, .user = user, .result = result,
				.start = clock_s() };
	const float *logits;
	int rc;
	TRY_TO(out, encode_prompt(&g));
	TRY_TO(out, prepare(&g));
	TRY_TO(out, prefill(&g, &logits));
	TRY_TO(out, decode(&g, logits));
out:
	if (rc == VB_ECANCELLED) {
		/* The caller wants no more calls, but what was held back belongs to what was made. */
		g.on_token = NULL;
		int rest = emit_rest(&g);
		rc = rest == VB_OK ? rc : rest;
	}
	if (rc == VB_OK || rc == VB_ECANCELLED) {
		finish(&g);
		if (rc == VB_ECANCELLED) {
			result->finish = VB_FINISH_CANCELLED;
			status_fail(rc, __FILE__, __LINE__, "cancelled: after %zu tokens", result->n_ids);
		}
		if (!result->text)
			rc = VB_ENOMEM;
	}
	release(&g);
	if (rc != VB_OK && rc != VB_ECANCELLED)
		vb_result_free(result);
	atomic_store(&e->busy, false);
	return rc;
}

void vb_cancel(struct vb_engine *e)
{
	if (e)
		atomic_store_explicit(&e->cancel, true, memory_order_relaxed);
}
