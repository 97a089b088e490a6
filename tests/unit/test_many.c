/* Many requests at once: from many threads, cancelled, preempted, sharing beginnings, short of memory. Each ends once, with
 * the answer it has alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "many_help.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char folder[] = "llama-3-gqa3";

enum { N_PROMPTS = 12, MAX_PROMPT = 40 };

/* Prompts, requests and what each answers alone. */
struct crowd {
	int32_t ids[N_PROMPTS][MAX_PROMPT];
	struct vb_request request[N_PROMPTS];
	struct vb_result alone[N_PROMPTS];
};

static void crowd_make(struct crowd *c, const char *dir)
{
	struct vb_options o = small_options();
	struct vb_engine *e = open_engine(dir, &o);
	for (int i = 0; i < N_PROMPTS; i++) {
		size_t n = 1 + rng_u32(5, RNG_TEST, 0, (uint32_t)i) % MAX_PROMPT;
		for (size_t j = 0; j < n; j++)
			c->ids[i][j] = (int32_t)(rng_u32(5, RNG_TEST, 1 + (uint64_t)(i / 2), (uint32_t)j) % 100);
		c->request[i] = request_of(c->ids[i], n, 6 + i % 5);
		c->request[i].ignore_eos = true;
		c->request[i].logprobs = i % 3;
		c->request[i].prompt_logprobs = i % 4 == 0 ? 1 : -1;
		c->request[i].sampling.temperature = i % 2 ? 0.8 : 0;
		c->request[i].sampling.seed = (uint64_t)i;
		need(vb_generate(e, &c->request[i], NULL, NULL, &c->alone[i]));
	}
	need(vb_engine_close(&e));
}

static void crowd_free(struct crowd *c)
{
	for (int i = 0; i < N_PROMPTS; i++)
		vb_result_free(&c->alone[i]);
}

static struct vb_options many_options(void)
{
	struct vb_options o = small_options();
	o.max_batch = 4;
	o.prefix_cache = true;
	return o;
}

/* After all have ended no page is held, and none is lost. */
static void need_empty(struct vb_engine *e, int64_t n_pages)
{
	assert_int_equal(pages_of(e, "used"), 0);
	assert_int_equal(pages_of(e, "cached") + pages_of(e, "free"), n_pages);
	assert_int_equal(stat_of(e, "requests", "submitted"), stat_of(e, "requests", "ended"));
}

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

/* ---- Threads ---- */

enum { N_THREADS = 4, EACH = 18 };

/* What a thread does; cmocka's checks belong to the main thread, so that it only counts. */
struct worker {
	pthread_t thread;
	struct vb_engine *e;
	const struct crowd *crowd;
	int index;
	struct answer answers[EACH];
	int n_failed;
};

static int which(const struct worker *w, int i)
{
	return (w->index * 5 + i * 7) % N_PROMPTS;
}

static void *submit_some(void *arg)
{
	struct worker *w = arg;
	for (int i = 0; i < EACH; i++) {
		struct answer *a = &w->answers[i];
		const struct vb_request *r = &w->crowd->request[which(w, i)];
		w->n_failed += vb_submit(w->e, r, answer_token, answer_done, a, &a->id) != VB_OK;
		if (i % 6 == 5) {
			/* Some are over already. */
			int rc = vb_cancel_request(w->e, a->id);
			w->n_failed += rc != VB_OK && rc != VB_ENOTFOUND;
		}
		if (i % 4 == 0)
			nap();
	}
	return NULL;
}

static void *generate_some(void *arg)
{
	struct worker *w = arg;
	for (int i = 0; i < EACH; i++) {
		struct answer *a = &w->answers[i];
		a->status = vb_generate(w->e, &w->crowd->request[which(w, i)], answer_token, a, &a->result);
		w->n_failed += a->status != VB_OK;
		atomic_fetch_add(&a->n_ended, 1);
	}
	return NULL;
}

static void start_workers(struct worker *workers, struct vb_engine *e, const struct crowd *c, void *(*main)(void *))
{
	memset(workers, 0, N_THREADS * sizeof *workers);
	for (int i = 0; i < N_THREADS; i++) {
		workers[i].e = e;
		workers[i].crowd = c;
		workers[i].index = i;
		assert_int_equal(pthread_create(&workers[i].thread, NULL, main, &workers[i]), 0);
	}
}

