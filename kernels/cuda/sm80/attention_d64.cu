// attention_d64.cu - attention_sm80.cuh for heads of up to 64 values.
#include "attention_sm80_wide.cuh"

ATTENTION_SM80(64)
ATTENTION_SM80_WIDE(64)
