#include "text_internal.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdlib.h>

static int by_string(const void *pa, const void *pb)
{
	const struct trie_entry *a = pa, *b = pb;
	uint32_t n = a->n < b->n ? a->n : b->n;
	int c = n ? memcmp(a->s, b->s, n) : 0;
	if (c)
		return c;
	return a->n < b->n ? -1 : a->n > b->n;
}

/* A node and the run of sorted entries below it. */
struct range {
	uint32_t lo, hi;
	uint32_t depth;
};

static int trie_alloc(struct trie *t, size_t n_nodes)
{
	t->first = mem_calloc(n_nodes, sizeof *t->first);
	t->n_children = mem_calloc(n_nodes, sizeof *t->n_children);
	t->byte = mem_calloc(n_nodes, sizeof *t->byte);
	t->value = mem_alloc(n_nodes * sizeof *t->value);
	if (!t->first || !t->n_children || !t->byte || !t->value)
		return VB_ENOMEM;
	return VB_OK;
}

/* Nodes are numbered breadth first, so that the queue of ranges is also the table of nodes. */
int trie_build(struct trie *t, struct trie_entry *entries, size_t n, const char *where)
{
	int rc = VB_OK;
	memset(t, 0, sizeof *t);
	size_t bytes = 1;
	for (size_t i = 0; i < n; i++)
		bytes += entries[i].n;
	if (n > INT32_MAX || bytes > UINT32_MAX / 2)
		FAIL(VB_ELIMIT, "too many tokens: %s: %zu bytes of text", where, bytes);
	if (n)
		qsort(entries, n, sizeof *entries, by_string);
	struct range *queue = mem_alloc(bytes * sizeof *queue);
	if (!queue)
		return VB_ENOMEM;
	TRY_TO(out, trie_alloc(t, bytes));
	queue[0] = (struct range){ 0, (uint32_t)n, 0 };
	t->n_nodes = 1;
	for (uint32_t node = 0; node < t->n_nodes; node++) {
		struct range r = queue[node];
		t->value[node] = -1;
		while (r.lo < r.hi && entries[r.lo].n == r.depth) {
			if (t->value[node] >= 0 && t->value[node] != entries[r.lo].value)
				FAIL_TO(out, VB_EFORMAT, "a token stands twice: %s: \"%.*s\"",
					where, (int)(r.depth > 80 ? 80 : r.depth), entries[r.lo].s);
			t->value[node] = entries[r.lo++].value;
		}
		t->first[node] = t->n_nodes;
		while (r.lo < r.hi) {
			uint8_t byte = (uint8_t)entries[r.lo].s[r.depth];
			uint32_t child = t->n_nodes++, lo = r.lo;
			while (r.lo < r.hi && (uint8_t)entries[r.lo].s[r.depth] == byte)
				r.lo++;
			queue[child] = (struct range){ lo, r.lo, r.depth + 1 };
			t->byte[child] = byte;
			t->n_children[node]++;
			if (node == 0)
				t->root[byte] = child;
		}
	}
out:
	mem_free(queue);
	if (rc)
		trie_fini(t);
	return rc;
}

void trie_fini(struct trie *t)
{
	mem_free(t->first);
	mem_free(t->n_children);
	mem_free(t->byte);
	mem_free(t->value);
	memset(t, 0, sizeof *t);
}
