/* cmd_batch.c - many requests through one engine: a JSON object a line in, one a line out. */
#include "answer.h"
#include "input.h"
#include "output.h"
#include "program.h"

#include "base/mem.h"
#include "base/status.h"

#include <math.h>
#include <string.h>

#define INPUT_MAX ((size_t)1 << 30)
#define LINE_STOPS 64

/* Requests that wait in the engine beyond those that run: enough to keep it busy, few enough to keep memory small. */
#define AHEAD 64

struct batch_run {
	struct settings *s;
	const char *input; /* as messages name it */
	struct vb_engine *engine;
	json_t *info;
	int64_t n_running, n_failed;
	bool write_failed, warned;
};

/* One line's request; freed when it has ended. */
struct line {
	struct batch_run *run;
	int64_t number; /* from 1 */
	json_t *object;
	json_t *id;
	int32_t *ids;
	const char *stop[LINE_STOPS];
};

static void line_free(struct line *l)
{
	json_decref(l->object);
	json_decref(l->id);
	mem_free(l->ids);
	mem_free(l);
}

static void print_line(struct batch_run *b, json_t *answer)
{
	if (b->write_failed) /* which was said */
		json_decref(answer);
	else if (print_json(answer) != EXIT_DONE)
		b->write_failed = true;
}

static void print_failure(const struct line *l, const char *message)
{
	l->run->n_failed++;
	print_line(l->run, json_pack("{s:O, s:I, s:s, s:s}", "id", l->id, "line", (json_int_t)l->number, "finish_reason", "error",
				     "error", message));
}

static void on_done(void *user, int status, struct vb_result *result)
{
	struct line *l = user;
	struct batch_run *b = l->run;
	b->n_running--;
	if (status == VB_OK || status == VB_ECANCELLED) {
		json_t *answer = answer_json(result, b->info);
		json_object_set(answer, "id", l->id);
		print_line(b, answer);
	} else {
		print_failure(l, vb_errmsg());
	}
	line_free(l);
}

static int stops_of(struct line *l, const char *where, struct vb_request *r)
{
	const json_t *v = json_get(l->object, "stop");
	if (!v)
		return VB_OK;
	size_t n = json_is_array(v) ? json_array_size(v) : 1;
	if (n > LINE_STOPS)
		FAIL(VB_EINVAL, "too many stop strings: %s: %zu: give at most %d", where, n, LINE_STOPS);
	for (size_t i = 0; i < n; i++) {
		l->stop[i] = json_string_value(json_is_array(v) ? json_array_get(v, i) : v);
		if (!l->stop[i])
			FAIL(VB_EINVAL, "wrong type: %s: key \"stop\": expected a string, or an array of strings", where);
	}
	r->stop = l->stop;
	r->n_stop = n;
	return VB_OK;
}

static int prompt_of(struct line *l, const char *where, struct vb_request *r, char **chat)
{
	const json_t *ids = json_get(l->object, "prompt_ids"), *messages = json_get(l->object, "chat");
	const json_t *text = json_get(l->object, "prompt");
	if (ids) {
		if (!json_is_array(ids))
			FAIL(VB_EINVAL, "wrong type: %s: key \"prompt_ids\": expected an array of integers, found %s", where,
			     json_kind(ids));
		size_t i, n = json_array_size(ids);
		const json_t *v;
		l->ids = mem_alloc(n * sizeof *l->ids);
		if (!l->ids)
			return VB_ENOMEM;
		json_array_foreach(ids, i, v) {
			json_int_t id = json_integer_value(v);
			if (!json_is_integer(v) || id < 0 || id > INT32_MAX)
				FAIL(VB_EINVAL, "not a token id: %s: prompt_ids[%zu]: give a whole number from 0 on", where, i);
			l->ids[i] = (int32_t)id;
		}
		r->prompt_ids = l->ids;
		r->n_prompt_ids = n;
	}
	if (text) {
		if (!json_is_string(text))
			FAIL(VB_EINVAL, "wrong type: %s: key \"prompt\": expected a string, found %s", where, json_kind(text));
		r->prompt = json_string_value(text);
		r->prompt_len = json_string_length(text);
	}
	if (messages) {
		if (!json_is_array(messages) && !json_is_object(messages))
			FAIL(VB_EINVAL, "wrong type: %s: key \"chat\": expected an array of messages, found %s", where,
			     json_kind(messages));
		*chat = json_text(messages);
		if (!*chat)
			return VB_ENOMEM;
		r->chat = *chat;
	}
	return VB_OK;
}

