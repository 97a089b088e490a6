// linear_bench.cu - linear's tiles by themselves on a GPU: their bits, their errors and their times, beside cuBLAS where its
// library is named. A program of its own, for tuning: `verbatim` and kcheck go through src/ops/linear_cuda.c.
//
//   nvcc -O3 -std=c++17 -fmad=false -arch=sm_90 -I. -Isrc -o linear_bench bench/cuda/linear_bench.cu -ldl
//   ./linear_bench check | ./linear_bench quick | ./linear_bench time [libcublas.so.13]
//
// With -DCANDIDATES='"FILE"', FILE of lines CANDIDATE(rows, tokens, rows of a warp, tokens of a warp, depth, stages, blocks a
// multiprocessor), these are checked and timed too.
#include "kernels/cuda/common/linear_simt.cu"
#undef THREADS
#include "kernels/cuda/sm80/linear_bf16.cu"
#include "kernels/cuda/sm80/linear_f16.cu"

#include <algorithm>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <vector>

#define MUST(call)                                                                                      \
	do {                                                                                            \
		cudaError_t error_ = (call);                                                            \
		if (error_ != cudaSuccess) {                                                            \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(error_)); \
			exit(1);                                                                        \
		}                                                                                       \
	} while (0)

typedef void kernel_fn(const struct linear_args);

struct tile {
	const char *name;
	kernel_fn *bf16, *f16;
	int rows, tokens, threads, shared, stages;
};

// Candidates that are not, or not yet, in linear_tiles.def.
template <bool F16, int ROWS, int TOKENS, int WARP_ROWS, int WARP_TOKENS, int DEPTH, int STAGES, int BLOCKS>
__global__ void __launch_bounds__(ROWS / WARP_ROWS * (TOKENS / WARP_TOKENS) * 32, BLOCKS)
	candidate(const __grid_constant__ struct linear_args a)
{
	linear_tile<F16, true, ROWS, TOKENS, WARP_ROWS, WARP_TOKENS, DEPTH, STAGES>(a);
}

#define SIZES(r, t, wr, wt, d, s) r, t, (r) / (wr) * ((t) / (wt)) * 32, ((r) + (t)) * (d) * 2 * (s), s
static const struct tile tiles[] = {
#define LINEAR_TILE(r, t, wr, wt, d, s)                                                               \
	{ #r "x" #t " " #wr "x" #wt " " #d "*" #s, linear_sm80_bf16_##r##x##t, linear_sm80_f16_##r##x##t, \
	  SIZES(r, t, wr, wt, d, s) },
#include "kernels/ops/linear_tiles.def"
#undef LINEAR_TILE
#ifdef CANDIDATES
#define CANDIDATE(r, t, wr, wt, d, s, blocks)                                                   \
	{ #r "x" #t " " #wr "x" #wt " " #d "*" #s " " #blocks, candidate<false, r, t, wr, wt, d, s, blocks>, NULL, \
	  SIZES(r, t, wr, wt, d, s) },
#include CANDIDATES
#endif
};
#define N_TILES (int)(sizeof tiles / sizeof *tiles)
enum {
#define LINEAR_TILE(r, t, wr, wt, d, s) TILE_##r##_##t,
#include "kernels/ops/linear_tiles.def"
#undef LINEAR_TILE
	N_SHIPPED // these stand first
};
static const struct tile unaligned = { "64x64 any", linear_sm80_bf16_64x64_any, linear_sm80_f16_64x64_any,
				       SIZES(64, 64, 32, 32, 64, 3) };
static const struct tile simt_few = { "simt few", linear_simt_few, linear_simt_few, 32, 8, 256, 0, 0 };
static const struct tile simt_many = { "simt many", linear_simt_many, linear_simt_many, 64, 64, 256, 0, 0 };

static cudaStream_t stream;

static void launch(const struct tile *tile, const struct linear_args *a, bool early)
{
	kernel_fn *kernel = a->x_type == DTYPE_F16 && a->w_type == DTYPE_F16 ? tile->f16 : tile->bf16;
	int64_t down = (a->n + tile->rows - 1) / tile->rows, across = (a->t + tile->tokens - 1) / tile->tokens;
	cudaLaunchConfig_t config = {};
	config.gridDim = tile->stages ? dim3((unsigned)(down * across)) : dim3((unsigned)down, (unsigned)across);
	config.blockDim = dim3(tile->threads);
	config.dynamicSmemBytes = tile->shared;
	config.stream = stream;
	cudaLaunchAttribute attribute;
	attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
	attribute.val.programmaticStreamSerializationAllowed = 1;
	config.attrs = &attribute;
	config.numAttrs = early ? 1 : 0;
	MUST(cudaLaunchKernelEx(&config, kernel, *a));
}

