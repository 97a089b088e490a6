/* main.c - the program: finds the command, hands over. */
#include "output.h"
#include "program.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const struct command commands[] = {
	{ "run", "[MODEL] [PROMPT]", "Completes a prompt.",
	  "MODEL is a Hugging Face folder, or the name of a model that ships with verbatim; without one the demo model "
	  "speaks. PROMPT is taken as it is, from standard input where it is - or absent.\n\n"
	  "The text goes to standard output as it is made, what it took to standard error.",
	  CMD_RUN, 0, 2, cmd_run },
	{ "batch", "[MODEL]", "Completes many prompts at once, one request a line.",
	  "A request: {\"id\": \"a\", \"prompt\": \"...\"} (or prompt_ids, or chat) and any of max_tokens, min_tokens, "
	  "temperature, top_k, top_p, min_p, seed, stop, logprobs, ignore_eos and the penalties. An answer a line, in the "
	  "order in which they end.",
	  CMD_BATCH, 0, 1, cmd_batch },
	{ "prove", "[MODEL]", "Tests the law: the same bits in any company, however computed.",
	  "Random requests run under random schedules (batch mates, arrival, chunks, pages, threads, speculation, cache "
	  "hits, preemption); each is compared bit for bit with the same request alone. A folder MODEL/draft, or "
	  "--draft-model, guesses where a schedule says so.",
	  CMD_PROVE, 0, 1, cmd_prove },
	{ "explain", "[MODEL]", "Shows what this machine offers, and what would serve MODEL here and why.", "", CMD_EXPLAIN,
	  0, 1, cmd_explain },
	{ "bench", "[MODEL]", "Measures prefill and decode speed of a model.",
	  "With --speculate ngram, or draft and --draft-model: the same requests without and with guesses, in turns. They "
	  "begin with --prompt or --prompt-file, else with the lines of MODEL/bench_prompts.txt, else (and with "
	  "--prompt-tokens) with random tokens; --temperature and --seed are theirs.\n\n"
	  "One kernel alone: verbatim bench attention, verbatim bench linear. The machine: verbatim bench limits.", CMD_BENCH,
	  0, 1, cmd_bench },
	{ "bench attention", "", "Measures attention over a paged cache.",
	  "The queries are the last tokens of each sequence: --q-len 1 is decoding, --q-len as --kv-len is a prompt.",
	  CMD_BENCH_ATTENTION, 0, 0, cmd_bench_attention },
	{ "bench linear", "", "Measures one matrix product: M tokens, N outputs, K inputs.", "", CMD_BENCH_LINEAR, 0, 0,
	  cmd_bench_linear },
	{ "bench limits", "", "Measures the memory bandwidth and the matrix rate of the device.", "", CMD_BENCH_LIMITS, 0, 0,
	  cmd_bench_limits },
	{ "tokenize", "MODEL [TEXT]", "Text to token ids, as JSON.", "TEXT comes from standard input where it is - or absent.",
	  CMD_TOKENIZE, 1, 2, cmd_tokenize },
	{ "detokenize", "MODEL [IDS]", "Token ids (1,2,3 or @FILE) to text.",
	  "IDS come from standard input where they are - or absent.", CMD_DETOKENIZE, 1, 2, cmd_detokenize },
	{ "template", "MODEL", "Renders the model's chat template over messages.", "", CMD_TEMPLATE, 1, 1, cmd_template },
	{ "quantize", "MODEL OUT", "Writes a model folder anew with weights of 8 or 4 bits.",
	  "OUT must not exist. It gets model.safetensors, config.json and the tokeniser's files, is opened like any model folder, "
	  "and gives the same bits as --quantize does with MODEL.", CMD_QUANTIZE, 2, 2, cmd_quantize },
	{ "inspect", "MODEL", "Shows a model's configuration, tensors and sizes.", "", CMD_INSPECT, 1, 1, cmd_inspect },
};

#define N_COMMANDS ((int)(sizeof commands / sizeof commands[0]))

/* Commands of the interface that this version does not have. */
static const char *const later[] = { "chat", "serve" };

static void print_usage(FILE *f)
{
	fprintf(f, "%sverbatim%s %s - an LLM inference engine: the same tokens and bits however they are computed\n\n"
		   "usage: verbatim COMMAND [OPTIONS]\n\n",
		bold(f), plain(f), vb_version());
	for (int i = 0; i < N_COMMANDS; i++) {
		char call[64];
		snprintf(call, sizeof call, "%s %s", commands[i].name, commands[i].arguments);
		fprintf(f, "  %-26s %s\n", call, commands[i].summary);
	}
	fprintf(f, "\nTry:  verbatim run demo \"Once upon a time\"\n"
		   "      verbatim COMMAND --help\n");
}

/* The command that argv begins with; *n_words of it are its name. */
static const struct command *find_command(int argc, char **argv, int *n_words)
{
	const struct command *found = NULL;
	for (int i = 0; i < N_COMMANDS; i++) {
		const char *space = strchr(commands[i].name, ' ');
		size_t first = space ? (size_t)(space - commands[i].name) : strlen(commands[i].name);
		if (strlen(argv[1]) != first || strncmp(argv[1], commands[i].name, first) != 0)
			continue;
		if (space && (argc < 3 || strcmp(argv[2], space + 1) != 0))
			continue;
		found = &commands[i];
		*n_words = space ? 2 : 1;
	}
	return found;
}

static int unknown_command(const char *word)
{
	for (size_t i = 0; i < sizeof later / sizeof later[0]; i++)
		if (strcmp(word, later[i]) == 0) {
			print_error("not in this version: %s: 'verbatim' lists what is", word);
			return EXIT_USAGE;
		}
	const char *names[N_COMMANDS];
	for (int i = 0; i < N_COMMANDS; i++)
		names[i] = commands[i].name;
	const char *near = nearest_name(word, names, N_COMMANDS);
	const char *kind = word[0] == '-' ? "option" : "command";
	if (near && word[0] != '-')
		print_error("unknown %s: %s: did you mean %s?", kind, word, near);
	else
		print_error("unknown %s: %s: 'verbatim' lists the commands", kind, word);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN); /* a reader that went away is a failed write, not a death */
	interrupt_cancels(NULL);
	if (argc < 2) {
		print_usage(stdout);
		return finish_output();
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
		printf("verbatim %s\n", vb_version());
		return finish_output();
	}
	char help[] = "--help";
	bool asks_help = strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;
	if (asks_help && argc < 3) {
		print_usage(stdout);
		return finish_output();
	}
	if (asks_help) { /* "help run" is "run --help" */
		argv++;
		argc--;
	}
	int n_words;
	const struct command *command = find_command(argc, argv, &n_words);
	if (!command)
		return unknown_command(argv[1]);
	/* What follows the name; its last word stands where argp expects the program's. */
	argv += n_words;
	argc -= n_words;
	char *asked[] = { argv[0], help, NULL };
	struct settings s;
	int status;
	if (options_parse(command, asks_help ? 2 : argc, asks_help ? asked : argv, &s, &status) == 0)
		status = command->run(&s);
	options_fini(&s);
	return status;
}
