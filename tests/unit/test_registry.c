#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/status.h"
#include "ops/kernels.h"
#include "ops/sampling.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An operation of its own, so that the rules are tested apart from what exists. */
struct toy_request {
	int size;
};

static const struct kernel_row toy_rows[] = {
	{ "ref", 0, ROW_INVARIANT },
	{ "avx2", ISA_AVX2, ROW_INVARIANT },
	{ "wide", ISA_AVX512, ROW_INVARIANT },
	{ "even", ISA_AVX512 | ISA_AVX512_BF16, ROW_INVARIANT },
	{ NULL, 0, 0 },
};

static const char *toy_refuse(const void *request, int row)
{
	const struct toy_request *r = request;
	if (r->size < 0)
		return "takes no negative size";
	return row == 3 && r->size % 2 ? "takes even sizes only" : NULL;
}

static const struct kernel_set toy = KERNEL_SET("toy", toy_rows, toy_refuse);
static const uint32_t all_isa = ISA_AVX2 | ISA_AVX512 | ISA_AVX512_BF16;

static const char *reason_of(const struct pick *p, const char *kernel)
{
	for (int i = 0; i < p->n_refused; i++)
		if (strcmp(p->refused[i].kernel, kernel) == 0)
			return p->refused[i].reason;
	return NULL;
}

static void test_best_last(void **state)
{
	(void)state;
	struct pick p;
	assert_int_equal(registry_pick(&toy, all_isa, &(struct toy_request){ 2 }, NULL, &p), VB_OK);
	assert_string_equal(p.kernel, "even");
	assert_int_equal(p.row, 3);
	assert_int_equal(p.n_refused, 0); /* those that a later row beats are no refusals */
	assert_int_equal(registry_pick(&toy, all_isa, &(struct toy_request){ 3 }, NULL, &p), VB_OK);
	assert_string_equal(p.kernel, "wide");
	assert_string_equal(reason_of(&p, "even"), "takes even sizes only");
	assert_int_equal(p.n_refused, 1);
}

static void test_masks(void **state)
{
	(void)state;
	struct pick p;
	struct toy_request r = { 2 };
	assert_int_equal(registry_pick(&toy, ISA_AVX2 | ISA_AVX512, &r, NULL, &p), VB_OK);
	assert_string_equal(p.kernel, "wide");
	assert_non_null(strstr(reason_of(&p, "even"), "AVX-512 BF16"));
	assert_int_equal(registry_pick(&toy, ISA_AVX2, &r, NULL, &p), VB_OK);
	assert_string_equal(p.kernel, "avx2");
	assert_non_null(strstr(reason_of(&p, "wide"), "AVX-512 F"));
	assert_int_equal(registry_pick(&toy, 0, &r, NULL, &p), VB_OK);
	assert_string_equal(p.kernel, "ref");
	assert_int_equal(p.n_refused, 3);
	/* Half of what a row needs is not enough. */
	assert_int_equal(registry_pick(&toy, ISA_AVX512_BF16, &r, NULL, &p), VB_OK);
	assert_string_equal(p.kernel, "ref");
}

static void test_forced(void **state)
{
	(void)state;
	struct pick p;
	assert_int_equal(registry_pick(&toy, all_isa, &(struct toy_request){ 2 }, "avx2", &p), VB_OK);
	assert_string_equal(p.kernel, "avx2");
	assert_int_equal(registry_pick(&toy, all_isa, &(struct toy_request){ 3 }, "even", &p), VB_EUNSUPPORTED);
	assert_non_null(strstr(vb_errmsg(), "even takes even sizes only"));
	assert_int_equal(p.row, -1);
	assert_null(p.kernel);
	assert_int_equal(registry_pick(&toy, ISA_AVX2, &(struct toy_request){ 2 }, "wide", &p), VB_EUNSUPPORTED);
	assert_non_null(strstr(vb_errmsg(), "wide needs AVX-512"));
	assert_int_equal(registry_pick(&toy, all_isa, &(struct toy_request){ 2 }, "wid", &p), VB_EINVAL);
	assert_non_null(strstr(vb_errmsg(), "'wid': use one of ref, avx2, wide, even"));
	assert_int_equal(p.row, -1);
}

static void test_nothing_serves(void **state)
{
	(void)state;
	struct pick p;
	assert_int_equal(registry_pick(&toy, ISA_AVX2, &(struct toy_request){ -1 }, NULL, &p), VB_EUNSUPPORTED);
	assert_int_equal(p.row, -1);
	assert_int_equal(p.n_refused, 4);
	assert_non_null(strstr(vb_errmsg(), "toy"));
	assert_non_null(strstr(vb_errmsg(), "ref takes no negative size"));
	assert_non_null(strstr(vb_errmsg(), "wide needs AVX-512"));
	/* The message is all that is allocated: without memory the status is the same. */
	mem_fail_at(1, true);
	assert_int_equal(registry_pick(&toy, ISA_AVX2, &(struct toy_request){ -1 }, NULL, &p), VB_EUNSUPPORTED);
	assert_int_equal(registry_pick(&toy, ISA_AVX2, &(struct toy_request){ 1 }, "?", &p), VB_EINVAL);
	mem_fail_at(0, false);
}

static void test_every_set(void **state)
{
	(void)state;
	const struct kernel_set *sets[] = { &embed_set,      &glu_set,        &linear_set, &log_softmax_set, &rms_norm_set,
					    &rope_cache_set, &rope_table_set, &sample_set, &softcap_set };
	for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
		/* ref stands first, so it is chosen where nothing else runs, and there always. */
		assert_string_equal(sets[i]->rows[0].name, "ref");
		assert_int_equal(sets[i]->rows[0].needs, 0);
		assert_in_range(sets[i]->n_rows, 1, PICK_MAX_ROWS);
		for (int a = 0; a < sets[i]->n_rows; a++)
			for (int b = 0; b < a; b++)
				assert_string_not_equal(sets[i]->rows[a].name, sets[i]->rows[b].name);
	}
}

