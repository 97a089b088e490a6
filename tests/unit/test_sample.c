/* The sampler against a plain implementation of what kernels/ops/sample.h says: sort everything, add all noise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/status.h"
#include "hw/hw.h"
#include "kernels/ops/sample_steps.h"
#include "ops/sampling.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VOCAB 4096

/* The instruction sets that the tests run with. */
static uint32_t isa;
static float work[MAX_VOCAB];

static struct sample_params greedy(void)
{
	return (struct sample_params){ .top_p = 1, .repetition_penalty = 1 };
}

static struct sample_params at_temperature(double temperature, uint64_t seed)
{
	return (struct sample_params){ .temperature = temperature, .top_p = 1, .repetition_penalty = 1, .seed = seed };
}

static int32_t pick(const float *logits, int64_t n, const struct sample_params *p, int64_t position)
{
	struct sample_args a = { .logits = logits, .n_vocab = n, .params = p, .position = position, .work = work };
	return sample_kernel_for(isa)(&a);
}

static double uniform(uint64_t row, uint32_t i)
{
	return rng_uniform(11, RNG_TEST, row, i);
}

/* ---- Greedy ---- */

static void test_greedy(void **state)
{
	(void)state;
	struct sample_params p = greedy();
	assert_int_equal(pick((float[]){ 1, 3, 2 }, 3, &p, 0), 1);
	assert_int_equal(pick((float[]){ 1, 3, 3, 3 }, 4, &p, 0), 1);
	assert_int_equal(pick((float[]){ 0.0f, -0.0f }, 2, &p, 0), 0);
	assert_int_equal(pick((float[]){ -INFINITY, -3e38f, -INFINITY }, 3, &p, 0), 1);
	assert_int_equal(pick((float[]){ -5 }, 1, &p, 9), 0);
	/* Filters and seeds mean nothing to it. */
	p.top_k = 1;
	p.top_p = 0.01;
	p.min_p = 1;
	for (p.seed = 0; p.seed < 20; p.seed++)
		assert_int_equal(pick((float[]){ 1, 2, 2, -1 }, 4, &p, (int64_t)p.seed), 1);
}

static void test_not_finite(void **state)
{
	(void)state;
	static const double temperatures[] = { 0, 1, 1e4 };
	for (int t = 0; t < 3; t++) {
		struct sample_params p = at_temperature(temperatures[t], 1);
		assert_int_equal(pick((float[]){ NAN, NAN }, 2, &p, 0), -1);
		assert_int_equal(pick((float[]){ -INFINITY, -INFINITY }, 2, &p, 0), -1);
		assert_int_equal(pick((float[]){ 1, INFINITY, 2 }, 3, &p, 0), -1);
		/* One NaN says that the row cannot be trusted, wherever it stands. */
		for (int i = 0; i < 5; i++) {
			float row[5] = { 5, 4, 3, 2, 1 };
			row[i] = NAN;
			assert_int_equal(pick(row, 5, &p, 0), -1);
			p.top_k = 2;
			p.top_p = 0.9;
			assert_int_equal(pick(row, 5, &p, 0), -1);
			p.top_k = 0;
			p.top_p = 1;
		}
	}
}

/* The same in rows that are longer than what is looked at in one go, and with everything else that may be in them. */
static void test_not_finite_anywhere(void **state)
{
	(void)state;
	enum { V = 203 };
	float row[V];
	struct sample_params p = at_temperature(1, 2);
	for (int i = 0; i < V; i++)
		row[i] = i % 3 ? (float)i : -INFINITY;
	for (int i = 0; i < V; i++) {
		float was = row[i];
		row[i] = NAN;
		assert_int_equal(pick(row, V, &p, i), -1);
		row[i] = INFINITY;
		assert_int_equal(pick(row, V, &p, i), -1);
		row[i] = was;
		p.top_k = i % 2 ? 3 : 0;
		p.top_p = i % 5 ? 1 : 0.5;
		int32_t id = pick(row, V, &p, i);
		assert_true(id >= 0 && row[id] > -INFINITY);
	}
	for (int i = 0; i < V; i++)
		row[i] = -INFINITY;
	assert_int_equal(pick(row, V, &p, 0), -1);
	row[V - 1] = -3e38f;
	assert_int_equal(pick(row, V, &p, 0), V - 1);
}

