#include "kernels.h"

#define OP rope_table
#define OP_DEF "kernels/ops/rope_table.def"
#include "operation.h"
