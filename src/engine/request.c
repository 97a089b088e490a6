/* request.c - defaults and results. */
#include "engine_internal.h"

#include "base/mem.h"

#include <string.h>

void vb_options_default(struct vb_options *o)
{
	*o = (struct vb_options){
		.size = sizeof *o, .device = "auto", .dtype = "auto", .kv_dtype = "auto", .quantize = "none", .cpu_isa = "auto",
		.attention = "auto", .graph = true, .speculate = "none", .draft_tokens = -1, .prefix_cache = true,
		.log_level = VB_LOG_INFO,
	};
}

void vb_request_default(struct vb_request *r)
{
	*r = (struct vb_request){
		.size = sizeof *r, .max_tokens = 256, .logprobs = -1, .prompt_logprobs = -1,
		.sampling = { .top_p = 1, .repetition_penalty = 1 },
	};
}

const char *vb_finish_name(enum vb_finish finish)
{
	switch (finish) {
	case VB_FINISH_STOP:
		return "stop";
	case VB_FINISH_LENGTH:
		return "length";
	case VB_FINISH_CANCELLED:
		return "cancelled";
	default:
		return "error";
	}
}

void vb_result_free(struct vb_result *r)
{
	if (!r)
		return;
	mem_free(r->prompt_ids);
	mem_free(r->ids);
	mem_free(r->text);
	mem_free(r->tokens);
	mem_free(r->prompt_tokens);
	mem_free(r->memory);
	*r = (struct vb_result){ 0 };
}

void vb_free(void *p)
{
	mem_free(p);
}

const char *vb_version(void)
{
	return VERBATIM_VERSION;
}
