/* config_rope.c - the rotary embedding's parameters, in all the forms in which config.json has them.
 *
 *   transformers 4:  "rope_theta": T, "rope_scaling": null or { "type" or "rope_type": KIND, ... }
 *   transformers 5:  "rope_parameters": { "rope_theta": T, "rope_type": KIND, ... }
 *                    "rope_parameters": { "full_attention": { ... }, "sliding_attention": { ... } }
 *   Gemma 3 before:  "rope_theta" and "rope_scaling" for global layers, "rope_local_base_freq" for local ones
 *
 * What Hugging Face derives where a parameter is absent is derived here: original_max_position of llama3, yarn and
 * longrope, and the factor of yarn and longrope.
 */
#include "config_parts.h"

#include "base/status.h"

#include <stdio.h>
#include <string.h>

#define MIN_THETA 2.0
#define MAX_THETA 1e15
#define MIN_FACTOR 1e-4
#define MAX_FACTOR 1e6

/* One dictionary of rope parameters, and what fills its gaps. */
struct source {
	const json_t *keys; /* NULL: none */
	const char *where;  /* names file and dictionary */
	double theta;       /* where the dictionary has none */
};

static int kind_of(const struct source *s, const struct family *f, enum rope_kind *out)
{
	static const struct {
		const char *name;
		enum rope_kind kind;
	} kinds[] = {
		{ "default", ROPE_DEFAULT }, { "linear", ROPE_LINEAR }, { "dynamic", ROPE_DYNAMIC },
		{ "llama3", ROPE_LLAMA3 }, { "yarn", ROPE_YARN }, { "longrope", ROPE_LONGROPE },
		{ "su", ROPE_LONGROPE }, /* what Phi-3 called it first */
	};
	const char *name;
	TRY(json_get_str(s->keys, "type", s->where, "default", &name));
	TRY(json_get_str(s->keys, "rope_type", s->where, name, &name));
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (strcmp(name, kinds[i].name) == 0) {
			*out = kinds[i].kind;
			/* Early Phi-3 files say yarn and give longrope's lists. */
			if (*out == ROPE_YARN && strcmp(f->model_type, "phi3") == 0)
				*out = ROPE_LONGROPE;
			return VB_OK;
		}
	FAIL(VB_EUNSUPPORTED, "rope type is not supported: %s: key \"rope_type\": \"%.64s\": known are default, "
	     "linear, dynamic, llama3, yarn and longrope", s->where, name);
}

static int need_factor(const struct source *s, struct rope_config *r)
{
	if (!json_get(s->keys, "factor"))
		FAIL(VB_EFORMAT, "missing key: %s: \"factor\": this rope type needs it (a number)", s->where);
	return json_get_f64(s->keys, "factor", s->where, MIN_FACTOR, MAX_FACTOR, 1, &r->factor);
}

/* The pre-training length: a key beside the dictionary overrides one in it. */
static int read_original(const struct model_config *c, const struct family *f, const json_t *text,
			 const struct source *s, struct rope_config *r)
{
	static const char key[] = "original_max_position_embeddings";
	int64_t inner;
	TRY(json_get_i64(s->keys, key, s->where, 2, INT32_MAX, c->max_position, &inner));
	if (f->original_max_position > 0)
		inner = f->original_max_position;
	return json_get_i64(text, key, c->where, 2, INT32_MAX, inner, &r->original_max_position);
}

/* yarn and longrope: the factor is a key or the ratio of the lengths. */
static int read_factor_or_ratio(const struct model_config *c, const struct source *s, struct rope_config *r)
{
	double ratio = (double)c->max_position / (double)r->original_max_position;
	TRY(json_get_f64(s->keys, "factor", s->where, MIN_FACTOR, MAX_FACTOR, ratio, &r->factor));
	TRY(json_get_f64(s->keys, "attention_factor", s->where, 0, MAX_FACTOR, 0, &r->attention_factor));
	return VB_OK;
}

