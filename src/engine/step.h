/* step.h - the engine's step: decide, guess, compute, choose, give out. Inside src/engine.
 *
 * Whoever drives (vb_step, vb_generate, the engine's own thread) owns requests, cache and program for the length of a
 * step; others only put requests into the inbox and raise cancel flags. Callbacks run on the driving thread, with no
 * lock held: they may submit and cancel.
 */
#ifndef ENGINE_STEP_H
#define ENGINE_STEP_H

#include "requests.h"

/* One step. Returns whether there is anything left to do. */
bool engine_run_step(struct vb_engine *e);

/* Puts a request into the inbox and wakes the engine's thread; it is the engine's from here on. Its id. */
uint64_t engine_enqueue(struct vb_engine *e, struct request *r);

/* Shows the counters as they are now to vb_engine_stats. By whoever drives. */
void engine_show(struct vb_engine *e);

/* Waits for a step that is under way on a GPU, and takes what it chose. */
void engine_end_flight(struct vb_engine *e);

/* Ends every request: when the engine closes. */
void engine_end_all(struct vb_engine *e, int rc);

#endif
