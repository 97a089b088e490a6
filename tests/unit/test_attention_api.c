#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "verbatim/attention.h"

#include <math.h>
#include <string.h>

enum { HEADS = 2, DIM = 8, PAGE = 4, PAGES = 8, WIDTH = 4, TOKENS = 8 };

static float k_cache[PAGES * PAGE * DIM], v_cache[PAGES * PAGE * DIM];
static float q[TOKENS * HEADS * DIM], k[TOKENS * DIM], v[TOKENS * DIM], out[TOKENS * HEADS * DIM];
static const float sinks[HEADS] = { 1, 2 };

static struct vb_attention_request small_request(void)
{
	struct vb_attention_request r;
	vb_attention_request_default(&r);
	r.n_heads = HEADS;
	r.head_dim = r.v_head_dim = DIM;
	r.page_size = PAGE;
	r.max_q_len = 6;
	return r;
}

static struct vb_attention_limits small_limits(void)
{
	struct vb_attention_limits l;
	vb_attention_limits_default(&l);
	l.max_seqs = 2;
	l.max_tokens = TOKENS;
	l.table_width = WIDTH;
	l.threads = 2;
	return l;
}

static void expect(int rc, int want, const char *word)
{
	assert_int_equal(rc, want);
	assert_non_null(strstr(vb_errmsg(), word));
}

static void test_facts_and_pick(void **state)
{
	(void)state;
	struct vb_attention_facts facts;
	assert_int_equal(vb_attention_facts_probe(&facts), VB_OK);
	assert_true(facts.threads >= 1);
	assert_int_equal(facts.size, sizeof facts);
	expect(vb_attention_facts_probe(NULL), VB_EINVAL, "NULL");

	struct vb_attention_request r = small_request();
	struct vb_attention_choice c;
	facts.isa = VB_ISA_AVX2;
	assert_int_equal(vb_attention_pick(&facts, &r, &c), VB_OK);
	assert_string_equal(c.kernel, "avx2");
	assert_int_equal(c.n_refused, 3);
	assert_string_equal(c.refused[0].kernel, "avx512");
	assert_non_null(strstr(c.refused[0].reason, "AVX-512"));
	assert_string_equal(c.refused[1].kernel, "avx512vnni");
	assert_string_equal(c.refused[2].kernel, "avx512bf16");

	/* A head size that only the reference serves. */
	r.head_dim = 12;
	assert_int_equal(vb_attention_pick(&facts, &r, &c), VB_OK);
	assert_string_equal(c.kernel, "ref");
	assert_int_equal(c.n_refused, 4);
	assert_non_null(strstr(c.refused[0].reason, "multiples of 8"));

	/* And one that nothing serves; the reasons are there all the same. */
	r.head_dim = 1024;
	expect(vb_attention_pick(&facts, &r, &c), VB_EUNSUPPORTED, "limited to 512");
	assert_null(c.kernel);
	assert_int_equal(c.n_refused, 5);

	r = small_request();
	r.kernel = "ref";
	assert_int_equal(vb_attention_pick(&facts, &r, &c), VB_OK);
	assert_string_equal(c.kernel, "ref");
	r.kernel = "avx512";
	expect(vb_attention_pick(&facts, &r, &c), VB_EUNSUPPORTED, "avx512");
	r.kernel = "fa3";
	expect(vb_attention_pick(&facts, &r, &c), VB_EINVAL, "fa3");
	expect(vb_attention_pick(NULL, &r, &c), VB_EINVAL, "facts");
	expect(vb_attention_pick(&facts, NULL, &c), VB_EINVAL, "request");
	expect(vb_attention_pick(&facts, &r, NULL), VB_EINVAL, "choice");
	facts.size = 3;
	expect(vb_attention_pick(&facts, &r, &c), VB_EINVAL, "size 3");
}

