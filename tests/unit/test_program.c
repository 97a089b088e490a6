/* Programs: weights, choices, memory; every allocation of them made to fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"
#include "hw/hw.h"
#include "load/load.h"
#include "model/model.h"
#include "ops/program_internal.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* ---- A program of one embedding, one norm and one matrix ---- */

enum { VOCAB = 21, WIDTH = 24 };

static struct program_config config_of(enum dtype compute)
{
	return (struct program_config){ .compute = compute, .n_threads = 2, .max_tokens = 8, .max_seqs = 2,
					.max_rows = 4, .context = 64, .page_size = 16 };
}

/* order: 0 declares the embedding first, 1 the head. */
static struct program *declare(enum dtype compute, const char *head, int order)
{
	struct program *p;
	struct program_config config = config_of(compute);
	struct weight_spec embed_spec = { .name = "embed", .rows = VOCAB, .cols = WIDTH, .random_std = 0.5f };
	struct weight_spec head_spec = { .name = head, .rows = VOCAB, .cols = WIDTH, .random_std = 0.5f };
	struct weight_spec norm_spec = { .name = "norm", .use = WEIGHT_VECTOR, .rows = 1, .cols = WIDTH,
					 .random_mean = 1, .random_std = 0.1f };
	assert_int_equal(program_create(&p, &config), VB_OK);
	int32_t first = program_weight(p, order ? &head_spec : &embed_spec);
	int32_t norm = program_weight(p, &norm_spec);
	int32_t second = program_weight(p, order ? &embed_spec : &head_spec);
	int32_t embed = order ? second : first, matrix = order ? first : second;
	int32_t h = program_buffer(p, DTYPE_F32, WIDTH);
	program_embed(p, embed, 2, h);
	program_begin_head(p);
	int32_t x = program_gather(p, -1, h);
	int32_t normed = program_buffer(p, compute, WIDTH), logits = program_buffer(p, DTYPE_F32, VOCAB);
	program_rms_norm(p, &(struct norm_op){ .layer = -1, .x = { x, 0 }, .delta = { NO_ID, 0 }, .weight = norm,
					       .eps = 1e-6f, .groups = 1, .d = WIDTH, .out = { normed, 0 } });
	struct linear_part part = { .weight = matrix, .n_rows = VOCAB, .bias = NO_ID, .out = { logits, 0 } };
	program_linear(p, &(struct linear_op){ .layer = -1, .in = { normed, 0 }, .k = WIDTH, .n_parts = 1,
					       .parts = &part });
	program_set_logits(p, logits, VOCAB);
	assert_int_equal(program_pick(p), VB_OK);
	return p;
}

/* Logits of tokens 3 and 7. */
static void logits_of(struct program *p, float out[2 * VOCAB])
{
	int32_t ids[2] = { 3, 7 }, position[2] = { 0, 1 }, rows[2] = { 0, 1 };
	int32_t q_begin[2] = { 0, 2 }, kv_len = 2, page = 0;
	int64_t slot[2] = { 0, 1 };
	struct step_group group = { slot, &page, 1 };
	struct step step = { .n_tokens = 2, .n_seqs = 1, .ids = ids, .position = position, .rope_len = position,
			     .q_begin = q_begin, .kv_len = &kv_len, .groups = &group };
	assert_int_equal(program_n_vocab(p), VOCAB);
	program_run(p, NULL, &step);
	memcpy(out, program_head(p, NULL, rows, 2), 2 * VOCAB * sizeof *out);
}

/* ---- Tensors in memory ---- */

struct shelf {
	struct tensor tensor[8];
	int n;
	_Alignas(64) unsigned char bytes[8][4 * VOCAB * WIDTH + 64];
	int n_released;
};

/* Values drawn by name, stored as `type`, `askew` bytes off any alignment. */
static struct tensor *put(struct shelf *s, const char *name, enum dtype type, int rank, int64_t d0, int64_t d1,
			  size_t askew)
{
	int64_t n = rank == 2 ? d0 * d1 : d0;
	unsigned char *data = s->bytes[s->n] + askew;
	for (int64_t i = 0; i < n; i++) {
		unsigned char element[4];
		dtype_store(type == DTYPE_BF16 || type == DTYPE_F16 ? type : DTYPE_F32, element, 0,
			    rng_normal((uint64_t)name[0], RNG_TEST, 0, (uint32_t)i));
		memcpy(data + (size_t)i * dtype_bytes(type), element, dtype_bytes(type) < 4 ? dtype_bytes(type) : 4);
	}
	s->tensor[s->n] = (struct tensor){ .name = name, .type = type, .rank = rank, .shape = { d0, d1 },
					   .data = data, .bytes = (uint64_t)n * dtype_bytes(type) };
	return &s->tensor[s->n++];
}

