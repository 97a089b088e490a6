/* The GPU of the machine that runs this: memory, copies, a kernel, a graph, time, errors. Skipped where there is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/status.h"
#include "hw/gpu.h"
#include "kernels/ops/softcap.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define N 1000
#define CAP 30.0f

static void need(int rc)
{
	if (rc != VB_OK)
		fail_msg("%s", vb_errmsg());
}

static void assert_says(const char *says)
{
	if (!strstr(vb_errmsg(), says))
		fail_msg("\"%s\" does not say \"%s\"", vb_errmsg(), says);
	printf("  %s\n", vb_errmsg());
}

static struct gpu *open_or_skip(void)
{
	struct gpu *g;
	int rc = gpu_open(&g, 0);
	if (rc == VB_EUNSUPPORTED) {
		printf("  no GPU to test with: %s\n", vb_errmsg());
		skip();
	}
	need(rc);
	return g;
}

static void input(float x[N], float scale)
{
	for (int i = 0; i < N; i++)
		x[i] = (float)(i - N / 2) * scale;
}

static void compare(const float *got, float scale)
{
	float x[N];
	input(x, scale);
	for (int i = 0; i < N; i++)
		if (!(fabsf(got[i] - CAP * tanhf(x[i] / CAP)) <= 1e-5f))
			fail_msg("[%d]: %g became %g", i, (double)x[i], (double)got[i]);
}

/* A block takes 128 values of a row. */
static const struct gpu_grid grid = { .blocks = { 1, (N + 127) / 128, 1 }, .threads = 128 };

static struct softcap_args args_of(float *device)
{
	return (struct softcap_args){ .x = device, .t = 1, .d = N, .x_stride = N, .cap = CAP };
}

/* Uploads, launches, downloads, through memory that is not pinned. */
static void run_once(struct gpu *g)
{
	float x[N];
	void *device;
	struct gpu_kernel k;
	need(gpu_find_kernel(g, "softcap_cuda", 0, &k));
	need(gpu_alloc(g, &device, sizeof x, "a test"));
	assert_int_equal((uintptr_t)device % 256, 0);
	input(x, 0.1f);
	gpu_upload(g, device, x, sizeof x);
	memset(x, 0, sizeof x);
	struct softcap_args a = args_of(device);
	gpu_launch(g, &k, &grid, &a);
	memset(&a, 0, sizeof a);
	gpu_download(g, x, device, sizeof x);
	compare(x, 0.1f);
	need(gpu_sync(g));
	gpu_free(g, device);
}

static void test_facts(void **state)
{
	(void)state;
	double start = clock_s();
	struct gpu *g = open_or_skip();
	printf("  opened in %.0f ms\n", (clock_s() - start) * 1e3);
	const struct hw_gpu *f = gpu_facts(g);
	printf("  %s, compute capability %d.%d, driver CUDA %d.%d, %lld SMs, %lld bytes of shared memory a block, %llu of memory\n",
	       f->name, f->capability.major, f->capability.minor, f->driver_cuda.major, f->driver_cuda.minor,
	       (long long)f->sms, (long long)f->shared_memory, (unsigned long long)f->memory);
	assert_true(f->name[0] && f->capability.major >= 8 && f->driver_cuda.major >= 12);
	assert_true(f->sms > 0 && f->shared_memory >= 48 << 10);
	uint64_t available, total;
	need(gpu_memory(g, &available, &total));
	assert_true(available > 0 && available <= total && total <= f->memory);
	gpu_close(&g);
	assert_null(g);
}

static void test_kernel(void **state)
{
	(void)state;
	struct gpu *g = open_or_skip();
	run_once(g);
	struct gpu_kernel k;
	need(gpu_find_kernel(g, "softcap_cuda", 0, &k));
	printf("  softcap_cuda: %d registers, up to %d threads, %d blocks of 256 a multiprocessor\n", k.registers,
	       k.max_threads, gpu_blocks_per_sm(g, &k, 256));
	assert_in_range(k.registers, 1, 255);
	assert_in_range(k.max_threads, 128, 1024);
	assert_in_range(gpu_blocks_per_sm(g, &k, 256), 1, 32);
	assert_int_equal(gpu_find_kernel(g, "no_such_kernel", 0, &k), VB_EUNSUPPORTED);
	assert_says("no GPU kernel no_such_kernel");
	assert_int_equal(gpu_find_kernel(g, "softcap_cuda", 1 << 20, &k), VB_EUNSUPPORTED);
	assert_says("softcap_cuda needs 1048576 bytes of shared memory");
	need(gpu_find_kernel(g, "softcap_cuda", (uint32_t)gpu_facts(g)->shared_memory, &k));
	assert_int_equal(gpu_blocks_per_sm(g, &k, 256), 1);
	need(gpu_sync(g));
	gpu_close(&g);
}

