/* Sampling on the GPU of the machine that runs this, against the reference. Skipped where there is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"
#include "ops/cuda_ops.h"
#include "ops/sample_cuda.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Rows of a run, tokens and bans of all of them. */
#define MAX_ROWS 2048
#define MAX_LIST 65536

struct fixture {
	struct gpu *g;
	struct sample_cuda *s;
	int64_t n_vocab;
	float *logits, *gpu_logits; /* [n_logits, n_vocab] */
	struct sample_row rows[MAX_ROWS], *gpu_rows;
	struct sample_result results[MAX_ROWS], *gpu_results;
	int32_t tokens[MAX_LIST], banned[MAX_LIST], *gpu_tokens, *gpu_banned;
	/* The reference's. */
	float *work;
	uint8_t *in_prompt;
	int32_t *count;
};

static struct fixture f;

static void need(int rc)
{
	if (rc != VB_OK)
		fail_msg("%s", vb_errmsg());
}

static void *take(size_t n, size_t size)
{
	void *p = mem_calloc(n, size);
	assert_non_null(p);
	return p;
}

static void *gpu_take(size_t bytes)
{
	void *p;
	need(gpu_alloc(f.g, &p, bytes, "a test"));
	return p;
}

static void open_fixture(int64_t n_vocab, int64_t n_logits)
{
	int rc = gpu_open(&f.g, 0);
	if (rc == VB_EUNSUPPORTED) {
		printf("  no GPU to test with: %s\n", vb_errmsg());
		skip();
	}
	need(rc);
	f.n_vocab = n_vocab;
	need(sample_cuda_create(f.g, MAX_ROWS, n_vocab, &f.s));
	f.logits = take((size_t)(n_logits * n_vocab), sizeof *f.logits);
	f.gpu_logits = gpu_take((size_t)(n_logits * n_vocab) * sizeof *f.logits);
	f.gpu_rows = gpu_take(sizeof f.rows);
	f.gpu_results = gpu_take(sizeof f.results);
	f.gpu_tokens = gpu_take(sizeof f.tokens);
	f.gpu_banned = gpu_take(sizeof f.banned);
	f.work = take((size_t)n_vocab, sizeof *f.work);
	f.in_prompt = take((size_t)n_vocab, sizeof *f.in_prompt);
	f.count = take((size_t)n_vocab, sizeof *f.count);
}

static void close_fixture(void)
{
	sample_cuda_destroy(f.g, &f.s);
	gpu_close(&f.g);
	mem_free(f.logits);
	mem_free(f.work);
	mem_free(f.in_prompt);
	mem_free(f.count);
}

static void upload_logits(int64_t n_logits)
{
	gpu_upload(f.g, f.gpu_logits, f.logits, (size_t)(n_logits * f.n_vocab) * sizeof *f.logits);
	gpu_upload(f.g, f.gpu_tokens, f.tokens, sizeof f.tokens);
	gpu_upload(f.g, f.gpu_banned, f.banned, sizeof f.banned);
}

static void run(int64_t n_rows)
{
	memset(f.results, 0x55, sizeof f.results);
	gpu_upload(f.g, f.gpu_rows, f.rows, sizeof f.rows);
	gpu_upload(f.g, f.gpu_results, f.results, sizeof f.results);
	sample_cuda_run(f.g, f.s, f.gpu_logits, f.gpu_rows, f.gpu_tokens, f.gpu_banned, n_rows, f.gpu_results);
	gpu_download(f.g, f.results, f.gpu_results, sizeof f.results);
	need(gpu_sync(f.g));
}

static struct sample_row row_of(int32_t logits_row)
{
	return (struct sample_row){ .params = { .top_p = 1, .repetition_penalty = 1 }, .tokens_at = -1, .logits_row = logits_row };
}

/* What the reference chooses. */
static int32_t expected(const struct sample_row *r)
{
	const int32_t *tokens = f.tokens + (r->tokens_at < 0 ? 0 : r->tokens_at);
	bool listed = r->tokens_at >= 0;
	for (int32_t i = 0; i < r->n_known && listed; i++) {
		if (i < r->n_prompt)
			f.in_prompt[tokens[i]] = 1;
		else
			f.count[tokens[i]]++;
	}
	struct sample_args a = { .logits = f.logits + r->logits_row * f.n_vocab,
				 .n_vocab = f.n_vocab,
				 .params = &r->params,
				 .position = r->position,
				 .in_prompt = listed ? f.in_prompt : NULL,
				 .count = listed ? f.count : NULL,
				 .banned = f.banned + r->ban_begin,
				 .n_banned = r->ban_end - r->ban_begin,
				 .work = f.work };
	int32_t id = sample_ref(&a);
	for (int32_t i = 0; i < r->n_known && listed; i++) {
		f.in_prompt[tokens[i]] = 0;
		f.count[tokens[i]] = 0;
	}
	return id;
}