// ---- Inputs and checks ----

static __device__ uint32_t hash(uint64_t i, uint32_t seed)
{
	uint64_t z = (i + 1) * 0x9e3779b97f4a7c15ull + (uint64_t)seed * 0xd1342543de82ef95ull;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return (uint32_t)(z >> 32);
}

static __global__ void fill(void *p, enum dtype type, int64_t n, uint32_t seed, float scale)
{
	for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x) {
		// A bell over many binades: sums must round, or every order of summation would give the same bits.
		uint32_t h = hash(i, seed), g = hash(i, ~seed);
		float v = sqrtf(-2 * logf((h >> 8) * 0x1p-24f + 0x1p-25f)) * cospif((g >> 8) * 0x1p-23f) * scale;
		if (type == DTYPE_BF16)
			((__nv_bfloat16 *)p)[i] = __float2bfloat16(v);
		else if (type == DTYPE_F16)
			((__half *)p)[i] = __float2half(v);
		else
			((float *)p)[i] = v;
	}
}

static __global__ void gather(uint16_t *to, const uint16_t *from, const int *rows, int64_t k, int64_t to_stride,
			      int64_t stride)
{
	for (int64_t i = threadIdx.x; i < k; i += blockDim.x)
		to[blockIdx.x * to_stride + i] = from[rows[blockIdx.x] * stride + i];
}

// Counts values of y that are not, bit for bit, those of row rows[t] of `want`, and guards that were overwritten.
static __global__ void compare(const uint32_t *y, int64_t y_stride, const uint32_t *want, const int *rows, int64_t n,
			       unsigned long long *differ)
{
	int64_t t = blockIdx.x;
	for (int64_t i = threadIdx.x; i < y_stride; i += blockDim.x) {
		uint32_t expected = i < n ? want[rows[t] * n + i] : 0xffffffffu;
		if (y[t * y_stride + i] != expected)
			atomicAdd(differ, 1);
	}
}

// The greatest error, in units of 2^-24 of the sum of the terms' sizes.
static __global__ void errors(struct linear_args a, float *worst)
{
	int64_t n = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, t = blockIdx.y;
	if (n >= a.n)
		return;
	double sum = 0, scale = 0;
	for (int64_t k = 0; k < a.k; k++) {
		double term = (double)load_value(a.x_type, a.x, t * a.x_stride + k) * (double)load_value(a.w_type, a.w, n * a.k + k);
		sum += term;
		scale += fabs(term);
	}
	if (a.bias)
		sum += a.bias[n], scale += fabs(a.bias[n]);
	float error = (float)(fabs((double)a.y[t * a.y_stride + n] - sum) / scale * 16777216.0);
	atomicMax((int *)worst, __float_as_int(error)); // not negative: ordered as integers
}

static void *device(size_t bytes)
{
	void *p;
	MUST(cudaMalloc(&p, bytes));
	return p;
}

#define ROWS_MAX 600

static int failures;

