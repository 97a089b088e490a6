/* golden.c - the golden models against what transformers computed, and the law over chunks, threads and pages.
 *
 *     golden DIR [CASE]     all cases of DIR/cases.json, or one, verbosely
 *
 * Per case and instruction-set level:
 *   f32     every logit of the prompt within 2e-4 of the largest logit of transformers' float32; the 64 greedy tokens
 *           equal, computed one by one over the cache
 *   bf16    root-mean-square error against float64 at most 1.5 times that of transformers in bfloat16
 *           Where a CPU multiplies integers (expected has int8_rms_error): root-mean-square errors against float64 at most 1.5
 *           times what rounding activations to int8 costs there, in f32 and, with bfloat16's own error, in bf16
 *   bits    f32 and bf16 logits in chunks of 1, 7 and 64, on 1 and 2 threads, with pages of 1, 16 and 64 tokens in
 *           shuffled order: equal to the one-chunk logits, bit for bit
 */
#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"
#include "hw/gpu.h"
#include "hw/hw.h"
#include "load/load.h"
#include "model/model.h"
#include "model/weights.h"
#include "ops/ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define F32_TOLERANCE 2e-4
#define BF16_RATIO 1.5
#define INT8_RATIO 1.5

struct way {
	enum dtype compute;
	uint32_t isa;
	int n_threads;
	int64_t chunk, page_size;
};

struct runner {
	struct model_config *config;
	struct model_weights *weights;
	struct program *program;
	struct team *team;
	int32_t *table; /* shuffled pages */
	int64_t width;
	struct way way;
};

static int n_passed, n_failed;
static bool verbose;

static void verdict(bool ok, const char *folder, const char *what, const char *level, double figure, double bound)
{
	if (ok)
		n_passed++;
	else
		n_failed++;
	if (!ok || verbose)
		printf("%s %-28s %-12s %-7s %.3g (bound %.3g)\n", ok ? "ok    " : "FAILED", folder, what, level, figure,
		       bound);
}

/* Where programs run; NULL: the CPU. */
static struct gpu *gpu;

static void runner_close(struct runner *r)
{
	program_destroy(&r->program);
	team_destroy(&r->team);
	weights_destroy(&r->weights);
	model_config_destroy(&r->config);
	mem_free(r->table);
}

static int runner_open(struct runner *r, const char *dir, const struct way *way, int64_t max_len)
{
	*r = (struct runner){ .way = *way };
	TRY(model_config_read(&r->config, dir));
	TRY(weights_create(&r->weights,
			   &(struct weights_wish){ .dir = dir, .config = r->config, .compute = way->compute }));
	TRY(team_create(&r->team, way->n_threads));
	struct program_config pc = {
		.compute = way->compute, .isa = way->isa, .n_threads = way->n_threads, .max_tokens = way->chunk,
		.max_seqs = 1, .max_rows = 8, .context = max_len, .page_size = way->page_size,
		.gpu_facts = gpu ? gpu_facts(gpu) : NULL,
	};
	TRY(program_create(&r->program, &pc));
	TRY(model_build(r->program, r->config));
	TRY(weights_attach(r->weights, r->program));
	TRY(program_pick(r->program));
	if (gpu)
		program_set_gpu(r->program, gpu);
	TRY(weights_bind(r->weights, r->program, r->team));
	r->width = (max_len + way->page_size - 1) / way->page_size;
	int64_t n_pages[PROGRAM_MAX_GROUPS];
	for (int g = 0; g < PROGRAM_MAX_GROUPS; g++)
		n_pages[g] = r->width;
	TRY(program_allocate(r->program, n_pages));
	r->table = mem_calloc((size_t)r->width, sizeof *r->table);
	if (!r->table)
		return VB_ENOMEM;
	for (int64_t i = 0; i < r->width; i++) {
		int64_t j = (int64_t)(rng_u32(7, RNG_TEST, 0, (uint32_t)i) % (uint32_t)(i + 1));
		r->table[i] = r->table[j];
		r->table[j] = (int32_t)i;
	}
	return VB_OK;
}

