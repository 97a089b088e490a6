/* setup.c - everything that is decided before weights are read. */
#include "requests.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdio.h>
#include <string.h>

/* Share of a CPU's free memory that the KV cache may take where no option says how much. */
#define KV_SHARE 0.8
/* Positions are 32-bit numbers in kernels and plans, with room for a page. */
#define MAX_CONTEXT (((int64_t)1 << 30) - 65536)
/* What a GPU's memory holds besides, as far as can be said before it is opened: the driver's context (0.55 GB on an H100 with
 * driver 580), code, graphs. */
#define GPU_DRIVER ((uint64_t)1 << 30)
/* What stays free of a GPU: a 32nd, at most 1 GiB, for what the driver takes while running, and for measuring. */
#define GPU_FREE_SHARE 32
#define GPU_FREE_MOST ((uint64_t)1 << 30)
/* Rows of logits at once on a GPU: a row of 128,000 logits takes half a megabyte. */
#define GPU_MAX_ROWS 256
/* Most guesses where their number is chosen automatically: few texts reward more. */
#define AUTO_DRAFT 8
/* Prompt tokens a step: enough to keep the arithmetic busy. */
#define CPU_CHUNK 512
#define GPU_CHUNK 2048

static void log_to_user(void *user, enum log_level level, const char *text)
{
	const struct vb_options *o = user;
	o->log(o->log_user, (enum vb_log_level)level, text);
}

static int check_options(const struct vb_options *o)
{
	if (o->size != sizeof *o)
		FAIL(VB_EINVAL, "invalid options: size %zu: call vb_options_default first", o->size);
	if (!o->device || !o->dtype || !o->cpu_isa || !o->attention || !o->speculate || !o->quantize ||
	    !o->kv_dtype)
		FAIL(VB_EINVAL, "invalid options: a name is NULL: call vb_options_default first");
	if (o->page_size < 0 || (o->page_size & (o->page_size - 1)) || o->page_size > 65536)
		FAIL(VB_EINVAL, "invalid --page-size: %lld: use a power of two up to 65536", (long long)o->page_size);
	if (o->context < 0 || o->context > MAX_CONTEXT)
		FAIL(VB_EINVAL, "invalid --context: %lld: use 1 to %lld", (long long)o->context,
		     (long long)MAX_CONTEXT);
	if (o->max_batch < 0 || o->max_batch > ENGINE_MAX_BATCH)
		FAIL(VB_EINVAL, "invalid --max-batch: %lld: use 1 to %d", (long long)o->max_batch, ENGINE_MAX_BATCH);
	if (o->prefill_chunk < 0 || o->prefill_chunk > 65536)
		FAIL(VB_EINVAL, "invalid --prefill-chunk: %lld: use 1 to 65536", (long long)o->prefill_chunk);
	if (o->threads < 0 || o->threads > 4096)
		FAIL(VB_EINVAL, "invalid --threads: %d: use 1 to 4096", o->threads);
	if (o->draft_tokens < -1 || o->draft_tokens > MAX_DRAFT)
		FAIL(VB_EINVAL, "invalid --draft-tokens: %d: use 1 to %d, or auto", o->draft_tokens, MAX_DRAFT);
	return VB_OK;
}

static int choose_speculation(struct setup *s)
{
	const struct vb_options *o = &s->options;
	if (strcmp(o->speculate, "none") == 0)
		s->speculate = SPEC_NONE;
	else if (strcmp(o->speculate, "ngram") == 0)
		s->speculate = SPEC_NGRAM;
	else if (strcmp(o->speculate, "draft") == 0)
		s->speculate = SPEC_DRAFT;
	else if (strcmp(o->speculate, "mtp") == 0 || strcmp(o->speculate, "eagle3") == 0)
		FAIL(VB_EUNSUPPORTED, "unsupported --speculate: %s: not in this version: use ngram, or draft with "
				      "--draft-model", o->speculate);
	else
		FAIL(VB_EINVAL, "unknown --speculate: %s: use none, ngram or draft", o->speculate);
	if (s->speculate == SPEC_DRAFT && !o->draft_model)
		FAIL(VB_EINVAL, "no draft model: --speculate draft needs --draft-model DIR");
	s->max_draft = o->draft_tokens < 0 ? AUTO_DRAFT : o->draft_tokens;
	if (s->speculate == SPEC_NONE)
		s->max_draft = 0;
	return VB_OK;
}

