// rope_cache.cu - rotates q and k, writes k and v into their pages. A thread four pairs of a head, or four values that are
// not rotated; a block's threads are of one token.
#include "device.cuh"
#include "kernels/ops/rope_cache.h"

struct head {
	const float *x;
	void *out;
	enum dtype type;
	int32_t d, rotary_dim;
	bool vector;
};

// How many threads a head of d values takes.
static __device__ __forceinline__ int32_t units_of(int32_t d, int32_t rotary_dim)
{
	return (rotary_dim / 2 + 3) / 4 + (d - rotary_dim + 3) / 4;
}

static __device__ __forceinline__ void rotate(const struct head &h, const float *table, int32_t unit)
{
	int32_t half = h.rotary_dim / 2, pairs = (half + 3) / 4;
	if (unit >= pairs) {
		int32_t i = h.rotary_dim + 4 * (unit - pairs);
		float4 v = load4(h.x, i, h.d, h.vector);
		store4_as(h.type, h.out, i, h.d, h.vector, v);
		return;
	}
	// The first half of the rotated values ends at `half`, the second at rotary_dim.
	int32_t i = 4 * unit;
	float4 x, y, c, s;
	if (h.vector && i < half) { // one test for all four: they are on their way together
		x = *(const float4 *)(h.x + i);
		y = *(const float4 *)(h.x + i + half);
		c = *(const float4 *)(table + i);
		s = *(const float4 *)(table + i + half);
	} else {
		x = load4(h.x, i, half, false);
		y = load4(h.x, i + half, h.rotary_dim, false);
		c = load4(table, i, half, false);
		s = load4(table, i + half, h.rotary_dim, false);
	}
	float4 first = make_float4(x.x * c.x - y.x * s.x, x.y * c.y - y.y * s.y, x.z * c.z - y.z * s.z, x.w * c.w - y.w * s.w);
	float4 second = make_float4(y.x * c.x + x.x * s.x, y.y * c.y + x.y * s.y, y.z * c.z + x.z * s.z, y.w * c.w + x.w * s.w);
	store4_as(h.type, h.out, i, half, h.vector, first);
	store4_as(h.type, h.out, i + half, h.rotary_dim, h.vector, second);
}

static __device__ __forceinline__ void *element(void *p, enum dtype type, int64_t i)
{
	return (char *)p + (size_t)i * type_bytes(type);
}

// Head `h` of slot `slot` in a cache whose heads have d values: its first element.
static __device__ __forceinline__ int64_t cached(const struct rope_cache_args &a, int64_t slot, int32_t h, int64_t d)
{
	// Slots of caches up to 4 G tokens divide in 32 bits, which is several times faster.
	int64_t page = slot >> 32 ? slot / a.page_size : (uint32_t)slot / (uint32_t)a.page_size;
	return ((page * a.n_kv_heads + h) * a.page_size + (slot - page * a.page_size)) * d;
}

extern "C" __global__ void rope_cache_cuda(const __grid_constant__ struct rope_cache_args a)
{
	int64_t t = blockIdx.x;
	int32_t unit = (int32_t)(blockIdx.y * blockDim.x + threadIdx.x);
	int32_t d = (int32_t)a.head_dim, v_d = (int32_t)a.v_head_dim, n_q = (int32_t)a.n_heads, n_kv = (int32_t)a.n_kv_heads;
	int32_t per_head = units_of(d, a.rotary_dim), per_v = units_of(v_d, 0);
	const float *table = a.table + t * a.rotary_dim;
	bool rotates_by_four = a.rotary_dim % 8 == 0 && d % 4 == 0 && by_four(a.table, 4, a.rotary_dim);
	kernel_begin();
	if (unit < n_q * per_head) {
		int32_t h = unit / per_head;
		struct head q = { a.q + t * a.q_stride + (int64_t)h * d,
				  element(a.q_out, a.q_type, (t * n_q + h) * d), a.q_type, d, a.rotary_dim,
				  rotates_by_four && by_four(a.q, 4, a.q_stride) &&
					  by_four(a.q_out, type_bytes(a.q_type), d) };
		rotate(q, table, unit - h * per_head);
		return;
	}
	unit -= n_q * per_head;
	int64_t slot = a.slot[t];
	if (slot < 0)
		return;
	if (unit < n_kv * per_head) {
		int32_t h = unit / per_head;
		struct head k = { a.k + t * a.k_stride + (int64_t)h * d,
				  element(a.k_cache, a.kv_type, cached(a, slot, h, d)), a.kv_type, d, a.rotary_dim,
				  rotates_by_four && by_four(a.k, 4, a.k_stride) &&
					  by_four(a.k_cache, type_bytes(a.kv_type), d) };
		rotate(k, table, unit - h * per_head);
		return;
	}
	unit -= n_kv * per_head;
	if (unit >= n_kv * per_v)
		return;
	int32_t h = unit / per_v;
	struct head v = { a.v + t * a.v_stride + (int64_t)h * v_d,
			  element(a.v_cache, a.kv_type, cached(a, slot, h, v_d)), a.kv_type, v_d, 0,
			  v_d % 4 == 0 && by_four(a.v, 4, a.v_stride) && by_four(a.v_cache, type_bytes(a.kv_type), v_d) };
	rotate(v, NULL, unit - h * per_v);
}