static const struct tensor *find(void *user, const char *name)
{
	struct shelf *s = user;
	for (int i = 0; i < s->n; i++)
		if (strcmp(s->tensor[i].name, name) == 0)
			return &s->tensor[i];
	return NULL;
}

static void release(void *user, const struct tensor *t)
{
	(void)t;
	((struct shelf *)user)->n_released++;
}

static void fill(struct shelf *s, enum dtype type, size_t askew)
{
	*s = (struct shelf){ 0 };
	put(s, "embed", type, 2, VOCAB, WIDTH, askew);
	put(s, "norm", type, 1, WIDTH, 0, askew);
	put(s, "head", type, 2, VOCAB, WIDTH, askew);
}

static void assert_bind_fails(struct shelf *s, int rc, const char *words, const char *more)
{
	struct program *p = declare(DTYPE_BF16, "head", 0);
	assert_int_equal(program_bind(p, NULL, find, release, s), rc);
	if (!strstr(vb_errmsg(), words) || !strstr(vb_errmsg(), more))
		fail_msg("message lacks \"%s\" or \"%s\": %s", words, more, vb_errmsg());
	program_destroy(&p);
	assert_null(p);
}

static void test_bad_weights(void **state)
{
	(void)state;
	static struct shelf s;
	fill(&s, DTYPE_BF16, 0);
	s.tensor[2].name = "other";
	assert_bind_fails(&s, VB_ENOTFOUND, "missing tensor", "\"head\"");
	fill(&s, DTYPE_BF16, 0);
	s.tensor[0].shape[0] = WIDTH;
	s.tensor[0].shape[1] = VOCAB;
	assert_bind_fails(&s, VB_EFORMAT, "\"embed\": [24, 21]", "[21, 24]");
	fill(&s, DTYPE_BF16, 0);
	s.tensor[0].rank = 1;
	assert_bind_fails(&s, VB_EFORMAT, "wrong shape", "\"embed\": [21]");
	fill(&s, DTYPE_BF16, 0);
	s.tensor[1].shape[0] = WIDTH - 1;
	assert_bind_fails(&s, VB_EFORMAT, "\"norm\": [23]", "[24]");
	fill(&s, DTYPE_BF16, 0);
	s.tensor[1].rank = 0;
	assert_bind_fails(&s, VB_EFORMAT, "\"norm\": []", "[24]");
	static const enum dtype types[] = { DTYPE_F64, DTYPE_I8, DTYPE_F8_E4M3, DTYPE_BOOL, DTYPE_U32 };
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		fill(&s, DTYPE_BF16, 0);
		s.tensor[2].type = types[i];
		assert_bind_fails(&s, VB_EUNSUPPORTED, "unsupported type: tensor \"head\"", dtype_name(types[i]));
	}
	fill(&s, DTYPE_F32, 2);
	assert_bind_fails(&s, VB_EUNSUPPORTED, "misaligned", "\"embed\"");
}

/* Logits of a program bound to tensors stored as `stored`. */
static void bound_logits(enum dtype compute, enum dtype stored, size_t askew, int n_released, float out[2 * VOCAB])
{
	static struct shelf s;
	struct program *p = declare(compute, "head", 0);
	fill(&s, stored, askew);
	assert_int_equal(program_bind(p, NULL, find, release, &s), VB_OK);
	assert_int_equal(s.n_released, n_released);
	assert_true(program_uses_weight(p, "norm"));
	assert_false(program_uses_weight(p, "other"));
	assert_int_equal(program_allocate(p, (int64_t[PROGRAM_MAX_GROUPS]){ 4 }), VB_OK);
	logits_of(p, out);
	program_destroy(&p);
}

/* The same numbers stored and used as other types: rounded once, or not at all, and copied only where they must be. */
static void test_conversions(void **state)
{
	(void)state;
	float a[2 * VOCAB], b[2 * VOCAB];
	static const enum dtype narrow[] = { DTYPE_BF16, DTYPE_F16 };
	for (int i = 0; i < 2; i++) {
		/* Drawn as f32, and rounded here or when bound. Norm weights are f32 in use: rounding shows there. */
		bound_logits(narrow[i], narrow[i], 0, 1, a);
		bound_logits(narrow[i], DTYPE_F32, 0, 2, b);
		assert_memory_not_equal(a, b, sizeof a);
		for (int j = 0; j < 2 * VOCAB; j++)
			assert_true(fabsf(a[j] - b[j]) < 0.1f);
		/* float32 computing widens as it reads. */
		bound_logits(DTYPE_F32, narrow[i], 0, 1, a);
		assert_true(isfinite(a[0]));
	}
	bound_logits(DTYPE_F32, DTYPE_F32, 0, 0, a);
	/* Data askew in the file is copied: the same bits. */
	bound_logits(DTYPE_F32, DTYPE_F32, 2, 3, b);
	assert_memory_equal(a, b, sizeof a);
}

