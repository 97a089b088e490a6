/* Which kernels serve what on which GPU, over a grid of machines and requests: a changed choice is a changed line in
 * tests/golden/choices.txt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/status.h"
#include "hw/hw.h"
#include "ops/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_TEXT 262144

static struct hw_version version(const char *text)
{
	struct hw_version v;
	assert_true(hw_version_parse(text, &v));
	return v;
}

/* ---- Machines ---- */

static const char *const capabilities[] = { "7.5", "8.0", "8.6", "8.7", "8.9", "9.0", "10.0", "12.0", NULL };
static const char *const drivers[] = { "11.8", "12.2", "12.3", "12.10", "13.0", "13.1", NULL };

static const struct {
	const char *name, *cuda, *sass[5], *ptx;
} images[] = {
	{ "built by 13.0", "13.0", { "8.0", "8.6", "8.9", "9.0" }, "8.0" },
	{ "built by 12.3, machine code for 8.0 alone", "12.3", { "8.0" }, NULL },
	{ "built by 12.3, PTX alone", "12.3", { NULL }, "8.0" },
	{ "none", NULL, { NULL }, NULL },
};

static void fill_image(size_t i, struct hw_image *out)
{
	*out = (struct hw_image){ .present = images[i].cuda != NULL, .cuda = version(images[i].cuda),
				  .has_ptx = images[i].ptx != NULL, .ptx = version(images[i].ptx) };
	while (images[i].sass[out->n_sass]) {
		out->sass[out->n_sass] = version(images[i].sass[out->n_sass]);
		out->n_sass++;
	}
}

static void machines(struct buf *b)
{
	for (size_t i = 0; i < sizeof images / sizeof *images; i++) {
		assert_int_equal(buf_printf(b, "image %s\n", images[i].name), VB_OK);
		for (size_t c = 0; c < sizeof capabilities / sizeof *capabilities; c++) {
			for (size_t d = 0; d < sizeof drivers / sizeof *drivers; d++) {
				struct hw_gpu gpu = { .capability = version(capabilities[c]), .driver_cuda = version(drivers[d]) };
				char portable[HW_REASON_MAX], hopper[HW_REASON_MAX];
				fill_image(i, &gpu.image);
				bool runs = hw_gpu_runs(&gpu, HW_PORTABLE, portable);
				bool runs_hopper = hw_gpu_runs(&gpu, HW_HOPPER, hopper);
				assert_int_equal(buf_printf(b, "  %-4s driver %-5s %s: %s; hopper %s: %s\n",
							    capabilities[c] ? capabilities[c] : "?",
							    drivers[d] ? drivers[d] : "?", runs ? "runs" : "no", portable,
							    runs_hopper ? "runs" : "no", hopper), VB_OK);
				/* One rule for both ways of asking. */
				assert_int_equal(runs, (hw_gpu_isa(&gpu) & ISA_CUDA) != 0);
				if (images[i].cuda == NULL)
					return;
			}
		}
	}
}

/* ---- Requests ---- */

static void describe(struct buf *b, int rc, const struct pick *p)
{
	assert_int_equal(buf_printf(b, " %s", rc == VB_OK ? p->kernel : "-"), VB_OK);
	for (int i = 0; i < p->n_refused; i++)
		assert_int_equal(buf_printf(b, "%s not %s: %s", i ? ";" : "", p->refused[i].kernel, p->refused[i].reason), VB_OK);
	assert_int_equal(buf_printf(b, "\n"), VB_OK);
}

static void attention(struct buf *b, const struct attention_request *r, const char *forced)
{
	struct pick p;
	assert_int_equal(buf_printf(b, "attention %s/%s/%s %lld/%lld of %lld/%lld page %lld window %lld%s%s q %lld%s%s:",
				    dtype_name(r->q_type), dtype_name(r->kv_type), dtype_name(r->out_type),
				    (long long)r->n_heads, (long long)r->n_kv_heads, (long long)r->head_dim,
				    (long long)r->v_head_dim, (long long)r->page_size, (long long)r->window,
				    r->softcap ? " softcap" : "", r->sink ? " sink" : "", (long long)r->max_q_len,
				    forced ? " forced " : "", forced ? forced : ""), VB_OK);
	int rc = attention_pick(ISA_CUDA, r, forced, &p);
	describe(b, rc, &p);
}

