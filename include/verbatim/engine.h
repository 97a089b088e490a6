/* verbatim/engine.h - load a model, generate, cancel.
 *
 *     struct vb_options options;
 *     vb_options_default(&options);
 *     struct vb_engine *engine;
 *     if (vb_engine_open(&engine, "models/demo", &options) != VB_OK)
 *         ... vb_errmsg() ...
 *     struct vb_request request;
 *     vb_request_default(&request);
 *     request.prompt = "Once upon a time";
 *     request.prompt_len = strlen(request.prompt);
 *     struct vb_result result = { 0 };
 *     int rc = vb_generate(engine, &request, on_token, user, &result);
 *     vb_result_free(&result);
 *     vb_engine_close(&engine);
 */
#ifndef VERBATIM_ENGINE_H
#define VERBATIM_ENGINE_H

#include "verbatim/options.h"
#include "verbatim/request.h"
#include "verbatim/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

struct vb_engine;

/* Opens a Hugging Face model folder. Everything that can be refused is refused before weights are read.
 * `options` may be NULL (defaults) and is not kept. On failure *out is NULL. */
VB_API int vb_engine_open(struct vb_engine **out, const char *model_dir, const struct vb_options *options);

/* Closes and sets *engine to NULL. NULL, or a pointer to NULL, is allowed. Requests that were submitted and have not
 * ended are cancelled. VB_ESTATE while a thread is inside vb_generate or vb_step. */
VB_API int vb_engine_close(struct vb_engine **engine);

/* Generates and returns when the request has ended. `on_token` may be NULL. *result is filled also where VB_ECANCELLED
 * is returned (with what was made), and is zeroed on every other failure. Several threads may call it at once: their
 * requests share steps, which one of the waiting threads runs (callbacks come on that thread). VB_ESTATE from inside a
 * callback. */
VB_API int vb_generate(struct vb_engine *engine, const struct vb_request *request, vb_token_fn *on_token, void *user,
		       struct vb_result *result);

/* Asks every request to end with the current step; without one it does nothing. May be called from any thread and
 * from a signal handler. */
VB_API void vb_cancel(struct vb_engine *engine);

/* ---- Many requests ---- */

/* Submits a request: it is checked and copied (nothing of *request is needed afterwards), and waits for its turn. It
 * ends exactly once, with on_done (may be NULL). *id (may be NULL) names it. Any thread, also from a callback. A prompt
 * that the context cannot hold is refused here, with the numbers; what it holds, the KV cache holds. */
VB_API int vb_submit(struct vb_engine *engine, const struct vb_request *request, vb_token_fn *on_token,
		     vb_done_fn *on_done, void *user, uint64_t *id);

/* Asks one request to end: its pages are free after the next step. VB_ENOTFOUND where it has ended. Any thread. */
VB_API int vb_cancel_request(struct vb_engine *engine, uint64_t id);

/* Runs one step on the calling thread: callbacks come from inside. *more (may be NULL) says whether anything is left to
 * do. VB_ESTATE where another thread runs steps, or from inside a callback. */
VB_API int vb_step(struct vb_engine *engine, bool *more);

/* Lets a thread of the engine's own run the steps, until vb_engine_stop or vb_engine_close. */
VB_API int vb_engine_start(struct vb_engine *engine);
VB_API int vb_engine_stop(struct vb_engine *engine);

/* Counters since the engine was opened, as JSON freed by vb_free: {"requests": {...}, "steps", "tokens", "preemptions",
 * "speculation": {"method", "steps", "proposed", "accepted", "proposed_at": [...], "accepted_at": [...]}, "prefix_cache": {...},
 * "pages": [...]}. At any time, from any thread, also from a callback, without waiting for a step: everything but
 * "submitted" is as the last finished step left it, all of the same moment. */
VB_API int vb_engine_stats(struct vb_engine *engine, char **json);

/* The engine's tokeniser, borrowed; NULL where the folder has none (then prompts must be ids). */
VB_API const struct vb_tokenizer *vb_engine_tokenizer(const struct vb_engine *engine);

/* What the engine is, as JSON: {"model", "device", "dtype", "threads", "context", "page_size", "attention": [{"layers",
 * "backend"}], "load_s", "memory": {...}}. Freed by vb_free. */
VB_API int vb_engine_info(const struct vb_engine *engine, char **json);

/* ---- Answers about machine and model, as JSON text freed by vb_free; the shapes are in docs/API.md ---- */