static void test_bad_requests(void **state)
{
	(void)state;
	struct vb_attention *a = NULL;
	struct vb_attention_limits l = small_limits();
	struct vb_attention_request r = small_request();
	expect(vb_attention_create(NULL, NULL, &r, &l), VB_EINVAL, "NULL");
	expect(vb_attention_create(&a, NULL, NULL, &l), VB_EINVAL, "request");
	expect(vb_attention_create(&a, NULL, &r, NULL), VB_EINVAL, "limits");

	static const struct {
		size_t offset;
		int64_t value;
		const char *word;
	} bad[] = {
		{ offsetof(struct vb_attention_request, n_heads), 0, "heads" },
		{ offsetof(struct vb_attention_request, n_kv_heads), 0, "heads" },
		{ offsetof(struct vb_attention_request, n_kv_heads), 3, "multiple" },
		{ offsetof(struct vb_attention_request, head_dim), -8, "head sizes" },
		{ offsetof(struct vb_attention_request, v_head_dim), INT64_MAX, "head sizes" },
		{ offsetof(struct vb_attention_request, page_size), 3, "power of two" },
		{ offsetof(struct vb_attention_request, page_size), INT64_MIN, "power of two" },
		{ offsetof(struct vb_attention_request, window), -1, "window" },
		{ offsetof(struct vb_attention_request, max_q_len), 0, "query token" },
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		r = small_request();
		memcpy((char *)&r + bad[i].offset, &bad[i].value, sizeof bad[i].value);
		expect(vb_attention_create(&a, NULL, &r, &l), VB_EINVAL, bad[i].word);
		assert_null(a);
	}
	r = small_request();
	r.scale = NAN;
	expect(vb_attention_create(&a, NULL, &r, &l), VB_EINVAL, "scale");
	r = small_request();
	r.softcap = -1;
	expect(vb_attention_create(&a, NULL, &r, &l), VB_EINVAL, "softcap");
	r = small_request();
	r.kv_type = (enum vb_type)3;
	expect(vb_attention_create(&a, NULL, &r, &l), VB_EINVAL, "VB_TYPE");
	r = small_request();
	r.kv_type = VB_TYPE_BF16;
	r.head_dim = 1024;
	expect(vb_attention_create(&a, NULL, &r, &l), VB_EUNSUPPORTED, "limited to 512");

	r = small_request();
	l.max_seqs = 0;
	expect(vb_attention_create(&a, NULL, &r, &l), VB_EINVAL, "sequences");
	l = small_limits();
	l.table_width = INT64_MAX;
	expect(vb_attention_create(&a, NULL, &r, &l), VB_EINVAL, "page table");
	l = small_limits();
	l.threads = -1;
	expect(vb_attention_create(&a, NULL, &r, &l), VB_EINVAL, "workers");
	assert_null(a);
	vb_attention_destroy(NULL);
	vb_attention_destroy(&a);
	assert_string_equal(vb_attention_kernel(NULL), "");
	assert_int_equal(vb_attention_bytes(NULL), 0);
	expect(vb_attention_update(NULL, 0, NULL, NULL), VB_EINVAL, "handle");
	expect(vb_attention_write(NULL, NULL), VB_EINVAL, "handle");
	expect(vb_attention_run(NULL, NULL), VB_EINVAL, "handle");
}

static void test_bad_steps(void **state)
{
	(void)state;
	struct vb_attention *a;
	struct vb_attention_limits l = small_limits();
	struct vb_attention_request r = small_request();
	r.window = 5;
	assert_int_equal(vb_attention_create(&a, NULL, &r, &l), VB_OK);
	assert_true(vb_attention_bytes(a) > 0);

	int32_t table[2][WIDTH] = { { 0, 1, 2, 3 }, { 4, 5, 6, 7 } };
	struct vb_attention_cache cache = { k_cache, v_cache, PAGES, &table[0][0], WIDTH };
	struct vb_attention_io io = { sizeof io, q, out, NULL, NULL, 0, 0, cache };
	struct vb_attention_new_keys keys = { sizeof keys, k, v, 0, 0, cache };
	expect(vb_attention_run(a, &io), VB_ESTATE, "vb_attention_update");
	expect(vb_attention_write(a, &keys), VB_ESTATE, "vb_attention_update");

	static const int32_t q_begin[] = { 0, 2, 4 }, kv_len[] = { 13, 6 }, too_long[] = { 13, 17 }, falls[] = { 0, 2, 1 };
	expect(vb_attention_update(a, 2, NULL, kv_len), VB_EINVAL, "NULL");
	expect(vb_attention_update(a, 3, q_begin, kv_len), VB_ELIMIT, "3 sequences");
	expect(vb_attention_update(a, 2, falls, kv_len), VB_EINVAL, "q_begin[2]");
	assert_int_equal(vb_attention_update(a, 2, q_begin, kv_len), VB_OK);
	expect(vb_attention_update(a, 2, q_begin, too_long), VB_ELIMIT, "kv_len[1] is 17");
	expect(vb_attention_run(a, &io), VB_ESTATE, "vb_attention_update"); /* the failed update left no step */
	assert_int_equal(vb_attention_update(a, 2, q_begin, kv_len), VB_OK);

	uint64_t n_allocs = mem_count();
	assert_int_equal(vb_attention_write(a, &keys), VB_OK);
	assert_int_equal(vb_attention_run(a, &io), VB_OK);
	assert_int_equal(mem_count(), n_allocs);

	expect(vb_attention_run(a, NULL), VB_EINVAL, "vb_attention_io");
	struct vb_attention_io bad = io;
	bad.size = 0;
	expect(vb_attention_run(a, &bad), VB_EINVAL, "size 0");
	bad = io;
	bad.q = NULL;
	expect(vb_attention_run(a, &bad), VB_EINVAL, "NULL");
	bad = io;
	bad.sinks = sinks;
	expect(vb_attention_run(a, &bad), VB_EINVAL, "sinks");
	bad = io;
	bad.q_stride = HEADS * DIM - 1;
	expect(vb_attention_run(a, &bad), VB_EINVAL, "q_stride");
	bad = io;
	bad.cache.page_table = NULL;
	expect(vb_attention_run(a, &bad), VB_EINVAL, "NULL");
	bad = io;
	bad.cache.table_stride = 3;
	expect(vb_attention_run(a, &bad), VB_EINVAL, "table_stride");
	bad = io;
	bad.cache.n_pages = 5;
	expect(vb_attention_run(a, &bad), VB_EINVAL, "pages 0 to 4");
	struct vb_attention_new_keys bad_keys = keys;
	bad_keys.v_stride = 1;
	expect(vb_attention_write(a, &bad_keys), VB_EINVAL, "v_stride");
	bad_keys = keys;
	bad_keys.k = NULL;
	expect(vb_attention_write(a, &bad_keys), VB_EINVAL, "NULL");

	/* Entries behind the window and behind the last key are nobody's business; one in sight is. */
	table[0][0] = -7;
	table[1][2] = table[1][3] = 1000;
	assert_int_equal(vb_attention_run(a, &io), VB_OK);
	assert_int_equal(vb_attention_write(a, &keys), VB_OK);
	table[0][1] = -7; /* queries at 11 and 12 see keys from 7 on */
	expect(vb_attention_run(a, &io), VB_EINVAL, "entry 1 of sequence 0 in the page table is -7");
	assert_int_equal(vb_attention_write(a, &keys), VB_OK);
	table[0][2] = -7;
	expect(vb_attention_write(a, &keys), VB_EINVAL, "entry 2 of sequence 0");

	assert_int_equal(vb_attention_update(a, 0, NULL, NULL), VB_OK);
	assert_int_equal(vb_attention_run(a, &io), VB_OK); /* an empty step */
	vb_attention_destroy(&a);
	assert_null(a);
}