static const struct {
	const char *name;
	uint32_t isa;
} levels[] = {
	{ "scalar", 0 },
	{ "avx2", ISA_AVX2 },
	{ "avx512", ISA_AVX2 | ISA_AVX512 },
	{ "avx512+bf16", ISA_AVX2 | ISA_AVX512 | ISA_AVX512_BF16 },
	{ "all", ISA_AVX2 | ISA_AVX512 | ISA_AVX512_BF16 | ISA_AVX512_VNNI | ISA_AMX_BF16 | ISA_AMX_INT8 },
};

static const enum dtype types[] = { DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_I8 };
#define N_TYPES (sizeof types / sizeof *types)

static void line(struct buf *b, const char *level, const char *request, const struct pick *p)
{
	assert_int_equal(buf_printf(b, "%-12s %-34s %s\n", level, request, p->kernel ? p->kernel : "-"), VB_OK);
}

/* All but the types of linear, which are many. */
static void picks_by_type(struct buf *b, const char *level, uint32_t isa)
{
	struct pick p;
	char text[64];
	for (size_t i = 0; i < N_TYPES; i++) {
		const char *name = dtype_name(types[i]);
		(void)embed_pick(isa, &(struct embed_request){ types[i] }, NULL, &p);
		snprintf(text, sizeof text, "embed %s", name);
		line(b, level, text, &p);
		(void)rms_norm_pick(isa, &(struct rms_norm_request){ types[i], 4096 }, NULL, &p);
		snprintf(text, sizeof text, "rms_norm -> %s", name);
		line(b, level, text, &p);
		(void)glu_pick(isa, &(struct glu_request){ types[i], GLU_SILU }, NULL, &p);
		snprintf(text, sizeof text, "glu silu -> %s", name);
		line(b, level, text, &p);
		(void)rope_cache_pick(isa, &(struct rope_cache_request){ types[i], types[i], 128, 128, 128 }, NULL, &p);
		snprintf(text, sizeof text, "rope_cache 128 -> %s", name);
		line(b, level, text, &p);
	}
	(void)rope_cache_pick(isa, &(struct rope_cache_request){ DTYPE_F32, DTYPE_F32, 64, 64, 63 }, NULL, &p);
	line(b, level, "rope_cache 63 of 64", &p);
	(void)rope_table_pick(isa, &(struct rope_table_request){ ROPE_TABLE_NTK }, NULL, &p);
	line(b, level, "rope_table ntk", &p);
	(void)softcap_pick(isa, &(struct softcap_request){ 256000 }, NULL, &p);
	line(b, level, "softcap 256000", &p);
	(void)log_softmax_pick(isa, &(struct log_softmax_request){ 128256 }, NULL, &p);
	line(b, level, "log_softmax 128256", &p);
	(void)registry_pick(&sample_set, isa, NULL, NULL, &p);
	line(b, level, "sample", &p);
}

static void picks_of_linear(struct buf *b, const char *level, uint32_t isa)
{
	struct pick p;
	char text[64];
	for (size_t x = 0; x < N_TYPES; x++) {
		for (size_t w = 0; w < N_TYPES; w++) {
			struct linear_request r = { .x_type = types[x], .w_type = types[w], .n = 4096, .k = 4096 };
			(void)linear_pick(isa, &r, NULL, &p);
			snprintf(text, sizeof text, "linear %s x %s", dtype_name(types[x]), dtype_name(types[w]));
			line(b, level, text, &p);
		}
		for (enum weight_format f = WEIGHT_Q8; f <= WEIGHT_Q4; f++) {
			struct linear_request r = { .x_type = types[x], .n = 4096, .k = 4096, .format = f,
						    .group = f == WEIGHT_Q4 ? 128 : 32 };
			(void)linear_pick(isa, &r, NULL, &p);
			snprintf(text, sizeof text, "linear %s x %s", dtype_name(types[x]), weight_format_name(r.format));
			line(b, level, text, &p);
		}
	}
}

static void all_picks(struct buf *b)
{
	for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
		picks_of_linear(b, levels[i].name, levels[i].isa);
		picks_by_type(b, levels[i].name, levels[i].isa);
	}
}

/* A changed choice must be a changed line in tests/golden/picks.txt. */
static void test_golden_picks(void **state)
{
	(void)state;
	const char *root = getenv("VERBATIM_TEST_ROOT");
	char path[4096], golden[65536];
	struct buf now;
	buf_init(&now, sizeof golden - 1);
	all_picks(&now);
	snprintf(path, sizeof path, "%s/tests/golden/picks.txt", root ? root : ".");
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	size_t n = fread(golden, 1, sizeof golden - 1, f);
	golden[n] = '\0';
	fclose(f);
	if (strcmp(golden, now.data) != 0)
		fprintf(stderr, "picks differ; where that is meant: test_registry --print > tests/golden/picks.txt\n");
	assert_string_equal(golden, now.data);
	buf_fini(&now);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--print") == 0) {
		struct buf b;
		buf_init(&b, 1 << 16);
		all_picks(&b);
		fputs(b.data, stdout);
		buf_fini(&b);
		return 0;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_best_last),      cmocka_unit_test(test_masks),
		cmocka_unit_test(test_forced),         cmocka_unit_test(test_nothing_serves),
		cmocka_unit_test(test_every_set),      cmocka_unit_test(test_golden_picks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
