/* selftest_gpu.c - rows of a GPU that are broken on purpose, each with the verdict that it must earn: gather, run wrongly. */
#include "kcheck.h"

#include "base/status.h"
#include "kernels/ops/kernel.h"
#include "ops/kernels.h"

#include <string.h>

enum { GOOD, WRONG_VALUE, OVER_READ, OVER_WRITE, UNWRITTEN, UNSTEADY, BATCH_ORDER, NO_CAPTURE, ILLEGAL, GOOD_AFTER_ALL };

static const struct kernel_row rows[] = {
	[GOOD] = { "good", ISA_CUDA, ROW_INVARIANT | CAPTURABLE },
	[WRONG_VALUE] = { "wrong_value", ISA_CUDA, ROW_INVARIANT | CAPTURABLE },
	[OVER_READ] = { "over_read", ISA_CUDA, ROW_INVARIANT | CAPTURABLE },
	[OVER_WRITE] = { "over_write", ISA_CUDA, ROW_INVARIANT | CAPTURABLE },
	[UNWRITTEN] = { "unwritten", ISA_CUDA, ROW_INVARIANT | CAPTURABLE },
	[UNSTEADY] = { "unsteady", ISA_CUDA, ROW_INVARIANT | CAPTURABLE },
	[BATCH_ORDER] = { "batch_order", ISA_CUDA, ROW_INVARIANT | CAPTURABLE },
	[NO_CAPTURE] = { "no_capture", ISA_CUDA, ROW_INVARIANT | CAPTURABLE },
	[ILLEGAL] = { "illegal", ISA_CUDA, ROW_INVARIANT | CAPTURABLE },
	[GOOD_AFTER_ALL] = { "good_after_all", ISA_CUDA, ROW_INVARIANT | CAPTURABLE },
	{ NULL, 0, 0 },
};

enum kc_verdict kc_gpu_selftest_verdict(int row)
{
	static const enum kc_verdict must[] = {
		[GOOD] = KC_OK,
		[WRONG_VALUE] = KC_VALUE,
		[OVER_READ] = KC_READS,
		[OVER_WRITE] = KC_WRITES,
		[UNWRITTEN] = KC_WRITES,
		[UNSTEADY] = KC_DETERMINISM,
		[BATCH_ORDER] = KC_INVARIANCE,
		[NO_CAPTURE] = KC_CAPTURE,
		[ILLEGAL] = KC_CRASH,
		[GOOD_AFTER_ALL] = KC_OK,
	};
	return must[row];
}

static const char *refuse_none(const void *request, int row)
{
	(void)request;
	(void)row;
	return NULL;
}

static const struct kernel_set set = KERNEL_SET("selftest", rows, refuse_none);

/* The row stands at the end of what gather keeps. */
#define ROW_AT (KC_KERNEL_BYTES - sizeof(int))

static int gpu_find(struct kc_case *c, struct gpu *g, int row, const void *request)
{
	memcpy(c->kernel + ROW_AT, &row, sizeof row);
	return kc_gather_op.gpu_find(c, g, 0, request);
}

static void move(struct kc_case *c, const char *name, int64_t elements)
{
	struct kc_buf *b = kc_find(c, name);
	b->ptr = (char *)b->ptr + elements * (int64_t)dtype_bytes(b->type);
}

static const void *end_of(const struct kc_buf *b)
{
	return (const char *)b->ptr + b->n_elements * (int64_t)dtype_bytes(b->type);
}

static void gpu_run(const struct kc_case *c, struct gpu *g)
{
	static int calls;
	struct kc_case wrong = *c;
	bool spoil = false;
	int row, word = 0;
	memcpy(&row, c->kernel + ROW_AT, sizeof row);
	if (!c->t)
		return;
	switch (row) {
	case WRONG_VALUE:
		spoil = true;
		break;
	case OVER_WRITE:
		move(&wrong, "out", 1);
		break;
	case UNWRITTEN:
		wrong.t--;
		break;
	case UNSTEADY:
		spoil = calls++ % 2;
		break;
	case BATCH_ORDER:
		spoil = c->t < 3 && c->shape->t >= 3;
		break;
	case NO_CAPTURE: /* from memory that is not pinned */
		gpu_upload(g, kc_ptr(c, "out"), &word, sizeof word);
		break;
	case ILLEGAL:
		kc_find(&wrong, "x")->ptr = (void *)8;
		break;
	default:
		break;
	}
	kc_gather_op.gpu_run(&wrong, g);
	if (spoil) /* the low half of the first value, or the first of two, becomes the other half */
		gpu_copy(g, kc_ptr(c, "out"), (const char *)kc_ptr(c, "out") + 2, 2);
	if (row == OVER_READ) /* half an element: a whole one would look like nothing written */
		gpu_copy(g, kc_ptr(c, "out"), end_of(kc_find(c, "x")), 2);
}

const struct kc_op *kc_gpu_selftest_op(void)
{
	static struct kc_op op;
	op = kc_gather_op;
	op.name = "selftest";
	op.set = &set;
	op.gpu_find = gpu_find;
	op.gpu_run = gpu_run;
	op.on_gpu = true;
	return &op;
}
