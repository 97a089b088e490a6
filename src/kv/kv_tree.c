#include "kv/kv_internal.h"

#include "base/status.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Children that kv_tree_closest looks at, the newest: it saves less than a page of tokens, and a search that grows with
 * the cache would cost more. */
#define MAX_SIBLINGS 64

/* A node has a page in each group that sees all keys, no two nodes the same one: where there is such a group, its pages
 * bound the nodes, and one that is about to enter always finds room. Where there is none, a node may outlive its
 * pages; there is one for each full page of each sequence, so that an idle one can always be taken, and as many more
 * as the largest pool has pages. */
int64_t kv_tree_max_nodes(const struct kv_config *c)
{
	int64_t least = INT64_MAX, most = 0;
	if (!c->prefix_cache)
		return 0;
	for (int g = 0; g < c->n_groups; g++) {
		int64_t n = c->group[g].n_pages;
		if (c->group[g].window <= 0 && n < least)
			least = n;
		if (n > most)
			most = n;
	}
	int64_t width = (c->max_tokens + c->page_size - 1) / c->page_size;
	return least != INT64_MAX ? least : c->max_seqs * width + most;
}

void kv_tree_init(struct kv *kv)
{
	struct kv_tree *t = &kv->tree;
	t->spare = t->first_root = t->idle.oldest = t->idle.newest = KV_NONE;
	for (int64_t i = 0; i < t->n_buckets; i++)
		t->bucket[i] = KV_NONE;
	for (int64_t i = t->max_nodes - 1; i >= 0; i--) {
		t->node[i].bucket_next = t->spare;
		t->spare = (int32_t)i;
	}
	/* Where the block lies is the one thing here that differs from run to run. No decision depends on it. */
	t->seed = (uint64_t)(uintptr_t)kv * 0x9E3779B97F4A7C15u;
}

/* ---- Finding ---- */

static size_t page_bytes(const struct kv *kv)
{
	return (size_t)kv->config.page_size * sizeof(int32_t);
}

const int32_t *kv_tree_tokens(const struct kv *kv, int32_t node)
{
	return kv->tree.tokens + node * kv->config.page_size;
}

uint64_t kv_tree_hash(const struct kv *kv, int32_t parent, uint64_t salt, const int32_t *tokens)
{
	uint64_t before = parent == KV_NONE ? salt * 0x9E3779B97F4A7C15u : kv->tree.node[parent].hash;
	return XXH3_64bits_withSeed(tokens, page_bytes(kv), kv->tree.seed ^ before);
}

static int32_t *bucket_of(const struct kv *kv, uint64_t hash)
{
	return &kv->tree.bucket[hash & (uint64_t)(kv->tree.n_buckets - 1)];
}

int32_t kv_tree_find(const struct kv *kv, uint64_t hash, int32_t parent, uint64_t salt, const int32_t *tokens)
{
	int32_t i = *bucket_of(kv, hash);
	for (; i != KV_NONE; i = kv->tree.node[i].bucket_next) {
		const struct kv_node *n = &kv->tree.node[i];
		if (n->hash == hash && n->parent == parent && n->salt == salt &&
		    memcmp(kv_tree_tokens(kv, i), tokens, page_bytes(kv)) == 0)
			break;
	}
	return i;
}

static bool has_all_pages(const struct kv *kv, int32_t node)
{
	for (int g = 0; g < kv->config.n_groups; g++)
		if (kv->tree.node[node].page[g] == KV_NONE)
			return false;
	return true;
}

static int32_t *children_of(struct kv *kv, int32_t parent)
{
	return parent == KV_NONE ? &kv->tree.first_root : &kv->tree.node[parent].first_child;
}

int32_t kv_tree_closest(const struct kv *kv, int32_t parent, uint64_t salt, const int32_t *tokens, int64_t n,
			int64_t *length)
{
	int32_t best = KV_NONE;
	int32_t i = parent == KV_NONE ? kv->tree.first_root : kv->tree.node[parent].first_child;
	*length = 0;
	for (int looked = 0; i != KV_NONE && looked < MAX_SIBLINGS; i = kv->tree.node[i].next_sibling, looked++) {
		const int32_t *other = kv_tree_tokens(kv, i);
		int64_t k = 0;
		while (k < n && other[k] == tokens[k])
			k++;
		if (k > *length && kv->tree.node[i].salt == salt && has_all_pages(kv, i)) {
			*length = k;
			best = i;
		}
	}
	return best;
}

