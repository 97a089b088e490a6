/* images.h - the GPU code that was built into the program: written by kernels/cuda/embed.sh. */
#ifndef HW_IMAGES_H
#define HW_IMAGES_H

#include "hw/hw.h"

/* One file of kernels/cuda, compiled: a fat binary of machine code for several compute capabilities, and PTX. */
struct image_file {
	const char *name;
	const unsigned char *begin, *end;
};

extern const struct image_file image_files[]; /* the last one's name is NULL */

/* Which file has a kernel: by this table it is found without asking the driver about files that do not have it. */
struct image_kernel {
	const char *name;
	int file; /* index in image_files */
};

extern const struct image_kernel image_kernels[]; /* the last one's name is NULL */
/* What all of them hold: image_built.present is false where the program was built without nvcc. */
extern const struct hw_image image_built;
/* Why it is, in words: "built without nvcc". */
extern const char image_absent_why[];

#endif
