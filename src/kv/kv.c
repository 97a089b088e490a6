#include "kv/kv_internal.h"

#include "base/mem.h"
#include "base/status.h"

#include <assert.h>

/* ---- Creating ---- */

/* Arrays laid out one behind the other in a block; without a block, only counted. */
struct carve {
	char *base;
	uint64_t used;
};

static void *carve(struct carve *c, int64_t n, size_t size)
{
	void *at = c->base ? c->base + c->used : NULL;
	c->used += ((uint64_t)n * size + 63) / 64 * 64;
	return at;
}

static void carve_order(struct carve *c, struct kv_order *o, int64_t n)
{
	o->older = carve(c, n, sizeof *o->older);
	o->newer = carve(c, n, sizeof *o->newer);
}

static int64_t power_of_two_above(int64_t n)
{
	int64_t p = 1;
	while (p < n)
		p *= 2;
	return p;
}

/* Lays everything out for kv->config in a block that begins with *kv itself; returns its size. */
static uint64_t layout(struct kv *kv, char *block)
{
	const struct kv_config *config = &kv->config;
	struct kv_tree *t = &kv->tree;
	struct carve c = { .base = block };
	carve(&c, 1, sizeof *kv);
	kv->width = kv_pages_of(kv, config->max_tokens);
	kv->seqs = carve(&c, config->max_seqs, sizeof *kv->seqs);
	kv->tables = carve(&c, config->n_groups * config->max_seqs * kv->width, sizeof *kv->tables);
	for (int g = 0; g < config->n_groups; g++) {
		struct kv_pool *p = &kv->pool[g];
		p->window = config->group[g].window;
		p->n_pages = p->n_free = config->group[g].n_pages;
		p->free_page = carve(&c, p->n_pages, sizeof *p->free_page);
		p->refs = carve(&c, p->n_pages, sizeof *p->refs);
		p->node = carve(&c, p->n_pages, sizeof *p->node);
		carve_order(&c, &p->idle, p->n_pages);
	}
	t->max_nodes = kv_tree_max_nodes(config);
	t->n_buckets = power_of_two_above(2 * t->max_nodes);
	t->node = carve(&c, t->max_nodes, sizeof *t->node);
	t->tokens = carve(&c, t->max_nodes * config->page_size, sizeof *t->tokens);
	t->bucket = carve(&c, t->n_buckets, sizeof *t->bucket);
	carve_order(&c, &t->idle, t->max_nodes);
	return c.used;
}

uint64_t kv_bytes(const struct kv_config *config)
{
	struct kv kv = { .config = *config };
	return layout(&kv, NULL);
}

static int check_config(const struct kv_config *c)
{
	CHECK(c->page_size > 0 && (c->page_size & (c->page_size - 1)) == 0);
	CHECK(c->n_groups > 0 && c->n_groups <= KV_MAX_GROUPS && c->max_seqs > 0 && c->max_tokens > 0);
	for (int g = 0; g < c->n_groups; g++)
		if (c->group[g].n_pages < 1 || c->group[g].n_pages > INT32_MAX / 2)
			FAIL(VB_EINVAL, "invalid number of pages: %lld: use a larger --page-size or --kv-memory",
			     (long long)c->group[g].n_pages);
	if ((c->max_tokens - 1) / c->page_size + 1 > INT32_MAX / 2 / c->max_seqs)
		FAIL(VB_EINVAL, "page tables too large: %lld sequences of %lld tokens: use a larger --page-size or a "
				"smaller --context",
		     (long long)c->max_seqs, (long long)c->max_tokens);
	return VB_OK;
}

