/* sampling.h - which rows of logits are wanted, and what is chosen from them. Part of the face of src/ops.
 *
 * A step is asked for with all its wishes, so that a GPU may compute, choose and go on without waiting for the host.
 */
#ifndef OPS_SAMPLING_H
#define OPS_SAMPLING_H

#include "kernels/ops/log_softmax.h"
#include "kernels/ops/sample.h"
#include "ops/registry.h"

/* Somebody waits for the logits behind a token of the step. */
struct sample_wish {
	int32_t row;                        /* index of that token in the step */
	const struct sample_params *params; /* how to choose; NULL: nothing is chosen */
	int64_t position;                   /* of the token that is chosen: its noise */
	/* What penalties look at: tokens[0..n_prompt) the prompt, [n_prompt..n_known) the answer. NULL: no penalties. */
	const int32_t *tokens;
	int64_t n_prompt, n_known;
	const int32_t *banned; /* [n_banned] ids that may not be chosen */
	int64_t n_banned;
	bool want_logprob;     /* max, log_sum and logprob are filled in */
	bool want_logits;      /* logits is filled in (always so on a CPU; from a GPU it costs a copy) */
	void *owner;           /* the caller's */
};

struct sample_choice {
	int32_t id;             /* -1: not finite, or nothing was to be chosen */
	float max, log_sum;     /* log-softmax of the raw logits; NaN where they are not finite (log_softmax.h) */
	float logprob;          /* of id */
	const float *logits;    /* [vocabulary] of the host, or NULL; borrowed for the length of the call */
};

/* Told of each wish, in order. */
typedef void sample_take_fn(void *user, const struct sample_wish *wish, const struct sample_choice *choice);

/* The samplers for CPUs. Each takes every row, and all choose the same: the last that can run is the fastest. */
extern const struct kernel_set sample_set;
sample_fn *sample_kernel(int row);
/* The sampler for these capabilities. */
sample_fn *sample_kernel_for(uint32_t isa);

#endif
