#include "ops/attention_plan.h"

#include "base/mem.h"
#include "base/status.h"
#include "ops/kernels.h"

#include <limits.h>
#include <stdatomic.h>
#include <string.h>

/* Tickets a worker should find on average, so that one that starts late or is slowed down does not hold up the rest. */
#define TICKETS_PER_WORKER 8
/* What reading a key and value costs, in rows that use it (streaming them from memory is what decoding pays for). */
#define KEY_COST_ROWS 8
/* Ceiling for the states of split blocks. Beyond it blocks stay whole. */
#define MAX_STATE_BYTES ((int64_t)64 << 20)

/* An item of the list. */
struct entry {
	int32_t seq;
	int32_t kv_head_begin, kv_head_end;
	int32_t token_begin, token_end;
	int32_t piece_begin, piece_end;
	int32_t split; /* index of the split block it is a part of, -1: the whole block */
};

/* A block that was split: its entries follow each other in the list. */
struct split {
	int32_t piece_begin, piece_end;
	int32_t n_entries;
	int64_t states; /* floats from the start of the plan's states */
};

struct attention_plan {
	struct attention_request req;
	struct attention_limits limits;
	const struct attention_kernel *kernel;
	int64_t bytes, block_tokens, scratch_bytes;
	int64_t max_entries, max_parts, max_splits, max_state_floats;

	int32_t *q_begin, *kv_len;
	struct entry *entries;
	struct split *splits;
	_Atomic int32_t *arrived; /* [max_splits]: parts that are done; back at 0 after each run */
	unsigned char *scratch;   /* [n_workers, scratch_bytes] */
	float *states;

	int64_t n_seqs, n_entries, n_parts, n_splits, n_state_floats;
	_Alignas(64) _Atomic int64_t next_ticket;
};

/* ---- Sizes and memory ---- */

/* Hands out parts of one block of memory; with a NULL base it only counts. */
struct carve {
	unsigned char *base;
	int64_t used;
};

static void *carve_take(struct carve *c, int64_t n, int64_t size)
{
	void *p = c->base ? c->base + c->used : NULL;
	c->used += (n * size + 63) / 64 * 64;
	return p;
}

/* The one place that sizes a plan. p's request and limits are set. */
static void layout(struct attention_plan *p, struct carve *c)
{
	const struct attention_request *r = &p->req;
	const struct attention_limits *l = &p->limits;
	int64_t g = r->n_heads / r->n_kv_heads;
	int64_t max_rows = attention_max_rows(r->n_heads, r->n_kv_heads);
	int64_t max_keys = l->table_width * r->page_size;
	int64_t max_pieces = max_keys ? attention_piece_of(max_keys - 1) + 1 : 0;

	p->block_tokens = attention_max_tokens(r->n_heads, r->n_kv_heads);
	p->scratch_bytes = (attention_scratch_bytes(max_rows, r->head_dim, r->v_head_dim) + 63) / 64 * 64;

	/* What is more than a ticket's fair share is split: at most as many as there are tickets, which together have at most
	 * as many parts again. */
	int64_t tickets = l->n_workers > 1 ? (int64_t)l->n_workers * TICKETS_PER_WORKER : 0;
	p->max_splits = tickets;
	p->max_parts = 2 * p->max_splits;
	p->max_entries = (l->max_tokens / p->block_tokens + l->max_seqs) * r->n_kv_heads + p->max_parts;

	int64_t split_rows = max_rows < 16 || g > 16 ? max_rows : 16 / g * g;
	int64_t states = (tickets + r->n_kv_heads) * max_pieces * split_rows;
	int64_t state_bytes = attention_state_floats(r->v_head_dim) * (int64_t)sizeof(float);
	if (states > MAX_STATE_BYTES / state_bytes)
		states = MAX_STATE_BYTES / state_bytes;
	p->max_state_floats = states * attention_state_floats(r->v_head_dim);

	p->q_begin = carve_take(c, l->max_seqs + 1, sizeof *p->q_begin);
	p->kv_len = carve_take(c, l->max_seqs, sizeof *p->kv_len);
	p->entries = carve_take(c, p->max_entries, sizeof *p->entries);
	p->splits = carve_take(c, p->max_splits, sizeof *p->splits);
	p->arrived = carve_take(c, p->max_splits, sizeof *p->arrived);
	p->scratch = carve_take(c, l->n_workers, p->scratch_bytes);
	p->states = carve_take(c, p->max_state_floats, sizeof *p->states);
}

