/* prove.h - the law, tested: random requests under random schedules, each compared bit for bit with itself alone.
 *
 * Uses the public API alone. A schedule is an engine (batch size, chunk, pages, threads, speculation, cache) and a crowd of
 * requests that arrive, are cancelled and preempted as the schedule's number says; every request that ends is compared
 * with the same request alone in an engine with a chunk as large as its prompt, one thread, and nothing else: token ids and
 * log-probabilities, of the answer and (where asked for) of the prompt. Schedule i of a seed is always the same.
 *
 * A crowd has up to 128 requests. No schedule gives more than an eighth of the comparisons that are wanted, so that few of
 * them still meet many schedules; which of its requests are compared is drawn.
 */
#ifndef TOOLS_PROVE_H
#define TOOLS_PROVE_H

#include "base/json.h"
#include "verbatim/engine.h"

struct prove_spec {
	const char *model;      /* folder */
	const char *draft;      /* folder of a draft model; NULL: no such schedules */
	const struct vb_options *options; /* device, dtype, cpu_isa, threads (0: all), context, ... */
	int64_t cases;          /* comparisons wanted */
	uint64_t seed;
	int64_t first_schedule; /* 0 */
	int64_t only_request;   /* -1, or: compare this request of first_schedule and no other */
	/* Called after each schedule; may be NULL. */
	void (*progress)(void *user, int64_t cases, int64_t differences);
	void *user;
};

/* Compares exactly `cases` times, or until the first difference. With only_request at most once: a cancelled request is
 * not compared. *out: {"cases", "differences", "schedules": {kind: cases}, and
 * after a difference "difference": {"schedule", "request", "what", "kinds"}}. VB_OK also where a difference was found. */
int prove(const struct prove_spec *spec, json_t **out);

#endif
