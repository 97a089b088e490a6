/* spec.c - how many guesses, and from whom. */
#include "spec_internal.h"

#include "base/mem.h"
#include "base/status.h"

#include <math.h>

/* How fast averages forget: acceptance over some 25 guesses of a request and 100 of all, costs over some 100 steps. */
#define CHANCE_KEEPS 0.96
#define COMMON_KEEPS 0.99
#define COST_KEEPS 0.99
/* What a request is thought to accept before anything is known, and how many guesses that opinion weighs. */
#define FIRST_CHANCE 0.6
#define FIRST_WEIGHT 4.0
/* After a guess that was not worth its cost came out wrong: steps until one tries again, doubled from one to the next. */
#define REST_LEAST 16
#define REST_MOST 128
/* Share of each decoding step's time that guessing may lose, and how many steps' time may be saved up. */
#define MAY_LOSE 0.024
#define MAY_SAVE 16.0
/* Tokens that a draft model must see before its guess is worth anything, and that it sees where it is only tried. */
#define LEAST_CONTEXT 16
#define TRIAL_CONTEXT 32
/* What is thought of a token's cost before steps of several sizes tell weighs a quarter of a step with a guess more. */
#define PRIOR_SPREAD 0.25
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

/* A step of n tokens takes about base + slope * n seconds; a guess, and a token that the draft has not seen. */
struct estimate {
	double base, slope, guess, behind;
};

static double rate_of(const struct rate *r)
{
	return r->n > 0 ? r->seconds / r->n : 0;
}

static void rate_add(struct rate *r, double n, double seconds)
{
	r->n = COST_KEEPS * r->n + n;
	r->seconds = COST_KEEPS * r->seconds + seconds;
}

/* False before the first step that decodes. */
static bool estimate(const struct spec *s, struct estimate *e)
{
	const struct cost *c = &s->cost;
	if (c->weight == 0)
		return false;
	/* A token more costs at most what a token costs at all, here or in a prompt. That is thought of it until steps of
	 * several sizes tell. */
	double n = c->n / c->weight, t = c->t / c->weight, token = t / n;
	double most = c->bulk.n > 0 && rate_of(&c->bulk) < token ? rate_of(&c->bulk) : token;
	double spread = c->nn - c->weight * n * n, together = c->nt - c->weight * n * t;
	e->slope = (together + PRIOR_SPREAD * most) / (spread + PRIOR_SPREAD);
	if (e->slope < 0)
		e->slope = 0;
	e->base = t - e->slope * n;
	if (e->base < 0)
		e->base = 0;
	e->guess = rate_of(&c->guess);
	e->behind = rate_of(&c->behind);
	return true;
}

/* What spec_propose took: its guesses, and what the draft had to catch up with, in proportion to what was expected. */
static double learn_proposal(struct cost *c, const struct estimate *e, double n_guesses, double n_behind, double seconds)
{
	double guesses = n_guesses * e->guess, expected = guesses + n_behind * e->behind;
	double share = expected > 0 ? guesses / expected : n_guesses > 0;
	if (n_guesses > 0)
		rate_add(&c->guess, n_guesses, seconds * share);
	if (n_behind > 0)
		rate_add(&c->behind, n_behind, seconds * (1 - share));
	return expected > 0 && seconds > HELD_UP * expected ? HELD_UP * expected : seconds;
}

static void learn_step(struct cost *c, double n, double seconds)
{
	c->weight = COST_KEEPS * c->weight + 1;
	c->n = COST_KEEPS * c->n + n;
	c->nn = COST_KEEPS * c->nn + n * n;
	c->t = COST_KEEPS * c->t + seconds;
	c->nt = COST_KEEPS * c->nt + n * seconds;
}

void spec_learn_cost(struct spec *s, int64_t n_tokens, double step_s, int64_t n_guesses, double propose_s)
{
	struct estimate e;
	int64_t n_items = s->n_items, n_behind = s->n_behind;
	s->n_items = s->n_behind = 0; /* a step in which nobody decodes does not come by spec_propose */
	if (!s->config.automatic)
		return;
	if (n_items > 0 && n_tokens <= n_items * (1 + s->config.max_draft)) {
		/* A step that was held up by others says little of what steps cost. */
		double n = (double)n_tokens, most = estimate(s, &e) ? HELD_UP * (e.base + e.slope * n) : step_s;
		learn_step(&s->cost, n, step_s < most ? step_s : most);
	} else {
		rate_add(&s->cost.bulk, (double)n_tokens, step_s);
	}
	if (!estimate(s, &e) || n_items == 0)
		return;
	double plain = e.base + e.slope * (double)n_items;
	s->account += MAY_LOSE * plain;
	if (n_guesses > 0 || n_behind > 0)
		s->account -= learn_proposal(&s->cost, &e, (double)n_guesses, (double)n_behind, propose_s) +
			      e.slope * (double)n_guesses;
	if (s->account > MAY_SAVE * plain)
		s->account = MAY_SAVE * plain;
	s->saved = plain / (double)n_items;
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
	if (state->trial && (taken == 0 || state->hopeless)) {
		state->resting = state->rest;
		state->rest = state->rest < REST_MOST ? 2 * state->rest : REST_MOST;
	} else if (taken > 0) {
		state->resting = 0;
		state->rest = REST_LEAST;
	}
}

/* ---- What pays ---- */

/* The j-th guess is right with chance^j and then gives a token. It is worth its cost where that is more tokens a second
 * than the step gives without it: n_items / (base + slope * n_items). */
static int64_t worth(const struct estimate *e, double chance, int64_t n_items, int64_t most)
{
	double n = (double)n_items, cost = e->slope + e->guess, rate = n / (e->base + e->slope * n), gain = 1;
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
	if (trial && state->resting > 0) {
		state->resting--;
		return 0;
	}
	double each = e->slope + e->guess;
	if (each > *left)
		return 0;
	double before = s->config.method == SPEC_DRAFT ? catch_up_cost(e, item, trial, *left - each) : 0;
	if (before < 0)
		return 0;
	if (trial) {
		/* One guess says whether times have changed. Where not even a right one would pay, it does not matter what
		 * it says. */
		k = 1;
		state->trial = true;
		state->hopeless = worth(e, 1, n_items, 1) == 0;
	}
	if ((double)k * each > *left - before)
		k = (int64_t)((*left - before) / each);
	*left -= before + (double)k * each;
	return k > 0 ? k : 1;
}

void spec_decide(struct spec *s, struct spec_item *items, int64_t n_items)
{
	struct estimate e;
	double left = s->account;
	bool known = estimate(s, &e);
	s->n_items = n_items;
	for (int64_t i = 0; i < n_items; i++) {
		struct spec_item *item = &items[i];
		int64_t most = item->room < s->config.max_draft ? item->room : s->config.max_draft;
		item->n_draft = !s->config.automatic ? most : known ? wanted(s, &e, item, n_items, &left) : 0;
	}
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
