/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * supervise - keeps an xtcpd running, and its descriptors.
 *
 * Theory of operation
 *
 * One process, one thread, one loop over three things: signals (signalfd),
 * what the child says (keeper.h), and the next deadline.
 *
 *	        start            READY=1
 *	WAITING ────> STARTING ────────> SERVING
 *	   ^  ^          │                │   │ SIGUSR2, the check was good: SIGTERM
 *	   │  └──────────┴────────────────┘   │ WATCHDOG=1 overdue: SIGABRT
 *	   │        the child ended           v
 *	   └────────────────────────────── STOPPING ── for good ──> DONE
 *
 * The child is started with our descriptors (keeper_hand_over()), so what it
 * has kept is there for the next one: the arena, the device, the packets that
 * wait in its queues. It is the same program path each time, so that an
 * installed new version is what starts next.
 *
 * Restarts: at once when the child had served for SUPERVISE_SETTLED_US, then
 * after 100 ms, doubling up to 10 s; for ever. Only when the very first child
 * ends before it served we end with its status: that is a matter for whoever
 * started us.
 *
 * An upgrade (SIGUSR2) first has the new program check the configuration, as a
 * process of its own; if that fails nothing has changed. Then the child gets a
 * SIGTERM and leaves all as it is, and its end starts the new one: never two
 * at a time on one arena.
 *
 * The end (SIGTERM, SIGINT): the child gets SIGINT, with which it takes all
 * back (takeover.c). What a child that is dead or hangs can't take back goes
 * with our descriptors: device and routes; the arena's file is removed here.
 *
 * Our own death: the child gets SIGTERM (PR_SET_PDEATHSIG), sees that nobody
 * keeps the device, and leaves the arena and blackholes behind for the next
 * start, whoever makes it. It doesn't serve on: nobody would start it again,
 * and its lock would keep a new supervisor from starting one.
 *
 * Under systemd (Type=notify) we are the main process: READY, RELOADING and
 * STATUS are passed on, and we feed the watchdog ourselves, as the child has
 * ours. STOPPING is only passed on when it is the service that stops.
 */
#include "daemon/supervise.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "daemon/clock.h"
#include "daemon/fdstore.h"
#include "daemon/keeper.h"
#include "daemon/notify.h"

#define SUPERVISE_BACKOFF_US (100 * USEC_PER_MSEC)
#define SUPERVISE_BACKOFF_MAX_US (10 * USEC_PER_SEC)
/* A child that served so long is started again at once. */
#define SUPERVISE_SETTLED_US (1 * USEC_PER_SEC)
/* A child that says nothing for so long hangs. */
#define SUPERVISE_WATCHDOG_US (10 * USEC_PER_SEC)
/* As systemd's DefaultTimeoutStartSec=. */
#define SUPERVISE_START_US (90 * USEC_PER_SEC)
#define SUPERVISE_CHECK_US (30 * USEC_PER_SEC)
/* From SIGTERM to SIGKILL, and from SIGABRT (which may dump core). */
#define SUPERVISE_STOP_US (10 * USEC_PER_SEC)
#define SUPERVISE_ABORT_US (3 * USEC_PER_SEC)
/* Later than this at a deadline: the machine slept, not the child. */
#define SUPERVISE_LATE_US (1 * USEC_PER_SEC)
/* Messages taken in one turn. */
#define SUPERVISE_MESSAGES_MAX 256

/* What a shell says of a program that cannot be executed. */
#define SUPERVISE_EXEC_FAILED 127

enum supervise_state {
	SUPERVISE_WAITING, /* no child */
	SUPERVISE_STARTING, /* it has not said READY=1 yet */
	SUPERVISE_SERVING,
	SUPERVISE_STOPPING, /* told to end */
	SUPERVISE_DONE, /* no child, and none will be */
};

