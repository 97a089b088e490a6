/* Pages shared by many sequences, against a naive model: what stands in each slot of each page is written as an engine
 * would write it, and every sequence must find exactly its own tokens wherever one of its queries may look. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"
#include "kv/kv_internal.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SEQS = 7, MAX_TOKENS = 150, MAX_PAGES = MAX_SEQS * MAX_TOKENS, PAST = 24, GARBAGE = 1 };

/* A sequence, and what must stand in its slots: stamp[i] tells tokens[0..i] and the salt from all others. */
struct text {
	bool open;
	uint64_t salt;
	int32_t tokens[MAX_TOKENS];
	uint64_t stamp[MAX_TOKENS];
	int64_t n;       /* committed */
	int64_t n_pages; /* pages that have been reserved, from the beginning on */
};

struct world {
	uint64_t seed;
	uint32_t n_drawn;
	struct kv_config config;
	struct kv *kv;
	uint64_t *slots[KV_MAX_GROUPS]; /* [n_pages * page_size] */
	struct text seq[MAX_SEQS];      /* by handle */
	struct text past[PAST];         /* beginnings to begin with again */
	int64_t refused, partial_hits, moved, hits, deduplicated, forks, longest;
};

static int64_t draw(struct world *w, int64_t n)
{
	return (int64_t)(rng_uniform(w->seed, RNG_TEST, 0, w->n_drawn++) * (double)n);
}

static uint64_t mix(uint64_t before, int32_t token)
{
	uint64_t x = before ^ ((uint64_t)(uint32_t)token + 2) * 0x9E3779B97F4A7C15u;
	x = (x ^ x >> 31) * 0xD6E8FEB86659FD93u;
	return x ^ x >> 29;
}

static void set_token(struct text *t, int64_t i, int32_t token)
{
	t->tokens[i] = token;
	t->stamp[i] = mix(i ? t->stamp[i - 1] : mix(0x5eed, (int32_t)t->salt), token);
}

static int64_t pages_of(const struct world *w, int64_t n)
{
	return (n + w->config.page_size - 1) / w->config.page_size;
}

static void world_open(struct world *w, const struct kv_config *config, uint64_t seed)
{
	memset(w, 0, sizeof *w);
	w->seed = seed;
	w->config = *config;
	if (kv_create(&w->kv, config) != VB_OK)
		fail_msg("%s", vb_errmsg());
	for (int g = 0; g < config->n_groups; g++)
		w->slots[g] = calloc((size_t)(config->group[g].n_pages * config->page_size), sizeof **w->slots);
	for (int i = 0; i < PAST; i++)
		for (int64_t k = 0; k < MAX_TOKENS; k++)
			set_token(&w->past[i], k, (int32_t)draw(w, 2));
}

static void world_close(struct world *w)
{
	for (int g = 0; g < w->config.n_groups; g++)
		free(w->slots[g]);
	kv_destroy(&w->kv);
	assert_null(w->kv);
}

/* The first key that a query at position `at` sees; written anew here. */
static int64_t first_key(int64_t window, int64_t at)
{
	return window > 0 && at - window + 1 > 0 ? at - window + 1 : 0;
}

/* A query at position `at` finds its own tokens in all positions before it. */
static void check_sight(const struct world *w, int32_t q, int64_t at, int64_t end)
{
	for (int g = 0; g < w->config.n_groups; g++)
		for (int64_t i = first_key(w->config.group[g].window, at); i < end; i++)
			assert_int_equal(w->slots[g][kv_seq_slot(w->kv, q, g, i)], w->seq[q].stamp[i]);
}

static void check_world(const struct world *w)
{
	struct kv_stats stats;
	kv_get_stats(w->kv, &stats);
	for (int g = 0; g < w->config.n_groups; g++) {
		assert_int_equal(stats.used[g] + stats.cached[g] + stats.free[g], w->config.group[g].n_pages);
		assert_int_equal(stats.cached[g] + stats.free[g], kv_available(w->kv, g));
	}
	for (int32_t q = 0; q < MAX_SEQS; q++) {
		const struct text *t = &w->seq[q];
		if (!t->open)
			continue;
		check_sight(w, q, t->n, t->n);
		for (int g = 0; g < w->config.n_groups; g++) {
			int64_t unseen = first_key(w->config.group[g].window, t->n) / w->config.page_size;
			assert_int_equal(kv_seq_pages(w->kv, q, g), t->n_pages - unseen);
		}
	}
	if (!kv_check(w->kv))
		fail_msg("%s", vb_errmsg());
}

