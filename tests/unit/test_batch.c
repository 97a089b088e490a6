/* The law over the composition of batches: logits of a sequence are, bit for bit, those of the sequence alone, however
 * its tokens were cut into steps and whatever else those steps computed. On golden models of every family. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"
#include "hw/hw.h"
#include "kv/kv.h"
#include "load/load.h"
#include "model/model.h"
#include "ops/ops.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEQS = 5, MAX_STEP = 48, MAX_LEN = 64, ROWS = 7, CONTEXT = 192, PAGES = 512 };

struct model {
	struct model_config *config;
	struct tensor_set *tensors;
	struct program *program;
	struct team *team;
	int n_groups;
	struct kv *kv;
	int32_t seq[SEQS];
};

struct sequence {
	int32_t ids[MAX_LEN];
	int64_t n, done;
	float *alone; /* [n, vocabulary] */
};

static uint32_t n_drawn;

static int64_t draw(int64_t n)
{
	return (int64_t)(rng_uniform(41, RNG_TEST, 0, n_drawn++) * (double)n);
}

static const struct tensor *find(void *user, const char *name)
{
	return tensor_set_find(user, name);
}

static void need(int rc)
{
	if (rc != VB_OK)
		fail_msg("%s", vb_errmsg());
}

static void model_open(struct model *m, const char *dir, enum dtype compute, uint32_t isa, int n_threads,
		       int64_t page_size)
{
	struct program_config pc = {
		.compute = compute, .isa = isa, .n_threads = n_threads, .max_tokens = MAX_STEP, .max_seqs = SEQS,
		.max_rows = ROWS, .context = CONTEXT, .page_size = page_size,
	};
	*m = (struct model){ 0 };
	need(model_config_read(&m->config, dir));
	need(tensor_set_open(&m->tensors, dir));
	need(team_create(&m->team, n_threads));
	need(program_create(&m->program, &pc));
	need(model_build(m->program, m->config));
	need(program_pick(m->program));
	need(program_bind(m->program, m->team, find, NULL, m->tensors));
	m->n_groups = program_n_groups(m->program);
	int64_t n_pages[PROGRAM_MAX_GROUPS];
	struct kv_config kc = { .page_size = page_size, .n_groups = m->n_groups, .max_seqs = SEQS, .max_tokens = CONTEXT };
	for (int g = 0; g < m->n_groups; g++) {
		/* Groups differ in their pages. */
		n_pages[g] = kc.group[g].n_pages = PAGES + g;
		kc.group[g].window = program_group_window(m->program, g);
	}
	need(kv_create(&m->kv, &kc));
	for (int s = 0; s < SEQS; s++)
		m->seq[s] = kv_seq_open(m->kv, 0);
	need(program_allocate(m->program, n_pages));
}

static void model_close(struct model *m)
{
	kv_destroy(&m->kv);
	program_destroy(&m->program);
	team_destroy(&m->team);
	tensor_set_close(&m->tensors);
	model_config_destroy(&m->config);
}

/* A share of a step: tokens done..done + n of sequence s. */
struct share {
	int s;
	int64_t n;
};

/* The page table of one group: entries of pages that no query of the step sees are poisoned, behind and before. */
static void fill_group(struct model *m, int g, const struct sequence *seq, const struct share *shares, int n_shares,
		       int32_t *table, int64_t *slot)
{
	int64_t n = 0, width = kv_table_width(m->kv), window = program_group_window(m->program, g);
	int64_t page_size = program_get_config(m->program)->page_size;
	for (int i = 0; i < n_shares; i++) {
		const struct sequence *q = &seq[shares[i].s];
		int32_t handle = m->seq[shares[i].s];
		int64_t end = q->done + shares[i].n, n_pages = (end + page_size - 1) / page_size;
		need(kv_seq_reserve(m->kv, handle, end));
		const int32_t *pages = kv_seq_table(m->kv, handle, g);
		int64_t first = window && q->done >= window ? q->done - window + 1 : 0;
		for (int64_t j = 0; j < width; j++) {
			bool seen = j < n_pages && j >= first / page_size;
			table[i * width + j] = seen ? pages[j] : INT32_MAX;
		}
		for (int64_t j = 0; j < shares[i].n; j++)
			slot[n++] = kv_seq_slot(m->kv, handle, g, q->done + j);
	}
}

