/* info.c - what an engine is and what would serve a model, as JSON.
 *
 * Nothing is left out of an answer for want of memory: what cannot be built is NULL, and so is all that would hold it.
 */
#include "engine_internal.h"

#include "base/mem.h"
#include "base/status.h"
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

/* "0-15", "0,2,4", "3": the layers of a group. */
static void append_layer(char *text, size_t size, int first, int last)
{
	size_t n = strlen(text);
	if (first == last)
		snprintf(text + n, size - n, "%s%d", n ? "," : "", first);
	else
		snprintf(text + n, size - n, "%s%d-%d", n ? "," : "", first, last);
}

static bool same_choice(const struct program_choice *a, const struct program_choice *b)
{
	if (strcmp(a->op, b->op) != 0 || strcmp(a->what, b->what) != 0 || a->pick->row != b->pick->row)
		return false;
	return (a->layer < 0) == (b->layer < 0);
}

/* The list with one more item; NULL, and both dropped, where either is NULL. */
static json_t *with_item(json_t *list, json_t *item)
{
	if (json_array_append_new(list, item) == 0)
		return list;
	json_decref(list);
	return NULL;
}

/* The same of an object and a key. */
static json_t *with_key(json_t *o, const char *key, json_t *value)
{
	if (json_object_set_new(o, key, value) == 0)
		return o;
	json_decref(o);
	return NULL;
}

json_t *path_json(const char *path)
{
	if (utf8_valid(path, strlen(path)))
		return json_string(path);
	char *text = mem_strdup(path);
	if (!text)
		return NULL;
	for (char *c = text; *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	json_t *v = json_string(text);
	mem_free(text);
	return v;
}

static json_t *refusals(const struct pick *pick)
{
	json_t *list = json_array();
	for (int i = 0; i < pick->n_refused; i++)
		list = with_item(list, json_pack("{s:s, s:s}", "backend", pick->refused[i].kernel, "reason",
						 pick->refused[i].reason));
	return list;
}

/* For steps of up to q_len tokens a sequence, where it is attention. */
static json_t *request_json(const struct program_choice *c, int64_t q_len)
{
	const struct attention_request *r = c->attention;
	if (!r)
		return json_pack("{s:s}", "shape", c->what);
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b}", "dtype", dtype_name(r->kv_type), "heads",
			 (json_int_t)r->n_heads, "kv_heads", (json_int_t)r->n_kv_heads, "head_dim",
			 (json_int_t)r->head_dim, "v_head_dim", (json_int_t)r->v_head_dim, "window",
			 (json_int_t)r->window, "page_size", (json_int_t)r->page_size, "max_q_len",
			 (json_int_t)q_len, "softcap", r->softcap, "sink", r->sink);
}

/* The layers of all operations like operation i, "-" outside the layers. False where one before i was like it. */
static bool like_layers(const struct program *p, int64_t i, char *layers, size_t size)
{
	struct program_choice c, other;
	program_choice(p, i, &c);
	for (int64_t j = 0; j < i; j++) {
		program_choice(p, j, &other);
		if (same_choice(&c, &other))
			return false;
	}
	if (c.layer < 0) {
		snprintf(layers, size, "-");
		return true;
	}
	int first = c.layer, last = c.layer;
	layers[0] = '\0';
	for (int64_t j = i + 1; j < program_n_choices(p); j++) {
		program_choice(p, j, &other);
		if (!same_choice(&c, &other) || other.layer == last)
			continue;
		if (other.layer != last + 1) {
			append_layer(layers, size, first, last);
			first = other.layer;
		}
		last = other.layer;
	}
	append_layer(layers, size, first, last);
	return true;
}

/* How a step runs a layer's attention. A GPU runs decode and verify steps as graphs, where that is on, and eagerly where a step is
 * larger than the largest graph: the same kernel with the same arguments. */
struct use {
	const char *name, *run; /* run: on a GPU */
	int64_t q_len; /* most tokens of a sequence */
};

static int list_uses(const struct program_config *c, struct use uses[5])
{
	/* Without guesses it is what a step may have at all. */
	int64_t most = c->max_tokens, verify = c->max_decode > c->max_seqs ? c->max_decode / c->max_seqs : most;
	int n = 0;
	uses[n++] = (struct use){ "prefill", "eager", most };
	for (int graph = c->graph && c->gpu_facts; graph >= 0; graph--)
		uses[n++] = (struct use){ "decode", graph ? "graph" : "eager", 1 };
	for (int graph = c->graph && c->gpu_facts; graph >= 0; graph--)
		uses[n++] = (struct use){ "verify", graph ? "graph" : "eager", verify };
	return n;
}

static json_t *choice_row(const struct program_choice *c, const char *layers, const struct use *use, bool on_gpu)
{
	json_t *row = json_pack("{s:s, s:s, s:o, s:s, s:o}", "layers", layers, "kind", c->op, "request",
				request_json(c, use ? use->q_len : c->attention ? c->attention->max_q_len : 0), "use",
				use ? use->name : "all", "refused", refusals(c->pick));
	row = with_key(row, "backend", c->pick->row >= 0 ? json_string(c->pick->kernel) : json_null());
	if (use && on_gpu)
		row = with_key(row, "run", json_string(use->run));
	return row;
}

