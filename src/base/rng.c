#include "rng.h"

#include <math.h>

void rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
	uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
	uint32_t k0 = key[0], k1 = key[1];
	for (int round = 0; round < 10; round++) {
		uint64_t p0 = (uint64_t)0xD2511F53u * c0;
		uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
		uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
		uint32_t n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
		c1 = (uint32_t)p1;
		c3 = (uint32_t)p0;
		c0 = n0;
		c2 = n2;
		k0 += 0x9E3779B9u;
		k1 += 0xBB67AE85u;
	}
	out[0] = c0;
	out[1] = c1;
	out[2] = c2;
	out[3] = c3;
}

/* Four words for (seed, purpose, position, block). Position takes 48 bits, purpose 16. */
void rng_block(uint64_t seed, enum rng_purpose purpose, uint64_t position, uint32_t block, uint32_t out[4])
{
	uint32_t key[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) };
	uint32_t counter[4] = { block, (uint32_t)position,
				(uint32_t)(position >> 32 & 0xffff) | (uint32_t)purpose << 16, 0 };
	rng_philox(counter, key, out);
}

uint32_t rng_u32(uint64_t seed, enum rng_purpose purpose, uint64_t position, uint32_t index)
{
	uint32_t w[4];
	rng_block(seed, purpose, position, index >> 2, w);
	return w[index & 3];
}

double rng_uniform(uint64_t seed, enum rng_purpose purpose, uint64_t position, uint32_t index)
{
	return ((double)rng_u32(seed, purpose, position, index) + 0.5) * 0x1p-32;
}

float rng_normal(uint64_t seed, enum rng_purpose purpose, uint64_t position, uint32_t index)
{
	uint32_t w[4];
	rng_block(seed, purpose, position, index, w);
	double u = ((double)w[0] + 0.5) * 0x1p-32;
	double v = ((double)w[1] + 0.5) * 0x1p-32;
	return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}