/* A row of one of several kinds: continuous, with many ties, steep, with masked ids, flat, as a model's. */
static void fill_row(float *row, int64_t n, uint32_t r)
{
	for (int64_t i = 0; i < n; i++) {
		float x = rng_normal(12, RNG_TEST, r, (uint32_t)i);
		switch (r % 6) {
		case 1:
			x = roundf(x * 2) / 2;
			break;
		case 2:
			x *= 20;
			break;
		case 3:
			if (rng_u32(13, RNG_TEST, r, (uint32_t)i) % 2 && i > 0)
				x = -INFINITY;
			break;
		case 4:
			x *= 1e-3f;
			break;
		case 5:
			x = 3 * x - 2 + (rng_u32(14, RNG_TEST, r, (uint32_t)i) % 512 ? 0 : 9);
			break;
		default:
			break;
		}
		row[i] = x;
	}
}

static const struct sample_params sets[] = {
	{ .temperature = 0, .top_p = 1, .repetition_penalty = 1 },
	{ .temperature = 1, .top_p = 1, .repetition_penalty = 1 },
	{ .temperature = 0.3, .top_p = 1, .repetition_penalty = 1 },
	{ .temperature = 0.7, .top_p = 0.95, .repetition_penalty = 1 },
	{ .temperature = 1.5, .top_p = 0.5, .repetition_penalty = 1 },
	{ .temperature = 1, .top_p = 0.999999, .repetition_penalty = 1 },
	{ .temperature = 1, .top_p = 0, .repetition_penalty = 1 },
	{ .temperature = 1, .top_p = 1, .top_k = 1, .repetition_penalty = 1 },
	{ .temperature = 0.8, .top_p = 1, .top_k = 50, .repetition_penalty = 1 },
	{ .temperature = 1, .top_p = 1, .top_k = 3000, .repetition_penalty = 1 },
	{ .temperature = 1, .top_p = 1, .min_p = 0.05, .repetition_penalty = 1 },
	{ .temperature = 0.6, .top_p = 0.9, .top_k = 40, .min_p = 0.01, .repetition_penalty = 1 },
	{ .temperature = 1e3, .top_p = 0.8, .top_k = 2000, .repetition_penalty = 1 },
	{ .temperature = 0.9, .top_p = 0.9, .top_k = 64, .repetition_penalty = 1.3 },
	{ .temperature = 1, .top_p = 0.9, .repetition_penalty = 1, .presence_penalty = 0.5, .frequency_penalty = 0.25 },
	{ .temperature = 0, .top_p = 1, .repetition_penalty = 1.1, .frequency_penalty = -0.3 },
};
#define N_SETS ((int)(sizeof sets / sizeof *sets))

static bool has_penalties(const struct sample_params *p)
{
	return p->repetition_penalty != 1 || p->presence_penalty != 0 || p->frequency_penalty != 0;
}

/* Row i of a run: parameters of a set, tokens and bans of its own where the set has penalties. */
static struct sample_row random_row(const struct sample_params *p, uint32_t i, int64_t n_logits)
{
	struct sample_row r = row_of((int32_t)(i % n_logits));
	r.params = *p;
	r.params.seed = rng_u32(15, RNG_TEST, i, 0) | (uint64_t)i << 40;
	r.position = (int64_t)rng_u32(15, RNG_TEST, i, 1) << (i % 3 * 8);
	if (!has_penalties(p))
		return r;
	r.n_known = (int32_t)(rng_u32(15, RNG_TEST, i, 2) % 5000);
	r.n_prompt = (int32_t)(rng_u32(15, RNG_TEST, i, 3) % (uint32_t)(r.n_known + 1));
	r.tokens_at = rng_u32(15, RNG_TEST, i, 4) % (MAX_LIST - 5000);
	r.ban_begin = (int32_t)(rng_u32(15, RNG_TEST, i, 5) % (MAX_LIST - 300));
	r.ban_end = r.ban_begin + (int32_t)(i % 300);
	return r;
}

