/* The engine and memory: a step takes none, and any allocation may fail without harm.
 *
 * malloc itself is counted, too: this program's own stands before the C library's, also for what that library does
 * inside (qsort takes memory). Sanitizers bring their own, and then only the library's allocator is counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_help.h"

#include "base/mem.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTS_MALLOC 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define COUNTS_MALLOC 0
#endif
#endif
#if !defined(COUNTS_MALLOC) && defined(__GLIBC__)
#define COUNTS_MALLOC 1
#elif !defined(COUNTS_MALLOC)
#define COUNTS_MALLOC 0
#endif

static _Atomic uint64_t n_mallocs;

#if COUNTS_MALLOC
static _Atomic uint64_t malloc_fails_at; /* the call that fails; 0: none */

#define EXPORTED __attribute__((visibility("default")))
EXPORTED void *__libc_malloc(size_t size);
EXPORTED void *__libc_calloc(size_t n, size_t size);
EXPORTED void *__libc_realloc(void *p, size_t size);

static bool fails(void)
{
	return atomic_fetch_add(&n_mallocs, 1) + 1 == atomic_load(&malloc_fails_at);
}

EXPORTED void *malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

EXPORTED void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

EXPORTED void *realloc(void *p, size_t size)
{
	return fails() ? NULL : __libc_realloc(p, size);
}
#endif

/* What the C library takes for itself is counted. */
static void test_counting(void **state)
{
	(void)state;
	uint64_t mallocs = atomic_load(&n_mallocs);
	char *path = realpath("/", NULL);
	free(path);
	assert_int_equal(atomic_load(&n_mallocs) > mallocs, COUNTS_MALLOC);
}

/* ---- A step takes no memory ---- */

struct counts {
	uint64_t mallocs, calls;
	size_t n;
};

static int count(void *user, const struct vb_event *event)
{
	struct counts *c = user;
	if (!event->token)
		return 0;
	/* The first tokens may warm the detokeniser's buffers. */
	if (++c->n == 3) {
		c->mallocs = atomic_load(&n_mallocs);
		c->calls = mem_count();
	}
	if (c->n < 3)
		return 0;
	assert_int_equal(mem_count(), c->calls);
	assert_int_equal(atomic_load(&n_mallocs), c->mallocs);
	return 0;
}

static void check_steps(const char *dir, const char *dtype)
{
	static const char prompt[] = "One day a rabbit";
	int32_t ids[30];
	for (int i = 0; i < 30; i++)
		ids[i] = i + 1;
	struct vb_options o = small_options();
	o.dtype = dtype;
	struct vb_engine *e = open_engine(dir, &o);
	for (int way = 0; way < 4; way++) {
		struct vb_request r = request_of(ids, 30, 90);
		struct counts c = { 0 };
		struct vb_result result;
		if (vb_engine_tokenizer(e)) {
			r.prompt_ids = NULL;
			r.n_prompt_ids = 0;
			r.prompt = prompt;
			r.prompt_len = strlen(prompt);
		}
		r.ignore_eos = true;
		r.logprobs = way == 0 ? -1 : 10;
		r.prompt_logprobs = way == 1 ? 5 : -1;
		r.sampling.temperature = way == 0 ? 0 : 1;
		r.sampling.top_p = way >= 2 ? 0.99 : 1;
		r.sampling.top_k = way == 3 ? 100 : 0;
		r.sampling.min_p = way == 3 ? 1e-4 : 0;
		r.sampling.repetition_penalty = way == 3 ? 1.1 : 1;
		r.stop = (const char *const[]){ "zebra crossing" };
		r.n_stop = way >= 2;
		need(vb_generate(e, &r, count, &c, &result));
		assert_int_equal(c.n, 90);
		vb_result_free(&result);
	}
	need(vb_engine_close(&e));
}

static void test_steps_allocate_nothing(void **state)
{
	(void)state;
	check_steps(source_path("models/demo"), "bf16");
	check_steps(source_path("models/demo"), "f32");
	check_steps(golden("gemma2-window7"), "bf16");
	check_steps(golden("phi3-partial-v5"), "f16");
}

/* ---- Any allocation may fail ---- */

/* The n of the next trial: every one at first, then ever fewer, so that long runs end. */
static uint64_t next_trial(uint64_t n)
{
	return n < 150 ? n + 1 : n + 1 + n / 40;
}

