// attention_d64.cu - attention_sm80.cuh for heads of up to 64 values.
#include "attention_sm80.cuh"

ATTENTION_SM80(64)
