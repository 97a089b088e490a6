/* bench.c - times the rows that passed, against each other, the libraries and the machine's measured limits.
 *
 * Inputs larger than 4 MiB come in several copies that are used in turn, 256 MiB in all or more, so that they come from
 * memory and not from a cache, as a model's weights do; in pages of 4 KiB, as a mapped file is. Smaller inputs stay where
 * they are, as activations do.
 *
 * Time is the wall's, or (--clock=cpu) what this process was given of the processors, divided by its threads: on a
 * machine that others use too, the wall tells how much of it was left over.
 */
#include "kcheck_internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "hw/hw.h"
#include "ops/limits_measure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SAMPLES 31
#define SAMPLE_S 200e-6   /* shorter calls are repeated within a sample */
#define ROW_S 3.0         /* a row that would take longer gets fewer samples */
#define SLICES 64         /* a call longer than ROW_S is measured on one of so many slices, and says so */
#define ROTATE_BYTES (4 << 20)
#define ROTATED_BYTES (256 << 20)
#define MAX_COPIES 64
/* Slices of threads begin at multiples of this, as in a step of the engine. */
#define GRAIN 32
/* For the measure of memory: a quarter of it is read, so many times. */
#define LIMITS_MEMORY ((uint64_t)1 << 30)
#define LIMITS_REPEAT 5

static struct {
	struct team *team;
	struct limits_setup setup;
	struct limits limits;
	double (*now)(void);
	json_t *results;
	bool json;
} bench;

static double cpu_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return ((double)t.tv_sec + (double)t.tv_nsec * 1e-9) / team_size(bench.team);
}

struct timing {
	double median_s, best_s, low_s, high_s; /* of a whole call; low and high: 5th and 95th of the samples */
	int n;
	bool scaled;
};

/* A row of ours or of a library, on copies of one case. */
struct contestant {
	struct kc_case *copies;
	int n_copies, next;
	int row;
	const struct kc_lib *lib;
	int64_t extent; /* all of it, or one slice */
};

static void call_share(void *context, int index, int n_workers)
{
	const struct contestant *x = context;
	int64_t begin, end;
	team_share(x->extent, GRAIN, index, n_workers, &begin, &end);
	if (begin < end)
		x->copies[x->next].op->call(&x->copies[x->next], x->row, begin, end);
}

static void first_share(void *context, int index, int n_workers)
{
	const struct contestant *x = context;
	const struct kc_case *c = &x->copies[x->next];
	int64_t begin, end;
	team_share(c->t, c->op->first_grain, index, n_workers, &begin, &end);
	if (begin < end)
		c->op->first(c, x->row, begin, end);
}

