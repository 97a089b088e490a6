#include "ops/attention_ranges.h"

#include "base/status.h"

/* What a ticket costs beside its keys (its rows' queries, its result), in tiles of keys. */
#define TICKET_COST 2
/* A range may be longer or shorter than its share by this part of it, if a ticket then stays whole. */
#define SLACK 16
/* Tickets of wide blocks stay whole if the busiest worker then has at most this part more than its share: what is cut
 * writes and reads states. */
#define WHOLE_SLACK 12
/* Ceiling for the states of shared tickets. */
#define MAX_STATE_BYTES ((int64_t)96 << 20)

/* ---- Sizes ---- */

static int64_t at_least(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static size_t take(size_t *used, int64_t n, size_t size)
{
	size_t at = *used;
	*used += ((size_t)n * size + 127) / 128 * 128;
	return at;
}

void attention_ranges_init(struct attention_ranges *r)
{
	/* A sequence's last block is the only one that may not be full. */
	r->max_blocks = r->max_tokens * r->group / r->block_rows + r->max_seqs;
	/* Each shared ticket lies across the border between two workers. */
	r->max_splits = at_least(r->n_workers - 1, 1);
	int64_t pieces = r->max_keys ? attention_piece_of(r->max_keys - 1) + 1 : 1;
	int64_t rows = at_least(1, r->max_q_len < r->block_rows ? r->max_q_len * r->group : r->block_rows);
	if (rows > r->block_rows)
		rows = r->block_rows;
	/* Room for every ticket that may be shared, if it had its share of the longest sequence's pieces. */
	int64_t states = r->max_splits * 2 + pieces * at_least(r->n_kv_heads, 64);
	int64_t most = MAX_STATE_BYTES / (int64_t)sizeof(float);
	int64_t floats = attention_gpu_state_floats(rows, r->head_dim);
	r->max_state_floats = states > most / floats ? most : states * floats;

	size_t used = 0;
	r->workers_at = take(&used, r->n_workers, sizeof(struct attention_worker));
	r->splits_at = take(&used, r->max_splits, sizeof(struct attention_split));
	/* One more than there can be: kernels look at the one behind the last before they know that it is none. */
	r->blocks_at = take(&used, r->max_blocks + 1, sizeof(struct attention_block));
	/* In front of the tickets' numbers, their blocks by cost: the host's own. */
	r->line_at = take(&used, r->wide ? r->max_blocks * (r->n_kv_heads + 1) : 0, sizeof(int32_t));
	r->bytes = used;
}

/* ---- Blocks ---- */

int attention_ranges_check(const struct attention_ranges *r, int64_t n_seqs, const int32_t *q_begin,
			   const int32_t *kv_len)
{
	if (n_seqs < 0 || n_seqs > r->max_seqs)
		FAIL(VB_ELIMIT, "attention: %lld sequences in a step: the plan holds %lld", (long long)n_seqs,
		     (long long)r->max_seqs);
	if (n_seqs && q_begin[0] < 0)
		FAIL(VB_EINVAL, "attention: q_begin[0] is %d: it must not be negative", q_begin[0]);
	for (int64_t s = 0; s < n_seqs; s++) {
		if (q_begin[s + 1] < q_begin[s])
			FAIL(VB_EINVAL, "attention: q_begin[%lld] is %d, less than the entry before it",
			     (long long)s + 1, q_begin[s + 1]);
		if (q_begin[s + 1] > r->max_tokens)
			FAIL(VB_ELIMIT, "attention: q_begin[%lld] is %d: the plan holds %lld tokens a step",
			     (long long)s + 1, q_begin[s + 1], (long long)r->max_tokens);
		if (q_begin[s + 1] - q_begin[s] > r->max_q_len)
			FAIL(VB_ELIMIT, "attention: sequence %lld has %d query tokens: the plan allows %lld",
			     (long long)s, q_begin[s + 1] - q_begin[s], (long long)r->max_q_len);
		if (kv_len[s] < 0 || kv_len[s] > r->max_keys)
			FAIL(VB_ELIMIT, "attention: kv_len[%lld] is %d: the plan's page table holds 0 to %lld keys",
			     (long long)s, kv_len[s], (long long)r->max_keys);
	}
	return VB_OK;
}

static int64_t tiles_between(int64_t key_begin, int64_t key_end)
{
	if (key_begin >= key_end)
		return 0;
	return (key_end + ATTENTION_TILE - 1) / ATTENTION_TILE - key_begin / ATTENTION_TILE;
}

/* Of one of its tickets. */
static int64_t cost_of(const struct attention_block *b)
{
	return TICKET_COST + tiles_between(b->key_begin, b->key_end);
}

/* Tiles of the block's keys that are in the pieces begin..end. */
static int64_t tiles_of(const struct attention_block *b, int64_t begin, int64_t end)
{
	int64_t first = attention_piece_begin(begin), last = attention_piece_begin(end);
	return tiles_between(first > b->key_begin ? first : b->key_begin, last < b->key_end ? last : b->key_end);
}

/* Writes the blocks, and the cost of all tickets. */
static int64_t write_blocks(const struct attention_ranges *r, struct attention_block *blocks, int64_t n_seqs,
			    const int32_t *q_begin, const int32_t *kv_len, int64_t *cost)
{
	int64_t n = 0;
	*cost = 0;
	for (int64_t s = 0; s < n_seqs; s++) {
		int32_t q_len = q_begin[s + 1] - q_begin[s], position = kv_len[s] - q_len;
		int64_t n_rows = q_len * r->group;
		for (int64_t row = 0; row < n_rows; row += r->block_rows) {
			int64_t end = row + r->block_rows < n_rows ? row + r->block_rows : n_rows;
			int64_t key_begin, key_end, unused;
			attention_visible(position + row / r->group, r->window, &key_begin, &unused);
			attention_visible(position + (end - 1) / r->group, r->window, &unused, &key_end);
			struct attention_block *b = &blocks[n++];
			*b = (struct attention_block){ .seq = (int32_t)s, .token = q_begin[s], .position = position,
						       .row_begin = (int32_t)row, .row_end = (int32_t)end };
			if (key_begin < key_end) {
				b->key_begin = (int32_t)key_begin;
				b->key_end = (int32_t)key_end;
			}
			*cost += cost_of(b) * r->n_kv_heads;
		}
	}
	return n;
}

/* ---- Ranges ---- */

/* Where the work is handed out: a ticket, and the piece of it that is next. */
struct place {
	const struct attention_ranges *r;
	const struct attention_block *block; /* of the ticket */
	int64_t ticket, n_tickets, piece, piece_end; /* piece_end: of the ticket */
	int64_t rest;                        /* cost of what is left of the ticket */
	int64_t split;                       /* that the ticket is shared by, -1: not yet */
	struct attention_split *splits;
	int64_t n_splits, n_state_floats;
};

static void enter_ticket(struct place *p, const struct attention_block *blocks)
{
	if (p->ticket == p->n_tickets)
		return;
	p->block = &blocks[p->ticket / p->r->n_kv_heads];
	attention_block_pieces(p->block, &p->piece, &p->piece_end);
	p->rest = cost_of(p->block);
	p->split = -1;
}

/* How many of the ticket's next pieces come nearest to `share`, at least one, with their cost. */
static int64_t pieces_for(const struct place *p, int64_t share, int64_t *cost)
{
	int64_t end = p->piece;
	*cost = p->split < 0 ? TICKET_COST : 0;
	while (end < p->piece_end) {
		int64_t more = tiles_of(p->block, end, end + 1);
		if (end > p->piece && *cost + more - share > share - *cost)
			break;
		*cost += more;
		end++;
	}
	return end - p->piece;
}

/* Cuts the ticket n pieces on, if there is room for its states. */
static bool cut(struct place *p, int64_t n)
{
	int64_t piece = p->piece + n;
	if (piece >= p->piece_end)
		return false;
	if (p->split < 0) {
		int64_t floats = (1 + p->piece_end - piece) *
				 attention_gpu_state_floats(p->block->row_end - p->block->row_begin, p->r->head_dim);
		if (p->n_splits == p->r->max_splits || floats > p->r->max_state_floats - p->n_state_floats)
			return false;
		p->split = p->n_splits++;
		p->splits[p->split] = (struct attention_split){ .n_parts = 1, .first_end = (int32_t)piece,
								.states_begin = (int32_t)p->n_state_floats };
		p->n_state_floats += floats;
	}
	p->splits[p->split].n_parts++;
	p->piece = piece;
	return true;
}

/* Gives the worker about `share`, or all that is left. Returns what it got. */
static int64_t fill_worker(struct place *p, const struct attention_block *blocks, struct attention_worker *w,
			   int64_t share, bool all)
{
	int64_t load = 0, slack = share / SLACK;
	*w = (struct attention_worker){ .first = (int32_t)p->ticket, .last = (int32_t)p->ticket - 1,
					.first_piece = (int32_t)p->piece, .first_split = -1, .last_split = -1 };
	if (p->ticket < p->n_tickets) {
		w->ticket = (int32_t)p->ticket;
		w->block = *p->block;
	}
	while (p->ticket < p->n_tickets && (all || load < share - slack)) {
		int64_t cost, n = pieces_for(p, share - load, &cost);
		bool begun = w->last >= w->first;
		/* Not at all, where its first piece already is further beyond the share than its absence would be short. */
		if (!all && begun && load + cost - share > share - load)
			break;
		bool shared = p->split >= 0;
		w->last = (int32_t)p->ticket;
		if (!all && load + p->rest > share + slack && cut(p, n)) {
			w->last_piece = (int32_t)p->piece;
			w->last_split = (int32_t)p->split;
			if (!begun)
				w->first_split = (int32_t)p->split;
			p->rest -= cost;
			return load + cost;
		}
		w->last_piece = (int32_t)p->piece_end;
		w->last_split = shared ? (int32_t)p->split : -1;
		if (!begun)
			w->first_split = w->last_split;
		load += p->rest;
		p->ticket++;
		enter_ticket(p, blocks);
	}
	return load;
}

/* ---- Whole tickets ---- */

/* Lets entry i of a heap of n blocks, the cheapest at its top, sink to its place. */
static void sink(int32_t *heap, int64_t n, int64_t i, const struct attention_block *blocks)
{
	int32_t block = heap[i];
	int64_t cost = cost_of(&blocks[block]);
	for (int64_t child; (child = 2 * i + 1) < n; i = child) {
		if (child + 1 < n && cost_of(&blocks[heap[child + 1]]) < cost_of(&blocks[heap[child]]))
			child++;
		if (cost <= cost_of(&blocks[heap[child]]))
			break;
		heap[i] = heap[child];
	}
	heap[i] = block;
}

/* Blocks, the dearest first. */
static void sort_blocks(int32_t *order, int64_t n, const struct attention_block *blocks)
{
	for (int64_t i = 0; i < n; i++)
		order[i] = (int32_t)i;
	for (int64_t i = n / 2; i-- > 0;)
		sink(order, n, i, blocks);
	for (int64_t end = n; end-- > 1;) {
		int32_t cheapest = order[0];
		order[0] = order[end];
		order[end] = cheapest;
		sink(order, end, 0, blocks);
	}
}

/* The ticket that worker w gets in a round, -1 if none is left for it: the dearest first, to and fro over the workers. */
static int64_t dealt(const struct attention_ranges *r, int64_t n_tickets, int64_t w, int64_t round)
{
	int64_t i = round * r->n_workers + (round % 2 ? r->n_workers - 1 - w : w);
	return i < n_tickets ? i : -1;
}

/* Gives every worker whole tickets. False, with nothing written that matters, where some would get too much. */
static bool deal_tickets(const struct attention_ranges *r, unsigned char *base, int64_t n_blocks, int64_t all_cost)
{
	struct attention_worker *workers = (struct attention_worker *)(void *)(base + r->workers_at);
	const struct attention_block *blocks = (const struct attention_block *)(const void *)(base + r->blocks_at);
	int32_t *order = (int32_t *)(void *)(base + r->line_at), *line = order + r->max_blocks;
	int64_t n_tickets = n_blocks * r->n_kv_heads, n = 0;
	int64_t share = all_cost / r->n_workers;
	if (n_tickets < r->n_workers)
		return false;
	sort_blocks(order, n_blocks, blocks);
	for (int64_t w = 0; w < r->n_workers; w++) {
		int64_t load = 0, i;
		workers[w] = (struct attention_worker){ .first = (int32_t)n, .last_piece = INT32_MAX, .first_split = -1,
							.last_split = -1 };
		for (int64_t round = 0; (i = dealt(r, n_tickets, w, round)) >= 0; round++) {
			int32_t block = order[i / r->n_kv_heads];
			line[n++] = (int32_t)(block * r->n_kv_heads + i % r->n_kv_heads);
			load += cost_of(&blocks[block]);
		}
		if (load > share + share / WHOLE_SLACK)
			return false;
		workers[w].last = (int32_t)n - 1;
		workers[w].ticket = line[workers[w].first];
		workers[w].block = blocks[workers[w].ticket / r->n_kv_heads];
	}
	return true;
}

int attention_ranges_write(const struct attention_ranges *r, void *list, int64_t n_seqs, const int32_t *q_begin,
			   const int32_t *kv_len)
{
	unsigned char *base = list;
	struct attention_worker *workers = (struct attention_worker *)(void *)(base + r->workers_at);
	struct attention_block *blocks = (struct attention_block *)(void *)(base + r->blocks_at);
	int64_t left = 0;
	TRY(attention_ranges_check(r, n_seqs, q_begin, kv_len));
	int64_t n_blocks = write_blocks(r, blocks, n_seqs, q_begin, kv_len, &left);
	if (r->wide && deal_tickets(r, base, n_blocks, left))
		return VB_OK;
	if (r->wide) {
		int32_t *line = (int32_t *)(void *)(base + r->line_at) + r->max_blocks;
		for (int64_t t = 0; t < n_blocks * r->n_kv_heads; t++)
			line[t] = (int32_t)t;
	}
	struct place p = { .r = r, .n_tickets = n_blocks * r->n_kv_heads,
			   .splits = (struct attention_split *)(void *)(base + r->splits_at) };
	enter_ticket(&p, blocks);
	/* Not less than the first share where others took more than theirs: then some stay idle, instead of all tickets of
	 * the rest being cut. */
	int64_t least = (left + r->n_workers - 1) / r->n_workers;
	for (int64_t w = 0; w < r->n_workers; w++) {
		int64_t n_left = r->n_workers - w, share = at_least(least, (left + n_left - 1) / n_left);
		left -= fill_worker(&p, blocks, &workers[w], share, n_left == 1);
	}
	return VB_OK;
}
