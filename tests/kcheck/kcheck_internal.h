/* kcheck_internal.h - between the harness's own files. */
#ifndef KCHECK_INTERNAL_H
#define KCHECK_INTERNAL_H

#include "kcheck.h"

#include "base/json.h"

#include <stdatomic.h>

struct kc_options {
	const char *op, *row, *shape, *class, *mask; /* NULL: all */
	uint64_t seed;
	uint32_t isa; /* of the machine, after --mask */
	double watchdog_s;
	int threads;
	bool list, json, bench, self_test, cpu_clock, gpu, small;
	char gpu_name[256];
	const struct kc_op *const *ops; /* NULL last */
};

/* A row's fate, in memory that parent and children share. */
struct kc_row_report {
	enum kc_verdict verdict;
	int64_t n_cases, n_refused;
	double worst; /* fraction of the budget used */
	char worst_at[160];
	char message[512];   /* of the first failure */
	char failed_at[200]; /* options that reproduce it */
};

/* What a child is doing, so that the parent can say where it died. */
struct kc_progress {
	_Atomic uint64_t beats;
	int shape, class, row;
	char stage[64];
	char fault[160]; /* by the signal handler: which buffer was overrun */
	enum kc_verdict fault_verdict;
	struct kc_row_report rows[PICK_MAX_ROWS];
};

/* A way of laying out and slicing one run. */
struct kc_run_way {
	unsigned char poison;
	bool at_end;          /* blocks end at a fence; else they begin at one */
	const int64_t *cuts;  /* [n_cuts + 1] borders of the slices, or NULL: one slice */
	const int *order;     /* [n_cuts] or NULL: as they stand */
	int n_cuts;
};

/* How rows run: on the host, or on a GPU. */
struct kc_runner {
	/* Puts every ptr where the kernel finds what data holds. */
	void (*upload)(struct kc_case *c);
	/* Runs the row, in slices where the way has cuts. VB_OK, the GPU's failure, or VB_EUNSUPPORTED where the row does not
	 * serve the case's way. */
	int (*call)(struct kc_case *c, int row, const struct kc_run_way *way);
	/* Brings back to data what the row left. */
	int (*download)(struct kc_case *c);
	bool slices;
};

/* buffers.c */
void kc_case_init(struct kc_case *c, const struct kc_op *op, const struct kc_shape *shape, enum kc_class class,
		  uint64_t seed, const int64_t *ids, int64_t t);
void kc_case_fini(struct kc_case *c);
void kc_place(struct kc_case *c, unsigned char poison, bool at_end);
/* NULL where guards, gaps and inputs are as they must be and all is written; else what is not, in `text`. */
const char *kc_check_writes(const struct kc_case *c, unsigned char poison, char *text, size_t size);
void kc_collect(struct kc_case *c);
/* Describes address `at` where it lies near a buffer of the case. */
bool kc_locate(const struct kc_case *c, const void *at, char *text, size_t size);
size_t kc_row_bytes(const struct kc_buf *b);

/* inputs.c */
void kc_fill(const struct kc_case *c, struct kc_buf *b);

/* verdicts.c */
/* False where the GPU has failed: what is left of the operation is for another process. */
bool kc_check_op(const struct kc_op *op, const struct kc_options *o, struct kc_progress *p, int first_shape,
		 int first_class);
/* The case whose kernel runs now, for the signal handler. */
extern struct kc_case *kc_running;

/* on_gpu.c: all but kc_gpu_ops and kc_gpu_probe in children alone. */
/* The operations with rows for GPUs, with those as their rows. */
const struct kc_op *const *kc_gpu_ops(void);
/* What a GPU offers, asked in a child: instruction sets and a name; false, and why, where there is none. */
bool kc_gpu_probe(uint32_t *isa, char name[256]);
extern const struct kc_runner kc_gpu_runner;
int kc_gpu_open(void);
void kc_gpu_close(void);
struct gpu *kc_gpu(void);
/* Captures the row on the uploaded case; then as often as wanted: launches the graph. */
int kc_gpu_capture(struct kc_case *c, int row, struct gpu_graph **out);
int kc_gpu_launch(struct kc_case *c, struct gpu_graph *graph);
/* Where memory outside the blocks' regions was written: which one, in `text`; else NULL. */
const char *kc_gpu_check_guards(char *text, size_t size);
/* Times the rows that passed. Prints lines, or fills `results` for JSON. */
int kc_gpu_bench(const struct kc_op *op, const struct kc_options *o, const struct kc_progress *p, json_t *results);

/* bench.c */
void kc_bench(const struct kc_op *op, const struct kc_options *o, const struct kc_progress *p);
void kc_bench_begin(const struct kc_options *o);
/* New reference: what was measured. */
json_t *kc_bench_end(void);

#endif
