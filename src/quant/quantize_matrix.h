/* quantize_matrix.h - a whole matrix quantised by a team of threads. */
#ifndef QUANT_QUANTIZE_MATRIX_H
#define QUANT_QUANTIZE_MATRIX_H

#include "base/threads.h"
#include "kernels/ops/weight_matrix.h"

/* Bytes for the quantised form of [n, k]: parts aligned to 64 bytes. */
uint64_t quantize_bytes(enum weight_format to, int64_t n, int64_t k);
/* The quantised matrix [n, k] in groups of 32, laid over memory of quantize_bytes(), 64-byte aligned. */
struct weight_matrix quantize_place(enum weight_format to, int64_t n, int64_t k, void *memory);

/* Told which rows of the source were read and are not read again. */
typedef void quantize_read_fn(void *user, int64_t row_begin, int64_t row_end);

/* Quantises a dense matrix into `to`, which lies over writable memory, a few megabytes at a time. `read` may be NULL.
 * `isa` is enum isa bits: about speed alone. VB_EFORMAT, naming `name` and the first bad row, where a value cannot be quantised. */
int quantize_matrix(const struct weight_matrix *from, struct weight_matrix *to, struct team *team, uint32_t isa,
		    const char *name, quantize_read_fn *read, void *user);

#endif
