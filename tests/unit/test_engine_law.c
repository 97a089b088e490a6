/* The law, through the engine: an answer depends on model, prompt, parameters and seed, to the last bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_help.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* One folder of every family; none switches its rope tables within these lengths. */
static const char *const folders[] = {
	"llama-3-gqa3", "llama-yarn", "llama-linear", "mistral-window7", "qwen2-untied-gqa7", "qwen3-sliding-v5",
	"phi3-partial-v5", "gemma2-window7", "gemma3-pattern3", "internlm2-bias", "internlm3-o-mlp-bias",
};
#define N_FOLDERS (sizeof folders / sizeof *folders)

static const char *const types[] = { "f32", "bf16", "f16" };

static struct vb_request sampled(const int32_t *ids, size_t n, uint64_t seed)
{
	struct vb_request r = request_of(ids, n, 24);
	r.ignore_eos = true;
	r.logprobs = 3;
	r.prompt_logprobs = 2;
	if (seed % 2) {
		r.sampling.temperature = 0.9;
		r.sampling.seed = seed;
	}
	if (seed == 3) {
		r.sampling.top_p = 0.9;
		r.sampling.top_k = 30;
		r.sampling.min_p = 0.01;
		r.sampling.repetition_penalty = 1.2;
		r.sampling.presence_penalty = 0.1;
		r.sampling.frequency_penalty = 0.1;
	}
	return r;
}

/* Threads, chunks, pages, the length of the context: none of them is seen. */
static void test_ways_of_running(void **state)
{
	(void)state;
	static const struct {
		int threads;
		int64_t chunk, page_size, context;
	} ways[] = { { 1, 512, 64, 512 }, { 2, 1, 1, 160 }, { 2, 7, 16, 100 }, { 1, 16, 8, 300 }, { 3, 64, 4, 128 } };
	for (size_t f = 0; f < N_FOLDERS; f++) {
		int32_t ids[48];
		size_t n = golden_prompt(folders[f], ids, 48);
		for (int t = 0; t < 2; t++) {
			struct vb_result first[4], other;
			for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
				struct vb_options o = small_options();
				o.dtype = types[t];
				o.threads = ways[w].threads;
				o.prefill_chunk = ways[w].chunk;
				o.page_size = ways[w].page_size;
				o.context = ways[w].context;
				struct vb_engine *e = open_engine(golden(folders[f]), &o);
				for (uint64_t seed = 0; seed < 4; seed++) {
					struct vb_request r = sampled(ids, n, seed);
					need(vb_generate(e, &r, NULL, NULL, w ? &other : &first[seed]));
					if (!w)
						continue;
					need_same(&first[seed], &other);
					vb_result_free(&other);
				}
				need(vb_engine_close(&e));
			}
			for (int seed = 0; seed < 4; seed++)
				vb_result_free(&first[seed]);
		}
	}
}

/* A generated token and the same token in a prompt: prefill and decode agree in every bit. */
static void test_decode_is_prefill(void **state)
{
	(void)state;
	for (size_t f = 0; f < N_FOLDERS; f++) {
		for (int t = 0; t < 3; t++) {
			struct vb_options o = small_options();
			o.dtype = types[t];
			struct vb_engine *e = open_engine(golden(folders[f]), &o);
			int32_t ids[160];
			size_t n = golden_prompt(folders[f], ids, 40);
			struct vb_request r = sampled(ids, n, (uint64_t)t);
			struct vb_result made, scored;
			r.max_tokens = 40;
			r.prompt_logprobs = 3;
			need(vb_generate(e, &r, NULL, NULL, &made));
			assert_int_equal(made.n_ids, 40);
			memcpy(ids + n, made.ids, made.n_ids * sizeof *ids);
			r = request_of(ids, n + made.n_ids, 0);
			r.prompt_logprobs = 3;
			need(vb_generate(e, &r, NULL, NULL, &scored));
			for (size_t i = 1; i < n + made.n_ids; i++) {
				const struct vb_token *a = i < n ? &made.prompt_tokens[i] : &made.tokens[i - n];
				const struct vb_token *b = &scored.prompt_tokens[i];
				assert_int_equal(a->id, b->id);
				if (memcmp(&a->logprob, &b->logprob, sizeof a->logprob) != 0)
					fail_msg("%s, %s: token %zu: %.9g generated, %.9g in a prompt", folders[f],
						 types[t], i, (double)a->logprob, (double)b->logprob);
				assert_memory_equal(a->top, b->top, 3 * sizeof *a->top);
			}
			vb_result_free(&made);
			vb_result_free(&scored);
			need(vb_engine_close(&e));
		}
	}
}