static void use_cpu(struct setup *s)
{
	s->gpu = -1;
	snprintf(s->device, sizeof s->device, "cpu");
	s->available = s->facts.memory;
}

static uint64_t kept_free(uint64_t memory)
{
	return memory / GPU_FREE_SHARE < GPU_FREE_MOST ? memory / GPU_FREE_SHARE : GPU_FREE_MOST;
}

static void use_gpu(struct setup *s, int index)
{
	s->gpu = index;
	snprintf(s->device, sizeof s->device, "cuda:%d", index);
	s->isa = hw_gpu_isa(&s->facts.gpu[index]);
	uint64_t memory = s->facts.gpu[index].memory;
	s->budget = (struct gpu_budget){ .driver = GPU_DRIVER, .reserve = kept_free(memory) };
	uint64_t not_ours = s->budget.driver + s->budget.reserve;
	s->available = memory > not_ours ? memory - not_ours : 0;
}

/* Why GPU `index` cannot run anything, or that it can. */
static bool gpu_serves(const struct setup *s, int index, char why[HW_REASON_MAX])
{
	if (index < s->facts.n_gpus)
		return hw_gpu_runs(&s->facts.gpu[index], HW_PORTABLE, why);
	if (!s->facts.cuda_driver)
		snprintf(why, HW_REASON_MAX, "there is no NVIDIA driver (libcuda.so.1)");
	else if (s->facts.n_gpus == 0)
		snprintf(why, HW_REASON_MAX, "%s", s->facts.gpu_why[0] ? s->facts.gpu_why : "the driver finds no GPU");
	else
		snprintf(why, HW_REASON_MAX, "there are %d GPUs, the last is cuda:%d", s->facts.n_gpus, s->facts.n_gpus - 1);
	return false;
}

/* N of "cuda:N", or -1. */
static int gpu_index(const char *device)
{
	if (strcmp(device, "cuda") == 0)
		return 0;
	int index;
	char rest;
	if (strncmp(device, "cuda:", 5) != 0 || sscanf(device + 5, "%4d%c", &index, &rest) != 1 || index < 0)
		return -1;
	return index;
}

