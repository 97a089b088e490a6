/* stored.c - matrices of weights in whatever form a checkpoint stores them.
 *
 *   plain      X.weight          f32, bf16, f16 [n, k]
 *   fp8        X.weight          e4m3 [n, k]; X.weight_scale_inv or X.weight_scale: one, one a row, or one a block
 *   verbatim   X.weight.q8       int8 [n, k]; X.weight.scale f16 [n, groups]
 *              X.weight.q6       u8 [n, 3 * ceil(k / 4)]; X.weight.scale f16 [n, groups]
 *              X.weight.q4       u8 [n, ceil(k / 2)]; X.weight.scale f16, X.weight.zero u8 [n, groups]
 *   awq        X.qweight         int32 [k, n / 8]: 8 neighbouring rows a word, in the order 0 2 4 6 1 3 5 7 from the low
 *              nibble up; X.qzeros int32 [groups, n / 8] in the same way; X.scales [groups, n]
 *   gptq       X.qweight         int32 [k * bits / 32, n]: neighbours along k in a word, from the low bits up;
 *              X.qzeros int32 [groups, n * bits / 32]; X.scales [groups, n]; X.g_idx int32 [k]: the group of each k
 *   packed     X.weight_packed   int32 [n, ceil(k * bits / 32)], q + 2^(bits - 1), from the low bits up; X.weight_scale
 *              [n, groups]; X.weight_zero_point int32 [ceil(n * bits / 32), groups] likewise; X.weight_shape; X.weight_g_idx
 *   int8       X.weight          int8 [n, k]; X.weight_scale, X.weight_zero_point int8 [n, groups], or one
 *
 * (packed and int8 are compressed-tensors'.) Here tensors are found and checked; stored_rows.c reads them. What the shapes of
 * tensors say is believed, where the configuration does not contradict it.
 */
#include "load.h"
#include "stored_parts.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdio.h>
#include <string.h>

/* What the finding functions share. */
struct finder {
	const struct quantization *q;
	const struct tensor_set *set;
	const char *base; /* X */
	int base_len;
	struct stored_matrix *s;
};

static const struct tensor *part(const struct finder *f, const char *suffix)
{
	char name[512];
	int n = snprintf(name, sizeof name, "%.*s%s", f->base_len, f->base, suffix);
	return n < (int)sizeof name ? tensor_set_find(f->set, name) : NULL;
}

static int need_part(const struct finder *f, const char *suffix, const struct tensor **out)
{
	*out = part(f, suffix);
	if (!*out)
		FAIL(VB_ENOTFOUND, "missing tensor: \"%.*s%s\": the model folder is incomplete, or its quantization_config "
				   "describes another model", f->base_len, f->base, suffix);
	return VB_OK;
}

static bool is_float(enum dtype type)
{
	return type == DTYPE_F32 || type == DTYPE_BF16 || type == DTYPE_F16;
}

static int check_type(const struct tensor *t, bool good, const char *wanted)
{
	if (!good)
		FAIL(VB_EUNSUPPORTED, "unsupported type: tensor \"%s\" is %s: expected %s", t->name, dtype_name(t->type), wanted);
	/* Elements are read whole. */
	if ((uintptr_t)t->data % dtype_bytes(t->type) != 0)
		FAIL(VB_EUNSUPPORTED, "misaligned data: tensor \"%s\": re-save the checkpoint", t->name);
	return VB_OK;
}

static int check_shape(const struct tensor *t, int64_t rows, int64_t cols)
{
	if (t->rank == 2 && t->shape[0] == rows && t->shape[1] == cols)
		return VB_OK;
	char found[128] = "";
	for (int i = 0, n = 0; i < t->rank && n < (int)sizeof found; i++)
		n += snprintf(found + n, sizeof found - (size_t)n, "%s%lld", i ? ", " : "", (long long)t->shape[i]);
	FAIL(VB_EFORMAT, "wrong shape: tensor \"%s\": [%s], but config.json asks for [%lld, %lld]", t->name, found,
	     (long long)rows, (long long)cols);
}

static int64_t ceil_div(int64_t a, int64_t b)
{
	return (a + b - 1) / b;
}

/* The largest canonical group that stored groups are made of; 0: none is. */
static int64_t canonical_group(enum weight_format format, int64_t stored, int64_t n_groups)
{
	for (int64_t group = format == WEIGHT_Q4 ? 128 : 32; group >= 32; group /= 2)
		if (n_groups == 1 || stored % group == 0)
			return group;
	return 0;
}

/* Sets form: integers of so many bits, where they have a canonical form. */
static void set_form(struct stored_matrix *s, bool symmetric)
{
	enum weight_format format = s->bits == 4 ? WEIGHT_Q4 : WEIGHT_Q8;
	int64_t group = canonical_group(format, s->group, s->n_groups);
	if (group == 0 || (format == WEIGHT_Q8 && !symmetric)) {
		s->form.format = WEIGHT_DENSE;
		s->form.type = DTYPE_F32;
		return;
	}
	s->form.format = format;
	s->form.group = group;
}

