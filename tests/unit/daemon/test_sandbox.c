/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What can and cannot be done in the sandbox: each probe is one call, made in
 * a process of its own that went into it.
 */
#include "base/bytes.h"
#include "daemon/sandbox.h"
#include "unit/daemon/scratch.h"
#include "unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/capability.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

/* As in sandbox_calls.c: with a sanitizer some calls are let through. */
__attribute__((weak)) extern void __sanitizer_print_stack_trace(void);

static bool has_sanitizer(void)
{
	return __sanitizer_print_stack_trace != NULL;
}

/* A place like the daemon's: etc, state, run and other in the scratch. */
static const char *at(const char *name)
{
	return scratch_path(name);
}

static void setup(void)
{
	static const char *const dirs[] = { "etc", "state", "run", "other" };
	static const char *const files[] = { "etc/xtcpd.conf", "state/arena",
					     "run/control.sock",
					     "run/attach.sock", "other/file" };

	scratch_setup();
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		ck_assert_int_eq(mkdir(at(dirs[i]), 0700), 0);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		scratch_write(files[i], "x", 1);
}

static int enter(struct sandbox *ret_sandbox)
{
	char conf[128], state[128], control[128], attach[128];
	const struct sandbox_setup s = {
		.conf_path = conf,
		.state_dir = state,
		.control_path = control,
		.attach_path = attach,
	};

	strcpy(conf, at("etc/xtcpd.conf"));
	strcpy(state, at("state"));
	strcpy(control, at("run/control.sock"));
	strcpy(attach, at("run/attach.sock"));
	return sandbox_enter(&s, ret_sandbox);
}

/* --- probes ------------------------------------------------------------ */

/*
 * What a probe's process ended with: 0 after success, the errno after a
 * failure, minus the signal that killed it.
 */
static int outcome(bool (*probe)(void))
{
	struct sandbox sandbox;
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		if (enter(&sandbox) < 0)
			_exit(255);
		errno = 0;
		_exit(probe() ? 0 : errno ? errno : 254);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

struct probe {
	const char *what;
	bool (*run)(void);
	int want;
	bool sanitizers_may; /* holds without a sanitizer alone */
};

static void check_probes(const struct probe *probes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int got;

		if (probes[i].sanitizers_may && has_sanitizer())
			continue;
		got = outcome(probes[i].run);
		ck_assert_msg(got == probes[i].want, "%s: %d, wanted %d",
			      probes[i].what, got, probes[i].want);
	}
}

#define PROBE(name, expression)      \
	static bool name(void)       \
	{                            \
		return (expression); \
	}                            \
	_Static_assert(1, "")

/* --- refused ----------------------------------------------------------- */

PROBE(p_netlink, socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE) >= 0);
PROBE(p_netfilter, socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER) >= 0);
PROBE(p_packet, socket(AF_PACKET, SOCK_RAW, 0) >= 0);
PROBE(p_raw, socket(AF_INET, SOCK_RAW, IPPROTO_TCP) >= 0);
PROBE(p_udp, socket(AF_INET6, SOCK_DGRAM, 0) >= 0);
PROBE(p_socketpair, socketpair(AF_UNIX, SOCK_STREAM, 0, (int[2]){ 0 }) == 0);
PROBE(p_bind, bind(0, NULL, 0) == 0);
PROBE(p_listen, listen(0, 1) == 0);
PROBE(p_iptables,
      setsockopt(socket(AF_INET, SOCK_STREAM, 0), IPPROTO_IP, 64, "", 1) == 0);
PROBE(p_filter, setsockopt(socket(AF_INET, SOCK_STREAM, 0), SOL_SOCKET,
			   SO_ATTACH_FILTER, "", 1) == 0);
PROBE(p_tun, ioctl(0, TUNSETIFF, NULL) == 0);
PROBE(p_interface,
      ioctl(socket(AF_INET, SOCK_STREAM, 0), SIOCSIFFLAGS, NULL) == 0);
