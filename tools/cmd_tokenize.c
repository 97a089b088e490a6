/* cmd_tokenize.c - tokenize, detokenize, template: text and ids as the model sees them. */
#include "input.h"
#include "output.h"
#include "program.h"

#include "base/mem.h"
#include "base/status.h"

#include <string.h>
#include <unistd.h>

#define TEXT_MAX (256u << 20)

/* A command on a tokeniser and one text; -> exit status. */
typedef int text_fn(struct settings *s, const struct vb_tokenizer *t, const struct buf *text);

static int with_text(struct settings *s, const char *argument, const char *what, text_fn *run)
{
	if (!argument && isatty(STDIN_FILENO)) {
		print_error("nothing to work on: standard input is a terminal: give %s", what);
		return EXIT_USAGE;
	}
	struct buf model, text;
	struct vb_tokenizer *t = NULL;
	buf_init(&model, 8192);
	buf_init(&text, TEXT_MAX);
	int status, rc = find_model(s->argument[0], &model);
	if (rc == VB_OK)
		rc = vb_tokenizer_open(&t, model.data);
	if (rc == VB_OK)
		rc = !argument || strcmp(argument, "-") == 0 ? read_text("-", &text) : buf_puts(&text, argument);
	status = rc == VB_OK ? run(s, t, &text) : exit_for(rc);
	vb_tokenizer_close(&t);
	buf_fini(&text);
	buf_fini(&model);
	return status;
}

static int tokenize(struct settings *s, const struct vb_tokenizer *t, const struct buf *text)
{
	int32_t *ids = NULL;
	size_t n = 0;
	int rc = vb_tokenize(t, text->data, text->len, s->add_special, s->parse_special, &ids, &n);
	if (rc != VB_OK)
		return exit_for(rc);
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_integer(ids[i]));
	vb_free(ids);
	return print_json(s->json ? json_pack("{s:o}", "ids", list) : list);
}

static int print_text(const struct settings *s, char *text, size_t len)
{
	int status;
	if (s->json) {
		status = print_json(json_pack("{s:s%}", "text", text, len));
	} else {
		fwrite(text, 1, len, stdout);
		if (isatty(STDOUT_FILENO) && (len == 0 || text[len - 1] != '\n'))
			putchar('\n');
		status = finish_output();
	}
	vb_free(text);
	return status;
}

static int detokenize(struct settings *s, const struct vb_tokenizer *t, const struct buf *text)
{
	int32_t *ids = NULL;
	size_t n = 0, len = 0;
	char *out = NULL;
	int rc = parse_ids(text->data, "IDS", &ids, &n);
	if (rc == VB_OK)
		rc = vb_detokenize(t, ids, n, s->skip_special, &out, &len);
	mem_free(ids);
	return rc == VB_OK ? print_text(s, out, len) : exit_for(rc);
}

static int render(struct settings *s, const struct vb_tokenizer *t, const struct buf *text)
{
	size_t len = 0;
	char *out = NULL;
	int rc = vb_render_chat(t, text->data, s->add_generation_prompt, &out, &len);
	if (rc == VB_EFORMAT)
		rc = status_prefix(rc, "%s", s->messages && strcmp(s->messages, "-") != 0 ? s->messages : "standard input");
	return rc == VB_OK ? print_text(s, out, len) : exit_for(rc);
}

int cmd_tokenize(struct settings *s)
{
	return with_text(s, s->n_arguments == 2 ? s->argument[1] : NULL, "TEXT", tokenize);
}

int cmd_detokenize(struct settings *s)
{
	return with_text(s, s->n_arguments == 2 ? s->argument[1] : NULL, "IDS", detokenize);
}

int cmd_template(struct settings *s)
{
	if (!s->messages || strcmp(s->messages, "-") == 0)
		return with_text(s, NULL, "--messages FILE", render);
	struct buf text;
	buf_init(&text, TEXT_MAX);
	int rc = read_text(s->messages, &text);
	int status = rc == VB_OK ? with_text(s, text.data, "--messages FILE", render) : exit_for(rc);
	buf_fini(&text);
	return status;
}
