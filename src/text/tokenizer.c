/* tokenizer.c - loading a tokenizer.json, and the way of a text through the steps. */
#include "text_internal.h"

#include "base/mem.h"
#include "base/status.h"
#include "base/utf8.h"

#include <stdio.h>

#define MAX_TOKENIZER_BYTES ((size_t)256 << 20)
#define MAX_CONFIG_BYTES ((size_t)64 << 20)
#define MAX_TEMPLATE_BYTES ((size_t)1 << 20)
/* Ids of added tokens may lie beyond the vocabulary, but not far. */
#define MAX_ADDED_GAP ((size_t)1 << 20)

void ids_fini(struct ids *ids)
{
	mem_free(ids->id);
	*ids = (struct ids){ 0 };
}

int ids_push(struct ids *ids, int32_t id)
{
	if (ids->n == ids->capacity)
		TRY(scratch_grow(&ids->id, &ids->capacity, ids->n + 1, sizeof *ids->id));
	ids->id[ids->n++] = id;
	return VB_OK;
}

/* ---- loading ---- */

static int put_added_tokens(struct tokenizer *t, const json_t *root, const char *where)
{
	const json_t *list = json_get(root, "added_tokens"), *v;
	size_t i;
	if (!list)
		return VB_OK;
	if (!json_is_array(list))
		FAIL(VB_EFORMAT,
		     "wrong type: %s: key \"added_tokens\": expected an array, found %s", where,
		     json_kind(list));
	size_t limit = t->vocab->n_ids + json_array_size(list) + MAX_ADDED_GAP;
	json_array_foreach (list, i, v) {
		struct added_token token;
		TRY(added_token_parse(v, where, &token));
		if (json_get(v, "id"))
			TRY(json_id(json_get(v, "id"), limit, token.content, where, &token.id));
		TRY(added_tokens_put(&t->added, t->vocab, &token, where));
	}
	return VB_OK;
}

static int make_info(struct tokenizer *t)
{
	t->n_ids = t->vocab->n_ids;
	for (size_t i = 0; i < t->added.n; i++)
		if ((size_t)t->added.token[i].id >= t->n_ids)
			t->n_ids = (size_t)t->added.token[i].id + 1;
	t->info = mem_calloc(t->n_ids, sizeof *t->info);
	if (!t->info)
		return VB_ENOMEM;
	for (int32_t id = 0; (size_t)id < t->vocab->n_ids; id++) {
		size_t n;
		if (!vocab_has(t->vocab, id))
			continue;
		struct token_info *info = &t->info[id];
		info->text = info->shown = vocab_text(t->vocab, id, &n);
		info->len = info->shown_len = (uint32_t)n;
	}
	for (size_t i = 0; i < t->added.n; i++) {
		const struct added_token *a = &t->added.token[i];
		struct token_info *info = &t->info[a->id];
		*info = (struct token_info){ .text = a->content,
					     .len = (uint32_t)a->len,
					     .added = true,
					     .special = a->special,
					     .shown = a->normal ? a->normal : a->content,
					     .shown_len = (uint32_t)(a->normal ? a->normal_len
									       : a->len) };
		const struct added_token *same =
			added_tokens_find(&t->added, info->shown, info->shown_len);
		info->skip = same && same->special;
	}
	return VB_OK;
}

