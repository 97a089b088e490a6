/* The engine as its callers see it: misuse, lengths, ends, cancelling, answers about itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_help.h"

#include "base/json.h"
#include "base/utf8.h"
#include "engine/engine_internal.h"

#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char plain[] = "llama-3-gqa3"; /* a golden folder: no tokeniser */

static bool is_zero(const struct vb_result *r)
{
	static const struct vb_result zero;
	return memcmp(r, &zero, sizeof zero) == 0;
}

/* ---- Misuse ---- */

static void test_null(void **state)
{
	(void)state;
	struct vb_engine *e = (struct vb_engine *)1;
	struct vb_request r;
	struct vb_result result;
	char *json = NULL;
	need_failure(vb_engine_open(NULL, golden(plain), NULL), VB_EINVAL, WORDS("vb_engine_open"));
	need_failure(vb_engine_open(&e, NULL, NULL), VB_EINVAL, WORDS("vb_engine_open"));
	need(vb_engine_close(NULL));
	e = NULL;
	need(vb_engine_close(&e));
	vb_cancel(NULL);
	assert_null(vb_engine_tokenizer(NULL));
	vb_result_free(NULL);
	vb_free(NULL);
	vb_request_default(&r);
	need_failure(vb_generate(NULL, &r, NULL, NULL, &result), VB_EINVAL, WORDS("vb_generate"));
	struct vb_options o = small_options();
	e = open_engine(golden(plain), &o);
	need_failure(vb_generate(e, NULL, NULL, NULL, &result), VB_EINVAL, WORDS("vb_generate"));
	need_failure(vb_generate(e, &r, NULL, NULL, NULL), VB_EINVAL, WORDS("vb_generate"));
	need_failure(vb_engine_info(e, NULL), VB_EINVAL, WORDS("vb_engine_info"));
	need_failure(vb_engine_info(NULL, &json), VB_EINVAL, WORDS("vb_engine_info"));
	need_failure(vb_explain(NULL, NULL, NULL, NULL), VB_EINVAL, WORDS("vb_explain"));
	assert_null(vb_engine_tokenizer(e));
	need(vb_engine_close(&e));
	assert_null(e);
}

static void open_fails(const struct vb_options *o, int rc, const char *const *words)
{
	struct vb_engine *e = (struct vb_engine *)1;
	need_failure(vb_engine_open(&e, golden(plain), o), rc, words);
	assert_null(e);
}

static void test_bad_options(void **state)
{
	(void)state;
	struct vb_options o;
	static const struct vb_options zero;
	o = zero;
	open_fails(&o, VB_EINVAL, WORDS("vb_options_default"));
	o = small_options();
	o.size--;
	open_fails(&o, VB_EINVAL, WORDS("vb_options_default"));
#define BAD(field, value, rc, ...)                        \
	do {                                              \
		o = small_options();                      \
		o.field = (value);                        \
		open_fails(&o, (rc), WORDS(__VA_ARGS__)); \
	} while (0)
	BAD(device, NULL, VB_EINVAL, "NULL");
	BAD(device, "tpu", VB_EINVAL, "--device", "tpu", "cuda:N");
	BAD(dtype, "int8", VB_EINVAL, "--dtype", "int8", "bf16");
	BAD(cpu_isa, "sse", VB_EINVAL, "--cpu-isa", "sse", "avx2");
	BAD(attention, "nonsense", VB_EINVAL, "nonsense", "ref");
	BAD(speculate, "wishes", VB_EINVAL, "--speculate", "wishes");
	BAD(speculate, "eagle3", VB_EUNSUPPORTED, "--speculate", "eagle3");
	BAD(speculate, "draft", VB_EINVAL, "--draft-model");
	BAD(page_size, 3, VB_EINVAL, "--page-size", "3");
	BAD(page_size, -1, VB_EINVAL, "--page-size", "-1");
	BAD(page_size, 131072, VB_EINVAL, "--page-size");
	BAD(context, -5, VB_EINVAL, "--context", "-5");
	BAD(context, INT64_MAX, VB_EINVAL, "--context");
	BAD(context, INT32_MAX, VB_EINVAL, "--context");
	BAD(max_batch, -1, VB_EINVAL, "--max-batch", "-1");
	BAD(max_batch, 1 << 20, VB_EINVAL, "--max-batch");
	BAD(prefill_chunk, -1, VB_EINVAL, "--prefill-chunk", "-1");
	BAD(prefill_chunk, INT64_MAX, VB_EINVAL, "--prefill-chunk");
	BAD(threads, -1, VB_EINVAL, "--threads", "-1");
	BAD(threads, 5000, VB_EINVAL, "--threads", "5000");
	BAD(kv_memory, 100, VB_ELIMIT, "KV cache", "raise --kv-memory");
#undef BAD
	/* Options may be left out. */
	struct vb_engine *e;
	need(vb_engine_open(&e, golden("llama-one-token"), NULL));
	need(vb_engine_close(&e));
}

static void test_bad_folders(void **state)
{
	(void)state;
	struct vb_engine *e = (struct vb_engine *)1;
	struct vb_options o = small_options();
	need_failure(vb_engine_open(&e, "/nowhere/at/all", &o), VB_ENOTFOUND, WORDS("/nowhere/at/all"));
	assert_null(e);
	need_failure(vb_engine_open(&e, "", &o), VB_ENOTFOUND, WORDS("config.json"));
	need_failure(vb_engine_open(&e, golden("cases.json"), &o), VB_EIO, WORDS("cases.json"));
}

