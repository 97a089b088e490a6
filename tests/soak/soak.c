/* Random requests for a while: soak MODEL [SECONDS [SEED]]
 *
 * The engine's own thread serves a crowd that never ends: greedy and sampled ones, short and long, beginning alike or not; one
 * in ten is cancelled (by its id or from its callback), one in ten is invalid, and there are pages for 30 % of what
 * the batch would like. Each second the pages must add up and memory must not have grown. At the end every request has
 * ended once, those that were not cancelled with the tokens that they have alone, and no page is held. */
#include "verbatim/engine.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/rng.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WATCHES_MEMORY 0 /* sanitizers keep what is freed */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define WATCHES_MEMORY 0
#endif
#endif
#ifndef WATCHES_MEMORY
#define WATCHES_MEMORY 1
#endif

enum { N_KINDS = 40, N_SLOTS = 48, MAX_PROMPT = 120, CONTEXT = 192, BATCH = 12, PAGE = 8 };
/* What the C library's heap may keep for itself beyond what it had when the crowd was full. */
#define MEMORY_SLACK (8.0 * 0x1p20)

/* A request that comes again and again, and its answer. */
struct kind {
	int32_t ids[MAX_PROMPT];
	struct vb_request request;
	struct vb_result alone;
};

/* One that is under way. */
struct slot {
	const struct kind *kind;
	uint64_t id;
	int cancel_at;      /* tokens; -1: not from the callback */
	bool may_be_cancelled;
	int n_seen;
	atomic_int n_ended;
	int status;
	char message[256];
	struct vb_result result;
};

struct soak {
	struct vb_engine *e;
	uint64_t seed;
	uint32_t n_drawn;
	struct kind kinds[N_KINDS];
	struct slot slots[N_SLOTS];
	int64_t n_vocab, n_pages;
	int64_t submitted, refused, cancelled, finished, preemptions;
	double memory; /* bytes; 0: not measured yet */
};

static uint32_t roll(struct soak *s, uint32_t sides)
{
	return rng_u32(s->seed, RNG_TEST, 0, s->n_drawn++) % sides;
}

static _Noreturn void give_up(const char *what)
{
	fprintf(stderr, "soak: %s: %s\n", what, vb_errmsg());
	exit(1);
}

static void need(int rc, const char *what)
{
	if (rc != VB_OK)
		give_up(what);
}

static void check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "soak: %s\n", what);
	exit(1);
}

static double resident(void)
{
	long long all, in_memory = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	if (!f)
		return 0;
	if (fscanf(f, "%lld %lld", &all, &in_memory) != 2)
		in_memory = 0;
	fclose(f);
	return (double)in_memory * (double)sysconf(_SC_PAGESIZE);
}

static json_t *parsed(char *text)
{
	json_t *o;
	need(json_parse(&o, text, strlen(text), "engine"), "JSON");
	vb_free(text);
	return o;
}

/* ---- The crowd ---- */

static void make_kinds(struct soak *s)
{
	for (int i = 0; i < N_KINDS; i++) {
		struct kind *k = &s->kinds[i];
		size_t n = 1 + roll(s, MAX_PROMPT), shared = 0;
		if (i && roll(s, 2)) {
			const struct kind *other = &s->kinds[roll(s, (uint32_t)i)];
			shared = roll(s, (uint32_t)other->request.n_prompt_ids);
			memcpy(k->ids, other->ids, shared * sizeof *k->ids);
		}
		for (size_t j = shared; j < n; j++)
			k->ids[j] = (int32_t)roll(s, (uint32_t)s->n_vocab);
		struct vb_request *r = &k->request;
		vb_request_default(r);
		r->prompt_ids = k->ids;
		r->n_prompt_ids = n;
		r->max_tokens = roll(s, 10) ? 1 + roll(s, 60) : 0;
		r->min_tokens = roll(s, 4) ? 0 : roll(s, 10);
		r->ignore_eos = roll(s, 2);
		r->logprobs = (int)roll(s, 4) - 1;
		r->prompt_logprobs = roll(s, 5) ? -1 : 1;
		r->cache_salt = roll(s, 6) == 0;
		r->sampling.seed = roll(s, 1000);
		if (roll(s, 3))
			r->sampling.temperature = 0.5 + rng_uniform(s->seed, RNG_TEST, 0, s->n_drawn++);
		if (roll(s, 3) == 0)
			r->sampling.top_p = 0.9;
		if (roll(s, 3) == 0)
			r->sampling.repetition_penalty = 1.2;
	}
}

static int on_token(void *user, const struct vb_event *event)
{
	struct slot *slot = user;
	slot->n_seen += event->token != NULL;
	return slot->cancel_at >= 0 && slot->n_seen > slot->cancel_at;
}

