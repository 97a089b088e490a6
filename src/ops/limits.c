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
static double fastest(struct team *team, struct work *w, int repeat)
{
	double best = 0;
	for (int i = 0; i < repeat; i++) {
		double start = clock_s();
		team_run(team, run_share, w);
		double took = clock_s() - start;
		if (i == 0 || took < best)
			best = took;
	}
	return best > 0 ? best : 1e-9;
}

int limits_measure_read(struct team *team, uint32_t isa, uint64_t memory, int repeat, double *bytes_s)
{
	const struct limits_request r = { LIMITS_READ, DTYPE_F32 };
	struct work w = { 0 };
	struct pick pick;
	TRY(limits_pick(isa, &r, NULL, &pick));
	size_t bytes = memory / 4 < READ_MOST ? (size_t)(memory / 4) / LIMITS_GRAIN * LIMITS_GRAIN : READ_MOST;
	if (bytes < READ_LEAST)
		bytes = READ_LEAST;
	void *data = mem_pages(bytes);
	w.worker = mem_calloc((size_t)team_size(team), sizeof *w.worker);
	int rc = data && w.worker ? VB_OK : VB_ENOMEM;
	if (rc == VB_OK) {
		w.fn = limits_kernel(pick.row);
		w.args = (struct limits_args){ .work = LIMITS_READ, .data = data, .bytes = bytes };
		team_run(team, fill_share, &w);
		*bytes_s = (double)bytes / fastest(team, &w, repeat);
	}
	mem_free(w.worker);
	mem_free_pages(data, bytes);
	return rc;
}

static int measure_multiply(struct team *team, uint32_t isa, enum dtype type, struct work *w, double *flops_s)
{
	const struct limits_request r = { LIMITS_MULTIPLY, type };
	struct pick pick;
	TRY(limits_pick(isa, &r, NULL, &pick));
	w->fn = limits_kernel(pick.row);
	w->args = (struct limits_args){ .work = LIMITS_MULTIPLY, .x = 1, .w = 1, .rounds = ROUNDS };
	double took = fastest(team, w, REPEATS), flops = 0;
	for (int i = 0; i < team_size(team); i++)
		flops += w->worker[i].result.flops;
	*flops_s = flops / took;
	return VB_OK;
}

int limits_measure(struct team *team, uint32_t isa, uint64_t memory, struct limits *out)
{
	struct work w = { .worker = mem_calloc((size_t)team_size(team), sizeof *w.worker) };
	if (!w.worker)
		return VB_ENOMEM;
	int rc;
	*out = (struct limits){ 0 };
	TRY_TO(out, limits_measure_read(team, isa, memory, REPEATS, &out->read_bytes_s));
	TRY_TO(out, measure_multiply(team, isa, DTYPE_F32, &w, &out->f32_flops_s));
	if (measure_multiply(team, isa, DTYPE_BF16, &w, &out->bf16_flops_s) != VB_OK)
		out->bf16_flops_s = out->f32_flops_s;
out:
	mem_free(w.worker);
	return rc;
}

double limits_flops_s(const struct limits *l, enum dtype type)
{
	return type == DTYPE_BF16 ? l->bf16_flops_s : l->f32_flops_s;
}