/* Groups of a row: as many as the scales have, of the configuration's size where that is given. */
static int set_groups(const struct finder *f, const struct tensor *scale, int64_t n_groups)
{
	struct stored_matrix *s = f->s;
	int64_t k = s->form.k, group = f->q->group;
	s->n_groups = n_groups;
	if (n_groups == 1) {
		s->group = k;
		return VB_OK;
	}
	/* Schemes of compressed-tensors may differ from module to module: there the shape tells. */
	if (f->q->method == QUANT_COMPRESSED && n_groups > 0 && k % n_groups == 0)
		group = k / n_groups;
	if (group == 0 || ceil_div(k, group) != n_groups)
		FAIL(VB_EFORMAT, "wrong shape: tensor \"%s\": %lld groups for %lld columns, but the configuration's group_size "
		     "is %lld", scale->name, (long long)n_groups, (long long)k, (long long)f->q->group);
	s->group = group;
	return VB_OK;
}

/* Scales [groups, n]. */
static int find_scales(const struct finder *f)
{
	struct stored_matrix *s = f->s;
	TRY(need_part(f, ".scales", &s->scale));
	TRY(check_type(s->scale, is_float(s->scale->type), "f32, bf16 or f16"));
	int64_t n_groups = s->scale->rank == 2 ? s->scale->shape[0] : 0;
	int64_t wanted = f->q->group ? ceil_div(s->form.k, f->q->group) : 1;
	TRY(check_shape(s->scale, wanted, s->form.n));
	return set_groups(f, s->scale, n_groups);
}

static int find_int32(const struct finder *f, const char *suffix, int64_t rows, int64_t cols, const struct tensor **out)
{
	TRY(need_part(f, suffix, out));
	TRY(check_type(*out, (*out)->type == DTYPE_I32, "i32"));
	return check_shape(*out, rows, cols);
}

static int check_multiple(const struct finder *f, const char *what, int64_t value, int64_t of)
{
	if (value % of)
		FAIL(VB_EFORMAT, "wrong shape: \"%.*s\": its %lld %s are no multiple of %lld, as its packing asks",
		     f->base_len, f->base, (long long)value, what, (long long)of);
	return VB_OK;
}

/* The group of each column, [k]; unused where it says what columns say by themselves. */
static int find_index(const struct finder *f, const char *suffix)
{
	struct stored_matrix *s = f->s;
	const struct tensor *t = part(f, suffix);
	if (!t)
		return VB_OK;
	TRY(check_type(t, t->type == DTYPE_I32, "i32"));
	if (t->rank != 1 || t->shape[0] != s->form.k)
		FAIL(VB_EFORMAT, "wrong shape: tensor \"%s\": expected [%lld]", t->name, (long long)s->form.k);
	s->index = t;
	return VB_OK;
}

/* Whether columns really are in another order. Every group must have as many columns as it would in order. */
static int check_index(struct stored_matrix *s)
{
	const int32_t *g = s->index ? s->index->data : NULL;
	bool plain = true;
	if (!g)
		return VB_OK;
	for (int64_t i = 0; i < s->form.k; i++) {
		if (g[i] < 0 || g[i] >= s->n_groups)
			FAIL(VB_EFORMAT, "value out of range: tensor \"%s\": group %d of column %lld, but there are %lld groups",
			     s->index->name, g[i], (long long)i, (long long)s->n_groups);
		plain &= g[i] == i / s->group;
	}
	if (plain || s->n_groups == 1) {
		s->index = NULL;
		return VB_OK;
	}
	int64_t *count = mem_calloc((size_t)s->n_groups, sizeof *count);
	if (!count)
		return VB_ENOMEM;
	for (int64_t i = 0; i < s->form.k; i++)
		count[g[i]]++;
	int64_t bad = -1;
	for (int64_t i = 0; i < s->n_groups && bad < 0; i++) {
		int64_t left = s->form.k - i * s->group;
		if (count[i] != (left < s->group ? left : s->group))
			bad = i;
	}
	mem_free(count);
	if (bad >= 0)
		FAIL(VB_EUNSUPPORTED, "uneven groups: tensor \"%s\": group %lld has not the %lld columns that group_size says",
		     s->index->name, (long long)bad, (long long)s->group);
	s->ordered = true;
	return VB_OK;
}

static int find_awq(const struct finder *f)
{
	struct stored_matrix *s = f->s;
	s->kind = STORED_AWQ;
	s->bits = 4;
	TRY(check_multiple(f, "rows", s->form.n, 8));
	TRY(find_int32(f, ".qweight", s->form.k, s->form.n / 8, &s->data));
	TRY(find_scales(f));
	TRY(find_int32(f, ".qzeros", s->n_groups, s->form.n / 8, &s->zero));
	set_form(s, false);
	return VB_OK;
}

