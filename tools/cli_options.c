#include "cli_options.h"

#include "input.h"
#include "output.h"

#include "base/status.h"

#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum kind {
	KIND_FLAG,   /* bool, takes no value */
	KIND_SWITCH, /* bool, on or off */
	KIND_INT,    /* int */
	KIND_I64,    /* int64_t, suffixes k, M, G */
	KIND_U64,    /* uint64_t */
	KIND_SIZE,   /* uint64_t bytes, suffixes k, M, G */
	KIND_REAL,   /* double */
	KIND_TEXT,   /* const char * */
	KIND_WORD,   /* const char *, one of `words` */
	KIND_STOP,   /* appended to settings.stop */
	KIND_INTS,   /* struct int_list, "1,8,64" */
	KIND_LEVEL,  /* enum vb_log_level */
	KIND_HELP,
	KIND_HELP_ALL,
	KIND_CONFIG,
};

enum group { GROUP_COMMAND = 1, GROUP_SAMPLING, GROUP_MODEL, GROUP_MEMORY, GROUP_SPECULATION, GROUP_PROGRAM };

static const char *const group_title[] = {
	[GROUP_COMMAND] = "Options:",
	[GROUP_SAMPLING] = "Choosing the next token:",
	[GROUP_MODEL] = "Where and how to compute:",
	[GROUP_MEMORY] = "Memory and scheduling:",
	[GROUP_SPECULATION] = "Speculation:",
	[GROUP_PROGRAM] = "The program:",
};

struct row {
	const char *name;
	const char *value; /* how help names the value; NULL: none */
	enum kind kind;
	enum group group;
	unsigned commands;
	size_t offset; /* in struct settings */
	double min, max;
	const char *words; /* "a|b|c"; for numbers, a word that stands for -1 */
	const char *help;
	bool rare; /* shown by --help-all only */
};

#define AT(field) offsetof(struct settings, field)
#define MODEL (CMD_RUN | CMD_EXPLAIN | CMD_BENCH | CMD_BATCH | CMD_PROVE)
#define KERNEL (CMD_BENCH_ATTENTION | CMD_BENCH_LINEAR | CMD_BENCH_LIMITS)
#define ALL 0xffffffffu
#define TOKENS_MAX 1099511627776.0 /* 2^40: far above any model, far below overflow */

#define COMMAND(bits, name_, value_, kind_, field, min_, max_, help_)                                      \
	{ .name = name_, .value = value_, .kind = kind_, .group = GROUP_COMMAND, .commands = bits,         \
	  .offset = AT(field), .min = min_, .max = max_, .help = help_ }
#define GROUPED(group_, bits, name_, value_, kind_, field, min_, max_, words_, help_, rare_)               \
	{ .name = name_, .value = value_, .kind = kind_, .group = group_, .commands = bits,                \
	  .offset = AT(field), .min = min_, .max = max_, .words = words_, .help = help_, .rare = rare_ }

