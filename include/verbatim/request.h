/* verbatim/request.h - what to generate, and what came of it. */
#ifndef VERBATIM_REQUEST_H
#define VERBATIM_REQUEST_H

#include "verbatim/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How the next token is chosen. Order: penalties, then temperature, then top_k, top_p, min_p, then
 * argmax(logit + Gumbel noise), the noise a function of (seed, absolute position, token id) alone. */
struct vb_sampling {
	double temperature;        /* 0: greedy (the largest logit, the lowest id on ties) */
	int64_t top_k;             /* keep the k most probable; 0: all */
	double top_p;              /* keep the smallest set of at least this probability; 1: all */
	double min_p;              /* drop what is less probable than min_p times the most probable; 0: none */
	double repetition_penalty; /* logits of tokens in prompt or answer: / r where > 0, * r where < 0; 1: none */
	double presence_penalty;   /* subtracted once from tokens in the answer so far; 0: none */
	double frequency_penalty;  /* subtracted for each occurrence in the answer so far; 0: none */
	uint64_t seed;
};

struct vb_request {
	size_t size; /* sizeof(struct vb_request), set by vb_request_default */

	/* The prompt: exactly one of the three forms. All borrowed for the call: what is needed is copied. */
	const int32_t *prompt_ids; /* token ids, n_prompt_ids of them, taken as they are */
	size_t n_prompt_ids;
	const char *prompt; /* UTF-8 text of prompt_len bytes; the tokeniser's BOS is added; special tokens in it count */
	size_t prompt_len;
	const char *chat; /* JSON for the chat template: an array of messages, or an object with "messages" and more */

	int64_t max_tokens; /* at most so many generated tokens; default 256 */
	int64_t min_tokens; /* no end token and no stop string counts before so many; default 0 */
	struct vb_sampling sampling;
	const char *const *stop; /* UTF-8: the answer ends before the one of these that is complete first; borrowed */
	size_t n_stop;
	bool ignore_eos;
	uint32_t cache_salt; /* requests with different salts never share a cached beginning (tenants); default 0 */
	int logprobs;        /* -1: none; N >= 0: of each generated token, with the N most probable */
	int prompt_logprobs; /* the same of each prompt token (the first has none) */

	void *reserved[8]; /* zero */
};

/* Greedy, 256 tokens, no log-probabilities. */
VB_API void vb_request_default(struct vb_request *request);

enum vb_finish {
	VB_FINISH_STOP = 0, /* an end token or a stop string */
	VB_FINISH_LENGTH,   /* max_tokens or the context was reached */
	VB_FINISH_ERROR,
	VB_FINISH_CANCELLED,
};

/* "stop", "length", "error", "cancelled". Static storage. */
VB_API const char *vb_finish_name(enum vb_finish finish);

/* Natural log of the softmax of the raw logits, before temperature, penalties and filters. */
struct vb_top {
	int32_t id;
	float logprob;
};

struct vb_token {
	int32_t id;
	float logprob; /* 0 where none were asked for */
	const struct vb_top *top; /* n_top of them, most probable first, lowest id first on ties */
	int n_top;
};

/* One step of an answer. Everything is borrowed until the callback returns. */
struct vb_event {
	const struct vb_token *token; /* NULL in the last event of a request that held text back */
	const char *text;             /* what became certain: whole UTF-8, without stop strings; may be empty */
	size_t text_len;
};

/* Called for each generated token, on the thread that generates. Anything but 0 cancels the request. */
typedef int vb_token_fn(void *user, const struct vb_event *event);

struct vb_result {
	enum vb_finish finish;
	int32_t *prompt_ids;
	size_t n_prompt_ids;
	int32_t *ids; /* generated, without the end token that was hit */
	size_t n_ids;
	char *text; /* NUL-terminated UTF-8 */
	size_t text_len;
	struct vb_token *tokens; /* n_ids of them where logprobs were asked for, else NULL */
	struct vb_token *prompt_tokens; /* n_prompt_ids where asked for ([0] has no logprob: NAN), else NULL */
	int64_t cached_tokens; /* prompt tokens whose keys and values were found in the cache */
	bool clipped;          /* max_tokens was lowered to what the context holds */
	int64_t draft_steps, proposed_tokens, accepted_tokens; /* speculation: steps with guesses, guesses, right ones */
	double first_token_s, prefill_tok_s, decode_tok_s; /* seconds; tokens a second; 0 where none ran */
	void *memory; /* the library's */
};

/* How a submitted request ended: VB_OK, VB_ECANCELLED (both with a result), or a failure, with vb_errmsg() set. To keep
 * the result, copy the struct and zero *result: it then is yours to free; what is left in it is freed after the call. */
typedef void vb_done_fn(void *user, int status, struct vb_result *result);

/* Frees what a result holds (not the struct itself). A zeroed result is allowed. */
VB_API void vb_result_free(struct vb_result *result);

#ifdef __cplusplus
}
#endif
#endif
