/* normalizer.c - rewriting of text before it is cut: a list of steps, each from one buffer into the
 * other.
 *
 * Besides the text every step carries `zero`: how many of its first bytes go back to the first
 * character of the whole text. Metaspace with prepend_scheme "first" asks for that, and the answer
 * is not always what one would think (text stripped of a leading space no longer begins at the
 * beginning), so each step follows the reference's alignments.
 */
#include "text_internal.h"

#include "base/mem.h"
#include "base/status.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <utf8proc.h>

#define MAX_STEPS 64

enum norm_kind {
	NORM_NFC,
	NORM_NFD,
	NORM_NFKC,
	NORM_NFKD,
	NORM_LOWERCASE,
	NORM_STRIP,
	NORM_STRIP_ACCENTS,
	NORM_REPLACE,
	NORM_PREPEND,
	NORM_PRECOMPILED,
	NORM_NMT,
	NORM_BYTE_LEVEL,
	NORM_CLEAN_TEXT,       /* these three are */
	NORM_SPACE_CHINESE,    /* parts of */
	NORM_STRIP_NONSPACING, /* BertNormalizer */
};

/* A SentencePiece charsmap: a double-array trie of keys and the texts that replace them. */
struct charsmap {
	uint32_t *unit; /* owned */
	size_t n_units;
	char *text; /* owned; NUL-separated */
	size_t text_len;
};

struct norm_step {
	enum norm_kind kind;
	bool left, right;       /* strip */
	struct pattern pattern; /* replace */
	char *content;          /* owned; replace, prepend */
	size_t content_len;
	struct charsmap charsmap;
};

struct normalizer {
	struct norm_step *step; /* owned */
	size_t n, capacity;
};

/* ---- characters one by one ---- */

/* Unicode's full lower case has one character that becomes two. */
static int put_lower(struct buf *out, uint32_t cp)
{
	if (cp == 0x130)
		return buf_append(out, "i\xcc\x87", 3);
	return buf_put_cp(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp));
}

static bool is_bert_control(uint32_t cp)
{
	if (cp == '\t' || cp == '\n' || cp == '\r')
		return false;
	utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
	return c == UTF8PROC_CATEGORY_CC || c == UTF8PROC_CATEGORY_CF ||
	       c == UTF8PROC_CATEGORY_CO || c == UTF8PROC_CATEGORY_CS;
}

static bool is_chinese(uint32_t cp)
{
	return (cp >= 0x4e00 && cp <= 0x9fff) || (cp >= 0x3400 && cp <= 0x4dbf) ||
	       (cp >= 0x20000 && cp <= 0x2a6df) || (cp >= 0x2a700 && cp <= 0x2b73f) ||
	       (cp >= 0x2b740 && cp <= 0x2b81f) || (cp >= 0x2b920 && cp <= 0x2ceaf) ||
	       (cp >= 0xf900 && cp <= 0xfaff) || (cp >= 0x2f800 && cp <= 0x2fa1f);
}

static bool nmt_drops(uint32_t cp)
{
	return (cp >= 1 && cp <= 8) || cp == 0xb || (cp >= 0xe && cp <= 0x1f) || cp == 0x7f ||
	       cp == 0x8f || cp == 0x9f;
}

static bool nmt_is_space(uint32_t cp)
{
	return cp == 9 || cp == 0xa || cp == 0xc || cp == 0xd || cp == 0x1680 ||
	       (cp >= 0x200b && cp <= 0x200f) || cp == 0x2028 || cp == 0x2029 || cp == 0x2581 ||
	       cp == 0xfeff || cp == 0xfffd;
}

/* What the step makes of one character: appends it, or drops it (then *kept is false). */
static int put_char(const struct norm_step *st, uint32_t cp, struct buf *out, bool *kept)
{
	*kept = true;
	switch (st->kind) {
	case NORM_LOWERCASE:
		return put_lower(out, cp);
	case NORM_STRIP_ACCENTS:
		*kept = !is_mark(cp);
		break;
	case NORM_STRIP_NONSPACING:
		*kept = !is_nonspacing_mark(cp);
		break;
	case NORM_NMT:
		*kept = !nmt_drops(cp);
		cp = nmt_is_space(cp) ? ' ' : cp;
		break;
	case NORM_CLEAN_TEXT:
		*kept = !(cp == 0 || cp == 0xfffd || is_bert_control(cp));
		cp = is_space(cp) ? ' ' : cp;
		break;
	case NORM_SPACE_CHINESE:
		if (!is_chinese(cp))
			break;
		TRY(buf_putc(out, ' '));
		TRY(buf_put_cp(out, cp));
		return buf_putc(out, ' ');
	default: /* NORM_BYTE_LEVEL gives bytes, see byte_level() */
		break;
	}
	return *kept ? buf_put_cp(out, cp) : VB_OK;
}