static int read_llama3(const struct source *s, struct rope_config *r)
{
	TRY(need_factor(s, r));
	if (!json_get(s->keys, "low_freq_factor") || !json_get(s->keys, "high_freq_factor"))
		FAIL(VB_EFORMAT, "missing key: %s: \"%s\": rope type llama3 needs it (a number)", s->where,
		     json_get(s->keys, "low_freq_factor") ? "high_freq_factor" : "low_freq_factor");
	TRY(json_get_f64(s->keys, "low_freq_factor", s->where, MIN_FACTOR, MAX_FACTOR, 1,
			 &r->low_freq_factor));
	TRY(json_get_f64(s->keys, "high_freq_factor", s->where, MIN_FACTOR, MAX_FACTOR, 4,
			 &r->high_freq_factor));
	if (r->high_freq_factor <= r->low_freq_factor)
		FAIL(VB_EFORMAT, "value out of range: %s: key \"high_freq_factor\": %g, expected above "
		     "low_freq_factor, %g", s->where, r->high_freq_factor, r->low_freq_factor);
	return VB_OK;
}

static int read_yarn(const struct model_config *c, const struct source *s, struct rope_config *r)
{
	TRY(read_factor_or_ratio(c, s, r));
	TRY(json_get_f64(s->keys, "beta_fast", s->where, 0, MAX_FACTOR, 0, &r->beta_fast));
	TRY(json_get_f64(s->keys, "beta_slow", s->where, 0, MAX_FACTOR, 0, &r->beta_slow));
	/* As Hugging Face does: 0 is as good as absent. */
	r->beta_fast = r->beta_fast > 0 ? r->beta_fast : 32;
	r->beta_slow = r->beta_slow > 0 ? r->beta_slow : 1;
	if (r->beta_fast < r->beta_slow)
		FAIL(VB_EFORMAT, "value out of range: %s: key \"beta_fast\": %g, expected no less than "
		     "beta_slow, %g", s->where, r->beta_fast, r->beta_slow);
	TRY(json_get_f64(s->keys, "mscale", s->where, 0, MAX_FACTOR, 0, &r->mscale));
	TRY(json_get_f64(s->keys, "mscale_all_dim", s->where, 0, MAX_FACTOR, 0, &r->mscale_all_dim));
	return json_get_bool(s->keys, "truncate", s->where, true, &r->truncate);
}

static int read_factor_list(const struct source *s, const char *key, size_t n, float *out)
{
	const json_t *list = json_get(s->keys, key);
	if (!list)
		FAIL(VB_EFORMAT, "missing key: %s: \"%s\": rope type longrope needs it (a list of %zu numbers)",
		     s->where, key, n);
	if (!json_is_array(list))
		FAIL(VB_EFORMAT, "wrong type: %s: key \"%s\": expected a list, found %s", s->where, key,
		     json_kind(list));
	if (json_array_size(list) != n)
		FAIL(VB_EFORMAT, "wrong length: %s: key \"%s\": %zu numbers, but half the rotated head is %zu",
		     s->where, key, json_array_size(list), n);
	for (size_t i = 0; i < n; i++) {
		const json_t *v = json_array_get(list, i);
		double d = json_number_value(v); /* 0 where it is no number */
		if (!(d >= MIN_FACTOR && d <= MAX_FACTOR))
			FAIL(VB_EFORMAT, "value out of range: %s: key \"%s\": entry %zu: expected a number from "
			     "%g to %g", s->where, key, i, MIN_FACTOR, MAX_FACTOR);
		out[i] = (float)d;
	}
	return VB_OK;
}

static int read_longrope(const struct model_config *c, const struct source *s, struct rope_config *r,
			 int64_t rotated)
{
	TRY(read_factor_or_ratio(c, s, r));
	if (rotated / 2 > ROPE_MAX_FACTORS)
		FAIL(VB_ELIMIT, "head too large: %s: rope type longrope takes at most %d rotated elements",
		     s->where, 2 * ROPE_MAX_FACTORS);
	r->n_factors = (int)(rotated / 2);
	TRY(read_factor_list(s, "short_factor", (size_t)r->n_factors, r->short_factor));
	return read_factor_list(s, "long_factor", (size_t)r->n_factors, r->long_factor);
}

/* How much of each head is rotated; an even number of elements, at least two. */
static int read_rotated(const struct model_config *c, const json_t *text, const struct source *s,
			struct rope_config *r, int64_t *rotated)
{
	double outer;
	TRY(json_get_f64(text, "partial_rotary_factor", c->where, 0, 1, 1, &outer));
	TRY(json_get_f64(s->keys, "partial_rotary_factor", s->where, 0, 1, outer, &r->partial_rotary_factor));
	*rotated = (int64_t)((double)c->head_dim * r->partial_rotary_factor);
	if (*rotated < 2 || *rotated % 2 != 0)
		FAIL(VB_EFORMAT, "value out of range: %s: key \"partial_rotary_factor\": %g of head_dim %lld "
		     "rotates %lld elements, expected an even number of at least 2", s->where,
		     r->partial_rotary_factor, (long long)c->head_dim, (long long)*rotated);
	return VB_OK;
}