static void generate_fails(struct vb_engine *e, const struct vb_request *r, int rc, const char *const *words)
{
	struct vb_result result = { .n_ids = 7, .finish = VB_FINISH_ERROR };
	need_failure(vb_generate(e, r, NULL, NULL, &result), rc, words);
	assert_true(is_zero(&result));
}

static void test_bad_requests(void **state)
{
	(void)state;
	struct vb_options o = small_options();
	struct vb_engine *e = open_engine(golden(plain), &o);
	int64_t vocab = program_n_vocab(e->setup.program);
	int32_t ids[200] = { 5, 6, 7 };
	struct vb_request r, base = request_of(ids, 3, 4);
#define BAD(field, value, rc, ...)                               \
	do {                                                     \
		r = base;                                        \
		r.field = (value);                               \
		generate_fails(e, &r, (rc), WORDS(__VA_ARGS__)); \
	} while (0)
	BAD(size, 0, VB_EINVAL, "vb_request_default");
	BAD(prompt_ids, NULL, VB_EINVAL, "exactly one");
	BAD(prompt, "x", VB_EINVAL, "exactly one");
	BAD(chat, "[]", VB_EINVAL, "exactly one");
	BAD(n_prompt_ids, 0, VB_EINVAL, "empty prompt");
	BAD(n_prompt_ids, 161, VB_ELIMIT, "prompt too long", "161", "160", "--context");
	BAD(n_prompt_ids, 160, VB_ELIMIT, "prompt too long", "--context");
	BAD(max_tokens, -1, VB_EINVAL, "max_tokens", "-1");
	BAD(min_tokens, -1, VB_EINVAL, "min_tokens", "-1");
	BAD(logprobs, 101, VB_EINVAL, "logprobs", "100");
	BAD(logprobs, -2, VB_EINVAL, "logprobs", "-2");
	BAD(prompt_logprobs, 101, VB_EINVAL, "logprobs", "100");
	BAD(prompt_logprobs, INT32_MIN, VB_EINVAL, "logprobs");
	BAD(sampling.temperature, -1, VB_EINVAL, "temperature");
	BAD(sampling.temperature, NAN, VB_EINVAL, "temperature");
	BAD(sampling.temperature, INFINITY, VB_EINVAL, "temperature");
	BAD(sampling.top_p, 1.1, VB_EINVAL, "top_p");
	BAD(sampling.top_p, NAN, VB_EINVAL, "top_p");
	BAD(sampling.min_p, -0.1, VB_EINVAL, "min_p");
	BAD(sampling.top_k, -1, VB_EINVAL, "top_k");
	BAD(sampling.repetition_penalty, 0, VB_EINVAL, "repetition_penalty");
	BAD(sampling.presence_penalty, 1000, VB_EINVAL, "presence_penalty");
	BAD(sampling.frequency_penalty, NAN, VB_EINVAL, "frequency_penalty");
	BAD(n_stop, 2, VB_EINVAL, "stop is NULL");
#undef BAD
	r = base;
	r.n_stop = 2;
	r.stop = (const char *const[]){ "a", "" };
	generate_fails(e, &r, VB_EINVAL, WORDS("empty stop string", "2"));
	r.stop = (const char *const[]){ "a", NULL };
	generate_fails(e, &r, VB_EINVAL, WORDS("empty stop string", "2"));
	r.stop = (const char *const[]){ "a", "\xa9" };
	generate_fails(e, &r, VB_EINVAL, WORDS("UTF-8", "2"));
	/* Ids are the model's, and messages say which is not. */
	ids[2] = (int32_t)vocab;
	generate_fails(e, &base, VB_EINVAL, WORDS("token id out of range", "prompt[2]"));
	ids[2] = -1;
	generate_fails(e, &base, VB_EINVAL, WORDS("token id out of range", "prompt[2] = -1"));
	/* A folder without a tokeniser cannot take text. */
	r = base;
	r.prompt_ids = NULL;
	r.prompt = "x";
	r.prompt_len = 1;
	generate_fails(e, &r, VB_ENOTFOUND, WORDS("no tokeniser", "token ids"));
	r.prompt = NULL;
	r.chat = "[]";
	generate_fails(e, &r, VB_ENOTFOUND, WORDS("no tokeniser", "token ids"));
	/* None of this has hurt the engine. */
	struct vb_result result;
	ids[2] = 7;
	need(vb_generate(e, &base, NULL, NULL, &result));
	assert_int_equal(result.n_ids, 4);
	vb_result_free(&result);
	assert_true(is_zero(&result));
	vb_result_free(&result);
	need(vb_engine_close(&e));
}

static void test_bad_chats(void **state)
{
	(void)state;
	struct vb_options o = small_options();
	struct vb_engine *e = open_engine(source_path("models/demo"), &o);
	static const char *const chats[] = { "{", "3", "{\"messages\":3}", "{}", "\"text\"", "[1" };
	for (size_t i = 0; i < sizeof chats / sizeof *chats; i++) {
		struct vb_request r;
		struct vb_result result;
		vb_request_default(&r);
		r.chat = chats[i];
		int rc = vb_generate(e, &r, NULL, NULL, &result);
		assert_true(rc == VB_EINVAL || rc == VB_EFORMAT);
		assert_non_null(strstr(vb_errmsg(), "chat"));
		assert_true(is_zero(&result));
	}
	struct vb_request r;
	struct vb_result result;
	vb_request_default(&r);
	r.chat = "[{\"role\":\"user\",\"content\":\"Hi.\"}]";
	r.max_tokens = 3;
	need(vb_generate(e, &r, NULL, NULL, &result));
	assert_true(result.n_prompt_ids > 3);
	vb_result_free(&result);
	need(vb_engine_close(&e));
}

