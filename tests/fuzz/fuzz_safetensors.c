/* A .safetensors file: any bytes. Every byte of every tensor that is accepted is read. */
#define _GNU_SOURCE
#include "base/status.h"
#include "load/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool promise)
{
	if (!promise)
		abort();
}

static unsigned sum_of(const struct tensor_set *set)
{
	unsigned sum = 0;
	uint64_t total = 0;
	for (int64_t i = 0; i < tensor_set_count(set); i++) {
		const struct tensor *t = tensor_set_at(set, i);
		check(tensor_set_find(set, t->name) == t && tensor_set_file(set, t) != NULL);
		check(t->rank >= 0 && t->rank <= TENSOR_MAX_RANK);
		for (uint64_t j = 0; j < t->bytes; j++)
			sum += ((const unsigned char *)t->data)[j];
		total += t->bytes;
	}
	check(total == tensor_set_bytes(set));
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[64];
	struct tensor_set *set = NULL;
	static volatile unsigned sink;
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (tensor_set_open_file(&set, path) == VB_OK)
		sink = sum_of(set);
	else
		check(set == NULL && *vb_errmsg());
	(void)sink;
	tensor_set_close(&set);
	close(fd);
	return 0;
}
