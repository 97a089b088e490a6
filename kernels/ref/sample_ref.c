/* sample_ref.c - how a token is chosen (sample_by, for all rows of the list), and the loops over a row in plain C. */
#include "kernels/ops/sample_steps.h"

#include "base/rng.h"

/* ---- The choice ---- */

/* The search goes on with the key's next digit, the one in which the mass `wanted` is reached. False where it was the last. */
static bool next_digit(struct sample_search *s, uint64_t wanted)
{
	uint32_t digit = 1u << s->bits;
	while (digit-- > 1) {
		uint64_t mass = s->mass[0][digit] + s->mass[1][digit];
		if (s->above + mass >= wanted)
			break;
		s->above += mass;
	}
	s->prefix = s->prefix << s->bits | digit;
	if (!s->shift)
		return false;
	s->bits = s->shift > 11 ? 11 : s->shift;
	s->shift -= s->bits;
	memset(s->mass, 0, sizeof s->mass);
	return true;
}

static void begin_search(struct sample_search *s)
{
	*s = (struct sample_search){ .shift = 21, .bits = 11 };
}

/* The larger first. */
static void sort(float *x, int n)
{
	for (int i = 1; i < n; i++) {
		float v = x[i];
		int at = i;
		for (; at > 0 && x[at - 1] < v; at--)
			x[at] = x[at - 1];
		x[at] = v;
	}
}

/* None of the k largest is below `least`. */
static float kth_largest(const struct sample_loops *loops, const float *x, int64_t n, int64_t k, float least)
{
	struct sample_search s;
	begin_search(&s);
	do
		loops->add_counts(x, n, least, &s);
	while (next_digit(&s, (uint64_t)k));
	return sample_of_key(s.prefix);
}

/* The most probable of what is not below `least`, until their mass is top_p of all. */
static struct sample_kept nucleus(const struct sample_loops *loops, const float *x, int64_t n, float least, float max, double top_p)
{
	struct sample_search s;
	uint64_t total = 0;
	begin_search(&s);
	loops->add_masses(x, n, least, max, &s);
	for (int digit = 0; digit < SAMPLE_DIGITS; digit++)
		total += s.mass[0][digit] + s.mass[1][digit];
	double part = ceil(top_p * (double)total);
	uint64_t wanted = part < 1 ? 1 : part >= (double)total ? total : (uint64_t)part;
	while (next_digit(&s, wanted))
		loops->add_masses(x, n, least, max, &s);
	/* Ids of one logit are of one mass. */
	float logit = sample_of_key(s.prefix);
	uint64_t each = sample_mass(sample_weight(logit - max));
	return (struct sample_kept){ logit, loops->nth_equal(x, n, logit, (wanted - s.above + each - 1) / each) };
}

/* `top`: sorted, the largest of each set. */
static struct sample_kept filter(const struct sample_loops *loops, const struct sample_params *p, const float *x, int64_t n,
				 const float top[SAMPLE_SETS])
{
	float temperature = (float)p->temperature, max = top[0] / temperature;
	/* Everything that is finite is kept, then less and less. */
	struct sample_kept kept = { -INFINITY, -1 };
	if (p->top_k > 0 && p->top_k < n) {
		/* The largest of k sets are k ids. */
		float least = p->top_k <= SAMPLE_SETS ? top[p->top_k - 1] / temperature : -INFINITY;
		kept = (struct sample_kept){ kth_largest(loops, x, n, p->top_k, least), n };
	}
	if (p->top_p < 1)
		kept = nucleus(loops, x, n, kept.logit, max, p->top_p);
	/* p_i >= min_p * p_max is a bound on logits, whatever was dropped before. */
	float min_logit = p->min_p > 0 ? (float)((double)max + log(p->min_p)) : -INFINITY;
	if (kept.logit < min_logit)
		kept = (struct sample_kept){ min_logit, n };
	return kept;
}

int32_t sample_by(const struct sample_loops *loops, const struct sample_args *a)
{
	const float *x = a->logits;
	int64_t n = a->n_vocab;
	float top[SAMPLE_SETS];
	if (!loops->largest(x, n, top))
		return -1;
	if (a->count || a->in_prompt || a->n_banned) {
		memcpy(a->work, x, (size_t)n * sizeof *x);
		x = a->work;
		if (a->count || a->in_prompt)
			loops->penalise(a, a->work);
		for (int64_t i = 0; i < a->n_banned; i++)
			a->work[a->banned[i]] = -INFINITY;
		(void)loops->largest(x, n, top);
	}
	sort(top, SAMPLE_SETS);
	if (!isfinite(top[0]))
		return -1;
	float temperature = (float)a->params->temperature;
	if (a->params->temperature <= 0 || !isfinite(top[0] / temperature)) /* so cold that logits overflow: greedy */
		return (int32_t)loops->nth_equal(x, n, top[0], 1);
	loops->divide(x, n, temperature, a->work);
	struct sample_kept kept = filter(loops, a->params, a->work, n, top);
	return loops->run_race(a, a->work, &kept);
}