static int find_gptq(const struct finder *f)
{
	struct stored_matrix *s = f->s;
	int64_t per_word = 32 / f->q->bits;
	s->kind = STORED_GPTQ;
	s->bits = f->q->bits;
	s->zero_less_one = f->q->zero_less_one;
	TRY(check_multiple(f, "columns", s->form.k, per_word));
	TRY(check_multiple(f, "rows", s->form.n, per_word));
	TRY(find_int32(f, ".qweight", s->form.k / per_word, s->form.n, &s->data));
	TRY(find_scales(f));
	TRY(find_int32(f, ".qzeros", s->n_groups, s->form.n / per_word, &s->zero));
	TRY(find_index(f, ".g_idx"));
	if (f->q->act_order && !s->index && s->n_groups > 1)
		TRY(need_part(f, ".g_idx", &s->index));
	TRY(check_index(s));
	set_form(s, f->q->symmetric);
	return VB_OK;
}

/* Scales of compressed-tensors and FP8: one, or [n], or [n, groups]. */
static int find_row_scales(const struct finder *f)
{
	struct stored_matrix *s = f->s;
	const struct tensor *t = s->scale;
	TRY(check_type(t, is_float(t->type), "f32, bf16 or f16"));
	bool one = t->bytes == dtype_bytes(t->type);
	s->block_rows = one ? s->form.n : 1;
	if (!one && !(t->rank == 1 && t->shape[0] == s->form.n))
		TRY(check_shape(t, s->form.n, t->rank == 2 ? t->shape[1] : 0));
	return set_groups(f, t, one || t->rank < 2 ? 1 : t->shape[1]);
}

static int find_packed(const struct finder *f)
{
	struct stored_matrix *s = f->s;
	s->kind = STORED_PACKED;
	TRY(need_part(f, ".weight_packed", &s->data));
	TRY(check_type(s->data, s->data->type == DTYPE_I32, "i32"));
	int64_t words = s->data->rank == 2 ? s->data->shape[1] : 0;
	s->bits = words == ceil_div(s->form.k, 4) ? 8 : 4;
	TRY(check_shape(s->data, s->form.n, ceil_div(s->form.k, 32 / s->bits)));
	const struct tensor *shape = part(f, ".weight_shape");
	if (shape) {
		int64_t said[2] = { 0, 0 };
		TRY(check_type(shape, shape->type == DTYPE_I64 || shape->type == DTYPE_I32, "i64"));
		for (int i = 0; i < 2 && shape->rank == 1 && shape->shape[0] == 2; i++)
			said[i] = shape->type == DTYPE_I64 ? ((const int64_t *)shape->data)[i] : ((const int32_t *)shape->data)[i];
		if (said[0] != s->form.n || said[1] != s->form.k)
			FAIL(VB_EFORMAT, "wrong shape: tensor \"%s\" says [%lld, %lld], but config.json asks for [%lld, %lld]",
			     shape->name, (long long)said[0], (long long)said[1], (long long)s->form.n, (long long)s->form.k);
	}
	TRY(need_part(f, ".weight_scale", &s->scale));
	TRY(find_row_scales(f));
	if (part(f, ".weight_zero_point"))
		TRY(find_int32(f, ".weight_zero_point", ceil_div(s->form.n, 32 / s->bits), s->n_groups, &s->zero));
	TRY(find_index(f, ".weight_g_idx"));
	TRY(check_index(s));
	set_form(s, !s->zero);
	return VB_OK;
}

static int find_int8(const struct finder *f)
{
	struct stored_matrix *s = f->s;
	s->kind = STORED_INT8;
	s->bits = 8;
	TRY(check_shape(s->data, s->form.n, s->form.k));
	TRY(need_part(f, ".weight_scale", &s->scale));
	TRY(find_row_scales(f));
	s->zero = part(f, ".weight_zero_point");
	if (s->zero) {
		TRY(check_type(s->zero, s->zero->type == DTYPE_I8, "i8"));
		if (s->zero->bytes != s->scale->bytes / dtype_bytes(s->scale->type))
			FAIL(VB_EFORMAT, "wrong shape: tensor \"%s\": expected as many elements as \"%s\" has", s->zero->name,
			     s->scale->name);
	}
	set_form(s, !s->zero);
	return VB_OK;
}

