/* divergence.c - how far one form of a model is from another: the mean Kullback-Leibler divergence of the next token's
 * distribution, in nats, over given text.
 *
 *     divergence [--dtype bf16|f16|f32] [--quantize none|q8|q4] [--kv-dtype auto|f32|bf16|f16|int8] REFERENCE MODEL IDS
 *
 * REFERENCE is computed as it is stored, MODEL with --quantize and --kv-dtype; both in the compute type. IDS is a file with one JSON
 * array of token ids a line, each a text of its own. Prints one JSON object.
 */
#include "base/json.h"
#include "base/mem.h"
#include "base/status.h"
#include "hw/hw.h"
#include "load/load.h"
#include "model/model.h"
#include "model/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_TOKENS 512
#define ROWS 64
#define PAGE 64

struct form {
	struct model_config *config;
	struct model_weights *weights;
	struct program *program;
};

struct sums {
	double divergence, most;
	long long tokens, same_first;
	double *each; /* [capacity] */
	size_t capacity;
};

static void form_close(struct form *f)
{
	program_destroy(&f->program);
	weights_destroy(&f->weights);
	model_config_destroy(&f->config);
}

/* What a form is computed with. */
struct how {
	enum dtype compute;
	enum weights_to to;
	enum kv_type kv;
};

static int form_open(struct form *f, const char *dir, struct how how, const struct hw_facts *facts, struct team *team)
{
	TRY(model_config_read(&f->config, dir));
	TRY(weights_create(&f->weights, &(struct weights_wish){ .dir = dir, .config = f->config, .to = how.to, .compute = how.compute }));
	struct program_config pc = { .compute = how.compute, .kv = how.kv, .isa = facts->isa, .n_threads = team_size(team),
				     .max_tokens = MOST_TOKENS, .max_seqs = 1, .max_rows = ROWS, .context = MOST_TOKENS, .page_size = PAGE };
	TRY(program_create(&f->program, &pc));
	TRY(model_build(f->program, f->config));
	TRY(weights_attach(f->weights, f->program));
	TRY(program_pick(f->program));
	TRY(weights_bind(f->weights, f->program, team));
	int64_t pages[PROGRAM_MAX_GROUPS];
	for (int g = 0; g < PROGRAM_MAX_GROUPS; g++)
		pages[g] = MOST_TOKENS / PAGE;
	return program_allocate(f->program, pages);
}

static void run(struct form *f, struct team *team, const int32_t *ids, int64_t n)
{
	int32_t position[MOST_TOKENS], rope_len[MOST_TOKENS], table[MOST_TOKENS / PAGE];
	int64_t slot[MOST_TOKENS];
	for (int64_t i = 0; i < n; i++) {
		position[i] = (int32_t)i;
		rope_len[i] = (int32_t)n;
		slot[i] = i;
	}
	for (int i = 0; i < MOST_TOKENS / PAGE; i++)
		table[i] = i;
	int32_t q_begin[2] = { 0, (int32_t)n }, kv_len = (int32_t)n;
	struct step_group groups[PROGRAM_MAX_GROUPS];
	for (int g = 0; g < PROGRAM_MAX_GROUPS; g++)
		groups[g] = (struct step_group){ slot, table, MOST_TOKENS / PAGE };
	struct step step = { .n_tokens = n, .n_seqs = 1, .ids = ids, .position = position, .rope_len = rope_len,
			     .q_begin = q_begin, .kv_len = &kv_len, .groups = groups };
	program_run(f->program, team, &step);
}

static double log_sum(const float *x, int64_t n, int64_t *first)
{
	double most = x[0], sum = 0;
	*first = 0;
	for (int64_t i = 1; i < n; i++)
		if (x[i] > most) {
			most = x[i];
			*first = i;
		}
	for (int64_t i = 0; i < n; i++)
		sum += exp(x[i] - most);
	return most + log(sum);
}

static int compare_rows(struct sums *s, const float *p, const float *q, int64_t n_rows, int64_t vocab)
{
	for (int64_t r = 0; r < n_rows; r++, p += vocab, q += vocab) {
		int64_t first_p, first_q;
		double lp = log_sum(p, vocab, &first_p), lq = log_sum(q, vocab, &first_q), sum = 0;
		for (int64_t i = 0; i < vocab; i++)
			sum += exp(p[i] - lp) * ((p[i] - lp) - (q[i] - lq));
		if ((size_t)s->tokens == s->capacity) {
			size_t capacity = s->capacity ? 2 * s->capacity : 4096;
			double *grown = mem_realloc(s->each, capacity, sizeof *grown);
			if (!grown)
				return VB_ENOMEM;
			s->each = grown;
			s->capacity = capacity;
		}
		s->each[s->tokens++] = sum;
		s->divergence += sum;
		s->most = sum > s->most ? sum : s->most;
		s->same_first += first_p == first_q;
	}
	return VB_OK;
}

