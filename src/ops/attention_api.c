/* attention_api.c - the public attention runtime: checks what callers give, then the plan does the work. */
#include "verbatim/attention.h"

#include "base/isa.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/threads.h"
#include "hw/hw.h"
#include "ops/attention_plan.h"
#include "ops/kernels.h"

#include <math.h>
#include <string.h>

_Static_assert((int)VB_TYPE_F32 == DTYPE_F32 && (int)VB_TYPE_BF16 == DTYPE_BF16 && (int)VB_TYPE_F16 == DTYPE_F16,
	       "the public types are the first of the internal ones");
_Static_assert((int)VB_ISA_AVX2 == ISA_AVX2 && (int)VB_ISA_AVX512 == ISA_AVX512 &&
		       (int)VB_ISA_AVX512_BF16 == ISA_AVX512_BF16 && (int)VB_ISA_AVX512_VNNI == ISA_AVX512_VNNI &&
		       (int)VB_ISA_AMX_BF16 == ISA_AMX_BF16 && (int)VB_ISA_AMX_INT8 == ISA_AMX_INT8,
	       "the public instruction sets are the internal ones");
_Static_assert(sizeof(((struct vb_attention_choice *)0)->refused) / sizeof(struct vb_attention_refusal) ==
		       PICK_MAX_ROWS,
	       "every row can be refused");

struct vb_attention {
	struct attention_request request;
	float scale, softcap;
	int64_t table_width;
	const char *kernel;
	struct attention_plan *plan;
	struct team *team;
	bool planned;
};

static int check_size(const void *p, size_t size, size_t known, const char *name)
{
	if (!p)
		FAIL(VB_EINVAL, "attention: NULL for struct %s", name);
	if (size != known)
		FAIL(VB_EINVAL, "attention: struct %s has size %zu: this library knows %zu: set `size`, and use its own "
		     "header", name, size, known);
	return VB_OK;
}

/* ---- Facts, request, choice ---- */

int vb_attention_facts_probe(struct vb_attention_facts *out)
{
	if (!out)
		FAIL(VB_EINVAL, "attention: NULL for struct vb_attention_facts");
	memset(out, 0, sizeof *out);
	struct hw_facts facts;
	TRY(hw_facts_probe(&facts));
	_Static_assert(sizeof out->cpu == sizeof facts.cpu_name, "the name fits");
	memcpy(out->cpu, facts.cpu_name, sizeof out->cpu);
	out->size = sizeof *out;
	out->isa = facts.isa;
	out->threads = facts.n_threads;
	return VB_OK;
}

void vb_attention_request_default(struct vb_attention_request *request)
{
	*request = (struct vb_attention_request){ .size = sizeof *request,
						  .n_heads = 1,
						  .n_kv_heads = 1,
						  .head_dim = 64,
						  .v_head_dim = 64,
						  .page_size = 64,
						  .max_q_len = 512 };
}

void vb_attention_limits_default(struct vb_attention_limits *limits)
{
	*limits = (struct vb_attention_limits){
		.size = sizeof *limits, .max_seqs = 1, .max_tokens = 512, .table_width = 64
	};
}

static int convert_request(const struct vb_attention_request *in, struct attention_request *out)
{
	TRY(check_size(in, in ? in->size : 0, sizeof *in, "vb_attention_request"));
	if (in->q_type < VB_TYPE_F32 || in->q_type > VB_TYPE_F16 || in->kv_type < VB_TYPE_F32 ||
	    in->kv_type > VB_TYPE_F16 || in->out_type < VB_TYPE_F32 || in->out_type > VB_TYPE_F16)
		FAIL(VB_EINVAL, "attention: a type is none of VB_TYPE_*");
	if (!isfinite(in->scale) || !isfinite(in->softcap) || in->softcap < 0)
		FAIL(VB_EINVAL, "attention: scale %g, softcap %g: scale must be finite, softcap finite and not negative",
		     (double)in->scale, (double)in->softcap);
	*out = (struct attention_request){ .n_heads = in->n_heads,
					   .n_kv_heads = in->n_kv_heads,
					   .head_dim = in->head_dim,
					   .v_head_dim = in->v_head_dim,
					   .q_type = (enum dtype)in->q_type,
					   .kv_type = (enum dtype)in->kv_type,
					   .out_type = (enum dtype)in->out_type,
					   .page_size = in->page_size,
					   .window = in->window,
					   .max_q_len = in->max_q_len,
					   .softcap = in->softcap > 0,
					   .sink = in->sinks };
	const char *error = attention_request_error(out);
	if (error)
		FAIL(VB_EINVAL, "attention: %s", error);
	return VB_OK;
}

static int pick(const struct vb_attention_facts *facts, const struct attention_request *r, const char *forced,
		struct pick *out)
{
	TRY(check_size(facts, facts ? facts->size : 0, sizeof *facts, "vb_attention_facts"));
	return attention_pick((uint32_t)facts->isa, r, forced, out);
}

