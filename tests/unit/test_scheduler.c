/* The scheduler: by hand, by properties over random states, and by whole workloads on a real cache. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/rng.h"
#include "base/status.h"
#include "engine/scheduler.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct dice {
	uint64_t seed;
	uint32_t n;
};

static int64_t draw(struct dice *d, int64_t n)
{
	return (int64_t)(rng_uniform(d->seed, RNG_TEST, 1, d->n++) * (double)n);
}

static int64_t round_up(int64_t n, int64_t size)
{
	return (n + size - 1) / size;
}

/* The first page in sight of a query; written anew here. */
static int64_t first_page(int64_t window, int64_t size, int64_t at)
{
	return window > 0 && at - window + 1 > 0 ? (at - window + 1) / size : 0;
}

/* ---- By hand: pages of 4 tokens, one group ---- */

static const struct sched_limits roomy = { .max_seqs = 8, .chunk = 16, .page_size = 4, .n_groups = 1,
					   .available = { 100 } };

static struct sched_request running(int64_t n_known, int64_t n_computed)
{
	return (struct sched_request){ .running = true, .n_known = n_known, .n_computed = n_computed,
				       .pages = { round_up(n_computed, 4) } };
}

static struct sched_request waiting(int64_t n_known, int64_t n_hit)
{
	return (struct sched_request){ .n_known = n_known, .n_computed = n_hit };
}

static void test_decodes_then_chunks_then_admits(void **state)
{
	(void)state;
	struct sched_request in[] = { running(21, 20), running(50, 40), running(9, 8), running(30, 0), waiting(5, 0),
				      waiting(90, 88) };
	struct sched_decision out[6];
	assert_int_equal(sched_decide(in, 6, &roomy, out), SCHED_NO_VICTIM);
	assert_int_equal(out[0].n_tokens, 1);
	assert_int_equal(out[1].n_tokens, 10); /* the end of its prompt */
	assert_int_equal(out[2].n_tokens, 1);
	assert_int_equal(out[3].n_tokens, 6); /* the rest of the budget */
	assert_false(out[4].admit || out[5].admit);
	in[3] = running(3, 0);
	assert_int_equal(sched_decide(in, 6, &roomy, out), SCHED_NO_VICTIM);
	assert_int_equal(out[3].n_tokens, 3);
	assert_true(out[4].admit);
	assert_int_equal(out[4].n_tokens, 3); /* 10 + 3 + 3 = 16 */
	assert_false(out[5].admit);
	assert_int_equal(out[5].n_tokens, 0);
}

static void test_nobody_overtakes(void **state)
{
	(void)state;
	struct sched_request in[] = { waiting(100, 0), waiting(4, 0) };
	struct sched_decision out[2];
	struct sched_limits limits = roomy;
	limits.available[0] = 24; /* the first needs 25 */
	assert_int_equal(sched_decide(in, 2, &limits, out), SCHED_NO_VICTIM);
	assert_false(out[0].admit || out[1].admit);
	in[0].pages[0] = 1; /* one of them is held by another already */
	assert_int_equal(sched_decide(in, 2, &limits, out), SCHED_NO_VICTIM);
	assert_true(out[0].admit && !out[1].admit);
	assert_int_equal(out[0].n_tokens, 16);
	in[0] = running(100, 99);
	limits.max_seqs = 1;
	assert_int_equal(sched_decide(in, 2, &limits, out), SCHED_NO_VICTIM);
	assert_true(!out[1].admit && out[0].n_tokens == 1);
}

/* The prompt of a running request has its pages set aside. */
static void test_admits_beside_prompts(void **state)
{
	(void)state;
	struct sched_request in[] = { running(40, 16), waiting(8, 0) };
	struct sched_decision out[2];
	struct sched_limits limits = roomy;
	limits.chunk = 20;
	limits.available[0] = 7; /* 6 for the first one, which takes 5 of them now */
	assert_int_equal(sched_decide(in, 2, &limits, out), SCHED_NO_VICTIM);
	assert_int_equal(out[0].n_tokens, 20);
	assert_false(out[1].admit);
	limits.chunk = 21;
	limits.available[0] = 8;
	assert_int_equal(sched_decide(in, 2, &limits, out), SCHED_NO_VICTIM);
	assert_int_equal(out[0].n_tokens, 21);
	assert_false(out[1].admit); /* no budget */
	limits.chunk = 26;
	assert_int_equal(sched_decide(in, 2, &limits, out), SCHED_NO_VICTIM);
	assert_int_equal(out[0].n_tokens, 24);
	assert_true(out[1].admit && out[1].n_tokens == 2);
}

