/* engine.c - opening and closing. */
#include "step.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "ops/kernels.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int bind_weights(struct vb_engine *e)
{
	struct setup *s = &e->setup;
	if (s->options.random_weights)
		return program_bind_random(s->program, e->team, s->options.random_seed);
	return weights_bind(s->weights, s->program, e->team);
}

/* Adds what was taken of the GPU's memory since the last look to *what. */
static int look(struct vb_engine *e, uint64_t *what)
{
	struct gpu_budget *b = &e->setup.budget;
	uint64_t before = b->available;
	if (!e->gpu)
		return VB_OK;
	TRY(gpu_memory(e->gpu, &b->available, &b->total));
	*what += before > b->available ? before - b->available : 0;
	return VB_OK;
}

/* Decides, and opens the GPU, where one runs the model. Left to choose, a GPU that the rules let hope but that does not open
 * gives way to the CPU, and that is said. */
static int open_device(struct vb_engine *e, const struct vb_options *options)
{
	TRY(setup_create(&e->setup, e->model_dir, options, NULL));
	int rc = e->setup.gpu >= 0 ? gpu_open(&e->gpu, e->setup.gpu) : VB_OK;
	if (rc != VB_OK) {
		if (strcmp(e->setup.options.device, "auto") != 0)
			return rc;
		struct vb_options cpu = e->setup.options;
		char why[sizeof e->setup.device_why];
		snprintf(why, sizeof why, "%s: %.200s", e->setup.device, vb_errmsg());
		log_line(&e->setup.log, LOG_WARN, "running on the CPU: %s", why);
		cpu.device = "cpu";
		setup_destroy(&e->setup);
		TRY(setup_create(&e->setup, e->model_dir, &cpu, NULL));
		snprintf(e->setup.device_why, sizeof e->setup.device_why, "%s", why);
	}
	if (e->setup.pick_rc != VB_OK)
		FAIL(e->setup.pick_rc, "%s", e->setup.pick_message);
	if (!e->gpu)
		return VB_OK;
	program_set_gpu(e->setup.program, e->gpu);
	struct gpu_budget *b = &e->setup.budget;
	TRY(gpu_memory(e->gpu, &b->available, &b->total));
	b->driver = b->total - b->available;
	return VB_OK;
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

static int make_spec(struct vb_engine *e)
{
	const struct setup *s = &e->setup;
	e->max_draft = s->max_draft;
	struct spec_config c = {
		.method = s->speculate, .max_draft = s->max_draft, .automatic = s->options.draft_tokens < 0,
		.max_seqs = s->max_batch, .context = s->context + MAX_DRAFT, .draft_dir = s->options.draft_model,
		.compute = s->compute, .compute_auto = strcmp(s->options.dtype, "auto") == 0, .isa = s->isa,
		.n_threads = s->n_threads, .page_size = s->page_size, .chunk = s->chunk,
		.n_vocab = program_n_vocab(s->program), .gpu = e->gpu, .graph = s->options.graph,
	};
	return spec_create(&e->spec, e->team, &c);
}

/* The GPU's memory, part by part, for who follows the log. */
static void log_budget(const struct setup *s)
{
	const struct gpu_budget *b = &s->budget;
	log_line(&s->log, LOG_INFO, "GPU memory, MiB: %.1f = driver %.1f + weights %.1f + buffers %.1f + graphs %.1f + draft %.1f "
				    "+ keys and values %.1f + free %.1f (%.1f kept)",
		 (double)b->total / 0x1p20, (double)b->driver / 0x1p20, (double)b->weights / 0x1p20,
		 (double)b->buffers / 0x1p20, (double)b->graphs / 0x1p20, (double)b->draft / 0x1p20, (double)b->kv / 0x1p20,
		 (double)b->available / 0x1p20, (double)b->reserve / 0x1p20);
}

/* Everything of the GPU's memory but the caches is taken first, the graphs and the draft too, and measured; the caches get what is
 * left. */
static int fit_cache(struct vb_engine *e)
{
	struct setup *s = &e->setup;
	struct gpu_budget *b = &s->budget;
	struct program_graphs graphs;
	int64_t most[PROGRAM_MAX_GROUPS];
	setup_most_pages(s, most);
	TRY(program_prepare(s->program, most));
	program_graphs(s->program, &graphs);
	if (graphs.n)
		log_line(&s->log, LOG_INFO, "%lld graphs of up to %lld tokens: %.1f MiB, captured in %.2f s",
			 (long long)graphs.n, (long long)graphs.most_tokens, (double)graphs.bytes / 0x1p20, graphs.seconds);
	TRY(look(e, &b->buffers));
	b->graphs = graphs.bytes;
	b->buffers -= b->buffers > b->graphs ? b->graphs : b->buffers;
	TRY(make_spec(e));
	TRY(look(e, &b->draft));
	TRY(setup_fit(s));
	TRY(program_take_pages(s->program, s->n_pages));
	TRY(look(e, &b->kv));
	log_budget(s);
	return VB_OK;
}

static int make_cache(struct vb_engine *e)
{
	struct setup *s = &e->setup;
	if (e->gpu) {
		TRY(fit_cache(e));
	} else {
		TRY(program_allocate(s->program, s->n_pages));
		TRY(make_spec(e));
	}
	struct kv_config c = { .page_size = s->page_size, .n_groups = program_n_groups(s->program),
			       .max_seqs = s->max_batch, .max_tokens = s->context,
			       .prefix_cache = s->options.prefix_cache };
	int64_t step = s->chunk > s->max_draft ? s->chunk : s->max_draft + 1;
	e->limits = (struct sched_limits){ .max_seqs = s->max_batch, .chunk = s->chunk, .page_size = s->page_size,
					   .n_groups = c.n_groups };
	for (int g = 0; g < c.n_groups; g++) {
		c.group[g].window = e->limits.window[g] = program_group_window(s->program, g);
		c.group[g].n_pages = s->n_pages[g];
		/* One sequence as long as the context always fits: no request that was let in can be stuck. */
		CHECK(s->n_pages[g] >= kv_most_pages(c.group[g].window, s->page_size, s->context, step));
	}
	TRY(kv_create(&e->kv, &c));
	return batch_create(&e->batch, s->program);
}

static int take_memory(struct vb_engine *e)
{
	struct setup *s = &e->setup;
	TRY(make_cache(e));
	engine_show(e);
	size_t seqs = (size_t)s->max_batch;
	e->wishes = mem_calloc((size_t)program_get_config(s->program)->max_tokens, sizeof *e->wishes);
	e->view = mem_calloc(2 * seqs, sizeof *e->view);
	e->decision = mem_calloc(2 * seqs, sizeof *e->decision);
	e->viewed = mem_calloc(2 * seqs, sizeof *e->viewed);
	e->drafting = mem_calloc(seqs, sizeof *e->drafting);
	e->items = mem_calloc(seqs, sizeof *e->items);
	struct flight *flights[] = { &e->flight, &e->next_flight };
	for (int i = 0; i < 2; i++) {
		flights[i]->requests = mem_calloc(seqs, sizeof *flights[i]->requests);
		flights[i]->wishes = mem_calloc(seqs, sizeof *flights[i]->wishes);
		if (!flights[i]->requests || !flights[i]->wishes)
			return VB_ENOMEM;
	}
	e->from = mem_calloc(seqs, sizeof *e->from);
	e->states = mem_calloc(seqs, sizeof(struct spec_state *));
	return e->from && e->states && e->wishes && e->view && e->decision && e->viewed && e->drafting && e->items ? VB_OK : VB_ENOMEM;
}

static void destroy(struct vb_engine *e)
{
	/* Requests hold sequences of the cache and of the draft: they go first. */
	if (e->requests_end)
		engine_end_all(e, VB_ECANCELLED);
	spec_destroy(&e->spec);
	batch_destroy(&e->batch);
	kv_destroy(&e->kv);
	setup_destroy(&e->setup);
	gpu_close(&e->gpu);
	vb_tokenizer_close(&e->tokenizer);
	team_destroy(&e->team);
	mem_free(e->model_dir);
	mem_free(e->wishes);
	mem_free(e->flight.requests);
	mem_free(e->flight.wishes);
	mem_free(e->next_flight.requests);
	mem_free(e->next_flight.wishes);
	mem_free(e->from);
	mem_free(e->states);
	mem_free(e->view);
	mem_free(e->decision);
	mem_free(e->viewed);
	mem_free(e->drafting);
	mem_free(e->items);
	pthread_mutex_destroy(&e->lock);
	pthread_mutex_destroy(&e->shown_lock);
	pthread_cond_destroy(&e->changed);
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
	pthread_mutex_init(&e->lock, NULL);
	pthread_mutex_init(&e->shown_lock, NULL);
	pthread_cond_init(&e->changed, NULL);
	e->requests_end = &e->requests;
	e->inbox_end = &e->inbox;
	e->model_dir = mem_strdup(model_dir);
	if (!e->model_dir)
		FAIL_TO(out, VB_ENOMEM, "out of memory: vb_engine_open");
	TRY_TO(out, open_device(e, options));
	TRY_TO(out, team_create(&e->team, e->setup.n_threads));
	TRY_TO(out, open_tokenizer(e));
	TRY_TO(out, read_generation_config(e));
	TRY_TO(out, bind_weights(e));
	TRY_TO(out, look(e, &e->setup.budget.weights));
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
	struct vb_engine *e = *engine;
	TRY(vb_engine_stop(e));
	pthread_mutex_lock(&e->lock);
	bool busy = e->driving || e->n_waiters > 0;
	if (!busy) {
		/* Callbacks of requests that end now find the engine as in a step, and nobody is let in. */
		e->driving = e->closed = true;
		e->driver = pthread_self();
	}
	pthread_mutex_unlock(&e->lock);
	if (busy)
		FAIL(VB_ESTATE, "engine busy: vb_engine_close: cancel what runs and wait for it first");
	destroy(e);
	*engine = NULL;
	return VB_OK;
}

const struct vb_tokenizer *vb_engine_tokenizer(const struct vb_engine *e)
{
	return e ? e->tokenizer : NULL;
}
