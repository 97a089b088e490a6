/* kcheck - proves every kernel that this machine can run: see kcheck.h for what and how.
 *
 * The parent never runs a kernel. Each operation gets a child; when a child dies or stands still, the row that it was
 * on has failed, and a new child goes on from the same case with the other rows.
 */
#define _GNU_SOURCE
#include "kcheck_internal.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/status.h"
#include "hw/hw.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static const char usage[] =
	"usage: kcheck [options]\n"
	"  --op=NAME          this operation only\n"
	"  --row=NAME         this kernel only\n"
	"  --shape=TEXT       this shape only, as --list and failures print it\n"
	"  --class=NAME       normal, zeros, outlier, denormal, cancel or ties\n"
	"  --small            small shapes and normal inputs only: for tools that slow kernels down\n"
	"  --seed=N           of all inputs (1)\n"
	"  --device=NAME      cpu, or cuda: rows of the first GPU (cpu)\n"
	"  --mask=LEVEL       scalar, avx2, avx512 or amx: as on a machine with no more than that\n"
	"  --list             operations, kernels and shapes\n"
	"  --bench            times every kernel that passed\n"
	"  --threads=N        for --bench (1)\n"
	"  --clock=wall|cpu   for --bench: cpu counts this process's time only, for machines that others use too\n"
	"  --json             results as one JSON object on stdout\n"
	"  --watchdog=SECONDS longest computation between two signs of life (30)\n"
	"  --self-test        broken kernels must earn their verdicts\n"
	"exit status: 0 all rows that ran are good, 1 some are not, 2 usage, 77 there is no GPU\n";

/* Of a child whose GPU has failed, in a way that was written into its row's report. */
#define SPOILED 3
/* Of a child that could not open the GPU: another one could not either. */
#define NOT_OPENED 4
#define NO_GPU 77

/* What the signal handler may touch. */
static struct kc_progress *handler_progress;

