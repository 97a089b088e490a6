/* prove, run by CI: test_prove MODEL DRAFT CASES SEED [differs]
 *
 * DRAFT is a folder or "-"; SEED is a number or "fresh" (from the clock, and printed). Fails where two runs of a request
 * differ; with "differs", which sabotaged builds of this program are run with, where they do not within CASES, or where
 * the request that differed is not found again by its schedule and number. */
#include "tools/prove.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t read_seed(const char *text)
{
	if (strcmp(text, "fresh") != 0)
		return strtoull(text, NULL, 10);
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return ((uint64_t)now.tv_sec * 1000003u + (uint64_t)now.tv_nsec) % 1000000000;
}

/* Whether the answer is what was expected. */
static bool judge(const json_t *answer, int64_t cases, bool differs)
{
	bool different = json_integer_value(json_object_get(answer, "differences")) != 0;
	char *text = json_dumps(answer, JSON_COMPACT | JSON_SORT_KEYS);
	printf("%s\n", text ? text : "out of memory");
	free(text);
	if (different != differs)
		fprintf(stderr, differs ? "sabotage went unnoticed\n" : "answers differ\n");
	/* Who compares nothing finds nothing. */
	int64_t compared = json_integer_value(json_object_get(answer, "cases"));
	bool exact = differs ? compared > 0 && compared <= cases : compared == cases;
	if (!exact)
		fprintf(stderr, "%" PRId64 " cases, not %" PRId64 "\n", compared, cases);
	return different == differs && exact;
}

/* The difference alone, as the command that `verbatim prove` prints has it. */
static bool again(struct prove_spec spec, const json_t *answer)
{
	const json_t *d = json_object_get(answer, "difference");
	json_t *same;
	spec.first_schedule = json_integer_value(json_object_get(d, "schedule"));
	spec.only_request = json_integer_value(json_object_get(d, "request"));
	if (prove(&spec, &same) != VB_OK)
		return false;
	bool found = judge(same, 1, true);
	json_decref(same);
	return found;
}

int main(int argc, char **argv)
{
	if (argc < 5 || argc > 6 || (argc == 6 && strcmp(argv[5], "differs") != 0)) {
		fprintf(stderr, "usage: test_prove MODEL DRAFT|- CASES SEED|fresh [differs]\n");
		return 2;
	}
	struct vb_options options;
	vb_options_default(&options);
	options.device = "cpu";
	options.threads = 2;
	struct prove_spec spec = { .model = argv[1], .draft = strcmp(argv[2], "-") ? argv[2] : NULL, .options = &options,
				   .cases = strtoll(argv[3], NULL, 10), .seed = read_seed(argv[4]),
				   .only_request = -1 };
	printf("%s: seed %" PRIu64 "\n", argv[1], spec.seed);
	fflush(stdout);
	json_t *answer;
	if (prove(&spec, &answer) != VB_OK) {
		fprintf(stderr, "%s\n", vb_errmsg());
		return 1;
	}
	bool good = judge(answer, spec.cases, argc == 6) && (argc != 6 || again(spec, answer));
	json_decref(answer);
	return good ? 0 : 1;
}
