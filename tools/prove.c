#include "prove.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CROWD 300
#define MAX_PROMPT 200
#define MAX_ANSWER 24
/* At most one in so many comparisons is of the same schedule. */
#define LEAST_SCHEDULES 8

/* ---- Random numbers: a stream that depends on (seed, schedule) alone ---- */

struct dice {
	uint64_t seed, stream;
	uint32_t n;
};

static uint32_t roll(struct dice *d, uint32_t sides)
{
	return rng_u32(d->seed, RNG_TEST, d->stream, d->n++) % sides;
}

static double uniform(struct dice *d)
{
	return rng_uniform(d->seed, RNG_TEST, d->stream, d->n++);
}

/* ---- Kinds of schedules, for counting ---- */

enum kind {
	KIND_BATCH,      /* others in the batch */
	KIND_ARRIVAL,    /* began while others ran */
	KIND_CHUNK,      /* its prompt came in chunks */
	KIND_PAGE,       /* pages of another size than the reference's */
	KIND_THREADS,
	KIND_NGRAM,
	KIND_DRAFT,
	KIND_CACHE_HIT,
	KIND_PREEMPTION, /* in a schedule with preemptions */
	KIND_CANCEL,     /* neighbours were cancelled */
	KIND_SAMPLED,    /* temperature above 0 */
	KIND_GRAPH,      /* its steps ran as CUDA graphs */
	KIND_COUNT
};

static const char *const kind_names[KIND_COUNT] = {
	"batch", "arrival", "chunk", "page", "threads", "ngram", "draft", "cache_hit", "preemption", "cancel", "sampled",
	"graph",
};

/* ---- A request, and what came of it ---- */

struct subject {
	int32_t prompt[MAX_PROMPT];
	struct vb_request request;
	int64_t arrives;     /* step */
	int64_t cancel_at;   /* tokens; -1: never */
	uint64_t id;
	struct vb_engine *engine;
	bool submitted, ended;
	int status;
	char message[512];
	struct vb_result result, alone;
	int64_t n_seen;
};

struct crowd {
	struct subject *subject; /* [n] */
	int n;
	struct vb_options options;
	int64_t n_preemptions;
	bool any_cancelled;
};

static int on_token(void *user, const struct vb_event *event)
{
	struct subject *s = user;
	s->n_seen += event->token != NULL;
	return s->cancel_at >= 0 && s->n_seen > s->cancel_at;
}

static void on_done(void *user, int status, struct vb_result *result)
{
	struct subject *s = user;
	s->ended = true;
	s->status = status;
	s->result = *result;
	*result = (struct vb_result){ 0 };
	if (status != VB_OK)
		snprintf(s->message, sizeof s->message, "%s", vb_errmsg());
}

/* Prompts share beginnings often, so that the cache has something to find, and repeat themselves, so that an n-gram
 * proposer has. */
static void make_prompt(struct dice *d, struct subject *s, const struct subject *earlier, int n_earlier, int64_t n_vocab,
			int64_t longest)
{
	int64_t n = 1 + roll(d, (uint32_t)longest), i = 0;
	if (n_earlier && roll(d, 2)) {
		const struct subject *e = &earlier[roll(d, (uint32_t)n_earlier)];
		int64_t shared = 1 + roll(d, (uint32_t)e->request.n_prompt_ids);
		for (; i < shared && i < n; i++)
			s->prompt[i] = e->prompt[i];
	}
	int64_t period = 1 + roll(d, 12), begin = i;
	bool repeats = roll(d, 3) == 0;
	for (; i < n; i++)
		s->prompt[i] = repeats && i - begin >= period ? s->prompt[i - period]
							       : (int32_t)roll(d, (uint32_t)n_vocab);
	s->request.prompt_ids = s->prompt;
	s->request.n_prompt_ids = (size_t)n;
}

static void make_sampling(struct dice *d, struct vb_sampling *p)
{
	p->seed = roll(d, 1u << 30);
	if (roll(d, 3) == 0)
		return; /* greedy */
	p->temperature = 0.3 + 1.2 * uniform(d);
	if (roll(d, 2))
		p->top_k = 1 + roll(d, 50);
	if (roll(d, 2))
		p->top_p = 0.5 + 0.5 * uniform(d);
	if (roll(d, 3) == 0)
		p->min_p = 0.2 * uniform(d);
}

