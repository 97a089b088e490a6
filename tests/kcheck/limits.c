#include "limits.h"

#include "base/isa.h"
#include "base/mem.h"
#include "base/status.h"

#include <stdatomic.h>
#include <string.h>

#define READ_BYTES ((size_t)256 << 20)
#define ROUNDS 400000
#define REPEATS 7

struct reading {
	const uint64_t *words;
	size_t n;
	_Atomic uint64_t sum; /* so that the reads are not optimised away */
};

static void read_share(void *context, int index, int n_workers)
{
	struct reading *r = context;
	int64_t begin, end;
	uint64_t a = 0, b = 0, c = 0, d = 0;
	team_share((int64_t)r->n, 4096, index, n_workers, &begin, &end);
	/* Four streams a worker: more misses in flight than one stream's prefetching gives. */
	int64_t quarter = (end - begin) / 4;
	const uint64_t *w = r->words + begin;
	for (int64_t i = 0; i < quarter; i++) {
		a ^= w[i];
		b ^= w[quarter + i];
		c ^= w[2 * quarter + i];
		d ^= w[3 * quarter + i];
	}
	atomic_fetch_add(&r->sum, a ^ b ^ c ^ d);
}

double limit_read(struct team *team, limit_clock *now)
{
	struct reading r = { .n = READ_BYTES / 8 };
	void *block = mem_pages(READ_BYTES);
	double best = 0;
	CHECK(block);
	memset(block, 1, READ_BYTES);
	r.words = block;
	for (int i = 0; i < REPEATS; i++) {
		double start = now();
		team_run(team, read_share, &r);
		double rate = (double)READ_BYTES / (now() - start);
		best = rate > best ? rate : best;
	}
	mem_free_pages(block, READ_BYTES);
	return best;
}

struct loops {
	limit_loop *loop;
	double done[1024];
};

static void loop_share(void *context, int index, int n_workers)
{
	struct loops *l = context;
	(void)n_workers;
	l->done[index] = l->loop(ROUNDS);
}

static double best_rate(struct team *team, limit_clock *now, limit_loop *loop)
{
	struct loops l = { .loop = loop };
	double best = 0;
	CHECK(team_size(team) <= 1024);
	for (int i = 0; i < REPEATS; i++) {
		double done = 0, start = now();
		team_run(team, loop_share, &l);
		double seconds = now() - start;
		for (int w = 0; w < team_size(team); w++)
			done += l.done[w];
		best = done / seconds > best ? done / seconds : best;
	}
	return best;
}

double limit_loop_scalar(int64_t rounds)
{
	volatile float seed = 1;
	float s[8], factor = seed;
	for (int i = 0; i < 8; i++)
		s[i] = (float)i * seed;
	for (int64_t r = 0; r < rounds; r++)
		for (int i = 0; i < 8; i++)
			s[i] = s[i] * factor + factor;
	for (int i = 0; i < 8; i++)
		seed = s[i];
	return 2.0 * 8 * (double)rounds;
}

double limit_flops_f32(struct team *team, limit_clock *now, uint32_t isa)
{
#if defined(__x86_64__)
	if (isa & ISA_AVX512)
		return best_rate(team, now, limit_loop_avx512);
	if (isa & ISA_AVX2)
		return best_rate(team, now, limit_loop_avx2);
#endif
	(void)isa;
	return best_rate(team, now, limit_loop_scalar);
}

double limit_flops_bf16(struct team *team, limit_clock *now, uint32_t isa)
{
#if defined(__x86_64__)
	if (isa & ISA_AVX512_BF16)
		return best_rate(team, now, limit_loop_avx512bf16);
#endif
	return limit_flops_f32(team, now, isa);
}