static int check_limits(const struct attention_request *r, const struct attention_limits *l)
{
	const char *error = attention_request_error(r);
	if (error)
		FAIL(VB_EINVAL, "attention plan: %s", error);
	if (l->max_seqs < 1 || l->max_seqs > 1 << 24 || l->max_tokens < 1 || l->max_tokens > INT_MAX / 2)
		FAIL(VB_EINVAL, "attention plan: %lld sequences and %lld tokens a step: both must be positive "
		     "and sane", (long long)l->max_seqs, (long long)l->max_tokens);
	if (l->table_width < 0 || l->table_width > INT_MAX / 2 / r->page_size)
		FAIL(VB_EINVAL, "attention plan: a page table of %lld pages of %lld tokens: a sequence is limited to "
		     "2^30 tokens", (long long)l->table_width, (long long)r->page_size);
	if (l->n_workers < 1 || l->n_workers > 4096)
		FAIL(VB_EINVAL, "attention plan: %d workers: use 1 to 4096", l->n_workers);
	return VB_OK;
}

int64_t attention_plan_bytes_for(const struct attention_request *req, const struct attention_limits *limits)
{
	struct attention_plan p = { .req = *req, .limits = *limits };
	struct carve count = { NULL, sizeof p };
	layout(&p, &count);
	return count.used;
}

int attention_plan_create(struct attention_plan **out, const struct attention_request *req, int row,
			  const struct attention_limits *limits)
{
	*out = NULL;
	TRY(check_limits(req, limits));
	CHECK(row >= 0 && row < attention_set.n_rows);
	const char *reason = attention_set.refuse(req, row);
	if (reason)
		FAIL(VB_EUNSUPPORTED, "attention plan: %s: %s", attention_set.rows[row].name, reason);
	int64_t bytes = attention_plan_bytes_for(req, limits);
	struct attention_plan *p = mem_pages((size_t)bytes);
	if (!p)
		return VB_ENOMEM;
	p->req = *req;
	p->limits = *limits;
	p->kernel = attention_kernel(row);
	struct carve c = { (unsigned char *)p, sizeof *p };
	layout(p, &c);
	CHECK(c.used == bytes);
	p->bytes = bytes;
	*out = p;
	return VB_OK;
}

void attention_plan_destroy(struct attention_plan **plan)
{
	if (*plan)
		mem_free_pages(*plan, (size_t)(*plan)->bytes);
	*plan = NULL;
}

int64_t attention_plan_bytes(const struct attention_plan *plan)
{
	return plan->bytes;
}

/* ---- The list ---- */

static int check_lengths(const struct attention_plan *p, int64_t n_seqs, const int32_t *q_begin, const int32_t *kv_len)
{
	int64_t max_keys = p->limits.table_width * p->req.page_size;
	if (n_seqs < 0 || n_seqs > p->limits.max_seqs)
		FAIL(VB_ELIMIT, "attention: %lld sequences in a step: the plan holds %lld", (long long)n_seqs,
		     (long long)p->limits.max_seqs);
	if (n_seqs && q_begin[0] < 0)
		FAIL(VB_EINVAL, "attention: q_begin[0] is %d: it must not be negative", q_begin[0]);
	for (int64_t s = 0; s < n_seqs; s++) {
		if (q_begin[s + 1] < q_begin[s])
			FAIL(VB_EINVAL, "attention: q_begin[%lld] is %d, less than the entry before it",
			     (long long)s + 1, q_begin[s + 1]);
		if (q_begin[s + 1] > p->limits.max_tokens)
			FAIL(VB_ELIMIT, "attention: q_begin[%lld] is %d: the plan holds %lld tokens a step",
			     (long long)s + 1, q_begin[s + 1], (long long)p->limits.max_tokens);
		if (q_begin[s + 1] - q_begin[s] > p->req.max_q_len)
			FAIL(VB_ELIMIT, "attention: sequence %lld has %d query tokens: the plan allows %lld",
			     (long long)s, q_begin[s + 1] - q_begin[s], (long long)p->req.max_q_len);
		if (kv_len[s] < 0 || kv_len[s] > max_keys)
			FAIL(VB_ELIMIT, "attention: kv_len[%lld] is %d: the plan's page table holds 0 to %lld keys",
			     (long long)s, kv_len[s], (long long)max_keys);
	}
	return VB_OK;
}

/* A block of query tokens of one sequence, the keys that any of them sees, and the KV heads that the next entries are for. */
struct block {
	int32_t seq, token_begin, token_end;
	int32_t kv_head_begin, kv_head_end;
	int64_t key_begin, key_end;
};

static int64_t blocks_of(const struct attention_plan *p, int64_t seq)
{
	int64_t q_len = p->q_begin[seq + 1] - p->q_begin[seq];
	return (q_len + p->block_tokens - 1) / p->block_tokens;
}

