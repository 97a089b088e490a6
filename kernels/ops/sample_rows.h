/* sample_rows.h - sampling of many rows at once on a GPU: the parameters of each, what comes out, and the room it takes.
 *
 * Semantics are those of sample.h. exp and log may differ from the host's in the last bits, and top_p's sums are of
 * probabilities rounded to 2^-40 of the most probable (integers: the same in any order), so that another id than the
 * host's may come out where two scores agree to fifteen digits, or a sum and top_p to seven.
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

/* A block takes so many ids of a row, in so many pieces, and a row has at most so many blocks. */
#define SAMPLE_PART 4096
#define SAMPLE_PIECES 8
#define SAMPLE_MAX_PARTS 256
/* Candidates that are looked at without the rest of the row. */
#define SAMPLE_LIST 2048

/* What a block found in its part. Keys order like the numbers that they stand for; 0: none. */
struct sample_part {
	uint64_t score;    /* of the winner of its race */
	uint32_t score_id;
	uint32_t top;      /* the largest of its logits after penalties, the lowest id on ties */
	uint32_t top_id;
	uint32_t bad;      /* a NaN or +inf */
};

struct sample_candidate {
	float logit;
	int32_t id;
};

/* A row between the launches of a run. */
struct sample_state {
	uint32_t arrived;  /* blocks that are done; 0 between two launches */
	uint32_t mode;     /* SAMPLE_DONE, .. */
	uint32_t n_listed; /* candidates, more than SAMPLE_LIST where they did not fit */
	uint32_t least;    /* the least key that is listed */
	float max;         /* of the logits over the temperature */
	uint64_t mass;     /* of all, where top_p alone decides */
};

enum sample_mode {
	SAMPLE_DONE,
	SAMPLE_LISTED, /* candidates are listed and the choice is made among them */
	SAMPLE_WHOLE,  /* the list is too short: the choice is made in the whole row */
};

struct sample_scratch {
	struct sample_state *state;         /* [max_rows] */
	struct sample_part *parts;          /* [max_rows, n_parts] */
	float *pieces;                      /* [max_rows, n_parts, SAMPLE_PIECES, 2] states of log_softmax */
	float *tops;                        /* [max_rows, n_parts, SAMPLE_PIECES] the pieces' largest logits over the temperature */
	struct sample_candidate *candidate; /* [max_rows, SAMPLE_LIST] */
	float *work;                        /* [max_rows, n_vocab] logits of rows with penalties or bans, over the temperature */
};

struct sample_rows_args {
	const float *logits; /* [.., n_vocab] dense */
	const struct sample_row *rows;
	const int32_t *tokens, *banned;
	struct sample_result *out; /* [n_rows] */
	int64_t n_vocab;
	int32_t n_rows, n_parts;
	struct sample_scratch scratch;
};

#endif
