/* attend.c - attention over a paged cache, without any model.
 *
 * Two sequences share a cache of shuffled pages. One has a prompt of 37 tokens that arrives in two steps (30, then 7); the
 * other has a prompt of 12 and decodes one token beside the first one's second chunk. That last step is compared with
 * a plain double loop.
 *
 *     cc attend.c $(pkg-config --cflags --libs verbatim) -lm -o attend && ./attend
 */
#include <verbatim/attention.h>

#include <math.h>
#include <stdio.h>

enum { HEADS = 4, KV_HEADS = 2, DIM = 64, PAGE = 16, WIDTH = 4, PAGES = 2 * WIDTH, WINDOW = 20, MAX_TOKENS = 40 };

/* Query, key and value of a sequence's token, head by head: made up, but always the same. */
static float made_up(int seq, int token, int head, int dim, int what)
{
	return sinf((float)(seq * 7919 + token * 104729 + head * 1299709 + dim * 15485 + what * 32452));
}

static float k_cache[PAGES][KV_HEADS][PAGE][DIM], v_cache[PAGES][KV_HEADS][PAGE][DIM];
static const int32_t page_table[2][WIDTH] = { { 5, 0, 3, 6 }, { 2, 7, 1, 4 } };

static float q[MAX_TOKENS][HEADS][DIM], out[MAX_TOKENS][HEADS][DIM];
static float k[MAX_TOKENS][KV_HEADS][DIM], v[MAX_TOKENS][KV_HEADS][DIM];

/* One step: writes the new tokens' keys and values, then attends. */
static int step(struct vb_attention *attention, int n_seqs, const int32_t *q_begin, const int32_t *kv_len)
{
	for (int s = 0; s < n_seqs; s++) {
		for (int t = q_begin[s]; t < q_begin[s + 1]; t++) {
			int position = kv_len[s] - q_begin[s + 1] + t;
			for (int i = 0; i < DIM; i++) {
				for (int h = 0; h < HEADS; h++)
					q[t][h][i] = 3 * made_up(s, position, h, i, 0);
				for (int h = 0; h < KV_HEADS; h++) {
					k[t][h][i] = made_up(s, position, h, i, 1);
					v[t][h][i] = made_up(s, position, h, i, 2);
				}
			}
		}
	}
	struct vb_attention_cache cache = { k_cache, v_cache, PAGES, &page_table[0][0], WIDTH };
	struct vb_attention_new_keys keys = { sizeof keys, k, v, 0, 0, cache };
	struct vb_attention_io io = { sizeof io, q, out, NULL, NULL, 0, 0, cache };
	int rc = vb_attention_update(attention, n_seqs, q_begin, kv_len);
	if (rc == VB_OK)
		rc = vb_attention_write(attention, &keys);
	return rc == VB_OK ? vb_attention_run(attention, &io) : rc;
}

/* The same for one row, straight from the definition: no pages, no tiles, in double. */
static double worst_error(int seq, int position, int head, const float *got)
{
	double weight[WIDTH * PAGE], sum = 0, worst = 0;
	int begin = position - WINDOW + 1 > 0 ? position - WINDOW + 1 : 0;
	for (int j = begin; j <= position; j++) {
		double dot = 0;
		for (int i = 0; i < DIM; i++)
			dot += 3 * made_up(seq, position, head, i, 0) * made_up(seq, j, head * KV_HEADS / HEADS, i, 1);
		sum += weight[j] = exp(dot / sqrt(DIM));
	}
	for (int i = 0; i < DIM; i++) {
		double want = 0;
		for (int j = begin; j <= position; j++)
			want += weight[j] / sum * made_up(seq, j, head * KV_HEADS / HEADS, i, 2);
		worst = fmax(worst, fabs(got[i] - want));
	}
	return worst;
}

int main(void)
{
	struct vb_attention_request request;
	vb_attention_request_default(&request);
	request.n_heads = HEADS;
	request.n_kv_heads = KV_HEADS;
	request.head_dim = request.v_head_dim = DIM;
	request.page_size = PAGE;
	request.window = WINDOW;
	struct vb_attention_limits limits;
	vb_attention_limits_default(&limits);
	limits.max_seqs = 2;
	limits.max_tokens = MAX_TOKENS;
	limits.table_width = WIDTH;

	struct vb_attention *attention;
	if (vb_attention_create(&attention, NULL, &request, &limits) != VB_OK) {
		fprintf(stderr, "attend: %s\n", vb_errmsg());
		return 1;
	}
	printf("kernel %s, %llu bytes\n", vb_attention_kernel(attention), (unsigned long long)vb_attention_bytes(attention));

	/* The chunk of 30; the prompt of 12 (sequence 0 has no query token in that step); 7 and 1 together. */
	static const int32_t first[] = { 0, 30 }, first_len[] = { 30 };
	static const int32_t other[] = { 0, 0, 12 }, other_len[] = { 30, 12 };
	static const int32_t second[] = { 0, 7, 8 }, second_len[] = { 37, 13 };
	int rc = step(attention, 1, first, first_len);
	if (rc == VB_OK)
		rc = step(attention, 2, other, other_len);
	if (rc == VB_OK)
		rc = step(attention, 2, second, second_len);
	vb_attention_destroy(&attention);
	if (rc != VB_OK) {
		fprintf(stderr, "attend: %s\n", vb_errmsg());
		return 1;
	}

	double worst = 0;
	for (int h = 0; h < HEADS; h++) {
		for (int t = 0; t < 7; t++)
			worst = fmax(worst, worst_error(0, 30 + t, h, out[t][h]));
		worst = fmax(worst, worst_error(1, 12, h, out[7][h]));
	}
	printf("8 tokens, %d heads: largest difference from a plain double loop %.2e: %s\n", HEADS, worst,
	       worst < 2e-6 ? "ok" : "WRONG");
	return worst < 2e-6 ? 0 : 1;
}
