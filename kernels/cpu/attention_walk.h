/* attention_walk.h - how a CPU attention kernel walks over pieces and tiles of keys. Everything is static; attention_tile.h
 * (float32 arithmetic) and attention_log2_avx512.h (bf16 and integer dot products) include it; the functions that are declared below
 * are theirs, or their includers': laying out scratch, adding a tile, folding states, writing a row.
 *
 * DESIGN. Source of the running softmax: Milakov & Gimelshein, "Online normalizer calculation for softmax", 2018; of
 * tiles over it: Dao et al., "FlashAttention", 2022. A call walks the keys tile by tile; at each tile, the item's KV heads take
 * turns, because they lie behind each other in a page: memory is as fast as it can be only where it is read in long runs.
 * Measured 2026-11-22 on an AMD EPYC (Zen 4), one core, pages in random order: runs of 8 KiB 17 GB/s (9.5 not asked for
 * in advance), of 64 KiB 24 GB/s, one run of everything 31 GB/s. What comes next is found before the current tile is
 * computed, so that its keys and values can be asked for meanwhile.
 */
#ifndef KERNELS_ATTENTION_WALK_H
#define KERNELS_ATTENTION_WALK_H

#include "kernels/ops/attention.h"

#include <math.h>
#include <string.h>

#define TILE ATTENTION_TILE
/* Where a row's state keeps the factor by which the current tile rescales it. */
#define STATE_RESCALE 2

#define INLINE static inline __attribute__((always_inline))

/* One KV head of an item. */
struct job {
	const struct attention_args *a;
	const struct attention_item *it;
	int64_t kv_head;
	int64_t g, n_tokens, n_rows, state_floats;
	int64_t first_token;            /* of the item, in the step */
	int64_t first_position;         /* of that token */
	int64_t key_begin, key_end;     /* keys that some row sees */
	int64_t common_begin, common_end; /* keys that all rows see */
	int page_shift;
	size_t type_bytes;
	float *total, *part; /* [n_rows, state_floats]: all pieces so far; the current piece */
	/* The kernel's own parts of scratch; all but q are shared by the item's heads. */
	void *q;      /* the rows' queries */
	float *s;     /* scores, then probabilities */
	void *keys;   /* the tile's keys, ... */
	void *values; /* ... and values, as the kernel wants them */
};

struct tile {
	int64_t first;  /* position of the tile's first key */
	int begin, end; /* keys of the tile that some row sees */
	const unsigned char *k[TILE], *v[TILE]; /* where they are; no_key outside begin..end */
	float k_scale[TILE], v_scale[TILE];     /* of an int8 cache; 0 outside begin..end */
};

/* Bytes of a row's query in scratch. */
static int64_t query_bytes(const struct attention_args *a);
/* Prepares the queries of the job's rows, at j->q. */
static void take_queries(const struct job *j);
/* Says where scores, keys and values go. */
static void lay_out(struct job *j, float *scratch);
/* Adds a tile's keys to the states in j->part, and asks for the memory of the next tile's. */
static void add_tile(const struct job *j, const struct tile *t, const struct tile *next);
/* Folds the state b, of later keys, into a. */
static void merge_states(float *a, const float *b, int64_t n_floats);
/* Writes row r of the item from its state over all its keys. */
static void write_row(const struct job *j, int64_t r, const float *state);

/* What absent keys are read from: their scores are never looked at. */
static const unsigned char no_key[ATTENTION_MAX_HEAD_DIM * sizeof(float)];

