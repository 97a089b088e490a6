#include "kernels.h"

#define OP glu
#define OP_DEF "kernels/ops/glu.def"
#include "operation.h"
