/* spec.c - how many guesses, and from whom. */
#include "spec_internal.h"

#include "base/mem.h"
#include "base/status.h"

#include <math.h>

/* How fast averages forget: acceptance over some 25 guesses of a request and 100 of all, costs over some 12
 * steps, none of which counts for more than half of what is thought so far. */
#define CHANCE_KEEPS 0.96
#define COMMON_KEEPS 0.99
#define COST_SHARE 0.08
#define MOVES_MOST 0.5
/* What a request is thought to accept before anything is known, and how many guesses that opinion weighs. */
#define FIRST_CHANCE 0.6
#define FIRST_WEIGHT 4.0
/* After a guess that was not worth its cost came out wrong: steps until one tries again, doubled from one to the next. */
#define REST_LEAST 16
#define REST_MOST 128
/* Share of each decoding step's time that guessing may lose, and how many steps' time may be saved up. */
#define MAY_LOSE 0.02
#define MAY_SAVE 16.0
/* Tokens that a draft model must see before its guess is worth anything, and that it sees where it is only tried. */
#define LEAST_CONTEXT 16
#define TRIAL_CONTEXT 32
/* A step without guesses is as it would be without any where so many before it had none: with the demo model, whose
 * weights a neighbour's work or the draft's push out of the caches, the second one takes half as long again. Where
 * guesses never stop, they are stopped after so many steps, to measure one. */
#define PLAIN_BEHIND 4
#define PLAIN_LEAST 2 /* so many measured, before anything is guessed */
#define PLAIN_STEPS 128
/* Most steps at once in which nobody is asked for guesses: a request that ends soon leaves the others with other costs. */
#define IDLE_MOST 128
/* What takes so many times as long as expected was held up by others on this machine. */
#define HELD_UP 4.0

int spec_create(struct spec **out, struct team *team, const struct spec_config *config)
{
	*out = NULL;
	struct spec *s = mem_calloc(1, sizeof *s);
	if (!s)
		return VB_ENOMEM;
	s->config = *config;
	s->config.draft_dir = NULL; /* borrowed for the call alone */
	if (config->method == SPEC_DRAFT) {
		int rc = draft_create(&s->draft, team, config);
		if (rc == VB_OK && config->automatic)
			rc = draft_measure(s->draft, team, &s->cost.guess, &s->cost.behind);
		if (rc != VB_OK) {
			spec_destroy(&s);
			return rc;
		}
	}
	s->chance = FIRST_CHANCE * FIRST_WEIGHT;
	s->n_chance = FIRST_WEIGHT;
	*out = s;
	return VB_OK;
}

void spec_destroy(struct spec **s)
{
	if (!*s)
		return;
	draft_destroy(&(*s)->draft);
	mem_free(*s);
	*s = NULL;
}

uint64_t spec_bytes(const struct spec *s)
{
	return s->draft ? draft_bytes(s->draft) : 0;
}

int spec_open(struct spec *s, struct spec_state *state, int64_t max_tokens)
{
	*state = (struct spec_state){ .chance = -1, .rest = REST_LEAST, .seq = -1 };
	return s->config.method == SPEC_NGRAM ? ngram_open(state, max_tokens) : VB_OK;
}

void spec_close(struct spec *s, struct spec_state *state)
{
	if (!s)
		return;
	ngram_close(state);
	if (s->draft)
		draft_close(s->draft, state);
}

/* ---- What it costs ---- */

/* A step without guesses, what a guess adds to it, what making one takes; a token that the draft has not seen. */
struct estimate {
	double plain, extra, guess, behind;
};

/* `share` of what is new, and more of the first ones. */
static void rate_add_share(struct rate *r, double seconds, double scale, double share)
{
	double first = 1.0 / (double)(r->n + 1), more = seconds - r->seconds;
	if (r->n > 0 && fabs(more) > MOVES_MOST * scale)
		more = more > 0 ? MOVES_MOST * scale : -MOVES_MOST * scale;
	r->seconds += more * (first > share ? first : share);
	r->n++;
}

static void rate_add(struct rate *r, double seconds, double scale)
{
	rate_add_share(r, seconds, scale, COST_SHARE);
}