/* Finds the keys and values, of the tile that begins at position `first`, that some row sees. */
static void find_keys(const struct job *j, int64_t first, struct tile *t)
{
	const struct attention_args *a = j->a;
	const int32_t *pages = a->page_table + j->it->seq * a->table_stride;
	int64_t k_bytes = a->head_dim * (int64_t)j->type_bytes, v_bytes = a->v_head_dim * (int64_t)j->type_bytes;
	bool scaled = a->kv_type == DTYPE_I8;
	t->first = first;
	t->begin = j->key_begin > first ? (int)(j->key_begin - first) : 0;
	t->end = j->key_end < first + TILE ? (int)(j->key_end - first) : TILE;
	if (t->begin > 0 || t->end < TILE) {
		for (int i = 0; i < TILE; i++)
			t->k[i] = t->v[i] = no_key;
		memset(t->k_scale, 0, sizeof t->k_scale);
		memset(t->v_scale, 0, sizeof t->v_scale);
	}
	for (int i = t->begin; i < t->end;) {
		int64_t position = t->first + i, in_page = position & (a->page_size - 1);
		int64_t page = pages[position >> j->page_shift];
		int64_t row = (page * a->n_kv_heads + j->kv_head) * a->page_size + in_page;
		int64_t n = a->page_size - in_page < t->end - i ? a->page_size - in_page : t->end - i;
		if (scaled) {
			memcpy(t->k_scale + i, a->k_scale + row, (size_t)n * sizeof *t->k_scale);
			memcpy(t->v_scale + i, a->v_scale + row, (size_t)n * sizeof *t->v_scale);
		}
		for (; n > 0; n--, i++, row++) {
			t->k[i] = (const unsigned char *)a->k_cache + row * k_bytes;
			t->v[i] = (const unsigned char *)a->v_cache + row * v_bytes;
		}
	}
}

/* Keys of the tile that token i of the item sees; *begin >= *end where none. */
static void visible_in_tile(const struct job *j, const struct tile *t, int64_t i, int *begin, int *end)
{
	int64_t b, e;
	attention_visible(j->first_position + i, j->a->window, &b, &e);
	b -= t->first;
	e -= t->first;
	*begin = b < 0 ? 0 : b > TILE ? TILE : (int)b;
	*end = e < 0 ? 0 : e > TILE ? TILE : (int)e;
}

/* Whether every row of the item sees every key of the tile. */
static bool all_see_all(const struct job *j, const struct tile *t)
{
	return t->first >= j->common_begin && t->first + TILE <= j->common_end;
}

static void clear_states(float *states, int64_t n_rows, int64_t n_floats)
{
	memset(states, 0, (size_t)(n_rows * n_floats) * sizeof *states);
	for (int64_t r = 0; r < n_rows; r++)
		states[r * n_floats] = -INFINITY;
}

/* The job of the item's first KV head; q, total and part of the others follow. */
static void start_job(struct job *j, const struct attention_args *a, const struct attention_item *it, float *scratch)
{
	int64_t q_first = a->q_begin[it->seq], q_len = a->q_begin[it->seq + 1] - q_first;
	*j = (struct job){ .a = a, .it = it, .kv_head = it->kv_head_begin, .g = a->n_heads / a->n_kv_heads };
	j->n_tokens = it->token_end - it->token_begin;
	j->n_rows = j->n_tokens * j->g;
	j->state_floats = attention_state_floats(a->v_head_dim);
	j->first_token = q_first + it->token_begin;
	j->first_position = a->kv_len[it->seq] - q_len + it->token_begin;
	attention_visible(j->first_position, a->window, &j->key_begin, &j->common_end);
	attention_visible(j->first_position + j->n_tokens - 1, a->window, &j->common_begin, &j->key_end);
	j->page_shift = __builtin_ctzll((unsigned long long)a->page_size);
	j->type_bytes = dtype_bytes(a->kv_type);
	int64_t n_rows = attention_item_rows(it, j->g);
	j->total = scratch;
	j->part = j->total + n_rows * j->state_floats;
	j->q = j->part + n_rows * j->state_floats;
	lay_out(j, (float *)j->q + n_rows * query_bytes(a) / (int64_t)sizeof(float));
}

