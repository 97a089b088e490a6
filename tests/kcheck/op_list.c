/* op_list.c - the operations that kcheck proves. */
#include "kcheck.h"

const struct kc_op *const kc_ops[] = {
	&kc_attention_op,   &kc_embed_op,    &kc_gather_op,     &kc_glu_op,        &kc_linear_op,
	&kc_log_softmax_op, &kc_rms_norm_op, &kc_rope_cache_op, &kc_rope_table_op, &kc_sample_op,
	&kc_softcap_op,    NULL,
};
