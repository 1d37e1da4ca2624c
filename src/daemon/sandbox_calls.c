/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sandbox_calls - which system calls can be made from the sandbox.
 *
 * Theory of operation
 *
 * Three kinds:
 *
 *	allowed		what xtcpd, libc, libevent, libmnl and libsystemd do
 *			after set-up; with conditions on arguments where
 *			they mean something
 *	fatal		what none of them would ever do, but somebody who
 *			executes code of his own: the process is killed, with
 *			a line in the kernel's log. The service manager starts
 *			the next one, which finds the connections in the arena
 *	all others	fail with ENOSYS, with a line in the kernel's log: to
 *			a library this is an older kernel, for which it has
 *			another way. So an upgrade of libc or libevent that
 *			tries a new call costs a line, not the service
 *
 * Killing for everything else would turn such an upgrade into a crash loop,
 * and EPERM into failures: libraries fall back after ENOSYS.
 *
 * Conditions compare numbers, never what a pointer points to. A condition that
 * does not hold means "all others". clone3() has its flags in memory, so libc
 * has to take clone(); as it tries clone3() for each thread, that alone fails
 * without a line. Whether there is one is a property of a filter, so there are
 * two, and of two refusals the stricter counts: the first refuses clone3() and
 * nothing else, the second would let it through.
 *
 * openat() cannot create or truncate; which files it reaches is Landlock's
 * business (sandbox_fs.c). mmap() and mprotect() never again make memory
 * executable. bind(), listen() and netlink sockets are of the set-up.
 *
 * With a sanitizer's run-time library in the program, what its leak check
 * needs at the end is allowed, too; that is found out at run time.
 *
 * I1: a call in sandbox_fatal[] is in no other table.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "daemon/sandbox.h"

#define SANDBOX_SOCK_TYPE 0xf /* without SOCK_CLOEXEC and SOCK_NONBLOCK */

/* clang-format off */
static const char *const sandbox_allowed[] = {
	/* descriptors: packets, streams, files; the first are the frequent */
	"read", "writev", "epoll_wait", "sendmsg", "readv", "write", "recvmsg",
	"recvfrom", "sendto", "epoll_pwait", "epoll_ctl", "close", "lseek",
	"_llseek", "poll", "ppoll", "shutdown", "accept4", "connect",
	"getsockname", "getpeername", "getsockopt", "epoll_create1",
	"timerfd_create", "timerfd_settime", "flock",
	/* going to the background */
	"dup2", "dup3",
	/* files: a reload, and the end */
	"fstat", "fstat64", "newfstatat", "fstatat64", "stat", "lstat",
	"statx", "access", "faccessat", "faccessat2", "readlink",
	"readlinkat", "getdents64", "unlink", "unlinkat",
	/* long lines for the journal */
	"memfd_create",
	/* memory */
	"munmap", "mremap", "madvise", "brk",
	/* threads and their ends */
	"futex", "set_robust_list", "rseq", "gettid", "sched_yield",
	"sched_getaffinity", "exit", "exit_group", "restart_syscall",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack",
	/* time, chance, who we are */
	"clock_gettime", "clock_gettime64", "clock_nanosleep",
	"clock_nanosleep_time64", "nanosleep", "gettimeofday", "time",
	"getrandom", "getpid", "getppid", "getuid", "geteuid", "getgid",
	"getegid", "uname", "sysinfo",
	/* a new thread's last capability; neither gives any */
	"capget", "capset",
};
/* clang-format on */

/* Refused by a filter of their own. */
static const char *const sandbox_quiet[] = { "clone3" };

struct sandbox_call {
	const char *name;
	unsigned int n;
	struct scmp_arg_cmp when[2];
};

#define WHEN(arg, value)                   \
	{                                  \
		arg, SCMP_CMP_EQ, value, 0 \
	}
#define WHEN_MASKED(arg, mask, value)                \
	{                                            \
		arg, SCMP_CMP_MASKED_EQ, mask, value \
	}
#define NO_FLAGS(arg, flags) WHEN_MASKED(arg, flags, 0)

