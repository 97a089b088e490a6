/* tokenize_driver.c - encodes and decodes what another program sends, so that it can compare with a
 * reference.
 *
 * usage: tokenize_driver TOKENIZER_JSON [TOKENIZER_CONFIG_JSON]
 * Input, again and again: one byte 'e' (a text follows) or 'd' (ids follow, int32 each), one byte
 * of tokenize_flags, a 32-bit length in bytes, and that many bytes; numbers little endian. For
 * each, lines on stdout: of 'e' the ids; then of both the decoded text in hexadecimal, with and
 * without special tokens. A text that cannot be encoded or decoded gives a line "! message". Every
 * decoding is done whole and in steps; a difference ends the program with status 3.
 */
#include "base/mem.h"
#include "base/status.h"
#include "base/utf8.h"
#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *read_file(const char *path, size_t *n)
{
	FILE *f = fopen(path, "rb");
	char *text = NULL;
	*n = 0;
	if (f && fseek(f, 0, SEEK_END) == 0) {
		long size = ftell(f);
		rewind(f);
		text = size >= 0 ? mem_alloc((size_t)size) : NULL;
		if (text)
			*n = fread(text, 1, (size_t)size, f);
	}
	if (f)
		fclose(f);
	if (!text) {
		fprintf(stderr, "cannot read %s\n", path);
		exit(2);
	}
	return text;
}

static int decode_in_steps(const struct tokenizer *t, const struct ids *ids, bool skip,
			   struct buf *out)
{
	struct detokenizer *d;
	TRY(detokenizer_create(&d, t, skip));
	int rc = VB_OK;
	for (size_t i = 0; i < ids->n && rc == VB_OK; i++) {
		size_t before = out->len;
		rc = detokenizer_push(d, ids->id[i], out);
		if (rc == VB_OK && out->len > before &&
		    !utf8_valid(out->data + before, out->len - before)) {
			printf("! a step ended inside a character\n");
			exit(3);
		}
	}
	if (rc == VB_OK)
		rc = detokenizer_flush(d, out);
	detokenizer_destroy(&d);
	return rc;
}

static void print_decoded(const struct tokenizer *t, const struct ids *ids, bool skip)
{
	struct buf whole, steps;
	buf_init(&whole, (size_t)1 << 30);
	buf_init(&steps, (size_t)1 << 30);
	int rc = tokenizer_decode(t, ids->id, ids->n, skip, &whole);
	if (rc == VB_OK)
		rc = decode_in_steps(t, ids, skip, &steps);
	if (rc) {
		printf("! %s\n", vb_errmsg());
	} else if (whole.len != steps.len ||
		   (whole.len && memcmp(whole.data, steps.data, whole.len) != 0)) {
		printf("! whole and stepwise decoding differ\n");
		exit(3);
	} else {
		for (size_t i = 0; i < whole.len; i++)
			printf("%02x", (unsigned char)whole.data[i]);
		printf("\n");
	}
	buf_fini(&whole);
	buf_fini(&steps);
}

static void work(const struct tokenizer *t, char op, unsigned flags, const char *data, size_t n)
{
	struct ids ids = { 0 };
	int rc = VB_OK;
	if (op == 'e') {
		rc = tokenizer_encode(t, data, n, flags, &ids);
		if (rc)
			printf("! %s", vb_errmsg());
		for (size_t i = 0; i < ids.n; i++)
			printf(i ? " %d" : "%d", ids.id[i]);
		printf("\n");
	} else {
		for (size_t i = 0; i + 4 <= n && rc == VB_OK; i += 4) {
			int32_t id;
			memcpy(&id, data + i, 4);
			rc = ids_push(&ids, id);
		}
	}
	print_decoded(t, &ids, false);
	print_decoded(t, &ids, true);
	fflush(stdout);
	ids_fini(&ids);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	size_t n, n_config = 0;
	char *json = read_file(argv[1], &n),
	     *config = argc > 2 ? read_file(argv[2], &n_config) : NULL;
	struct tokenizer *t;
	int rc = tokenizer_from_json(&t, json, n, config, n_config, argv[1]);
	mem_free(json);
	mem_free(config);
	if (rc) {
		printf("! %s\n", vb_errmsg());
		return 1;
	}
	unsigned char head[6];
	while (fread(head, 1, sizeof head, stdin) == sizeof head) {
		uint32_t len;
		memcpy(&len, head + 2, 4);
		char *data = mem_alloc(len);
		if (!data || fread(data, 1, len, stdin) != len)
			return 2;
		work(t, (char)head[0], head[1], data, len);
		mem_free(data);
	}
	tokenizer_destroy(&t);
	return 0;
}
