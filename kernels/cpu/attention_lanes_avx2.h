/* attention_lanes_avx2.h - what attention_tile.h asks of a vector unit, in AVX2, FMA and F16C.
 * The words are explained in attention_lanes_avx512.h.
 */
#ifndef KERNELS_ATTENTION_LANES_AVX2_H
#define KERNELS_ATTENTION_LANES_AVX2_H

#include "avx2.h"
#include "math_avx2.h"

#include <stdint.h>
#include <string.h>

#define LANES 8
#define BLOCK_ROWS 6
#define BLOCK_VECTORS 2

typedef __m256 vf;
typedef __m256i vi;

static inline vf vf_load(const void *p) { return _mm256_loadu_ps(p); }
static inline void vf_store(void *p, vf v) { _mm256_storeu_ps(p, v); }
static inline vf vf_set1(float f) { return _mm256_set1_ps(f); }
static inline vf vf_zero(void) { return _mm256_setzero_ps(); }
static inline vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static inline vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static inline vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
static inline vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static inline vf vf_exp(vf x) { return avx2_exp(x); }
static inline vf vf_tanh(vf x) { return avx2_tanh(x); }
static inline vf vf_keep(vf v, int begin, int end)
{
	__m256i in = _mm256_andnot_si256(avx2_mask8(begin), avx2_mask8(end));
	return _mm256_blendv_ps(_mm256_set1_ps(-__builtin_inff()), v, _mm256_castsi256_ps(in));
}

static inline vi vi_load(const void *p) { return _mm256_loadu_si256(p); }
static inline vi vi_load_n(const void *p, int n) { return _mm256_maskload_epi32(p, avx2_mask8(n)); }
static inline __attribute__((always_inline)) vf vf_widen(enum dtype type, const void *p, int64_t i, int n)
{
	if (n >= LANES)
		return avx2_load8(type, p, i);
	return n > 0 ? avx2_load_tail(type, p, i, n) : vf_zero();
}
static inline vf vf_i8(const void *p, int n)
{
	int64_t eight = 0;
	if (n >= LANES)
		memcpy(&eight, p, LANES);
	else if (n > 0)
		memcpy(&eight, p, (size_t)n);
	return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128(eight)));
}
static inline __attribute__((always_inline)) void vf_narrow(enum dtype type, void *p, int64_t i, int n, vf v)
{
	avx2_store(type, p, i, n, v);
}
static inline vf vf_bf16_lower(vi v) { return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16)); }
static inline vf vf_bf16_upper(vi v)
{
	return _mm256_castsi256_ps(_mm256_and_si256(v, _mm256_set1_epi32((int)0xffff0000u)));
}
static inline void vf_interleave(vf even, vf odd, float *out)
{
	__m256 a = _mm256_unpacklo_ps(even, odd), b = _mm256_unpackhi_ps(even, odd);
	_mm256_storeu_ps(out, _mm256_permute2f128_ps(a, b, 0x20));
	_mm256_storeu_ps(out + 8, _mm256_permute2f128_ps(a, b, 0x31));
}
static inline void vi_transpose(const unsigned char *const *rows, int64_t offset, vi out[4])
{
	__m256i r[4];
	for (int i = 0; i < 4; i++) { /* row i + 4 * j in part j */
		r[i] = _mm256_castsi128_si256(_mm_loadu_si128((const void *)(rows[i] + offset)));
		r[i] = _mm256_inserti128_si256(r[i], _mm_loadu_si128((const void *)(rows[i + 4] + offset)), 1);
	}
	__m256i a = _mm256_unpacklo_epi32(r[0], r[1]), b = _mm256_unpackhi_epi32(r[0], r[1]);
	__m256i c = _mm256_unpacklo_epi32(r[2], r[3]), d = _mm256_unpackhi_epi32(r[2], r[3]);
	out[0] = _mm256_unpacklo_epi64(a, c);
	out[1] = _mm256_unpackhi_epi64(a, c);
	out[2] = _mm256_unpacklo_epi64(b, d);
	out[3] = _mm256_unpackhi_epi64(b, d);
}

/* s[0], s[1] are what AVX-512 has in one vector. */
static inline float tile_max(const vf *s)
{
	vf m = vf_max(vf_max(vf_max(s[0], s[1]), vf_max(s[2], s[3])), vf_max(vf_max(s[4], s[5]), vf_max(s[6], s[7])));
	__m128 x = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
	x = _mm_max_ps(x, _mm_movehl_ps(x, x));
	return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}

static inline float tile_sum(const vf *p)
{
	vf low = vf_add(vf_add(p[0], p[2]), vf_add(p[4], p[6]));
	vf high = vf_add(vf_add(p[1], p[3]), vf_add(p[5], p[7]));
	return avx2_sum_lanes(vf_add(low, high));
}

#endif