static void test_drafts_go_before_requests(void **state)
{
	(void)state;
	struct sched_request in[] = { running(9, 8), running(13, 12), running(6, 5) };
	struct sched_decision out[3];
	struct sched_limits limits = roomy;
	for (int i = 0; i < 3; i++)
		in[i].n_draft = 6;
	assert_int_equal(sched_decide(in, 3, &limits, out), SCHED_NO_VICTIM);
	for (int i = 0; i < 3; i++)
		assert_true(out[i].n_tokens == 1 && out[i].n_draft == 6);
	limits.available[0] = 2; /* the next tokens of the first two */
	assert_int_equal(sched_decide(in, 3, &limits, out), SCHED_NO_VICTIM);
	assert_true(out[0].n_tokens == 1 && out[0].n_draft == 3);
	assert_true(out[1].n_tokens == 1 && out[1].n_draft == 3);
	assert_true(out[2].n_tokens == 1 && out[2].n_draft == 2);
	limits.available[0] = 1;
	assert_int_equal(sched_decide(in, 3, &limits, out), 2);
	for (int i = 0; i < 3; i++)
		assert_true(out[i].n_tokens == 0 && out[i].n_draft == 0 && !out[i].admit);
	/* It gives two pages back, and waits. */
	in[2] = waiting(6, 0);
	limits.available[0] = 3;
	assert_int_equal(sched_decide(in, 3, &limits, out), SCHED_NO_VICTIM);
	assert_true(out[0].n_tokens == 1 && out[0].n_draft == 6); /* the oldest has the third page, for its draft */
	assert_true(out[1].n_tokens == 1 && out[1].n_draft == 3);
	assert_false(out[2].admit);
}

static void test_the_youngest_stalls(void **state)
{
	(void)state;
	struct sched_request in[] = { running(7, 6), running(30, 8), waiting(1, 0) };
	struct sched_decision out[3];
	struct sched_limits limits = roomy;
	limits.available[0] = 0;
	assert_int_equal(sched_decide(in, 3, &limits, out), SCHED_NO_VICTIM);
	assert_true(out[0].n_tokens == 1 && out[1].n_tokens == 0 && !out[2].admit);
	in[0] = running(9, 8);
	assert_int_equal(sched_decide(in, 3, &limits, out), 1);
	/* A chunk shrinks to the pages that are there. */
	limits.available[0] = 3;
	assert_int_equal(sched_decide(in, 3, &limits, out), SCHED_NO_VICTIM);
	assert_true(out[0].n_tokens == 1 && out[1].n_tokens == 8 && !out[2].admit);
}

/* Who was preempted in this step stays away for its rest, even where all of its pages are found again; who is behind it
 * does not overtake. */
static void test_victims_wait_for_the_next_step(void **state)
{
	(void)state;
	struct sched_request in[] = { waiting(8, 0), running(9, 8), waiting(10, 8), waiting(4, 0) };
	struct sched_decision out[4];
	in[2].pages[0] = 2;
	in[2].preempted = true;
	assert_int_equal(sched_decide(in, 4, &roomy, out), SCHED_NO_VICTIM);
	assert_true(out[0].admit && out[1].n_tokens == 1); /* who came before it is admitted as ever */
	assert_false(out[2].admit || out[3].admit);
	in[2].preempted = false;
	assert_int_equal(sched_decide(in, 4, &roomy, out), SCHED_NO_VICTIM);
	assert_true(out[0].admit && out[2].admit && out[3].admit);
}

