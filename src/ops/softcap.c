#include "kernels.h"

#define OP softcap
#define OP_DEF "kernels/ops/softcap.def"
#include "operation.h"