int kv_create(struct kv **out, const struct kv_config *config)
{
	*out = NULL;
	TRY(check_config(config));
	uint64_t bytes = kv_bytes(config);
	struct kv *kv = mem_pages(bytes);
	if (!kv)
		return VB_ENOMEM;
	kv->config = *config;
	kv->bytes = bytes;
	layout(kv, (char *)kv);
	for (int64_t i = 0; i < config->n_groups * config->max_seqs * kv->width; i++)
		kv->tables[i] = KV_NONE;
	for (int g = 0; g < config->n_groups; g++) {
		struct kv_pool *p = &kv->pool[g];
		p->idle.oldest = p->idle.newest = KV_NONE;
		for (int64_t i = 0; i < p->n_pages; i++) {
			p->free_page[i] = (int32_t)(p->n_pages - 1 - i);
			p->node[i] = KV_NONE;
		}
	}
	kv_tree_init(kv);
	*out = kv;
	return VB_OK;
}

void kv_destroy(struct kv **kv)
{
	if (*kv)
		mem_free_pages(*kv, (*kv)->bytes);
	*kv = NULL;
}

/* ---- Counting ---- */

int64_t kv_available(const struct kv *kv, int group)
{
	return kv->pool[group].n_free + kv->pool[group].idle.n;
}

int64_t kv_table_width(const struct kv *kv)
{
	return kv->width;
}

const int32_t *kv_seq_table(const struct kv *kv, int32_t seq, int group)
{
	return kv_table(kv, seq, group);
}

int64_t kv_seq_slot(const struct kv *kv, int32_t seq, int group, int64_t position)
{
	int64_t size = kv->config.page_size;
	int32_t page = kv_table(kv, seq, group)[position / size];
	assert(page != KV_NONE);
	return page * size + position % size;
}

int64_t kv_seq_pages(const struct kv *kv, int32_t seq, int group)
{
	return kv->seqs[seq].held[group];
}

void kv_get_stats(const struct kv *kv, struct kv_stats *out)
{
	*out = (struct kv_stats){ .nodes = kv->tree.n_nodes, .queries = kv->queries,
				  .queried_tokens = kv->queried_tokens, .hit_tokens = kv->hit_tokens,
				  .evicted_nodes = kv->tree.n_removed };
	for (int g = 0; g < kv->config.n_groups; g++) {
		const struct kv_pool *p = &kv->pool[g];
		out->free[g] = p->n_free;
		out->cached[g] = p->idle.n;
		out->used[g] = p->n_pages - p->n_free - p->idle.n;
	}
}

/* ---- Sequences ---- */

int32_t kv_seq_open(struct kv *kv, uint64_t salt)
{
	for (int32_t i = 0; i < kv->config.max_seqs; i++) {
		if (kv->seqs[i].open)
			continue;
		kv->seqs[i] = (struct kv_sequence){ .open = true, .salt = salt, .last_node = KV_NONE };
		return i;
	}
	return KV_NONE;
}

/* Fills an empty table entry with a page whose reference the caller has. */
static void fill_entry(struct kv *kv, int32_t seq, int g, int64_t i, int32_t page)
{
	kv_table(kv, seq, g)[i] = page;
	kv->seqs[seq].held[g]++;
}

/* Empties table entries [begin, end) of group g, the last first. */
static void drop_entries(struct kv *kv, int32_t seq, int g, int64_t begin, int64_t end)
{
	int32_t *table = kv_table(kv, seq, g);
	for (int64_t i = end - 1; i >= begin; i--) {
		if (table[i] == KV_NONE)
			continue;
		kv_pool_unref(&kv->pool[g], table[i]);
		table[i] = KV_NONE;
		kv->seqs[seq].held[g]--;
	}
}

static int32_t take_page(struct kv *kv, int g)
{
	if (kv->pool[g].n_free == 0)
		kv_tree_evict(kv, g);
	return kv_pool_take(&kv->pool[g]);
}

void kv_seq_close(struct kv *kv, int32_t seq)
{
	struct kv_sequence *s = &kv->seqs[seq];
	CHECK(s->open);
	for (int g = 0; g < kv->config.n_groups; g++)
		drop_entries(kv, seq, g, 0, s->n_pages);
	for (int32_t i = s->last_node; i != KV_NONE; i = kv->tree.node[i].parent)
		kv_tree_release(kv, i);
	kv_tree_prune(kv, s->last_node);
	s->open = false;
}