static void do_copies(struct world *w, const struct kv_copy *copies, int n)
{
	size_t bytes = (size_t)w->config.page_size * sizeof(uint64_t);
	for (int i = 0; i < n; i++) {
		uint64_t *slots = w->slots[copies[i].group];
		assert_int_not_equal(copies[i].from, copies[i].to);
		memcpy(slots + copies[i].to * w->config.page_size, slots + copies[i].from * w->config.page_size, bytes);
	}
}

/* All that can be seen from outside, for telling that nothing has changed. */
static uint64_t fingerprint(const struct world *w)
{
	struct kv_stats stats;
	uint64_t x = 0;
	kv_get_stats(w->kv, &stats);
	for (size_t i = 0; i < sizeof stats / sizeof(int32_t); i++)
		x = mix(x, ((const int32_t *)&stats)[i]);
	for (int32_t q = 0; q < MAX_SEQS; q++)
		for (int g = 0; g < w->config.n_groups; g++)
			for (int64_t i = 0; i < kv_table_width(w->kv); i++)
				x = mix(x, kv_seq_table(w->kv, q, g)[i]);
	return x;
}

static bool reserve(struct world *w, int32_t q, int64_t n)
{
	struct text *t = &w->seq[q];
	int64_t wanted = pages_of(w, n);
	bool fits = wanted <= kv_table_width(w->kv);
	for (int g = 0; g < w->config.n_groups; g++)
		fits = fits && wanted - t->n_pages <= kv_available(w->kv, g);
	uint64_t before = fingerprint(w);
	int rc = kv_seq_reserve(w->kv, q, n);
	assert_int_equal(rc, fits ? VB_OK : VB_ELIMIT);
	if (!fits) {
		assert_int_equal(fingerprint(w), before);
		w->refused++;
		return false;
	}
	for (int64_t i = t->n_pages * w->config.page_size; i < wanted * w->config.page_size; i++)
		for (int g = 0; g < w->config.n_groups; g++)
			w->slots[g][kv_seq_slot(w->kv, q, g, i)] = GARBAGE;
	if (wanted > t->n_pages)
		t->n_pages = wanted;
	return true;
}

/* Writes tokens up to n, looking at each step's keys as a kernel would, and guesses behind them. */
static void compute(struct world *w, int32_t q, int64_t n, int64_t n_draft)
{
	struct text *t = &w->seq[q];
	for (int64_t i = t->n; i < n + n_draft; i++)
		for (int g = 0; g < w->config.n_groups; g++)
			w->slots[g][kv_seq_slot(w->kv, q, g, i)] = i < n ? t->stamp[i] : GARBAGE;
	for (int64_t i = t->n; i < n; i++)
		check_sight(w, q, i, i + 1);
}

static void op_step(struct world *w, int32_t q)
{
	struct text *t = &w->seq[q];
	int64_t n = t->n + 1 + (draw(w, 2) ? 0 : draw(w, 40)), n_draft = draw(w, 3) ? 0 : draw(w, 6);
	if (n > w->config.max_tokens)
		n = w->config.max_tokens;
	if (!reserve(w, q, n + n_draft))
		return;
	compute(w, q, n, n_draft);
	struct kv_stats before, after;
	kv_get_stats(w->kv, &before);
	kv_seq_commit(w->kv, q, t->tokens, n);
	kv_get_stats(w->kv, &after);
	w->deduplicated += n / w->config.page_size > t->n / w->config.page_size && before.nodes == after.nodes;
	t->n = n;
	if (n > w->longest)
		w->longest = n;
}

