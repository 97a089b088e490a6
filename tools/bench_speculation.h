/* bench_speculation.h - the part of `verbatim bench` that compares guessing with not guessing. */
#ifndef TOOLS_BENCH_SPECULATION_H
#define TOOLS_BENCH_SPECULATION_H

#include "program.h"

/* `verbatim bench MODEL --speculate ...`, in the folder `model` -> exit status. */
int bench_speculation(struct settings *s, const char *model);

#endif
