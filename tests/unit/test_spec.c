/* Guessing: what is guessed, how often, and that nobody can tell from the answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "many_help.h"

#include "base/rng.h"
#include "spec/spec_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- n-grams ---- */

enum { MAX_TEXT = 300, GUESSES = 9 };

/* What a look at all tokens finds for the last `length` of them: the guesses, or false. */
static bool naive(const int32_t *tokens, int64_t n, int length, int32_t *guesses)
{
	for (int64_t end = n - 2; end >= length - 1; end--) {
		if (memcmp(&tokens[end - length + 1], &tokens[n - length], (size_t)length * sizeof *tokens) != 0)
			continue;
		/* What follows, itself continued where it runs into the end. */
		for (int64_t i = 0; i < GUESSES; i++)
			guesses[i] = end + 1 + i < n ? tokens[end + 1 + i] : guesses[end + 1 + i - n];
		return true;
	}
	return false;
}

/* Guesses are what followed the longest n-gram of 4, 3 or 2 tokens that stood there before, the last time it did. Two
 * n-grams may meet in one entry of the table, and the younger stays: then a shorter one is found, or none. */
static void test_ngram_naive(void **state)
{
	(void)state;
	int64_t n_found = 0, n_shorter = 0, n_missed = 0;
	for (uint64_t seed = 0; seed < 60; seed++) {
		int32_t tokens[MAX_TEXT + GUESSES], expected[GUESSES];
		struct spec_state s = { 0 };
		uint32_t draw = 0, alphabet = 2 + (uint32_t)(seed % 7);
		need(ngram_open(&s, MAX_TEXT));
		for (int64_t n = 0; n < MAX_TEXT;) {
			/* A few tokens a step, as if guesses had been accepted. */
			int64_t more = 1 + rng_u32(seed, RNG_TEST, 0, draw++) % 3;
			for (; more > 0 && n < MAX_TEXT; more--)
				tokens[n++] = (int32_t)(rng_u32(seed, RNG_TEST, 0, draw++) % alphabet);
			int64_t made = ngram_propose(&s, tokens, n, GUESSES);
			assert_true(made == 0 || made == GUESSES);
			int longest = 0, used = 0;
			for (int length = n < 4 ? (int)n : 4; length >= 2; length--) {
				if (!naive(tokens, n, length, expected))
					continue;
				longest = longest ? longest : length;
				if (made && !used && memcmp(expected, tokens + n, sizeof expected) == 0)
					used = length;
			}
			assert_int_equal(made > 0, used > 0);
			n_found += longest > 0;
			n_missed += longest && !used;
			n_shorter += used && used < longest;
		}
		ngram_close(&s);
	}
	assert_true(n_found > 5000);
	assert_true(n_shorter + n_missed < n_found / 10);
}

static void test_ngram_little(void **state)
{
	(void)state;
	struct spec_state s = { 0 };
	int32_t tokens[16] = { 7, 7, 7, 7 };
	need(ngram_open(&s, 8));
	assert_int_equal(ngram_propose(&s, tokens, 1, 4), 0);
	assert_int_equal(ngram_propose(&s, tokens, 2, 4), 0);
	/* A repetition goes on repeating past what is known. */
	assert_int_equal(ngram_propose(&s, tokens, 3, 4), 4);
	for (int i = 3; i < 7; i++)
		assert_int_equal(tokens[i], 7);
	assert_int_equal(ngram_propose(&s, tokens, 3, 0), 0);
	ngram_close(&s);
}

/* ---- How many guesses ---- */

/* Steps at made-up costs, with guesses that are right with `chance`: what is won against no guesses, and what is lost at
 * worst. */