static void op_open(struct world *w)
{
	struct text *past = &w->past[draw(w, PAST)];
	uint64_t salt = past->salt;
	int32_t q = kv_seq_open(w->kv, salt);
	int n_open = 0;
	for (int i = 0; i < MAX_SEQS; i++)
		n_open += w->seq[i].open;
	assert_int_equal(q == -1, n_open == w->config.max_seqs);
	if (q < 0)
		return;
	assert_false(w->seq[q].open);
	struct text *t = &w->seq[q];
	*t = (struct text){ .open = true, .salt = salt };
	int64_t common = draw(w, MAX_TOKENS + 1);
	for (int64_t i = 0; i < MAX_TOKENS; i++)
		set_token(t, i, i < common ? past->tokens[i] : (int32_t)draw(w, 3));
	if (draw(w, 4) == 0)
		return; /* as a sequence that asks for nothing */
	int64_t n = draw(w, 5) ? draw(w, w->config.max_tokens) : w->config.max_tokens, held[KV_MAX_GROUPS];
	int64_t peeked = kv_peek(w->kv, salt, t->tokens, n, held), available[KV_MAX_GROUPS];
	for (int g = 0; g < w->config.n_groups; g++)
		available[g] = kv_available(w->kv, g);
	struct kv_copy copies[KV_MAX_GROUPS];
	int n_copies;
	t->n = kv_seq_match(w->kv, q, t->tokens, n, copies, &n_copies);
	t->n_pages = pages_of(w, t->n);
	do_copies(w, copies, n_copies);
	assert_int_equal(t->n, peeked);
	assert_in_range(t->n, 0, n);
	for (int g = 0; g < w->config.n_groups; g++)
		assert_int_equal(available[g] - kv_available(w->kv, g), kv_seq_pages(w->kv, q, g) - held[g]);
	bool part = t->n % w->config.page_size != 0;
	assert_true(part ? n_copies <= w->config.n_groups : n_copies == 0);
	w->hits += t->n > 0;
	w->partial_hits += part;
	w->moved += part && n_copies < w->config.n_groups;
}

static void op_close(struct world *w, int32_t q)
{
	struct text *past = &w->past[draw(w, PAST)];
	*past = w->seq[q];
	past->salt = draw(w, 8) ? past->salt : (uint64_t)draw(w, 3);
	for (int64_t i = 0; i < MAX_TOKENS; i++)
		set_token(past, i, past->tokens[i]);
	kv_seq_close(w->kv, q);
	w->seq[q].open = false;
}

static void op_fork(struct world *w, int32_t q)
{
	struct kv_copy copies[KV_MAX_GROUPS];
	int32_t to = -1;
	int n_copies, n_open = 0;
	bool part = w->seq[q].n % w->config.page_size != 0, fits = true;
	for (int i = 0; i < MAX_SEQS; i++)
		n_open += w->seq[i].open;
	for (int g = 0; g < w->config.n_groups; g++)
		fits = fits && (!part || kv_available(w->kv, g) > 0);
	uint64_t before = fingerprint(w);
	int rc = kv_seq_fork(w->kv, q, &to, copies, &n_copies);
	if (n_open == w->config.max_seqs || !fits) {
		assert_int_equal(rc, VB_ELIMIT);
		assert_int_equal(fingerprint(w), before);
		return;
	}
	assert_int_equal(rc, VB_OK);
	assert_int_equal(n_copies, part ? w->config.n_groups : 0);
	do_copies(w, copies, n_copies);
	assert_false(w->seq[to].open);
	w->seq[to] = w->seq[q];
	w->seq[to].n_pages = pages_of(w, w->seq[q].n);
	for (int64_t i = w->seq[to].n; i < MAX_TOKENS; i++)
		set_token(&w->seq[to], i, (int32_t)draw(w, 3));
	w->forks++;
}

static void op_truncate(struct world *w, int32_t q)
{
	struct text *t = &w->seq[q];
	int64_t n = t->n + draw(w, 2 * w->config.page_size);
	kv_seq_truncate(w->kv, q, n);
	if (pages_of(w, n) < t->n_pages)
		t->n_pages = pages_of(w, n);
}

static void op_drop(struct world *w)
{
	struct kv_stats stats;
	kv_drop_cache(w->kv);
	kv_get_stats(w->kv, &stats);
	for (int g = 0; g < w->config.n_groups; g++)
		assert_int_equal(stats.cached[g], 0);
}

static void operate(struct world *w)
{
	int32_t q = (int32_t)draw(w, MAX_SEQS);
	int64_t what = draw(w, 100);
	if (!w->seq[q].open || what < 8)
		op_open(w);
	else if (what < 66)
		op_step(w, q);
	else if (what < 72)
		op_truncate(w, q);
	else if (what < 80)
		op_fork(w, q);
	else if (what < 82)
		reserve(w, q, w->seq[q].n + draw(w, 60));
	else if (what < 98)
		op_close(w, q);
	else if (what == 98 && draw(w, 3) == 0)
		op_drop(w);
}

