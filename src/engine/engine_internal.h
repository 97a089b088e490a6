/* engine_internal.h - what the files of src/engine share. */
#ifndef ENGINE_ENGINE_INTERNAL_H
#define ENGINE_ENGINE_INTERNAL_H

#include "verbatim/engine.h"

#include "base/json.h"
#include "base/log.h"
#include "base/threads.h"
#include "hw/gpu.h"
#include "hw/hw.h"
#include "kv/kv.h"
#include "load/load.h"
#include "model/model.h"
#include "model/weights.h"
#include "ops/ops.h"
#include "ops/batch.h"
#include "ops/sampling.h"
#include "scheduler.h"
#include "spec/spec.h"
#include "text/text.h"

#include <pthread.h>
#include <stdatomic.h>

struct vb_tokenizer {
	struct tokenizer *t;
	struct chat_template *chat; /* NULL: the model has none, or none that compiles */
	char *chat_error;           /* why it does not compile; NULL */
};

/* Where a GPU's memory went, in bytes, measured by what the driver says is free. Before a GPU is opened: what is expected. */
struct gpu_budget {
	uint64_t total; /* 0: nothing was measured */
	uint64_t driver; /* context, code, what other programs have; expected: graphs too */
	uint64_t weights, buffers, graphs, draft, kv;
	uint64_t reserve; /* kept free */
	uint64_t available; /* free when last looked at */
};

/* Everything decided before weights are read: by vb_engine_open and vb_explain alike. */
struct setup {
	struct vb_options options;
	struct logger log;
	struct hw_facts facts;
	uint32_t isa;  /* what kernels may use, of the device */
	int gpu;       /* index of the GPU that runs the model, -1: the CPU */
	char device[16]; /* "cpu", "cuda:0" */
	int n_threads;
	char device_why[256]; /* why this device, where the option left it open */
	struct model_config *config;
	const char *model_dir; /* while it is set up */
	enum dtype compute;
	enum kv_type kv;
	enum weights_to quantize;
	struct model_weights *weights;
	struct program *program;
	int pick_rc; /* of program_pick, with its message */
	char pick_message[2048];
	struct program_memory memory;
	uint64_t available; /* bytes of the device that weights, cache and the rest may take */
	int64_t context, page_size, max_batch, chunk;
	int64_t n_pages[PROGRAM_MAX_GROUPS]; /* by window group */
	uint64_t kv_bytes;                   /* of all of them */
	enum spec_method speculate;
	int max_draft; /* guesses a request and step; 0: none */
	char context_why[256]; /* "" or why the context is shorter than the model's */
	struct gpu_budget budget; /* of an engine on a GPU; total 0: not measured */
};

/* Reads the configuration and chooses everything. A failing choice of kernels is not an error here: it is kept in
 * pick_rc, so that it can be shown. `facts` is NULL or JSON that stands for the machine. model_dir NULL: machine only. */
int setup_create(struct setup *s, const char *model_dir, const struct vb_options *options, const char *facts);
void setup_destroy(struct setup *s);

/* On a GPU, as many pages as could ever be needed: max_batch sequences of the context. */
void setup_most_pages(const struct setup *s, int64_t *n_pages);
/* On a GPU, when everything but the caches has its memory: sizes them again, by what is free in fact (s->budget). */
int setup_fit(struct setup *s);

/* The machine alone, from options: facts, instruction sets, threads, device. */
int setup_machine(struct setup *s, const struct vb_options *options, const char *facts);

/* One row of logits to a log-probability and the n most probable, n <= LOGPROBS_MAX. */
#define LOGPROBS_MAX 100
struct log_row {
	const float *logits;
	int64_t n_vocab;
	float max, log_sum;
};
float log_row_prob(const struct log_row *row, int32_t id);
/* The n most probable, the lower id first on ties. n is at most the size of the vocabulary. */
void log_row_top(const struct log_row *row, int n, struct vb_top *top);

/* Cuts a stream of text at the stop string that is complete first (the longest of those that end together), holding
 * back what may begin one. How the text is cut into pieces makes no difference. */
