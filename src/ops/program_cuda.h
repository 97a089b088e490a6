/* program_cuda.h - a program on a GPU. Inside src/ops: program*.c alone.
 *
 * DESIGN. What a step needs (ids, positions, slots, lengths, attention plans, what is to be sampled) is written by the host
 * into one block of pinned memory of fixed layout, sized from the program's limits, and goes to the GPU in one copy; page tables,
 * which are large and change little, follow entry by entry. Then the same launches run over the same buffers, one by one
 * or as a graph that was captured when the program was opened. Kernels read lengths from the block, so that a graph
 * is good for any lengths: only the number of tokens it is launched for is fixed. Steps of decoding and verifying are
 * rounded up to the next such number (cuda_bucket); tokens beyond the step's have slot -1 and belong to no sequence.
 */
#ifndef OPS_PROGRAM_CUDA_H
#define OPS_PROGRAM_CUDA_H

#include "program_internal.h"

/* Tokens that a step of n tokens is launched for: n up to 8, then the next of 12, 16, 24, 32, 48, ... */
int64_t cuda_bucket(int64_t n);

/* GPU memory beside weights, buffers and caches. */
uint64_t program_cuda_workspace(const struct program *p);

/* After program_pick; p->gpu is set. Weights come from fill. */
int program_cuda_bind(struct program *p, struct team *team, weight_find_fn *find, weight_release_fn *release, void *user);
int program_cuda_bind_random(struct program *p, struct team *team, uint64_t seed);
/* Everything but the caches' memory, graphs too; then that. */
int program_cuda_prepare(struct program *p, const int64_t *most_pages);
int program_cuda_take_pages(struct program *p, const int64_t *n_pages);
void program_cuda_destroy(struct program *p);

int program_cuda_begin(struct program *p, const struct step *step, const struct sample_wish *wishes, int64_t n);
int program_cuda_end(struct program *p, const struct sample_wish *wishes, int64_t n, sample_take_fn *take, void *user);
void program_cuda_graphs(const struct program *p, struct program_graphs *out);
double program_cuda_busy_s(const struct program *p);
bool program_cuda_can_run_ahead(const struct program *p, const struct step *step);
int program_cuda_step(struct program *p, const struct step *step, const struct sample_wish *wishes, int64_t n,
		      sample_take_fn *take, void *user);
/* For tests: layers alone; logits of rows of the last step, on the host. */
int program_cuda_layers(struct program *p, const struct step *step);
const float *program_cuda_logits(struct program *p, const int32_t *rows, int64_t n_rows);

void program_cuda_copy_page(struct program *p, int group, int32_t from, int32_t to);
void program_cuda_fill_caches(struct program *p);

#endif
