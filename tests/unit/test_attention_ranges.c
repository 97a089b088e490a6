#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/status.h"
#include "ops/attention_ranges.h"

#include <string.h>

static uint64_t seed;

static uint64_t next(void)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return seed >> 33;
}

static int64_t below(int64_t n)
{
	return (int64_t)(next() % (uint64_t)n);
}

#define MAX_SEQS 40
#define MAX_TOKENS 700
#define MAX_KEYS 20000
#define MAX_PIECES 64
#define MAX_TICKETS 8192

struct lengths {
	int64_t n_seqs;
	int32_t q_begin[MAX_SEQS + 1];
	int32_t kv_len[MAX_SEQS];
};

static void random_lengths(struct lengths *l)
{
	static const int32_t edges[] = { 0, 1, 63, 64, 65, 255, 256, 257, 4095, 4096, 4097, 5121, MAX_KEYS };
	l->n_seqs = below(4) ? below(5) : below(MAX_SEQS + 1);
	l->q_begin[0] = (int32_t)below(3);
	for (int64_t s = 0; s < l->n_seqs; s++) {
		int64_t left = MAX_TOKENS - l->q_begin[s], kind = below(4);
		int64_t q_len = kind == 0 ? 0 : kind == 1 ? 1 : kind == 2 ? below(9) : below(left + 1);
		l->q_begin[s + 1] = l->q_begin[s] + (int32_t)(q_len < left ? q_len : left);
		l->kv_len[s] = below(2) ? edges[below(13)] : (int32_t)below(MAX_KEYS + 1);
	}
}

static _Alignas(16) unsigned char list[1 << 20];
static unsigned char covered[MAX_TICKETS][MAX_PIECES];
static int32_t parts[MAX_TICKETS], split_of[MAX_TICKETS], reached[MAX_TICKETS];

struct lists {
	const struct attention_worker *workers;
	const struct attention_split *splits;
	const struct attention_block *blocks;
};

static struct lists lists_of(const struct attention_ranges *r)
{
	return (struct lists){ (const void *)(list + r->workers_at), (const void *)(list + r->splits_at),
			       (const void *)(list + r->blocks_at) };
}

/* Walks over the workers as the kernel does. Returns how many tickets they have. */
static int64_t walk(const struct attention_ranges *r, const struct lists *at)
{
	int64_t n_tickets = 0;
	memset(covered, 0, sizeof covered);
	memset(parts, 0, sizeof parts);
	for (int64_t w = 0; w < r->n_workers; w++) {
		const struct attention_worker *k = &at->workers[w];
		if (k->first <= k->last)
			assert_memory_equal(&k->block, &at->blocks[k->first / r->n_kv_heads], sizeof k->block);
		for (int32_t t = k->first; t <= k->last; t++) {
			assert_in_range(t, 0, MAX_TICKETS - 1);
			int64_t begin, end, first, last;
			attention_block_pieces(&at->blocks[t / r->n_kv_heads], &first, &last);
			begin = t == k->first && k->first_piece > first ? k->first_piece : first;
			end = t == k->last && k->last_piece < last ? k->last_piece : last;
			int32_t split = t == k->last ? k->last_split : t == k->first ? k->first_split : -1;
			/* Parts come in ascending order, and all know of the same split. */
			if (parts[t]) {
				assert_int_equal(split, split_of[t]);
				assert_int_equal(begin, reached[t]);
			} else {
				assert_int_equal(begin, first);
			}
			if (split >= 0) {
				assert_in_range(split, 0, r->max_splits - 1);
				if (!parts[t])
					assert_int_equal(at->splits[split].first_end, end);
				assert_true(begin < end);
			} else {
				assert_int_equal(end, last);
			}
			split_of[t] = split;
			reached[t] = (int32_t)end;
			parts[t]++;
			for (int64_t p = begin; p < end; p++)
				covered[t][p]++;
			if (t + 1 > n_tickets)
				n_tickets = t + 1;
		}
	}
	return n_tickets;
}

