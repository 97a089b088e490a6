#include "step.h"

#include "base/clock.h"
#include "base/status.h"
#include "scheduler.h"

#include <stdio.h>
#include <string.h>

/* Behind so many steps that were run ahead without an ask for guesses, one is not. */
#define LEAST_ASKED 32

/* ---- The list of requests ---- */

uint64_t engine_enqueue(struct vb_engine *e, struct request *r)
{
	pthread_mutex_lock(&e->lock);
	uint64_t id = r->id = ++e->last_id;
	atomic_fetch_add(&e->n_submitted, 1);
	/* A cancel that found nobody is not for those who come later. */
	if (!e->requests && !e->inbox)
		atomic_store(&e->cancel_all, false);
	*e->inbox_end = r;
	e->inbox_end = &r->next;
	pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->lock);
	return id;
}

static void take_inbox(struct vb_engine *e)
{
	pthread_mutex_lock(&e->lock);
	*e->requests_end = e->inbox;
	if (e->inbox)
		e->requests_end = e->inbox_end;
	e->inbox = NULL;
	e->inbox_end = &e->inbox;
	pthread_mutex_unlock(&e->lock);
}

/* Gives back what a running request holds in the cache. */
static void leave_cache(struct request *r)
{
	if (r->seq >= 0)
		kv_seq_close(r->e->kv, r->seq);
	r->seq = -1;
	r->n_computed = r->n_draft = 0;
}

static void end(struct request *r, int rc)
{
	leave_cache(r);
	r->e->stats.ended++;
	request_end(r, rc);
}

/* Takes the ended ones off the list. Returns whether anything is left, in the list or in the inbox (a callback may have
 * submitted). */
static bool sweep(struct vb_engine *e)
{
	pthread_mutex_lock(&e->lock);
	struct request **link = &e->requests;
	while (*link) {
		struct request *r = *link;
		if (r->state != REQUEST_ENDED) {
			link = &r->next;
			continue;
		}
		*link = r->next;
		request_destroy(&r);
	}
	e->requests_end = link;
	bool left = e->requests || e->inbox;
	pthread_mutex_unlock(&e->lock);
	return left;
}

static void end_cancelled(struct vb_engine *e)
{
	bool all = atomic_exchange(&e->cancel_all, false);
	for (struct request *r = e->requests; r; r = r->next)
		if (r->state != REQUEST_ENDED && (all || atomic_load(&r->cancelled)))
			end(r, VB_ECANCELLED);
}

void engine_end_all(struct vb_engine *e, int rc)
{
	engine_end_flight(e);
	take_inbox(e);
	for (struct request *r = e->requests; r; r = r->next)
		if (r->state != REQUEST_ENDED)
			end(r, rc);
	(void)sweep(e);
}

/* ---- Guessing ---- */

static bool decoding(const struct request *r)
{
	return r->state == REQUEST_RUNNING && r->n_known - r->n_computed == 1 && r->n_known >= r->n_prompt;
}

/* Guesses behind the known tokens of all requests that decode. */
static void propose(struct vb_engine *e)
{
	int64_t n = 0;
	for (struct request *r = e->requests; r; r = r->next) {
		r->n_draft = 0;
		if (!decoding(r) || n == e->setup.max_batch)
			continue;
		/* The last token needs no guess behind it. */
		int64_t left = r->max_tokens - (int64_t)r->result.n_ids - 1;
		if (left <= 0)
			continue;
		e->drafting[n] = r;
		e->items[n++] = (struct spec_item){
			.state = &r->spec, .params = &r->params, .tokens = r->tokens, .n_known = r->n_known,
			.n_prompt = r->n_prompt, .room = left < e->max_draft ? left : e->max_draft,
		};
	}
	if (n == 0 || e->max_draft == 0)
		return;
	double start = clock_s();
	spec_propose(e->spec, e->team, e->items, n);
	e->propose_s = clock_s() - start;
	for (int64_t i = 0; i < n; i++) {
		e->drafting[i]->n_draft = e->items[i].n_draft;
		e->n_guesses += e->items[i].n_draft;
	}
}

