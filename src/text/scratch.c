#include "text_internal.h"

#include "base/mem.h"
#include "base/status.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

void scratch_init(struct scratch *s)
{
	memset(s, 0, sizeof *s);
	regex_grant(s, 0);
	for (int i = 0; i < 2; i++) {
		buf_init(&s->text[i], TEXT_MAX_BYTES);
		buf_init(&s->cut[i], TEXT_MAX_BYTES);
	}
}

void scratch_fini(struct scratch *s)
{
	for (int i = 0; i < 2; i++) {
		buf_fini(&s->text[i]);
		buf_fini(&s->cut[i]);
		mem_free(s->pieces[i].p);
	}
	mem_free(s->match);
	mem_free(s->word);
	mem_free(s->heap);
	mem_free(s->path);
	mem_free(s->code_point);
	pcre2_match_data_free(s->match_data);
	pcre2_match_context_free(s->match_context);
	pcre2_jit_stack_free(s->jit_stack);
	memset(s, 0, sizeof *s);
}

int scratch_grow(void *array, size_t *capacity, size_t n, size_t size)
{
	if (n <= *capacity)
		return VB_OK;
	size_t wanted = *capacity ? *capacity : 64;
	while (wanted < n)
		wanted *= 2;
	void *old;
	memcpy(&old, array, sizeof old); /* `array` points to a pointer of any object type */
	void *grown = mem_realloc(old, wanted, size);
	if (!grown)
		return VB_ENOMEM;
	memcpy(array, &grown, sizeof grown);
	*capacity = wanted;
	return VB_OK;
}
