/* Matrices as checkpoints store them: the numbers that tools/golden/make_quantized.py packed come out bit for bit, and tensors
 * that contradict each other are refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "load/load.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static uint64_t hash_bytes(const void *data, size_t n)
{
	uint64_t h = 0xcbf29ce484222325u;
	for (size_t i = 0; i < n; i++)
		h = (h ^ ((const unsigned char *)data)[i]) * 0x100000001b3u;
	return h;
}

/* ---- The golden folders ---- */

static void shape_of(const struct model_config *c, const char *name, int64_t *n, int64_t *k)
{
	*n = *k = c->hidden_size;
	if (strstr(name, "k_proj") || strstr(name, "v_proj"))
		*n = c->n_kv_heads * c->head_dim;
	else if (strstr(name, "gate") || strstr(name, "up"))
		*n = c->intermediate_size;
	else if (strstr(name, "down"))
		*k = c->intermediate_size;
}

/* The canonical form says the same numbers, by any number of threads. */
static void check_canonical(const struct stored_matrix *s, const struct tensor_set *set, const float *rows, const char *folder)
{
	uint64_t bytes = stored_bytes(s);
	char *first = mem_pages(bytes), *second = mem_pages(bytes);
	struct weight_matrix m, again;
	struct team *team = NULL;
	assert_true(first && second);
	memset(first, 0x5a, bytes);
	memset(second, 0x5a, bytes);
	assert_int_equal(team_create(&team, 3), VB_OK);
	if (stored_read(s, set, NULL, first, &m) != VB_OK || stored_read(s, set, team, second, &again) != VB_OK)
		fail_msg("%s: %s: %s", folder, s->data->name, vb_errmsg());
	assert_memory_equal(first, second, bytes);
	assert_int_equal(m.format, s->form.format);
	assert_true(weight_group_fits(m.format, m.group));
	assert_int_equal(m.order != NULL, s->ordered);
	for (int64_t i = 0; i < m.n; i++)
		for (int64_t k = 0; k < m.k; k++)
			if (weight_value(&m, i, k) != rows[i * m.k + (m.order ? m.order[k] : k)])
				fail_msg("%s: %s: row %lld, position %lld: %g", folder, s->data->name, (long long)i,
					 (long long)k, (double)weight_value(&m, i, k));
	team_destroy(&team);
	mem_free_pages(first, bytes);
	mem_free_pages(second, bytes);
}

static void check_matrix(const char *folder, const struct model_config *c, const struct tensor_set *set, const struct tensor *hash)
{
	const char *name = hash->name + strlen("hash.");
	struct stored_matrix s;
	int64_t n, k;
	shape_of(c, name, &n, &k);
	if (stored_find(&s, &c->quantization, set, name, n, k) != VB_OK)
		fail_msg("%s: %s", folder, vb_errmsg());
	assert_int_not_equal(s.kind, STORED_PLAIN);
	float *rows = mem_pages((size_t)(n * k) * sizeof *rows);
	void *scratch = mem_pages(stored_scratch_bytes(&s, 7) + 1);
	for (int64_t i = 0; i < n; i += 7)
		stored_rows(&s, i, n - i < 7 ? n - i : 7, scratch, rows + i * k);
	uint64_t wanted;
	memcpy(&wanted, hash->data, sizeof wanted);
	if (hash_bytes(rows, (size_t)(n * k) * sizeof *rows) != wanted)
		fail_msg("%s: %s: other numbers than were packed", folder, name);
	if (s.form.format != WEIGHT_DENSE)
		check_canonical(&s, set, rows, folder);
	mem_free_pages(scratch, stored_scratch_bytes(&s, 7) + 1);
	mem_free_pages(rows, (size_t)(n * k) * sizeof *rows);
}

static int check_folder(const char *root, const char *folder)
{
	char path[1400];
	struct model_config *c;
	struct tensor_set *set, *expected;
	int n = 0;
	snprintf(path, sizeof path, "%s/%s", root, folder);
	if (model_config_read(&c, path) != VB_OK || tensor_set_open(&set, path) != VB_OK)
		fail_msg("%s: %s", folder, vb_errmsg());
	snprintf(path, sizeof path, "%s/%s/expected.safetensors", root, folder);
	assert_int_equal(tensor_set_open_file(&expected, path), VB_OK);
	assert_int_not_equal(c->quantization.method, QUANT_NONE);
	for (int64_t i = 0; i < tensor_set_count(expected); i++)
		if (strncmp(tensor_set_at(expected, i)->name, "hash.", 5) == 0) {
			check_matrix(folder, c, set, tensor_set_at(expected, i));
			n++;
		}
	tensor_set_close(&expected);
	tensor_set_close(&set);
	model_config_destroy(&c);
	return n;
}

