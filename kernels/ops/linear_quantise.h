/* linear_quantise.h - how activations become integers where weights are quantised.
 *
 * A token's row is cut into groups of 32 neighbours (in the order of the stored weights), whatever the weights' groups are: an
 * outlier costs its 31 neighbours precision and no more. A group's scale is its largest size over 127, rounded up to 4
 * significant bits; q = x / scale to the nearest integer, ties to even, -127 to 127. 2026-11-22, on N(0, 1): the root mean square
 * error is 1.066 times that of a scale of 24 bits, and 0.96 and 0.88 times that of groups of 64 and 128 with such. With so short a scale
 *   - its product with a weight's unit (11 bits) is exact in float32: no order of multiplying matters;
 *   - there are 8 mantissas, so that kernels may keep their products with a panel's units in a table;
 *   - the power of two can be had from an integer sum for nothing (linear_magic): sums of int32 that begin with the bits of a large
 *     float32 are floats already.
 *
 * A group whose largest size is not below 2^100, infinite or NaN makes the token's results NaN; one below 2^-90 counts as zero.
 */
#ifndef KERNELS_LINEAR_QUANTISE_H
#define KERNELS_LINEAR_QUANTISE_H

#include "kernel.h"

#define LINEAR_GROUP 32
#define LINEAR_LARGEST_BITS 0x71800000u  /* 2^100 */
#define LINEAR_SMALLEST_BITS 0x12800000u /* 2^-90 */

static inline uint32_t linear_bits(float f)
{
	uint32_t bits;
	memcpy(&bits, &f, sizeof bits);
	return bits;
}

static inline float linear_from_bits(uint32_t bits)
{
	float f;
	memcpy(&f, &bits, sizeof f);
	return f;
}

/* The scale of a group whose largest element has these bits without their sign: 0, NaN, or m * 2^e with m in 8/8 .. 15/8. */
static inline float linear_scale_of(uint32_t largest_bits)
{
	if (largest_bits >= LINEAR_LARGEST_BITS)
		return linear_from_bits(0x7fc00000u);
	if (largest_bits < LINEAR_SMALLEST_BITS)
		return 0;
	return linear_from_bits((linear_bits(linear_from_bits(largest_bits) / 127.0f) + 0xfffffu) & 0xfff00000u);
}

#endif