static void on_fault(int number, siginfo_t *info, void *context)
{
	struct kc_progress *p = handler_progress;
	bool wrote = false;
#if defined(__x86_64__)
	wrote = ((ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & 2;
#else
	(void)context;
#endif
	/* The child is lost anyway, so snprintf's formal unsafety here costs nothing. */
	if (kc_running && (number == SIGSEGV || number == SIGBUS) &&
	    kc_locate(kc_running, info->si_addr, p->fault, sizeof p->fault))
		p->fault_verdict = wrote ? KC_WRITES : KC_READS;
	signal(number, SIG_DFL);
	raise(number);
}

static void catch_faults(struct kc_progress *p)
{
	static const int numbers[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE };
	static _Alignas(16) char stack[65536];
	stack_t alternative = { .ss_sp = stack, .ss_size = sizeof stack };
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	handler_progress = p;
	sigaltstack(&alternative, NULL);
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		sigaction(numbers[i], &action, NULL);
}

static void set_failed_at(const struct kc_op *op, const struct kc_options *o, struct kc_progress *p)
{
	char shape[96];
	op->describe(&op->shapes[p->shape], shape, sizeof shape);
	snprintf(p->rows[p->row].failed_at, sizeof p->rows[p->row].failed_at, "--shape='%s' --class=%s --seed=%llu",
		 shape, kc_class_name((enum kc_class)p->class), (unsigned long long)o->seed);
}

/* Enters the death of a child into the row that it was on. */
static void blame(const struct kc_op *op, const struct kc_options *o, struct kc_progress *p, int status, bool hung)
{
	struct kc_row_report *r = &p->rows[p->row];
	if (hung) {
		r->verdict = KC_HANG;
		snprintf(r->message, sizeof r->message, "no sign of life for %g s (%s)", o->watchdog_s, p->stage);
	} else if (p->fault[0]) {
		r->verdict = p->fault_verdict;
		snprintf(r->message, sizeof r->message, "touched %s (%s)", p->fault, p->stage);
	} else {
		r->verdict = KC_CRASH;
		snprintf(r->message, sizeof r->message, "%s (%s)",
			 WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "ended by itself", p->stage);
	}
	p->fault[0] = '\0';
	set_failed_at(op, o, p);
}

/* What the child was given of the processors, in seconds of all its threads. */
static double cpu_s(pid_t child)
{
	clockid_t clock;
	struct timespec t;
	if (clock_getcpuclockid(child, &clock) != 0 || clock_gettime(clock, &t) != 0)
		return 0;
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Waits for the child; true where it had to be killed for standing still: it computed for that long without a sign of life, or
 * slept for several times as long. The wall's clock alone would blame it for what else the machine does. */
static bool wait_child(pid_t child, struct kc_progress *p, double watchdog_s, int *status)
{
	enum { ASLEEP = 4 };
	uint64_t seen = atomic_load(&p->beats);
	double since = clock_s(), cpu_since = 0;
	for (;;) {
		if (waitpid(child, status, WNOHANG) == child)
			return false;
		uint64_t beats = atomic_load(&p->beats);
		double waited = clock_s() - since;
		if (beats != seen) {
			seen = beats;
			since = clock_s();
			cpu_since = cpu_s(child);
		} else if (waited > watchdog_s && (cpu_s(child) - cpu_since > watchdog_s || waited > ASLEEP * watchdog_s)) {
			kill(child, SIGKILL);
			waitpid(child, status, 0);
			return true;
		}
		usleep(2000);
	}
}

static int check_in_child(const struct kc_op *op, const struct kc_options *o, struct kc_progress *p, int shape, int class)
{
	p->shape = shape;
	p->class = class;
	catch_faults(p);
	if (op->on_gpu && kc_gpu_open() != VB_OK) {
		for (int row = 0; row < op->set->n_rows; row++) {
			p->rows[row].verdict = KC_CRASH;
			snprintf(p->rows[row].message, sizeof p->rows[row].message, "%s", vb_errmsg());
		}
		return NOT_OPENED;
	}
	if (!kc_check_op(op, o, p, shape, class))
		return SPOILED;
	if (op->on_gpu)
		kc_gpu_close();
	return 0;
}

static void check_op(const struct kc_op *op, const struct kc_options *o, struct kc_progress *p)
{
	int shape = 0, class = 0, status;
	for (;;) {
		fflush(NULL);
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0)
			_exit(check_in_child(op, o, p, shape, class));
		bool hung = wait_child(child, p, o->watchdog_s, &status);
		if (!hung && WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == NOT_OPENED))
			return;
		shape = p->shape;
		class = p->class;
		if (hung || !WIFEXITED(status) || WEXITSTATUS(status) != SPOILED)
			blame(op, o, p, status, hung);
	}
}

/* A row that could run and had nothing to do is an error, not an omission; not so where the user narrowed the list. */
static void blame_idle(const struct kc_op *op, const struct kc_options *o, struct kc_progress *p)
{
	for (int i = 0; i < op->set->n_rows; i++) {
		struct kc_row_report *r = &p->rows[i];
		if (o->shape || o->class || o->small || r->verdict != KC_OK || r->n_cases ||
		    registry_missing_isa(op->set->rows[i].needs, o->isa))
			continue;
		r->verdict = KC_REFUSE;
		snprintf(r->message, sizeof r->message, "no shape of the list was accepted: nothing was tested");
	}
}

struct totals {
	int ok, failed, skipped, idle;
	json_t *rows;
};

static void add_json(struct totals *n, const char *op, const char *row, const char *state,
		     const struct kc_row_report *r, const char *skip_reason)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:I}", "op", op, "row", row, "state", state, "cases",
			      (json_int_t)r->n_cases, "refused", (json_int_t)r->n_refused);
	if (r->n_cases)
		json_object_set_new(o, "worst", json_real(r->worst));
	if (r->verdict != KC_OK) {
		json_object_set_new(o, "verdict", json_string(kc_verdict_name(r->verdict)));
		json_object_set_new(o, "message", json_string(r->message));
	}
	if (skip_reason)
		json_object_set_new(o, "reason", json_string(skip_reason));
	json_array_append_new(n->rows, o);
}

