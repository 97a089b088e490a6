/* Any text, through small tokenizers of each kind: the first byte chooses, the second gives the
 * flags. */
#include "base/status.h"
#include "base/utf8.h"
#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BYTE_LEVEL, SPM, UNIGRAM, WORDPIECE, N_KINDS };

/* With ' for " and a hole for the byte tokens. */
static const char *const shapes[N_KINDS] = {
	[BYTE_LEVEL] =
		"{'added_tokens':[{'id':300,'content':'<s>','special':true},"
		"{'id':301,'content':'word','single_word':true,'lstrip':true}],"
		"'pre_tokenizer':{'type':'ByteLevel','add_prefix_space':false},"
		"'decoder':{'type':'ByteLevel'},"
		"'model':{'type':'BPE','merges':['a b','ab ab','Ġ a'],"
		"'vocab':{'ab':256,'abab':257,'Ġa':258%s}}}",
	[SPM] =
		"{'normalizer':{'type':'Sequence','normalizers':[{'type':'NFKC'},"
		"{'type':'Prepend','prepend':'▁'},"
		"{'type':'Replace','pattern':{'String':' '},'content':'▁'}]},"
		"'added_tokens':[{'id':300,'content':'<s>','special':true,'rstrip':true}],"
		"'decoder':{'type':'Sequence','decoders':["
		"{'type':'Replace','pattern':{'String':'▁'},'content':' '},"
		"{'type':'ByteFallback'},{'type':'Fuse'},"
		"{'type':'Strip','content':' ','start':1,'stop':1}]},"
		"'model':{'type':'BPE','byte_fallback':true,'fuse_unk':true,'unk_token':'a',"
		"'merges':['a a','aa aa','▁ a','b a'],"
		"'vocab':{'a':256,'aa':257,'aaaa':258,'▁':259,'▁a':260,'b':261,'ba':262%s}}}",
	[UNIGRAM] =
		"{'normalizer':{'type':'Nmt'},"
		"'pre_tokenizer':{'type':'Metaspace','replacement':'_'},"
		"'decoder':{'type':'Metaspace','replacement':'_'},"
		"'model':{'type':'Unigram','unk_id':0,'vocab':[['?',0],['_',-1],['a',-1],"
		"['b',-1],['ab',-2],['_a',-1.5],['aa',-1.5]]}}",
	[WORDPIECE] =
		"{'normalizer':{'type':'BertNormalizer'},"
		"'pre_tokenizer':{'type':'BertPreTokenizer'},"
		"'decoder':{'type':'WordPiece','prefix':'##'},"
		"'model':{'type':'WordPiece','unk_token':'u','continuing_subword_prefix':'##',"
		"'max_input_chars_per_word':9,"
		"'vocab':{'u':0,'a':1,'##a':2,'##ab':3,'b':4,'.':5}}}",
};

static void check(bool promise)
{
	if (!promise)
		abort();
}

/* The 256 byte tokens: byte-level characters, or <0x00> and on. */
static void append_bytes(struct buf *b, bool byte_level)
{
	unsigned other = 0x100;
	for (unsigned i = 0; i < 256; i++) {
		char c[8] = "";
		bool itself = (i >= 0x21 && i <= 0x7e) || (i >= 0xa1 && i != 0xad);
		if (byte_level) {
			utf8_write(itself ? i : other, c);
			if (i < 0x80) /* quotes and the backslash among them */
				snprintf(c, sizeof c, "\\u%04x", itself ? i : other);
			other += !itself;
			check(buf_printf(b, ",\"%s\":%u", c, i) == VB_OK);
		} else {
			check(buf_printf(b, ",\"<0x%02X>\":%u", i, i) == VB_OK);
		}
	}
}

static struct tokenizer *make(int kind)
{
	struct buf json;
	struct tokenizer *t = NULL;
	buf_init(&json, 1 << 20);
	const char *hole = strstr(shapes[kind], "%s");
	check(buf_append(&json, shapes[kind],
			 hole ? (size_t)(hole - shapes[kind]) : strlen(shapes[kind])) == VB_OK);
	for (size_t i = 0; i < json.len; i++)
		json.data[i] = json.data[i] == '\'' ? '"' : json.data[i];
	if (hole) {
		append_bytes(&json, kind == BYTE_LEVEL);
		check(buf_puts(&json, hole + 2) == VB_OK); /* brackets alone */
	}
	if (tokenizer_from_json(&t, json.data, json.len, NULL, 0, "fuzz") != VB_OK) {
		fprintf(stderr, "%s\n", vb_errmsg());
		abort();
	}
	buf_fini(&json);
	return t;
}

static void check_decoding(const struct tokenizer *t, const struct ids *ids, bool skip,
			   struct buf *whole)
{
	struct buf steps;
	struct detokenizer *d;
	buf_init(&steps, 1 << 24);
	check(detokenizer_create(&d, t, skip) == VB_OK);
	check(tokenizer_decode(t, ids->id, ids->n, skip, whole) == VB_OK);
	for (size_t i = 0; i < ids->n; i++) {
		size_t before = steps.len;
		check(detokenizer_push(d, ids->id[i], &steps) == VB_OK);
		check(steps.len == before || utf8_valid(steps.data + before, steps.len - before));
	}
	check(detokenizer_flush(d, &steps) == VB_OK);
	check(whole->len == steps.len &&
	      (!whole->len || memcmp(whole->data, steps.data, whole->len) == 0));
	detokenizer_destroy(&d);
	buf_fini(&steps);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct tokenizer *tokenizers[N_KINDS]; /* a fuzzer's process lives for one purpose */
	if (size < 2 || size > 4096)
		return 0;
	int kind = data[0] % N_KINDS;
	if (!tokenizers[kind])
		tokenizers[kind] = make(kind);
	const struct tokenizer *t = tokenizers[kind];
	const char *text = (const char *)data + 2;
	size_t n = size - 2;
	struct ids ids = { 0 };
	struct buf whole;
	buf_init(&whole, 1 << 24);
	check(tokenizer_encode(t, text, n, data[1] & 3, &ids) == VB_OK);
	check_decoding(t, &ids, data[1] & 4, &whole);
	/* Plain text comes back from a byte-level vocabulary, but for the blanks that a token may
	 * take with it. */
	if (kind == BYTE_LEVEL && utf8_valid(text, n) && !(data[1] & 4)) {
		bool word = false;
		for (size_t i = 0; i + 4 <= n; i++)
			word |= memcmp(text + i, "word", 4) == 0;
		check(word || (whole.len == n && (!n || memcmp(whole.data, text, n) == 0)));
	}
	ids_fini(&ids);
	buf_fini(&whole);
	return 0;
}
