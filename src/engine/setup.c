/* setup.c - everything that is decided before weights are read. */
#include "engine_internal.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdio.h>
#include <string.h>

/* Share of the free memory that the KV cache may take where no option says how much. */
#define KV_SHARE 0.8
/* Positions are 32-bit numbers in kernels and plans, with room for a page. */
#define MAX_CONTEXT (((int64_t)1 << 30) - 65536)

static void log_to_user(void *user, enum log_level level, const char *text)
{
	const struct vb_options *o = user;
	o->log(o->log_user, (enum vb_log_level)level, text);
}

static int check_options(const struct vb_options *o)
{
	if (o->size != sizeof *o)
		FAIL(VB_EINVAL, "invalid options: size %zu: call vb_options_default first", o->size);
	if (!o->device || !o->dtype || !o->cpu_isa || !o->attention || !o->speculate)
		FAIL(VB_EINVAL, "invalid options: a name is NULL: call vb_options_default first");
	if (o->page_size < 0 || (o->page_size & (o->page_size - 1)) || o->page_size > 65536)
		FAIL(VB_EINVAL, "invalid --page-size: %lld: use a power of two up to 65536", (long long)o->page_size);
	if (o->context < 0 || o->context > MAX_CONTEXT)
		FAIL(VB_EINVAL, "invalid --context: %lld: use 1 to %lld", (long long)o->context,
		     (long long)MAX_CONTEXT);
	if (o->max_batch < 0 || o->max_batch > 65536)
		FAIL(VB_EINVAL, "invalid --max-batch: %lld: use 1 to 65536", (long long)o->max_batch);
	if (o->prefill_chunk < 0 || o->prefill_chunk > 65536)
		FAIL(VB_EINVAL, "invalid --prefill-chunk: %lld: use 1 to 65536", (long long)o->prefill_chunk);
	if (o->threads < 0 || o->threads > 4096)
		FAIL(VB_EINVAL, "invalid --threads: %d: use 1 to 4096", o->threads);
	if (strcmp(o->speculate, "none") != 0)
		FAIL(VB_EUNSUPPORTED, "unsupported --speculate: %s: this version does not speculate: use none",
		     o->speculate);
	return VB_OK;
}

static int choose_device(struct setup *s)
{
	const char *device = s->options.device;
	if (strcmp(device, "cpu") == 0)
		return VB_OK;
	if (strcmp(device, "auto") == 0) {
		snprintf(s->device_why, sizeof s->device_why, "%sthis build carries no GPU kernels",
			 s->facts.cuda_driver ? "an NVIDIA driver is there, but " : "");
		return VB_OK;
	}
	if (strcmp(device, "cuda") == 0 || strncmp(device, "cuda:", 5) == 0)
		FAIL(VB_EUNSUPPORTED, "cannot use --device %s: this build carries no GPU kernels: use --device cpu",
		     device);
	FAIL(VB_EINVAL, "unknown --device: %s: use auto, cpu, cuda or cuda:N", device);
}

int setup_machine(struct setup *s, const struct vb_options *options, const char *facts)
{
	vb_options_default(&s->options);
	if (options)
		s->options = *options;
	TRY(check_options(&s->options));
	if (s->options.log)
		s->log = (struct logger){ log_to_user, &s->options, (enum log_level)s->options.log_level };
	if (facts)
		TRY(hw_facts_parse(&s->facts, facts, strlen(facts), "--facts"));
	else
		TRY(hw_facts_probe(&s->facts));
	TRY(hw_isa_level(s->options.cpu_isa, s->facts.isa, &s->isa));
	s->n_threads = s->options.threads ? s->options.threads : s->facts.n_threads;
	return choose_device(s);
}

static int choose_type(struct setup *s)
{
	const char *name = s->options.dtype;
	if (strcmp(name, "auto") == 0)
		s->compute = s->config->dtype;
	else if (strcmp(name, "bf16") == 0)
		s->compute = DTYPE_BF16;
	else if (strcmp(name, "f16") == 0)
		s->compute = DTYPE_F16;
	else if (strcmp(name, "f32") == 0)
		s->compute = DTYPE_F32;
	else
		FAIL(VB_EINVAL, "unknown --dtype: %s: use auto, bf16, f16 or f32", name);
	return VB_OK;
}

/* A program for sequences of up to `context` tokens. A failing pick is kept, other failures are returned. */
static int build_program(struct setup *s, int64_t context)
{
	program_destroy(&s->program);
	struct program_config config = {
		.compute = s->compute, .isa = s->isa, .n_threads = s->n_threads,
		.attention = strcmp(s->options.attention, "auto") == 0 ? NULL : s->options.attention,
		.max_tokens = s->chunk > s->max_batch ? s->chunk : s->max_batch, .max_seqs = s->max_batch,
		.max_rows = s->max_batch > 32 ? s->max_batch : 32, .context = context,
		.page_size = s->page_size,
	};
	TRY(program_create(&s->program, &config));
	TRY(model_build(s->program, s->config));
	s->pick_rc = program_pick(s->program);
	if (s->pick_rc == VB_ENOMEM)
		return s->pick_rc;
	if (s->pick_rc != VB_OK)
		snprintf(s->pick_message, sizeof s->pick_message, "%s", vb_errmsg());
	s->context = context;
	return VB_OK;
}