static void report_row(const struct kc_op *op, int row, const struct kc_options *o, const struct kc_row_report *r,
		       struct totals *n)
{
	const struct kernel_row *k = &op->set->rows[row];
	const char *missing = registry_missing_isa(k->needs, o->isa);
	/* Idle without blame: the user narrowed the list to what this row refuses, or to a shape that is only timed. */
	bool idle = !missing && r->verdict == KC_OK && !r->n_cases;
	const char *state = missing ? "SKIPPED" : r->verdict != KC_OK ? "FAILED" : idle ? "not tested" : "ok";
	*(missing ? &n->skipped : r->verdict != KC_OK ? &n->failed : idle ? &n->idle : &n->ok) += 1;
	add_json(n, op->name, k->name, state, r, missing);
	if (o->json)
		return;
	printf("%-12s %-11s %-8s", op->name, k->name, state);
	if (missing) {
		printf("%s\n", missing);
	} else if (idle) {
		printf("\n");
	} else if (r->verdict == KC_OK) {
		printf("%4lld cases, %lld refused, worst %.2f of budget", (long long)r->n_cases,
		       (long long)r->n_refused, r->worst);
		printf("%s%s%s\n", r->worst_at[0] ? " (" : "", r->worst_at, r->worst_at[0] ? ")" : "");
	} else {
		printf("%s: %s\n    again: build/kcheck --op=%s --row=%s %s%s%s\n", kc_verdict_name(r->verdict),
		       r->message, op->name, k->name, r->failed_at, o->mask ? " --mask=" : "",
		       o->mask ? o->mask : "");
	}
	fflush(stdout);
}

static struct kc_progress *new_progress(void)
{
	struct kc_progress *p =
		mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	return p;
}

static bool op_wanted(const struct kc_op *op, const struct kc_options *o)
{
	return !o->op || strcmp(o->op, op->name) == 0;
}

static bool row_wanted(const struct kc_op *op, int row, const struct kc_options *o)
{
	return !o->row || strcmp(o->row, op->set->rows[row].name) == 0;
}

/* What was run, and when: results are read long after. */
static json_t *provenance(int argc, char **argv)
{
	char date[32];
	time_t now = time(NULL);
	struct tm utc;
	struct buf command;
	buf_init(&command, 4096);
	for (int i = 0; i < argc; i++)
		(void)buf_printf(&command, "%s%s", i ? " " : "", argv[i]);
	gmtime_r(&now, &utc);
	strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
	json_t *o = json_pack("{s:s, s:s}", "command", command.data ? command.data : "", "date", date);
	buf_fini(&command);
	return o;
}

static void write_all(int to, const char *text)
{
	size_t left = strlen(text);
	while (left) {
		ssize_t n = write(to, text, left);
		if (n <= 0)
			return;
		text += n;
		left -= (size_t)n;
	}
}