static void test_every_folder(void **state)
{
	(void)state;
	char root[1024];
	const char *top = getenv("VERBATIM_TEST_ROOT");
	snprintf(root, sizeof root, "%s/tests/quantized", top ? top : ".");
	int n = 0;
	DIR *d = opendir(root);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		if (strchr(e->d_name, '-'))
			n += check_folder(root, e->d_name);
	closedir(d);
	assert_true(n >= 23 * 7);
}

/* ---- Made-up files ---- */

struct made {
	const char *name, *type;
	int64_t shape[3]; /* up to the first 0 */
	int fill;         /* of every byte */
};

static size_t size_of(const char *type)
{
	return strcmp(type + 1, "64") == 0 ? 8 : strcmp(type + 1, "32") == 0 ? 4 : strcmp(type + 1, "16") == 0 ? 2 : 1;
}

/* A file of the tensors, their bytes filled. */
static struct tensor_set *make_set(const struct made *t, size_t n)
{
	char path[] = "/tmp/verbatim-stored-XXXXXX", header[4096];
	struct tensor_set *set = NULL;
	uint64_t at = 0, len;
	size_t used = (size_t)snprintf(header, sizeof header, "{");
	for (size_t i = 0; i < n; i++) {
		uint64_t bytes = size_of(t[i].type);
		used += (size_t)snprintf(header + used, sizeof header - used, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "",
					 t[i].name, t[i].type);
		for (int d = 0; d < 3 && t[i].shape[d]; d++) {
			bytes *= (uint64_t)t[i].shape[d];
			used += (size_t)snprintf(header + used, sizeof header - used, "%s%lld", d ? "," : "",
						 (long long)t[i].shape[d]);
		}
		used += (size_t)snprintf(header + used, sizeof header - used, "],\"data_offsets\":[%llu,%llu]}",
					 (unsigned long long)at, (unsigned long long)(at + bytes));
		at += bytes;
	}
	header[used++] = '}';
	while (used % 8)
		header[used++] = ' ';
	FILE *f = fdopen(mkstemp(path), "wb");
	assert_non_null(f);
	len = used;
	fwrite(&len, sizeof len, 1, f);
	fwrite(header, 1, used, f);
	for (size_t i = 0; i < n; i++) {
		uint64_t bytes = size_of(t[i].type);
		for (int d = 0; d < 3 && t[i].shape[d]; d++)
			bytes *= (uint64_t)t[i].shape[d];
		while (bytes--)
			fputc(t[i].fill, f);
	}
	assert_int_equal(fclose(f), 0);
	if (tensor_set_open_file(&set, path) != VB_OK)
		fail_msg("%s", vb_errmsg());
	unlink(path);
	return set;
}

#define Q(...) &(const struct quantization){ __VA_ARGS__ }

