#include "kernels.h"

#define OP embed
#define OP_DEF "kernels/ops/embed.def"
#include "operation.h"
