/* bench_speculation.c - the same requests without and with guesses, in turns, and what the guesses came to.
 *
 * One engine does both: without guesses it is told to make none, and learns nothing of what steps cost. So weights lie in
 * memory once, and the two differ in nothing else. Their tokens must be equal, which is checked.
 */
#include "step.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"

#include <stdio.h>
#include <string.h>

#define MAX_REPEAT 100

struct answer {
	int64_t n_made;
	bool ended;
	int status;
	char message[512];
	struct vb_result result;
};

struct turns {
	struct vb_engine *e;
	const struct vb_bench_speculation_spec *s;
	struct answer *without, *with; /* [n_requests] */
	double plain[MAX_REPEAT], guessed[MAX_REPEAT], ratio[MAX_REPEAT];
	int64_t n_tokens, n_accepted; /* of all turns with guesses, behind each request's first token */
	struct engine_stats before;
};

static int on_token(void *user, const struct vb_event *event)
{
	struct answer *a = user;
	a->n_made += event->token != NULL;
	return 0;
}

static void on_done(void *user, int status, struct vb_result *result)
{
	struct answer *a = user;
	a->ended = true;
	a->status = status;
	if (status != VB_OK)
		snprintf(a->message, sizeof a->message, "%s", vb_errmsg());
	a->result = *result;
	*result = (struct vb_result){ 0 };
}

static int submit(struct turns *t, struct answer *answers, int turn)
{
	for (size_t i = 0; i < t->s->n_requests; i++) {
		struct vb_request asked = t->s->requests[i];
		struct request *r;
		asked.sampling.seed += (uint64_t)turn;
		answers[i] = (struct answer){ 0 };
		TRY(request_create(&r, t->e, &asked, on_token, on_done, &answers[i]));
		engine_enqueue(t->e, r);
	}
	return VB_OK;
}

/* Tokens that are made. *all: every request has its first; *any: one has ended. */
static int64_t count(const struct turns *t, const struct answer *answers, bool *all, bool *any)
{
	int64_t n = 0;
	*all = true;
	*any = false;
	for (size_t i = 0; i < t->s->n_requests; i++) {
		n += answers[i].n_made;
		*all = *all && answers[i].n_made > 0;
		*any = *any || answers[i].ended;
	}
	return n;
}

/* Runs the requests to their end; tokens a second while all decode: from when each has its first token until one ends.
 * (Behind that, those who were lucky leave the others to themselves.) */
static int run_turn(struct turns *t, struct answer *answers, int turn, bool guess, double *tok_s)
{
	struct vb_engine *e = t->e;
	int64_t begin = -1, made = -1;
	double start = 0, end = 0;
	bool all, ended = false, left = true;
	e->max_draft = guess ? e->setup.max_draft : 0;
	kv_drop_cache(e->kv);
	int rc = submit(t, answers, turn);
	if (rc != VB_OK) {
		char why[512]; /* ending those before it leaves other messages */
		snprintf(why, sizeof why, "%s", vb_errmsg());
		engine_end_all(e, VB_ECANCELLED);
		FAIL(rc, "%s", why);
	}
	while (left) {
		left = engine_run_step(e);
		if (ended)
			continue;
		made = count(t, answers, &all, &ended);
		end = clock_s();
		if (all && begin < 0) {
			begin = made;
			start = end;
		}
	}
	for (size_t i = 0; i < t->s->n_requests; i++)
		if (answers[i].status != VB_OK)
			FAIL(answers[i].status, "%s", answers[i].message);
	if (begin < 0 || made == begin)
		FAIL(VB_EINVAL, "nothing to measure: %lld tokens before one request had ended: raise --decode-tokens",
		     (long long)made);
	*tok_s = (double)(made - begin) / (end - start);
	return VB_OK;
}

static int compare(struct turns *t)
{
	for (size_t i = 0; i < t->s->n_requests; i++) {
		const struct vb_result *a = &t->without[i].result, *b = &t->with[i].result;
		if (a->n_ids != b->n_ids || memcmp(a->ids, b->ids, a->n_ids * sizeof *a->ids) != 0)
			FAIL(VB_EINTERNAL, "guessing changed an answer: request %zu: this is a bug", i);
		t->n_tokens += (int64_t)b->n_ids - 1;
		t->n_accepted += b->accepted_tokens;
	}
	return VB_OK;
}

static void forget(struct answer *answers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		vb_result_free(&answers[i].result);
}