static void test_extreme_temperatures(void **state)
{
	(void)state;
	/* So cold that logits / temperature overflow, or that the temperature is 0 in float32: greedy. */
	static const double cold[] = { 1e-30, 1e-38, 1e-40, 1e-46, 1e-300 };
	static const float rows[][4] = { { 1, 3, 2, 3 }, { -3, -1, -2, -1 }, { -1, 0, -2, 0 }, { -9e9f, 0, 9e9f, 1 } };
	static const int32_t best[] = { 1, 1, 1, 2 };
	for (size_t t = 0; t < sizeof cold / sizeof *cold; t++) {
		for (int r = 0; r < 4; r++) {
			for (int filters = 0; filters < 2; filters++) {
				struct sample_params p = at_temperature(cold[t], 3);
				if (filters)
					p.top_p = 0.999;
				int32_t id = pick(rows[r], 4, &p, r);
				assert_true(rows[r][id] == rows[r][best[r]]);
			}
		}
	}
	/* Logits so large that noise is lost in them: equal scores, the lowest id. */
	for (int k = 0; k < 3; k++) {
		struct sample_params p = at_temperature(1, 4);
		p.top_k = k == 1 ? 3 : 0;
		p.top_p = k == 2 ? 0.9 : 1;
		for (int i = 0; i < 20; i++)
			assert_int_equal(pick((float[]){ 0, 1e30f, 1e30f, 1, 1e30f }, 5, &p, i), 1);
	}
	/* So hot that all are equally probable. */
	int seen[4] = { 0 };
	struct sample_params p = at_temperature(1e4, 3);
	for (int i = 0; i < 4000; i++)
		seen[pick(rows[0], 4, &p, i)]++;
	for (int i = 0; i < 4; i++)
		assert_in_range(seen[i], 850, 1150);
}

/* ---- Penalties ---- */

/* The penalised logit is `expected`: a rival just above it wins, one just below it or equal loses. */
static void assert_penalised(const struct sample_params *params, float logit, uint8_t in_prompt, int32_t count,
			     float expected)
{
	uint8_t prompt[2] = { 0, in_prompt };
	int32_t counts[2] = { 0, count };
	float rivals[3] = { nextafterf(expected, -INFINITY), expected, nextafterf(expected, INFINITY) };
	int32_t winner[3] = { 1, 0, 0 };
	for (int i = 0; i < 3; i++) {
		float row[2] = { rivals[i], logit };
		struct sample_args a = { .logits = row, .n_vocab = 2, .params = params, .in_prompt = prompt,
					 .count = counts, .work = work };
		assert_int_equal(sample_kernel_for(isa)(&a), winner[i]);
	}
}