static void need_answers(struct worker *workers, bool may_be_cancelled)
{
	for (int t = 0; t < N_THREADS; t++) {
		struct worker *w = &workers[t];
		assert_int_equal(w->n_failed, 0);
		for (int i = 0; i < EACH; i++) {
			struct answer *a = &w->answers[i];
			const struct vb_result *alone = &w->crowd->alone[which(w, i)];
			assert_int_equal(a->n_ended, 1);
			if (a->status == VB_ECANCELLED && may_be_cancelled && i % 6 == 5) {
				assert_true(a->result.n_ids <= alone->n_ids);
				assert_memory_equal(a->result.ids, alone->ids, a->result.n_ids * sizeof *alone->ids);
			} else {
				assert_int_equal(a->status, VB_OK);
				need_same(&a->result, alone);
				assert_int_equal(a->n_seen, alone->n_ids);
			}
		}
		answers_free(w->answers, EACH);
	}
}

static void wait_until_ended(struct worker *workers)
{
	for (int t = 0; t < N_THREADS; t++)
		for (int i = 0; i < EACH; i++)
			for (int ms = 0; atomic_load(&workers[t].answers[i].n_ended) == 0; ms++) {
				assert_true(ms < 100000);
				nap();
			}
}

/* The engine's thread runs what others submit. */
/* Figures of one moment, while others submit and run steps: no page is lost in them, and time goes forward. */
static int need_sound_stats(struct vb_engine *e, int64_t n_pages, int least_steps)
{
	char *text;
	json_t *stats, *requests, *group;
	need(vb_engine_stats(e, &text));
	need(json_parse(&stats, text, strlen(text), "statistics"));
	vb_free(text);
	requests = json_object_get(stats, "requests");
	int64_t submitted = json_integer_value(json_object_get(requests, "submitted")), pages = 0;
	assert_in_range(json_integer_value(json_object_get(requests, "ended")), 0, submitted);
	size_t i;
	json_array_foreach(json_object_get(stats, "pages"), i, group)
		pages += json_integer_value(json_object_get(group, "used")) +
			 json_integer_value(json_object_get(group, "cached")) +
			 json_integer_value(json_object_get(group, "free"));
	assert_int_equal(pages, n_pages);
	int steps = (int)json_integer_value(json_object_get(stats, "steps"));
	assert_true(steps >= least_steps);
	json_decref(stats);
	return steps;
}

static void test_submit_from_threads(void **state)
{
	(void)state;
	static struct crowd c;
	static struct worker workers[N_THREADS];
	crowd_make(&c, golden(folder));
	struct vb_options o = many_options();
	o.speculate = "ngram";
	struct vb_engine *e = open_engine(golden(folder), &o);
	int64_t n_pages = pages_of(e, "free");
	need(vb_engine_start(e));
	need_failure(vb_engine_start(e), VB_ESTATE, WORDS("already"));
	start_workers(workers, e, &c, submit_some);
	for (int i = 0, steps = 0; i < 20; i++) {
		steps = need_sound_stats(e, n_pages, steps);
		nap();
	}
	for (int t = 0; t < N_THREADS; t++)
		pthread_join(workers[t].thread, NULL);
	wait_until_ended(workers);
	need(vb_engine_stop(e));
	need(vb_engine_stop(e));
	need_answers(workers, true);
	need_empty(e, n_pages);
	/* Without its thread, steps are the caller's again. */
	struct answer a = { 0 };
	submit(e, &c.request[0], &a);
	run_all(e);
	need_same(&a.result, &c.alone[0]);
	answers_free(&a, 1);
	need(vb_engine_close(&e));
	crowd_free(&c);
}

