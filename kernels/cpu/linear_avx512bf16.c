/* linear for bf16 by vdpbf16ps.
 *
 * Order of summation: linear_panels.h, two values of k a step, in the instruction's own order. vdpbf16ps takes denormal inputs as
 * zero, flushes denormal results to zero and rounds to nearest even, whatever MXCSR says.
 */
#include "linear_rows_avx512.h"

static const struct linear_form form = { .rows = 32, .tokens = TOKENS, .k_per_step = 2, .step_bytes = 128 };

static inline __attribute__((always_inline)) void tile(const struct linear_tile *t, const int tokens, const int fetch)
{
	const char *w = t->w, *x = t->x, *ahead = t->ahead;
	const __mmask16 live[2] = { (__mmask16)t->live, (__mmask16)(t->live >> 16) };
	__m512 total[2][TOKENS];
	avx512_begin_rows(t, total, live, tokens);
	for (int64_t begin = 0; begin < t->steps; begin += t->chunk) {
		const char *end = w + 128 * linear_min(t->chunk, t->steps - begin);
		__m512 sum[2][TOKENS];
#pragma GCC unroll 12
		for (int c = 0; c < tokens; c++)
			sum[0][c] = sum[1][c] = _mm512_setzero_ps();
		for (; w < end; w += 128, x += 4 * tokens) {
			__m512bh w0 = (__m512bh)_mm512_loadu_si512(w), w1 = (__m512bh)_mm512_loadu_si512(w + 64);
			ahead = linear_ask(ahead, fetch);
#pragma GCC unroll 12
			for (int c = 0; c < tokens; c++) {
				__m512bh v = (__m512bh)_mm512_set1_epi32(((const int *)(const void *)x)[c]);
				sum[0][c] = _mm512_dpbf16_ps(sum[0][c], w0, v);
				sum[1][c] = _mm512_dpbf16_ps(sum[1][c], w1, v);
			}
		}
#pragma GCC unroll 12
		for (int c = 0; c < tokens; c++) {
			total[0][c] = _mm512_add_ps(total[0][c], sum[0][c]);
			total[1][c] = _mm512_add_ps(total[1][c], sum[1][c]);
		}
	}
	avx512_end_rows(t, total, live, tokens);
}

static inline __attribute__((always_inline)) void tile_of(const struct linear_tile *t, const int tokens)
{
	if (t->fetch == 128)
		tile(t, tokens, 128);
	else if (t->fetch == 64)
		tile(t, tokens, 64);
	else
		tile(t, tokens, 0);
}

/* Only a lone block has 5 tokens or fewer, and asks for all lines. */
static void tile_any(const struct linear_tile *t)
{
	switch (t->tokens) {
	case 1:
		tile(t, 1, 128);
		break;
	case 2:
		tile(t, 2, 128);
		break;
	case 3:
		tile(t, 3, 128);
		break;
	case 4:
		tile(t, 4, 128);
		break;
	case 5:
		tile(t, 5, 128);
		break;
	case 6:
		tile_of(t, 6);
		break;
	case 7:
		tile_of(t, 7);
		break;
	case 8:
		tile_of(t, 8);
		break;
	case 9:
		tile_of(t, 9);
		break;
	case 10:
		tile_of(t, 10);
		break;
	case 11:
		tile_of(t, 11);
		break;
	default:
		tile_of(t, 12);
	}
}

static const char *refuse(const struct linear_request *r)
{
	if (r->format == WEIGHT_DENSE && (r->x_type != DTYPE_BF16 || r->w_type != DTYPE_BF16))
		return "multiplies bf16 by bf16 only";
	return linear_refuse_any(r);
}

static void run(const struct linear_args *a, int64_t n_begin, int64_t n_end)
{
	linear_walk(&form, a, n_begin, n_end, tile_any);
}

static int64_t packed_bytes(const struct linear_request *r)
{
	return linear_panels_bytes(&form, r);
}

static void pack(const struct weight_matrix *w, void *packed, int64_t panel_begin, int64_t panel_end)
{
	linear_pack_panels(&form, w, packed, panel_begin, panel_end);
}

static int64_t scratch_bytes(const struct linear_request *r, int64_t t)
{
	return linear_units_bytes(&form, r, t);
}

static void prepare(const struct linear_args *a, int64_t t_begin, int64_t t_end)
{
	linear_prepare_units(&form, a, t_begin, t_end);
}

const struct linear_kernel linear_avx512bf16 = {
	.run = run, .refuse = refuse, .panel = 32, .packed_bytes = packed_bytes, .pack = pack,
	.scratch_bytes = scratch_bytes, .prepare = prepare,
};