static struct kv_config make_config(int64_t page_size, const int64_t *windows, int n_groups, double share)
{
	struct kv_config c = { .page_size = page_size, .n_groups = n_groups, .max_seqs = MAX_SEQS,
			       .max_tokens = MAX_TOKENS - 10, .prefix_cache = true };
	int64_t width = (c.max_tokens + page_size - 1) / page_size;
	for (int g = 0; g < n_groups; g++) {
		int64_t need = c.max_seqs * kv_most_pages(windows[g], page_size, c.max_tokens, 40);
		c.group[g].window = windows[g];
		c.group[g].n_pages = (int64_t)(share * (double)need);
		if (share >= 1) /* room for all that is ever computed */
			c.group[g].n_pages = MAX_PAGES * 4 / page_size + width;
		if (c.group[g].n_pages < 2)
			c.group[g].n_pages = 2;
	}
	return c;
}

static const struct {
	const char *name;
	int n;
	int64_t window[3];
} mixtures[] = {
	{ "global", 1, { 0 } },
	{ "window", 1, { 9 } },
	{ "window 1", 1, { 1 } },
	{ "global + small window", 2, { 0, 5 } },
	{ "two windows", 2, { 6, 33 } },
	{ "window + global + window", 3, { 20, 0, 3 } },
	{ "two global", 2, { 0, 0 } },
};

/* Seeds from here on were not seen before. */
#define FRESH_SEEDS ((uint64_t)1 << 40)

static void run_random(const struct kv_config *config, uint64_t seed, int n_steps, const char *name, int64_t *moved,
		       int64_t *refused)
{
	struct world w;
	world_open(&w, config, seed);
	print_message("  %s, page %lld, pool %lld, %s: seed %llu\n", name, (long long)config->page_size,
		      (long long)config->group[0].n_pages, config->prefix_cache ? "cache" : "no cache",
		      (unsigned long long)seed);
	for (int i = 0; i < n_steps; i++) {
		uint64_t allocations = mem_count();
		operate(&w);
		assert_int_equal(mem_count(), allocations);
		check_world(&w);
	}
	for (int32_t q = 0; q < MAX_SEQS; q++)
		if (w.seq[q].open)
			op_close(&w, q);
	check_world(&w);
	op_drop(&w);
	for (int g = 0; g < config->n_groups; g++)
		assert_int_equal(kv_available(w.kv, g), config->group[g].n_pages);
	/* The runs of a seed that is known must have met what they are for; a fresh one may miss some of it by chance. */
	if (seed < FRESH_SEEDS) {
		assert_true(w.forks > 0 && w.longest > 50);
		assert_true(!config->prefix_cache || (w.hits > 0 && w.deduplicated > 0));
		assert_true(!config->prefix_cache || config->page_size == 1 || w.partial_hits > 0);
	}
	*moved += w.moved;
	*refused += w.refused;
	world_close(&w);
}

static void random_operations(uint64_t seed)
{
	int64_t moved = 0, refused = 0;
	static const int64_t page_sizes[] = { 1, 4, 16 };
	static const double shares[] = { 0.3, 1 };
	for (size_t m = 0; m < sizeof mixtures / sizeof *mixtures; m++) {
		for (int i = 0; i < 6; i++) {
			struct kv_config c = make_config(page_sizes[i % 3], mixtures[m].window, mixtures[m].n,
							 shares[i / 3]);
			run_random(&c, seed + m * 8 + (uint64_t)i, 700, mixtures[m].name, &moved, &refused);
			c.prefix_cache = false;
			if (i == 1)
				run_random(&c, seed + m * 8 + 7, 700, mixtures[m].name, &moved, &refused);
		}
	}
	print_message("  refused %lld, moved %lld\n", (long long)refused, (long long)moved);
	assert_true(refused > 0);
}

static void test_random_fixed(void **state)
{
	(void)state;
	random_operations(20261122);
}

static void test_random_fresh(void **state)
{
	(void)state;
	random_operations(FRESH_SEEDS + (uint64_t)(clock_s() * 1e9));
}

