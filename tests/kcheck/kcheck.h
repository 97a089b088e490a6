/* kcheck.h - what an operation's test file gives to the kernel harness, and what the harness gives back.
 *
 * DESIGN. The work list is the rows of src/ops' kernel sets: every row that this machine can run is tested, not only
 * the one that would be picked. A case is one instance of an operation: a shape, a class of inputs, a seed, and a list of
 * tokens. A token is an identity: its inputs are a pure function of (seed, identity), so that the same token can be
 * put alone, into another batch, at another place, and must come out with the same bits.
 *
 * A buffer is a set of live rows inside a block of elements; whatever is not live is poison and must stay poison. Blocks
 * end (or begin) at a page that may not be touched. An operation's file builds the buffers of a case, fills in what is
 * special, says what must come out (in float64, with the sum of the sizes of its terms), and calls the kernel.
 *
 * Rows of a GPU are tested in the same way: blocks, poison and all are copied there and back (on_gpu.c). There are no fences
 * there, but more poison on both sides, and pointers of any alignment that the operation allows (gpu_align).
 *
 * Verdicts, in the order in which they are looked for:
 *   refuse       what a row accepts is in the contract, what it refuses is served by another row or by none
 *   writes       guards and gaps intact, inputs unchanged, every element written
 *   determinism  the same call gives the same bits
 *   reads        other poison, other alignment: the same bits
 *   capture      (GPU rows that declare it) as a graph, launched twice: the same bits
 *   value        some value within budget * 2^-23 * scale + floor of the oracle's rounds to what came out
 *   invariance   (rows that declare it) a token's bits are the same in any company, order, stride and slice
 *   crash, hang  the child died or its GPU failed, or the watchdog ended it
 */
#ifndef KCHECK_H
#define KCHECK_H

#include "base/dtype.h"
#include "base/threads.h"
#include "hw/gpu.h"
#include "ops/registry.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kc_class {
	KC_NORMAL,   /* N(0, 1) */
	KC_ZEROS,    /* tokens' inputs 0 */
	KC_OUTLIER,  /* one value of each token's row is 1e4 or -1e4 */
	KC_DENORMAL, /* tokens' inputs below the type's normal range */
	KC_CANCEL,   /* the second half of a row is minus the first; shared rows repeat: sums are 0 */
	KC_TIES,     /* all values of a token's row are equal */
	KC_N_CLASSES
};

enum kc_verdict {
	KC_OK,
	KC_REFUSE,
	KC_WRITES,
	KC_DETERMINISM,
	KC_READS,
	KC_CAPTURE,
	KC_VALUE,
	KC_INVARIANCE,
	KC_CRASH,
	KC_HANG,
	KC_N_VERDICTS
};

enum kc_role {
	KC_IN,
	KC_OUT,
	KC_INOUT,
	KC_WORK, /* workspace: undefined before and after, exactly as large as promised */
};

#define KC_MAX_BUFS 16
#define KC_MAX_DIMS 10
#define KC_REQUEST_BYTES 256
#define KC_KERNEL_BYTES 1024

#define KC_COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* One line of an operation's shape list. What dim[] means is the operation's business. */
struct kc_shape {
	int64_t t;                /* tokens */
	int64_t dim[KC_MAX_DIMS];
	bool unsupported;         /* outside the contract: every row must refuse */
	bool cpu;                 /* served by rows of a CPU, and by no GPU's yet */
	bool one_class;           /* N(0, 1) only: large */
	bool bench;               /* timed under --bench, not tested */
	bool gpu;                 /* (bench) on a GPU, not on a CPU */
};

/* What an output element must be. */
struct kc_want {
	double value;
	double scale; /* the sum of the sizes of its terms */
	double floor; /* absolute slack, e.g. for roundings among denormals */
	double flush; /* further slack for rows that declare FLUSHES_DENORMALS */
	double units; /* and for those that declare SHARES_UNITS */
	bool judged;
};

struct kc_buf {
	const char *name;
	enum kc_role role;
	enum dtype type;
	bool shared;               /* the same in every variant of the case */
	int64_t n_elements;        /* that the block spans */
	int64_t n_rows, cols;      /* live rows of cols elements */
	int64_t stride;            /* between rows, for buffers made by kc_tokens and kc_shared */
	int64_t *row_at;           /* [n_rows] first element; -1: the row is not there */
	int64_t *row_key;          /* [n_rows] identity; -1: never compared */
	unsigned char *master;     /* [n_rows][cols] inputs, as they must be before a run */
	unsigned char *result;     /* [n_rows][cols] what the last run left; OUT and INOUT */
	struct kc_want *want;      /* [n_rows][cols]; OUT and INOUT */
	unsigned char *region;     /* mapping with its two fences */
	size_t region_bytes;
	unsigned char *data;       /* the block, on the host */
	void *ptr;                 /* what the kernel is given: data, or its copy on a GPU */
	bool borrows;              /* master, region and data belong to the base case */
};

struct kc_op;

struct kc_case {
	const struct kc_op *op;
	const struct kc_shape *shape;
	enum kc_class class;
	uint64_t seed;
	int64_t t;
	const int64_t *ids;         /* [t] identities, >= 0 */
	int64_t pad;                /* elements between rows, where the contract has a stride */
	int way;                    /* 0..op->n_ways: the operation's own ways of running the same tokens */
	int row;                    /* the row that is judged */
	const struct kc_case *base; /* whose shared buffers are used, or NULL */
	struct kc_buf buf[KC_MAX_BUFS];
	int n_bufs;
	void *own; /* the operation's; freed by op->fini */
	/* On a GPU: what the operation found, and memory of the GPU that it took; given back by op->gpu_done. */
	_Alignas(16) unsigned char kernel[KC_KERNEL_BYTES];
	void *gpu_own;
};

