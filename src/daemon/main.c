/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/daemon.h"
#include "daemon/journal.h"
#include "daemon/supervise.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "unknown"
#endif

enum main_exit { MAIN_OK, MAIN_FAILED, MAIN_USAGE };
enum main_option { MAIN_OPT_PCAP = 256, MAIN_OPT_SUPERVISE };

/* More than two are as good as two. */
#define MAIN_VERBOSE_MAX 4

static const char main_help[] =
	"usage: xtcpd [-c FILE] [-f | --supervise] [-t] [-v]... [--pcap FILE]\n"
	"\n"
	"Terminates TCP connections on a TUN device and gives them to application\n"
	"servers in groups; see xtcpd(8) and xtcpd.conf(5).\n"
	"\n"
	"  -c, --config FILE   configuration file [" XTCP_CONF_FILE "]\n"
	"  -f, --foreground    stay in the foreground (for systemd's Type=notify)\n"
	"  -t, --test          check the configuration and exit\n"
	"  -v, --verbose       more to say\n"
	"      --pcap FILE     write every packet of the device to a capture file,\n"
	"                      worker 1 and on to FILE.1, FILE.2, ...\n"
	"      --supervise     stay in the foreground as a parent that keeps the\n"
	"                      connections over a crash, starts xtcpd again, and\n"
	"                      upgrades it on SIGUSR2\n"
	"  -V, --version       print the version and exit\n"
	"  -h, --help          print this and exit\n"
	"\n"
	"Exit status: 0 clean, 1 failure at run time, 2 bad configuration or usage.\n";

struct main_args {
	struct daemon_options options;
	bool test, supervise;
	int exit; /* enum main_exit, or -1: go on */
};

static void main_option(struct main_args *args, int c)
{
	switch (c) {
	case 'c':
		args->options.conf_path = optarg;
		break;
	case 'f':
		args->options.foreground = true;
		break;
	case 't':
		args->test = true;
		break;
	case 'v':
		args->options.verbose +=
			args->options.verbose < MAIN_VERBOSE_MAX;
		break;
	case MAIN_OPT_PCAP:
		args->options.pcap_path = optarg;
		break;
	case MAIN_OPT_SUPERVISE:
		args->supervise = true;
		break;
	case 'V':
		printf("xtcpd %s\n", PACKAGE_VERSION);
		args->exit = MAIN_OK;
		break;
	case 'h':
		fputs(main_help, stdout);
		args->exit = MAIN_OK;
		break;
	default:
		fputs("try: xtcpd --help\n", stderr);
		args->exit = MAIN_USAGE;
		break;
	}
}

static void main_parse(struct main_args *args, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "foreground", no_argument, NULL, 'f' },
		{ "test", no_argument, NULL, 't' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "pcap", required_argument, NULL, MAIN_OPT_PCAP },
		{ "supervise", no_argument, NULL, MAIN_OPT_SUPERVISE },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c;

	while (args->exit < 0 &&
	       (c = getopt_long(argc, argv, "c:ftvVh", longs, NULL)) != -1)
		main_option(args, c);
	if (args->exit < 0 && optind < argc) {
		fprintf(stderr,
			"xtcpd: unexpected argument: %s; try: xtcpd --help\n",
			argv[optind]);
		args->exit = MAIN_USAGE;
	}
}

static void main_report(void *arg, const char *line)
{
	(void)arg;
	fprintf(stderr, "xtcpd: %s\n", line);
}

/* In the child, once it serves: let the parent go, and the terminal. */
static void main_ready(void *arg)
{
	int *fd = arg, null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; null >= 0 && i < 3; i++)
		dup2(null, i);
	if (null > 2)
		close(null);
	(void)!write(*fd, "r", 1);
	close(*fd);
}

/* The parent: succeed when the child serves, fail as it fails. */
static int main_wait(pid_t child, int fd)
{
	char byte;
	int status;

	if (read(fd, &byte, 1) == 1)
		return MAIN_OK;
	if (waitpid(child, &status, 0) == child && WIFEXITED(status) &&
	    WEXITSTATUS(status) != MAIN_OK)
		return WEXITSTATUS(status);
	return MAIN_FAILED;
}

/* Fork into the background. Returns -1 in the child, else what to exit with. */
static int main_daemonize(struct daemon_options *options, int pipe_fds[2])
{
	pid_t child;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0 || (child = fork()) < 0) {
		fprintf(stderr, "xtcpd: going to the background: %s\n",
			strerror(errno));
		return MAIN_FAILED;
	}
	if (child > 0) {
		close(pipe_fds[1]);
		return main_wait(child, pipe_fds[0]);
	}
	close(pipe_fds[0]);
	setsid();
	options->ready = main_ready;
	options->ready_arg = &pipe_fds[1];
	return -1;
}

/* The path as it is named after a chdir("/"); NULL (reported) when it is nowhere. */
static char *main_conf_path(const char *path)
{
	char *full = realpath(path, NULL);

	if (!full)
		fprintf(stderr, "xtcpd: %s: %s\n", path, strerror(errno));
	return full;
}

/* The parent of xtcpd -f with our other options. Returns what to exit with. */
static int main_supervise(const struct daemon_options *options, char *argv0)
{
	char *program = supervise_program(argv0);
	char *conf = (char *)options->conf_path,
	     *pcap = (char *)options->pcap_path;
	char *serve[8 + MAIN_VERBOSE_MAX] = { argv0, (char *)"-f", (char *)"-c",
					      conf };
	char *check[] = { argv0, (char *)"-t", (char *)"-c", conf, NULL };
	size_t n = 4;
	int status;

	if (!program) {
		fprintf(stderr, "xtcpd: %s: %s\n", argv0, strerror(errno));
		return MAIN_FAILED;
	}
	for (int i = 0; i < options->verbose; i++)
		serve[n++] = (char *)"-v";
	if (pcap) {
		serve[n++] = (char *)"--pcap";
		serve[n++] = pcap;
	}
	status = supervise_run(&(struct supervise_options){
		.program = program, .serve = serve, .check = check });
	free(program);
	return status;
}

/*
 * Whoever started us may have closed them: what we open must not get their
 * numbers, or a line for stderr ends in it.
 */
static void main_open_standard(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

int main(int argc, char **argv)
{
	struct main_args args = { .options.conf_path = XTCP_CONF_FILE,
				  .exit = -1 };
	struct conf *conf;
	int pipe_fds[2];
	char *path;

	main_open_standard();
	main_parse(&args, argc, argv);
	if (args.exit >= 0)
		return args.exit;
	if (args.options.verbose)
		log_set_level(LOG_LEVEL_DEBUG);
	journal_init();
	if (args.supervise && !args.test)
		return main_supervise(&args.options, argv[0]);
	path = main_conf_path(args.options.conf_path);
	if (!path)
		return MAIN_USAGE;
	args.options.conf_path = path;
	conf = conf_load(path, main_report, NULL);
	if (!conf)
		args.exit = MAIN_USAGE;
	else if (args.test)
		args.exit = MAIN_OK;
	else if (!args.options.foreground)
		args.exit = main_daemonize(&args.options, pipe_fds);
	if (args.exit < 0) {
		args.exit = daemon_run(&args.options, conf) < 0 ? MAIN_FAILED
								: MAIN_OK;
		conf = NULL;
	}
	conf_free(conf);
	free(path);
	return args.exit;
}