/* ---- Deciding ---- */

/* What a waiting request could begin with: its last token excepted, whose logits are wanted. Who wants the prompt's
 * log-probabilities needs it computed. */
static bool may_match(const struct request *r)
{
	return !r->result.prompt_tokens || r->n_scored == r->n_prompt - 1;
}

/* The scheduler looks at all running requests and at as many waiting ones as could be admitted. `victim` is who was
 * preempted last in this step, or NULL: those before it were younger, and stand behind it in the line. */
static int64_t view(struct vb_engine *e, const struct request *victim)
{
	int64_t n = 0, waiting = 0, running = 0;
	for (struct request *r = e->requests; r; r = r->next)
		running += r->state == REQUEST_RUNNING;
	for (struct request *r = e->requests; r; r = r->next) {
		if (r->state == REQUEST_ENDED || (r->state == REQUEST_WAITING && waiting == e->setup.max_batch - running))
			continue;
		waiting += r->state == REQUEST_WAITING;
		struct sched_request *v = &e->view[n];
		*v = (struct sched_request){ .running = r->state == REQUEST_RUNNING, .preempted = r == victim,
					     .n_known = r->n_known, .n_computed = r->n_computed,
					     .n_draft = r->n_draft };
		for (int g = 0; v->running && g < e->limits.n_groups; g++)
			v->pages[g] = kv_seq_pages(e->kv, r->seq, g);
		if (!v->running && may_match(r))
			v->n_computed = kv_peek(e->kv, r->salt, r->tokens, r->n_known - 1, v->pages);
		e->viewed[n++] = r;
	}
	for (int g = 0; g < e->limits.n_groups; g++)
		e->limits.available[g] = kv_available(e->kv, g);
	return n;
}

/* A waiting request begins, with what is known of its prompt already. */
static bool admit(struct vb_engine *e, struct request *r)
{
	struct kv_copy copies[KV_MAX_GROUPS];
	int n_copies = 0;
	r->seq = kv_seq_open(e->kv, r->salt);
	if (r->seq < 0)
		return false;
	if (may_match(r))
		r->n_computed = kv_seq_match(e->kv, r->seq, r->tokens, r->n_known - 1, copies, &n_copies);
	for (int i = 0; i < n_copies; i++)
		program_copy_page(e->setup.program, copies[i].group, copies[i].from, copies[i].to);
	if (r->result.n_ids == 0)
		r->result.cached_tokens = r->n_computed;
	r->state = REQUEST_RUNNING;
	return true;
}

/* Room in the cache for the request's share, which shrinks where there is less than was thought: a prefix hit takes
 * pages too. */
static bool reserve(struct vb_engine *e, struct request *r)
{
	int64_t left = r->n_known - r->n_computed;
	if (r->n_step > left)
		r->n_step = left;
	if (r->n_step < left)
		r->n_step_draft = 0;
	while (r->n_step > 0) {
		if (kv_seq_reserve(e->kv, r->seq, r->n_computed + r->n_step + r->n_step_draft) == VB_OK)
			return true;
		if (r->n_step_draft > 0)
			r->n_step_draft = 0;
		else
			r->n_step /= 2;
	}
	return false;
}

/* Decides, preempting until nobody has to be. */
static int64_t decide(struct vb_engine *e)
{
	struct request *preempted = NULL;
	for (;;) {
		int64_t n = view(e, preempted);
		int64_t victim = sched_decide(e->view, n, &e->limits, e->decision);
		if (victim == SCHED_NO_VICTIM)
			return n;
		preempted = e->viewed[victim];
		leave_cache(preempted);
		preempted->state = REQUEST_WAITING;
		e->stats.preemptions++;
	}
}

