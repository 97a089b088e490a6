/* cli_options.h - every option of every command, in one table.
 *
 * The table in cli_options.c yields parsing (by argp), ranges, help, the names that --config files use, and the
 * nearest name for a wrong one. A command sees the rows that carry its bit.
 */
#ifndef TOOLS_CLI_OPTIONS_H
#define TOOLS_CLI_OPTIONS_H

#include "base/buf.h"
#include "verbatim/options.h"
#include "verbatim/request.h"

enum command_bit {
	CMD_RUN = 1u << 0,
	CMD_EXPLAIN = 1u << 1,
	CMD_BENCH = 1u << 2,
	CMD_BENCH_ATTENTION = 1u << 3,
	CMD_BENCH_LINEAR = 1u << 4,
	CMD_BENCH_LIMITS = 1u << 5,
	CMD_TOKENIZE = 1u << 6,
	CMD_DETOKENIZE = 1u << 7,
	CMD_TEMPLATE = 1u << 8,
	CMD_INSPECT = 1u << 9,
	CMD_BATCH = 1u << 10,
	CMD_PROVE = 1u << 11,
	CMD_QUANTIZE = 1u << 12,
};

#define MAX_STOP 64
#define MAX_BATCHES 16
#define MAX_ARGUMENTS 2

struct int_list {
	int n;
	int64_t at[MAX_BATCHES];
};

struct settings {
	struct vb_options engine;
	struct vb_request request; /* stop and n_stop point to `stop` */
	bool json;

	/* run */
	bool chat;
	const char *system;     /* NULL: none */
	const char *prompt_ids; /* "1,2,3" or "@FILE"; NULL: none */
	int n_stop;
	const char *stop[MAX_STOP];

	/* batch */
	const char *input;

	/* prove */
	int64_t cases, schedule, only_request;
	uint64_t prove_seed;

	/* explain */
	const char *facts;

	/* bench */
	int64_t prompt_tokens, decode_tokens, depth, repeat;
	const char *prompt, *prompt_file; /* NULL: none */
	bool profile;
	struct int_list batches;
	struct {
		int64_t batch, q_len, kv_len, heads, kv_heads, head_dim, v_head_dim, window;
	} attention;
	struct {
		int64_t m, n, k;
	} linear;

	/* quantize */
	const char *quantize_to; /* NULL: not given */

	/* tokenize, detokenize, template */
	bool add_special, parse_special, skip_special, add_generation_prompt;
	const char *messages;

	const char *argument[MAX_ARGUMENTS];
	int n_arguments;

	struct buf config; /* text of the --config file, which options point into */
};

struct command {
	const char *name; /* "run", "bench linear" */
	const char *arguments; /* "[MODEL] [PROMPT]" */
	const char *summary;   /* one line */
	const char *details;   /* a paragraph or more for --help; "" for none */
	enum command_bit bit;
	int min_arguments, max_arguments;
	/* -> exit status. argv of the command itself has been parsed into *s. */
	int (*run)(struct settings *s);
};

/* Parses argv[1..argc) into *s. 0: go on. Otherwise *status is the program's exit status: help was printed, or an
 * error was. *s borrows from argv, and is freed with options_fini in every case. */
int options_parse(const struct command *command, int argc, char **argv, struct settings *s, int *status);
void options_fini(struct settings *s);

/* Whether the option was given, by command line or --config. */
bool options_given(const char *name);

/* The nearest of `n` names within a third of the word's length, or NULL. */
const char *nearest_name(const char *word, const char *const *names, int n);

/* "512", "4k", "1.5G": k, M, G are powers of 1024. False where it is no size or does not fit. */
bool parse_size(const char *text, uint64_t *out);

#endif