/* Every element is converted as dtype_convert converts it, whoever converts it. */
static void test_converted_bits(void **state)
{
	(void)state;
	static const enum dtype types[] = { DTYPE_F32, DTYPE_BF16, DTYPE_F16 };
	static struct shelf s;
	struct team *team;
	assert_int_equal(team_create(&team, 3), VB_OK);
	for (int from = 0; from < 3; from++) {
		for (int to = 0; to < 3; to++) {
			struct program *p = declare(types[to], "head", 0);
			fill(&s, types[from], 0);
			assert_int_equal(program_bind(p, team, find, NULL, &s), VB_OK);
			for (int64_t w = 0; w < p->n_weights; w++) {
				const struct tensor *t = find(&s, p->weights[w].spec.name);
				enum dtype used = t->rank == 1 ? DTYPE_F32 : to == 0 ? types[from] : types[to];
				assert_int_equal(p->weights[w].type, used);
				unsigned char expected[4 * VOCAB * WIDTH];
				size_t n = t->bytes / dtype_bytes(t->type);
				dtype_convert(used, expected, t->type, t->data, n);
				assert_memory_equal(p->weights[w].data, expected, n * dtype_bytes(used));
				assert_int_equal(p->weights[w].data == t->data, used == t->type);
			}
			program_destroy(&p);
		}
	}
	team_destroy(&team);
}

static void test_tied(void **state)
{
	(void)state;
	static struct shelf s;
	float tied[2 * VOCAB], twice[2 * VOCAB];
	struct program *p = declare(DTYPE_F32, "embed", 0);
	assert_int_equal(p->n_weights, 2);
	fill(&s, DTYPE_F32, 0);
	assert_int_equal(program_bind(p, NULL, find, NULL, &s), VB_OK);
	assert_int_equal(program_allocate(p, (int64_t[PROGRAM_MAX_GROUPS]){ 1 }), VB_OK);
	logits_of(p, tied);
	program_destroy(&p);
	p = declare(DTYPE_F32, "head", 0);
	s.tensor[2].data = s.tensor[0].data;
	assert_int_equal(program_bind(p, NULL, find, NULL, &s), VB_OK);
	assert_int_equal(program_allocate(p, (int64_t[PROGRAM_MAX_GROUPS]){ 1 }), VB_OK);
	logits_of(p, twice);
	program_destroy(&p);
	assert_memory_equal(tied, twice, sizeof tied);
}

/* ---- Random weights ---- */

static const struct weight *weight_named(const struct program *p, const char *name)
{
	for (int64_t i = 0; i < p->n_weights; i++)
		if (strcmp(p->weights[i].spec.name, name) == 0)
			return &p->weights[i];
	return NULL;
}

static void test_random_weights(void **state)
{
	(void)state;
	static const char *const names[] = { "embed", "norm", "head" };
	struct team *team;
	assert_int_equal(team_create(&team, 2), VB_OK);
	struct program *a = declare(DTYPE_F32, "head", 0), *b = declare(DTYPE_F32, "head", 1);
	struct program *other = declare(DTYPE_F32, "head", 0), *narrow = declare(DTYPE_BF16, "head", 1);
	assert_int_equal(program_bind_random(a, NULL, 5), VB_OK);
	assert_int_equal(program_bind_random(b, team, 5), VB_OK);
	assert_int_equal(program_bind_random(other, team, 6), VB_OK);
	assert_int_equal(program_bind_random(narrow, team, 5), VB_OK);
	for (int i = 0; i < 3; i++) {
		const struct weight *w = weight_named(a, names[i]), *n = weight_named(narrow, names[i]);
		size_t count = w->bytes / 4;
		assert_memory_equal(w->data, weight_named(b, names[i])->data, w->bytes);
		assert_memory_not_equal(w->data, weight_named(other, names[i])->data, w->bytes);
		/* Another type is the same numbers, rounded. */
		unsigned char expected[4 * VOCAB * WIDTH];
		dtype_convert(n->type, expected, DTYPE_F32, w->data, count);
		assert_memory_equal(n->data, expected, n->bytes);
		/* As spread as was asked for. */
		double sum = 0, squares = 0;
		for (size_t j = 0; j < count; j++) {
			double x = (double)((const float *)w->data)[j] - (double)w->spec.random_mean;
			sum += x;
			squares += x * x;
		}
		double std = w->spec.random_std, n_values = (double)count;
		assert_true(fabs(sum / n_values) < 4 * std / sqrt(n_values));
		assert_true(fabs(sqrt(squares / n_values) / std - 1) < 0.2);
	}
	assert_memory_not_equal(weight_named(a, "embed")->data, weight_named(a, "head")->data, 64);
	program_destroy(&a);
	program_destroy(&b);
	program_destroy(&other);
	program_destroy(&narrow);
	team_destroy(&team);
}