/* A step of n requests, from that of the nearest number that was measured; 0 before any was. *token is what a token more
 * costs at most: what it costs there, or in a prompt. */
static double plain_step(const struct cost *c, int64_t n, double *token)
{
	int64_t at = n < COST_MAX_ITEMS ? n : COST_MAX_ITEMS, near = 0;
	for (int64_t d = 0; d < COST_MAX_ITEMS && near == 0; d++) {
		if (at - d > 0 && c->plain[at - d].n >= PLAIN_LEAST)
			near = at - d;
		else if (at + d <= COST_MAX_ITEMS && c->plain[at + d].n >= PLAIN_LEAST)
			near = at + d;
	}
	if (near == 0)
		return 0;
	double seconds = c->plain[near].seconds;
	*token = seconds / (double)near;
	if (c->bulk.n > 0 && c->bulk.seconds < *token)
		*token = c->bulk.seconds;
	return near == at ? seconds : seconds + (double)(n - near) * *token;
}

/* False before a few steps that decode. */
static bool estimate(const struct spec *s, int64_t n_items, struct estimate *e)
{
	const struct cost *c = &s->cost;
	double token;
	e->plain = plain_step(c, n_items, &token);
	if (e->plain == 0)
		return false;
	e->extra = c->extra.n > 0 ? c->extra.seconds : token;
	e->guess = c->guess.seconds;
	e->behind = c->behind.seconds;
	return true;
}

/* What spec_propose took: its guesses, and what the draft had to catch up with, in proportion to what was expected. */
static double learn_proposal(struct cost *c, const struct estimate *e, double n_guesses, double n_behind, double seconds)
{
	double guesses = n_guesses * e->guess, expected = guesses + n_behind * e->behind;
	double share = expected > 0 ? guesses / expected : n_guesses > 0;
	if (n_guesses > 0)
		rate_add(&c->guess, seconds * share / n_guesses, e->guess > 0 ? e->guess : seconds);
	if (n_behind > 0)
		rate_add(&c->behind, seconds * (1 - share) / n_behind, e->behind);
	return expected > 0 && seconds > HELD_UP * expected ? HELD_UP * expected : seconds;
}

/* What the step took more than without guesses, as measured: a guess also costs what it pushes out of the caches, in the
 * next steps too. */
static double learn_step(struct spec *s, const struct estimate *e, double n_guesses, double seconds)
{
	double more = seconds > e->plain ? seconds - e->plain : 0, most = HELD_UP * e->extra * (n_guesses + 1);
	if (n_guesses > 0)
		rate_add(&s->cost.extra, more / n_guesses, e->plain);
	return more < most ? more : most;
}

void spec_learn_cost(struct spec *s, int64_t n_tokens, double step_s, int64_t n_guesses, double propose_s)
{
	struct estimate e;
	int64_t n_items = s->n_items, n_behind = s->n_behind, n_unguessed = s->n_unguessed;
	bool only_decodes = n_items > 0 && n_tokens - n_guesses == n_items, guesses = n_guesses > 0 || n_behind > 0;
	s->n_items = s->n_behind = 0; /* a step in which nobody decodes does not come by spec_propose */
	s->n_unguessed = guesses ? 0 : n_unguessed + 1;
	if (!s->config.automatic)
		return;
	if (n_items == 0 && n_tokens > 0)
		rate_add(&s->cost.bulk, step_s / (double)n_tokens, s->cost.bulk.seconds);
	if (++s->n_unplain > PLAIN_STEPS + 2 * PLAIN_BEHIND)
		s->n_unplain = 0; /* prompts came in between: another time */
	struct rate *plain = &s->cost.plain[n_items < COST_MAX_ITEMS ? n_items : COST_MAX_ITEMS];
	if (only_decodes && !guesses && n_unguessed >= PLAIN_BEHIND) {
		/* The first one after long counts for more. */
		rate_add_share(plain, step_s, plain->seconds, s->n_unplain < PLAIN_STEPS / 2 ? COST_SHARE : 0.5);
		s->n_unplain = 0;
	} else if (n_items > 0 && plain->n > 0 && step_s < plain->seconds) {
		/* More work in less time: others have left the machine. */
		rate_add_share(plain, step_s, plain->seconds, 0.5);
	}
	if (n_items == 0 || !estimate(s, n_items, &e))
		return;
	s->account += MAY_LOSE * e.plain;
	if (guesses)
		s->account -= learn_proposal(&s->cost, &e, (double)n_guesses, (double)n_behind, propose_s);
	if (guesses || n_unguessed < PLAIN_BEHIND)
		s->account -= only_decodes ? learn_step(s, &e, (double)n_guesses, step_s) : (double)n_guesses * e.extra;
	if (s->account > MAY_SAVE * e.plain)
		s->account = MAY_SAVE * e.plain;
	s->saved = e.plain / (double)n_items;
}