static void make_subject(struct dice *d, struct crowd *c, int i, int64_t n_vocab, int64_t longest)
{
	struct subject *s = &c->subject[i];
	vb_request_default(&s->request);
	make_prompt(d, s, c->subject, i, n_vocab, longest);
	make_sampling(d, &s->request.sampling);
	if (roll(d, 4) == 0) {
		s->request.sampling.repetition_penalty = 1 + 0.5 * uniform(d);
		s->request.sampling.presence_penalty = uniform(d);
		s->request.sampling.frequency_penalty = uniform(d);
	}
	s->request.max_tokens = 1 + roll(d, MAX_ANSWER);
	s->request.min_tokens = roll(d, 4) == 0 ? roll(d, 8) : 0;
	s->request.ignore_eos = roll(d, 2);
	s->request.logprobs = (int)roll(d, 3);
	s->request.prompt_logprobs = roll(d, 4) == 0 ? (int)roll(d, 2) : -1;
	s->request.cache_salt = roll(d, 8) == 0;
	s->arrives = roll(d, 3) ? 0 : roll(d, 30);
	s->cancel_at = roll(d, 10) == 0 ? (int64_t)roll(d, 8) : -1;
}

/* ---- Schedules ---- */

static int64_t pages_of_longest(const struct crowd *c, int64_t page_size)
{
	int64_t most = 0;
	for (int i = 0; i < c->n; i++) {
		const struct vb_request *r = &c->subject[i].request;
		int64_t pages = ((int64_t)r->n_prompt_ids + r->max_tokens + page_size - 1) / page_size;
		if (pages > most)
			most = pages;
	}
	return most;
}

static void make_options(struct dice *d, const struct prove_spec *spec, struct crowd *c, int64_t context,
			 uint64_t kv_per_token, bool gpu)
{
	struct vb_options *o = &c->options;
	*o = *spec->options;
	o->context = context;
	o->page_size = (int64_t)1 << roll(d, 8);
	/* Pages of fewer tokens are served by other kernels of a GPU: another family, with bits of its own. */
	if (gpu && o->page_size < 8)
		o->page_size = 8;
	o->prefill_chunk = roll(d, 3) ? 1 + roll(d, 256) : 1 + roll(d, 8);
	o->max_batch = (int64_t)1 << roll(d, 9);
	o->threads = roll(d, 2) ? 1 : spec->options->threads;
	o->prefix_cache = roll(d, 4) != 0;
	o->graph = gpu && roll(d, 3) != 0;
	o->draft_tokens = (int)roll(d, 10) - 1; /* -1: auto; 0..8 */
	o->speculate = "none";
	switch (roll(d, 3)) {
	case 0:
		o->speculate = "ngram";
		break;
	case 1:
		if (spec->draft) {
			o->speculate = "draft";
			o->draft_model = spec->draft;
		}
		break;
	default:
		break;
	}
	if (roll(d, 2)) {
		/* A pool at 30 % of what the crowd would like, but one request always fits. */
		int64_t longest = pages_of_longest(c, o->page_size), wanted = 0;
		for (int i = 0; i < c->n && i < o->max_batch; i++)
			wanted += ((int64_t)c->subject[i].request.n_prompt_ids + c->subject[i].request.max_tokens) /
					  o->page_size + 1;
		int64_t pages = wanted * 3 / 10 > longest + 1 ? wanted * 3 / 10 : longest + 1;
		/* The context shrinks with it, so that one sequence of it fits. */
		o->context = pages * o->page_size < context ? pages * o->page_size : context;
		o->kv_memory = (uint64_t)(pages * o->page_size) * kv_per_token;
	}
}

static int open_quiet(struct vb_engine **e, const char *model, const struct vb_options *options)
{
	struct vb_options o = *options;
	if (o.log_level > VB_LOG_ERROR)
		o.log_level = VB_LOG_ERROR;
	return vb_engine_open(e, model, &o);
}

static int read_stats(struct vb_engine *e, struct crowd *c)
{
	char *text;
	json_t *stats;
	TRY(vb_engine_stats(e, &text));
	int rc = json_parse(&stats, text, strlen(text), "statistics");
	vb_free(text);
	TRY(rc);
	c->n_preemptions = json_integer_value(json_object_get(stats, "preemptions"));
	json_decref(stats);
	return VB_OK;
}

/* Runs the crowd: who arrives is submitted before its step. */
static int run_crowd(struct crowd *c, const char *model)
{
	struct vb_engine *e;
	TRY(open_quiet(&e, model, &c->options));
	int rc = VB_OK;
	bool more = true;
	for (int64_t step = 0; rc == VB_OK && more; step++) {
		bool waiting = false;
		for (int i = 0; i < c->n && rc == VB_OK; i++) {
			struct subject *s = &c->subject[i];
			if (!s->submitted && s->arrives <= step) {
				s->submitted = true;
				rc = vb_submit(e, &s->request, on_token, on_done, s, &s->id);
			}
			waiting |= !s->submitted;
		}
		if (rc == VB_OK)
			rc = vb_step(e, &more);
		more |= waiting;
	}
	if (rc == VB_OK)
		rc = read_stats(e, c);
	for (int i = 0; i < c->n; i++)
		c->any_cancelled |= c->subject[i].status == VB_ECANCELLED;
	vb_engine_close(&e);
	return rc;
}