static int find_fp8(const struct finder *f)
{
	struct stored_matrix *s = f->s;
	s->kind = STORED_FP8;
	s->form.type = DTYPE_F32;
	TRY(check_shape(s->data, s->form.n, s->form.k));
	s->scale = part(f, ".weight_scale_inv");
	if (!s->scale)
		TRY(need_part(f, ".weight_scale", &s->scale));
	const int64_t *block = f->q->block;
	bool a_row = s->scale->rank != 2 || (s->scale->shape[0] == s->form.n && s->scale->shape[1] == 1);
	if (block[0] == 0 || a_row) /* schemes may differ from module to module */
		return find_row_scales(f);
	TRY(check_type(s->scale, is_float(s->scale->type), "f32, bf16 or f16"));
	s->block_rows = block[0];
	s->group = block[1];
	s->n_groups = ceil_div(s->form.k, block[1]);
	return check_shape(s->scale, ceil_div(s->form.n, block[0]), s->n_groups);
}

/* The tensor that holds a matrix's integers in a form of our own; NULL: there is none. */
static const struct tensor *own_part(const struct finder *f, enum weight_format *format)
{
	static const struct {
		const char *suffix;
		enum weight_format format;
	} forms[] = { { ".weight.q8", WEIGHT_Q8 }, { ".weight.q6", WEIGHT_Q6 }, { ".weight.q4", WEIGHT_Q4 } };
	const struct tensor *t = NULL;
	for (size_t i = 0; i < sizeof forms / sizeof *forms && !t; i++) {
		t = part(f, forms[i].suffix);
		*format = forms[i].format;
	}
	return t;
}

static int find_verbatim(const struct finder *f, const struct tensor *data, enum weight_format format)
{
	struct stored_matrix *s = f->s;
	struct weight_matrix *m = &s->form;
	s->kind = STORED_VERBATIM;
	m->format = format;
	m->group = s->group = WEIGHT_GROUP;
	s->data = data;
	const enum dtype type = format == WEIGHT_Q8 ? DTYPE_I8 : DTYPE_U8;
	TRY(check_type(s->data, s->data->type == type, dtype_name(type)));
	TRY(check_shape(s->data, m->n, weight_row_bytes(m)));
	s->n_groups = weight_groups(m);
	TRY(need_part(f, ".weight.scale", &s->scale));
	TRY(check_type(s->scale, s->scale->type == DTYPE_F16, "f16"));
	TRY(check_shape(s->scale, m->n, s->n_groups));
	if (format == WEIGHT_Q4) {
		TRY(need_part(f, ".weight.zero", &s->zero));
		TRY(check_type(s->zero, s->zero->type == DTYPE_U8, "u8"));
		TRY(check_shape(s->zero, m->n, s->n_groups));
		m->zero = s->zero->data;
	}
	m->data = s->data->data;
	m->scale = s->scale->data;
	return VB_OK;
}

static int find_plain(const struct finder *f)
{
	struct stored_matrix *s = f->s;
	enum dtype type = s->data->type;
	enum quant_method method = f->q->method;
	if (type == DTYPE_F8_E4M3 && (method == QUANT_FP8 || method == QUANT_COMPRESSED))
		return find_fp8(f);
	if (type == DTYPE_I8 && method == QUANT_COMPRESSED)
		return find_int8(f);
	s->kind = STORED_PLAIN;
	s->form.type = type;
	TRY(check_shape(s->data, s->form.n, s->form.k));
	if (!is_float(type))
		FAIL(VB_EUNSUPPORTED, "unsupported type: tensor \"%s\" is %s: convert the checkpoint to bf16, f16 or f32",
		     s->data->name, dtype_name(type));
	s->form.data = s->data->data;
	return VB_OK;
}

int stored_find(struct stored_matrix *out, const struct quantization *q, const struct tensor_set *set, const char *name,
		int64_t n, int64_t k)
{
	static const char suffix[] = ".weight";
	const size_t len = strlen(name), m = sizeof suffix - 1;
	struct finder f = { .q = q, .set = set, .base = name, .s = out };
	*out = (struct stored_matrix){ .form = { .n = n, .k = k } };
	out->data = tensor_set_find(set, name);
	f.base_len = (int)(len > m && strcmp(name + len - m, suffix) == 0 ? len - m : len);
	/* Before the plain one: a matrix that is embedding and head stands there in both forms. */
	enum weight_format format = WEIGHT_DENSE;
	const struct tensor *own = q->method == QUANT_VERBATIM ? own_part(&f, &format) : NULL;
	if (own)
		return find_verbatim(&f, own, format);
	if (out->data)
		return find_plain(&f);
	switch (q->method) {
	case QUANT_AWQ:
		if (part(&f, ".qweight"))
			return find_awq(&f);
		break;
	case QUANT_GPTQ:
		if (part(&f, ".qweight"))
			return find_gptq(&f);
		break;
	case QUANT_COMPRESSED:
		if (part(&f, ".weight_packed"))
			return find_packed(&f);
		break;
	default:
		break;
	}
	FAIL(VB_ENOTFOUND, "missing tensor: \"%s\": the model folder is incomplete, or its config.json describes another model",
	     name);
}
