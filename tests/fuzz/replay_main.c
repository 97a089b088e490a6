/* Runs a fuzz target over the files and folders named as arguments, once each: the target's corpus as a test, with
 * any compiler. A folder's files go in order of name. Exits 1 where a file cannot be read or there is none. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int n_files;

static int replay_file(const char *path, size_t size)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = malloc(size ? size : 1);
	int rc = f && data && fread(data, 1, size, f) == size ? 0 : 1;
	if (rc)
		perror(path);
	else
		LLVMFuzzerTestOneInput(data, size);
	n_files++;
	free(data);
	if (f)
		fclose(f);
	return rc;
}

static int visible(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static int replay(const char *path)
{
	struct stat st;
	struct dirent **entries;
	if (stat(path, &st) != 0) {
		perror(path);
		return 1;
	}
	if (!S_ISDIR(st.st_mode))
		return replay_file(path, (size_t)st.st_size);
	int n = scandir(path, &entries, visible, alphasort), rc = n < 0;
	for (int i = 0; i < n; i++) {
		char name[4096];
		int length = snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
		rc |= length < 0 || (size_t)length >= sizeof name || replay(name);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
	return rc;
}

int main(int argc, char **argv)
{
	int rc = 0;
	for (int i = 1; i < argc; i++)
		rc |= replay(argv[i]);
	printf("%d inputs\n", n_files);
	return rc || n_files == 0;
}