int kv_seq_reserve(struct kv *kv, int32_t seq, int64_t n_tokens)
{
	struct kv_sequence *s = &kv->seqs[seq];
	int64_t wanted = kv_pages_of(kv, n_tokens), more = wanted - s->n_pages;
	CHECK(s->open);
	if (wanted > kv->width)
		FAIL(VB_ELIMIT, "sequence too long: %lld tokens: at most %lld: raise --context", (long long)n_tokens,
		     (long long)(kv->width * kv->config.page_size));
	/* Evicting for one group may make pages of another free, but takes none: each may count for itself. */
	for (int g = 0; g < kv->config.n_groups; g++)
		if (more > kv_available(kv, g))
			FAIL(VB_ELIMIT, "KV cache full: %lld pages wanted, %lld there: raise --kv-memory",
			     (long long)more, (long long)kv_available(kv, g));
	for (int64_t i = s->n_pages; i < wanted; i++) {
		for (int g = 0; g < kv->config.n_groups; g++) {
			int32_t page = take_page(kv, g);
			CHECK(page != KV_NONE);
			fill_entry(kv, seq, g, i, page);
		}
	}
	if (more > 0)
		s->n_pages = wanted;
	return VB_OK;
}

/* The sequence's next full page becomes a node, or meets the node that is already there. */
static void enter_tree(struct kv *kv, int32_t seq, const int32_t *tokens)
{
	struct kv_sequence *s = &kv->seqs[seq];
	int64_t i = s->n_nodes;
	const int32_t *own = tokens + i * kv->config.page_size;
	uint64_t hash = kv_tree_hash(kv, s->last_node, s->salt, own);
	int32_t node = kv_tree_find(kv, hash, s->last_node, s->salt, own);
	if (node != KV_NONE)
		kv_tree_use(kv, node);
	else
		node = kv_tree_add(kv, hash, s->last_node, s->salt, own);
	for (int g = 0; g < kv->config.n_groups; g++) {
		int32_t *entry = &kv_table(kv, seq, g)[i], *known = &kv->tree.node[node].page[g];
		if (*known == KV_NONE) {
			*known = *entry;
			kv_pool_enter(&kv->pool[g], *entry, node);
			continue;
		}
		/* Computed twice, side by side: equal bits, so one page is enough. */
		kv_pool_ref(&kv->pool[g], *known);
		kv_pool_unref(&kv->pool[g], *entry);
		*entry = *known;
	}
	s->last_node = node;
	s->n_nodes++;
}

void kv_seq_commit(struct kv *kv, int32_t seq, const int32_t *tokens, int64_t n)
{
	struct kv_sequence *s = &kv->seqs[seq];
	CHECK(s->open && n >= s->n_committed && n <= s->n_pages * kv->config.page_size);
	if (kv->tree.max_nodes)
		while (s->n_nodes < n / kv->config.page_size)
			enter_tree(kv, seq, tokens);
	for (int g = 0; g < kv->config.n_groups; g++)
		drop_entries(kv, seq, g, kv_first_seen(kv, g, s->n_committed), kv_first_seen(kv, g, n));
	s->n_committed = n;
}

void kv_seq_truncate(struct kv *kv, int32_t seq, int64_t n)
{
	struct kv_sequence *s = &kv->seqs[seq];
	CHECK(s->open && n >= s->n_committed);
	int64_t kept = kv_pages_of(kv, n);
	if (kept >= s->n_pages)
		return;
	for (int g = 0; g < kv->config.n_groups; g++)
		drop_entries(kv, seq, g, kept, s->n_pages);
	s->n_pages = kept;
}

/* ---- Sharing beginnings ---- */

/* A known beginning: `depth` full pages down to `node`, and `length` tokens of the page of its child `part`. */
struct hit {
	int32_t node, part;
	int64_t depth, length;
};

