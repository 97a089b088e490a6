/* cgroup.h - what a container lets this process use. */
#ifndef HW_CGROUP_H
#define HW_CGROUP_H

#include <stdint.h>

struct cgroup_limits {
	uint64_t memory; /* bytes; UINT64_MAX: no limit */
	double cpus;     /* CPU time a second; 0: no limit */
};

/* Reads the limits of the groups that /proc/self/cgroup names and of all groups above them, wherever /proc/self/mountinfo says that
 * they are mounted, versions 1 and 2. What cannot be read does not limit. `root` is put before every path: "" for this machine. */
void cgroup_read(const char *root, struct cgroup_limits *out);

#endif
