#include "ops/attention_cuda.h"

#include "base/mem.h"
#include "base/status.h"
#include "ops/attention_ranges.h"
#include "ops/kernels.h"

#include <string.h>

/* Rows of a block of the tensor core kernels (kernels/cuda/sm80/attention_sm80.cuh). */
#define SM80_ROWS 64
/* Shared memory of theirs beside ring and queries, and what the GPU itself takes of each block's. */
#define SM80_STATIC 512
#define RESERVED 1024
#define SIMT_THREADS 128
#define SIMT_BLOCKS 8 /* a multiprocessor */
#define LOG2E 1.4426950408889634

struct attention_cuda {
	struct attention_request request;
	bool simt;
	struct gpu_kernel kernel;
	struct attention_ranges ranges;
	int n_blocks, n_threads, n_stages;
	void *states;   /* [ranges.max_state_floats] f32 */
	void *arrived;  /* [ranges.max_splits] int32, 0 between launches */
};

/* ---- What is served ---- */

const char *attention_simt_refuse(const struct attention_request *r)
{
	if (r->q_type > DTYPE_F16 || r->kv_type > DTYPE_F16 || r->out_type > DTYPE_F16)
		return "types are limited to f32, bf16 and f16";
	if (r->q_type != r->kv_type)
		return "queries and the cache must have one type";
	if (r->head_dim > ATTENTION_MAX_HEAD_DIM || r->v_head_dim > ATTENTION_MAX_HEAD_DIM)
		return "head sizes are limited to 512";
	return NULL;
}

const char *attention_sm80_refuse(const struct attention_request *r)
{
	if (r->q_type != r->kv_type || (r->kv_type != DTYPE_BF16 && r->kv_type != DTYPE_F16))
		return "tensor cores take bf16 or f16, the same for queries and the cache";
	if (r->out_type > DTYPE_F16)
		return "results are limited to f32, bf16 and f16";
	if (r->head_dim != r->v_head_dim)
		return "keys and values must have heads of one size";
	if (r->head_dim > 256 || r->head_dim % 8)
		return "head sizes are limited to multiples of 8 up to 256";
	if (r->page_size < 8)
		return "pages must have 8 tokens or more";
	return NULL;
}

/* ---- Sizes ---- */

/* How the kernel is launched on a GPU: pure. */
struct geometry {
	int d; /* of the kernel: head sizes are filled up to it */
	int blocks_per_sm, n_threads, n_stages;
	uint32_t shared_memory;
};

static uint32_t sm80_shared(int d, int n_stages)
{
	return (uint32_t)(n_stages * 2 * ATTENTION_TILE * d * 2 + SM80_ROWS * d * 2);
}

/* Two blocks a multiprocessor where both can hold two tiles (so that one is under way while the other is used), and as many
 * tiles as fit, up to 96 KiB of them; else one block. */
static struct geometry sm80_geometry(const struct hw_gpu *gpu, int64_t head_dim)
{
	struct geometry g = { .d = head_dim <= 64 ? 64 : head_dim <= 128 ? 128 : 256 };
	int64_t all = gpu->shared_memory + RESERVED;
	bool large = g.d > 128;
	g.n_threads = large ? 256 : 128;
	for (g.blocks_per_sm = large ? 1 : 2; g.blocks_per_sm > 0; g.blocks_per_sm--) {
		int64_t each = all / g.blocks_per_sm - RESERVED - SM80_STATIC;
		int64_t most = large ? 3 : 98304 / (2 * ATTENTION_TILE * g.d * 2);
		g.n_stages = (int)most;
		while (g.n_stages > 1 && sm80_shared(g.d, g.n_stages) > each)
			g.n_stages--;
		if (g.n_stages > 1 || g.blocks_per_sm == 1)
			break;
	}
	g.shared_memory = sm80_shared(g.d, g.n_stages);
	return g;
}

static bool is_simt(int row)
{
	return strcmp(attention_cuda_set.rows[row].name, "simt") == 0;
}

static void size(struct attention_cuda *a, const struct hw_gpu *gpu, int row, const struct attention_request *r,
		 const struct attention_limits *l, struct geometry *geometry)
{
	*a = (struct attention_cuda){ .request = *r, .simt = is_simt(row) };
	*geometry = (struct geometry){ .blocks_per_sm = SIMT_BLOCKS, .n_threads = SIMT_THREADS };
	if (!a->simt)
		*geometry = sm80_geometry(gpu, r->head_dim);
	a->n_blocks = (int)gpu->sms * geometry->blocks_per_sm;
	a->n_threads = geometry->n_threads;
	a->n_stages = geometry->n_stages;
	a->ranges = (struct attention_ranges){ .n_kv_heads = r->n_kv_heads,
					       .group = r->n_heads / r->n_kv_heads,
					       .window = r->window,
					       .max_seqs = l->max_seqs,
					       .max_tokens = l->max_tokens,
					       .max_keys = l->table_width * r->page_size,
					       .max_q_len = r->max_q_len,
					       .n_workers = a->n_blocks,
					       .block_rows = SM80_ROWS,
					       .head_dim = geometry->d };
	if (!a->simt)
		attention_ranges_init(&a->ranges);
}