/* Makes a job that of the next KV head. */
static void next_head(struct job *j)
{
	j->kv_head++;
	j->total += j->n_rows * j->state_floats;
	j->part += j->n_rows * j->state_floats;
	j->q = (unsigned char *)j->q + j->n_rows * query_bytes(j->a);
}

/* Where the walk is: the tile of keys that begins at `first`, found already. */
struct place {
	int64_t first;
	struct tile *tile, *other; /* that tile for the head whose turn is next, and room for what comes after it */
};

/* Adds a tile to all heads of the item, whose parts begin at j->part; what comes behind it is the tile at next_first, or
 * nothing where that is negative. */
static void add_to_heads(struct job j, struct place *at, int64_t next_first)
{
	for (int32_t h = j.it->kv_head_begin; h < j.it->kv_head_end; h++) {
		struct job next = j;
		struct tile *tile = at->tile, *then = at->other;
		bool last = h + 1 == j.it->kv_head_end;
		if (!last)
			next_head(&next);
		else
			next.kv_head = j.it->kv_head_begin;
		if (last && next_first < 0)
			then = tile;
		else
			find_keys(&next, last ? next_first : at->first, then);
		add_tile(&j, tile, then);
		at->tile = then;
		at->other = tile;
		j = next;
	}
}

/* Adds the tiles of piece p to the states at j->part. */
static void add_piece(const struct job *j, int64_t p, struct place *at)
{
	int64_t end = attention_piece_begin(p + 1), last = attention_piece_begin(j->it->piece_end);
	end = j->key_end < end ? j->key_end : end;
	last = j->key_end < last ? j->key_end : last;
	clear_states(j->part, attention_item_rows(j->it, j->g), j->state_floats);
	while (at->first < end) {
		int64_t next_first = at->first + TILE;
		add_to_heads(*j, at, next_first < last ? next_first : -1);
		at->first = next_first;
	}
}

static void write_rows(struct job j)
{
	for (int32_t h = j.it->kv_head_begin; h < j.it->kv_head_end; h++, next_head(&j))
		for (int64_t r = 0; r < j.n_rows; r++)
			write_row(&j, r, j.total + r * j.state_floats);
}

static void run_item(const struct attention_args *a, const struct attention_item *it, void *scratch)
{
	struct job j;
	struct tile tiles[2];
	start_job(&j, a, it, scratch);
	int64_t n_rows = attention_item_rows(it, j.g);
	struct job of_head = j;
	for (int32_t h = it->kv_head_begin; h < it->kv_head_end; h++, next_head(&of_head))
		take_queries(&of_head);
	float *own_part = j.part;
	clear_states(j.total, n_rows, j.state_floats);
	struct place at = { attention_piece_begin(it->piece_begin), &tiles[0], &tiles[1] };
	at.first = j.key_begin > at.first ? j.key_begin / TILE * TILE : at.first;
	if (at.first < j.key_end && it->piece_begin < it->piece_end)
		find_keys(&j, at.first, at.tile);
	for (int64_t p = it->piece_begin; p < it->piece_end; p++) {
		j.part = it->states ? it->states + (p - it->piece_begin) * n_rows * j.state_floats : own_part;
		add_piece(&j, p, &at);
		for (int64_t r = 0; r < n_rows && !it->states; r++)
			merge_states(j.total + r * j.state_floats, j.part + r * j.state_floats, j.state_floats);
	}
	if (!it->states)
		write_rows(j);
}

static void merge_item(const struct attention_args *a, const struct attention_item *it, void *scratch)
{
	struct job j;
	start_job(&j, a, it, scratch);
	int64_t n_rows = attention_item_rows(it, j.g);
	clear_states(j.total, n_rows, j.state_floats);
	for (int64_t p = 0; p < it->piece_end - it->piece_begin; p++)
		for (int64_t r = 0; r < n_rows; r++)
			merge_states(j.total + r * j.state_floats, it->states + (p * n_rows + r) * j.state_floats, j.state_floats);
	write_rows(j);
}

#endif
