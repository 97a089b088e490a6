/* sample.h - the token that follows, from one row of logits.
 *
 * 1. Penalties. repetition r on tokens that the prompt or the answer holds: logit / r where positive, * r where
 *    negative (Keskar et al., "CTRL", 2019); then frequency f * count + presence p (count > 0), subtracted, over the
 *    answer alone (the OpenAI API's definition). Banned ids become -inf.
 * 2. Temperature 0: the largest, the lowest id on ties. Else logits / temperature, and:
 * 3. top_k: those not smaller than the k-th largest (ties are kept). top_p: of what is left, the most probable (the
 *    lower id first on ties) until their mass reaches top_p of the mass of all; at least one. min_p: those at least min_p
 *    times as probable as the most probable.
 * 4. argmax over the kept ids of logit + G(id), G = -ln(-ln(u)), u uniform in (0, 1) from the counter generator at
 *    (seed, position, id): a sample of the softmax of the kept (the Gumbel-max trick; Gumbel, 1954), the lowest id on
 *    ties. Noise depends on position and id alone, so a row gives the same token in whatever company it is computed.
 * An id's mass is a multiple of 2^-40 of the most probable one's (sample_mass in sample_steps.h): sums of integers, the
 * same in any order. Scores are in double. So all rows for CPUs give the same id, on every instruction set.
 * A row with a NaN or +inf, or with nothing finite after step 1, gives -1.
 */
#ifndef KERNELS_SAMPLE_H
#define KERNELS_SAMPLE_H

#include "kernel.h"

struct sample_params {
	double temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
	int64_t top_k;
	uint64_t seed;
};

struct sample_args {
	const float *logits; /* [V] f32 */
	int64_t n_vocab;
	const struct sample_params *params;
	int64_t position;      /* absolute position of the token that is chosen */
	const uint8_t *in_prompt; /* [V] 1 where the prompt holds the id, or NULL: none */
	const int32_t *count;  /* [V] occurrences in the answer, or NULL: none */
	const int32_t *banned; /* [n_banned] ids that may not be chosen */
	int64_t n_banned;
	float *work; /* [V] scratch */
};

/* The chosen id, or -1. */
typedef int32_t sample_fn(const struct sample_args *a);

#define KERNEL(op, name, needs, properties) sample_fn sample_##name;
#define KERNEL_CUDA(op, name, needs, properties)
#include "sample.def"
#undef KERNEL
#undef KERNEL_CUDA

#endif
