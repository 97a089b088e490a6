/* attention_list.h - the work of one step's attention on a GPU, as the host writes it and kernels read it.
 *
 * The unit is a ticket: a block of rows of one sequence, with one KV head. A row is a query token in one of the KV head's
 * g query heads: row r of a sequence is its query token r / g, head kv_head * g + r % g. Ticket t is block t / n_kv_heads,
 * KV head t % n_kv_heads. Tickets stand in one line, each with its pieces of keys (attention_piece_begin) in ascending
 * order, and every worker (a persistent thread block) is given one contiguous range of that line, cut at piece borders. Where
 * blocks are wide the line's order is the host's choice (attention_sm80_args.line), else it is that of their numbers.
 *
 * So a ticket may be shared by several workers, its parts. The first part folds its pieces and leaves one state; the
 * others leave a state a piece; whoever is last to arrive folds them in ascending order. Where a ticket is cut never
 * changes a bit: the fold is a left fold over pieces, and a part that begins at the first piece is its beginning.
 */
#ifndef KERNELS_ATTENTION_LIST_H
#define KERNELS_ATTENTION_LIST_H

#include "attention.h"

/* 32 bytes, aligned to 16. */
struct attention_block {
	int32_t seq;
	int32_t token;    /* the sequence's first query token, in the step */
	int32_t position; /* of that token; may be negative */
	int32_t row_begin, row_end;
	int32_t key_begin, key_end; /* keys that any of the rows sees; both 0 where there are none */
	int32_t unused;
};

/* Places first..last of the line (none where last < first): of the first one the pieces from first_piece on, of the last one those
 * below last_piece. 64 bytes, aligned to 16. */
struct attention_worker {
	int32_t first, last;
	int32_t first_piece, last_piece;
	int32_t first_split, last_split; /* the split that ticket is shared by, -1: it is not shared */
	int32_t ticket;               /* the first one's number, */
	int32_t unused;
	struct attention_block block; /* and its block: copies, look-ups less to begin with */
};

/* A ticket that several workers share. */
struct attention_split {
	int32_t n_parts;
	int32_t first_end;    /* piece at which its first part ends */
	int32_t states_begin; /* in floats: the state of the first part, then those of the pieces first_end.. */
	int32_t unused;
};

/* How scores become exponents of 2: score_scale * q k^T; with a softcap, cap * tanh(x / 2 / log2(e)) of x = score_scale * q k^T,
 * with score_scale = 2 log2(e) scale / softcap and cap = softcap log2(e). */
struct attention_simt_args {
	struct attention_args a;
	float score_scale, score_cap;
};

/* What the sm80 kernels take: pointers into the list, and into workspace that launches of one stream share. A launch that begins
 * early (gpu.h) reads the list, the page table and the keys and values of positions below a block's `position` while kernels in front of it
 * still run: those must not write them. Nothing else does before a copy or a launch that waits, with which every step begins. */
struct attention_sm80_args {
	struct attention_args a;
	float score_scale, score_cap;
	const struct attention_worker *workers;
	const struct attention_split *splits;
	const struct attention_block *blocks;
	const int32_t *line; /* the tickets' numbers in the order of the line; NULL: 0, 1, 2, ... */
	float *states;
	float *parked; /* a wide kernel's: room for each thread's state of the pieces so far, */
	int32_t n_parked; /* of which so many parts of 16 bytes are in shared memory instead */
	int32_t *arrived; /* [splits]: parts that are done; back at 0 behind each launch */
	int32_t n_stages; /* tiles of keys that shared memory holds */
};

/* The wide kernels, for heads of d values (64 or 128): rows of a block, threads, bytes of shared memory beside queries, a tile and
 * what is parked, and the parts of 16 bytes of a state that a thread parks (its o of 32 rows, their m and l; heads of 64 leave
 * registers for them). */
#define ATTENTION_WIDE_ROWS 128
#define ATTENTION_WIDE_THREADS 128
#define ATTENTION_WIDE_STATIC 1024
#define ATTENTION_WIDE_PARTS(d) ((d) > 64 ? 2 * ((d) / 8 + 1) : 0)

/* Floats of the state of n_rows rows of d values: o [n_rows, d], then (m, l) of each row; m in units of log2. */
KERNEL_INLINE int64_t attention_gpu_state_floats(int64_t n_rows, int64_t d)
{
	return (n_rows * (d + 2) + 3) / 4 * 4;
}

#endif
