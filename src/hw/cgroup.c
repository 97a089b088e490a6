#include "hw/cgroup.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first line of a file; false where there is none. */
static bool read_line(const char *folder, const char *name, char *line, size_t size)
{
	char path[2048];
	int n = snprintf(path, sizeof path, "%s/%s", folder, name);
	if (n < 0 || (size_t)n >= sizeof path)
		return false;
	FILE *f = fopen(path, "re");
	if (!f)
		return false;
	bool got = fgets(line, (int)size, f) != NULL;
	fclose(f);
	return got;
}

static void limit_memory(struct cgroup_limits *l, const char *line)
{
	char *end;
	unsigned long long bytes = strtoull(line, &end, 10); /* "max" is no number and no limit */
	if (end != line && bytes < l->memory)
		l->memory = bytes;
}

static void limit_cpus(struct cgroup_limits *l, double quota, double period)
{
	if (quota > 0 && period > 0 && (l->cpus == 0 || quota / period < l->cpus))
		l->cpus = quota / period;
}

/* The limits that stand in one group's folder, by the names of both versions. */
static void read_group(const char *folder, struct cgroup_limits *l)
{
	char line[128], other[128];
	double quota, period;
	if (read_line(folder, "memory.max", line, sizeof line))
		limit_memory(l, line);
	if (read_line(folder, "memory.limit_in_bytes", line, sizeof line))
		limit_memory(l, line);
	if (read_line(folder, "cpu.max", line, sizeof line) && sscanf(line, "%lf %lf", &quota, &period) == 2)
		limit_cpus(l, quota, period);
	if (read_line(folder, "cpu.cfs_quota_us", line, sizeof line) &&
	    read_line(folder, "cpu.cfs_period_us", other, sizeof other))
		limit_cpus(l, strtod(line, NULL), strtod(other, NULL));
}

/* A group and those above it, up to the file system's root: in a container the path may name folders that only the
 * host sees, and the root is the container's own. */
static void read_path(const char *root, const char *controller, const char *path, struct cgroup_limits *l)
{
	char folder[1600];
	int n = snprintf(folder, sizeof folder, "%s%s%s%s", root, controller[0] ? "/" : "", controller, path);
	if (n < 0 || (size_t)n >= sizeof folder)
		return;
	size_t top = strlen(root) + (controller[0] ? 1 + strlen(controller) : 0);
	for (;;) {
		read_group(folder, l);
		char *slash = strrchr(folder, '/');
		if (!slash || (size_t)(slash - folder) < top)
			return;
		*slash = 0;
	}
}

void cgroup_read(const char *membership, const char *root, struct cgroup_limits *out)
{
	*out = (struct cgroup_limits){ .memory = UINT64_MAX };
	FILE *f = fopen(membership, "re");
	if (!f)
		return;
	char line[1024];
	/* "4:memory:/path" in version 1, where a folder may serve several controllers; "0::/path" in version 2. */
	while (fgets(line, sizeof line, f)) {
		line[strcspn(line, "\n")] = 0;
		char *controller = strchr(line, ':');
		char *path = controller ? strchr(controller + 1, ':') : NULL;
		if (!path)
			continue;
		*path++ = 0;
		read_path(root, controller + 1, path, out);
		read_path(root, controller[1] ? "" : "unified", path, out);
	}
	fclose(f);
}
