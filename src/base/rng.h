/* rng.h - counter-based random numbers: a pure function of a key and a counter, no state.
 *
 * Philox4x32-10: J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel Random Numbers: As Easy
 * as 1, 2, 3", SC'11. Checked against the known answers of that paper's Random123 distribution.
 */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

/* What a draw is for. Part of the counter, so that draws for different purposes never meet. */
enum rng_purpose {
	RNG_SAMPLE = 1,  /* Gumbel noise of a sampled token */
	RNG_WEIGHTS = 2, /* weights drawn from a seed */
	RNG_TEST = 3,    /* inputs of tests and benchmarks */
};

/* Ten rounds of Philox4x32: 128 bits from a 128-bit counter and a 64-bit key. */
void rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* The four words of block `block` (indices 4 * block .. 4 * block + 3 below). */
void rng_block(uint64_t seed, enum rng_purpose purpose, uint64_t position, uint32_t block, uint32_t out[4]);

/* 32 random bits for (seed, purpose, position, index): index is e.g. the vocabulary id. */
uint32_t rng_u32(uint64_t seed, enum rng_purpose purpose, uint64_t position, uint32_t index);

/* Uniform in the open interval (0, 1): (u + 0.5) / 2^32, exact in a double. */
double rng_uniform(uint64_t seed, enum rng_purpose purpose, uint64_t position, uint32_t index);

/* Standard normal by the Box-Muller transform of two words of block `index`. */
float rng_normal(uint64_t seed, enum rng_purpose purpose, uint64_t position, uint32_t index);

#endif
