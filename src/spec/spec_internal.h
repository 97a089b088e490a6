/* spec_internal.h - what the proposers share. Inside src/spec. */
#ifndef SPEC_SPEC_INTERNAL_H
#define SPEC_SPEC_INTERNAL_H

#include "spec/spec.h"

#include "kv/kv.h"
#include "load/load.h"
#include "ops/batch.h"
#include "ops/sampling.h"

/* Seconds a piece of work, as an average that forgets, and that no single one moves far: others are on the machine too. */
struct rate {
	int64_t n; /* measured */
	double seconds;
};

/* Steps of so many requests are told apart. */
#define COST_MAX_ITEMS 64

/* What steps cost here, from what was measured. */
struct cost {
	/* A step that decodes so many requests (the last: or more), behind several without guesses: a draft model that ran
	 * has pushed the target's weights out of the caches. */
	struct rate plain[COST_MAX_ITEMS + 1];
	struct rate extra;  /* what a guess adds to its step */
	struct rate bulk;   /* a token of a prompt */
	struct rate guess;  /* one guess of the proposer */
	struct rate behind; /* a known token that a draft model had to catch up with */
};

struct draft; /* draft.c */

struct spec {
	struct spec_config config;
	struct cost cost;
	double account;          /* seconds that guessing may still lose */
	double chance, n_chance; /* of all requests: right first guesses, guesses; sums that forget */
	bool hopeless;           /* not even a right guess would pay */
	int64_t resting, rest;   /* then: steps until one is tried again; how many the next rest will have */
	int64_t n_unplain;       /* steps since one was measured for cost.plain */
	int64_t n_unguessed;     /* steps since one had guesses */
	/* The step that comes: requests that decode, known tokens that the draft had to catch up with. */
	int64_t n_items, n_behind;
	double saved; /* in the last step: seconds that a right guess saves */
	int64_t idle; /* steps from the last decision's on in which nobody will guess: spec_idle */
	struct draft *draft; /* SPEC_DRAFT */
};

/* How many guesses each item gets (n_draft), and for a draft model how far back it looks: where that changes, its
 * sequence begins anew, with nothing computed (state->n_computed == state->begin). */
void spec_decide(struct spec *s, struct spec_item *items, int64_t n_items);

/* ngram.c */
int ngram_open(struct spec_state *state, int64_t max_tokens);
void ngram_close(struct spec_state *state);
int64_t ngram_propose(struct spec_state *state, int32_t *tokens, int64_t n_known, int64_t n_wanted);

/* draft.c */
int draft_create(struct draft **out, struct team *team, const struct spec_config *config);
void draft_destroy(struct draft **draft);
uint64_t draft_bytes(const struct draft *draft);
/* Runs it a few times: its weights are in memory then, and it is known what a guess and a prompt's token cost. */
int draft_measure(struct draft *draft, struct team *team, struct rate *guess, struct rate *behind);
void draft_close(struct draft *draft, struct spec_state *state);
/* item->n_draft says how many guesses are wanted, and is lowered to how many there are. */
void draft_propose(struct draft *draft, struct team *team, struct spec_item *items, int64_t n_items);

#endif