/* The longest known beginning, and the longest one of full pages: *whole. */
static struct hit look_up(const struct kv *kv, uint64_t salt, const int32_t *tokens, int64_t n, struct hit *whole)
{
	int64_t size = kv->config.page_size;
	int64_t run[KV_MAX_GROUPS] = { 0 }; /* nodes with a page of the group, back from hit.node */
	struct hit hit = { .node = KV_NONE, .part = KV_NONE };
	*whole = hit;
	if (!kv->tree.max_nodes)
		return hit;
	while ((hit.depth + 1) * size <= n) {
		const int32_t *page = tokens + hit.depth * size;
		int32_t child = kv_tree_find(kv, kv_tree_hash(kv, hit.node, salt, page), hit.node, salt, page);
		if (child == KV_NONE)
			break;
		hit.node = child;
		hit.depth++;
		bool all = true;
		for (int g = 0; g < kv->config.n_groups; g++) {
			run[g] = kv->tree.node[child].page[g] == KV_NONE ? 0 : run[g] + 1;
			all = all && run[g] >= hit.depth - kv_first_seen(kv, g, hit.depth * size);
		}
		if (all)
			*whole = hit;
	}
	int64_t rest = n - hit.depth * size;
	hit.part = kv_tree_closest(kv, hit.node, salt, tokens + hit.depth * size, rest < size ? rest : size,
				   &hit.length);
	if (hit.part == KV_NONE)
		return *whole;
	/* Inside a page windows begin later than at its border: pages that a query there misses may be out of sight. */
	for (int g = 0; g < kv->config.n_groups; g++)
		if (run[g] < hit.depth - kv_first_seen(kv, g, hit.depth * size + hit.length))
			return *whole;
	return hit;
}

static int64_t tokens_of(const struct kv *kv, const struct hit *hit)
{
	return hit->depth * kv->config.page_size + hit->length;
}

/* Pages of group g that a sequence with this beginning would have in common with others that are open. */
static int64_t count_held(const struct kv *kv, const struct hit *hit, int g)
{
	int64_t n = 0, i = hit->depth - 1, first = kv_first_seen(kv, g, tokens_of(kv, hit));
	for (int32_t node = hit->node; i >= first; i--, node = kv->tree.node[node].parent)
		n += kv->pool[g].refs[kv->tree.node[node].page[g]] > 1;
	return n;
}

/* Whether pages are left for copying a part, after those of the full pages are taken. */
static bool can_copy(const struct kv *kv, const struct hit *hit)
{
	for (int g = 0; g < kv->config.n_groups; g++) {
		int64_t first = kv_first_seen(kv, g, tokens_of(kv, hit));
		int64_t taken = (first < hit->depth ? hit->depth - first : 0) - count_held(kv, hit, g);
		if (kv_available(kv, g) - taken < 1)
			return false;
	}
	return true;
}

static struct hit best_hit(const struct kv *kv, uint64_t salt, const int32_t *tokens, int64_t n)
{
	struct hit whole, hit = look_up(kv, salt, tokens, n, &whole);
	return hit.length == 0 || can_copy(kv, &hit) ? hit : whole;
}

int64_t kv_peek(const struct kv *kv, uint64_t salt, const int32_t *tokens, int64_t n, int64_t held[KV_MAX_GROUPS])
{
	struct hit hit = best_hit(kv, salt, tokens, n);
	for (int g = 0; g < kv->config.n_groups; g++)
		held[g] = count_held(kv, &hit, g);
	return tokens_of(kv, &hit);
}

/* Shares the full pages of a known beginning, those that its end sees. */
static void take_path(struct kv *kv, int32_t seq, const struct hit *hit)
{
	struct kv_sequence *s = &kv->seqs[seq];
	int32_t node = hit->node;
	for (int64_t i = hit->depth - 1; i >= 0; i--, node = kv->tree.node[node].parent) {
		for (int g = 0; g < kv->config.n_groups; g++) {
			if (i < kv_first_seen(kv, g, tokens_of(kv, hit)))
				continue;
			int32_t page = kv->tree.node[node].page[g];
			kv_pool_ref(&kv->pool[g], page);
			fill_entry(kv, seq, g, i, page);
		}
		kv_tree_use(kv, node);
	}
	s->n_pages = s->n_nodes = hit->depth;
	s->last_node = hit->node;
	s->n_committed = tokens_of(kv, hit);
}

