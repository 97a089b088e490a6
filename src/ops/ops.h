/* ops.h - the face of src/ops: a model's forward pass as a list of operations, and who runs it.
 *
 * DESIGN. A family in src/model declares weights, buffers, caches and operations on a `struct program`. Then, in this
 * order, each step before the next:
 *   program_pick      chooses a kernel for every operation: pure, from capabilities and shapes. No weight is read.
 *   program_bind      gives every weight its memory (mapped, converted, or drawn from a seed).
 *   program_allocate  takes all memory that running needs, sized from the limits.
 *   program_run, program_head   any number of times; they allocate nothing and cannot fail.
 * Declaring calls keep the first failure; program_pick returns it, so that families need no error paths.
 *
 * Types: a program has one compute type C (F32, BF16 or F16). The residual stream, and every result of a linear, is
 * float32; what enters a linear or the cache is rounded to C once. docs/NUMERICS.md has the whole story.
 */
#ifndef OPS_OPS_H
#define OPS_OPS_H

#include "base/dtype.h"
#include "base/tensor.h"
#include "base/threads.h"
#include "kernels/ops/attention.h"
#include "kernels/ops/glu.h"
#include "kernels/ops/rope_table.h"
#include "kernels/ops/weight_matrix.h"
#include "ops/profile.h"
#include "ops/registry.h"
#include "ops/sampling.h"

#include <stdbool.h>
#include <stdint.h>

#define NO_ID (-1)

struct program;
struct hw_gpu;

/* How keys and values are kept: in the compute type, in one of their own, or as integers with a float32 scale for each
 * token and head. */
enum kv_type { KV_AS_COMPUTED = 0, KV_F32, KV_BF16, KV_F16, KV_INT8 };

/* What a program runs on and with: the same facts decide for every operation. */
struct program_config {
	enum dtype compute;    /* F32, BF16 or F16 */
	enum kv_type kv;       /* of the caches; on a GPU KV_AS_COMPUTED */
	uint32_t isa;          /* enum isa bits that kernels may use; with ISA_CUDA it is for a GPU: program_set_gpu */
	const char *attention; /* forced attention kernel, NULL: best */
	int n_threads;         /* workers that will run it */
	int64_t max_tokens;    /* tokens a step */
	int64_t max_seqs;      /* sequences a step */
	int64_t max_rows;      /* rows of logits at once */
	int64_t context;       /* longest sequence in tokens */
	int64_t page_size;     /* tokens, a power of two */
	/* A GPU's: most tokens of a step that decodes and verifies, which is captured as graphs where `graph`. */
	int64_t max_decode;
	bool graph;
	const struct hw_gpu *gpu_facts; /* borrowed as long as the program lives */
};

int program_create(struct program **out, const struct program_config *config);
void program_destroy(struct program **p);
const struct program_config *program_get_config(const struct program *p);

/* ---- Declaring ---- */

enum weight_use {
	WEIGHT_MATRIX, /* [rows, cols] of a linear or an embedding: in C, or as stored where C is F32 */
	WEIGHT_VECTOR, /* [cols] of a norm or a bias: float32 */
};

struct weight_spec {
	const char *name; /* copied */
	enum weight_use use;
	int64_t rows, cols; /* rows 1 for a vector */
	float random_mean;  /* where weights are drawn: 1 for norms that multiply by w, else 0 */
	float random_std;   /* 0: constant */
	int least_bits;     /* where others are quantised to 4: in fewer than 6, or 8, it would cost more than its share; 0: 4 do */
};

/* The id of the weight; the same name twice gives the same id (tied embeddings) and must have the same shape. Of two
 * least_bits the larger holds. */
int32_t program_weight(struct program *p, const struct weight_spec *spec);

/* A buffer [max_tokens, width]; after program_begin_head, [max_rows, width]. */
int32_t program_buffer(struct program *p, enum dtype type, int64_t width);