/* A misspelt key would change the answer in silence; a key of somebody else's should not stop it. Said once a run. */
static void warn_of_keys(struct batch_run *b, const json_t *object, const char *where)
{
	static const char *const known[] = {
		"id", "prompt", "prompt_ids", "chat", "stop", "max_tokens", "min_tokens", "temperature", "top_k", "top_p", "min_p",
		"repetition_penalty", "presence_penalty", "frequency_penalty", "seed", "logprobs", "prompt_logprobs", "ignore_eos",
	};
	const int n = (int)(sizeof known / sizeof known[0]);
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)(uintptr_t)object, key, value) {
		int i = 0;
		while (i < n && strcmp(key, known[i]) != 0)
			i++;
		if (i < n || b->warned)
			continue;
		const char *near = nearest_name(key, known, n);
		b->warned = true;
		print_warning("unknown key: %s: \"%.100s\" is passed over%s%s%s", where, key, near ? ": did you mean \"" : "",
			      near ? near : "", near ? "\"?" : "");
	}
}

static int fill(struct line *l, const char *where, struct vb_request *r, char **chat)
{
	const json_t *o = l->object;
	struct vb_sampling *p = &r->sampling;
	int64_t seed, logprobs, prompt_logprobs;
	TRY(prompt_of(l, where, r, chat));
	TRY(stops_of(l, where, r));
	TRY(json_get_i64(o, "max_tokens", where, 0, INT32_MAX, r->max_tokens, &r->max_tokens));
	TRY(json_get_i64(o, "min_tokens", where, 0, INT32_MAX, r->min_tokens, &r->min_tokens));
	TRY(json_get_f64(o, "temperature", where, 0, 1000, p->temperature, &p->temperature));
	TRY(json_get_i64(o, "top_k", where, 0, INT32_MAX, p->top_k, &p->top_k));
	TRY(json_get_f64(o, "top_p", where, 0, 1, p->top_p, &p->top_p));
	TRY(json_get_f64(o, "min_p", where, 0, 1, p->min_p, &p->min_p));
	TRY(json_get_f64(o, "repetition_penalty", where, 1e-3, 1e3, p->repetition_penalty, &p->repetition_penalty));
	TRY(json_get_f64(o, "presence_penalty", where, -100, 100, p->presence_penalty, &p->presence_penalty));
	TRY(json_get_f64(o, "frequency_penalty", where, -100, 100, p->frequency_penalty, &p->frequency_penalty));
	TRY(json_get_i64(o, "seed", where, INT64_MIN, INT64_MAX, (int64_t)p->seed, &seed));
	TRY(json_get_i64(o, "logprobs", where, -1, 100, r->logprobs, &logprobs));
	TRY(json_get_i64(o, "prompt_logprobs", where, -1, 100, r->prompt_logprobs, &prompt_logprobs));
	TRY(json_get_bool(o, "ignore_eos", where, r->ignore_eos, &r->ignore_eos));
	p->seed = (uint64_t)seed;
	r->logprobs = (int)logprobs;
	r->prompt_logprobs = (int)prompt_logprobs;
	return VB_OK;
}