static int map_chars(const struct norm_step *st, const char *text, size_t n, struct buf *out,
		     uint32_t *zero)
{
	uint32_t new_zero = 0;
	for (size_t i = 0; i < n;) {
		uint32_t cp;
		bool kept;
		size_t at = i;
		i += utf8_at(text + i, &cp);
		TRY(put_char(st, cp, out, &kept));
		if (at < *zero && kept)
			new_zero = (uint32_t)out->len;
	}
	*zero = new_zero;
	return VB_OK;
}

static int byte_level(const char *text, size_t n, struct buf *out, uint32_t *zero)
{
	uint32_t new_zero = 0;
	for (size_t i = 0; i < n; i++) {
		TRY(buf_put_cp(out, byte_level_char((uint8_t)text[i])));
		if (i < *zero)
			new_zero = (uint32_t)out->len;
	}
	*zero = new_zero;
	return VB_OK;
}

/* ---- Unicode normalisation ---- */

/* Sorts a run of combining marks by class, stably. Counting keeps a megabyte of marks linear;
 * utf8proc's own sort is quadratic. `spare` has room for n. */
static void sort_marks(int32_t *cp, size_t n, int32_t *spare)
{
	size_t start[257] = { 0 };
	for (size_t i = 0; i < n; i++)
		start[(uint8_t)utf8proc_get_property(cp[i])->combining_class + 1]++;
	for (int c = 1; c < 257; c++)
		start[c] += start[c - 1];
	for (size_t i = 0; i < n; i++)
		spare[start[(uint8_t)utf8proc_get_property(cp[i])->combining_class]++] = cp[i];
	memcpy(cp, spare, n * sizeof *cp);
}

static void order_marks(int32_t *cp, size_t n, int32_t *spare)
{
	for (size_t i = 0; i < n; i++) {
		size_t end = i;
		bool sorted = true;
		int before = 0;
		for (int c; end < n && (c = utf8proc_get_property(cp[end])->combining_class) != 0;
		     end++) {
			sorted &= c >= before;
			before = c;
		}
		if (!sorted)
			sort_marks(cp + i, end - i, spare);
		if (end > i)
			i = end - 1;
	}
}

static bool is_ascii(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] >= 0x80)
			return false;
	return true;
}

/* The longest decomposition of one character is 18 long (U+FDFA, compatibility). */
#define MAX_DECOMPOSED 32

