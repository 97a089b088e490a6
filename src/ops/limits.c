#include "ops/limits_measure.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "kernels/ops/limits.h"
#include "ops/kernels.h"

#define REPEATS 5
#define READ_MOST ((size_t)512 << 20) /* beyond the caches of any one machine that a process may have */
#define READ_LEAST ((size_t)1 << 20)
#define ROUNDS 4000000 /* some 20 ms; sums stay exact in f32, below 2^24 */

#define OP limits
#define OP_DEF "kernels/ops/limits.def"
#include "operation.h"

/* ---- Reading ---- */

struct limits_reader {
	struct team *team;
	limits_fn *fn;
	double (*now)(void);
	char *data;
	size_t bytes;
	/* A worker's bytes are one piece, which it touches first; of it [at, at + length) is read in a run. */
	size_t piece, at, length;
};

static double (*clock_of(const struct limits_setup *s))(void)
{
	return s->now ? s->now : clock_s;
}

static void fill_piece(void *context, int index, int n_workers)
{
	struct limits_reader *r = context;
	(void)n_workers;
	uint64_t *word = (uint64_t *)(void *)(r->data + (size_t)index * r->piece);
	for (size_t i = 0; i < r->piece / sizeof *word; i++)
		word[i] = i;
}

static void read_piece(void *context, int index, int n_workers)
{
	struct limits_reader *r = context;
	(void)n_workers;
	const struct limits_args a = { .work = LIMITS_READ, .data = r->data + (size_t)index * r->piece + r->at, .bytes = r->length };
	struct limits_result unused;
	r->fn(&a, &unused);
}

int limits_reader_create(const struct limits_setup *s, struct limits_reader **out)
{
	const struct limits_request request = { LIMITS_READ, DTYPE_F32 };
	struct pick pick;
	*out = NULL;
	TRY(limits_pick(s->isa, &request, NULL, &pick));
	struct limits_reader *r = mem_calloc(1, sizeof *r);
	if (!r)
		return VB_ENOMEM;
	size_t workers = (size_t)team_size(s->team), bytes = s->memory / 4 < READ_MOST ? (size_t)(s->memory / 4) : READ_MOST;
	*r = (struct limits_reader){ .team = s->team, .fn = limits_kernel(pick.row), .now = clock_of(s) };
	r->piece = (bytes < READ_LEAST ? READ_LEAST : bytes) / workers / LIMITS_GRAIN * LIMITS_GRAIN;
	if (r->piece == 0)
		r->piece = LIMITS_GRAIN;
	r->bytes = r->piece * workers;
	r->data = mem_pages(r->bytes);
	if (!r->data) {
		mem_free(r);
		return VB_ENOMEM;
	}
	team_run(r->team, fill_piece, r);
	*out = r;
	return VB_OK;
}

void limits_reader_destroy(struct limits_reader **r)
{
	if (*r)
		mem_free_pages((*r)->data, (*r)->bytes);
	mem_free(*r);
	*r = NULL;
}

uint64_t limits_reader_turn(const struct limits_reader *r)
{
	return r->bytes;
}

void limits_reader_run(struct limits_reader *r, uint64_t bytes, double *read_bytes, double *seconds)
{
	size_t workers = r->bytes / r->piece, left = (size_t)(bytes / workers + LIMITS_GRAIN - 1) / LIMITS_GRAIN * LIMITS_GRAIN;
	for (; left > 0; left -= r->length) {
		if (r->at == r->piece)
			r->at = 0;
		r->length = left < r->piece - r->at ? left : r->piece - r->at;
		double start = r->now();
		team_run(r->team, read_piece, r);
		*seconds += r->now() - start;
		*read_bytes += (double)(r->length * workers);
		r->at += r->length;
	}
}

int limits_measure_read(const struct limits_setup *s, int repeat, double *bytes_s)
{
	struct limits_reader *r;
	TRY(limits_reader_create(s, &r));
	*bytes_s = 0;
	for (int i = 0; i < repeat; i++) {
		double bytes = 0, seconds = 0;
		limits_reader_run(r, limits_reader_turn(r), &bytes, &seconds);
		if (bytes / (seconds > 0 ? seconds : 1e-9) > *bytes_s)
			*bytes_s = bytes / (seconds > 0 ? seconds : 1e-9);
	}
	limits_reader_destroy(&r);
	return VB_OK;
}

/* ---- Multiplying ---- */

struct work {
	limits_fn *fn;
	struct limits_args args;
	/* One a worker, padded so that no two share a cache line. */
	struct {
		struct limits_result result;
		char pad[64];
	} *worker;
};

static void multiply(void *context, int index, int n_workers)
{
	struct work *w = context;
	(void)n_workers;
	w->fn(&w->args, &w->worker[index].result);
}

/* Seconds of the fastest of some runs. */
static double fastest(const struct limits_setup *s, struct work *w, int repeat)
{
	double (*now)(void) = clock_of(s), best = 0;
	for (int i = 0; i < repeat; i++) {
		double start = now();
		team_run(s->team, multiply, w);
		double took = now() - start;
		if (i == 0 || took < best)
			best = took;
	}
	return best > 0 ? best : 1e-9;
}

/* No row for the type: it is widened to f32. */
static int pick_multiply(const struct limits_setup *s, enum dtype type, struct pick *pick)
{
	const struct limits_request wanted = { LIMITS_MULTIPLY, type }, wide = { LIMITS_MULTIPLY, DTYPE_F32 };
	if (limits_pick(s->isa, &wanted, NULL, pick) == VB_OK)
		return VB_OK;
	return limits_pick(s->isa, &wide, NULL, pick);
}

int limits_measure_multiply(const struct limits_setup *s, enum dtype type, int repeat, double *flops_s)
{
	struct pick pick;
	TRY(pick_multiply(s, type, &pick));
	struct work w = { .fn = limits_kernel(pick.row),
			  .worker = mem_calloc((size_t)team_size(s->team), sizeof *w.worker) };
	if (!w.worker)
		return VB_ENOMEM;
	w.args = (struct limits_args){ .work = LIMITS_MULTIPLY, .x = 1, .w = 1, .rounds = ROUNDS };
	double took = fastest(s, &w, repeat), flops = 0;
	for (int i = 0; i < team_size(s->team); i++)
		flops += w.worker[i].result.flops;
	*flops_s = flops / took;
	mem_free(w.worker);
	return VB_OK;
}

int limits_measure(const struct limits_setup *s, struct limits *out)
{
	*out = (struct limits){ 0 };
	TRY(limits_measure_read(s, REPEATS, &out->read_bytes_s));
	TRY(limits_measure_multiply(s, DTYPE_F32, REPEATS, &out->f32_flops_s));
	TRY(limits_measure_multiply(s, DTYPE_BF16, REPEATS, &out->bf16_flops_s));
	return limits_measure_multiply(s, DTYPE_I8, REPEATS, &out->int8_ops_s);
}

double limits_flops_s(const struct limits *l, enum dtype type)
{
	return type == DTYPE_BF16 ? l->bf16_flops_s : type == DTYPE_I8 ? l->int8_ops_s : l->f32_flops_s;
}
