/* cmd_bench_attention.c - the attention runtime alone, on sequences of one length. */
#include "output.h"
#include "program.h"

#include "base/clock.h"
#include "base/dtype.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"
#include "verbatim/attention.h"

#include <stdlib.h>
#include <string.h>

/* Caches that one repeat goes over in turn hold this much, as a model's layers do: more than the CPU's caches. */
#define WORKING_SET 0x1p29

/* What is measured, what it costs, and the memory that it works on. */
struct attention_bench {
	struct vb_attention *attention;
	int64_t batch, q_len, kv_len, page_size, pages_each, n_pages, n_layers;
	size_t k_bytes, v_bytes, q_bytes, out_bytes; /* k and v: of one layer */
	double bytes, flops;                         /* of one run */
	char *k, *v, *q, *out;                       /* k and v: n_layers of them */
	int32_t *page_table, *q_begin, *kv_lens;
	int64_t next; /* layer */
};

static int fill_request(const struct settings *s, enum dtype *type, struct vb_attention_request *r)
{
	static const struct {
		const char *name;
		enum vb_type type;
		enum dtype dtype;
	} types[] = { { "auto", VB_TYPE_BF16, DTYPE_BF16 }, { "bf16", VB_TYPE_BF16, DTYPE_BF16 },
		      { "f16", VB_TYPE_F16, DTYPE_F16 }, { "f32", VB_TYPE_F32, DTYPE_F32 } };
	vb_attention_request_default(r);
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (strcmp(s->engine.dtype, types[i].name) == 0) {
			r->q_type = r->kv_type = r->out_type = types[i].type;
			*type = types[i].dtype;
		}
	r->n_heads = s->attention.heads;
	r->n_kv_heads = s->attention.kv_heads;
	r->head_dim = s->attention.head_dim;
	r->v_head_dim = s->attention.v_head_dim ? s->attention.v_head_dim : s->attention.head_dim;
	r->window = s->attention.window;
	if (s->engine.page_size)
		r->page_size = s->engine.page_size;
	r->max_q_len = s->attention.q_len;
	r->kernel = strcmp(s->engine.attention, "auto") == 0 ? NULL : s->engine.attention;
	if (s->attention.q_len > s->attention.kv_len)
		FAIL(VB_EINVAL, "more queries than keys: --q-len %lld, --kv-len %lld: the queries are the last keys' tokens",
		     (long long)s->attention.q_len, (long long)s->attention.kv_len);
	return VB_OK;
}

/* Work of one run: every key in sight of a query is read once, every visible pair is multiplied twice. */
static void count(struct attention_bench *b, const struct vb_attention_request *r, size_t element)
{
	double pairs = 0, first = 0;
	for (int64_t i = 0; i < b->q_len; i++) {
		double sees = (double)(b->kv_len - b->q_len + i + 1);
		if (r->window && sees > (double)r->window)
			sees = (double)r->window;
		if (i == 0)
			first = sees;
		pairs += sees;
	}
	double keys = first + (double)(b->q_len - 1), width = (double)(r->head_dim + r->v_head_dim);
	double each = keys * (double)r->n_kv_heads * width + (double)b->q_len * (double)r->n_heads * width;
	b->bytes = (double)b->batch * each * (double)element;
	b->flops = 2 * (double)b->batch * pairs * (double)r->n_heads * width;
}

/* What the machine has, in bytes, from its own facts. */
static double available_memory(void)
{
	char *text = NULL;
	if (vb_explain(NULL, NULL, NULL, &text) != VB_OK)
		return 0;
	json_t *o = take_json(text, "vb_explain");
	double bytes = json_number_value(json_object_get(json_object_get(json_object_get(o, "facts"), "cpu"), "memory"));
	json_decref(o);
	return bytes;
}

static int size_bench(struct attention_bench *b, const struct vb_attention_request *r, size_t element)
{
	b->pages_each = (b->kv_len + r->page_size - 1) / r->page_size;
	b->page_size = r->page_size;
	double tokens = (double)b->batch * (double)b->pages_each * (double)r->page_size;
	double layer = tokens * (double)r->n_kv_heads * (double)(r->head_dim + r->v_head_dim) * (double)element;
	double queries = (double)b->batch * (double)b->q_len * (double)r->n_heads *
			 (double)(r->head_dim + r->v_head_dim) * (double)element;
	double room = available_memory() * 0.8;
	if (layer + queries > room || tokens > INT32_MAX)
		FAIL(VB_ELIMIT, "not enough memory: bench attention needs %.1f MiB, %.1f are there: choose a smaller "
				"--batch or --kv-len", (layer + queries) / 0x1p20, room / 0x1p20);
	double layers = (WORKING_SET < room / 2 ? WORKING_SET : room / 2) / layer;
	b->n_layers = layers < 1 ? 1 : layers > 256 ? 256 : (int64_t)layers;
	b->n_pages = b->batch * b->pages_each;
	size_t per_dim = (size_t)(b->n_pages * r->page_size * r->n_kv_heads) * element;
	b->k_bytes = per_dim * (size_t)r->head_dim;
	b->v_bytes = per_dim * (size_t)r->v_head_dim;
	b->q_bytes = (size_t)(b->batch * b->q_len * r->n_heads * r->head_dim) * element;
	b->out_bytes = (size_t)(b->batch * b->q_len * r->n_heads * r->v_head_dim) * element;
	return VB_OK;
}

