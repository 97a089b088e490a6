/* bench_gpu.h - benchmarks of a GPU and its kernels. Inside src/engine. */
#ifndef ENGINE_BENCH_GPU_H
#define ENGINE_BENCH_GPU_H

#include "engine_internal.h"

#define GPU_BENCH_MEMORY 16

struct gpu_bench {
	struct gpu *gpu;
	struct gpu_event *begin, *end;
	void *memory[GPU_BENCH_MEMORY]; /* freed with it */
	int n_memory;
	double copy_bytes_s; /* read and written, of a large copy */
	double bf16_flops_s, f16_flops_s; /* through mma.sync, in registers */
};

/* Bytes a second that a large copy on the GPU reads and writes. Takes memory for it, and gives it back. */
int gpu_copy_speed(struct gpu *g, double *bytes_s);

/* Operations a second through the matrix units, everything in registers; 0 for f32, which has none. */
int gpu_matrix_speed(struct gpu *g, enum dtype type, double *flops_s);

int gpu_bench_create(struct gpu_bench *b, int index);
void gpu_bench_destroy(struct gpu_bench *b);
/* Fills in the limits: before anything that compares with them. */
int gpu_bench_limits(struct gpu_bench *b);
json_t *gpu_bench_limits_json(const struct gpu_bench *b);
int gpu_bench_linear(struct gpu_bench *b, int64_t m, int64_t n, int64_t k, enum dtype type, int repeat, json_t **out);
int gpu_bench_attention(struct gpu_bench *b, const struct vb_bench_attention_spec *s, enum dtype type, json_t **out);

#endif
