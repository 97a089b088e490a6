/* inputs.c - input values: a pure function of seed, buffer, row identity, column and class. */
#include "kcheck_internal.h"

#include "base/rng.h"
#include "base/status.h"

#include <math.h>
#include <string.h>

/* Normals are drawn once and then chosen by random bits: drawing each would take longer than the tests. */
#define POOL 65536
#define DISTINCT_ROWS 64

static float pool[POOL];
static bool pool_ready;

static void make_pool(void)
{
	for (uint32_t i = 0; i < POOL; i++)
		pool[i] = rng_normal(0, RNG_TEST, 0, i);
	pool_ready = true;
}

static uint64_t name_bits(const char *name)
{
	uint64_t h = 14695981039346656037u; /* FNV-1a */
	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 1099511628211u;
	return h;
}

uint32_t kc_random(const struct kc_case *c, const char *name, int64_t key, int64_t col)
{
	return rng_u32(c->seed ^ name_bits(name), RNG_TEST, (uint64_t)key, (uint32_t)col);
}

static uint16_t denormal16(enum dtype type, uint32_t bits)
{
	uint32_t mantissa = type == DTYPE_BF16 ? bits & 0x7f : bits & 0x3ff;
	return (uint16_t)((bits >> 16 & 0x8000) | mantissa);
}

static void store_denormal(struct kc_buf *b, int64_t at, uint32_t bits)
{
	if (b->type == DTYPE_F32) {
		bits &= 0x807fffffu;
		memcpy(b->master + (size_t)at * 4, &bits, 4);
	} else {
		uint16_t v = denormal16(b->type, bits);
		memcpy(b->master + (size_t)at * 2, &v, 2);
	}
}

/* The value of a row that no token owns. */
static float shared_value(enum kc_class class, uint64_t seed, int64_t key, int64_t col, int64_t cols)
{
	int64_t half = cols / 2;
	if (class == KC_CANCEL && col >= half && half)
		col -= half;
	return pool[rng_u32(seed, RNG_TEST, (uint64_t)key, (uint32_t)col) % POOL];
}

static float token_value(enum kc_class class, uint64_t seed, int64_t key, int64_t col, int64_t cols)
{
	int64_t half = cols / 2;
	switch (class) {
	case KC_ZEROS:
		return 0;
	case KC_OUTLIER: {
		uint32_t where = rng_u32(seed, RNG_TEST, (uint64_t)key, UINT32_MAX);
		if (col == (int64_t)(where >> 1) % cols)
			return where & 1 ? 1e4f : -1e4f;
		break;
	}
	case KC_CANCEL:
		if (cols % 2 && col == cols - 1)
			return 0;
		if (col >= half)
			return -token_value(KC_NORMAL, seed, key, col - half, cols);
		break;
	case KC_TIES:
		col = 0;
		break;
	default:
		break;
	}
	return pool[rng_u32(seed, RNG_TEST, (uint64_t)key, (uint32_t)col) % POOL];
}

void kc_fill(const struct kc_case *c, struct kc_buf *b)
{
	uint64_t seed = c->seed ^ name_bits(b->name);
	if (!pool_ready)
		make_pool();
	for (int64_t r = 0; r < b->n_rows; r++) {
		/* For time alone a few different rows do. */
		if (c->shape->bench && r >= DISTINCT_ROWS) {
			memcpy(b->master + (size_t)r * kc_row_bytes(b),
			       b->master + (size_t)(r % DISTINCT_ROWS) * kc_row_bytes(b), kc_row_bytes(b));
			continue;
		}
		for (int64_t i = 0; i < b->cols; i++) {
			int64_t at = r * b->cols + i;
			if (b->shared)
				dtype_store(b->type, b->master, (size_t)at,
					    shared_value(c->class, seed, b->row_key[r], i, b->cols));
			else if (c->class == KC_DENORMAL)
				store_denormal(b, at, rng_u32(seed, RNG_TEST, (uint64_t)b->row_key[r], (uint32_t)i));
			else
				dtype_store(b->type, b->master, (size_t)at,
					    token_value(c->class, seed, b->row_key[r], i, b->cols));
		}
	}
}

const char *kc_class_name(enum kc_class class)
{
	static const char *const names[KC_N_CLASSES] = { "normal", "zeros", "outlier", "denormal", "cancel", "ties" };
	CHECK(class < KC_N_CLASSES);
	return names[class];
}

const char *kc_verdict_name(enum kc_verdict verdict)
{
	static const char *const names[KC_N_VERDICTS] = { "ok",    "refuse", "writes",     "determinism",
							  "reads", "capture", "value",  "invariance", "crash", "hang" };
	CHECK(verdict < KC_N_VERDICTS);
	return names[verdict];
}
