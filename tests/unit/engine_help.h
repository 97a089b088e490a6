/* engine_help.h - what the tests of the engine share: opening, prompts, comparing results bit for bit. */
#ifndef TESTS_ENGINE_HELP_H
#define TESTS_ENGINE_HELP_H

#include "verbatim/engine.h"

#include <stddef.h>
#include <stdint.h>

/* Fails the test with the thread's message where rc is not VB_OK. */
void need(int rc);
/* Fails the test where the status is not `rc` or the thread's message lacks one of the words, NULL-terminated. */
void need_failure(int status, int rc, const char *const *words);
#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* Path below the root of the source; static storage, valid until the next call but one. */
const char *source_path(const char *path);
/* A golden folder. Static storage likewise. */
const char *golden(const char *folder);

/* Small and quick: two threads, chunks of 16, pages of 8, sequences of up to 160 tokens, CPU. */
struct vb_options small_options(void);
struct vb_engine *open_engine(const char *dir, const struct vb_options *options);

/* The prompt of a golden folder, at most `max` ids; returns how many. */
size_t golden_prompt(const char *folder, int32_t *ids, size_t max);

/* Greedy, of ids, ids and log-probabilities of up to max_tokens. */
struct vb_request request_of(const int32_t *ids, size_t n, int64_t max_tokens);

/* Fails the test where the answers differ in an id, a bit of a log-probability or a byte of text. */
void need_same(const struct vb_result *a, const struct vb_result *b);

#endif
