/* cmd_quantize.c - a model folder written anew with quantised weights. */
#include "input.h"
#include "output.h"
#include "program.h"

#include "base/clock.h"
#include "base/status.h"

#include <signal.h>
#include <unistd.h>

/* Ctrl-C: what was begun is removed, unless it comes twice. */
static volatile sig_atomic_t given_up;

static void on_interrupt(int number)
{
	(void)number;
	if (given_up)
		_exit(EXIT_INTERRUPTED);
	given_up = 1;
}

struct showing {
	bool shown;
	double start;
};

static bool on_progress(void *user, uint64_t done, uint64_t total)
{
	struct showing *s = user;
	if (s->shown) {
		double share = total ? (double)done / (double)total : 1, seconds = clock_s() - s->start;
		char bar[31];
		for (int i = 0; i < 30; i++)
			bar[i] = i < (int)(share * 30) ? '#' : '.';
		bar[30] = '\0';
		fprintf(stderr, "\r%s%s %3.0f %%, %.0f s left %s", dim(stderr), bar, share * 100,
			share > 0 ? seconds / share - seconds : 0, plain(stderr));
		fflush(stderr);
	}
	return !given_up;
}

static int quantize(const struct settings *s, const char *model)
{
	struct showing showing = { .shown = isatty(STDERR_FILENO) && !s->json, .start = clock_s() };
	struct vb_quantize_spec spec = { .size = sizeof spec, .to = s->quantize_to, .threads = s->engine.threads,
					 .progress = on_progress, .user = &showing };
	char *text = NULL;
	struct sigaction action = { .sa_handler = on_interrupt };
	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	int rc = vb_quantize(model, s->argument[1], &spec, &text);
	interrupt_cancels(NULL);
	if (showing.shown)
		fprintf(stderr, "\r\033[K");
	if (rc != VB_OK)
		return exit_for(rc);
	json_t *answer = take_json(text, "vb_quantize");
	if (!answer)
		return EXIT_FAILED;
	if (s->json)
		return print_json(answer);
	char size[32];
	long long n_q8 = json_integer_value(json_object_get(answer, "q8"));
	long long n_q6 = json_integer_value(json_object_get(answer, "q6"));
	long long n_q4 = json_integer_value(json_object_get(answer, "q4"));
	printf("%s: %s, %lld matrices in 8 bits, %lld in 6, %lld in 4, %.2f bits a weight, in %.1f s\n", s->argument[1],
	       human_bytes(size, json_number_value(json_object_get(answer, "bytes"))), n_q8, n_q6, n_q4,
	       json_number_value(json_object_get(answer, "bits_per_weight")),
	       json_number_value(json_object_get(answer, "seconds")));
	json_decref(answer);
	return finish_output();
}

int cmd_quantize(struct settings *s)
{
	if (!s->quantize_to) {
		print_error("missing option: --to: use --to q8 or --to q4");
		return EXIT_USAGE;
	}
	struct buf model;
	buf_init(&model, 8192);
	int rc = find_model(s->argument[0], &model);
	int status = rc == VB_OK ? quantize(s, model.data) : exit_for(rc);
	buf_fini(&model);
	return status;
}
