/* model.c - which model a tokenizer.json has. */
#include "text_internal.h"

#include "base/mem.h"
#include "base/status.h"

struct model {
	struct vocab vocab;
	/* One of these: */
	struct bpe *bpe;
	struct unigram *unigram;
	struct wordpiece *wordpiece;
};

/* Old files have no "type"; their fields tell. */
static int model_type(const json_t *o, const char *where, const char **type)
{
	if (!json_is_object(o))
		FAIL(VB_EFORMAT, "wrong type: %s: key \"model\": expected an object, found %s",
		     where, json_kind(o));
	TRY(json_get_str(o, "type", where, NULL, type));
	if (*type)
		return VB_OK;
	if (json_get(o, "merges"))
		*type = "BPE";
	else if (json_is_array(json_get(o, "vocab")))
		*type = "Unigram";
	else if (json_get(o, "max_input_chars_per_word"))
		*type = "WordPiece";
	else
		*type = "WordLevel";
	return VB_OK;
}

static int parse(struct model *m, const json_t *o, const char *where)
{
	const char *type;
	TRY(model_type(o, where, &type));
	if (strcmp(type, "Unigram") == 0)
		return unigram_parse(&m->unigram, &m->vocab, o, where);
	bool bpe = strcmp(type, "BPE") == 0, words = strcmp(type, "WordLevel") == 0;
	if (!bpe && !words && strcmp(type, "WordPiece") != 0)
		FAIL(VB_EUNSUPPORTED,
		     "unsupported model: %s: \"%s\": BPE, Unigram, WordPiece and WordLevel are "
		     "supported",
		     where, type);
	TRY(vocab_from_object(&m->vocab, o, where));
	if (bpe)
		return bpe_parse(&m->bpe, &m->vocab, o, where);
	return wordpiece_parse(&m->wordpiece, &m->vocab, words, o, where);
}

int model_parse(struct model **out, const json_t *o, const char *where)
{
	struct model *m = mem_calloc(1, sizeof *m);
	*out = m;
	if (!m)
		return VB_ENOMEM;
	int rc = parse(m, o, where);
	if (rc)
		model_destroy(out);
	return rc;
}

void model_destroy(struct model **m)
{
	if (!*m)
		return;
	bpe_destroy(&(*m)->bpe);
	unigram_destroy(&(*m)->unigram);
	wordpiece_destroy(&(*m)->wordpiece);
	vocab_fini(&(*m)->vocab);
	mem_free(*m);
	*m = NULL;
}

const struct vocab *model_vocab(const struct model *m)
{
	return &m->vocab;
}

int model_prepare(struct model *m, bool byte_level, bool *takes_bytes)
{
	*takes_bytes = false;
	return m->bpe ? bpe_prepare(m->bpe, byte_level, takes_bytes) : VB_OK;
}

int model_encode(const struct model *m, struct scratch *s, const char *text, size_t n,
		 struct ids *out)
{
	if (m->bpe)
		return bpe_encode(m->bpe, s, text, n, out);
	if (m->unigram)
		return unigram_encode(m->unigram, s, text, n, out);
	return wordpiece_encode(m->wordpiece, text, n, out);
}
