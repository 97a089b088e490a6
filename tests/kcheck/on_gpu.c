/* on_gpu.c - a case's buffers on a GPU, and rows run and timed there. Runs in children: the parent never touches a GPU.
 *
 * All blocks of a case lie in one piece of the GPU's memory, which is the copy of a piece of pinned memory:
 *     | poison, a page | region of the first buffer without its fences | poison, a page | poison | second region | ..
 * so that a case goes there and comes back in one transfer each, and lies at the same addresses every time.
 */
#include "kcheck_internal.h"

#include "base/mem.h"
#include "base/status.h"
#include "hw/hw.h"
#include "ops/cuda_ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_OPS 32

static struct {
	struct gpu *g;
	unsigned char *host, *device;
	size_t size;
	const struct kc_case *placed; /* whose buffers they hold */
} on_gpu;

/* ---- What there is ---- */

const struct kc_op *const *kc_gpu_ops(void)
{
	static struct kc_op copies[MAX_OPS];
	static const struct kc_op *ops[MAX_OPS + 1];
	int n = 0;
	for (int i = 0; kc_ops[i]; i++) {
		if (!kc_ops[i]->gpu_set)
			continue;
		CHECK(n < MAX_OPS);
		copies[n] = *kc_ops[i];
		copies[n].set = copies[n].gpu_set;
		copies[n].on_gpu = true;
		ops[n] = &copies[n];
		n++;
	}
	ops[n] = NULL;
	return ops;
}

struct probed {
	bool found;
	uint32_t isa;
	char text[256]; /* the GPU's name, or why there is none */
};

static void probe(struct probed *out)
{
	struct gpu *g;
	if (gpu_open(&g, 0) != VB_OK) {
		snprintf(out->text, sizeof out->text, "%s", vb_errmsg());
		return;
	}
	out->found = true;
	out->isa = hw_gpu_isa(gpu_facts(g));
	snprintf(out->text, sizeof out->text, "%s", gpu_facts(g)->name);
	gpu_close(&g);
}

bool kc_gpu_probe(uint32_t *isa, char text[256])
{
	struct probed *p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	CHECK(p != MAP_FAILED);
	fflush(NULL);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		probe(p);
		_exit(0);
	}
	waitpid(child, &status, 0);
	bool found = p->found;
	*isa = p->isa;
	snprintf(text, 256, "%s", p->text[0] ? p->text : "looking for a GPU ended the process");
	munmap(p, sizeof *p);
	return found;
}

int kc_gpu_open(void)
{
	return gpu_open(&on_gpu.g, 0);
}

void kc_gpu_close(void)
{
	gpu_host_free(on_gpu.g, on_gpu.host);
	gpu_free(on_gpu.g, on_gpu.device);
	gpu_close(&on_gpu.g);
	memset(&on_gpu, 0, sizeof on_gpu);
}

struct gpu *kc_gpu(void)
{
	return on_gpu.g;
}

/* ---- There and back ---- */

static size_t page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/* Workspace of CPU rows stays where it is. */
static bool travels(const struct kc_buf *b)
{
	return b->role != KC_WORK;
}

/* Room for `bytes` on both sides; a failure is kept by the gpu and met by the next call. */
static bool make_room(size_t bytes)
{
	void *host = NULL, *device = NULL;
	if (bytes <= on_gpu.size)
		return true;
	gpu_host_free(on_gpu.g, on_gpu.host);
	gpu_free(on_gpu.g, on_gpu.device);
	on_gpu.host = on_gpu.device = NULL;
	on_gpu.size = 0;
	if (gpu_host_alloc(on_gpu.g, &host, bytes, "kcheck") != VB_OK ||
	    gpu_alloc(on_gpu.g, &device, bytes, "kcheck") != VB_OK)
		return false;
	on_gpu.host = host;
	on_gpu.device = device;
	on_gpu.size = bytes;
	return true;
}

static size_t case_bytes(const struct kc_case *c)
{
	size_t bytes = 0;
	for (int i = 0; i < c->n_bufs; i++)
		bytes += travels(&c->buf[i]) ? c->buf[i].region_bytes : 0;
	return bytes;
}

/* What surrounds a block: the slack of its region is on one side of it or the other. */
static unsigned char poison_of(const struct kc_buf *b)
{
	size_t page = page_bytes();
	return b->data > b->region + page ? b->region[page] : b->region[b->region_bytes - page - 1];
}