/* Each block has its rows' keys, and each of its tickets each piece of them once. */
static void check(const struct attention_ranges *r, const struct lengths *l)
{
	struct lists at = lists_of(r);
	int64_t n_tickets = walk(r, &at), ticket = 0, states = 0;
	for (int64_t s = 0; s < l->n_seqs; s++) {
		int64_t q_len = l->q_begin[s + 1] - l->q_begin[s], row = 0;
		while (row < q_len * r->group) {
			const struct attention_block *b = &at.blocks[ticket / r->n_kv_heads];
			assert_int_equal(b->seq, s);
			assert_int_equal(b->token, l->q_begin[s]);
			assert_int_equal(b->position, l->kv_len[s] - q_len);
			assert_int_equal(b->row_begin, row);
			assert_in_range(b->row_end - b->row_begin, 1, r->block_rows);
			int64_t first = MAX_KEYS, last = 0;
			for (; row < b->row_end; row++) {
				int64_t begin, end;
				attention_visible(b->position + row / r->group, r->window, &begin, &end);
				if (begin < end) {
					first = begin < first ? begin : first;
					last = end > last ? end : last;
				}
			}
			assert_int_equal(b->key_begin, last ? first : 0);
			assert_int_equal(b->key_end, last);
			for (int64_t h = 0; h < r->n_kv_heads; h++, ticket++) {
				assert_true(ticket < n_tickets && parts[ticket] >= 1);
				for (int64_t p = 0; p < MAX_PIECES; p++) {
					bool seen = last && p >= attention_piece_of(first) && p <= attention_piece_of(last - 1);
					assert_int_equal(covered[ticket][p], seen);
				}
				if (split_of[ticket] < 0) {
					assert_int_equal(parts[ticket], 1);
					continue;
				}
				const struct attention_split *split = &at.splits[split_of[ticket]];
				assert_int_equal(split->n_parts, parts[ticket]);
				assert_int_equal(split->states_begin, states);
				states += (1 + attention_piece_of(last - 1) + 1 - split->first_end) *
					  attention_gpu_state_floats(b->row_end - b->row_begin, r->head_dim);
				assert_true(states <= r->max_state_floats);
			}
		}
	}
	assert_int_equal(ticket, n_tickets);
}

static struct attention_ranges ranges(int64_t kv_heads, int64_t group, int64_t window, int64_t n_workers)
{
	struct attention_ranges r = { .n_kv_heads = kv_heads, .group = group, .window = window, .max_seqs = MAX_SEQS,
				      .max_tokens = MAX_TOKENS, .max_keys = MAX_KEYS, .max_q_len = MAX_TOKENS,
				      .n_workers = n_workers, .block_rows = 64, .head_dim = 128 };
	attention_ranges_init(&r);
	assert_true(r.bytes <= sizeof list);
	return r;
}

static void test_every_key_once(void **state)
{
	(void)state;
	static const int64_t heads[][2] = { { 1, 1 }, { 8, 1 }, { 8, 4 }, { 2, 7 }, { 1, 7 }, { 1, 128 }, { 1, 71 } };
	for (int i = 0; i < 2000; i++) {
		const int64_t *h = heads[below(7)];
		int64_t window = below(2) ? 0 : 1 + below(below(2) ? 20 : 5000);
		struct attention_ranges r = ranges(h[0], h[1], window, below(8) ? 1 + below(300) : 1);
		if (!below(4)) /* hardly any room for states */
			r.max_state_floats = 20000;
		struct lengths l;
		random_lengths(&l);
		assert_int_equal(attention_ranges_write(&r, list, l.n_seqs, l.q_begin, l.kv_len), VB_OK);
		check(&r, &l);
	}
}