/* A matrix "x.weight" of 16 by 64. */
static const struct {
	const struct quantization *q;
	struct made t[6];
	int code;
	const char *message;
} hostile[] = {
	{ Q(.method = QUANT_AWQ, .group = 64), { { "y", "F32", { 1 }, 0 } }, VB_ENOTFOUND, "missing tensor: \"x.weight\"" },
	{ Q(.method = QUANT_NONE), { { "x.qweight", "I32", { 64, 2 }, 0 } }, VB_ENOTFOUND, "missing tensor: \"x.weight\"" },
	{ Q(.method = QUANT_NONE), { { "x.weight", "I8", { 16, 64 }, 0 } }, VB_EUNSUPPORTED, "tensor \"x.weight\" is i8" },
	{ Q(.method = QUANT_NONE), { { "x.weight", "F16", { 64, 16 }, 0 } }, VB_EFORMAT, "\"x.weight\": [64, 16]" },
	{ Q(.method = QUANT_AWQ, .group = 64), { { "x.qweight", "I32", { 64, 2 }, 0 } }, VB_ENOTFOUND, "\"x.scales\"" },
	{ Q(.method = QUANT_AWQ, .group = 64), { { "x.qweight", "F32", { 64, 2 }, 0 } }, VB_EUNSUPPORTED, "\"x.qweight\" is f32" },
	{ Q(.method = QUANT_AWQ, .group = 64), { { "x.qweight", "I32", { 16, 8 }, 0 } }, VB_EFORMAT, "\"x.qweight\": [16, 8]" },
	{ Q(.method = QUANT_AWQ, .group = 64), { { "x.qweight", "I32", { 128 }, 0 } }, VB_EFORMAT, "\"x.qweight\": [128]" },
	{ Q(.method = QUANT_AWQ, .group = 64), { { "x.qweight", "I32", { 64, 2 }, 0 }, { "x.scales", "F16", { 2, 16 }, 0 } }, VB_EFORMAT,
	  "\"x.scales\": [2, 16], but config.json asks for [1, 16]" },
	{ Q(.method = QUANT_AWQ, .group = 64), { { "x.qweight", "I32", { 64, 2 }, 0 }, { "x.scales", "I32", { 1, 16 }, 0 } },
	  VB_EUNSUPPORTED, "\"x.scales\" is i32" },
	{ Q(.method = QUANT_AWQ, .group = 64), { { "x.qweight", "I32", { 64, 2 }, 0 }, { "x.scales", "F16", { 1, 16 }, 0 },
	  { "x.qzeros", "I32", { 1, 16 }, 0 } }, VB_EFORMAT, "\"x.qzeros\": [1, 16]" },
	{ Q(.method = QUANT_GPTQ, .bits = 4, .group = 32), { { "x.qweight", "I32", { 8, 16 }, 0 }, { "x.scales", "F16", { 2, 16 }, 0 },
	  { "x.qzeros", "I32", { 2, 4 }, 0 } }, VB_EFORMAT, "\"x.qzeros\": [2, 4]" },
	{ Q(.method = QUANT_GPTQ, .bits = 4, .group = 32, .act_order = true), { { "x.qweight", "I32", { 8, 16 }, 0 },
	  { "x.scales", "F16", { 2, 16 }, 0 }, { "x.qzeros", "I32", { 2, 2 }, 0 } }, VB_ENOTFOUND, "\"x.g_idx\"" },
	{ Q(.method = QUANT_GPTQ, .bits = 4, .group = 32), { { "x.qweight", "I32", { 8, 16 }, 0 }, { "x.scales", "F16", { 2, 16 }, 0 },
	  { "x.qzeros", "I32", { 2, 2 }, 0 }, { "x.g_idx", "I32", { 63 }, 0 } }, VB_EFORMAT, "\"x.g_idx\": expected [64]" },
	{ Q(.method = QUANT_GPTQ, .bits = 4, .group = 32), { { "x.qweight", "I32", { 8, 16 }, 0 }, { "x.scales", "F16", { 2, 16 }, 0 },
	  { "x.qzeros", "I32", { 2, 2 }, 0 }, { "x.g_idx", "I32", { 64 }, 0xff } }, VB_EFORMAT, "group -1 of column 0" },
	{ Q(.method = QUANT_GPTQ, .bits = 4, .group = 32), { { "x.qweight", "I32", { 8, 16 }, 0 }, { "x.scales", "F16", { 2, 16 }, 0 },
	  { "x.qzeros", "I32", { 2, 2 }, 0 }, { "x.g_idx", "I32", { 64 }, 2 } }, VB_EFORMAT, "group 33686018 of column 0" },
	{ Q(.method = QUANT_GPTQ, .bits = 4, .group = 32), { { "x.qweight", "I32", { 8, 16 }, 0 }, { "x.scales", "F16", { 2, 16 }, 0 },
	  { "x.qzeros", "I32", { 2, 2 }, 0 }, { "x.g_idx", "I32", { 64 }, 0 } }, VB_EUNSUPPORTED, "uneven groups" },
	{ Q(.method = QUANT_GPTQ, .bits = 8, .group = 32), { { "x.qweight", "I32", { 8, 16 }, 0 } }, VB_EFORMAT, "asks for [16, 16]" },
	{ Q(.method = QUANT_COMPRESSED), { { "x.weight_packed", "I32", { 16, 9 }, 0 } }, VB_EFORMAT, "asks for [16, 8]" },
	{ Q(.method = QUANT_COMPRESSED), { { "x.weight_packed", "I32", { 16, 8 }, 0 }, { "x.weight_shape", "I64", { 2 }, 1 } }, VB_EFORMAT,
	  "\"x.weight_shape\" says" },
	{ Q(.method = QUANT_COMPRESSED), { { "x.weight_packed", "I32", { 16, 8 }, 0 }, { "x.weight_shape", "I64", { 3 }, 0 } }, VB_EFORMAT,
	  "\"x.weight_shape\" says [0, 0]" },
	{ Q(.method = QUANT_COMPRESSED), { { "x.weight_packed", "I32", { 16, 8 }, 0 }, { "x.weight_scale", "F16", { 16, 3 }, 0 } },
	  VB_EFORMAT, "3 groups for 64 columns" },
	{ Q(.method = QUANT_COMPRESSED), { { "x.weight_packed", "I32", { 16, 8 }, 0 }, { "x.weight_scale", "F16", { 15, 2 }, 0 } },
	  VB_EFORMAT, "\"x.weight_scale\": [15, 2]" },
	{ Q(.method = QUANT_COMPRESSED), { { "x.weight_packed", "I32", { 16, 8 }, 0 }, { "x.weight_scale", "F16", { 16, 2 }, 0 },
	  { "x.weight_zero_point", "I32", { 1, 2 }, 0 } }, VB_EFORMAT, "\"x.weight_zero_point\": [1, 2]" },
	{ Q(.method = QUANT_COMPRESSED), { { "x.weight", "I8", { 16, 64 }, 0 }, { "x.weight_scale", "F16", { 16, 2 }, 0 },
	  { "x.weight_zero_point", "I8", { 16 }, 0 } }, VB_EFORMAT, "\"x.weight_zero_point\"" },
	{ Q(.method = QUANT_COMPRESSED), { { "x.weight", "I8", { 16, 63 }, 0 } }, VB_EFORMAT, "\"x.weight\": [16, 63]" },
	{ Q(.method = QUANT_FP8, .block = { 8, 32 }), { { "x.weight", "F8_E4M3", { 16, 64 }, 0 },
	  { "x.weight_scale_inv", "F32", { 2, 3 }, 0 } }, VB_EFORMAT, "asks for [2, 2]" },
	{ Q(.method = QUANT_FP8), { { "x.weight", "F8_E4M3", { 16, 64 }, 0 } }, VB_ENOTFOUND, "\"x.weight_scale\"" },
	{ Q(.method = QUANT_FP8), { { "x.weight", "F8_E5M2", { 16, 64 }, 0 } }, VB_EUNSUPPORTED, "\"x.weight\"" },
	{ Q(.method = QUANT_VERBATIM), { { "x.weight.q8", "U8", { 16, 64 }, 0 } }, VB_EUNSUPPORTED, "\"x.weight.q8\" is u8" },
	{ Q(.method = QUANT_VERBATIM), { { "x.weight.q8", "I8", { 16, 64 }, 0 }, { "x.weight.scale", "F16", { 16, 1 }, 0 } }, VB_EFORMAT,
	  "asks for [16, 2]" },
	{ Q(.method = QUANT_VERBATIM), { { "x.weight.q6", "I8", { 16, 48 }, 0 } }, VB_EUNSUPPORTED, "\"x.weight.q6\" is i8" },
	{ Q(.method = QUANT_VERBATIM), { { "x.weight.q6", "U8", { 16, 64 }, 0 } }, VB_EFORMAT, "asks for [16, 48]" },
	{ Q(.method = QUANT_VERBATIM), { { "x.weight.q6", "U8", { 16, 48 }, 0 } }, VB_ENOTFOUND, "\"x.weight.scale\"" },
	{ Q(.method = QUANT_VERBATIM), { { "x.weight.q6", "U8", { 16, 48 }, 0 }, { "x.weight.scale", "F16", { 2, 16 }, 0 } }, VB_EFORMAT,
	  "asks for [16, 2]" },
	{ Q(.method = QUANT_VERBATIM), { { "x.weight.q4", "U8", { 16, 64 }, 0 } }, VB_EFORMAT, "asks for [16, 32]" },
	{ Q(.method = QUANT_VERBATIM), { { "x.weight.q4", "U8", { 16, 32 }, 0 }, { "x.weight.scale", "F16", { 16, 2 }, 0 } }, VB_ENOTFOUND,
	  "\"x.weight.zero\"" },
};

