/* sample_rows.h - sampling of many rows at once on a GPU: the parameters of each, what comes out, and the room it takes.
 *
 * Semantics are those of sample.h. exp and log may differ from the host's in the last bits, and top_p's sums are of
 * probabilities rounded to 2^-40 of the most probable (integers: the same in any order), so that another id than the
 * host's may come out where two scores, or a sum and top_p, agree to about twelve digits.
 */
#ifndef KERNELS_SAMPLE_ROWS_H
#define KERNELS_SAMPLE_ROWS_H

#include "sample.h"

/* All indices are into arrays of the GPU's memory that sample_cuda_run is given. */
struct sample_row {
	struct sample_params params;
	int64_t position;     /* absolute position of the token that is chosen */
	int64_t tokens_at;    /* tokens[tokens_at ..]: the n_known known tokens, n_prompt of the prompt first; -1: no penalties */
	int32_t n_prompt, n_known;
	int32_t ban_begin, ban_end; /* banned[ban_begin .. ban_end): ids that may not be chosen */
	int32_t logits_row;   /* -1: nothing is done, and the result is left as it was */
	bool want_logprob;    /* logprob, max and log_sum are filled in, otherwise 0 */
	bool no_choice;       /* nothing is chosen: id is -1 */
};

struct sample_result {
	int32_t id;         /* -1: a NaN or +inf in the row, nothing finite in it, or nothing was to be chosen */
	float logprob;      /* of id by the raw logits: (logits[id] - max) - log_sum; 0 where there is no id */
	float max, log_sum; /* of the raw logits, as log_softmax.h says and with the bits of log_softmax's GPU row */
};

/* A block takes so many ids of a row, and a row has at most so many blocks. */
#define SAMPLE_PART 4096
#define SAMPLE_MAX_PARTS 256
#define SAMPLE_BINS 2048

/* What a block found in its part. */
struct sample_part {
	double score; /* the winner of its race; -inf: none ran */
	int32_t score_id;
	int32_t top_id; /* the largest of its logits after penalties, the lowest id on ties; -1: none is above -inf */
	float top;
	int32_t bad; /* a NaN or +inf */
};

/* What the blocks of a row do next, and the limits found so far. */
struct sample_command {
	int32_t phase;
	int32_t decided;     /* the id, where the row was decided before any race; SAMPLE_OPEN */
	int32_t shift, bits; /* the digit of the keys that is looked at .. */
	uint32_t prefix;     /* .. among keys whose digits above it are these */
	uint32_t floor;      /* keys below are not kept: top_k, then top_p */
	uint32_t min_floor;  /* likewise: min_p */
	uint32_t tie;        /* of keys that are equal to this one, ids above last_id are not kept */
	int32_t last_id;
	float max;           /* of the logits over the temperature */
	/* For the select at work: how many keys, and how much mass, lie above the prefix; what is wanted. */
	int64_t above_count, wanted_count;
	uint64_t above_mass;
	double wanted_mass;  /* < 0: not known yet */
};
#define SAMPLE_OPEN (-2)

/* A row at work. Between two runs arrived and stage are 0, and so are the row's bins. */
struct sample_state {
	uint32_t arrived; /* blocks that are done with the phase */
	uint32_t stage;   /* commands given so far */
	struct sample_command command;
};

struct sample_scratch {
	uint32_t *ticket;                /* one: see sample.cu */
	struct sample_state *state;      /* [max_rows] */
	struct sample_part *parts;       /* [max_rows, n_parts] */
	float *pieces;                   /* [max_rows, n_parts, SAMPLE_PART / 512, 2] states of log_softmax */
	uint32_t *count;                 /* [max_rows, SAMPLE_BINS] */
	unsigned long long *mass;        /* [max_rows, SAMPLE_BINS] */
};

struct sample_rows_args {
	const float *logits; /* [.., n_vocab] dense */
	const struct sample_row *rows;
	const int32_t *tokens, *banned;
	struct sample_result *out; /* [n_rows] */
	int64_t n_vocab;
	int32_t n_rows, n_parts;
	bool take_tickets;
	struct sample_scratch scratch;
};

#endif
