/* Weight files: right ones are seen as they are, and each hostile one is refused with its reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/status.h"
#include "load/load.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define S(text) text, sizeof(text) - 1

static char folder[64];

static int make_folder(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/verbatim-test-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	char command[128];
	snprintf(command, sizeof command, "rm -r '%s'", folder);
	return system(command);
}

static const char *path_in(const char *name)
{
	static char path[256];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	return path;
}

static void write_file(const char *name, const char *bytes, size_t n)
{
	FILE *f = fopen(path_in(name), "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

/* A header length (the header's own where `given` is 0), the header, and n_data bytes 0, 1, 2, ... */
static void write_weights(const char *name, const char *header, size_t len, uint64_t given, size_t n_data)
{
	struct buf b;
	buf_init(&b, 1 << 28);
	uint64_t n = given ? given : len;
	for (int i = 0; i < 8; i++)
		assert_int_equal(buf_putc(&b, (char)(n >> 8 * i)), VB_OK);
	assert_int_equal(buf_append(&b, header, len), VB_OK);
	for (size_t i = 0; i < n_data; i++)
		assert_int_equal(buf_putc(&b, (char)i), VB_OK);
	write_file(name, b.data, b.len);
	buf_fini(&b);
}

static void refused(int rc, int expected, const char *reason)
{
	if (rc != expected || !strstr(vb_errmsg(), reason))
		fail_msg("expected %s \"%s\", got %s \"%s\"", vb_status_name(expected), reason,
			 vb_status_name(rc), vb_errmsg());
}

static void test_reads(void **state)
{
	(void)state;
	/* The spaces at the end let the data begin at a multiple of 8. */
	static const char header[] =
		"{\"__metadata__\":{\"format\":\"pt\"},"
		"\"b.weight\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
		"\"a\\u002f\\ud83d\\ude00\":{\"shape\":[],\"data_offsets\":[0,4],\"dtype\":\"F32\"},"
		"\"empty\":{\"dtype\":\"I64\",\"shape\":[0,7],\"data_offsets\":[16,16]}}       ";
	const size_t len = (sizeof header - 1) / 8 * 8;
	write_weights("model.safetensors", header, len, 0, 16);
	struct tensor_set *set = NULL;
	assert_int_equal(tensor_set_open(&set, folder), VB_OK);
	assert_int_equal(tensor_set_count(set), 3);
	assert_int_equal(tensor_set_bytes(set), 16);
	assert_string_equal(tensor_set_at(set, 0)->name, "a/\xf0\x9f\x98\x80");
	const struct tensor *t = tensor_set_find(set, "b.weight");
	assert_non_null(t);
	assert_ptr_equal(t, tensor_set_at(set, 1));
	assert_int_equal(t->type, DTYPE_BF16);
	assert_int_equal(t->rank, 2);
	assert_int_equal(t->shape[0], 2);
	assert_int_equal(t->shape[1], 3);
	assert_int_equal(t->bytes, 12);
	for (int i = 0; i < 12; i++)
		assert_int_equal(((const unsigned char *)t->data)[i], 4 + i);
	assert_string_equal(tensor_set_file(set, t), path_in("model.safetensors"));
	const struct tensor *scalar = tensor_set_at(set, 0);
	assert_int_equal(scalar->rank, 0);
	assert_int_equal(scalar->bytes, 4);
	assert_int_equal(tensor_set_find(set, "empty")->bytes, 0);
	assert_null(tensor_set_find(set, "b"));
	tensor_set_prefetch(set);
	tensor_set_release(set, t);
	assert_int_equal(((const unsigned char *)t->data)[0], 4);
	assert_int_equal(tensor_set_unchanged(set), VB_OK);
	write_weights("model.safetensors", header, len, 0, 17);
	refused(tensor_set_unchanged(set), VB_EIO, "changed while in use: ");
	tensor_set_close(&set);
	assert_null(set);
	tensor_set_close(&set);
}

struct hostile {
	const char *header;
	size_t len;
	uint64_t given; /* header length that the file claims; 0: the true one */
	size_t n_data;
	int status;
	const char *reason;
};

#define T(fields) S("{\"t\":{" fields "}} ")
#define F32_1 "\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"

