/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * capture - xtcpctl capture: packets into a file, or to who reads a pipe.
 *
 * Theory of operation
 *
 *	filter's words ─> libpcap ─> program ─> control socket ─> xtcpd
 *	file <─ pcapng <─ records <──────────── control socket <───'
 *
 * The filter is compiled here, for packets that begin with their IP header, and
 * runs in xtcpd. Records come as they are (proto/capture.h) and are written as
 * soon as nothing more is to be read, so that a reader of the pipe sees them
 * live.
 *
 * SIGINT and SIGTERM end the capture: xtcpd is told, and sends what it has and
 * the counts. A second one ends xtcpctl at once. When the reader of the pipe
 * has gone, that is an end, not an error.
 */
#include "ctl/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pcap/pcap.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/units.h"
#include "ctl/client.h"
#include "ctl/json.h"
#include "ctl/pcapng.h"
#include "proto/control.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "unknown"
#endif

#define CAPTURE_FILTER_TEXT_MAX 8192
#define CAPTURE_SECONDS_MAX 604800

enum capture_exit { CAPTURE_OK, CAPTURE_FAILED, CAPTURE_USAGE };

const char capture_help[] =
	"options of \"capture\":\n"
	"  -w, --write FILE        pcapng file, or - for standard output\n"
	"  -c, --count N           end after N packets\n"
	"  -s, --snaplen BYTES     keep so much of a packet [262144]\n"
	"  -t, --time SECONDS      end after so long\n";

struct capture {
	const char *path, *file;
	char filter[CAPTURE_FILTER_TEXT_MAX];
	long count, snaplen, seconds; /* 0: not given */
	FILE *out;
	struct client *client;
	bool finishing; /* xtcpd was told to end */
	bool reader_gone;
	uint64_t written; /* packets */
	struct capture_end end;
	bool ended; /* it is known */
	size_t have; /* bytes in buf */
	uint8_t buf[2 * 1024 * 1024];
};

static volatile sig_atomic_t capture_signals;

static void capture_on_signal(int sig)
{
	(void)sig;
	capture_signals++;
}