static void gpu_upload_case(struct kc_case *c)
{
	size_t page = page_bytes(), at = 0;
	if (!make_room(case_bytes(c)))
		return;
	for (int i = 0; i < c->n_bufs; i++) {
		struct kc_buf *b = &c->buf[i];
		b->ptr = NULL;
		if (!travels(b))
			continue;
		memset(on_gpu.host + at, poison_of(b), b->region_bytes);
		memcpy(on_gpu.host + at + page, b->region + page, b->region_bytes - 2 * page);
		b->ptr = on_gpu.device + at + (b->data - b->region);
		at += b->region_bytes;
	}
	on_gpu.placed = c;
	gpu_upload(on_gpu.g, on_gpu.device, on_gpu.host, at);
}

static int gpu_download_case(struct kc_case *c)
{
	size_t page = page_bytes(), at = 0;
	gpu_download(on_gpu.g, on_gpu.host, on_gpu.device, case_bytes(c));
	TRY(gpu_sync(on_gpu.g));
	for (int i = 0; i < c->n_bufs; i++) {
		struct kc_buf *b = &c->buf[i];
		if (!travels(b))
			continue;
		memcpy(b->region + page, on_gpu.host + at + page, b->region_bytes - 2 * page);
		at += b->region_bytes;
	}
	return VB_OK;
}

/* The pages before and behind a region: the slack's poison, if that itself has not been written, which is found elsewhere. */
const char *kc_gpu_check_guards(char *text, size_t size)
{
	size_t page = page_bytes(), at = 0;
	for (int i = 0; i < on_gpu.placed->n_bufs; i++) {
		const struct kc_buf *b = &on_gpu.placed->buf[i];
		if (!travels(b))
			continue;
		unsigned char poison = poison_of(b);
		for (size_t j = 0; j < b->region_bytes; j += j == page - 1 ? b->region_bytes - 2 * page + 1 : 1)
			if (on_gpu.host[at + j] != poison) {
				snprintf(text, size, "%s: written %s its block", b->name, j < page ? "before" : "behind");
				return text;
			}
		at += b->region_bytes;
	}
	return NULL;
}

/* ---- Running ---- */

static int find(struct kc_case *c, int row)
{
	_Alignas(16) unsigned char request[KC_REQUEST_BYTES] = { 0 };
	c->op->request(c->shape, request);
	return c->op->gpu_find(c, on_gpu.g, row, request);
}

static void done(struct kc_case *c)
{
	if (c->op->gpu_done)
		c->op->gpu_done(c, on_gpu.g);
}

static int gpu_call(struct kc_case *c, int row, const struct kc_run_way *way)
{
	(void)way;
	TRY(gpu_status(on_gpu.g));
	int rc = find(c, row);
	if (rc == VB_OK) {
		c->op->gpu_run(c, on_gpu.g);
		rc = gpu_sync(on_gpu.g);
	}
	done(c);
	return rc;
}

const struct kc_runner kc_gpu_runner = { gpu_upload_case, gpu_call, gpu_download_case, false };

int kc_gpu_capture(struct kc_case *c, int row, struct gpu_graph **out)
{
	*out = NULL;
	TRY(find(c, row));
	TRY(gpu_capture_begin(on_gpu.g));
	c->op->gpu_run(c, on_gpu.g);
	return gpu_capture_end(on_gpu.g, out);
}

int kc_gpu_launch(struct kc_case *c, struct gpu_graph *graph)
{
	(void)c;
	gpu_graph_launch(on_gpu.g, graph);
	return gpu_sync(on_gpu.g);
}

/* ---- Timing ---- */

/* More than twice the second-level cache of any GPU of today, so that a buffer comes from memory when its turn comes again. */
#define ROTATED_BYTES (288 << 20)
#define MAX_COPIES 256
#define LAUNCHES 32 /* of a graph, at least */
#define SAMPLES 21

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