static const struct row rows[] = {
	COMMAND(CMD_RUN, "max-tokens", "N", KIND_I64, request.max_tokens, 1, TOKENS_MAX, "Stop after N tokens (256)"),
	COMMAND(CMD_RUN, "chat", NULL, KIND_FLAG, chat, 0, 0, "PROMPT is what a user says: use the chat template"),
	COMMAND(CMD_RUN, "system", "TEXT", KIND_TEXT, system, 0, 0, "With --chat: what the system says first"),
	COMMAND(CMD_RUN, "prompt-ids", "IDS", KIND_TEXT, prompt_ids, 0, 0,
		"The prompt as token ids, 1,2,3 or @FILE"),
	COMMAND(CMD_RUN, "stop", "TEXT", KIND_STOP, stop, 0, 0, "End before this text; may be repeated"),
	COMMAND(CMD_RUN, "ignore-eos", NULL, KIND_FLAG, request.ignore_eos, 0, 0, "Go on after an end token"),
	COMMAND(CMD_RUN | CMD_BENCH, "logprobs", "N", KIND_INT, request.logprobs, 0, 100,
		"Log-probability of each token made, and of the N most probable"),
	COMMAND(CMD_RUN, "prompt-logprobs", "N", KIND_INT, request.prompt_logprobs, 0, 100,
		"The same of each token of the prompt"),
	COMMAND(CMD_BATCH, "input", "FILE", KIND_TEXT, input, 0, 0, "One request a line, as JSON; - is standard input"),
	COMMAND(CMD_PROVE, "cases", "N", KIND_I64, cases, 1, TOKENS_MAX, "Comparisons (200)"),
	COMMAND(CMD_PROVE, "seed", "S", KIND_U64, prove_seed, 0, 0, "Which random requests and schedules (1)"),
	COMMAND(CMD_PROVE, "schedule", "I", KIND_I64, schedule, 0, TOKENS_MAX, "Begin with schedule I of the seed (0)"),
	COMMAND(CMD_PROVE, "request", "I", KIND_I64, only_request, 0, TOKENS_MAX,
		"Compare request I of that schedule alone (all)"),
	{ .name = "to", .value = "TYPE", .kind = KIND_WORD, .group = GROUP_COMMAND, .commands = CMD_QUANTIZE,
	  .offset = AT(quantize_to), .words = "q8|q4", .help = "q8: 8 bits a weight; q4: 4, with 6 and 8 where errors weigh most" },
	COMMAND(CMD_EXPLAIN, "facts", "FILE", KIND_TEXT, facts, 0, 0,
		"Explain for the machine that this JSON file describes"),
	COMMAND(CMD_BENCH, "prompt-tokens", "N", KIND_I64, prompt_tokens, 1, TOKENS_MAX, "Length of the prompt (512)"),
	COMMAND(CMD_BENCH, "prompt", "TEXT", KIND_TEXT, prompt, 0, 0, "With --speculate: measure behind this text"),
	COMMAND(CMD_BENCH, "prompt-file", "FILE", KIND_TEXT, prompt_file, 0, 0, "The same, of a file; - is stdin"),
	COMMAND(CMD_BENCH, "decode-tokens", "N", KIND_I64, decode_tokens, 1, TOKENS_MAX, "Steps timed a repeat (128)"),
	COMMAND(CMD_BENCH, "batch", "LIST", KIND_INTS, batches, 1, 65536, "Sequences decoded at once, 1,8,64 (1)"),
	COMMAND(CMD_BENCH, "depth", "N", KIND_I64, depth, 0, TOKENS_MAX, "Keys in the cache when decoding starts (0)"),
	COMMAND(CMD_BENCH, "profile", NULL, KIND_FLAG, profile, 0, 0,
		"Tell what a step's time goes to, by kind of operation (CPU)"),
	COMMAND(CMD_BENCH_ATTENTION, "batch", "B", KIND_I64, attention.batch, 1, 1 << 20, "Sequences (1)"),
	COMMAND(CMD_BENCH_ATTENTION, "q-len", "Q", KIND_I64, attention.q_len, 1, TOKENS_MAX,
		"Query tokens a sequence (1)"),
	COMMAND(CMD_BENCH_ATTENTION, "kv-len", "N", KIND_I64, attention.kv_len, 1, TOKENS_MAX,
		"Keys a sequence (4096)"),
	COMMAND(CMD_BENCH_ATTENTION, "heads", "H", KIND_I64, attention.heads, 1, 65536, "Query heads (32)"),
	COMMAND(CMD_BENCH_ATTENTION, "kv-heads", "K", KIND_I64, attention.kv_heads, 1, 65536, "Key heads (8)"),
	COMMAND(CMD_BENCH_ATTENTION, "head-dim", "D", KIND_I64, attention.head_dim, 1, 65536,
		"Numbers a key and a query (128)"),
	COMMAND(CMD_BENCH_ATTENTION, "v-head-dim", "V", KIND_I64, attention.v_head_dim, 1, 65536,
		"Numbers a value (as a key)"),
	COMMAND(CMD_BENCH_ATTENTION, "window", "W", KIND_I64, attention.window, 0, TOKENS_MAX,
		"Keys that a query sees, its own included; 0: all (0)"),
	COMMAND(CMD_BENCH_LINEAR, "m", "M", KIND_I64, linear.m, 1, 1 << 24, "Rows, that is tokens (1)"),
	COMMAND(CMD_BENCH_LINEAR, "n", "N", KIND_I64, linear.n, 1, 1 << 24, "Outputs (4096)"),
	COMMAND(CMD_BENCH_LINEAR, "k", "K", KIND_I64, linear.k, 1, 1 << 24, "Inputs (4096)"),
	COMMAND(CMD_BENCH | CMD_BENCH_ATTENTION | CMD_BENCH_LINEAR, "repeat", "N", KIND_I64, repeat, 1, 100000,
		"Timed repeats (5)"),
	COMMAND(CMD_TOKENIZE, "add-special", "on|off", KIND_SWITCH, add_special, 0, 0,
		"Add begin and end tokens as the model wants them (on)"),
	COMMAND(CMD_TOKENIZE, "parse-special", "on|off", KIND_SWITCH, parse_special, 0, 0,
		"Special tokens written in TEXT become their ids (on)"),
	COMMAND(CMD_DETOKENIZE, "skip-special", "on|off", KIND_SWITCH, skip_special, 0, 0,
		"Leave special tokens out (off)"),
	COMMAND(CMD_TEMPLATE, "messages", "FILE", KIND_TEXT, messages, 0, 0,
		"JSON: an array of messages, or an object with \"messages\" and more; - is stdin"),
	COMMAND(CMD_TEMPLATE, "add-generation-prompt", "on|off", KIND_SWITCH, add_generation_prompt, 0, 0,
		"End where the assistant is to speak (on)"),

	GROUPED(GROUP_SAMPLING, CMD_RUN | CMD_BENCH, "temperature", "T", KIND_REAL, request.sampling.temperature, 0, 1000, NULL,
		"0: always the most probable token (0)", false),
	GROUPED(GROUP_SAMPLING, CMD_RUN | CMD_BENCH, "seed", "S", KIND_U64, request.sampling.seed, 0, 0, NULL,
		"The same seed makes the same text (0)", false),
	GROUPED(GROUP_SAMPLING, CMD_RUN | CMD_BENCH, "top-k", "K", KIND_I64, request.sampling.top_k, 0, TOKENS_MAX, NULL,
		"Keep the K most probable; 0: all (0)", false),
	GROUPED(GROUP_SAMPLING, CMD_RUN | CMD_BENCH, "top-p", "P", KIND_REAL, request.sampling.top_p, 0, 1, NULL,
		"Keep the fewest of at least this probability (1)", false),
	GROUPED(GROUP_SAMPLING, CMD_RUN | CMD_BENCH, "min-p", "P", KIND_REAL, request.sampling.min_p, 0, 1, NULL,
		"Drop what is less probable than P times the most probable (0)", false),
	GROUPED(GROUP_SAMPLING, CMD_RUN, "repetition-penalty", "R", KIND_REAL, request.sampling.repetition_penalty,
		1e-3, 1e3, NULL, "Divide the logits of tokens seen before (1)", false),
	GROUPED(GROUP_SAMPLING, CMD_RUN, "presence-penalty", "R", KIND_REAL, request.sampling.presence_penalty, -100,
		100, NULL, "Subtract once from tokens of the answer (0)", false),
	GROUPED(GROUP_SAMPLING, CMD_RUN, "frequency-penalty", "R", KIND_REAL, request.sampling.frequency_penalty, -100,
		100, NULL, "Subtract for each time a token came (0)", false),

	GROUPED(GROUP_MODEL, MODEL | KERNEL, "device", "NAME", KIND_TEXT, engine.device, 0, 0, NULL,
		"auto, cpu, cuda or cuda:N (auto)", false),
	GROUPED(GROUP_MODEL, MODEL | CMD_BENCH_LINEAR | CMD_BENCH_ATTENTION, "dtype", "TYPE", KIND_WORD, engine.dtype,
		0, 0, "auto|bf16|f16|f32", "Type to compute in: auto, bf16, f16 or f32 (auto: the checkpoint's)", false),
	GROUPED(GROUP_MODEL, MODEL | KERNEL | CMD_QUANTIZE, "threads", "N", KIND_INT, engine.threads, 1, 4096, NULL,
		"CPU threads (as many as may run at once)", false),
	GROUPED(GROUP_MODEL, MODEL, "kv-dtype", "TYPE", KIND_WORD, engine.kv_dtype, 0, 0, "auto|f32|bf16|f16|int8",
		"Type of keys and values in the cache: auto, f32, bf16, f16 or int8 (auto: --dtype)", false),
	GROUPED(GROUP_MODEL, MODEL, "quantize", "TYPE", KIND_WORD, engine.quantize, 0, 0, "none|q8|q4",
		"Keep weights in 8 or 4 bits, on the CPU: none, q8 or q4 (none: as stored)", false),
	GROUPED(GROUP_MODEL, CMD_BENCH_LINEAR, "quantize", "TYPE", KIND_WORD, engine.quantize, 0, 0, "none|q8|q6|q4",
		"Weights of 8, 6 or 4 bits, on the CPU: none, q8, q6 or q4 (none)", false),
	GROUPED(GROUP_MODEL, MODEL | CMD_BENCH_LINEAR | CMD_BENCH_LIMITS, "cpu-isa", "LEVEL", KIND_WORD, engine.cpu_isa, 0, 0,
		"auto|scalar|avx2|avx512|amx", "Highest instruction set to use: auto, scalar, avx2, avx512 or amx (auto)", true),
	GROUPED(GROUP_MODEL, MODEL | CMD_BENCH_ATTENTION, "attention", "NAME", KIND_TEXT, engine.attention, 0, 0, NULL,
		"Force one attention kernel (auto)", true),
	GROUPED(GROUP_MODEL, MODEL, "graph", "on|off", KIND_SWITCH, engine.graph, 0, 0, NULL,
		"Record GPU launches as a graph (on)", true),
	GROUPED(GROUP_MODEL, MODEL, "random-weights", "SEED", KIND_U64, engine.random_seed, 0, 0, NULL,
		"Draw weights from a seed: the folder needs config.json only", true),

	GROUPED(GROUP_MEMORY, MODEL, "context", "N", KIND_I64, engine.context, 1, TOKENS_MAX, NULL,
		"Longest sequence, in tokens (the model's, or what fits)", false),
	GROUPED(GROUP_MEMORY, MODEL, "kv-memory", "SIZE", KIND_SIZE, engine.kv_memory, 1, 0, NULL,
		"Memory for keys and values (what the context needs)", false),
	GROUPED(GROUP_MEMORY, MODEL | CMD_BENCH_ATTENTION, "page-size", "N", KIND_I64, engine.page_size, 1, 65536, NULL,
		"Tokens a page, a power of two (64)", true),
	GROUPED(GROUP_MEMORY, MODEL, "max-batch", "N", KIND_I64, engine.max_batch, 1, 65536, NULL,
		"Sequences at once (1; batch: 16)", true),
	GROUPED(GROUP_MEMORY, MODEL, "prefill-chunk", "N", KIND_I64, engine.prefill_chunk, 1, TOKENS_MAX, NULL,
		"Prompt tokens a step (512; on a GPU 2048)", true),
	GROUPED(GROUP_MEMORY, MODEL, "prefix-cache", "on|off", KIND_SWITCH, engine.prefix_cache, 0, 0, NULL,
		"Keep keys and values of common beginnings (on)", true),

	GROUPED(GROUP_SPECULATION, MODEL, "speculate", "HOW", KIND_WORD, engine.speculate, 0, 0,
		"none|ngram|draft|mtp|eagle3", "Guess several tokens a step: none, ngram or draft (none)", false),
	GROUPED(GROUP_SPECULATION, MODEL, "draft-model", "DIR", KIND_TEXT, engine.draft_model, 0, 0, NULL,
		"The model that guesses", false),
	GROUPED(GROUP_SPECULATION, MODEL, "draft-tokens", "K|auto", KIND_INT, engine.draft_tokens, 1, 15, "auto",
		"Guesses a step, 1 to 15 (auto: up to 8)", false),

	GROUPED(GROUP_PROGRAM, ALL, "json", NULL, KIND_FLAG, json, 0, 0, NULL, "Answer with one JSON object", false),
	GROUPED(GROUP_PROGRAM, ALL, "config", "FILE", KIND_CONFIG, json, 0, 0, NULL,
		"Read options from FILE: lines \"name = value\"; what is given here wins", true),
	GROUPED(GROUP_PROGRAM, ALL, "log-level", "LEVEL", KIND_LEVEL, engine.log_level, 0, 0, "error|warn|info|debug",
		"What to tell on stderr: error, warn, info or debug (info on a terminal, else warn)", true),
	GROUPED(GROUP_PROGRAM, ALL, "help", NULL, KIND_HELP, json, 0, 0, NULL, "This text", false),
	GROUPED(GROUP_PROGRAM, ALL, "help-all", NULL, KIND_HELP_ALL, json, 0, 0, NULL, "All options", false),
};

