/* model.safetensors.index.json: any bytes, beside one weight file, a.safetensors with the tensor "a". */
#include "base/status.h"
#include "load/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/verbatim-fuzz-XXXXXX", shard[64], index_path[96];

static void check(bool promise)
{
	if (!promise)
		abort();
}

static void write_file(const char *path, const void *data, size_t size)
{
	FILE *f = fopen(path, "wb");
	check(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
}

static void remove_folder(void)
{
	unlink(index_path);
	unlink(shard);
	rmdir(folder);
}

static void make_folder(void)
{
	static const char header[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}";
	char file[8 + sizeof header] = { sizeof header - 1 };
	check(mkdtemp(folder) != NULL);
	snprintf(shard, sizeof shard, "%s/a.safetensors", folder);
	snprintf(index_path, sizeof index_path, "%s/model.safetensors.index.json", folder);
	memcpy(file + 8, header, sizeof header);
	write_file(shard, file, sizeof file);
	atexit(remove_folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tensor_set *set = NULL;
	if (!*shard)
		make_folder();
	write_file(index_path, data, size);
	if (tensor_set_open(&set, folder) == VB_OK)
		check(tensor_set_count(set) == 1);
	else
		check(set == NULL && *vb_errmsg());
	tensor_set_close(&set);
	return 0;
}
