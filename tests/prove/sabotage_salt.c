/* A cache that shares beginnings between all who have them: also between prompts whose length gives them other rope
 * frequencies. Linked with --wrap=kv_seq_open --wrap=kv_peek. */
#include "kv/kv.h"

int32_t __real_kv_seq_open(struct kv *kv, uint64_t salt);
int32_t __wrap_kv_seq_open(struct kv *kv, uint64_t salt);
int64_t __real_kv_peek(const struct kv *kv, uint64_t salt, const int32_t *tokens, int64_t n, int64_t held[KV_MAX_GROUPS]);
int64_t __wrap_kv_peek(const struct kv *kv, uint64_t salt, const int32_t *tokens, int64_t n, int64_t held[KV_MAX_GROUPS]);

int32_t __wrap_kv_seq_open(struct kv *kv, uint64_t salt)
{
	(void)salt;
	return __real_kv_seq_open(kv, 0);
}

int64_t __wrap_kv_peek(const struct kv *kv, uint64_t salt, const int32_t *tokens, int64_t n, int64_t held[KV_MAX_GROUPS])
{
	(void)salt;
	return __real_kv_peek(kv, 0, tokens, n, held);
}
