/* attention_ranges.h - the work of one step's attention on a GPU: equal ranges for persistent thread blocks.
 *
 * DESIGN. Everything is sized from capacities; a step's lengths only fill it. What is filled is one block of memory
 * (kernels/ops/attention_list.h) that the caller uploads. Pure host code, without a GPU.
 *
 * Invariants. (1) The workers' ranges cover every (ticket, piece with a visible key) exactly once, and every ticket at
 * least once, also one that sees no key; a line is a permutation of them. (2) A ticket's parts are given to workers in ascending order. (3) Memory
 * bounds how much may be shared, not what can be computed: where no room for states is left, tickets stay whole.
 */
#ifndef OPS_ATTENTION_RANGES_H
#define OPS_ATTENTION_RANGES_H

#include "kernels/ops/attention_list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct attention_ranges {
	/* Given. */
	int64_t n_kv_heads, group; /* query heads a KV head */
	int64_t window;            /* 0: none */
	int64_t max_seqs, max_tokens, max_keys; /* a step's sequences and query tokens; a sequence's keys */
	int64_t max_q_len;
	int64_t n_workers;
	int64_t block_rows; /* rows a block has at most */
	bool wide;          /* the tickets' order in the line is chosen, so that they stay whole where they are many */
	int64_t head_dim;   /* values of a row's state */
	/* Found by attention_ranges_init. */
	int64_t max_blocks, max_splits, max_state_floats;
	size_t workers_at, splits_at, blocks_at, line_at, bytes; /* the list: where its arrays begin, in bytes, and its size */
};

/* Sizes the list. */
void attention_ranges_init(struct attention_ranges *r);

/* Whether a step's lengths fit: VB_ELIMIT or VB_EINVAL with a message where they do not. */
int attention_ranges_check(const struct attention_ranges *r, int64_t n_seqs, const int32_t *q_begin,
			   const int32_t *kv_len);

/* Writes the list of a step into `list` (r->bytes, aligned to 16). Sequence s has the query tokens
 * q_begin[s]..q_begin[s+1] and kv_len[s] keys, those of its query tokens included. VB_ELIMIT or VB_EINVAL with a message
 * where the lengths do not fit. */
int attention_ranges_write(const struct attention_ranges *r, void *list, int64_t n_seqs, const int32_t *q_begin,
			   const int32_t *kv_len);

/* The pieces of a block's keys. */
static inline void attention_block_pieces(const struct attention_block *b, int64_t *begin, int64_t *end)
{
	*begin = b->key_begin < b->key_end ? attention_piece_of(b->key_begin) : 0;
	*end = b->key_begin < b->key_end ? attention_piece_of(b->key_end - 1) + 1 : 0;
}

#endif
