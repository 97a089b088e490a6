#include "text_internal.h"

#include "base/mem.h"
#include "base/status.h"

/* Ids may have gaps, but an id far beyond the number of tokens would only cost memory. */
#define MAX_ID_GAP ((size_t)1 << 20)
#define MAX_TOKENS ((size_t)1 << 24)

#define HASH_K UINT64_C(0x9e3779b97f4a7c15)

static inline uint64_t load64(const char *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static inline uint32_t load32(const char *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static inline uint64_t mix(uint64_t h)
{
	h *= HASH_K;
	return h ^ h >> 32;
}

/* The table is fixed at load and half empty, so that chosen texts cannot lengthen its probes. */
uint32_t hash_bytes(const char *s, size_t n)
{
	uint64_t h = (uint64_t)n;
	if (n >= 8) {
		size_t i = 0;
		for (; i + 8 <= n; i += 8)
			h = mix(h ^ load64(s + i));
		h = mix(h ^ load64(s + n - 8)); /* the last bytes, some of them again */
	} else if (n >= 4) {
		h = mix(h ^ ((uint64_t)load32(s) << 32 | load32(s + n - 4)));
	} else if (n) {
		h = mix(h ^ ((uint64_t)(uint8_t)s[0] << 16 | (uint64_t)(uint8_t)s[n / 2] << 8 |
			     (uint8_t)s[n - 1]));
	}
	return (uint32_t)mix(h);
}

int vocab_init(struct vocab *v, size_t n_ids, size_t n_strings, size_t pool_bytes)
{
	memset(v, 0, sizeof *v);
	if (n_ids > INT32_MAX || n_strings > MAX_TOKENS || pool_bytes > UINT32_MAX / 2)
		FAIL(VB_ELIMIT, "vocabulary too large: %zu tokens, %zu bytes", n_strings,
		     pool_bytes);
	v->n_ids = n_ids;
	v->pool_capacity = pool_bytes + n_strings;
	uint32_t slots = 16;
	while (slots < 2 * n_strings)
		slots *= 2;
	v->mask = slots - 1;
	v->pool = mem_alloc(v->pool_capacity);
	v->span = mem_alloc(n_ids * sizeof *v->span);
	v->slot = mem_alloc(slots * sizeof *v->slot);
	if (!v->pool || !v->span || !v->slot) {
		vocab_fini(v);
		return VB_ENOMEM;
	}
	memset(v->span, 0xff, n_ids * sizeof *v->span);
	memset(v->slot, 0xff, slots * sizeof *v->slot);
	return VB_OK;
}

void vocab_fini(struct vocab *v)
{
	mem_free(v->pool);
	mem_free(v->span);
	mem_free(v->slot);
	memset(v, 0, sizeof *v);
}

int vocab_add(struct vocab *v, int32_t id, const char *s, size_t n, const char *where)
{
	CHECK(id >= 0 && (size_t)id < v->n_ids && n < v->pool_capacity - v->pool_len);
	if (vocab_has(v, id))
		FAIL(VB_EFORMAT, "two tokens have one id: %s: \"%.80s\" and \"%.80s\" are both %d",
		     where, v->pool + v->span[id].off, s, id);
	uint32_t hash = hash_bytes(s, n);
	uint32_t i = hash & v->mask;
	for (; v->slot[i].id >= 0; i = (i + 1) & v->mask) {
		const struct span32 *o = &v->span[v->slot[i].id];
		if (v->slot[i].hash == hash && o->len == n && memcmp(v->pool + o->off, s, n) == 0)
			FAIL(VB_EFORMAT,
			     "a token stands twice in the vocabulary: %s: \"%.80s\" is %d and %d",
			     where, s, v->slot[i].id, id);
	}
	CHECK(v->count < v->mask);
	v->slot[i] = (struct vocab_slot){ hash, id };
	v->span[id] = (struct span32){ (uint32_t)v->pool_len, (uint32_t)n };
	memcpy(v->pool + v->pool_len, s, n);
	v->pool[v->pool_len + n] = '\0';
	v->pool_len += n + 1;
	v->count++;
	return VB_OK;
}

int32_t vocab_find(const struct vocab *v, const char *s, size_t n)
{
	if (!v->slot)
		return -1;
	uint32_t hash = hash_bytes(s, n);
	for (uint32_t i = hash & v->mask; v->slot[i].id >= 0; i = (i + 1) & v->mask) {
		if (v->slot[i].hash != hash)
			continue;
		const struct span32 *o = &v->span[v->slot[i].id];
		if (o->len == n && memcmp(v->pool + o->off, s, n) == 0)
			return v->slot[i].id;
	}
	return -1;
}

int json_id(const json_t *value, size_t limit, const char *what, const char *where, int32_t *out)
{
	if (!json_is_integer(value))
		FAIL(VB_EFORMAT, "id is no integer: %s: %s: found %s", where, what,
		     json_kind(value));
	json_int_t id = json_integer_value(value);
	if (id < 0 || (uint64_t)id >= limit || id > INT32_MAX)
		FAIL(VB_EFORMAT, "id out of range: %s: %s: %lld, expected 0 to %zu", where, what,
		     (long long)id, limit - 1);
	*out = (int32_t)id;
	return VB_OK;
}

int vocab_from_object(struct vocab *v, const json_t *model, const char *where)
{
	json_t *o = json_get(model, "vocab");
	if (!json_is_object(o))
		FAIL(VB_EFORMAT, "wrong type: %s: key \"vocab\": expected an object, found %s",
		     where, json_kind(o));
	size_t count = json_object_size(o), bytes = 0;
	if (count > MAX_TOKENS)
		FAIL(VB_ELIMIT, "vocabulary too large: %s: %zu tokens, at most %zu are taken",
		     where, count, MAX_TOKENS);
	int32_t max_id = -1;
	const char *key;
	size_t len;
	json_t *value;
	json_object_keylen_foreach (o, key, len, value) {
		int32_t id;
		TRY(json_id(value, count + MAX_ID_GAP, key, where, &id));
		max_id = id > max_id ? id : max_id;
		bytes += len;
	}
	TRY(vocab_init(v, (size_t)(max_id + 1), count, bytes));
	json_object_keylen_foreach (o, key, len, value)
		TRY(vocab_add(v, (int32_t)json_integer_value(value), key, len, where));
	return VB_OK;
}

int json_component(const json_t *o, const char *what, const char *where, const char **out)
{
	if (!json_is_object(o))
		FAIL(VB_EFORMAT, "wrong type: %s: %s: expected an object, found %s", where, what,
		     json_kind(o));
	TRY(json_get_str(o, "type", where, NULL, out));
	if (!*out)
		FAIL(VB_EFORMAT, "missing key: %s: \"type\" of the %s", where, what);
	return VB_OK;
}

int json_need_text(const json_t *o, const char *key, const char *where, const char **s, size_t *n)
{
	const json_t *v = json_get(o, key);
	if (!json_is_string(v))
		FAIL(VB_EFORMAT, "wrong type: %s: key \"%s\": expected a string, found %s", where,
		     key, json_kind(v));
	*s = json_string_value(v);
	*n = json_string_length(v);
	return VB_OK;
}