/* Microseconds of a launch of the graph: sorted samples. */
static int measure(struct gpu_graph *graph, double us[SAMPLES])
{
	struct gpu_event *from = NULL, *to = NULL;
	int rc;
	TRY_TO(out, gpu_event_create(on_gpu.g, &from));
	TRY_TO(out, gpu_event_create(on_gpu.g, &to));
	for (int i = -2; i < SAMPLES; i++) { /* the first two warm up */
		gpu_event_record(on_gpu.g, from);
		gpu_graph_launch(on_gpu.g, graph);
		gpu_event_record(on_gpu.g, to);
		TRY_TO(out, gpu_event_wait(on_gpu.g, to));
		us[i < 0 ? 0 : i] = gpu_event_ms(on_gpu.g, from, to) * 1e3;
	}
	qsort(us, SAMPLES, sizeof *us, by_size);
out:
	gpu_event_destroy(on_gpu.g, &from);
	gpu_event_destroy(on_gpu.g, &to);
	return rc;
}

/* Bytes a second, read and written, of a copy: rows gathered in the order in which they lie. */
static int copy_speed(double *out)
{
	enum { ROWS = 16384, D = 8192 };
	struct gather_cuda kernel;
	struct gpu_graph *graph = NULL;
	void *from = NULL, *to = NULL, *rows = NULL;
	int32_t *order = mem_alloc(ROWS * sizeof *order);
	double us[SAMPLES];
	int rc;
	CHECK(order);
	for (int32_t i = 0; i < ROWS; i++)
		order[i] = i;
	TRY_TO(out, gpu_alloc(on_gpu.g, &from, (size_t)ROWS * D * sizeof(float), "kcheck"));
	TRY_TO(out, gpu_alloc(on_gpu.g, &to, (size_t)ROWS * D * sizeof(float), "kcheck"));
	TRY_TO(out, gpu_alloc(on_gpu.g, &rows, ROWS * sizeof *order, "kcheck"));
	gpu_upload(on_gpu.g, rows, order, ROWS * sizeof *order);
	TRY_TO(out, gather_cuda_find(on_gpu.g, &kernel));
	TRY_TO(out, gpu_capture_begin(on_gpu.g));
	struct gather_args a = { .rows = rows, .x = from, .out = to, .t = ROWS, .bytes = D * sizeof(float) };
	gather_cuda_run(on_gpu.g, &kernel, &a);
	TRY_TO(out, gpu_capture_end(on_gpu.g, &graph));
	TRY_TO(out, measure(graph, us));
	*out = 2.0 * ROWS * D * sizeof(float) / (us[SAMPLES / 2] * 1e-6);
out:
	gpu_graph_destroy(on_gpu.g, &graph);
	gpu_free(on_gpu.g, from);
	gpu_free(on_gpu.g, to);
	gpu_free(on_gpu.g, rows);
	mem_free(order);
	return rc;
}

/* Copies of one case on the GPU. */
struct rotation {
	struct kc_case *copies;
	unsigned char *memory;
	int n;
};

static size_t block_bytes(const struct kc_buf *b)
{
	return ((size_t)b->n_elements * dtype_bytes(b->type) + 255) / 256 * 256;
}

static int rotate(struct rotation *r, const struct kc_case *c)
{
	size_t bytes = 0, at = 0;
	void *memory;
	for (int i = 0; i < c->n_bufs; i++)
		bytes += travels(&c->buf[i]) ? block_bytes(&c->buf[i]) : 0;
	r->n = (int)(ROTATED_BYTES / (bytes + 1) + 1);
	r->n = r->n < MAX_COPIES ? r->n : MAX_COPIES;
	r->copies = mem_calloc((size_t)r->n, sizeof *r->copies);
	CHECK(r->copies);
	TRY(gpu_alloc(on_gpu.g, &memory, bytes * (size_t)r->n, "kcheck"));
	r->memory = memory;
	for (int k = 0; k < r->n; k++) {
		r->copies[k] = *c;
		for (int i = 0; i < c->n_bufs; i++) {
			struct kc_buf *b = &r->copies[k].buf[i];
			b->ptr = NULL;
			if (!travels(b))
				continue;
			b->ptr = r->memory + at;
			at += block_bytes(b);
			if (k == 0)
				gpu_upload(on_gpu.g, b->ptr, b->data, (size_t)b->n_elements * dtype_bytes(b->type));
		}
		if (k)
			gpu_copy(on_gpu.g, r->memory + bytes * (size_t)k, r->memory, bytes);
	}
	return gpu_sync(on_gpu.g);
}