static int unicode_normalize(enum norm_kind kind, struct scratch *s, const char *text, size_t n,
			     struct buf *out, uint32_t *zero)
{
	if (is_ascii(text, n))
		return buf_append(out, text, n);
	bool compose = kind == NORM_NFC || kind == NORM_NFKC;
	utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
	if (kind == NORM_NFKC || kind == NORM_NFKD)
		options |= UTF8PROC_COMPAT;
	size_t count = 0;
	for (size_t i = 0; i < n;) {
		uint32_t cp;
		i += utf8_at(text + i, &cp);
		TRY(scratch_grow(&s->code_point, &s->code_point_capacity,
				 2 * (count + MAX_DECOMPOSED), sizeof *s->code_point));
		utf8proc_ssize_t got = utf8proc_decompose_char(
			(utf8proc_int32_t)cp, s->code_point + count, MAX_DECOMPOSED, options, NULL);
		if (got < 0 || got > MAX_DECOMPOSED)
			FAIL(VB_EINTERNAL, "cannot decompose U+%04X", cp);
		count += (size_t)got;
	}
	order_marks(s->code_point, count, s->code_point + s->code_point_capacity / 2);
	if (compose) {
		utf8proc_ssize_t got = utf8proc_normalize_utf32(
			s->code_point, (utf8proc_ssize_t)count, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
		CHECK(got >= 0 && (size_t)got <= count);
		count = (size_t)got;
	}
	size_t start = out->len;
	for (size_t i = 0; i < count; i++) {
		TRY(buf_put_cp(out, (uint32_t)s->code_point[i]));
		if (i == 0 && *zero)
			*zero = (uint32_t)(out->len - start);
	}
	return VB_OK;
}

/* ---- strip, prepend, replace ---- */

static int strip(const struct norm_step *st, const char *text, size_t n, struct buf *out,
		 uint32_t *zero)
{
	size_t begin = 0, end = n;
	uint32_t cp;
	while (st->left && begin < n) {
		unsigned len = utf8_at(text + begin, &cp);
		if (!is_space(cp))
			break;
		begin += len;
	}
	while (st->right && end > begin) {
		size_t last = utf8_last(text, end);
		utf8_at(text + last, &cp);
		if (!is_space(cp))
			break;
		end = last;
	}
	*zero = *zero > begin ? (uint32_t)(*zero - begin) : 0;
	return buf_append(out, text + begin, end - begin);
}

static int replace(const struct norm_step *st, struct scratch *s, const char *text, size_t n,
		   struct buf *out, uint32_t *zero)
{
	struct regex_iter it = { 0, SIZE_MAX };
	size_t last = 0, begin, end;
	uint32_t new_zero = 0;
	bool found;
	for (;;) {
		TRY(pattern_next(&st->pattern, s, text, n, &it, &found, &begin, &end));
		if (!found)
			break;
		TRY(buf_append(out, text + last, begin - last));
		if (last < *zero)
			new_zero = (uint32_t)(out->len - (begin > *zero ? begin - *zero : 0));
		/* What is put in counts as the last character that it replaces. */
		TRY(buf_append(out, st->content, st->content_len));
		if (end && end - 1 < *zero)
			new_zero = (uint32_t)out->len;
		last = end;
	}
	if (last < *zero)
		new_zero = (uint32_t)(out->len + (*zero - last));
	*zero = new_zero;
	return buf_append(out, text + last, n - last);
}

/* ---- charsmap ---- */

/* One step of the double array, as darts-clone lays it out; false where the array is left. */
static bool unit_at(const struct charsmap *m, size_t at, uint32_t *unit)
{
	if (at >= m->n_units)
		return false;
	*unit = m->unit[at];
	return true;
}

static inline size_t unit_offset(uint32_t u)
{
	return (size_t)(u >> 10) << ((u & 1u << 9) >> 6);
}

/* The text that replaces key[0..n): that of its shortest prefix in the map, as the reference has
 * it. NULL: none. */
static const char *charsmap_find(const struct charsmap *m, const char *key, size_t n, size_t *len)
{
	uint32_t unit;
	if (!unit_at(m, 0, &unit))
		return NULL;
	size_t at = unit_offset(unit);
	for (size_t i = 0; i < n && key[i]; i++) {
		at ^= (uint8_t)key[i];
		if (!unit_at(m, at, &unit) || (unit & (1u << 31 | 0xff)) != (uint8_t)key[i])
			return NULL;
		at ^= unit_offset(unit);
		if (unit >> 8 & 1) {
			uint32_t leaf;
			if (!unit_at(m, at, &leaf))
				return NULL;
			size_t start = leaf & 0x7fffffffu;
			if (start > m->text_len || ((unsigned char)m->text[start] & 0xc0) == 0x80)
				return NULL; /* only in a map that was tampered with */
			const char *end = memchr(m->text + start, '\0', m->text_len - start);
			*len = end ? (size_t)(end - m->text) - start : m->text_len - start;
			return m->text + start;
		}
	}
	return NULL;
}

static int put_mapped(const struct charsmap *m, const char *s, size_t n, struct buf *out)
{
	size_t len;
	const char *to = charsmap_find(m, s, n, &len);
	return to ? buf_append(out, to, len) : buf_append(out, s, n);
}

/* Graphemes below 6 bytes are looked up whole, all else by character. */
static int charsmap_apply(const struct charsmap *m, const char *text, size_t n, struct buf *out,
			  uint32_t *zero)
{
	size_t start = out->len;
	uint32_t new_zero = 0;
	for (size_t i = 0; i < n;) {
		uint32_t before, cp;
		utf8proc_int32_t state = 0;
		size_t end = i + utf8_at(text + i, &before);
		while (end < n) {
			unsigned len = utf8_at(text + end, &cp);
			if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)before,
							     (utf8proc_int32_t)cp, &state))
				break;
			before = cp;
			end += len;
		}
		size_t len;
		const char *whole = end - i < 6 ? charsmap_find(m, text + i, end - i, &len) : NULL;
		if (whole) {
			TRY(buf_append(out, whole, len));
			i = end;
		}
		while (i < end) {
			size_t one = utf8_len(text[i]);
			TRY(put_mapped(m, text + i, one, out));
			i += one;
		}
		if (new_zero == 0 && *zero)
			new_zero = (uint32_t)(out->len - start);
	}
	*zero = new_zero;
	return VB_OK;
}

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static int base64_decode(const char *s, size_t n, struct buf *out, const char *where)
{
	bool ok = n % 4 == 0;
	for (size_t i = 0; ok && i < n; i += 4) {
		int pad = i + 4 < n || s[i + 3] != '=' ? 0 : s[i + 2] == '=' ? 2 : 1;
		uint32_t bits = 0;
		for (int k = 0; k < 4 - pad; k++) {
			int v = base64_value(s[i + (size_t)k]);
			ok &= v >= 0;
			bits |= (uint32_t)(v & 63) << (18 - 6 * k);
		}
		char bytes[3] = { (char)(bits >> 16), (char)(bits >> 8), (char)bits };
		TRY(buf_append(out, bytes, (size_t)(3 - pad)));
	}
	if (!ok)
		FAIL(VB_EFORMAT, "bad base64: %s: precompiled_charsmap", where);
	return VB_OK;
}