/* Threads that wait for their answers run each other's steps; a thread of the engine's takes over, and leaves again. */
static void test_generate_from_threads(void **state)
{
	(void)state;
	static struct crowd c;
	static struct worker workers[N_THREADS];
	crowd_make(&c, golden(folder));
	struct vb_options o = many_options();
	struct vb_engine *e = open_engine(golden(folder), &o);
	int64_t n_pages = pages_of(e, "free");
	for (int with_thread = 0; with_thread < 2; with_thread++) {
		start_workers(workers, e, &c, generate_some);
		for (int i = 0; with_thread && i < 10; i++) {
			need(vb_engine_start(e));
			nap();
			/* Those who wait are not left alone. */
			need(vb_engine_stop(e));
		}
		for (int t = 0; t < N_THREADS; t++)
			pthread_join(workers[t].thread, NULL);
		need_answers(workers, false);
		need_empty(e, n_pages);
	}
	need(vb_engine_close(&e));
	crowd_free(&c);
}

/* ---- Cancelling ---- */

static void need_cancelled(struct answer *a, const struct vb_result *alone)
{
	assert_int_equal(a->n_ended, 1);
	assert_int_equal(a->status, VB_ECANCELLED);
	assert_non_null(strstr(a->message, "cancelled"));
	assert_int_equal(a->result.finish, VB_FINISH_CANCELLED);
	assert_true(a->result.n_ids <= alone->n_ids);
	assert_memory_equal(a->result.ids, alone->ids, a->result.n_ids * sizeof *alone->ids);
}

static void test_cancel(void **state)
{
	(void)state;
	static struct crowd c;
	struct answer a[N_PROMPTS] = { 0 };
	crowd_make(&c, golden(folder));
	struct vb_options o = many_options();
	struct vb_engine *e = open_engine(golden(folder), &o);
	int64_t n_pages = pages_of(e, "free");
	vb_cancel(e); /* nobody is there */
	a[2].cancel_at = 1;
	a[7].cancel_at = 3;
	for (int i = 0; i < N_PROMPTS; i++)
		submit(e, &c.request[i], &a[i]);
	need(vb_cancel_request(e, a[9].id)); /* not seen by a step yet */
	need(vb_step(e, NULL));
	assert_int_equal(a[9].n_ended, 1);
	need_failure(vb_cancel_request(e, a[9].id), VB_ENOTFOUND, WORDS("no such request"));
	need_failure(vb_cancel_request(e, 4711), VB_ENOTFOUND, WORDS("4711"));
	need(vb_cancel_request(e, a[0].id)); /* runs */
	need(vb_cancel_request(e, a[11].id)); /* waits */
	need(vb_cancel_request(e, a[11].id)); /* twice is once */
	need(vb_step(e, NULL));
	assert_int_equal(a[0].n_ended, 1);
	assert_int_equal(a[11].n_ended, 1);
	run_all(e);
	for (int i = 0; i < N_PROMPTS; i++) {
		if (i == 0 || i == 2 || i == 7 || i == 9 || i == 11) {
			need_cancelled(&a[i], &c.alone[i]);
		} else {
			need(a[i].status);
			need_same(&a[i].result, &c.alone[i]);
		}
	}
	assert_int_equal(a[2].result.n_ids, 1);
	assert_int_equal(a[7].result.n_ids, 3);
	assert_int_equal(a[11].result.n_ids, 0);
	need_empty(e, n_pages);
	answers_free(a, N_PROMPTS);
	/* All of them; who comes later is not meant. */
	memset(a, 0, sizeof a);
	for (int i = 0; i < 6; i++)
		submit(e, &c.request[i], &a[i]);
	need(vb_step(e, NULL));
	vb_cancel(e);
	bool more = true;
	need(vb_step(e, &more));
	assert_false(more);
	for (int i = 0; i < 6; i++)
		need_cancelled(&a[i], &c.alone[i]);
	answers_free(a, 6);
	memset(a, 0, sizeof a);
	vb_cancel(e);
	submit(e, &c.request[1], &a[0]);
	run_all(e);
	need_same(&a[0].result, &c.alone[1]);
	answers_free(a, 1);
	need_empty(e, n_pages);
	need(vb_engine_close(&e));
	crowd_free(&c);
}

/* What callbacks may and may not do. */
struct nosy {
	struct vb_engine *e;
	const struct vb_request *request;
	struct answer first, second;
	int submitted, rc_step, rc_generate, rc_close, rc_stop, rc_stats, rc_submit_done;
};