struct trial {
	double chance, base, slope, per_guess;
	int64_t n_requests;
	/* A draft model: what a token costs it of which it makes no guess, and what was measured of both before. */
	double per_behind, measured;
	int64_t n_prompt;  /* 0: as good as none */
	double per_prompt; /* a token of it */
	double pushed_out; /* what steps behind guesses cost more, by what guessing pushes out of the caches */
	double ask;        /* a device that runs steps ahead: what a step costs more that waits for an ask */
	double burst;      /* steps 1000 to 1200 take so many times as long: others are on the machine; 0: no others */
	uint64_t seed;
	int64_t n_guesses, n_with; /* out: of the second half; steps with guesses */
	int64_t n_asked; /* out: its steps that were asked about */
	double gain;  /* out: tokens a second of the second half, against no guesses */
	double at_200; /* out: tokens a second of the first 200 of each, prompts left out, against no guesses */
	double worst; /* out: most seconds for so many tokens, prompts included, against no guesses; from LEAST tokens on */
};

enum { STEPS = 4000, MAX = 8, LEAST = 8, MOST_REQUESTS = 8 };

/* What the draft model would do: the tokens that it has not seen, of those that guess. */
static int64_t catch_up(struct spec_item *items, int64_t n)
{
	int64_t behind = 0;
	for (int64_t i = 0; i < n; i++) {
		struct spec_state *state = items[i].state;
		if (items[i].n_draft == 0)
			continue;
		assert_in_range(state->begin, 0, state->n_computed);
		assert_true(state->n_computed < items[i].n_known);
		behind += items[i].n_known - 1 - state->n_computed;
		state->n_computed = items[i].n_known;
	}
	return behind;
}

static void try_costs(struct trial *t)
{
	struct spec *s;
	struct spec_config config = { .method = SPEC_NGRAM, .max_draft = MAX, .automatic = true };
	need(spec_create(&s, NULL, &config));
	if (t->per_behind > 0) {
		s->config.method = SPEC_DRAFT;
		s->cost.guess = (struct rate){ 1, t->per_guess * t->measured };
		s->cost.behind = (struct rate){ 1, t->per_behind * t->measured };
	}
	struct spec_state states[MOST_REQUESTS];
	int64_t n_known[MOST_REQUESTS], n = t->n_requests, made = 0;
	uint32_t draw = 0;
	double alone = (double)n / (t->base + t->slope * (double)n), half_s = 0, half_tokens = 0;
	double prompt_s = t->per_prompt * (double)(t->n_prompt * n), seconds = prompt_s, plain_s = prompt_s;
	int64_t since = 1000, idle = 0;
	struct spec_state *passing[MOST_REQUESTS];
	assert_true(n <= MOST_REQUESTS);
	for (int64_t i = 0; i < n; i++) {
		need(spec_open(s, &states[i], 64));
		n_known[i] = t->n_prompt + 1;
	}
	if (t->n_prompt)
		spec_learn_cost(s, t->n_prompt * n, prompt_s, 0, 0);
	t->n_guesses = t->n_with = t->n_asked = 0;
	t->worst = 0;
	for (int64_t step = 0; step < STEPS; step++) {
		struct spec_item items[MOST_REQUESTS];
		int64_t n_guesses = 0, won = 0, taken[MOST_REQUESTS] = { 0 };
		for (int64_t i = 0; i < n; i++)
			items[i] = (struct spec_item){ .state = &states[i], .n_known = n_known[i], .room = MAX };
		bool asked = idle == 0;
		if (asked)
			spec_decide(s, items, n);
		else
			idle--;
		s->n_behind = asked && t->per_behind > 0 ? catch_up(items, n) : 0;
		double proposed = t->per_behind * (double)s->n_behind;
		bool late = step >= STEPS / 2;
		for (int64_t i = 0; i < n; i++) {
			assert_in_range(items[i].n_draft, 0, MAX);
			while (taken[i] < items[i].n_draft && rng_uniform(t->seed, RNG_TEST, 0, draw++) < t->chance)
				taken[i]++;
			n_guesses += items[i].n_draft;
			n_known[i] += 1 + taken[i];
			made += 1 + taken[i];
			won += 1 + taken[i];
			half_tokens += late ? 1 + (double)taken[i] : 0;
			t->n_with += late && items[i].n_draft > 0;
			passing[i] = &states[i];
		}
		if (t->ask > 0 && asked && n_guesses == 0 && spec_idle(s) > 0)
			idle = spec_idle(s) - 1;
		t->n_asked += late && asked;
		double cost = t->base + t->slope * (double)(n + n_guesses), load = 1;
		cost *= since < 3 ? 1 + t->pushed_out : 1;
		cost += asked ? t->ask : 0;
		proposed += t->per_guess * (double)n_guesses;
		since = n_guesses ? 0 : since + 1;
		if (t->burst > 0 && step >= 1000 && step < 1200)
			load = t->burst;
		cost *= load;
		proposed *= load;
		if (asked)
			spec_learn_cost(s, n + n_guesses, cost, n_guesses, proposed);
		else
			spec_pass(s, passing, n, cost);
		for (int64_t i = 0; i < n; i++)
			if (items[i].n_draft)
				spec_learn(s, &states[i], items[i].n_draft, taken[i]);
		seconds += cost + proposed;
		half_s += late ? cost + proposed : 0;
		t->n_guesses += late ? n_guesses : 0;
		plain_s += (double)won / alone * load;
		double ratio = seconds / plain_s;
		if (made < 200 * n)
			t->at_200 = (double)made / alone / (seconds - prompt_s);
		if (made >= LEAST * n && ratio > t->worst)
			t->worst = ratio;
	}
	t->gain = half_tokens / half_s / alone;
	for (int64_t i = 0; i < n; i++)
		spec_close(s, &states[i]);
	spec_destroy(&s);
}

