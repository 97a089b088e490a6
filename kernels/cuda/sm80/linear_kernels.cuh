// linear_kernels.cuh - the kernels of linear's sm80 row for one type, LINEAR_TYPE: one a tile, linear_sm80_TYPE_ROWSxTOKENS.
#include "linear_tile.cuh"

#define LINEAR_NAME_(type, rows, tokens, suffix) linear_sm80_##type##_##rows##x##tokens##suffix
#define LINEAR_NAME(type, rows, tokens, suffix) LINEAR_NAME_(type, rows, tokens, suffix)
#define LINEAR_KERNEL(suffix, aligned, rows, tokens, warp_rows, warp_tokens, depth, stages)                        \
	extern "C" __global__ void __launch_bounds__(rows / warp_rows * (tokens / warp_tokens) * 32)               \
		LINEAR_NAME(LINEAR_TYPE, rows, tokens, suffix)(const __grid_constant__ struct linear_args a)       \
	{                                                                                                          \
		linear_tile<LINEAR_F16, aligned, rows, tokens, warp_rows, warp_tokens, depth, stages>(a);          \
	}

#define LINEAR_TILE(rows, tokens, warp_rows, warp_tokens, depth, stages) \
	LINEAR_KERNEL(, true, rows, tokens, warp_rows, warp_tokens, depth, stages)
#include "kernels/ops/linear_tiles.def"
#undef LINEAR_TILE

// Rows of x or a matrix that are not aligned to 16 bytes: the same, filled value by value.
LINEAR_KERNEL(_any, false, 64, 64, 32, 32, 64, 3)
#undef LINEAR_TYPE
#undef LINEAR_F16
#undef LINEAR_KERNEL
#undef LINEAR_NAME
#undef LINEAR_NAME_
