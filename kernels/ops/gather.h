/* gather.h - out[r] = x[rows[r]] + delta[rows[r]]: the rows that logits are wanted of. One addition, exact without delta. */
#ifndef KERNELS_GATHER_H
#define KERNELS_GATHER_H

#include "kernel.h"

struct gather_args {
	const int32_t *rows;    /* [t], indices of tokens */
	const float *x, *delta; /* f32, rows d apart; delta may be NULL */
	float *out;             /* [t, d] f32 */
	int64_t t, d;
};

#endif
