/* isa.h - names of what kernels may ask for: instruction sets of a CPU, families of GPU code. Found by src/hw, asked for
 * in .def lists. A set of bits describes a CPU or a GPU, never both. */
#ifndef BASE_ISA_H
#define BASE_ISA_H

#include <stdint.h>

enum isa {
	ISA_AVX2 = 1u << 0,        /* AVX2, FMA and F16C */
	ISA_AVX512 = 1u << 1,      /* AVX-512 F, BW, VL and DQ */
	ISA_AVX512_BF16 = 1u << 2, /* vdpbf16ps, vcvtne2ps2bf16 */
	ISA_AVX512_VNNI = 1u << 3,
	ISA_AMX_BF16 = 1u << 4, /* with tile state granted by the kernel */
	ISA_AMX_INT8 = 1u << 5,

	ISA_CUDA = 1u << 16,        /* the program's portable GPU code (compute capability 8.0 and later) is loaded */
	ISA_CUDA_HOPPER = 1u << 17, /* so is its code for 9.0 */
};

#endif
