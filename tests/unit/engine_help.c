#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_help.h"

#include "load/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void need(int rc)
{
	if (rc != VB_OK)
		fail_msg("%s: %s", vb_status_name(rc), vb_errmsg());
}

void need_failure(int status, int rc, const char *const *words)
{
	if (status != rc)
		fail_msg("%s, not %s: %s", vb_status_name(status), vb_status_name(rc), vb_errmsg());
	for (; *words; words++)
		if (!strstr(vb_errmsg(), *words))
			fail_msg("no \"%s\" in: %s", *words, vb_errmsg());
}

const char *source_path(const char *path)
{
	static char text[2][4096];
	static int which;
	const char *root = getenv("VERBATIM_TEST_ROOT");
	which = !which;
	snprintf(text[which], sizeof text[which], "%s/%s", root ? root : ".", path);
	return text[which];
}

const char *golden(const char *folder)
{
	char path[256];
	snprintf(path, sizeof path, "tests/golden/%s", folder);
	return source_path(path);
}

struct vb_options small_options(void)
{
	struct vb_options o;
	vb_options_default(&o);
	o.device = "cpu";
	o.threads = 2;
	o.prefill_chunk = 16;
	o.page_size = 8;
	o.context = 160;
	return o;
}

struct vb_engine *open_engine(const char *dir, const struct vb_options *options)
{
	struct vb_engine *e;
	need(vb_engine_open(&e, dir, options));
	return e;
}

size_t golden_prompt(const char *folder, int32_t *ids, size_t max)
{
	char path[4200];
	struct tensor_set *set;
	snprintf(path, sizeof path, "%s/expected.safetensors", golden(folder));
	need(tensor_set_open_file(&set, path));
	const struct tensor *t = tensor_set_find(set, "prompt_ids");
	assert_non_null(t);
	size_t n = (size_t)t->shape[0] < max ? (size_t)t->shape[0] : max;
	for (size_t i = 0; i < n; i++)
		ids[i] = (int32_t)((const int64_t *)t->data)[i];
	tensor_set_close(&set);
	return n;
}

struct vb_request request_of(const int32_t *ids, size_t n, int64_t max_tokens)
{
	struct vb_request r;
	vb_request_default(&r);
	r.prompt_ids = ids;
	r.n_prompt_ids = n;
	r.max_tokens = max_tokens;
	return r;
}

static void need_same_tokens(const struct vb_token *a, const struct vb_token *b, size_t n)
{
	assert_int_equal(a != NULL, b != NULL);
	for (size_t i = 0; a && i < n; i++) {
		assert_int_equal(a[i].id, b[i].id);
		assert_memory_equal(&a[i].logprob, &b[i].logprob, sizeof a[i].logprob);
		assert_int_equal(a[i].n_top, b[i].n_top);
		for (int j = 0; j < a[i].n_top; j++)
			assert_memory_equal(&a[i].top[j], &b[i].top[j], sizeof a[i].top[j]);
	}
}

void need_same(const struct vb_result *a, const struct vb_result *b)
{
	assert_int_equal(a->finish, b->finish);
	assert_int_equal(a->n_ids, b->n_ids);
	assert_memory_equal(a->ids, b->ids, a->n_ids * sizeof *a->ids);
	assert_int_equal(a->n_prompt_ids, b->n_prompt_ids);
	assert_memory_equal(a->prompt_ids, b->prompt_ids, a->n_prompt_ids * sizeof *a->prompt_ids);
	assert_string_equal(a->text, b->text);
	assert_int_equal(a->text_len, b->text_len);
	need_same_tokens(a->tokens, b->tokens, a->n_ids);
	need_same_tokens(a->prompt_tokens, b->prompt_tokens, a->n_prompt_ids);
}
