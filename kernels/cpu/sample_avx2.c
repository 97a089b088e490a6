/* sample on 8 lanes. */
#include "avx2.h"

#define LANES 8

typedef __m256 vf;
typedef __m256i vi;
typedef __m256 vm;

static inline vm vm_first(int64_t n) { return _mm256_castsi256_ps(avx2_mask8(n)); }
static inline vm vm_and(vm a, vm b) { return _mm256_and_ps(a, b); }
static inline vm vm_or(vm a, vm b) { return _mm256_or_ps(a, b); }
static inline unsigned vm_bits(vm m) { return (unsigned)_mm256_movemask_ps(m); }

static inline vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
static inline vf vf_load_n(const float *p, int n)
{
	__m256i live = avx2_mask8(n);
	return _mm256_blendv_ps(_mm256_set1_ps(-__builtin_inff()), _mm256_maskload_ps(p, live), _mm256_castsi256_ps(live));
}
static inline void vf_store(float *p, vf v) { _mm256_storeu_ps(p, v); }
static inline void vf_store_n(float *p, vf v, int n) { _mm256_maskstore_ps(p, avx2_mask8(n), v); }
static inline vf vf_set1(float f) { return _mm256_set1_ps(f); }
static inline vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static inline vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static inline vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
static inline vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
static inline vf vf_keep(vf v, vm m) { return _mm256_and_ps(v, m); }
static inline vf vf_of_int(vi v) { return _mm256_cvtepi32_ps(v); }
static inline vf vf_bits(vi v) { return _mm256_castsi256_ps(v); }
static inline vm vf_above(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
static inline vm vf_at_least(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_GE_OQ); }
static inline vm vf_equal(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
static inline vm vf_not_below(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_NLT_UQ); }

static inline vi vi_load(const void *p) { return _mm256_loadu_si256(p); }
static inline vi vi_load_n(const void *p, int n) { return _mm256_maskload_epi32(p, avx2_mask8(n)); }
static inline vi vi_load_bytes_n(const void *p, int n)
{
	int64_t eight = 0;
	memcpy(&eight, p, n < LANES ? (size_t)n : LANES);
	return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(eight));
}
static inline void vi_store(void *p, vi v) { _mm256_storeu_si256(p, v); }
static inline vi vi_set1(int32_t i) { return _mm256_set1_epi32(i); }
static inline vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
static inline vi vi_sub(vi a, vi b) { return _mm256_sub_epi32(a, b); }
static inline vi vi_and(vi a, vi b) { return _mm256_and_si256(a, b); }
static inline vi vi_or(vi a, vi b) { return _mm256_or_si256(a, b); }
static inline vi vi_xor(vi a, vi b) { return _mm256_xor_si256(a, b); }
static inline vi vi_shl(vi v, int n) { return _mm256_slli_epi32(v, n); }
static inline vi vi_shr(vi v, int n) { return _mm256_srli_epi32(v, n); }
static inline vi vi_sign(vi v) { return _mm256_srai_epi32(v, 31); }
static inline vi vi_bits(vf v) { return _mm256_castps_si256(v); }
static inline vm vi_equal(vi a, vi b) { return _mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b)); }

static inline void vi_multiply(vi x, uint32_t factor, vi *high, vi *low)
{
	const vi f = _mm256_set1_epi32((int)factor);
	vi even = _mm256_mul_epu32(x, f), odd = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), f);
	*high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
	*low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
}

/* From one word of 8 blocks a vector to the 4 words of 2 blocks. */
static inline void vi_transpose(vi c0, vi c1, vi c2, vi c3, vi out[4])
{
	vi p = _mm256_unpacklo_epi32(c0, c1), q = _mm256_unpackhi_epi32(c0, c1);
	vi s = _mm256_unpacklo_epi32(c2, c3), t = _mm256_unpackhi_epi32(c2, c3);
	vi b0 = _mm256_unpacklo_epi64(p, s), b1 = _mm256_unpackhi_epi64(p, s); /* blocks 0, 4; 1, 5 */
	vi b2 = _mm256_unpacklo_epi64(q, t), b3 = _mm256_unpackhi_epi64(q, t);
	out[0] = _mm256_permute2x128_si256(b0, b1, 0x20);
	out[1] = _mm256_permute2x128_si256(b2, b3, 0x20);
	out[2] = _mm256_permute2x128_si256(b0, b1, 0x31);
	out[3] = _mm256_permute2x128_si256(b2, b3, 0x31);
}

#include "sample_loops.h"

int32_t sample_avx2(const struct sample_args *a)
{
	return sample_by(&loops, a);
}
