/* src/hw's GPU against a driver of the test's own (tests/fake_cuda): what it says of machines, and every call failing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "hw/gpu.h"
#include "hw/images.h"
#include "tests/fake_cuda/fake_cuda.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Images of the test's own, in place of those that were built. */
static unsigned char first[64] = "fake: nothing_here", second[64];
const struct image_file image_files[] = {
	{ "first", first, first + sizeof first }, { "second", second, second + sizeof second }, { NULL, NULL, NULL },
};
const struct image_kernel image_kernels[] = { { "nothing_here", 0 }, { "double_it", 1 }, { NULL, 0 } };
const struct hw_image image_built = {
	.present = true, .cuda = { 13, 0 }, .n_sass = 2, .sass = { { 8, 0 }, { 9, 0 } }, .has_ptx = true, .ptx = { 8, 0 },
	.only_portable = true,
};
const char image_absent_why[] = "";

static void use_second(const char *image)
{
	snprintf((char *)second, sizeof second, "%s", image);
}

struct double_args {
	int *x;
	int n;
};

static void double_it(const void *args)
{
	const struct double_args *a = args;
	for (int i = 0; i < a->n; i++)
		a->x[i] *= 2;
}

static struct fake_cuda *fresh(void)
{
	fake_cuda_reset();
	use_second("fake: double_it");
	fake_cuda_kernel("double_it", sizeof(struct double_args), double_it);
	return fake_cuda();
}

static void need(int rc)
{
	if (rc != VB_OK)
		fail_msg("%s", vb_errmsg());
}

static void says(const char *text, const char *what)
{
	if (!strstr(text, what))
		fail_msg("\"%s\" does not say \"%s\"", text, what);
}

/* Nothing is left, nothing was done that a driver might mind. */
static void assert_clean(const struct fake_cuda *fake)
{
	assert_int_equal(fake_cuda_alive(), 0);
	assert_int_equal(fake->bytes, 0);
	assert_int_equal(fake->misuses, 0);
	assert_int_equal(fake_cuda_depth(), 0);
}

/* ---- What there is ---- */

static struct hw_facts probe(bool load)
{
	struct hw_facts f = { .n_threads = 1 };
	gpu_probe(&f);
	if (load)
		gpu_probe_images(&f);
	assert_clean(fake_cuda());
	return f;
}

static void test_no_gpus(void **state)
{
	(void)state;
	struct fake_cuda *fake = fresh();
	fake->n_gpus = 0;
	struct hw_facts f = probe(true);
	assert_true(f.cuda_driver);
	assert_int_equal(f.n_gpus, 0);
	assert_string_equal(f.gpu_why, "the NVIDIA driver offers no GPU: cuInit: CUDA_ERROR_NO_DEVICE: no CUDA-capable device "
				       "is detected");
	fake = fresh();
	fake->fail_name = "cuInit";
	f = probe(true);
	assert_int_equal(f.n_gpus, 0);
	assert_string_equal(f.gpu_why, "the NVIDIA driver offers no GPU: cuInit: CUDA_ERROR_UNKNOWN: unknown error");
	fake->fail_code = 12345;
	says(probe(true).gpu_why, "cuInit: CUDA error 12345");
	fake->fail_name = "cuDeviceGetCount";
	f = probe(true);
	assert_int_equal(f.n_gpus, 0);
	says(f.gpu_why, "cuDeviceGetCount");
	struct gpu *g;
	assert_int_equal(gpu_open(&g, 0), VB_EDEVICE);
	assert_null(g);
	says(vb_errmsg(), "cuDeviceGetCount");
}

static void test_one_gpu(void **state)
{
	(void)state;
	fresh();
	struct hw_facts f = probe(false);
	assert_true(f.cuda_driver);
	assert_string_equal(f.gpu_why, "");
	assert_int_equal(f.n_gpus, 1);
	const struct hw_gpu *g = &f.gpu[0];
	assert_string_equal(g->name, "Fake H100");
	assert_int_equal(hw_version_compare(g->capability, (struct hw_version){ 9, 0 }), 0);
	assert_int_equal(hw_version_compare(g->driver_cuda, (struct hw_version){ 13, 0 }), 0);
	assert_int_equal(g->sms, 132);
	assert_int_equal(g->shared_memory, 232448);
	assert_int_equal(g->memory, 64 << 20);
	assert_true(g->image.present);
	assert_int_equal(g->loaded, HW_LOAD_UNTRIED);
	assert_int_equal(probe(true).gpu[0].loaded, HW_LOADED);
}

