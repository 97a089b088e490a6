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

/* The format of a matrix that is quantised. Under q4, 8 bits stay for those that spec->sensitive marks. */
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

/* What the stored weights are, in words for people: "gptq, 4 bits"; "" where they are plain. */
void weights_words(const struct model_weights *w, char out[64]);

#endif
