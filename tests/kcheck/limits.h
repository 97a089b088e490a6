/* limits.h - what this machine can do at most, measured: the ceilings that benchmarks are compared with. */
#ifndef KCHECK_LIMITS_H
#define KCHECK_LIMITS_H

#include "base/threads.h"

#include <stdint.h>

/* Seconds since an arbitrary start. */
typedef double limit_clock(void);

/* Bytes a second that the team reads from memory, from a block that no cache holds. */
double limit_read(struct team *team, limit_clock *now);

/* Multiply-add rates, in operations a second (a multiply-add is two), of the best instruction set in `isa`. */
double limit_flops_f32(struct team *team, limit_clock *now, uint32_t isa);
double limit_flops_bf16(struct team *team, limit_clock *now, uint32_t isa);

/* Loops of independent multiply-adds on registers; each returns how many operations it did. */
typedef double limit_loop(int64_t rounds);
limit_loop limit_loop_scalar, limit_loop_avx2, limit_loop_avx512, limit_loop_avx512bf16;

#endif
