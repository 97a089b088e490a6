/* safetensors.c - reads and checks the header of one .safetensors file.
 *
 * Source: the format's description and validation rules, github.com/huggingface/safetensors, README ("Format").
 * A file is 8 bytes of header length N (little-endian), N bytes of JSON, and the tensors' bytes.
 *
 * INVARIANTS of every tensor that leaves this file:
 *  1. [data, data + bytes) lies inside the mapping, and bytes == product of shape * element size, computed
 *     without overflow.
 *  2. In one file the tensors cover the data exactly: no gap, no overlap, nothing behind the last.
 *  3. data is aligned to the element size.
 *
 * The header is read into memory before it is parsed, so that a file which changes meanwhile cannot show one
 * text to the check and another to the use. The data are mapped: a file that is cut short later makes their
 * reader fault (SIGBUS), which only the owner of the file can prevent.
 */
#include "safetensors.h"

#include "base/mem.h"
#include "base/status.h"
#include "scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The format's own limit. */
#define MAX_HEADER_BYTES 100000000u
#define PREFIX_BYTES 8u
/* Longest name and deepest path are a hundred bytes in practice. */
#define MAX_NAME_BYTES 1024u

struct header {
	const struct weight_file *file;
	struct scan scan;
	char *names; /* where the next string goes */
	const char *data;
	uint64_t data_bytes;
	uint32_t file_index;
};

static int type_of(const char *name, enum dtype *out)
{
	static const struct {
		const char *name;
		enum dtype type;
	} known[] = {
		{ "BF16", DTYPE_BF16 }, { "F16", DTYPE_F16 }, { "F32", DTYPE_F32 }, { "F64", DTYPE_F64 },
		{ "I64", DTYPE_I64 }, { "I32", DTYPE_I32 }, { "I16", DTYPE_I16 }, { "I8", DTYPE_I8 },
		{ "U64", DTYPE_U64 }, { "U32", DTYPE_U32 }, { "U16", DTYPE_U16 }, { "U8", DTYPE_U8 },
		{ "BOOL", DTYPE_BOOL }, { "F8_E4M3", DTYPE_F8_E4M3 }, { "F8_E5M2", DTYPE_F8_E5M2 },
	};
	static const char *const other[] = { "F4", "F6_E2M3", "F6_E3M2", "F8_E8M0", "F8_E4M3FNUZ",
					     "F8_E5M2FNUZ", "C64" };
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strcmp(name, known[i].name) == 0) {
			*out = known[i].type;
			return VB_OK;
		}
	for (size_t i = 0; i < sizeof other / sizeof *other; i++)
		if (strcmp(name, other[i]) == 0)
			FAIL(VB_EUNSUPPORTED, "element type %s is not supported: use a bf16, f16 or f32 "
			     "checkpoint", name);
	FAIL(VB_EFORMAT, "unknown element type \"%.64s\"", name);
}

static int parse_shape(struct scan *s, struct tensor *t)
{
	TRY(scan_expect(s, '['));
	if (scan_take(s, ']'))
		return VB_OK;
	do {
		uint64_t dim = 0;
		TRY(scan_u64(s, &dim));
		if (dim > INT64_MAX)
			FAIL(VB_EFORMAT, "shape: %llu is too large", (unsigned long long)dim);
		if (t->rank == TENSOR_MAX_RANK)
			FAIL(VB_EUNSUPPORTED, "shape: more than %d dimensions", TENSOR_MAX_RANK);
		t->shape[t->rank++] = (int64_t)dim;
	} while (scan_take(s, ','));
	return scan_expect(s, ']');
}

static int parse_offsets(struct scan *s, uint64_t *begin, uint64_t *end)
{
	TRY(scan_expect(s, '['));
	TRY(scan_u64(s, begin));
	TRY(scan_expect(s, ','));
	TRY(scan_u64(s, end));
	return scan_expect(s, ']');
}

/* Bytes of a tensor of this type and shape; an overflow is an error even where a later dimension is 0. */
static int dense_bytes(const struct tensor *t, uint64_t *out)
{
	uint64_t bytes = dtype_bytes(t->type);
	for (int i = 0; i < t->rank; i++)
		if (__builtin_mul_overflow(bytes, (uint64_t)t->shape[i], &bytes))
			FAIL(VB_EFORMAT, "shape and type need more than 2^64 bytes");
	*out = bytes;
	return VB_OK;
}