static const struct sandbox_call sandbox_conditional[] = {
	{ "socket", 1, { WHEN(0, AF_UNIX) } },
	{ "socket",
	  2,
	  { WHEN(0, AF_INET),
	    WHEN_MASKED(1, SANDBOX_SOCK_TYPE, SOCK_STREAM) } },
	{ "socket",
	  2,
	  { WHEN(0, AF_INET6),
	    WHEN_MASKED(1, SANDBOX_SOCK_TYPE, SOCK_STREAM) } },
	{ "setsockopt", 2, { WHEN(1, IPPROTO_TCP), WHEN(2, TCP_NODELAY) } },
	{ "setsockopt", 2, { WHEN(1, SOL_SOCKET), WHEN(2, SO_KEEPALIVE) } },
	/* plain_link.c ends with a RST */
	{ "setsockopt", 2, { WHEN(1, SOL_SOCKET), WHEN(2, SO_LINGER) } },
	{ "setsockopt", 2, { WHEN(1, SOL_SOCKET), WHEN(2, SO_SNDBUF) } },
	{ "setsockopt", 2, { WHEN(1, SOL_SOCKET), WHEN(2, SO_RCVBUF) } },
	{ "setsockopt", 2, { WHEN(1, SOL_SOCKET), WHEN(2, SO_SNDBUFFORCE) } },
	{ "openat",
	  1,
	  { NO_FLAGS(2, O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY)) } },
	{ "mmap", 1, { NO_FLAGS(2, PROT_EXEC) } },
	{ "mmap2", 1, { NO_FLAGS(2, PROT_EXEC) } },
	{ "mprotect", 1, { NO_FLAGS(2, PROT_EXEC) } },
	{ "ioctl", 1, { WHEN(1, FIONREAD) } },
	{ "ioctl", 1, { WHEN(1, TUNSETOFFLOAD) } }, /* given back without */
	{ "ioctl", 1, { WHEN(1, TCGETS) } }, /* isatty(): libconfuse's scanner */
	/* the end; there is no program but none, as bpf() is fatal */
	{ "ioctl", 1, { WHEN(1, TUNSETSTEERINGEBPF) } },
	{ "fcntl", 1, { WHEN(1, F_GETFD) } },
	{ "fcntl", 1, { WHEN(1, F_SETFD) } },
	{ "fcntl", 1, { WHEN(1, F_GETFL) } },
	{ "fcntl", 1, { WHEN(1, F_SETFL) } },
	{ "fcntl", 1, { WHEN(1, F_DUPFD_CLOEXEC) } },
	{ "fcntl", 1, { WHEN(1, F_ADD_SEALS) } },
	{ "fcntl", 1, { WHEN(1, F_GET_SEALS) } },
	{ "clone", 1, { WHEN_MASKED(0, CLONE_THREAD, CLONE_THREAD) } },
	{ "prctl", 1, { WHEN(0, PR_SET_NAME) } },
	{ "prctl", 1, { WHEN(0, PR_CAPBSET_READ) } },
	/* getrlimit(): reads our own */
	{ "prlimit64", 2, { WHEN(0, 0), WHEN(2, 0) } },
};

/* clang-format off */
static const char *const sandbox_fatal[] = {
	"execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv",
	"process_vm_writev", "pidfd_getfd", "kcmp", "mount", "umount2",
	"pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "setns",
	"unshare", "init_module", "finit_module", "delete_module",
	"kexec_load", "kexec_file_load", "reboot", "bpf", "perf_event_open",
	"io_uring_setup", "io_uring_enter", "io_uring_register",
	"userfaultfd", "add_key", "request_key", "keyctl",
	"open_by_handle_at", "iopl", "ioperm", "setuid", "setgid",
	"setreuid", "setregid", "setresuid", "setresgid", "setgroups",
	"setfsuid", "setfsgid", "mknod", "mknodat",
};

/* What the leak check of LeakSanitizer does, and others before they die. */
static const char *const sandbox_sanitizer[] = {
	"clone", "ptrace", "wait4", "prctl", "kill", "dup", "pipe",
	"sched_setaffinity", "getrlimit", "mprotect", "mmap", "ioctl",
	"getrusage", "personality", "open", "openat",
	"getdents", "waitid",
};
/* clang-format on */

/* A sanitizer's library defines it. */
__attribute__((weak)) extern void __sanitizer_print_stack_trace(void);

static bool sandbox_has_sanitizer(void)
{
	return __sanitizer_print_stack_trace != NULL;
}

