// linear_bf16.cu - linear on tensor cores for bf16.
#define LINEAR_TYPE bf16
#define LINEAR_F16 false
#include "linear_kernels.cuh"