/* Deadlines on the monotonic clock, 0: none. */
enum supervise_deadline {
	SUPERVISE_AT_START, /* WAITING: the next start */
	SUPERVISE_AT_SILENT, /* STARTING, SERVING: it hangs */
	SUPERVISE_AT_KILL, /* STOPPING: no more patience */
	SUPERVISE_AT_CHECKED, /* the check takes too long */
	SUPERVISE_AT_PING, /* systemd wants to hear of us */
	SUPERVISE_DEADLINES,
};

struct supervise {
	struct supervise_options options;
	struct keeper *keeper;
	int sigfd;
	sigset_t mask; /* of before, for children */
	enum supervise_state state;
	pid_t child, checker; /* 0: none */
	bool ever_served;
	bool final; /* SIGTERM: no further start */
	bool upgrade; /* STOPPING: to start the new program */
	bool want_reload, want_upgrade; /* as soon as it serves */
	int status; /* what we exit with */
	uint64_t at_us[SUPERVISE_DEADLINES];
	uint64_t backoff_us, served_us, gap_us, ping_us;
	struct keeper_message message;
};

/* --- processes --------------------------------------------------------- */

static void supervise_set_number(const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	(void)setenv(name, text, 1);
}

/* In the child. */
_Noreturn static void supervise_exec(const struct supervise *s,
				     char *const *argv)
{
	sigprocmask(SIG_SETMASK, &s->mask, NULL);
	execv(s->options.program, argv);
	log_error("%s: %s", s->options.program, strerror(errno));
	_exit(SUPERVISE_EXEC_FAILED);
}

/* In the child: parent is what getppid() must say. */
_Noreturn static void supervise_serve(const struct supervise *s, pid_t parent)
{
	int err;

	if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent)
		_exit(1);
	supervise_set_number(SUPERVISE_ENVIRONMENT, (uint64_t)parent);
	supervise_set_number("WATCHDOG_USEC", SUPERVISE_WATCHDOG_US);
	supervise_set_number("WATCHDOG_PID", (uint64_t)getpid());
	err = keeper_hand_over(s->keeper);
	if (err == 0)
		supervise_exec(s, s->options.serve);
	log_error("handing descriptors over: %s", strerror(-err));
	_exit(SUPERVISE_EXEC_FAILED);
}

static void supervise_set_state(struct supervise *s, enum supervise_state state)
{
	s->state = state;
	s->at_us[SUPERVISE_AT_START] = 0;
	s->at_us[SUPERVISE_AT_SILENT] = 0;
	s->at_us[SUPERVISE_AT_KILL] = 0;
}

/* The next start is put off, by more each time. */
static void supervise_back_off(struct supervise *s, uint64_t now)
{
	supervise_set_state(s, SUPERVISE_WAITING);
	s->at_us[SUPERVISE_AT_START] = max_u64(now + s->backoff_us, 1);
	if (s->backoff_us)
		log_info("the next start is in %" PRIu64 " ms",
			 s->backoff_us / USEC_PER_MSEC);
	s->backoff_us = s->backoff_us ? min_u64(2 * s->backoff_us,
						SUPERVISE_BACKOFF_MAX_US)
				      : SUPERVISE_BACKOFF_US;
}

static void supervise_start(struct supervise *s, uint64_t now)
{
	pid_t parent = getpid(), pid = fork();

	if (pid == 0)
		supervise_serve(s, parent);
	if (pid < 0) {
		log_error("starting xtcpd: %s", strerror(errno));
		supervise_back_off(s, now);
		return;
	}
	log_info("xtcpd started as process %d, with %u descriptors", (int)pid,
		 keeper_count(s->keeper));
	s->child = pid;
	s->upgrade = false;
	supervise_set_state(s, SUPERVISE_STARTING);
	s->at_us[SUPERVISE_AT_SILENT] = now + SUPERVISE_START_US;
}

static void supervise_stop(struct supervise *s, int sig, uint64_t patience_us,
			   uint64_t now)
{
	if (s->state != SUPERVISE_STOPPING)
		s->gap_us = now;
	(void)kill(s->child, sig);
	supervise_set_state(s, SUPERVISE_STOPPING);
	s->at_us[SUPERVISE_AT_KILL] = now + patience_us;
}