/* Takes every request's share of the step into the batch. */
static void fill_batch(struct vb_engine *e, int64_t n)
{
	batch_clear(e->batch);
	for (int64_t i = 0; i < n; i++) {
		struct request *r = e->viewed[i];
		const struct sched_decision *d = &e->decision[i];
		r->n_step = r->n_step_draft = r->n_put = 0;
		if (d->n_tokens == 0 || (d->admit && !admit(e, r)))
			continue;
		r->n_step = d->n_tokens;
		r->n_step_draft = d->n_draft;
	}
	/* Beginnings that were found are held by now: what is reserved cannot push them out. */
	for (int64_t i = 0; i < n; i++) {
		struct request *r = e->viewed[i];
		const struct sched_decision *d = &e->decision[i];
		if (r->n_step == 0)
			continue;
		if (!reserve(e, r)) {
			/* One that has just been admitted gives back what it found and waits on. */
			if (d->admit) {
				leave_cache(r);
				r->state = REQUEST_WAITING;
			}
			continue;
		}
		const int32_t *tables[KV_MAX_GROUPS];
		for (int g = 0; g < e->limits.n_groups; g++)
			tables[g] = kv_seq_table(e->kv, r->seq, g);
		r->first_row = batch_add(e->batch, r->tokens + r->n_computed, r->n_step + r->n_step_draft, r->n_computed,
					 r->n_prompt, tables);
		r->n_put = r->n_step_draft;
	}
}

/* ---- Choosing ---- */

static void mark_ending(struct request *r, int rc)
{
	r->ending = true;
	r->ending_rc = rc;
	if (rc != VB_OK && rc != VB_ECANCELLED)
		snprintf(r->message, sizeof r->message, "%s", vb_errmsg());
}

/* The token behind position i is chosen. Where it is the guess that stands there, the next row counts too. */
static void advance(struct request *r, int64_t i, const struct sample_choice *choice)
{
	bool ended;
	int32_t guess = r->tokens[i + 1];
	bool guessed = i + 1 < r->n_computed + r->n_step + r->n_step_draft;
	int rc = request_take(r, choice, &ended);
	if (rc == VB_OK && !ended && atomic_load(&r->cancelled)) {
		rc = VB_ECANCELLED;
		ended = true;
	}
	if (rc == VB_OK && guessed && r->n_known == i + 2 && r->tokens[i + 1] == guess)
		r->n_taken++;
	else
		r->n_step_draft = i - (r->n_computed + r->n_step - 1); /* guesses behind are void */
	if (rc != VB_OK || ended)
		mark_ending(r, rc);
}

/* What came of one wish. Wishes behind a guess that turned out wrong, or behind the end, are void. */
static void take(void *user, const struct sample_wish *wish, const struct sample_choice *choice)
{
	(void)user;
	struct request *r = wish->owner;
	if (!r)
		return; /* ended since */
	int64_t token = r->n_computed + wish->row - r->first_row;
	if (r->ending)
		return;
	if (!wish->params) {
		int rc = request_score(r, choice);
		if (rc != VB_OK)
			mark_ending(r, rc);
	} else if (token == r->n_known - 1 && token < r->n_computed + r->n_step + r->n_step_draft) {
		advance(r, token, choice);
	}
}

/* What is wanted of the step: prompts' log-probabilities, the next tokens, and those behind guesses. */
static int64_t make_wishes(struct vb_engine *e, int64_t n)
{
	int64_t n_wishes = 0;
	for (int64_t i = 0; i < n; i++) {
		struct request *r = e->viewed[i];
		r->n_taken = 0;
		r->ending = false;
		int64_t end_token = r->n_computed + r->n_step + r->n_step_draft;
		int64_t scored = r->n_scored;
		for (int64_t t = r->n_computed; r->n_step && t < end_token; t++) {
			bool score = r->result.prompt_tokens && t < r->n_prompt - 1 && t == scored;
			if (!score && t < r->n_known - 1)
				continue;
			scored += score;
			request_wish(r, t, r->first_row + t - r->n_computed, score, &e->wishes[n_wishes++]);
		}
	}
	return n_wishes;
}

