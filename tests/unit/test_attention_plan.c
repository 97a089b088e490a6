#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "hw/hw.h"
#include "ops/attention_plan.h"
#include "ops/kernels.h"

#include <math.h>
#include <string.h>

static struct stream {
	uint64_t state;
} stream;

/* A plain generator for test data: the sequence does not matter, only that it is always the same. */
static uint64_t next(void)
{
	stream.state = stream.state * 6364136223846793005u + 1442695040888963407u;
	return stream.state >> 33;
}

static int64_t below(int64_t n)
{
	return (int64_t)(next() % (uint64_t)n);
}

static struct attention_request request(int64_t heads, int64_t kv_heads, int64_t window)
{
	return (struct attention_request){ .n_heads = heads,
					   .n_kv_heads = kv_heads,
					   .head_dim = 16,
					   .v_head_dim = 8,
					   .q_type = DTYPE_F32,
					   .kv_type = DTYPE_F32,
					   .out_type = DTYPE_F32,
					   .page_size = 16,
					   .window = window,
					   .max_q_len = 4096 };
}

#define MAX_SEQS 6
#define MAX_TOKENS 600
#define TABLE_WIDTH 600
#define MAX_KEYS (TABLE_WIDTH * 16)

struct lengths {
	int64_t n_seqs;
	int32_t q_begin[MAX_SEQS + 1];
	int32_t kv_len[MAX_SEQS];
};

static void random_lengths(struct lengths *l)
{
	static const int32_t kv_edges[] = { 0, 1, 255, 256, 257, 4095, 4096, 4097, 5121, MAX_KEYS };
	l->n_seqs = below(MAX_SEQS + 1);
	l->q_begin[0] = (int32_t)below(3);
	for (int64_t s = 0; s < l->n_seqs; s++) {
		int64_t left = MAX_TOKENS - l->q_begin[s], q_len = 1;
		switch (below(4)) {
		case 0:
			q_len = 0;
			break;
		case 1:
			q_len = below(9);
			break;
		case 2:
			q_len = below(left + 1);
			break;
		}
		if (q_len > left)
			q_len = left;
		l->q_begin[s + 1] = l->q_begin[s] + (int32_t)q_len;
		l->kv_len[s] = below(2) ? kv_edges[below(10)] : (int32_t)below(MAX_KEYS + 1);
	}
}

/* How often each (query token, piece) is covered for KV head `head`, and each query token at all. */
static unsigned char covered[MAX_TOKENS][64];
static int parts[MAX_TOKENS];

static void count_coverage(const struct attention_plan *plan, const struct lengths *l, int64_t head, int64_t kv_heads,
			   int64_t window)
{
	memset(covered, 0, sizeof covered);
	memset(parts, 0, sizeof parts);
	for (int64_t i = 0; i < attention_plan_n_items(plan); i++) {
		struct attention_item it;
		attention_plan_item(plan, i, &it);
		assert_in_range(it.seq, 0, l->n_seqs - 1);
		assert_true(0 <= it.kv_head_begin && it.kv_head_begin < it.kv_head_end && it.kv_head_end <= kv_heads);
		if (head < it.kv_head_begin || head >= it.kv_head_end)
			continue;
		int32_t q_len = l->q_begin[it.seq + 1] - l->q_begin[it.seq];
		assert_true(0 <= it.token_begin && it.token_begin < it.token_end && it.token_end <= q_len);
		assert_true(0 <= it.piece_begin && it.piece_begin <= it.piece_end && it.piece_end <= 64);
		/* No piece that none of its tokens sees a key of. */
		int64_t first = l->kv_len[it.seq] - q_len, begin, end, unused;
		attention_visible(first + it.token_begin, window, &begin, &unused);
		attention_visible(first + it.token_end - 1, window, &unused, &end);
		if (it.piece_begin < it.piece_end)
			assert_true(begin < attention_piece_begin(it.piece_begin + 1) && attention_piece_begin(it.piece_end - 1) < end);
		for (int32_t t = it.token_begin; t < it.token_end; t++) {
			parts[l->q_begin[it.seq] + t]++;
			for (int32_t p = it.piece_begin; p < it.piece_end; p++)
				covered[l->q_begin[it.seq] + t][p]++;
		}
	}
}

