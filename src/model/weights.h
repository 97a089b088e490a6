/* weights.h - the weights of a model folder as a program wants them: mapped, read from a quantised form, or quantised.
 *
 * What is stored plain is handed on as it is. A matrix of integers comes in its canonical form where the program runs on the
 * CPU; on a GPU, and where integers have no canonical form, and FP8, comes as numbers of the compute type, made one matrix at
 * a time and dropped when the program has its copy. With a wish to quantise, every matrix that linears read is quantised as it
 * is asked for, its pages of the file dropped meanwhile.
 */
#ifndef MODEL_WEIGHTS_H
#define MODEL_WEIGHTS_H

#include "load/load.h"
#include "ops/ops.h"

/* What --quantize says. */
enum weights_to { WEIGHTS_AS_STORED = 0, WEIGHTS_TO_Q8, WEIGHTS_TO_Q4 };

/* The format of a matrix that is quantised. Under q4, q6 and q8 for those whose spec->least_bits say so. */
enum weight_format weights_format_of(enum weights_to to, const struct weight_spec *spec);

struct model_weights;

struct weights_wish {
	const char *dir;                   /* copied; NULL: weights will be drawn */
	const struct model_config *config; /* borrowed as long as the weights live */
	enum weights_to to;
	enum dtype compute;
};

/* Opens the folder's files here where the configuration says that they are quantised, else with weights_bind. */
int weights_create(struct model_weights **out, const struct weights_wish *wish);
void weights_destroy(struct model_weights **w);

/* Before program_pick: looks at how each matrix of the program is stored, and has the program ask for those that come
 * quantised. The weights must outlive the program. May be called for one program after another. */
int weights_attach(struct model_weights *w, struct program *p);

/* Binds the program's weights by program_bind. */
int weights_bind(struct model_weights *w, struct program *p, struct team *team);

/* One matrix of the program, quantised as the wish says, for whoever keeps it elsewhere; given back with weights_done. The
 * weights were attached to a program that has it. */
int weights_quantised(struct model_weights *w, struct team *team, const struct weight_spec *spec, struct weight_matrix *out);
void weights_done(struct model_weights *w, const struct weight_spec *spec, struct weight_matrix *m);
/* The folder's tensors, opened here at the latest. */
int weights_tensors(struct model_weights *w, const struct tensor_set **out);

/* What stored weights are, in words for people: "gptq, 4 bits", "q4"; "" where they are plain. */
void weights_stored_words(const struct quantization *q, char out[64]);
/* What the program's matrices are: quantised as the wish says, as they are stored, or the type of the checkpoint. On a GPU
 * with what they became: "awq, 4 bits, as bf16". */
void weights_words(const struct model_weights *w, char out[64]);

#endif
