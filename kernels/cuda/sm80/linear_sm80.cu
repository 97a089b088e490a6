// linear_sm80.cu - linear for activations and weights of one 16-bit type, on tensor cores: the tiles that there are.
#include "linear_tile.cuh"

#define TILE(type, f16, suffix, aligned, rows, tokens, warp_rows, warp_tokens, depth, stages)                        \
	extern "C" __global__ void __launch_bounds__(rows / warp_rows * (tokens / warp_tokens) * 32)                 \
		linear_sm80_##type##_##rows##x##tokens##suffix(const __grid_constant__ struct linear_args a)         \
	{                                                                                                            \
		linear_tile<f16, aligned, rows, tokens, warp_rows, warp_tokens, depth, stages>(a);                   \
	}
#define LINEAR_TILE(rows, tokens, warp_rows, warp_tokens, depth, stages)                        \
	TILE(bf16, false, , true, rows, tokens, warp_rows, warp_tokens, depth, stages)          \
	TILE(f16, true, , true, rows, tokens, warp_rows, warp_tokens, depth, stages)
#include "kernels/ops/linear_tiles.def"
#undef LINEAR_TILE

// Rows of x or a matrix that are not aligned to 16 bytes: the same tile, filled value by value.
TILE(bf16, false, _any, false, 64, 64, 32, 32, 64, 3)
TILE(f16, true, _any, false, 64, 64, 32, 32, 64, 3)
