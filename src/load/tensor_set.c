/* tensor_set.c - the tensors of a model folder by name, from one weight file or from several with an index.
 *
 * INVARIANTS.
 *  1. Names are unique over all files of a set; entries are sorted by name.
 *  2. With an index: every name in weight_map is found, and in the file that weight_map says.
 *  3. A weight file of a folder lies in that folder, links followed (the Hugging Face cache keeps its files in
 *     ../../blobs and links to them: that place is allowed too).
 *
 * The index's total_size is not used: many published ones are wrong, and nothing may be sized by it.
 */
#include "load.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/status.h"
#include "safetensors.h"
#include "scan.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A million tensors with names of a hundred bytes fit. */
#define MAX_INDEX_BYTES ((size_t)256 << 20)
#define MAX_FILES 4096u

struct tensor_set {
	struct weight_file *files;
	uint32_t n_files;
	struct tensor_list list;
};

/* One line of weight_map. */
struct placement {
	const char *tensor, *file; /* in the index's `strings` */
};

struct index {
	char *path;                /* owned */
	char *strings;             /* owned */
	struct placement *entries; /* owned; sorted by tensor name */
	size_t n, capacity;
	const char **files; /* owned; names, sorted, each once */
	uint32_t n_files;
};

/* "DIR/NAME", owned by the caller; NULL where memory is short. */
static char *path_of(const char *dir, const char *name)
{
	struct buf b;
	buf_init(&b, SIZE_MAX / 2);
	if (buf_printf(&b, "%s/%s", dir, name) != VB_OK) {
		buf_fini(&b);
		return NULL;
	}
	return buf_detach(&b);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

static int sort_by_name(struct tensor_set *set)
{
	struct tensor_entry *e = set->list.at;
	if (set->list.n > 1)
		qsort(e, set->list.n, sizeof *e, by_name);
	for (size_t i = 1; i < set->list.n; i++) {
		if (strcmp(e[i - 1].view.name, e[i].view.name) != 0)
			continue;
		const char *first = set->files[e[i - 1].file].path, *second = set->files[e[i].file].path;
		if (e[i - 1].file == e[i].file)
			FAIL(VB_EFORMAT, "malformed header: %s: tensor \"%s\" stands twice", first,
			     e[i].view.name);
		FAIL(VB_EFORMAT, "tensor in two files: \"%s\": %s and %s: remove one of them",
		     e[i].view.name, first, second);
	}
	return VB_OK;
}

static int create_empty(struct tensor_set **out, uint32_t n_files)
{
	struct tensor_set *set = mem_calloc(1, sizeof *set);
	if (!set)
		return VB_ENOMEM;
	set->files = mem_calloc(n_files, sizeof *set->files);
	if (!set->files) {
		mem_free(set);
		return VB_ENOMEM;
	}
	*out = set;
	return VB_OK;
}

static int add_file(struct tensor_set *set, const char *path)
{
	TRY(weight_file_open(&set->files[set->n_files], path, set->n_files, &set->list));
	set->n_files++;
	return VB_OK;
}

int tensor_set_open_file(struct tensor_set **out, const char *path)
{
	int rc = VB_OK;
	struct tensor_set *set = NULL;
	*out = NULL;
	TRY(create_empty(&set, 1));
	TRY_TO(out, add_file(set, path));
	TRY_TO(out, sort_by_name(set));
	*out = set;
	set = NULL;
out:
	tensor_set_close(&set);
	return rc;
}

/* ---- Where a weight file may lie ---- */

static bool inside(const char *path, const char *folder, size_t folder_len)
{
	return strncmp(path, folder, folder_len) == 0 && path[folder_len] == '/';
}

/* Length of X where `folder` is X/snapshots/REVISION, as in the Hugging Face cache; else 0. */
static size_t cache_root(const char *folder)
{
	static const char name[] = "/snapshots";
	const size_t n = sizeof name - 1;
	const char *revision = strrchr(folder, '/');
	if (!revision || (size_t)(revision - folder) <= n || strncmp(revision - n, name, n) != 0)
		return 0;
	return (size_t)(revision - n - folder);
}

static int check_confined(const char *dir, const char *path)
{
	char folder[PATH_MAX], real[PATH_MAX], blobs[PATH_MAX + sizeof "/blobs"];
	if (!realpath(dir, folder))
		FAIL(VB_ENOTFOUND, "cannot open: %s: %s", dir, strerror(errno));
	if (!realpath(path, real))
		FAIL(errno == ENOENT ? VB_ENOTFOUND : VB_EIO, "cannot open: %s: %s", path, strerror(errno));
	size_t root = cache_root(folder);
	memcpy(blobs, folder, root);
	memcpy(blobs + root, "/blobs", sizeof "/blobs");
	if (!inside(real, folder, strlen(folder)) && !(root > 0 && inside(real, blobs, strlen(blobs))))
		FAIL(VB_EFORMAT, "link out of the model folder: %s leads to %s: put the file itself there",
		     path, real);
	return VB_OK;
}

static int add_confined(struct tensor_set *set, const char *dir, const char *name)
{
	int rc = VB_OK;
	char *path = path_of(dir, name);
	if (!path)
		return VB_ENOMEM;
	TRY_TO(out, check_confined(dir, path));
	TRY_TO(out, add_file(set, path));
out:
	mem_free(path);
	return rc;
}

/* ---- model.safetensors.index.json ---- */

static int check_file_name(const struct index *ix, const struct placement *p)
{
	static const char suffix[] = ".safetensors";
	const size_t n = strlen(p->file), m = sizeof suffix - 1;
	bool plain = n > m && strcmp(p->file + n - m, suffix) == 0 && !strchr(p->file, '/');
	for (const char *c = p->file; *c; c++)
		plain = plain && (unsigned char)*c >= 0x20 && *c != 0x7f;
	if (!plain)
		FAIL(VB_EFORMAT, "bad file name: %s: weight_map: tensor \"%.256s\": \"%.256s\" is not the "
		     "plain name of a .safetensors file in the model's folder", ix->path, p->tensor, p->file);
	return VB_OK;
}

static int parse_weight_map(struct index *ix, struct scan *s, char **strings)
{
	TRY(scan_expect(s, '{'));
	if (scan_take(s, '}'))
		return VB_OK;
	do {
		struct placement p;
		TRY(scan_string(s, strings, &p.tensor));
		TRY(scan_expect(s, ':'));
		TRY(scan_string(s, strings, &p.file));
		TRY(check_file_name(ix, &p));
		if (ix->n == ix->capacity) {
			size_t capacity = ix->capacity ? 2 * ix->capacity : 256;
			struct placement *grown = mem_realloc(ix->entries, capacity, sizeof *grown);
			if (!grown)
				return VB_ENOMEM;
			ix->entries = grown;
			ix->capacity = capacity;
		}
		ix->entries[ix->n++] = p;
	} while (scan_take(s, ','));
	return scan_expect(s, '}');
}

static int parse_index(struct index *ix, const char *text, size_t len)
{
	struct scan s;
	char *strings = ix->strings;
	bool found = false;
	scan_init(&s, text, len, ix->path);
	TRY(scan_expect(&s, '{'));
	if (!scan_take(&s, '}')) {
		do {
			const char *key;
			TRY(scan_string(&s, &strings, &key));
			TRY(scan_expect(&s, ':'));
			if (strcmp(key, "weight_map") != 0) {
				TRY(scan_skip(&s));
				continue;
			}
			if (found)
				FAIL(VB_EFORMAT, "malformed index: %s: weight_map stands twice", ix->path);
			found = true;
			TRY(parse_weight_map(ix, &s, &strings));
		} while (scan_take(&s, ','));
		TRY(scan_expect(&s, '}'));
	}
	TRY(scan_end(&s));
	if (ix->n == 0)
		FAIL(VB_EFORMAT, "malformed index: %s: weight_map is %s", ix->path,
		     found ? "empty" : "missing");
	return VB_OK;
}

static int by_tensor(const void *a, const void *b)
{
	return strcmp(((const struct placement *)a)->tensor, ((const struct placement *)b)->tensor);
}

static int by_string(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorts, refuses names that stand twice, and lists the files. */
static int arrange_index(struct index *ix)
{
	qsort(ix->entries, ix->n, sizeof *ix->entries, by_tensor);
	ix->files = mem_alloc(ix->n * sizeof *ix->files);
	if (!ix->files)
		return VB_ENOMEM;
	for (size_t i = 0; i < ix->n; i++) {
		if (i > 0 && strcmp(ix->entries[i - 1].tensor, ix->entries[i].tensor) == 0)
			FAIL(VB_EFORMAT, "malformed index: %s: weight_map: tensor \"%.256s\" stands twice",
			     ix->path, ix->entries[i].tensor);
		ix->files[i] = ix->entries[i].file;
	}
	qsort(ix->files, ix->n, sizeof *ix->files, by_string);
	size_t n = 1;
	for (size_t i = 1; i < ix->n; i++)
		if (strcmp(ix->files[n - 1], ix->files[i]) != 0)
			ix->files[n++] = ix->files[i];
	if (n > MAX_FILES)
		FAIL(VB_ELIMIT, "too many files: %s: weight_map names %zu, at most %u are taken", ix->path, n,
		     MAX_FILES);
	ix->n_files = (uint32_t)n;
	return VB_OK;
}

/* The whole file at `path`, owned by the caller. */
static int read_text(const char *path, size_t max, char **text, size_t *len)
{
	int rc = VB_OK;
	char *data = NULL;
	struct stat st;
	FILE *f = fopen(path, "rbe");
	if (!f)
		FAIL(errno == ENOENT ? VB_ENOTFOUND : VB_EIO, "cannot open: %s: %s", path, strerror(errno));
	if (fstat(fileno(f), &st) != 0)
		FAIL_TO(out, VB_EIO, "cannot read: %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		FAIL_TO(out, VB_EFORMAT, "not a regular file: %s", path);
	if ((uint64_t)st.st_size > max)
		FAIL_TO(out, VB_ELIMIT, "file too large: %s: %lld bytes, at most %zu are taken", path,
			(long long)st.st_size, max);
	data = mem_alloc((size_t)st.st_size);
	if (!data) {
		rc = VB_ENOMEM;
		goto out;
	}
	if (fread(data, 1, (size_t)st.st_size, f) != (size_t)st.st_size)
		FAIL_TO(out, VB_EIO, "cannot read: %s: %s", path,
			ferror(f) ? strerror(errno) : "the file became shorter");
	*text = data;
	*len = (size_t)st.st_size;
	data = NULL;
out:
	mem_free(data);
	fclose(f);
	return rc;
}

static void index_fini(struct index *ix)
{
	mem_free(ix->path);
	mem_free(ix->strings);
	mem_free(ix->entries);
	mem_free(ix->files);
}

static int index_read(struct index *ix, const char *dir)
{
	int rc = VB_OK;
	char *text = NULL;
	size_t len = 0;
	*ix = (struct index){ .path = path_of(dir, "model.safetensors.index.json") };
	if (!ix->path)
		return VB_ENOMEM;
	TRY_TO(out, read_text(ix->path, MAX_INDEX_BYTES, &text, &len));
	ix->strings = mem_alloc(len);
	if (!ix->strings) {
		rc = VB_ENOMEM;
		goto out;
	}
	TRY_TO(out, parse_index(ix, text, len));
	TRY_TO(out, arrange_index(ix));
out:
	mem_free(text);
	return rc;
}

/* Every tensor of the index stands where the index says. */
static int check_placements(const struct tensor_set *set, const struct index *ix)
{
	for (size_t i = 0; i < ix->n; i++) {
		const struct placement *p = &ix->entries[i];
		const struct tensor *t = tensor_set_find(set, p->tensor);
		if (!t)
			FAIL(VB_EFORMAT, "missing tensor: %s: \"%s\" should be in %s: fetch that file again",
			     ix->path, p->tensor, p->file);
		/* Paths are DIR/NAME and NAME holds no '/'. */
		const char *file = strrchr(tensor_set_file(set, t), '/') + 1;
		if (strcmp(file, p->file) != 0)
			FAIL(VB_EFORMAT, "wrong place: %s: \"%s\" should be in %s, but is in %s: fetch the "
			     "index again", ix->path, p->tensor, p->file, file);
	}
	return VB_OK;
}

static int open_indexed(struct tensor_set **out, const char *dir)
{
	int rc = VB_OK;
	struct tensor_set *set = NULL;
	struct index ix;
	TRY_TO(out, index_read(&ix, dir));
	TRY_TO(out, create_empty(&set, ix.n_files));
	for (uint32_t i = 0; i < ix.n_files; i++) {
		rc = add_confined(set, dir, ix.files[i]);
		if (rc != VB_OK) {
			status_prefix(rc, "file %u of the %u that model.safetensors.index.json names",
				      i + 1, ix.n_files);
			goto out;
		}
	}
	TRY_TO(out, sort_by_name(set));
	TRY_TO(out, check_placements(set, &ix));
	*out = set;
	set = NULL;
out:
	tensor_set_close(&set);
	index_fini(&ix);
	return rc;
}

static int open_single(struct tensor_set **out, const char *dir)
{
	int rc = VB_OK;
	struct tensor_set *set = NULL;
	TRY(create_empty(&set, 1));
	TRY_TO(out, add_confined(set, dir, "model.safetensors"));
	TRY_TO(out, sort_by_name(set));
	*out = set;
	set = NULL;
out:
	tensor_set_close(&set);
	return rc;
}

/* ---- The folder ---- */

/* What is there instead of weights that can be read. */
static int no_weights(const char *dir)
{
	static const char *const foreign[] = { ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack" };
	int rc = status_fail(VB_ENOTFOUND, __FILE__, __LINE__, "no weights: %s: expected model.safetensors "
			     "or model.safetensors.index.json with its shards: fetch them", dir);
	DIR *d = opendir(dir);
	if (!d)
		FAIL(errno == ENOENT || errno == ENOTDIR ? VB_ENOTFOUND : VB_EIO,
		     "cannot open model folder: %s: %s", dir, strerror(errno));
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		const char *dot = strrchr(e->d_name, '.');
		for (size_t i = 0; dot && i < sizeof foreign / sizeof *foreign; i++) {
			if (strcmp(dot, foreign[i]) != 0)
				continue;
			rc = status_fail(VB_EUNSUPPORTED, __FILE__, __LINE__, "weights are not safetensors: "
					 "%s/%.200s: convert them to model.safetensors; files that can "
					 "carry code are never loaded", dir, e->d_name);
			goto out;
		}
		if (dot && strcmp(dot, ".safetensors") == 0)
			rc = status_fail(VB_ENOTFOUND, __FILE__, __LINE__, "weights without an index: %s: "
					 "there is %.200s, but no model.safetensors and no "
					 "model.safetensors.index.json: add the index", dir, e->d_name);
	}
out:
	closedir(d);
	return rc;
}

static int exists(const char *dir, const char *name, bool *out)
{
	struct stat st;
	char *path = path_of(dir, name);
	if (!path)
		return VB_ENOMEM;
	*out = lstat(path, &st) == 0;
	mem_free(path);
	return VB_OK;
}

int tensor_set_open(struct tensor_set **out, const char *model_dir)
{
	bool single = false, indexed = false;
	*out = NULL;
	TRY(exists(model_dir, "model.safetensors", &single));
	TRY(exists(model_dir, "model.safetensors.index.json", &indexed));
	return single ? open_single(out, model_dir) : indexed ? open_indexed(out, model_dir) :
							       no_weights(model_dir);
}

void tensor_set_close(struct tensor_set **set)
{
	if (!set || !*set)
		return;
	for (uint32_t i = 0; i < (*set)->n_files; i++)
		weight_file_close(&(*set)->files[i]);
	mem_free((*set)->files);
	mem_free((*set)->list.at);
	mem_free(*set);
	*set = NULL;
}

int64_t tensor_set_count(const struct tensor_set *set)
{
	return (int64_t)set->list.n;
}

const struct tensor *tensor_set_at(const struct tensor_set *set, int64_t i)
{
	CHECK(i >= 0 && (size_t)i < set->list.n);
	return &set->list.at[i].view;
}

const struct tensor *tensor_set_find(const struct tensor_set *set, const char *name)
{
	const struct tensor key = { .name = name };
	if (set->list.n == 0)
		return NULL;
	return bsearch(&key, set->list.at, set->list.n, sizeof *set->list.at, by_name);
}

uint64_t tensor_set_bytes(const struct tensor_set *set)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < set->list.n; i++)
		bytes += set->list.at[i].view.bytes;
	return bytes;
}

const char *tensor_set_file(const struct tensor_set *set, const struct tensor *t)
{
	return set->files[((const struct tensor_entry *)t)->file].path;
}

int tensor_set_unchanged(const struct tensor_set *set)
{
	for (uint32_t i = 0; i < set->n_files; i++)
		TRY(weight_file_unchanged(&set->files[i]));
	return VB_OK;
}

void tensor_set_prefetch(const struct tensor_set *set)
{
	/* Advice: where the kernel declines, pages come when they are touched. */
	for (uint32_t i = 0; i < set->n_files; i++)
		(void)madvise(set->files[i].map, set->files[i].size, MADV_WILLNEED);
}

void tensor_set_release(const struct tensor_set *set, const struct tensor *t)
{
	tensor_set_release_bytes(set, t->data, t->bytes);
}

void tensor_set_release_bytes(const struct tensor_set *set, const void *data, uint64_t bytes)
{
	(void)set;
	/* Whole pages of these bytes alone: a neighbour that shares a page may still be wanted. */
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	const uintptr_t begin = ((uintptr_t)data + page - 1) / page * page;
	const uintptr_t end = ((uintptr_t)data + bytes) / page * page;
	if (begin < end)
		(void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}