static void test_windows_need_few_pages(void **state)
{
	(void)state;
	struct sched_limits limits = { .max_seqs = 8, .chunk = 8, .page_size = 4, .n_groups = 2, .window = { 0, 6 },
				       .available = { 25, 4 } };
	/* 100 tokens: 25 pages, or 4 at once of the group with the window: 6 + 8 - 1 keys, wherever they begin. */
	struct sched_request in[] = { waiting(100, 0) };
	struct sched_decision out[1];
	assert_int_equal(kv_most_pages(6, 4, 100, 8), 4);
	assert_int_equal(sched_decide(in, 1, &limits, out), SCHED_NO_VICTIM);
	assert_true(out[0].admit && out[0].n_tokens == 8);
	limits.available[1] = 3;
	assert_int_equal(sched_decide(in, 1, &limits, out), SCHED_NO_VICTIM);
	assert_false(out[0].admit);
	/* Running, at 50: sees keys 45.., page 11, and has 11 and 12; two more until 57. */
	in[0] = (struct sched_request){ .running = true, .n_known = 100, .n_computed = 50, .pages = { 13, 2 } };
	limits.available[1] = 2;
	assert_int_equal(sched_decide(in, 1, &limits, out), SCHED_NO_VICTIM);
	assert_int_equal(out[0].n_tokens, 8);
	limits.available[1] = 1;
	assert_int_equal(sched_decide(in, 1, &limits, out), SCHED_NO_VICTIM);
	assert_int_equal(out[0].n_tokens, 6);
}

/* ---- Properties of a decision, for any state ---- */

enum { MAX_REQUESTS = 12 };

struct scene {
	struct sched_limits limits;
	struct sched_request in[MAX_REQUESTS];
	int64_t n;
};

static void make_scene(struct scene *s, struct dice *d)
{
	*s = (struct scene){ .n = draw(d, MAX_REQUESTS + 1) };
	struct sched_limits *l = &s->limits;
	l->page_size = (int64_t)1 << draw(d, 4);
	l->n_groups = 1 + (int)draw(d, 3);
	l->chunk = 1 + draw(d, 4) * draw(d, 100);
	int64_t n_running = 0, tight = draw(d, 3);
	for (int g = 0; g < l->n_groups; g++) {
		l->window[g] = draw(d, 2) ? 1 + draw(d, 40) : 0;
		l->available[g] = draw(d, tight == 0 ? 3 : tight == 1 ? 12 : 1500);
	}
	for (int64_t i = 0; i < s->n; i++) {
		struct sched_request *r = &s->in[i];
		r->running = draw(d, 3) > 0;
		r->preempted = !r->running && draw(d, 8) == 0;
		r->n_computed = draw(d, 2) ? draw(d, 200) : 0;
		r->n_known = r->n_computed + 1 + draw(d, 2) * draw(d, 100);
		r->n_draft = draw(d, 2) * draw(d, 8);
		for (int g = 0; g < l->n_groups; g++) {
			int64_t in_sight = round_up(r->n_computed, l->page_size) -
					   first_page(l->window[g], l->page_size, r->n_computed);
			r->pages[g] = r->running ? in_sight + (draw(d, 4) == 0) : draw(d, in_sight + 1);
		}
		n_running += r->running;
	}
	l->max_seqs = n_running + draw(d, 3);
}

/* Pages that request i takes from what is available, for n tokens behind what it has computed. */
static int64_t taken(const struct scene *s, int64_t i, int g, int64_t n)
{
	const struct sched_request *r = &s->in[i];
	int64_t size = s->limits.page_size;
	int64_t pages = round_up(r->n_computed + n, size) - first_page(s->limits.window[g], size, r->n_computed);
	return n > 0 && pages > r->pages[g] ? pages - r->pages[g] : 0;
}

static int64_t todo(const struct sched_request *r)
{
	return r->n_known - r->n_computed;
}

/* Whether the first tokens of running requests 0..last have pages beside each other; requests that the chunk budget
 * does not reach want none. */
static bool first_tokens_fit(const struct scene *s, int64_t last)
{
	int64_t sum[KV_MAX_GROUPS] = { 0 }, budget = s->limits.chunk;
	for (int64_t i = 0; i <= last; i++) {
		const struct sched_request *r = &s->in[i];
		if (!r->running || (todo(r) > 1 && budget == 0))
			continue;
		if (todo(r) > 1)
			budget -= todo(r) < budget ? todo(r) : budget;
		for (int g = 0; g < s->limits.n_groups; g++)
			sum[g] += taken(s, i, g, 1);
	}
	for (int g = 0; g < s->limits.n_groups; g++)
		if (sum[g] > s->limits.available[g])
			return false;
	return true;
}

static void check_victim(const struct scene *s, int64_t victim, const struct sched_decision *out)
{
	assert_true(victim >= 0 && victim < s->n && s->in[victim].running);
	for (int64_t i = victim + 1; i < s->n; i++)
		assert_false(s->in[i].running);
	for (int64_t i = 0; i < s->n; i++)
		assert_true(!out[i].admit && out[i].n_tokens == 0 && out[i].n_draft == 0);
	assert_false(first_tokens_fit(s, victim - 1)); /* not for a draft, nor for more than a token */
}

