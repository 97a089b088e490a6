#include "attention_lanes_avx512.h"

#include "attention_tile.h"

const char *attention_avx512_refuse(const struct attention_request *r)
{
	return attention_refuse_vectors(r);
}

void attention_avx512(const struct attention_args *a, const struct attention_item *it, void *scratch)
{
	run_item(a, it, scratch);
}

void attention_avx512_merge(const struct attention_args *a, const struct attention_item *it, void *scratch)
{
	merge_item(a, it, scratch);
}
