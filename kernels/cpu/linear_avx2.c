/* linear for all types, widened to float32 in registers.
 *
 * Order of summation: linear_panels.h, one value of k a step, by fused multiply-add: the same bits as linear_avx512.c.
 */
#include "avx2.h"
#include "linear_panels.h"

/* Registers: 12 accumulators, 2 of weights, 1 of activations. */
#define TOKENS 6

static const struct linear_form wide = { .rows = 16, .tokens = TOKENS, .k_per_step = 1, .step_bytes = 64 };
static const struct linear_form narrow = { .rows = 16, .tokens = TOKENS, .k_per_step = 1, .step_bytes = 32 };

static const struct linear_form *form_of(enum dtype w_type)
{
	return w_type == DTYPE_F32 ? &wide : &narrow;
}

static inline __m256i live_lanes(const struct linear_tile *t, int half)
{
	const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
	return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)(t->live >> (8 * half))), bit), bit);
}

static inline __attribute__((always_inline)) void tile(const struct linear_tile *t, const enum dtype type, const int tokens,
						       const int fetch)
{
	const int step = type == DTYPE_F32 ? 64 : 32;
	const char *w = t->w, *ahead = t->ahead;
	const float *x = (const float *)(const void *)t->x;
	const __m256i live[2] = { live_lanes(t, 0), live_lanes(t, 1) };
	__m256 total[2][TOKENS];
	for (int c = 0; c < tokens; c++)
		for (int h = 0; h < 2; h++)
			total[h][c] = t->goes_on ? _mm256_maskload_ps(t->y + c * t->y_stride + 8 * h, live[h])
						 : _mm256_setzero_ps();
	for (int64_t begin = 0; begin < t->steps; begin += t->chunk) {
		const char *end = w + step * linear_min(t->chunk, t->steps - begin);
		__m256 sum[2][TOKENS];
#pragma GCC unroll 6
		for (int c = 0; c < tokens; c++)
			sum[0][c] = sum[1][c] = _mm256_setzero_ps();
		for (; w < end; w += step, x += tokens) {
			__m256 w0 = avx2_load8(type, w, 0), w1 = avx2_load8(type, w, 8);
			ahead = linear_ask(ahead, fetch);
#pragma GCC unroll 6
			for (int c = 0; c < tokens; c++) {
				__m256 v = _mm256_set1_ps(x[c]);
				sum[0][c] = _mm256_fmadd_ps(w0, v, sum[0][c]);
				sum[1][c] = _mm256_fmadd_ps(w1, v, sum[1][c]);
			}
		}
#pragma GCC unroll 6
		for (int c = 0; c < tokens; c++) {
			total[0][c] = _mm256_add_ps(total[0][c], sum[0][c]);
			total[1][c] = _mm256_add_ps(total[1][c], sum[1][c]);
		}
	}
	for (int c = 0; c < tokens; c++)
		for (int h = 0; h < 2; h++) {
			__m256 v = total[h][c];
			if (t->bias)
				v = _mm256_add_ps(v, _mm256_maskload_ps(t->bias + 8 * h, live[h]));
			_mm256_maskstore_ps(t->y + c * t->y_stride + 8 * h, live[h], v);
		}
}

static inline __attribute__((always_inline)) void tile_fetch(const struct linear_tile *t, const enum dtype type, const int tokens)
{
	if (t->fetch)
		tile(t, type, tokens, type == DTYPE_F32 ? 64 : 32);
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
	default:
		tile_fetch(t, type, 6);
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

const struct linear_kernel linear_avx2 = {
	.run = run, .refuse = linear_refuse_any, .panel = 16, .packed_bytes = packed_bytes, .pack = pack,
	.scratch_bytes = scratch_bytes, .prepare = prepare,
};