/* What one request is given is its own, and no more than it asked for. */
static void check_share(const struct sched_request *r, const struct sched_decision *d)
{
	assert_true(!r->running || !d->admit);
	assert_true(r->running || d->admit || d->n_tokens == 0);
	assert_in_range(d->n_tokens, d->admit ? 1 : 0, todo(r));
	assert_in_range(d->n_draft, 0, r->n_draft);
	assert_true(d->n_draft == 0 || (r->running && todo(r) == 1 && d->n_tokens == 1));
}

static void check_sums(const struct scene *s, const struct sched_decision *out)
{
	const struct sched_limits *l = &s->limits;
	int64_t chunk = 0, n_running = 0, n_admitted = 0, pages[KV_MAX_GROUPS] = { 0 }, later[KV_MAX_GROUPS] = { 0 };
	for (int64_t i = 0; i < s->n; i++) {
		const struct sched_request *r = &s->in[i];
		n_running += r->running || out[i].admit;
		n_admitted += out[i].admit;
		if (out[i].admit || todo(r) > 1)
			chunk += out[i].n_tokens;
		for (int g = 0; g < l->n_groups; g++) {
			int64_t now = taken(s, i, g, out[i].n_tokens + out[i].n_draft), all = taken(s, i, g, todo(r));
			int64_t most = kv_most_pages(l->window[g], l->page_size, r->n_known, l->chunk) - r->pages[g];
			pages[g] += now;
			all = all > most ? most : all;
			if (r->running || out[i].admit)
				later[g] += all > now ? all : now;
		}
	}
	assert_true(chunk <= l->chunk && n_running <= l->max_seqs);
	for (int g = 0; g < l->n_groups; g++) {
		assert_true(pages[g] <= l->available[g]);
		assert_true(n_admitted == 0 || later[g] <= l->available[g]);
	}
}

/* Every running request within the budget advances, but for the youngest; nobody overtakes in the line. */
static void check_order(const struct scene *s, const struct sched_decision *out)
{
	int64_t budget = s->limits.chunk, youngest = -1, stalled = -1;
	bool passed_over = false;
	for (int64_t i = 0; i < s->n; i++) {
		const struct sched_request *r = &s->in[i];
		if (!r->running) {
			assert_false(out[i].admit && (passed_over || r->preempted));
			passed_over = passed_over || !out[i].admit;
			continue;
		}
		youngest = i;
		int64_t share = todo(r) == 1 ? 1 : todo(r) < budget ? todo(r) : budget;
		budget -= todo(r) == 1 ? 0 : share;
		assert_true(out[i].n_tokens <= share);
		if (share == 0 || out[i].n_tokens > 0)
			continue;
		assert_int_equal(stalled, -1);
		stalled = i;
	}
	assert_true(stalled == -1 || (stalled == youngest && !first_tokens_fit(s, stalled)));
}

/* What was cut short had no page left: one token more does not fit beside what was given to all. */
static void check_generous(const struct scene *s, const struct sched_decision *out)
{
	int64_t left[KV_MAX_GROUPS], budget = s->limits.chunk;
	for (int g = 0; g < s->limits.n_groups; g++) {
		left[g] = s->limits.available[g];
		for (int64_t i = 0; i < s->n; i++)
			left[g] -= taken(s, i, g, out[i].n_tokens + out[i].n_draft);
	}
	for (int64_t i = 0; i < s->n; i++) {
		const struct sched_request *r = &s->in[i];
		const struct sched_decision *d = &out[i];
		if (!r->running)
			continue;
		int64_t share = todo(r) == 1 ? 1 + r->n_draft : todo(r) < budget ? todo(r) : budget;
		budget -= todo(r) == 1 ? 0 : share;
		int64_t n = d->n_tokens + d->n_draft;
		bool fits = n < share;
		for (int g = 0; g < s->limits.n_groups; g++)
			fits = fits && taken(s, i, g, n + 1) - taken(s, i, g, n) <= left[g];
		assert_false(fits);
	}
}