/* ---- What is found, where nothing is ever given up: the longest common beginning, to the token ---- */

static int64_t common_tokens(const struct text *a, const struct text *b, int64_t n)
{
	int64_t k = 0;
	while (a->salt == b->salt && k < n && a->tokens[k] == b->tokens[k])
		k++;
	return k;
}

static void test_longest_beginning(void **state)
{
	(void)state;
	enum { TEXTS = 50 };
	static struct text texts[TEXTS];
	for (size_t m = 0; m < sizeof mixtures / sizeof *mixtures; m++) {
		for (int64_t page_size = 1; page_size <= 16; page_size *= 4) {
			struct kv_config c = make_config(page_size, mixtures[m].window, mixtures[m].n, 1);
			for (int g = 0; g < c.n_groups; g++)
				c.group[g].n_pages = TEXTS * MAX_TOKENS;
			struct world w;
			world_open(&w, &c, 77 + m);
			for (int i = 0; i < TEXTS; i++) {
				struct text *t = &texts[i];
				const struct text *like = &texts[draw(&w, i ? i : 1)];
				int64_t common = draw(&w, MAX_TOKENS), expected = 0, n = draw(&w, c.max_tokens);
				*t = (struct text){ .salt = (uint64_t)draw(&w, 2) };
				for (int64_t k = 0; k < MAX_TOKENS; k++)
					set_token(t, k, k < common && i ? like->tokens[k] : (int32_t)draw(&w, 2));
				for (int k = 0; k < i; k++) {
					int64_t full = texts[k].n / page_size * page_size;
					int64_t length = common_tokens(t, &texts[k], full < n ? full : n);
					expected = length > expected ? length : expected;
				}
				int64_t held[KV_MAX_GROUPS];
				assert_int_equal(kv_peek(w.kv, t->salt, t->tokens, n, held), expected);
				int32_t q = kv_seq_open(w.kv, t->salt);
				struct kv_copy copies[KV_MAX_GROUPS];
				int n_copies;
				assert_int_equal(kv_seq_match(w.kv, q, t->tokens, n, copies, &n_copies), expected);
				t->n = draw(&w, 3) ? c.max_tokens - draw(&w, 20) : n;
				assert_int_equal(kv_seq_reserve(w.kv, q, t->n), VB_OK);
				kv_seq_commit(w.kv, q, t->tokens, t->n);
				if (!kv_check(w.kv))
					fail_msg("%s", vb_errmsg());
				kv_seq_close(w.kv, q);
			}
			world_close(&w);
		}
	}
}

/* ---- By hand ---- */

/* A pool of n_pages of 4 tokens a group. */
static struct kv *open_kv(int64_t n_pages, int n_groups, int64_t window0, int64_t window1)
{
	struct kv_config c = { .page_size = 4, .n_groups = n_groups, .max_seqs = 4, .max_tokens = 64,
			       .prefix_cache = true,
			       .group = { { window0, n_pages }, { window1, n_pages } } };
	struct kv *kv;
	assert_int_equal(kv_create(&kv, &c), VB_OK);
	return kv;
}

static void fill(int32_t *tokens, int n, int32_t first)
{
	for (int i = 0; i < n; i++)
		tokens[i] = first + i;
}

/* Opens, begins with what is known, computes all n tokens. */
static int32_t serve(struct kv *kv, uint64_t salt, const int32_t *tokens, int64_t n, int64_t expected_hit)
{
	struct kv_copy copies[KV_MAX_GROUPS];
	int n_copies;
	int32_t q = kv_seq_open(kv, salt);
	assert_int_not_equal(q, -1);
	assert_int_equal(kv_seq_match(kv, q, tokens, n, copies, &n_copies), expected_hit);
	assert_int_equal(kv_seq_reserve(kv, q, n), VB_OK);
	kv_seq_commit(kv, q, tokens, n);
	if (!kv_check(kv))
		fail_msg("%s", vb_errmsg());
	return q;
}

static int64_t known(const struct kv *kv, uint64_t salt, const int32_t *tokens, int64_t n)
{
	int64_t held[KV_MAX_GROUPS];
	return kv_peek(kv, salt, tokens, n, held);
}

