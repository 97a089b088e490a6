// attention_d256.cu - attention_sm80.cuh for heads of up to 256 values.
#include "attention_sm80.cuh"

ATTENTION_SM80(256)