// One matrix: rows computed alone are the standard, by the first tile that is given.
static void check(int64_t n, int64_t k, enum dtype x_type, enum dtype w_type, bool bias,
		  const struct tile *const *list, int n_list, bool all_counts)
{
	size_t x_bytes = x_type == DTYPE_F32 ? 4 : 2, w_bytes = w_type == DTYPE_F32 ? 4 : 2;
	int64_t pads[] = { 0, 8, 3 };
	char *x = (char *)device(ROWS_MAX * k * x_bytes), *moved = (char *)device(ROWS_MAX * (k + 16) * 4);
	char *w = (char *)device(n * k * w_bytes);
	float *b = (float *)device(n * 4), *alone = (float *)device(ROWS_MAX * n * 4);
	float *y = (float *)device(ROWS_MAX * (n + 16) * 4);
	float *worst = (float *)device(4);
	unsigned long long *differ = (unsigned long long *)device(8);
	int *order = (int *)device(ROWS_MAX * sizeof(int));
	fill<<<256, 256, 0, stream>>>(x, x_type, ROWS_MAX * k, 1, 1);
	fill<<<256, 256, 0, stream>>>(w, w_type, n * k, 2, 1);
	fill<<<256, 256, 0, stream>>>(b, DTYPE_F32, n, 3, 1);
	MUST(cudaMemsetAsync(worst, 0, 4, stream));
	struct linear_args a = { x, w, bias ? b : NULL, alone, 1, n, k, k, n, x_type, w_type };
	for (int t = 0; t < ROWS_MAX; t++) {
		struct linear_args one = a;
		one.x = x + t * k * x_bytes;
		one.y = alone + t * n;
		launch(list[0], &one, false);
	}
	a.t = 16;
	errors<<<dim3((unsigned)((n + 127) / 128), 16), 128, 0, stream>>>(a, worst);
	float error;
	MUST(cudaMemcpyAsync(&error, worst, 4, cudaMemcpyDeviceToHost, stream));
	MUST(cudaStreamSynchronize(stream));
	bool good = error < k / 8.0 + 8;
	printf("%lldx%lld %s%s: error %.2f of 2^-24", (long long)n, (long long)k,
	       x_type == DTYPE_F16 ? "f16" : x_type == DTYPE_BF16 ? "bf16" : "f32", bias ? " bias" : "", error);
	std::vector<int> counts;
	for (int t = 1; t <= 64; t++)
		if (all_counts || t == 1 || t == 5 || t == 8 || t == 9 || t == 16 || t == 17 || t == 33 || t == 64)
			counts.push_back(t);
	for (int t : { 127, 128, 129, 300, 512 })
		counts.push_back(t);
	unsigned long long total = 0;
	for (int i = 0; i < n_list; i++) {
		unsigned long long wrong = 0;
		MUST(cudaMemsetAsync(differ, 0, 8, stream));
		for (size_t j = 0; j < counts.size(); j++) {
			int t = counts[j], host[ROWS_MAX];
			int64_t x_pad = pads[j % (list[i] == &unaligned || !list[i]->stages ? 3 : 2)], y_pad = pads[(j / 2) % 3];
			bool two = x_type != DTYPE_F32;
			for (int r = 0; r < ROWS_MAX; r++)
				host[r] = r;
			for (int r = ROWS_MAX - 1; r > 0; r--)
				std::swap(host[r], host[rand() % (r + 1)]);
			MUST(cudaMemcpyAsync(order, host, sizeof host, cudaMemcpyHostToDevice, stream));
			MUST(cudaMemsetAsync(moved, 0xff, ROWS_MAX * (k + 16) * 4, stream)); // NaN
			MUST(cudaMemsetAsync(y, 0xff, ROWS_MAX * (n + 16) * 4, stream));
			// Rows of f32 are moved as twice as many halves.
			int64_t halves = two ? 1 : 2;
			gather<<<t, 256, 0, stream>>>((uint16_t *)moved, (const uint16_t *)x, order, k * halves,
						      (k + x_pad) * halves, k * halves);
			struct linear_args many = { moved, w, a.bias, y, t, n, k, k + x_pad, n + y_pad, x_type, w_type };
			launch(list[i], &many, j & 1);
			compare<<<t, 256, 0, stream>>>((uint32_t *)y, n + y_pad, (uint32_t *)alone, order, n, differ);
		}
		MUST(cudaMemcpyAsync(&wrong, differ, 8, cudaMemcpyDeviceToHost, stream));
		MUST(cudaStreamSynchronize(stream));
		if (wrong)
			printf(", %s: %llu DIFFER", list[i]->name, wrong);
		total += wrong;
	}
	printf(", %d tiles, %d counts: %s\n", n_list, (int)counts.size(), total || !good ? "FAILED" : "equal bits");
	failures += total || !good;
	for (void *p : { (void *)x, (void *)moved, (void *)w, (void *)b, (void *)alone, (void *)y, (void *)worst, (void *)differ,
			 (void *)order })
		MUST(cudaFree(p));
}

