#include "attention_lanes_avx2.h"

#include "attention_tile.h"

const char *attention_avx2_refuse(const struct attention_request *r)
{
	return attention_refuse_vectors(r);
}

void attention_avx2(const struct attention_args *a, const struct attention_item *it, void *scratch)
{
	run_item(a, it, scratch);
}

void attention_avx2_merge(const struct attention_args *a, const struct attention_item *it, void *scratch)
{
	merge_item(a, it, scratch);
}