/* Runs ids[0..n) at positions first..; logits of all of them to out [n, V], or of the last alone where out_last. */
static void run(struct runner *r, const int32_t *ids, int64_t n, int64_t first, int64_t prompt_len, float *out,
		bool only_last)
{
	int64_t vocab = program_n_vocab(r->program), page = r->way.page_size;
	for (int64_t done = 0; done < n;) {
		int32_t position[512], rope_len[512];
		int64_t slot[512];
		int64_t size = n - done < r->way.chunk ? n - done : r->way.chunk;
		for (int64_t i = 0; i < size; i++) {
			int64_t p = first + done + i;
			position[i] = (int32_t)p;
			rope_len[i] = (int32_t)prompt_len;
			slot[i] = r->table[p / page] * page + p % page;
		}
		int32_t q_begin[2] = { 0, (int32_t)size }, kv_len = (int32_t)(first + done + size);
		struct step_group groups[PROGRAM_MAX_GROUPS];
		for (int g = 0; g < PROGRAM_MAX_GROUPS; g++)
			groups[g] = (struct step_group){ slot, r->table, r->width };
		struct step step = { .n_tokens = size, .n_seqs = 1, .ids = ids + done, .position = position,
				     .rope_len = rope_len, .q_begin = q_begin, .kv_len = &kv_len,
				     .groups = groups };
		program_run(r->program, r->team, &step);
		for (int64_t i = only_last ? size - 1 : 0; i < size; i += 8) {
			int32_t rows[8];
			int64_t n_rows = size - i < 8 ? size - i : 8;
			for (int64_t j = 0; j < n_rows; j++)
				rows[j] = (int32_t)(i + j);
			const float *logits = program_head(r->program, r->team, rows, n_rows);
			memcpy(out + (only_last ? 0 : (done + i) * vocab), logits,
			       (size_t)(n_rows * vocab) * sizeof *out);
		}
		done += size;
	}
}

static double max_of(const float *x, int64_t n)
{
	double m = 0;
	for (int64_t i = 0; i < n; i++)
		m = fmax(m, fabs((double)x[i]));
	return m;
}

struct golden {
	const char *folder;
	char dir[4096];
	struct tensor_set *expected;
	int32_t ids[512];
	int64_t n_prompt, vocab;
	const float *f32;
	const double *f64;
	const int64_t *greedy; /* NULL: prefill only */
	double bf16_rms;
	double int8_rms; /* 0: numbers are multiplied as they are */
};

static const void *data_of(const struct golden *g, const char *name)
{
	const struct tensor *t = tensor_set_find(g->expected, name);
	return t ? t->data : NULL;
}

static int golden_open(struct golden *g, const char *root, const char *folder)
{
	char path[4200];
	*g = (struct golden){ .folder = folder };
	snprintf(g->dir, sizeof g->dir, "%s/%s", root, folder);
	snprintf(path, sizeof path, "%s/expected.safetensors", g->dir);
	TRY(tensor_set_open_file(&g->expected, path));
	const struct tensor *ids = tensor_set_find(g->expected, "prompt_ids");
	const struct tensor *f32 = tensor_set_find(g->expected, "logits_f32");
	CHECK(ids && f32 && ids->shape[0] <= 448);
	g->n_prompt = ids->shape[0];
	g->vocab = f32->shape[1];
	for (int64_t i = 0; i < g->n_prompt; i++)
		g->ids[i] = (int32_t)((const int64_t *)ids->data)[i];
	g->f32 = f32->data;
	g->greedy = data_of(g, "greedy_ids");
	g->f64 = data_of(g, "logits_f64_bf16w");
	if (!g->f64)
		g->f64 = data_of(g, "logits_f64");
	g->bf16_rms = *(const double *)data_of(g, "bf16_rms_error");
	const double *int8 = data_of(g, "int8_rms_error");
	if (int8 && !gpu) { /* integers are what the file holds, whatever the compute type */
		g->int8_rms = *int8;
		g->f64 = data_of(g, "logits_f64");
	}
	return VB_OK;
}

static double rms_error(const struct golden *g, const float *logits)
{
	double sum = 0;
	int64_t n = g->n_prompt * g->vocab;
	for (int64_t i = 0; i < n; i++) {
		double d = (double)logits[i] - g->f64[i];
		sum += d * d;
	}
	return sqrt(sum / (double)n);
}

static int check_f32(struct golden *g, uint32_t isa, const char *level, float *logits)
{
	struct runner r;
	struct way way = { DTYPE_F32, isa, 2, 512, 16 };
	int rc;
	TRY_TO(out, runner_open(&r, g->dir, &way, g->n_prompt + 64));
	CHECK(program_n_vocab(r.program) == g->vocab);
	int64_t n = g->n_prompt * g->vocab;
	run(&r, g->ids, g->n_prompt, 0, g->n_prompt, logits, false);
	if (g->int8_rms > 0) {
		double ratio = rms_error(g, logits) / g->int8_rms;
		verdict(ratio <= INT8_RATIO, g->folder, "f32 int8", level, ratio, INT8_RATIO);
		goto out;
	}
	double scale = max_of(g->f32, n), worst = 0;
	for (int64_t i = 0; i < n; i++)
		worst = fmax(worst, isfinite(logits[i]) ? fabs((double)logits[i] - g->f32[i]) : 1e30);
	verdict(worst <= F32_TOLERANCE * scale, g->folder, "f32 logits", level, worst / scale, F32_TOLERANCE);
	if (!g->greedy)
		goto out;
	float *last = logits + n - g->vocab;
	int equal = 0;
	for (; equal < 64; equal++) {
		int32_t best = 0;
		for (int32_t i = 1; i < g->vocab; i++)
			if (last[i] > last[best])
				best = i;
		if (best != g->greedy[equal])
			break;
		run(&r, &best, 1, g->n_prompt + equal, g->n_prompt, last, true);
	}
	verdict(equal == 64, g->folder, "f32 greedy", level, equal, 64);
out:
	runner_close(&r);
	return rc;
}

