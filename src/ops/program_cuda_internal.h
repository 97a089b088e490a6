/* program_cuda_internal.h - what program_cuda*.c share. */
#ifndef OPS_PROGRAM_CUDA_INTERNAL_H
#define OPS_PROGRAM_CUDA_INTERNAL_H

#include "attention_cuda.h"
#include "cuda_ops.h"
#include "program_cuda.h"
#include "sample_cuda.h"

/* Ids that may not be chosen, of all rows of a step together. */
#define MAX_BANNED 4096

/* An operation's device code and weights. */
struct op_cuda {
	union {
		struct embed_cuda embed;
		struct rope_table_cuda rope_table;
		struct rms_norm_cuda norm;
		struct linear_cuda linear;
		struct rope_cache_cuda rope_cache;
		struct glu_cuda glu;
		struct gather_cuda gather;
		struct softcap_cuda softcap;
	} u;
	/* OP_LINEAR: its parts as one matrix, in the order of their columns. */
	const void *w;
	const float *bias;
	struct slice out;
	void *packed, *packed_bias; /* owned, where the parts are not one weight as it stands */
	struct rope_params *params; /* OP_ROPE_TABLE: on the GPU */
};

/* Where a step's arrays stand in the block, in bytes from its start. */
struct block_layout {
	size_t ids, from, position, rope_len, rows, q_begin, kv_len, sample_rows, banned, slot[PROGRAM_MAX_GROUPS];
	size_t *plan; /* [n_plans] */
	size_t bytes;
};

struct program_cuda {
	struct op_cuda *ops; /* [n_ops] */
	struct attention_cuda **plans; /* [n_plans] */
	struct sample_cuda *sample;
	struct block_layout at;
	/* The block on the GPU, and pinned: two, as a step may be written while the one before is under way. */
	unsigned char *device, *host[2];
	int turn;         /* whose turn the host's blocks and results are */
	int n_under_way;  /* steps begun and not ended */
	bool wide;        /* how attention runs in the step that is being put; graphs are captured without */
	struct gpu_event *started[2], *chosen[2]; /* a step's launches begin; its results are on the host */
	double busy_ms; /* between the two, of all steps so far */
	struct take_ids_cuda take_ids;
	/* Page tables, [max_seqs, table_width] each: what the GPU has, on both sides. */
	int32_t *host_table[PROGRAM_MAX_GROUPS], *table[PROGRAM_MAX_GROUPS];
	int64_t table_width;
	int64_t *n_pages[PROGRAM_MAX_GROUPS]; /* [max_seqs] entries that the last step looks at */
	/* Known tokens of rows with penalties. */
	int32_t *host_tokens, *tokens;
	int64_t max_tokens;
	struct sample_result *host_results[2], *results; /* [max_rows] */
	float *host_logits; /* [max_logits, vocabulary]: rows that somebody wants on the host */
	int64_t max_logits;
	struct gpu_graph **graphs; /* [n_graphs], by the index of their bucket; NULL where there is none */
	int64_t n_graphs;
	struct program_graphs told;
};

/* The bucket of index i: 1, 2, .. 8, 12, 16, ... */
int64_t cuda_bucket_of(int64_t i);

void program_cuda_free_weights(struct program *p);

#endif
