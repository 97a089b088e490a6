/* bench_profile.h - inside src/engine: a profile as JSON. */
#ifndef ENGINE_BENCH_PROFILE_H
#define ENGINE_BENCH_PROFILE_H

#include "engine_internal.h"

#include "ops/profile.h"

/* What was measured in the same run; 0 flops: not known. */
struct machine_speed {
	double read_bytes_s;
	double flops_s;           /* of linears */
	double attention_flops_s; /* of the compute type */
};

/* {"steps", "step_ms", "kinds": [{"kind", "ms", "share", "runs", "bytes", "gb_s", "flops", "gflop_s", "of_limit"}]}, times, runs
 * and sizes of one step, of `steps` that took total_s together. Kinds are profile.h's, then "waiting" and "other". */
json_t *profile_json(const struct profile *f, double total_s, int64_t steps, const struct machine_speed *speed);

#endif