static void test_penalties(void **state)
{
	(void)state;
	struct sample_params p = greedy();
	assert_penalised(&p, 2, 1, 5, 2);
	p.repetition_penalty = 2;
	assert_penalised(&p, 3, 1, 0, 1.5f);
	assert_penalised(&p, 3, 0, 1, 1.5f);
	assert_penalised(&p, 3, 1, 4, 1.5f); /* once, however often */
	assert_penalised(&p, -3, 1, 0, -6);
	assert_penalised(&p, 3, 0, 0, 3);
	p.repetition_penalty = 0.5;
	assert_penalised(&p, 3, 1, 0, 6);
	assert_penalised(&p, -3, 0, 2, -1.5f);
	p = greedy();
	p.presence_penalty = 0.75;
	assert_penalised(&p, 3, 1, 0, 3); /* the answer alone */
	assert_penalised(&p, 3, 0, 1, 2.25f);
	assert_penalised(&p, 3, 1, 9, 2.25f);
	p.presence_penalty = -2;
	assert_penalised(&p, -1, 0, 1, 1);
	p = greedy();
	p.frequency_penalty = 0.5;
	assert_penalised(&p, 3, 1, 0, 3);
	assert_penalised(&p, 3, 0, 1, 2.5f);
	assert_penalised(&p, 3, 0, 7, -0.5f);
	/* Repetition comes first: 4 / 2 - (3 * 0.25 + 0.5). */
	p = (struct sample_params){ .top_p = 1, .repetition_penalty = 2, .presence_penalty = 0.5,
				    .frequency_penalty = 0.25 };
	assert_penalised(&p, 4, 1, 3, 0.75f);
	assert_penalised(&p, -4, 1, 3, -9.25f);
}

/* Each of the two arrays may be missing. */
static void test_penalties_alone(void **state)
{
	(void)state;
	struct sample_params p = greedy();
	p.repetition_penalty = 4;
	uint8_t prompt[2] = { 1, 0 };
	int32_t count[2] = { 1, 0 };
	struct sample_args a = { .logits = (float[]){ 2, 1 }, .n_vocab = 2, .params = &p, .work = work };
	assert_int_equal(sample_kernel_for(isa)(&a), 0);
	a.in_prompt = prompt;
	assert_int_equal(sample_kernel_for(isa)(&a), 1);
	a.in_prompt = NULL;
	a.count = count;
	assert_int_equal(sample_kernel_for(isa)(&a), 1);
}

static void test_banned(void **state)
{
	(void)state;
	float row[8] = { 1, 9, 3, 8, 2, 7, 4, 6 };
	int32_t banned[3] = { 1, 3, 5 };
	for (int t = 0; t < 2; t++) {
		struct sample_params p = at_temperature(t, 5);
		struct sample_args a = { .logits = row, .n_vocab = 8, .params = &p, .banned = banned, .n_banned = 3,
					 .work = work };
		if (!t)
			assert_int_equal(sample_kernel_for(isa)(&a), 7);
		for (a.position = 0; a.position < 500; a.position++) {
			p.top_k = a.position % 5;
			int32_t id = sample_kernel_for(isa)(&a);
			assert_true(id >= 0 && id != 1 && id != 3 && id != 5);
		}
	}
	int32_t all[2] = { 0, 1 };
	struct sample_params p = greedy();
	struct sample_args a = { .logits = row, .n_vocab = 2, .params = &p, .banned = all, .n_banned = 2,
				 .work = work };
	assert_int_equal(sample_kernel_for(isa)(&a), -1);
}

/* ---- Filters ---- */

static float sort_logits[MAX_VOCAB];

static int by_probability(const void *pa, const void *pb)
{
	int32_t a = *(const int32_t *)pa, b = *(const int32_t *)pb;
	if (sort_logits[a] != sort_logits[b])
		return sort_logits[a] > sort_logits[b] ? -1 : 1;
	return a < b ? -1 : 1;
}

/* Which ids are kept, by sorting all of them. False where float rounding may decide about one of them. */
static bool naive_filter(const float *row, int64_t n, const struct sample_params *p, bool *kept)
{
	int32_t order[MAX_VOCAB];
	int64_t n_left = 0;
	for (int64_t i = 0; i < n; i++) {
		sort_logits[i] = row[i] / (float)p->temperature;
		kept[i] = false;
		if (row[i] > -INFINITY)
			order[n_left++] = (int32_t)i;
	}
	qsort(order, (size_t)n_left, sizeof *order, by_probability);
	if (p->top_k > 0 && p->top_k < n_left) {
		int64_t k = p->top_k;
		while (k < n_left && sort_logits[order[k]] == sort_logits[order[p->top_k - 1]])
			k++;
		n_left = k;
	}
	double total = 0, sum = 0, best = sort_logits[order[0]];
	for (int64_t i = 0; i < n_left; i++)
		total += exp(sort_logits[order[i]] - best);
	for (int64_t i = 0; i < n_left; i++) {
		double ratio = exp(sort_logits[order[i]] - best);
		if (p->min_p > 0 && fabs(ratio / p->min_p - 1) < 1e-5 && ratio < 1)
			return false;
		if (ratio < p->min_p)
			break;
		kept[order[i]] = true;
		sum += ratio / total;
		if (p->top_p < 1 && fabs(sum - p->top_p) < 1e-6)
			return false;
		if (p->top_p < 1 && sum >= p->top_p)
			break;
	}
	return true;
}

