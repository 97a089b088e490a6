#include "scheduler.h"

#include <string.h>

struct state {
	const struct sched_request *in;
	const struct sched_limits *limits;
	struct sched_decision *out;
	int64_t n;
	int64_t available[KV_MAX_GROUPS];
};

static int64_t min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Pages of group g that request i has in sight, or writes, while tokens from n_computed to `end` are computed. */
static int64_t pages_until(const struct state *s, int64_t i, int g, int64_t end)
{
	int64_t size = s->limits->page_size;
	return (end + size - 1) / size - kv_first_page(s->limits->window[g], size, s->in[i].n_computed);
}

/* Pages of group g that request i has by what is decided so far. */
static int64_t pages_now(const struct state *s, int64_t i, int g)
{
	const struct sched_decision *d = &s->out[i];
	int64_t wanted = d->n_tokens ? pages_until(s, i, g, s->in[i].n_computed + d->n_tokens + d->n_draft) : 0;
	return wanted > s->in[i].pages[g] ? wanted : s->in[i].pages[g];
}

/* The most pages of group g that request i has at once until its known tokens are computed. */
static int64_t pages_later(const struct state *s, int64_t i, int g)
{
	const struct sched_limits *l = s->limits;
	return min64(pages_until(s, i, g, s->in[i].n_known),
		     kv_most_pages(l->window[g], l->page_size, s->in[i].n_known, l->chunk));
}

/* Tokens from n_computed on for which request i has pages or can have them. */
static int64_t room(const struct state *s, int64_t i)
{
	int64_t size = s->limits->page_size, least = INT64_MAX;
	for (int g = 0; g < s->limits->n_groups; g++) {
		int64_t first = kv_first_page(s->limits->window[g], size, s->in[i].n_computed);
		least = min64(least, (first + pages_now(s, i, g) + s->available[g]) * size);
	}
	return least - s->in[i].n_computed;
}

static void give(struct state *s, int64_t i, int64_t n_tokens, int64_t n_draft)
{
	for (int g = 0; g < s->limits->n_groups; g++)
		s->available[g] += pages_now(s, i, g);
	s->out[i].n_tokens = n_tokens;
	s->out[i].n_draft = n_draft;
	for (int g = 0; g < s->limits->n_groups; g++)
		s->available[g] -= pages_now(s, i, g);
}

static int64_t n_todo(const struct state *s, int64_t i)
{
	return s->in[i].n_known - s->in[i].n_computed;
}

/* Tokens that request i computes if pages allow: its next one, or a chunk out of what is left of the budget. */
static int64_t share_of(const struct state *s, int64_t i, int64_t *chunk_left)
{
	if (!s->in[i].running)
		return 0;
	if (n_todo(s, i) == 1)
		return 1;
	int64_t n = min64(n_todo(s, i), *chunk_left);
	*chunk_left -= n;
	return n;
}

static int64_t youngest_running(const struct state *s)
{
	int64_t i = s->n - 1;
	while (i >= 0 && !s->in[i].running)
		i--;
	return i;
}

/* The first token of everyone that has a share: who cannot have it, and is not the youngest, has a victim. */
static int64_t give_first_tokens(struct state *s)
{
	int64_t chunk_left = s->limits->chunk, youngest = youngest_running(s);
	for (int64_t i = 0; i < s->n; i++) {
		if (share_of(s, i, &chunk_left) == 0)
			continue;
		if (room(s, i) >= 1)
			give(s, i, 1, 0);
		else if (i < youngest)
			return youngest;
	}
	return SCHED_NO_VICTIM;
}

/* Lengthens chunks as far as pages go; returns what is left of the budget. */
static int64_t give_chunks(struct state *s)
{
	int64_t chunk_left = s->limits->chunk;
	for (int64_t i = 0; i < s->n; i++) {
		int64_t n = share_of(s, i, &chunk_left);
		if (s->out[i].n_tokens)
			give(s, i, min64(n, room(s, i)), 0);
	}
	return chunk_left;
}

static void give_drafts(struct state *s)
{
	for (int64_t i = 0; i < s->n; i++)
		if (s->out[i].n_tokens && n_todo(s, i) == 1)
			give(s, i, 1, min64(s->in[i].n_draft, room(s, i) - 1));
}

static void admit(struct state *s, int64_t chunk_left)
{
	int64_t n_running = 0, spare[KV_MAX_GROUPS];
	memcpy(spare, s->available, sizeof spare);
	for (int64_t i = 0; i < s->n; i++) {
		n_running += s->in[i].running;
		for (int g = 0; s->in[i].running && g < s->limits->n_groups; g++) {
			int64_t more = pages_later(s, i, g) - pages_now(s, i, g);
			spare[g] -= more > 0 ? more : 0;
		}
	}
	for (int64_t i = 0; i < s->n; i++) {
		if (s->in[i].running)
			continue;
		if (n_running == s->limits->max_seqs || chunk_left == 0 || s->in[i].preempted)
			return;
		for (int g = 0; g < s->limits->n_groups; g++) {
			spare[g] -= pages_later(s, i, g) - s->in[i].pages[g];
			if (spare[g] < 0)
				return;
		}
		int64_t n = min64(n_todo(s, i), chunk_left);
		s->out[i].admit = true;
		give(s, i, n, 0);
		chunk_left -= n;
		n_running++;
	}
}

int64_t sched_decide(const struct sched_request *in, int64_t n, const struct sched_limits *limits,
		     struct sched_decision *out)
{
	struct state s = { .in = in, .limits = limits, .out = out, .n = n };
	memset(out, 0, (size_t)n * sizeof *out);
	memcpy(s.available, limits->available, sizeof s.available);
	int64_t victim = give_first_tokens(&s);
	if (victim != SCHED_NO_VICTIM) {
		memset(out, 0, (size_t)n * sizeof *out);
		return victim;
	}
	int64_t chunk_left = give_chunks(&s);
	give_drafts(&s);
	admit(&s, chunk_left);
	return SCHED_NO_VICTIM;
}
