/* requests.h - one request from submission to its end. Inside src/engine.
 *
 *                 request_create          admit (run_step)           last token, stop, cancel, error
 *     (caller) ---------------> WAITING ------------------> RUNNING ---------------------------------> ENDED
 *                                  ^                           |                                         |
 *                                  +------- preempt -----------+                            request_end: on_done
 *
 * WAITING: no sequence, no pages. tokens[0..n_known) are the prompt and what was generated before a preemption.
 * RUNNING: `seq` is a sequence of the cache in which tokens[0..n_computed) are computed; n_computed < n_known.
 * ENDED: on_done has been or is being called, exactly once; then the memory goes.
 *
 * A request's memory is taken when it is created; no step takes any, except where a token's text is longer than any
 * buffer foresaw.
 */
#ifndef ENGINE_REQUESTS_H
#define ENGINE_REQUESTS_H

#include "engine_internal.h"

/* Most guesses behind a known token that a step verifies. */
#define MAX_DRAFT 15

enum request_state { REQUEST_WAITING, REQUEST_RUNNING, REQUEST_ENDED };

struct request {
	struct request *next; /* younger */
	uint64_t id;
	enum request_state state;
	struct vb_engine *e;
	vb_token_fn *on_token; /* or NULL */
	vb_done_fn *on_done;   /* or NULL */
	void *user;
	atomic_bool cancelled;

	/* What was asked. */
	struct sample_params params;
	int64_t max_tokens, min_tokens;
	size_t n_top, n_prompt_top; /* of each token, at most the vocabulary */
	bool ignore_eos, penalised;
	char **stop; /* owned copies */
	size_t n_stop;
	uint64_t salt;

	/* Where it is. */
	int32_t *tokens; /* [n_prompt + max_tokens + MAX_DRAFT]: known ones, then guesses */
	int64_t n_prompt, n_known, n_computed;
	int64_t n_draft; /* guesses behind the known tokens */
	int64_t n_scored; /* prompt tokens whose log-probabilities are done */
	int32_t seq;     /* RUNNING: of the cache */
	int64_t n_step, n_step_draft; /* this step's share: known tokens and guesses, from n_computed on */
	int64_t n_put;                /* guesses that the step verifies */
	int64_t n_taken;              /* guesses of this step that turned out right */
	bool ending;                  /* the answer is complete, or failed: ending_rc, with message */
	int ending_rc;
	char message[512];
	int64_t first_row;            /* index of its first token in the step */
	int64_t n_ahead;              /* 1 where a step is under way for the token behind the one that this step gives */

	/* What came of it. */
	struct vb_result result;
	struct vb_top *top, *prompt_top; /* [n][n_top] */
	struct stopper stopper;
	struct buf text;
	struct detokenizer *detokenizer; /* NULL without a tokeniser */
	double start, first_token, prefill_end, last_token;

	/* Speculation. */
	struct spec_state spec;
	int64_t n_draft_steps;
};

/* Checks `asked`, copies what outlives the call, takes all memory. *out is NULL on failure. */
int request_create(struct request **out, struct vb_engine *e, const struct vb_request *asked, vb_token_fn *on_token,
		   vb_done_fn *on_done, void *user);
/* Frees a request that has not been submitted, or has ended. */
void request_destroy(struct request **r);

/* Token `token` of the request stands at `row` of the step, and what follows it is wanted: the prompt's log-probabilities
 * where `score`, else the choice of the next token, the tokens up to this one being taken as right. */
void request_wish(struct request *r, int64_t token, int64_t row, bool score, struct sample_wish *out);

/* The prompt's log-probabilities for token n_scored + 1, from what came of the wish for token n_scored. */
int request_score(struct request *r, const struct sample_choice *choice);

/* Takes the token that was chosen behind the last known one into the answer. *ended is set where the answer is complete
 * (r->result.finish says why). A failing status ends the request too. */
int request_take(struct request *r, const struct sample_choice *choice, bool *ended);

/* Gives out what is held back and fills in the result: rc is VB_OK, or why it ends early. Calls on_done. */
void request_end(struct request *r, int rc);

#endif