static int choose_device(struct setup *s)
{
	const char *device = s->options.device;
	char why[HW_REASON_MAX] = "";
	use_cpu(s);
	if (strcmp(device, "cpu") == 0)
		return VB_OK;
	if (strcmp(device, "auto") == 0) {
		if (gpu_serves(s, 0, why))
			use_gpu(s, 0);
		snprintf(s->device_why, sizeof s->device_why, "%s", why);
		return VB_OK;
	}
	int index = gpu_index(device);
	if (index < 0)
		FAIL(VB_EINVAL, "unknown --device: %s: use auto, cpu, cuda or cuda:N", device);
	if (!gpu_serves(s, index, why))
		FAIL(VB_EUNSUPPORTED, "cannot use --device %s: %s: use --device cpu, or auto", device, why);
	use_gpu(s, index);
	return VB_OK;
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
	/* Starting the driver takes long: who wants the CPU does not wait for it. */
	if (!facts && strcmp(s->options.device, "cpu") != 0)
		gpu_probe(&s->facts);
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

/* What is served by the CPU alone was asked for: left to choose, it is the device. */
static int give_way_to_cpu(struct setup *s, const char *option)
{
	if (s->gpu < 0 || strcmp(s->options.device, "auto") != 0)
		return VB_OK;
	snprintf(s->device_why, sizeof s->device_why, "%s: %s is for the CPU", s->device, option);
	TRY(hw_isa_level(s->options.cpu_isa, s->facts.isa, &s->isa));
	use_cpu(s);
	return VB_OK;
}

static int choose_kv_type(struct setup *s)
{
	static const struct {
		const char *name;
		enum kv_type type;
		enum dtype dtype;
	} types[] = { { "f32", KV_F32, DTYPE_F32 }, { "bf16", KV_BF16, DTYPE_BF16 }, { "f16", KV_F16, DTYPE_F16 },
		      { "int8", KV_INT8, DTYPE_I8 } };
	const char *name = s->options.kv_dtype;
	s->kv = KV_AS_COMPUTED;
	if (strcmp(name, "auto") == 0)
		return VB_OK;
	size_t i = 0, n = sizeof types / sizeof types[0];
	while (i < n && strcmp(name, types[i].name) != 0)
		i++;
	if (i == n)
		FAIL(VB_EINVAL, "unknown --kv-dtype: %s: use auto, f32, bf16, f16 or int8", name);
	if (types[i].dtype == s->compute)
		return VB_OK;
	TRY(give_way_to_cpu(s, "a --kv-dtype other than --dtype"));
	if (s->gpu >= 0)
		FAIL(VB_EUNSUPPORTED, "unsupported --kv-dtype: %s on %s: a GPU keeps keys and values in the type that it computes in "
				      "(%s): leave it out, or use --device cpu", name, s->device, dtype_name(s->compute));
	s->kv = types[i].type;
	return VB_OK;
}

static int choose_quantization(struct setup *s)
{
	static const char *const names[] = { [WEIGHTS_AS_STORED] = "none", [WEIGHTS_TO_Q8] = "q8", [WEIGHTS_TO_Q4] = "q4" };
	const char *name = s->options.quantize;
	int i = 0;
	while (i < 3 && strcmp(name, names[i]) != 0)
		i++;
	if (i == 3)
		FAIL(VB_EINVAL, "unknown --quantize: %s: use none, q8 or q4", name);
	s->quantize = (enum weights_to)i;
	if (i > 0)
		TRY(give_way_to_cpu(s, "--quantize"));
	struct weights_wish wish = { .dir = s->options.random_weights ? NULL : s->model_dir, .config = s->config,
				     .to = s->quantize, .compute = s->compute };
	return weights_create(&s->weights, &wish);
}

/* Rows for a whole decode step, rounded up as its launches are. */
static int64_t cuda_rows(int64_t max_decode)
{
	return max_decode < GPU_MAX_ROWS ? max_decode + max_decode / 2 + 1 : GPU_MAX_ROWS;
}

/* A program for sequences of up to `context` tokens. A failing pick is kept, other failures are returned. */
static int build_program(struct setup *s, int64_t context)
{
	program_destroy(&s->program);
	struct program_config config = {
		.compute = s->compute, .kv = s->kv, .isa = s->isa, .n_threads = s->n_threads,
		.attention = strcmp(s->options.attention, "auto") == 0 ? NULL : s->options.attention,
		/* Every running request's next token and its guesses, and a chunk of prompts. */
		.max_tokens = s->chunk + s->max_batch * (1 + s->max_draft), .max_seqs = s->max_batch,
		.max_rows = 64, .context = context, .page_size = s->page_size,
		.max_decode = s->max_batch * (1 + s->max_draft), .graph = s->options.graph,
	};
	if (s->gpu >= 0) {
		config.max_rows = cuda_rows(config.max_decode);
		/* Steps are rounded up: also where chunks are so small that the largest has little more tokens. */
		if (config.max_tokens < config.max_rows)
			config.max_tokens = config.max_rows;
		config.gpu_facts = &s->facts.gpu[s->gpu];
	}
	TRY(program_create(&s->program, &config));
	TRY(model_build(s->program, s->config));
	TRY(weights_attach(s->weights, s->program));
	s->pick_rc = program_pick(s->program);
	if (s->pick_rc == VB_ENOMEM)
		return s->pick_rc;
	if (s->pick_rc != VB_OK)
		snprintf(s->pick_message, sizeof s->pick_message, "%s", vb_errmsg());
	s->context = context;
	return VB_OK;
}

/* Pages of every group that n sequences of `context` tokens hold at most, into pages; their bytes. */
static uint64_t pages_of(const struct setup *s, int64_t context, int64_t n, int64_t *pages)
{
	int64_t step = s->chunk > s->max_draft ? s->chunk : s->max_draft + 1;
	uint64_t bytes = 0;
	for (int g = 0; g < program_n_groups(s->program); g++) {
		pages[g] = n * kv_most_pages(program_group_window(s->program, g), s->page_size, context, step);
		bytes += (uint64_t)(pages[g] * s->page_size) * s->memory.group_kv_per_token[g];
	}
	return bytes;
}

/* The longest context of which one sequence fits into the budget, in whole pages. */
static int64_t longest_context(const struct setup *s, int64_t wanted, uint64_t budget)
{
	int64_t pages[PROGRAM_MAX_GROUPS], low = 0, high = wanted / s->page_size;
	while (low < high) {
		int64_t middle = low + (high - low + 1) / 2;
		if (pages_of(s, middle * s->page_size, 1, pages) <= budget)
			low = middle;
		else
			high = middle - 1;
	}
	return low * s->page_size;
}

/* What the KV cache may take: what an option says, or what weights and buffers leave; of a CPU's memory a share of that. */
static int kv_budget(const struct setup *s, uint64_t *budget)
{
	uint64_t taken = s->memory.weights + s->memory.activations + s->memory.workspace;
	*budget = s->options.kv_memory;
	if (*budget)
		return VB_OK;
	if (taken >= s->available)
		FAIL(VB_ELIMIT, "not enough memory: %s: %.1f MiB for weights and %.1f MiB for buffers, but %.1f MiB are "
				"available: use a smaller model, or lower --prefill-chunk and --max-batch", s->config->where,
		     (double)s->memory.weights / 0x1p20, (double)(taken - s->memory.weights) / 0x1p20,
		     (double)s->available / 0x1p20);
	*budget = s->available - taken;
	if (s->gpu < 0)
		*budget = (uint64_t)((double)*budget * KV_SHARE);
	return VB_OK;
}

/* Weights in the file's own form may exceed the memory: they are mapped. What is allocated may not. */
static int check_allocated(const struct setup *s)
{
	uint64_t others = s->memory.activations + s->memory.workspace;
	if (s->options.random_weights || s->gpu >= 0)
		others += s->memory.weights;
	if (others + s->kv_bytes > s->available)
		FAIL(VB_ELIMIT, "not enough memory: %.1f MiB for keys and values and %.1f MiB more, but %.1f MiB are "
				"available: lower --kv-memory, --max-batch or --prefill-chunk",
		     (double)s->kv_bytes / 0x1p20, (double)others / 0x1p20, (double)s->available / 0x1p20);
	return VB_OK;
}

/* Pages for max_batch sequences where the budget holds them, fewer where it does not; one sequence fits. */
static void share_pages(struct setup *s, uint64_t budget)
{
	int64_t one[PROGRAM_MAX_GROUPS];
	uint64_t each = pages_of(s, s->context, 1, one), all = pages_of(s, s->context, s->max_batch, s->n_pages);
	double share = all > budget && all > each ? ((double)budget - (double)each) / ((double)all - (double)each) : 1;
	s->kv_bytes = 0;
	for (int g = 0; g < program_n_groups(s->program); g++) {
		s->n_pages[g] = one[g] + (int64_t)(share * (double)(s->n_pages[g] - one[g]));
		s->kv_bytes += (uint64_t)(s->n_pages[g] * s->page_size) * s->memory.group_kv_per_token[g];
	}
}

/* One sequence of the wanted context does not fit: *context is what does, and it is said; or that is an error. */
static int shorten_context(struct setup *s, int64_t wanted, uint64_t budget, int64_t *context)
{
	int64_t unused[PROGRAM_MAX_GROUPS];
	*context = longest_context(s, wanted, budget);
	if (*context < 1 || s->options.context) {
		char fits[64] = "";
		if (*context >= 1)
			snprintf(fits, sizeof fits, "lower --context (%lld would fit) or ", (long long)*context);
		FAIL(VB_ELIMIT, "not enough memory for the KV cache: a sequence of %lld tokens needs %.1f MiB, %.1f "
				"MiB are there: %s%s",
		     (long long)wanted, (double)pages_of(s, wanted, 1, unused) / 0x1p20, (double)budget / 0x1p20, fits,
		     s->options.kv_memory ? "raise --kv-memory" : "free some memory");
	}
	snprintf(s->context_why, sizeof s->context_why,
		 "the model allows %lld tokens; the KV cache of %.1f MiB holds %lld", (long long)s->config->max_position,
		 (double)budget / 0x1p20, (long long)*context);
	log_line(&s->log, LOG_WARN, "context lowered to %lld tokens: %s", (long long)*context, s->context_why);
	return VB_OK;
}

void setup_most_pages(const struct setup *s, int64_t *n_pages)
{
	pages_of(s, s->context, s->max_batch, n_pages);
}

int setup_fit(struct setup *s)
{
	struct gpu_budget *b = &s->budget;
	int64_t unused[PROGRAM_MAX_GROUPS];
	uint64_t not_cache = b->reserve + s->memory.kv_rounding;
	uint64_t left = b->available > not_cache ? b->available - not_cache : 0;
	uint64_t budget = s->options.kv_memory ? s->options.kv_memory : left;
	if (pages_of(s, s->context, 1, unused) > budget)
		TRY(shorten_context(s, s->context, budget, &s->context));
	share_pages(s, budget);
	if (s->kv_bytes > left)
		FAIL(VB_ELIMIT, "not enough memory: %.1f MiB for keys and values, but %.1f MiB are left of %s: lower --kv-memory "
				"or --max-batch", (double)s->kv_bytes / 0x1p20, (double)left / 0x1p20, s->device);
	return VB_OK;
}

/* Pages for max_batch sequences of the wanted context where the budget holds them; fewer where it holds at least one; a
 * shorter context where not even that. */
static int size_cache(struct setup *s)
{
	int64_t wanted = s->options.context ? s->options.context : s->config->max_position;
	int64_t one[PROGRAM_MAX_GROUPS];
	if (wanted > MAX_CONTEXT)
		wanted = MAX_CONTEXT;
	TRY(build_program(s, wanted));
	program_memory(s->program, &s->memory);
	uint64_t budget;
	TRY(kv_budget(s, &budget));
	if (pages_of(s, wanted, 1, one) > budget) {
		int64_t context;
		TRY(shorten_context(s, wanted, budget, &context));
		TRY(build_program(s, context));
	}
	share_pages(s, budget);
	return check_allocated(s);
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
	TRY_TO(out, choose_kv_type(s));
	s->model_dir = model_dir;
	TRY_TO(out, choose_quantization(s));
	s->page_size = s->options.page_size ? s->options.page_size : 64;
	s->max_batch = s->options.max_batch ? s->options.max_batch : 1;
	s->chunk = s->options.prefill_chunk ? s->options.prefill_chunk : s->gpu >= 0 ? GPU_CHUNK : CPU_CHUNK;
	if (s->options.context > s->config->max_position)
		log_line(&s->log, LOG_WARN, "--context %lld is longer than the %lld positions the model was made for",
			 (long long)s->options.context, (long long)s->config->max_position);
	TRY_TO(out, choose_speculation(s));
	TRY_TO(out, size_cache(s));
	/* Left to choose, a GPU that lacks a kernel gives way to the CPU, and that is said. */
	if (s->gpu >= 0 && s->pick_rc == VB_EUNSUPPORTED && strcmp(s->options.device, "auto") == 0) {
		snprintf(s->device_why, sizeof s->device_why, "%s: %.200s", s->device, s->pick_message);
		TRY_TO(out, hw_isa_level(s->options.cpu_isa, s->facts.isa, &s->isa));
		use_cpu(s);
		s->chunk = s->options.prefill_chunk ? s->options.prefill_chunk : CPU_CHUNK;
		TRY_TO(out, size_cache(s));
	}
	program_memory(s->program, &s->memory);
out:
	if (rc != VB_OK)
		setup_destroy(s);
	return rc;
}

void setup_destroy(struct setup *s)
{
	program_destroy(&s->program);
	weights_destroy(&s->weights);
	model_config_destroy(&s->config);
}