static int nosy_token(void *user, const struct vb_event *event)
{
	struct nosy *n = user;
	struct vb_result result;
	struct vb_engine *e = n->e;
	char *text = NULL;
	n->rc_step = vb_step(e, NULL);
	n->rc_generate = vb_generate(e, n->request, NULL, NULL, &result);
	n->rc_stats = vb_engine_stats(e, &text);
	vb_free(text);
	n->rc_close = vb_engine_close(&e);
	n->rc_stop = vb_engine_stop(n->e);
	if (!n->submitted++)
		n->first.status = vb_submit(n->e, n->request, answer_token, answer_done, &n->second, NULL);
	return answer_token(&n->first, event);
}

static void nosy_done(void *user, int status, struct vb_result *result)
{
	struct nosy *n = user;
	answer_done(&n->first, status, result);
	n->rc_submit_done = vb_submit(n->e, n->request, NULL, NULL, NULL, NULL);
	n->rc_step = vb_step(n->e, NULL);
}

static void test_inside_callbacks(void **state)
{
	(void)state;
	int32_t ids[8];
	size_t n_ids = golden_prompt(folder, ids, 8);
	struct vb_request r = request_of(ids, n_ids, 5);
	r.ignore_eos = true;
	for (int with_thread = 0; with_thread < 2; with_thread++) {
		struct vb_options o = many_options();
		struct nosy n = { .e = open_engine(golden(folder), &o), .request = &r };
		if (with_thread)
			need(vb_engine_start(n.e));
		need(vb_submit(n.e, &r, nosy_token, nosy_done, &n, NULL));
		if (!with_thread)
			run_all(n.e);
		for (int ms = 0; !atomic_load(&n.first.n_ended) || !atomic_load(&n.second.n_ended); ms++) {
			assert_true(ms < 60000);
			nap();
		}
		need(vb_engine_stop(n.e));
		run_all(n.e); /* the one that nosy_done submitted */
		assert_int_equal(n.rc_step, VB_ESTATE);
		assert_int_equal(n.rc_generate, VB_ESTATE);
		assert_int_equal(n.rc_close, VB_ESTATE);
		assert_int_equal(n.rc_stats, VB_OK);
		assert_int_equal(n.rc_stop, with_thread ? VB_ESTATE : VB_OK);
		assert_int_equal(n.rc_submit_done, VB_OK);
		need_same(&n.first.result, &n.second.result);
		assert_int_equal(stat_of(n.e, "requests", "ended"), 3);
		answers_free(&n.first, 1);
		answers_free(&n.second, 1);
		need(vb_engine_close(&n.e));
	}
}

/* A callback that keeps the step waiting. */
struct gate {
	struct answer answer;
	atomic_bool inside, open;
};

static int gate_token(void *user, const struct vb_event *event)
{
	struct gate *g = user;
	atomic_store(&g->inside, true);
	while (!atomic_load(&g->open))
		nap();
	return answer_token(&g->answer, event);
}

static void gate_done(void *user, int status, struct vb_result *result)
{
	struct gate *g = user;
	answer_done(&g->answer, status, result);
}

/* Whoever looks does not wait for the step that runs: it is answered as the one before left things. */
static void test_stats_within_a_step(void **state)
{
	(void)state;
	int32_t ids[8];
	struct vb_request r = request_of(ids, golden_prompt(folder, ids, 8), 3);
	r.ignore_eos = true;
	struct vb_options o = many_options();
	struct vb_engine *e = open_engine(golden(folder), &o);
	static struct gate g;
	int64_t n_pages = pages_of(e, "free");
	assert_true(n_pages > 0);
	need(vb_engine_start(e));
	need(vb_submit(e, &r, gate_token, gate_done, &g, NULL));
	for (int ms = 0; !atomic_load(&g.inside); ms++) {
		assert_true(ms < 60000);
		nap();
	}
	assert_int_equal(stat_of(e, "requests", "submitted"), 1);
	assert_int_equal(stat_of(e, NULL, "steps"), 0);
	assert_int_equal(pages_of(e, "used"), 0);
	atomic_store(&g.open, true);
	for (int ms = 0; !atomic_load(&g.answer.n_ended); ms++) {
		assert_true(ms < 60000);
		nap();
	}
	need(vb_engine_stop(e));
	need(g.answer.status);
	assert_int_equal(stat_of(e, NULL, "steps"), 3);
	need_empty(e, n_pages);
	answers_free(&g.answer, 1);
	need(vb_engine_close(&e));
}

