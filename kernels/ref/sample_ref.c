#include "kernels/ops/sample.h"

#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

/* Tokens whose probability is below e^-20 of the best are looked at for top_p only where the others do not suffice. */
#define TOP_P_NATS 20.0f

static void penalise(const struct sample_args *a)
{
	const struct sample_params *p = a->params;
	for (int64_t i = 0; i < a->n_vocab; i++)
		a->work[i] = a->logits[i];
	if (a->count) {
		float repetition = (float)p->repetition_penalty;
		for (int64_t i = 0; i < a->n_vocab; i++) {
			int32_t count = a->count[i];
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
}

static int32_t argmax(const float *x, int64_t n)
{
	int32_t best = -1;
	for (int64_t i = 0; i < n; i++)
		if (x[i] > (best < 0 ? -INFINITY : x[best]))
			best = (int32_t)i;
	return best;
}

/* Most probable first, the lower id first on ties: a total order, so any sorting gives the same list. */
static int before(const void *pa, const void *pb)
{
	const struct sample_candidate *a = pa, *b = pb;
	if (a->logit != b->logit)
		return a->logit > b->logit ? -1 : 1;
	return a->id < b->id ? -1 : 1;
}

static int64_t collect(const struct sample_args *a, float at_least)
{
	int64_t n = 0;
	for (int64_t i = 0; i < a->n_vocab; i++)
		if (a->work[i] >= at_least && a->work[i] > -INFINITY)
			a->candidate[n++] = (struct sample_candidate){ a->work[i], (int32_t)i };
	qsort(a->candidate, (size_t)n, sizeof *a->candidate, before);
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

/* How many of the first n sorted candidates top_p keeps, of `total` mass; 0 where they do not reach it. */
static int64_t nucleus(const struct sample_candidate *c, int64_t n, float max, double wanted)
{
	double sum = 0;
	for (int64_t i = 0; i < n; i++) {
		sum += exp((double)c[i].logit - max);
		if (sum >= wanted)
			return i + 1;
	}
	return 0;
}

/* Leaves the kept tokens in a->candidate, sorted; returns how many. */
static int64_t filter(const struct sample_args *a, float max)
{
	const struct sample_params *p = a->params;
	float floor_logit = -INFINITY;
	if (p->top_k > 0 && p->top_k < a->n_vocab)
		floor_logit = kth_largest(a, p->top_k);
	/* p_i >= min_p * p_max is a bound on logits, whatever was dropped before. */
	float min_logit = p->min_p > 0 ? (float)((double)max + log(p->min_p)) : -INFINITY;
	if (p->top_p >= 1)
		return collect(a, fmaxf(floor_logit, min_logit));
	double total = 0;
	for (int64_t i = 0; i < a->n_vocab; i++)
		if (a->work[i] >= floor_logit && a->work[i] > -INFINITY)
			total += exp((double)a->work[i] - max);
	double wanted = p->top_p * total;
	int64_t n = collect(a, fmaxf(floor_logit, max - TOP_P_NATS));
	int64_t kept = nucleus(a->candidate, n, max, wanted);
	if (!kept) {
		n = collect(a, floor_logit);
		kept = nucleus(a->candidate, n, max, wanted);
		if (!kept)
			kept = n; /* rounding left the sum just short of top_p = 1 - eps */
	}
	while (kept > 1 && a->candidate[kept - 1].logit < min_logit)
		kept--;
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
	penalise(a);
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
		int64_t n = filter(a, max);
		for (int64_t i = 0; i < n; i++) {
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