/* ---- Changing ---- */

void kv_tree_use(struct kv *kv, int32_t node)
{
	if (kv->tree.node[node].n_users++ == 0)
		kv_order_remove(&kv->tree.idle, node);
}

void kv_tree_release(struct kv *kv, int32_t node)
{
	CHECK(kv->tree.node[node].n_users > 0);
	if (--kv->tree.node[node].n_users == 0)
		kv_order_append(&kv->tree.idle, node);
}

int32_t kv_tree_add(struct kv *kv, uint64_t hash, int32_t parent, uint64_t salt, const int32_t *tokens)
{
	struct kv_tree *t = &kv->tree;
	if (t->spare == KV_NONE)
		kv_tree_remove(kv, t->idle.oldest);
	int32_t i = t->spare, *bucket = bucket_of(kv, hash), *first = children_of(kv, parent);
	struct kv_node *n = &t->node[i];
	t->spare = n->bucket_next;
	*n = (struct kv_node){ .hash = hash, .salt = salt, .parent = parent, .first_child = KV_NONE, .n_users = 1,
			       .previous_sibling = KV_NONE, .next_sibling = *first, .bucket_next = *bucket };
	for (int g = 0; g < KV_MAX_GROUPS; g++)
		n->page[g] = KV_NONE;
	memcpy(t->tokens + i * kv->config.page_size, tokens, page_bytes(kv));
	if (*first != KV_NONE)
		t->node[*first].previous_sibling = i;
	*first = *bucket = i;
	t->n_nodes++;
	return i;
}

void kv_tree_give_up_page(struct kv *kv, int32_t node, int g)
{
	int32_t *page = &kv->tree.node[node].page[g];
	if (*page != KV_NONE)
		kv_pool_leave(&kv->pool[g], *page);
	*page = KV_NONE;
}

static void unlink_node(struct kv *kv, int32_t i)
{
	struct kv_tree *t = &kv->tree;
	struct kv_node *n = &t->node[i];
	CHECK(i != KV_NONE && n->n_users == 0 && n->first_child == KV_NONE);
	for (int g = 0; g < kv->config.n_groups; g++)
		kv_tree_give_up_page(kv, i, g);
	int32_t *link = bucket_of(kv, n->hash);
	while (*link != i)
		link = &t->node[*link].bucket_next;
	*link = n->bucket_next;
	if (n->next_sibling != KV_NONE)
		t->node[n->next_sibling].previous_sibling = n->previous_sibling;
	*(n->previous_sibling == KV_NONE ? children_of(kv, n->parent) : &t->node[n->previous_sibling].next_sibling) =
		n->next_sibling;
	kv_order_remove(&t->idle, i);
	n->bucket_next = t->spare;
	t->spare = i;
	t->n_nodes--;
	t->n_removed++;
}

void kv_tree_prune(struct kv *kv, int32_t node)
{
	while (node != KV_NONE) {
		const struct kv_node *n = &kv->tree.node[node];
		if (n->n_users > 0 || n->first_child != KV_NONE)
			return;
		for (int g = 0; g < kv->config.n_groups; g++)
			if (n->page[g] != KV_NONE)
				return;
		int32_t parent = n->parent;
		unlink_node(kv, node);
		node = parent;
	}
}

void kv_tree_remove(struct kv *kv, int32_t node)
{
	CHECK(node != KV_NONE);
	int32_t parent = kv->tree.node[node].parent;
	unlink_node(kv, node);
	kv_tree_prune(kv, parent);
}

/* Behind a window, what is old is given up page by page and the node stays for its other groups, and for those behind it
 * that see no further back. Where all keys are seen, a node without its page is of no use, nor are those behind it. An
 * idle page there is that of an idle node, and the other way round. */
bool kv_tree_evict(struct kv *kv, int g)
{
	const struct kv_pool *p = &kv->pool[g];
	if (p->idle.oldest == KV_NONE)
		return false;
	if (p->window <= 0) {
		kv_tree_remove(kv, kv->tree.idle.oldest);
		return true;
	}
	int32_t node = p->node[p->idle.oldest];
	kv_tree_give_up_page(kv, node, g);
	kv_tree_prune(kv, node);
	return true;
}