static const struct hostile table[] = {
	{ S(""), 0, 0, VB_EFORMAT, "does not begin with '{'" },
	{ S("{}"), 100000001, 0, VB_EFORMAT, "at most 100000000" },
	{ S("{}"), 3, 0, VB_EFORMAT, "but the file has 10" },
	{ S("{}"), UINT64_MAX, 0, VB_EFORMAT, "18446744073709551615" },
	{ S("{}"), UINT64_MAX - 7, 0, VB_EFORMAT, "18446744073709551608" },
	{ S(" {}"), 0, 0, VB_EFORMAT, "does not begin with '{'" },
	{ S("[]"), 0, 0, VB_EFORMAT, "does not begin with '{'" },
	{ S("{\"t\xff\":{}}"), 0, 0, VB_EFORMAT, "UTF-8" },
	{ S("{\"t\\u0000\":{}}"), 0, 0, VB_EFORMAT, "no NUL" },
	{ S("{\"t\\ud800\":{}}"), 0, 0, VB_EFORMAT, "surrogate" },
	{ S("{\"t\\udc00\":{}}"), 0, 0, VB_EFORMAT, "surrogate" },
	{ S("{\"t\\q\":{}}"), 0, 0, VB_EFORMAT, "escape" },
	{ S("{\"t\\u12"), 0, 0, VB_EFORMAT, "hexadecimal" },
	{ S("{\"t\x01\":{}}"), 0, 0, VB_EFORMAT, "rest of a string" },
	{ S("{\"t\\u001b[2J\":{}}"), 0, 0, VB_EFORMAT, "control character 0x1b" },
	{ S("{\"\":{" F32_1 "}}  "), 0, 4, VB_EFORMAT, "has 0 bytes" },
	{ S("{\"t"), 0, 0, VB_EFORMAT, "found the end" },
	{ S("{} x"), 0, 0, VB_EFORMAT, "expected the end, found 'x'" },
	{ S("{}\0"), 0, 0, VB_EFORMAT, "found byte 0x00" },
	{ S("{\"t\":{" F32_1 "},}"), 0, 4, VB_EFORMAT, "expected '\"'" },
	{ S("{\"t\":{" F32_1 "},\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}} "), 0, 8,
	  VB_EFORMAT, "\"t\" stands twice" },
	{ T("\"dtype\":\"F32\"," F32_1), 0, 4, VB_EFORMAT, "\"dtype\" stands twice" },
	{ T("\"shape\":[1],\"data_offsets\":[0,4]"), 0, 4, VB_EFORMAT, "\"dtype\" is missing" },
	{ T("\"dtype\":\"F32\",\"data_offsets\":[0,4]"), 0, 4, VB_EFORMAT, "\"shape\" is missing" },
	{ T("\"dtype\":\"F32\",\"shape\":[1]"), 0, 4, VB_EFORMAT, "\"data_offsets\" is missing" },
	{ T(F32_1 ",\"x\":1"), 0, 4, VB_EFORMAT, "\"x\" is unknown" },
	{ S("{\"t\":{}}"), 0, 0, VB_EFORMAT, "expected '\"'" },
	{ S("{\"t\":7}"), 0, 0, VB_EFORMAT, "expected '{', found '7'" },
	{ T("\"dtype\":4,\"shape\":[1],\"data_offsets\":[0,4]"), 0, 4, VB_EFORMAT, "expected '\"'" },
	{ T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]"), 0, 4, VB_EFORMAT, "behind end 0" },
	{ T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"), 0, 4, VB_EFORMAT, "cut short" },
	{ T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,18446744073709551615]"), 0, 4, VB_EFORMAT,
	  "cut short" },
	{ T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,18446744073709551616]"), 0, 4, VB_EFORMAT,
	  "below 2^64" },
	{ T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]"), 0, 4, VB_EFORMAT,
	  "4 bytes, but shape and type need 8" },
	{ T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]"), 0, 4, VB_EFORMAT, "expected ']'" },
	{ T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]"), 0, 4, VB_EFORMAT, "expected ','" },
	{ T("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]"), 0, 0, VB_EFORMAT,
	  "2^64" },
	{ T("\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]"), 0, 0, VB_EFORMAT,
	  "2^64" },
	{ T("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,0],\"data_offsets\":[0,0]"), 0, 0,
	  VB_EFORMAT, "2^64" },
	{ T("\"dtype\":\"U8\",\"shape\":[9223372036854775808],\"data_offsets\":[0,0]"), 0, 0, VB_EFORMAT,
	  "too large" },
	{ T("\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]"), 0, 4, VB_EFORMAT, "found '-'" },
	{ T("\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]"), 0, 4, VB_EFORMAT, "fraction" },
	{ T("\"dtype\":\"F32\",\"shape\":[1e30],\"data_offsets\":[0,4]"), 0, 4, VB_EFORMAT, "exponent" },
	{ T("\"dtype\":\"F32\",\"shape\":[01],\"data_offsets\":[0,4]"), 0, 4, VB_EFORMAT, "leading zeros" },
	{ T("\"dtype\":\"F32\",\"shape\":[1,],\"data_offsets\":[0,4]"), 0, 4, VB_EFORMAT, "integer" },
	{ T("\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]"), 0, 4,
	  VB_EUNSUPPORTED, "more than 8 dimensions" },
	{ T("\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]"), 0, 4, VB_EFORMAT, "expected '['" },
	{ T("\"dtype\":\"F4\",\"shape\":[8],\"data_offsets\":[0,4]"), 0, 4, VB_EUNSUPPORTED, "type F4" },
	{ T("\"dtype\":\"F6_E2M3\",\"shape\":[8],\"data_offsets\":[0,4]"), 0, 4, VB_EUNSUPPORTED, "F6_E2M3" },
	{ T("\"dtype\":\"C64\",\"shape\":[1],\"data_offsets\":[0,8]"), 0, 8, VB_EUNSUPPORTED, "type C64" },
	{ T("\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]"), 0, 4, VB_EFORMAT,
	  "unknown element type \"f32\"" },
	{ T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]"), 0, 8, VB_EFORMAT, "end at 0" },
	{ T(F32_1), 0, 5, VB_EFORMAT, "5 bytes of data, but its tensors end at 4" },
	{ S("{\"t\":{" F32_1 "},\"u\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}} "), 0, 12,
	  VB_EFORMAT, "\"u\": data_offsets: begins at 8, but the tensors before it end at 4" },
	{ S("{\"t\":{" F32_1 "},\"u\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[2,5]}} "), 0, 5,
	  VB_EFORMAT, "\"u\": data_offsets: begins at 2, but the tensors before it end at 4" },
	{ S("{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"), 0, 4, VB_EUNSUPPORTED,
	  "misaligned tensor: " },
	{ S("{\"__metadata__\":{\"a\":1}}"), 0, 0, VB_EFORMAT, "__metadata__" },
	{ S("{\"__metadata__\":[]}"), 0, 0, VB_EFORMAT, "__metadata__" },
	{ S("{\"__metadata__\":{},\"__metadata__\":{}}"), 0, 0, VB_EFORMAT, "__metadata__ stands twice" },
	{ S("{}"), 0, 1, VB_EFORMAT, "1 bytes of data, but its tensors end at 0" },
};