/* Closing ends what waits and what runs; nobody gets in meanwhile. */
static void test_close_unfinished(void **state)
{
	(void)state;
	static struct crowd c;
	struct answer a[N_PROMPTS] = { 0 };
	crowd_make(&c, golden(folder));
	for (int steps = 0; steps < 4; steps++) {
		struct vb_options o = many_options();
		struct nosy n = { .e = open_engine(golden(folder), &o), .request = &c.request[0] };
		memset(a, 0, sizeof a);
		for (int i = 0; i < N_PROMPTS; i++)
			submit(n.e, &c.request[i], &a[i]);
		need(vb_submit(n.e, &c.request[1], answer_token, nosy_done, &n, NULL));
		for (int i = 0; i < steps; i++)
			need(vb_step(n.e, NULL));
		struct vb_engine *e = n.e;
		need(vb_engine_close(&e));
		assert_null(e);
		for (int i = 0; i < N_PROMPTS; i++)
			need_cancelled(&a[i], &c.alone[i]);
		assert_int_equal(n.first.n_ended, 1);
		assert_int_equal(n.first.status, VB_ECANCELLED);
		assert_int_equal(n.rc_submit_done, VB_ESTATE);
		assert_int_equal(n.rc_step, VB_ESTATE);
		answers_free(a, N_PROMPTS);
		answers_free(&n.first, 1);
	}
	crowd_free(&c);
}

/* ---- Pages ---- */

static int64_t info_of(struct vb_engine *e, const char *group, const char *name)
{
	char *text;
	json_t *info;
	need(vb_engine_info(e, &text));
	need(json_parse(&info, text, strlen(text), "engine"));
	vb_free(text);
	int64_t v = json_integer_value(json_object_get(group ? json_object_get(info, group) : info, name));
	json_decref(info);
	return v;
}

static uint64_t kv_per_token(const char *dir)
{
	struct vb_options o = small_options();
	struct vb_engine *e = open_engine(dir, &o);
	int64_t v = info_of(e, "memory", "kv_per_token");
	assert_true(v > 0);
	need(vb_engine_close(&e));
	return (uint64_t)v;
}

/* What can never fit is refused at once, with the numbers; the others go on. */
static void test_never_fits(void **state)
{
	(void)state;
	struct vb_options o = many_options();
	o.context = 0;
	o.kv_memory = 48 * kv_per_token(golden(folder));
	struct vb_engine *e = open_engine(golden(folder), &o);
	assert_int_equal(info_of(e, NULL, "context"), 48);
	int32_t ids[100];
	for (int i = 0; i < 100; i++)
		ids[i] = 3 + i;
	struct answer a[3] = { 0 };
	struct vb_request r = request_of(ids, 10, 5);
	r.ignore_eos = true;
	submit(e, &r, &a[0]);
	struct vb_request big = request_of(ids, 100, 5);
	need_failure(vb_submit(e, &big, answer_token, answer_done, &a[1], NULL), VB_ELIMIT,
		     WORDS("100", "48", "--kv-memory"));
	struct vb_result result;
	need_failure(vb_generate(e, &big, NULL, NULL, &result), VB_ELIMIT, WORDS("100", "48"));
	/* One that fills the cache to the last page is served. */
	big.n_prompt_ids = 40;
	big.max_tokens = 100;
	big.ignore_eos = true;
	submit(e, &big, &a[2]);
	run_all(e);
	need(a[0].status);
	assert_int_equal(a[1].n_ended, 0);
	need(a[2].status);
	assert_true(a[2].result.clipped);
	assert_int_equal(a[2].result.n_ids, 8);
	answers_free(a, 3);
	need(vb_engine_close(&e));
}

