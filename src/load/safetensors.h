/* safetensors.h - one mapped .safetensors file. Inside src/load only; the face is load.h. */
#ifndef LOAD_SAFETENSORS_H
#define LOAD_SAFETENSORS_H

#include "base/tensor.h"

#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct weight_file {
	char *path;    /* owned; for messages and to look whether the file has changed */
	char *names;   /* owned; memory of the tensors' names */
	void *map;     /* the whole file, read-only */
	size_t size;   /* its bytes */
	uint64_t device, inode;
	struct timespec modified;
};

/* `view` is first, so that a tensor handed out leads back to its entry. */
struct tensor_entry {
	struct tensor view;
	uint32_t file; /* index of the file that holds it */
};

struct tensor_list {
	struct tensor_entry *at; /* owned */
	size_t n, capacity;
};

/* Maps `path`, checks its header and appends its tensors (marked as being in file `index`) in order of
 * offset. Names are not yet known to be unique. On failure *f is closed and the list holds what it held. */
int weight_file_open(struct weight_file *f, const char *path, uint32_t index, struct tensor_list *list);
void weight_file_close(struct weight_file *f);
/* VB_EIO where the file is no longer the one that was mapped. */
int weight_file_unchanged(const struct weight_file *f);

#endif