static void test_hostile_headers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		const struct hostile *h = &table[i];
		struct tensor_set *set = NULL;
		write_weights("model.safetensors", h->header, h->len, h->given, h->n_data);
		int rc = tensor_set_open_file(&set, path_in("model.safetensors"));
		if (rc != h->status || !strstr(vb_errmsg(), h->reason))
			fail_msg("row %zu: %.*s: expected %s \"%s\", got %s \"%s\"", i, (int)h->len, h->header,
				 vb_status_name(h->status), h->reason, vb_status_name(rc), vb_errmsg());
		assert_non_null(strstr(vb_errmsg(), "model.safetensors"));
		assert_null(set);
	}
	struct tensor_set *set = NULL;
	for (size_t n = 0; n < 8; n++) {
		write_file("model.safetensors", "\x02\0\0\0\0\0\0\0", n);
		refused(tensor_set_open(&set, folder), VB_EFORMAT, "too short for a header");
	}
}

static void test_not_files(void **state)
{
	(void)state;
	struct tensor_set *set = NULL;
	refused(tensor_set_open_file(&set, path_in("absent")), VB_ENOTFOUND, "cannot open: ");
	refused(tensor_set_open_file(&set, folder), VB_EFORMAT, "not a regular file: ");
	assert_int_equal(mkfifo(path_in("fifo"), 0600), 0);
	refused(tensor_set_open_file(&set, path_in("fifo")), VB_EFORMAT, "not a regular file: ");
}

static void test_folders_without_weights(void **state)
{
	(void)state;
	struct tensor_set *set = NULL;
	refused(tensor_set_open(&set, "/nonexistent"), VB_ENOTFOUND, "cannot open model folder: /nonexistent");
	refused(tensor_set_open(&set, folder), VB_ENOTFOUND, "no weights: ");
	write_weights("other.safetensors", S("{}"), 0, 0);
	refused(tensor_set_open(&set, folder), VB_ENOTFOUND, "other.safetensors, but no model.safetensors");
	write_file("pytorch_model.bin", S("PK"));
	refused(tensor_set_open(&set, folder), VB_EUNSUPPORTED, "pytorch_model.bin: convert");
	assert_null(set);
}

