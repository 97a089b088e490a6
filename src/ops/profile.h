/* profile.h - where the time of a program's steps goes, by kind of operation. Part of the face of src/ops. On a CPU.
 *
 * An operation's time is what its workers spent on it, the mean of them; what is left until the last one is done is
 * waiting, of all operations together. So kinds, waiting, and what no kind covers add up to the time of the steps.
 */
#ifndef OPS_PROFILE_H
#define OPS_PROFILE_H

#include "base/threads.h"

#include <stdbool.h>
#include <stdint.h>

enum profile_kind {
	PROFILE_LINEAR,
	PROFILE_ATTENTION,
	PROFILE_NORM,
	PROFILE_ROPE,   /* tables of angles; rotation, and writing keys and values into the cache */
	PROFILE_GLU,
	PROFILE_EMBED,  /* rows of the table; rows of the last layer for the head */
	PROFILE_SOFTCAP,
	PROFILE_SAMPLE, /* choosing tokens, log-probabilities */
	PROFILE_PLAN,   /* work lists of attention */
	PROFILE_N_KINDS
};

const char *profile_kind_name(enum profile_kind kind);

struct profile_row {
	double seconds;
	double bytes; /* that must be moved, whatever caches hold */
	double flops; /* multiplications and additions of matrix work; 0 elsewhere */
	int64_t runs;
};

struct profile {
	struct profile_row row[PROFILE_N_KINDS];
	double wait_s;
	struct team *team;
	struct team_time *times; /* [team_size] */
	double began;            /* of the operation under way */
};

int profile_create(struct profile **out, struct team *team);
void profile_destroy(struct profile **f);
/* Forgets what was measured. */
void profile_clear(struct profile *f);

/* Around one operation. f may be NULL: nothing happens. */
void profile_begin(struct profile *f);
void profile_end(struct profile *f, enum profile_kind kind, double bytes, double flops);

#endif