#define N_ROWS ((int)(sizeof rows / sizeof rows[0]))
#define FIRST_KEY 256 /* argp keys below are characters, that is short options */

static bool given[N_ROWS];

bool options_given(const char *name)
{
	for (int i = 0; i < N_ROWS; i++)
		if (given[i] && strcmp(rows[i].name, name) == 0)
			return true;
	return false;
}

/* ---- Names ---- */

enum { LONGEST_NAME = 40 };

/* Edits (insert, delete, replace, swap of neighbours) that turn a into b. */
static int distance(const char *a, const char *b)
{
	int la = (int)strlen(a), lb = (int)strlen(b);
	int d[LONGEST_NAME + 1][LONGEST_NAME + 1];
	for (int i = 0; i <= la; i++)
		d[i][0] = i;
	for (int j = 0; j <= lb; j++)
		d[0][j] = j;
	for (int i = 1; i <= la; i++)
		for (int j = 1; j <= lb; j++) {
			int best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
			if (d[i - 1][j] + 1 < best)
				best = d[i - 1][j] + 1;
			if (d[i][j - 1] + 1 < best)
				best = d[i][j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
				best = d[i - 2][j - 2] + 1;
			d[i][j] = best;
		}
	return d[la][lb];
}

const char *nearest_name(const char *word, const char *const *names, int n)
{
	const char *best = NULL;
	if (strlen(word) > LONGEST_NAME)
		return NULL;
	int limit = (int)strlen(word) / 3 + 1, best_distance = limit + 1;
	for (int i = 0; i < n; i++) {
		if (strlen(names[i]) > LONGEST_NAME)
			continue;
		int apart = distance(word, names[i]);
		/* What was cut short, or written out, is near however long the rest is. */
		size_t common = strlen(word) < strlen(names[i]) ? strlen(word) : strlen(names[i]);
		if (common >= 3 && strncmp(word, names[i], common) == 0 && apart > 1)
			apart = 1;
		if (apart < best_distance) {
			best_distance = apart;
			best = names[i];
		}
	}
	return best;
}

/* "unknown option: --thread: did you mean --threads?" `where` is put before it: "FILE, line 3: " or "". */
static void unknown_option(const struct command *command, const char *name, const char *where, const char *dashes)
{
	const char *names[N_ROWS];
	int n = 0;
	for (int i = 0; i < N_ROWS; i++)
		if (!command || rows[i].commands & command->bit)
			names[n++] = rows[i].name;
	const char *near = nearest_name(name, names, n);
	if (near)
		print_error("unknown option: %s%s%s: did you mean %s%s?", where, dashes, name, dashes, near);
	else
		print_error("unknown option: %s%s%s: 'verbatim %s --help-all' lists them", where, dashes, name,
			    command ? command->name : "run");
}

/* ---- Values ---- */

bool parse_size(const char *text, uint64_t *out)
{
	if (!isdigit((unsigned char)text[0]))
		return false;
	char *end;
	errno = 0;
	double number = strtod(text, &end);
	int shift = 0;
	if (*end == 'k' || *end == 'K')
		shift = 10;
	else if (*end == 'M' || *end == 'm')
		shift = 20;
	else if (*end == 'G' || *end == 'g')
		shift = 30;
	if (shift)
		end++;
	if (shift && *end == 'B')
		end++;
	double value = ldexp(number, shift);
	/* Above 2^53 a double no longer holds every integer. */
	if (*end || errno || strpbrk(text, "xXeE") || value != floor(value) || value > 9007199254740992.0)
		return false;
	*out = (uint64_t)value;
	return true;
}

static bool parse_u64(const char *text, uint64_t *out)
{
	char *end;
	errno = 0;
	*out = strtoull(text, &end, 10);
	return isdigit((unsigned char)text[0]) && !*end && !errno;
}

/* Whether `word` is one of "a|b|c"; its number, else -1. */
static int word_index(const char *words, const char *word)
{
	int index = 0;
	size_t n = strlen(word);
	for (const char *w = words; w; index++) {
		const char *bar = strchr(w, '|');
		size_t len = bar ? (size_t)(bar - w) : strlen(w);
		if (len == n && memcmp(w, word, n) == 0)
			return index;
		w = bar ? bar + 1 : NULL;
	}
	return -1;
}

static bool in_range(const struct row *r, double v)
{
	return v >= r->min && v <= r->max;
}

static int bad_value(const struct row *r, const char *value, const char *where, const char *want)
{
	print_error("not a valid value: %s--%s %s: give %s", where, r->name, value, want);
	return EINVAL;
}

static int bad_number(const struct row *r, const char *value, const char *where, const char *what)
{
	char want[120];
	if (r->words)
		snprintf(want, sizeof want, "%s from %.17g to %.17g, or %s", what, r->min, r->max, r->words);
	else if (r->max >= TOKENS_MAX)
		snprintf(want, sizeof want, "%s of %.17g or more", what, r->min);
	else
		snprintf(want, sizeof want, "%s from %.17g to %.17g", what, r->min, r->max);
	return bad_value(r, value, where, want);
}

static int parse_int_list(const struct row *r, const char *value, const char *where, struct int_list *list)
{
	list->n = 0;
	const char *p = value;
	for (;;) {
		char *end;
		errno = 0;
		long long v = strtoll(p, &end, 10);
		if (end == p || errno || !in_range(r, (double)v) || list->n == MAX_BATCHES)
			break;
		list->at[list->n++] = v;
		if (!*end)
			return 0;
		if (*end != ',')
			break;
		p = end + 1;
	}
	return bad_number(r, value, where, "up to 16 whole numbers with commas between, each");
}

/* Stores `value` (NULL for flags) where the row says. 0, or EINVAL after an error was printed. */
static int store(const struct row *r, struct settings *s, const char *value, const char *where)
{
	void *at = (char *)s + r->offset;
	uint64_t u = 0;
	switch (r->kind) {
	case KIND_FLAG:
		*(bool *)at = true;
		return 0;
	case KIND_SWITCH:
		if (word_index("on|off", value) < 0)
			return bad_value(r, value, where, "on or off");
		*(bool *)at = strcmp(value, "on") == 0;
		return 0;
	case KIND_INT:
		if (r->words && word_index(r->words, value) >= 0)
			*(int *)at = -1;
		else if (!parse_u64(value, &u) || !in_range(r, (double)u))
			return bad_number(r, value, where, "a whole number");
		else
			*(int *)at = (int)u;
		return 0;
	case KIND_I64:
		if (!parse_size(value, &u) || !in_range(r, (double)u))
			return bad_number(r, value, where, "a whole number");
		*(int64_t *)at = (int64_t)u;
		return 0;
	case KIND_U64:
		if (!parse_u64(value, &u))
			return bad_value(r, value, where, "a whole number from 0 to 18446744073709551615");
		*(uint64_t *)at = u;
		return 0;
	case KIND_SIZE:
		if (!parse_size(value, &u) || u < (uint64_t)r->min)
			return bad_value(r, value, where, "a size such as 512M or 2G");
		*(uint64_t *)at = u;
		return 0;
	case KIND_REAL: {
		char *end;
		double v = strtod(value, &end);
		if (end == value || *end || !in_range(r, v)) /* NaN is in no range */
			return bad_number(r, value, where, "a number");
		*(double *)at = v;
		return 0;
	}
	case KIND_TEXT:
		*(const char **)at = value;
		return 0;
	case KIND_WORD:
		if (word_index(r->words, value) < 0)
			return bad_value(r, value, where, r->words);
		*(const char **)at = value;
		return 0;
	case KIND_LEVEL: {
		int level = word_index(r->words, value);
		if (level < 0)
			return bad_value(r, value, where, r->words);
		*(enum vb_log_level *)at = (enum vb_log_level)level;
		return 0;
	}
	case KIND_STOP:
		if (s->n_stop == MAX_STOP || !value[0])
			return bad_value(r, value, where, "at most 64 texts that are not empty");
		s->stop[s->n_stop++] = value;
		return 0;
	case KIND_INTS:
		return parse_int_list(r, value, where, at);
	case KIND_HELP:
	case KIND_HELP_ALL:
	case KIND_CONFIG:
		break;
	}
	return 0;
}

/* ---- Files of options ---- */

static char *trim(char *s)
{
	while (isspace((unsigned char)*s))
		s++;
	char *end = s + strlen(s);
	while (end > s && isspace((unsigned char)end[-1]))
		*--end = 0;
	return s;
}

/* One "name = value" line. Options of other commands are passed over, so that one file serves all. */
static int config_line(const struct command *command, struct settings *s, char *line, const char *where,
		       const bool *on_command_line)
{
	line = trim(line);
	if (!*line || *line == '#')
		return 0;
	char *equals = strchr(line, '=');
	if (!equals) {
		print_error("not an option: %s'%s': write name = value", where, line);
		return EINVAL;
	}
	*equals = 0;
	const char *name = trim(line);
	char *value = trim(equals + 1);
	size_t n = strlen(value);
	if (n >= 2 && value[0] == '"' && value[n - 1] == '"') {
		value[n - 1] = 0;
		value++;
	}
	bool known = false;
	for (int i = 0; i < N_ROWS; i++) {
		const struct row *r = &rows[i];
		if (strcmp(r->name, name) != 0 || r->kind == KIND_CONFIG || r->kind == KIND_HELP || r->kind == KIND_HELP_ALL)
			continue;
		known = true;
		if (!(r->commands & command->bit) || on_command_line[i])
			continue;
		if (r->kind == KIND_FLAG) {
			if (word_index("on|off", value) < 0)
				return bad_value(r, value, where, "on or off");
			*(bool *)((char *)s + r->offset) = strcmp(value, "on") == 0;
		} else if (store(r, s, value, where) != 0) {
			return EINVAL;
		}
		given[i] = true;
	}
	if (!known) {
		unknown_option(NULL, name, where, "");
		return EINVAL;
	}
	return 0;
}

/* Options that the command line gave are left as they are. */
static int config_file(const struct command *command, struct settings *s, const char *path)
{
	if (read_text(path, &s->config) != VB_OK) {
		print_error("--config: %s", vb_errmsg());
		return EINVAL;
	}
	bool on_command_line[N_ROWS];
	memcpy(on_command_line, given, sizeof given);
	int rc = 0, number = 0;
	char *begin = s->config.data;
	if (strncmp(begin, "\xef\xbb\xbf", 3) == 0) /* some editors begin UTF-8 files with it */
		begin += 3;
	for (char *next = begin, *line; rc == 0 && (line = strsep(&next, "\n"));) {
		char where[300];
		snprintf(where, sizeof where, "%s, line %d: ", path, ++number);
		rc = config_line(command, s, line, where, on_command_line);
	}
	return rc;
}

/* ---- argp ---- */

struct parse {
	const struct command *command;
	struct settings *s;
	const char *config;
	enum { HELP_NONE, HELP_SHORT, HELP_ALL } help;
	bool reported; /* an error line was printed */
	struct argp_option options[N_ROWS + 8];
};

/* The word that the option under way was given with; `value` may be the word after it. */
static const char *option_word(const char *value, const struct argp_state *state)
{
	int at = state->next - 1;
	if (at > 0 && value && state->argv[at] == value)
		at--;
	return at > 0 ? state->argv[at] : "";
}

/* argp takes any beginning of a name; a new option could then change what a script means. */
static bool written_in_full(const struct row *r, const char *value, const struct argp_state *state)
{
	const char *word = option_word(value, state);
	size_t n = strlen(r->name);
	return strncmp(word, "--", 2) == 0 && strncmp(word + 2, r->name, n) == 0 && (word[2 + n] == 0 || word[2 + n] == '=');
}

/* What argp could not make sense of: an option that does not exist, or one that lacks its value. */
static void report(struct parse *p, const struct argp_state *state, const char *value)
{
	const char *word = option_word(value, state);
	if (strncmp(word, "--", 2) != 0) {
		print_error("unknown option: %s: 'verbatim %s --help' lists them", word, p->command->name);
		return;
	}
	char name[64];
	snprintf(name, sizeof name, "%.*s", (int)strcspn(word + 2, "="), word + 2);
	for (int i = 0; i < N_ROWS; i++)
		if (rows[i].commands & p->command->bit && strcmp(rows[i].name, name) == 0) {
			if (rows[i].value)
				print_error("value missing: --%s: give --%s %s", name, name, rows[i].value);
			else
				print_error("takes no value: %s: give --%s alone", word, name);
			return;
		}
	unknown_option(p->command, name, "", "--");
}

static error_t on_key(int key, char *value, struct argp_state *state)
{
	struct parse *p = state->input;
	if (key == ARGP_KEY_ARG) {
		if (p->s->n_arguments == p->command->max_arguments) {
			print_error("one argument too many: '%s': usage: verbatim %s %s", value, p->command->name,
				    p->command->arguments);
			p->reported = true;
			return EINVAL;
		}
		p->s->argument[p->s->n_arguments++] = value;
		return 0;
	}
	if (key == ARGP_KEY_ERROR && !p->reported) {
		report(p, state, NULL);
		p->reported = true;
		return 0;
	}
	if (key == 'h') {
		p->help = HELP_SHORT;
		return 0;
	}
	if (key < FIRST_KEY || key >= FIRST_KEY + N_ROWS)
		return ARGP_ERR_UNKNOWN;
	const struct row *r = &rows[key - FIRST_KEY];
	if (!written_in_full(r, value, state)) {
		report(p, state, value);
		p->reported = true;
		return EINVAL;
	}
	given[key - FIRST_KEY] = true;
	if (r->kind == KIND_CONFIG) {
		p->config = value;
	} else if (r->kind == KIND_HELP_ALL) {
		p->help = HELP_ALL;
	} else if (store(r, p->s, value, "") != 0) {
		p->reported = true;
		return EINVAL;
	}
	return 0;
}

/* argp's form of the rows that the command sees. Rare ones are hidden unless `all`. */
static void make_argp_options(struct parse *p, bool all)
{
	int n = 0;
	for (int group = GROUP_COMMAND; group <= GROUP_PROGRAM; group++) {
		bool titled = false;
		for (int i = 0; i < N_ROWS; i++) {
			const struct row *r = &rows[i];
			if ((int)r->group != group || !(r->commands & p->command->bit))
				continue;
			bool shown = all || !r->rare;
			if (shown && !titled) {
				p->options[n++] = (struct argp_option){ .doc = group_title[group], .group = group };
				titled = true;
			}
			p->options[n++] = (struct argp_option){
				.name = r->name,
				.key = r->kind == KIND_HELP ? 'h' : FIRST_KEY + i,
				.arg = r->value,
				.flags = shown ? 0 : OPTION_HIDDEN,
				.doc = r->help,
				.group = group,
			};
		}
	}
	p->options[n] = (struct argp_option){ 0 };
}

static void show_help(struct parse *p)
{
	make_argp_options(p, p->help == HELP_ALL);
	char name[40], doc[2000];
	snprintf(name, sizeof name, "verbatim %s", p->command->name);
	snprintf(doc, sizeof doc, "%s\v%s", p->command->summary, p->command->details);
	const struct argp argp = { p->options, on_key, p->command->arguments, doc, NULL, NULL, NULL };
	argp_help(&argp, stdout, ARGP_HELP_SHORT_USAGE | ARGP_HELP_PRE_DOC | ARGP_HELP_LONG | ARGP_HELP_POST_DOC, name);
}

static void set_defaults(struct settings *s)
{
	*s = (struct settings){
		.prompt_tokens = 512,
		.decode_tokens = 128,
		.repeat = 5,
		.cases = 200,
		.prove_seed = 1,
		.only_request = -1,
		.batches = { .n = 1, .at = { 1 } },
		.attention = { .batch = 1, .q_len = 1, .kv_len = 4096, .heads = 32, .kv_heads = 8, .head_dim = 128 },
		.linear = { .m = 1, .n = 4096, .k = 4096 },
		.add_special = true,
		.parse_special = true,
		.add_generation_prompt = true,
	};
	buf_init(&s->config, 1u << 20);
	vb_options_default(&s->engine);
	vb_request_default(&s->request);
	s->engine.log = print_log;
	s->engine.log_level = isatty(STDERR_FILENO) ? VB_LOG_INFO : VB_LOG_WARN;
}

void options_fini(struct settings *s)
{
	buf_fini(&s->config);
}

int options_parse(const struct command *command, int argc, char **argv, struct settings *s, int *status)
{
	set_defaults(s);
	struct parse p = { .command = command, .s = s };
	make_argp_options(&p, true);
	const struct argp argp = { p.options, on_key, NULL, NULL, NULL, NULL, NULL };
	error_t rc = argp_parse(&argp, argc, argv, ARGP_NO_ERRS | ARGP_NO_HELP | ARGP_NO_EXIT | ARGP_IN_ORDER, NULL, &p);
	if (rc == 0 && p.help != HELP_NONE) {
		show_help(&p);
		*status = finish_output();
		return 1;
	}
	if (rc == 0 && p.config)
		rc = config_file(command, s, p.config);
	if (rc == 0 && s->n_arguments < command->min_arguments) {
		print_error("argument missing: verbatim %s: usage: verbatim %s %s", command->name, command->name,
			    command->arguments);
		rc = EINVAL;
	} else if (rc != 0 && rc != EINVAL) {
		print_error("cannot parse the command line: verbatim %s: %s", command->name, strerror(rc));
	}
	if (rc != 0) {
		*status = EXIT_USAGE;
		return 1;
	}
	s->engine.random_weights = options_given("random-weights");
	s->request.stop = s->stop;
	s->request.n_stop = (size_t)s->n_stop;
	return 0;
}
