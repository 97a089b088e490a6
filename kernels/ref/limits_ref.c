#include "kernels/ops/limits.h"

#define CHAINS 8 /* additions that do not wait for each other */

const char *limits_ref_refuse(const struct limits_request *r)
{
	return r->work == LIMITS_MULTIPLY && r->type != DTYPE_F32 ? "multiplies f32 only" : NULL;
}

static uint64_t read_words(const uint64_t *word, size_t n)
{
	uint64_t sum[CHAINS] = { 0 }, total = 0;
	for (size_t i = 0; i < n; i += CHAINS)
		for (size_t c = 0; c < CHAINS; c++)
			sum[c] += word[i + c];
	for (int c = 0; c < CHAINS; c++)
		total += sum[c];
	return total;
}

void limits_ref(const struct limits_args *a, struct limits_result *out)
{
	*out = (struct limits_result){ 0 };
	if (a->work == LIMITS_READ) {
		out->sum = read_words(a->data, a->bytes / sizeof(uint64_t));
		return;
	}
	float sum[CHAINS] = { 0 };
	for (int64_t i = 0; i < a->rounds; i++)
		for (int c = 0; c < CHAINS; c++)
			sum[c] += a->x * a->w;
	for (int c = 0; c < CHAINS; c++)
		out->total += (double)sum[c];
	out->flops = 2.0 * CHAINS * (double)a->rounds;
}
