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
	double int8_ops_s;   /* of bytes, summed in int32; likewise */
};

/* What is measured, and by which clock. */
struct limits_setup {
	struct team *team;
	uint32_t isa;        /* instruction sets that may be used */
	uint64_t memory;     /* bytes that may be used: a quarter of them is read, at most 512 MiB; beyond the caches is wanted */
	double (*now)(void); /* seconds; NULL: clock_s */
};

/* The program's one measure of memory. What the neighbours leave of a machine's bandwidth changes from one millisecond to the next, so
 * work that is to be compared with it is done in turns with it. */
struct limits_reader;

int limits_reader_create(const struct limits_setup *s, struct limits_reader **out);
/* Sets *r to NULL, which it may be. */
void limits_reader_destroy(struct limits_reader **r);
/* Bytes after which it has read all that it has, and begins again. */
uint64_t limits_reader_turn(const struct limits_reader *r);
/* Reads so many bytes or a little more, all workers together, behind what was read last. Adds what it read, and how long that took. */
void limits_reader_run(struct limits_reader *r, uint64_t bytes, double *read_bytes, double *seconds);

/* Bytes a second that the team reads: the fastest of `repeat` turns. */
int limits_measure_read(const struct limits_setup *s, int repeat, double *bytes_s);

/* Floating-point operations a second for factors of a type: the fastest of `repeat` runs, each of some 20 ms. */
int limits_measure_multiply(const struct limits_setup *s, enum dtype type, int repeat, double *flops_s);

/* Takes about a second. */
int limits_measure(const struct limits_setup *s, struct limits *out);

/* The rate that bounds products of this type: f16 is widened to f32; DTYPE_I8 is that of quantised weights. */
double limits_flops_s(const struct limits *l, enum dtype type);

#endif