/* What this machine offers and, with a model folder (else NULL), which kernel would serve each layer and why others
 * would not. `facts` is JSON that stands for the machine's, or NULL. Where nothing serves a layer *json is filled
 * all the same and VB_EUNSUPPORTED is returned. Reads no weights. */
VB_API int vb_explain(const char *model_dir, const struct vb_options *options, const char *facts, char **json);

/* config, tensors and sizes of a model folder. */
VB_API int vb_inspect(const char *model_dir, char **json);

struct vb_quantize_spec {
	size_t size;      /* sizeof(struct vb_quantize_spec) */
	const char *to;   /* "q8", "q4" */
	int threads;      /* 0: as many as may run at once */
	/* Told how much of `total` bytes is written; false gives up (VB_ECANCELLED). May be NULL. */
	bool (*progress)(void *user, uint64_t done, uint64_t total);
	void *user;
};

/* Writes a model folder anew with quantised weights, to be opened at once, as options.quantize makes them: the same bits.
 * out_dir must not exist; where anything fails it does not exist afterwards either. The answer, freed by vb_free, may be
 * NULL: {"model", "out", "to", "bytes", "parameters", "bits_per_weight", "q8", "q6", "q4", "seconds"}. */
VB_API int vb_quantize(const char *model_dir, const char *out_dir, const struct vb_quantize_spec *spec, char **json);

struct vb_bench_spec {
	size_t size;            /* sizeof(struct vb_bench_spec) */
	int64_t prompt_tokens;  /* prefill length */
	int64_t decode_tokens;  /* steps timed a repeat */
	int64_t batch;          /* sequences decoded at once */
	int64_t depth;          /* keys already in the cache when decoding starts */
	int repeat;
	const struct vb_sampling *sampling; /* how tokens are chosen, but for penalties; NULL: greedy */
	bool logprobs;          /* with the log-probability of each */
	bool profile;           /* one more prompt and one more run of steps, measured by kind of operation; on a CPU */
};

/* Prefill and decode speed of the model on random tokens: {"prefill_tok_s": {"median","min","max"}, "decode_tok_s": {...},
 * "first_token_s": {...}, "limit": {...}}, and with `profile` "profile": {"prefill": {...}, "decode": {...}}. Options'
 * max_batch and context must cover the spec. */
VB_API int vb_bench_model(struct vb_engine *engine, const struct vb_bench_spec *spec, char **json);

struct vb_bench_speculation_spec {
	size_t size;                       /* sizeof(struct vb_bench_speculation_spec) */
	const struct vb_request *requests; /* n_requests of them, submitted together; borrowed */
	size_t n_requests;                 /* at most the options' max_batch */
	int repeat;                        /* each time with seeds one higher */
};

/* The same requests without and with guesses, in turns, on an engine that was opened to guess and has nothing else to do:
 * {"plain_tok_s": {"median", "min", "max"}, "guessing_tok_s": {...}, "ratio": {...}, "first_ratio", "proposed", "accepted",
 * "acceptance", "tokens_per_step", "positions": [{"proposed", "accepted"}]}. Tokens a second of all requests together,
 * from when each has its first until one ends. A ratio is of one turn; the first turn's engine has never guessed before.
 * VB_EINTERNAL where an answer differs. */
VB_API int vb_bench_speculation(struct vb_engine *engine, const struct vb_bench_speculation_spec *spec, char **json);

/* One linear: {"backend", "time_us", "bytes", "flops", "tb_s", "tflop_s", "limit_fraction"}. dtype "bf16", "f16", "f32". */
VB_API int vb_bench_linear(const struct vb_options *options, int64_t m, int64_t n, int64_t k, const char *dtype,
			   int repeat, char **json);

struct vb_bench_attention_spec {
	size_t size; /* sizeof(struct vb_bench_attention_spec) */
	int64_t batch, q_len, kv_len, n_heads, n_kv_heads, head_dim, v_head_dim, window, page_size;
	const char *dtype;  /* "bf16", "f16", "f32" */
	const char *kernel; /* that must serve it; NULL: the best */
	int repeat;
};

/* Attention of a GPU (options' device) over sequences of one length, as vb_bench_linear. For the CPU the same is measured
 * through verbatim/attention.h. */
VB_API int vb_bench_attention(const struct vb_options *options, const struct vb_bench_attention_spec *spec, char **json);

/* Measured memory bandwidth and matrix rate: {"device", "threads", "memory_read_tb_s", "matrix_tflop_s": {...}}. */
VB_API int vb_bench_limits(const struct vb_options *options, char **json);

#ifdef __cplusplus
}
#endif
#endif
