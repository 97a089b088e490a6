#include "dtype.h"

static const struct {
	const char *name;
	size_t bytes;
} types[DTYPE_COUNT] = {
	[DTYPE_F32] = { "f32", 4 },         [DTYPE_BF16] = { "bf16", 2 },
	[DTYPE_F16] = { "f16", 2 },         [DTYPE_F64] = { "f64", 8 },
	[DTYPE_I64] = { "i64", 8 },         [DTYPE_I32] = { "i32", 4 },
	[DTYPE_I16] = { "i16", 2 },         [DTYPE_I8] = { "i8", 1 },
	[DTYPE_U8] = { "u8", 1 },           [DTYPE_BOOL] = { "bool", 1 },
	[DTYPE_F8_E4M3] = { "f8_e4m3", 1 }, [DTYPE_F8_E5M2] = { "f8_e5m2", 1 },
	[DTYPE_U16] = { "u16", 2 },         [DTYPE_U32] = { "u32", 4 },
	[DTYPE_U64] = { "u64", 8 },
};

size_t dtype_bytes(enum dtype type)
{
	return types[type].bytes;
}

const char *dtype_name(enum dtype type)
{
	return types[type].name;
}

float f16_to_f32(uint16_t v)
{
	uint32_t sign = (uint32_t)(v & 0x8000) << 16;
	uint32_t exponent = (v >> 10) & 0x1f;
	uint32_t mantissa = v & 0x3ff;
	uint32_t bits;
	if (exponent == 0x1f) {
		bits = sign | 0x7f800000u | (mantissa << 13) | (mantissa ? 0x400000u : 0);
	} else if (exponent) {
		bits = sign | ((exponent + 112) << 23) | (mantissa << 13);
	} else {
		/* Zero or subnormal: mantissa * 2^-24 is exact in binary32. */
		float f = (float)mantissa * 0x1p-24f;
		memcpy(&bits, &f, sizeof bits);
		bits |= sign;
	}
	float f;
	memcpy(&f, &bits, sizeof f);
	return f;
}

uint16_t f32_to_f16(float f)
{
	uint32_t bits;
	memcpy(&bits, &f, sizeof bits);
	uint16_t sign = (uint16_t)((bits >> 16) & 0x8000);
	bits &= 0x7fffffffu;
	if (bits > 0x7f800000u)
		return (uint16_t)(sign | 0x7e00 | ((bits >> 13) & 0x3ff));
	if (bits >= 0x477ff000u) /* rounds to 65536 or more */
		return sign | 0x7c00;
	if (bits < 0x38800000u) {
		/* Subnormal result: adding 0.5 lets the FPU round at the right bit, ties to even. */
		float shifted;
		memcpy(&shifted, &bits, sizeof shifted);
		shifted += 0.5f;
		uint32_t rounded;
		memcpy(&rounded, &shifted, sizeof rounded);
		return (uint16_t)(sign | (rounded - 0x3f000000u));
	}
	bits += 0xfffu + ((bits >> 13) & 1);
	return (uint16_t)(sign | ((bits - 0x38000000u) >> 13));
}

void dtype_convert(enum dtype to, void *dst, enum dtype from, const void *src, size_t n)
{
	if (to == from) {
		memcpy(dst, src, n * dtype_bytes(to));
		return;
	}
	/* Those that loading waits for: no switch an element. */
	if (to == DTYPE_F32 && from == DTYPE_BF16) {
		for (size_t i = 0; i < n; i++)
			((float *)dst)[i] = bf16_to_f32(((const uint16_t *)src)[i]);
		return;
	}
	if (to == DTYPE_BF16 && from == DTYPE_F32) {
		for (size_t i = 0; i < n; i++)
			((uint16_t *)dst)[i] = f32_to_bf16(((const float *)src)[i]);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		float f = from == DTYPE_F64 ? (float)((const double *)src)[i] : dtype_load(from, src, i);
		dtype_store(to, dst, i, f);
	}
}