static const char *supervise_how(int status, char text[64])
{
	if (WIFSIGNALED(status))
		snprintf(text, 64, "was killed by signal %d (%s)",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(text, 64, "ended with status %d", WEXITSTATUS(status));
	return text;
}

/* --- upgrade ----------------------------------------------------------- */

static void supervise_check(struct supervise *s, uint64_t now)
{
	pid_t pid = fork();

	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		supervise_exec(s, s->options.check);
	}
	if (pid < 0) {
		log_error("upgrade: %s; nothing was changed", strerror(errno));
		return;
	}
	log_info("upgrade: checking %s", s->options.program);
	s->checker = pid;
	s->at_us[SUPERVISE_AT_CHECKED] = now + SUPERVISE_CHECK_US;
}

static void supervise_on_upgrade(struct supervise *s, uint64_t now)
{
	switch (s->state) {
	case SUPERVISE_SERVING:
		if (s->checker)
			log_info("upgrade: one is under way");
		else
			supervise_check(s, now);
		break;
	case SUPERVISE_STARTING:
		/* it may be the program of before */
		s->want_upgrade = true;
		break;
	case SUPERVISE_WAITING:
		log_info("upgrade: the next start takes %s as it is then",
			 s->options.program);
		break;
	case SUPERVISE_STOPPING:
	case SUPERVISE_DONE:
		log_info("upgrade: a start or a stop is under way");
		break;
	}
}

static void supervise_on_checked(struct supervise *s, int status, uint64_t now)
{
	char how[64];

	s->checker = 0;
	s->at_us[SUPERVISE_AT_CHECKED] = 0;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		log_error("upgrade: %s -t %s: nothing was changed, process %d "
			  "serves on",
			  s->options.program, supervise_how(status, how),
			  (int)s->child);
	} else if (s->state == SUPERVISE_SERVING) {
		log_info("upgrade: process %d makes room", (int)s->child);
		s->upgrade = true;
		supervise_stop(s, SIGTERM, SUPERVISE_STOP_US, now);
	} else if (s->state == SUPERVISE_STARTING) {
		s->want_upgrade = true;
	}
}

/* --- what the child says ----------------------------------------------- */

static void supervise_on_ready(struct supervise *s, uint64_t now)
{
	notify_ready();
	if (s->state != SUPERVISE_STARTING)
		return;
	supervise_set_state(s, SUPERVISE_SERVING);
	s->at_us[SUPERVISE_AT_SILENT] = now + SUPERVISE_WATCHDOG_US;
	s->served_us = now;
	s->ever_served = true;
	if (s->gap_us)
		log_info("process %d serves, %" PRIu64
			 " ms after the one before it stopped",
			 (int)s->child, (now - s->gap_us) / USEC_PER_MSEC);
	s->gap_us = 0;
	if (s->want_reload)
		(void)kill(s->child, SIGHUP);
	if (s->want_upgrade)
		supervise_check(s, now);
	s->want_reload = s->want_upgrade = false;
}

static void supervise_on_message(struct supervise *s, uint64_t now)
{
	const struct keeper_message *m = &s->message;

	if (m->status)
		notify_status("%s", m->status);
	if (m->reloading)
		notify_reloading();
	if (m->ready)
		supervise_on_ready(s, now);
	if (m->watchdog && s->state == SUPERVISE_SERVING)
		s->at_us[SUPERVISE_AT_SILENT] = now + SUPERVISE_WATCHDOG_US;
}

static void supervise_hear(struct supervise *s, uint64_t now)
{
	for (int i = 0; i < SUPERVISE_MESSAGES_MAX; i++) {
		if (keeper_receive(s->keeper, s->child, &s->message) <= 0)
			break;
		supervise_on_message(s, now);
	}
}

/* --- signals ----------------------------------------------------------- */

