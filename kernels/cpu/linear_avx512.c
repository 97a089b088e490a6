/* linear for all types, widened to float32 in registers.
 *
 * Order of summation: linear_panels.h, one value of k a step, by fused multiply-add: the same bits as linear_avx2.c.
 */
#include "linear_rows_avx512.h"

static const struct linear_form wide = { .rows = 32, .tokens = TOKENS, .k_per_step = 1, .step_bytes = 128 };
static const struct linear_form narrow = { .rows = 32, .tokens = TOKENS, .k_per_step = 1, .step_bytes = 64 };

static const struct linear_form *form_of(enum dtype w_type)
{
	return w_type == DTYPE_F32 ? &wide : &narrow;
}

static inline __attribute__((always_inline)) void tile(const struct linear_tile *t, const enum dtype type, const int tokens,
						       const int fetch)
{
	const int step = type == DTYPE_F32 ? 128 : 64;
	const char *w = t->w, *ahead = t->ahead;
	const float *x = (const float *)(const void *)t->x;
	const __mmask16 live[2] = { (__mmask16)t->live, (__mmask16)(t->live >> 16) };
	__m512 total[2][TOKENS];
	avx512_begin_rows(t, total, live, tokens);
	for (int64_t begin = 0; begin < t->steps; begin += t->chunk) {
		const char *end = w + step * linear_min(t->chunk, t->steps - begin);
		__m512 sum[2][TOKENS];
#pragma GCC unroll 12
		for (int c = 0; c < tokens; c++)
			sum[0][c] = sum[1][c] = _mm512_setzero_ps();
		for (; w < end; w += step, x += tokens) {
			__m512 w0 = avx512_load(type, w, 0, 0xffff), w1 = avx512_load(type, w, 16, 0xffff);
			ahead = linear_ask(ahead, fetch);
#pragma GCC unroll 12
			for (int c = 0; c < tokens; c++) {
				__m512 v = _mm512_set1_ps(x[c]);
				sum[0][c] = _mm512_fmadd_ps(w0, v, sum[0][c]);
				sum[1][c] = _mm512_fmadd_ps(w1, v, sum[1][c]);
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

static inline __attribute__((always_inline)) void tile_fetch(const struct linear_tile *t, const enum dtype type, const int tokens)
{
	if (t->fetch > 64)
		tile(t, type, tokens, 128);
	else if (t->fetch)
		tile(t, type, tokens, 64);
	else
		tile(t, type, tokens, 0);
}

static inline __attribute__((always_inline)) void tile_any(const struct linear_tile *t, const enum dtype type)
{
	switch (t->tokens) {
	case 1:
		tile_fetch(t, type, 1);
		break;
	case 2:
		tile_fetch(t, type, 2);
		break;
	case 3:
		tile_fetch(t, type, 3);
		break;
	case 4:
		tile_fetch(t, type, 4);
		break;
	case 5:
		tile_fetch(t, type, 5);
		break;
	case 6:
		tile_fetch(t, type, 6);
		break;
	case 7:
		tile_fetch(t, type, 7);
		break;
	case 8:
		tile_fetch(t, type, 8);
		break;
	case 9:
		tile_fetch(t, type, 9);
		break;
	case 10:
		tile_fetch(t, type, 10);
		break;
	case 11:
		tile_fetch(t, type, 11);
		break;
	default:
		tile_fetch(t, type, 12);
	}
}

static void tile_f32(const struct linear_tile *t)
{
	tile_any(t, DTYPE_F32);
}

static void tile_bf16(const struct linear_tile *t)
{
	tile_any(t, DTYPE_BF16);
}

static void tile_f16(const struct linear_tile *t)
{
	tile_any(t, DTYPE_F16);
}

static linear_tile_fn *tile_for(enum dtype w_type)
{
	return w_type == DTYPE_F32 ? tile_f32 : w_type == DTYPE_BF16 ? tile_bf16 : tile_f16;
}

static void run(const struct linear_args *a, int64_t n_begin, int64_t n_end)
{
	linear_walk(form_of(a->w_type), a, n_begin, n_end, tile_for(a->w_type));
}

static int64_t packed_bytes(const struct linear_request *r)
{
	return linear_panels_bytes(form_of(r->w_type), r);
}

static void pack(const struct weight_matrix *w, void *packed, int64_t panel_begin, int64_t panel_end)
{
	linear_pack_panels(form_of(w->type), w, packed, panel_begin, panel_end);
}

static int64_t scratch_bytes(const struct linear_request *r, int64_t t)
{
	return linear_units_bytes(form_of(r->w_type), r, t);
}

static void prepare(const struct linear_args *a, int64_t t_begin, int64_t t_end)
{
	linear_prepare_units(form_of(a->w_type), a, t_begin, t_end);
}

const struct linear_kernel linear_avx512 = {
	.run = run, .refuse = linear_refuse_any, .panel = 32, .packed_bytes = packed_bytes, .pack = pack,
	.scratch_bytes = scratch_bytes, .prepare = prepare,
};