static void on_done(void *user, int status, struct vb_result *result)
{
	struct slot *slot = user;
	slot->status = status;
	if (status != VB_OK)
		snprintf(slot->message, sizeof slot->message, "%s", vb_errmsg());
	slot->result = *result;
	*result = (struct vb_result){ 0 };
	atomic_fetch_add(&slot->n_ended, 1);
}

/* Looks at what ended, and makes the slot free. */
static void collect(struct soak *s, struct slot *slot)
{
	const struct vb_result *a = &slot->result, *b = &slot->kind->alone;
	check(atomic_load(&slot->n_ended) == 1, "a request ended more than once");
	if (slot->status == VB_ECANCELLED && slot->may_be_cancelled) {
		s->cancelled++;
		check(a->n_ids <= b->n_ids, "a cancelled answer is longer than the whole");
	} else {
		if (slot->status != VB_OK) {
			fprintf(stderr, "soak: a request failed: %s: %s\n", vb_status_name(slot->status), slot->message);
			exit(1);
		}
		s->finished++;
		check(a->n_ids == b->n_ids && a->finish == b->finish, "an answer ends elsewhere than alone");
	}
	check(memcmp(a->ids, b->ids, a->n_ids * sizeof *a->ids) == 0, "an answer differs from what it is alone");
	check((int64_t)a->n_ids == slot->n_seen, "tokens and calls of on_token differ");
	vb_result_free(&slot->result);
	slot->kind = NULL;
}

/* One that must be refused, with nothing left of it. */
static void submit_invalid(struct soak *s)
{
	static struct slot none;
	static int32_t too_many[CONTEXT + 8];
	struct vb_request r = s->kinds[roll(s, N_KINDS)].request;
	int32_t ids[2] = { 1, (int32_t)s->n_vocab };
	switch (roll(s, 6)) {
	case 0:
		r.sampling.temperature = -1;
		break;
	case 1:
		r.prompt_ids = ids;
		r.n_prompt_ids = 2;
		break;
	case 2:
		r.n_prompt_ids = 0;
		break;
	case 3:
		r.prompt_ids = too_many;
		r.n_prompt_ids = sizeof too_many / sizeof *too_many;
		break;
	case 4:
		r.prompt = "two prompts";
		break;
	default:
		r.n_stop = 1;
		break;
	}
	check(vb_submit(s->e, &r, on_token, on_done, &none, NULL) != VB_OK, "an invalid request was taken");
	check(atomic_load(&none.n_ended) == 0, "a refused request ended");
	s->refused++;
}

static void submit_one(struct soak *s, struct slot *slot)
{
	memset(slot, 0, sizeof *slot);
	slot->kind = &s->kinds[roll(s, N_KINDS)];
	slot->cancel_at = roll(s, 20) == 0 ? (int)roll(s, 20) : -1;
	slot->may_be_cancelled = slot->cancel_at >= 0;
	bool by_id = roll(s, 20) == 0;
	slot->may_be_cancelled |= by_id;
	need(vb_submit(s->e, &slot->kind->request, on_token, on_done, slot, &slot->id), "vb_submit");
	s->submitted++;
	if (by_id) {
		/* An older one, or this one at once. */
		struct slot *other = &s->slots[roll(s, N_SLOTS)];
		if (!other->kind || !other->may_be_cancelled)
			other = slot;
		int rc = vb_cancel_request(s->e, other->id);
		check(rc == VB_OK || rc == VB_ENOTFOUND, "vb_cancel_request failed");
	}
}

/* ---- Looking ---- */

static json_t *stats_of(struct soak *s)
{
	char *text;
	need(vb_engine_stats(s->e, &text), "vb_engine_stats");
	return parsed(text);
}

static int64_t sum_pages(const json_t *stats, const char *name)
{
	int64_t sum = 0;
	size_t i;
	json_t *group;
	json_array_foreach(json_object_get(stats, "pages"), i, group)
		sum += json_integer_value(json_object_get(group, name));
	return sum;
}

static void look(struct soak *s, double seconds)
{
	json_t *stats = stats_of(s), *requests = json_object_get(stats, "requests");
	int64_t used = sum_pages(stats, "used"), cached = sum_pages(stats, "cached"), unused = sum_pages(stats, "free");
	int64_t ended = json_integer_value(json_object_get(requests, "ended"));
	check(used + cached + unused == s->n_pages, "pages do not add up");
	check(json_integer_value(json_object_get(requests, "submitted")) == s->submitted, "not all that was submitted counts");
	check(ended <= s->submitted && s->submitted - ended <= N_SLOTS, "more requests are under way than there are");
	s->preemptions = json_integer_value(json_object_get(stats, "preemptions"));
	json_decref(stats);
	double memory = resident();
	printf("%5.1f s: %" PRId64 " submitted, %" PRId64 " refused, %" PRId64 " cancelled, %" PRId64 " preempted; pages %"
	       PRId64 " used, %" PRId64 " cached, %" PRId64 " free; %.1f MiB\n", seconds, s->submitted, s->refused,
	       s->cancelled, s->preemptions, used, cached, unused, memory / 0x1p20);
	fflush(stdout);
	/* Once the crowd has been through. */
	if (s->memory == 0 && s->finished > 3 * N_SLOTS)
		s->memory = memory;
	if (WATCHES_MEMORY && s->memory > 0)
		check(memory <= s->memory + MEMORY_SLACK, "memory grows");
}

