#include "ops/batch.h"

#include "base/mem.h"
#include "base/status.h"

#include <string.h>

static int64_t width_of(const struct program_config *c)
{
	return (c->context + c->page_size - 1) / c->page_size;
}

uint64_t batch_bytes(const struct program_config *c, int n_groups)
{
	uint64_t tokens = (uint64_t)c->max_tokens * (3 * sizeof(int32_t) + (size_t)n_groups * sizeof(int64_t));
	uint64_t tables = (uint64_t)(n_groups * c->max_seqs * width_of(c)) * sizeof(int32_t);
	return sizeof(struct batch) + tokens + tables + (uint64_t)(2 * c->max_seqs + 1) * sizeof(int32_t);
}

int batch_create(struct batch **out, struct program *program)
{
	*out = NULL;
	const struct program_config *c = program_get_config(program);
	struct batch *b = mem_calloc(1, sizeof *b);
	if (!b)
		return VB_ENOMEM;
	b->program = program;
	b->max_tokens = c->max_tokens;
	b->max_seqs = c->max_seqs;
	b->page_size = c->page_size;
	b->table_width = width_of(c);
	b->n_groups = program_n_groups(program);
	size_t tokens = (size_t)c->max_tokens, seqs = (size_t)c->max_seqs;
	b->ids = mem_calloc(tokens, sizeof *b->ids);
	b->position = mem_calloc(tokens, sizeof *b->position);
	b->rope_len = mem_calloc(tokens, sizeof *b->rope_len);
	b->q_begin = mem_calloc(seqs + 1, sizeof *b->q_begin);
	b->kv_len = mem_calloc(seqs, sizeof *b->kv_len);
	bool missing = !b->ids || !b->position || !b->rope_len || !b->q_begin || !b->kv_len;
	for (int g = 0; g < b->n_groups; g++) {
		b->slot[g] = mem_calloc(tokens, sizeof *b->slot[g]);
		b->page_table[g] = mem_calloc(seqs * (size_t)b->table_width, sizeof *b->page_table[g]);
		missing |= !b->slot[g] || !b->page_table[g];
	}
	if (missing) {
		batch_destroy(&b);
		return VB_ENOMEM;
	}
	*out = b;
	return VB_OK;
}

void batch_destroy(struct batch **bp)
{
	struct batch *b = *bp;
	if (!b)
		return;
	mem_free(b->ids);
	mem_free(b->position);
	mem_free(b->rope_len);
	mem_free(b->q_begin);
	mem_free(b->kv_len);
	for (int g = 0; g < PROGRAM_MAX_GROUPS; g++) {
		mem_free(b->slot[g]);
		mem_free(b->page_table[g]);
	}
	mem_free(b);
	*bp = NULL;
}

void batch_clear(struct batch *b)
{
	b->n_tokens = b->n_seqs = 0;
}

int64_t batch_add(struct batch *b, const int32_t *ids, int64_t n, int64_t first, int64_t prompt_len,
		  const int32_t *const *tables)
{
	CHECK(b->n_tokens + n <= b->max_tokens && b->n_seqs < b->max_seqs && n > 0);
	int64_t begin = b->n_tokens, page = b->page_size;
	int64_t n_pages = (first + n + page - 1) / page;
	CHECK(n_pages <= b->table_width);
	for (int64_t i = 0; i < n; i++) {
		b->ids[begin + i] = ids[i];
		b->position[begin + i] = (int32_t)(first + i);
		b->rope_len[begin + i] = (int32_t)prompt_len;
	}
	for (int g = 0; g < b->n_groups; g++) {
		memcpy(b->page_table[g] + b->n_seqs * b->table_width, tables[g],
		       (size_t)n_pages * sizeof *tables[g]);
		for (int64_t i = 0; i < n; i++)
			b->slot[g][begin + i] = tables[g][(first + i) / page] * page + (first + i) % page;
	}
	b->kv_len[b->n_seqs++] = (int32_t)(first + n);
	b->n_tokens += n;
	b->q_begin[b->n_seqs] = (int32_t)b->n_tokens;
	return begin;
}

static struct step step_of(const struct batch *b, struct step_group *groups)
{
	for (int g = 0; g < b->n_groups; g++)
		groups[g] = (struct step_group){ b->slot[g], b->page_table[g], b->table_width };
	return (struct step){
		.n_tokens = b->n_tokens, .n_seqs = b->n_seqs, .ids = b->ids, .position = b->position,
		.rope_len = b->rope_len, .q_begin = b->q_begin, .kv_len = b->kv_len, .groups = groups,
	};
}

int batch_run(struct batch *b, struct team *team, const struct sample_wish *wishes, int64_t n, sample_take_fn *take,
	      void *user)
{
	struct step_group groups[PROGRAM_MAX_GROUPS];
	struct step step = step_of(b, groups);
	return program_step(b->program, team, &step, wishes, n, take, user);
}

int batch_begin(struct batch *b, const int32_t *from, const struct sample_wish *wishes, int64_t n)
{
	struct step_group groups[PROGRAM_MAX_GROUPS];
	struct step step = step_of(b, groups);
	step.from = from;
	return program_begin(b->program, &step, wishes, n);
}

bool batch_can_run_ahead(const struct batch *b)
{
	struct step_group groups[PROGRAM_MAX_GROUPS];
	struct step step = step_of(b, groups);
	return program_can_run_ahead(b->program, &step);
}