/* A page behind the path for the part of a page that is known, and the copy that fills it. Returns whether the node lost
 * its page: where it is the last one to be had, it changes hands instead, contents and all. */
static bool take_part(struct kv *kv, int32_t seq, int32_t part, int g, struct kv_copy *copies, int *n_copies)
{
	struct kv_pool *p = &kv->pool[g];
	int32_t from = kv->tree.node[part].page[g];
	kv_pool_ref(p, from); /* not to be taken for itself */
	int32_t to = take_page(kv, g);
	bool moved = to == KV_NONE;
	if (moved) {
		CHECK(p->refs[from] == 2);
		kv_tree_give_up_page(kv, part, g);
		to = from;
	} else {
		kv_pool_unref(p, from);
		copies[(*n_copies)++] = (struct kv_copy){ g, from, to };
	}
	fill_entry(kv, seq, g, kv->seqs[seq].n_pages, to);
	return moved;
}

int64_t kv_seq_match(struct kv *kv, int32_t seq, const int32_t *tokens, int64_t n, struct kv_copy *copies, int *n_copies)
{
	struct kv_sequence *s = &kv->seqs[seq];
	CHECK(s->open && s->n_pages == 0);
	struct hit hit = best_hit(kv, s->salt, tokens, n);
	take_path(kv, seq, &hit);
	*n_copies = 0;
	if (hit.length > 0) {
		bool torn = false; /* lost a page without which a node cannot be */
		kv_tree_use(kv, hit.part);
		for (int g = 0; g < kv->config.n_groups; g++)
			if (take_part(kv, seq, hit.part, g, copies, n_copies))
				torn = torn || kv->pool[g].window <= 0;
		kv_tree_release(kv, hit.part);
		s->n_pages++;
		if (torn)
			kv_tree_remove(kv, hit.part);
		else
			kv_tree_prune(kv, hit.part);
	}
	kv->queries++;
	kv->queried_tokens += n;
	kv->hit_tokens += s->n_committed;
	return s->n_committed;
}

int kv_seq_fork(struct kv *kv, int32_t seq, int32_t *out, struct kv_copy *copies, int *n_copies)
{
	const struct kv_sequence *from = &kv->seqs[seq];
	int64_t full = from->n_committed / kv->config.page_size;
	CHECK(from->open);
	*n_copies = 0;
	int32_t to = kv_seq_open(kv, from->salt);
	if (to == KV_NONE)
		FAIL(VB_ELIMIT, "too many sequences: %lld are open: raise --max-batch", (long long)kv->config.max_seqs);
	struct kv_sequence *s = &kv->seqs[to];
	s->n_pages = full;
	int rc = kv_seq_reserve(kv, to, from->n_committed);
	if (rc != VB_OK) {
		s->open = false;
		return rc;
	}
	s->n_nodes = from->n_nodes;
	s->last_node = from->last_node;
	s->n_committed = from->n_committed;
	for (int32_t i = s->last_node; i != KV_NONE; i = kv->tree.node[i].parent)
		kv_tree_use(kv, i);
	for (int g = 0; g < kv->config.n_groups; g++) {
		const int32_t *table = kv_table(kv, seq, g);
		for (int64_t i = kv_first_seen(kv, g, s->n_committed); i < full; i++) {
			kv_pool_ref(&kv->pool[g], table[i]);
			fill_entry(kv, to, g, i, table[i]);
		}
		if (s->n_pages > full)
			copies[(*n_copies)++] = (struct kv_copy){ g, table[full], kv_table(kv, to, g)[full] };
	}
	*out = to;
	return VB_OK;
}

void kv_drop_cache(struct kv *kv)
{
	while (kv->tree.idle.oldest != KV_NONE)
		kv_tree_remove(kv, kv->tree.idle.oldest);
	/* What is left lies behind the windows of open sequences. */
	for (int g = 0; g < kv->config.n_groups; g++)
		while (kv_tree_evict(kv, g))
			continue;
}