/* Every table may name calls that this kind of machine does not have. */
static int sandbox_rule(scmp_filter_ctx ctx, uint32_t action,
			const struct sandbox_call *call)
{
	int nr = seccomp_syscall_resolve_name(call->name), err;

	if (nr == __NR_SCMP_ERROR)
		return 0;
	err = seccomp_rule_add_array(ctx, action, nr, call->n, call->when);
	/* a socket() of an old machine is a number of socketcall() */
	return err == -EDOM ? 0 : err;
}

static int sandbox_rules(scmp_filter_ctx ctx, uint32_t action,
			 const char *const *names, size_t n)
{
	int err = 0;

	for (size_t i = 0; !err && i < n; i++) {
		const struct sandbox_call call = { .name = names[i] };

		err = sandbox_rule(ctx, action, &call);
	}
	return err;
}

static bool sandbox_is_sanitizers(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(sandbox_sanitizer); i++)
		if (strcmp(sandbox_sanitizer[i], name) == 0)
			return true;
	return false;
}

static int sandbox_add_conditional(scmp_filter_ctx ctx)
{
	/* abort() signals itself */
	const struct sandbox_call tgkill = {
		"tgkill", 1, { WHEN(0, (scmp_datum_t)getpid()) }
	};
	int err = sandbox_rule(ctx, SCMP_ACT_ALLOW, &tgkill);

	for (size_t i = 0; !err && i < ARRAY_SIZE(sandbox_conditional); i++)
		err = sandbox_rule(ctx, SCMP_ACT_ALLOW,
				   &sandbox_conditional[i]);
	return err;
}

static int sandbox_add_fatal(scmp_filter_ctx ctx, bool sanitizer)
{
	int err = 0;

	for (size_t i = 0; !err && i < ARRAY_SIZE(sandbox_fatal); i++)
		if (!sanitizer || !sandbox_is_sanitizers(sandbox_fatal[i]))
			err = sandbox_rules(ctx, SCMP_ACT_KILL_PROCESS,
					    &sandbox_fatal[i], 1);
	return err;
}

static int sandbox_set_attributes(scmp_filter_ctx ctx, bool log)
{
	const struct {
		enum scmp_filter_attr attr;
		uint32_t value;
	} attributes[] = {
		{ SCMP_FLTATR_CTL_NNP, 1 },
		{ SCMP_FLTATR_CTL_TSYNC,
		  1 }, /* all threads, if there are any */
		{ SCMP_FLTATR_CTL_LOG, log },
		{ SCMP_FLTATR_CTL_OPTIMIZE, 2 }, /* a tree, not a chain */
		{ SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS },
	};
	int err = 0;

	for (size_t i = 0; !err && i < ARRAY_SIZE(attributes); i++)
		err = seccomp_attr_set(ctx, attributes[i].attr,
				       attributes[i].value);
	return err;
}

/* The first filter: these fail, and nobody needs to hear of it. */
static int sandbox_load_quiet(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int err;

	if (!ctx)
		return -ENOMEM;
	err = sandbox_set_attributes(ctx, false);
	if (!err)
		err = sandbox_rules(ctx, SCMP_ACT_ERRNO(ENOSYS), sandbox_quiet,
				    ARRAY_SIZE(sandbox_quiet));
	if (!err)
		err = seccomp_load(ctx);
	seccomp_release(ctx);
	return err;
}

static int sandbox_load(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
	bool sanitizer = sandbox_has_sanitizer();
	int err;

	if (!ctx)
		return -ENOMEM;
	err = sandbox_set_attributes(ctx, true);
	if (!err)
		err = sandbox_add_fatal(ctx, sanitizer);
	if (!err)
		err = sandbox_rules(ctx, SCMP_ACT_ALLOW, sandbox_allowed,
				    ARRAY_SIZE(sandbox_allowed));
	if (!err)
		err = sandbox_rules(ctx, SCMP_ACT_ALLOW, sandbox_quiet,
				    ARRAY_SIZE(sandbox_quiet));
	if (!err)
		err = sandbox_add_conditional(ctx);
	if (!err && sanitizer)
		err = sandbox_rules(ctx, SCMP_ACT_ALLOW, sandbox_sanitizer,
				    ARRAY_SIZE(sandbox_sanitizer));
	if (!err)
		err = seccomp_load(ctx);
	seccomp_release(ctx);
	return err;
}

int sandbox_limit_calls(void)
{
	int err = sandbox_load_quiet();

	return err ? err : sandbox_load();
}