/* Submits one line. What is wrong with it is its answer; the others go on. */
static void submit(struct batch_run *b, const char *text, size_t len, int64_t number)
{
	struct line *l = mem_calloc(1, sizeof *l);
	struct vb_request r;
	char where[300], *chat = NULL;
	snprintf(where, sizeof where, "%.250s, line %lld", b->input, (long long)number);
	int rc = l ? json_parse_at(&l->object, text, len, b->input, number) : VB_ENOMEM;
	if (rc == VB_OK && !json_is_object(l->object))
		rc = status_fail(VB_EINVAL, __FILE__, __LINE__, "not a request: %s: expected a JSON object", where);
	if (l) {
		l->run = b;
		l->number = number;
		json_t *id = json_object_get(l->object, "id");
		l->id = id ? json_incref(id) : json_integer((json_int_t)number);
	}
	vb_request_default(&r);
	if (rc == VB_OK)
		warn_of_keys(b, l->object, where);
	if (rc == VB_OK)
		rc = fill(l, where, &r, &chat);
	if (rc == VB_OK)
		rc = vb_submit(b->engine, &r, NULL, on_done, l, NULL);
	mem_free(chat);
	if (rc == VB_OK) {
		b->n_running++;
		return;
	}
	if (l) {
		print_failure(l, vb_errmsg());
		line_free(l);
	}
}

static int run_all(struct batch_run *b, const struct buf *input)
{
	static const char mark[] = "\xef\xbb\xbf"; /* some editors begin UTF-8 files with it */
	const char *at = input->data ? input->data : "", *end = at + input->len;
	int64_t number = 0, n_requests = 0;
	bool more = true;
	if (input->len >= 3 && memcmp(at, mark, 3) == 0)
		at += 3;
	while ((at < end || more) && !b->write_failed && !was_interrupted()) {
		while (at < end && b->n_running < b->s->engine.max_batch + AHEAD) {
			const char *line_end = memchr(at, '\n', (size_t)(end - at));
			size_t len = (size_t)((line_end ? line_end : end) - at);
			number++;
			if (len > 0 && strspn(at, " \t\r") < len) {
				submit(b, at, len - (at[len - 1] == '\r'), number);
				n_requests++;
			}
			at += len + (line_end != NULL);
		}
		TRY(vb_step(b->engine, &more));
	}
	if (!n_requests)
		print_warning("no requests: %s: give a JSON object a line", b->input);
	return VB_OK;
}

static void print_statistics(const struct batch_run *b)
{
	char *text;
	if (b->s->engine.log_level < VB_LOG_INFO || vb_engine_stats(b->engine, &text) != VB_OK)
		return;
	fprintf(stderr, "%s%s%s\n", dim(stderr), text, plain(stderr));
	vb_free(text);
}

int cmd_batch(struct settings *s)
{
	if (!s->input) {
		print_error("no input: verbatim batch: give --input FILE (or --input -)");
		return EXIT_USAGE;
	}
	struct batch_run b = { .s = s, .input = strcmp(s->input, "-") == 0 ? "standard input" : s->input };
	struct buf model, input;
	buf_init(&model, 8192);
	buf_init(&input, INPUT_MAX);
	if (s->engine.max_batch == 0)
		s->engine.max_batch = 16;
	int rc = find_model(s->n_arguments ? s->argument[0] : NULL, &model);
	if (rc == VB_OK)
		rc = read_text(s->input, &input);
	if (rc == VB_OK)
		rc = vb_engine_open(&b.engine, model.data, &s->engine);
	if (rc == VB_OK) {
		b.info = engine_info(b.engine);
		interrupt_cancels(b.engine);
		rc = run_all(&b, &input);
		interrupt_cancels(NULL);
		print_statistics(&b);
	}
	/* What could not be written was said where that happened. */
	int status = rc != VB_OK ? exit_for(rc) : b.write_failed ? EXIT_FAILED : finish_output();
	vb_engine_close(&b.engine);
	json_decref(b.info);
	buf_fini(&input);
	buf_fini(&model);
	if (was_interrupted())
		return EXIT_INTERRUPTED;
	return status == EXIT_DONE && b.n_failed ? EXIT_FAILED : status;
}