static void test_salts_do_not_share(void **state)
{
	(void)state;
	struct kv *kv = open_kv(16, 1, 0, 0);
	int32_t tokens[64];
	fill(tokens, 64, 100);
	kv_seq_close(kv, serve(kv, 1, tokens, 16, 0));
	assert_int_equal(known(kv, 2, tokens, 16), 0);
	assert_int_equal(known(kv, 1, tokens, 16), 16);
	assert_int_equal(known(kv, 1, tokens, 15), 15);
	kv_destroy(&kv);
}

static void test_least_recently_used_goes_first(void **state)
{
	(void)state;
	struct kv *kv = open_kv(12, 1, 0, 0);
	int32_t a[64], b[64], c[64];
	fill(a, 64, 100);
	fill(b, 64, 200);
	fill(c, 64, 300);
	kv_seq_close(kv, serve(kv, 0, a, 16, 0));
	kv_seq_close(kv, serve(kv, 0, b, 16, 0));
	kv_seq_close(kv, serve(kv, 0, a, 16, 16)); /* now b is the older one */
	int32_t q = serve(kv, 0, c, 24, 0);        /* 4 pages are free; two more */
	assert_int_equal(known(kv, 0, a, 16), 16);
	assert_int_equal(known(kv, 0, b, 16), 8); /* its end went first */
	int32_t r = serve(kv, 0, a, 8, 8);
	kv_seq_close(kv, q);
	q = serve(kv, 0, b + 20, 40, 0); /* all but the two pages that are in use */
	assert_int_equal(known(kv, 0, a, 16), 8);
	assert_int_equal(known(kv, 0, b, 16), 0);
	assert_int_equal(known(kv, 0, c, 16), 0);
	assert_int_equal(kv_available(kv, 0), 0);
	kv_seq_close(kv, q);
	kv_seq_close(kv, r);
	kv_destroy(&kv);
}

static void test_pages_in_sight_must_be_known(void **state)
{
	(void)state;
	/* Window 6, pages of 4: a query at 16 sees keys 11.., pages 2 and 3. */
	struct kv *kv = open_kv(6, 1, 6, 0);
	int32_t a[64], b[64];
	fill(a, 64, 100);
	fill(b, 64, 200);
	int32_t q = serve(kv, 0, a, 16, 0);
	assert_int_equal(kv_seq_pages(kv, q, 0), 2);
	assert_int_equal(kv_seq_table(kv, q, 0)[1], -1);
	kv_seq_close(kv, q);
	assert_int_equal(known(kv, 0, a, 16), 16);
	assert_int_equal(known(kv, 0, a, 12), 12);
	/* Three pages: two are free, one is taken that fell idle first, behind the window. */
	q = serve(kv, 0, b, 12, 0);
	assert_int_equal(known(kv, 0, a, 16), 16);
	struct kv_stats stats;
	kv_get_stats(kv, &stats);
	assert_int_equal(stats.nodes, 7); /* nodes outlive their pages */
	/* Pages 0 and 1 are gone: 12 sees page 1, but 16 does not. */
	assert_int_equal(kv_seq_reserve(kv, q, 16), VB_OK);
	assert_int_equal(known(kv, 0, a, 12), 0);
	assert_int_equal(known(kv, 0, a, 16), 16);
	kv_seq_close(kv, q);
	kv_drop_cache(kv);
	kv_get_stats(kv, &stats);
	assert_int_equal(stats.nodes, 0);
	kv_destroy(&kv);
}

/* Where a window is smaller than a page, the inside of a page may be within reach and its beginning not. */
static void test_inside_of_page_in_reach(void **state)
{
	(void)state;
	struct kv *kv = open_kv(3, 1, 2, 0);
	int32_t a[64], b[64];
	fill(a, 64, 100);
	fill(b, 64, 200);
	kv_seq_close(kv, serve(kv, 0, a, 12, 0)); /* fell idle: pages 1 and 0, then 2 */
	int32_t q = serve(kv, 0, b, 8, 0);        /* two pages: 1 and 0 are gone; one is idle behind b's window */
	assert_int_equal(known(kv, 0, a, 12), 12);
	assert_int_equal(known(kv, 0, a, 11), 11);
	assert_int_equal(known(kv, 0, a, 9), 9);
	assert_int_equal(known(kv, 0, a, 8), 0); /* would see key 7 */
	kv_seq_close(kv, q);
	kv_destroy(&kv);
}

