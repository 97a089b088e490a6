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

static const struct kernel_row rows[] = {
#define KERNEL(op, name, needs, properties) { #name, (needs), (properties) },
#define KERNEL_CUDA(op, name, needs, properties)
#include "kernels/ops/limits.def"
#undef KERNEL
#undef KERNEL_CUDA
	{ NULL, 0, 0 },
};

static const struct {
	limits_fn *run;
	limits_refuse_fn *refuse;
} functions[] = {
#define KERNEL(op, name, needs, properties) { limits_##name, limits_##name##_refuse },
#define KERNEL_CUDA(op, name, needs, properties)
#include "kernels/ops/limits.def"
#undef KERNEL
#undef KERNEL_CUDA
};

static const char *refuse(const void *request, int row)
{
	return functions[row].refuse(request);
}

const struct kernel_set limits_set = KERNEL_SET("limits", rows, refuse);

int limits_pick(uint32_t isa, const struct limits_request *r, const char *forced, struct pick *out)
{
	return registry_pick(&limits_set, isa, r, forced, out);
}

limits_fn *limits_kernel(int row)
{
	return functions[row].run;
}

/* ---- Measuring ---- */

struct work {
	limits_fn *fn;
	struct limits_args args; /* bytes: of the whole buffer */
	/* One a worker, padded so that no two share a cache line. */
	struct {
		struct limits_result result;
		char pad[64];
	} *worker;
};

static void run_share(void *context, int index, int n_workers)
{
	struct work *w = context;
	struct limits_args a = w->args;
	int64_t begin, end;
	team_share((int64_t)w->args.bytes, LIMITS_GRAIN, index, n_workers, &begin, &end);
	a.data = (const char *)w->args.data + begin;
	a.bytes = (size_t)(end - begin);
	w->fn(&a, &w->worker[index].result);
}

/* Whoever reads a page is who first touches it. */
static void fill_share(void *context, int index, int n_workers)
{
	struct work *w = context;
	int64_t begin, end;
	team_share((int64_t)w->args.bytes, LIMITS_GRAIN, index, n_workers, &begin, &end);
	uint64_t *word = (uint64_t *)((char *)w->args.data + begin);
	for (int64_t i = 0; i < (end - begin) / (int64_t)sizeof *word; i++)
		word[i] = (uint64_t)i;
}

/* Seconds of the fastest of some runs. */
static double fastest(const struct limits_setup *s, struct work *w, int repeat)
{
	double (*now)(void) = s->now ? s->now : clock_s;
	double best = 0;
	for (int i = 0; i < repeat; i++) {
		double start = now();
		team_run(s->team, run_share, w);
		double took = now() - start;
		if (i == 0 || took < best)
			best = took;
	}
	return best > 0 ? best : 1e-9;
}

int limits_measure_read(const struct limits_setup *s, int repeat, double *bytes_s)
{
	const struct limits_request r = { LIMITS_READ, DTYPE_F32 };
	struct work w = { 0 };
	struct pick pick;
	TRY(limits_pick(s->isa, &r, NULL, &pick));
	size_t bytes = s->memory / 4 < READ_MOST ? (size_t)(s->memory / 4) / LIMITS_GRAIN * LIMITS_GRAIN : READ_MOST;
	if (bytes < READ_LEAST)
		bytes = READ_LEAST;
	void *data = mem_pages(bytes);
	w.worker = mem_calloc((size_t)team_size(s->team), sizeof *w.worker);
	int rc = data && w.worker ? VB_OK : VB_ENOMEM;
	if (rc == VB_OK) {
		w.fn = limits_kernel(pick.row);
		w.args = (struct limits_args){ .work = LIMITS_READ, .data = data, .bytes = bytes };
		team_run(s->team, fill_share, &w);
		*bytes_s = (double)bytes / fastest(s, &w, repeat);
	}
	mem_free(w.worker);
	mem_free_pages(data, bytes);
	return rc;
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
