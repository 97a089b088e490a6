/* cpus.c - how many threads: CPUs that may be used, the cores that they belong to, the quota.
 *
 * Two hardware threads of a core share its multipliers and its way to memory, and matrix work leaves neither idle: a second one
 * adds to what every barrier waits for, and to nothing else. So each core gets one thread; which CPU of it runs it is
 * the scheduler's choice.
 */
#include "hw/cpus.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The first allowed CPU of a list such as "0,64" or "0-3,8"; -1 where there is none. */
static int first_allowed(const char *list, const bool allowed[CPUS_MAX])
{
	while (*list >= '0' && *list <= '9') {
		char *end;
		long from = strtol(list, &end, 10), to = from;
		if (*end == '-')
			to = strtol(end + 1, &end, 10);
		for (long i = from; i <= to && i < CPUS_MAX; i++)
			if (allowed[i])
				return (int)i;
		list = *end == ',' ? end + 1 : "";
	}
	return -1;
}

/* The CPUs of a CPU's core. Names: of Linux 5.7 and later, and before. */
static bool read_siblings(const char *root, int cpu, char *line, int size)
{
	static const char *const names[] = { "core_cpus_list", "thread_siblings_list" };
	FILE *f = NULL;
	for (int i = 0; i < 2 && !f; i++) {
		char path[512];
		int n = snprintf(path, sizeof path, "%s/sys/devices/system/cpu/cpu%d/topology/%s", root, cpu, names[i]);
		if (n > 0 && (size_t)n < sizeof path)
			f = fopen(path, "re");
	}
	if (!f)
		return false;
	bool got = fgets(line, size, f) != NULL;
	fclose(f);
	return got;
}

int cpus_cores(const char *root, const bool allowed[CPUS_MAX])
{
	int n = 0;
	for (int cpu = 0; cpu < CPUS_MAX; cpu++) {
		char line[256];
		if (!allowed[cpu])
			continue;
		int first = read_siblings(root, cpu, line, sizeof line) ? first_allowed(line, allowed) : cpu;
		n += first == cpu || first < 0;
	}
	return n;
}

int cpus_threads(const struct cpus *c, char *why, size_t size)
{
	int n = snprintf(why, size, "affinity: %d CPU%s", c->n_cpus, c->n_cpus == 1 ? "" : "s");
	size_t at = n > 0 && (size_t)n < size ? (size_t)n : 0;
	if (c->n_cores < c->n_cpus)
		snprintf(why + at, size - at, ", which are %d core%s", c->n_cores, c->n_cores == 1 ? "" : "s");
	/* Against a sum of roundings, such as that of 0.1 and 0.2. */
	int kept_busy = (int)ceil(c->quota - 1e-6);
	if (c->quota <= 0 || kept_busy >= c->n_cores)
		return c->n_cores;
	snprintf(why, size, "quota: %.4g CPUs", c->quota);
	return kept_busy < 1 ? 1 : kept_busy;
}
