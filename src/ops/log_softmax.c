#include "kernels.h"

#define OP log_softmax
#define OP_DEF "kernels/ops/log_softmax.def"
#include "operation.h"
