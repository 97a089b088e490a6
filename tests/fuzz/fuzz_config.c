/* config.json: any bytes. What is accepted must hold what load.h promises. */
#include "base/status.h"
#include "load/load.h"

#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool promise)
{
	if (!promise)
		abort();
}

static void check_rope(const struct rope_config *r, int64_t head_dim)
{
	if (r->kind == ROPE_NONE)
		return;
	check(isfinite(r->theta) && r->theta > 1);
	check(r->partial_rotary_factor > 0 && r->partial_rotary_factor <= 1);
	check(r->kind == ROPE_DEFAULT || r->factor > 0);
	check(r->n_factors >= 0 && r->n_factors <= ROPE_MAX_FACTORS && 2 * r->n_factors <= head_dim);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct model_config *c = NULL;
	if (model_config_parse(&c, (const char *)data, size, "fuzz/config.json") != VB_OK) {
		check(c == NULL && *vb_errmsg());
		return 0;
	}
	check(c->n_layers >= 1 && c->n_layers <= CONFIG_MAX_LAYERS);
	check(c->n_heads >= 1 && c->n_kv_heads >= 1 && c->n_heads % c->n_kv_heads == 0);
	check(c->head_dim >= 2 && c->head_dim % 2 == 0);
	check(c->hidden_size >= 1 && c->intermediate_size >= 1 && c->vocab_size >= 1 && c->max_position >= 1);
	check(c->n_eos >= 0 && c->n_eos <= CONFIG_MAX_EOS && c->bos < c->vocab_size && c->bos >= -1);
	for (int64_t i = 0; i < c->n_eos; i++)
		check(c->eos[i] >= 0 && c->eos[i] < c->vocab_size);
	for (int64_t i = 0; i < c->n_layers; i++)
		check(c->window[i] >= 0);
	check_rope(&c->rope[0], c->head_dim);
	check_rope(&c->rope[1], c->head_dim);
	model_config_destroy(&c);
	return 0;
}
