/* linear_groups.h - packed panels of quantised weights, and activations in groups, as the CPU's kernels keep them.
 *
 * A panel is 32 rows, group by group of 32 k, in 8 steps of 4 k, so that a 4-byte lane holds a row's 4 neighbours and a step is
 * 128 bytes. Integers are stored with 128 added, as bytes without sign; what that adds to a sum, 128 times the sum of the
 * activations' integers, is taken off where the sum begins.
 *
 *   q8  a group is 8 steps, then 32 f16 units: 1088 bytes.
 *   q6  a group is twice 4 steps, then 32 f16 units: 832 bytes. Bytes are 4 q + 128. Of 4 steps three lie as they are, and the
 *       last one's 6 bits in the two low bits of these, from the first step's, which has the highest, on: 9 instructions make 4
 *       vectors of 3. (With nibbles and a plane of 2 bits it would be 15.) A unit counts 4.
 *   q4  a group of g begins with 32 f16 scales and 32 bytes of 128 - zero; then, for each 32 k, 4 pairs of steps of 128 bytes: the
 *       even step in the low nibbles, the odd one in the high nibbles. 8 q + (128 - zero) is the byte that a q8 panel would hold.
 *
 * Activations: a block of tokens is [groups][12][tokens] words of 4 bytes: the 8 steps' integers, then what follows from the
 * group's scale m * 2^e (linear_quantise.h):
 *   - begin: the bits of the float32 1.5 * 2^(23 + e), less 128 times the sum of the integers;
 *   - magic: that float32. An int32 sum that starts at `begin` ends as the bits of magic + dot * 2^e, as |dot| < 2^22, so that one
 *     subtraction gives the float32 dot * 2^e, exactly. A NaN where the token has no numbers;
 *   - m, from 8/8 to 15/8;
 *   - the place of unit * m among a row's 8 possible products, in bytes of vectors of 64.
 */
#ifndef CPU_LINEAR_GROUPS_H
#define CPU_LINEAR_GROUPS_H

#include "kernels/ops/linear.h"
#include "kernels/ops/linear_quantise.h"

#define GROUP_ROWS 32
#define GROUP_BYTES 1024               /* 8 steps */
#define GROUP_Q8_BYTES (GROUP_BYTES + 64)
#define GROUP_Q6_BYTES (GROUP_BYTES / 4 * 3 + 64)
#define GROUP_Q6_SET (GROUP_BYTES / 8 * 3) /* 4 steps in the place of 3 */
#define GROUP_Q6_ONE 4 /* what 1 is in the bytes */
#define GROUP_Q4_HEAD 96
#define GROUP_WORDS 12
#define GROUP_BEGIN 8
#define GROUP_MAGIC 9
#define GROUP_M 10
#define GROUP_PLACE 11
/* How far ahead a lone block of tokens asks for weights, in bytes, some lines between the products of each. By vpdpbusd, one token and one
 * thread on a Zen 4: a group's lines in one go come 15 to 20 % slower; of 4-bit weights, those 2 KiB ahead 20 % slower. */
#define GROUP_AHEAD 1664

static inline int64_t groups_of(int64_t k)
{
	return (k + LINEAR_GROUP - 1) / LINEAR_GROUP;
}

/* Bytes of 32 k, without q4's head. */
static inline int64_t groups_stride(enum weight_format format)
{
	return format == WEIGHT_Q8 ? GROUP_Q8_BYTES : format == WEIGHT_Q6 ? GROUP_Q6_BYTES : GROUP_BYTES / 2;
}

/* What 1 counts in the bytes, in scales. Exact. */
static inline float groups_unit_part(enum weight_format format)
{
	return format == WEIGHT_Q8 ? 1.0f : format == WEIGHT_Q6 ? 1.0f / GROUP_Q6_ONE : 1.0f / WEIGHT_ZERO_ONE;
}

static inline int64_t groups_panel_bytes(enum weight_format format, int64_t k, int64_t group)
{
	return groups_of(k) * groups_stride(format) + (format == WEIGHT_Q4 ? (k + group - 1) / group * GROUP_Q4_HEAD : 0);
}

static inline int64_t groups_packed_bytes(const struct linear_request *r)
{
	return ((r->n + GROUP_ROWS - 1) / GROUP_ROWS * groups_panel_bytes(r->format, r->k, r->group) + 63) / 64 * 64;
}

/* ---- Packing ---- */

static inline void groups_pack_q8(const struct weight_matrix *w, int64_t n, int r, char *panel, uint32_t flip)
{
	const char *row = (const char *)w->data + n * w->k;
	for (int64_t g = 0; g < groups_of(w->k); g++, panel += GROUP_Q8_BYTES) {
		uint32_t step[8] = { 0 };
		uint16_t unit = 0;
		if (n < w->n) {
			int64_t live = w->k - g * LINEAR_GROUP;
			memcpy(step, row + g * LINEAR_GROUP, (size_t)(live < LINEAR_GROUP ? live : LINEAR_GROUP));
			unit = w->scale[n * groups_of(w->k) + g];
		}
		for (int s = 0; s < 8; s++) {
			step[s] ^= flip;
			memcpy(panel + s * 4 * GROUP_ROWS + 4 * r, &step[s], 4);
		}
		memcpy(panel + GROUP_BYTES + 2 * r, &unit, 2);
	}
}