/* The page to copy is the only one left: it changes hands instead. */
static void test_last_page_changes_hands(void **state)
{
	(void)state;
	struct kv *kv = open_kv(5, 2, 0, 13);
	int32_t a[64], b[64];
	fill(a, 64, 100);
	fill(b, 64, 200);
	kv_seq_close(kv, serve(kv, 0, a, 4, 0));
	int32_t page[2], q = serve(kv, 0, b, 16, 0);
	assert_int_equal(kv_seq_reserve(kv, q, 16), VB_OK);
	/* Group 0 has a's page alone; group 1 has b's first page too, behind the window. */
	assert_int_equal(kv_available(kv, 0), 1);
	assert_int_equal(kv_available(kv, 1), 2);
	a[3] = 7;
	struct kv_copy copies[KV_MAX_GROUPS];
	int n_copies;
	int32_t r = kv_seq_open(kv, 0);
	assert_int_equal(kv_seq_match(kv, r, a, 4, copies, &n_copies), 3);
	for (int g = 0; g < 2; g++)
		page[g] = kv_seq_table(kv, r, g)[0];
	assert_int_equal(n_copies, 1);
	assert_int_equal(copies[0].group, 1);
	assert_int_equal(copies[0].to, page[1]);
	assert_int_equal(kv_available(kv, 0), 0);
	a[3] = 103;
	assert_int_equal(known(kv, 0, a, 4), 0); /* the node is gone */
	if (!kv_check(kv))
		fail_msg("%s", vb_errmsg());
	/* Nothing at all is left for another: no page, no part of one. */
	b[3] = 7;
	int32_t s = kv_seq_open(kv, 0);
	assert_int_equal(kv_seq_match(kv, s, b, 16, copies, &n_copies), 0);
	assert_int_equal(kv_seq_reserve(kv, s, 1), VB_ELIMIT);
	assert_non_null(strstr(vb_errmsg(), "--kv-memory"));
	kv_seq_close(kv, q);
	kv_seq_close(kv, r);
	kv_seq_close(kv, s);
	kv_destroy(&kv);
}

/* Pages that others hold anyway take none of those that are left: the last one serves for the part of a page. */
static void test_part_behind_pages_in_use(void **state)
{
	(void)state;
	struct kv *kv = open_kv(4, 1, 0, 0);
	int32_t a[64];
	fill(a, 64, 100);
	int32_t q = serve(kv, 0, a, 12, 0);
	assert_int_equal(kv_available(kv, 0), 1);
	a[10] = 7;
	int32_t r = serve(kv, 0, a, 12, 10);
	assert_int_equal(kv_available(kv, 0), 0);
	kv_seq_close(kv, q);
	kv_seq_close(kv, r);
	kv_destroy(&kv);
}

static void test_drop_cache_behind_windows(void **state)
{
	(void)state;
	struct kv *kv = open_kv(16, 2, 0, 5);
	int32_t a[64];
	struct kv_stats stats;
	fill(a, 64, 100);
	int32_t q = serve(kv, 0, a, 32, 0);
	kv_get_stats(kv, &stats);
	assert_int_equal(stats.used[0], 8);
	assert_int_equal(stats.used[1], 1);
	assert_int_equal(stats.cached[1], 7);
	kv_drop_cache(kv);
	kv_get_stats(kv, &stats);
	assert_int_equal(stats.cached[1], 0);
	assert_int_equal(stats.nodes, 8);
	kv_seq_close(kv, q);
	kv_destroy(&kv);
}