uint64_t attention_cuda_bytes_for(const struct hw_gpu *gpu, int row, const struct attention_request *r,
				  const struct attention_limits *l)
{
	struct attention_cuda a;
	struct geometry unused;
	size(&a, gpu, row, r, l, &unused);
	return (uint64_t)a.ranges.max_state_floats * sizeof(float) + (uint64_t)a.ranges.max_splits * sizeof(int32_t);
}

/* ---- Creating ---- */

static const char *sm80_name(int d, enum dtype type, bool softcap)
{
	static const char *const names[3][2][2] = {
		{ { "attention_sm80_d64_bf16", "attention_sm80_d64_bf16_softcap" },
		  { "attention_sm80_d64_f16", "attention_sm80_d64_f16_softcap" } },
		{ { "attention_sm80_d128_bf16", "attention_sm80_d128_bf16_softcap" },
		  { "attention_sm80_d128_f16", "attention_sm80_d128_f16_softcap" } },
		{ { "attention_sm80_d256_bf16", "attention_sm80_d256_bf16_softcap" },
		  { "attention_sm80_d256_f16", "attention_sm80_d256_f16_softcap" } },
	};
	return names[d == 64 ? 0 : d == 128 ? 1 : 2][type == DTYPE_F16][softcap];
}

int attention_cuda_create(struct gpu *g, int row, const struct attention_request *r, const struct attention_limits *l,
			  struct attention_cuda **out)
{
	struct geometry geometry;
	int rc = VB_OK;
	*out = NULL;
	CHECK(row >= 0 && row < attention_cuda_set.n_rows);
	const char *reason = attention_cuda_set.refuse(r, row);
	if (reason)
		FAIL(VB_EUNSUPPORTED, "attention: %s: %s", attention_cuda_set.rows[row].name, reason);
	struct attention_cuda *a = mem_calloc(1, sizeof *a);
	if (!a)
		return VB_ENOMEM;
	size(a, gpu_facts(g), row, r, l, &geometry);
	const char *name = a->simt ? "attention_simt" : sm80_name(geometry.d, r->kv_type, r->softcap);
	TRY_TO(out, gpu_find_kernel(g, name, geometry.shared_memory, &a->kernel));
	size_t arrived = (size_t)a->ranges.max_splits * sizeof(int32_t);
	TRY_TO(out, gpu_alloc(g, &a->states, (size_t)a->ranges.max_state_floats * sizeof(float), "partial attention"));
	TRY_TO(out, gpu_alloc(g, &a->arrived, arrived, "attention's counters"));
	if (arrived)
		gpu_fill(g, a->arrived, 0, arrived);
out:
	if (rc != VB_OK)
		attention_cuda_destroy(g, &a);
	*out = a;
	return rc;
}

void attention_cuda_destroy(struct gpu *g, struct attention_cuda **a)
{
	if (!*a)
		return;
	gpu_free(g, (*a)->states);
	gpu_free(g, (*a)->arrived);
	mem_free(*a);
	*a = NULL;
}

/* ---- A step ---- */

size_t attention_cuda_plan_bytes(const struct attention_cuda *a)
{
	return a->ranges.bytes;
}

int attention_cuda_plan(const struct attention_cuda *a, void *host_list, int64_t n_seqs, const int32_t *q_begin,
			const int32_t *kv_len)
{
	if (a->simt) /* walks over the lengths itself */
		return attention_ranges_check(&a->ranges, n_seqs, q_begin, kv_len);
	return attention_ranges_write(&a->ranges, host_list, n_seqs, q_begin, kv_len);
}

void attention_cuda_run(struct gpu *g, const struct attention_cuda *a, const void *device_list,
			const struct attention_args *args)
{
	float score_scale = (float)(args->scale * LOG2E), score_cap = 0;
	if (args->softcap > 0) {
		score_scale = (float)(2 * LOG2E * args->scale / args->softcap);
		score_cap = (float)(args->softcap * LOG2E);
	}
	struct gpu_grid grid = { .blocks = { (uint32_t)a->n_blocks, 1, 1 }, .threads = (uint32_t)a->n_threads };
	if (a->simt) {
		struct attention_simt_args s = { .a = *args, .score_scale = score_scale, .score_cap = score_cap };
		gpu_launch(g, &a->kernel, &grid, &s);
		return;
	}
	const unsigned char *list = device_list;
	struct attention_sm80_args s = { .a = *args,
					 .score_scale = score_scale,
					 .score_cap = score_cap,
					 .workers = (const void *)(list + a->ranges.workers_at),
					 .splits = (const void *)(list + a->ranges.splits_at),
					 .blocks = (const void *)(list + a->ranges.blocks_at),
					 .states = a->states,
					 .arrived = a->arrived,
					 .n_stages = a->n_stages };
	grid.early = true;
	gpu_launch(g, &a->kernel, &grid, &s);
}
