/* linear_rows.h - how the workers of a team share the rows of a linear.
 *
 * A worker's share of the rows, in whole grains, is the one that it packed, and so placed in memory. It takes it in pieces, and when
 * nothing of its own is left, pieces of the others': a CPU that is slowed down, by a neighbour or by its clock, then costs
 * what it does less and no more. Who computes a row changes no bit of it.
 */
#ifndef OPS_LINEAR_ROWS_H
#define OPS_LINEAR_ROWS_H

#include <stdint.h>

/* How far a worker's share has been taken, in pieces. */
struct linear_queue {
	_Alignas(64) _Atomic int64_t taken;
};

struct linear_rows {
	int64_t n;     /* rows */
	int64_t panel; /* the largest of the kernels' */
	int64_t slice; /* a kernel's, of many tokens; 0: any */
	int64_t t;     /* tokens */
	struct linear_queue *queues; /* [n_workers], borrowed; for running alone */
};

/* Rows [*begin, *end) of worker `index`; t does not matter. */
void linear_rows_share(const struct linear_rows *r, int index, int n_workers, int64_t *begin, int64_t *end);

/* Before a team runs: nothing has been taken. */
void linear_rows_begin(const struct linear_rows *r, int n_workers);

/* Computes rows [begin, end). */
typedef void linear_rows_fn(const void *context, int64_t begin, int64_t end);
/* What worker `index` does: takes pieces until none is left anywhere. */
void linear_rows_run(const struct linear_rows *r, int index, int n_workers, linear_rows_fn *run, const void *context);

#endif
