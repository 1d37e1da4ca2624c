/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sandbox - what the daemon gives up once it is set up.
 *
 * Theory of operation
 *
 * Everything that needs privilege is done at start: the device, its routes and
 * sysctls, the sockets, the arena, capture files. The main thread then goes
 * into the sandbox, and starts the workers from in there, so that no byte of a
 * client or a backend is read outside.
 *
 *	no_new_privs	nothing that is executed could gain a privilege
 *	Landlock	files: sandbox_fs.c
 *	capabilities	all go but CAP_NET_ADMIN, of which only the main
 *			thread keeps a copy
 *	seccomp		system calls: sandbox_calls.c
 *
 * Why CAP_NET_ADMIN stays: the kernel checks a netlink request against the
 * credentials of who opened the socket and of who sends, so an open rtnetlink
 * socket alone is not enough; and routes are changed later: an orderly end
 * removes them, a reload may change addresses. Packets of the device need no
 * capability once it is open. Workers, who parse what comes from outside, drop
 * it. They share memory with the main thread, so for somebody who executes
 * code of his own in a worker that is an obstacle, not a wall.
 *
 * What it is worth to such a person is limited by the filter: no netlink
 * socket but the open one for links and routes, no socket options of the
 * firewall, no ioctl on devices but to turn the TUN's offloads off.
 *
 * What goes with the others: CAP_DAC_OVERRIDE, so a backend's socket and the
 * configuration must be open to the user and the groups that xtcpd runs as,
 * root included; CAP_CHOWN, CAP_SETUID and so on, which were for start.
 *
 * There is no key to change the user: files in the state directory would be
 * that user's, and the next start, as root, would have to trust them. systemd
 * (User=, AmbientCapabilities=) and setpriv(1) start xtcpd as a user of its
 * own from the beginning, with CAP_NET_ADMIN; nothing here needs root.
 *
 * The bounding set can only be emptied with CAP_SETPCAP; without, it stays as
 * the service manager made it. It matters to execve() alone, which is closed.
 *
 * capset() and Landlock concern one thread: sandbox_enter() comes before there
 * are others (the background thread of ThreadSanitizer is left out).
 */
#include "daemon/sandbox.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/log.h"

static const cap_value_t sandbox_kept = CAP_NET_ADMIN;

/* Permitted and effective: the one that is kept, or nothing. */
static int sandbox_set_caps(bool keep)
{
	cap_t caps = cap_init();
	int err = 0;

	if (!caps)
		return -errno;
	if (keep &&
	    (cap_set_flag(caps, CAP_PERMITTED, 1, &sandbox_kept, CAP_SET) < 0 ||
	     cap_set_flag(caps, CAP_EFFECTIVE, 1, &sandbox_kept, CAP_SET) < 0))
		err = -errno;
	if (!err && cap_set_proc(caps) < 0)
		err = -errno;
	cap_free(caps);
	return err;
}

static bool sandbox_has_kept(void)
{
	cap_flag_value_t value = CAP_CLEAR;
	cap_t caps = cap_get_proc();

	if (caps)
		(void)cap_get_flag(caps, sandbox_kept, CAP_PERMITTED, &value);
	cap_free(caps);
	return value == CAP_SET;
}

static int sandbox_drop_bounding(void)
{
	for (cap_value_t c = 0; CAP_IS_SUPPORTED(c); c++)
		if (cap_drop_bound(c) < 0)
			return errno == EPERM ? 0 : -errno;
	return 0;
}

/* Sets ret_kept: is CAP_NET_ADMIN there to be kept? */
static int sandbox_limit_caps(bool *ret_kept)
{
	bool kept = sandbox_has_kept();
	int err = sandbox_drop_bounding();

	if (!err && cap_reset_ambient() < 0)
		err = -errno;
	if (!err)
		err = sandbox_set_caps(kept);
	if (!err)
		*ret_kept = kept;
	return err;
}

/* Landlock, as far as it is there. Sets ret_in_force. */
static int sandbox_try_files(const struct sandbox_setup *setup,
			     bool *ret_in_force)
{
	int err = sandbox_limit_files(setup);

	*ret_in_force = err == 0;
	if (err == -EOPNOTSUPP) {
		log_info("sandbox: no Landlock in this kernel or container: "
			 "access to files is not confined");
		return 0;
	}
	return err;
}

static void sandbox_prepare(const struct sandbox_setup *setup)
{
	if (setup->arena &&
	    madvise(setup->arena, setup->arena_bytes, MADV_DONTDUMP) < 0)
		log_warn("the arena cannot be left out of core dumps: %s",
			 strerror(errno));
	/* Reads the zone now: its file may lie where we shall not look. */
	tzset();
}

int sandbox_enter(const struct sandbox_setup *setup,
		  struct sandbox *ret_sandbox)
{
	bool kept = false, landlock = false;
	const char *what = "no_new_privs";
	int err = 0;

	sandbox_prepare(setup);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		err = -errno;
	if (!err) {
		what = "Landlock";
		err = sandbox_try_files(setup, &landlock);
	}
	if (!err) {
		what = "capabilities";
		err = sandbox_limit_caps(&kept);
	}
	if (!err) {
		what = "seccomp";
		err = sandbox_limit_calls();
	}
	if (err) {
		log_error(
			"sandbox: %s: %s: set \"sandbox = false\" in the configuration "
			"to run without it",
			what, strerror(-err));
		return err;
	}
	snprintf(ret_sandbox->text, sizeof(ret_sandbox->text),
		 "seccomp, %sno_new_privs, caps: %s",
		 landlock ? "landlock, " : "", kept ? "net_admin" : "none");
	return 0;
}

void sandbox_enter_thread(void)
{
	int err = sandbox_set_caps(false);

	/* Less is always granted: it can only be a lack of memory. */
	if (err < 0)
		log_error("sandbox: a thread keeps its capability: %s",
			  strerror(-err));
}