static int load(struct tokenizer *t, const json_t *root, const json_t *config, const char *where,
		const char *config_where)
{
	const char *version;
	t->bos = t->eos = -1;
	if (!json_is_object(root))
		FAIL(VB_EFORMAT, "wrong type: %s: expected an object, found %s", where,
		     json_kind(root));
	TRY(json_get_str(root, "version", where, "1.0", &version));
	if (strcmp(version, "1.0") != 0)
		FAIL(VB_EUNSUPPORTED, "unsupported version: %s: \"%s\"", where, version);
	TRY(model_parse(&t->model, json_get(root, "model"), where));
	t->vocab = model_vocab(t->model);
	if (json_get(root, "normalizer"))
		TRY(normalizer_parse(&t->normalizer, json_get(root, "normalizer"), where));
	if (json_get(root, "pre_tokenizer"))
		TRY(pretokenizer_parse(&t->pretokenizer, json_get(root, "pre_tokenizer"), where));
	TRY(decoder_parse(&t->decoder, json_get(root, "decoder"), where));
	TRY(put_added_tokens(t, root, where));
	if (config)
		TRY(config_added_tokens(t, config, config_where));
	TRY(added_tokens_build(&t->added, t->normalizer, where));
	TRY(make_info(t));
	if (json_get(root, "post_processor"))
		TRY(postprocess_parse(&t->post, json_get(root, "post_processor"), t->n_ids, where));
	/* "truncation" and "padding" are left aside, as transformers does: they are for batches of
	 * training. */
	bool byte_level = t->pretokenizer && pretokenizer_ends_in_byte_level(t->pretokenizer);
	TRY(model_prepare(t->model, byte_level, &t->takes_bytes));
	return config ? config_specials(t, config, config_where) : VB_OK;
}

static int create(struct tokenizer **out, const json_t *root, const json_t *config,
		  const char *where, const char *config_where)
{
	struct tokenizer *t = mem_calloc(1, sizeof *t);
	*out = t;
	if (!t)
		return VB_ENOMEM;
	int rc = load(t, root, config, where, config_where);
	if (rc)
		tokenizer_destroy(out);
	return rc;
}

int tokenizer_from_json(struct tokenizer **out, const char *json, size_t json_len,
			const char *config_json, size_t config_len, const char *where)
{
	json_t *root = NULL, *config = NULL;
	*out = NULL;
	int rc = json_parse(&root, json, json_len, where);
	if (rc == VB_OK && config_json)
		rc = json_parse(&config, config_json, config_len, where);
	if (rc == VB_OK)
		rc = create(out, root, config, where, where);
	json_decref(root);
	json_decref(config);
	return rc;
}

/* A whole small file; *text stays NULL where it does not exist. */
static int read_text(const char *path, char **text)
{
	*text = NULL;
	FILE *f = fopen(path, "rb");
	if (!f)
		return VB_OK;
	int rc = VB_OK;
	struct buf b;
	char part[4096];
	size_t n;
	buf_init(&b, MAX_TEMPLATE_BYTES);
	while (rc == VB_OK && (n = fread(part, 1, sizeof part, f)) > 0)
		rc = buf_append(&b, part, n);
	if (rc == VB_OK && ferror(f))
		rc = status_fail(VB_EIO, __FILE__, __LINE__, "cannot read: %s", path);
	fclose(f);
	if (rc == VB_OK && !(*text = buf_detach(&b)))
		rc = VB_ENOMEM;
	buf_fini(&b);
	return rc ? status_prefix(rc, "%s", path) : VB_OK;
}

static int path_of(struct buf *path, const char *dir, const char *name)
{
	buf_clear(path);
	return buf_printf(path, "%s/%s", dir, name);
}

static int open_dir(struct tokenizer **out, const char *dir, json_t **root, json_t **config,
		    struct buf *path, struct buf *config_path)
{
	char *jinja;
	TRY(path_of(path, dir, "tokenizer.json"));
	TRY(path_of(config_path, dir, "tokenizer_config.json"));
	TRY(json_read_file(root, path->data, MAX_TOKENIZER_BYTES));
	int rc = json_read_file(config, config_path->data, MAX_CONFIG_BYTES);
	if (rc && rc != VB_ENOTFOUND)
		return rc;
	TRY(create(out, *root, *config, path->data, config_path->data));
	TRY(path_of(path, dir, "chat_template.jinja"));
	TRY(read_text(path->data, &jinja));
	if (jinja) {
		mem_free((*out)->chat_template);
		(*out)->chat_template = jinja;
	}
	return VB_OK;
}

