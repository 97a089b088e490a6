/* families.c - the one list of families. */
#include "model/decoder.h"

#include "base/status.h"

#include <stdio.h>
#include <string.h>

static const struct decoder_family *const families[] = {
	&family_llama,  &family_mistral, &family_qwen2,     &family_qwen3,     &family_phi3,
	&family_gemma2, &family_gemma3,  &family_internlm2, &family_internlm3,
};

static const struct decoder_family *find(const struct model_config *config)
{
	for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
		if (strcmp(families[i]->model_type, config->model_type) == 0)
			return families[i];
	return NULL;
}

const char *model_family_name(const struct model_config *config)
{
	const struct decoder_family *f = find(config);
	return f ? f->model_type : NULL;
}

int model_build(struct program *p, const struct model_config *config)
{
	const struct decoder_family *f = find(config);
	if (f)
		return decoder_build(p, config, f);
	char known[256] = "";
	size_t n = 0;
	for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
		n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", families[i]->model_type);
	FAIL(VB_EUNSUPPORTED, "unsupported model: %s: model_type \"%s\" (%s): served are %s", config->where,
	     config->model_type, config->architecture[0] ? config->architecture : "no architecture named", known);
}