static int place(const struct header *h, struct tensor *t, uint64_t begin, uint64_t end)
{
	uint64_t bytes = 0;
	TRY(dense_bytes(t, &bytes));
	if (begin > end)
		FAIL(VB_EFORMAT, "data_offsets: begin %llu is behind end %llu", (unsigned long long)begin,
		     (unsigned long long)end);
	if (end > h->data_bytes)
		FAIL(VB_EFORMAT, "data_offsets: end %llu is behind the file's %llu bytes of data: the file is "
		     "cut short, fetch it again", (unsigned long long)end, (unsigned long long)h->data_bytes);
	if (bytes != end - begin)
		FAIL(VB_EFORMAT, "data_offsets: %llu bytes, but shape and type need %llu",
		     (unsigned long long)(end - begin), (unsigned long long)bytes);
	t->data = h->data + begin;
	t->bytes = bytes;
	return VB_OK;
}

/* The value of one tensor: an object of exactly dtype, shape and data_offsets. */
static int parse_tensor(struct header *h, struct tensor *t)
{
	enum { TYPE = 1, SHAPE = 2, OFFSETS = 4 };
	unsigned seen = 0;
	uint64_t begin = 0, end = 0;
	TRY(scan_expect(&h->scan, '{'));
	do {
		const char *key = NULL, *type = NULL;
		TRY(scan_string(&h->scan, &h->names, &key));
		TRY(scan_expect(&h->scan, ':'));
		unsigned bit = strcmp(key, "dtype") == 0 ? TYPE : strcmp(key, "shape") == 0 ? SHAPE :
			       strcmp(key, "data_offsets") == 0 ? OFFSETS : 0;
		if (bit == 0 || (seen & bit))
			FAIL(VB_EFORMAT, "key \"%.64s\" %s", key, bit ? "stands twice" : "is unknown");
		seen |= bit;
		if (bit == TYPE) {
			TRY(scan_string(&h->scan, &h->names, &type));
			TRY(type_of(type, &t->type));
		} else if (bit == SHAPE) {
			TRY(parse_shape(&h->scan, t));
		} else {
			TRY(parse_offsets(&h->scan, &begin, &end));
		}
	} while (scan_take(&h->scan, ','));
	TRY(scan_expect(&h->scan, '}'));
	if (seen != (TYPE | SHAPE | OFFSETS))
		FAIL(VB_EFORMAT, "key \"%s\" is missing",
		     !(seen & TYPE) ? "dtype" : !(seen & SHAPE) ? "shape" : "data_offsets");
	return place(h, t, begin, end);
}

