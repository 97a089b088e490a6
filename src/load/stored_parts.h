/* stored_parts.h - what stored.c and stored_rows.c share. Inside src/load only; the face is load.h. */
#ifndef LOAD_STORED_PARTS_H
#define LOAD_STORED_PARTS_H

#include "load.h"

/* Rows are unpacked so many at a time: whole words of every packing, and not too narrow for those that lie along n. */
#define STORED_GRAIN 32

#endif