/* What we exit with when this was the last child. */
static int supervise_status(const struct supervise *s, int status)
{
	if (WIFEXITED(status))
		return WEXITSTATUS(status) == SUPERVISE_EXEC_FAILED
			       ? 1
			       : WEXITSTATUS(status);
	/* it had not set its signals up yet, and nothing else was wrong */
	return s->final && WTERMSIG(status) == SIGINT ? 0 : 1;
}

static void supervise_on_child_end(struct supervise *s, int status,
				   uint64_t now)
{
	bool settled = s->state == SUPERVISE_SERVING &&
		       now - s->served_us >= SUPERVISE_SETTLED_US;
	char how[64];

	supervise_how(status, how);
	if (!s->gap_us)
		s->gap_us = now;
	if (s->final || s->upgrade)
		log_info("process %d %s", (int)s->child, how);
	else
		log_error("process %d %s", (int)s->child, how);
	s->child = 0;
	if (s->final || !s->ever_served) {
		s->status = supervise_status(s, status);
		supervise_set_state(s, SUPERVISE_DONE);
		return;
	}
	if (settled || s->upgrade || s->state == SUPERVISE_STOPPING)
		s->backoff_us = 0;
	supervise_back_off(s, now);
}

static void supervise_reap(struct supervise *s, uint64_t now)
{
	siginfo_t info = { 0 };
	int status;

	if (s->checker && waitpid(s->checker, &status, WNOHANG) == s->checker)
		supervise_on_checked(s, status, now);
	if (!s->child ||
	    waitid(P_PID, (id_t)s->child, &info, WEXITED | WNOHANG | WNOWAIT) <
		    0 ||
	    info.si_pid != s->child)
		return;
	/* its last words, which may be descriptors to keep */
	supervise_hear(s, now);
	if (waitpid(s->child, &status, 0) == s->child)
		supervise_on_child_end(s, status, now);
}

static void supervise_on_end(struct supervise *s, int sig, uint64_t now)
{
	if (s->final)
		return;
	log_info("%s: stopping", sig == SIGINT ? "SIGINT" : "SIGTERM");
	notify_stopping();
	s->final = true;
	if (s->child)
		supervise_stop(s, SIGINT, SUPERVISE_STOP_US, now);
	else
		supervise_set_state(s, SUPERVISE_DONE);
}

static void supervise_on_signal(struct supervise *s, int sig, uint64_t now)
{
	switch (sig) {
	case SIGCHLD:
		supervise_reap(s, now);
		break;
	case SIGINT:
	case SIGTERM:
		supervise_on_end(s, sig, now);
		break;
	case SIGHUP:
		if (s->state == SUPERVISE_SERVING)
			(void)kill(s->child, SIGHUP);
		else
			s->want_reload = s->state == SUPERVISE_STARTING;
		break;
	case SIGUSR2:
		supervise_on_upgrade(s, now);
		break;
	}
}

/* --- time -------------------------------------------------------------- */

static void supervise_on_silent(struct supervise *s, uint64_t now)
{
	log_error("process %d %s: it is killed", (int)s->child,
		  s->state == SUPERVISE_STARTING ? "does not come up"
						 : "hangs");
	supervise_stop(s, SIGABRT, SUPERVISE_ABORT_US, now);
}

static void supervise_on_deadline(struct supervise *s,
				  enum supervise_deadline which, uint64_t now)
{
	s->at_us[which] = 0;
	switch (which) {
	case SUPERVISE_AT_START:
		supervise_start(s, now);
		break;
	case SUPERVISE_AT_SILENT:
		supervise_on_silent(s, now);
		break;
	case SUPERVISE_AT_KILL:
		log_error("process %d does not end: it is killed",
			  (int)s->child);
		(void)kill(s->child, SIGKILL);
		break;
	case SUPERVISE_AT_CHECKED:
		log_error("upgrade: the check takes too long");
		(void)kill(s->checker, SIGKILL);
		break;
	case SUPERVISE_AT_PING:
		(void)sd_notify(0, "WATCHDOG=1");
		s->at_us[which] = now + s->ping_us;
		break;
	case SUPERVISE_DEADLINES:
		break;
	}
}