/* However small the cache: the longest context that it holds is served to its last token, in any mixture of windows,
 * chunks and guesses. So nothing that the context lets in can be too long for the cache. */
static void test_the_context_fits(void **state)
{
	(void)state;
	static const char *const folders[] = { "llama-3-gqa3", "gemma2-window7", "qwen2-max-window-layers" };
	for (size_t f = 0; f < sizeof folders / sizeof *folders; f++) {
		uint64_t each = kv_per_token(golden(folders[f]));
		int n_opened = 0;
		for (int k = 0; k < 16; k++) {
			struct vb_options o = many_options();
			o.context = 0;
			o.page_size = 1 << k % 4;
			o.prefill_chunk = 1 + 5 * (k % 3);
			o.kv_memory = each * (uint64_t)(1 + 5 * k) / 2;
			o.speculate = k % 2 ? "ngram" : "none";
			struct vb_engine *e;
			int rc = vb_engine_open(&e, golden(folders[f]), &o);
			if (rc != VB_OK) { /* not even a page */
				need_failure(rc, VB_ELIMIT, WORDS("--kv-memory"));
				continue;
			}
			n_opened++;
			int64_t context = info_of(e, NULL, "context");
			int32_t ids[1] = { 3 };
			struct answer a[2] = { 0 };
			struct vb_request r = request_of(ids, 1, context - 1);
			r.ignore_eos = true;
			for (int i = 0; i < 2; i++)
				submit(e, &r, &a[i]);
			run_all(e);
			for (int i = 0; i < 2; i++) {
				need(a[i].status);
				assert_int_equal(a[i].result.n_ids, context - 1);
			}
			answers_free(a, 2);
			need(vb_engine_close(&e));
		}
		assert_true(n_opened > 8);
	}
}

/* Fewer pages than the batch needs: some give theirs up and begin again, and nobody can tell. */
static void test_preemption(void **state)
{
	(void)state;
	static const char *const folders[] = { "llama-3-gqa3", "gemma2-window7", "qwen2-max-window-layers" };
	for (size_t f = 0; f < sizeof folders / sizeof *folders; f++) {
		uint64_t each = kv_per_token(golden(folders[f]));
		for (int way = 0; way < 3; way++) {
			struct vb_request requests[6];
			int32_t ids[6][16];
			struct answer alone[6] = { 0 }, a[6] = { 0 };
			struct vb_options o = many_options();
			o.context = 80;
			struct vb_engine *wide = open_engine(golden(folders[f]), &o);
			o.max_batch = 6;
			o.page_size = 4;
			o.kv_memory = 100 * each;
			o.prefix_cache = way != 1;
			o.speculate = way == 2 ? "ngram" : "none";
			struct vb_engine *e = open_engine(golden(folders[f]), &o);
			int64_t n_pages = pages_of(e, "free");
			for (int i = 0; i < 6; i++) {
				for (int j = 0; j < 16; j++)
					ids[i][j] = 3 + (i * 31 + j * 7) % 90;
				requests[i] = request_of(ids[i], 16, 50);
				requests[i].ignore_eos = true;
				requests[i].logprobs = requests[i].prompt_logprobs = 1;
				requests[i].sampling.temperature = i % 2;
				submit(wide, &requests[i], &alone[i]);
				run_all(wide);
				submit(e, &requests[i], &a[i]);
			}
			run_all(e);
			for (int i = 0; i < 6; i++) {
				need(a[i].status);
				assert_int_equal(a[i].n_ended, 1);
				assert_int_equal(a[i].n_seen, 50);
				need_same(&a[i].result, &alone[i].result);
			}
			if (f == 0)
				assert_true(stat_of(e, NULL, "preemptions") > 0);
			need_empty(e, n_pages);
			answers_free(a, 6);
			answers_free(alone, 6);
			need(vb_engine_close(&wide));
			need(vb_engine_close(&e));
		}
	}
}

static int64_t cached(struct vb_engine *e, const int32_t *ids, size_t n, uint64_t salt, struct vb_result *result)
{
	struct vb_request r = request_of(ids, n, 20);
	r.ignore_eos = true;
	r.cache_salt = salt;
	need(vb_generate(e, &r, NULL, NULL, result));
	return result->cached_tokens;
}