/* Whatever guesses cost and are worth, at no moment has guessing lost more than 3 % of the time that the tokens would have
 * taken without it: not while costs are unknown, not with a draft that has a long prompt to see first, not where
 * the text is as good as random. A draft may turn out slower than it was measured. */
static void test_never_slower(void **state)
{
	(void)state;
	static const double chances[] = { 0, 0.05, 0.3, 0.6, 0.95 }, slopes[] = { 0, 0.02, 0.25, 1 };
	static const struct {
		double guess, measured; /* measured 0: an n-gram proposer */
	} proposers[] = { { 0, 0 }, { 0.01, 0 }, { 0.05, 1 }, { 0.3, 1 }, { 2, 1 }, { 0.05, 0.8 }, { 0.3, 0.8 },
			  { 2, 0.8 } };
	static const int64_t prompts[] = { 0, 5, 60, 2000 }, requests[] = { 1, 8 };
	double worst = 0, sum = 0;
	int n = 0;
	for (int k = 0; k < 5 * 4 * 8 * 4 * 2; k++) {
		double slope = slopes[k / 5 % 4], guess = proposers[k / 20 % 8].guess;
		double measured = proposers[k / 20 % 8].measured;
		struct trial t = { .chance = chances[k % 5], .base = 1, .slope = slope, .per_guess = guess,
				   .per_prompt = slope > 0 ? slope : 0.02,
				   .n_prompt = prompts[k / 160 % 4], .n_requests = requests[k / 640], .seed = 7 };
		if (measured > 0) {
			t.per_behind = guess * t.per_prompt / (1 + slope);
			t.measured = measured;
		}
		try_costs(&t);
		if (t.worst > 1.03)
			print_message("chance %.2f, slope %.2f, guess %.2f (%.1f), prompt %lld, %lld requests: %.4f\n",
				      t.chance, slope, guess, measured, (long long)t.n_prompt, (long long)t.n_requests,
				      t.worst);
		worst = t.worst > worst ? t.worst : worst;
		sum += t.worst;
		n++;
	}
	print_message("%d mixtures of costs: at worst %.4f of the time without guesses, on average %.4f\n", n, worst,
		      sum / n);
	assert_true(worst <= 1.03);
}

/* The first answers gain already: costs like the demo model's on one core, whose prompts are short. */
static void test_settles(void **state)
{
	(void)state;
	static const struct {
		double guess, chance, at_least; /* guess 0: n-grams */
	} ways[] = { { 0.21, 0.95, 1.2 }, { 0.21, 0.8, 1.05 }, { 0, 0.9, 1.7 }, { 0, 0.6, 1.2 } };
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		struct trial t = { .chance = ways[i].chance, .base = 0.76, .slope = 0.24, .per_guess = ways[i].guess,
				   .n_prompt = 16, .per_prompt = 0.24, .per_behind = ways[i].guess > 0 ? 0.03 : 0,
				   .measured = 1, .n_requests = 1, .seed = 3 };
		try_costs(&t);
		print_message("chance %.2f, guess %.2f: %.3f of the speed over 200 tokens, %.3f later\n", t.chance,
			      t.per_guess, t.at_200, t.gain);
		assert_true(t.at_200 > ways[i].at_least && t.worst < 1.03);
	}
}