static int compare(struct sums *s, struct form *a, struct form *b, struct team *team, const int32_t *ids, int64_t n)
{
	int64_t vocab = program_n_vocab(a->program);
	if (vocab != program_n_vocab(b->program))
		FAIL(VB_EINVAL, "different vocabularies: %lld and %lld tokens", (long long)vocab,
		     (long long)program_n_vocab(b->program));
	for (int64_t i = 0; i < n; i++)
		if (ids[i] < 0 || ids[i] >= vocab)
			FAIL(VB_EINVAL, "token %d: the vocabulary has %lld", ids[i], (long long)vocab);
	run(a, team, ids, n);
	run(b, team, ids, n);
	for (int64_t begin = 0; begin < n; begin += ROWS) {
		int32_t rows[ROWS];
		int64_t n_rows = n - begin < ROWS ? n - begin : ROWS;
		for (int64_t i = 0; i < n_rows; i++)
			rows[i] = (int32_t)(begin + i);
		const float *p = program_head(a->program, team, rows, n_rows);
		const float *q = program_head(b->program, team, rows, n_rows);
		TRY(compare_rows(s, p, q, n_rows, vocab));
	}
	return VB_OK;
}

static int compare_file(struct sums *s, struct form *a, struct form *b, struct team *team, const char *path)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t len;
	int rc = VB_OK;
	FILE *f = fopen(path, "r");
	if (!f)
		FAIL(VB_ENOTFOUND, "cannot open: %s", path);
	while (rc == VB_OK && (len = getline(&line, &size, f)) > 0) {
		json_t *list;
		int32_t ids[MOST_TOKENS];
		rc = json_parse(&list, line, (size_t)len, path);
		if (rc != VB_OK)
			break;
		int64_t n = (int64_t)json_array_size(list);
		n = n > MOST_TOKENS ? MOST_TOKENS : n;
		for (int64_t i = 0; i < n; i++)
			ids[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
		json_decref(list);
		if (n > 0)
			rc = compare(s, a, b, team, ids, n);
	}
	free(line);
	fclose(f);
	return rc;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static int measure(const char *const *path, struct how how, const char *kv)
{
	struct form a = { 0 }, b = { 0 };
	struct sums s = { 0 };
	struct team *team = NULL;
	struct hw_facts facts;
	int rc;
	TRY_TO(out, hw_facts_probe(&facts));
	TRY_TO(out, team_create(&team, facts.n_threads));
	TRY_TO(out, form_open(&a, path[0], (struct how){ .compute = how.compute, .to = WEIGHTS_AS_STORED }, &facts, team));
	TRY_TO(out, form_open(&b, path[1], how, &facts, team));
	TRY_TO(out, compare_file(&s, &a, &b, team, path[2]));
	if (s.tokens == 0)
		FAIL_TO(out, VB_EINVAL, "no tokens: %s", path[2]);
	qsort(s.each, (size_t)s.tokens, sizeof *s.each, by_value);
	char words[64];
	weights_words(b.weights, words);
	printf("{\"weights\": \"%s\", \"dtype\": \"%s\", \"kv_dtype\": \"%s\", \"tokens\": %lld, \"mean_kl_nats\": %.4g, "
	       "\"median\": %.4g, \"p99\": %.4g, \"max\": %.4g, \"same_first\": %.5f}\n", words, dtype_name(how.compute), kv, s.tokens,
	       s.divergence / (double)s.tokens, s.each[s.tokens / 2], s.each[s.tokens * 99 / 100], s.most, (double)s.same_first / (double)s.tokens);
out:
	form_close(&a);
	form_close(&b);
	team_destroy(&team);
	mem_free(s.each);
	return rc;
}

/* An option's words, and which of them was asked for. */
struct option {
	const char *name, *const *words;
	int which;
};

static int usage(void)
{
	fprintf(stderr, "usage: divergence [--dtype bf16|f16|f32] [--quantize none|q8|q4] [--kv-dtype auto|f32|bf16|f16|int8] "
			"REFERENCE MODEL IDS\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const char *const types[] = { "bf16", "f16", "f32", NULL }, *const formats[] = { "none", "q8", "q4", NULL };
	static const char *const caches[] = { "auto", "f32", "bf16", "f16", "int8", NULL }; /* enum kv_type */
	static const char *const nothing[] = { NULL };
	static const enum dtype dtypes[] = { DTYPE_BF16, DTYPE_F16, DTYPE_F32 };
	enum { TYPE, FORMAT, CACHE, N };
	struct option options[N + 1] = { { "--dtype", types, 0 }, { "--quantize", formats, 0 }, { "--kv-dtype", caches, 0 },
					 { NULL, nothing, 0 } };
	for (; argc > 2 && strncmp(argv[1], "--", 2) == 0; argv += 2, argc -= 2) {
		struct option *o = options;
		while (o->name && strcmp(o->name, argv[1]) != 0)
			o++;
		for (o->which = 0; o->words[o->which] && strcmp(o->words[o->which], argv[2]) != 0; o->which++)
			;
		if (!o->words[o->which]) {
			fprintf(stderr, "divergence: what is %s %s?\n", argv[1], argv[2]);
			return usage();
		}
	}
	if (argc != 4)
		return usage();
	struct how how = { dtypes[options[TYPE].which], (enum weights_to)options[FORMAT].which, (enum kv_type)options[CACHE].which };
	if (measure((const char *const *)argv + 1, how, caches[options[CACHE].which]) != VB_OK) {
		fprintf(stderr, "divergence: %s\n", vb_errmsg());
		return 1;
	}
	return 0;
}