/* The device failed: what was computed in this step is worth nothing. */
static void fail_all(struct vb_engine *e, int64_t n, int rc)
{
	for (int64_t i = 0; i < n; i++)
		if (e->viewed[i]->n_step)
			mark_ending(e->viewed[i], rc);
}

/* ---- Finishing ---- */

static void learn(struct vb_engine *e, struct request *r)
{
	if (r->n_put == 0)
		return;
	spec_learn(e->spec, &r->spec, r->n_put, r->n_taken);
	r->n_draft_steps++;
	e->stats.draft_steps++;
	e->stats.proposed += r->n_put;
	e->stats.accepted += r->n_taken;
	for (int64_t i = 0; i < r->n_put; i++)
		e->stats.proposed_at[i]++;
	for (int64_t i = 0; i < r->n_taken; i++)
		e->stats.accepted_at[i]++;
}

static void settle(struct vb_engine *e, struct request **requests, int64_t n)
{
	for (int64_t i = 0; i < n; i++) {
		struct request *r = requests[i];
		if (!r || r->n_step == 0)
			continue;
		e->stats.tokens += r->n_step;
		learn(e, r);
		/* Known tokens of this step, and guesses that turned out right, are final. */
		r->n_computed += r->n_step + r->n_taken;
		if (r->ending && r->n_computed > r->n_known)
			r->n_computed = r->n_known;
		kv_seq_commit(e->kv, r->seq, r->tokens, r->n_computed);
		kv_seq_truncate(e->kv, r->seq, r->n_computed + r->n_ahead);
		if (r->ending)
			end(r, r->ending_rc);
	}
}

void engine_show(struct vb_engine *e)
{
	pthread_mutex_lock(&e->shown_lock);
	e->shown.stats = e->stats;
	kv_get_stats(e->kv, &e->shown.kv);
	pthread_mutex_unlock(&e->shown_lock);
}

/* ---- Running ahead ----
 *
 * On a GPU a step of plain decoding is begun before the tokens of the one before it are known on the host: the GPU takes them
 * from where it chose them. So it need not wait while the host gives out text, looks for ends and plans. Whoever
 * turns out to have ended was computed once more than needed; nobody looks at that. Anything but plain decoding
 * (somebody can be admitted, is cancelled, guesses, wants logits, has penalties, lacks a page) waits for the step under way.
 *
 * Guesses stand behind known tokens, so that they too wait. Where their number is chosen automatically and none pays for a
 * while (spec_idle), steps run ahead for that while, and the time that they take is what guessing is measured against.
 */

/* Whether a step of the device can be left under way with this request in it. */
static bool decodes_plainly(const struct request *r)
{
	return r->state == REQUEST_RUNNING && !r->ending && !r->penalised && !r->n_top && !r->result.prompt_tokens &&
	       r->n_known - r->n_computed == 1 && r->n_known >= r->n_prompt;
}

/* Whether the step just planned is nothing but every request's next token. */
static bool is_plain(const struct vb_engine *e, int64_t n, int64_t n_wishes)
{
	if (!e->gpu || e->n_guesses > 0 || n_wishes == 0 || n_wishes != e->batch->n_tokens ||
	    n_wishes > program_get_config(e->setup.program)->max_rows)
		return false;
	for (int64_t i = 0; i < n; i++)
		if (e->viewed[i]->n_step != 1 || e->viewed[i]->n_step_draft || !decodes_plainly(e->viewed[i]))
			return false;
	return true;
}

static void forget(struct flight *f)
{
	f->n = 0;
}

