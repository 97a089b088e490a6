/* quantize_folder.c - writing a model folder with quantised weights.
 *
 * One model.safetensors: what is not multiplied by a linear as it was, and for each matrix X.weight of linears X.weight.q8, .q6 or
 * .q4, with X.weight.scale and X.weight.zero (docs/QUANTIZATION.md). All sizes are known before the first element is
 * made: the header and the file's whole length come first, so that a full disk is found out at once, and matrices are written
 * where they belong as they are made. Tensors with larger elements come first: all are aligned.
 *
 * INVARIANTS.
 *  1. OUT did not exist before, and does not after a failure.
 *  2. config.json comes last: a folder that a power cut left behind has none, and nobody can take it for a model.
 */
#include "engine_internal.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER_MAX ((size_t)64 << 20)
#define WRITE_BYTES ((size_t)16 << 20)
/* Tokenisers are a few megabytes; whatever is larger is no part of what loading reads. */
#define COPY_MAX ((off_t)256 << 20)

enum part { PART_PLAIN, PART_DATA, PART_SCALE, PART_ZERO, N_PARTS };

/* One tensor of the new file. */
struct item {
	int64_t weight; /* of the program */
	enum part part;
	enum dtype type;
	int64_t shape[2];
	int rank;
	uint64_t begin, bytes;
};

struct writer {
	const char *model_dir, *out_dir;
	const struct vb_quantize_spec *spec;
	struct setup setup;
	struct team *team;
	struct item *items; /* owned; n_items, in order of offset */
	int64_t n_items;
	int fd;
	uint64_t begin;       /* of the data in the file */
	uint64_t total, done; /* bytes of data */
	uint64_t quantised_bytes, quantised_weights, parameters;
	int64_t n_of[WEIGHT_Q4 + 1]; /* matrices of each format */
};

/* ---- What goes where ---- */

static const char *suffix_of(const struct writer *w, const struct item *it)
{
	static const char *const integers[] = { [WEIGHT_Q8] = ".q8", [WEIGHT_Q6] = ".q6", [WEIGHT_Q4] = ".q4" };
	static const char *const others[] = { [PART_PLAIN] = "", [PART_SCALE] = ".scale", [PART_ZERO] = ".zero" };
	struct program_weight_info info;
	program_weight_info(w->setup.program, it->weight, &info);
	return it->part == PART_DATA ? integers[weights_format_of(w->setup.quantize, info.spec)] : others[it->part];
}

static void add(struct writer *w, int64_t weight, enum part part, enum dtype type, int rank, int64_t rows, int64_t cols)
{
	struct item *it = &w->items[w->n_items++];
	*it = (struct item){ .weight = weight, .part = part, .type = type, .rank = rank, .shape = { rank == 2 ? rows : cols, cols } };
	it->bytes = (uint64_t)(rows * cols) * dtype_bytes(type);
}

static void add_quantised(struct writer *w, int64_t weight, const struct weight_spec *spec)
{
	struct weight_matrix m = { .format = weights_format_of(w->setup.quantize, spec), .n = spec->rows, .k = spec->cols,
				   .group = WEIGHT_GROUP };
	add(w, weight, PART_DATA, m.format == WEIGHT_Q8 ? DTYPE_I8 : DTYPE_U8, 2, m.n, weight_row_bytes(&m));
	add(w, weight, PART_SCALE, DTYPE_F16, 2, m.n, weight_groups(&m));
	if (m.format == WEIGHT_Q4)
		add(w, weight, PART_ZERO, DTYPE_U8, 2, m.n, weight_groups(&m));
	w->quantised_bytes += (uint64_t)weight_bytes(&m);
	w->quantised_weights += (uint64_t)(m.n * m.k);
	w->n_of[m.format]++;
}

/* Checks a weight that is kept as it stands. */
static int add_plain(struct writer *w, int64_t weight, const struct weight_spec *spec, const struct tensor_set *set)
{
	const struct tensor *t = tensor_set_find(set, spec->name);
	TRY(program_check_tensor(spec, t));
	add(w, weight, PART_PLAIN, t->type, t->rank, t->rank == 2 ? t->shape[0] : 1, t->shape[t->rank - 1]);
	return VB_OK;
}

static int by_type_size(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	size_t i = dtype_bytes(x->type), j = dtype_bytes(y->type);
	if (i != j)
		return i < j ? 1 : -1;
	return x->weight != y->weight ? (x->weight < y->weight ? -1 : 1) : (int)x->part - (int)y->part;
}