/* Every piece with a key that a token sees is covered once; no piece is covered twice; every token has an item. */
static void check_coverage(const struct lengths *l, int64_t window)
{
	for (int64_t s = 0; s < l->n_seqs; s++) {
		for (int32_t t = l->q_begin[s]; t < l->q_begin[s + 1]; t++) {
			int64_t begin, end;
			attention_visible(l->kv_len[s] - l->q_begin[s + 1] + t, window, &begin, &end);
			assert_true(parts[t] >= 1);
			for (int64_t p = 0; p < 64; p++) {
				int64_t lo = attention_piece_begin(p), hi = attention_piece_begin(p + 1);
				bool seen = begin < hi && lo < end && begin < end;
				assert_true(covered[t][p] <= 1);
				if (seen)
					assert_int_equal(covered[t][p], 1);
			}
		}
	}
}

static void test_every_key_once(void **state)
{
	(void)state;
	static const int64_t heads[][2] = { { 1, 1 }, { 8, 8 }, { 32, 8 }, { 14, 2 }, { 7, 1 }, { 128, 1 } };
	int64_t n_split = 0;
	for (int i = 0; i < 600; i++) {
		const int64_t *h = heads[below(6)];
		int64_t window = below(2) ? 0 : 1 + below(below(2) ? 20 : 5000);
		struct attention_request r = request(h[0], h[1], window);
		struct attention_limits limits = { MAX_SEQS, MAX_TOKENS, TABLE_WIDTH, 1 + (int)below(40) };
		struct attention_plan *plan;
		assert_int_equal(attention_plan_create(&plan, &r, 0, &limits), VB_OK);
		assert_int_equal(attention_plan_bytes(plan), attention_plan_bytes_for(&r, &limits));
		uint64_t n_allocs = mem_count();
		for (int j = 0; j < 5; j++) {
			struct lengths l;
			random_lengths(&l);
			assert_int_equal(attention_plan_update(plan, l.n_seqs, l.q_begin, l.kv_len), VB_OK);
			for (int64_t head = 0; head < h[1]; head += 1 + below(3)) {
				count_coverage(plan, &l, head, h[1], window);
				check_coverage(&l, window);
				for (int64_t t = 0; t < MAX_TOKENS; t++)
					n_split += parts[t] > 1;
			}
		}
		assert_int_equal(mem_count(), n_allocs);
		attention_plan_destroy(&plan);
		assert_null(plan);
	}
	assert_true(n_split > 100); /* else nothing was tested */
}

/* Blocks whose states would take more memory than there is for them stay whole. */
static void test_states_are_limited(void **state)
{
	(void)state;
	enum { HEADS = 128, TOKENS = 100, MOST = 64 << 20 };
	struct attention_request r = request(HEADS, 1, 0);
	r.v_head_dim = 512;
	struct attention_limits limits = { 1, TOKENS, TABLE_WIDTH, 40 };
	struct attention_plan *plan;
	struct lengths l = { 1, { 0, TOKENS }, { MAX_KEYS } };
	assert_int_equal(attention_plan_create(&plan, &r, 0, &limits), VB_OK);
	assert_int_equal(attention_plan_update(plan, l.n_seqs, l.q_begin, l.kv_len), VB_OK);
	count_coverage(plan, &l, 0, 1, 0);
	check_coverage(&l, 0);
	int64_t bytes = 0, n_whole = 0;
	for (int64_t i = 0; i < attention_plan_n_items(plan); i++) {
		struct attention_item it;
		attention_plan_item(plan, i, &it);
		if (parts[it.token_begin] > 1)
			bytes += (it.piece_end - it.piece_begin) * attention_item_rows(&it, HEADS) *
				 attention_state_floats(r.v_head_dim) * (int64_t)sizeof(float);
		else
			n_whole++;
	}
	assert_in_range(bytes, MOST / 2, MOST);
	assert_true(n_whole > 0);
	attention_plan_destroy(&plan);
}