int vb_attention_pick(const struct vb_attention_facts *facts, const struct vb_attention_request *request,
		      struct vb_attention_choice *out)
{
	if (!out)
		FAIL(VB_EINVAL, "attention: NULL for struct vb_attention_choice");
	memset(out, 0, sizeof *out);
	struct attention_request r;
	struct pick p = { .row = -1 };
	TRY(convert_request(request, &r));
	int rc = pick(facts, &r, request->kernel, &p);
	out->kernel = p.kernel;
	out->n_refused = p.n_refused;
	for (int i = 0; i < p.n_refused; i++)
		out->refused[i] = (struct vb_attention_refusal){ p.refused[i].kernel, p.refused[i].reason };
	return rc;
}

/* ---- The handle ---- */

int vb_attention_create(struct vb_attention **out, const struct vb_attention_facts *facts,
			const struct vb_attention_request *request, const struct vb_attention_limits *limits)
{
	struct vb_attention_facts probed;
	struct attention_request r;
	struct pick p;
	if (!out)
		FAIL(VB_EINVAL, "attention: NULL for the handle");
	*out = NULL;
	TRY(convert_request(request, &r));
	TRY(check_size(limits, limits ? limits->size : 0, sizeof *limits, "vb_attention_limits"));
	if (!facts) {
		TRY(vb_attention_facts_probe(&probed));
		facts = &probed;
	}
	TRY(pick(facts, &r, request->kernel, &p));

	struct vb_attention *a = mem_calloc(1, sizeof *a);
	if (!a)
		return VB_ENOMEM;
	int rc = VB_OK;
	struct attention_limits l = { limits->max_seqs, limits->max_tokens, limits->table_width,
				      limits->threads ? limits->threads : facts->threads };
	a->request = r;
	a->scale = request->scale != 0 ? request->scale : (float)(1 / sqrt((double)r.head_dim));
	a->softcap = request->softcap;
	a->table_width = l.table_width;
	a->kernel = p.kernel;
	TRY_TO(out, attention_plan_create(&a->plan, &r, p.row, &l));
	TRY_TO(out, team_create(&a->team, l.n_workers));
out:
	if (rc != VB_OK)
		vb_attention_destroy(&a);
	*out = a;
	return rc;
}

void vb_attention_destroy(struct vb_attention **attention)
{
	if (!attention || !*attention)
		return;
	team_destroy(&(*attention)->team);
	attention_plan_destroy(&(*attention)->plan);
	mem_free(*attention);
	*attention = NULL;
}

const char *vb_attention_kernel(const struct vb_attention *attention)
{
	return attention ? attention->kernel : "";
}

uint64_t vb_attention_bytes(const struct vb_attention *attention)
{
	return attention ? sizeof *attention + (uint64_t)attention_plan_bytes(attention->plan) : 0;
}

/* ---- Steps ---- */

int vb_attention_update(struct vb_attention *attention, int64_t n_seqs, const int32_t *q_begin, const int32_t *kv_len)
{
	if (!attention)
		FAIL(VB_EINVAL, "attention: NULL for the handle");
	attention->planned = false;
	if (n_seqs && (!q_begin || !kv_len))
		FAIL(VB_EINVAL, "attention: NULL for q_begin or kv_len");
	TRY(attention_plan_update(attention->plan, n_seqs, q_begin, kv_len));
	attention->planned = true;
	return VB_OK;
}

/* Entries begin..end of a sequence's row of the page table are pages of the cache. */
static int check_pages(const struct vb_attention_cache *c, int64_t seq, int64_t begin, int64_t end)
{
	if (begin < end && end > c->table_stride)
		FAIL(VB_EINVAL, "attention: table_stride is %lld: sequence %lld needs %lld pages",
		     (long long)c->table_stride, (long long)seq, (long long)end);
	for (int64_t i = begin; i < end; i++) {
		int32_t page = c->page_table[seq * c->table_stride + i];
		if (page < 0 || page >= c->n_pages)
			FAIL(VB_EINVAL, "attention: entry %lld of sequence %lld in the page table is %d: the cache has "
			     "pages 0 to %lld", (long long)i, (long long)seq, page, (long long)c->n_pages - 1);
	}
	return VB_OK;
}

/* All pages that a step looks at: those of keys that queries see or, where `new_only`, of the step's own keys. */
static int check_cache(const struct vb_attention *a, const struct vb_attention_cache *c, bool new_only)
{
	struct attention_step step;
	attention_plan_step(a->plan, &step);
	if (!c->k || !c->v || (step.n_seqs && !c->page_table))
		FAIL(VB_EINVAL, "attention: NULL in struct vb_attention_cache");
	if (c->n_pages < 0 || c->table_stride < 0)
		FAIL(VB_EINVAL, "attention: a negative size in struct vb_attention_cache");
	for (int64_t s = 0; s < step.n_seqs; s++) {
		int64_t kv_len = step.kv_len[s], q_len = step.q_begin[s + 1] - step.q_begin[s];
		int64_t begin = kv_len > q_len ? kv_len - q_len : 0, end;
		if (!new_only)
			attention_visible(kv_len - q_len, a->request.window, &begin, &end);
		if (q_len && begin < kv_len)
			TRY(check_pages(c, s, begin / a->request.page_size, (kv_len - 1) / a->request.page_size + 1));
	}
	return VB_OK;
}

