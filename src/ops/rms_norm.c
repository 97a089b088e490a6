#include "kernels.h"

#define OP rms_norm
#define OP_DEF "kernels/ops/rms_norm.def"
#include "operation.h"