static void run_random_states(uint64_t seed, int n_scenes)
{
	struct dice d = { .seed = seed };
	int n_victims = 0, n_stalls = 0, n_admitted = 0;
	print_message("  seed %llu\n", (unsigned long long)seed);
	for (int k = 0; k < n_scenes; k++) {
		struct scene s;
		make_scene(&s, &d);
		struct scene before = s;
		struct sched_decision out[MAX_REQUESTS], again[MAX_REQUESTS];
		memset(out, 0xaa, sizeof out);
		memset(again, 0x55, sizeof again);
		int64_t victim = sched_decide(s.in, s.n, &s.limits, out);
		assert_int_equal(sched_decide(s.in, s.n, &s.limits, again), victim);
		assert_memory_equal(&s, &before, sizeof s);
		for (int64_t i = 0; i < s.n; i++) {
			assert_true(out[i].admit == again[i].admit && out[i].n_tokens == again[i].n_tokens &&
				    out[i].n_draft == again[i].n_draft);
			check_share(&s.in[i], &out[i]);
			n_admitted += out[i].admit;
			n_stalls += victim == SCHED_NO_VICTIM && s.in[i].running && todo(&s.in[i]) == 1 &&
				    out[i].n_tokens == 0;
		}
		check_sums(&s, out);
		if (victim != SCHED_NO_VICTIM) {
			check_victim(&s, victim, out);
			n_victims++;
			continue;
		}
		check_order(&s, out);
		check_generous(&s, out);
	}
	print_message("  %d states: %d victims, %d stalls, %d admitted\n", n_scenes, n_victims, n_stalls, n_admitted);
	assert_true(n_victims > n_scenes / 20 && n_stalls > 20 && n_admitted > n_scenes / 20);
}

static void test_random_states(void **state)
{
	(void)state;
	run_random_states(1122, 20000);
	run_random_states((uint64_t)(clock_s() * 1e9), 20000);
}

/* ---- Whole workloads on a real cache ---- */

enum { LOAD = 40, MAX_LENGTH = 120 };

struct job {
	int64_t arrival, n_prompt, n_total; /* n_total: known when it is done */
	int64_t n_known, n_computed, n_draft;
	int32_t tokens[MAX_LENGTH];
	int32_t seq; /* -1: waits */
	int64_t work_ahead; /* tokens of it and of those before it that are not done, when it arrives */
	int64_t latest;     /* the step in which it must be done */
	int64_t pages[KV_MAX_GROUPS];
	bool done;
};

struct sim {
	struct dice dice;
	struct kv_config config;
	struct kv *kv;
	struct job job[LOAD];
	int64_t chunk, now;
	uint64_t trace; /* of everything that was decided */
	int64_t n_preempted, n_put_off, n_hits, n_accepted;
};

static void sim_open(struct sim *s, uint64_t seed)
{
	static const int64_t windows[][3] = { { 0 }, { 7 }, { 0, 5 }, { 30, 0, 9 } };
	static const int n_groups[] = { 1, 1, 2, 3 };
	memset(s, 0, sizeof *s);
	s->dice.seed = seed;
	struct dice *d = &s->dice;
	int64_t mixture = draw(d, 4);
	s->chunk = 1 + draw(d, 40);
	s->config = (struct kv_config){ .page_size = (int64_t)1 << draw(d, 5), .n_groups = n_groups[mixture],
					.max_seqs = 1 + draw(d, 10), .max_tokens = MAX_LENGTH,
					.prefix_cache = draw(d, 4) > 0 };
	for (int g = 0; g < s->config.n_groups; g++) {
		int64_t window = windows[mixture][g], size = s->config.page_size;
		int64_t least = kv_most_pages(window, size, MAX_LENGTH, s->chunk);
		s->config.group[g].window = window;
		s->config.group[g].n_pages = least + draw(d, 2) * draw(d, 3 * least);
	}
	assert_int_equal(kv_create(&s->kv, &s->config), VB_OK);
	int64_t arrival = 0;
	for (int i = 0; i < LOAD; i++) {
		struct job *j = &s->job[i];
		arrival += draw(d, 3) ? 0 : draw(d, 30);
		j->arrival = arrival;
		j->n_prompt = j->n_known = 1 + draw(d, MAX_LENGTH - 2);
		j->n_total = j->n_prompt + 1 + draw(d, MAX_LENGTH - j->n_prompt);
		j->seq = -1;
		const struct job *like = &s->job[draw(d, i + 1)];
		int64_t common = draw(d, MAX_LENGTH);
		for (int64_t k = 0; k < j->n_prompt; k++)
			j->tokens[k] = like != j && k < common && k < like->n_prompt ? like->tokens[k] :
										      (int32_t)draw(d, 3);
	}
}

