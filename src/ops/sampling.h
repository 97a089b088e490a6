/* sampling.h - who samples, and the scratch that it needs. Part of the face of src/ops. */
#ifndef OPS_SAMPLING_H
#define OPS_SAMPLING_H

#include "kernels/ops/log_softmax.h"
#include "kernels/ops/sample.h"

/* The sampler for these capabilities. */
sample_fn *sample_kernel_for(uint32_t isa);

#endif