/* Numbers around zero, the same on every run; the first layer's are copied to the others. */
static void fill(enum dtype type, char *data, size_t bytes, int64_t n_copies)
{
	size_t n = bytes / dtype_bytes(type);
	for (size_t i = 0; i < n; i++)
		dtype_store(type, data, i, (float)((int)(i % 251) - 125) / 64.0f);
	for (int64_t i = 1; i < n_copies; i++)
		memcpy(data + (size_t)i * bytes, data, bytes);
}

/* Pages of each sequence lie anywhere, as they do after a while. */
static void shuffle_pages(struct attention_bench *b)
{
	for (int64_t i = 0; i < b->n_pages; i++)
		b->page_table[i] = (int32_t)i;
	for (int64_t i = b->n_pages - 1; i > 0; i--) {
		int64_t j = (int64_t)(rng_u32(1, RNG_TEST, 0, (uint32_t)i) % (uint64_t)(i + 1));
		int32_t page = b->page_table[i];
		b->page_table[i] = b->page_table[j];
		b->page_table[j] = page;
	}
}

static int take_memory(struct attention_bench *b, enum dtype type)
{
	b->k = mem_pages(b->k_bytes * (size_t)b->n_layers);
	b->v = mem_pages(b->v_bytes * (size_t)b->n_layers);
	b->q = mem_pages(b->q_bytes);
	b->out = mem_pages(b->out_bytes);
	b->page_table = mem_calloc((size_t)b->n_pages, sizeof *b->page_table);
	b->q_begin = mem_calloc((size_t)b->batch + 1, sizeof *b->q_begin);
	b->kv_lens = mem_calloc((size_t)b->batch, sizeof *b->kv_lens);
	if (!b->k || !b->v || !b->q || !b->out || !b->page_table || !b->q_begin || !b->kv_lens)
		return VB_ENOMEM;
	fill(type, b->k, b->k_bytes, b->n_layers);
	fill(type, b->v, b->v_bytes, b->n_layers);
	fill(type, b->q, b->q_bytes, 1);
	shuffle_pages(b);
	for (int64_t i = 0; i < b->batch; i++) {
		b->q_begin[i + 1] = (int32_t)((i + 1) * b->q_len);
		b->kv_lens[i] = (int32_t)b->kv_len;
	}
	return VB_OK;
}

static void release(struct attention_bench *b)
{
	vb_attention_destroy(&b->attention);
	mem_free_pages(b->k, b->k_bytes * (size_t)b->n_layers);
	mem_free_pages(b->v, b->v_bytes * (size_t)b->n_layers);
	mem_free_pages(b->q, b->q_bytes);
	mem_free_pages(b->out, b->out_bytes);
	mem_free(b->page_table);
	mem_free(b->q_begin);
	mem_free(b->kv_lens);
}