static void fill_lists(void)
{
	for (uint32_t i = 0; i < MAX_LIST; i++) {
		/* Some ids come often. */
		uint32_t word = rng_u32(16, RNG_TEST, 0, i);
		f.tokens[i] = (int32_t)(word >> 2) % (int32_t)(word % 4 ? f.n_vocab : f.n_vocab / 50 + 1);
		f.banned[i] = (int32_t)(rng_u32(17, RNG_TEST, 0, i) % f.n_vocab);
	}
}

static void compare_with_reference(int64_t n_vocab, int64_t n_logits, int64_t n_rows)
{
	open_fixture(n_vocab, n_logits);
	fill_lists();
	for (int64_t r = 0; r < n_logits; r++)
		fill_row(f.logits + r * n_vocab, n_vocab, (uint32_t)r);
	upload_logits(n_logits);
	for (int set = 0; set < N_SETS; set++) {
		int different = 0;
		for (int64_t i = 0; i < n_rows; i++)
			f.rows[i] = random_row(&sets[set], (uint32_t)i, n_logits);
		run(n_rows);
		for (int64_t i = 0; i < n_rows; i++)
			different += f.results[i].id != expected(&f.rows[i]);
		printf("  %lld ids, set %d: %d of %lld rows differ from the reference\n", (long long)n_vocab, set, different,
		       (long long)n_rows);
		if (different * 1000 > n_rows)
			fail_msg("set %d: %d of %lld", set, different, (long long)n_rows);
	}
	close_fixture();
}

static void test_reference(void **state)
{
	(void)state;
	compare_with_reference(5003, 96, 2048);
}

static void test_reference_large(void **state)
{
	(void)state;
	compare_with_reference(128256, 12, 36);
}

static void test_reference_small(void **state)
{
	static const int64_t sizes[] = { 1, 2, 7, 50, 333, 4096 };
	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		compare_with_reference(sizes[i], 60, 300);
}

/* Rows that must not be chosen from, and temperatures so low that logits overflow: as the reference. */
static void test_specials(void **state)
{
	static const double temperatures[] = { 0, 1, 1e4, 1e-30, 1e-38, 1e-40, 1e-46, 1e-300 };
	static const float special[] = { NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 0.0f, -0.0f, 1e30f };
	int64_t n = 0;
	(void)state;
	open_fixture(4099, 64);
	for (int64_t r = 0; r < 64; r++)
		for (int64_t i = 0; i < f.n_vocab; i++)
			f.logits[r * f.n_vocab + i] = r / 8 < 4 && i % 700 != r % 8 ? rng_normal(18, RNG_TEST, (uint64_t)r, (uint32_t)i) :
						      r / 8 == 6 && i % 2 ? special[(r + 3) % 8] : special[r % 8];
	upload_logits(64);
	for (int t = 0; t < 8; t++)
		for (int64_t r = 0; r < 64; r++)
			for (int filter = 0; filter < 4; filter++) {
				struct sample_row row = row_of((int32_t)r);
				row.params.temperature = temperatures[t];
				row.params.top_k = filter == 1 ? 5 : filter == 3 ? 4098 : 0;
				row.params.top_p = filter == 2 ? 0.999 : 1;
				row.position = n;
				f.rows[n++] = row;
			}
	run(n);
	for (int64_t i = 0; i < n; i++)
		if (f.results[i].id != expected(&f.rows[i]))
			fail_msg("row %d, temperature %g, filter %d: %d, must be %d", f.rows[i].logits_row,
				 f.rows[i].params.temperature, (int)(i % 4), f.results[i].id, expected(&f.rows[i]));
	close_fixture();
}