PROBE(p_mmap, mmap(NULL, 4096, PROT_READ | PROT_EXEC,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
PROBE(p_create,
      openat(AT_FDCWD, at("state/new"), O_WRONLY | O_CREAT, 0600) >= 0);
PROBE(p_truncate, openat(AT_FDCWD, at("state/arena"), O_WRONLY | O_TRUNC) >= 0);
PROBE(p_tmpfile,
      openat(AT_FDCWD, at("state"), O_WRONLY | O_TMPFILE, 0600) >= 0);
PROBE(p_rename, rename(at("state/arena"), scratch_dir) == 0);
PROBE(p_chmod, chmod(at("state/arena"), 0666) == 0);
PROBE(p_mkdir, mkdir(at("other/new"), 0700) == 0);
PROBE(p_symlink, symlink("/", at("other/new")) == 0);
PROBE(p_kill_parent, kill(getppid(), 0) == 0);
PROBE(p_tgkill_parent, syscall(SYS_tgkill, getppid(), getppid(), 0) == 0);
PROBE(p_process, syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL) >= 0);
PROBE(p_clone3, syscall(SYS_clone3, NULL, 0) >= 0);
PROBE(p_dumpable, prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0);
PROBE(p_shm, shmget(IPC_PRIVATE, 4096, 0600) >= 0);
PROBE(p_limit, setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 }) == 0);
PROBE(p_hostname, sethostname("x", 1) == 0);
PROBE(p_clock, syscall(SYS_clock_settime, 0, NULL) == 0);

static bool p_mprotect(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0;
}

START_TEST(test_calls_that_are_not_needed_fail_like_on_an_old_kernel)
{
	static const struct probe probes[] = {
		{ "netlink socket", p_netlink, ENOSYS, false },
		{ "netfilter socket", p_netfilter, ENOSYS, false },
		{ "packet socket", p_packet, ENOSYS, false },
		{ "raw socket", p_raw, ENOSYS, false },
		{ "UDP socket", p_udp, ENOSYS, false },
		{ "socketpair", p_socketpair, ENOSYS, false },
		{ "bind", p_bind, ENOSYS, false },
		{ "listen", p_listen, ENOSYS, false },
		{ "iptables", p_iptables, ENOSYS, false },
		{ "packet filter", p_filter, ENOSYS, false },
		{ "TUNSETIFF", p_tun, ENOSYS, true },
		{ "SIOCSIFFLAGS", p_interface, ENOSYS, true },
		{ "mmap executable", p_mmap, ENOSYS, true },
		{ "mprotect executable", p_mprotect, ENOSYS, true },
		{ "create", p_create, ENOSYS, true },
		{ "truncate", p_truncate, ENOSYS, true },
		{ "O_TMPFILE", p_tmpfile, ENOSYS, true },
		{ "rename", p_rename, ENOSYS, false },
		{ "chmod", p_chmod, ENOSYS, false },
		{ "mkdir", p_mkdir, ENOSYS, false },
		{ "symlink", p_symlink, ENOSYS, false },
		{ "kill", p_kill_parent, ENOSYS, true },
		{ "tgkill of another", p_tgkill_parent, ENOSYS, false },
		{ "a new process", p_process, ENOSYS, true },
		{ "clone3", p_clone3, ENOSYS, false },
		{ "PR_SET_DUMPABLE", p_dumpable, ENOSYS, true },
		{ "shmget", p_shm, ENOSYS, false },
		{ "setrlimit", p_limit, ENOSYS, false },
		{ "sethostname", p_hostname, ENOSYS, false },
		{ "clock_settime", p_clock, ENOSYS, false },
	};

	check_probes(probes, ARRAY_SIZE(probes));
}
END_TEST

/* --- fatal ------------------------------------------------------------- */

