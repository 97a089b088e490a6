/* bench_tokenizer.c - how fast a tokenizer.json loads, encodes and decodes.
 *
 * usage: bench_tokenizer TOKENIZER_JSON TEXT_FILE [SECONDS]
 * Prints the best of repeated runs within SECONDS (default 2) for each row, one thread: the text;
 * then the worst cases, 1 MB of one letter, of one emoji, of spaces, and of random letters without
 * a space.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"
#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORST_BYTES ((size_t)1 << 20)

static int die(const char *what)
{
	fprintf(stderr, "bench_tokenizer: %s: %s\n", what, vb_errmsg());
	return 1;
}

static char *read_file(const char *path, size_t *n)
{
	FILE *f = fopen(path, "rb");
	if (!f || fseek(f, 0, SEEK_END) != 0)
		return NULL;
	long size = ftell(f);
	rewind(f);
	char *text = mem_alloc((size_t)size);
	*n = text ? fread(text, 1, (size_t)size, f) : 0;
	fclose(f);
	return text;
}

static int row(const struct tokenizer *t, const char *name, const char *text, size_t n,
	       double seconds)
{
	struct ids ids = { 0 };
	struct buf out;
	double best = 1e30, best_decode = 1e30, start = clock_s();
	buf_init(&out, (size_t)1 << 30);
	do {
		double t0 = clock_s();
		ids.n = 0;
		if (tokenizer_encode(t, text, n, 0, &ids) != VB_OK)
			return die(name);
		double t1 = clock_s();
		buf_clear(&out);
		if (tokenizer_decode(t, ids.id, ids.n, false, &out) != VB_OK)
			return die(name);
		double t2 = clock_s();
		best = t1 - t0 < best ? t1 - t0 : best;
		best_decode = t2 - t1 < best_decode ? t2 - t1 : best_decode;
	} while (clock_s() - start < seconds);
	printf("%-16s %10zu bytes %9zu ids  encode %8.2f ms %7.2f MB/s %6.2f Mid/s  decode %7.1f "
	       "MB/s\n",
	       name, n, ids.n, best * 1e3, (double)n / best / 1e6, (double)ids.n / best / 1e6,
	       (double)out.len / best_decode / 1e6);
	ids_fini(&ids);
	buf_fini(&out);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	double seconds = argc > 3 ? atof(argv[3]) : 2.0;
	size_t n_json, n_text;
	char *json = read_file(argv[1], &n_json), *text = read_file(argv[2], &n_text),
	     *worst = mem_alloc(WORST_BYTES);
	if (!json || !text || !worst)
		return die("cannot read the files");
	struct tokenizer *t;
	double t0 = clock_s();
	if (tokenizer_from_json(&t, json, n_json, NULL, 0, argv[1]) != VB_OK)
		return die("load");
	printf("load %.1f MB: %.0f ms\n", (double)n_json / 1e6, (clock_s() - t0) * 1e3);
	int rc = row(t, "text", text, n_text, seconds);
	memset(worst, 'a', WORST_BYTES);
	rc |= row(t, "one letter", worst, WORST_BYTES, seconds);
	for (size_t i = 0; i < WORST_BYTES; i += 4)
		memcpy(worst + i, "\xf0\x9f\x98\x80", 4);
	rc |= row(t, "one emoji", worst, WORST_BYTES, seconds);
	memset(worst, ' ', WORST_BYTES);
	rc |= row(t, "spaces", worst, WORST_BYTES, seconds);
	for (size_t i = 0; i < WORST_BYTES; i++)
		worst[i] = (char)('a' + rng_u32(1, RNG_TEST, i, 0) % 26);
	rc |= row(t, "random letters", worst, WORST_BYTES, seconds);
	tokenizer_destroy(&t);
	mem_free(json);
	mem_free(text);
	mem_free(worst);
	return rc;
}
