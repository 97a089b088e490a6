/* tokenizer.json: any bytes. What is accepted must encode and decode without harm, whatever it
 * means. */
#include "base/status.h"
#include "text/text.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool promise)
{
	if (!promise)
		abort();
}

static void encode_and_decode(const struct tokenizer *t, const char *text, size_t n)
{
	struct ids ids = { 0 };
	struct buf whole, steps;
	struct detokenizer *d;
	buf_init(&whole, 1 << 20);
	buf_init(&steps, 1 << 20);
	if (tokenizer_encode(t, text, n, TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL, &ids) !=
	    VB_OK)
		check(*vb_errmsg() && ids.n == 0);
	for (size_t i = 0; i < ids.n; i++)
		check(ids.id[i] >= 0 && ids.id[i] < tokenizer_vocab_size(t));
	check(detokenizer_create(&d, t, true) == VB_OK);
	int rc = tokenizer_decode(t, ids.id, ids.n, true, &whole), rc_steps = VB_OK;
	for (size_t i = 0; i < ids.n && rc_steps == VB_OK; i++)
		rc_steps = detokenizer_push(d, ids.id[i], &steps);
	if (rc_steps == VB_OK)
		rc_steps = detokenizer_flush(d, &steps);
	check((rc == VB_OK) == (rc_steps == VB_OK));
	check(rc || (whole.len == steps.len &&
		     (!whole.len || memcmp(whole.data, steps.data, whole.len) == 0)));
	detokenizer_destroy(&d);
	ids_fini(&ids);
	buf_fini(&whole);
	buf_fini(&steps);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const texts[] = { "", "abab <s>",
					     " \xe2\x96\x81\xc3\xa9\xf0\x9f\x98\x80\xff\x00z",
					     "a'b c\n\n12  .\t" };
	struct tokenizer *t = NULL;
	if (tokenizer_from_json(&t, (const char *)data, size, NULL, 0, "fuzz/tokenizer.json") !=
	    VB_OK) {
		check(t == NULL && *vb_errmsg());
		return 0;
	}
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		encode_and_decode(t, texts[i], strlen(texts[i]));
	struct buf bytes;
	buf_init(&bytes, 1 << 20);
	for (int32_t id = 0; id < tokenizer_vocab_size(t) && id < 64; id++) {
		const char *token = tokenizer_token(t, id);
		check((token == NULL) == (tokenizer_token_bytes(t, id, &bytes) == VB_EINVAL));
		check(!token || strlen(token) == 0 || tokenizer_token_id(t, token) >= -1);
	}
	buf_fini(&bytes);
	tokenizer_destroy(&t);
	return 0;
}