/* ---- Comparing ---- */

static bool same_tokens(const struct vb_token *a, const struct vb_token *b, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (a[i].id != b[i].id || a[i].n_top != b[i].n_top ||
		    memcmp(&a[i].logprob, &b[i].logprob, sizeof a[i].logprob) != 0)
			return false;
		for (int j = 0; j < a[i].n_top; j++)
			if (a[i].top[j].id != b[i].top[j].id ||
			    memcmp(&a[i].top[j].logprob, &b[i].top[j].logprob, sizeof(float)) != 0)
				return false;
	}
	return true;
}

/* What differs, or NULL. */
static const char *difference(const struct subject *s)
{
	const struct vb_result *a = &s->result, *b = &s->alone;
	if (a->n_ids != b->n_ids || memcmp(a->ids, b->ids, a->n_ids * sizeof *a->ids) != 0)
		return "token ids";
	if (a->finish != b->finish)
		return "finish reason";
	if (a->text_len != b->text_len || memcmp(a->text, b->text, a->text_len) != 0)
		return "text";
	if (a->tokens && !same_tokens(a->tokens, b->tokens, a->n_ids))
		return "log-probabilities";
	if (a->prompt_tokens && !same_tokens(a->prompt_tokens, b->prompt_tokens, a->n_prompt_ids))
		return "log-probabilities of the prompt";
	return NULL;
}

static void kinds_of(const struct crowd *c, const struct subject *s, bool *kinds)
{
	const struct vb_options *o = &c->options;
	memset(kinds, 0, KIND_COUNT * sizeof *kinds);
	kinds[KIND_BATCH] = o->max_batch > 1 && c->n > 1;
	kinds[KIND_ARRIVAL] = s->arrives > 0;
	kinds[KIND_CHUNK] = (int64_t)s->request.n_prompt_ids > o->prefill_chunk;
	kinds[KIND_PAGE] = o->page_size != 64;
	kinds[KIND_THREADS] = o->threads != 1;
	kinds[KIND_NGRAM] = s->result.proposed_tokens > 0 && strcmp(o->speculate, "ngram") == 0;
	kinds[KIND_DRAFT] = s->result.proposed_tokens > 0 && strcmp(o->speculate, "draft") == 0;
	kinds[KIND_GRAPH] = o->graph;
	kinds[KIND_CACHE_HIT] = s->result.cached_tokens > 0;
	kinds[KIND_PREEMPTION] = c->n_preemptions > 0;
	kinds[KIND_CANCEL] = c->any_cancelled;
	kinds[KIND_SAMPLED] = s->request.sampling.temperature > 0;
}

struct tally {
	int64_t cases, by_kind[KIND_COUNT];
	json_t *difference;
};

static int compare_one(struct tally *t, struct vb_engine *alone, const struct crowd *c, struct subject *s,
		       int64_t schedule, int index)
{
	if (s->status == VB_ECANCELLED)
		return VB_OK;
	if (s->status != VB_OK)
		FAIL(s->status, "a request failed: schedule %lld, request %d: %s", (long long)schedule, index, s->message);
	TRY(vb_generate(alone, &s->request, NULL, NULL, &s->alone));
	bool kinds[KIND_COUNT];
	kinds_of(c, s, kinds);
	t->cases++;
	for (int k = 0; k < KIND_COUNT; k++)
		t->by_kind[k] += kinds[k];
	const char *what = difference(s);
	if (!what)
		return VB_OK;
	json_t *list = json_array();
	for (int k = 0; k < KIND_COUNT; k++)
		if (kinds[k])
			json_array_append_new(list, json_string(kind_names[k]));
	t->difference = json_pack("{s:I, s:i, s:s, s:o}", "schedule", (json_int_t)schedule, "request", index, "what", what,
				  "kinds", list);
	return VB_OK;
}

/* The requests of a schedule in the order in which they are compared. */
static void draw_order(const struct prove_spec *spec, int64_t schedule, int n, int *order)
{
	/* Another stream than the schedule's own: what is in it does not depend on what is looked at. */
	struct dice d = { .seed = spec->seed, .stream = (uint64_t)schedule | (uint64_t)1 << 63 };
	for (int i = 0; i < n; i++) {
		int at = (int)roll(&d, (uint32_t)i + 1);
		order[i] = order[at];
		order[at] = i;
	}
}