static void test_hostile(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(hostile); i++) {
		size_t n = 0;
		while (n < COUNT(hostile[i].t) && hostile[i].t[n].name)
			n++;
		struct tensor_set *set = make_set(hostile[i].t, n);
		struct stored_matrix s;
		int rc = stored_find(&s, hostile[i].q, set, "x.weight", 16, 64);
		if (rc != hostile[i].code || !strstr(vb_errmsg(), hostile[i].message))
			fail_msg("row %zu: status %d, \"%s\", not %d with \"%s\"", i, rc, rc ? vb_errmsg() : "",
				 hostile[i].code, hostile[i].message);
		tensor_set_close(&set);
	}
	/* Sizes of the model that a packing cannot have. */
	struct tensor_set *set = make_set((struct made[]){ { "x.qweight", "I32", { 64, 2 }, 0 } }, 1);
	struct stored_matrix s;
	assert_int_equal(stored_find(&s, Q(.method = QUANT_AWQ, .group = 64), set, "x.weight", 17, 64), VB_EFORMAT);
	assert_non_null(strstr(vb_errmsg(), "17 rows are no multiple of 8"));
	assert_int_equal(stored_find(&s, Q(.method = QUANT_GPTQ, .bits = 4, .group = 64), set, "x.weight", 16, 65), VB_EFORMAT);
	assert_non_null(strstr(vb_errmsg(), "65 columns are no multiple of 8"));
	tensor_set_close(&set);
}

