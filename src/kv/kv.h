/* kv.h - the face of src/kv: which pages of the cache belong to whom. Bookkeeping on the host; no memory of keys or
 * values is touched here, and after kv_create nothing is allocated.
 *
 * DESIGN. Layers with one window make a group (ops.h); each group has its own pool of pages, all of page_size tokens.
 * A sequence has a table a group: entry i is the page of tokens i * page_size .., or -1 where it has none (not yet, or
 * no longer: behind a window nobody looks back). Pages are counted references: of tables, and of the prefix tree.
 *
 * The prefix tree holds what was computed, for those who begin alike: a node is one full page of tokens behind a given
 * beginning, with the page of each group (or -1, given up). Nodes are found by a hash and compared token by token;
 * sequences of different salts never share. What no sequence holds is given up when pages run short, the least recently
 * used first: in a group that sees all keys whole nodes, leaves before what they hang on; behind a window single pages.
 * Because a token's keys and values are a function of its prefix alone, bit for bit (docs/NUMERICS.md), what was
 * computed by decoding may be shared like what was a prompt.
 *
 * Invariants, checked by kv_check:
 *   (1) a page is free, or its count of references equals the tables' entries plus the nodes that name it;
 *   (2) free + used + cached = all, in each group;
 *   (3) a page that a sequence may still write (its last, partly filled one, and those behind it) has one reference;
 *   (4) a sequence has every page that a query at its end or later may see, and none that no such query sees;
 *   (5) with a prefix tree, the full pages of a sequence are a path of the tree, and their nodes stay while it is open;
 *   (6) a node has a page in every group that sees all keys.
 */
#ifndef KV_KV_H
#define KV_KV_H

#include <stdbool.h>
#include <stdint.h>

#define KV_MAX_GROUPS 8

struct kv;

struct kv_config {
	int64_t page_size; /* tokens, a power of two */
	int n_groups;
	struct {
		int64_t window;  /* keys that a query sees, its own included; 0: all */
		int64_t n_pages; /* of the pool */
	} group[KV_MAX_GROUPS];
	int64_t max_seqs;    /* sequences open at once */
	int64_t max_tokens;  /* of one sequence: tables have max_tokens / page_size entries, rounded up */
	bool prefix_cache;   /* whether to keep a prefix tree */
};

int kv_create(struct kv **out, const struct kv_config *config);
void kv_destroy(struct kv **kv);
/* Bytes that kv_create takes. */
uint64_t kv_bytes(const struct kv_config *config);

/* ---- Counting pages. Where there is no window (0), all keys are seen. ---- */

/* The first page that a query at position `at` sees; later queries see none before it. */
static inline int64_t kv_first_page(int64_t window, int64_t page_size, int64_t at)
{
	return window > 0 && at + 1 > window ? (at + 1 - window) / page_size : 0;
}

/* The most pages that a sequence of n_tokens holds at once when it grows by at most `step_tokens` a step: what the
 * step's first query sees, and the step's own tokens, wherever the borders of pages fall. */
static inline int64_t kv_most_pages(int64_t window, int64_t page_size, int64_t n_tokens, int64_t step_tokens)
{
	int64_t all = (n_tokens + page_size - 1) / page_size;
	int64_t most = (window + step_tokens + page_size - 3) / page_size + 1;
	return window > 0 && most < all ? most : all;
}

/* Pages of group g that are free, or that only the prefix tree holds: those that the calls below can take. */
int64_t kv_available(const struct kv *kv, int group);

/* ---- Sequences. A handle is 0..max_seqs-1. ---- */

/* A new, empty sequence; -1 where max_seqs are open. */
int32_t kv_seq_open(struct kv *kv, uint64_t salt);
/* Gives everything back; full pages that were committed stay in the prefix tree as long as there is room. */
void kv_seq_close(struct kv *kv, int32_t seq);

/* A page whose contents must be copied (keys and values, every layer of the group) before the next step. */
struct kv_copy {
	int group;
	int32_t from, to;
};

/* Lets an empty sequence begin with a known beginning of tokens[0..n), the longest that is found: returns how many tokens
 * it covers (0..n) and takes their pages. Full pages are shared. Where what is known ends, or differs, inside a page, that page
 * is copied: *n_copies (at most one a group) are written to copies[KV_MAX_GROUPS]; the sources stay as they are until
 * the next call that takes pages. For windowed groups, the pages in sight of the next token must be known too. */
int64_t kv_seq_match(struct kv *kv, int32_t seq, const int32_t *tokens, int64_t n, struct kv_copy *copies, int *n_copies);

/* How many tokens kv_seq_match would cover now. held[g]: pages of them that other sequences hold already, so that taking
 * them leaves kv_available as it is; the others, and a page that must be copied, are taken from it. */
int64_t kv_peek(const struct kv *kv, uint64_t salt, const int32_t *tokens, int64_t n, int64_t held[KV_MAX_GROUPS]);

/* Takes pages so that positions below n_tokens have room in every group, giving up tree nodes where it must.
 * VB_ELIMIT (with the numbers) where there are not enough; nothing is taken, and nothing given up, then. */
int kv_seq_reserve(struct kv *kv, int32_t seq, int64_t n_tokens);

/* Says that the keys and values of tokens[0..n) are computed and final: full pages enter the prefix tree, and pages that
 * no query at position n or later can see are given back (to the tree or to the pool). n never falls, and the tokens
 * are those of earlier calls. A full page that the tree has already takes the place of the sequence's own. */
void kv_seq_commit(struct kv *kv, int32_t seq, const int32_t *tokens, int64_t n);

/* Gives back the pages behind the first n tokens, n at least what is committed. */
void kv_seq_truncate(struct kv *kv, int32_t seq, int64_t n);

/* A second sequence with the same n committed tokens: full pages are shared, the partly filled one is copied.
 * VB_ELIMIT where sequences or pages run out; everything is then as it was. */
int kv_seq_fork(struct kv *kv, int32_t seq, int32_t *out, struct kv_copy *copies, int *n_copies);

/* The table of a group: kv_table_width entries; borrowed, changes with every call. */
const int32_t *kv_seq_table(const struct kv *kv, int32_t seq, int group);
int64_t kv_table_width(const struct kv *kv);
/* Pages of a group that the sequence holds. */
int64_t kv_seq_pages(const struct kv *kv, int32_t seq, int group);
/* page * page_size + token in page of a position that has room. */
int64_t kv_seq_slot(const struct kv *kv, int32_t seq, int group, int64_t position);

struct kv_stats {
	int64_t used[KV_MAX_GROUPS];   /* pages that sequences hold */
	int64_t cached[KV_MAX_GROUPS]; /* pages that only the tree holds */
	int64_t free[KV_MAX_GROUPS];
	int64_t nodes, queries, queried_tokens, hit_tokens, evicted_nodes;
};
void kv_get_stats(const struct kv *kv, struct kv_stats *out);

/* Forgets everything that only the tree holds. */
void kv_drop_cache(struct kv *kv);

/* Walks everything and verifies the invariants; false (with a message) where one is broken. For tests: it takes
 * memory while it runs. */
bool kv_check(const struct kv *kv);

#endif