int tokenizer_open(struct tokenizer **out, const char *model_dir)
{
	json_t *root = NULL, *config = NULL;
	struct buf path, config_path;
	buf_init(&path, 1 << 16);
	buf_init(&config_path, 1 << 16);
	*out = NULL;
	int rc = open_dir(out, model_dir, &root, &config, &path, &config_path);
	if (rc)
		tokenizer_destroy(out);
	json_decref(root);
	json_decref(config);
	buf_fini(&path);
	buf_fini(&config_path);
	return rc;
}

void tokenizer_destroy(struct tokenizer **pt)
{
	struct tokenizer *t = *pt;
	if (!t)
		return;
	normalizer_destroy(&t->normalizer);
	pretokenizer_destroy(&t->pretokenizer);
	model_destroy(&t->model);
	decoder_destroy(&t->decoder);
	postprocess_fini(&t->post);
	added_tokens_fini(&t->added);
	mem_free(t->info);
	mem_free(t->chat_template);
	mem_free(t);
	*pt = NULL;
}

/* ---- encoding ---- */

struct encoding {
	const struct tokenizer *t;
	struct scratch s;
	struct ids *out;
	bool parse_special;
	uint32_t zero; /* of the normalised text under work, see struct piece */
};

/* Text between tokens, normalised. */
static int encode_text(struct encoding *e, const char *text, size_t n, uint32_t zero)
{
	const struct tokenizer *t = e->t;
	const char *cut = text;
	if (!t->pretokenizer)
		return model_encode(t->model, &e->s, text, n, e->out);
	TRY(pretokenizer_apply(t->pretokenizer, &e->s, text, n, zero, t->takes_bytes, &cut));
	const struct pieces *pieces = &e->s.pieces[0];
	for (size_t i = 0; i < pieces->n; i++) {
		const struct piece *p = &pieces->p[i];
		TRY(model_encode(t->model, &e->s, cut + p->begin, p->end - p->begin, e->out));
	}
	return VB_OK;
}

static int normalized_part(void *context, const struct added_token *token, const char *text,
			   size_t begin, size_t end)
{
	struct encoding *e = context;
	if (token)
		return ids_push(e->out, token->id);
	uint32_t zero = e->zero <= begin ? 0
			: e->zero < end  ? e->zero - (uint32_t)begin
					 : (uint32_t)(end - begin);
	return encode_text(e, text + begin, end - begin, zero);
}

static int raw_part(void *context, const struct added_token *token, const char *text, size_t begin,
		    size_t end)
{
	struct encoding *e = context;
	if (token)
		return ids_push(e->out, token->id);
	const char *normal = text + begin;
	size_t n = end - begin;
	e->zero = begin == 0 ? utf8_len(text[0]) : 0;
	if (e->t->normalizer)
		TRY(normalizer_apply(e->t->normalizer, &e->s, normal, n, &normal, &n, &e->zero));
	return added_tokens_split(&e->t->added, &e->s, true, e->parse_special, normal, n,
				  normalized_part, e);
}

static int push_all(struct ids *out, const int32_t *id, size_t n)
{
	for (size_t i = 0; i < n; i++)
		TRY(ids_push(out, id[i]));
	return VB_OK;
}

static int encode_valid(const struct tokenizer *t, const char *text, size_t n, unsigned flags,
			struct ids *out)
{
	struct encoding e = { .t = t, .out = out, .parse_special = flags & TOKENIZE_PARSE_SPECIAL };
	bool add_special = flags & TOKENIZE_ADD_SPECIAL;
	size_t before = out->n;
	scratch_init(&e.s);
	regex_grant(&e.s, n);
	int rc = add_special ? push_all(out, t->post.before, t->post.n_before) : VB_OK;
	if (rc == VB_OK && n)
		rc = added_tokens_split(&t->added, &e.s, false, e.parse_special, text, n, raw_part,
					&e);
	if (rc == VB_OK && add_special)
		rc = push_all(out, t->post.after, t->post.n_after);
	if (rc)
		out->n = before;
	scratch_fini(&e.s);
	return rc;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, unsigned flags,
		     struct ids *out)
{
	if (n >= TEXT_MAX_BYTES)
		FAIL(VB_ELIMIT, "text too long: %zu bytes: the tokeniser takes less than 2 GiB", n);
	if (utf8_valid(text, n))
		return encode_valid(t, text, n, flags, out);
	struct buf mended;
	buf_init(&mended, TEXT_MAX_BYTES);
	int rc = utf8_append_lossy(&mended, text, n);
	if (rc == VB_OK)
		rc = encode_valid(t, mended.data, mended.len, flags, out);
	buf_fini(&mended);
	return rc;
}

