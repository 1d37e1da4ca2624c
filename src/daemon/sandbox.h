/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sandbox - what the daemon gives up once it is set up.
 */
#ifndef XTCP_DAEMON_SANDBOX_H
#define XTCP_DAEMON_SANDBOX_H

#include <stddef.h>

struct sandbox_setup {
	const char *conf_path; /* is read at a reload */
	const char *state_dir; /* files in these are removed at the end */
	const char *control_path, *attach_path;
	void *arena; /* is left out of core dumps; may be NULL */
	size_t arena_bytes;
};

struct sandbox {
	char text[80]; /* what is in force: "seccomp, landlock, ..." */
};

/*
 * Give up, for this thread and those that it starts: capabilities but
 * CAP_NET_ADMIN, the way back (no_new_privs), files but those that setup needs
 * (where the kernel has Landlock), and system calls but a list (seccomp, for
 * all threads that there are).
 * Call it when all is open and no thread was started; borrows setup until it
 * returns. Returns 0 and sets ret_sandbox; or a negative errno, logged, after
 * which the process is fit for an orderly end alone. Nothing ever comes back.
 */
int sandbox_enter(const struct sandbox_setup *setup,
		  struct sandbox *ret_sandbox);

/*
 * First thing of a thread that was started in the sandbox: give up the last
 * capability, too. It lowers what the thread has, so it does not fail.
 */
void sandbox_enter_thread(void);

/* --- its parts, for sandbox.c and tests ------------------------------- */

/* sandbox_calls.c: load the filter. Returns 0 or a negative errno. */
int sandbox_limit_calls(void);

/*
 * sandbox_fs.c: confine file access to setup's paths.
 * Returns 0; -EOPNOTSUPP: the kernel has no Landlock; or a negative errno.
 */
int sandbox_limit_files(const struct sandbox_setup *setup);

#endif