/* ---- Lengths and ends ---- */

static void test_lengths(void **state)
{
	(void)state;
	struct vb_options o = small_options();
	o.context = 48;
	struct vb_engine *e = open_engine(golden(plain), &o);
	int32_t ids[64];
	size_t n = golden_prompt(plain, ids, 40);
	assert_int_equal(n, 40);
	struct vb_result result;
	struct vb_request r = request_of(ids, 40, 0);
	need(vb_generate(e, &r, NULL, NULL, &result));
	assert_int_equal(result.n_ids, 0);
	assert_int_equal(result.finish, VB_FINISH_LENGTH);
	assert_int_equal(result.n_prompt_ids, 40);
	assert_memory_equal(result.prompt_ids, ids, 40 * sizeof *ids);
	assert_string_equal(result.text, "");
	assert_null(result.tokens);
	assert_null(result.prompt_tokens);
	assert_false(result.clipped);
	assert_true(result.prefill_tok_s > 0 && result.decode_tok_s == 0 && result.first_token_s == 0);
	vb_result_free(&result);
	r.ignore_eos = true;
	for (int64_t wanted = 1; wanted <= 12; wanted++) {
		r.max_tokens = wanted == 12 ? INT64_MAX : wanted;
		need(vb_generate(e, &r, NULL, NULL, &result));
		assert_int_equal(result.n_ids, wanted < 8 ? wanted : 8);
		assert_int_equal(result.finish, VB_FINISH_LENGTH);
		assert_int_equal(result.clipped, wanted > 8);
		vb_result_free(&result);
	}
	/* A prompt that fills the context can be scored, not continued. */
	for (size_t i = 40; i < 48; i++)
		ids[i] = ids[i - 40];
	r = request_of(ids, 48, 0);
	r.prompt_logprobs = 0;
	need(vb_generate(e, &r, NULL, NULL, &result));
	assert_non_null(result.prompt_tokens);
	assert_true(isnan(result.prompt_tokens[0].logprob));
	for (size_t i = 0; i < 48; i++) {
		assert_int_equal(result.prompt_tokens[i].id, ids[i]);
		assert_true(i == 0 || result.prompt_tokens[i].logprob <= 0);
		assert_int_equal(result.prompt_tokens[i].n_top, 0);
	}
	vb_result_free(&result);
	need(vb_engine_close(&e));
}

static void test_end_tokens(void **state)
{
	(void)state;
	struct vb_options o = small_options();
	struct vb_engine *e = open_engine(golden(plain), &o);
	int32_t ids[40], greedy[12];
	size_t n = golden_prompt(plain, ids, 40);
	struct vb_result result;
	struct vb_request r = request_of(ids, n, 12);
	e->n_eos = 0;
	need(vb_generate(e, &r, NULL, NULL, &result));
	assert_int_equal(result.n_ids, 12);
	memcpy(greedy, result.ids, sizeof greedy);
	vb_result_free(&result);
	/* The answer's fourth token, where it is seen first, becomes the end. */
	size_t first = 0;
	while (greedy[first] != greedy[3])
		first++;
	e->eos[e->n_eos++] = greedy[3];
	need(vb_generate(e, &r, NULL, NULL, &result));
	assert_int_equal(result.finish, VB_FINISH_STOP);
	assert_int_equal(result.n_ids, first); /* without the end token */
	assert_memory_equal(result.ids, greedy, first * sizeof *greedy);
	vb_result_free(&result);
	r.ignore_eos = true;
	need(vb_generate(e, &r, NULL, NULL, &result));
	assert_int_equal(result.n_ids, 12);
	assert_memory_equal(result.ids, greedy, sizeof greedy);
	vb_result_free(&result);
	/* No end before min_tokens: something else is chosen in its place. */
	r.ignore_eos = false;
	r.min_tokens = 7;
	need(vb_generate(e, &r, NULL, NULL, &result));
	assert_true(result.n_ids >= 7);
	for (size_t i = 0; i < result.n_ids && i < 7; i++)
		assert_int_not_equal(result.ids[i], greedy[3]);
	vb_result_free(&result);
	need(vb_engine_close(&e));
}

/* ---- Text ---- */

struct stream {
	char text[4096];
	size_t len, n_tokens, cancel_after;
	struct vb_engine *cancel;
};

static int collect(void *user, const struct vb_event *event)
{
	struct stream *s = user;
	assert_true(utf8_valid(event->text, event->text_len));
	assert_true(s->len + event->text_len < sizeof s->text);
	memcpy(s->text + s->len, event->text, event->text_len);
	s->len += event->text_len;
	if (event->token)
		s->n_tokens++;
	if (s->cancel_after && s->n_tokens == s->cancel_after) {
		if (!s->cancel)
			return 1;
		vb_cancel(s->cancel);
	}
	return 0;
}

static struct vb_request story(int64_t max_tokens)
{
	static const char prompt[] = "Once upon a time";
	struct vb_request r;
	vb_request_default(&r);
	r.prompt = prompt;
	r.prompt_len = strlen(prompt);
	r.max_tokens = max_tokens;
	return r;
}