static void check_all(bool quick)
{
	const struct tile *bf16[64], *f16[64], *simt[2] = { &simt_few, &simt_many };
	int n_bf16 = 0, n_f16 = 0;
	for (int i = 0; i < N_TILES; i++) {
		bf16[n_bf16++] = &tiles[i];
		if (tiles[i].f16)
			f16[n_f16++] = &tiles[i];
	}
	bf16[n_bf16++] = f16[n_f16++] = &unaligned;
	static const int64_t sizes[][2] = { { 384, 384 }, { 77, 48 }, { 33, 16 }, { 200, 144 }, { 130, 1040 } };
	for (auto s : sizes) {
		if (quick && s[0] != 77 && s[0] != 200)
			continue;
		check(s[0], s[1], DTYPE_BF16, DTYPE_BF16, s[0] & 1, bf16, n_bf16, !quick);
		check(s[0], s[1], DTYPE_F16, DTYPE_F16, !(s[0] & 1), f16, n_f16, !quick);
	}
	if (quick) {
		check(77, 45, DTYPE_F32, DTYPE_BF16, true, simt, 2, false);
		return;
	}
	check(1001, 4096, DTYPE_BF16, DTYPE_BF16, true, bf16, n_bf16, false);
	check(4096, 4096, DTYPE_BF16, DTYPE_BF16, false, bf16, n_bf16, false);
	check(264, 14336, DTYPE_BF16, DTYPE_BF16, false, bf16, n_bf16, false);
	static const enum dtype types[][2] = { { DTYPE_F32, DTYPE_F32 }, { DTYPE_F32, DTYPE_BF16 }, { DTYPE_F32, DTYPE_F16 },
					       { DTYPE_BF16, DTYPE_BF16 }, { DTYPE_F16, DTYPE_F16 } };
	for (auto t : types) {
		check(77, 45, t[0], t[1], true, simt, 2, true);
		check(384, 384, t[0], t[1], false, simt, 2, false);
	}
}

// ---- Times ----

struct cublas {
	void *handle;
	int (*gemm)(void *, int, int, int, int, int, const void *, const void *, int, int, const void *, int, int, const void *,
		    void *, int, int, int, int);
};

static struct cublas cublas;

static void cublas_open(const char *path)
{
	void *library = dlopen(path, RTLD_NOW);
	if (!library) {
		printf("no cuBLAS: %s\n", dlerror());
		return;
	}
	auto create = (int (*)(void **))dlsym(library, "cublasCreate_v2");
	auto set_stream = (int (*)(void *, cudaStream_t))dlsym(library, "cublasSetStream_v2");
	auto set_workspace = (int (*)(void *, void *, size_t))dlsym(library, "cublasSetWorkspace_v2");
	*(void **)&cublas.gemm = dlsym(library, "cublasGemmEx");
	if (!create || create(&cublas.handle) || set_stream(cublas.handle, stream) ||
	    set_workspace(cublas.handle, device(64 << 20), 64 << 20)) {
		printf("no cuBLAS: it does not start\n");
		cublas.handle = NULL;
	}
}

static void cublas_run(const struct linear_args *a, bool f32_out)
{
	float one = 1, zero = 0;
	int status = cublas.gemm(cublas.handle, 1, 0, (int)a->n, (int)a->t, (int)a->k, &one, a->w, 14, (int)a->k, a->x, 14,
				 (int)a->x_stride, &zero, a->y, f32_out ? 0 : 14, (int)a->y_stride, 68, -1);
	if (status) {
		fprintf(stderr, "cuBLAS: %d\n", status);
		exit(1);
	}
}

// Microseconds a launch: the median of nine replays.
static double time_graph(cudaGraph_t graph, int launches)
{
	cudaGraphExec_t exec;
	MUST(cudaGraphInstantiate(&exec, graph, 0));
	cudaEvent_t from, to;
	MUST(cudaEventCreate(&from));
	MUST(cudaEventCreate(&to));
	std::vector<float> times;
	for (int i = 0; i < 11; i++) {
		MUST(cudaEventRecord(from, stream));
		MUST(cudaGraphLaunch(exec, stream));
		MUST(cudaEventRecord(to, stream));
		MUST(cudaEventSynchronize(to));
		float ms;
		MUST(cudaEventElapsedTime(&ms, from, to));
		if (i >= 2)
			times.push_back(ms);
	}
	std::sort(times.begin(), times.end());
	MUST(cudaEventDestroy(from));
	MUST(cudaEventDestroy(to));
	MUST(cudaGraphExecDestroy(exec));
	MUST(cudaGraphDestroy(graph));
	return times[times.size() / 2] * 1000.0 / launches;
}