/* One row a group of operations that ask the same and got the same; for attention, one a way of running. The program has chosen
 * for the longest steps, and no kernel refuses shorter ones. */
static json_t *choices(const struct program *p, const char *only)
{
	const struct program_config *config = program_get_config(p);
	struct use uses[5];
	int n_uses = list_uses(config, uses);
	json_t *rows = json_array();
	for (int64_t i = 0; i < program_n_choices(p); i++) {
		struct program_choice c;
		char layers[1024];
		program_choice(p, i, &c);
		if ((only && strcmp(c.op, only) != 0) || !like_layers(p, i, layers, sizeof layers))
			continue;
		if (!c.attention || only) {
			rows = with_item(rows, choice_row(&c, layers, NULL, false));
			continue;
		}
		for (int u = 0; u < n_uses; u++)
			rows = with_item(rows, choice_row(&c, layers, &uses[u], config->gpu_facts));
	}
	return rows;
}

/* The type of keys and values. */
static json_t *kv_json(const struct setup *s)
{
	return json_string(s->kv == KV_AS_COMPUTED ? dtype_name(s->compute) : s->options.kv_dtype);
}

static json_t *memory_json(const struct setup *s)
{
	json_t *groups = json_array();
	int64_t pages = 0;
	for (int g = 0; g < program_n_groups(s->program); g++) {
		pages += s->n_pages[g];
		groups = with_item(groups, json_pack("{s:I, s:I, s:I}", "window",
						     (json_int_t)program_group_window(s->program, g), "pages",
						     (json_int_t)s->n_pages[g], "kv_per_token",
						     (json_int_t)s->memory.group_kv_per_token[g]));
	}
	json_t *o = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "weights",
			      (json_int_t)s->memory.weights, "weights_per_token",
			      (json_int_t)s->memory.weights_per_token, "kv_per_token",
			      (json_int_t)s->memory.kv_per_token, "page_size", (json_int_t)s->page_size, "pages",
			      (json_int_t)pages, "kv", (json_int_t)s->kv_bytes, "activations",
			      (json_int_t)s->memory.activations, "workspace", (json_int_t)s->memory.workspace,
			      "available", (json_int_t)s->available, "longest_context", (json_int_t)s->context);
	o = with_key(o, "groups", groups);
	const struct gpu_budget *b = &s->budget;
	if (s->gpu >= 0) {
		o = with_key(o, "driver", json_integer((json_int_t)b->driver));
		o = with_key(o, "reserve", json_integer((json_int_t)b->reserve));
	}
	if (s->gpu >= 0 && b->total)
		o = with_key(o, "gpu", json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "total", (json_int_t)b->total,
						 "driver", (json_int_t)b->driver, "weights", (json_int_t)b->weights,
						 "buffers", (json_int_t)b->buffers, "graphs", (json_int_t)b->graphs, "draft",
						 (json_int_t)b->draft, "kv", (json_int_t)b->kv, "free",
						 (json_int_t)b->available));
	if (s->context_why[0])
		o = with_key(o, "context_why", json_string(s->context_why));
	return o;
}

/* Takes o. */
static int give_text(json_t *o, char **json)
{
	*json = o ? json_text(o) : NULL;
	json_decref(o);
	if (!*json)
		FAIL(VB_ENOMEM, "out of memory: JSON");
	return VB_OK;
}

static const char *method_name(enum spec_method method)
{
	static const char *const names[] = { [SPEC_NONE] = "none", [SPEC_NGRAM] = "ngram", [SPEC_DRAFT] = "draft" };
	return names[method];
}

int vb_engine_info(const struct vb_engine *e, char **json)
{
	if (!e || !json)
		FAIL(VB_EINVAL, "invalid call: vb_engine_info: no argument may be NULL");
	*json = NULL;
	const struct setup *s = &e->setup;
	json_t *attention = json_array(), *row;
	json_t *rows = choices(s->program, "attention");
	size_t i;
	json_array_foreach(rows, i, row)
		attention = with_item(attention, json_pack("{s:O, s:O}", "layers", json_object_get(row, "layers"),
							   "backend", json_object_get(row, "backend")));
	if (!rows) {
		json_decref(attention);
		attention = NULL;
	}
	json_decref(rows);
	json_t *o = json_pack("{s:o, s:s, s:s, s:s, s:s, s:i, s:I, s:I, s:I, s:f, s:o, s:o}", "model", path_json(e->model_dir),
			      "family", model_family_name(s->config), "device", s->device, "device_why", s->device_why,
			      "dtype", dtype_name(s->compute), "threads", s->n_threads, "context",
			      (json_int_t)s->context, "page_size", (json_int_t)s->page_size, "prefill_chunk",
			      (json_int_t)s->chunk, "load_s", e->load_s, "attention", attention, "memory",
			      memory_json(s));
	o = with_key(o, "kv_dtype", kv_json(s));
	char format[64];
	weights_words(s->weights, format);
	o = with_key(o, "weight_format", json_string(format));
	o = with_key(o, "speculation", json_string(method_name(s->speculate)));
	struct program_graphs g;
	program_graphs(s->program, &g);
	if (g.n)
		o = with_key(o, "graphs", json_pack("{s:I, s:I, s:I, s:f}", "n", (json_int_t)g.n, "most_tokens",
						    (json_int_t)g.most_tokens, "bytes", (json_int_t)g.bytes, "capture_s",
						    g.seconds));
	o = with_key(o, "vocabulary", json_integer((json_int_t)program_n_vocab(s->program)));
	return give_text(o, json);
}

