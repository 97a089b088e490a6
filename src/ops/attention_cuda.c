#include "ops/attention_cuda.h"

#include "base/mem.h"
#include "base/status.h"
#include "ops/attention_ranges.h"
#include "ops/kernels.h"

#include <string.h>

/* Rows of a block of the tensor core kernels (kernels/cuda/sm80/attention_sm80.cuh) that are not wide. */
#define SM80_ROWS 64
/* Query tokens of a sequence from which on the wide ones pay. */
#define WIDE_TOKENS 32
/* Shared memory of theirs beside ring and queries, and what the GPU itself takes of each block's. */
#define SM80_STATIC 512
#define RESERVED 1024
#define SIMT_THREADS 128
#define SIMT_BLOCKS 8 /* a multiprocessor */
#define LOG2E 1.4426950408889634

/* One of the ways to run it. */
struct launch {
	struct gpu_kernel kernel;
	struct attention_ranges ranges;
	int n_blocks, n_threads, n_stages, n_parked;
	uint32_t shared_memory;
	int d; /* of the kernel: head sizes are filled up to it */
	uint64_t parked_bytes;
};

struct attention_cuda {
	struct attention_request request;
	bool simt;
	struct launch normal, wide; /* wide: n_blocks 0 where there is none */
	void *states;   /* f32, as many as the larger list asks for */
	void *arrived;  /* [max_splits] int32, 0 between launches */
	void *parked;   /* f32 */
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

static uint32_t sm80_shared(int d, int rows, int n_stages)
{
	return (uint32_t)(n_stages * 2 * ATTENTION_TILE * d * 2 + rows * d * 2);
}

/* Two blocks a multiprocessor where both can hold two tiles (so that one is under way while the other is used), and as many
 * tiles as fit, up to 96 KiB of them; else one block. */
static void sm80_geometry(const struct hw_gpu *gpu, int64_t head_dim, struct launch *g)
{
	int blocks;
	g->d = head_dim <= 64 ? 64 : head_dim <= 128 ? 128 : 256;
	int64_t all = gpu->shared_memory + RESERVED;
	bool large = g->d > 128;
	g->n_threads = large ? 256 : 128;
	for (blocks = large ? 1 : 2; blocks > 0; blocks--) {
		int64_t each = all / blocks - RESERVED - SM80_STATIC;
		int64_t most = large ? 3 : 98304 / (2 * ATTENTION_TILE * g->d * 2);
		g->n_stages = (int)most;
		while (g->n_stages > 1 && sm80_shared(g->d, SM80_ROWS, g->n_stages) > each)
			g->n_stages--;
		if (g->n_stages > 1 || blocks == 1)
			break;
	}
	g->shared_memory = sm80_shared(g->d, SM80_ROWS, g->n_stages);
	g->n_blocks = (int)gpu->sms * blocks;
}

/* Two blocks a multiprocessor: queries, a tile, and as many parts of the parked states as there is room for. Nothing, and
 * false, where that does not fit or no wide kernel serves the request. */
static bool wide_geometry(const struct hw_gpu *gpu, const struct attention_request *r, struct launch *g)
{
	if (r->softcap || r->max_q_len < WIDE_TOKENS || r->head_dim > 128)
		return false;
	int d = r->head_dim <= 64 ? 64 : 128, part = ATTENTION_WIDE_THREADS * 16;
	int64_t each = (gpu->shared_memory + RESERVED) / 2 - RESERVED - ATTENTION_WIDE_STATIC - sm80_shared(d, ATTENTION_WIDE_ROWS, 1);
	if (each < 0)
		return false;
	int parts = ATTENTION_WIDE_PARTS(d);
	*g = (struct launch){ .d = d, .n_threads = ATTENTION_WIDE_THREADS, .n_stages = 1, .n_blocks = (int)gpu->sms * 2 };
	g->n_parked = each / part < parts ? (int)(each / part) : parts;
	g->shared_memory = sm80_shared(d, ATTENTION_WIDE_ROWS, 1) + (uint32_t)(g->n_parked * part);
	g->parked_bytes = (uint64_t)(g->n_blocks * parts * part);
	return true;
}

static bool is_simt(int row)
{
	return strcmp(attention_cuda_set.rows[row].name, "simt") == 0;
}

static void size_list(struct launch *l, const struct attention_request *r, const struct attention_limits *limits, int rows)
{
	l->ranges = (struct attention_ranges){ .n_kv_heads = r->n_kv_heads,
					       .group = r->n_heads / r->n_kv_heads,
					       .window = r->window,
					       .max_seqs = limits->max_seqs,
					       .max_tokens = limits->max_tokens,
					       .max_keys = limits->table_width * r->page_size,
					       .max_q_len = r->max_q_len,
					       .n_workers = l->n_blocks,
					       .block_rows = rows,
					       .wide = rows == ATTENTION_WIDE_ROWS,
					       .head_dim = l->d };
	attention_ranges_init(&l->ranges);
}

static void size(struct attention_cuda *a, const struct hw_gpu *gpu, int row, const struct attention_request *r,
		 const struct attention_limits *l)
{
	*a = (struct attention_cuda){ .request = *r, .simt = is_simt(row) };
	if (a->simt) {
		a->normal = (struct launch){ .n_blocks = (int)gpu->sms * SIMT_BLOCKS, .n_threads = SIMT_THREADS };
		/* It walks over the lengths itself; the limits are checked all the same. */
		a->normal.ranges = (struct attention_ranges){ .max_seqs = l->max_seqs, .max_tokens = l->max_tokens,
							      .max_keys = l->table_width * r->page_size,
							      .max_q_len = r->max_q_len };
		return;
	}
	sm80_geometry(gpu, r->head_dim, &a->normal);
	size_list(&a->normal, r, l, SM80_ROWS);
	if (wide_geometry(gpu, r, &a->wide))
		size_list(&a->wide, r, l, ATTENTION_WIDE_ROWS);
}

static int64_t larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static size_t state_bytes(const struct attention_cuda *a)
{
	return (size_t)larger(a->normal.ranges.max_state_floats, a->wide.ranges.max_state_floats) * sizeof(float);
}

static size_t arrived_bytes(const struct attention_cuda *a)
{
	return (size_t)larger(a->normal.ranges.max_splits, a->wide.ranges.max_splits) * sizeof(int32_t);
}

uint64_t attention_cuda_bytes_for(const struct hw_gpu *gpu, int row, const struct attention_request *r,
				  const struct attention_limits *l)
{
	struct attention_cuda a;
	size(&a, gpu, row, r, l);
	return state_bytes(&a) + arrived_bytes(&a) + a.wide.parked_bytes;
}

/* ---- Creating ---- */

static const char *sm80_name(int d, enum dtype type, bool softcap, bool wide)
{
	/* By head size and type: plain, with a cap, wide. */
	static const char *const names[3][2][3] = {
		{ { "attention_sm80_d64_bf16", "attention_sm80_d64_bf16_softcap", "attention_sm80_d64_bf16_wide" },
		  { "attention_sm80_d64_f16", "attention_sm80_d64_f16_softcap", "attention_sm80_d64_f16_wide" } },
		{ { "attention_sm80_d128_bf16", "attention_sm80_d128_bf16_softcap", "attention_sm80_d128_bf16_wide" },
		  { "attention_sm80_d128_f16", "attention_sm80_d128_f16_softcap", "attention_sm80_d128_f16_wide" } },
		{ { "attention_sm80_d256_bf16", "attention_sm80_d256_bf16_softcap", NULL },
		  { "attention_sm80_d256_f16", "attention_sm80_d256_f16_softcap", NULL } },
	};
	return names[d == 64 ? 0 : d == 128 ? 1 : 2][type == DTYPE_F16][wide ? 2 : softcap];
}

static int find(struct gpu *g, struct attention_cuda *a)
{
	const struct attention_request *r = &a->request;
	if (a->simt)
		return gpu_find_kernel(g, "attention_simt", 0, &a->normal.kernel);
	TRY(gpu_find_kernel(g, sm80_name(a->normal.d, r->kv_type, r->softcap, false), a->normal.shared_memory,
			    &a->normal.kernel));
	if (a->wide.n_blocks)
		TRY(gpu_find_kernel(g, sm80_name(a->wide.d, r->kv_type, false, true), a->wide.shared_memory,
				    &a->wide.kernel));
	return VB_OK;
}

int attention_cuda_create(struct gpu *g, int row, const struct attention_request *r, const struct attention_limits *l,
			  struct attention_cuda **out)
{
	int rc = VB_OK;
	*out = NULL;
	CHECK(row >= 0 && row < attention_cuda_set.n_rows);
	const char *reason = attention_cuda_set.refuse(r, row);
	if (reason)
		FAIL(VB_EUNSUPPORTED, "attention: %s: %s", attention_cuda_set.rows[row].name, reason);
	struct attention_cuda *a = mem_calloc(1, sizeof *a);
	if (!a)
		return VB_ENOMEM;
	size(a, gpu_facts(g), row, r, l);
	TRY_TO(out, find(g, a));
	size_t arrived = arrived_bytes(a);
	TRY_TO(out, gpu_alloc(g, &a->states, state_bytes(a), "partial attention"));
	TRY_TO(out, gpu_alloc(g, &a->arrived, arrived, "attention's counters"));
	TRY_TO(out, gpu_alloc(g, &a->parked, a->wide.parked_bytes, "attention's states"));
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
	gpu_free(g, (*a)->parked);
	mem_free(*a);
	*a = NULL;
}

/* ---- A step ---- */

bool attention_cuda_wide(int64_t n_seqs, const int32_t *q_begin)
{
	for (int64_t i = 0; i < n_seqs; i++)
		if (q_begin[i + 1] - q_begin[i] >= WIDE_TOKENS)
			return true;
	return false;
}

static const struct launch *launch_of(const struct attention_cuda *a, bool wide)
{
	return wide && a->wide.n_blocks ? &a->wide : &a->normal;
}

size_t attention_cuda_plan_bytes(const struct attention_cuda *a)
{
	return (size_t)larger((int64_t)a->normal.ranges.bytes, (int64_t)a->wide.ranges.bytes);
}

int attention_cuda_plan(const struct attention_cuda *a, bool wide, void *host_list, int64_t n_seqs, const int32_t *q_begin,
			const int32_t *kv_len)
{
	if (a->simt)
		return attention_ranges_check(&a->normal.ranges, n_seqs, q_begin, kv_len);
	return attention_ranges_write(&launch_of(a, wide)->ranges, host_list, n_seqs, q_begin, kv_len);
}

void attention_cuda_run(struct gpu *g, const struct attention_cuda *a, bool wide, const void *device_list,
			const struct attention_args *args)
{
	const struct launch *l = launch_of(a, wide);
	float score_scale = (float)(args->scale * LOG2E), score_cap = 0;
	if (args->softcap > 0) {
		score_scale = (float)(2 * LOG2E * args->scale / args->softcap);
		score_cap = (float)(args->softcap * LOG2E);
	}
	struct gpu_grid grid = { .blocks = { (uint32_t)l->n_blocks, 1, 1 }, .threads = (uint32_t)l->n_threads };
	if (a->simt) {
		struct attention_simt_args s = { .a = *args, .score_scale = score_scale, .score_cap = score_cap };
		gpu_launch(g, &l->kernel, &grid, &s);
		return;
	}
	const unsigned char *list = device_list;
	const struct attention_ranges *r = &l->ranges;
	struct attention_sm80_args s = { .a = *args,
					 .score_scale = score_scale,
					 .score_cap = score_cap,
					 .workers = (const void *)(list + r->workers_at),
					 .splits = (const void *)(list + r->splits_at),
					 .blocks = (const void *)(list + r->blocks_at),
					 .line = r->wide ? (const int32_t *)(const void *)(list + r->line_at) + r->max_blocks : NULL,
					 .states = a->states,
					 .parked = a->parked,
					 .arrived = a->arrived,
					 .n_parked = l->n_parked,
					 .n_stages = l->n_stages };
	grid.early = true;
	gpu_launch(g, &l->kernel, &grid, &s);
}
