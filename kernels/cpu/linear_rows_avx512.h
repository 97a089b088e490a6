/* linear_rows_avx512.h - how AVX-512 tiles of 32 rows of weights begin and end: two vectors a token. */
#ifndef CPU_LINEAR_ROWS_AVX512_H
#define CPU_LINEAR_ROWS_AVX512_H

#include "avx512.h"
#include "linear_panels.h"

/* The most tokens of a tile: 24 accumulators, 2 registers of weights, 1 of activations. */
#define TOKENS 12

/* What was summed up before this part. */
static inline __attribute__((always_inline)) void avx512_begin_rows(const struct linear_tile *t, __m512 total[2][TOKENS],
								     const __mmask16 live[2], const int tokens)
{
	for (int c = 0; c < tokens; c++)
		for (int h = 0; h < 2; h++)
			total[h][c] = t->goes_on ? _mm512_maskz_loadu_ps(live[h], t->y + c * t->y_stride + 16 * h)
						 : _mm512_setzero_ps();
}

static inline __attribute__((always_inline)) void avx512_end_rows(const struct linear_tile *t, __m512 total[2][TOKENS],
								   const __mmask16 live[2], const int tokens)
{
	for (int c = 0; c < tokens; c++)
		for (int h = 0; h < 2; h++) {
			__m512 v = total[h][c];
			if (t->bias)
				v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(live[h], t->bias + 16 * h));
			_mm512_mask_storeu_ps(t->y + c * t->y_stride + 16 * h, live[h], v);
		}
}

#endif