/* Times an operation's rows on the GPU, in a child; its results come through a pipe. */
static bool bench_on_gpu(const struct kc_op *op, const struct kc_options *o, const struct kc_progress *p, json_t *results)
{
	int ends[2], status;
	CHECK(pipe(ends) == 0);
	fflush(NULL);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		json_t *own = json_array();
		close(ends[0]);
		int rc = kc_gpu_open();
		if (rc == VB_OK)
			rc = kc_gpu_bench(op, o, p, o->json ? own : NULL);
		if (rc != VB_OK)
			fprintf(stderr, "kcheck: timing %s: %s\n", op->name, vb_errmsg());
		char *text = json_dumps(own, JSON_COMPACT);
		write_all(ends[1], text);
		_exit(rc != VB_OK);
	}
	close(ends[1]);
	FILE *from = fdopen(ends[0], "r");
	CHECK(from);
	json_t *got = json_loadf(from, 0, NULL);
	if (got)
		json_array_extend(results, got);
	json_decref(got);
	fclose(from);
	waitpid(child, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int run_checks(const struct kc_options *o, int argc, char **argv)
{
	struct totals n = { .rows = json_array() };
	json_t *on_gpu = o->gpu ? json_array() : NULL;
	if (o->bench && !o->gpu)
		kc_bench_begin(o);
	for (int i = 0; o->ops[i]; i++) {
		const struct kc_op *op = o->ops[i];
		if (!op_wanted(op, o) || !op->set->n_rows)
			continue;
		struct kc_progress *p = new_progress();
		check_op(op, o, p);
		blame_idle(op, o, p);
		for (int row = 0; row < op->set->n_rows; row++)
			if (row_wanted(op, row, o))
				report_row(op, row, o, &p->rows[row], &n);
		if (o->bench && o->gpu)
			n.failed += !bench_on_gpu(op, o, p, on_gpu);
		else if (o->bench)
			kc_bench(op, o, p);
		munmap(p, sizeof *p);
	}
	json_t *bench = !o->bench ? NULL : o->gpu ? json_pack("{s:s, s:O}", "gpu", o->gpu_name, "results", on_gpu) : kc_bench_end();
	if (o->json) {
		json_t *all = json_pack("{s:i, s:i, s:i, s:i, s:o}", "ok", n.ok, "failed", n.failed, "skipped",
					n.skipped, "not_tested", n.idle, "rows", json_incref(n.rows));
		json_object_set_new(all, "run", provenance(argc, argv));
		if (bench)
			json_object_set(all, "bench", bench);
		char *text = json_dumps(all, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
		puts(text);
		free(text);
		json_decref(all);
	} else {
		printf("%d rows ok, %d failed, %d skipped, %d not tested\n", n.ok, n.failed, n.skipped, n.idle);
	}
	json_decref(bench);
	json_decref(on_gpu);
	json_decref(n.rows);
	return n.failed || (!n.ok && !o->bench);
}

/* Every broken kernel must earn its own verdict, and the good one none. */
static int run_self_test(struct kc_options *o)
{
	const struct kc_op *op = o->gpu ? kc_gpu_selftest_op() : &kc_selftest_op;
	struct kc_progress *p = new_progress();
	int wrong = 0;
	o->watchdog_s = o->gpu ? o->watchdog_s : 2; /* a GPU takes longer to open */
	check_op(op, o, p);
	blame_idle(op, o, p);
	for (int row = 0; row < op->set->n_rows; row++) {
		const struct kc_row_report *r = &p->rows[row];
		enum kc_verdict must = o->gpu ? kc_gpu_selftest_verdict(row) : kc_selftest_verdict(row);
		wrong += r->verdict != must;
		printf("%-16s must be %-12s is %-12s %s%s%s\n", op->set->rows[row].name, kc_verdict_name(must),
		       kc_verdict_name(r->verdict), r->verdict == must ? "" : "WRONG ", r->message[0] ? "- " : "",
		       r->message);
	}
	printf("%d kernels, %d wrong verdicts\n", op->set->n_rows, wrong);
	munmap(p, sizeof *p);
	return wrong != 0;
}

static void list(const struct kc_options *o)
{
	char shape[96];
	for (int i = 0; o->ops[i]; i++) {
		const struct kc_op *op = o->ops[i];
		if (!op_wanted(op, o))
			continue;
		printf("%s\n", op->name);
		for (int r = 0; r < op->set->n_rows; r++) {
			const char *missing = registry_missing_isa(op->set->rows[r].needs, o->isa);
			printf("  kernel %-12s %s\n", op->set->rows[r].name, missing ? missing : "");
		}
		for (int s = 0; s < op->n_shapes; s++) {
			const struct kc_shape *shp = &op->shapes[s];
			op->describe(shp, shape, sizeof shape);
			printf("  shape  %s%s\n", shape,
			       shp->unsupported ? "  (must be refused)" : shp->bench ? "  (bench)" : "");
		}
	}
}

/* The value of --name=VALUE, or of --name VALUE, which moves *i on; else NULL. */
static const char *value_of(char **argv, int *i, const char *name)
{
	size_t n = strlen(name);
	if (strncmp(argv[*i], name, n) != 0)
		return NULL;
	if (argv[*i][n] == '=')
		return argv[*i] + n + 1;
	return argv[*i][n] ? NULL : argv[*i + 1] ? argv[++*i] : NULL;
}

static bool parse_number(const char *text, double max, double *out)
{
	char *end;
	errno = 0;
	*out = strtod(text, &end);
	return *text && !*end && !errno && *out >= 0 && *out <= max;
}

static bool parse_value(char **argv, int *at, struct kc_options *o)
{
	static const char *const names[] = { "--op", "--row", "--shape", "--class", "--mask" };
	const char **const places[] = { &o->op, &o->row, &o->shape, &o->class, &o->mask };
	const char *v;
	double number;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if ((v = value_of(argv, at, names[i])) != NULL) {
			*places[i] = v;
			return true;
		}
	if ((v = value_of(argv, at, "--seed")) != NULL && parse_number(v, 0x1p53, &number)) {
		o->seed = (uint64_t)number;
		return true;
	}
	if ((v = value_of(argv, at, "--threads")) != NULL && parse_number(v, 1024, &number) && number >= 1) {
		o->threads = (int)number;
		return true;
	}
	if ((v = value_of(argv, at, "--clock")) != NULL && (strcmp(v, "cpu") == 0 || strcmp(v, "wall") == 0)) {
		o->cpu_clock = strcmp(v, "cpu") == 0;
		return true;
	}
	if ((v = value_of(argv, at, "--device")) != NULL && (strcmp(v, "cuda") == 0 || strcmp(v, "cpu") == 0)) {
		o->gpu = strcmp(v, "cuda") == 0;
		return true;
	}
	return (v = value_of(argv, at, "--watchdog")) != NULL && parse_number(v, 1e6, &o->watchdog_s);
}

static bool parse_options(int argc, char **argv, struct kc_options *o)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--list") == 0)
			o->list = true;
		else if (strcmp(argv[i], "--json") == 0)
			o->json = true;
		else if (strcmp(argv[i], "--small") == 0)
			o->small = true;
		else if (strcmp(argv[i], "--bench") == 0)
			o->bench = true;
		else if (strcmp(argv[i], "--self-test") == 0)
			o->self_test = true;
		else if (!parse_value(argv, &i, o)) {
			fprintf(stderr, "kcheck: unknown or malformed option: %s\n%s", argv[i], usage);
			return false;
		}
	}
	return true;
}