/* What streamed is the text; the text is that of the ids. */
static void test_text(void **state)
{
	(void)state;
	struct vb_options o = small_options();
	struct vb_engine *e = open_engine(source_path("models/demo"), &o);
	const struct vb_tokenizer *t = vb_engine_tokenizer(e);
	assert_non_null(t);
	for (uint64_t seed = 0; seed < 6; seed++) {
		struct vb_request r = story(60);
		struct vb_result result;
		struct stream s = { 0 };
		r.ignore_eos = seed & 1;
		r.sampling.temperature = seed ? 1.5 : 0; /* hot enough for odd tokens */
		r.sampling.seed = seed;
		need(vb_generate(e, &r, collect, &s, &result));
		assert_int_equal(s.n_tokens, result.n_ids);
		assert_int_equal(s.len, result.text_len);
		assert_memory_equal(s.text, result.text, s.len);
		assert_int_equal(strlen(result.text), result.text_len);
		/* The answer continues the prompt: its text is what it adds to the prompt's. */
		char *text;
		size_t len;
		need(vb_detokenize(t, result.ids, result.n_ids, true, &text, &len));
		assert_int_equal(len, result.text_len);
		assert_memory_equal(text, result.text, len);
		vb_free(text);
		vb_result_free(&result);
	}
	need(vb_engine_close(&e));
}

static void test_stop_strings(void **state)
{
	(void)state;
	struct vb_options o = small_options();
	struct vb_engine *e = open_engine(source_path("models/demo"), &o);
	struct vb_result whole, cut;
	struct vb_request r = story(40);
	need(vb_generate(e, &r, NULL, NULL, &whole));
	assert_true(whole.text_len > 60);
	/* Any piece of the answer, as a stop string, cuts it at its first occurrence. */
	for (size_t begin = 0; begin + 9 < 60; begin += 3) {
		char stop[10] = "";
		memcpy(stop, whole.text + begin, 9);
		const char *at = strstr(whole.text, stop);
		struct stream s = { 0 };
		r.stop = (const char *const[]){ "absent from it", stop };
		r.n_stop = 2;
		need(vb_generate(e, &r, collect, &s, &cut));
		assert_int_equal(cut.finish, VB_FINISH_STOP);
		assert_int_equal(cut.text_len, at - whole.text);
		assert_memory_equal(cut.text, whole.text, cut.text_len);
		assert_int_equal(s.len, cut.text_len);
		assert_true(cut.n_ids <= whole.n_ids);
		assert_memory_equal(cut.ids, whole.ids, cut.n_ids * sizeof *cut.ids);
		vb_result_free(&cut);
	}
	/* The beginning of a stop string that does not come is given out in the end. */
	char stop[16];
	snprintf(stop, sizeof stop, "%.8s\xf0\x9f\x98\x80", whole.text + whole.text_len - 8);
	r.stop = (const char *const[]){ stop };
	r.n_stop = 1;
	struct stream s = { 0 };
	need(vb_generate(e, &r, collect, &s, &cut));
	assert_int_equal(cut.finish, whole.finish);
	assert_string_equal(cut.text, whole.text);
	assert_int_equal(s.len, whole.text_len);
	vb_result_free(&cut);
	vb_result_free(&whole);
	need(vb_engine_close(&e));
}