static struct block get_block(const struct attention_plan *p, int64_t seq, int64_t i)
{
	int64_t q_len = p->q_begin[seq + 1] - p->q_begin[seq];
	int64_t begin = i * p->block_tokens, end = begin + p->block_tokens;
	int64_t first = p->kv_len[seq] - q_len; /* position of the first query token */
	int64_t unused;
	struct block b = { .seq = (int32_t)seq, .token_begin = (int32_t)begin };
	b.token_end = (int32_t)(end < q_len ? end : q_len);
	attention_visible(first + b.token_begin, p->req.window, &b.key_begin, &unused);
	attention_visible(first + b.token_end - 1, p->req.window, &unused, &b.key_end);
	return b;
}

static int64_t cost_of(const struct attention_plan *p, const struct block *b, int64_t n_keys)
{
	int64_t rows = (b->token_end - b->token_begin) * (p->req.n_heads / p->req.n_kv_heads);
	return (n_keys + 1) * (rows + KEY_COST_ROWS);
}

static void add_entry(struct attention_plan *p, const struct block *b, int64_t piece_begin, int64_t piece_end,
		      int64_t split)
{
	p->entries[p->n_entries++] = (struct entry){ b->seq, b->kv_head_begin, b->kv_head_end, b->token_begin, b->token_end,
						     (int32_t)piece_begin, (int32_t)piece_end, (int32_t)split };
}

/* Cuts the block's pieces into n_parts runs of about equally many keys, if there is room for their states. */
static bool add_split(struct attention_plan *p, const struct block *b, int64_t first, int64_t last, int64_t n_parts)
{
	int64_t n_rows = (b->token_end - b->token_begin) * (p->req.n_heads / p->req.n_kv_heads);
	n_rows *= b->kv_head_end - b->kv_head_begin;
	int64_t floats = (last - first) * n_rows * attention_state_floats(p->req.v_head_dim);
	if (n_parts > last - first)
		n_parts = last - first;
	if (n_parts < 2 || p->n_splits == p->max_splits || n_parts > p->max_parts - p->n_parts ||
	    floats > p->max_state_floats - p->n_state_floats)
		return false;
	struct split *s = &p->splits[p->n_splits];
	*s = (struct split){ .piece_begin = (int32_t)first, .piece_end = (int32_t)last, .states = p->n_state_floats };
	int64_t begin = first;
	for (int64_t i = 0; i < n_parts && begin < last; i++) {
		/* The run ends at the first piece border at or past its share of the keys. */
		int64_t goal = b->key_begin + (b->key_end - b->key_begin) * (i + 1) / n_parts;
		int64_t end = begin + 1;
		while (end < last && (i == n_parts - 1 || attention_piece_begin(end) < goal))
			end++;
		add_entry(p, b, begin, end, p->n_splits);
		s->n_entries++;
		begin = end;
	}
	p->n_splits++;
	p->n_parts += n_parts;
	p->n_state_floats += floats;
	return true;
}

/* KV heads that share an item: as many as its rows allow, but where the work of all of them could not be cut into
 * `n_parts` parts at its pieces. */
static int64_t heads_of(const struct attention_plan *p, const struct block *b, int64_t n_pieces, int64_t n_parts)
{
	int64_t rows = (b->token_end - b->token_begin) * (p->req.n_heads / p->req.n_kv_heads), n = p->req.n_kv_heads;
	int64_t heads = attention_max_rows(p->req.n_heads, n) / rows;
	heads = heads < n ? heads : n;
	if (n_parts > n_pieces)
		heads = heads < n * n_pieces / n_parts ? heads : n * n_pieces / n_parts;
	return heads > 1 ? heads : 1;
}

static void add_block(struct attention_plan *p, struct block *b, int64_t fair_cost)
{
	int64_t n_keys = b->key_end - b->key_begin, n_heads = p->req.n_kv_heads;
	int64_t first = 0, last = 0;
	if (n_keys > 0) {
		first = attention_piece_of(b->key_begin);
		last = attention_piece_of(b->key_end - 1) + 1;
	}
	int64_t cost = cost_of(p, b, n_keys);
	int64_t heads = heads_of(p, b, last - first, fair_cost ? (cost * n_heads + fair_cost - 1) / fair_cost : 1);
	for (int64_t head = 0; head < n_heads; head += heads) {
		b->kv_head_begin = (int32_t)head;
		b->kv_head_end = (int32_t)(head + heads < n_heads ? head + heads : n_heads);
		int64_t its_cost = cost * (b->kv_head_end - b->kv_head_begin);
		if (!add_split(p, b, first, last, fair_cost ? (its_cost + fair_cost - 1) / fair_cost : 1))
			add_entry(p, b, first, last, -1);
	}
}