/* Pages that the budget holds, at most those of max_batch sequences of `context` tokens. */
static int size_cache(struct setup *s)
{
	int64_t wanted_context = s->options.context ? s->options.context : s->config->max_position;
	if (wanted_context > MAX_CONTEXT)
		wanted_context = MAX_CONTEXT;
	TRY(build_program(s, wanted_context));
	program_memory(s->program, &s->memory);
	uint64_t taken = s->memory.weights + s->memory.activations + s->memory.workspace;
	if (!s->options.kv_memory && taken >= s->facts.memory)
		FAIL(VB_ELIMIT, "not enough memory: %s: %.1f MiB for weights and %.1f MiB for buffers, but %.1f MiB are "
				"available: use a smaller model, or lower --prefill-chunk and --max-batch", s->config->where,
		     (double)s->memory.weights / 0x1p20, (double)(taken - s->memory.weights) / 0x1p20,
		     (double)s->facts.memory / 0x1p20);
	uint64_t page_bytes = s->memory.kv_per_token * (uint64_t)s->page_size;
	int64_t pages_each = (wanted_context + s->page_size - 1) / s->page_size;
	uint64_t budget = s->options.kv_memory;
	if (!budget)
		budget = (uint64_t)((double)(s->facts.memory - taken) * KV_SHARE);
	int64_t fits = page_bytes ? (int64_t)(budget / page_bytes) : pages_each * s->max_batch;
	s->n_pages = pages_each * s->max_batch < fits ? pages_each * s->max_batch : fits;
	s->n_pages = s->n_pages < INT32_MAX ? s->n_pages : INT32_MAX;
	/* Weights in the file's own form may exceed the memory: they are mapped. What is allocated may not. */
	uint64_t allocated = taken - (s->options.random_weights ? 0 : s->memory.weights);
	if (allocated + (uint64_t)s->n_pages * page_bytes > s->facts.memory)
		FAIL(VB_ELIMIT, "not enough memory: %.1f MiB for keys and values and %.1f MiB more, but %.1f MiB are "
				"available: lower --kv-memory, --max-batch or --prefill-chunk",
		     (double)((uint64_t)s->n_pages * page_bytes) / 0x1p20, (double)allocated / 0x1p20,
		     (double)s->facts.memory / 0x1p20);
	if (s->n_pages >= pages_each)
		return VB_OK;
	int64_t context = s->n_pages * s->page_size;
	if (s->n_pages < 1 || s->options.context)
		FAIL(VB_ELIMIT, "not enough memory for the KV cache: a sequence of %lld tokens needs %.1f MiB, %.1f MiB "
				"are there: lower --context (%lld would fit)%s",
		     (long long)wanted_context, (double)page_bytes * (double)pages_each / 0x1p20,
		     (double)budget / 0x1p20, (long long)context,
		     s->options.kv_memory ? " or raise --kv-memory" : "");
	snprintf(s->context_why, sizeof s->context_why,
		 "the model allows %lld tokens; the KV cache of %.1f MiB holds %lld", (long long)wanted_context,
		 (double)budget / 0x1p20, (long long)context);
	log_line(&s->log, LOG_WARN, "context lowered to %lld tokens: %s", (long long)context, s->context_why);
	return build_program(s, context);
}

int setup_create(struct setup *s, const char *model_dir, const struct vb_options *options, const char *facts)
{
	*s = (struct setup){ 0 };
	int rc;
	TRY_TO(out, setup_machine(s, options, facts));
	if (!model_dir)
		goto out;
	TRY_TO(out, model_config_read(&s->config, model_dir));
	TRY_TO(out, choose_type(s));
	s->page_size = s->options.page_size ? s->options.page_size : 64;
	s->max_batch = s->options.max_batch ? s->options.max_batch : 1;
	s->chunk = s->options.prefill_chunk ? s->options.prefill_chunk : 512;
	if (s->options.context > s->config->max_position)
		log_line(&s->log, LOG_WARN, "--context %lld is longer than the %lld positions the model was made for",
			 (long long)s->options.context, (long long)s->config->max_position);
	TRY_TO(out, size_cache(s));
	program_memory(s->program, &s->memory);
out:
	if (rc != VB_OK)
		setup_destroy(s);
	return rc;
}

void setup_destroy(struct setup *s)
{
	program_destroy(&s->program);
	model_config_destroy(&s->config);
}