static void call_once(struct contestant *x)
{
	const struct kc_case *c = &x->copies[x->next];
	if (x->lib) {
		x->lib->call(c);
	} else {
		if (c->op->first)
			team_run(c->t <= c->op->first_grain ? NULL : bench.team, first_share, x);
		team_run(bench.team, call_share, x);
	}
	x->next = (x->next + 1) % x->n_copies;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static double timed(struct contestant *x, int repeats)
{
	double start = bench.now();
	for (int i = 0; i < repeats; i++)
		call_once(x);
	return (bench.now() - start) / repeats;
}

static struct timing measure(struct contestant *x)
{
	struct timing t = { .n = SAMPLES };
	double sample[SAMPLES], all = (double)x->extent;
	if (!x->lib) { /* a slice tells how long the whole would take */
		x->extent = (x->extent + SLICES - 1) / SLICES;
		if (timed(x, 1) * all / (double)x->extent < ROW_S)
			x->extent = (int64_t)all;
		else
			t.scaled = true;
	}
	for (int i = 0; i < x->n_copies && !t.scaled; i++)
		call_once(x); /* touches every copy */
	double once = timed(x, 1);
	int repeats = once < SAMPLE_S ? (int)ceil(SAMPLE_S / once) : 1;
	if (once * SAMPLES > ROW_S)
		t.n = ROW_S / once < 5 ? 5 : (int)(ROW_S / once);
	for (int i = 0; i < t.n; i++)
		sample[i] = timed(x, repeats) * all / (double)x->extent;
	qsort(sample, (size_t)t.n, sizeof *sample, by_size);
	t.median_s = sample[t.n / 2];
	t.best_s = sample[0];
	t.low_s = sample[t.n / 20];
	t.high_s = sample[t.n - 1 - t.n / 20];
	x->extent = (int64_t)all;
	return t;
}

static void report(const struct kc_case *c, const char *name, bool lib, const struct timing *t, double ref_s)
{
	char shape[96];
	struct kc_cost cost = c->op->cost(c);
	double flops = limits_flops_s(&bench.limits, cost.int8 ? DTYPE_I8 : cost.bf16 ? DTYPE_BF16 : DTYPE_F32);
	double limit_s = fmax(cost.bytes / bench.limits.read_bytes_s, cost.flops / flops);
	c->op->describe(c->shape, shape, sizeof shape);
	json_t *row =
		json_pack("{s:s, s:s, s:s, s:b, s:f, s:f, s:f, s:f, s:i, s:b, s:f, s:f, s:f}", "op", c->op->name, "shape",
			  shape, "kernel", name, "library", lib, "median_us", t->median_s * 1e6, "best_us",
			  t->best_s * 1e6, "p5_us", t->low_s * 1e6,
			  "p95_us", t->high_s * 1e6, "samples", t->n, "scaled_from_a_slice", t->scaled, "gb_s",
			  cost.bytes / t->median_s * 1e-9, "gflop_s", cost.flops / t->median_s * 1e-9,
			  "limit_fraction", limit_s / t->median_s);
	CHECK(row);
	char against[32] = "";
	if (isfinite(ref_s)) { /* ref was timed too */
		json_object_set_new(row, "speed_over_ref", json_real(ref_s / t->median_s));
		snprintf(against, sizeof against, " %6.1f x ref", ref_s / t->median_s);
	}
	json_array_append_new(bench.results, row);
	if (bench.json)
		return;
	printf("  %-32s %-14s %11.1f us [%.1f, %.1f] %7.2f GB/s %8.2f GFLOP/s %5.1f %% of limit%s%s%s\n", shape,
	       name, t->median_s * 1e6, t->low_s * 1e6, t->high_s * 1e6, cost.bytes / t->median_s * 1e-9,
	       cost.flops / t->median_s * 1e-9, 100 * limit_s / t->median_s, against, lib ? " LIB" : "",
	       t->scaled ? " (scaled from a slice)" : "");
	fflush(stdout);
}

/* The largest difference between two results, in units of their root mean square. */
static double difference(const struct kc_buf *a, const unsigned char *other)
{
	double square = 0, worst = 0;
	int64_t n = a->n_rows * a->cols;
	for (int64_t i = 0; i < n; i++) {
		double x = (double)dtype_load(a->type, a->result, (size_t)i);
		double y = (double)dtype_load(a->type, other, (size_t)i);
		square += x * x;
		worst = fmax(worst, fabs(x - y));
	}
	return n ? worst / sqrt(square / (double)n) : 0;
}

/* A library that computes something else would be no yardstick. */
static void check_library(struct kc_case *c, const struct kc_lib *lib, int row)
{
	struct kc_buf *out = &c->buf[c->n_bufs - 1];
	size_t bytes = (size_t)out->n_rows * kc_row_bytes(out);
	unsigned char *ours = mem_alloc(bytes);
	CHECK(ours);
	c->op->call(c, row, 0, c->op->extent(c));
	kc_collect(c);
	memcpy(ours, out->result, bytes);
	lib->call(c);
	kc_collect(c);
	double off = difference(out, ours);
	if (off > 1e-2)
		fprintf(stderr, "kcheck: %s differs from ours by %.3g of the root mean square\n", lib->name, off);
	mem_free(ours);
}

static void bench_libraries(struct contestant *x, int best_row, double ref_s)
{
	const struct kc_op *op = x->copies[0].op;
	for (int i = 0; op->n_libs && i < *op->n_libs; i++) {
		x->lib = &op->libs[i];
		if (!x->lib->begin(x->copies, x->n_copies, team_size(bench.team)))
			continue;
		check_library(&x->copies[0], x->lib, best_row);
		struct timing t = measure(x);
		report(&x->copies[0], x->lib->name, true, &t, ref_s);
		x->lib->end();
	}
}

static void bench_shape(const struct kc_op *op, const struct kc_shape *s, const struct kc_options *o,
			const struct kc_progress *p)
{
	static struct kc_case copies[MAX_COPIES];
	_Alignas(16) unsigned char request[KC_REQUEST_BYTES] = { 0 };
	struct contestant x = { .copies = copies, .n_copies = 1 };
	double ref_s = NAN;
	int best = -1;
	int64_t *ids = mem_alloc((size_t)s->t * sizeof *ids);
	CHECK(ids);
	for (int64_t i = 0; i < s->t; i++)
		ids[i] = i;
	op->request(s, request);
	for (int i = 0; i < x.n_copies; i++) {
		kc_case_init(&copies[i], op, s, KC_NORMAL, o->seed, ids, s->t);
		op->build(&copies[i]);
		kc_place(&copies[i], 0, false);
		double bytes = op->cost(&copies[0]).bytes;
		if (i == 0 && bytes > ROTATE_BYTES)
			x.n_copies = (int)fmin(MAX_COPIES, ceil(ROTATED_BYTES / bytes));
	}
	x.extent = op->extent(&copies[0]);
	for (int row = 0; row < op->set->n_rows; row++) {
		const struct kernel_row *k = &op->set->rows[row];
		if ((o->row && strcmp(o->row, k->name) != 0) || registry_missing_isa(k->needs, o->isa) ||
		    p->rows[row].verdict != KC_OK || op->set->refuse(request, row))
			continue;
		x.row = best = row;
		for (int i = 0; op->load && i < x.n_copies; i++)
			op->load(&copies[i], row);
		struct timing t = measure(&x);
		if (row == 0)
			ref_s = t.median_s;
		report(&copies[0], k->name, false, &t, ref_s);
	}
	if (best >= 0)
		bench_libraries(&x, best, ref_s);
	for (int i = 0; i < x.n_copies; i++)
		kc_case_fini(&copies[i]);
	mem_free(ids);
}

void kc_bench(const struct kc_op *op, const struct kc_options *o, const struct kc_progress *p)
{
	char text[96];
	for (int i = 0; i < op->n_shapes; i++) {
		op->describe(&op->shapes[i], text, sizeof text);
		if (op->shapes[i].bench && !op->shapes[i].gpu && (!o->shape || strcmp(o->shape, text) == 0))
			bench_shape(op, &op->shapes[i], o, p);
	}
}

void kc_bench_begin(const struct kc_options *o)
{
	CHECK(team_create(&bench.team, o->threads) == VB_OK);
	bench.now = o->cpu_clock ? cpu_s : clock_s;
	bench.json = o->json;
	bench.results = json_array();
	bench.setup = (struct limits_setup){ .team = bench.team, .isa = o->isa, .memory = LIMITS_MEMORY,
					     .now = bench.now };
	CHECK(limits_measure(&bench.setup, &bench.limits) == VB_OK);
	const struct limits *l = &bench.limits;
	if (!o->json)
		printf("limits of %d threads: read %.2f GB/s, f32 %.1f GFLOP/s, bf16 %.1f GFLOP/s\n", o->threads,
		       l->read_bytes_s * 1e-9, l->f32_flops_s * 1e-9, l->bf16_flops_s * 1e-9);
}

json_t *kc_bench_end(void)
{
	struct hw_facts facts;
	CHECK(hw_facts_probe(&facts) == VB_OK);
	/* Again, since neighbours on the machine may have come or gone. */
	double read_after;
	CHECK(limits_measure_read(&bench.setup, LIMITS_REPEAT, &read_after) == VB_OK);
	if (!bench.json)
		printf("at the end: read %.2f GB/s\n", read_after * 1e-9);
	json_t *all = json_pack("{s:s, s:s, s:s, s:i, s:f, s:f, s:f, s:f, s:o}", "cpu", facts.cpu_name, "clock",
				bench.now == cpu_s ? "cpu" : "wall", "version",
				VERBATIM_VERSION, "threads", team_size(bench.team), "read_gb_s",
				bench.limits.read_bytes_s * 1e-9, "read_gb_s_at_end", read_after * 1e-9, "f32_gflop_s",
				bench.limits.f32_flops_s * 1e-9, "bf16_gflop_s", bench.limits.bf16_flops_s * 1e-9,
				"results", bench.results);
	team_destroy(&bench.team);
	return all;
}
