/* weight_matrix.h - the canonical face of a matrix of weights, dense or quantised: row-major, as files hold it.
 *
 *   WEIGHT_DENSE  data [n, k] in `type`.
 *   WEIGHT_Q8     data int8 [n, k]; w = scale * q. Groups of 32.
 *   WEIGHT_Q6     data [n, 3 * ceil(k / 4)]: four neighbours in three bytes, 6 bits each from the low bits up, as q + 32; q of -32 to 31;
 *                 w = scale * q. Groups of 32.
 *   WEIGHT_Q4     data [n, ceil(k / 2)], two a byte, the even k in the low nibble: q of 0 to 15; w = scale * (q - zero / 8). Zeros count
 *                 in eighths, 0 to 128, so that w is scale / 8 times an integer of -128 to 120: every 4-bit matrix is an 8-bit
 *                 matrix too, exactly, and sums over a group are integers. Groups of 32, 64 or 128.
 *
 * A group is so many neighbours of a row, the last of a row as many as are left; scale and zero are [n, ceil(k / group)].
 * Fast kernels keep matrices in a layout of their own (linear.h); embeddings, references and tools read this one.
 */
#ifndef KERNELS_WEIGHT_MATRIX_H
#define KERNELS_WEIGHT_MATRIX_H

#include "kernel.h"

enum weight_format { WEIGHT_DENSE, WEIGHT_Q8, WEIGHT_Q6, WEIGHT_Q4 };

/* The group that every quantised form has. */
#define WEIGHT_GROUP 32
#define WEIGHT_Q6_ZERO 32
/* A whole zero is so many. */
#define WEIGHT_ZERO_ONE 8

struct weight_matrix {
	enum weight_format format;
	enum dtype type; /* of a dense matrix's elements: F32, BF16 or F16 */
	int64_t n, k;
	int64_t group; /* of a quantised one */
	const void *data;
	const uint16_t *scale; /* f16; quantised only */
	const uint8_t *zero;   /* Q4 only */
	/* [k], quantised only, or NULL: position i of a stored row multiplies x[order[i]]. */
	const int32_t *order;
};

static inline const char *weight_format_name(enum weight_format f)
{
	static const char *const names[] = { [WEIGHT_DENSE] = "dense", [WEIGHT_Q8] = "q8", [WEIGHT_Q6] = "q6", [WEIGHT_Q4] = "q4" };
	return names[f];
}

static inline bool weight_group_fits(enum weight_format f, int64_t group)
{
	return f == WEIGHT_DENSE || group == WEIGHT_GROUP || (f == WEIGHT_Q4 && (group == 64 || group == 128));
}

static inline int64_t weight_groups(const struct weight_matrix *m)
{
	return (m->k + m->group - 1) / m->group;
}

/* Bytes of a row of `data`. */
static inline int64_t weight_row_bytes(const struct weight_matrix *m)
{
	switch (m->format) {
	case WEIGHT_Q8:
		return m->k;
	case WEIGHT_Q6:
		return (m->k + 3) / 4 * 3;
	case WEIGHT_Q4:
		return (m->k + 1) / 2;
	default:
		return m->k * (int64_t)dtype_bytes(m->type);
	}
}

/* Bytes of data, scales and zeros together. */
static inline int64_t weight_bytes(const struct weight_matrix *m)
{
	int64_t each = m->format == WEIGHT_Q4 ? 3 : 2;
	return m->n * (weight_row_bytes(m) + (m->format == WEIGHT_DENSE ? 0 : weight_groups(m) * each));
}

/* Rows [begin, begin + n) as a matrix. */
static inline struct weight_matrix weight_rows(const struct weight_matrix *m, int64_t begin, int64_t n)
{
	struct weight_matrix r = *m;
	r.n = n;
	r.data = (const char *)m->data + begin * weight_row_bytes(m);
	if (m->scale)
		r.scale = m->scale + begin * weight_groups(m);
	if (m->zero)
		r.zero = m->zero + begin * weight_groups(m);
	return r;
}

/* A quantised row's integer at k, in units of its group's unit: -128 to 127. */
static inline int weight_integer(const struct weight_matrix *m, int64_t row, int64_t k)
{
	const uint8_t *at = (const uint8_t *)m->data + row * weight_row_bytes(m);
	if (m->format == WEIGHT_Q8)
		return (int8_t)at[k];
	if (m->format == WEIGHT_Q6) {
		at += k / 4 * 3;
		return (int)((at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16) >> (6 * (k & 3)) & 63) - WEIGHT_Q6_ZERO;
	}
	int q = at[k / 2] >> (4 * (k & 1)) & 15;
	return WEIGHT_ZERO_ONE * q - m->zero[row * weight_groups(m) + k / m->group];
}

/* What an integer of the group counts: its scale, or an eighth of it. Exact. */
static inline float weight_unit(const struct weight_matrix *m, int64_t row, int64_t group)
{
	float scale = f16_to_f32(m->scale[row * weight_groups(m) + group]);
	return m->format == WEIGHT_Q4 ? scale / WEIGHT_ZERO_ONE : scale;
}

/* The weight at position k of a stored row; exact. */
static inline float weight_value(const struct weight_matrix *m, int64_t row, int64_t k)
{
	if (m->format == WEIGHT_DENSE)
		return dtype_load(m->type, m->data, (size_t)(row * m->k + k));
	return weight_unit(m, row, k / m->group) * (float)weight_integer(m, row, k);
}

#endif
