/* Files made to break the tokeniser: each must be refused with its reason, or do no harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/status.h"
#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A byte-level model of the letters a and b, with the named parts around it. */
#define BPE "'model':{'type':'BPE','vocab':{'a':0,'b':1,'ab':2},'merges':['a b']}"
#define UNIGRAM "'model':{'type':'Unigram','unk_id':0,'vocab':[['<unk>',0.0],['a',-1.0],['b',-2]]}"

/* JSON is written with ' for " in this file. */
static char *quoted(const char *json)
{
	char *text = strdup(json); /* not the library's: its allocations are made to fail */
	assert_non_null(text);
	for (char *c = text; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	return text;
}

static int load_with(const char *json, const char *config, struct tokenizer **t)
{
	char *text = quoted(json), *config_text = quoted(config ? config : "");
	int rc = tokenizer_from_json(t, text, strlen(text), config ? config_text : NULL,
				     strlen(config_text), "t.json");
	free(text);
	free(config_text);
	return rc;
}

static int load(const char *json, struct tokenizer **t)
{
	return load_with(json, NULL, t);
}

/* The file is refused with `code`, and the message has `part`. */
static void refused(const char *json, int code, const char *part)
{
	struct tokenizer *t = NULL;
	int rc = load(json, &t);
	if (rc != code || !strstr(vb_errmsg(), part))
		fail_msg("%.200s: %s: \"%s\", expected %s and \"%s\"", json, vb_status_name(rc),
			 vb_errmsg(), vb_status_name(code), part);
	assert_null(t);
}

/* The file is taken; the text gives the ids listed up to -1. */
static void taken(const char *json, const char *text, const int32_t *want)
{
	struct tokenizer *t;
	struct ids ids = { 0 };
	if (load(json, &t) != VB_OK)
		fail_msg("%.200s: %s", json, vb_errmsg());
	assert_int_equal(tokenizer_encode(t, text, strlen(text), TOKENIZE_PARSE_SPECIAL, &ids),
			 VB_OK);
	size_t n = 0;
	for (; want[n] >= 0; n++)
		assert_true(n < ids.n && ids.id[n] == want[n]);
	assert_int_equal(ids.n, n);
	ids_fini(&ids);
	tokenizer_destroy(&t);
}

#define TAKEN(json, text, ...) taken(json, text, (const int32_t[]){ __VA_ARGS__, -1 })

static void test_not_a_tokenizer(void **state)
{
	(void)state;
	refused("", VB_EFORMAT, "not valid JSON");
	refused("{", VB_EFORMAT, "not valid JSON");
	refused("[]", VB_EFORMAT, "expected an object");
	refused("{}", VB_EFORMAT, "model");
	refused("{'model':3}", VB_EFORMAT, "model");
	refused("{'version':'2.0'," BPE "}", VB_EUNSUPPORTED, "version");
	refused("{'model':{'type':'Quantum'}}", VB_EUNSUPPORTED, "Quantum");
	refused("{'model':{'type':'BPE','vocab':{'a':0,'a':1},'merges':[]}}", VB_EFORMAT,
		"duplicate");
}

static void test_ids(void **state)
{
	(void)state;
#define VOCAB(v) "{'model':{'type':'BPE','vocab':{" v "},'merges':[]}}"
	refused(VOCAB("'a':-1"), VB_EFORMAT, "out of range");
	refused(VOCAB("'a':4294967296"), VB_EFORMAT, "out of range");
	refused(VOCAB("'a':2147483648"), VB_EFORMAT, "out of range");
	refused(VOCAB("'a':1000000000"), VB_EFORMAT, "out of range");
	refused(VOCAB("'a':1.5"), VB_EFORMAT, "no integer");
	refused(VOCAB("'a':'0'"), VB_EFORMAT, "no integer");
	refused(VOCAB("'a':0,'b':0"), VB_EFORMAT, "one id");
	TAKEN(VOCAB("'a':0,'b':9"), "ab", 0, 9); /* a gap */
	TAKEN(VOCAB("'a':0,'':1"), "a", 0);
#undef VOCAB
	refused("{'model':{'type':'BPE','vocab':[],'merges':[]}}", VB_EFORMAT, "vocab");
	refused("{'model':{'type':'BPE','vocab':{}}}", VB_EFORMAT, "merges");
}

static void test_merges(void **state)
{
	(void)state;
#define MERGES(m)                                                                                  \
	"{'model':{'type':'BPE','vocab':{'a':0,'b':1,'ab':2,'ba':3,'aba':4,'':5},"                 \
	"'merges':[" m "]}}"
	refused(MERGES("'a c'"), VB_EFORMAT, "not in the vocabulary");
	refused(MERGES("'b b'"), VB_EFORMAT, "not in the vocabulary");
	refused(MERGES("'ab'"), VB_EFORMAT, "bad merge");
	refused(MERGES("'a b a'"), VB_EFORMAT, "bad merge");
	refused(MERGES("'a '"), VB_EFORMAT, "empty");
	refused(MERGES("['','a']"), VB_EFORMAT, "empty");
	refused(MERGES("['a']"), VB_EFORMAT, "bad merge");
	refused(MERGES("['a',1]"), VB_EFORMAT, "bad merge");
	refused(MERGES("7"), VB_EFORMAT, "bad merge");
	/* Two ways to one token are no cycle: merging only ever makes longer tokens. */
	TAKEN(MERGES("'a b','b a','ab a','a ba'"), "abaaba", 4, 4);
	TAKEN(MERGES("'a b','a b',['a','b']"), "ab", 2);
#undef MERGES
	refused("{'model':{'type':'BPE','vocab':{'a':0},'merges':[],'dropout':0.1}}",
		VB_EUNSUPPORTED, "dropout");
	refused("{'model':{'type':'BPE','vocab':{'a':0},'merges':[],'dropout':'x'}}", VB_EFORMAT,
		"dropout");
	refused("{'model':{'type':'BPE','vocab':{'a':0},'merges':[],'fuse_unk':1}}", VB_EFORMAT,
		"fuse_unk");
}

/* A token of a megabyte, and text that is almost that token. */
static void test_long_token(void **state)
{
	(void)state;
	struct buf json;
	struct tokenizer *t;
	struct ids ids = { 0 };
	size_t n = (size_t)1 << 20;
	char *long_token = mem_alloc(n + 1);
	memset(long_token, 'a', n);
	long_token[n] = '\0';
	buf_init(&json, 1 << 24);
	assert_int_equal(buf_printf(&json,
				    "{'model':{'type':'BPE','vocab':{'a':0,'%s':1},'merges':[]}}",
				    long_token),
			 VB_OK);
	assert_int_equal(load(json.data, &t), VB_OK);
	assert_int_equal(tokenizer_encode(t, long_token, n - 1, 0, &ids), VB_OK);
	assert_int_equal(ids.n, n - 1);
	tokenizer_destroy(&t);
	buf_clear(&json);
	assert_int_equal(
		buf_printf(&json, "{'added_tokens':[{'id':3,'content':'%s'}]," BPE "}", long_token),
		VB_OK);
	refused(json.data, VB_EUNSUPPORTED, "too long");
	buf_clear(&json);
	assert_int_equal(
		buf_printf(&json, "{'model':{'type':'Unigram','vocab':[['%s',0]]}}", long_token),
		VB_OK);
	refused(json.data, VB_EUNSUPPORTED, "too long");
	buf_fini(&json);
	ids_fini(&ids);
	mem_free(long_token);
}

static void test_added_tokens(void **state)
{
	(void)state;
#define ADDED(list) "{'added_tokens':[" list "]," BPE "}"
	refused("{'added_tokens':3," BPE "}", VB_EFORMAT, "added_tokens");
	refused(ADDED("3"), VB_EFORMAT, "added token");
	refused(ADDED("{'id':3}"), VB_EFORMAT, "content");
	refused(ADDED("{'content':'x'}"), VB_EFORMAT, "without an id");
	refused(ADDED("{'id':-3,'content':'x'}"), VB_EFORMAT, "out of range");
	refused(ADDED("{'id':2147483647,'content':'x'}"), VB_EFORMAT, "out of range");
	refused(ADDED("{'id':99999999999,'content':'x'}"), VB_EFORMAT, "out of range");
	refused(ADDED("{'id':1,'content':'x'}"), VB_EFORMAT, "one id");
	refused(ADDED("{'id':3,'content':'x'},{'id':3,'content':'y'}"), VB_EFORMAT, "one id");
	refused(ADDED("{'id':3,'content':'x','lstrip':'yes'}"), VB_EFORMAT, "lstrip");
	TAKEN(ADDED("{'id':3,'content':''}"), "ab", 2); /* passed over */
	TAKEN(ADDED("{'id':7,'content':'a','special':true}"), "aab", 0, 0,
	      1); /* the vocabulary's id */
	TAKEN(ADDED("{'id':3,'content':'x'},{'id':3,'content':'x','special':true}"), "axb", 0, 3,
	      1);
#undef ADDED
	refused("{'normalizer':{'type':'Lowercase'},'added_tokens':[{'id':3,'content':'X'},{'id':4,"
		"'content':"
		"'x'}]," BPE "}",
		VB_EFORMAT, "twice");
	refused("{'normalizer':{'type':'Strip','strip_left':true,'strip_right':true},'added_tokens'"
		":[{'id':3,"
		"'content':' '}]," BPE "}",
		VB_EFORMAT, "vanishes");
}

/* As many added tokens as one likes, in good time. */
static void test_many_added_tokens(void **state)
{
	(void)state;
	struct buf json;
	struct tokenizer *t;
	buf_init(&json, 1 << 28);
	assert_int_equal(buf_puts(&json, "{" BPE ",'added_tokens':["), VB_OK);
	for (int i = 0; i < 200000; i++)
		assert_int_equal(
			buf_printf(&json, "%s{'id':%d,'content':'<%d>'}", i ? "," : "", i + 3, i),
			VB_OK);
	assert_int_equal(buf_puts(&json, "]}"), VB_OK);
	assert_int_equal(load(json.data, &t), VB_OK);
	assert_int_equal(tokenizer_token_id(t, "<199999>"), 200002);
	struct ids ids = { 0 };
	assert_int_equal(tokenizer_encode(t, "a<12345>b", 9, 0, &ids), VB_OK);
	assert_int_equal(ids.n, 3);
	assert_int_equal(ids.id[1], 12348);
	ids_fini(&ids);
	tokenizer_destroy(&t);
	buf_fini(&json);
}

static void split_refused(const char *pattern, const char *part)
{
	struct buf json;
	buf_init(&json, 1 << 24);
	assert_int_equal(buf_printf(&json,
				    "{'pre_tokenizer':{'type':'Split','pattern':{'Regex':'%s'},"
				    "'behavior':'Isolated','invert':false}," BPE "}",
				    pattern),
			 VB_OK);
	refused(json.data, VB_EUNSUPPORTED, part);
	buf_fini(&json);
}

static void test_regexes(void **state)
{
	(void)state;
	split_refused("", "empty pattern");
	split_refused("(*LIMIT_MATCH=1)a", "verb");
	split_refused("(*UTF)a", "verb");
	split_refused("\\\\C", "escape");
	split_refused("\\\\K", "escape");
	split_refused("(a)\\\\1", "escape");
	split_refused("\\\\g<0>", "escape");
	split_refused("(?<n>a)", "group or option");
	split_refused("(?(1)a|b)", "group or option");
	split_refused("(?R)", "group or option");
	split_refused("(?x)a b", "group or option");
	split_refused("a(?i)b", "middle of a group");
	split_refused("\\\\p{Klingon}", "unknown property");
	split_refused("\\\\p{sc:Han}", "unknown property");
	split_refused("\\\\p{Xwd}", "unknown property");
	split_refused("\\\\p{L", "without }");
	split_refused("\\\\pL", "without braces");
	split_refused("[a", "without ]");
	split_refused("[]a]", "begins with ]");
	split_refused("[a-\\\\d]", "range");
	split_refused("[z-a]", "range");
	split_refused("[a&&]", "empty character class");
	split_refused("[a-[b]]", "range");
	split_refused("(a", "without )");
	split_refused("a)", "unmatched )");
	split_refused("*a", "nothing to repeat");
	split_refused("a{70000}", "65535");
	split_refused("a{3,2}", "high to low");
	split_refused("a\\\\", "backslash");
	split_refused("\\\\x{110000}", "Unicode");
	split_refused("\\\\ud800", "Unicode");
	split_refused("a\\u0000b", "NUL");
	/* Bombs are refused when they are compiled. */
	split_refused("((((a{1000}){1000}){1000}){1000})", "too large");
	char groups[4096] = "";
	memset(groups, '(', 2000);
	memset(groups + 2000, ')', 2000);
	split_refused(groups, "nested too deeply");
	memset(groups, '[', 2000);
	memset(groups + 2000, ']', 2000);
	split_refused(groups, "nested too deeply");
}

/* A pattern that backtracks for ever fails the one text, not the tokenizer. */
static void test_regex_that_explodes(void **state)
{
	(void)state;
	struct tokenizer *t;
	struct ids ids = { 0 };
	char text[64];
	assert_int_equal(load("{'pre_tokenizer':{'type':'Split','pattern':{'Regex':'(a+)+$'},'"
			      "behavior':'Isolated',"
			      "'invert':false}," BPE "}",
			      &t),
			 VB_OK);
	memset(text, 'a', sizeof text);
	text[sizeof text - 1] = 'b';
	assert_int_equal(tokenizer_encode(t, text, sizeof text, 0, &ids), VB_ELIMIT);
	assert_int_equal(ids.n, 0);
	assert_int_equal(tokenizer_encode(t, "aab", 3, 0, &ids), VB_OK);
	assert_int_equal(ids.n, 2);
	ids_fini(&ids);
	tokenizer_destroy(&t);
}

static void test_steps(void **state)
{
	(void)state;
	refused("{'normalizer':{'type':'Magic'}," BPE "}", VB_EUNSUPPORTED, "Magic");
	refused("{'normalizer':{}," BPE "}", VB_EFORMAT, "type");
	refused("{'normalizer':[]," BPE "}", VB_EFORMAT, "object");
	refused("{'normalizer':{'type':'Sequence','normalizers':{}}," BPE "}", VB_EFORMAT,
		"normalizers");
	refused("{'normalizer':{'type':'Prepend'}," BPE "}", VB_EFORMAT, "prepend");
	refused("{'normalizer':{'type':'Replace','pattern':'a','content':'b'}," BPE "}", VB_EFORMAT,
		"pattern");
	refused("{'pre_tokenizer':{'type':'UnicodeScripts'}," BPE "}", VB_EUNSUPPORTED,
		"UnicodeScripts");
	refused("{'pre_tokenizer':{'type':'Split','pattern':{'String':'a'},'behavior':'Sideways'}"
		"," BPE "}",
		VB_EUNSUPPORTED, "Sideways");
	refused("{'pre_tokenizer':{'type':'Metaspace','replacement':'ab'}," BPE "}", VB_EFORMAT,
		"one character");
	refused("{'pre_tokenizer':{'type':'Metaspace','replacement':'_','prepend_scheme':'last'}"
		"," BPE "}",
		VB_EUNSUPPORTED, "last");
	refused("{'pre_tokenizer':{'type':'Metaspace','replacement':'_','prepend_scheme':'first',"
		"'add_prefix_space':false}," BPE "}",
		VB_EFORMAT, "contradiction");
	refused("{'pre_tokenizer':{'type':'FixedLength','length':0}," BPE "}", VB_EFORMAT,
		"length");
	refused("{'decoder':{'type':'Morse'}," BPE "}", VB_EUNSUPPORTED, "Morse");
	refused("{'decoder':{'type':'Strip','content':'','start':1,'stop':0}," BPE "}", VB_EFORMAT,
		"one character");
	refused("{'decoder':{'type':'Strip','content':' ','start':-1,'stop':0}," BPE "}",
		VB_EFORMAT, "start");
	refused("{'decoder':{'type':'BPEDecoder','suffix':''}," BPE "}", VB_EUNSUPPORTED, "suffix");
	refused("{'post_processor':{'type':'Stamp'}," BPE "}", VB_EUNSUPPORTED, "Stamp");
}

/* Steps within steps within steps. */
static void test_nesting(void **state)
{
	(void)state;
	struct buf json;
	buf_init(&json, 1 << 20);
	for (int depth = 20; depth <= 1000; depth += 980) {
		buf_clear(&json);
		assert_int_equal(buf_puts(&json, "{'pre_tokenizer':"), VB_OK);
		for (int i = 0; i < depth; i++)
			assert_int_equal(buf_puts(&json, "{'type':'Sequence','pretokenizers':["),
					 VB_OK);
		assert_int_equal(buf_puts(&json, "{'type':'WhitespaceSplit'}"), VB_OK);
		for (int i = 0; i < depth; i++)
			assert_int_equal(buf_puts(&json, "]}"), VB_OK);
		assert_int_equal(buf_puts(&json, "," BPE "}"), VB_OK);
		if (depth > 100)
			refused(json.data, VB_EFORMAT, "nested deeper");
		else
			TAKEN(json.data, "ab a", 2, 0);
	}
	buf_clear(&json);
	assert_int_equal(buf_puts(&json, "{'normalizer':{'type':'Sequence','normalizers':["),
			 VB_OK);
	for (int i = 0; i < 100; i++)
		assert_int_equal(buf_puts(&json, "{'type':'NFC'},"), VB_OK);
	assert_int_equal(buf_puts(&json, "{'type':'NFC'}]}," BPE "}"), VB_OK);
	refused(json.data, VB_EUNSUPPORTED, "steps");
	buf_fini(&json);
}

static void test_charsmap(void **state)
{
	(void)state;
#define MAP(text) "{'normalizer':{'type':'Precompiled','precompiled_charsmap':" text "}," BPE "}"
	refused(MAP("null"), VB_EFORMAT, "precompiled_charsmap");
	refused(MAP("''"), VB_EFORMAT, "truncated");
	refused(MAP("'AAA'"), VB_EFORMAT, "base64");
	refused(MAP("'AA!A'"), VB_EFORMAT, "base64");
	refused(MAP("'AAAA'"), VB_EFORMAT, "truncated");
	refused(MAP("'AAAAAA=='"), VB_EFORMAT, "truncated");     /* a trie of no units */
	refused(MAP("'/////wAAAAA='"), VB_EFORMAT, "truncated"); /* a trie of 4 GiB */
	refused(MAP("'BAAAAAAAAACA'"), VB_EFORMAT, "UTF-8");
	TAKEN(MAP("'BAAAAP////8='"), "ab", 2); /* offsets that leave the trie */
	TAKEN(MAP("'BAAAAAAAAAA='"), "ab", 2);
#undef MAP
}

static void test_unigram(void **state)
{
	(void)state;
#define VOCAB(v) "{'model':{'type':'Unigram'," v "}}"
	refused(VOCAB("'vocab':[]"), VB_EFORMAT, "empty");
	refused(VOCAB("'vocab':{}"), VB_EFORMAT, "array");
	refused(VOCAB("'vocab':[['a']]"), VB_EFORMAT, "entry 0");
	refused(VOCAB("'vocab':[['a','b']]"), VB_EFORMAT, "entry 0");
	refused(VOCAB("'vocab':[['a',NaN]]"), VB_EFORMAT, "JSON");
	refused(VOCAB("'vocab':[['a',-1e999]]"), VB_EFORMAT, "");
	refused(VOCAB("'vocab':[['a',0],['a',1]]"), VB_EFORMAT, "twice");
	refused(VOCAB("'unk_id':1,'vocab':[['a',0]]"), VB_EFORMAT, "unk_id");
	refused(VOCAB("'unk_id':-1,'vocab':[['a',0]]"), VB_EFORMAT, "unk_id");
	TAKEN(VOCAB("'unk_id':0,'vocab':[['?',-1e308],['a',-1e308],['aa',-1e308]]"), "aabba", 2, 0,
	      1);
	/* Without an unknown token, text that has none of the vocabulary's characters fails, and
	 * only that. */
	struct tokenizer *t;
	struct ids ids = { 0 };
	assert_int_equal(load(VOCAB("'vocab':[['a',0]]"), &t), VB_OK);
	assert_int_equal(tokenizer_encode(t, "ab", 2, 0, &ids), VB_EFORMAT);
	assert_int_equal(ids.n, 0);
	assert_int_equal(tokenizer_encode(t, "aa", 2, 0, &ids), VB_OK);
	assert_int_equal(ids.n, 2);
	ids_fini(&ids);
	tokenizer_destroy(&t);
#undef VOCAB
	/* Byte fallback that lacks a byte gives the unknown token. */
	TAKEN("{'model':{'type':'BPE','byte_fallback':true,'unk_token':'?','vocab':{'?':0,'<0xC3>':"
	      "1,'<0xA9>':2,"
	      "'<0x63>':3},'merges':[]}}",
	      "\xc3\xa9\xc3\xa8"
	      "c",
	      1, 2, 3, 0);
}

static void test_post_processor(void **state)
{
	(void)state;
#define POST(p) "{'post_processor':" p "," BPE "}"
#define A "{'Sequence':{'id':'A','type_id':0}}"
#define X "{'SpecialToken':{'id':'x','type_id':0}}"
#define TEMPLATE(single, tokens)                                                                   \
	POST("{'type':'TemplateProcessing','single':[" single "],'special_tokens':{" tokens "}}")
	refused(TEMPLATE(X "," A, "'x':{'ids':[99]}"), VB_EFORMAT, "out of range");
	refused(TEMPLATE(X "," A, "'x':{'ids':[-1]}"), VB_EFORMAT, "out of range");
	refused(TEMPLATE(X "," A, "'y':{'ids':[1]}"), VB_EFORMAT, "does not define");
	refused(TEMPLATE(X, "'x':{'ids':[1]}"), VB_EUNSUPPORTED, "once");
	refused(TEMPLATE(A "," A, ""), VB_EUNSUPPORTED, "once");
	refused(TEMPLATE("{'Sequence':{'id':'B'}}", ""), VB_EUNSUPPORTED, "once");
	refused(TEMPLATE("3", ""), VB_EFORMAT, "piece 0");
	refused(POST("{'type':'BertProcessing','cls':['a',0]}"), VB_EFORMAT, "sep");
	refused(POST("{'type':'Sequence','processors':[{'type':'BertProcessing','cls':['a',0],'sep'"
		     ":['a',0]},"
		     "{'type':'BertProcessing','cls':['a',0],'sep':['a',0]}]}"),
		VB_EUNSUPPORTED, "two");
#undef POST
#undef A
#undef X
#undef TEMPLATE
}

/* A decoder that would cut more than there is. */
static void test_strip_all(void **state)
{
	(void)state;
	struct tokenizer *t;
	struct buf out;
	buf_init(&out, 1000);
	assert_int_equal(
		load("{'decoder':{'type':'Strip','content':'a','start':9,'stop':2000000000}," BPE
		     "}",
		     &t),
		VB_OK);
	assert_int_equal(tokenizer_decode(t, (const int32_t[]){ 0, 2, 0, 1 }, 4, false, &out),
			 VB_OK);
	assert_string_equal(out.data, "bb");
	assert_int_equal(tokenizer_decode(t, (const int32_t[]){ 3 }, 1, false, &out), VB_EINVAL);
	assert_int_equal(tokenizer_decode(t, (const int32_t[]){ -1 }, 1, false, &out), VB_EINVAL);
	buf_fini(&out);
	tokenizer_destroy(&t);
}

static void config_refused(const char *config, const char *part)
{
	struct tokenizer *t = NULL;
	int rc = load_with("{" BPE "}", config, &t);
	if (rc != VB_EFORMAT || !strstr(vb_errmsg(), part))
		fail_msg("%s: %s: \"%s\"", config, vb_status_name(rc), vb_errmsg());
	assert_null(t);
}

static void test_config(void **state)
{
	(void)state;
	config_refused("[]", "object");
	config_refused("{'added_tokens_decoder':[]}", "added_tokens_decoder");
	config_refused("{'added_tokens_decoder':{'x':{'content':'x'}}}", "bad id");
	config_refused("{'added_tokens_decoder':{'-1':{'content':'x'}}}", "bad id");
	config_refused("{'added_tokens_decoder':{'99999999999999999999':{'content':'x'}}}",
		       "bad id");
	config_refused("{'added_tokens_decoder':{'1':{'content':'x'}}}", "one id");
	config_refused("{'added_tokens_decoder':{'3':3}}", "added token");
	config_refused("{'chat_template':3}", "chat_template");
	config_refused("{'add_bos_token':true}", "bos_token");
	config_refused("{'add_bos_token':true,'bos_token':'zz'}", "bos_token");
	config_refused("{'add_eos_token':1,'eos_token':'a'}", "add_eos_token");
}

/* Every n-th allocation fails, n rising until all succeed: a clean error each time. */
static void test_torture(void **state)
{
	(void)state;
	static const char *const files[] = {
		"{'normalizer':{'type':'Sequence','normalizers':[{'type':'NFC'},{'type':'Replace','"
		"pattern':{'Regex':"
		"'\\\\s+'},'content':'b'},{'type':'Prepend','prepend':'a'}]},'pre_tokenizer':{'"
		"type':'Sequence',"
		"'pretokenizers':[{'type':'Digits','individual_digits':true},{'type':'Metaspace','"
		"replacement':'_'},"
		"{'type':'Split','pattern':{'Regex':'[ab&&[^b]]+'},'behavior':'MergedWithNext','"
		"invert':false}]},"
		"'decoder':{'type':'Sequence','decoders':[{'type':'Replace','pattern':{'String':'"
		"ab'},'content':'x'},"
		"{'type':'ByteFallback'},{'type':'Fuse'},{'type':'Strip','content':' "
		"','start':1,'stop':1}]},"
		"'added_tokens':[{'id':3,'content':'<s>','special':true},{'id':4,'content':'w','"
		"single_word':true}],"
		"'post_processor':{'type':'BertProcessing','cls':['a',0],'sep':['b',1]}," BPE "}",
		"{'pre_tokenizer':{'type':'ByteLevel'},'decoder':{'type':'ByteLevel'}," UNIGRAM "}",
		"{'decoder':{'type':'WordPiece','prefix':'##'},'model':{'type':'WordPiece','unk_"
		"token':'u',"
		"'continuing_subword_prefix':'##','max_input_chars_per_word':10,'vocab':{'u':0,'a':"
		"1,'##b':2}}}",
	};
	static const char config[] =
		"{'added_tokens_decoder':{'9':{'content':'<e>','special':true}},'eos_token':'<e>',"
		"'add_eos_token':true,'chat_template':'x'}";
	const char *text = "ab \xc3\xa9 1w w<s>aab";
	for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
		bool done = false;
		for (uint64_t n = 1; !done && n < 5000; n++) {
			struct tokenizer *t = NULL;
			struct ids ids = { 0 };
			struct buf out;
			buf_init(&out, 1000);
			mem_fail_at(n, false);
			int rc = load_with(files[f], config, &t);
			if (rc == VB_OK)
				rc = tokenizer_encode(t, text, strlen(text),
						      TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL,
						      &ids);
			if (rc == VB_OK)
				rc = tokenizer_decode(t, ids.id, ids.n, false, &out);
			if (rc == VB_OK)
				rc = tokenizer_token_bytes(t, 0, &out);
			mem_fail_at(0, false);
			if (rc != VB_OK && rc != VB_ENOMEM)
				fail_msg("file %zu, allocation %llu: %s: %s", f,
					 (unsigned long long)n, vb_status_name(rc), vb_errmsg());
			done = rc == VB_OK;
			tokenizer_destroy(&t);
			ids_fini(&ids);
			buf_fini(&out);
		}
		assert_true(done);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_not_a_tokenizer), cmocka_unit_test(test_ids),
		cmocka_unit_test(test_merges),          cmocka_unit_test(test_long_token),
		cmocka_unit_test(test_added_tokens),    cmocka_unit_test(test_many_added_tokens),
		cmocka_unit_test(test_regexes),         cmocka_unit_test(test_regex_that_explodes),
		cmocka_unit_test(test_steps),           cmocka_unit_test(test_nesting),
		cmocka_unit_test(test_charsmap),        cmocka_unit_test(test_unigram),
		cmocka_unit_test(test_post_processor),  cmocka_unit_test(test_strip_all),
		cmocka_unit_test(test_config),          cmocka_unit_test(test_torture),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