/* What was computed for one is found by those who begin alike, generated or not, unless their salts differ. */
static void test_prefix_cache(void **state)
{
	(void)state;
	int32_t ids[80];
	size_t n = golden_prompt(folder, ids, 30);
	struct vb_options o = many_options();
	struct vb_engine *e = open_engine(golden(folder), &o);
	struct vb_result first, again, longer, other;
	assert_int_equal(cached(e, ids, n, 0, &first), 0);
	/* All but the last token, whose logits are wanted. */
	assert_int_equal(cached(e, ids, n, 0, &again), n - 1);
	need_same(&again, &first);
	assert_int_equal(cached(e, ids, n, 1, &other), 0);
	need_same(&other, &first);
	vb_result_free(&other);
	assert_int_equal(cached(e, ids, n, 1, &other), n - 1);
	vb_result_free(&other);
	memcpy(ids + n, first.ids, first.n_ids * sizeof *ids);
	size_t whole = n + first.n_ids;
	ids[whole] = 5;
	/* The last generated token was never computed; what is not a full page is forgotten with its sequence. */
	int64_t found = cached(e, ids, whole + 1, 0, &longer);
	assert_true(found > (int64_t)n && found >= (int64_t)(whole - 1) / 8 * 8);
	assert_int_equal(cached(e, ids, whole + 1, 2, &other), 0);
	need_same(&other, &longer);
	vb_result_free(&other);
	/* Who wants the prompt's log-probabilities gets them. */
	struct vb_request r = request_of(ids, n, 4);
	r.prompt_logprobs = 0;
	need(vb_generate(e, &r, NULL, NULL, &other));
	assert_int_equal(other.cached_tokens, 0);
	vb_result_free(&other);
	assert_true(stat_of(e, "prefix_cache", "hit_tokens") >= (int64_t)(2 * (n - 1)) + found);
	need(vb_engine_close(&e));
	o.prefix_cache = false;
	e = open_engine(golden(folder), &o);
	assert_int_equal(cached(e, ids, n, 0, &other), 0);
	vb_result_free(&other);
	assert_int_equal(cached(e, ids, n, 0, &other), 0);
	need_same(&other, &first);
	vb_result_free(&other);
	need(vb_engine_close(&e));
	vb_result_free(&first);
	vb_result_free(&again);
	vb_result_free(&longer);
}

/* ---- Memory that is not there ---- */

static void test_submit_without_memory(void **state)
{
	(void)state;
	static const char prompt[] = "The little fox", stop[] = "no such text";
	struct vb_options o = many_options();
	o.speculate = "ngram";
	struct vb_engine *e = open_engine(source_path("models/demo"), &o);
	int64_t n_pages = pages_of(e, "free");
	struct vb_request r;
	vb_request_default(&r);
	r.prompt = prompt;
	r.prompt_len = strlen(prompt);
	r.max_tokens = 12;
	r.logprobs = r.prompt_logprobs = 2;
	r.sampling.presence_penalty = 0.1;
	r.stop = (const char *const[]){ stop };
	r.n_stop = 1;
	struct vb_result alone;
	need(vb_generate(e, &r, NULL, NULL, &alone));
	int n_refused = 0;
	for (uint64_t at = 1;; at++) {
		struct answer others = { 0 }, own = { 0 };
		submit(e, &r, &others);
		need(vb_step(e, NULL));
		mem_fail_at(at, false);
		int rc = vb_submit(e, &r, answer_token, answer_done, &own, &own.id);
		mem_fail_at(0, false);
		if (rc != VB_OK) {
			assert_int_equal(rc, VB_ENOMEM);
			assert_true(strlen(vb_errmsg()) > 0);
			n_refused++;
		}
		run_all(e);
		need(others.status);
		need_same(&others.result, &alone);
		assert_int_equal(own.n_ended, rc == VB_OK);
		if (rc == VB_OK)
			need_same(&own.result, &alone);
		need_empty(e, n_pages);
		answers_free(&others, 1);
		answers_free(&own, 1);
		if (rc == VB_OK)
			break;
	}
	assert_true(n_refused > 8);
	vb_result_free(&alone);
	need(vb_engine_close(&e));
}