/* Names that nothing has would make an empty run, which must not look like a good one. */
static bool names_exist(const struct kc_options *o)
{
	bool op = false, row = !o->row, shape = !o->shape, class = !o->class;
	char text[96];
	for (int i = 0; o->ops[i]; i++) {
		if (!op_wanted(o->ops[i], o))
			continue;
		op = true;
		for (int r = 0; r < o->ops[i]->set->n_rows; r++)
			row = row || row_wanted(o->ops[i], r, o);
		for (int s = 0; s < o->ops[i]->n_shapes && !shape; s++) {
			o->ops[i]->describe(&o->ops[i]->shapes[s], text, sizeof text);
			shape = strcmp(text, o->shape) == 0;
		}
	}
	for (int k = 0; k < KC_N_CLASSES && !class; k++)
		class = strcmp(o->class, kc_class_name((enum kc_class)k)) == 0;
	const char *bad = !op ? "--op" : !row ? "--row" : !shape ? "--shape" : !class ? "--class" : NULL;
	if (bad)
		fprintf(stderr, "kcheck: %s names nothing: see --list\n", bad);
	return !bad;
}

int main(int argc, char **argv)
{
	struct kc_options o = { .seed = 1, .watchdog_s = 30, .threads = 1 };
	struct hw_facts facts;
	if (!parse_options(argc, argv, &o))
		return 2;
	o.ops = o.gpu ? kc_gpu_ops() : kc_ops;
	if (o.gpu && !kc_gpu_probe(&o.isa, o.gpu_name)) {
		printf("SKIPPED: %s\n", o.gpu_name);
		return NO_GPU;
	}
	if (o.gpu && !o.json)
		printf("%s\n", o.gpu_name);
	if (!o.gpu && (hw_facts_probe(&facts) != VB_OK || hw_isa_level(o.mask ? o.mask : "auto", facts.isa, &o.isa) != VB_OK)) {
		fprintf(stderr, "kcheck: %s\n", vb_errmsg());
		return 2;
	}
	if (!names_exist(&o))
		return 2;
	if (o.self_test)
		return run_self_test(&o);
	if (o.list)
		list(&o);
	return o.list ? 0 : run_checks(&o, argc, argv);
}
