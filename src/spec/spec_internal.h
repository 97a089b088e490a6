/* spec_internal.h - what the proposers share. Inside src/spec. */
#ifndef SPEC_SPEC_INTERNAL_H
#define SPEC_SPEC_INTERNAL_H

#include "spec/spec.h"

#include "kv/kv.h"
#include "load/load.h"
#include "ops/batch.h"
#include "ops/sampling.h"

/* What steps cost here, fitted to what was measured: a step of n tokens takes about base + slope * n seconds. */
struct cost {
	double weight, n, nn, t, nt; /* sums that forget */
	double per_guess;            /* seconds of guessing, each */
	int64_t n_steps;             /* measured */
};

struct draft; /* draft.c */

struct spec {
	struct spec_config config;
	struct cost cost;
	struct draft *draft; /* SPEC_DRAFT */
};

/* ngram.c */
int ngram_open(struct spec_state *state, int64_t max_tokens);
void ngram_close(struct spec_state *state);
int64_t ngram_propose(struct spec_state *state, int32_t *tokens, int64_t n_known, int64_t n_wanted);

/* draft.c */
int draft_create(struct draft **out, struct team *team, const struct spec_config *config);
void draft_destroy(struct draft **draft);
uint64_t draft_bytes(const struct draft *draft);
void draft_close(struct draft *draft, struct spec_state *state);
/* item->n_draft says how many guesses are wanted, and is lowered to how many there are. */
void draft_propose(struct draft *draft, struct team *team, struct spec_item *items, int64_t n_items);

#endif