static int list_items(struct writer *w, const struct tensor_set *set)
{
	struct program *p = w->setup.program;
	struct program_weight_info info;
	int64_t n = program_n_weights(p);
	w->items = mem_calloc((size_t)(N_PARTS * n), sizeof *w->items);
	if (!w->items)
		return VB_ENOMEM;
	for (int64_t i = 0; i < n; i++) {
		program_weight_info(p, i, &info);
		w->parameters += (uint64_t)(info.spec->rows * info.spec->cols);
		bool quantised = info.spec->use == WEIGHT_MATRIX && info.multiplied;
		if (quantised)
			add_quantised(w, i, info.spec);
		if (!quantised || info.embedded)
			TRY(add_plain(w, i, info.spec, set));
	}
	qsort(w->items, (size_t)w->n_items, sizeof *w->items, by_type_size);
	for (int64_t i = 0; i < w->n_items; i++) {
		w->items[i].begin = w->total;
		w->total += w->items[i].bytes;
	}
	return VB_OK;
}

static struct item *item_of(struct writer *w, int64_t weight, enum part part)
{
	for (int64_t i = 0; i < w->n_items; i++)
		if (w->items[i].weight == weight && w->items[i].part == part)
			return &w->items[i];
	return NULL;
}

/* ---- Files ---- */

static int path_in(struct buf *path, const char *dir, const char *name)
{
	buf_init(path, 1 << 16);
	return buf_printf(path, "%s/%s", dir, name);
}

static int cannot_write(const char *dir, const char *name, int error)
{
	FAIL(VB_EIO, "cannot write: %s/%s: %s%s", dir, name, strerror(error),
	     error == ENOSPC || error == EDQUOT ? ": make room, or write elsewhere" : "");
}