static void test_memory(void **state)
{
	(void)state;
	struct gpu *g = open_or_skip();
	void *a, *b, *pinned;
	need(gpu_alloc(g, &a, 0, "nothing"));
	assert_null(a);
	assert_int_equal(gpu_alloc(g, &a, (size_t)1 << 46, "the test's greed"), VB_ENOMEM);
	assert_null(a);
	assert_says("the test's greed: 70368744177664 bytes");
	need(gpu_alloc(g, &a, N, "a"));
	need(gpu_alloc(g, &b, N, "b"));
	need(gpu_host_alloc(g, &pinned, 2 * N, "pinned"));
	unsigned char *host = pinned;
	for (int i = 0; i < 2 * N; i++)
		assert_int_equal(host[i], 0);
	for (int i = 0; i < N; i++)
		host[i] = (unsigned char)(i * 7);
	gpu_fill(g, b, 0xa5, N);
	gpu_upload(g, a, host, N);
	gpu_copy(g, (char *)b + 3, a, 500);
	gpu_download(g, host + N, b, N);
	need(gpu_sync(g));
	for (int i = 0; i < N; i++)
		assert_int_equal(host[N + i], i >= 3 && i < 503 ? (unsigned char)((i - 3) * 7) : 0xa5);
	gpu_host_free(g, pinned);
	gpu_host_free(g, NULL);
	gpu_free(g, a);
	gpu_free(g, NULL);
	need(gpu_status(g));
	gpu_close(&g); /* with b */
}

static void test_graph(void **state)
{
	(void)state;
	struct gpu *g = open_or_skip();
	void *device, *second, *pinned, *nothing;
	struct gpu_kernel k;
	struct gpu_graph *graph, *none;
	need(gpu_find_kernel(g, "softcap_cuda", 0, &k));
	need(gpu_alloc(g, &device, N * sizeof(float), "a test"));
	need(gpu_alloc(g, &second, N * sizeof(float), "a test"));
	need(gpu_host_alloc(g, &pinned, N * sizeof(float), "a test"));
	struct softcap_args a = args_of(device);
	struct gpu_grid early = grid;
	early.early = true; /* nothing that it reads is written by a kernel */
	need(gpu_capture_begin(g));
	assert_int_equal(gpu_capture_begin(g), VB_ESTATE);
	assert_int_equal(gpu_sync(g), VB_ESTATE);
	assert_int_equal(gpu_alloc(g, &nothing, 1, "a test"), VB_ESTATE);
	need(gpu_status(g));
	gpu_fill(g, second, 0, N * sizeof(float));
	gpu_upload(g, device, pinned, N * sizeof(float));
	gpu_launch(g, &k, &early, &a);
	gpu_copy(g, second, device, N * sizeof(float));
	gpu_download(g, pinned, second, N * sizeof(float));
	need(gpu_capture_end(g, &graph));
	assert_int_equal(gpu_capture_end(g, &none), VB_ESTATE);
	for (int i = 1; i <= 3; i++) {
		input(pinned, 0.1f * (float)i);
		gpu_graph_launch(g, graph);
		need(gpu_sync(g));
		compare(pinned, 0.1f * (float)i);
	}
	gpu_graph_destroy(g, &graph);
	assert_null(graph);
	gpu_close(&g);
}

