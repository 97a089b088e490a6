/* model.h - the face of src/model: a model's configuration becomes a list of operations.
 *
 * One file a family (llama.c, gemma2.c, ...) holds what is particular to it: names of weights and a few traits.
 * decoder.c turns traits and configuration into operations; rope.c turns rotary configuration into frequencies.
 */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "load/load.h"
#include "ops/ops.h"

/* Declares on `p` the forward pass of the model that `config` describes. VB_EUNSUPPORTED where no family serves it,
 * naming what it is and which families there are. */
int model_build(struct program *p, const struct model_config *config);

/* Where rotary frequencies depend on the length of the prompt: a number that is equal for prompts that are rotated alike
 * (0 for all where nothing depends on it). Keys computed under different numbers must not be shared. */
uint32_t model_rope_key(const struct model_config *config, int64_t prompt_len);

/* Bytes of weights and KV cache can be read off the program; the family's name, for people ("llama"). NULL: none. */
const char *model_family_name(const struct model_config *config);

#endif