int vb_explain(const char *model_dir, const struct vb_options *options, const char *facts, char **json)
{
	if (!json)
		FAIL(VB_EINVAL, "invalid call: vb_explain: json must not be NULL");
	*json = NULL;
	struct setup s;
	TRY(setup_create(&s, model_dir, options, facts));
	if (!facts) {
		if (strcmp(s.options.device, "cpu") == 0)
			gpu_probe(&s.facts);
		gpu_probe_images(&s.facts);
	}
	json_t *o = json_pack("{s:o, s:s, s:s}", "facts", hw_facts_json(&s.facts), "device", s.device, "device_why",
			      s.device_why);
	if (model_dir) {
		o = with_key(o, "model", path_json(model_dir));
		o = with_key(o, "family", json_string(model_family_name(s.config)));
		char format[64];
		weights_words(s.weights, format);
		o = with_key(o, "dtype", json_string(dtype_name(s.compute)));
		o = with_key(o, "kv_dtype", kv_json(&s));
		o = with_key(o, "weight_format", json_string(format));
		o = with_key(o, "threads", json_integer(s.n_threads));
		o = with_key(o, "layers", choices(s.program, NULL));
		o = with_key(o, "memory", memory_json(&s));
	}
	int rc = give_text(o, json);
	if (rc == VB_OK && s.pick_rc != VB_OK)
		rc = status_fail(s.pick_rc, __FILE__, __LINE__, "%s", s.pick_message);
	setup_destroy(&s);
	return rc;
}

/* A counter for each distance that guesses can have. */
static json_t *distances(const struct vb_engine *e, const int64_t *counters)
{
	json_t *list = json_array();
	for (int i = 0; i < e->setup.max_draft; i++)
		list = with_item(list, json_integer((json_int_t)counters[i]));
	return list;
}

static json_t *pages_json(const struct vb_engine *e, const struct kv_stats *kv)
{
	json_t *pages = json_array();
	for (int g = 0; g < e->limits.n_groups; g++)
		pages = with_item(pages, json_pack("{s:I, s:I, s:I, s:I}", "window", (json_int_t)e->limits.window[g],
						   "used", (json_int_t)kv->used[g], "cached", (json_int_t)kv->cached[g],
						   "free", (json_int_t)kv->free[g]));
	return pages;
}

int vb_engine_stats(struct vb_engine *e, char **json)
{
	if (!e || !json)
		FAIL(VB_EINVAL, "invalid call: vb_engine_stats: no argument may be NULL");
	*json = NULL;
	struct engine_snapshot now;
	pthread_mutex_lock(&e->shown_lock);
	now = e->shown;
	pthread_mutex_unlock(&e->shown_lock);
	/* Read after the others: it is never behind those that have ended. */
	long long submitted = atomic_load(&e->n_submitted);
	const struct engine_stats *s = &now.stats;
	const struct kv_stats *kv = &now.kv;
	json_t *o = json_pack(
		"{s:{s:I, s:I}, s:I, s:I, s:I, s:{s:s, s:I, s:I, s:I, s:o, s:o}, s:{s:I, s:I, s:I, s:I, s:I}, s:o}",
		"requests", "submitted", (json_int_t)submitted, "ended", (json_int_t)s->ended, "steps",
		(json_int_t)s->steps, "tokens", (json_int_t)s->tokens, "preemptions", (json_int_t)s->preemptions,
		"speculation", "method", method_name(e->setup.speculate), "steps", (json_int_t)s->draft_steps, "proposed",
		(json_int_t)s->proposed, "accepted", (json_int_t)s->accepted, "proposed_at", distances(e, s->proposed_at),
		"accepted_at", distances(e, s->accepted_at), "prefix_cache", "queries", (json_int_t)kv->queries,
		"queried_tokens", (json_int_t)kv->queried_tokens, "hit_tokens", (json_int_t)kv->hit_tokens, "nodes",
		(json_int_t)kv->nodes, "evicted_nodes", (json_int_t)kv->evicted_nodes, "pages", pages_json(e, kv));
	return give_text(o, json);
}
