#include "hw/cgroup.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE 4096 /* of a path, as Linux has it; what is longer is no group's */

/* The first line of a file; false where there is none. */
static bool read_line(const char *folder, const char *name, char *line, size_t size)
{
	char path[4 * LINE];
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

/* A line, without what does not fit into it; false at the end. */
static bool next_line(FILE *f, char *line, size_t size)
{
	if (!fgets(line, (int)size, f))
		return false;
	size_t n = strcspn(line, "\n");
	for (int c = line[n]; c != '\n' && c != EOF;)
		c = fgetc(f);
	line[n] = 0;
	return true;
}

/* A group and those above it, up to where the file system is mounted. */
static void read_path(const char *root, const char *mount, const char *path, struct cgroup_limits *l)
{
	char folder[3 * LINE];
	int n = snprintf(folder, sizeof folder, "%s%s%s", root, mount, path);
	if (n < 0 || (size_t)n >= sizeof folder)
		return;
	size_t top = strlen(root) + strlen(mount);
	for (;;) {
		read_group(folder, l);
		char *slash = strrchr(folder, '/');
		if (!slash || (size_t)(slash - folder) < top)
			return;
		*slash = 0;
	}
}

/* Whether `list` (of names with commas between them) holds one of the n characters at `name`. */
static bool holds(const char *list, const char *name, size_t n)
{
	for (; list; list = strchr(list, ',')) {
		list += *list == ',';
		if (strncmp(list, name, n) == 0 && (list[n] == ',' || !list[n]))
			return true;
	}
	return false;
}

static bool share_a_name(const char *list, const char *other)
{
	for (; *other; other += other[strcspn(other, ",")] == ',' ? strcspn(other, ",") + 1 : strcspn(other, ","))
		if (holds(list, other, strcspn(other, ",")))
			return true;
	return false;
}

/* Where a group's path leads below a mount that shows the tree from `from` on. A container may see a path that only the host
 * knows, and a mount that begins at its own group: then it is the mount itself. */
static const char *below(const char *from, const char *path)
{
	size_t n = strcmp(from, "/") == 0 ? 0 : strlen(from);
	if (strncmp(path, from, n) == 0 && (path[n] == '/' || !path[n]))
		return strcmp(path + n, "/") == 0 ? "" : path + n;
	return "";
}

/* Mount points have blanks and the like as \040. */
static void unescape(char *text)
{
	char *out = text;
	while (*text) {
		if (text[0] == '\\' && strspn(text + 1, "01234567") >= 3) {
			*out++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
			text += 4;
		} else {
			*out++ = *text++;
		}
	}
	*out = 0;
}

/* The groups of this process that a mount shows. Memberships are "4:cpu,cpuacct:/path" in version 1, in any order of names,
 * and "0::/path" in version 2. */
static void read_mount(const char *root, const char *type, const char *options, const char *from, const char *mount,
		       struct cgroup_limits *l)
{
	char line[LINE];
	bool version_2 = strcmp(type, "cgroup2") == 0;
	snprintf(line, sizeof line, "%s/proc/self/cgroup", root);
	FILE *f = fopen(line, "re");
	if (!f)
		return;
	while (next_line(f, line, sizeof line)) {
		char *controllers = strchr(line, ':');
		char *path = controllers ? strchr(controllers + 1, ':') : NULL;
		if (!path)
			continue;
		*path++ = 0;
		controllers++;
		if (version_2 ? !*controllers : share_a_name(options, controllers))
			read_path(root, mount, below(from, path), l);
	}
	fclose(f);
}

void cgroup_read(const char *root, struct cgroup_limits *out)
{
	*out = (struct cgroup_limits){ .memory = UINT64_MAX };
	char line[LINE];
	int n = snprintf(line, sizeof line, "%s/proc/self/mountinfo", root);
	FILE *f = n >= 0 && (size_t)n < sizeof line ? fopen(line, "re") : NULL;
	if (!f)
		return;
	/* "36 35 0:28 ROOT MOUNT-POINT rw,relatime shared:9 - TYPE SOURCE OPTIONS", with any number of words before the dash. */
	while (next_line(f, line, sizeof line)) {
		char *rest = strstr(line, " - "), from[LINE], mount[LINE], type[16], options[LINE];
		if (!rest || sscanf(rest + 3, "%15s %*s %4095s", type, options) != 2 ||
		    (strcmp(type, "cgroup") != 0 && strcmp(type, "cgroup2") != 0) ||
		    sscanf(line, "%*s %*s %*s %4095s %4095s", from, mount) != 2)
			continue;
		unescape(from);
		unescape(mount);
		read_mount(root, type, options, from, mount, out);
	}
	fclose(f);
}