/* Four q + 32 of 6 bits as bytes of 4 q + 128. */
static inline uint32_t groups_spread_q6(uint32_t v)
{
	return (v & 0x3f) << 2 | (v & 0xfc0) << 4 | (v & 0x3f000) << 6 | (v & 0xfc0000) << 8;
}

static inline void groups_pack_q6(const struct weight_matrix *w, int64_t n, int r, char *panel, uint32_t flip)
{
	const int64_t row_bytes = weight_row_bytes(w);
	const char *row = (const char *)w->data + n * row_bytes;
	for (int64_t g = 0; g < groups_of(w->k); g++, panel += GROUP_Q6_BYTES) {
		unsigned char all[24] = { 0 };
		uint16_t unit = 0;
		if (n < w->n) {
			int64_t live = row_bytes - g * 24;
			memcpy(all, row + g * 24, (size_t)(live < 24 ? live : 24));
			unit = w->scale[n * groups_of(w->k) + g];
		}
		for (int i = 0; i < 2; i++) {
			uint32_t step[4];
			for (int s = 0; s < 4; s++) {
				const unsigned char *at = all + 12 * i + 3 * s;
				step[s] = groups_spread_q6(at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16) ^ flip;
			}
			for (int s = 0; s < 3; s++) {
				step[s] |= step[3] >> (6 - 2 * s) & 0x03030303u;
				memcpy(panel + i * GROUP_Q6_SET + s * 4 * GROUP_ROWS + 4 * r, &step[s], 4);
			}
		}
		memcpy(panel + 2 * GROUP_Q6_SET + 2 * r, &unit, 2);
	}
}

/* The nibbles of 16 bits as bytes. */
static inline uint32_t groups_spread(uint32_t v)
{
	v = (v | v << 8) & 0x00ff00ffu;
	return (v | v << 4) & 0x0f0f0f0fu;
}

static inline void groups_pack_q4(const struct weight_matrix *w, int64_t n, int r, char *panel)
{
	const int64_t row_bytes = (w->k + 1) / 2, heads = weight_groups(w);
	const char *row = (const char *)w->data + n * row_bytes;
	for (int64_t g = 0; g < groups_of(w->k); g++, panel += GROUP_BYTES / 2) {
		if (g * LINEAR_GROUP % w->group == 0) {
			int64_t at = n * heads + g * LINEAR_GROUP / w->group;
			uint16_t scale = n < w->n ? w->scale[at] : 0;
			uint8_t offset = (uint8_t)(128 - (n < w->n ? w->zero[at] : 0));
			memcpy(panel + 2 * r, &scale, 2);
			memcpy(panel + 2 * GROUP_ROWS + r, &offset, 1);
			panel += GROUP_Q4_HEAD;
		}
		uint32_t eight[4] = { 0 };
		if (n < w->n) {
			int64_t live = row_bytes - g * 16;
			memcpy(eight, row + g * 16, (size_t)(live < 16 ? live : 16));
		}
		for (int j = 0; j < 4; j++) {
			uint32_t pair = groups_spread(eight[j] & 0xffff) | groups_spread(eight[j] >> 16) << 4;
			memcpy(panel + j * 4 * GROUP_ROWS + 4 * r, &pair, 4);
		}
	}
}

/* `with_sign`: bytes of q8 and q6 without 128 added. */
static inline void groups_pack(const struct weight_matrix *w, void *packed, int64_t begin, int64_t end, bool with_sign)
{
	const int64_t bytes = groups_panel_bytes(w->format, w->k, w->group);
	for (int64_t p = begin; p < end; p++)
		for (int r = 0; r < GROUP_ROWS; r++) {
			int64_t n = p * GROUP_ROWS + r;
			char *panel = (char *)packed + p * bytes;
			if (w->format == WEIGHT_Q8)
				groups_pack_q8(w, n, r, panel, with_sign ? 0 : 0x80808080u);
			else if (w->format == WEIGHT_Q6)
				groups_pack_q6(w, n, r, panel, with_sign ? 0x80808080u : 0);
			else
				groups_pack_q4(w, n, r, panel);
		}
}

/* ---- Activations ---- */

static inline int64_t groups_scratch_bytes(int64_t k, int64_t t)
{
	return t * groups_of(k) * GROUP_WORDS * 4;
}

/* What follows from a group's scale and the sum of its integers, into a column of `width` tokens. */
static inline void groups_put_scale(float scale, int32_t sum, uint32_t *column, int64_t width)
{
	uint32_t bits = linear_bits(scale), magic = 0x4b400000u, place = 0; /* 1.5 * 2^23 */
	if (scale != scale) {
		magic = 0x7fc00000u;
	} else if (scale > 0) {
		magic += (bits >> 23 << 23) - 0x3f800000u;
		place = bits >> 20 & 7;
	}
	column[GROUP_BEGIN * width] = magic - 128u * (uint32_t)sum;
	column[GROUP_MAGIC * width] = magic;
	column[GROUP_M * width] = 0x3f800000u | place << 20;
	column[GROUP_PLACE * width] = place * 64;
}

#endif