static int check_bf16(struct golden *g, uint32_t isa, const char *level, float *logits)
{
	struct runner r;
	struct way way = { DTYPE_BF16, isa, 2, 512, 16 };
	int rc;
	TRY_TO(out, runner_open(&r, g->dir, &way, g->n_prompt));
	run(&r, g->ids, g->n_prompt, 0, g->n_prompt, logits, false);
	double ratio = rms_error(g, logits) / hypot(g->bf16_rms, g->int8_rms);
	verdict(ratio <= BF16_RATIO, g->folder, "bf16 error", level, ratio, BF16_RATIO);
out:
	runner_close(&r);
	return rc;
}

static int check_bits(struct golden *g, enum dtype compute, uint32_t isa, const char *level, float *first, float *other)
{
	static const struct {
		int n_threads;
		int64_t chunk, page_size;
	} ways[] = { { 1, 512, 64 }, { 2, 1, 1 }, { 1, 7, 16 }, { 2, 64, 64 }, { 1, 1, 64 }, { 2, 7, 1 } };
	int64_t n = g->n_prompt * g->vocab;
	for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w++) {
		struct runner r;
		struct way way = { compute, isa, ways[w].n_threads, ways[w].chunk, ways[w].page_size };
		/* Pages below 8 tokens are served by another family of GPU kernels. */
		if (gpu && way.page_size < 8)
			way.page_size = 8;
		int rc = runner_open(&r, g->dir, &way, g->n_prompt);
		if (rc == VB_OK)
			run(&r, g->ids, g->n_prompt, 0, g->n_prompt, w ? other : first, false);
		runner_close(&r);
		TRY(rc);
		if (!w)
			continue;
		int64_t differ = 0;
		for (int64_t i = 0; i < n; i++)
			differ += memcmp(&first[i], &other[i], sizeof *first) != 0;
		verdict(differ == 0, g->folder, compute == DTYPE_F32 ? "f32 bits" : "bf16 bits", level, (double)differ, 0);
	}
	return VB_OK;
}

static int check_level(struct golden *g, uint32_t isa, const char *level, float *a, float *b)
{
	TRY(check_f32(g, isa, level, a));
	TRY(check_bf16(g, isa, level, a));
	TRY(check_bits(g, DTYPE_F32, isa, level, a, b));
	return check_bits(g, DTYPE_BF16, isa, level, a, b);
}

static int check_case(const char *root, const char *folder)
{
	static const char *const levels[] = { "scalar", "avx2", "avx512" };
	struct golden g;
	struct hw_facts facts;
	float *a = NULL, *b = NULL;
	int rc;
	TRY_TO(out, golden_open(&g, root, folder));
	TRY_TO(out, hw_facts_probe(&facts));
	size_t n = (size_t)(g.n_prompt * g.vocab);
	a = mem_alloc(n * sizeof *a);
	b = mem_alloc(n * sizeof *b);
	CHECK(a && b);
	if (gpu) {
		rc = check_level(&g, hw_gpu_isa(gpu_facts(gpu)), "cuda", a, b);
		goto out;
	}
	for (size_t l = 0; l < sizeof levels / sizeof levels[0]; l++) {
		uint32_t isa;
		if (hw_isa_level(levels[l], facts.isa, &isa) != VB_OK)
			continue;
		TRY_TO(out, check_level(&g, isa, levels[l], a, b));
	}
out:
	mem_free(a);
	mem_free(b);
	tensor_set_close(&g.expected);
	return rc;
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--device=cuda") == 0) {
		if (gpu_open(&gpu, 0) != VB_OK) {
			fprintf(stderr, "golden: %s\n", vb_errmsg());
			return 77; /* skipped */
		}
		argc--;
		argv++;
	}
	if (argc < 2) {
		fprintf(stderr, "usage: golden [--device=cuda] DIR [CASE]\n");
		return 2;
	}
	char path[4200];
	snprintf(path, sizeof path, "%s/cases.json", argv[1]);
	json_t *list, *item;
	if (json_read_file(&list, path, (size_t)1 << 24) != VB_OK) {
		fprintf(stderr, "golden: %s\n", vb_errmsg());
		return 1;
	}
	verbose = argc > 2;
	size_t i;
	json_t *cases = json_object_get(list, "cases");
	json_array_foreach(cases, i, item) {
		const char *folder = json_string_value(json_object_get(item, "folder"));
		if (argc > 2 && strcmp(argv[2], folder) != 0)
			continue;
		if (check_case(argv[1], folder) != VB_OK) {
			printf("FAILED %-28s %s\n", folder, vb_errmsg());
			n_failed++;
		}
	}
	json_decref(list);
	gpu_close(&gpu);
	printf("%d passed, %d failed\n", n_passed, n_failed);
	return n_failed || !n_passed;
}