/* What guesses push out of the caches, and what others take of the machine for a while, makes nobody believe that guesses
 * pay: four requests of the demo model, each as well guessed as can be. */
static void test_not_deceived(void **state)
{
	(void)state;
	static const double pushed_out[] = { 0, 0.1, 0.25 }, bursts[] = { 0, 0.5, 2, 4 };
	for (int k = 0; k < 3 * 4 * 4; k++) {
		struct trial t = { .chance = 0.85, .base = 0.75, .slope = 0.25, .per_guess = 0.25, .n_requests = 4,
				   .n_prompt = 16, .per_prompt = 0.24, .per_behind = 0.03, .measured = 1,
				   .pushed_out = pushed_out[k % 3], .burst = bursts[k / 3 % 4],
				   .seed = (uint64_t)(k / 12) };
		try_costs(&t);
		if (t.worst > 1.03)
			print_message("pushed out %.1f, burst %.1f: %.4f\n", t.pushed_out, t.burst, t.worst);
		assert_true(t.worst <= 1.03);
	}
}

/* Where a guess costs as much as a step, none pays however good it is: a probe now and then is all. */
static void test_hopeless(void **state)
{
	(void)state;
	static const struct trial trials[] = {
		{ .chance = 0.5, .slope = 1, .n_requests = 1 },
		{ .chance = 0.1, .base = 1, .slope = 1, .n_requests = 1 },
		{ .chance = 0.9, .slope = 1, .per_guess = 1, .n_requests = 1 },
		{ .chance = 0.99, .base = 1, .slope = 0.01, .per_guess = 2, .n_requests = 1 },
		{ .chance = 0.9, .base = 0.1, .slope = 1, .per_guess = 0.2, .n_requests = 8 },
		{ .chance = 0.0, .base = 1, .slope = 0.5, .n_requests = 4 },
	};
	for (size_t i = 0; i < sizeof trials / sizeof *trials; i++) {
		struct trial t = trials[i];
		try_costs(&t);
		print_message("hopeless %zu: %.3f of the steps, gain %.3f\n", i,
			      (double)t.n_with / (2000.0 * (double)t.n_requests), t.gain);
		assert_true(t.n_with > 0); /* times may change */
		assert_true((double)t.n_with < 0.05 * 2000.0 * (double)t.n_requests);
		assert_true(t.gain > 0.97 && t.worst < 1.03);
	}
}

/* Where guesses are cheap, there are the more the better they are. */
static void test_cheap(void **state)
{
	(void)state;
	static const double chances[] = { 0.3, 0.6, 0.8, 0.95 };
	double before = 0;
	for (size_t i = 0; i < sizeof chances / sizeof *chances; i++) {
		struct trial t = { .chance = chances[i], .base = 1, .slope = 0.1, .n_requests = 1 };
		try_costs(&t);
		double each = (double)t.n_guesses / 2000;
		print_message("chance %.2f: %.2f guesses a step, gain %.3f\n", chances[i], each, t.gain);
		assert_true(each > before);
		assert_true(t.gain > 1.05 && t.worst < 1.03);
		before = each;
	}
	assert_true(before > 7);
}

/* A text that becomes predictable is found out. */
/* A device whose plain steps run ahead of their results, where each ask for guesses costs a tenth of a step: where none pays, one is
 * asked seldom, and little is lost; where they pay, they still do. */
