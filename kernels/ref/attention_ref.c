/* attention_ref.c - attention in scalar C: the definition of right. One row after another, key by key. */
#include "kernels/ops/attention.h"

#include <math.h>
#include <string.h>

const char *attention_ref_refuse(const struct attention_request *r)
{
	const char *types = attention_refuse_types(r);
	if (types)
		return types;
	if (r->head_dim > ATTENTION_MAX_HEAD_DIM || r->v_head_dim > ATTENTION_MAX_HEAD_DIM)
		return "head sizes are limited to 512";
	return NULL;
}

/* Folds the state t, of later keys, into s. */
static void merge_state(float *s, const float *t, int64_t dv)
{
	if (t[0] == -INFINITY)
		return;
	if (s[0] == -INFINITY) {
		memcpy(s, t, (size_t)(ATTENTION_STATE_O + dv) * sizeof *s);
		return;
	}
	float m = fmaxf(s[0], t[0]);
	float a = expf(s[0] - m), b = expf(t[0] - m);
	s[0] = m;
	s[1] = s[1] * a + t[1] * b;
	for (int64_t i = 0; i < dv; i++)
		s[ATTENTION_STATE_O + i] = s[ATTENTION_STATE_O + i] * a + t[ATTENTION_STATE_O + i] * b;
}

static void write_row(const struct attention_args *a, int64_t token, int64_t head, const float *s)
{
	float m = s[0], l = s[1], rescale = 1;
	int64_t first = token * a->out_stride + head * a->v_head_dim;
	if (a->sinks) {
		float sink = a->sinks[head];
		m = fmaxf(s[0], sink);
		rescale = expf(s[0] - m);
		l = s[1] * rescale + expf(sink - m);
	}
	bool any = s[0] != -INFINITY;
	for (int64_t i = 0; i < a->v_head_dim; i++)
		dtype_store(a->out_type, a->out, (size_t)(first + i),
			    any ? s[ATTENTION_STATE_O + i] * rescale / l : 0);
	if (a->lse)
		a->lse[token * a->n_heads + head] = m == -INFINITY ? m : m + logf(l);
}

struct row {
	const struct attention_args *a;
	int64_t q_first; /* element of q at which the row begins */
	int64_t kv_head;
	const int32_t *pages;
};

static int64_t key_index(const struct row *r, int64_t j)
{
	const struct attention_args *a = r->a;
	return (r->pages[j / a->page_size] * a->n_kv_heads + r->kv_head) * a->page_size + j % a->page_size;
}

static float score(const struct row *r, int64_t j)
{
	const struct attention_args *a = r->a;
	int64_t k_first = key_index(r, j) * a->head_dim;
	float dot = 0;
	for (int64_t d = 0; d < a->head_dim; d++)
		dot += dtype_load(a->q_type, a->q, (size_t)(r->q_first + d)) *
		       dtype_load(a->kv_type, a->k_cache, (size_t)(k_first + d));
	if (a->kv_type == DTYPE_I8)
		dot *= a->k_scale[key_index(r, j)];
	float s = dot * a->scale;
	return a->softcap > 0 ? a->softcap * tanhf(s / a->softcap) : s;
}

/* Adds the keys begin..end, all of one tile, to the state. */
static void add_tile(const struct row *r, int64_t begin, int64_t end, float *s)
{
	const struct attention_args *a = r->a;
	float p[ATTENTION_TILE], m = s[0], sum = 0;
	for (int64_t j = begin; j < end; j++) {
		p[j - begin] = score(r, j);
		m = p[j - begin] > m || isnan(p[j - begin]) ? p[j - begin] : m;
	}
	if (m == -INFINITY)
		return;
	float rescale = expf(s[0] - m);
	for (int64_t i = 0; i < a->v_head_dim; i++)
		s[ATTENTION_STATE_O + i] *= rescale;
	for (int64_t j = begin; j < end; j++) {
		float e = expf(p[j - begin] - m);
		int64_t v_first = key_index(r, j) * a->v_head_dim;
		sum += e;
		if (a->kv_type == DTYPE_I8)
			e *= a->v_scale[key_index(r, j)];
		for (int64_t i = 0; i < a->v_head_dim; i++)
			s[ATTENTION_STATE_O + i] +=
				e * dtype_load(a->kv_type, a->v_cache, (size_t)(v_first + i));
	}
	s[0] = m;
	s[1] = s[1] * rescale + sum;
}

static void piece_state(const struct row *r, int64_t piece, int64_t begin, int64_t end, float *s)
{
	int64_t first = attention_piece_begin(piece), last = attention_piece_begin(piece + 1);
	memset(s, 0, (size_t)attention_state_floats(r->a->v_head_dim) * sizeof *s);
	s[0] = -INFINITY;
	for (int64_t t = first; t < last; t += ATTENTION_TILE) {
		int64_t lo = begin > t ? begin : t;
		int64_t hi = end < t + ATTENTION_TILE ? end : t + ATTENTION_TILE;
		if (lo < hi)
			add_tile(r, lo, hi, s);
	}
}

/* The head of row r, and its token in the sequence's query tokens. */
static int64_t row_place(const struct attention_item *it, int64_t g, int64_t r, int64_t *token)
{
	int64_t of_head = (it->token_end - it->token_begin) * g;
	*token = it->token_begin + r % of_head / g;
	return (it->kv_head_begin + r / of_head) * g + r % g;
}

void attention_ref(const struct attention_args *a, const struct attention_item *it, void *scratch)
{
	int64_t g = a->n_heads / a->n_kv_heads, n_rows = attention_item_rows(it, g);
	int64_t q_len = a->q_begin[it->seq + 1] - a->q_begin[it->seq];
	int64_t n = attention_state_floats(a->v_head_dim);
	float *total = scratch, *piece = total + n;
	for (int64_t r = 0; r < n_rows; r++) {
		int64_t i, begin, end, head = row_place(it, g, r, &i), token = a->q_begin[it->seq] + i;
		struct row row = { .a = a,
				   .q_first = token * a->q_stride + head * a->head_dim,
				   .kv_head = head / g,
				   .pages = a->page_table + it->seq * a->table_stride };
		attention_visible(a->kv_len[it->seq] - q_len + i, a->window, &begin, &end);
		total[0] = -INFINITY;
		total[1] = 0;
		for (int64_t p = it->piece_begin; p < it->piece_end; p++) {
			if (it->states) {
				piece_state(&row, p, begin, end,
					    it->states + ((p - it->piece_begin) * n_rows + r) * n);
				continue;
			}
			piece_state(&row, p, begin, end, piece);
			merge_state(total, piece, a->v_head_dim);
		}
		if (!it->states)
			write_row(a, token, head, total);
	}
}

void attention_ref_merge(const struct attention_args *a, const struct attention_item *it, void *scratch)
{
	int64_t g = a->n_heads / a->n_kv_heads, n_rows = attention_item_rows(it, g), i;
	int64_t n = attention_state_floats(a->v_head_dim);
	float *total = scratch;
	for (int64_t r = 0; r < n_rows; r++) {
		total[0] = -INFINITY;
		total[1] = 0;
		for (int64_t p = it->piece_begin; p < it->piece_end; p++)
			merge_state(total, it->states + ((p - it->piece_begin) * n_rows + r) * n, a->v_head_dim);
		int64_t head = row_place(it, g, r, &i);
		write_row(a, a->q_begin[it->seq] + i, head, total);
	}
}