static double gumbel(uint64_t seed, int64_t position, int64_t id)
{
	return -log(-log(rng_uniform(seed, RNG_SAMPLE, (uint64_t)position, (uint32_t)id)));
}

/* The argmax of logit + noise over the kept, all of them looked at. */
static int32_t naive_race(const float *row, int64_t n, const struct sample_params *p, const bool *kept,
			  int64_t position)
{
	int32_t best = -1;
	double best_score = 0;
	for (int64_t i = 0; i < n; i++) {
		if (kept && !kept[i])
			continue;
		double score = (double)(row[i] / (float)p->temperature) + gumbel(p->seed, position, i);
		if (best < 0 || score > best_score) {
			best = (int32_t)i;
			best_score = score;
		}
	}
	return best;
}

/* A row of one of several kinds: continuous, with many ties, steep, with masked ids, flat. */
static void random_row(float *row, int64_t n, uint32_t r)
{
	for (int64_t i = 0; i < n; i++) {
		float x = rng_normal(12, RNG_TEST, r, (uint32_t)i);
		switch (r % 5) {
		case 1:
			x = roundf(x * 2) / 2;
			break;
		case 2:
			x *= 20;
			break;
		case 3:
			if (uniform(r, (uint32_t)i) < 0.5 && i > 0)
				x = -INFINITY;
			break;
		case 4:
			x *= 1e-3f;
			break;
		default:
			break;
		}
		row[i] = x;
	}
}

static void test_filters(void **state)
{
	(void)state;
	static const int64_t sizes[] = { 1, 2, 7, 50, 333 };
	static const double top_p[] = { 1, 1, 0.95, 0.5, 0.1, 0, 0.999999 };
	static const double min_p[] = { 0, 0, 0.02, 0.3, 1, 1e-9 };
	static const double temperatures[] = { 1, 0.3, 3, 1e-3, 1e3 };
	float row[333];
	bool kept[333];
	int compared = 0, skipped = 0;
	for (uint32_t r = 0; r < 3000; r++) {
		int64_t n = sizes[r % 5];
		random_row(row, n, r / 5);
		struct sample_params p = at_temperature(temperatures[(int)(uniform(r, 10000) * 5)], r);
		p.top_p = top_p[(int)(uniform(r, 10001) * 7)];
		p.min_p = min_p[(int)(uniform(r, 10002) * 6)];
		p.top_k = uniform(r, 10003) < 0.5 ? 0 : (int64_t)(uniform(r, 10004) * 2 * (double)n);
		if (!naive_filter(row, n, &p, kept)) {
			skipped++;
			continue;
		}
		for (int64_t position = 0; position < 20; position++) {
			assert_int_equal(pick(row, n, &p, position), naive_race(row, n, &p, kept, position));
			compared++;
		}
	}
	assert_true(compared > 20 * 2800 && skipped < 200);
}

