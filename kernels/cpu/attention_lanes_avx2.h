/* attention_lanes_avx2.h - what attention_tile.h asks of a vector unit, in AVX2, FMA and F16C.
 * The words are explained in attention_lanes_avx512.h.
 */
#ifndef KERNELS_ATTENTION_LANES_AVX2_H
#define KERNELS_ATTENTION_LANES_AVX2_H

#include <immintrin.h>
#include <stdint.h>

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
static inline vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static inline vf vf_round(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline vf vf_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
static inline vf vf_copysign(vf a, vf sign) { return _mm256_or_ps(a, _mm256_and_ps(sign, _mm256_set1_ps(-0.0f))); }
static inline vf vf_pow2(vf n)
{
	return _mm256_castsi256_ps(
		_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
static inline vf vf_zero_below(vf v, vf x, vf limit)
{
	return _mm256_andnot_ps(_mm256_cmp_ps(x, limit, _CMP_LT_OQ), v);
}
static inline __m256i first_lanes(int n)
{
	return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline vf vf_keep(vf v, int begin, int end)
{
	__m256i in = _mm256_andnot_si256(first_lanes(begin), first_lanes(end));
	return _mm256_blendv_ps(_mm256_set1_ps(-__builtin_inff()), v, _mm256_castsi256_ps(in));
}

static inline vi vi_load(const void *p) { return _mm256_loadu_si256(p); }
static inline vi vi_load_n(const void *p, int n) { return _mm256_maskload_epi32(p, first_lanes(n)); }
static inline vf vf_load_n(const void *p, int n) { return _mm256_castsi256_ps(vi_load_n(p, n)); }
/* n is 8 or 0: head sizes are multiples of 8. */
static inline vf vf_load_f16_n(const void *p, int n)
{
	return n ? _mm256_cvtph_ps(_mm_loadu_si128(p)) : _mm256_setzero_ps();
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
static inline void vf_store_f16(void *p, vf v)
{
	_mm_storeu_si128(p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline void vf_store_bf16(void *p, vf v)
{
	__m256i bits = _mm256_castps_si256(v);
	__m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
	__m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
	__m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
	__m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
	rounded = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
	_mm_storeu_si128(p, _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1)));
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
static inline __m256 tile_max(const vf *s)
{
	vf low = vf_max(vf_max(s[0], s[2]), vf_max(s[4], s[6]));
	vf high = vf_max(vf_max(s[1], s[3]), vf_max(s[5], s[7]));
	return vf_max(low, high);
}

static inline __m256 tile_sum(const vf *p)
{
	vf low = vf_add(vf_add(p[0], p[2]), vf_add(p[4], p[6]));
	vf high = vf_add(vf_add(p[1], p[3]), vf_add(p[5], p[7]));
	return vf_add(low, high);
}

#endif