static void note(struct sim *s, int64_t what)
{
	s->trace = (s->trace ^ (uint64_t)what) * 0x9E3779B97F4A7C15u;
	s->trace ^= s->trace >> 29;
}

/* The token behind a prefix: any function of it. */
static int32_t next_token(const struct job *j)
{
	return j->tokens[j->n_known / 2] + (int32_t)(j->n_known % 3);
}

static void collect(const struct sim *s, const int *alive, int64_t n, int64_t preempted, struct sched_request *in,
		    struct sched_limits *limits)
{
	*limits = (struct sched_limits){ .max_seqs = s->config.max_seqs, .chunk = s->chunk,
					 .page_size = s->config.page_size, .n_groups = s->config.n_groups };
	for (int g = 0; g < limits->n_groups; g++) {
		limits->window[g] = s->config.group[g].window;
		limits->available[g] = kv_available(s->kv, g);
	}
	for (int64_t i = 0; i < n; i++) {
		const struct job *j = &s->job[alive[i]];
		in[i] = (struct sched_request){ .running = j->seq >= 0, .preempted = i == preempted,
						.n_known = j->n_known, .n_computed = j->n_computed,
						.n_draft = j->n_draft };
		if (!in[i].running)
			in[i].n_computed = kv_peek(s->kv, 0, j->tokens, j->n_known - 1, in[i].pages);
		for (int g = 0; in[i].running && g < limits->n_groups; g++)
			in[i].pages[g] = kv_seq_pages(s->kv, j->seq, g);
	}
}

static void preempt(struct sim *s, struct job *j)
{
	kv_seq_close(s->kv, j->seq);
	j->seq = -1;
	j->n_computed = j->n_draft = 0;
	s->n_preempted++;
}

/* Begins what is admitted with what is known; before anybody takes pages, so that it is what the decision knew. */
static void begin(struct sim *s, struct job *j, struct sched_decision *d, bool first)
{
	struct kv_copy copies[KV_MAX_GROUPS];
	int64_t held[KV_MAX_GROUPS], peeked = kv_peek(s->kv, 0, j->tokens, j->n_known - 1, held);
	int n_copies;
	j->seq = kv_seq_open(s->kv, 0);
	assert_int_not_equal(j->seq, -1);
	j->n_computed = kv_seq_match(s->kv, j->seq, j->tokens, j->n_known - 1, copies, &n_copies);
	assert_true(!first || j->n_computed == peeked);
	s->n_hits += j->n_computed > 0;
	if (d->n_tokens > j->n_known - j->n_computed)
		d->n_tokens = j->n_known - j->n_computed;
}

/* Computes what was decided; true where the job is done. */
static bool advance(struct sim *s, struct job *j, const struct sched_decision *d)
{
	int64_t n = j->n_computed + d->n_tokens;
	kv_seq_commit(s->kv, j->seq, j->tokens, n);
	j->n_computed = n;
	if (n < j->n_known)
		return false;
	int64_t accepted = draw(&s->dice, d->n_draft + 1);
	for (int64_t k = 0; k <= accepted && j->n_known < j->n_total; k++) {
		j->tokens[j->n_known] = next_token(j);
		j->n_known++;
		s->n_accepted += k > 0;
	}
	j->n_computed = j->n_known - 1;
	kv_seq_commit(s->kv, j->seq, j->tokens, j->n_computed);
	kv_seq_truncate(s->kv, j->seq, j->n_computed);
	j->n_draft = draw(&s->dice, 2) * draw(&s->dice, 5);
	if (j->n_draft > j->n_total - j->n_known)
		j->n_draft = j->n_total - j->n_known;
	return j->n_known == j->n_total;
}