static void test_runs_ahead(void **state)
{
	(void)state;
	for (int chance = 0; chance <= 9; chance += 3)
		for (int n = 1; n <= 4; n += 3)
			for (int draft = 0; draft < 2; draft++) {
				struct trial t = { .chance = chance / 10.0, .base = 1, .slope = 0.02, .n_requests = n, .ask = 0.1,
						   .seed = 5, .n_prompt = 20, .per_prompt = 0.02,
						   .per_guess = draft ? 0.3 : 0.001, .per_behind = draft ? 0.001 : 0,
						   .measured = 1 };
				try_costs(&t);
				print_message("chance %.1f, %d requests, %s: gain %.3f, worst %.3f, asked %lld\n", t.chance, n,
					      draft ? "draft" : "n-gram", t.gain, t.worst, (long long)t.n_asked);
				assert_true(t.gain > 0.97);
				assert_true(chance > 0 || t.n_asked < STEPS / 2 / 10);
				assert_true(chance < 9 || (draft && n > 1) || t.gain > 1.2);
			}
}

static void test_times_change(void **state)
{
	(void)state;
	struct spec *s;
	struct spec_config config = { .method = SPEC_NGRAM, .max_draft = 8, .automatic = true };
	need(spec_create(&s, NULL, &config));
	struct spec_state own;
	int32_t tokens[32] = { 0 };
	int64_t guesses[2] = { 0 };
	need(spec_open(s, &own, 64));
	for (int64_t step = 0; step < 3000; step++) {
		struct spec_item item = { .state = &own, .tokens = tokens, .n_known = 8, .room = 8 };
		spec_propose(s, NULL, &item, 1);
		spec_learn_cost(s, 1 + item.n_draft, 1 + 0.5 * (double)(1 + item.n_draft), item.n_draft, 0);
		if (item.n_draft)
			spec_learn(s, &own, item.n_draft, step < 1000 ? 0 : item.n_draft);
		if (step >= 500 && step < 1000)
			guesses[0] += item.n_draft;
		if (step >= 2500)
			guesses[1] += item.n_draft;
	}
	assert_true(guesses[0] < 20);
	assert_true(guesses[1] > 7 * 500);
	spec_close(s, &own);
	spec_destroy(&s);
}

/* ---- Nobody can tell ---- */

enum { N_WAYS = 3 };

/* Without guesses, with n-grams, or with the model itself as its own draft. */
static struct vb_options way_options(int way, int n_guesses, const char *dir)
{
	static char draft[4200];
	struct vb_options o = small_options();
	o.max_batch = 8;
	o.speculate = way == 0 ? "none" : way == 1 ? "ngram" : "draft";
	snprintf(draft, sizeof draft, "%s", dir);
	o.draft_model = way == 2 ? draft : NULL;
	o.draft_tokens = n_guesses;
	return o;
}

/* Runs n requests together; where `expected` has answers, they must be the same. */
static void run_way(const char *dir, const struct vb_options *o, const struct vb_request *requests, size_t n,
		    struct answer *answers, const struct answer *expected)
{
	struct vb_engine *e = open_engine(dir, o);
	memset(answers, 0, n * sizeof *answers);
	for (size_t i = 0; i < n; i++)
		submit(e, &requests[i], &answers[i]);
	run_all(e);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(answers[i].n_ended, 1);
		need(answers[i].status);
		if (expected)
			need_same(&answers[i].result, &expected[i].result);
	}
	need(vb_engine_close(&e));
}

static struct vb_request story(const char *prompt, int64_t max_tokens, double temperature)
{
	struct vb_request r;
	vb_request_default(&r);
	r.prompt = prompt;
	r.prompt_len = strlen(prompt);
	r.max_tokens = max_tokens;
	r.sampling.temperature = temperature;
	r.sampling.seed = 11;
	return r;
}

