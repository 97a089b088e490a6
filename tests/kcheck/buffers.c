/* buffers.c - a case's buffers: their live rows, their fences and poison, and what must have stayed as it was.
 *
 * A block lies in a mapping of its own between two pages that may not be touched:
 *     | fence | slack of a page or more | block | fence |      placed at the end
 *     | fence | block | slack                   | fence |      placed at the beginning
 * Slack, and whatever of the block is not live, is poison.
 */
#include "kcheck_internal.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t block_bytes(const struct kc_buf *b)
{
	return (size_t)b->n_elements * dtype_bytes(b->type);
}

size_t kc_row_bytes(const struct kc_buf *b)
{
	return (size_t)b->cols * dtype_bytes(b->type);
}

static bool is_floating(enum dtype type)
{
	return type == DTYPE_F32 || type == DTYPE_BF16 || type == DTYPE_F16;
}

void kc_case_init(struct kc_case *c, const struct kc_op *op, const struct kc_shape *shape, enum kc_class class,
		  uint64_t seed, const int64_t *ids, int64_t t)
{
	*c = (struct kc_case){ .op = op, .shape = shape, .class = class, .seed = seed, .ids = ids, .t = t };
}

void kc_case_fini(struct kc_case *c)
{
	if (c->op->fini)
		c->op->fini(c);
	for (int i = 0; i < c->n_bufs; i++) {
		struct kc_buf *b = &c->buf[i];
		mem_free(b->row_at);
		mem_free(b->row_key);
		mem_free(b->result);
		mem_free(b->want);
		if (b->borrows)
			continue;
		mem_free(b->master);
		if (b->region)
			munmap(b->region, b->region_bytes);
	}
	c->n_bufs = 0;
}

