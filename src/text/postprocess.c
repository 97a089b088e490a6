/* postprocess.c - the ids that stand before and after every text. Pairs of texts have no use here.
 */
#include "text_internal.h"

#include "base/mem.h"
#include "base/status.h"

static int append(int32_t **ids, size_t *n, const json_t *id, size_t n_ids, const char *where)
{
	int32_t value;
	TRY(json_id(id, n_ids, "post_processor", where, &value));
	int32_t *grown = mem_realloc(*ids, *n + 1, sizeof *grown);
	if (!grown)
		return VB_ENOMEM;
	*ids = grown;
	grown[(*n)++] = value;
	return VB_OK;
}

/* The ids of the special token of that name. */
static int append_special(struct postprocess *p, bool after, const json_t *o, const char *name,
			  size_t n_ids, const char *where)
{
	const json_t *ids = json_get(json_get(json_get(o, "special_tokens"), name), "ids"), *id;
	size_t i;
	if (!json_is_array(ids))
		FAIL(VB_EFORMAT, "template uses a token that it does not define: %s: \"%.80s\"",
		     where, name);
	json_array_foreach (ids, i, id)
		TRY(append(after ? &p->after : &p->before, after ? &p->n_after : &p->n_before, id,
			   n_ids, where));
	return VB_OK;
}

static int parse_template(struct postprocess *p, const json_t *o, size_t n_ids, const char *where)
{
	const json_t *single = json_get(o, "single"), *piece;
	size_t i;
	bool seen = false;
	if (!json_is_array(single))
		FAIL(VB_EFORMAT,
		     "wrong type: %s: TemplateProcessing: key \"single\": expected an array, found "
		     "%s",
		     where, json_kind(single));
	json_array_foreach (single, i, piece) {
		const json_t *sequence = json_get(piece, "Sequence"),
			     *special = json_get(piece, "SpecialToken");
		const char *id;
		if (!sequence && !special)
			FAIL(VB_EFORMAT, "bad template: %s: piece %zu of \"single\"", where, i);
		TRY(json_get_str(sequence ? sequence : special, "id", where, "", &id));
		if (special) {
			TRY(append_special(p, seen, o, id, n_ids, where));
			continue;
		}
		if (seen || strcmp(id, "A") != 0)
			FAIL(VB_EUNSUPPORTED,
			     "unsupported template: %s: \"single\" must hold sequence A once",
			     where);
		seen = true;
	}
	if (!seen)
		FAIL(VB_EUNSUPPORTED,
		     "unsupported template: %s: \"single\" must hold sequence A once", where);
	return VB_OK;
}

/* BertProcessing and RobertaProcessing: "cls" and "sep" are [token, id]. */
static int parse_cls_sep(struct postprocess *p, const json_t *o, size_t n_ids, const char *where)
{
	const json_t *cls = json_get(o, "cls"), *sep = json_get(o, "sep");
	if (json_array_size(cls) != 2 || json_array_size(sep) != 2)
		FAIL(VB_EFORMAT,
		     "bad post_processor: %s: expected \"cls\" and \"sep\" as [token, id]", where);
	TRY(append(&p->before, &p->n_before, json_array_get(cls, 1), n_ids, where));
	return append(&p->after, &p->n_after, json_array_get(sep, 1), n_ids, where);
}

static int parse_into(struct postprocess *p, bool *done, const json_t *o, size_t n_ids,
		      const char *where)
{
	const char *type;
	TRY(json_component(o, "post_processor", where, &type));
	if (strcmp(type, "ByteLevel") == 0)
		return VB_OK; /* trims offsets, which nobody asks for here */
	if (strcmp(type, "Sequence") == 0) {
		const json_t *list = json_get(o, "processors"), *v;
		size_t i;
		if (!json_is_array(list))
			FAIL(VB_EFORMAT,
			     "wrong type: %s: key \"processors\": expected an array, found %s",
			     where, json_kind(list));
		json_array_foreach (list, i, v)
			TRY(parse_into(p, done, v, n_ids, where)); /* as deep as JSON may nest */
		return VB_OK;
	}
	bool is_template = strcmp(type, "TemplateProcessing") == 0;
	if (!is_template && strcmp(type, "BertProcessing") != 0 &&
	    strcmp(type, "RobertaProcessing") != 0)
		FAIL(VB_EUNSUPPORTED, "unsupported post_processor: %s: \"%s\"", where, type);
	if (*done)
		FAIL(VB_EUNSUPPORTED,
		     "unsupported post_processor: %s: two of a sequence add tokens", where);
	*done = true;
	return is_template ? parse_template(p, o, n_ids, where) : parse_cls_sep(p, o, n_ids, where);
}

int postprocess_parse(struct postprocess *p, const json_t *o, size_t n_ids, const char *where)
{
	bool done = false;
	return parse_into(p, &done, o, n_ids, where);
}

void postprocess_fini(struct postprocess *p)
{
	mem_free(p->before);
	mem_free(p->after);
	memset(p, 0, sizeof *p);
}