PROBE(p_exec, execl("/bin/true", "true", (char *)NULL) == 0);
PROBE(p_ptrace, ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
PROBE(p_unshare, unshare(CLONE_NEWUSER) == 0);
PROBE(p_mount, mount("none", "/mnt", "tmpfs", 0, NULL) == 0);
PROBE(p_io_uring, syscall(SYS_io_uring_setup, 1, NULL) >= 0);
PROBE(p_bpf, syscall(SYS_bpf, 0, NULL, 0) >= 0);
PROBE(p_setuid, setuid(getuid()) == 0);
PROBE(p_module, syscall(SYS_init_module, NULL, 0, "") == 0);
PROBE(p_key, syscall(SYS_add_key, "user", "x", "x", 1, -1) >= 0);
PROBE(p_vm_write,
      syscall(SYS_process_vm_writev, getppid(), NULL, 0, NULL, 0, 0) == 0);

START_TEST(test_calls_that_only_an_intruder_makes_kill_the_process)
{
	static const struct probe probes[] = {
		{ "execve", p_exec, -SIGSYS, false },
		{ "ptrace", p_ptrace, -SIGSYS, true },
		{ "unshare", p_unshare, -SIGSYS, false },
		{ "mount", p_mount, -SIGSYS, false },
		{ "io_uring_setup", p_io_uring, -SIGSYS, false },
		{ "bpf", p_bpf, -SIGSYS, false },
		{ "setuid", p_setuid, -SIGSYS, false },
		{ "init_module", p_module, -SIGSYS, false },
		{ "add_key", p_key, -SIGSYS, false },
		{ "process_vm_writev", p_vm_write, -SIGSYS, false },
	};

	check_probes(probes, ARRAY_SIZE(probes));
}
END_TEST

/* --- allowed ----------------------------------------------------------- */

static bool can_read(const char *path, char first)
{
	int fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	char c;

	return fd >= 0 && read(fd, &c, 1) == 1 && (!first || c == first);
}

static void *thread_main(void *arg)
{
	sandbox_enter_thread();
	pthread_setname_np(pthread_self(), "worker-0");
	return arg;
}

static bool p_thread(void)
{
	pthread_t thread;
	void *result = NULL;

	return pthread_create(&thread, NULL, thread_main, scratch_dir) == 0 &&
	       pthread_join(thread, &result) == 0 && result == scratch_dir;
}

static bool p_journal_line(void)
{
	int fd = memfd_create("line", MFD_ALLOW_SEALING | MFD_CLOEXEC);

	return fd >= 0 && write(fd, "x", 1) == 1 &&
	       fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0;
}

static bool p_backend_tcp(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(1) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return fd >= 0 && (connect(fd, (void *)&in, sizeof(in)) == 0 ||
			   errno == EINPROGRESS || errno == ECONNREFUSED);
}

static bool p_backend_unix(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	strcpy(un.sun_path, at("other/none.sock"));
	return fd >= 0 && connect(fd, (void *)&un, sizeof(un)) < 0 &&
	       errno == ENOENT;
}

PROBE(p_conf, can_read(at("etc/xtcpd.conf"), 0));
PROBE(p_statm, can_read("/proc/self/statm", 0));
PROBE(p_forward, can_read("/proc/sys/net/ipv4/ip_forward", 0));
PROBE(p_group, getgrnam("root") != NULL);
PROBE(p_cores, sysconf(_SC_NPROCESSORS_ONLN) > 0 &&
		       can_read("/sys/devices/system/cpu/online", 0));
PROBE(p_unlink_arena, unlink(at("state/arena")) == 0);
PROBE(p_unlink_socket, unlink(at("run/control.sock")) == 0);
PROBE(p_null, openat(AT_FDCWD, "/dev/null", O_RDWR) >= 0);

static bool p_abort(void)
{
	abort();
}

START_TEST(test_what_the_daemon_does_is_allowed)
{
	static const struct probe probes[] = {
		{ "start a worker", p_thread, 0, false },
		{ "dial TCP", p_backend_tcp, 0, false },
		{ "dial a path", p_backend_unix, 0, false },
		{ "a long line for the journal", p_journal_line, 0, false },
		{ "read the configuration", p_conf, 0, false },
		{ "read /proc/self/statm", p_statm, 0, false },
		{ "read ip_forward", p_forward, 0, false },
		{ "look up a group", p_group, 0, false },
		{ "count processors", p_cores, 0, false },
		{ "remove the arena", p_unlink_arena, 0, false },
		{ "remove a socket", p_unlink_socket, 0, false },
		{ "open /dev/null", p_null, 0, false },
		{ "abort", p_abort, -SIGABRT, false },
	};

	check_probes(probes, ARRAY_SIZE(probes));
}
END_TEST

/* --- files ------------------------------------------------------------- */

PROBE(p_other, can_read(at("other/file"), 0));
PROBE(p_program, can_read("/bin/sh", 0));
PROBE(p_arena, can_read(at("state/arena"), 0));
PROBE(p_write_conf, openat(AT_FDCWD, at("etc/xtcpd.conf"), O_WRONLY) >= 0);
PROBE(p_remove_conf, unlink(at("etc/xtcpd.conf")) == 0);
PROBE(p_remove_other, unlink(at("other/file")) == 0);
PROBE(p_list, openat(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY) >= 0);
PROBE(p_list_etc, openat(AT_FDCWD, at("etc"), O_RDONLY | O_DIRECTORY) >= 0);
PROBE(p_core_pattern,
      openat(AT_FDCWD, "/proc/sys/kernel/core_pattern", O_WRONLY) >= 0);
PROBE(p_mem, openat(AT_FDCWD, "/proc/1/mem", O_RDWR) >= 0);

START_TEST(test_other_files_are_out_of_reach)
{
	static const struct probe probes[] = {
		{ "read another file", p_other, EACCES, false },
		{ "read a program", p_program, EACCES, false },
		{ "read the arena anew", p_arena, EACCES, false },
		{ "write the configuration", p_write_conf, EACCES, false },
		{ "remove the configuration", p_remove_conf, EACCES, false },
		{ "remove another file", p_remove_other, EACCES, false },
		{ "list /", p_list, EACCES, false },
		{ "list the configuration's directory", p_list_etc, EACCES,
		  false },
		{ "write core_pattern", p_core_pattern, EACCES, false },
		{ "another process's memory", p_mem, EACCES, false },
	};

	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 0)
		return; /* this kernel has no Landlock */
	check_probes(probes, ARRAY_SIZE(probes));
}
END_TEST

