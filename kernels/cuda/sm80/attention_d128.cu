// attention_d128.cu - attention_sm80.cuh for heads of up to 128 values.
#include "attention_sm80_wide.cuh"

ATTENTION_SM80(128)
ATTENTION_SM80_WIDE(128)