/* Both, the one first and then the other: what drifts, drifts for both. */
static int run_both(struct turns *t, int turn)
{
	int rc = VB_OK;
	memset(t->without, 0, t->s->n_requests * sizeof *t->without);
	memset(t->with, 0, t->s->n_requests * sizeof *t->with);
	for (int i = 0; i < 2; i++) {
		bool guess = (turn + i) % 2;
		TRY_TO(out, run_turn(t, guess ? t->with : t->without, turn, guess,
				     guess ? &t->guessed[turn] : &t->plain[turn]));
	}
	t->ratio[turn] = t->guessed[turn] / t->plain[turn];
	rc = compare(t);
out:
	forget(t->without, t->s->n_requests);
	forget(t->with, t->s->n_requests);
	return rc;
}

static json_t *positions(const struct turns *t)
{
	const struct engine_stats *now = &t->e->stats, *before = &t->before;
	json_t *list = json_array();
	for (int i = 0; i < t->e->setup.max_draft; i++) {
		json_t *o = json_pack("{s:I, s:I}", "proposed", (json_int_t)(now->proposed_at[i] - before->proposed_at[i]),
				      "accepted", (json_int_t)(now->accepted_at[i] - before->accepted_at[i]));
		if (json_array_append_new(list, o) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static int answer_json(struct turns *t, char **json)
{
	int64_t proposed = t->e->stats.proposed - t->before.proposed, accepted = t->e->stats.accepted - t->before.accepted;
	int n = t->s->repeat;
	double first = t->ratio[0];
	json_t *o = json_pack("{s:i, s:o, s:o, s:o, s:f, s:I, s:I, s:f, s:f, s:o}", "repeat", n, "plain_tok_s",
			      spread_json(spread_of(t->plain, n)), "guessing_tok_s", spread_json(spread_of(t->guessed, n)),
			      "ratio", spread_json(spread_of(t->ratio, n)), "first_ratio", first, "proposed",
			      (json_int_t)proposed, "accepted", (json_int_t)accepted, "acceptance",
			      proposed ? (double)accepted / (double)proposed : 0.0, "tokens_per_step",
			      (double)t->n_tokens / (double)(t->n_tokens - t->n_accepted), "positions", positions(t));
	*json = o ? json_text(o) : NULL;
	json_decref(o);
	if (!*json)
		FAIL(VB_ENOMEM, "out of memory: JSON");
	return VB_OK;
}

static int check_spec(const struct vb_engine *e, const struct vb_bench_speculation_spec *s)
{
	if (s->size != sizeof *s)
		FAIL(VB_EINVAL, "invalid call: vb_bench_speculation: spec.size %zu", s->size);
	if (s->repeat < 1 || s->repeat > MAX_REPEAT)
		FAIL(VB_EINVAL, "invalid --repeat: %d: use 1 to %d", s->repeat, MAX_REPEAT);
	if (!s->requests || s->n_requests < 1 || s->n_requests > (size_t)e->setup.max_batch)
		FAIL(VB_EINVAL, "invalid --batch: %zu: the engine was opened with --max-batch %lld", s->n_requests,
		     (long long)e->setup.max_batch);
	if (e->setup.max_draft == 0)
		FAIL(VB_ESTATE, "nothing to compare: the engine makes no guesses: give --speculate ngram or draft");
	return VB_OK;
}

/* The right to drive, of an engine with nothing to do. */
static int drive_alone(struct vb_engine *e)
{
	if (!engine_try_drive(e))
		FAIL(VB_ESTATE, "engine busy: vb_bench_speculation: wait for the requests to end");
	pthread_mutex_lock(&e->lock);
	bool busy = e->requests || e->inbox;
	pthread_mutex_unlock(&e->lock);
	if (!busy)
		return VB_OK;
	engine_stop_driving(e);
	FAIL(VB_ESTATE, "engine busy: vb_bench_speculation: wait for the requests to end");
}

int vb_bench_speculation(struct vb_engine *e, const struct vb_bench_speculation_spec *s, char **json)
{
	if (!e || !s || !json)
		FAIL(VB_EINVAL, "invalid call: vb_bench_speculation: no argument may be NULL");
	*json = NULL;
	TRY(check_spec(e, s));
	TRY(drive_alone(e));
	struct turns t = { .e = e, .s = s };
	double warm;
	int rc;
	t.without = mem_calloc(s->n_requests, sizeof *t.without);
	t.with = mem_calloc(s->n_requests, sizeof *t.with);
	if (!t.without || !t.with)
		FAIL_TO(out, VB_ENOMEM, "out of memory: vb_bench_speculation");
	/* Once without guesses, not counted, reads the weights from the file; what guesses cost is still unknown then. */
	rc = run_turn(&t, t.without, 0, false, &warm);
	forget(t.without, s->n_requests);
	if (rc != VB_OK)
		goto out;
	t.before = e->stats;
	for (int i = 0; i < s->repeat; i++)
		TRY_TO(out, run_both(&t, i));
	rc = answer_json(&t, json);
out:
	e->max_draft = e->setup.max_draft;
	mem_free(t.without);
	mem_free(t.with);
	engine_stop_driving(e);
	return rc;
}