/* Leaves the planned step under way. */
static int begin(struct vb_engine *e, int64_t n_wishes)
{
	struct flight *f = &e->flight;
	TRY(batch_begin(e->batch, NULL, e->wishes, n_wishes));
	f->n = n_wishes;
	f->since = clock_s();
	f->asked = true;
	e->n_idle = spec_idle(e->spec) - 1;
	for (int64_t i = 0; i < f->n; i++) {
		f->requests[i] = e->wishes[i].owner;
		f->wishes[i] = e->wishes[i];
	}
	return VB_OK;
}

/* Whether anybody wants something else than the next token. Who waits for a place while all are taken does not. */
static bool somebody_waits(struct vb_engine *e)
{
	take_inbox(e);
	pthread_mutex_lock(&e->lock);
	bool closing = e->closing;
	pthread_mutex_unlock(&e->lock);
	if (closing || atomic_load(&e->cancel_all))
		return true;
	int64_t running = 0, waiting = 0;
	for (struct request *r = e->requests; r; r = r->next) {
		if (atomic_load(&r->cancelled))
			return true;
		running += r->state == REQUEST_RUNNING;
		waiting += r->state == REQUEST_WAITING;
	}
	return waiting > 0 && running < e->setup.max_batch;
}

/* Whether a token may be wanted behind the one under way. */
static bool goes_on(const struct request *r)
{
	return r && (int64_t)r->result.n_ids + 1 < r->max_tokens;
}

/* Whether the step behind the one under way is to do without guesses. What was decided last may say so; else a look at the known
 * tokens, which is repeated behind each step: where it sees something, the step under way ends first, and a guess is made with
 * its token. Now and then everybody is asked. */
static bool without_guesses(struct vb_engine *e, const struct flight *now)
{
	if (e->max_draft == 0 || e->n_idle > 0)
		return true;
	for (int64_t i = 0; i < now->n; i++) {
		struct request *r = now->requests[i];
		if (goes_on(r) && !spec_sees_nothing(e->spec, &r->spec, r->tokens, r->n_known))
			return false;
	}
	return e->n_idle > -LEAST_ASKED;
}

/* Begins the step behind the one under way, for all of it that goes on; returns whether it did. */
static bool begin_ahead(struct vb_engine *e, const struct flight *now, struct flight *next)
{
	next->n = 0;
	next->asked = false;
	if (somebody_waits(e) || !without_guesses(e, now))
		return false;
	/* Room first, for all: what was reserved in vain goes back when the step under way is settled. */
	for (int64_t i = 0; i < now->n; i++)
		if (goes_on(now->requests[i]) &&
		    kv_seq_reserve(e->kv, now->requests[i]->seq, now->requests[i]->n_known + 1) != VB_OK)
			return false;
	batch_clear(e->batch);
	for (int64_t i = 0; i < now->n; i++) {
		struct request *r = now->requests[i];
		if (!goes_on(r))
			continue;
		const int32_t *tables[KV_MAX_GROUPS], unknown = 0;
		for (int g = 0; g < e->limits.n_groups; g++)
			tables[g] = kv_seq_table(e->kv, r->seq, g);
		int64_t row = batch_add(e->batch, &unknown, 1, r->n_known, r->n_prompt, tables);
		request_wish(r, r->n_known, row, false, &next->wishes[next->n]);
		e->from[next->n] = (int32_t)i;
		next->requests[next->n++] = r;
	}
	if (next->n == 0 || !batch_can_run_ahead(e->batch) ||
	    batch_begin(e->batch, e->from, next->wishes, next->n) != VB_OK)
		next->n = 0;
	for (int64_t i = 0; i < next->n; i++)
		next->requests[i]->n_ahead = 1;
	e->n_idle -= next->n > 0;
	return next->n > 0;
}

