#include "kv/kv_internal.h"

#include "base/mem.h"
#include "base/status.h"

#include <string.h>

/* Every check returns its first breach, as a status with a message. */
#define EXPECT(condition, ...)                          \
	do {                                            \
		if (!(condition))                       \
			FAIL(VB_EINTERNAL, __VA_ARGS__); \
	} while (0)

/* An order links exactly the things for which `count` of them is expected; each must satisfy *idle. */
static int check_order(const struct kv_order *o, const uint8_t *idle, int64_t n_things, const char *what)
{
	int64_t n = 0, wanted = 0;
	int32_t before = KV_NONE;
	for (int32_t i = o->oldest; i != KV_NONE; before = i, i = o->newer[i], n++) {
		EXPECT(n < n_things && i >= 0 && i < n_things, "idle %s: the list is broken at %d", what, i);
		EXPECT(o->older[i] == before, "idle %s %d: comes after %d, not %d", what, i, before, o->older[i]);
		EXPECT(idle[i], "%s %d is listed as idle, and is not", what, i);
	}
	for (int64_t i = 0; i < n_things; i++)
		wanted += idle[i];
	EXPECT(before == o->newest && n == o->n && n == wanted, "idle %s: %lld listed, %lld said, %lld counted", what,
	       (long long)n, (long long)o->n, (long long)wanted);
	return VB_OK;
}

/* (1) and (2): references counted anew in refs[n_pages]. */
static int check_pool(const struct kv *kv, int g, const uint8_t *is_node, int32_t *refs, uint8_t *idle)
{
	const struct kv_pool *p = &kv->pool[g];
	int64_t n_free = 0;
	memset(refs, 0, (size_t)p->n_pages * sizeof *refs);
	for (int32_t q = 0; q < kv->config.max_seqs; q++)
		for (int64_t i = 0; i < kv->width; i++)
			if (kv_table(kv, q, g)[i] != KV_NONE)
				refs[kv_table(kv, q, g)[i]]++;
	for (int32_t i = 0; i < kv->tree.max_nodes; i++) {
		int32_t page = is_node[i] ? kv->tree.node[i].page[g] : KV_NONE;
		if (page == KV_NONE)
			continue;
		EXPECT(p->node[page] == i, "page %d of group %d is node %d's, and named by %d", page, g, p->node[page], i);
		refs[page]++;
	}
	for (int32_t i = 0; i < p->n_pages; i++) {
		int32_t node = p->node[i];
		EXPECT(refs[i] == p->refs[i], "page %d of group %d: %d references, counted %d", i, g, p->refs[i], refs[i]);
		EXPECT(node == KV_NONE || (is_node[node] && kv->tree.node[node].page[g] == i),
		       "page %d of group %d: node %d does not name it", i, g, node);
		idle[i] = refs[i] == 1 && node != KV_NONE;
		n_free += refs[i] == 0;
	}
	EXPECT(n_free == p->n_free, "group %d: %lld pages free, counted %lld", g, (long long)p->n_free, (long long)n_free);
	for (int64_t i = 0; i < n_free; i++) {
		int32_t page = p->free_page[i];
		EXPECT(refs[page] == 0, "page %d of group %d is listed as free twice, or is not", page, g);
		refs[page] = 1;
	}
	return check_order(&p->idle, idle, p->n_pages, "page");
}

/* (3), (4), (5) and the tables' own bounds. users[node]: sequences whose path goes through it. */
static int check_sequence(const struct kv *kv, int32_t q, const uint8_t *is_node, int32_t *users)
{
	const struct kv_sequence *s = &kv->seqs[q];
	int64_t n_full = s->n_committed / kv->config.page_size, depth = s->n_nodes;
	EXPECT(depth == (kv->tree.max_nodes ? n_full : 0), "sequence %d: %lld nodes, %lld full pages", q,
	       (long long)depth, (long long)n_full);
	for (int g = 0; g < kv->config.n_groups; g++) {
		const int32_t *table = kv_table(kv, q, g);
		int64_t held = 0, first = kv_first_seen(kv, g, s->n_committed);
		for (int64_t i = 0; i < kv->width; i++) {
			bool there = table[i] != KV_NONE;
			EXPECT(there == (i >= first && i < s->n_pages), "sequence %d: group %d has page %lld, or has not",
			       q, g, (long long)i);
			EXPECT(!there || i < n_full || kv->pool[g].refs[table[i]] == 1,
			       "sequence %d may write page %d of group %d, which is not its own", q, table[i], g);
			held += there;
		}
		EXPECT(held == s->held[g], "sequence %d: %lld pages of group %d, counted %lld", q,
		       (long long)s->held[g], g, (long long)held);
	}
	for (int32_t i = s->last_node; i != KV_NONE; i = kv->tree.node[i].parent) {
		EXPECT(depth-- > 0 && is_node[i], "sequence %d: its path goes through %d, no node", q, i);
		users[i]++;
		for (int g = 0; g < kv->config.n_groups; g++) {
			int32_t page = kv_table(kv, q, g)[depth];
			EXPECT(page == KV_NONE || page == kv->tree.node[i].page[g],
			       "sequence %d: page %d of group %d is not that of node %d", q, page, g, i);
		}
	}
	EXPECT(depth == 0, "sequence %d: its path lacks %lld nodes", q, (long long)depth);
	return VB_OK;
}