/* [u32 bytes of the trie, little endian][the trie][texts]. */
static int charsmap_parse(struct charsmap *m, const json_t *o, const char *where)
{
	const char *text;
	size_t n;
	TRY(json_need_text(o, "precompiled_charsmap", where, &text, &n));
	struct buf b;
	buf_init(&b, TEXT_MAX_BYTES);
	int rc = base64_decode(text, n, &b, where);
	TRY_TO(out, rc);
	const uint8_t *p = (const uint8_t *)b.data;
	size_t trie = b.len < 4 ? 0
				: (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 |
					  (size_t)p[3] << 24;
	if (b.len < 4 || trie > b.len - 4 || trie / 4 == 0)
		FAIL_TO(out, VB_EFORMAT,
			"truncated charsmap: %s: precompiled_charsmap of %zu bytes, trie of %zu",
			where, b.len, trie);
	m->n_units = trie / 4;
	m->text_len = b.len - 4 - 4 * m->n_units;
	m->unit = mem_alloc(4 * m->n_units);
	m->text = mem_strndup(b.data + 4 + 4 * m->n_units, m->text_len);
	if (!m->unit || !m->text)
		FAIL_TO(out, VB_ENOMEM, "out of memory: precompiled_charsmap");
	for (size_t i = 0; i < m->n_units; i++) {
		const uint8_t *u = p + 4 + 4 * i;
		m->unit[i] = (uint32_t)u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 |
			     (uint32_t)u[3] << 24;
	}
	if (!utf8_valid(m->text, m->text_len))
		FAIL_TO(out, VB_EFORMAT, "bad charsmap: %s: its texts are not UTF-8", where);
out:
	buf_fini(&b);
	return rc;
}

/* ---- the list ---- */

static int apply_step(const struct norm_step *st, struct scratch *s, const char *text, size_t n,
		      struct buf *out, uint32_t *zero)
{
	switch (st->kind) {
	case NORM_NFC:
	case NORM_NFD:
	case NORM_NFKC:
	case NORM_NFKD:
		return unicode_normalize(st->kind, s, text, n, out, zero);
	case NORM_STRIP:
		return strip(st, text, n, out, zero);
	case NORM_REPLACE:
		return replace(st, s, text, n, out, zero);
	case NORM_PREPEND:
		if (n == 0)
			return VB_OK;
		*zero += *zero ? (uint32_t)st->content_len : 0;
		TRY(buf_append(out, st->content, st->content_len));
		return buf_append(out, text, n);
	case NORM_PRECOMPILED:
		return charsmap_apply(&st->charsmap, text, n, out, zero);
	case NORM_BYTE_LEVEL:
		return byte_level(text, n, out, zero);
	default:
		return map_chars(st, text, n, out, zero);
	}
}

int normalizer_apply(const struct normalizer *nz, struct scratch *s, const char *text, size_t n,
		     const char **result, size_t *result_len, uint32_t *zero)
{
	for (size_t i = 0; i < nz->n; i++) {
		struct buf *out = &s->text[i & 1];
		buf_clear(out);
		TRY(buf_append(out, "", 0));
		TRY(apply_step(&nz->step[i], s, text, n, out, zero));
		text = out->data;
		n = out->len;
	}
	*result = text;
	*result_len = n;
	return VB_OK;
}

/* ---- loading ---- */

static int add_step(struct normalizer *nz, enum norm_kind kind, const char *where,
		    struct norm_step **out)
{
	if (nz->n == MAX_STEPS)
		FAIL(VB_EUNSUPPORTED, "unsupported normalizer: %s: more than %d steps", where,
		     MAX_STEPS);
	TRY(scratch_grow(&nz->step, &nz->capacity, nz->n + 1, sizeof *nz->step));
	*out = &nz->step[nz->n++];
	**out = (struct norm_step){ .kind = kind };
	return VB_OK;
}

static int parse_bert(struct normalizer *nz, const json_t *o, const char *where)
{
	struct norm_step *st = NULL;
	bool clean, chinese, lower, accents;
	TRY(json_get_bool(o, "clean_text", where, true, &clean));
	TRY(json_get_bool(o, "handle_chinese_chars", where, true, &chinese));
	TRY(json_get_bool(o, "lowercase", where, true, &lower));
	TRY(json_get_bool(o, "strip_accents", where, lower, &accents));
	if (clean)
		TRY(add_step(nz, NORM_CLEAN_TEXT, where, &st));
	if (chinese)
		TRY(add_step(nz, NORM_SPACE_CHINESE, where, &st));
	if (accents) {
		TRY(add_step(nz, NORM_NFD, where, &st));
		TRY(add_step(nz, NORM_STRIP_NONSPACING, where, &st));
	}
	return lower ? add_step(nz, NORM_LOWERCASE, where, &st) : VB_OK;
}

static int copy_text(const json_t *o, const char *key, const char *where, char **out, size_t *len)
{
	const char *s;
	TRY(json_need_text(o, key, where, &s, len));
	*out = mem_strndup(s, *len);
	return *out ? VB_OK : VB_ENOMEM;
}

static int parse_options(struct norm_step *st, const json_t *o, const char *where)
{
	switch (st->kind) {
	case NORM_STRIP:
		TRY(json_get_bool(o, "strip_left", where, true, &st->left));
		return json_get_bool(o, "strip_right", where, true, &st->right);
	case NORM_REPLACE:
		TRY(pattern_parse(&st->pattern, o, "Replace", where));
		return copy_text(o, "content", where, &st->content, &st->content_len);
	case NORM_PREPEND:
		return copy_text(o, "prepend", where, &st->content, &st->content_len);
	case NORM_PRECOMPILED:
		return charsmap_parse(&st->charsmap, o, where);
	default:
		return VB_OK;
	}
}

static int parse_into(struct normalizer *nz, const json_t *o, const char *where)
{
	static const struct {
		const char *name;
		enum norm_kind kind;
	} kinds[] = {
		{ "NFC", NORM_NFC },
		{ "NFD", NORM_NFD },
		{ "NFKC", NORM_NFKC },
		{ "NFKD", NORM_NFKD },
		{ "Lowercase", NORM_LOWERCASE },
		{ "Strip", NORM_STRIP },
		{ "StripAccents", NORM_STRIP_ACCENTS },
		{ "Replace", NORM_REPLACE },
		{ "Prepend", NORM_PREPEND },
		{ "Precompiled", NORM_PRECOMPILED },
		{ "Nmt", NORM_NMT },
		{ "ByteLevel", NORM_BYTE_LEVEL },
	};
	const char *type;
	TRY(json_component(o, "normalizer", where, &type));
	if (strcmp(type, "Sequence") == 0) {
		const json_t *list = json_get(o, "normalizers"), *v;
		size_t i;
		if (!json_is_array(list))
			FAIL(VB_EFORMAT,
			     "wrong type: %s: key \"normalizers\": expected an array, found %s",
			     where, json_kind(list));
		json_array_foreach (list, i, v)
			TRY(parse_into(nz, v, where)); /* as deep as JSON may nest */
		return VB_OK;
	}
	if (strcmp(type, "BertNormalizer") == 0)
		return parse_bert(nz, o, where);
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		struct norm_step *st = NULL;
		if (strcmp(type, kinds[i].name) != 0)
			continue;
		TRY(add_step(nz, kinds[i].kind, where, &st));
		return parse_options(st, o, where);
	}
	FAIL(VB_EUNSUPPORTED, "unsupported normalizer: %s: \"%s\"", where, type);
}

int normalizer_parse(struct normalizer **out, const json_t *o, const char *where)
{
	struct normalizer *nz = mem_calloc(1, sizeof *nz);
	*out = nz;
	if (!nz)
		return VB_ENOMEM;
	int rc = parse_into(nz, o, where);
	if (rc || nz->n == 0)
		normalizer_destroy(out);
	return rc;
}

void normalizer_destroy(struct normalizer **nz)
{
	if (!*nz)
		return;
	for (size_t i = 0; i < (*nz)->n; i++) {
		struct norm_step *st = &(*nz)->step[i];
		pattern_fini(&st->pattern);
		mem_free(st->content);
		mem_free(st->charsmap.unit);
		mem_free(st->charsmap.text);
	}
	mem_free((*nz)->step);
	mem_free(*nz);
	*nz = NULL;
}