static uint64_t supervise_next(const struct supervise *s)
{
	uint64_t next = UINT64_MAX;

	for (int i = 0; i < SUPERVISE_DEADLINES; i++)
		if (s->at_us[i])
			next = min_u64(next, s->at_us[i]);
	return next;
}

/* Wait; then what was said comes before what is overdue. */
static int supervise_turn(struct supervise *s)
{
	struct pollfd fds[] = {
		{ .fd = s->sigfd, .events = POLLIN },
		{ .fd = keeper_socket(s->keeper), .events = POLLIN },
	};
	uint64_t next = supervise_next(s), now = clock_now_us();
	struct signalfd_siginfo info;
	int wait_ms = -1;

	if (next != UINT64_MAX)
		wait_ms = next <= now ? 0
				      : (int)((next - now) / USEC_PER_MSEC + 1);
	if (poll(fds, ARRAY_SIZE(fds), wait_ms) < 0 && errno != EINTR)
		return -errno;
	now = clock_now_us();
	supervise_hear(s, now);
	while (read(s->sigfd, &info, sizeof(info)) == sizeof(info))
		supervise_on_signal(s, (int)info.ssi_signo, now);
	if (s->at_us[SUPERVISE_AT_SILENT] && now > next + SUPERVISE_LATE_US &&
	    next != UINT64_MAX)
		s->at_us[SUPERVISE_AT_SILENT] += now - next;
	for (int i = 0; i < SUPERVISE_DEADLINES; i++)
		if (s->at_us[i] && s->at_us[i] <= now)
			supervise_on_deadline(s, (enum supervise_deadline)i,
					      now);
	return 0;
}

/* --- all of it --------------------------------------------------------- */

static int supervise_open(struct supervise *s)
{
	static const int signals[] = { SIGCHLD, SIGINT, SIGTERM, SIGHUP,
				       SIGUSR2 };
	sigset_t set;
	uint64_t us;
	int err;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&set, signals[i]);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, &s->mask) < 0)
		return -errno;
	s->sigfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->sigfd < 0)
		return -errno;
	err = keeper_open(&s->keeper);
	if (err < 0)
		return err;
	if (sd_watchdog_enabled(0, &us) > 0) {
		s->ping_us = us / 2;
		s->at_us[SUPERVISE_AT_PING] = clock_now_us() + s->ping_us;
	}
	return 0;
}

/* What the child removes when it ends in order; a dead one could not. */
static void supervise_remove_arena(const struct supervise *s)
{
	int fd = keeper_find(s->keeper, FDSTORE_ARENA);
	char link[32], path[PATH_MAX];
	struct stat kept, there;
	ssize_t n;

	if (fd < 0)
		return;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n <= 0 || fstat(fd, &kept) < 0 || kept.st_nlink == 0)
		return;
	path[n] = '\0';
	if (lstat(path, &there) == 0 && there.st_dev == kept.st_dev &&
	    there.st_ino == kept.st_ino && unlink(path) < 0)
		log_warn("%s: %s", path, strerror(errno));
}

static void supervise_close(struct supervise *s)
{
	if (s->checker) {
		(void)kill(s->checker, SIGKILL);
		(void)waitpid(s->checker, NULL, 0);
	}
	if (s->keeper && s->final)
		supervise_remove_arena(s);
	keeper_close(s->keeper);
	if (s->sigfd >= 0)
		close(s->sigfd);
}

int supervise_run(const struct supervise_options *options)
{
	struct supervise *s = calloc(1, sizeof(*s));
	int err, status = 1;

	if (!s)
		return status;
	s->options = *options;
	s->sigfd = -1;
	s->backoff_us = SUPERVISE_BACKOFF_US;
	err = supervise_open(s);
	if (err == 0)
		supervise_start(s, clock_now_us());
	while (err == 0 && s->state != SUPERVISE_DONE)
		err = supervise_turn(s);
	if (err < 0)
		log_error("supervising: %s", strerror(-err));
	else
		status = s->status;
	supervise_close(s);
	free(s);
	return status;
}