/* A row's result has the same bits alone, among others and at another place. */
static void test_invariance(void **state)
{
	static struct sample_row rows[MAX_ROWS];
	static struct sample_result all[MAX_ROWS];
	(void)state;
	open_fixture(32003, 24);
	fill_lists();
	for (int64_t r = 0; r < 24; r++)
		fill_row(f.logits + r * f.n_vocab, f.n_vocab, (uint32_t)r);
	upload_logits(24);
	for (uint32_t i = 0; i < MAX_ROWS; i++) {
		rows[i] = random_row(&sets[i % N_SETS], i, 24);
		rows[i].want_logprob = i % 3 != 0;
		rows[i].no_choice = i % 29 == 0;
		if (i % 31 == 0)
			rows[i].logits_row = -1;
	}
	memcpy(f.rows, rows, sizeof rows);
	run(MAX_ROWS);
	memcpy(all, f.results, sizeof all);
	for (int i = 0; i < MAX_ROWS; i++) {
		if (rows[i].logits_row < 0)
			assert_int_equal(all[i].id, 0x55555555);
		else if (rows[i].no_choice)
			assert_int_equal(all[i].id, -1);
		else
			assert_in_range(all[i].id, 0, f.n_vocab - 1);
	}
	for (int i = 0; i < MAX_ROWS; i++)
		f.rows[i] = rows[MAX_ROWS - 1 - i];
	run(MAX_ROWS);
	for (int i = 0; i < MAX_ROWS; i++)
		assert_memory_equal(&f.results[MAX_ROWS - 1 - i], &all[i], sizeof all[i]);
	for (int i = 0; i < 300; i++) {
		int n = 1 + i % 9;
		memcpy(f.rows, rows + i, (size_t)n * sizeof *rows);
		run(n);
		assert_memory_equal(f.results, all + i, (size_t)n * sizeof *all);
	}
	close_fixture();
}

/* max and log_sum have log_softmax's bits. */
static void test_log_softmax(void **state)
{
	static const int64_t sizes[] = { 1, 511, 4100, 32000, 128256 };
	static float max[12], log_sum[12];
	(void)state;
	for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
		struct log_softmax_cuda kernel;
		open_fixture(sizes[k], 12);
		struct log_softmax_request request = { f.n_vocab };
		need(log_softmax_cuda_find(f.g, 0, &request, &kernel));
		for (int64_t r = 0; r < 12; r++) {
			fill_row(f.logits + r * f.n_vocab, f.n_vocab, (uint32_t)r);
			if (r >= 9)
				f.logits[r * f.n_vocab + f.n_vocab / 2] = r == 9 ? NAN : r == 10 ? INFINITY : -INFINITY;
		}
		upload_logits(12);
		float *gpu_max = gpu_take(sizeof max), *gpu_log_sum = gpu_take(sizeof log_sum);
		struct log_softmax_args a = { f.gpu_logits, gpu_max, gpu_log_sum, 12, f.n_vocab, f.n_vocab };
		log_softmax_cuda_run(f.g, &kernel, &a);
		gpu_download(f.g, max, gpu_max, sizeof max);
		gpu_download(f.g, log_sum, gpu_log_sum, sizeof log_sum);
		for (int i = 0; i < 12; i++) {
			f.rows[i] = row_of(i);
			f.rows[i].want_logprob = true;
			f.rows[i].params = sets[i % 4];
		}
		run(12);
		for (int i = 0; i < 12; i++) {
			const struct sample_result *r = &f.results[i];
			assert_memory_equal(&r->max, &max[i], sizeof max[i]);
			assert_memory_equal(&r->log_sum, &log_sum[i], sizeof log_sum[i]);
			float logprob = r->id < 0 ? 0 : (f.logits[i * f.n_vocab + r->id] - r->max) - r->log_sum;
			assert_memory_equal(&r->logprob, &logprob, sizeof logprob);
		}
		close_fixture();
	}
}

/* A graph of it gives the same, with other rows too. */
static void test_graph(void **state)
{
	static struct sample_result eager[2][64];
	struct gpu_graph *graph;
	(void)state;
	open_fixture(50000, 24);
	fill_lists();
	for (int64_t r = 0; r < 24; r++)
		fill_row(f.logits + r * f.n_vocab, f.n_vocab, (uint32_t)r);
	upload_logits(24);
	need(gpu_capture_begin(f.g));
	sample_cuda_run(f.g, f.s, f.gpu_logits, f.gpu_rows, f.gpu_tokens, f.gpu_banned, 64, f.gpu_results);
	need(gpu_capture_end(f.g, &graph));
	for (int k = 0; k < 2; k++) {
		for (uint32_t i = 0; i < 64; i++)
			f.rows[i] = random_row(&sets[(i + (uint32_t)k) % N_SETS], i, 24);
		run(64);
		memcpy(eager[k], f.results, sizeof eager[k]);
		gpu_fill(f.g, f.gpu_results, 0, sizeof eager[k]);
		for (int again = 0; again < 3; again++)
			gpu_graph_launch(f.g, graph);
		gpu_download(f.g, f.results, f.gpu_results, sizeof eager[k]);
		need(gpu_sync(f.g));
		assert_memory_equal(f.results, eager[k], sizeof eager[k]);
	}
	gpu_graph_destroy(f.g, &graph);
	close_fixture();
}

