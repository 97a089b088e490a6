/* sample on 16 lanes. */
#include "avx512.h"

#define LANES 16

typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm;

static inline vm vm_first(int64_t n) { return n > 0 ? avx512_mask16(n) : 0; }
static inline vm vm_and(vm a, vm b) { return a & b; }
static inline vm vm_or(vm a, vm b) { return a | b; }
static inline unsigned vm_bits(vm m) { return m; }

static inline vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
static inline vf vf_load_n(const float *p, int n)
{
	return _mm512_mask_loadu_ps(_mm512_set1_ps(-__builtin_inff()), avx512_mask16(n), p);
}
static inline void vf_store(float *p, vf v) { _mm512_storeu_ps(p, v); }
static inline void vf_store_n(float *p, vf v, int n) { _mm512_mask_storeu_ps(p, avx512_mask16(n), v); }
static inline vf vf_set1(float f) { return _mm512_set1_ps(f); }
static inline vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static inline vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
static inline vf vf_keep(vf v, vm m) { return _mm512_maskz_mov_ps(m, v); }
static inline vf vf_of_int(vi v) { return _mm512_cvtepi32_ps(v); }
static inline vf vf_bits(vi v) { return _mm512_castsi512_ps(v); }
static inline vm vf_above(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
static inline vm vf_at_least(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
static inline vm vf_equal(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
static inline vm vf_not_below(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }

static inline vi vi_load(const void *p) { return _mm512_loadu_si512(p); }
static inline vi vi_load_n(const void *p, int n) { return _mm512_maskz_loadu_epi32(avx512_mask16(n), p); }
static inline vi vi_load_bytes_n(const void *p, int n)
{
	return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(avx512_mask16(n), p));
}
static inline void vi_store(void *p, vi v) { _mm512_storeu_si512(p, v); }
static inline vi vi_set1(int32_t i) { return _mm512_set1_epi32(i); }
static inline vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
static inline vi vi_sub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
static inline vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
static inline vi vi_or(vi a, vi b) { return _mm512_or_si512(a, b); }
static inline vi vi_xor(vi a, vi b) { return _mm512_xor_si512(a, b); }
static inline vi vi_shl(vi v, int n) { return _mm512_slli_epi32(v, (unsigned)n); }
static inline vi vi_shr(vi v, int n) { return _mm512_srli_epi32(v, (unsigned)n); }
static inline vi vi_sign(vi v) { return _mm512_srai_epi32(v, 31); }
static inline vi vi_bits(vf v) { return _mm512_castps_si512(v); }
static inline vm vi_equal(vi a, vi b) { return _mm512_cmpeq_epi32_mask(a, b); }

static inline void vi_multiply(vi x, uint32_t factor, vi *high, vi *low)
{
	const vi f = _mm512_set1_epi32((int)factor);
	vi even = _mm512_mul_epu32(x, f), odd = _mm512_mul_epu32(_mm512_srli_epi64(x, 32), f);
	*high = _mm512_mask_mov_epi32(_mm512_srli_epi64(even, 32), 0xaaaa, odd);
	*low = _mm512_mask_mov_epi32(even, 0xaaaa, _mm512_slli_epi64(odd, 32));
}

/* From one word of 16 blocks a vector to the 4 words of 4 blocks. */
static inline void vi_transpose(vi c0, vi c1, vi c2, vi c3, vi out[4])
{
	vi p = _mm512_unpacklo_epi32(c0, c1), q = _mm512_unpackhi_epi32(c0, c1);
	vi s = _mm512_unpacklo_epi32(c2, c3), t = _mm512_unpackhi_epi32(c2, c3);
	vi b0 = _mm512_unpacklo_epi64(p, s), b1 = _mm512_unpackhi_epi64(p, s); /* blocks 0, 4, 8, 12; 1, 5, .. */
	vi b2 = _mm512_unpacklo_epi64(q, t), b3 = _mm512_unpackhi_epi64(q, t);
	p = _mm512_shuffle_i32x4(b0, b1, 0x44); /* blocks 0, 4, 1, 5 */
	q = _mm512_shuffle_i32x4(b0, b1, 0xee); /* 8, 12, 9, 13 */
	s = _mm512_shuffle_i32x4(b2, b3, 0x44);
	t = _mm512_shuffle_i32x4(b2, b3, 0xee);
	out[0] = _mm512_shuffle_i32x4(p, s, 0x88);
	out[1] = _mm512_shuffle_i32x4(p, s, 0xdd);
	out[2] = _mm512_shuffle_i32x4(q, t, 0x88);
	out[3] = _mm512_shuffle_i32x4(q, t, 0xdd);
}

#include "sample_loops.h"

int32_t sample_avx512(const struct sample_args *a)
{
	return sample_by(&loops, a);
}