static int create_file(const char *dir, const char *name, int *fd)
{
	struct buf path;
	int rc;
	TRY_TO(out, path_in(&path, dir, name));
	*fd = open(path.data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (*fd < 0)
		rc = cannot_write(dir, name, errno);
out:
	buf_fini(&path);
	return rc;
}

static int write_at(const struct writer *w, const char *name, int fd, const char *data, uint64_t bytes, uint64_t at)
{
	while (bytes > 0) {
		ssize_t n = pwrite(fd, data, bytes < WRITE_BYTES ? bytes : WRITE_BYTES, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return cannot_write(w->out_dir, name, n < 0 ? errno : ENOSPC);
		data += n;
		at += (uint64_t)n;
		bytes -= (uint64_t)n;
	}
	return VB_OK;
}

/* What close and fsync say is the last chance to hear of a full disk. */
static int finish_file(const struct writer *w, const char *name, int fd, int rc)
{
	if (rc == VB_OK && fsync(fd) != 0 && errno != EINVAL && errno != EROFS)
		rc = cannot_write(w->out_dir, name, errno);
	if (close(fd) != 0 && rc == VB_OK)
		rc = cannot_write(w->out_dir, name, errno);
	return rc;
}

static int write_small(const struct writer *w, const char *name, const char *text, size_t len)
{
	int fd;
	TRY(create_file(w->out_dir, name, &fd));
	return finish_file(w, name, fd, write_at(w, name, fd, text, len, 0));
}

/* ---- model.safetensors ---- */

static int header_text(struct writer *w, struct buf *b)
{
	struct program_weight_info info;
	static const char *const types[DTYPE_COUNT] = { [DTYPE_F32] = "F32", [DTYPE_BF16] = "BF16", [DTYPE_F16] = "F16",
							[DTYPE_I8] = "I8", [DTYPE_U8] = "U8" };
	TRY(buf_puts(b, "{\"__metadata__\":{\"format\":\"pt\"}"));
	for (int64_t i = 0; i < w->n_items; i++) {
		const struct item *it = &w->items[i];
		program_weight_info(w->setup.program, it->weight, &info);
		/* Names are the families' own: plain ASCII. */
		TRY(buf_printf(b, ",\"%s%s\":{\"dtype\":\"%s\",\"shape\":[%" PRId64, info.spec->name, suffix_of(w, it),
			       types[it->type], it->shape[0]));
		if (it->rank == 2)
			TRY(buf_printf(b, ",%" PRId64, it->shape[1]));
		TRY(buf_printf(b, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", it->begin, it->begin + it->bytes));
	}
	TRY(buf_putc(b, '}'));
	while (b->len % 64 != 56) /* behind the length's 8 bytes, data begin at a cache line */
		TRY(buf_putc(b, ' '));
	return VB_OK;
}

static int write_header(struct writer *w, const char *name)
{
	struct buf b;
	int rc;
	buf_init(&b, HEADER_MAX);
	TRY_TO(out, header_text(w, &b));
	uint64_t len = b.len;
	unsigned char le[8];
	for (int i = 0; i < 8; i++)
		le[i] = (unsigned char)(len >> (8 * i));
	w->begin = 8 + len;
	int error = posix_fallocate(w->fd, 0, (off_t)(w->begin + w->total));
	if (error == ENOSPC || error == EFBIG || error == EDQUOT)
		FAIL_TO(out, VB_EIO, "cannot write: %s/%s: %s: %.1f MB are needed: make room, or write elsewhere", w->out_dir, name,
			strerror(error), (double)(w->begin + w->total) / 1e6);
	TRY_TO(out, write_at(w, name, w->fd, (const char *)le, sizeof le, 0));
	TRY_TO(out, write_at(w, name, w->fd, b.data, b.len, sizeof le));
out:
	buf_fini(&b);
	return rc;
}

static int write_part(struct writer *w, const char *name, int64_t weight, enum part part, const void *data)
{
	const struct item *it = item_of(w, weight, part);
	if (!it)
		return VB_OK;
	TRY(write_at(w, name, w->fd, data, it->bytes, w->begin + it->begin));
	w->done += it->bytes;
	if (w->spec->progress && !w->spec->progress(w->spec->user, w->done, w->total))
		FAIL(VB_ECANCELLED, "given up: %s: nothing is left of it", w->out_dir);
	return VB_OK;
}

static int write_weight(struct writer *w, const char *name, int64_t i, const struct tensor_set *set)
{
	struct program_weight_info info;
	program_weight_info(w->setup.program, i, &info);
	if (item_of(w, i, PART_PLAIN)) {
		const struct tensor *t = tensor_set_find(set, info.spec->name);
		TRY(write_part(w, name, i, PART_PLAIN, t->data));
		tensor_set_release(set, t);
	}
	if (!item_of(w, i, PART_DATA))
		return VB_OK;
	struct weight_matrix m;
	TRY(weights_quantised(w->setup.weights, w->team, info.spec, &m));
	int rc;
	TRY_TO(out, write_part(w, name, i, PART_DATA, m.data));
	TRY_TO(out, write_part(w, name, i, PART_SCALE, m.scale));
	TRY_TO(out, write_part(w, name, i, PART_ZERO, m.zero));
out:
	weights_done(w->setup.weights, info.spec, &m);
	return rc;
}

static int write_weights(struct writer *w, const struct tensor_set *set)
{
	static const char name[] = "model.safetensors";
	int rc;
	TRY(create_file(w->out_dir, name, &w->fd));
	TRY_TO(out, write_header(w, name));
	for (int64_t i = 0; i < program_n_weights(w->setup.program); i++)
		TRY_TO(out, write_weight(w, name, i, set));
	TRY_TO(out, tensor_set_unchanged(set));
out:
	return finish_file(w, name, w->fd, rc);
}

/* ---- The other files ---- */

static bool ends_with(const char *name, const char *suffix)
{
	size_t n = strlen(name), m = strlen(suffix);
	return n > m && strcmp(name + n - m, suffix) == 0;
}

/* Tokenisers, templates, generation defaults, licences; no weights, no index of them, no code. */
static bool is_copied(const char *name)
{
	static const char *const suffixes[] = { ".json", ".jinja", ".txt", ".model" };
	if (name[0] == '.' || strcmp(name, "config.json") == 0 || ends_with(name, ".index.json"))
		return false;
	if (strncmp(name, "LICENSE", 7) == 0 || strncmp(name, "NOTICE", 6) == 0)
		return true;
	for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
		if (ends_with(name, suffixes[i]))
			return true;
	return false;
}

static int copy_file(const struct writer *w, const char *name)
{
	struct buf path;
	struct stat st;
	FILE *f = NULL;
	char *text = NULL;
	int rc;
	TRY_TO(out, path_in(&path, w->model_dir, name));
	if (stat(path.data, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > COPY_MAX)
		goto out;
	f = fopen(path.data, "rbe");
	if (!f)
		FAIL_TO(out, VB_EIO, "cannot open: %s: %s", path.data, strerror(errno));
	text = mem_alloc((size_t)st.st_size);
	if (!text) {
		rc = VB_ENOMEM;
		goto out;
	}
	if (fread(text, 1, (size_t)st.st_size, f) != (size_t)st.st_size)
		FAIL_TO(out, VB_EIO, "cannot read: %s: it became shorter", path.data);
	rc = write_small(w, name, text, (size_t)st.st_size);
out:
	if (f)
		fclose(f);
	mem_free(text);
	buf_fini(&path);
	return rc;
}

static int copy_files(const struct writer *w)
{
	int rc = VB_OK;
	DIR *d = opendir(w->model_dir);
	if (!d)
		FAIL(VB_EIO, "cannot open model folder: %s: %s", w->model_dir, strerror(errno));
	for (struct dirent *e; rc == VB_OK && (e = readdir(d)) != NULL;)
		if (is_copied(e->d_name))
			rc = copy_file(w, e->d_name);
	closedir(d);
	return rc;
}

static double bits_per_weight(const struct writer *w)
{
	return w->quantised_weights ? 8 * (double)w->quantised_bytes / (double)w->quantised_weights : 0;
}

static int write_config(const struct writer *w)
{
	json_t *config = json_copy(w->setup.config->json);
	json_t *q = json_pack("{s:s, s:i, s:s, s:i, s:f}", "quant_method", "verbatim", "version", w->n_of[WEIGHT_Q6] ? 2 : 1,
			      "to", w->spec->to, "group_size", WEIGHT_GROUP, "bits_per_weight", bits_per_weight(w));
	json_object_del(config, "compression_config");
	char *text = json_object_set_new(config, "quantization_config", q) == 0 ? json_text(config) : NULL;
	int rc = text ? write_small(w, "config.json", text, strlen(text)) :
			status_fail(VB_ENOMEM, __FILE__, __LINE__, "out of memory: vb_quantize");
	mem_free(text);
	json_decref(config);
	return rc;
}

/* ---- The whole ---- */

static void remove_out(const char *out_dir)
{
	DIR *d = opendir(out_dir);
	if (!d)
		return;
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			(void)unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
	(void)rmdir(out_dir);
}

static int prepare(struct writer *w, const struct tensor_set **set)
{
	struct vb_options o;
	vb_options_default(&o);
	o.device = "cpu";
	o.quantize = w->spec->to;
	o.threads = w->spec->threads;
	/* Nothing runs: the smallest program that knows the weights. */
	o.context = 1;
	o.prefill_chunk = 1;
	o.kv_memory = (uint64_t)1 << 28; /* whatever the machine has: weights pass through one by one */
	TRY(setup_create(&w->setup, w->model_dir, &o, NULL));
	TRY(team_create(&w->team, w->setup.n_threads));
	TRY(weights_tensors(w->setup.weights, set));
	return list_items(w, *set);
}

static int write_folder(struct writer *w, const struct tensor_set *set)
{
	if (mkdir(w->out_dir, 0777) != 0)
		FAIL(errno == EEXIST ? VB_EINVAL : VB_EIO, "cannot create: %s: %s%s", w->out_dir, strerror(errno),
		     errno == EEXIST ? ": nothing is overwritten: name a folder that is not there" : "");
	int rc;
	TRY_TO(out, write_weights(w, set));
	TRY_TO(out, copy_files(w));
	TRY_TO(out, write_config(w));
out:
	if (rc != VB_OK)
		remove_out(w->out_dir);
	return rc;
}

static int answer(const struct writer *w, double seconds, char **json)
{
	json_t *o = json_pack("{s:o, s:o, s:s, s:I, s:I, s:f, s:I, s:I, s:I, s:f}", "model", path_json(w->model_dir), "out",
			      path_json(w->out_dir), "to", w->spec->to, "bytes", (json_int_t)(w->begin + w->total),
			      "parameters", (json_int_t)w->parameters, "bits_per_weight", bits_per_weight(w), "q8",
			      (json_int_t)w->n_of[WEIGHT_Q8], "q6", (json_int_t)w->n_of[WEIGHT_Q6], "q4",
			      (json_int_t)w->n_of[WEIGHT_Q4], "seconds", seconds);
	*json = o ? json_text(o) : NULL;
	json_decref(o);
	if (!*json)
		FAIL(VB_ENOMEM, "out of memory: vb_quantize");
	return VB_OK;
}

int vb_quantize(const char *model_dir, const char *out_dir, const struct vb_quantize_spec *spec, char **json)
{
	if (!model_dir || !out_dir || !spec || spec->size != sizeof *spec || !spec->to)
		FAIL(VB_EINVAL, "invalid call: vb_quantize: model_dir, out_dir and a spec of this version's size are needed");
	if (json)
		*json = NULL;
	if (strcmp(spec->to, "q8") != 0 && strcmp(spec->to, "q4") != 0)
		FAIL(VB_EINVAL, "unknown --to: %s: use q8 or q4", spec->to);
	struct writer w = { .model_dir = model_dir, .out_dir = out_dir, .spec = spec };
	const struct tensor_set *set;
	double start = clock_s();
	int rc;
	TRY_TO(out, prepare(&w, &set));
	TRY_TO(out, write_folder(&w, set));
	if (json)
		rc = answer(&w, clock_s() - start, json);
	if (rc != VB_OK)
		remove_out(out_dir);
out:
	mem_free(w.items);
	team_destroy(&w.team);
	setup_destroy(&w.setup);
	return rc;
}
