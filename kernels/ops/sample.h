/* sample.h - the token that follows, from one row of logits.
 *
 * 1. Penalties. repetition r on tokens that the prompt or the answer holds: logit / r where positive, * r where
 *    negative (Keskar et al., "CTRL", 2019); then frequency f * count + presence p (count > 0), subtracted, over the
 *    answer alone (the OpenAI API's definition). Banned ids become -inf.
 * 2. Temperature 0: the largest, the lowest id on ties. Else logits / temperature, and:
 * 3. top_k: those not smaller than the k-th largest (ties are kept). top_p: of the softmax of what is left, the most
 *    probable (the lower id first on ties) until their sum reaches top_p; at least one. min_p: those at least min_p
 *    times as probable as the most probable.
 * 4. argmax over the kept ids of logit + G(id), G = -ln(-ln(u)), u uniform in (0, 1) from the counter generator at
 *    (seed, position, id): a sample of the softmax of the kept (the Gumbel-max trick; Gumbel, 1954), the lowest id on
 *    ties. Noise depends on position and id alone, so a row gives the same token in whatever company it is computed.
 * Sums are in double, in the order stated. A row with a NaN or +inf, or with nothing finite after step 1, gives -1.
 */
#ifndef KERNELS_SAMPLE_H
#define KERNELS_SAMPLE_H

#include "kernel.h"

struct sample_params {
	double temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
	int64_t top_k;
	uint64_t seed;
};

struct sample_candidate {
	float logit;
	int32_t id;
};

/* The order of step 3: most probable first, the lower id first on ties. */
static inline bool sample_before(const struct sample_candidate *a, const struct sample_candidate *b)
{
	return a->logit != b->logit ? a->logit > b->logit : a->id < b->id;
}

/* Lets c[at] sink in a heap of n candidates, the first in order on top. */
static inline void sample_sink(struct sample_candidate *c, int64_t n, int64_t at)
{
	struct sample_candidate x = c[at];
	for (int64_t child; (child = 2 * at + 1) < n; at = child) {
		if (child + 1 < n && sample_before(&c[child + 1], &c[child]))
			child++;
		if (!sample_before(&c[child], &x))
			break;
		c[at] = c[child];
	}
	c[at] = x;
}

struct sample_args {
	const float *logits; /* [V] f32 */
	int64_t n_vocab;
	const struct sample_params *params;
	int64_t position;      /* absolute position of the token that is chosen */
	const uint8_t *in_prompt; /* [V] 1 where the prompt holds the id, or NULL: none */
	const int32_t *count;  /* [V] occurrences in the answer, or NULL: none */
	const int32_t *banned; /* [n_banned] ids that may not be chosen */
	int64_t n_banned;
	float *work;                       /* [V] scratch */
	struct sample_candidate *candidate; /* [V] scratch */
};

/* The chosen id, or -1. */
typedef int32_t sample_fn(const struct sample_args *a);

#define KERNEL(op, name, needs, properties) sample_fn sample_##name;
#define KERNEL_CUDA(op, name, needs, properties)
#include "sample.def"
#undef KERNEL
#undef KERNEL_CUDA

#endif
