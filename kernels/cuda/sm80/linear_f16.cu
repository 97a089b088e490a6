// linear_f16.cu - linear on tensor cores for f16.
#define LINEAR_TYPE f16
#define LINEAR_F16 true
#include "linear_kernels.cuh"