/* ---- decoding ---- */

struct detokenizer {
	const struct tokenizer *t;
	struct decode_state *state;
	bool skip_special;
};

int detokenizer_create(struct detokenizer **out, const struct tokenizer *t, bool skip_special)
{
	struct detokenizer *d = mem_calloc(1, sizeof *d);
	*out = NULL;
	if (!d)
		return VB_ENOMEM;
	d->t = t;
	d->skip_special = skip_special;
	int rc = decode_state_create(&d->state, t->decoder);
	if (rc)
		mem_free(d);
	else
		*out = d;
	return rc;
}

void detokenizer_destroy(struct detokenizer **d)
{
	if (!*d)
		return;
	decode_state_destroy(&(*d)->state);
	mem_free(*d);
	*d = NULL;
}

int detokenizer_push(struct detokenizer *d, int32_t id, struct buf *out)
{
	if (id < 0 || (size_t)id >= d->t->n_ids)
		FAIL(VB_EINVAL, "no such token: id %d: the vocabulary has 0 to %zu", id,
		     d->t->n_ids - 1);
	const struct token_info *info = &d->t->info[id];
	if (!info->text || (d->skip_special && info->skip))
		return VB_OK; /* ids in a gap of the vocabulary have no text */
	return decode_token(d->state, info->shown, info->shown_len, out);
}

int detokenizer_flush(struct detokenizer *d, struct buf *out)
{
	return decode_end(d->state, out);
}

void detokenizer_reset(struct detokenizer *d)
{
	decode_state_reset(d->state);
}

int tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip_special,
		     struct buf *out)
{
	struct detokenizer *d;
	TRY(detokenizer_create(&d, t, skip_special));
	int rc = VB_OK;
	for (size_t i = 0; i < n && rc == VB_OK; i++)
		rc = detokenizer_push(d, ids[i], out);
	if (rc == VB_OK)
		rc = detokenizer_flush(d, out);
	detokenizer_destroy(&d);
	return rc;
}

/* ---- looking up ---- */

int32_t tokenizer_vocab_size(const struct tokenizer *t)
{
	return (int32_t)t->n_ids;
}

static const struct token_info *info_of(const struct tokenizer *t, int32_t id)
{
	return id >= 0 && (size_t)id < t->n_ids && t->info[id].text ? &t->info[id] : NULL;
}

const char *tokenizer_token(const struct tokenizer *t, int32_t id)
{
	const struct token_info *info = info_of(t, id);
	return info ? info->text : NULL;
}

int tokenizer_token_bytes(const struct tokenizer *t, int32_t id, struct buf *out)
{
	const struct token_info *info = info_of(t, id);
	if (!info)
		FAIL(VB_EINVAL, "no such token: id %d", id);
	if (info->added)
		return buf_append(out, info->text, info->len);
	return decoder_token_bytes(t->decoder, info->text, info->len, out);
}

int32_t tokenizer_token_id(const struct tokenizer *t, const char *token)
{
	size_t n = strlen(token);
	const struct added_token *a = added_tokens_find(&t->added, token, n);
	return a ? a->id : vocab_find(t->vocab, token, n);
}

bool tokenizer_is_special(const struct tokenizer *t, int32_t id)
{
	const struct token_info *info = info_of(t, id);
	return info && info->special;
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
	return t->bos;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
	return t->eos;
}

const char *tokenizer_chat_template(const struct tokenizer *t)
{
	return t->chat_template;
}
