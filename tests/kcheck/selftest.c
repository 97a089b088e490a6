/* selftest.c - kernels broken on purpose, each with the verdict that it must earn.
 *
 * The operation: out[t][i] = x[t][i] * w[i] / (1 + sum over k of |x[t][k]|), one order of summation.
 */
#include "kcheck.h"

#include "kernels/ops/kernel.h"
#include "ops/kernels.h"

#include <math.h>
#include <stdio.h>

struct toy_request {
	int64_t d;
};

struct toy_args {
	float *x; /* [T, D], rows x_stride apart; an input: only broken kernels write it */
	const float *w;
	float *out; /* [T, D], rows out_stride apart */
	int64_t t, d, x_stride, out_stride;
};

typedef void toy_fn(const struct toy_args *a, int64_t t_begin, int64_t t_end);

static float sum_up(const float *x, int64_t d)
{
	float sum = 0;
	for (int64_t i = 0; i < d; i++)
		sum += fabsf(x[i]);
	return sum;
}

static float sum_down(const float *x, int64_t d)
{
	float sum = 0;
	for (int64_t i = d; i-- > 0;)
		sum += fabsf(x[i]);
	return sum;
}

static void put(const struct toy_args *a, int64_t t, float sum)
{
	for (int64_t i = 0; i < a->d; i++)
		a->out[t * a->out_stride + i] = a->x[t * a->x_stride + i] * a->w[i] / (1 + sum);
}

static void good(const struct toy_args *a, int64_t t_begin, int64_t t_end)
{
	for (int64_t t = t_begin; t < t_end; t++)
		put(a, t, sum_up(a->x + t * a->x_stride, a->d));
}

static void wrong_formula(const struct toy_args *a, int64_t t_begin, int64_t t_end)
{
	for (int64_t t = t_begin; t < t_end; t++)
		put(a, t, sum_up(a->x + t * a->x_stride, a->d) + 1e-5f);
}

static void over_read(const struct toy_args *a, int64_t t_begin, int64_t t_end)
{
	for (int64_t t = t_begin; t < t_end; t++)
		put(a, t, sum_up(a->x + t * a->x_stride, a->d) + 0 * a->x[t * a->x_stride + a->d]);
}

/* One element too early: behind the block's end there is a fence, before its beginning only poison. */
static void under_read(const struct toy_args *a, int64_t t_begin, int64_t t_end)
{
	for (int64_t t = t_begin; t < t_end; t++)
		put(a, t, sum_up(a->x + t * a->x_stride, a->d) + 0 * a->w[-1]);
}

static void over_write(const struct toy_args *a, int64_t t_begin, int64_t t_end)
{
	good(a, t_begin, t_end);
	if (t_end == a->t && a->t)
		a->out[(a->t - 1) * a->out_stride + a->d] = 0;
}

static void input_write(const struct toy_args *a, int64_t t_begin, int64_t t_end)
{
	good(a, t_begin, t_end);
	for (int64_t t = t_begin; t < t_end; t++)
		a->x[t * a->x_stride] += 1;
}

static void unwritten(const struct toy_args *a, int64_t t_begin, int64_t t_end)
{
	struct toy_args b = *a;
	b.d = a->d - 1;
	for (int64_t t = t_begin; t < t_end; t++)
		put(&b, t, sum_up(a->x + t * a->x_stride, a->d));
}

/* Not even the same call gives the same bits. */
static void unsteady(const struct toy_args *a, int64_t t_begin, int64_t t_end)
{
	static int calls;
	calls++;
	for (int64_t t = t_begin; t < t_end; t++)
		put(a, t, (calls % 2 ? sum_up : sum_down)(a->x + t * a->x_stride, a->d));
}

static void batch_order(const struct toy_args *a, int64_t t_begin, int64_t t_end)
{
	for (int64_t t = t_begin; t < t_end; t++)
		put(a, t, (a->t < 4 ? sum_up : sum_down)(a->x + t * a->x_stride, a->d));
}

static void place_order(const struct toy_args *a, int64_t t_begin, int64_t t_end)
{
	for (int64_t t = t_begin; t < t_end; t++)
		put(a, t, (t % 4 == 3 ? sum_up : sum_down)(a->x + t * a->x_stride, a->d));
}

static void slice_order(const struct toy_args *a, int64_t t_begin, int64_t t_end)
{
	for (int64_t t = t_begin; t < t_end; t++)
		put(a, t, (t_end - t_begin < a->t ? sum_up : sum_down)(a->x + t * a->x_stride, a->d));
}

static void stride_order(const struct toy_args *a, int64_t t_begin, int64_t t_end)
{
	for (int64_t t = t_begin; t < t_end; t++)
		put(a, t, (a->x_stride == a->d ? sum_up : sum_down)(a->x + t * a->x_stride, a->d));
}

/* Without a sanitizer's report: it would be one of a fault that is meant. */
__attribute__((no_sanitize("undefined"))) static void crash(const struct toy_args *a, int64_t t_begin, int64_t t_end)
{
	good(a, t_begin, t_end);
	volatile int *volatile nowhere = NULL;
	if (a->d == 33)
		*nowhere = 0;
}