/* A chi-square value that is exceeded once in a million (Wilson and Hilferty, 1931). */
static double chi_square_limit(double df)
{
	double v = 2 / (9 * df);
	return df * pow(1 - v + 4.753 * sqrt(v), 3);
}

/* Frequencies over many positions fit the exact probabilities of what is kept. */
static void test_distribution(void **state)
{
	enum { N = 40, DRAWS = 60000 };
	static const struct sample_params filters[] = {
		{ .temperature = 1, .top_p = 1 },
		{ .temperature = 1, .top_p = 1, .top_k = 7 },
		{ .temperature = 1, .top_p = 0.8 },
		{ .temperature = 1, .top_p = 1, .min_p = 0.1 },
		{ .temperature = 2, .top_p = 0.9, .top_k = 12, .min_p = 0.02 },
	};
	(void)state;
	open_fixture(N, 1);
	for (int i = 0; i < N; i++)
		f.logits[i] = 0.1f * (float)(i * 17 % N); /* a permutation: no ties */
	upload_logits(1);
	for (size_t k = 0; k < sizeof filters / sizeof *filters; k++) {
		double p[N] = { 0 }, chi = 0, kept_sum = 0;
		int count[N] = { 0 }, df = -1;
		/* Ids from the most probable down; the j-th is the one whose logit is 0.1 * (N - 1 - j). */
		double top = 0.1f * (float)(N - 1), total = 0, limited = 0, sum = 0;
		int n_k = filters[k].top_k ? (int)filters[k].top_k : N;
		for (int j = 0; j < n_k; j++)
			limited += exp((0.1 * (N - 1 - j) - top) / filters[k].temperature);
		for (int j = 0; j < n_k; j++)
			for (int i = 0; i < N; i++) {
				if (i * 17 % N != N - 1 - j)
					continue;
				double mass = exp((0.1 * (N - 1 - j) - top) / filters[k].temperature);
				if (sum < filters[k].top_p * limited && mass >= filters[k].min_p) {
					p[i] = mass;
					total += mass;
				}
				sum += mass;
			}
		for (int done = 0; done < DRAWS; done += 2000) {
			for (int i = 0; i < 2000; i++) {
				f.rows[i] = row_of(0);
				f.rows[i].params = filters[k];
				f.rows[i].params.repetition_penalty = 1;
				f.rows[i].params.seed = 99;
				f.rows[i].position = done + i;
			}
			run(2000);
			for (int i = 0; i < 2000; i++)
				count[f.results[i].id]++;
		}
		for (int i = 0; i < N; i++) {
			double expect = p[i] / total * DRAWS;
			if (p[i] == 0) {
				assert_int_equal(count[i], 0);
				continue;
			}
			assert_true(expect >= 5);
			chi += (count[i] - expect) * (count[i] - expect) / expect;
			df++;
			kept_sum += count[i];
		}
		assert_true(kept_sum == DRAWS);
		printf("  filters %d: %d ids kept, chi-square %.1f of at most %.1f\n", (int)k, df + 1, chi, chi_square_limit(df));
		assert_true(chi < chi_square_limit(df));
	}
	close_fixture();
}

static void test_refusals(void **state)
{
	(void)state;
	assert_true(sample_cuda_bytes(2, 128256) > sample_cuda_bytes(1, 128256));
	assert_true(sample_cuda_bytes(1, 128256) < 2 * 4 * 128256);
	open_fixture(8, 1);
	struct sample_cuda *s;
	assert_int_equal(sample_cuda_create(f.g, 1, (int64_t)SAMPLE_PART * SAMPLE_MAX_PARTS + 1, &s), VB_EUNSUPPORTED);
	assert_null(s);
	assert_int_equal(sample_cuda_create(f.g, 1, 0, &s), VB_EUNSUPPORTED);
	assert_null(s);
	need(sample_cuda_create(f.g, 1, (int64_t)SAMPLE_PART * SAMPLE_MAX_PARTS, &s));
	sample_cuda_destroy(f.g, &s);
	sample_cuda_destroy(f.g, &s);
	close_fixture();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),	   cmocka_unit_test(test_specials),
		cmocka_unit_test(test_reference_small), cmocka_unit_test(test_reference),
		cmocka_unit_test(test_reference_large), cmocka_unit_test(test_log_softmax),
		cmocka_unit_test(test_invariance),	   cmocka_unit_test(test_graph),
		cmocka_unit_test(test_distribution),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
