#include "ops/sample_cuda.h"

#include "base/mem.h"
#include "base/status.h"

#include <inttypes.h>

#define THREADS 256
#define WHOLE_THREADS 1024
#define ALIGNMENT 256

struct sample_cuda {
	struct gpu_kernel scan, list, whole;
	struct sample_scratch scratch;
	void *memory;
	int64_t n_vocab, max_rows, n_parts;
};

static int64_t parts_of(int64_t n_vocab)
{
	return (n_vocab + SAMPLE_PART - 1) / SAMPLE_PART;
}

/* The next array of n values of `size` bytes behind *used; counts alone where base is NULL. */
static void *carve(char *base, uint64_t *used, int64_t n, size_t size)
{
	uint64_t at = *used;
	*used += ((uint64_t)n * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	return base ? base + at : NULL;
}

static uint64_t lay_out(char *base, int64_t max_rows, int64_t n_vocab, struct sample_scratch *s)
{
	uint64_t used = 0;
	int64_t n_parts = max_rows * parts_of(n_vocab);
	s->state = carve(base, &used, max_rows, sizeof *s->state);
	s->parts = carve(base, &used, n_parts, sizeof *s->parts);
	s->pieces = carve(base, &used, n_parts * SAMPLE_PIECES * 2, sizeof *s->pieces);
	s->tops = carve(base, &used, n_parts * SAMPLE_PIECES, sizeof *s->tops);
	s->candidate = carve(base, &used, max_rows * SAMPLE_LIST, sizeof *s->candidate);
	s->work = carve(base, &used, max_rows * n_vocab, sizeof *s->work);
	return used;
}

uint64_t sample_cuda_bytes(int64_t max_rows, int64_t n_vocab)
{
	struct sample_scratch unused;
	return lay_out(NULL, max_rows, n_vocab, &unused);
}

int sample_cuda_create(struct gpu *g, int64_t max_rows, int64_t n_vocab, struct sample_cuda **out)
{
	int rc;
	*out = NULL;
	if (n_vocab < 1 || parts_of(n_vocab) > SAMPLE_MAX_PARTS)
		FAIL(VB_EUNSUPPORTED, "sampling on a GPU takes 1 to %d ids: the vocabulary has %" PRId64 ": use --device cpu",
		     SAMPLE_PART * SAMPLE_MAX_PARTS, n_vocab);
	struct sample_cuda *s = mem_calloc(1, sizeof *s);
	if (!s)
		return VB_ENOMEM;
	s->n_vocab = n_vocab;
	s->max_rows = max_rows;
	s->n_parts = parts_of(n_vocab);
	TRY_TO(out, gpu_find_kernel(g, "sample_cuda_scan", 0, &s->scan));
	TRY_TO(out, gpu_find_kernel(g, "sample_cuda_list", 0, &s->list));
	TRY_TO(out, gpu_find_kernel(g, "sample_cuda_whole", 0, &s->whole));
	uint64_t bytes = sample_cuda_bytes(max_rows, n_vocab);
	TRY_TO(out, gpu_alloc(g, &s->memory, bytes, "sampling"));
	lay_out(s->memory, max_rows, n_vocab, &s->scratch);
	gpu_fill(g, s->memory, 0, bytes);
	rc = gpu_status(g);
out:
	if (rc != VB_OK)
		sample_cuda_destroy(g, &s);
	*out = s;
	return rc;
}

void sample_cuda_destroy(struct gpu *g, struct sample_cuda **s_)
{
	struct sample_cuda *s = *s_;
	*s_ = NULL;
	if (!s)
		return;
	gpu_free(g, s->memory);
	mem_free(s);
}

void sample_cuda_run(struct gpu *g, const struct sample_cuda *s, const float *logits, const struct sample_row *rows,
		     const int32_t *tokens, const int32_t *banned, int64_t n_rows, struct sample_result *out)
{
	CHECK(n_rows <= s->max_rows);
	struct sample_rows_args a = { .logits = logits,
				      .rows = rows,
				      .tokens = tokens,
				      .banned = banned,
				      .out = out,
				      .n_vocab = s->n_vocab,
				      .n_rows = (int32_t)n_rows,
				      .n_parts = (int32_t)s->n_parts,
				      .scratch = s->scratch };
	struct gpu_grid parts = { .blocks = { (uint32_t)(n_rows * s->n_parts), 1, 1 }, .threads = THREADS, .early = true };
	struct gpu_grid rows_alone = { .blocks = { (uint32_t)n_rows, 1, 1 }, .threads = WHOLE_THREADS, .early = true };
	gpu_launch(g, &s->scan, &parts, &a);
	gpu_launch(g, &s->list, &parts, &a);
	gpu_launch(g, &s->whole, &rows_alone, &a);
}
