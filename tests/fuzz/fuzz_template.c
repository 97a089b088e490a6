/* A chat template: any bytes, rendered with a conversation. */
#include "template_checks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char variables[] =
	"{\"messages\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", \"content\": \"h\\u00e9 <|x|>\\n\"},"
	" {\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"function\": {\"name\": \"f\","
	" \"arguments\": {\"a\": [1, 2.5, true]}}}]}], \"tools\": [{\"function\": {\"name\": \"f\"}}],"
	" \"add_generation_prompt\": true, \"bos_token\": \"<s>\", \"n\": 3, \"x\": -1.5}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct chat_template *t = NULL;
	int rc = chat_template_compile(&t, (const char *)data, size, "fuzz");
	if (rc != VB_OK) {
		check(t == NULL && *vb_errmsg());
		check(rc == VB_EFORMAT || rc == VB_EUNSUPPORTED || rc == VB_ELIMIT);
		return 0;
	}
	json_t *v;
	check(json_parse(&v, variables, strlen(variables), "variables") == VB_OK);
	render_checked(t, v);
	json_decref(v);
	chat_template_destroy(&t);
	return 0;
}
