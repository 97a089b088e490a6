/* program_internal.h - the insides of struct program, shared by program*.c alone. */
#ifndef OPS_PROGRAM_INTERNAL_H
#define OPS_PROGRAM_INTERNAL_H

#include "ops/attention_plan.h"
#include "ops/kernels.h"
#include "ops/ops.h"
#include "ops/sampling.h"

#include "kernels/ops/attention.h"
#include "kernels/ops/embed.h"
#include "kernels/ops/glu.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/rms_norm.h"
#include "kernels/ops/rope_cache.h"
#include "kernels/ops/rope_table.h"
#include "kernels/ops/softcap.h"

struct weight {
	struct weight_spec spec; /* name owned */
	enum dtype type;         /* of data; known from program_pick on, final from binding on */
	/* The canonical face of a dense one: mapped by somebody else, or owned; NULL once nobody reads it any more. */
	const void *data;
	void *owned;
	uint64_t bytes;
	/* A matrix of linears: its format and group from declaring on, its pointers while linears are packed from it or read it. */
	struct weight_matrix matrix;
	const struct tensor *tensor; /* that it came from; NULL: drawn, or given back */
	bool given;                  /* matrix is the provider's, to be given back */
};

/* How a part of a linear is computed. */
struct linear_state {
	const struct linear_kernel *kernel;
	struct weight_matrix matrix; /* the part's rows */
	void *packed;                /* owned; NULL where the kernel reads the canonical matrix */
	uint64_t bytes;              /* of the weights in the form in which they are read */
	int64_t scratch_at;          /* of its activations in the program's scratch */
	bool prepares;               /* false: an earlier part has prepared the same */
};

struct buffer {
	enum dtype type;
	int64_t width;
	bool head; /* max_rows rows instead of max_tokens */
	void *data;
	uint64_t bytes;
};

struct cache {
	struct cache_spec spec;
	int group;
	void *k, *v;
	float *k_scale, *v_scale; /* of an int8 cache */
	uint64_t k_bytes, v_bytes, scale_bytes;
};

/* One plan serves all layers that ask the same of the same kernel. */
struct shared_plan {
	struct attention_request request;
	int row;
	struct attention_plan *plan;
};

enum op_kind {
	OP_EMBED,
	OP_ROPE_TABLE,
	OP_RMS_NORM,
	OP_LINEAR,
	OP_ROPE_CACHE,
	OP_ATTENTION,
	OP_GLU,
	OP_GATHER,
	OP_SOFTCAP,
};

struct op {
	enum op_kind kind;
	int layer;
	struct pick pick;
	char what[96];
	union {
		struct {
			int32_t weight, out;
			float scale;
			embed_fn *fn;
		} embed;
		struct {
			struct rope_params params;
			int32_t out;
			rope_table_fn *fn;
		} rope_table;
		struct {
			struct norm_op op;
			rms_norm_fn *fn;
		} norm;
		struct {
			struct linear_op op; /* parts owned by the program */
			int64_t n_rows;      /* of all parts */
			struct linear_state *state; /* one a part: their types and formats may differ */
		} linear;
		struct {
			struct rope_cache_op op;
			rope_cache_fn *fn;
		} rope_cache;
		struct {
			struct attention_op op;
			struct attention_request request; /* from program_pick on */
			int plan;                         /* index in plans */
		} attention;
		struct {
			struct slice gate, up;
			int64_t d;
			enum glu_activation activation;
			int32_t out;
			glu_fn *fn;
		} glu;
		struct {
			int32_t from, out;
		} gather;
		struct {
			int32_t x;
			int64_t width;
			float cap;
			softcap_fn *fn;
		} softcap;
	} u;
};

/* What choosing tokens needs: [n_threads, vocabulary], but for a call's choices and rows: [max_rows]. */
struct chooser {
	sample_fn *sample;
	log_softmax_fn *log_softmax;
	float *work;
	uint8_t *in_prompt; /* all 0 between calls */
	int32_t *count;     /* likewise */
	struct sample_choice *choices;
	int32_t *rows;
};

struct kept {
	struct kept *next;
};

struct program {
	struct program_config config;
	int rc;            /* the first failure while declaring, with its message */
	char message[512];
	bool in_head, picked, bound, prepared, allocated;
	struct weight *weights;
	struct buffer *buffers;
	struct cache *caches;
	struct op *ops;
	struct shared_plan *plans;
	int64_t n_weights, n_buffers, n_caches, n_ops, n_plans;
	int64_t n_body; /* ops before the head */
	int32_t logits;
	int64_t n_vocab;
	int n_groups;
	int64_t group_window[PROGRAM_MAX_GROUPS];
	struct kept *kept;
	struct chooser chooser;
	struct weight_provider provider; /* give NULL: none */
	void *scratch;                   /* linears' prepared activations */
	uint64_t scratch_bytes;
	struct linear_queue *queues;     /* [n_threads] */
	struct profile *profile;  /* NULL: nobody measures */
	struct gpu *gpu;          /* NULL: runs on the CPU */
	struct program_cuda *cuda; /* program_cuda.c, once something is on the GPU */
};

/* program.c */
struct attention_limits program_plan_limits(const struct program *p);
int64_t program_row_bytes(const struct buffer *b);
uint64_t program_buffer_bytes(const struct program *p, const struct buffer *b);
/* The type of keys and values. */
enum dtype program_kv_type(const struct program *p);
/* A token's keys and values in one cache, with their scales. */
uint64_t program_token_bytes(const struct program *p, const struct cache_spec *c);

/* program_linear.c */
int program_linear_pick(struct program *p, struct op *op);
/* Bytes of scratch that the linears of the program need. */
uint64_t program_linear_scratch(const struct program *p);
/* The canonical matrices of all parts are there: packs them, in shares like those of running. */
int program_linear_pack(struct program *p, struct team *team, struct op *op);
int program_linear_allocate(struct program *p);
void program_linear_destroy(struct program *p);
/* One linear on t tokens. */
void program_linear_run(struct program *p, struct team *team, const struct op *op, int64_t t);

/* program_weights.c: where a weight's elements come from: a tensor (data), or the generator. */
struct weight_source {
	enum dtype to, from;
	const void *data; /* NULL: drawn */
	uint64_t seed, position;
	float low, step; /* value = low + step * u for u of 16 bits */
};
int weight_check(const struct weight *w, const struct tensor *t);
/* Bytes of weight i in its canonical form, dense or quantised, where something else than packed linears reads it; on a GPU, of all. */
uint64_t program_canonical_bytes(const struct program *p, int64_t i);
struct weight_source weight_drawn(const struct weight *w, uint64_t seed);
/* Elements [first, first + n) in the type `to`, made by the team. */
void weight_make(const struct weight_source *s, struct team *team, int64_t first, int64_t n, void *out);

/* program_choose.c */
uint64_t chooser_bytes(const struct program *p);
int chooser_create(struct program *p);
void chooser_destroy(struct program *p);
/* Chooses for n rows of logits, n <= max_rows, into p->chooser.choices. */
void choose_rows(struct program *p, struct team *team, const struct sample_wish *wishes, int64_t n, const float *logits);

#endif