/* Over many positions just the kept are seen, and every one of them. */
static void test_kept_sets(void **state)
{
	(void)state;
	static const struct {
		float row[6];
		int64_t top_k;
		double top_p, min_p;
		bool kept[6];
	} cases[] = {
		{ { 1, 2, 2, 2, 0, 3 }, 2, 1, 0, { 0, 1, 1, 1, 0, 1 } }, /* ties with the second are kept */
		{ { 1, 2, 2, 2, 0, 3 }, 1, 1, 0, { 0, 0, 0, 0, 0, 1 } },
		{ { 1, 2, 2, 2, 0, 3 }, 6, 1, 0, { 1, 1, 1, 1, 1, 1 } },
		{ { 1, 2, 2, 2, 0, 3 }, INT64_MAX, 1, 0, { 1, 1, 1, 1, 1, 1 } },
		{ { 0, 0, 0, 0, 0, 0 }, 0, 0.5, 0, { 1, 1, 1, 0, 0, 0 } }, /* equal: the lower ids */
		{ { 0, 0, 0, 0, 0, 0 }, 0, 0.51, 0, { 1, 1, 1, 1, 0, 0 } },
		{ { 0, 0, 0, 0, 0, 0 }, 0, 0, 0, { 1, 0, 0, 0, 0, 0 } },
		{ { 0, 0, 0, 0, 0, 0 }, 0, 0.9999, 0, { 1, 1, 1, 1, 1, 1 } },
		{ { 1, 2, 2, 2, 0, 3 }, 0, 1, 1, { 0, 0, 0, 0, 0, 1 } },
		{ { 1, 2, 2, 2, 0, 3 }, 0, 1, 0.3, { 0, 1, 1, 1, 0, 1 } }, /* e^-1 = 0.37 */
		{ { 1, 2, 2, 2, 0, 3 }, 0, 1, 0.1, { 1, 1, 1, 1, 0, 1 } }, /* e^-2 = 0.14, e^-3 = 0.05 */
		/* top_p is of what top_k left: 3 of the softmax of { 3, 2, 2, 2 } is 0.475. */
		{ { 1, 2, 2, 2, 0, 3 }, 2, 0.47, 0, { 0, 0, 0, 0, 0, 1 } },
		{ { 1, 2, 2, 2, 0, 3 }, 2, 0.48, 0, { 0, 1, 0, 0, 0, 1 } },
	};
	for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
		bool seen[6] = { 0 };
		struct sample_params p = at_temperature(1, 77);
		p.top_k = cases[c].top_k;
		p.top_p = cases[c].top_p;
		p.min_p = cases[c].min_p;
		for (int64_t position = 0; position < 2000; position++)
			seen[pick(cases[c].row, 6, &p, position)] = true;
		for (int i = 0; i < 6; i++)
			assert_int_equal(seen[i], cases[c].kept[i]);
	}
	/* A top_p just below 1 drops too: of 0.9993 and 0.0007 the second, some 13 of 20,000. */
	struct sample_params p = at_temperature(1, 78);
	for (int all = 0; all < 2; all++) {
		int64_t rare = 0;
		p.top_p = all ? 1 : 0.9992;
		for (int64_t position = 0; position < 20000; position++)
			rare += pick((float[]){ 0, -7.3f }, 2, &p, position);
		assert_int_equal(rare > 0, all);
	}
}

/* Most ids are dropped by a bound, without their noise: the winner is the same. */
static void test_bound(void **state)
{
	(void)state;
	static float row[MAX_VOCAB];
	static const float spread[] = { 0, 0.1f, 1, 4, 12 };
	for (int s = 0; s < 5; s++) {
		for (int64_t i = 0; i < MAX_VOCAB; i++)
			row[i] = spread[s] * rng_normal(13, RNG_TEST, (uint64_t)s, (uint32_t)i);
		struct sample_params p = at_temperature(1, 1000 + (uint64_t)s);
		for (int64_t position = 0; position < 60; position++)
			assert_int_equal(pick(row, MAX_VOCAB, &p, position),
					 naive_race(row, MAX_VOCAB, &p, NULL, position));
	}
}

