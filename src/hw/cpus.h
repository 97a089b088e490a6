/* cpus.h - how many threads a process is to start. */
#ifndef HW_CPUS_H
#define HW_CPUS_H

#include <stdbool.h>
#include <stddef.h>

/* More than Linux supports. */
#define CPUS_MAX 16384

struct cpus {
	int n_cpus;   /* that the affinity mask allows */
	int n_cores;  /* that these belong to: fewer, where two of them are threads of one core */
	double quota; /* CPU time a second; 0: no limit */
};

/* How many cores the allowed CPUs belong to, by /sys/devices/system/cpu: `root` is put before the path. A CPU of which nothing can
 * be read is a core. */
int cpus_cores(const char *root, const bool allowed[CPUS_MAX]);

/* One thread for each core, and no more than the quota keeps busy (a part of a CPU is kept busy by a thread too). `why` says what decided. */
int cpus_threads(const struct cpus *c, char *why, size_t size);

#endif
