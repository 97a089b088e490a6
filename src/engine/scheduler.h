/* scheduler.h - which tokens of which requests the next step computes. A pure function of numbers: no clock, no memory,
 * no cache is touched here, so that every decision can be tested and replayed.
 *
 * Requests are served in the order of their arrival:
 *   1. Every running request whose prompt is done gets its next token; the prompts of the others get chunks, the oldest
 *      first, while the chunk budget lasts.
 *   2. Pages that are left after the first token of each are for the rest of the chunks, then for drafts.
 *   3. Waiting requests are admitted, the oldest first, while there are sequences, budget, and pages for all of their
 *      known tokens, beside those that the known tokens of running requests still need. One that does not fit stops the
 *      line: nobody overtakes, so that waiting is bounded by the work ahead, and what was preempted is not admitted
 *      again only to be preempted again. One that was preempted in this step stops it too, even where it would fit now
 *      (what it held may be another's, and so be found again at once): taking back what was just given away is work
 *      for nothing, and the next step knows better.
 * Where no page is left for the first token of a running request, the youngest running request is preempted: it gives
 * its pages back and waits again, at its old place. The youngest itself stalls instead, holding what it has, until
 * older ones end. So the oldest request always advances, and with it the engine, as long as each request alone fits:
 * kv_most_pages of its longest length, with steps of `chunk`, must be there in each group (the engine's cache holds a
 * sequence as long as its context). No request needs more steps than there are tokens in it and in those before it.
 *
 * What the scheduler decides never changes a token (docs/NUMERICS.md), only when it comes.
 */
#ifndef ENGINE_SCHEDULER_H
#define ENGINE_SCHEDULER_H

#include "kv/kv.h"

#include <stdbool.h>
#include <stdint.h>

/* A request as the scheduler sees it; in order of arrival. */
struct sched_request {
	bool running;       /* has a sequence and pages; else it waits */
	bool preempted;     /* it waits since this very step */
	int64_t n_known;    /* tokens: of the prompt, and generated so far; more than n_computed */
	int64_t n_computed; /* of these, with keys and values in the cache; of a waiting one, what kv_peek says */
	int64_t n_draft;    /* guesses that wait to be verified behind the last known token */
	int64_t pages[KV_MAX_GROUPS]; /* held now, by group; of a waiting one, what kv_peek says that others hold */
};

struct sched_limits {
	int64_t max_seqs;  /* running requests */
	int64_t chunk;     /* prompt tokens a step, at least 1 */
	int64_t page_size;
	int n_groups;
	int64_t window[KV_MAX_GROUPS];    /* 0: all */
	int64_t available[KV_MAX_GROUPS]; /* pages free or only cached */
};

struct sched_decision {
	bool admit;       /* a waiting request begins to run */
	int64_t n_tokens; /* known tokens to compute now, from n_computed on; 0: none this step */
	int64_t n_draft;  /* guesses to verify behind them */
};

#define SCHED_NO_VICTIM (-1)

/* Decides for n requests; out[i] belongs to in[i]. Returns SCHED_NO_VICTIM, or the running request that must be
 * preempted first: nothing else is decided then. How many pages that sets free is known only afterwards (others may
 * share them), so the caller preempts it, looks at its cache again, and asks again. A step has at most chunk prompt
 * tokens, and one token and its drafts for each of the other running requests. */
int64_t sched_decide(const struct sched_request *in, int64_t n, const struct sched_limits *limits,
		     struct sched_decision *out);

#endif