struct kc_cost {
	double bytes, flops;
	bool bf16; /* flops are products of bf16 pairs */
	bool int8; /* or of bytes */
};

/* A library that computes the same, for benchmarks alone. */
struct kc_lib {
	const char *name;
	/* Prepares the copies; false where the library cannot serve them. */
	bool (*begin)(const struct kc_case *copies, int n_copies, int threads);
	void (*call)(const struct kc_case *c); /* one of the copies; results go to the case's last buffer */
	void (*end)(void);
};

struct kc_op {
	const char *name;
	const struct kernel_set *set;
	const struct kc_shape *shapes;
	int n_shapes;
	int n_ways; /* further ways of running (chunks, splits, ...), each compared with way 0 */
	void (*describe)(const struct kc_shape *s, char *text, size_t size);
	void (*request)(const struct kc_shape *s, void *request);
	void (*build)(struct kc_case *c);        /* adds the buffers */
	void (*fini)(struct kc_case *c);         /* or NULL */
	void (*oracle)(struct kc_case *c);       /* calls kc_expect */
	double (*budget)(const struct kc_case *c, const struct kc_buf *b); /* in 2^-23 */
	int64_t (*extent)(const struct kc_case *c);
	/* Once the buffers are placed, and before timing: what a program does when it loads a model. May be NULL. */
	void (*load)(struct kc_case *c, int row);
	/* Before `call`, with its own slices of the tokens, whose borders are multiples of first_grain. May be NULL. */
	void (*first)(const struct kc_case *c, int row, int64_t begin, int64_t end);
	int64_t first_grain;
	/* Runs slice begin..end of 0..extent. */
	void (*call)(const struct kc_case *c, int row, int64_t begin, int64_t end);
	struct kc_cost (*cost)(const struct kc_case *c);
	const struct kc_lib *libs;
	const int *n_libs; /* NULL: none */

	/* Rows of a GPU; gpu_set NULL: none. */
	const struct kernel_set *gpu_set;
	/* Finds what c->kernel is to hold; buffers are on the GPU. gpu_done (or NULL) gives back what it took. */
	int (*gpu_find)(struct kc_case *c, struct gpu *g, int row, const void *request);
	void (*gpu_run)(const struct kc_case *c, struct gpu *g);
	void (*gpu_done)(struct kc_case *c, struct gpu *g);
	size_t gpu_align;  /* bytes that all pointers are aligned to; 0: to an element */
	int64_t gpu_stride; /* strides are multiples of so many elements; 0: any */
	bool on_gpu;       /* set is gpu_set: by the harness, in its copy of the operation */
};

/* Buffers. Floating inputs are filled by class and seed; integers are zero: fill `master`.
 * Pointers stay valid as long as the case. */
struct kc_buf *kc_tokens(struct kc_case *c, const char *name, enum kc_role role, enum dtype type, int64_t cols,
			 int64_t stride);
/* `rows` rows that no token owns: weights, tables. */
struct kc_buf *kc_shared(struct kc_case *c, const char *name, enum dtype type, int64_t rows, int64_t cols);
/* Rows anywhere in a block. row_at and row_key are copied. */
struct kc_buf *kc_scattered(struct kc_case *c, const char *name, enum kc_role role, enum dtype type,
			    int64_t n_elements, int64_t n_rows, int64_t cols, const int64_t *row_at,
			    const int64_t *row_key);
struct kc_buf *kc_find(const struct kc_case *c, const char *name);
/* kc_find's pointer as the kernel gets it; NULL where there is no such buffer. */
void *kc_ptr(const struct kc_case *c, const char *name);
/* Input element (row, col) of the master. */
double kc_in(const struct kc_buf *b, int64_t row, int64_t col);
void kc_expect(struct kc_buf *b, int64_t row, int64_t col, double value, double scale, double floor);
void kc_expect_flush(struct kc_buf *b, int64_t row, int64_t col, double flush);
void kc_expect_units(struct kc_buf *b, int64_t row, int64_t col, double units);
/* An output whose bits are known: `value` rounded once to the buffer's type. */
void kc_expect_exact(struct kc_buf *b, int64_t row, int64_t col, float value);
/* Multiplies the inputs of a float32 buffer, for functions whose interesting range is wider than N(0, 1). */
void kc_stretch(struct kc_buf *b, float factor);

/* Random numbers for what a file fills in itself. */
uint32_t kc_random(const struct kc_case *c, const char *name, int64_t key, int64_t col);

extern const struct kc_op kc_attention_op, kc_embed_op, kc_gather_op, kc_glu_op, kc_linear_op, kc_log_softmax_op, kc_rms_norm_op,
	kc_rope_cache_op, kc_rope_table_op, kc_sample_op, kc_softcap_op;
extern const struct kc_lib kc_linear_libs[];
extern const int kc_n_linear_libs;
/* All operations, NULL last. */
extern const struct kc_op *const kc_ops[];
/* Of the self-test: broken kernels and the verdict that each must earn. */
extern const struct kc_op kc_selftest_op;
enum kc_verdict kc_selftest_verdict(int row);
const struct kc_op *kc_gpu_selftest_op(void);
enum kc_verdict kc_gpu_selftest_verdict(int row);

const char *kc_class_name(enum kc_class class);
const char *kc_verdict_name(enum kc_verdict verdict);

#endif
