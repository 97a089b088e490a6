/* lib_linear.c - linear by libraries, as yardsticks for benchmarks: where they were found at build time. */
#include "kcheck.h"

#include "base/status.h"
#include "kernels/ops/linear.h"

#if HAVE_DNNL
#include <dnnl.h>
#include <omp.h>
#endif
#if HAVE_OPENBLAS
#include <cblas.h>
#endif

#if HAVE_OPENBLAS

static bool blas_begin(const struct kc_case *copies, int n_copies, int threads)
{
	(void)n_copies;
	openblas_set_num_threads(threads);
	return kc_find(copies, "x")->type == DTYPE_F32 && kc_find(copies, "w")->type == DTYPE_F32;
}

static void blas_call(const struct kc_case *c)
{
	const struct kc_buf *x = kc_find(c, "x"), *w = kc_find(c, "w"), *y = kc_find(c, "y");
	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)c->t, (int)w->n_rows, (int)w->cols, 1, x->ptr,
		    (int)x->stride, w->ptr, (int)w->cols, 0, y->ptr, (int)y->stride);
}

static void blas_end(void)
{
}

#endif

#if HAVE_DNNL

#define MAX_COPIES 64

/* One matrix product, with each copy's memories. */
static struct {
	const struct kc_case *copies;
	int n_copies;
	dnnl_engine_t engine;
	dnnl_stream_t stream;
	dnnl_primitive_desc_t desc;
	dnnl_primitive_t product;
	dnnl_memory_t x[MAX_COPIES], w[MAX_COPIES], y[MAX_COPIES];
} dnnl;

static void must(dnnl_status_t status)
{
	CHECK(status == dnnl_success);
}

static dnnl_data_type_t data_type(enum dtype type)
{
	return type == DTYPE_BF16 ? dnnl_bf16 : dnnl_f32;
}

/* [rows, cols] with given strides; row_stride 0: the library's own layout. */
static dnnl_memory_desc_t matrix(enum dtype type, int64_t rows, int64_t cols, int64_t row_stride, int64_t col_stride)
{
	dnnl_memory_desc_t d;
	dnnl_dims_t dims = { rows, cols }, strides = { row_stride, col_stride };
	if (row_stride)
		must(dnnl_memory_desc_init_by_strides(&d, 2, dims, data_type(type), strides));
	else
		must(dnnl_memory_desc_init_by_tag(&d, 2, dims, data_type(type), dnnl_format_tag_any));
	return d;
}

/* The weights as they lie in the file, or in the layout that the library wants (not timed). */
static dnnl_memory_t weights(const struct kc_buf *w, const dnnl_memory_desc_t *plain)
{
	dnnl_memory_t given, packed;
	dnnl_primitive_desc_t desc;
	dnnl_primitive_t reorder;
	const dnnl_memory_desc_t *wanted = dnnl_primitive_desc_query_md(dnnl.desc, dnnl_query_weights_md, 0);
	must(dnnl_memory_create(&given, plain, dnnl.engine, w->ptr));
	if (dnnl_memory_desc_equal(plain, wanted))
		return given;
	must(dnnl_memory_create(&packed, wanted, dnnl.engine, DNNL_MEMORY_ALLOCATE));
	must(dnnl_reorder_primitive_desc_create(&desc, plain, dnnl.engine, wanted, dnnl.engine, NULL));
	must(dnnl_primitive_create(&reorder, desc));
	dnnl_exec_arg_t args[] = { { DNNL_ARG_FROM, given }, { DNNL_ARG_TO, packed } };
	must(dnnl_primitive_execute(reorder, dnnl.stream, 2, args));
	must(dnnl_stream_wait(dnnl.stream));
	dnnl_primitive_destroy(reorder);
	dnnl_primitive_desc_destroy(desc);
	dnnl_memory_destroy(given);
	return packed;
}

static bool begin(const struct kc_case *copies, int n_copies, int threads, bool packed)
{
	const struct kc_buf *x = kc_find(copies, "x"), *w = kc_find(copies, "w"), *y = kc_find(copies, "y");
	dnnl_matmul_desc_t product;
	if (x->type != w->type || x->type == DTYPE_F16 || kc_find(copies, "bias") || n_copies > MAX_COPIES)
		return false;
	omp_set_num_threads(threads);
	must(dnnl_engine_create(&dnnl.engine, dnnl_cpu, 0));
	must(dnnl_stream_create(&dnnl.stream, dnnl.engine, dnnl_stream_default_flags));
	dnnl_memory_desc_t xd = matrix(x->type, copies->t, x->cols, x->stride, 1);
	dnnl_memory_desc_t plain = matrix(w->type, w->cols, w->n_rows, 1, w->cols);
	dnnl_memory_desc_t own = matrix(w->type, w->cols, w->n_rows, 0, 0);
	dnnl_memory_desc_t yd = matrix(DTYPE_F32, copies->t, y->cols, y->stride, 1);
	must(dnnl_matmul_desc_init(&product, &xd, packed ? &own : &plain, NULL, &yd));
	must(dnnl_primitive_desc_create(&dnnl.desc, &product, NULL, dnnl.engine, NULL));
	must(dnnl_primitive_create(&dnnl.product, dnnl.desc));
	dnnl.copies = copies;
	dnnl.n_copies = n_copies;
	for (int i = 0; i < n_copies; i++) {
		must(dnnl_memory_create(&dnnl.x[i], &xd, dnnl.engine, kc_find(&copies[i], "x")->ptr));
		must(dnnl_memory_create(&dnnl.y[i], &yd, dnnl.engine, kc_find(&copies[i], "y")->ptr));
		dnnl.w[i] = weights(kc_find(&copies[i], "w"), &plain);
	}
	return true;
}

static bool dnnl_begin(const struct kc_case *copies, int n_copies, int threads)
{
	return begin(copies, n_copies, threads, false);
}

static bool dnnl_begin_packed(const struct kc_case *copies, int n_copies, int threads)
{
	return begin(copies, n_copies, threads, true);
}

static void dnnl_call(const struct kc_case *c)
{
	int i = (int)(c - dnnl.copies);
	dnnl_exec_arg_t args[] = { { DNNL_ARG_SRC, dnnl.x[i] }, { DNNL_ARG_WEIGHTS, dnnl.w[i] },
				   { DNNL_ARG_DST, dnnl.y[i] } };
	must(dnnl_primitive_execute(dnnl.product, dnnl.stream, 3, args));
	must(dnnl_stream_wait(dnnl.stream));
}

static void dnnl_end(void)
{
	for (int i = 0; i < dnnl.n_copies; i++) {
		dnnl_memory_destroy(dnnl.x[i]);
		dnnl_memory_destroy(dnnl.w[i]);
		dnnl_memory_destroy(dnnl.y[i]);
	}
	dnnl_primitive_destroy(dnnl.product);
	dnnl_primitive_desc_destroy(dnnl.desc);
	dnnl_stream_destroy(dnnl.stream);
	dnnl_engine_destroy(dnnl.engine);
}

#endif

const struct kc_lib kc_linear_libs[] = {
#if HAVE_OPENBLAS
	{ "openblas", blas_begin, blas_call, blas_end },
#endif
#if HAVE_DNNL
	{ "onednn", dnnl_begin, dnnl_call, dnnl_end },
	{ "onednn-packed", dnnl_begin_packed, dnnl_call, dnnl_end },
#endif
	{ "none", NULL, NULL, NULL },
};
const int kc_n_linear_libs = KC_COUNT(kc_linear_libs) - 1;
