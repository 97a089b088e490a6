/* limits_measure.h - the machine's measured limits. Part of the face of src/ops. */
#ifndef OPS_LIMITS_MEASURE_H
#define OPS_LIMITS_MEASURE_H

#include "base/dtype.h"
#include "base/threads.h"

#include <stdint.h>

/* Bytes a second, and floating-point operations a second, of the whole team. */
struct limits {
	double read_bytes_s;
	double f32_flops_s;
	double bf16_flops_s; /* where there is no such instruction, that of f32, which bf16 is widened to */
};

/* Bytes a second that the team reads, the fastest of `repeat` runs over a buffer of a quarter of `memory`, at most 512
 * MiB: beyond the caches where memory allows. */
int limits_measure_read(struct team *team, uint32_t isa, uint64_t memory, int repeat, double *bytes_s);

/* Takes about a second. `memory` is what may be used for a buffer, in bytes; a larger one than the caches is wanted. */
int limits_measure(struct team *team, uint32_t isa, uint64_t memory, struct limits *out);

/* The rate that bounds products of this type: f16 is widened to f32. */
double limits_flops_s(const struct limits *l, enum dtype type);

#endif
