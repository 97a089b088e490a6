/* draft.c - guessing with a smaller model of the same vocabulary.
 *
 * The draft has a program, a cache and pages of its own. For each request it keeps a sequence that holds the known tokens
 * up to n_computed; guesses that the target refused are overwritten. A round runs, for all requests at once, first the
 * tokens that the draft has not seen (up to a chunk in all; who is further behind guesses later), then one token after
 * the other. Each guess is sampled with the request's own parameters and the noise of its position: the target will
 * choose with the same.
 */
#include "spec_internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "hw/gpu.h"
#include "model/weights.h"

struct draft {
	struct model_config *config;
	struct model_weights *weights;
	struct program *program;
	struct kv *kv;
	struct batch *batch;
	struct sample_wish *wishes; /* of the items that guess: their last token's row */
	int64_t *active; /* indices of items that guess in this round */
	int64_t chunk, context;
	uint64_t bytes;
};

/* A draft that cannot speak the target's language is refused before its weights are read. */
static int check_vocabulary(const struct draft *d, const struct spec_config *c)
{
	if (d->config->vocab_size != c->n_vocab)
		FAIL(VB_EUNSUPPORTED, "draft model does not fit: --draft-model %s: its vocabulary has %lld tokens, the "
				      "model's %lld: use a draft with the same vocabulary", c->draft_dir,
		     (long long)d->config->vocab_size, (long long)c->n_vocab);
	return VB_OK;
}

static int make_cache(struct draft *d, const struct spec_config *c)
{
	struct kv_config kc = { .page_size = c->page_size, .n_groups = program_n_groups(d->program),
				.max_seqs = c->max_seqs, .max_tokens = c->context };
	int64_t n_pages[PROGRAM_MAX_GROUPS];
	for (int g = 0; g < kc.n_groups; g++) {
		kc.group[g].window = program_group_window(d->program, g);
		n_pages[g] = c->max_seqs * kv_most_pages(kc.group[g].window, c->page_size, c->context, c->chunk);
		kc.group[g].n_pages = n_pages[g];
	}
	TRY(kv_create(&d->kv, &kc));
	TRY(program_allocate(d->program, n_pages));
	struct program_memory m;
	program_memory(d->program, &m);
	d->bytes = m.weights + m.activations + m.workspace;
	for (int g = 0; g < kc.n_groups; g++)
		d->bytes += (uint64_t)(n_pages[g] * c->page_size) * m.group_kv_per_token[g];
	return VB_OK;
}

static int create(struct draft *d, struct team *team, const struct spec_config *c)
{
	TRY(model_config_read(&d->config, c->draft_dir));
	TRY(check_vocabulary(d, c));
	d->chunk = c->chunk;
	d->context = c->context;
	struct program_config pc = {
		.compute = c->compute_auto ? d->config->dtype : c->compute, .isa = c->isa, .n_threads = c->n_threads,
		.max_tokens = c->chunk > c->max_seqs ? c->chunk : c->max_seqs, .max_seqs = c->max_seqs,
		.max_rows = c->max_seqs < 32 ? c->max_seqs : 32, .context = c->context, .page_size = c->page_size,
		.max_decode = c->max_seqs, .graph = c->graph,
	};
	if (c->gpu) {
		pc.max_rows = c->max_seqs + c->max_seqs / 2 + 1;
		pc.gpu_facts = gpu_facts(c->gpu);
	}
	TRY(program_create(&d->program, &pc));
	TRY(model_build(d->program, d->config));
	TRY(weights_create(&d->weights, &(struct weights_wish){ .dir = c->draft_dir, .config = d->config,
								.compute = pc.compute }));
	TRY(weights_attach(d->weights, d->program));
	TRY(program_pick(d->program));
	if (c->gpu)
		program_set_gpu(d->program, c->gpu);
	TRY(weights_bind(d->weights, d->program, team));
	TRY(make_cache(d, c));
	TRY(batch_create(&d->batch, d->program));
	d->wishes = mem_calloc((size_t)c->max_seqs, sizeof *d->wishes);
	d->active = mem_calloc((size_t)c->max_seqs, sizeof *d->active);
	return d->wishes && d->active ? VB_OK : VB_ENOMEM;
}

int draft_create(struct draft **out, struct team *team, const struct spec_config *c)
{
	*out = NULL;
	if (!c->draft_dir)
		FAIL(VB_EINVAL, "no draft model: --speculate draft needs --draft-model DIR");
	struct draft *d = mem_calloc(1, sizeof *d);
	if (!d)
		return VB_ENOMEM;
	int rc = create(d, team, c);
	if (rc != VB_OK) {
		draft_destroy(&d);
		return status_prefix(rc, "draft model");
	}
	*out = d;
	return VB_OK;
}

void draft_destroy(struct draft **dp)
{
	struct draft *d = *dp;
	if (!d)
		return;
	batch_destroy(&d->batch);
	program_destroy(&d->program);
	kv_destroy(&d->kv);
	weights_destroy(&d->weights);
	model_config_destroy(&d->config);
	mem_free(d->wishes);
	mem_free(d->active);
	mem_free(d);
	*dp = NULL;
}

uint64_t draft_bytes(const struct draft *d)
{
	return d->bytes;
}

void draft_close(struct draft *d, struct spec_state *state)
{
	if (state->seq >= 0)
		kv_seq_close(d->kv, state->seq);
	state->seq = -1;
	state->begin = state->n_computed = 0;
}

/* Adds tokens [n_computed, end) of an item to the batch; false where its sequence or pages cannot be had. Positions count
 * from where the sequence begins. */
