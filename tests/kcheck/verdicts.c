/* verdicts.c - runs a row on a case in every way that must not matter, and judges it. Runs in the child. */
#include "kcheck_internal.h"

#include "base/mem.h"
#include "base/status.h"
#include "kernels/ops/kernel.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Two poisons: a NaN in every floating type, and a large finite number. */
#define POISON_A 0xff
#define POISON_B 0x7b
/* The budget is in this: all kernels compute in float32 or wider. */
#define EPS 0x1p-23
/* Slices of an extent up to this are cut into single units. */
#define SINGLE_SLICES 48
#define FRESH_ID 1000000

struct kc_case *kc_running;

/* What a run left, to be compared with later ones. */
struct saved {
	unsigned char *bytes[KC_MAX_BUFS];
};

/* All that is known while one row is judged on one case. */
struct trial {
	struct kc_case *base;
	const struct kc_runner *runner;
	int row;
	struct kc_progress *progress;
	struct saved saved;
};

static void fail(struct trial *t, enum kc_verdict verdict, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void fail(struct trial *t, enum kc_verdict verdict, const char *fmt, ...)
{
	struct kc_row_report *r = &t->progress->rows[t->row];
	va_list args;
	if (r->verdict != KC_OK)
		return;
	r->verdict = verdict;
	va_start(args, fmt);
	vsnprintf(r->message, sizeof r->message, fmt, args);
	va_end(args);
}

static bool failed(const struct trial *t)
{
	return t->progress->rows[t->row].verdict != KC_OK;
}

static void host_upload(struct kc_case *c)
{
	for (int i = 0; i < c->n_bufs; i++)
		c->buf[i].ptr = c->buf[i].data;
}

/* Whole, or (where the row is run in slices) in the smallest slices there are, from the last to the first. */
static void first_phase(struct kc_case *c, int row, bool sliced)
{
	int64_t grain = sliced ? c->op->first_grain : c->t + 1;
	for (int64_t begin = c->t / grain * grain; begin >= 0; begin -= grain)
		if (begin < c->t)
			c->op->first(c, row, begin, begin + grain < c->t ? begin + grain : c->t);
}

static int host_call(struct kc_case *c, int row, const struct kc_run_way *way)
{
	kc_running = c;
	if (c->op->load)
		c->op->load(c, row);
	if (c->op->first)
		first_phase(c, row, way->cuts);
	if (!way->cuts) {
		c->op->call(c, row, 0, c->op->extent(c));
	} else {
		for (int i = 0; i < way->n_cuts; i++) {
			int s = way->order ? way->order[i] : i;
			c->op->call(c, row, way->cuts[s], way->cuts[s + 1]);
		}
	}
	kc_running = NULL;
	return VB_OK;
}

static int host_download(struct kc_case *c)
{
	(void)c;
	return VB_OK;
}

/* Rows of the CPU work on the host's memory in place. */
static const struct kc_runner host_runner = { host_upload, host_call, host_download, true };

/* False where the row does not serve this way of running. */
static bool run(struct kc_case *c, struct trial *t, const struct kc_run_way *way, const char *stage)
{
	snprintf(t->progress->stage, sizeof t->progress->stage, "%s", stage);
	atomic_fetch_add(&t->progress->beats, 1);
	kc_place(c, way->poison, way->at_end);
	t->runner->upload(c);
	int rc = t->runner->call(c, t->row, way);
	if (rc == VB_EUNSUPPORTED && c->way)
		return false;
	if (rc != VB_OK || t->runner->download(c) != VB_OK)
		fail(t, KC_CRASH, "%s (%s)", vb_errmsg(), stage);
	kc_collect(c);
	return true;
}

/* The next number of a 16-bit type's or f32's line of numbers, up or down. */
static double neighbour(enum dtype type, double v, int up)
{
	if (type == DTYPE_F32)
		return (double)nextafterf((float)v, up ? INFINITY : -INFINITY);
	uint16_t bits = type == DTYPE_BF16 ? f32_to_bf16((float)v) : f32_to_f16((float)v);
	int32_t line = bits & 0x8000 ? -(int32_t)(bits & 0x7fff) : bits;
	line += up ? 1 : -1;
	bits = line < 0 ? (uint16_t)(0x8000 | -line) : (uint16_t)line;
	return (double)(type == DTYPE_BF16 ? bf16_to_f32(bits) : f16_to_f32(bits));
}

/* How far `want` is from the values that round to `got`. */
static double distance(enum dtype type, double got, double want)
{
	if (isnan(got) || isnan(want))
		return isnan(got) && isnan(want) ? 0 : INFINITY;
	if (got == want)
		return 0;
	double below = neighbour(type, got, 0), above = neighbour(type, got, 1);
	double low = isinf(below) ? below : isinf(got) && got > 0 ? below : (below + got) / 2;
	double high = isinf(above) ? above : isinf(got) && got < 0 ? above : (above + got) / 2;
	return want < low ? low - want : want > high ? want - high : 0;
}

static void judge_buf(struct trial *t, const struct kc_buf *b, const char *where)
{
	struct kc_row_report *report = &t->progress->rows[t->row];
	double budget = t->base->op->budget(t->base, b);
	uint32_t properties = t->base->op->set->rows[t->row].properties;
	bool flushes = properties & FLUSHES_DENORMALS, units = properties & SHARES_UNITS;
	for (int64_t i = 0; i < b->n_rows * b->cols; i++) {
		const struct kc_want *w = &b->want[i];
		if (!w->judged || b->row_at[i / b->cols] < 0)
			continue;
		double got = (double)dtype_load(b->type, b->result, (size_t)i);
		double off = distance(b->type, got, w->value);
		double allowed = budget * EPS * w->scale + w->floor + (flushes ? w->flush : 0) + (units ? w->units : 0);
		double share = off == 0 ? 0 : off / allowed;
		if (share > report->worst) {
			report->worst = share;
			snprintf(report->worst_at, sizeof report->worst_at, "%s, %s", b->name, where);
		}
		if (!(share <= 1))
			fail(t, KC_VALUE, "%s[%lld][%lld] is %.9g, must be %.9g within %.3g", b->name,
			     (long long)(i / b->cols), (long long)(i % b->cols), got, w->value, allowed);
	}
}

static void judge_values(struct trial *t)
{
	char shape[96], where[128];
	t->base->op->describe(t->base->shape, shape, sizeof shape);
	snprintf(where, sizeof where, "%s %s", shape, kc_class_name(t->base->class));
	for (int i = 0; i < t->base->n_bufs; i++)
		if (t->base->buf[i].want)
			judge_buf(t, &t->base->buf[i], where);
}

static void check_writes(struct trial *t, const struct kc_case *c, unsigned char poison, const char *when)
{
	char text[256];
	if (kc_check_writes(c, poison, text, sizeof text) ||
	    (c->op->on_gpu && kc_gpu_check_guards(text, sizeof text)))
		fail(t, KC_WRITES, "%s (%s)", text, when);
}

static void save(struct trial *t)
{
	for (int i = 0; i < t->base->n_bufs; i++) {
		const struct kc_buf *b = &t->base->buf[i];
		if (!b->result)
			continue;
		size_t bytes = (size_t)b->n_rows * kc_row_bytes(b);
		t->saved.bytes[i] = mem_alloc(bytes);
		CHECK(t->saved.bytes[i]);
		memcpy(t->saved.bytes[i], b->result, bytes);
	}
}

static void drop_saved(struct trial *t)
{
	for (int i = 0; i < KC_MAX_BUFS; i++)
		mem_free(t->saved.bytes[i]);
}

static int64_t find_key(const struct kc_buf *b, int64_t key)
{
	for (int64_t r = 0; r < b->n_rows; r++)
		if (b->row_key[r] == key)
			return r;
	return -1;
}

/* Compares the rows that c shares with the base's saved run. */
static void compare(struct trial *t, const struct kc_case *c, enum kc_verdict verdict, const char *when)
{
	for (int i = 0; i < c->n_bufs && !failed(t); i++) {
		const struct kc_buf *b = &c->buf[i], *base = &t->base->buf[i];
		size_t bytes = kc_row_bytes(b);
		for (int64_t r = 0; b->result && r < b->n_rows; r++) {
			int64_t twin = c == t->base ? r : b->row_key[r] < 0 ? -1 : find_key(base, b->row_key[r]);
			if (twin < 0 || b->row_at[r] < 0 || base->row_at[twin] < 0)
				continue;
			const unsigned char *now = b->result + (size_t)r * bytes;
			const unsigned char *then = t->saved.bytes[i] + (size_t)twin * bytes;
			if (memcmp(now, then, bytes) == 0)
				continue;
			size_t at = 0, element = dtype_bytes(b->type);
			while (memcmp(now + at * element, then + at * element, element) == 0)
				at++;
			fail(t, verdict, "%s row %lld, element %zu has other bits: %s", b->name, (long long)twin, at,
			     when);
			return;
		}
	}
}

/* The tokens `ids`, in another company, stride or way: what they share with the base must have its bits. */
static void variant(struct trial *t, const int64_t *ids, int64_t n, int64_t pad, int way, const char *when)
{
	struct kc_case c;
	struct kc_run_way plain = { .poison = POISON_A, .at_end = true };
	if (failed(t))
		return;
	kc_case_init(&c, t->base->op, t->base->shape, t->base->class, t->base->seed, ids, n);
	c.base = t->base;
	c.pad = pad;
	c.way = way;
	c.op->build(&c);
	if (run(&c, t, &plain, when)) {
		check_writes(t, &c, POISON_A, when);
		compare(t, &c, KC_INVARIANCE, when);
	}
	kc_case_fini(&c);
}

/* Sizes of batches in which a token is put among others: below, at and above the kernels' tiles. */
static const int64_t companies[] = { 2, 3, 4, 5, 9, 17 };

static void in_company(struct trial *t)
{
	int64_t ids[17];
	char when[64];
	for (size_t i = 0; i < sizeof companies / sizeof *companies; i++) {
		int64_t n = companies[i], at = (int64_t)(t->base->seed + i * 5) % n;
		int64_t token = (int64_t)i % t->base->t;
		for (int64_t j = 0; j < n; j++)
			ids[j] = FRESH_ID + j;
		ids[at] = token;
		snprintf(when, sizeof when, "token %lld at place %lld among %lld", (long long)token, (long long)at,
			 (long long)n);
		variant(t, ids, n, 0, 0, when);
	}
}

static void alone_and_permuted(struct trial *t)
{
	int64_t n = t->base->t;
	int64_t *ids = mem_alloc((size_t)n * sizeof *ids);
	CHECK(ids);
	int64_t samples[] = { 0, n / 2, n - 1 };
	for (int i = 0; i < 3; i++)
		if (i == 0 || samples[i] != samples[i - 1])
			variant(t, &samples[i], 1, 0, 0, "a token alone");
	for (int64_t i = 0; i < n; i++)
		ids[i] = n - 1 - i;
	variant(t, ids, n, 0, 0, "the tokens in reverse order");
	for (int64_t i = 0; i < n; i++)
		ids[i] = i;
	variant(t, ids, n, t->base->op->on_gpu && t->base->op->gpu_stride ? t->base->op->gpu_stride : 5, 0, "wider strides");
	for (int w = 1; w <= t->base->op->n_ways; w++)
		variant(t, ids, n, 0, w, "another way of running");
	mem_free(ids);
}

static void sliced(struct trial *t)
{
	int64_t extent = t->base->op->extent(t->base), cuts[SINGLE_SLICES + 1];
	int order[SINGLE_SLICES];
	struct kc_run_way way = { .poison = POISON_A, .at_end = true, .cuts = cuts, .order = order };
	if (extent < 2 || failed(t) || !t->runner->slices)
		return;
	if (extent <= SINGLE_SLICES) {
		way.n_cuts = (int)extent;
		for (int i = 0; i <= way.n_cuts; i++)
			cuts[i] = i;
	} else { /* odd borders, in no tile's rhythm; an empty slice among them */
		int64_t at[] = { 0, 1, 4, 9, 9, extent / 3 + 1, extent / 2 + 3, extent - 7, extent - 1, extent };
		way.n_cuts = (int)(sizeof at / sizeof *at) - 1;
		memcpy(cuts, at, sizeof at);
	}
	for (int i = 0; i < way.n_cuts; i++)
		order[i] = way.n_cuts - 1 - i;
	run(t->base, t, &way, "in slices");
	check_writes(t, t->base, POISON_A, "in slices");
	compare(t, t->base, KC_INVARIANCE, "in slices");
}

/* As a graph, launched twice on fresh memory. What fails leaves the GPU spoiled, and is told by its message. */
static void captured(struct trial *t)
{
	struct kc_case *c = t->base;
	struct gpu_graph *graph = NULL;
	struct kc_run_way plain = { .poison = POISON_A, .at_end = true };
	if (failed(t))
		return;
	snprintf(t->progress->stage, sizeof t->progress->stage, "capture");
	kc_place(c, plain.poison, plain.at_end);
	t->runner->upload(c);
	if (kc_gpu_capture(c, t->row, &graph) != VB_OK)
		fail(t, KC_CAPTURE, "%s", vb_errmsg());
	for (int i = 0; i < 2 && !failed(t); i++) {
		kc_place(c, plain.poison, plain.at_end);
		t->runner->upload(c);
		if (kc_gpu_launch(c, graph) != VB_OK || t->runner->download(c) != VB_OK)
			fail(t, KC_CAPTURE, "%s", vb_errmsg());
		kc_collect(c);
		check_writes(t, c, POISON_A, "as a graph");
		compare(t, c, KC_CAPTURE, "as a graph");
	}
	if (c->op->gpu_done)
		c->op->gpu_done(c, kc_gpu());
	gpu_graph_destroy(kc_gpu(), &graph);
}

static void judge(struct trial *t)
{
	struct kc_run_way plain = { .poison = POISON_A, .at_end = true };
	struct kc_run_way other = { .poison = POISON_B, .at_end = false };
	struct kc_case *c = t->base;
	run(c, t, &plain, "first run");
	check_writes(t, c, POISON_A, "blocks at their end");
	save(t);
	run(c, t, &plain, "second run");
	compare(t, c, KC_DETERMINISM, "the same call again");
	run(c, t, &other, "other poison");
	check_writes(t, c, POISON_B, "blocks at their beginning");
	compare(t, c, KC_READS, "other poison round the buffers, other alignment");
	if (c->op->on_gpu && c->op->set->rows[t->row].properties & CAPTURABLE)
		captured(t);
	/* Values last: a stray read often spoils them too, and is the better thing to say. */
	if (!failed(t))
		judge_values(t);
	if (c->op->set->rows[t->row].properties & ROW_INVARIANT && c->t > 0) {
		sliced(t);
		kc_place(c, POISON_A, true); /* the variants borrow the shared buffers */
		alone_and_permuted(t);
		in_company(t);
	}
	drop_saved(t);
}

/* What a row accepts must be in the contract; what it refuses must be served elsewhere, or by nobody. */
static void judge_refusal(struct trial *t, const struct kc_op *op, const struct kc_shape *s, const void *request,
			  uint32_t isa)
{
	struct pick p;
	const char *name = op->set->rows[t->row].name;
	const char *reason = op->set->refuse(request, t->row);
	if (s->unsupported) {
		if (!reason)
			fail(t, KC_REFUSE, "accepts a request that is outside the contract");
		return;
	}
	if (!reason)
		return;
	t->progress->rows[t->row].n_refused++;
	if (!*reason)
		fail(t, KC_REFUSE, "refuses without a reason");
	if (op->on_gpu && s->cpu)
		return;
	if (registry_pick(op->set, isa, request, NULL, &p) != VB_OK)
		fail(t, KC_REFUSE, "refuses, and no other row serves it: %s", vb_errmsg());
	else if (p.row == t->row || registry_pick(op->set, isa, request, name, &p) != VB_EUNSUPPORTED)
		fail(t, KC_REFUSE, "refuses, and is picked all the same");
}

static void judge_row(struct kc_case *c, int row, const void *request, const struct kc_options *o,
		      struct kc_progress *p)
{
	struct trial t = { .base = c, .runner = c->op->on_gpu ? &kc_gpu_runner : &host_runner, .row = row, .progress = p };
	struct kc_row_report *report = &p->rows[row];
	char shape[96];
	c->op->describe(c->shape, shape, sizeof shape);
	p->row = row;
	c->row = row;
	judge_refusal(&t, c->op, c->shape, request, o->isa);
	if (!failed(&t) && !c->op->set->refuse(request, row)) {
		report->n_cases++;
		judge(&t);
	}
	if (failed(&t))
		snprintf(report->failed_at, sizeof report->failed_at, "--shape='%s' --class=%s --seed=%llu", shape,
			 kc_class_name(c->class), (unsigned long long)c->seed);
}

/* Whether the row is wanted, can run here and has not failed yet. */
static bool to_do(const struct kc_op *op, int row, const struct kc_options *o, const struct kc_progress *p)
{
	const struct kernel_row *r = &op->set->rows[row];
	return (!o->row || strcmp(o->row, r->name) == 0) && !registry_missing_isa(r->needs, o->isa) &&
	       p->rows[row].verdict == KC_OK;
}

static bool gpu_is_well(const struct kc_op *op)
{
	return !op->on_gpu || gpu_status(kc_gpu()) == VB_OK;
}

/* False where the GPU has failed. */
static bool check_case(const struct kc_op *op, const struct kc_shape *s, enum kc_class class,
		       const struct kc_options *o, struct kc_progress *p)
{
	struct kc_case c;
	_Alignas(16) unsigned char request[KC_REQUEST_BYTES] = { 0 };
	int64_t *ids = mem_alloc((size_t)s->t * sizeof *ids);
	CHECK(ids);
	for (int64_t i = 0; i < s->t; i++)
		ids[i] = i;
	op->request(s, request);
	kc_case_init(&c, op, s, class, o->seed, ids, s->t);
	if (!s->unsupported) {
		op->build(&c);
		op->oracle(&c);
	}
	for (int row = 0; row < op->set->n_rows && gpu_is_well(op); row++)
		if (to_do(op, row, o, p))
			judge_row(&c, row, request, o, p);
	kc_case_fini(&c);
	mem_free(ids);
	return gpu_is_well(op);
}

static bool wanted(const struct kc_op *op, const struct kc_shape *s, enum kc_class class, const struct kc_options *o)
{
	char text[96];
	op->describe(s, text, sizeof text);
	if (s->bench || ((s->one_class || s->unsupported || s->t == 0) && class != KC_NORMAL))
		return false;
	if (o->small && (s->one_class || class != KC_NORMAL))
		return false;
	return (!o->shape || strcmp(o->shape, text) == 0) && (!o->class || strcmp(o->class, kc_class_name(class)) == 0);
}

bool kc_check_op(const struct kc_op *op, const struct kc_options *o, struct kc_progress *p, int first_shape,
		 int first_class)
{
	for (p->shape = first_shape; p->shape < op->n_shapes; p->shape++) {
		p->class = p->shape == first_shape ? first_class : 0;
		for (; p->class < KC_N_CLASSES; p->class++)
			if (wanted(op, &op->shapes[p->shape], (enum kc_class)p->class, o) &&
			    !check_case(op, &op->shapes[p->shape], (enum kc_class)p->class, o, p))
				return false;
	}
	return true;
}