static void failing_open(const char *dir, const char *quantize)
{
	struct vb_options o = small_options();
	o.quantize = quantize;
	int rc;
	uint64_t n = 1;
	for (;; n = next_trial(n)) {
		struct vb_engine *e = NULL;
		mem_fail_at(n, false);
		rc = vb_engine_open(&e, dir, &o);
		mem_fail_at(0, false);
		assert_int_equal(rc == VB_OK, e != NULL);
		if (rc == VB_OK) {
			need(vb_engine_close(&e));
			break;
		}
		if (rc != VB_ENOMEM || !strstr(vb_errmsg(), "out of memory"))
			fail_msg("allocation %d of opening %s: %s: %s", (int)n, dir, vb_status_name(rc), vb_errmsg());
	}
	assert_true(n > 100);
}

static void test_failing_open(void **state)
{
	(void)state;
	failing_open(golden("llama-3-gqa3"), "none");
	failing_open(golden("internlm2-bias"), "none");
	failing_open(source_path("models/demo"), "none");
	failing_open(golden("llama-3-gqa3"), "q4");
	failing_open(source_path("tests/quantized/gptq-asym-act-g64"), "none");
	failing_open(source_path("tests/quantized/fp8-block"), "q8");
}

static void test_failing_quantize(void **state)
{
	(void)state;
	struct vb_quantize_spec spec = { .size = sizeof spec, .to = "q4", .threads = 2 };
	char dir[] = "/tmp/verbatim-memory-XXXXXX", out[64];
	assert_non_null(mkdtemp(dir));
	snprintf(out, sizeof out, "%s/out", dir);
	int rc = VB_ENOMEM;
	uint64_t n;
	for (n = 1; rc != VB_OK; n = next_trial(n)) {
		char *json = NULL;
		mem_fail_at(n, false);
		rc = vb_quantize(golden("llama-3-gqa3"), out, &spec, &json);
		mem_fail_at(0, false);
		vb_free(json);
		if (rc == VB_OK)
			break;
		if (rc != VB_ENOMEM || !strstr(vb_errmsg(), "out of memory"))
			fail_msg("allocation %d of quantising: %s: %s", (int)n, vb_status_name(rc), vb_errmsg());
		assert_int_not_equal(access(out, F_OK), 0); /* of a failure nothing is left */
	}
	assert_true(n > 50);
	assert_int_equal(access(out, F_OK), 0);
	struct vb_engine *e = open_engine(out, NULL);
	need(vb_engine_close(&e));
	static const char *const files[] = { "model.safetensors", "config.json", "generation_config.json" };
	for (int i = 0; i < 3; i++) {
		char path[128];
		snprintf(path, sizeof path, "%s/%s", out, files[i]);
		assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(rmdir(out), 0);
	assert_int_equal(rmdir(dir), 0);
}

static bool give_up(void *user, uint64_t done, uint64_t total)
{
	(void)user;
	return done < total / 2;
}

static void test_quantize_given_up(void **state)
{
	(void)state;
	struct vb_quantize_spec spec = { .size = sizeof spec, .to = "q8", .progress = give_up };
	char dir[] = "/tmp/verbatim-memory-XXXXXX", out[64];
	assert_non_null(mkdtemp(dir));
	snprintf(out, sizeof out, "%s/out", dir);
	assert_int_equal(vb_quantize(golden("llama-3-gqa3"), out, &spec, NULL), VB_ECANCELLED);
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(vb_quantize(golden("llama-3-gqa3"), out, NULL, NULL), VB_EINVAL);
	spec.to = "q2";
	assert_int_equal(vb_quantize(golden("llama-3-gqa3"), out, &spec, NULL), VB_EINVAL);
}

static void failing_explain(const char *dir)
{
	struct vb_options o = small_options();
	for (uint64_t n = 1;; n = next_trial(n)) {
		char *json = NULL;
		mem_fail_at(n, false);
		int rc = vb_explain(dir, &o, NULL, &json);
		mem_fail_at(0, false);
		assert_int_equal(rc == VB_OK, json != NULL);
		vb_free(json);
		if (rc == VB_OK)
			break;
		assert_int_equal(rc, VB_ENOMEM);
		assert_non_null(strstr(vb_errmsg(), "out of memory"));
	}
}

static void test_failing_explain(void **state)
{
	(void)state;
	failing_explain(golden("gemma3-pattern3"));
	failing_explain(NULL);
}

/* The engine serves as before after each failure. */
static void failing_generate(const char *dir, struct vb_request *r)
{
	struct vb_options o = small_options();
	struct vb_engine *e = open_engine(dir, &o);
	struct vb_result expected, result;
	static const struct vb_result zero;
	need(vb_generate(e, r, NULL, NULL, &expected));
	for (uint64_t n = 1;; n = next_trial(n)) {
		mem_fail_at(n, false);
		int rc = vb_generate(e, r, NULL, NULL, &result);
		mem_fail_at(0, false);
		if (rc == VB_OK) {
			need_same(&result, &expected);
			vb_result_free(&result);
			assert_true(n > 5);
			break;
		}
		assert_int_equal(rc, VB_ENOMEM);
		assert_non_null(strstr(vb_errmsg(), "out of memory"));
		assert_memory_equal(&result, &zero, sizeof zero);
		need(vb_generate(e, r, NULL, NULL, &result));
		need_same(&result, &expected);
		vb_result_free(&result);
	}
	vb_result_free(&expected);
	need(vb_engine_close(&e));
}

static void test_failing_generate(void **state)
{
	(void)state;
	int32_t ids[5] = { 1, 2, 3, 4, 5 };
	struct vb_request r = request_of(ids, 5, 4);
	r.logprobs = r.prompt_logprobs = 2;
	r.ignore_eos = true;
	failing_generate(golden("llama-3-gqa3"), &r);
	static const char prompt[] = "A bear and a bee";
	struct vb_request text = request_of(NULL, 0, 6);
	text.prompt = prompt;
	text.prompt_len = strlen(prompt);
	text.stop = (const char *const[]){ "unlikely" };
	text.n_stop = 1;
	failing_generate(source_path("models/demo"), &text);
	text.prompt = NULL;
	text.chat = "[{\"role\":\"user\",\"content\":\"Tell me a story.\"}]";
	failing_generate(source_path("models/demo"), &text);
}

/* ---- Any malloc may fail, those of other libraries too ---- */

#if COUNTS_MALLOC
/* An answer is whole, or there is none. */
static void failing_malloc(const char *dir)
{
	static const char facts[] = "{\"cpu\":{\"isa\":[],\"threads\":2,\"memory\":1000000000}}";
	struct vb_options o = small_options();
	char *expected, *json;
	need(vb_explain(dir, &o, facts, &expected));
	for (uint64_t n = 1, last = 0; !last; n = next_trial(n)) {
		json = NULL;
		atomic_store(&malloc_fails_at, atomic_load(&n_mallocs) + n);
		int rc = vb_explain(dir, &o, facts, &json);
		last = atomic_load(&n_mallocs) < atomic_load(&malloc_fails_at);
		atomic_store(&malloc_fails_at, 0);
		if (rc == VB_OK)
			assert_string_equal(json, expected);
		else
			assert_null(json);
		vb_free(json);
	}
	vb_free(expected);
	/* An engine tells of itself, or says that it cannot. */
	struct vb_engine *e = open_engine(dir, &o);
	need(vb_engine_info(e, &expected));
	for (uint64_t n = 1, last = 0; !last; n++) {
		atomic_store(&malloc_fails_at, atomic_load(&n_mallocs) + n);
		int rc = vb_engine_info(e, &json);
		last = atomic_load(&n_mallocs) < atomic_load(&malloc_fails_at);
		atomic_store(&malloc_fails_at, 0);
		assert_true(rc == VB_OK || (rc == VB_ENOMEM && !last));
		if (rc == VB_OK) /* a call may do without what it did not get */
			assert_string_equal(json, expected);
		else
			assert_null(json);
		vb_free(json);
	}
	vb_free(expected);
	need(vb_engine_close(&e));
}

static void test_failing_malloc(void **state)
{
	(void)state;
	failing_malloc(golden("gemma3-pattern3"));
	failing_malloc(golden("llama-3-gqa3"));
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counting),
		cmocka_unit_test(test_steps_allocate_nothing),
		cmocka_unit_test(test_failing_open),
		cmocka_unit_test(test_failing_quantize),
		cmocka_unit_test(test_quantize_given_up),
		cmocka_unit_test(test_failing_explain),
		cmocka_unit_test(test_failing_generate),
#if COUNTS_MALLOC
		cmocka_unit_test(test_failing_malloc),
#endif
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