static bool add(struct draft *d, struct spec_item *item, int64_t end)
{
	struct spec_state *s = item->state;
	const int32_t *tables[KV_MAX_GROUPS];
	if (kv_seq_reserve(d->kv, s->seq, end - s->begin) != VB_OK)
		return false;
	for (int g = 0; g < d->batch->n_groups; g++)
		tables[g] = kv_seq_table(d->kv, s->seq, g);
	batch_add(d->batch, item->tokens + s->n_computed, end - s->n_computed, s->n_computed - s->begin, item->n_prompt,
		  tables);
	return true;
}

/* The guess behind the last token of the batch is wanted, for the n-th of those that guess: item i, in this round. */
static void want(struct draft *d, struct spec_item *items, int64_t n, int64_t i, int64_t round)
{
	struct spec_item *item = &items[i];
	d->active[n] = i;
	d->wishes[n] = (struct sample_wish){ .row = (int32_t)d->batch->n_tokens - 1, .params = item->params,
					     .position = item->n_known + round, .owner = item };
}

/* The tokens that the draft has yet to see, the least work first in line as it comes; returns how many items are up to
 * date and guess (their indices in active, what they wait for in wishes). */
static int64_t catch_up(struct draft *d, struct spec_item *items, int64_t n_items)
{
	int64_t left = d->chunk, n = 0;
	batch_clear(d->batch);
	for (int64_t i = 0; i < n_items; i++) {
		struct spec_item *item = &items[i];
		struct spec_state *s = item->state;
		if (item->n_draft == 0)
			continue;
		if (s->seq >= 0 && s->n_computed == s->begin) {
			kv_seq_close(d->kv, s->seq);
			s->seq = -1;
		}
		if (s->seq < 0)
			s->seq = kv_seq_open(d->kv, 0);
		int64_t todo = item->n_known - s->n_computed;
		int64_t now = todo < left ? todo : left;
		bool added = s->seq >= 0 && now > 0 && add(d, item, s->n_computed + now);
		if (added) {
			left -= now;
			s->n_computed += now;
			kv_seq_commit(d->kv, s->seq, item->tokens + s->begin, s->n_computed - s->begin);
		}
		if (!added || now < todo) {
			item->n_draft = 0;
			continue;
		}
		want(d, items, n++, i, 0);
	}
	return n;
}

static void take_guess(void *user, const struct sample_wish *wish, const struct sample_choice *choice)
{
	(void)user;
	struct spec_item *item = wish->owner;
	/* Logits that are not finite make no guess that could be right. */
	item->tokens[wish->position] = choice->id < 0 ? 0 : choice->id;
}

void draft_propose(struct draft *d, struct team *team, struct spec_item *items, int64_t n_items)
{
	int64_t n = catch_up(d, items, n_items);
	for (int64_t round = 0;; round++) {
		/* The first run is also for those that only catch up. A device that fails makes no guesses: the target's step
		 * will tell of it. */
		if (batch_run(d->batch, team, d->wishes, n, take_guess, NULL) != VB_OK) {
			for (int64_t i = 0; i < n_items; i++)
				items[i].n_draft = 0;
			return;
		}
		batch_clear(d->batch);
		int64_t still = 0;
		for (int64_t i = 0; i < n; i++) {
			struct spec_item *item = &items[d->active[i]];
			if (round + 1 >= item->n_draft)
				continue;
			/* Guesses are computed where the truth will be written over them: they are not committed. */
			int64_t computed = item->state->n_computed;
			item->state->n_computed = item->n_known + round;
			bool added = add(d, item, item->n_known + round + 1);
			item->state->n_computed = computed;
			if (!added) {
				item->n_draft = round + 1;
				continue;
			}
			want(d, items, still++, d->active[i], round + 1);
		}
		n = still;
		if (n == 0)
			return;
	}
}

/* ---- Measuring ---- */

enum { MEASURE_TOKENS = 32, MEASURE_STEPS = 4 };

/* Seconds for tokens [first, first + n) of a sequence, the last one's choice included. */
static int timed_run(struct draft *d, struct team *team, struct spec_item *item, int64_t first, int64_t n, double *seconds)
{
	item->state->n_computed = first;
	batch_clear(d->batch);
	if (!add(d, item, first + n))
		return VB_ELIMIT;
	item->n_known = first + n;
	want(d, item, 0, 0, 0);
	double start = clock_s();
	TRY(batch_run(d->batch, team, d->wishes, 1, take_guess, NULL));
	*seconds = clock_s() - start;
	return VB_OK;
}

int draft_measure(struct draft *d, struct team *team, struct rate *guess, struct rate *behind)
{
	static const struct sample_params greedy = { .top_p = 1, .repetition_penalty = 1 };
	int64_t n = d->chunk < MEASURE_TOKENS ? d->chunk : MEASURE_TOKENS;
	int32_t tokens[MEASURE_TOKENS + MEASURE_STEPS + 1] = { 0 };
	struct spec_state state = { .seq = kv_seq_open(d->kv, 0) };
	struct spec_item item = { .state = &state, .params = &greedy, .tokens = tokens, .n_prompt = n };
	double seconds;
	int rc;
	if (n > d->context - MEASURE_STEPS)
		n = d->context - MEASURE_STEPS;
	CHECK(state.seq >= 0 && n > 0);
	/* Twice: the first time reads the weights from the file. */
	for (int round = 0; round < 2; round++)
		TRY_TO(out, timed_run(d, team, &item, 0, n, &seconds));
	*behind = (struct rate){ 1, seconds / (double)n };
	for (int64_t i = 0; i < MEASURE_STEPS; i++) {
		TRY_TO(out, timed_run(d, team, &item, n + i, 1, &seconds));
		if (i == 0 || seconds < guess->seconds)
			*guess = (struct rate){ 1, seconds };
	}
out:
	draft_close(d, &state);
	return rc;
}
