/* threads.h - a fixed team of threads that runs one function at a time.
 *
 * DESIGN. The caller is worker 0; n - 1 others wait. A run is an epoch: the caller publishes function and
 * context, raises the epoch, works, and waits until every worker has reported. Waiting spins for a bounded
 * time (a decode step starts the team hundreds of times a millisecond apart) and then sleeps on a futex, so
 * that an idle team costs nothing and a container's CPU quota is not burnt.
 *
 * Each share of a run is claimed before it is begun. A worker that the machine has not let run by the time the caller is done
 * with its own share finds its share taken: the caller does it, and waits for nobody who has not begun. So a run on a busy
 * machine, or at the end of a CPU quota, takes no longer than on one thread.
 *
 * Where there are more workers than CPUs, a waiter that shares a CPU with the one it waits for lets that one go first (sched_yield): each
 * notes on which CPU it began. Other programs' threads are not let go first.
 *
 * Which worker does what must never change a result: functions split their work by index, and every item is
 * computed the same way wherever it runs.
 */
#ifndef BASE_THREADS_H
#define BASE_THREADS_H

#include <stddef.h>
#include <stdint.h>

struct team;

/* Called once for each index 0..n_workers-1, at most one call with an index at a time. Usually they run at once, but none may
 * wait for another to begin. */
typedef void team_fn(void *context, int index, int n_workers);

/* n_threads >= 1 (1 starts no thread). VB_ENOMEM or VB_EDEVICE where threads cannot be started. */
int team_create(struct team **out, int n_threads);
void team_destroy(struct team **t);
int team_size(const struct team *t);

/* Runs fn on every worker and returns when all have finished. Not reentrant; one caller at a time.
 * Allocates nothing. A NULL team runs fn(context, 0, 1). */
void team_run(struct team *t, team_fn *fn, void *context);

/* When a worker began its share of a run and when it was done (clock_s). On a line of its own: workers write at once. */
struct team_time {
	_Alignas(64) double began, ended;
};

/* From here on runs of more than one worker write times[team_size]; NULL: no more. Between runs. */
void team_watch(struct team *t, struct team_time *times);

/* The share [*begin, *end) of worker `index` when n items are cut into n_workers nearly equal runs whose
 * borders are multiples of `grain` (the last run takes the rest). */
void team_share(int64_t n, int64_t grain, int index, int n_workers, int64_t *begin, int64_t *end);

#endif