int attention_plan_update(struct attention_plan *p, int64_t n_seqs, const int32_t *q_begin, const int32_t *kv_len)
{
	p->n_seqs = p->n_entries = p->n_parts = p->n_splits = p->n_state_floats = 0;
	TRY(check_lengths(p, n_seqs, q_begin, kv_len));
	if (!n_seqs)
		return VB_OK;
	p->n_seqs = n_seqs;
	memcpy(p->q_begin, q_begin, (size_t)(n_seqs + 1) * sizeof *q_begin);
	memcpy(p->kv_len, kv_len, (size_t)n_seqs * sizeof *kv_len);

	int64_t total = 0;
	for (int64_t s = 0; s < n_seqs; s++) {
		for (int64_t i = 0; i < blocks_of(p, s); i++) {
			struct block b = get_block(p, s, i);
			total += cost_of(p, &b, b.key_end - b.key_begin);
		}
	}
	int64_t fair_cost = 0;
	if (p->limits.n_workers > 1)
		fair_cost = total * p->req.n_kv_heads / (p->limits.n_workers * TICKETS_PER_WORKER) + 1;
	/* The last blocks of a prompt see the most keys: they go first, so that small ones fill the end. */
	for (int64_t s = 0; s < n_seqs; s++) {
		for (int64_t i = blocks_of(p, s); i-- > 0;) {
			struct block b = get_block(p, s, i);
			add_block(p, &b, fair_cost);
		}
	}
	return VB_OK;
}

void attention_plan_step(const struct attention_plan *p, struct attention_step *out)
{
	*out = (struct attention_step){ p->n_seqs, p->q_begin, p->kv_len };
}

int64_t attention_plan_n_items(const struct attention_plan *p)
{
	return p->n_entries;
}

void attention_plan_item(const struct attention_plan *p, int64_t i, struct attention_item *out)
{
	const struct entry *e = &p->entries[i];
	*out = (struct attention_item){ .seq = e->seq,
					.kv_head_begin = e->kv_head_begin,
					.kv_head_end = e->kv_head_end,
					.token_begin = e->token_begin,
					.token_end = e->token_end,
					.piece_begin = e->piece_begin,
					.piece_end = e->piece_end };
}

/* ---- Running ---- */

struct run {
	struct attention_plan *plan;
	struct attention_args args;
};

/* Says that one part of a split block is done; the last to say so merges all parts. */
static void finish_part(const struct run *run, const struct split *s, int64_t n, struct attention_item *it,
			float *states, void *scratch)
{
	struct attention_plan *p = run->plan;
	_Atomic int32_t *arrived = &p->arrived[n];
	if (atomic_fetch_add_explicit(arrived, 1, memory_order_acq_rel) + 1 < s->n_entries)
		return;
	atomic_store_explicit(arrived, 0, memory_order_relaxed);
	it->piece_begin = s->piece_begin;
	it->piece_end = s->piece_end;
	it->states = states;
	p->kernel->merge(&run->args, it, scratch);
}

static void run_ticket(const struct run *run, int64_t ticket, void *scratch)
{
	struct attention_plan *p = run->plan;
	const struct entry *e = &p->entries[ticket];
	struct attention_item it;
	attention_plan_item(p, ticket, &it);
	if (e->split < 0) {
		p->kernel->run(&run->args, &it, scratch);
		return;
	}
	const struct split *s = &p->splits[e->split];
	int64_t n_rows = attention_item_rows(&it, p->req.n_heads / p->req.n_kv_heads);
	int64_t piece_floats = n_rows * attention_state_floats(p->req.v_head_dim);
	float *states = p->states + s->states;
	it.states = states + (e->piece_begin - s->piece_begin) * piece_floats;
	p->kernel->run(&run->args, &it, scratch);
	finish_part(run, s, e->split, &it, states, scratch);
}

static void work(void *context, int index, int n_workers)
{
	(void)n_workers;
	const struct run *run = context;
	struct attention_plan *p = run->plan;
	for (;;) {
		int64_t ticket = atomic_fetch_add_explicit(&p->next_ticket, 1, memory_order_relaxed);
		if (ticket >= p->n_entries)
			return;
		run_ticket(run, ticket, p->scratch + index * p->scratch_bytes);
	}
}

void attention_plan_run(struct attention_plan *p, struct team *team, const struct attention_args *args)
{
	CHECK(team_size(team) <= p->limits.n_workers);
	if (!p->n_entries)
		return;
	struct run run = { p, *args };
	run.args.n_seqs = p->n_seqs;
	run.args.q_begin = p->q_begin;
	run.args.kv_len = p->kv_len;
	atomic_store_explicit(&p->next_ticket, 0, memory_order_relaxed);
	team_run(team, work, &run);
}