/* What top-p adds up is exp, within what the exponent's rounding and the cut to whole numbers leave. */
static void test_mass(void **state)
{
	(void)state;
	assert_true(sample_mass(sample_weight(0)) == (uint64_t)1 << 40);
	assert_true(sample_mass(sample_weight(-0.0f)) == (uint64_t)1 << 40);
	for (float y = 0; y > -40; y = y * 1.0003f - 1e-5f) {
		double exact = exp((double)y) * 0x1p40, got = (double)sample_mass(sample_weight(y));
		assert_true(fabs(got - exact) <= 1 + exact * (2e-7 + 6e-8 * fabs((double)y)));
	}
	assert_true(sample_mass(sample_weight(-INFINITY)) == 0 && sample_mass(sample_weight(-3e38f)) == 0);
	/* Keys order as numbers do, and stand for them. */
	static const float ascending[] = { -INFINITY, -3e38f, -1, -1e-45f, 0, 1e-45f, 1, 3e38f, INFINITY };
	for (size_t i = 0; i < sizeof ascending / sizeof *ascending; i++) {
		assert_true(sample_of_key(sample_key(ascending[i])) == ascending[i]);
		assert_true(i == 0 || sample_key(ascending[i - 1]) < sample_key(ascending[i]));
	}
	assert_int_equal(sample_key(-0.0f), sample_key(0.0f));
}

/* ---- Distribution ---- */

/* A chi-square value that is exceeded once in a million (Wilson and Hilferty, 1931). */
static double chi_square_limit(double df)
{
	double v = 2 / (9 * df);
	return df * pow(1 - v + 4.753 * sqrt(v), 3);
}

/* Whether counts of n draws fit the probabilities; categories that expect less than 5 are taken together. */
static bool fits(const int *count, const double *probability, int n_ids, int n)
{
	double chi = 0, rest_expected = 0, rest_count = 0;
	int df = -1;
	for (int i = 0; i < n_ids; i++) {
		double expected = probability[i] * n;
		if (expected < 5) {
			rest_expected += expected;
			rest_count += count[i];
			if (probability[i] == 0 && count[i])
				return false;
			continue;
		}
		chi += (count[i] - expected) * (count[i] - expected) / expected;
		df++;
	}
	if (rest_expected >= 5) {
		chi += (rest_count - rest_expected) * (rest_count - rest_expected) / rest_expected;
		df++;
	} else if (rest_count > 25) {
		return false;
	}
	return df < 1 ? true : chi < chi_square_limit(df);
}

static void probabilities(const float *row, int n, const struct sample_params *p, double *out)
{
	bool kept[64];
	double sum = 0;
	assert_true(naive_filter(row, n, p, kept));
	for (int i = 0; i < n; i++)
		sum += out[i] = kept[i] ? exp(row[i] / p->temperature) : 0;
	for (int i = 0; i < n; i++)
		out[i] /= sum;
}

static void test_frequencies(void **state)
{
	(void)state;
	enum { V = 50, N = 20000 };
	static const struct sample_params sets[] = {
		{ 1, 1, 0, 1, 0, 0, 0, 1 },      { 0.5, 1, 0, 1, 0, 0, 0, 2 },  { 2.5, 1, 0, 1, 0, 0, 0, 3 },
		{ 1, 1, 0, 1, 0, 0, 10, 4 },     { 1, 0.8, 0, 1, 0, 0, 0, 5 },  { 1, 1, 0.05, 1, 0, 0, 0, 6 },
		{ 0.7, 0.95, 0.01, 1, 0, 0, 20, 7 }, { 1, 1, 0, 1, 0, 0, 0, ~(uint64_t)0 },
	};
	float row[V];
	for (uint32_t i = 0; i < V; i++)
		row[i] = 1.5f * rng_normal(14, RNG_TEST, 0, i);
	for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
		int count[V] = { 0 };
		double exact[V], wrong[V];
		for (int64_t position = 0; position < N; position++)
			count[pick(row, V, &sets[s], position)]++;
		probabilities(row, V, &sets[s], exact);
		assert_true(fits(count, exact, V, N));
		/* The test is able to fail: a temperature that is a little off does not fit. */
		struct sample_params other = sets[s];
		other.temperature *= 1.15;
		probabilities(row, V, &other, wrong);
		assert_false(fits(count, wrong, V, N));
	}
	/* Seeds, too, are samples. */
	int count[V] = { 0 };
	double exact[V];
	for (uint64_t seed = 0; seed < N; seed++) {
		struct sample_params p = at_temperature(1, seed);
		count[pick(row, V, &p, 3)]++;
	}
	struct sample_params p = at_temperature(1, 0);
	probabilities(row, V, &p, exact);
	assert_true(fits(count, exact, V, N));
}

