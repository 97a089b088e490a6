#include "kv/kv_internal.h"

#include "base/status.h"

void kv_order_append(struct kv_order *o, int32_t i)
{
	o->older[i] = o->newest;
	o->newer[i] = KV_NONE;
	*(o->newest == KV_NONE ? &o->oldest : &o->newer[o->newest]) = i;
	o->newest = i;
	o->n++;
}

void kv_order_remove(struct kv_order *o, int32_t i)
{
	*(o->older[i] == KV_NONE ? &o->oldest : &o->newer[o->older[i]]) = o->newer[i];
	*(o->newer[i] == KV_NONE ? &o->newest : &o->older[o->newer[i]]) = o->older[i];
	o->n--;
}

int32_t kv_pool_take(struct kv_pool *p)
{
	if (p->n_free == 0)
		return KV_NONE;
	int32_t page = p->free_page[--p->n_free];
	CHECK(p->refs[page] == 0 && p->node[page] == KV_NONE);
	p->refs[page] = 1;
	return page;
}

void kv_pool_ref(struct kv_pool *p, int32_t page)
{
	CHECK(p->refs[page] > 0);
	if (p->refs[page]++ == 1 && p->node[page] != KV_NONE)
		kv_order_remove(&p->idle, page);
}

void kv_pool_unref(struct kv_pool *p, int32_t page)
{
	CHECK(p->refs[page] > 0);
	p->refs[page]--;
	if (p->refs[page] == 0)
		p->free_page[p->n_free++] = page;
	else if (p->refs[page] == 1 && p->node[page] != KV_NONE)
		kv_order_append(&p->idle, page);
}

void kv_pool_enter(struct kv_pool *p, int32_t page, int32_t node)
{
	CHECK(p->refs[page] > 0 && p->node[page] == KV_NONE);
	p->refs[page]++;
	p->node[page] = node;
}

void kv_pool_leave(struct kv_pool *p, int32_t page)
{
	CHECK(p->refs[page] > 0 && p->node[page] != KV_NONE);
	if (p->refs[page] == 1)
		kv_order_remove(&p->idle, page);
	p->node[page] = KV_NONE;
	kv_pool_unref(p, page);
}
