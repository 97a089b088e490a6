/* gather.h - out[r] = x[rows[r]]: the rows that logits are wanted of, as they are. */
#ifndef KERNELS_GATHER_H
#define KERNELS_GATHER_H

#include "kernel.h"

struct gather_args {
	const int32_t *rows; /* [t], indices of tokens */
	const void *x;       /* rows `bytes` apart, of any type of 2 or 4 bytes, aligned to it */
	void *out;           /* [t] rows of `bytes`, likewise */
	int64_t t, bytes;
};

#endif