static int gate[2]; /* a byte: the parent is done */

static bool p_replaced(void)
{
	char c;

	return write(gate[1], "r", 1) == 1 && read(gate[1], &c, 1) == 1 &&
	       can_read(at("etc/xtcpd.conf"), 'y');
}

/* What an editor does: a new file, under the old name. */
static void *replace(void *arg)
{
	char c, from[128];

	strcpy(from, at("etc/new"));
	if (read(gate[0], &c, 1) == 1 && rename(from, arg) == 0)
		(void)!write(gate[0], "d", 1);
	return NULL;
}

START_TEST(test_configuration_that_was_replaced_can_be_read)
{
	char name[128];
	pthread_t thread;

	scratch_write("etc/new", "y", 1);
	strcpy(name, at("etc/xtcpd.conf"));
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, gate), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, replace, name), 0);
	ck_assert_int_eq(outcome(p_replaced), 0);
	pthread_join(thread, NULL);
	close(gate[0]);
	close(gate[1]);
}
END_TEST

/* --- capabilities ------------------------------------------------------ */

static bool has_cap(cap_value_t which, cap_flag_t set)
{
	cap_flag_value_t value = CAP_SET;
	cap_t caps = cap_get_proc();
	bool has = caps && cap_get_flag(caps, which, set, &value) == 0 &&
		   value == CAP_SET;

	cap_free(caps);
	return has;
}

static bool was_privileged;