void spec_learn(struct spec *s, struct spec_state *state, int64_t n_draft, int64_t taken)
{
	state->proposed += n_draft;
	state->accepted += taken;
	/* Guesses behind the first wrong one were never put to the test. */
	for (int64_t i = 0; i < n_draft && i <= taken; i++) {
		state->chance = CHANCE_KEEPS * state->chance + (1 - CHANCE_KEEPS) * (i < taken);
		s->chance = COMMON_KEEPS * s->chance + (i < taken);
		s->n_chance = COMMON_KEEPS * s->n_chance + 1;
	}
	s->account += s->saved * (double)taken;
	if (state->trial && taken == 0) {
		state->resting = state->rest;
		state->rest = state->rest < REST_MOST ? 2 * state->rest : REST_MOST;
	} else if (taken > 0) {
		state->resting = 0;
		state->rest = REST_LEAST;
	}
}

/* ---- What pays ---- */

/* The j-th guess is right with chance^j and then gives a token. It is worth its cost where that is more tokens a second
 * than the step gives without it. */
static int64_t worth(const struct estimate *e, double chance, int64_t n_items, int64_t most)
{
	double cost = e->extra + e->guess, rate = (double)n_items / e->plain, gain = 1;
	int64_t k = 0;
	while (k < most) {
		gain *= chance;
		if (gain < rate * cost)
			break;
		k++;
	}
	return k;
}

/* A draft model looks back to token `begin` and no further. */
static void look_back(struct spec_state *state, int64_t begin)
{
	state->begin = state->n_computed = begin;
}

/* Seconds for what the draft has to see before it guesses, at most what `left` allows: else it looks back less far.
 * Negative where even that is too much. */
static double catch_up_cost(const struct estimate *e, struct spec_item *item, bool trial, double left)
{
	struct spec_state *state = item->state;
	int64_t known = item->n_known - 1, behind = known - state->n_computed, most;
	if (e->behind <= 0)
		return 0;
	if (!trial && state->begin > 0 && 2 * e->behind * (double)known < left) {
		/* It has proven its worth: it may see the whole text. */
		look_back(state, 0);
		behind = known;
	}
	most = behind;
	if (trial && most > TRIAL_CONTEXT)
		most = TRIAL_CONTEXT;
	if (e->behind * (double)most > left)
		most = left > 0 ? (int64_t)(left / e->behind) : 0;
	if (most >= behind)
		return e->behind * (double)behind;
	if (most < LEAST_CONTEXT)
		return -1;
	look_back(state, known - most);
	return e->behind * (double)most;
}

/* Whether a request whose guesses do not seem to pay tries one all the same, to see whether times have changed: its own
 * chances, or, where not even a right guess would pay, what guesses cost (then one request does for all). */
static bool may_try(struct spec *s, struct spec_state *state)
{
	if (s->hopeless)
		return s->resting == 0;
	if (state->resting == 0)
		return true;
	state->resting--;
	return false;
}

/* A request makes no guess in so many steps, this one among them. */
static void rest_at_least(struct spec *s, int64_t n)
{
	if (n < s->idle)
		s->idle = n;
}

