#define _GNU_SOURCE
#include "threads.h"

#include "clock.h"
#include "mem.h"
#include "status.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How long a waiter spins before it sleeps. 30 us covers the gaps between the operations of a step and is
 * far below a scheduler's time slice. */
#define SPIN_S 30e-6

struct worker {
	struct team *team;
	pthread_t thread;
	int index;
	/* The last epoch whose share of this index somebody has claimed, and where the worker was when it claimed its own. */
	_Alignas(64) _Atomic uint32_t claimed;
	_Atomic int cpu;
};

struct team {
	int n_workers, n_threads; /* started; wanted */
	team_fn *fn;
	void *context;
	struct team_time *times; /* NULL: nobody wants to know */
	_Atomic bool stop; /* read by workers that come late, too */
	struct worker *workers; /* n_workers - 1 of them, indices 1.. */
	/* On lines of their own: each is written by one side and spun on by the other. */
	_Alignas(64) _Atomic uint32_t epoch;
	_Atomic int caller_cpu; /* when it began the epoch */
	_Alignas(64) _Atomic uint32_t n_done;
	_Alignas(64) _Atomic uint32_t n_sleeping;
	_Alignas(64) _Atomic uint32_t caller_sleeps;
};

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int n)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

/* Spins until *word differs from value; false if the time is up first. Whoever is waited for may be on this very CPU, and come
 * no further while it is kept: then it is let go first, and the time that others had does not count. */
static bool spin_while(_Atomic uint32_t *word, uint32_t value, bool (*is_here)(const struct team *t, int cpu), const struct team *t)
{
	double until = 0;
	for (uint32_t n = 1;; n++) {
		if (atomic_load_explicit(word, memory_order_acquire) != value)
			return true;
		cpu_relax();
		if (n % 64)
			continue;
		double now = clock_s();
		if (until == 0)
			until = now + SPIN_S;
		else if (now > until)
			return false;
		if (is_here(t, sched_getcpu())) {
			sched_yield();
			until += clock_s() - now;
		}
	}
}

static bool caller_is_here(const struct team *t, int cpu)
{
	return atomic_load_explicit(&t->caller_cpu, memory_order_relaxed) == cpu;
}

static bool worker_is_here(const struct team *t, int cpu)
{
	for (int i = 0; i < t->n_workers - 1; i++)
		if (atomic_load_explicit(&t->workers[i].cpu, memory_order_relaxed) == cpu)
			return true;
	return false;
}

static uint32_t wait_for_epoch(struct team *t, uint32_t seen)
{
	while (atomic_load_explicit(&t->epoch, memory_order_acquire) == seen) {
		if (spin_while(&t->epoch, seen, caller_is_here, t))
			break;
		/* Sequentially consistent with the caller's raise-then-look: one of the two sees the other. */
		atomic_fetch_add(&t->n_sleeping, 1);
		if (atomic_load(&t->epoch) == seen)
			futex_wait(&t->epoch, seen);
		atomic_fetch_sub(&t->n_sleeping, 1);
	}
	return atomic_load_explicit(&t->epoch, memory_order_acquire);
}

static void do_share(struct team *t, int index)
{
	double began = t->times ? clock_s() : 0;
	t->fn(t->context, index, t->n_workers);
	if (t->times)
		t->times[index] = (struct team_time){ began, clock_s() };
}

/* Whether the share of worker w in this epoch is the caller's to do. A worker that comes late, when later epochs have begun,
 * finds another number there and gets nothing. */
static bool claim(struct worker *w, uint32_t epoch)
{
	uint32_t before = epoch - 1;
	return atomic_compare_exchange_strong(&w->claimed, &before, epoch);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct team *t = w->team;
	uint32_t seen = 0;
	for (;;) {
		seen = wait_for_epoch(t, seen);
		if (t->stop)
			return NULL;
		atomic_store_explicit(&w->cpu, sched_getcpu(), memory_order_relaxed);
		if (!claim(w, seen))
			continue;
		do_share(t, w->index);
		atomic_fetch_add(&t->n_done, 1);
		if (atomic_load(&t->caller_sleeps))
			futex_wake(&t->n_done, 1);
	}
}

static void raise_epoch(struct team *t)
{
	atomic_fetch_add(&t->epoch, 1);
	if (atomic_load(&t->n_sleeping))
		futex_wake(&t->epoch, INT_MAX);
}

int team_create(struct team **out, int n_threads)
{
	*out = NULL;
	if (n_threads < 1 || n_threads > 4096)
		FAIL(VB_EINVAL, "invalid number of threads: %d: use 1 to 4096", n_threads);
	struct team *t = mem_pages(sizeof *t);
	if (!t)
		return VB_ENOMEM;
	t->n_workers = 1;
	t->n_threads = n_threads;
	t->caller_cpu = -1;
	t->workers = mem_pages((size_t)n_threads * sizeof *t->workers);
	if (!t->workers) {
		team_destroy(&t);
		return VB_ENOMEM;
	}
	/* A worker reads n_workers only after the first epoch, when all have been started. */
	for (int i = 1; i < n_threads; i++) {
		struct worker *w = &t->workers[i - 1];
		w->team = t;
		w->index = i;
		w->cpu = -1;
		int e = pthread_create(&w->thread, NULL, worker_main, w);
		if (e) {
			team_destroy(&t);
			FAIL(VB_EDEVICE, "cannot start thread %d of %d: %s: lower --threads", i + 1,
			     n_threads, strerror(e));
		}
		t->n_workers = i + 1;
	}
	*out = t;
	return VB_OK;
}

void team_destroy(struct team **tp)
{
	struct team *t = *tp;
	if (!t)
		return;
	t->stop = true;
	raise_epoch(t);
	for (int i = 0; i < t->n_workers - 1; i++)
		pthread_join(t->workers[i].thread, NULL);
	mem_free_pages(t->workers, (size_t)t->n_threads * sizeof *t->workers);
	mem_free_pages(t, sizeof *t);
	*tp = NULL;
}

int team_size(const struct team *t)
{
	return t ? t->n_workers : 1;
}

void team_run(struct team *t, team_fn *fn, void *context)
{
	if (!t || t->n_workers == 1) {
		fn(context, 0, 1);
		return;
	}
	uint32_t others = 0;
	t->fn = fn;
	t->context = context;
	atomic_store(&t->n_done, 0);
	atomic_store_explicit(&t->caller_cpu, sched_getcpu(), memory_order_relaxed);
	raise_epoch(t);
	uint32_t epoch = atomic_load_explicit(&t->epoch, memory_order_relaxed), done;
	do_share(t, 0);
	for (int i = 1; i < t->n_workers; i++) {
		if (claim(&t->workers[i - 1], epoch))
			do_share(t, i);
		else
			others++;
	}
	while ((done = atomic_load_explicit(&t->n_done, memory_order_acquire)) != others) {
		if (spin_while(&t->n_done, done, worker_is_here, t))
			continue;
		atomic_store(&t->caller_sleeps, 1);
		done = atomic_load(&t->n_done);
		if (done != others)
			futex_wait(&t->n_done, done);
		atomic_store(&t->caller_sleeps, 0);
	}
}

void team_watch(struct team *t, struct team_time *times)
{
	if (t)
		t->times = times;
}

void team_share(int64_t n, int64_t grain, int index, int n_workers, int64_t *begin, int64_t *end)
{
	int64_t units = n / grain;
	int64_t b = units * index / n_workers * grain;
	int64_t e = units * (index + 1) / n_workers * grain;
	*begin = b;
	*end = index == n_workers - 1 ? n : e;
}