/* Penalties shape what is sampled: the frequencies are those of the penalised row. */
static void test_penalised_frequencies(void **state)
{
	(void)state;
	enum { V = 10, N = 20000 };
	float row[V] = { 2, 1, 0.5f, 0, -1, -2, 1.5f, 0.25f, 3, -0.5f };
	uint8_t prompt[V] = { 1, 0, 0, 0, 1 };
	int32_t counts[V] = { 0, 2, 0, 0, 1, 0, 0, 0, 3, 0 };
	struct sample_params p = { .temperature = 1, .top_p = 1, .repetition_penalty = 1.3, .presence_penalty = 0.4,
				   .frequency_penalty = 0.2, .seed = 15 };
	double exact[V], sum = 0;
	for (int i = 0; i < V; i++) {
		double l = row[i];
		if (prompt[i] || counts[i])
			l = l > 0 ? l / 1.3 : l * 1.3;
		if (counts[i])
			l -= 0.4 + 0.2 * counts[i];
		sum += exact[i] = exp(l);
	}
	for (int i = 0; i < V; i++)
		exact[i] /= sum;
	int seen[V] = { 0 };
	struct sample_args a = { .logits = row, .n_vocab = V, .params = &p, .in_prompt = prompt, .count = counts,
				 .work = work };
	for (a.position = 0; a.position < N; a.position++)
		seen[sample_kernel_for(isa)(&a)]++;
	assert_true(fits(seen, exact, V, N));
}

/* What is drawn at one position tells nothing about the next, nor about the same position of the next seed. */
static void test_independence(void **state)
{
	(void)state;
	enum { V = 5, N = 20000 };
	float row[V] = { 0.3f, -0.2f, 0, 0.9f, -1 };
	double exact[V], joint[V * V];
	struct sample_params p = at_temperature(1, 16), next = at_temperature(1, 17);
	probabilities(row, V, &p, exact);
	for (int i = 0; i < V * V; i++)
		joint[i] = exact[i / V] * exact[i % V];
	int positions[V * V] = { 0 }, seeds[V * V] = { 0 };
	for (int64_t i = 0; i < N; i++) {
		int32_t here = pick(row, V, &p, 2 * i);
		positions[here * V + pick(row, V, &p, 2 * i + 1)]++;
		seeds[here * V + pick(row, V, &next, 2 * i)]++;
	}
	assert_true(fits(positions, joint, V * V, N));
	assert_true(fits(seeds, joint, V * V, N));
}

/* ---- The law ---- */

/* Only logits, parameters, seed and position count: not what the scratch holds, what was sampled before, or how the
 * same set came to be kept. */
static void test_nothing_else(void **state)
{
	(void)state;
	enum { V = 300 };
	float row[V];
	for (uint32_t i = 0; i < V; i++)
		row[i] = 2 * rng_normal(18, RNG_TEST, 0, i);
	for (int64_t position = 0; position < 100; position++) {
		struct sample_params p = at_temperature(0.8, 19);
		struct sample_params everything = p;
		everything.top_k = V - 1; /* sorts, keeps all but the last */
		everything.min_p = 1e-30;
		int32_t plain = pick(row, V, &p, position);
		p.top_p = position % 2 ? 0.9 : 1;
		p.top_k = position % 3 ? 0 : 40;
		int32_t filtered = pick(row, V, &p, position);
		memset(work, 0xff, sizeof work); /* NaN */
		assert_int_equal(pick(row, V, &p, position), filtered);
		for (int i = 0; i < V; i++)
			work[i] = 1e30f;
		assert_int_equal(pick(row, V, &p, position), filtered);
		assert_int_equal(pick(row, V, &everything, position), plain);
	}
}

