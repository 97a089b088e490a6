/* cmd_prove.c - the law, tested here and now. */
#include "input.h"
#include "output.h"
#include "program.h"
#include "prove.h"

#include "base/mem.h"
#include "base/status.h"

#include <string.h>
#include <unistd.h>

static void on_progress(void *user, int64_t cases, int64_t differences)
{
	(void)differences;
	const struct settings *s = user;
	fprintf(stderr, "\r%s%lld of %lld%s", dim(stderr), (long long)cases, (long long)s->cases, plain(stderr));
	fflush(stderr);
}

static void print_kinds(const json_t *answer)
{
	struct table *t = table_create("lr");
	table_row(t, "schedule", "cases");
	const char *kind;
	json_t *n;
	json_object_foreach(json_object_get(answer, "schedules"), kind, n) {
		char count[32];
		snprintf(count, sizeof count, "%lld", (long long)json_integer_value(n));
		table_row(t, kind, count);
	}
	table_print(t);
}

/* One line that says what differed, and how to see it again. */
static void print_difference(const struct settings *s, const char *model, const json_t *d)
{
	printf("\n%sDIFFERENT%s: %s, schedule %lld, request %lld\n", bold(stdout), plain(stdout),
	       json_string_value(json_object_get(d, "what")), (long long)json_integer_value(json_object_get(d, "schedule")),
	       (long long)json_integer_value(json_object_get(d, "request")));
	printf("again: verbatim prove %s --seed %llu --schedule %lld --request %lld", model,
	       (unsigned long long)s->prove_seed, (long long)json_integer_value(json_object_get(d, "schedule")),
	       (long long)json_integer_value(json_object_get(d, "request")));
	/* What else a schedule depends on. */
	if (s->engine.threads)
		printf(" --threads %d", s->engine.threads);
	if (s->engine.context)
		printf(" --context %lld", (long long)s->engine.context);
	if (s->engine.draft_model)
		printf(" --draft-model %s", s->engine.draft_model);
	if (s->engine.dtype && strcmp(s->engine.dtype, "auto") != 0)
		printf(" --dtype %s", s->engine.dtype);
	if (s->engine.kv_dtype && strcmp(s->engine.kv_dtype, "auto") != 0)
		printf(" --kv-dtype %s", s->engine.kv_dtype);
	if (s->engine.quantize && strcmp(s->engine.quantize, "none") != 0)
		printf(" --quantize %s", s->engine.quantize);
	if (s->engine.cpu_isa && strcmp(s->engine.cpu_isa, "auto") != 0)
		printf(" --cpu-isa %s", s->engine.cpu_isa);
	printf("\n");
}

static int show(const struct settings *s, const char *model, json_t *answer)
{
	bool differs = json_integer_value(json_object_get(answer, "differences")) != 0;
	int status;
	if (s->json) {
		status = print_json(answer);
	} else {
		print_kinds(answer);
		if (differs)
			print_difference(s, model, json_object_get(answer, "difference"));
		else
			printf("\n%lld cases, every one equal bit for bit\n",
			       (long long)json_integer_value(json_object_get(answer, "cases")));
		status = finish_output();
		json_decref(answer);
	}
	return differs ? EXIT_FAILED : status;
}

int cmd_prove(struct settings *s)
{
	struct buf model, draft;
	buf_init(&model, 8192);
	buf_init(&draft, 8192);
	json_t *answer = NULL;
	int rc = find_model(s->n_arguments ? s->argument[0] : NULL, &model);
	if (rc == VB_OK)
		rc = buf_printf(&draft, "%s/draft", model.data);
	struct prove_spec spec = { .options = &s->engine, .cases = s->cases, .seed = s->prove_seed,
				   .first_schedule = s->schedule, .only_request = s->only_request };
	if (rc == VB_OK) {
		spec.model = model.data;
		spec.draft = s->engine.draft_model ? s->engine.draft_model
						   : access(draft.data, F_OK) == 0 ? draft.data : NULL;
		if (isatty(STDERR_FILENO) && !s->json) {
			spec.progress = on_progress;
			spec.user = s;
		}
		rc = prove(&spec, &answer);
	}
	if (spec.progress)
		fprintf(stderr, "\r\033[K");
	int status = rc == VB_OK ? show(s, model.data, answer) : exit_for(rc);
	buf_fini(&draft);
	buf_fini(&model);
	return status;
}
