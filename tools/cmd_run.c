/* cmd_run.c - one completion: text as it is made, or one JSON object. */
#include "answer.h"
#include "input.h"
#include "output.h"
#include "program.h"

#include "base/mem.h"
#include "base/status.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define PROMPT_MAX (256u << 20)

/* Everything that one run holds; freed in one place. */
struct run {
	struct settings *s;
	struct vb_engine *engine;
	struct buf model, prompt, chat;
	int32_t *ids;
	struct vb_result result;
	char last;       /* last character written */
	bool write_failed;
};

/* ---- The prompt: exactly one of PROMPT, standard input, --prompt-ids ---- */

static int check_usage(const struct settings *s)
{
	bool has_text = s->n_arguments == 2;
	if (has_text && s->prompt_ids) {
		print_error("two prompts: --prompt-ids and PROMPT: give one of them");
		return EXIT_USAGE;
	}
	if (s->prompt_ids && s->chat) {
		print_error("--chat needs text: --prompt-ids: give PROMPT, or leave out --chat");
		return EXIT_USAGE;
	}
	if (s->system && !s->chat) {
		print_error("--system is for conversations: --system: give --chat too");
		return EXIT_USAGE;
	}
	if (!has_text && !s->prompt_ids && isatty(STDIN_FILENO)) {
		print_error("no prompt: verbatim run: give PROMPT after MODEL, as in: verbatim run demo \"Once upon a time\"");
		return EXIT_USAGE;
	}
	return EXIT_DONE;
}

static json_t *message(const char *role, const char *text, size_t len)
{
	return json_pack("{s:s, s:s%}", "role", role, "content", text, len);
}

static int set_chat(struct run *r)
{
	json_t *messages = json_array();
	if (r->s->system)
		json_array_append_new(messages, message("system", r->s->system, strlen(r->s->system)));
	json_t *user = message("user", r->prompt.data, r->prompt.len);
	int rc = VB_OK;
	if (!user)
		FAIL_TO(out, VB_EINVAL, "not valid UTF-8: PROMPT: give UTF-8 text");
	json_array_append(messages, user);
	char *text = json_text(messages);
	if (!text)
		FAIL_TO(out, VB_ENOMEM, "out of memory: the chat's messages: free some memory");
	rc = buf_puts(&r->chat, text);
	mem_free(text);
	r->s->request.chat = r->chat.data;
out:
	json_decref(user);
	json_decref(messages);
	return rc;
}

static int set_prompt(struct run *r)
{
	struct settings *s = r->s;
	if (s->prompt_ids) {
		TRY(parse_ids(s->prompt_ids, "--prompt-ids", &r->ids, &s->request.n_prompt_ids));
		s->request.prompt_ids = r->ids;
		return VB_OK;
	}
	const char *text = s->n_arguments == 2 ? s->argument[1] : "-";
	if (strcmp(text, "-") == 0)
		TRY(read_text("-", &r->prompt));
	else
		TRY(buf_puts(&r->prompt, text));
	if (s->chat)
		return set_chat(r);
	s->request.prompt = r->prompt.data;
	s->request.prompt_len = r->prompt.len;
	return VB_OK;
}

/* ---- The answer ---- */

static int on_token(void *user, const struct vb_event *event)
{
	struct run *r = user;
	if (was_interrupted()) /* Ctrl-C came just before the generation began */
		return 1;
	if (r->s->json || event->text_len == 0)
		return 0;
	if (fwrite(event->text, 1, event->text_len, stdout) != event->text_len || fflush(stdout) != 0) {
		r->write_failed = true;
		return 1;
	}
	r->last = event->text[event->text_len - 1];
	return 0;
}

/* A token's text in one visible word. */
static void token_text(const struct run *r, int32_t id, char out[64])
{
	char *text = NULL;
	size_t len = 0;
	const struct vb_tokenizer *t = vb_engine_tokenizer(r->engine);
	out[0] = 0;
	if (!t || vb_detokenize(t, &id, 1, false, &text, &len) != VB_OK)
		return;
	json_t *quoted = json_stringn(text, len);
	char *dump = quoted ? json_text(quoted) : NULL;
	if (dump)
		snprintf(out, 64, "%.60s", dump);
	mem_free(dump);
	json_decref(quoted);
	vb_free(text);
}