/* How many guesses a request gets, of those that `left` seconds can bear to lose. */
static int64_t wanted(struct spec *s, const struct estimate *e, struct spec_item *item, int64_t n_items, double *left)
{
	struct spec_state *state = item->state;
	int64_t most = item->room < s->config.max_draft ? item->room : s->config.max_draft;
	if (most <= 0)
		return 0;
	if (state->chance < 0)
		state->chance = s->chance / s->n_chance;
	int64_t k = worth(e, state->chance, n_items, most);
	bool trial = k == 0;
	state->trial = false;
	if (trial && !may_try(s, state)) {
		rest_at_least(s, s->hopeless ? s->resting : state->resting + 1);
		return 0;
	}
	double each = e->extra + e->guess;
	if (each > *left) {
		/* What a step pays in may change a little. */
		rest_at_least(s, (int64_t)((each - *left) / (MAY_LOSE * e->plain)));
		return 0;
	}
	double before = s->config.method == SPEC_DRAFT ? catch_up_cost(e, item, trial, *left - each) : 0;
	if (before < 0) {
		s->idle = 0;
		return 0;
	}
	s->idle = 0;
	if (trial) {
		k = 1;
		state->trial = !s->hopeless; /* else it does not matter what it says */
		if (s->hopeless) {
			s->resting = s->rest;
			s->rest = s->rest < REST_MOST ? 2 * s->rest : REST_MOST;
		}
	}
	if ((double)k * each > *left - before)
		k = (int64_t)((*left - before) / each);
	*left -= before + (double)k * each;
	return k > 0 ? k : 1;
}

void spec_decide(struct spec *s, struct spec_item *items, int64_t n_items)
{
	struct estimate e = { 0 };
	double left = s->account;
	bool known = n_items > 0 && estimate(s, n_items, &e) && s->n_unplain < PLAIN_STEPS;
	s->n_items = n_items;
	s->hopeless = known && worth(&e, 1, n_items, 1) == 0;
	if (!s->hopeless)
		s->rest = REST_LEAST;
	if (s->resting > 0)
		s->resting--;
	/* Where costs are unknown, or a plain step is to be measured: as many as that takes. */
	s->idle = !s->config.automatic || n_items == 0 ? 0 : known ? IDLE_MOST : PLAIN_BEHIND + PLAIN_LEAST;
	for (int64_t i = 0; i < n_items; i++) {
		struct spec_item *item = &items[i];
		int64_t most = item->room < s->config.max_draft ? item->room : s->config.max_draft;
		item->n_draft = !s->config.automatic ? most : known ? wanted(s, &e, item, n_items, &left) : 0;
	}
}

int64_t spec_idle(const struct spec *s)
{
	return s->idle;
}

bool spec_sees_nothing(const struct spec *s, struct spec_state *state, int32_t *tokens, int64_t n_known)
{
	return s->config.method == SPEC_NGRAM && ngram_propose(state, tokens, n_known, 1) == 0;
}

void spec_pass(struct spec *s, struct spec_state *const *states, int64_t n_states, double step_s)
{
	for (int64_t i = 0; i < n_states; i++)
		if (!s->hopeless && states[i]->resting > 0)
			states[i]->resting--;
	if (s->resting > 0)
		s->resting--;
	s->n_items = n_states;
	s->n_behind = 0;
	spec_learn_cost(s, n_states, step_s, 0, 0);
}

/* The draft model's guesses, and how many tokens it had to catch up with beside the last of each. */
static void ask_draft(struct spec *s, struct team *team, struct spec_item *items, int64_t n_items)
{
	int64_t n = 0;
	for (int64_t i = 0; i < n_items; i++)
		n -= items[i].state->n_computed;
	draft_propose(s->draft, team, items, n_items);
	for (int64_t i = 0; i < n_items; i++)
		n += items[i].state->n_computed - (items[i].n_draft > 0);
	s->n_behind = n > 0 ? n : 0;
}

void spec_propose(struct spec *s, struct team *team, struct spec_item *items, int64_t n_items)
{
	if (s->config.method == SPEC_NONE) {
		for (int64_t i = 0; i < n_items; i++)
			items[i].n_draft = 0;
		return;
	}
	spec_decide(s, items, n_items);
	if (s->config.method == SPEC_NGRAM)
		for (int64_t i = 0; i < n_items; i++)
			items[i].n_draft = ngram_propose(items[i].state, items[i].tokens, items[i].n_known,
							 items[i].n_draft);
	else
		ask_draft(s, team, items, n_items);
}
