/* program.h - what the commands share besides options and output. */
#ifndef TOOLS_PROGRAM_H
#define TOOLS_PROGRAM_H

#include "cli_options.h"

#include "base/json.h"
#include "verbatim/engine.h"

int cmd_run(struct settings *s);
int cmd_batch(struct settings *s);
int cmd_prove(struct settings *s);
int cmd_explain(struct settings *s);
int cmd_bench(struct settings *s);
int cmd_bench_attention(struct settings *s);
int cmd_bench_linear(struct settings *s);
int cmd_bench_limits(struct settings *s);
int cmd_tokenize(struct settings *s);
int cmd_detokenize(struct settings *s);
int cmd_template(struct settings *s);
int cmd_inspect(struct settings *s);
int cmd_quantize(struct settings *s);

/* From now on Ctrl-C cancels this engine's generation (the second time it ends the program); NULL: it ends the
 * program at once, with status 130. */
void interrupt_cancels(struct vb_engine *engine);
bool was_interrupted(void);

/* vb_engine_info as an object (a new reference); an empty one where it has no answer. */
json_t *engine_info(const struct vb_engine *engine);
/* "DIR: llama, bf16, on cpu with 2 threads, context 2048, loaded in 0.02 s", cut to fit. */
void describe_engine(const json_t *info, char out[512]);
/* "GPU memory 79.2 GiB: driver 560 MiB, weights ...", a line with its end; "" of an engine on a CPU. */
void describe_gpu_memory(const json_t *info, char out[512]);
/* Copies a key where it is there. */
void copy_key(json_t *to, const json_t *from, const char *key);
/* Prints what one kernel did: {"backend", "time_us", ...}. Takes the reference; NULL is a failure told before. */
int show_kernel(const struct settings *s, json_t *answer);
/* The library's JSON text as a value (a new reference), freeing the text; NULL after an error was printed. */
json_t *take_json(char *text, const char *what);

#endif
