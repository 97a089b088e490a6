/* sample_cuda.h - choosing tokens on a GPU from logits that stay there. */
#ifndef OPS_SAMPLE_CUDA_H
#define OPS_SAMPLE_CUDA_H

#include "hw/gpu.h"
#include "kernels/ops/sample_rows.h"

/* The kernels, and scratch for max_rows rows. */
struct sample_cuda;

/* Bytes of the GPU's memory that sample_cuda_create takes. */
uint64_t sample_cuda_bytes(int64_t max_rows, int64_t n_vocab);
/* VB_EUNSUPPORTED for a vocabulary of more than SAMPLE_PART * SAMPLE_MAX_PARTS ids. */
int sample_cuda_create(struct gpu *g, int64_t max_rows, int64_t n_vocab, struct sample_cuda **out);
/* Nothing of it may be at work. NULL is allowed. */
void sample_cuda_destroy(struct gpu *g, struct sample_cuda **s);

/* Enqueues three launches. logits: [.., n_vocab] f32, dense; row i of `rows` reads the row that its logits_row says. rows, tokens, banned and
 * out are in the GPU's memory. n_rows <= max_rows. */
void sample_cuda_run(struct gpu *g, const struct sample_cuda *s, const float *logits, const struct sample_row *rows,
		     const int32_t *tokens, const int32_t *banned, int64_t n_rows, struct sample_result *out);

#endif