/* What an engine did before leaves nothing behind. */
static void test_order(void **state)
{
	(void)state;
	for (size_t f = 0; f < N_FOLDERS; f += 3) {
		struct vb_options o = small_options();
		struct vb_engine *e = open_engine(golden(folders[f]), &o);
		int32_t ids[3][48];
		size_t n[3];
		struct vb_result fresh[3], later;
		for (int i = 0; i < 3; i++) {
			n[i] = golden_prompt(folders[f], ids[i], (size_t)(10 + 15 * i));
			for (size_t j = 0; j < n[i]; j++)
				ids[i][j] = (ids[i][j] + i) % 100;
			struct vb_engine *own = open_engine(golden(folders[f]), &o);
			struct vb_request r = sampled(ids[i], n[i], 3);
			need(vb_generate(own, &r, NULL, NULL, &fresh[i]));
			need(vb_engine_close(&own));
		}
		for (int i = 0; i < 9; i++) {
			int which = (i * 5 + i / 3) % 3;
			struct vb_request r = sampled(ids[which], n[which], 3);
			need(vb_generate(e, &r, NULL, NULL, &later));
			need_same(&later, &fresh[which]);
			vb_result_free(&later);
		}
		for (int i = 0; i < 3; i++)
			vb_result_free(&fresh[i]);
		need(vb_engine_close(&e));
	}
}

/* Asking for log-probabilities, stop strings that do not come, more tokens: the answer is the same as far as it goes. */
static void test_what_is_asked_beside(void **state)
{
	(void)state;
	struct vb_options o = small_options();
	struct vb_engine *e = open_engine(source_path("models/demo"), &o);
	static const char prompt[] = "The little fox";
	struct vb_request base;
	vb_request_default(&base);
	base.prompt = prompt;
	base.prompt_len = strlen(prompt);
	base.max_tokens = 40;
	base.sampling.temperature = 1.1;
	base.sampling.seed = 99;
	base.ignore_eos = true;
	struct vb_result plain, other;
	need(vb_generate(e, &base, NULL, NULL, &plain));
	for (int way = 0; way < 5; way++) {
		struct vb_request r = base;
		if (way == 0)
			r.logprobs = 20;
		else if (way == 1)
			r.prompt_logprobs = 5;
		else if (way == 2)
			r.max_tokens = 17;
		else if (way == 3)
			r.max_tokens = 100;
		r.stop = (const char *const[]){ "no such text anywhere" };
		r.n_stop = way == 4;
		need(vb_generate(e, &r, NULL, NULL, &other));
		size_t n = other.n_ids < plain.n_ids ? other.n_ids : plain.n_ids;
		assert_int_equal(n, way == 2 ? 17 : 40);
		assert_memory_equal(other.ids, plain.ids, n * sizeof *plain.ids);
		vb_result_free(&other);
	}
	/* The prompt as ids is the prompt as text. */
	struct vb_request r = base;
	r.prompt = NULL;
	r.prompt_ids = plain.prompt_ids;
	r.n_prompt_ids = plain.n_prompt_ids;
	need(vb_generate(e, &r, NULL, NULL, &other));
	need_same(&other, &plain);
	vb_result_free(&other);
	/* Another seed gives another answer. */
	base.sampling.seed++;
	need(vb_generate(e, &base, NULL, NULL, &other));
	assert_memory_not_equal(other.ids, plain.ids, plain.n_ids * sizeof *plain.ids);
	vb_result_free(&other);
	vb_result_free(&plain);
	need(vb_engine_close(&e));
}

/* Log-probabilities are natural logs of a distribution, in order, the lower id first on ties. */
static void test_logprobs(void **state)
{
	(void)state;
	struct vb_options o = small_options();
	struct vb_engine *e = open_engine(golden("llama-one-token"), &o); /* 128 ids */
	int32_t ids[4] = { 3, 60, 120, 9 };
	struct vb_request r = request_of(ids, 4, 6);
	r.logprobs = r.prompt_logprobs = 100;
	r.ignore_eos = true;
	struct vb_result result;
	need(vb_generate(e, &r, NULL, NULL, &result));
	for (int i = 0; i < 9; i++) {
		const struct vb_token *t = i < 3 ? &result.prompt_tokens[i + 1] : &result.tokens[i - 3];
		double sum = 0;
		assert_int_equal(t->n_top, 100);
		for (int j = 0; j < 100; j++) {
			sum += exp((double)t->top[j].logprob);
			if (j)
				assert_true(t->top[j - 1].logprob > t->top[j].logprob ||
					    (t->top[j - 1].logprob == t->top[j].logprob &&
					     t->top[j - 1].id < t->top[j].id));
			if (t->top[j].id == t->id)
				assert_memory_equal(&t->top[j].logprob, &t->logprob, sizeof t->logprob);
		}
		assert_true(sum > 0.5 && sum < 1 + 1e-5);
		if (i >= 3)
			assert_int_equal(t->top[0].id, t->id); /* greedy */
	}
	vb_result_free(&result);
	need(vb_engine_close(&e));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ways_of_running),
		cmocka_unit_test(test_decode_is_prefill),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_what_is_asked_beside),
		cmocka_unit_test(test_logprobs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