static void test_time(void **state)
{
	(void)state;
	struct gpu *g = open_or_skip();
	void *a, *b;
	struct gpu_event *from, *to;
	size_t bytes = (size_t)256 << 20;
	need(gpu_alloc(g, &a, bytes, "a"));
	need(gpu_alloc(g, &b, bytes, "b"));
	need(gpu_event_create(g, &from));
	need(gpu_event_create(g, &to));
	gpu_copy(g, b, a, bytes);
	gpu_event_record(g, from);
	gpu_copy(g, b, a, bytes);
	gpu_event_record(g, to);
	need(gpu_event_wait(g, to));
	double ms = gpu_event_ms(g, from, to);
	printf("  256 MiB copied in %.3f ms: %.2f TB/s read and written\n", ms, 2 * (double)bytes / ms / 1e9);
	assert_true(ms > 0.01 && ms < 1000);
	need(gpu_sync(g));

	struct gpu_kernel k;
	need(gpu_find_kernel(g, "softcap_cuda", 0, &k));
	struct softcap_args args = args_of(a);
	for (int early = 0; early < 2; early++) {
		struct gpu_grid one = grid;
		one.early = early;
		for (int repeat = 0; repeat < 3; repeat++) {
			double start = clock_s();
			for (int i = 0; i < 500; i++)
				gpu_launch(g, &k, &one, &args);
			double enqueued = clock_s() - start;
			need(gpu_sync(g));
			printf("  500 launches%s: %.2f us each to enqueue, %.2f to run\n", early ? ", early" : "", enqueued * 2e3,
			       (clock_s() - start) * 2e3);
		}
	}
	gpu_event_destroy(g, &from);
	gpu_event_destroy(g, &to);
	gpu_close(&g);
}

static void *use_elsewhere(void *g)
{
	run_once(g);
	return NULL;
}

static void test_threads(void **state)
{
	(void)state;
	struct gpu *g = open_or_skip(), *second;
	need(gpu_open(&second, 0));
	pthread_t t;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pthread_create(&t, NULL, use_elsewhere, i ? second : g), 0);
		assert_int_equal(pthread_join(t, NULL), 0);
		run_once(i ? second : g);
	}
	gpu_close(&g);
	run_once(second);
	gpu_close(&second);
}

/* A launch that the driver refuses. */
static void test_refused(void **state)
{
	(void)state;
	struct gpu *g = open_or_skip();
	struct gpu_kernel k;
	struct gpu_graph *graph;
	need(gpu_find_kernel(g, "softcap_cuda", 0, &k));
	const struct gpu_grid wrong = { .blocks = { 1, 1, 1 }, .threads = 2048 };
	struct softcap_args a = args_of(NULL);
	gpu_launch(g, &k, &wrong, &a);
	assert_int_equal(gpu_sync(g), VB_EDEVICE);
	assert_says("cuLaunchKernel of softcap_cuda, 1 x 1 x 1 blocks of 2048 threads");
	gpu_fill(g, NULL, 0, 1); /* dropped */
	assert_int_equal(gpu_status(g), VB_EDEVICE);
	assert_says("cuLaunchKernel of softcap_cuda");
	assert_int_equal(gpu_capture_begin(g), VB_EDEVICE);
	gpu_close(&g);

	need(gpu_open(&g, 0));
	need(gpu_find_kernel(g, "softcap_cuda", 0, &k));
	need(gpu_capture_begin(g));
	gpu_launch(g, &k, &wrong, &a);
	assert_int_equal(gpu_capture_end(g, &graph), VB_EDEVICE);
	assert_null(graph);
	assert_says("softcap_cuda");
	gpu_close(&g);

	void *device;
	float x[N] = { 0 };
	need(gpu_open(&g, 0));
	need(gpu_alloc(g, &device, sizeof x, "a test"));
	need(gpu_capture_begin(g));
	gpu_upload(g, device, x, sizeof x);
	assert_int_equal(gpu_capture_end(g, &graph), VB_EDEVICE);
	assert_says("memory that is not pinned");
	gpu_close(&g);
}

/* A kernel that touches what is nobody's spoils the GPU for the process: the last test. */
static void test_illegal_address(void **state)
{
	(void)state;
	struct gpu *g = open_or_skip();
	struct gpu_kernel k;
	void *p;
	need(gpu_find_kernel(g, "softcap_cuda", 0, &k));
	struct softcap_args a = args_of((float *)8);
	gpu_launch(g, &k, &grid, &a);
	assert_int_equal(gpu_sync(g), VB_EDEVICE);
	assert_says("the last kernel launched being softcap_cuda");
	assert_int_equal(gpu_alloc(g, &p, 256, "a test"), VB_EDEVICE);
	assert_says("softcap_cuda");
	assert_int_equal(gpu_capture_begin(g), VB_EDEVICE);
	gpu_close(&g);
	assert_int_equal(gpu_open(&g, 0), VB_EDEVICE);
	assert_null(g);
	assert_says("cuCtxCreate: ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_facts),
		cmocka_unit_test(test_kernel),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_graph),
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_illegal_address),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