/* Equal hashes are no equality: what is found has exactly the tokens, the parent and the salt asked for. */
static void test_equal_hashes(void **state)
{
	(void)state;
	enum { SAME = 42 };
	struct kv *kv = open_kv(16, 1, 8, 0);
	int32_t a[4] = { 1, 2, 3, 4 }, b[4] = { 1, 2, 3, 5 };
	int32_t root = kv_tree_add(kv, SAME, -1, 0, a);
	assert_int_equal(kv_tree_find(kv, SAME, -1, 0, b), -1);
	assert_int_equal(kv_tree_find(kv, SAME, -1, 1, a), -1);
	assert_int_equal(kv_tree_find(kv, SAME, root, 0, a), -1);
	int32_t other = kv_tree_add(kv, SAME, -1, 0, b);
	int32_t salted = kv_tree_add(kv, SAME, -1, 1, a);
	int32_t child = kv_tree_add(kv, SAME, root, 0, a);
	assert_int_equal(kv_tree_find(kv, SAME, -1, 0, a), root);
	assert_int_equal(kv_tree_find(kv, SAME, -1, 0, b), other);
	assert_int_equal(kv_tree_find(kv, SAME, -1, 1, a), salted);
	assert_int_equal(kv_tree_find(kv, SAME, root, 0, a), child);
	assert_int_equal(kv_tree_find(kv, SAME + 16, -1, 0, a), -1);
	/* Taken away from the middle of the bucket: the others are found as before. */
	kv_tree_release(kv, other);
	kv_tree_remove(kv, other);
	assert_int_equal(kv_tree_find(kv, SAME, -1, 0, b), -1);
	assert_int_equal(kv_tree_find(kv, SAME, -1, 0, a), root);
	assert_int_equal(kv_tree_find(kv, SAME, root, 0, a), child);
	kv_destroy(&kv);
}

/* The most pages that a growing sequence ever holds is what was said, for every way in which borders may fall. */
static void test_most_pages(void **state)
{
	(void)state;
	for (int64_t page_size = 1; page_size <= 8; page_size *= 2) {
		for (int64_t window = 0; window <= 20; window++) {
			for (int64_t step = 1; step <= 9; step++) {
				int64_t most = 0, n = 300;
				for (int64_t at = 0; at + step <= n; at++) {
					int64_t last = (at + step - 1) / page_size;
					int64_t pages = last - first_key(window, at) / page_size + 1;
					most = pages > most ? pages : most;
				}
				int64_t said = kv_most_pages(window, page_size, n, step);
				if (window == 0)
					assert_int_equal(said, (n + page_size - 1) / page_size);
				else
					assert_int_equal(said, most);
				assert_int_equal(kv_most_pages(window, page_size, 1, step), 1);
			}
		}
	}
}

static void test_refused(void **state)
{
	(void)state;
	struct kv_config c = { .page_size = 16, .n_groups = 1, .max_seqs = 2, .max_tokens = 100, .group = { { 0, 0 } } };
	struct kv *kv = NULL;
	assert_int_equal(kv_create(&kv, &c), VB_EINVAL);
	assert_non_null(strstr(vb_errmsg(), "--kv-memory"));
	c.group[0].n_pages = 9;
	c.max_tokens = (int64_t)1 << 50;
	assert_int_equal(kv_create(&kv, &c), VB_EINVAL);
	assert_non_null(strstr(vb_errmsg(), "--context"));
	c.max_tokens = 100;
	c.prefix_cache = true;
	mem_fail_at(1, false);
	assert_int_equal(kv_create(&kv, &c), VB_ENOMEM);
	assert_null(kv);
	assert_int_equal(kv_create(&kv, &c), VB_OK);
	int32_t q = kv_seq_open(kv, 0), r = kv_seq_open(kv, 0);
	assert_int_equal(kv_seq_open(kv, 0), -1);
	assert_int_equal(kv_table_width(kv), 7);
	assert_int_equal(kv_seq_reserve(kv, q, 113), VB_ELIMIT);
	assert_non_null(strstr(vb_errmsg(), "--context"));
	struct kv_copy copies[KV_MAX_GROUPS];
	int n_copies;
	int32_t s = -1;
	assert_int_equal(kv_seq_fork(kv, q, &s, copies, &n_copies), VB_ELIMIT);
	assert_int_equal(s, -1);
	kv_seq_close(kv, q);
	kv_seq_close(kv, r);
	kv_destroy(&kv);
	kv_destroy(&kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_most_pages),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_equal_hashes),
		cmocka_unit_test(test_salts_do_not_share),
		cmocka_unit_test(test_least_recently_used_goes_first),
		cmocka_unit_test(test_pages_in_sight_must_be_known),
		cmocka_unit_test(test_inside_of_page_in_reach),
		cmocka_unit_test(test_last_page_changes_hands),
		cmocka_unit_test(test_part_behind_pages_in_use),
		cmocka_unit_test(test_drop_cache_behind_windows),
		cmocka_unit_test(test_longest_beginning),
		cmocka_unit_test(test_random_fixed),
		cmocka_unit_test(test_random_fresh),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
