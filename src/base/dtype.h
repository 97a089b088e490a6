/* dtype.h - element types and their conversions.
 *
 * Conversions round to nearest, ties to even. Source: IEEE 754-2019 (binary16, binary32); bfloat16 is
 * binary32 with the low 16 bits dropped. NaN stays NaN (quietened).
 */
#ifndef BASE_DTYPE_H
#define BASE_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum dtype {
	DTYPE_F32 = 0,
	DTYPE_BF16,
	DTYPE_F16,
	DTYPE_F64,
	DTYPE_I64,
	DTYPE_I32,
	DTYPE_I16,
	DTYPE_I8,
	DTYPE_U8,
	DTYPE_BOOL,
	DTYPE_F8_E4M3,
	DTYPE_F8_E5M2,
	DTYPE_U16,
	DTYPE_U32,
	DTYPE_U64,
	DTYPE_COUNT
};

/* Bytes of one element. */
size_t dtype_bytes(enum dtype type);
/* "f32", "bf16", ...: the name that users see. */
const char *dtype_name(enum dtype type);

static inline float bf16_to_f32(uint16_t v)
{
	uint32_t bits = (uint32_t)v << 16;
	float f;
	memcpy(&f, &bits, sizeof f);
	return f;
}

static inline uint16_t f32_to_bf16(float f)
{
	uint32_t bits;
	memcpy(&bits, &f, sizeof bits);
	if ((bits & 0x7fffffffu) > 0x7f800000u)
		return (uint16_t)((bits >> 16) | 0x40);
	return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

float f16_to_f32(uint16_t v);
uint16_t f32_to_f16(float f);

/* Element i of an array of F32, BF16, F16 or I8, as f32. */
static inline float dtype_load(enum dtype type, const void *p, size_t i)
{
	switch (type) {
	case DTYPE_BF16:
		return bf16_to_f32(((const uint16_t *)p)[i]);
	case DTYPE_F16:
		return f16_to_f32(((const uint16_t *)p)[i]);
	case DTYPE_I8:
		return ((const int8_t *)p)[i];
	default:
		return ((const float *)p)[i];
	}
}

static inline void dtype_store(enum dtype type, void *p, size_t i, float f)
{
	switch (type) {
	case DTYPE_BF16:
		((uint16_t *)p)[i] = f32_to_bf16(f);
		break;
	case DTYPE_F16:
		((uint16_t *)p)[i] = f32_to_f16(f);
		break;
	default:
		((float *)p)[i] = f;
	}
}

/* Converts n elements between F32, BF16 and F16; F64 as a source too. */
void dtype_convert(enum dtype to, void *dst, enum dtype from, const void *src, size_t n);

#endif