/* A line of /proc/self/status, as a number in hexadecimal. */
static uint64_t status_of(const char *key)
{
	FILE *fp = fopen("/proc/self/status", "re");
	uint64_t value = UINT64_MAX;
	char line[256];

	while (fp && fgets(line, sizeof(line), fp))
		if (strncmp(line, key, strlen(key)) == 0)
			value = strtoull(strchr(line, ':') + 1, NULL, 16);
	if (fp)
		fclose(fp);
	return value;
}

/* All of them are gone, but the one; and there is no way back. */
static bool p_caps(void)
{
	uint64_t want = was_privileged ? UINT64_C(1) << CAP_NET_ADMIN : 0;

	return status_of("CapEff") == want && status_of("CapPrm") == want &&
	       status_of("CapInh") == 0 && status_of("CapAmb") == 0 &&
	       (!was_privileged || status_of("CapBnd") == 0) &&
	       status_of("NoNewPrivs") == 1 && status_of("Seccomp") == 2;
}

static bool p_regain(void)
{
	const cap_value_t list[] = { CAP_NET_RAW };
	cap_t caps = cap_get_proc();

	cap_set_flag(caps, CAP_PERMITTED, 1, list, CAP_SET);
	cap_set_flag(caps, CAP_EFFECTIVE, 1, list, CAP_SET);
	return cap_set_proc(caps) == 0;
}

static void *thread_caps(void *arg)
{
	bool *ok = arg;

	sandbox_enter_thread();
	*ok = true;
	for (cap_value_t c = 0; CAP_IS_SUPPORTED(c); c++)
		*ok = *ok && !has_cap(c, CAP_EFFECTIVE) &&
		      !has_cap(c, CAP_PERMITTED);
	return NULL;
}

static bool p_thread_caps(void)
{
	pthread_t thread;
	bool ok = false;

	return pthread_create(&thread, NULL, thread_caps, &ok) == 0 &&
	       pthread_join(thread, NULL) == 0 && ok &&
	       has_cap(CAP_NET_ADMIN, CAP_EFFECTIVE) == was_privileged;
}

START_TEST(test_capabilities_are_gone_for_good)
{
	static const struct probe probes[] = {
		{ "what is left", p_caps, 0, false },
		{ "regain one", p_regain, EPERM, false },
		{ "a worker has none", p_thread_caps, 0, false },
	};

	was_privileged = has_cap(CAP_NET_ADMIN, CAP_PERMITTED) &&
			 has_cap(CAP_SETPCAP, CAP_EFFECTIVE);
	if (has_cap(CAP_NET_ADMIN, CAP_PERMITTED) != was_privileged)
		return; /* half of root: the bounding set stays */
	check_probes(probes, ARRAY_SIZE(probes));
}
END_TEST

START_TEST(test_text_says_what_is_in_force)
{
	struct sandbox sandbox;
	char text[sizeof(sandbox.text)];
	int pipe_fds[2], status;
	pid_t pid;

	ck_assert_int_eq(pipe(pipe_fds), 0);
	pid = fork();
	if (pid == 0) {
		if (enter(&sandbox) < 0)
			_exit(255);
		(void)!write(pipe_fds[1], sandbox.text, sizeof(sandbox.text));
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(read(pipe_fds[0], text, sizeof(text)), sizeof(text));
	ck_assert_ptr_nonnull(strstr(text, "seccomp, "));
	ck_assert_ptr_nonnull(strstr(text, "no_new_privs, caps: "));
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}
END_TEST

UNIT_MAIN("daemon/sandbox",
	  UNIT_CASE("sandbox", setup, scratch_teardown,
		    test_calls_that_are_not_needed_fail_like_on_an_old_kernel,
		    test_calls_that_only_an_intruder_makes_kill_the_process,
		    test_what_the_daemon_does_is_allowed,
		    test_other_files_are_out_of_reach,
		    test_configuration_that_was_replaced_can_be_read,
		    test_capabilities_are_gone_for_good,
		    test_text_says_what_is_in_force))