/* ---- Models ---- */

static const char tiny[] =
	"{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":32,\"intermediate_size\":48,"
	"\"num_hidden_layers\":3,\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":16,\"vocab_size\":64,"
	"\"max_position_embeddings\":128,\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"tie_word_embeddings\":true,"
	"\"torch_dtype\":\"bfloat16\"}";

static struct model_config *tiny_config(void)
{
	struct model_config *c;
	assert_int_equal(model_config_parse(&c, tiny, sizeof tiny - 1, "tiny"), VB_OK);
	return c;
}

/* A choice that fails leaves the table of choices: which operation is not served, and by whom the others are. */
static void test_choices(void **state)
{
	(void)state;
	static const struct {
		const char *attention;
		int rc;
		const char *words;
	} cases[] = {
		{ NULL, VB_OK, NULL },
		{ "ref", VB_OK, NULL },
		{ "nonsense", VB_EINVAL, "'nonsense'" },
		{ "avx512", VB_EUNSUPPORTED, "AVX-512" }, /* isa is 0 */
	};
	struct model_config *c = tiny_config();
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct program *p;
		struct program_config config = config_of(DTYPE_BF16);
		config.attention = cases[i].attention;
		assert_int_equal(program_create(&p, &config), VB_OK);
		assert_int_equal(model_build(p, c), VB_OK);
		assert_int_equal(program_pick(p), cases[i].rc);
		if (cases[i].rc != VB_OK) {
			assert_non_null(strstr(vb_errmsg(), cases[i].words));
			assert_non_null(strstr(vb_errmsg(), "attention"));
			assert_non_null(strstr(vb_errmsg(), "layer 0"));
		}
		int n_attention = 0;
		for (int64_t j = 0; j < program_n_choices(p); j++) {
			struct program_choice choice;
			program_choice(p, j, &choice);
			bool attention = strcmp(choice.op, "attention") == 0;
			assert_true(choice.layer >= -1 && choice.layer < 3);
			if (!attention) {
				assert_true(choice.pick->row >= 0 && choice.pick->kernel);
				continue;
			}
			assert_int_equal(choice.layer, n_attention++);
			assert_non_null(strstr(choice.what, "4/2 heads of 16"));
			assert_int_equal(choice.attention->head_dim, 16);
			assert_int_equal(choice.pick->row >= 0, cases[i].rc == VB_OK);
			assert_true(choice.pick->n_refused > 0 || cases[i].rc == VB_OK || i == 2);
		}
		assert_int_equal(n_attention, 3);
		/* Sizes can be told all the same. */
		struct program_memory m;
		program_memory(p, &m);
		assert_true(m.weights > 0);
		program_destroy(&p);
	}
	model_config_destroy(&c);
}

static void test_too_many_windows(void **state)
{
	(void)state;
	struct program *p;
	struct program_config config = config_of(DTYPE_F32);
	assert_int_equal(program_create(&p, &config), VB_OK);
	for (int i = 0; i < 2 * PROGRAM_MAX_GROUPS; i++)
		assert_int_equal(program_cache(p, &(struct cache_spec){ 1, 2, 2, i / 2 }), i);
	assert_int_equal(program_n_groups(p), PROGRAM_MAX_GROUPS);
	assert_int_equal(program_group_window(p, 3), 3);
	assert_int_equal(program_cache(p, &(struct cache_spec){ 1, 2, 2, 100 }), NO_ID);
	/* Declaring goes on, to no effect; the first failure is told when choosing. */
	program_softcap(p, 0, 1, 1);
	assert_int_equal(program_pick(p), VB_EUNSUPPORTED);
	assert_non_null(strstr(vb_errmsg(), "windows"));
	assert_int_equal(program_n_choices(p), 0);
	program_destroy(&p);
}