static int read_source(const struct model_config *c, const struct family *f, const json_t *text,
		       const struct source *s, struct rope_config *r)
{
	int64_t rotated;
	*r = (struct rope_config){ .truncate = true };
	TRY(kind_of(s, f, &r->kind));
	TRY(json_get_f64(s->keys, "rope_theta", s->where, MIN_THETA, MAX_THETA, s->theta, &r->theta));
	TRY(read_rotated(c, text, s, r, &rotated));
	if (r->kind == ROPE_LLAMA3 || r->kind == ROPE_YARN || r->kind == ROPE_LONGROPE)
		TRY(read_original(c, f, text, s, r));
	switch (r->kind) {
	case ROPE_LINEAR:
		return need_factor(s, r);
	case ROPE_DYNAMIC:
		/* Its base grows with the power rotated / (rotated - 2). */
		if (rotated <= 2)
			FAIL(VB_EFORMAT, "head too small: %s: rope type dynamic needs more than 2 rotated "
			     "elements", s->where);
		return need_factor(s, r);
	case ROPE_LLAMA3:
		return read_llama3(s, r);
	case ROPE_YARN:
		return read_yarn(c, s, r);
	case ROPE_LONGROPE:
		return read_longrope(c, s, r, rotated);
	default:
		return VB_OK;
	}
}

/* The dictionary at `key`: an object, or NULL where it is absent, null or empty. */
static int dictionary(const json_t *o, const char *key, const char *where, const json_t **out)
{
	const json_t *v = json_get(o, key);
	if (v && !json_is_object(v))
		FAIL(VB_EFORMAT, "wrong type: %s: key \"%s\": expected an object, found %s", where, key,
		     json_kind(v));
	*out = v && json_object_size(v) > 0 ? v : NULL;
	return VB_OK;
}

/* One entry of the form with a dictionary per type of layer; null there means no rotation. */
static int read_typed(const struct model_config *c, const struct family *f, const json_t *text,
		      const json_t *types, const char *type, double theta, struct rope_config *r)
{
	char where[1024];
	struct source s = { .where = where, .theta = theta };
	snprintf(where, sizeof where, "%s: rope_parameters: %s", c->where, type);
	if (json_is_null(json_object_get(types, type))) {
		*r = (struct rope_config){ .kind = ROPE_NONE, .partial_rotary_factor = 1, .truncate = true };
		return VB_OK;
	}
	TRY(dictionary(types, type, c->where, &s.keys));
	return read_source(c, f, text, &s, r);
}

int config_read_rope(struct model_config *c, const struct family *f, const json_t *text)
{
	char where[1024];
	const json_t *scaling = NULL, *parameters = NULL;
	double theta, local = f->theta_local;
	TRY(json_get_f64(text, "rope_theta", c->where, MIN_THETA, MAX_THETA, f->theta, &theta));
	if (f->theta_local > 0)
		TRY(json_get_f64(text, "rope_local_base_freq", c->where, MIN_THETA, MAX_THETA, f->theta_local,
				 &local));
	TRY(dictionary(text, "rope_scaling", c->where, &scaling));
	TRY(dictionary(text, "rope_parameters", c->where, &parameters));
	bool typed = json_object_get(parameters, "full_attention") ||
		     json_object_get(parameters, "sliding_attention");
	c->rope_local = f->theta_local > 0 || typed;
	if (typed) {
		TRY(read_typed(c, f, text, parameters, "full_attention", theta, &c->rope[0]));
		return read_typed(c, f, text, parameters, "sliding_attention", local > 0 ? local : theta,
				  &c->rope[1]);
	}
	if (c->rope_local && parameters)
		FAIL(VB_EFORMAT, "missing key: %s: rope_parameters: \"full_attention\": this family has one "
		     "dictionary for each type of layer", c->where);
	/* rope_scaling, where it says anything, wins: so it is read in transformers 5 too. */
	snprintf(where, sizeof where, "%s: %s", c->where, scaling ? "rope_scaling" : "rope_parameters");
	TRY(read_source(c, f, text, &(struct source){ scaling ? scaling : parameters, where, theta },
			&c->rope[0]));
	if (c->rope_local)
		return read_source(c, f, text, &(struct source){ NULL, c->where, local }, &c->rope[1]);
	c->rope[1] = c->rope[0];
	return VB_OK;
}
