/* attention_plan.h - the work list of one step's attention, shared by all layers with an equal request.
 *
 * DESIGN. A plan is sized once, from capacities, never from a run's lengths. attention_plan_update turns a step's
 * lengths into a list of items without allocating; attention_plan_run works it off with a team, once a layer.
 * An item is the rows of a few KV heads for a block of query tokens over a range of pieces (kernels/ops/attention.h).
 *
 * Invariants.
 * (1) The items of an update cover every (query token, visible key) exactly once for every KV head.
 * (2) Every query token is, for every KV head, in exactly one group of items, also where it sees no key: its output is always written.
 * (3) Which items there are, and who takes them, never changes a bit of any result: rows are independent, pieces stand
 *     at fixed positions, and the states of a split block are merged in ascending order by whoever finishes last.
 * (4) Memory bounds how much may be split, not what can be computed: a block for which no room is left stays whole.
 */
#ifndef OPS_ATTENTION_PLAN_H
#define OPS_ATTENTION_PLAN_H

#include "base/threads.h"
#include "kernels/ops/attention.h"

#include <stdint.h>

struct attention_limits {
	int64_t max_seqs;    /* sequences a step */
	int64_t max_tokens;  /* query tokens a step, all sequences together */
	int64_t table_width; /* pages a sequence: the longest is table_width * page_size keys */
	int n_workers;       /* size of the team that will run it */
};

struct attention_plan;

/* Bytes that a plan takes from the heap; the same computation sizes attention_plan_create. */
int64_t attention_plan_bytes_for(const struct attention_request *req, const struct attention_limits *limits);

/* `row` is the index of the chosen kernel in attention.def; it must serve `req`. Both structs are copied. */
int attention_plan_create(struct attention_plan **out, const struct attention_request *req, int row,
			  const struct attention_limits *limits);
void attention_plan_destroy(struct attention_plan **plan);
int64_t attention_plan_bytes(const struct attention_plan *plan);

/* Makes the work list for n_seqs sequences: sequence s has query tokens q_begin[s]..q_begin[s+1] of the step and
 * kv_len[s] keys, those of its query tokens included. The arrays are copied. VB_ELIMIT or VB_EINVAL with a message
 * where they do not fit the limits, and the plan then has no work. Allocates nothing. */
int attention_plan_update(struct attention_plan *plan, int64_t n_seqs, const int32_t *q_begin, const int32_t *kv_len);

/* The lengths of the last update, borrowed until the next. */
struct attention_step {
	int64_t n_seqs; /* 0 after an update that failed */
	const int32_t *q_begin, *kv_len;
};
void attention_plan_step(const struct attention_plan *plan, struct attention_step *out);

/* Runs the list. args->q_begin, kv_len and n_seqs are ignored: the plan's own copies are used, so that list and lengths
 * cannot disagree; everything else must fit the request. team NULL: the caller alone. The team has at most
 * limits.n_workers threads. One run at a time on one plan. Allocates nothing. */
void attention_plan_run(struct attention_plan *plan, struct team *team, const struct attention_args *args);

/* The list, for tests and statistics: item i of attention_plan_n_items, with states left NULL. Items that differ in their
 * pieces alone follow each other. */
int64_t attention_plan_n_items(const struct attention_plan *plan);
void attention_plan_item(const struct attention_plan *plan, int64_t i, struct attention_item *out);

#endif