static void map_region(struct kc_buf *b)
{
	size_t page = page_bytes();
	b->region_bytes = (block_bytes(b) + page - 1) / page * page + 3 * page;
	b->region = mmap(NULL, b->region_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(b->region != MAP_FAILED);
	CHECK(mprotect(b->region, page, PROT_NONE) == 0);
	CHECK(mprotect(b->region + b->region_bytes - page, page, PROT_NONE) == 0);
}

static struct kc_buf *new_buf(struct kc_case *c, const char *name, enum kc_role role, enum dtype type,
			      int64_t n_elements, int64_t n_rows, int64_t cols)
{
	CHECK(c->n_bufs < KC_MAX_BUFS);
	struct kc_buf *b = &c->buf[c->n_bufs++];
	*b = (struct kc_buf){ .name = name, .role = role, .type = type, .n_elements = n_elements, .n_rows = n_rows,
			      .cols = cols };
	b->row_at = mem_alloc((size_t)n_rows * sizeof *b->row_at);
	b->row_key = mem_alloc((size_t)n_rows * sizeof *b->row_key);
	CHECK(b->row_at && b->row_key);
	return b;
}

/* Gives the buffer its memory and inputs, or those of the base case. */
static void finish_buf(struct kc_case *c, struct kc_buf *b)
{
	size_t n = (size_t)b->n_rows * (size_t)b->cols;
	const struct kc_buf *twin = c->base && b->shared ? kc_find(c->base, b->name) : NULL;
	if (twin) {
		CHECK(twin->n_rows == b->n_rows && twin->cols == b->cols && twin->type == b->type);
		b->borrows = true;
		b->master = twin->master;
		b->region = twin->region;
		b->region_bytes = twin->region_bytes;
		b->data = twin->data;
		return;
	}
	map_region(b);
	if (b->role == KC_OUT || b->role == KC_INOUT) {
		b->result = mem_calloc(n, dtype_bytes(b->type));
		b->want = mem_calloc(n, sizeof *b->want);
		CHECK(b->result && b->want);
	}
	if (b->role == KC_IN || b->role == KC_INOUT) {
		b->master = mem_calloc(n, dtype_bytes(b->type));
		CHECK(b->master);
		if (is_floating(b->type))
			kc_fill(c, b);
	}
}

struct kc_buf *kc_tokens(struct kc_case *c, const char *name, enum kc_role role, enum dtype type, int64_t cols,
			 int64_t stride)
{
	/* The last row ends the block: nothing lies behind it that a kernel might read unpunished. */
	struct kc_buf *b = new_buf(c, name, role, type, c->t ? (c->t - 1) * stride + cols : 0, c->t, cols);
	b->stride = stride;
	for (int64_t t = 0; t < c->t; t++) {
		b->row_at[t] = t * stride;
		b->row_key[t] = c->ids[t];
	}
	finish_buf(c, b);
	return b;
}

struct kc_buf *kc_shared(struct kc_case *c, const char *name, enum dtype type, int64_t rows, int64_t cols)
{
	struct kc_buf *b = new_buf(c, name, KC_IN, type, rows * cols, rows, cols);
	b->stride = cols;
	b->shared = true;
	for (int64_t r = 0; r < rows; r++) {
		b->row_at[r] = r * cols;
		b->row_key[r] = r;
	}
	finish_buf(c, b);
	return b;
}

struct kc_buf *kc_scattered(struct kc_case *c, const char *name, enum kc_role role, enum dtype type,
			    int64_t n_elements, int64_t n_rows, int64_t cols, const int64_t *row_at,
			    const int64_t *row_key)
{
	struct kc_buf *b = new_buf(c, name, role, type, n_elements, n_rows, cols);
	if (n_rows) {
		memcpy(b->row_at, row_at, (size_t)n_rows * sizeof *row_at);
		memcpy(b->row_key, row_key, (size_t)n_rows * sizeof *row_key);
	}
	finish_buf(c, b);
	return b;
}

struct kc_buf *kc_find(const struct kc_case *c, const char *name)
{
	for (int i = 0; i < c->n_bufs; i++)
		if (strcmp(c->buf[i].name, name) == 0)
			return (struct kc_buf *)&c->buf[i];
	return NULL;
}

void *kc_ptr(const struct kc_case *c, const char *name)
{
	const struct kc_buf *b = kc_find(c, name);
	return b ? b->ptr : NULL;
}

double kc_in(const struct kc_buf *b, int64_t row, int64_t col)
{
	return (double)dtype_load(b->type, b->master, (size_t)(row * b->cols + col));
}

void kc_expect(struct kc_buf *b, int64_t row, int64_t col, double value, double scale, double floor)
{
	b->want[row * b->cols + col] =
		(struct kc_want){ .value = value, .scale = scale, .floor = floor, .judged = true };
}

void kc_expect_flush(struct kc_buf *b, int64_t row, int64_t col, double flush)
{
	b->want[row * b->cols + col].flush = flush;
}

void kc_expect_units(struct kc_buf *b, int64_t row, int64_t col, double units)
{
	b->want[row * b->cols + col].units = units;
}

void kc_expect_exact(struct kc_buf *b, int64_t row, int64_t col, float value)
{
	if (b->type == DTYPE_BF16)
		value = bf16_to_f32(f32_to_bf16(value));
	else if (b->type == DTYPE_F16)
		value = f16_to_f32(f32_to_f16(value));
	kc_expect(b, row, col, (double)value, 0, 0);
}

void kc_stretch(struct kc_buf *b, float factor)
{
	CHECK(b->type == DTYPE_F32);
	for (int64_t i = 0; i < b->n_rows * b->cols; i++)
		((float *)(void *)b->master)[i] *= factor;
}

/* The live row's place in the block; NULL where the row is not there. */
static unsigned char *row_in_block(const struct kc_buf *b, int64_t r)
{
	return b->row_at[r] < 0 ? NULL : b->data + (size_t)b->row_at[r] * dtype_bytes(b->type);
}

void kc_place(struct kc_case *c, unsigned char poison, bool at_end)
{
	size_t page = page_bytes();
	for (int i = 0; i < c->n_bufs; i++) {
		struct kc_buf *b = &c->buf[i];
		if (!b->borrows) {
			size_t before_end = block_bytes(b);
			if (c->op->on_gpu && c->op->gpu_align)
				before_end = (before_end + c->op->gpu_align - 1) / c->op->gpu_align * c->op->gpu_align;
			b->data = at_end ? b->region + b->region_bytes - page - before_end : b->region + page;
			memset(b->region + page, poison, b->region_bytes - 2 * page);
			if (b->master)
				for (int64_t r = 0; r < b->n_rows; r++)
					if (row_in_block(b, r))
						memcpy(row_in_block(b, r), b->master + (size_t)r * kc_row_bytes(b),
						       kc_row_bytes(b));
		}
		b->ptr = b->data;
	}
}

static int compare_at(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return x < y ? -1 : x > y;
}

/* The first byte of [from, to) that is not poison, or NULL. */
static const unsigned char *stained(const unsigned char *from, const unsigned char *to, unsigned char poison)
{
	for (; from < to; from++)
		if (*from != poison)
			return from;
	return NULL;
}

static const char *say(const struct kc_buf *b, const unsigned char *at, const char *what, char *text, size_t size)
{
	int64_t element = (at - b->data) / (int64_t)dtype_bytes(b->type);
	snprintf(text, size, "%s: %s at element %lld of a block of %lld", b->name, what, (long long)element,
		 (long long)b->n_elements);
	return text;
}

/* Everything of the region that is not live, in ascending order. */
static const char *check_gaps(const struct kc_buf *b, unsigned char poison, char *text, size_t size)
{
	size_t page = page_bytes();
	const unsigned char *from = b->region + page, *bad = NULL;
	int64_t *at = mem_alloc((size_t)b->n_rows * sizeof *at);
	CHECK(at);
	int64_t n = 0;
	for (int64_t r = 0; r < b->n_rows && b->role != KC_WORK; r++)
		if (b->row_at[r] >= 0)
			at[n++] = b->row_at[r];
	qsort(at, (size_t)n, sizeof *at, compare_at);
	if (b->role == KC_WORK) {
		bad = stained(from, b->data, poison);
		from = b->data + block_bytes(b);
	}
	for (int64_t i = 0; i < n && !bad; i++) {
		const unsigned char *row = b->data + (size_t)at[i] * dtype_bytes(b->type);
		bad = stained(from, row, poison);
		from = row + kc_row_bytes(b);
	}
	if (!bad)
		bad = stained(from, b->region + b->region_bytes - page, poison);
	mem_free(at);
	return bad ? say(b, bad, "written outside its live rows", text, size) : NULL;
}

static const char *check_inputs(const struct kc_buf *b, char *text, size_t size)
{
	for (int64_t r = 0; r < b->n_rows; r++) {
		const unsigned char *row = row_in_block(b, r);
		if (row && memcmp(row, b->master + (size_t)r * kc_row_bytes(b), kc_row_bytes(b)) != 0)
			return say(b, row, "an input was changed in the row", text, size);
	}
	return NULL;
}

static const char *check_written(const struct kc_buf *b, unsigned char poison, char *text, size_t size)
{
	/* A single byte may well be the poison: rows of bytes are looked at whole. Where only some are not written, two
	 * poisons give two results. */
	size_t bytes = dtype_bytes(b->type) == 1 ? (size_t)b->cols : dtype_bytes(b->type);
	for (int64_t r = 0; r < b->n_rows; r++) {
		const unsigned char *row = row_in_block(b, r);
		for (size_t i = 0; row && i < kc_row_bytes(b); i += bytes) {
			const unsigned char *at = row + i;
			if (!stained(at, at + bytes, poison))
				return say(b, at, "not written", text, size);
		}
	}
	return NULL;
}

const char *kc_check_writes(const struct kc_case *c, unsigned char poison, char *text, size_t size)
{
	const char *bad = NULL;
	for (int i = 0; i < c->n_bufs && !bad; i++) {
		const struct kc_buf *b = &c->buf[i];
		bad = check_gaps(b, poison, text, size);
		if (!bad && b->role == KC_IN)
			bad = check_inputs(b, text, size);
		if (!bad && b->role == KC_OUT)
			bad = check_written(b, poison, text, size);
	}
	return bad;
}

void kc_collect(struct kc_case *c)
{
	for (int i = 0; i < c->n_bufs; i++) {
		struct kc_buf *b = &c->buf[i];
		for (int64_t r = 0; b->result && r < b->n_rows; r++)
			if (row_in_block(b, r))
				memcpy(b->result + (size_t)r * kc_row_bytes(b), row_in_block(b, r), kc_row_bytes(b));
	}
}

bool kc_locate(const struct kc_case *c, const void *at, char *text, size_t size)
{
	const unsigned char *p = at;
	for (int i = 0; i < c->n_bufs; i++) {
		const struct kc_buf *b = &c->buf[i];
		if (p < b->region || p >= b->region + b->region_bytes)
			continue;
		const unsigned char *end = b->data + block_bytes(b);
		if (p < b->data)
			snprintf(text, size, "%s: %lld bytes before its beginning", b->name, (long long)(b->data - p));
		else
			snprintf(text, size, "%s: %lld bytes beyond its end", b->name, (long long)(p - end));
		return true;
	}
	return false;
}
