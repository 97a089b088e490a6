/* cgroup.h - what a container lets this process use. */
#ifndef HW_CGROUP_H
#define HW_CGROUP_H

#include <stdint.h>

struct cgroup_limits {
	uint64_t memory; /* bytes; UINT64_MAX: no limit */
	double cpus;     /* CPU time a second; 0: no limit */
};

/* Reads the limits of the groups that `membership` ("/proc/self/cgroup") names and of all groups above them, in the file
 * systems under `root` ("/sys/fs/cgroup"), versions 1 and 2. What cannot be read does not limit. */
void cgroup_read(const char *membership, const char *root, struct cgroup_limits *out);

#endif
