/* answer.h - a result as the JSON object that run and batch print (docs/API.md). */
#ifndef TOOLS_ANSWER_H
#define TOOLS_ANSWER_H

#include "base/json.h"
#include "verbatim/request.h"

/* `info` is engine_info's. A new reference. */
json_t *answer_json(const struct vb_result *a, const json_t *info);

#endif
