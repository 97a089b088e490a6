/* take_ids.h - tokens of a step that the step before has chosen: ids[i] = results[from[i]].id where from[i] >= 0. */
#ifndef KERNELS_TAKE_IDS_H
#define KERNELS_TAKE_IDS_H

#include "kernel.h"
#include "sample_rows.h"

struct take_ids_args {
	const int32_t *from; /* [t] rows of results, or -1 */
	const struct sample_result *results;
	int32_t *ids; /* [t] */
	int64_t t;
};

#endif
