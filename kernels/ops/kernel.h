/* kernel.h - what all operations' contracts share.
 *
 * An operation OP has OP.h (arguments, shapes, the order in which the reference sums) and OP.def (the one list of its
 * implementations, best last). A .def row is
 *     KERNEL(OP, NAME, NEEDS, PROPERTIES)
 * and yields the declarations `OP_fn OP_NAME; OP_refuse_fn OP_NAME_refuse;`, the dispatch table in src/ops, the names
 * that users may force, and the harness's work list.
 *
 * A row for GPUs is KERNEL_CUDA(OP, NAME, NEEDS, PROPERTIES), NEEDS with ISA_CUDA; its refuse function and what launches it
 * stand in src/ops/OP_cuda.c, its device code in kernels/cuda, and it takes the same struct OP_args with pointers to
 * the GPU's memory. Each includer of a .def defines the macro that it wants; the other one is empty.
 *
 * A CPU kernel computes a slice of its operation's work on the calling thread: it allocates nothing, locks nothing
 * and starts no thread; src/ops spreads slices over the team. Slicing must not change any bit of the result.
 */
#ifndef KERNELS_KERNEL_H
#define KERNELS_KERNEL_H

#include "base/dtype.h"
#include "base/isa.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Functions of the contracts that device code uses too. */
#ifdef __CUDACC__
#define KERNEL_INLINE static inline __host__ __device__
#else
#define KERNEL_INLINE static inline
#endif

enum kernel_properties {
	/* A row of the result has the same bits wherever the row stands: alone, in any batch, permuted, with any other
	 * rows, as part of any slice. */
	ROW_INVARIANT = 1u << 0,
	/* (GPU) run() is launches only and may be captured in a graph. */
	CAPTURABLE = 1u << 1,
	/* Denormal inputs and results may count as zero (vdpbf16ps does so whatever the control register says). */
	FLUSHES_DENORMALS = 1u << 2,
	/* Operands become integers that share a unit: what is small beside the largest of them is rounded more. */
	SHARES_UNITS = 1u << 3,
};

/* The types that activations, weights and caches come in. */
static inline bool kernel_takes_type(enum dtype type)
{
	return type == DTYPE_F32 || type == DTYPE_BF16 || type == DTYPE_F16;
}

#endif
