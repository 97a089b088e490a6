/* config_family.c - the one table of families: what is assumed where config.json is silent.
 *
 * Sources: the configuration classes of Hugging Face transformers 5.17.0 (llama, mistral, qwen2, qwen3, phi3, gemma2,
 * gemma3); for InternLM the configuration_internlm2.py and configuration_internlm3.py published with those models.
 * Sizes have defaults there for every family; here only Gemma 3's are taken over, because its published files
 * leave out what equals them. For the others an absent size is more likely a damaged file than a wish.
 */
#include "config_parts.h"

#include <string.h>

#define GEMMA                                                                                                \
	.activation_key = "hidden_activation", .activation = "gelu_pytorch_tanh", .tied = true,              \
	.bias = BIAS_ATTENTION, .window_rule = WINDOW_PATTERN, .window = 4096, .softcaps = true,             \
	.query_pre_attn_scalar = 256, .n_kv_heads = 4, .head_dim = 256, .rms_norm_eps = 1e-6, .bos = 2, .eos = 1
#define LLAMA_LIKE                                                                                           \
	.activation_key = "hidden_act", .activation = "silu", .rms_norm_eps = 1e-6, .theta = 10000

static const struct family families[] = {
	{ .model_type = "llama", LLAMA_LIKE, .max_position = 2048, .bias = BIAS_LLAMA,
	  .window_rule = WINDOW_NEVER, .bos = 1, .eos = 2 },
	{ .model_type = "mistral", LLAMA_LIKE, .max_position = 131072, .n_kv_heads = 8, .bias = BIAS_NONE,
	  .window_rule = WINDOW_ALL, .window = 4096, .bos = 1, .eos = 2 },
	{ .model_type = "qwen2", LLAMA_LIKE, .max_position = 32768, .n_kv_heads = 32, .bias = BIAS_QKV,
	  .window_rule = WINDOW_LATE, .window = 4096, .bos = -1, .eos = -1 },
	{ .model_type = "qwen3", LLAMA_LIKE, .max_position = 32768, .n_kv_heads = 32, .head_dim = 128,
	  .bias = BIAS_ATTENTION, .window_rule = WINDOW_LATE, .window = 4096, .bos = -1, .eos = -1 },
	{ .model_type = "phi3", .activation_key = "hidden_act", .activation = "silu", .rms_norm_eps = 1e-5,
	  .theta = 10000, .max_position = 4096, .original_max_position = 4096, .bias = BIAS_NONE,
	  .window_rule = WINDOW_ALL, .bos = 1, .eos = 32000 },
	{ .model_type = "gemma2", GEMMA, .theta = 10000, .max_position = 8192, .window_pattern = 2,
	  .attn_softcap = 50, .final_softcap = 30 },
	{ .model_type = "gemma3_text", GEMMA, .theta = 1e6, .theta_local = 10000, .max_position = 131072,
	  .window_pattern = 6, .window_pattern_key = "sliding_window_pattern", .hidden_size = 2304,
	  .intermediate_size = 9216, .n_layers = 26, .n_heads = 8, .vocab_size = 262208 },
	{ .model_type = "internlm2", LLAMA_LIKE, .max_position = 2048, .bias = BIAS_INTERNLM2,
	  .window_rule = WINDOW_NEVER, .bos = 1, .eos = 2 },
	{ .model_type = "internlm3", LLAMA_LIKE, .max_position = 32768, .n_kv_heads = 32,
	  .bias = BIAS_INTERNLM3, .window_rule = WINDOW_NEVER, .bos = 1, .eos = 2 },
	/* Last: whatever has no row. Whether such a model can be run is not decided here. */
	{ .model_type = "", LLAMA_LIKE, .max_position = 2048, .bias = BIAS_LLAMA, .window_rule = WINDOW_TYPED,
	  .softcaps = true, .bos = -1, .eos = -1 },
};

const struct family *family_find(const char *model_type)
{
	const struct family *f = families;
	while (*f->model_type && strcmp(f->model_type, model_type) != 0)
		f++;
	return f;
}
