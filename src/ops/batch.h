/* batch.h - the arrays of one step, filled sequence by sequence. Part of the face of src/ops.
 *
 * A batch is made once for a program, from its limits; filling and running allocate nothing.
 */
#ifndef OPS_BATCH_H
#define OPS_BATCH_H

#include "ops/ops.h"

struct batch {
	struct program *program;
	int64_t max_tokens, max_seqs, page_size, table_width;
	int n_groups;
	int64_t n_tokens, n_seqs;
	int32_t *ids, *position, *rope_len; /* [max_tokens] */
	int32_t *q_begin, *kv_len;          /* [max_seqs + 1], [max_seqs] */
	int64_t *slot[PROGRAM_MAX_GROUPS];       /* [max_tokens] */
	int32_t *page_table[PROGRAM_MAX_GROUPS]; /* [max_seqs, table_width] */
};

int batch_create(struct batch **out, struct program *program);
void batch_destroy(struct batch **batch);
uint64_t batch_bytes(const struct program_config *config, int n_groups);

void batch_clear(struct batch *b);

/* Adds tokens ids[0..n) of one sequence at positions first..; tables[g] is its page table in group g, with pages for
 * all of them. prompt_len is the length of the request's prompt (for rotary scalings). Returns the index of the
 * first token in the step. */
int64_t batch_add(struct batch *b, const int32_t *ids, int64_t n, int64_t first, int64_t prompt_len,
		  const int32_t *const *tables);

/* program_step over what was added; nothing where that is nothing. */
int batch_run(struct batch *b, struct team *team, const struct sample_wish *wishes, int64_t n, sample_take_fn *take,
	      void *user);

/* program_begin over what was added: `from` as in struct step. program_end ends it. */
int batch_begin(struct batch *b, const int32_t *from, const struct sample_wish *wishes, int64_t n);
/* program_can_run_ahead with what was added. */
bool batch_can_run_ahead(const struct batch *b);

#endif
