#include "engine_internal.h"

float log_row_prob(const struct log_row *row, int32_t id)
{
	return (row->logits[id] - row->max) - row->log_sum;
}

void log_row_top(const struct log_row *row, int n, struct vb_top *top)
{
	int kept = 0;
	for (int64_t i = 0; i < row->n_vocab; i++) {
		float x = row->logits[i];
		if (kept == n && !(x > top[n - 1].logprob))
			continue;
		/* Insertion: an equal one stays behind the lower id that came first. */
		int at = kept < n ? kept++ : n - 1;
		while (at > 0 && top[at - 1].logprob < x) {
			top[at] = top[at - 1];
			at--;
		}
		top[at] = (struct vb_top){ (int32_t)i, x };
	}
	for (int i = 0; i < kept; i++)
		top[i].logprob = log_row_prob(row, top[i].id);
}
