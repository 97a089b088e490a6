#include "kernels.h"

#define OP rope_cache
#define OP_DEF "kernels/ops/rope_cache.def"
#include "operation.h"