/* Columns of a buffer from `col` on. */
struct slice {
	int32_t buffer; /* NO_ID: none */
	int64_t col;
};

struct cache_spec {
	int64_t n_kv_heads, head_dim, v_head_dim;
	int64_t window; /* keys that the layer's queries see; 0: all */
};

/* A paged cache for one layer's keys and values, of the program's kv type. Caches with one window make a group: they share page tables,
 * and pages that no later query of theirs can see may be given to others. */
int32_t program_cache(struct program *p, const struct cache_spec *spec);

/* Everything below appends one operation. `layer` is -1 outside the layers. */

void program_embed(struct program *p, int32_t weight, float scale, int32_t out);

/* *params is copied; its arrays are borrowed as long as the program lives (see program_keep). */
void program_rope_table(struct program *p, const struct rope_params *params, int32_t out);

struct norm_op {
	int layer;
	struct slice x, delta; /* f32; delta is added to x first, NO_ID: none */
	int32_t weight;
	float eps, weight_offset;
	int64_t groups, d;
	struct slice out; /* may be x */
};
void program_rms_norm(struct program *p, const struct norm_op *op);

/* A linear is a list of parts that share their input: out[part] = in * w[row_begin..+n_rows)^T + bias. Parts run as
 * one operation, so that q, k and v (or gate and up) cost one synchronisation, packed in the file or not. */
struct linear_part {
	int32_t weight;
	int64_t row_begin, n_rows;
	int32_t bias; /* NO_ID, or a vector of which bias_begin.. is used */
	int64_t bias_begin;
	struct slice out; /* f32 */
};
#define LINEAR_MAX_PARTS 256

struct linear_op {
	int layer;
	struct slice in; /* C; k columns */
	int64_t k;
	int n_parts;
	const struct linear_part *parts; /* copied */
};
void program_linear(struct program *p, const struct linear_op *op);

struct rope_cache_op {
	int layer;
	struct slice q, k, v; /* f32 [T, heads, D] */
	int64_t n_heads;
	int32_t table; /* buffer of program_rope_table, NO_ID: no rotation */
	int32_t rotary_dim;
	int32_t q_out; /* buffer of type C, [T, Hq * D] */
	int32_t cache;
};
void program_rope_cache(struct program *p, const struct rope_cache_op *op);

struct attention_op {
	int layer;
	int32_t q, out; /* buffers of type C */
	int32_t cache;
	int64_t n_heads;
	float scale, softcap;    /* softcap 0: none */
	int32_t sinks;           /* vector of n_heads, NO_ID: none */
};
void program_attention(struct program *p, const struct attention_op *op);

void program_glu(struct program *p, int layer, struct slice gate, struct slice up, int64_t d, enum glu_activation activation,
		 int32_t out);

/* From here on operations belong to the head: they run on the rows that logits are wanted of, and on buffers that are declared from
 * here on. What they need of earlier buffers is gathered. */
void program_begin_head(struct program *p);
/* The wanted rows of a buffer from before the head; returns the buffer, of the same type and width, that holds them. */
int32_t program_gather(struct program *p, int layer, int32_t from);
void program_softcap(struct program *p, int32_t x, int64_t width, float cap);
/* Says which f32 buffer of the head holds the logits. */
void program_set_logits(struct program *p, int32_t buffer, int64_t n_vocab);

/* Memory that lives as long as the program and is freed with it (rotary frequencies); NULL after a failure. */
void *program_keep(struct program *p, size_t bytes);

/* ---- Choosing ---- */

/* Chooses for every operation, all of them even after one has failed; returns the first failure. */
int program_pick(struct program *p);

