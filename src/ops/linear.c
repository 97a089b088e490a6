#include "kernels.h"

#define OP linear
#define OP_DEF "kernels/ops/linear.def"
#include "operation.h"