static void all_attention(struct buf *b)
{
	const struct attention_request base = { .n_heads = 32, .n_kv_heads = 8, .head_dim = 128, .v_head_dim = 128,
						.q_type = DTYPE_BF16, .kv_type = DTYPE_BF16, .out_type = DTYPE_BF16,
						.page_size = 64, .max_q_len = 512 };
	static const enum dtype types[] = { DTYPE_BF16, DTYPE_F16, DTYPE_F32, DTYPE_I8 };
	static const int64_t dims[] = { 8, 16, 32, 64, 72, 80, 96, 112, 128, 160, 192, 256, 512, 576 };
	static const int64_t pages[] = { 1, 4, 8, 16, 64, 256, 1024 };
	struct attention_request r;
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		r = base;
		r.q_type = r.kv_type = r.out_type = types[i];
		attention(b, &r, NULL);
	}
	r = base;
	r.kv_type = DTYPE_F16;
	attention(b, &r, NULL);
	for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
		r = base;
		r.head_dim = r.v_head_dim = dims[i];
		attention(b, &r, NULL);
	}
	r = base;
	r.head_dim = 192;
	attention(b, &r, NULL);
	for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
		r = base;
		r.page_size = pages[i];
		attention(b, &r, NULL);
	}
	for (int flags = 1; flags < 8; flags++) {
		r = base;
		r.softcap = flags & 1;
		r.sink = flags & 2;
		r.window = flags & 4 ? 128 : 0;
		attention(b, &r, NULL);
	}
	for (int64_t q = 1; q <= 9; q += 4) {
		r = base;
		r.max_q_len = q;
		attention(b, &r, NULL);
	}
	r = base;
	r.n_heads = r.n_kv_heads = 71;
	attention(b, &r, NULL);
	for (int i = 0; i < attention_cuda_set.n_rows; i++)
		attention(b, &base, attention_cuda_set.rows[i].name);
	attention(b, &base, "avx2");
}

static void all_linear(struct buf *b)
{
	static const enum dtype types[] = { DTYPE_BF16, DTYPE_F16, DTYPE_F32 };
	static const int64_t shapes[][2] = { { 4096, 4096 }, { 128256, 4096 }, { 77, 48 }, { 384, 100 }, { 384, 104 }, { 1, 1 } };
	for (size_t x = 0; x < 3; x++) {
		for (size_t w = 0; w < 3; w++) {
			for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
				struct linear_request r = { .x_type = types[x], .w_type = types[w], .n = shapes[i][0], .k = shapes[i][1] };
				struct pick p;
				assert_int_equal(buf_printf(b, "linear %s x %s %lld x %lld:", dtype_name(types[x]),
							    dtype_name(types[w]), (long long)r.n, (long long)r.k), VB_OK);
				int rc = linear_pick(ISA_CUDA, &r, NULL, &p);
				describe(b, rc, &p);
			}
		}
	}
}

static void all(struct buf *b)
{
	machines(b);
	all_attention(b);
	all_linear(b);
}

static void test_golden_choices(void **state)
{
	(void)state;
	const char *root = getenv("VERBATIM_TEST_ROOT");
	char path[4096];
	static char golden[MOST_TEXT];
	struct buf now;
	buf_init(&now, MOST_TEXT - 1);
	all(&now);
	snprintf(path, sizeof path, "%s/tests/golden/choices.txt", root ? root : ".");
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	size_t n = fread(golden, 1, sizeof golden - 1, f);
	golden[n] = '\0';
	fclose(f);
	if (strcmp(golden, now.data) != 0)
		fprintf(stderr, "choices differ; where that is meant: test_choices --print > tests/golden/choices.txt\n");
	assert_string_equal(golden, now.data);
	buf_fini(&now);
}

/* What serves long steps serves short ones: a program chooses once, for prompts, decode and verify steps, as graphs or not. */
static void test_shorter_steps(void **state)
{
	(void)state;
	static const enum dtype types[] = { DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_I8 };
	static const int64_t dims[] = { 8, 20, 64, 128, 256, 512, 520 }, pages[] = { 1, 8, 64 }, windows[] = { 0, 128 };
	const struct kernel_set *const sets[] = { &attention_set, &attention_cuda_set };
	int served = 0;
	for (int i = 0; i < 4 * 7 * 3 * 2 * 4; i++) {
		struct attention_request r = { .n_heads = 8, .n_kv_heads = 2, .q_type = types[i % 4], .kv_type = types[i % 4],
					       .out_type = types[i % 4], .head_dim = dims[i / 4 % 7],
					       .v_head_dim = dims[i / 4 % 7], .page_size = pages[i / 28 % 3],
					       .window = windows[i / 84 % 2], .softcap = i / 168 & 1, .sink = i / 336 & 1 };
		for (int s = 0; s < 2; s++) {
			for (int row = 0; row < sets[s]->n_rows; row++) {
				r.max_q_len = 2048;
				const char *longest = sets[s]->refuse(&r, row);
				served += !longest;
				for (r.max_q_len = 1; r.max_q_len <= 17; r.max_q_len++)
					assert_true(longest || !sets[s]->refuse(&r, row));
			}
		}
	}
	assert_true(served > 500);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--print") == 0) {
		struct buf b;
		buf_init(&b, MOST_TEXT);
		all(&b);
		fputs(b.data, stdout);
		buf_fini(&b);
		return 0;
	}
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_golden_choices), cmocka_unit_test(test_shorter_steps) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