/* What was chosen, an entry an operation, in order. */
struct program_choice {
	int layer;      /* -1 outside the layers */
	const char *op; /* "linear", "attention", ... */
	const char *what; /* the request in words: "bf16 x bf16, 2048 x 512", static as long as the program */
	const struct pick *pick; /* pick->row < 0: nothing serves it */
	const struct attention_request *attention; /* what was asked, where op is "attention"; else NULL */
};
int64_t program_n_choices(const struct program *p);
void program_choice(const struct program *p, int64_t i, struct program_choice *out);

/* ---- Devices ---- */

struct gpu;
/* Where a program that was chosen for a GPU will run: before its weights are bound. Borrowed. */
void program_set_gpu(struct program *p, struct gpu *gpu);

/* ---- Weights ---- */

/* Finds a tensor by name; NULL where there is none. `file` names its file in messages (or NULL). */
typedef const struct tensor *weight_find_fn(void *user, const char *name);
/* Told that a tensor was copied and its mapping is not needed any more. May be NULL. */
typedef void weight_release_fn(void *user, const struct tensor *t);

/* Where the matrices of linears come from that are quantised. Embeddings stay with dense tensors. */
struct weight_provider {
	/* The form in which a matrix will come, known before any is read: leaves *format WEIGHT_DENSE for a tensor's own. */
	void (*form)(void *user, const struct weight_spec *w, enum weight_format *format, int64_t *group);
	/* Gives the matrix in that form. `dense` is the tensor of its name as stored, or the drawn matrix, or NULL where there is
	 * neither. What *out points to is borrowed until `done`, but for its order: that is read as long as the program lives. */
	int (*give)(void *user, struct team *team, const struct weight_spec *w, const struct weight_matrix *dense,
		    struct weight_matrix *out);
	/* Told that the matrix was packed and is not read any more, but for its order; not called for one that kernels read in place.
	 * May be NULL. */
	void (*done)(void *user, const struct weight_spec *w, struct weight_matrix *m);
	void *user;
};
/* On a CPU, before program_pick. Copied. */
void program_provide(struct program *p, const struct weight_provider *from);

/* Binds each weight to a tensor of its name and shape: mapped memory is used in place where its type is right
 * (the tensors must outlive the program), else converted into memory of the program. Matrices that only linears use are packed
 * in their kernels' layouts, and their tensors released, where kernels have such. */
int program_bind(struct program *p, struct team *team, weight_find_fn *find, weight_release_fn *release, void *user);
/* Draws every weight from the seed, by its name: the same on every device. */
int program_bind_random(struct program *p, struct team *team, uint64_t seed);
/* What was declared, in order, and what reads it. */
struct program_weight_info {
	const struct weight_spec *spec; /* borrowed from the program */
	bool multiplied, embedded;      /* by a linear; by the embedding */
};
int64_t program_n_weights(const struct program *p);
void program_weight_info(const struct program *p, int64_t i, struct program_weight_info *out);
/* Whether a tensor is what a weight is bound to: VB_EFORMAT, VB_EUNSUPPORTED, VB_ENOTFOUND (NULL), naming it. */
int program_check_tensor(const struct weight_spec *spec, const struct tensor *t);
/* Names of declared weights, for telling which tensors of a file are unused. */
bool program_uses_weight(const struct program *p, const char *name);

/* ---- Memory ---- */

/* Window groups, in the order of their first layer. */
#define PROGRAM_MAX_GROUPS 8
int program_n_groups(const struct program *p);
int64_t program_group_window(const struct program *p, int group); /* 0: all keys */

struct program_memory {
	uint64_t weights;      /* all weights in the form in which they are used */
	uint64_t kv_per_token; /* keys and values of all layers */
	uint64_t group_kv_per_token[PROGRAM_MAX_GROUPS]; /* the same of each window group's layers */
	uint64_t kv_rounding;  /* what caches may take more, rounded up to a GPU's pages */
	uint64_t activations;  /* buffers */
	uint64_t workspace;    /* attention plans */
	uint64_t weights_per_token; /* bytes of weights that one decode step reads */
	uint64_t body_products, head_products; /* multiplications by weights: a token's, and those of a row of logits */
};
void program_memory(const struct program *p, struct program_memory *out);

