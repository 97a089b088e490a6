/* config_window.c - from configuration to windows: the only place that interprets sliding_window.
 *
 * W is the number of keys that a query sees, its own included. So Hugging Face means it: its mask lets query i
 * see key j where i - W < j <= i. Other systems pass W - 1, or show W + 1 keys; none of that appears here.
 * null, 0 and negative mean no window.
 */
#include "config_parts.h"

#include "base/status.h"

#include <string.h>

/* `key` absent gives dflt; null gives 0. */
static int window_value(const json_t *config, const char *where, int64_t dflt, int64_t *out)
{
	int64_t w;
	if (json_is_null(json_object_get(config, "sliding_window")))
		dflt = 0;
	TRY(json_get_i64(config, "sliding_window", where, INT32_MIN, INT32_MAX, dflt, &w));
	*out = w > 0 ? w : 0;
	return VB_OK;
}

int config_layer_slides(const json_t *config, const struct family *f, int64_t layer, const char *layer_type,
			const char *where, bool *out)
{
	int64_t first = 28, pattern = f->window_pattern;
	if (f->window_rule == WINDOW_LATE)
		TRY(json_get_i64(config, "max_window_layers", where, 0, INT32_MAX, first, &first));
	if (f->window_pattern_key)
		TRY(json_get_i64(config, f->window_pattern_key, where, 1, INT32_MAX, pattern, &pattern));
	switch (f->window_rule) {
	case WINDOW_NEVER:
		*out = false;
		return VB_OK;
	case WINDOW_ALL:
		*out = true;
		return VB_OK;
	case WINDOW_TYPED:
		*out = true;
		break;
	case WINDOW_LATE:
		*out = layer >= first;
		break;
	case WINDOW_PATTERN:
		*out = (layer + 1) % pattern != 0;
		break;
	}
	if (layer_type)
		*out = strcmp(layer_type, "sliding_attention") == 0;
	return VB_OK;
}

int model_config_window(const json_t *config, const char *model_type, int64_t layer, const char *layer_type,
			const char *where, int64_t *out)
{
	const struct family *f = family_find(model_type);
	bool slides = false, used = f->window_rule != WINDOW_LATE; /* what an absent use_sliding_window means */
	int64_t w;
	*out = 0;
	TRY(config_layer_slides(config, f, layer, layer_type, where, &slides));
	if (!slides)
		return VB_OK;
	TRY(window_value(config, where, f->window, &w));
	if (f->window_rule == WINDOW_LATE || f->window_rule == WINDOW_TYPED)
		TRY(json_get_bool(config, "use_sliding_window", where, used, &used));
	*out = used ? w : 0;
	return VB_OK;
}