/* Answers that end by a stop string, by min_tokens and then one, and by their length, inside runs of right guesses. */
static void test_ends_inside_runs(void **state)
{
	(void)state;
	enum { N = 8 };
	char dir[4200];
	snprintf(dir, sizeof dir, "%s", source_path("models/demo"));
	struct vb_options o = way_options(0, 0, dir);
	struct vb_request plain = story("Once upon a time", 40, 0);
	struct vb_engine *e = open_engine(dir, &o);
	struct vb_result r;
	need(vb_generate(e, &plain, NULL, NULL, &r));
	need(vb_engine_close(&e));
	assert_true(r.text_len > 60);
	/* Stops that begin inside one token and end inside another. */
	char early[8] = { 0 }, late[12] = { 0 };
	memcpy(early, r.text + 21, 5);
	memcpy(late, r.text + 47, 9);
	vb_result_free(&r);
	const char *stops[] = { "no such text", early, late };
	struct vb_request requests[N] = {
		plain, plain, plain, plain, story("Once upon a time", 17, 0), story("The fox", 33, 1.0),
		story("The fox and the fox and the fox and", 29, 0.7), story("Once", 1, 0),
	};
	requests[1].stop = requests[2].stop = requests[3].stop = stops;
	requests[1].n_stop = requests[2].n_stop = requests[3].n_stop = 3;
	requests[2].min_tokens = 25;
	requests[3].logprobs = 2;
	requests[6].sampling.repetition_penalty = 1.1;
	struct answer expected[N], answers[N];
	run_way(dir, &o, requests, N, expected, NULL);
	assert_int_equal(expected[1].result.finish, VB_FINISH_STOP);
	assert_true(expected[1].result.n_ids < 25);
	assert_true(expected[2].result.n_ids >= 25);
	for (int way = 1; way < N_WAYS; way++) {
		for (int k = 1; k <= 15; k++) {
			o = way_options(way, k, dir);
			run_way(dir, &o, requests, N, answers, expected);
			const struct vb_result *a = &answers[0].result;
			if (way == 2) {
				/* It guesses what it will choose itself: steps are as few as can be. */
				assert_int_equal(a->accepted_tokens, a->proposed_tokens);
				assert_true(a->proposed_tokens >= (int64_t)a->n_ids * k / (k + 1) - k);
				assert_true(answers[5].result.accepted_tokens > 0);
			}
			answers_free(answers, N);
		}
	}
	answers_free(expected, N);
}

static void copy_file(const char *from, const char *to)
{
	char block[4096];
	size_t n;
	FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
	assert_non_null(in);
	assert_non_null(out);
	while ((n = fread(block, 1, sizeof block, in)) > 0)
		assert_int_equal(fwrite(block, 1, n, out), n);
	assert_int_equal(ferror(in), 0);
	assert_int_equal(fclose(in), 0);
	assert_int_equal(fclose(out), 0);
}

/* A copy of a golden folder whose end token is `eos`; `path` is where. */
static void folder_with_eos(char *path, const char *folder, int32_t eos)
{
	static const char *const names[] = { "config.json", "model.safetensors" };
	char from[4400], to[4400];
	strcpy(path, "/tmp/verbatim-spec-XXXXXX");
	assert_non_null(mkdtemp(path));
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(from, sizeof from, "%s/%s", golden(folder), names[i]);
		snprintf(to, sizeof to, "%s/%s", path, names[i]);
		copy_file(from, to);
	}
	snprintf(to, sizeof to, "%s/generation_config.json", path);
	FILE *f = fopen(to, "w");
	assert_non_null(f);
	fprintf(f, "{\"eos_token_id\": %d}\n", eos);
	assert_int_equal(fclose(f), 0);
}

static void remove_folder(const char *path)
{
	static const char *const names[] = { "config.json", "model.safetensors", "generation_config.json" };
	char file[4400];
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(file, sizeof file, "%s/%s", path, names[i]);
		assert_int_equal(unlink(file), 0);
	}
	assert_int_equal(rmdir(path), 0);
}