/* One tensor NAME of four bytes. */
static void write_shard(const char *file, const char *name)
{
	char header[128];
	int n = snprintf(header, sizeof header, "{\"%s\":{%s}}", name, F32_1);
	while (n % 8 != 0)
		header[n++] = ' ';
	write_weights(file, header, (size_t)n, 0, 4);
}

static void write_index(const char *text)
{
	write_file("model.safetensors.index.json", text, strlen(text));
}

static void test_shards(void **state)
{
	(void)state;
	struct tensor_set *set = NULL;
	write_shard("one.safetensors", "a");
	write_shard("two.safetensors", "b");
	write_index("{\"metadata\":{\"total_size\":99999999999999999999,\"x\":[1,-2.5e+3,{\"y\":null}]},"
		    "\"weight_map\":{\"b\":\"two.safetensors\",\"a\":\"one.safetensors\"}}");
	assert_int_equal(tensor_set_open(&set, folder), VB_OK);
	assert_int_equal(tensor_set_count(set), 2);
	assert_string_equal(tensor_set_at(set, 1)->name, "b");
	assert_string_equal(tensor_set_file(set, tensor_set_at(set, 1)), path_in("two.safetensors"));
	tensor_set_close(&set);

	static const struct {
		const char *index;
		int status;
		const char *reason;
	} bad[] = {
		{ "", VB_EFORMAT, "expected '{', found the end" },
		{ "{}", VB_EFORMAT, "weight_map is missing" },
		{ "{\"weight_map\":{}}", VB_EFORMAT, "weight_map is empty" },
		{ "{\"weight_map\":[]}", VB_EFORMAT, "expected '{'" },
		{ "{\"weight_map\":{\"a\":1}}", VB_EFORMAT, "expected '\"'" },
		{ "{\"weight_map\":{\"a\":\"one.safetensors\"},\"weight_map\":{}}", VB_EFORMAT, "twice" },
		{ "{\"weight_map\":{\"a\":\"one.safetensors\",\"a\":\"two.safetensors\"}}", VB_EFORMAT,
		  "tensor \"a\" stands twice" },
		{ "{\"weight_map\":{\"a\":\"../one.safetensors\"}}", VB_EFORMAT, "not the plain name" },
		{ "{\"weight_map\":{\"a\":\"/etc/x.safetensors\"}}", VB_EFORMAT, "not the plain name" },
		{ "{\"weight_map\":{\"a\":\"/etc/passwd\"}}", VB_EFORMAT, "not the plain name" },
		{ "{\"weight_map\":{\"a\":\".safetensors\"}}", VB_EFORMAT, "not the plain name" },
		{ "{\"weight_map\":{\"a\":\"\"}}", VB_EFORMAT, "not the plain name" },
		{ "{\"weight_map\":{\"a\":\"a\\nb.safetensors\"}}", VB_EFORMAT, "not the plain name" },
		{ "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"three.safetensors\"}}", VB_ENOTFOUND,
		  "file 2 of the 2 that model.safetensors.index.json names: cannot open: " },
		{ "{\"weight_map\":{\"a\":\"one.safetensors\",\"c\":\"two.safetensors\"}}", VB_EFORMAT,
		  "missing tensor: " },
		{ "{\"weight_map\":{\"a\":\"two.safetensors\",\"b\":\"one.safetensors\"}}", VB_EFORMAT,
		  "wrong place: " },
		{ "{\"weight_map\":{\"a\":\"one.safetensors\",\"d\":\"dup.safetensors\"}}", VB_EFORMAT,
		  "tensor in two files: \"a\": " },
		{ "{\"weight_map\":{\"a\":\"one.safetensors\"}} x", VB_EFORMAT, "expected the end" },
		{ "{\"metadata\":{\"x\":[1,]},\"weight_map\":{\"a\":\"one.safetensors\"}}", VB_EFORMAT,
		  "expected a value" },
		{ "{\"metadata\":[{\"x\":1]}}", VB_EFORMAT, "expected ','" },
		{ "{\"metadata\":-x}", VB_EFORMAT, "expected a digit" },
		{ "{\"metadata\":nul}", VB_EFORMAT, "expected a value" },
	};
	write_shard("dup.safetensors", "a");
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		write_index(bad[i].index);
		refused(tensor_set_open(&set, folder), bad[i].status, bad[i].reason);
		assert_null(set);
	}
	char deep[400];
	int n = snprintf(deep, sizeof deep, "{\"metadata\":");
	memset(deep + n, '[', 200);
	deep[n + 200] = '\0';
	write_index(deep);
	refused(tensor_set_open(&set, folder), VB_EFORMAT, "nested at most 128 deep");
}