/* Compares what ended, as much of it as one schedule may give and is still wanted. */
static int compare_crowd(const struct prove_spec *spec, struct tally *t, struct vb_engine *alone, const struct crowd *c,
			 int64_t schedule)
{
	int order[MAX_CROWD];
	int64_t most = t->cases + (spec->cases + LEAST_SCHEDULES - 1) / LEAST_SCHEDULES;
	if (most > spec->cases)
		most = spec->cases;
	draw_order(spec, schedule, c->n, order);
	for (int i = 0; i < c->n && t->cases < most && !t->difference; i++)
		if (spec->only_request < 0 || order[i] == spec->only_request)
			TRY(compare_one(t, alone, c, &c->subject[order[i]], schedule, order[i]));
	return VB_OK;
}

static void crowd_fini(struct crowd *c)
{
	for (int i = 0; i < c->n; i++) {
		vb_result_free(&c->subject[i].result);
		vb_result_free(&c->subject[i].alone);
	}
	mem_free(c->subject);
}

static int run_schedule(const struct prove_spec *spec, struct vb_engine *alone, const json_t *info, int64_t schedule,
			struct tally *t)
{
	struct dice d = { .seed = spec->seed, .stream = (uint64_t)schedule };
	int64_t n_vocab = json_integer_value(json_object_get(info, "vocabulary"));
	int64_t context = json_integer_value(json_object_get(info, "context"));
	uint64_t kv = (uint64_t)json_integer_value(json_object_get(json_object_get(info, "memory"), "kv_per_token"));
	const char *device = json_string_value(json_object_get(info, "device"));
	bool gpu = device && strcmp(device, "cpu") != 0;
	int64_t longest = context - MAX_ANSWER - 1 < MAX_PROMPT ? context - MAX_ANSWER - 1 : MAX_PROMPT;
	struct crowd c = { .n = 1 + (int)roll(&d, roll(&d, 4) ? 16 : MAX_CROWD) };
	c.subject = mem_calloc((size_t)c.n, sizeof *c.subject);
	if (!c.subject)
		return VB_ENOMEM;
	for (int i = 0; i < c.n; i++)
		make_subject(&d, &c, i, n_vocab, longest);
	make_options(&d, spec, &c, context, kv, gpu);
	int rc = run_crowd(&c, spec->model);
	if (rc == VB_OK && spec->only_request >= c.n)
		rc = status_fail(VB_EINVAL, __FILE__, __LINE__, "no such request: %lld: schedule %lld has %d",
				 (long long)spec->only_request, (long long)schedule, c.n);
	if (rc == VB_OK)
		rc = compare_crowd(spec, t, alone, &c, schedule);
	crowd_fini(&c);
	return rc;
}

static int open_alone(struct vb_engine **e, json_t **info, const struct prove_spec *spec)
{
	struct vb_options o = *spec->options;
	o.threads = 1;
	o.max_batch = 1;
	o.page_size = 64;
	o.prefill_chunk = 512;
	o.speculate = "none";
	o.prefix_cache = false;
	if (!o.context || o.context > 512)
		o.context = 512;
	char *text;
	TRY(open_quiet(e, spec->model, &o));
	TRY(vb_engine_info(*e, &text));
	int rc = json_parse(info, text, strlen(text), "engine");
	vb_free(text);
	return rc;
}

int prove(const struct prove_spec *spec, json_t **out)
{
	struct vb_engine *alone = NULL;
	json_t *info = NULL, *kinds = NULL;
	struct tally t = { 0 };
	int rc;
	*out = NULL;
	TRY_TO(out, open_alone(&alone, &info, spec));
	for (int64_t i = spec->first_schedule; t.cases < spec->cases && !t.difference; i++) {
		TRY_TO(out, run_schedule(spec, alone, info, i, &t));
		if (spec->progress)
			spec->progress(spec->user, t.cases, t.difference != NULL);
		if (spec->only_request >= 0)
			break;
	}
	kinds = json_object();
	for (int k = 0; k < KIND_COUNT; k++)
		json_object_set_new(kinds, kind_names[k], json_integer((json_int_t)t.by_kind[k]));
	*out = json_pack("{s:I, s:i, s:O, s:I}", "cases", (json_int_t)t.cases, "differences", t.difference ? 1 : 0,
			 "schedules", kinds, "seed", (json_int_t)spec->seed);
	if (*out && t.difference)
		json_object_set(*out, "difference", t.difference);
	if (!*out)
		FAIL_TO(out, VB_ENOMEM, "out of memory: JSON");
out:
	json_decref(kinds);
	json_decref(info);
	json_decref(t.difference);
	vb_engine_close(&alone);
	return rc;
}
