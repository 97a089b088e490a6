#include "quantize_matrix.h"

#include "base/mem.h"
#include "base/status.h"
#include "quantize.h"

#include <stdatomic.h>

/* Of the source, between two calls of `read`: enough to keep a team busy, little beside what is kept. */
#define PIECE_BYTES ((int64_t)16 << 20)
#define GRAIN 8

static uint64_t align64(uint64_t bytes)
{
	return (bytes + 63) / 64 * 64;
}

uint64_t quantize_bytes(enum weight_format to, int64_t n, int64_t k)
{
	struct weight_matrix m = { .format = to, .n = n, .k = k, .group = QUANT_GROUP };
	uint64_t groups = (uint64_t)(n * weight_groups(&m));
	return align64((uint64_t)(n * weight_row_bytes(&m))) + align64(2 * groups) + (to == WEIGHT_Q4 ? align64(groups) : 0);
}

struct weight_matrix quantize_place(enum weight_format to, int64_t n, int64_t k, void *memory)
{
	struct weight_matrix m = { .format = to, .n = n, .k = k, .group = QUANT_GROUP, .data = memory };
	char *scale = (char *)memory + align64((uint64_t)(n * weight_row_bytes(&m)));
	m.scale = (const uint16_t *)scale;
	if (to == WEIGHT_Q4)
		m.zero = (const uint8_t *)scale + align64(2 * (uint64_t)(n * weight_groups(&m)));
	return m;
}

struct job {
	const struct weight_matrix *from, *to;
	const struct quantizer *by;
	int64_t begin, end;
	float **row;         /* [k], one a worker */
	_Atomic int64_t bad; /* the first bad row */
};

static bool quantize_row(const struct job *j, float *x, int64_t row)
{
	const struct weight_matrix *from = j->from;
	/* The caller gave the memory behind *to to be written. */
	struct weight_matrix at = weight_rows(j->to, row, 1);
	dtype_convert(DTYPE_F32, x, from->type, (const char *)from->data + row * weight_row_bytes(from), (size_t)from->k);
	if (at.format == WEIGHT_Q8)
		return j->by->q8(x, at.k, (int8_t *)(uintptr_t)at.data, (uint16_t *)(uintptr_t)at.scale);
	if (at.format == WEIGHT_Q6)
		return j->by->q6(x, at.k, (uint8_t *)(uintptr_t)at.data, (uint16_t *)(uintptr_t)at.scale);
	return j->by->q4(x, at.k, (uint8_t *)(uintptr_t)at.data, (uint16_t *)(uintptr_t)at.scale,
			 (uint8_t *)(uintptr_t)at.zero);
}

static void quantize_share(void *context, int index, int n_workers)
{
	struct job *j = context;
	int64_t begin, end;
	team_share(j->end - j->begin, GRAIN, index, n_workers, &begin, &end);
	for (int64_t row = j->begin + begin; row < j->begin + end; row++) {
		int64_t known = atomic_load(&j->bad);
		if (!quantize_row(j, j->row[index], row))
			while (row < known && !atomic_compare_exchange_weak(&j->bad, &known, row))
				;
	}
}

int quantize_matrix(const struct weight_matrix *from, struct weight_matrix *to, struct team *team, uint32_t isa,
		    const char *name, quantize_read_fn *read, void *user)
{
	CHECK(from->format == WEIGHT_DENSE && to->format != WEIGHT_DENSE && from->n == to->n && from->k == to->k);
	int n_workers = team ? team_size(team) : 1, rc = VB_OK;
	int64_t rows = PIECE_BYTES / weight_row_bytes(from);
	rows = rows < GRAIN ? GRAIN : rows;
	struct job j = { .from = from, .to = to, .by = quantizer_for(isa), .bad = INT64_MAX, .row = mem_calloc((size_t)n_workers, sizeof *j.row) };
	if (!j.row)
		return VB_ENOMEM;
	for (int i = 0; i < n_workers; i++) {
		j.row[i] = mem_pages((size_t)from->k * sizeof(float));
		if (!j.row[i]) {
			rc = VB_ENOMEM;
			goto out;
		}
	}
	for (; j.begin < from->n; j.begin = j.end) {
		j.end = from->n - j.begin < rows ? from->n : j.begin + rows;
		team_run(team, quantize_share, &j);
		if (j.bad != INT64_MAX)
			FAIL_TO(out, VB_EFORMAT, "cannot be quantised: tensor \"%s\": row %lld holds an infinity, a NaN or a number "
				"too large for its scale: leave --quantize out, or mend the checkpoint", name, (long long)j.bad);
		if (read)
			read(user, j.begin, j.end);
	}
out:
	for (int i = 0; i < n_workers; i++)
		mem_free_pages(j.row[i], (size_t)from->k * sizeof(float));
	mem_free(j.row);
	return rc;
}
