#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "many_help.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>

int answer_token(void *user, const struct vb_event *event)
{
	struct answer *a = user;
	a->n_seen += event->token != NULL;
	return a->cancel_at > 0 && a->n_seen >= a->cancel_at;
}

void answer_done(void *user, int status, struct vb_result *result)
{
	struct answer *a = user;
	a->status = status;
	if (status != VB_OK)
		snprintf(a->message, sizeof a->message, "%s", vb_errmsg());
	vb_result_free(&a->result);
	a->result = *result;
	*result = (struct vb_result){ 0 };
	atomic_fetch_add(&a->n_ended, 1);
}

void answers_free(struct answer *answers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		vb_result_free(&answers[i].result);
}

void submit(struct vb_engine *e, const struct vb_request *r, struct answer *a)
{
	need(vb_submit(e, r, answer_token, answer_done, a, &a->id));
}

void run_all(struct vb_engine *e)
{
	bool more = true;
	while (more)
		need(vb_step(e, &more));
}

static json_t *stats_of(struct vb_engine *e)
{
	char *text;
	json_t *stats;
	need(vb_engine_stats(e, &text));
	need(json_parse(&stats, text, strlen(text), "statistics"));
	vb_free(text);
	return stats;
}

int64_t stat_of(struct vb_engine *e, const char *group, const char *name)
{
	json_t *stats = stats_of(e);
	json_t *value = json_object_get(group ? json_object_get(stats, group) : stats, name);
	assert_true(json_is_integer(value));
	int64_t v = json_integer_value(value);
	json_decref(stats);
	return v;
}

int64_t pages_of(struct vb_engine *e, const char *name)
{
	json_t *stats = stats_of(e), *group;
	int64_t sum = 0;
	size_t i;
	json_array_foreach(json_object_get(stats, "pages"), i, group) {
		assert_true(json_is_integer(json_object_get(group, name)));
		sum += json_integer_value(json_object_get(group, name));
	}
	json_decref(stats);
	return sum;
}