// Of launches over copies of the weights that together are more than the L2 cache holds.
// which: a tile; NULL: cuBLAS, early then says with f32 results.
static double time_one(const struct tile *which, struct linear_args a, char *w, int copies, bool early)
{
	int launches = copies * std::max(1, 24 / copies);
	double work = 2.0 * a.t * a.n * a.k / 400e12 + 2.0 * a.n * a.k / 2.5e12;
	while (launches > copies && launches * work > 0.01)
		launches -= copies;
	size_t bytes = (size_t)a.n * a.k * (a.w_type == DTYPE_F32 ? 4 : 2);
	cudaGraph_t graph;
	MUST(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
	for (int i = 0; i < launches; i++) {
		a.w = w + i % copies * bytes;
		if (which)
			launch(which, &a, early);
		else
			cublas_run(&a, early);
	}
	MUST(cudaStreamEndCapture(stream, &graph));
	return time_graph(graph, launches);
}

// What src/ops/linear_cuda.c chooses on this machine, and whether it begins early.
static const struct tile *choose(int64_t n, int64_t t, bool *early)
{
	const struct tile *best = NULL;
	int64_t least = INT64_MAX;
	int sms, blocks_per_sm;
	MUST(cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, 0));
	for (int i = 0; i < N_SHIPPED; i++) {
		if (tiles[i].tokens > 8 && tiles[i].tokens >= 2 * t)
			continue;
		int64_t blocks = ((n + tiles[i].rows - 1) / tiles[i].rows) * ((t + tiles[i].tokens - 1) / tiles[i].tokens);
		int64_t cost = (blocks + sms - 1) / sms * (tiles[i].rows + tiles[i].tokens);
		if (cost < least) {
			least = cost;
			best = &tiles[i];
		}
	}
	MUST(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks_per_sm, best->bf16, best->threads, best->shared));
	*early = best->tokens <= 32 || best->tokens == 64 && blocks_per_sm == 1;
	return best;
}

// A small operation between two products: one block that reads and writes a token's values.
static __global__ void __launch_bounds__(1024) small_operation(float4 *y)
{
	kernel_begin();
	float4 v = y[threadIdx.x];
	v.x *= 0.5f;
	y[threadIdx.x] = v;
}

static void small_launch(float *y, bool early)
{
	cudaLaunchConfig_t config = {};
	config.gridDim = dim3(1);
	config.blockDim = dim3(1024);
	config.stream = stream;
	cudaLaunchAttribute attribute;
	attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
	attribute.val.programmaticStreamSerializationAllowed = 1;
	config.attrs = &attribute;
	config.numAttrs = early ? 1 : 0;
	MUST(cudaLaunchKernelEx(&config, small_operation, (float4 *)y));
}

struct step {
	int64_t n, k;
	bool last;
};