__attribute__((format(printf, 1, 2))) static int capture_usage(const char *fmt,
							       ...)
{
	va_list ap;

	fputs("xtcpctl: capture: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs("; try: xtcpctl --help\n", stderr);
	return CAPTURE_USAGE;
}

__attribute__((format(printf, 1, 2))) static int capture_fail(const char *fmt,
							      ...)
{
	va_list ap;

	fputs("xtcpctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs("\n", stderr);
	return CAPTURE_FAILED;
}

/* --- the filter -------------------------------------------------------- */

static struct json_object *capture_program(const struct bpf_program *prog)
{
	struct json_object *list = json_object_new_array(), *one;

	for (unsigned int i = 0; i < prog->bf_len; i++) {
		const struct bpf_insn *in = &prog->bf_insns[i];

		one = json_object_new_array();
		json_object_array_add(one, json_object_new_int64(in->code));
		json_object_array_add(one, json_object_new_int64(in->jt));
		json_object_array_add(one, json_object_new_int64(in->jf));
		json_object_array_add(one, json_object_new_int64(in->k));
		json_object_array_add(list, one);
	}
	return list;
}

/* Returns -1 and the program (NULL: there is no filter), or what to exit with. */
static int capture_compile(const char *text, struct json_object **ret_program)
{
	struct bpf_program prog;
	pcap_t *dead;

	*ret_program = NULL;
	if (text[0] == '\0')
		return -1;
	dead = pcap_open_dead(DLT_RAW, (int)CAPTURE_SNAPLEN_MAX);
	if (!dead)
		return capture_fail("out of memory");
	if (pcap_compile(dead, &prog, text, 1, PCAP_NETMASK_UNKNOWN) < 0) {
		int rc = capture_usage("filter \"%s\": %s", text,
				       pcap_geterr(dead));

		pcap_close(dead);
		return rc;
	}
	if (prog.bf_len <= CAPTURE_FILTER_MAX)
		*ret_program = capture_program(&prog);
	pcap_freecode(&prog);
	pcap_close(dead);
	return *ret_program ? -1
			    : capture_usage("the filter is too long: it has "
					    "more than %u instructions",
					    CAPTURE_FILTER_MAX);
}

/* --- records ----------------------------------------------------------- */

static int capture_write_error(struct capture *c, int err)
{
	if (err == -EPIPE) {
		c->reader_gone = true;
		return 0;
	}
	return capture_fail("%s: %s", c->file, strerror(-err));
}

/* One whole record. Returns 0, or what to exit with. */
static int capture_record(struct capture *c, const struct capture_head *head,
			  const uint8_t *at)
{
	struct capture_packet packet;
	int err;

	if (head->type == CAPTURE_END && head->bytes >= sizeof(c->end)) {
		memcpy(&c->end, at, sizeof(c->end));
		c->ended = true;
		return 0;
	}
	/* of a newer xtcpd */
	if (head->type != CAPTURE_PACKET || head->bytes < sizeof(packet))
		return 0;
	memcpy(&packet, at, sizeof(packet));
	err = pcapng_packet(c->out, &packet, at + sizeof(packet),
			    head->bytes - (uint32_t)sizeof(packet));
	c->written += err == 0;
	return err < 0 ? capture_write_error(c, err) : 0;
}

/* All whole records of the buffer. Returns 0, or what to exit with. */
static int capture_records(struct capture *c)
{
	struct capture_head head;
	size_t at = 0;
	int rc = 0;

	while (rc == 0 && !c->reader_gone && c->have - at >= sizeof(head)) {
		memcpy(&head, c->buf + at, sizeof(head));
		if (head.bytes > sizeof(c->buf) - sizeof(head))
			return capture_fail("what listens at %s does not "
					    "answer as xtcpd does",
					    c->path);
		if (c->have - at < sizeof(head) + head.bytes)
			break;
		rc = capture_record(c, &head, c->buf + at + sizeof(head));
		at += sizeof(head) + head.bytes;
	}
	c->have -= at;
	memmove(c->buf, c->buf + at, c->have);
	if (rc == 0 && !c->reader_gone && fflush(c->out) != 0)
		rc = capture_write_error(c, -errno);
	return rc;
}

static int capture_stream(struct capture *c)
{
	ssize_t n = 1;
	int rc = 0;

	while (rc == 0 && !c->ended && capture_signals < 2) {
		if ((capture_signals || c->reader_gone) && !c->finishing) {
			client_finish(c->client);
			c->finishing = true;
		}
		if (c->reader_gone)
			return 0;
		n = client_read(c->client, c->buf + c->have,
				sizeof(c->buf) - c->have);
		if (n == -EINTR || n == -EAGAIN) /* nothing passed */
			continue;
		if (n <= 0)
			break;
		c->have += (size_t)n;
		rc = capture_records(c);
	}
	return rc;
}

/* --- the command ------------------------------------------------------- */

static uint64_t capture_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/*
 * A file that holds what clients say: for who asked alone, whatever was there
 * before. (A pipe does as well.) Returns a descriptor or a negative errno.
 */
static int capture_create(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct stat st;
	int err = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		err = -errno;
	else if (!S_ISREG(st.st_mode))
		return fd;
	else if (st.st_uid != geteuid())
		err = -EPERM;
	else if (fchmod(fd, 0600) < 0 || ftruncate(fd, 0) < 0)
		err = -errno;
	if (!err)
		return fd;
	close(fd);
	return err;
}

/* Returns 0, or what to exit with. */
static int capture_open_file(struct capture *c)
{
	int fd = strcmp(c->file, "-") == 0 ? STDOUT_FILENO
					   : capture_create(c->file);

	if (fd < 0)
		return capture_fail("%s: %s", c->file, strerror(-fd));
	c->out = fdopen(fd, "wb");
	return c->out ? 0 : capture_fail("%s: %s", c->file, strerror(errno));
}

/* The last block, and a line for a person. */
static int capture_close(struct capture *c, int rc)
{
	if (rc == 0 && c->ended && !c->reader_gone &&
	    (pcapng_end(c->out, &c->end, capture_now_ns()) < 0 ||
	     fflush(c->out) != 0))
		rc = capture_write_error(c, -errno);
	if (fclose(c->out) != 0 && rc == 0 && !c->reader_gone)
		rc = capture_write_error(c, -errno);
	if (rc != 0)
		return rc;
	if (c->ended)
		fprintf(stderr,
			"xtcpctl: %" PRIu64 " packets written, %" PRIu64
			" dropped as they came too fast; %" PRIu64
			" passed xtcpd, %" PRIu64 " matched\n",
			c->written, c->end.dropped, c->end.seen,
			c->end.matched);
	else
		fprintf(stderr, "xtcpctl: %" PRIu64 " packets written\n",
			c->written);
	if (c->ended || c->reader_gone || capture_signals)
		return CAPTURE_OK;
	return capture_fail("%s was closed: did xtcpd end? See its log",
			    c->path);
}

static struct json_object *capture_args(const struct capture *c,
					struct json_object *program)
{
	struct json_object *args = json_object_new_object();
	const struct {
		const char *name;
		long value;
	} numbers[] = {
		{ "snaplen", c->snaplen },
		{ "count", c->count },
		{ "seconds", c->seconds },
	};

	if (program)
		json_object_object_add(args, "filter", program);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (numbers[i].value)
			json_object_object_add(
				args, numbers[i].name,
				json_object_new_int64(numbers[i].value));
	return args;
}

/* What xtcpd says. Returns 0 and its result, borrowed, or what to exit with. */
static int capture_answer(const struct capture *c, struct json_object *reply,
			  struct json_object **ret_result)
{
	struct json_object *warning = json_at(reply, "warning");
	const char *error = NULL;
	int err = control_reply_parse(reply, ret_result, &error);

	if (err == -EREMOTEIO)
		return capture_fail("%s", error);
	if (err < 0)
		return capture_fail("what listens at %s does not answer as "
				    "xtcpd does",
				    c->path);
	if (warning)
		fprintf(stderr, "xtcpctl: warning: %s\n",
			json_object_get_string(warning));
	return 0;
}

/* The file's first blocks. Returns 0, or what to exit with. */
static int capture_begin(struct capture *c, struct json_object *result)
{
	const struct pcapng_interface interface = {
		.name = json_text_at(result, "device"),
		.filter = c->filter,
		.linktype = (uint16_t)json_number_at(result, "linktype"),
		.snaplen = (uint32_t)json_number_at(result, "snaplen"),
	};
	int err = pcapng_begin(c->out, "xtcpctl " PACKAGE_VERSION, &interface);

	if (err == 0 && fflush(c->out) != 0)
		err = -errno;
	return err < 0 ? capture_write_error(c, err) : 0;
}

static int capture_ask(struct capture *c, struct json_object *program,
		       struct json_object **ret_reply)
{
	int rc = client_open(&c->client, c->path, CLIENT_TIMEOUT_S);
	char why[512];

	if (rc < 0)
		json_object_put(program);
	else
		rc = client_call(c->client, "capture", capture_args(c, program),
				 ret_reply);
	if (rc == 0)
		return 0;
	client_explain(c->path, rc, why, sizeof(why));
	return capture_fail("%s", why);
}

static int capture_all(struct capture *c, struct json_object *program)
{
	struct json_object *reply = NULL, *result = NULL;
	int rc = capture_ask(c, program, &reply);

	if (rc == 0)
		rc = capture_answer(c, reply, &result);
	/* a refusal leaves a file of before as it was */
	if (rc == 0)
		rc = capture_open_file(c);
	if (rc == 0) {
		rc = capture_begin(c, result);
		if (rc == 0)
			rc = capture_stream(c);
		rc = capture_close(c, rc);
	}
	json_object_put(reply);
	return rc;
}

/* Returns whether text is a number from 1 to max. */
static bool capture_parse_number(const char *text, long max, long *ret_n)
{
	char *end;

	errno = 0;
	*ret_n = strtol(text, &end, 10);
	return end != text && *end == '\0' && errno == 0 && *ret_n >= 1 &&
	       *ret_n <= max;
}

/* Returns -1 to go on, else what to exit with. */
static int capture_option(struct capture *c, int option)
{
	switch (option) {
	case 'w':
		c->file = optarg;
		return -1;
	case 'c':
		if (!capture_parse_number(optarg, UINT32_MAX, &c->count))
			return capture_usage("--count is a number from 1 on, "
					     "not %s",
					     optarg);
		return -1;
	case 's':
		if (!capture_parse_number(optarg, CAPTURE_SNAPLEN_MAX,
					  &c->snaplen))
			return capture_usage("--snaplen is from 1 to %u bytes, "
					     "not %s",
					     CAPTURE_SNAPLEN_MAX, optarg);
		return -1;
	case 't':
		if (!capture_parse_number(optarg, CAPTURE_SECONDS_MAX,
					  &c->seconds))
			return capture_usage("--time is from 1 to %d seconds, "
					     "not %s",
					     CAPTURE_SECONDS_MAX, optarg);
		return -1;
	default:
		fputs("try: xtcpctl --help\n", stderr);
		return CAPTURE_USAGE;
	}
}

/* The filter's words, which may be one argument or several. */
static int capture_words(struct capture *c, char **words, int n)
{
	size_t at = 0;

	for (int i = 0; i < n; i++) {
		at += (size_t)snprintf(c->filter + at, sizeof(c->filter) - at,
				       "%s%s", i ? " " : "", words[i]);
		if (at >= sizeof(c->filter))
			return capture_usage("the filter is too long");
	}
	if (!c->file)
		return capture_usage("-w is missing: it names the file, or - "
				     "for standard output");
	if (strcmp(c->file, "-") == 0 && isatty(STDOUT_FILENO))
		return capture_usage("standard output is a terminal, which "
				     "can't show packets: name a file, or pipe "
				     "them into wireshark -k -i -");
	return -1;
}

static int capture_parse(struct capture *c, int argc, char **argv)
{
	static char name[] = "xtcpctl: capture"; /* getopt_long() says so */
	static const struct option longs[] = {
		{ "write", required_argument, NULL, 'w' },
		{ "count", required_argument, NULL, 'c' },
		{ "snaplen", required_argument, NULL, 's' },
		{ "time", required_argument, NULL, 't' },
		{ 0 },
	};
	int option, rc;

	argv[0] = name;
	optind = 0;
	while ((option = getopt_long(argc, argv, "w:c:s:t:", longs, NULL)) !=
	       -1) {
		rc = capture_option(c, option);
		if (rc >= 0)
			return rc;
	}
	return capture_words(c, argv + optind, argc - optind);
}

static void capture_handle_signals(void)
{
	/* no SA_RESTART: a read ends with it */
	struct sigaction act = { .sa_handler = capture_on_signal };

	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	act.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &act, NULL);
}

int capture_run(const char *path, int argc, char **argv)
{
	struct capture *c = calloc(1, sizeof(*c));
	struct json_object *program;
	int rc;

	if (!c)
		return capture_fail("out of memory");
	c->path = path;
	rc = capture_parse(c, argc, argv);
	if (rc < 0)
		rc = capture_compile(c->filter, &program);
	if (rc < 0) {
		capture_handle_signals();
		rc = capture_all(c, program);
	}
	client_close(c->client);
	free(c);
	return rc;
}