static void report(const struct kc_case *c, const char *row, const double *us, int n_copies, double copy, json_t *results)
{
	char shape[96];
	struct kc_cost cost = c->op->cost(c);
	double median = us[SAMPLES / 2], speed = cost.bytes / (median * 1e-6);
	c->op->describe(c->shape, shape, sizeof shape);
	if (results)
		json_array_append_new(results,
				      json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:i, s:f, s:f, s:f}", "op", c->op->name, "shape",
						shape, "kernel", row, "median_us", median, "best_us", us[0], "p95_us",
						us[SAMPLES - 1 - SAMPLES / 20], "copies", n_copies, "gb_s", speed * 1e-9,
						"tflop_s", cost.flops / (median * 1e-6) * 1e-12, "copy_fraction",
						speed / copy));
	else
		printf("  %-44s %-8s %9.2f us [%.2f, %.2f] %8.1f GB/s %7.2f TFLOP/s %5.1f %% of a copy, %d copies\n", shape, row,
		       median, us[0], us[SAMPLES - 1 - SAMPLES / 20], speed * 1e-9, cost.flops / (median * 1e-6) * 1e-12,
		       100 * speed / copy, n_copies);
	fflush(stdout);
}

static int time_row(struct rotation *r, int row, double copy, json_t *results)
{
	struct gpu_graph *graph = NULL;
	double us[SAMPLES];
	int rc, rounds = (LAUNCHES + r->n - 1) / r->n;
	TRY_TO(out, find(&r->copies[0], row));
	/* What was found serves all copies, as it serves all layers of a model. */
	for (int k = 1; k < r->n; k++) {
		memcpy(r->copies[k].kernel, r->copies[0].kernel, sizeof r->copies[k].kernel);
		r->copies[k].gpu_own = r->copies[0].gpu_own;
	}
	TRY_TO(out, gpu_capture_begin(on_gpu.g));
	for (int i = 0; i < rounds * r->n; i++)
		r->copies[i % r->n].op->gpu_run(&r->copies[i % r->n], on_gpu.g);
	TRY_TO(out, gpu_capture_end(on_gpu.g, &graph));
	TRY_TO(out, measure(graph, us));
	for (int i = 0; i < SAMPLES; i++)
		us[i] /= rounds * r->n;
	report(&r->copies[0], r->copies[0].op->set->rows[row].name, us, r->n, copy, results);
out:
	done(&r->copies[0]);
	gpu_graph_destroy(on_gpu.g, &graph);
	return rc;
}

static int time_shape(const struct kc_op *op, const struct kc_shape *s, const struct kc_options *o,
		      const struct kc_progress *p, double copy, json_t *results)
{
	_Alignas(16) unsigned char request[KC_REQUEST_BYTES] = { 0 };
	struct kc_case c;
	struct rotation r = { 0 };
	int64_t *ids = mem_alloc((size_t)s->t * sizeof *ids);
	CHECK(ids);
	for (int64_t i = 0; i < s->t; i++)
		ids[i] = i;
	op->request(s, request);
	kc_case_init(&c, op, s, KC_NORMAL, o->seed, ids, s->t);
	op->build(&c);
	kc_place(&c, 0, false);
	int rc = rotate(&r, &c);
	for (int row = 0; row < op->set->n_rows && rc == VB_OK; row++)
		if ((!o->row || strcmp(o->row, op->set->rows[row].name) == 0) &&
		    !registry_missing_isa(op->set->rows[row].needs, o->isa) && p->rows[row].verdict == KC_OK &&
		    !op->set->refuse(request, row))
			rc = time_row(&r, row, copy, results);
	gpu_free(on_gpu.g, r.memory);
	mem_free(r.copies);
	kc_case_fini(&c);
	mem_free(ids);
	return rc;
}

int kc_gpu_bench(const struct kc_op *op, const struct kc_options *o, const struct kc_progress *p, json_t *results)
{
	char text[96];
	double copy = 0;
	TRY(copy_speed(&copy));
	if (!results)
		printf("  a copy: %.1f GB/s read and written\n", copy * 1e-9);
	for (int i = 0; i < op->n_shapes; i++) {
		const struct kc_shape *s = &op->shapes[i];
		op->describe(s, text, sizeof text);
		if (s->bench && s->gpu && (!o->shape || strcmp(o->shape, text) == 0))
			TRY(time_shape(op, s, o, p, copy, results));
	}
	return VB_OK;
}