static void run_step(struct model *m, const struct sequence *seq, const struct share *shares, int n_shares)
{
	int32_t ids[MAX_STEP], position[MAX_STEP], rope_len[MAX_STEP], q_begin[SEQS + 1] = { 0 }, kv_len[SEQS];
	static int32_t table[PROGRAM_MAX_GROUPS][SEQS * CONTEXT];
	static int64_t slot[PROGRAM_MAX_GROUPS][MAX_STEP];
	struct step_group groups[PROGRAM_MAX_GROUPS];
	int64_t n = 0;
	for (int g = 0; g < m->n_groups; g++) {
		fill_group(m, g, seq, shares, n_shares, table[g], slot[g]);
		groups[g] = (struct step_group){ slot[g], table[g], kv_table_width(m->kv) };
	}
	for (int i = 0; i < n_shares; i++) {
		const struct sequence *q = &seq[shares[i].s];
		for (int64_t j = 0; j < shares[i].n; j++, n++) {
			ids[n] = q->ids[q->done + j];
			position[n] = (int32_t)(q->done + j);
			rope_len[n] = (int32_t)q->n;
		}
		q_begin[i + 1] = (int32_t)n;
		kv_len[i] = (int32_t)(q->done + shares[i].n);
	}
	struct step step = { .n_tokens = n, .n_seqs = n_shares, .ids = ids, .position = position,
			     .rope_len = rope_len, .q_begin = q_begin, .kv_len = kv_len, .groups = groups };
	program_run(m->program, m->team, &step);
}

static void give_back(struct model *m, int s)
{
	kv_seq_close(m->kv, m->seq[s]);
	m->seq[s] = kv_seq_open(m->kv, 0);
}

/* Every sequence by itself, in chunks of MAX_STEP. */
static void run_alone(struct model *m, struct sequence *seq)
{
	int64_t vocab = program_n_vocab(m->program);
	for (int s = 0; s < SEQS; s++) {
		struct sequence *q = &seq[s];
		for (q->done = 0; q->done < q->n;) {
			struct share share = { s, q->n - q->done < MAX_STEP ? q->n - q->done : MAX_STEP };
			run_step(m, seq, &share, 1);
			for (int64_t i = 0; i < share.n; i += ROWS) {
				int32_t rows[ROWS];
				int64_t n_rows = share.n - i < ROWS ? share.n - i : ROWS;
				for (int64_t r = 0; r < n_rows; r++)
					rows[r] = (int32_t)(i + r);
				memcpy(q->alone + (q->done + i) * vocab,
				       program_head(m->program, m->team, rows, n_rows),
				       (size_t)(n_rows * vocab) * sizeof(float));
			}
			q->done += share.n;
		}
		give_back(m, s);
	}
}

/* Compares rows of the step just run, a few at a time in shuffled order. */
static void compare(struct model *m, const struct sequence *seq, const struct share *shares, int n_shares,
		    const char *what)
{
	int64_t vocab = program_n_vocab(m->program), n = 0;
	int32_t order[MAX_STEP];
	const float *expected[MAX_STEP];
	for (int i = 0; i < n_shares; i++) {
		const struct sequence *q = &seq[shares[i].s];
		for (int64_t j = 0; j < shares[i].n; j++, n++) {
			int64_t at = draw(n + 1);
			order[n] = order[at];
			order[at] = (int32_t)n;
			expected[n] = q->alone + (q->done + j) * vocab;
		}
	}
	for (int64_t i = 0; i < n;) {
		int64_t n_rows = 1 + draw(ROWS);
		if (n_rows > n - i)
			n_rows = n - i;
		const float *got = program_head(m->program, m->team, order + i, n_rows);
		for (int64_t r = 0; r < n_rows; r++)
			if (memcmp(got + r * vocab, expected[order[i + r]], (size_t)vocab * sizeof(float)) != 0)
				fail_msg("%s: token %d of a step of %d sequences differs from the sequence alone",
					 what, order[i + r], n_shares);
		i += n_rows;
	}
}