/* Every allocation of create in turn fails: a status, no handle, nothing left behind. */
static void test_out_of_memory(void **state)
{
	(void)state;
	struct vb_attention_limits l = small_limits();
	struct vb_attention_request r = small_request();
	struct vb_attention *a;
	int rc = VB_ENOMEM;
	for (uint64_t n = 1; rc != VB_OK; n++) {
		assert_true(n < 20);
		mem_fail_at(n, false);
		rc = vb_attention_create(&a, NULL, &r, &l);
		mem_fail_at(0, false);
		if (rc != VB_OK) {
			assert_int_equal(rc, VB_ENOMEM);
			assert_null(a);
		}
	}
	vb_attention_destroy(&a);
}

/* What a caller sees: written keys are attended to, sinks weigh in, strides are honoured. */
static void test_values(void **state)
{
	(void)state;
	struct vb_attention *a;
	struct vb_attention_limits l = small_limits();
	struct vb_attention_request r = small_request();
	r.sinks = true;
	assert_int_equal(vb_attention_create(&a, NULL, &r, &l), VB_OK);
	static const int32_t q_begin[] = { 1, 3 }, kv_len[] = { 2 };
	static const int32_t table[] = { 6 };
	static float wide[4][HEADS * DIM + 3], lse[TOKENS * HEADS];
	memset(q, 0, sizeof q); /* every score is 0: the weights are 1 each, and exp(sink) */
	for (int t = 0; t < TOKENS; t++)
		for (int i = 0; i < DIM; i++)
			v[t * DIM + i] = (float)(10 * t + i);
	for (int t = 0; t < 4; t++)
		for (int i = 0; i < HEADS * DIM + 3; i++)
			wide[t][i] = -5;
	struct vb_attention_cache cache = { k_cache, v_cache, PAGES, table, 1 };
	struct vb_attention_new_keys keys = { sizeof keys, k, v, 0, 0, cache };
	struct vb_attention_io io = { sizeof io, q, wide, lse, sinks, 0, HEADS * DIM + 3, cache };
	assert_int_equal(vb_attention_update(a, 1, q_begin, kv_len), VB_OK);
	assert_int_equal(vb_attention_write(a, &keys), VB_OK);
	assert_int_equal(vb_attention_run(a, &io), VB_OK);
	for (int h = 0; h < HEADS; h++) {
		for (int i = 0; i < DIM; i++) {
			double one = 1 / (1 + exp(sinks[h])), two = 1 / (2 + exp(sinks[h]));
			assert_true(fabs(wide[1][h * DIM + i] - one * (10 + i)) < 1e-5);
			assert_true(fabs(wide[2][h * DIM + i] - two * (10 + i + 20 + i)) < 1e-5);
		}
		assert_true(fabs(lse[2 * HEADS + h] - log(2 + exp(sinks[h]))) < 1e-5);
	}
	assert_true(wide[0][0] == -5 && wide[3][0] == -5 && wide[1][HEADS * DIM] == -5);
	vb_attention_destroy(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_facts_and_pick), cmocka_unit_test(test_bad_requests),
		cmocka_unit_test(test_bad_steps),      cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_values),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
