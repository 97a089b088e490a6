#include "ops/profile.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"

#include <string.h>

const char *profile_kind_name(enum profile_kind kind)
{
	static const char *const names[] = {
		[PROFILE_LINEAR] = "linear", [PROFILE_ATTENTION] = "attention", [PROFILE_NORM] = "norm",
		[PROFILE_ROPE] = "rope",     [PROFILE_GLU] = "glu",             [PROFILE_EMBED] = "embed",
		[PROFILE_SOFTCAP] = "softcap", [PROFILE_SAMPLE] = "sample",     [PROFILE_PLAN] = "plan",
	};
	return names[kind];
}

int profile_create(struct profile **out, struct team *team)
{
	*out = NULL;
	struct profile *f = mem_calloc(1, sizeof *f);
	if (!f)
		return VB_ENOMEM;
	f->team = team;
	f->times = mem_pages((size_t)team_size(team) * sizeof *f->times);
	if (!f->times) {
		profile_destroy(&f);
		return VB_ENOMEM;
	}
	team_watch(team, f->times);
	*out = f;
	return VB_OK;
}

void profile_destroy(struct profile **fp)
{
	struct profile *f = *fp;
	if (!f)
		return;
	team_watch(f->team, NULL);
	mem_free_pages(f->times, (size_t)team_size(f->team) * sizeof *f->times);
	mem_free(f);
	*fp = NULL;
}

void profile_clear(struct profile *f)
{
	memset(f->row, 0, sizeof f->row);
	f->wait_s = 0;
}

void profile_begin(struct profile *f)
{
	if (!f)
		return;
	memset(f->times, 0, (size_t)team_size(f->team) * sizeof *f->times);
	f->began = clock_s();
}

void profile_end(struct profile *f, enum profile_kind kind, double bytes, double flops)
{
	if (!f)
		return;
	double took = clock_s() - f->began, busy = 0;
	int n = team_size(f->team);
	for (int i = 0; i < n; i++)
		busy += f->times[i].ended - f->times[i].began;
	/* Nobody has written a time: the caller did it alone, and all of it was its own. */
	busy = busy > 0 ? busy / n : took;
	struct profile_row *row = &f->row[kind];
	row->seconds += busy;
	row->bytes += bytes;
	row->flops += flops;
	row->runs++;
	f->wait_s += took - busy;
}