/* The oracle's view of one key: a plain double loop, no pieces. */
static void check_row(const struct attention_args *a, int64_t s, int64_t t, int64_t head)
{
	static double p[MAX_KEYS];
	int64_t begin, end, kv_head = head / (a->n_heads / a->n_kv_heads);
	attention_visible(a->kv_len[s] - a->q_begin[s + 1] + t, a->window, &begin, &end);
	double m = -INFINITY, l = 0;
	for (int64_t j = begin; j < end; j++) {
		int64_t page = a->page_table[s * a->table_stride + j / a->page_size];
		const float *k = (const float *)a->k_cache +
				 ((page * a->n_kv_heads + kv_head) * a->page_size + j % a->page_size) * a->head_dim;
		const float *q = (const float *)a->q + t * a->q_stride + head * a->head_dim;
		p[j] = 0;
		for (int64_t d = 0; d < a->head_dim; d++)
			p[j] += (double)q[d] * k[d] * a->scale;
		m = p[j] > m ? p[j] : m;
	}
	for (int64_t j = begin; j < end; j++)
		l += p[j] = exp(p[j] - m);
	for (int64_t i = 0; i < a->v_head_dim; i++) {
		double o = 0;
		for (int64_t j = begin; j < end; j++) {
			int64_t page = a->page_table[s * a->table_stride + j / a->page_size];
			const float *v = (const float *)a->v_cache +
					 ((page * a->n_kv_heads + kv_head) * a->page_size + j % a->page_size) *
						 a->v_head_dim;
			o += p[j] * v[i];
		}
		float got = ((float *)a->out)[t * a->out_stride + head * a->v_head_dim + i];
		assert_true(fabs(got - (begin < end ? o / l : 0)) < 2e-6);
	}
}

/* Few workers, many workers, one thread, three threads: the same bits, and the right ones. */
static void test_splitting_changes_no_bit(void **state)
{
	(void)state;
	enum { PAGES = 2 * TABLE_WIDTH, HEADS = 4, KV = 2, D = 16, DV = 8 };
	float *k = mem_alloc((size_t)PAGES * KV * 16 * D * 4), *v = mem_alloc((size_t)PAGES * KV * 16 * DV * 4);
	float *q = mem_alloc(64 * HEADS * D * 4), *out[2];
	for (int i = 0; i < 2; i++)
		out[i] = mem_alloc(64 * HEADS * DV * 4);
	int32_t *table = mem_alloc((size_t)2 * TABLE_WIDTH * 4);
	for (int64_t i = 0; i < PAGES * KV * 16 * D; i++)
		k[i] = (float)below(2001) / 1000 - 1;
	for (int64_t i = 0; i < PAGES * KV * 16 * DV; i++)
		v[i] = (float)below(2001) / 1000 - 1;
	for (int64_t i = 0; i < 64 * HEADS * D; i++)
		q[i] = (float)below(2001) / 1000 - 1;
	for (int32_t i = 0; i < 2 * TABLE_WIDTH; i++)
		table[i] = (i * 7) % PAGES;
	struct team *team;
	assert_int_equal(team_create(&team, 3), VB_OK);

	static const int32_t q_begin[3] = { 0, 1, 40 }, kv_len[2] = { 9000, 5121 };
	struct hw_facts facts;
	assert_int_equal(hw_facts_probe(&facts), VB_OK);
	for (int run = 0; run < 2 * attention_set.n_rows; run++) {
		int row = run / 2;
		int64_t window = run % 2 ? 3000 : 0;
		struct attention_request r = request(HEADS, KV, window);
		if (attention_set.refuse(&r, row))
			continue;
		if (registry_missing_isa(attention_set.rows[row].needs, facts.isa))
			continue;
		for (int i = 0; i < 2; i++) {
			struct attention_limits limits = { 2, 64, TABLE_WIDTH, i ? 13 : 1 };
			struct attention_plan *plan;
			assert_int_equal(attention_plan_create(&plan, &r, row, &limits), VB_OK);
			assert_int_equal(attention_plan_update(plan, 2, q_begin, kv_len), VB_OK);
			if (i)
				assert_true(attention_plan_n_items(plan) > 3);
			struct attention_args a = { .q = q, .k_cache = k, .v_cache = v, .page_table = table,
				.out = out[i], .table_stride = TABLE_WIDTH, .q_stride = HEADS * D,
				.out_stride = HEADS * DV, .n_heads = HEADS, .n_kv_heads = KV, .head_dim = D,
				.v_head_dim = DV, .page_size = 16, .window = window, .scale = 0.25f };
			for (int again = 0; again < 3; again++) { /* counters must be back where they were */
				memset(out[i], 0xff, 64 * HEADS * DV * 4);
				attention_plan_run(plan, i ? team : NULL, &a);
			}
			attention_plan_destroy(&plan);
			a.q_begin = q_begin;
			a.kv_len = kv_len;
			for (int64_t h = 0; i == 0 && h < HEADS; h++) {
				check_row(&a, 0, 0, h);
				for (int64_t t = 1; t < 40; t += 19)
					check_row(&a, 1, t, h);
			}
		}
		assert_memory_equal(out[0], out[1], 40 * HEADS * DV * 4);
	}
	team_destroy(&team);
	mem_free(k);
	mem_free(v);
	mem_free(q);
	mem_free(out[0]);
	mem_free(out[1]);
	mem_free(table);
}