/* Steps take none, from the first token to the last. */
static void test_steps_take_none(void **state)
{
	(void)state;
	enum { N = 4 };
	static const char *const prompts[N] = { "Once upon a time", "The little fox", "The", "A b c d e f g" };
	struct vb_options o = many_options();
	o.speculate = "ngram";
	struct vb_engine *e = open_engine(source_path("models/demo"), &o);
	struct answer a[N] = { 0 };
	for (int i = 0; i < N; i++) {
		struct vb_request r;
		vb_request_default(&r);
		r.prompt = prompts[i];
		r.prompt_len = strlen(prompts[i]);
		r.max_tokens = 30;
		r.ignore_eos = true;
		r.logprobs = i;
		r.sampling.temperature = i / 2;
		submit(e, &r, &a[i]);
	}
	uint64_t before = mem_count();
	run_all(e);
	assert_int_equal(mem_count(), before);
	for (int i = 0; i < N; i++)
		need(a[i].status);
	answers_free(a, N);
	need(vb_engine_close(&e));
}

/* Unless more text is held back than any buffer foresaw. Where that fails, the request that it was for ends with the
 * status, and nobody else. */
static void test_step_without_memory(void **state)
{
	(void)state;
	enum { N = 3, LONG = 1 };
	static const char prompt[] = "Once upon a time";
	struct vb_options o = many_options();
	o.context = 2800;
	struct vb_engine *e = open_engine(source_path("models/demo/draft"), &o);
	int64_t n_pages = pages_of(e, "free");
	struct vb_request r[N];
	struct vb_result alone[N];
	for (int i = 0; i < N; i++) {
		vb_request_default(&r[i]);
		r[i].prompt = prompt;
		r[i].prompt_len = strlen(prompt);
		r[i].max_tokens = i == LONG ? 2700 : 10;
		r[i].sampling.temperature = 1;
		r[i].ignore_eos = true;
		need(vb_generate(e, &r[i], NULL, NULL, &alone[i]));
	}
	/* The whole answer may be the beginning of this, so that all of it is held back. */
	assert_true(alone[LONG].text_len > 8500);
	char *stop = malloc(alone[LONG].text_len + 2);
	assert_non_null(stop);
	memcpy(stop, alone[LONG].text, alone[LONG].text_len);
	strcpy(stop + alone[LONG].text_len, "!");
	const char *stops[] = { stop };
	r[LONG].stop = stops;
	r[LONG].n_stop = 1;
	for (uint64_t at = 1; at <= 2; at++) {
		struct answer a[N] = { 0 };
		for (int i = 0; i < N; i++)
			submit(e, &r[i], &a[i]);
		mem_fail_at(at, false);
		run_all(e);
		mem_fail_at(0, false);
		for (int i = 0; i < N; i++) {
			assert_int_equal(a[i].n_ended, 1);
			if (i != LONG || at == 2) {
				need(a[i].status);
				need_same(&a[i].result, &alone[i]);
				continue;
			}
			assert_int_equal(a[i].status, VB_ENOMEM);
			assert_non_null(strstr(a[i].message, "memory"));
			assert_null(a[i].result.ids);
		}
		need_empty(e, n_pages);
		answers_free(a, N);
	}
	for (int i = 0; i < N; i++)
		vb_result_free(&alone[i]);
	free(stop);
	need(vb_engine_close(&e));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_submit_from_threads),
		cmocka_unit_test(test_generate_from_threads),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_inside_callbacks),
		cmocka_unit_test(test_stats_within_a_step),
		cmocka_unit_test(test_close_unfinished),
		cmocka_unit_test(test_never_fits),
		cmocka_unit_test(test_the_context_fits),
		cmocka_unit_test(test_preemption),
		cmocka_unit_test(test_prefix_cache),
		cmocka_unit_test(test_submit_without_memory),
		cmocka_unit_test(test_steps_take_none),
		cmocka_unit_test(test_step_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
