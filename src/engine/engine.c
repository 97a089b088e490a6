/* engine.c - opening and closing. */
#include "engine_internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "ops/kernels.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct tensor *find_tensor(void *user, const char *name)
{
	return tensor_set_find(user, name);
}

static void release_tensor(void *user, const struct tensor *t)
{
	tensor_set_release(user, t);
}

static int bind_weights(struct vb_engine *e)
{
	struct setup *s = &e->setup;
	if (s->options.random_weights)
		return program_bind_random(s->program, e->team, s->options.random_seed);
	TRY(tensor_set_open(&e->tensors, e->model_dir));
	tensor_set_prefetch(e->tensors);
	int rc = program_bind(s->program, e->team, find_tensor, release_tensor, e->tensors);
	if (rc == VB_OK)
		return tensor_set_unchanged(e->tensors);
	return status_prefix(rc, "%s", e->model_dir);
}

/* The folder's tokeniser; a folder without one still serves token ids. */
static int open_tokenizer(struct vb_engine *e)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/tokenizer.json", e->model_dir);
	if (access(path, F_OK) != 0)
		return VB_OK;
	return vb_tokenizer_open(&e->tokenizer, e->model_dir);
}

static void add_eos(struct vb_engine *e, int32_t id)
{
	if (id < 0 || id >= program_n_vocab(e->setup.program))
		return;
	for (int64_t i = 0; i < e->n_eos; i++)
		if (e->eos[i] == id)
			return;
	if (e->n_eos < (int64_t)(sizeof e->eos / sizeof *e->eos))
		e->eos[e->n_eos++] = id;
}

/* generation_config.json's end tokens win over config.json's; the tokeniser's is used where neither names one. */
static int read_generation_config(struct vb_engine *e)
{
	TRY(generation_config_read(&e->generation, e->model_dir));
	for (int64_t i = 0; i < e->generation.n_eos; i++)
		add_eos(e, e->generation.eos[i]);
	for (int64_t i = 0; i < e->setup.config->n_eos && !e->generation.n_eos; i++)
		add_eos(e, e->setup.config->eos[i]);
	if (!e->n_eos && e->tokenizer)
		add_eos(e, tokenizer_eos(e->tokenizer->t));
	return VB_OK;
}

static int take_memory(struct vb_engine *e)
{
	struct setup *s = &e->setup;
	int64_t n_pages[PROGRAM_MAX_GROUPS];
	for (int g = 0; g < PROGRAM_MAX_GROUPS; g++)
		n_pages[g] = s->n_pages;
	TRY(program_allocate(s->program, n_pages));
	TRY(page_pool_create(&e->pool, s->n_pages, s->page_size));
	TRY(block_table_init(&e->table, (s->context + s->page_size - 1) / s->page_size));
	size_t tokens = (size_t)program_get_config(s->program)->max_tokens;
	size_t rows = (size_t)program_get_config(s->program)->max_rows;
	size_t vocab = (size_t)program_n_vocab(s->program);
	e->ids = mem_calloc(tokens, sizeof *e->ids);
	e->position = mem_calloc(tokens, sizeof *e->position);
	e->rope_len = mem_calloc(tokens, sizeof *e->rope_len);
	e->slot = mem_calloc(tokens, sizeof *e->slot);
	e->rows = mem_calloc(rows, sizeof *e->rows);
	e->work = mem_calloc(vocab, sizeof *e->work);
	e->candidate = mem_calloc(vocab, sizeof *e->candidate);
	e->in_prompt = mem_calloc(vocab, sizeof *e->in_prompt);
	e->count = mem_calloc(vocab, sizeof *e->count);
	if (!e->ids || !e->position || !e->rope_len || !e->slot || !e->rows || !e->work || !e->candidate ||
	    !e->in_prompt || !e->count)
		return VB_ENOMEM;
	e->sample = sample_kernel_for(s->isa);
	struct log_softmax_request r = { (int64_t)vocab };
	struct pick pick;
	TRY(log_softmax_pick(s->isa, &r, NULL, &pick));
	e->log_softmax = log_softmax_kernel(pick.row);
	return VB_OK;
}

static void destroy(struct vb_engine *e)
{
	setup_destroy(&e->setup);
	tensor_set_close(&e->tensors);
	vb_tokenizer_close(&e->tokenizer);
	team_destroy(&e->team);
	block_table_fini(&e->table, e->pool);
	page_pool_destroy(&e->pool);
	mem_free(e->model_dir);
	mem_free(e->ids);
	mem_free(e->position);
	mem_free(e->rope_len);
	mem_free(e->slot);
	mem_free(e->rows);
	mem_free(e->work);
	mem_free(e->candidate);
	mem_free(e->in_prompt);
	mem_free(e->count);
	mem_free(e);
}

int vb_engine_open(struct vb_engine **out, const char *model_dir, const struct vb_options *options)
{
	if (!out || !model_dir)
		FAIL(VB_EINVAL, "invalid call: vb_engine_open: out and model_dir must not be NULL");
	*out = NULL;
	double start = clock_s();
	struct vb_engine *e = mem_calloc(1, sizeof *e);
	if (!e)
		return VB_ENOMEM;
	int rc;
	e->model_dir = mem_strdup(model_dir);
	if (!e->model_dir)
		FAIL_TO(out, VB_ENOMEM, "out of memory: vb_engine_open");
	TRY_TO(out, setup_create(&e->setup, model_dir, options, NULL));
	if (e->setup.pick_rc != VB_OK)
		FAIL_TO(out, e->setup.pick_rc, "%s", e->setup.pick_message);
	TRY_TO(out, team_create(&e->team, e->setup.n_threads));
	TRY_TO(out, open_tokenizer(e));
	TRY_TO(out, read_generation_config(e));
	TRY_TO(out, bind_weights(e));
	TRY_TO(out, take_memory(e));
	e->load_s = clock_s() - start;
out:
	if (rc == VB_OK)
		*out = e;
	else
		destroy(e);
	return rc;
}

int vb_engine_close(struct vb_engine **engine)
{
	if (!engine || !*engine)
		return VB_OK;
	if (atomic_load(&(*engine)->busy))
		FAIL(VB_ESTATE, "engine busy: vb_engine_close: cancel the generation and wait for it first");
	destroy(*engine);
	*engine = NULL;
	return VB_OK;
}

const struct vb_tokenizer *vb_engine_tokenizer(const struct vb_engine *e)
{
	return e ? e->tokenizer : NULL;
}