/* Tiles that the busiest worker has, against an even share of them. */
static double imbalance(const struct attention_ranges *r, int64_t *n_shared)
{
	struct lists at = lists_of(r);
	int64_t most = 0, all = 0;
	*n_shared = 0;
	for (int64_t w = 0; w < r->n_workers; w++) {
		const struct attention_worker *k = &at.workers[w];
		int64_t load = 0;
		for (int32_t t = k->first; t <= k->last; t++) {
			const struct attention_block *b = &at.blocks[t / r->n_kv_heads];
			int64_t first, last;
			attention_block_pieces(b, &first, &last);
			first = t == k->first && k->first_piece > first ? k->first_piece : first;
			last = t == k->last && k->last_piece < last ? k->last_piece : last;
			for (int64_t p = first; p < last; p++) {
				int64_t begin = attention_piece_begin(p), end = attention_piece_begin(p + 1);
				load += (end < b->key_end ? end : b->key_end) - (begin > b->key_begin ? begin : b->key_begin);
			}
			*n_shared += t == k->last && k->last_split >= 0;
		}
		most = load > most ? load : most;
		all += load;
	}
	return (double)most * (double)r->n_workers / (double)all;
}

static void test_balance(void **state)
{
	(void)state;
	static const struct {
		int64_t n_seqs;
		int32_t keys;
		double most;
		int64_t most_shared;
	} cases[] = { { 64, 4096, 1.04, 0 }, { 256, 1024, 1.04, 0 }, { 1, 32768, 1.04, 264 }, { 16, 16384, 1.08, 528 },
		      { 3, 100000, 1.06, 528 } };
	static int32_t q_begin[257], kv_len[256];
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct attention_ranges r = { .n_kv_heads = 8, .group = 4, .max_seqs = 256, .max_tokens = 256,
					      .max_keys = 131072, .max_q_len = 1, .n_workers = 264, .block_rows = 64,
					      .head_dim = 128 };
		attention_ranges_init(&r);
		assert_true(r.bytes <= sizeof list);
		for (int64_t s = 0; s < cases[i].n_seqs; s++) {
			q_begin[s + 1] = (int32_t)s + 1;
			kv_len[s] = cases[i].keys;
		}
		int64_t n_shared;
		assert_int_equal(attention_ranges_write(&r, list, cases[i].n_seqs, q_begin, kv_len), VB_OK);
		assert_true(imbalance(&r, &n_shared) < cases[i].most);
		assert_true(n_shared <= cases[i].most_shared);
	}
}

static void test_limits(void **state)
{
	(void)state;
	struct attention_ranges r = ranges(2, 2, 0, 16);
	r.max_seqs = 2;
	r.max_q_len = 8;
	int32_t fits[] = { 0, 1, 9 }, kv[] = { 5, MAX_KEYS };
	assert_int_equal(attention_ranges_write(&r, list, 2, fits, kv), VB_OK);
	assert_int_equal(attention_ranges_write(&r, list, 0, fits, kv), VB_OK);
	assert_int_equal(attention_ranges_write(&r, list, 3, fits, kv), VB_ELIMIT);
	int32_t falls[] = { 0, 2, 1 }, too_many[] = { 0, 1, MAX_TOKENS + 1 }, long_q[] = { 0, 1, 10 }, below_0[] = { -1, 0, 1 };
	assert_int_equal(attention_ranges_write(&r, list, 2, falls, kv), VB_EINVAL);
	assert_int_equal(attention_ranges_write(&r, list, 2, below_0, kv), VB_EINVAL);
	assert_int_equal(attention_ranges_write(&r, list, 2, too_many, kv), VB_ELIMIT);
	assert_int_equal(attention_ranges_write(&r, list, 2, long_q, kv), VB_ELIMIT);
	int32_t long_kv[] = { 5, MAX_KEYS + 1 }, negative[] = { -1, 5 };
	assert_int_equal(attention_ranges_write(&r, list, 2, fits, long_kv), VB_ELIMIT);
	assert_int_equal(attention_ranges_write(&r, list, 2, fits, negative), VB_ELIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_key_once),
		cmocka_unit_test(test_balance),
		cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