/* The end token stands inside a run of right guesses, and before min_tokens it is not chosen. */
static void test_end_token_inside_runs(void **state)
{
	(void)state;
	enum { N = 5 };
	static const char folder[] = "llama-3-gqa3";
	int32_t ids[20];
	size_t n = golden_prompt(folder, ids, 20);
	struct vb_options o = way_options(0, 0, golden(folder));
	struct vb_request r = request_of(ids, n, 24);
	r.ignore_eos = true;
	struct vb_engine *e = open_engine(golden(folder), &o);
	struct vb_result whole;
	need(vb_generate(e, &r, NULL, NULL, &whole));
	need(vb_engine_close(&e));
	/* The first token behind the eighth that did not stand before. */
	size_t at = 8;
	for (size_t i = 0; i < at; i++)
		if (whole.ids[i] == whole.ids[at]) {
			at++;
			i = (size_t)-1;
			assert_true(at < whole.n_ids);
		}
	char dir[64];
	folder_with_eos(dir, folder, whole.ids[at]);
	r.ignore_eos = false;
	r.logprobs = 1;
	struct vb_request requests[N] = { r, r, r, r, r };
	requests[1].min_tokens = (int64_t)at + 3;
	requests[2].ignore_eos = true;
	requests[3].sampling.temperature = 1;
	requests[4].sampling.temperature = 0.5;
	requests[4].sampling.seed = 4;
	struct answer expected[N], answers[N];
	run_way(dir, &o, requests, N, expected, NULL);
	assert_int_equal(expected[0].result.finish, VB_FINISH_STOP);
	assert_int_equal(expected[0].result.n_ids, at);
	assert_true(expected[1].result.n_ids >= at + 3);
	assert_int_equal(expected[2].result.n_ids, 24);
	for (int way = 1; way < N_WAYS; way++) {
		for (int k = 1; k <= 15; k++) {
			o = way_options(way, k, dir);
			run_way(dir, &o, requests, N, answers, expected);
			assert_true(way != 2 || answers[2].result.accepted_tokens > 0);
			answers_free(answers, N);
		}
	}
	answers_free(expected, N);
	vb_result_free(&whole);
	remove_folder(dir);
}

/* ---- Samples ---- */

enum { TOP = 6 };

/* What top_k = TOP leaves behind `ids`, and its probabilities at the temperature, from the engine's log-probabilities. */
static void exact(struct vb_engine *e, const int32_t *ids, size_t n, double temperature, int32_t *id, double *p)
{
	struct vb_request r = request_of(ids, n, 1);
	r.logprobs = TOP;
	r.ignore_eos = true;
	struct vb_result result;
	need(vb_generate(e, &r, NULL, NULL, &result));
	double sum = 0;
	for (int i = 0; i < TOP; i++) {
		id[i] = result.tokens[0].top[i].id;
		p[i] = exp((double)result.tokens[0].top[i].logprob / temperature);
		sum += p[i];
	}
	for (int i = 0; i < TOP; i++)
		p[i] /= sum;
	vb_result_free(&result);
}

static int place(const int32_t *ids, int32_t id)
{
	for (int i = 0; i < TOP; i++)
		if (ids[i] == id)
			return i;
	fail_msg("token %d is none of the top %d", id, TOP);
	return -1;
}

/* Pairs of sampled tokens, some thousand seeds, beside greedy requests: counted against exact probabilities. The second
 * one of a pair is chosen where a guess stood. */
static void count_pairs(int way, const char *draft, int64_t (*count)[TOP], const int32_t *first, int32_t (*second)[TOP],
			int64_t n_pairs, const int32_t *ids, size_t n, const struct vb_result *greedy)
{
	static struct answer answers[512];
	struct vb_options o = way_options(way, 3, draft);
	o.max_batch = 32;
	o.prefill_chunk = 1024; /* also of the draft's: it is to guess at once */
	struct vb_engine *e = open_engine(golden("llama-one-token"), &o);
	int64_t seed = 0, n_proposed = 0, n_accepted = 0;
	while (seed < n_pairs) {
		memset(answers, 0, sizeof answers);
		for (int i = 0; i < 512; i++) {
			struct vb_request r = request_of(ids, n, 4);
			r.ignore_eos = true;
			if (i % 8) {
				r.sampling.temperature = 2;
				r.sampling.top_k = TOP;
				r.sampling.seed = (uint64_t)seed++;
			}
			submit(e, &r, &answers[i]);
		}
		run_all(e);
		for (int i = 0; i < 512; i++) {
			const struct vb_result *a = &answers[i].result;
			need(answers[i].status);
			assert_int_equal(a->n_ids, 4);
			if (i % 8 == 0) {
				need_same(a, greedy);
				continue;
			}
			int at = place(first, a->ids[0]);
			count[at][place(second[at], a->ids[1])]++;
			n_proposed += a->proposed_tokens;
			n_accepted += a->accepted_tokens;
		}
		answers_free(answers, 512);
	}
	print_message("way %d: %lld of %lld guesses were right\n", way, (long long)n_accepted, (long long)n_proposed);
	assert_true(way == 0 || (n_proposed > n_pairs / 4 && n_accepted > 0 && n_accepted < n_proposed));
	need(vb_engine_close(&e));
}