/* Takes buffers and plans, and on a GPU captures the graphs. most_pages[g] is as many pages as each cache of group g may get: on a
 * GPU addresses are kept for them. */
int program_prepare(struct program *p, const int64_t *most_pages);
/* Then takes the caches: n_pages[g] pages for each of group g. What comes before has taken its memory, and can be measured. */
int program_take_pages(struct program *p, const int64_t *n_pages);
/* Both. */
int program_allocate(struct program *p, const int64_t *n_pages);

/* ---- Running ---- */

/* Where a group's caches hold the step's tokens. */
struct step_group {
	const int64_t *slot;       /* [n_tokens]: page * page_size + token in page */
	const int32_t *page_table; /* [n_seqs, table_width]; pages that no query sees are not looked at */
	int64_t table_width;
};

/* One step: tokens of up to max_seqs sequences, those of a sequence together and ascending. Borrowed arrays. */
struct step {
	int64_t n_tokens, n_seqs;
	const int32_t *ids, *position; /* [n_tokens] */
	const int32_t *rope_len;       /* [n_tokens]: length of the prompt of the token's request */
	const int32_t *q_begin;        /* [n_seqs + 1] */
	const int32_t *kv_len;         /* [n_seqs]: keys after this step's tokens were written */
	const struct step_group *groups; /* [program_n_groups] */
	/* [n_tokens], or NULL: the wish of the step before whose choice is the token, -1 where it is in ids. For a step that is begun
	 * before that one has ended. */
	const int32_t *from;
};

/* Computes a step and what is wished of it: runs all layers, then chooses for each of n wishes and tells `take` of them in
 * order. step->n_tokens may be 0: nothing runs. Fails only where a device fails. */
int program_step(struct program *p, struct team *team, const struct step *step, const struct sample_wish *wishes,
		 int64_t n, sample_take_fn *take, void *user);

/* The same in two halves, on a GPU, which may have two steps under way: the second is begun before the first has ended, with
 * tokens that only the GPU knows yet (step->from). program_begin only enqueues: n wishes, at most max_rows, none of which
 * wants logits or has penalties where `from` is given. program_end waits for the one that was begun first. */
int program_begin(struct program *p, const struct step *step, const struct sample_wish *wishes, int64_t n);
int program_end(struct program *p, const struct sample_wish *wishes, int64_t n, sample_take_fn *take, void *user);
/* The graphs that program_prepare captured. */
struct program_graphs {
	int64_t n, most_tokens; /* the largest is of so many tokens; 0: none */
	uint64_t bytes;         /* of the GPU's memory that they took, as the driver counts it */
	double seconds;         /* to capture them all */
};
void program_graphs(const struct program *p, struct program_graphs *out);

/* Seconds that the GPU has spent on steps so far; 0 on a CPU. */
double program_gpu_busy_s(const struct program *p);
/* Whether a step can be begun before the last one ends. */
bool program_can_run_ahead(const struct program *p, const struct step *step);

/* Steps from here on are measured into *f, which the caller keeps; NULL: no more. Not on a GPU. */
void program_profile(struct program *p, struct profile *f);

/* The parts of a step, for tests: all layers, ... */
void program_run(struct program *p, struct team *team, const struct step *step);

/* ... and logits of the given token indices of the last step: [n_rows, n_vocab] f32, dense; borrowed until the next call. */
const float *program_head(struct program *p, struct team *team, const int32_t *rows, int64_t n_rows);
int64_t program_n_vocab(const struct program *p);

/* Copies a page of a group: keys and values of all its layers. Not during a run. */
void program_copy_page(struct program *p, int group, int32_t from, int32_t to);

/* Writes made-up keys and values into every page, so that a benchmark may decode at a depth that no prompt filled. */
void program_fill_caches(struct program *p);

#endif