/* What a step without guesses takes, for who weighs them. */
static void learn_plain(struct vb_engine *e, const struct flight *f, double now)
{
	int64_t n = 0;
	for (int64_t i = 0; i < f->n; i++)
		if (f->requests[i])
			e->states[n++] = &f->requests[i]->spec;
	if (n < f->n || e->max_draft == 0)
		return;
	if (f->asked)
		spec_learn_cost(e->spec, n, now - f->since, 0, e->propose_s);
	else
		spec_pass(e->spec, e->states, n, now - f->since);
}

/* Waits for a step under way and takes what it chose. */
static void finish(struct vb_engine *e, struct flight *f)
{
	for (int64_t i = 0; i < f->n; i++) {
		struct request *r = f->requests[i];
		f->wishes[i].owner = r;
		if (!r)
			continue;
		r->n_step = 1;
		r->n_step_draft = r->n_put = r->n_taken = 0;
		r->first_row = f->wishes[i].row;
		r->ending = false;
	}
	int rc = program_end(e->setup.program, f->wishes, f->n, take, NULL);
	e->ended_s = clock_s();
	learn_plain(e, f, e->ended_s);
	for (int64_t i = 0; rc != VB_OK && i < f->n; i++)
		if (f->requests[i])
			mark_ending(f->requests[i], rc);
	e->stats.steps++;
	settle(e, f->requests, f->n);
}

/* Requests that have ended are no longer of the step. */
static void leave_ended(struct flight *f)
{
	for (int64_t i = 0; i < f->n; i++)
		if (f->requests[i] && f->requests[i]->state == REQUEST_ENDED)
			f->requests[i] = NULL;
}

static bool nobody_left(const struct flight *f)
{
	for (int64_t i = 0; i < f->n; i++)
		if (f->requests[i])
			return false;
	return true;
}

/* Ends the step under way, having begun the next where that can be. */
static void run_ahead(struct vb_engine *e)
{
	struct flight now = e->flight;
	e->flight = e->next_flight;
	for (int64_t i = 0; i < now.n; i++)
		if (now.requests[i])
			now.requests[i]->n_ahead = 0;
	(void)begin_ahead(e, &now, &e->flight);
	finish(e, &now);
	e->flight.since = e->ended_s;
	forget(&now);
	leave_ended(&e->flight);
	if (e->flight.n && nobody_left(&e->flight)) {
		finish(e, &e->flight);
		forget(&e->flight);
	}
	e->next_flight = now; /* its arrays */
}

void engine_end_flight(struct vb_engine *e)
{
	if (e->flight.n)
		finish(e, &e->flight);
	forget(&e->flight);
}

/* A step as planned, from begin to end. */
static void run_planned(struct vb_engine *e, int64_t n, int64_t n_wishes)
{
	/* On a GPU what is not run ahead waits for the host, too: from the end of the step before. */
	double start = e->gpu && e->ended_s > 0 ? e->ended_s + e->propose_s : clock_s();
	int rc = batch_run(e->batch, e->team, e->wishes, n_wishes, take, NULL);
	if (rc != VB_OK)
		fail_all(e, n, rc);
	e->ended_s = clock_s();
	if (e->batch->n_tokens) {
		e->stats.steps++;
		if (e->max_draft > 0)
			spec_learn_cost(e->spec, e->batch->n_tokens, e->ended_s - start, e->n_guesses, e->propose_s);
	}
	settle(e, e->viewed, n);
}

bool engine_run_step(struct vb_engine *e)
{
	if (!e->flight.n) {
		take_inbox(e);
		end_cancelled(e);
		e->propose_s = 0;
		e->n_guesses = 0;
		propose(e);
		int64_t n = decide(e);
		fill_batch(e, n);
		int64_t n_wishes = make_wishes(e, n);
		if (!is_plain(e, n, n_wishes) || begin(e, n_wishes) != VB_OK)
			run_planned(e, n, n_wishes);
	}
	if (e->flight.n)
		run_ahead(e);
	engine_show(e);
	bool left = sweep(e);
	if (!left)
		e->ended_s = 0;
	return left;
}