/* (6), the links, and that children fall idle before their parents. */
static int check_node(const struct kv *kv, int32_t i, const uint8_t *is_node, int32_t n_users)
{
	const struct kv_node *n = &kv->tree.node[i];
	EXPECT(n->n_users == n_users, "node %d: %d users, counted %d", i, n->n_users, n_users);
	EXPECT(n->parent == KV_NONE || is_node[n->parent], "node %d: its parent %d is no node", i, n->parent);
	uint64_t hash = kv_tree_hash(kv, n->parent, n->salt, kv_tree_tokens(kv, i));
	EXPECT(hash == n->hash && kv_tree_find(kv, hash, n->parent, n->salt, kv_tree_tokens(kv, i)) == i,
	       "node %d is not found by its tokens", i);
	int32_t before = KV_NONE;
	for (int32_t c = n->first_child; c != KV_NONE; before = c, c = kv->tree.node[c].next_sibling)
		EXPECT(is_node[c] && kv->tree.node[c].parent == i && kv->tree.node[c].previous_sibling == before &&
			       kv->tree.node[c].salt == n->salt,
		       "node %d: its child %d is linked wrongly", i, c);
	bool of_use = n_users > 0 || n->first_child != KV_NONE;
	for (int g = 0; g < kv->config.n_groups; g++) {
		EXPECT(kv->pool[g].window > 0 || n->page[g] != KV_NONE, "node %d: no page in group %d", i, g);
		of_use = of_use || n->page[g] != KV_NONE;
	}
	EXPECT(of_use, "node %d: neither users nor children nor pages", i);
	return VB_OK;
}

static int check_tree(const struct kv *kv, const uint8_t *is_node, const int32_t *users, uint8_t *seen)
{
	const struct kv_tree *t = &kv->tree;
	int64_t n = 0;
	for (int32_t i = 0; i < t->max_nodes; i++) {
		if (is_node[i])
			TRY(check_node(kv, i, is_node, users[i]));
		n += is_node[i];
		seen[i] = is_node[i] && users[i] == 0;
	}
	EXPECT(n == t->n_nodes, "%lld nodes, counted %lld", (long long)t->n_nodes, (long long)n);
	TRY(check_order(&t->idle, seen, t->max_nodes, "node"));
	memset(seen, 0, (size_t)t->max_nodes);
	for (int32_t i = t->idle.oldest; i != KV_NONE; i = t->idle.newer[i]) {
		seen[i] = 1;
		for (int32_t c = t->node[i].first_child; c != KV_NONE; c = t->node[c].next_sibling)
			EXPECT(seen[c], "node %d fell idle before its child %d", i, c);
	}
	return VB_OK;
}

/* Marks what can be reached by hash: everything that lives. */
static int mark_nodes(const struct kv *kv, uint8_t *is_node)
{
	const struct kv_tree *t = &kv->tree;
	for (int64_t b = 0; b < t->n_buckets; b++) {
		for (int32_t i = t->bucket[b]; i != KV_NONE; i = t->node[i].bucket_next) {
			EXPECT(i >= 0 && i < t->max_nodes && !is_node[i], "bucket %lld: broken at %d", (long long)b, i);
			is_node[i] = 1;
		}
	}
	return VB_OK;
}

struct scratch {
	uint8_t *is_node, *flags;
	int32_t *counts;
};

static int check_all(const struct kv *kv, const struct scratch *s)
{
	TRY(mark_nodes(kv, s->is_node));
	for (int32_t q = 0; q < kv->config.max_seqs; q++)
		if (kv->seqs[q].open)
			TRY(check_sequence(kv, q, s->is_node, s->counts));
	TRY(check_tree(kv, s->is_node, s->counts, s->flags));
	for (int g = 0; g < kv->config.n_groups; g++)
		TRY(check_pool(kv, g, s->is_node, s->counts, s->flags));
	return VB_OK;
}

bool kv_check(const struct kv *kv)
{
	int64_t most = kv->tree.max_nodes;
	for (int g = 0; g < kv->config.n_groups; g++)
		if (kv->pool[g].n_pages > most)
			most = kv->pool[g].n_pages;
	struct scratch s = { .is_node = mem_calloc((size_t)most, 1), .flags = mem_calloc((size_t)most, 1),
			     .counts = mem_calloc((size_t)most, sizeof *s.counts) };
	bool ok = s.is_node && s.flags && s.counts && check_all(kv, &s) == VB_OK;
	mem_free(s.is_node);
	mem_free(s.flags);
	mem_free(s.counts);
	return ok;
}