/* Modules of one checkpoint may have schemes of their own: the shape of the scales tells rows from blocks. */
static void test_fp8_scales(void **state)
{
	(void)state;
	static const struct {
		struct made scale;
		int64_t block_rows, n_groups;
	} cases[] = {
		{ { "x.weight_scale", "F32", { 16, 1 }, 0 }, 1, 1 },
		{ { "x.weight_scale", "F32", { 16 }, 0 }, 1, 1 },
		{ { "x.weight_scale", "F32", { 1 }, 0 }, 16, 1 },
		{ { "x.weight_scale", "F16", { 2, 2 }, 0 }, 8, 2 },
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct tensor_set *set = make_set((struct made[]){ { "x.weight", "F8_E4M3", { 16, 64 }, 0 }, cases[i].scale }, 2);
		struct stored_matrix s;
		assert_int_equal(stored_find(&s, Q(.method = QUANT_COMPRESSED, .block = { 8, 32 }), set, "x.weight", 16, 64), VB_OK);
		assert_int_equal(s.block_rows, cases[i].block_rows);
		assert_int_equal(s.n_groups, cases[i].n_groups);
		tensor_set_close(&set);
	}
}

/* What only the elements show. */
static const struct {
	const struct quantization *q;
	struct made t[6];
	const char *message;
} bad_elements[] = {
	/* An f16 of 0x7c7c is NaN, an f32 of 0x50505050 no f16. */
	{ Q(.method = QUANT_AWQ, .group = 64), { { "x.qweight", "I32", { 64, 2 }, 0 }, { "x.scales", "F16", { 1, 16 }, 0x7c },
	  { "x.qzeros", "I32", { 1, 2 }, 0 } }, "\"x.scales\": row 0: scales must be finite" },
	{ Q(.method = QUANT_COMPRESSED), { { "x.weight", "I8", { 16, 64 }, 0 }, { "x.weight_scale", "F32", { 16, 2 }, 0x50 } },
	  "\"x.weight_scale\": row 0" },
	/* Said to be symmetric, and is not. */
	{ Q(.method = QUANT_GPTQ, .bits = 8, .group = 64, .symmetric = true), { { "x.qweight", "I32", { 16, 16 }, 0 },
	  { "x.scales", "F16", { 1, 16 }, 0 }, { "x.qzeros", "I32", { 1, 4 }, 3 } }, "zeros be those of a symmetric form" },
	{ Q(.method = QUANT_VERBATIM), { { "x.weight.q4", "U8", { 16, 32 }, 0 }, { "x.weight.scale", "F16", { 16, 2 }, 0 },
	  { "x.weight.zero", "U8", { 16, 2 }, 129 } }, "a zero of 129 eighths" },
};

static void test_bad_elements(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(bad_elements); i++) {
		size_t n = 0;
		while (n < COUNT(bad_elements[i].t) && bad_elements[i].t[n].name)
			n++;
		struct tensor_set *set = make_set(bad_elements[i].t, n);
		struct stored_matrix s;
		struct weight_matrix m;
		if (stored_find(&s, bad_elements[i].q, set, "x.weight", 16, 64) != VB_OK)
			fail_msg("row %zu: %s", i, vb_errmsg());
		uint64_t bytes = stored_bytes(&s);
		void *memory = mem_pages(bytes + 1);
		assert_int_equal(stored_read(&s, set, NULL, memory, &m), VB_EFORMAT);
		if (!strstr(vb_errmsg(), bad_elements[i].message))
			fail_msg("row %zu: \"%s\"", i, vb_errmsg());
		mem_free_pages(memory, bytes + 1);
		tensor_set_close(&set);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_folder),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_fp8_scales),
		cmocka_unit_test(test_bad_elements),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
