/* What is read from /proc and /sys: limits of control groups (hw/cgroup.h), cores (hw/cpus.h). Of trees that the tests write. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hw/cgroup.h"
#include "hw/cpus.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char root[64];

/* Writes root/path, making the folders on the way. */
static void write_file(const char *path, const char *text)
{
	char full[512];
	snprintf(full, sizeof full, "%s/%s", root, path);
	for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); p++) {
		*p = 0;
		mkdir(full, 0700);
		*p = '/';
	}
	FILE *f = fopen(full, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* As a machine has them: version 2 alone, and version 1 with a folder a set of controllers. */
#define VERSION_2 "24 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n" \
		  "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define VERSION_1 "31 24 0:27 / /sys/fs/cgroup/systemd rw shared:5 - cgroup cgroup rw,xattr,name=systemd\n" \
		  "32 24 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:6 - cgroup cgroup rw,cpu,cpuacct\n" \
		  "33 24 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"

static struct cgroup_limits limits(const char *mounts, const char *membership)
{
	struct cgroup_limits l;
	write_file("proc/self/mountinfo", mounts);
	write_file("proc/self/cgroup", membership);
	cgroup_read(root, &l);
	return l;
}

static int make_root(void **state)
{
	(void)state;
	strcpy(root, "/tmp/verbatim-cgroup-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static int remove_root(void **state)
{
	(void)state;
	return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void test_nothing_limits(void **state)
{
	(void)state;
	struct cgroup_limits l;
	cgroup_read(root, &l);
	assert_true(l.memory == UINT64_MAX && l.cpus == 0);
	l = limits(VERSION_2, "0::/\n");
	assert_true(l.memory == UINT64_MAX && l.cpus == 0);
	l = limits("", "0::/\n");
	assert_true(l.memory == UINT64_MAX && l.cpus == 0);
	l = limits("nonsense\n36 - cgroup2\n - \n" VERSION_2, "nonsense\n::\n0:\n");
	assert_true(l.memory == UINT64_MAX && l.cpus == 0);
	write_file("sys/fs/cgroup/a/cpu.max", "max 100000\n");
	write_file("sys/fs/cgroup/a/memory.max", "max\n");
	l = limits(VERSION_2, "0::/a\n");
	assert_true(l.memory == UINT64_MAX && l.cpus == 0);
	write_file("sys/fs/cgroup/a/cpu.max", "\n");
	write_file("sys/fs/cgroup/a/memory.max", "");
	l = limits(VERSION_2, "0::/a\n");
	assert_true(l.memory == UINT64_MAX && l.cpus == 0);
}

/* The least of a group's own and of those above it. */
static void test_version_2_and_its_parents(void **state)
{
	(void)state;
	write_file("sys/fs/cgroup/a/b/memory.max", "max\n");
	write_file("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
	write_file("sys/fs/cgroup/a/memory.max", "1073741824\n");
	write_file("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
	struct cgroup_limits l = limits(VERSION_2, "0::/a/b\n");
	assert_true(l.memory == 1073741824u && l.cpus == 1.5);
	write_file("sys/fs/cgroup/a/b/cpu.max", "50000 100000\n");
	assert_true(limits(VERSION_2, "0::/a/b\n").cpus == 0.5);
	write_file("sys/fs/cgroup/a/b/cpu.max", "800000 100000\n");
	assert_true(limits(VERSION_2, "0::/a/b\n").cpus == 1.5);
	assert_true(limits(VERSION_2, "0::/\n").cpus == 0);
	assert_true(limits(VERSION_2, "0::/ab\n").cpus == 0);
}

static void test_version_1(void **state)
{
	(void)state;
	write_file("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "5000000\n");
	write_file("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	write_file("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "50000\n");
	write_file("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
	write_file("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
	write_file("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
	struct cgroup_limits l = limits(VERSION_1, "4:memory:/x\n2:cpu,cpuacct:/x\n1:name=systemd:/\nnonsense\n");
	assert_true(l.memory == 5000000u && l.cpus == 0.5);
	/* Some systems name the controllers in another order than the folder. */
	assert_true(limits(VERSION_1, "2:cpuacct,cpu:/x\n").cpus == 0.5);
	assert_true(limits(VERSION_1, "2:cpuset:/x\n").cpus == 0);
	/* Both at once: version 1 for memory, version 2 for the rest. */
	write_file("sys/fs/cgroup/unified/y/cpu.max", "300000 100000\n");
	l = limits(VERSION_1 "34 24 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", "4:memory:/x\n0::/y\n");
	assert_true(l.memory == 5000000u && l.cpus == 3);
}

static void test_mounted_elsewhere(void **state)
{
	(void)state;
	write_file("mnt/c groups/a/cpu.max", "250000 100000\n");
	assert_true(limits("30 24 0:26 / /mnt/c\\040groups rw - cgroup2 none rw\n", "0::/a\n").cpus == 2.5);
	/* Behind a line that is longer than any path. */
	static char long_line[20000];
	memset(long_line, 'x', sizeof long_line - 1);
	memcpy(long_line + sizeof long_line - sizeof "\n30 24 0:26 / /mnt/c\\040groups rw - cgroup2 none rw\n",
	       "\n30 24 0:26 / /mnt/c\\040groups rw - cgroup2 none rw\n",
	       sizeof "\n30 24 0:26 / /mnt/c\\040groups rw - cgroup2 none rw\n");
	assert_true(limits(long_line, "0::/a\n").cpus == 2.5);
}

/* In a container without a namespace of its own the membership is the host's path, and the mount begins somewhere below the
 * host's root. */
static void test_containers(void **state)
{
	(void)state;
	const char *mounts = "30 24 0:26 /docker/7f /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
	write_file("sys/fs/cgroup/cpu.max", "400000 100000\n");
	write_file("sys/fs/cgroup/sub/cpu.max", "200000 100000\n");
	assert_true(limits(mounts, "0::/docker/7f\n").cpus == 4);
	assert_true(limits(mounts, "0::/docker/7f/sub\n").cpus == 2);
	assert_true(limits(mounts, "0::/docker/7f/other\n").cpus == 4);
	/* Not below the mount: what the mount itself says is all that there is. */
	assert_true(limits(mounts, "0::/docker/7fff/sub\n").cpus == 4);
	assert_true(limits(mounts, "0::/\n").cpus == 4);
	/* With a namespace, seen from outside of it. */
	assert_true(limits(VERSION_2, "0::/../other\n").cpus == 4);
}

/* ---- Cores and threads ---- */

static void write_siblings(int cpu, const char *name, const char *list)
{
	char path[128];
	snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/topology/%s", cpu, name);
	write_file(path, list);
}

static void test_cores(void **state)
{
	(void)state;
	static bool allowed[CPUS_MAX];
	memset(allowed, 0, sizeof allowed);
	/* Nothing can be read. */
	for (int i = 0; i < 6; i++)
		allowed[i] = true;
	assert_int_equal(cpus_cores(root, allowed), 6);
	/* Two threads a core, numbered as servers do, and a core of one. */
	static const char *const lists[] = { "0,3\n", "1,4\n", "2,5\n", "0,3\n", "1,4\n", "2,5\n", "6\n" };
	for (int i = 0; i < 7; i++)
		write_siblings(i, "thread_siblings_list", lists[i]);
	assert_int_equal(cpus_cores(root, allowed), 3);
	allowed[6] = true;
	assert_int_equal(cpus_cores(root, allowed), 4);
	/* The newer name goes first; neighbours, as desktops number them. */
	for (int i = 0; i < 6; i++)
		write_siblings(i, "core_cpus_list", i < 4 ? "0-3\n" : "4-5,7\n");
	assert_int_equal(cpus_cores(root, allowed), 3);
	/* A core of which the first CPU may not be used. */
	allowed[0] = allowed[1] = false;
	assert_int_equal(cpus_cores(root, allowed), 3);
	/* CPUs beyond what a mask of 1,024 has; nonsense. */
	memset(allowed, 0, sizeof allowed);
	allowed[2047] = allowed[5000] = allowed[CPUS_MAX - 1] = true;
	write_siblings(2047, "core_cpus_list", "2047,5000\n");
	write_siblings(5000, "core_cpus_list", "2047,5000\n");
	write_siblings(CPUS_MAX - 1, "core_cpus_list", "-1--2,x\n");
	assert_int_equal(cpus_cores(root, allowed), 2);
}

static void test_threads(void **state)
{
	(void)state;
	static const struct {
		struct cpus cpus;
		int threads;
		const char *why;
	} cases[] = {
		{ { 1, 1, 0 }, 1, "affinity: 1 CPU" },
		{ { 2, 2, 0 }, 2, "affinity: 2 CPUs" },
		{ { 16, 8, 0 }, 8, "affinity: 16 CPUs, which are 8 cores" },
		{ { 2, 1, 0 }, 1, "affinity: 2 CPUs, which are 1 core" },
		{ { 8, 8, 1.5 }, 2, "quota: 1.5 CPUs" },
		{ { 8, 8, 2 }, 2, "quota: 2 CPUs" },
		{ { 8, 8, 0.1 + 0.2 + 1.7 }, 2, "quota: 2 CPUs" },
		{ { 8, 8, 0.05 }, 1, "quota: 0.05 CPUs" },
		{ { 8, 8, 8 }, 8, "affinity: 8 CPUs" },
		{ { 8, 8, 64 }, 8, "affinity: 8 CPUs" },
		{ { 16, 8, 12 }, 8, "affinity: 16 CPUs, which are 8 cores" },
		{ { 16, 8, 6.25 }, 7, "quota: 6.25 CPUs" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char why[128];
		assert_int_equal(cpus_threads(&cases[i].cpus, why, sizeof why), cases[i].threads);
		assert_string_equal(why, cases[i].why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing_limits, make_root, remove_root),
		cmocka_unit_test_setup_teardown(test_version_2_and_its_parents, make_root, remove_root),
		cmocka_unit_test_setup_teardown(test_version_1, make_root, remove_root),
		cmocka_unit_test_setup_teardown(test_mounted_elsewhere, make_root, remove_root),
		cmocka_unit_test_setup_teardown(test_containers, make_root, remove_root),
		cmocka_unit_test_setup_teardown(test_cores, make_root, remove_root),
		cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