/* Random steps: which sequences, in which order, how many tokens of each; often one (decoding), now and then many. */
static void run_together(struct model *m, struct sequence *seq, const char *what)
{
	int left = SEQS;
	for (int s = 0; s < SEQS; s++)
		seq[s].done = 0;
	while (left > 0) {
		struct share shares[SEQS];
		int order[SEQS], n_shares = 0;
		int64_t room = MAX_STEP;
		for (int s = 0; s < SEQS; s++) {
			int at = (int)draw(s + 1);
			order[s] = order[at];
			order[at] = s;
		}
		for (int i = 0; i < SEQS && room > 0; i++) {
			struct sequence *q = &seq[order[i]];
			int64_t n = draw(2) ? 1 : 1 + draw(20);
			n = n < q->n - q->done ? n : q->n - q->done;
			n = n < room ? n : room;
			if (n == 0 || draw(4) == 0)
				continue;
			shares[n_shares++] = (struct share){ order[i], n };
			room -= n;
		}
		if (!n_shares)
			continue;
		run_step(m, seq, shares, n_shares);
		compare(m, seq, shares, n_shares, what);
		for (int i = 0; i < n_shares; i++) {
			struct sequence *q = &seq[shares[i].s];
			q->done += shares[i].n;
			if (q->done == q->n) {
				left--;
				give_back(m, shares[i].s);
			}
		}
	}
}

static void check_model(const char *folder, enum dtype compute, uint32_t isa, const char *level)
{
	static const struct {
		int n_threads;
		int64_t page_size;
	} ways[] = { { 1, 16 }, { 2, 1 }, { 2, 64 } };
	char dir[4096], what[128];
	struct sequence seq[SEQS];
	const char *root = getenv("VERBATIM_TEST_ROOT");
	snprintf(dir, sizeof dir, "%s/tests/golden/%s", root ? root : ".", folder);
	for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
		struct model m;
		snprintf(what, sizeof what, "%s, %s, %s, %d threads, pages of %d", folder, dtype_name(compute), level,
			 ways[w].n_threads, (int)ways[w].page_size);
		model_open(&m, dir, compute, isa, ways[w].n_threads, ways[w].page_size);
		int64_t vocab = program_n_vocab(m.program);
		for (int s = 0; s < SEQS && w == 0; s++) {
			seq[s].n = s == 0 ? MAX_LEN : s == 1 ? 1 : 2 + draw(MAX_LEN - 2);
			for (int64_t i = 0; i < seq[s].n; i++)
				seq[s].ids[i] = (int32_t)draw(vocab);
			seq[s].alone = mem_alloc((size_t)(seq[s].n * vocab) * sizeof(float));
			assert_non_null(seq[s].alone);
		}
		if (w == 0)
			run_alone(&m, seq);
		run_together(&m, seq, what);
		model_close(&m);
	}
	for (int s = 0; s < SEQS; s++)
		mem_free(seq[s].alone);
}

static void check_families(enum dtype compute)
{
	/* Every family, and what is special about one: windows, softcaps, rope by length, odd shapes, biases. */
	static const char *const folders[] = {
		"llama-3-gqa3", "llama-dynamic-long", "llama-2-mha", "mistral-window7", "qwen2-untied-gqa7",
		"qwen3-tied", "phi3-longrope-long", "gemma2-window7", "gemma3-pattern3", "internlm2-bias",
		"internlm3-qkv-bias",
	};
	static const char *const levels[] = { "scalar", "avx2", "avx512" };
	struct hw_facts facts;
	need(hw_facts_probe(&facts));
	for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
		uint32_t isa;
		if (hw_isa_level(levels[l], facts.isa, &isa) != VB_OK)
			continue;
		/* The scalar kernels are slow and one code for all types; f16 differs from bf16 in loading alone. */
		size_t step = l == 0 || compute == DTYPE_F16 ? 3 : 1;
		for (size_t f = 0; f < sizeof folders / sizeof *folders; f += step)
			check_model(folders[f], compute, isa, levels[l]);
	}
}

static void test_f32(void **state)
{
	(void)state;
	check_families(DTYPE_F32);
}

static void test_bf16(void **state)
{
	(void)state;
	check_families(DTYPE_BF16);
}

static void test_f16(void **state)
{
	(void)state;
	check_families(DTYPE_F16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_f32),
		cmocka_unit_test(test_bf16),
		cmocka_unit_test(test_f16),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