static void test_memory(void **state)
{
	(void)state;
	struct model_config *c = tiny_config();
	struct program *p;
	struct program_config config = config_of(DTYPE_BF16);
	assert_int_equal(program_create(&p, &config), VB_OK);
	assert_int_equal(model_build(p, c), VB_OK);
	assert_int_equal(program_pick(p), VB_OK);
	struct program_memory m;
	program_memory(p, &m);
	/* q 64, k and v 32, o 64, gate, up and down 48 by 32; two norms a layer, one more at the end. */
	uint64_t matrices = 3 * (64 + 32 + 32 + 64 + 3 * 48) * 32, embed = 64 * 32;
	assert_int_equal(m.weights, 2 * (matrices + embed) + 4 * 7 * 32);
	assert_int_equal(m.weights_per_token, 2 * (matrices + embed));
	assert_int_equal(m.kv_per_token, 3 * 2 * 2 * 16 * 2);
	uint64_t body = 32 * 4 + 32 * 2 + 32 * 4 + 128 * 4 + 64 * 2 + 64 * 2 + 96 * 4 + 48 * 2 + 16 * 4;
	/* The residual stream and attention's result are gathered; norms and the last layer's MLP have buffers of their own. */
	uint64_t head = 32 * 4 + 64 * 2 + 32 * 2 + 32 * 4 + 96 * 4 + 48 * 2 + 64 * 4;
	assert_int_equal(m.activations, 8 * body + 4 * head);
	assert_true(m.workspace > 0);
	program_destroy(&p);
	model_config_destroy(&c);
}

/* The n-th allocation fails, n rising until all goes well: a status each time, and nothing lost (leaks are found
 * where this runs under a sanitizer). */
static int whole_life(const struct model_config *c, struct team *team, bool bind_tensors)
{
	static struct shelf s;
	struct program *p = NULL;
	struct program_config config = config_of(DTYPE_BF16);
	int rc;
	TRY_TO(out, program_create(&p, &config));
	TRY_TO(out, model_build(p, c));
	TRY_TO(out, program_pick(p));
	TRY_TO(out, program_bind_random(p, team, 1));
	TRY_TO(out, program_allocate(p, (int64_t[PROGRAM_MAX_GROUPS]){ 8 }));
	if (bind_tensors) {
		program_destroy(&p);
		TRY_TO(out, program_create(&p, &config));
		fill(&s, DTYPE_F32, 0);
		int32_t w = program_weight(p, &(struct weight_spec){ .name = "head", .rows = VOCAB, .cols = WIDTH });
		int32_t h = program_buffer(p, DTYPE_F32, WIDTH);
		program_embed(p, w, 1, h);
		program_set_logits(p, h, WIDTH);
		TRY_TO(out, program_pick(p));
		TRY_TO(out, program_bind(p, team, find, release, &s));
	}
out:
	program_destroy(&p);
	return rc;
}

static void test_failing_allocations(void **state)
{
	(void)state;
	struct model_config *c = tiny_config();
	struct team *team;
	assert_int_equal(team_create(&team, 2), VB_OK);
	for (int persistent = 0; persistent < 2; persistent++) {
		uint64_t n = 0;
		int rc;
		do {
			mem_fail_at(++n, persistent);
			rc = whole_life(c, team, true);
			if (rc != VB_OK) {
				assert_int_equal(rc, VB_ENOMEM);
				assert_non_null(strstr(vb_errmsg(), "out of memory"));
				assert_null(strstr(vb_errmsg(), "no kernel"));
			}
		} while (rc != VB_OK && n < 10000);
		mem_fail_at(0, false);
		assert_int_equal(rc, VB_OK);
		assert_true(n > 100);
	}
	team_destroy(&team);
	model_config_destroy(&c);
}

/* Running allocates nothing. */
static void test_run_allocates_nothing(void **state)
{
	(void)state;
	static struct shelf s;
	float first[2 * VOCAB], again[2 * VOCAB];
	struct program *p = declare(DTYPE_BF16, "head", 0);
	fill(&s, DTYPE_F32, 0);
	assert_int_equal(program_bind(p, NULL, find, NULL, &s), VB_OK);
	assert_int_equal(program_allocate(p, (int64_t[PROGRAM_MAX_GROUPS]){ 4 }), VB_OK);
	logits_of(p, first);
	uint64_t count = mem_count();
	for (int i = 0; i < 10; i++) {
		logits_of(p, again);
		assert_memory_equal(first, again, sizeof first);
	}
	assert_int_equal(mem_count(), count);
	program_destroy(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_weights),
		cmocka_unit_test(test_conversions),
		cmocka_unit_test(test_converted_bits),
		cmocka_unit_test(test_tied),
		cmocka_unit_test(test_random_weights),
		cmocka_unit_test(test_choices),
		cmocka_unit_test(test_too_many_windows),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_failing_allocations),
		cmocka_unit_test(test_run_allocates_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
