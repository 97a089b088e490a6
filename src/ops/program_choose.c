/* program_choose.c - choosing tokens from rows of logits on the CPU: a row a worker. */
#include "program_internal.h"

#include "base/mem.h"
#include "base/status.h"

#include <math.h>

/* What a worker needs beside the logits. */
static uint64_t bytes_per_worker(const struct program *p)
{
	return (uint64_t)p->n_vocab * (sizeof(float) + sizeof(uint8_t) + sizeof(int32_t));
}

uint64_t chooser_bytes(const struct program *p)
{
	return bytes_per_worker(p) * (uint64_t)p->config.n_threads +
	       (uint64_t)p->config.max_rows * (sizeof(struct sample_choice) + sizeof(int32_t));
}

int chooser_create(struct program *p)
{
	struct chooser *c = &p->chooser;
	size_t n = (size_t)p->n_vocab * (size_t)p->config.n_threads;
	struct log_softmax_request r = { p->n_vocab };
	struct pick pick;
	TRY(log_softmax_pick(p->config.isa, &r, NULL, &pick));
	c->log_softmax = log_softmax_kernel(pick.row);
	c->sample = sample_kernel_for(p->config.isa);
	c->work = mem_calloc(n, sizeof *c->work);
	c->in_prompt = mem_calloc(n, sizeof *c->in_prompt);
	c->count = mem_calloc(n, sizeof *c->count);
	c->choices = mem_calloc((size_t)p->config.max_rows, sizeof *c->choices);
	c->rows = mem_calloc((size_t)p->config.max_rows, sizeof *c->rows);
	return c->work && c->in_prompt && c->count && c->choices && c->rows ? VB_OK : VB_ENOMEM;
}

void chooser_destroy(struct program *p)
{
	struct chooser *c = &p->chooser;
	mem_free(c->work);
	mem_free(c->in_prompt);
	mem_free(c->count);
	mem_free(c->choices);
	mem_free(c->rows);
}

/* Marks the tokens that penalties look at, and afterwards takes the marks back: cheaper than a pass over the vocabulary. */
static void mark(const struct sample_wish *w, uint8_t *in_prompt, int32_t *count)
{
	for (int64_t i = 0; i < w->n_prompt; i++)
		in_prompt[w->tokens[i]] = 1;
	for (int64_t i = w->n_prompt; i < w->n_known; i++)
		count[w->tokens[i]]++;
}

static void unmark(const struct sample_wish *w, uint8_t *in_prompt, int32_t *count)
{
	for (int64_t i = 0; i < w->n_prompt; i++)
		in_prompt[w->tokens[i]] = 0;
	for (int64_t i = w->n_prompt; i < w->n_known; i++)
		count[w->tokens[i]] = 0;
}

static int32_t choose(const struct program *p, const struct sample_wish *w, const float *logits, int64_t worker)
{
	const struct chooser *c = &p->chooser;
	int64_t own = worker * p->n_vocab;
	struct sample_args a = {
		.logits = logits, .n_vocab = p->n_vocab, .params = w->params, .position = w->position,
		.in_prompt = w->tokens ? c->in_prompt + own : NULL, .count = w->tokens ? c->count + own : NULL,
		.banned = w->banned, .n_banned = w->n_banned, .work = c->work + own,
	};
	if (w->tokens)
		mark(w, c->in_prompt + own, c->count + own);
	int32_t id = c->sample(&a);
	if (w->tokens)
		unmark(w, c->in_prompt + own, c->count + own);
	return id;
}

struct choosing {
	const struct program *p;
	const struct sample_wish *wishes;
	int64_t n;
	const float *logits;
};

static void choose_share(void *context, int index, int n_workers)
{
	const struct choosing *job = context;
	const struct program *p = job->p;
	int64_t begin, end;
	team_share(job->n, 1, index, n_workers, &begin, &end);
	for (int64_t i = begin; i < end; i++) {
		const struct sample_wish *w = &job->wishes[i];
		const float *logits = job->logits + i * p->n_vocab;
		struct sample_choice *choice = &p->chooser.choices[i];
		*choice = (struct sample_choice){ .id = -1, .logits = logits };
		if (w->params)
			choice->id = choose(p, w, logits, index);
		if (!w->want_logprob)
			continue;
		struct log_softmax_args a = { .x = logits, .max = &choice->max, .log_sum = &choice->log_sum, .t = 1,
					      .d = p->n_vocab, .x_stride = p->n_vocab };
		p->chooser.log_softmax(&a, 0, 1);
		if (choice->id >= 0)
			choice->logprob = (logits[choice->id] - choice->max) - choice->log_sum;
	}
}

void choose_rows(struct program *p, struct team *team, const struct sample_wish *wishes, int64_t n, const float *logits)
{
	struct choosing job = { p, wishes, n, logits };
	team_run(n > 1 ? team : NULL, choose_share, &job);
}
