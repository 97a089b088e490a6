#include "linear_rows.h"

#include "base/threads.h"

#include <stdatomic.h>

/* Results that fill a cache line. */
#define LINE_ROWS 16
/* Pieces of a share, small enough that the last ones end together: of few tokens, for which a worker alone reads as fast as all, and
 * of more, which wait for nothing but products. */
#define PIECES 16
#define FEW_TOKENS 7
#define MANY_PIECES 128
/* From here on a piece is a kernel's slice at least, or a half or less of it where a share has not so many. */
#define MANY_TOKENS 32
#define SLICES 4

/* Few rows are shared by lines of results: two workers never write to one. */
static int64_t grain_of(const struct linear_rows *r, int n_workers)
{
	int64_t grain = r->panel > LINE_ROWS ? r->panel : LINE_ROWS;
	return r->n < grain * n_workers ? LINE_ROWS : grain;
}

void linear_rows_share(const struct linear_rows *r, int index, int n_workers, int64_t *begin, int64_t *end)
{
	team_share(r->n, grain_of(r, n_workers), index, n_workers, begin, end);
}

void linear_rows_begin(const struct linear_rows *r, int n_workers)
{
	for (int i = 0; i < n_workers; i++)
		atomic_store_explicit(&r->queues[i].taken, 0, memory_order_relaxed);
}

/* Takes pieces of one share until none is left. */
static void run_share(const struct linear_rows *r, int whose, int n_workers, linear_rows_fn *run, const void *context)
{
	int64_t begin, end, grain = grain_of(r, n_workers), pieces = r->t <= FEW_TOKENS ? PIECES : MANY_PIECES;
	linear_rows_share(r, whose, n_workers, &begin, &end);
	int64_t rows = end - begin, piece = (rows + pieces - 1) / pieces, slice = r->t >= MANY_TOKENS ? r->slice : 0;
	while (slice * SLICES > rows)
		slice /= 2;
	piece = piece < slice ? slice : piece;
	piece = (piece + grain - 1) / grain * grain;
	while (rows > 0) {
		int64_t at = begin + piece * atomic_fetch_add_explicit(&r->queues[whose].taken, 1, memory_order_relaxed);
		if (at >= end)
			return;
		run(context, at, end - at < piece ? end : at + piece);
	}
}

void linear_rows_run(const struct linear_rows *r, int index, int n_workers, linear_rows_fn *run, const void *context)
{
	for (int i = 0; i < n_workers; i++)
		run_share(r, (index + i) % n_workers, n_workers, run, context);
}
