/* many_help.h - what the tests of many requests share: asking, and what came of it. */
#ifndef TESTS_MANY_HELP_H
#define TESTS_MANY_HELP_H

#include "engine_help.h"

#include <stdatomic.h>

/* One request's answer. */
struct answer {
	uint64_t id;
	int status;
	atomic_int n_ended; /* calls of on_done */
	int64_t n_seen;     /* tokens */
	int64_t cancel_at;  /* on_token cancels behind so many tokens; 0: never */
	char message[512];
	struct vb_result result;
};

int answer_token(void *user, const struct vb_event *event);
void answer_done(void *user, int status, struct vb_result *result);
void answers_free(struct answer *answers, size_t n);

/* Submits, and fails the test where that is refused. */
void submit(struct vb_engine *e, const struct vb_request *r, struct answer *a);
/* Steps until nothing is left. */
void run_all(struct vb_engine *e);

/* A number of vb_engine_stats; `name` of the object `group`, or at the top where group is NULL. */
int64_t stat_of(struct vb_engine *e, const char *group, const char *name);
/* "used", "cached" or "free" pages, of all groups together. */
int64_t pages_of(struct vb_engine *e, const char *name);

#endif