/* ---- The loops ---- */

/* Ids that are looked at together: steps that do not depend on each other, which compilers make vectors of. */
#define BLOCK 64

static bool largest(const float *x, int64_t n, float top[SAMPLE_SETS])
{
	unsigned bad[SAMPLE_SETS] = { 0 }, any = 0;
	for (int j = 0; j < SAMPLE_SETS; j++)
		top[j] = -INFINITY;
	for (int64_t i = 0; i < n; i += SAMPLE_SETS) {
		int m = n - i < SAMPLE_SETS ? (int)(n - i) : SAMPLE_SETS;
		for (int j = 0; j < m; j++) {
			bad[j] |= !(x[i + j] < INFINITY);
			top[j] = x[i + j] > top[j] ? x[i + j] : top[j];
		}
	}
	for (int j = 0; j < SAMPLE_SETS; j++)
		any |= bad[j];
	return !any;
}

static int64_t nth_equal(const float *x, int64_t n, float value, uint64_t nth)
{
	int64_t i = 0;
	while (i < n && !(x[i] == value && --nth == 0))
		i++;
	return i;
}

static void penalise(const struct sample_args *a, float *x)
{
	for (int64_t i = 0; i < a->n_vocab; i++) {
		int32_t count = a->count ? a->count[i] : 0;
		if (count || (a->in_prompt && a->in_prompt[i]))
			x[i] = sample_penalised(a->params, x[i], count);
	}
}

static void divide(const float *x, int64_t n, float temperature, float *out)
{
	for (int64_t i = 0; i < n; i++)
		out[i] = x[i] / temperature;
}

/* Digits of n <= BLOCK ids, and whether they belong to the search. False where none does. */
static bool find_digits(const float *x, int n, float least, const struct sample_search *s, uint32_t *digit, uint32_t *in)
{
	uint32_t any = 0, mask = (1u << s->bits) - 1, prefix = s->prefix;
	int shift = s->shift, bits = s->bits;
	for (int j = 0; j < n; j++) {
		uint32_t key = sample_key(x[j]) >> shift;
		digit[j] = key & mask;
		in[j] = (key >> bits == prefix) & (x[j] >= least);
		any |= in[j];
	}
	return any;
}

static void add_counts(const float *x, int64_t n, float least, struct sample_search *s)
{
	uint32_t digit[BLOCK], in[BLOCK];
	for (int64_t i = 0; i < n; i += BLOCK) {
		int m = n - i < BLOCK ? (int)(n - i) : BLOCK;
		if (!find_digits(x + i, m, least, s, digit, in))
			continue;
		for (int j = 0; j < m; j++)
			s->mass[j % 2][digit[j]] += in[j];
	}
}

static void add_masses(const float *x, int64_t n, float least, float max, struct sample_search *s)
{
	uint32_t digit[BLOCK], in[BLOCK];
	float weight[BLOCK];
	for (int64_t i = 0; i < n; i += BLOCK) {
		int m = n - i < BLOCK ? (int)(n - i) : BLOCK;
		if (!find_digits(x + i, m, least, s, digit, in))
			continue;
		for (int j = 0; j < m; j++)
			weight[j] = sample_weight(x[i + j] - max);
		for (int j = 0; j < m; j++)
			s->mass[j % 2][digit[j]] += in[j] ? sample_mass(weight[j]) : 0;
	}
}

static bool is_kept(const struct sample_kept *k, float x, int64_t i)
{
	return x > k->logit || (x == k->logit && i <= k->last && x > -INFINITY);
}

/* -ln(-ln u) <= -ln(1 - u) <= ln 2 * (leading ones of the word + 1): most ids lose without a logarithm. */
static double most_noise(uint32_t word)
{
	int leading_ones = word == UINT32_MAX ? 32 : __builtin_clz(~word);
	return (leading_ones + 1) * 0.6931471805599454;
}

static int32_t run_race(const struct sample_args *a, const float *x, const struct sample_kept *kept)
{
	struct sample_race race = { -INFINITY, -1 };
	for (int64_t i = 0; i < a->n_vocab; i += 4) {
		int64_t end = i + 4 < a->n_vocab ? i + 4 : a->n_vocab;
		bool any = false;
		for (int64_t j = i; j < end; j++)
			any |= is_kept(kept, x[j], j) && (double)x[j] + (double)SAMPLE_MOST_NOISE >= race.best;
		if (!any)
			continue;
		uint32_t word[4];
		rng_block(a->params->seed, RNG_SAMPLE, (uint64_t)a->position, (uint32_t)(i / 4), word);
		for (int64_t j = i; j < end; j++)
			if (is_kept(kept, x[j], j) && (double)x[j] + most_noise(word[j - i]) >= race.best)
				sample_compete(&race, x[j], (int32_t)j, word[j - i]);
	}
	return race.id;
}

int32_t sample_ref(const struct sample_args *a)
{
	static const struct sample_loops loops = { largest, nth_equal, penalise, divide, add_counts, add_masses, run_race };
	return sample_by(&loops, a);
}
