/* kv_internal.h - what the files of src/kv share: the pages of a group (kv_pool.c), the prefix tree (kv_tree.c) and
 * the sequences (kv.c). Indices are int32_t, KV_NONE: none. "Idle" is what only the tree holds: it may be given up. */
#ifndef KV_INTERNAL_H
#define KV_INTERNAL_H

#include "kv/kv.h"

#define KV_NONE (-1)

/* The order in which things fell idle: a list through two arrays. */
struct kv_order {
	int32_t *older, *newer;
	int32_t oldest, newest;
	int64_t n;
};

void kv_order_append(struct kv_order *o, int32_t i);
void kv_order_remove(struct kv_order *o, int32_t i);

/* The pages of a group. A page is free (no reference), held by tables, by a node of the tree, or by both. */
struct kv_pool {
	int64_t window, n_pages, n_free;
	int32_t *free_page;   /* a stack: the page given back last is taken first, while it is warm */
	int32_t *refs;        /* [n_pages] */
	int32_t *node;        /* [n_pages] the node that names the page */
	struct kv_order idle; /* pages with one reference, and that a node's */
};

/* A free page, now with one reference; KV_NONE where none is free. */
int32_t kv_pool_take(struct kv_pool *p);
void kv_pool_ref(struct kv_pool *p, int32_t page);
void kv_pool_unref(struct kv_pool *p, int32_t page);
/* A node names a page that somebody holds, or does so no longer. */
void kv_pool_enter(struct kv_pool *p, int32_t page, int32_t node);
void kv_pool_leave(struct kv_pool *p, int32_t page);

/* A full page of tokens behind a given beginning. */
struct kv_node {
	uint64_t hash, salt;
	int32_t parent, first_child, next_sibling, previous_sibling;
	int32_t bucket_next;         /* in its hash bucket, or in the list of spare nodes */
	int32_t n_users;             /* sequences whose path goes through it: never more than its parent's */
	int32_t page[KV_MAX_GROUPS]; /* KV_NONE: given up, behind a window only */
};

/* Idle nodes are those without users. A node falls idle no later than its parent, and of one path the deepest first:
 * so a child is always older than its parent, the oldest idle node has no children, and giving up takes no search. */
struct kv_tree {
	int64_t max_nodes, n_nodes, n_buckets, n_removed;
	struct kv_node *node;
	int32_t *tokens;      /* [max_nodes][page_size] */
	int32_t *bucket;      /* [n_buckets], a power of two */
	int32_t spare;        /* list of unused entries by bucket_next */
	int32_t first_root;   /* nodes without a parent */
	struct kv_order idle;
	uint64_t seed;        /* of hashes, so that nobody can prepare long buckets */
};

struct kv_sequence {
	bool open;
	uint64_t salt;
	int64_t n_committed; /* tokens */
	int64_t n_pages;     /* entries of the tables in use, KV_NONE ones included */
	int64_t n_nodes;     /* full pages that are nodes of the tree: all committed ones, or 0 without a tree */
	int32_t last_node;   /* the deepest of them */
	int64_t held[KV_MAX_GROUPS]; /* entries that are pages */
};

struct kv {
	struct kv_config config;
	uint64_t bytes; /* of the block that holds all of this, the struct included */
	int64_t width;
	struct kv_pool pool[KV_MAX_GROUPS];
	struct kv_tree tree;
	struct kv_sequence *seqs;
	int32_t *tables; /* [n_groups][max_seqs][width] */
	int64_t queries, queried_tokens, hit_tokens;
};

/* ---- kv_tree.c ---- */

/* Nodes that suffice in any case; 0 without a tree. */
int64_t kv_tree_max_nodes(const struct kv_config *config);
/* Everything empty; the arrays are there. */
void kv_tree_init(struct kv *kv);
const int32_t *kv_tree_tokens(const struct kv *kv, int32_t node);

/* The hash of a page of tokens behind `parent`. Equal pages behind equal beginnings have equal hashes; the converse is
 * for kv_tree_find to see to. */
uint64_t kv_tree_hash(const struct kv *kv, int32_t parent, uint64_t salt, const int32_t *tokens);
/* The child of `parent` (KV_NONE: a root of this salt) with exactly these tokens. */
int32_t kv_tree_find(const struct kv *kv, uint64_t hash, int32_t parent, uint64_t salt, const int32_t *tokens);
/* A new node without pages, with one user. Always finds room: see kv_tree_max_nodes. */
int32_t kv_tree_add(struct kv *kv, uint64_t hash, int32_t parent, uint64_t salt, const int32_t *tokens);
/* The child of `parent` that agrees with the most of tokens[0..n), n at most a page, and has its page in every group;
 * *length of them. KV_NONE where none agrees with any. */
int32_t kv_tree_closest(const struct kv *kv, int32_t parent, uint64_t salt, const int32_t *tokens, int64_t n,
			int64_t *length);

/* One user more or less for this node alone. */
void kv_tree_use(struct kv *kv, int32_t node);
void kv_tree_release(struct kv *kv, int32_t node);
/* The node forgets its page of group g, if it has one. */
void kv_tree_give_up_page(struct kv *kv, int32_t node, int g);
/* Takes an idle, childless node away, and then what kv_tree_prune finds above it. */
void kv_tree_remove(struct kv *kv, int32_t node);
/* Takes away a node that nobody uses, with neither children nor pages; then its parent likewise, and so on. */
void kv_tree_prune(struct kv *kv, int32_t node);
/* Makes a page of group g free; false where none is idle. */
bool kv_tree_evict(struct kv *kv, int g);

/* ---- kv.c ---- */

static inline int32_t *kv_table(const struct kv *kv, int32_t seq, int g)
{
	return kv->tables + (g * kv->config.max_seqs + seq) * kv->width;
}

static inline int64_t kv_pages_of(const struct kv *kv, int64_t n_tokens)
{
	return (n_tokens + kv->config.page_size - 1) / kv->config.page_size;
}

/* kv_first_page of group g. */
static inline int64_t kv_first_seen(const struct kv *kv, int g, int64_t at)
{
	return kv_first_page(kv->pool[g].window, kv->config.page_size, at);
}

#endif