static int check_name(const char *name)
{
	size_t n = strlen(name);
	if (n == 0 || n > MAX_NAME_BYTES)
		FAIL(VB_EFORMAT, "a tensor's name has %zu bytes, expected 1 to %u", n, MAX_NAME_BYTES);
	for (const char *c = name; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			FAIL(VB_EFORMAT, "a tensor's name holds control character 0x%02x",
			     (unsigned char)*c);
	return VB_OK;
}

/* __metadata__: strings by name, checked to be strings and dropped: nothing here needs them. */
static int skip_metadata(struct header *h)
{
	TRY(scan_expect(&h->scan, '{'));
	if (scan_take(&h->scan, '}'))
		return VB_OK;
	do {
		char *scratch = h->names;
		const char *string;
		TRY(scan_string(&h->scan, &scratch, &string));
		TRY(scan_expect(&h->scan, ':'));
		TRY(scan_string(&h->scan, &scratch, &string));
	} while (scan_take(&h->scan, ','));
	return scan_expect(&h->scan, '}');
}

static int append(struct tensor_list *list, const struct tensor *t, uint32_t file)
{
	if (list->n == list->capacity) {
		size_t capacity = list->capacity ? 2 * list->capacity : 256;
		struct tensor_entry *at = mem_realloc(list->at, capacity, sizeof *at);
		if (!at)
			return VB_ENOMEM;
		list->at = at;
		list->capacity = capacity;
	}
	list->at[list->n++] = (struct tensor_entry){ .view = *t, .file = file };
	return VB_OK;
}

static int parse_header(struct header *h, struct tensor_list *list)
{
	bool metadata = false;
	if (h->scan.at == h->scan.end || *h->scan.at != '{')
		FAIL(VB_EFORMAT, "malformed header: %s: it does not begin with '{'", h->file->path);
	TRY(scan_expect(&h->scan, '{'));
	if (scan_take(&h->scan, '}'))
		return scan_end(&h->scan);
	do {
		struct tensor t = { 0 };
		TRY(scan_string(&h->scan, &h->names, &t.name));
		TRY(scan_expect(&h->scan, ':'));
		if (strcmp(t.name, "__metadata__") == 0) {
			if (metadata)
				FAIL(VB_EFORMAT, "malformed header: %s: __metadata__ stands twice",
				     h->file->path);
			metadata = true;
			int rc = skip_metadata(h);
			if (rc != VB_OK)
				return status_prefix(rc, "malformed header: %s: __metadata__", h->file->path);
			continue;
		}
		int rc = check_name(t.name);
		if (rc != VB_OK)
			return status_prefix(rc, "malformed header: %s", h->file->path);
		char *strings = h->names;
		rc = parse_tensor(h, &t);
		if (rc != VB_OK)
			return status_prefix(rc, "malformed tensor: %s: \"%s\"", h->file->path, t.name);
		h->names = strings; /* the keys and the type are read; the name stays */
		TRY(append(list, &t, h->file_index));
	} while (scan_take(&h->scan, ','));
	TRY(scan_expect(&h->scan, '}'));
	return scan_end(&h->scan);
}

static int by_offset(const void *a, const void *b)
{
	const struct tensor *x = a, *y = b;
	if (x->data != y->data)
		return (const char *)x->data < (const char *)y->data ? -1 : 1;
	return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Of the tensors from `first` on, which are this file's. */
static int check_cover(const struct header *h, const struct tensor_list *list, size_t first)
{
	const size_t n = list->n - first;
	struct tensor_entry *at = n > 0 ? list->at + first : NULL;
	uint64_t end = 0;
	if (n > 0)
		qsort(at, n, sizeof *at, by_offset);
	for (size_t i = 0; i < n; i++) {
		uint64_t begin = (uint64_t)((const char *)at[i].view.data - h->data);
		if (begin != end)
			FAIL(VB_EFORMAT, "malformed tensor: %s: \"%s\": data_offsets: begins at %llu, but the "
			     "tensors before it end at %llu", h->file->path, at[i].view.name,
			     (unsigned long long)begin, (unsigned long long)end);
		end = begin + at[i].view.bytes;
	}
	if (end != h->data_bytes)
		FAIL(VB_EFORMAT, "malformed file: %s: %llu bytes of data, but its tensors end at %llu",
		     h->file->path, (unsigned long long)h->data_bytes, (unsigned long long)end);
	/* Last, because such a file is whole; only old writers made them. */
	for (size_t i = 0; i < n; i++)
		if ((uintptr_t)at[i].view.data % dtype_bytes(at[i].view.type) != 0)
			FAIL(VB_EUNSUPPORTED, "misaligned tensor: %s: \"%s\": its data do not begin at a "
			     "multiple of its element size: save the file again with safetensors 0.3 or later",
			     h->file->path, at[i].view.name);
	return VB_OK;
}

static int read_at(int fd, void *dst, size_t n, uint64_t offset, const char *path)
{
	for (size_t done = 0; done < n;) {
		ssize_t got = pread(fd, (char *)dst + done, n - done, (off_t)(offset + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			FAIL(VB_EIO, "cannot read: %s: %s", path,
			     got < 0 ? strerror(errno) : "the file became shorter");
		done += (size_t)got;
	}
	return VB_OK;
}

/* Opens and measures. O_NONBLOCK: a FIFO must be refused, not waited for. */
static int open_regular(struct weight_file *f, int *fd)
{
	struct stat st;
	*fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (*fd < 0)
		FAIL(errno == ENOENT ? VB_ENOTFOUND : VB_EIO, "cannot open: %s: %s", f->path,
		     strerror(errno));
	if (fstat(*fd, &st) != 0)
		FAIL(VB_EIO, "cannot read: %s: %s", f->path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		FAIL(VB_EFORMAT, "not a regular file: %s", f->path);
	f->size = (size_t)st.st_size;
	f->device = st.st_dev;
	f->inode = st.st_ino;
	f->modified = st.st_mtim;
	return VB_OK;
}

/* Reads the header's text into owned memory. Its length is proved against the file first. */
static int read_header(const struct weight_file *f, int fd, char **text, size_t *len)
{
	unsigned char prefix[PREFIX_BYTES];
	uint64_t n = 0;
	if (f->size < PREFIX_BYTES)
		FAIL(VB_EFORMAT, "malformed file: %s: %zu bytes, too short for a header: fetch it again", f->path, f->size);
	TRY(read_at(fd, prefix, PREFIX_BYTES, 0, f->path));
	for (int i = PREFIX_BYTES - 1; i >= 0; i--)
		n = n << 8 | prefix[i];
	if (memcmp(prefix, "version ", PREFIX_BYTES) == 0)
		FAIL(VB_EFORMAT, "not a safetensors file: %s: it only points to one: fetch what it points to (git lfs pull)", f->path);
	if (n > MAX_HEADER_BYTES)
		FAIL(VB_EFORMAT, "malformed header: %s: its length is given as %llu bytes, at most %u are "
		     "allowed: this is no safetensors file, fetch it again", f->path, (unsigned long long)n, MAX_HEADER_BYTES);
	if (n > f->size - PREFIX_BYTES)
		FAIL(VB_EFORMAT, "malformed header: %s: its length is given as %llu bytes, but the file has "
		     "%zu: it is cut short, fetch it again", f->path, (unsigned long long)n, f->size);
	*text = mem_alloc((size_t)n);
	if (!*text)
		return VB_ENOMEM;
	*len = (size_t)n;
	return read_at(fd, *text, *len, PREFIX_BYTES, f->path);
}

int weight_file_open(struct weight_file *f, const char *path, uint32_t index, struct tensor_list *list)
{
	int rc = VB_OK, fd = -1;
	char *text = NULL;
	size_t len = 0, first = list->n;
	*f = (struct weight_file){ .path = mem_strdup(path), .map = MAP_FAILED };
	if (!f->path) {
		rc = VB_ENOMEM;
		goto out;
	}
	TRY_TO(out, open_regular(f, &fd));
	TRY_TO(out, read_header(f, fd, &text, &len));
	f->names = mem_alloc(len);
	if (!f->names) {
		rc = VB_ENOMEM;
		goto out;
	}
	f->map = mmap(NULL, f->size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (f->map == MAP_FAILED)
		FAIL_TO(out, VB_EIO, "cannot map: %s: %s", path, strerror(errno));
	struct header h = {
		.file = f, .names = f->names, .file_index = index,
		.data = (const char *)f->map + PREFIX_BYTES + len,
		.data_bytes = f->size - PREFIX_BYTES - len,
	};
	scan_init(&h.scan, text, len, f->path);
	TRY_TO(out, parse_header(&h, list));
	TRY_TO(out, check_cover(&h, list, first));
out:
	mem_free(text);
	if (fd >= 0)
		close(fd);
	if (rc != VB_OK) {
		list->n = first;
		weight_file_close(f);
	}
	return rc;
}

void weight_file_close(struct weight_file *f)
{
	if (f->map && f->map != MAP_FAILED)
		munmap(f->map, f->size);
	mem_free(f->names);
	mem_free(f->path);
	*f = (struct weight_file){ 0 };
}

int weight_file_unchanged(const struct weight_file *f)
{
	struct stat st;
	if (stat(f->path, &st) != 0 || st.st_dev != f->device || st.st_ino != f->inode ||
	    (uint64_t)st.st_size != f->size || st.st_mtim.tv_sec != f->modified.tv_sec ||
	    st.st_mtim.tv_nsec != f->modified.tv_nsec)
		FAIL(VB_EIO, "changed while in use: %s: load the model again", f->path);
	return VB_OK;
}