static void run(struct soak *s, double seconds)
{
	double start = clock_s(), next = 1;
	for (double now = 0; now < seconds; now = clock_s() - start) {
		bool idle = true;
		for (int i = 0; i < N_SLOTS; i++) {
			struct slot *slot = &s->slots[i];
			if (slot->kind && atomic_load(&slot->n_ended))
				collect(s, slot);
			if (slot->kind)
				continue;
			idle = false;
			/* One at least, however few requests a slow machine gets through. */
			if (roll(s, 10) == 0 || s->submitted == N_SLOTS / 2)
				submit_invalid(s);
			submit_one(s, slot);
		}
		if (now >= next) {
			/* Between two steps, in the middle of things. */
			need(vb_engine_stop(s->e), "vb_engine_stop");
			look(s, now);
			need(vb_engine_start(s->e), "vb_engine_start");
			next += 1;
		}
		if (idle)
			nanosleep(&(struct timespec){ .tv_nsec = 500000 }, NULL);
	}
	double end = clock_s();
	for (int i = 0; i < N_SLOTS; i++) {
		while (s->slots[i].kind && !atomic_load(&s->slots[i].n_ended)) {
			check(clock_s() - end < 60, "a request does not end");
			nanosleep(&(struct timespec){ .tv_nsec = 500000 }, NULL);
		}
	}
	need(vb_engine_stop(s->e), "vb_engine_stop");
	for (int i = 0; i < N_SLOTS; i++)
		if (s->slots[i].kind)
			collect(s, &s->slots[i]);
	look(s, clock_s() - start);
}

/* ---- The engines ---- */

static struct vb_options small(void)
{
	struct vb_options o;
	vb_options_default(&o);
	o.device = "cpu";
	o.threads = 2;
	o.context = CONTEXT;
	o.page_size = PAGE;
	o.prefill_chunk = 48;
	return o;
}

/* The answers alone; *pool is the memory for 30 % of a full batch. */
static void answer_alone(struct soak *s, const char *model, uint64_t *pool)
{
	struct vb_options o = small();
	o.prefix_cache = false;
	struct vb_engine *e;
	need(vb_engine_open(&e, model, &o), model);
	char *text;
	need(vb_engine_info(e, &text), "vb_engine_info");
	json_t *info = parsed(text);
	s->n_vocab = json_integer_value(json_object_get(info, "vocabulary"));
	*pool = (uint64_t)json_integer_value(json_object_get(json_object_get(info, "memory"), "kv_per_token")) * CONTEXT *
		BATCH * 3 / 10;
	json_decref(info);
	make_kinds(s);
	for (int i = 0; i < N_KINDS; i++)
		need(vb_generate(e, &s->kinds[i].request, NULL, NULL, &s->kinds[i].alone), "vb_generate");
	need(vb_engine_close(&e), "vb_engine_close");
}

int main(int argc, char **argv)
{
	static struct soak s;
	if (argc < 2 || argc > 4) {
		fprintf(stderr, "usage: soak MODEL [SECONDS [SEED]]\n");
		return 2;
	}
	double seconds = argc > 2 ? atof(argv[2]) : 10;
	s.seed = argc > 3 ? strtoull(argv[3], NULL, 10) : (uint64_t)time(NULL);
	printf("%s: seed %" PRIu64 "\n", argv[1], s.seed);
	struct vb_options o = small();
	answer_alone(&s, argv[1], &o.kv_memory);
	o.max_batch = BATCH;
	o.prefix_cache = true;
	o.speculate = "ngram";
	need(vb_engine_open(&s.e, argv[1], &o), argv[1]);
	json_t *stats = stats_of(&s);
	s.n_pages = sum_pages(stats, "free");
	json_decref(stats);
	need(vb_engine_start(s.e), "vb_engine_start");
	run(&s, seconds);
	stats = stats_of(&s);
	check(sum_pages(stats, "used") == 0, "pages are held when all is over");
	check(json_integer_value(json_object_get(json_object_get(stats, "requests"), "ended")) == s.submitted,
	      "not every request ended");
	json_decref(stats);
	check(s.finished + s.cancelled == s.submitted, "not every request was heard of");
	check(s.finished > 0 && s.refused > 0, "too little happened");
	need(vb_engine_close(&s.e), "vb_engine_close");
	for (int i = 0; i < N_KINDS; i++)
		vb_result_free(&s.kinds[i].alone);
	printf("%" PRId64 " finished, %" PRId64 " cancelled, %" PRId64 " refused\n", s.finished, s.cancelled, s.refused);
	return 0;
}