static void test_refusals(void **state)
{
	(void)state;
	struct attention_plan *plan;
	struct attention_request r = request(4, 2, 0);
	struct attention_limits limits = { 2, 8, 4, 2 };
	struct attention_limits none = { 0, 8, 4, 2 };
	assert_int_equal(attention_plan_create(&plan, &r, 0, &none), VB_EINVAL);
	r.page_size = 12;
	assert_int_equal(attention_plan_create(&plan, &r, 0, &limits), VB_EINVAL);
	assert_non_null(strstr(vb_errmsg(), "power of two"));
	r.page_size = 16;
	r.kv_type = DTYPE_F64;
	assert_int_equal(attention_plan_create(&plan, &r, 0, &limits), VB_EUNSUPPORTED);
	assert_null(plan);
	r.kv_type = DTYPE_F32;
	r.max_q_len = 5;
	mem_fail_at(1, false);
	assert_int_equal(attention_plan_create(&plan, &r, 0, &limits), VB_ENOMEM);
	mem_fail_at(0, false);
	assert_int_equal(attention_plan_create(&plan, &r, 0, &limits), VB_OK);

	static const int32_t fits[] = { 0, 5, 8 }, falls[] = { 0, 5, 4 }, too_many[] = { 0, 5, 9 }, long_q[] = { 0, 6, 6 };
	static const int32_t kv[] = { 64, 64, 1 }, long_kv[] = { 64, 65 }, negative[] = { -1, 3 };
	assert_int_equal(attention_plan_update(plan, 2, fits, kv), VB_OK);
	assert_true(attention_plan_n_items(plan) > 0);
	assert_int_equal(attention_plan_update(plan, 3, fits, kv), VB_ELIMIT);
	assert_int_equal(attention_plan_n_items(plan), 0);
	assert_int_equal(attention_plan_update(plan, 2, falls, kv), VB_EINVAL);
	assert_int_equal(attention_plan_update(plan, 2, too_many, kv), VB_ELIMIT);
	assert_int_equal(attention_plan_update(plan, 2, long_q, kv), VB_ELIMIT);
	assert_int_equal(attention_plan_update(plan, 2, fits, long_kv), VB_ELIMIT);
	assert_int_equal(attention_plan_update(plan, 2, fits, negative), VB_ELIMIT);
	assert_non_null(strstr(vb_errmsg(), "kv_len[0]"));
	attention_plan_destroy(&plan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_key_once),
		cmocka_unit_test(test_states_are_limited),
		cmocka_unit_test(test_splitting_changes_no_bit),
		cmocka_unit_test(test_refusals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
