/* emulate.c - the GPU kernels' results on fake_cuda, by the reference kernels: what a model gives on this "GPU" has the bits of
 * --cpu-isa scalar, and everything that the host does for a GPU (memory, uploads, graphs, running ahead) can be tested on a
 * machine without one.
 *
 * A launch is computed whole, from its arguments; how it is cut into blocks does not matter here.
 */
#include "fake_cuda.h"

#include "kernels/ops/attention_list.h"
#include "kernels/ops/embed.h"
#include "kernels/ops/gather.h"
#include "kernels/ops/glu.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/log_softmax.h"
#include "kernels/ops/rms_norm.h"
#include "kernels/ops/rope_cache.h"
#include "kernels/ops/rope_table.h"
#include "kernels/ops/sample_rows.h"
#include "kernels/ops/softcap.h"
#include "kernels/ops/take_ids.h"

#include <stdlib.h>

static void *room(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);
	if (!p)
		abort();
	return p;
}

/* ---- Operations that the reference does as it stands ---- */

#define EMULATE(op, n)                                     \
	static void op(const void *args)                   \
	{                                                  \
		const struct op##_args *a = args;          \
		op##_ref(a, 0, a->n);                      \
	}
EMULATE(embed, t)
EMULATE(glu, t)
EMULATE(log_softmax, t)
EMULATE(rms_norm, t)
EMULATE(rope_cache, t)
EMULATE(rope_table, t)
EMULATE(softcap, d)

static void linear(const void *args)
{
	const struct linear_args *a = args;
	linear_ref.run(a, 0, a->n);
}

/* ---- Rows and ids ---- */

static void gather(const void *args)
{
	const struct gather_args *a = args;
	for (int64_t r = 0; r < a->t; r++)
		memcpy((char *)a->out + r * a->bytes, (const char *)a->x + a->rows[r] * a->bytes, (size_t)a->bytes);
}

static void take_ids(const void *args)
{
	const struct take_ids_args *a = args;
	for (int64_t i = 0; i < a->t; i++)
		if (a->from[i] >= 0)
			a->ids[i] = a->results[a->from[i]].id < 0 ? 0 : a->results[a->from[i]].id;
}

/* ---- Attention: both families' arguments begin with the operation's ---- */

_Static_assert(offsetof(struct attention_simt_args, a) == 0 && offsetof(struct attention_sm80_args, a) == 0, "the first");

static void attention(const void *args)
{
	const struct attention_args *a = args;
	float *scratch = room((size_t)attention_scratch_bytes(1, a->head_dim, a->v_head_dim), 1);
	for (int32_t s = 0; s < a->n_seqs; s++) {
		struct attention_item it = { .seq = s, .token_end = a->q_begin[s + 1] - a->q_begin[s],
					     .kv_head_end = (int32_t)a->n_kv_heads };
		it.piece_end = a->kv_len[s] > 0 ? (int32_t)attention_piece_of(a->kv_len[s] - 1) + 1 : 0;
		attention_ref(a, &it, scratch);
	}
	free(scratch);
}

/* ---- Sampling ---- */

static void sample_row(const struct sample_rows_args *a, const struct sample_row *row, struct sample_result *out)
{
	const float *logits = a->logits + row->logits_row * a->n_vocab;
	size_t n = (size_t)a->n_vocab;
	*out = (struct sample_result){ .id = -1 };
	if (row->want_logprob)
		log_softmax_ref(&(struct log_softmax_args){ .x = logits, .max = &out->max, .log_sum = &out->log_sum, .t = 1,
							    .d = a->n_vocab, .x_stride = a->n_vocab }, 0, 1);
	if (row->no_choice)
		return;
	uint8_t *in_prompt = room(n, 1);
	int32_t *count = room(n, sizeof *count);
	float *work = room(n, sizeof *work);
	for (int32_t i = 0; row->tokens_at >= 0 && i < row->n_known; i++) {
		int32_t id = a->tokens[row->tokens_at + i];
		if (i < row->n_prompt)
			in_prompt[id] = 1;
		else
			count[id]++;
	}
	const struct sample_args s = {
		.logits = logits, .n_vocab = a->n_vocab, .params = &row->params, .position = row->position,
		.in_prompt = row->tokens_at >= 0 ? in_prompt : NULL, .count = row->tokens_at >= 0 ? count : NULL,
		.banned = a->banned + row->ban_begin, .n_banned = row->ban_end - row->ban_begin, .work = work,
	};
	out->id = sample_ref(&s);
	if (row->want_logprob && out->id >= 0)
		out->logprob = (logits[out->id] - out->max) - out->log_sum;
	free(in_prompt);
	free(count);
	free(work);
}

static void sample(const void *args)
{
	const struct sample_rows_args *a = args;
	for (int32_t i = 0; i < a->n_rows; i++)
		if (a->rows[i].logits_row >= 0)
			sample_row(a, &a->rows[i], &a->out[i]);
}

/* Gives every kernel of the program something to do, before main. */
__attribute__((constructor)) static void emulate(void)
{
	fake_cuda_kernel("attention_sm80_*", sizeof(struct attention_sm80_args), attention);
	fake_cuda_kernel("attention_simt", sizeof(struct attention_simt_args), attention);
	fake_cuda_kernel("embed_cuda", sizeof(struct embed_args), embed);
	fake_cuda_kernel("gather_cuda", sizeof(struct gather_args), gather);
	fake_cuda_kernel("glu_cuda", sizeof(struct glu_args), glu);
	fake_cuda_kernel("linear_*", sizeof(struct linear_args), linear);
	fake_cuda_kernel("log_softmax_cuda", sizeof(struct log_softmax_args), log_softmax);
	fake_cuda_kernel("rms_norm_cuda_*", sizeof(struct rms_norm_args), rms_norm);
	fake_cuda_kernel("rope_cache_cuda", sizeof(struct rope_cache_args), rope_cache);
	fake_cuda_kernel("rope_table_cuda", sizeof(struct rope_table_args), rope_table);
	/* Three launches with the same arguments: the first one does it all. */
	fake_cuda_kernel("sample_cuda_scan", sizeof(struct sample_rows_args), sample);
	fake_cuda_kernel("sample_cuda_list", 0, NULL);
	fake_cuda_kernel("sample_cuda_whole", 0, NULL);
	/* Only its time counts. */
	fake_cuda_kernel("limits_cuda_*", 0, NULL);
	fake_cuda_kernel("softcap_cuda", sizeof(struct softcap_args), softcap);
	fake_cuda_kernel("take_ids_cuda", sizeof(struct take_ids_args), take_ids);
	/* A kernel that is not in this list is not found: it would do nothing. */
	fake_cuda()->only_known = true;
}