/* A model with more ids than its tokeniser: those have no text. */
static void test_padded_vocabulary(void **state)
{
	(void)state;
	char dir[] = "/tmp/verbatim-test-XXXXXX", command[9000];
	assert_non_null(mkdtemp(dir));
	snprintf(command, sizeof command, "cp '%s'/tokenizer*.json %s && sed 's/\"vocab_size\": 3072/\"vocab_size\": 9000/' "
					  "'%s'/config.json > %s/config.json",
		 source_path("models/demo"), dir, source_path("models/demo"), dir);
	assert_int_equal(system(command), 0);
	struct vb_options o = small_options();
	o.random_weights = true;
	struct vb_engine *e = open_engine(dir, &o);
	struct vb_request r = story(100);
	r.sampling.temperature = 10;
	r.ignore_eos = true;
	struct vb_result result;
	need(vb_generate(e, &r, NULL, NULL, &result));
	assert_int_equal(result.n_ids, 100);
	int beyond = 0;
	for (size_t i = 0; i < result.n_ids; i++)
		beyond += result.ids[i] >= 3072;
	assert_true(beyond > 20 && beyond < 100 && result.text_len > 0);
	vb_result_free(&result);
	need(vb_engine_close(&e));
	snprintf(command, sizeof command, "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

/* The tokeniser by itself agrees with the engine's. */
static void test_tokenizer(void **state)
{
	(void)state;
	const char *dir = source_path("models/demo");
	struct vb_tokenizer *t = (struct vb_tokenizer *)1;
	int32_t *ids;
	size_t n, len;
	char *text;
	need_failure(vb_tokenizer_open(NULL, dir), VB_EINVAL, WORDS("vb_tokenizer_open"));
	need_failure(vb_tokenizer_open(&t, NULL), VB_EINVAL, WORDS("vb_tokenizer_open"));
	need_failure(vb_tokenizer_open(&t, golden(plain)), VB_ENOTFOUND, WORDS("tokenizer.json"));
	assert_null(t);
	vb_tokenizer_close(NULL);
	vb_tokenizer_close(&t);
	need(vb_tokenizer_open(&t, dir));
	need_failure(vb_tokenize(t, NULL, 1, true, true, &ids, &n), VB_EINVAL, WORDS("vb_tokenize"));
	need_failure(vb_tokenize(t, "x", 1, true, true, NULL, &n), VB_EINVAL, WORDS("vb_tokenize"));
	need_failure(vb_tokenize(NULL, "x", 1, true, true, &ids, &n), VB_EINVAL, WORDS("vb_tokenize"));
	need_failure(vb_detokenize(t, NULL, 1, true, &text, &len), VB_EINVAL, WORDS("vb_detokenize"));
	need_failure(vb_detokenize(t, (int32_t[]){ 1 << 30 }, 1, true, &text, &len), VB_EINVAL, WORDS("1073741824"));
	need_failure(vb_render_chat(t, NULL, true, &text, &len), VB_EINVAL, WORDS("vb_render_chat"));
	assert_int_equal(vb_tokenizer_vocab_size(NULL), 0);
	need(vb_tokenize(t, "", 0, false, false, &ids, &n));
	assert_int_equal(n, 0);
	vb_free(ids);

	struct vb_options o = small_options();
	struct vb_engine *e = open_engine(source_path("models/demo"), &o);
	struct vb_result result;
	struct vb_request r = story(0);
	need(vb_generate(e, &r, NULL, NULL, &result));
	need(vb_tokenize(t, r.prompt, r.prompt_len, true, true, &ids, &n));
	assert_int_equal(n, result.n_prompt_ids);
	assert_memory_equal(ids, result.prompt_ids, n * sizeof *ids);
	need(vb_detokenize(t, ids, n, true, &text, &len));
	assert_string_equal(text, r.prompt);
	vb_free(text);
	vb_free(ids);
	vb_result_free(&result);
	/* A conversation is the rendered template, its special tokens parsed. */
	vb_request_default(&r);
	r.chat = "[{\"role\":\"user\",\"content\":\"Hi there.\"}]";
	r.max_tokens = 0;
	need(vb_generate(e, &r, NULL, NULL, &result));
	need(vb_render_chat(t, r.chat, true, &text, &len));
	assert_non_null(strstr(text, "Hi there."));
	need(vb_tokenize(t, text, len, false, true, &ids, &n));
	assert_int_equal(n, result.n_prompt_ids);
	assert_memory_equal(ids, result.prompt_ids, n * sizeof *ids);
	vb_free(text);
	vb_free(ids);
	vb_result_free(&result);
	need(vb_engine_close(&e));
	vb_tokenizer_close(&t);
	assert_null(t);
}

/* ---- Cancelling, and more than one thread ---- */

static void test_cancel_from_callback(void **state)
{
	(void)state;
	struct vb_options o = small_options();
	struct vb_engine *e = open_engine(source_path("models/demo"), &o);
	struct vb_request r = story(30);
	struct vb_result whole, result;
	need(vb_generate(e, &r, NULL, NULL, &whole));
	for (size_t after = 1; after < 6; after++) {
		for (int by = 0; by < 2; by++) {
			struct stream s = { .cancel_after = after, .cancel = by ? e : NULL };
			need_failure(vb_generate(e, &r, collect, &s, &result), VB_ECANCELLED, WORDS("cancelled"));
			assert_int_equal(result.finish, VB_FINISH_CANCELLED);
			assert_int_equal(result.n_ids, after);
			assert_int_equal(s.n_tokens, after);
			assert_memory_equal(result.ids, whole.ids, after * sizeof *whole.ids);
			assert_memory_equal(result.text, whole.text, result.text_len);
			assert_true(result.text_len >= s.len);
			vb_result_free(&result);
		}
	}
	/* Text that a stop string held back is there too. */
	char stop[64];
	snprintf(stop, sizeof stop, "%.20s never", whole.text);
	r.stop = (const char *const[]){ stop };
	r.n_stop = 1;
	struct stream s = { .cancel_after = 3 };
	need_failure(vb_generate(e, &r, collect, &s, &result), VB_ECANCELLED, WORDS("after 3 tokens"));
	assert_int_equal(s.len, 0);
	assert_true(result.text_len > 0);
	assert_memory_equal(result.text, whole.text, result.text_len);
	vb_result_free(&result);
	/* A cancelled engine goes on to serve, the same. An old wish to cancel is not kept. */
	r.n_stop = 0;
	vb_cancel(e);
	need(vb_generate(e, &r, NULL, NULL, &result));
	need_same(&result, &whole);
	vb_result_free(&result);
	vb_result_free(&whole);
	need(vb_engine_close(&e));
}

struct runner {
	struct vb_engine *e;
	sem_t started, go_on;
	int rc;
	size_t n_ids;
	enum vb_finish finish;
};

static int wait_for_leave(void *user, const struct vb_event *event)
{
	struct runner *r = user;
	if (event->token) {
		sem_post(&r->started);
		sem_wait(&r->go_on);
	}
	return 0;
}

static void *run(void *arg)
{
	struct runner *r = arg;
	struct vb_result result;
	int32_t ids[3] = { 1, 2, 3 };
	struct vb_request request = request_of(ids, 3, 20);
	request.ignore_eos = true;
	r->rc = vb_generate(r->e, &request, wait_for_leave, r, &result);
	r->n_ids = result.n_ids;
	r->finish = result.finish;
	vb_result_free(&result);
	return NULL;
}

static void test_second_thread(void **state)
{
	(void)state;
	struct vb_options o = small_options();
	struct runner r = { .e = open_engine(golden(plain), &o) };
	pthread_t thread;
	assert_int_equal(sem_init(&r.started, 0, 0), 0);
	assert_int_equal(sem_init(&r.go_on, 0, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, run, &r), 0);
	sem_wait(&r.started);
	/* It waits in its first token's callback. */
	int32_t id = 1;
	struct vb_request request = request_of(&id, 1, 1);
	struct vb_result result;
	need_failure(vb_step(r.e, NULL), VB_ESTATE, WORDS("engine busy"));
	struct vb_engine *same = r.e;
	need_failure(vb_engine_close(&same), VB_ESTATE, WORDS("engine busy", "cancel"));
	assert_ptr_equal(same, r.e);
	char *json;
	need(vb_engine_info(r.e, &json));
	vb_free(json);
	sem_post(&r.go_on);
	sem_wait(&r.started);
	vb_cancel(r.e);
	sem_post(&r.go_on);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(r.rc, VB_ECANCELLED);
	assert_int_equal(r.finish, VB_FINISH_CANCELLED);
	assert_int_equal(r.n_ids, 2);
	need(vb_generate(r.e, &request, NULL, NULL, &result));
	vb_result_free(&result);
	need(vb_engine_close(&r.e));
	sem_destroy(&r.started);
	sem_destroy(&r.go_on);
}

/* Calls on the engine from its own callback. */
static int call_back(void *user, const struct vb_event *event)
{
	struct vb_engine *e = user;
	struct vb_result result;
	int32_t id = 1;
	struct vb_request r = request_of(&id, 1, 1);
	(void)event;
	need_failure(vb_generate(e, &r, NULL, NULL, &result), VB_ESTATE, WORDS("callback", "submit"));
	need_failure(vb_step(e, NULL), VB_ESTATE, WORDS("engine busy"));
	need_failure(vb_engine_close(&e), VB_ESTATE, WORDS("engine busy"));
	return 0;
}

static void test_reentry(void **state)
{
	(void)state;
	struct vb_options o = small_options();
	struct vb_engine *e = open_engine(golden(plain), &o);
	int32_t ids[2] = { 1, 2 };
	struct vb_request r = request_of(ids, 2, 3);
	struct vb_result result;
	need(vb_generate(e, &r, call_back, e, &result));
	vb_result_free(&result);
	need(vb_engine_close(&e));
}

static void test_bad_benchmarks(void **state)
{
	(void)state;
	struct vb_options o = small_options();
	struct vb_engine *e = open_engine(golden(plain), &o);
	struct vb_bench_spec base = { .size = sizeof base, .prompt_tokens = 8, .decode_tokens = 4, .batch = 1, .repeat = 1 }, s;
	char *json = NULL;
	need_failure(vb_bench_model(NULL, &base, &json), VB_EINVAL, WORDS("vb_bench_model"));
	need_failure(vb_bench_model(e, NULL, &json), VB_EINVAL, WORDS("vb_bench_model"));
	need_failure(vb_bench_model(e, &base, NULL), VB_EINVAL, WORDS("vb_bench_model"));
#define BAD(field, value, rc, ...)                                              \
	do {                                                                    \
		s = base;                                                       \
		s.field = (value);                                              \
		need_failure(vb_bench_model(e, &s, &json), (rc), WORDS(__VA_ARGS__)); \
		assert_null(json);                                              \
	} while (0)
	BAD(size, 3, VB_EINVAL, "size");
	BAD(repeat, 0, VB_EINVAL, "--repeat");
	BAD(repeat, INT32_MAX, VB_EINVAL, "--repeat");
	BAD(prompt_tokens, 0, VB_EINVAL, "positive");
	BAD(decode_tokens, -1, VB_EINVAL, "positive");
	BAD(depth, -1, VB_EINVAL, "depth");
	BAD(batch, 2, VB_EINVAL, "--max-batch");
	BAD(prompt_tokens, 161, VB_ELIMIT, "--context");
	BAD(depth, 157, VB_ELIMIT, "--context");
	BAD(depth, INT64_MAX, VB_ELIMIT, "--context");
	BAD(decode_tokens, INT64_MAX, VB_ELIMIT, "--context");
#undef BAD
	need(vb_engine_close(&e));
}

static void test_bad_speculation_benchmarks(void **state)
{
	(void)state;
	struct vb_options o = small_options();
	o.max_batch = 2;
	struct vb_engine *e = open_engine(golden(plain), &o);
	int32_t ids[4] = { 1, 2, 1, 2 };
	struct vb_request two[3] = { request_of(ids, 4, 5), request_of(ids, 3, 5), request_of(ids, 2, 5) };
	struct vb_bench_speculation_spec base = { sizeof base, two, 2, 1 }, s;
	char *json = NULL;
	need_failure(vb_bench_speculation(e, &base, &json), VB_ESTATE, WORDS("--speculate"));
	need(vb_engine_close(&e));
	o.speculate = "ngram";
	e = open_engine(golden(plain), &o);
	need_failure(vb_bench_speculation(NULL, &base, &json), VB_EINVAL, WORDS("vb_bench_speculation"));
	need_failure(vb_bench_speculation(e, NULL, &json), VB_EINVAL, WORDS("vb_bench_speculation"));
	need_failure(vb_bench_speculation(e, &base, NULL), VB_EINVAL, WORDS("vb_bench_speculation"));
#define BAD(field, value, rc, ...)                                                    \
	do {                                                                          \
		s = base;                                                             \
		s.field = (value);                                                    \
		need_failure(vb_bench_speculation(e, &s, &json), (rc), WORDS(__VA_ARGS__)); \
		assert_null(json);                                                    \
	} while (0)
	BAD(size, 3, VB_EINVAL, "size");
	BAD(repeat, 0, VB_EINVAL, "--repeat");
	BAD(repeat, INT32_MAX, VB_EINVAL, "--repeat");
	BAD(requests, NULL, VB_EINVAL, "--batch");
	BAD(n_requests, 0, VB_EINVAL, "--batch");
	BAD(n_requests, 3, VB_EINVAL, "--max-batch");
	/* The second one is refused: the first one goes with it. */
	two[1].n_prompt_ids = 0;
	BAD(repeat, 1, VB_EINVAL, "empty prompt");
	two[1].n_prompt_ids = 3;
	two[0].max_tokens = two[1].max_tokens = 1;
	BAD(repeat, 1, VB_EINVAL, "--decode-tokens");
#undef BAD
	two[0].max_tokens = two[1].max_tokens = 5;
	/* Not while others wait, and as ever once they have ended. */
	need(vb_submit(e, &two[2], NULL, NULL, NULL, NULL));
	need_failure(vb_bench_speculation(e, &base, &json), VB_ESTATE, WORDS("engine busy"));
	for (bool more = true; more;)
		need(vb_step(e, &more));
	need(vb_bench_speculation(e, &base, &json));
	vb_free(json);
	need(vb_engine_close(&e));
}

/* ---- What it says of itself ---- */

static json_t *parsed(char *json)
{
	json_t *o;
	need(json_parse(&o, json, strlen(json), "answer"));
	vb_free(json);
	return o;
}

static void need_kinds(const json_t *o, const char *const *keys, const char *kind)
{
	for (; *keys; keys++) {
		const json_t *v = json_object_get(o, *keys);
		if (!v || strcmp(json_kind(v), kind) != 0)
			fail_msg("key \"%s\": %s, not %s", *keys, v ? json_kind(v) : "absent", kind);
	}
}

static void need_memory(const json_t *o)
{
	need_kinds(o, WORDS("weights", "weights_per_token", "kv_per_token", "page_size", "pages", "kv", "activations",
			    "workspace", "available", "longest_context"), "integer");
}

static void test_info(void **state)
{
	(void)state;
	struct vb_options o = small_options();
	o.attention = "ref";
	struct vb_engine *e = open_engine(golden("gemma3-pattern3"), &o);
	char *json;
	need(vb_engine_info(e, &json));
	json_t *info = parsed(json), *rows = json_object_get(info, "attention"), *row;
	need_kinds(info, WORDS("model", "family", "device", "device_why", "dtype"), "string");
	need_kinds(info, WORDS("threads", "context", "page_size", "prefill_chunk"), "integer");
	need_memory(json_object_get(info, "memory"));
	assert_string_equal(json_string_value(json_object_get(info, "family")), "gemma3_text");
	assert_int_equal(json_integer_value(json_object_get(info, "context")), 160);
	assert_int_equal(json_integer_value(json_object_get(info, "threads")), 2);
	assert_true(json_number_value(json_object_get(info, "load_s")) > 0);
	/* Layers with a window and without are two groups. */
	assert_int_equal(json_array_size(rows), 2);
	size_t i;
	json_array_foreach(rows, i, row) {
		need_kinds(row, WORDS("layers", "backend"), "string");
		assert_string_equal(json_string_value(json_object_get(row, "backend")), "ref");
	}
	json_decref(info);
	need(vb_engine_close(&e));
}

static void need_layers(const json_t *rows, bool attention_served)
{
	size_t i;
	json_t *row;
	int n_attention = 0;
	assert_true(json_array_size(rows) > 8);
	json_array_foreach(rows, i, row) {
		need_kinds(row, WORDS("layers", "kind", "use"), "string");
		need_kinds(row, WORDS("request"), "object");
		need_kinds(row, WORDS("refused"), "array");
		bool attention = strcmp(json_string_value(json_object_get(row, "kind")), "attention") == 0;
		n_attention += attention;
		const json_t *backend = json_object_get(row, "backend");
		assert_true(attention && !attention_served ? json_is_null(backend) : json_is_string(backend));
		size_t j;
		json_t *refused;
		json_array_foreach(json_object_get(row, "refused"), j, refused)
			need_kinds(refused, WORDS("backend", "reason"), "string");
	}
	assert_true(n_attention >= 3); /* prefill, decode, verify */
}

static void test_explain(void **state)
{
	(void)state;
	struct vb_options o = small_options();
	char *json = NULL;
	need(vb_explain(NULL, NULL, NULL, &json));
	json_t *answer = parsed(json);
	need_kinds(answer, WORDS("facts"), "object");
	assert_null(json_object_get(answer, "layers"));
	json_decref(answer);

	need(vb_explain(golden(plain), &o, NULL, &json));
	answer = parsed(json);
	need_kinds(answer, WORDS("facts", "memory"), "object");
	need_kinds(answer, WORDS("model", "family", "dtype", "device"), "string");
	need_layers(json_object_get(answer, "layers"), true);
	need_memory(json_object_get(answer, "memory"));
	json_decref(answer);

	/* Where nothing serves, the table is there all the same. */
	o.attention = "avx512";
	need_failure(vb_explain(golden(plain), &o, "{\"cpu\":{\"isa\":[\"avx2\"]}}", &json), VB_EUNSUPPORTED,
		     WORDS("avx512", "attention", "layer 0"));
	answer = parsed(json);
	need_layers(json_object_get(answer, "layers"), false);
	json_decref(answer);

	o = small_options();
	need_failure(vb_explain(golden(plain), &o, "{", &json), VB_EFORMAT, WORDS("--facts"));
	assert_null(json);
	need_failure(vb_explain("/nowhere", &o, NULL, &json), VB_ENOTFOUND, WORDS("/nowhere"));
	assert_null(json);
}

/* ---- Memory ---- */

static json_int_t explained(const char *facts, struct vb_options *o, const char *key)
{
	char *json;
	need(vb_explain(golden(plain), o, facts, &json));
	json_t *answer = parsed(json);
	json_int_t v = json_integer_value(json_object_get(json_object_get(answer, "memory"), key));
	json_decref(answer);
	return v;
}

static void test_context_fits(void **state)
{
	(void)state;
	struct vb_options o = small_options();
	static const char large[] = "{\"cpu\":{\"memory\":2000000}}";
	char *json = NULL, small[64];
	o.context = 0;
	/* The model's own length where it fits, else what does, and it is said. */
	assert_int_equal(explained(large, &o, "longest_context"), 2048);
	json_int_t taken = explained(large, &o, "weights") + explained(large, &o, "activations") +
			   explained(large, &o, "workspace");
	snprintf(small, sizeof small, "{\"cpu\":{\"memory\":%lld}}", (long long)taken + 100000);
	json_int_t fits = explained(small, &o, "longest_context");
	assert_true(fits > 8 && fits < 2048);
	assert_int_equal(explained(small, &o, "pages"), fits / 8);
	/* A length that was asked for is not lowered. */
	o.context = fits;
	assert_int_equal(explained(small, &o, "longest_context"), fits);
	o.context = 2048;
	need_failure(vb_explain(golden(plain), &o, small, &json), VB_ELIMIT, WORDS("KV cache", "--context", "2048"));
	/* More sequences take more pages, as many as there are. */
	o.context = 64;
	assert_int_equal(explained(NULL, &o, "pages"), 8);
	o.max_batch = 5;
	assert_int_equal(explained(NULL, &o, "pages"), 40);
	o.kv_memory = (uint64_t)explained(NULL, &o, "kv") / 40 * 11;
	assert_int_equal(explained(NULL, &o, "pages"), 11);
	/* Weights and buffers alone may be too much. */
	o = small_options();
	need_failure(vb_explain(golden(plain), &o, "{\"cpu\":{\"memory\":20000}}", &json), VB_ELIMIT,
		     WORDS("not enough memory", "weights", "buffers", "--prefill-chunk"));
	o.kv_memory = (uint64_t)1 << 40;
	o.max_batch = 1024;
	o.prefill_chunk = 65536;
	need_failure(vb_explain(golden(plain), &o, "{\"cpu\":{\"memory\":1000000}}", &json), VB_ELIMIT,
		     WORDS("not enough memory", "--kv-memory"));
}

/* A configuration of absurd size, by itself, is refused before anything large is allocated. */
static void test_absurd_sizes(void **state)
{
	(void)state;
	static const char *const configs[] = {
		"\"hidden_size\":1048576,\"intermediate_size\":4194304,\"num_hidden_layers\":64,\"vocab_size\":16777216,"
		"\"max_position_embeddings\":2147483647,\"head_dim\":128",
		"\"hidden_size\":64,\"intermediate_size\":64,\"num_hidden_layers\":2,\"vocab_size\":64,"
		"\"max_position_embeddings\":2147483647,\"head_dim\":512",
	};
	for (int i = 0; i < 2; i++) {
		char dir[] = "/tmp/verbatim-test-XXXXXX", path[64];
		assert_non_null(mkdtemp(dir));
		snprintf(path, sizeof path, "%s/config.json", dir);
		FILE *f = fopen(path, "w");
		assert_non_null(f);
		fprintf(f, "{\"model_type\":\"llama\",\"num_attention_heads\":4,\"num_key_value_heads\":4,%s}", configs[i]);
		assert_int_equal(fclose(f), 0);
		struct vb_options o = small_options();
		struct vb_engine *e;
		o.random_weights = true;
		o.context = 0;
		int rc = vb_engine_open(&e, dir, &o);
		if (i == 0) {
			need_failure(rc, VB_ELIMIT, WORDS("not enough memory"));
			/* Nor by insisting. */
			o.kv_memory = UINT64_MAX;
			need_failure(vb_engine_open(&e, dir, &o), VB_ELIMIT, WORDS("not enough memory"));
		} else {
			need(rc); /* the longest context that fits */
			assert_true(e->setup.context < INT32_MAX / 2);
			need(vb_engine_close(&e));
			o.kv_memory = UINT64_MAX;
			need_failure(vb_engine_open(&e, dir, &o), VB_ELIMIT, WORDS("not enough memory"));
		}
		assert_int_equal(unlink(path), 0);
		assert_int_equal(rmdir(dir), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_null),
		cmocka_unit_test(test_bad_options),
		cmocka_unit_test(test_bad_folders),
		cmocka_unit_test(test_bad_requests),
		cmocka_unit_test(test_bad_chats),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_end_tokens),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_stop_strings),
		cmocka_unit_test(test_padded_vocabulary),
		cmocka_unit_test(test_tokenizer),
		cmocka_unit_test(test_cancel_from_callback),
		cmocka_unit_test(test_second_thread),
		cmocka_unit_test(test_reentry),
		cmocka_unit_test(test_bad_benchmarks),
		cmocka_unit_test(test_bad_speculation_benchmarks),
		cmocka_unit_test(test_info),
		cmocka_unit_test(test_explain),
		cmocka_unit_test(test_context_fits),
		cmocka_unit_test(test_absurd_sizes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
