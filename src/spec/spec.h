/* spec.h - the face of src/spec: guessing tokens that the target is likely to choose.
 *
 * A guess is only a guess: the engine computes it behind the known tokens and takes it where it equals the token that it
 * would have chosen anyway (docs/NUMERICS.md). Nothing here can change an answer, only how soon it comes. A proposer that
 * samples uses the same noise as the target: position and seed give it, so that it guesses well at any temperature.
 *
 * How many guesses are worth their cost is decided here too, per request, from what was accepted so far and from what
 * steps cost on this machine. Trying costs time as well, and whether it pays is known only afterwards: so there is an
 * account of what guessing has won and lost, in seconds, and every step pays 2 % of the time that it takes to decode
 * into it. Nothing is guessed that the account could not bear to lose: at any moment guessing has cost at most so much.
 */
#ifndef SPEC_SPEC_H
#define SPEC_SPEC_H

#include "ops/sampling.h"
#include "model/model.h"

#include <stdbool.h>
#include <stdint.h>

enum spec_method { SPEC_NONE = 0, SPEC_NGRAM, SPEC_DRAFT };

struct spec;

/* What a proposer keeps for one request. Embedded in the request; zeroed at first. */
struct spec_state {
	/* Acceptance, as an average that forgets: chance that a guess is right, given that those before it were. Below 0:
	 * nothing is known yet. */
	double chance;
	int64_t proposed, accepted; /* in all */
	int64_t resting;            /* steps left without guessing, after guessing did not pay */
	int64_t rest;               /* how many the next rest will have */
	bool trial;                 /* guesses now although it does not seem to pay, to see whether times have changed */
	/* n-gram: where each n-gram of the tokens was seen last. */
	int32_t *table;  /* owned by the proposer: spec_open and spec_close */
	int64_t n_slots, n_indexed;
	/* draft model: its own sequence, of tokens [begin, n_computed). */
	int32_t seq; /* -1: none */
	int64_t begin, n_computed;
};

struct spec_config {
	enum spec_method method;
	int max_draft;           /* guesses a request and step at most */
	bool automatic;          /* choose how many, up to max_draft; else always max_draft */
	int64_t max_seqs, context;
	/* SPEC_DRAFT. */
	const char *draft_dir;
	enum dtype compute;
	bool compute_auto;       /* the draft checkpoint's own type instead */
	uint32_t isa;
	int n_threads;
	int64_t page_size, chunk, n_vocab;
	struct gpu *gpu;         /* that runs it; NULL: the CPU */
	bool graph;
};

int spec_create(struct spec **out, struct team *team, const struct spec_config *config);
void spec_destroy(struct spec **s);

/* What the draft's weights and cache take; zero for others. */
uint64_t spec_bytes(const struct spec *s);

/* A request of up to max_tokens tokens begins; takes what memory it needs. */
int spec_open(struct spec *s, struct spec_state *state, int64_t max_tokens);
void spec_close(struct spec *s, struct spec_state *state);

/* One request of a step. */
struct spec_item {
	struct spec_state *state;
	const struct sample_params *params;
	int32_t *tokens; /* [n_known + room]: guesses are written behind the known ones */
	int64_t n_known, n_prompt, room;
	int64_t n_draft; /* out: how many */
};

/* Guesses for all items at once. Allocates nothing. */
void spec_propose(struct spec *s, struct team *team, struct spec_item *items, int64_t n_items);

/* Where the last spec_propose made no guess: for how many steps from that one on none would be made either, as long as the same
 * requests decode. A device that can run such steps ahead of their results need not ask before each: it tells of each of
 * them behind the first (spec_learn_cost) by spec_pass. 0: ask before each step. */
int64_t spec_idle(const struct spec *s);
void spec_pass(struct spec *s, struct spec_state *const *states, int64_t n_states, double step_s);
/* Whether it can be seen from the known tokens alone that there is nothing to guess, for the asking: n-grams that were not seen
 * before. tokens[n_known] may be written. */
bool spec_sees_nothing(const struct spec *s, struct spec_state *state, int32_t *tokens, int64_t n_known);

/* What became of a request's guesses: `taken` of n_draft were right and reached the answer. After spec_learn_cost of the
 * step. */
void spec_learn(struct spec *s, struct spec_state *state, int64_t n_draft, int64_t taken);

/* A step of the target with n_tokens tokens, n_guesses of them guesses, took so long; and so long was spent guessing
 * before it (spec_propose). */
void spec_learn_cost(struct spec *s, int64_t n_tokens, double step_s, int64_t n_guesses, double propose_s);

#endif