static int run_next(struct attention_bench *b)
{
	size_t layer = (size_t)b->next;
	b->next = (b->next + 1) % b->n_layers;
	const struct vb_attention_io io = {
		.size = sizeof io, .q = b->q, .out = b->out,
		.cache = { b->k + layer * b->k_bytes, b->v + layer * b->v_bytes, b->n_pages, b->page_table, b->pages_each },
	};
	return vb_attention_run(b->attention, &io);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* Median seconds of one run; a repeat takes at least a millisecond. */
static int time_runs(struct attention_bench *b, int64_t repeat, double *median)
{
	double *seconds = mem_calloc((size_t)repeat, sizeof *seconds);
	if (!seconds)
		return VB_ENOMEM;
	int rc;
	double start = clock_s();
	TRY_TO(out, run_next(b));
	TRY_TO(out, run_next(b));
	double estimate = (clock_s() - start) / 2;
	int64_t runs = 1 + (int64_t)(1e-3 / (estimate > 1e-8 ? estimate : 1e-8));
	for (int64_t i = 0; i < repeat; i++) {
		start = clock_s();
		for (int64_t k = 0; k < runs; k++)
			TRY_TO(out, run_next(b));
		seconds[i] = (clock_s() - start) / (double)runs;
	}
	qsort(seconds, (size_t)repeat, sizeof *seconds, by_value);
	*median = (seconds[(repeat - 1) / 2] + seconds[repeat / 2]) / 2;
out:
	mem_free(seconds);
	return rc;
}

/* The roofline's time for this work over the time it took. */
static json_t *answer_json(const struct settings *s, const struct attention_bench *b, double took)
{
	char *text = NULL;
	if (vb_bench_limits(&s->engine, &text) != VB_OK)
		return NULL;
	json_t *limits = take_json(text, "vb_bench_limits");
	const char *type = strcmp(s->engine.dtype, "auto") == 0 ? "bf16" : s->engine.dtype;
	double read_s = b->bytes / (1e12 * json_number_value(json_object_get(limits, "memory_read_tb_s")));
	double rate = json_number_value(json_object_get(json_object_get(limits, "matrix_tflop_s"), type));
	double multiply_s = b->flops / (1e12 * rate);
	json_decref(limits);
	return json_pack("{s:s, s:s, s:s, s:f, s:I, s:I, s:f, s:f, s:f, s:s}", "backend",
			 vb_attention_kernel(b->attention), "device", "cpu", "dtype", type, "time_us", took * 1e6, "bytes",
			 (json_int_t)b->bytes, "flops", (json_int_t)b->flops, "tb_s", b->bytes / took / 1e12, "tflop_s",
			 b->flops / took / 1e12, "limit_fraction", (read_s > multiply_s ? read_s : multiply_s) / took,
			 "limit", read_s > multiply_s ? "memory" : "matrix");
}

static int bench(const struct settings *s, struct attention_bench *b, json_t **answer)
{
	struct vb_attention_request r;
	struct vb_attention_limits limits;
	enum dtype type = DTYPE_BF16;
	double took = 0;
	TRY(fill_request(s, &type, &r));
	TRY(size_bench(b, &r, dtype_bytes(type)));
	count(b, &r, dtype_bytes(type));
	vb_attention_limits_default(&limits);
	limits.max_seqs = b->batch;
	limits.max_tokens = b->batch * b->q_len;
	limits.table_width = b->pages_each;
	limits.threads = s->engine.threads;
	TRY(vb_attention_create(&b->attention, NULL, &r, &limits));
	TRY(take_memory(b, type));
	TRY(vb_attention_update(b->attention, b->batch, b->q_begin, b->kv_lens));
	TRY(time_runs(b, s->repeat, &took));
	*answer = answer_json(s, b, took);
	return *answer ? VB_OK : VB_ENOMEM;
}

/* On a GPU the library measures by itself: its memory is no business of this program's. */
static int bench_gpu(const struct settings *s, json_t **answer)
{
	const struct vb_bench_attention_spec spec = {
		.size = sizeof spec, .batch = s->attention.batch, .q_len = s->attention.q_len, .kv_len = s->attention.kv_len,
		.n_heads = s->attention.heads, .n_kv_heads = s->attention.kv_heads, .head_dim = s->attention.head_dim,
		.v_head_dim = s->attention.v_head_dim ? s->attention.v_head_dim : s->attention.head_dim,
		.window = s->attention.window, .page_size = s->engine.page_size ? s->engine.page_size : 64,
		.dtype = strcmp(s->engine.dtype, "auto") == 0 ? "bf16" : s->engine.dtype,
		.kernel = strcmp(s->engine.attention, "auto") == 0 ? NULL : s->engine.attention, .repeat = (int)s->repeat,
	};
	char *text = NULL;
	TRY(vb_bench_attention(&s->engine, &spec, &text));
	*answer = take_json(text, "vb_bench_attention");
	return *answer ? VB_OK : VB_ENOMEM;
}

/* Whether the options mean a GPU, as the library understands them. */
static int on_gpu(const struct settings *s, bool *gpu)
{
	char *text = NULL;
	TRY(vb_explain(NULL, &s->engine, NULL, &text));
	json_t *o = take_json(text, "vb_explain");
	*gpu = o && strcmp(json_string_value(json_object_get(o, "device")), "cpu") != 0;
	json_decref(o);
	return VB_OK;
}

int cmd_bench_attention(struct settings *s)
{
	bool gpu;
	json_t *measured = NULL;
	int failed = on_gpu(s, &gpu);
	if (failed == VB_OK && gpu)
		failed = bench_gpu(s, &measured);
	if (failed != VB_OK)
		return exit_for(failed);
	if (gpu)
		return show_kernel(s, measured);
	struct attention_bench b = { .batch = s->attention.batch, .q_len = s->attention.q_len, .kv_len = s->attention.kv_len };
	json_t *answer = NULL;
	int rc = bench(s, &b, &answer);
	release(&b);
	return rc == VB_OK ? show_kernel(s, answer) : exit_for(rc);
}
