/* A matrix as checkpoints store it: the first byte says what config.json would, the second the matrix's sizes, the rest is a
 * .safetensors file with whatever tensors. What is accepted is read in every way, into memory of exactly the promised size. */
#define _GNU_SOURCE
#include "base/status.h"
#include "load/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct quantization methods[] = {
	{ .method = QUANT_NONE },
	{ .method = QUANT_AWQ, .bits = 4, .group = 32 },
	{ .method = QUANT_AWQ, .bits = 4 },
	{ .method = QUANT_GPTQ, .bits = 4, .group = 32, .symmetric = true, .zero_less_one = true },
	{ .method = QUANT_GPTQ, .bits = 4, .group = 16, .act_order = true },
	{ .method = QUANT_GPTQ, .bits = 8, .group = 32, .symmetric = true, .act_order = true },
	{ .method = QUANT_COMPRESSED, .bits = 4, .group = 32 },
	{ .method = QUANT_FP8, .block = { 8, 32 } },
	{ .method = QUANT_FP8 },
	{ .method = QUANT_VERBATIM, .bits = 4, .group = 32 },
};
static const int64_t sizes[][2] = { { 16, 64 }, { 8, 32 }, { 40, 72 }, { 1, 1 } };

static void check(bool promise)
{
	if (!promise)
		abort();
}

static void read_matrix(const struct stored_matrix *s, const struct tensor_set *set)
{
	const struct weight_matrix *m = &s->form;
	static volatile float sink;
	/* malloc, so that a sanitizer sees what lies beyond. */
	float *rows = malloc((size_t)(m->n * m->k) * sizeof *rows);
	void *scratch = malloc(stored_scratch_bytes(s, m->n)), *memory = aligned_alloc(64, stored_bytes(s) + 64);
	check(rows && scratch && memory);
	stored_rows(s, 0, m->n, scratch, rows);
	sink = rows[m->n * m->k - 1];
	struct weight_matrix out;
	if (m->format == WEIGHT_DENSE)
		check(stored_bytes(s) == 0);
	else if (stored_read(s, set, NULL, memory, &out) == VB_OK)
		for (int64_t k = 0; k < m->k; k++) {
			check(!out.order || (out.order[k] >= 0 && out.order[k] < m->k));
			check(weight_integer(&out, m->n - 1, k) >= -128 && weight_integer(&out, m->n - 1, k) <= 127);
			sink = weight_value(&out, m->n - 1, k);
		}
	else
		check(*vb_errmsg());
	(void)sink;
	free(rows);
	free(scratch);
	free(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[64];
	struct tensor_set *set = NULL;
	struct stored_matrix s;
	if (size < 2)
		return 0;
	const struct quantization *q = &methods[data[0] % (sizeof methods / sizeof *methods)];
	const int64_t *shape = sizes[data[1] % (sizeof sizes / sizeof *sizes)];
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	check(fd >= 0 && write(fd, data + 2, size - 2) == (ssize_t)(size - 2));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (tensor_set_open_file(&set, path) == VB_OK) {
		if (stored_find(&s, q, set, "x.weight", shape[0], shape[1]) != VB_OK)
			check(*vb_errmsg());
		else if (s.kind != STORED_PLAIN || (uintptr_t)s.data->data % dtype_bytes(s.data->type) == 0)
			read_matrix(&s, set);
	}
	tensor_set_close(&set);
	close(fd);
	return 0;
}
