/* ngram.c - guessing by looking back: what followed when the last few tokens stood together before?
 *
 * Source: "prompt lookup decoding" (A. Saxena, 2023). The index is, for n-grams of each length, a table of where an
 * n-gram with this hash ended last; a hit is compared token by token. A new token costs one entry a length. The longest
 * n-gram that is found wins. Guesses may run past the known tokens: a repetition goes on repeating.
 */
#include "spec_internal.h"

#include "base/mem.h"
#include "base/status.h"

#include <string.h>

#define SHORTEST 2
#define LONGEST 4
#define LENGTHS (LONGEST - SHORTEST + 1)

int ngram_open(struct spec_state *state, int64_t max_tokens)
{
	state->n_slots = 64;
	while (state->n_slots < 2 * max_tokens)
		state->n_slots *= 2;
	state->n_indexed = 0;
	state->table = mem_alloc((size_t)(LENGTHS * state->n_slots) * sizeof *state->table);
	if (!state->table)
		return VB_ENOMEM;
	memset(state->table, 0xff, (size_t)(LENGTHS * state->n_slots) * sizeof *state->table);
	return VB_OK;
}

void ngram_close(struct spec_state *state)
{
	mem_free(state->table);
	state->table = NULL;
}

/* The entry for the n-gram that ends at position `end`. */
static int32_t *entry(const struct spec_state *state, const int32_t *tokens, int64_t end, int length)
{
	uint64_t h = (uint64_t)length;
	for (int64_t i = end - length + 1; i <= end; i++)
		h = (h ^ (uint32_t)tokens[i]) * 0x9E3779B97F4A7C15u;
	return &state->table[(length - SHORTEST) * state->n_slots + (int64_t)(h >> 32 & (uint64_t)(state->n_slots - 1))];
}

int64_t ngram_propose(struct spec_state *state, int32_t *tokens, int64_t n_known, int64_t n_wanted)
{
	/* Every n-gram before the last one enters the index, so that the last one finds an earlier one. */
	for (; state->n_indexed < n_known - 1; state->n_indexed++)
		for (int length = SHORTEST; length <= LONGEST && length <= state->n_indexed + 1; length++)
			*entry(state, tokens, state->n_indexed, length) = (int32_t)state->n_indexed;
	for (int length = LONGEST; length >= SHORTEST; length--) {
		if (length > n_known)
			continue;
		int64_t end = *entry(state, tokens, n_known - 1, length);
		if (end < length - 1 ||
		    memcmp(&tokens[end - length + 1], &tokens[n_known - length], (size_t)length * sizeof *tokens) != 0)
			continue;
		for (int64_t i = 0; i < n_wanted; i++)
			tokens[n_known + i] = tokens[end + 1 + i];
		return n_wanted;
	}
	return 0;
}