// The products of one layer of Llama 3.1 8B with a small operation where the layer has one, over four layers' weights.
static void time_layer(const char *name, const struct step *steps, int n_steps, char *w, char *x, float *y, float *z, int64_t t)
{
	enum { LAYERS = 4 };
	static const char *const ways[] = { "plain", "early", "cuBLAS" };
	printf("a layer, %s, %lld tokens:", name, (long long)t);
	for (int way = 0; way < (cublas.handle ? 3 : 2); way++) {
		cudaGraph_t graph;
		char *from = w;
		double bytes = 0;
		MUST(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
		for (int layer = 0; layer < LAYERS; layer++)
			for (int i = 0; i < n_steps; i++) {
				const struct step *s = &steps[i];
				struct linear_args a = { x, from, NULL, y, t, s->n, s->k, s->k, s->n, DTYPE_BF16, DTYPE_BF16 };
				bool early;
				const struct tile *tile = choose(s->n, t, &early);
				if (way == 2)
					cublas_run(&a, false);
				else
					launch(tile, &a, way && early);
				if (s->last)
					small_launch(z, way == 1);
				from += s->n * s->k * 2;
				bytes += 2.0 * s->n * s->k / LAYERS;
			}
		MUST(cudaStreamEndCapture(stream, &graph));
		double us = time_graph(graph, LAYERS);
		printf(" %s %.1f us %.3f TB/s;", ways[way], us, bytes / us / 1e6);
	}
	printf("\n");
}

static void print(const char *name, int64_t n, int64_t k, int64_t t, double plain, double early)
{
	double work = t <= 128 ? 2.0 * n * k : 2.0 * n * k * t;
	const char *unit = t <= 128 ? "TB/s" : "TFLOP/s";
	printf("  %-26s %8.2f us %7.3f %s  early %8.2f us %7.3f %s\n", name, plain, work / plain / 1e6, unit, early,
	       work / early / 1e6, unit);
}

static void time_shape(char *w, char *x, float *y, int64_t n, int64_t k, int64_t t)
{
	// 128 MiB, where the matrix is not that large itself.
	size_t bytes = (size_t)n * k * 2;
	int copies = bytes >= (100 << 20) ? 1 : (int)std::min<size_t>((((size_t)128 << 20) + bytes - 1) / bytes, 256);
	struct linear_args a = { x, w, NULL, y, t, n, k, k, n, DTYPE_BF16, DTYPE_BF16 };
	bool early;
	const struct tile *chosen = choose(n, t, &early);
	printf("%lldx%lld, %lld tokens: %s%s\n", (long long)n, (long long)k, (long long)t, chosen->name, early ? ", early" : "");
	if (cublas.handle)
		print("cuBLAS, bf16 | f32 out", n, k, t, time_one(NULL, a, w, copies, false), time_one(NULL, a, w, copies, true));
	for (int i = 0; i < N_TILES; i++) {
		const struct tile *q = &tiles[i];
		// Beside the chosen one those that might have been.
		if (q == chosen || q->tokens >= std::min<int64_t>(t, 128) && q->tokens <= std::max<int64_t>(8, 2 * t - 1))
			print(q->name, n, k, t, time_one(q, a, w, copies, false), time_one(q, a, w, copies, true));
	}
	fflush(stdout);
}

static void time_simt(char *w, char *x, float *y, int64_t t)
{
	struct linear_args a = { x, w, NULL, y, t, 4096, 4096, 4096, 4096, DTYPE_F32, DTYPE_F32 };
	double few = time_one(&simt_few, a, w, 2, true), many = time_one(&simt_many, a, w, 2, true);
	printf("simt, f32, 4096x4096, %lld tokens: few %.1f us, many %.1f us, %.2f TFLOP/s\n", (long long)t, few, many,
	       2.0 * t * 4096 * 4096 / many / 1e6);
}

static void time_all()
{
	static const int64_t sizes[][2] = { { 4096, 4096 }, { 6144, 4096 }, { 28672, 4096 }, { 4096, 14336 }, { 128256, 4096 },
					    { 2048, 2048 }, { 512, 2048 }, { 16384, 2048 }, { 128256, 2048 }, { 384, 384 } };
	static const int64_t counts[] = { 1, 5, 16, 32, 64, 128, 256, 512, 1024, 4096 };
	size_t most = (size_t)128256 * 4096 * 2 * 2;
	char *w = (char *)device(most), *x = (char *)device((size_t)4096 * 14336 * 2);
	float *y = (float *)device((size_t)4096 * 28672 * 4), *z = (float *)device(4096 * 4);
	fill<<<1024, 256, 0, stream>>>(w, DTYPE_BF16, most / 2, 2, 0.02f);
	fill<<<1024, 256, 0, stream>>>(x, DTYPE_BF16, (int64_t)4096 * 14336, 1, 1);
	static const struct step apart[] = { { 4096, 4096, false }, { 1024, 4096, false }, { 1024, 4096, true },
					     { 4096, 4096, true },  { 14336, 4096, false }, { 14336, 4096, true },
					     { 4096, 14336, true } },
				 fused[] = { { 6144, 4096, true }, { 4096, 4096, true }, { 28672, 4096, true },
					     { 4096, 14336, true } };
	for (int64_t t : { 1, 5, 16, 32, 64, 256 }) {
		time_layer("7 products", apart, 7, w, x, y, z, t);
		time_layer("4 products", fused, 4, w, x, y, z, t);
	}
	for (int64_t t : { 1, 16, 64, 512 })
		time_simt(w, x, y, t);
	for (auto s : sizes)
		for (int64_t t : counts)
			if (t <= 64 || s[0] < 100000)
				time_shape(w, x, y, s[0], s[1], t);
}

int main(int argc, char **argv)
{
	bool quick = argc == 2 && !strcmp(argv[1], "quick");
	if (!quick && (argc < 2 || strcmp(argv[1], "check") && strcmp(argv[1], "time"))) {
		fprintf(stderr, "usage: linear_bench check | quick | time [LIBCUBLAS]\n");
		return 2;
	}
	cudaError_t error = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
	if (error != cudaSuccess) {
		fprintf(stderr, "no GPU: %s\n", cudaGetErrorString(error));
		return 1;
	}
	for (int i = 0; i < N_TILES + 1; i++) {
		const struct tile *q = i < N_TILES ? &tiles[i] : &unaligned;
		for (kernel_fn *f : { q->bf16, q->f16 })
			if (f)
				MUST(cudaFuncSetAttribute(f, cudaFuncAttributeMaxDynamicSharedMemorySize, q->shared));
	}
	if (argv[1][0] != 't') {
		check_all(quick);
		printf("%s\n", failures ? "FAILED" : "all good");
		MUST(cudaDeviceSynchronize());
		return failures != 0;
	}
	if (argc > 2)
		cublas_open(argv[2]);
	time_all();
	return 0;
}
