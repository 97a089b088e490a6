/* The tokeniser: published vocabularies (every case of VERBATIM_TEST_DATA/tokenizers), merging
 * against a naive one, special tokens, streaming, worst cases. Components are compared with a
 * reference in tests/system/test_tokenizers.py, hostile files are in test_tokenizer_hostile.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"
#include "base/threads.h"
#include "base/utf8.h"
#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void check_ids(const struct ids *got, const json_t *want, const char *text)
{
	bool same = got->n == json_array_size(want);
	for (size_t i = 0; same && i < got->n; i++)
		same = got->id[i] == json_integer_value(json_array_get(want, i));
	if (!same) {
		print_error("text: %s\ngot:", text);
		for (size_t i = 0; i < got->n; i++)
			print_error(" %d", got->id[i]);
		print_error("\n");
		fail();
	}
}

static void check_case(const struct tokenizer *t, struct detokenizer *d, const json_t *c)
{
	const json_t *text = json_get(c, "text"), *decoded = json_get(c, "decoded");
	struct ids ids = { 0 };
	struct buf whole, steps;
	buf_init(&whole, 1 << 24);
	buf_init(&steps, 1 << 24);
	assert_int_equal(tokenizer_encode(t, json_string_value(text), json_string_length(text),
					  TOKENIZE_PARSE_SPECIAL, &ids),
			 VB_OK);
	check_ids(&ids, json_get(c, "ids"), json_string_value(text));
	assert_int_equal(tokenizer_decode(t, ids.id, ids.n, false, &whole), VB_OK);
	for (size_t i = 0; i < ids.n; i++)
		assert_int_equal(detokenizer_push(d, ids.id[i], &steps), VB_OK);
	assert_int_equal(detokenizer_flush(d, &steps), VB_OK);
	assert_int_equal(whole.len, steps.len);
	if (whole.len)
		assert_memory_equal(whole.data, steps.data, whole.len);
	if (decoded) {
		assert_int_equal(whole.len, json_string_length(decoded));
		if (whole.len)
			assert_memory_equal(whole.data, json_string_value(decoded), whole.len);
	}
	ids_fini(&ids);
	buf_fini(&whole);
	buf_fini(&steps);
}

static void check_model(const char *data, const char *name)
{
	char path[4096], line[1 << 16];
	struct tokenizer *t;
	struct detokenizer *d;
	size_t n = 0;
	snprintf(path, sizeof path, "%s/tokenizers/%s", data, name);
	if (tokenizer_open(&t, path) != VB_OK)
		fail_msg("%s", vb_errmsg());
	assert_int_equal(detokenizer_create(&d, t, false), VB_OK);
	snprintf(path, sizeof path, "%s/tokenizers/%s/cases.jsonl", data, name);
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	for (; fgets(line, sizeof line, f); n++) {
		json_t *c;
		assert_int_equal(json_parse(&c, line, strlen(line), path), VB_OK);
		check_case(t, d, c);
		json_decref(c);
	}
	fclose(f);
	print_message("%s: %zu cases\n", name, n);
	assert_true(n > 0);
	detokenizer_destroy(&d);
	tokenizer_destroy(&t);
}

static void test_published(void **state)
{
	(void)state;
	static const char *const names[] = { "gpt-2", "deepseek-llm", "llama-spm" };
	const char *data = getenv("VERBATIM_TEST_DATA");
	if (!data) {
		print_message(
			"skipped: VERBATIM_TEST_DATA does not name a folder with tokenizers/\n");
		skip();
	}
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		check_model(data, names[i]);
}

/* JSON is written with ' for " below. */
static char *quoted(const char *json)
{
	char *text = mem_strdup(json);
	assert_non_null(text);
	for (char *c = text; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	return text;
}

static struct tokenizer *load(const char *json, const char *config)
{
	struct tokenizer *t;
	char *text = quoted(json), *config_text = quoted(config ? config : "");
	if (tokenizer_from_json(&t, text, strlen(text), config ? config_text : NULL,
				strlen(config_text), "t.json") != VB_OK)
		fail_msg("%s", vb_errmsg());
	mem_free(text);
	mem_free(config_text);
	return t;
}

static void expect(const struct tokenizer *t, const char *text, unsigned flags, size_t n,
		   const int32_t *want)
{
	struct ids ids = { 0 };
	assert_int_equal(tokenizer_encode(t, text, strlen(text), flags, &ids), VB_OK);
	bool same = ids.n == n && (!n || memcmp(ids.id, want, n * sizeof *want) == 0);
	if (!same) {
		print_error("text: %s\ngot:", text);
		for (size_t i = 0; i < ids.n; i++)
			print_error(" %d", ids.id[i]);
		print_error("\n");
		fail();
	}
	ids_fini(&ids);
}

#define EXPECT(t, text, flags, ...)                                                                \
	expect(t, text, flags, sizeof((int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t),               \
	       (int32_t[]){ __VA_ARGS__ })

/* ---- merging ---- */

#define N_LETTERS 3
#define N_MERGES 60

/* A vocabulary of random merges over three letters. */
struct random_bpe {
	char token[N_LETTERS + N_MERGES][64];
	int left[N_MERGES], right[N_MERGES];
	int n_tokens;
};

static void make_random_bpe(struct random_bpe *r, uint64_t seed)
{
	r->n_tokens = N_LETTERS;
	for (int i = 0; i < N_LETTERS; i++)
		snprintf(r->token[i], sizeof r->token[i], "%c", 'a' + i);
	for (uint64_t draw = 0; r->n_tokens < N_LETTERS + N_MERGES; draw += 2) {
		uint32_t n = (uint32_t)r->n_tokens;
		int left = (int)(rng_u32(seed, RNG_TEST, draw, 0) % n),
		    right = (int)(rng_u32(seed, RNG_TEST, draw, 1) % n);
		char joined[130];
		snprintf(joined, sizeof joined, "%s%s", r->token[left], r->token[right]);
		bool known = strlen(joined) > 40;
		for (int i = 0; i < r->n_tokens; i++)
			known |= strcmp(r->token[i], joined) == 0;
		if (known)
			continue;
		int k = r->n_tokens - N_LETTERS;
		r->left[k] = left;
		r->right[k] = right;
		memcpy(r->token[r->n_tokens++], joined, strlen(joined) + 1);
	}
}

static struct tokenizer *load_random_bpe(const struct random_bpe *r)
{
	struct buf json;
	buf_init(&json, 1 << 20);
	assert_int_equal(buf_puts(&json, "{'model':{'type':'BPE','vocab':{"), VB_OK);
	for (int i = 0; i < r->n_tokens; i++)
		assert_int_equal(buf_printf(&json, "%s'%s':%d", i ? "," : "", r->token[i], i),
				 VB_OK);
	assert_int_equal(buf_puts(&json, "},'merges':["), VB_OK);
	for (int i = 0; i < N_MERGES; i++)
		assert_int_equal(buf_printf(&json, "%s'%s %s'", i ? "," : "", r->token[r->left[i]],
					    r->token[r->right[i]]),
				 VB_OK);
	assert_int_equal(buf_puts(&json, "]}}"), VB_OK);
	struct tokenizer *t = load(json.data, NULL);
	buf_fini(&json);
	return t;
}

/* The definition: the lowest rank first, the leftmost of equals. */
static size_t merge_naively(const struct random_bpe *r, int32_t *sym, size_t n)
{
	for (;;) {
		int best_rank = N_MERGES;
		size_t best = 0;
		for (size_t i = 0; i + 1 < n; i++)
			for (int k = 0; k < best_rank; k++)
				if (r->left[k] == sym[i] && r->right[k] == sym[i + 1]) {
					best_rank = k;
					best = i;
				}
		if (best_rank == N_MERGES)
			return n;
		sym[best] = N_LETTERS + best_rank;
		n--;
		memmove(sym + best + 1, sym + best + 2, (n - best - 1) * sizeof *sym);
	}
}

/* Short words are merged by scanning, long ones with a heap; whole tokens are not merged at all. */
static void test_merging(void **state)
{
	(void)state;
	static struct random_bpe r;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		make_random_bpe(&r, seed);
		struct tokenizer *t = load_random_bpe(&r);
		for (uint64_t round = 0; round < 60; round++) {
			char text[201];
			int32_t want[200];
			size_t n = 1 + rng_u32(seed, RNG_TEST, round, 100) % (round % 2 ? 200 : 30);
			for (size_t i = 0; i < n; i++) {
				want[i] = (int32_t)(rng_u32(seed, RNG_TEST, round,
							    1000 + (uint32_t)i) %
						    N_LETTERS);
				text[i] = (char)('a' + want[i]);
			}
			text[n] = '\0';
			expect(t, text, 0, merge_naively(&r, want, n), want);
		}
		for (int i = 0; i < r.n_tokens; i++) {
			int32_t want[64];
			size_t n = strlen(r.token[i]);
			for (size_t k = 0; k < n; k++)
				want[k] = r.token[i][k] - 'a';
			expect(t, r.token[i], 0, merge_naively(&r, want, n), want);
		}
		tokenizer_destroy(&t);
	}
}

/* ---- special tokens and tokenizer_config.json ---- */

#define SMALL                                                                                      \
	"{'added_tokens':[{'id':4,'content':'<s>','special':true},"                                \
	"{'id':5,'content':'</s>','special':true},{'id':6,'content':'<t>','special':false}],"      \
	"'decoder':{'type':'Fuse'},'post_processor':{'type':'TemplateProcessing','single':["       \
	"{'SpecialToken':{'id':'<s>','type_id':0}},{'Sequence':{'id':'A','type_id':0}}],"          \
	"'pair':[],'special_tokens':{'<s>':{'id':'<s>','ids':[4],'tokens':['<s>']}}},"             \
	"'model':{'type':'BPE','vocab':{'<':0,'s':1,'>':2,'/':3,'t':7},'merges':[]}}"

static void test_special_tokens(void **state)
{
	(void)state;
	struct tokenizer *t = load(SMALL, NULL);
	EXPECT(t, "s<s>s", TOKENIZE_PARSE_SPECIAL, 1, 4, 1);
	EXPECT(t, "s<s>s", 0, 1, 0, 1, 2, 1);
	EXPECT(t, "<t></s>", 0, 6, 0, 3, 1, 2);
	EXPECT(t, "<t></s>", TOKENIZE_PARSE_SPECIAL | TOKENIZE_ADD_SPECIAL, 4, 6, 5);
	EXPECT(t, "", TOKENIZE_ADD_SPECIAL, 4);
	expect(t, "", 0, 0, NULL);
	assert_int_equal(tokenizer_vocab_size(t), 8);
	assert_int_equal(tokenizer_token_id(t, "<s>"), 4);
	assert_int_equal(tokenizer_token_id(t, "t"), 7);
	assert_int_equal(tokenizer_token_id(t, "nothing"), -1);
	assert_string_equal(tokenizer_token(t, 6), "<t>");
	assert_null(tokenizer_token(t, 8));
	assert_null(tokenizer_token(t, -1));
	assert_true(tokenizer_is_special(t, 4) && !tokenizer_is_special(t, 6) &&
		    !tokenizer_is_special(t, 99));
	assert_int_equal(tokenizer_bos(t), -1);
	assert_int_equal(tokenizer_eos(t), -1);
	assert_null(tokenizer_chat_template(t));
	struct buf out;
	buf_init(&out, 100);
	assert_int_equal(tokenizer_decode(t, (const int32_t[]){ 4, 1, 6, 5 }, 4, false, &out),
			 VB_OK);
	assert_string_equal(out.data, "<s>s<t></s>");
	buf_clear(&out);
	assert_int_equal(tokenizer_decode(t, (const int32_t[]){ 4, 1, 6, 5 }, 4, true, &out),
			 VB_OK);
	assert_string_equal(out.data, "s<t>");
	assert_int_equal(tokenizer_decode(t, (const int32_t[]){ 8 }, 1, true, &out), VB_EINVAL);
	buf_fini(&out);
	tokenizer_destroy(&t);
}

static void test_config(void **state)
{
	(void)state;
	struct tokenizer *t = load(
		SMALL, "{'bos_token':'<s>','eos_token':{'content':'</s>'},'chat_template':'x'}");
	assert_int_equal(tokenizer_bos(t), 4);
	assert_int_equal(tokenizer_eos(t), 5);
	assert_string_equal(tokenizer_chat_template(t), "x");
	EXPECT(t, "s", TOKENIZE_ADD_SPECIAL, 4, 1); /* as the post-processor says */
	tokenizer_destroy(&t);
	t = load(
		SMALL,
		"{'bos_token':'<s>','eos_token':'</s>','add_bos_token':true,'add_eos_token':true}");
	EXPECT(t, "s", TOKENIZE_ADD_SPECIAL, 4, 1, 5);
	EXPECT(t, "s", 0, 1);
	tokenizer_destroy(&t);
	t = load(SMALL, "{'bos_token':'<s>','add_bos_token':false}");
	EXPECT(t, "s", TOKENIZE_ADD_SPECIAL, 1);
	tokenizer_destroy(&t);
	/* Another token, another flag of a known one, and a token that its role makes special. */
	t = load(
		SMALL,
		"{'added_tokens_decoder':{'8':{'content':'ss','special':true},'6':{'content':'<t>',"
		"'special':true}},'eos_token':'/','pad_token':'never trained'}");
	EXPECT(t, "ss<t>/", TOKENIZE_PARSE_SPECIAL, 8, 6, 3);
	EXPECT(t, "ss<t>/", 0, 1, 1, 0, 7, 2, 3);
	assert_true(tokenizer_is_special(t, 8) && tokenizer_is_special(t, 6) &&
		    tokenizer_is_special(t, 3));
	assert_int_equal(tokenizer_eos(t), 3);
	tokenizer_destroy(&t);
	t = load(SMALL, "{'additional_special_tokens':['/'],'extra_special_tokens':{'image_token':"
			"{'content':'t','lstrip':true}}}");
	EXPECT(t, "s t/", TOKENIZE_PARSE_SPECIAL, 1, 7, 3);
	assert_true(tokenizer_is_special(t, 3) && tokenizer_is_special(t, 7));
	tokenizer_destroy(&t);
	t = load(SMALL, "{'chat_template':[{'name':'tool_use','template':'y'},{'name':'default','"
			"template':'z'}]}");
	assert_string_equal(tokenizer_chat_template(t), "z");
	tokenizer_destroy(&t);
	t = load(SMALL, "{'chat_template':[{'name':'tool_use','template':'y'}]}");
	assert_null(tokenizer_chat_template(t));
	tokenizer_destroy(&t);
}

static void write_file(const char *dir, const char *name, const char *text)
{
	char path[512];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	char *json = quoted(text);
	assert_true(fputs(json, f) >= 0);
	mem_free(json);
	fclose(f);
}

static void test_open(void **state)
{
	(void)state;
	char dir[] = "/tmp/verbatim-tokenizer-XXXXXX", path[512];
	static const char *const names[] = { "tokenizer.json", "tokenizer_config.json",
					     "chat_template.jinja" };
	struct tokenizer *t;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(tokenizer_open(&t, dir), VB_ENOTFOUND);
	assert_null(t);
	write_file(dir, names[0], SMALL);
	assert_int_equal(tokenizer_open(&t, dir), VB_OK);
	assert_null(tokenizer_chat_template(t));
	tokenizer_destroy(&t);
	write_file(dir, names[1], "{'chat_template':'from the configuration','bos_token':'<s>'}");
	assert_int_equal(tokenizer_open(&t, dir), VB_OK);
	assert_string_equal(tokenizer_chat_template(t), "from the configuration");
	assert_int_equal(tokenizer_bos(t), 4);
	tokenizer_destroy(&t);
	write_file(dir, names[2], "a file of its own\n");
	assert_int_equal(tokenizer_open(&t, dir), VB_OK);
	assert_string_equal(tokenizer_chat_template(t), "a file of its own\n");
	tokenizer_destroy(&t);
	write_file(dir, names[1], "{");
	assert_int_equal(tokenizer_open(&t, dir), VB_EFORMAT);
	assert_non_null(strstr(vb_errmsg(), "tokenizer_config.json"));
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

/* ---- bytes ---- */

/* A byte-level vocabulary of the 256 bytes, with an offset so that no id is its byte. */
static struct tokenizer *load_bytes(const char *normalizer)
{
	struct buf json;
	buf_init(&json, 1 << 20);
	assert_int_equal(
		buf_printf(&json,
			   "{'normalizer':%s,'pre_tokenizer':{'type':'ByteLevel','add_prefix_space'"
			   ":false},"
			   "'decoder':{'type':'ByteLevel'},'model':{'type':'BPE','vocab':{",
			   normalizer),
		VB_OK);
	unsigned other = 0x100;
	for (unsigned i = 0; i < 256; i++) {
		char c[8] = "";
		bool itself = (i >= 0x21 && i <= 0x7e) || (i >= 0xa1 && i != 0xad);
		utf8_write(itself ? i : other++, c);
		if (i < 0x80) /* quotes and the backslash among them */
			snprintf(c, sizeof c, "\\u%04x", itself ? i : other - 1);
		assert_int_equal(buf_printf(&json, "%s'%s':%u", i ? "," : "", c, i + 1000), VB_OK);
	}
	assert_int_equal(buf_puts(&json, "},'merges':[]}}"), VB_OK);
	struct tokenizer *t = load(json.data, NULL);
	buf_fini(&json);
	return t;
}

static void test_bytes(void **state)
{
	(void)state;
	struct tokenizer *t = load_bytes("null");
	struct ids ids = { 0 };
	struct buf out;
	buf_init(&out, 100);
	/* Each maximal bad part is one U+FFFD: a cut-off sequence, a lone byte, a surrogate's
	 * three. */
	static const char bad[] = "a\xe4\xbd"
				  "b\xff\xed\xa0\x80";
	assert_int_equal(tokenizer_encode(t, bad, sizeof bad - 1, 0, &ids), VB_OK);
	assert_int_equal(ids.n, 1 + 3 + 1 + 3 + 9);
	assert_int_equal(tokenizer_decode(t, ids.id, ids.n, false, &out), VB_OK);
	assert_string_equal(out.data, "a\xef\xbf\xbd"
				      "b\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
	/* NUL is a character like others. */
	ids.n = 0;
	assert_int_equal(tokenizer_encode(t, "\0a", 2, 0, &ids), VB_OK);
	assert_int_equal(ids.n, 2);
	assert_int_equal(ids.id[0], 1000);
	for (int32_t i = 0; i < 256; i++) {
		buf_clear(&out);
		assert_int_equal(tokenizer_token_bytes(t, 1000 + i, &out), VB_OK);
		assert_int_equal(out.len, 1);
		assert_int_equal((uint8_t)out.data[0], i);
	}
	buf_clear(&out);
	assert_int_equal(tokenizer_token_bytes(t, 5, &out), VB_EINVAL);
	ids_fini(&ids);
	buf_fini(&out);
	tokenizer_destroy(&t);
}

/* Bytes of random ids come out at once where they can, never half a character, and without an
 * allocation once warm. */
static void test_streaming(void **state)
{
	(void)state;
	struct tokenizer *t = load_bytes("null");
	struct detokenizer *d;
	struct buf out, whole;
	int32_t id[2000];
	buf_init(&out, 1 << 16);
	buf_init(&whole, 1 << 16);
	assert_int_equal(detokenizer_create(&d, t, false), VB_OK);
	assert_int_equal(detokenizer_push(d, 1000 + 0xe4, &out), VB_OK);
	assert_int_equal(detokenizer_push(d, 1000 + 0xbd, &out), VB_OK);
	assert_int_equal(out.len, 0);
	assert_int_equal(detokenizer_push(d, 1000 + 0xa0, &out), VB_OK);
	assert_string_equal(out.data, "\xe4\xbd\xa0");
	assert_int_equal(detokenizer_push(d, 1000 + 0xe4, &out), VB_OK);
	assert_int_equal(detokenizer_flush(d, &out), VB_OK);
	assert_string_equal(out.data, "\xe4\xbd\xa0\xef\xbf\xbd");
	assert_int_equal(detokenizer_push(d, 1000 + 0xe4, &out), VB_OK);
	detokenizer_reset(d); /* what was held back is forgotten */
	buf_clear(&out);
	assert_int_equal(detokenizer_push(d, 1000 + 'x', &out), VB_OK);
	assert_string_equal(out.data, "x");
	detokenizer_reset(d);
	for (size_t i = 0; i < 2000; i++)
		id[i] = 1000 + (int32_t)(rng_u32(3, RNG_TEST, i, 0) % 256);
	assert_int_equal(tokenizer_decode(t, id, 2000, false, &whole), VB_OK);
	for (int round = 0; round < 2; round++) {
		uint64_t before = mem_count();
		buf_clear(&out);
		for (size_t i = 0; i < 2000; i++) {
			assert_int_equal(detokenizer_push(d, id[i], &out), VB_OK);
			assert_true(utf8_valid(out.data ? out.data : "", out.len));
		}
		assert_int_equal(detokenizer_flush(d, &out), VB_OK);
		assert_int_equal(out.len, whole.len);
		assert_memory_equal(out.data, whole.data, out.len);
		assert_true(round == 0 || mem_count() == before);
	}
	buf_fini(&out);
	buf_fini(&whole);
	detokenizer_destroy(&d);
	tokenizer_destroy(&t);
}

/* ---- worst cases ---- */

/* Of this thread, whatever else the machine does. */
static double cpu_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of computing for encoding n bytes that repeat `unit`. */
static double seconds_for(const struct tokenizer *t, const char *unit, size_t n)
{
	struct ids ids = { 0 };
	size_t len = strlen(unit);
	char *text = mem_alloc(n);
	for (size_t i = 0; i < n; i++)
		text[i] = unit[i % len];
	double start = cpu_s();
	assert_int_equal(tokenizer_encode(t, text, n - n % len, 0, &ids), VB_OK);
	double seconds = cpu_s() - start;
	mem_free(text);
	ids_fini(&ids);
	return seconds;
}

/* Half a megabyte that is one word, or one run of marks. A step of quadratic cost would take
 * minutes; the bound has room for sanitizers. */
static void test_worst_cases(void **state)
{
	(void)state;
	static const char *const normalizers[] = {
		"null", "{'type':'NFC'}", "{'type':'NFKD'}", "{'type':'BertNormalizer'}",
		"{'type':'Replace','pattern':{'Regex':'\\\\s+$'},'content':''}"
	};
	static const char *const units[] = {
		"a", " ", "\xf0\x9f\x98\x80", "e\xcc\x81\xcc\xa3", "\xcc\xa3\xcc\x81", "a b", "\n"
	};
	static struct random_bpe r;
	size_t n = (size_t)1 << 19;
	for (size_t i = 0; i < sizeof normalizers / sizeof *normalizers; i++) {
		struct tokenizer *t = load_bytes(normalizers[i]);
		for (size_t k = 0; k < sizeof units / sizeof *units; k++) {
			double s = seconds_for(t, units[k], n);
			if (s > 15)
				fail_msg("normalizer %s, text of \"%s\": %.1f s", normalizers[i],
					 units[k], s);
		}
		tokenizer_destroy(&t);
	}
	make_random_bpe(&r, 5);
	struct tokenizer *t = load_random_bpe(&r);
	assert_true(seconds_for(t, "a", n) < 15 && seconds_for(t, "abcacb", n) < 15);
	tokenizer_destroy(&t);
}

/* ---- threads ---- */

struct shared_work {
	const struct tokenizer *t;
	char text[4000];
	struct ids want;
	int failures[4];
};

static void encode_shared(void *context, int index, int n_workers)
{
	struct shared_work *w = context;
	(void)n_workers;
	for (int i = 0; i < 20; i++) {
		struct ids ids = { 0 };
		int rc = tokenizer_encode(w->t, w->text, sizeof w->text, 0, &ids);
		bool same = rc == VB_OK && ids.n == w->want.n &&
			    memcmp(ids.id, w->want.id, ids.n * sizeof *ids.id) == 0;
		w->failures[index] += !same;
		ids_fini(&ids);
	}
}

static void test_threads(void **state)
{
	(void)state;
	static struct shared_work w;
	struct team *team;
	struct tokenizer *t = load_bytes("{'type':'NFC'}");
	w.t = t;
	for (size_t i = 0; i < sizeof w.text; i++)
		w.text[i] = "ab 12\n\xc3\xa9"[rng_u32(4, RNG_TEST, i, 0) % 8];
	assert_int_equal(tokenizer_encode(t, w.text, sizeof w.text, 0, &w.want), VB_OK);
	assert_int_equal(team_create(&team, 4), VB_OK);
	team_run(team, encode_shared, &w);
	for (int i = 0; i < 4; i++)
		assert_int_equal(w.failures[i], 0);
	team_destroy(&team);
	ids_fini(&w.want);
	tokenizer_destroy(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published),      cmocka_unit_test(test_merging),
		cmocka_unit_test(test_special_tokens), cmocka_unit_test(test_config),
		cmocka_unit_test(test_open),           cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_streaming),      cmocka_unit_test(test_worst_cases),
		cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