static void execute(struct sim *s, const int *alive, int64_t n, struct sched_decision *out)
{
	bool first = true;
	for (int64_t i = 0; i < n; i++) {
		if (!out[i].admit)
			continue;
		begin(s, &s->job[alive[i]], &out[i], first);
		first = false;
	}
	assert_true(n == 0 || out[0].n_tokens > 0); /* the oldest always advances */
	first = true;
	for (int64_t i = 0; i < n; i++) {
		struct job *j = &s->job[alive[i]];
		note(s, out[i].n_tokens * 16 + out[i].n_draft);
		if (out[i].n_tokens == 0)
			continue;
		int rc = kv_seq_reserve(s->kv, j->seq, j->n_computed + out[i].n_tokens + out[i].n_draft);
		if (rc != VB_OK && out[i].admit && !first) {
			/* Its beginning was given up for one admitted before it: it comes next time. */
			preempt(s, j);
			out[i].n_tokens = 0;
			s->n_put_off++;
		} else if (rc != VB_OK)
			fail_msg("%s", vb_errmsg());
		first = first && !out[i].admit;
	}
	for (int64_t i = 0; i < n; i++) {
		struct job *j = &s->job[alive[i]];
		if (out[i].n_tokens == 0 || !advance(s, j, &out[i]))
			continue;
		kv_seq_close(s->kv, j->seq);
		j->seq = -1;
		j->done = true;
		assert_true(s->now < j->latest);
	}
	if (!kv_check(s->kv))
		fail_msg("%s", vb_errmsg());
}

/* One step; false when all is done. */
static bool step(struct sim *s)
{
	int alive[LOAD];
	int64_t n = 0, work = 0;
	bool left = false;
	for (int i = 0; i < LOAD; i++) {
		struct job *j = &s->job[i];
		left = left || !j->done;
		if (j->done || j->arrival > s->now)
			continue;
		work += j->n_total;
		if (j->latest == 0)
			j->latest = s->now + work;
		alive[n++] = i;
	}
	struct sched_request in[LOAD];
	struct sched_limits limits;
	struct sched_decision out[LOAD];
	int64_t victim, last = SCHED_NO_VICTIM;
	for (;;) {
		collect(s, alive, n, last, in, &limits);
		victim = sched_decide(in, n, &limits, out);
		if (victim == SCHED_NO_VICTIM)
			break;
		assert_true(last == SCHED_NO_VICTIM || victim < last); /* from the youngest on */
		last = victim;
		note(s, victim);
		preempt(s, &s->job[alive[victim]]);
	}
	/* Nobody who was preempted in this step comes back in it, nor anybody behind them in the line. Those who were
	 * waiting before the victims may be admitted. */
	for (int64_t i = last; last != SCHED_NO_VICTIM && i < n; i++)
		assert_false(out[i].admit);
	execute(s, alive, n, out);
	s->now++;
	return left;
}

static void run_workloads(uint64_t seed, int n_sims)
{
	int64_t n_preempted = 0, n_put_off = 0, n_hits = 0, n_accepted = 0, n_steps = 0;
	print_message("  seed %llu\n", (unsigned long long)seed);
	for (int k = 0; k < n_sims; k++) {
		uint64_t trace[2];
		for (int twice = 0; twice < 2; twice++) {
			static struct sim s;
			sim_open(&s, seed + (uint64_t)k);
			while (step(&s))
				continue;
			for (int g = 0; g < s.config.n_groups; g++)
				assert_int_equal(kv_available(s.kv, g), s.config.group[g].n_pages);
			kv_destroy(&s.kv);
			trace[twice] = s.trace;
			n_preempted += s.n_preempted;
			n_put_off += s.n_put_off;
			n_hits += s.n_hits;
			n_accepted += s.n_accepted;
			n_steps += s.now;
		}
		assert_int_equal(trace[0], trace[1]);
	}
	print_message("  %d workloads twice: %lld steps, %lld preempted, %lld put off, %lld hits, %lld guesses right\n",
		      n_sims, (long long)n_steps, (long long)n_preempted, (long long)n_put_off, (long long)n_hits,
		      (long long)n_accepted);
	assert_true(n_preempted > n_sims && n_hits > n_sims && n_accepted > n_sims);
}

static void test_workloads(void **state)
{
	(void)state;
	run_workloads(2611, 60);
	/* Two with one beginning and a window: the victim's pages are the other's too, and it would fit again at once. */
	run_workloads(10057676435356, 60);
	run_workloads((uint64_t)(clock_s() * 1e9), 60);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decodes_then_chunks_then_admits),
		cmocka_unit_test(test_nobody_overtakes),
		cmocka_unit_test(test_admits_beside_prompts),
		cmocka_unit_test(test_drafts_go_before_requests),
		cmocka_unit_test(test_the_youngest_stalls),
		cmocka_unit_test(test_victims_wait_for_the_next_step),
		cmocka_unit_test(test_windows_need_few_pages),
		cmocka_unit_test(test_random_states),
		cmocka_unit_test(test_workloads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
