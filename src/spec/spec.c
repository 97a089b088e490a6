/* spec.c - how many guesses, and from whom. */
#include "spec_internal.h"

#include "base/mem.h"
#include "base/status.h"

#include <math.h>

/* How fast averages forget: acceptance over some 16 guesses, costs over some 100 steps. */
#define CHANCE_KEEPS 0.94
#define COST_KEEPS 0.99
/* What a request is thought to accept before it is known. */
#define FIRST_CHANCE 0.6
/* After guessing did not pay, steps until one guess tries again: it costs less than 3 % of so many steps. */
#define REST_STEPS 48
/* Steps of more tokens than this are prompts: they say nothing of what a guess costs. */
#define COST_MAX_TOKENS 256

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
		if (rc != VB_OK) {
			spec_destroy(&s);
			return rc;
		}
	}
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
	*state = (struct spec_state){ .chance = FIRST_CHANCE, .seq = -1 };
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

/* ---- What pays ---- */

/* Least squares of t over n; false as long as only one n was seen. */
static bool fitted(const struct cost *c, double *base, double *slope)
{
	double spread = c->weight * c->nn - c->n * c->n;
	if (c->weight < 2 || spread < 1e-6 * c->weight * c->weight)
		return false;
	*slope = (c->weight * c->nt - c->n * c->t) / spread;
	if (*slope < 0)
		*slope = 0;
	*base = (c->t - *slope * c->n) / c->weight;
	if (*base < 0)
		*base = 0;
	return true;
}

/* The j-th guess is right with chance^j and then gives a token. It is worth its cost where that is more tokens a second
 * than the step gives without it: n_requests / (base + slope * n_requests). */
static int64_t worth(const struct spec *s, double base, double slope, double chance, int64_t n_requests, int64_t most)
{
	double n = (double)n_requests;
	double cost = slope + s->cost.per_guess, rate = n / (base + slope * n), gain = 1;
	int64_t k = 0;
	while (k < most) {
		gain *= chance;
		if (gain < rate * cost)
			break;
		k++;
	}
	return k;
}

static int64_t wanted(const struct spec *s, struct spec_state *state, int64_t n_requests, int64_t room)
{
	int64_t most = room < s->config.max_draft ? room : s->config.max_draft;
	double base, slope;
	if (!s->config.automatic)
		return most;
	if (state->resting > 0 && --state->resting > 0)
		return 0;
	/* Steps of two sizes are wanted, to see what a guess costs: one in every other step. */
	if (!fitted(&s->cost, &base, &slope))
		return s->cost.n_steps % 2 && most > 0;
	int64_t k = worth(s, base, slope, state->chance, n_requests, most);
	if (k == 0 && state->resting == 0) {
		/* Rest, and let one guess say whether times have changed. Where not even a right one would pay, it does
		 * not matter what it says. */
		state->resting = REST_STEPS;
		state->hopeless = worth(s, base, slope, 1, n_requests, 1) == 0;
		return most < 1 ? most : 1;
	}
	return k;
}

void spec_propose(struct spec *s, struct team *team, struct spec_item *items, int64_t n_items)
{
	for (int64_t i = 0; i < n_items; i++)
		items[i].n_draft = s->config.method == SPEC_NONE ? 0
								 : wanted(s, items[i].state, n_items, items[i].room);
	if (s->config.method == SPEC_NGRAM)
		for (int64_t i = 0; i < n_items; i++)
			items[i].n_draft = ngram_propose(items[i].state, items[i].tokens, items[i].n_known,
							 items[i].n_draft);
	else if (s->config.method == SPEC_DRAFT)
		draft_propose(s->draft, team, items, n_items);
}

void spec_learn(struct spec *s, struct spec_state *state, int64_t n_draft, int64_t taken)
{
	(void)s;
	state->proposed += n_draft;
	state->accepted += taken;
	/* Guesses behind the first wrong one were never put to the test. */
	for (int64_t i = 0; i < n_draft && i <= taken; i++)
		state->chance = CHANCE_KEEPS * state->chance + (1 - CHANCE_KEEPS) * (i < taken);
	if (taken > 0 && !state->hopeless)
		state->resting = 0;
}

void spec_learn_cost(struct spec *s, int64_t n_tokens, double step_s, int64_t n_guesses, double propose_s)
{
	struct cost *c = &s->cost;
	if (n_tokens > COST_MAX_TOKENS)
		return;
	double n = (double)n_tokens;
	c->n_steps++;
	c->weight = COST_KEEPS * c->weight + 1;
	c->n = COST_KEEPS * c->n + n;
	c->nn = COST_KEEPS * c->nn + n * n;
	c->t = COST_KEEPS * c->t + step_s;
	c->nt = COST_KEEPS * c->nt + n * step_s;
	if (n_guesses > 0)
		c->per_guess = COST_KEEPS * c->per_guess + (1 - COST_KEEPS) * propose_s / (double)n_guesses;
}