/* The same token as the reference's, in a long row too. */
static void test_long_rows(void **state)
{
	(void)state;
	enum { V = 50001, N = 240 };
	static const float spread[] = { 0.01f, 1, 4 };
	float *row = malloc(V * sizeof *row), *scratch = malloc(V * sizeof *scratch);
	assert_true(row && scratch);
	for (int64_t n = 0; n < N; n++) {
		for (uint32_t i = 0; i < V; i++)
			row[i] = spread[n % 3] * rng_normal(3, RNG_TEST, (uint64_t)n, i);
		if (n % 5 == 0) /* many equal ones */
			for (uint32_t i = 0; i < V; i++)
				row[i] = roundf(row[i] * 4) / 4;
		struct sample_params p = at_temperature(n % 7 ? 0.9 : 0.01, (uint64_t)n);
		p.top_p = n % 4 < 2 ? 1 : n % 8 < 4 ? 0.5 + (double)n / 600 : 0.999;
		p.top_k = n % 6 == 5 ? 1 + n * 17 : 0;
		p.min_p = n % 11 == 3 ? 0.02 : 0;
		struct sample_args a = { .logits = row, .n_vocab = V, .params = &p, .position = n, .work = scratch };
		assert_int_equal(sample_kernel_for(isa)(&a), sample_kernel_for(0)(&a));
	}
	free(row);
	free(scratch);
}

/* A word stands for the middle of its share of 0 to 1, so that neither end is ever reached: from -ln(33 ln 2) to 33 ln 2. */
static void test_noise_of_a_word(void **state)
{
	(void)state;
	static const struct {
		uint32_t word;
		double u;
	} rows[] = { { 0, 0x1p-33 }, { 1, 0x3p-33 }, { 0x7fffffff, 0.5 - 0x1p-33 }, { UINT32_MAX, 1 - 0x1p-33 } };
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct sample_race race = { -INFINITY, -1 };
		sample_compete(&race, 1.5f, 7, rows[i].word);
		assert_int_equal(race.id, 7);
		assert_true(race.best == 1.5 - log(-log(rows[i].u)));
		assert_true(race.best <= 1.5 + SAMPLE_MOST_NOISE);
	}
}

int main(void)
{
	struct hw_facts facts;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_greedy),
		cmocka_unit_test(test_not_finite),
		cmocka_unit_test(test_not_finite_anywhere),
		cmocka_unit_test(test_extreme_temperatures),
		cmocka_unit_test(test_penalties),
		cmocka_unit_test(test_penalties_alone),
		cmocka_unit_test(test_banned),
		cmocka_unit_test(test_filters),
		cmocka_unit_test(test_kept_sets),
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_mass),
		cmocka_unit_test(test_frequencies),
		cmocka_unit_test(test_penalised_frequencies),
		cmocka_unit_test(test_independence),
		cmocka_unit_test(test_nothing_else),
		cmocka_unit_test(test_long_rows),
		cmocka_unit_test(test_noise_of_a_word),
	};
	/* With every set of instructions that one of the rows needs: of several rows that can run the last is taken. */
	if (hw_facts_probe(&facts) != VB_OK)
		return 1;
	int failed = 0;
	for (int row = 0; row < sample_set.n_rows; row++) {
		isa = sample_set.rows[row].needs;
		if ((facts.isa & isa) == isa)
			failed |= cmocka_run_group_tests_name(sample_set.rows[row].name, tests, NULL, NULL);
	}
	return failed;
}
