/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sandbox_fs - which files can be reached from the sandbox, with Landlock.
 *
 * What is open stays so. Of what is opened later: a reload reads the
 * configuration, which may be a new file in the place of the old one, so its
 * directory can be read; it looks up groups, and counts processors; new
 * addresses may set sysctls of the device. The end removes sockets and arena.
 * Connecting to a backend's socket is not Landlock's business.
 *
 * A rule belongs to an inode, and procfs and sysfs make a new one when the old
 * was dropped from the cache: so the descriptors of the rules stay open for the
 * life of the process, which pins them.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bytes.h"
#include "daemon/sandbox.h"

#define SANDBOX_READ LANDLOCK_ACCESS_FS_READ_FILE
#define SANDBOX_LIST LANDLOCK_ACCESS_FS_READ_DIR
#define SANDBOX_WRITE LANDLOCK_ACCESS_FS_WRITE_FILE
#define SANDBOX_REMOVE LANDLOCK_ACCESS_FS_REMOVE_FILE
/* What older headers do not name: ABI 3 and 5. */
#define SANDBOX_TRUNCATE (UINT64_C(1) << 14)
#define SANDBOX_IOCTL_DEV (UINT64_C(1) << 15)

struct sandbox_place {
	const char *path;
	uint64_t access;
};

static const struct sandbox_place sandbox_places[] = {
	{ "/dev/null", SANDBOX_READ | SANDBOX_WRITE },
	{ "/etc", SANDBOX_READ }, /* groups by name */
	{ "/run/systemd/userdb", SANDBOX_LIST }, /* nss-systemd */
	{ "/proc/self", SANDBOX_READ | SANDBOX_LIST },
	{ "/proc/sys/vm/overcommit_memory", SANDBOX_READ }, /* malloc */
	{ "/proc/sys/net", SANDBOX_READ },
	{ "/proc/sys/net/ipv4/conf", SANDBOX_READ | SANDBOX_WRITE },
	{ "/proc/sys/net/ipv6/conf", SANDBOX_READ | SANDBOX_WRITE },
	{ "/sys/devices/system/cpu", SANDBOX_READ | SANDBOX_LIST },
};

/* All that this kernel can refuse. */
static uint64_t sandbox_handled(long abi)
{
	uint64_t access = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1; /* ABI 1 */

	if (abi >= 2)
		access |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		access |= SANDBOX_TRUNCATE;
	if (abi >= 5)
		access |= SANDBOX_IOCTL_DEV;
	return access;
}

/* What is not there needs no rule. */
static int sandbox_allow(int rules, const char *path, uint64_t access)
{
	struct landlock_path_beneath_attr beneath = { .allowed_access =
							      access };
	int fd = open(path, O_PATH | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT || errno == EACCES ? 0 : -errno;
	beneath.parent_fd = fd; /* stays open */
	if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH,
		    &beneath, 0) < 0)
		return -errno;
	return 0;
}

/* The directory that path is in. */
static int sandbox_allow_around(int rules, const char *path, uint64_t access)
{
	char dir[4096];
	const char *slash = strrchr(path, '/');

	if (!slash || (size_t)(slash - path) >= sizeof(dir))
		return -EINVAL;
	snprintf(dir, sizeof(dir), "%.*s/", (int)(slash - path), path);
	return sandbox_allow(rules, dir, access);
}

static int sandbox_add_rules(int rules, const struct sandbox_setup *setup)
{
	int err = 0;

	for (size_t i = 0; !err && i < ARRAY_SIZE(sandbox_places); i++)
		err = sandbox_allow(rules, sandbox_places[i].path,
				    sandbox_places[i].access);
	if (!err)
		err = sandbox_allow_around(rules, setup->conf_path,
					   SANDBOX_READ);
	if (!err)
		err = sandbox_allow(rules, setup->state_dir, SANDBOX_REMOVE);
	if (!err)
		err = sandbox_allow_around(rules, setup->control_path,
					   SANDBOX_REMOVE);
	if (!err)
		err = sandbox_allow_around(rules, setup->attach_path,
					   SANDBOX_REMOVE);
	return err;
}

int sandbox_limit_files(const struct sandbox_setup *setup)
{
	struct landlock_ruleset_attr attr;
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0,
			   LANDLOCK_CREATE_RULESET_VERSION);
	int rules, err;

	/* turned off; or a container's filter that is older than Landlock */
	if (abi < 0)
		return errno == ENOSYS || errno == EPERM ? -EOPNOTSUPP : -errno;
	memset(&attr, 0, sizeof(attr));
	attr.handled_access_fs = sandbox_handled(abi);
	rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr),
			     0);
	if (rules < 0)
		return -errno;
	err = sandbox_add_rules(rules, setup);
	if (!err && syscall(SYS_landlock_restrict_self, rules, 0) < 0)
		err = -errno;
	close(rules);
	return err;
}
