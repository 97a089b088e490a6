#include "kernels/ops/sample.h"

#include "base/rng.h"

#include <math.h>
#include <stdbool.h>

/* Copies the row to a->work with penalties and bans; false where it has a NaN or +inf. */
static bool penalise(const struct sample_args *a)
{
	const struct sample_params *p = a->params;
	int bad = 0;
	for (int64_t i = 0; i < a->n_vocab; i++) {
		a->work[i] = a->logits[i];
		bad |= !(a->logits[i] < INFINITY);
	}
	if (a->count || a->in_prompt) {
		float repetition = (float)p->repetition_penalty;
		for (int64_t i = 0; i < a->n_vocab; i++) {
			int32_t count = a->count ? a->count[i] : 0;
			if (!count && !(a->in_prompt && a->in_prompt[i]))
				continue;
			float l = a->work[i];
			l = l > 0 ? l / repetition : l * repetition;
			if (count)
				l -= (float)(p->frequency_penalty * count + p->presence_penalty);
			a->work[i] = l;
		}
	}
	for (int64_t i = 0; i < a->n_banned; i++)
		a->work[a->banned[i]] = -INFINITY;
	return !bad;
}

static int32_t argmax(const float *x, int64_t n)
{
	int32_t best = -1;
	for (int64_t i = 0; i < n; i++)
		if (x[i] > (best < 0 ? -INFINITY : x[best]))
			best = (int32_t)i;
	return best;
}

static int64_t collect(const struct sample_args *a, float at_least)
{
	int64_t n = 0;
	for (int64_t i = 0; i < a->n_vocab; i++)
		if (a->work[i] >= at_least && a->work[i] > -INFINITY)
			a->candidate[n++] = (struct sample_candidate){ a->work[i], (int32_t)i };
	return n;
}

/* A heap of the k largest, the smallest of them on top: the k-th largest logit. The candidates serve as its room. */
static float kth_largest(const struct sample_args *a, int64_t k)
{
	struct sample_candidate *heap = a->candidate;
	int64_t n = 0;
	for (int64_t i = 0; i < a->n_vocab; i++) {
		float x = a->work[i];
		int64_t at;
		if (n < k) {
			at = n++;
			while (at > 0 && heap[(at - 1) / 2].logit > x) {
				heap[at].logit = heap[(at - 1) / 2].logit;
				at = (at - 1) / 2;
			}
			heap[at].logit = x;
			continue;
		}
		if (!(x > heap[0].logit))
			continue;
		at = 0;
		for (;;) {
			int64_t child = 2 * at + 1;
			if (child >= n)
				break;
			if (child + 1 < n && heap[child + 1].logit < heap[child].logit)
				child++;
			if (!(heap[child].logit < x))
				break;
			heap[at].logit = heap[child].logit;
			at = child;
		}
		heap[at].logit = x;
	}
	return heap[0].logit;
}

/* Moves the most probable of n candidates, until their mass is `wanted` or the next is below min_logit, to the end of
 * a->candidate; returns how many. A heap gives them up in order, so that no more is sorted than is kept, and without
 * qsort, which allocates. */
static int64_t nucleus(const struct sample_args *a, int64_t n, float max, double wanted, float min_logit)
{
	struct sample_candidate *c = a->candidate;
	int64_t left = n;
	double sum = 0;
	for (int64_t i = n / 2; i-- > 0;)
		sample_sink(c, n, i);
	while (left > 0 && c[0].logit >= min_logit) {
		struct sample_candidate top = c[0];
		c[0] = c[--left];
		sample_sink(c, left, 0);
		c[left] = top;
		sum += exp((double)top.logit - max);
		if (sum >= wanted)
			break;
	}
	return n - left;
}

/* The kept tokens, in a->candidate from *first on; returns how many. */
static int64_t filter(const struct sample_args *a, float max, int64_t *first)
{
	const struct sample_params *p = a->params;
	float floor_logit = -INFINITY;
	if (p->top_k > 0 && p->top_k < a->n_vocab)
		floor_logit = kth_largest(a, p->top_k);
	/* p_i >= min_p * p_max is a bound on logits, whatever was dropped before. */
	float min_logit = p->min_p > 0 ? (float)((double)max + log(p->min_p)) : -INFINITY;
	*first = 0;
	if (p->top_p >= 1)
		return collect(a, fmaxf(floor_logit, min_logit));
	double total = 0;
	for (int64_t i = 0; i < a->n_vocab; i++)
		if (a->work[i] >= floor_logit && a->work[i] > -INFINITY)
			total += exp((double)a->work[i] - max);
	int64_t n = collect(a, floor_logit);
	int64_t kept = nucleus(a, n, max, p->top_p * total, min_logit);
	*first = n - kept;
	return kept;
}

struct race {
	double best;
	int32_t id;
};

/* -ln(-ln u) <= -ln(1 - u) <= ln 2 * (leading ones of the word + 1): most ids lose without a logarithm. */
static void compete(struct race *race, float logit, int32_t id, uint32_t word)
{
	int leading_ones = word == UINT32_MAX ? 32 : __builtin_clz(~word);
	double bound = (leading_ones + 1) * 0.6931471805599454;
	if (race->id >= 0 && (double)logit + bound < race->best)
		return;
	double u = ((double)word + 0.5) * 0x1p-32;
	double score = (double)logit - log(-log(u));
	if (race->id < 0 || score > race->best || (score == race->best && id < race->id))
		*race = (struct race){ score, id };
}

int32_t sample_ref(const struct sample_args *a)
{
	const struct sample_params *p = a->params;
	if (!penalise(a))
		return -1;
	int32_t top = argmax(a->work, a->n_vocab);
	if (top < 0 || !isfinite(a->work[top]))
		return -1;
	if (p->temperature <= 0)
		return top;
	float temperature = (float)p->temperature;
	for (int64_t i = 0; i < a->n_vocab; i++)
		a->work[i] /= temperature;
	float max = a->work[top];
	if (!isfinite(max))
		return top; /* a temperature so small that logits overflow is greedy */
	struct race race = { 0, -1 };
	bool filtered = (p->top_k > 0 && p->top_k < a->n_vocab) || p->top_p < 1 || p->min_p > 0;
	if (filtered) {
		int64_t first, n = filter(a, max, &first);
		for (int64_t i = first; i < first + n; i++) {
			uint32_t word = rng_u32(p->seed, RNG_SAMPLE, (uint64_t)a->position,
						(uint32_t)a->candidate[i].id);
			compete(&race, a->candidate[i].logit, a->candidate[i].id, word);
		}
		return race.id;
	}
	for (int64_t i = 0; i < a->n_vocab; i += 4) {
		uint32_t word[4];
		rng_block(p->seed, RNG_SAMPLE, (uint64_t)a->position, (uint32_t)(i / 4), word);
		for (int64_t j = i; j < i + 4 && j < a->n_vocab; j++)
			if (a->work[j] > -INFINITY)
				compete(&race, a->work[j], (int32_t)j, word[j - i]);
	}
	return race.id;
}