static void test_links(void **state)
{
	(void)state;
	struct tensor_set *set = NULL;
	char cache[256];
	assert_int_equal(mkdir(path_in("snapshots"), 0700), 0);
	assert_int_equal(mkdir(path_in("blobs"), 0700), 0);
	assert_int_equal(mkdir(path_in("other"), 0700), 0);
	assert_int_equal(mkdir(path_in("snapshots/abc"), 0700), 0);
	snprintf(cache, sizeof cache, "%s", path_in("snapshots/abc"));
	write_shard("blobs/0123", "a");
	write_shard("other/0123", "a");
	const char *link = path_in("snapshots/abc/model.safetensors");
	assert_int_equal(symlink("../../blobs/0123", link), 0);
	assert_int_equal(tensor_set_open(&set, cache), VB_OK);
	tensor_set_close(&set);
	link = path_in("snapshots/abc/model.safetensors");
	assert_int_equal(unlink(link), 0);
	assert_int_equal(symlink("../../other/0123", link), 0);
	refused(tensor_set_open(&set, cache), VB_EFORMAT, "link out of the model folder: ");
	link = path_in("snapshots/abc/model.safetensors");
	assert_int_equal(unlink(link), 0);
	assert_int_equal(symlink("../../absent", link), 0);
	refused(tensor_set_open(&set, cache), VB_ENOTFOUND, "cannot open: ");

	write_shard("one.safetensors", "a");
	assert_int_equal(symlink("one.safetensors", path_in("model.safetensors")), 0);
	assert_int_equal(tensor_set_open(&set, folder), VB_OK);
	tensor_set_close(&set);
	assert_int_equal(unlink(path_in("model.safetensors")), 0);
	assert_int_equal(symlink("/etc/hostname", path_in("link.safetensors")), 0);
	write_index("{\"weight_map\":{\"a\":\"link.safetensors\"}}");
	refused(tensor_set_open(&set, folder), VB_EFORMAT, "leads to /etc/hostname");
}

/* The n-th allocation fails, n rising until all succeed: always VB_ENOMEM, never a leak (sanitizers look). */
static void test_memory_runs_out(void **state)
{
	(void)state;
	write_shard("one.safetensors", "a");
	write_shard("two.safetensors", "b");
	write_index("{\"weight_map\":{\"b\":\"two.safetensors\",\"a\":\"one.safetensors\"}}");
	int rc = VB_ENOMEM;
	for (uint64_t n = 1; rc != VB_OK; n++) {
		struct tensor_set *set = NULL;
		assert_true(n < 100);
		mem_fail_at(n, false);
		rc = tensor_set_open(&set, folder);
		mem_fail_at(0, false);
		if (rc != VB_OK)
			assert_int_equal(rc, VB_ENOMEM);
		tensor_set_close(&set);
	}
}

/* Names and offsets in opposite orders: anything quadratic would run into the time limit. */
static void test_million_tensors(void **state)
{
	(void)state;
	const int n = 1000000;
	struct buf b;
	buf_init(&b, 1 << 27);
	for (int i = 0; i < n; i++)
		assert_int_equal(buf_printf(&b, "%c\"t%07d\":{\"dtype\":\"U8\",\"shape\":[1],"
					    "\"data_offsets\":[%d,%d]}", i ? ',' : '{', n - i, i, i + 1), VB_OK);
	assert_int_equal(buf_putc(&b, '}'), VB_OK);
	write_weights("model.safetensors", b.data, b.len, 0, (size_t)n);
	buf_fini(&b);
	struct tensor_set *set = NULL;
	assert_int_equal(tensor_set_open(&set, folder), VB_OK);
	assert_int_equal(tensor_set_count(set), n);
	for (int i = 0; i < n; i += 9973) {
		char name[16];
		snprintf(name, sizeof name, "t%07d", n - i);
		const struct tensor *t = tensor_set_find(set, name);
		assert_non_null(t);
		assert_int_equal(*(const unsigned char *)t->data, i & 255);
	}
	tensor_set_close(&set);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
	const struct CMUnitTest tests[] = {
		TEST(test_reads),
		TEST(test_hostile_headers),
		TEST(test_not_files),
		TEST(test_folders_without_weights),
		TEST(test_shards),
		TEST(test_links),
		TEST(test_memory_runs_out),
		TEST(test_million_tensors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