static void hang(const struct toy_args *a, int64_t t_begin, int64_t t_end)
{
	volatile bool forever = a->d == 33;
	good(a, t_begin, t_end);
	while (forever)
		;
}

static const char *toy_refuse(const struct toy_request *r)
{
	return r->d > 100 ? "takes up to 100 columns" : NULL;
}

static const char *accept_all(const struct toy_request *r)
{
	(void)r;
	return NULL;
}

static const char *refuse_all(const struct toy_request *r)
{
	(void)r;
	return "takes nothing";
}

/* One list for the rows, their functions and their verdicts. */
#define TOY_KERNELS(X)                                        \
	X(good, toy_refuse, KC_OK)                            \
	X(wrong_formula, toy_refuse, KC_VALUE)                \
	X(over_read, toy_refuse, KC_READS)                    \
	X(under_read, toy_refuse, KC_READS)                   \
	X(over_write, toy_refuse, KC_WRITES)                  \
	X(input_write, toy_refuse, KC_WRITES)                 \
	X(unwritten, toy_refuse, KC_WRITES)                   \
	X(unsteady, toy_refuse, KC_DETERMINISM)               \
	X(batch_order, toy_refuse, KC_INVARIANCE)             \
	X(place_order, toy_refuse, KC_INVARIANCE)             \
	X(slice_order, toy_refuse, KC_INVARIANCE)             \
	X(stride_order, toy_refuse, KC_INVARIANCE)            \
	X(crash, toy_refuse, KC_CRASH)                        \
	X(hang, toy_refuse, KC_HANG)                          \
	X(good_but_liar, accept_all, KC_REFUSE)               \
	X(good_but_shy, refuse_all, KC_REFUSE)

#define good_but_liar good
#define good_but_shy good

static const struct {
	toy_fn *run;
	const char *(*refuse)(const struct toy_request *r);
	enum kc_verdict must;
} functions[] = {
#define TOY_FUNCTION(name, refuse, must) { name, refuse, must },
	TOY_KERNELS(TOY_FUNCTION)
};

static const struct kernel_row rows[] = {
#define TOY_ROW(name, refuse, must) { #name, 0, ROW_INVARIANT },
	TOY_KERNELS(TOY_ROW)
	{ NULL, 0, 0 },
};

enum kc_verdict kc_selftest_verdict(int row)
{
	return functions[row].must;
}

static const char *refuse_row(const void *request, int row)
{
	return functions[row].refuse(request);
}

static const struct kernel_set toy_set = KERNEL_SET("selftest", rows, refuse_row);

static void describe(const struct kc_shape *s, char *text, size_t size)
{
	snprintf(text, size, "%lldx%lld", (long long)s->t, (long long)s->dim[0]);
}

static void request(const struct kc_shape *s, void *r)
{
	*(struct toy_request *)r = (struct toy_request){ s->dim[0] };
}

static void build(struct kc_case *c)
{
	int64_t d = c->shape->dim[0];
	kc_tokens(c, "x", KC_IN, DTYPE_F32, d, d + c->pad);
	kc_shared(c, "w", DTYPE_F32, 1, d);
	kc_tokens(c, "out", KC_OUT, DTYPE_F32, d, d + 2 * c->pad);
}

static void oracle(struct kc_case *c)
{
	const struct kc_buf *x = kc_find(c, "x"), *w = kc_find(c, "w");
	for (int64_t t = 0; t < c->t; t++) {
		double sum = 1;
		for (int64_t i = 0; i < x->cols; i++)
			sum += fabs(kc_in(x, t, i));
		for (int64_t i = 0; i < x->cols; i++) {
			double v = kc_in(x, t, i) * kc_in(w, 0, i) / sum;
			kc_expect(kc_find(c, "out"), t, i, v, fabs(v), 0x1p-149);
		}
	}
}

static double budget(const struct kc_case *c, const struct kc_buf *b)
{
	(void)c;
	return 2 + sqrt((double)b->cols);
}

static int64_t extent(const struct kc_case *c)
{
	return c->t;
}

static void call(const struct kc_case *c, int row, int64_t begin, int64_t end)
{
	struct toy_args a = { .x = kc_ptr(c, "x"),
			      .w = kc_ptr(c, "w"),
			      .out = kc_ptr(c, "out"),
			      .t = c->t,
			      .d = c->shape->dim[0],
			      .x_stride = kc_find(c, "x")->stride,
			      .out_stride = kc_find(c, "out")->stride };
	functions[row].run(&a, begin, end);
}

static struct kc_cost cost(const struct kc_case *c)
{
	return (struct kc_cost){ .bytes = 8.0 * (double)(c->t * c->shape->dim[0]) };
}

static const struct kc_shape shapes[] = {
	{ .t = 6, .dim = { 40 } },
	{ .t = 3, .dim = { 33 } },
	{ .t = 0, .dim = { 7 } },
	{ .t = 2, .dim = { 101 }, .unsupported = true },
};

const struct kc_op kc_selftest_op = {
	.name = "selftest",
	.set = &toy_set,
	.shapes = shapes,
	.n_shapes = KC_COUNT(shapes),
	.describe = describe,
	.request = request,
	.build = build,
	.oracle = oracle,
	.budget = budget,
	.extent = extent,
	.call = call,
	.cost = cost,
};