struct stopper {
	const char *const *stop;
	size_t n_stop;
	struct buf pending; /* text not given out yet */
	bool stopped;
};
void stopper_init(struct stopper *s, const char *const *stop, size_t n_stop, size_t max_text);
void stopper_fini(struct stopper *s);
/* Call after appending to s->pending: how many of its first bytes may be given out now. Where a stop string is found,
 * `stopped` is set and the number is what stands before it. */
size_t stopper_ready(struct stopper *s);
/* Drops the first n bytes of pending. */
void stopper_drop(struct stopper *s, size_t n);

struct request; /* requests.h */

/* A step of plain decoding that is under way on a GPU: a token each. A request that ends meanwhile is NULL. */
struct flight {
	struct request **requests; /* [max_batch] */
	struct sample_wish *wishes; /* likewise */
	int64_t n; /* 0: none is under way */
	double since; /* when the one before it had ended, or it was begun */
	bool asked;   /* for guesses, of which there were none */
};

/* Most sequences in a step: what arrays on the stack may count on. */
#define ENGINE_MAX_BATCH 1024

struct engine_stats {
	int64_t ended, steps, tokens, preemptions, proposed, accepted, draft_steps;
	int64_t proposed_at[16], accepted_at[16]; /* by distance from the known tokens: guesses, and right ones */
};

/* What anybody may look at, at any time: the counters as the last step left them. */
struct engine_snapshot {
	struct engine_stats stats;
	struct kv_stats kv;
};

struct vb_engine {
	struct setup setup;
	char *model_dir;
	struct team *team;
	struct gpu *gpu; /* NULL: the CPU */
	struct generation_config generation;
	struct vb_tokenizer *tokenizer; /* NULL: none */
	struct kv *kv;
	struct batch *batch;
	struct spec *spec;
	double load_s;
	int32_t eos[2 * CONFIG_MAX_EOS];
	int64_t n_eos;

	/* Whoever drives owns everything up to `lock`, for the length of a step; the list's links are changed under it. */
	struct request *requests, **requests_end; /* in order of arrival */
	atomic_bool cancel_all;
	struct engine_stats stats;
	int max_draft; /* guesses a request and step; 0 for a while where a benchmark wants none */
	/* One step's view, decisions and guesses: [2 * max_batch], [max_batch]. */
	struct sched_request *view;
	struct sched_decision *decision;
	struct sched_limits limits;
	struct request **viewed, **drafting;
	struct spec_item *items;
	int64_t n_guesses;
	double propose_s;
	/* On a GPU: when the last step had ended (0: long ago), and how many steps need not be asked about for guesses. */
	double ended_s;
	int64_t n_idle;
	struct spec_state **states; /* [max_batch] */
	struct sample_wish *wishes; /* [max tokens] */
	/* A GPU's step under way, and room for the one behind it. */
	struct flight flight, next_flight;
	int32_t *from; /* [max_batch] */

	pthread_mutex_t lock;
	pthread_cond_t changed; /* the inbox, a finished step, a stopping thread */
	struct request *inbox, **inbox_end;
	uint64_t last_id;
	bool driving;
	bool closing; /* the engine's thread is to end */
	bool closed;  /* vb_engine_close has begun */
	pthread_t driver;  /* while driving */
	int64_t n_waiters; /* threads inside vb_generate */
	bool has_thread;
	pthread_t thread;

	atomic_llong n_submitted;
	pthread_mutex_t shown_lock; /* held for the length of a copy, taken last */
	struct engine_snapshot shown;
};

/* A path as JSON text; bytes that are no UTF-8 as question marks. NULL on ENOMEM. */
json_t *path_json(const char *path);

/* Minimum, median and maximum of n figures, which are sorted in place. */
struct spread {
	double median, min, max;
};
struct spread spread_of(double *figures, int n);
json_t *spread_json(struct spread s);

/* The ids of a chat: JSON, an array of messages or an object with "messages" and more for the template. */
int chat_ids(const struct vb_tokenizer *t, const char *chat, bool add_generation_prompt, struct ids *out);

/* The right to drive: true where nobody does. A thread that drives already (a callback) gets VB_ESTATE from `why`. */
bool engine_try_drive(struct vb_engine *e);
void engine_stop_driving(struct vb_engine *e);

#endif
