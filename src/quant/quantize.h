/* quantize.h - rows of floating-point weights to rows of 8, 6 or 4 bits. Pure functions.
 *
 *   Q8: w = scale * q, q from -127 to 127, a group is 32 weights of a row. The scale is the one, of some candidates near
 *       max|w| / 127 that cut no weight off, with the least sum of (w - w')^2.
 *   Q6: w = scale * q, q from -32 to 31, likewise, but that weights may be cut off: by scales round max|w| / 31.
 *   Q4: w = scale * (q - zero / 8), q from 0 to 15, zero from 0 to 128, a group is 32. Scale and zero are those, of some
 *       candidates, with the least sum of e(i) * (w - w')^2, where e(i) = |w(i)| + sqrt(mean of the group's w^2): large
 *       weights matter more. A group of equal weights is their value rounded to f16, or closer.
 *
 * A row's result depends on that row alone, and every sum has a fixed order: the same bits for any number of threads and
 * on any instruction set. Zeros stay zeros. A row with an infinity, a NaN or a value beyond what f16 scales reach is refused:
 * such a matrix has no useful 8-bit form.
 */
#ifndef QUANT_QUANTIZE_H
#define QUANT_QUANTIZE_H

#include "base/isa.h"

#include <stdbool.h>
#include <stdint.h>

#define QUANT_GROUP 32

/* False where x has a value that is not to be quantised; what was written is of no use then. */
struct quantizer {
	/* x[k] to q[k] and scale[ceil(k / 32)] (f16). */
	bool (*q8)(const float *x, int64_t k, int8_t *q, uint16_t *scale);
	/* x[k] to q[(k + 3) / 4 * 3] (four in three bytes, as q + 32, from the low bits up; bits behind the row's end are 0) and scale. */
	bool (*q6)(const float *x, int64_t k, uint8_t *q, uint16_t *scale);
	/* x[k] to q[(k + 1) / 2] (even positions in the low nibble; the last nibble of an odd row is 0), scale (f16) and zero. */
	bool (*q4)(const float *x, int64_t k, uint8_t *q, uint16_t *scale, uint8_t *zero);
};

/* The same functions, compiled for any CPU and for AVX2. */
extern const struct quantizer quantizer_any;
#ifdef __x86_64__
extern const struct quantizer quantizer_avx2;
#endif

/* The fastest for these enum isa bits. */
static inline const struct quantizer *quantizer_for(uint32_t isa)
{
#ifdef __x86_64__
	if (isa & ISA_AVX2)
		return &quantizer_avx2;
#endif
	(void)isa;
	return &quantizer_any;
}

#endif
