/* tensor.h - a named, typed, shaped view of memory that somebody else owns. Row-major, dense. */
#ifndef BASE_TENSOR_H
#define BASE_TENSOR_H

#include "dtype.h"

#include <stdint.h>

#define TENSOR_MAX_RANK 8

struct tensor {
	const char *name; /* borrowed from the owner of the data */
	enum dtype type;
	int rank;
	int64_t shape[TENSOR_MAX_RANK];
	const void *data; /* borrowed */
	uint64_t bytes;
};

#endif