static void test_driver_versions(void **state)
{
	(void)state;
	static const struct {
		int number, major, minor;
		bool runs;
	} rows[] = {
		{ 13000, 13, 0, true }, { 13010, 13, 1, true }, { 12100, 12, 10, false }, { 12040, 12, 4, false },
		{ 11080, 11, 8, false },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		fresh()->driver_version = rows[i].number;
		struct hw_facts f = probe(true);
		assert_int_equal(f.gpu[0].driver_cuda.major, rows[i].major);
		assert_int_equal(f.gpu[0].driver_cuda.minor, rows[i].minor);
		assert_int_equal(f.gpu[0].loaded, rows[i].runs ? HW_LOADED : HW_LOAD_UNTRIED);
		assert_int_equal(hw_gpu_isa(&f.gpu[0]), rows[i].runs ? ISA_CUDA : 0);
		struct gpu *g;
		int rc = gpu_open(&g, 0);
		assert_int_equal(rc, rows[i].runs ? VB_OK : VB_EUNSUPPORTED);
		if (rc != VB_OK)
			says(vb_errmsg(), "older than the image's 13.0: update the driver");
		gpu_close(&g);
	}
}

static void test_several_gpus(void **state)
{
	(void)state;
	struct fake_cuda *fake = fresh();
	fake->n_gpus = 3;
	fake->gpu[0] = (struct fake_gpu){ "T4", 7, 5, 40, 65536, (size_t)16 << 30 };
	fake->gpu[1] = (struct fake_gpu){ "A10", 8, 6, 72, 101376, (size_t)24 << 30 };
	fake->gpu[2] = (struct fake_gpu){ "B200", 10, 0, 148, 232448, (size_t)192 << 30 };
	struct hw_facts f = probe(true);
	assert_int_equal(f.n_gpus, 3);
	static const char *const reasons[] = { "no code for compute capability 7.5", "machine code for 8.0", "PTX for 8.0" };
	for (int i = 0; i < 3; i++) {
		char reason[HW_REASON_MAX];
		assert_string_equal(f.gpu[i].name, fake->gpu[i].name);
		assert_int_equal(f.gpu[i].memory, fake->gpu[i].memory);
		assert_int_equal(f.gpu[i].loaded, i ? HW_LOADED : HW_LOAD_UNTRIED);
		assert_int_equal(hw_gpu_runs(&f.gpu[i], HW_PORTABLE, reason), i != 0);
		says(reason, reasons[i]);
	}
	struct gpu *g;
	assert_int_equal(gpu_open(&g, 0), VB_EUNSUPPORTED);
	says(vb_errmsg(), "cannot use GPU 0 (T4): the image has no code for compute capability 7.5");
	assert_int_equal(gpu_open(&g, 3), VB_EUNSUPPORTED);
	says(vb_errmsg(), "no GPU 3: the NVIDIA driver offers 3");
	assert_int_equal(gpu_open(&g, -1), VB_EUNSUPPORTED);
	need(gpu_open(&g, 2));
	assert_string_equal(gpu_facts(g)->name, "B200");
	gpu_close(&g);

	/* What cannot be asked of one does not hide the others. */
	for (int i = 0; i < 3; i++)
		fake->gpu[i].major = 9, fake->gpu[i].minor = 0;
	fake->fail_in = 14; /* cuInit, cuDeviceGetCount, ten calls for GPU 0; GPU 1's second */
	f = probe(true);
	assert_non_null(fake->failed);
	assert_int_equal(f.n_gpus, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(f.gpu[i].loaded, i == 1 ? HW_NOT_LOADED : HW_LOADED);
	says(f.gpu[1].why, "GPU 1");
	says(f.gpu[1].why, fake->failed);
	assert_int_equal(hw_gpu_isa(&f.gpu[1]), 0);

	fake = fresh();
	fake->n_gpus = FAKE_GPUS;
	assert_int_equal(probe(false).n_gpus, HW_MAX_GPUS);
}

static void test_images(void **state)
{
	(void)state;
	fresh();
	struct gpu *g;
	static const struct {
		const char *image, *name, *log;
	} rows[] = {
		{ "broken: not an image", "CUDA_ERROR_INVALID_IMAGE", "log of broken: not an image" },
		{ "foreign: for other GPUs", "CUDA_ERROR_NO_BINARY_FOR_GPU", "log of foreign: for other GPUs" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char reason[HW_REASON_MAX];
		use_second(rows[i].image);
		assert_int_equal(gpu_open(&g, 0), VB_EUNSUPPORTED);
		assert_null(g);
		says(vb_errmsg(), "GPU 0 (Fake H100) does not load the program's kernels: second: cuModuleLoadDataEx: ");
		says(vb_errmsg(), rows[i].name);
		says(vb_errmsg(), rows[i].log);
		struct hw_facts f = probe(true);
		assert_int_equal(f.gpu[0].loaded, HW_NOT_LOADED);
		assert_false(hw_gpu_runs(&f.gpu[0], HW_PORTABLE, reason));
		says(reason, rows[i].name);
		assert_int_equal(hw_gpu_isa(&f.gpu[0]), 0);
	}
}

/* ---- What is done ---- */

#define N 100

struct session {
	struct gpu *g;
	void *device, *copy, *host, *range, *left;
	struct gpu_kernel k;
	struct gpu_graph *graph;
	struct gpu_event *from, *to;
	int calls; /* that the driver had got before anything was given back */
};

/* Everything that gpu.h offers, once. */
static int work(struct session *s)
{
	const struct gpu_grid grid = { .blocks = { 1, 1, 1 }, .threads = 32, .early = true };
	const size_t bytes = N * sizeof(int);
	uint64_t available, total;
	int y[N], z[N];
	for (int i = 0; i < N; i++)
		y[i] = i;
	TRY(gpu_open(&s->g, 0));
	TRY(gpu_alloc(s->g, &s->device, bytes, "a test"));
	TRY(gpu_alloc(s->g, &s->copy, bytes, "a test"));
	TRY(gpu_host_alloc(s->g, &s->host, bytes, "a test"));
	TRY(gpu_reserve(s->g, &s->range, (size_t)1 << 30, "a test"));
	TRY(gpu_reserve(s->g, &s->left, 1, "a test"));
	TRY(gpu_find_kernel(s->g, "double_it", 60000, &s->k));
	TRY(gpu_event_create(s->g, &s->from));
	TRY(gpu_event_create(s->g, &s->to));
	TRY(gpu_memory(s->g, &available, &total));
	if (gpu_blocks_per_sm(s->g, &s->k, 256) != 3)
		return gpu_status(s->g);
	int *x = s->host;
	for (int i = 0; i < N; i++)
		x[i] = i;
	struct double_args a = { s->device, N };
	gpu_event_record(s->g, s->from);
	gpu_upload(s->g, s->device, x, bytes);
	gpu_launch(s->g, &s->k, &grid, &a);
	gpu_event_record(s->g, s->to);
	TRY(gpu_event_wait(s->g, s->to));
	if (!(gpu_event_ms(s->g, s->from, s->to) >= 0))
		return gpu_status(s->g);
	TRY(gpu_capture_begin(s->g));
	TRY(gpu_status(s->g)); /* does not disturb it */
	gpu_launch(s->g, &s->k, &grid, &a);
	gpu_fill(s->g, s->copy, 0, bytes);
	gpu_copy(s->g, s->copy, s->device, bytes);
	gpu_launch(s->g, &s->k, &grid, &(struct double_args){ s->range, N }); /* which has no memory yet */
	gpu_download(s->g, x, s->copy, bytes);
	memset(&a, 0, sizeof a); /* was copied */
	TRY(gpu_capture_end(s->g, &s->graph));
	TRY(gpu_status(s->g));
	TRY(gpu_back(s->g, s->range, bytes, "a test"));
	gpu_upload(s->g, s->range, y, bytes);
	gpu_graph_launch(s->g, s->graph);
	gpu_graph_launch(s->g, s->graph);
	gpu_download(s->g, y, s->device, bytes);
	gpu_download(s->g, z, s->range, bytes);
	TRY(gpu_sync(s->g));
	for (int i = 0; i < N; i++)
		if (x[i] != 8 * i || y[i] != 8 * i || z[i] != 4 * i)
			fail_msg("[%d]: %d, %d and %d, not %d twice and %d", i, x[i], y[i], z[i], 8 * i, 4 * i);
	return VB_OK;
}

static int sequence(struct session *s)
{
	*s = (struct session){ 0 };
	int rc = work(s);
	s->calls = fake_cuda()->n_calls;
	if (s->g) {
		gpu_graph_destroy(s->g, &s->graph);
		gpu_event_destroy(s->g, &s->from);
		gpu_event_destroy(s->g, &s->to);
		gpu_free(s->g, s->device);
		gpu_free(s->g, s->range);
		gpu_host_free(s->g, s->host);
	}
	gpu_close(&s->g); /* with the copy, and what is left */
	return rc;
}

static void test_sequence(void **state)
{
	(void)state;
	struct fake_cuda *fake = fresh();
	struct session s;
	need(sequence(&s));
	assert_clean(fake);
	assert_int_equal(fake->n_launches, 5);
	assert_int_equal(fake->n_early, 3);
	/* Not before compute capability 9.0, nor on a driver that could not capture it. */
	fake = fresh();
	fake->gpu[0].major = 8;
	need(sequence(&s));
	assert_int_equal(fake->n_launches, 5);
	assert_int_equal(fake->n_early, 0);
	gpu_close(&s.g);
	/* Nor where kernels are compiled from the PTX: they do not wait. */
	fake = fresh();
	fake->gpu[0].major = 10;
	need(sequence(&s));
	assert_int_equal(fake->n_launches, 5);
	assert_int_equal(fake->n_early, 0);
	gpu_close(&s.g);
}

static bool one_of(const char *name, const char *const *list)
{
	for (; *list; list++)
		if (strcmp(name, *list) == 0)
			return true;
	return false;
}

/* Each call in turn fails: the error names it, and what was made is given back. */
static void test_every_call_fails(void **state)
{
	(void)state;
	/* A destroyer that fails leaves what it had to destroy, unless that goes with its context. */
	static const char *const leave_something[] = { "cuCtxDestroy", "cuGraphDestroy", "cuGraphExecDestroy", "cuMemUnmap",
						       "cuMemRelease", "cuMemAddressFree", NULL };
	static const unsigned codes[] = { 999, 2, 201, 700, 12345 };
	int last = 0;
	for (size_t c = 0; c < sizeof codes / sizeof codes[0]; c++) {
		for (int n = 1;; n++) {
			struct fake_cuda *fake = fresh();
			struct session s;
			fake->fail_in = n;
			fake->fail_code = codes[c];
			int rc = sequence(&s);
			if (!fake->failed) {
				need(rc);
				assert_true(n > 60);
				assert_true(!last || n == last);
				last = n;
				break;
			}
			if (rc == VB_OK && n <= s.calls)
				fail_msg("call %d, %s, failed with %u, and nobody said so", n, fake->failed, codes[c]);
			if (rc != VB_OK && !strstr(vb_errmsg(), fake->failed) && !strstr(vb_errmsg(), "out of GPU memory"))
				fail_msg("call %d, %s: \"%s\"", n, fake->failed, vb_errmsg());
			if (rc != VB_OK && rc != VB_EDEVICE && rc != VB_ENOMEM && rc != VB_EUNSUPPORTED)
				fail_msg("call %d, %s: status %d", n, fake->failed, rc);
			if (fake_cuda_alive() && !one_of(fake->failed, leave_something))
				fail_msg("call %d, %s: %d objects are left", n, fake->failed, fake_cuda_alive());
		}
	}
	print_message("%d calls\n", last - 1);
}

/* From a call on, all fail, as after a kernel's error: the first is told. */
static void test_all_calls_fail_from(void **state)
{
	(void)state;
	struct session s;
	need((fresh(), sequence(&s)));
	int calls = s.calls;
	for (int n = 1; n <= calls; n++) {
		struct fake_cuda *fake = fresh();
		fake->fail_in = n;
		sequence(&s);
		const char *name = fake->failed;
		assert_non_null(name);
		fake = fresh();
		fake->fail_in = n;
		fake->fail_on = true;
		int rc = sequence(&s);
		assert_true(rc == VB_EDEVICE || rc == VB_EUNSUPPORTED);
		says(vb_errmsg(), name);
	}
	fresh();
}

static void test_every_allocation_fails(void **state)
{
	(void)state;
	struct session s;
	for (uint64_t n = 1;; n++) {
		struct fake_cuda *fake = fresh();
		uint64_t before = mem_count();
		mem_fail_at(n, false);
		int rc = sequence(&s);
		uint64_t calls = mem_count() - before;
		mem_fail_at(0, false);
		assert_clean(fake);
		if (calls < n) {
			need(rc);
			assert_true(n > 5);
			return;
		}
		assert_int_equal(rc, VB_ENOMEM);
	}
}

/* ---- What is refused ---- */

static struct gpu *opened(void)
{
	struct gpu *g;
	need(gpu_open(&g, 0));
	return g;
}

static void test_memory(void **state)
{
	(void)state;
	struct fake_cuda *fake = fresh();
	struct gpu *g = opened();
	void *p, *q, *host;
	need(gpu_alloc(g, &p, 0, "nothing"));
	assert_null(p);
	need(gpu_host_alloc(g, &p, 0, "nothing"));
	assert_null(p);
	need(gpu_alloc(g, &p, 1, "one"));
	assert_int_equal((uintptr_t)p % 256, 0);
	assert_int_equal(gpu_alloc(g, &q, (size_t)64 << 20, "the cache"), VB_ENOMEM);
	assert_null(q);
	assert_string_equal(vb_errmsg(), "out of GPU memory: the cache: 67108864 bytes, but of 67108864 on GPU 0 (Fake H100) "
					 "67108863 are free: lower --context, --max-batch or --kv-memory");
	need(gpu_sync(g)); /* the queue goes on */
	need(gpu_host_alloc(g, &host, N, "host"));
	for (int i = 0; i < N; i++)
		assert_int_equal(((char *)host)[i], 0);
	gpu_upload(g, p, host, 0);
	gpu_fill(g, NULL, 0, 0);
	gpu_copy(g, NULL, NULL, 0);
	need(gpu_sync(g));
	gpu_fill(g, p, 0, 2); /* beyond */
	assert_int_equal(gpu_sync(g), VB_EDEVICE);
	says(vb_errmsg(), "GPU 0 (Fake H100) failed: cuMemsetD8Async of 2 bytes: CUDA_ERROR_INVALID_VALUE: restart the program");
	int calls = fake->n_calls;
	gpu_fill(g, p, 0, 1);
	gpu_upload(g, p, host, 1);
	gpu_download(g, host, p, 1);
	gpu_copy(g, p, p, 1);
	assert_int_equal(gpu_status(g), VB_EDEVICE);
	assert_int_equal(gpu_alloc(g, &q, 1, "one"), VB_EDEVICE);
	assert_int_equal(gpu_host_alloc(g, &q, 1, "one"), VB_EDEVICE);
	says(vb_errmsg(), "cuMemsetD8Async");
	assert_int_equal(fake->n_calls, calls);
	gpu_close(&g);
	assert_int_equal(fake_cuda_alive(), 0);
	gpu_close(&g); /* again */
}

/* Addresses come first, memory later, and only as much as is asked for. */
static void test_reserved(void **state)
{
	(void)state;
	struct fake_cuda *fake = fresh();
	struct gpu *g = opened();
	void *p, *q;
	uint64_t before, after, total;
	need(gpu_memory(g, &before, &total));
	need(gpu_reserve(g, &p, (size_t)8 << 30, "the cache")); /* the GPU has 64 MiB */
	need(gpu_reserve(g, &q, 100000, "the cache"));
	need(gpu_memory(g, &after, &total));
	assert_int_equal(before, after);
	assert_int_equal(gpu_back(g, p, (size_t)1 << 30, "the cache"), VB_ENOMEM);
	says(vb_errmsg(), "out of GPU memory: the cache: 1073741824 bytes, but of 67108864");
	need(gpu_back(g, p, 1, "the cache"));
	need(gpu_back(g, q, 100000, "the cache"));
	need(gpu_memory(g, &after, &total));
	assert_int_equal(before - after, (1 + 2) * 65536); /* the fake's pages */
	gpu_fill(g, p, 7, 65536);
	gpu_fill(g, q, 7, 100000);
	gpu_free(g, q); /* after what uses it */
	need(gpu_sync(g));
	gpu_fill(g, p, 7, 65537); /* beyond */
	assert_int_equal(gpu_sync(g), VB_EDEVICE);
	gpu_close(&g);
	assert_int_equal(fake_cuda_alive(), 0);
	assert_int_equal(fake->misuses, 1);
	fake = fresh();
	g = opened();
	need(gpu_reserve(g, &p, 0, "nothing"));
	assert_null(p);
	need(gpu_back(g, p, 0, "nothing"));
	need(gpu_capture_begin(g));
	assert_int_equal(gpu_reserve(g, &p, 1, "the cache"), VB_ESTATE);
	assert_int_equal(gpu_back(g, p, 1, "the cache"), VB_ESTATE);
	struct gpu_graph *graph;
	need(gpu_capture_end(g, &graph));
	gpu_graph_destroy(g, &graph);
	gpu_close(&g);
	assert_clean(fake);
}

static void test_kernels(void **state)
{
	(void)state;
	struct fake_cuda *fake = fresh();
	struct gpu *g = opened();
	struct gpu_kernel k, more;
	struct double_args a = { NULL, 0 };
	assert_int_equal(gpu_find_kernel(g, "absent", 0, &k), VB_EUNSUPPORTED);
	assert_null(k.function);
	says(vb_errmsg(), "no GPU kernel absent");
	fake->kernel[0].static_shared = 1000;
	assert_int_equal(gpu_find_kernel(g, "double_it", 232448 - 999, &k), VB_EUNSUPPORTED);
	says(vb_errmsg(), "kernel double_it needs 232449 bytes of shared memory a block: GPU 0 (Fake H100) has 232448");
	need(gpu_find_kernel(g, "double_it", 232448 - 1000, &more));
	need(gpu_find_kernel(g, "double_it", 50000, &k)); /* takes nothing from the first */
	assert_int_equal(k.registers, 32);
	assert_int_equal(k.max_threads, 1024);
	assert_int_equal(k.shared_memory, 50000);
	struct gpu_grid grid = { .blocks = { 2, 65535, 65535 }, .threads = 1024 };
	gpu_launch(g, &more, &grid, &a);
	need(gpu_sync(g));
	for (int i = 0; i < 3; i++) {
		struct gpu_grid none = grid;
		none.blocks[i] = 0;
		gpu_launch(g, &k, &none, &a);
	}
	need(gpu_sync(g));
	assert_int_equal(fake->n_launches, 1);
	grid.threads = 2000;
	gpu_launch(g, &k, &grid, &a);
	assert_int_equal(gpu_sync(g), VB_EDEVICE);
	says(vb_errmsg(), "cuLaunchKernel of double_it, 2 x 65535 x 65535 blocks of 2000 threads, 50000 bytes of shared memory: "
			  "CUDA_ERROR_INVALID_VALUE");
	assert_int_equal(gpu_blocks_per_sm(g, &k, 128), 0);
	gpu_close(&g);
	assert_clean(fake);
}

static void test_capture(void **state)
{
	(void)state;
	struct fake_cuda *fake = fresh();
	struct gpu *g = opened();
	void *p, *q;
	char pageable[N] = { 0 };
	struct gpu_graph *graph;
	struct gpu_kernel k;
	uint64_t n;
	need(gpu_alloc(g, &p, N, "a test"));
	assert_int_equal(gpu_capture_end(g, &graph), VB_ESTATE);
	need(gpu_capture_begin(g));
	assert_int_equal(gpu_capture_begin(g), VB_ESTATE);
	assert_int_equal(gpu_sync(g), VB_ESTATE);
	says(vb_errmsg(), "cannot wait on GPU 0: its queue is being captured");
	assert_int_equal(gpu_alloc(g, &q, N, "a test"), VB_ESTATE);
	assert_int_equal(gpu_host_alloc(g, &q, N, "a test"), VB_ESTATE);
	assert_int_equal(gpu_find_kernel(g, "double_it", 0, &k), VB_ESTATE);
	assert_int_equal(gpu_memory(g, &n, &n), VB_ESTATE);
	need(gpu_capture_end(g, &graph)); /* none of these disturbed it */
	gpu_graph_launch(g, graph);
	need(gpu_sync(g));
	gpu_graph_destroy(g, &graph);
	assert_null(graph);
	gpu_graph_destroy(g, &graph);
	assert_int_equal(fake->misuses, 0);

	need(gpu_capture_begin(g));
	gpu_download(g, pageable, p, N);
	assert_int_equal(gpu_capture_end(g, &graph), VB_EDEVICE);
	assert_null(graph);
	says(vb_errmsg(), "cannot capture a download of memory that is not pinned");
	gpu_close(&g);

	/* Closed in the middle of one. */
	g = opened();
	need(gpu_capture_begin(g));
	gpu_close(&g);
	assert_int_equal(fake_cuda_alive(), 0);
}

/* The test's driver is as late as it may be: who does not wait sees nothing. */
static void test_lateness(void **state)
{
	(void)state;
	fresh();
	struct gpu *g = opened();
	void *device, *host;
	struct gpu_event *e;
	char other[N] = { 0 };
	need(gpu_alloc(g, &device, N, "a test"));
	need(gpu_host_alloc(g, &host, N, "a test"));
	need(gpu_event_create(g, &e));
	char *x = host;
	gpu_fill(g, device, 5, N);
	gpu_download(g, x, device, N);
	gpu_event_record(g, e);
	gpu_fill(g, device, 6, N);
	assert_int_equal(x[0], 0);
	need(gpu_event_wait(g, e));
	assert_int_equal(x[0], 5);
	gpu_download(g, x, device, N);
	assert_int_equal(x[0], 5);
	need(gpu_sync(g));
	assert_int_equal(x[0], 6);
	/* Changed before it was read. */
	gpu_upload(g, device, x, N);
	x[0] = 7;
	gpu_download(g, other, device, N); /* waits: not pinned */
	assert_int_equal(other[0], 7);
	gpu_upload(g, device, other, N); /* waits too */
	other[0] = 8;
	gpu_download(g, x, device, N);
	need(gpu_sync(g));
	assert_int_equal(x[0], 7);
	gpu_event_destroy(g, &e);
	gpu_close(&g);
	assert_clean(fake_cuda());
}

/* An error that a later call tells of says which kernel was the last. */
static void test_late_error(void **state)
{
	(void)state;
	struct fake_cuda *fake = fresh();
	struct gpu *g = opened();
	struct gpu_kernel k;
	struct double_args a = { NULL, 0 };
	need(gpu_find_kernel(g, "double_it", 0, &k));
	gpu_launch(g, &k, &(struct gpu_grid){ .blocks = { 1, 1, 1 }, .threads = 32 }, &a);
	fake->fail_name = "cuStreamQuery";
	fake->fail_code = 600; /* not ready: no error */
	need(gpu_status(g));
	fake->fail_code = 700;
	assert_int_equal(gpu_status(g), VB_EDEVICE);
	says(vb_errmsg(), "cuStreamQuery, the last kernel launched being double_it: CUDA error 700");
	fake->fail_name = NULL;
	assert_int_equal(gpu_sync(g), VB_EDEVICE);
	assert_true(isnan(gpu_event_ms(g, NULL, NULL)));
	gpu_close(&g);
}

/* ---- Threads ---- */

static void *work_elsewhere(void *gpu)
{
	struct gpu *g = gpu;
	void *p;
	char x[N];
	memset(x, 7, N);
	need(gpu_alloc(g, &p, N, "a test"));
	gpu_upload(g, p, x, N);
	memset(x, 0, N);
	gpu_download(g, x, p, N);
	need(gpu_sync(g));
	assert_int_equal(x[N - 1], 7);
	gpu_free(g, p);
	assert_int_equal(fake_cuda_depth(), 0);
	return NULL;
}

/* Two on one device, used by other threads than opened them, and closed by others. */
static void test_threads(void **state)
{
	(void)state;
	struct fake_cuda *fake = fresh();
	struct gpu *a = opened(), *b = opened();
	assert_int_equal(fake_cuda_depth(), 0);
	for (int i = 0; i < 4; i++) {
		pthread_t t;
		assert_int_equal(pthread_create(&t, NULL, work_elsewhere, i & 1 ? a : b), 0);
		assert_int_equal(pthread_join(t, NULL), 0);
		work_elsewhere(i & 1 ? b : a);
	}
	gpu_close(&a);
	work_elsewhere(b);
	gpu_close(&b);
	assert_clean(fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_gpus),
		cmocka_unit_test(test_one_gpu),
		cmocka_unit_test(test_driver_versions),
		cmocka_unit_test(test_several_gpus),
		cmocka_unit_test(test_images),
		cmocka_unit_test(test_sequence),
		cmocka_unit_test(test_every_call_fails),
		cmocka_unit_test(test_all_calls_fail_from),
		cmocka_unit_test(test_every_allocation_fails),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_reserved),
		cmocka_unit_test(test_kernels),
		cmocka_unit_test(test_capture),
		cmocka_unit_test(test_lateness),
		cmocka_unit_test(test_late_error),
		cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