static void test_distribution(void **state)
{
	(void)state;
	int32_t ids[64], first[TOP], second[TOP][TOP];
	double p[TOP], q[TOP][TOP];
	char own[4200], other[4200];
	snprintf(own, sizeof own, "%s", golden("llama-one-token"));
	snprintf(other, sizeof other, "%s", golden("llama-2-mha"));
	struct vb_options o = way_options(0, 0, own);
	struct vb_engine *e = open_engine(own, &o);
	/* The prompt holds pairs that may be sampled behind it, found by trying: guesses from it may be right. */
	size_t n = 0;
	double right = 0;
	for (int32_t begin = 3; begin < 120 && right < 0.03; begin++) {
		n = 0;
		for (int round = 0; round < 3; round++) {
			size_t n_old = n;
			n = 0;
			for (int i = 0; i < TOP && n_old; i++) {
				ids[n++] = begin;
				ids[n++] = first[i];
				ids[n++] = second[i][0];
			}
			ids[n++] = begin;
			exact(e, ids, n, 2, first, p);
			for (int i = 0; i < TOP; i++) {
				ids[n] = first[i];
				exact(e, ids, n + 1, 2, second[i], q[i]);
			}
		}
		right = 0;
		for (size_t at = 0; at + 3 < n; at += 3)
			for (int i = 0; i < TOP * TOP; i++)
				if (ids[at + 1] == first[i / TOP] && ids[at + 2] == second[i / TOP][i % TOP])
					right += p[i / TOP] * q[i / TOP][i % TOP];
	}
	assert_true(right >= 0.03);
	struct vb_request r = request_of(ids, n, 4);
	r.ignore_eos = true;
	struct vb_result greedy;
	need(vb_generate(e, &r, NULL, NULL, &greedy));
	need(vb_engine_close(&e));
	int64_t plain[TOP][TOP] = { 0 };
	for (int way = 0; way < N_WAYS; way++) {
		int64_t count[TOP][TOP] = { 0 }, all = 0;
		count_pairs(way, other, count, first, second, 4000, ids, n, &greedy);
		double chi = 0, pooled_count = 0, pooled = 0;
		int cells = 0;
		for (int i = 0; i < TOP * TOP; i++)
			all += count[i / TOP][i % TOP];
		for (int i = 0; i < TOP * TOP; i++) {
			double want = (double)all * p[i / TOP] * q[i / TOP][i % TOP], have = (double)count[i / TOP][i % TOP];
			if (want < 8) {
				pooled += want;
				pooled_count += have;
				continue;
			}
			chi += (have - want) * (have - want) / want;
			cells++;
		}
		if (pooled > 5) {
			chi += (pooled_count - pooled) * (pooled_count - pooled) / pooled;
			cells++;
		}
		print_message("way %d: chi-square %.1f of %d cells\n", way, chi, cells);
		assert_true(cells >= 6);
		/* 4 standard deviations; the seeds are fixed. */
		assert_true(chi < cells - 1 + 4 * sqrt(2.0 * (cells - 1)));
		if (way == 0)
			memcpy(plain, count, sizeof plain);
		assert_memory_equal(plain, count, sizeof plain);
	}
	vb_result_free(&greedy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ngram_naive),
		cmocka_unit_test(test_ngram_little),
		cmocka_unit_test(test_never_slower),
		cmocka_unit_test(test_settles),
		cmocka_unit_test(test_not_deceived),
		cmocka_unit_test(test_hopeless),
		cmocka_unit_test(test_cheap),
		cmocka_unit_test(test_runs_ahead),
		cmocka_unit_test(test_times_change),
		cmocka_unit_test(test_ends_inside_runs),
		cmocka_unit_test(test_end_token_inside_runs),
		cmocka_unit_test(test_distribution),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