/* A token stride of at least `dense`; 0 stands for it. */
static int get_stride(int64_t given, int64_t dense, const char *name, int64_t *out)
{
	*out = given ? given : dense;
	if (*out < dense)
		FAIL(VB_EINVAL, "attention: %s is %lld: a token has %lld elements", name, (long long)given,
		     (long long)dense);
	return VB_OK;
}

/* Copies one token's heads of `d` values, dense at `from`, to token `in_page` of its page. */
static void write_token(const struct vb_attention *a, unsigned char *cache, int64_t d, int64_t page, int64_t in_page,
			const unsigned char *from)
{
	size_t bytes = (size_t)d * dtype_bytes(a->request.kv_type);
	for (int64_t h = 0; h < a->request.n_kv_heads; h++) {
		int64_t row = (page * a->request.n_kv_heads + h) * a->request.page_size + in_page;
		memcpy(cache + (size_t)row * bytes, from + (size_t)h * bytes, bytes);
	}
}

int vb_attention_write(struct vb_attention *attention, const struct vb_attention_new_keys *keys)
{
	int64_t k_stride, v_stride;
	struct attention_step step;
	if (!attention)
		FAIL(VB_EINVAL, "attention: NULL for the handle");
	TRY(check_size(keys, keys ? keys->size : 0, sizeof *keys, "vb_attention_new_keys"));
	if (!attention->planned)
		FAIL(VB_ESTATE, "attention: a write without a step: call vb_attention_update first");
	const struct attention_request *r = &attention->request;
	if (!keys->k || !keys->v)
		FAIL(VB_EINVAL, "attention: NULL for the new keys or values");
	TRY(get_stride(keys->k_stride, r->n_kv_heads * r->head_dim, "k_stride", &k_stride));
	TRY(get_stride(keys->v_stride, r->n_kv_heads * r->v_head_dim, "v_stride", &v_stride));
	TRY(check_cache(attention, &keys->cache, true));

	attention_plan_step(attention->plan, &step);
	size_t bytes = dtype_bytes(r->kv_type);
	for (int64_t s = 0; s < step.n_seqs; s++) {
		for (int64_t t = step.q_begin[s]; t < step.q_begin[s + 1]; t++) {
			int64_t position = step.kv_len[s] - step.q_begin[s + 1] + t;
			if (position < 0)
				continue;
			int64_t page = keys->cache.page_table[s * keys->cache.table_stride + position / r->page_size];
			int64_t in_page = position % r->page_size;
			write_token(attention, keys->cache.k, r->head_dim, page, in_page,
				    (const unsigned char *)keys->k + (size_t)(t * k_stride) * bytes);
			write_token(attention, keys->cache.v, r->v_head_dim, page, in_page,
				    (const unsigned char *)keys->v + (size_t)(t * v_stride) * bytes);
		}
	}
	return VB_OK;
}

int vb_attention_run(struct vb_attention *attention, const struct vb_attention_io *io)
{
	if (!attention)
		FAIL(VB_EINVAL, "attention: NULL for the handle");
	TRY(check_size(io, io ? io->size : 0, sizeof *io, "vb_attention_io"));
	if (!attention->planned)
		FAIL(VB_ESTATE, "attention: a run without a step: call vb_attention_update first");
	const struct attention_request *r = &attention->request;
	if (!io->q || !io->out)
		FAIL(VB_EINVAL, "attention: NULL for q or out");
	if (r->sink != (io->sinks != NULL))
		FAIL(VB_EINVAL, "attention: %s", r->sink ? "NULL for the sinks that were requested" :
							     "sinks that were not requested");
	struct attention_args args = { .q = io->q,
				       .k_cache = io->cache.k,
				       .v_cache = io->cache.v,
				       .page_table = io->cache.page_table,
				       .sinks = io->sinks,
				       .out = io->out,
				       .lse = io->lse,
				       .table_stride = io->cache.table_stride,
				       .n_heads = r->n_heads,
				       .n_kv_heads = r->n_kv_heads,
				       .head_dim = r->head_dim,
				       .v_head_dim = r->v_head_dim,
				       .page_size = r->page_size,
				       .window = r->window,
				       .scale = attention->scale,
				       .softcap = attention->softcap,
				       .q_type = r->q_type,
				       .kv_type = r->kv_type,
				       .out_type = r->out_type };
	TRY(get_stride(io->q_stride, r->n_heads * r->head_dim, "q_stride", &args.q_stride));
	TRY(get_stride(io->out_stride, r->n_heads * r->v_head_dim, "out_stride", &args.out_stride));
	TRY(check_cache(attention, &io->cache, false));
	attention_plan_run(attention->plan, attention->team, &args);
	return VB_OK;
}