static void print_tokens(const struct run *r, const char *title, const struct vb_token *tokens, size_t n, size_t n_without)
{
	printf("\n%s%s%s\n", bold(stdout), title, plain(stdout));
	struct table *t = table_create("rrrll");
	table_row(t, "#", "id", "logprob", "token", "most probable");
	for (size_t i = 0; i < n; i++) {
		char text[64], most[1024] = "";
		token_text(r, tokens[i].id, text);
		size_t used = 0;
		for (int k = 0; k < tokens[i].n_top && used < sizeof most - 100; k++) {
			char top[64];
			token_text(r, tokens[i].top[k].id, top);
			used += (size_t)snprintf(most + used, sizeof most - used, "%s%s %.4f", k ? ", " : "", top,
						 (double)tokens[i].top[k].logprob);
		}
		table_cell(t, "%zu", i);
		table_cell(t, "%d", (int)tokens[i].id);
		if (i < n_without)
			table_cell(t, "-");
		else
			table_cell(t, "%.9g", (double)tokens[i].logprob);
		table_row(t, text, most);
	}
	table_print(t);
}

static void print_statistics(const struct run *r, const json_t *info)
{
	const struct vb_result *a = &r->result;
	const char *device = json_string_value(json_object_get(info, "device"));
	const char *dtype = json_string_value(json_object_get(info, "dtype"));
	const char *weights = json_string_value(json_object_get(info, "weight_format"));
	if (r->s->engine.log_level == VB_LOG_ERROR)
		return;
	bool tells = weights && dtype && strcmp(weights, dtype) != 0;
	fprintf(stderr, "%s%zu prompt token%s (%.0f tok/s), %zu token%s made (%.1f tok/s), first after %.3f s; %s, %s, %s%s%s%s\n",
		dim(stderr), a->n_prompt_ids, a->n_prompt_ids == 1 ? "" : "s", a->prefill_tok_s, a->n_ids,
		a->n_ids == 1 ? "" : "s", a->decode_tok_s, a->first_token_s,
		vb_finish_name(a->finish), device ? device : "?", dtype ? dtype : "?", tells ? ", weights " : "",
		tells ? weights : "", plain(stderr));
	if (a->proposed_tokens)
		fprintf(stderr, "%sspeculation: %lld guesses in %lld steps, %.0f %% right%s\n", dim(stderr),
			(long long)a->proposed_tokens, (long long)a->draft_steps,
			100.0 * (double)a->accepted_tokens / (double)a->proposed_tokens, plain(stderr));
	if (a->clipped)
		print_warning("the answer ended where the context was full: --context: give a longer one");
}

static int show(struct run *r)
{
	json_t *info = engine_info(r->engine);
	int status;
	if (r->s->json) {
		status = print_json(answer_json(&r->result, info));
	} else {
		if (r->result.n_ids && r->last != '\n')
			putchar('\n');
		if (r->result.prompt_tokens)
			print_tokens(r, "prompt", r->result.prompt_tokens, r->result.n_prompt_ids, 1);
		if (r->result.tokens)
			print_tokens(r, "answer", r->result.tokens, r->result.n_ids, 0);
		status = finish_output();
		print_statistics(r, info);
	}
	json_decref(info);
	return status;
}

static void announce(const struct run *r)
{
	if (r->s->engine.log_level < VB_LOG_INFO)
		return;
	char line[512];
	json_t *info = engine_info(r->engine);
	describe_engine(info, line);
	print_log(NULL, VB_LOG_INFO, line);
	json_decref(info);
}

static int run(struct run *r)
{
	struct settings *s = r->s;
	int rc = find_model(s->n_arguments ? s->argument[0] : NULL, &r->model);
	if (rc == VB_OK)
		rc = set_prompt(r);
	if (rc == VB_OK)
		rc = vb_engine_open(&r->engine, r->model.data, &s->engine);
	if (rc != VB_OK)
		return exit_for(rc);
	announce(r);
	interrupt_cancels(r->engine);
	rc = vb_generate(r->engine, &s->request, on_token, r, &r->result);
	interrupt_cancels(NULL);
	if (r->write_failed)
		return finish_output();
	if (rc != VB_OK && rc != VB_ECANCELLED)
		return exit_for(rc);
	int status = show(r);
	return rc == VB_ECANCELLED ? EXIT_INTERRUPTED : status;
}

int cmd_run(struct settings *s)
{
	int status = check_usage(s);
	if (status != EXIT_DONE)
		return status;
	struct run r = { .s = s };
	buf_init(&r.model, 8192);
	buf_init(&r.prompt, PROMPT_MAX);
	buf_init(&r.chat, 8u * PROMPT_MAX);
	status = run(&r);
	vb_result_free(&r.result);
	vb_engine_close(&r.engine);
	mem_free(r.ids);
	buf_fini(&r.chat);
	buf_fini(&r.prompt);
	buf_fini(&r.model);
	return status;
}
