#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hw/cgroup.h"

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

static struct cgroup_limits limits(const char *membership)
{
	char path[128];
	struct cgroup_limits l;
	write_file("membership", membership);
	snprintf(path, sizeof path, "%s/membership", root);
	cgroup_read(path, root, &l);
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
	struct cgroup_limits l = limits("0::/\n");
	assert_true(l.memory == UINT64_MAX && l.cpus == 0);
	cgroup_read("/nonexistent", "/nonexistent", &l);
	assert_true(l.memory == UINT64_MAX && l.cpus == 0);
}

static void test_version_2_and_its_parents(void **state)
{
	(void)state;
	write_file("a/b/memory.max", "max\n");
	write_file("a/b/cpu.max", "max 100000\n");
	write_file("a/memory.max", "1073741824\n");
	write_file("a/cpu.max", "150000 100000\n");
	struct cgroup_limits l = limits("0::/a/b\n");
	assert_true(l.memory == 1073741824u && l.cpus == 1.5);
	/* In a container the path is the host's: the root is ours. */
	write_file("memory.max", "2000000\n");
	l = limits("0::/host/only\n");
	assert_true(l.memory == 2000000u && l.cpus == 0);
}

static void test_version_1(void **state)
{
	(void)state;
	write_file("memory/x/memory.limit_in_bytes", "5000000\n");
	write_file("memory/memory.limit_in_bytes", "9223372036854771712\n");
	write_file("cpu,cpuacct/x/cpu.cfs_quota_us", "50000\n");
	write_file("cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
	write_file("cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
	write_file("cpu,cpuacct/cpu.cfs_period_us", "100000\n");
	struct cgroup_limits l = limits("4:memory:/x\n2:cpu,cpuacct:/x\n1:name=systemd:/\nnonsense\n");
	assert_true(l.memory == 5000000u && l.cpus == 0.5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing_limits, make_root, remove_root),
		cmocka_unit_test_setup_teardown(test_version_2_and_its_parents, make_root, remove_root),
		cmocka_unit_test_setup_teardown(test_version_1, make_root, remove_root),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
